//! Get-Date.

use chrono::{DateTime, Datelike as _, Timelike as _, Utc};

use crate::operations::objects::{Object, Value};
use crate::operations::pipeline::Sink;
use crate::operations::plan::Plan;
use crate::operations::providers::ProviderError;

/// The clock of providers: what they show is what the node's clock says.
#[expect(clippy::disallowed_methods, reason = "the time of the machine is the answer itself")]
pub(super) fn now() -> DateTime<Utc> {
    Utc::now()
}

pub(super) fn get_date(plan: &Plan, sink: &mut dyn Sink) -> Result<(), ProviderError> {
    let now = now();
    let value = match plan.call.text("Format") {
        Some(format) => Value::from(now.format(pattern(format)).to_string()),
        None => object(now, plan.call.text("DisplayHint")).into(),
    };
    Ok(sink.emit(value)?)
}

/// The standard forms of the invariant culture as chrono patterns.
fn pattern(standard: &str) -> &'static str {
    match standard {
        "d" => "%m/%d/%Y",
        "D" => "%A, %d %B %Y",
        "f" => "%A, %d %B %Y %H:%M",
        "F" => "%A, %d %B %Y %H:%M:%S",
        "g" => "%m/%d/%Y %H:%M",
        "G" => "%m/%d/%Y %H:%M:%S",
        "o" => "%Y-%m-%dT%H:%M:%S%.9fZ",
        "r" => "%a, %d %b %Y %H:%M:%S GMT",
        "s" => "%Y-%m-%dT%H:%M:%S",
        "t" => "%H:%M",
        "T" => "%H:%M:%S",
        _ => "%Y-%m-%d %H:%M:%SZ",
    }
}

fn object(now: DateTime<Utc>, hint: Option<&str>) -> Object {
    let text = match hint {
        Some("Date") => now.format("%A, %B %-d, %Y"),
        Some("Time") => now.format("%-I:%M:%S %p"),
        _ => now.format("%A, %B %-d, %Y %-I:%M:%S %p"),
    };
    let midnight = now.date_naive().and_hms_opt(0, 0, 0).map(|midnight| midnight.and_utc());
    Object::new("DateTime")
        .with("Date", midnight)
        .with("Day", now.day())
        .with("DayOfWeek", now.format("%A").to_string())
        .with("DayOfYear", now.ordinal())
        .with("Hour", now.hour())
        .with("Kind", "Utc")
        .with("Millisecond", now.timestamp_subsec_millis())
        .with("Minute", now.minute())
        .with("Month", now.month())
        .with("Second", now.second())
        .with("Year", now.year())
        .with("DateTime", text.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn date_prints_as_the_product_prints_it() {
        let date = DateTime::from_timestamp(1_694_037_952, 0).unwrap();
        let text = |hint| object(date, hint).get("DateTime").unwrap().to_text().into_owned();
        assert_eq!(text(None), "Wednesday, September 6, 2023 10:05:52 PM");
        assert_eq!(text(Some("Time")), "10:05:52 PM");
        assert_eq!(date.format(pattern("u")).to_string(), "2023-09-06 22:05:52Z");
    }
}

//! Comparisons of Where-Object: a property, an operator and literals, with PowerShell's rules.
//!
//! The property's type decides: a number on the left makes a number of the right side, text on the left makes text of
//! it. Text compares without regard to case unless the operator begins with `c`. A property that is a list gives those
//! of its items that fit, and what they are worth as true or false decides. `-Match` takes the patterns of [`Pattern`].

use std::cmp::Ordering;

use chrono::{DateTime, NaiveDate, NaiveDateTime, Utc};
use serde::{Deserialize, Serialize};

use super::objects::{Value, order_text, order_text_by_case};
use super::pattern::Pattern;

/// A comparison.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Operator {
    /// Equal.
    Eq,
    /// Not equal.
    Ne,
    /// Greater than.
    Gt,
    /// Greater than or equal.
    Ge,
    /// Less than.
    Lt,
    /// Less than or equal.
    Le,
    /// Matches a pattern with `*`, `?` and `[a-z]`.
    Like,
    /// Does not match such a pattern.
    NotLike,
    /// Fits a regular expression somewhere.
    Match,
    /// Fits it nowhere.
    NotMatch,
    /// The property, a list, holds the value.
    Contains,
    /// The property, a list, does not hold the value.
    NotContains,
    /// The property is one of the values.
    In,
    /// The property is none of the values.
    NotIn,
    /// The property is true, not 0, not empty.
    True,
    /// The property is false, 0, empty or absent.
    Not,
}

/// An operator with its case rule.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Comparison {
    /// What is compared.
    pub operator: Operator,
    /// True if upper and lower case differ (`-ceq` and the like).
    pub case_sensitive: bool,
}

/// Names of the operators that are open, without their case forms.
pub const OPERATORS: &[(&str, Operator)] = &[
    ("EQ", Operator::Eq),
    ("NE", Operator::Ne),
    ("GT", Operator::Gt),
    ("GE", Operator::Ge),
    ("LT", Operator::Lt),
    ("LE", Operator::Le),
    ("Like", Operator::Like),
    ("NotLike", Operator::NotLike),
    ("Match", Operator::Match),
    ("NotMatch", Operator::NotMatch),
    ("Contains", Operator::Contains),
    ("NotContains", Operator::NotContains),
    ("In", Operator::In),
    ("NotIn", Operator::NotIn),
    ("Not", Operator::Not),
];

impl Comparison {
    /// Reads an operator's name without the dash: `eq`, `IEQ`, `cLike`.
    #[must_use]
    pub fn by_name(name: &str) -> Option<Self> {
        let find = |name: &str| {
            OPERATORS.iter().find(|(own, _)| own.eq_ignore_ascii_case(name)).map(|(_, operator)| *operator)
        };
        if let Some(operator) = find(name) {
            return Some(Self { operator, case_sensitive: false });
        }
        let (first, rest) = name.split_at_checked(1)?;
        let operator = find(rest).filter(|operator| *operator != Operator::Not)?;
        match first {
            "i" | "I" => Some(Self { operator, case_sensitive: false }),
            "c" | "C" => Some(Self { operator, case_sensitive: true }),
            _ => None,
        }
    }

    /// True if the operator takes a regular expression.
    #[must_use]
    pub const fn takes_pattern(self) -> bool {
        matches!(self.operator, Operator::Match | Operator::NotMatch)
    }

    fn equal(self, left: &Value, right: &Value) -> bool {
        self.compare(left, right) == Some(Ordering::Equal)
    }

    /// `None` where the right side cannot become the left side's type.
    fn compare(self, left: &Value, right: &Value) -> Option<Ordering> {
        match left {
            // Nothing is less than everything but numbers below zero.
            Value::Null => Some(match right.as_number() {
                _ if matches!(right, Value::Null) => Ordering::Equal,
                Some(number) if number < 0.0 => Ordering::Greater,
                _ => Ordering::Less,
            }),
            Value::Text(text) => Some(self.compare_text(text, &right.to_text())),
            Value::Bool(value) => to_bool(right).map(|right| value.cmp(&right)),
            Value::Date(value) => to_date(right).map(|right| value.cmp(&right)),
            Value::Integer(value) => match right {
                Value::Integer(right) => Some(value.cmp(right)),
                _ => left.as_number()?.partial_cmp(&to_number(right)?),
            },
            Value::Float(_) | Value::Size(_) => left.as_number()?.partial_cmp(&to_number(right)?),
            Value::Object(_) | Value::List(_) => Some(self.compare_text(&left.to_text(), &right.to_text())),
        }
    }

    fn compare_text(self, left: &str, right: &str) -> Ordering {
        if self.case_sensitive { order_text_by_case(left, right) } else { order_text(left, right) }
    }
}

/// A comparison with its right side, ready to be asked for one value after the other.
#[derive(Clone, Debug)]
pub struct Test {
    comparison: Comparison,
    right: Vec<Value>,
    pattern: Option<Pattern>,
}

impl Test {
    /// Makes the test; `right` are the values behind the operator.
    ///
    /// # Errors
    /// What is wrong with the pattern of a `-Match`.
    pub fn new(comparison: Comparison, right: Vec<Value>) -> Result<Self, String> {
        let pattern = if comparison.takes_pattern() {
            let text = right.first().map(Value::to_text).unwrap_or_default();
            Some(Pattern::new(&text, comparison.case_sensitive)?)
        } else {
            None
        };
        Ok(Self { comparison, right, pattern })
    }

    /// Applies the test to a property's value.
    #[must_use]
    pub fn holds(&self, left: &Value) -> bool {
        let comparison = self.comparison;
        let first = self.right.first().unwrap_or(&Value::Null);
        match comparison.operator {
            Operator::True => left.is_truthy(),
            Operator::Not => !left.is_truthy(),
            // The items of the list stand on the left here, so their type decides.
            Operator::In => self.right.iter().any(|item| comparison.equal(item, left)),
            Operator::NotIn => !self.right.iter().any(|item| comparison.equal(item, left)),
            Operator::Contains => items(left).iter().any(|item| comparison.equal(item, first)),
            Operator::NotContains => !items(left).iter().any(|item| comparison.equal(item, first)),
            _ => match left {
                Value::List(items) => {
                    let mut fitting = items.iter().filter(|item| self.holds_for_one(item, first));
                    match (fitting.next(), fitting.next()) {
                        (None, _) => false,
                        (Some(one), None) => one.is_truthy(),
                        (Some(_), Some(_)) => true,
                    }
                }
                one => self.holds_for_one(one, first),
            },
        }
    }

    fn holds_for_one(&self, left: &Value, right: &Value) -> bool {
        let comparison = self.comparison;
        let order = || comparison.compare(left, right);
        let matches = || self.pattern.as_ref().is_some_and(|pattern| pattern.is_match(&left.to_text()));
        let like = || wildcard(&right.to_text(), &left.to_text(), comparison.case_sensitive);
        match comparison.operator {
            Operator::Eq => comparison.equal(left, right),
            Operator::Ne => !comparison.equal(left, right),
            Operator::Like => like(),
            Operator::NotLike => !like(),
            Operator::Match => matches(),
            Operator::NotMatch => !matches(),
            Operator::Gt => order() == Some(Ordering::Greater),
            Operator::Ge => order().is_some_and(Ordering::is_ge),
            Operator::Lt => order() == Some(Ordering::Less),
            Operator::Le => order().is_some_and(Ordering::is_le),
            _ => false,
        }
    }
}

/// A list's items; a single value is its own only item.
fn items(value: &Value) -> &[Value] {
    match value {
        Value::List(items) => items,
        one => std::slice::from_ref(one),
    }
}

fn to_number(value: &Value) -> Option<f64> {
    match value {
        Value::Text(text) => text_number(text),
        Value::Null => Some(0.0),
        other => other.as_number(),
    }
}

/// Text as a number, as PowerShell converts it.
#[expect(
    clippy::cast_precision_loss,
    reason = "literals beyond 2^53 are compared as doubles, as in PowerShell"
)]
pub(super) fn text_number(text: &str) -> Option<f64> {
    match super::language::number(text.trim())?.ok()? {
        super::language::Number::Integer(value) => Some(value as f64),
        super::language::Number::Float(value) => Some(value),
    }
}

fn to_bool(value: &Value) -> Option<bool> {
    match value {
        Value::Text(text) if text.eq_ignore_ascii_case("$true") => Some(true),
        Value::Text(text) if text.eq_ignore_ascii_case("$false") => Some(false),
        other => Some(other.is_truthy()),
    }
}

fn to_date(value: &Value) -> Option<DateTime<Utc>> {
    match value {
        Value::Date(value) => Some(*value),
        Value::Text(text) => read_date(text),
        _ => None,
    }
}

/// Reads an instant: RFC 3339, or `2026-11-25`, `2026-11-25 13:00[:00]`, `11/25/2026[ 1:00:00 PM]` in UTC.
///
/// ```
/// use rs_session::operations::compare::read_date;
/// assert_eq!(read_date("9/6/2023 10:05:52 PM"), read_date("2023-09-06T22:05:52Z"));
/// assert_eq!(read_date("31/07/2025"), None);
/// ```
#[must_use]
pub fn read_date(text: &str) -> Option<DateTime<Utc>> {
    const TIMES: [&str; 6] = [
        "%Y-%m-%d %H:%M:%S",
        "%Y-%m-%dT%H:%M:%S",
        "%Y-%m-%d %H:%M",
        "%m/%d/%Y %I:%M:%S %p",
        "%m/%d/%Y %H:%M:%S",
        "%m/%d/%Y %H:%M",
    ];
    let text = text.trim();
    if let Ok(date) = DateTime::parse_from_rfc3339(text) {
        return Some(date.to_utc());
    }
    let time = TIMES.iter().find_map(|form| NaiveDateTime::parse_from_str(text, form).ok());
    let day = || {
        ["%Y-%m-%d", "%m/%d/%Y"]
            .iter()
            .find_map(|form| NaiveDate::parse_from_str(text, form).ok())
            .and_then(|day| day.and_hms_opt(0, 0, 0))
    };
    time.or_else(day).map(|naive| naive.and_utc())
}

/// Matches text against a PowerShell wildcard: `*`, `?`, `[a-z]`; a backtick takes the next character literally.
///
/// The cost is at most pattern times text, whatever the pattern.
///
/// ```
/// use rs_session::operations::compare::wildcard;
/// assert!(wildcard("SSH*", "sshd", false));
/// assert!(!wildcard("SSH*", "sshd", true));
/// assert!(wildcard("disk[0-9]", "disk7", false));
/// ```
#[must_use]
pub fn wildcard(pattern: &str, text: &str, case_sensitive: bool) -> bool {
    let fold = |c: char| if case_sensitive { c } else { c.to_lowercase().next().unwrap_or(c) };
    let parts = pattern_parts(pattern, fold);
    let text: Vec<char> = text.chars().map(fold).collect();
    let (mut part, mut at) = (0, 0);
    let mut retry: Option<(usize, usize)> = None;
    while at < text.len() {
        match parts.get(part) {
            Some(Part::Any) => {
                retry = Some((part, at));
                part += 1;
            }
            Some(one) if one.matches(text[at]) => {
                part += 1;
                at += 1;
            }
            _ => match retry {
                Some((star, from)) => {
                    retry = Some((star, from + 1));
                    part = star + 1;
                    at = from + 1;
                }
                None => return false,
            },
        }
    }
    parts[part..].iter().all(|part| matches!(part, Part::Any))
}

/// True if the text has a wildcard character.
#[must_use]
pub fn has_wildcard(text: &str) -> bool {
    text.contains(['*', '?', '['])
}

enum Part {
    Any,
    One,
    Char(char),
    Set(Vec<(char, char)>),
}

impl Part {
    fn matches(&self, c: char) -> bool {
        match self {
            Self::Any => false,
            Self::One => true,
            Self::Char(own) => *own == c,
            Self::Set(ranges) => ranges.iter().any(|(low, high)| (*low..=*high).contains(&c)),
        }
    }
}

fn pattern_parts(pattern: &str, fold: impl Fn(char) -> char) -> Vec<Part> {
    let mut parts = Vec::new();
    let mut chars = pattern.chars();
    while let Some(c) = chars.next() {
        parts.push(match c {
            '*' => Part::Any,
            '?' => Part::One,
            '`' => Part::Char(fold(chars.next().unwrap_or('`'))),
            '[' => match chars.as_str().split_once(']') {
                Some((set, rest)) if !set.is_empty() => {
                    chars = rest.chars();
                    Part::Set(ranges(set, &fold))
                }
                _ => Part::Char('['),
            },
            c => Part::Char(fold(c)),
        });
    }
    parts
}

fn ranges(set: &str, fold: &impl Fn(char) -> char) -> Vec<(char, char)> {
    let chars: Vec<char> = set.chars().map(fold).collect();
    let mut ranges = Vec::new();
    let mut at = 0;
    while at < chars.len() {
        if chars.get(at + 1) == Some(&'-') && at + 2 < chars.len() {
            ranges.push((chars[at], chars[at + 2]));
            at += 3;
        } else {
            ranges.push((chars[at], chars[at]));
            at += 1;
        }
    }
    ranges
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(left: impl Into<Value>, operator: &str, right: &[Value], expected: bool) {
        let left = left.into();
        let comparison = Comparison::by_name(operator).unwrap();
        let test = Test::new(comparison, right.to_vec()).unwrap();
        assert_eq!(test.holds(&left), expected, "{left:?} -{operator} {right:?}");
    }

    #[test]
    fn a08_comparisons_follow_powershell() {
        check("Running", "eq", &["running".into()], true);
        check("Running", "ceq", &["running".into()], false);
        check("Running", "ieq", &["RUNNING".into()], true);
        check("Running", "like", &["run*".into()], true);
        check("Running", "clike", &["run*".into()], false);
        check("Running", "notlike", &["stop*".into()], true);
        check(10_i64, "gt", &["9".into()], true);
        check("10", "gt", &[9_i64.into()], false);
        check(10_i64, "eq", &["ten".into()], false);
        check(10_i64, "ne", &["ten".into()], true);
        check(1.5, "ge", &[1_i64.into()], true);
        check(Value::Size(2048), "eq", &["2KB".into()], true);
        check(true, "eq", &["$false".into()], false);
        check(true, "eq", &[1_i64.into()], true);
        check(5_i64, "in", &[1_i64.into(), 5_i64.into()], true);
        check(5_i64, "notin", &[1_i64.into(), 5_i64.into()], false);
        check(vec![Value::from("a"), "b".into()], "contains", &["B".into()], true);
        check(vec![Value::from("a"), "b".into()], "eq", &["b".into()], true);
        check(vec![Value::from(0_i64), 1_i64.into()], "eq", &[0_i64.into()], false);
        check(vec![Value::from(0_i64), 1_i64.into()], "lt", &[2_i64.into()], true);
        check("05", "in", &[5_i64.into()], true);
        check(5_i64, "in", &["05".into()], false);
        check("Running", "match", &["^run".into()], true);
        check("Running", "cmatch", &["^run".into()], false);
        check("Running", "notmatch", &["stop|pause".into()], true);
        check(443_i64, "match", &["^4+3$".into()], true);
        check(vec![Value::from("ab"), "b".into()], "match", &["^a".into()], true);
        check("b", "cgt", &["A".into()], true);
        check("B", "cgt", &["b".into()], true);
        check(Value::Null, "lt", &[0_i64.into()], true);
        check(Value::Null, "gt", &[Value::from(-1_i64)], true);
        check(Value::Null, "eq", &["x".into()], false);
        check(Value::Null, "not", &[], true);
        check("x", "not", &[], false);
    }

    #[test]
    fn dates_compare_as_instants() {
        let date = read_date("2026-11-25T10:00:00Z").unwrap();
        check(date, "gt", &["2026-11-24".into()], true);
        check(date, "lt", &["11/25/2026 10:00:01 AM".into()], true);
        check(date, "gt", &["yesterday".into()], false);
    }

    #[test]
    fn wildcards_cost_no_more_than_their_product() {
        let pattern = "*a".repeat(300) + "b";
        assert!(!wildcard(&pattern, &"a".repeat(1000), false));
        assert!(wildcard("", "", false) && wildcard("**", "", false) && !wildcard("?", "", false));
        assert!(wildcard("a`*b", "a*b", false) && !wildcard("a`*b", "axb", false));
    }
}

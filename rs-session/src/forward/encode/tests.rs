//! Golden lines, and what typed text cannot do to them.

use proptest::prelude::*;

use super::*;
use crate::forward::{EventKind, Outcome};

fn event() -> Event {
    let at = "2026-11-28T10:00:00.123456Z".parse().unwrap();
    let mut event = Event::new(
        "6f0c5b8e-0000-4000-8000-000000000001/4",
        "node-01",
        EventKind::CommandRefused,
        at,
        "line 2 is refused",
    );
    event.engineer = Some("engineer@support.example".to_owned());
    event.session_id = "6f0c5b8e-0000-4000-8000-000000000001".parse().ok();
    event.line = Some("Get-Process | Out-File x".to_owned());
    event.reason = Some("not-permitted".to_owned());
    event
}

fn text(format: Format, event: &Event) -> String {
    String::from_utf8(format.encode(event)).unwrap()
}

#[test]
fn q07_json_golden() {
    assert_eq!(
        text(Format::Json, &event()),
        r#"{"id":"6f0c5b8e-0000-4000-8000-000000000001/4","eventId":18242,"kind":"command-refused","severity":"warning","time":"2026-11-28T10:00:00.123456Z","node":"node-01","message":"line 2 is refused","outcome":"failure","engineer":"engineer@support.example","sessionId":"6f0c5b8e-0000-4000-8000-000000000001","line":"Get-Process | Out-File x","reason":"not-permitted"}"#
    );
}

#[test]
fn q07_syslog_golden() {
    let process = std::process::id();
    assert_eq!(
        text(Format::Syslog, &event()),
        format!(
            "<108>1 2026-11-28T10:00:00.123456Z node-01 remote-support {process} 18242 [remoteSupport@32473 \
             id=\"6f0c5b8e-0000-4000-8000-000000000001/4\" kind=\"command-refused\" \
             engineer=\"engineer@support.example\" sessionId=\"6f0c5b8e-0000-4000-8000-000000000001\" \
             line=\"Get-Process | Out-File x\" reason=\"not-permitted\"] \u{feff}line 2 is refused"
        )
    );
}

#[test]
fn q07_cef_golden() {
    let version = env!("CARGO_PKG_VERSION");
    assert_eq!(
        text(Format::Cef, &event()),
        format!(
            "CEF:0|Remote Support|remote-support|{version}|18242|Command refused|7|rt=1795860000123 \
             externalId=6f0c5b8e-0000-4000-8000-000000000001/4 dvchost=node-01 outcome=failure \
             suser=engineer@support.example cs3=6f0c5b8e-0000-4000-8000-000000000001 cs3Label=sessionId \
             cs6=Get-Process | Out-File x cs6Label=line reason=not-permitted msg=line 2 is refused"
        )
    );
}

/// The attributes that the schema, version 1.3.0, requires of every event and of each class.
fn required(class: u64) -> &'static [&'static str] {
    match class {
        3005 => &["user", "privileges"],
        3002 => &["user"],
        3004 => &["entity"],
        6003 => &["actor", "api", "src_endpoint"],
        6002 => &["app"],
        other => panic!("class {other} is not one of ours"),
    }
}

#[test]
fn q07_ocsf_has_what_its_class_requires() {
    let base = ["activity_id", "category_uid", "class_uid", "metadata", "severity_id", "time", "type_uid"];
    for kind in EventKind::ALL {
        let at = "2026-11-28T10:00:00Z".parse().unwrap();
        let json = text(Format::Ocsf, &Event::new("x/1", "node-01", *kind, at, "text"));
        let object: serde_json::Value = serde_json::from_str(&json).unwrap();
        let class = object["class_uid"].as_u64().unwrap();
        for name in base.iter().chain(required(class)) {
            assert!(!object[*name].is_null(), "{kind:?} has no {name}");
        }
        assert_eq!(object["type_uid"], class * 100 + object["activity_id"].as_u64().unwrap());
        assert_eq!(object["category_uid"], class / 1000);
        assert_eq!(object["metadata"]["event_code"], kind.number().to_string());
        for name in ["version", "product"] {
            assert!(!object["metadata"][name].is_null(), "{kind:?} has no metadata.{name}");
        }
    }
}

#[test]
fn a_long_text_is_cut_to_the_bound_of_a_message() {
    let mut long = event();
    long.message = "ä".repeat(MESSAGE_BYTES_MAX);
    assert!(Format::Syslog.encode(&long).len() <= MESSAGE_BYTES_MAX);
    assert!(Format::Ocsf.encode_for_syslog(&long).len() <= MESSAGE_BYTES_MAX);
    String::from_utf8(Format::Syslog.encode(&long)).expect("cut between characters");
}

/// The values of a syslog message's structured data, read by the rules of RFC 5424 §6.3.3.
fn structured_values(message: &str) -> Vec<(String, String)> {
    let (mut values, mut rest) = (Vec::new(), &message[message.find('[').expect("structured data") + 1..]);
    rest = &rest[rest.find(' ').expect("a value")..];
    while let Some(after) = rest.strip_prefix(' ') {
        let (name, after) = after.split_once("=\"").expect("a name");
        let (mut value, mut chars) = (String::new(), after.char_indices());
        let end = loop {
            match chars.next().expect("an end") {
                (_, '\\') => value.push(chars.next().expect("an escaped character").1),
                (at, '"') => break at,
                (_, one) => value.push(one),
            }
        };
        values.push((name.to_owned(), value));
        rest = &after[end + 1..];
    }
    assert!(rest.starts_with("] "), "the data end where their bracket is");
    values
}

/// The fields of a CEF extension, for names that we write.
fn cef_fields(line: &str) -> Vec<(String, String)> {
    let (mut bars, mut escaped, mut start) = (0, false, 0);
    for (at, one) in line.char_indices() {
        match one {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            '|' => bars += 1,
            _ => {}
        }
        if bars == 7 {
            start = at + 1;
            break;
        }
    }
    let extension = &line[start..];
    let mut fields: Vec<(String, String)> = Vec::new();
    for word in extension.split(' ') {
        let unescaped = word.char_indices().find(|&(at, one)| {
            one == '=' && word[..at].bytes().rev().take_while(|&byte| byte == b'\\').count() % 2 == 0
        });
        match (unescaped, fields.last_mut()) {
            (Some((at, _)), _) => fields.push((word[..at].to_owned(), word[at + 1..].to_owned())),
            (None, Some((_, value))) => *value += &format!(" {word}"),
            (None, None) => panic!("the extension does not begin with a field"),
        }
    }
    fields.into_iter().map(|(name, value)| (name, value.replace("\\=", "=").replace("\\\\", "\\"))).collect()
}

proptest! {
    /// Content cannot forge the border of an event, or of a field.
    #[test]
    fn sec38_typed_text_forges_nothing(line in any::<String>(), message in any::<String>(), engineer in any::<String>()) {
        let mut event = event();
        event.line = Some(line.clone());
        event.message = message;
        event.engineer = Some(engineer.clone());
        for format in [Format::Json, Format::Syslog, Format::Cef, Format::Ocsf, Format::Text] {
            for bytes in [format.encode(&event), format.encode_for_syslog(&event)] {
                let text = String::from_utf8(bytes).unwrap();
                prop_assert!(!text.chars().any(|one| matches!(one, '\n' | '\r' | '\0' | '\u{85}' | '\u{2028}' | '\u{2029}')), "{format:?}");
            }
        }
        let read: Event = serde_json::from_slice(&Format::Json.encode(&event)).unwrap();
        prop_assert_eq!(&read, &event);

        let values = structured_values(&text(Format::Syslog, &event));
        let names: Vec<_> = values.iter().map(|(name, _)| name.as_str()).collect();
        prop_assert_eq!(names, ["id", "kind", "engineer", "sessionId", "line", "reason"]);
        let seen: String = one_line(&line).chars().take(500).collect();
        prop_assert_eq!(&values[4].1, &seen);

        let fields = cef_fields(&text(Format::Cef, &event));
        let names: Vec<_> = fields.iter().map(|(name, _)| name.as_str()).collect();
        prop_assert_eq!(names, ["rt", "externalId", "dvchost", "outcome", "suser", "cs3", "cs3Label", "cs6", "cs6Label", "reason", "msg"]);
        prop_assert_eq!(&fields[4].1, &one_line(&engineer));
    }
}

/// The control of the property: a line whose value is not escaped does forge a field.
#[test]
fn sec38_control_an_unescaped_value_is_noticed() {
    let forged = "CEF:0|a|b|1|2|c|3|cs6=x outcome=success cs6Label=line";
    assert_eq!(cef_fields(forged).len(), 3);
    let escaped = "CEF:0|a|b|1|2|c|3|cs6=x outcome\\=success cs6Label=line";
    assert_eq!(cef_fields(escaped).len(), 2);
}

#[test]
fn refusals_are_failures() {
    assert_eq!(event().outcome, Outcome::Failure);
}

//! Holds `docs/local-api.schema.json` against what is really written and read (I11, I12).

use rs_consent::party::{Grantor, Method};
use rs_consent::{AccessLevel, EndCause};
use rs_session::ending::Delays;
use rs_session::host::PendingApproval;
use rs_session::record::ApprovalSubject;
use serde_json::{Value, json};
use uuid::Uuid;

use super::*;

fn schema() -> Value {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/local-api.schema.json");
    serde_json::from_slice(&std::fs::read(path).expect("the schema")).expect("JSON")
}

fn fits(part: &str, value: &Value) -> Result<(), String> {
    let schema = schema();
    check(&schema, &schema["$defs"][part], value)
}

/// The words of JSON Schema that the file uses; any other word fails the test, so that none is passed over.
fn check(root: &Value, schema: &Value, value: &Value) -> Result<(), String> {
    for (word, wanted) in schema.as_object().ok_or("no schema")? {
        let holds = match word.as_str() {
            "$ref" => {
                let name = wanted
                    .as_str()
                    .and_then(|text| text.strip_prefix("#/$defs/"))
                    .ok_or("foreign reference")?;
                check(root, &root["$defs"][name], value)?;
                true
            }
            "oneOf" => {
                let all = wanted.as_array().ok_or("no list")?;
                all.iter().filter(|one| check(root, one, value).is_ok()).count() == 1
            }
            "const" => wanted == value,
            "enum" => wanted.as_array().is_some_and(|all| all.contains(value)),
            "type" => match wanted {
                Value::Array(all) => all.iter().any(|one| is(value, one)),
                one => is(value, one),
            },
            "minimum" => value.as_i64() >= wanted.as_i64(),
            "pattern" => {
                value.as_str().is_some_and(|text| pattern(wanted.as_str().unwrap_or_default(), text))
            }
            "required" => {
                let names = wanted.as_array().ok_or("no list")?;
                names.iter().all(|name| value.get(name.as_str().unwrap_or_default()).is_some())
            }
            "properties" => {
                for (name, inner) in wanted.as_object().ok_or("no properties")? {
                    if let Some(found) = value.get(name) {
                        check(root, inner, found).map_err(|error| format!("{name}: {error}"))?;
                    }
                }
                true
            }
            "additionalProperties" => {
                let known = schema["properties"].as_object().ok_or("no properties")?;
                value.as_object().is_none_or(|own| own.keys().all(|name| known.contains_key(name)))
            }
            "items" => {
                for item in value.as_array().into_iter().flatten() {
                    check(root, wanted, item)?;
                }
                true
            }
            other => return Err(format!("the schema uses `{other}`, which this test does not know")),
        };
        if !holds {
            return Err(format!("{word} {wanted} does not hold for {value}"));
        }
    }
    Ok(())
}

fn is(value: &Value, kind: &Value) -> bool {
    match kind.as_str() {
        Some("object") => value.is_object(),
        Some("array") => value.is_array(),
        Some("string") => value.is_string(),
        Some("boolean") => value.is_boolean(),
        Some("null") => value.is_null(),
        Some("integer") => value.is_i64() || value.is_u64(),
        _ => false,
    }
}

/// The two patterns of the schema.
fn pattern(pattern: &str, text: &str) -> bool {
    if pattern.ends_with("{12}$") {
        return text.len() == 36 && text.parse::<Uuid>().is_ok() && text == text.to_lowercase();
    }
    text.as_bytes().get(10) == Some(&b'T') && text.parse::<chrono::DateTime<chrono::Utc>>().is_ok()
}

fn grantor(method: Method) -> Grantor {
    Grantor { user: "admin".parse().expect("a name"), host: "node-01".parse().expect("a name"), method }
}

/// One of each, and of each shape that it can have.
fn requests() -> Vec<ControlRequest> {
    let id = Uuid::from_u128(7);
    let mut all = vec![
        ControlRequest::Changed {},
        ControlRequest::Status {},
        ControlRequest::EndSession { session_id: id },
        ControlRequest::Approvals {},
        ControlRequest::Answer { approval_id: id, verdict: Verdict::Approve {} },
        ControlRequest::Answer { approval_id: id, verdict: Verdict::Decline { reason: String::new() } },
        ControlRequest::Version {},
        ControlRequest::ConsoleCode {},
    ];
    let methods = [Method::Prompt, Method::CommandLine, Method::Console, Method::Api];
    all.extend(methods.map(|method| ControlRequest::Shut { by: grantor(method) }));
    all
}

/// The name of a request. Whoever adds one is led here by the compiler, and from here to the schema.
fn name(request: &ControlRequest) -> &'static str {
    match request {
        ControlRequest::Changed {} => "changed",
        ControlRequest::Shut { .. } => "shut",
        ControlRequest::Status {} => "status",
        ControlRequest::EndSession { .. } => "end-session",
        ControlRequest::Approvals {} => "approvals",
        ControlRequest::Answer { .. } => "answer",
        ControlRequest::Version {} => "version",
        ControlRequest::ConsoleCode {} => "console-code",
    }
}

fn replies() -> Vec<ControlReply> {
    let id = Uuid::from_u128(7);
    let ended = |last_executed, statement: Option<PathBuf>| EndedSession {
        session_id: id,
        cause: EndCause::Revoked,
        last_executed,
        recorded: statement.is_some(),
        delays: Delays { gate_us: 1, work_us: last_executed, closed_us: 3, listener_us: None },
        statement,
    };
    let at = chrono::DateTime::UNIX_EPOCH;
    let waiting =
        [ApprovalSubject::Change, ApprovalSubject::Release, ApprovalSubject::Level].map(|subject| {
            PendingApproval {
                approval_id: id,
                session_id: id,
                engineer: "engineer@support.example".into(),
                access_level: AccessLevel::DiagnosticsRepair,
                request: "2411280010000001".parse().expect("a number"),
                subject,
                summary: "Stop-Service spooler".into(),
                details: json!({"any": 1}),
                asked_at: at,
                remaining: Duration::from_millis(1500),
            }
        });
    let status = |word: &str, error: Option<&str>| {
        ControlReply::Status(Status {
            pid: 7,
            started_at: at,
            connection_status: word.into(),
            connection_error_message: error.map(Into::into),
            sessions: vec![OpenSession {
                session_id: id,
                engineer: "e".into(),
                access_level: AccessLevel::Diagnostics,
                started_at: at,
            }],
        })
    };
    vec![
        ControlReply::Changed(Changed {
            sessions_ended: 2,
            sessions: vec![ended(Some(9), Some("x.end.json".into())), ended(None, None)],
            sessions_still_ending: 0,
            elapsed_ms: 41,
        }),
        status("Connected", None),
        status("Connecting", Some("no way")),
        status("NotConnected", None),
        ControlReply::EndSession(SessionEnd { session: None, elapsed_ms: 0 }),
        ControlReply::EndSession(SessionEnd { session: Some(ended(None, None)), elapsed_ms: 1 }),
        ControlReply::Approvals { waiting: waiting.into() },
        ControlReply::Answer { taken: true },
        ControlReply::Version(Version::of_this_program()),
        ControlReply::Version(Version::before_the_question()),
        ControlReply::ConsoleCode { offer: None },
        ControlReply::ConsoleCode {
            offer: Some(ConsoleOffer { address: "http://127.0.0.1:1/".into(), code: "K".into() }),
        },
        ControlReply::Failed { code: "version".into(), message: "no".into() },
    ]
}

#[test]
fn i11_every_request_and_reply_fits_the_schema() {
    for request in requests() {
        let value = serde_json::to_value(&request).expect("JSON");
        assert_eq!(value["request"], name(&request));
        fits("request", &value).unwrap_or_else(|error| panic!("{value}: {error}"));
    }
    for reply in replies() {
        let value = serde_json::to_value(&reply).expect("JSON");
        fits("reply", &value).unwrap_or_else(|error| panic!("{value}: {error}"));
    }
}

#[test]
fn i11_every_name_has_an_example_and_stands_in_the_page() {
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/local-api.md");
    let page = std::fs::read_to_string(page).expect("the page");
    for wanted in ControlRequest::NAMES {
        assert!(requests().iter().any(|request| name(request) == wanted), "{wanted}");
        assert!(page.contains(&format!("| `{wanted}` |")), "{wanted}");
    }
    assert_eq!(
        requests().iter().map(name).collect::<std::collections::BTreeSet<_>>().len(),
        ControlRequest::NAMES.len()
    );
}

/// What the schema refuses the agent refuses, and the other way round: a field more, a field less, a wrong value.
#[test]
fn i11_schema_and_agent_refuse_the_same_requests() {
    let mut refused = 0;
    for request in requests() {
        let whole = serde_json::to_value(&request).expect("JSON");
        let fields: Vec<String> = whole.as_object().expect("an object").keys().cloned().collect();
        let mut changed: Vec<Value> = Vec::new();
        for field in &fields {
            let mut less = whole.clone();
            less.as_object_mut().expect("an object").remove(field);
            let mut wrong = whole.clone();
            wrong[field] = json!({"not": "this"});
            changed.extend([less, wrong]);
        }
        let mut more = whole.clone();
        more["accessLevel"] = "Diagnostics".into();
        changed.push(more);
        for value in changed {
            let agent = serde_json::from_value::<ControlRequest>(value.clone()).is_ok();
            assert_eq!(fits("request", &value).is_ok(), agent, "{value}");
            refused += u32::from(!agent);
        }
    }
    assert!(refused > 30, "{refused}");
}

/// A client passes over what it does not know in a reply; what the schema requires it needs.
#[test]
fn i12_replies_may_gain_fields_and_may_not_lose_any_that_is_required() {
    for reply in replies() {
        let whole = serde_json::to_value(&reply).expect("JSON");
        let mut more = whole.clone();
        more["addedLater"] = json!({"deep": [1]});
        assert_eq!(serde_json::from_value::<ControlReply>(more.clone()).expect("read"), reply);
        fits("reply", &more).expect("the schema allows it");
        for field in whole.as_object().expect("an object").keys() {
            let mut less = whole.clone();
            less.as_object_mut().expect("an object").remove(field);
            let read = serde_json::from_value::<ControlReply>(less.clone()).is_ok();
            assert_eq!(fits("reply", &less).is_ok(), read, "without {field}: {whole}");
        }
    }
}

#[test]
fn i12_a_schema_that_lags_behind_is_found_out() {
    assert!(fits("request", &json!({"request": "added-later"})).is_err());
    assert!(fits("reply", &json!({"reply": "answer", "taken": "yes"})).is_err());
    let schema = json!({"$defs": {}, "unheard": true});
    assert!(check(&schema, &schema, &json!(1)).is_err(), "a word that is not known does not pass");
}

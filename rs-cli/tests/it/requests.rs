//! Support requests between a node and a desk that share nothing but files.

use crate::machine::Machine;

/// A node, and a desk on another machine that has opened the node's request.
struct Pair {
    node: Machine,
    desk: Machine,
    number: String,
}

impl Pair {
    fn new() -> Self {
        let (node, desk) = (Machine::new(), Machine::new());
        let number = node.submit();
        carry(&node, &desk, "request.json");
        desk.json("desk init --desk-name Example-Desk");
        let opened = desk.json("desk open request.json --file opening.json");
        assert_eq!(opened["number"], number.as_str());
        carry(&desk, &node, "opening.json");
        Self { node, desk, number }
    }

    fn fingerprint(&self) -> String {
        self.desk.json("desk init --desk-name Example-Desk")["fingerprint"].as_str().expect("text").to_owned()
    }

    fn state(&self) -> String {
        self.node.json("request list")[0]["state"].as_str().expect("text").to_owned()
    }
}

fn carry(from: &Machine, to: &Machine, name: &str) {
    std::fs::copy(from.file(name), to.file(name)).expect("carried");
}

#[test]
fn a_request_goes_to_the_desk_and_back() {
    let pair = Pair::new();
    assert_eq!(pair.state(), "Submitted");
    let line = format!("request confirm opening.json --desk-fingerprint {}", pair.fingerprint());
    let confirmed = pair.node.json(&line);
    assert_eq!((&confirmed["state"], &confirmed["desk"]), (&"Open".into(), &"Example-Desk".into()));
    assert_eq!(pair.node.json(&line)["state"], "Open", "confirming twice changes nothing");
    pair.desk.json("desk close --file closing.json");
    carry(&pair.desk, &pair.node, "closing.json");
    let closed = pair.node.json("request close closing.json");
    assert_eq!((&closed["state"], &closed["closedBy"]), (&"Closed".into(), &"desk".into()));
    assert_eq!(pair.node.run(&line).code, 3, "a closed request stays closed");
}

#[test]
fn sec03_a_foreign_desk_is_confirmed_by_a_person_or_by_its_fingerprint() {
    let pair = Pair::new();
    let run = pair.node.run("request confirm opening.json");
    assert_eq!(run.code, 3, "{}", run.stderr);
    assert!(
        run.stderr.contains("Example-Desk") && run.stderr.contains(&pair.fingerprint()),
        "{}",
        run.stderr
    );
    let run = pair.node.run("request confirm opening.json --desk-fingerprint 0000-0000-0000-0000");
    assert_eq!(run.code, 6, "{}", run.stderr);
    let run = pair.node.run(
        "enable --agree-to-remote-support-consent --access-level Diagnostics --support-request opening.json",
    );
    assert_eq!(run.code, 3, "agreeing to the terms is not agreeing to the desk: {}", run.stderr);
    assert_eq!(pair.state(), "Submitted");
    assert_eq!(pair.node.json("access"), serde_json::json!([]));
}

#[test]
fn enable_confirms_an_opening_on_the_way() {
    let pair = Pair::new();
    let grant = pair.node.enable(&format!(
        "Diagnostics --support-request opening.json --desk-fingerprint {}",
        pair.fingerprint()
    ));
    assert_eq!(grant["supportRequest"], pair.number.as_str());
    assert_eq!(pair.state(), "Open");
    let by_number = pair.node.enable(&format!("Diagnostics --support-request {}", pair.number));
    assert_eq!(by_number["supportRequest"], pair.number.as_str());
}

#[test]
fn c20_a_consent_for_an_unknown_or_closed_request_is_refused() {
    let pair = Pair::new();
    let line = "enable --agree-to-remote-support-consent --access-level Diagnostics --support-request";
    let fresh = Machine::new();
    let run = fresh.run(&format!("{line} {}", pair.number));
    assert_eq!(run.code, 4, "{}", run.stderr);
    assert!(!fresh.state().exists());
    assert_eq!(pair.node.run(&format!("{line} 2601020000000000")).code, 4);
    assert_eq!(pair.node.json("request close")["state"], "Closed");
    assert_eq!(pair.node.run(&format!("{line} {}", pair.number)).code, 3);
    for wrong in ["123", "9999999999999999", "26010212345678901"] {
        let run = pair.node.run(&format!("{line} {wrong}"));
        assert_eq!(run.code, 2, "{wrong}: {}", run.stderr);
        assert!(run.stderr.contains("16 digits"), "{}", run.stderr);
    }
    assert_eq!(pair.node.json("access --include-expired"), serde_json::json!([]));
}

#[test]
fn sec18_an_altered_or_foreign_file_is_refused() {
    let pair = Pair::new();
    let other = Pair::new();
    let opening = std::fs::read_to_string(pair.node.file("opening.json")).expect("there");
    let at = opening.find("\"payload\":\"").expect("a payload") + 30;
    let flipped = if opening.as_bytes()[at] == b'A' { "B" } else { "A" };
    let altered = format!("{}{flipped}{}", &opening[..at], &opening[at + 1..]);
    std::fs::write(pair.node.file("altered.json"), altered).expect("own directory");
    std::fs::copy(other.node.file("opening.json"), pair.node.file("foreign.json")).expect("carried");
    std::fs::write(pair.node.file("junk.json"), "{}").expect("own directory");
    std::fs::write(pair.node.file("long.json"), " ".repeat(16 * 1024 + 1)).expect("own directory");
    for (name, code) in
        [("altered", 6), ("foreign", 6), ("junk", 6), ("request", 6), ("long", 1), ("none", 4)]
    {
        let run = pair.node.run(&format!("request confirm {name}.json"));
        assert_eq!(run.code, code, "{name}: {}", run.stderr);
    }
    assert_eq!(pair.desk.run("desk open opening.json").code, 6, "an opening is no request");
    assert_eq!(pair.state(), "Submitted");
}

#[test]
fn the_desk_assigns_an_engineer_by_key() {
    let pair = Pair::new();
    let engineer = Machine::new();
    let made = engineer.json("engineer init");
    assert_eq!(engineer.json("engineer init"), made, "made once");
    std::fs::copy(engineer.state().join("engineer/engineer.pub"), pair.desk.file("engineer.pub"))
        .expect("carried");
    let line = "desk assign --engineer engineer@support.example";
    assert_eq!(pair.desk.run(line).code, 4, "no engineer on the desk's machine");
    let line = format!("{line} --engineer-key engineer.pub --file assignment.json");
    let assigned = pair.desk.json(&format!("{line} --valid-minutes 60 --level-cap Diagnostics"));
    assert_eq!(assigned["engineerFingerprint"], made["fingerprint"]);
    assert_eq!(
        (&assigned["request"], &assigned["levelCap"]),
        (&pair.number.as_str().into(), &"Diagnostics".into())
    );
    for wrong in ["0", "1441", "-5", "1e3", "''"] {
        let run = pair.desk.run(&format!("{line} --valid-minutes {wrong}"));
        assert_eq!(run.code, 2, "{wrong}: {}", run.stderr);
        assert!(run.stderr.contains("1 to 1440"), "{}", run.stderr);
    }
    let envelope = std::fs::read(pair.desk.file("assignment.json")).expect("written");
    let envelope = rs_consent::Envelope::from_json(&envelope).expect("an envelope");
    let request = &pair.node.json("request list")[0];
    let node = request["node"]["key"].as_str().expect("text").parse().expect("a key");
    let now = chrono::DateTime::parse_from_rfc3339(assigned["issuedAt"].as_str().expect("text"))
        .expect("a date")
        .to_utc();
    rs_consent::Assignment::verify(&envelope, &envelope.claimed_key(), &node, now)
        .expect("the node accepts it");
    pair.desk.json("desk close");
    assert_eq!(pair.desk.run(&line).code, 4, "nothing is open any more");
    assert_eq!(pair.desk.run(&line.replacen("assign", &format!("assign {}", pair.number), 1)).code, 3);
}

#[test]
fn with_one_state_directory_the_roles_find_each_other() {
    let machine = Machine::new();
    let number = machine.submit();
    machine.json("desk init");
    machine.json("engineer init");
    assert_eq!(machine.json("desk open")["number"], number.as_str());
    let assigned = machine.json("desk assign --engineer engineer@support.example");
    assert_eq!(assigned["request"], number.as_str());
    let grant = machine.enable(&format!("Diagnostics --support-request {number}"));
    assert_eq!(grant["supportRequest"], number.as_str());
    assert_eq!(machine.json("request list")[0]["state"], "Open", "confirmed on the way: it is our own desk");
}

#[test]
fn a_reason_is_one_visible_line() {
    let machine = Machine::new();
    for reason in ["", " ", "two\nlines", "\u{1b}[2J", &"x".repeat(1001)] {
        let run = machine.run_args(["request", "submit", "--reason", reason]);
        assert_eq!(run.code, 2, "{reason:?}: {}", run.stderr);
    }
    assert!(!machine.state().exists());
}

#[test]
fn a_request_whose_file_cannot_be_written_is_not_lost() {
    let machine = Machine::new();
    let run = machine.run("request submit --reason slow-disk --file no/such/place.json");
    assert_ne!(run.code, 0);
    let number = machine.json("request list")[0]["number"].as_str().expect("made").to_owned();
    assert!(run.stderr.contains(&format!("{number}.request.json")), "{}", run.stderr);
}

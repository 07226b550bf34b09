//! Every code that people meet is explained, by the program and on one page (U04).

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use rs_cli::troubleshooting::{Area, all};
use serde_json::Value;

use crate::machine::Machine;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the crate lies in the workspace").to_owned()
}

/// Words that stand in JSON and are no trouble: nobody looks for a remedy of them.
const NO_TROUBLE: &[(&str, &str)] = &[
    ("Act", "what was done, in the log of the store"),
    ("ApprovalRule", "a choice of the owner"),
    ("ApprovalStep", "a step of a question, on record"),
    ("ApprovalSubject", "what a question is about"),
    ("ArcGateway", "a choice of who asks"),
    ("Availability", "who answers a command; `operations` says it with the reason"),
    ("Bound", "a part of a plan"),
    ("Client", "whose proxy setting it is"),
    ("Cloud", "a choice of who asks"),
    ("Confidence", "how sure an endpoint is"),
    ("ClosedBy", "who closed a request"),
    ("Closed", "why a command has no definition; `operations` says it in words"),
    ("ControlReply", "a message; its failures carry codes of commands"),
    ("ControlRequest", "a message"),
    ("Coverage", "a part of the verdict on a list, which is explained"),
    ("Effect", "what a command does"),
    ("Event", "an entry of the node's log"),
    ("Form", "a form of output or of a name"),
    ("Format", "a form of output"),
    ("Keeping", "a choice of the owner"),
    ("Kind", "the kind of a record"),
    ("ListFormat", "the kind of a list"),
    ("Method", "how consent was given"),
    ("Operator", "a comparison"),
    ("Outcome", "whether an event was a success"),
    ("OutputForm", "a form of output"),
    ("Place", "where a parameter stands"),
    ("Purpose", "what an endpoint is for"),
    ("SecondPerson", "how far a consent by two persons is"),
    ("Severity", "how bad it is"),
    ("Signer", "who signed a record"),
    ("Source", "where a setting comes from"),
    ("Stage", "a part of a plan"),
    ("Stream", "where output came from"),
    ("Takes", "what a parameter takes"),
    ("Variant", "a product"),
];

/// Enumerations whose words are explained, where their variants stand in the source, and the place in the catalog.
const EXPLAINED: &[(&str, &str, Area)] = &[
    ("ErrorCode", "rs-cli/src/outcome.rs", Area::Command),
    ("Exit", "rs-cli/src/outcome.rs", Area::Exit),
    ("Status", "rs-session/src/operations/wire.rs", Area::Operation),
    ("Hop", "rs-proxy/src/hop.rs", Area::Network),
    ("Status", "rs-proxy/src/allowlist/report.rs", Area::Allowlist),
    ("SessionState", "rs-session/src/history.rs", Area::Session),
    ("Verdict", "rs-session/src/record/verify.rs", Area::Verdict),
    ("ProofVerdict", "rs-session/src/node_log/prove.rs", Area::Proof),
    ("GapKind", "rs-session/src/node_log/prove.rs", Area::Gap),
];

/// Lists that are made by a macro from their explanations, so that none can be without.
const MADE_WITH_EXPLANATION: &[&str] = &["$name", "Code", "Reason", "Check"];

/// The page, from what the program says.
fn page() -> String {
    let machine = Machine::new();
    let run = machine.run("explain --output json");
    assert_eq!(run.code, 0, "{}", run.stderr);
    let entries: Vec<Value> = serde_json::from_str(&run.stdout).expect("JSON");
    let mut page = String::from(
        "# Troubleshooting by message\n\n\
         Each code that you can meet, what it means, and what to do. `remote-support explain CODE` says the same, also of a whole message\n\
         (`remote-support explain \"error[no-terminal]: …\"`), and `remote-support agent doctor` looks at a node by itself. This page is made from\n\
         the program: `UPDATE_GOLDEN=1 cargo test -p rs-cli --test it troubleshooting` writes it anew.\n",
    );
    let cell = |value: &Value| value.as_str().unwrap_or_default().replace('|', "\\|");
    let mut place = String::new();
    for entry in &entries {
        if entry["where"] != place.as_str() {
            place = entry["where"].as_str().expect("a title").to_owned();
            let seen = entry["seen"].as_str().expect("how it is seen");
            let status = if entry["status"].is_string() { " status |" } else { "" };
            let line = if status.is_empty() { "" } else { " --- |" };
            page += &format!(
                "\n## {place}\n\nSeen as: {seen}\n\n| code |{status} what it means | what to do |\n| --- |{line} --- | --- |\n"
            );
        }
        let status = if entry["status"].is_string() {
            format!(" {} |", cell(&entry["status"]))
        } else {
            String::new()
        };
        page += &format!(
            "| `{}` |{status} {} | {} |\n",
            cell(&entry["code"]),
            cell(&entry["cause"]),
            cell(&entry["remedy"])
        );
    }
    page
}

#[test]
fn u04_the_page_is_what_the_program_says() {
    let path = root().join("docs/troubleshooting.md");
    let page = page();
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        std::fs::write(&path, &page).expect("the documents");
    }
    let kept = std::fs::read_to_string(&path).expect("the page");
    assert_eq!(page, kept, "docs/troubleshooting.md differs; UPDATE_GOLDEN=1 writes it anew");
    for area in Area::ALL {
        assert!(kept.contains(&format!("\n## {}\n", area.title())), "{area:?}");
    }
}

#[test]
fn u04_explain_takes_codes_and_whole_messages() {
    let machine = Machine::new();
    let run = machine.run("explain grant-expired");
    assert_eq!(run.code, 0, "{}", run.stderr);
    assert!(run.stdout.contains("Remedy : ask the owner to enable remote support again"), "{}", run.stdout);
    // What a command of this program says leads to its own explanation.
    let failed = machine.run("session verify 00000000-0000-0000-0000-000000000001");
    let code = failed.stderr.split(['[', ']']).nth(1).expect("a code in brackets").to_owned();
    let run = machine.run_args(["explain", failed.stderr.trim(), "--output", "json"]);
    let found: Vec<Value> = serde_json::from_str(&run.stdout).expect("JSON");
    assert_eq!(found[0]["code"], code.as_str(), "{}", failed.stderr);
    let run = machine.run("explain frobnicate");
    assert_eq!(run.code, 4);
    assert!(run.stderr.contains("remote-support explain"), "{}", run.stderr);
    assert!(!machine.state().exists(), "explaining leaves nothing behind");
}

#[test]
fn u04_every_failure_says_what_to_do_next() {
    let machine = Machine::new();
    for line in [
        "history --session-id 00000000-0000-0000-0000-000000000001",
        "session verify nothing",
        "connect",
        "disable --agree --frob",
        "node-log prove --from 2001",
        "session export 00000000-0000-0000-0000-000000000001 there",
    ] {
        let run = machine.run(&format!("{line} --output json"));
        assert_ne!(run.code, 0, "{line}");
        let last = run.stderr.lines().last().unwrap_or_default();
        let said: Value = serde_json::from_str(last).unwrap_or_else(|_| panic!("{line}: {}", run.stderr));
        assert!(said["error"]["nextStep"].as_str().is_some_and(|next| next.len() > 10), "{line}: {said}");
    }
}

/// Sources of the libraries and the program, apart from their tests.
fn sources(folder: &Path, found: &mut Vec<(PathBuf, String)>) {
    for entry in std::fs::read_dir(folder).expect("readable") {
        let path = entry.expect("readable").path();
        if path.is_dir() {
            sources(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            let text = std::fs::read_to_string(&path).expect("a source");
            let code = text.split("#[cfg(test)]").next().unwrap_or_default().to_owned();
            found.push((path.strip_prefix(root()).expect("below").to_owned(), code));
        }
    }
}

/// Names of the enumerations in a source whose words are kebab-case in JSON.
fn worded(code: &str) -> Vec<String> {
    let mut lines = code.lines().map(str::trim);
    let mut found = Vec::new();
    while let Some(line) = lines.next() {
        if line.starts_with("#[serde(") && line.contains("rename_all = \"kebab-case\"") {
            let item = lines.find(|line| !line.starts_with(['#', '/']));
            let named = item.and_then(|item| item.split_once("enum ")).map(|(_, rest)| rest);
            let name = named.and_then(|rest| rest.split([' ', '{']).next());
            found.extend(name.map(str::to_owned));
        }
    }
    found
}

/// Variants of an enumeration, as they stand in its source.
fn variants(code: &str, name: &str) -> Vec<String> {
    let (_, rest) = code.split_once(&format!("enum {name} {{")).expect("an enumeration");
    let body = rest.split("\n}").next().unwrap_or_default();
    let lines = body.lines().map(str::trim).filter(|line| line.starts_with(|c: char| c.is_ascii_uppercase()));
    lines.map(|line| line.split([',', ' ', '{', '(']).next().unwrap_or_default().to_owned()).collect()
}

fn kebab(variant: &str) -> String {
    let mut text = String::new();
    for c in variant.chars() {
        if c.is_ascii_uppercase() && !text.is_empty() {
            text.push('-');
        }
        text.push(c.to_ascii_lowercase());
    }
    text
}

#[test]
fn u04_no_code_is_forgotten() {
    let mut found = Vec::new();
    for crate_ in ["rs-consent", "rs-session", "rs-relay", "rs-proxy", "rs-cli"] {
        sources(&root().join(crate_).join("src"), &mut found);
    }
    let mut seen: BTreeMap<String, PathBuf> = BTreeMap::new();
    for (path, code) in &found {
        for name in worded(code) {
            let explained = EXPLAINED.iter().any(|(own, file, _)| *own == name && Path::new(file) == path);
            let known = explained
                || MADE_WITH_EXPLANATION.contains(&name.as_str())
                || NO_TROUBLE.iter().any(|(own, _)| *own == name)
                // The operator's answer to a question; not that of the verifier.
                || name == "Verdict" && path.ends_with("control/message.rs");
            assert!(
                known,
                "{}: explain the words of {name}, or say why nobody looks for them",
                path.display()
            );
            seen.insert(name, path.clone());
        }
    }
    assert!(seen.len() > 30, "{seen:?}");
    for (name, _) in NO_TROUBLE {
        assert!(seen.contains_key(*name), "{name} is gone");
    }
    let entries = all();
    for (name, file, area) in EXPLAINED {
        let code = std::fs::read_to_string(root().join(file)).expect("a source");
        let own: Vec<_> =
            entries.iter().filter(|entry| entry.area == *area).map(|entry| entry.code.as_str()).collect();
        let variants = variants(&code, name);
        assert_eq!(variants.len(), own.len(), "{name}: {variants:?} {own:?}");
        for variant in variants.iter().filter(|_| *area != Area::Exit) {
            assert!(own.contains(&kebab(variant).as_str()), "{name}::{variant}");
        }
    }
}

#[test]
fn control_a_new_enumeration_and_a_new_variant_are_seen() {
    let code = "#[derive(Serialize)]\n#[serde(rename_all = \"kebab-case\")]\n#[non_exhaustive]\npub enum Trouble {\n    /// A.\n    OnFire,\n    Wet {\n        by: u8,\n    },\n}\n";
    assert_eq!(worded(code), ["Trouble"]);
    assert_eq!(variants(code, "Trouble"), ["OnFire", "Wet"]);
    assert_eq!(kebab("OnFire"), "on-fire");
    assert!(!all().iter().any(|entry| entry.code == "on-fire"));
}

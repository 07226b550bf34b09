//! Keys stay in the files that are made for them.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use rs_cli::state::Role;
use rustix::process::Signal;

use crate::machine::{Machine, Run};
use crate::processes;
use crate::site::Site;

/// One secret, in all forms in which it could show.
struct Secret {
    name: String,
    forms: Vec<Vec<u8>>,
}

impl Secret {
    /// From base64 text: as it is, decoded, in hexadecimal, and in the other alphabet.
    fn new(name: &str, text: &str) -> Self {
        let bytes = BASE64_STANDARD.decode(text).expect("base64");
        let end = &bytes[bytes.len().saturating_sub(32)..];
        let url = base64::prelude::BASE64_URL_SAFE_NO_PAD.encode(&bytes);
        let forms = vec![
            text.trim_end_matches('=').as_bytes().to_vec(),
            url.into_bytes(),
            hex::encode(&bytes).into_bytes(),
            // The key itself stands at the end of what a key file holds.
            hex::encode(end).into_bytes(),
            BASE64_STANDARD.encode(end).trim_end_matches('=').as_bytes().to_vec(),
            base64::prelude::BASE64_URL_SAFE_NO_PAD.encode(end).into_bytes(),
            end.to_vec(),
        ];
        Self { name: name.to_owned(), forms }
    }

    fn is_in(&self, bytes: &[u8]) -> bool {
        self.forms.iter().any(|form| bytes.windows(form.len()).any(|part| part == form))
    }
}

/// Files that are there to hold secrets.
fn holds_secrets(path: &Path) -> bool {
    let name = path.file_name().expect("a name").to_string_lossy();
    path.extension().is_some_and(|extension| extension == "key" || extension == "connection-string")
        || name == "rules.json"
}

fn secrets(site: &Site) -> Vec<Secret> {
    let mut secrets = Vec::new();
    for (path, content) in site.machine.state_files().into_iter().filter(|(path, _)| holds_secrets(path)) {
        let name = path.file_name().expect("a name").to_string_lossy().into_owned();
        if name == rs_session::node_log::KEY_NAME {
            let slots = content.chunks(32).filter(|slot| slot.iter().any(|byte| *byte != 0));
            secrets.extend(slots.map(|slot| Secret::new("the secret of the node log", &hex::encode(slot))));
            continue;
        }
        let text = String::from_utf8(content).expect("text");
        if name == "rules.json" {
            let rules: serde_json::Value = serde_json::from_str(&text).expect("JSON");
            for key in ["rootKey", "listenKey", "sendKey"] {
                secrets.push(Secret::new(key, rules[key].as_str().expect("a key")));
            }
        } else if text.contains("PRIVATE KEY") {
            let body: String = text.lines().filter(|line| !line.contains("-----")).collect();
            secrets.push(Secret::new(&name, &body));
        }
    }
    secrets
}

/// Everything that must not hold a secret, by name.
#[derive(Default)]
struct Seen(Vec<(String, Vec<u8>)>);

impl Seen {
    fn run(&mut self, line: &str, run: &Run) {
        self.0.push((format!("output of {line}"), run.stdout.clone().into_bytes()));
        self.0.push((format!("errors of {line}"), run.stderr.clone().into_bytes()));
    }

    /// Arguments and environment of every process of this site.
    fn processes(&mut self, state: &Path) -> usize {
        let state = state.as_os_str().as_encoded_bytes();
        let mine = processes::all().map(|pid| (pid, processes::environment(pid)));
        let mine: Vec<_> = mine
            .filter(|(_, environment)| environment.windows(state.len()).any(|part| part == state))
            .collect();
        let count = mine.len();
        for (pid, environment) in mine {
            self.0.push((format!("environment of {pid}"), environment));
            self.0.push((format!("arguments of {pid}"), processes::arguments(pid)));
        }
        count
    }

    fn files(&mut self, machine: &Machine) {
        let state = machine.state_files().into_iter().filter(|(path, _)| !holds_secrets(path));
        let work = crate::site::files(&machine.work()).into_iter().filter_map(|path| {
            let content = std::fs::read(&path).ok()?;
            Some((path, content))
        });
        let all: Vec<(PathBuf, Vec<u8>)> = state.chain(work).collect();
        self.0.extend(all.into_iter().map(|(path, content)| (path.display().to_string(), content)));
    }
}

#[test]
fn sec33_no_key_shows_anywhere_but_in_its_own_file() {
    let mut site = Site::empty();
    let mut seen = Seen::default();
    let loud = |arguments: &[&str]| {
        let mut command = site.machine.command(arguments);
        command.env("REMOTE_SUPPORT_LOG", "trace");
        command
    };
    let relay = site.start("relay", loud(&["relay", "serve", "--listen", "127.0.0.1:0"]));
    relay.says("Relay listening on");
    let agent = site.start("agent", loud(&["agent", "run"]));
    agent.says("The agent of this node runs");
    (site.relay, site.agent) = (Some(relay), Some(agent));
    let run = |seen: &mut Seen, line: &str| {
        let run = site.machine.run(line);
        seen.run(line, &run);
        run.code
    };
    for line in [
        "request submit --reason slow-disk --file request.json",
        "desk init",
        "desk open",
        "engineer init",
        "desk assign --engineer engineer@support.example",
        "enable --access-level Diagnostics --agree-to-remote-support-consent",
    ] {
        assert_eq!(run(&mut seen, line), 0, "{line}");
    }
    site.connected();
    let (mut engineer, session) = site.busy_engineer();
    let found = seen.processes(&site.machine.state());
    assert!(found >= 5, "relay, agent, supervisor, worker, engineer: {found}");
    for line in ["access", "access --output json", "agent status", "relay connection-string --side nobody"] {
        run(&mut seen, line);
    }
    assert_eq!(run(&mut seen, "disable"), 0);
    assert_eq!(engineer.exit_code(), 3);
    for line in [
        "connect --command Get-Date",
        "history --include-session-transcript",
        &format!("session verify {session}"),
        "request list",
        "access --include-expired --output json",
        "enable --sas-credential-file relay/send.connection-string --access-level Diagnostics --agree-to-remote-support-consent",
        "connect --relay-credential-file /nowhere",
    ] {
        run(&mut seen, line);
    }
    for daemon in [site.agent.as_ref(), site.relay.as_ref()] {
        daemon.expect("started").signal(Signal::TERM);
    }
    assert_eq!((site.agent().exit_code(), site.relay().exit_code()), (0, 0));
    seen.files(&site.machine);

    let secrets = secrets(&site);
    let names: BTreeSet<&str> = secrets.iter().map(|secret| secret.name.as_str()).collect();
    let expected = [
        "node.key",
        "the secret of the node log",
        "desk.key",
        "engineer.key",
        "ca.key",
        "server.key",
        "rootKey",
        "listenKey",
        "sendKey",
    ];
    assert_eq!(names, BTreeSet::from(expected));
    for (place, bytes) in &seen.0 {
        for secret in &secrets {
            assert!(!secret.is_in(bytes), "{} shows in {place}", secret.name);
        }
        let text = String::from_utf8_lossy(bytes);
        for mark in ["sig=", "PRIVATE KEY", "SharedAccessSignature s"] {
            assert!(!text.contains(mark), "{mark} shows in {place}");
        }
    }
    let bytes: usize = seen.0.iter().map(|(_, bytes)| bytes.len()).sum();
    println!("{} places with {bytes} bytes looked through for {} secrets", seen.0.len(), secrets.len());
    let control = std::fs::read(site.role(Role::Relay).join("send.connection-string")).expect("a file");
    assert!(secrets.iter().any(|secret| secret.is_in(&control)), "control: the search finds what is there");
    for role in [Role::Node, Role::Desk, Role::Engineer] {
        let file = std::fs::read(site.role(role).join(format!("{}.key", role.as_str()))).expect("a key file");
        assert!(secrets.iter().any(|secret| secret.is_in(&file)), "control");
    }
}

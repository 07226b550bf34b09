//! What is kept and what goes, on the real program: retention, holds, redaction, search, and transcripts of any length.

use std::io::BufWriter;
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use rs_consent::{AccessLevel, Clock as _, EndCause, SystemClock};
use rs_session::record::{
    Chain, Content, Draft, EndContent, FILE_HEADER, Frame, FrameReader, OutputContent, OutputData,
    RequestContent, Signer, StartContent,
};
use serde_json::Value;
use uuid::Uuid;

use crate::records::Node;
use crate::story::{Parties, at};

/// A session that began at some time, written record by record.
struct Writer<W> {
    chain: Chain,
    parties: Parties,
    wall: DateTime<Utc>,
    out: W,
}

impl<W: std::io::Write> Writer<W> {
    fn begin(id: u128, wall: DateTime<Utc>, engineer: &str, mut out: W) -> Self {
        let parties = Parties { session: Uuid::from_u128(id), ..Parties::new() };
        let mut identity = parties.identity();
        identity.engineer.id = engineer.parse().expect("a name");
        out.write_all(&FILE_HEADER).expect("written");
        let start = StartContent {
            reason: "the volume does not mount".to_owned(),
            expires_at: wall + TimeDelta::hours(8),
            granted_by: "operator@node-01".to_owned(),
            client: "test/1".to_owned(),
            assignment: None,
        };
        let mut writer = Self { chain: Chain::new(parties.session), parties, wall, out };
        writer.push(Draft::start(identity, start).expect("short"));
        writer
    }

    fn push(&mut self, draft: Draft) {
        let sequence = self.chain.next_sequence();
        let now = rs_consent::clock::Now { wall: self.wall, boot: Duration::from_secs(sequence), ..at(0) };
        let frame =
            self.chain.append(draft, &self.parties.record, Signer::Record, [9; 32], &now).expect("open");
        self.out.write_all(&frame.encode()).expect("written");
    }

    fn add(&mut self, content: &Content) {
        self.push(Draft::new(content).expect("fits"));
    }

    fn line(&mut self, invocation: u64, line: &str, output: &str) {
        let (line, access_level) = (line.to_owned(), AccessLevel::Diagnostics);
        self.add(&Content::Request(RequestContent { invocation, line, plan: Value::Null, access_level }));
        self.add(&Content::Output(OutputContent { invocation, data: OutputData::Text(output.to_owned()) }));
    }

    fn end(mut self, cause: EndCause) {
        let message = "over".to_owned();
        let end =
            EndContent { cause, message, operations: 1, last_invocation: Some(1), killed_after_us: None };
        self.add(&Content::End(end));
        self.out.flush().expect("written");
    }
}

fn now() -> DateTime<Utc> {
    SystemClock::new().now().wall
}

fn id(number: u128) -> String {
    Uuid::from_u128(number).to_string()
}

fn writer(node: &Node, number: u128, ago: TimeDelta, engineer: &str) -> Writer<BufWriter<std::fs::File>> {
    let file =
        std::fs::File::create(node.sessions().join(format!("{}.record", id(number)))).expect("created");
    Writer::begin(number, now() - ago, engineer, BufWriter::with_capacity(1 << 20, file))
}

fn session(node: &Node, number: u128, ago: TimeDelta) {
    let mut writer = writer(node, number, ago, "engineer@support.example");
    writer.line(1, "Get-Thing", "canary-4711\n");
    writer.end(EndCause::Exit);
}

fn has_canary(node: &Node) -> bool {
    let files = node.machine.state_files();
    files.iter().any(|(_, bytes)| bytes.windows(11).any(|window| window == b"canary-4711"))
}

fn ids(listed: &Value) -> Vec<&str> {
    listed.as_array().expect("a list").iter().map(|one| one["sessionId"].as_str().expect("an id")).collect()
}

#[cfg_attr(windows, ignore = "wine cannot replace a file that is open, as Windows can")]
#[test]
fn sec51_contents_go_at_their_time_and_holds_are_honoured() {
    let node = Node::new();
    session(&node, 89, TimeDelta::days(89));
    session(&node, 90, TimeDelta::days(90));
    session(&node, 91, TimeDelta::days(91));
    let held = node.machine.json(&format!("session hold {} --reason dispute-12", id(91)));
    assert_eq!(held["held"], true);
    let due = node.machine.json("session expire --dry-run");
    assert_eq!(ids(&due), [id(90), id(91)], "{due}");
    assert_eq!((&due[0]["outcome"], &due[1]["outcome"]), (&"Due".into(), &"Held".into()));
    let done = node.machine.json("session expire");
    assert_eq!(done[0]["outcome"], "Removed");

    let shown = |number| node.machine.json(&format!("history --session-id {}", id(number)));
    assert_eq!((&shown(89)["contentsRemoved"], &shown(90)["contentsRemoved"]), (&0.into(), &4.into()));
    assert_eq!(shown(91)["holdReason"], "dispute-12");
    for number in [89, 90, 91] {
        let run = node.machine.run(&format!("session verify {}", id(number)));
        assert_eq!(run.code, 0, "{} {}", run.stdout, run.stderr);
    }
    let refused = node.machine.run(&format!("session redact {} --record 2 --reason x", id(91)));
    assert_eq!(refused.code, 3, "a held session is not redacted: {}", refused.stderr);
    node.machine.json(&format!("session release {}", id(91)));
    assert_eq!(node.machine.run(&format!("session release {}", id(91))).code, 4);
    node.machine.json("session expire");
    assert!(has_canary(&node), "the young one is there");
    std::fs::remove_file(node.sessions().join(format!("{}.record", id(89)))).expect("own file");
    assert!(!has_canary(&node), "nothing of the others is left in any file");
    let log = node.machine.run("node-log show").stdout;
    for word in ["contents-removed", "held", "released", "dispute-12"] {
        assert!(log.contains(word), "{word}: {log}");
    }
}

#[cfg_attr(windows, ignore = "it writes the state itself, without the access lists that Windows wants there")]
#[test]
fn s24_a_redaction_is_verified_and_seen_and_one_that_nobody_entered_is_a_fault() {
    let node = Node::with_its_key();
    session(&node, 1, TimeDelta::days(1));
    session(&node, 2, TimeDelta::days(1));
    let line = format!("session redact {} --pattern canary-[0-9]+ --reason by-mistake", id(1));
    let removed = node.machine.json(&line);
    assert_eq!(removed["contentsRemoved"], 1);
    assert_eq!(node.machine.run(&line).code, 4, "nothing is left that fits");
    assert_eq!(node.machine.run(&format!("session redact {} --reason x", id(1))).code, 2);
    assert_eq!(node.machine.run(&format!("session redact {} --pattern ( --reason x", id(1))).code, 2);
    let run = node.machine.run(&format!("history --session-id {} --include-session-transcript", id(1)));
    assert!(run.stdout.contains("(content removed)") && !run.stdout.contains("canary"), "{}", run.stdout);
    let run = node.machine.run("session verify --output json");
    assert_eq!(run.code, 0, "{}{}", run.stdout, run.stderr);
    assert!(run.stdout.contains("before their time") && run.stdout.contains("by-mistake"), "{}", run.stdout);

    let text = node.machine.run("session verify").stdout;
    assert!(text.contains("Remarks:") && text.contains("before their time"), "for people too: {text}");

    // Somebody takes contents out of the other one by hand.
    let path = node.sessions().join(format!("{}.record", id(2)));
    let bytes = std::fs::read(&path).expect("there");
    let mut reader = FrameReader::new(&bytes[..]).expect("a record");
    let mut stripped = FILE_HEADER.to_vec();
    while let Some(frame) = reader.next_frame().expect("whole") {
        stripped.extend(Frame::without_content(frame).encode());
    }
    std::fs::write(&path, stripped).expect("own file");
    let run = node.machine.run("session verify --output json");
    assert_eq!(run.code, 6, "{}{}", run.stdout, run.stderr);
    assert!(run.stdout.contains("removed by nobody who may"), "{}", run.stdout);
}

#[test]
fn s23_sessions_are_found_by_who_what_where_and_how_they_ended() {
    let node = Node::new();
    let mut one = writer(&node, 1, TimeDelta::days(3), "anna@support.example");
    one.line(1, "Get-Process -Name web", "web 12\n");
    one.end(EndCause::Revoked);
    let mut two = writer(&node, 2, TimeDelta::days(2), "ben@support.example");
    two.line(1, "Get-Volume", "C: Größe 12\n");
    two.end(EndCause::Exit);
    let cases: [(&str, &[u128]); 12] = [
        ("", &[1, 2]),
        ("--engineer ANNA", &[1]),
        ("--engineer support.example --outcome exit", &[2]),
        ("--outcome revoked", &[1]),
        ("--outcome ended", &[1, 2]),
        ("--outcome cut-off", &[]),
        ("--command get-process", &[1]),
        ("--command get-process --text 12", &[1]),
        ("--text größe", &[2]),
        ("--support-request 2611250000000001", &[1, 2]),
        ("--support-request 2611250000000002", &[]),
        ("--node-name node-0 --to-date -3d", &[1]),
    ];
    for (question, expected) in cases {
        let listed = node.machine.json(&format!("history {question}"));
        let expected: Vec<_> = expected.iter().map(|number| id(*number)).collect();
        assert_eq!(ids(&listed), expected, "{question}");
    }
}

/// A long transcript passes through a process that may not have 64 MiB of memory. Longer ones: `scripts/long-transcript`.
#[cfg(target_os = "linux")]
#[test]
fn s03_a_transcript_of_any_length_streams_in_bounded_memory() {
    let mebibytes: usize =
        std::env::var("TRANSCRIPT_MIB").map_or(128, |text| text.parse().expect("a number"));
    let node = Node::with_its_key();
    let mut long = writer(&node, 1, TimeDelta::days(1), "anna@support.example");
    let block = format!("{}\n", "0123456789abcdef".repeat(7)).repeat(64 * 1024 / 113);
    let blocks = mebibytes * 1024 * 1024 / block.len();
    for invocation in 1..=blocks as u64 {
        long.add(&Content::Output(OutputContent { invocation, data: OutputData::Text(block.clone()) }));
    }
    long.end(EndCause::Exit);
    let whole = blocks * block.len();
    let (id, file) = (id(1), node.machine.file("rendering"));
    let transcript = format!("history --session-id {id} --include-session-transcript");
    let export = |form: &str| format!("session export {id} {} --format {form}", file.display());
    println!("a transcript of {mebibytes} MiB, with 64 MiB of memory for data; resident at most, and time:");
    for (line, shows) in [
        (format!("{transcript} --output list"), whole),
        (format!("{transcript} --output json"), whole),
        (format!("session replay {id} --speed 10000"), whole),
        (format!("session verify {id}"), 1),
        ("history --text not-in-there --from-date 2020-01-01".to_owned(), 0),
        (export("text"), 0),
        (export("json"), 0),
        (export("asciicast"), 0),
        (export("csv"), 0),
        (format!("session export {id} {}", node.machine.file("bundle").display()), 0),
    ] {
        let bounded = memory::bounded(&node, &line);
        println!(
            "  {:>6.1} MiB {:>7.1} s  {line}",
            bounded.resident_kib as f64 / 1024.0,
            bounded.took.as_secs_f64()
        );
        assert!(bounded.shown >= shows, "{line}: {}", bounded.shown);
        // A rendering holds everything that was printed.
        if let Ok(rendering) = std::fs::metadata(&file) {
            assert!(rendering.len() >= whole as u64, "{line}: {}", rendering.len());
            std::fs::remove_file(&file).expect("own file");
        }
    }
}

#[cfg(target_os = "linux")]
mod memory {
    use std::io::Read as _;
    use std::process::{Command, Stdio};
    use std::time::{Duration, Instant};

    use crate::records::Node;

    /// How a command went that had 64 MiB for its data.
    pub(super) struct Bounded {
        pub(super) shown: usize,
        pub(super) resident_kib: u64,
        pub(super) took: Duration,
    }

    pub(super) fn bounded(node: &Node, line: &str) -> Bounded {
        let program = node.machine.command(line.split_whitespace());
        let mut command = Command::new("prlimit");
        command.arg("--data=67108864").arg(program.get_program()).args(program.get_args());
        for (name, value) in program.get_envs() {
            match value {
                Some(value) => command.env(name, value),
                None => command.env_remove(name),
            };
        }
        let start = Instant::now();
        let mut child = command.stdout(Stdio::piped()).spawn().expect("prlimit of util-linux");
        let status = format!("/proc/{}/status", child.id());
        let resident = || {
            let status = std::fs::read_to_string(&status).unwrap_or_default();
            let most = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
            most.and_then(|most| most.split_whitespace().next()?.parse().ok()).unwrap_or(0)
        };
        let (mut buffer, mut shown, mut resident_kib) = (vec![0; 1 << 20], 0, 0_u64);
        let mut stdout = child.stdout.take().expect("piped");
        let reader = std::thread::spawn(move || {
            loop {
                match stdout.read(&mut buffer).expect("read") {
                    0 => return shown,
                    got => shown += got,
                }
            }
        });
        let code = loop {
            resident_kib = resident_kib.max(resident());
            match child.try_wait().expect("own child") {
                Some(code) => break code,
                None => std::thread::sleep(Duration::from_millis(5)),
            }
        };
        let took = start.elapsed();
        assert!(code.success(), "{line}: {code}");
        Bounded { shown: reader.join().expect("read"), resident_kib, took }
    }
}

//! Records of sessions on the real program: history, transcripts, verification, and the end of one session.

use std::io::{Seek as _, SeekFrom, Write as _};
use std::path::PathBuf;

use rs_consent::EndCause;
use rs_session::record::{Chain, Content, Draft, FILE_HEADER, RefusalContent, StartContent};
use serde_json::Value;
use uuid::Uuid;

use crate::machine::{Machine, Run};
use crate::story::{Parties, Story, at, file, key};

/// The session of [`Story::whole`].
const ID: &str = "00000000-0000-0000-0000-000000000007";
/// Long enough ago for every story.
const ALL: &str = "--from-date 2026-11-01";

/// A node that keeps records.
pub(crate) struct Node {
    pub(crate) machine: Machine,
}

impl Node {
    pub(crate) fn new() -> Self {
        let machine = Machine::new();
        // Makes the state directory and the node's own key, as the first use of a node does.
        machine.submit();
        let node = Self { machine };
        std::fs::create_dir(node.sessions()).expect("own directory");
        std::fs::write(node.sessions().with_file_name("node.pub"), format!("{}\n", key(1).public()))
            .expect("written");
        node
    }

    /// As [`Node::new`], whose own key is the one that the stories are certified by.
    pub(crate) fn with_its_key() -> Self {
        let machine = Machine::new();
        let folder = machine.state().join("node");
        std::fs::create_dir_all(&folder).expect("own directory");
        let pem = key(1).to_pkcs8_pem().expect("a key");
        std::fs::write(folder.join("node.key"), pem.as_bytes()).expect("written");
        std::fs::write(folder.join("node.pub"), format!("{}\n", key(1).public())).expect("written");
        crate::machine::chmod(&machine.state(), 0o700);
        crate::machine::chmod(&folder, 0o700);
        crate::machine::chmod(&folder.join("node.key"), 0o600);
        machine.submit();
        let node = Self { machine };
        std::fs::create_dir(node.sessions()).expect("own directory");
        node
    }

    pub(crate) fn sessions(&self) -> PathBuf {
        self.machine.state().join("node").join("sessions")
    }

    fn path(&self, id: &str) -> PathBuf {
        self.sessions().join(format!("{id}.record"))
    }

    pub(crate) fn keep(&self, story: &Story) -> PathBuf {
        let path = self.path(&story.parties.session.to_string());
        std::fs::write(&path, story.file()).expect("own directory");
        path
    }

    fn verify(&self, more: &str) -> (i32, Value) {
        let run = self.machine.run(&format!("session verify {more} --output json"));
        (run.code, serde_json::from_str(&run.stdout).unwrap_or(Value::Null))
    }
}

/// A session of its own id that starts so many seconds after the others.
pub(crate) fn story(id: u128, seconds: u64) -> Story {
    let parties = Parties { session: Uuid::from_u128(id), ..Parties::new() };
    let mut story = Story { chain: Chain::new(parties.session), parties, frames: Vec::new() };
    let start = StartContent {
        reason: "the volume does not mount".to_owned(),
        expires_at: at(28_800).wall,
        granted_by: "operator@node-01".to_owned(),
        client: "test/1".to_owned(),
        assignment: None,
    };
    let draft = Draft::start(story.parties.identity(), start).expect("short");
    let signer = rs_session::record::Signer::Record;
    let frame =
        story.chain.append(draft, &story.parties.record, signer, [9; 32], &at(seconds)).expect("open");
    story.frames.push(frame);
    story
}

#[test]
fn s05_an_empty_history_says_so_and_succeeds() {
    let machine = Machine::new();
    for line in ["history", "Get-RemoteSupportSessionHistory -FromDate -30d", "history --output table"] {
        let run = machine.run(line);
        assert_eq!((run.code, run.stdout.as_str()), (0, ""), "{line}");
        assert!(run.stderr.contains("No remote support session exists."), "{line}: {}", run.stderr);
    }
    assert_eq!(machine.json("history"), serde_json::json!([]));
    assert_eq!(machine.json("history --include-session-transcript"), serde_json::json!([]));
    assert!(machine.run("history").stderr.contains("Listing Session History for last '7' days."), "u02");
    assert!(!machine.state().exists(), "looking makes nothing");
}

#[test]
fn s06_s08_a_session_is_listed_in_three_forms() {
    let node = Node::new();
    node.keep(&Story::whole());
    let run = node.machine.run(&format!("history {ALL}"));
    let (engineer, path) = (key(3).public().fingerprint(), node.path(ID));
    assert_eq!(
        run.stdout,
        format!(
            "SessionId             : {ID}\n\
             State                 : Ended\n\
             SessionStartTime      : 11/25/2026 10:00:00 AM +00:00\n\
             SessionEndTime        : 11/25/2026 10:00:04 AM +00:00\n\
             DurationSeconds       : 4\n\
             EndCause              : exit\n\
             AccessLevel           : Diagnostics\n\
             Engineer              : engineer@support.example\n\
             EngineerFingerprint   : {engineer}\n\
             SupportRequest        : 2611250000000001\n\
             GrantId               : 00000000-0000-0000-0000-000000000009\n\
             NodeName              : node-01\n\
             Operations            : 1\n\
             Refusals              : 0\n\
             SecretsMasked         : 0\n\
             ContentsRemoved       : 0\n\
             ContentsSealed        : 0\n\
             Verification          : NotChecked\n\
             Held                  : False\n\
             HoldReason            :\n\
             SessionTranscriptPath : {}\n",
            path.display()
        )
    );
    let table = node.machine.run(&format!("history {ALL} --output table")).stdout;
    assert_eq!(table.lines().count(), 3, "{table}");
    for text in ["SessionId", ID, "Ended", "Diagnostics", "engineer@support.example"] {
        assert!(table.contains(text), "{text}: {table}");
    }
    let listed = node.machine.json(&format!("history {ALL}"));
    assert_eq!(listed.as_array().map(Vec::len), Some(1));
    assert_eq!(listed[0]["sessionId"], ID);
    assert_eq!(listed[0]["sessionEndTime"], "2026-11-25T10:00:04Z");
    assert_eq!((&listed[0]["durationSeconds"], &listed[0]["operations"]), (&4.into(), &1.into()));
    assert_eq!(listed[0].get("sessionTranscript"), None, "s03: only when asked for");
}

#[test]
fn s01_sessions_are_listed_from_the_date_on_oldest_first() {
    let node = Node::new();
    for (id, seconds) in [(3, 20), (1, 30), (2, 10)] {
        let mut story = story(id, seconds);
        story.end(EndCause::Exit);
        node.keep(&story);
    }
    let ids = |from: &str| -> Vec<String> {
        let listed = node.machine.json(&format!("history --from-date {from}"));
        let ids = listed.as_array().expect("an array").iter().map(|session| session["sessionId"].to_string());
        ids.map(|id| id.trim_matches('"').trim_start_matches(['0', '-']).to_owned()).collect()
    };
    assert_eq!(ids("2026-11-25T10:00:10Z"), ["2", "3", "1"]);
    assert_eq!(ids("2026-11-25T10:00:11Z"), ["3", "1"]);
    assert_eq!(ids("2026-11-25T10:00:31Z"), [""; 0]);
}

#[test]
fn s02_one_session_is_found_however_old_and_an_unknown_one_has_its_own_exit_code() {
    let node = Node::new();
    node.keep(&Story::whole());
    let line = format!("history --from-date 2030-01-01 --session-id {ID}");
    assert_eq!(node.machine.json(&line)["sessionId"], ID, "one object, and the date does not matter");
    for line in [
        "history --session-id 00000000-0000-0000-0000-000000000008",
        "session verify 00000000-0000-0000-0000-000000000008",
        "session verify none.record",
    ] {
        let run = node.machine.run(line);
        assert_eq!((run.code, run.stdout.as_str()), (4, ""), "{line}: {}", run.stderr);
        assert!(run.stderr.contains("error[not-found]"), "{line}: {}", run.stderr);
    }
    assert_eq!(node.machine.run("history --session-id 7").code, 2);
}

#[test]
fn s03_s09_transcripts_are_added_when_asked_for() {
    let node = Node::new();
    let mut hostile = story(1, 0);
    hostile.request(1, "Get-Date | \u{1b}[2J\u{202e}");
    hostile.output(1, "first\n**********************\n[9] PS> forged\u{9b}\u{7f}\u{61c}\n");
    hostile.add(&Content::Refusal(RefusalContent {
        invocation: 2,
        line: "Stop-Service cron".to_owned(),
        code: "needs-repair".to_owned(),
        column: Some(1),
        message: "it needs the level DiagnosticsRepair".to_owned(),
    }));
    hostile.end(EndCause::Exit);
    node.keep(&hostile);
    node.keep(&Story::whole());
    let list = node
        .machine
        .run("Get-RemoteSupportSessionHistory -FromDate 2026-11-01 -IncludeSessionTranscript:$true");
    assert_eq!(list.code, 0, "{}", list.stderr);
    let table = node.machine.run(&format!("history {ALL} --include-session-transcript --output table"));
    let json = node.machine.run(&format!("history {ALL} --include-session-transcript --output json"));
    for Run { stdout, .. } in [&list, &table] {
        assert_eq!(stdout.matches("Remote support transcript start").count(), 2, "{stdout}");
        assert!(stdout.contains("PS> Get-Process\n") && stdout.contains("\n   1 init\n"), "{stdout}");
        assert!(stdout.contains("refused (needs-repair)"), "{stdout}");
        assert!(!stdout.lines().any(|line| line.starts_with("[9]")), "sec38: {stdout}");
    }
    for Run { stdout, .. } in [&list, &table, &json] {
        let unsafe_characters = ['\u{1b}', '\u{9b}', '\u{7f}', '\u{202e}', '\u{61c}', '\r'];
        assert!(!stdout.contains(unsafe_characters), "sec37: {stdout:?}");
    }
    let told: Value = serde_json::from_str(&json.stdout).expect("JSON");
    let transcript = told[1]["sessionTranscript"].as_str().expect("text");
    assert!(
        transcript.starts_with("**********************\nRemote support transcript start\n"),
        "{transcript}"
    );
    assert!(transcript.ends_with("Cause: exit (over)\n**********************\n"), "{transcript}");
    let one = node.machine.json(&format!("history --session-id {ID} --include-session-transcript"));
    assert_eq!(one["sessionTranscript"], transcript);
}

#[test]
fn s03_a_transcript_is_printed_up_to_where_its_record_is_damaged() {
    let node = Node::new();
    let story = Story::whole();
    let path = node.keep(&story);
    let mut bytes = story.file();
    let third = FILE_HEADER.len() + story.frames[..3].iter().map(|frame| frame.encode().len()).sum::<usize>();
    bytes[third + 5] = 1;
    std::fs::write(path, bytes).expect("own file");
    assert_eq!(node.machine.json(&format!("history {ALL}"))[0]["state"], "Damaged");
    for form in ["list", "table", "json"] {
        let run = node.machine.run(&format!("history {ALL} --include-session-transcript --output {form}"));
        assert_eq!(run.code, 6, "{form}: {}", run.stderr);
        assert!(
            run.stdout.contains("1 init") && run.stdout.contains("cannot be read any further"),
            "{}",
            run.stdout
        );
        assert!(run.stderr.contains("session verify"), "{}", run.stderr);
    }
}

#[test]
fn sec28_a_record_that_cannot_be_told_is_named_and_not_passed_over() {
    let node = Node::new();
    let whole = Story::whole();
    node.keep(&whole);
    let (damaged, exchanged) = (
        node.path("00000000-0000-0000-0000-000000000001"),
        node.path("00000000-0000-0000-0000-000000000002"),
    );
    std::fs::write(&damaged, &whole.file()[1..]).expect("own directory");
    std::fs::write(&exchanged, whole.file()).expect("own directory");
    let run = node.machine.run(&format!("history {ALL} --output json"));
    assert_eq!(run.code, 7, "{}", run.stderr);
    let listed: Value = serde_json::from_str(&run.stdout).expect("JSON");
    assert_eq!(listed.as_array().map(Vec::len), Some(1), "{listed}");
    for path in [damaged, exchanged] {
        assert!(run.stderr.contains(path.to_str().expect("text")), "{}", run.stderr);
    }
    let run = node.machine.run("history --session-id 00000000-0000-0000-0000-000000000002");
    assert_eq!(run.code, 6, "{}", run.stderr);
}

#[test]
fn s07_a_session_that_runs_has_no_end_and_is_listed_however_long_it_has_run() {
    let node = Node::new();
    let mut story = Story::begin();
    story.request(1, "Get-Process");
    let path = node.keep(&story);
    let writer = std::fs::File::options().append(true).open(&path).expect("own file");
    writer.try_lock().expect("nobody else has it");
    let live = &node.machine.json("history --from-date 2026-12-01")[0];
    assert_eq!(
        (&live["state"], &live["sessionEndTime"], &live["endCause"]),
        (&"Live".into(), &Value::Null, &Value::Null)
    );
    let (code, told) = node.verify(ID);
    assert_eq!((code, &told["verdict"], &told["live"]), (0, &"open".into(), &true.into()), "{told}");
    (&writer).write_all(&story.frames[1].encode()[..100]).expect("own file");
    assert_eq!(node.verify(ID).0, 0, "a write under way is no fault");
    let run = node.machine.run(&format!("session verify {ID}"));
    assert!(run.stdout.starts_with("INTACT SO FAR") && run.stdout.contains("still runs"), "{}", run.stdout);

    drop(writer);
    let (code, told) = node.verify(ID);
    assert_eq!((code, &told["verdict"]), (6, &"broken".into()), "the same without a writer: {told}");
    let path = node.keep(&story);
    let (code, told) = node.verify(ID);
    assert_eq!((code, &told["findings"][0]["record"]), (6, &2.into()), "{told}");
    assert_eq!(told["findings"][0]["offset"], path.metadata().expect("there").len());
    let run = node.machine.run(&format!("session verify {ID}"));
    assert!(
        run.stdout.contains("record 2, at byte") && run.stdout.contains("the end is missing"),
        "{}",
        run.stdout
    );
    assert_eq!(node.machine.json(&format!("history {ALL}"))[0]["state"], "CutOff");
}

#[test]
fn sec28_an_intact_record_is_said_to_be_intact_and_by_whose_key() {
    let node = Node::new();
    let path = node.keep(&Story::whole());
    for target in [ID, path.to_str().expect("text")] {
        let run = node.machine.run(&format!("session verify {target}"));
        assert_eq!((run.code, run.stderr.as_str()), (0, ""), "{target}");
        assert_eq!(
            run.stdout,
            format!(
                "INTACT: every record is what was written, from the first to the end of the session.\n\
                 \n\
                 Record          : {}\n\
                 Session         : {ID}\n\
                 Node            : node-01 (key fingerprint {node})\n\
                 Engineer        : engineer@support.example (key fingerprint {})\n\
                 SupportRequest  : 2611250000000001\n\
                 AccessLevel     : Diagnostics\n\
                 From            : 11/25/2026 10:00:00 AM +00:00\n\
                 To              : 11/25/2026 10:00:04 AM +00:00\n\
                 EndCause        : exit\n\
                 Records         : 5\n\
                 ContentsRemoved : 0\n\
                 ContentsSealed  : 0\n\
                 Requests        : 1\n\
                 Refusals        : 0\n\
                 Receipts        : the engineer countersigned everything up to record 2\n\
                 Faults          : 0\n\
                 CheckedWith     : the key of this node, fingerprint {node}\n\
                 \n\
                 Checked: each record is signed with the key of its session, for which the node key vouches; each follows from the one\n\
                 before, with none removed, added or moved; each content is the one that its record commits to; each receipt is signed\n\
                 by the engineer's key.\n\
                 Not checked: whether more records had been written than stand here. That is shown by the node's log, or by the engineer's\n\
                 own copy (--witness).\n",
                path.display(),
                key(3).public().fingerprint(),
                node = key(1).public().fingerprint(),
            )
        );
    }
    let (code, told) = node.verify(ID);
    assert_eq!((code, &told["verdict"], &told["records"]), (0, &"intact".into(), &5.into()));
    assert_eq!((&told["receipted"], &told["checkedWith"]["source"]), (&2.into(), &"state-directory".into()));
    assert_eq!(told["session"]["sessionId"], ID);
}

#[test]
fn sec28_the_key_that_was_trusted_decides_and_is_named() {
    let (node, stranger) = (Node::new(), Machine::new());
    let path = node.keep(&Story::whole());
    std::fs::copy(path, stranger.file("a.record")).expect("carried");
    let fingerprint = key(1).public().fingerprint().to_string();
    let run = stranger.run("session verify a.record");
    assert_eq!(run.code, 0, "{}", run.stderr);
    assert!(
        run.stdout.contains(&format!("the key that the record itself names, fingerprint {fingerprint}")),
        "{}",
        run.stdout
    );
    assert!(run.stderr.contains("not whose it is") && run.stderr.contains(&fingerprint), "{}", run.stderr);
    for (name, signer, code) in [("right.pub", key(1), 0), ("wrong.pub", key(99), 6)] {
        std::fs::write(stranger.file(name), signer.public().to_string()).expect("own directory");
        let run = stranger.run(&format!("session verify a.record --node-key {name}"));
        assert_eq!(run.code, code, "{name}: {}", run.stderr);
        assert!(run.stdout.contains(&format!("the node key in {name}")), "{}", run.stdout);
        let told =
            stranger.command(["session", "verify", "a.record", "--node-key", name, "--output", "json"]);
        let told: Value = serde_json::from_slice(&{ told }.output().expect("starts").stdout).expect("JSON");
        assert_eq!(told["checkedWith"]["fingerprint"], signer.public().fingerprint().to_string());
    }
    assert!(!stranger.state().exists(), "verifying makes nothing");
    stranger.submit();
    let run = stranger.run("session verify a.record");
    assert_eq!(run.code, 6, "another node's record by this node's key: {}", run.stderr);
    assert!(run.stderr.contains("--node-key"), "{}", run.stderr);
}

#[test]
fn sec28_control_a_session_of_this_node_is_never_verified_by_the_key_in_its_own_record() {
    let node = Node::new();
    node.keep(&Story::whole());
    for name in ["node.pub", "node.key"] {
        std::fs::remove_file(node.sessions().with_file_name(name)).expect("own file");
    }
    let run = node.machine.run(&format!("session verify {ID}"));
    assert_eq!((run.code, run.stdout.as_str()), (1, ""), "{}", run.stderr);
    assert!(run.stderr.contains("error[key]") && run.stderr.contains("--node-key"), "{}", run.stderr);
}

#[test]
fn sec28_a_flipped_byte_ends_with_exit_code_6_and_the_records_number() {
    let node = Node::new();
    let story = Story::whole();
    let clean = story.file();
    let path = node.keep(&story);
    let mut borders = vec![FILE_HEADER.len()];
    borders.extend(story.frames.iter().map(|frame| frame.encode().len()));
    for at in 1..borders.len() {
        borders[at] += borders[at - 1];
    }
    let mut writer = std::fs::File::options().write(true).open(&path).expect("own file");
    let mut put = |position: usize, byte: u8| {
        writer.seek(SeekFrom::Start(position as u64)).expect("own file");
        writer.write_all(&[byte]).expect("own file");
    };
    let step = clean.len() / 40;
    for position in (0..clean.len()).step_by(step).chain([clean.len() - 1]) {
        put(position, clean[position] ^ 0x10);
        let record = borders.iter().rposition(|border| *border <= position);
        let (code, told) = node.verify(ID);
        assert_eq!((code, &told["verdict"]), (6, &"broken".into()), "byte {position}");
        assert_eq!(told["findings"][0]["record"], serde_json::json!(record), "byte {position}: {told}");
        let run = node.machine.run(&format!("session verify {ID}"));
        let place = record.map_or_else(
            || "file header, at byte 0:".to_owned(),
            |record| format!("record {record}, at byte {}:", borders[record]),
        );
        assert_eq!(run.code, 6, "byte {position}");
        assert!(
            run.stdout.starts_with("BROKEN: ") && run.stdout.contains(&place),
            "byte {position}: {}",
            run.stdout
        );
        put(position, clean[position]);
    }
    assert_eq!(node.verify(ID).0, 0, "the control: the bytes are back");
}

#[test]
fn sec28_what_history_shows_is_verified_and_a_mere_listing_says_that_it_is_not() {
    let node = Node::new();
    let story = Story::whole();
    let (clean, path) = (story.file(), node.keep(&story));
    let one = format!("history --session-id {ID}");
    let shown = format!("history {ALL} --include-session-transcript");
    let told = |line: &str| {
        let run = node.machine.run(&format!("{line} --output json"));
        let value: Value = serde_json::from_str(&run.stdout).expect("JSON");
        let session = if value.is_array() { value[0].clone() } else { value };
        (run.code, session["verification"].as_str().expect("a word").to_owned(), run.stderr)
    };
    for line in [&one, &shown] {
        let (code, verification, stderr) = told(line);
        assert_eq!((code, verification.as_str()), (0, "Intact"), "{line}: {stderr}");
        assert!(!stderr.contains("ALARM"), "{line}: {stderr}");
    }

    // The file reads as before, and only verifying tells: another process is shown than was there.
    let mut forged = clean.clone();
    let at = forged.windows(4).position(|text| text == b"init").expect("the output");
    forged[at..at + 4].copy_from_slice(b"evil");
    std::fs::write(&path, forged).expect("own file");
    for line in [&one, &shown] {
        let (code, verification, stderr) = told(line);
        assert_eq!((code, verification.as_str()), (6, "Broken"), "{line}: {stderr}");
        assert!(stderr.contains(&format!("ALARM: the record of session {ID} does not verify")), "{stderr}");
    }
    let (code, verification, stderr) = told(&format!("history {ALL}"));
    assert_eq!((code, verification.as_str()), (0, "NotChecked"), "control: the unverified listing: {stderr}");

    std::fs::write(&path, clean).expect("own file");
    std::fs::remove_file(node.sessions().with_file_name("node.pub")).expect("own file");
    std::fs::remove_file(node.sessions().with_file_name("node.key")).expect("own file");
    let (code, verification, stderr) = told(&one);
    assert_eq!((code, verification.as_str()), (0, "NotChecked"), "{stderr}");
    assert!(stderr.contains("Nothing shown here was verified"), "{stderr}");
}

#[test]
fn sec28_a_good_record_under_the_name_of_another_session_is_broken() {
    let node = Node::new();
    let mut other = story(8, 0);
    other.end(EndCause::Exit);
    std::fs::write(node.path(ID), file(&other.frames)).expect("own directory");
    let (code, told) = node.verify(ID);
    assert_eq!((code, &told["findings"][0]["record"]), (6, &0.into()), "{told}");
    let path = node.path(ID);
    assert_eq!(node.verify(path.to_str().expect("text")).0, 0, "as a file it is what it is");
}

#[test]
fn what_is_no_record_is_refused_without_a_verdict_or_found_broken() {
    let node = Node::new();
    let run = node.machine.run("session verify .");
    assert_eq!((run.code, run.stdout.as_str()), (1, ""), "{}", run.stderr);
    for content in [&b""[..], b"no record", &FILE_HEADER] {
        std::fs::write(node.path(ID), content).expect("own directory");
        assert_eq!(node.verify(ID).0, 6, "{content:?}");
    }
    std::fs::write(node.machine.file("no.pub"), "no key").expect("own directory");
    assert_eq!(node.machine.run(&format!("session verify {ID} --node-key no.pub")).code, 1);
}

#[test]
fn session_end_without_an_agent_says_that_there_is_none() {
    let run = Machine::new().run(&format!("session end {ID}"));
    assert_eq!(run.code, 5, "{}", run.stderr);
    assert!(run.stderr.contains("agent-unreachable") && run.stderr.contains("agent run"), "{}", run.stderr);
}

#[cfg(unix)]
#[test]
fn sec11_session_end_asks_the_agent_and_knows_an_unknown_session() {
    use rs_cli::control::{ControlReply, ControlRequest, ControlServer, EndedSession, SessionEnd};
    use rs_cli::state::{Role, StateDir};
    use rs_consent::EndCause;
    use rs_session::ending::Delays;

    let node = Node::new();
    let folder = StateDir::new(Some(node.machine.state())).expect("a path").role(Role::Node);
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().expect("starts");
    let known: Uuid = ID.parse().expect("an id");
    runtime.block_on(async {
        let server = ControlServer::bind(&folder).expect("bound");
        let serving = tokio::spawn(server.serve(move |_peer, request| async move {
            let ControlRequest::EndSession { session_id } = request else { panic!("{request:?}") };
            let ended = EndedSession {
                session_id,
                cause: EndCause::Operator,
                last_executed: Some(3),
                recorded: true,
                delays: Delays { gate_us: 90, work_us: None, closed_us: 250, listener_us: None },
                statement: Some("sessions/x.end.json".into()),
            };
            ControlReply::EndSession(SessionEnd {
                session: (session_id == known).then_some(ended),
                elapsed_ms: 12,
            })
        }));
        let run = |line: String| {
            let mut command = node.machine.command(line.split_whitespace());
            tokio::task::spawn_blocking(move || Run::from(command.output().expect("starts")))
        };
        let ended = run(format!("session end {ID} --output json")).await.expect("no panic");
        assert_eq!(ended.code, 0, "{}", ended.stderr);
        let told: Value = serde_json::from_str(&ended.stdout).expect("JSON");
        assert_eq!((&told["ended"], &told["elapsedMilliseconds"]), (&true.into(), &12.into()));
        assert_eq!(told["sessions"][0]["delays"]["gateUs"], 90);
        assert!(ended.stderr.contains("sessions/x.end.json"), "{}", ended.stderr);
        let unknown =
            run("session end 00000000-0000-0000-0000-000000000008".to_owned()).await.expect("no panic");
        assert_eq!((unknown.code, unknown.stdout.as_str()), (4, ""), "{}", unknown.stderr);
        serving.abort();
    });
}

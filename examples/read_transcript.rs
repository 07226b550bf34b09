//! Reading a transcript back, and proving it: writes a small record, prints it, verifies it, changes a byte, verifies again.
//!
//! Run it with `cargo run --example read_transcript`, or with a record file of your own:
//! `cargo run --example read_transcript -- FILE`.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use rs_consent::party::{Desk, Engineer, Node};
use rs_consent::{AccessLevel, EndCause, SigningKey, SystemClock, Terms};
use rs_session::history::{Transcript, record_path, render};
use rs_session::journal::{Journal, Recorder};
use rs_session::record::{
    Content, Digest, Draft, EndContent, NoteContent, RecordKeyCertificate, SessionIdentity, StartContent,
    Trust, Verdict, verify,
};
use uuid::Uuid;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    if let Some(path) = std::env::args_os().nth(1).map(PathBuf::from) {
        return read(&path, Trust::Recorded).map(drop);
    }
    let directory = tempfile::tempdir()?;
    let node = SigningKey::generate()?;
    let path = write(directory.path(), &node).await?;
    let verdict = read(&path, Trust::Node(node.public()))?;
    assert_eq!(verdict, Verdict::Intact);

    println!("\nNow one byte in the middle is changed:");
    let mut bytes = std::fs::read(&path)?;
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    let report = verify(&bytes[..], Trust::Node(node.public()));
    for finding in &report.findings {
        println!("  record {:?}: {}", finding.record, finding.explanation);
    }
    assert_eq!(report.verdict, Verdict::Broken);
    Ok(())
}

/// Prints a transcript and what its verification says.
fn read(path: &Path, trust: Trust) -> Result<Verdict, Box<dyn std::error::Error>> {
    for text in render(Transcript::open(path, None)?) {
        print!("{}", text?);
    }
    let report = verify(std::io::BufReader::new(std::fs::File::open(path)?), trust);
    println!("\nverification: {:?}, {} records, end: {:?}", report.verdict, report.records, report.end);
    Ok(report.verdict)
}

/// Writes a record of three entries, each durable before the next.
async fn write(directory: &Path, node: &SigningKey) -> Result<PathBuf, Box<dyn std::error::Error>> {
    let session = Uuid::new_v4();
    let record_key = SigningKey::generate()?;
    let (engineer, desk) = (SigningKey::generate()?.public(), SigningKey::generate()?.public());
    let terms = Terms::azure_local().agreed();
    let identity = SessionIdentity {
        session_id: session,
        protocol_version: 1,
        node: Node { name: "node-01".parse()?, key: node.public() },
        record_key: RecordKeyCertificate::issue(node, session, record_key.public()),
        engineer: Engineer { id: "engineer@support.example".parse()?, key: engineer },
        desk: Desk { name: "Example desk".parse()?, key: desk },
        support_request: "2611250000000001".parse()?,
        assignment_id: Uuid::new_v4(),
        grant_id: Uuid::new_v4(),
        terms,
        catalog_sha256: Digest::of(b"no catalog in this example"),
        access_level: AccessLevel::Diagnostics,
        scope: None,
        channel_binding: Digest::of(b"no channel in this example"),
        node_log: None,
    };
    let start = StartContent {
        reason: "An example".to_owned(),
        expires_at: "2030-01-01T00:00:00Z".parse()?,
        granted_by: "operator@node-01".to_owned(),
        client: "read_transcript".to_owned(),
        assignment: None,
    };
    let journal = Journal::create(
        directory,
        session,
        Recorder { record_key, clock: Arc::new(SystemClock::new()), sealer: None },
    )?;
    journal.append(Draft::start(identity, start)?).await?;
    journal.append(Draft::new(&Content::Note(NoteContent { text: "Nothing happened.".to_owned() }))?).await?;
    let end = EndContent {
        cause: EndCause::Exit,
        message: "the example is over".to_owned(),
        operations: 0,
        last_invocation: None,
        killed_after_us: None,
    };
    journal.append(Draft::new(&Content::End(end))?).await?;
    Ok(record_path(directory, session))
}

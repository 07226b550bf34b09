//! Claim: durability costs the journal the disk and little else, and a crash costs a second per gibibyte at most. The whole
//! path of a session, of which the journal is the middle, is measured in `session`.
//!
//! ```sh
//! cargo bench -p rs-benches --bench durability                # 64 MiB a row, a record of 256 MiB to recover
//! cargo bench -p rs-benches --bench durability -- 256 1024    # MiB a row, MiB to recover
//! ```
//!
//! Each row in one process and one run, on the disk of the build folder:
//!
//! * `floor`: the bytes of the same records written to a file with one fdatasync per group, and nothing else.
//! * `journal`: [`Journal`] as the host uses it: chained, signed, salted, room set aside, durable before it is confirmed.
//! * `off`: the same journal over a file whose sync does nothing. No build of the program can do that.
//!
//! `echo` is the time from a line that was typed to the confirmation that lets its echo out, one small record at a time.
//! `bulk` is output in chunks of 64 KiB, as many waiting as the executor lets wait; `one by one` waits for each.
//! `recovery` takes up a record that was cut off, in clear (every content is hashed) and sealed (as the program writes it),
//! beside the SHA-256 of the same file.

use std::fs::File;
use std::io::{self, Read as _, Write as _};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::stream::{self, StreamExt as _};
use rs_consent::party::{Desk, Engineer, Node};
use rs_consent::{AccessLevel, SigningKey, SystemClock, Terms};
use rs_session::disk::DiskFile;
use rs_session::history::record_path;
use rs_session::journal::{Journal, Recorder, Recovery, recover};
use rs_session::operations::executor::CHUNKS_WAITING_MAX;
use rs_session::operations::wire::CHUNK_BYTES_MAX;
use rs_session::record::{
    Content, Digest, Draft, FILE_HEADER, OutputContent, OutputData, RecordKeyCertificate, SessionIdentity,
    StartContent,
};
use rs_session::sealing::{Storage, StorageKey};
use sha2::Digest as _;
use uuid::Uuid;

const ECHOES: usize = 500;
const ROUNDS: usize = 3;

type Outcome<T> = Result<T, Box<dyn std::error::Error>>;

fn main() -> Outcome<()> {
    let mut numbers = std::env::args().skip(1).filter_map(|argument| argument.parse().ok());
    let (bulk, large) = (numbers.next().unwrap_or(64), numbers.next().unwrap_or(256));
    let folder = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR"))?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        row("echo", folder.path(), 200, ECHOES, 1).await?;
        let chunks = bulk * (1 << 20) / CHUNK_BYTES_MAX;
        row("bulk, one by one", folder.path(), CHUNK_BYTES_MAX, chunks, 1).await?;
        row("bulk", folder.path(), CHUNK_BYTES_MAX, chunks, CHUNKS_WAITING_MAX).await
    })?;
    runtime.block_on(recovery(folder.path(), large, false))?;
    runtime.block_on(recovery(folder.path(), large, true))
}

/// One row: `count` records of `bytes`, `waiting` of them under way at once.
async fn row(name: &str, folder: &Path, bytes: usize, count: usize, waiting: usize) -> Outcome<()> {
    let (mut floor, mut durable, mut off) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        floor.push(bare(folder, bytes + 500, count, waiting)?);
        let path = folder.join("record");
        durable.push(journal(Box::new(begun(&path)?), bytes, count, waiting).await?);
        off.push(journal(Box::new(Unsynced(begun(&path)?)), bytes, count, waiting).await?);
    }
    let each = |times: &mut Vec<Duration>| {
        times.sort();
        times[times.len() / 2].as_secs_f64() * 1e6 / count as f64
    };
    let (floor, durable, off) = (each(&mut floor), each(&mut durable), each(&mut off));
    println!(
        "{name}: {count} records of {bytes} bytes, {waiting} waiting at once, median of {ROUNDS} rounds"
    );
    for (what, each) in [("floor", floor), ("journal", durable), ("off", off)] {
        println!("  {what:8} {each:9.1} µs a record {:9.1} MB/s", bytes as f64 / each);
    }
    println!(
        "  ratio    {:9.2} of the floor's rate, {:.2} of the rate without durability",
        floor / durable,
        off / durable
    );
    Ok(())
}

fn begun(path: &Path) -> io::Result<File> {
    let mut file = File::options().read(true).write(true).create(true).truncate(true).open(path)?;
    file.write_all(&FILE_HEADER)?;
    Ok(file)
}

/// The floor: the same bytes in the same groups, and one fdatasync for each.
fn bare(folder: &Path, bytes: usize, count: usize, waiting: usize) -> Outcome<Duration> {
    let mut file = begun(&folder.join("bare"))?;
    let group = vec![b'x'; bytes * waiting];
    let start = Instant::now();
    for _ in 0..count / waiting {
        file.write_all(&group)?;
        file.sync_data()?;
    }
    Ok(start.elapsed())
}

async fn journal(file: Box<dyn DiskFile>, bytes: usize, count: usize, waiting: usize) -> Outcome<Duration> {
    let (journal, first) = session(file)?;
    journal.append(first).await?;
    let drafts: Result<Vec<Draft>, _> = (0..count).map(|_| output(bytes)).collect();
    let start = Instant::now();
    let mut answers = stream::iter(drafts?).map(|draft| journal.append(draft)).buffered(waiting);
    while let Some(answer) = answers.next().await {
        answer?;
    }
    Ok(start.elapsed())
}

fn output(bytes: usize) -> Outcome<Draft> {
    let data = OutputData::Text("x".repeat(bytes - 50));
    Ok(Draft::new(&Content::Output(OutputContent { invocation: 1, data }))?)
}

/// A journal over `file`, and the draft of its first record.
fn session(file: Box<dyn DiskFile>) -> Outcome<(Journal, Draft)> {
    let (identity, content, recorder) = beginning(Uuid::new_v4(), &SigningKey::generate()?)?;
    Ok((Journal::over(file, identity.session_id, recorder)?, Draft::start(identity, content)?))
}

fn beginning(session: Uuid, node: &SigningKey) -> Outcome<(SessionIdentity, StartContent, Recorder)> {
    let key = SigningKey::generate()?;
    let identity = SessionIdentity {
        session_id: session,
        protocol_version: 1,
        node: Node { name: "node-01".parse()?, key: node.public() },
        record_key: RecordKeyCertificate::issue(node, session, key.public()),
        engineer: Engineer { id: "engineer@support.example".parse()?, key: key.public() },
        desk: Desk { name: "support.example".parse()?, key: key.public() },
        support_request: "2611250000000001".parse()?,
        assignment_id: Uuid::new_v4(),
        grant_id: Uuid::new_v4(),
        terms: Terms::azure_local().agreed(),
        catalog_sha256: Digest::of(b"catalog"),
        access_level: AccessLevel::Diagnostics,
        channel_binding: Digest::of(b"binding"),
        node_log: None,
        scope: None,
    };
    let content = StartContent {
        reason: "a bench".to_owned(),
        expires_at: chrono::DateTime::UNIX_EPOCH,
        granted_by: "admin@node-01".to_owned(),
        client: "bench".to_owned(),
        assignment: None,
    };
    Ok((identity, content, Recorder { record_key: key, clock: Arc::new(SystemClock::new()), sealer: None }))
}

/// A large record without an end, and how long the next start takes for it.
async fn recovery(folder: &Path, mib: usize, sealed: bool) -> Outcome<()> {
    let (node, session) = (SigningKey::generate()?, Uuid::new_v4());
    let (identity, content, mut recorder) = beginning(session, &node)?;
    if sealed {
        recorder.sealer = Storage::sealer(&StorageKey::generate()?, session)?;
    }
    let journal = Journal::create(folder, session, recorder)?;
    journal.append(Draft::start(identity, content)?).await?;
    let count = mib * (1 << 20) / CHUNK_BYTES_MAX;
    let mut answers = stream::iter(0..count)
        .map(|_| async { journal.append(output(CHUNK_BYTES_MAX)?).await.map_err(Into::into) })
        .buffered(64);
    while let Some(answer) = answers.next().await {
        let _record: Result<_, Box<dyn std::error::Error>> = answer;
        _record?;
    }
    drop(answers);
    drop(journal);
    let path = record_path(folder, session);
    let gib = path.metadata()?.len() as f64 / f64::from(1 << 30);
    let start = Instant::now();
    let (mut hash, mut file, mut part) = (sha2::Sha256::new(), File::open(&path)?, vec![0; 1 << 20]);
    loop {
        match file.read(&mut part)? {
            0 => break,
            read => hash.update(&part[..read]),
        }
    }
    let (_hash, hashed) = (hash.finalize(), start.elapsed().as_secs_f64());
    let start = Instant::now();
    let found = recover(&path, &node, &SystemClock::new())?;
    let took = start.elapsed().as_secs_f64();
    assert!(matches!(found, Recovery::Ended { .. }), "{found:?}");
    let start = Instant::now();
    assert_eq!(recover(&path, &node, &SystemClock::new())?, Recovery::Complete);
    println!(
        "recovery {}: {took:.2} s for {gib:.2} GiB, {:.2} s a GiB, {:.2} of the time of its SHA-256; of one that ended: {:.4} s",
        if sealed { "sealed" } else { "in clear" },
        took / gib,
        took / hashed,
        start.elapsed().as_secs_f64()
    );
    std::fs::remove_file(path)?;
    Ok(())
}

/// A file that says "synced" and does nothing.
#[derive(Debug)]
struct Unsynced(File);

impl DiskFile for Unsynced {
    fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
        DiskFile::append(&mut self.0, bytes)
    }

    fn sync(&mut self) -> io::Result<()> {
        Ok(())
    }

    fn reserve(&mut self, end: u64) -> io::Result<()> {
        DiskFile::reserve(&mut self.0, end)
    }

    fn truncate(&mut self, length: u64) -> io::Result<()> {
        DiskFile::truncate(&mut self.0, length)
    }

    fn length(&self) -> io::Result<u64> {
        DiskFile::length(&self.0)
    }

    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<usize> {
        DiskFile::read_at(&self.0, offset, buffer)
    }

    fn forget_cached(&self, offset: u64) -> io::Result<()> {
        DiskFile::forget_cached(&self.0, offset)
    }

    fn try_lock(&self) -> io::Result<bool> {
        DiskFile::try_lock(&self.0)
    }
}

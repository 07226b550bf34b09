//! A fixed session on a disk that fails or loses power at each of its calls in turn: nothing that was confirmed is lost,
//! and every record has one end.

#![expect(clippy::unwrap_used, reason = "a test may stop where it stands")]

mod common;
#[path = "common/faulty_disk.rs"]
mod faulty_disk;

use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use common::Parties;
use faulty_disk::{Cut, Fault, FaultyDisk};
use futures_util::future::join_all;
use rs_consent::EndCause;
use rs_session::disk::{Disk, DiskFile};
use rs_session::history::record_path;
use rs_session::journal::{Journal, JournalError, Recorder, Recovery, recover_on};
use rs_session::operations::wire::Status;
use rs_session::record::{
    Content, Draft, EndContent, FinishedContent, OutputContent, OutputData, RequestContent, StartContent,
    Trust, Verdict, verify,
};

const DIRECTORY: &str = "/sessions";
const CUTS: [Cut; 4] = [Cut::Gone, Cut::Half, Cut::Hole, Cut::KilledOnly];

fn recorder() -> Recorder {
    Recorder { record_key: common::key(4), clock: Arc::new(common::clock(0)), sealer: None }
}

fn start(parties: &Parties) -> Draft {
    let content = StartContent {
        reason: "a reason".to_owned(),
        expires_at: common::at(28_800).wall,
        granted_by: "operator@node-01".to_owned(),
        client: "test/1".to_owned(),
        assignment: None,
    };
    Draft::start(parties.identity(), content).unwrap()
}

fn draft(content: &Content) -> Draft {
    Draft::new(content).unwrap()
}

fn request(invocation: u64) -> Draft {
    draft(&Content::Request(RequestContent {
        invocation,
        line: "Get-Date".to_owned(),
        plan: serde_json::Value::Null,
        access_level: rs_consent::AccessLevel::Diagnostics,
    }))
}

fn output(invocation: u64, bytes: usize) -> Draft {
    draft(&Content::Output(OutputContent { invocation, data: OutputData::Text("x".repeat(bytes)) }))
}

fn finished(invocation: u64) -> Draft {
    draft(&Content::Finished(FinishedContent {
        measures: Vec::new(),
        invocation,
        status: Status::Done,
        elapsed_ms: 1,
        message: String::new(),
    }))
}

fn end() -> Draft {
    draft(&Content::End(EndContent {
        cause: EndCause::Exit,
        message: "the engineer left".to_owned(),
        operations: 2,
        last_invocation: Some(2),
        killed_after_us: None,
    }))
}

/// What came of the session.
#[derive(Default)]
struct Outcome {
    /// The bytes of all records that were confirmed, in order.
    confirmed: Vec<u8>,
    /// Whether the end was among them.
    ended: bool,
    created: bool,
}

impl Outcome {
    fn take(&mut self, answer: &Result<rs_session::journal::DurableRecord, JournalError>) -> bool {
        if let Ok(record) = answer {
            self.confirmed.extend_from_slice(&record.frame().encode());
        }
        answer.is_ok()
    }
}

/// Two lines with their output, one record after the other and some at once; as the host does it, what fails is followed
/// by an attempt to record the end and by nothing else.
async fn session(disk: &dyn Disk, parties: &Parties) -> Outcome {
    let mut outcome = Outcome::default();
    let Ok(journal) = Journal::create_on(disk, Path::new(DIRECTORY), parties.session, recorder()) else {
        return outcome;
    };
    outcome.created = true;
    let alone = |draft| async { vec![journal.append(draft).await] };
    let mut went_well = true;
    for step in 0..6 {
        let answers = match step {
            0 => alone(start(parties)).await,
            1 => alone(request(1)).await,
            2 => join_all((0..3).map(|_| journal.append(output(1, 7000)))).await,
            3 => alone(finished(1)).await,
            4 => alone(request(2)).await,
            _ => alone(output(2, 20_000)).await,
        };
        went_well = answers.iter().all(|answer| outcome.take(answer));
        if !went_well {
            break;
        }
    }
    if went_well {
        outcome.take(&journal.append(finished(2)).await);
    }
    outcome.ended = outcome.take(&journal.append(end()).await);
    outcome
}

fn run(disk: &dyn Disk, parties: &Parties) -> Outcome {
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    runtime.block_on(session(disk, parties))
}

fn path(parties: &Parties) -> PathBuf {
    record_path(Path::new(DIRECTORY), parties.session)
}

/// What the next start makes of the disk; `Err` tells what was lost.
fn recovered(disk: &FaultyDisk, parties: &Parties, outcome: &Outcome) -> Result<(), String> {
    let path = path(parties);
    if disk.content(&path).is_none() {
        return if outcome.confirmed.is_empty() { Ok(()) } else { Err("the record is gone".to_owned()) };
    }
    // The writer of a process that was not killed gives its lock back when it has heard that nobody writes any more.
    let recovery = recover_on(disk, &path, &parties.node, &common::clock(60)).map_err(|e| e.to_string())?;
    if outcome.ended && recovery != Recovery::Complete {
        return Err(format!("it had its end: {recovery:?}"));
    }
    let Some(content) = disk.content(&path) else {
        return if outcome.confirmed.is_empty() { Ok(()) } else { Err("the record was removed".to_owned()) };
    };
    if !content[16.min(content.len())..].starts_with(&outcome.confirmed) {
        return Err(format!("what was confirmed is not there: {recovery:?}"));
    }
    let report = verify(&content[..], Trust::Node(parties.node.public()));
    match report.verdict {
        Verdict::Intact => Ok(()),
        verdict => Err(format!("{verdict:?} after {recovery:?}: {:?}", report.findings)),
    }
}

/// Waits until the writer's thread has let go of the file.
fn settled(disk: &FaultyDisk, parties: &Parties) {
    let since = std::time::Instant::now();
    while since.elapsed() < Duration::from_secs(5) {
        match disk.open(&path(parties)).and_then(|file| file.try_lock()) {
            Ok(false) => std::thread::yield_now(),
            _ => return,
        }
    }
    panic!("the writer still holds the record");
}

fn calls_of_the_session() -> usize {
    let (disk, parties) = (FaultyDisk::default(), Parties::new());
    let outcome = run(&disk, &parties);
    assert!(outcome.ended);
    settled(&disk, &parties);
    disk.calls()
}

const FAULTS: [Fault; 9] = [
    Fault::CrashBefore,
    Fault::CrashAfter,
    Fault::Fails(ErrorKind::Other),
    Fault::Fails(ErrorKind::StorageFull),
    Fault::Fails(ErrorKind::ReadOnlyFilesystem),
    Fault::Short,
    Fault::Stays(ErrorKind::Other),
    Fault::Stays(ErrorKind::StorageFull),
    Fault::Stays(ErrorKind::ReadOnlyFilesystem),
];

#[test]
fn sec25_sec26_a_fault_at_each_call_loses_nothing_that_was_confirmed() {
    let parties = Parties::new();
    let calls = calls_of_the_session();
    assert!(calls > 20, "{calls}");
    let mut trials = 0;
    for at in 0..=calls {
        for fault in FAULTS {
            let disk = FaultyDisk::failing(at, fault);
            let outcome = run(&disk, &parties);
            assert_eq!(disk.syncs_after_failure(), 0, "sec26: call {at}, {fault:?}");
            for cut in CUTS {
                let found = disk.after(cut);
                assert_eq!(recovered(&found, &parties, &outcome), Ok(()), "call {at}, {fault:?}, {cut:?}");
                // And once more: what recovery made has to survive the next power cut as well.
                for again in CUTS {
                    let later = found.after(again);
                    let told = Outcome { confirmed: outcome.confirmed.clone(), ..Outcome::default() };
                    assert_eq!(
                        recovered(&later, &parties, &told),
                        Ok(()),
                        "call {at}, {fault:?}, {cut:?}, then {again:?}"
                    );
                    trials += 1;
                }
            }
        }
    }
    println!("{calls} calls, {trials} trials, 0 lost");
}

/// The machine stops during the recovery itself, at each of its calls.
#[test]
fn sec25_a_fault_at_each_call_of_the_recovery_loses_nothing() {
    let parties = Parties::new();
    let calls = calls_of_the_session();
    for cut_at in [calls / 3, calls / 2, calls - 4] {
        let disk = FaultyDisk::failing(cut_at, Fault::CrashAfter);
        let outcome = run(&disk, &parties);
        for cut in CUTS {
            for at in 0..8 {
                for fault in FAULTS {
                    let found = disk.after(cut).with_fault(at, fault);
                    drop(recover_on(&found, &path(&parties), &parties.node, &common::clock(60)));
                    for again in CUTS {
                        let told = Outcome { confirmed: outcome.confirmed.clone(), ..Outcome::default() };
                        assert_eq!(
                            recovered(&found.after(again), &parties, &told),
                            Ok(()),
                            "session call {cut_at}, {cut:?}, recovery call {at}, {fault:?}, {again:?}"
                        );
                    }
                }
            }
        }
    }
}

/// A disk without room takes what closes the session, at whatever place the room ends.
#[test]
fn sec45_a_session_that_a_full_disk_ended_has_its_end() {
    let parties = Parties::new();
    let mut ended = 0;
    for room in 0..20 {
        let disk = Full { disk: FaultyDisk::default(), room, keeps: true };
        let outcome = run(&disk, &parties);
        if outcome.created {
            assert!(outcome.ended, "room for {room} reservations");
            ended += 1;
        }
    }
    assert!(ended > 10);
}

/// Without what is set aside the same session has no end until the next start.
#[test]
fn sec45_control_without_a_reserve_there_is_no_end() {
    let parties = Parties::new();
    let ended = (0..20).filter(|room| {
        let disk = Full { disk: FaultyDisk::default(), room: *room, keeps: false };
        let outcome = run(&disk, &parties);
        outcome.created && !outcome.ended
    });
    assert!(ended.count() > 0);
}

/// Retries a failed sync, as one should not.
#[derive(Debug)]
struct Retrying(FaultyDisk);

#[derive(Debug)]
struct RetryingFile(Box<dyn DiskFile>);

#[test]
fn sec26_control_a_retried_sync_loses_what_it_confirmed() {
    let parties = Parties::new();
    let mut caught = 0;
    for at in 0..=calls_of_the_session() {
        let disk = FaultyDisk::failing(at, Fault::Fails(ErrorKind::Other));
        let outcome = run(&Retrying(disk.clone()), &parties);
        caught += usize::from(recovered(&disk.after(Cut::Gone), &parties, &outcome).is_err());
        if disk.syncs_after_failure() > 0 {
            caught += 1;
        }
    }
    assert!(caught >= 10, "{caught}");
}

/// A disk that has room for so many reservations, and for nothing that is not reserved.
#[derive(Debug)]
struct Full {
    disk: FaultyDisk,
    room: u64,
    keeps: bool,
}

#[derive(Debug)]
struct FullFile {
    file: Box<dyn DiskFile>,
    /// Up to here there is room.
    reserved: u64,
    /// Up to here there ever will be.
    limit: u64,
    keeps: bool,
}

macro_rules! pass {
    ($name:ident, $field:tt) => {
        fn length(&self) -> io::Result<u64> {
            self.$field.length()
        }
        fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<usize> {
            self.$field.read_at(offset, buffer)
        }
        fn forget_cached(&self, offset: u64) -> io::Result<()> {
            self.$field.forget_cached(offset)
        }
        fn try_lock(&self) -> io::Result<bool> {
            self.$field.try_lock()
        }
        fn truncate(&mut self, length: u64) -> io::Result<()> {
            self.$field.truncate(length)
        }
    };
}

impl DiskFile for FullFile {
    pass!(FullFile, file);

    fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
        let end = self.file.length()? + bytes.len() as u64;
        let room = if self.keeps { self.reserved } else { self.limit };
        if end > room {
            return Err(ErrorKind::StorageFull.into());
        }
        self.file.append(bytes)
    }

    fn sync(&mut self) -> io::Result<()> {
        self.file.sync()
    }

    fn reserve(&mut self, end: u64) -> io::Result<()> {
        if !self.keeps {
            return Ok(());
        }
        if end > self.limit {
            return Err(ErrorKind::StorageFull.into());
        }
        self.reserved = self.reserved.max(end);
        Ok(())
    }
}

impl DiskFile for RetryingFile {
    pass!(RetryingFile, 0);

    fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.0.append(bytes)
    }

    fn sync(&mut self) -> io::Result<()> {
        self.0.sync().or_else(|_| self.0.sync())
    }

    fn reserve(&mut self, end: u64) -> io::Result<()> {
        self.0.reserve(end)
    }
}

macro_rules! names {
    ($disk:tt) => {
        fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
            self.$disk.rename(from, to)
        }
        fn remove(&self, path: &Path) -> io::Result<()> {
            self.$disk.remove(path)
        }
        fn sync_directory(&self, path: &Path) -> io::Result<()> {
            self.$disk.sync_directory(path)
        }
    };
}

impl Disk for Full {
    names!(disk);

    fn create(&self, path: &Path) -> io::Result<Box<dyn DiskFile>> {
        let file = self.disk.create(path)?;
        // The header is written before anything is reserved.
        let limit = if self.keeps { 65_600 } else { 16 } + self.room * 2000;
        Ok(Box::new(FullFile { file, reserved: 16, limit, keeps: self.keeps }))
    }

    fn open(&self, path: &Path) -> io::Result<Box<dyn DiskFile>> {
        self.disk.open(path)
    }
}

impl Disk for Retrying {
    names!(0);

    fn create(&self, path: &Path) -> io::Result<Box<dyn DiskFile>> {
        Ok(Box::new(RetryingFile(self.0.create(path)?)))
    }

    fn open(&self, path: &Path) -> io::Result<Box<dyn DiskFile>> {
        self.0.open(path)
    }
}

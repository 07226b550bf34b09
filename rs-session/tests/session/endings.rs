//! Every cause, with the disk lost at each call in turn: one end record, one statement (SEC12).

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use std::{fmt, io};

use chrono::TimeDelta;
use rs_consent::{AccessLevel, EndCause};
use rs_session::client::{Client, ClientEvent};
use rs_session::disk::{Disk, DiskFile, RealDisk};
use rs_session::ending::statement_path;
use rs_session::history::record_path;
use rs_session::host::{HostSettings, complete_end, end_statement, state_end};
use rs_session::journal::recover;
use rs_session::protocol::Form;
use rs_session::record::{Content, FrameReader};
use tokio::io::{DuplexStream, duplex};
use uuid::Uuid;

use crate::world::{World, ended, text};

/// A disk that is lost at a call, and stays lost: as if the process or the disk died there.
#[derive(Debug, Clone)]
struct Lost {
    calls: Arc<AtomicU64>,
    at: u64,
}

impl Lost {
    fn call(&self) -> io::Result<()> {
        let number = self.calls.fetch_add(1, Ordering::SeqCst);
        if number < self.at { Ok(()) } else { Err(io::Error::other("the disk is lost")) }
    }
}

impl Disk for Lost {
    fn create(&self, path: &Path) -> io::Result<Box<dyn DiskFile>> {
        self.call()?;
        Ok(Box::new(LostFile { file: RealDisk.create(path)?, disk: self.clone() }))
    }

    fn open(&self, path: &Path) -> io::Result<Box<dyn DiskFile>> {
        self.call()?;
        Ok(Box::new(LostFile { file: RealDisk.open(path)?, disk: self.clone() }))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.call()?;
        RealDisk.rename(from, to)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        self.call()?;
        RealDisk.remove(path)
    }

    fn sync_directory(&self, path: &Path) -> io::Result<()> {
        self.call()?;
        RealDisk.sync_directory(path)
    }
}

struct LostFile {
    file: Box<dyn DiskFile>,
    disk: Lost,
}

impl fmt::Debug for LostFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.disk.fmt(f)
    }
}

impl DiskFile for LostFile {
    fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
        if let Err(lost) = self.disk.call() {
            // A write that was cut off in the middle.
            let _torn = self.file.append(&bytes[..bytes.len() / 2]);
            return Err(lost);
        }
        self.file.append(bytes)
    }

    fn sync(&mut self) -> io::Result<()> {
        self.disk.call()?;
        self.file.sync()
    }

    fn reserve(&mut self, end: u64) -> io::Result<()> {
        self.disk.call()?;
        self.file.reserve(end)
    }

    fn truncate(&mut self, length: u64) -> io::Result<()> {
        self.disk.call()?;
        self.file.truncate(length)
    }

    fn length(&self) -> io::Result<u64> {
        self.file.length()
    }

    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<usize> {
        self.file.read_at(offset, buffer)
    }

    fn forget_cached(&self, offset: u64) -> io::Result<()> {
        self.file.forget_cached(offset)
    }

    fn try_lock(&self) -> io::Result<bool> {
        self.file.try_lock()
    }
}

/// The causes that a running session can end with, besides the loss of its record.
const CAUSES: &[EndCause] = &[
    EndCause::Exit,
    EndCause::Revoked,
    EndCause::Expired,
    EndCause::Idle,
    EndCause::RequestClosed,
    EndCause::LevelLowered,
    EndCause::Operator,
    EndCause::Transport,
    EndCause::Protocol,
    EndCause::AgentStopped,
    EndCause::ClockHeld,
    EndCause::Fault,
];

impl World {
    fn on(&mut self, disk: &Lost) {
        self.host_with(HostSettings { disk: Arc::new(disk.clone()), ..self.settings() });
    }

    /// Brings the cause about.
    async fn bring_about(&mut self, cause: EndCause, session: Uuid) {
        match cause {
            EndCause::Exit => {}
            EndCause::Revoked => drop(self.revoke().await),
            EndCause::Expired => {
                self.clock.advance(Duration::from_secs(8 * 3600));
                self.load();
            }
            EndCause::RequestClosed => {
                self.facts.requests.clear();
                self.load();
            }
            EndCause::LevelLowered => {
                self.facts.grant = Some(self.grant(AccessLevel::Diagnostics));
                self.load();
            }
            EndCause::ClockHeld => {
                self.clock.step_wall(-TimeDelta::hours(1));
                self.load();
            }
            EndCause::AgentStopped => drop(self.host.end_all(cause, "stopping").await),
            _ => drop(self.host.end(session, cause, "for a test").await),
        }
    }
}

/// One session that ends by `cause`, on a disk that is lost at call `at`. True when it never came to that call.
async fn one(cause: EndCause, at: u64) -> bool {
    let mut world = World::new();
    world.facts.grant = Some(world.grant(AccessLevel::DiagnosticsRepair));
    world.load();
    let disk = Lost { calls: Arc::default(), at };
    world.on(&disk);
    let (near, far) = duplex(64 * 1024);
    let served = world.serve(far);
    let connected = Client::connect(near, world.credentials(&world.assignment()), "test/1", None).await;
    let mut session = None;
    if let Ok(mut client) = connected {
        session = Some(client.welcome().session);
        let feed = world.prepare("Get-Long");
        // Whatever fails from here on is the loss of the disk.
        if client.invoke("Get-Long", Form::Text, None).await.is_ok() {
            let _ = feed.send(text("some\n"));
            until_output(&mut client).await;
        }
        if cause == EndCause::Exit {
            let _ = client.bye().await;
        } else {
            world.bring_about(cause, client.welcome().session).await;
        }
        while client.next().await.is_ok_and(|event| !matches!(event, ClientEvent::Ended { .. })) {}
    }
    served.await.unwrap();
    let untouched = disk.calls.load(Ordering::SeqCst) <= at;
    if let Some(session) = session {
        check(&world, session, cause, untouched);
    }
    untouched
}

/// Reads until the work has printed, or nothing more comes.
async fn until_output(client: &mut Client<DuplexStream>) {
    while let Ok(event) = client.next().await {
        let output = matches!(event, ClientEvent::Record { content: Some(Content::Output(_)), .. });
        if output || matches!(event, ClientEvent::Ended { .. }) {
            return;
        }
    }
}

/// What stands after the next start of the agent.
fn check(world: &World, session: Uuid, cause: EndCause, untouched: bool) {
    let path = record_path(world.directory.path(), session);
    let node = world.node.public();
    let before = end_statement(&path, &node).unwrap();
    recover(&path, &world.node, &world.clock).unwrap();
    complete_end(&path, &world.node).unwrap();
    let bytes = std::fs::read(&path).unwrap();
    let mut reader = FrameReader::new(&bytes[..]).unwrap();
    let frames: Vec<_> = std::iter::from_fn(|| reader.next_frame().unwrap()).collect();
    let ends: Vec<_> = frames.iter().filter_map(|frame| frame.skeleton().end).collect();
    let [end] = ends[..] else { panic!("{cause}: {ends:?}") };
    assert!([cause, EndCause::RecordFault, EndCause::Interrupted].contains(&end), "{cause}: {end}");
    let stated = end_statement(&path, &node).unwrap().expect("stated");
    let last = frames.last().unwrap();
    assert_eq!(
        (stated.cause, stated.head, stated.records),
        (end, last.link(), frames.len() as u64),
        "{cause}"
    );
    assert_eq!(stated.recovered, before.is_none(), "{cause}");
    if let Some(before) = before {
        assert_eq!(before, stated, "a statement is made once");
    }
    if untouched {
        assert_eq!((end, stated.recovered), (cause, false));
        assert_eq!(stated.last_executed, Some(1));
    }
    assert!(!complete_end(&path, &world.node).unwrap(), "a second start finds nothing to do");
}

#[tokio::test]
async fn sec12_a_statement_that_was_changed_is_not_replaced_by_a_start() {
    let world = World::new();
    let (mut client, served) = world.connect().await;
    let session = client.welcome().session;
    client.bye().await.unwrap();
    assert_eq!(ended(&mut client).await, EndCause::Exit);
    served.await.unwrap();
    let path = record_path(world.directory.path(), session);
    let end = end_statement(&path, &world.node.public()).unwrap().expect("stated");
    let statement = statement_path(&path);
    let changed = std::fs::read_to_string(&statement).unwrap().replacen('a', "b", 1);
    std::fs::write(&statement, &changed).unwrap();
    assert_eq!(end_statement(&path, &world.node.public()).unwrap(), None);
    recover(&path, &world.node, &world.clock).unwrap();
    assert!(!complete_end(&path, &world.node).unwrap());
    assert!(!state_end(&path, &end, &world.node).unwrap());
    assert_eq!(std::fs::read_to_string(&statement).unwrap(), changed, "it is evidence");
    std::fs::remove_file(&statement).unwrap();
    assert!(complete_end(&path, &world.node).unwrap(), "one that is missing is made");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn sec12_each_cause_with_the_disk_lost_at_each_call_leaves_one_end_and_one_statement() {
    let each = |cause: EndCause| async move {
        for at in 0..200 {
            if one(cause, at).await {
                return at + 1;
            }
        }
        panic!("{cause}: a session makes some tens of calls");
    };
    let all: Vec<_> = CAUSES.iter().map(|cause| tokio::spawn(each(*cause))).collect();
    let mut runs = 0;
    for runs_of_one in all {
        runs += runs_of_one.await.unwrap();
    }
    println!("{runs} sessions, {} causes", CAUSES.len());
    assert!(runs > 12 * CAUSES.len() as u64, "the disk was lost in the middle: {runs}");
}

//! A node with a log and sessions that grow while they are read.

use std::fs::{self, OpenOptions};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use rs_consent::EndCause;
use rs_session::forward::source::{LogEntry, LogPlace, NodeLog, Source};
use rs_session::forward::{Event, EventKind};
use rs_session::history::record_path;
use rs_session::record::FILE_HEADER;
use tempfile::TempDir;
use uuid::Uuid;

use crate::common::{Story, at, clock};

/// A log in memory: its file is not what these tests are about.
#[derive(Default)]
pub(crate) struct Log(Mutex<Vec<LogEntry>>);

impl NodeLog for Log {
    fn read(&self, from: LogPlace, most: usize) -> io::Result<Vec<LogEntry>> {
        let entries = self.0.lock().unwrap();
        Ok(entries.iter().filter(|entry| entry.behind.next > from.next).take(most).cloned().collect())
    }
}

pub(crate) struct World {
    pub(crate) directory: TempDir,
    log: Arc<Log>,
}

impl World {
    pub(crate) fn new() -> Self {
        Self { directory: tempfile::tempdir().unwrap(), log: Arc::default() }
    }

    pub(crate) fn source(&self) -> Source {
        Source::new("node-01", Arc::clone(&self.log) as Arc<dyn NodeLog>, self.directory.path().to_owned())
    }

    pub(crate) fn clock() -> Arc<dyn rs_consent::clock::Clock> {
        Arc::new(clock(0))
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    pub(crate) fn log(&self, kind: EventKind, session: Option<Uuid>) {
        let mut entries = self.log.0.lock().unwrap();
        let number = entries.len() as u64 + 1;
        let event = Event::new(&format!("log/{number}"), "node-01", kind, at(number).wall, "it happened");
        entries.push(LogEntry {
            behind: LogPlace { id: None, next: number + 1 },
            event: Some(event),
            session,
        });
    }

    /// A session whose record is on disk as far as `story` goes.
    pub(crate) fn begin(&self, session: u128) -> Story {
        let story = Story::begin_as(Uuid::from_u128(session));
        write(self.directory.path(), &story, 0);
        self.log(EventKind::SessionStarted, Some(story.parties.session));
        story
    }

    /// Appends what `story` has from record `from` on.
    pub(crate) fn append(&self, story: &Story, from: usize) {
        write(self.directory.path(), story, from);
    }

    /// A session of `lines` lines, begun and ended.
    pub(crate) fn whole(&self, session: u128, lines: u64) {
        let mut story = self.begin(session);
        for line in 1..=lines {
            story.request(line, &format!("Get-Process -Id {line}"));
            story.output(line, "nobody forwards this\n");
        }
        story.end(EndCause::Exit);
        self.append(&story, 1);
    }

    /// The ids that a collector must get, in the order of each session.
    pub(crate) fn expected(&self) -> Vec<String> {
        let mut source = self.source();
        let (mut position, mut ids) = (Default::default(), Vec::new());
        loop {
            let (events, next) = source.next(&position, 1000).unwrap();
            if events.is_empty() {
                return ids;
            }
            ids.extend(events.into_iter().map(|event| event.id));
            position = next;
        }
    }
}

fn write(directory: &Path, story: &Story, from: usize) {
    let path = record_path(directory, story.parties.session);
    let mut file = OpenOptions::new().create(true).append(true).open(path).unwrap();
    if from == 0 {
        file.write_all(&FILE_HEADER).unwrap();
    }
    for frame in &story.frames[from..] {
        file.write_all(&frame.encode()).unwrap();
    }
}

#[test]
fn a_growing_record_is_read_on_and_forgotten_at_its_end() {
    let world = World::new();
    world.log(EventKind::ConsentGranted, None);
    let mut story = world.begin(1);
    let mut source = world.source();
    let (events, position) = source.next(&Default::default(), 100).unwrap();
    let kinds: Vec<_> = events.iter().map(|event| event.kind).collect();
    assert_eq!(kinds, [EventKind::ConsentGranted, EventKind::SessionStarted]);
    assert_eq!(position.sessions.len(), 1);

    story.request(1, "Get-Date");
    // Half of a record is not an event.
    let whole = story.frames[1].encode();
    let path = record_path(world.directory.path(), story.parties.session);
    let mut file = OpenOptions::new().append(true).open(&path).unwrap();
    file.write_all(&whole[..whole.len() / 2]).unwrap();
    let (none, position) = source.next(&position, 100).unwrap();
    assert!(none.is_empty());
    file.write_all(&whole[whole.len() / 2..]).unwrap();
    let (events, position) = source.next(&position, 100).unwrap();
    assert_eq!(events[0].line.as_deref(), Some("Get-Date"));

    story.output(1, "secret output\n");
    story.end(EndCause::Revoked);
    world.append(&story, 2);
    let (events, position) = source.next(&position, 100).unwrap();
    assert_eq!(events.len(), 1, "what was printed is not forwarded: {events:?}");
    assert_eq!((events[0].kind, events[0].reason.as_deref()), (EventKind::SessionEnded, Some("revoked")));
    assert!(position.sessions.is_empty(), "a session that is told to its end is forgotten");
    assert!(source.next(&position, 100).unwrap().0.is_empty());
}

#[test]
fn a_record_that_is_written_anew_meanwhile_is_read_on_at_the_same_record() {
    let world = World::new();
    let mut story = world.begin(1);
    story.request(1, "Get-Date");
    story.output(1, &"long ".repeat(1000));
    world.append(&story, 1);
    let mut source = world.source();
    let (events, position) = source.next(&Default::default(), 100).unwrap();
    assert_eq!(events.len(), 2);

    // A redaction takes a content out: everything behind it moves.
    story.frames[2] = story.frames[2].clone().without_content();
    story.request(2, "Get-Process");
    story.end(EndCause::Exit);
    fs::write(record_path(world.directory.path(), story.parties.session), story.file()).unwrap();
    let (events, _) = source.next(&position, 100).unwrap();
    let kinds: Vec<_> = events.iter().map(|event| event.kind).collect();
    assert_eq!(kinds, [EventKind::CommandPermitted, EventKind::SessionEnded]);
}

#[test]
fn a_damaged_record_is_told_once_and_holds_up_nobody() {
    let world = World::new();
    let mut story = world.begin(1);
    story.request(1, "Get-Date");
    story.end(EndCause::Exit);
    world.append(&story, 1);
    let path = record_path(world.directory.path(), story.parties.session);
    let mut bytes = fs::read(&path).unwrap();
    let second = FILE_HEADER.len() + story.frames[0].encode().len();
    bytes[second] ^= 0xff;
    fs::write(&path, bytes).unwrap();
    world.whole(2, 1);

    let mut source = world.source();
    let (events, position) = source.next(&Default::default(), 100).unwrap();
    let damaged = events.iter().filter(|event| event.kind == EventKind::RecordDamaged).count();
    assert_eq!(damaged, 1);
    assert_eq!(events.last().unwrap().kind, EventKind::SessionEnded);
    assert!(position.sessions.is_empty());
}

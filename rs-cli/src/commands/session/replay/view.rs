//! The full-screen view of `session replay`: who it was, how far it is; below it what was typed and shown; at the foot the
//! keys.

use std::path::Path;
use std::time::{Duration, Instant};

use chrono::TimeDelta;
use rs_session::history::{self, HistoryError};
use rs_session::record::Kind;
use rs_session::seek::Seekable;

use super::Pace;
use super::player::{Moment, Player};
use crate::context::Context;
use crate::outcome::{Failure, Outcome};
use crate::output::span;
use crate::terminal::frame::{Foot, Frame, Size};
use crate::terminal::progress::Progress;
use crate::terminal::reader::{self, Reader};
use crate::terminal::screen::{Event, Key, Screen};
use crate::terminal::scroll::Body;

/// How far `f` and `b` go, in time of the session.
const LEAP: Duration = Duration::from_secs(10);
/// How often the clock in the head is drawn.
const TICK: Duration = Duration::from_millis(250);

/// Shows the view until its reader leaves.
///
/// # Errors
///
/// As for a replay line by line.
pub(super) async fn show(path: &Path, pace: Pace, context: &mut Context) -> Result<Outcome, Failure> {
    let key = context.content_key();
    let mut progress = Progress::new("Reading the record", context);
    let went_on = &mut |done, whole| progress.went_on(done, whole);
    let record = crate::platform::on_behalf(path, || Seekable::open(path, key, went_on));
    progress.finish();
    let mut view = View::new(record?, pace);
    let mut screen = Screen::take(context.console.color)?;
    let mut since = Instant::now();
    loop {
        view.player.advance(std::mem::replace(&mut since, Instant::now()).elapsed());
        screen.draw(|size| view.frame(size))?;
        let next = view.player.due().map_or(TICK, |due| due.min(TICK));
        let event = tokio::select! {
            () = tokio::time::sleep(next) => continue,
            () = std::future::ready(()), if view.reader.is_searching() => {
                view.look();
                // Keys are heard in between.
                tokio::task::yield_now().await;
                continue;
            }
            event = screen.next() => event?,
        };
        match event {
            Event::Stop => break,
            Event::Redraw => {}
            Event::Key(key) if view.key(key) => break,
            Event::Key(_) => {}
        }
        // Nothing goes by while the program was suspended.
        if event == Event::Redraw {
            since = Instant::now();
        }
    }
    drop(screen);
    match view.record.fault.or_else(|| view.record.record.into_fault()) {
        Some(fault) => Err(fault.into()),
        None => Ok(Outcome::Done),
    }
}

/// The transcript: its header, then a text for each record up to the place that has been reached.
struct Text {
    record: Seekable,
    /// How many records are there for the window; all, for the search.
    upto: usize,
    /// What kept a record from being read.
    fault: Option<HistoryError>,
}

impl Body for Text {
    fn count(&self) -> usize {
        self.upto + 1
    }

    fn text(&mut self, item: usize) -> String {
        let Some(at) = item.checked_sub(1) else { return history::header(self.record.identity()) };
        match self.record.entry(at) {
            Ok(entry) => entry.as_ref().and_then(history::text).unwrap_or_default(),
            Err(error) => {
                let text = format!("(this record cannot be read: {error})\n");
                self.fault.get_or_insert(error);
                text
            }
        }
    }
}

struct View {
    record: Text,
    player: Player,
    reader: Reader,
}

impl View {
    fn new(record: Seekable, pace: Pace) -> Self {
        let places = record.places();
        let begin = places.first().map_or(Duration::ZERO, |first| first.boot_time);
        let mut last = Duration::ZERO;
        let moments = places.iter().map(|place| {
            last = last.max(place.boot_time.saturating_sub(begin));
            Moment { at: last, shown: place.kind != Kind::Receipt }
        });
        let player = Player::new(moments.collect(), pace);
        Self { record: Text { record, upto: 0, fault: None }, player, reader: Reader::default() }
    }

    /// Goes on with a search through the whole record, and to the place where it is found.
    fn look(&mut self) {
        self.record.upto = self.record.record.places().len();
        if let Some(place) = self.reader.look(&mut self.record) {
            self.player.stop();
            self.player.seek_record(place.item.max(1));
            // What comes after it has not been reached.
            self.reader.scroll.go_to_end();
        }
    }

    /// Takes a key; true when the reader leaves.
    fn key(&mut self, key: Key) -> bool {
        self.record.upto = self.player.played();
        if !self.reader.is_typing() {
            let known = match key {
                Key::Char('q' | 'Q') | Key::Interrupt => return true,
                Key::Char(' ') => self.go(Player::toggle),
                Key::Char('+' | '=') => self.go(|player| player.faster(true)),
                Key::Char('-') => self.go(|player| player.faster(false)),
                Key::Right | Key::Char('.') => self.go(|player| player.step(true)),
                Key::Left | Key::Char(',') => self.go(|player| player.step(false)),
                Key::Char('f') => self.go(|player| player.by(LEAP, true)),
                Key::Char('b') => self.go(|player| player.by(LEAP, false)),
                Key::Char(digit @ '0'..='9') => {
                    self.go(|player| player.seek_tenth(digit.to_digit(10).unwrap_or(0)))
                }
                _ => false,
            };
            if known {
                return false;
            }
        }
        let _unknown = self.reader.key(key, &mut self.record);
        false
    }

    fn go(&mut self, change: impl FnOnce(&mut Player)) -> bool {
        change(&mut self.player);
        self.reader.scroll.go_to_end();
        self.reader.quiet();
        true
    }

    fn frame(&mut self, size: Size) -> Frame {
        self.record.upto = self.player.played();
        let facts = self.facts();
        let foot = self.reader.foot().unwrap_or_else(|| {
            let own = [
                ("q", "leaves"),
                ("Space", self.space()),
                ("</>", "record"),
                ("0-9", "tenths"),
                ("+/-", "speed"),
                ("f/b", "10 s"),
            ];
            Foot::Keys(own.into_iter().chain(reader::KEYS).collect())
        });
        let (record, reader) = (&mut self.record, &mut self.reader);
        Frame::compose(size, &facts, &foot, |window| reader.lines(record, window))
    }

    /// What the space bar does at present.
    fn space(&self) -> &'static str {
        match (self.player.is_at_end(), self.player.is_paused()) {
            (true, _) => "plays again",
            (false, true) => "goes on",
            (false, false) => "stops",
        }
    }

    fn facts(&self) -> Vec<String> {
        let identity = self.record.record.identity();
        let (now, whole) = self.player.clock();
        let state = match (self.player.is_at_end(), self.player.is_paused()) {
            (true, _) if self.record.record.fault().is_some() => "DAMAGED BEHIND HERE",
            (true, _) => "AT THE END",
            (false, true) => "STOPPED",
            (false, false) => "PLAYING",
        };
        let mut facts = vec![
            "REPLAY".to_owned(),
            state.to_owned(),
            format!("{} of {}", clock(now), clock(whole)),
            format!("{} times as fast", self.player.speed()),
            format!("record {} of {}", self.player.played(), self.record.record.places().len()),
            identity.engineer.id.to_string(),
            identity.access_level.to_string(),
            format!("request {}", identity.support_request),
            format!("on {}", identity.node.name),
        ];
        if !self.reader.scroll.follows() {
            facts.push("SCROLLED BACK: End follows again".to_owned());
        }
        facts
    }
}

fn clock(time: Duration) -> String {
    span(TimeDelta::from_std(time).unwrap_or_default())
}

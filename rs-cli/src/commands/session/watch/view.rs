//! The full-screen view of `session watch`: who is there, under what, for how long still; below it what happens; at the
//! foot the keys, of which one ends a session.

use std::collections::{BTreeMap, VecDeque};

use chrono::{DateTime, TimeDelta, Utc};
use rs_consent::AccessLevel;
use rs_session::history;
use rs_session::record::SessionIdentity;
use uuid::Uuid;

use super::question::{Open, Question, Reply};
use super::{LOOK, NO_AGENT, NO_SESSION, News, Watched, cut_off, end, no_agent_runs, short};
use crate::commands::access;
use crate::context::Context;
use crate::outcome::{Failure, Outcome};
use crate::output::span;
use crate::platform::FolderWatch;
use crate::terminal::frame::{Foot, Frame, Size};
use crate::terminal::reader::{self, Reader};
use crate::terminal::screen::{Event, Key, Screen};
use crate::terminal::scroll::Body;

/// Entries that the view keeps to scroll back to.
const ENTRIES_MAX: usize = 10_000;
/// Text that the view keeps, in bytes.
const BYTES_MAX: usize = 16 * 1024 * 1024;
/// How often it is looked what the consent still gives: every so many looks.
const LOOKS_A_GRANT: u32 = 4;

/// Shows the view until the operator leaves.
pub(super) async fn show(
    mut watched: Watched,
    mut grown: FolderWatch,
    context: &mut Context,
) -> Result<Outcome, Failure> {
    let mut view = View::new(watched.only.is_some());
    if no_agent_runs(context) {
        view.add(NO_AGENT);
    }
    view.grants(context);
    let mut screen = Screen::take(context.console.color)?;
    let mut look = tokio::time::interval(LOOK);
    let mut looks = 0_u32;
    loop {
        watched.read(&mut |news| {
            view.take(&news);
            Ok(())
        })?;
        screen.draw(|size| view.frame(size, context.clock.now().wall))?;
        let event = tokio::select! {
            changed = grown.changed() => {
                changed.map_err(|error| Failure::io(&watched.folder(), "watch", error))?;
                continue;
            }
            _ = look.tick() => {
                watched.look(&mut |news| {
                    view.take(&news);
                    Ok(())
                })?;
                looks += 1;
                if looks.is_multiple_of(LOOKS_A_GRANT) {
                    view.grants(context);
                }
                continue;
            }
            () = std::future::ready(()), if view.reader.is_searching() => {
                view.reader.look(&mut view.log);
                // Keys are heard in between.
                tokio::task::yield_now().await;
                continue;
            }
            event = screen.next() => event?,
        };
        match event {
            Event::Stop => break,
            Event::Redraw => {}
            Event::Key(key) => match view.key(key, &watched.open()) {
                Reply::Leave => break,
                Reply::End(session) => {
                    view.reader.say("Ending the session ...");
                    screen.draw(|size| view.frame(size, context.clock.now().wall))?;
                    let words = end(session, context);
                    view.add(&words);
                    view.reader.say(&words);
                    view.ended.push(words);
                }
                Reply::Say(_) | Reply::Nothing => {}
            },
        }
    }
    drop(screen);
    // What was done stays on the terminal.
    view.ended.iter().for_each(|words| context.note(words));
    Ok(Outcome::Done)
}

/// What happened, as far as it is kept.
#[derive(Debug, Default)]
struct Log {
    texts: VecDeque<String>,
    bytes: usize,
    dropped: u64,
}

impl Log {
    /// Adds a text; says how many went away for it.
    fn push(&mut self, text: String) -> usize {
        self.bytes += text.len();
        self.texts.push_back(text);
        let mut dropped = 0;
        while self.texts.len() > ENTRIES_MAX || (self.bytes > BYTES_MAX && self.texts.len() > 1) {
            self.bytes -= self.texts.pop_front().map_or(0, |text| text.len());
            dropped += 1;
        }
        self.dropped += dropped as u64;
        dropped
    }
}

impl Body for Log {
    fn count(&self) -> usize {
        self.texts.len()
    }

    fn text(&mut self, item: usize) -> String {
        self.texts.get(item).cloned().unwrap_or_default()
    }
}

/// A session in the head.
#[derive(Debug)]
struct Shown {
    engineer: String,
    node: String,
    level: AccessLevel,
    request: String,
    grant: Uuid,
    since: Option<DateTime<Utc>>,
    cut_off: bool,
}

/// The state of the view.
#[derive(Debug)]
struct View {
    log: Log,
    reader: Reader,
    question: Question,
    /// Only one session was asked for.
    one: bool,
    sessions: BTreeMap<Uuid, Shown>,
    /// The ends of the consents that are in force, by their ids.
    until: BTreeMap<Uuid, DateTime<Utc>>,
    /// Where the one that was asked for is over: its last facts.
    over: Option<String>,
    /// How the sessions went that were ended here.
    ended: Vec<String>,
}

impl View {
    fn new(one: bool) -> Self {
        Self {
            log: Log::default(),
            reader: Reader::default(),
            question: Question::None,
            one,
            sessions: BTreeMap::new(),
            until: BTreeMap::new(),
            over: None,
            ended: Vec::new(),
        }
    }

    fn add(&mut self, text: &str) {
        let dropped = self.log.push(text.to_owned());
        self.reader.dropped(dropped);
    }

    fn take(&mut self, news: &News<'_>) {
        match *news {
            News::Begun(id, identity) => {
                self.sessions.insert(id, Shown::of(identity));
                self.add(&history::header(identity));
            }
            News::Entry(id, entry, mark) => {
                if let Some(session) = self.sessions.get_mut(&id) {
                    session.since.get_or_insert(entry.wall_time);
                }
                if let Some(text) = history::text(entry) {
                    let marked: String = text.lines().map(|line| format!("{mark}{line}\n")).collect();
                    self.add(&marked);
                }
            }
            News::Over(id) => {
                let gone = self.sessions.remove(&id);
                if let Some(gone) = gone.filter(|_| self.one) {
                    self.over = Some(format!("the session of {} is over", gone.engineer));
                    self.reader.say("The session is over. q leaves.");
                }
            }
            News::CutOff(id) => {
                if let Some(session) = self.sessions.get_mut(&id) {
                    session.cut_off = true;
                }
                self.add(&cut_off(id));
            }
        }
    }

    /// Reads how long the consents still last.
    fn grants(&mut self, context: &Context) {
        // Where they cannot be read, the time is left out.
        let Ok(consents) = access::consents(false, context) else { return };
        let now = context.clock.now();
        let in_force = consents.active().map(|grant| {
            let left = TimeDelta::from_std(grant.remaining(&now)).unwrap_or_default();
            (*grant.id.as_uuid(), now.wall + left)
        });
        self.until = in_force.into_iter().collect();
    }

    fn key(&mut self, key: Key, open: &[Open]) -> Reply {
        if self.question == Question::None && self.reader.key(key, &mut self.log) {
            return Reply::Nothing;
        }
        let letter = match key {
            // Neither is a yes to anything.
            Key::Interrupt if self.question == Question::None => return Reply::Leave,
            Key::Char(letter) => letter,
            _ => '\u{1b}',
        };
        let reply = self.question.answer(letter, open);
        if let Reply::Say(text) = &reply {
            self.reader.say(text);
        }
        reply
    }

    fn frame(&mut self, size: Size, now: DateTime<Utc>) -> Frame {
        let facts = self.facts(now);
        let foot = self.reader.foot().unwrap_or_else(|| {
            let own = [("q", "leaves"), ("e", "ends a session")];
            Foot::Keys(own.into_iter().chain(reader::KEYS).collect())
        });
        let (log, reader) = (&mut self.log, &mut self.reader);
        Frame::compose(size, &facts, &foot, |window| reader.lines(log, window))
    }

    fn facts(&self, now: DateTime<Utc>) -> Vec<String> {
        let mut facts = vec!["WATCH".to_owned()];
        let mut sessions = self.sessions.iter();
        match (sessions.next(), sessions.next()) {
            (None, _) => facts.push(self.over.clone().unwrap_or_else(|| NO_SESSION.to_owned())),
            (Some((_, session)), None) => facts.extend(session.facts(&self.until, now)),
            _ => {
                facts.push(format!("{} sessions", self.sessions.len()));
                facts.extend(
                    self.sessions.iter().map(|(id, session)| session.in_a_line(*id, &self.until, now)),
                );
            }
        }
        if !self.reader.scroll.follows() {
            facts.push("SCROLLED BACK: End follows again".to_owned());
        }
        if self.log.dropped > 0 {
            facts.push(format!("{} older entries: session replay", self.log.dropped));
        }
        facts
    }
}

impl Shown {
    fn of(identity: &SessionIdentity) -> Self {
        Self {
            engineer: identity.engineer.id.to_string(),
            node: identity.node.name.to_string(),
            level: identity.access_level,
            request: identity.support_request.to_string(),
            grant: identity.grant_id,
            since: None,
            cut_off: false,
        }
    }

    /// What is left, in words.
    fn left(&self, until: &BTreeMap<Uuid, DateTime<Utc>>, now: DateTime<Utc>) -> String {
        match until.get(&self.grant) {
            _ if self.cut_off => "CUT OFF: the agent is down".to_owned(),
            Some(until) => format!("{} left", span(*until - now)),
            None => "its consent is not in force".to_owned(),
        }
    }

    fn facts(&self, until: &BTreeMap<Uuid, DateTime<Utc>>, now: DateTime<Utc>) -> Vec<String> {
        let mut facts = vec![
            self.engineer.clone(),
            self.level.to_string(),
            self.left(until, now),
            format!("request {}", self.request),
            format!("on {}", self.node),
        ];
        if let Some(since) = self.since {
            facts.push(format!("since {} ({})", since.format("%H:%M:%S UTC"), span(now - since)));
        }
        facts
    }

    fn in_a_line(&self, id: Uuid, until: &BTreeMap<Uuid, DateTime<Utc>>, now: DateTime<Utc>) -> String {
        format!("{} {} {}, {}", short(id), self.engineer, self.level, self.left(until, now))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::terminal::frame::Style;

    fn shown(engineer: &str) -> Shown {
        Shown {
            engineer: engineer.to_owned(),
            node: "node-01".to_owned(),
            level: AccessLevel::Diagnostics,
            request: "2611250000000001".to_owned(),
            grant: Uuid::from_u128(9),
            since: Some(DateTime::UNIX_EPOCH),
            cut_off: false,
        }
    }

    fn view() -> View {
        let mut view = View::new(false);
        view.sessions.insert(Uuid::from_u128(7 << 96), shown("engineer@support.example"));
        view.until.insert(Uuid::from_u128(9), DateTime::UNIX_EPOCH + TimeDelta::minutes(480));
        view
    }

    fn text(view: &mut View, columns: usize, rows: usize) -> Vec<String> {
        let now = DateTime::UNIX_EPOCH + TimeDelta::seconds(303);
        let frame = view.frame(Size { columns, rows }, now);
        frame.0.into_iter().map(|line| line.text).collect()
    }

    fn open() -> Vec<Open> {
        vec![Open { id: Uuid::from_u128(7 << 96), engineer: "engineer@support.example".to_owned() }]
    }

    #[test]
    fn s17_who_under_what_and_for_how_long_stands_in_the_head() {
        let mut view = view();
        let wide = text(&mut view, 80, 24);
        assert_eq!(wide[0], "WATCH  engineer@support.example  Diagnostics  7 h 54 min left");
        assert_eq!(wide[1], "request 2611250000000001  on node-01  since 00:00:00 UTC (5 min 3 s)");
        assert_eq!(wide[23], "q leaves  e ends a session  PgUp/PgDn scroll  End follows  / searches");
        let narrow = text(&mut view, 40, 24);
        assert_eq!(narrow[0], "WATCH  engineer@support.example");
        assert_eq!(narrow[1], "Diagnostics  7 h 54 min left");
        assert_eq!(narrow[23], "q leaves  e ends a session");
        view.sessions.insert(Uuid::from_u128(8 << 96), shown("other@support.example"));
        let several = text(&mut view, 80, 24);
        assert_eq!(several[0], "WATCH  2 sessions");
        assert_eq!(several[2], "00000008 other@support.example Diagnostics, 7 h 54 min left");
        view.sessions.clear();
        assert!(text(&mut view, 80, 24)[0].contains("No session is open"));
    }

    #[test]
    fn s18_ending_is_asked_in_the_foot_and_only_a_yes_ends() {
        let mut view = view();
        assert!(matches!(view.key(Key::Char('e'), &open()), Reply::Say(_)));
        let asked = text(&mut view, 80, 24).concat();
        assert!(asked.contains("y ends it, any other key does not."), "{asked}");
        assert!(matches!(view.key(Key::Down, &open()), Reply::Say(_)), "no scrolling within a question");
        assert_eq!(view.key(Key::Char('y'), &open()), Reply::Nothing, "the question is over");
        let _asked = view.key(Key::Char('e'), &open());
        assert!(matches!(view.key(Key::Interrupt, &open()), Reply::Say(_)), "Ctrl-C is a No first");
        let _asked = view.key(Key::Char('e'), &open());
        assert_eq!(view.key(Key::Char('y'), &open()), Reply::End(open()[0].id));
        assert_eq!(view.key(Key::Interrupt, &open()), Reply::Leave);
        // Letters that are searched for are no keys.
        let _typing = view.key(Key::Char('/'), &open());
        assert_eq!(view.key(Key::Char('q'), &open()), Reply::Nothing);
        assert!(view.reader.is_typing());
    }

    #[test]
    fn what_is_kept_has_bounds_in_entries_and_in_bytes() {
        let mut log = Log::default();
        for at in 0..ENTRIES_MAX {
            assert_eq!(log.push(format!("{at}\n")), 0);
        }
        assert_eq!(log.push("one more\n".to_owned()), 1);
        assert_eq!((log.text(0).as_str(), log.dropped), ("1\n", 1));
        let mut log = Log::default();
        assert_eq!(log.push("x".repeat(BYTES_MAX)), 0);
        assert_eq!(log.push("y".to_owned()), 1);
        assert_eq!(log.text(0), "y");
    }

    #[test]
    fn sec37_what_a_session_wrote_steers_nothing() {
        let mut view = view();
        view.add("red\u{1b}[31m\u{9b}2J\u{202e}\rfake\tend");
        view.sessions.insert(Uuid::from_u128(8), shown("e\u{1b}[2J@x"));
        let now = DateTime::UNIX_EPOCH;
        for (columns, rows) in [(80, 24), (40, 12), (7, 3), (1, 1)] {
            let frame = view.frame(Size { columns, rows }, now);
            assert!(frame.0.iter().all(|line| line.text.chars().all(|c| !crate::output::is_unsafe(c))));
        }
        assert!(text(&mut view, 80, 24).concat().contains("\\u{1b}[31m"));
        assert!(
            view.frame(Size { columns: 80, rows: 24 }, now).0.iter().any(|line| line.style == Style::Bar)
        );
    }
}

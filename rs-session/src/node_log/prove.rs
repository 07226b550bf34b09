//! Who had access between two instants, or that nobody had: said from a node log, and only as far as it reaches.
//!
//! A session's start is in the log before the engineer is welcomed, and the log has no gaps in its numbers. So between
//! two neighbouring entries no session began. What remains is whether the log was being written at all:
//!
//! * the agent writes an entry at least every [`HEARTBEAT_IDLE`] (while a session is open, [`HEARTBEAT_LIVE`]); time is
//!   covered where the agent ran and two neighbouring entries are at most [`GAP_MAX`] apart by the boot clock;
//! * time before the first entry, behind the newest one, and while the agent did not run is not covered;
//! * where the wall clock was set by more than [`CLOCK_STEP_ALLOWED`], wall times between the two readings mean nothing.
//!
//! For what is not covered the answer is "cannot be said", with the reason.

use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use rs_consent::clock::BootId;
use rs_consent::keys::PublicKey;
use rs_consent::{AccessLevel, EndCause, RequestNumber};
use serde::Serialize;
use uuid::Uuid;

use super::entry::{Entry, Event};

/// How often the agent writes an entry when no session is open.
pub const HEARTBEAT_IDLE: Duration = Duration::from_secs(300);
/// How often it does while one is open; the entry then says where each open record stands.
pub const HEARTBEAT_LIVE: Duration = Duration::from_secs(60);
/// Two entries that are further apart leave a gap: two heartbeats and a minute.
pub const GAP_MAX: Duration = Duration::from_secs(660);
/// How far wall clock and boot clock may drift apart between two entries: 5 seconds.
pub const CLOCK_STEP_ALLOWED: TimeDelta = TimeDelta::seconds(5);
/// Most gaps that are listed; neighbouring ones of a kind are one.
const GAPS_MAX: usize = 1000;

/// A session that was open at some time of the interval.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Access {
    /// The session.
    pub session: Uuid,
    /// The engineer, as the desk names them.
    pub engineer: String,
    /// The engineer's key.
    pub engineer_key: PublicKey,
    /// Number of the support request.
    pub support_request: RequestNumber,
    /// Id of the grant.
    pub grant: Uuid,
    /// Level in force at the start.
    pub access_level: AccessLevel,
    /// When it began.
    pub from: DateTime<Utc>,
    /// When it had ended at the latest; `None` while it is open.
    pub to: Option<DateTime<Utc>>,
    /// Why it ended.
    pub cause: Option<EndCause>,
}

/// Why nothing can be said about a time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum GapKind {
    /// The log had not begun.
    BeforeLog,
    /// The log has no entry that is newer.
    AfterLog,
    /// The agent had been stopped in good order and not yet started again.
    AgentStopped,
    /// The agent should have written and did not: it was killed, or the machine was off or asleep.
    Silent,
    /// The wall clock was set.
    ClockStepped,
    /// The log does not hold.
    LogBroken,
}

impl GapKind {
    /// Every one.
    pub const ALL: &[Self] = &[
        Self::BeforeLog,
        Self::AfterLog,
        Self::AgentStopped,
        Self::Silent,
        Self::ClockStepped,
        Self::LogBroken,
    ];

    /// The word as it stands in JSON.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::BeforeLog => "before-log",
            Self::AfterLog => "after-log",
            Self::AgentStopped => "agent-stopped",
            Self::Silent => "silent",
            Self::ClockStepped => "clock-stepped",
            Self::LogBroken => "log-broken",
        }
    }

    /// What can be done, as a sentence without full stop.
    #[must_use]
    pub const fn remedy(self) -> &'static str {
        match self {
            Self::BeforeLog => {
                "ask about a time since the log began; for the time before, other records than these have to tell"
            }
            Self::AfterLog => "ask about a time that is over, while the agent runs",
            Self::AgentStopped => "keep the agent running if its log is to be without gaps",
            Self::Silent => {
                "see in the system's log whether the machine was off; the agent's service restarts by itself"
            }
            Self::ClockStepped => "keep the clock by NTP, which moves it in small steps",
            Self::LogBroken => {
                "see where with `remote-support session verify`, and compare with a witness that was kept elsewhere"
            }
        }
    }

    /// The reason in words.
    #[must_use]
    pub const fn explanation(self) -> &'static str {
        match self {
            Self::BeforeLog => "the log had not begun",
            Self::AfterLog => "the log has no newer entry",
            Self::AgentStopped => {
                "the agent was stopped; nobody gets in without it, and nobody kept the log either"
            }
            Self::Silent => "the agent wrote nothing: it was killed, or the machine was off or asleep",
            Self::ClockStepped => "the clock of the node was set, so times in between mean nothing",
            Self::LogBroken => "the log is not what was written",
        }
    }
}

/// A part of the interval about which nothing can be said.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Gap {
    /// Its beginning.
    pub from: DateTime<Utc>,
    /// Its end.
    pub to: DateTime<Utc>,
    /// Why.
    pub kind: GapKind,
}

/// The answer in a word.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum ProofVerdict {
    /// Nobody had access at any time of the interval.
    NoAccess,
    /// These sessions and no others.
    TheseSessions,
    /// Parts of the interval are not covered; what is known is listed.
    CannotBeSaid,
}

impl ProofVerdict {
    /// Every one.
    pub const ALL: &[Self] = &[Self::NoAccess, Self::TheseSessions, Self::CannotBeSaid];

    /// The word as it stands in JSON.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::NoAccess => "no-access",
            Self::TheseSessions => "these-sessions",
            Self::CannotBeSaid => "cannot-be-said",
        }
    }

    /// What it means, as a sentence without full stop.
    #[must_use]
    pub const fn cause(self) -> &'static str {
        match self {
            Self::NoAccess => "nobody had access at any time of the interval",
            Self::TheseSessions => "these sessions were open in the interval and no others",
            Self::CannotBeSaid => "for parts of the interval nothing can be said; what is known is listed",
        }
    }

    /// What can be done, as a sentence without full stop.
    #[must_use]
    pub const fn remedy(self) -> &'static str {
        match self {
            Self::NoAccess => "nothing is to be done",
            Self::TheseSessions => "nothing is to be done",
            Self::CannotBeSaid => "see the reason of each gap, and ask about the parts that are covered",
        }
    }
}

/// The answer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Proof {
    /// In a word.
    pub verdict: ProofVerdict,
    /// Beginning of the interval.
    pub from: DateTime<Utc>,
    /// End of the interval, inclusive.
    pub to: DateTime<Utc>,
    /// Sessions that were open in it, in the order in which they began.
    pub sessions: Vec<Access>,
    /// What cannot be said.
    pub gaps: Vec<Gap>,
    /// Further gaps that are not listed.
    pub gaps_more: u64,
}

/// Answers for `from..=to` from the entries of a log that verified with `intact` as its outcome.
///
/// Entries are in their order; those that did not fit are left out by the caller, and `intact` is false then.
pub fn prove<'a>(
    entries: impl IntoIterator<Item = &'a Entry>,
    intact: bool,
    from: DateTime<Utc>,
    to: DateTime<Utc>,
) -> Proof {
    let mut walk =
        Walk { from, to, before: None, running: false, sessions: Vec::new(), gaps: Vec::new(), more: 0 };
    for entry in entries {
        walk.take(entry);
    }
    walk.finish(intact)
}

#[derive(Clone, Copy)]
struct Reading {
    wall: DateTime<Utc>,
    boot: Duration,
    boot_id: BootId,
}

struct Walk {
    from: DateTime<Utc>,
    to: DateTime<Utc>,
    before: Option<Reading>,
    running: bool,
    sessions: Vec<Access>,
    gaps: Vec<Gap>,
    more: u64,
}

impl Walk {
    fn take(&mut self, entry: &Entry) {
        let now = Reading {
            wall: entry.wall_time,
            boot: Duration::from_nanos(entry.boot_time_ns),
            boot_id: entry.boot_id,
        };
        match self.before {
            None => self.gap(DateTime::<Utc>::MIN_UTC, now.wall, GapKind::BeforeLog),
            Some(before) => {
                if let Some(kind) = self.kind_between(before, now) {
                    self.gap(before.wall.min(now.wall), before.wall.max(now.wall), kind);
                }
            }
        }
        self.before = Some(now);
        self.event(entry);
    }

    /// Why the time between two neighbouring entries is not covered; `None` when it is.
    fn kind_between(&self, before: Reading, now: Reading) -> Option<GapKind> {
        let wall = now.wall - before.wall;
        let boot = if before.boot_id == now.boot_id {
            let boot = TimeDelta::from_std(now.boot.saturating_sub(before.boot)).unwrap_or(TimeDelta::MAX);
            if (wall - boot).abs() > CLOCK_STEP_ALLOWED {
                return Some(GapKind::ClockStepped);
            }
            boot
        } else if wall < -CLOCK_STEP_ALLOWED {
            return Some(GapKind::ClockStepped);
        } else {
            wall
        };
        match (self.running, boot.to_std().unwrap_or_default() > GAP_MAX) {
            (false, _) => Some(GapKind::AgentStopped),
            (true, true) => Some(GapKind::Silent),
            (true, false) => None,
        }
    }

    fn event(&mut self, entry: &Entry) {
        match &entry.event {
            Event::AgentStarted { .. } => self.running = true,
            Event::AgentStopped {} => self.running = false,
            Event::SessionStarted { head, engineer, engineer_key, support_request, grant, access_level } => {
                self.sessions.push(Access {
                    session: head.session,
                    engineer: engineer.clone(),
                    engineer_key: *engineer_key,
                    support_request: *support_request,
                    grant: *grant,
                    access_level: *access_level,
                    from: entry.wall_time,
                    to: None,
                    cause: None,
                });
            }
            Event::SessionEnded { head, cause, .. } => self.end(head.session, entry.wall_time, Some(*cause)),
            Event::SessionLost { session } => self.end(*session, entry.wall_time, None),
            _ => {}
        }
    }

    fn end(&mut self, session: Uuid, at: DateTime<Utc>, cause: Option<EndCause>) {
        let open =
            self.sessions.iter_mut().rev().find(|access| access.session == session && access.to.is_none());
        if let Some(access) = open {
            (access.to, access.cause) = (Some(at), cause);
        }
        // What is over before the interval is forgotten, so that memory does not grow with the age of the log.
        let from = self.from;
        self.sessions.retain(|access| access.to.is_none_or(|to| to >= from || access.from >= from));
    }

    /// The part of a gap that lies in the interval.
    fn gap(&mut self, from: DateTime<Utc>, to: DateTime<Utc>, kind: GapKind) {
        // The entries at both ends of a gap stand in the log, so the gap is what lies between them.
        if to <= self.from || from >= self.to {
            return;
        }
        let (from, to) = (from.max(self.from), to.min(self.to));
        let full = self.gaps.len() >= GAPS_MAX;
        match self.gaps.last_mut() {
            Some(last) if last.kind == kind && last.to >= from => last.to = last.to.max(to),
            _ if full => self.more += 1,
            _ => self.gaps.push(Gap { from, to, kind }),
        }
    }

    fn finish(mut self, intact: bool) -> Proof {
        match self.before {
            Some(last) if last.wall < self.to => {
                self.gap(last.wall, DateTime::<Utc>::MAX_UTC, GapKind::AfterLog);
            }
            Some(_) => {}
            None => self.gap(DateTime::<Utc>::MIN_UTC, DateTime::<Utc>::MAX_UTC, GapKind::BeforeLog),
        }
        if !intact {
            self.gaps = vec![Gap { from: self.from, to: self.to, kind: GapKind::LogBroken }];
        }
        let (from, to) = (self.from, self.to);
        self.sessions.retain(|access| {
            let (began, ended) = (access.from, access.to.unwrap_or(DateTime::<Utc>::MAX_UTC));
            began.min(ended) <= to && began.max(ended) >= from
        });
        let verdict = match (self.gaps.is_empty(), self.sessions.is_empty()) {
            (false, _) => ProofVerdict::CannotBeSaid,
            (true, true) => ProofVerdict::NoAccess,
            (true, false) => ProofVerdict::TheseSessions,
        };
        Proof { verdict, from, to, sessions: self.sessions, gaps: self.gaps, gaps_more: self.more }
    }
}

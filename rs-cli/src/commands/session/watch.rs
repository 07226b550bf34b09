//! `session watch`: what happens in the sessions of this node, while it happens.
//!
//! It follows the record files, so it shows what is on record and nothing else, and it works without the agent too. The
//! system tells when a file has grown; a slow look beside that finds an agent that is gone. What was found is told as
//! [`News`]: to somebody at a terminal in a full-screen view (`view`), else line by line as it comes.

mod question;
mod view;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use rs_session::follow::Follow;
use rs_session::history::{self, Entry, record_files};
use rs_session::record::{ContentKey, SessionIdentity};
use uuid::Uuid;

use self::question::{Open, Question, Reply};
use super::{Ended, end_one, event};
use crate::commands::ending;
use crate::context::Context;
use crate::control::{AgentControl as _, ControlError};
use crate::outcome::{ErrorCode, Failure, Outcome};
use crate::output::OutputMode;
use crate::platform::{FolderWatch, Keys};
use crate::state::StateDir;
use crate::{node, records, signals};

/// How often it is looked whether the agent still writes the record.
const LOOK: Duration = Duration::from_millis(500);
/// Entries from before that can be asked for.
const ENTRIES_BEFORE_MAX: u32 = 100_000;
/// Letters of a session's id in front of each line, where several sessions share the screen.
const MARK_CHARS: usize = 8;

/// Arguments of `session watch`.
#[derive(Debug, Args)]
pub struct WatchArgs {
    /// Id of the session [default: all that run, and all that begin].
    #[arg(value_name = "ID")]
    pub session_id: Option<Uuid>,
    /// How many entries from before to show first: 0 to 100000.
    #[arg(
        long, value_name = "N", default_value_t = 20, env = "REMOTE_SUPPORT_BEFORE",
        value_parser = clap::value_parser!(u32).range(0..=i64::from(ENTRIES_BEFORE_MAX))
    )]
    pub before: u32,
    /// Print line by line, also where a terminal could show a full-screen view.
    #[arg(long, env = "REMOTE_SUPPORT_PLAIN", value_parser = clap::builder::BoolishValueParser::new())]
    pub plain: bool,
}

/// Watches until the named session has ended, or until the operator leaves.
///
/// # Errors
///
/// [`ErrorCode::NotFound`] where there is no such session; [`ErrorCode::Integrity`] where its record cannot be read.
pub(super) fn run(args: &WatchArgs, context: &mut Context) -> Result<Outcome, Failure> {
    Context::block_on(watch(args, context))
}

async fn watch(args: &WatchArgs, context: &mut Context) -> Result<Outcome, Failure> {
    let folder = records::folder(&context.state);
    if let Some(session) = args.session_id {
        records::find(&context.state, session)?;
    }
    if !folder.is_dir() {
        return Err(Failure::new(
            ErrorCode::NotFound,
            "no agent has ever run on this node, so there are no sessions",
        )
        .next_step("start it with `remote-support agent run`"));
    }
    // Before the first look, so that nothing happens unseen between both.
    let grown = FolderWatch::new(&folder).map_err(|error| Failure::io(&folder, "watch", error))?;
    let watched = Watched::new(args, context)?;
    if context.console.full_screen && !args.plain && context.output != OutputMode::Json {
        return view::show(watched, grown, context).await;
    }
    line_by_line(watched, grown, context).await
}

async fn line_by_line(
    mut watched: Watched,
    mut grown: FolderWatch,
    context: &mut Context,
) -> Result<Outcome, Failure> {
    let mut keys = if context.console.interactive { Keys::of_terminal() } else { None };
    greet(&watched, keys.is_some(), context);
    let mut question = Question::None;
    let mut look = tokio::time::interval(LOOK);
    let mut stops = signals::Stops::listen();
    loop {
        watched.read(&mut |news| print(&news, context))?;
        if watched.is_over() {
            return Ok(Outcome::Done);
        }
        tokio::select! {
            changed = grown.changed() => changed.map_err(|error| Failure::io(&watched.folder(), "watch", error))?,
            _ = look.tick() => watched.look(&mut |news| print(&news, context))?,
            key = next_key(&mut keys) => match key.map(|key| question.answer(key, &watched.open())) {
                Some(Reply::Leave) => return Ok(Outcome::Done),
                Some(Reply::Say(text)) => context.note(text),
                Some(Reply::End(session)) => context.note(end(session, context)),
                Some(Reply::Nothing) => {}
                None => keys = None,
            },
            () = stops.next() => return Ok(Outcome::Done),
        }
    }
}

async fn next_key(keys: &mut Option<Keys>) -> Option<char> {
    match keys {
        Some(keys) => keys.next().await,
        None => std::future::pending().await,
    }
}

/// Whether there is an agent. The call has a runtime of its own, which must not run within this one.
fn no_agent_runs(context: &Context) -> bool {
    let status = tokio::task::block_in_place(|| node::agent(context).status());
    matches!(status, Err(ControlError::NotRunning))
}

/// What is said where no agent runs.
const NO_AGENT: &str =
    "No agent runs on this node: nobody has access, and nothing happens until one is started.";
/// What is said where no session is open.
const NO_SESSION: &str = "No session is open. The next one is shown as soon as it begins.";

fn greet(watched: &Watched, keys: bool, context: &mut Context) {
    if no_agent_runs(context) {
        context.note(NO_AGENT);
    }
    if watched.sessions.is_empty() {
        context.note(NO_SESSION);
    }
    if keys {
        context.note("Keys: q leaves, e ends a session.");
    }
}

/// What was found in the records.
enum News<'a> {
    /// A session is watched from now on.
    Begun(Uuid, &'a SessionIdentity),
    /// An entry was added. With several sessions on the screen, it begins with a mark.
    Entry(Uuid, &'a Entry, &'a str),
    /// A session has its end on record.
    Over(Uuid),
    /// The agent is gone, and a session has no end.
    CutOff(Uuid),
}

fn cut_off(id: Uuid) -> String {
    format!(
        "Session {id} has no end on record and no agent writes it: the agent is down. The session is over; its record gets \
         its end when the agent starts again."
    )
}

/// Prints news as they come.
fn print(news: &News<'_>, context: &mut Context) -> Result<(), Failure> {
    match *news {
        News::Begun(id, identity) => {
            event::tell("watching", Some(id), context)?;
            if context.output != OutputMode::Json {
                event::print(&history::header(identity), "", context)?;
            }
        }
        News::Entry(id, entry, mark) => event::show(id, entry, mark, context)?,
        News::Over(_) => {}
        News::CutOff(id) => {
            event::tell("cut-off", Some(id), context)?;
            context.note(cut_off(id));
        }
    }
    Ok(())
}

type Tell<'a> = &'a mut dyn FnMut(News<'_>) -> Result<(), Failure>;

/// A session on the screen.
struct Session {
    follow: Follow,
    /// Its agent is gone and it has no end; that was told.
    cut_off: bool,
}

/// All sessions on the screen.
struct Watched {
    state: StateDir,
    key: ContentKey,
    /// The one that was asked for; none for all.
    only: Option<Uuid>,
    before: usize,
    sessions: BTreeMap<Uuid, Session>,
    /// Those that are not watched: they had ended before, or their end was shown.
    past: BTreeSet<Uuid>,
}

impl Watched {
    fn new(args: &WatchArgs, context: &mut Context) -> Result<Self, Failure> {
        let mut watched = Self {
            state: context.state.clone(),
            key: context.content_key(),
            only: args.session_id,
            before: usize::try_from(args.before).unwrap_or(usize::MAX),
            sessions: BTreeMap::new(),
            past: BTreeSet::new(),
        };
        for (id, path) in record_files(&watched.folder())? {
            let follow = Follow::open(&path, watched.key.clone())?;
            let wanted = watched.only.map_or_else(|| records::is_written(follow.file()), |only| only == id);
            if wanted {
                watched.sessions.insert(id, Session { follow, cut_off: false });
            } else {
                watched.past.insert(id);
            }
        }
        Ok(watched)
    }

    fn folder(&self) -> PathBuf {
        records::folder(&self.state)
    }

    /// Whether there is nothing more to come.
    fn is_over(&self) -> bool {
        self.only.is_some() && self.sessions.is_empty()
    }

    /// Tells what is new, and finds sessions that have begun.
    fn read(&mut self, tell: Tell<'_>) -> Result<(), Failure> {
        for (id, path) in record_files(&self.folder())? {
            let known = self.sessions.contains_key(&id) || self.past.contains(&id);
            if self.only.is_none() && !known {
                let follow = Follow::open(&path, self.key.clone())?;
                self.sessions.insert(id, Session { follow, cut_off: false });
            }
        }
        let several = self.sessions.len() > 1;
        for (id, session) in &mut self.sessions {
            let mark = if several { format!("{} ", short(*id)) } else { String::new() };
            catch_up(*id, session, self.before, &mark, tell)?;
            if session.follow.has_ended() {
                tell(News::Over(*id))?;
                self.past.insert(*id);
            }
        }
        self.sessions.retain(|_, session| !session.follow.has_ended());
        Ok(())
    }

    /// Finds sessions that nobody writes any more although they have no end.
    fn look(&mut self, tell: Tell<'_>) -> Result<(), Failure> {
        for (id, session) in &mut self.sessions {
            if session.cut_off || records::is_written(session.follow.file()) {
                continue;
            }
            // What came between the last reading and the end of the writer is told first.
            catch_up(*id, session, 0, "", tell)?;
            if session.follow.has_ended() {
                continue;
            }
            session.cut_off = true;
            tell(News::CutOff(*id))?;
        }
        Ok(())
    }

    /// The sessions that can be ended.
    fn open(&self) -> Vec<Open> {
        let open = self.sessions.iter().filter(|(_, session)| !session.cut_off);
        open.map(|(id, session)| {
            let identity = session.follow.identity();
            Open {
                id: *id,
                engineer: identity.map_or_else(String::new, |known| known.engineer.id.to_string()),
            }
        })
        .collect()
    }
}

/// Tells what a record holds by now; of what was there at the first reading only the last entries.
fn catch_up(
    id: Uuid,
    session: &mut Session,
    before: usize,
    mark: &str,
    tell: Tell<'_>,
) -> Result<(), Failure> {
    let first = session.follow.identity().is_none();
    let mut last: VecDeque<Entry> = VecDeque::new();
    loop {
        let entries = session.follow.read()?;
        if entries.is_empty() {
            break;
        }
        for entry in entries {
            if !first {
                tell(News::Entry(id, &entry, mark))?;
                continue;
            }
            last.push_back(entry);
            if last.len() > before {
                last.pop_front();
            }
        }
    }
    if let Some(identity) = session.follow.identity().filter(|_| first) {
        tell(News::Begun(id, identity))?;
        last.iter().try_for_each(|entry| tell(News::Entry(id, entry, mark)))?;
    }
    Ok(())
}

fn short(id: Uuid) -> String {
    id.simple().to_string().chars().take(MARK_CHARS).collect()
}

/// Ends a session; says how that went.
fn end(session: Uuid, context: &Context) -> String {
    match tokio::task::block_in_place(|| end_one(session, context)) {
        Ok(Ended::Session(ended, _)) => ending::words(&ended),
        Ok(Ended::Agent(agent)) => node::ended_agent(agent),
        Err(failure) if failure.code() == ErrorCode::NotFound => {
            "That session is not open any more.".to_owned()
        }
        Err(failure) => format!(
            "The session could not be ended: {}. To end all access: remote-support disable",
            failure.in_a_line()
        ),
    }
}

//! The part that runs as root, for an agent that does not; `rs_session::operations::root_part` says what it is asked.
//!
//! systemd listens on a socket that only the agent's group can reach, and starts this program for each connection
//! (`agent root-part`). It answers nobody but the account that the state directory belongs to. What it goes by lies beside
//! that directory, in one that is root's alone:
//!
//! ```text
//! /var/lib/remote-support/            the agent's
//! /var/lib/remote-support-root/       root's: warrant.json, approved/ID.json
//! ```
//!
//! The owner's commands, which run as root, write there: `enable` the warrant, `approve` and `session approve` what changes in
//! it, `session approve` the Yes to one call, `disable` takes the warrant away before it does anything else. Without a warrant
//! nothing is done. What a warrant says was on the owner's command line, or is in the warrant already; nothing of it comes from
//! the agent's store, into which the agent's account can write what it likes.

use std::os::fd::AsFd as _;
use std::os::unix::fs::MetadataExt as _;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

use chrono::{DateTime, TimeDelta, Utc};
use rs_consent::{Clock, Grant};
use rs_session::host::PendingApproval;
use rs_session::operations::Plan;
use rs_session::operations::executor::{
    Answered, Authority, WorkerExecutor, answer, withdraw as ask_to_forget,
};
use rs_session::operations::plan::Call;
use rs_session::operations::root_part::{
    Request, Unwarranted, WARRANT_BYTES_MAX, Warrant, asks_owner, judge,
};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::commands::agent::HandOverArgs;
use crate::commands::operation_worker;
use crate::context::Context;
use crate::control::{AgentControl as _, ControlError};
use crate::dry_run;
use crate::node::{self, Change};
use crate::outcome::{ErrorCode, Failure, Outcome};
use crate::output::Record;
use crate::owner_policy::OwnerPolicy;
use crate::platform::identity::{as_root, owner_of, works_as};
use crate::state::{Role, StateDir};
use crate::{files, logging, platform, storage};

/// What the name of root's own directory adds to that of the state directory.
const SUFFIX: &str = "-root";
/// Name of the warrant.
const WARRANT_NAME: &str = "warrant.json";
/// Folder of the owner's answers that were not used yet.
const APPROVED_FOLDER: &str = "approved";
/// How long the owner's Yes to one call can be used: a minute. The call goes on at once.
const APPROVED_FOR: TimeDelta = TimeDelta::seconds(60);
/// Most answers that are looked at.
const APPROVED_MAX: usize = 64;
/// Most bytes of an answer.
const APPROVED_BYTES_MAX: usize = 64 << 10;

/// Root's own directory beside a state directory.
struct Place(PathBuf);

/// The owner's Yes to one call, as root wrote it down.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Approved {
    session: Uuid,
    call: Call,
    at: DateTime<Utc>,
}

impl Place {
    fn beside(state: &StateDir) -> Result<Self, Failure> {
        let root = std::path::absolute(state.root())
            .map_err(|error| Failure::io(state.root(), "find the directory", error))?;
        let mut name = root.file_name().unwrap_or_default().to_owned();
        name.push(SUFFIX);
        Ok(Self(root.with_file_name(name)))
    }

    /// Refuses a place in which anybody but root could put something.
    fn check(&self) -> Result<(), Failure> {
        if let Some(above) = self.0.parent() {
            platform::check_not_writable_by_others(above)?;
        }
        platform::check_private(&self.0)
    }

    fn ensure(&self) -> Result<(), Failure> {
        platform::create_private_dir(&self.0)
            .map_err(|error| Failure::io(&self.0, "create the directory", error))?;
        self.check()
    }

    fn write(&self, path: &Path, content: &impl Serialize) -> Result<(), Failure> {
        let json = serde_json::to_vec(content).map_err(|error| {
            Failure::new(ErrorCode::Internal, "what root is told cannot be written").because(error)
        })?;
        files::replace_secret(path, &json)
    }

    fn warrant(&self) -> PathBuf {
        self.0.join(WARRANT_NAME)
    }

    fn forget(&self) -> std::io::Result<()> {
        match std::fs::remove_file(self.warrant()) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(()),
            removed => removed,
        }
    }

    /// What root knows of the consent. A file that cannot be read as what it is warrants nothing.
    fn read_warrant(&self) -> Result<Option<Warrant>, Failure> {
        let path = self.warrant();
        if path.symlink_metadata().is_err_and(|error| error.kind() == std::io::ErrorKind::NotFound) {
            return Ok(None);
        }
        self.check()?;
        platform::check_private(&path)?;
        let bytes = files::read(&path, WARRANT_BYTES_MAX)?;
        serde_json::from_slice(&bytes).map(Some).map_err(|error| {
            Failure::new(ErrorCode::InvalidFile, "what root knows of the consent cannot be read")
                .about(path.display().to_string())
                .because(error)
                .next_step("give consent again, as root, with `remote-support enable`")
        })
    }

    fn store(&self, grant: &Grant, state: &StateDir) -> Result<(), Failure> {
        let OwnerPolicy { services, commands, .. } = OwnerPolicy::read(&state.role(Role::Node))?;
        self.ensure()?;
        self.write(&self.warrant(), &Warrant { grant: grant.clone(), services, commands })
    }

    /// Uses up the owner's Yes to this very call, if there is one; what is too old goes too.
    fn use_approval(&self, request: &Request, now: DateTime<Utc>) -> bool {
        let entries = std::fs::read_dir(self.0.join(APPROVED_FOLDER)).into_iter().flatten().flatten();
        let mut found = false;
        for path in entries.take(APPROVED_MAX).map(|entry| entry.path()) {
            let read = files::read(&path, APPROVED_BYTES_MAX).ok();
            let approved = read.and_then(|bytes| serde_json::from_slice::<Approved>(&bytes).ok());
            let age = approved.as_ref().map_or(TimeDelta::MAX, |approved| now - approved.at);
            let usable = (TimeDelta::zero()..=APPROVED_FOR).contains(&age);
            let fits = usable
                && !found
                && approved.is_some_and(|approved| {
                    approved.session == request.session && approved.call == request.plan.call
                });
            if fits || !usable {
                // Only who took it away has it.
                found |= std::fs::remove_file(&path).is_ok() && fits;
            }
        }
        found
    }
}

/// Writes down for root what was consented to, where the state belongs to another account than root's.
///
/// # Errors
///
/// [`ErrorCode::Io`], [`ErrorCode::UnsafePermissions`]; what was written before stands then.
pub(crate) fn warrant(grant: &Grant, context: &Context) -> Result<(), Failure> {
    if works_as().is_none() {
        return Ok(());
    }
    Place::beside(&context.state)?.store(grant, &context.state)
}

/// Writes down for root how a consent was changed that it was told of. The change is made to what root itself wrote down:
/// `stored` was read from where the agent's account can write, so it only has to say the same.
///
/// # Errors
///
/// As [`warrant`]; [`ErrorCode::Refused`] where root knows of no such consent, or knows it to be another one.
pub(crate) fn amend(stored: &Grant, change: Change<'_>, context: &Context) -> Result<(), Failure> {
    if works_as().is_none() {
        return Ok(());
    }
    let refused = |why: &str| {
        Failure::new(ErrorCode::Refused, why)
            .next_step("give the whole consent again, as root, with `remote-support enable`")
    };
    let place = Place::beside(&context.state)?;
    let known = as_root(|| place.read_warrant())?.filter(|known| known.grant.id == stored.id);
    let known = known.ok_or_else(|| refused("root knows of no consent that this one would change"))?;
    let (now, grant) = (context.clock.now(), &known.grant);
    let changed = match change {
        Change::Raised(consent) => grant.rebased(&now).raised(consent, &now),
        Change::Approved(by) => grant.rebased(&now).approved(grant.revision, by, &now),
    };
    let changed =
        changed.map_err(|error| refused("root knows another state of this consent").because(error))?;
    if changed.level != stored.level || !differ_in_level_only(grant, stored) {
        return Err(refused("root knows this consent to be another one than the agent's store says"));
    }
    as_root(|| place.write(&place.warrant(), &Warrant { grant: changed, ..known }))
}

/// Whether two states of a consent permit the same, but for the level.
fn differ_in_level_only(one: &Grant, other: &Grant) -> bool {
    let of = |grant: &Grant| {
        let begins = grant.begins.map(|begins| begins.wall);
        (grant.minutes, grant.deadline.wall, begins, grant.request, grant.approval, grant.scope.clone())
    };
    of(one) == of(other)
}

/// Where this process, which is an agent, asks root.
static SOCKET: OnceLock<PathBuf> = OnceLock::new();

/// Says once where the agent that this process is asks root: its page asks there too.
pub(crate) fn asked_at(socket: &Path) {
    // A second call would be a program's fault; the first one holds.
    let _ = SOCKET.set(socket.to_owned());
}

/// Takes root's word of the consent away. Who is not root and may not look there, as the agent's own page, has root do it.
///
/// # Errors
///
/// [`ErrorCode::Io`]; [`ErrorCode::Refused`] where root did not do it, or cannot be reached from here.
pub(crate) fn withdraw(state: &StateDir) -> Result<(), Failure> {
    let place = Place::beside(state)?;
    match as_root(|| place.forget()) {
        Err(error) if error.kind() == std::io::ErrorKind::PermissionDenied && works_as().is_none() => {
            let done = SOCKET.get().map_or_else(
                || Err(String::from("no way to it is known here")),
                |socket| ask_to_forget(socket),
            );
            done.map_err(|why| {
                Failure::new(ErrorCode::Refused, why).next_step("run `remote-support disable` as root")
            })
        }
        removed => removed.map_err(|error| Failure::io(&place.warrant(), "remove the file", error)),
    }
}

/// Writes down for root that the owner said Yes to this call.
///
/// # Errors
///
/// [`ErrorCode::AgentUnreachable`] for a question whose words are not those of its call: the agent cannot be trusted.
pub(crate) fn approve(pending: &PendingApproval, context: &Context) -> Result<(), Failure> {
    if works_as().is_none() {
        return Ok(());
    }
    let call: Option<Call> =
        pending.details.get("call").and_then(|call| serde_json::from_value(call.clone()).ok());
    let call = call.filter(|call| pending.summary.starts_with(&format!("{} (", call.summary())));
    let call = call.ok_or_else(|| {
        Failure::new(ErrorCode::AgentUnreachable, "the agent's question is not what its call says")
            .next_step("decline it, and have the agent looked at")
    })?;
    let place = Place::beside(&context.state)?;
    place.ensure()?;
    let folder = place.0.join(APPROVED_FOLDER);
    platform::create_private_dir(&folder)
        .map_err(|error| Failure::io(&folder, "create the directory", error))?;
    let approved = Approved { session: pending.session_id, call, at: context.clock.now().wall };
    place.write(&folder.join(format!("{}.json", pending.approval_id)), &approved)
}

/// Answers the connection on standard input.
///
/// # Errors
///
/// [`ErrorCode::InvalidValue`] where standard input is no connection of the agent's account; nothing was read then.
pub(crate) fn serve(context: &Context) -> Result<Outcome, Failure> {
    logging::to_stderr();
    let agent = owner_of(context.state.root())
        .map_err(|error| Failure::io(context.state.root(), "look at the directory", error))?;
    let stream = connection_of(agent)?;
    let (worker, arguments) = operation_worker::program()?;
    let executor = WorkerExecutor::new(worker, arguments)
        .map_err(|error| Failure::new(ErrorCode::Internal, "operations cannot be started").because(error))?;
    let root = Root { place: Place::beside(&context.state)?, clock: Arc::clone(&context.clock) };
    Context::block_on(async move {
        let stream = tokio::net::UnixStream::from_std(stream)?;
        match answer(stream, &executor, &root).await {
            Answered::Done(finish) => {
                tracing::info!(status = ?finish.status, micros = finish.micros, why = finish.message, "ended");
            }
            Answered::Refused(why) => tracing::warn!(%why, "refused"),
            Answered::Withdrawn => {
                tracing::info!("the agent says that the consent is revoked; it is forgotten")
            }
            _ => {}
        }
        Ok(Outcome::Done)
    })
}

/// Standard input as a connection, if the kernel says that the agent's account is at its other end.
fn connection_of(agent: u32) -> Result<UnixStream, Failure> {
    let refused = |why: &str| {
        Failure::new(ErrorCode::InvalidValue, why)
            .next_step("let systemd start it (remote-support-root.socket); it is no command for people")
    };
    let input = std::io::stdin();
    let caller = rustix::net::sockopt::socket_peercred(&input)
        .map_err(|_| refused("standard input is no connection of an agent"))?;
    if agent == 0 || !rustix::process::geteuid().is_root() {
        return Err(refused("the agent of this node runs as root itself, so it needs no other part"));
    }
    if caller.uid.as_raw() != agent {
        tracing::warn!(caller = caller.uid.as_raw(), agent, "a caller was refused: not the agent's account");
        return Err(refused("this caller is not the agent of this node"));
    }
    let own = input.as_fd().try_clone_to_owned()?;
    let stream = UnixStream::from(own);
    stream.set_nonblocking(true)?;
    Ok(stream)
}

/// What root knows, as the judge of requests.
struct Root {
    place: Place,
    clock: Arc<dyn Clock>,
}

impl Root {
    fn judged(&self, request: &Request) -> Result<Warrant, Unwarranted> {
        let warrant = self.place.read_warrant().unwrap_or_else(|failure| {
            tracing::error!(%failure, "no warrant");
            None
        });
        judge(request, warrant.as_ref(), &self.clock.now())?;
        warrant.ok_or(Unwarranted::NoConsent)
    }
}

impl Authority for Root {
    fn admit(&self, request: &Request) -> Result<Plan, Unwarranted> {
        let asked = &request.plan.call;
        tracing::info!(
            session = %request.session,
            level = %request.plan.level,
            call = %rs_session::operations::objects::harmless(&asked.summary()),
            "asked"
        );
        let warrant = self.judged(request)?;
        if asks_owner(request, &warrant) && !self.place.use_approval(request, self.clock.now().wall) {
            return Err(Unwarranted::NotApproved);
        }
        tracing::info!(grant = %warrant.grant.id, revision = warrant.grant.revision, "admitted");
        Ok(warrant.plan(request))
    }

    fn withdraw(&self) -> Result<(), String> {
        self.place.forget().map_err(|error| error.to_string())
    }

    fn holds(&self, request: &Request) -> Result<(), Unwarranted> {
        self.judged(request).map(drop)
    }
}

/// `agent hand-over`: the state and the storage key to another account, and the consent in force to root.
///
/// # Errors
///
/// [`ErrorCode::InvalidValue`] for an account that there is not, or root's; [`ErrorCode::Refused`] while an agent runs, and
/// for a state directory that belongs to a third account; [`ErrorCode::Io`].
pub(crate) fn hand_over(args: &HandOverArgs, context: &mut Context) -> Result<Outcome, Failure> {
    let (account, dry_run) = (args.account.as_str(), args.dry_run.dry_run);
    let (user, group) = account_named(account)?;
    let root = context.state.root().to_owned();
    let record = Record::new().field("Account", account).field("StateDirectory", root.display().to_string());
    if dry_run && !root.exists() {
        return dry_run::told(record, context);
    }
    if !dry_run {
        platform::create_private_dir(&root)
            .map_err(|error| Failure::io(&root, "create the directory", error))?;
    }
    let owner = owner_of(&root).map_err(|error| Failure::io(&root, "look at the directory", error))?;
    if owner != 0 && owner != user {
        return Err(Failure::new(ErrorCode::Refused, "the state directory belongs to a third account")
            .about(root.display().to_string())
            .next_step("see who uses it, and give it back to root before"));
    }
    if !matches!(node::agent(context).status(), Err(ControlError::NotRunning)) {
        return Err(Failure::new(ErrorCode::Refused, "an agent runs on this node, or does not answer")
            .next_step("stop it, and run this again"));
    }
    if dry_run {
        return dry_run::told(record, context);
    }
    // What an agent's account can write tells root nothing; what only root could write does.
    if owner == 0 {
        let now = context.clock.now();
        let grants = node::existing_store(context)?.map(|store| store.grants(false, &now)).transpose()?;
        if let Some(open) = grants.into_iter().flatten().find(|grant| grant.state_at(&now).is_open()) {
            Place::beside(&context.state)?.store(&open, &context.state)?;
        }
    }
    let key = context.storage.key_file.clone();
    let key = key.or_else(|| Some(platform::default_config_dir()?.join(storage::KEY_NAME)));
    if let Some(key) = key {
        hand_over_key(&key, user, group)?;
    }
    // The directory itself comes last: until then this can be done again.
    give(&root, user, group).map_err(|error| Failure::io(&root, "hand over", error))?;
    context.print_one(&record)?;
    context.note(format!(
        "The state of this node belongs to {account} now: run the agent as {account}, with --root-part-socket for what \
         needs root. Your own commands stay as they are; run them as root."
    ));
    Ok(Outcome::Done)
}

/// Number and group of an account.
fn account_named(name: &str) -> Result<(u32, u32), Failure> {
    let accounts = files::read(Path::new("/etc/passwd"), 16 << 20)?;
    let accounts = String::from_utf8_lossy(&accounts);
    let found = accounts.lines().find_map(|line| {
        let fields: Vec<&str> = line.split(':').collect();
        let [own, _, user, group, ..] = fields[..] else { return None };
        (own == name).then_some((user.parse().ok()?, group.parse().ok()?))
    });
    found.filter(|(user, _)| *user != 0).ok_or_else(|| {
        Failure::new(ErrorCode::InvalidValue, "there is no such account, or it is root's")
            .about(name.to_owned())
    })
}

/// The key's file, and its directory where that is the program's own or is made here.
fn hand_over_key(key: &Path, user: u32, group: u32) -> Result<(), Failure> {
    let failed = |path: &Path, error| Failure::io(path, "hand over", error);
    let Some(folder) = key.parent() else { return Ok(()) };
    let own = !folder.exists() || platform::default_config_dir().as_deref() == Some(folder);
    platform::create_private_dir(folder).map_err(|error| failed(folder, error))?;
    match std::os::unix::fs::lchown(key, Some(user), Some(group)) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(failed(key, error)),
        _ => {}
    }
    if own {
        std::os::unix::fs::lchown(folder, Some(user), Some(group)).map_err(|error| failed(folder, error))?;
    }
    Ok(())
}

/// Gives a directory and everything in it to an account; no link is followed and no other file system entered.
fn give(root: &Path, user: u32, group: u32) -> std::io::Result<()> {
    let volume = root.symlink_metadata()?.dev();
    let mut given = vec![root.to_owned()];
    let mut at = 0;
    while let Some(folder) = given.get(at).cloned() {
        at += 1;
        for entry in std::fs::read_dir(&folder)? {
            let path = entry?.path();
            let metadata = path.symlink_metadata()?;
            if metadata.is_dir() && metadata.dev() == volume {
                given.push(path);
            } else if !metadata.is_dir() {
                std::os::unix::fs::lchown(&path, Some(user), Some(group))?;
            }
        }
    }
    given.iter().rev().try_for_each(|folder| std::os::unix::fs::lchown(folder, Some(user), Some(group)))
}

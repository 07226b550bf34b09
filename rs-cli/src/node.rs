//! What the commands of the node share: its store, its name, who acts, and how its agent is told.

use std::path::PathBuf;
use std::sync::Arc;

use rs_consent::grant::GrantError;
use rs_consent::party::{Grantor, HostName, Method, Node, NodeName, UserName};
use rs_consent::request::RequestError;
use rs_consent::store::{ConsentStore, StoreError};
use rs_consent::{Consent, Grant};
use rs_session::operations::leftovers::end_leftovers;

use crate::context::Context;
use crate::control::{AgentControl as _, Changed, ControlError, SocketControl};
use crate::last_resort::EndedAgent;
use crate::node_log::Book;
use crate::outcome::{ErrorCode, Failure};
use crate::state::Role;
use crate::{keys, platform, records};

/// Name of the store in the node's folder.
pub const STORE_NAME: &str = "store.sqlite";

/// Name of the file with the relay credential that support handed out, in the node's folder.
pub const CREDENTIAL_NAME: &str = "relay.credential";

/// Where the store of this node is.
#[must_use]
pub fn store_path(context: &Context) -> PathBuf {
    context.state.role(Role::Node).file(STORE_NAME)
}

/// Opens the store, and makes it where there is none.
///
/// # Errors
///
/// [`ErrorCode::UnsafePermissions`], [`ErrorCode::Integrity`] or [`ErrorCode::Store`], each with what to do.
pub fn open_store(context: &Context) -> Result<ConsentStore, Failure> {
    context.state.role(Role::Node).ensure()?;
    Ok(ConsentStore::open(store_path(context))?)
}

/// Opens the store if there is one; looking creates nothing.
///
/// # Errors
///
/// As [`open_store`].
pub fn existing_store(context: &Context) -> Result<Option<ConsentStore>, Failure> {
    let path = store_path(context);
    // A store that cannot be looked at is no missing store: somebody else's consent may stand in it.
    match path.try_exists() {
        Ok(true) => open_store(context).map(Some),
        Ok(false) => Ok(None),
        Err(error) => Err(Failure::io(&path, "look for the store", error).next_step(
            "run the command as the owner of the state directory, or as root; nothing was changed",
        )),
    }
}

/// This node by name and key; the key is made where there is none.
///
/// # Errors
///
/// As [`keys::load_or_create`].
pub fn identity(context: &Context) -> Result<Node, Failure> {
    Ok(Node { name: name(), key: keys::load_or_create(&context.state, Role::Node)?.public() })
}

/// The machine's name, as far as it can be shown.
#[must_use]
pub fn name() -> NodeName {
    shown(&platform::host_name(), NodeName::CHARS_MAX)
}

/// Who acts, by what the system knows.
#[must_use]
pub fn grantor(method: Method) -> Grantor {
    let user: UserName = shown(&platform::user_name(), UserName::CHARS_MAX);
    let host: HostName = shown(&platform::host_name(), HostName::CHARS_MAX);
    Grantor { user, host, method }
}

/// Who acts, as user@host.
#[must_use]
pub fn operator() -> String {
    let who = grantor(Method::CommandLine);
    format!("{}@{}", who.user, who.host)
}

/// A name from the system, made fit to be shown: cut to its bound, strange characters replaced.
fn shown<N: std::str::FromStr<Err = impl std::fmt::Debug>>(text: &str, chars_max: usize) -> N {
    let plain: String =
        text.chars().take(chars_max).map(|c| if c.is_ascii_graphic() { c } else { '_' }).collect();
    let name = if plain.is_empty() { "unknown" } else { &plain };
    name.parse().unwrap_or_else(|_| unreachable!("ASCII letters within the bound are a name"))
}

/// Tells the agent that the store has changed, and enters the change in the node's log; whoever asked for the change is
/// told after that. `None` where no agent runs.
///
/// A log that cannot be written holds up no change: it is said, the change is entered later, and no session begins
/// meanwhile.
///
/// # Errors
///
/// [`ControlError`]; the change in the store stands all the same.
pub fn notify(context: &mut Context) -> Result<Option<Changed>, ControlError> {
    let changed = match agent(context).notify_changed() {
        Err(ControlError::NotRunning) => Ok(None),
        answered => answered.map(Some),
    };
    if let Err(failure) = settle(context) {
        context.note(format!("The node log could not be written, so no session can begin: {failure}"));
    }
    changed
}

/// Enters in the node's log what the store did since.
///
/// # Errors
///
/// As [`book`], and [`ErrorCode::Integrity`] or [`ErrorCode::Io`] where the log cannot be continued or written.
pub fn settle(context: &Context) -> Result<(), Failure> {
    match book(context)? {
        Some(book) => Ok(book.settle().map(drop)?),
        None => Ok(()),
    }
}

/// The node's log, where the node has a store.
///
/// # Errors
///
/// As [`existing_store`] and [`keys::load_or_create`].
pub fn book(context: &Context) -> Result<Option<Book>, Failure> {
    let Some(store) = existing_store(context)? else { return Ok(None) };
    let key = Arc::new(keys::load_or_create(&context.state, Role::Node)?);
    let node = Node { name: name(), key: key.public() };
    let folder = context.state.role(Role::Node);
    Ok(Some(Book::new(folder.path(), node, key, Arc::clone(&context.clock), Arc::new(store))))
}

/// Tells the part that runs as root of a consent that was stored, where there is one.
pub(crate) fn tell_root(grant: &Grant, context: &mut Context) {
    #[cfg(target_os = "linux")]
    if let Err(failure) = crate::root_part::warrant(grant, context) {
        context.note(format!(
            "The consent is stored, but the part that runs as root was not told of it, so it does nothing for a session: \
             {failure}"
        ));
    }
    #[cfg(not(target_os = "linux"))]
    let _ = (grant, context);
}

/// What changes a consent, where the owner does not give all of it anew.
#[derive(Clone, Copy, Debug)]
#[cfg_attr(not(target_os = "linux"), expect(dead_code, reason = "no part runs as root there"))]
pub(crate) enum Change<'a> {
    /// A higher level, by this consent.
    Raised(&'a Consent),
    /// The Yes of a second person.
    Approved(&'a Grantor),
}

/// Tells the part that runs as root how a consent was changed that it knows of, where there is one.
pub(crate) fn tell_root_of(change: Change<'_>, stored: &Grant, context: &mut Context) {
    #[cfg(target_os = "linux")]
    if let Err(failure) = crate::root_part::amend(stored, change, context) {
        context.note(format!(
            "The change is stored, but the part that runs as root did not take it over, and does for a session what it \
             did before: {failure}"
        ));
    }
    #[cfg(not(target_os = "linux"))]
    let _ = (change, stored, context);
}

/// Tells the part that runs as root that there is no consent any more. Nothing keeps the revocation from going on.
pub(crate) fn untell_root(context: &mut Context) {
    #[cfg(target_os = "linux")]
    if let Err(failure) = crate::root_part::withdraw(&context.state) {
        context.note(format!(
            "ALARM: the part that runs as root could not be told of the revocation: {failure}"
        ));
    }
    #[cfg(not(target_os = "linux"))]
    let _ = context;
}

/// How access was ended.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Enforced {
    /// Whether there was an agent.
    pub had_agent: bool,
    /// What the agent says; nothing where there is none.
    pub changed: Changed,
    /// Operations of an agent that is gone, which were ended now.
    pub leftovers: usize,
    /// The agent, if it did not answer, or not all sessions went down, and it was ended therefore.
    pub ended_agent: Option<EndedAgent>,
}

impl Enforced {
    fn answered(changed: Changed) -> Self {
        Self { had_agent: true, changed, ..Self::default() }
    }

    /// No agent runs, so none of its operations may: nothing but a new agent could start one.
    fn without_agent(context: &Context) -> Self {
        let leftovers = end_leftovers(context.state.role(Role::Node).path());
        Self { leftovers, ..Self::default() }
    }
}

/// Has the agent end what is no longer permitted, or ends what an agent that is gone has left. Access ends also where the agent does not answer, or cannot bring its
/// sessions down: then the agent itself is ended.
///
/// # Errors
///
/// [`ControlError`] where neither could be done; the change in the store stands all the same.
pub fn enforce(
    context: &Context,
    ask: impl FnOnce(&SocketControl) -> Result<Changed, ControlError>,
) -> Result<Enforced, ControlError> {
    let agent = agent(context);
    let answered = ask(&agent);
    match &answered {
        Err(ControlError::NotRunning) => return Ok(Enforced::without_agent(context)),
        Ok(changed) if changed.sessions_still_ending == 0 => {
            return Ok(Enforced::answered(changed.clone()));
        }
        Err(ControlError::NoAnswer(_)) | Ok(_) => {}
        Err(_) => return answered.map(Enforced::answered),
    }
    let open = records::written(&context.state);
    match (agent.end_agent(), answered) {
        (Ok(ended), answered) => {
            let before = answered.map_or(0, |changed| changed.sessions_ended);
            let sessions_ended = before.saturating_add(u32::try_from(open).unwrap_or(u32::MAX));
            let changed = Changed { sessions_ended, ..Changed::default() };
            Ok(Enforced { ended_agent: Some(ended), ..Enforced::answered(changed) })
        }
        // It died by itself meanwhile.
        (Err(ControlError::NotRunning), _) => Ok(Enforced::without_agent(context)),
        (Err(_), Ok(changed)) => Ok(Enforced::answered(changed)),
        (Err(error), Err(unanswered)) => {
            tracing::error!(%error, "the agent that does not answer could not be ended");
            Err(unanswered)
        }
    }
}

/// What to say when the agent had to be ended.
#[must_use]
pub fn ended_agent(ended: EndedAgent) -> String {
    format!(
        "The agent (process {}) did not answer, so it was ended with everything that it ran; nobody has access. The \
         records of its sessions get their end when the agent is started again: remote-support agent run",
        ended.pid
    )
}

/// The agent of this node.
#[must_use]
pub fn agent(context: &Context) -> SocketControl {
    SocketControl::new(&context.state.role(Role::Node))
}

impl From<StoreError> for Failure {
    fn from(error: StoreError) -> Self {
        let code = match &error {
            StoreError::Exposed { .. } => ErrorCode::UnsafePermissions,
            StoreError::Corrupt { .. } => ErrorCode::Integrity,
            StoreError::UnknownRequest(_) => ErrorCode::NotFound,
            StoreError::Request(error) => code_of(error),
            StoreError::Grant(error) => match error {
                GrantError::StartOver | GrantError::StartTooFar => ErrorCode::InvalidValue,
                GrantError::InForce
                | GrantError::NotAwaited
                | GrantError::Changed
                | GrantError::SamePerson => ErrorCode::Refused,
                _ => ErrorCode::Store,
            },
            _ => ErrorCode::Store,
        };
        match error {
            StoreError::Request(_) | StoreError::UnknownRequest(_) => Self::new(code, error.to_string()),
            StoreError::TooManyRequests | StoreError::Grant(_) => Self::new(code, error.to_string()),
            error => Self::new(code, "the store of this node cannot be used").because(error),
        }
    }
}

/// The code for a request that was not changed.
pub(crate) fn code_of(error: &RequestError) -> ErrorCode {
    match error {
        RequestError::OtherDesk(_) | RequestError::NotOpen(_) | RequestError::Closed(_) => ErrorCode::Refused,
        _ => ErrorCode::Statement,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_the_system_are_made_fit() {
        let name: NodeName = shown("nöde\n\u{1b}[2J", NodeName::CHARS_MAX);
        assert_eq!(name.as_str(), "n_de__[2J");
        assert_eq!(shown::<NodeName>("", NodeName::CHARS_MAX).as_str(), "unknown");
        assert_eq!(
            shown::<NodeName>(&"x".repeat(200), NodeName::CHARS_MAX).as_str().len(),
            NodeName::CHARS_MAX
        );
    }
}

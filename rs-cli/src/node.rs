//! What the commands of the node share: its store, its name, who acts, and how its agent is told.

use std::path::PathBuf;

use rs_consent::party::{Grantor, HostName, Method, Node, NodeName, UserName};
use rs_consent::request::RequestError;
use rs_consent::store::{ConsentStore, StoreError};

use crate::context::Context;
use crate::control::{AgentControl as _, Changed, ControlError, SocketControl};
use crate::outcome::{ErrorCode, Failure};
use crate::state::Role;
use crate::{keys, platform};

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

/// A name from the system, made fit to be shown: cut to its bound, strange characters replaced.
fn shown<N: std::str::FromStr<Err = impl std::fmt::Debug>>(text: &str, chars_max: usize) -> N {
    let plain: String =
        text.chars().take(chars_max).map(|c| if c.is_ascii_graphic() { c } else { '_' }).collect();
    let name = if plain.is_empty() { "unknown" } else { &plain };
    name.parse().unwrap_or_else(|_| unreachable!("ASCII letters within the bound are a name"))
}

/// Tells the agent that the store has changed. `None` where no agent runs.
///
/// # Errors
///
/// [`ControlError`]; the change in the store stands all the same.
pub fn notify(context: &Context) -> Result<Option<Changed>, ControlError> {
    match agent(context).notify_changed() {
        Err(ControlError::NotRunning) => Ok(None),
        answered => answered.map(Some),
    }
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

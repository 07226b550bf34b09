//! From an assignment to a session: read the papers, dial the relay, be let in.

use std::fs::File;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rs_consent::{Assignment, Envelope, SigningKey};
use rs_relay::client::{ConnectError as RelayError, RelayStream, Sender};
use rs_session::channel::ChannelError;
use rs_session::client::{Client, ConnectError, Credentials};
use uuid::Uuid;

use crate::casefiles::{self, Paper};
use crate::context::Context;
use crate::outcome::{ErrorCode, Failure};
use crate::relay_access::{Reach, RelayAccess};
use crate::state::Role;
use crate::{files, keys, platform};

/// Folder of the engineer's own copies of records.
const RECEIVED_FOLDER: &str = "received";
/// How this program calls itself towards the node.
const CLIENT_NAME: &str = concat!("remote-support/", env!("CARGO_PKG_VERSION"));

/// Everything that is needed to join a session.
pub(crate) struct Joining {
    reach: Reach,
    engineer: Arc<SigningKey>,
    envelope: Envelope,
    assignment: Assignment,
    received: PathBuf,
}

impl Joining {
    /// Reads assignment, key and relay credential.
    pub(crate) fn load(
        assignment: Option<&Path>,
        access: RelayAccess,
        context: &Context,
    ) -> Result<Self, Failure> {
        let path = match assignment {
            Some(path) => path.to_owned(),
            None => newest_assignment(context).ok_or_else(|| {
                Failure::new(ErrorCode::NotFound, "there is no assignment")
                    .next_step("name the file that the desk gave you with --assignment")
            })?,
        };
        let envelope = files::read_statement(&path)?;
        let assignment: Assignment = envelope
            .open(&[envelope.claimed_key()])
            .map_err(|error| files::statement_failure(&path, error))?;
        if assignment.desk.key != envelope.claimed_key() {
            return Err(Failure::new(
                ErrorCode::Statement,
                "the assignment is not signed by the desk that it names",
            )
            .about(path.display().to_string()));
        }
        let engineer = keys::load(&context.state, Role::Engineer)?.ok_or_else(|| {
            Failure::new(ErrorCode::NotFound, "this engineer has no key")
                .next_step("make one with `remote-support engineer init` and give engineer.pub to the desk")
        })?;
        let received = context.state.role(Role::Engineer).ensure_inner(RECEIVED_FOLDER)?;
        Ok(Self { reach: access.open()?, engineer: Arc::new(engineer), envelope, assignment, received })
    }
}

/// The assignment that was written last in this state directory.
fn newest_assignment(context: &Context) -> Option<PathBuf> {
    let all = casefiles::list(&context.state, Role::Desk, Paper::Assignment).into_iter();
    all.map(|(_, path)| path).max_by_key(|path| path.metadata().and_then(|about| about.modified()).ok())
}

/// Dials the relay, makes the encrypted channel, and returns when the node has let the engineer in. The record is copied
/// into the engineer's folder as it comes.
pub(crate) async fn join(joining: Joining) -> Result<Client<RelayStream>, Failure> {
    let Joining { reach, engineer, envelope, assignment, received } = joining;
    let stream = Sender::new(reach.connection, reach.connector)
        .keep_alive(reach.keep_alive)
        .connect()
        .await
        .map_err(|error| relay_failure(&error))?;
    let draft = received.join(format!("{}.part", Uuid::new_v4().simple()));
    let file =
        platform::create_private(&draft).map_err(|error| Failure::io(&draft, "make the file", error))?;
    let credentials = Credentials {
        engineer,
        assignment: envelope,
        assignment_id: assignment.id,
        node: assignment.node.key,
    };
    let client = match Client::connect(stream, credentials, CLIENT_NAME, Some(Box::new(Copy(file)))).await {
        Ok(client) => client,
        Err(error) => {
            // Nothing of a session is in it.
            let _ = std::fs::remove_file(&draft);
            return Err(session_failure(error));
        }
    };
    let path = received.join(format!("{}.record", client.welcome().session));
    std::fs::rename(&draft, &path)
        .map_err(|error| Failure::io(&path, "keep the copy of the record", error))?;
    Ok(client)
}

/// The engineer's copy of the record.
struct Copy(File);

impl Write for Copy {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.flush()
    }
}

fn relay_failure(error: &RelayError) -> Failure {
    let mut cause = error.to_string();
    let mut source = std::error::Error::source(error);
    while let Some(error) = source {
        cause = format!("{cause}: {error}");
        source = error.source();
    }
    let next = if error.is_nobody_there() {
        "the node does not listen: ask its owner whether consent is in force (`remote-support access`) and the agent runs \
         (`remote-support agent status`)"
    } else if crate::network::trouble(error).is_some() {
        "look at each hop on the way with `remote-support proxy check --relay-host HOST:PORT`"
    } else {
        "see whether the relay runs, and whether credential and authority are those of this relay"
    };
    Failure::new(ErrorCode::Unreachable, "the node cannot be reached through the relay")
        .because(cause)
        .next_step(next)
}

/// The engineer's own copy of the record cannot be written; without it there is no session.
pub(crate) fn no_copy(error: io::Error) -> Failure {
    Failure::new(ErrorCode::Io, "your copy of the record cannot be written, so the session was given up")
        .because(error)
        .next_step(
            "make room in the state directory, or choose another one with --state-dir, and connect again",
        )
}

fn session_failure(error: ConnectError) -> Failure {
    match error {
        ConnectError::Refused { code, message } => {
            // A node of another version may say it in other words, which are shown as they are.
            let cause = if message == code.explanation() { code.cause().to_owned() } else { message };
            Failure::new(ErrorCode::Refused, format!("the node let nobody in ({code})"))
                .because(cause)
                .next_step(code.remedy())
        }
        ConnectError::Channel(ChannelError::Handshake(error)) => Failure::new(
            ErrorCode::Unreachable,
            "no trusted channel to the node",
        )
        .because(error)
        .next_step(
            "the assignment names the node's key; if the node was set up anew, the desk has to assign again",
        ),
        ConnectError::Copy(error) => no_copy(error),
        error => Failure::new(ErrorCode::Unreachable, "the session did not come about").because(error),
    }
}

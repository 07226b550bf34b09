//! The control socket: how the operator's commands speak with the agent of the same machine.
//!
//! Commands change the store themselves and then tell the agent that it changed, so that an agent that is down or
//! stuck can never keep anybody from revoking (SEC11). What the agent answers is how the change took effect.
//!
//! The form is one request and one reply on a connection, each a length of four bytes (big endian) and that many bytes
//! of JSON, at most [`MESSAGE_BYTES_MAX`]. One request on a connection means that the caller's identity, which the
//! kernel vouches for, is checked for each call (SEC40).

mod message;

use std::fs::File;
use std::future::Future;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use rs_consent::party::Grantor;
use rs_session::host::PendingApproval;
use serde::{Serialize, de::DeserializeOwned};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::sync::Semaphore;
use tokio::time::timeout;
use uuid::Uuid;

pub use self::message::{
    API_VERSION, CODE_MALFORMED, CODE_VERSION, Changed, ConsoleOffer, ControlReply, ControlRequest,
    EndedSession, OpenSession, SessionEnd, Status, Verdict, Version,
};
use crate::last_resort::{self, EndedAgent};
use crate::outcome::{ErrorCode, Failure};
use crate::output;
use crate::platform::{self, ControlListener};
use crate::state::RoleDir;

/// Longest message in bytes, its length apart.
pub const MESSAGE_BYTES_MAX: usize = 64 * 1024;

/// Callers served at once; others wait.
pub const CALLERS_MAX: usize = 16;

/// Within this time a caller must have sent its request.
pub const REQUEST_WAIT: Duration = Duration::from_secs(5);

/// Within this time an agent must have answered. Ending sessions takes a second at most (SEC8); an agent that takes
/// longer is reported, not waited for.
pub const REPLY_WAIT: Duration = Duration::from_secs(10);

/// After this time without an answer the agent is asked whether it lives, and again as often.
pub const PROBE_AFTER: Duration = Duration::from_secs(1);

/// Within this time an agent that lives has said so, however busy it is with what it was asked before.
pub const PROBE_WAIT: Duration = Duration::from_millis(1500);

/// Most columns of an unknown request's name that are repeated to whoever sent it.
const NAME_CHARS_SHOWN: usize = 64;

/// How soon the next call is taken after one could not be.
const ACCEPT_RETRY: Duration = Duration::from_millis(100);

/// Name of the socket in the node's folder.
pub const SOCKET_NAME: &str = "control.sock";

/// Name of the file whose lock makes an agent the only one of its node.
const LOCK_NAME: &str = "agent.lock";

/// Why the agent could not be asked.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ControlError {
    /// No agent runs on this node; nothing is open, nothing has to be ended.
    #[error("no agent is running on this node")]
    NotRunning,
    /// An agent is there, but it does not answer in time.
    #[error("the agent did not answer within {} s", .0.as_secs())]
    NoAnswer(Duration),
    /// The agent closed the connection: it does not accept this user.
    #[error("the agent did not accept the call; run the command as the user that runs the agent, or as root")]
    NotAccepted,
    /// A message is longer than permitted.
    #[error("a message of {found} bytes is longer than the {MESSAGE_BYTES_MAX} permitted")]
    TooLong {
        /// Announced length.
        found: usize,
    },
    /// A message is not in the agreed form; commands and agent may be of different versions.
    #[error("a message on the control socket is not in the agreed form; restart the agent after an update")]
    Malformed(#[source] serde_json::Error),
    /// The agent answered something else.
    #[error("the agent answered another question; restart the agent after an update")]
    Unexpected,
    /// The agent says that it failed.
    #[error("the agent reports {code}: {message}")]
    Failed {
        /// Its code.
        code: String,
        /// Its explanation.
        message: String,
    },
    /// The socket failed.
    #[error("the control socket failed")]
    Io(#[from] io::Error),
}

impl From<ControlError> for Failure {
    fn from(error: ControlError) -> Self {
        Self::new(ErrorCode::AgentUnreachable, "the agent of this node could not be asked")
            .because(error)
            .next_step("see whether it runs with `remote-support agent status`, or start it with `remote-support agent run`")
    }
}

/// What commands need of the agent. Tests put something simple in its place.
pub trait AgentControl {
    /// Tells the agent that the store has changed; returns when the change has taken effect.
    ///
    /// # Errors
    ///
    /// [`ControlError`]; the change in the store stands all the same.
    fn notify_changed(&self) -> Result<Changed, ControlError>;

    /// Ends all access although the store cannot be written; returns when that is done. The agent writes the revocation
    /// as soon as it can.
    ///
    /// # Errors
    ///
    /// [`ControlError`].
    fn shut(&self, by: &Grantor) -> Result<Changed, ControlError>;

    /// Asks how the agent stands.
    ///
    /// # Errors
    ///
    /// [`ControlError`].
    fn status(&self) -> Result<Status, ControlError>;

    /// Ends one session.
    ///
    /// # Errors
    ///
    /// [`ControlError`].
    fn end_session(&self, session_id: Uuid) -> Result<SessionEnd, ControlError>;

    /// Asks which calls wait for the operator; none where no agent runs.
    ///
    /// # Errors
    ///
    /// [`ControlError`].
    fn approvals(&self) -> Result<Vec<PendingApproval>, ControlError>;

    /// Answers a call that waits; false where none does (any more).
    ///
    /// # Errors
    ///
    /// [`ControlError`].
    fn answer(&self, approval_id: Uuid, verdict: Verdict) -> Result<bool, ControlError>;

    /// Asks what the agent speaks; an agent from before there was this question has an answer too.
    ///
    /// # Errors
    ///
    /// [`ControlError`].
    fn version(&self) -> Result<Version, ControlError>;

    /// Asks for a code for the page that the agent serves; none where it serves none, or does not know of any.
    ///
    /// # Errors
    ///
    /// [`ControlError`].
    fn console_code(&self) -> Result<Option<ConsoleOffer>, ControlError>;
}

/// The agent behind the control socket of a node's folder.
#[derive(Debug, Clone)]
pub struct SocketControl {
    path: PathBuf,
    wait: Duration,
}

impl SocketControl {
    /// The agent of this node, whether it runs or not.
    #[must_use]
    pub fn new(node: &RoleDir) -> Self {
        Self { path: node.file(SOCKET_NAME), wait: REPLY_WAIT }
    }

    fn ask(&self, request: &ControlRequest) -> Result<ControlReply, ControlError> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        runtime.block_on(async {
            tokio::select! {
                answer = timeout(self.wait, exchange(&self.path, request)) => {
                    answer.map_err(|_| ControlError::NoAnswer(self.wait))?
                }
                waited = stuck(&self.path) => Err(ControlError::NoAnswer(waited)),
            }
        })
    }

    /// Ends an agent that does not answer, with everything that it runs; see [`last_resort`].
    ///
    /// # Errors
    ///
    /// [`ControlError`].
    pub fn end_agent(&self) -> Result<EndedAgent, ControlError> {
        last_resort::end_agent(&self.path)
    }
}

impl AgentControl for SocketControl {
    fn notify_changed(&self) -> Result<Changed, ControlError> {
        match self.ask(&ControlRequest::Changed {})? {
            ControlReply::Changed(changed) => Ok(changed),
            other => Err(unexpected(other)),
        }
    }

    fn shut(&self, by: &Grantor) -> Result<Changed, ControlError> {
        match self.ask(&ControlRequest::Shut { by: by.clone() })? {
            ControlReply::Changed(changed) => Ok(changed),
            other => Err(unexpected(other)),
        }
    }

    fn status(&self) -> Result<Status, ControlError> {
        match self.ask(&ControlRequest::Status {})? {
            ControlReply::Status(status) => Ok(status),
            other => Err(unexpected(other)),
        }
    }

    fn end_session(&self, session_id: Uuid) -> Result<SessionEnd, ControlError> {
        match self.ask(&ControlRequest::EndSession { session_id })? {
            ControlReply::EndSession(end) => Ok(end),
            other => Err(unexpected(other)),
        }
    }

    fn approvals(&self) -> Result<Vec<PendingApproval>, ControlError> {
        match self.ask(&ControlRequest::Approvals {}) {
            Ok(ControlReply::Approvals { waiting }) => Ok(waiting),
            Ok(other) => Err(unexpected(other)),
            Err(ControlError::NotRunning) => Ok(Vec::new()),
            Err(error) => Err(error),
        }
    }

    fn answer(&self, approval_id: Uuid, verdict: Verdict) -> Result<bool, ControlError> {
        match self.ask(&ControlRequest::Answer { approval_id, verdict }) {
            Ok(ControlReply::Answer { taken }) => Ok(taken),
            Ok(other) => Err(unexpected(other)),
            Err(ControlError::NotRunning) => Ok(false),
            Err(error) => Err(error),
        }
    }

    fn version(&self) -> Result<Version, ControlError> {
        match self.ask(&ControlRequest::Version {})? {
            ControlReply::Version(version) => Ok(version),
            ControlReply::Failed { code, .. } if code == CODE_VERSION => Ok(Version::before_the_question()),
            other => Err(unexpected(other)),
        }
    }

    fn console_code(&self) -> Result<Option<ConsoleOffer>, ControlError> {
        match self.ask(&ControlRequest::ConsoleCode {})? {
            ControlReply::ConsoleCode { offer } => Ok(offer),
            ControlReply::Failed { code, .. } if code == CODE_VERSION => Ok(None),
            other => Err(unexpected(other)),
        }
    }
}

fn unexpected(reply: ControlReply) -> ControlError {
    match reply {
        ControlReply::Failed { code, message } => ControlError::Failed { code, message },
        _ => ControlError::Unexpected,
    }
}

/// Returns when the agent does not even say how it stands: it was stopped, or it hangs.
async fn stuck(path: &Path) -> Duration {
    loop {
        tokio::time::sleep(PROBE_AFTER).await;
        if timeout(PROBE_WAIT, exchange(path, &ControlRequest::Status {})).await.is_err() {
            return PROBE_AFTER + PROBE_WAIT;
        }
    }
}

async fn exchange(path: &Path, request: &ControlRequest) -> Result<ControlReply, ControlError> {
    let mut stream = platform::connect_control(path).await.map_err(|error| match error.kind() {
        io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused => ControlError::NotRunning,
        io::ErrorKind::PermissionDenied => ControlError::NotAccepted,
        _ => ControlError::Io(error),
    })?;
    let asked = write_message(&mut stream, request).await;
    match read_message(&mut stream).await {
        Err(ControlError::Io(error)) if is_hang_up(&error) => Err(ControlError::NotAccepted),
        Ok(reply) => asked.map(|()| reply),
        Err(error) => Err(error),
    }
}

fn is_hang_up(error: &io::Error) -> bool {
    use io::ErrorKind::{BrokenPipe, ConnectionReset, UnexpectedEof};
    matches!(error.kind(), BrokenPipe | ConnectionReset | UnexpectedEof)
}

async fn write_message(
    stream: &mut (impl AsyncWrite + Unpin),
    message: &impl Serialize,
) -> Result<(), ControlError> {
    let body = serde_json::to_vec(message).map_err(ControlError::Malformed)?;
    let length = u32::try_from(body.len()).ok().filter(|_| body.len() <= MESSAGE_BYTES_MAX);
    let length = length.ok_or(ControlError::TooLong { found: body.len() })?;
    let framed = [&length.to_be_bytes()[..], &body].concat();
    stream.write_all(&framed).await?;
    Ok(stream.flush().await?)
}

async fn read_message<T: DeserializeOwned>(stream: &mut (impl AsyncRead + Unpin)) -> Result<T, ControlError> {
    serde_json::from_slice(&read_body(stream).await?).map_err(ControlError::Malformed)
}

async fn read_body(stream: &mut (impl AsyncRead + Unpin)) -> Result<Vec<u8>, ControlError> {
    let found = usize::try_from(stream.read_u32().await?).unwrap_or(usize::MAX);
    if found > MESSAGE_BYTES_MAX {
        return Err(ControlError::TooLong { found });
    }
    let mut body = vec![0; found];
    stream.read_exact(&mut body).await?;
    Ok(body)
}

/// Who calls, as the operating system vouches for it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Peer {
    name: String,
    pub(crate) permitted: bool,
}

impl Peer {
    pub(crate) fn new(name: String, permitted: bool) -> Self {
        Self { name, permitted }
    }

    /// The caller, for the log: `uid 1000`.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }
}

/// The agent's side of the control socket. While it lives, no other agent can have the node.
#[derive(Debug)]
pub struct ControlServer {
    listener: ControlListener,
    _lock: File,
}

impl ControlServer {
    /// Makes this process the agent of the node and opens the socket (mode 0600, in a folder of mode 0700).
    ///
    /// Call it within a tokio runtime.
    ///
    /// # Errors
    ///
    /// [`ErrorCode::AgentUnreachable`] where another agent runs; [`ErrorCode::Io`], also for a path that is too long
    /// for a socket (about 100 bytes).
    pub fn bind(node: &RoleDir) -> Result<Self, Failure> {
        node.ensure()?;
        let lock = lock(&node.file(LOCK_NAME))?;
        let path = node.file(SOCKET_NAME);
        let listener = ControlListener::bind(&path).map_err(|error| {
            Failure::io(&path, "open the control socket", error)
                .next_step("choose a shorter path with --state-dir")
        })?;
        Ok(Self { listener, _lock: lock })
    }

    /// Answers callers until the future is dropped. Each request goes to `handler`, on a task of its own; a caller
    /// that is not the owner of the agent is hung up on before anything is read.
    ///
    /// # Errors
    ///
    /// None at present: a caller's faults end that caller's connection only, and a socket that cannot take a call now is
    /// tried again.
    pub async fn serve<H, F>(mut self, handler: H) -> io::Result<()>
    where
        H: Fn(Peer, ControlRequest) -> F + Clone + Send + Sync + 'static,
        F: Future<Output = ControlReply> + Send,
    {
        let places = Arc::new(Semaphore::new(CALLERS_MAX));
        let mut callers = tokio::task::JoinSet::new();
        loop {
            let Ok(place) = Arc::clone(&places).acquire_owned().await else { return Ok(()) };
            while callers.try_join_next().is_some() {}
            let (stream, peer) = match self.listener.accept().await {
                Ok(accepted) => accepted,
                Err(error) => {
                    // For example too many open files. The agent must stay reachable, and must keep its lock.
                    tracing::error!(%error, "a call on the control socket could not be taken");
                    tokio::time::sleep(ACCEPT_RETRY).await;
                    continue;
                }
            };
            if !peer.permitted {
                tracing::warn!(
                    caller = peer.name(),
                    "a call on the control socket was refused: not the owner"
                );
                continue;
            }
            let handler = handler.clone();
            callers.spawn(async move {
                if let Err(error) = answer(stream, peer, handler).await {
                    tracing::warn!(%error, "a call on the control socket failed");
                }
                drop(place);
            });
        }
    }
}

async fn answer<S, H, F>(mut stream: S, peer: Peer, handler: H) -> Result<(), ControlError>
where
    S: AsyncRead + AsyncWrite + Unpin,
    H: Fn(Peer, ControlRequest) -> F,
    F: Future<Output = ControlReply>,
{
    let body = timeout(REQUEST_WAIT, read_body(&mut stream)).await;
    let body = body.map_err(|_| ControlError::NoAnswer(REQUEST_WAIT))??;
    let reply = match serde_json::from_slice(&body) {
        Ok(request) => handler(peer, request).await,
        Err(error) => refusal(&body, &error),
    };
    timeout(REQUEST_WAIT, write_message(&mut stream, &reply))
        .await
        .map_err(|_| ControlError::NoAnswer(REQUEST_WAIT))?
}

/// Why a request is not understood: it is another's, or its form is.
fn refusal(body: &[u8], error: &serde_json::Error) -> ControlReply {
    let value: Option<serde_json::Value> = serde_json::from_slice(body).ok();
    let name = value.as_ref().and_then(|value| value.get("request")?.as_str());
    let (code, message) = match name {
        Some(name) if ControlRequest::NAMES.contains(&name) => (
            CODE_MALFORMED,
            format!("the request `{name}` is not in the form that this agent knows: {error}"),
        ),
        Some(name) => (
            CODE_VERSION,
            format!(
                "this agent does not know the request `{}`; it speaks version {API_VERSION} of the local interface and \
                 knows {}. Commands and agent may differ in version: restart the agent after an update",
                output::cut(&output::safe(name), NAME_CHARS_SHOWN),
                ControlRequest::NAMES.join(", ")
            ),
        ),
        None => (CODE_MALFORMED, "a request is a JSON object with its name in `request`".to_owned()),
    };
    ControlReply::Failed { code: code.to_owned(), message }
}

fn lock(path: &Path) -> Result<File, Failure> {
    let file = match platform::create_private(path) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => File::options().write(true).open(path),
        created => created,
    }
    .map_err(|error| Failure::io(path, "open the lock file", error))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(std::fs::TryLockError::WouldBlock) => {
            Err(Failure::new(ErrorCode::AgentUnreachable, "another agent runs on this node already")
                .about(path.display().to_string())
                .next_step("see it with `remote-support agent status`"))
        }
        Err(std::fs::TryLockError::Error(error)) => Err(Failure::io(path, "lock", error)),
    }
}

#[cfg(test)]
mod schema_tests;
#[cfg(test)]
mod tests;

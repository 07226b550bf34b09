//! The control socket: how the operator's commands speak with the agent of the same machine.
//!
//! Commands change the store themselves and then tell the agent that it changed, so that an agent that is down or
//! stuck can never keep anybody from revoking (SEC11). What the agent answers is how the change took effect.
//!
//! The form is one request and one reply on a connection, each a length of four bytes (big endian) and that many bytes
//! of JSON, at most [`MESSAGE_BYTES_MAX`]. One request on a connection means that the caller's identity, which the
//! kernel vouches for, is checked for each call (SEC40).

use std::fs::File;
use std::future::Future;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, Utc};
use rs_consent::AccessLevel;
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::sync::Semaphore;
use tokio::time::timeout;
use uuid::Uuid;

use crate::outcome::{ErrorCode, Failure};
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

/// How soon the next call is taken after one could not be.
const ACCEPT_RETRY: Duration = Duration::from_millis(100);

/// Name of the socket in the node's folder.
pub const SOCKET_NAME: &str = "control.sock";

/// Name of the file whose lock makes an agent the only one of its node.
const LOCK_NAME: &str = "agent.lock";

/// What a command asks of the agent.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "request", rename_all = "kebab-case", rename_all_fields = "camelCase", deny_unknown_fields)]
#[non_exhaustive]
pub enum ControlRequest {
    /// The store has changed: read it, end what is no longer permitted, and answer when that is done.
    Changed {},
    /// Shut the gate and end all sessions as revoked, whatever the store says: the operator revokes, and the store
    /// cannot be written (SEC11). Answered as [`ControlRequest::Changed`].
    Shut {},
    /// Say how things stand.
    Status {},
    /// End one session; the grant stands.
    EndSession {
        /// The session.
        session_id: Uuid,
    },
}

/// What the agent answers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "reply", rename_all = "kebab-case", rename_all_fields = "camelCase", deny_unknown_fields)]
#[non_exhaustive]
pub enum ControlReply {
    /// To [`ControlRequest::Changed`] and [`ControlRequest::Shut`].
    Changed(Changed),
    /// To [`ControlRequest::Status`].
    Status(Status),
    /// To [`ControlRequest::EndSession`].
    EndSession(SessionEnd),
    /// The request could not be carried out.
    Failed {
        /// Kebab-case code.
        code: String,
        /// What happened, for people.
        message: String,
    },
}

/// How a change of the store took effect.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Changed {
    /// Sessions that this change ended.
    pub sessions_ended: u32,
    /// Sessions that should have ended and have not yet; 0 where all is well.
    pub sessions_still_ending: u32,
    /// From the request to the end of the last session, in milliseconds.
    pub elapsed_ms: u64,
}

/// How the agent stands.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Status {
    /// Process id.
    pub pid: u32,
    /// Start of the agent.
    pub started_at: DateTime<Utc>,
    /// Connection to the relay in one word: `NotConnected`, `Connecting`, `Connected`.
    pub connection_status: String,
    /// The last trouble with the relay.
    pub connection_error_message: Option<String>,
    /// Sessions that are open.
    pub sessions: Vec<OpenSession>,
}

/// One open session.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct OpenSession {
    /// The session.
    pub session_id: Uuid,
    /// Who is connected, as named in the assignment.
    pub engineer: String,
    /// The level in force.
    pub access_level: AccessLevel,
    /// Start of the session.
    pub started_at: DateTime<Utc>,
}

/// What became of one session.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct SessionEnd {
    /// It was open and has been ended; false where there is no such session.
    pub ended: bool,
    /// From the request to the end, in milliseconds.
    pub elapsed_ms: u64,
}

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

    /// Ends all access although the store cannot be written; returns when that is done.
    ///
    /// # Errors
    ///
    /// [`ControlError`].
    fn shut(&self) -> Result<Changed, ControlError>;

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
            timeout(self.wait, exchange(&self.path, request))
                .await
                .map_err(|_| ControlError::NoAnswer(self.wait))?
        })
    }
}

impl AgentControl for SocketControl {
    fn notify_changed(&self) -> Result<Changed, ControlError> {
        match self.ask(&ControlRequest::Changed {})? {
            ControlReply::Changed(changed) => Ok(changed),
            other => Err(unexpected(other)),
        }
    }

    fn shut(&self) -> Result<Changed, ControlError> {
        match self.ask(&ControlRequest::Shut {})? {
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
}

fn unexpected(reply: ControlReply) -> ControlError {
    match reply {
        ControlReply::Failed { code, message } => ControlError::Failed { code, message },
        _ => ControlError::Unexpected,
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
    let found = usize::try_from(stream.read_u32().await?).unwrap_or(usize::MAX);
    if found > MESSAGE_BYTES_MAX {
        return Err(ControlError::TooLong { found });
    }
    let mut body = vec![0; found];
    stream.read_exact(&mut body).await?;
    serde_json::from_slice(&body).map_err(ControlError::Malformed)
}

/// Who calls, as the operating system vouches for it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Peer {
    name: String,
    permitted: bool,
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
    let request = timeout(REQUEST_WAIT, read_message(&mut stream)).await;
    let reply = match request.map_err(|_| ControlError::NoAnswer(REQUEST_WAIT))? {
        Ok(request) => handler(peer, request).await,
        Err(ControlError::Malformed(_)) => {
            let message =
                "this agent does not know the request; commands and agent may differ in version".to_owned();
            ControlReply::Failed { code: "version".to_owned(), message }
        }
        Err(error) => return Err(error),
    };
    timeout(REQUEST_WAIT, write_message(&mut stream, &reply))
        .await
        .map_err(|_| ControlError::NoAnswer(REQUEST_WAIT))?
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
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;
    use crate::state::{Role, StateDir};

    #[test]
    fn messages_have_the_agreed_form() {
        let id = Uuid::from_u128(7);
        for (request, expected) in [
            (ControlRequest::Changed {}, json!({"request": "changed"})),
            (ControlRequest::Shut {}, json!({"request": "shut"})),
            (ControlRequest::Status {}, json!({"request": "status"})),
            (
                ControlRequest::EndSession { session_id: id },
                json!({"request": "end-session", "sessionId": id}),
            ),
        ] {
            assert_eq!(serde_json::to_value(&request).expect("json"), expected);
            assert_eq!(serde_json::from_value::<ControlRequest>(expected).expect("reads back"), request);
        }
        let reply =
            ControlReply::Changed(Changed { sessions_ended: 2, sessions_still_ending: 0, elapsed_ms: 41 });
        let expected =
            json!({"reply": "changed", "sessionsEnded": 2, "sessionsStillEnding": 0, "elapsedMs": 41});
        assert_eq!(serde_json::to_value(&reply).expect("json"), expected);
        assert_eq!(serde_json::from_value::<ControlReply>(expected).expect("reads back"), reply);
    }

    #[test]
    fn sec02_no_request_can_make_or_widen_a_consent() {
        for foreign in
            [json!({"request": "enable"}), json!({"request": "changed", "accessLevel": "Diagnostics"})]
        {
            assert!(serde_json::from_value::<ControlRequest>(foreign).is_err());
        }
    }

    fn node() -> (tempfile::TempDir, RoleDir) {
        let directory = tempfile::tempdir().expect("a directory");
        let node = StateDir::new(Some(directory.path().join("s"))).expect("a path").role(Role::Node);
        (directory, node)
    }

    async fn serve_one_answer(node: &RoleDir) -> tokio::task::JoinHandle<io::Result<()>> {
        let server = ControlServer::bind(node).expect("bound");
        tokio::spawn(server.serve(|_, request| async move {
            match request {
                ControlRequest::Changed {} => {
                    ControlReply::Changed(Changed { sessions_ended: 3, ..Changed::default() })
                }
                _ => ControlReply::Failed { code: "test".into(), message: "not in this test".into() },
            }
        }))
    }

    async fn ask(node: &RoleDir, request: &ControlRequest) -> Result<ControlReply, ControlError> {
        exchange(&node.file(SOCKET_NAME), request).await
    }

    #[tokio::test]
    async fn an_agent_answers_and_a_missing_one_is_told_apart() {
        let (_directory, node) = node();
        assert!(matches!(ask(&node, &ControlRequest::Changed {}).await, Err(ControlError::NotRunning)));
        let server = serve_one_answer(&node).await;
        let reply = ask(&node, &ControlRequest::Changed {}).await.expect("answered");
        assert_eq!(reply, ControlReply::Changed(Changed { sessions_ended: 3, ..Changed::default() }));
        assert!(matches!(ask(&node, &ControlRequest::Status {}).await, Ok(ControlReply::Failed { .. })));
        server.abort();
    }

    #[tokio::test]
    async fn an_agent_that_is_stuck_is_not_waited_for() {
        let (_directory, node) = node();
        let server = ControlServer::bind(&node).expect("bound");
        let server = tokio::spawn(server.serve(|_, _| std::future::pending()));
        let control = SocketControl { path: node.file(SOCKET_NAME), wait: Duration::from_millis(20) };
        let answer = tokio::task::spawn_blocking(move || control.notify_changed()).await.expect("no panic");
        assert!(matches!(answer, Err(ControlError::NoAnswer(_))), "{answer:?}");
        server.abort();
    }

    #[tokio::test]
    async fn a_node_has_one_agent_and_a_dead_one_leaves_the_place_free() {
        let (_directory, node) = node();
        let first = ControlServer::bind(&node).expect("bound");
        let failure = ControlServer::bind(&node).expect_err("taken");
        assert_eq!(failure.code(), ErrorCode::AgentUnreachable);
        drop(first);
        std::fs::write(node.file(SOCKET_NAME), "left behind").expect("own folder");
        ControlServer::bind(&node).expect("free again");
    }

    #[cfg(unix)]
    #[tokio::test]
    async fn sec40_the_socket_is_the_owners_only() {
        use std::os::unix::fs::PermissionsExt as _;
        let (_directory, node) = node();
        let _server = ControlServer::bind(&node).expect("bound");
        let mode = node.file(SOCKET_NAME).metadata().expect("there").permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
    }

    #[cfg(unix)]
    const CALLED: &str = "REMOTE_SUPPORT_TEST_SOCKET";

    /// Not a test of its own: what another user does in the test below.
    #[cfg(unix)]
    #[test]
    #[ignore = "started by sec40_another_user_is_hung_up_on_even_where_the_modes_let_it_in"]
    fn sec40_call_from_another_process() {
        let Some(path) = std::env::var_os(CALLED) else { return };
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("runtime");
        println!("{:?}", runtime.block_on(exchange(Path::new(&path), &ControlRequest::Changed {})));
    }

    /// The modes of files are opened wide, so that the check of the caller's identity is all there is. Another user can
    /// only be played by root; without root the decision alone is tested, in the platform's module.
    #[cfg(unix)]
    #[tokio::test]
    async fn sec40_another_user_is_hung_up_on_even_where_the_modes_let_it_in() {
        use std::os::unix::fs::PermissionsExt as _;
        use std::os::unix::process::CommandExt as _;
        const NOBODY: u32 = 65_534;
        if !rustix::process::geteuid().is_root() {
            return;
        }
        let (directory, node) = node();
        let server = serve_one_answer(&node).await;
        for folder in [directory.path(), &directory.path().join("s"), node.path()] {
            std::fs::set_permissions(folder, std::fs::Permissions::from_mode(0o755)).expect("own directory");
        }
        let socket = node.file(SOCKET_NAME);
        std::fs::set_permissions(&socket, std::fs::Permissions::from_mode(0o666)).expect("own socket");
        let program = directory.path().join("caller");
        std::fs::copy(std::env::current_exe().expect("this test"), &program).expect("own directory");
        for (user, answered) in [(0, true), (NOBODY, false)] {
            let mut caller = tokio::process::Command::new(&program);
            caller.args([
                "--ignored",
                "--exact",
                "--nocapture",
                "control::tests::sec40_call_from_another_process",
            ]);
            caller.env(CALLED, &socket).current_dir("/").as_std_mut().uid(user);
            let output = caller.output().await.expect("starts");
            let said = String::from_utf8_lossy(&output.stdout).into_owned();
            assert_eq!(said.contains("Ok(Changed("), answered, "uid {user}: {said}");
            assert_eq!(said.contains("Err(NotAccepted)"), !answered, "uid {user}: {said}");
        }
        server.abort();
    }

    #[tokio::test]
    async fn sec43_a_message_at_the_limit_passes_and_one_past_it_takes_no_memory() {
        let text = "x".repeat(MESSAGE_BYTES_MAX - 2);
        let (mut near, mut far) = tokio::io::duplex(2 * MESSAGE_BYTES_MAX);
        write_message(&mut near, &text).await.expect("at the limit");
        assert_eq!(read_message::<String>(&mut far).await.expect("at the limit"), text);
        let refused = write_message(&mut near, &(text + "x")).await;
        assert!(matches!(refused, Err(ControlError::TooLong { found }) if found == MESSAGE_BYTES_MAX + 1));
        near.write_all(&u32::MAX.to_be_bytes()).await.expect("a length alone");
        assert!(matches!(read_message::<String>(&mut far).await, Err(ControlError::TooLong { .. })));
    }

    proptest! {
        #[test]
        fn sec44_any_bytes_are_answered(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let runtime = tokio::runtime::Builder::new_current_thread().build().expect("runtime");
            let _ = runtime.block_on(read_message::<ControlRequest>(&mut &bytes[..]));
        }
    }
}

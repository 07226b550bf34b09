//! The way to the root part and back: [`RootPart`] asks, [`answer`] answers. See
//! [`root_part`](crate::operations::root_part) for what is asked and how it is judged.
//!
//! One connection is one operation, or the word that the consent is revoked ([`withdraw`]). The frames are those between agent and worker ([`wire`](crate::operations::wire)): one
//! with the request goes there; back come an empty list of measures as soon as it runs, output, and one finish, with the
//! measures that were in force. A refusal is a finish with nothing before it. The connection is the lifeline: when the
//! agent closes its side, or is gone, the operation's processes are ended.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::UnixStream;
use tokio::time::{Instant, timeout};
use uuid::Uuid;

use super::process::{frame, micros};
use super::{Chunk, Driver, Executor, Finish, Killed, Order, Running, StartError, Status, Stream};
use crate::operations::plan::Plan;
use crate::operations::root_part::{Request, Unwarranted, can_do_without, takes};
use crate::operations::wire::{
    CHUNK_BYTES_MAX, FrameKind, HEADER_BYTES, header, read_frame, read_header, write_frame,
};

/// Longest wait for a whole request, from the connection on: 5 seconds.
pub const REQUEST_WAIT: Duration = Duration::from_secs(5);
/// Longest wait of an agent for the root part's first word: 10 seconds.
pub const ANSWER_WAIT: Duration = Duration::from_secs(10);
/// Longest that the root part holds output that the agent does not take: 30 seconds. Then the operation is ended.
pub const WRITE_WAIT: Duration = Duration::from_secs(30);
/// How often the root part looks whether the consent still holds, while an operation runs: every quarter of a second.
pub const LOOK_AGAIN: Duration = Duration::from_millis(250);
/// What a root part may take to say that an operation which was cut off is gone.
const END_WAIT: Duration = Duration::from_secs(25);
/// Time beyond the operation's own limit after which a root part counts as stuck.
const SPARE: Duration = Duration::from_secs(30);

/// Runs what needs root through the root part, and everything else by the agent's own executor.
///
/// A command that only reads runs by the agent's own executor too where the root part does not take it; its answer is
/// poorer then. One that changes something does not run.
#[derive(Clone, Debug)]
pub struct RootPart {
    socket: PathBuf,
}

impl RootPart {
    /// The root part behind this socket.
    #[must_use]
    pub fn new(socket: impl Into<PathBuf>) -> Self {
        Self { socket: socket.into() }
    }

    /// An executor for one session, with the agent's own for what needs no root.
    #[must_use]
    pub fn in_session(&self, session: Uuid, own: Arc<dyn Executor>) -> impl Executor + use<> {
        InSession { root: self.clone(), session, own }
    }

    async fn ask(&self, session: Uuid, plan: &Plan) -> Result<Running, StartError> {
        let failed =
            |error: std::io::Error| StartError::RootPart(format!("{}: {error}", self.socket.display()));
        let late = |_| StartError::RootPart(format!("no answer within {} s", ANSWER_WAIT.as_secs()));
        let request = serde_json::to_vec(&Request::new(session, plan.clone()));
        let request = request.map_err(|_| StartError::TooLarge)?;
        if request.len() > crate::operations::root_part::REQUEST_BYTES_MAX {
            return Err(StartError::TooLarge);
        }
        let asked = async {
            let mut stream = UnixStream::connect(&self.socket).await?;
            send(&mut stream, FrameKind::Plan, &request).await?;
            let first = frame(&mut stream).await?;
            Ok((stream, first))
        };
        let (stream, first) = timeout(ANSWER_WAIT, asked).await.map_err(late)?.map_err(failed)?;
        match first {
            (FrameKind::Started, _) => {
                let (running, driver) = Running::new();
                tokio::spawn(drive(stream, driver, Duration::from_secs(u64::from(plan.limits.seconds))));
                Ok(running)
            }
            (FrameKind::Finish, payload) => Err(StartError::RootPart(finish_of(&payload).message)),
            _ => Err(StartError::RootPart(String::from("it answered before it began"))),
        }
    }
}

/// See [`RootPart::in_session`].
#[derive(Debug)]
struct InSession {
    root: RootPart,
    session: Uuid,
    own: Arc<dyn Executor>,
}

#[async_trait]
impl Executor for InSession {
    async fn start(&self, plan: Plan) -> Result<Running, StartError> {
        plan.check()?;
        if !takes(&plan) {
            return self.own.start(plan).await;
        }
        match self.root.ask(self.session, &plan).await {
            Err(StartError::RootPart(why)) if can_do_without(&plan) => {
                tracing::warn!(command = plan.command(), %why, "answered without the root part");
                self.own.start(plan).await
            }
            asked => asked,
        }
    }
}

/// The agent's side of a running operation.
async fn drive(mut stream: UnixStream, driver: Driver, limit: Duration) {
    let Driver { chunks, finish, mut orders } = driver;
    let start = Instant::now();
    let (mut reader, mut writer) = stream.split();
    let pass_on = async {
        loop {
            match frame(&mut reader).await {
                Ok((FrameKind::Finish, payload)) => return finish_of(&payload),
                Ok((kind @ (FrameKind::Output | FrameKind::Error), payload)) => {
                    let stream = if kind == FrameKind::Error { Stream::Error } else { Stream::Output };
                    let Ok(text) = String::from_utf8(payload) else {
                        return Finish::new(Status::Fault, "the root part sent text that is not UTF-8");
                    };
                    let text = crate::operations::objects::harmless(&text).into_owned();
                    if chunks.send(Chunk { stream, text }).await.is_err() {
                        return Finish::new(Status::Killed, "nobody reads the output any more");
                    }
                }
                Ok(_) => return Finish::new(Status::Fault, "the root part broke the protocol"),
                Err(error) => {
                    return Finish::new(
                        Status::Fault,
                        format!("the root part ended without a result: {error}"),
                    );
                }
            }
        }
    };
    let (status, order) = tokio::select! {
        end = pass_on => {
            drop(chunks);
            // The reader may be gone.
            let _ = finish.send(Finish { micros: micros(start), ..end });
            return;
        }
        order = orders.recv() => (order.as_ref().map_or(Status::Killed, |order| order.status), order),
        () = chunks.closed() => (Status::Killed, None),
        () = tokio::time::sleep(limit + SPARE) => (Status::TimeLimit, None),
    };
    // The end of this side is the order to end; what the root part says then is when nothing is left.
    let _ = writer.shutdown().await;
    let said = timeout(END_WAIT, last_word(&mut reader)).await.ok().flatten();
    let killed = said.as_ref().and_then(|said| said.killed).unwrap_or_default();
    if let Some(Order { reply: Some(reply), .. }) = order {
        // Whoever asked may have gone.
        let _ = reply.send(killed);
    }
    let said = said.unwrap_or_else(|| Finish::new(status, ""));
    let message = String::from("ended from outside");
    drop(chunks);
    let _ = finish.send(Finish { status, message, micros: micros(start), killed: Some(killed), ..said });
}

/// Reads to the finish and drops what comes before it.
async fn last_word(reader: &mut (impl AsyncRead + Unpin)) -> Option<Finish> {
    loop {
        match frame(reader).await {
            Ok((FrameKind::Finish, payload)) => return Some(finish_of(&payload)),
            Ok(_) => {}
            Err(_) => return None,
        }
    }
}

fn finish_of(payload: &[u8]) -> Finish {
    serde_json::from_slice(payload).map_or_else(
        |_| Finish::new(Status::Fault, "the root part's last word cannot be read"),
        |said: Finish| Finish {
            message: crate::operations::objects::harmless(&said.message).into_owned(),
            ..said
        },
    )
}

async fn send(
    writer: &mut (impl AsyncWrite + Unpin),
    kind: FrameKind,
    payload: &[u8],
) -> std::io::Result<()> {
    writer.write_all(&header(kind, payload.len())).await?;
    writer.write_all(payload).await?;
    writer.flush().await
}

/// Decides for the root part, from what root knows.
pub trait Authority: Send + Sync {
    /// What is carried out for a request, if it may be; called once, just before it is. A Yes of the owner is used up by it.
    ///
    /// # Errors
    /// Why not.
    fn admit(&self, request: &Request) -> Result<Plan, Unwarranted>;

    /// Forgets the consent. Whoever may ask may say this too: it can only narrow.
    ///
    /// # Errors
    /// Why it could not be forgotten.
    fn withdraw(&self) -> Result<(), String>;

    /// Whether what was admitted may go on; called every [`LOOK_AGAIN`].
    ///
    /// # Errors
    /// Why not.
    fn holds(&self, request: &Request) -> Result<(), Unwarranted>;
}

/// What came of one connection.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum Answered {
    /// Nothing was done: there was no request in time, or it was refused.
    Refused(String),
    /// It was carried out, and ended so.
    Done(Finish),
    /// The consent was forgotten.
    Withdrawn,
}

/// Answers one connection, whose caller is known to be the agent's user: reads the request, has it judged, runs it, and
/// returns when nothing of it is left.
pub async fn answer(stream: UnixStream, executor: &dyn Executor, authority: &dyn Authority) -> Answered {
    let (mut reader, mut writer) = stream.into_split();
    let admitted = match timeout(REQUEST_WAIT, read_request(&mut reader)).await {
        Ok(Ok(None)) => return forget(&mut writer, authority).await,
        Ok(Ok(Some(request))) => {
            authority.admit(&request).map(|plan| (request, plan)).map_err(|why| why.to_string())
        }
        Ok(Err(why)) => Err(why),
        Err(_) => Err(format!("no request within {} s", REQUEST_WAIT.as_secs())),
    };
    let started = match admitted {
        Ok((request, plan)) => executor.start(plan).await.map(|running| (request, running)),
        Err(why) => return refuse(&mut writer, why).await,
    };
    match started {
        Ok((request, running)) => {
            let going = Going { running, request, authority };
            Answered::Done(going.run(&mut reader, &mut writer).await)
        }
        Err(error) => refuse(&mut writer, error.to_string()).await,
    }
}

/// A request of at most its limit, or nothing for a withdrawal; the length is checked before memory is taken.
async fn read_request(reader: &mut (impl AsyncRead + Unpin)) -> Result<Option<Request>, String> {
    let mut head = [0; HEADER_BYTES];
    reader.read_exact(&mut head).await.map_err(|error| error.to_string())?;
    match read_header(head) {
        Ok((FrameKind::Plan, length)) => {
            let mut payload = vec![0; length];
            reader.read_exact(&mut payload).await.map_err(|error| error.to_string())?;
            Request::read(&payload).map(Some).map_err(|why| why.to_string())
        }
        Ok((FrameKind::Withdraw, _)) => Ok(None),
        Ok(_) => Err(Unwarranted::Malformed.to_string()),
        Err(_) => Err(String::from("the request is longer than its limit, or is none")),
    }
}

async fn forget(writer: &mut (impl AsyncWrite + Unpin), authority: &dyn Authority) -> Answered {
    match authority.withdraw() {
        Ok(()) => {
            last_words(writer, &Finish::new(Status::Done, "")).await;
            Answered::Withdrawn
        }
        Err(why) => refuse(writer, why).await,
    }
}

/// Has a root part forget the consent; returns when it has.
///
/// # Errors
/// Why it has not, in words.
pub fn withdraw(socket: &Path) -> Result<(), String> {
    let asked = || {
        let mut stream = std::os::unix::net::UnixStream::connect(socket)?;
        stream.set_read_timeout(Some(ANSWER_WAIT))?;
        stream.set_write_timeout(Some(ANSWER_WAIT))?;
        write_frame(&mut stream, FrameKind::Withdraw, b"")?;
        read_frame(&mut stream)
    };
    match asked().map_err(|error| format!("{}: {error}", socket.display()))? {
        (FrameKind::Finish, payload) => match finish_of(&payload) {
            Finish { status: Status::Done, .. } => Ok(()),
            said => Err(said.message),
        },
        _ => Err(String::from("it broke the protocol")),
    }
}

async fn refuse(writer: &mut (impl AsyncWrite + Unpin), why: String) -> Answered {
    last_words(writer, &Finish::new(Status::Failed, why.as_str())).await;
    Answered::Refused(why)
}

/// Tells the end to an agent that may be gone.
async fn last_words(writer: &mut (impl AsyncWrite + Unpin), finish: &Finish) {
    let json = serde_json::to_vec(finish).unwrap_or_default();
    let _ = timeout(WRITE_WAIT, send(writer, FrameKind::Finish, &json)).await;
}

/// An operation that runs for the agent.
struct Going<'a> {
    running: Running,
    request: Request,
    authority: &'a dyn Authority,
}

impl Going<'_> {
    async fn run(
        self,
        reader: &mut (impl AsyncRead + Unpin),
        writer: &mut (impl AsyncWrite + Unpin),
    ) -> Finish {
        let Self { mut running, request, authority } = self;
        let why = tokio::select! {
            done = pass_on(&mut running, writer) => done.err(),
            why = until_cut(reader) => Some(why),
            why = until_over(authority, &request) => Some(why),
        };
        let mut finish = match why {
            None => running.finish().await,
            Some(why) => {
                let killed: Killed = running.kill().await;
                let ended = running.finish().await;
                Finish { status: Status::Killed, message: why, killed: Some(killed), ..ended }
            }
        };
        finish.message = crate::operations::objects::harmless(&finish.message).into_owned();
        last_words(writer, &finish).await;
        finish
    }
}

/// Tells that it runs, then passes its output on.
async fn pass_on(running: &mut Running, writer: &mut (impl AsyncWrite + Unpin)) -> Result<(), String> {
    let gone = |_| String::from("the agent takes no output");
    told(writer, FrameKind::Started, b"[]").await.map_err(gone)?;
    while let Some(Chunk { stream, text }) = running.next().await {
        let kind = if stream == Stream::Error { FrameKind::Error } else { FrameKind::Output };
        for piece in pieces(&text) {
            told(writer, kind, piece.as_bytes()).await.map_err(gone)?;
        }
    }
    Ok(())
}

async fn told(
    writer: &mut (impl AsyncWrite + Unpin),
    kind: FrameKind,
    payload: &[u8],
) -> std::io::Result<()> {
    timeout(WRITE_WAIT, send(writer, kind, payload)).await?
}

/// A text in whole characters, each piece within the limit of a frame: what is made harmless may have grown.
fn pieces(mut text: &str) -> Vec<&str> {
    let mut pieces = Vec::new();
    while !text.is_empty() {
        let (piece, rest) = text.split_at(text.floor_char_boundary(CHUNK_BYTES_MAX));
        pieces.push(piece);
        text = rest;
    }
    pieces
}

/// Returns when the agent's side ends, or says anything more.
async fn until_cut(reader: &mut (impl AsyncRead + Unpin)) -> String {
    let _ = reader.read(&mut [0; 1]).await;
    String::from("the agent ended it")
}

/// Returns when the consent does not hold any more.
async fn until_over(authority: &dyn Authority, request: &Request) -> String {
    loop {
        tokio::time::sleep(LOOK_AGAIN).await;
        if let Err(why) = authority.holds(request) {
            return why.to_string();
        }
    }
}

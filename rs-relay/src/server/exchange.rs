//! The rendezvous of an HTTP request: the listener fetches a request that is too long for its control channel, or brings a
//! response that is, or both.
//!
//! Bodies are moved piece by piece in both directions, with back-pressure: while the sender takes nothing the listener is not
//! read, while the listener takes nothing the sender is not read. A rendezvous is good for one request.

use std::io;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::BodyExt;
use hyper::body::Incoming;
use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, sleep_until};

use super::RelayServer;
use super::http::{AnswerBody, HttpCaller, Reply, RequestBody, Upload};
use crate::net::socket::{Event, Socket, SocketError};
use crate::proto::frame::CloseReason;
use crate::proto::limits::RESPONSE_WAIT;
use crate::proto::{Authority, ListenerMessage, Refusal, RendezvousId, Response};

/// Bytes of the request that may wait for the listener before the sender is held back.
const BACKLOG_BYTES_MAX: usize = 128 * 1024;

/// Pieces of the response that may wait for the sender before the listener is held back.
const PIECES_MAX: usize = 2;

/// How long a listener may go on sending what nobody wants before it is told so.
const DISCARD_WAIT: Duration = Duration::from_secs(10);

/// Serves the rendezvous of a request until the response is complete or one side is lost.
pub(crate) async fn run(
    server: &RelayServer,
    caller: HttpCaller,
    (authority, id): (Authority, RendezvousId),
    mut socket: Socket,
) {
    let (reply, request) = caller.into_parts();
    let text = match &request.body {
        RequestBody::Fetch(_) => request.fetched(authority, &id).map(Some),
        RequestBody::None | RequestBody::Inline(_) => Ok(None),
    };
    match text {
        Ok(Some(text)) => socket.queue_text(&text),
        Ok(None) => {}
        Err(refusal) => {
            let _ = reply.send(Reply::Refuse(refusal));
            return discard(server, socket).await;
        }
    }
    let request_id = request.id().to_owned();
    let upload = match request.body {
        RequestBody::Fetch(upload) => Some(Sending { upload, begun: false }),
        RequestBody::None | RequestBody::Inline(_) => None,
    };
    let mut exchange = Exchange {
        request_id,
        upload,
        answer: Answer::Awaited(reply),
        deadline: Instant::now() + RESPONSE_WAIT,
    };
    let end = tokio::select! {
        end = exchange.run(&mut socket) => end,
        () = server.0.cut.cancelled() => End::Cut,
    };
    tracing::debug!(request = exchange.request_id, end = ?end, "rendezvous of a request ended");
    exchange.finish(end);
    match end {
        End::Complete => {
            socket.close(Some(&CloseReason::new(CloseReason::NORMAL, "The response is complete."))).await;
        }
        End::SenderGone | End::Silent => discard(server, socket).await,
        End::Cut => {
            socket
                .close(Some(&CloseReason::new(CloseReason::GOING_AWAY, "The relay is shutting down.")))
                .await;
        }
        End::ListenerGone | End::Broken(_) => {
            let text = if let End::Broken(text) = end { text } else { "" };
            socket.close(Some(&CloseReason::new(CloseReason::POLICY, text))).await;
        }
    }
}

/// Lets a listener say what nobody waits for any more, and then tells it so: some listeners die when they are refused.
pub(crate) async fn discard(server: &RelayServer, mut socket: Socket) {
    let until = Instant::now() + DISCARD_WAIT;
    loop {
        tokio::select! {
            event = socket.next() => match event {
                Ok(Event::Data { last: false, .. } | Event::Ping | Event::Pong) => {}
                Ok(Event::Text(text)) => {
                    let response = ListenerMessage::parse(&text);
                    if !matches!(response, Ok(ListenerMessage::Response(Response { body: true, .. }))) {
                        break;
                    }
                }
                Ok(Event::Data { last: true, .. } | Event::Close(_)) | Err(_) => break,
            },
            () = sleep_until(until) => break,
            () = server.0.cut.cancelled() => break,
        }
    }
    socket.close(Some(&CloseReason::new(CloseReason::GOING_AWAY, "The sender is gone."))).await;
}

/// How a rendezvous ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum End {
    /// The sender has the whole response.
    Complete,
    SenderGone,
    ListenerGone,
    /// Nothing moved for too long.
    Silent,
    /// The listener broke the protocol.
    Broken(&'static str),
    /// The server shuts down.
    Cut,
}

/// The request's body on its way to the listener.
struct Sending {
    upload: Upload,
    begun: bool,
}

/// How far the response has come.
enum Answer {
    Awaited(oneshot::Sender<Reply>),
    /// Its body is to come; the sender gets the head with the first piece of it.
    Head(oneshot::Sender<Reply>, Response),
    Body {
        pieces: mpsc::Sender<io::Result<Bytes>>,
        /// Waits for room.
        piece: Option<Bytes>,
        /// Whether the body ends with it.
        last: bool,
    },
    Done,
}

struct Exchange {
    request_id: String,
    upload: Option<Sending>,
    answer: Answer,
    /// When too little has happened for too long.
    deadline: Instant,
}

/// What happened.
enum Happened {
    Event(Result<Event, SocketError>),
    /// What was queued for the listener is written.
    Flushed,
    /// Bytes of the request, `None` at its end.
    Upload(Option<Result<Bytes, hyper::Error>>),
    /// There is room for a piece of the response.
    Room,
    SenderGone,
    Silent,
}

impl Exchange {
    async fn run(&mut self, socket: &mut Socket) -> End {
        loop {
            match self.wait(socket).await {
                Happened::Event(Ok(event)) => {
                    if let Some(end) = self.event(event) {
                        return end;
                    }
                }
                Happened::Event(Err(error)) => {
                    tracing::debug!(request = self.request_id, %error, "rendezvous of a request failed");
                    return End::ListenerGone;
                }
                Happened::Upload(Some(Ok(bytes))) => self.send(socket, &bytes, false),
                Happened::Upload(Some(Err(_))) => return End::SenderGone,
                Happened::Upload(None) => {
                    self.send(socket, b"", true);
                    self.upload = None;
                }
                Happened::Room => {
                    if let Some(end) = self.pass_on() {
                        return end;
                    }
                }
                Happened::Flushed => {}
                Happened::SenderGone => return End::SenderGone,
                Happened::Silent => return End::Silent,
            }
        }
    }

    async fn wait(&mut self, socket: &mut Socket) -> Happened {
        let full = matches!(self.answer, Answer::Body { piece: Some(_), .. });
        let backlog = socket.backlog();
        tokio::select! {
            happened = socket_event(socket, full) => happened,
            chunk = next_chunk(&mut self.upload), if backlog <= BACKLOG_BYTES_MAX => Happened::Upload(chunk),
            happened = sender_event(&mut self.answer) => happened,
            () = sleep_until(self.deadline) => Happened::Silent,
        }
    }

    fn send(&mut self, socket: &mut Socket, bytes: &[u8], last: bool) {
        if let Some(sending) = &mut self.upload
            && (last || !bytes.is_empty())
        {
            socket.queue_data(bytes, !sending.begun, last);
            sending.begun = true;
            self.deadline = Instant::now() + RESPONSE_WAIT;
        }
    }

    fn event(&mut self, event: Event) -> Option<End> {
        match event {
            Event::Text(text) => self.text(&text),
            Event::Data { bytes, last, .. } => self.data(bytes.into(), last),
            Event::Ping | Event::Pong => None,
            Event::Close(reason) => self.closed(reason.as_ref()),
        }
    }

    fn text(&mut self, text: &str) -> Option<End> {
        let Ok(ListenerMessage::Response(response)) = ListenerMessage::parse(text) else {
            return Some(End::Broken("A response was expected."));
        };
        if response.request_id != self.request_id {
            return Some(End::Broken("The response names another request."));
        }
        let Answer::Awaited(reply) = std::mem::replace(&mut self.answer, Answer::Done) else {
            return Some(End::Broken("There is a response already."));
        };
        self.deadline = Instant::now() + RESPONSE_WAIT;
        if response.body {
            self.answer = Answer::Head(reply, response);
            return None;
        }
        let _ = reply.send(Reply::Response { message: response, body: AnswerBody::Whole(Bytes::new()) });
        Some(End::Complete)
    }

    fn data(&mut self, bytes: Bytes, last: bool) -> Option<End> {
        match std::mem::replace(&mut self.answer, Answer::Done) {
            // Nobody announced it. Empty ones do come.
            Answer::Awaited(reply) => {
                self.answer = Answer::Awaited(reply);
                None
            }
            Answer::Head(reply, message) if last => {
                let _ = reply.send(Reply::Response { message, body: AnswerBody::Whole(bytes) });
                Some(End::Complete)
            }
            Answer::Head(reply, message) => {
                let (pieces, stream) = mpsc::channel(PIECES_MAX);
                let _ = reply.send(Reply::Response { message, body: AnswerBody::Stream(stream) });
                self.answer = Answer::Body { pieces, piece: Some(bytes), last };
                self.pass_on()
            }
            Answer::Body { pieces, .. } => {
                self.answer = Answer::Body { pieces, piece: Some(bytes), last };
                self.pass_on()
            }
            Answer::Done => Some(End::Complete),
        }
    }

    /// Gives the sender the piece that waits, if there is room.
    fn pass_on(&mut self) -> Option<End> {
        let Answer::Body { pieces, piece, last } = &mut self.answer else { return None };
        if let Some(bytes) = piece.take().filter(|bytes| !bytes.is_empty()) {
            match pieces.try_send(Ok(bytes)) {
                Ok(()) => {}
                Err(mpsc::error::TrySendError::Full(Ok(bytes))) => {
                    *piece = Some(bytes);
                    return None;
                }
                Err(_) => return Some(End::SenderGone),
            }
        }
        self.deadline = Instant::now() + RESPONSE_WAIT;
        last.then_some(End::Complete)
    }

    /// Some listeners end a body by closing, without a last frame.
    fn closed(&mut self, reason: Option<&CloseReason>) -> Option<End> {
        let normal = reason.is_none_or(|reason| reason.code == CloseReason::NORMAL);
        match std::mem::replace(&mut self.answer, Answer::Done) {
            Answer::Head(reply, message) if normal => {
                let _ = reply.send(Reply::Response { message, body: AnswerBody::Whole(Bytes::new()) });
                Some(End::Complete)
            }
            Answer::Body { pieces, .. } if normal => {
                drop(pieces);
                Some(End::Complete)
            }
            other => {
                self.answer = other;
                Some(End::ListenerGone)
            }
        }
    }

    /// Tells the sender of an end before the response was complete.
    fn finish(&mut self, end: End) {
        match std::mem::replace(&mut self.answer, Answer::Done) {
            Answer::Awaited(reply) | Answer::Head(reply, _) => {
                let refusal = match end {
                    End::Silent => Refusal::NoResponse,
                    End::Cut => Refusal::Busy,
                    End::Broken(_) => Refusal::BadResponse("it breaks the protocol"),
                    End::Complete | End::SenderGone | End::ListenerGone => Refusal::ListenerLost,
                };
                let _ = reply.send(Reply::Refuse(refusal));
            }
            Answer::Body { pieces, .. } if end != End::Complete => {
                // The connection breaks, so that the sender sees that something is missing.
                tokio::spawn(async move {
                    let error = io::Error::new(io::ErrorKind::UnexpectedEof, "the response was cut off");
                    let _ = pieces.send(Err(error)).await;
                });
            }
            Answer::Body { .. } | Answer::Done => {}
        }
    }
}

/// Reads from the listener and writes to it; only writes while the sender has to be waited for.
async fn socket_event(socket: &mut Socket, only_write: bool) -> Happened {
    if !only_write {
        return match socket.next_or_room(BACKLOG_BYTES_MAX).await {
            Ok(None) => Happened::Flushed,
            Ok(Some(event)) => Happened::Event(Ok(event)),
            Err(error) => Happened::Event(Err(error)),
        };
    }
    if socket.backlog() == 0 {
        return std::future::pending().await;
    }
    match socket.flush().await {
        Ok(()) => Happened::Flushed,
        Err(error) => Happened::Event(Err(error.into())),
    }
}

/// The next bytes of the request; waits for ever when there are none to come.
async fn next_chunk(upload: &mut Option<Sending>) -> Option<Result<Bytes, hyper::Error>> {
    let Some(Sending { upload, .. }) = upload else { return std::future::pending().await };
    if !upload.begun.is_empty() {
        return Some(Ok(std::mem::take(&mut upload.begun)));
    }
    frame_data(&mut upload.rest).await
}

async fn frame_data(body: &mut Incoming) -> Option<Result<Bytes, hyper::Error>> {
    let frame = body.frame().await?;
    // What is no data are trailers, which end here.
    Some(frame.map(|frame| frame.into_data().unwrap_or_default()))
}

/// What the sender does: take a piece, or leave.
async fn sender_event(answer: &mut Answer) -> Happened {
    match answer {
        Answer::Awaited(reply) | Answer::Head(reply, _) => {
            reply.closed().await;
            Happened::SenderGone
        }
        Answer::Body { pieces, piece: Some(_), .. } => match pieces.reserve().await {
            Ok(_room) => Happened::Room,
            Err(_) => Happened::SenderGone,
        },
        Answer::Body { pieces, .. } => {
            pieces.closed().await;
            Happened::SenderGone
        }
        Answer::Done => std::future::pending().await,
    }
}

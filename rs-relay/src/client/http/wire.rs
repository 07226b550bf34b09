//! The rendezvous of one request: its body comes in, the response goes out, both at their own pace.

use std::future::Future;
use std::pin::pin;

use bytes::Bytes;
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep_until};

use super::super::keep_alive::Pulse;
use super::body::Piece;
use crate::net::socket::{Event, Socket};
use crate::proto::frame::CloseReason;

/// Bytes of a response that may wait for the socket before more is asked from the service.
const WAITING_BYTES_MAX: usize = 64 * 1024;

/// Why an exchange is over before its end: the sender or the way to it is lost.
#[derive(Debug)]
pub(super) struct Gone(pub(super) String);

/// What came that is no body.
#[derive(Debug)]
pub(super) enum News {
    Text(String),
    Nothing,
}

/// See the module's text.
pub(super) struct Wire {
    socket: Socket,
    pulse: Pulse,
    upload: Option<Upload>,
}

/// A body on its way to the service.
struct Upload {
    pieces: mpsc::Sender<Piece>,
    /// What the service has not taken yet.
    waiting: Option<Bytes>,
    /// Whether nothing comes behind it.
    ended: bool,
}

impl Upload {
    fn is_full(&self) -> bool {
        self.waiting.is_some() || self.ended
    }
}

impl Wire {
    pub(super) fn new(socket: Socket, pulse: Pulse) -> Self {
        Self { socket, pulse, upload: None }
    }

    /// A body is expected next; where it can be read.
    pub(super) fn expect_body(&mut self) -> mpsc::Receiver<Piece> {
        let (pieces, receiver) = mpsc::channel(1);
        self.upload = Some(Upload { pieces, waiting: None, ended: false });
        receiver
    }

    /// Waits for the text message that a rendezvous begins with.
    pub(super) async fn text(&mut self) -> Result<String, Gone> {
        loop {
            if let News::Text(text) = self.step().await? {
                return Ok(text);
            }
        }
    }

    /// Drives the socket until a future is done.
    pub(super) async fn until<T>(&mut self, future: impl Future<Output = T>) -> Result<T, Gone> {
        let mut future = pin!(future);
        loop {
            tokio::select! {
                done = &mut future => return Ok(done),
                step = self.step() => step?,
            };
        }
    }

    pub(super) fn queue_text(&mut self, text: &str) {
        self.socket.queue_text(text);
    }

    /// Sends a part of a body, and waits while too much is waiting.
    pub(super) async fn send(&mut self, bytes: &[u8], first: bool, last: bool) -> Result<(), Gone> {
        self.socket.queue_data(bytes, first, last);
        while self.socket.backlog() > WAITING_BYTES_MAX {
            self.step().await?;
        }
        Ok(())
    }

    /// Says that all was said, or that it broke off.
    pub(super) async fn close(self, code: u16, text: &str) {
        self.socket.close(Some(&CloseReason::new(code, text))).await;
    }

    /// One thing that happens.
    async fn step(&mut self) -> Result<News, Gone> {
        let Self { socket, pulse, upload } = self;
        let full = upload.as_ref().is_some_and(Upload::is_full);
        let (backlog, stalled_at) = (socket.backlog(), socket.stalled_at());
        let moved = async {
            if !full {
                return socket.next_or_room(WAITING_BYTES_MAX).await.map_err(|error| Gone(error.to_string()));
            }
            // Nothing is read while the service does not take what was read; what waits is written all the same.
            socket.flush().await.map_err(|error| Gone(error.to_string()))?;
            match backlog > WAITING_BYTES_MAX {
                true => Ok(None),
                false => std::future::pending().await,
            }
        };
        tokio::select! {
            event = moved => event?.map_or(Ok(News::Nothing), |event| self.take(event)),
            () = deliver(upload), if full => Ok(News::Nothing),
            () = pulse.wait() => match pulse.beat(socket, !full) {
                Ok(()) => Ok(News::Nothing),
                Err(_) => Err(Gone("the relay did not answer for too long".into())),
            },
            () = sleep_until(stalled_at), if backlog > 0 && stalled_at > Instant::now() => Ok(News::Nothing),
        }
        .and_then(|news| {
            let stalled = self.socket.backlog() > 0 && self.socket.stalled_at() <= Instant::now();
            if stalled { Err(Gone("the relay takes no more of the response".into())) } else { Ok(news) }
        })
    }

    fn take(&mut self, event: Event) -> Result<News, Gone> {
        match event {
            Event::Text(text) => return Ok(News::Text(text)),
            Event::Data { bytes, last, .. } => {
                if let Some(upload) = &mut self.upload {
                    upload.waiting = Some(bytes).filter(|bytes| !bytes.is_empty()).map(Into::into);
                    upload.ended = last;
                }
            }
            Event::Close(reason) => {
                let code = reason.map_or(1005, |reason| reason.code);
                return Err(Gone(format!("the relay closed the rendezvous with code {code}")));
            }
            Event::Ping | Event::Pong => {}
        }
        Ok(News::Nothing)
    }
}

/// Hands one piece of what waits to the service; drops it and all that follows when the service does not want it.
///
/// Nothing is lost when the future is dropped.
async fn deliver(upload: &mut Option<Upload>) {
    let Some(body) = upload else { return };
    let Ok(permit) = body.pieces.reserve().await else {
        *upload = None;
        return;
    };
    match body.waiting.take() {
        Some(bytes) => permit.send(Piece::Bytes(bytes)),
        None => {
            permit.send(Piece::End);
            *upload = None;
        }
    }
}

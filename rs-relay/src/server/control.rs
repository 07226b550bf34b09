//! A listener's control channel.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::time::{Instant, MissedTickBehavior, interval_at, sleep, sleep_until};

use super::RelayServer;
use super::door::Ticket;
use super::handler::ACCESS;
use super::namespace::{Command, Namespace};
use crate::net::socket::{Event, Socket};
use crate::proto::frame::CloseReason;
use crate::proto::http::Responses;
use crate::proto::registry::ListenerId;
use crate::proto::{EntityPath, ListenerMessage, Refusal, RendezvousId, RequestPath, Response};

/// Bytes that may wait for a slow listener before further senders are held back. One message and its body, 128 KiB, may
/// come on top.
const BACKLOG_BYTES_MAX: usize = 128 * 1024;

/// How often a listener is looked at that has requests to answer while the relay shuts down.
const DRAIN_CHECK: Duration = Duration::from_millis(20);

/// Pings that may stay unanswered.
const MISSED_PINGS_MAX: u32 = 2;

fn shutting_down() -> CloseReason {
    CloseReason::new(CloseReason::GOING_AWAY, "The relay is shutting down.")
}

/// A control channel. The listener is in the registry as long as this lives.
pub(crate) struct Channel {
    pub(crate) server: RelayServer,
    pub(crate) namespace: Arc<Namespace>,
    pub(crate) ticket: Arc<Ticket>,
    pub(crate) entity: EntityPath,
    pub(crate) path: RequestPath,
    pub(crate) id: ListenerId,
    pub(crate) peer: SocketAddr,
    pub(crate) tracking: String,
    pub(crate) commands: mpsc::Receiver<Command>,
    pub(crate) responses: Responses,
}

impl Drop for Channel {
    fn drop(&mut self) {
        self.namespace.listener_gone(self.id);
    }
}

impl Channel {
    /// Serves the channel until one side ends it.
    pub(crate) async fn run(mut self, mut socket: Socket) {
        let (name, entity, peer) = (self.namespace.host().to_owned(), self.entity.clone(), self.peer);
        let tracking = self.tracking.clone();
        tracing::info!(target: ACCESS, event = "listening", namespace = name, %entity, %peer, tracking);
        let reason = self.serve(&mut socket).await;
        let code = reason.as_ref().map(|reason| reason.code);
        tracing::info!(target: ACCESS, event = "gone", namespace = name, %entity, %peer, tracking, code);
        let _ticket = Arc::clone(&self.ticket);
        // The listener is out of the registry before the farewell, which may take a while.
        drop(self);
        socket.close(reason.as_ref()).await;
    }

    async fn serve(&mut self, socket: &mut Socket) -> Option<CloseReason> {
        let every = self.server.0.times.ping;
        let mut pings = interval_at(Instant::now() + every, every);
        pings.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let (mut missed, mut draining) = (0, false);
        let stop = self.server.0.stop.clone();
        loop {
            // What the listener was asked it may still answer.
            if draining && self.namespace.retire(self.id) == 0 && socket.backlog() == 0 {
                return Some(shutting_down());
            }
            let (backlog, stalled_at) = (socket.backlog(), socket.stalled_at());
            tokio::select! {
                event = socket.next_or_room(BACKLOG_BYTES_MAX) => match event {
                    Ok(None) => {}
                    Ok(Some(Event::Text(text))) => {
                        if let Err(reason) = self.message(&text) {
                            return Some(reason);
                        }
                    }
                    Ok(Some(Event::Close(reason))) => return reason,
                    Ok(Some(Event::Data { bytes, first, last })) => {
                        if let Err(reason) = self.data(&bytes, first, last) {
                            return Some(self.broken(reason));
                        }
                    }
                    Ok(Some(Event::Ping | Event::Pong)) => {}
                    Err(error) => {
                        tracing::debug!(peer = %self.peer, %error, "control channel failed");
                        let reason = error.close_reason();
                        return if error.is_its_fault() { reason.map(|reason| self.broken(reason)) } else { reason };
                    }
                },
                command = self.commands.recv(), if backlog <= BACKLOG_BYTES_MAX => match command {
                    Some(Command::Offer(id)) => self.offer(socket, &id),
                    Some(Command::Close(reason)) => return Some(reason),
                    None => return Some(CloseReason::new(CloseReason::POLICY, "The listener was removed.")),
                },
                () = sleep_until(stalled_at), if backlog > 0 => {
                    if socket.backlog() > 0 && socket.stalled_at() <= Instant::now() {
                        return Some(CloseReason::new(CloseReason::POLICY, "The listener takes no messages."));
                    }
                }
                _ = pings.tick() => {
                    missed = if socket.take_heard() { 0 } else { missed + 1 };
                    if missed > MISSED_PINGS_MAX {
                        return Some(CloseReason::new(CloseReason::POLICY, "The listener does not answer."));
                    }
                    if socket.unfinished_since().is_some_and(|since| since.elapsed() >= every) {
                        let reason = CloseReason::new(CloseReason::POLICY, "The listener does not end its message.");
                        return Some(self.broken(reason));
                    }
                    if socket.backlog() == 0 {
                        socket.queue_ping();
                    }
                }
                () = stop.cancelled(), if !draining => draining = true,
                () = sleep(DRAIN_CHECK), if draining => {}
                () = self.server.0.cut.cancelled() => return Some(shutting_down()),
            }
        }
    }

    /// The listener broke the protocol; the next ones of its source may have to wait.
    fn broken(&self, reason: CloseReason) -> CloseReason {
        self.server.0.probation.broken_by(self.ticket.source());
        reason
    }

    /// Tells the listener of a sender. Message and body go out as one.
    fn offer(&self, socket: &mut Socket, id: &RendezvousId) {
        if let Some(message) = self.namespace.message_for(self.id, id) {
            socket.queue_text(&message.text);
            if let Some(body) = message.body {
                socket.queue_data(&body, true, true);
            }
        }
    }

    fn message(&mut self, text: &str) -> Result<(), CloseReason> {
        let message = ListenerMessage::parse(text);
        let unreadable = |error| self.broken(CloseReason::new(CloseReason::POLICY, &format!("{error}")));
        let message = message.map_err(unreadable)?;
        match message {
            ListenerMessage::RenewToken(renew) => self.renew(&renew.token)?,
            ListenerMessage::Response(response) => self.response(response),
            ListenerMessage::Unknown => {}
        }
        Ok(())
    }

    fn response(&mut self, response: Response) {
        let wanted = self.namespace.responding(self.id, &response.request_id);
        let begun = self.responses.begin(response, wanted);
        if let Some(broken) = begun.broken
            && let Some(caller) = self.namespace.respond(self.id, &broken.request_id)
        {
            caller.refuse(Refusal::BadResponse("its body did not come"));
        }
        if let Some(response) = begun.complete {
            self.answer(response, Vec::new());
        }
    }

    fn data(&mut self, bytes: &[u8], first: bool, last: bool) -> Result<(), CloseReason> {
        let complete = self.responses.data(bytes, first, last);
        let complete =
            complete.map_err(|error| CloseReason::new(CloseReason::TOO_BIG, &error.to_string()))?;
        if let Some((response, body)) = complete {
            self.answer(response, body);
        }
        Ok(())
    }

    fn answer(&self, response: Response, body: Vec<u8>) {
        if let Some(caller) = self.namespace.respond(self.id, &response.request_id) {
            caller.respond(response, body);
        }
    }

    fn renew(&self, token: &secrecy::SecretString) -> Result<(), CloseReason> {
        self.namespace.renew(self.id, &self.entity, &self.path, token).map_err(|refusal| {
            let text = format!("The renewal was refused. {refusal}");
            CloseReason::new(CloseReason::POLICY, &text)
        })
    }
}

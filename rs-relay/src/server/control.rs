//! A listener's control channel.

use std::net::SocketAddr;

use tokio::sync::mpsc;
use tokio::time::{Instant, MissedTickBehavior, interval_at, sleep_until};

use super::RelayServer;
use super::namespace::Command;
use crate::net::socket::{Event, Socket};
use crate::proto::frame::CloseReason;
use crate::proto::registry::ListenerId;
use crate::proto::{EntityPath, ListenerMessage, RequestPath, Right};

/// Bytes that may wait for a slow listener before further senders are held back.
const BACKLOG_BYTES_MAX: usize = 256 * 1024;

/// Pings that may stay unanswered.
const MISSED_PINGS_MAX: u32 = 2;

/// A control channel. The listener is in the registry as long as this lives.
pub(crate) struct Channel {
    pub(crate) server: RelayServer,
    pub(crate) entity: EntityPath,
    pub(crate) path: RequestPath,
    pub(crate) id: ListenerId,
    pub(crate) peer: SocketAddr,
    pub(crate) tracking: String,
    pub(crate) commands: mpsc::Receiver<Command>,
}

impl Drop for Channel {
    fn drop(&mut self) {
        self.server.namespace.listener_gone(self.id);
    }
}

impl Channel {
    /// Serves the channel until one side ends it.
    pub(crate) async fn run(mut self, mut socket: Socket) {
        tracing::info!(peer = %self.peer, entity = %self.entity, tracking = self.tracking, "listening");
        let reason = self.serve(&mut socket).await;
        let (peer, entity) = (self.peer, self.entity.clone());
        tracing::info!(%peer, %entity, tracking = self.tracking, close = ?reason, "no longer listening");
        // The listener is out of the registry before the farewell, which may take a while.
        drop(self);
        socket.close(reason.as_ref()).await;
    }

    async fn serve(&mut self, socket: &mut Socket) -> Option<CloseReason> {
        let every = self.server.namespace.times().ping;
        let mut pings = interval_at(Instant::now() + every, every);
        pings.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut missed = 0;
        let stop = self.server.stop.clone();
        loop {
            let (backlog, stalled_at) = (socket.backlog(), socket.stalled_at());
            tokio::select! {
                event = socket.next() => match event {
                    Ok(Event::Text(text)) => {
                        if let Err(reason) = self.message(&text) {
                            return Some(reason);
                        }
                    }
                    Ok(Event::Close(reason)) => return reason,
                    Ok(Event::Binary | Event::Ping | Event::Pong) => {}
                    Err(error) => {
                        tracing::debug!(peer = %self.peer, %error, "control channel failed");
                        return error.close_reason();
                    }
                },
                command = self.commands.recv(), if backlog < BACKLOG_BYTES_MAX => match command {
                    Some(Command::Send(text)) => socket.queue_text(&text),
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
                    if socket.backlog() == 0 {
                        socket.queue_ping();
                    }
                }
                () = stop.cancelled() => {
                    return Some(CloseReason::new(CloseReason::GOING_AWAY, "The relay is shutting down."));
                }
            }
        }
    }

    fn message(&self, text: &str) -> Result<(), CloseReason> {
        let message = ListenerMessage::parse(text);
        let message = message.map_err(|error| CloseReason::new(CloseReason::POLICY, &error.to_string()))?;
        match message {
            ListenerMessage::RenewToken(renew) => self.renew(&renew.token),
            // HTTP is not relayed, so nobody waits for a response.
            ListenerMessage::Response(_) | ListenerMessage::Unknown => Ok(()),
        }
    }

    fn renew(&self, token: &secrecy::SecretString) -> Result<(), CloseReason> {
        let namespace = &self.server.namespace;
        match namespace.authorize(Some(token), Right::Listen, &self.path, &self.entity) {
            Ok(authorized) => {
                namespace.renew(self.id, &authorized);
                Ok(())
            }
            Err(refusal) => {
                let text = format!("The renewal was refused. {refusal}");
                Err(CloseReason::new(CloseReason::POLICY, &text))
            }
        }
    }
}

//! Who is let in: handshake, hello and gate.

use std::sync::Arc;

use rs_consent::keys::PublicKey;
use rs_consent::statement::Envelope;
use rs_consent::{Admission, EndCause, Permit, Refusal, RefusalCode};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::{timeout, timeout_at};
use uuid::Uuid;

use super::GOODBYE_WAIT;
use crate::channel::{Binding, Channel, ChannelError, FrameReceiver, FrameSender, HANDSHAKE_WAIT};
use crate::host::engine::Engine;
use crate::host::{HostEvent, Shared};
use crate::protocol::wire::CLIENT_NAME_BYTES_MAX;
use crate::protocol::{CLIENT_FRAME_BYTES_MAX, ClientMessage, NodeMessage, PROTOCOL_VERSION, WireFrame};
use crate::record::Digest;

/// An engineer who was let in.
pub(super) struct Admitted<S> {
    pub(super) sender: FrameSender<S>,
    pub(super) receiver: FrameReceiver<S>,
    pub(super) entry: Entry,
}

/// What is known of them.
pub(super) struct Entry {
    pub(super) permit: Permit,
    pub(super) assignment: Envelope,
    pub(super) client: String,
    pub(super) session: Uuid,
    pub(super) binding: Digest,
}

/// Why somebody was not let in.
pub(super) struct NotAdmitted {
    code: RefusalCode,
    explanation: String,
    engineer: Option<PublicKey>,
}

/// A change of the gate between admission and entry did not wait for this session, so it must not begin.
pub(super) fn still_open<E>(shared: &Shared<E>, permit: &Permit) -> Result<(), EndCause> {
    shared.gate.check(permit, &shared.clock.now()).map(drop)
}

pub(super) const fn refusal_of(cause: EndCause) -> RefusalCode {
    match cause {
        EndCause::Revoked => RefusalCode::GrantRevoked,
        EndCause::Expired => RefusalCode::GrantExpired,
        EndCause::ClockHeld => RefusalCode::GrantHeld,
        EndCause::RequestClosed => RefusalCode::NoOpenRequest,
        EndCause::AssignmentExpired => RefusalCode::AssignmentExpired,
        _ => RefusalCode::GateShut,
    }
}

pub(super) fn refused<E>(shared: &Shared<E>, not: NotAdmitted) {
    let NotAdmitted { code, explanation, engineer } = not;
    shared.observer.event(&HostEvent::Refused { code, explanation, engineer });
}

/// An error with all its causes, for the owner.
fn chain(error: &dyn std::error::Error) -> String {
    let causes = std::iter::successors(error.source(), |cause| cause.source());
    causes.fold(error.to_string(), |text, cause| format!("{text}: {cause}"))
}

/// Tells the other side the code and nothing of the inside; whether it hears it makes no difference.
pub(super) async fn say_refused<S: AsyncRead + AsyncWrite + Unpin>(
    sender: &mut FrameSender<S>,
    code: RefusalCode,
    message: String,
) {
    let goodbye = async {
        sender.reply(&NodeMessage::Refused { code, message }).await?;
        sender.close().await
    };
    let _unheard = timeout(GOODBYE_WAIT, goodbye).await;
}

/// Handshake, hello and gate. Whoever is refused has been told when this returns.
pub(super) async fn admit<E: Engine, S: AsyncRead + AsyncWrite + Unpin + Send>(
    shared: &Arc<Shared<E>>,
    stream: S,
) -> Result<Admitted<S>, NotAdmitted> {
    let deadline = tokio::time::Instant::now() + HANDSHAKE_WAIT;
    let no_channel = |error: &ChannelError| NotAdmitted {
        code: RefusalCode::Protocol,
        explanation: error.to_string(),
        engineer: None,
    };
    let channel = Channel::accept(stream, &shared.node).await.map_err(|error| no_channel(&error))?;
    let peer = channel.peer();
    let session = Uuid::new_v4();
    let exporter = channel.exporter().map_err(|error| no_channel(&error))?;
    let (mut sender, mut receiver) = channel.split();
    let hello = timeout_at(deadline, receiver.next_frame()).await;
    let outcome = match hello {
        Err(_) => Err((RefusalCode::Protocol, "no hello came in time".to_owned())),
        Ok(Err(error)) => Err((RefusalCode::Protocol, error.to_string())),
        Ok(Ok(frame)) => parse_hello(frame).and_then(|(assignment, client)| {
            let permit = admission(shared, assignment.clone(), peer)
                .map_err(|refusal| (refusal.code, chain(&refusal)))?;
            Ok((permit, assignment, client))
        }),
    };
    match outcome {
        Ok((permit, assignment, client)) => {
            let node = shared.node.public();
            let facts = Binding { node: &node, engineer: &peer, assignment: permit.assignment().id, session };
            let binding = exporter.binding(&facts);
            receiver.set_limit(CLIENT_FRAME_BYTES_MAX);
            Ok(Admitted { sender, receiver, entry: Entry { permit, assignment, client, session, binding } })
        }
        Err((code, explanation)) => {
            say_refused(&mut sender, code, code.explanation().to_owned()).await;
            Err(NotAdmitted { code, explanation, engineer: Some(peer) })
        }
    }
}

fn parse_hello(frame: Option<WireFrame>) -> Result<(Envelope, String), (RefusalCode, String)> {
    let protocol = |text: &str| (RefusalCode::Protocol, text.to_owned());
    let Some(WireFrame::Control(body)) = frame else {
        return Err(protocol("the first message is not a hello"));
    };
    match serde_json::from_slice(&body) {
        Ok(ClientMessage::Hello { versions, assignment, client }) => {
            if !versions.contains(&PROTOCOL_VERSION) {
                let spoken =
                    format!("the client speaks versions {versions:?}, this node speaks {PROTOCOL_VERSION}");
                return Err((RefusalCode::Version, spoken));
            }
            if client.len() > CLIENT_NAME_BYTES_MAX {
                return Err(protocol("the client's name is too long"));
            }
            Ok((assignment, client))
        }
        Ok(_) => Err(protocol("the first message is not a hello")),
        Err(error) => Err(protocol(&error.to_string())),
    }
}

fn admission<E>(shared: &Shared<E>, assignment: Envelope, peer: PublicKey) -> Result<Permit, Refusal> {
    let ask = Admission { assignment: Some(assignment), engineer_key: Some(peer) };
    shared.gate.admit(&ask, &shared.clock.now())
}

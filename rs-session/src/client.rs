//! The engineer's end of a session.
//!
//! [`Client::connect`] makes the encrypted channel to the one node that the assignment names, says hello, and is welcomed
//! or refused. After that everything that comes from the node is a record: the client checks each against the chain
//! before it hands it out, keeps the records as a file of its own if asked to, and signs a receipt at least every
//! 250 ms of activity or 64 KiB, so that neither side can later tell another story.

use std::io::Write;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use rs_consent::keys::{PublicKey, SigningKey};
use rs_consent::statement::Envelope;
use rs_consent::{AccessLevel, EndCause, RefusalCode};
use tokio::io::{AsyncRead, AsyncWrite};
use uuid::Uuid;

use crate::channel::{Binding, Channel, ChannelError, FrameReceiver, FrameSender, HANDSHAKE_WAIT};
use crate::protocol::{
    CatalogInForce, ClientMessage, Form, NODE_FRAME_BYTES_MAX, NodeMessage, Offered, PROTOCOL_VERSION,
    WireFrame,
};
use crate::record::{Checker, Content, FILE_HEADER, Fault, Frame, FrameError, Kind, Receipt, Stored};
use crate::signing::ReadyKey;

/// A receipt is signed at the latest when this many bytes of records came since the last one.
pub const RECEIPT_BYTES: usize = 64 * 1024;
/// A receipt for what came is signed at the latest when the last one is this old.
pub const RECEIPT_WAIT: Duration = Duration::from_millis(250);

/// Who connects, where to, on what grounds.
pub struct Credentials {
    /// The engineer's key.
    pub engineer: Arc<SigningKey>,
    /// The desk's signed assignment of this engineer.
    pub assignment: Envelope,
    /// Id of that assignment.
    pub assignment_id: Uuid,
    /// The node's key, as the assignment names it.
    pub node: PublicKey,
}

impl std::fmt::Debug for Credentials {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Credentials").field("assignment_id", &self.assignment_id).finish_non_exhaustive()
    }
}

/// What the node said when it let the engineer in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Welcome {
    /// Id of the session.
    pub session: Uuid,
    /// Name of the node.
    pub node_name: String,
    /// Level in force.
    pub level: AccessLevel,
    /// When the session ends at the latest.
    pub expires_at: chrono::DateTime<chrono::Utc>,
    /// What the level permits.
    pub operations: Vec<Offered>,
    /// The catalog behind it, as the node names it.
    pub catalog: Option<CatalogInForce>,
}

/// Why no session came about.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ConnectError {
    /// The node refused.
    #[error("the node refused ({code}): {message}")]
    Refused {
        /// Why, for programs.
        code: RefusalCode,
        /// Why, for people.
        message: String,
    },
    /// The channel could not be made or broke.
    #[error(transparent)]
    Channel(#[from] ChannelError),
    /// The node answered something else than welcome or refused, or its first record does not fit.
    #[error("the node broke the protocol: {0}")]
    Protocol(String),
    /// The engineer's own copy of the record cannot be written.
    #[error("the copy of the record cannot be written: {0}")]
    Copy(#[source] std::io::Error),
}

/// Why a session broke, as the engineer's side sees it.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SessionError {
    /// The channel broke before the end record came: the session was interrupted, not completed.
    #[error("the session was interrupted: {0}")]
    Channel(#[from] ChannelError),
    /// A record does not fit the chain: the node, or somebody with its key, tells another story than before.
    #[error(
        "the node's record does not fit what it sent before (record {sequence}: {fault}); the session is given up"
    )]
    Record {
        /// Number of the record.
        sequence: u64,
        /// What is wrong.
        fault: Fault,
    },
    /// What came is not a record or message.
    #[error("the node broke the protocol: {0}")]
    Protocol(String),
    /// The engineer's own copy of the record cannot be written.
    #[error("the copy of the record cannot be written: {0}")]
    Copy(#[source] std::io::Error),
}

impl From<FrameError> for SessionError {
    fn from(error: FrameError) -> Self {
        Self::Protocol(error.to_string())
    }
}

/// What comes from the node.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum ClientEvent {
    /// A record that fits the chain.
    Record {
        /// Its number.
        sequence: u64,
        /// Its content; `None` when the node kept it back because access had ended.
        content: Option<Content>,
    },
    /// The answer to a ping.
    Pong {
        /// As it was sent.
        token: u64,
    },
    /// The session is over; nothing follows.
    Ended {
        /// Why.
        cause: EndCause,
        /// Why, in words.
        message: String,
    },
}

/// The engineer's end of one session.
pub struct Client<S> {
    sender: FrameSender<S>,
    receiver: FrameReceiver<S>,
    signer: ReadyKey,
    welcome: Welcome,
    checker: Checker,
    /// When record 0 came, and how long the session could last from then on, by the node's clock.
    began: Option<(Instant, Duration)>,
    copy: Option<Box<dyn Write + Send>>,
    next_invocation: u64,
    bytes_since_receipt: usize,
    last_receipt: Instant,
    receipted: Option<u64>,
    ended: bool,
}

impl<S> std::fmt::Debug for Client<S> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Client").field("welcome", &self.welcome).finish_non_exhaustive()
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> Client<S> {
    /// Connects over `stream` and returns when the node has let the engineer in. `client` is the name of this program.
    /// With `copy`, every record is written there as it comes: the result is a record file of its own.
    ///
    /// # Errors
    /// [`ConnectError`].
    pub async fn connect(
        stream: S,
        credentials: Credentials,
        client: &str,
        copy: Option<Box<dyn Write + Send>>,
    ) -> Result<Self, ConnectError> {
        let signer = ReadyKey::new(&credentials.engineer).map_err(ChannelError::Stream)?;
        let channel = Channel::connect(stream, &credentials.engineer, credentials.node).await?;
        let exporter = channel.exporter()?;
        let (mut sender, mut receiver) = channel.split();
        receiver.set_limit(NODE_FRAME_BYTES_MAX);
        let hello = ClientMessage::Hello {
            versions: vec![PROTOCOL_VERSION],
            assignment: credentials.assignment,
            client: client.to_owned(),
        };
        sender.ask(&hello).await?;
        let answer = tokio::time::timeout(HANDSHAKE_WAIT, receiver.next_frame());
        let answer = answer.await.map_err(|_| ChannelError::Deadline)??;
        let welcome = welcome(answer)?;
        let mut this = Self {
            sender,
            receiver,
            signer,
            checker: Checker::new(Some(credentials.node)),
            began: None,
            copy,
            welcome,
            next_invocation: 1,
            bytes_since_receipt: 0,
            last_receipt: Instant::now(),
            receipted: None,
            ended: false,
        };
        this.copy(&FILE_HEADER).map_err(ConnectError::Copy)?;
        this.start().await?;
        let facts = Binding {
            node: &credentials.node,
            engineer: &credentials.engineer.public(),
            assignment: credentials.assignment_id,
            session: this.welcome.session,
        };
        match this.checker.identity() {
            Some(identity)
                if identity.session_id == this.welcome.session
                    && identity.channel_binding == exporter.binding(&facts) =>
            {
                Ok(this)
            }
            _ => Err(ConnectError::Protocol("record 0 is not of this channel and session".to_owned())),
        }
    }

    async fn start(&mut self) -> Result<(), ConnectError> {
        let first = tokio::time::timeout(HANDSHAKE_WAIT, self.next());
        match first.await.map_err(|_| ChannelError::Deadline)? {
            Ok(ClientEvent::Record { sequence: 0, .. }) => Ok(()),
            Ok(_) => Err(ConnectError::Protocol("record 0 is missing".to_owned())),
            Err(SessionError::Channel(error)) => Err(error.into()),
            Err(SessionError::Copy(error)) => Err(ConnectError::Copy(error)),
            Err(error) => Err(ConnectError::Protocol(error.to_string())),
        }
    }

    /// What the node said when it let the engineer in.
    #[must_use]
    pub const fn welcome(&self) -> &Welcome {
        &self.welcome
    }

    /// How long the session can still last, by the node's own clock: what is left of the consent, unless somebody ends it
    /// earlier. Zero when that time is over. The clock of this machine plays no part.
    #[must_use]
    pub fn remaining(&self) -> Duration {
        self.began.map_or(Duration::ZERO, |(since, left)| left.saturating_sub(since.elapsed()))
    }

    /// Whether the end record came.
    #[must_use]
    pub const fn has_ended(&self) -> bool {
        self.ended
    }

    /// Sends a line and returns its number. What comes of it comes from [`Self::next`].
    ///
    /// # Errors
    /// [`ChannelError`] when the channel broke.
    pub async fn invoke(
        &mut self,
        line: &str,
        form: Form,
        columns: Option<u16>,
    ) -> Result<u64, ChannelError> {
        let invocation = self.next_invocation;
        let message = ClientMessage::Invoke { invocation, line: line.to_owned(), form, columns };
        self.sender.ask(&message).await?;
        self.next_invocation += 1;
        Ok(invocation)
    }

    /// Asks the node to stop a running line.
    ///
    /// # Errors
    /// [`ChannelError`] when the channel broke.
    pub async fn interrupt(&mut self, invocation: u64) -> Result<(), ChannelError> {
        self.sender.ask(&ClientMessage::Interrupt { invocation }).await
    }

    /// Hands in a newer assignment.
    ///
    /// # Errors
    /// [`ChannelError`] when the channel broke.
    pub async fn renew(&mut self, assignment: Envelope) -> Result<(), ChannelError> {
        self.sender.ask(&ClientMessage::Renew { assignment }).await
    }

    /// Asks for a sign of life; [`ClientEvent::Pong`] answers.
    ///
    /// # Errors
    /// [`ChannelError`] when the channel broke.
    pub async fn ping(&mut self, token: u64) -> Result<(), ChannelError> {
        self.sender.ask(&ClientMessage::Ping { token }).await
    }

    /// Leaves: signs what was seen and says goodbye. [`ClientEvent::Ended`] follows.
    ///
    /// # Errors
    /// [`ChannelError`] when the channel broke.
    pub async fn bye(&mut self) -> Result<(), ChannelError> {
        self.receipt().await?;
        self.sender.ask(&ClientMessage::Bye).await
    }

    /// Closes this end of the channel in order, so that nobody in between takes it for a loss. Call it when the session
    /// has ended.
    ///
    /// # Errors
    /// [`ChannelError`] when the channel broke before.
    pub async fn close(&mut self) -> Result<(), ChannelError> {
        self.sender.close().await
    }

    /// The next thing from the node.
    ///
    /// # Cancel safety
    /// Nothing is lost if the future is dropped.
    ///
    /// # Errors
    /// [`SessionError`]; the session is over then.
    pub async fn next(&mut self) -> Result<ClientEvent, SessionError> {
        let frame = loop {
            if self.is_receipt_due() {
                // If the node has closed already, its end record is still on the way and says why.
                let _unsent = self.receipt().await;
            }
            let owed = self.bytes_since_receipt > 0 && !self.ended;
            let until_receipt = RECEIPT_WAIT.saturating_sub(self.last_receipt.elapsed());
            tokio::select! {
                biased;
                frame = self.receiver.next_frame() => break frame?,
                () = tokio::time::sleep(until_receipt), if owed => {}
            }
        };
        match frame {
            None => Err(ChannelError::Cut.into()),
            Some(WireFrame::Record(bytes)) => self.record(&bytes),
            Some(WireFrame::Control(body)) => match serde_json::from_slice(&body) {
                Ok(NodeMessage::Pong { token }) => Ok(ClientEvent::Pong { token }),
                Ok(_) => Err(SessionError::Protocol("a message came that has no place here".to_owned())),
                Err(error) => Err(SessionError::Protocol(error.to_string())),
            },
        }
    }

    fn record(&mut self, bytes: &Bytes) -> Result<ClientEvent, SessionError> {
        let frame = Frame::decode_shared(bytes)?;
        let sequence = frame.skeleton().sequence;
        if let Some(fault) = self.checker.take(&frame).into_iter().find(|fault| !fault.is_remark()) {
            return Err(SessionError::Record { sequence, fault });
        }
        self.copy(bytes).map_err(SessionError::Copy)?;
        if frame.skeleton().kind != Kind::Receipt {
            self.bytes_since_receipt += bytes.len();
        }
        self.began.get_or_insert_with(|| {
            let left = self.welcome.expires_at - frame.skeleton().wall_time;
            (Instant::now(), left.to_std().unwrap_or_default())
        });
        let content = match frame.content() {
            Stored::Removed | Stored::Sealed(_) => None,
            Stored::Present { bytes, .. } => Some(
                Content::decode(frame.skeleton().kind, bytes)
                    .map_err(|error| SessionError::Protocol(error.to_string()))?,
            ),
        };
        if let Some(cause) = frame.skeleton().end {
            self.ended = true;
            let message = match content {
                Some(Content::End(end)) => end.message,
                _ => String::new(),
            };
            return Ok(ClientEvent::Ended { cause, message });
        }
        Ok(ClientEvent::Record { sequence, content })
    }

    fn is_receipt_due(&self) -> bool {
        let overdue = self.bytes_since_receipt > 0 && self.last_receipt.elapsed() >= RECEIPT_WAIT;
        !self.ended && (overdue || self.bytes_since_receipt >= RECEIPT_BYTES)
    }

    async fn receipt(&mut self) -> Result<(), ChannelError> {
        let Some((sequence, link)) =
            self.checker.head().filter(|(sequence, _)| Some(*sequence) != self.receipted)
        else {
            return Ok(());
        };
        if self.bytes_since_receipt == 0 {
            return Ok(());
        }
        let receipt = Receipt::sign(&self.signer, self.welcome.session, sequence, link);
        self.checker.made_receipt(receipt.clone());
        self.receipted = Some(sequence);
        self.bytes_since_receipt = 0;
        self.last_receipt = Instant::now();
        self.sender.ask(&ClientMessage::Receipt(receipt)).await
    }

    fn copy(&mut self, bytes: &[u8]) -> std::io::Result<()> {
        let Some(copy) = &mut self.copy else { return Ok(()) };
        copy.write_all(bytes)?;
        copy.flush()
    }
}

fn welcome(answer: Option<WireFrame>) -> Result<Welcome, ConnectError> {
    let Some(WireFrame::Control(body)) = answer else { return Err(ChannelError::Cut.into()) };
    match serde_json::from_slice(&body) {
        Ok(NodeMessage::Welcome {
            version,
            session_id,
            node_name,
            access_level,
            expires_at,
            operations,
            catalog,
        }) => {
            if version != PROTOCOL_VERSION {
                return Err(ConnectError::Protocol(format!(
                    "it speaks version {version}, which was not offered"
                )));
            }
            Ok(Welcome {
                session: session_id,
                node_name,
                level: access_level,
                expires_at,
                operations,
                catalog,
            })
        }
        Ok(NodeMessage::Refused { code, message }) => Err(ConnectError::Refused { code, message }),
        Ok(_) => Err(ConnectError::Protocol("its first message is neither welcome nor refused".to_owned())),
        Err(error) => Err(ConnectError::Protocol(error.to_string())),
    }
}

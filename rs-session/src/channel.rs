//! The encrypted channel inside the relayed stream: TLS 1.3 with raw public keys (RFC 7250), both ends pinned.
//!
//! There are no certificates and no authorities: the node shows its Ed25519 key, the engineer theirs. The engineer's
//! client accepts the one node key that the desk's assignment names. The node accepts any Ed25519 key in the handshake
//! and lets it in only if a desk-signed assignment names that very key (see [`crate::host`]). The relay in between
//! sees a TLS handshake and ciphertext; it can cut the stream, and neither read it nor add to it.
//!
//! Tickets and resumption are off: each session has keys of its own.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use bytes::Buf as _;
use rs_consent::keys::{PublicKey, SigningKey};
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{
    CryptoProvider, WebPkiSupportedAlgorithms, aws_lc_rs, verify_tls13_signature_with_raw_key,
};
use rustls::pki_types::{CertificateDer, PrivatePkcs8KeyDer, ServerName, SubjectPublicKeyInfoDer, UnixTime};
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::sign::CertifiedKey;
use rustls::{
    CertificateError, ClientConfig, DigitallySignedStruct, DistinguishedName, Error, ServerConfig,
    SignatureScheme,
};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadHalf, WriteHalf};
use tokio_rustls::{TlsAcceptor, TlsConnector, TlsStream};
use uuid::Uuid;

use crate::journal::DurableRecord;
use crate::protocol::{
    ClientMessage, Decoder, Encoder, HELLO_BYTES_MAX, NodeMessage, PROTOCOL_VERSION, WireError, WireFrame,
};
use crate::record::Digest;

/// Longest time for the handshake and the hello together, before anybody is authenticated.
pub const HANDSHAKE_WAIT: Duration = Duration::from_secs(10);
/// Longest time that one frame may take to be written; a peer that does not read for this long is gone.
pub const WRITE_WAIT: Duration = Duration::from_secs(15);

/// The application protocol of both ends.
const ALPN: &[u8] = b"remote-support/1";
const EXPORTER_LABEL: &[u8] = b"EXPERIMENTAL remote-support session v1";
/// Stands where a host name would; the node is known by its key alone.
const NO_NAME: &str = "node.remote-support.invalid";

/// Why a channel could not be made or broke.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ChannelError {
    /// The handshake failed: another key than the pinned one, another protocol, or somebody in between.
    #[error("the encrypted channel could not be made: {0}")]
    Handshake(#[source] io::Error),
    /// It took longer than the deadline allows.
    #[error("the other side did not answer in time")]
    Deadline,
    /// A key of ours cannot be used.
    #[error("a key cannot be used: {0}")]
    Key(#[source] Error),
    /// The stream broke.
    #[error("the stream broke: {0}")]
    Stream(#[from] io::Error),
    /// The other side sent something that is not of this protocol.
    #[error("the other side broke the protocol: {0}")]
    Wire(#[from] WireError),
    /// The stream ended without the encrypted goodbye: somebody cut it.
    #[error("the stream was cut")]
    Cut,
}

/// The facts that a channel is bound to; both ends derive the same value only if they agree on every one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Binding<'a> {
    /// The node's key.
    pub node: &'a PublicKey,
    /// The engineer's key.
    pub engineer: &'a PublicKey,
    /// Id of the assignment, which names request and desk.
    pub assignment: Uuid,
    /// Id of the session.
    pub session: Uuid,
}

/// An authenticated channel, before it is taken apart.
#[derive(Debug)]
pub struct Channel<S> {
    stream: TlsStream<S>,
    peer: PublicKey,
}

/// The end of a channel that frames go into.
#[derive(Debug)]
pub struct FrameSender<S> {
    stream: WriteHalf<TlsStream<S>>,
    /// What a dropped future left unwritten; it goes out first.
    pending: Encoder,
}

/// The end of a channel that frames come out of.
#[derive(Debug)]
pub struct FrameReceiver<S> {
    stream: ReadHalf<TlsStream<S>>,
    decoder: Decoder,
}

impl<S: AsyncRead + AsyncWrite + Unpin> Channel<S> {
    /// The node's side of the handshake. The engineer's key is authenticated, not yet authorised: see [`Self::peer`].
    ///
    /// # Errors
    /// [`ChannelError`]; [`ChannelError::Deadline`] after [`HANDSHAKE_WAIT`].
    pub async fn accept(stream: S, node: &SigningKey) -> Result<Self, ChannelError> {
        let acceptor = TlsAcceptor::from(Arc::new(server_config(node)?));
        let handshake = tokio::time::timeout(HANDSHAKE_WAIT, acceptor.accept(stream));
        let stream = handshake.await.map_err(|_| ChannelError::Deadline)?.map_err(ChannelError::Handshake)?;
        Self::over(TlsStream::Server(stream))
    }

    /// The engineer's side of the handshake; succeeds with the node that holds the key `node` and with nobody else.
    ///
    /// # Errors
    /// [`ChannelError`]; [`ChannelError::Deadline`] after [`HANDSHAKE_WAIT`].
    pub async fn connect(stream: S, engineer: &SigningKey, node: PublicKey) -> Result<Self, ChannelError> {
        let connector = TlsConnector::from(Arc::new(client_config(engineer, node)?));
        let name = ServerName::try_from(NO_NAME)
            .map_err(|error| ChannelError::Key(Error::General(error.to_string())))?;
        let handshake = tokio::time::timeout(HANDSHAKE_WAIT, connector.connect(name, stream));
        let stream = handshake.await.map_err(|_| ChannelError::Deadline)?.map_err(ChannelError::Handshake)?;
        Self::over(TlsStream::Client(stream))
    }

    fn over(stream: TlsStream<S>) -> Result<Self, ChannelError> {
        let (_, connection) = stream.get_ref();
        let peer = connection
            .peer_certificates()
            .and_then(|keys| keys.first())
            .and_then(|key| public_key(key))
            .ok_or(ChannelError::Handshake(io::Error::other("the other side showed no Ed25519 key")))?;
        Ok(Self { stream, peer })
    }

    /// The key that the other side proved to hold.
    #[must_use]
    pub const fn peer(&self) -> PublicKey {
        self.peer
    }

    /// The secret that only the two ends of this very channel know, for [`Exporter::binding`].
    ///
    /// # Errors
    /// [`ChannelError::Key`] when the TLS library cannot export it.
    pub fn exporter(&self) -> Result<Exporter, ChannelError> {
        let empty = [0_u8; 32];
        let secret = match &self.stream {
            TlsStream::Client(stream) => {
                stream.get_ref().1.export_keying_material(empty, EXPORTER_LABEL, None)
            }
            TlsStream::Server(stream) => {
                stream.get_ref().1.export_keying_material(empty, EXPORTER_LABEL, None)
            }
        };
        secret.map(Exporter).map_err(ChannelError::Key)
    }

    /// The two ends of the channel. Frames from the other side are limited to [`HELLO_BYTES_MAX`] until
    /// [`FrameReceiver::set_limit`] says otherwise.
    #[must_use]
    pub fn split(self) -> (FrameSender<S>, FrameReceiver<S>) {
        let (reader, writer) = tokio::io::split(self.stream);
        let receiver = FrameReceiver { stream: reader, decoder: Decoder::new(HELLO_BYTES_MAX) };
        (FrameSender { stream: writer, pending: Encoder::default() }, receiver)
    }
}

/// What a channel's keys and a session's facts are tied together with.
pub struct Exporter([u8; 32]);

impl std::fmt::Debug for Exporter {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Exporter")
    }
}

impl Exporter {
    /// A value that both ends derive from the keys of their channel and from `facts`; it is the same only if they
    /// speak through the same channel and agree on every fact.
    #[must_use]
    pub fn binding(&self, facts: &Binding<'_>) -> Digest {
        Digest::of_parts(&[
            &self.0,
            &PROTOCOL_VERSION.to_be_bytes(),
            facts.node.as_bytes(),
            facts.engineer.as_bytes(),
            facts.assignment.as_bytes(),
            facts.session.as_bytes(),
        ])
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> FrameSender<S> {
    /// Shows a record to the engineer. This is the only way by which anything of the node's reaches them, and it takes
    /// nothing that is not durable.
    ///
    /// # Errors
    /// [`ChannelError::Stream`], [`ChannelError::Deadline`] after [`WRITE_WAIT`].
    pub async fn show(&mut self, record: &DurableRecord) -> Result<(), ChannelError> {
        self.pending.record(record.frame());
        self.write().await
    }

    /// Shows only the place of a record in the chain; its content stays on the node.
    ///
    /// # Errors
    /// As [`Self::show`].
    pub async fn show_skeleton(&mut self, record: &DurableRecord) -> Result<(), ChannelError> {
        self.pending.record(&record.frame().clone().without_content());
        self.write().await
    }

    /// Answers the engineer outside the record: welcome, refused, pong.
    ///
    /// # Errors
    /// As [`Self::show`].
    pub async fn reply(&mut self, message: &NodeMessage) -> Result<(), ChannelError> {
        self.pending.control(message)?;
        self.write().await
    }

    /// Says something to the node.
    ///
    /// # Errors
    /// As [`Self::show`].
    pub async fn ask(&mut self, message: &ClientMessage) -> Result<(), ChannelError> {
        self.pending.control(message)?;
        self.write().await
    }

    /// Ends this direction with the encrypted goodbye.
    ///
    /// # Errors
    /// As [`Self::show`].
    pub async fn close(&mut self) -> Result<(), ChannelError> {
        let shutdown = tokio::time::timeout(WRITE_WAIT, self.stream.shutdown());
        Ok(shutdown.await.map_err(|_| ChannelError::Deadline)??)
    }

    /// Cancel-safe: a frame that was begun is completed by the next call.
    async fn write(&mut self) -> Result<(), ChannelError> {
        let write = async {
            while self.pending.has_remaining() {
                self.stream.write_buf(&mut self.pending).await?;
            }
            self.stream.flush().await
        };
        Ok(tokio::time::timeout(WRITE_WAIT, write).await.map_err(|_| ChannelError::Deadline)??)
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> FrameReceiver<S> {
    /// Changes how long a frame may be from now on, in bytes.
    pub fn set_limit(&mut self, bytes: usize) {
        self.decoder.set_limit(bytes);
    }

    /// The next frame, or `None` after the other side's encrypted goodbye.
    ///
    /// # Cancel safety
    /// Nothing is lost if the future is dropped.
    ///
    /// # Errors
    /// [`ChannelError::Cut`] when the stream ended without that goodbye or inside a frame.
    pub async fn next_frame(&mut self) -> Result<Option<WireFrame>, ChannelError> {
        loop {
            if let Some(frame) = self.decoder.next_frame()? {
                return Ok(Some(frame));
            }
            match self.stream.read_buf(self.decoder.buffer()).await {
                Ok(0) if self.decoder.is_inside_frame() => return Err(ChannelError::Cut),
                Ok(0) => return Ok(None),
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Err(ChannelError::Cut),
                Err(error) => return Err(error.into()),
            }
        }
    }
}

fn server_config(node: &SigningKey) -> Result<ServerConfig, ChannelError> {
    let provider = Arc::new(aws_lc_rs::default_provider());
    let verifier = Arc::new(AnyEngineer { algorithms: provider.signature_verification_algorithms });
    let keys = rustls::server::AlwaysResolvesServerRawPublicKeys::new(own_key(node, &provider)?);
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])
        .map_err(ChannelError::Key)?
        .with_client_cert_verifier(verifier)
        .with_cert_resolver(Arc::new(keys));
    config.alpn_protocols = vec![ALPN.to_vec()];
    config.send_tls13_tickets = 0;
    Ok(config)
}

fn client_config(engineer: &SigningKey, node: PublicKey) -> Result<ClientConfig, ChannelError> {
    let provider = Arc::new(aws_lc_rs::default_provider());
    let verifier = Arc::new(PinnedNode { node, algorithms: provider.signature_verification_algorithms });
    let keys = rustls::client::AlwaysResolvesClientRawPublicKeys::new(own_key(engineer, &provider)?);
    let mut config = ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])
        .map_err(ChannelError::Key)?
        .dangerous()
        .with_custom_certificate_verifier(verifier)
        .with_client_cert_resolver(Arc::new(keys));
    config.alpn_protocols = vec![ALPN.to_vec()];
    config.resumption = rustls::client::Resumption::disabled();
    config.enable_sni = false;
    Ok(config)
}

fn own_key(key: &SigningKey, provider: &CryptoProvider) -> Result<Arc<CertifiedKey>, ChannelError> {
    let der = key.to_pkcs8_der().map_err(|error| ChannelError::Key(Error::General(error.to_string())))?;
    let der = PrivatePkcs8KeyDer::from(der.as_slice()).clone_key();
    let signing = provider.key_provider.load_private_key(der.into()).map_err(ChannelError::Key)?;
    let spki = CertificateDer::from(key.public().to_spki_der());
    Ok(Arc::new(CertifiedKey::new(vec![spki], signing)))
}

fn public_key(spki: &[u8]) -> Option<PublicKey> {
    PublicKey::from_spki_der(spki).ok()
}

fn check_signature(
    message: &[u8],
    key: &CertificateDer<'_>,
    signature: &DigitallySignedStruct,
    algorithms: &WebPkiSupportedAlgorithms,
) -> Result<HandshakeSignatureValid, Error> {
    if signature.scheme != SignatureScheme::ED25519 {
        return Err(Error::General("only Ed25519 signatures are accepted".to_owned()));
    }
    verify_tls13_signature_with_raw_key(
        message,
        &SubjectPublicKeyInfoDer::from(key.as_ref()),
        signature,
        algorithms,
    )
}

fn no_tls12() -> Error {
    Error::General("TLS 1.2 is not spoken here".to_owned())
}

/// Takes exactly one key for the node's.
#[derive(Debug)]
struct PinnedNode {
    node: PublicKey,
    algorithms: WebPkiSupportedAlgorithms,
}

impl ServerCertVerifier for PinnedNode {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        if public_key(end_entity) == Some(self.node) {
            Ok(ServerCertVerified::assertion())
        } else {
            Err(Error::InvalidCertificate(CertificateError::ApplicationVerificationFailure))
        }
    }

    fn verify_tls12_signature(
        &self,
        _message: &[u8],
        _cert: &CertificateDer<'_>,
        _dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Err(no_tls12())
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        check_signature(message, cert, dss, &self.algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        vec![SignatureScheme::ED25519]
    }

    fn requires_raw_public_keys(&self) -> bool {
        true
    }
}

/// Takes any well-formed Ed25519 key in the handshake; the assignment decides whether it gets in.
#[derive(Debug)]
struct AnyEngineer {
    algorithms: WebPkiSupportedAlgorithms,
}

impl ClientCertVerifier for AnyEngineer {
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &[]
    }

    fn verify_client_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        match public_key(end_entity) {
            Some(_) => Ok(ClientCertVerified::assertion()),
            None => Err(Error::InvalidCertificate(CertificateError::BadEncoding)),
        }
    }

    fn verify_tls12_signature(
        &self,
        _message: &[u8],
        _cert: &CertificateDer<'_>,
        _dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Err(no_tls12())
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        check_signature(message, cert, dss, &self.algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        vec![SignatureScheme::ED25519]
    }

    fn requires_raw_public_keys(&self) -> bool {
        true
    }
}

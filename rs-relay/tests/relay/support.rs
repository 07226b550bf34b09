//! A relay on a free port of the loopback, clients for it, and bare sockets that speak the protocol by hand.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use rs_relay::client::{
    Connector, HybridConnection, Incoming, KeepAlive, Listener, RelayStream, Sender, Trust,
};
use rs_relay::proto::frame::{Opcode, append_frame};
use rs_relay::proto::{
    Authority, AuthorizationRule, ConnectionString, Credential, EntityPath, Right, Rules, SasToken,
    SharedKey, resource,
};
use rs_relay::server::{DevCertificate, RelayServer, RelayServerBuilder, TlsTransport, dev_certificate};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadBuf};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

/// No test waits longer than this for anything.
pub(crate) const LONG: Duration = Duration::from_secs(30);

pub(crate) const LISTEN_KEY: &str = "listen key";
pub(crate) const SEND_KEY: &str = "send key";

/// Fails instead of hanging.
#[track_caller]
pub(crate) fn soon<T>(future: impl Future<Output = T>) -> impl Future<Output = T> {
    let place = std::panic::Location::caller();
    async move {
        tokio::time::timeout(LONG, future).await.unwrap_or_else(|_| panic!("it took too long at {place}"))
    }
}

/// Asks until the answer is yes.
pub(crate) async fn eventually(what: &str, mut yes: impl FnMut() -> bool) {
    let ask = async {
        while !yes() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(LONG, ask).await.unwrap_or_else(|_| panic!("never: {what}"));
}

/// Moves the runtime's clock forward; wants a runtime with one thread.
pub(crate) async fn leap(by: Duration) {
    tokio::time::pause();
    tokio::time::advance(by).await;
    tokio::time::resume();
}

/// Lets bytes that are on their way between tasks of this process arrive, after a [`leap`].
pub(crate) async fn settle() {
    for _ in 0..20 {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}

pub(crate) struct Relay {
    pub(crate) server: RelayServer,
    pub(crate) authority: Authority,
    pub(crate) certificate: Arc<DevCertificate>,
    task: tokio::task::JoinHandle<()>,
}

impl Relay {
    pub(crate) async fn start() -> Self {
        Self::start_with(|builder| builder).await
    }

    pub(crate) async fn start_with(set: impl FnOnce(RelayServerBuilder) -> RelayServerBuilder) -> Self {
        let certificate = Arc::new(dev_certificate(["localhost", "127.0.0.1"]).unwrap());
        Self::start_at("127.0.0.1:0", certificate, set).await
    }

    pub(crate) async fn start_at(
        address: &str,
        certificate: Arc<DevCertificate>,
        set: impl FnOnce(RelayServerBuilder) -> RelayServerBuilder,
    ) -> Self {
        let transport =
            TlsTransport::bind(address.to_owned(), &certificate.server_pem(), certificate.key_pem())
                .await
                .unwrap();
        let port = transport.local_addr().unwrap().port();
        let authority = Authority::new("localhost", port).unwrap();
        let builder = RelayServer::builder([authority.clone()]).rules(rules()).refusal_delay(Duration::ZERO);
        let server = set(builder).build().unwrap();
        let serving = server.clone();
        let task = tokio::spawn(async move { serving.serve(transport).await.unwrap() });
        Self { server, authority, certificate, task }
    }

    /// Cuts everything at once and frees the port.
    pub(crate) async fn stop(self) -> (Authority, Arc<DevCertificate>) {
        self.server.shutdown(Duration::ZERO).await;
        self.task.await.unwrap();
        (self.authority, self.certificate)
    }

    pub(crate) fn trust(&self) -> Trust {
        Trust::Only(self.certificate.authority_pem().as_bytes().to_vec())
    }

    pub(crate) fn connector(&self) -> Connector {
        Connector::builder().trust(self.trust()).build().unwrap()
    }

    pub(crate) fn connection(&self, entity: &str, key_name: &str, key: &str) -> HybridConnection {
        let credential = Credential::Key { name: key_name.parse().unwrap(), key: key.parse().unwrap() };
        let entity: EntityPath = entity.parse().unwrap();
        let text = ConnectionString::new(self.authority.clone(), Some(entity), credential);
        HybridConnection::from_connection_string(&text).unwrap()
    }

    pub(crate) fn sender(&self, entity: &str) -> Sender {
        Sender::new(self.connection(entity, "send", SEND_KEY), self.connector())
    }

    pub(crate) async fn listener(&self, entity: &str) -> Listener {
        let listener =
            Listener::builder(self.connection(entity, "listen", LISTEN_KEY), self.connector()).start();
        assert!(soon(listener.status().online()).await);
        listener
    }

    /// A listener that echoes every connection until its end.
    pub(crate) async fn echo(&self, entity: &str) -> tokio::task::JoinHandle<()> {
        let mut listener = self.listener(entity).await;
        tokio::spawn(async move {
            while let Some(incoming) = listener.accept().await {
                tokio::spawn(echo(incoming));
            }
        })
    }

    /// A sender and a listener, joined.
    pub(crate) async fn pair(&self, entity: &str) -> (RelayStream, RelayStream) {
        let mut listener = self.listener(entity).await;
        let sender = self.sender(entity).keep_alive(KeepAlive::Ping(Duration::from_secs(60)));
        let (sent, accepted) = soon(async {
            tokio::join!(sender.connect(), async { listener.accept().await.unwrap().accept().await })
        })
        .await;
        (sent.unwrap(), accepted.unwrap())
    }

    /// A token for an entity that lives for `seconds`.
    pub(crate) fn token(&self, entity: &str, name: &str, key: &str, seconds: i64) -> String {
        let entity: EntityPath = entity.parse().unwrap();
        let now: chrono::DateTime<chrono::Utc> = std::time::SystemTime::UNIX_EPOCH.into();
        #[expect(clippy::disallowed_methods, reason = "tokens for a server with the real clock")]
        let passed = std::time::SystemTime::now().duration_since(std::time::SystemTime::UNIX_EPOCH).unwrap();
        let until = now + passed + chrono::TimeDelta::seconds(seconds);
        let resource = resource(&self.authority, Some(&entity));
        SasToken::mint(&resource, &name.parse().unwrap(), &key.parse().unwrap(), until).expose().to_owned()
    }

    pub(crate) fn tls_config(&self) -> Arc<rustls::ClientConfig> {
        let mut roots = rustls::RootCertStore::empty();
        roots
            .add(CertificateDer::from_pem_slice(self.certificate.authority_pem().as_bytes()).unwrap())
            .unwrap();
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let config = rustls::ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots)
            .with_no_client_auth();
        Arc::new(config)
    }

    pub(crate) async fn tls(&self) -> TlsStream<TcpStream> {
        let tcp = TcpStream::connect(("127.0.0.1", self.authority.port())).await.unwrap();
        let name = ServerName::try_from("localhost").unwrap();
        TlsConnector::from(self.tls_config()).connect(name, tcp).await.unwrap()
    }

    /// Sends a handshake by hand, with frames right behind it.
    pub(crate) async fn open(&self, target: &str, headers: &[(&str, &str)], early: &[u8]) -> Bare {
        let mut io = self.tls().await;
        let mut head = format!(
            "GET {target} HTTP/1.1\r\nHost: {}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
             Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n",
            self.authority
        );
        for (name, value) in headers {
            head.push_str(&format!("{name}: {value}\r\n"));
        }
        io.write_all(&[head.as_bytes(), b"\r\n", early].concat()).await.unwrap();
        Bare { io, input: Vec::new() }
    }

    /// Sends bytes by hand.
    pub(crate) async fn raw(&self, bytes: &[u8]) -> Bare {
        let mut io = self.tls().await;
        io.write_all(bytes).await.unwrap();
        Bare { io, input: Vec::new() }
    }

    /// Status line of a handshake for a host of one's choice, without a token.
    pub(crate) async fn open_for(&self, host: &str, target: &str) -> String {
        let head = format!(
            "GET {target} HTTP/1.1\r\nHost: {host}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
             Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
        );
        self.raw(head.as_bytes()).await.head().await.0
    }

    /// A control channel by hand.
    pub(crate) async fn bare_listener(&self, entity: &str, token: &str) -> Bare {
        let target = format!("/$hc/{entity}?sb-hc-action=listen");
        let mut bare = self.open(&target, &[("ServiceBusAuthorization", token)], b"").await;
        let (status, _) = bare.head().await;
        assert_eq!(status, "HTTP/1.1 101 Switching Protocols");
        bare
    }

    /// A sender and a listener by hand, joined. `early` is sent along with both handshakes.
    pub(crate) async fn bare_pair(&self, entity: &str, early: [&[u8]; 2]) -> (Bare, Bare) {
        let token = self.token(entity, "listen", LISTEN_KEY, 3600);
        let mut control = self.bare_listener(entity, &token).await;
        let token = self.token(entity, "send", SEND_KEY, 3600);
        let target = format!("/$hc/{entity}?sb-hc-action=connect");
        let mut sender = self.open(&target, &[("ServiceBusAuthorization", &token)], early[0]).await;
        let mut listener = self.open(&control.accept_target().await, &[], early[1]).await;
        assert!(listener.head().await.0.contains(" 101 "));
        assert!(sender.head().await.0.contains(" 101 "));
        (sender, listener)
    }
}

/// A frame as it was on the wire.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Frame {
    pub(crate) fin: bool,
    pub(crate) opcode: u8,
    pub(crate) payload: Vec<u8>,
}

impl Frame {
    pub(crate) fn close(code: u16, text: &str) -> Self {
        Self { fin: true, opcode: 8, payload: [&code.to_be_bytes(), text.as_bytes()].concat() }
    }
}

pub(crate) const MASK: Option<[u8; 4]> = Some([1, 2, 3, 4]);

/// A masked frame.
pub(crate) fn frame(opcode: Opcode, fin: bool, payload: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    append_frame(&mut out, opcode, fin, payload, MASK);
    out
}

/// A socket driven by hand.
pub(crate) struct Bare {
    pub(crate) io: TlsStream<TcpStream>,
    input: Vec<u8>,
}

impl Bare {
    /// Status line and headers of the answer.
    pub(crate) async fn head(&mut self) -> (String, String) {
        soon(async {
            loop {
                if let Some(end) = self.input.windows(4).position(|bytes| bytes == b"\r\n\r\n") {
                    let head = String::from_utf8(self.input.drain(..end + 4).collect()).unwrap();
                    let (status, headers) = head.split_once("\r\n").unwrap();
                    return (status.to_owned(), headers.to_ascii_lowercase());
                }
                assert!(self.read().await, "end before the head: {:?}", String::from_utf8_lossy(&self.input));
            }
        })
        .await
    }

    async fn read(&mut self) -> bool {
        matches!(self.io.read_buf(&mut self.input).await, Ok(read) if read > 0)
    }

    /// The next frame; `None` at the end of the stream.
    pub(crate) async fn frame(&mut self) -> Option<Frame> {
        soon(async {
            loop {
                if let Some((frame, length)) = parse(&self.input) {
                    self.input.drain(..length);
                    return Some(frame);
                }
                if !self.read().await {
                    return None;
                }
            }
        })
        .await
    }

    /// The next frame that is no Ping.
    pub(crate) async fn next(&mut self) -> Option<Frame> {
        loop {
            match self.frame().await {
                Some(frame) if frame.opcode == 9 => {}
                other => return other,
            }
        }
    }

    pub(crate) async fn send(&mut self, opcode: Opcode, fin: bool, payload: &[u8]) {
        self.io.write_all(&frame(opcode, fin, payload)).await.unwrap();
        self.io.flush().await.unwrap();
    }

    /// Waits for an accept message and gives the target of its address.
    pub(crate) async fn accept_target(&mut self) -> String {
        let accept = self.accept().await;
        let address = accept["accept"]["address"].as_str().unwrap();
        address[address.find("/$hc").unwrap()..].to_owned()
    }

    pub(crate) async fn accept(&mut self) -> serde_json::Value {
        let frame = self.next().await.unwrap();
        assert_eq!((frame.fin, frame.opcode), (true, 1));
        serde_json::from_slice(&frame.payload).unwrap()
    }
}

/// An unmasked frame, read without the code under test.
fn parse(input: &[u8]) -> Option<(Frame, usize)> {
    let (first, second) = (*input.first()?, *input.get(1)?);
    assert_eq!(second & 0x80, 0, "a server must not mask");
    let (length, at) = match second {
        126 => (u64::from(u16::from_be_bytes(input.get(2..4)?.try_into().unwrap())), 4),
        127 => (u64::from_be_bytes(input.get(2..10)?.try_into().unwrap()), 10),
        short => (u64::from(short), 2),
    };
    let end = at + usize::try_from(length).unwrap();
    let payload = input.get(at..end)?.to_vec();
    Some((Frame { fin: first & 0x80 != 0, opcode: first & 0x0f, payload }, end))
}

/// A stream that can be frozen: nothing comes, nothing goes, and nobody is told.
pub(crate) struct Valve<S> {
    pub(crate) io: S,
    pub(crate) open: tokio::sync::watch::Receiver<bool>,
}

impl<S: AsyncRead + Unpin> AsyncRead for Valve<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<std::io::Result<()>> {
        if !*self.open.borrow() {
            return Poll::Pending;
        }
        Pin::new(&mut self.io).poll_read(cx, buf)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Valve<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<std::io::Result<usize>> {
        if !*self.open.borrow() {
            return Poll::Pending;
        }
        Pin::new(&mut self.io).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.io).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(cx)
    }
}

pub(crate) async fn echo(incoming: Incoming) {
    let Ok(stream) = incoming.accept().await else { return };
    let (mut reader, mut writer) = tokio::io::split(stream);
    if tokio::io::copy(&mut reader, &mut writer).await.is_ok() {
        let _ = writer.shutdown().await;
    }
}

pub(crate) fn rules() -> Rules {
    let rule = |name: &str, right, key: &str| {
        AuthorizationRule::new(name.parse().unwrap(), [right], key.parse::<SharedKey>().unwrap())
    };
    Rules::new([rule("listen", Right::Listen, LISTEN_KEY), rule("send", Right::Send, SEND_KEY)]).unwrap()
}

/// Sends, ends the own direction, and reads to the end.
pub(crate) async fn round_trip(stream: &mut RelayStream, bytes: &[u8]) -> Vec<u8> {
    let (mut reader, mut writer) = tokio::io::split(stream);
    let write = async {
        writer.write_all(bytes).await.unwrap();
        writer.shutdown().await.unwrap();
    };
    let mut back = Vec::new();
    let (_, read) = tokio::join!(write, reader.read_to_end(&mut back));
    read.unwrap();
    back
}

/// Bytes that differ from one another.
pub(crate) fn pattern(length: usize, seed: usize) -> Vec<u8> {
    (0..length).map(|index| ((index * 31 + seed * 17 + index / 251) % 256) as u8).collect()
}

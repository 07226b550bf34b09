//! Azure's service as far as a client sees it, played by hand: names, reason phrases, addresses at other hosts, close
//! codes. Each test is its script. Facts are from public documents, the official SDKs and quoted traffic; nothing here
//! shares code with our own server.

use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use rs_relay::client::{
    Audience, Connector, Dialer, HybridConnection, Listener, ListenerBuilder, SasKeyProvider, Sender, Token,
    TokenProvider, TokenProviderError, Trust,
};
use rs_relay::proto::Authority;
use rs_relay::server::{DevCertificate, dev_certificate};
use rs_relay::{BoxedStream, Clock};
use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};
use tokio::sync::mpsc;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

use crate::sim::{SimClock, acceptor};
use crate::support::soon;

pub(super) const NAMESPACE: &str = "contoso.servicebus.windows.net";

/// The instance that holds a sender, by its own name.
pub(super) const GATEWAY: &str = "g12-prod-by3-010-sb.servicebus.windows.net";

/// Hands each dialed stream to the service, and says which host was meant.
#[derive(Debug)]
struct Wires(mpsc::UnboundedSender<(Authority, DuplexStream)>);

#[async_trait]
impl Dialer for Wires {
    async fn dial(&self, authority: &Authority) -> std::io::Result<BoxedStream> {
        let (client, service) = tokio::io::duplex(256 * 1024);
        let gone = |_| std::io::ErrorKind::ConnectionRefused;
        self.0.send((authority.clone(), service)).map_err(gone)?;
        Ok(Box::new(client))
    }
}

/// Tokens from a key, counted; and how often one was reported as refused.
#[derive(Debug)]
pub(super) struct Tokens {
    source: SasKeyProvider,
    pub(super) made: Mutex<usize>,
    pub(super) refused: Mutex<usize>,
}

#[async_trait]
impl TokenProvider for Tokens {
    async fn token(&self, audience: &Audience<'_>) -> Result<Token, TokenProviderError> {
        *self.made.lock().unwrap() += 1;
        self.source.token(audience).await
    }

    fn refused(&self) {
        *self.refused.lock().unwrap() += 1;
    }
}

pub(super) struct Azure {
    wires: Arc<Wires>,
    dialed: mpsc::UnboundedReceiver<(Authority, DuplexStream)>,
    acceptor: TlsAcceptor,
    certificate: DevCertificate,
    clock: Arc<SimClock>,
    pub(super) tokens: Arc<Tokens>,
}

impl Azure {
    pub(super) fn new() -> Self {
        let certificate = dev_certificate([NAMESPACE, GATEWAY]).unwrap();
        let (wires, dialed) = mpsc::unbounded_channel();
        let clock = SimClock::new();
        let of_clock: Arc<dyn Clock> = clock.clone();
        let source = SasKeyProvider::new("root".parse().unwrap(), "a key".parse().unwrap()).clock(of_clock);
        let tokens = Tokens { source, made: Mutex::default(), refused: Mutex::default() };
        Self {
            wires: Arc::new(Wires(wires)),
            dialed,
            acceptor: acceptor(&certificate),
            certificate,
            clock,
            tokens: Arc::new(tokens),
        }
    }

    fn connection(&self) -> HybridConnection {
        let tokens: Arc<dyn TokenProvider> = self.tokens.clone();
        HybridConnection::new(NAMESPACE.parse().unwrap(), "hyco".parse().unwrap()).with_tokens(tokens)
    }

    fn connector(&self) -> Connector {
        let trust = Trust::Only(self.certificate.authority_pem().as_bytes().to_vec());
        Connector::builder().trust(trust).dialer(self.wires.clone()).build().unwrap()
    }

    pub(super) fn listener(&self) -> ListenerBuilder {
        Listener::builder(self.connection(), self.connector()).clock(self.clock.clone())
    }

    pub(super) fn sender(&self) -> Sender {
        Sender::new(self.connection(), self.connector())
    }

    /// The next client that came, behind TLS.
    pub(super) async fn answer(&mut self) -> Caller {
        let (to, stream) = self.dialed.recv().await.unwrap();
        let io = soon(self.acceptor.accept(stream)).await.unwrap();
        Caller { to, io }
    }

    /// The next client that came, up to the head of its request.
    pub(super) async fn call(&mut self) -> Call {
        self.answer().await.head().await
    }

    /// A control channel whose handshake went well.
    pub(super) async fn control(&mut self) -> Channel {
        let call = self.call().await;
        assert!(call.target().contains("sb-hc-action=listen"), "{}", call.line);
        call.upgrade("").await
    }

    pub(super) fn nobody_calls(&mut self) -> bool {
        self.dialed.try_recv().is_err()
    }
}

/// A client that has said nothing yet.
pub(super) struct Caller {
    to: Authority,
    io: TlsStream<DuplexStream>,
}

impl Caller {
    pub(super) async fn head(self) -> Call {
        let Self { to, mut io } = self;
        let mut input = Vec::new();
        let end = loop {
            if let Some(end) = input.windows(4).position(|bytes| bytes == b"\r\n\r\n") {
                break end;
            }
            let read = soon(io.read_buf(&mut input)).await.unwrap();
            assert!(read > 0, "the client left before its request");
        };
        let rest = input.split_off(end + 4);
        let head = String::from_utf8(input).unwrap();
        let mut lines = head.trim_end().split("\r\n").map(str::to_owned);
        let line = lines.next().unwrap();
        let headers = lines.map(|line| {
            let (name, value) = line.split_once(':').unwrap();
            (name.to_ascii_lowercase(), value.trim().to_owned())
        });
        Call { to, line, headers: headers.collect(), io, input: rest }
    }
}

/// A client that waits for an answer to its handshake.
pub(super) struct Call {
    /// The host that it dialed.
    pub(super) to: Authority,
    pub(super) line: String,
    headers: Vec<(String, String)>,
    io: TlsStream<DuplexStream>,
    input: Vec<u8>,
}

impl Call {
    pub(super) fn target(&self) -> &str {
        self.line.split(' ').nth(1).unwrap()
    }

    pub(super) fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(given, _)| given == name).map(|(_, value)| value.as_str())
    }

    /// Says no, with a status, a reason phrase, and lines of headers.
    pub(super) async fn refuse(mut self, status: &str, headers: &str) {
        let head = format!(
            "HTTP/1.1 {status}\r\nContent-Length: 0\r\nServer: Microsoft-HTTPAPI/2.0\r\nDate: Thu, 01 Jan 2026 00:00:00 \
             GMT\r\nConnection: close\r\n{headers}\r\n"
        );
        self.io.write_all(head.as_bytes()).await.unwrap();
        self.io.shutdown().await.unwrap();
    }

    pub(super) async fn upgrade(mut self, headers: &str) -> Channel {
        let key = self.header("sec-websocket-key").unwrap();
        let text = format!("{key}258EAFA5-E914-47DA-95CA-C5AB0DC85B11");
        let hash = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA1_FOR_LEGACY_USE_ONLY, text.as_bytes());
        let head = format!(
            "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nServer: Microsoft-HTTPAPI/2.0\r\nDate: Thu, 01 Jan \
             2026 00:00:00 GMT\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: {}\r\n{headers}\r\n",
            STANDARD.encode(hash)
        );
        self.io.write_all(head.as_bytes()).await.unwrap();
        Channel { io: self.io, input: self.input }
    }
}

/// A WebSocket, the service's side.
pub(super) struct Channel {
    io: TlsStream<DuplexStream>,
    input: Vec<u8>,
}

pub(super) const CONTINUATION: u8 = 0;
pub(super) const TEXT: u8 = 1;
pub(super) const BINARY: u8 = 2;
pub(super) const CLOSE: u8 = 8;
pub(super) const PING: u8 = 9;
pub(super) const PONG: u8 = 10;

impl Channel {
    /// A frame without a mask, as servers send them.
    pub(super) async fn frame(&mut self, opcode: u8, last: bool, payload: &[u8]) {
        let mut bytes = vec![opcode | if last { 0x80 } else { 0 }];
        match payload.len() {
            short @ 0..126 => bytes.push(u8::try_from(short).unwrap()),
            medium @ 126..65_536 => {
                bytes.push(126);
                bytes.extend(u16::try_from(medium).unwrap().to_be_bytes());
            }
            long => {
                bytes.push(127);
                bytes.extend((long as u64).to_be_bytes());
            }
        }
        bytes.extend(payload);
        self.io.write_all(&bytes).await.unwrap();
        self.io.flush().await.unwrap();
    }

    pub(super) async fn say(&mut self, text: &str) {
        self.frame(TEXT, true, text.as_bytes()).await;
    }

    /// Closes, waits for the echo, and ends the connection.
    pub(super) async fn close(mut self, code: u16, reason: &str) {
        self.frame(CLOSE, true, &[&code.to_be_bytes(), reason.as_bytes()].concat()).await;
        while self.next().await.is_some_and(|(opcode, _)| opcode != CLOSE) {}
        let _ = self.io.shutdown().await;
    }

    /// Opcode and payload of the next frame; `None` at the end of the connection.
    pub(super) async fn next(&mut self) -> Option<(u8, Vec<u8>)> {
        loop {
            if let Some((frame, length)) = unmasked(&self.input) {
                self.input.drain(..length);
                return Some(frame);
            }
            if !matches!(self.io.read_buf(&mut self.input).await, Ok(count) if count > 0) {
                return None;
            }
        }
    }

    /// The next text message, over what keeps the connection alive.
    pub(super) async fn text(&mut self) -> Value {
        loop {
            match self.next().await.unwrap() {
                (TEXT, text) => return serde_json::from_slice(&text).unwrap(),
                (PONG, _) => {}
                (opcode, _) => panic!("opcode {opcode} came in the place of a text"),
            }
        }
    }
}

/// A whole frame of a client.
fn unmasked(input: &[u8]) -> Option<((u8, Vec<u8>), usize)> {
    let (first, second) = (*input.first()?, *input.get(1)?);
    assert_ne!(second & 0x80, 0, "a client must mask");
    let (length, at) = match second & 0x7f {
        126 => (u64::from(u16::from_be_bytes(input.get(2..4)?.try_into().unwrap())), 4),
        127 => (u64::from_be_bytes(input.get(2..10)?.try_into().unwrap()), 10),
        short => (u64::from(short), 2),
    };
    let (mask, begin) = (input.get(at..at + 4)?, at + 4);
    let end = begin + usize::try_from(length).unwrap();
    let payload = input.get(begin..end)?.iter().zip(mask.iter().cycle()).map(|(byte, mask)| byte ^ mask);
    Some(((first & 0x0f, payload.collect()), end))
}

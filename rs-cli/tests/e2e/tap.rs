//! A relay whose operator listens in: the real server, with everything that it reads and writes behind its TLS noted, and
//! bytes flipped on demand.

use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, ready};

use rs_cli::state::Role;
use rs_consent::{Assignment, Envelope};
use rs_relay::client::{Connector, HybridConnection, Trust};
use rs_relay::proto::{Authority, AuthorizationRule, ConnectionString, Right, Rules, SharedKey};
use rs_relay::server::{RelayServer, TlsTransport, Transport, dev_certificate};
use rs_session::client::Credentials;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::machine::chmod;
use crate::site::{Site, files};

/// How to get to the relay of a site as `listen` or `send`.
pub(crate) fn reach(site: &Site, side: &str) -> (HybridConnection, Connector) {
    let folder = site.role(Role::Relay);
    let text = std::fs::read_to_string(folder.join(format!("{side}.connection-string"))).expect("a file");
    let text: ConnectionString = text.trim().parse().expect("a connection string");
    let authority = std::fs::read(folder.join("ca.pem")).expect("a file");
    let connector = Connector::builder().trust(Trust::Only(authority)).build().expect("an authority");
    (HybridConnection::from_connection_string(&text).expect("an entity"), connector)
}

/// The newest paper of the desk, signed and read.
pub(crate) fn newest_assignment(site: &Site) -> (Envelope, Assignment) {
    let papers = files(&site.role(Role::Desk).join("requests"));
    let path = papers.iter().find(|path| path.to_string_lossy().ends_with(".assignment.json"));
    let envelope = std::fs::read(path.expect("assigned")).expect("a file");
    let envelope = Envelope::from_json(&envelope).expect("an envelope");
    let assignment = envelope.open(&[envelope.claimed_key()]).expect("an assignment");
    (envelope, assignment)
}

/// What the engineer of a site shows, for a client in this process.
pub(crate) fn credentials(site: &Site) -> Credentials {
    let (assignment, read) = newest_assignment(site);
    let engineer = Arc::new(site.key(Role::Engineer));
    Credentials { engineer, assignment, assignment_id: read.id, node: read.node.key }
}

/// Which way relayed bytes go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Way {
    ToEngineer,
    ToNode,
}

/// One bit that the relay changes in what it relays.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Flip {
    pub(crate) way: Way,
    /// Which byte of the stream that goes this way.
    pub(crate) at: usize,
    pub(crate) mask: u8,
}

/// What the relay's operator has.
#[derive(Debug, Default)]
struct Notes {
    /// All bytes of all connections as they are on the wire, without the relay's own TLS.
    raw: Vec<Vec<u8>>,
    /// What was relayed, by way, since it was last taken.
    relayed: Vec<(Way, u8)>,
    flip: Option<Flip>,
    flipped: bool,
    /// Connections before this one are of earlier sessions; their last bytes may still be on the way.
    from: usize,
    /// Connections that are or will be relayed, and are open.
    open: usize,
}

/// The relay's operator.
#[derive(Debug, Clone, Default)]
pub(crate) struct Operator(Arc<Mutex<Notes>>);

impl Operator {
    fn notes(&self) -> std::sync::MutexGuard<'_, Notes> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether a text went by, in whatever connection.
    pub(crate) fn saw(&self, text: &[u8]) -> bool {
        let notes = self.notes();
        let relayed: Vec<u8> =
            [Way::ToEngineer, Way::ToNode].iter().flat_map(|way| of(&notes, *way)).collect();
        notes.raw.iter().chain([&relayed]).any(|bytes| bytes.windows(text.len()).any(|part| part == text))
    }

    /// How many bytes went by.
    pub(crate) fn bytes(&self) -> usize {
        self.notes().raw.iter().map(Vec::len).sum()
    }

    /// What was relayed this way since the last [`Operator::plan`].
    pub(crate) fn relayed(&self, way: Way) -> Vec<u8> {
        of(&self.notes(), way)
    }

    /// Forgets what was relayed, and flips a bit in what comes on new connections.
    pub(crate) fn plan(&self, flip: Option<Flip>) {
        let mut notes = self.notes();
        notes.from = notes.raw.len();
        notes.relayed.clear();
        notes.flip = flip;
        notes.flipped = false;
    }

    /// Whether nothing is relayed at present and nobody waits for it.
    pub(crate) fn is_idle(&self) -> bool {
        self.notes().open == 0
    }

    /// Whether the planned flip has been done.
    pub(crate) fn has_flipped(&self) -> bool {
        self.notes().flipped
    }
}

fn of(notes: &Notes, way: Way) -> Vec<u8> {
    notes.relayed.iter().filter(|(one, _)| *one == way).map(|(_, byte)| *byte).collect()
}

/// The relay of a site, in this process.
pub(crate) struct TappedRelay {
    pub(crate) operator: Operator,
    pub(crate) runtime: tokio::runtime::Runtime,
    _server: RelayServer,
}

impl TappedRelay {
    /// Starts it and writes what node and engineer need into the site's state directory.
    pub(crate) fn start(site: &Site) -> Self {
        let runtime = tokio::runtime::Runtime::new().expect("a runtime");
        let operator = Operator::default();
        let certificate = dev_certificate(["localhost"]).expect("a certificate");
        let transport = runtime
            .block_on(TlsTransport::bind("127.0.0.1:0", &certificate.server_pem(), certificate.key_pem()))
            .expect("a port");
        let port = transport.local_addr().expect("an address").port();
        let authority = Authority::new("localhost", port).expect("a name");
        let keys = [("listen", Right::Listen), ("send", Right::Send)]
            .map(|(name, right)| (name, right, SharedKey::generate().expect("a key")));
        let folder = site.role(Role::Relay);
        std::fs::create_dir_all(&folder).expect("own directory");
        for path in [&site.machine.state(), &folder] {
            chmod(path, 0o700);
        }
        std::fs::write(folder.join("ca.pem"), certificate.authority_pem()).expect("own directory");
        for (name, _, key) in &keys {
            let path = folder.join(format!("{name}.connection-string"));
            let text = format!(
                "Endpoint=sb://{authority}/;SharedAccessKeyName={name};SharedAccessKey={};EntityPath=node-01\n",
                key.expose()
            );
            std::fs::write(&path, text).expect("own directory");
            chmod(&path, 0o600);
        }
        let rule = |(name, right, key): (&str, Right, SharedKey)| {
            AuthorizationRule::new(name.parse().expect("a name"), [right], key)
        };
        let server = RelayServer::builder([authority])
            .rules(Rules::new(keys.map(rule)).expect("rules"))
            .build()
            .expect("a server");
        let (serving, tapped) =
            (server.clone(), TappedTransport { inner: transport, operator: operator.clone() });
        runtime.spawn(async move { serving.serve(tapped).await });
        Self { operator, runtime, _server: server }
    }
}

struct TappedTransport {
    inner: TlsTransport,
    operator: Operator,
}

impl Transport for TappedTransport {
    type Raw = <TlsTransport as Transport>::Raw;
    type Stream = Tapped<<TlsTransport as Transport>::Stream>;

    async fn accept(&self) -> io::Result<(Self::Raw, SocketAddr)> {
        self.inner.accept().await
    }

    async fn secure(&self, raw: Self::Raw) -> io::Result<Self::Stream> {
        let inner = self.inner.secure(raw).await?;
        let number = {
            let mut notes = self.operator.notes();
            notes.raw.push(Vec::new());
            notes.raw.len() - 1
        };
        Ok(Tapped {
            inner,
            operator: self.operator.clone(),
            number,
            head: Vec::new(),
            out: Outgoing::default(),
        })
    }
}

/// One connection to the relay.
struct Tapped<S> {
    inner: S,
    operator: Operator,
    number: usize,
    /// The beginning of what came in: the request.
    head: Vec<u8>,
    out: Outgoing,
}

impl<S> Tapped<S> {
    /// Which way the relayed bytes on this connection's way out go; `None` for control channels.
    fn way(&self) -> Option<Way> {
        let line = self.head.split(|byte| *byte == b'\r').next().unwrap_or_default();
        let line = String::from_utf8_lossy(line);
        if line.contains("sb-hc-action=connect") {
            Some(Way::ToEngineer)
        } else {
            line.contains("sb-hc-action=accept").then_some(Way::ToNode)
        }
    }
}

impl<S> Drop for Tapped<S> {
    fn drop(&mut self) {
        if self.way().is_some() {
            self.operator.notes().open -= 1;
        }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Tapped<S> {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let before = buf.filled().len();
        ready!(Pin::new(&mut this.inner).poll_read(cx, buf))?;
        let new = &buf.filled()[before..];
        this.operator.notes().raw[this.number].extend_from_slice(new);
        if this.head.len() < 4096 {
            let before = this.way();
            this.head.extend_from_slice(new);
            if before.is_none() && this.way().is_some() {
                this.operator.notes().open += 1;
            }
        }
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Tapped<S> {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let mut notes = this.operator.notes();
        let way = this.way().filter(|_| this.number >= notes.from);
        let mut sent = buf.to_vec();
        let flip = notes.flip.filter(|flip| Some(flip.way) == way && !notes.flipped);
        let already = way.map_or(0, |way| notes.relayed.iter().filter(|(one, _)| *one == way).count());
        let mut tried = this.out.clone();
        let mut place = None;
        let mut relayed = already;
        for (at, byte) in sent.iter_mut().enumerate() {
            if tried.step(*byte) {
                if let Some(flip) = flip.filter(|flip| flip.at == relayed) {
                    *byte ^= flip.mask;
                    place = Some(at);
                }
                relayed += 1;
            }
        }
        let taken = ready!(Pin::new(&mut this.inner).poll_write(cx, &sent))?;
        for byte in &buf[..taken] {
            if this.out.step(*byte)
                && let Some(way) = way
            {
                notes.relayed.push((way, *byte));
            }
        }
        notes.flipped |= place.is_some_and(|at| at < taken);
        notes.raw[this.number].extend_from_slice(&buf[..taken]);
        Poll::Ready(Ok(taken))
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().inner).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().inner).poll_shutdown(cx)
    }
}

/// Follows what a server writes: the head of its answer, then WebSocket frames without masks.
#[derive(Debug, Clone, Default)]
struct Outgoing {
    /// The head of the answer.
    head: Vec<u8>,
    header: Vec<u8>,
    left: u64,
}

impl Outgoing {
    /// Takes the next byte and says whether it belongs to a data frame's payload.
    fn step(&mut self, byte: u8) -> bool {
        if !self.head.ends_with(b"\r\n\r\n") {
            self.head.push(byte);
            return false;
        }
        if !self.head.starts_with(b"HTTP/1.1 101 ") {
            return false;
        }
        if self.left > 0 {
            self.left -= 1;
            let data = self.header[0] & 0x0f <= 2;
            if self.left == 0 {
                self.header.clear();
            }
            return data;
        }
        self.header.push(byte);
        let length = match self.header.get(1).map(|second| second & 0x7f) {
            Some(126) => self.header.get(2..4).map(|two| u64::from(u16::from_be_bytes([two[0], two[1]]))),
            Some(127) => {
                self.header.get(2..10).map(|eight| u64::from_be_bytes(eight.try_into().expect("eight bytes")))
            }
            Some(short) => Some(short.into()),
            None => None,
        };
        self.left = length.unwrap_or(0);
        if length == Some(0) {
            self.header.clear();
        }
        false
    }
}

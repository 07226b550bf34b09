//! A network in memory, for hours in a moment: the runtime's paused clock jumps from event to event.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use rs_relay::client::{Connector, Dialer, Trust};
use rs_relay::proto::Authority;
use rs_relay::server::{DevCertificate, RelayServer, RelayServerBuilder, Transport, dev_certificate};
use rs_relay::{BoxedStream, Clock};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use secrecy::ExposeSecret;
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, ReadHalf, WriteHalf};
use tokio::sync::{mpsc, watch};
use tokio::time::Instant;
use tokio_rustls::TlsAcceptor;

use crate::support::rules;

/// Wall time that follows the runtime's clock.
#[derive(Debug)]
pub(crate) struct SimClock(DateTime<Utc>, Instant);

impl SimClock {
    pub(crate) fn new() -> Arc<Self> {
        Arc::new(Self("2026-01-01T00:00:00Z".parse().unwrap(), Instant::now()))
    }
}

impl Clock for SimClock {
    fn now(&self) -> DateTime<Utc> {
        self.0 + self.1.elapsed()
    }
}

/// How the relay is away.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Away {
    No,
    /// Its machine says that nobody is there.
    Refusing,
    /// Nothing that is sent arrives, or is sent again when it is back.
    BlackHole,
}

/// The way to the relay.
#[derive(Debug)]
pub(crate) struct Net {
    to_relay: mpsc::UnboundedSender<DuplexStream>,
    pub(crate) away: watch::Sender<Away>,
    /// A device on the way forgets connections that were silent for so long, and tells nobody.
    pub(crate) forgets_after: Option<Duration>,
    /// When it last forgot one.
    pub(crate) forgot: Arc<Mutex<Option<Instant>>>,
    pub(crate) dials: Mutex<Vec<Instant>>,
}

#[derive(Debug, Clone)]
pub(crate) struct SimDialer(pub(crate) Arc<Net>);

#[async_trait]
impl Dialer for SimDialer {
    async fn dial(&self, _: &Authority) -> std::io::Result<BoxedStream> {
        let net = &self.0;
        net.dials.lock().unwrap().push(Instant::now());
        let away = *net.away.borrow();
        match away {
            Away::No => {}
            Away::Refusing => return Err(std::io::ErrorKind::ConnectionRefused.into()),
            Away::BlackHole => std::future::pending().await,
        }
        let (client, device) = tokio::io::duplex(256 * 1024);
        let (far, relay) = tokio::io::duplex(256 * 1024);
        net.to_relay.send(relay).map_err(|_| std::io::ErrorKind::ConnectionRefused)?;
        tokio::spawn(carry(device, far, net.forgets_after, Arc::clone(&net.forgot), net.away.subscribe()));
        Ok(Box::new(client))
    }
}

/// A device on the way. One that has forgotten a connection swallows its bytes; one whose line is cut breaks it.
async fn carry(
    near: DuplexStream,
    far: DuplexStream,
    forgets_after: Option<Duration>,
    forgot: Arc<Mutex<Option<Instant>>>,
    mut away: watch::Receiver<Away>,
) {
    let (near, far) = (tokio::io::split(near), tokio::io::split(far));
    let last = Arc::new(Mutex::new(Instant::now()));
    let pump = |mut from: ReadHalf<DuplexStream>, mut to: WriteHalf<DuplexStream>| {
        let (last, forgot) = (Arc::clone(&last), Arc::clone(&forgot));
        async move {
            let mut buffer = vec![0; 16 * 1024];
            loop {
                let read = from.read(&mut buffer).await.unwrap_or(0);
                let quiet = last.lock().unwrap().elapsed();
                if forgets_after.is_some_and(|limit| quiet > limit) {
                    let end = *last.lock().unwrap() + forgets_after.unwrap();
                    forgot.lock().unwrap().get_or_insert(end);
                    std::future::pending::<()>().await;
                }
                *last.lock().unwrap() = Instant::now();
                if read == 0 || to.write_all(&buffer[..read]).await.is_err() {
                    let _ = to.shutdown().await;
                    return;
                }
            }
        }
    };
    let both = async { tokio::join!(pump(near.0, far.1), pump(far.0, near.1)) };
    tokio::select! {
        _ = both => {}
        _ = away.wait_for(|away| *away == Away::Refusing) => {}
    }
}

struct SimTransport {
    from_net: tokio::sync::Mutex<mpsc::UnboundedReceiver<DuplexStream>>,
    acceptor: TlsAcceptor,
}

impl Transport for SimTransport {
    type Raw = DuplexStream;
    type Stream = tokio_rustls::server::TlsStream<DuplexStream>;

    async fn accept(&self) -> std::io::Result<(DuplexStream, SocketAddr)> {
        match self.from_net.lock().await.recv().await {
            Some(stream) => Ok((stream, ([192, 0, 2, 7], 4711).into())),
            None => std::future::pending().await,
        }
    }

    async fn secure(&self, raw: DuplexStream) -> std::io::Result<Self::Stream> {
        self.acceptor.accept(raw).await
    }
}

/// A relay in memory.
pub(crate) struct Sim {
    pub(crate) net: Arc<Net>,
    pub(crate) clock: Arc<SimClock>,
    pub(crate) authority: Authority,
    certificate: DevCertificate,
}

impl Sim {
    pub(crate) fn start(
        forgets_after: Option<Duration>,
        set: impl FnOnce(RelayServerBuilder) -> RelayServerBuilder,
    ) -> Self {
        let certificate = dev_certificate(["relay.example.test"]).unwrap();
        let (to_relay, from_net) = mpsc::unbounded_channel();
        let net = Arc::new(Net {
            to_relay,
            away: watch::channel(Away::No).0,
            forgets_after,
            forgot: Arc::default(),
            dials: Mutex::default(),
        });
        let clock = SimClock::new();
        let authority: Authority = "relay.example.test".parse().unwrap();
        let builder = RelayServer::builder([authority.clone()]).rules(rules()).clock(clock.clone());
        let server = set(builder.refusal_delay(Duration::ZERO)).build().unwrap();
        let transport =
            SimTransport { from_net: tokio::sync::Mutex::new(from_net), acceptor: acceptor(&certificate) };
        let serving = server.clone();
        tokio::spawn(async move { serving.serve(transport).await });
        Self { net, clock, authority, certificate }
    }

    pub(crate) fn connector(&self) -> Connector {
        self.connector_by(Arc::new(SimDialer(Arc::clone(&self.net))))
    }

    pub(crate) fn connector_by(&self, dialer: Arc<dyn Dialer>) -> Connector {
        let trust = Trust::Only(self.certificate.authority_pem().as_bytes().to_vec());
        Connector::builder().trust(trust).dialer(dialer).build().unwrap()
    }

    pub(crate) fn connection(&self, name: &str, key: &str) -> rs_relay::client::HybridConnection {
        let tokens = rs_relay::client::SasKeyProvider::new(name.parse().unwrap(), key.parse().unwrap());
        let clock: Arc<dyn Clock> = self.clock.clone();
        rs_relay::client::HybridConnection::new(self.authority.clone(), "hyco".parse().unwrap())
            .with_tokens(Arc::new(tokens.clock(clock)))
    }
}

pub(crate) fn acceptor(certificate: &DevCertificate) -> TlsAcceptor {
    let chain =
        CertificateDer::pem_slice_iter(certificate.server_pem().as_bytes()).collect::<Result<Vec<_>, _>>();
    let key = PrivateKeyDer::from_pem_slice(certificate.key_pem().expose_secret().as_bytes()).unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(chain.unwrap(), key)
        .unwrap();
    Arc::new(config).into()
}

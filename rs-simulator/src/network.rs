//! The network in memory: the way to the relay, with weather.

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use rs_relay::BoxedStream;
use rs_relay::client::Dialer;
use rs_relay::proto::Authority;
use rs_relay::server::{DevCertificate, Transport};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use secrecy::ExposeSecret as _;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream, ReadHalf, WriteHalf};
use tokio::sync::{mpsc, watch};
use tokio_rustls::TlsAcceptor;

use crate::error::Error;

/// Bytes that may be on their way in each direction of a connection.
const IN_FLIGHT_BYTES: usize = 256 * 1024;
/// Bytes that are carried at once.
const PIECE_BYTES: usize = 16 * 1024;
/// Where every connection comes from: an address for documentation.
const FROM: ([u8; 4], u16) = ([192, 0, 2, 7], 4711);

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Weather {
    /// The relay cannot be reached.
    away: bool,
    /// How often everything was cut.
    cuts: u64,
    /// How long a piece is on its way.
    delay: Duration,
}

/// The network between node, engineers and relay; clones are the same network.
#[derive(Clone)]
pub struct Network {
    weather: watch::Sender<Weather>,
    to_relay: mpsc::UnboundedSender<DuplexStream>,
}

impl fmt::Debug for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Network").field(&*self.weather.borrow()).finish()
    }
}

impl Network {
    /// A network in fair weather, and the relay's end of it.
    pub(crate) fn new(certificate: &DevCertificate) -> Result<(Self, RelaySide), Error> {
        let (to_relay, from_network) = mpsc::unbounded_channel();
        let this = Self { weather: watch::Sender::default(), to_relay };
        let side = RelaySide {
            from_network: tokio::sync::Mutex::new(from_network),
            acceptor: acceptor(certificate).map_err(Error::setup)?,
        };
        Ok((this, side))
    }

    /// Breaks every connection that there is. New ones can be made at once.
    pub fn cut(&self) {
        self.weather.send_modify(|weather| weather.cuts += 1);
    }

    /// Takes the relay away: every connection breaks, and none can be made.
    pub fn relay_away(&self) {
        self.weather.send_modify(|weather| weather.away = true);
    }

    /// Brings the relay back. The node's listener finds it within some seconds, by itself.
    pub fn relay_back(&self) {
        self.weather.send_modify(|weather| weather.away = false);
    }

    /// Whether the relay is away.
    #[must_use]
    pub fn is_relay_away(&self) -> bool {
        self.weather.borrow().away
    }

    /// Lets everything that is sent from now on be on its way for `delay`, in each direction; zero for no delay.
    pub fn delay(&self, delay: Duration) {
        self.weather.send_modify(|weather| weather.delay = delay);
    }
}

#[async_trait]
impl Dialer for Network {
    async fn dial(&self, _: &Authority) -> io::Result<BoxedStream> {
        let weather = self.weather.subscribe();
        if weather.borrow().away {
            return Err(io::ErrorKind::ConnectionRefused.into());
        }
        let (client, near) = tokio::io::duplex(IN_FLIGHT_BYTES);
        let (far, relay) = tokio::io::duplex(IN_FLIGHT_BYTES);
        self.to_relay.send(relay).map_err(|_| io::ErrorKind::ConnectionRefused)?;
        tokio::spawn(carry(near, far, weather));
        Ok(Box::new(client))
    }
}

/// Carries one connection until a side closes it, or the weather breaks it.
async fn carry(near: DuplexStream, far: DuplexStream, mut weather: watch::Receiver<Weather>) {
    let (near, far) = (tokio::io::split(near), tokio::io::split(far));
    let cuts = weather.borrow().cuts;
    let both = {
        let (there, back) = (weather.clone(), weather.clone());
        async { tokio::join!(pump(near.0, far.1, there), pump(far.0, near.1, back)) }
    };
    tokio::select! {
        _ = both => {}
        // The simulator is gone: so is the network.
        _ = weather.wait_for(|now| now.away || now.cuts != cuts) => {}
    }
}

async fn pump(
    mut from: ReadHalf<DuplexStream>,
    mut to: WriteHalf<DuplexStream>,
    weather: watch::Receiver<Weather>,
) {
    let mut piece = vec![0; PIECE_BYTES];
    loop {
        let read = from.read(&mut piece).await.unwrap_or(0);
        let delay = weather.borrow().delay;
        if !delay.is_zero() {
            tokio::time::sleep(delay).await;
        }
        if read == 0 || to.write_all(&piece[..read]).await.is_err() {
            // The other end may be gone already.
            let _closed = to.shutdown().await;
            return;
        }
    }
}

/// Where the relay takes its connections from.
pub(crate) struct RelaySide {
    from_network: tokio::sync::Mutex<mpsc::UnboundedReceiver<DuplexStream>>,
    acceptor: TlsAcceptor,
}

impl Transport for RelaySide {
    type Raw = DuplexStream;
    type Stream = tokio_rustls::server::TlsStream<DuplexStream>;

    async fn accept(&self) -> io::Result<(DuplexStream, SocketAddr)> {
        match self.from_network.lock().await.recv().await {
            Some(stream) => Ok((stream, FROM.into())),
            None => std::future::pending().await,
        }
    }

    async fn secure(&self, raw: DuplexStream) -> io::Result<Self::Stream> {
        self.acceptor.accept(raw).await
    }
}

fn acceptor(certificate: &DevCertificate) -> Result<TlsAcceptor, Box<dyn std::error::Error>> {
    let chain = certificate.server_pem();
    let chain = CertificateDer::pem_slice_iter(chain.as_bytes()).collect::<Result<Vec<_>, _>>()?;
    let key = PrivateKeyDer::from_pem_slice(certificate.key_pem().expose_secret().as_bytes())?;
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_no_client_auth()
        .with_single_cert(chain, key)?;
    Ok(Arc::new(config).into())
}

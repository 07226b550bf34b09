//! Claim: a stream through the relay costs little more than the TLS that it cannot do without.
//!
//! ```sh
//! cargo bench -p rs-benches --bench relay_throughput            # 256 MiB per row, three rounds
//! cargo bench -p rs-benches --bench relay_throughput -- 64      # MiB per row
//! ```
//!
//! Three ways of moving the same bytes over the loopback, in one process and one run, one after the other:
//!
//! * `one TLS leg`: a rustls client writes to a rustls server.
//! * `TLS copy`: the same with a plain copier in between that ends TLS on both sides, as a TLS proxy does.
//! * `relay`: sender, relay and listener of this project: two TLS legs as well, and WebSocket frames in both.
//!
//! The receiver compares every byte with what it should be before a figure counts. The ratio that matters is the relay's to
//! the TLS copy's.

use std::sync::Arc;
use std::time::{Duration, Instant};

use rs_relay::client::{Connector, HybridConnection, Listener, Sender, Trust};
use rs_relay::proto::{Authority, AuthorizationRule, ConnectionString, Credential, Right, Rules, SharedKey};
use rs_relay::server::{DevCertificate, RelayServer, TlsTransport, dev_certificate};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, copy_bidirectional_with_sizes};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::{TlsAcceptor, TlsConnector};

const CHUNK_BYTES: usize = 64 * 1024;
const ROUNDS: usize = 3;

type Outcome<T> = Result<T, Box<dyn std::error::Error + Send + Sync>>;

fn main() -> Outcome<()> {
    let mib = std::env::args().skip(1).find_map(|argument| argument.parse().ok()).unwrap_or(256_usize);
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    runtime.block_on(compare(mib))
}

async fn compare(mib: usize) -> Outcome<()> {
    let chunks = mib * 1024 * 1024 / CHUNK_BYTES;
    let tls = Tls::new()?;
    let relay = Relay::start(&tls.certificate).await?;
    println!("{mib} MiB per row, {ROUNDS} rounds, median");
    let (mut leg, mut copy, mut relayed) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        leg.push(tls.one_leg(chunks).await?);
        copy.push(tls.copy(chunks).await?);
        relayed.push(relay.stream(chunks).await?);
    }
    let rate = |times: &mut Vec<Duration>| {
        times.sort();
        (chunks * CHUNK_BYTES) as f64 / 1e6 / times[times.len() / 2].as_secs_f64()
    };
    let (leg, copy, relayed) = (rate(&mut leg), rate(&mut copy), rate(&mut relayed));
    println!("one TLS leg  {leg:8.0} MB/s");
    println!("TLS copy     {copy:8.0} MB/s");
    println!("relay        {relayed:8.0} MB/s");
    println!("ratio        {:8.2} relay to TLS copy", relayed / copy);
    println!("ratio        {:8.2} relay to one TLS leg", relayed / leg);
    Ok(())
}

/// The byte pattern, long enough that a lost or doubled piece shows.
fn pattern() -> Vec<u8> {
    (0..CHUNK_BYTES * 2).map(|index| (index % 251) as u8).collect()
}

/// Writes all chunks and ends the direction. Gives the stream back: closing it early could reset the connection.
async fn send<S: AsyncWrite + Unpin>(mut stream: S, chunks: usize) -> Outcome<S> {
    let pattern = pattern();
    for chunk in 0..chunks {
        let start = chunk * CHUNK_BYTES % 251;
        stream.write_all(&pattern[start..start + CHUNK_BYTES]).await?;
    }
    stream.shutdown().await?;
    Ok(stream)
}

/// Reads to the end and compares.
async fn receive(mut stream: impl AsyncRead + Unpin, chunks: usize) -> Outcome<()> {
    let (pattern, mut buffer, mut total) = (pattern(), vec![0; CHUNK_BYTES], 0);
    loop {
        let count = stream.read(&mut buffer).await?;
        if count == 0 {
            break;
        }
        let start = total % 251;
        assert!(buffer[..count] == pattern[start..start + count], "wrong bytes at {total}");
        total += count;
    }
    assert_eq!(total, chunks * CHUNK_BYTES, "bytes are missing");
    Ok(())
}

/// Times one transfer from the first byte to the end at the receiver.
async fn timed(
    from: impl AsyncWrite + Send + Unpin + 'static,
    to: impl AsyncRead + Send + Unpin,
    chunks: usize,
) -> Outcome<Duration> {
    let begun = Instant::now();
    let sending = tokio::spawn(send(from, chunks));
    receive(to, chunks).await?;
    let took = begun.elapsed();
    drop(sending.await??);
    Ok(took)
}

struct Tls {
    certificate: DevCertificate,
    acceptor: TlsAcceptor,
    connector: TlsConnector,
}

impl Tls {
    fn new() -> Outcome<Self> {
        let certificate = dev_certificate(["localhost"])?;
        let chain =
            CertificateDer::pem_slice_iter(certificate.server_pem().as_bytes()).collect::<Result<_, _>>()?;
        let key = secrecy::ExposeSecret::expose_secret(certificate.key_pem()).to_owned();
        let server = rustls::ServerConfig::builder()
            .with_no_client_auth()
            .with_single_cert(chain, PrivateKeyDer::from_pem_slice(key.as_bytes())?)?;
        let mut roots = rustls::RootCertStore::empty();
        roots.add(CertificateDer::from_pem_slice(certificate.authority_pem().as_bytes())?)?;
        let client = rustls::ClientConfig::builder().with_root_certificates(roots).with_no_client_auth();
        Ok(Self { certificate, acceptor: Arc::new(server).into(), connector: Arc::new(client).into() })
    }

    async fn connect(&self, port: u16) -> Outcome<tokio_rustls::client::TlsStream<TcpStream>> {
        let tcp = TcpStream::connect(("127.0.0.1", port)).await?;
        tcp.set_nodelay(true)?;
        Ok(self.connector.connect(ServerName::try_from("localhost")?, tcp).await?)
    }

    async fn accept(&self, listener: &TcpListener) -> Outcome<tokio_rustls::server::TlsStream<TcpStream>> {
        let (tcp, _) = listener.accept().await?;
        tcp.set_nodelay(true)?;
        Ok(self.acceptor.accept(tcp).await?)
    }

    async fn one_leg(&self, chunks: usize) -> Outcome<Duration> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let port = listener.local_addr()?.port();
        let (from, to) = tokio::try_join!(self.connect(port), self.accept(&listener))?;
        timed(from, to, chunks).await
    }

    async fn copy(&self, chunks: usize) -> Outcome<Duration> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let port = listener.local_addr()?.port();
        let (from, mut left) = tokio::try_join!(self.connect(port), self.accept(&listener))?;
        let (to, mut right) = tokio::try_join!(self.connect(port), self.accept(&listener))?;
        let copying = tokio::spawn(async move {
            let _ = copy_bidirectional_with_sizes(&mut left, &mut right, CHUNK_BYTES, CHUNK_BYTES).await;
        });
        let took = timed(from, to, chunks).await?;
        copying.abort();
        Ok(took)
    }
}

struct Relay {
    connection: HybridConnection,
    connector: Connector,
}

impl Relay {
    async fn start(certificate: &DevCertificate) -> Outcome<Self> {
        let transport =
            TlsTransport::bind("127.0.0.1:0", &certificate.server_pem(), certificate.key_pem()).await?;
        let authority = Authority::new("localhost", transport.local_addr()?.port())?;
        let (name, key) = ("root".parse()?, SharedKey::generate()?);
        let rule = AuthorizationRule::new(name, [Right::Manage], key.clone());
        let credential = Credential::Key { name: rule.name().clone(), key };
        let server = RelayServer::builder([authority.clone()]).rules(Rules::new([rule])?).build()?;
        tokio::spawn(async move { server.serve(transport).await });
        let text = ConnectionString::new(authority, Some("bench".parse()?), credential);
        let connection = HybridConnection::from_connection_string(&text)?;
        let trust = Trust::Only(certificate.authority_pem().as_bytes().to_vec());
        Ok(Self { connection, connector: Connector::builder().trust(trust).build()? })
    }

    async fn stream(&self, chunks: usize) -> Outcome<Duration> {
        let mut listener = Listener::builder(self.connection.clone(), self.connector.clone()).start();
        listener.status().online().await;
        let sender = Sender::new(self.connection.clone(), self.connector.clone());
        let meet = async {
            Ok::<_, Box<dyn std::error::Error + Send + Sync>>(
                listener.accept().await.ok_or("nobody came")?.accept().await?,
            )
        };
        let (from, to) = tokio::join!(sender.connect(), meet);
        let took = timed(from?, to?, chunks).await?;
        listener.close().await;
        Ok(took)
    }
}

//! What a process of a path does: this program starts itself in these roles.

use std::io::{Read, Write};
use std::net::{TcpListener as StdListener, TcpStream as StdStream};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use rs_relay::client::{Connector, HybridConnection, Listener, Trust};
use rs_relay::proto::ConnectionString;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use tokio::io::copy_bidirectional_with_sizes;
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::{TlsAcceptor, TlsConnector};

use super::{CHUNK_BYTES, Outcome, delay, files, tungstenite};

/// Runs a role until it is killed.
pub(crate) fn run(arguments: &[String]) -> Outcome<()> {
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match *arguments {
        ["target"] => return target(),
        ["delay", port] => return delay::run(port.parse()?),
        _ => {}
    }
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    runtime.block_on(async {
        match *arguments {
            ["tungstenite", dir] => tungstenite::relay(Path::new(dir)).await,
            ["near-end", dir, port] => near_end(Path::new(dir), port.parse()?).await,
            ["far-end", dir, port] => far_end(Path::new(dir), port.parse()?).await,
            ["copy", dir, port] => copy(Path::new(dir), port.parse()?).await,
            ["idle-listeners", dir, string, group, count] => {
                idle_listeners(Path::new(dir), Path::new(string), group, count.parse()?).await
            }
            ["idle-tls", dir, port, count] => idle_tls(Path::new(dir), port.parse()?, count.parse()?).await,
            _ => Err("no such role".into()),
        }
    })
}

/// What the driver reaches at the far end: a number of bytes, or an echo.
///
/// A connection says first how many bytes it wants, as a big-endian u64; zero asks for an echo.
fn target() -> Outcome<()> {
    let listener = StdListener::bind("127.0.0.1:0")?;
    println!("listening on {}", listener.local_addr()?);
    for stream in listener.incoming() {
        let stream = stream?;
        std::thread::spawn(move || serve(stream));
    }
    Ok(())
}

fn serve(mut stream: StdStream) -> std::io::Result<()> {
    stream.set_nodelay(true)?;
    let mut wanted = [0; 8];
    stream.read_exact(&mut wanted)?;
    let mut left = u64::from_be_bytes(wanted) as usize;
    if left == 0 {
        let mut buffer = [0; 4096];
        loop {
            let count = stream.read(&mut buffer)?;
            if count == 0 {
                return Ok(());
            }
            stream.write_all(&buffer[..count])?;
        }
    }
    let pattern = super::pattern();
    let mut done = 0;
    while left > 0 {
        let start = done % super::PERIOD;
        let count = left.min(CHUNK_BYTES);
        stream.write_all(&pattern[start..start + count])?;
        done += count;
        left -= count;
    }
    // The other side ends the connection.
    stream.read_exact(&mut [0]).or(Ok(()))
}

pub(crate) fn acceptor(dir: &Path) -> Outcome<TlsAcceptor> {
    let chain = CertificateDer::pem_file_iter(dir.join(files::CHAIN))?.collect::<Result<_, _>>()?;
    let key = PrivateKeyDer::from_pem_file(dir.join(files::KEY))?;
    let mut config = rustls::ServerConfig::builder().with_no_client_auth().with_single_cert(chain, key)?;
    config.ticketer = rustls::crypto::aws_lc_rs::Ticketer::new()?;
    Ok(TlsAcceptor::from(Arc::new(config)))
}

fn connector(dir: &Path) -> Outcome<TlsConnector> {
    let mut roots = rustls::RootCertStore::empty();
    roots.add(CertificateDer::from_pem_file(dir.join(files::AUTHORITY))?)?;
    let config = rustls::ClientConfig::builder().with_root_certificates(roots).with_no_client_auth();
    Ok(TlsConnector::from(Arc::new(config)))
}

async fn dial_tls(
    connector: &TlsConnector,
    port: u16,
) -> Outcome<tokio_rustls::client::TlsStream<TcpStream>> {
    let tcp = TcpStream::connect(("127.0.0.1", port)).await?;
    tcp.set_nodelay(true)?;
    Ok(connector.connect(ServerName::try_from("localhost")?, tcp).await?)
}

/// TCP in, TLS out: the engineer's end for peers that carry plain TLS.
async fn near_end(dir: &Path, port: u16) -> Outcome<()> {
    let connector = connector(dir)?;
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    println!("listening on {}", listener.local_addr()?);
    loop {
        let (mut tcp, _) = listener.accept().await?;
        let connector = connector.clone();
        tokio::spawn(async move {
            tcp.set_nodelay(true)?;
            let mut tls = dial_tls(&connector, port).await?;
            copy_bidirectional_with_sizes(&mut tcp, &mut tls, CHUNK_BYTES, CHUNK_BYTES).await?;
            Outcome::Ok(())
        });
    }
}

/// TLS in, TCP out: the node's end for peers that carry plain TLS.
async fn far_end(dir: &Path, port: u16) -> Outcome<()> {
    let acceptor = acceptor(dir)?;
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    println!("listening on {}", listener.local_addr()?);
    loop {
        let (tcp, _) = listener.accept().await?;
        let acceptor = acceptor.clone();
        tokio::spawn(async move {
            tcp.set_nodelay(true)?;
            let mut tls = acceptor.accept(tcp).await?;
            let mut tcp = TcpStream::connect(("127.0.0.1", port)).await?;
            tcp.set_nodelay(true)?;
            copy_bidirectional_with_sizes(&mut tcp, &mut tls, CHUNK_BYTES, CHUNK_BYTES).await?;
            Outcome::Ok(())
        });
    }
}

/// TLS in, TLS out, with nothing but rustls and a copy loop.
async fn copy(dir: &Path, port: u16) -> Outcome<()> {
    let (acceptor, connector) = (acceptor(dir)?, connector(dir)?);
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    println!("listening on {}", listener.local_addr()?);
    loop {
        let (tcp, _) = listener.accept().await?;
        let (acceptor, connector) = (acceptor.clone(), connector.clone());
        tokio::spawn(async move {
            tcp.set_nodelay(true)?;
            let mut near = acceptor.accept(tcp).await?;
            let mut far = dial_tls(&connector, port).await?;
            copy_bidirectional_with_sizes(&mut near, &mut far, CHUNK_BYTES, CHUNK_BYTES).await?;
            Outcome::Ok(())
        });
    }
}

/// Many listeners in one process, each on an entity of its own.
async fn idle_listeners(dir: &Path, string: &Path, group: &str, count: usize) -> Outcome<()> {
    let text: ConnectionString = std::fs::read_to_string(string)?.parse()?;
    let trust = Trust::Only(std::fs::read(dir.join(files::AUTHORITY))?);
    let connector = Connector::builder().trust(trust).build()?;
    let mut listeners = Vec::new();
    for index in 0..count {
        let entity = Some(format!("{group}/{index}").parse()?);
        let text = ConnectionString::new(text.authority().clone(), entity, text.credential().clone());
        let connection = HybridConnection::from_connection_string(&text)?;
        let listener = Listener::builder(connection, connector.clone()).start();
        // In batches, so that nothing but waiting is measured.
        if index % 20 == 0 {
            listener.status().online().await;
        }
        listeners.push(listener);
    }
    for listener in &listeners {
        listener.status().online().await;
    }
    println!("idle");
    std::future::pending().await
}

/// Many quiet TLS connections in one process.
async fn idle_tls(dir: &Path, port: u16, count: usize) -> Outcome<()> {
    let connector = connector(dir)?;
    let mut streams = Vec::new();
    for _ in 0..count {
        streams.push(dial_tls(&connector, port).await?);
    }
    // TLS tickets come after the handshake; what is measured is a connection with nothing on its way.
    tokio::time::sleep(Duration::from_millis(500)).await;
    println!("idle");
    std::future::pending().await
}

//! A relay, a listener that echoes, and a sender, all in one process.
//!
//! ```sh
//! cargo run --example relay_echo
//! ```
//!
//! Prints what each side sees and ends by itself with exit code 0. Nothing leaves this machine, and nothing is left on it:
//! the relay takes a free port of the loopback and makes its own certificate and key.

use std::error::Error;
use std::time::Duration;

use rs_relay::client::{Connector, HybridConnection, Listener, Sender, Trust};
use rs_relay::proto::{Authority, AuthorizationRule, ConnectionString, Credential, Right, Rules, SharedKey};
use rs_relay::server::{RelayServer, TlsTransport, dev_certificate};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

type Outcome<T> = Result<T, Box<dyn Error + Send + Sync>>;

#[tokio::main]
async fn main() -> Outcome<()> {
    // The relay: a certificate of its own, one rule with a fresh key, a free port.
    let certificate = dev_certificate(["localhost"])?;
    let transport =
        TlsTransport::bind("127.0.0.1:0", &certificate.server_pem(), certificate.key_pem()).await?;
    let authority = Authority::new("localhost", transport.local_addr()?.port())?;
    let (name, key) = ("RootManageSharedAccessKey".parse()?, SharedKey::generate()?);
    let rule = AuthorizationRule::new(name, [Right::Manage], key.clone());
    let server = RelayServer::builder([authority.clone()]).rules(Rules::new([rule.clone()])?).build()?;
    let serving = tokio::spawn({
        let server = server.clone();
        async move { server.serve(transport).await }
    });
    println!("relay     at {authority}");

    // What operators would copy and paste: where, and with which key.
    let credential = Credential::Key { name: rule.name().clone(), key };
    let text = ConnectionString::new(authority, Some("node-01".parse()?), credential);
    let connection = HybridConnection::from_connection_string(&text)?;
    let trust = Trust::Only(certificate.authority_pem().as_bytes().to_vec());
    let connector = Connector::builder().trust(trust).build()?;

    let listener = Listener::builder(connection.clone(), connector.clone()).start();
    listener.status().online().await;
    println!("listener  online at {text}");
    let echoing = tokio::spawn(echo(listener));

    let mut stream = Sender::new(connection, connector).connect().await?;
    stream.write_all(b"hello through the relay").await?;
    stream.shutdown().await?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await?;
    println!("sender    got back: {answer}");
    assert_eq!(answer, "hello through the relay");

    echoing.await??;
    server.shutdown(Duration::from_secs(5)).await;
    serving.await??;
    println!("relay     stopped");
    Ok(())
}

/// Echoes one connection, then stops listening.
async fn echo(mut listener: Listener) -> Outcome<()> {
    let incoming = listener.accept().await.ok_or("closed before anybody came")?;
    println!("listener  meets a sender from {}", incoming.remote_endpoint().address);
    let (mut reader, mut writer) = tokio::io::split(incoming.accept().await?);
    let count = tokio::io::copy(&mut reader, &mut writer).await?;
    writer.shutdown().await?;
    println!("listener  echoed {count} bytes");
    listener.close().await;
    Ok(())
}

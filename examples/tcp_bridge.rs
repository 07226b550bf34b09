//! Carries TCP connections over one hybrid connection, as many at once as you like.
//!
//! On the machine that can reach the target:
//!
//! ```sh
//! cargo run --release --example tcp_bridge -- \
//!     listen --connection-string-file listen.txt --ca ca.pem --to 127.0.0.1:22
//! ```
//!
//! On the machine where the target shall appear:
//!
//! ```sh
//! cargo run --release --example tcp_bridge -- \
//!     connect --connection-string-file send.txt --ca ca.pem --bind 127.0.0.1:2222
//! ```
//!
//! Each TCP connection to the second machine becomes one connection through the relay and one TCP connection to the target;
//! half-close is carried, and a connection that breaks on one side is reset on the other. The connection string files are as
//! `remote-support relay connection-string` prints them, or as Azure shows them, with an `EntityPath`. Leave `--ca` out for
//! Azure and others with a public certificate. Ctrl-C ends either.

use std::error::Error;
use std::path::{Path, PathBuf};

use clap::{Args, Parser, Subcommand};
use rs_relay::client::{Connector, HybridConnection, Incoming, Listener, RelayStream, Sender, Trust};
use rs_relay::proto::ConnectionString;
use secrecy::SecretString;
use tokio::net::{TcpListener, TcpStream};

/// Bytes copied at once. Large pieces make few frames.
const COPY_BYTES: usize = 64 * 1024;

/// TCP over a hybrid connection.
#[derive(Parser)]
struct Cli {
    #[command(subcommand)]
    side: Side,
}

#[derive(Subcommand)]
enum Side {
    /// Take connections from the relay and open them to a target.
    Listen {
        #[command(flatten)]
        relay: Relay,
        /// Host and port of the target.
        #[arg(long, value_name = "HOST:PORT")]
        to: String,
    },
    /// Take TCP connections here and send them to the relay.
    Connect {
        #[command(flatten)]
        relay: Relay,
        /// Address to listen on; port 0 takes a free one.
        #[arg(long, value_name = "HOST:PORT")]
        bind: String,
    },
}

#[derive(Args)]
struct Relay {
    /// File with the connection string, EntityPath included.
    #[arg(long, value_name = "FILE")]
    connection_string_file: PathBuf,
    /// Certificate authority of the relay, in PEM.
    #[arg(long, value_name = "FILE")]
    ca: Option<PathBuf>,
}

impl Relay {
    fn open(&self) -> Result<(HybridConnection, Connector), Box<dyn Error>> {
        let text = SecretString::from(read(&self.connection_string_file)?);
        let connection = HybridConnection::from_connection_string(&ConnectionString::try_from(&text)?)?;
        let trust = match &self.ca {
            Some(file) => Trust::Only(read(file)?.into_bytes()),
            None => Trust::Platform,
        };
        Ok((connection, Connector::builder().trust(trust).build()?))
    }
}

fn read(file: &Path) -> Result<String, String> {
    std::fs::read_to_string(file).map_err(|error| format!("cannot read {}: {error}", file.display()))
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let work = async {
        match Cli::parse().side {
            Side::Listen { relay, to } => listen(relay.open()?, to).await,
            Side::Connect { relay, bind } => connect(relay.open()?, bind).await,
        }
    };
    tokio::select! {
        result = work => result,
        _ = tokio::signal::ctrl_c() => {
            eprintln!("stopped");
            Ok(())
        }
    }
}

async fn listen(
    (connection, connector): (HybridConnection, Connector),
    to: String,
) -> Result<(), Box<dyn Error>> {
    let name = format!("{} at {}", connection.entity(), connection.authority());
    let mut listener = Listener::builder(connection, connector).start();
    let mut status = listener.status();
    tokio::spawn(async move {
        println!("{name}: {}", status.now());
        while let Some(status) = status.changed().await {
            println!("{name}: {status}");
        }
    });
    while let Some(incoming) = listener.accept().await {
        tokio::spawn(serve(incoming, to.clone()));
    }
    Ok(())
}

async fn serve(incoming: Incoming, to: String) {
    let tcp = match TcpStream::connect(&to).await {
        Ok(tcp) => tcp,
        Err(error) => {
            eprintln!("cannot reach {to}: {error}");
            let _ = incoming.reject(502, "The target cannot be reached.").await;
            return;
        }
    };
    match incoming.accept().await {
        Ok(relayed) => carry(tcp, relayed).await,
        Err(error) => eprintln!("the sender is gone: {error}"),
    }
}

async fn connect(
    (connection, connector): (HybridConnection, Connector),
    bind: String,
) -> Result<(), Box<dyn Error>> {
    let tcp = TcpListener::bind(&bind).await.map_err(|error| format!("cannot listen on {bind}: {error}"))?;
    println!("listening on {}", tcp.local_addr()?);
    let sender = Sender::new(connection, connector);
    loop {
        match tcp.accept().await {
            Ok((tcp, _)) => {
                let sender = sender.clone();
                tokio::spawn(async move {
                    match sender.connect().await {
                        Ok(relayed) => carry(tcp, relayed).await,
                        Err(error) => {
                            eprintln!("no connection through the relay: {error}");
                            reset(&tcp);
                        }
                    }
                });
            }
            Err(error) => {
                eprintln!("cannot take a connection: {error}");
                tokio::time::sleep(std::time::Duration::from_millis(100)).await;
            }
        }
    }
}

/// Copies in both directions until both have ended, or resets when one side broke.
async fn carry(mut tcp: TcpStream, mut relayed: RelayStream) {
    let copy = async {
        tcp.set_nodelay(true)?;
        tokio::io::copy_bidirectional_with_sizes(&mut tcp, &mut relayed, COPY_BYTES, COPY_BYTES).await
    };
    if let Err(error) = copy.await {
        eprintln!("connection {} broke: {error}", relayed.id());
        reset(&tcp);
    }
}

/// The application must not take a broken connection for a complete one.
fn reset(tcp: &TcpStream) {
    let _ = tcp.set_zero_linger();
}

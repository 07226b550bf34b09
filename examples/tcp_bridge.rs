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
//! half-close is carried, and a connection that breaks on one side is reset on the other. Several at once, as azbridge has
//! them, each with a hybrid connection of its own in one namespace:
//!
//! ```sh
//! cargo run --release --example tcp_bridge -- forward --connection-string-file listen.txt -T ssh:127.0.0.1:22 -T web:127.0.0.1:80
//! cargo run --release --example tcp_bridge -- forward --connection-string-file send.txt -L 127.0.0.1:2222:ssh -L 127.0.0.1:8080:web
//! ```
//!
//! The connection string files are as `remote-support relay connection-string` prints them, or as Azure shows them, with an
//! `EntityPath` (which `forward` does not need). Leave `--ca` out for Azure and others with a public certificate. Ctrl-C
//! ends any of them.

use std::error::Error;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::str::FromStr;

use clap::{Args, Parser, Subcommand};
use futures_util::future::try_join_all;
use rs_relay::client::{Connector, HybridConnection, Incoming, Listener, RelayStream, Sender, Trust};
use rs_relay::proto::{ConnectionString, EntityPath};
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
    /// Several of both at once, each over a hybrid connection of its own.
    Forward {
        #[command(flatten)]
        relay: Relay,
        /// Take TCP connections at HOST:PORT and send them to the hybrid connection NAME.
        #[arg(short = 'L', value_name = "HOST:PORT:NAME", required_unless_present = "remote")]
        local: Vec<Local>,
        /// Take connections from the hybrid connection NAME and open them to HOST:PORT.
        #[arg(short = 'T', value_name = "NAME:HOST:PORT")]
        remote: Vec<Remote>,
    },
}

/// `HOST:PORT:NAME`.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Local {
    bind: String,
    name: EntityPath,
}

impl FromStr for Local {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (bind, name) =
            text.rsplit_once(':').filter(|(bind, _)| bind.contains(':')).ok_or("write HOST:PORT:NAME")?;
        let name = name.parse().map_err(|error| format!("{name}: {error}"))?;
        Ok(Self { bind: bind.to_owned(), name })
    }
}

/// `NAME:HOST:PORT`.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Remote {
    name: EntityPath,
    to: String,
}

impl FromStr for Remote {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (name, to) =
            text.split_once(':').filter(|(_, to)| to.contains(':')).ok_or("write NAME:HOST:PORT")?;
        let name = name.parse().map_err(|error| format!("{name}: {error}"))?;
        Ok(Self { name, to: to.to_owned() })
    }
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
        Ok((HybridConnection::from_connection_string(&self.text()?)?, self.connector()?))
    }

    /// The same for another hybrid connection of the namespace.
    fn open_at(&self, name: EntityPath) -> Result<(HybridConnection, Connector), Box<dyn Error>> {
        Ok((HybridConnection::from_connection_string(&self.text()?.with_entity(name))?, self.connector()?))
    }

    fn text(&self) -> Result<ConnectionString, Box<dyn Error>> {
        let text = SecretString::from(read(&self.connection_string_file)?);
        Ok(ConnectionString::try_from(&text)?)
    }

    fn connector(&self) -> Result<Connector, Box<dyn Error>> {
        let trust = match &self.ca {
            Some(file) => Trust::Only(read(file)?.into_bytes()),
            None => Trust::Platform,
        };
        Ok(Connector::builder().trust(trust).build()?)
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
            Side::Forward { relay, local, remote } => forward(&relay, local, remote).await,
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

type Outcome = Result<(), Box<dyn Error>>;

/// All forwards at once, until one cannot go on.
async fn forward(relay: &Relay, local: Vec<Local>, remote: Vec<Remote>) -> Outcome {
    let mut running: Vec<Pin<Box<dyn Future<Output = Outcome>>>> = Vec::new();
    for Local { bind, name } in local {
        running.push(Box::pin(connect(relay.open_at(name)?, bind)));
    }
    for Remote { name, to } in remote {
        running.push(Box::pin(listen(relay.open_at(name)?, to)));
    }
    try_join_all(running).await.map(drop)
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

async fn serve(mut incoming: Incoming, to: String) {
    // The way to the sender and the one to the target are opened at the same time.
    let (tcp, ()) = tokio::join!(TcpStream::connect(&to), incoming.prepare());
    let tcp = match tcp {
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
                // For example too many open files: trying again at once would only spin.
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

//! Listens on a hybrid connection of Azure Relay, or of any other relay, and echoes what comes: WebSockets and HTTP.
//!
//! ```sh
//! cargo run --example listen_on_azure -- --connection-string-file listen.txt
//! AZURE_RELAY_CONNECTION_STRING='Endpoint=sb://…' cargo run --example listen_on_azure
//! ```
//!
//! The connection string is the one that Azure shows under *Shared access policies* of a hybrid connection, with its
//! `EntityPath`, and with the right to listen. It holds a key, so it comes from a file or the environment, never from an
//! argument. `--ca FILE` trusts a certificate authority of your own, for a relay that you host; `--once` ends after one
//! WebSocket connection. Ctrl-C ends it.

use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;

use axum::Router;
use axum::extract::Request;
use clap::Parser;
use rs_relay::client::{Connector, HybridConnection, Incoming, Listener, Trust};
use rs_relay::proto::ConnectionString;
use secrecy::SecretString;
use tokio::io::AsyncWriteExt;
use tokio::sync::Notify;

/// Where the connection string is looked for when no file is named.
const VARIABLE: &str = "AZURE_RELAY_CONNECTION_STRING";

/// Listens on a hybrid connection and echoes.
#[derive(Parser)]
struct Cli {
    /// File with the connection string, EntityPath included.
    #[arg(long, value_name = "FILE")]
    connection_string_file: Option<PathBuf>,
    /// Certificate authority of the relay, in PEM; without it the system's authorities count.
    #[arg(long, value_name = "FILE")]
    ca: Option<PathBuf>,
    /// End after one WebSocket connection.
    #[arg(long)]
    once: bool,
}

impl Cli {
    fn connection(&self) -> Result<HybridConnection, String> {
        let text = match &self.connection_string_file {
            Some(file) => std::fs::read_to_string(file)
                .map_err(|error| format!("cannot read {}: {error}", file.display()))?,
            None => std::env::var(VARIABLE).ok().filter(|text| !text.trim().is_empty()).ok_or_else(|| {
                format!(
                    "no connection string; name a file with --connection-string-file, or set {VARIABLE}. Azure shows it \
                     under Shared access policies of the hybrid connection"
                )
            })?,
        };
        let text = SecretString::from(text.trim().to_owned());
        let text = ConnectionString::try_from(&text).map_err(|error| error.to_string())?;
        HybridConnection::from_connection_string(&text).map_err(|error| error.to_string())
    }

    fn connector(&self) -> Result<Connector, String> {
        let trust = match &self.ca {
            Some(file) => Trust::Only(
                std::fs::read(file).map_err(|error| format!("cannot read {}: {error}", file.display()))?,
            ),
            None => Trust::Platform,
        };
        Connector::builder().trust(trust).build().map_err(|error| error.to_string())
    }
}

#[tokio::main]
async fn main() -> ExitCode {
    let cli = Cli::parse();
    let (connection, connector) = match (cli.connection(), cli.connector()) {
        (Ok(connection), Ok(connector)) => (connection, connector),
        (Err(error), _) | (_, Err(error)) => {
            eprintln!("listen_on_azure: {error}");
            return ExitCode::from(2);
        }
    };
    println!("listening at {} on {}", connection.authority(), connection.entity());
    let served = Arc::new(Notify::new());
    let app = Router::new().fallback(async |request: Request| {
        println!("{} {}", request.method(), request.uri());
        request.into_body()
    });
    let mut listener = Listener::builder(connection, connector).http(app).start();
    let mut status = listener.status();
    loop {
        tokio::select! {
            Some(status) = status.changed() => println!("{status}"),
            Some(incoming) = listener.accept() => {
                println!("a sender from {}", incoming.remote_endpoint().address);
                let served = Arc::clone(&served);
                tokio::spawn(async move {
                    if let Err(error) = echo(incoming).await {
                        eprintln!("the connection failed: {error}");
                    }
                    served.notify_one();
                });
            }
            () = served.notified(), if cli.once => break,
            _ = tokio::signal::ctrl_c() => break,
        }
    }
    listener.close().await;
    ExitCode::SUCCESS
}

async fn echo(incoming: Incoming) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
    let (mut reader, mut writer) = tokio::io::split(incoming.accept().await?);
    tokio::io::copy(&mut reader, &mut writer).await?;
    writer.shutdown().await?;
    Ok(())
}

//! A hop that takes time, for machines whose kernel cannot delay packets.
//!
//! Bytes come out half a round trip after they went in. What the client sends first waits one round trip more: that is what
//! opening the TCP connection takes over a real hop.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use super::Outcome;

/// A round trip over one hop.
pub(crate) const ROUND_TRIP: Duration = Duration::from_millis(40);

/// Carries connections to a port until it is killed.
pub(crate) fn run(port: u16) -> Outcome<()> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    println!("listening on {}", listener.local_addr()?);
    for client in listener.incoming() {
        let (client, server) = (client?, TcpStream::connect(("127.0.0.1", port))?);
        let opened = Instant::now() + ROUND_TRIP;
        carry(client.try_clone()?, server.try_clone()?, opened)?;
        carry(server, client, Instant::now())?;
    }
    Ok(())
}

/// Carries one direction. Nothing leaves before it was opened.
fn carry(mut from: TcpStream, mut to: TcpStream, opened: Instant) -> Outcome<()> {
    to.set_nodelay(true)?;
    let (sender, receiver) = mpsc::channel::<(Instant, Vec<u8>)>();
    std::thread::spawn(move || {
        let mut buffer = [0; super::CHUNK_BYTES];
        while let Ok(count) = from.read(&mut buffer) {
            let due = Instant::now().max(opened) + ROUND_TRIP / 2;
            if sender.send((due, buffer[..count].to_vec())).is_err() || count == 0 {
                break;
            }
        }
    });
    std::thread::spawn(move || {
        for (due, bytes) in receiver {
            // The delay that this role plays.
            std::thread::sleep(due.saturating_duration_since(Instant::now()));
            if bytes.is_empty() || to.write_all(&bytes).is_err() {
                break;
            }
        }
        let _ = to.shutdown(Shutdown::Write);
    });
    Ok(())
}

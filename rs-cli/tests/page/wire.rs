//! HTTP by hand: requests exactly as they stand here, as no browser would send them.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::time::Duration;

/// What came back.
#[derive(Debug)]
pub(crate) struct Reply {
    pub(crate) status: u16,
    pub(crate) head: String,
    pub(crate) body: Vec<u8>,
}

impl Reply {
    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// The value of a header; empty where it is not there.
    pub(crate) fn header(&self, name: &str) -> &str {
        let lines = self.head.lines().filter_map(|line| line.split_once(':'));
        let mut fits = lines.filter(|(own, _)| own.eq_ignore_ascii_case(name));
        fits.next().map_or("", |(_, value)| value.trim())
    }
}

/// Sends a request on a connection of its own. `to` is `127.0.0.1:PORT`; `head` has the lines of the headers.
#[track_caller]
pub(crate) fn ask(to: &str, method: &str, path: &str, head: &[String], body: &str) -> Reply {
    let mut stream = TcpStream::connect(to).expect("it listens");
    stream.set_read_timeout(Some(Duration::from_secs(60))).expect("a socket");
    let mut text =
        format!("{method} {path} HTTP/1.1\r\nConnection: close\r\nContent-Length: {}\r\n", body.len());
    for line in head {
        text.push_str(line);
        text.push_str("\r\n");
    }
    stream.write_all(format!("{text}\r\n{body}").as_bytes()).expect("sent");
    let mut bytes = Vec::new();
    let split = loop {
        let mut piece = [0; 16 * 1024];
        let read = stream.read(&mut piece).expect("an answer");
        bytes.extend_from_slice(&piece[..read]);
        if let Some(split) = bytes.windows(4).position(|four| four == b"\r\n\r\n") {
            break split;
        }
        assert!(read > 0, "the head did not come whole");
    };
    let head = String::from_utf8_lossy(&bytes[..split]).into_owned();
    let status = head.split(' ').nth(1).and_then(|text| text.parse().ok()).expect("a status");
    let mut reply = Reply { status, head, body: bytes.split_off(split + 4) };
    let length: Option<usize> = reply.header("content-length").parse().ok();
    match length {
        Some(length) => {
            let mut rest = vec![0; length.saturating_sub(reply.body.len())];
            stream.read_exact(&mut rest).expect("the whole answer");
            reply.body.extend(rest);
        }
        None => drop(stream.read_to_end(&mut reply.body)),
    }
    reply
}

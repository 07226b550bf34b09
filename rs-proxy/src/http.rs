//! HTTP/1.1 as a probe needs it: writing a request head, reading a response head, without I/O.
//!
//! Reading stops at the blank line, tolerates what real proxies send (`HTTP/1.0 200`, any reason phrase, a
//! `Content-Length` on a 2xx), and keeps the evidence.

use secrecy::{ExposeSecret, SecretString};

use crate::settings::Credentials;

/// Longest response head that is read, in bytes.
pub const HEAD_BYTES_MAX: usize = 64 * 1024;

/// What the bytes read so far are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum HeadProgress {
    /// More is needed.
    Incomplete,
    /// A whole head, and how many bytes it takes.
    Complete(ResponseHead, usize),
    /// Not an HTTP response.
    NotHttp,
    /// More than [`HEAD_BYTES_MAX`] without an end.
    TooLong,
}

/// Status line and headers of a response.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ResponseHead {
    /// The status code, 100 to 599 for well-formed answers.
    pub status: u16,
    /// The reason phrase, as sent.
    pub reason: String,
    /// Names in lower case, values trimmed, in order.
    pub headers: Vec<(String, String)>,
}

impl ResponseHead {
    /// The first value of a header; `name` in lower case.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(found, _)| found == name).map(|(_, value)| value.as_str())
    }

    /// All values of a header; `name` in lower case.
    pub fn headers<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a str> {
        self.headers.iter().filter(move |(found, _)| found == name).map(|(_, value)| value.as_str())
    }

    /// The value of `Date`, as seconds since 1970.
    #[must_use]
    pub fn date(&self) -> Option<i64> {
        let text = self.header("date")?;
        chrono::DateTime::parse_from_rfc2822(&text.replace("GMT", "+0000")).ok().map(|date| date.timestamp())
    }
}

/// Reads the head of a response from the bytes so far.
///
/// # Examples
///
/// ```
/// use rs_proxy::http::{HeadProgress, read_head};
///
/// let HeadProgress::Complete(head, used) = read_head(b"HTTP/1.1 407 Denied\r\nProxy-Authenticate: Basic\r\n\r\nrest") else {
///     unreachable!()
/// };
/// assert_eq!((head.status, head.header("proxy-authenticate"), used), (407, Some("Basic"), 50));
/// assert_eq!(read_head(b"HTTP/1.1 20"), HeadProgress::Incomplete);
/// assert_eq!(read_head(b"SSH-2.0-x\r\n"), HeadProgress::NotHttp);
/// ```
#[must_use]
pub fn read_head(bytes: &[u8]) -> HeadProgress {
    let start = &bytes[..bytes.len().min(5)];
    if !b"HTTP/".starts_with(start) {
        return HeadProgress::NotHttp;
    }
    let Some(end) = end_of_head(bytes) else {
        return if bytes.len() > HEAD_BYTES_MAX { HeadProgress::TooLong } else { HeadProgress::Incomplete };
    };
    if end > HEAD_BYTES_MAX {
        return HeadProgress::TooLong;
    }
    let text = String::from_utf8_lossy(&bytes[..end]);
    let mut lines = text.lines();
    let Some((status, reason)) = lines.next().and_then(status_line) else { return HeadProgress::NotHttp };
    let headers = lines.filter_map(|line| line.split_once(':'));
    let headers =
        headers.map(|(name, value)| (name.trim().to_ascii_lowercase(), value.trim().to_owned())).collect();
    HeadProgress::Complete(ResponseHead { status, reason, headers }, end)
}

/// Where the blank line ends. Bare line feeds are tolerated.
fn end_of_head(bytes: &[u8]) -> Option<usize> {
    let crlf = bytes.windows(4).position(|w| w == b"\r\n\r\n").map(|at| at + 4);
    let lf = bytes.windows(2).position(|w| w == b"\n\n").map(|at| at + 2);
    match (crlf, lf) {
        (Some(a), Some(b)) => Some(a.min(b)),
        (a, b) => a.or(b),
    }
}

/// Status and reason of `HTTP/1.x NNN reason`.
fn status_line(line: &str) -> Option<(u16, String)> {
    let (version, rest) = line.split_once(' ')?;
    if !version.starts_with("HTTP/") {
        return None;
    }
    let rest = rest.trim_start();
    let digits = rest.get(..3)?;
    let status = digits.parse().ok().filter(|status| (100..1000).contains(status))?;
    Some((status, rest[3..].trim().to_owned()))
}

/// A CONNECT request. Holds a secret when there are credentials, so it is one itself.
#[must_use]
pub fn connect_request(host: &str, port: u16, credentials: Option<&Credentials>) -> SecretString {
    let host = if host.contains(':') { format!("[{host}]") } else { host.to_owned() };
    let mut request =
        format!("CONNECT {host}:{port} HTTP/1.1\r\nHost: {host}:{port}\r\nUser-Agent: remote-support\r\n");
    if let Some(credentials) = credentials {
        request.push_str("Proxy-Authorization: ");
        request.push_str(credentials.basic().expose_secret());
        request.push_str("\r\n");
    }
    request.push_str("\r\n");
    request.into()
}

/// A GET request that asks the server to close afterwards.
#[must_use]
pub fn get_request(host: &str, port: u16, path: &str) -> String {
    format!(
        "GET {path} HTTP/1.1\r\nHost: {}\r\nUser-Agent: remote-support\r\nAccept: */*\r\nConnection: close\r\n\r\n",
        authority(host, port)
    )
}

/// A WebSocket upgrade with all four headers.
#[must_use]
pub fn upgrade_request(host: &str, port: u16, path: &str) -> String {
    format!(
        "GET {path} HTTP/1.1\r\nHost: {}\r\nUser-Agent: remote-support\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
         Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n",
        authority(host, port)
    )
}

/// The host, with the port where it is not 443.
fn authority(host: &str, port: u16) -> String {
    if port == 443 { host.to_owned() } else { format!("{host}:{port}") }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn heads_of_real_proxies() {
        for (text, status, reason) in [
            ("HTTP/1.1 200 Connection established\r\n\r\n", 200, "Connection established"),
            ("HTTP/1.0 200\r\n\r\n", 200, ""),
            ("HTTP/1.1 403 Filtered\nServer: tinyproxy/1.11.1\n\n", 403, "Filtered"),
        ] {
            let HeadProgress::Complete(head, used) = read_head(text.as_bytes()) else { panic!("{text}") };
            assert_eq!((head.status, head.reason.as_str(), used), (status, reason, text.len()));
        }
        for text in ["HTTP/1.1 xyz\r\n\r\n", "HTTP/1.1\r\n\r\n", "<html>", "\x15\x03\x01"] {
            assert_eq!(read_head(text.as_bytes()), HeadProgress::NotHttp, "{text}");
        }
    }

    #[test]
    fn heads_have_a_bound() {
        let head = |bytes: usize| {
            let mut text = b"HTTP/1.1 200 OK\r\nX: ".to_vec();
            text.resize(bytes - 4, b'x');
            text.extend(b"\r\n\r\n");
            text
        };
        assert!(matches!(read_head(&head(HEAD_BYTES_MAX)), HeadProgress::Complete(..)));
        assert_eq!(read_head(&head(HEAD_BYTES_MAX + 1)), HeadProgress::TooLong);
    }

    #[test]
    fn dates_read() {
        let HeadProgress::Complete(head, _) =
            read_head(b"HTTP/1.1 200 OK\r\nDate: Sun, 06 Nov 1994 08:49:37 GMT\r\n\r\n")
        else {
            panic!()
        };
        assert_eq!(head.date(), Some(784_111_777));
    }

    #[test]
    fn sec_credentials_are_in_the_request_and_nowhere_else() {
        let credentials: Credentials = "u:secret".parse().unwrap();
        let request = connect_request("h.example", 443, Some(&credentials));
        assert!(request.expose_secret().contains("Proxy-Authorization: Basic dTpzZWNyZXQ=\r\n"));
        assert!(!format!("{request:?}").contains("dTpz"));
    }

    proptest! {
        #[test]
        fn any_split_gives_the_same_head(cut in 0usize..60) {
            let text = b"HTTP/1.1 200 OK\r\nServer: x\r\nVia: 1.1 y\r\n\r\nbody";
            let cut = cut.min(text.len());
            if cut < text.len() - 4 {
                prop_assert_eq!(read_head(&text[..cut]), HeadProgress::Incomplete);
            }
        }

        #[test]
        fn no_bytes_panic(bytes in proptest::collection::vec(any::<u8>(), 0..80)) {
            let _ = read_head(&bytes);
            let mut text = b"HTTP/".to_vec();
            text.extend(bytes);
            let _ = read_head(&text);
        }
    }
}

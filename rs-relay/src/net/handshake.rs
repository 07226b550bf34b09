//! The opening handshake of RFC 6455: its key and its answer.

use aws_lc_rs::digest::{SHA1_FOR_LEGACY_USE_ONLY, digest};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hyper::HeaderMap;
use hyper::header::HeaderName;
#[cfg(feature = "server")]
use hyper::header::{CONNECTION, SEC_WEBSOCKET_KEY, SEC_WEBSOCKET_VERSION, UPGRADE};

/// The header that carries a token.
pub(crate) const TOKEN_HEADER: HeaderName = HeaderName::from_static("servicebusauthorization");

const GUID: &[u8] = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11";

/// The answer to a client's key.
pub(crate) fn accept_key(key: &str) -> String {
    let text = [key.as_bytes(), GUID].concat();
    STANDARD.encode(digest(&SHA1_FOR_LEGACY_USE_ONLY, &text))
}

/// A fresh key of a client.
#[cfg(feature = "client")]
pub(crate) fn new_key() -> String {
    STANDARD.encode(super::random::bytes::<16>())
}

/// The client's key, if the headers are those of an opening handshake.
#[cfg(feature = "server")]
pub(crate) fn client_key(headers: &HeaderMap) -> Option<&str> {
    let version = headers.get(SEC_WEBSOCKET_VERSION)?.to_str().ok()?;
    if version.trim() != "13" || !has_token(headers, &CONNECTION, "upgrade") {
        return None;
    }
    if !has_token(headers, &UPGRADE, "websocket") {
        return None;
    }
    let key = headers.get(SEC_WEBSOCKET_KEY)?.to_str().ok()?.trim();
    let bytes = STANDARD.decode(key).ok()?;
    (bytes.len() == 16).then_some(key)
}

/// Whether a comma-separated header has a word, case aside.
pub(crate) fn has_token(headers: &HeaderMap, name: &HeaderName, token: &str) -> bool {
    let values = headers.get_all(name).iter().filter_map(|value| value.to_str().ok());
    values.flat_map(|value| value.split(',')).any(|word| word.trim().eq_ignore_ascii_case(token))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn key_of_the_rfc() {
        assert_eq!(accept_key("dGhlIHNhbXBsZSBub25jZQ=="), "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
    }

    #[cfg(feature = "server")]
    #[test]
    fn only_whole_handshakes_count() {
        let good = [
            ("connection", "keep-alive, Upgrade"),
            ("upgrade", "WebSocket"),
            ("sec-websocket-version", "13"),
            ("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ=="),
        ];
        let map = |pairs: &[(&'static str, &str)]| -> HeaderMap {
            pairs.iter().map(|(n, v)| (HeaderName::from_static(n), v.parse().unwrap())).collect()
        };
        assert!(client_key(&map(&good)).is_some());
        for index in 0..good.len() {
            let mut bad = good;
            bad[index].1 = "8";
            assert!(client_key(&map(&bad)).is_none(), "{}", good[index].0);
        }
    }
}

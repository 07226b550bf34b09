//! The URL of a container with its shared access signature.

use chrono::{DateTime, Utc};
use rs_consent::RequestNumber;
use secrecy::{ExposeSecret as _, SecretString};
use uuid::Uuid;

use crate::outcome::{ErrorCode, Failure};

/// Longest URL, in bytes.
pub(super) const URL_BYTES_MAX: usize = 4096;

/// A container and the right to write into it. `Debug` shows host and path only.
#[derive(Clone)]
pub struct Container {
    host: String,
    port: u16,
    tls: bool,
    /// Path of the container, beginning with a slash.
    path: String,
    /// The signature: everything behind the question mark.
    signature: SecretString,
    expires_at: Option<DateTime<Utc>>,
}

impl std::fmt::Debug for Container {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Container").field(&self.place()).finish()
    }
}

impl Container {
    /// Reads a container's URL: `https://ACCOUNT.blob.core.windows.net/CONTAINER?sv=…&sp=cw&se=…&sig=…`.
    ///
    /// Plain `http://` is taken for this machine itself only, as storage emulators need it.
    ///
    /// # Errors
    ///
    /// [`ErrorCode::InvalidFile`] for anything else; the text is never repeated.
    ///
    /// # Examples
    ///
    /// ```
    /// use rs_cli::blob::Container;
    ///
    /// let text = "https://logs.blob.core.windows.net/case?sv=2024-11-04&sp=cw&sig=c2VjcmV0".into();
    /// let container = Container::parse(&text)?;
    /// assert_eq!(container.place(), "https://logs.blob.core.windows.net/case");
    /// assert!(!format!("{container:?}").contains("c2VjcmV0"));
    /// assert!(Container::parse(&"http://logs.example/case?sig=x".into()).is_err());
    /// # Ok::<(), rs_cli::outcome::Failure>(())
    /// ```
    pub fn parse(text: &SecretString) -> Result<Self, Failure> {
        let text = text.expose_secret().trim();
        let unusable = |why: &'static str| {
            Failure::new(ErrorCode::InvalidFile, "the storage URL cannot be used")
                .because(std::io::Error::other(why))
                .next_step("it is one line: https://ACCOUNT.blob.core.windows.net/CONTAINER?…&sig=…, with the permissions create and write")
        };
        if text.len() > URL_BYTES_MAX {
            return Err(unusable("it is too long"));
        }
        let plain = |c: char| {
            c.is_ascii_graphic() && !matches!(c, '"' | '<' | '>' | '\\' | '^' | '`' | '{' | '}' | '|')
        };
        if !text.chars().all(plain) {
            return Err(unusable("it holds characters that a URL cannot have"));
        }
        let (tls, rest) = match text.split_once("://") {
            Some((scheme, rest)) if scheme.eq_ignore_ascii_case("https") => (true, rest),
            Some((scheme, rest)) if scheme.eq_ignore_ascii_case("http") => (false, rest),
            _ => return Err(unusable("it does not begin with https://")),
        };
        let (address, signature) = rest.split_once('?').ok_or_else(|| unusable("it has no signature"))?;
        let (authority, path) = address.split_once('/').ok_or_else(|| unusable("it names no container"))?;
        let path = path.trim_end_matches('/');
        let segments = path.split('/').count();
        if path.is_empty()
            || segments > 2
            || path.split('/').any(|segment| matches!(segment, "" | "." | ".."))
        {
            return Err(unusable("it must name a container, and nothing below it"));
        }
        if authority.contains('@') || rest.contains('#') {
            return Err(unusable("it holds a user or a fragment"));
        }
        let (host, port) =
            host_and_port(authority, tls).ok_or_else(|| unusable("its host cannot be read"))?;
        if !tls && !rs_proxy::settings::is_loopback(&host) {
            return Err(unusable("without https only this machine itself can be reached"));
        }
        let parameters = || signature.split('&').filter_map(|pair| pair.split_once('='));
        if !parameters().any(|(name, value)| name == "sig" && !value.is_empty()) {
            return Err(unusable("it has no signature"));
        }
        let expires_at = parameters().find(|(name, _)| *name == "se").and_then(|(_, value)| date(value));
        let (path, signature) = (format!("/{path}"), SecretString::from(signature));
        Ok(Self { host, port, tls, path, signature, expires_at })
    }

    /// Where it is, without the signature.
    #[must_use]
    pub fn place(&self) -> String {
        let (scheme, usual) = if self.tls { ("https", 443) } else { ("http", 80) };
        let port = if self.port == usual { String::new() } else { format!(":{}", self.port) };
        format!("{scheme}://{}{port}{}", self.host, self.path)
    }

    /// When the signature ends, as it says itself.
    #[must_use]
    pub const fn expires_at(&self) -> Option<DateTime<Utc>> {
        self.expires_at
    }

    pub(super) fn host(&self) -> &str {
        &self.host
    }

    pub(super) const fn port(&self) -> u16 {
        self.port
    }

    pub(super) const fn tls(&self) -> bool {
        self.tls
    }

    /// Value of the `Host` header.
    pub(super) fn authority(&self) -> String {
        format!("{}:{}", self.host, self.port)
    }

    /// Path and query of a blob's request; a secret.
    pub(super) fn target(&self, blob: &str, more: &str) -> SecretString {
        let more = if more.is_empty() { String::new() } else { format!("{more}&") };
        SecretString::from(format!("{}/{blob}?{more}{}", self.path, self.signature.expose_secret()))
    }
}

/// Where the files of a bundle lie in the container: the case first (Q06).
pub(super) fn blob_name(request: RequestNumber, bundle: Uuid, file: &str) -> String {
    format!("{request}/{bundle}/{file}")
}

fn host_and_port(authority: &str, tls: bool) -> Option<(String, u16)> {
    let usual = if tls { 443 } else { 80 };
    let (host, port) = match authority.rsplit_once(':') {
        Some((host, port)) if !host.is_empty() && !port.contains(']') => (host, port.parse().ok()?),
        _ => (authority, usual),
    };
    let fits = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-');
    (!host.is_empty() && host.chars().all(fits) && port > 0).then(|| (host.to_ascii_lowercase(), port))
}

/// The end of a signature: RFC 3339 with escaped colons, or a bare date.
fn date(value: &str) -> Option<DateTime<Utc>> {
    let text = value.replace("%3A", ":").replace("%3a", ":");
    let day = || text.parse::<chrono::NaiveDate>().ok()?.and_hms_opt(0, 0, 0).map(|at| at.and_utc());
    text.parse::<DateTime<Utc>>().ok().or_else(day)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn parse(text: &str) -> Result<Container, String> {
        Container::parse(&text.into()).map_err(|failure| format!("{failure:?} {failure}"))
    }

    #[test]
    fn containers_of_the_cloud_and_of_an_emulator_are_read() {
        let cloud =
            parse("https://LOGS.blob.core.windows.net/case/?sp=cw&se=2026-01-02T03%3A04%3A05Z&sig=abc%3D\n")
                .expect("read");
        assert_eq!(cloud.place(), "https://logs.blob.core.windows.net/case");
        assert_eq!(cloud.expires_at(), Some("2026-01-02T03:04:05Z".parse().expect("a date")));
        assert_eq!((cloud.port(), cloud.tls()), (443, true));
        assert_eq!(
            cloud.target("a/b", "comp=block").expose_secret(),
            "/case/a/b?comp=block&sp=cw&se=2026-01-02T03%3A04%3A05Z&sig=abc%3D"
        );
        let emulator =
            parse("http://127.0.0.1:10000/devstoreaccount1/logs?se=2026-01-02&sig=x").expect("read");
        assert_eq!(emulator.place(), "http://127.0.0.1:10000/devstoreaccount1/logs");
        assert_eq!(emulator.expires_at(), Some("2026-01-02T00:00:00Z".parse().expect("a date")));
    }

    #[test]
    fn sec33_what_is_no_container_is_refused_without_repeating_it() {
        for bad in [
            "",
            "https://",
            "ftp://h/c?sig=SECRET",
            "https://h?sig=SECRET",
            "https://h/?sig=SECRET",
            "https://h/c",
            "https://h/c?sv=SECRET",
            "https://h/c?sig=",
            "http://logs.example/c?sig=SECRET",
            "https://u@h/c?sig=SECRET",
            "https://h/a/b/c?sig=SECRET",
            "https://h/../c?sig=SECRET",
            "https://h/c?sig=SECRET#x",
            "https://h/c#x?sig=SECRET",
            "https://h:0/c?sig=SECRET",
            "https://h/c d?sig=SECRET",
            "https://h/c?sig=SECRET\r\nHost: x",
            "https://h_/c?sig=SECRET",
        ] {
            let error = parse(bad).expect_err(bad);
            assert!(!error.contains("SECRET"), "{error}");
        }
        let long = |bytes: usize| format!("https://h/c?sig={}", "x".repeat(bytes - 16));
        assert!(parse(&long(URL_BYTES_MAX)).is_ok());
        assert!(parse(&long(URL_BYTES_MAX + 1)).is_err());
    }

    /// What URLs are made of, and what breaks them.
    fn pieces() -> impl Strategy<Value = String> {
        let piece = proptest::sample::select(vec![
            "https://",
            "http://",
            "h",
            "127.0.0.1",
            "localhost",
            ":",
            ":0",
            ":443",
            ":65536",
            "/",
            "c",
            ".",
            "..",
            "?",
            "sig=",
            "sig=x",
            "&",
            "se=",
            "2026-01-02",
            "%3A",
            "%",
            "@",
            "#",
            "[::1]",
            " ",
            "\r\n",
            "\u{e9}",
            "\0",
        ]);
        let tail = proptest::collection::vec(piece, 0..14).prop_map(|pieces| pieces.concat());
        (any::<bool>(), tail)
            .prop_map(|(begun, tail)| if begun { format!("https://h/{tail}?sig=x") } else { tail })
    }

    proptest! {
        #[test]
        fn sec44_what_is_read_names_one_place_and_is_read_again_as_the_same(text in pieces()) {
            let Ok(container) = parse(&text) else { return Ok(()) };
            let place = container.place();
            prop_assert!(container.port() > 0 && container.path.starts_with('/'));
            prop_assert!(place.chars().all(|c| c.is_ascii_graphic() && !matches!(c, '?' | '#')), "{}", place);
            prop_assert!(container.tls() || rs_proxy::settings::is_loopback(container.host()));
            let again = parse(&format!("{place}?sig=x")).expect("it is one");
            prop_assert_eq!(again.place(), place);
        }

        #[test]
        fn sec44_no_text_makes_it_panic_and_none_is_repeated(text in "\\PC{0,60}", secret in "[a-z]{20}") {
            let _ = parse(&text);
            if let Ok(container) = parse(&format!("https://h/c?sig={secret}")) {
                let shown = format!("{container:?} {}", container.place());
                prop_assert!(!shown.contains(&secret));
            }
        }
    }
}

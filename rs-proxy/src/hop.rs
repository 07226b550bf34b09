//! The hops of a connection, what failed at one, why, and what to do about it.
//!
//! Pure: facts go in (a status, the first bytes, an error), a [`Failure`] comes out. The first hop that fails decides; a
//! later one is never reported. "Behind the proxy" is said where no more than that is known.

use serde::{Deserialize, Serialize};

use crate::http::ResponseHead;
use crate::name::HostPattern;
use crate::render::{self, Format};

/// A hop, in the order of a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Hop {
    /// The proxy settings of the node.
    Settings,
    /// Name resolution, without a proxy.
    Dns,
    /// TCP connection, without a proxy.
    Tcp,
    /// Name resolution of the proxy.
    ProxyDns,
    /// TCP connection to the proxy.
    ProxyTcp,
    /// TLS to the proxy itself.
    ProxyTls,
    /// The proxy's answer to CONNECT, as HTTP.
    ProxyHttp,
    /// The proxy wants a user and password.
    ProxyAuth,
    /// A sign-in page instead of a tunnel.
    CaptivePortal,
    /// The proxy's allowlist.
    ProxyPolicy,
    /// The way from the proxy onwards.
    ProxyUpstream,
    /// The TLS handshake with the endpoint.
    TlsHandshake,
    /// Someone in between opens the TLS.
    TlsInspection,
    /// The endpoint's certificate.
    TlsCertificate,
    /// An HTTP answer of the endpoint.
    Http,
    /// The upgrade to WebSocket.
    Websocket,
    /// The clocks.
    Clock,
}

impl Hop {
    /// Every hop, in the order of a connection.
    pub const ALL: &[Self] = &[
        Self::Settings,
        Self::Dns,
        Self::Tcp,
        Self::ProxyDns,
        Self::ProxyTcp,
        Self::ProxyTls,
        Self::ProxyHttp,
        Self::ProxyAuth,
        Self::CaptivePortal,
        Self::ProxyPolicy,
        Self::ProxyUpstream,
        Self::TlsHandshake,
        Self::TlsInspection,
        Self::TlsCertificate,
        Self::Http,
        Self::Websocket,
        Self::Clock,
    ];

    /// The name as in JSON.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Settings => "settings",
            Self::Dns => "dns",
            Self::Tcp => "tcp",
            Self::ProxyDns => "proxy-dns",
            Self::ProxyTcp => "proxy-tcp",
            Self::ProxyTls => "proxy-tls",
            Self::ProxyHttp => "proxy-http",
            Self::ProxyAuth => "proxy-auth",
            Self::CaptivePortal => "captive-portal",
            Self::ProxyPolicy => "proxy-policy",
            Self::ProxyUpstream => "proxy-upstream",
            Self::TlsHandshake => "tls-handshake",
            Self::TlsInspection => "tls-inspection",
            Self::TlsCertificate => "tls-certificate",
            Self::Http => "http",
            Self::Websocket => "websocket",
            Self::Clock => "clock",
        }
    }

    /// What it means that a connection ends at this hop, as a sentence without full stop.
    #[must_use]
    pub const fn cause(self) -> &'static str {
        match self {
            Self::Settings => "the proxy setting that wins cannot be used",
            Self::Dns => "the name does not resolve on this machine",
            Self::Tcp => "no TCP connection to the endpoint comes about",
            Self::ProxyDns => "the name of the proxy does not resolve on this machine",
            Self::ProxyTcp => "no TCP connection to the proxy comes about",
            Self::ProxyTls => "no trusted TLS connection to the proxy itself comes about",
            Self::ProxyHttp => "the proxy does not answer CONNECT as a proxy does",
            Self::ProxyAuth => "the proxy asks for a user and password, or refuses those that it was given",
            Self::CaptivePortal => "a sign-in page answers in the place of the endpoint",
            Self::ProxyPolicy => "the proxy's list does not let the name through",
            Self::ProxyUpstream => "the proxy accepts the request and does not reach the endpoint",
            Self::TlsHandshake => "the way is open, and something on it breaks the TLS handshake",
            Self::TlsInspection => "something on the way opens the TLS and shows a certificate of its own",
            Self::TlsCertificate => "the endpoint answers with a certificate that is not trusted",
            Self::Http => "the endpoint was reached and does not answer as it should over HTTP",
            Self::Websocket => "the request to change to WebSocket does not arrive",
            Self::Clock => "the clock of this machine is too far from that of the endpoint",
        }
    }

    /// What can be done in general, as a sentence without full stop; a [`Failure`] knows more.
    ///
    /// ```
    /// use rs_proxy::Hop;
    ///
    /// assert_eq!(Hop::Clock.remedy(), "set the clock, by NTP where it can be");
    /// ```
    #[must_use]
    pub const fn remedy(self) -> &'static str {
        match self {
            Self::Settings => {
                "write the proxy as http://HOST:PORT in the setting that the finding names; `remote-support proxy settings` lists them all"
            }
            Self::Dns => {
                "see which name servers this machine asks and whether they know public names; behind a proxy that resolves, set the proxy"
            }
            Self::Tcp => {
                "open the port outbound in the firewall, or set the proxy through which this network is left"
            }
            Self::ProxyDns => "correct the proxy's name in the setting, or the name server",
            Self::ProxyTcp => "correct host and port of the proxy in the setting, or open the way to it",
            Self::ProxyTls => {
                "write the proxy as http:// if it takes plain connections, or name the authority of its certificate"
            }
            Self::ProxyHttp => {
                "see whether host and port are those of an HTTP proxy, and whether it permits CONNECT to this port"
            }
            Self::ProxyAuth => {
                "exempt the nodes' addresses from proxy authentication; for our own agent a file with Basic credentials is possible (--proxy-credentials-file)"
            }
            Self::CaptivePortal => "register the node with the network, or take it out of the portal",
            Self::ProxyPolicy => {
                "add the line that the finding names to the proxy's list; `remote-support proxy allowlist FILE` judges the whole list"
            }
            Self::ProxyUpstream => {
                "see on the proxy itself whether it resolves the name and whether its own way out is open"
            }
            Self::TlsHandshake => {
                "exempt the name from filtering by server name and from intrusion prevention; allow TLS 1.2 and 1.3"
            }
            Self::TlsInspection => "exempt the names of remote support from TLS inspection",
            Self::TlsCertificate => {
                "see whether the clock is right and the authority of the certificate is known here; for a relay of your own name its ca.pem"
            }
            Self::Http => {
                "see whether host and port are those of the relay; try again later if it is Azure's own"
            }
            Self::Websocket => "allow WebSocket for this name on the proxy, and exempt it from inspection",
            Self::Clock => "set the clock, by NTP where it can be",
        }
    }
}

impl std::fmt::Display for Hop {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(self.as_str())
    }
}

/// What failed, why, and what to do.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Failure {
    /// The hop.
    pub hop: Hop,
    /// What was seen.
    pub evidence: String,
    /// What that means.
    pub explanation: String,
    /// What to do.
    pub fix: String,
}

impl Failure {
    pub(crate) fn new(
        hop: Hop,
        evidence: impl Into<String>,
        explanation: impl Into<String>,
        fix: impl Into<String>,
    ) -> Self {
        Self { hop, evidence: evidence.into(), explanation: explanation.into(), fix: fix.into() }
    }
}

impl Failure {
    /// The same when user and password were sent: a proxy that asks for them nevertheless has refused them.
    #[cfg(feature = "probe")]
    pub(crate) fn after_credentials(self, head: &ResponseHead, proxy: &str) -> Self {
        if self.hop != Hop::ProxyAuth {
            return self;
        }
        let schemes = auth_schemes(head);
        let (explanation, fix) = if schemes.split(", ").any(|scheme| scheme.eq_ignore_ascii_case("basic")) {
            (
                format!("the proxy {proxy} refuses the user and password that it was given ({schemes})"),
                "correct the credentials, one line user:password in their file, or exempt the nodes' addresses from proxy \
                 authentication; Azure Local does not support it",
            )
        } else {
            (
                format!(
                    "the proxy {proxy} does not take a user and password as they are sent, Basic, but wants {schemes}"
                ),
                "exempt the nodes' addresses from proxy authentication; Azure Local does not support it",
            )
        };
        Self { explanation, fix: fix.to_owned(), ..self }
    }
}

impl std::fmt::Display for Failure {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}: {} ({}). {}", self.hop, self.explanation, self.evidence, self.fix)
    }
}

impl std::error::Error for Failure {}

/// How reading or writing ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Stop {
    /// The deadline passed, after so many seconds.
    Silence(u64),
    /// The other side closed.
    Closed,
    /// The other side reset the connection.
    Reset,
    /// Another error, in words.
    Other(String),
}

impl std::fmt::Display for Stop {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Silence(seconds) => write!(f, "no answer within {seconds} s"),
            Self::Closed => f.write_str("connection closed"),
            Self::Reset => f.write_str("connection reset"),
            Self::Other(text) => f.write_str(text),
        }
    }
}

/// What a proxy's answer to CONNECT means. `wanted` is what was asked for, in words; `entry` the required entry it belongs
/// to, which the fix names.
///
/// # Errors
///
/// The failure for every answer that is not 2xx.
///
/// # Examples
///
/// ```
/// use rs_proxy::Hop;
/// use rs_proxy::hop::judge_connect;
/// use rs_proxy::http::{HeadProgress, read_head};
///
/// let HeadProgress::Complete(head, _) = read_head(b"HTTP/1.1 403 Forbidden\r\nServer: squid/5.7\r\n\r\n") else {
///     unreachable!()
/// };
/// let entry = "*.servicebus.windows.net".parse()?;
/// let failure = judge_connect(&head, "ns.servicebus.windows.net:443", Some(&entry), "proxy:3128").unwrap_err();
/// assert_eq!(failure.hop, Hop::ProxyPolicy);
/// assert!(failure.fix.contains(".servicebus.windows.net"));
/// # Ok::<(), rs_proxy::NameError>(())
/// ```
pub fn judge_connect(
    head: &ResponseHead,
    wanted: &str,
    entry: Option<&HostPattern>,
    proxy: &str,
) -> Result<(), Failure> {
    let evidence = answer(head);
    let fail =
        |hop, explanation: String, fix: String| Err(Failure::new(hop, evidence.clone(), explanation, fix));
    match head.status {
        200..=299 => Ok(()),
        407 => {
            let schemes = auth_schemes(head);
            fail(
                Hop::ProxyAuth,
                format!("the proxy {proxy} asks for a user and password ({schemes})"),
                "exempt the nodes' addresses from proxy authentication; Azure Local does not support it. For our own \
                 agent, Basic credentials in a file are possible"
                    .to_owned(),
            )
        }
        300..=399 | 511 => {
            let to = head
                .header("location")
                .map_or_else(String::new, |to| format!(" to {}", crate::name::shown(to)));
            fail(
                Hop::CaptivePortal,
                format!("the proxy {proxy} redirects{to}: a sign-in network or a coaching page"),
                "register the node with the network, or take it out of the portal".to_owned(),
            )
        }
        401 | 403 | 404 | 451 => {
            let product = product(head);
            fail(
                Hop::ProxyPolicy,
                format!("the proxy {proxy}{} does not let {wanted} through", product.named()),
                entry.map_or_else(|| format!("allow {wanted} on the proxy"), |entry| product.fix(entry)),
            )
        }
        500 | 502 | 503 | 504 => fail(
            Hop::ProxyUpstream,
            format!("the proxy {proxy} permits it but cannot get there: {}", upstream_cause(head)),
            "ask the proxy's owner to resolve the name and to connect to port 443 from the proxy itself"
                .to_owned(),
        ),
        status => fail(
            Hop::ProxyHttp,
            format!(
                "{proxy} answers CONNECT with {status}: it is not a proxy for HTTPS, or not on this port"
            ),
            "check address and port of the proxy".to_owned(),
        ),
    }
}

/// What it means that there is no proper answer to CONNECT. `first` holds the bytes that came.
#[must_use]
pub fn judge_no_answer(first: &[u8], stop: &Stop, proxy: &str) -> Failure {
    let (evidence, explanation) = match first {
        [0x15 | 0x16, 3, ..] => {
            ("TLS bytes".to_owned(), format!("{proxy} speaks TLS: the port is for an https:// proxy"))
        }
        [] => (stop.to_string(), format!("{proxy} accepts the connection but does not answer CONNECT")),
        bytes => (
            format!("'{}', then {stop}", printable(bytes)),
            format!("{proxy} does not answer as an HTTP proxy"),
        ),
    };
    Failure::new(
        Hop::ProxyHttp,
        evidence,
        explanation,
        "check address and port of the proxy, whether it wants https://, and whether a rule there holds the node back",
    )
}

/// What it means that the TLS handshake did not come about. `first` are the first bytes that came through the tunnel,
/// `connect` is the proxy's answer.
#[must_use]
pub fn judge_handshake(
    first: &[u8],
    error: &str,
    stop: &Stop,
    connect: Option<&ResponseHead>,
    host: &str,
) -> Failure {
    let is_tls = matches!(first, [0x14..=0x17, 3, ..]);
    if !is_tls && is_page(first, connect) {
        let evidence =
            format!("{}; then '{}'", connect.map_or_else(|| "no proxy".to_owned(), answer), printable(first));
        return Failure::new(
            Hop::CaptivePortal,
            evidence,
            "a web page comes where TLS should: a sign-in network or a block page",
            "register the node with the network, or take it out of the portal",
        );
    }
    let place = if connect.is_some() { "behind the proxy" } else { "on the way" };
    let (evidence, explanation) = if first.is_empty() {
        (
            stop.to_string(),
            format!(
                "the tunnel is open, but {host} does not begin TLS: something {place} filters by name, or nothing is there"
            ),
        )
    } else if is_tls {
        (error.to_owned(), format!("the TLS handshake with {host} fails"))
    } else {
        (format!("'{}'", printable(first)), format!("what answers for {host} does not speak TLS"))
    };
    Failure::new(
        Hop::TlsHandshake,
        evidence,
        explanation,
        format!(
            "exempt {host} from filtering by server name and from intrusion prevention {place}; allow TLS 1.2 and 1.3 with ECDHE-GCM"
        ),
    )
}

/// Whether the bytes, or the proxy's own answer, look like a web page.
fn is_page(first: &[u8], connect: Option<&ResponseHead>) -> bool {
    let text = String::from_utf8_lossy(first).to_ascii_lowercase();
    let text = text.trim_start();
    let body = connect.is_some_and(|head| {
        head.header("content-length").is_some_and(|length| length != "0")
            || head.header("content-type").is_some_and(|kind| kind.contains("html"))
    });
    body || text.starts_with("<html")
        || text.starts_with("<!doctype")
        || (text.starts_with("http/") && text.get(9..12).is_some_and(|status| status != "400"))
}

/// What the answer to a WebSocket upgrade means: 101, or a refusal that the relay itself made.
///
/// # Errors
///
/// The failure when the answer shows that the upgrade did not arrive.
pub fn judge_upgrade(head: &ResponseHead, body: &str) -> Result<(), Failure> {
    let from_relay = head.reason.contains("TrackingId") || body.contains("TrackingId");
    match head.status {
        101 | 401 => Ok(()),
        404 if from_relay => Ok(()),
        _ => Err(Failure::new(
            Hop::Websocket,
            answer(head),
            "the request to change to WebSocket did not arrive: something on the way removes the Upgrade header",
            "allow WebSocket for this name on the proxy, and exempt it from inspection",
        )),
    }
}

/// `Basic realm=…, NTLM` as the scheme names.
fn auth_schemes(head: &ResponseHead) -> String {
    let schemes: Vec<&str> = head
        .headers("proxy-authenticate")
        .flat_map(|value| value.split(','))
        .filter_map(|part| part.split_whitespace().next())
        .filter(|word| !word.contains('='))
        .collect();
    if schemes.is_empty() { "no scheme named".to_owned() } else { schemes.join(", ") }
}

/// What a proxy lets slip about the way behind it.
fn upstream_cause(head: &ResponseHead) -> String {
    let code = head.header("x-squid-error").unwrap_or_default();
    if code.starts_with("ERR_CANNOT_FORWARD") || code.starts_with("ERR_DNS_FAIL") {
        return format!("{code}: it cannot resolve the name, or has no way to it");
    }
    if code.starts_with("ERR_CONNECT_FAIL") {
        return format!("{code}: the connection behind the proxy is refused or blocked");
    }
    match head.status {
        504 => "time-out behind the proxy".to_owned(),
        status => format!("{status} {}", head.reason),
    }
}

/// A proxy product.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Product {
    Squid,
    Tinyproxy,
    Zscaler,
    Unknown,
}

impl Product {
    fn named(self) -> &'static str {
        match self {
            Self::Squid => " (squid)",
            Self::Tinyproxy => " (tinyproxy)",
            Self::Zscaler => " (Zscaler)",
            Self::Unknown => "",
        }
    }

    fn fix(self, entry: &HostPattern) -> String {
        let line = |format| render::entry(format, entry);
        match self {
            Self::Squid => format!("add this line to the dstdomain list of squid: {}", line(Format::Squid)),
            Self::Tinyproxy => {
                format!("add this line to the filter file of tinyproxy: {}", line(Format::Tinyproxy))
            }
            Self::Zscaler => format!("add {} to the URL category that is allowed", line(Format::Zscaler)),
            Self::Unknown => format!("add {entry} to the proxy's allowlist, in its own spelling"),
        }
    }
}

fn product(head: &ResponseHead) -> Product {
    let marks =
        ["server", "via", "x-squid-error", "x-cache"].map(|name| head.header(name).unwrap_or_default());
    let marks = marks.join(" ").to_ascii_lowercase();
    if marks.contains("squid") || head.header("x-squid-error").is_some() {
        Product::Squid
    } else if marks.contains("tinyproxy") {
        Product::Tinyproxy
    } else if marks.contains("zscaler") {
        Product::Zscaler
    } else {
        Product::Unknown
    }
}

/// A response in a line: status, reason, and the headers that tell who answered.
pub(crate) fn answer(head: &ResponseHead) -> String {
    let mut text = format!("{} {}", head.status, head.reason);
    for name in ["server", "via", "x-squid-error", "proxy-authenticate", "location"] {
        for value in head.headers(name) {
            text.push_str(&format!("; {name}: {}", crate::name::shown(value)));
        }
    }
    text.trim().to_owned()
}

/// The first bytes as text.
fn printable(bytes: &[u8]) -> String {
    let text: String = bytes
        .iter()
        .take(60)
        .map(|&b| if b.is_ascii_graphic() || b == b' ' { char::from(b) } else { '.' })
        .collect();
    text.trim().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::{HeadProgress, read_head};

    fn head(text: &str) -> ResponseHead {
        match read_head(format!("{text}\r\n\r\n").as_bytes()) {
            HeadProgress::Complete(head, _) => head,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn p05_each_answer_to_connect_has_its_hop() {
        let entry = "*.servicebus.windows.net".parse().unwrap();
        for (text, hop, word) in [
            (
                "HTTP/1.1 403 Forbidden\r\nX-Squid-Error: ERR_ACCESS_DENIED 0",
                Hop::ProxyPolicy,
                ".servicebus.windows.net",
            ),
            (
                "HTTP/1.1 403 Filtered\r\nServer: tinyproxy/1.11.1",
                Hop::ProxyPolicy,
                r"\.servicebus\.windows\.net$",
            ),
            ("HTTP/1.1 403 Forbidden\r\nServer: Zscaler/6.2", Hop::ProxyPolicy, "URL category"),
            ("HTTP/1.1 451 Legal", Hop::ProxyPolicy, "allowlist"),
            (
                "HTTP/1.1 407 Auth\r\nProxy-Authenticate: Basic realm=\"x\"\r\nProxy-Authenticate: NTLM",
                Hop::ProxyAuth,
                "exempt",
            ),
            ("HTTP/1.1 302 Found\r\nLocation: http://portal.example/", Hop::CaptivePortal, "portal"),
            ("HTTP/1.1 511 Network", Hop::CaptivePortal, "portal"),
            ("HTTP/1.1 500 x\r\nX-Squid-Error: ERR_CANNOT_FORWARD 0", Hop::ProxyUpstream, "proxy itself"),
            ("HTTP/1.1 503 x\r\nX-Squid-Error: ERR_CONNECT_FAIL 111", Hop::ProxyUpstream, "proxy itself"),
            ("HTTP/1.1 405 Method Not Allowed", Hop::ProxyHttp, "port"),
            ("HTTP/1.1 501 Not Implemented", Hop::ProxyHttp, "port"),
        ] {
            let failure = judge_connect(&head(text), "h:443", Some(&entry), "p:1").unwrap_err();
            assert_eq!(failure.hop, hop, "{text}");
            assert!(failure.fix.contains(word), "{}", failure.fix);
        }
        assert!(judge_connect(&head("HTTP/1.0 200 ok"), "h:443", None, "p:1").is_ok());
        let failure = judge_connect(
            &head("HTTP/1.1 407 A\r\nProxy-Authenticate: Basic realm=\"a, b\", NTLM"),
            "h:443",
            None,
            "p:1",
        );
        assert!(failure.unwrap_err().explanation.contains("NTLM"));
    }

    #[test]
    fn p05_first_bytes_tell_what_answers() {
        let plain = head("HTTP/1.1 200 ok");
        let page = head("HTTP/1.1 200 ok\r\nContent-Length: 200");
        let judge =
            |first: &[u8], connect| judge_handshake(first, "e", &Stop::Closed, connect, "h.example").hop;
        assert_eq!(judge(b"", Some(&plain)), Hop::TlsHandshake);
        assert_eq!(judge(b"", Some(&page)), Hop::CaptivePortal);
        assert_eq!(judge(b"<HTML>", Some(&plain)), Hop::CaptivePortal);
        assert_eq!(judge(b"HTTP/1.1 302 Found", None), Hop::CaptivePortal);
        assert_eq!(judge(b"HTTP/1.1 400 Bad", Some(&plain)), Hop::TlsHandshake);
        assert_eq!(judge(b"SSH-2.0", Some(&plain)), Hop::TlsHandshake);
        assert_eq!(judge(&[0x15, 3, 3, 0, 2, 2, 40], Some(&page)), Hop::TlsHandshake);
        assert!(judge_no_answer(&[0x15, 3, 1], &Stop::Closed, "p:1").explanation.contains("TLS"));
    }

    #[test]
    fn p10_upgrades() {
        for (text, ok) in [
            ("HTTP/1.1 101 Switching", true),
            ("HTTP/1.1 401 MissingToken. TrackingId:1", true),
            ("HTTP/1.1 404 x TrackingId:1", true),
            ("HTTP/1.1 404 x", false),
            ("HTTP/1.1 200 OK", false),
            ("HTTP/1.1 400 This endpoint is only for web-socket requests", false),
            ("HTTP/1.1 426 Upgrade Required", false),
        ] {
            assert_eq!(judge_upgrade(&head(text), "").is_ok(), ok, "{text}");
        }
    }
}

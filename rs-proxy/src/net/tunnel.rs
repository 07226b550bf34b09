//! From here to a target: name, TCP, the proxy, its answer. One step after the other, each with its own deadline.

use std::future::Future;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use rustls::pki_types::ServerName;
use secrecy::ExposeSecret;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout_at};
use tokio_rustls::TlsConnector;

use super::stream::Stream;
use super::{Deadlines, Resolve, Trust};
use crate::hop::{self, Failure, Hop, Stop};
use crate::http::{HeadProgress, ResponseHead, connect_request, read_head};
use crate::name::HostPattern;
use crate::settings::{ProxyUrl, Route};

/// Most addresses of a name that are tried.
const ADDRESSES_MAX: usize = 4;

/// Is told of each step.
pub(super) trait Watch: Send {
    /// A step begins.
    fn begin(&mut self, hop: Hop);
    /// The step that began last went well.
    fn passed(&mut self, evidence: String);
}

/// Nobody watches.
pub(super) struct Unwatched;

impl Watch for Unwatched {
    fn begin(&mut self, _hop: Hop) {}
    fn passed(&mut self, _evidence: String) {}
}

/// What a tunnel is opened with.
pub(super) struct Opening<'a> {
    pub(super) host: &'a str,
    pub(super) port: u16,
    /// The entry to name when the allowlist is at fault.
    pub(super) entry: Option<&'a HostPattern>,
    pub(super) trust: &'a Trust,
    pub(super) resolve: &'a Resolve,
    pub(super) deadlines: &'a Deadlines,
    /// When the whole has to end.
    pub(super) end: Instant,
}

/// A stream to the target, and what the proxy said.
#[derive(Debug)]
pub(super) struct Tunnel {
    pub(super) stream: Stream,
    pub(super) connect: Option<ResponseHead>,
    /// The address of the target, in direct mode.
    pub(super) address: Option<IpAddr>,
}

/// Bytes or time ran out: how a wait ended.
pub(super) async fn within<T>(
    limit: Duration,
    end: Instant,
    wait: impl Future<Output = std::io::Result<T>>,
) -> Result<T, Stop> {
    let begun = Instant::now();
    let deadline = (begun + limit).min(end);
    match timeout_at(deadline, wait).await {
        Ok(Ok(value)) => Ok(value),
        Ok(Err(error)) => Err(stop_of(&error)),
        Err(_) => Err(Stop::Silence((deadline - begun).as_secs_f64().round() as u64)),
    }
}

/// An I/O error as a stop.
pub(super) fn stop_of(error: &std::io::Error) -> Stop {
    use std::io::ErrorKind::{BrokenPipe, ConnectionAborted, ConnectionReset, UnexpectedEof};
    match error.kind() {
        UnexpectedEof | BrokenPipe => Stop::Closed,
        ConnectionReset | ConnectionAborted => Stop::Reset,
        _ => Stop::Other(error.to_string()),
    }
}

impl Opening<'_> {
    /// Opens the way by a route.
    pub(super) async fn open(&self, route: &Route, watch: &mut dyn Watch) -> Result<Tunnel, Failure> {
        match route {
            Route::Direct => self.direct(watch).await,
            Route::Proxy(proxy) => self.through(proxy, watch).await,
            Route::Unusable(reason) => {
                watch.begin(Hop::Settings);
                let commands = crate::settings::commands(None, None).join("\n");
                let fix = format!("set the proxy as http://host:port:\n{commands}");
                Err(Failure::new(Hop::Settings, reason.clone(), "the proxy setting cannot be used", fix))
            }
        }
    }

    async fn direct(&self, watch: &mut dyn Watch) -> Result<Tunnel, Failure> {
        let (host, port) = (self.host, self.port);
        watch.begin(Hop::Dns);
        let addresses = self.look_up(host, port).await.map_err(|why| {
            let fix = "check the node's DNS servers, each of them on each adapter";
            Failure::new(Hop::Dns, why, format!("{host} does not resolve on this machine"), fix)
        })?;
        watch.passed(list(&addresses));
        watch.begin(Hop::Tcp);
        let stream = self.connect(&addresses).await.map_err(|stop| {
            let why = match stop {
                Stop::Silence(_) => "nothing answers: a firewall drops it",
                _ => "the connection is refused or blocked",
            };
            let fix = format!("open TCP {port} outbound from the node to {host}, by name");
            Failure::new(Hop::Tcp, stop.to_string(), format!("{host}:{port}: {why}"), fix)
        })?;
        let address = stream.peer_addr().ok().map(|address| address.ip());
        watch.passed(address.map_or_else(String::new, |address| address.to_string()));
        Ok(Tunnel { stream: Stream::tcp(stream), connect: None, address })
    }

    async fn through(&self, proxy: &ProxyUrl, watch: &mut dyn Watch) -> Result<Tunnel, Failure> {
        let mut stream = self.reach_proxy(proxy, watch).await?;
        watch.begin(Hop::ProxyHttp);
        let place = format!("{}:{}", proxy.host(), proxy.port());
        let request = connect_request(self.host, self.port, proxy.credentials());
        let answer = async {
            stream.write_all(request.expose_secret().as_bytes()).await?;
            stream.flush().await?;
            head_of(&mut stream).await
        };
        let answered = within(self.deadlines.connect_answer, self.end, answer).await;
        let (head, rest) = match answered {
            Ok(Some(answer)) => answer,
            Ok(None) => {
                return Err(hop::judge_no_answer(stream.first(), &Stop::Other("no HTTP".to_owned()), &place));
            }
            Err(stop) => return Err(hop::judge_no_answer(stream.first(), &stop, &place)),
        };
        let judged = hop::judge_connect(&head, &format!("{}:{}", self.host, self.port), self.entry, &place);
        judged.map_err(|failure| match proxy.credentials() {
            Some(_) => failure.after_credentials(&head, &place),
            None => failure,
        })?;
        watch.passed(hop::answer(&head));
        stream.begin_tunnel(rest);
        Ok(Tunnel { stream, connect: Some(head), address: None })
    }

    /// Name, TCP and TLS of the proxy.
    async fn reach_proxy(&self, proxy: &ProxyUrl, watch: &mut dyn Watch) -> Result<Stream, Failure> {
        let (host, port) = (proxy.host(), proxy.port());
        watch.begin(Hop::ProxyDns);
        let addresses = self.look_up(host, port).await.map_err(|why| {
            let fix = "check the proxy's name in the settings, and the DNS servers; names in .local need their own DNS";
            Failure::new(Hop::ProxyDns, why, format!("the proxy's name {host} does not resolve"), fix)
        })?;
        watch.passed(list(&addresses));
        watch.begin(Hop::ProxyTcp);
        let stream = self.connect(&addresses).await.map_err(|stop| {
            let (why, fix) = match stop {
                Stop::Silence(_) => (
                    "does not answer: a firewall in between drops it",
                    "ask who owns the firewall between node and proxy",
                ),
                _ => (
                    "refuses: wrong port, or the proxy is down",
                    "check address and port of the proxy, and that it runs",
                ),
            };
            Failure::new(Hop::ProxyTcp, stop.to_string(), format!("the proxy {host}:{port} {why}"), fix)
        })?;
        watch.passed(stream.peer_addr().map_or_else(|_| String::new(), |address| address.to_string()));
        if !proxy.is_tls() {
            return Ok(Stream::tcp(stream));
        }
        watch.begin(Hop::ProxyTls);
        let fail = |evidence: String| {
            Failure::new(
                Hop::ProxyTls,
                evidence,
                format!("TLS to the proxy {host}:{port} itself fails"),
                "check the certificate of the proxy and the CA given for it, or write the proxy as http://host:port",
            )
        };
        let config = self.trust.client_config().map_err(|error| fail(error.to_string()))?;
        let name = ServerName::try_from(host.to_owned()).map_err(|error| fail(error.to_string()))?;
        let connected = TlsConnector::from(Arc::new(config)).connect(name, stream);
        let stream =
            within(self.deadlines.tls, self.end, connected).await.map_err(|stop| fail(stop.to_string()))?;
        watch.passed("TLS".to_owned());
        Ok(Stream::tls(stream))
    }

    async fn look_up(&self, host: &str, port: u16) -> Result<Vec<SocketAddr>, String> {
        if let Some(address) = self.resolve.find(host, port) {
            return Ok(vec![SocketAddr::new(address, port)]);
        }
        let found = within(self.deadlines.dns, self.end, tokio::net::lookup_host((host, port))).await;
        let mut addresses: Vec<SocketAddr> = found.map_err(|stop| stop.to_string())?.collect();
        addresses.truncate(ADDRESSES_MAX);
        if addresses.is_empty() { Err("no address".to_owned()) } else { Ok(addresses) }
    }

    /// The first address that accepts. All together have the time of one.
    async fn connect(&self, addresses: &[SocketAddr]) -> Result<TcpStream, Stop> {
        let share = self.deadlines.tcp / u32::try_from(addresses.len().max(1)).unwrap_or(1);
        let mut last = Stop::Other("no address".to_owned());
        for address in addresses {
            match within(share, self.end, TcpStream::connect(address)).await {
                Ok(stream) => {
                    let _ = stream.set_nodelay(true); // only latency depends on it
                    let _ = give_up_dead_ways(&stream); // without it a dead way is found late
                    return Ok(stream);
                }
                Err(stop) => last = stop,
            }
        }
        Err(last)
    }
}

/// Has the system end a connection whose bytes stay unacknowledged, long before its own limit of many minutes.
#[cfg(target_os = "linux")]
fn give_up_dead_ways(stream: &TcpStream) -> std::io::Result<()> {
    let wait = u32::try_from(super::UNACKNOWLEDGED_MAX.as_millis()).unwrap_or(u32::MAX);
    Ok(rustix::net::sockopt::set_tcp_user_timeout(stream, wait)?)
}

#[cfg(not(target_os = "linux"))]
fn give_up_dead_ways(_: &TcpStream) -> std::io::Result<()> {
    Ok(())
}

/// Reads a response head; what comes behind it is handed back. `None` when it is not HTTP or too long.
pub(super) async fn head_of<S>(stream: &mut S) -> std::io::Result<Option<(ResponseHead, Vec<u8>)>>
where
    S: tokio::io::AsyncRead + Unpin,
{
    let mut bytes = Vec::new();
    let mut chunk = [0; 4096];
    loop {
        let read = stream.read(&mut chunk).await?;
        bytes.extend_from_slice(&chunk[..read]);
        match read_head(&bytes) {
            HeadProgress::Complete(head, used) => return Ok(Some((head, bytes.split_off(used)))),
            HeadProgress::NotHttp if !bytes.is_empty() => return Ok(None),
            HeadProgress::TooLong => return Ok(None),
            _ if read == 0 => return Err(std::io::ErrorKind::UnexpectedEof.into()),
            _ => {}
        }
    }
}

/// Addresses for a line of evidence.
fn list(addresses: &[SocketAddr]) -> String {
    addresses.iter().map(|address| address.ip().to_string()).collect::<Vec<_>>().join(", ")
}

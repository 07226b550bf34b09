//! The test bed: genuine and faulty endpoints, and an exit through which every proxy reaches them. Loopback only.

use std::collections::HashMap;
use std::io::{Read as _, Write as _};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair, KeyUsagePurpose};
use rs_proxy::net::probe::{Plan, Quiet, Report};
use rs_proxy::net::{Deadlines, Trust, probe};
use rs_proxy::settings::{ProxyUrl, Settings};
use rs_proxy::{Cloud, Profile};
use rustls::pki_types::{PrivateKeyDer, UnixTime};
use tokio::io::{AsyncReadExt, AsyncWriteExt, copy_bidirectional};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;

/// Namespace and account that the tests probe.
pub(crate) const NAMESPACE: &str = "rslab.servicebus.windows.net";
pub(crate) const ACCOUNT: &str = "rslab.blob.core.windows.net";

/// An issuer with its certificate.
pub(crate) type Issuer = CertifiedIssuer<'static, KeyPair>;

/// A CA of a given organisation.
pub(crate) fn ca(organisation: &str, name: &str) -> Issuer {
    let mut params = CertificateParams::default();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    params.distinguished_name.push(DnType::OrganizationName, organisation);
    params.distinguished_name.push(DnType::CommonName, name);
    CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap()
}

/// A TLS server side for some names, issued by a CA, valid around a day offset from now.
pub(crate) fn acceptor(issuer: &Issuer, names: &[&str], days: i64) -> TlsAcceptor {
    let (leaf, key) = leaf(issuer, names, days);
    let key = PrivateKeyDer::try_from(key.serialize_der()).unwrap();
    let config =
        rustls::ServerConfig::builder_with_provider(Arc::new(rustls::crypto::aws_lc_rs::default_provider()))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![leaf.der().clone()], key)
            .unwrap();
    TlsAcceptor::from(Arc::new(config))
}

/// A certificate for some names with its key.
pub(crate) fn leaf(issuer: &Issuer, names: &[&str], days: i64) -> (rcgen::Certificate, KeyPair) {
    let mut params =
        CertificateParams::new(names.iter().map(|n| (*n).to_owned()).collect::<Vec<_>>()).unwrap();
    let now = i64::try_from(UnixTime::now().as_secs()).unwrap() + days * 86400;
    let date = |seconds: i64| {
        let date = chrono::DateTime::from_timestamp(seconds, 0).unwrap();
        let number = |format: &str| date.format(format).to_string().parse().unwrap();
        rcgen::date_time_ymd(number("%Y"), number("%m") as u8, number("%d") as u8)
    };
    params.not_before = date(now - 86400);
    params.not_after = date(now + 2 * 86400);
    params.distinguished_name.push(DnType::CommonName, "asztrsprod.eastus.cloudapp.azure.com");
    let key = KeyPair::generate().unwrap();
    let leaf = params.signed_by(&key, issuer).unwrap();
    (leaf, key)
}

/// All names of the public profile.
pub(crate) const NAMES: [&str; 10] = [
    "*.servicebus.windows.net",
    "*.core.windows.net",
    "*.blob.core.windows.net",
    "login.microsoftonline.com",
    "asztrsprod.westus2.cloudapp.azure.com",
    "asztrsprod.westeurope.cloudapp.azure.com",
    "asztrsprod.eastus.cloudapp.azure.com",
    "asztrsprod.westcentralus.cloudapp.azure.com",
    "asztrsprod.southeastasia.cloudapp.azure.com",
    "edgesupprd.trafficmanager.net",
];

/// What happens to a host behind the exit.
#[derive(Clone)]
pub(crate) enum Fate {
    /// A TLS endpoint.
    Endpoint(TlsAcceptor, Habit),
    /// CONNECT is answered with this, then the connection ends.
    Answer(&'static str),
    /// CONNECT is answered with this, then nothing more comes.
    AnswerAndHold(&'static str),
    /// 200, then the connection is reset.
    Reset,
    /// 200 after a while, then as an endpoint.
    Slow(Duration, TlsAcceptor),
    /// Nothing ever.
    Silence,
    /// An endpoint; but a tunnel that sends nothing at once is closed, as an idle limit would do.
    Once(TlsAcceptor),
    /// 200, then bytes that are no TLS.
    Bytes(&'static str),
}

/// How an endpoint answers HTTP.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Habit {
    /// Seconds that its clock is off.
    pub(crate) skew: i64,
    /// Whether something ate the Upgrade header.
    pub(crate) upgrade_eaten: bool,
    /// Whether it closes without an answer.
    pub(crate) mute: bool,
}

/// A CONNECT proxy on loopback that gives each host its fate, whatever the port.
#[derive(Clone)]
pub(crate) struct Exit {
    pub(crate) address: SocketAddr,
}

impl Exit {
    pub(crate) async fn start(fates: HashMap<String, Fate>, default: Fate) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        tokio::spawn(async move {
            loop {
                let Ok((stream, _)) = listener.accept().await else { return };
                let fates = fates.clone();
                let default = default.clone();
                tokio::spawn(async move { serve(stream, &fates, default).await });
            }
        });
        Self { address }
    }

    pub(crate) fn url(&self) -> ProxyUrl {
        format!("http://{}", self.address).parse().unwrap()
    }
}

async fn request_head<S: tokio::io::AsyncRead + Unpin>(stream: &mut S) -> Option<String> {
    let mut bytes = Vec::new();
    while !bytes.ends_with(b"\r\n\r\n") {
        bytes.push(stream.read_u8().await.ok()?);
        if bytes.len() > 65536 {
            return None;
        }
    }
    String::from_utf8(bytes).ok()
}

async fn serve(mut stream: TcpStream, fates: &HashMap<String, Fate>, default: Fate) {
    let Some(head) = request_head(&mut stream).await else { return };
    let host = head.split_whitespace().nth(1).unwrap_or_default();
    let host = host.rsplit_once(':').map_or(host, |(host, _)| host);
    let ok = b"HTTP/1.1 200 Connection established\r\n\r\n";
    match fates.get(host).cloned().unwrap_or(default) {
        Fate::Endpoint(acceptor, habit) => {
            if stream.write_all(ok).await.is_ok() {
                endpoint(stream, acceptor, habit).await;
            }
        }
        Fate::Answer(text) => {
            let _ = stream.write_all(text.as_bytes()).await;
            let _ = stream.shutdown().await;
        }
        Fate::AnswerAndHold(text) => {
            let _ = stream.write_all(text.as_bytes()).await;
            hold(stream).await;
        }
        Fate::Reset => {
            let _ = stream.write_all(ok).await;
            let _ = stream.read_u8().await;
            let _ = stream.set_zero_linger();
        }
        Fate::Slow(time, acceptor) => {
            tokio::time::sleep(time).await;
            if stream.write_all(ok).await.is_ok() {
                endpoint(stream, acceptor, Habit::default()).await;
            }
        }
        Fate::Once(acceptor) => {
            let _ = stream.write_all(ok).await;
            let mut byte = [0];
            let waiting = tokio::time::timeout(Duration::from_millis(700), stream.peek(&mut byte));
            if waiting.await.is_ok() {
                endpoint(stream, acceptor, Habit::default()).await;
            }
        }
        Fate::Silence => hold(stream).await,
        Fate::Bytes(text) => {
            let _ = stream.write_all(ok).await;
            let _ = stream.read_u8().await;
            let _ = stream.write_all(text.as_bytes()).await;
            hold(stream).await;
        }
    }
}

/// Keeps a connection open until the other side leaves.
async fn hold(mut stream: TcpStream) {
    let mut buffer = [0; 1024];
    while stream.read(&mut buffer).await.is_ok_and(|read| read > 0) {}
}

async fn endpoint(stream: TcpStream, acceptor: TlsAcceptor, habit: Habit) {
    let Ok(mut tls) = acceptor.accept(stream).await else { return };
    let Some(head) = request_head(&mut tls).await else { return };
    if habit.mute {
        return;
    }
    let seconds = i64::try_from(UnixTime::now().as_secs()).unwrap() + habit.skew;
    let date = chrono::DateTime::from_timestamp(seconds, 0).unwrap().format("%a, %d %b %Y %H:%M:%S GMT");
    let upgrade = head.to_ascii_lowercase().contains("\r\nupgrade: websocket") && !habit.upgrade_eaten;
    let (status, body) = match (head.contains("/$hc/"), upgrade) {
        (true, true) => ("401 MissingToken", "MissingToken. TrackingId:1234"),
        (true, false) => ("400 Bad Request", "This endpoint is only for web-socket requests"),
        _ => ("403 Forbidden", "a stranger"),
    };
    let answer = format!(
        "HTTP/1.1 {status}\r\nDate: {date}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}",
        body.len()
    );
    let _ = tls.write_all(answer.as_bytes()).await;
    let _ = tls.shutdown().await;
}

/// A forward proxy on loopback that copies to where the exit is, for tests of the dialer: TLS in front of it.
pub(crate) async fn tls_front(acceptor: TlsAcceptor, behind: SocketAddr) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let acceptor = acceptor.clone();
            tokio::spawn(async move {
                let Ok(mut tls) = acceptor.accept(stream).await else { return };
                let Ok(mut onward) = TcpStream::connect(behind).await else { return };
                let _ = copy_bidirectional(&mut tls, &mut onward).await;
            });
        }
    });
    address
}

/// A listener that does the same with each connection: writes bytes and holds it, or drops it.
pub(crate) async fn speaker(text: &'static str, keep: bool) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            tokio::spawn(async move {
                let _ = stream.write_all(text.as_bytes()).await;
                if keep {
                    hold(stream).await;
                }
            });
        }
    });
    address
}

/// A genuine CA, an exit, and a trust in it.
pub(crate) struct Bed {
    pub(crate) genuine: Issuer,
    pub(crate) trust: Trust,
}

impl Bed {
    pub(crate) fn new() -> Self {
        let genuine = ca("Genuine Trust", "Genuine Root");
        let pem = genuine.pem();
        let trust = Trust::system()
            .unwrap()
            .with_ca_pem(pem.as_bytes())
            .unwrap()
            .with_genuine_pem(pem.as_bytes())
            .unwrap();
        Self { genuine, trust }
    }

    /// A healthy endpoint for all names.
    pub(crate) fn healthy(&self) -> Fate {
        Fate::Endpoint(acceptor(&self.genuine, &NAMES, 0), Habit::default())
    }

    /// An exit where one host has a fate of its own.
    pub(crate) async fn exit(&self, special: Option<(&str, Fate)>) -> Exit {
        let fates = special.into_iter().map(|(host, fate)| (host.to_owned(), fate)).collect();
        Exit::start(fates, self.healthy()).await
    }

    /// The nine endpoints with their probe hosts.
    pub(crate) fn profile() -> Profile {
        Profile::of(Cloud::Public)
            .with_probe_host("servicebus", NAMESPACE.parse().unwrap())
            .unwrap()
            .with_probe_host("core", ACCOUNT.parse().unwrap())
            .unwrap()
    }

    pub(crate) fn plan(&self, proxy: ProxyUrl) -> Plan {
        Plan::new(Self::profile(), Settings::through(proxy), self.trust.clone())
    }

    /// A probe of all nine through a proxy.
    pub(crate) async fn probe(&self, proxy: ProxyUrl) -> Report {
        probe::run(self.plan(proxy), Arc::new(Quiet)).await
    }

    /// A probe with short deadlines, for black holes.
    pub(crate) async fn probe_briefly(&self, proxy: ProxyUrl) -> Report {
        let mut plan = self.plan(proxy);
        plan.deadlines = brief();
        probe::run(plan, Arc::new(Quiet)).await
    }
}

/// Deadlines for what never answers.
pub(crate) fn brief() -> Deadlines {
    let mut deadlines = Deadlines::default();
    deadlines.connect_answer = Duration::from_millis(600);
    deadlines.tls = Duration::from_millis(600);
    deadlines.http = Duration::from_millis(600);
    deadlines
}

/// Sends CONNECT and returns the status line's code; none when the proxy hangs up.
pub(crate) fn connect_status(proxy: SocketAddr, target: &str) -> Option<u16> {
    let mut stream = std::net::TcpStream::connect(proxy).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    stream.write_all(format!("CONNECT {target} HTTP/1.1\r\nHost: {target}\r\n\r\n").as_bytes()).unwrap();
    let mut bytes = Vec::new();
    let mut chunk = [0; 256];
    while !bytes.contains(&b'\n') {
        let read = stream.read(&mut chunk).ok().filter(|&read| read > 0)?;
        bytes.extend_from_slice(&chunk[..read]);
    }
    String::from_utf8_lossy(&bytes).split_whitespace().nth(1)?.parse().ok()
}

//! The way to one endpoint, hop by hop.

use std::sync::Arc;
use std::time::Duration;

use rustls::pki_types::{ServerName, UnixTime};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::Instant;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::{EndpointReport, Plan, Progress, Step, millis};
use crate::endpoint::{Confidence, Endpoint, Purpose};
use crate::hop::{self, Failure, Hop, Stop};
use crate::http::{ResponseHead, get_request, upgrade_request};
use crate::name::Target;
use crate::net::stream::Stream;
use crate::net::trust::Judgement;
use crate::net::tunnel::{Opening, Tunnel, Unwatched, Watch, head_of, stop_of, within};
use crate::settings::Route;
use crate::severity::Severity;

/// Clock difference that makes tokens fail, in seconds.
pub const SKEW_SECONDS_MAX: u64 = 300;
/// Clock difference worth a warning, in seconds.
pub const SKEW_SECONDS_WARN: u64 = 60;
/// Bytes of a response body that are looked at.
const BODY_BYTES_MAX: usize = 4096;
/// Label of the name with which the proxy's policy is asked where no real name is known.
const STAND_IN: &str = "g0-remote-support-check";

/// The way to one endpoint.
pub(super) struct Walk<'a> {
    plan: &'a Plan,
    endpoint: &'a Endpoint,
    progress: &'a dyn Progress,
    steps: Vec<Step>,
    warnings: Vec<String>,
    judgement: Option<Judgement>,
    /// The step that is under way.
    open: Option<(Hop, Instant)>,
    begun: Instant,
}

impl Watch for Walk<'_> {
    fn begin(&mut self, hop: Hop) {
        self.progress.begin(&self.endpoint.id, hop);
        self.open = Some((hop, Instant::now()));
    }

    fn passed(&mut self, evidence: String) {
        self.close(true, evidence, None);
    }
}

impl<'a> Walk<'a> {
    pub(super) fn new(plan: &'a Plan, endpoint: &'a Endpoint, progress: &'a dyn Progress) -> Self {
        let (steps, warnings) = (Vec::new(), Vec::new());
        Self { plan, endpoint, progress, steps, warnings, judgement: None, open: None, begun: Instant::now() }
    }

    /// Ends the step under way, if there is one, under the name of the hop that failed.
    fn close(&mut self, passed: bool, evidence: String, hop: Option<Hop>) {
        if let Some((open, begun)) = self.open.take() {
            let step = Step { hop: hop.unwrap_or(open), passed, millis: millis(begun), evidence };
            self.progress.step(&self.endpoint.id, &step);
            self.steps.push(step);
        }
    }

    pub(super) async fn run(mut self) -> EndpointReport {
        let Some(target) = self.endpoint.probe_target() else { return self.without_name().await };
        let route = self.plan.settings.route(target.host().as_str(), target.port());
        let end = self.begun + self.plan.deadlines.whole;
        let result = self.all_steps(&target, &route, end).await;
        if let Err(failure) = &result {
            if self.open.is_none() {
                self.open = Some((failure.hop, Instant::now()));
            }
            self.close(false, failure.evidence.clone(), Some(failure.hop));
        }
        self.report(target.host().to_string(), target.port(), &route, true, result)
    }

    async fn all_steps(&mut self, target: &Target, route: &Route, end: Instant) -> Result<String, Failure> {
        let host = target.host().as_str();
        let tunnel = self.opening(host, target.port(), end).open(route, self).await?;
        self.look_at_address(tunnel.address);
        let mut tls = self.handshake(tunnel, host, end).await?;
        let head = self.ask(&mut tls, target, end).await?;
        drop(tls);
        if self.endpoint.purpose == Purpose::Relay
            && self.endpoint.pattern.is_wildcard()
            && matches!(route, Route::Proxy(_))
        {
            self.rendezvous(route, end).await?;
        }
        self.idle(route, target).await;
        Ok(format!("answers {} inside genuine TLS", head.status))
    }

    fn opening<'b>(&self, host: &'b str, port: u16, end: Instant) -> Opening<'b>
    where
        'a: 'b,
    {
        let Plan { trust, resolve, deadlines, .. } = self.plan;
        Opening { host, port, entry: Some(&self.endpoint.pattern), trust, resolve, deadlines, end }
    }

    /// A private address in direct mode: Private Link, which is not supported, or a name that is kept inside.
    fn look_at_address(&mut self, address: Option<std::net::IpAddr>) {
        if let Some(std::net::IpAddr::V4(address)) =
            address.filter(|_| self.endpoint.confidence != Confidence::Given)
            && address.is_private()
        {
            self.warnings.push(format!(
                "the name resolves to the private address {address}: Private Link is not supported"
            ));
        }
    }

    /// TLS with the endpoint, and whose certificate it is.
    async fn handshake(
        &mut self,
        tunnel: Tunnel,
        host: &str,
        end: Instant,
    ) -> Result<TlsStream<Stream>, Failure> {
        self.begin(Hop::TlsHandshake);
        let broken = |reason: String| {
            Failure::new(Hop::TlsHandshake, reason, "TLS cannot be set up here", "report this as a fault")
        };
        let (config, recorder) =
            self.plan.trust.recording_config().map_err(|error| broken(error.to_string()))?;
        let name = ServerName::try_from(host.to_owned()).map_err(|error| broken(error.to_string()))?;
        let connect = tunnel.connect;
        let mut failed = None;
        let connecting = TlsConnector::from(Arc::new(config)).connect(name, tunnel.stream).into_fallible();
        let connecting = async {
            connecting.await.map_err(|(error, stream)| {
                failed = Some(stream);
                error
            })
        };
        let limit = self.plan.deadlines.tls;
        let tls = match within(limit, end, connecting).await {
            Ok(tls) => tls,
            Err(stop) => {
                let first = failed.as_ref().map(|stream| stream.first().to_vec()).unwrap_or_default();
                return Err(hop::judge_handshake(&first, &stop.to_string(), &stop, connect.as_ref(), host));
            }
        };
        let version =
            tls.get_ref().1.protocol_version().and_then(|version| version.as_str()).unwrap_or("TLS");
        self.passed(version.to_owned());
        self.begin(Hop::TlsCertificate);
        let own = self.endpoint.confidence == Confidence::Given;
        let judgement = self.plan.trust.judge(&recorder.chain(), host, UnixTime::now(), own);
        self.judgement = Some(judgement.clone());
        if let Some(failure) = judgement.failure(host) {
            return Err(failure);
        }
        match &judgement {
            Judgement::OtherRoot { issuer } => self.warnings.push(format!(
                "the certificate is issued by {issuer}, under a public root that is not known for this endpoint; look whether that is right"
            )),
            Judgement::Genuine { trusted: false, .. } => {
                self.warnings.push("the root is genuine, but this machine's own store does not have it".to_owned());
            }
            _ => {}
        }
        self.passed("chain ends in a genuine root".to_owned());
        Ok(tls)
    }

    /// One HTTP request: any answer will do, on the relay one to an upgrade.
    async fn ask(
        &mut self,
        tls: &mut TlsStream<Stream>,
        target: &Target,
        end: Instant,
    ) -> Result<ResponseHead, Failure> {
        self.begin(Hop::Http);
        let relay = self.endpoint.purpose == Purpose::Relay;
        let (host, port) = (target.host().as_str(), target.port());
        let request = if relay {
            upgrade_request(host, port, "/$hc/remote-support-check?sb-hc-action=listen")
        } else {
            get_request(host, port, "/")
        };
        let sent = Instant::now();
        let exchange = async {
            tls.write_all(request.as_bytes()).await?;
            tls.flush().await?;
            head_of(tls).await
        };
        let fail = |evidence: String| {
            Failure::new(
                Hop::Http,
                evidence,
                format!("{host} completes TLS but does not answer HTTP"),
                "exempt the name from content filtering on the way; try again, the endpoint itself may be at fault",
            )
        };
        let answer =
            within(self.plan.deadlines.http, end, exchange).await.map_err(|stop| fail(stop.to_string()))?;
        let (head, body) = answer.ok_or_else(|| fail("the answer is not HTTP".to_owned()))?;
        let round = sent.elapsed();
        self.passed(hop::answer(&head));
        if relay {
            self.begin(Hop::Websocket);
            let body = if head.status == 101 { body } else { rest_of(tls, body, end).await };
            hop::judge_upgrade(&head, &String::from_utf8_lossy(&body))?;
            self.passed(hop::answer(&head));
        }
        self.clock(&head, round)?;
        Ok(head)
    }

    /// Compares the clocks.
    fn clock(&mut self, head: &ResponseHead, round: Duration) -> Result<(), Failure> {
        let Some(date) = head.date() else { return Ok(()) };
        self.begin(Hop::Clock);
        let middle = UnixTime::now().as_secs().saturating_sub(round.as_secs() / 2);
        let here = i64::try_from(middle).unwrap_or(i64::MAX);
        let skew = here.saturating_sub(date);
        let way = if skew > 0 { "ahead of" } else { "behind" };
        let evidence = format!("this machine is {} s {way} the endpoint", skew.unsigned_abs());
        if skew.unsigned_abs() > SKEW_SECONDS_MAX {
            return Err(Failure::new(
                Hop::Clock,
                evidence,
                format!("the clocks differ by {} s: tokens and certificates fail", skew.unsigned_abs()),
                "set this machine's time service first",
            ));
        }
        if skew.unsigned_abs() > SKEW_SECONDS_WARN {
            self.warnings.push(evidence.clone());
        }
        self.passed(evidence);
        Ok(())
    }

    /// Whether the proxy also permits another name of the relay's domain: the rendezvous is at a gateway's name, not at
    /// the namespace. The name is made up; a proxy decides before it resolves, so only a denial counts.
    async fn rendezvous(&mut self, route: &Route, end: Instant) -> Result<(), Failure> {
        let host = format!("{STAND_IN}.{}", self.endpoint.pattern.name());
        let result = self.opening(&host, self.endpoint.pattern.port(), end).open(route, &mut Unwatched).await;
        let Err(mut failure) = result else { return Ok(()) };
        if failure.hop != Hop::ProxyPolicy {
            return Ok(());
        }
        failure.explanation = format!(
            "the namespace is let through, but not other names of {}: the relay hands each session to a gateway with a name of its own ({})",
            self.endpoint.pattern, failure.explanation
        );
        Err(failure)
    }

    /// Holds a second tunnel without traffic, if asked to, and sees whether it survives.
    async fn idle(&mut self, route: &Route, target: &Target) {
        let Some(idle) = self.plan.idle.filter(|_| self.endpoint.purpose == Purpose::Relay) else { return };
        let end = Instant::now() + self.plan.deadlines.whole + idle;
        let opening = self.opening(target.host().as_str(), target.port(), end);
        let Ok(mut tunnel) = opening.open(route, &mut Unwatched).await else { return };
        let mut byte = [0];
        let cut = within(idle, end, tunnel.stream.read(&mut byte)).await;
        match cut {
            Err(Stop::Silence(_)) => {}
            Ok(_) | Err(_) => self.warnings.push(format!(
                "a tunnel without traffic is cut within {} s; the agent's pings must come more often",
                idle.as_secs()
            )),
        }
    }

    /// A wildcard without a real name: only the proxy's policy can be asked.
    async fn without_name(mut self) -> EndpointReport {
        let pattern = &self.endpoint.pattern;
        let (host, port) = (format!("{STAND_IN}.{}", pattern.name()), pattern.port());
        let route = self.plan.settings.route(&host, port);
        let end = self.begun + self.plan.deadlines.whole;
        let mut result = Ok(String::new());
        if !matches!(route, Route::Direct) {
            let opened = self.opening(&host, port, end).open(&route, &mut self).await;
            result = match opened {
                Err(failure) if failure.hop == Hop::ProxyUpstream => {
                    self.passed(format!("permitted; the made-up name leads nowhere ({})", failure.evidence));
                    Ok("the proxy lets names of this kind through; ".to_owned())
                }
                Err(failure) => {
                    self.close(false, failure.evidence.clone(), Some(failure.hop));
                    Err(failure)
                }
                Ok(_) => Ok("the proxy lets names of this kind through; ".to_owned()),
            };
        }
        let shown = pattern.to_string();
        self.report(shown, port, &route, false, result)
    }

    fn report(
        self,
        host: String,
        port: u16,
        route: &Route,
        probed: bool,
        result: Result<String, Failure>,
    ) -> EndpointReport {
        let (hop, explanation, fix) = match result {
            Ok(text) if probed => (None, text, String::new()),
            Ok(text) => (
                None,
                format!("not probed: {text}a wildcard has no name of its own"),
                format!("name a real host: --probe-host {}=HOST", self.endpoint.id),
            ),
            Err(failure) => (Some(failure.hop), failure.explanation, failure.fix),
        };
        let severity = match (hop, probed, self.warnings.is_empty()) {
            (Some(Hop::Settings), ..) => Severity::CouldNotRun,
            (Some(_), ..) => Severity::Failed,
            (None, false, _) | (None, true, false) => Severity::Warning,
            (None, true, true) => Severity::Ok,
        };
        EndpointReport {
            id: self.endpoint.id.clone(),
            entry: self.endpoint.entry.clone(),
            host,
            port,
            route: match route {
                Route::Proxy(proxy) => proxy.to_string(),
                Route::Direct | Route::Unusable(_) => "direct".to_owned(),
            },
            probed,
            usable: hop.is_none() && probed,
            hop,
            issuer: self.judgement.as_ref().and_then(Judgement::issuer).map(str::to_owned),
            judgement: self.judgement,
            explanation,
            fix,
            warnings: self.warnings,
            steps: self.steps,
            millis: millis(self.begun),
            severity,
        }
    }
}

/// A little of the body, as far as it comes soon.
async fn rest_of(tls: &mut TlsStream<Stream>, mut body: Vec<u8>, end: Instant) -> Vec<u8> {
    let read = async {
        let mut chunk = [0; 1024];
        while body.len() < BODY_BYTES_MAX {
            match tls.read(&mut chunk).await {
                Ok(0) => break,
                Ok(read) => body.extend_from_slice(&chunk[..read]),
                Err(error) => return Err::<(), _>(stop_of(&error)),
            }
        }
        Ok(())
    };
    // What came is enough; how the reading ended does not matter.
    let _ = tokio::time::timeout_at(end.min(Instant::now() + Duration::from_millis(200)), read).await;
    body
}

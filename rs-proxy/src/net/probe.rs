//! The probe: each endpoint, hop by hop, in parallel; the first hop that fails decides.
//!
//! An endpoint is usable when its name answers HTTP inside TLS that ends in a genuine root, whatever the status: 403 from
//! `edgesupprd` is success, 403 to the CONNECT is not. On the relay the upgrade to WebSocket has to arrive too, and the
//! proxy has to permit other names of the same domain, for the rendezvous happens there.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use rustls::pki_types::{ServerName, UnixTime};
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::task::JoinSet;
use tokio::time::Instant;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::stream::Stream;
use super::trust::Judgement;
use super::tunnel::{Opening, Tunnel, Watch, head_of, stop_of, within};
use super::{Deadlines, Resolve, Trust};
use crate::allowlist::Finding;
use crate::endpoint::{Cloud, Confidence, Endpoint, EndpointId, Profile, Purpose};
use crate::hop::{self, Failure, Hop, Stop};
use crate::http::{ResponseHead, get_request, upgrade_request};
use crate::name::Target;
use crate::settings::{Route, Settings};
use crate::severity::Severity;

/// Clock difference that makes tokens fail, in seconds.
pub const SKEW_SECONDS_MAX: u64 = 300;
/// Clock difference worth a warning, in seconds.
pub const SKEW_SECONDS_WARN: u64 = 60;
/// Endpoints that are probed at once.
pub const PARALLEL_MAX: usize = 16;
/// Bytes of a response body that are looked at.
const BODY_BYTES_MAX: usize = 4096;
/// Label of the name with which the proxy's policy is asked where no real name is known.
const STAND_IN: &str = "g0-remote-support-check";

/// What to probe and how.
///
/// # Defaults
///
/// [`Plan::new`]: system trust as given, no addresses by hand, default [`Deadlines`], no idle test.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Plan {
    /// The endpoints.
    pub profile: Profile,
    /// The node's proxy settings.
    pub settings: Settings,
    /// What is trusted and what is genuine.
    pub trust: Trust,
    /// Addresses by hand.
    pub resolve: Resolve,
    /// Deadlines.
    pub deadlines: Deadlines,
    /// How long to hold a tunnel to the relay without traffic, to see whether it is cut. None: not tested.
    pub idle: Option<Duration>,
}

impl Plan {
    /// A plan with defaults.
    #[must_use]
    pub fn new(profile: Profile, settings: Settings, trust: Trust) -> Self {
        let (resolve, deadlines) = (Resolve::default(), Deadlines::default());
        Self { profile, settings, trust, resolve, deadlines, idle: None }
    }
}

/// Is told what happens, as it happens. Called from several tasks at once; must not block for long.
pub trait Progress: Send + Sync {
    /// A step of an endpoint begins.
    fn begin(&self, id: &EndpointId, hop: Hop) {
        let _ = (id, hop);
    }

    /// A step of an endpoint is over.
    fn step(&self, id: &EndpointId, step: &Step) {
        let _ = (id, step);
    }

    /// An endpoint is done.
    fn done(&self, endpoint: &EndpointReport) {
        let _ = endpoint;
    }
}

/// No progress is shown.
#[derive(Debug, Clone, Copy, Default)]
pub struct Quiet;

impl Progress for Quiet {}

/// One step of one endpoint.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Step {
    /// The hop.
    pub hop: Hop,
    /// Whether it went well.
    pub passed: bool,
    /// How long it took, in milliseconds.
    pub millis: u64,
    /// What was seen.
    pub evidence: String,
}

/// The result for one endpoint.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct EndpointReport {
    /// Stable id.
    pub id: EndpointId,
    /// The required entry.
    pub entry: String,
    /// The name probed; for a wildcard without a known name, the entry.
    pub host: String,
    /// The port probed.
    pub port: u16,
    /// How it was reached: `direct`, or the proxy.
    pub route: String,
    /// Whether a real name was probed.
    pub probed: bool,
    /// Whether the endpoint can be used.
    pub usable: bool,
    /// The first hop that failed.
    pub hop: Option<Hop>,
    /// Who issued the certificate that was shown.
    pub issuer: Option<String>,
    /// What was found, in a sentence.
    pub explanation: String,
    /// What to do; empty when nothing is to do.
    pub fix: String,
    /// What deserves a look although it works.
    pub warnings: Vec<String>,
    /// All steps, in order.
    pub steps: Vec<Step>,
    /// Time from the first step to the last, in milliseconds.
    pub millis: u64,
    /// How bad it is.
    pub severity: Severity,
    /// What the certificate told, for the look at all endpoints together.
    #[serde(skip)]
    judgement: Option<Judgement>,
}

/// The result of a probe. `Display` gives a table for people.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Report {
    /// The cloud.
    pub cloud: Cloud,
    /// The proxy that wins, without credentials; none means direct.
    pub proxy: Option<String>,
    /// One result an endpoint, in the order of the profile.
    pub endpoints: Vec<EndpointReport>,
    /// What is wrong with the settings, and what all endpoints together tell.
    pub findings: Vec<Finding>,
    /// Time for all, in milliseconds.
    pub millis: u64,
    /// The worst of all.
    pub severity: Severity,
}

impl Report {
    /// The cause in one line: the worst endpoint's, or nothing when all is well.
    #[must_use]
    pub fn one_line(&self) -> Option<String> {
        let failed: Vec<&EndpointReport> = self.endpoints.iter().filter(|e| e.hop.is_some()).collect();
        let first = failed.first()?;
        let hop = first.hop.map_or("", Hop::as_str);
        let more = failed.len() - 1;
        let more = if more == 0 { String::new() } else { format!(" (and {more} more)") };
        Some(format!("{hop}: {}{more}", first.explanation))
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "Through {}, {} ms", self.proxy.as_deref().unwrap_or("no proxy"), self.millis)?;
        for endpoint in &self.endpoints {
            let word = match (endpoint.usable, endpoint.probed) {
                (true, _) => "usable",
                (false, false) if endpoint.hop.is_none() => "not probed",
                (false, _) => "blocked",
            };
            let hop = endpoint.hop.map_or("", Hop::as_str);
            writeln!(f, "{word:<10} {hop:<15} {}:{} {} ms", endpoint.host, endpoint.port, endpoint.millis)?;
            if !endpoint.usable {
                writeln!(f, "           {}", endpoint.explanation)?;
                if !endpoint.fix.is_empty() {
                    writeln!(f, "           do: {}", endpoint.fix)?;
                }
            }
            for warning in &endpoint.warnings {
                writeln!(f, "           note: {warning}")?;
            }
        }
        for finding in &self.findings {
            writeln!(f, "{}: {}", finding.severity, finding.text)?;
        }
        let usable = self.endpoints.iter().filter(|endpoint| endpoint.usable).count();
        writeln!(f, "{usable} of {} endpoints are usable.", self.endpoints.len())
    }
}

/// One endpoint that does not fare the same on all nodes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Difference {
    /// The endpoint.
    pub id: EndpointId,
    /// The nodes where it is usable.
    pub usable: Vec<String>,
    /// The other nodes, each with the hop that failed; none where it was not probed.
    pub blocked: Vec<(String, Option<Hop>)>,
}

/// The reports of several nodes side by side. `Display` gives text for people.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Comparison {
    /// The nodes, in the order given.
    pub nodes: Vec<String>,
    /// Where they differ.
    pub differences: Vec<Difference>,
    /// The worst of all reports.
    pub severity: Severity,
}

/// Compares the reports of several nodes, which [`Report`]'s JSON carries from one to another: what one node reaches and
/// another does not points at a setting or a rule for that node, not at the proxy's allowlist.
#[must_use]
pub fn compare(reports: &[(String, Report)]) -> Comparison {
    let mut ids: Vec<&EndpointId> = Vec::new();
    for endpoint in reports.iter().flat_map(|(_, report)| &report.endpoints) {
        if !ids.contains(&&endpoint.id) {
            ids.push(&endpoint.id);
        }
    }
    let differences = ids.into_iter().filter_map(|id| difference(id, reports)).collect();
    let severity = reports.iter().map(|(_, report)| report.severity).max().unwrap_or_default();
    Comparison { nodes: reports.iter().map(|(node, _)| node.clone()).collect(), differences, severity }
}

/// How one endpoint fares on each node, if not the same on all.
fn difference(id: &EndpointId, reports: &[(String, Report)]) -> Option<Difference> {
    let mut usable = Vec::new();
    let mut blocked = Vec::new();
    for (node, report) in reports {
        match report.endpoints.iter().find(|endpoint| endpoint.id == *id) {
            Some(endpoint) if endpoint.usable => usable.push(node.clone()),
            Some(endpoint) => blocked.push((node.clone(), endpoint.hop)),
            None => blocked.push((node.clone(), None)),
        }
    }
    let same =
        blocked.is_empty() || (usable.is_empty() && blocked.iter().all(|(_, hop)| *hop == blocked[0].1));
    (!same).then(|| Difference { id: id.clone(), usable, blocked })
}

impl fmt::Display for Comparison {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.differences.is_empty() {
            return writeln!(f, "All {} nodes have the same result.", self.nodes.len());
        }
        for difference in &self.differences {
            let blocked: Vec<String> = difference
                .blocked
                .iter()
                .map(|(node, hop)| format!("{node} ({})", hop.map_or("not probed", Hop::as_str)))
                .collect();
            let usable = if difference.usable.is_empty() {
                "no node".to_owned()
            } else {
                difference.usable.join(", ")
            };
            writeln!(f, "{}: usable on {usable}; not on {}", difference.id, blocked.join(", "))?;
        }
        writeln!(f, "{} endpoints differ between {} nodes.", self.differences.len(), self.nodes.len())
    }
}

/// Probes all endpoints of a plan, at most [`PARALLEL_MAX`] at once. Ends within the deadline of one endpoint, times the
/// number of rounds that are needed (one round for up to 16 endpoints), whatever the network does. An idle test adds its
/// own time.
///
/// # Cancel safety
///
/// Dropping the future ends all probes.
pub async fn run(plan: Plan, progress: Arc<dyn Progress>) -> Report {
    let begun = Instant::now();
    let plan = Arc::new(plan);
    let next = Arc::new(AtomicUsize::new(0));
    let mut workers = JoinSet::new();
    for _ in 0..plan.profile.endpoints().len().min(PARALLEL_MAX) {
        workers.spawn(work(plan.clone(), next.clone(), progress.clone()));
    }
    let mut done: Vec<(usize, EndpointReport)> = Vec::new();
    while let Some(finished) = workers.join_next().await {
        done.extend(finished.unwrap_or_default());
    }
    done.sort_by_key(|(index, _)| *index);
    let mut endpoints: Vec<EndpointReport> = done.into_iter().map(|(_, report)| report).collect();
    let mut findings = plan.settings.findings.clone();
    findings.extend(plan.settings.findings_for(&plan.profile));
    findings.extend(together(&mut endpoints));
    let severities = endpoints.iter().map(|e| e.severity).chain(findings.iter().map(|f| f.severity));
    Report {
        cloud: plan.profile.cloud(),
        proxy: plan.settings.proxy().map(ToString::to_string),
        severity: severities.max().unwrap_or_default(),
        endpoints,
        findings,
        millis: millis(begun),
    }
}

/// Takes endpoints until none is left.
async fn work(
    plan: Arc<Plan>,
    next: Arc<AtomicUsize>,
    progress: Arc<dyn Progress>,
) -> Vec<(usize, EndpointReport)> {
    let mut done = Vec::new();
    loop {
        let index = next.fetch_add(1, Ordering::Relaxed);
        let Some(endpoint) = plan.profile.endpoints().get(index) else { return done };
        let report = Walk::new(&plan, endpoint, progress.as_ref()).run().await;
        progress.done(&report);
        done.push((index, report));
    }
}

/// What the endpoints tell together: a clock, an inspecting device, or a missing intermediate certificate.
fn together(endpoints: &mut [EndpointReport]) -> Vec<Finding> {
    let mut findings = Vec::new();
    tell_missing_from_inspected(endpoints);
    let judged = || endpoints.iter().filter_map(|e| e.judgement.as_ref());
    let (behind, ahead) = (judged().all(Judgement::is_not_yet_valid), judged().all(Judgement::is_expired));
    if judged().count() > 1 && (behind || ahead) {
        let seems = if behind {
            "not valid yet: this machine's clock is behind"
        } else {
            "expired: this machine's clock is ahead"
        };
        for endpoint in endpoints.iter_mut().filter(|e| e.judgement.is_some()) {
            endpoint.hop = Some(Hop::Clock);
            endpoint.fix = format!("set this machine's clock: every certificate seems {seems}");
        }
        findings.push(Finding::new(Severity::Failed, None, format!("every certificate seems {seems}")));
    }
    let inspected = endpoints.iter().filter(|e| e.hop == Some(Hop::TlsInspection)).count();
    if inspected > 1 {
        let all = if inspected == endpoints.len() { "all" } else { "some, not all" };
        let text = format!(
            "{inspected} endpoints ({all}) are opened on the way: TLS inspection beyond doubt, not a fault of one endpoint"
        );
        findings.push(Finding::new(Severity::Failed, None, text));
    }
    findings
}

/// An unknown issuer may be an inspecting device, or a genuine one whose certificate was not sent. An issuer that is
/// genuine elsewhere in the same run is the latter; one that several endpoints have and none of them genuinely, the former.
fn tell_missing_from_inspected(endpoints: &mut [EndpointReport]) {
    let genuine: Vec<String> =
        endpoints.iter().filter_map(|e| e.judgement.as_ref()?.genuine_issuer()).collect();
    let missing = |e: &EndpointReport| e.judgement.as_ref().and_then(Judgement::missing_issuer);
    let repeated: Vec<String> = endpoints.iter().filter_map(missing).collect();
    for endpoint in endpoints {
        let Some(judgement) = &endpoint.judgement else { continue };
        let count =
            judgement.missing_issuer().map(|issuer| repeated.iter().filter(|r| **r == issuer).count());
        let better = match judgement {
            Judgement::Inspected { issuer, trusted: false } if genuine.contains(issuer) => {
                judgement.as_missing()
            }
            _ if count > Some(1) && missing(endpoint).is_some_and(|issuer| !genuine.contains(&issuer)) => {
                judgement.as_inspected()
            }
            _ => continue,
        };
        if let Some(failure) = better.failure(&endpoint.host) {
            endpoint.hop = Some(failure.hop);
            endpoint.explanation = failure.explanation;
            endpoint.fix = failure.fix;
            if let Some(step) = endpoint.steps.last_mut() {
                step.hop = failure.hop;
            }
        }
    }
}

/// The way to one endpoint.
struct Walk<'a> {
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
    fn new(plan: &'a Plan, endpoint: &'a Endpoint, progress: &'a dyn Progress) -> Self {
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

    async fn run(mut self) -> EndpointReport {
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
        let result = self
            .opening(&host, self.endpoint.pattern.port(), end)
            .open(route, &mut super::tunnel::Unwatched)
            .await;
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
        let Ok(mut tunnel) = opening.open(route, &mut super::tunnel::Unwatched).await else { return };
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

/// Milliseconds since a moment.
fn millis(begun: Instant) -> u64 {
    u64::try_from(begun.elapsed().as_millis()).unwrap_or(u64::MAX)
}

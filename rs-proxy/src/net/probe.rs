//! The probe: each endpoint, hop by hop, in parallel; the first hop that fails decides.
//!
//! An endpoint is usable when its name answers HTTP inside TLS that ends in a genuine root, whatever the status: 403 from
//! `edgesupprd` is success, 403 to the CONNECT is not. On the relay the upgrade to WebSocket has to arrive too, and the
//! proxy has to permit other names of the same domain, for the rendezvous happens there.

mod report;
mod walk;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::task::JoinSet;
use tokio::time::Instant;

pub use self::report::{Comparison, Difference, EndpointReport, Report, Step, compare};
use self::walk::Walk;
pub use self::walk::{SKEW_SECONDS_MAX, SKEW_SECONDS_WARN};
use super::trust::Judgement;
use super::{Deadlines, Resolve, Trust};
use crate::allowlist::Finding;
use crate::endpoint::{EndpointId, Profile};
use crate::hop::Hop;
use crate::settings::Settings;
use crate::severity::Severity;

/// Endpoints that are probed at once.
pub const PARALLEL_MAX: usize = 16;

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
/// Milliseconds since a moment.
fn millis(begun: Instant) -> u64 {
    u64::try_from(begun.elapsed().as_millis()).unwrap_or(u64::MAX)
}

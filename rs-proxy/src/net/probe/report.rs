//! What a probe tells, and how two nodes differ in it.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::allowlist::Finding;
use crate::endpoint::{Cloud, EndpointId};
use crate::hop::Hop;
use crate::net::trust::Judgement;
use crate::severity::Severity;

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
    pub(super) judgement: Option<Judgement>,
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

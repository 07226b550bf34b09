//! The verdict per endpoint: covered and by which line, or why not and what to add.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::ListFormat;
use super::policy::{Action, Applies, Entry, Matches, Policy, Rule};
use crate::endpoint::{Cloud, Endpoint, EndpointId, Profile, Purpose};
use crate::name::{Coverage, HostPattern, Target};
use crate::severity::Severity;

/// What a list does for one endpoint.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Status {
    /// Let through.
    Covered,
    /// Let through, but only by something that lets much more through.
    OverBroad,
    /// Some of the names of a wildcard are let through, others are not.
    Partial,
    /// There is an entry for it, which in this dialect never matches.
    NeverMatches,
    /// One line lets it through, another one takes it back.
    Contradictory,
    /// Only a name that is no longer in use is there.
    Outdated,
    /// Something is there that cannot be judged from the text, such as a service tag.
    Unknown,
    /// Nothing is there.
    Missing,
}

impl Status {
    /// Every status.
    pub const ALL: &[Self] = &[
        Self::Covered,
        Self::OverBroad,
        Self::Partial,
        Self::NeverMatches,
        Self::Contradictory,
        Self::Outdated,
        Self::Unknown,
        Self::Missing,
    ];

    /// The status as in JSON.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Covered => "covered",
            Self::OverBroad => "over-broad",
            Self::Partial => "partial",
            Self::NeverMatches => "never-matches",
            Self::Contradictory => "contradictory",
            Self::Outdated => "outdated",
            Self::Unknown => "unknown",
            Self::Missing => "missing",
        }
    }

    /// What it means, as a sentence without full stop.
    #[must_use]
    pub const fn cause(self) -> &'static str {
        match self {
            Self::Covered => "the list lets the name through",
            Self::OverBroad => "the list lets the name through, by an entry that lets much more through",
            Self::Partial => "the list lets some names of the wildcard through, and others not",
            Self::NeverMatches => "an entry stands there that never matches in this kind of list",
            Self::Contradictory => "one line lets the name through, and another takes it back",
            Self::Outdated => "the list has only a name that is no longer in use",
            Self::Unknown => {
                "something stands there that cannot be judged from the text, such as a service tag"
            }
            Self::Missing => "the list has nothing for this name",
        }
    }

    /// What can be done, as a sentence without full stop.
    #[must_use]
    pub const fn remedy(self) -> &'static str {
        match self {
            Self::Covered => "nothing is to be done",
            Self::OverBroad => "replace the entry by the narrower one that the report shows",
            Self::Partial => "add the entry that the report shows for the whole wildcard",
            Self::NeverMatches => "write it in the spelling that the report shows",
            Self::Contradictory => "remove or move the line that the report names",
            Self::Outdated => "add the present name; the old one can go",
            Self::Unknown => "try it from the node with `remote-support proxy check`",
            Self::Missing => "add the entry that the report shows",
        }
    }
}

/// The verdict on one endpoint.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Verdict {
    /// The endpoint.
    pub id: EndpointId,
    /// Its entry.
    pub entry: String,
    /// What the list does for it.
    pub status: Status,
    /// Whether the product lets it through, for whatever reason.
    pub covered: bool,
    /// How much of it is let through.
    pub coverage: Coverage,
    /// How bad that is.
    pub severity: Severity,
    /// The line that decides, from 1.
    pub line: Option<u32>,
    /// That line's entry as written.
    pub text: Option<String>,
    /// Why, in a sentence or two.
    pub explanation: String,
    /// What to add, in the list's own dialect. Empty when nothing is to do.
    pub fix: Vec<String>,
}

/// Something worth saying about the list as a whole or one of its lines.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Finding {
    /// How bad it is.
    pub severity: Severity,
    /// The line, from 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub line: Option<u32>,
    /// The finding.
    pub text: String,
}

impl Finding {
    pub(crate) fn new(severity: Severity, line: impl Into<Option<u32>>, text: impl Into<String>) -> Self {
        Self { severity, line: line.into(), text: text.into() }
    }

    pub(crate) fn warning(line: impl Into<Option<u32>>, text: impl Into<String>) -> Self {
        Self::new(Severity::Warning, line, text)
    }
}

/// The result of checking an allowlist. `Display` gives text for people.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Report {
    /// What the list was read as.
    pub format: ListFormat,
    /// Why it was taken for that; `None` when the caller said so.
    pub detected_by: Option<String>,
    /// The cloud whose endpoints were asked for.
    pub cloud: Cloud,
    /// One verdict an endpoint, in the order of the profile.
    pub endpoints: Vec<Verdict>,
    /// What else was found.
    pub findings: Vec<Finding>,
    /// The worst of all.
    pub severity: Severity,
}

impl Report {
    /// Everything that has to be added, each line once.
    #[must_use]
    pub fn fix_lines(&self) -> Vec<&str> {
        let mut lines: Vec<&str> = Vec::new();
        for line in self.endpoints.iter().flat_map(|verdict| &verdict.fix) {
            if !lines.contains(&line.as_str()) {
                lines.push(line);
            }
        }
        if !lines.is_empty() {
            lines.extend(self.format.last_line());
        }
        lines
    }

    /// Number of endpoints that the list lets through.
    #[must_use]
    pub fn covered(&self) -> usize {
        self.endpoints.iter().filter(|verdict| verdict.covered).count()
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Read as {}", self.format.describe())?;
        match &self.detected_by {
            Some(why) => writeln!(f, " ({why}; say --format if that is wrong)")?,
            None => writeln!(f)?,
        }
        for verdict in &self.endpoints {
            writeln!(f, "{:<13} {}", verdict.status.as_str(), verdict.entry)?;
            writeln!(f, "              {}", verdict.explanation)?;
            for line in &verdict.fix {
                writeln!(f, "              add: {line}")?;
            }
        }
        for finding in &self.findings {
            match finding.line {
                Some(line) => writeln!(f, "{}: line {line}: {}", finding.severity, finding.text)?,
                None => writeln!(f, "{}: {}", finding.severity, finding.text)?,
            }
        }
        writeln!(f, "{} of {} endpoints are let through.", self.covered(), self.endpoints.len())
    }
}

/// Judges a policy.
pub(crate) fn judge(policy: &Policy, format: ListFormat, profile: &Profile) -> (Vec<Verdict>, Vec<Finding>) {
    let verdicts: Vec<Verdict> = profile
        .endpoints()
        .iter()
        .map(|e| Judge { policy, format, profile, endpoint: e }.verdict())
        .collect();
    let mut findings = policy.findings.clone();
    if let Some((line, why)) = &policy.fatal {
        findings.push(Finding::new(Severity::Failed, *line, why.clone()));
    }
    findings.extend(outdated_findings(policy, profile));
    findings.extend(address_findings(policy));
    findings.extend(broad_findings(policy, profile));
    findings.sort_by_key(|finding| finding.line);
    findings.dedup();
    (verdicts, findings)
}

/// Names that older lists had.
fn outdated_findings(policy: &Policy, profile: &Profile) -> Vec<Finding> {
    let outdated = |entry: &&Entry| {
        let meant = entry.meant.as_ref();
        meant.is_some_and(|m| profile.endpoints().iter().any(|e| e.outdated.contains(m.name())))
    };
    let say = |entry: &Entry| {
        Finding::new(
            Severity::Note,
            entry.line,
            format!("'{}' is the name of an older back end; it can go", entry.text),
        )
    };
    policy.rules.iter().flat_map(Rule::entries).filter(outdated).map(say).collect()
}

/// Rules by address.
fn address_findings(policy: &Policy) -> Vec<Finding> {
    let entries = || policy.rules.iter().flat_map(Rule::entries);
    let Some(first) = entries().find(|entry| matches!(entry.matches, Matches::Address)) else {
        return Vec::new();
    };
    let names = entries().filter(|entry| !matches!(entry.matches, Matches::Address)).count();
    let mut text = format!(
        "'{}' is an address rule; the addresses behind these endpoints change without notice, allow them by name",
        first.text
    );
    if names == 0 {
        text.push_str(" (the list has addresses only)");
    }
    vec![Finding::warning(first.line, text)]
}

/// Entries that let everything, or everybody's names, through.
fn broad_findings(policy: &Policy, profile: &Profile) -> Vec<Finding> {
    let mut findings = Vec::new();
    for rule in policy.rules.iter().filter(|rule| rule.action == Action::Allow && rule.off.is_none()) {
        for entry in rule.entries() {
            let worst = profile
                .endpoints()
                .iter()
                .filter_map(|e| Some((breadth(entry, e, profile)?, e)))
                .max_by_key(|b| b.0);
            if let Some((breadth, endpoint)) = worst.filter(|(breadth, _)| *breadth > Breadth::Subdomains) {
                let text = format!("'{}' {}", entry.text, breadth.describe(endpoint));
                findings.push(Finding::warning(entry.line, text));
            }
        }
    }
    findings
}

/// How much more than asked an entry lets through. Ordered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Breadth {
    /// Names below a name: harmless as a rule.
    Subdomains,
    /// A dot that stands for any character.
    DotIsAny,
    /// `evilS`
    NoBoundary,
    /// `S` anywhere in the name.
    Unanchored,
    /// A domain above.
    Parent,
    /// A suffix under which anyone can have a name.
    Shared,
    /// Every name.
    Everything,
}

impl Breadth {
    fn describe(self, endpoint: &Endpoint) -> String {
        let name = endpoint.pattern.name();
        match self {
            Self::Subdomains => format!("lets names below {name} through as well"),
            Self::DotIsAny => "has a dot that stands for any character; write \\. for a dot".to_owned(),
            Self::NoBoundary => format!("lets evil{name} through as well: no label boundary"),
            Self::Unanchored => {
                format!("lets {name}.evil.example through as well: it is found anywhere in a name")
            }
            Self::Parent => format!("lets a whole domain above {name} through"),
            Self::Shared => "lets a suffix through under which anyone can have a name".to_owned(),
            Self::Everything => "lets every name through".to_owned(),
        }
    }

    /// Whether a cover of this breadth is worth less than a proper entry.
    fn is_too_much(self) -> bool {
        self > Self::DotIsAny
    }
}

/// Suffixes under which strangers get names.
const SHARED: [&str; 8] = [
    "cloudapp.azure.com",
    "trafficmanager.net",
    "blob.core.windows.net",
    "azurewebsites.net",
    "cloudapp.net",
    "cloudapp.usgovcloudapi.net",
    "cloudapp.chinacloudapi.cn",
    "usgovtrafficmanager.net",
];
/// A label nobody has.
const STRANGER: &str = "x7f3a";

/// How much too much an entry lets through, seen from one endpoint that it covers at least in part.
fn breadth(entry: &Entry, endpoint: &Endpoint, profile: &Profile) -> Option<Breadth> {
    let port = endpoint.pattern.port();
    let base = endpoint.pattern.name().as_str();
    if !witnesses(endpoint).iter().any(|w| entry.matches(&w.host, port)) {
        return None;
    }
    let admits = |host: String| entry.matches(&host, port) && !is_required(&host, port, profile);
    if admits(format!("{STRANGER}.example")) && admits(format!("{STRANGER}.test")) {
        return Some(Breadth::Everything);
    }
    let mut above = base
        .match_indices('.')
        .map(|(at, _)| &base[at + 1..])
        .filter(|above| admits(format!("{STRANGER}.{above}")));
    if let Some(widest) = above.next_back() {
        return Some(if is_shared(widest) { Breadth::Shared } else { Breadth::Parent });
    }
    let (first, rest) = base.split_once('.').unwrap_or((base, ""));
    let tests = [
        (Breadth::Unanchored, format!("{STRANGER}.{base}.{STRANGER}.example")),
        (Breadth::Unanchored, format!("{base}.{STRANGER}.example")),
        (Breadth::NoBoundary, format!("{STRANGER}{base}")),
        (Breadth::DotIsAny, format!("{STRANGER}.{first}x{rest}")),
        (Breadth::DotIsAny, format!("{first}x{rest}")),
        (Breadth::Subdomains, format!("{STRANGER}.{base}")),
    ];
    tests.into_iter().find(|(_, host)| admits(host.clone())).map(|(breadth, _)| breadth)
}

/// Whether anyone can have a name under a suffix.
fn is_shared(suffix: &str) -> bool {
    !suffix.contains('.') || SHARED.iter().any(|shared| crate::name::labels_below(suffix, shared).is_some())
}

/// Whether a name is one of those asked for.
fn is_required(host: &str, port: u16, profile: &Profile) -> bool {
    host.parse().is_ok_and(|host| profile.endpoint_for(&Target::new(host, port)).is_some())
}

/// A name to try a list with.
#[derive(Debug, Clone)]
struct Witness {
    host: String,
    kind: Kind,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// The name itself, or one plain label below.
    Plain,
    /// One label with an underscore below.
    Underscore,
    /// Several labels below.
    Deep,
}

/// The names an endpoint stands for, by example.
fn witnesses(endpoint: &Endpoint) -> Vec<Witness> {
    let name = endpoint.pattern.name();
    if !endpoint.pattern.is_wildcard() {
        return vec![Witness { host: name.to_string(), kind: Kind::Plain }];
    }
    let heads = [
        ("rs7f3a", Kind::Plain),
        ("g0-prod-rs7-010-sb", Kind::Plain),
        ("rs_7f3a", Kind::Underscore),
        ("rs7f3a.blob", Kind::Deep),
        ("rs-shared.prod.warm.ingest.monitor", Kind::Deep),
    ];
    heads.map(|(head, kind)| Witness { host: format!("{head}.{name}"), kind }).into()
}

/// Judges one endpoint.
struct Judge<'a> {
    policy: &'a Policy,
    format: ListFormat,
    profile: &'a Profile,
    endpoint: &'a Endpoint,
}

impl Judge<'_> {
    fn verdict(&self) -> Verdict {
        if let Some((line, why)) = &self.policy.fatal {
            return self.make(
                Status::Contradictory,
                Coverage::None,
                Some((*line, String::new())),
                why.clone(),
            );
        }
        let coverage = self.coverage(|_| true);
        match coverage {
            Coverage::Full => self.covered(coverage),
            Coverage::OneLabel if self.endpoint.purpose == Purpose::Relay => {
                let mut verdict = self.covered(coverage);
                verdict
                    .explanation
                    .push_str("; names with more than one label are not (namespaces have one)");
                verdict.severity = verdict.severity.max(Severity::Note);
                verdict
            }
            Coverage::OneLabel | Coverage::Partial => self.partial(coverage),
            Coverage::None => self.not_covered(),
        }
    }

    fn port(&self) -> u16 {
        self.endpoint.pattern.port()
    }

    /// How much is let through; with a filter on the entries that may do so.
    fn coverage(&self, keep: impl Fn(&Entry) -> bool) -> Coverage {
        let open = |witness: &Witness| {
            let decision = self.policy.decide(&witness.host, self.port());
            decision.action == Action::Allow && self.opened_by(witness, &keep)
        };
        let witnesses = witnesses(self.endpoint);
        let all = |kinds: &[Kind]| witnesses.iter().filter(|w| kinds.contains(&w.kind)).all(&open);
        let any = |kinds: &[Kind]| witnesses.iter().filter(|w| kinds.contains(&w.kind)).any(&open);
        if all(&[Kind::Plain, Kind::Underscore, Kind::Deep]) {
            Coverage::Full
        } else if all(&[Kind::Plain]) && !any(&[Kind::Deep]) {
            Coverage::OneLabel
        } else if any(&[Kind::Plain, Kind::Underscore, Kind::Deep]) || self.names_some(&keep).is_some() {
            Coverage::Partial
        } else {
            Coverage::None
        }
    }

    /// Whether one of the entries kept is what opens the way.
    fn opened_by(&self, witness: &Witness, keep: &impl Fn(&Entry) -> bool) -> bool {
        let mut allows =
            self.policy.rules.iter().filter(|rule| rule.action == Action::Allow && rule.off.is_none());
        let without_entries =
            self.policy.decide(&witness.host, self.port()).rule.is_none_or(|r| r.entries().next().is_none());
        without_entries && keep(&everything())
            || allows.any(|rule| {
                rule.applies_when_on(&witness.host, self.port()) != Applies::No
                    && rule.matching(&witness.host, self.port()).into_iter().any(keep)
            })
    }

    /// An entry that lets some of the names through which the examples do not show, such as one exact name.
    fn names_some(&self, keep: &impl Fn(&Entry) -> bool) -> Option<&Entry> {
        if !self.endpoint.pattern.is_wildcard() {
            return None;
        }
        let base = self.endpoint.pattern.name().as_str();
        let below = |entry: &&Entry| {
            let Some(host) = example_of(entry) else { return false };
            crate::name::labels_below(&host, base).is_some_and(|labels| labels > 0)
                && entry.matches(&host, self.port())
                && self.policy.decide(&host, self.port()).action == Action::Allow
        };
        let allows =
            self.policy.rules.iter().filter(|rule| rule.action == Action::Allow && rule.off.is_none());
        allows.flat_map(Rule::entries).filter(|entry| keep(entry)).find(below)
    }

    /// The first entry that opens the way, with its rule.
    fn opener(&self, keep: impl Fn(&Entry) -> bool) -> Option<(&Rule, &Entry)> {
        let witness = &witnesses(self.endpoint)[0];
        self.policy.rules.iter().filter(|r| r.action == Action::Allow && r.off.is_none()).find_map(|rule| {
            if rule.applies_when_on(&witness.host, self.port()) == Applies::No {
                return None;
            }
            let entry = rule.matching(&witness.host, self.port()).into_iter().find(|entry| keep(entry))?;
            Some((rule, entry))
        })
    }

    fn covered(&self, coverage: Coverage) -> Verdict {
        let narrow =
            |entry: &Entry| breadth(entry, self.endpoint, self.profile).is_none_or(|b| !b.is_too_much());
        let conditions = self.policy.decide(&witnesses(self.endpoint)[0].host, self.port()).conditions;
        if self.coverage(narrow) < coverage {
            return self.over_broad(coverage);
        }
        let opener = self.opener(narrow);
        let mut explanation = match opener {
            Some((_, entry)) => format!("line {} '{}' lets it through", entry.line, entry.text),
            None => "let through".to_owned(),
        };
        let mut severity = Severity::Ok;
        let notes =
            opener.into_iter().flat_map(|(rule, entry)| [rule.note.clone(), entry.note.clone()]).flatten();
        for note in notes {
            explanation.push_str(&format!(", but {note}"));
            severity = Severity::Warning;
        }
        for condition in conditions {
            explanation.push_str(&format!("; {condition}"));
            severity = severity.max(Severity::Note);
        }
        let at = opener.map(|(_, entry)| (entry.line, entry.text.clone()));
        let mut verdict = self.make(Status::Covered, coverage, at, explanation);
        verdict.severity = severity;
        verdict
    }

    fn over_broad(&self, coverage: Coverage) -> Verdict {
        let (at, explanation) = match self.opener(|_| true) {
            Some((_, entry)) => {
                let breadth = breadth(entry, self.endpoint, self.profile).unwrap_or(Breadth::Everything);
                let what = breadth.describe(self.endpoint);
                let text = format!("only line {} lets it through, and '{}' {what}", entry.line, entry.text);
                (Some((entry.line, entry.text.clone())), text)
            }
            None => (
                self.policy
                    .decide(&witnesses(self.endpoint)[0].host, self.port())
                    .rule
                    .map(|r| (r.line, String::new())),
                "let through only because nothing is held back: no entry names it".to_owned(),
            ),
        };
        self.make(Status::OverBroad, coverage, at, explanation)
    }

    fn partial(&self, coverage: Coverage) -> Verdict {
        let opener =
            self.opener(|_| true).map(|(_, entry)| entry).or_else(|| self.names_some(&|_: &Entry| true));
        let at = opener.map(|entry| (entry.line, entry.text.clone()));
        let which = opener.map_or_else(String::new, |entry| format!("line {} '{}' ", entry.line, entry.text));
        let explanation = match coverage {
            Coverage::OneLabel => {
                format!("{which}lets names with one label through; storage names have two and more")
            }
            _ => format!("{which}lets some of the names through, not all"),
        };
        self.make(Status::Partial, coverage, at, explanation)
    }

    fn not_covered(&self) -> Verdict {
        self.contradictory()
            .or_else(|| self.never_matches())
            .or_else(|| self.unknown())
            .or_else(|| self.outdated())
            .unwrap_or_else(|| {
                let text = format!("no line lets {} through", self.endpoint.pattern);
                self.make(Status::Missing, Coverage::None, None, text)
            })
    }

    /// An entry is there and would match, but something takes it back.
    fn contradictory(&self) -> Option<Verdict> {
        let witness = &witnesses(self.endpoint)[0];
        let allows = || self.policy.rules.iter().filter(|rule| rule.action == Action::Allow);
        let (rule, entry) = allows()
            .find_map(|r| Some((r, r.matching(&witness.host, self.port()).into_iter().next()?)))
            .or_else(|| {
                allows().find_map(|r| Some((r, r.entries().find(|e| open_but_for_port(e, &witness.host))?)))
            })?;
        let decision = self.policy.decide(&witness.host, self.port());
        let what = format!("line {} '{}' would let it through, but ", entry.line, entry.text);
        let why = if let Some(off) = &rule.off {
            format!("the rule is {off}")
        } else if !entry.matches(&witness.host, self.port()) {
            format!("only on port {}, not {}", list(&entry.ports), self.port())
        } else if rule.applies_when_on(&witness.host, self.port()) == Applies::No {
            "another condition of the same rule is not met".to_owned()
        } else {
            let line =
                decision.rule.map_or_else(|| "the default".to_owned(), |rule| format!("line {}", rule.line));
            format!("{line} denies it first")
        };
        Some(self.make(
            Status::Contradictory,
            Coverage::None,
            Some((entry.line, entry.text.clone())),
            what + &why,
        ))
    }

    /// An entry is there, but in this dialect it never matches.
    fn never_matches(&self) -> Option<Verdict> {
        let reason = |entry: &Entry| match &entry.matches {
            Matches::Never(why) => Some(why.clone()),
            _ => None,
        };
        let (entry, why) = self.find_meant(reason)?;
        let text = format!("line {} '{}' never matches: {why}", entry.line, entry.text);
        Some(self.make(Status::NeverMatches, Coverage::None, Some((entry.line, entry.text.clone())), text))
    }

    fn unknown(&self) -> Option<Verdict> {
        let reason = |entry: &Entry| match &entry.matches {
            Matches::Unknown(why) => Some(why.clone()),
            _ => None,
        };
        let any = || {
            let mut entries = self.policy.rules.iter().filter(|r| r.off.is_none()).flat_map(Rule::entries);
            entries.find_map(|entry| Some((entry, reason(entry).filter(|_| entry.meant.is_none())?)))
        };
        let (entry, why) = self.find_meant(reason).or_else(any)?;
        let text = format!("line {} '{}' cannot be judged from the list: {why}", entry.line, entry.text);
        Some(self.make(Status::Unknown, Coverage::None, Some((entry.line, entry.text.clone())), text))
    }

    fn outdated(&self) -> Option<Verdict> {
        let mut entries = self.policy.rules.iter().flat_map(Rule::entries);
        let entry =
            entries.find(|e| e.meant.as_ref().is_some_and(|m| self.endpoint.outdated.contains(m.name())))?;
        let text = format!(
            "line {} has '{}', the name of an older back end; today it is {}",
            entry.line,
            entry.text,
            self.endpoint.pattern.name()
        );
        Some(self.make(Status::Outdated, Coverage::None, Some((entry.line, entry.text.clone())), text))
    }

    /// The first entry that was meant for the endpoint and for which there is a reason.
    fn find_meant(&self, reason: impl Fn(&Entry) -> Option<String>) -> Option<(&Entry, String)> {
        let meant = |entry: &&Entry| {
            entry.meant.as_ref().is_some_and(|meant| {
                let meant = if meant.is_wildcard() {
                    HostPattern::below(meant.name().clone())
                } else {
                    HostPattern::exact(Target::new(meant.name().clone(), self.port()))
                };
                self.endpoint.pattern.coverage_by(&meant) == Coverage::Full
            })
        };
        let allows = self.policy.rules.iter().filter(|rule| rule.action == Action::Allow);
        allows.flat_map(Rule::entries).filter(meant).find_map(|entry| Some((entry, reason(entry)?)))
    }

    fn make(
        &self,
        status: Status,
        coverage: Coverage,
        at: Option<(u32, String)>,
        explanation: String,
    ) -> Verdict {
        let severity = match status {
            Status::Covered => Severity::Ok,
            Status::OverBroad | Status::Unknown => Severity::Warning,
            _ => Severity::Failed,
        };
        let fix = if status == Status::Covered {
            Vec::new()
        } else {
            vec![self.format.line(&self.endpoint.pattern)]
        };
        let covered = matches!(status, Status::Covered | Status::OverBroad);
        let (line, text) =
            at.map_or((None, None), |(line, text)| (Some(line), Some(text).filter(|t| !t.is_empty())));
        let (id, entry) = (self.endpoint.id.clone(), self.endpoint.entry.clone());
        Verdict { id, entry, status, covered, coverage, severity, line, text, explanation, fix }
    }
}

/// Whether an entry matches the host on some port of its own.
fn open_but_for_port(entry: &Entry, host: &str) -> bool {
    entry.ports.iter().any(|&port| entry.matches(host, port))
}

/// The entry that a rule without entries amounts to.
fn everything() -> Entry {
    Entry::new(0, "*", Matches::Any)
}

/// One name that an entry stands for.
fn example_of(entry: &Entry) -> Option<String> {
    match &entry.matches {
        Matches::Labels(suffix, labels) if labels.contains(&0) => Some(suffix.clone()),
        Matches::Labels(suffix, _) => Some(format!("{STRANGER}.{suffix}")),
        Matches::Glob(glob) => Some(glob.replace('*', STRANGER)),
        Matches::Regex(_) | Matches::RegexWithPort(_) => {
            entry.meant.as_ref().map(|meant| meant.name().to_string())
        }
        _ => None,
    }
}

/// Numbers for a sentence.
fn list(ports: &[u16]) -> String {
    ports.iter().map(u16::to_string).collect::<Vec<_>>().join(", ")
}

//! `agent doctor`: service, store, clock, disk, sandbox, proxy, relay and catalog, each with what is wrong, why, and what to do.
//!
//! It looks, and changes nothing: what is not there yet is not created.

use std::io::Write as _;
use std::path::Path;
use std::time::{Duration, Instant};

use rs_consent::{AccessLevel, Facts, GrantState, Scope};
use rs_proxy::Severity;
use rs_proxy::net::probe::Report;
use rs_proxy::settings::Setting;
use rs_relay::proto::Authority;
use rs_session::operations::Catalog;

use self::check::Check;
use self::notices::notices;
use self::sandbox::sandbox;
use super::RunArgs;
use crate::context::Context;
use crate::control::{AgentControl as _, ControlError, Status};
use crate::outcome::{Exit, Failure, Outcome};
use crate::output::{Record, date};
use crate::relay_access::RelayAccess;
use crate::state::Role;
use crate::{credential, explain, files, network, node, platform};

pub(crate) mod check;
mod notices;
mod sandbox;

/// Longest look at the network.
const NETWORK_MAX: Duration = Duration::from_secs(10);
/// Free space below which there is advice: some thousand long sessions fit.
const FREE_ADVICE_BYTES: u64 = 1 << 30;
/// Free space below which a record may not fit.
const FREE_FAULT_BYTES: u64 = 64 << 20;
/// A sync that takes longer delays every line of an engineer noticeably.
const SYNC_ADVICE: Duration = Duration::from_millis(500);

/// Remedies of failures that have none of their own.
const START: &str = "start it with `remote-support agent run`";
const RESTORE: &str = "move the store away, keep it for the record, and give a fresh consent";
const TRY_STORE: &str =
    "see that the volume is well and that no other program holds the store, and try again";
const MAKE_WRITABLE: &str =
    "see that the agent's user can write there, or choose another directory with --state-dir";
const NAME_CREDENTIALS: &str =
    "name a file of mode 0600 with one line user:password by --proxy-credentials-file";
const LOOK_AT_RELAY: &str = "see whether the relay runs, whether the way there is open, and whether credential and authority are those of this \
     relay";

/// One thing that was looked at.
#[derive(Debug)]
pub(crate) struct Finding {
    /// What was looked at.
    pub(crate) check: Check,
    state: State,
    /// What was found.
    pub(crate) text: String,
    /// What to do.
    pub(crate) remedy: Option<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Well,
    Advice,
    Fault(Exit),
}

impl State {
    fn word(self) -> &'static str {
        match self {
            Self::Well => "ok",
            Self::Advice => "advice",
            Self::Fault(_) => "fault",
        }
    }
}

impl Finding {
    /// How it is, in a word.
    pub(crate) fn word(&self) -> &'static str {
        self.state.word()
    }

    /// Something is wrong.
    pub(crate) fn is_fault(&self) -> bool {
        matches!(self.state, State::Fault(_))
    }

    /// Nothing is wrong, and something could be better.
    pub(crate) fn is_advice(&self) -> bool {
        self.state == State::Advice
    }

    fn well(check: Check, text: impl Into<String>) -> Self {
        Self { check, state: State::Well, text: text.into(), remedy: None }
    }

    fn advice(check: Check, text: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self { check, state: State::Advice, text: text.into(), remedy: Some(remedy.into()) }
    }

    fn fault(check: Check, exit: Exit, text: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self { check, state: State::Fault(exit), text: text.into(), remedy: Some(remedy.into()) }
    }

    /// A failure as a fault; only damage and an unreachable network keep their exit code. `remedy` where the failure
    /// itself has none.
    fn of(check: Check, failure: &Failure, remedy: &str) -> Self {
        let exit = match failure.exit() {
            exit @ (Exit::Integrity | Exit::Unreachable) => exit,
            _ => Exit::Failed,
        };
        Self::fault(check, exit, failure.in_a_line(), failure.remedy().unwrap_or(remedy))
    }

    fn record(&self) -> Record {
        let flat = |text: &str| text.lines().map(str::trim).collect::<Vec<_>>().join(" ");
        Record::new()
            .field("Check", self.check.as_str())
            .field("Result", self.state.word())
            .field("Finding", flat(&self.text))
            .field("Remedy", self.remedy.as_deref().map(flat).filter(|remedy| !remedy.is_empty()))
    }
}

/// Looks at everything.
///
/// # Errors
///
/// [`ErrorCode::InvalidValue`](crate::outcome::ErrorCode) for a proxy that cannot be; where the output cannot be written.
pub(super) fn run(args: &RunArgs, context: &mut Context) -> Result<Outcome, Failure> {
    let findings = look(args, context)?;
    context.print_all(&findings.iter().map(Finding::record).collect::<Vec<_>>())?;
    Ok(outcome(&findings))
}

/// Looks at everything: what `agent doctor` and the page show.
///
/// # Errors
///
/// [`ErrorCode::InvalidValue`](crate::outcome::ErrorCode) for a proxy that cannot be.
pub(crate) fn look(args: &RunArgs, context: &Context) -> Result<Vec<Finding>, Failure> {
    let relay = args.relay(context)?;
    let mut findings = Vec::new();
    let status = service(context, &mut findings);
    let facts = store(context, &mut findings);
    disk(context, &mut findings);
    findings.push(sandbox());
    proxy(&relay, &mut findings);
    findings.extend(self::relay(&relay, status.as_ref(), context));
    findings.push(catalog(facts.as_ref(), context));
    findings.extend(notices(context));
    Ok(findings)
}

/// The exit code of the worst fault.
fn outcome(findings: &[Finding]) -> Outcome {
    let has = |exit: &Exit| findings.iter().any(|finding| finding.state == State::Fault(*exit));
    let worst = [Exit::Integrity, Exit::Failed, Exit::Unreachable].into_iter().find(has);
    worst.map_or(Outcome::Done, Outcome::Exit)
}

fn service(context: &Context, findings: &mut Vec<Finding>) -> Option<Status> {
    let finding = match node::agent(context).status() {
        Ok(status) => {
            let open = status.sessions.len();
            findings.push(Finding::well(
                Check::Service,
                format!(
                    "the agent answers: process {}, since {}, {open} session(s) open",
                    status.pid,
                    date(status.started_at)
                ),
            ));
            return Some(status);
        }
        Err(ControlError::NotRunning) => Finding::fault(
            Check::Service,
            Exit::Unreachable,
            "no agent is running on this node: nobody can connect",
            START,
        ),
        Err(error) => Finding::of(Check::Service, &error.into(), START),
    };
    findings.push(finding);
    None
}

/// Store and clock.
fn store(context: &Context, findings: &mut Vec<Finding>) -> Option<Facts> {
    let now = context.clock.now();
    let look = || {
        let Some(store) = node::existing_store(context)? else { return Ok(None) };
        let grants = store.grants(true, &now)?.len();
        let requests = store.requests()?.len();
        Ok::<_, Failure>(Some((store.facts(&now)?, store.held()?, grants, requests)))
    };
    match look() {
        Ok(None) => {
            findings.push(Finding::well(
                Check::Store,
                "there is none yet: nothing was ever granted or asked for here",
            ));
            findings.push(clock(None));
            None
        }
        Ok(Some((facts, hold, grants, requests))) => {
            let text = format!("every row checks: {grants} consent(s) and {requests} support request(s)");
            findings.push(Finding::well(Check::Store, text));
            findings.push(clock(hold.map(|hold| (date(hold.seen.wall), date(hold.found.wall)))));
            Some(facts)
        }
        Err(failure) => {
            let remedy = if failure.exit() == Exit::Integrity { RESTORE } else { TRY_STORE };
            findings.push(Finding::of(Check::Store, &failure, remedy));
            None
        }
    }
}

fn clock(hold: Option<(String, String)>) -> Finding {
    match hold {
        None => Finding::well(Check::Clock, "it never went back while a consent was in force"),
        Some((seen, found)) => Finding::fault(
            Check::Clock,
            Exit::Failed,
            format!("it went back from {seen} to {found}: nobody is let in"),
            "set the clock if it is wrong, then confirm by enabling remote support again",
        ),
    }
}

fn disk(context: &Context, findings: &mut Vec<Finding>) {
    let folder = context.state.role(Role::Node);
    if let Err(failure) = folder.check() {
        findings.push(Finding::of(Check::Disk, &failure, MAKE_WRITABLE));
        return;
    }
    let there = folder.path().ancestors().find(|path| path.is_dir()).unwrap_or_else(|| folder.path());
    findings.push(space(platform::free_bytes(there), there));
    if folder.exists() {
        findings.push(match sync(folder.path()) {
            Ok(took) => sync_time(took),
            Err(error) => {
                Finding::of(Check::Disk, &Failure::io(folder.path(), "write a file in", error), MAKE_WRITABLE)
            }
        });
    }
}

fn space(free: Option<u64>, path: &Path) -> Finding {
    let remedy = "free some space there, or choose another volume with --state-dir";
    let Some(free) = free else {
        return Finding::well(Check::Disk, "the system does not say how much space is left");
    };
    let text = format!("{} MiB are free at {}", free >> 20, path.display());
    match free {
        free if free < FREE_FAULT_BYTES => {
            let text = format!("{text}; sessions end when their record cannot be written");
            Finding::fault(Check::Disk, Exit::Failed, text, remedy)
        }
        free if free < FREE_ADVICE_BYTES => Finding::advice(Check::Disk, text, remedy),
        _ => Finding::well(Check::Disk, text),
    }
}

/// Writes a byte as a record does, durably, and removes it.
fn sync(folder: &Path) -> std::io::Result<Duration> {
    let path = folder.join(format!("doctor.{}.tmp", uuid::Uuid::new_v4().simple()));
    let since = Instant::now();
    let written = platform::create_private(&path).and_then(|mut file| {
        file.write_all(b"1")?;
        file.sync_all()
    });
    let took = since.elapsed();
    // Where it could not be made there is nothing to remove.
    let _ = std::fs::remove_file(&path);
    written.map(|()| took)
}

fn sync_time(took: Duration) -> Finding {
    let text = format!("a durable write takes {} ms", took.as_millis());
    if took < SYNC_ADVICE {
        return Finding::well(Check::Disk, text);
    }
    let text = format!("{text}: every line of an engineer waits for at least one");
    Finding::advice(Check::Disk, text, "choose a faster volume with --state-dir")
}

fn proxy(relay: &RelayAccess, findings: &mut Vec<Finding>) {
    let settings = match relay.way().settings() {
        Ok(settings) => settings,
        Err(failure) => return findings.push(Finding::of(Check::Proxy, &failure, NAME_CREDENTIALS)),
    };
    match settings.winner() {
        None => findings
            .push(Finding::well(Check::Proxy, "no setting names one: the network is reached directly")),
        // Said below, with the reason.
        Some(Setting { problem: Some(_), .. }) => {}
        Some(Setting { source, proxy, .. }) => {
            let proxy = proxy.as_ref().map_or_else(|| "none".to_owned(), ToString::to_string);
            findings.push(Finding::well(Check::Proxy, format!("{proxy}, by {}", source.describe())));
        }
    }
    // Only the setting that wins can keep the agent from connecting.
    let broken = settings.winner().and_then(|winner| winner.problem.as_ref());
    findings.extend(settings.findings.iter().map(|finding| match finding.severity {
        Severity::Ok | Severity::Note => Finding::well(Check::Proxy, &*finding.text),
        Severity::Failed | Severity::CouldNotRun if broken.is_some_and(|why| finding.text.contains(why)) => {
            Finding::fault(Check::Proxy, Exit::Failed, &*finding.text, "write the proxy as http://HOST:PORT")
        }
        _ => Finding::advice(Check::Proxy, &*finding.text, ""),
    }));
}

fn relay(access: &RelayAccess, status: Option<&Status>, context: &Context) -> Vec<Finding> {
    if access.credential_file().is_none() {
        let (text, remedy) = access.connection().map_or_else(
            |failure| (failure.in_a_line(), failure.remedy().map(str::to_owned)),
            |_| Default::default(),
        );
        return vec![Finding::advice(Check::Relay, text, remedy.unwrap_or_default())];
    }
    let connection = match usable(access, context) {
        Ok(connection) => connection,
        Err(failure) => return vec![Finding::of(Check::Relay, &failure, LOOK_AT_RELAY)],
    };
    let place = format!("{} {}", connection.authority(), access.way().describe(connection.authority()));
    if status.is_some_and(|status| status.connection_status == "Connected") {
        return vec![Finding::well(
            Check::Relay,
            format!("the agent is connected to {}", connection.authority()),
        )];
    }
    let mut findings = match asked(access, connection.authority()) {
        Ok(Answer::Reached) => vec![Finding::well(Check::Relay, format!("{place} accepts connections"))],
        Ok(Answer::Probed(report)) => probed(&report, &place),
        Err(failure) => vec![Finding::of(Check::Relay, &failure, LOOK_AT_RELAY)],
    };
    let said = status.and_then(|status| status.connection_error_message.as_deref());
    if let Some(said) =
        said.filter(|_| findings.iter().all(|finding| !matches!(finding.state, State::Fault(_))))
    {
        let remedy =
            "see whether the credential is still good and is for this relay; support can hand out a new one";
        findings.push(Finding::fault(
            Check::Relay,
            Exit::Unreachable,
            format!("the agent is not connected: {said}"),
            remedy,
        ));
    }
    findings
}

/// The credential as the agent reads it, and still good.
fn usable(access: &RelayAccess, context: &Context) -> Result<rs_relay::client::HybridConnection, Failure> {
    let connection = access.connection()?;
    if let Some(path) = access.credential_file() {
        credential::check(&files::read_secret(&path)?, context.clock.now().wall)
            .map_err(|failure| failure.about(path.display().to_string()))?;
    }
    Ok(connection)
}

/// What the network says of the relay.
enum Answer {
    /// It accepts connections; more is not known of a relay without a name.
    Reached,
    /// Hop by hop.
    Probed(Report),
}

fn asked(access: &RelayAccess, relay: &Authority) -> Result<Answer, Failure> {
    let Some(question) = access.question()? else {
        let dialer = access.way().dialer()?;
        return network::block_on(async {
            let dialled = dialer.dial(relay).await;
            dialled.map(|_| Answer::Reached).map_err(|error| {
                Failure::new(crate::outcome::ErrorCode::Unreachable, "the relay is not reached")
                    .because(error)
            })
        });
    };
    network::block_on(async { Ok(Answer::Probed(question.ask(NETWORK_MAX).await)) })
}

fn probed(report: &Report, place: &str) -> Vec<Finding> {
    let mut findings = Vec::new();
    for endpoint in &report.endpoints {
        findings.push(match endpoint.hop {
            None => Finding::well(Check::Relay, format!("{place}: {}", endpoint.explanation)),
            Some(hop) => {
                let text = format!("{place}: {hop}: {}", endpoint.explanation);
                Finding::fault(Check::Relay, Exit::Unreachable, text, endpoint.fix.as_str())
            }
        });
        let advice = |warning: &String| {
            Finding::advice(
                Check::Relay,
                warning.as_str(),
                "look at each hop with `remote-support proxy check`",
            )
        };
        findings.extend(endpoint.warnings.iter().map(advice));
    }
    findings
}

fn catalog(facts: Option<&Facts>, context: &Context) -> Finding {
    let now = context.clock.now();
    let active = facts.and_then(|facts| facts.grant.as_ref());
    let active = active.filter(|grant| grant.state_at(&now) == GrantState::Active);
    let scope = active.map_or_else(Scope::default, |grant| grant.scope.clone());
    let count = |level| explain::permitted(level, &scope).count();
    let (diagnostics, repair) = (count(AccessLevel::Diagnostics), count(AccessLevel::DiagnosticsRepair));
    let text = format!("{diagnostics} commands at Diagnostics, {repair} at DiagnosticsRepair");
    if explain::lists(&scope).is_none() {
        return Finding::advice(
            Check::Catalog,
            format!(
                "the consent in force names the lists of {}, which this program does not have",
                scope.product
            ),
            "enable remote support again; until then sessions can run nothing",
        );
    }
    let shown = active.and_then(|grant| grant.catalog);
    if shown.is_some() && shown != explain::catalog() {
        return Finding::advice(
            Check::Catalog,
            format!("{text}; the consent in force was given for another list than this program has"),
            "read what is permitted now with `remote-support operations`, and enable remote support again",
        );
    }
    Finding::well(Check::Catalog, format!("{text}; list {}", Catalog::sha256().get(..16).unwrap_or_default()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn l12_space_and_speed_of_the_disk_have_their_bounds() {
        let at = |free| space(Some(free), Path::new("/")).state;
        assert_eq!(at(FREE_FAULT_BYTES - 1), State::Fault(Exit::Failed));
        assert_eq!(at(FREE_FAULT_BYTES), State::Advice);
        assert_eq!(at(FREE_ADVICE_BYTES - 1), State::Advice);
        assert_eq!(at(FREE_ADVICE_BYTES), State::Well);
        assert_eq!(sync_time(SYNC_ADVICE).state, State::Advice);
        assert_eq!(sync_time(SYNC_ADVICE - Duration::from_millis(1)).state, State::Well);
    }

    #[test]
    fn l12_the_exit_code_is_that_of_the_worst_fault() {
        let fault = |exit| Finding::fault(Check::Disk, exit, "", "");
        assert_eq!(
            outcome(&[Finding::well(Check::Disk, ""), Finding::advice(Check::Disk, "", "")]),
            Outcome::Done
        );
        let mut findings = vec![fault(Exit::Unreachable)];
        for exit in [Exit::Unreachable, Exit::Failed, Exit::Integrity] {
            findings.insert(0, fault(exit));
            findings.push(fault(Exit::Unreachable));
            assert_eq!(outcome(&findings), Outcome::Exit(exit));
        }
    }
}

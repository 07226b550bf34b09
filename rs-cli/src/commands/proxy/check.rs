//! `proxy check`: asks the network itself, hop by hop, and compares what several nodes found.

use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use clap::Args;
use rs_proxy::net::probe::{self, Comparison, EndpointReport, Plan, Progress, Quiet, Report, Step};
use rs_proxy::net::{Deadlines, ResolveEntry, TrustError};
use rs_proxy::{EndpointId, Hop, Profile, ProfileError, Severity, Target};

use super::{ProfileArgs, ProxyCommand};
use crate::cli::Command;
use crate::context::Context;
use crate::files;
use crate::network::{self, ProxyArgs, Way};
use crate::outcome::{ErrorCode, Exit, Failure, Outcome};
use crate::output::{self, OutputMode, Record};
use crate::relay_access::{RelayAccess, Side};

/// Longest certificate file that is read, in bytes.
const PEM_BYTES_MAX: usize = 2 * 1024 * 1024;
/// Longest saved report that is read, in bytes.
const REPORT_BYTES_MAX: usize = 4 * 1024 * 1024;
/// Most seconds for one endpoint, and for the test of an idle tunnel.
const SECONDS_MAX: u64 = 600;

/// Arguments of `proxy check`.
#[derive(Debug, Args)]
pub struct CheckArgs {
    /// Which endpoints.
    #[command(flatten)]
    pub profile: ProfileArgs,
    /// How they are reached.
    #[command(flatten)]
    pub proxy: ProxyArgs,
    /// File with certificates that are trusted as if they were in this machine's store, PEM.
    #[arg(long, value_name = "FILE", env = "REMOTE_SUPPORT_CA_FILE")]
    pub ca_file: Option<PathBuf>,
    /// File with the root certificates that count as the endpoints' own, PEM; any other root means that TLS is opened on
    /// the way [default: the roots of Azure].
    #[arg(long, value_name = "FILE", env = "REMOTE_SUPPORT_GENUINE_ROOTS")]
    pub genuine_roots: Option<PathBuf>,
    /// Use this address for a name, as curl does; can be given several times.
    #[arg(long, value_name = "HOST:PORT:ADDR", value_delimiter = ',', env = "REMOTE_SUPPORT_RESOLVE")]
    pub resolve: Vec<ResolveEntry>,
    /// A real name to probe for an entry with a star, for example core=account.blob.core.windows.net; can be given several
    /// times. Without one, only the proxy's own answer is asked, and the entry counts as not probed.
    #[arg(
        long, value_name = "ENTRY=HOST", value_delimiter = ',', value_parser = probe_host,
        env = "REMOTE_SUPPORT_PROBE_HOST"
    )]
    pub probe_host: Vec<(String, Target)>,
    /// Probe only this endpoint, by its id; can be given several times.
    #[arg(long, value_name = "ID", value_delimiter = ',', env = "REMOTE_SUPPORT_ENDPOINT")]
    pub endpoint: Vec<String>,
    /// Seconds for one endpoint altogether, 1 to 600; all are probed at once.
    #[arg(
        long, value_name = "SECONDS", default_value_t = 30, env = "REMOTE_SUPPORT_TIMEOUT",
        value_parser = clap::value_parser!(u64).range(1..=SECONDS_MAX)
    )]
    pub timeout: u64,
    /// Also hold a tunnel to the relay without traffic for so many seconds, 1 to 600, to see whether it is cut.
    #[arg(
        long, value_name = "SECONDS", env = "REMOTE_SUPPORT_IDLE",
        value_parser = clap::value_parser!(u64).range(1..=SECONDS_MAX)
    )]
    pub idle: Option<u64>,
    /// Ask no network: compare reports that nodes have saved with `--output json`, and show where they differ; given once
    /// for each node.
    #[arg(
        long, value_name = "NODE=FILE", value_delimiter = ',', value_parser = node_file,
        env = "REMOTE_SUPPORT_COMPARE"
    )]
    pub compare: Vec<(String, PathBuf)>,
}

fn probe_host(text: &str) -> Result<(String, Target), String> {
    let (entry, host) =
        text.rsplit_once('=').ok_or("write ENTRY=HOST, for example core=account.blob.core.windows.net")?;
    Ok((entry.to_owned(), host.parse().map_err(|error: rs_proxy::NameError| error.to_string())?))
}

fn node_file(text: &str) -> Result<(String, PathBuf), String> {
    match text.split_once('=') {
        Some((node, file)) if !node.is_empty() && !file.is_empty() => Ok((node.to_owned(), file.into())),
        _ => Err("write NODE=FILE, for example node-01=node-01.json".to_owned()),
    }
}

/// Probes, or compares.
///
/// # Errors
///
/// [`ErrorCode::InvalidValue`] for a proxy, endpoint or probe host that cannot be; errors of the files.
pub(super) fn run(args: &CheckArgs, context: &mut Context) -> Result<Outcome, Failure> {
    if args.compare.is_empty() { check(args, context) } else { compare(&args.compare, context) }
}

fn check(args: &CheckArgs, context: &mut Context) -> Result<Outcome, Failure> {
    let report = probe(whole_plan(args, context)?, context)?;
    print(&report, context)?;
    Ok(outcome(&report))
}

fn whole_plan(args: &CheckArgs, context: &mut Context) -> Result<Plan, Failure> {
    let way = args.proxy.way()?;
    let mut plan = plan(args, &way, context)?;
    plan.resolve = args.resolve.iter().cloned().fold(plan.resolve, |mut resolve, entry| {
        resolve.add(entry);
        resolve
    });
    plan.deadlines = Deadlines::within(Duration::from_secs(args.timeout));
    plan.idle = args.idle.map(Duration::from_secs);
    Ok(plan)
}

/// What the page's check asks: the same as `proxy check` without options but the proxy.
///
/// # Errors
///
/// As [`run`].
pub(crate) fn plan_of_page(proxy: ProxyArgs, context: &mut Context) -> Result<Plan, Failure> {
    let words = ["remote-support", "proxy", "check"].map(Into::into);
    let Command::Proxy(ProxyCommand::Check(mut args)) = crate::parse_words(words)? else {
        return Err(Failure::new(ErrorCode::Internal, "the check cannot be set up"));
    };
    args.proxy = proxy;
    whole_plan(&args, context)
}

fn plan(args: &CheckArgs, way: &Way, context: &mut Context) -> Result<Plan, Failure> {
    let settings = way.settings()?;
    let relay = match &args.profile.relay_host {
        Some(_) => None,
        None => relay_in_use(way, context),
    };
    let profile = profile(args, relay.as_ref().map(|(target, _)| target))?;
    let mut trusted = relay.and_then(|(_, authority)| authority).unwrap_or_default();
    if let Some(path) = &args.ca_file {
        trusted.extend_from_slice(b"\n");
        trusted.extend(files::read(path, PEM_BYTES_MAX)?);
    }
    let trust = network::trust(Some(trusted.as_slice()).filter(|pem| !pem.is_empty()));
    let mut trust = trust.map_err(|failure| about(failure, args.ca_file.as_deref()))?;
    if let Some(path) = &args.genuine_roots {
        let unusable = |error: TrustError| {
            about(
                Failure::new(ErrorCode::InvalidFile, "the genuine roots cannot be used").because(error),
                Some(path),
            )
        };
        trust = trust.with_genuine_pem(&files::read(path, PEM_BYTES_MAX)?).map_err(unusable)?;
    }
    Ok(Plan::new(profile, settings, trust))
}

fn about(failure: Failure, path: Option<&Path>) -> Failure {
    match path {
        Some(path) => failure.about(path.display().to_string()),
        None => failure,
    }
}

fn profile(args: &CheckArgs, relay: Option<&Target>) -> Result<Profile, Failure> {
    let invalid = |error: ProfileError| {
        Failure::new(ErrorCode::InvalidValue, "these endpoints cannot be probed").because(error)
    };
    let profile = match relay {
        Some(relay) => Profile::of(args.profile.cloud).with_relay(relay.clone()),
        None => super::profile(&args.profile)?,
    };
    let profile = args
        .probe_host
        .iter()
        .try_fold(profile, |profile, (entry, host)| profile.with_probe_host(entry, host.clone()))
        .map_err(invalid)?;
    if args.endpoint.is_empty() {
        return Ok(profile);
    }
    profile.only(args.endpoint.iter().map(|id| id.trim())).map_err(invalid)
}

/// The relay that this node's credential leads to, with its authority's certificates; not one on this machine.
fn relay_in_use(way: &Way, context: &mut Context) -> Option<(Target, Option<Vec<u8>>)> {
    let access = RelayAccess::new(&context.state, Side::Listen, None, None, way.clone());
    access.credential_file()?;
    let connection = match access.connection() {
        Ok(connection) => connection,
        Err(failure) => {
            context.note(format!("The relay of this node is left out: {failure}"));
            return None;
        }
    };
    let relay = connection.authority();
    let host = relay.bare_host().parse().ok().filter(|_| !network::is_local(relay))?;
    let authority = access.authority_file().and_then(|path| files::read(&path, PEM_BYTES_MAX).ok());
    Some((Target::new(host, relay.port()), authority))
}

/// Probes, and shows each hop as it happens where somebody sits at a terminal.
fn probe(plan: Plan, context: &mut Context) -> Result<Report, Failure> {
    if !context.console.live {
        return network::block_on(async { Ok(probe::run(plan, Arc::new(Quiet)).await) });
    }
    let err = std::mem::replace(&mut context.console.err, Box::new(io::sink()));
    let ids = plan.profile.endpoints().iter().map(|endpoint| endpoint.id.clone()).collect();
    let board = Arc::new(Board::new(ids, err, context.console.columns));
    let watched: Arc<dyn Progress> = Arc::<Board>::clone(&board);
    let report = network::block_on(async { Ok(probe::run(plan, watched).await) });
    context.console.err = board.finish();
    report
}

fn print(report: &Report, context: &mut Context) -> Result<(), Failure> {
    match context.output {
        OutputMode::Json => output::write_json(&mut *context.console.out, report)?,
        OutputMode::List => write!(context.console.out, "{}", output::safe_lines(&report.to_string()))?,
        OutputMode::Table => {
            context.print_all(&report.endpoints.iter().map(row).collect::<Vec<_>>())?;
            let text: String = remarks(report).collect();
            write!(context.console.out, "{}", output::safe_lines(&text))?;
        }
    }
    Ok(())
}

fn row(endpoint: &EndpointReport) -> Record {
    Record::new()
        .field("Endpoint", endpoint.id.as_str())
        .field("Target", format!("{}:{}", endpoint.host, endpoint.port))
        .field("Usable", word(endpoint))
        .field("Hop", endpoint.hop.map(Hop::as_str))
        .field("Milliseconds", endpoint.millis)
}

/// Whether an endpoint is usable, in a word.
pub(crate) fn word(endpoint: &EndpointReport) -> &'static str {
    match (endpoint.usable, endpoint.hop) {
        (true, _) => "yes",
        (false, Some(_)) => "no",
        (false, None) => "not probed",
    }
}

/// What a table has no room for.
fn remarks(report: &Report) -> impl Iterator<Item = String> {
    let blocked = report.endpoints.iter().filter(|endpoint| !endpoint.usable);
    let blocked = blocked.map(|one| format!("\n{}: {}\n  do: {}\n", one.id, one.explanation, one.fix));
    let warnings = report.endpoints.iter().flat_map(|endpoint| {
        endpoint.warnings.iter().map(|warning| format!("\n{}: {warning}\n", endpoint.id))
    });
    let findings =
        report.findings.iter().map(|finding| format!("\n{}: {}\n", finding.severity, finding.text));
    blocked.chain(warnings).chain(findings)
}

/// The exit code by the worst endpoint.
fn outcome(report: &Report) -> Outcome {
    if report.endpoints.iter().any(|endpoint| endpoint.hop.is_some()) {
        Outcome::Exit(Exit::Unreachable)
    } else if report.endpoints.iter().any(|endpoint| !endpoint.usable) {
        Outcome::Partial
    } else {
        Outcome::Done
    }
}

fn compare(nodes: &[(String, PathBuf)], context: &mut Context) -> Result<Outcome, Failure> {
    let reports = nodes
        .iter()
        .map(|(node, path)| Ok((node.clone(), saved(path)?)))
        .collect::<Result<Vec<(String, Report)>, Failure>>()?;
    let comparison = probe::compare(&reports);
    match context.output {
        OutputMode::Json => output::write_json(&mut *context.console.out, &comparison)?,
        _ => write!(context.console.out, "{}", output::safe_lines(&comparison.to_string()))?,
    }
    Ok(difference(&comparison))
}

fn saved(path: &Path) -> Result<Report, Failure> {
    serde_json::from_slice(&files::read(path, REPORT_BYTES_MAX)?).map_err(|error| {
        Failure::new(ErrorCode::InvalidFile, "the file is no report of `proxy check`")
            .about(path.display().to_string())
            .because(error)
            .next_step("save one on the node with `remote-support proxy check --output json > FILE`")
    })
}

fn difference(comparison: &Comparison) -> Outcome {
    if !comparison.differences.is_empty() {
        Outcome::Partial
    } else if comparison.severity >= Severity::Failed {
        Outcome::Exit(Exit::Unreachable)
    } else {
        Outcome::Done
    }
}

/// A line for each endpoint on a terminal, drawn anew at each step.
#[derive(Debug)]
struct Board(Mutex<Drawing>);

struct Drawing {
    err: Box<dyn Write + Send>,
    columns: usize,
    lines: Vec<(EndpointId, String)>,
    drawn: bool,
}

impl std::fmt::Debug for Drawing {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Drawing").field("lines", &self.lines).finish_non_exhaustive()
    }
}

impl Board {
    fn new(ids: Vec<EndpointId>, err: Box<dyn Write + Send>, columns: usize) -> Self {
        let lines = ids.into_iter().map(|id| (id, "waits".to_owned())).collect();
        Self(Mutex::new(Drawing { err, columns, lines, drawn: false }))
    }

    fn set(&self, id: &EndpointId, text: String) {
        let mut drawing = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(line) = drawing.lines.iter_mut().find(|(own, _)| own == id) {
            line.1 = text;
        }
        // A terminal that is gone is no reason to stop.
        let _ = drawing.draw();
    }

    /// Gives the stream back.
    fn finish(&self) -> Box<dyn Write + Send> {
        let mut drawing = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        // As above.
        let _ = writeln!(drawing.err);
        std::mem::replace(&mut drawing.err, Box::new(io::sink()))
    }
}

impl Drawing {
    fn draw(&mut self) -> io::Result<()> {
        let mut text = String::new();
        if self.drawn {
            text.push_str(&format!("\u{1b}[{}A", self.lines.len()));
        }
        for (id, line) in &self.lines {
            let line = output::cut(
                &output::safe(&format!("{:<24} {line}", id.as_str())),
                self.columns.saturating_sub(1),
            );
            text.push_str(&format!("\r\u{1b}[2K{line}\n"));
        }
        self.drawn = true;
        self.err.write_all(text.as_bytes())?;
        self.err.flush()
    }
}

impl Progress for Board {
    fn begin(&self, id: &EndpointId, hop: Hop) {
        self.set(id, begins(hop));
    }

    fn step(&self, id: &EndpointId, step: &Step) {
        self.set(id, stepped(step));
    }

    fn done(&self, endpoint: &EndpointReport) {
        self.set(&endpoint.id, finished(endpoint));
    }
}

/// A step that begins.
pub(crate) fn begins(hop: Hop) -> String {
    format!("{hop} ...")
}

/// A step that is over.
pub(crate) fn stepped(step: &Step) -> String {
    let how = if step.passed { "passed" } else { "failed" };
    format!("{} {how} after {} ms: {}", step.hop, step.millis, step.evidence)
}

/// An endpoint that is done.
pub(crate) fn finished(endpoint: &EndpointReport) -> String {
    let hop = endpoint.hop.map_or_else(String::new, |hop| format!("{hop}: "));
    let word = match word(endpoint) {
        "yes" => "usable, ",
        "no" => "NOT USABLE, ",
        other => other,
    };
    let explanation =
        if endpoint.probed || endpoint.hop.is_some() { endpoint.explanation.as_str() } else { "" };
    format!("{word}{hop}{explanation}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Clone, Default)]
    struct Shared(Arc<Mutex<Vec<u8>>>);

    impl Write for Shared {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().expect("no panic").write(bytes)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn u08_each_hop_is_shown_as_it_happens_within_the_width_of_the_terminal() {
        let shown = Shared::default();
        let ids: Vec<EndpointId> =
            Profile::of(rs_proxy::Cloud::Public).endpoints().iter().map(|one| one.id.clone()).collect();
        let board = Board::new(ids.clone(), Box::new(shown.clone()), 60);
        board.begin(&ids[0], Hop::ProxyDns);
        let evidence = format!("\u{1b}[2J{}", "x".repeat(200));
        board.step(&ids[0], &Step { hop: Hop::ProxyDns, passed: true, millis: 3, evidence });
        drop(board.finish());
        let text = String::from_utf8(shown.0.lock().expect("no panic").clone()).expect("text");
        assert!(
            text.contains("servicebus")
                && text.contains("proxy-dns ...")
                && text.contains("passed after 3 ms")
        );
        assert_eq!(text.matches("\u{1b}[9A").count(), 1, "the second drawing replaces the first");
        assert!(!text.contains("\u{1b}[2J"), "sec37: what a peer says is shown, not obeyed");
        let plain = text.replace("\u{1b}[9A", "").replace("\r\u{1b}[2K", "");
        assert!(plain.lines().all(|line| line.chars().count() < 60), "{plain}");
    }
}

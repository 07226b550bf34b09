//! `proxy endpoints|allowlist|settings|check`: what must be reachable, whether a proxy's list lets it through, which proxy
//! the node uses, and whether the network lets it through. Only `check` needs a network.

pub(crate) mod check;
mod settings;

use std::io::{Read as _, Write as _};
use std::path::{Path, PathBuf};

use clap::builder::{PossibleValuesParser, TypedValueParser as _};
use clap::{Args, Subcommand};
use rs_proxy::allowlist::{self, LIST_BYTES_MAX, LIST_FORMATS, ListFormat, Report};
use rs_proxy::render::{self, FORMATS};
use rs_proxy::{Cloud, Confidence, Endpoint, Format, Profile, Severity, Target};

pub use self::check::CheckArgs;
pub use self::settings::SettingsArgs;
use crate::context::Context;
use crate::files;
use crate::outcome::{ErrorCode, Exit, Failure, Outcome};
use crate::output::{self, OutputMode, Record};

/// What to find out about the way to the support service.
#[derive(Debug, Subcommand)]
pub enum ProxyCommand {
    /// List what must be reachable, or write it for a product, ready to paste.
    Endpoints(EndpointsArgs),
    /// Say what a proxy's or firewall's list does for each endpoint, by the rules of its product; exit code 1 where it
    /// does not let all of them through.
    Allowlist(AllowlistArgs),
    /// Say which proxy this machine uses and where its settings disagree; exit code 1 where the one that counts cannot be used.
    Settings(SettingsArgs),
    /// Try the endpoints from this machine, hop by hop, and say for each whether it is usable; if not, which hop is at fault,
    /// why, and what to do.
    ///
    /// Exit codes: 0 all are usable, perhaps with remarks; 5 one or more are not usable; 7 none fails, but an entry with a
    /// star could not be probed for want of a name (see --probe-host); 2 an option cannot be used. With --compare: 0 all
    /// nodes fare alike and well, 5 alike and not well, 7 they differ.
    Check(Box<CheckArgs>),
}

/// Which endpoints count.
#[derive(Debug, Args)]
pub struct ProfileArgs {
    /// Cloud that the node belongs to; custom has no endpoints but the relay that is named.
    #[arg(
        long, value_name = "CLOUD", default_value = "public", ignore_case = true, env = "REMOTE_SUPPORT_CLOUD",
        value_parser = parser::<Cloud>(CLOUDS.map(Cloud::as_str))
    )]
    pub cloud: Cloud,
    /// Relay that the node really uses, for example a self-hosted one.
    #[arg(long, value_name = "HOST[:PORT]", env = "REMOTE_SUPPORT_RELAY_HOST")]
    pub relay_host: Option<Target>,
}

/// Arguments of `proxy endpoints`.
#[derive(Debug, Args)]
pub struct EndpointsArgs {
    /// Write the endpoints for this product, whatever the form of other results [default: list them with what they are
    /// for].
    #[arg(
        long, value_name = "FORMAT", ignore_case = true, env = "REMOTE_SUPPORT_FORMAT",
        value_parser = parser::<Format>(FORMATS.map(Format::as_str))
    )]
    pub format: Option<Format>,
    /// Which endpoints.
    #[command(flatten)]
    pub profile: ProfileArgs,
}

/// Arguments of `proxy allowlist`.
#[derive(Debug, Args)]
pub struct AllowlistArgs {
    /// File with the list as the product exports it, or `-` for standard input.
    #[arg(value_name = "FILE")]
    pub file: PathBuf,
    /// What the list is for; the same text means different things to different products [default: found out
    /// from the list and the file's name].
    #[arg(
        long, value_name = "FORMAT", ignore_case = true, env = "REMOTE_SUPPORT_FORMAT",
        value_parser = parser::<ListFormat>(LIST_FORMATS.map(ListFormat::as_str))
    )]
    pub format: Option<ListFormat>,
    /// Which endpoints.
    #[command(flatten)]
    pub profile: ProfileArgs,
    /// Print only the lines that have to be added, in the list's own form.
    #[arg(long, env = "REMOTE_SUPPORT_FIX", value_parser = clap::builder::BoolishValueParser::new())]
    pub fix: bool,
}

const CLOUDS: [Cloud; 4] = [Cloud::Public, Cloud::Usgov, Cloud::China, Cloud::Custom];

/// Reads one of `names`, which help and refusals list.
fn parser<T>(names: impl IntoIterator<Item = &'static str>) -> impl clap::builder::TypedValueParser<Value = T>
where
    T: std::str::FromStr<Err: std::error::Error + Send + Sync + 'static> + Clone + Send + Sync + 'static,
{
    PossibleValuesParser::new(names).try_map(|name| name.parse::<T>())
}

/// Runs a proxy command.
///
/// # Errors
///
/// [`ErrorCode::InvalidValue`] where no endpoint counts; for `allowlist` also [`ErrorCode::NotFound`], [`ErrorCode::Io`]
/// and [`ErrorCode::InvalidFile`] where the list cannot be read.
pub fn run(command: &ProxyCommand, context: &mut Context) -> Result<Outcome, Failure> {
    match command {
        ProxyCommand::Endpoints(args) => endpoints(args, context),
        ProxyCommand::Allowlist(args) => allowlist(args, context),
        ProxyCommand::Settings(args) => settings::run(args, context),
        ProxyCommand::Check(args) => check::run(args, context),
    }
}

fn profile(args: &ProfileArgs) -> Result<Profile, Failure> {
    let profile = Profile::of(args.cloud);
    let profile = match &args.relay_host {
        Some(relay) => profile.with_relay(relay.clone()),
        None => profile,
    };
    if profile.endpoints().is_empty() {
        return Err(Failure::new(ErrorCode::InvalidValue, "there is no endpoint to speak of")
            .about(format!("--cloud {}", args.cloud))
            .next_step("name your relay with --relay-host HOST[:PORT]"));
    }
    Ok(profile)
}

fn endpoints(args: &EndpointsArgs, context: &mut Context) -> Result<Outcome, Failure> {
    let profile = profile(&args.profile)?;
    match args.format {
        Some(format) => context.console.out.write_all(render::render(&profile, format).as_bytes())?,
        None if context.output == OutputMode::Json => {
            output::write_json(&mut *context.console.out, &profile)?;
        }
        None => context.print_all(&profile.endpoints().iter().map(record).collect::<Vec<_>>())?,
    }
    Ok(Outcome::Done)
}

fn record(endpoint: &Endpoint) -> Record {
    Record::new()
        .field("Id", endpoint.id.as_str())
        .field("Entry", endpoint.entry.as_str())
        .detail("Port", u32::from(endpoint.pattern.port()))
        .field("Purpose", endpoint.purpose.describe())
        .detail("Confidence", confidence(endpoint.confidence))
        .detail("Source", endpoint.source.as_str())
}

/// How sure a row is, in the word that JSON has for it.
fn confidence(confidence: Confidence) -> &'static str {
    match confidence {
        Confidence::Documented => "documented",
        Confidence::SuffixOnly => "suffix-only",
        Confidence::Assumed => "assumed",
        Confidence::Given => "given",
    }
}

fn allowlist(args: &AllowlistArgs, context: &mut Context) -> Result<Outcome, Failure> {
    let profile = profile(&args.profile)?;
    let list = read(&args.file, context)?;
    let name = args.file.file_name().unwrap_or_default().to_string_lossy();
    let report = allowlist::check_file(&name, &list, args.format, &profile).map_err(|error| {
        Failure::new(ErrorCode::InvalidFile, "the list cannot be read")
            .about(args.file.display().to_string())
            .because(error)
    })?;
    let json = context.output == OutputMode::Json;
    let out = &mut *context.console.out;
    match (args.fix, json) {
        (true, true) => output::write_json(out, &report.fix_lines())?,
        (true, false) => {
            report.fix_lines().iter().try_for_each(|line| writeln!(out, "{}", output::safe(line)))?
        }
        (false, true) => output::write_json(out, &report)?,
        (false, false) => write!(out, "{}", output::safe_lines(&report.to_string()))?,
    }
    if args.fix {
        context.note(summary(&report));
    }
    Ok(if report.severity < Severity::Failed { Outcome::Done } else { Outcome::Exit(Exit::Failed) })
}

fn summary(report: &Report) -> String {
    format!(
        "Read as {}: {} of {} endpoints are let through.",
        report.format.describe(),
        report.covered(),
        report.endpoints.len()
    )
}

fn read(path: &Path, context: &mut Context) -> Result<Vec<u8>, Failure> {
    if path != Path::new("-") {
        return files::read(path, LIST_BYTES_MAX);
    }
    let mut list = Vec::new();
    // One more than is permitted, so that a longer list is seen to be longer.
    (&mut context.console.input).take(LIST_BYTES_MAX as u64 + 1).read_to_end(&mut list)?;
    Ok(list)
}

//! `proxy settings`: all places that can name a proxy, which one counts, and where they disagree.

use std::io::Write as _;
use std::path::{Path, PathBuf};

use clap::Args;
use rs_proxy::net::system_sources;
use rs_proxy::settings::{Bypass, Setting, Settings};

use super::ProfileArgs;
use crate::context::Context;
use crate::files;
use crate::network;
use crate::outcome::{Exit, Failure, Outcome};
use crate::output::{self, OutputMode, Record, Value};

/// Longest file with settings that is read, in bytes.
const SETTINGS_BYTES_MAX: usize = 256 * 1024;

/// Arguments of `proxy settings`.
#[derive(Debug, Args)]
pub struct SettingsArgs {
    /// Which endpoints the settings are for.
    #[command(flatten)]
    pub profile: ProfileArgs,
    /// What the proxy is said to be, before all other settings: http://HOST:PORT or `direct`.
    #[arg(long, value_name = "URL|direct", env = "REMOTE_SUPPORT_PROXY", hide_env_values = true)]
    pub proxy: Option<String>,
    /// File with the output of `netsh winhttp show proxy` or `Get-WinhttpProxy`, of this node or another [default: this
    /// machine is asked, where it is a Windows machine; so for the next two].
    #[arg(long, value_name = "FILE", env = "REMOTE_SUPPORT_WINHTTP_FILE")]
    pub winhttp_file: Option<PathBuf>,
    /// File with the output of `reg query` of the Internet Settings key (WinINET).
    #[arg(long, value_name = "FILE", env = "REMOTE_SUPPORT_WININET_FILE")]
    pub wininet_file: Option<PathBuf>,
    /// File with the output of `azcmagent config list`.
    #[arg(long, value_name = "FILE", env = "REMOTE_SUPPORT_ARC_FILE")]
    pub arc_file: Option<PathBuf>,
    /// File with a systemd unit or the output of `systemctl show -p Environment`.
    #[arg(long, value_name = "FILE", env = "REMOTE_SUPPORT_SYSTEMD_FILE")]
    pub systemd_file: Option<PathBuf>,
}

/// Reads and compares.
///
/// # Errors
///
/// [`ErrorCode::InvalidValue`](crate::outcome::ErrorCode) for a flag that cannot be; errors of the files.
pub(super) fn run(args: &SettingsArgs, context: &mut Context) -> Result<Outcome, Failure> {
    let mut sources = system_sources();
    sources.flag = network::flag(args.proxy.as_deref())?;
    for (file, text) in [
        (&args.winhttp_file, &mut sources.winhttp),
        (&args.wininet_file, &mut sources.wininet),
        (&args.arc_file, &mut sources.arc),
        (&args.systemd_file, &mut sources.systemd),
    ] {
        if let Some(path) = file {
            *text = Some(read(path)?);
        }
    }
    let mut settings = Settings::read(&sources);
    settings.findings.extend(settings.findings_for(&super::profile(&args.profile)?));
    print(&settings, context)?;
    let broken = settings.winner().is_some_and(|winner| winner.problem.is_some());
    Ok(if broken { Outcome::Exit(Exit::Failed) } else { Outcome::Done })
}

/// Windows writes some outputs in UTF-16.
fn read(path: &Path) -> Result<String, Failure> {
    let bytes = files::read(path, SETTINGS_BYTES_MAX)?;
    rs_proxy::allowlist::decode(&bytes).map_err(|error| {
        Failure::new(crate::outcome::ErrorCode::InvalidFile, "the settings cannot be read")
            .about(path.display().to_string())
            .because(error)
    })
}

fn print(settings: &Settings, context: &mut Context) -> Result<(), Failure> {
    if context.output == OutputMode::Json {
        return Ok(output::write_json(&mut *context.console.out, settings)?);
    }
    let records: Vec<Record> =
        settings.settings.iter().enumerate().map(|(at, setting)| record(setting, at == 0)).collect();
    context.print_all(&records)?;
    if records.is_empty() {
        writeln!(context.console.out, "No setting names a proxy: the network is reached directly.")?;
    }
    for finding in &settings.findings {
        let text = output::safe_lines(&finding.text);
        writeln!(context.console.out, "\n{}: {text}", finding.severity)?;
    }
    Ok(())
}

fn record(setting: &Setting, counts: bool) -> Record {
    let proxy = match (&setting.problem, &setting.proxy) {
        (Some(_), _) => "cannot be used".to_owned(),
        (None, Some(proxy)) => proxy.to_string(),
        (None, None) => "direct".to_owned(),
    };
    let bypass = match &setting.bypass {
        Bypass::None => Value::None,
        Bypass::NoProxy(list) | Bypass::Windows(list) => Value::Text(list.clone()),
        Bypass::Services(services) => Value::Texts(services.clone()),
    };
    Record::new()
        .field("Source", setting.source.describe())
        .field("Proxy", proxy)
        .field("Counts", counts)
        .field("Bypass", bypass)
}

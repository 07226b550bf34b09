//! What differs between operating systems: where a node's proxy settings are kept.
//!
//! On Windows the settings are asked from the programs that own them (`netsh`, `reg`, `azcmagent`), whose output the core
//! reads; elsewhere the environment is all there is. Not run on Windows yet.

use std::path::PathBuf;
use std::process::{Command, Stdio};

use crate::settings::Sources;

/// The `Internet Settings` keys, the machine's first: Azure Local sets WinINET for the machine.
const KEYS: [&str; 2] = [
    r"HKLM\SOFTWARE\Microsoft\Windows\CurrentVersion\Internet Settings",
    r"HKCU\SOFTWARE\Microsoft\Windows\CurrentVersion\Internet Settings",
];

/// All settings of this machine that can be read without asking anyone. Starts programs on Windows; call it off the
/// async threads.
///
/// # Examples
///
/// ```
/// use rs_proxy::settings::Settings;
///
/// let settings = Settings::read(&rs_proxy::net::system_sources());
/// println!("{:?}", settings.proxy());
/// ```
#[must_use]
pub fn system_sources() -> Sources {
    let mut sources = Sources::from_environment();
    if cfg!(windows) {
        sources.winhttp =
            system32("netsh.exe").and_then(|program| output(program, &["winhttp", "show", "proxy"]));
        let keys = || KEYS.iter().filter_map(|key| output(system32("reg.exe")?, &["query", key]));
        sources.wininet = keys().find(|text| text.contains("ProxyServer") || text.contains("AutoConfigURL"));
        sources.arc = arc_agent().and_then(|program| output(program, &["config", "list"]));
    }
    sources
}

/// A program of Windows by its full path, so that none of the same name is taken from elsewhere.
fn system32(name: &str) -> Option<PathBuf> {
    Some(PathBuf::from(std::env::var_os("SystemRoot")?).join("System32").join(name))
}

/// The Arc agent, where it is installed.
fn arc_agent() -> Option<PathBuf> {
    let path = PathBuf::from(std::env::var_os("ProgramFiles")?)
        .join("AzureConnectedMachineAgent")
        .join("azcmagent.exe");
    path.exists().then_some(path)
}

/// What a program prints, when it succeeds.
fn output(program: PathBuf, arguments: &[&str]) -> Option<String> {
    let output =
        Command::new(program).args(arguments).stdin(Stdio::null()).stderr(Stdio::null()).output().ok()?;
    output.status.success().then(|| String::from_utf8_lossy(&output.stdout).into_owned())
}

//! What long-running commands tell while they run: one line an event, on standard error.

use tracing_subscriber::EnvFilter;

/// Which events are shown where `REMOTE_SUPPORT_LOG` says nothing.
const FILTER_DEFAULT: &str = "info,hyper=warn,rustls=warn";

/// Sends events to standard error, filtered by `REMOTE_SUPPORT_LOG`, for example `rs_relay=debug`. Does nothing when the
/// process sends them somewhere already.
pub(crate) fn to_stderr() {
    let filter =
        EnvFilter::try_from_env("REMOTE_SUPPORT_LOG").unwrap_or_else(|_| EnvFilter::new(FILTER_DEFAULT));
    let plain = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
    let terminal = std::io::IsTerminal::is_terminal(&std::io::stderr());
    // A second subscriber is refused; the first one stands.
    let _ = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(terminal && !plain)
        .with_target(false)
        .try_init();
}

/// As [`to_stderr`], to a file.
#[cfg(windows)]
pub(crate) fn to_file(log: crate::log_file::LogFile) {
    let filter =
        EnvFilter::try_from_env("REMOTE_SUPPORT_LOG").unwrap_or_else(|_| EnvFilter::new(FILTER_DEFAULT));
    let _ = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(move || log.clone())
        .with_ansi(false)
        .with_target(false)
        .try_init();
}

/// As [`to_stderr`], one JSON object an event, for programs.
pub(crate) fn json_to_stderr() {
    let filter =
        EnvFilter::try_from_env("REMOTE_SUPPORT_LOG").unwrap_or_else(|_| EnvFilter::new(FILTER_DEFAULT));
    let _ = tracing_subscriber::fmt()
        .json()
        .flatten_event(true)
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .try_init();
}

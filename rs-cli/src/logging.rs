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

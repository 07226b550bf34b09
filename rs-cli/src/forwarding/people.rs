//! People on this machine: those who are logged in at a terminal, and the one at whose desktop the agent runs.

use std::path::{Path, PathBuf};
use std::time::Duration;

use async_trait::async_trait;
use rs_session::forward::sink::{Encoded, Mark, Pace, Sink, SinkError};

use super::digest;
use super::program::Run;
use crate::platform;

/// The system's own program that writes to all terminals; it makes what it is given harmless.
const WALL: &str = "/usr/bin/wall";
/// The desktop's own program for a notice.
const NOTIFY_SEND: &str = "/usr/bin/notify-send";
/// Longest time of one run of either.
const RUN_WAIT: Duration = Duration::from_secs(10);
/// Most events of one notice, and the least time between two.
pub const PACE: Pace = Pace { most: 1_000, every: Duration::from_secs(10) };
/// Most lines of one notice to terminals.
pub const LINES_MAX: usize = 10;

/// Writes to the terminals of everybody who is logged in.
#[derive(Debug)]
pub(super) struct TerminalsSink;

#[async_trait]
impl Sink for TerminalsSink {
    fn pace(&self) -> Pace {
        PACE
    }

    async fn deliver(&mut self, batch: &[Encoded]) -> Result<Option<Mark>, SinkError> {
        if !platform::is_root() {
            // It would say that all went well.
            let why = "nothing: only an agent that runs as root can write to the terminals of others";
            return Err(SinkError::Refused(why.to_owned()));
        }
        let digest = digest::of(batch, LINES_MAX);
        let text = format!("Remote support on {}\n{}\n", digest.heading, digest.lines.join("\n"));
        Run::of(Path::new(WALL)).input(text.as_bytes()).within(RUN_WAIT).await.map(|()| None)
    }
}

/// Shows a notice on the desktop of the account that the agent runs as.
#[derive(Debug)]
pub(super) struct DesktopSink {
    bus: PathBuf,
}

impl DesktopSink {
    /// On the session bus of this account, where systemd has it.
    pub(super) fn own() -> Self {
        #[cfg(unix)]
        let user = rustix::process::getuid().as_raw();
        #[cfg(not(unix))]
        let user = 0;
        Self { bus: PathBuf::from(format!("/run/user/{user}/bus")) }
    }
}

#[async_trait]
impl Sink for DesktopSink {
    fn pace(&self) -> Pace {
        PACE
    }

    async fn deliver(&mut self, batch: &[Encoded]) -> Result<Option<Mark>, SinkError> {
        if !self.bus.exists() {
            let bus = self.bus.display();
            return Err(SinkError::Refused(format!(
                "nothing: nobody is logged in at a desktop here ({bus})"
            )));
        }
        // Arguments can be read by every account of the machine: the heading names kinds and numbers, and nothing else.
        let heading = digest::of(batch, 0).heading;
        let address = format!("unix:path={}", self.bus.display());
        Run::of(Path::new(NOTIFY_SEND))
            .arguments(&["--app-name=remote-support", "--urgency=normal", "--", "Remote support", &heading])
            .variable("DBUS_SESSION_BUS_ADDRESS", &address)
            .within(RUN_WAIT)
            .await
            .map(|()| None)
    }
}

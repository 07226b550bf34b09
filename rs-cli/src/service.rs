//! What the service manager is told: that the agent is ready, that it lives, that it stops (systemd: `Type=notify`,
//! `WatchdogSec`; Windows: the states of a service).
//!
//! Where no manager asked to be told, nothing happens.

#[cfg(unix)]
mod told {
    use sd_notify::NotifyState;

    /// The agent takes calls now.
    pub(crate) fn ready(status: &str) {
        say(&[NotifyState::Ready, NotifyState::Status(status)]);
    }

    /// The agent ends its sessions and goes.
    pub(crate) fn stopping() {
        say(&[NotifyState::Stopping]);
    }

    /// Says that the process lives, twice as often as the manager wants to hear it, as long as `lives` returns: what `lives`
    /// waits for must be what a hanging agent would not get. Never returns.
    pub(crate) async fn watchdog(lives: impl Fn()) {
        let Some(within) = sd_notify::watchdog_enabled() else { return std::future::pending().await };
        let mut beat = tokio::time::interval(within / 2);
        loop {
            beat.tick().await;
            lives();
            say(&[NotifyState::Watchdog]);
        }
    }

    fn say(state: &[NotifyState<'_>]) {
        if let Err(error) = sd_notify::notify(state) {
            tracing::warn!(%error, "the service manager could not be told");
        }
    }
}

#[cfg(unix)]
pub(crate) use told::{ready, stopping, watchdog};

#[cfg(windows)]
mod windows;
#[cfg(windows)]
pub(crate) use windows::{NAME, STOP_WAIT, ready, run, stopping, told_to_stop, watchdog};

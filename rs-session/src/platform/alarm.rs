//! Waits for a deadline, and is woken by what moves it: a machine that slept, a wall clock that was set.
//!
//! On Linux two timers of the kernel do that: one on the boot clock, which goes on while the machine sleeps, and one on the
//! wall clock that never rings and is cancelled when somebody sets that clock. Where there are none, only the look remains.

use std::time::Duration;

/// A wait is over after this at the latest, so that the clocks are read again: a hypervisor can set a clock and tell nobody,
/// and not every system has timers that tell.
pub(crate) const LOOK: Duration = Duration::from_millis(500);

/// The timers of one session. Made within a runtime that has its I/O driver.
#[derive(Debug)]
pub(crate) struct Alarm(#[cfg(target_os = "linux")] Option<linux::Timers>);

impl Alarm {
    pub(crate) fn new() -> Self {
        Self(
            #[cfg(target_os = "linux")]
            linux::Timers::new().ok(),
        )
    }

    /// Returns when `remaining` is over, the wall clock was set, or [`LOOK`] is over.
    ///
    /// # Cancel safety
    /// Nothing is lost if the future is dropped.
    pub(crate) async fn wait(&self, remaining: Duration) {
        let look = tokio::time::sleep(remaining.min(LOOK));
        #[cfg(target_os = "linux")]
        if let Some(timers) = &self.0 {
            return tokio::select! {
                () = timers.rung(remaining) => {}
                () = look => {}
            };
        }
        look.await;
    }
}

#[cfg(target_os = "linux")]
mod linux {
    use std::io;
    use std::time::Duration;

    use rustix::io::Errno;
    use rustix::time::{
        Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec, timerfd_create,
        timerfd_settime,
    };
    use tokio::net::unix::pipe::Receiver;

    /// Some 290 years after 1970: the kernel's last instant.
    const NEVER_SECONDS: i64 = i64::MAX / 1_000_000_000;
    /// A timer of zero would never ring, and one of next to nothing would ring again before anything else got its turn.
    const SHORTEST: Duration = Duration::from_millis(1);
    const ZERO: Timespec = Timespec { tv_sec: 0, tv_nsec: 0 };

    #[derive(Debug)]
    pub(super) struct Timers {
        boot: Receiver,
        wall: Receiver,
    }

    impl Timers {
        pub(super) fn new() -> io::Result<Self> {
            let this =
                Self { boot: timer(TimerfdClockId::Boottime)?, wall: timer(TimerfdClockId::Realtime)? };
            let never =
                Itimerspec { it_interval: ZERO, it_value: Timespec { tv_sec: NEVER_SECONDS, tv_nsec: 0 } };
            let flags = TimerfdTimerFlags::ABSTIME | TimerfdTimerFlags::CANCEL_ON_SET;
            timerfd_settime(&this.wall, flags, &never)?;
            Ok(this)
        }

        /// Returns when `remaining` of boot time is over or the wall clock was set; never where a timer fails.
        pub(super) async fn rung(&self, remaining: Duration) {
            let remaining = remaining.max(SHORTEST);
            let tv_sec = i64::try_from(remaining.as_secs()).unwrap_or(NEVER_SECONDS).min(NEVER_SECONDS);
            let it_value = Timespec { tv_sec, tv_nsec: i64::from(remaining.subsec_nanos()) };
            let once = Itimerspec { it_interval: ZERO, it_value };
            if timerfd_settime(&self.boot, TimerfdTimerFlags::empty(), &once).is_err() {
                return std::future::pending().await;
            }
            let rung = tokio::select! {
                rung = told(&self.boot) => rung,
                rung = told(&self.wall) => rung,
            };
            if rung.is_err() {
                std::future::pending().await
            }
        }
    }

    /// A timer is waited for and read like a pipe, and tokio has no safe way in for other descriptors.
    fn timer(clock: TimerfdClockId) -> io::Result<Receiver> {
        let timer = timerfd_create(clock, TimerfdFlags::NONBLOCK | TimerfdFlags::CLOEXEC)?;
        Receiver::from_owned_fd_unchecked(timer)
    }

    /// Returns when a timer rang or was cancelled, once for each time.
    async fn told(timer: &Receiver) -> io::Result<()> {
        let mut rings = [0; 8];
        loop {
            timer.readable().await?;
            match timer.try_read(&mut rings) {
                Ok(_) => return Ok(()),
                Err(error) if Errno::from_io_error(&error) == Some(Errno::CANCELED) => return Ok(()),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) => return Err(error),
            }
        }
    }

    #[cfg(test)]
    mod tests {
        use std::time::Instant;

        use rustix::time::{ClockId, clock_gettime, clock_settime};

        use super::*;

        /// A clock that is set rings every alarm of this process, so who sets it has the clock for itself.
        static CLOCK: tokio::sync::Mutex<()> = tokio::sync::Mutex::const_new(());

        #[tokio::test]
        async fn sec09_it_rings_when_the_time_is_over_and_not_before() {
            let _clock = CLOCK.lock().await;
            let timers = Timers::new().unwrap();
            for remaining in [Duration::ZERO, Duration::from_millis(30), Duration::from_millis(20)] {
                let start = Instant::now();
                timers.rung(remaining).await;
                assert!(start.elapsed() >= remaining, "{:?} of {remaining:?}", start.elapsed());
            }
            let never = timers.rung(Duration::MAX);
            assert!(tokio::time::timeout(Duration::from_millis(20), never).await.is_err());
        }

        /// The clock is set to what it shows, which no other program notices. Only root may, so it is asked for by name.
        #[tokio::test]
        async fn sec09_a_wall_clock_that_is_set_rings_at_once() {
            if std::env::var_os("REQUIRE_ROOT").is_none() {
                return eprintln!("skipped: REQUIRE_ROOT is not set");
            }
            let _clock = CLOCK.lock().await;
            let timers = Timers::new().unwrap();
            let hour = Duration::from_secs(3600);
            assert!(tokio::time::timeout(Duration::from_millis(20), timers.rung(hour)).await.is_err());
            for _ in 0..2 {
                if let Err(error) = clock_settime(ClockId::Realtime, clock_gettime(ClockId::Realtime)) {
                    return eprintln!("skipped: root may not set the clock here ({error})");
                }
                let rung = tokio::time::timeout(Duration::from_secs(10), timers.rung(hour)).await;
                assert!(rung.is_ok(), "the clock was set, and nobody was told");
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_wait_is_over_at_the_deadline_or_at_the_next_look() {
        let alarm = Alarm::new();
        for (remaining, most) in [(Duration::from_millis(7), 7), (LOOK, 500), (LOOK * 3, 500)] {
            let start = tokio::time::Instant::now();
            alarm.wait(remaining).await;
            let waited = start.elapsed().as_millis();
            assert!(waited <= most + 1, "{waited} ms of {remaining:?}");
        }
    }
}

//! What the person at the terminal wants: to stop (Ctrl-C; SIGTERM, or an order of Windows' service manager), or something by
//! a key.

/// The orders to stop that reach this process from the making of this value on, one after the other. None is lost between
/// two looks.
pub(crate) struct Stops {
    #[cfg(unix)]
    signals: Vec<tokio::signal::unix::Signal>,
    #[cfg(windows)]
    interrupt: Option<tokio::signal::windows::CtrlC>,
    #[cfg(windows)]
    ends: Option<Ends>,
}

impl Stops {
    /// Listens from now on.
    #[cfg(unix)]
    pub(crate) fn listen() -> Self {
        use tokio::signal::unix::SignalKind;
        Self::to(&[SignalKind::terminate(), SignalKind::interrupt()])
    }

    /// Listens from now on, also to the end of the terminal and to Ctrl-\: whoever has changed the terminal must put it back.
    #[cfg(unix)]
    pub(crate) fn of_terminal() -> Self {
        use tokio::signal::unix::SignalKind;
        Self::to(&[
            SignalKind::terminate(),
            SignalKind::interrupt(),
            SignalKind::hangup(),
            SignalKind::quit(),
        ])
    }

    /// As [`Stops::of_terminal`], without Ctrl-C.
    #[cfg(unix)]
    pub(crate) fn but_interrupts() -> Self {
        use tokio::signal::unix::SignalKind;
        Self::to(&[SignalKind::terminate(), SignalKind::hangup(), SignalKind::quit()])
    }

    /// Ctrl-C alone.
    #[cfg(unix)]
    pub(crate) fn interrupts() -> Self {
        Self::to(&[tokio::signal::unix::SignalKind::interrupt()])
    }

    #[cfg(unix)]
    fn to(kinds: &[tokio::signal::unix::SignalKind]) -> Self {
        // One that cannot be listened to ends the process as the system has it.
        Self { signals: kinds.iter().filter_map(|kind| tokio::signal::unix::signal(*kind).ok()).collect() }
    }

    /// Listens from now on.
    #[cfg(windows)]
    pub(crate) fn listen() -> Self {
        // One that cannot be listened to ends the process as the system has it.
        Self { interrupt: tokio::signal::windows::ctrl_c().ok(), ends: Some(Ends::listen()) }
    }

    /// Listens from now on.
    #[cfg(windows)]
    pub(crate) fn of_terminal() -> Self {
        Self::listen()
    }

    /// As [`Stops::of_terminal`], without Ctrl-C.
    #[cfg(windows)]
    pub(crate) fn but_interrupts() -> Self {
        Self { interrupt: None, ends: Some(Ends::listen()) }
    }

    /// Ctrl-C alone.
    #[cfg(windows)]
    pub(crate) fn interrupts() -> Self {
        Self { interrupt: tokio::signal::windows::ctrl_c().ok(), ends: None }
    }

    /// Returns at the next order. Can be given up and called again.
    pub(crate) async fn next(&mut self) {
        #[cfg(unix)]
        std::future::poll_fn(|context| {
            let stopped = self.signals.iter_mut().any(|signal| signal.poll_recv(context).is_ready());
            if stopped { std::task::Poll::Ready(()) } else { std::task::Poll::Pending }
        })
        .await;
        #[cfg(windows)]
        {
            let interrupt = async {
                match &mut self.interrupt {
                    Some(interrupt) => drop(interrupt.recv().await),
                    None => std::future::pending().await,
                }
            };
            let ends = async {
                match &mut self.ends {
                    Some(ends) => ends.next().await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                () = interrupt => {}
                () = ends => {}
            }
        }
    }
}

/// What ends a process of Windows besides Ctrl-C: Ctrl-Break, its window closed, and an order of the service manager.
#[cfg(windows)]
struct Ends {
    kill: Option<tokio::signal::windows::CtrlBreak>,
    closed: Option<tokio::signal::windows::CtrlClose>,
}

#[cfg(windows)]
impl Ends {
    fn listen() -> Self {
        use tokio::signal::windows::{ctrl_break, ctrl_close};
        Self { kill: ctrl_break().ok(), closed: ctrl_close().ok() }
    }

    async fn next(&mut self) {
        let kill = async {
            match &mut self.kill {
                Some(kill) => drop(kill.recv().await),
                None => std::future::pending().await,
            }
        };
        let closed = async {
            match &mut self.closed {
                Some(closed) => drop(closed.recv().await),
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            () = kill => {}
            () = closed => {}
            () = crate::service::told_to_stop() => {}
        }
    }
}

/// What a shell with job control tells: to stop for a while (Ctrl-Z comes as a key, `kill -TSTP` as this), and to go on.
pub(crate) struct JobSignals {
    #[cfg(unix)]
    suspends: Option<tokio::signal::unix::Signal>,
    #[cfg(unix)]
    resumes: Option<tokio::signal::unix::Signal>,
}

impl JobSignals {
    /// From now on SIGTSTP stops the process no more by itself.
    pub(crate) fn listen() -> Self {
        #[cfg(unix)]
        {
            use tokio::signal::unix::{SignalKind, signal};
            let of = |kind: rustix::process::Signal| signal(SignalKind::from_raw(kind.as_raw())).ok();
            Self { suspends: of(rustix::process::Signal::TSTP), resumes: of(rustix::process::Signal::CONT) }
        }
        #[cfg(not(unix))]
        Self {}
    }

    /// The next of them. Can be given up and called again.
    pub(crate) async fn next(&mut self) -> Job {
        #[cfg(unix)]
        return std::future::poll_fn(|context| {
            use std::task::Poll;
            let is_ready = |signal: &mut Option<tokio::signal::unix::Signal>, context: &mut _| {
                signal.as_mut().is_some_and(|signal| signal.poll_recv(context).is_ready())
            };
            if is_ready(&mut self.suspends, context) {
                Poll::Ready(Job::Suspended)
            } else if is_ready(&mut self.resumes, context) {
                Poll::Ready(Job::Resumed)
            } else {
                Poll::Pending
            }
        })
        .await;
        #[cfg(not(unix))]
        std::future::pending().await
    }
}

/// What a shell with job control told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(not(unix), expect(dead_code, reason = "nobody tells it there"))]
pub(crate) enum Job {
    /// To stop for a while.
    Suspended,
    /// To go on.
    Resumed,
}

/// Wishes to read settings again: SIGHUP, where there is one.
pub(crate) struct Reloads {
    #[cfg(unix)]
    hangups: Option<tokio::signal::unix::Signal>,
}

impl Reloads {
    /// From now on SIGHUP ends the process no more.
    pub(crate) fn new() -> Self {
        Self {
            #[cfg(unix)]
            hangups: tokio::signal::unix::signal(tokio::signal::unix::SignalKind::hangup()).ok(),
        }
    }

    /// Waits for the next one.
    pub(crate) async fn next(&mut self) {
        #[cfg(unix)]
        if let Some(hangups) = &mut self.hangups
            && hangups.recv().await.is_some()
        {
            return;
        }
        std::future::pending().await
    }
}

/// The printable keys that come in on standard input. A thread reads them, since reading blocks; it ends with the process.
pub(crate) fn typed_keys() -> tokio::sync::mpsc::Receiver<char> {
    let (send, typed) = tokio::sync::mpsc::channel(16);
    std::thread::spawn(move || {
        let mut byte = [0; 1];
        while std::io::Read::read(&mut std::io::stdin(), &mut byte).is_ok_and(|read| read == 1) {
            let key = char::from(byte[0]);
            if key.is_ascii_graphic() && send.blocking_send(key).is_err() {
                break;
            }
        }
    });
    typed
}

//! A terminal as somebody sits at it: the program on a pseudo-terminal of its own, and what stands on its screen.

#![allow(dead_code, clippy::allow_attributes, reason = "each test program uses its own part")]

use std::fs::File;
use std::io::{Read as _, Write as _};
use std::num::NonZeroU16;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use rustix::pty::{OpenptFlags, openpt, ptsname, unlockpt};
use rustix::termios::{LocalModes, Winsize, tcgetattr, tcsetwinsize};

/// Generous: the machine that runs the tests may be busy.
const WAIT: Duration = Duration::from_secs(60);

/// What we write behind the last that the program wrote; no terminal shows it.
const END: &str = "\u{1b}]777;end\u{7}";

/// A program on a terminal of its own; it is killed at the end of the test.
pub(crate) struct Terminal {
    child: Child,
    controller: File,
    /// The program's side, kept open so that its modes can be looked at when it is gone.
    device: File,
    shared: Arc<Shared>,
}

struct Shared {
    state: Mutex<State>,
    changed: Condvar,
}

struct State {
    parser: vt100::Parser,
    /// Every byte that was written to the terminal.
    written: Vec<u8>,
}

fn positive(number: u16) -> NonZeroU16 {
    NonZeroU16::new(number).expect("positive")
}

fn size(columns: u16, rows: u16) -> Winsize {
    Winsize { ws_row: rows, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 }
}

impl Terminal {
    /// Starts a command as a shell does for somebody at a terminal of this size.
    pub(crate) fn start(program: &Command, columns: u16, rows: u16) -> Self {
        let controller =
            openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).expect("a pseudo-terminal of this system");
        unlockpt(&controller).expect("own terminal");
        let name = ptsname(&controller, Vec::new()).expect("own terminal").into_string().expect("text");
        tcsetwinsize(&controller, size(columns, rows)).expect("own terminal");
        let device = File::options().read(true).write(true).open(name).expect("own terminal");
        let stream = || Stdio::from(device.try_clone().expect("own terminal"));
        let mut command = Command::new("setsid");
        command.args(["--ctty", "env", "--default-signal=INT"]);
        command.arg(program.get_program()).args(program.get_args());
        for (name, value) in program.get_envs() {
            match value {
                Some(value) => command.env(name, value),
                None => command.env_remove(name),
            };
        }
        if let Some(directory) = program.get_current_dir() {
            command.current_dir(directory);
        }
        if !program.get_envs().any(|(name, _)| name == "TERM") {
            command.env("TERM", "xterm-256color");
        }
        let child = command.stdin(stream()).stdout(stream()).stderr(stream()).spawn().expect("it starts");
        let parser = vt100::Parser::new(positive(rows), positive(columns), 1000);
        let state = Mutex::new(State { parser, written: Vec::new() });
        let shared = Arc::new(Shared { state, changed: Condvar::new() });
        let controller = File::from(controller);
        read(controller.try_clone().expect("own terminal"), Arc::clone(&shared));
        Self { child, controller, device, shared }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.shared.state.lock().expect("no panic")
    }

    /// What stands on the screen.
    pub(crate) fn screen(&self) -> String {
        self.state().parser.screen().contents()
    }

    /// Waits until the screen is as wanted, and gives it.
    #[track_caller]
    pub(crate) fn until(&self, what: &str, wanted: impl Fn(&vt100::Screen) -> bool) -> String {
        let deadline = Instant::now() + WAIT;
        let mut state = self.state();
        loop {
            if wanted(state.parser.screen()) {
                return state.parser.screen().contents();
            }
            let left = deadline.saturating_duration_since(Instant::now());
            assert!(!left.is_zero(), "waited in vain: {what}\n{}", state.parser.screen().contents());
            state = self.shared.changed.wait_timeout(state, left).expect("no panic").0;
        }
    }

    /// Waits for a text on the screen, however it is broken into lines.
    #[track_caller]
    pub(crate) fn shows(&self, text: &str) -> String {
        let bare = |text: &str| text.split_whitespace().collect::<String>();
        let wanted = bare(text);
        self.until(text, |screen| bare(&screen.contents()).contains(&wanted))
    }

    /// Types.
    pub(crate) fn types(&mut self, keys: &str) {
        self.controller.write_all(keys.as_bytes()).expect("own terminal");
    }

    /// Makes the terminal larger or smaller.
    pub(crate) fn resize(&self, columns: u16, rows: u16) {
        self.state().parser.set_size(positive(rows), positive(columns));
        tcsetwinsize(&self.controller, size(columns, rows)).expect("own terminal");
    }

    pub(crate) fn signal(&self, signal: Signal) {
        let pid = i32::try_from(self.child.id()).ok().and_then(Pid::from_raw).expect("a process");
        kill_process(pid, signal).expect("own process");
    }

    /// Everything that was written so far.
    pub(crate) fn written(&self) -> String {
        String::from_utf8_lossy(&self.state().written).replace(END, "")
    }

    /// Whether the screen is a full-screen view's.
    pub(crate) fn is_taken(&self) -> bool {
        self.state().parser.screen().alternate_screen()
    }

    /// Whether lines are edited and echoed by the terminal, the cursor is seen, and the screen is the usual one: as a shell
    /// wants it.
    pub(crate) fn is_as_before(&self) -> bool {
        let modes = tcgetattr(&self.controller).expect("own terminal").local_modes;
        let state = self.state();
        let screen = state.parser.screen();
        modes.contains(LocalModes::ICANON | LocalModes::ECHO | LocalModes::ISIG)
            && !screen.alternate_screen()
            && !screen.hide_cursor()
            && !screen.bracketed_paste()
    }

    /// Waits for the end, and until everything stands on the screen that was written before; gives the exit code, -1 for an
    /// end by a signal.
    #[track_caller]
    pub(crate) fn end(&mut self) -> i32 {
        let deadline = Instant::now() + WAIT;
        loop {
            if let Some(status) = self.child.try_wait().expect("own process") {
                self.device.write_all(END.as_bytes()).expect("own terminal");
                let is_read = |state: &State| state.written.ends_with(END.as_bytes());
                let mut state = self.state();
                while !is_read(&state) {
                    assert!(Instant::now() < deadline, "what was written is not read");
                    state = self.shared.changed.wait_timeout(state, WAIT).expect("no panic").0;
                }
                return status.code().unwrap_or(-1);
            }
            assert!(Instant::now() < deadline, "it does not end\n{}", self.screen());
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}

/// Takes what the program writes, until its terminal is gone.
fn read(mut controller: File, shared: Arc<Shared>) {
    std::thread::spawn(move || {
        let mut buffer = [0; 4096];
        while let Ok(length) = controller.read(&mut buffer) {
            if length == 0 {
                break;
            }
            let mut state = shared.state.lock().expect("no panic");
            state.parser.process(&buffer[..length]);
            state.written.extend_from_slice(&buffer[..length]);
            shared.changed.notify_all();
        }
    });
}

impl Drop for Terminal {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

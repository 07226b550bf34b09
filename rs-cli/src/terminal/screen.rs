//! The terminal as a screen: taken as a whole, drawn on, and given back as it was on every way out: at the end, on a panic,
//! on a signal that ends the program, and while it is suspended.

use std::io::{self, Write as _};
use std::sync::Once;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use crossterm::event::{Event as TerminalEvent, EventStream, KeyCode, KeyEvent, KeyEventKind, KeyModifiers};
use crossterm::style::{Attribute, Color, SetAttribute, SetForegroundColor};
use crossterm::terminal::{
    self, BeginSynchronizedUpdate, Clear, ClearType, EndSynchronizedUpdate, EnterAlternateScreen,
    LeaveAlternateScreen,
};
use crossterm::{cursor, execute, queue};
use futures_util::StreamExt as _;

use super::frame::{Frame, Line, Size, Style};
use crate::output::columns;
use crate::signals::{Job, JobSignals, Stops};

/// How long it is quiet before keys are taken. Not zero: so short a look finds nothing, whatever was typed.
const SETTLE: Duration = Duration::from_millis(20);

/// A key, as far as views know keys.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Key {
    Char(char),
    Enter,
    Escape,
    Backspace,
    Up,
    Down,
    Left,
    Right,
    PageUp,
    PageDown,
    Home,
    End,
    /// Ctrl-C, where it comes as a key.
    Interrupt,
    /// Ctrl-Z, where it comes as a key.
    Suspend,
}

impl Key {
    fn of(event: KeyEvent) -> Option<Self> {
        if event.kind == KeyEventKind::Release {
            return None;
        }
        let control = event.modifiers.contains(KeyModifiers::CONTROL);
        Some(match event.code {
            KeyCode::Char('c' | 'C') if control => Self::Interrupt,
            KeyCode::Char('z' | 'Z') if control => Self::Suspend,
            KeyCode::Char(c) if !control => Self::Char(c),
            KeyCode::Enter => Self::Enter,
            KeyCode::Esc => Self::Escape,
            KeyCode::Backspace => Self::Backspace,
            KeyCode::Up => Self::Up,
            KeyCode::Down => Self::Down,
            KeyCode::Left => Self::Left,
            KeyCode::Right => Self::Right,
            KeyCode::PageUp => Self::PageUp,
            KeyCode::PageDown => Self::PageDown,
            KeyCode::Home => Self::Home,
            KeyCode::End => Self::End,
            _ => return None,
        })
    }
}

/// What comes from the terminal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Event {
    Key(Key),
    /// What is drawn next fills a screen of another size, or one that was used by others in between.
    Redraw,
    /// The program is told to end, or the terminal is gone.
    Stop,
}

/// Single keys, unread by anybody else, while this lives. The lines of the terminal are as before when it is gone.
pub(crate) struct RawKeys(EventStream);

impl RawKeys {
    /// # Errors
    ///
    /// Where standard input is no terminal.
    pub(crate) fn take() -> io::Result<Self> {
        restore_on_panic();
        terminal::enable_raw_mode()?;
        // What was typed before there was anything to answer is no answer.
        while crossterm::event::poll(SETTLE)? {
            crossterm::event::read()?;
        }
        Ok(Self(EventStream::new()))
    }

    /// The next key; none when there will be none.
    ///
    /// # Cancel safety
    /// Nothing is lost when the future is dropped.
    pub(crate) async fn next(&mut self) -> Option<Key> {
        loop {
            if let TerminalEvent::Key(event) = self.0.next().await?.ok()?
                && let Some(key) = Key::of(event)
            {
                return Some(key);
            }
        }
    }
}

impl Drop for RawKeys {
    fn drop(&mut self) {
        // A terminal that is gone needs nothing.
        let _ = terminal::disable_raw_mode();
    }
}

/// The whole terminal.
pub(crate) struct Screen {
    events: EventStream,
    stops: Stops,
    jobs: JobSignals,
    size: Size,
    color: bool,
    /// What stands there; empty where that is not known.
    shown: Vec<Line>,
}

/// Whether the screen is taken: whoever gives it back asks here, so that it is given back once.
static TAKEN: AtomicBool = AtomicBool::new(false);

impl Screen {
    /// Takes the terminal. With `color` it may be coloured.
    ///
    /// # Errors
    ///
    /// Where it is none, or cannot be used.
    pub(crate) fn take(color: bool) -> io::Result<Self> {
        restore_on_panic();
        // Before the terminal is changed, so that no signal leaves it so.
        let (stops, jobs) = (Stops::of_terminal(), JobSignals::listen());
        let mut screen = Self {
            events: EventStream::new(),
            stops,
            jobs,
            size: Size::of_terminal(),
            color,
            shown: Vec::new(),
        };
        screen.enter()?;
        Ok(screen)
    }

    fn enter(&mut self) -> io::Result<()> {
        terminal::enable_raw_mode()?;
        TAKEN.store(true, Ordering::SeqCst);
        execute!(io::stdout(), EnterAlternateScreen, cursor::Hide, Clear(ClearType::All))?;
        self.measure();
        Ok(())
    }

    fn measure(&mut self) {
        self.shown.clear();
        self.size = Size::of_terminal();
    }

    /// Draws what has changed since; `frame` is made for the size that the screen has now.
    ///
    /// # Errors
    ///
    /// Those of the terminal.
    pub(crate) fn draw(&mut self, frame: impl FnOnce(Size) -> Frame) -> io::Result<()> {
        if self.size != Size::of_terminal() {
            self.measure();
        }
        let frame = frame(self.size);
        if self.shown == frame.0 {
            return Ok(());
        }
        let mut out = Vec::new();
        queue!(out, BeginSynchronizedUpdate)?;
        if self.shown.len() != frame.0.len() {
            queue!(out, Clear(ClearType::All))?;
            self.shown.clear();
        }
        for (row, line) in frame.0.iter().enumerate() {
            if self.shown.get(row) == Some(line) {
                continue;
            }
            queue!(out, cursor::MoveTo(0, u16::try_from(row).unwrap_or(u16::MAX)))?;
            self.line(line, &mut out)?;
        }
        queue!(out, EndSynchronizedUpdate)?;
        let mut stdout = io::stdout().lock();
        stdout.write_all(&out)?;
        stdout.flush()?;
        self.shown.clone_from(&frame.0);
        Ok(())
    }

    fn line(&self, line: &Line, out: &mut Vec<u8>) -> io::Result<()> {
        match line.style {
            Style::Plain => {}
            Style::Bar | Style::Found => queue!(out, SetAttribute(Attribute::Reverse))?,
            Style::Strong if self.color => {
                queue!(out, SetAttribute(Attribute::Bold), SetForegroundColor(Color::Yellow))?;
            }
            Style::Strong => queue!(out, SetAttribute(Attribute::Bold))?,
        }
        out.extend_from_slice(line.text.as_bytes());
        if line.style == Style::Bar {
            let rest = self.size.columns.saturating_sub(columns(&line.text));
            out.extend(std::iter::repeat_n(b' ', rest));
        }
        if line.style != Style::Plain {
            queue!(out, SetAttribute(Attribute::Reset))?;
        }
        // Behind the last column there is nothing to clear, and the cursor still stands on it.
        if columns(&line.text) < self.size.columns && line.style != Style::Bar {
            queue!(out, Clear(ClearType::UntilNewLine))?;
        }
        Ok(())
    }

    /// The next event. Suspending and coming back are done here.
    ///
    /// # Cancel safety
    /// Nothing is lost when the future is dropped.
    ///
    /// # Errors
    ///
    /// Where the terminal cannot be taken again.
    pub(crate) async fn next(&mut self) -> io::Result<Event> {
        loop {
            tokio::select! {
                event = self.events.next() => match event {
                    None | Some(Err(_)) => return Ok(Event::Stop),
                    Some(Ok(TerminalEvent::Resize(..))) => return Ok(Event::Redraw),
                    Some(Ok(TerminalEvent::Key(event))) => match Key::of(event) {
                        // Where nobody could wake us again, as under a terminal of its own, we do not go to sleep.
                        Some(Key::Suspend) if crate::platform::has_job_control() => {
                            return self.suspend().await;
                        }
                        Some(Key::Suspend) | None => {}
                        Some(key) => return Ok(Event::Key(key)),
                    },
                    Some(Ok(_)) => {}
                },
                () = self.stops.next() => return Ok(Event::Stop),
                job = self.jobs.next() => return match job {
                    Job::Suspended => self.suspend().await,
                    // Stopped and woken without our knowledge: what the terminal is now is for the shell to know.
                    Job::Resumed => {
                        give_back();
                        self.enter()?;
                        Ok(Event::Redraw)
                    }
                },
            }
        }
    }

    async fn suspend(&mut self) -> io::Result<Event> {
        give_back();
        crate::platform::stop_job();
        // The stop reaches every thread a moment later; only being woken says that it is over.
        while self.jobs.next().await != Job::Resumed {}
        self.enter()?;
        Ok(Event::Redraw)
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        give_back();
    }
}

/// Gives the terminal back as it was, if it is taken.
fn give_back() {
    if TAKEN.swap(false, Ordering::SeqCst) {
        // A terminal that is gone needs nothing.
        let _ = execute!(
            io::stdout(),
            EndSynchronizedUpdate,
            SetAttribute(Attribute::Reset),
            cursor::Show,
            LeaveAlternateScreen
        );
        let _ = terminal::disable_raw_mode();
    }
}

/// From now on a panic is told on a terminal that is as it was.
fn restore_on_panic() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let before = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |panic| {
            give_back();
            // Also where only the keys are taken; it does nothing where they are not.
            let _ = terminal::disable_raw_mode();
            before(panic);
        }));
    });
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use std::process::Command;

    use rexpect::session::spawn_command;

    use super::*;

    /// Run by the test below, in a process and on a terminal of its own.
    #[test]
    #[ignore = "not by itself: it panics"]
    fn panics_on_a_screen() {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        runtime.block_on(async {
            let mut screen = Screen::take(false).expect("a terminal");
            screen.draw(|_| Frame(vec![Line::new(Style::Bar, "drawn")])).expect("a terminal");
            panic!("told where it can be read");
        });
    }

    #[test]
    fn a_panic_is_told_on_a_terminal_that_was_given_back() {
        let mut command = Command::new(std::env::current_exe().expect("this program"));
        command.args(["--ignored", "--exact", "--nocapture", "terminal::screen::tests::panics_on_a_screen"]);
        command.env("TERM", "xterm");
        let mut session = spawn_command(command, Some(60_000)).expect("a terminal");
        session.exp_string("\u{1b}[?1049h").expect("the screen is taken");
        session.exp_string("drawn").expect("it is drawn on");
        session.exp_string("\u{1b}[?1049l").expect("and given back");
        session.exp_string("told where it can be read").expect("before the panic is told");
        session.exp_eof().expect("the end");
    }
}

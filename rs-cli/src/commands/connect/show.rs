//! What comes of a line, shown to the engineer. Nothing that the node sends can steer the terminal: all text goes through
//! [`crate::output::safe_lines`], and objects are read as JSON and written anew.

use std::time::{Duration, Instant};

use rs_consent::EndCause;
use rs_relay::client::RelayStream;
use rs_session::client::{Client, ClientEvent, SessionError};
use rs_session::operations::wire::Status;
use rs_session::record::{Content, FinishedContent, OutputData, RefusalContent};

use super::form;
use crate::context::Context;
use crate::outcome::{ErrorCode, Exit, Failure};
use crate::output;
use crate::signals::Stops;
use crate::terminal::frame::Size;
use crate::terminal::pager::{Pager, Piece, To, Wish};
use crate::terminal::progress::Busy;
use crate::terminal::screen::RawKeys;

/// Longest object that is put together from several records, in bytes: what a node sends must not fill the memory here.
const OBJECT_BYTES_MAX: usize = 4 * 1024 * 1024;
/// Longest time that a node gets for the end record after the engineer's goodbye.
const END_WAIT: Duration = Duration::from_secs(15);

/// What came of a line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Came {
    /// It ran to its end.
    Done,
    /// It ran and failed, was cut or interrupted.
    Failed,
    /// It was refused; nothing ran.
    Refused,
    /// The session ended; nothing can follow.
    Ended(Exit),
}

/// After an interrupt a node has this long to stop the work before a second one gives up the session: two presses in a hurry
/// are one.
const INTERRUPT_WAIT: Duration = Duration::from_secs(3);

/// Sends a line and shows what comes of it. Ctrl-C interrupts the line and not the session; another one after
/// [`INTERRUPT_WAIT`] without an answer gives up the session.
pub(crate) async fn run_line(
    client: &mut Client<RelayStream>,
    line: &str,
    context: &mut Context,
) -> Result<Came, Failure> {
    let display = Display { context, objects: String::new(), paging: None, busy: None };
    Running { display, interrupted: None }.run(client, line).await
}

/// As [`run_line`] for somebody who sits there: says that silent work runs, and with the size of the terminal shows a
/// screenful at a time.
pub(crate) async fn run_line_watched(
    client: &mut Client<RelayStream>,
    line: &str,
    paged: Option<Size>,
    context: &mut Context,
) -> Result<Came, Failure> {
    let pager = paged.map(|size| Pager::new(size, Duration::ZERO));
    let paging = pager.map(|pager| Paging { pager, began: Instant::now(), keys: None });
    let busy = context.console.live.then(Busy::new);
    let display = Display { context, objects: String::new(), paging, busy };
    Running { display, interrupted: None }.run(client, line).await
}

/// A line that runs.
struct Running<'a> {
    display: Display<'a>,
    /// When the engineer asked for its end.
    interrupted: Option<Instant>,
}

impl Running<'_> {
    async fn run(mut self, client: &mut Client<RelayStream>, line: &str) -> Result<Came, Failure> {
        let columns = u16::try_from(self.display.context.console.columns).ok();
        let mut interrupts = Stops::interrupts();
        let Ok(invocation) = client.invoke(line, form(self.display.context), columns).await else {
            // The node has closed the channel; its end record says why.
            return until_end(client, self.display.context).await;
        };
        let mut came = None;
        let mut tick = tokio::time::interval(Duration::from_secs(1));
        loop {
            // What is on the screen first, in case the reader is still behind.
            if let Some(came) = came.filter(|_| !self.display.is_paused()) {
                self.display.close();
                return Ok(came);
            }
            tokio::select! {
                event = client.next() => match event.map_err(cut)? {
                    ClientEvent::Record { content: Some(content), .. } if came.is_none() => {
                        came = shown(&content, &mut self.display)?;
                    }
                    ClientEvent::Ended { cause, message } => {
                        self.display.give_up();
                        return Ok(Came::Ended(ended(cause, &message, self.display.context)));
                    }
                    _ => {}
                },
                wish = self.display.key() => if wish? == Wish::Interrupt && came.is_none() {
                    self.interrupt(client, invocation).await?;
                },
                _ = tick.tick(), if self.display.busy.is_some() => self.display.tick(),
                () = interrupts.next() => if came.is_none() {
                    self.interrupt(client, invocation).await?;
                },
            }
        }
    }

    /// A node that does not even answer an interrupt must not hold the engineer.
    async fn interrupt(&mut self, client: &mut Client<RelayStream>, invocation: u64) -> Result<(), Failure> {
        match self.interrupted {
            Some(since) if since.elapsed() >= INTERRUPT_WAIT => return Err(silent()),
            Some(_) => {
                self.display.note(
                    "The node was told to stop it. If it does not answer, Ctrl-C in a moment gives up the session.",
                );
                return Ok(());
            }
            None => {}
        }
        self.interrupted = Some(Instant::now());
        client.interrupt(invocation).await.map_err(|error| cut(error.into()))
    }
}

/// Where the results of a line go: straight to the streams, or through the pager.
struct Display<'a> {
    context: &'a mut Context,
    /// The beginning of an object whose rest is still to come.
    objects: String,
    paging: Option<Paging>,
    busy: Option<Busy>,
}

struct Paging {
    pager: Pager,
    began: Instant,
    /// There while it waits for a key.
    keys: Option<RawKeys>,
}

impl Display<'_> {
    fn is_paused(&self) -> bool {
        self.paging.as_ref().is_some_and(|paging| paging.pager.is_paused())
    }

    fn print(&mut self, to: To, text: &str) -> Result<(), Failure> {
        let Some(paging) = &mut self.paging else {
            return self.pieces(vec![(to, output::safe_lines(text))]);
        };
        let pieces = paging.pager.push(to, text, paging.began.elapsed());
        self.pieces(pieces)
    }

    /// A message on a line of its own. The work goes on where it cannot be shown.
    fn note(&mut self, text: impl AsRef<str>) {
        let _ = self.print(To::Err, &format!("{}\n", text.as_ref()));
    }

    fn object(&mut self, value: &serde_json::Value) -> Result<(), Failure> {
        let mut text = Vec::new();
        output::write_json(&mut text, value)?;
        self.print(To::Out, &String::from_utf8_lossy(&text))
    }

    fn pieces(&mut self, pieces: Vec<Piece>) -> Result<(), Failure> {
        let raw = self.paging.as_ref().is_some_and(|paging| paging.keys.is_some());
        if raw && !pieces.is_empty() {
            write(To::Err, CLEAR_LINE, self.context)?;
        }
        for (to, text) in pieces {
            if let Some(clear) =
                self.busy.as_mut().map(|busy| busy.before(&text)).filter(|clear| !clear.is_empty())
            {
                write(To::Err, clear, self.context)?;
            }
            // While keys are read, the terminal does not return to the first column by itself.
            let text = if raw { text.replace('\n', "\r\n") } else { text };
            write(to, &text, self.context)?;
        }
        self.show_hint()
    }

    /// Takes the keys and shows the hint when a pause begins; gives them back at its end.
    fn show_hint(&mut self) -> Result<(), Failure> {
        let Some(paging) = &mut self.paging else { return Ok(()) };
        if !paging.pager.is_paused() {
            self.hide_hint();
            return Ok(());
        }
        if paging.keys.is_none() {
            paging.keys = Some(RawKeys::take()?);
        }
        let columns = self.context.console.columns.saturating_sub(1);
        let hint = output::cut(&output::safe(&paging.pager.hint()), columns);
        write(To::Err, &format!("\r\u{1b}[7m{hint}\u{1b}[0m\u{1b}[K"), self.context)
    }

    fn hide_hint(&mut self) {
        if let Some(paging) = &mut self.paging
            && paging.keys.take().is_some()
        {
            // A terminal that is gone needs nothing.
            let _ = write(To::Err, CLEAR_LINE, self.context);
        }
    }

    /// The next key while it waits for one.
    async fn key(&mut self) -> Result<Wish, Failure> {
        let Some(Paging { pager, began, keys: Some(keys) }) = &mut self.paging else {
            return std::future::pending().await;
        };
        let Some(key) = keys.next().await else {
            pager.give_up();
            self.hide_hint();
            return Ok(Wish::None);
        };
        let (pieces, wish) = pager.key(key, began.elapsed());
        self.pieces(pieces)?;
        Ok(wish)
    }

    /// Says that the work still runs, unless it waits for the reader.
    fn tick(&mut self) {
        let columns = self.context.console.columns;
        let said =
            if self.is_paused() { None } else { self.busy.as_mut().and_then(|busy| busy.tick(columns)) };
        if let Some(text) = said {
            // A terminal that is gone is no reason to stop.
            let _ = write(To::Err, &text, self.context);
        }
    }

    /// At the end of a line: says what was not shown of it.
    fn close(&mut self) {
        self.hide_hint();
        if let Some(mut busy) = self.busy.take() {
            // As above.
            let _ = write(To::Err, busy.end(), self.context);
        }
        if let Some(left_out) = self.paging.take().and_then(|paging| paging.pager.left_out()) {
            self.note(left_out);
        }
    }

    /// The session is over, whatever is still held.
    fn give_up(&mut self) {
        if let Some(paging) = &mut self.paging {
            paging.pager.give_up();
        }
        self.close();
    }
}

impl Drop for Display<'_> {
    /// Also where the session broke: what is said then begins on a line of its own.
    fn drop(&mut self) {
        self.close();
    }
}

/// Takes the hint away.
const CLEAR_LINE: &str = "\r\u{1b}[K";

/// The text is harmless by now.
fn write(to: To, text: &str, context: &mut Context) -> Result<(), Failure> {
    let stream = match to {
        To::Out => &mut context.console.out,
        To::Err => &mut context.console.err,
    };
    stream.write_all(text.as_bytes())?;
    Ok(stream.flush()?)
}

/// Says goodbye and waits for the end record.
pub(crate) async fn leave(client: &mut Client<RelayStream>, context: &mut Context) -> Result<(), Failure> {
    if client.bye().await.is_ok() {
        until_end(client, context).await?;
    }
    // The end record is there; whether the goodbye below it still gets through makes no difference.
    let _ = client.close().await;
    Ok(())
}

async fn until_end(client: &mut Client<RelayStream>, context: &mut Context) -> Result<Came, Failure> {
    let (cause, message) = tokio::time::timeout(END_WAIT, end(client)).await.map_err(|_| silent())??;
    Ok(Came::Ended(ended(cause, &message, context)))
}

async fn end(client: &mut Client<RelayStream>) -> Result<(EndCause, String), Failure> {
    loop {
        if let ClientEvent::Ended { cause, message } = client.next().await.map_err(cut)? {
            return Ok((cause, message));
        }
    }
}

/// The node holds the channel open and says nothing.
fn silent() -> Failure {
    Failure::new(ErrorCode::Unreachable, "the node does not answer; the session is given up")
        .next_step("what you were shown is in your copy of the record and in the node's")
}

/// Shows a record; says what came of the line when it was the line's last.
fn shown(content: &Content, display: &mut Display<'_>) -> Result<Option<Came>, Failure> {
    Ok(match content {
        Content::Output(output) => {
            printed(&output.data, display)?;
            None
        }
        Content::Refusal(refusal) => {
            refused(refusal, display);
            Some(Came::Refused)
        }
        // Killed means that the session ends; its end record says why.
        Content::Finished(finished) if finished.status == Status::Killed => None,
        Content::Finished(finished) => Some(finish(finished, display)),
        Content::Approval(approval) => {
            display.note(approval.step.to_string());
            None
        }
        Content::Note(note) => {
            display.note(format!("note: {}", note.text));
            None
        }
        _ => None,
    })
}

fn printed(data: &OutputData, display: &mut Display<'_>) -> Result<(), Failure> {
    match data {
        OutputData::Text(text) => display.print(To::Out, text)?,
        OutputData::Error(text) => display.note(text),
        OutputData::Objects(text) => {
            display.objects.push_str(text);
            if display.objects.len() > OBJECT_BYTES_MAX {
                return Err(Failure::new(ErrorCode::Integrity, "the node sent an object that is too long"));
            }
            while let Some(end) = display.objects.find('\n') {
                let line: String = display.objects.drain(..=end).collect();
                let object: serde_json::Value = serde_json::from_str(&line).map_err(|error| {
                    Failure::new(ErrorCode::Integrity, "the node sent something that is no object")
                        .because(error)
                })?;
                display.object(&object)?;
            }
        }
    }
    Ok(())
}

fn refused(refusal: &RefusalContent, display: &mut Display<'_>) {
    let place = refusal.column.map_or_else(String::new, |column| format!(" at column {column}"));
    display.note(format!("refused ({}){place}: {}", refusal.code, refusal.message));
}

fn finish(finished: &FinishedContent, display: &mut Display<'_>) -> Came {
    match finished.status {
        Status::Done => {
            // Whole, but held back by a limit.
            if !finished.message.is_empty() {
                display.note(&finished.message);
            }
            return Came::Done;
        }
        Status::Declined => {
            display.note(format!("refused: {}", finished.message));
            return Came::Refused;
        }
        _ => {}
    }
    let status = match finished.status {
        Status::Interrupted => "interrupted",
        Status::OutputLimit | Status::TimeLimit => "cut at a limit",
        _ => "failed",
    };
    display.note(format!("{status} after {} ms: {}", finished.elapsed_ms, finished.message));
    Came::Failed
}

/// Says why the session ended, and with which exit code the program ends therefore.
pub(crate) fn ended(cause: EndCause, message: &str, context: &mut Context) -> Exit {
    context.note(format!("Session ended ({cause}): {message}"));
    exit_of(cause)
}

pub(crate) fn exit_of(cause: EndCause) -> Exit {
    match cause {
        EndCause::Exit => Exit::Done,
        EndCause::Transport | EndCause::AgentStopped | EndCause::Interrupted => Exit::Unreachable,
        EndCause::Fault | EndCause::RecordFault | EndCause::Protocol => Exit::Failed,
        _ => Exit::Refused,
    }
}

/// The session broke before its end record came.
pub(crate) fn cut(error: SessionError) -> Failure {
    match error {
        SessionError::Record { .. } => {
            Failure::new(ErrorCode::Integrity, "the session was given up").because(error)
        }
        SessionError::Copy(error) => super::join::no_copy(error),
        error => Failure::new(ErrorCode::Unreachable, "the session was cut")
            .because(error)
            .next_step("connect again; what you were shown is in your copy of the record and in the node's"),
    }
}

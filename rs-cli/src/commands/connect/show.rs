//! What comes of a line, shown to the engineer. Nothing that the node sends can steer the terminal: all text goes through
//! [`crate::output::safe_lines`], and objects are read as JSON and written anew.

use std::io::Write as _;
use std::time::Duration;

use rs_consent::EndCause;
use rs_relay::client::RelayStream;
use rs_session::client::{Client, ClientEvent, SessionError};
use rs_session::operations::wire::Status;
use rs_session::record::{Content, FinishedContent, OutputData, RefusalContent};

use super::form;
use crate::context::Context;
use crate::outcome::{ErrorCode, Exit, Failure};
use crate::output;

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

/// Sends a line and shows what comes of it. Ctrl-C interrupts the line and not the session; a second one gives up the
/// session.
pub(crate) async fn run_line(
    client: &mut Client<RelayStream>,
    line: &str,
    context: &mut Context,
) -> Result<Came, Failure> {
    let columns = u16::try_from(context.console.columns).ok();
    let Ok(invocation) = client.invoke(line, form(context), columns).await else {
        // The node has closed the channel; its end record says why.
        return until_end(client, context).await;
    };
    let mut objects = String::new();
    let mut interrupted = false;
    loop {
        let event = tokio::select! {
            event = client.next() => event.map_err(cut)?,
            Ok(()) = tokio::signal::ctrl_c() => {
                // A node that does not even answer an interrupt must not hold the engineer.
                if interrupted {
                    return Err(silent());
                }
                interrupted = true;
                client.interrupt(invocation).await.map_err(|error| cut(error.into()))?;
                continue;
            }
        };
        match event {
            ClientEvent::Record { content: Some(content), .. } => {
                if let Some(came) = shown(&content, &mut objects, context)? {
                    return Ok(came);
                }
            }
            ClientEvent::Ended { cause, message } => return Ok(Came::Ended(ended(cause, &message, context))),
            _ => {}
        }
    }
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
fn shown(content: &Content, objects: &mut String, context: &mut Context) -> Result<Option<Came>, Failure> {
    Ok(match content {
        Content::Output(output) => {
            printed(&output.data, objects, context)?;
            None
        }
        Content::Refusal(refusal) => {
            refused(refusal, context);
            Some(Came::Refused)
        }
        // Killed means that the session ends; its end record says why.
        Content::Finished(finished) if finished.status == Status::Killed => None,
        Content::Finished(finished) => Some(finish(finished, context)),
        Content::Note(note) => {
            context.note(format!("note: {}", note.text));
            None
        }
        _ => None,
    })
}

fn printed(data: &OutputData, objects: &mut String, context: &mut Context) -> Result<(), Failure> {
    match data {
        OutputData::Text(text) => write!(context.console.out, "{}", output::safe_lines(text))?,
        OutputData::Error(text) => context.note(text),
        OutputData::Objects(text) => {
            objects.push_str(text);
            if objects.len() > OBJECT_BYTES_MAX {
                return Err(Failure::new(ErrorCode::Integrity, "the node sent an object that is too long"));
            }
            while let Some(end) = objects.find('\n') {
                let line: String = objects.drain(..=end).collect();
                let object: serde_json::Value = serde_json::from_str(&line).map_err(|error| {
                    Failure::new(ErrorCode::Integrity, "the node sent something that is no object")
                        .because(error)
                })?;
                output::write_json(&mut *context.console.out, &object)?;
            }
        }
    }
    Ok(context.console.out.flush()?)
}

fn refused(refusal: &RefusalContent, context: &mut Context) {
    let place = refusal.column.map_or_else(String::new, |column| format!(" at column {column}"));
    context.note(format!("refused ({}){place}: {}", refusal.code, refusal.message));
}

fn finish(finished: &FinishedContent, context: &mut Context) -> Came {
    if finished.status == Status::Done {
        return Came::Done;
    }
    let status = match finished.status {
        Status::Interrupted => "interrupted",
        Status::OutputLimit | Status::TimeLimit => "cut at a limit",
        _ => "failed",
    };
    context.note(format!("{status} after {} ms: {}", finished.elapsed_ms, finished.message));
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

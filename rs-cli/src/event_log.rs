//! The node's events in the event log of Windows: the source, and the collector that tells it.

use std::io;
use std::path::Path;

use rs_session::forward::sink::event_log;

use crate::context::Context;
use crate::forwarding::{Collector, Collectors, EVENT_LOG, Name, Target};
use crate::node;
use crate::outcome::{ErrorCode, Failure};
use crate::state::Role;

/// Name of the collector, as `forward list` shows it.
pub const COLLECTOR_NAME: &str = "event-log";

/// Registers the source, whose texts are in `program`, and tells the event log from now on what happens. Where it is told
/// already, it goes on where it stood.
///
/// # Errors
///
/// [`ErrorCode::Io`] where the registry of the machine may not be written; what keeps the collector from being added.
pub fn install(program: &Path, context: &Context) -> Result<(), Failure> {
    event_log::register_source(program).map_err(refused)?;
    let (collectors, name) = (collectors(context), name()?);
    if collectors.names()?.contains(&name) {
        return Ok(());
    }
    let collector = Collector {
        to: EVENT_LOG.to_owned(),
        format: Target::EventLog.usual_format(),
        ca: None,
        token_file: None,
        letter: None,
        only: Vec::new(),
    };
    collectors.add(&name, &collector, false, node::name().as_str())
}

/// Takes both back. Entries that were written stay in the event log.
///
/// # Errors
///
/// As [`install`].
pub fn remove(context: &Context) -> Result<(), Failure> {
    match collectors(context).remove(&name()?) {
        Err(failure) if failure.code() != ErrorCode::NotFound => return Err(failure),
        _ => {}
    }
    event_log::remove_source().map_err(refused)
}

fn collectors(context: &Context) -> Collectors {
    Collectors::of(context.state.role(Role::Node))
}

fn name() -> Result<Name, Failure> {
    COLLECTOR_NAME.parse().map_err(|why: String| Failure::new(ErrorCode::Internal, why))
}

fn refused(error: io::Error) -> Failure {
    Failure::new(ErrorCode::Io, "the source of events cannot be registered, or taken back")
        .because(error)
        .next_step("run the command as an administrator")
}

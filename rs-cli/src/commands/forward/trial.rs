//! `forward test`: a test event goes the way of all events, through the node's log, and it is said where it arrived.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use rs_session::node_log::{Event, Head};

use super::{TestArgs, collectors, drain};
use crate::context::Context;
use crate::control::AgentControl as _;
use crate::forwarding::{Collectors, Name};
use crate::node;
use crate::outcome::{ErrorCode, Failure, Outcome};
use crate::output::Record;

/// Longest wait for an arrival: longer than the time that is let pass between two mails.
const ARRIVAL_WAIT: Duration = Duration::from_secs(75);
/// So long one that has trouble is waited for: it is tried again meanwhile.
const TROUBLE_WAIT: Duration = Duration::from_secs(10);
/// How often it is looked.
const LOOK: Duration = Duration::from_millis(100);

/// Whether it arrived, by name: `Err` says why not.
type Arrivals = BTreeMap<Name, Result<(), String>>;

pub(super) fn run(args: &TestArgs, context: &mut Context) -> Result<Outcome, Failure> {
    let collectors = collectors(context);
    let names = match &args.name {
        Some(name) => collectors.read(name).map(|_| vec![name.clone()])?,
        None => collectors.names()?,
    };
    if names.is_empty() {
        return Err(Failure::new(ErrorCode::NotFound, "nobody is told anything, so there is nothing to try")
            .next_step(
                "add a collector, a program or people with `remote-support notify add NAME --to URL`",
            ));
    }
    let head = enter(context)?;
    let arrivals = if node::agent(context).version().is_ok() {
        await_arrivals(&collectors, &names, &head)
    } else {
        context.note("No agent runs; what waits is delivered now.");
        deliver(&collectors, &names, args, context)?
    };
    report(&arrivals, context)
}

/// Puts the test on record: from there on it is an event like any other.
fn enter(context: &Context) -> Result<Head, Failure> {
    context.state.role(crate::state::Role::Node).ensure()?;
    // Makes the store of a node that was never asked for anything.
    drop(node::open_store(context)?);
    let book =
        node::book(context)?.ok_or_else(|| Failure::new(ErrorCode::Internal, "the node has no log"))?;
    Ok(book.enter(Event::Tested { by: node::operator() })?)
}

/// Waits for the agent to deliver.
fn await_arrivals(collectors: &Collectors, names: &[Name], head: &Head) -> Arrivals {
    let start = Instant::now();
    let mut arrivals = Arrivals::new();
    while arrivals.len() < names.len() {
        for name in names {
            if arrivals.contains_key(name) {
                continue;
            }
            let trouble = collectors.trouble(name);
            let over = start.elapsed() >= if trouble.is_some() { TROUBLE_WAIT } else { ARRIVAL_WAIT };
            if has_arrived(collectors, name, head) {
                arrivals.insert(name.clone(), Ok(()));
            } else if over {
                let why = trouble.unwrap_or_else(|| "the agent has not delivered it in time".to_owned());
                arrivals.insert(name.clone(), Err(why));
            }
        }
        std::thread::sleep(LOOK);
    }
    arrivals
}

/// Whether everything up to this entry of the log was delivered.
fn has_arrived(collectors: &Collectors, name: &Name, head: &Head) -> bool {
    let cursor = collectors.cursor(name).ok().flatten().unwrap_or_default();
    let log = cursor.position.log;
    log.id == Some(head.log_id) && log.next > head.sequence
}

fn deliver(
    collectors: &Collectors,
    names: &[Name],
    args: &TestArgs,
    context: &Context,
) -> Result<Arrivals, Failure> {
    let way = args.proxy.way()?;
    let deliver = |name: &Name| match drain(collectors, name, &way, context) {
        Ok(_) => (name.clone(), Ok(())),
        Err(failure) => (name.clone(), Err(failure.in_a_line())),
    };
    Ok(names.iter().map(deliver).collect())
}

fn report(arrivals: &Arrivals, context: &mut Context) -> Result<Outcome, Failure> {
    let record = |(name, arrival): (&Name, &Result<(), String>)| {
        Record::new()
            .field("Name", name.to_string())
            .field("Arrived", arrival.is_ok())
            .field("Trouble", arrival.as_ref().err().cloned())
    };
    let records: Vec<_> = arrivals.iter().map(record).collect();
    context.print_all(&records)?;
    match arrivals.values().filter(|arrival| arrival.is_ok()).count() {
        0 => Err(Failure::new(ErrorCode::Unreachable, "the test event arrived nowhere")
            .next_step("nothing is lost: it is tried again until it arrives; remove what is not wanted with `remote-support notify remove NAME`")),
        some if some < arrivals.len() => Ok(Outcome::Partial),
        _ => Ok(Outcome::Done),
    }
}

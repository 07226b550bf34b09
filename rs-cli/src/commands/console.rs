//! `console`: the operator's page, served by this command or by the agent.

use std::io::Write as _;
use std::net::SocketAddr;
use std::sync::Arc;

use clap::Args;

use super::agent::RunArgs;
use crate::context::Context;
use crate::control::AgentControl as _;
use crate::fleet::FleetArgs;
use crate::outcome::{ErrorCode, Failure, Outcome};
use crate::output::Record;
use crate::owner_policy::OwnerPolicy;
use crate::page::nodes::Board;
use crate::page::{LISTEN_DEFAULT, Page, PageSettings};
use crate::state::Role;
use crate::{logging, node, signals};

/// Arguments of `console`.
#[derive(Debug, Args)]
pub struct ConsoleArgs {
    /// Loopback address and port of the page; port 0 takes a free one. Any other address is refused.
    #[arg(long, value_name = "ADDRESS:PORT", default_value_t = LISTEN_DEFAULT, env = "REMOTE_SUPPORT_LISTEN")]
    pub listen: SocketAddr,
    /// Serve nothing: ask the agent, which serves a page itself (`agent run --console`), where it is, and for a new code.
    #[arg(
        long, conflicts_with_all = ["node", "nodes_from", "cluster"], env = "REMOTE_SUPPORT_OF_AGENT", value_parser = clap::builder::BoolishValueParser::new())]
    pub of_agent: bool,
    /// How relay and network are reached, for health and proxy check.
    #[command(flatten)]
    pub run: RunArgs,
    /// Which other nodes the page shows, besides the `nodes` of the node's policy.
    #[command(flatten)]
    pub nodes: FleetArgs,
}

/// Serves the page until it is told to stop.
///
/// # Errors
///
/// [`ErrorCode::InvalidValue`] for an address that others can reach; [`ErrorCode::Io`] where it cannot be had;
/// [`ErrorCode::NotFound`] where the agent serves no page, and [`ErrorCode::AgentUnreachable`] where there is none.
pub fn run(args: &ConsoleArgs, context: &mut Context) -> Result<Outcome, Failure> {
    if args.of_agent {
        return of_agent(context);
    }
    logging::to_stderr();
    let policy = OwnerPolicy::read(&context.state.role(Role::Node))?;
    let fleet = args.nodes.with(policy.nodes)?;
    let own = node::name();
    let settings = PageSettings {
        board: fleet.and_then(|fleet| Board::of(fleet, own.as_str(), Arc::clone(&context.clock))),
        state: context.state.clone(),
        storage: context.storage.clone(),
        clock: Arc::clone(&context.clock),
        run: args.run.clone(),
        tell_code: Some(Box::new(|code| {
            // A terminal that is gone is no reason to stop.
            let _ = writeln!(std::io::stderr(), "{}", code_line(code));
        })),
    };
    Context::block_on(async {
        let mut stops = signals::Stops::listen();
        let page = Page::bind(args.listen, settings).await?;
        let offer = page.offering().offer()?;
        context.note(format!(
            "The page of this node: {}\n{}\nCtrl-C ends it, and every session on it.",
            offer.address,
            code_line(&offer.code)
        ));
        tokio::select! {
            () = page.serve() => {}
            () = stops.next() => {}
        }
        Ok(Outcome::Done)
    })
}

fn code_line(code: &str) -> String {
    format!("Code for one sign-in, within 10 minutes: {code}")
}

fn of_agent(context: &mut Context) -> Result<Outcome, Failure> {
    let offer = node::agent(context).console_code()?.ok_or_else(|| {
        Failure::new(ErrorCode::NotFound, "the agent of this node serves no page")
            .next_step("start the agent with --console, or serve a page with `remote-support console`")
    })?;
    context.print_one(&Record::new().field("Address", offer.address).field("Code", offer.code))?;
    context.note("The code is good for one sign-in, within 10 minutes.");
    Ok(Outcome::Done)
}

//! `approve`: the second person's yes to a consent that waits for one.

use clap::Args;
use rs_consent::conditions::Wait;
use rs_consent::party::Method;
use rs_consent::store::ConsentStore;
use rs_consent::{Grant, compat};

use crate::commands::enable;
use crate::context::Context;
use crate::outcome::{ErrorCode, Failure, Outcome};
use crate::output::{date, span};
use crate::prompt::{self, Answer, EnterMeans};
use crate::{explain, node};

const HELP: &str = "Yes: the consent is in force, from its start on if it has one.\n\
                    No: it goes on waiting, and ends by itself.\n\
                    The access can be ended at any moment with `remote-support disable`.";

/// Arguments of `approve`.
#[derive(Debug, Args)]
pub struct ApproveArgs {
    /// Agree to the terms without being asked.
    #[arg(long)]
    pub agree_to_remote_support_consent: bool,
    /// Show what waits for approval, and change nothing.
    #[arg(long, env = "REMOTE_SUPPORT_DRY_RUN", value_parser = clap::builder::BoolishValueParser::new())]
    pub dry_run: bool,
}

/// Approves of the consent that waits for a second person.
///
/// # Errors
///
/// [`ErrorCode::NotFound`] where none waits; [`ErrorCode::Refused`] for whoever gave the consent, and where it was changed
/// meanwhile; [`ErrorCode::NoTerminal`] where nobody can be asked and nobody has agreed; as [`node::open_store`].
pub fn run(args: &ApproveArgs, context: &mut Context) -> Result<Outcome, Failure> {
    let asks = !args.agree_to_remote_support_consent && !args.dry_run;
    if asks && !context.console.interactive {
        return Err(Failure::new(
            ErrorCode::NoTerminal,
            "approval must be asked for, and there is no terminal to ask at",
        )
        .next_step("run the command at a terminal, or agree with --agree-to-remote-support-consent"));
    }
    let Some((store, grant)) = waiting(context)? else {
        return Err(Failure::new(ErrorCode::NotFound, "no consent waits for a second person")
            .next_step("see `remote-support access`"));
    };
    show(&store, &grant, context)?;
    let method = if asks { Method::Prompt } else { Method::CommandLine };
    let by = node::grantor(method);
    if by.user == grant.grantor.user {
        return Err(Failure::from(rs_consent::StoreError::from(rs_consent::grant::GrantError::SamePerson)));
    }
    if args.dry_run {
        context.note("This is what you would approve; nothing was changed.");
        return Ok(Outcome::Done);
    }
    if asks && ask(context)? == Answer::No {
        context.note("Nothing was changed; the consent still waits.");
        return Ok(Outcome::Declined);
    }
    let approved = store.approve(grant.id, grant.revision, &by, &context.clock.now())?;
    node::tell_root_of(node::Change::Approved(&by), &approved, context);
    enable::tell(context);
    enable::say_given(&approved, context);
    enable::print(&approved, context)?;
    Ok(Outcome::Done)
}

fn waiting(context: &Context) -> Result<Option<(ConsentStore, Grant)>, Failure> {
    let Some(store) = node::existing_store(context)? else { return Ok(None) };
    let now = context.clock.now();
    let grants = store.grants(false, &now)?;
    let waits = grants.into_iter().find(|grant| grant.waits_for(&now) == Some(Wait::SecondPerson));
    Ok(waits.map(|grant| (store, grant)))
}

/// The terms as the first person read them, what the level permits, and who asks.
fn show(store: &ConsentStore, grant: &Grant, context: &mut Context) -> Result<(), Failure> {
    let terms = store.terms(&grant.terms.sha256)?;
    let text = terms.as_ref().map_or("The text of the terms is not kept on this node.", |terms| terms.text());
    context.show(text.trim_end())?;
    let permits = explain::level_here(grant.level, &grant.scope, context)?;
    context.show(format!("\n{permits}\n"))?;
    let left = chrono::TimeDelta::from_std(grant.remaining(&context.clock.now())).unwrap_or_default();
    let begins =
        grant.begins.map_or_else(String::new, |begins| format!("It begins at {}. ", date(begins.wall)));
    context.show(format!(
        "{} gave this consent at {} on {}, for {} minutes. {begins}It ends at {}, in {}.\n",
        grant.grantor.user,
        date(grant.updated_at),
        grant.grantor.host,
        grant.minutes,
        date(grant.expires_at()),
        span(left)
    ))
}

fn ask(context: &mut Context) -> Result<Answer, Failure> {
    let console = &mut context.console;
    Ok(prompt::ask(&mut *console.input, &mut *console.err, compat::QUESTION, HELP, EnterMeans::No)?)
}

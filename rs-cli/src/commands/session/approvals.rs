//! `session approvals|approve|decline`: the operator's answer to a call that waits.
//!
//! The answer goes over the control socket, so only who may consent on this node can give it (SEC2). For a higher level
//! the answer is a fresh consent: the terms and what the level permits are shown, the consent is stored by this command,
//! and only then the agent hears the Yes.

use clap::Args;
use rs_consent::party::Method;
use rs_consent::store::Act;
use rs_consent::{AccessLevel, Consent, Grant, GrantState, Terms, compat};
use rs_session::host::PendingApproval;
use rs_session::operations::level_wish::LevelWish;
use rs_session::record::ApprovalSubject;
use uuid::Uuid;

use crate::commands::enable;
use crate::context::Context;
use crate::control::{AgentControl as _, Verdict};
use crate::dry_run::{self, DryRun};
use crate::outcome::{ErrorCode, Failure, Outcome};
use crate::output::{Record, date, span};
use crate::prompt::{self, Answer, EnterMeans};
use crate::{explain, node};

/// Longest reason for a No, in characters.
pub(crate) const REASON_CHARS_MAX: usize = 256;

const LEVEL_HELP: &str = "Yes: new sessions get the higher level, until the access ends; the end is not moved.\n\
                          No: nothing is changed; decline the request with `remote-support session decline ID`.";

/// Arguments of `session approvals`.
#[derive(Debug, Args)]
pub struct ApprovalsArgs {}

/// Arguments of `session approve`.
#[derive(Debug, Args)]
pub struct ApproveArgs {
    /// Id of the call that waits.
    #[arg(value_name = "ID")]
    pub approval_id: Uuid,
    /// Agree to the terms without being asked, where a higher level is approved.
    #[arg(long)]
    pub agree_to_remote_support_consent: bool,
    /// Whether to look only.
    #[command(flatten)]
    pub dry_run: DryRun,
}

/// Arguments of `session decline`.
#[derive(Debug, Args)]
pub struct DeclineArgs {
    /// Id of the call that waits.
    #[arg(value_name = "ID")]
    pub approval_id: Uuid,
    /// Why, for the engineer and the record; at most 256 characters.
    #[arg(
        long,
        value_name = "TEXT",
        default_value = "",
        hide_default_value = true,
        env = "REMOTE_SUPPORT_REASON"
    )]
    pub reason: String,
    /// Whether to look only.
    #[command(flatten)]
    pub dry_run: DryRun,
}

/// Lists the calls that wait.
///
/// # Errors
///
/// [`ErrorCode::AgentUnreachable`] where an agent runs and does not answer.
pub(super) fn list(context: &mut Context) -> Result<Outcome, Failure> {
    let waiting = node::agent(context).approvals()?;
    let records: Vec<Record> = waiting.iter().map(record).collect();
    context.print_all(&records)?;
    context.note(match waiting.len() {
        0 => "No call waits for an answer.",
        _ => "Answer with `remote-support session approve ID`, or `session decline ID --reason TEXT`.",
    });
    Ok(Outcome::Done)
}

fn record(pending: &PendingApproval) -> Record {
    Record::new()
        .field("ApprovalId", pending.approval_id.to_string())
        .field("Subject", pending.subject.as_str())
        .field("Summary", pending.summary.as_str())
        .field("Engineer", pending.engineer.as_str())
        .field("RemainingSeconds", pending.remaining.as_secs())
        .detail("SessionId", pending.session_id.to_string())
        .detail("AccessLevel", pending.access_level.to_string())
        .detail("SupportRequest", pending.request.to_string())
        .detail("AskedAt", pending.asked_at)
        .extra("Details", pending.details.clone())
}

/// Says Yes to a call that waits.
///
/// # Errors
///
/// [`ErrorCode::NotFound`] where no such call waits (any more); for a higher level as `enable`.
pub(super) fn approve(args: &ApproveArgs, context: &mut Context) -> Result<Outcome, Failure> {
    let pending = waiting(args.approval_id, context)?;
    if args.dry_run.dry_run {
        raise_of(&pending, context)?;
        return dry_run::told(answered(&pending, true), context);
    }
    if let Some(raise) = raise_of(&pending, context)?
        && !raised(&pending, raise, args, context)?
    {
        return Ok(Outcome::Declined);
    }
    answer(&pending, Verdict::Approve {}, context)?;
    context.print_one(&answered(&pending, true))?;
    context.note(approved(&pending));
    Ok(Outcome::Done)
}

/// What came of a Yes.
pub(crate) fn approved(pending: &PendingApproval) -> &'static str {
    match pending.subject {
        ApprovalSubject::Level => "Approved. The level holds for new sessions; the engineer was told so.",
        ApprovalSubject::Change | ApprovalSubject::Release => "Approved. The call goes on.",
    }
}

/// Says No to a call that waits.
///
/// # Errors
///
/// As [`decline_as`].
pub(super) fn decline(args: &DeclineArgs, context: &mut Context) -> Result<Outcome, Failure> {
    if args.dry_run.dry_run {
        check_reason(&args.reason)?;
        let pending = waiting(args.approval_id, context)?;
        return dry_run::told(answered(&pending, false), context);
    }
    let pending = decline_as(args.approval_id, &args.reason, Method::CommandLine, context)?;
    context.print_one(&answered(&pending, false))?;
    context.note(DECLINED);
    Ok(Outcome::Done)
}

/// What came of a No.
pub(crate) const DECLINED: &str = "Declined. The call does not go on; the engineer was told so.";

/// Says No: what `session decline` and the page do.
///
/// # Errors
///
/// [`ErrorCode::NotFound`] where no such call waits (any more); [`ErrorCode::InvalidValue`] for a reason that is too
/// long.
pub(crate) fn decline_as(
    id: Uuid,
    reason: &str,
    method: Method,
    context: &Context,
) -> Result<PendingApproval, Failure> {
    check_reason(reason)?;
    let pending = waiting(id, context)?;
    if pending.subject == ApprovalSubject::Level {
        note_declined(&pending, method, context)?;
    }
    answer(&pending, Verdict::Decline { reason: crate::output::safe(reason) }, context)?;
    Ok(pending)
}

fn check_reason(reason: &str) -> Result<(), Failure> {
    if reason.chars().count() > REASON_CHARS_MAX {
        return Err(Failure::new(ErrorCode::InvalidValue, "the reason is too long")
            .about("--reason")
            .next_step(format!("say it in at most {REASON_CHARS_MAX} characters")));
    }
    Ok(())
}

/// The call with this id, if it waits.
///
/// # Errors
///
/// [`ErrorCode::NotFound`]; [`ErrorCode::AgentUnreachable`].
pub(crate) fn waiting(id: Uuid, context: &Context) -> Result<PendingApproval, Failure> {
    let waiting = node::agent(context).approvals()?.into_iter().find(|pending| pending.approval_id == id);
    waiting.ok_or_else(|| gone(id))
}

fn gone(id: Uuid) -> Failure {
    Failure::new(ErrorCode::NotFound, "no such call waits for an answer (any more)")
        .about(id.to_string())
        .next_step("see what waits with `remote-support session approvals`")
}

/// Hands the operator's answer to the agent.
///
/// # Errors
///
/// [`ErrorCode::NotFound`] where the call waits no more; [`ErrorCode::AgentUnreachable`].
pub(crate) fn answer(pending: &PendingApproval, verdict: Verdict, context: &Context) -> Result<(), Failure> {
    #[cfg(target_os = "linux")]
    if matches!(verdict, Verdict::Approve {}) && pending.subject == ApprovalSubject::Change {
        crate::root_part::approve(pending, context)?;
    }
    if !node::agent(context).answer(pending.approval_id, verdict)? {
        return Err(gone(pending.approval_id));
    }
    Ok(())
}

fn answered(pending: &PendingApproval, approved: bool) -> Record {
    Record::new()
        .field("ApprovalId", pending.approval_id.to_string())
        .field("Approved", approved)
        .field("SessionId", pending.session_id.to_string())
}

fn wish(pending: &PendingApproval) -> Result<LevelWish, Failure> {
    serde_json::from_value(pending.details.clone()).map_err(|error| {
        Failure::new(ErrorCode::AgentUnreachable, "the agent's question cannot be read").because(error)
    })
}

/// A higher level that is asked for and not consented to yet.
#[derive(Debug)]
pub(crate) struct Raise {
    /// The level.
    pub(crate) level: AccessLevel,
    /// The consent in force, whose end stays.
    pub(crate) active: Grant,
}

/// The fresh consent that a call needs before it is approved; none for most, and where it was given already.
///
/// # Errors
///
/// [`ErrorCode::Refused`] where nothing is granted that could be raised.
pub(crate) fn raise_of(pending: &PendingApproval, context: &Context) -> Result<Option<Raise>, Failure> {
    if pending.subject != ApprovalSubject::Level {
        return Ok(None);
    }
    let level = wish(pending)?.level;
    let (store, now) = (node::open_store(context)?, context.clock.now());
    let active = store.grants(false, &now)?.into_iter().find(|grant| grant.state == GrantState::Active);
    let Some(active) = active else {
        return Err(Failure::new(ErrorCode::Refused, "nothing is granted that could be raised")
            .next_step("give consent with `remote-support enable`"));
    };
    Ok((active.level < level).then_some(Raise { level, active }))
}

impl Raise {
    /// Stores the fresh consent, and has the agent take it over.
    ///
    /// # Errors
    ///
    /// As [`node::open_store`], and [`ErrorCode::AgentUnreachable`].
    pub(crate) fn give(&self, method: Method, context: &mut Context) -> Result<(), Failure> {
        let consent = consent(self.level, Terms::azure_local(), method, &self.active, context);
        let consent = enable::under_policy(consent, context)?;
        let grant = node::open_store(context)?.raise(&consent, &context.clock.now())?;
        node::tell_root_of(node::Change::Raised(&consent), &grant, context);
        node::notify(context)?;
        Ok(())
    }
}

/// Asks for the fresh consent that a higher level needs; false if the operator did not give it.
fn raised(
    pending: &PendingApproval,
    raise: Raise,
    args: &ApproveArgs,
    context: &mut Context,
) -> Result<bool, Failure> {
    let method = if args.agree_to_remote_support_consent { Method::CommandLine } else { Method::Prompt };
    let active = &raise.active;
    let left = chrono::TimeDelta::from_std(active.remaining(&context.clock.now())).unwrap_or_default();
    context.show(Terms::azure_local().text().trim_end())?;
    let permits = explain::level_here(raise.level, &active.scope, context)?;
    context.show(format!("\n{permits}\n"))?;
    context.show(format!(
        "{}.\nThe access ends at {}, in {}.\n",
        pending.summary,
        date(active.expires_at()),
        span(left)
    ))?;
    if method == Method::Prompt && consent_at_prompt(context)? == Answer::No {
        context.note("Nothing was changed; the request still waits.");
        return Ok(false);
    }
    raise.give(method, context)?;
    Ok(true)
}

fn consent_at_prompt(context: &mut Context) -> Result<Answer, Failure> {
    if !context.console.interactive {
        return Err(Failure::new(
            ErrorCode::NoTerminal,
            "a higher level needs a fresh consent, and there is no terminal to ask at",
        )
        .next_step("run the command at a terminal, or agree with --agree-to-remote-support-consent"));
    }
    let console = &mut context.console;
    Ok(prompt::ask(&mut *console.input, &mut *console.err, compat::QUESTION, LEVEL_HELP, EnterMeans::No)?)
}

fn consent(level: AccessLevel, terms: Terms, method: Method, active: &Grant, context: &Context) -> Consent {
    Consent {
        level,
        minutes: rs_consent::Minutes::default(),
        terms,
        request: None,
        grantor: node::grantor(method),
        catalog: explain::catalog(),
        approval: active.approval,
        conditions: rs_consent::Conditions::default(),
        scope: active.scope.clone(),
        requested: context.clock.now(),
    }
}

/// The node log tells that a higher level was asked for and not given.
fn note_declined(pending: &PendingApproval, method: Method, context: &Context) -> Result<(), Failure> {
    let (level, now) = (wish(pending)?.level, context.clock.now());
    let store = node::open_store(context)?;
    if let Some(active) = store.grants(false, &now)?.first() {
        let act = Act::GrantDeclined { level, minutes: active.minutes, by: node::grantor(method) };
        store.note(act, &now)?;
    }
    Ok(())
}

//! What `enable`, `disable`, `access` and `history` make of several nodes: the words that each node gets, one row a node, and
//! a sentence on all of them.

use chrono::{DateTime, SecondsFormat, SubsecRound as _, TimeDelta, Utc};
use rs_consent::terms::AgreedTerms;
use rs_consent::{AccessLevel, GrantState, Sha256, Terms};
use serde::Deserialize;
use serde_json::Value as Json;
use uuid::Uuid;

use super::answer::{NodeTrouble, Told, Trouble, short};
use super::summary::{self, Stands};
use super::target::Host;
use super::{Asked, Fleet, ask_all, ask_until};
use crate::commands::access::AccessArgs;
use crate::commands::disable::DisableArgs;
use crate::commands::enable::{self, EnableArgs};
use crate::commands::history::HistoryArgs;
use crate::context::Context;
use crate::explain;
use crate::outcome::{ErrorCode, Exit, Failure, Outcome};
use crate::output::{Record, span};
use crate::prompt::Answer;
use crate::values::NumberOrFile;

/// A consent as a node tells it. What a newer node adds is not looked at.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
struct ToldGrant {
    id: Uuid,
    state: GrantState,
    access_level: AccessLevel,
    expires_at: DateTime<Utc>,
    remaining_seconds: u32,
    connection_status: String,
    waits_for: Option<String>,
    terms: AgreedTerms,
    catalog: Option<Sha256>,
}

/// What a revoke did, as a node tells it.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
struct ToldRevoke {
    changed: bool,
    durable: bool,
    sessions_ended: u32,
    sessions_still_ending: u32,
    elapsed_milliseconds: u64,
}

/// A session, as a node tells it.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
struct ToldSession {
    session_id: Uuid,
    state: String,
    session_start_time: DateTime<Utc>,
    session_end_time: Option<DateTime<Utc>>,
    end_cause: Option<String>,
    access_level: AccessLevel,
    engineer: String,
    support_request: Option<String>,
    operations: u64,
    refusals: u64,
}

/// Reads an answer in its form; what does not fit is no answer.
fn read<T: for<'a> Deserialize<'a>>(value: Json) -> Told<T> {
    serde_json::from_value(value).map_err(|error| Trouble::of(NodeTrouble::BadAnswer, &error.to_string()))
}

fn read_all<T: for<'a> Deserialize<'a>>(asked: Asked) -> Vec<(Host, Told<T>)> {
    let one = |(host, answer): (Host, Told<(Json, Exit)>)| (host, answer.and_then(|(value, _)| read(value)));
    asked.answers.into_iter().map(one).collect()
}

/// Gives one consent for all nodes: terms and lists are shown and agreed to once, here, and the end is one instant.
///
/// # Errors
///
/// As [`enable::run`] up to the answer; what is only for one node is refused.
pub(crate) fn enable(args: &EnableArgs, fleet: &Fleet, context: &mut Context) -> Result<Outcome, Failure> {
    refuse_what_is_for_one(args)?;
    let terms = Terms::azure_local();
    let method = enable::method(args, &terms, context)?;
    if let Some(until) = args.until {
        enable::check_until(context.clock.now().wall, until)?;
    }
    context.show(format!("This is about {}: {}.\n", count(fleet), names(fleet)))?;
    if enable::agreement(args, method, &terms, context)? == Answer::No {
        context.note("Remote Support was not enabled; no node was asked.");
        return Ok(Outcome::Declined);
    }
    let wish = Wish::of(args, &terms, context.clock.now().wall);
    context.note(format!("Enabling Remote Support on {}.", count(fleet)));
    let asked = ask_all(fleet, &wish.words(args))?;
    let stopped = asked.stopped;
    let told: Vec<(Host, Told<ToldGrant>)> = if args.dry_run {
        return dry(asked, fleet, context);
    } else {
        let check =
            |(host, grant): (Host, Told<ToldGrant>)| (host, grant.and_then(|grant| wish.check(grant)));
        read_all(asked).into_iter().map(check).collect()
    };
    context.print_all(&told.iter().map(|(host, told)| grant_row(host, told)).collect::<Vec<_>>())?;
    context.note(summary::enabled(&stand(&told)));
    again(&told, fleet, &wish.typed(args), context);
    Ok(outcome(&told, stopped))
}

/// What one node is asked to grant.
struct Wish {
    level: AccessLevel,
    /// The end, where it does not follow from a start.
    until: Option<DateTime<Utc>>,
    terms: AgreedTerms,
    catalog: Option<Sha256>,
}

impl Wish {
    fn of(args: &EnableArgs, terms: &Terms, now: DateTime<Utc>) -> Self {
        // Minutes from a start that is an instant lead to the same end everywhere.
        let counted =
            args.not_before.is_none().then(|| now.trunc_subsecs(0) + args.expire_in_minutes.delta());
        Self {
            level: args.access_level,
            until: args.until.or(counted),
            terms: terms.agreed(),
            catalog: explain::catalog(),
        }
    }

    /// The words that a person would type for it.
    fn typed(&self, args: &EnableArgs) -> Vec<String> {
        let scope = enable::scope(args);
        let mut words = vec!["enable".to_owned(), format!("--access-level={}", self.level)];
        match (self.until, args.not_before) {
            (Some(until), _) => words.push(format!("--until={}", instant(until))),
            (None, Some(begins)) => words.extend([
                format!("--not-before={}", instant(begins)),
                format!("--expire-in-minutes={}", args.expire_in_minutes),
            ]),
            (None, None) => words.push(format!("--expire-in-minutes={}", args.expire_in_minutes)),
        }
        words.push(format!("--strict-read-only={}", scope.strict_read_only));
        words.push(format!("--product={}", scope.product));
        words.push(format!("--require-approval={}", args.require_approval.as_str()));
        if let Some(NumberOrFile::Number(number)) = &args.support_request {
            words.push(format!("--support-request={number}"));
        }
        words.extend(args.desk_fingerprint.map(|fingerprint| format!("--desk-fingerprint={fingerprint}")));
        words.extend(args.second_person.then(|| "--second-person".to_owned()));
        words
    }

    /// What a node gets: it refuses where its own terms or lists are others.
    fn words(&self, args: &EnableArgs) -> Vec<String> {
        let mut words = self.typed(args);
        words.push(format!("--agree-to-terms={}", self.terms.sha256));
        words.extend(self.catalog.map(|catalog| format!("--agree-to-catalog={catalog}")));
        words.extend(args.dry_run.then(|| "--dry-run".to_owned()));
        words.push("--output=json".to_owned());
        words
    }

    /// A grant that is not what was asked for is no success.
    fn check(&self, grant: ToldGrant) -> Told<ToldGrant> {
        let differs = [
            (grant.access_level != self.level, "the level"),
            (self.until.is_some_and(|until| until != grant.expires_at), "the end"),
            (grant.terms != self.terms, "the terms"),
            (grant.catalog != self.catalog, "the lists of commands"),
            (!grant.state.is_open(), "the state"),
        ];
        match differs.into_iter().find(|(differs, _)| *differs) {
            Some((_, what)) => Err(Trouble::of(
                NodeTrouble::Other,
                &format!("{what} granted there is not what was asked for"),
            )),
            None => Ok(grant),
        }
    }
}

fn instant(at: DateTime<Utc>) -> String {
    at.to_rfc3339_opts(SecondsFormat::Secs, true)
}

/// What names one node only cannot be meant for several.
fn refuse_what_is_for_one(args: &EnableArgs) -> Result<(), Failure> {
    let one = match (&args.sas_credential_file, &args.support_request) {
        (Some(_), _) => {
            ("--sas-credential-file", "a relay credential is stored on its own node: hand it in there")
        }
        (_, Some(NumberOrFile::File(_))) => (
            "--support-request FILE",
            "an opening is for one node: confirm it there with `remote-support request confirm FILE`",
        ),
        _ => return Ok(()),
    };
    Err(Failure::new(ErrorCode::InvalidValue, "this is for one node and cannot be given for several")
        .about(one.0)
        .next_step(one.1))
}

/// What each node says that it would do.
fn dry(asked: Asked, fleet: &Fleet, context: &mut Context) -> Result<Outcome, Failure> {
    let stopped = asked.stopped;
    let row = |host: &Host, answer: &Told<(Json, Exit)>| {
        let value = answer.as_ref().ok().map(|(value, _)| value);
        let text = |name: &str| Some(short(value?.get(name)?.as_str()?));
        let record = Record::new()
            .field("Node", host.as_str())
            .field("DryRun", true)
            .field("AccessLevel", text("accessLevel"))
            .field("ExpiresAt", text("expiresAt"));
        with_cause(record, answer.as_ref().err())
    };
    let rows: Vec<Record> = asked.answers.iter().map(|(host, answer)| row(host, answer)).collect();
    context.print_all(&rows)?;
    context.note(format!("This is what would be done on {}; nothing was changed.", count(fleet)));
    Ok(outcome(&asked.answers, stopped))
}

/// Revokes on each node; a node that is not reached is named with the way to repeat it, and ends access by itself at its end.
///
/// # Errors
///
/// As [`ask_all`].
pub(crate) fn disable(args: &DisableArgs, fleet: &Fleet, context: &mut Context) -> Result<Outcome, Failure> {
    let mut words = vec!["disable".to_owned(), "--output=json".to_owned()];
    words.extend(args.dry_run.then(|| "--dry-run".to_owned()));
    context.note(format!("Disabling Remote Support on {}.", count(fleet)));
    let asked = ask_all(fleet, &words)?;
    if args.dry_run {
        return dry(asked, fleet, context);
    }
    let stopped = asked.stopped;
    let told: Vec<(Host, Told<ToldRevoke>)> = read_all(asked);
    context.print_all(&told.iter().map(|(host, told)| revoke_row(host, told)).collect::<Vec<_>>())?;
    let down = |told: &Told<ToldRevoke>| {
        told.as_ref().is_ok_and(|told| told.durable && told.sessions_still_ending == 0)
    };
    let done = told.iter().filter(|(_, told)| down(told)).count();
    let open = summary::named(
        told.iter().filter(|(_, told)| !down(told)).map(|(host, told)| (host, why_open(told))),
    );
    let more = open.map_or_else(String::new, |names| format!(": not known to be down on {names}"));
    context.note(format!("Remote Support is disabled {}{more}.", summary::of(done, told.len())));
    if told.iter().any(|(_, told)| told.is_err()) {
        context.note("The end that such a node has on record holds there all the same, without any network.");
    }
    again(&told, fleet, &["disable".to_owned()], context);
    Ok(match outcome(&told, stopped) {
        Outcome::Done if done < told.len() => Outcome::Partial,
        outcome => outcome,
    })
}

fn why_open(told: &Told<ToldRevoke>) -> &str {
    match told {
        Err(trouble) => &trouble.cause,
        Ok(told) if told.sessions_still_ending > 0 => "sessions are not down yet",
        Ok(_) => "the revocation waits for the disk there",
    }
}

fn revoke_row(host: &Host, told: &Told<ToldRevoke>) -> Record {
    let (done, trouble) = (told.as_ref().ok(), told.as_ref().err());
    let record = Record::new()
        .field("Node", host.as_str())
        .field("Changed", done.map(|done| done.changed))
        .detail("Durable", done.map(|done| done.durable))
        .field("SessionsEnded", done.map(|done| done.sessions_ended))
        .field("SessionsStillEnding", done.map(|done| done.sessions_still_ending))
        .field("ElapsedMilliseconds", done.map(|done| done.elapsed_milliseconds));
    with_cause(record, trouble)
}

/// Lists the consents of each node: one row a node, and with ended ones one a consent.
///
/// # Errors
///
/// As [`ask_all`].
pub(crate) fn access(args: &AccessArgs, fleet: &Fleet, context: &mut Context) -> Result<Outcome, Failure> {
    let asked = ask_all(fleet, &access_words(args.include_expired))?;
    let stopped = asked.stopped;
    let told: Vec<(Host, Told<Vec<ToldGrant>>)> = read_all(asked);
    let rows: Vec<Record> = told.iter().flat_map(|(host, told)| access_rows(host, told)).collect();
    context.print_all(&rows)?;
    let stands: Vec<_> = told.iter().map(|(host, told)| (host.clone(), stands(told))).collect();
    context.note(summary::enabled(&stands));
    Ok(outcome(&told, stopped))
}

fn access_words(ended: bool) -> Vec<String> {
    let ended = ended.then(|| "--include-expired".to_owned());
    ["access".to_owned(), "--output=json".to_owned()].into_iter().chain(ended).collect()
}

fn access_rows(host: &Host, told: &Told<Vec<ToldGrant>>) -> Vec<Record> {
    match told {
        Ok(grants) if !grants.is_empty() => {
            grants.iter().map(|grant| grant_row(host, &Ok(grant.clone()))).collect()
        }
        Ok(_) => vec![row(host, "NotEnabled", None, None)],
        Err(trouble) => vec![row(host, "Unknown", None, Some(trouble))],
    }
}

fn grant_row(host: &Host, told: &Told<ToldGrant>) -> Record {
    match told {
        Ok(grant) => row(host, &grant.state.to_string(), Some(grant), None),
        Err(trouble) => row(host, if trouble.unknown { "Unknown" } else { "Failed" }, None, Some(trouble)),
    }
}

fn row(host: &Host, state: &str, grant: Option<&ToldGrant>, trouble: Option<&Trouble>) -> Record {
    let open = grant.filter(|grant| grant.state.is_open());
    let left = open.map(|grant| span(TimeDelta::seconds(grant.remaining_seconds.into())));
    let record = Record::new()
        .field("Node", host.as_str())
        .field("State", state)
        .field("AccessLevel", grant.map(|grant| grant.access_level.to_string()))
        .field("ExpiresAt", grant.map(|grant| grant.expires_at))
        .field("Remaining", left)
        .detail("ConnectionStatus", grant.map(|grant| short(&grant.connection_status)))
        .extra("RemainingSeconds", grant.map(|grant| grant.remaining_seconds))
        .extra("WaitsFor", grant.and_then(|grant| grant.waits_for.as_deref()).map(short))
        .extra("Id", grant.map(|grant| grant.id.to_string()));
    with_cause(record, trouble)
}

/// What ended a row's node early, as its last fields.
fn with_cause(record: Record, trouble: Option<&Trouble>) -> Record {
    record
        .extra("Trouble", trouble.map(|trouble| trouble.code.clone()))
        .field("Cause", trouble.map(|trouble| trouble.cause.clone()))
}

fn stands(told: &Told<Vec<ToldGrant>>) -> Stands {
    match told {
        Err(trouble) => Stands::Unknown(trouble.clone()),
        Ok(grants) => grants
            .iter()
            .find(|grant| grant.state.is_open())
            .map_or_else(|| Stands::Not("not enabled".to_owned()), of_grant),
    }
}

/// How remote support stands on a node, as it says.
#[derive(Debug, Clone)]
pub(crate) struct Standing {
    pub(crate) stands: Stands,
    /// The level of the consent that is open, if there is one.
    pub(crate) level: Option<AccessLevel>,
    /// Its end.
    pub(crate) expires_at: Option<DateTime<Utc>>,
    /// What was left of it when the node answered.
    pub(crate) left: TimeDelta,
}

/// Asks each node how it stands.
pub(crate) async fn standings(fleet: &Fleet) -> Vec<(Host, Standing)> {
    let asked = ask_until(std::future::pending(), fleet, &access_words(false)).await;
    let told: Vec<(Host, Told<Vec<ToldGrant>>)> = read_all(asked);
    let one = |told: &Told<Vec<ToldGrant>>| {
        let open = told.as_ref().ok().and_then(|grants| grants.iter().find(|grant| grant.state.is_open()));
        Standing {
            stands: stands(told),
            level: open.map(|grant| grant.access_level),
            expires_at: open.map(|grant| grant.expires_at),
            left: open
                .map_or_else(TimeDelta::zero, |grant| TimeDelta::seconds(grant.remaining_seconds.into())),
        }
    };
    told.into_iter().map(|(host, told)| (host, one(&told))).collect()
}

fn of_grant(grant: &ToldGrant) -> Stands {
    if grant.state == GrantState::Active {
        return Stands::Enabled;
    }
    let wait = grant.waits_for.as_deref().map_or_else(|| "its start".to_owned(), short);
    Stands::Not(format!("waits for {wait}"))
}

fn stand(told: &[(Host, Told<ToldGrant>)]) -> Vec<(Host, Stands)> {
    let one = |told: &Told<ToldGrant>| match told {
        Ok(grant) => of_grant(grant),
        Err(trouble) if trouble.unknown => Stands::Unknown(trouble.clone()),
        Err(trouble) => Stands::Not(trouble.cause.clone()),
    };
    told.iter().map(|(host, told)| (host.clone(), one(told))).collect()
}

/// Lists the sessions of each node.
///
/// # Errors
///
/// [`ErrorCode::InvalidValue`] for what shows one session or whole transcripts, which are read on their own node.
pub(crate) fn history(args: &HistoryArgs, fleet: &Fleet, context: &mut Context) -> Result<Outcome, Failure> {
    if args.session_id.is_some() || args.include_session_transcript {
        let failure =
            Failure::new(ErrorCode::InvalidValue, "a transcript is read and verified on its own node");
        return Err(failure.next_step(
            "list sessions of several nodes without it, then ask on the node that has the session",
        ));
    }
    let asked = ask_all(fleet, &history_words(args))?;
    let stopped = asked.stopped;
    let mut outcome_of_all = outcome(&asked.answers, stopped);
    let worst = asked
        .answers
        .iter()
        .filter_map(|(_, answer)| Some(answer.as_ref().ok()?.1))
        .max_by_key(|exit| *exit as u8);
    if outcome_of_all == Outcome::Done && worst.is_some_and(|exit| exit != Exit::Done) {
        outcome_of_all = Outcome::Partial;
    }
    let told: Vec<(Host, Told<Vec<ToldSession>>)> = read_all(asked);
    let rows: Vec<Record> = told.iter().flat_map(|(host, told)| session_rows(host, told)).collect();
    context.print_all(&rows)?;
    let heard = told.iter().filter(|(_, told)| told.is_ok()).count();
    let sessions: usize = told.iter().filter_map(|(_, told)| Some(told.as_ref().ok()?.len())).sum();
    let silent = told.iter().filter_map(|(host, told)| Some((host, told.as_ref().err()?.cause.as_str())));
    let more = summary::named(silent).map_or_else(String::new, |names| format!("; not known of {names}"));
    context.note(format!("{sessions} session(s) {}{more}.", summary::of(heard, told.len())));
    Ok(outcome_of_all)
}

fn history_words(args: &HistoryArgs) -> Vec<String> {
    let date = |at: Option<DateTime<Utc>>| at.map(|at| at.to_rfc3339_opts(SecondsFormat::AutoSi, true));
    let options = [
        ("from-date", date(args.from_date)),
        ("to-date", date(args.to_date)),
        ("engineer", args.engineer.clone()),
        ("support-request", args.support_request.clone()),
        ("node-name", args.node_name.clone()),
        ("outcome", args.outcome.clone()),
        ("command", args.command.clone()),
        ("text", args.text.clone()),
    ];
    let given = options.into_iter().filter_map(|(name, value)| Some(format!("--{name}={}", value?)));
    ["history".to_owned(), "--output=json".to_owned()].into_iter().chain(given).collect()
}

fn session_rows(host: &Host, told: &Told<Vec<ToldSession>>) -> Vec<Record> {
    match told {
        Ok(sessions) => sessions.iter().map(|session| session_row(host, Some(session), None)).collect(),
        Err(trouble) => vec![session_row(host, None, Some(trouble))],
    }
}

fn session_row(host: &Host, session: Option<&ToldSession>, trouble: Option<&Trouble>) -> Record {
    let record = Record::new()
        .field("Node", host.as_str())
        .field("SessionId", session.map(|session| session.session_id.to_string()))
        .field("State", session.map(|session| short(&session.state)))
        .field("SessionStartTime", session.map(|session| session.session_start_time))
        .detail("SessionEndTime", session.and_then(|session| session.session_end_time))
        .detail("EndCause", session.and_then(|session| session.end_cause.as_deref()).map(short))
        .field("AccessLevel", session.map(|session| session.access_level.to_string()))
        .field("Engineer", session.map(|session| short(&session.engineer)))
        .detail("SupportRequest", session.and_then(|session| session.support_request.as_deref()).map(short))
        .detail("Operations", session.map(|session| session.operations))
        .detail("Refusals", session.map(|session| session.refusals));
    with_cause(record, trouble)
}

/// Done where every node did it; the common cause where none did; else in part.
fn outcome<T>(told: &[(Host, Told<T>)], stopped: bool) -> Outcome {
    let troubles: Vec<&Trouble> = told.iter().filter_map(|(_, told)| told.as_ref().err()).collect();
    match troubles.first() {
        None => Outcome::Done,
        Some(_) if stopped || troubles.len() < told.len() => Outcome::Partial,
        Some(first) if troubles.iter().all(|trouble| trouble.exit == first.exit) => Outcome::Exit(first.exit),
        Some(_) => Outcome::Exit(Exit::Failed),
    }
}

/// The command for those alone that are missing.
fn again<T>(told: &[(Host, Told<T>)], fleet: &Fleet, words: &[String], context: &mut Context) {
    let missing: Vec<&Host> = told.iter().filter(|(_, told)| told.is_err()).map(|(host, _)| host).collect();
    if !missing.is_empty() {
        let words = words.iter().map(|word| super::shell::quote(word)).collect::<Vec<_>>().join(" ");
        context.note(format!("For these alone: remote-support {words}{}", fleet.again(missing)));
    }
}

fn count(fleet: &Fleet) -> String {
    match fleet.hosts.len() {
        1 => "1 node".to_owned(),
        many => format!("{many} nodes"),
    }
}

fn names(fleet: &Fleet) -> String {
    fleet.hosts.iter().map(Host::as_str).collect::<Vec<_>>().join(", ")
}

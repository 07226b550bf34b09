//! `enable`: one act of consent, from the terms to the grant.
//!
//! Everything that can be refused is refused before the question is put, and nothing is stored before it is answered
//! with Yes.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use chrono::{DateTime, Utc};
use clap::Args;
use rs_consent::conditions::Wait;
use rs_consent::grant::GrantError;
use rs_consent::keys::Fingerprint;
use rs_consent::minutes::MinutesError;
use rs_consent::party::Method;
use rs_consent::request::{Opening, RequestState};
use rs_consent::store::{Act, ConsentStore, StoreError};
use rs_consent::{
    AccessLevel, ApprovalRule, Conditions, Consent, Grant, GrantState, Minutes, Now, RequestNumber, Scope,
    Sha256, Terms, compat,
};
use secrecy::{ExposeSecret as _, SecretString};
use serde_json::json;

use crate::casefiles::{self, Paper};
use crate::commands::{access, request};
use crate::context::Context;
use crate::control::AgentControl as _;
use crate::explain::ScopeArgs;
use crate::fleet::FleetArgs;
use crate::network::{self, ProxyArgs};
use crate::outcome::{ErrorCode, Failure, Outcome};
use crate::output::{Record, Value, date};
use crate::owner_policy::OwnerPolicy;
use crate::prompt::{self, Answer, EnterMeans};
use crate::relay_access::{RelayAccess, Side};
use crate::state::Role;
use crate::values::{AccessLevelParser, NumberOrFile};
use crate::{credential, explain, files, fleet, node};

/// Options by which somebody agrees. They have no environment variable: agreeing is an act, not a setting that a
/// shell could inherit.
pub const CONSENT_OPTIONS: &[&str] =
    &["agree-to-remote-support-consent", "agree-to-terms", "agree-to-catalog"];

const HELP: &str = "Yes: the support organisation gets access as described, until it expires or is revoked.\n\
                    No: nothing is changed and nothing is stored.\n\
                    The access can be ended at any moment with `remote-support disable`.";

/// Longest look at the network, when the consent is stored.
const NETWORK_ADVICE_MAX: Duration = Duration::from_secs(3);
/// Pause between two questions whether the agent is connected.
const AGENT_PAUSE: Duration = Duration::from_millis(50);

/// Arguments of `enable`.
#[derive(Debug, Args)]
pub struct EnableArgs {
    /// What an engineer may do; in any case and public spelling.
    #[arg(
        long, value_name = "Diagnostics|DiagnosticsRepair", hide_possible_values = true, required = true,
        value_parser = AccessLevelParser, env = "REMOTE_SUPPORT_ACCESS_LEVEL"
    )]
    pub access_level: AccessLevel,
    /// Minutes until the access ends by itself, 60 to 20160 (1 hour to 14 days); also as 8h, 1d or PT8H.
    #[arg(
        long,
        value_name = "MINUTES",
        alias = "expire-minutes",
        default_value_t,
        allow_hyphen_values = true,
        env = "REMOTE_SUPPORT_EXPIRE_IN_MINUTES"
    )]
    pub expire_in_minutes: Minutes,
    /// End at this instant instead, 60 to 20160 minutes from now; a minute that has begun counts as a whole one.
    #[arg(
        long, value_name = "DATE", value_parser = crate::values::date, conflicts_with_all = ["expire_in_minutes", "not_before"],
        env = "REMOTE_SUPPORT_UNTIL"
    )]
    pub until: Option<DateTime<Utc>>,
    /// File with the relay credential that support handed out, mode 0600, or `-` for standard input.
    #[arg(long, value_name = "FILE", env = "REMOTE_SUPPORT_SAS_CREDENTIAL_FILE", hide_env_values = true)]
    pub sas_credential_file: Option<PathBuf>,
    /// Give access for this support request only: its 16-digit number, or the file with the desk's opening, which is
    /// confirmed on the way [default: any open request].
    #[arg(long, value_name = "NUMBER|FILE", env = "REMOTE_SUPPORT_SUPPORT_REQUEST")]
    pub support_request: Option<NumberOrFile>,
    /// Confirm the desk's opening without being asked if the desk's key has this fingerprint, learned in another way.
    #[arg(long, value_name = "xxxx-xxxx-xxxx-xxxx", env = "REMOTE_SUPPORT_DESK_FINGERPRINT")]
    pub desk_fingerprint: Option<Fingerprint>,
    /// What is narrowed besides the level.
    #[command(flatten)]
    pub scope: ScopeArgs,
    /// Which calls wait for your answer (`session approvals`): `never`; `releases`, before collected logs leave; or
    /// `changes`, also before the state of the node is changed, such as by Stop-Service.
    #[arg(
        long,
        value_name = "never|releases|changes",
        default_value_t,
        ignore_case = true,
        env = "REMOTE_SUPPORT_REQUIRE_APPROVAL"
    )]
    pub require_approval: ApprovalRule,
    /// Begin then and not at once, at most 30 days ahead; the minutes count from there. Nobody gets in before.
    #[arg(long, value_name = "DATE", value_parser = crate::values::date, env = "REMOTE_SUPPORT_NOT_BEFORE")]
    pub not_before: Option<DateTime<Utc>>,
    /// Let the consent wait until somebody else approves of it with `remote-support approve`.
    #[arg(long, env = "REMOTE_SUPPORT_SECOND_PERSON", value_parser = clap::builder::BoolishValueParser::new())]
    pub second_person: bool,
    /// Agree to the terms without being asked.
    #[arg(long)]
    pub agree_to_remote_support_consent: bool,
    /// Agree to the terms of this version, or with this SHA-256 of their text, without being asked; refused where the terms
    /// are others.
    #[arg(long, value_name = "VERSION|SHA256")]
    pub agree_to_terms: Option<String>,
    /// Refuse where the lists of commands are not the ones with this SHA-256, which were shown elsewhere.
    #[arg(long, value_name = "SHA256")]
    pub agree_to_catalog: Option<Sha256>,
    /// Let Enter mean Yes, as in the product's own prompt.
    #[arg(long, env = "REMOTE_SUPPORT_COMPAT_PROMPT", value_parser = clap::builder::BoolishValueParser::new())]
    pub compat_prompt: bool,
    /// Check everything, show the terms and what would be granted, and change nothing.
    #[arg(long, env = "REMOTE_SUPPORT_DRY_RUN", value_parser = clap::builder::BoolishValueParser::new())]
    pub dry_run: bool,
    /// On which nodes.
    #[command(flatten)]
    pub nodes: FleetArgs,
}

/// Gives consent.
///
/// # Errors
///
/// [`ErrorCode::NoTerminal`] where nobody can be asked and nobody has agreed; [`ErrorCode::Refused`] for terms of
/// another version or a closed request; as [`node::open_store`] and [`files::read_secret`].
pub fn run(args: &EnableArgs, context: &mut Context) -> Result<Outcome, Failure> {
    if let Some(fleet) = args.nodes.fleet()? {
        return fleet::verbs::enable(args, &fleet, context);
    }
    let requested = context.clock.now();
    let minutes = match args.until {
        Some(until) => check_until(requested.wall, until)?,
        None => args.expire_in_minutes,
    };
    let terms = Terms::azure_local();
    let method = method(args, &terms, context)?;
    let conditions = conditions(args, context)?;
    let credential = credential(args, method, context)?;
    let (number, opening) = support_request(args, context)?;
    if args.dry_run {
        return preview(args, &terms, number, opening.as_ref(), (minutes, conditions), context);
    }
    if let Some(opening) = &opening
        && request::confirm_desk(opening, args.desk_fingerprint, context)? == Answer::No
    {
        return declined(args, minutes, context);
    }
    if agreement(args, method, &terms, context)? == Answer::No {
        return declined(args, minutes, context);
    }
    let choice = Choice {
        level: args.access_level,
        minutes,
        request: number,
        scope: scope(args),
        approval: args.require_approval,
        conditions,
    };
    let consent = choice.consent(terms, method, requested);
    let consent = match args.until {
        Some(until) => consent.until(until).map_err(too_near_or_far)?,
        None => consent,
    };
    let grant = give(&consent, opening.as_ref(), credential.as_ref(), context)?;
    print(&grant, context)?;
    advise_on_network(context);
    Ok(Outcome::Done)
}

/// What somebody chose who is about to give consent.
#[derive(Debug, Clone)]
pub(crate) struct Choice {
    pub(crate) level: AccessLevel,
    pub(crate) minutes: Minutes,
    /// The only request that it is for.
    pub(crate) request: Option<RequestNumber>,
    pub(crate) scope: Scope,
    pub(crate) approval: ApprovalRule,
    pub(crate) conditions: Conditions,
}

impl Choice {
    /// The consent to it, by the account that runs this program, asked for at `requested`.
    pub(crate) fn consent(self, terms: Terms, method: Method, requested: Now) -> Consent {
        Consent {
            level: self.level,
            minutes: self.minutes,
            terms,
            request: self.request,
            grantor: node::grantor(method),
            catalog: explain::catalog(),
            scope: self.scope,
            approval: self.approval,
            conditions: self.conditions,
            requested,
        }
    }
}

/// Stores a consent that was given, and has the agent take it over: what `enable` and the page do.
///
/// # Errors
///
/// As [`run`].
pub(crate) fn give(
    consent: &Consent,
    opening: Option<&Opening>,
    credential: Option<&SecretString>,
    context: &mut Context,
) -> Result<Grant, Failure> {
    let consent = under_policy(consent.clone(), context)?;
    let grant = store(&consent, opening, credential, context)?;
    tell(context);
    Ok(grant)
}

/// The consent as the owner's policy has it: with a second person where it demands one.
///
/// # Errors
///
/// As [`OwnerPolicy::read`].
pub(crate) fn under_policy(consent: Consent, context: &Context) -> Result<Consent, Failure> {
    let conditions = conditions_under_policy(consent.conditions, consent.level, context)?;
    Ok(Consent { conditions, ..consent })
}

fn conditions_under_policy(
    conditions: Conditions,
    level: AccessLevel,
    context: &Context,
) -> Result<Conditions, Failure> {
    let policy = OwnerPolicy::read(&context.state.role(Role::Node))?;
    let demanded = policy.second_person && level > AccessLevel::Diagnostics;
    Ok(Conditions { second_person: conditions.second_person || demanded, ..conditions })
}

/// What the consent will wait for, if it can be given so at present.
fn conditions(args: &EnableArgs, context: &Context) -> Result<Conditions, Failure> {
    let asked = Conditions { not_before: args.not_before, second_person: args.second_person };
    let conditions = conditions_under_policy(asked, args.access_level, context)?;
    let now = context.clock.now();
    conditions.check(&now).map_err(StoreError::from)?;
    if conditions.wait()
        && let Some(store) = node::existing_store(context)?
        && store.held()?.is_none()
        && store.grants(false, &now)?.iter().any(|grant| grant.state == GrantState::Active)
    {
        return Err(StoreError::from(GrantError::InForce).into());
    }
    Ok(conditions)
}

/// The minutes to an end that was given as an instant.
///
/// # Errors
///
/// [`ErrorCode::InvalidValue`] for one outside of the range of minutes.
pub(crate) fn check_until(now: DateTime<Utc>, until: DateTime<Utc>) -> Result<Minutes, Failure> {
    Minutes::between(now, until).map_err(too_near_or_far)
}

fn too_near_or_far(error: MinutesError) -> Failure {
    Failure::new(ErrorCode::InvalidValue, error.to_string())
        .about("--until")
        .next_step("choose an end in that range, and see that the clock of this node is right")
}

/// When the access ends that is asked for at `now`.
fn end(args: &EnableArgs, now: DateTime<Utc>) -> DateTime<Utc> {
    if let Some(until) = args.until {
        return until;
    }
    let begins = args.not_before.map_or(now, |begins| begins.max(now));
    begins.checked_add_signed(args.expire_in_minutes.delta()).unwrap_or(begins)
}

/// What the consent narrows: each consent is asked for anew, so an earlier one does not count here.
pub(crate) fn scope(args: &EnableArgs) -> Scope {
    args.scope.scope(Scope::default())
}

/// How consent is given, if it can be given here at all.
///
/// # Errors
///
/// [`ErrorCode::Refused`] where other terms or lists were agreed to; [`ErrorCode::NoTerminal`].
pub(crate) fn method(args: &EnableArgs, terms: &Terms, context: &Context) -> Result<Method, Failure> {
    let hash = terms.agreed().sha256.to_string();
    let is_other = |agreed: &&str| ![terms.version().as_str(), &hash].contains(agreed);
    if let Some(version) = args.agree_to_terms.as_deref().filter(is_other) {
        return Err(Failure::new(ErrorCode::Refused, "the terms agreed to are not the ones in force")
            .about(version)
            .next_step(format!("read the terms of version {} and agree to those", terms.version())));
    }
    if let Some(catalog) = args.agree_to_catalog.filter(|agreed| explain::catalog() != Some(*agreed)) {
        return Err(Failure::new(
            ErrorCode::Refused,
            "the lists of commands that were shown are not the ones of this node",
        )
        .about(catalog.to_string())
        .next_step("bring the nodes to one version, or give consent on this node itself"));
    }
    let asks_nothing = args.agree_to_remote_support_consent || args.agree_to_terms.is_some() || args.dry_run;
    if asks_nothing {
        return Ok(Method::CommandLine);
    }
    if context.console.interactive {
        return Ok(Method::Prompt);
    }
    Err(Failure::new(ErrorCode::NoTerminal, "consent must be asked for, and there is no terminal to ask at").next_step(
        "run the command at a terminal, or agree beforehand with --agree-to-remote-support-consent; nothing was stored",
    ))
}

/// The credential, before anybody is asked: an unusable one should not cost a consent.
fn credential(
    args: &EnableArgs,
    method: Method,
    context: &mut Context,
) -> Result<Option<SecretString>, Failure> {
    let Some(path) = &args.sas_credential_file else { return Ok(None) };
    let text = read_credential(path, method, context)?;
    check_credential(&text, |now| end(args, now), context)?;
    Ok(Some(text))
}

/// Whether the relay would take the credential; notes where it ends before a consent that is asked for now and then `ends`.
///
/// # Errors
///
/// As [`credential::check`].
pub(crate) fn check_credential(
    text: &SecretString,
    ends: impl FnOnce(DateTime<Utc>) -> DateTime<Utc>,
    context: &mut Context,
) -> Result<(), Failure> {
    let now = context.clock.now().wall;
    let end = credential::check(text, now)?;
    if let Some(end) = end.filter(|end| *end < ends(now)) {
        context.note(format!(
            "The relay credential ends at {}, before the consent does; nobody can connect after that.\n",
            compat::print_date(end)
        ));
    }
    Ok(())
}

fn read_credential(path: &Path, method: Method, context: &mut Context) -> Result<SecretString, Failure> {
    if path != Path::new("-") {
        return files::read_secret(path);
    }
    if method == Method::Prompt {
        let both = "standard input cannot hold both the credential and the answer";
        return Err(Failure::new(ErrorCode::InvalidValue, both)
            .next_step("put the credential into a file of mode 0600"));
    }
    files::read_secret_from(&mut *context.console.input, "standard input")
}

/// The request that the consent is for, and the desk's opening if it is still to be confirmed.
fn support_request(
    args: &EnableArgs,
    context: &Context,
) -> Result<(Option<RequestNumber>, Option<Opening>), Failure> {
    let opening = match &args.support_request {
        None => match answered_here(context)? {
            Some(path) => request::read_opening(&path, context)?,
            None => return Ok((None, None)),
        },
        Some(NumberOrFile::File(path)) => request::read_opening(path, context)?,
        Some(NumberOrFile::Number(number)) => {
            let path = casefiles::path(&context.state, Paper::Opening, *number);
            if state_of(*number, context)? == RequestState::Open || !path.exists() {
                return Ok((Some(*number), None));
            }
            request::read_opening(&path, context)?
        }
    };
    let pending = state_of(opening.number, context)? == RequestState::Submitted;
    Ok((Some(opening.number), Some(opening).filter(|_| pending)))
}

/// The opening by the desk of this very state directory, when it is the only one that waits for its confirmation.
fn answered_here(context: &Context) -> Result<Option<PathBuf>, Failure> {
    let Some(store) = node::existing_store(context)? else { return Ok(None) };
    let waiting = store.requests()?.into_iter().filter(|request| request.state() == RequestState::Submitted);
    let mut answers = waiting
        .map(|request| casefiles::path(&context.state, Paper::Opening, request.number))
        .filter(|path| path.exists());
    let first = answers.next();
    Ok(first.filter(|_| answers.next().is_none()))
}

/// The state of a request that a consent may be for.
///
/// # Errors
///
/// [`ErrorCode::NotFound`]; [`ErrorCode::Refused`] for one that is closed.
pub(crate) fn state_of(number: RequestNumber, context: &Context) -> Result<RequestState, Failure> {
    let known = node::existing_store(context)?.map(|store| store.request(number)).transpose()?.flatten();
    let known = known.ok_or_else(|| {
        Failure::new(ErrorCode::NotFound, "there is no such support request on this node")
            .about(number.to_string())
            .next_step("see `remote-support request list`")
    })?;
    match known.state() {
        RequestState::Closed => Err(Failure::new(ErrorCode::Refused, "the support request is closed")
            .about(number.to_string())
            .next_step("submit a new one with `remote-support request submit`")),
        state => Ok(state),
    }
}

/// What this consent would grant, checked as far as it can be without a change (U09).
fn preview(
    args: &EnableArgs,
    terms: &Terms,
    number: Option<RequestNumber>,
    opening: Option<&Opening>,
    (minutes, conditions): (Minutes, Conditions),
    context: &mut Context,
) -> Result<Outcome, Failure> {
    let now = context.clock.now();
    let scope = scope(args);
    let permits = explain::level_here(args.access_level, &scope, context)?;
    context.show(format!("{}\n\n{permits}\n", terms.text().trim_end()))?;
    let in_force = match node::existing_store(context)? {
        Some(store) => store.grants(false, &now)?.into_iter().next(),
        None => None,
    };
    let desk = opening.map(|opening| {
        json!({ "name": opening.desk.name, "fingerprint": opening.desk.key.fingerprint().to_string() })
    });
    let mut shown = json!(terms.agreed());
    shown["text"] = terms.text().into();
    let record = Record::new()
        .field("DryRun", true)
        .field("AccessLevel", args.access_level.to_string())
        .field("Minutes", minutes.get())
        .field("NotBefore", args.not_before)
        .field("ExpiresAt", end(args, now.wall))
        .field("SecondPerson", conditions.second_person)
        .field("SupportRequest", number.map(|number| number.to_string()))
        .field("RequireApproval", args.require_approval.as_str())
        .field("Product", scope.product.to_string())
        .field("StrictReadOnly", scope.strict_read_only)
        .field("Replaces", in_force.map(|grant| grant.id.to_string()))
        .extra("DeskToConfirm", desk.map_or(Value::None, Value::Json))
        .extra(
            "Commands",
            u64::try_from(explain::permitted(args.access_level, &scope).count()).unwrap_or(u64::MAX),
        )
        .extra("Permits", permits)
        .extra("Terms", shown);
    context.print_one(&record)?;
    context.note("This is what would be granted; nothing was changed.");
    Ok(Outcome::Done)
}

/// Shows the terms and what the level permits, and asks, unless the answer was given beforehand.
///
/// # Errors
///
/// Where it cannot be shown.
pub(crate) fn agreement(
    args: &EnableArgs,
    method: Method,
    terms: &Terms,
    context: &mut Context,
) -> Result<Answer, Failure> {
    context.show(terms.text().trim_end())?;
    let permits = explain::level_here(args.access_level, &scope(args), context)?;
    context.show(format!("\n{permits}\n"))?;
    if method == Method::CommandLine {
        return Ok(Answer::Yes);
    }
    let enter = if args.compat_prompt { EnterMeans::Yes } else { EnterMeans::No };
    let console = &mut context.console;
    Ok(prompt::ask(&mut *console.input, &mut *console.err, compat::QUESTION, HELP, enter)?)
}

/// A node that has a store notes in its log that somebody was asked and said No.
///
/// # Errors
///
/// As [`node::existing_store`].
pub(crate) fn note_declined(
    level: AccessLevel,
    minutes: Minutes,
    method: Method,
    context: &Context,
) -> Result<(), Failure> {
    if let Some(store) = node::existing_store(context)? {
        let act = Act::GrantDeclined { level, minutes, by: node::grantor(method) };
        store.note(act, &context.clock.now())?;
    }
    Ok(())
}

/// Nothing is granted.
fn declined(args: &EnableArgs, minutes: Minutes, context: &mut Context) -> Result<Outcome, Failure> {
    note_declined(args.access_level, minutes, Method::Prompt, context)?;
    context.note("Remote Support was not enabled; nothing was changed.");
    Ok(Outcome::Declined)
}

fn store(
    consent: &Consent,
    opening: Option<&Opening>,
    credential: Option<&SecretString>,
    context: &mut Context,
) -> Result<Grant, Failure> {
    context.note(compat::enabling(consent.level, consent.minutes));
    let store = node::open_store(context)?;
    if let Some(credential) = credential {
        context.note(compat::USING_SAS);
        let path = context.state.role(Role::Node).file(node::CREDENTIAL_NAME);
        files::replace_secret(&path, credential.expose_secret().as_bytes())?;
    }
    let now = context.clock.now();
    if let Some(opening) = opening {
        store.confirm_opening(opening, &now)?;
    }
    let grant = store.enable(consent, &now)?;
    node::tell_root(&grant, context);
    say_given(&grant, context);
    advise(&store, consent.request, context, &now)?;
    Ok(grant)
}

/// Says that the consent is in force, or what it waits for.
pub(crate) fn say_given(grant: &Grant, context: &mut Context) {
    let text = match grant.waits_for(&context.clock.now()) {
        None => compat::ENABLED.to_owned(),
        Some(Wait::Start(at)) => {
            format!("The consent is recorded and begins at {}; nobody gets in before.", date(at))
        }
        Some(Wait::SecondPerson) => {
            "The consent is recorded and waits for a second person: somebody else, at their own \
                                     account, approves with `remote-support approve`. Nobody gets in before."
                .to_owned()
        }
    };
    context.note(format!("{text}\n"));
}

/// What is still missing before an engineer can connect.
fn advise(
    store: &ConsentStore,
    wanted: Option<RequestNumber>,
    context: &mut Context,
    now: &Now,
) -> Result<(), Failure> {
    let requests = store.facts(now)?.requests;
    let fits = |number: RequestNumber| wanted.is_none_or(|wanted| wanted == number);
    if !requests.iter().any(|request| fits(request.number) && request.state() == RequestState::Open) {
        context.note(
            "No support request is open, so nobody can connect yet: submit one with `remote-support request submit --reason \
             TEXT`, and confirm the desk's opening with `remote-support request confirm FILE`.",
        );
    } else {
        context.note(
            "See what engineers do with `remote-support session watch`; end all access with `remote-support disable`.",
        );
    }
    Ok(())
}

/// Says what keeps the relay from being reached. It comes when all is done and shown, on standard error only, takes at
/// most [`NETWORK_ADVICE_MAX`], and never fails. A relay on this machine is not asked about.
fn advise_on_network(context: &mut Context) {
    let until = Instant::now() + NETWORK_ADVICE_MAX;
    let Ok(way) = ProxyArgs::of_environment().way() else { return };
    let access = RelayAccess::new(&context.state, Side::Listen, None, None, way);
    let relay = access.credential_file().and_then(|_| access.connection().ok());
    let Some(relay) = relay.filter(|relay| !network::is_local(relay.authority())) else { return };
    let relay = relay.authority();
    let trouble = match agents_word(context, until) {
        AgentsWord::Connected => return,
        AgentsWord::Trouble(trouble) => Some(trouble),
        AgentsWord::None => access.question().ok().flatten().and_then(|question| {
            let asked = network::block_on(async { Ok(question.ask(NETWORK_ADVICE_MAX).await) });
            network::verdict(&asked.ok()?)
        }),
        AgentsWord::NotYet => {
            context.note(format!(
                "The agent is not connected to {relay} yet; see how it fares with `remote-support agent status`."
            ));
            return;
        }
    };
    if let Some(trouble) = trouble {
        context.note(format!(
            "Nobody can connect yet, since the relay {relay} is not reached.\n  cause: {trouble}\n  more: \
             `remote-support agent doctor`, and `remote-support proxy check` for each hop"
        ));
    }
}

/// What the agent says of its connection.
enum AgentsWord {
    /// It has one.
    Connected,
    /// It has none, for this reason.
    Trouble(String),
    /// It has none so far.
    NotYet,
    /// There is no agent that could say.
    None,
}

fn agents_word(context: &Context, until: Instant) -> AgentsWord {
    loop {
        let trouble = match node::agent(context).status() {
            Err(_) => return AgentsWord::None,
            Ok(status) if status.connection_status == "Connected" => return AgentsWord::Connected,
            Ok(status) => status.connection_error_message,
        };
        if Instant::now() >= until {
            return trouble.map_or(AgentsWord::NotYet, AgentsWord::Trouble);
        }
        std::thread::sleep(AGENT_PAUSE);
    }
}

/// Tells the agent, and says what came of it.
pub(crate) fn tell(context: &mut Context) {
    match node::notify(context) {
        Ok(Some(changed)) if changed.sessions_ended > 0 => context.note(format!(
            "{} sessions that the new consent does not permit were ended in {} ms.",
            changed.sessions_ended, changed.elapsed_ms
        )),
        Ok(Some(_)) => {}
        Ok(None) => {
            context.note("No agent is running on this node: start it with `remote-support agent run`.")
        }
        Err(error) => context.note(format!("The consent is stored, but the agent was not told: {error}.")),
    }
}

pub(crate) fn print(grant: &Grant, context: &mut Context) -> Result<(), Failure> {
    let now = context.clock.now();
    let connection = access::Connection::of_agent(context, true);
    context.print_one(&access::record(grant, &connection, &now))
}

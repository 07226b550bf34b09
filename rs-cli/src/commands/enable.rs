//! `enable`: one act of consent, from the terms to the grant.
//!
//! Everything that can be refused is refused before the question is put, and nothing is stored before it is answered
//! with Yes.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use clap::Args;
use rs_consent::keys::Fingerprint;
use rs_consent::party::Method;
use rs_consent::request::{Opening, RequestState};
use rs_consent::store::{Act, ConsentStore};
use rs_consent::{AccessLevel, Consent, Grant, Minutes, Now, RequestNumber, Terms, compat};
use secrecy::{ExposeSecret as _, SecretString};

use crate::casefiles::{self, Paper};
use crate::commands::relay::Side;
use crate::commands::{access, request};
use crate::context::Context;
use crate::control::AgentControl as _;
use crate::network::{self, ProxyArgs};
use crate::outcome::{ErrorCode, Failure, Outcome};
use crate::prompt::{self, Answer, EnterMeans};
use crate::relay_access::RelayAccess;
use crate::state::Role;
use crate::values::{AccessLevelParser, NumberOrFile};
use crate::{credential, explain, files, node};

/// Options by which somebody agrees. They have no environment variable: agreeing is an act, not a setting that a
/// shell could inherit.
pub const CONSENT_OPTIONS: &[&str] = &["agree-to-remote-support-consent", "agree-to-terms"];

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
    /// Agree to the terms without being asked.
    #[arg(long)]
    pub agree_to_remote_support_consent: bool,
    /// Agree to the terms of this version without being asked; refused where the terms are of another version.
    #[arg(long, value_name = "VERSION")]
    pub agree_to_terms: Option<String>,
    /// Let Enter mean Yes, as in the product's own prompt.
    #[arg(long, env = "REMOTE_SUPPORT_COMPAT_PROMPT", value_parser = clap::builder::BoolishValueParser::new())]
    pub compat_prompt: bool,
}

/// Gives consent.
///
/// # Errors
///
/// [`ErrorCode::NoTerminal`] where nobody can be asked and nobody has agreed; [`ErrorCode::Refused`] for terms of
/// another version or a closed request; as [`node::open_store`] and [`files::read_secret`].
pub fn run(args: &EnableArgs, context: &mut Context) -> Result<Outcome, Failure> {
    let requested = context.clock.now();
    let terms = Terms::azure_local();
    let method = method(args, &terms, context)?;
    let credential = credential(args, method, context)?;
    let (number, opening) = support_request(args, context)?;
    if let Some(opening) = &opening
        && request::confirm_desk(opening, args.desk_fingerprint, context)? == Answer::No
    {
        return declined(args, context);
    }
    if agreement(args, method, &terms, context)? == Answer::No {
        return declined(args, context);
    }
    let consent = Consent {
        level: args.access_level,
        minutes: args.expire_in_minutes,
        terms,
        request: number,
        grantor: node::grantor(method),
        catalog: explain::catalog(),
        requested,
    };
    let grant = store(&consent, opening.as_ref(), credential.as_ref(), context)?;
    report(&grant, context)?;
    advise_on_network(context);
    Ok(Outcome::Done)
}

/// How consent is given, if it can be given here at all.
fn method(args: &EnableArgs, terms: &Terms, context: &Context) -> Result<Method, Failure> {
    if let Some(version) =
        args.agree_to_terms.as_deref().filter(|version| *version != terms.version().as_str())
    {
        return Err(Failure::new(ErrorCode::Refused, "the terms agreed to are not the ones in force")
            .about(version)
            .next_step(format!("read the terms of version {} and agree to those", terms.version())));
    }
    if args.agree_to_remote_support_consent || args.agree_to_terms.is_some() {
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
    let now = context.clock.now().wall;
    let end = credential::check(&text, now)?;
    if let Some(end) = end.filter(|end| *end < now + args.expire_in_minutes.delta()) {
        context.note(format!(
            "The relay credential ends at {}, before the consent does; nobody can connect after that.\n",
            compat::print_date(end)
        ));
    }
    Ok(Some(text))
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

fn state_of(number: RequestNumber, context: &Context) -> Result<RequestState, Failure> {
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

/// Shows the terms and what the level permits, and asks, unless the answer was given beforehand.
fn agreement(
    args: &EnableArgs,
    method: Method,
    terms: &Terms,
    context: &mut Context,
) -> Result<Answer, Failure> {
    context.show(terms.text().trim_end())?;
    context.show(format!("\n{}\n", explain::level(args.access_level)))?;
    if method == Method::CommandLine {
        return Ok(Answer::Yes);
    }
    let enter = if args.compat_prompt { EnterMeans::Yes } else { EnterMeans::No };
    let console = &mut context.console;
    Ok(prompt::ask(&mut *console.input, &mut *console.err, compat::QUESTION, HELP, enter)?)
}

/// Nothing is granted. A node that has a store notes in its log that somebody was asked and said No.
fn declined(args: &EnableArgs, context: &mut Context) -> Result<Outcome, Failure> {
    if let Some(store) = node::existing_store(context)? {
        let by = node::grantor(Method::Prompt);
        let act = Act::GrantDeclined { level: args.access_level, minutes: args.expire_in_minutes, by };
        store.note(act, &context.clock.now())?;
    }
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
    context.note(format!("{}\n", compat::ENABLED));
    advise(&store, consent.request, context, &now)?;
    Ok(grant)
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
            "No support request is open, so nobody can connect yet: submit one with `remote-support request submit`, \
             and confirm the desk's opening with `remote-support request confirm`.",
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

fn report(grant: &Grant, context: &mut Context) -> Result<(), Failure> {
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
    let now = context.clock.now();
    let connection = access::Connection::of_agent(context, true);
    context.print_one(&access::record(grant, &connection, &now))
}

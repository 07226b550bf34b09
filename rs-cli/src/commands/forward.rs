//! `forward add|list|remove|run|test`, also called `notify`: tell collectors, programs and people what happens on this node.

mod trial;

use std::path::{Path, PathBuf};

use clap::{Args, Subcommand, ValueEnum};
use rs_session::forward::Format;

use crate::context::Context;
use crate::dry_run::{self, DryRun};
use crate::forwarding::{Collector, Collectors, Letter, MailSecurity, Name, Target, Topic};
use crate::network::{ProxyArgs, Way};
use crate::node;
use crate::outcome::{ErrorCode, Failure, Outcome};
use crate::output::Record;
use crate::platform;
use crate::state::Role;

/// What to do with collectors.
#[derive(Debug, Subcommand)]
pub enum ForwardCommand {
    /// Tell a collector, a program or people from now on what happens: consents, sessions, commands, refusals. Never what a
    /// command printed.
    Add(Box<AddArgs>),
    /// List collectors, how much each was told, and what keeps events from it.
    List,
    /// Tell a collector nothing more.
    Remove(NameArgs),
    /// Deliver now what waits, and return; for a node whose agent does not run.
    Run(RunArgs),
    /// Send each a test event on the way that all events go, and say whether it arrived.
    Test(TestArgs),
}

/// Arguments of `forward add`.
#[derive(Debug, Args)]
pub struct AddArgs {
    /// What to call it: letters, digits, `-` and `_`.
    #[arg(value_name = "NAME")]
    pub name: Name,
    /// Where it is: file:///PATH, syslog+udp://HOST:PORT, syslog+tcp://HOST:PORT, syslog+tls://HOST:PORT, https://HOST/PATH,
    /// program:///PATH (the events on its standard input), smtp://HOST (mail; STARTTLS), smtps://HOST, smtp+clear://HOST,
    /// journal: (systemd), terminals: (of all who are logged in), desktop: (of the account that the agent runs as),
    /// on Windows eventlog:.
    #[arg(long, value_name = "URL", env = "REMOTE_SUPPORT_TO")]
    pub to: String,
    /// In which format [default: syslog for syslog addresses, else json].
    #[arg(long, value_enum, ignore_case = true, value_name = "FORMAT", env = "REMOTE_SUPPORT_FORMAT")]
    pub format: Option<FormatName>,
    /// Tell it also what happened before, as far as it is kept.
    #[arg(long, env = "REMOTE_SUPPORT_FROM_START", value_parser = clap::builder::BoolishValueParser::new())]
    pub from_start: bool,
    /// File with the certificate of the collector's authority, PEM [default: the system's authorities].
    #[arg(long, value_name = "FILE", env = "REMOTE_SUPPORT_COLLECTOR_CA")]
    pub collector_ca: Option<PathBuf>,
    /// File with the webhook's bearer token, mode 0600; it is read when it is needed and not copied.
    #[arg(long, value_name = "FILE", env = "REMOTE_SUPPORT_TOKEN_FILE", hide_env_values = true)]
    pub token_file: Option<PathBuf>,
    /// Of what to tell it: `all`, `notices`, or kinds of events such as session-started,session-ended [default: notices for
    /// programs, mail, terminals and desktop, else all].
    #[arg(long, value_name = "KIND", env = "REMOTE_SUPPORT_ONLY", value_delimiter = ',')]
    pub only: Vec<Topic>,
    /// Address that mail comes from.
    #[arg(long, value_name = "ADDRESS", env = "REMOTE_SUPPORT_MAIL_FROM")]
    pub mail_from: Option<String>,
    /// Address that mail goes to; several with commas.
    #[arg(long, value_name = "ADDRESS", env = "REMOTE_SUPPORT_MAIL_TO", value_delimiter = ',')]
    pub mail_to: Vec<String>,
    /// File with user:password for the mail server, mode 0600; it is read when it is needed and not copied.
    #[arg(long, value_name = "FILE", env = "REMOTE_SUPPORT_MAIL_CREDENTIALS_FILE", hide_env_values = true)]
    pub mail_credentials_file: Option<PathBuf>,
    /// Whether to look only.
    #[command(flatten)]
    pub dry_run: DryRun,
}

/// A format by name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum FormatName {
    /// JSON, one object an event.
    Json,
    /// Syslog by RFC 5424.
    Syslog,
    /// ArcSight's Common Event Format.
    Cef,
    /// Open Cybersecurity Schema Framework.
    Ocsf,
    /// A sentence for people.
    Text,
}

impl From<FormatName> for Format {
    fn from(name: FormatName) -> Self {
        match name {
            FormatName::Json => Self::Json,
            FormatName::Syslog => Self::Syslog,
            FormatName::Cef => Self::Cef,
            FormatName::Ocsf => Self::Ocsf,
            FormatName::Text => Self::Text,
        }
    }
}

/// Arguments of `forward remove`.
#[derive(Debug, Args)]
pub struct NameArgs {
    /// The collector.
    #[arg(value_name = "NAME")]
    pub name: Name,
    /// Whether to look only.
    #[command(flatten)]
    pub dry_run: DryRun,
}

/// Arguments of `forward run`.
#[derive(Debug, Args)]
pub struct RunArgs {
    /// The collector [default: all of them].
    #[arg(value_name = "NAME")]
    pub name: Option<Name>,
    /// How webhooks are reached.
    #[command(flatten)]
    pub proxy: ProxyArgs,
}

/// Arguments of `forward test`.
#[derive(Debug, Args)]
pub struct TestArgs {
    /// Whom to try [default: all of them]. The others get the test event too.
    #[arg(value_name = "NAME")]
    pub name: Option<Name>,
    /// How webhooks are reached, where no agent runs.
    #[command(flatten)]
    pub proxy: ProxyArgs,
}

/// Runs a forward command.
///
/// # Errors
///
/// [`ErrorCode::InvalidValue`] for a name, an address or a combination that cannot be; [`ErrorCode::NotFound`];
/// [`ErrorCode::Unreachable`] where `run` or `test` could not deliver; what keeps files from being used.
pub fn run(command: &ForwardCommand, context: &mut Context) -> Result<Outcome, Failure> {
    match command {
        ForwardCommand::Add(args) => add(args, context),
        ForwardCommand::List => list(context),
        ForwardCommand::Remove(args) => remove(args, context),
        ForwardCommand::Run(args) => deliver(args, context),
        ForwardCommand::Test(args) => trial::run(args, context),
    }
}

fn collectors(context: &Context) -> Collectors {
    Collectors::of(context.state.role(Role::Node))
}

fn add(args: &AddArgs, context: &mut Context) -> Result<Outcome, Failure> {
    let (target, collector) = read(args)?;
    collectors(context).may_add(&args.name)?;
    let record = Record::new()
        .field("Name", args.name.to_string())
        .field("To", collector.to.clone())
        .field("Format", word(collector.format))
        .field("Only", topics(&collector.only))
        .field("FromStart", args.from_start);
    if args.dry_run.dry_run {
        return dry_run::told(record, context);
    }
    context.state.role(Role::Node).ensure()?;
    collectors(context).add(&args.name, &collector, args.from_start, node::name().as_str())?;
    context.print_one(&record)?;
    if target.is_in_the_clear() {
        context.note("Others on the way can read and change what is sent there; syslog+tls, https, smtp and smtps keep it from them.");
    }
    context.note(format!(
        "The agent tells it from now on. Try it with `remote-support notify test {0}`, see how it gets on with \
         `remote-support notify list`.",
        args.name
    ));
    Ok(Outcome::Done)
}

/// What the arguments say, checked: what is wrong with addresses and files is said now, not to a log later.
fn read(args: &AddArgs) -> Result<(Target, Collector), Failure> {
    let invalid =
        |what: String, about: &str| Failure::new(ErrorCode::InvalidValue, what).about(about.to_owned());
    let target: Target =
        args.to.parse().map_err(|why| invalid(format!("the address of the collector: {why}"), "--to"))?;
    if args.token_file.is_some() && !matches!(target, Target::Webhook(_, true)) {
        return Err(invalid("a token is sent to webhooks over TLS only".to_owned(), "--token-file"));
    }
    if args.collector_ca.is_some() && !target.is_over_tls() {
        return Err(invalid(
            "an authority is of use only with syslog+tls, https, smtp and smtps".to_owned(),
            "--collector-ca",
        ));
    }
    if args.format.is_some() && target.has_one_format() {
        return Err(invalid("what is told there has a format of its own".to_owned(), "--format"));
    }
    if target == Target::EventLog && !cfg!(windows) {
        return Err(invalid("only Windows has an event log".to_owned(), "--to"));
    }
    if let Some(path) = &args.token_file {
        crate::files::read_secret(path)?;
    }
    if let Target::Program(path) = &target {
        platform::check_program(path)?;
    }
    let collector = Collector {
        to: args.to.clone(),
        format: args.format.map_or_else(|| target.usual_format(), Format::from),
        ca: args.collector_ca.as_deref().map(absolute).transpose()?,
        token_file: args.token_file.as_deref().map(absolute).transpose()?,
        letter: letter(args, &target)?,
        only: if args.only.is_empty() { target.usual_topics() } else { args.only.clone() },
    };
    Ok((target, collector))
}

fn absolute(path: &Path) -> Result<PathBuf, Failure> {
    std::path::absolute(path).map_err(|error| Failure::io(path, "find the file", error))
}

/// Who writes to whom, where it is mail.
fn letter(args: &AddArgs, target: &Target) -> Result<Option<Letter>, Failure> {
    let invalid = |what: &str, about: &str| {
        Err(Failure::new(ErrorCode::InvalidValue, what.to_owned()).about(about.to_owned()))
    };
    let Target::Mail(server) = target else {
        let given =
            args.mail_from.is_some() || !args.mail_to.is_empty() || args.mail_credentials_file.is_some();
        return if given { invalid("only mail has a sender and recipients", "--mail-to") } else { Ok(None) };
    };
    let Some(from) = args.mail_from.clone() else {
        return invalid("mail has a sender: say --mail-from ADDRESS", "--mail-from");
    };
    if args.mail_credentials_file.is_some() && matches!(server.security, MailSecurity::None) {
        return invalid("a password is sent to mail servers over TLS only", "--mail-credentials-file");
    }
    if let Some(path) = &args.mail_credentials_file {
        crate::files::read_secret(path)?;
    }
    let credentials_file = args.mail_credentials_file.as_deref().map(absolute).transpose()?;
    let letter = Letter { from, to: args.mail_to.clone(), credentials_file };
    letter.addresses()?;
    Ok(Some(letter))
}

fn word(format: Format) -> String {
    serde_json::to_value(format).ok().and_then(|word| word.as_str().map(str::to_owned)).unwrap_or_default()
}

fn topics(only: &[Topic]) -> String {
    if only.is_empty() {
        return Topic::All.to_string();
    }
    only.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}

fn list(context: &mut Context) -> Result<Outcome, Failure> {
    let collectors = collectors(context);
    let mut records = Vec::new();
    for name in collectors.names()? {
        let collector = collectors.read(&name)?;
        let cursor = collectors.cursor(&name)?.unwrap_or_default();
        records.push(
            Record::new()
                .field("Name", name.to_string())
                .field("To", collector.to)
                .field("Format", word(collector.format))
                .field("Only", topics(&collector.only))
                .field("Delivered", cursor.delivered)
                .field("DeliveredAt", cursor.delivered_at)
                .field("Trouble", collectors.trouble(&name)),
        );
    }
    context.print_all(&records)?;
    if records.is_empty() {
        context
            .note("Nobody is told anything. Add a collector, a program or people with `remote-support notify add NAME --to URL`.");
    }
    Ok(Outcome::Done)
}

fn remove(args: &NameArgs, context: &mut Context) -> Result<Outcome, Failure> {
    let name = &args.name;
    let record = |removed| Record::new().field("Name", name.to_string()).field("Removed", removed);
    if args.dry_run.dry_run {
        collectors(context).may_remove(name)?;
        return dry_run::told(record(false), context);
    }
    collectors(context).remove(name)?;
    context.print_one(&record(true))?;
    context.note(format!("The collector {name} is told nothing more."));
    Ok(Outcome::Done)
}

fn deliver(args: &RunArgs, context: &mut Context) -> Result<Outcome, Failure> {
    // Where no agent runs nobody else enters what commands did.
    node::settle(context)?;
    let collectors = collectors(context);
    let way = args.proxy.way()?;
    let names = args.name.clone().map_or_else(|| collectors.names(), |name| Ok(vec![name]))?;
    let mut records = Vec::new();
    let mut failed: Option<Failure> = None;
    for name in &names {
        match drain(&collectors, name, &way, context) {
            Ok(delivered) => {
                records.push(Record::new().field("Name", name.to_string()).field("Delivered", delivered));
            }
            Err(failure) if names.len() == 1 => return Err(failure),
            Err(failure) => {
                context.note(failure.in_a_line());
                failed = Some(failure);
            }
        }
    }
    context.print_all(&records)?;
    match failed {
        Some(failure) if records.is_empty() => Err(failure),
        Some(_) => Ok(Outcome::Partial),
        None => Ok(Outcome::Done),
    }
}

/// Delivers what waits for one; returns how many events that were.
///
/// Not as root for the agent of another account: what is kept of collectors belongs to that account, and would have root run
/// the programs and send the secrets that the account names.
fn drain(collectors: &Collectors, name: &Name, way: &Way, context: &Context) -> Result<u64, Failure> {
    if platform::works_as().is_some() {
        return Err(Failure::new(
            ErrorCode::Refused,
            "root delivers nothing for the agent of another account",
        )
        .about(name.to_string())
        .next_step("start the agent, which delivers; nothing is lost"));
    }
    let mut pump =
        collectors.pump(name, node::name().as_str(), way, std::sync::Arc::clone(&context.clock))?;
    let delivered = Context::block_on(async {
        pump.drain().await.map_err(|error| {
            Failure::new(ErrorCode::Unreachable, "events could not be delivered")
                .about(name.to_string())
                .because(error)
                .next_step("nothing is lost; try again, or leave it to the agent")
        })
    })?;
    collectors.set_trouble(name, None);
    Ok(delivered)
}

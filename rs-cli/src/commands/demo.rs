//! `demo`: the whole path on this machine in one command.
//!
//! Relay, agent, desk and engineer run here with the same parts as in real use: the relay speaks TLS on a real port, the
//! agent has its store, its control socket and its record files in a fresh directory, operations run in processes of
//! their own, and every command is the command that a person would type.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use clap::Args;
use rs_session::client::ClientEvent;
use rs_session::history::{self, SessionSummary};
use rs_session::protocol::Form;
use rs_session::record::{Content, Trust, Verdict, verify_opened};

use crate::agent::{Agent, AgentSettings};
use crate::commands::connect::{Came, Joining, join, permitted, run_line};
use crate::commands::relay_serve::RunningRelay;
use crate::commands::{self, operation_worker};
use crate::context::Context;
use crate::keys;
use crate::network::Way;
use crate::outcome::{ErrorCode, Exit, Failure, Outcome};
use crate::relay_access::{AUTHORITY_NAME, RelayAccess, Side};
use crate::state::{Role, StateDir};
use crate::storage::StorageOptions;

/// How long the demo waits for the node to be connected to its relay.
const CONNECTED_WAIT: Duration = Duration::from_secs(15);

/// Arguments of `demo`.
#[derive(Debug, Args)]
pub struct DemoArgs {
    /// Keep the directory with all keys and records, to look at afterwards.
    #[arg(long, env = "REMOTE_SUPPORT_KEEP", value_parser = clap::builder::BoolishValueParser::new())]
    pub keep: bool,
}

/// Runs it in a fresh directory, which is removed at the end.
///
/// # Errors
///
/// Whatever goes wrong on the way: the demo has no step that may fail quietly.
pub fn run(args: &DemoArgs, context: &mut Context) -> Result<Outcome, Failure> {
    let directory =
        std::env::temp_dir().join(format!("remote-support-demo-{}", uuid::Uuid::new_v4().simple()));
    let state = std::mem::replace(&mut context.state, StateDir::new(Some(directory.join("state")))?);
    let key_file = Some(directory.join("storage.key"));
    let options = StorageOptions { key_file, ..StorageOptions::default() };
    let storage = std::mem::replace(&mut context.storage, options);
    let interactive = std::mem::replace(&mut context.console.interactive, false);
    // One stream for everything, so that what is said and what is shown stay in their order.
    let errors = std::mem::replace(&mut context.console.err, Box::new(std::io::stdout()));
    let outcome = Context::block_on(story(context));
    context.console.err = errors;
    context.state = state;
    context.storage = storage;
    context.console.interactive = interactive;
    if args.keep {
        context.note(format!("Everything is kept in {}.", directory.display()));
    } else {
        std::fs::remove_dir_all(&directory)
            .map_err(|error| Failure::io(&directory, "remove the directory", error))?;
    }
    outcome.map(|()| Outcome::Done)
}

/// A heading, and in a line what is to be seen.
fn scene(context: &mut Context, number: u32, title: &str) -> Result<(), Failure> {
    context.show(format!("\n=== {number}. {title}\n"))
}

async fn story(context: &mut Context) -> Result<(), Failure> {
    scene(context, 1, "A relay, and the agent of this node")?;
    let listen = std::net::SocketAddr::from(([127, 0, 0, 1], 0));
    let relay = RunningRelay::start(&context.state, listen, &[]).await?;
    let agent = start_agent(context).await?;
    context.show("Both run. Without a consent the agent is connected to nothing.")?;

    scene(context, 2, "The owner asks for support; the desk answers and assigns an engineer")?;
    paperwork(context)?;

    scene(context, 3, "The owner reads the terms and gives consent")?;
    call(context, &["Enable-RemoteSupport", "-AccessLevel", "Diagnostics", "-AgreeToRemoteSupportConsent"])?;

    scene(context, 4, "The engineer connects, and looks at this machine")?;
    wait_until_connected(&agent, context).await?;
    look_around(context).await?;

    scene(context, 5, "The owner revokes while an operation runs")?;
    revoke_in_the_middle(context).await?;

    scene(context, 6, "Nobody gets in any more")?;
    refused_afterwards(context).await?;

    scene(context, 7, "What is on record")?;
    let session = on_record(context)?;

    scene(context, 8, "The record is verified, and a tampered copy is found out")?;
    verified_and_tampered(&session, context)?;

    agent.stop().await;
    relay.stop(Duration::from_secs(1)).await;
    context.show("\nThat was the whole path. For the real thing, in four terminals, see README.md.")
}

/// The demo's own relay, by its own authority and no other.
fn own_relay(context: &Context, side: Side) -> RelayAccess {
    let authority = context.state.role(Role::Relay).file(AUTHORITY_NAME);
    RelayAccess::new(&context.state, side, None, Some(&authority), Way::direct())
}

async fn start_agent(context: &Context) -> Result<Agent, Failure> {
    let settings = AgentSettings {
        state: context.state.clone(),
        storage: context.storage.clone(),
        relay: own_relay(context, Side::Listen),
        worker: operation_worker::program()?,
        root_part: None,
        clock: Arc::clone(&context.clock),
    };
    Ok(Agent::start(settings).await?.0)
}

/// Runs commands of this program as a person would type them, one after the other.
fn paperwork(context: &mut Context) -> Result<(), Failure> {
    let requests = context.state.role(Role::Node).ensure_inner("requests")?;
    let file = requests.join("for-the-desk.json").display().to_string();
    for line in [
        &["request", "submit", "--reason", "A volume does not mount", "--file", &file][..],
        &["desk", "init", "--desk-name", "Demo Support"],
        &["desk", "open"],
        &["engineer", "init"],
        &["desk", "assign", "--engineer", "engineer@support.example"],
    ] {
        step(context, line)?;
    }
    Ok(())
}

/// Shows a command line, then does what it says.
fn run_now(context: &mut Context, words: &[&str]) -> Result<Outcome, Failure> {
    let shown: Vec<String> = words
        .iter()
        .map(|word| if word.contains(' ') { format!("'{word}'") } else { (*word).to_owned() })
        .collect();
    context.show(format!("\n$ remote-support {}", shown.join(" ")))?;
    let words = std::iter::once("remote-support").chain(words.iter().copied());
    let command = crate::parse_words(words.map(Into::into))?;
    commands::run(command, context)
}

/// As [`run_now`], for commands that must succeed.
fn step(context: &mut Context, words: &[&str]) -> Result<(), Failure> {
    match run_now(context, words)? {
        Outcome::Done => Ok(()),
        other => {
            Err(Failure::new(ErrorCode::Internal, format!("`{}` ended with {other:?}", words.join(" "))))
        }
    }
}

/// As [`step`], for commands that call the agent: they wait for its answer while the agent goes on beside them.
fn call(context: &mut Context, words: &[&str]) -> Result<(), Failure> {
    tokio::task::block_in_place(|| step(context, words))
}

async fn wait_until_connected(agent: &Agent, context: &mut Context) -> Result<(), Failure> {
    let since = Instant::now();
    loop {
        let status = agent.status();
        if status.connection_status == "Connected" {
            return context.show(format!(
                "The node connected to its relay {} ms after the consent.\n",
                since.elapsed().as_millis()
            ));
        }
        if since.elapsed() > CONNECTED_WAIT {
            let trouble = status.connection_error_message.unwrap_or_default();
            return Err(
                Failure::new(ErrorCode::Unreachable, "the node did not reach its relay").because(trouble)
            );
        }
        // The agent says how it is connected to those who ask.
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

async fn join_here(
    context: &Context,
) -> Result<rs_session::client::Client<rs_relay::client::RelayStream>, Failure> {
    let access = own_relay(context, Side::Send);
    join(Joining::load(None, access, context)?).await
}

async fn look_around(context: &mut Context) -> Result<(), Failure> {
    let mut client = join_here(context).await?;
    let welcome = client.welcome().clone();
    context.show(format!(
        "Connected to {} at level {}; {}.",
        welcome.node_name,
        welcome.level,
        permitted(&welcome.operations)
    ))?;
    let prompt = format!("[{}] {}> ", welcome.node_name, welcome.level);
    for line in [
        "Get-Date",
        "Get-Process | Sort-Object WorkingSet -Descending | Select-Object -First 5",
        "Get-NetIPAddress | Format-Table IPAddress, InterfaceAlias, PrefixLength",
        "Get-Volume",
        "Stop-Service -Name ssh",
        "Get-Process; rm -rf /",
    ] {
        context.show(format!("\n{prompt}{line}"))?;
        if let Came::Ended(exit) = run_line(&mut client, line, context).await? {
            return Err(Failure::new(ErrorCode::Internal, format!("the session ended too early ({exit:?})")));
        }
    }
    commands::connect::leave(&mut client, context).await
}

async fn revoke_in_the_middle(context: &mut Context) -> Result<(), Failure> {
    let mut client = join_here(context).await?;
    let line = "Test-Observability -Seconds 600";
    context.show(format!("The engineer starts an operation of ten minutes:\n\n{line}"))?;
    client
        .invoke(line, Form::Text, None)
        .await
        .map_err(|error| Failure::new(ErrorCode::Unreachable, "the line could not be sent").because(error))?;
    let mut seen = 0;
    while seen < 2 {
        if let ClientEvent::Record { content: Some(Content::Output(output)), .. } =
            client.next().await.map_err(commands::connect::cut)?
        {
            seen += 1;
            if let rs_session::record::OutputData::Text(text) = output.data {
                context.show(text.trim_end())?;
            }
        }
    }
    let revoked = Instant::now();
    call(context, &["Disable-RemoteSupport"])?;
    let returned = revoked.elapsed();
    let ended = loop {
        match client.next().await.map_err(commands::connect::cut)? {
            ClientEvent::Ended { cause, .. } => break cause,
            ClientEvent::Record { content: Some(Content::End(_)), .. } => {}
            _ => {}
        }
    };
    context.show(format!(
        "\nThe engineer's session ended ({ended}). From the revoke to its return, all work dead and the channel closed: {} ms.",
        returned.as_millis()
    ))
}

async fn refused_afterwards(context: &mut Context) -> Result<(), Failure> {
    match join_here(context).await {
        Ok(_) => Err(Failure::new(ErrorCode::Internal, "an engineer got in after the revoke")),
        Err(failure) if matches!(failure.exit(), Exit::Refused | Exit::Unreachable) => {
            context.show(format!("The engineer tries again: {failure}"))
        }
        Err(failure) => Err(failure),
    }
}

fn records(context: &Context) -> PathBuf {
    crate::records::folder(&context.state)
}

fn on_record(context: &mut Context) -> Result<SessionSummary, Failure> {
    let unreadable = |error| Failure::new(ErrorCode::Io, "the history cannot be read").because(error);
    step(context, &["Get-RemoteSupportSessionHistory"])?;
    let now = context.clock.now().wall;
    let sessions = history::sessions(&records(context), now - chrono::TimeDelta::days(1), now, &None);
    let last = sessions.map_err(unreadable)?.pop();
    let last = last.ok_or_else(|| Failure::new(ErrorCode::NotFound, "no session is on record"))?;
    let id = last.session_id.to_string();
    context.show("\nThe transcript of the session that was cut short:")?;
    step(context, &["Get-RemoteSupportSessionHistory", "-IncludeSessionTranscript", "-SessionId", &id])?;
    Ok(last)
}

fn verified_and_tampered(session: &SessionSummary, context: &mut Context) -> Result<(), Failure> {
    step(context, &["session", "verify", &session.session_id.to_string()])?;
    let copy = context.state.root().join("tampered.record");
    let record = tamper(&session.record, &copy)?;
    context.show(format!("\nOne byte of record {record} is changed in a copy:"))?;
    let outcome = run_now(context, &["session", "verify", &copy.display().to_string()]);
    let exit = match &outcome {
        Ok(outcome) => outcome.exit(),
        Err(failure) => failure.exit(),
    };
    if let Err(failure) = &outcome {
        context.show(failure.to_string())?;
    }
    let key = keys::load_public(&context.state, Role::Node)?.map_or(Trust::Recorded, Trust::Node);
    let bytes = std::fs::read(&copy).map_err(|error| Failure::io(&copy, "read the copy", error))?;
    let report = verify_opened(&bytes[..], key, &BTreeMap::new(), context.content_key());
    let found = report.findings.first().and_then(|finding| finding.record);
    if exit != Exit::Integrity || report.verdict != Verdict::Broken || found != Some(record) {
        return Err(Failure::new(
            ErrorCode::Internal,
            "the tampered copy was not found out where it was tampered with",
        ));
    }
    context.show(format!("Found out at record {record}, with exit code {}.", exit as u8))
}

/// Copies a record file and flips one bit in the middle of it; returns the number of the record that it is in.
fn tamper(from: &Path, to: &Path) -> Result<u64, Failure> {
    let mut bytes = std::fs::read(from).map_err(|error| Failure::io(from, "read the record", error))?;
    let middle = bytes.len() / 2;
    let mut reader = rs_session::record::FrameReader::new(&bytes[..])
        .map_err(|error| Failure::new(ErrorCode::Integrity, "the record cannot be read").because(error))?;
    let mut record = 0;
    while reader.offset() <= middle as u64 {
        match reader.next_frame() {
            Ok(Some(frame)) => record = frame.skeleton().sequence,
            _ => break,
        }
    }
    if let Some(byte) = bytes.get_mut(middle) {
        *byte ^= 1;
    }
    std::fs::write(to, bytes).map_err(|error| Failure::io(to, "write the copy", error))?;
    Ok(record)
}

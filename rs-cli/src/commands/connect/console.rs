//! The interactive console: a line editor with completion and history, beside a session that can end at any moment.
//!
//! The editor blocks, so it has a thread of its own; lines come over a channel. When the session ends while a line is
//! being typed, the terminal is put back as it was and the program leaves.

use std::time::{Duration, Instant};

use rs_consent::EndCause;
use rs_relay::client::RelayStream;
use rs_session::client::{Client, ClientEvent};
use rs_session::operations::complete;
use rs_session::protocol::{Offered, Takes};
use rs_session::record::Content;
use rs_session::redact::{Commitments, MaskKey, Rules};
use rustyline::completion::{Completer, Pair};
use rustyline::config::Configurer as _;
use rustyline::error::ReadlineError;
use rustyline::highlight::Highlighter;
use rustyline::hint::Hinter;
use rustyline::history::DefaultHistory;
use rustyline::validate::Validator;
use rustyline::{Editor, ExternalPrinter as _, Helper};
use tokio::sync::mpsc;
use uuid::Uuid;

use super::show::{self, Came, run_line_watched};
use crate::context::Context;
use crate::outcome::{ErrorCode, Exit, Failure, Outcome};
use crate::output;
use crate::platform::TerminalState;
use crate::signals::Stops;
use crate::state::Role;
use crate::terminal::frame::Size;

/// Lines that the history keeps.
const HISTORY_LINES_MAX: usize = 1000;
/// Longest time that the answer to a ping may take, before the prompt comes without it.
const LATENCY_WAIT: Duration = Duration::from_secs(2);
/// What is left of the time when the engineer is warned.
const WARN_AT: [Duration; 2] = [Duration::from_secs(600), Duration::from_secs(60)];
/// What the goodbye may take where the program is told to stop.
const LEAVE_WAIT: Duration = Duration::from_secs(2);

/// What the editor's thread sends.
enum Typed {
    Line(String),
    Leave,
}

/// Reads lines until the engineer leaves or the session ends. With `paged` long results come a screenful at a time.
pub(super) async fn run(
    client: &mut Client<RelayStream>,
    paged: bool,
    context: &mut Context,
) -> Result<Outcome, Failure> {
    context.note(
        "Tab completes, Ctrl-C interrupts a running line and not the session, `help` lists what is permitted, `exit` or \
         Ctrl-D leaves.",
    );
    let mut stops = Stops::but_interrupts();
    let terminal = TerminalState::save();
    let outcome = tokio::select! {
        outcome = converse(client, paged, context) => Some(outcome),
        () = stops.next() => None,
    };
    terminal.restore();
    if let Some(outcome) = outcome {
        return outcome;
    }
    context.note("Told to stop: the session is left.");
    // A node that says nothing does not hold up the end.
    match tokio::time::timeout(LEAVE_WAIT, show::leave(client, context)).await {
        Ok(left) => left.map(|()| Outcome::Done),
        Err(_) => Ok(Outcome::Exit(Exit::Unreachable)),
    }
}

async fn converse(
    client: &mut Client<RelayStream>,
    paged: bool,
    context: &mut Context,
) -> Result<Outcome, Failure> {
    let mut editor = LineEditor::start(client.welcome().operations.clone(), context)?;
    let mut warnings = Warnings::new(client.remaining());
    loop {
        let latency = match latency(client).await? {
            Answered::After(latency) => latency,
            Answered::Ended(cause, message) => {
                return Ok(Outcome::Exit(show::ended(cause, &message, context)));
            }
        };
        let welcome = client.welcome();
        let prompt = prompt(&welcome.node_name, welcome.level.as_str(), client.remaining(), latency);
        if !editor.ask(prompt) {
            break;
        }
        let line = loop {
            let until_warning = warnings.wait(client.remaining());
            tokio::select! {
                line = editor.typed.recv() => break line,
                event = client.next() => match event.map_err(show::cut)? {
                    ClientEvent::Ended { cause, message } => {
                        context.note("");
                        return Ok(Outcome::Exit(show::ended(cause, &message, context)));
                    }
                    ClientEvent::Record { content: Some(Content::Note(note)), .. } => {
                        editor.say(&format!("note: {}", note.text));
                    }
                    _ => {}
                },
                // A timer: the engineer is told some time before the session ends.
                () = tokio::time::sleep(until_warning) => {
                    if let Some(warning) = warnings.due(client.remaining()) {
                        editor.say(&warning);
                    }
                }
            }
        };
        match line {
            Some(Typed::Line(line)) if line.trim().is_empty() => {}
            Some(Typed::Line(line)) => {
                let size = Size::of_terminal();
                context.console.columns = size.columns;
                let paged = (paged && context.console.full_screen).then_some(size);
                let came = run_line_watched(client, &line, paged, context).await?;
                if let Came::Ended(exit) = came {
                    return Ok(Outcome::Exit(exit));
                }
                if let Some(warning) = warnings.due(client.remaining()) {
                    context.note(warning);
                }
            }
            Some(Typed::Leave) | None => break,
        }
    }
    show::leave(client, context).await?;
    Ok(Outcome::Done)
}

/// `[node Diagnostics 7 h 41 min, 12 ms] PS> `: where, at which level, what is left of the time, and what a round trip takes.
fn prompt(node: &str, level: &str, left: Duration, latency: Option<Duration>) -> String {
    let left = output::span(chrono::TimeDelta::from_std(left).unwrap_or_default());
    let latency = latency.map_or_else(
        || format!("> {} s", LATENCY_WAIT.as_secs()),
        |latency| format!("{} ms", latency.as_millis()),
    );
    format!("[{} {level} {left}, {latency}] PS> ", output::safe(node))
}

enum Answered {
    /// After so long; none for a node that did not answer in time.
    After(Option<Duration>),
    /// The session ended instead.
    Ended(EndCause, String),
}

/// What a round trip to the node takes at present.
async fn latency(client: &mut Client<RelayStream>) -> Result<Answered, Failure> {
    let since = Instant::now();
    // Any number that an answer from before does not have.
    let token = u64::try_from(client.remaining().as_nanos()).unwrap_or(u64::MAX);
    // A channel that is closed has its end record on the way.
    let _ = client.ping(token).await;
    let deadline = tokio::time::Instant::now() + LATENCY_WAIT;
    while let Ok(event) = tokio::time::timeout_at(deadline, client.next()).await {
        match event.map_err(show::cut)? {
            ClientEvent::Pong { token: answered } if answered == token => {
                return Ok(Answered::After(Some(since.elapsed())));
            }
            ClientEvent::Ended { cause, message } => return Ok(Answered::Ended(cause, message)),
            _ => {}
        }
    }
    Ok(Answered::After(None))
}

/// Tells once at each mark of [`WARN_AT`] that the time will be over.
#[derive(Debug)]
struct Warnings {
    /// The marks that are still to come, the next one last.
    marks: Vec<Duration>,
}

impl Warnings {
    /// A session that begins behind a mark is not told of it: the prompt shows what is left.
    fn new(left: Duration) -> Self {
        let mut marks: Vec<Duration> = WARN_AT.into_iter().filter(|mark| *mark < left).collect();
        marks.sort_unstable();
        Self { marks }
    }

    /// Until the next mark; practically for ever where there is none.
    fn wait(&self, left: Duration) -> Duration {
        self.marks.last().map_or(Duration::from_secs(86_400), |mark| left.saturating_sub(*mark))
    }

    /// The warning, when a mark has been reached since the last call.
    fn due(&mut self, left: Duration) -> Option<String> {
        let before = self.marks.len();
        self.marks.retain(|mark| *mark < left);
        (self.marks.len() < before).then(|| {
            let left = output::span(chrono::TimeDelta::from_std(left).unwrap_or_default());
            format!("The consent ends in {left}; the session ends with it.")
        })
    }
}

/// The editor, on a thread of its own, since it blocks.
struct LineEditor {
    asks: std::sync::mpsc::Sender<String>,
    typed: mpsc::UnboundedReceiver<Typed>,
    /// Prints above the line that is being typed.
    above: Option<Box<dyn FnMut(String) + Send>>,
}

impl LineEditor {
    fn start(operations: Vec<Offered>, context: &Context) -> Result<Self, Failure> {
        let no_editor =
            |error: ReadlineError| Failure::new(ErrorCode::Io, "the terminal cannot be used").because(error);
        let mut editor: Editor<Completion, DefaultHistory> = Editor::new().map_err(no_editor)?;
        editor.set_max_history_size(HISTORY_LINES_MAX).map_err(no_editor)?;
        editor.set_helper(Some(Completion::new(operations)));
        let history = context.state.role(Role::Engineer).file("history");
        // The first time there is none.
        let _ = editor.load_history(&history);
        // Without one, what is to be said is said below the line.
        let above = editor.create_external_printer().ok().map(|mut printer| {
            Box::new(move |text: String| {
                let _ = printer.print(text);
            }) as Box<dyn FnMut(String) + Send>
        });
        let (asks, prompts) = std::sync::mpsc::channel::<String>();
        let (typed, lines) = mpsc::unbounded_channel();
        std::thread::spawn(move || {
            while let Ok(prompt) = prompts.recv() {
                let answer = match editor.readline(&prompt) {
                    Ok(line) => {
                        if may_be_kept(&line) {
                            let _ = editor.add_history_entry(&line);
                            let _ = editor.save_history(&history);
                        }
                        Typed::Line(line)
                    }
                    Err(ReadlineError::Interrupted) => Typed::Line(String::new()),
                    Err(_) => Typed::Leave,
                };
                if typed.send(answer).is_err() {
                    break;
                }
            }
        });
        Ok(Self { asks, typed: lines, above })
    }

    /// Begins to read a line; false where the editor is gone.
    fn ask(&self, prompt: String) -> bool {
        self.asks.send(prompt).is_ok()
    }

    /// Says something while a line is being typed.
    fn say(&mut self, text: &str) {
        if let Some(above) = &mut self.above {
            above(format!("{}\n", output::safe_lines(text)));
        }
    }
}

/// Whether a line may stand in the history: one in which a secret is seen may not, nor one that begins with a blank, by
/// which an engineer says so themselves.
fn may_be_kept(line: &str) -> bool {
    let mut nowhere = Commitments::new(MaskKey::from_bytes([0; 32]), Uuid::nil());
    !line.starts_with(char::is_whitespace) && Rules::known().mask(line, &mut nowhere).masked.is_empty()
}

/// Completes what the node offered: commands, parameters, fixed values and names of properties.
struct Completion {
    operations: Vec<Offered>,
}

impl Completion {
    /// The node sends the names, and the editor prints them as they are: only those that are plain words are taken.
    fn new(mut operations: Vec<Offered>) -> Self {
        operations.retain(|one| is_word(&one.name));
        for one in &mut operations {
            one.aliases.retain(|name| is_word(name));
            one.properties.retain(|name| is_word(name));
            one.parameters.retain(|parameter| is_word(&parameter.name));
            for parameter in &mut one.parameters {
                if let Takes::Words(words) = &mut parameter.takes {
                    words.retain(|word| is_word(word));
                }
            }
        }
        Self { operations }
    }

    fn candidates(&self, before: &str) -> (usize, Vec<String>) {
        let found = complete(before, &self.operations);
        (found.start, found.words)
    }
}

fn is_word(name: &str) -> bool {
    !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_')
}

impl Completer for Completion {
    type Candidate = Pair;

    fn complete(
        &self,
        line: &str,
        position: usize,
        _context: &rustyline::Context<'_>,
    ) -> rustyline::Result<(usize, Vec<Pair>)> {
        let (start, names) = self.candidates(line.get(..position).unwrap_or(line));
        Ok((start, names.into_iter().map(|name| Pair { display: name.clone(), replacement: name }).collect()))
    }
}

impl Hinter for Completion {
    type Hint = String;
}

impl Highlighter for Completion {}
impl Validator for Completion {}
impl Helper for Completion {}

#[cfg(test)]
mod tests {
    use rs_consent::AccessLevel;
    use rs_session::operations::{Context, offered};
    use rs_session::protocol::OfferedParameter;

    use super::*;

    fn completion() -> Completion {
        let mut own = offered(&Context::new(AccessLevel::Diagnostics));
        let hostile = "Get-P\u{1b}]0;owned\u{7}";
        own.push(Offered {
            parameters: vec![OfferedParameter { name: hostile.into(), ..OfferedParameter::default() }],
            properties: vec![hostile.into()],
            ..Offered::named("Get-Properly")
        });
        own.push(Offered::named(hostile));
        Completion::new(own)
    }

    #[test]
    fn e04_commands_parameters_values_and_properties_complete_without_regard_to_case() {
        let completion = completion();
        for (line, start, expected) in [
            ("get-proc", 0, &["Get-Process"][..]),
            ("Get-Process | so", 14, &["Sort-Object"]),
            ("Get-Process|so", 12, &["Sort-Object"]),
            ("Get-Process -n", 12, &["-Name"]),
            ("Get-Process | sort c", 19, &["CPU"]),
            ("Get-Date -DisplayHint t", 22, &["Time"]),
            ("help get-da", 5, &["Get-Date"]),
        ] {
            let expected: Vec<String> = expected.iter().map(|&word| word.to_owned()).collect();
            assert_eq!(completion.candidates(line), (start, expected), "{line}");
        }
    }

    #[test]
    fn e12_the_prompt_has_time_and_latency_and_no_control_characters() {
        let (left, latency) = (Duration::from_secs(27_660), Duration::from_millis(12));
        assert_eq!(
            prompt("node-01", "Diagnostics", left, Some(latency)),
            "[node-01 Diagnostics 7 h 41 min, 12 ms] PS> "
        );
        assert_eq!(
            prompt("n\u{1b}[2J", "Diagnostics", Duration::ZERO, None),
            "[n\\u{1b}[2J Diagnostics 0 s, > 2 s] PS> "
        );
    }

    #[test]
    fn u08_each_warning_comes_once_and_none_for_what_was_short_from_the_start() {
        let minutes = |minutes: u64| Duration::from_secs(minutes * 60);
        let mut warnings = Warnings::new(minutes(480));
        assert_eq!(warnings.wait(minutes(480)), minutes(470));
        assert_eq!(warnings.due(minutes(11)), None);
        let told = warnings.due(minutes(10));
        assert_eq!(told.as_deref(), Some("The consent ends in 10 min; the session ends with it."));
        assert_eq!(warnings.due(minutes(9)), None);
        assert_eq!(warnings.wait(minutes(9)), minutes(8));
        assert!(warnings.due(Duration::from_secs(30)).is_some());
        assert_eq!(warnings.due(Duration::ZERO), None);
        assert_eq!(Warnings::new(minutes(5)).marks, [minutes(1)]);
    }

    #[test]
    fn sec33_lines_with_secrets_do_not_reach_the_history() {
        for (line, kept) in [
            ("Get-Process -Name ssh", true),
            (" Get-Process", false),
            ("Set-Thing -Password hunter2hunter2", false),
            (
                "x Endpoint=sb://r.example/;SharedAccessKeyName=n;SharedAccessKey=c2VjcmV0c2VjcmV0c2VjcmV0",
                false,
            ),
        ] {
            assert_eq!(may_be_kept(line), kept, "{line}");
        }
    }

    #[test]
    fn sec37_names_of_a_hostile_node_do_not_reach_the_terminal() {
        let completion = completion();
        for line in ["", "Get-P", "Get-Properly -", "Get-Properly | sort "] {
            let (_, words) = completion.candidates(line);
            assert!(words.iter().all(|word| !word.contains('\u{1b}')), "{line}: {words:?}");
        }
    }
}

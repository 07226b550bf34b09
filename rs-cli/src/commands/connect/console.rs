//! The interactive console: a line editor with completion and history, beside a session that can end at any moment.
//!
//! The editor blocks, so it has a thread of its own; lines come over a channel. When the session ends while a line is
//! being typed, the terminal is put back as it was and the program leaves.

use rs_relay::client::RelayStream;
use rs_session::client::{Client, ClientEvent};
use rs_session::protocol::Offered;
use rustyline::completion::{Completer, Pair};
use rustyline::config::Configurer as _;
use rustyline::error::ReadlineError;
use rustyline::highlight::Highlighter;
use rustyline::hint::Hinter;
use rustyline::history::DefaultHistory;
use rustyline::validate::Validator;
use rustyline::{Editor, Helper};
use tokio::sync::{mpsc, oneshot};

use super::show::{self, Came, run_line};
use crate::context::Context;
use crate::outcome::{ErrorCode, Failure, Outcome};
use crate::platform::TerminalState;
use crate::state::Role;

/// Lines that the history keeps.
const HISTORY_LINES_MAX: usize = 1000;

/// What the editor's thread sends.
enum Typed {
    Line(String),
    Leave,
}

/// Reads lines until the engineer leaves or the session ends.
pub(super) async fn run(client: &mut Client<RelayStream>, context: &mut Context) -> Result<Outcome, Failure> {
    context.note("Tab completes, Ctrl-C interrupts a running line, `exit` or Ctrl-D leaves.");
    let terminal = TerminalState::save();
    let outcome = converse(client, context).await;
    terminal.restore();
    outcome
}

async fn converse(client: &mut Client<RelayStream>, context: &mut Context) -> Result<Outcome, Failure> {
    let prompt =
        format!("[{}] {}> ", crate::output::safe(&client.welcome().node_name), client.welcome().level);
    let (asks, typed) = start_editor(client.welcome().operations.clone(), context)?;
    let mut typed = typed;
    loop {
        let (answered, waits) = oneshot::channel();
        if asks.send((prompt.clone(), answered)).is_err() {
            break;
        }
        drop(waits);
        let line = loop {
            tokio::select! {
                line = typed.recv() => break line,
                event = client.next() => {
                    if let ClientEvent::Ended { cause, message } = event.map_err(show::cut)? {
                        context.note("");
                        return Ok(Outcome::Exit(show::ended(cause, &message, context)));
                    }
                }
            }
        };
        match line {
            Some(Typed::Line(line)) if line.trim().is_empty() => {}
            Some(Typed::Line(line)) => {
                if let Came::Ended(exit) = run_line(client, &line, context).await? {
                    return Ok(Outcome::Exit(exit));
                }
            }
            Some(Typed::Leave) | None => break,
        }
    }
    show::leave(client, context).await?;
    Ok(Outcome::Done)
}

type Asks = std::sync::mpsc::Sender<(String, oneshot::Sender<()>)>;

/// Starts the editor's thread: it reads one line for each prompt that it is sent.
fn start_editor(
    operations: Vec<Offered>,
    context: &Context,
) -> Result<(Asks, mpsc::UnboundedReceiver<Typed>), Failure> {
    let no_editor =
        |error: ReadlineError| Failure::new(ErrorCode::Io, "the terminal cannot be used").because(error);
    let mut editor: Editor<Completion, DefaultHistory> = Editor::new().map_err(no_editor)?;
    editor.set_max_history_size(HISTORY_LINES_MAX).map_err(no_editor)?;
    editor.set_helper(Some(Completion::new(operations)));
    let history = context.state.role(Role::Engineer).file("history");
    // The first time there is none.
    let _ = editor.load_history(&history);
    let (asks, prompts) = std::sync::mpsc::channel::<(String, oneshot::Sender<()>)>();
    let (typed, lines) = mpsc::unbounded_channel();
    std::thread::spawn(move || {
        while let Ok((prompt, _asked)) = prompts.recv() {
            let answer = match editor.readline(&prompt) {
                Ok(line) => {
                    let _ = editor.add_history_entry(&line);
                    let _ = editor.save_history(&history);
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
    Ok((asks, lines))
}

/// Completes names of operations at the beginning of a stage, and parameters behind a dash.
struct Completion {
    operations: Vec<Offered>,
}

impl Completion {
    /// The node sends the names, and the editor prints them as they are: only those that are plain words are taken.
    fn new(mut operations: Vec<Offered>) -> Self {
        operations.retain(|one| is_word(&one.name));
        operations.iter_mut().for_each(|one| one.parameters.retain(|name| is_word(name)));
        Self { operations }
    }

    fn candidates(&self, before: &str) -> (usize, Vec<String>) {
        let stage_start = before.rfind('|').map_or(0, |at| at + 1);
        let word_start = before.rfind([' ', '|', '\t']).map_or(0, |at| at + 1);
        let word = before.get(word_start..).unwrap_or_default().to_lowercase();
        let stage = before.get(stage_start..).unwrap_or_default().trim_start();
        let command = stage.split_whitespace().next().unwrap_or_default();
        let is_command = word_start >= before.len() - word.len() && stage.len() == word.len();
        let fits = |name: &&str| name.to_lowercase().starts_with(&word);
        let names: Vec<String> = if is_command {
            let available = self.operations.iter().filter(|one| one.available).map(|one| one.name.as_str());
            available.filter(fits).map(str::to_owned).collect()
        } else if let Some(start) = word.strip_prefix('-') {
            let known = self.operations.iter().find(|one| one.name.eq_ignore_ascii_case(command));
            let parameters = known.into_iter().flat_map(|one| one.parameters.iter());
            parameters
                .filter(|name| name.to_lowercase().starts_with(start))
                .map(|name| format!("-{name}"))
                .collect()
        } else {
            Vec::new()
        };
        (word_start, names)
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
    use super::*;

    fn completion() -> Completion {
        let offered = |name: &str, parameters: &[&str], available| Offered {
            name: name.to_owned(),
            parameters: parameters.iter().map(|&one| one.to_owned()).collect(),
            available,
        };
        Completion::new(vec![
            offered("Get-Process", &["Name", "Id", "N\u{1b}[2J"], true),
            offered("Get-Printer", &[], false),
            offered("Get-P\u{1b}]0;owned\u{7}", &[], true),
            offered("Sort-Object", &["Property", "Descending"], true),
        ])
    }

    #[test]
    fn operations_complete_at_the_beginning_of_each_stage_without_regard_to_case() {
        let completion = completion();
        assert_eq!(completion.candidates("get-p"), (0, vec!["Get-Process".to_owned()]));
        assert_eq!(completion.candidates("Get-Process | so"), (14, vec!["Sort-Object".to_owned()]));
        assert_eq!(completion.candidates("Get-Process|so"), (12, vec!["Sort-Object".to_owned()]));
        assert_eq!(completion.candidates("").1.len(), 2, "what is not available is not offered");
    }

    #[test]
    fn parameters_complete_behind_a_dash() {
        let completion = completion();
        assert_eq!(completion.candidates("Get-Process -n"), (12, vec!["-Name".to_owned()]));
        assert_eq!(completion.candidates("Get-Process | Sort-Object -").1, ["-Property", "-Descending"]);
        assert_eq!(completion.candidates("Get-Process na").1, Vec::<String>::new());
    }
}

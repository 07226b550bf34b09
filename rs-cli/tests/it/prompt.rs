//! The question before consent, at a real terminal (C06–C09).

use std::process::{Command, Stdio};

use rexpect::process::WaitStatus;
use rexpect::session::{PtySession, spawn_command};

use crate::machine::Machine;

/// Generous: the machine that runs the tests may be busy.
const WAIT_MS: u64 = 30_000;

const ASKED: &str = "(default is \"N\"): ";

fn start(machine: &Machine, line: &str) -> PtySession {
    spawn_command(as_by_a_shell(machine, line, &[]), Some(WAIT_MS)).expect("a terminal")
}

/// The program as a shell with job control starts it: an interrupt ends it. Whoever starts the tests in the background
/// of a script lets them ignore interrupts, and everything that they start.
fn as_by_a_shell(machine: &Machine, line: &str, before: &[&str]) -> Command {
    let program = machine.command(line.split_whitespace());
    let mut command = Command::new("env");
    for (name, value) in program.get_envs() {
        match value {
            Some(value) => command.env(name, value),
            None => command.env_remove(name),
        };
    }
    command
        .args(before)
        .arg("--default-signal=INT")
        .arg(program.get_program())
        .args(program.get_args())
        .current_dir(machine.work());
    command
}

fn ask(machine: &Machine, more: &str) -> PtySession {
    asked(start(machine, &format!("enable --access-level Diagnostics {more}")))
}

fn asked(mut session: PtySession) -> PtySession {
    let before = session.exp_string("Proceed with enabling remote support?").expect("the question");
    assert!(before.contains("By approving this request"), "c06: the terms come first: {before}");
    assert!(before.contains("Access level 'Diagnostics' permits"), "u11: {before}");
    session
}

/// The rest of the output, and the exit code; -1 for an end by a signal.
fn end(mut session: PtySession) -> (String, i32) {
    let rest = session.exp_eof().expect("the end");
    match session.process().wait().expect("ended") {
        WaitStatus::Exited(_, code) => (rest, code),
        _ => (rest, -1),
    }
}

fn answer(more: &str, asked: &str, typed: &[&str]) -> (Machine, String, i32) {
    let machine = Machine::new();
    let mut session = ask(&machine, more);
    for line in typed {
        session.exp_string(asked).expect("the choices");
        session.send_line(line).expect("typed");
    }
    let (rest, code) = end(session);
    (machine, rest, code)
}

#[test]
fn c07_yes_in_every_spelling_grants() {
    for typed in [&["y"][..], &["Y"], &["yes"], &["YES"], &["what", "y"], &["?", "Y"], &["yep", "?", "yes"]] {
        let (machine, rest, code) = answer("", ASKED, typed);
        assert_eq!(code, 0, "{typed:?}: {rest}");
        assert!(rest.contains("Remote Support successfully Enabled."), "{typed:?}: {rest}");
        let grants = machine.json("access");
        assert_eq!(
            (&grants[0]["state"], &grants[0]["grantor"]["method"]),
            (&"Active".into(), &"prompt".into())
        );
    }
}

#[test]
fn c07_c09_enter_and_no_decline_and_leave_nothing_behind() {
    for typed in [&[""][..], &["n"], &["N"], &["no"], &["junk", ""], &["?", "n"]] {
        let (machine, rest, code) = answer("", ASKED, typed);
        assert_eq!(code, 3, "{typed:?}: {rest}");
        assert!(rest.contains("Remote Support was not enabled"), "{typed:?}: {rest}");
        assert!(!machine.state().exists(), "{typed:?}");
    }
}

#[test]
fn c07_a_question_mark_explains_and_asks_again() {
    let machine = Machine::new();
    let mut session = ask(&machine, "");
    session.exp_string(ASKED).expect("the choices");
    session.send_line("?").expect("typed");
    let help = session.exp_string("Proceed with enabling remote support?").expect("asked again");
    assert!(help.contains("remote-support disable"), "{help}");
    session.exp_string(ASKED).expect("the choices");
    session.send_line("n").expect("typed");
    assert_eq!(end(session).1, 3);
}

#[test]
fn c07_compat_prompt_takes_enter_as_yes() {
    let compat = "(default is \"Y\"): ";
    assert_eq!(answer("--compat-prompt", compat, &[""]).2, 0);
    assert_eq!(answer("-CompatPrompt", compat, &["n"]).2, 3);
}

#[test]
fn c07_the_end_of_the_input_declines() {
    for more in ["", "--compat-prompt"] {
        let machine = Machine::new();
        let mut session = ask(&machine, more);
        session.exp_string("): ").expect("the choices");
        session.send_control('d').expect("typed");
        let (rest, code) = end(session);
        assert_eq!(code, 3, "{rest}");
        assert!(!machine.state().exists());
    }
}

#[test]
fn c07_an_interrupt_ends_the_program_and_grants_nothing() {
    // Also where these tests themselves were started by something that ignores interrupts.
    for before in [&[][..], &["--ignore-signal=INT", "env"]] {
        let machine = Machine::new();
        let line = "enable --access-level Diagnostics --compat-prompt";
        let command = as_by_a_shell(&machine, line, before);
        let mut session = asked(spawn_command(command, Some(WAIT_MS)).expect("a terminal"));
        session.exp_string("): ").expect("the choices");
        session.send_control('c').expect("typed");
        let (rest, code) = end(session);
        assert_ne!(code, 0, "{rest}");
        assert!(!machine.state().exists());
    }
}

#[test]
fn c09_a_no_at_a_node_with_a_store_changes_no_grant() {
    let machine = Machine::new();
    machine.enable("Diagnostics --expire-in-minutes 60");
    let before = machine.json("access --include-expired")[0]["expiresAt"].clone();
    let mut session = ask(&machine, "-ExpireInMinutes 1440");
    session.exp_string(ASKED).expect("the choices");
    session.send_line("n").expect("typed");
    assert_eq!(end(session).1, 3);
    assert_eq!(machine.json("access --include-expired")[0]["expiresAt"], before);
}

#[test]
fn sec03_the_desk_is_confirmed_before_the_terms_and_each_needs_its_own_yes() {
    for (desk, terms, code) in [("n", None, 3), ("y", Some("n"), 3), ("y", Some("y"), 0)] {
        let (node, other) = (Machine::new(), Machine::new());
        node.submit();
        std::fs::copy(node.file("request.json"), other.file("request.json")).expect("carried");
        other.json("desk init --desk-name Example-Desk");
        other.json("desk open request.json --file opening.json");
        std::fs::copy(other.file("opening.json"), node.file("opening.json")).expect("carried");
        let mut session = start(&node, "enable --access-level Diagnostics --support-request opening.json");
        let shown = session.exp_string("Is this the desk").expect("the desk's question");
        assert!(shown.contains("Example-Desk") && shown.contains("Key fingerprint"), "{shown}");
        session.exp_string(ASKED).expect("the choices");
        session.send_line(desk).expect("typed");
        if let Some(terms) = terms {
            session.exp_string("Proceed with enabling").expect("the question");
            session.exp_string(ASKED).expect("the choices");
            session.send_line(terms).expect("typed");
        }
        assert_eq!(end(session).1, code);
        let state = if code == 0 { "Open" } else { "Submitted" };
        assert_eq!(node.json("request list")[0]["state"], state, "{desk} {terms:?}");
        assert_eq!(node.json("access").as_array().map(Vec::len), Some(usize::from(code == 0)));
    }
}

#[test]
fn u13_a_terminal_gets_colour_only_where_it_is_wanted() {
    for (variable, colour) in [(None, true), (Some("1"), false)] {
        let machine = Machine::new();
        let mut command = machine.command(["session", "end", "00000000-0000-0000-0000-000000000000"]);
        command.stdin(Stdio::inherit()).env_remove("NO_COLOR");
        if let Some(value) = variable {
            command.env("NO_COLOR", value);
        }
        let (shown, code) = end(spawn_command(command, Some(WAIT_MS)).expect("a terminal"));
        assert_ne!(code, 0);
        assert_eq!(shown.contains('\u{1b}'), colour, "{shown:?}");
        assert!(shown.contains("error["), "no meaning in colour alone: {shown:?}");
    }
}

//! Other nodes on the page: one row each, how many of how many in words, and nobody is waited for (F03, F04).

use std::path::PathBuf;
use std::process::Command;
use std::time::{Duration, Instant};

use rustix::process::Signal;

use crate::browser::Browser;
use crate::daemon::until_true;
use crate::machine::{Machine, chmod, program};
use crate::operator::Served;

/// A remote shell: `n2` is another state directory on this machine, `n3` cannot be reached, `n4` never answers.
fn shell(machine: &Machine, second: &Machine) -> PathBuf {
    let shell = machine.file("shell");
    let script = format!(
        "#!/bin/sh\n\
         case $1 in\n\
         n2) shift; export REMOTE_SUPPORT_STATE_DIR={}; exec sh -c \"$*\";;\n\
         n3) printf 'no route \\033[2J<b>there</b>\\n' >&2; exit 255;;\n\
         esac\n\
         echo $$ >{}.new; mv {}.new {}; exec sleep 1000\n",
        second.state().display(),
        machine.file("hangs").display(),
        machine.file("hangs").display(),
        machine.file("hangs").display(),
    );
    std::fs::write(&shell, script).expect("own file");
    chmod(&shell, 0o755);
    shell
}

fn console(machine: &Machine, second: &Machine, nodes: &str) -> Command {
    let mut command = machine.command(["console", "--node-timeout", "600", "--node", nodes]);
    command
        .env("REMOTE_SUPPORT_NODE_SHELL", shell(machine, second))
        .env("REMOTE_SUPPORT_NODE_COMMAND", program());
    command
}

#[test]
fn f03_f04_the_page_has_a_row_for_each_node_and_says_how_many() {
    let (machine, second) = (Machine::new(), Machine::new());
    machine.enable("Diagnostics");
    second.enable("DiagnosticsRepair");
    let page = Served::of(&machine, console(&machine, &second, "n2,n3"));
    let Some(browser) = Browser::start() else { return };
    page.sign_in(&browser);
    browser.reads(
        "Remote support is enabled on 2 of 3 nodes: not known of n3 (no route \\u{1b}[2J<b>there</b>).",
    );
    browser.reads("The other nodes answered at");
    let rows =
        browser.run("return [...document.querySelectorAll('#nodes tbody tr')].map(row => row.innerText)");
    let rows: Vec<&str> = rows.as_array().expect("rows").iter().filter_map(|row| row.as_str()).collect();
    assert_eq!(rows.len(), 3, "{rows:?}");
    assert!(rows[0].contains("(this node)") && rows[0].contains("Enabled"), "{rows:?}");
    assert!(
        rows[1].starts_with("n2") && rows[1].contains("Diagnostics and repair") && rows[1].contains(" h "),
        "{rows:?}"
    );
    assert!(rows[2].starts_with("n3") && rows[2].contains("Not known: no route"), "{rows:?}");
    assert_eq!(browser.complaints(), "[]");

    // The same from the owner's policy; all of them said in words.
    std::fs::write(machine.state().join("node").join("policy.json"), r#"{ "nodes": ["n2"] }"#)
        .expect("own file");
    let mut command = machine.command(["console"]);
    command
        .env("REMOTE_SUPPORT_NODE_SHELL", shell(&machine, &second))
        .env("REMOTE_SUPPORT_NODE_COMMAND", program());
    let page = Served::of(&machine, command);
    page.sign_in(&browser);
    browser.reads("Remote support is enabled on all 2 nodes.");
}

#[test]
fn f08_a_node_that_hangs_holds_up_no_page_and_ends_with_it() {
    let (machine, second) = (Machine::new(), Machine::new());
    machine.enable("Diagnostics");
    let mut page = Served::of(&machine, console(&machine, &second, "n4"));
    let cookie = page.cookie();
    let since = Instant::now();
    let text = page.get("/", &cookie).text();
    assert!(since.elapsed() < Duration::from_secs(10), "{:?}", since.elapsed());
    assert!(text.contains("One other node is being asked") && text.contains("(this node)"), "{text}");
    until_true("it is asked", || machine.file("hangs").exists());
    let pid = std::fs::read_to_string(machine.file("hangs")).expect("a number");
    let lives = || PathBuf::from(format!("/proc/{}/stat", pid.trim())).exists();
    assert!(lives(), "the control: it hangs");
    let text = page.get("/", &cookie).text();
    assert!(text.contains("One other node is being asked"), "it is not asked twice: {text}");
    page.daemon.signal(Signal::INT);
    assert_eq!(page.daemon.exit_code(), 0);
    until_true("what asked it is gone", || !lives());
}

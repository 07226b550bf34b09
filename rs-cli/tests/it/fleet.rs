//! Several nodes: what is refused before anybody is asked, and the end of a consent as an instant (F01, F02, F12).

use chrono::{DateTime, SecondsFormat, TimeDelta, Utc};
use rs_consent::{Clock as _, SystemClock};
use serde_json::Value;

use crate::machine::{Machine, Run};

const ENABLE: &str = "enable --access-level Diagnostics --agree-to-remote-support-consent";

/// A program that every machine has, in place of a remote shell that some have not. It is not reached.
const SHELL: &str =
    if cfg!(windows) { r"--node-shell C:\Windows\System32\cmd.exe" } else { "--node-shell /bin/sh" };

#[track_caller]
fn refused(run: &Run, code: i32, says: &[&str]) {
    assert_eq!(run.code, code, "{run:?}");
    for text in says {
        assert!(run.stderr.contains(text), "{text}: {}", run.stderr);
    }
    assert_eq!(run.stdout, "", "nobody was asked");
}

#[test]
fn f01_what_is_no_node_is_refused_before_anybody_is_asked() {
    let machine = Machine::new();
    for verb in [ENABLE, "disable", "access", "history"] {
        for bad in ["-oProxyCommand=id", "a@-b", "n1;id", "$(id)", "a/b", ""] {
            let run = machine.run_args(verb.split(' ').chain([format!("--node={bad}").as_str()]));
            refused(&run, 2, &["--node"]);
        }
    }
    for (list, says) in [("n1\nn2;id\n", "line 2"), ("# none\n", "it names no node"), ("-n1\n", "line 1")] {
        std::fs::write(machine.file("nodes"), list).expect("own file");
        refused(&machine.run("access --nodes-from nodes"), 1, &["the list of nodes cannot be used", says]);
    }
    refused(&machine.run("access --nodes-from none"), 4, &["none"]);
    let many: String = (0..257).map(|at| format!("n{at}\n")).collect();
    std::fs::write(machine.file("nodes"), many).expect("own file");
    refused(&machine.run("disable --nodes-from nodes"), 2, &["257 nodes are named, and 256 is the most"]);
    std::fs::write(machine.file("nodes"), "n".repeat(64 * 1024 + 1)).expect("own file");
    refused(&machine.run("disable --nodes-from nodes"), 1, &["longer than 65536 bytes"]);
    for shell in ["./ssh", "rsh", "sh -c"] {
        refused(&machine.run_args(["access", "--node", "n1", "--node-shell", shell]), 2, &["whole path"]);
    }
    assert!(!machine.state().exists(), "nothing was made");
}

#[test]
fn f02_the_cluster_is_asked_for_or_refused_and_never_dropped() {
    let machine = Machine::new();
    for verb in [ENABLE, "disable", "access", "history", "Get-RemoteSupportAccess"] {
        let run = machine.run(&format!("{verb} --cluster"));
        refused(&run, 1, &["which nodes the cluster has", "--nodes-from FILE"]);
    }
    assert!(!machine.state().exists(), "and nothing was done on this node");
}

#[test]
fn f01_what_is_for_one_node_is_not_given_for_several() {
    let machine = Machine::new();
    std::fs::write(machine.file("sas"), "Endpoint=sb://x/").expect("own file");
    let run = machine.run(&format!("{ENABLE} --node n1 {SHELL} --sas-credential-file sas"));
    refused(&run, 2, &["--sas-credential-file", "hand it in there"]);
    assert!(!run.stderr.contains("sb://"), "{}", run.stderr);
    let run = machine.run(&format!("{ENABLE} --node n1 {SHELL} --support-request opening.json"));
    refused(&run, 2, &["an opening is for one node"]);
    let run = machine.run(&format!("history --node n1 {SHELL} --include-session-transcript"));
    refused(&run, 2, &["on its own node"]);
    // Where nobody agreed and nobody can be asked, no node is asked.
    let run = machine.run(&format!("enable --access-level Diagnostics --node n1 {SHELL}"));
    refused(&run, 3, &["no terminal"]);
}

#[test]
fn f12_an_end_that_is_an_instant_has_the_bounds_of_the_minutes() {
    let machine = Machine::new();
    let at = |seconds: i64| {
        let at: DateTime<Utc> = SystemClock::default().now().wall + TimeDelta::seconds(seconds);
        at.to_rfc3339_opts(SecondsFormat::Secs, true)
    };
    let minute = 60;
    // The program starts a moment later than this test looks at the clock: a span of seconds is left for that.
    for past in [at(-minute), at(59 * minute), at(20160 * minute + 2 * minute)] {
        let run = machine.run(&format!("{ENABLE} --until {past}"));
        refused(&run, 2, &["60 to 20160 minutes", "--until"]);
    }
    assert!(!machine.state().exists(), "nothing was stored");
    for (within, minutes) in [(at(60 * minute), 60), (at(20160 * minute), 20160), (at(90 * minute), 90)] {
        let grant = machine.json(&format!("{ENABLE} --until {within}"));
        assert_eq!((&grant["expiresAt"], &grant["minutes"]), (&Value::from(within), &Value::from(minutes)));
    }
    let run = machine.run(&format!("{ENABLE} --until {} --expire-in-minutes 60", at(90 * minute)));
    refused(&run, 2, &["cannot be used with"]);
    let shown =
        machine.json(&format!("enable --access-level Diagnostics --dry-run --until {}", at(90 * minute)));
    assert_eq!(shown["minutes"], 90);
}

/// A remote shell that runs what it gets on this machine: nodes that are all this one.
#[cfg(unix)]
#[test]
fn f02_each_row_names_its_node_in_every_form() {
    let machine = Machine::new();
    let shell = machine.file("here");
    std::fs::write(&shell, "#!/bin/sh\nshift\nexec sh -c \"$*\"\n").expect("own file");
    crate::machine::chmod(&shell, 0o755);
    let program = crate::machine::program();
    let run = |line: &str| -> Run {
        let mut command = machine.command(line.split_whitespace());
        command.env("REMOTE_SUPPORT_NODE_SHELL", &shell).env("REMOTE_SUPPORT_NODE_COMMAND", &program);
        command.output().expect("the program starts").into()
    };
    let granted = run(&format!("{ENABLE} --node n1 --node n2 --output json"));
    assert_eq!(granted.code, 0, "{granted:?}");
    assert!(granted.stderr.contains("This is about 2 nodes: n1, n2."), "{}", granted.stderr);
    assert!(granted.stderr.contains("Remote support is enabled on all 2 nodes."), "{}", granted.stderr);
    let list = run("access -ComputerName n1,n2");
    assert_eq!(list.code, 0, "{list:?}");
    assert!(list.stdout.starts_with("Node             : n1\nState            : Active\n"), "{}", list.stdout);
    let table = run("access --node n1,n2 --output table");
    let heads: Vec<&str> = table.stdout.lines().next().unwrap_or_default().split_whitespace().collect();
    assert_eq!(heads, ["Node", "State", "AccessLevel", "ExpiresAt", "Remaining", "Cause"]);
    let rows: Vec<Value> =
        serde_json::from_str(&run("Get-RemoteSupportAccess -IncludeExpired -Node n1 -Output json").stdout)
            .expect("rows");
    assert_eq!((&rows[0]["node"], &rows[0]["trouble"]), (&"n1".into(), &Value::Null));
    let rows: Vec<Value> =
        serde_json::from_str(&run("disable --node n1 --dry-run --output json").stdout).expect("rows");
    assert_eq!((&rows[0]["dryRun"], &rows[0]["accessLevel"]), (&true.into(), &"Diagnostics".into()));
    assert_eq!(run("access --node n1").stdout.matches("Active").count(), 1, "a dry run changes nothing");
    let down = run("disable --node n1 --output json");
    assert_eq!(down.code, 0, "{down:?}");
    assert!(down.stderr.contains("Remote Support is disabled on the one node."), "{}", down.stderr);
}

//! U10: the journal of systemd and the terminals of this machine, the real ones, each in a corner of its own.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde_json::Value;

use crate::machine::{Run, program};
use crate::site::Site;

const JOURNALD: &str = "/lib/systemd/systemd-journald";

/// Whether this machine can have it; what is required must be there.
fn able(needs: &str) -> bool {
    let able = Path::new(needs).exists() && rustix::process::geteuid().is_root();
    assert!(
        able || std::env::var_os("REQUIRE_SMTP").is_none() || std::env::var_os("REQUIRE_ROOT").is_none(),
        "{needs} and root are required here"
    );
    if !able {
        eprintln!("skipped: needs root and {needs}");
    }
    able
}

/// Runs a script where `/run` is empty, its own, and gone afterwards.
fn in_a_corner(site: &Site, script: &str) -> Run {
    let script = format!("set -euo pipefail\nmount -t tmpfs tmpfs /run\n{script}");
    let mut command = site.machine.command(Vec::<String>::new());
    let variables: Vec<_> =
        command.get_envs().filter_map(|(name, value)| Some((name.to_owned(), value?.to_owned()))).collect();
    command = Command::new("unshare");
    command
        .args(["--mount", "--pid", "--fork", "--kill-child", "bash", "-c", &script])
        .envs(variables)
        .env("PROGRAM", program())
        .env("SYSTEMD_COLORS", "0")
        .current_dir(site.machine.work())
        .stdin(Stdio::null());
    command.output().expect("unshare starts").into()
}

#[test]
fn u10_q02_events_are_entries_of_the_real_journal_with_their_number_as_a_field() {
    let site = Site::empty();
    if !able(JOURNALD) {
        return;
    }
    site.machine.submit();
    // It neither reads the kernel's messages nor asks for its audit.
    let run = in_a_corner(
        &site,
        &format!(
            "mkdir -p /run/systemd/journal /run/log/journal
            printf '[Journal]\\nStorage=volatile\\nAudit=no\\nReadKMsg=no\\n' > /run/journald.conf
            mount --bind /run/journald.conf /etc/systemd/journald.conf
            \"$PROGRAM\" notify add journal --to journal: --from-start >&2
            \"$PROGRAM\" notify test >&2 && {{ echo 'nobody listens yet' >&2; exit 1; }}
            {JOURNALD} 2>/dev/null &
            until [ -S /run/systemd/journal/socket ]; do sleep 0.01; done
            \"$PROGRAM\" notify test >&2
            until journalctl -D /run/log/journal -q -o json REMOTE_SUPPORT_KIND=test | grep -q .; do sleep 0.01; done
            journalctl -D /run/log/journal -q -o json SYSLOG_IDENTIFIER=remote-support"
        ),
    );
    assert_eq!(run.code, 0, "{} {}", run.stdout, run.stderr);
    let entries: Vec<Value> = run
        .stdout
        .lines()
        .map(|line| serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line:?}")))
        .collect();
    let of_kind = |kind: &str| entries.iter().filter(|entry| entry["REMOTE_SUPPORT_KIND"] == kind).count();
    assert_eq!((of_kind("request-submitted"), of_kind("test")), (1, 2), "{}", run.stdout);
    let submitted =
        entries.iter().find(|entry| entry["REMOTE_SUPPORT_KIND"] == "request-submitted").expect("there");
    for (field, value) in [
        ("REMOTE_SUPPORT_EVENT_ID", "18211"),
        ("MESSAGE_ID", "5c1e0f7a93d24b86a1d07e64b9f24723"),
        ("PRIORITY", "6"),
    ] {
        assert_eq!(submitted[field], value, "{submitted}");
    }
}

#[test]
fn u10_whoever_is_logged_in_at_a_terminal_reads_it() {
    let site = Site::empty();
    if !able("/usr/bin/wall") {
        return;
    }
    let user: PathBuf = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/e2e/terminal_user.py");
    let run = in_a_corner(
        &site,
        &format!(
            "\"$PROGRAM\" notify add all --to terminals: >&2
            /usr/bin/python3 {} \"$PROGRAM\" notify test",
            user.display()
        ),
    );
    assert_eq!(run.code, 0, "{} {}", run.stdout, run.stderr);
    // It fits the lines to the width of the terminal.
    let shown: String = run.stdout.split(['\r', '\n']).map(str::trim).collect();
    assert!(shown.contains("Remote support on ") && shown.contains("nothing happened"), "{}", run.stdout);
}

//! What an agent has to take up when it starts must not keep the owner waiting.

use std::fs::{self, DirBuilder, File};
use std::os::unix::fs::DirBuilderExt as _;

use rs_cli::control::{AgentControl as _, SocketControl};
use rs_cli::state::{Role, StateDir};
use uuid::Uuid;

use crate::daemon::until;
use crate::site::Site;

/// Recovery waits a second for each record that somebody else has locked, so it is busy for as long as the test needs.
const LOCKED: u128 = 30;

#[test]
fn sec11_commands_are_answered_while_old_records_are_taken_up() {
    let mut site = Site::empty();
    site.papers();
    site.machine.enable("Diagnostics");
    let sessions = site.role(Role::Node).join("sessions");
    DirBuilder::new().mode(0o700).recursive(true).create(&sessions).expect("own directory");
    let locked: Vec<File> = (1..=LOCKED)
        .map(|number| {
            let path = sessions.join(format!("{}.record", Uuid::from_u128(number)));
            let file = File::create_new(path).expect("own file");
            file.lock().expect("nobody else has it");
            file
        })
        .collect();

    let agent = site.start("agent", site.machine.command(["agent", "run"]));
    let state = StateDir::new(Some(site.machine.state())).expect("a path");
    let control = SocketControl::new(&state.role(Role::Node));
    let pid = until("the agent answers", || control.status().ok()).pid;
    let revoked = site.machine.run("disable");
    assert_eq!(revoked.code, 0, "{}", revoked.stderr);
    assert!(!agent.stdout().contains("The agent of this node runs"), "it was still taking up records");
    assert_eq!(control.status().expect("the agent answers").pid, pid, "no command had to end it");

    drop(locked);
    agent.says("The agent of this node runs");
    site.agent = Some(agent);
    let left = fs::read_dir(&sessions).expect("own directory").count();
    assert!(left < LOCKED as usize, "once they are free they are taken up: {left}");
}

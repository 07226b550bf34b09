//! Several nodes from one place (F01–F04, F08, F09, F12), over Debian's own ssh and sshd. Each connection starts an sshd of
//! its node, as inetd does, so no port is taken; each node has a state directory of its own.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use rs_cli::state::{Role, StateDir};
use rs_consent::store::ConsentStore;
use rs_consent::{Clock as _, Grant, SystemClock};
use rustix::process::Signal;
use serde_json::Value;

use crate::daemon::{Daemon, until_true};
use crate::machine::{Machine, Run, program};

const SSHD: &str = "/usr/sbin/sshd";

/// The operator's machine, and nodes that it reaches by name.
struct Cluster {
    operator: Machine,
    nodes: Vec<Machine>,
    config: String,
}

impl Cluster {
    /// Nodes `n1`, `n2`, …, none of them enabled; nothing where there is no sshd.
    fn new(nodes: usize) -> Option<Self> {
        let there = Path::new(SSHD).exists() && Path::new("/usr/bin/ssh").exists();
        if !there {
            assert!(
                std::env::var_os("REQUIRE_SSHD").is_none(),
                "openssh-server and openssh-client are required here"
            );
            eprintln!("skipped: no sshd on this machine");
            return None;
        }
        if rustix::process::geteuid().is_root() {
            // As Debian's service makes it when it starts.
            std::fs::create_dir_all("/run/sshd").expect("root's");
        }
        let operator = Machine::new();
        for key in ["user", "host"] {
            let path = operator.file(key);
            let made =
                Command::new("ssh-keygen").args(["-q", "-t", "ed25519", "-N", "", "-f"]).arg(path).status();
            assert!(made.expect("ssh-keygen").success());
        }
        let mut cluster = Self { operator, nodes: Vec::new(), config: String::new() };
        for _ in 0..nodes {
            let machine = Machine::new();
            let node = format!("n{}", cluster.nodes.len() + 1);
            cluster.add(&node, &machine, "");
            cluster.nodes.push(machine);
        }
        Some(cluster)
    }

    fn file(&self, name: &str) -> PathBuf {
        self.operator.file(name)
    }

    /// A node whose sshd has these further lines.
    fn add(&mut self, name: &str, machine: &Machine, more: &str) {
        let shown = |path: PathBuf| path.display().to_string();
        let folder = program().parent().expect("its folder").display().to_string();
        let path = machine.work().join("bin");
        let variables = format!(
            "PATH={}:{folder}:/usr/bin:/bin REMOTE_SUPPORT_STATE_DIR={} REMOTE_SUPPORT_STORAGE_KEY_FILE={}",
            path.display(),
            machine.state().display(),
            machine.storage_key().display()
        );
        let config = format!(
            "HostKey {}\nAuthorizedKeysFile {}\nStrictModes no\nUsePAM no\nPermitRootLogin prohibit-password\n\
             PidFile none\nPasswordAuthentication no\nSetEnv {variables}\n{more}\n",
            shown(self.file("host")),
            shown(self.file("user.pub")),
        );
        let own = self.file(&format!("{name}.sshd"));
        std::fs::write(&own, config).expect("own file");
        let log = self.file(&format!("{name}.log"));
        self.reach(name, &format!("ProxyCommand {SSHD} -i -f {} -E {}", own.display(), log.display()));
    }

    /// What the operator's ssh knows of a name.
    fn reach(&mut self, name: &str, way: &str) {
        // Into a string nothing fails.
        let _ = write!(self.config, "Host {name}\n  {way}\n");
        let key = std::fs::read_to_string(self.file("host.pub")).expect("a key");
        let known = self.file("known");
        let before = std::fs::read_to_string(&known).unwrap_or_default();
        std::fs::write(&known, format!("{before}{name} {key}")).expect("own file");
        let all = format!(
            "{}Host *\n  IdentityFile {}\n  IdentitiesOnly yes\n  UserKnownHostsFile {}\n  GlobalKnownHostsFile none\n  \
             StrictHostKeyChecking yes\n",
            self.config,
            self.file("user").display(),
            known.display()
        );
        std::fs::write(self.file("config"), all).expect("own file");
    }

    /// A node that is down: nobody listens there.
    fn add_down(&mut self, name: &str) {
        let port =
            std::net::TcpListener::bind("127.0.0.1:0").expect("a port").local_addr().expect("a port").port();
        self.reach(name, &format!("HostName 127.0.0.1\n  Port {port}"));
    }

    /// A node that lets in, and whose shell never answers while its file is there.
    fn add_hanging(&mut self, name: &str) {
        let mark = self.file("hangs");
        std::fs::write(&mark, "").expect("own file");
        let machine = Machine::new();
        self.add(
            name,
            &machine,
            &format!("ForceCommand while [ -e {} ]; do sleep 0.1; done", mark.display()),
        );
        self.nodes.push(machine);
    }

    fn command(&self, line: &str) -> Command {
        let mut command = self.operator.command(line.split_whitespace());
        command.env("REMOTE_SUPPORT_NODE_SHELL", format!("ssh -F {}", self.file("config").display()));
        command
    }

    fn run(&self, line: &str) -> Run {
        self.command(line).output().expect("the program starts").into()
    }

    /// A run's rows.
    fn rows(&self, line: &str) -> (Run, Vec<Value>) {
        let run = self.run(&format!("{line} --output json"));
        let rows = serde_json::from_str(&run.stdout).unwrap_or_else(|error| panic!("{error}: {run:?}"));
        (run, rows)
    }

    fn list(&self, nodes: &str) -> String {
        let path = self.file("nodes");
        std::fs::write(&path, format!("# the cluster\n{}\n", nodes.replace(' ', "\n"))).expect("own file");
        format!("--nodes-from {}", path.display())
    }

    /// The consents of a node, from its own store.
    fn grants(&self, node: usize) -> Vec<Grant> {
        let state = StateDir::new(Some(self.nodes[node].state())).expect("a path");
        let store = ConsentStore::open(state.role(Role::Node).file("store.sqlite")).expect("a store");
        store.grants(true, &SystemClock::default().now()).expect("readable")
    }
}

const ENABLE: &str = "enable --access-level Diagnostics --agree-to-remote-support-consent";

#[test]
fn f01_f03_f09_f12_two_of_three_nodes_are_enabled_asked_and_revoked() {
    let Some(mut cluster) = Cluster::new(2) else { return };
    cluster.add_down("n3");
    let list = cluster.list("n1 n2 n3");

    let (run, rows) = cluster.rows(&format!("{ENABLE} --expire-in-minutes 60 {list}"));
    assert_eq!(run.code, 7, "{run:?}");
    assert_eq!(
        run.stderr.matches("By approving this request").count(),
        1,
        "the terms are shown once: {}",
        run.stderr
    );
    assert!(run.stderr.contains("Remote support is enabled on 2 of 3 nodes: not on n3 ("), "{}", run.stderr);
    let states: Vec<_> = rows.iter().map(|row| (&row["node"], &row["state"])).collect();
    assert_eq!(
        serde_json::json!(states),
        serde_json::json!([["n1", "Active"], ["n2", "Active"], ["n3", "Failed"]])
    );
    assert_eq!(rows[2]["trouble"], "node-unreachable");
    assert!(rows[2]["cause"].as_str().is_some_and(|cause| cause.contains("refused")), "{}", rows[2]);
    assert_eq!(rows[0]["expiresAt"], rows[1]["expiresAt"]);
    let (one, two) = (cluster.grants(0), cluster.grants(1));
    assert_eq!(one[0].deadline.wall, two[0].deadline.wall, "one instant for all");
    assert_eq!((one[0].minutes.get(), one[0].terms.clone()), (60, two[0].terms.clone()));
    assert!(!cluster.operator.state().exists(), "the operator's own machine is no node");

    let run = cluster.run(&format!("access --output table {list}"));
    assert_eq!(run.code, 7, "{run:?}");
    let lines: Vec<&str> = run.stdout.lines().collect();
    assert!(lines[0].starts_with("Node") && lines.len() >= 5, "{}", run.stdout);
    for (node, state) in [("n1", "Active"), ("n2", "Active"), ("n3", "Unknown")] {
        assert!(
            lines.iter().any(|line| line.starts_with(node) && line.contains(state)),
            "{node}: {}",
            run.stdout
        );
    }
    assert!(run.stderr.contains("enabled on 2 of 3 nodes: not known of n3 ("), "{}", run.stderr);
    let all = cluster.run("access --node n1 --node n2");
    assert_eq!(all.code, 0, "{all:?}");
    assert!(all.stderr.contains("Remote support is enabled on all 2 nodes."), "{}", all.stderr);

    let (run, rows) = cluster.rows(&format!("disable {list}"));
    assert_eq!(run.code, 7, "{run:?}");
    assert_eq!(
        (&rows[0]["changed"], &rows[1]["changed"], &rows[2]["changed"]),
        (&true.into(), &true.into(), &Value::Null)
    );
    for said in [
        "Remote Support is disabled on 2 of 3 nodes: not known to be down on n3 (",
        "The end that such a node has on record holds there all the same",
        "For these alone: remote-support disable --node n3 --node-shell 'ssh -F ",
    ] {
        assert!(run.stderr.contains(said), "{said}: {}", run.stderr);
    }
    let run = cluster.run("access --node n1,n2");
    assert_eq!(run.code, 0, "all were heard: {run:?}");
    assert!(
        run.stderr.contains("enabled on none of 2 nodes: not on n1 (not enabled), n2 (not enabled)."),
        "{}",
        run.stderr
    );
    let run = cluster.run("disable --node n3");
    assert_eq!(run.code, 5, "none was reached: {run:?}");
}

#[test]
fn f08_a_node_that_hangs_is_listed_and_what_asked_it_is_gone() {
    let Some(mut cluster) = Cluster::new(1) else { return };
    cluster.add_hanging("n2");
    let (run, rows) = cluster.rows("access --node n1 --node n2 --node-timeout 15");
    assert_eq!(run.code, 7, "{run:?}");
    assert_eq!((&rows[0]["state"], &rows[1]["state"]), (&"NotEnabled".into(), &"Unknown".into()));
    assert_eq!(
        (&rows[1]["trouble"], &rows[1]["cause"]),
        (&"node-no-answer".into(), &"no answer in 15 s".into())
    );
    nobody_asks(&cluster);
}

#[test]
fn f08_an_interrupt_ends_all_that_was_asked() {
    let Some(mut cluster) = Cluster::new(1) else { return };
    cluster.add_hanging("n2");
    let command = cluster.command("disable --node n1 --node n2 --node-timeout 600 --output json");
    let mut daemon = Daemon::start(command, cluster.file("interrupted"));
    until_true("it is asked", || asking(&cluster) > 0 && asked(&cluster, "n2"));
    daemon.signal(Signal::INT);
    assert_eq!(daemon.exit_code(), 7, "{}", daemon.stderr());
    let rows: Vec<Value> = serde_json::from_str(&daemon.stdout()).expect("rows");
    assert_eq!(rows[1]["trouble"], "node-stopped");
    assert!(daemon.stderr().contains("--node n2"), "{}", daemon.stderr());
    nobody_asks(&cluster);
}

/// Processes on this machine that ask a node of this cluster: they name its files.
fn asking(cluster: &Cluster) -> usize {
    let config = cluster.file("config").display().to_string();
    let entries = std::fs::read_dir("/proc").expect("a process table").flatten();
    let lines = entries.filter_map(|entry| std::fs::read(entry.path().join("cmdline")).ok());
    lines
        .filter(|line| line.starts_with(b"/usr/bin/ssh\0") && String::from_utf8_lossy(line).contains(&config))
        .count()
}

/// Whether the sshd of a node has let somebody in.
fn asked(cluster: &Cluster, node: &str) -> bool {
    std::fs::read_to_string(cluster.file(&format!("{node}.log")))
        .is_ok_and(|log| log.contains("Accepted publickey"))
}

#[track_caller]
fn nobody_asks(cluster: &Cluster) {
    until_true("no remote shell is left", || asking(cluster) == 0);
}

#[test]
fn f01_a_host_that_ssh_does_not_know_is_not_asked() {
    let Some(cluster) = Cluster::new(1) else { return };
    assert_eq!(cluster.run("access --node n1").code, 0, "the control");
    std::fs::write(cluster.file("known"), "").expect("own file");
    let (run, rows) = cluster.rows("access --node n1");
    assert_eq!(run.code, 5, "{run:?}");
    assert_eq!(rows[0]["cause"], "Host key verification failed.");
}

#[test]
fn f01_words_reach_the_node_as_they_are() {
    let Some(cluster) = Cluster::new(1) else { return };
    let hostile = format!("it's; touch {0}; $(touch {0}) `touch {0}`\n*", cluster.file("made").display());
    let mut command = cluster.command("history --node n1 --output json --text");
    let run: Run = command.arg(&hostile).output().expect("the program starts").into();
    assert_eq!((run.code, run.stdout.as_str()), (0, "[]\n"), "{run:?}");
    assert!(!cluster.file("made").exists());
    assert!(run.stderr.contains("0 session(s) on the one node."), "{}", run.stderr);
    // The control: unquoted it acts.
    let unquoted = Command::new("/usr/bin/ssh")
        .args(["-F", &cluster.file("config").display().to_string(), "n1", "true", &hostile.replace('\'', "")])
        .stdin(Stdio::null())
        .output()
        .expect("ssh");
    assert!(cluster.file("made").exists(), "{unquoted:?}");
}

#[test]
fn f03_sec37_a_hostile_node_is_a_row_and_steers_nothing() {
    let Some(mut cluster) = Cluster::new(1) else { return };
    for (name, says) in [
        ("h1", r#"printf '\033[2J\033]0;x\007'; exit 0"#),
        ("h2", r#"printf '\033[2JYou are in\n' >&2; exit 255"#),
        ("h3", r#"printf '[{"id":"x","state":"Active\\u001b[2J"}]'; exit 0"#),
        ("h4", "yes"),
        ("h5", "exit 0"),
        ("h6", r#"printf '{"error":{"code":"refused","message":"a\\u001b[2Jb\\nNode : n1"}}\n' >&2; exit 3"#),
    ] {
        let machine = Machine::new();
        cluster.add(name, &machine, &format!("ForceCommand {says}"));
        cluster.nodes.push(machine);
    }
    for mode in ["list", "table", "json"] {
        let run = cluster.run(&format!("access --node h1,h2,h3,h4,h5,h6,n1 --output {mode}"));
        assert_eq!(run.code, 7, "{run:?}");
        for text in [&run.stdout, &run.stderr] {
            assert!(!text.contains(|c: char| c.is_control() && c != '\n'), "{text:?}");
        }
    }
    let (_, rows) = cluster.rows("access --node h1,h2,h3,h4,h5,h6,n1");
    let troubles: Vec<&Value> = rows.iter().map(|row| &row["trouble"]).collect();
    let bad = "node-bad-answer";
    assert_eq!(
        serde_json::json!(troubles),
        serde_json::json!([bad, "node-unreachable", bad, "node-answer-too-long", bad, "refused", null])
    );
    assert_eq!(rows[1]["cause"], "\\u{1b}[2JYou are in");
    assert_eq!(rows[6]["state"], "NotEnabled", "the others are heard");
}

#[test]
fn f12_other_terms_or_lists_there_are_no_consent_there() {
    let machine = Machine::new();
    let other = "0".repeat(64);
    for option in ["terms", "catalog"] {
        let run = machine.run(&format!("{ENABLE} --agree-to-{option} {other}"));
        assert_eq!(run.code, 3, "{run:?}");
        assert!(!machine.state().exists(), "nothing was stored");
    }
    let terms = rs_consent::Terms::azure_local().agreed().sha256;
    let grant = machine.json(&format!("enable --access-level Diagnostics --agree-to-terms {terms}"));
    assert_eq!(grant["terms"]["sha256"], terms.to_string());
    let catalog = grant["catalog"].as_str().expect("a hash").to_owned();
    let again = machine.json(&format!(
        "enable --access-level Diagnostics --agree-to-terms azure-local-2025-07-31 --agree-to-catalog {catalog}"
    ));
    assert_eq!(again["revision"], 2);
}

#[test]
fn f12_a_node_that_grants_something_else_is_no_success() {
    let Some(mut cluster) = Cluster::new(1) else { return };
    let machine = Machine::new();
    // Its program takes another end than it is told.
    let script = format!(
        "#!/bin/sh\nshift\nexec {} enable --until \"$(date -u -d '+3 hours' +%FT%TZ)\" --access-level Diagnostics \
         --agree-to-remote-support-consent --output json\n",
        program().display()
    );
    let bin = machine.work().join("bin");
    std::fs::create_dir(&bin).expect("own directory");
    std::fs::write(bin.join("remote-support"), script).expect("own file");
    crate::machine::chmod(&bin.join("remote-support"), 0o755);
    cluster.add("n2", &machine, "");
    cluster.nodes.push(machine);
    let (run, rows) = cluster.rows(&format!("{ENABLE} --node n1,n2"));
    assert_eq!(run.code, 7, "{run:?}");
    assert_eq!(rows[1]["trouble"], "node-granted-otherwise", "{}", rows[1]);
    assert_eq!(rows[0]["state"], "Active");
}

/// A consent that waits is granted, and is not enabled.
#[test]
fn f03_what_waits_is_said_and_a_higher_level_goes_to_all() {
    let Some(cluster) = Cluster::new(2) else { return };
    let run = cluster.run(&format!("{ENABLE} --node n1,n2 --not-before 2h"));
    assert_eq!(run.code, 2, "{run:?}");
    let begins = (SystemClock::default().now().wall + chrono::TimeDelta::hours(2)).format("%FT%TZ");
    let (run, rows) =
        cluster.rows(&format!("{ENABLE} --node n1,n2 --not-before {begins} --expire-in-minutes 60"));
    assert_eq!(run.code, 0, "{run:?}");
    assert_eq!((&rows[0]["state"], &rows[0]["expiresAt"]), (&"Pending".into(), &rows[1]["expiresAt"]));
    assert!(
        run.stderr.contains("enabled on none of 2 nodes: not on n1 (waits for its start at "),
        "{}",
        run.stderr
    );
    assert_eq!(cluster.run("disable --node n1,n2").code, 0);
    // One node has its own narrower rule: the consent is the same, and what it waits for is said.
    let folder = cluster.nodes[1].state().join("node");
    std::fs::write(folder.join("policy.json"), r#"{ "secondPerson": true }"#).expect("own file");
    let repair = "enable --access-level DiagnosticsRepair --agree-to-terms azure-local-2025-07-31";
    let (run, rows) = cluster.rows(&format!("{repair} --node n1,n2"));
    assert_eq!(run.code, 0, "{run:?}");
    assert_eq!((&rows[0]["state"], &rows[1]["state"]), (&"Active".into(), &"Pending".into()));
    assert!(
        run.stderr.contains("on 1 of 2 nodes: not on n2 (waits for the approval of a second person)."),
        "{}",
        run.stderr
    );
}

#[test]
fn f12_the_end_is_one_instant_although_the_clocks_differ() {
    let faketime = Path::new("/usr/bin/faketime");
    let Some(mut cluster) = Cluster::new(1).filter(|_| faketime.exists()) else { return };
    let machine = Machine::new();
    let bin = machine.work().join("bin");
    std::fs::create_dir(&bin).expect("own directory");
    let script = format!("#!/bin/sh\nexec {} -f -20m {} \"$@\"\n", faketime.display(), program().display());
    std::fs::write(bin.join("remote-support"), script).expect("own file");
    crate::machine::chmod(&bin.join("remote-support"), 0o755);
    cluster.add("n2", &machine, "");
    cluster.nodes.push(machine);
    let (run, rows) = cluster.rows(&format!("{ENABLE} --node n1,n2 --expire-in-minutes 120"));
    assert_eq!(run.code, 0, "{run:?}");
    assert_eq!(rows[0]["expiresAt"], rows[1]["expiresAt"]);
    let (one, two) = (cluster.grants(0), cluster.grants(1));
    assert_eq!(one[0].deadline.wall, two[0].deadline.wall);
    assert_eq!((one[0].minutes.get(), two[0].minutes.get()), (120, 140), "each counts by its own clock");
    // Where its clock makes it longer than any consent may be, the node refuses.
    let (run, rows) = cluster.rows(&format!("{ENABLE} --node n1,n2 --expire-in-minutes 20160"));
    assert_eq!((run.code, &rows[1]["trouble"]), (7, &"invalid-value".into()), "{run:?}");
}

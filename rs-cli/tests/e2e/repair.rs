//! Repair: real services of this machine under runit, the operator's answer to single calls, and a higher level on request.

use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use rs_consent::EndCause;
use rs_session::record::{ApprovalStep, ApprovalSubject, Content};
use serde_json::Value;
use uuid::Uuid;

use crate::daemon::{Daemon, until, until_true};
use crate::machine::Run;
use crate::records;
use crate::site::{Site, session_of};

/// Where runit's services are on this system.
const FOLDER: &str = "/etc/service";
/// runit's supervisor of one service.
const SUPERVISOR: &str = "/usr/bin/runsv";

/// A real service under a real supervisor; gone when it is dropped.
pub(crate) struct Service {
    pub(crate) name: String,
    pub(crate) folder: PathBuf,
    supervisor: Child,
}

impl Service {
    /// Starts it, or says why this machine cannot have it.
    pub(crate) fn start(prefix: &str) -> Option<Self> {
        Self::start_with(prefix, "exec sleep 100000")
    }

    /// As [`Service::start`], with what its `run` does; `sleep` must be among its words.
    pub(crate) fn start_with(prefix: &str, does: &str) -> Option<Self> {
        let able = Path::new(SUPERVISOR).exists() && rustix::process::geteuid().is_root();
        if !able {
            assert!(std::env::var_os("REQUIRE_RUNIT").is_none(), "runit and root are required here");
            eprintln!("skipped: needs root, and runit ({SUPERVISOR})");
            return None;
        }
        let name = format!("{prefix}-{}", Uuid::new_v4().simple());
        let folder = Path::new(FOLDER).join(&name);
        std::fs::create_dir_all(&folder).expect("root may");
        let run = folder.join("run");
        std::fs::write(&run, format!("#!/bin/sh\n{does}\n")).expect("own folder");
        std::fs::set_permissions(&run, std::fs::Permissions::from_mode(0o755)).expect("own file");
        let supervisor = Command::new(SUPERVISOR)
            .arg(&folder)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("runsv starts");
        let service = Self { name, folder, supervisor };
        until_true("the service runs", || service.process().is_some());
        Some(service)
    }

    /// The service's process, as its supervisor says and the system confirms.
    pub(crate) fn process(&self) -> Option<u32> {
        let pid = std::fs::read_to_string(self.folder.join("supervise/pid")).ok()?.trim().parse().ok()?;
        let command = std::fs::read_to_string(format!("/proc/{pid}/cmdline")).ok()?;
        command.contains("sleep").then_some(pid)
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        // `x` ends the service and then its supervisor; `k` is for one that does not want to end.
        let _ = std::fs::write(self.folder.join("supervise/control"), "xk");
        let _ = self.supervisor.wait();
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

fn site(enable: &str) -> Site {
    let site = Site::started();
    site.papers();
    site.machine.enable(enable);
    site.connected();
    site
}

fn connect(site: &Site, line: &str) -> Run {
    site.machine.run_args(["--output", "json", "connect", "--command", line])
}

/// The one session's record, checked by the verifier.
#[track_caller]
fn contents(site: &Site, session: Uuid) -> Vec<Content> {
    let verified = site.machine.run(&format!("session verify {session}"));
    assert_eq!(verified.code, 0, "{}", verified.stderr);
    records::frames(&site.record(session)).iter().filter_map(records::content).collect()
}

fn last_session(site: &Site) -> Uuid {
    let newest =
        site.records().into_iter().max_by_key(|path| path.metadata().and_then(|meta| meta.modified()).ok());
    newest.and_then(|path| path.file_stem()?.to_str()?.parse().ok()).expect("a session")
}

#[test]
fn a09_a_real_service_is_stopped_and_started_at_repair_level_and_not_at_diagnostics() {
    let Some(service) = Service::start("rs-test") else { return };
    let site = site("DiagnosticsRepair");
    let first = service.process().expect("it runs");

    let stopped = connect(&site, &format!("Stop-Service {}", service.name));
    assert_eq!(stopped.code, 0, "{}", stopped.stderr);
    assert_eq!(service.process(), None, "it is down when the line has ended");
    let object: Value = serde_json::from_str(&stopped.stdout).expect("an object");
    assert_eq!((&object["Before"], &object["Status"]), (&"Running".into(), &"Stopped".into()));
    assert_eq!(object["Manager"], "runit");
    let shown = format!("{:?}", contents(&site, last_session(&site)));
    assert!(
        shown.contains("Before") && shown.contains("Stop-Service"),
        "before and after are on record: {shown}"
    );

    let started = connect(&site, &format!("sAsV -name:{}", service.name));
    assert_eq!(started.code, 0, "{}", started.stderr);
    let second = until("it runs again", || service.process());
    assert_ne!(first, second);
    assert!(site.workers().is_empty(), "the service is the supervisor's child, and outlives the operation");

    let again = connect(&site, &format!("Start-Service {} -PassThru", service.name));
    assert_eq!((again.code, service.process()), (0, Some(second)), "what runs is left alone");

    site.machine.enable("Diagnostics");
    let refused = connect(&site, &format!("Stop-Service {}", service.name));
    assert_eq!(refused.code, 3, "{}", refused.stderr);
    assert_eq!(service.process(), Some(second));
    let refusal = contents(&site, last_session(&site)).into_iter().find_map(|content| match content {
        Content::Refusal(refusal) => Some(refusal.code),
        _ => None,
    });
    assert_eq!(refusal.as_deref(), Some("needs-repair"));
}

#[test]
fn a09_protected_services_and_the_owners_rules_hold_on_the_machine() {
    // A protected name, a link that hides one, and a free one.
    let Some(service) = Service::start("remote-support-agent") else { return };
    let link = Path::new(FOLDER).join(format!("rs-link-{}", Uuid::new_v4().simple()));
    std::os::unix::fs::symlink(&service.folder, &link).expect("root may");
    let free = Service::start("rs-free").expect("it could before");
    let mut site = site("DiagnosticsRepair");
    let link_name = link.file_name().and_then(|name| name.to_str()).expect("text").to_owned();
    for name in [service.name.clone(), service.name.to_uppercase(), format!("{}.service", service.name)] {
        let run = connect(&site, &format!("Microsoft.PowerShell.Management\\Stop-Service '{name}'"));
        assert_eq!(run.code, 3, "{name}: {}", run.stderr);
        assert!(run.stderr.contains("protected-service"), "{}", run.stderr);
    }
    let linked = connect(&site, &format!("Stop-Service {link_name}"));
    assert_eq!(linked.code, 1, "{}", linked.stderr);
    assert!(linked.stderr.contains("is protected"), "{}", linked.stderr);
    for name in ["rs-fre*", "rs-free", "'rs-free-?'"] {
        assert_ne!(connect(&site, &format!("Stop-Service {name}")).code, 0, "{name}");
    }
    assert!(service.process().is_some() && free.process().is_some(), "all still run");

    // The owner protects the free one too.
    let policy = format!(r#"{{ "services": {{ "deny": ["{}"] }} }}"#, free.name);
    std::fs::write(site.role(rs_cli::state::Role::Node).join("policy.json"), policy).expect("own folder");
    site.agent = None;
    site.start_agent();
    site.connected();
    let denied = connect(&site, &format!("Stop-Service {}", free.name));
    assert_eq!(denied.code, 3, "{}", denied.stderr);
    assert!(denied.stderr.contains("by the owner of the node"), "{}", denied.stderr);
    assert!(free.process().is_some());
    let _ = std::fs::remove_file(&link);
}

#[test]
fn a15_a_command_that_the_owner_takes_out_is_refused_and_not_offered() {
    let mut site = site("DiagnosticsRepair");
    assert_eq!(connect(&site, "Get-Process").code, 0, "the control");
    let policy = r#"{ "commands": { "deny": ["Get-Process", "Stop-*"] } }"#;
    std::fs::write(site.role(rs_cli::state::Role::Node).join("policy.json"), policy).expect("own folder");
    site.agent = None;
    site.start_agent();
    site.connected();
    for line in ["gps", "Stop-Service no-such-service"] {
        let refused = connect(&site, line);
        assert_eq!(refused.code, 3, "{line}: {}", refused.stderr);
        assert!(refused.stderr.contains("by the owner of the node"), "{}", refused.stderr);
    }
    let listed = connect(&site, "Get-Command | Select-Object -ExpandProperty Name");
    let has = |name: &str| listed.stdout.contains(name);
    assert!(has("Get-Service") && has("Start-Service") && !has("Get-Process") && !has("Stop-Service"));
}

/// The one call that waits.
#[track_caller]
pub(crate) fn waiting(site: &Site) -> (Uuid, Value) {
    until("a call waits", || {
        let listed = site.machine.json("session approvals");
        let one = listed.as_array()?.first()?.clone();
        Some((one["approvalId"].as_str()?.parse().ok()?, one))
    })
}

fn steps(contents: Vec<Content>) -> Vec<ApprovalStep> {
    let step = |content| match content {
        Content::Approval(approval) => Some(approval.step),
        _ => None,
    };
    contents.into_iter().filter_map(step).collect()
}

fn ended(mut engineer: Daemon, code: i32) -> String {
    assert_eq!(engineer.exit_code(), code, "{}", engineer.stderr());
    engineer.stderr()
}

#[test]
fn a09_with_approval_required_each_change_waits_for_the_operators_answer() {
    let Some(service) = Service::start("rs-test") else { return };
    let site = site("DiagnosticsRepair --require-approval changes");
    assert_eq!(site.machine.json("access")[0]["requireApproval"], "changes");
    let stop = format!("Stop-Service {}", service.name);

    // Reading is not asked about.
    assert_eq!(connect(&site, "Get-Service cron").code, 0);

    // Yes.
    let engineer = site.engineer([&stop]);
    let session = session_of(&engineer);
    let (id, asked) = waiting(&site);
    assert_eq!((&asked["subject"], &asked["sessionId"]), (&"change".into(), &session.to_string().into()));
    assert!(
        asked["summary"].as_str().is_some_and(|text| text.contains(&stop) && text.contains("services")),
        "{asked}"
    );
    assert!(asked["remainingSeconds"].as_u64().is_some_and(|left| (200..=300).contains(&left)), "{asked}");
    engineer.says("waiting for the operator, at most 300 s");
    assert!(service.process().is_some() && site.workers().is_empty(), "nothing has started");
    assert_eq!(site.machine.run(&format!("session approve {id}")).code, 0);
    ended(engineer, 0);
    assert_eq!(service.process(), None);
    let [ApprovalStep::Asked { subject, .. }, ApprovalStep::Approved { by }] =
        &steps(contents(&site, session))[..]
    else {
        panic!("asked and approved are on record")
    };
    assert_eq!(*subject, ApprovalSubject::Change);
    assert!(by.contains("uid"), "{by}");

    // No.
    let start = format!("Start-Service {}", service.name);
    let engineer = site.engineer([&start]);
    let session = session_of(&engineer);
    let (id, _) = waiting(&site);
    let said = site.machine.run_args(["session", "decline", &id.to_string(), "--reason", "not at noon"]);
    assert_eq!(said.code, 0, "{}", said.stderr);
    assert!(ended(engineer, 3).contains("the operator declined: not at noon"));
    assert_eq!(service.process(), None, "declined, so not started");
    assert!(
        matches!(&steps(contents(&site, session))[1], ApprovalStep::Declined { reason, .. } if reason == "not at noon")
    );
    let late = site.machine.run(&format!("session approve {id}"));
    assert_eq!(late.code, 4, "an answer counts once: {}", late.stderr);

    // Revoked while it waits: it is over at once, and the answer comes to nothing.
    let engineer = site.engineer([&start]);
    let session = session_of(&engineer);
    let (id, _) = waiting(&site);
    let said = site.machine.json("disable");
    assert_eq!(said["sessionsEnded"], 1);
    assert_eq!(site.machine.run(&format!("session approve {id}")).code, 4);
    ended(engineer, 3);
    assert_eq!(records::ends(&site.record(session)), [EndCause::Revoked]);
    assert_eq!(service.process(), None);
}

#[test]
fn a09_an_interrupt_ends_the_wait() {
    let Some(service) = Service::start("rs-test") else { return };
    let site = site("DiagnosticsRepair --require-approval changes");
    let engineer = site.engineer([format!("Stop-Service {}", service.name)]);
    let session = session_of(&engineer);
    let (id, _) = waiting(&site);
    engineer.signal(rustix::process::Signal::INT);
    assert!(ended(engineer, 1).contains("interrupted"));
    assert_eq!(site.machine.run(&format!("session approve {id}")).code, 4);
    assert!(service.process().is_some());
    assert_eq!(steps(contents(&site, session)).len(), 1, "asked, and never answered");
}

#[test]
fn e08_sec02_a_higher_level_comes_from_the_operators_fresh_consent_and_holds_for_new_sessions() {
    let site = site("Diagnostics");
    let wish = "Request-AccessLevel DiagnosticsRepair -Reason 'the spooler hangs'";
    let before = site.machine.json("access")[0].clone();

    // No.
    let engineer = site.engineer([wish]);
    let (id, asked) = waiting(&site);
    assert!(asked["summary"].as_str().is_some_and(|text| text.contains("the spooler hangs")), "{asked}");
    assert_eq!(site.machine.run(&format!("session decline {id}")).code, 0);
    assert!(ended(engineer, 3).contains("the operator declined"));
    assert_eq!(site.machine.json("access")[0]["accessLevel"], "Diagnostics");

    // A Yes without a consent is none, wherever it comes from.
    let engineer = site.engineer([wish, "Stop-Service no-such-service"]);
    let session = session_of(&engineer);
    let (id, _) = waiting(&site);
    let state = rs_cli::state::StateDir::new(Some(site.machine.state())).expect("a path");
    let control = rs_cli::control::SocketControl::new(&state.role(rs_cli::state::Role::Node));
    let bare = rs_cli::control::AgentControl::answer(&control, id, rs_cli::control::Verdict::Approve {});
    assert!(bare.is_err_and(|error| error.to_string().contains("not consented")));
    let unasked = site.machine.run(&format!("session approve {id}"));
    assert_eq!(unasked.code, 3, "no terminal to ask at, and nobody has agreed: {}", unasked.stderr);
    assert_eq!(site.machine.json("access")[0]["accessLevel"], "Diagnostics");

    // Yes, with the consent.
    let yes = site.machine.run(&format!("session approve {id} --agree-to-remote-support-consent"));
    assert_eq!(yes.code, 0, "{}", yes.stderr);
    let told = ended(engineer, 3);
    assert!(told.contains("needs-repair"), "the session that asked keeps its level: {told}");
    let after = site.machine.json("access")[0].clone();
    assert_eq!(after["accessLevel"], "DiagnosticsRepair");
    assert_eq!(
        (&after["id"], &after["expiresAt"]),
        (&before["id"], &before["expiresAt"]),
        "the end is not moved"
    );
    assert!(matches!(&steps(contents(&site, session))[1], ApprovalStep::Approved { .. }));

    // A new session has it.
    let new = connect(&site, "Stop-Service no-such-service");
    assert_eq!(new.code, 1, "permitted, and there is no such service: {}", new.stderr);
}

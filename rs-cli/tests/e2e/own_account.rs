//! An agent that is not root, and the part of it that is (A13): one state directory, an account of its own, and a root
//! part that is started for each connection, as systemd does it.

use std::fs::{self, File};
use std::io::Write as _;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::os::unix::net::{UnixListener, UnixStream};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Instant;

use rs_cli::state::Role;
use rs_consent::AccessLevel;
use rs_session::operations::executor::REQUEST_WAIT;
use rs_session::operations::root_part::{REQUEST_BYTES_MAX, Request};
use rs_session::operations::wire::{Finish, FrameKind, Status, header, read_frame, write_frame};
use rs_session::operations::{Context, Plan};
use rustix::process::{Gid, Uid};
use serde_json::Value;
use uuid::Uuid;

use crate::conditions::as_another;
use crate::daemon::{until, until_true};
use crate::machine::{Run, program};
use crate::repair::{Service, waiting};
use crate::site::{Site, session_of};
use crate::wire;

/// The account that stands for the agent's.
const ACCOUNT: &str = "nobody";
const NOBODY: u32 = 65534;
/// Some other account.
const STRANGER: u32 = 1;

/// What systemd does: listens, and starts the root part for each connection.
struct RootPart {
    socket: PathBuf,
    log: PathBuf,
    stop: Arc<AtomicBool>,
    children: Arc<Mutex<Vec<Child>>>,
    thread: Option<std::thread::JoinHandle<()>>,
}

impl RootPart {
    fn start(site: &Site, folder: &Path) -> Self {
        let (socket, log) = (folder.join("root.sock"), folder.join("root-part.log"));
        let listener = UnixListener::bind(&socket).expect("a short path");
        // Everybody may knock, so that it is the program that refuses.
        fs::set_permissions(&socket, fs::Permissions::from_mode(0o666)).expect("own file");
        let (stop, children) = (Arc::new(AtomicBool::new(false)), Arc::new(Mutex::new(Vec::new())));
        let (state, stopped, kept, to) =
            (site.machine.state(), Arc::clone(&stop), Arc::clone(&children), log.clone());
        let thread = std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                if stopped.load(Ordering::SeqCst) {
                    return;
                }
                let log = File::options().create(true).append(true).open(&to).expect("own file");
                let child = Command::new(program())
                    .args(["agent", "root-part"])
                    .env_clear()
                    .env("REMOTE_SUPPORT_STATE_DIR", &state)
                    .stdin(Stdio::from(std::os::fd::OwnedFd::from(stream)))
                    .stdout(Stdio::null())
                    .stderr(log)
                    .spawn();
                kept.lock().expect("no panic").push(child.expect("it starts"));
            }
        });
        Self { socket, log, stop, children, thread: Some(thread) }
    }

    fn said(&self) -> String {
        fs::read_to_string(&self.log).unwrap_or_default()
    }

    /// Whether one of its processes lives.
    fn lives(&self) -> bool {
        let mut children = self.children.lock().expect("no panic");
        children.iter_mut().any(|child| child.try_wait().expect("own process").is_none())
    }
}

impl Drop for RootPart {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::SeqCst);
        let _ = UnixStream::connect(&self.socket);
        let _ = self.thread.take().map(std::thread::JoinHandle::join);
        for child in self.children.lock().expect("no panic").iter_mut() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

/// A node that was handed over to the account, with a root part beside it; nothing where this needs a root that is not there.
struct Node {
    // Before the site: nothing may run when its directory goes.
    root: RootPart,
    site: Site,
}

impl Node {
    /// With a consent in force from before it was handed over, an agent of the account, and the relay reached.
    fn new(enable: &str) -> Option<Self> {
        Self::with_policy(None, enable)
    }

    /// As [`Node::new`], under rules of the owner's.
    fn with_policy(policy: Option<&str>, enable: &str) -> Option<Self> {
        if !rustix::process::geteuid().is_root() {
            assert!(std::env::var_os("REQUIRE_ROOT").is_none(), "root is required here");
            eprintln!("skipped: needs root");
            return None;
        }
        let mut site = Site::empty();
        let folder = site.machine.state().parent().expect("a directory").to_owned();
        fs::set_permissions(&folder, fs::Permissions::from_mode(0o711)).expect("own directory");
        fs::set_permissions(site.machine.work(), fs::Permissions::from_mode(0o711)).expect("own directory");
        site.start_relay();
        site.papers();
        if let Some(policy) = policy {
            fs::write(site.role(Role::Node).join("policy.json"), policy).expect("own folder");
        }
        site.machine.enable(enable);
        let handed = site.machine.run(&format!("agent hand-over {ACCOUNT}"));
        assert_eq!(handed.code, 0, "{}", handed.stderr);
        let root = RootPart::start(&site, &folder);
        let mut node = Self { root, site };
        node.start_agent(true);
        Some(node)
    }

    fn start_agent(&mut self, with_root_part: bool) {
        self.site.agent = None;
        let socket = self.root.socket.clone();
        self.site.start_agent_with(|command| {
            command.uid(NOBODY).gid(NOBODY);
            if with_root_part {
                command.env("REMOTE_SUPPORT_ROOT_PART_SOCKET", socket);
            }
        });
        self.site.connected();
    }

    fn connect(&self, line: &str) -> Run {
        self.site.machine.run_args(["--output", "json", "connect", "--command", line])
    }

    /// What a command does that the agent's account runs.
    fn as_account(&self, line: &str) -> Run {
        let mut command = self.site.machine.command(line.split(' '));
        command.args(["--output", "json"]).uid(NOBODY).gid(NOBODY);
        Run::from(command.output().expect("it starts"))
    }

    fn own(&self) -> PathBuf {
        self.site.machine.state().with_file_name("state-root")
    }

    fn warrant(&self) -> PathBuf {
        self.own().join("warrant.json")
    }

    /// What the root part answers to these bytes from this account; nothing where it just hangs up.
    fn answer_to(&self, account: u32, bytes: Vec<u8>) -> Option<Finish> {
        let mut stream = self.connection(account);
        // One that is refused before it is read may hang up while this is written.
        let _ = stream.write_all(&bytes);
        last_word(&mut stream)
    }

    fn connection(&self, account: u32) -> UnixStream {
        let socket = self.socket();
        let connecting = std::thread::spawn(move || {
            let (user, group) = (Uid::from_raw(account), Gid::from_raw(account));
            rustix::thread::set_thread_res_gid(group, group, group).expect("root may");
            rustix::thread::set_thread_res_uid(user, user, user).expect("root may");
            UnixStream::connect(socket).expect("everybody may knock")
        });
        connecting.join().expect("no panic")
    }

    fn socket(&self) -> PathBuf {
        self.root.socket.clone()
    }
}

fn last_word(stream: &mut UnixStream) -> Option<Finish> {
    loop {
        match read_frame(stream) {
            Ok((FrameKind::Finish, payload)) => return serde_json::from_slice(&payload).ok(),
            Ok(_) => {}
            Err(_) => return None,
        }
    }
}

fn plan(line: &str) -> Plan {
    let mut context = Context::new(AccessLevel::DiagnosticsRepair);
    context.policy.strict_read_only = true;
    context.plan_line(line).expect("permitted")
}

fn framed(request: &Value) -> Vec<u8> {
    let mut bytes = Vec::new();
    write_frame(&mut bytes, FrameKind::Plan, request.to_string().as_bytes()).expect("short");
    bytes
}

fn request(line: &str) -> Value {
    serde_json::to_value(Request::new(Uuid::new_v4(), plan(line))).expect("JSON")
}

#[track_caller]
fn refused(answer: Option<Finish>, why: &str) {
    let answer = answer.expect("a refusal");
    assert_eq!(answer.status, Status::Failed, "{}", answer.message);
    assert!(answer.message.contains(why), "{}", answer.message);
}

fn everything_below(folder: &Path) -> Vec<PathBuf> {
    let mut found = vec![folder.to_owned()];
    let mut at = 0;
    while let Some(path) = found.get(at).cloned() {
        at += 1;
        if path.symlink_metadata().is_ok_and(|about| about.is_dir()) {
            found.extend(fs::read_dir(path).expect("root may").flatten().map(|entry| entry.path()));
        }
    }
    found
}

#[test]
fn a13_the_agent_is_not_root_and_root_does_what_was_consented_to() {
    let Some(service) = Service::start("rs-test") else { return };
    let Some(mut node) = Node::new("DiagnosticsRepair") else { return };
    let status = fs::read_to_string(format!("/proc/{}/status", node.site.agent().pid())).expect("it runs");
    assert!(status.contains("Uid:\t65534\t65534\t65534\t65534"), "{status}");
    assert!(status.contains("CapEff:\t0000000000000000"), "{status}");

    // What needs no root is done without.
    let date = node.connect("Get-Date");
    assert_eq!(date.code, 0, "{}", date.stderr);
    assert!(!node.root.said().contains("Get-Date"), "{}", node.root.said());

    // A change, by the consent that was given before the hand-over.
    let stopped = node.connect(&format!("Stop-Service {}", service.name));
    assert_eq!(stopped.code, 0, "{} {}", stopped.stderr, node.root.said());
    assert_eq!(service.process(), None);
    let started = node.connect(&format!("Start-Service {}", service.name));
    assert_eq!(started.code, 0, "{}", started.stderr);
    until("it runs again", || service.process());
    let said = node.root.said();
    assert!(said.contains(&format!("Stop-Service {}", service.name)) && said.contains("admitted"), "{said}");

    // What only root can read: the processes behind others' sockets. The relay's is root's.
    let relay = node.site.relay().pid();
    let sockets = node.connect("Get-NetTCPConnection -State Listen | Select-Object OwningProcess");
    assert!(sockets.stdout.contains(&relay.to_string()), "{} {}", sockets.stdout, sockets.stderr);

    // The owner's commands run as root, and leave nothing that the agent could not use.
    let verified = node.site.machine.run("session verify");
    assert_eq!(verified.code, 0, "{}", verified.stderr);
    let secret = node.site.machine.work().join("roots-own");
    fs::create_dir(&secret).expect("own directory");
    fs::set_permissions(&secret, fs::Permissions::from_mode(0o700)).expect("own directory");
    let session =
        node.site.records()[0].file_stem().and_then(|name| name.to_str()).expect("an id").to_owned();
    let to = secret.join("bundle");
    let exported = node.site.machine.run_args(["session", "export", &session, to.to_str().expect("text")]);
    assert_eq!(exported.code, 0, "{}", exported.stderr);
    assert_eq!(
        node.site.machine.run_args(["session", "verify", to.to_str().expect("text")]).code,
        0,
        "verify"
    );
    assert_eq!(to.metadata().expect("there").uid(), 0, "what the operator names is the operator's");
    node.site.machine.enable("Diagnostics");
    for path in everything_below(&node.site.machine.state()) {
        // Files come and go while this looks.
        let Ok(about) = path.symlink_metadata() else { continue };
        assert_eq!(about.uid(), NOBODY, "{}", path.display());
    }
    for path in everything_below(&node.own()) {
        assert_eq!(
            path.symlink_metadata().map(|about| (about.uid(), about.mode() & 0o077)).ok(),
            Some((0, 0))
        );
    }

    // The level holds in both places.
    let refused = node.connect(&format!("Stop-Service {}", service.name));
    assert_eq!(refused.code, 3, "{}", refused.stderr);

    // The control: without a root part there is no change, and a poorer answer.
    node.site.machine.enable("DiagnosticsRepair");
    node.start_agent(false);
    let alone = node.connect(&format!("Stop-Service {}", service.name));
    assert_ne!(alone.code, 0, "{}", alone.stdout);
    assert!(service.process().is_some(), "root alone may stop it");
    let sockets = node.connect("Get-NetTCPConnection -State Listen | Select-Object OwningProcess");
    assert_eq!(sockets.code, 0, "{}", sockets.stderr);
    assert!(!sockets.stdout.contains(&relay.to_string()), "{}", sockets.stdout);
}

#[test]
fn a13_sec22_an_agent_that_was_taken_over_gets_from_root_what_the_consent_permits_and_nothing_else() {
    let Some(service) = Service::start("rs-test") else { return };
    let Some(node) = Node::new("Diagnostics") else { return };
    let stop = format!("Stop-Service {}", service.name);
    let bytes = framed(&request(&stop));

    // The level that the owner gave counts, and not the one that the request claims.
    refused(node.answer_to(NOBODY, bytes.clone()), "the consent in force is for Diagnostics");
    let mut lowered = request(&stop);
    lowered["plan"]["level"] = "Diagnostics".into();
    refused(node.answer_to(NOBODY, framed(&lowered)), "not permitted");

    // Nobody but the agent's account; root and others are not even read.
    for account in [0, STRANGER] {
        assert_eq!(node.answer_to(account, bytes.clone()), None, "{account}");
    }
    until_true("it is on record", || node.root.said().contains("a caller was refused"));

    node.site.machine.enable("DiagnosticsRepair");
    // Outside of the catalog, of the constraints, of what needs root, and protected.
    let alter = |path: &str, value: Value| {
        let mut request = request(&stop);
        *request.pointer_mut(path).expect("there") = value;
        node.answer_to(NOBODY, framed(&request))
    };
    refused(alter("/plan/call/command", "Invoke-Expression".into()), "unknown command");
    refused(alter("/plan/call/command", "/bin/sh".into()), "unknown command");
    refused(alter("/plan/call/arguments/Name/texts/0", "a; reboot".into()), "-Name");
    refused(alter("/plan/call/arguments/Name/texts/0", "ssh".into()), "protected");
    refused(alter("/plan/call/arguments/Name/texts/0", "remote-support-root@7".into()), "protected");
    refused(alter("/plan/limits/seconds", u32::MAX.into()), "a limit is passed");
    refused(alter("/plan/variant", "azure-stack-hub-2206".into()), "other lists");
    refused(alter("/catalog", "0".repeat(64).into()), "different catalogs");
    refused(node.answer_to(NOBODY, framed(&request("Get-Date"))), "needs nothing that only root can do");
    let mut more = request(&stop);
    more["program"] = "/bin/sh".into();
    refused(node.answer_to(NOBODY, framed(&more)), "not in the form of a request");
    refused(node.answer_to(NOBODY, framed(&"x".into())), "not in the form of a request");

    // Longer than its limit: refused by the announcement alone.
    let mut long = header(FrameKind::Plan, REQUEST_BYTES_MAX + 1).to_vec();
    refused(node.answer_to(NOBODY, long.clone()), "longer than its limit");
    long = b"GET / HTTP/1.1\r\n\r\n".to_vec();
    refused(node.answer_to(NOBODY, long), "or is none");

    // Slow: an agent that does not say what it wants is hung up on.
    let since = Instant::now();
    refused(node.answer_to(NOBODY, bytes[..bytes.len() - 1].to_vec()), "no request within");
    assert!((REQUEST_WAIT..REQUEST_WAIT * 4).contains(&since.elapsed()), "{:?}", since.elapsed());

    // After its end a consent is none, though its file is there.
    let kept = fs::read(node.warrant()).expect("root may");
    let mut over: Value = serde_json::from_slice(&kept).expect("JSON");
    over["grant"]["deadline"]["wall"] = "2020-01-01T00:00:00Z".into();
    fs::write(node.warrant(), over.to_string()).expect("root may");
    refused(node.answer_to(NOBODY, bytes.clone()), "is Expired");
    // One that anybody else could have written is none either.
    fs::write(node.warrant(), &kept).expect("root may");
    std::os::unix::fs::chown(node.warrant(), Some(NOBODY), None).expect("root may");
    refused(node.answer_to(NOBODY, bytes.clone()), "knows of no consent");
    std::os::unix::fs::chown(node.warrant(), Some(0), None).expect("root may");
    assert!(service.process().is_some(), "nothing of all this was done");

    // The control: the very same bytes are carried out under the consent that permits them.
    let done = node.answer_to(NOBODY, bytes.clone()).expect("an answer");
    assert_eq!(done.status, Status::Done, "{}", done.message);
    assert!(done.measures.iter().any(|measure| measure.starts_with("file-rules")), "{:?}", done.measures);
    assert_eq!(service.process(), None);

    // And never again once it is revoked.
    let revoked = node.site.machine.run("disable");
    assert_eq!(revoked.code, 0, "{}", revoked.stderr);
    refused(node.answer_to(NOBODY, bytes), "knows of no consent");
}

#[test]
fn a09_a13_root_keeps_the_owners_services_whatever_the_agent_leaves_out() {
    let Some(owned) = Service::start("rs-owned") else { return };
    let link = owned.folder.with_file_name(format!("rs-link-{}", Uuid::new_v4().simple()));
    std::os::unix::fs::symlink(&owned.folder, &link).expect("root may");
    let policy = r#"{ "services": { "deny": ["rs-owned*"] } }"#;
    let node = Node::with_policy(Some(policy), "DiagnosticsRepair");
    let node = node.expect("root started a service");
    let name = link.file_name().and_then(|name| name.to_str()).expect("text");
    // The plan of an agent that was taken over knows nothing of the owner's rules, and names the service by its link.
    let bare = request(&format!("Stop-Service {name}"));
    assert_eq!(bare.pointer("/plan/services"), None);
    let answer = node.answer_to(NOBODY, framed(&bare));
    fs::remove_file(&link).expect("root may");
    refused(answer, "which is protected by the owner of the node");
    assert!(owned.process().is_some(), "it still runs");

    // The control: without the owner's rules the same is done.
    fs::remove_file(node.site.role(Role::Node).join("policy.json")).expect("root may");
    node.site.machine.enable("DiagnosticsRepair");
    std::os::unix::fs::symlink(&owned.folder, &link).expect("root may");
    let done = node.answer_to(NOBODY, framed(&bare)).expect("an answer");
    fs::remove_file(&link).expect("root may");
    assert_eq!((done.status, owned.process()), (Status::Done, None), "{}", done.message);
}

#[test]
fn a13_a_higher_level_is_added_to_what_root_knows_and_not_to_what_the_agents_store_says() {
    let Some(node) = Node::new("Diagnostics --require-approval changes") else { return };
    let warrant =
        || -> Value { serde_json::from_slice(&fs::read(node.warrant()).expect("root may")).expect("JSON") };
    let raise = || {
        let mut engineer = node.site.engineer(["Request-AccessLevel DiagnosticsRepair -Reason 'it hangs'"]);
        let (id, _) = waiting(&node.site);
        let yes = node.site.machine.run(&format!("session approve {id} --agree-to-remote-support-consent"));
        assert_eq!(yes.code, 0, "{}", yes.stderr);
        assert_eq!(engineer.exit_code(), 0, "{}", engineer.stderr());
        yes.stderr
    };
    let given = warrant();

    // Whoever has the account writes into its store what it likes: nobody is asked any more, and for two weeks.
    let forged = "enable --agree-to-remote-support-consent --access-level Diagnostics --require-approval never \
                  --expire-in-minutes 20160";
    let forged = node.as_account(forged);
    assert_eq!(forged.code, 0, "{}", forged.stderr);
    assert_eq!(warrant(), given, "root was told nothing by it");
    let told = raise();
    assert!(told.contains("knows this consent to be another one"), "{told}");
    assert_eq!(warrant(), given, "what the owner gave root stands");
    let stop = framed(&request("Stop-Service no-such-service"));
    refused(node.answer_to(NOBODY, stop.clone()), "the consent in force is for Diagnostics");

    // The control: the same raise of the consent that root knows. The owner is asked, as before, and its end stays.
    node.site.machine.enable("Diagnostics --require-approval changes");
    let given = warrant();
    let told = raise();
    assert!(!told.contains("runs as root"), "{told}");
    let raised = warrant();
    assert_eq!(raised["grant"]["level"], "DiagnosticsRepair");
    for kept in ["approval", "deadline", "scope", "id"] {
        assert_eq!(raised["grant"][kept], given["grant"][kept], "{kept}");
    }
    refused(node.answer_to(NOBODY, stop), "root knows of no Yes to this call");
}

#[test]
fn c26_a13_a_second_persons_yes_counts_for_what_root_knows() {
    let Some(node) = Node::new("Diagnostics") else { return };
    let stop = framed(&request("Stop-Service no-such-service"));
    let approve = "approve --agree-to-remote-support-consent";
    let give = || {
        assert_eq!(node.site.machine.run("disable").code, 0);
        node.site.machine.enable("DiagnosticsRepair --second-person --require-approval changes");
        refused(node.answer_to(NOBODY, stop.clone()), "is Pending");
    };
    give();
    // Whoever has the account changes what the second person will say Yes to.
    let forged = node.as_account(
        "enable --agree-to-remote-support-consent --access-level DiagnosticsRepair --second-person",
    );
    assert_eq!(forged.code, 0, "{}", forged.stderr);
    let Some(yes) = as_another(&node.site, approve) else { return };
    assert!(yes.stderr.contains("knows this consent to be another one"), "{}", yes.stderr);
    refused(node.answer_to(NOBODY, stop.clone()), "is Pending");

    // The control.
    give();
    let yes = as_another(&node.site, approve).expect("as before");
    assert!(yes.code == 0 && !yes.stderr.contains("runs as root"), "{}", yes.stderr);
    refused(node.answer_to(NOBODY, stop), "root knows of no Yes to this call");
}

#[test]
fn a13_sec07_a_revocation_on_the_agents_own_page_reaches_root_too() {
    let Some(mut node) = Node::new("DiagnosticsRepair") else { return };
    let stop = framed(&request("Stop-Service no-such-service"));
    let known = node.answer_to(NOBODY, stop.clone()).expect("an answer");
    assert!(known.message.contains("Cannot find any service"), "the control: it passes: {}", known.message);

    // A command of the account's own has no way to root, and says so; the consent that root knows stands.
    let own = node.as_account("disable");
    assert_eq!(own.code, 0, "{}", own.stderr);
    assert!(own.stderr.contains("ALARM") && own.stderr.contains("as root"), "{}", own.stderr);
    assert!(node.warrant().exists());

    // The agent's page has one.
    node.site.machine.enable("DiagnosticsRepair");
    node.site.agent = None;
    let socket = node.root.socket.clone();
    node.site.start_agent_with(|command| {
        command.uid(NOBODY).gid(NOBODY).env("REMOTE_SUPPORT_ROOT_PART_SOCKET", socket);
        command.env("REMOTE_SUPPORT_CONSOLE", "127.0.0.1:0");
    });
    let offer = node.site.machine.json("console --of-agent");
    let text = |name: &str| offer[name].as_str().expect("text").to_owned();
    let host = text("address").trim_start_matches("http://").trim_end_matches('/').to_owned();
    let ask = |method: &str, path: &str, cookie: &str, body: &str| {
        let head = [
            format!("Host: {host}"),
            format!("Origin: http://{host}"),
            format!("Cookie: {cookie}"),
            "Content-Type: application/x-www-form-urlencoded".to_owned(),
        ];
        wire::ask(&host, method, path, &head, body)
    };
    let signed_in = ask("POST", "/sign-in", "", &format!("code={}", text("code")));
    let cookie = signed_in.header("set-cookie").split(';').next().expect("a cookie").to_owned();
    let overview = ask("GET", "/", &cookie, "").text();
    let (_, form) = overview.split_once("action=\"/revoke\"").expect("the button is there");
    let (_, token) = form.split_once("name=\"token\" value=\"").expect("a token");
    let token = token.split('"').next().expect("a value");
    assert!(node.warrant().exists());
    assert_eq!(ask("POST", "/revoke", &cookie, &format!("token={token}")).status, 303);
    assert!(!node.warrant().exists(), "root has forgotten the consent when the page says that it is revoked");
    refused(node.answer_to(NOBODY, stop), "knows of no consent");

    // Nobody else may say it.
    node.site.machine.enable("DiagnosticsRepair");
    assert_eq!(node.answer_to(STRANGER, header(FrameKind::Withdraw, 0).to_vec()), None);
    assert!(node.warrant().exists());
}

/// A service that takes its time to stop.
const SLOW: &str = "exec sh -c 'trap \"\" TERM; while :; do sleep 1; done'";

#[test]
fn a13_sec08_what_root_does_ends_with_the_agent_and_with_the_consent() {
    let Some(service) = Service::start_with("rs-slow", SLOW) else { return };
    let Some(node) = Node::new("DiagnosticsRepair") else { return };
    let begin = || {
        let mut stream = node.connection(NOBODY);
        stream.write_all(&framed(&request(&format!("Stop-Service {}", service.name)))).expect("it is read");
        let (kind, _) = read_frame(&mut stream).expect("it begins");
        assert_eq!(kind, FrameKind::Started);
        assert!(node.root.lives());
        stream
    };

    // The agent is gone.
    drop(begin());
    until_true("the root part is gone with everything below it", || !node.root.lives());
    until_true("it says so", || node.root.said().contains("the agent ended it"));

    // The owner revokes; an agent that was taken over would hold on to it.
    let mut stream = begin();
    assert_eq!(node.site.machine.run("disable").code, 0);
    let said = last_word(&mut stream).expect("a last word");
    assert_eq!(said.status, Status::Killed);
    assert!(said.message.contains("knows of no consent"), "{}", said.message);
    assert!(said.killed.is_some_and(|killed| killed.complete && killed.processes > 0), "{:?}", said.killed);
    until_true("nothing is left", || !node.root.lives());
}

#[test]
fn a09_a13_root_hears_the_owners_yes_itself_and_takes_it_once() {
    let Some(service) = Service::start("rs-test") else { return };
    let Some(node) = Node::new("DiagnosticsRepair --require-approval changes") else { return };
    let stop = format!("Stop-Service {}", service.name);

    // Whatever the agent says, there was no Yes.
    refused(node.answer_to(NOBODY, framed(&request(&stop))), "root knows of no Yes to this call");
    assert!(service.process().is_some());

    let mut engineer = node.site.engineer([&stop]);
    let session = session_of(&engineer);
    let id = until("a call waits", || {
        let listed = node.site.machine.json("session approvals");
        listed.as_array()?.first()?["approvalId"].as_str().map(str::to_owned)
    });
    // A Yes to this call of this session is none to another.
    let approved = node.site.machine.run(&format!("session approve {id}"));
    assert_eq!(approved.code, 0, "{}", approved.stderr);
    assert_eq!(engineer.exit_code(), 0, "{} {}", engineer.stderr(), node.root.said());
    assert_eq!(service.process(), None);

    // Once: the same call of the same session again is another change.
    let again = Request::new(session, plan(&stop));
    let again = framed(&serde_json::to_value(again).expect("JSON"));
    refused(node.answer_to(NOBODY, again), "root knows of no Yes to this call");
    assert_eq!(fs::read_dir(node.own().join("approved")).expect("root may").count(), 0);
}

#[test]
fn a13_root_follows_no_link_that_the_agents_account_has_laid() {
    let Some(node) = Node::new("Diagnostics") else { return };
    let folder = node.site.role(Role::Node);
    let secret = node.site.machine.work().join("secret");
    fs::write(&secret, "root's own\n").expect("own file");
    fs::set_permissions(&secret, fs::Permissions::from_mode(0o600)).expect("own file");
    // The owner's policy is read by many commands.
    let link = folder.join("policy.json");
    std::os::unix::fs::symlink(&secret, &link).expect("root may");
    let run = node.site.machine.run("enable --access-level Diagnostics --agree-to-remote-support-consent");
    assert!(run.stderr.contains("Permission denied") || run.stderr.contains("permission"), "{}", run.stderr);
    assert!(!run.stderr.contains("root's own"), "{}", run.stderr);
    fs::remove_file(&link).expect("root may");
    // The control: root as itself reads it.
    assert_eq!(fs::read_to_string(&secret).expect("root may"), "root's own\n");

    // Nothing is written through one either.
    let link = folder.join("node.log");
    let kept = folder.join("kept");
    fs::rename(&link, &kept).expect("root may");
    std::os::unix::fs::symlink(&secret, &link).expect("root may");
    let _ = node.site.machine.run("disable");
    assert_eq!(fs::read_to_string(&secret).expect("root may"), "root's own\n");
}

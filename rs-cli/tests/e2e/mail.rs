//! U10: mail through a real server of somebody else's making (aiosmtpd).

use std::path::{Path, PathBuf};
use std::process::Command;

use rs_relay::server::dev_certificate;
use secrecy::ExposeSecret as _;

use crate::daemon::{Daemon, until, until_true};
use crate::machine::chmod;
use crate::site::Site;

/// The Python that Debian's packages are for.
const PYTHON: &str = "/usr/bin/python3";
const PASSWORD: &str = "canary-password";

/// A server on a free port.
struct Server {
    _process: Daemon,
    port: u16,
    folder: PathBuf,
    authority: PathBuf,
}

impl Server {
    /// Starts it, or says why this machine cannot have it.
    fn start(site: &Site, security: &str) -> Option<Self> {
        let there = Command::new(PYTHON).args(["-c", "import aiosmtpd"]).output();
        if !there.is_ok_and(|output| output.status.success()) {
            assert!(std::env::var_os("REQUIRE_SMTP").is_none(), "python3-aiosmtpd is required here");
            eprintln!("skipped: needs the Debian package python3-aiosmtpd");
            return None;
        }
        let folder = site.machine.file(&format!("mails-{security}"));
        std::fs::create_dir(&folder).expect("own directory");
        let made = dev_certificate(["localhost"]).expect("made");
        let write = |name: &str, pem: &str| {
            let path = folder.join(name);
            std::fs::write(&path, pem).expect("own directory");
            path
        };
        let authority = write("ca.pem", made.authority_pem());
        let (certificate, key) =
            (write("server.pem", &made.server_pem()), write("server.key", made.key_pem().expose_secret()));
        let mut command = Command::new(PYTHON);
        command.arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/e2e/smtp_server.py"));
        command.arg(&folder).arg(security);
        if security != "plain" {
            command.arg(certificate).arg(key).args(["node", PASSWORD]);
        }
        let process = site.start("smtp", command);
        let port = until("the mail server listens", || {
            process.stdout().split_once("listens at ")?.1.trim().parse().ok()
        });
        Some(Self { _process: process, port, folder, authority })
    }

    fn mails(&self) -> Vec<String> {
        let mail = |number| std::fs::read_to_string(self.folder.join(format!("{number}.eml"))).ok();
        (1..).map_while(mail).collect()
    }

    fn says(&self, word: &str, on: bool) {
        let path = self.folder.join(word);
        if on {
            std::fs::write(path, "").expect("own directory");
        } else {
            std::fs::remove_file(path).expect("own file");
        }
    }
}

fn credentials(site: &Site, text: &str) -> PathBuf {
    let path = site.machine.file("mail-credentials");
    std::fs::write(&path, text).expect("own directory");
    chmod(&path, 0o600);
    path
}

fn add(site: &Site, to: &str, more: &str) {
    let line = format!(
        "notify add owner --to {to} --mail-from node@example.com --mail-to owner@example.com,second@example.com {more}"
    );
    let added = site.machine.run(&line);
    assert_eq!(added.code, 0, "{}", added.stderr);
}

/// What keeps the only one from being told.
fn trouble(site: &Site) -> String {
    site.machine.json("notify list")[0]["trouble"].as_str().unwrap_or_default().to_owned()
}

/// A header of a mail, unfolded.
fn header(mail: &str, name: &str) -> String {
    let head = mail.split_once("\r\n\r\n").expect("a head").0.replace("\r\n ", " ");
    let prefix = format!("{name}: ");
    head.lines().find_map(|line| line.strip_prefix(&prefix)).unwrap_or_default().to_owned()
}

#[test]
fn u10_sec33_mail_goes_over_tls_with_a_password_that_nobody_else_sees() {
    for security in ["starttls", "tls"] {
        let site = Site::ready();
        let Some(server) = Server::start(&site, security) else { return };
        let scheme = if security == "tls" { "smtps" } else { "smtp" };
        let file = credentials(&site, &format!("node:{PASSWORD}"));
        let (ca, port) = (server.authority.display(), server.port);
        add(
            &site,
            &format!("{scheme}://localhost:{port}"),
            &format!("--collector-ca {ca} --mail-credentials-file {}", file.display()),
        );
        let tried = site.machine.run("notify test");
        assert_eq!(tried.code, 0, "{} {}", tried.stdout, tried.stderr);
        let mails = server.mails();
        let mail = &mails[0];
        for (name, value) in [
            ("X-Peer-From", "node@example.com"),
            ("X-Peer-To", "owner@example.com,second@example.com"),
            ("X-Peer-Tls", "True"),
            ("X-Peer-Authenticated", "True"),
            ("From", "node@example.com"),
            ("To", "owner@example.com, second@example.com"),
            ("Auto-Submitted", "auto-generated"),
        ] {
            assert_eq!(header(mail, name), value, "{security}: {mail}");
        }
        assert!(header(mail, "Subject").ends_with(": Test"), "{mail}");
        for (path, content) in site.machine.state_files() {
            let text = String::from_utf8_lossy(&content);
            assert!(!text.contains(PASSWORD), "{} holds the password", path.display());
        }
        assert!(!site.agent.as_ref().expect("runs").stderr().contains(PASSWORD));
    }
}

#[test]
fn u10_sec31_no_mail_is_sent_where_tls_the_certificate_or_the_password_is_wrong() {
    let site = Site::empty();
    let Some(server) = Server::start(&site, "starttls") else { return };
    let Some(plain) = Server::start(&site, "plain") else { return };
    let (ca, wrong) = (server.authority.display(), credentials(&site, "node:wrong"));
    let good = format!("--collector-ca {ca}");
    for (to, more, said) in [
        // It does not offer what is asked for.
        (format!("smtp://localhost:{}", plain.port), good.clone(), "STARTTLS"),
        // Nobody vouches for it.
        (format!("smtp://localhost:{}", server.port), String::new(), "certificate"),
        // Its certificate is for another name.
        (format!("smtp://127.0.0.1:{}", server.port), good.clone(), "certificate"),
        (
            format!("smtp://localhost:{}", server.port),
            format!("{good} --mail-credentials-file {}", wrong.display()),
            "535",
        ),
    ] {
        add(&site, &to, &more);
        let tried = site.machine.run("notify test");
        assert_eq!(tried.code, 5, "{to} {more}: {} {}", tried.stdout, tried.stderr);
        assert!(tried.stdout.contains(said), "{to} {more}: {}", tried.stdout);
        assert_eq!(site.machine.run("notify remove owner").code, 0);
    }
    assert!(server.mails().is_empty() && plain.mails().is_empty());
}

#[test]
fn u10_a_server_that_says_not_now_or_never_loses_nothing_and_what_waited_comes_as_one_mail() {
    let mut site = Site::ready();
    let Some(server) = Server::start(&site, "plain") else { return };
    server.says("refuse", true);
    add(&site, &format!("smtp+clear://127.0.0.1:{}", server.port), "");
    let run = site.machine.run_args(["connect", "--command", "Get-Nothing", "--command", "Get-Date"]);
    assert_ne!(run.code, 5, "{}", run.stderr);
    assert_eq!(site.machine.run("disable").code, 0, "nobody waits for the mail");
    until_true("it is said", || trouble(&site).contains("451"));
    server.says("forbid", true);
    server.says("refuse", false);
    site.agent().kill9();
    site.start_agent();
    until_true("it is said", || trouble(&site).contains("550"));
    // Now, and not when the agent has waited; nor does the agent try in the moment between the two.
    site.agent().kill9();
    server.says("forbid", false);
    let run = site.machine.run("notify run owner");
    assert_eq!(run.code, 0, "{}", run.stderr);
    let mails = server.mails();
    assert_eq!(mails.len(), 1, "one mail for all that waited: {mails:#?}");
    let mail = mails[0].replace("=\r\n", "");
    for title in ["Session started", "Command refused", "Session ended", "Consent revoked"] {
        assert!(mail.contains(title), "{title} is missing: {mail}");
    }
    assert!(!mail.contains("Command finished"), "people are told what matters: {mail}");
    assert_eq!(header(&mails[0], "X-Peer-Tls"), "False");
}

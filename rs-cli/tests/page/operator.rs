//! The page as an operator has it: served by the program, and signed in to with the code from its terminal.

use std::cell::RefCell;

use crate::browser::Browser;
use crate::daemon::{Daemon, until};
use crate::machine::Machine;
use crate::wire::{self, Reply};

/// A page that is served.
pub(crate) struct Served {
    pub(crate) daemon: Daemon,
    /// `http://127.0.0.1:PORT/`.
    pub(crate) address: String,
    used: RefCell<Vec<String>>,
}

impl Served {
    pub(crate) fn start(machine: &Machine) -> Self {
        Self::of(machine, machine.command(["console"]))
    }

    /// As [`Served::start`], by this command.
    pub(crate) fn of(machine: &Machine, command: std::process::Command) -> Self {
        let name = format!("page-{}", uuid::Uuid::new_v4().simple());
        let daemon = Daemon::start(command, machine.file(&name));
        daemon.says("Code for one sign-in");
        let said = daemon.stderr();
        let address =
            said.split_once("of this node: ").expect("said").1.split_whitespace().next().expect("said");
        Self { address: address.to_owned(), daemon, used: RefCell::default() }
    }

    /// The newest code that nobody used.
    pub(crate) fn code(&self) -> String {
        let code = until("a code", || {
            let said = self.daemon.stderr();
            let newest = said.rsplit_once("10 minutes: ")?.1.split_whitespace().next()?.to_owned();
            (newest.len() == 9 && !self.used.borrow().contains(&newest)).then_some(newest)
        });
        self.used.borrow_mut().push(code.clone());
        code
    }

    /// `127.0.0.1:PORT`.
    pub(crate) fn host(&self) -> &str {
        self.address.trim_start_matches("http://").trim_end_matches('/')
    }

    pub(crate) fn at(&self, path: &str) -> String {
        format!("{}{}", self.address, path.trim_start_matches('/'))
    }

    /// Signs the browser in, as a person does.
    #[track_caller]
    pub(crate) fn sign_in(&self, browser: &Browser) {
        browser.go(&self.address);
        browser.fill("#code", &self.code());
        browser.press("Sign in");
        browser.reads("How it stands");
    }

    /// Signs in by hand and gives the cookie.
    #[track_caller]
    pub(crate) fn cookie(&self) -> String {
        let reply = self.post("/sign-in", "", &format!("code={}", self.code()));
        assert_eq!(reply.status, 303, "{}", reply.text());
        reply.header("set-cookie").split(';').next().expect("a cookie").to_owned()
    }

    /// What a browser sends for a form of this page.
    #[track_caller]
    pub(crate) fn post(&self, path: &str, cookie: &str, body: &str) -> Reply {
        self.send(
            "POST",
            path,
            &[&format!("Origin: http://{}", self.host()), &format!("Cookie: {cookie}")],
            body,
        )
    }

    #[track_caller]
    pub(crate) fn get(&self, path: &str, cookie: &str) -> Reply {
        self.send("GET", path, &[&format!("Cookie: {cookie}")], "")
    }

    /// A request with the right host and these headers.
    #[track_caller]
    pub(crate) fn send(&self, method: &str, path: &str, head: &[&str], body: &str) -> Reply {
        let mut lines = vec![format!("Host: {}", self.host())];
        if method == "POST" {
            lines.push("Content-Type: application/x-www-form-urlencoded".to_owned());
        }
        lines.extend(head.iter().map(|line| (*line).to_owned()));
        wire::ask(self.host(), method, path, &lines, body)
    }

    /// The token of the form to `action` on a page.
    #[track_caller]
    pub(crate) fn token(&self, page: &str, action: &str, cookie: &str) -> String {
        let text = self.get(page, cookie).text();
        let form = text.split("<form").find(|form| form.contains(&format!("action=\"{action}\"")));
        let form = form.unwrap_or_else(|| panic!("no form to {action} on {page}: {text}"));
        let value = form.split_once("name=\"token\" value=\"").expect("a token").1;
        value.split('"').next().expect("a value").to_owned()
    }
}

//! A headless Chromium, driven by the WebDriver protocol.

use std::path::Path;
use std::process::{Child, Command, Stdio};

use base64::Engine as _;
use serde_json::{Value, json};

use crate::daemon::until;
use crate::wire;

const DRIVER: &str = "/usr/bin/chromedriver";
const CHROMIUM: &str = "/usr/bin/chromium";
/// The name that WebDriver gives to references of elements.
const ELEMENT: &str = "element-6066-11e4-a52e-4f735466cecf";

/// A script that gives what is to be read on the page.
const BODY_TEXT: &str = "return document.body ? document.body.innerText : ''";

/// A script that gives what tells one loaded document from another.
const DOCUMENT: &str = "return performance.timeOrigin";

/// One browser with a profile of its own; gone when it is dropped.
pub(crate) struct Browser {
    driver: Child,
    to: String,
    session: String,
    _profile: tempfile::TempDir,
}

/// Starts of the driver before it is given up.
const DRIVERS_MAX: usize = 5;

/// Starts a driver; gives it with its port. `None` where it ended by itself: it takes a free port of IPv4 and leaves if
/// somebody has the same one of IPv6.
fn driver(log: &Path) -> Option<(Child, u16)> {
    let out = std::fs::File::create(log).expect("own directory");
    let mut driver = Command::new(DRIVER)
        .arg("--port=0")
        .stdin(Stdio::null())
        .stdout(out)
        .stderr(Stdio::null())
        .spawn()
        .expect("chromedriver starts");
    let port = until("chromedriver listens or ends", || {
        let said = std::fs::read_to_string(log).ok()?;
        let port = said
            .split_once("started successfully on port ")
            .and_then(|(_, rest)| rest.split_once('.')?.0.parse().ok());
        let over = port.is_some() || driver.try_wait().expect("a child").is_some();
        over.then_some(port)
    });
    Some((driver, port?))
}

/// An element of the page that is shown.
#[derive(Debug, Clone)]
pub(crate) struct Element(String);

impl Browser {
    /// Starts one, or says why this machine cannot have it.
    pub(crate) fn start() -> Option<Self> {
        Self::start_with(&[])
    }

    /// As [`Browser::start`], with more arguments for the browser.
    pub(crate) fn start_with(more: &[&str]) -> Option<Self> {
        if !Path::new(DRIVER).exists() || !Path::new(CHROMIUM).exists() {
            assert!(
                std::env::var_os("REQUIRE_CHROMIUM").is_none(),
                "chromium and chromium-driver are required here"
            );
            eprintln!("skipped: needs {CHROMIUM} and {DRIVER}");
            return None;
        }
        let profile = tempfile::tempdir().expect("a directory");
        let (driver, port) = (0..DRIVERS_MAX)
            .find_map(|attempt| driver(&profile.path().join(format!("driver-{attempt}.log"))))
            .expect("chromedriver finds a port");
        let mut browser =
            Self { driver, to: format!("127.0.0.1:{port}"), session: String::new(), _profile: profile };
        let mut args = vec![
            "--headless=new".to_owned(),
            "--no-sandbox".to_owned(),
            "--disable-gpu".to_owned(),
            "--disable-dev-shm-usage".to_owned(),
            "--no-first-run".to_owned(),
            "--disable-background-networking".to_owned(),
            "--hide-scrollbars".to_owned(),
            format!("--user-data-dir={}", browser._profile.path().join("profile").display()),
        ];
        args.extend(more.iter().map(|arg| (*arg).to_owned()));
        let wanted = json!({"capabilities": {"alwaysMatch": {
            "acceptInsecureCerts": false,
            "goog:chromeOptions": {"binary": CHROMIUM, "args": args},
            "goog:loggingPrefs": {"browser": "ALL"},
        }}});
        let session = browser.send("POST", "/session", &wanted);
        browser.session = session["sessionId"].as_str().expect("a session").to_owned();
        Some(browser)
    }

    #[track_caller]
    fn send(&self, method: &str, path: &str, body: &Value) -> Value {
        self.try_send(method, path, body).unwrap_or_else(|error| panic!("{method} {path}: {error}"))
    }

    fn try_send(&self, method: &str, path: &str, body: &Value) -> Result<Value, String> {
        let body = if method == "POST" { body.to_string() } else { String::new() };
        let head = [format!("Host: {}", self.to), "Content-Type: application/json".to_owned()];
        let reply = wire::ask(&self.to, method, path, &head, &body);
        let value: Value = serde_json::from_slice(&reply.body).map_err(|error| error.to_string())?;
        if reply.status == 200 {
            Ok(value["value"].clone())
        } else {
            Err(value["value"]["message"].to_string())
        }
    }

    #[track_caller]
    fn call(&self, method: &str, path: &str, body: Value) -> Value {
        self.send(method, &format!("/session/{}/{path}", self.session), &body)
    }

    #[track_caller]
    pub(crate) fn go(&self, address: &str) {
        self.call("POST", "url", json!({ "url": address }));
    }

    #[track_caller]
    pub(crate) fn title(&self) -> String {
        self.call("GET", "title", json!({})).as_str().unwrap_or_default().to_owned()
    }

    /// All elements of a CSS selector.
    #[track_caller]
    pub(crate) fn all(&self, css: &str) -> Vec<Element> {
        self.found("css selector", css)
    }

    #[track_caller]
    fn found(&self, using: &str, value: &str) -> Vec<Element> {
        let found = self.call("POST", "elements", json!({ "using": using, "value": value }));
        let ids = found.as_array().into_iter().flatten();
        ids.filter_map(|one| one[ELEMENT].as_str()).map(|id| Element(id.to_owned())).collect()
    }

    /// The first element of a CSS selector, as soon as it is there.
    #[track_caller]
    pub(crate) fn one(&self, css: &str) -> Element {
        until(css, || self.all(css).into_iter().next())
    }

    /// The button or link with this text, as soon as it is there.
    #[track_caller]
    pub(crate) fn named(&self, text: &str) -> Element {
        let path = format!("//*[self::button or self::a or self::summary][normalize-space(.)=\"{text}\"]");
        until(text, || self.found("xpath", &path).into_iter().next())
    }

    /// Presses the button or link with this text, see [`Browser::click`].
    #[track_caller]
    pub(crate) fn press(&self, text: &str) {
        // What is shown live may just move or exchange it.
        until(text, || self.clicked(&self.named(text)).then_some(()));
    }

    /// Presses an element; where that leads to another page, waits until that one is there, so that nothing that follows
    /// reads the page before.
    #[track_caller]
    pub(crate) fn click(&self, element: &Element) {
        assert!(self.clicked(element), "the element is gone");
    }

    /// `false` where the element moved or is there no more.
    #[track_caller]
    fn clicked(&self, element: &Element) -> bool {
        let document = self.run(DOCUMENT);
        let Some(leads) = self.leads_to_a_page(element) else { return false };
        let path = format!("/session/{}/element/{}/click", self.session, element.0);
        match self.try_send("POST", &path, &json!({})) {
            Err(error) if error.contains("intercepted") || error.contains("stale") => return false,
            Err(error) => panic!("{error}"),
            Ok(_) => {}
        }
        if leads {
            until("the page that follows", || (self.try_run(DOCUMENT, &[]).ok()? != document).then_some(()));
        }
        true
    }

    /// Whether a press of this element loads another document: a link does, and a button whose form the browser will send.
    /// `None` where the element is there no more.
    fn leads_to_a_page(&self, element: &Element) -> Option<bool> {
        let script = "const e = arguments[0]; return e.tagName === 'A' ? !e.getAttribute('href').startsWith('#') \
                      : e.tagName === 'BUTTON' && e.type === 'submit' && e.form !== null && e.form.checkValidity()";
        self.try_run(script, &[json!({ ELEMENT: element.0 })]).ok()?.as_bool()
    }

    fn try_run(&self, script: &str, args: &[Value]) -> Result<Value, String> {
        let path = format!("/session/{}/execute/sync", self.session);
        self.try_send("POST", &path, &json!({ "script": script, "args": args }))
    }

    #[track_caller]
    pub(crate) fn fill(&self, css: &str, text: &str) {
        let element = self.one(css);
        self.call("POST", &format!("element/{}/clear", element.0), json!({}));
        self.call("POST", &format!("element/{}/value", element.0), json!({ "text": text }));
    }

    /// Chooses a file.
    #[track_caller]
    pub(crate) fn fill_file(&self, css: &str, file: &Path) {
        let element = self.one(css);
        self.call(
            "POST",
            &format!("element/{}/value", element.0),
            json!({ "text": file.display().to_string() }),
        );
    }

    /// What the user of a screen reader hears as the name of an element.
    #[track_caller]
    pub(crate) fn label(&self, element: &Element) -> String {
        let label = self.call("GET", &format!("element/{}/computedlabel", element.0), json!({}));
        label.as_str().unwrap_or_default().to_owned()
    }

    #[track_caller]
    pub(crate) fn html_of(&self, element: &Element) -> String {
        self.call("GET", &format!("element/{}/property/outerHTML", element.0), json!({})).to_string()
    }

    /// What is to be read on the page.
    #[track_caller]
    pub(crate) fn text(&self) -> String {
        self.run(BODY_TEXT).as_str().unwrap_or_default().to_owned()
    }

    /// Waits until this is to be read.
    #[track_caller]
    pub(crate) fn reads(&self, text: &str) {
        let mut last = String::new();
        let since = std::time::Instant::now();
        while since.elapsed() < crate::daemon::WAIT {
            // The page may just be exchanged for the next.
            last = self.try_run(BODY_TEXT, &[]).unwrap_or_default().as_str().unwrap_or_default().to_owned();
            if last.contains(text) {
                return;
            }
            std::thread::sleep(std::time::Duration::from_millis(10));
        }
        panic!("waited in vain for {text:?}; there is: {last}");
    }

    #[track_caller]
    pub(crate) fn run(&self, script: &str) -> Value {
        self.call("POST", "execute/sync", json!({ "script": script, "args": [] }))
    }

    /// Runs a script that calls its last argument with the result.
    #[track_caller]
    pub(crate) fn run_async(&self, script: &str) -> Value {
        self.call("POST", "execute/async", json!({ "script": script, "args": [] }))
    }

    /// Sends a key to what has the focus.
    #[track_caller]
    pub(crate) fn key(&self, key: char) {
        let press = |kind: &str| json!({ "type": kind, "value": key.to_string() });
        let keys = json!({ "actions": [{ "type": "key", "id": "keys", "actions": [press("keyDown"), press("keyUp")] }] });
        self.call("POST", "actions", keys);
    }

    #[track_caller]
    pub(crate) fn resize(&self, width: u32, height: u32) {
        let metrics = json!({ "cmd": "Emulation.setDeviceMetricsOverride", "params":
            { "width": width, "height": height, "deviceScaleFactor": 1, "mobile": false } });
        self.call("POST", "goog/cdp/execute", metrics);
    }

    /// Light or dark, as the system of the operator would say.
    #[track_caller]
    pub(crate) fn dress(&self, scheme: &str) {
        let media = json!({ "cmd": "Emulation.setEmulatedMedia", "params":
            { "features": [{ "name": "prefers-color-scheme", "value": scheme }] } });
        self.call("POST", "goog/cdp/execute", media);
    }

    /// What the browser itself complained about.
    #[track_caller]
    pub(crate) fn complaints(&self) -> String {
        self.call("POST", "se/log", json!({ "type": "browser" })).to_string()
    }

    #[track_caller]
    pub(crate) fn screenshot(&self, to: &Path) {
        let image = self.call("GET", "screenshot", json!({}));
        let image = image.as_str().unwrap_or_default();
        let bytes = base64::engine::general_purpose::STANDARD.decode(image).expect("a picture");
        std::fs::write(to, bytes).expect("own directory");
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        if !self.session.is_empty() {
            // It may be gone already.
            let _ = self.try_send("DELETE", &format!("/session/{}", self.session), &json!({}));
        }
        let _ = self.driver.kill();
        let _ = self.driver.wait();
    }
}

//! Granting, changing and revoking through the page alone.

use crate::browser::Browser;
use crate::machine::Machine;
use crate::operator::Served;
use crate::site::Site;

#[test]
fn u06_u07_u11_access_is_granted_changed_and_declined() {
    let machine = Machine::new();
    let page = Served::start(&machine);
    let Some(browser) = Browser::start() else { return };
    page.sign_in(&browser);
    browser.reads("Not enabled");
    browser.reads("not enabled on the only node");

    browser.press("Grant access");
    browser.click(&browser.one("input[name=period][value='1440']"));
    browser.press("Go on: see what this permits, and the terms");
    browser.reads("Before you agree");
    let shown = browser.text();
    let terms = rs_consent::Terms::azure_local();
    for paragraph in terms.text().split("\n\n").map(str::trim) {
        let words = |text: &str| text.split_whitespace().collect::<Vec<_>>().join(" ");
        assert!(words(&shown).contains(&words(paragraph)), "the terms are shown in full: {paragraph}");
    }
    assert!(shown.contains("Diagnostics is read-only here") && shown.contains("1 day"), "{shown}");
    assert!(shown.contains("opens connections"), "effects are marked: {shown}");

    browser.press("No, do not enable it");
    browser.reads("was not enabled; nothing was changed");
    assert_eq!(machine.json("access").as_array().map(Vec::len), Some(0));

    browser.press("Grant access");
    browser.click(&browser.one("input[name=period][value='1440']"));
    browser.press("Go on: see what this permits, and the terms");
    browser.press("Enable remote support");
    // Without the tick the browser itself does not send the form.
    assert!(browser.title().starts_with("Before you agree"));
    browser.click(&browser.one("input[name=agree]"));
    browser.press("Enable remote support");
    browser.reads("successfully Enabled");
    browser.reads("Active");
    browser.reads("enabled on the only node");
    let grant = &machine.json("access")[0];
    assert_eq!((&grant["accessLevel"], &grant["minutes"]), (&"Diagnostics".into(), &1440.into()));
    assert_eq!(grant["grantor"]["method"], "console");
    assert!(browser.text().contains("23 h 59 min") || browser.text().contains("1 d"), "{}", browser.text());

    browser.press("Change access");
    let chosen = browser.run("return document.querySelector('input[name=period]:checked').value");
    assert_eq!(chosen, "1440", "what is in force is what stands there");
    browser.click(&browser.one("input[name=level][value=DiagnosticsRepair]"));
    browser.click(&browser.one("input[name=period][value=other]"));
    browser.fill("#minutes", "90");
    browser.press("Go on: see what this permits, and the terms");
    browser.reads("starts or stops services");
    browser.click(&browser.one("input[name=agree]"));
    browser.press("Enable remote support");
    browser.reads("Diagnostics and repair");
    let grants = machine.json("access");
    assert_eq!(grants.as_array().map(Vec::len), Some(1), "changed in place: {grants}");
    assert_eq!((&grants[0]["accessLevel"], &grants[0]["minutes"]), (&"DiagnosticsRepair".into(), &90.into()));
    assert_eq!(browser.complaints(), "[]");
}

#[test]
fn c21_sec33_the_credential_from_support_is_handed_in_and_never_shown() {
    let mut site = Site::empty();
    site.start_relay();
    let (machine, file) = (&site.machine, site.machine.file("from-support"));
    let written = machine.run("relay connection-string --file from-support");
    assert_eq!(written.code, 0, "{}", written.stderr);
    let credential = std::fs::read_to_string(&file).expect("written").trim().to_owned();
    let page = Served::start(machine);
    let Some(browser) = Browser::start() else { return };
    page.sign_in(&browser);
    let review = || {
        browser.go(&page.at("/grant"));
        browser.press("Go on: see what this permits, and the terms");
        browser.reads("Before you agree");
        browser.click(&browser.one("input[name=agree]"));
    };
    // One that could never connect costs no consent, and is not repeated.
    review();
    browser.fill("#credential", "Endpoint=sb://relay.example/;SharedAccessKey=canary");
    browser.press("Enable remote support");
    browser.reads("the relay credential cannot be used");
    assert!(browser.complaints().contains("400"), "it is the operator's to put right");
    assert!(!browser.run("return document.documentElement.outerHTML").to_string().contains("canary"));
    assert_eq!(machine.json("access").as_array().map(Vec::len), Some(0));
    // The file itself.
    review();
    browser.fill_file("#credential-file", &file);
    crate::daemon::until_true("it is read", || {
        browser.run("return document.getElementById('credential').value") == credential.as_str()
    });
    browser.press("Enable remote support");
    browser.reads("successfully Enabled");
    let kept = site.role(rs_cli::state::Role::Node).join(rs_cli::node::CREDENTIAL_NAME);
    let kept = std::fs::read_to_string(kept).expect("kept for the agent");
    assert_eq!(kept.trim(), credential);
    let key =
        credential.split("SharedAccessKey=").nth(1).and_then(|rest| rest.split(';').next()).expect("a key");
    for place in ["/", "/grant", "/grant/review?level=Diagnostics&period=480", "/health"] {
        browser.go(&page.at(place));
        assert!(
            !browser.run("return document.documentElement.outerHTML").to_string().contains(key),
            "{place}"
        );
    }
    browser.reads("Health");
    assert_eq!(browser.complaints(), "[]");
    assert!(!page.daemon.stderr().contains(key), "nor is it in the log");
    // Its length has a bound.
    let cookie = page.cookie();
    let token = page.token("/grant/review?level=Diagnostics&period=480", "/grant", &cookie);
    let terms = rs_consent::Terms::azure_local().agreed().sha256;
    for (bytes, said) in [(16 * 1024, "cannot be used"), (16 * 1024 + 1, "longer than 16384 bytes")] {
        let body = format!(
            "token={token}&level=Diagnostics&period=480&agree=yes&terms={terms}&credential={}",
            "x".repeat(bytes)
        );
        let reply = page.post("/grant", &cookie, &body);
        assert!(reply.text().contains(said), "{bytes}: {}", reply.text());
    }
}

#[test]
fn c03_periods_are_taken_at_their_bounds_and_not_beyond() {
    let machine = Machine::new();
    let page = Served::start(&machine);
    let cookie = page.cookie();
    for (minutes, status) in [("60", 200), ("59", 400), ("20160", 200), ("20161", 400), ("x", 400), ("", 400)]
    {
        let path = format!("/grant/review?level=Diagnostics&period=other&minutes={minutes}&strict=yes");
        assert_eq!(page.get(&path, &cookie).status, status, "{minutes}");
    }
    let terms = rs_consent::Terms::azure_local().agreed().sha256;
    let token = page.token("/grant/review?level=Diagnostics&period=480", "/grant", &cookie);
    for (more, status) in [
        (format!("&terms={terms}"), 400),
        ("&agree=yes".to_owned(), 409),
        (format!("&agree=yes&terms={}", "0".repeat(64)), 409),
        (format!("&agree=yes&terms={terms}"), 303),
    ] {
        assert_eq!(machine.json("access").as_array().map(Vec::len), Some(0), "before {more}");
        let body = format!("token={token}&level=Diagnostics&period=480{more}");
        assert_eq!(page.post("/grant", &cookie, &body).status, status, "{more}");
    }
    assert_eq!(machine.json("access").as_array().map(Vec::len), Some(1));
}

#[test]
fn c18_a_revoke_ends_a_running_session_and_its_measured_end_is_told() {
    let site = Site::ready();
    let page = Served::start(&site.machine);
    let Some(browser) = Browser::start() else { return };
    page.sign_in(&browser);
    browser.reads("Connected to the relay");
    let (mut engineer, session) = site.busy_engineer();
    // The page is not loaded again: it learns of the session by itself.
    browser.reads("engineer@support.example");
    browser.press("Revoke access now");
    browser.reads("1 session ended, all within");
    browser.reads(&format!("Session {session} ended (revoked): gate shut after"));
    browser.reads("Not enabled");
    assert_eq!(engineer.exit_code(), 3);
    assert_eq!(site.machine.json("access --include-expired")[0]["state"], "Revoked");
}

/// Both look at the same page; one acts, and the other sees it without doing anything.
#[test]
fn two_operators_at_once_see_what_the_other_does() {
    let machine = Machine::new();
    let page = Served::start(&machine);
    let (Some(one), Some(other)) = (Browser::start(), Browser::start()) else { return };
    page.sign_in(&one);
    page.sign_in(&other);
    one.press("Grant access");
    one.press("Go on: see what this permits, and the terms");
    one.click(&one.one("input[name=agree]"));
    one.press("Enable remote support");
    other.reads("Active");
    other.go(&page.address);
    other.press("Revoke access now");
    one.reads("Not enabled");
    one.go(&page.address);
    assert!(!one.text().contains("Revoke access now"));
}

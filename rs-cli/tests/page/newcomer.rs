//! Somebody who has never seen the program, with an empty directory, does what the page says and nothing else: asks, confirms,
//! grants, watches, revokes.

use rs_cli::relay_access::AUTHORITY_NAME;

use crate::browser::Browser;
use crate::daemon::until_true;
use crate::machine::Machine;
use crate::operator::Served;
use crate::site::{ENDLESS, Site};

#[test]
fn a_newcomer_comes_by_the_page_alone_from_nothing_to_a_watched_and_revoked_session() {
    let mut site = Site::empty();
    let page = Served::start(&site.machine);
    let Some(browser) = Browser::start() else { return };
    page.sign_in(&browser);
    browser.reads("Not enabled");
    browser.reads("To do: start the agent of this node with remote-support agent run");
    // What the page names is done in the terminal; it sees it by itself.
    site.start_relay();
    site.start_agent();
    browser.reads("Done: the agent of this node runs.");

    browser.press("ask for support");
    browser.fill("#reason", "The backup volume is slow");
    browser.press("Make the request");
    browser.reads("Take its file from the list and send it to the desk");
    browser.reads("File for the desk");
    let file = browser.run("return document.querySelector('a[href$=\"/file\"]').getAttribute('href')");
    let file = page.get(file.as_str().expect("an address"), &page.cookie());
    // The desk is far away; its answer comes as a file.
    let desk = Machine::new();
    std::fs::write(desk.file("request.json"), &file.body).expect("carried over");
    for line in ["desk init --desk-name Far-Support", "desk open request.json --file opening.json"] {
        assert_eq!(desk.run(line).code, 0, "{line}");
    }
    browser.fill_file("#opening-file", &desk.file("opening.json"));
    until_true("it is read", || {
        browser.run("return document.getElementById('opening').value.length > 0") == true
    });
    browser.press("Look at it");
    browser.reads("Is this the desk that you asked for support?");
    browser.click(&browser.one("input[name=compared]"));
    browser.press("Confirm this desk");
    browser.reads("its desk is Far-Support");

    browser.press("Overview");
    browser.reads("Done: confirm the desk");
    browser.press("grant access");
    browser.press("Go on: see what this permits, and the terms");
    browser.click(&browser.one("input[name=agree]"));
    browser.press("Enable remote support");
    browser.reads("successfully Enabled");
    browser.reads("All is ready: the engineer whom the desk assigns can connect.");

    // The engineer's side is not the page's: papers of the desk, and the terminal.
    for line in ["engineer init", "desk assign --engineer engineer@support.example"] {
        assert_eq!(desk.run(line).code, 0, "{line}");
    }
    let credential = desk.file("send");
    let written =
        site.machine.run(&format!("relay connection-string --side send --file {}", credential.display()));
    assert_eq!(written.code, 0, "{}", written.stderr);
    let mut command = desk.command(["connect", "--command", ENDLESS, "--relay-credential-file"]);
    command.arg(&credential).arg("--relay-ca").arg(site.machine.state().join("relay").join(AUTHORITY_NAME));
    let mut engineer = site.start("engineer", command);

    browser.press("engineer@support.example");
    browser.reads("This session runs now");
    browser.reads("PS> Test-Observability");
    browser.press("Overview");
    browser.press("Revoke access now");
    browser.reads("1 session ended, all within");
    browser.reads("Not enabled");
    assert_eq!(engineer.exit_code(), 3);
    browser.press("Sessions");
    browser.reads("Ended: revoked");
    assert_eq!(browser.complaints(), "[]");
}

//! The other flows: sessions, live view, replay, verification, approvals, support requests, proxy check, health; each from
//! the first button to what the program then says.

use rs_consent::EndCause;
use serde_json::Value;

use crate::browser::Browser;
use crate::daemon::{until, until_true};
use crate::machine::Machine;
use crate::operator::Served;
use crate::site::{Site, session_of};

#[test]
fn s17_s18_a_session_is_watched_live_and_ended_by_its_button() {
    let site = Site::ready();
    let page = Served::start(&site.machine);
    let Some(browser) = Browser::start() else { return };
    page.sign_in(&browser);
    let (mut engineer, session) = site.busy_engineer();
    browser.press("engineer@support.example");
    browser.reads("This session runs now");
    browser.reads("Live: this page shows changes by itself");
    browser.reads("PS> Test-Observability -Seconds 600");
    // It prints once a second; the page is not loaded again.
    let shown = || browser.all("#log li").len();
    let before = shown();
    until_true("more is shown", || shown() >= before + 2);
    let ids = browser.run("return [...document.querySelectorAll('#log li')].map(li => li.id)");
    let mut once: Vec<_> = ids.as_array().expect("ids").clone();
    once.dedup();
    assert_eq!(once.len(), shown().min(once.len()), "nothing is shown twice: {ids}");
    browser.press("End this session now");
    browser.reads("The session is down");
    browser.reads(&format!("Session {session} ended (operator): gate shut after"));
    assert_eq!(engineer.exit_code(), 3);
    let told = site.machine.json(&format!("history --session-id {session}"));
    assert_eq!(told["endCause"], EndCause::Operator.as_str());
    assert_eq!(site.machine.json("access")[0]["state"], "Active", "the consent stands");
    // What is over is replayed.
    browser.reads("Timeline");
    browser.press("Replay this page");
    browser.reads("Pause");
    browser.press("Pause");
    let position: Value = browser.run(
        "const p = document.getElementById('position'); p.value = 2; p.dispatchEvent(new Event('input')); \
         return [...document.querySelectorAll('#log li')].filter(li => !li.hidden).length",
    );
    assert_eq!(position, 2, "the slider goes to a record");
    browser.press("Verify the record");
    browser.reads("INTACT: every record is what was written");
    browser.reads("The node's log names this session");
    assert_eq!(browser.complaints(), "[]");
}

#[test]
fn s30_a_record_that_was_altered_is_broken_at_its_place() {
    let site = Site::ready();
    assert_eq!(site.connect("").code, 0);
    let session = site.machine.json("history")[0]["sessionId"].as_str().expect("an id").to_owned();
    let page = Served::start(&site.machine);
    let cookie = page.cookie();
    let intact = page.get(&format!("/sessions/{session}/verify"), &cookie).text();
    assert!(intact.contains("INTACT: every record"), "the control: {intact}");
    let path = site.record(session.parse().expect("an id"));
    let mut bytes = std::fs::read(&path).expect("the record");
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    std::fs::write(&path, bytes).expect("own file");
    let broken = page.get(&format!("/sessions/{session}/verify"), &cookie).text();
    assert!(broken.contains("BROKEN") && broken.contains("Faults: "), "{broken}");
    // Whoever only looks at it is told too, before anything of it is shown.
    let shown = page.get(&format!("/sessions/{session}"), &cookie).text();
    assert!(shown.contains("ALARM: the record of session"), "{shown}");
}

#[test]
fn s12_sessions_are_found_by_engineer_command_and_time() {
    let site = Site::ready();
    assert_eq!(site.connect("").code, 0);
    let page = Served::start(&site.machine);
    let Some(browser) = Browser::start() else { return };
    page.sign_in(&browser);
    browser.press("Sessions");
    browser.reads("The newest 1 of 1");
    browser.press("Search");
    browser.fill("#command", "get-date");
    browser.click(&browser.one("form[role=search] button"));
    browser.reads("1 found in 1 of 1 sessions looked at");
    browser.fill("#command", "Get-Nothing");
    browser.click(&browser.one("form[role=search] button"));
    browser.reads("Nothing found in 1 of 1 sessions looked at");
    browser.press("All sessions");
    browser.reads("The newest 1 of 1");
    let cookie = page.cookie();
    for (query, found) in [
        ("engineer=SUPPORT.example", true),
        ("engineer=nobody", false),
        ("outcome=exit", true),
        ("outcome=revoked", false),
        ("from=-1d", true),
        ("to=-1d", false),
        ("text=Get-Date&outcome=exit", true),
    ] {
        let text = page.get(&format!("/sessions?{query}"), &cookie).text();
        assert_eq!(text.contains("1 found in 1"), found, "{query}");
    }
    assert_eq!(page.get("/sessions?from=31/07/2025", &cookie).status, 400);
    assert_eq!(page.get("/sessions/nonsense", &cookie).status, 400);
    assert_eq!(page.get(&format!("/sessions/{}", uuid::Uuid::nil()), &cookie).status, 404);
}

/// An engineer asks for a higher level; that is the approval which every machine can have.
#[test]
fn a17_a_call_that_waits_is_declined_and_a_higher_level_is_approved_with_its_terms() {
    let site = Site::ready();
    let page = Served::start(&site.machine);
    let Some(browser) = Browser::start() else { return };
    page.sign_in(&browser);
    browser.press("Approvals");
    browser.reads("No call waits for an answer");
    let ask = ["Request-AccessLevel DiagnosticsRepair -Reason 'the <b>spooler</b> hangs'"];
    let first = site.engineer(ask);
    // It comes up by itself, and its text is text.
    browser.reads("A higher level, for sessions to come");
    browser.reads("the <b>spooler</b> hangs");
    assert!(browser.all("p.summary b").is_empty());
    browser.fill("input[name=reason]", "not today");
    browser.press("Decline");
    browser.reads("Declined. The call does not go on");
    until_true("the engineer is told", || {
        format!("{}{}", first.stdout(), first.stderr()).contains("not today")
    });
    assert_eq!(site.machine.json("access")[0]["accessLevel"], "Diagnostics");

    let second = site.engineer(ask);
    let session = session_of(&second);
    browser.reads("A higher level, for sessions to come");
    browser.press("See what the higher level permits");
    browser.reads("Before you approve");
    browser.reads("starts or stops services");
    browser.press("Approve");
    assert!(browser.title().starts_with("Before you approve"), "not without the tick");
    browser.click(&browser.one("input[name=agree]"));
    browser.press("Approve");
    browser.reads("Approved. The level holds for new sessions");
    let grant = &site.machine.json("access")[0];
    assert_eq!(
        (&grant["accessLevel"], &grant["grantor"]["method"]),
        (&"DiagnosticsRepair".into(), &"console".into())
    );
    until_true("its answer is on record", || {
        let told = site.machine.run(&format!("history --session-id {session} --include-session-transcript"));
        told.stdout.contains("approved")
    });
}

#[test]
fn a13_a_call_that_changes_the_node_waits_and_goes_on_with_its_approval() {
    let site = Site::started();
    site.papers();
    site.machine.enable("DiagnosticsRepair --require-approval changes");
    site.connected();
    let page = Served::start(&site.machine);
    let Some(browser) = Browser::start() else { return };
    page.sign_in(&browser);
    // Approved it goes on, and finds that there is no such service.
    let mut engineer = site.engineer(["Stop-Service -Name page-test-nosuch"]);
    browser.reads("1 call waits for your answer");
    browser.press("1 call waits for your answer");
    browser.reads("Stop-Service page-test-nosuch (effects: reads, services)");
    browser.reads("Live: this page shows changes by itself");
    browser.press("In full, as it is on record");
    browser.reads("page-test-nosuch\"");
    browser.press("Approve: let it go on");
    browser.reads("Approved. The call goes on.");
    browser.reads("No call waits for an answer");
    let _code = engineer.exit_code();
    let session = site.machine.json("history")[0]["sessionId"].as_str().expect("an id").to_owned();
    let told = site.machine.run(&format!("history --session-id {session} --include-session-transcript"));
    assert!(told.stdout.contains("approved"), "{}", told.stdout);
    // What is gone cannot be answered any more.
    let cookie = page.cookie();
    assert_eq!(page.get(&format!("/approvals/{}", uuid::Uuid::nil()), &cookie).status, 404);
}

#[test]
fn c31_a_support_request_is_made_confirmed_and_closed() {
    let mut site = Site::empty();
    site.start_relay();
    site.start_agent();
    let page = Served::start(&site.machine);
    let Some(browser) = Browser::start() else { return };
    page.sign_in(&browser);
    browser.press("Support requests");
    browser.reads("No support request exists");
    browser.fill("#reason", "A volume <i>hangs</i>");
    browser.press("Make the request");
    browser.reads("is made. Take its file");
    browser.reads("A volume <i>hangs</i>");
    let number = site.machine.json("request list")[0]["number"].as_str().expect("a number").to_owned();
    let cookie = page.cookie();
    let file = page.get(&format!("/requests/{number}/file"), &cookie);
    assert!(file.header("content-disposition").contains(&number));
    assert!(file.text().starts_with('{') && file.text().ends_with("}\n"), "{file:?}");
    std::fs::write(site.machine.file("for-the-desk.json"), &file.body).expect("own directory");
    // The desk is elsewhere: its key is not one of this machine.
    let desk = Machine::new();
    std::fs::copy(site.machine.file("for-the-desk.json"), desk.file("request.json")).expect("carried over");
    assert_eq!(desk.run_args(["desk", "init", "--desk-name", "Far Support"]).code, 0);
    let opened = desk.run("desk open request.json --file opening.json");
    assert_eq!(opened.code, 0, "{}", opened.stderr);
    let opening = std::fs::read_to_string(desk.file("opening.json")).expect("the desk's answer");
    let fill = |text: &str| {
        let text = serde_json::to_string(text).expect("text");
        browser.run(&format!("document.getElementById('opening').value = {text}"));
    };
    fill("{}");
    browser.press("Look at it");
    browser.reads("That did not work");
    browser.go(&page.at("/requests"));
    fill(&opening);
    browser.press("Look at it");
    browser.reads("Far Support");
    assert_eq!(site.machine.json("request list")[0]["state"], "Submitted", "looking confirms nothing");
    browser.click(&browser.one("input[name=compared]"));
    browser.press("Confirm this desk");
    browser.reads("is open; its desk is Far Support");
    assert_eq!(site.machine.json("request list")[0]["state"], "Open");
    browser.press("Close");
    browser.reads(&format!("Support request {number} is closed."));
    // A desk of this very machine: its answer is found.
    let second = site.machine.submit();
    for line in ["desk init".to_owned(), format!("desk open {second}")] {
        assert_eq!(site.machine.run(&line).code, 0, "{line}");
    }
    browser.press("Support requests");
    browser.press("The desk's answer");
    browser.reads("Is this the desk that you asked for support?");
    browser.click(&browser.one("input[name=compared]"));
    browser.press("Confirm this desk");
    browser.reads(&format!("Support request {second} is open"));
    let requests = site.machine.json("request list");
    let states: Vec<_> = requests.as_array().expect("a list").iter().map(|one| &one["state"]).collect();
    assert!(states.contains(&&Value::from("Closed")) && states.contains(&&Value::from("Open")), "{requests}");
}

#[test]
fn p20_the_proxy_check_shows_its_hops_and_l12_health_its_remedies() {
    let site = Site::started();
    let page = Served::start(&site.machine);
    let Some(browser) = Browser::start() else { return };
    page.sign_in(&browser);
    browser.press("Proxy");
    browser.press("Check now");
    browser.reads("Hop by hop");
    browser.reads("It took ");
    browser.press("Health");
    browser.reads("the agent answers");
    browser.reads("catalog");
    let mut site = site;
    site.agent().kill9();
    browser.press("Look again");
    browser.reads("no agent is running on this node");
    browser.reads("start it with `remote-support agent run`");
}

/// The page goes on by itself when the agent is gone and comes back.
#[test]
fn the_page_survives_a_restart_of_the_agent() {
    let mut site = Site::ready();
    let page = Served::start(&site.machine);
    let Some(browser) = Browser::start() else { return };
    page.sign_in(&browser);
    browser.reads("Connected to the relay");
    site.agent().kill9();
    browser.reads("No agent runs on this node");
    site.start_agent();
    browser.reads("Connected to the relay");
    let (_engineer, session) = site.busy_engineer();
    browser.press("engineer@support.example");
    browser.reads("PS> Test-Observability");
    site.agent().kill9();
    site.start_agent();
    browser.go(&page.at(&format!("/sessions/{session}")));
    browser.reads("Ended: interrupted");
}

#[test]
fn the_agent_serves_the_page_when_asked_and_gives_codes_over_its_socket() {
    let mut site = Site::empty();
    let command = site.machine.command(["agent", "run", "--console=127.0.0.1:0"]);
    let agent = site.start("agent", command);
    agent.says("The agent of this node runs");
    site.agent = Some(agent);
    let offer = site.machine.json("console --of-agent");
    let (address, code) = (offer["address"].as_str().expect("there"), offer["code"].as_str().expect("there"));
    assert!(!site.agent().stderr().contains(code), "the code is in no log");
    let host = address.trim_start_matches("http://").trim_end_matches('/');
    let lines = [
        format!("Host: {host}"),
        format!("Origin: http://{host}"),
        "Content-Type: application/x-www-form-urlencoded".to_owned(),
    ];
    let reply = crate::wire::ask(host, "POST", "/sign-in", &lines, &format!("code={code}"));
    assert_eq!(reply.status, 303);
    let again = crate::wire::ask(host, "POST", "/sign-in", &lines, &format!("code={code}"));
    assert_eq!(again.status, 403);
    let plain = Site::started();
    let none = plain.machine.run("console --of-agent");
    assert_eq!(none.code, 4, "{}", none.stderr);
    assert!(none.stderr.contains("serves no page"), "{}", none.stderr);
}

/// What an engineer typed and an operation printed is text on the page, whatever it looks like.
#[test]
fn sec37_sec41_stored_content_is_shown_and_never_obeyed() {
    let site = Site::ready();
    let hostile = "Get-Process -Name '<img src=x onerror=alert(1)><script>document.title=\"owned\"</script>'";
    let control = "Get-Process -Name '\u{1b}[2J\u{202e}\u{9b}31m</pre></li>'";
    let _ran = site.machine.run_args(["connect", "--command", hostile, "--command", control]);
    let session = site.machine.json("history")[0]["sessionId"].as_str().expect("an id").to_owned();
    let page = Served::start(&site.machine);
    let text = page.get(&format!("/sessions/{session}"), &page.cookie()).text();
    assert!(text.contains("&lt;script&gt;document.title"), "it is there, as text: {text}");
    let unsafe_ones = |c: &char| *c != '\n' && (c.is_control() || ('\u{202a}'..='\u{202e}').contains(c));
    let found: Vec<char> = text.chars().filter(unsafe_ones).collect();
    assert!(found.is_empty(), "{found:?} in {text}");
    let Some(browser) = Browser::start() else { return };
    page.sign_in(&browser);
    browser.go(&page.at(&format!("/sessions/{session}")));
    browser.reads("<script>document.title=");
    browser.press("Commands in their order");
    for bad in ["main script", "main img", "[onerror]", "iframe"] {
        assert!(browser.all(bad).is_empty(), "{bad}");
    }
    assert!(!browser.title().contains("owned"));
    // The control: the same text, put in as markup, would be an element. The policy refuses even that to run.
    let found = browser.run(
        "document.getElementById('log').innerHTML += '<img src=x onerror=\"document.title=1\">'; \
         return document.querySelectorAll('main img').length",
    );
    assert_eq!(found, 1);
    assert!(
        until("the browser complains", || Some(browser.complaints())
            .filter(|all| all.contains("Content Security Policy")))
        .contains("Content Security Policy")
    );
    assert!(!browser.title().starts_with('1'));
    let contents = site.machine.run(&format!("session verify {session}"));
    assert_eq!(contents.code, 0, "{}", contents.stderr);
}

/// Every control of every screen has a name, every picture of a screen its landmark, and the keyboard reaches what the mouse
/// does.
#[test]
fn u13_every_control_has_a_name_and_the_keyboard_reaches_it() {
    let site = Site::ready();
    assert_eq!(site.connect("").code, 0);
    let session = site.machine.json("history")[0]["sessionId"].as_str().expect("an id").to_owned();
    let (_engineer, running) = site.busy_engineer();
    let page = Served::start(&site.machine);
    let Some(browser) = Browser::start() else { return };
    browser.go(&page.address);
    let mut controls = 0;
    let mut check = |place: &str| {
        // What is folded away counts too.
        browser.run("document.querySelectorAll('details').forEach(details => { details.open = true })");
        for element in browser.all(
            "a, button, input:not([type=hidden]), select, textarea, summary, [role=log], [role=region], nav",
        ) {
            controls += 1;
            let label = browser.label(&element);
            assert!(!label.trim().is_empty(), "{place}: {}", browser.html_of(&element));
        }
        for (what, css) in [("one heading", "h1"), ("one main part", "main")] {
            assert_eq!(browser.all(css).len(), 1, "{place}: {what}");
        }
        assert_eq!(browser.run("return document.documentElement.lang"), "en");
        let twice = browser.run(
            "const ids = [...document.querySelectorAll('[id]')].map(e => e.id); return ids.filter((id, at) => ids.indexOf(id) !== at)",
        );
        assert_eq!(twice, Value::Array(Vec::new()), "{place}: ids are unique");
    };
    check("sign-in");
    page.sign_in(&browser);
    for place in [
        "/",
        "/grant",
        "/grant/review?level=DiagnosticsRepair&period=480",
        "/sessions",
        "/approvals",
        "/requests",
        "/proxy",
        "/health",
        &format!("/sessions/{session}"),
        &format!("/sessions/{running}"),
        &format!("/sessions/{session}/verify"),
        "/nowhere",
    ] {
        browser.go(&page.at(place));
        check(place);
        // At the width of a telephone nothing sticks out.
        browser.resize(360, 800);
        let wide = browser.run("return document.documentElement.scrollWidth");
        assert!(wide.as_u64().is_some_and(|wide| wide <= 360), "{place}: {wide} wide");
        browser.resize(1400, 900);
    }
    assert!(controls > 100, "{controls}");
    // The first key on a page leads past the menu.
    browser.go(&page.address);
    browser.key('\u{e004}');
    assert_eq!(browser.run("return document.activeElement.className"), "skip");
    browser.key('\u{e007}');
    assert_eq!(browser.run("return document.activeElement.id"), "main");
    let mut seen = Vec::new();
    for _ in 0..8 {
        browser.key('\u{e004}');
        seen.push(browser.run("return document.activeElement.innerText"));
    }
    assert!(seen.contains(&Value::from("Revoke access now")), "{seen:?}");
}

//! What must not work (SEC41), each beside the same thing in the right way, so that a refusal means what it says.

use std::io::{Read as _, Write as _};
use std::net::TcpListener;

use crate::browser::Browser;
use crate::daemon::until_true;
use crate::machine::Machine;
use crate::operator::Served;
use crate::wire;

fn granted(machine: &Machine) -> bool {
    machine.json("access").as_array().is_some_and(|grants| !grants.is_empty())
}

#[test]
fn sec41_the_page_is_for_this_machine_only() {
    let machine = Machine::new();
    for listen in ["0.0.0.0:0", "[::]:0", "192.0.2.1:0"] {
        let run = machine.run(&format!("console --listen {listen}"));
        assert_eq!(run.code, 2, "{listen}: {}", run.stderr);
        assert!(run.stderr.contains("for this machine only"), "{}", run.stderr);
    }
}

#[test]
fn sec41_nobody_gets_in_without_the_code_and_each_code_is_good_once() {
    let machine = Machine::new();
    let page = Served::start(&machine);
    let code = page.code();
    for path in ["/grant", "/sessions", "/events", "/nowhere"] {
        let reply = page.get(path, "remote_support_seat=AAAA");
        assert_eq!(reply.status, 401, "{path}");
        assert!(!reply.text().contains("Grant access"), "{path}");
    }
    assert_eq!(page.post("/revoke", "", "token=x").status, 401);
    assert_eq!(page.post("/sign-in", "", "code=AAAA-AAAA").status, 403);
    // A code in an address opens nothing.
    assert!(page.get(&format!("/?code={code}"), "").text().contains("Sign in"));
    let reply = page.post("/sign-in", "", &format!("code={code}"));
    assert_eq!(reply.status, 303, "the control: it is good in the form");
    let cookie = reply.header("set-cookie").to_owned();
    assert!(cookie.contains("HttpOnly") && cookie.contains("SameSite=Strict"), "{cookie}");
    assert_eq!(page.post("/sign-in", "", &format!("code={code}")).status, 403, "only once");
    let cookie = cookie.split(';').next().expect("a pair");
    assert_eq!(page.get("/grant", cookie).status, 200);
    let token = page.token("/", "/sign-out", cookie);
    assert_eq!(page.post("/sign-out", cookie, &format!("token={token}")).status, 303);
    assert_eq!(page.get("/grant", cookie).status, 401, "signed out");
}

#[test]
fn sec41_wrong_codes_are_limited() {
    let machine = Machine::new();
    let page = Served::start(&machine);
    let replies: Vec<_> = (0..11).map(|_| page.post("/sign-in", "", "code=AAAA-AAAA").text()).collect();
    assert!(replies[9].contains("not the code"), "{}", replies[9]);
    assert!(replies[10].contains("Too many wrong codes"), "{}", replies[10]);
    let right = page.post("/sign-in", "", &format!("code={}", page.code()));
    assert!(right.text().contains("Too many wrong codes"), "the right one waits too");
}

#[test]
fn sec41_a_form_needs_host_origin_site_and_token() {
    let machine = Machine::new();
    machine.enable("Diagnostics");
    let page = Served::start(&machine);
    let cookie = page.cookie();
    let token = page.token("/", "/revoke", &cookie);
    let (form, host) = (format!("token={token}"), page.host().to_owned());
    let own = [
        format!("Host: {host}"),
        format!("Origin: http://{host}"),
        format!("Cookie: {cookie}"),
        "Content-Type: application/x-www-form-urlencoded".to_owned(),
        "Sec-Fetch-Site: same-origin".to_owned(),
    ];
    let changed = |at: usize, line: &str| {
        let mut lines = own.clone();
        lines[at] = line.to_owned();
        lines
    };
    let port = host.split(':').nth(1).expect("a port");
    for (lines, body) in [
        (changed(0, &format!("Host: evil.example:{port}")), &form),
        (changed(1, "Origin: http://evil.example"), &form),
        (changed(1, "Origin: null"), &form),
        (changed(1, "Origin: http://127.0.0.1:1"), &form),
        (changed(1, "X-Nothing: no origin at all"), &form),
        (changed(3, "Content-Type: text/plain"), &form),
        (changed(4, "Sec-Fetch-Site: cross-site"), &form),
        (changed(4, "Sec-Fetch-Site: same-site"), &form),
        (own.clone(), &"token=".to_owned()),
        (own.clone(), &format!("token={}", page.token("/", "/sign-out", &cookie))),
    ] {
        let reply = wire::ask(&host, "POST", "/revoke", &lines, body);
        assert_eq!(reply.status, 403, "{lines:?} {body}");
        assert!(granted(&machine), "{lines:?} {body}");
    }
    // The token of another operator.
    let other = page.cookie();
    let reply = page.post("/revoke", &other, &form);
    assert_eq!(reply.status, 403);
    assert!(granted(&machine));
    // The control: as it should be, it is done.
    assert_eq!(wire::ask(&host, "POST", "/revoke", &own, &form).status, 303);
    assert!(!granted(&machine));
}

#[test]
fn sec41_every_answer_forbids_framing_foreign_content_and_keeping() {
    let machine = Machine::new();
    let page = Served::start(&machine);
    let cookie = page.cookie();
    for (path, cookie) in [
        ("/", ""),
        ("/", &*cookie),
        ("/grant", &cookie),
        ("/page.css", ""),
        ("/page.js", ""),
        ("/nowhere", &cookie),
    ] {
        let reply = page.get(path, cookie);
        let policy = reply.header("content-security-policy");
        assert!(
            policy.contains("default-src 'none'") && policy.contains("frame-ancestors 'none'"),
            "{path}: {policy}"
        );
        assert!(!policy.contains("unsafe"), "{policy}");
        for (name, value) in [
            ("x-content-type-options", "nosniff"),
            ("cache-control", "no-store"),
            ("x-frame-options", "DENY"),
        ] {
            assert_eq!(reply.header(name), value, "{path} {name}");
        }
        let text = reply.text();
        for foreign in ["style=", "onclick", "<script>", "https://"] {
            assert!(path.ends_with("js") || !text.contains(foreign), "{path}: {foreign}");
        }
    }
}

#[test]
fn sec43_what_is_too_long_is_refused_and_the_page_goes_on() {
    let machine = Machine::new();
    let page = Served::start(&machine);
    let fits = "x".repeat(256 * 1024 - "code=".len());
    assert_eq!(page.post("/sign-in", "", &format!("code={fits}")).status, 403, "at the bound it is read");
    let over = page.post("/sign-in", "", &format!("code={fits}x"));
    assert_eq!(over.status, 413);
    let long = format!("X-Long: {}", "x".repeat(17 * 1024));
    assert_eq!(page.send("GET", "/", &[&long], "").status, 431);
    assert_eq!(page.send("DELETE", "/", &[&format!("Origin: http://{}", page.host())], "").status, 403);
    assert!(!page.cookie().is_empty(), "it goes on");
}

/// The cookie of the operator in the hands of another account of this machine, which can reach the page as well.
#[test]
fn sec41_a_stolen_cookie_is_none_in_another_account() {
    use std::os::unix::process::CommandExt as _;
    const NOBODY: u32 = 65_534;
    if !rustix::process::geteuid().is_root() {
        assert!(std::env::var_os("REQUIRE_ROOT").is_none(), "root is required here");
        return;
    }
    let machine = Machine::new();
    let page = Served::start(&machine);
    let cookie = page.cookie();
    let (host, port) = page.host().split_once(':').expect("both");
    let ask = format!(
        "exec 3<>/dev/tcp/{host}/{port}; printf 'GET /grant HTTP/1.1\\r\\nHost: {host}:{port}\\r\\nCookie: {cookie}\\r\\nConnection: \
         close\\r\\n\\r\\n' >&3; head -n 1 <&3"
    );
    for (account, status) in [(0, " 200 "), (NOBODY, " 401 "), (0, " 200 ")] {
        let mut command = std::process::Command::new("/bin/bash");
        let run = command.args(["-c", &ask]).current_dir("/").uid(account).output().expect("bash");
        let said = String::from_utf8_lossy(&run.stdout).into_owned();
        assert!(said.contains(status), "{account}: {said} {}", String::from_utf8_lossy(&run.stderr));
    }
}

#[test]
fn sec42_pages_that_look_on_are_limited_and_end_with_the_sign_out() {
    use std::io::BufRead as _;
    const STREAMS: usize = 32;
    let machine = Machine::new();
    let page = Served::start(&machine);
    let cookie = page.cookie();
    let open = || {
        let mut stream = std::net::TcpStream::connect(page.host()).expect("it listens");
        let ask = format!("GET /events HTTP/1.1\r\nHost: {}\r\nCookie: {cookie}\r\n\r\n", page.host());
        stream.write_all(ask.as_bytes()).expect("sent");
        let mut lines = std::io::BufReader::new(stream);
        let mut first = String::new();
        lines.read_line(&mut first).expect("an answer");
        (first, lines)
    };
    let mut streams: Vec<_> = (0..STREAMS).map(|_| open()).collect();
    assert!(streams.iter().all(|(first, _)| first.contains("200")), "at the bound");
    assert!(open().0.contains("503"), "past it");
    drop(streams.pop());
    until_true("a place is free again", || open().0.contains("200"));
    let token = page.token("/", "/sign-out", &cookie);
    assert_eq!(page.post("/sign-out", &cookie, &format!("token={token}")).status, 303);
    for (_, mut lines) in streams {
        std::io::copy(&mut lines, &mut std::io::sink()).expect("it ends");
    }
}

/// Whoever connects and says nothing is let go after 10 s, and so is a form that does not come; 64 connections are served at
/// once, and the next one waits for a place.
#[test]
fn sec42_connections_that_say_nothing_are_let_go_and_hold_up_only_their_number() {
    use std::net::TcpStream;
    use std::time::{Duration, Instant};
    const CONNECTIONS: usize = 64;
    const WAIT: Duration = Duration::from_secs(10);
    let machine = Machine::new();
    let page = Served::start(&machine);
    let connect = || TcpStream::connect(page.host()).expect("it listens");
    let head = format!("GET /page.css HTTP/1.1\r\nHost: {}\r\n", page.host());
    let (mut half, mut form, since) = (connect(), connect(), Instant::now());
    half.write_all(head.as_bytes()).expect("sent");
    let post = format!(
        "POST /sign-in HTTP/1.1\r\nHost: {0}\r\nOrigin: http://{0}\r\nContent-Type: \
         application/x-www-form-urlencoded\r\nContent-Length: 9\r\n\r\ncode",
        page.host()
    );
    form.write_all(post.as_bytes()).expect("sent");
    let mut idle: Vec<_> = (2..CONNECTIONS).map(|_| connect()).collect();
    let mut next = connect();
    next.write_all(format!("{head}Connection: close\r\n\r\n").as_bytes()).expect("sent");
    next.set_read_timeout(Some(Duration::from_millis(300))).expect("a socket");
    assert!(next.read(&mut [0; 1]).is_err(), "all places are taken");
    drop(idle.pop());
    next.set_read_timeout(Some(WAIT / 2)).expect("a socket");
    assert_eq!(next.read(&mut [0; 1]).expect("there is a place"), 1);
    let mut answer = [0; 16];
    let _ = form.read(&mut answer).expect("an answer");
    assert!(String::from_utf8_lossy(&answer).contains("408"), "{answer:?}");
    let mut rest = Vec::new();
    // It may be told why, or cut; in any case it ends.
    let _ = half.read_to_end(&mut rest);
    let waited = since.elapsed();
    assert!(waited >= WAIT && waited < 4 * WAIT, "{waited:?}");
    assert!(!String::from_utf8_lossy(&rest).contains("200 OK"));
}

/// A server of somebody else, which answers everything with this page.
fn stranger(html: String) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("bound");
    std::thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            let html = html.clone();
            // Browsers connect ahead of need; such a connection must not hold up the next.
            std::thread::spawn(move || {
                let _ = stream.read(&mut [0; 4096]);
                let head = "HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nConnection: close\r\n";
                let answer = format!("{head}Content-Length: {}\r\n\r\n{html}", html.len());
                let _ = stream.write_all(answer.as_bytes());
            });
        }
    });
    address.port().to_string()
}

/// The operator is signed in, and opens a page of somebody else. By its cookies such a page would be of the same site, where
/// it is on another port of this machine; that is tried too.
#[test]
fn sec41_a_page_of_another_site_can_neither_change_nor_frame_nor_read() {
    let machine = Machine::new();
    machine.enable("Diagnostics");
    let page = Served::start(&machine);
    let rules = "--host-resolver-rules=MAP evil.example 127.0.0.1";
    let Some(browser) = Browser::start_with(&[rules]) else { return };
    page.sign_in(&browser);
    let token = {
        let cookie = page.cookie();
        page.token("/", "/revoke", &cookie)
    };
    let target = &page.address;
    let html = format!(
        "<!DOCTYPE html><title>stranger</title><form id=f method=post action='{target}revoke'><input name=token value='{token}'></form>\
         <iframe id=frame src='{target}'></iframe><iframe id=own srcdoc='<main id=main></main>'></iframe>"
    );
    let port = stranger(html);
    for site in ["127.0.0.1", "localhost", "evil.example"] {
        browser.go(&format!("http://{site}:{port}/"));
        let read = browser.run_async(&format!(
            "const done = arguments[arguments.length - 1]; fetch('{target}grant', {{credentials: 'include'}})\
             .then(r => r.text()).then(t => done('read ' + t), e => done('refused'));"
        ));
        assert_eq!(read, "refused", "{site}");
        let framed = browser.run("try { return !!document.getElementById('frame').contentDocument.getElementById('main') } catch { return false }");
        assert_eq!(framed, false, "{site}");
        // The control: what the stranger may read and frame is seen in just this way.
        let own = browser.run_async(
            "const done = arguments[arguments.length - 1]; \
             fetch('/').then(r => r.text()).then(t => done('read'), e => done('refused'));",
        );
        assert_eq!(own, "read", "{site}");
        let own =
            browser.run("return !!document.getElementById('own').contentDocument.getElementById('main')");
        assert_eq!(own, true, "{site}");
        browser.run("document.getElementById('f').submit()");
        browser.reads("Another site sent you here");
        assert!(granted(&machine), "{site}");
    }
    // A name of the stranger that now leads to the page: the browser takes it for the stranger's, the page does not answer.
    browser.go(&format!("http://evil.example:{}/", page.host().split(':').nth(1).expect("a port")));
    browser.reads("This address is not the one of the page");
    // The control: the operator's own form does it.
    browser.go(target);
    browser.press("Revoke access now");
    browser.reads("successfully Disabled");
    assert!(!granted(&machine));
}

#[test]
fn sec41_the_page_of_an_operator_ends_with_its_process() {
    let machine = Machine::new();
    let mut page = Served::start(&machine);
    let cookie = page.cookie();
    assert_eq!(page.get("/grant", &cookie).status, 200);
    page.daemon.kill9();
    let again = Served::start(&machine);
    assert_eq!(again.get("/grant", &cookie).status, 401);
    until_true("a new code is there", || again.daemon.stderr().contains("Code for one sign-in"));
}

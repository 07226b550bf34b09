//! Pictures of the page for the README and for whoever changes how it looks; `scripts/screenshots` runs this.

use std::path::PathBuf;

use crate::browser::Browser;
use crate::machine::Machine;
use crate::operator::Served;
use crate::site::Site;

/// Light and dark, as wide as a desk and as narrow as a telephone.
const LOOKS: [(&str, u32, u32); 4] =
    [("light", 1400, 1000), ("dark", 1400, 1000), ("light", 360, 800), ("dark", 360, 800)];

#[test]
#[ignore = "writes pictures; run by scripts/screenshots"]
fn pictures_of_every_screen() {
    let folder = PathBuf::from(std::env::var_os("PICTURES").expect("PICTURES names a directory"));
    std::fs::create_dir_all(&folder).expect("a directory");
    let site = Site::ready();
    let lines = ["Get-Date", "Get-Process | Select-Object -First 5", "Stop-Service spooler", "Get-Volume"];
    let args = lines.iter().flat_map(|line| ["--command", *line]);
    let _ended = site.machine.run_args(["connect"].into_iter().chain(args));
    let session = site.machine.json("history")[0]["sessionId"].as_str().expect("an id").to_owned();
    let page = Served::start(&site.machine);
    let browser = Browser::start().expect("chromium");
    let shoot = |name: &str| {
        for (scheme, width, height) in LOOKS {
            browser.resize(width, height);
            browser.dress(scheme);
            browser.screenshot(&folder.join(format!("{name}-{scheme}-{width}.png")));
        }
        browser.resize(1400, 1000);
    };
    browser.go(&page.address);
    shoot("sign-in");
    page.sign_in(&browser);
    let (_engineer, running) = site.busy_engineer();
    browser.reads("engineer@support.example");
    let _asks =
        site.engineer(["Request-AccessLevel DiagnosticsRepair -Reason 'The spooler has to be restarted'"]);
    browser.reads("waits for your answer");
    for (name, place) in [
        ("overview", "/".to_owned()),
        ("grant", "/grant".to_owned()),
        ("review", "/grant/review?level=DiagnosticsRepair&period=480&strict=yes".to_owned()),
        ("sessions", "/sessions".to_owned()),
        ("session", format!("/sessions/{session}")),
        ("live", format!("/sessions/{running}")),
        ("verification", format!("/sessions/{session}/verify")),
        ("approvals", "/approvals".to_owned()),
        ("requests", "/requests".to_owned()),
        ("proxy", "/proxy".to_owned()),
        ("health", "/health".to_owned()),
    ] {
        browser.go(&page.at(&place));
        shoot(name);
        if name == "review" {
            browser.run("document.querySelector('form[action=\"/grant\"]').scrollIntoView()");
            shoot("agree");
        }
    }
    let nothing = Machine::new();
    let page = Served::start(&nothing);
    page.sign_in(&browser);
    shoot("first");
}

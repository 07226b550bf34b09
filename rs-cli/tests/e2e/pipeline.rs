//! A pipeline as an engineer types it, through the real program on this machine's real processes.

use serde_json::Value;

use crate::site::Site;

/// A process with a processor time of more than a second, so that the pipeline has something to show on any machine.
fn busy() -> std::process::Child {
    std::process::Command::new("/bin/sh")
        .args(["-c", "while :; do :; done"])
        .stdin(std::process::Stdio::null())
        .spawn()
        .expect("a shell")
}

#[test]
fn a19_the_line_of_every_tutorial_prints_what_a_powershell_user_expects() {
    let site = Site::started();
    site.papers();
    site.machine.enable("Diagnostics");
    site.connected();
    let mut child = busy();
    let own = child.id().to_string();
    let cpu = || -> f64 {
        let line = format!("Get-Process -Id {own} | select CPU");
        let run = site.machine.run_args(["connect", "--output", "json", "--command", line.as_str()]);
        let object: Value = serde_json::from_str(&run.stdout).expect("one object");
        object["CPU"].as_f64().expect("a number")
    };
    // Each look takes a session, and the loop its time.
    while cpu() <= 1.0 {}
    let line = "gEt-pRoCeSs | ? CPU -gt 1 | sort cpu -Desc | select -First 3 Name, Id, CPU | ft";
    let run = site.machine.run_args(["connect", "--command", line]);
    let objects = site.machine.run_args([
        "connect",
        "--output",
        "json",
        "--command",
        line,
        "--command",
        &format!("Get-Process -Id {own} | ? Name -match '^sh' | select Name, Id, CPU"),
    ]);
    child.kill().expect("its own child");
    child.wait().expect("its own child");

    assert_eq!(run.code, 0, "{}", run.stderr);
    let lines: Vec<&str> = run.stdout.lines().collect();
    let words = |at: usize| lines[at].split_whitespace().collect::<Vec<_>>();
    assert_eq!((lines[0], words(1)), ("", vec!["Name", "Id", "CPU"]), "{}", run.stdout);
    assert!(lines[2].chars().all(|c| c == '-' || c == ' '), "{}", run.stdout);
    let rows: Vec<&str> = lines[3..].iter().copied().take_while(|line| !line.is_empty()).collect();
    assert!((1..=3).contains(&rows.len()), "{}", run.stdout);
    let ends =
        |at: usize| lines[1].find(["", "Id", "CPU"][at]).expect("a header") + ["", "Id", "CPU"][at].len();
    let seconds: Vec<f64> = rows
        .iter()
        .map(|row| {
            assert!(
                row.len() == ends(2) && row[..ends(1)].ends_with(|c: char| c.is_ascii_digit()),
                "numbers stand right: {row:?}"
            );
            row.rsplit(' ').next().and_then(|cell| cell.parse().ok()).expect("processor time")
        })
        .collect();
    assert!(seconds.is_sorted_by(|a, b| a >= b) && seconds.iter().all(|own| *own > 1.0), "{seconds:?}");

    assert_eq!(objects.code, 0, "{}", objects.stderr);
    let objects: Vec<Value> = serde_json::Deserializer::from_str(&objects.stdout)
        .into_iter()
        .map(|one| one.expect("JSON"))
        .collect();
    let shell = objects.last().expect("the shell");
    assert_eq!((shell["Id"].to_string(), shell.as_object().map(serde_json::Map::len)), (own, Some(3)));
    for object in &objects {
        assert!(object["CPU"].as_f64().is_some_and(|cpu| cpu > 1.0), "{object}");
    }
}

/// The part of a text that says how many commands are permitted, and the one that says what is left of the lists.
fn said(text: &str) -> (String, Vec<String>) {
    let at = text.find(" listed commands").unwrap_or_else(|| panic!("no count: {text}"));
    let count = text[..at].rsplit(' ').next().unwrap_or_default().to_owned();
    let lists = text.lines().filter(|line| line.starts_with("Lists of ")).map(str::to_owned).collect();
    (count, lists)
}

#[test]
fn u11_enable_operations_and_connect_say_the_same_of_the_same_rights() {
    let site = Site::started();
    site.papers();
    let mut counts = Vec::new();
    for (level, option, kept) in [
        ("Diagnostics", "", "Diagnostics kept read-only (strict-read-only); sha256"),
        ("Diagnostics", "--strict-read-only=false", "Diagnostics as published; sha256"),
        ("DiagnosticsRepair", "", "DiagnosticsRepair as published; sha256"),
    ] {
        let enable = site
            .machine
            .run(&format!("enable --agree-to-remote-support-consent --access-level {level} {option}"));
        assert_eq!(enable.code, 0, "{}", enable.stderr);
        site.connected();
        let (count, _) = said(&enable.stderr);
        // The consent is in force now, so nobody has to say what it narrows.
        let (listed, lists) = said(&site.machine.run(&format!("operations --access-level {level}")).stderr);
        let connect = site.connect("");
        assert_eq!(connect.code, 0, "{}", connect.stderr);
        let (greeted, greeting) = said(&connect.stderr.replace("sha256", "\nsha256").replace("; \n", "; "));
        assert_eq!((&listed, &greeted), (&count, &count), "{level} {option}");
        assert!(
            lists[0].contains(kept) && greeting[0].contains(kept),
            "{level} {option}: {lists:?} {greeting:?}"
        );
        let run = site.machine.run(&format!("operations --access-level {level} --output json"));
        assert_eq!(run.stdout.matches("\"provider\"").count().to_string(), count, "{level} {option}");
        counts.push(count);
    }
    counts.dedup();
    assert_eq!(counts.len(), 3, "each scope has a count of its own: {counts:?}");
}

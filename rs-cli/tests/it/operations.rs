//! What a level permits, and what must be reachable: lists that need neither node nor network.

use serde_json::{Value, json};

use crate::machine::{Machine, Run};

fn operations(more: &str) -> Vec<Value> {
    Machine::new().json(&format!("operations {more}")).as_array().expect("an array").clone()
}

fn count(entries: &[Value], fits: impl Fn(&Value) -> bool) -> usize {
    entries.iter().filter(|entry| fits(entry)).count()
}

fn has(entry: &Value, field: &str, text: &str) -> bool {
    entry[field].as_array().expect("an array").contains(&text.into())
}

#[test]
fn a14_the_counts_of_each_level_are_the_published_ones() {
    let (diagnostics, repair) =
        (operations("--access-level Diagnostics"), operations("--access-level DiagnosticsAndRepair"));
    assert_eq!((diagnostics.len(), repair.len()), (285, 287));
    for (group, commands) in [
        ("Default", 15),
        ("Azure Local", 7),
        ("Hyper-V", 64),
        ("Failover cluster", 12),
        ("Net Adapter", 102),
        ("Storage", 73),
        ("Log Collection", 1),
        ("Diagnostic test", 1),
        ("NetworkATC", 1),
        ("UpdateService", 10),
    ] {
        assert_eq!(count(&diagnostics, |entry| has(entry, "group", group)), commands, "{group}");
    }
    for (effect, commands) in
        [("reads", 285), ("changes", 7), ("services", 0), ("network", 2), ("data-leaving", 1)]
    {
        assert_eq!(count(&diagnostics, |entry| has(entry, "effects", effect)), commands, "{effect}");
    }
    assert_eq!(count(&repair, |entry| has(entry, "effects", "services")), 2);
}

#[test]
fn a14_without_a_level_what_only_repair_permits_stands_last_and_is_said() {
    let both = operations("");
    assert_eq!(both.len(), 287);
    let levels: Vec<&str> = both.iter().map(|entry| entry["accessLevel"].as_str().expect("text")).collect();
    assert!(levels.is_sorted(), "{levels:?}");
    assert_eq!(count(&both, |entry| entry["accessLevel"] == "DiagnosticsRepair"), 2);
    let run = Machine::new().run("operations --output table");
    assert_eq!(run.stdout.lines().count(), 289, "{}", run.stdout);
    assert!(run.stdout.lines().last().is_some_and(|line| line.starts_with("Stop-Service")), "{}", run.stdout);
    assert!(
        run.stderr.contains(
            "DiagnosticsRepair permits all of Diagnostics and 2 more: Start-Service, Stop-Service."
        ),
        "{}",
        run.stderr
    );
}

#[test]
fn a17_each_command_says_what_answers_it_here_or_why_nothing_does() {
    let all = operations("");
    for entry in &all {
        let why = entry["providerReason"].as_str();
        assert!(
            ["native", "PowerShell", "none"].contains(&entry["provider"].as_str().expect("text")),
            "{entry}"
        );
        assert_eq!(entry["provider"] == "none", why.is_some(), "{entry}");
    }
    let of = |name: &str| all.iter().find(|entry| entry["name"] == name).expect("published");
    assert_eq!(of("Get-Process")["provider"], "native");
    assert!(of("Get-VM")["providerReason"].as_str().is_some_and(|why| why.contains("Hyper-V")));
    let run = Machine::new().run("operations --access-level Diagnostics");
    assert!(run.stdout.contains("Name             : Get-Process\n"), "{}", run.stdout);
    assert_eq!(Machine::new().run("operations --access-level Admin").code, 2);
}

#[test]
fn a10_u11_before_consent_the_level_is_explained_from_the_catalog() {
    let machine = Machine::new();
    let run =
        machine.run("enable --access-level Diagnostics --agree-to-remote-support-consent --output json");
    assert_eq!(run.code, 0, "{}", run.stderr);
    let explained = "\
Access level 'Diagnostics' permits an engineer to run 285 listed commands on this node, and nothing else.
By group: Diagnostics: Net Adapter 102, Storage 73, Hyper-V 64, Default 15, Failover cluster 12, UpdateService 10, \
Azure Local 7, Diagnostic test 1, Log Collection 1, NetworkATC 1.
By effect: reading only 276, changing settings or files 7, opening network connections 2, sending data away from this \
site 1.
Diagnostics is not read-only. These commands change state: Add-SolutionUpdate, Export-CauReport, \
Invoke-SolutionUpdatePrecheck, Set-OverrideUpdateConfiguration, Set-SolutionDiscovery, Set-UpdateConfiguration, \
Start-SolutionUpdate.
The list: remote-support operations --access-level Diagnostics
";
    assert!(run.stderr.contains(explained), "{}", run.stderr);
    let grant: Value = serde_json::from_str(&run.stdout).expect("JSON");
    assert_eq!(grant["catalog"], rs_session::operations::Catalog::sha256(), "the grant names the catalog");
}

#[test]
fn p01_endpoints_as_a_plain_list() {
    let run = Machine::new().run("proxy endpoints --format plain");
    assert_eq!(
        run.stdout,
        "*.servicebus.windows.net\n*.core.windows.net\nlogin.microsoftonline.com\n\
         asztrsprod.westus2.cloudapp.azure.com\nasztrsprod.westeurope.cloudapp.azure.com\n\
         asztrsprod.eastus.cloudapp.azure.com\nasztrsprod.westcentralus.cloudapp.azure.com\n\
         asztrsprod.southeastasia.cloudapp.azure.com\nedgesupprd.trafficmanager.net\n"
    );
    assert_eq!((run.code, run.stderr.as_str()), (0, ""));
}

#[test]
fn p01_endpoints_for_squid() {
    let run = Machine::new().run("proxy endpoints -Format SQUID --output json");
    let entries: Vec<&str> = run.stdout.lines().filter(|line| !line.starts_with('#')).collect();
    assert_eq!(
        entries,
        [
            ".servicebus.windows.net",
            ".core.windows.net",
            "login.microsoftonline.com",
            "asztrsprod.westus2.cloudapp.azure.com",
            "asztrsprod.westeurope.cloudapp.azure.com",
            "asztrsprod.eastus.cloudapp.azure.com",
            "asztrsprod.westcentralus.cloudapp.azure.com",
            "asztrsprod.southeastasia.cloudapp.azure.com",
            "edgesupprd.trafficmanager.net",
        ]
    );
    assert!(run.stdout.starts_with("# Remote support endpoints"), "{}", run.stdout);
}

#[test]
fn p01_endpoints_as_json_by_either_option() {
    let machine = Machine::new();
    let data: Value =
        serde_json::from_str(&machine.run("proxy endpoints --format json").stdout).expect("JSON");
    assert_eq!(machine.json("proxy endpoints"), data);
    assert_eq!(data["cloud"], "public");
    let endpoints = data["endpoints"].as_array().expect("an array");
    assert_eq!(endpoints.len(), 9);
    let entries: Vec<&Value> = endpoints.iter().map(|endpoint| &endpoint["entry"]).collect();
    assert_eq!(entries[0], "*.servicebus.windows.net");
    assert_eq!(entries[8], "https://edgesupprd.trafficmanager.net");
    assert!(endpoints.iter().all(|endpoint| endpoint["confidence"] == "documented"), "{data}");
}

#[test]
fn p14_endpoints_follow_the_cloud_and_the_relay() {
    let machine = Machine::new();
    let gov = machine.run("proxy endpoints --cloud usgov --format plain").stdout;
    assert!(gov.contains("*.servicebus.usgovcloudapi.net\n"), "{gov}");
    let own =
        machine.run("proxy endpoints --cloud custom --relay-host relay.example:9443 --format plain").stdout;
    assert_eq!(own, "relay.example:9443\n");
    let run = machine.run("proxy endpoints --cloud custom");
    assert_eq!(run.code, 2, "{}", run.stderr);
    assert!(run.stderr.contains("--relay-host"), "{}", run.stderr);
    for line in [
        "proxy endpoints --format yaml",
        "proxy endpoints --cloud mars",
        "proxy endpoints --relay-host evil@relay.example",
    ] {
        assert_eq!(machine.run(line).code, 2, "{line}");
    }
    assert!(machine.run("proxy endpoints --format yaml").stderr.contains("azure-firewall"));
    assert_eq!(machine.run("proxy endpoints --output table").stdout.lines().count(), 11);
}

#[test]
fn p04_a_list_is_judged_by_the_rules_of_its_product() {
    let machine = Machine::new();
    std::fs::write(machine.file("list"), "*.servicebus.windows.net\nlogin.microsoftonline.com\n")
        .expect("own file");
    let run = machine.run("proxy allowlist list --format squid");
    assert_eq!(run.code, 1, "{}", run.stderr);
    assert!(run.stdout.contains("never-matches *.servicebus.windows.net"), "{}", run.stdout);
    assert!(run.stdout.ends_with("1 of 9 endpoints are let through.\n"), "{}", run.stdout);
    let Run { stdout: fix, code, stderr } = machine.run("proxy allowlist list --format squid --fix");
    assert_eq!((code, fix.lines().count()), (1, 8), "{fix}");
    assert!(stderr.contains("1 of 9"), "{stderr}");
    let mended = format!("login.microsoftonline.com\n{fix}");
    std::fs::write(machine.file("mended"), mended).expect("own file");
    assert_eq!(machine.run("proxy allowlist mended --format squid").code, 0);
    let report = machine.json("proxy allowlist mended");
    assert_eq!((&report["format"], report["endpoints"].as_array().map(Vec::len)), (&"squid".into(), Some(9)));
    assert_eq!(machine.json("proxy allowlist mended --fix"), json!([]));
}

#[test]
fn p04_a_list_that_cannot_be_read_is_refused() {
    let machine = Machine::new();
    std::fs::write(machine.file("book.xlsx"), b"PK\x03\x04\0\0").expect("own file");
    std::fs::write(machine.file("hostile"), "\u{1b}[2J.example\n").expect("own file");
    for (line, code) in
        [("proxy allowlist none", 4), ("proxy allowlist book.xlsx", 1), ("proxy allowlist", 2)]
    {
        let run = machine.run(line);
        assert_eq!((run.code, run.stdout.as_str()), (code, ""), "{line}: {}", run.stderr);
    }
    let run = machine.run("proxy allowlist hostile");
    assert!(!(run.stdout + &run.stderr).contains('\u{1b}'), "sec37");
    assert_eq!(machine.run("proxy allowlist -").code, 1, "an empty list lets nothing through");
}

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

const PUBLISHED: &str = "--strict-read-only=false";

#[test]
fn a14_the_counts_of_each_level_are_the_published_ones() {
    let diagnostics = operations(&format!("--access-level Diagnostics {PUBLISHED}"));
    let repair = operations("--access-level DiagnosticsAndRepair");
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
    for (effect, commands) in [("reads", 285), ("services", 2), ("data-leaving", 1)] {
        assert_eq!(count(&diagnostics, |entry| has(entry, "effects", effect)), commands, "{effect}");
    }
    assert_eq!(count(&repair, |entry| has(entry, "effects", "services")), 4);
}

#[test]
fn a10_strict_read_only_is_the_default_and_says_what_it_takes_out() {
    let strict = operations("--access-level Diagnostics");
    assert_eq!(count(&strict, |entry| has(entry, "effects", "changes")), 0);
    assert_eq!(strict, operations("--access-level Diagnostics --strict-read-only"));
    let published = operations(&format!("--access-level Diagnostics {PUBLISHED}"));
    assert_eq!(published.len() - strict.len(), count(&published, |entry| has(entry, "effects", "changes")));
    let run = Machine::new().run("operations --access-level Diagnostics");
    assert!(run.stderr.contains("Diagnostics kept read-only (strict-read-only); sha256"), "{}", run.stderr);
    assert!(
        run.stderr.contains("taken out, since they change state: Add-SolutionUpdate, "),
        "{}",
        run.stderr
    );
    assert!(run.stderr.contains(rs_session::operations::Catalog::sha256()), "{}", run.stderr);
}

#[test]
fn a15_what_the_owner_takes_out_is_listed_nowhere_and_said_before_consent() {
    let machine = Machine::new();
    machine.enable("Diagnostics");
    let policy = machine.state().join("node/policy.json");
    let listed = |name: &str| {
        let run = machine.run("operations --access-level Diagnostics --output json");
        assert_eq!(run.code, 0, "{}", run.stderr);
        let entries: Vec<Value> = serde_json::from_str(&run.stdout).expect("JSON");
        let said = run.stderr.contains("takes out of Diagnostics: Get-Process, Get-VM,");
        (entries.iter().any(|entry| entry["name"] == name), said)
    };
    assert_eq!(listed("Get-Process"), (true, false), "the control");
    std::fs::write(&policy, r#"{ "commands": { "deny": ["get-process", "Get-VM*"] } }"#).expect("own folder");
    assert_eq!(listed("Get-Process"), (false, true));
    let asked = machine.run("enable --access-level Diagnostics --dry-run");
    assert!(asked.stderr.contains("takes out of Diagnostics: Get-Process, Get-VM,"), "{}", asked.stderr);
    // A rule that means nothing, or that would add, is no rule.
    for wrong in [r#"{ "deny": ["Get-Proces"] }"#, r#"{ "allow": ["Invoke-Expression"] }"#] {
        std::fs::write(&policy, format!(r#"{{ "commands": {wrong} }}"#)).expect("own folder");
        let asked = machine.run("enable --access-level Diagnostics --dry-run");
        assert!(
            asked.code != 0 && asked.stderr.contains("the owner's policy cannot be used"),
            "{}",
            asked.stderr
        );
    }
}

#[test]
fn a10_the_consent_in_force_decides_what_is_listed() {
    let machine = Machine::new();
    let grant = machine.enable(&format!("Diagnostics {PUBLISHED} --product azure-stack-hub-2206"));
    assert_eq!(
        (&grant["strictReadOnly"], &grant["product"]),
        (&false.into(), &"azure-stack-hub-2206".into())
    );
    let run = machine.run("operations --access-level Diagnostics");
    assert!(
        run.stderr.contains("Lists of azure-stack-hub-2206: Diagnostics as published; "),
        "{}",
        run.stderr
    );
    let again = machine.enable("Diagnostics");
    assert_eq!((&again["strictReadOnly"], &again["product"]), (&true.into(), &"azure-local".into()));
    let run = machine.run_args([
        "Enable-RemoteSupport",
        "-AccessLevel",
        "Diagnostics",
        "-AgreeToRemoteSupportConsent",
        "-StrictReadOnly:$false",
        "-Output",
        "json",
    ]);
    assert_eq!(run.code, 0, "{}", run.stderr);
    assert!(run.stdout.contains("\"strictReadOnly\": false"), "{}", run.stdout);
    assert_eq!(machine.run("enable --access-level Diagnostics --product azure-mars").code, 2);
}

#[test]
fn a16_every_product_can_be_chosen() {
    for variant in rs_session::operations::Variant::ALL {
        let lists = rs_session::operations::Catalog::of(*variant);
        let listed = operations(&format!("--product {variant} {PUBLISHED}"));
        assert_eq!(listed.len(), lists.entries().len(), "{variant}");
        for group in lists.groups() {
            let name = &group.name;
            let in_group = count(&listed, |entry| has(entry, "group", name));
            assert!(in_group >= group.commands.len(), "{variant}: {name}");
        }
    }
}

/// A listing without what depends on this machine: the last column says what answers each command here.
fn without_providers(table: &str) -> String {
    let at = table.lines().next().and_then(|header| header.find("Provider")).expect("a last column");
    let cut = |line: &str| line.chars().take(at).collect::<String>().trim_end().to_owned() + "\n";
    table.lines().map(cut).collect()
}

/// Compares with a file of this repository; `UPDATE_GOLDEN=1` writes it anew.
fn golden(name: &str, text: &str) {
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(name);
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        std::fs::write(&path, text).expect("the folder of golden files");
    }
    let expected = std::fs::read_to_string(&path).expect("a golden file");
    assert_eq!(text, expected, "{name} differs; UPDATE_GOLDEN=1 writes it anew");
}

#[cfg_attr(windows, ignore = "the kept listing is that of Linux")]
#[test]
fn a14_the_rights_of_each_level_are_these_and_no_others() {
    for (name, line) in [
        ("operations-diagnostics.txt", "operations --access-level Diagnostics"),
        (
            "operations-diagnostics-published.txt",
            "operations --access-level Diagnostics --strict-read-only=false",
        ),
        ("operations-diff.txt", "operations --diff"),
        ("operations-diff-published.txt", "operations --diff --strict-read-only=false"),
    ] {
        let run = Machine::new().run(&format!("{line} --output table"));
        assert_eq!(run.code, 0, "{}", run.stderr);
        golden(name, &without_providers(&run.stdout));
    }
}

#[test]
fn a14_without_a_level_what_only_repair_permits_stands_last_and_is_said() {
    let both = operations(PUBLISHED);
    assert_eq!(both.len(), 287);
    let levels: Vec<&str> = both.iter().map(|entry| entry["accessLevel"].as_str().expect("text")).collect();
    assert!(levels.is_sorted(), "{levels:?}");
    assert_eq!(count(&both, |entry| entry["accessLevel"] == "DiagnosticsRepair"), 2);
    let run = Machine::new().run(&format!("operations --output table {PUBLISHED}"));
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

#[cfg_attr(windows, ignore = "the reasons are those of Linux")]
#[test]
fn a17_each_command_says_what_answers_it_here_or_why_nothing_does() {
    let all = operations("");
    for entry in &all {
        let why = entry["providerReason"].as_str();
        assert!(
            ["native", "PowerShell", "none"].contains(&entry["provider"].as_str().expect("text")),
            "{entry}"
        );
        // What is answered natively has a reason only where its source is absent.
        let source_absent =
            why.is_some_and(|why| why.starts_with("available natively, but its source is absent: "));
        assert_eq!(entry["provider"] == "none", why.is_some() && !source_absent, "{entry}");
        assert!(!source_absent || entry["provider"] == "native", "{entry}");
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
    let published = machine
        .run("enable --access-level Diagnostics --agree-to-remote-support-consent --strict-read-only=false");
    for text in [
        "permits an engineer to run 285 listed commands on this node, and nothing else.",
        "By group: Diagnostics: Net Adapter 102, Storage 73, Hyper-V 64, Default 15, Failover cluster 12, UpdateService 10, ",
        "Diagnostics is not read-only. These commands change state: Add-SolutionUpdate, ",
        "These commands send data away from this site: Send-DiagnosticData.",
        "The list: remote-support operations --access-level Diagnostics --strict-read-only=false\n",
    ] {
        assert!(published.stderr.contains(text), "{}", published.stderr);
    }
    let run =
        machine.run("enable --access-level Diagnostics --agree-to-remote-support-consent --output json");
    assert_eq!(run.code, 0, "{}", run.stderr);
    for text in [
        "Diagnostics is read-only here: no command that is left in it changes the state of this node.",
        "Published for it and taken out, since they change state: Add-SolutionUpdate, ",
        "To permit them too, give --strict-read-only=false.",
        "The list: remote-support operations --access-level Diagnostics\n",
    ] {
        assert!(run.stderr.contains(text), "{}", run.stderr);
    }
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
    // What has no room on its line goes on below, under its heading.
    let table = machine.run("proxy endpoints --output table").stdout;
    assert_eq!(table.lines().filter(|line| !line.starts_with(' ')).count(), 11, "{table}");
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

#[test]
fn a20_export_jea_writes_the_files_of_both_levels() {
    let folder = tempfile::tempdir().expect("a directory");
    let directory = folder.path().join("jea").display().to_string();
    let machine = Machine::new();
    let line = format!("operations export-jea {directory} --repair-group SITE\\O'Repair --output json");
    let run = machine.run(&line);
    assert_eq!(run.code, 0, "{}", run.stderr);
    let files: Vec<Value> = serde_json::from_str(&run.stdout).expect("JSON");
    assert_eq!(files.len(), 7);
    let text = |file: &str| std::fs::read_to_string(folder.path().join("jea").join(file)).expect(file);
    assert!(text("RemoteSupportDiagnosticsRepair.pssc").contains("'SITE\\O''Repair'"));
    assert!(text("RemoteSupport/RoleCapabilities/RemoteSupportDiagnostics.psrc").contains("Get-Service"));
    assert!(!text("RemoteSupport/RoleCapabilities/RemoteSupportDiagnostics.psrc").contains("Stop-Service"));
    let diagnostics = text("RemoteSupport/RoleCapabilities/RemoteSupportDiagnostics.psrc");
    assert!(!diagnostics.contains("Start-SolutionUpdate"), "a10: strict-read-only holds for these files too");
    assert!(run.stderr.contains("joining only widens"), "{}", run.stderr);
    // Once more takes the place of what was there.
    assert_eq!(machine.run(&line).code, 0);
    assert_eq!(machine.run("operations export-jea /dev/null/x").code, 1);
}

/// What a native command gives in a process of its own, with all that holds it in, is what it gives without.
#[test]
#[cfg(target_os = "linux")]
fn a17_native_commands_answer_in_processes_of_their_own() {
    use rs_consent::AccessLevel;
    use rs_session::operations::catalog::Role;
    use rs_session::operations::executor::{Executor, InProcessExecutor, WorkerExecutor};
    use rs_session::operations::{Availability, Catalog, Context, OutputForm, Policy};

    async fn lines(executor: &dyn Executor, name: &str) -> (usize, String) {
        let line = if name == "Test-Observability" { "Test-Observability 1" } else { name };
        let context = Context { form: OutputForm::Objects, ..Context::new(AccessLevel::Diagnostics) };
        let mut running =
            executor.start(context.plan_line(line).expect("permitted")).await.expect("it starts");
        let mut text = String::new();
        while let Some(chunk) = running.next().await {
            text += &chunk.text;
        }
        (text.lines().count(), running.finish().await.message)
    }

    let program = assert_cmd::cargo::cargo_bin("remote-support");
    let folder = tempfile::tempdir().expect("a directory");
    let worker = WorkerExecutor::new(program, ["operation-worker"])
        .expect("absolute")
        .with_state_directory(folder.path());
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .expect("a runtime");
    let mut lost = Vec::new();
    for entry in Catalog::azure_local().permitted(AccessLevel::Diagnostics, Policy::default()) {
        let native = entry.availability(rs_session::operations::Machine::current()) == Availability::Native;
        if !native || entry.definition.is_none_or(|definition| definition.role != Role::Source) {
            continue;
        }
        let (free, held) = runtime.block_on(async {
            (lines(&InProcessExecutor::default(), &entry.name).await, lines(&worker, &entry.name).await)
        });
        if (free.0 > 0) != (held.0 > 0) || free.1 != held.1 {
            lost.push(format!("{}: {free:?} without, {held:?} with", entry.name));
        }
    }
    assert!(lost.is_empty(), "{}", lost.join("\n"));
}

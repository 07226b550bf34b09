//! Every native command answers on this machine, and what it says agrees with the machine (A17, issue: real data).

#![cfg(feature = "native")]

use std::time::{Duration, Instant};

use rs_consent::AccessLevel;
use rs_session::operations::catalog::{Kind, Role};
use rs_session::operations::pipeline::Collected;
use rs_session::operations::providers::{ProviderError, Registry, absent};
use rs_session::operations::{Availability, Catalog, Context, Machine, OutputForm, Policy};

fn run(line: &str, form: OutputForm) -> (Result<(), ProviderError>, Collected) {
    let context = Context { form, ..Context::new(AccessLevel::Diagnostics) };
    let plan = context.plan_line(line).unwrap_or_else(|why| panic!("{line}: {why}"));
    let mut output = Collected::default();
    (Registry::default().run(&plan, &mut output), output)
}

fn objects(line: &str) -> Vec<serde_json::Value> {
    let (result, output) = run(line, OutputForm::Objects);
    result.unwrap_or_else(|why| panic!("{line}: {why}"));
    let read = |line| serde_json::from_str(line).unwrap_or_else(|why| panic!("{line}: {why}"));
    output.text.lines().map(read).collect()
}

fn native_sources() -> impl Iterator<Item = &'static str> {
    Catalog::azure_local()
        .permitted(AccessLevel::Diagnostics, Policy::default())
        .filter(|entry| entry.availability(Machine::current()) == Availability::Native)
        .filter(|entry| entry.definition.is_some_and(|definition| definition.role == Role::Source))
        .map(|entry| entry.name.as_str())
}

/// A line that makes a source answer soon.
fn line_of(name: &str) -> &str {
    match name {
        "Get-Help" => "Get-Help Get-Date",
        "Test-Observability" => "Test-Observability 1",
        name => name,
    }
}

/// Commands that work on the objects of another one, each with a line whose result shows that it worked.
const IN_PIPELINES: &[(&str, &str, &str)] = &[
    ("Where-Object", "gcm | Where-Object Name -eq Get-Date | select -exp Name", "\"Get-Date\"\n"),
    ("Select-Object", "gcm Get-Date | Select-Object Name", "{\"Name\":\"Get-Date\"}\n"),
    (
        "Sort-Object",
        "gcm Get-Date,Get-Disk | Sort-Object Name -Desc | select -exp Name",
        "\"Get-Disk\"\n\"Get-Date\"\n",
    ),
    ("Measure-Object", "gcm Get-Date,Get-Disk | Measure-Object | select -exp Count", "2\n"),
    ("Format-Table", "gcm Get-Date | Format-Table Name", "Get-Date"),
    ("Format-List", "gcm Get-Date | Format-List Name", "Name : Get-Date"),
    ("Out-Default", "gcm Get-Date | Out-Default", "Get-Date"),
];

#[test]
#[cfg(target_os = "linux")]
fn a17_at_least_forty_published_commands_answer_here_with_real_data() {
    // So that these two tables have an entry on any machine.
    let _tcp = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let _udp = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
    let (mut with_data, mut empty, mut lacking) = (Vec::new(), Vec::new(), Vec::new());
    for name in native_sources() {
        let (result, output) = run(line_of(name), OutputForm::Objects);
        match (result, absent(name)) {
            (Ok(()), None) if output.text.is_empty() => empty.push(name),
            (Ok(()), None) => with_data.push(name),
            (Err(ProviderError::Failed(why)), Some(reason)) => {
                let expected = format!(
                    "{name} : permitted, not available here: it is answered natively, but its source"
                );
                assert!(why.starts_with(&expected) && why.contains(reason), "{why}");
                lacking.push(format!("{name} ({reason})"));
            }
            other => panic!("{name}: {other:?}"),
        }
    }
    let in_pipelines = IN_PIPELINES.len();
    println!("with data: {} sources ({})", with_data.len(), with_data.join(", "));
    println!("in pipelines: {in_pipelines}; no object now: {}", empty.join(", "));
    println!("source absent: {}", lacking.join(", "));
    assert!(with_data.len() + in_pipelines >= 40, "only {with_data:?}");
}

#[test]
fn a17_what_works_on_objects_does_so_on_every_system() {
    for (name, line, expected) in IN_PIPELINES {
        let form = if name.contains("-Object") { OutputForm::Objects } else { OutputForm::default() };
        let (result, output) = run(line, form);
        assert!(result.is_ok() && output.text.contains(expected), "{line}: {}", output.text);
    }
}

#[test]
fn every_native_source_answers_or_says_why_it_cannot() {
    for name in native_sources() {
        let line = line_of(name);
        for form in [OutputForm::default(), OutputForm::Objects] {
            match run(line, form) {
                (Ok(()), _) => {}
                (Err(ProviderError::Failed(why)), _) => assert!(why.starts_with(name), "{name}: {why}"),
                (Err(error), _) => panic!("{name}: {error}"),
            }
        }
    }
}

#[test]
fn declared_properties_are_there() {
    for entry in Catalog::azure_local().permitted(AccessLevel::Diagnostics, Policy::default()) {
        let Some(definition) = entry.definition.filter(|_| native_sources().any(|name| name == entry.name))
        else {
            continue;
        };
        if absent(&entry.name).is_some() || entry.name == "Test-Observability" {
            continue;
        }
        if let Some(object) = objects(line_of(&entry.name)).first() {
            for property in definition.properties {
                assert!(object.get(property).is_some(), "{} has no {property}: {object}", entry.name);
            }
        }
    }
}

#[test]
fn parameters_of_every_native_source_are_taken() {
    for entry in Catalog::azure_local().permitted(AccessLevel::Diagnostics, Policy::default()) {
        let Some(definition) = entry.definition.filter(|_| native_sources().any(|name| name == entry.name))
        else {
            continue;
        };
        for parameter in definition.parameters {
            let value = match parameter.kind {
                Kind::Switch => String::new(),
                Kind::Integer(low, _) => low.max(1).to_string(),
                Kind::Choice(words) => words[0].to_owned(),
                _ => String::from("f*"),
            };
            let (result, _) =
                run(&format!("{} -{} {value}", entry.name, parameter.name), OutputForm::default());
            assert!(
                matches!(result, Ok(()) | Err(ProviderError::Failed(_))),
                "{} -{}",
                entry.name,
                parameter.name
            );
        }
    }
}

#[test]
fn this_process_is_in_the_list_and_filters_find_it() {
    let id = std::process::id();
    let own = objects(&format!("Get-Process -Id {id}"));
    assert_eq!(own.len(), 1);
    assert_eq!(own[0]["Id"], id);
    assert!(own[0]["WS"].as_u64().unwrap() > 0);
    let name = own[0]["Name"].as_str().unwrap();
    assert!(objects(&format!("gps '{name}' | ? Id -eq {id}")).len() == 1);
    let (result, output) = run("Get-Process no-such-process,zz*", OutputForm::default());
    assert!(result.is_ok());
    assert_eq!(output.errors, ["Get-Process : Cannot find a process with the name \"no-such-process\"."]);
    assert_eq!(
        run("Get-Process no-such-process -ea SilentlyContinue", OutputForm::default()).1.errors.len(),
        0
    );
}

#[test]
#[cfg(target_os = "linux")]
fn a_socket_of_ours_is_found_with_its_owner() {
    let tcp = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let udp =
        std::net::UdpSocket::bind("[::1]:0").or_else(|_| std::net::UdpSocket::bind("127.0.0.1:0")).unwrap();
    let port = tcp.local_addr().unwrap().port();
    let listening = objects(&format!("Get-NetTCPConnection -LocalPort {port} -State Listen"));
    assert_eq!(listening.len(), 1);
    assert_eq!(listening[0]["LocalAddress"], "127.0.0.1");
    assert_eq!(listening[0]["OwningProcess"], std::process::id());
    let port = udp.local_addr().unwrap().port();
    let endpoints = objects(&format!("Get-NetUDPEndpoint -LocalPort {port}"));
    assert_eq!(endpoints[0]["LocalAddress"], udp.local_addr().unwrap().ip().to_string());
}

#[test]
fn loopback_addresses_are_listed() {
    let addresses = objects("Get-NetIPAddress -AddressFamily IPv4 | ? IPAddress -eq 127.0.0.1");
    assert!(!addresses.is_empty());
}

#[test]
fn help_and_commands_agree_with_the_level() {
    let names = |level| {
        let context = Context { form: OutputForm::Objects, ..Context::new(level) };
        let mut output = Collected::default();
        Registry::default().run(&context.plan_line("gcm | select -exp Name").unwrap(), &mut output).unwrap();
        output.text.lines().count()
    };
    assert_eq!((names(AccessLevel::Diagnostics), names(AccessLevel::DiagnosticsRepair)), (285, 287));
    let (result, _) = run("Get-Help Stop-Service", OutputForm::default());
    assert!(matches!(result, Err(ProviderError::Failed(why)) if why.contains("not permitted")));
    let (_, output) = run("help gps", OutputForm::default());
    assert!(
        output.text.contains("Get-Process") && output.text.contains("gps, ps") && output.text.contains("-Id")
    );
    let (_, output) = run("gcm Get-Nope", OutputForm::default());
    assert_eq!(output.errors.len(), 1);
}

#[test]
fn observability_gives_one_object_a_second() {
    let start = Instant::now();
    let seen = objects("Test-Observability -Seconds 2");
    assert!(start.elapsed() >= Duration::from_secs(1));
    assert_eq!(seen.iter().map(|object| object["Second"].as_i64().unwrap()).collect::<Vec<_>>(), [1, 2]);
    assert!(seen.iter().all(|object| object["ClockDriftMs"].as_f64().unwrap().abs() < 1000.0));
}

#[test]
#[cfg(target_os = "linux")]
fn services_without_systemd_cannot_be_stopped_and_say_so() {
    let context = Context::new(AccessLevel::DiagnosticsRepair);
    let plan = context.plan_line("Stop-Service no-such-service-here").unwrap();
    let result = Registry::default().run(&plan, &mut Collected::default());
    assert!(matches!(result, Err(ProviderError::Failed(_))), "{result:?}");
}

/// What completion offers and help lists are the properties that the objects have, no fewer and no others.
#[test]
#[cfg(target_os = "linux")]
fn a08_every_property_that_is_given_is_declared() {
    // Their properties are the settings that there are.
    let by_what_there_is = ["Get-SmbClientConfiguration", "Get-SmbServerConfiguration"];
    let catalog = Catalog::azure_local();
    let (mut seen, mut wrong) = (0, Vec::new());
    for name in native_sources().filter(|name| !by_what_there_is.contains(name)) {
        let declared = catalog.resolve(name).and_then(|entry| entry.definition).unwrap().properties;
        if declared.is_empty() {
            wrong.push(format!("{name} declares nothing"));
        }
        let (_, output) = run(line_of(name), OutputForm::Objects);
        let Some(first) = output.text.lines().next() else { continue };
        let Ok(serde_json::Value::Object(object)) = serde_json::from_str(first) else { continue };
        seen += 1;
        for own in object.keys().filter(|own| !declared.contains(&own.as_str())) {
            wrong.push(format!("{name} gives {own}"));
        }
        // Control: what is declared is there, but where help tells of one command only.
        let there = declared.iter().filter(|own| object.contains_key(**own)).count();
        if there < declared.len() && name != "Get-Help" {
            let lacking = declared.iter().filter(|own| !object.contains_key(**own)).collect::<Vec<_>>();
            wrong.push(format!("{name} does not give {lacking:?}"));
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
    assert!(seen >= 30, "only {seen} commands have objects here");
}

/// In a network of its own, so that the neighbours are those of the test.
#[test]
#[cfg(target_os = "linux")]
fn a17_neighbours_of_both_families_are_listed() {
    const INSIDE: &str = "REMOTE_SUPPORT_TEST_INSIDE";
    if std::env::var_os(INSIDE).is_some() {
        let found = objects(
            "Get-NetNeighbor -InterfaceAlias quiet0 | select IPAddress, LinkLayerAddress, State, AddressFamily",
        );
        let shown: Vec<_> = found.iter().map(ToString::to_string).collect();
        assert_eq!(shown.len(), 2, "{shown:?}");
        for (address, family) in [("192.0.2.7", "IPv4"), ("2001:db8::7", "IPv6")] {
            let own =
                found.iter().find(|own| own["IPAddress"] == address).unwrap_or_else(|| panic!("{shown:?}"));
            assert_eq!((&own["AddressFamily"], &own["State"]), (&family.into(), &"Permanent".into()));
            assert_eq!(own["LinkLayerAddress"], "02-00-00-00-00-07");
        }
        assert_eq!(objects("Get-NetNeighbor -InterfaceAlias quiet0 -AddressFamily IPv6").len(), 1);
        return;
    }
    let network = "ip link add quiet0 type veth peer name quiet1 && ip link set quiet0 up && \
                   ip neigh add 192.0.2.7 lladdr 02:00:00:00:00:07 dev quiet0 && \
                   ip -6 neigh add 2001:db8::7 lladdr 02:00:00:00:00:07 dev quiet0 && mount -t sysfs none /sys";
    let inside = |commands: &str| {
        let mut command = std::process::Command::new("unshare");
        let program = std::env::current_exe().unwrap();
        let script = format!("{commands} && exec \"$0\" --exact a17_neighbours_of_both_families_are_listed");
        command.args(["--net", "--mount", "--", "sh", "-c", &script]).arg(program).env(INSIDE, "1").output()
    };
    let possible = std::process::Command::new("unshare")
        .args(["--net", "--mount", "--", "sh", "-c", network])
        .output()
        .is_ok_and(|output| output.status.success());
    if !possible {
        assert!(std::env::var_os("REQUIRE_ROOT").is_none(), "root is required here");
        eprintln!("skipped: it takes a network of its own");
        return;
    }
    let output = inside(network).unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
}

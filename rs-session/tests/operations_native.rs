//! Every native command answers on this machine, and what it says agrees with the machine (A17, issue: real data).

#![cfg(feature = "native")]

use std::time::{Duration, Instant};

use rs_consent::AccessLevel;
use rs_session::operations::catalog::{Kind, Role};
use rs_session::operations::pipeline::Collected;
use rs_session::operations::providers::{ProviderError, Registry};
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

#[test]
#[cfg(target_os = "linux")]
fn a17_at_least_forty_published_commands_answer_here() {
    let native = Catalog::azure_local()
        .permitted(AccessLevel::DiagnosticsRepair, Policy::default())
        .filter(|entry| entry.availability(Machine::current()) == Availability::Native)
        .count();
    assert!(native >= 40, "only {native}");
}

#[test]
fn every_native_source_answers_or_says_why_it_cannot() {
    for name in native_sources() {
        let line = if name == "Test-Observability" { "Test-Observability 1" } else { name };
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
        if matches!(entry.name.as_str(), "Get-Help" | "Test-Observability")
            || definition.properties.is_empty()
        {
            continue;
        }
        if let Some(object) = objects(&entry.name).first() {
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

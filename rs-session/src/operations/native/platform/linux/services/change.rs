//! `Start-Service` and `Stop-Service`: one service that exists, by its exact name, told through its own manager.
//!
//! The plan's name was judged before; here the machine's facts are judged too: the names that aliases and links give the
//! service, the program that it runs, whether this very operation runs below it, and for systemd what would go down with
//! it. Anything of that on the list of protected services keeps it from being touched.

use std::time::{Duration, Instant};

use super::{Manager, Service, object, runit, services, systemctl};
use crate::operations::critical::{ServiceRules, bare_name};
use crate::operations::native::facts;
use crate::operations::objects::Object;
use crate::operations::pipeline::Sink;
use crate::operations::plan::Plan;
use crate::operations::providers::ProviderError;

/// How long a service may take to start or stop; after that the operation says that it still does.
const CHANGE_WAIT: Duration = Duration::from_secs(30);
/// How often the state is looked at meanwhile.
const LOOK: Duration = Duration::from_millis(20);
/// Most processes above this one that are looked at.
const ANCESTORS_MAX: usize = 64;

#[derive(Clone, Copy, PartialEq, Eq)]
enum Verb {
    Start,
    Stop,
}

impl Verb {
    const fn done(self) -> &'static str {
        match self {
            Self::Start => "Running",
            Self::Stop => "Stopped",
        }
    }

    const fn systemd(self) -> &'static str {
        match self {
            Self::Start => "start",
            Self::Stop => "stop",
        }
    }
}

pub(in super::super) fn start_service(plan: &Plan, sink: &mut dyn Sink) -> Result<(), ProviderError> {
    change(plan, sink, Verb::Start)
}

pub(in super::super) fn stop_service(plan: &Plan, sink: &mut dyn Sink) -> Result<(), ProviderError> {
    change(plan, sink, Verb::Stop)
}

fn change(plan: &Plan, sink: &mut dyn Sink, verb: Verb) -> Result<(), ProviderError> {
    let failed = |why: String| ProviderError::failed(format!("{} : {why}", plan.command()));
    let wanted = plan.call.text("Name").unwrap_or_default();
    let all = services()?;
    let before = find(&all, wanted)
        .ok_or_else(|| failed(format!("Cannot find any service with service name '{wanted}'.")))?;
    if let Some(why) = obstacle(before, &all, verb, &plan.services) {
        return Err(failed(format!("'{wanted}' {why}; nothing was changed.")));
    }
    if before.status != verb.done() {
        order(before, verb).map_err(failed)?;
    }
    let after = settled(wanted, verb)?;
    sink.emit(changed(&after, before).into())?;
    if after.status == verb.done() {
        return Ok(());
    }
    Err(failed(format!(
        "'{wanted}' is {} after {} s; see its own log, and Get-Service {wanted}.",
        after.status,
        CHANGE_WAIT.as_secs()
    )))
}

fn find<'a>(all: &'a [Service], wanted: &str) -> Option<&'a Service> {
    let name = bare_name(wanted);
    // Where two names differ in case only, the one that was written is meant.
    let exact = all.iter().find(|service| service.name == wanted);
    exact.or_else(|| all.iter().find(|service| service.name.eq_ignore_ascii_case(&name)))
}

/// The service afterwards, and how it was before.
fn changed(after: &Service, before: &Service) -> Object {
    object(after).with("Before", before.status).with("Manager", after.manager.name())
}

fn order(service: &Service, verb: Verb) -> Result<(), String> {
    match &service.manager {
        Manager::Systemd => systemctl(&[verb.systemd(), "--", &format!("{}.service", service.name)])
            .map(drop)
            .map_err(|error| error.to_string()),
        Manager::Runit(folder) => runit::order(folder, verb == Verb::Start)
            .map_err(|error| format!("no supervisor takes the order ({error}); is runsvdir running?")),
        // What a start script starts would belong to this operation and end with it.
        Manager::None => Err(format!(
            "'{}' is known by its files only; neither systemd nor runit runs it on this node, so nothing can start or stop \
             it for longer than this operation lasts",
            service.name
        )),
    }
}

/// The service when it has come to rest, or when the time is over.
fn settled(name: &str, verb: Verb) -> Result<Service, ProviderError> {
    let until = Instant::now() + CHANGE_WAIT;
    loop {
        let all = services()?;
        let gone = || ProviderError::failed(format!("the service '{name}' is gone"));
        let service = find(&all, name).ok_or_else(gone)?;
        if service.status == verb.done() || Instant::now() >= until {
            return Ok(service.clone());
        }
        std::thread::sleep(LOOK);
    }
}

/// Why this service must not be touched, in the words that follow its name.
fn obstacle(service: &Service, all: &[Service], verb: Verb, rules: &ServiceRules) -> Option<String> {
    let own = std::iter::once(service.name.as_str()).chain(service.aliases.iter().map(String::as_str));
    // The allowlist is about the name that was asked for; what links and aliases add can only forbid.
    let narrowing = ServiceRules { allow: None, ..rules.clone() };
    let own_refusal = rules.refusal(&service.name).map(str::to_owned);
    own_refusal
        .or_else(|| {
            own.clone().find_map(|name| Some(format!("is {name}, which {}", narrowing.refusal(name)?)))
        })
        .or_else(|| {
            let program = program(service.process?)?;
            Some(format!("runs {program}, which {}", narrowing.refusal(&program)?))
        })
        .or_else(|| {
            let below = service.process.is_some_and(|process| ancestors().contains(&process));
            below.then(|| String::from("is the service that this session runs under"))
        })
        .or_else(|| {
            let falls = taken_down(service, all, verb)
                .into_iter()
                .find_map(|name| Some((narrowing.refusal(&name)?, name)));
            falls.map(|(why, name)| format!("would take {name} down, which {why}"))
        })
}

/// Every service that systemd stops when this one is stopped, or started: those that need it, and theirs, and those that
/// it excludes.
fn taken_down(service: &Service, all: &[Service], verb: Verb) -> Vec<String> {
    let mut names: Vec<String> = match verb {
        Verb::Start => service.conflicts.clone(),
        Verb::Stop => service.needed_by.clone(),
    };
    let mut at = 0;
    while let Some(name) = names.get(at).map(|name| bare_name(name)) {
        let needed_by = find(all, &name).map(|service| service.needed_by.as_slice()).unwrap_or_default();
        let new: Vec<_> = needed_by.iter().filter(|name| !names.contains(*name)).cloned().collect();
        names.extend(new);
        at += 1;
    }
    // Every unit conflicts with the end of the machine; nothing is taken down by that.
    names.retain(|name| name != "shutdown.target");
    names
}

/// Name of the program that a process runs.
fn program(process: u32) -> Option<String> {
    facts::processes().get(&process)?.program.clone()
}

/// The processes above this one, by the numbers that the node knows them by: this one's own number is another where it
/// is the first of a namespace.
fn ancestors() -> Vec<u32> {
    let parent = |process: &str| -> Option<u32> {
        let status = super::super::text(format!("/proc/{process}/status"))?;
        status.lines().find_map(|line| line.strip_prefix("PPid:"))?.trim().parse().ok()
    };
    std::iter::successors(parent("self"), |process| parent(&process.to_string()))
        .take_while(|process| *process > 0)
        .take(ANCESTORS_MAX)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn named(name: &str) -> Service {
        Service { name: name.into(), status: "Running", ..Service::default() }
    }

    fn refused(service: &Service, all: &[Service], verb: Verb) -> Option<String> {
        obstacle(service, all, verb, &ServiceRules::default())
    }

    #[test]
    fn a09_what_a_service_really_is_decides() {
        let free = named("web");
        assert_eq!(refused(&free, &[], Verb::Stop), None, "the control: nothing stands against it");
        let alias = Service { aliases: vec!["SSHD.service".into()], ..named("web") };
        assert!(refused(&alias, &[], Verb::Stop).unwrap().contains("SSHD"));
        let this = Service { process: ancestors().first().copied(), ..named("web") };
        assert!(refused(&this, &[], Verb::Stop).unwrap().contains("this session"));
    }

    #[test]
    fn a09_what_would_go_down_with_it_counts() {
        let base = Service { needed_by: vec!["middle.service".into()], ..named("base") };
        let middle =
            Service { needed_by: vec!["ssh.service".into(), "base.service".into()], ..named("middle") };
        let all = [base.clone(), middle];
        assert!(refused(&base, &all, Verb::Stop).unwrap().contains("ssh"));
        assert_eq!(refused(&base, &all, Verb::Start), None);
        let rival = Service {
            conflicts: vec!["shutdown.target".into(), "NetworkManager.service".into()],
            ..named("rival")
        };
        assert!(refused(&rival, &[], Verb::Start).unwrap().contains("NetworkManager"));
        let usual = Service { conflicts: vec!["shutdown.target".into()], ..named("usual") };
        assert_eq!(refused(&usual, &[], Verb::Start), None);
    }

    #[test]
    fn a09_the_owners_allowlist_is_about_the_name_itself() {
        let rules: ServiceRules = serde_json::from_str(r#"{ "allow": ["web"] }"#).unwrap();
        let linked = Service { aliases: vec!["web-1.2".into()], ..named("web") };
        assert_eq!(obstacle(&linked, &[], Verb::Stop, &rules), None);
        assert!(obstacle(&named("other"), &[], Verb::Stop, &rules).is_some());
    }

    #[test]
    fn a_service_is_found_by_its_exact_name_only() {
        let all = [named("web"), named("web2")];
        assert_eq!(find(&all, "WEB.service").map(|service| service.name.as_str()), Some("web"));
        for wanted in ["we", "w*", "web*", "web?", ""] {
            assert!(find(&all, wanted).is_none(), "{wanted}");
        }
    }
}

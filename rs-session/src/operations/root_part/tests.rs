use std::time::Duration;

use proptest::prelude::*;
use rs_consent::clock::{Clock as _, ManualClock};
use rs_consent::conditions::SecondPerson;
use rs_consent::party::{Grantor, Method};
use rs_consent::{ApprovalRule, Conditions, Consent, GrantId, Minutes, Scope, Terms};

use super::*;
use crate::operations::Context;

fn clock() -> ManualClock {
    ManualClock::new("2026-01-02T03:04:05Z".parse().unwrap())
}

fn warrant(level: AccessLevel, clock: &ManualClock) -> Warrant {
    let consent = Consent {
        level,
        minutes: Minutes::MIN,
        terms: Terms::azure_local(),
        request: None,
        grantor: Grantor {
            user: "admin".parse().unwrap(),
            host: "node-01".parse().unwrap(),
            method: Method::Prompt,
        },
        catalog: None,
        scope: Scope::default(),
        approval: ApprovalRule::default(),
        conditions: Conditions::default(),
        requested: clock.now(),
    };
    let grant = Grant::new(GrantId::new(Uuid::from_u128(1)), &consent, &clock.now()).unwrap();
    Warrant { grant, services: ServiceRules::default(), commands: CommandRules::default() }
}

fn plan(line: &str) -> Plan {
    let mut context = Context::new(AccessLevel::DiagnosticsRepair);
    context.policy.strict_read_only = true;
    context.plan_line(line).unwrap()
}

fn request(line: &str) -> Request {
    Request::new(Uuid::from_u128(2), plan(line))
}

fn verdict(request: &Request, warrant: &Warrant, clock: &ManualClock) -> Result<(), Unwarranted> {
    judge(request, Some(warrant), &clock.now())
}

#[test]
fn a13_what_the_consent_permits_passes_and_only_what_needs_root() {
    let (clock, repair) = (clock(), warrant(AccessLevel::DiagnosticsRepair, &clock()));
    for line in ["Stop-Service cron", "Start-Service cron", "Get-NetTCPConnection", "Get-Service"] {
        assert_eq!(verdict(&request(line), &repair, &clock), Ok(()), "{line}");
    }
    for line in ["Get-Date", "Get-Volume", "Get-NetAdapter"] {
        let refused = verdict(&request(line), &repair, &clock);
        assert!(matches!(refused, Err(Unwarranted::NotForRoot(_))), "{line}: {refused:?}");
    }
}

#[test]
fn a13_without_a_consent_or_after_its_end_nothing_passes() {
    let (clock, stop) = (clock(), request("Stop-Service cron"));
    let warrant = warrant(AccessLevel::DiagnosticsRepair, &clock);
    assert_eq!(judge(&stop, None, &clock.now()), Err(Unwarranted::NoConsent));
    assert_eq!(verdict(&stop, &warrant, &clock), Ok(()), "the control");
    let mut waits = warrant.grant.clone();
    (waits.state, waits.second_person) = (GrantState::Pending, Some(SecondPerson::Awaited));
    let pending = Warrant { grant: waits, ..warrant.clone() };
    assert_eq!(verdict(&stop, &pending, &clock), Err(Unwarranted::Over(GrantState::Pending)), "c26");
    let revoked = Warrant { grant: warrant.grant.revoked(&clock.now()), ..warrant.clone() };
    assert_eq!(verdict(&stop, &revoked, &clock), Err(Unwarranted::Over(GrantState::Revoked)));
    clock.advance(Duration::from_secs(3599));
    assert_eq!(verdict(&stop, &warrant, &clock), Ok(()), "a second before the end");
    clock.advance(Duration::from_secs(1));
    assert_eq!(verdict(&stop, &warrant, &clock), Err(Unwarranted::Over(GrantState::Expired)));
}

#[test]
fn a13_a_clock_before_the_consent_holds_it() {
    let clock = clock();
    let warrant = warrant(AccessLevel::DiagnosticsRepair, &clock);
    let mut now = clock.now();
    now.wall -= CLOCK_BACK_ALLOWANCE;
    assert_eq!(judge(&request("Stop-Service cron"), Some(&warrant), &now), Ok(()));
    now.wall -= chrono::TimeDelta::milliseconds(1);
    assert_eq!(judge(&request("Stop-Service cron"), Some(&warrant), &now), Err(Unwarranted::ClockWentBack));
}

#[test]
fn a13_a_forged_level_scope_or_catalog_is_refused() {
    let clock = clock();
    let diagnostics = warrant(AccessLevel::Diagnostics, &clock);
    let stop = request("Stop-Service cron");
    assert_eq!(
        verdict(&stop, &diagnostics, &clock),
        Err(Unwarranted::Level {
            granted: AccessLevel::Diagnostics,
            claimed: AccessLevel::DiagnosticsRepair
        })
    );
    // With the level that was granted the catalog refuses it.
    let mut lowered = stop.clone();
    lowered.plan.level = AccessLevel::Diagnostics;
    assert!(matches!(verdict(&lowered, &diagnostics, &clock), Err(Unwarranted::Plan(_))));

    let repair = warrant(AccessLevel::DiagnosticsRepair, &clock);
    let mut wider = stop.clone();
    wider.plan.policy.strict_read_only = false;
    assert_eq!(verdict(&wider, &repair, &clock), Err(Unwarranted::Scope));
    let mut other = stop.clone();
    other.plan.variant = crate::operations::Variant::AzureStackHub2206;
    assert_eq!(verdict(&other, &repair, &clock), Err(Unwarranted::Scope));
    let older = Request { catalog: "0".repeat(64), ..stop.clone() };
    assert_eq!(verdict(&older, &repair, &clock), Err(Unwarranted::OtherCatalog));
    assert_eq!(verdict(&stop, &repair, &clock), Ok(()), "the control");
}

#[test]
fn a13_a_plan_outside_the_catalog_or_its_constraints_is_refused() {
    let clock = clock();
    let repair = warrant(AccessLevel::DiagnosticsRepair, &clock);
    let alter = |change: fn(&mut Plan)| {
        let mut request = request("Stop-Service cron");
        change(&mut request.plan);
        verdict(&request, &repair, &clock)
    };
    assert_eq!(alter(|_| {}), Ok(()), "the control");
    let texts = |name: &str| crate::operations::plan::Bound::Texts(vec![name.to_owned()]);
    let name = |name: &'static str| {
        let mut request = request("Stop-Service cron");
        request.plan.call.arguments.insert("Name".to_owned(), texts(name));
        verdict(&request, &repair, &clock)
    };
    assert_eq!(name("web"), Ok(()), "the control");
    for wrong in ["", "a b; reboot", "*", "../../etc", "ssh", "SSHD.service", "remote-support-root@7"] {
        assert!(matches!(name(wrong), Err(Unwarranted::Plan(_))), "{wrong}: {:?}", name(wrong));
    }
    for change in [
        (|plan| plan.call.command = "Invoke-Expression".to_owned()) as fn(&mut Plan),
        |plan| plan.call.command = "stop-service".to_owned(),
        |plan| plan.call.arguments.clear(),
        |plan| {
            plan.call.arguments.insert("Program".to_owned(), crate::operations::plan::Bound::Switch(true));
        },
        |plan| plan.limits.output_bytes = u64::MAX,
        |plan| plan.stages = vec![crate::operations::plan::Stage::Default; 1000],
    ] {
        assert!(matches!(alter(change), Err(Unwarranted::Plan(_))));
    }
}

#[test]
fn a09_what_the_owner_protected_is_protected_by_root_too() {
    let clock = clock();
    let repair = warrant(AccessLevel::DiagnosticsRepair, &clock);
    let deny = serde_json::from_str(r#"{ "deny": ["cron"] }"#).unwrap();
    let narrowed = Warrant { services: deny, ..repair.clone() };
    let refused = verdict(&request("Stop-Service cron"), &narrowed, &clock);
    assert!(matches!(refused, Err(Unwarranted::Service { .. })), "{refused:?}");
    assert_eq!(verdict(&request("Stop-Service web"), &narrowed, &clock), Ok(()));
    assert_eq!(verdict(&request("Stop-Service cron"), &repair, &clock), Ok(()), "the control");
    // What was taken out, too, and the plan that root carries out has root's own rules beside those that came with it.
    let commands: CommandRules = serde_json::from_str(r#"{ "deny": ["Stop-*"] }"#).unwrap();
    let smaller = Warrant { commands, ..repair };
    let refused = verdict(&request("Stop-Service cron"), &smaller, &clock);
    assert_eq!(refused, Err(Unwarranted::TakenOut("Stop-Service".to_owned())));
    assert_eq!(verdict(&request("Start-Service cron"), &smaller, &clock), Ok(()));
    let mut asked = request("Stop-Service web");
    asked.plan.services = serde_json::from_str(r#"{ "deny": ["mail"] }"#).unwrap();
    let carried_out = narrowed.plan(&asked).services;
    for name in ["cron", "mail"] {
        assert!(carried_out.refusal(name).is_some(), "{name}");
    }
}

#[test]
fn a09_the_owner_is_asked_before_changes_only() {
    let clock = clock();
    let mut warrant = warrant(AccessLevel::DiagnosticsRepair, &clock);
    assert!(!asks_owner(&request("Stop-Service cron"), &warrant));
    warrant.grant.approval = ApprovalRule::Changes;
    assert!(asks_owner(&request("Stop-Service cron"), &warrant));
    assert!(!asks_owner(&request("Get-Service"), &warrant));
}

#[test]
fn a13_a_request_is_read_to_its_limit_and_not_beyond() {
    let text = serde_json::to_vec(&request("Stop-Service cron")).unwrap();
    let padded = |length: usize| {
        let mut bytes = text.clone();
        bytes.resize(length, b' ');
        Request::read(&bytes)
    };
    assert!(padded(REQUEST_BYTES_MAX).is_ok());
    assert_eq!(padded(REQUEST_BYTES_MAX + 1), Err(Unwarranted::Malformed));
    let mut more = serde_json::to_value(request("Get-Process")).unwrap();
    more["program"] = "/bin/sh".into();
    assert_eq!(Request::read(more.to_string().as_bytes()), Err(Unwarranted::Malformed));
}

proptest! {
    /// Whatever a request is made of, it passes only at a level that was granted and with a command that needs root.
    #[test]
    fn a13_nothing_passes_beyond_the_consent(
        line in prop::sample::select(vec![
            "Get-Date", "Get-Process", "Get-Service cron", "Stop-Service cron", "Start-Service web", "Get-NetUDPEndpoint",
            "Get-WinEvent -LogName System", "Get-Volume",
        ]),
        claims_repair: bool,
        granted_repair: bool,
        minutes in 0u64..120,
    ) {
        let level = |repair| if repair { AccessLevel::DiagnosticsRepair } else { AccessLevel::Diagnostics };
        let clock = clock();
        let warrant = warrant(level(granted_repair), &clock);
        clock.advance(Duration::from_secs(minutes * 60));
        let context = Context::new(AccessLevel::DiagnosticsRepair);
        let Ok(mut plan) = context.plan_line(line) else { return Ok(()) };
        plan.level = level(claims_repair);
        plan.policy.strict_read_only = true;
        let passes = judge(&Request::new(Uuid::nil(), plan.clone()), Some(&warrant), &clock.now()).is_ok();
        let may = minutes < 60 && plan.level <= warrant.grant.level && plan.check().is_ok() && takes(&plan);
        prop_assert_eq!(passes, may);
        if passes && !granted_repair {
            prop_assert!(!plan.effects().changes_state());
        }
    }
}

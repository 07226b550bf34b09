//! Any request to the part that runs as root, under a consent to Diagnostics: what passes changes nothing and needs root, and
//! the same bytes pass at no other time than while the consent is in force.
#![no_main]

use std::sync::LazyLock;
use std::time::Duration;

use libfuzzer_sys::fuzz_target;
use rs_consent::clock::{Clock as _, ManualClock};
use rs_consent::party::{Grantor, Method};
use rs_consent::{AccessLevel, ApprovalRule, Conditions, Consent, Grant, GrantId, Minutes, Scope, Terms};
use rs_session::operations::CommandRules;
use rs_session::operations::critical::ServiceRules;
use rs_session::operations::root_part::{Request, Warrant, judge, takes};

static CLOCK: LazyLock<ManualClock> =
    LazyLock::new(|| ManualClock::new("2026-01-02T03:04:05Z".parse().expect("a time")));

static WARRANT: LazyLock<Warrant> = LazyLock::new(|| {
    let now = CLOCK.now();
    let grantor = Grantor {
        user: "admin".parse().expect("a name"),
        host: "node-01".parse().expect("a name"),
        method: Method::Prompt,
    };
    let consent = Consent {
        level: AccessLevel::Diagnostics,
        minutes: Minutes::MIN,
        terms: Terms::azure_local(),
        request: None,
        grantor,
        catalog: None,
        scope: Scope::default(),
        approval: ApprovalRule::default(),
        conditions: Conditions::default(),
        requested: now,
    };
    let id = GrantId::new("00000000-0000-0000-0000-000000000001".parse().expect("an id"));
    let grant = Grant::new(id, &consent, &now).expect("in time");
    Warrant { grant, services: ServiceRules::default(), commands: CommandRules::default() }
});

fuzz_target!(|data: &[u8]| {
    let Ok(request) = Request::read(data) else { return };
    let now = CLOCK.now();
    if judge(&request, Some(&WARRANT), &now).is_ok() {
        assert_eq!(request.plan.level, AccessLevel::Diagnostics);
        assert!(takes(&request.plan) && !request.plan.effects().changes_state());
        assert!(request.plan.check().is_ok());
    }
    assert!(judge(&request, None, &now).is_err());
    let mut later = now;
    later.wall += Duration::from_secs(3600);
    assert!(judge(&request, Some(&WARRANT), &later).is_err());
    // What was read is written as something that is read alike.
    let again = serde_json::to_vec(&request).expect("JSON");
    assert_eq!(Request::read(&again).as_ref(), Ok(&request));
});

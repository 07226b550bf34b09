//! A node, a desk and an engineer who know each other, and a clock that stands still.

use std::time::Duration;

use chrono::TimeDelta;
use rs_consent::assignment::AssignmentMinutes;
use rs_consent::party::{Desk, Engineer, Grantor, Method, Node};
use rs_consent::request::Opening;
use rs_consent::{
    AccessLevel, Admission, Assignment, Clock, Consent, Envelope, Facts, Gate, Grant, GrantId, ManualClock,
    Minutes, Now, Permit, PublicKey, Refusal, RequestNumber, Scope, SigningKey, SupportRequest, Terms,
};
use uuid::Uuid;

pub(crate) const NODE: u8 = 1;
pub(crate) const DESK: u8 = 2;
pub(crate) const ENGINEER: u8 = 3;
pub(crate) const STRANGER: u8 = 9;

pub(crate) fn key(n: u8) -> SigningKey {
    SigningKey::from_seed([n; 32])
}

pub(crate) fn public(n: u8) -> PublicKey {
    key(n).public()
}

pub(crate) fn clock() -> ManualClock {
    ManualClock::new("2026-01-02T03:04:05Z".parse().unwrap())
}

pub(crate) fn minutes(n: u64) -> Duration {
    Duration::from_secs(n * 60)
}

pub(crate) fn number(n: u64) -> RequestNumber {
    RequestNumber::from_parts(clock().now().wall, n)
}

pub(crate) fn node() -> Node {
    Node { name: "node-01".parse().unwrap(), key: public(NODE) }
}

pub(crate) fn desk(n: u8) -> Desk {
    Desk { name: "Example desk".parse().unwrap(), key: public(n) }
}

pub(crate) fn owner() -> Grantor {
    Grantor { user: "admin".parse().unwrap(), host: "node-01".parse().unwrap(), method: Method::Prompt }
}

/// Somebody else on the owner's side.
pub(crate) fn second() -> Grantor {
    Grantor { user: "second".parse().unwrap(), ..owner() }
}

pub(crate) fn consent(level: AccessLevel, minutes: i64, requested: Now) -> Consent {
    Consent {
        level,
        minutes: Minutes::new(minutes).unwrap(),
        terms: Terms::azure_local(),
        request: None,
        grantor: owner(),
        catalog: None,
        scope: Scope::as_published(),
        approval: rs_consent::ApprovalRule::default(),
        conditions: rs_consent::Conditions::default(),
        requested,
    }
}

pub(crate) fn grant(n: u128, level: AccessLevel, minutes: i64, now: Now) -> Grant {
    Grant::new(GrantId::new(Uuid::from_u128(n)), &consent(level, minutes, now), &now).unwrap()
}

pub(crate) fn submitted(n: u64, now: Now) -> SupportRequest {
    SupportRequest::submit(number(n), "disk is slow".parse().unwrap(), node(), now.wall)
}

pub(crate) fn opening(number: RequestNumber, by: u8, now: Now) -> Opening {
    Opening { number, node_key: public(NODE), desk: desk(by), opened_at: now.wall }
}

pub(crate) fn open_request(n: u64, by: u8, now: Now) -> SupportRequest {
    let mut request = submitted(n, now);
    request.confirm(&opening(number(n), by, now), now.wall).unwrap();
    request
}

/// For the engineer of this fixture, at the repair level, for the usual time.
pub(crate) fn assignment(request: RequestNumber, now: Now) -> Assignment {
    Assignment {
        id: Uuid::from_u128(1),
        desk: desk(DESK),
        request,
        node: node(),
        engineer: Engineer { id: "engineer@support.example".parse().unwrap(), key: public(ENGINEER) },
        level_cap: AccessLevel::DiagnosticsRepair,
        issued_at: now.wall,
        expires_at: now.wall + AssignmentMinutes::DEFAULT.delta(),
        relay: None,
    }
}

pub(crate) fn lasting(minutes: i64, assignment: Assignment) -> Assignment {
    Assignment { expires_at: assignment.issued_at + TimeDelta::minutes(minutes), ..assignment }
}

pub(crate) fn shown(assignment: &Assignment) -> Admission {
    Admission { engineer_key: Some(public(ENGINEER)), assignment: Some(signed(assignment)) }
}

pub(crate) fn signed(assignment: &Assignment) -> Envelope {
    assignment.issue(&key(DESK)).unwrap()
}

/// A gate with everything that an engineer needs: a grant of 480 minutes at the repair level and one open request.
pub(crate) struct World {
    pub(crate) clock: ManualClock,
    pub(crate) gate: Gate,
    pub(crate) facts: Facts,
    pub(crate) admission: Admission,
}

impl World {
    pub(crate) fn new() -> Self {
        let clock = clock();
        let now = clock.now();
        let facts = Facts {
            grant: Some(grant(1, AccessLevel::DiagnosticsRepair, 480, now)),
            requests: vec![open_request(1, DESK, now)],
            ..Facts::default()
        };
        let gate = Gate::new(public(NODE));
        gate.load(facts.clone());
        let admission = shown(&assignment(number(1), now));
        Self { clock, gate, facts, admission }
    }

    pub(crate) fn now(&self) -> Now {
        self.clock.now()
    }

    pub(crate) fn admit(&self) -> Result<Permit, Refusal> {
        self.gate.admit(&self.admission, &self.now())
    }

    /// Loads the facts after a change.
    pub(crate) fn change(&mut self, change: impl FnOnce(&mut Facts)) {
        change(&mut self.facts);
        self.facts.revision += 1;
        assert!(self.gate.load(self.facts.clone()));
    }

    pub(crate) fn renew(&mut self, level: AccessLevel, minutes: i64) {
        let now = self.now();
        self.change(|facts| {
            let before = facts.grant.take().unwrap();
            facts.grant = Some(before.renewed(&consent(level, minutes, now), &now).unwrap());
        });
    }
}

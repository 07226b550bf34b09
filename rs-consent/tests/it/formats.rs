//! Kept examples of every format that is signed or stored. They must be read for ever, and be written the same way as
//! long as the version in their name is the newest.

use rs_consent::AccessLevel::{Diagnostics, DiagnosticsRepair};
use rs_consent::assignment::RelayHint;
use rs_consent::request::{Closing, Opening, Submission};
use rs_consent::statement::Statement;
use rs_consent::{Assignment, Clock as _, Consent, Envelope, Grant, GrantId, Scope};
use serde_json::Value;
use uuid::Uuid;

use crate::fixture::*;

#[track_caller]
fn kept<T: Statement + PartialEq + std::fmt::Debug>(statement: &T, signer: u8, kept: &str) {
    let envelope = Envelope::sign(statement, &key(signer)).unwrap();
    let pretty = serde_json::to_string_pretty(&envelope).unwrap();
    assert_eq!(
        Envelope::from_json(kept.as_bytes()).unwrap().open::<T>(&[public(signer)]).unwrap(),
        *statement,
        "{pretty}"
    );
    assert_eq!(serde_json::from_str::<Value>(kept).unwrap(), serde_json::from_str::<Value>(&pretty).unwrap());
}

#[test]
fn sec50_statements_of_version_1_are_read_and_written() {
    let now = clock().now();
    let submission: Submission = submitted(1, now).submission();
    kept(&submission, NODE, include_str!("../data/request.v1.json"));
    let opening: Opening = opening(number(1), DESK, now);
    kept(&opening, DESK, include_str!("../data/opening.v1.json"));
    let closing = Closing { number: number(1), node_key: public(NODE), closed_at: now.wall };
    kept(&closing, DESK, include_str!("../data/closing.v1.json"));
    let relay = RelayHint { host: "relay.example".parse().unwrap(), entity: "node-01".parse().unwrap() };
    let assignment = Assignment { relay: Some(relay), ..assignment(number(1), now) };
    kept(&assignment, DESK, include_str!("../data/assignment.v1.json"));
}

#[test]
fn sec50_a_grant_of_version_1_is_read_and_written() {
    let clock = clock();
    let first = grant(1, Diagnostics, 480, clock.now());
    clock.advance(minutes(1));
    let changed = first.renewed(&consent(DiagnosticsRepair, 60, clock.now()), &clock.now()).unwrap();
    let grant = changed.revoked(&clock.now());
    let kept = include_str!("../data/grant.v1.json");
    assert_eq!(
        serde_json::from_str::<Grant>(kept).unwrap(),
        grant,
        "{}",
        serde_json::to_string_pretty(&grant).unwrap()
    );
    assert_eq!(serde_json::from_str::<Value>(kept).unwrap(), serde_json::to_value(&grant).unwrap());
}

#[test]
fn a10_a_scope_that_narrows_is_written_and_read_again() {
    let now = clock().now();
    let narrowed = Consent { scope: Scope::default(), ..consent(Diagnostics, 480, now) };
    let grant = Grant::new(GrantId::new(Uuid::from_u128(1)), &narrowed, &now).unwrap();
    let written = serde_json::to_value(&grant).unwrap();
    assert_eq!(written["scope"], serde_json::json!({ "product": "azure-local", "strictReadOnly": true }));
    assert_eq!(written["changes"][0]["scope"], written["scope"]);
    assert_eq!(serde_json::from_value::<Grant>(written).unwrap(), grant);
}

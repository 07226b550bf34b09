//! Printed forms against the article's own sample.

use std::time::Duration;

use rs_consent::compat::{self, AccessView, ConnectionStatus};
use rs_consent::{AccessLevel, Clock as _, Grant, GrantId, ManualClock, Minutes};
use uuid::Uuid;

use crate::fixture::*;

/// The record as the article prints it after an enable.
const SAMPLE: &str = "\
State                  : Active
CreatedAt              : 9/6/2023 10:05:52 PM +00:00
UpdatedAt              : 9/6/2023 10:05:52 PM +00:00
ConnectionStatus       : Connecting
ConnectionErrorMessage :
TargetService          : PowerShell
AccessLevel            : Diagnostics
ExpiresAt              : 9/7/2023 10:05:50 PM +00:00
SasCredential          :
";

/// Asked for at 10:05:50, answered and recorded at 10:05:52: the two seconds of the sample.
#[test]
fn c10_c12_the_nine_fields_are_those_of_the_article_byte_by_byte() {
    let clock = ManualClock::new("2023-09-06T22:05:50.4Z".parse().unwrap());
    let requested = clock.now();
    clock.advance(Duration::from_secs(2));
    let consent = consent(AccessLevel::Diagnostics, 1440, requested);
    let grant = Grant::new(GrantId::new(Uuid::from_u128(1)), &consent, &clock.now()).unwrap();
    let view = AccessView::of(&grant, ConnectionStatus::Connecting, "", &clock.now());
    assert_eq!(view.to_string(), SAMPLE);
    let read: AccessView = SAMPLE.parse().unwrap();
    assert_eq!(read.to_string(), SAMPLE);
    assert_eq!(read.state, view.state);
}

#[test]
fn c10_an_ended_grant_says_how_it_ended() {
    let clock = clock();
    let active = grant(1, AccessLevel::Diagnostics, 60, clock.now());
    let state = |grant: &Grant| AccessView::of(grant, ConnectionStatus::Closed, "", &clock.now()).state;
    assert_eq!(state(&active.revoked(&clock.now())), "Revoked");
    assert_eq!(state(&active.superseded(&clock.now())), "Superseded");
    clock.advance(minutes(60));
    assert_eq!(AccessView::of(&active, ConnectionStatus::Closed, "", &clock.now()).state, "Expired");
}

#[test]
fn c10_json_has_the_same_nine_fields() {
    let view = AccessView::of(
        &grant(1, AccessLevel::Diagnostics, 60, clock().now()),
        ConnectionStatus::Connected,
        "",
        &clock().now(),
    );
    let json = serde_json::to_value(&view).unwrap();
    let keys: Vec<String> =
        view.fields().iter().map(|(name, _)| format!("{}{}", name[..1].to_lowercase(), &name[1..])).collect();
    assert_eq!(json.as_object().unwrap().len(), 9);
    for key in keys {
        assert!(json.get(&key).is_some(), "{key}");
    }
    assert_eq!(json["sasCredential"], "");
}

#[test]
fn u02_the_messages_are_those_of_the_product() {
    assert_eq!(
        compat::enabling(AccessLevel::Diagnostics, Minutes::DEFAULT),
        "Enabling Remote Support for 'Diagnostics' expiring in '480' minutes."
    );
    assert_eq!(compat::retrieving(true), "Retrieving Remote Support access. IncludeExpired is set to 'True'");
    assert_eq!(compat::listing_history(7), "Listing Session History for last '7' days.");
    assert_eq!(compat::ENABLED, "Remote Support successfully Enabled.");
}

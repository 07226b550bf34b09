//! Consent without anything else: what a level is, what minutes can be, what a grant says, and when it ends.
//!
//! Uses rs-consent alone: no network, no store, no agent. Run it with `cargo run --example validate_consent`.

use std::time::Duration;

use rs_consent::clock::{Clock, ManualClock};
use rs_consent::grant::{Consent, Grant, GrantState};
use rs_consent::level::Surface;
use rs_consent::party::{Grantor, Method};
use rs_consent::{AccessLevel, GrantId, Minutes, Terms};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    println!("Levels, however they are spelled:");
    for spelling in ["Diagnostics", "diagnosticsrepair", "DiagnosticsAndRepair", "ReadOnly", "Administrator"]
    {
        match spelling.parse::<AccessLevel>() {
            Ok(level) => println!("  {spelling:<22} is {level} (ARM writes {})", level.on(Surface::Arm)),
            Err(error) => println!("  {spelling:<22} {error}"),
        }
    }

    println!("\nMinutes, at the borders:");
    for minutes in [59, 60, 480, 20160, 20161] {
        match Minutes::new(minutes) {
            Ok(minutes) => println!("  {:<22} accepted", minutes.get()),
            Err(error) => println!("  {minutes:<22} {error}"),
        }
    }

    println!("\nA grant for an hour, on a clock that we move:");
    let clock = ManualClock::new("2026-11-25T10:00:00Z".parse()?);
    let consent = Consent {
        level: AccessLevel::Diagnostics,
        minutes: Minutes::MIN,
        terms: Terms::azure_local(),
        request: None,
        grantor: Grantor { user: "operator".parse()?, host: "node-01".parse()?, method: Method::Api },
        catalog: None,
        scope: rs_consent::Scope::default(),
        approval: rs_consent::ApprovalRule::default(),
        conditions: rs_consent::Conditions::default(),
        requested: clock.now(),
    };
    let grant = Grant::new(GrantId::new(uuid::Uuid::new_v4()), &consent, &clock.now())?;
    println!("  terms {} (sha256 {})", grant.terms.version, grant.terms.sha256);
    clock.advance(Duration::from_secs(3600) - Duration::from_nanos(1));
    println!("  a nanosecond before its end: {:?}", grant.state_at(&clock.now()));
    assert_eq!(grant.state_at(&clock.now()), GrantState::Active);
    clock.advance(Duration::from_nanos(1));
    println!("  at its end:                  {:?}", grant.state_at(&clock.now()));
    assert_eq!(grant.state_at(&clock.now()), GrantState::Expired);
    Ok(())
}

//! The gate: who gets in, who may go on, and what a change does to those who are in.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, mpsc};
use std::thread;
use std::time::Duration;

use chrono::TimeDelta;
use proptest::prelude::*;
use rs_consent::AccessLevel::{Diagnostics, DiagnosticsRepair};
use rs_consent::request::ClosedBy;
use rs_consent::{
    AccessLevel, Admission, Assignment, Conditions, Consent, EndCause, Envelope, Facts, Gate, Grant, GrantId,
    Permit, RefusalCode,
};
use uuid::Uuid;

use crate::fixture::*;

#[track_caller]
fn refused(world: &World, code: RefusalCode) {
    assert_eq!(world.admit().map(|permit| permit.level()).map_err(|refusal| refusal.code), Err(code));
}

#[test]
fn gate_and_permit_go_between_threads() {
    fn shared<T: Send + Sync + 'static>() {}
    shared::<Gate>();
    shared::<Permit>();
    #[cfg(feature = "store")]
    shared::<rs_consent::ConsentStore>();
}

#[test]
fn sec03_each_missing_piece_has_a_code_of_its_own() {
    use RefusalCode::{AssignmentMissing, EngineerUnproven, NoGrant, NoOpenRequest};
    let pieces = [NoGrant, NoOpenRequest, AssignmentMissing, EngineerUnproven];
    for present in 0..16_u8 {
        let has = |piece: usize| present & (1 << piece) != 0;
        let mut world = World::new();
        world.change(|facts| {
            facts.grant = facts.grant.take().filter(|_| has(0));
            facts.requests.retain(|_| has(1));
        });
        world.admission.assignment = world.admission.assignment.filter(|_| has(2));
        world.admission.engineer_key = world.admission.engineer_key.filter(|_| has(3));
        match (0..4).find(|piece| !has(*piece)) {
            Some(missing) => refused(&world, pieces[missing]),
            None => assert_eq!(world.admit().unwrap().level(), DiagnosticsRepair, "all pieces are there"),
        }
    }
}

#[test]
fn sec03_a_grant_that_ended_has_the_code_of_its_end() {
    let mut world = World::new();
    let now = world.now();
    world.change(|facts| facts.grant = facts.grant.take().map(|grant| grant.revoked(&now)));
    refused(&world, RefusalCode::GrantRevoked);
    let world = World::new();
    world.clock.advance(minutes(480));
    refused(&world, RefusalCode::GrantExpired);
    let mut world = World::new();
    world.change(|facts| facts.held = true);
    refused(&world, RefusalCode::GrantHeld);
}

#[test]
fn c25_c26_a_pending_grant_lets_nobody_in_until_what_it_waits_for_has_come() {
    let mut world = World::new();
    let now = world.now();
    let not_before = Some(now.wall + TimeDelta::hours(1));
    let conditions = Conditions { not_before, second_person: true };
    let wish = Consent { conditions, ..consent(DiagnosticsRepair, 480, now) };
    let grant = Grant::new(GrantId::new(Uuid::from_u128(7)), &wish, &now).unwrap();
    world.change(|facts| facts.grant = Some(grant.clone()));
    refused(&world, RefusalCode::GrantPending);
    let approved = grant.approved(1, &second(), &now).unwrap();
    world.change(|facts| facts.grant = Some(approved));
    refused(&world, RefusalCode::GrantPending);
    world.clock.advance(minutes(60));
    assert_eq!(world.admit().unwrap().level(), DiagnosticsRepair, "by the passing of time alone");
    world.change(|facts| facts.grant = Some(grant));
    refused(&world, RefusalCode::GrantPending);
}

#[test]
fn sec03_a_request_must_be_open_and_the_right_one() {
    let mut world = World::new();
    let now = world.now();
    world.change(|facts| facts.requests = vec![submitted(1, now)]);
    refused(&world, RefusalCode::NoOpenRequest);
    world.change(|facts| {
        facts.requests = vec![open_request(1, DESK, now)];
        facts.requests[0].close(ClosedBy::Operator, now.wall);
    });
    refused(&world, RefusalCode::NoOpenRequest);
    world.change(|facts| facts.requests = vec![open_request(2, DESK, now)]);
    refused(&world, RefusalCode::AssignmentOtherRequest);
    world.change(|facts| {
        facts.requests = vec![open_request(1, DESK, now), open_request(2, DESK, now)];
        facts.grant.as_mut().unwrap().request = Some(number(2));
    });
    refused(&world, RefusalCode::RequestMismatch);
    world.change(|facts| facts.grant.as_mut().unwrap().request = Some(number(3)));
    refused(&world, RefusalCode::NoOpenRequest);
    world.change(|facts| facts.grant.as_mut().unwrap().request = Some(number(1)));
    assert!(world.admit().is_ok());
}

#[test]
fn sec03_an_assignment_must_be_for_this_node_this_engineer_and_now() {
    let world = World::new();
    let good = assignment(number(1), world.now());
    let with = |assignment: Assignment, code| {
        let world = World { admission: shown(&assignment), ..World::new() };
        refused(&world, code);
    };
    let mut other_node = good.clone();
    other_node.node.key = public(STRANGER);
    with(other_node, RefusalCode::AssignmentOtherNode);
    let mut other_engineer = good.clone();
    other_engineer.engineer.key = public(STRANGER);
    with(other_engineer, RefusalCode::EngineerKeyMismatch);
    let early = |seconds| {
        let by = TimeDelta::seconds(seconds);
        Assignment { issued_at: good.issued_at + by, expires_at: good.expires_at + by, ..good.clone() }
    };
    with(early(61), RefusalCode::AssignmentNotYetValid);
    with(early(-480 * 60), RefusalCode::AssignmentExpired);
    let world = World { admission: shown(&early(60)), ..World::new() };
    assert!(world.admit().is_ok(), "the allowance for clocks that differ");
}

#[test]
fn sec03_only_the_desk_whose_opening_was_confirmed_assigns() {
    let mut world = World::new();
    let now = world.now();
    world.admission.assignment = Some(Envelope::sign(&assignment(number(1), now), &key(STRANGER)).unwrap());
    refused(&world, RefusalCode::DeskUnknown);
    // A desk that is confirmed for one request cannot assign for another desk's request.
    world.change(|facts| facts.requests.push(open_request(2, STRANGER, now)));
    let poached = Assignment { desk: desk(STRANGER), ..assignment(number(1), now) };
    world.admission.assignment = Some(poached.issue(&key(STRANGER)).unwrap());
    refused(&world, RefusalCode::AssignmentOtherRequest);
    let own = Assignment { desk: desk(STRANGER), ..assignment(number(2), now) };
    world.admission.assignment = Some(own.issue(&key(STRANGER)).unwrap());
    assert!(world.admit().is_ok());
}

#[test]
fn sec03_a_statement_that_is_no_assignment_is_refused() {
    let mut world = World::new();
    let now = world.now();
    let opening = opening(number(1), DESK, now);
    world.admission.assignment = Some(Envelope::sign(&opening, &key(DESK)).unwrap());
    refused(&world, RefusalCode::AssignmentInvalid);
}

#[test]
fn an_empty_gate_lets_nobody_in() {
    let world = World { gate: Gate::new(public(NODE)), ..World::new() };
    refused(&world, RefusalCode::NoGrant);
}

#[test]
fn sec06_the_level_is_the_lower_one_and_a_lowered_grant_ends_wider_sessions() {
    for granted in AccessLevel::ALL {
        for cap in AccessLevel::ALL {
            for later in AccessLevel::ALL {
                let mut world = World::new();
                world.renew(granted, 480);
                let assigned = Assignment { level_cap: cap, ..assignment(number(1), world.now()) };
                world.admission = shown(&assigned);
                let permit = world.admit().unwrap();
                assert_eq!(permit.level(), granted.min(cap));
                world.renew(later, 480);
                let expected =
                    if later < permit.level() { Err(EndCause::LevelLowered) } else { Ok(permit.level()) };
                assert_eq!(world.gate.check(&permit, &world.now()), expected, "{granted} {cap} {later}");
            }
        }
    }
}

#[test]
fn c15_two_sessions_and_only_the_wider_one_dies() {
    let mut world = World::new();
    let wide = world.admit().unwrap();
    world.admission = shown(&Assignment { level_cap: Diagnostics, ..assignment(number(1), world.now()) });
    let narrow = world.admit().unwrap();
    world.renew(Diagnostics, 480);
    assert_eq!(world.gate.check(&wide, &world.now()), Err(EndCause::LevelLowered));
    assert_eq!(world.gate.check(&narrow, &world.now()), Ok(Diagnostics));
    world.renew(DiagnosticsRepair, 480);
    assert_eq!(world.gate.check(&narrow, &world.now()), Ok(Diagnostics), "raising holds for new sessions");
}

#[test]
fn sec07_every_end_of_the_facts_ends_the_session_with_its_cause() {
    type Change = fn(&mut World);
    let table: [(&str, Change, EndCause); 9] = [
        ("revoked", |w| revoke(w), EndCause::Revoked),
        ("no grant any more", |w| w.change(|facts| facts.grant = None), EndCause::Revoked),
        ("another grant", |w| replace(w), EndCause::Revoked),
        ("held", |w| w.change(|facts| facts.held = true), EndCause::ClockHeld),
        ("request closed", |w| w.change(|facts| facts.requests.clear()), EndCause::RequestClosed),
        ("grant for another request", |w| other_request(w), EndCause::RequestClosed),
        ("another desk", |w| other_desk(w), EndCause::RequestClosed),
        ("shut", |w| w.gate.shut(EndCause::AgentStopped), EndCause::AgentStopped),
        ("expired", |w| w.clock.advance(minutes(480)), EndCause::Expired),
    ];
    for (name, change, cause) in table {
        let mut world = World::new();
        let permit = world.admit().unwrap();
        assert_eq!(world.gate.check(&permit, &world.now()), Ok(DiagnosticsRepair), "{name}: before");
        change(&mut world);
        assert_eq!(world.gate.check(&permit, &world.now()), Err(cause), "{name}");
        let mut ran = false;
        assert_eq!(world.gate.pass(&permit, &world.now(), |_| ran = true), Err(cause), "{name}");
        assert!(!ran, "{name}: nothing runs");
    }
}

fn revoke(world: &mut World) {
    let now = world.now();
    world.change(|facts| facts.grant = facts.grant.take().map(|grant| grant.revoked(&now)));
}

fn replace(world: &mut World) {
    let now = world.now();
    world.change(|facts| facts.grant = Some(grant(2, DiagnosticsRepair, 480, now)));
}

fn other_request(world: &mut World) {
    let now = world.now();
    world.change(|facts| {
        facts.requests.push(open_request(2, DESK, now));
        facts.grant.as_mut().unwrap().request = Some(number(2));
    });
}

fn other_desk(world: &mut World) {
    let now = world.now();
    world.change(|facts| facts.requests = vec![open_request(1, STRANGER, now)]);
}

#[test]
fn a_grant_that_expired_and_was_replaced_ends_its_sessions_as_expired() {
    let mut world = World::new();
    let permit = world.admit().unwrap();
    world.clock.advance(minutes(480));
    replace(&mut world);
    assert_eq!(world.gate.check(&permit, &world.now()), Err(EndCause::Expired));
}

#[test]
fn sec04_an_assignment_that_runs_out_ends_its_session_on_either_clock() {
    for step_back in [0, 1] {
        let mut world = World::new();
        world.admission = shown(&lasting(10, assignment(number(1), world.now())));
        let permit = world.admit().unwrap();
        world.clock.step_wall(-TimeDelta::seconds(step_back));
        assert_eq!(permit.remaining(&world.now()), minutes(10));
        world.clock.advance(minutes(10) - Duration::from_nanos(1));
        assert_eq!(world.gate.check(&permit, &world.now()), Ok(DiagnosticsRepair));
        world.clock.advance(Duration::from_nanos(1));
        assert_eq!(world.gate.check(&permit, &world.now()), Err(EndCause::AssignmentExpired));
        assert_eq!(permit.remaining(&world.now()), Duration::ZERO);
    }
}

#[test]
fn sec09_deadlines_move_with_the_grant_and_the_earlier_counts() {
    let mut world = World::new();
    let permit = world.admit().unwrap();
    assert_eq!(permit.remaining(&world.now()), minutes(480));
    world.renew(DiagnosticsRepair, 60);
    assert_eq!(permit.remaining(&world.now()), minutes(60));
    assert_eq!(permit.deadline(), world.now().wall + TimeDelta::minutes(60));
    world.renew(DiagnosticsRepair, 20160);
    assert_eq!(permit.remaining(&world.now()), minutes(480), "the assignment lasts no longer");
    world.clock.step_wall(TimeDelta::minutes(479));
    assert_eq!(permit.remaining(&world.now()), minutes(1));
    world.clock.step_wall(TimeDelta::minutes(1));
    assert_eq!(world.gate.check(&permit, &world.now()), Err(EndCause::AssignmentExpired));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]

    /// A session ends at the earlier of both deadlines, to the nanosecond, however the wall clock is set forward.
    #[test]
    fn sec09_never_before_and_never_after(steps in prop::collection::vec((0_u64..200, 0_i64..200), 0..12)) {
        let world = World::new();
        let permit = world.admit().unwrap();
        let start = world.now();
        for (pass, forward) in steps {
            world.clock.advance(minutes(pass));
            world.clock.step_wall(TimeDelta::minutes(forward));
            let now = world.now();
            let over = now.wall - start.wall >= TimeDelta::minutes(480) || now.boot - start.boot >= minutes(480);
            prop_assert_eq!(world.gate.check(&permit, &now).is_err(), over);
            prop_assert_eq!(permit.remaining(&now) == Duration::ZERO, over);
        }
        let left = permit.remaining(&world.now());
        if left > Duration::ZERO {
            world.clock.advance(left - Duration::from_nanos(1));
            prop_assert!(world.gate.check(&permit, &world.now()).is_ok());
            world.clock.advance(Duration::from_nanos(1));
            prop_assert!(world.gate.check(&permit, &world.now()).is_err());
        }
    }
}

#[test]
fn sec10_a_clock_that_goes_back_holds_until_a_fresh_consent() {
    let mut world = World::new();
    let permit = world.admit().unwrap();
    let generation = world.gate.generation();
    world.clock.step_wall(-TimeDelta::days(1));
    assert_eq!(world.gate.check(&permit, &world.now()), Err(EndCause::ClockHeld));
    assert_eq!(world.gate.generation(), generation + 1);
    assert!(world.gate.is_held());
    world.clock.step_wall(TimeDelta::days(1));
    assert_eq!(
        world.gate.check(&permit, &world.now()),
        Err(EndCause::ClockHeld),
        "the right time does not undo it"
    );
    refused(&world, RefusalCode::GrantHeld);
    world.change(|facts| facts.requests.truncate(1));
    refused(&world, RefusalCode::GrantHeld);
    world.renew(DiagnosticsRepair, 480);
    assert!(!world.gate.is_held());
    assert!(world.admit().is_ok());
}

#[test]
fn sec10_a_fresh_consent_under_an_earlier_clock_counts_from_there() {
    let mut world = World::new();
    world.clock.advance(minutes(60));
    let permit = world.admit().unwrap();
    world.clock.step_wall(-TimeDelta::minutes(30));
    world.renew(DiagnosticsRepair, 480);
    assert_eq!(
        world.gate.check(&permit, &world.now()),
        Ok(DiagnosticsRepair),
        "the owner has seen this clock"
    );
}

#[test]
fn sec10_steps_within_the_allowance_do_not_add_up() {
    let world = World::new();
    let permit = world.admit().unwrap();
    world.clock.step_wall(-TimeDelta::seconds(1));
    assert!(world.gate.check(&permit, &world.now()).is_ok());
    world.clock.step_wall(-TimeDelta::nanoseconds(1));
    assert_eq!(world.gate.check(&permit, &world.now()), Err(EndCause::ClockHeld));
}

#[test]
fn each_load_and_shut_is_a_generation() {
    let world = World::new();
    let generation = world.gate.generation();
    assert!(world.gate.load(world.facts.clone()));
    assert_eq!(world.gate.generation(), generation + 1);
    world.gate.shut(EndCause::Revoked);
    assert_eq!(world.gate.generation(), generation + 2);
    assert!(world.gate.resume(world.facts.clone()));
    assert_eq!(world.gate.generation(), generation + 3);
    assert!(world.admit().is_ok());
    assert_eq!(world.gate.generation(), generation + 3, "looking changes nothing");
}

#[test]
fn sec07_facts_from_before_a_revoke_do_not_undo_it() {
    let mut world = World::new();
    let permit = world.admit().unwrap();
    let stale = world.facts.clone();
    revoke(&mut world);
    let generation = world.gate.generation();
    assert!(!world.gate.load(stale));
    assert_eq!(world.gate.generation(), generation);
    assert_eq!(world.gate.check(&permit, &world.now()), Err(EndCause::Revoked));
}

#[test]
fn sec11_a_shut_gate_stays_shut_whatever_is_loaded() {
    let mut world = World::new();
    let permit = world.admit().unwrap();
    world.gate.shut(EndCause::Revoked);
    replace(&mut world);
    assert_eq!(world.gate.check(&permit, &world.now()), Err(EndCause::Revoked));
    refused(&world, RefusalCode::GrantRevoked);
    world.gate.shut(EndCause::AgentStopped);
    refused(&world, RefusalCode::GateShut);
    world.gate.resume(world.facts.clone());
    assert!(world.admit().is_ok());
}

#[test]
fn subscribers_are_called_at_each_change_and_may_call_back() {
    let mut world = World::new();
    let calls = Arc::new(AtomicUsize::new(0));
    let (counter, gate) = (Arc::clone(&calls), world.gate.clone());
    let subscription = world.gate.subscribe(Arc::new(move || {
        counter.fetch_add(1, Ordering::SeqCst);
        let _ = gate.generation();
        drop(gate.subscribe(Arc::new(|| ())));
    }));
    world.change(|_| ());
    world.gate.shut(EndCause::Revoked);
    world.gate.resume(world.facts.clone());
    assert_eq!(calls.load(Ordering::SeqCst), 3);
    assert!(!world.gate.load(Facts::default()), "stale facts are no change");
    assert_eq!(calls.load(Ordering::SeqCst), 3);
    world.clock.advance(minutes(1));
    assert!(world.admit().is_ok());
    world.clock.step_wall(-TimeDelta::days(1));
    refused(&world, RefusalCode::GrantHeld);
    assert_eq!(calls.load(Ordering::SeqCst), 4, "a clock that went back is a change");
    drop(subscription);
    world.change(|_| ());
    assert_eq!(calls.load(Ordering::SeqCst), 4);
}

#[test]
fn places_are_limited_and_come_back() {
    let mut world = World::new();
    let first = world.admit().unwrap();
    let clone = first.clone();
    let second = world.admit().unwrap();
    assert_eq!(world.gate.sessions(), 2);
    refused(&world, RefusalCode::TooManySessions);
    drop(first);
    refused(&world, RefusalCode::TooManySessions);
    drop(clone);
    assert!(world.admit().is_ok());
    drop(second);
    world.admission = Admission::default();
    refused(&world, RefusalCode::AssignmentMissing);
    assert_eq!(world.gate.sessions(), 0, "a refusal takes no place");
    let none = World { gate: Gate::with_sessions_max(public(NODE), 0), ..World::new() };
    none.gate.load(none.facts.clone());
    refused(&none, RefusalCode::TooManySessions);
}

#[test]
fn places_hold_when_many_come_at_once() {
    let world = World::new();
    let (gate, admission, now) = (&world.gate, &world.admission, world.now());
    let permits: Vec<_> = thread::scope(|scope| {
        let come = || scope.spawn(|| gate.admit(admission, &now).ok());
        let all: Vec<_> = (0..8).map(|_| come()).collect();
        all.into_iter().filter_map(|one| one.join().unwrap()).collect()
    });
    assert_eq!(permits.len(), 2);
}

/// After `shut` has returned, nothing that passed the gate runs any more. The control shows that a check alone, with
/// the act after it, does not give that.
#[test]
fn sec07_nothing_runs_after_revoke_has_returned() {
    let world = World::new();
    let permit = world.admit().unwrap();
    let (gate, now, revoked) = (&world.gate, world.now(), AtomicBool::new(false));
    let late = AtomicUsize::new(0);
    let act = || {
        if revoked.load(Ordering::SeqCst) {
            late.fetch_add(1, Ordering::SeqCst);
        }
    };
    let (running, started) = mpsc::channel();
    thread::scope(|scope| {
        for _ in 0..4 {
            let (permit, act, late, running) = (&permit, &act, &late, running.clone());
            scope.spawn(move || {
                let mut passes = 0_u64;
                while gate.pass(permit, &now, |_| act()).is_ok() && late.load(Ordering::SeqCst) == 0 {
                    passes += 1;
                    if passes == 100 {
                        running.send(()).unwrap();
                    }
                }
            });
        }
        (0..4).for_each(|_| started.recv().unwrap());
        gate.shut(EndCause::Revoked);
        revoked.store(true, Ordering::SeqCst);
    });
    assert_eq!(late.load(Ordering::SeqCst), 0);

    // Control: checked before, acted after.
    gate.resume(world.facts.clone());
    revoked.store(false, Ordering::SeqCst);
    assert!(gate.check(&permit, &now).is_ok());
    gate.shut(EndCause::Revoked);
    revoked.store(true, Ordering::SeqCst);
    act();
    assert_eq!(late.load(Ordering::SeqCst), 1);
}

#[test]
fn sec07_a_revoke_waits_for_what_has_passed() {
    let world = World::new();
    let permit = world.admit().unwrap();
    let (gate, permit, now) = (&world.gate, &permit, world.now());
    let (inside, entered) = mpsc::channel();
    let (release, released) = mpsc::channel::<()>();
    let finished = AtomicBool::new(false);
    thread::scope(|scope| {
        let finished = &finished;
        scope.spawn(move || {
            let passed = gate.pass(permit, &now, |_| {
                inside.send(()).unwrap();
                released.recv().unwrap();
                finished.store(true, Ordering::SeqCst);
            });
            assert!(passed.is_ok());
        });
        entered.recv().unwrap();
        let revoke = scope.spawn(|| {
            gate.shut(EndCause::Revoked);
            assert!(finished.load(Ordering::SeqCst), "the revoke returned while work was starting");
        });
        release.send(()).unwrap();
        revoke.join().unwrap();
    });
}

#[test]
fn sec33_what_is_printed_has_no_secret() {
    let world = World::new();
    let permit = world.admit().unwrap();
    let refusal = {
        world.gate.shut(EndCause::Fault);
        world.admit().unwrap_err()
    };
    let shown = format!("{:?} {permit:?} {refusal:?} {refusal} {:?}", world.gate, world.admission);
    for n in [NODE, DESK, ENGINEER] {
        let secret = [n; 32].map(|byte| format!("{byte:02x}")).concat();
        assert!(!shown.contains(&secret));
    }
    assert!(refusal.to_string().contains("gate-shut"), "{refusal}");
}

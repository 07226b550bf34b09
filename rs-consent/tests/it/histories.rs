//! Random histories of grant, revoke, passing time, set clocks and restarts, against a model of a few lines (SEC1).

use chrono::{DateTime, TimeDelta, Utc};
use proptest::prelude::*;
use rs_consent::{AccessLevel, Clock as _, ConsentStore, Gate};

use crate::fixture::*;
use crate::store::Place;

/// What can happen to a node.
#[derive(Clone, Debug)]
enum Event {
    Enable(i64),
    Revoke,
    /// Time passes, in minutes.
    Pass(u64),
    /// The wall clock is set forward, in minutes.
    Forward(i64),
    /// The wall clock is set back, in minutes, by more than the allowance.
    Back(i64),
    /// The agent is started anew.
    RestartAgent,
    /// The machine is started anew, and the agent with it.
    RestartMachine,
}

fn event() -> impl Strategy<Value = Event> {
    prop_oneof![
        3 => (60_i64..300).prop_map(Event::Enable),
        1 => Just(Event::Revoke),
        4 => (1_u64..200).prop_map(Event::Pass),
        1 => (1_i64..200).prop_map(Event::Forward),
        1 => (1_i64..200).prop_map(Event::Back),
        1 => Just(Event::RestartAgent),
        1 => Just(Event::RestartMachine),
    ]
}

/// The oracle: until when a consent holds, and nothing once time went back.
#[derive(Default)]
struct Model {
    until: Option<DateTime<Utc>>,
}

impl Model {
    fn step(&mut self, event: &Event, now: DateTime<Utc>) {
        match event {
            Event::Enable(minutes) => self.until = Some(now + TimeDelta::minutes(*minutes)),
            Event::Revoke | Event::Back(_) => self.until = None,
            _ => self.until = self.until.filter(|until| now < *until),
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, max_shrink_iters: 200, ..ProptestConfig::default() })]

    #[test]
    fn sec01_a_session_is_accepted_exactly_while_a_consent_is_active(events in prop::collection::vec(event(), 1..16)) {
        let place = Place::new();
        let clock = &place.clock;
        let mut store = place.open();
        let number = store.submit_request("disk is slow".parse().unwrap(), node(), &clock.now()).unwrap().number;
        store.confirm_opening(&opening(number, DESK, clock.now()), &clock.now()).unwrap();
        let mut gate = Gate::new(public(NODE));
        let mut model = Model::default();
        for event in &events {
            match event {
                Event::Enable(minutes) => drop(place.enable(&store, *minutes)),
                Event::Revoke => drop(store.revoke(&owner(), &clock.now()).unwrap()),
                Event::Pass(n) => clock.advance(minutes(*n)),
                Event::Forward(n) => clock.step_wall(TimeDelta::minutes(*n)),
                Event::Back(n) => clock.step_wall(-TimeDelta::minutes(*n)),
                Event::RestartAgent | Event::RestartMachine => {
                    if matches!(event, Event::RestartMachine) {
                        clock.reboot();
                    }
                    store = ConsentStore::open(place.path()).unwrap();
                    gate = Gate::new(public(NODE));
                }
            }
            let now = clock.now();
            model.step(event, now.wall);
            gate.load(store.facts(&now).unwrap());
            let admitted = gate.admit(&shown(&assignment(number, now)), &now);
            prop_assert_eq!(admitted.is_ok(), model.until.is_some(), "after {:?} of {:?}", event, events);
            let listed = store.grants(false, &now).unwrap();
            prop_assert!(listed.iter().all(|grant| grant.level == AccessLevel::Diagnostics));
            prop_assert!(model.until.is_none() || listed.len() == 1);
        }
        let log = store.log(0, 10_000).unwrap();
        prop_assert!(log.windows(2).all(|pair| pair[0].number + 1 == pair[1].number));
    }
}

//! Random histories of grant, revoke, passing time, set clocks and restarts, against a model of a few lines (SEC1).

use chrono::{DateTime, TimeDelta, Utc};
use proptest::prelude::*;
use rs_consent::{AccessLevel, Clock as _, Conditions, Consent, ConsentStore, Gate};

use crate::fixture::*;
use crate::store::Place;

/// What can happen to a node.
#[derive(Clone, Debug)]
enum Event {
    Enable(i64),
    /// A consent that begins later: in how many minutes, and for how many.
    Schedule(i64, i64),
    /// A consent that needs a second person.
    EnableForTwo(i64),
    /// The second person approves.
    Approve,
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
        2 => ((1_i64..200), (60_i64..300)).prop_map(|(ahead, minutes)| Event::Schedule(ahead, minutes)),
        2 => (60_i64..300).prop_map(Event::EnableForTwo),
        2 => Just(Event::Approve),
        1 => Just(Event::Revoke),
        4 => (1_u64..200).prop_map(Event::Pass),
        1 => (1_i64..200).prop_map(Event::Forward),
        1 => (1_i64..200).prop_map(Event::Back),
        1 => Just(Event::RestartAgent),
        1 => Just(Event::RestartMachine),
    ]
}

/// The oracle: until when a consent holds, what it waits for, and nothing once time went back.
#[derive(Default)]
struct Model {
    until: Option<DateTime<Utc>>,
    /// The start, and how much time has still to pass until then.
    start: Option<(DateTime<Utc>, TimeDelta)>,
    second_person: bool,
}

impl Model {
    fn permits(&self) -> bool {
        self.until.is_some() && !self.waits()
    }

    fn waits(&self) -> bool {
        self.second_person || self.start.is_some_and(|(_, left)| left > TimeDelta::zero())
    }

    /// Says whether the event is one that comes about.
    fn step(&mut self, event: &Event, now: DateTime<Utc>) -> bool {
        self.until = self.until.filter(|until| now < *until);
        match event {
            Event::Enable(minutes) => {
                *self = Self { until: Some(now + TimeDelta::minutes(*minutes)), ..Self::default() };
            }
            Event::Schedule(..) | Event::EnableForTwo(_) if self.permits() => return false,
            Event::Schedule(ahead, minutes) => {
                let ahead = TimeDelta::minutes(*ahead);
                let until = Some(now + ahead + TimeDelta::minutes(*minutes));
                *self = Self { until, start: Some((now + ahead, ahead)), second_person: false };
            }
            Event::EnableForTwo(minutes) => {
                let until = Some(now + TimeDelta::minutes(*minutes));
                *self = Self { until, start: None, second_person: true };
            }
            Event::Approve if self.until.is_some() && self.second_person => self.second_person = false,
            Event::Approve => return false,
            Event::Revoke | Event::Back(_) => self.until = None,
            Event::Pass(n) => {
                self.start = self.start.map(|(at, left)| (at, left - TimeDelta::minutes(*n as i64)))
            }
            // From then on the wall clock is right.
            Event::RestartMachine => self.start = self.start.map(|(at, _)| (at, at - now)),
            Event::Forward(_) | Event::RestartAgent => {}
        }
        true
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, max_shrink_iters: 200, ..ProptestConfig::default() })]

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
            let mut done = true;
            let given = |minutes, conditions| {
                let wish = Consent { conditions, ..consent(AccessLevel::Diagnostics, minutes, clock.now()) };
                store.enable(&wish, &clock.now()).is_ok()
            };
            match event {
                Event::Enable(minutes) => drop(place.enable(&store, *minutes)),
                Event::Schedule(ahead, minutes) => {
                    let not_before = Some(clock.now().wall + TimeDelta::minutes(*ahead));
                    done = given(*minutes, Conditions { not_before, second_person: false });
                }
                Event::EnableForTwo(minutes) => {
                    done = given(*minutes, Conditions { not_before: None, second_person: true });
                }
                Event::Approve => {
                    let seen = store.grants(false, &clock.now()).unwrap().into_iter().next();
                    done = seen.is_some_and(|seen| {
                        store.approve(seen.id, seen.revision, &second(), &clock.now()).is_ok()
                    });
                }
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
            prop_assert_eq!(model.step(event, now.wall), done, "{:?} of {:?}", event, events);
            gate.load(store.facts(&now).unwrap());
            let admitted = gate.admit(&shown(&assignment(number, now)), &now);
            prop_assert_eq!(admitted.is_ok(), model.permits(), "after {:?} of {:?}", event, events);
            let listed = store.grants(false, &now).unwrap();
            prop_assert!(listed.iter().all(|grant| grant.level == AccessLevel::Diagnostics));
            prop_assert!(model.until.is_none() || listed.len() == 1);
        }
        let log = store.log(0, 10_000).unwrap();
        prop_assert!(log.windows(2).all(|pair| pair[0].number + 1 == pair[1].number));
    }
}

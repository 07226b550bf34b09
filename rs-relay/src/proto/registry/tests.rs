use super::*;
use proptest::prelude::*;

fn start() -> Now {
    Now { instant: Instant::now(), wall: DateTime::from_timestamp(1_800_000_000, 0).unwrap() }
}

fn after(now: Now, seconds: f64) -> Now {
    let span = Duration::from_secs_f64(seconds);
    Now { instant: now.instant + span, wall: now.wall + span }
}

fn id(byte: u8) -> RendezvousId {
    RendezvousId::from_bytes([byte; 24])
}

fn hyco() -> EntityPath {
    "hyco".parse().unwrap()
}

type Small = Registry<u8, u8>;

fn outputs(registry: &mut Small) -> Vec<Output<u8, u8>> {
    std::iter::from_fn(|| registry.poll_output()).collect()
}

fn with_listener(now: Now) -> (Small, ListenerId) {
    let mut registry = Small::new(Limits::default());
    let listener = registry.listen(now, &hyco(), 1, now.wall + Duration::from_secs(3600)).unwrap();
    (registry, listener)
}

#[test]
fn sec16_life_of_a_rendezvous() {
    let now = start();
    let (mut registry, listener) = with_listener(now);
    assert_eq!(registry.connect(now, &hyco(), 9, id(1), 0), Ok(1));
    assert_eq!(registry.waiting(&id(1)), Some(&9));
    assert_eq!(registry.accept(&id(2)), None, "unknown");
    assert_eq!(registry.accept(&id(1)), Some(9));
    assert_eq!(registry.accept(&id(1)), None, "used");
    registry.listener_gone(now, listener, 0);
    assert_eq!(registry.connect(now, &hyco(), 9, id(3), 0), Err((9, Refusal::NoEntity)));
    registry.declare(hyco()).unwrap();
    assert_eq!(registry.connect(now, &hyco(), 9, id(3), 0), Err((9, Refusal::NoListener)));
    assert_eq!((outputs(&mut registry), registry.poll_timeout()), (vec![], None));
}

#[test]
fn r10_a_rendezvous_lives_30_seconds() {
    let now = start();
    let (mut registry, _) = with_listener(now);
    registry.connect(now, &hyco(), 9, id(1), 0).unwrap();
    registry.handle_timeout(after(now, 29.999));
    assert_eq!(outputs(&mut registry), []);
    registry.handle_timeout(after(now, 30.0));
    assert_eq!(outputs(&mut registry), [Output::Refuse { sender: 9, refusal: Refusal::NobodyAccepted }]);
    assert_eq!(registry.accept(&id(1)), None, "too late");
}

#[test]
fn a_sender_that_left_cannot_be_taken() {
    let now = start();
    let (mut registry, _) = with_listener(now);
    registry.connect(now, &hyco(), 9, id(1), 0).unwrap();
    assert_eq!(registry.withdraw(now, &id(1)), Some(9));
    assert_eq!((registry.accept(&id(1)), registry.waiting_count()), (None, 0));
}

#[test]
fn a_lost_listeners_senders_are_offered_to_another() {
    let now = start();
    let (mut registry, first) = with_listener(now);
    registry.connect(now, &hyco(), 9, id(1), 0).unwrap();
    registry.listen(now, &hyco(), 2, now.wall + Duration::from_secs(3600)).unwrap();
    registry.listener_gone(now, first, 0);
    assert_eq!(outputs(&mut registry), [Output::Offer { listener: 2, rendezvous: id(1) }]);
    assert_eq!(registry.accept(&id(1)), Some(9));
}

#[test]
fn a_listener_that_comes_back_is_offered_those_who_waited() {
    let now = start();
    let (mut registry, first) = with_listener(now);
    registry.connect(now, &hyco(), 9, id(1), 0).unwrap();
    registry.listener_gone(now, first, 0);
    assert_eq!(outputs(&mut registry), []);
    registry.listen(now, &hyco(), 1, now.wall + Duration::from_secs(3600)).unwrap();
    assert_eq!(outputs(&mut registry), [Output::Offer { listener: 1, rendezvous: id(1) }]);
}

#[test]
fn sec18_a_token_has_30_seconds_of_patience() {
    let now = start();
    let (mut registry, _) = with_listener(now);
    for seconds in [3600.0, 3601.0, 3629.9] {
        registry.handle_timeout(after(now, seconds));
        assert_eq!((outputs(&mut registry), registry.listener_count()), (vec![], 1), "{seconds}");
    }
    registry.handle_timeout(after(now, 3630.1));
    let closed = outputs(&mut registry);
    assert!(matches!(&closed[..], [Output::Close { listener: 1, reason }] if reason.code == 1008));
    assert_eq!((registry.listener_count(), registry.poll_timeout()), (0, None));
}

#[test]
fn renewal_moves_the_expiry_both_ways() {
    let now = start();
    let (mut registry, listener) = with_listener(now);
    registry.renew(after(now, 3605.0), listener, now.wall + Duration::from_secs(7200));
    registry.handle_timeout(after(now, 7200.0));
    assert_eq!(registry.listener_count(), 1);
    registry.renew(after(now, 7200.0), listener, now.wall + Duration::from_secs(7210));
    registry.handle_timeout(after(now, 7241.0));
    assert_eq!(registry.listener_count(), 0);
}

#[test]
fn a_wall_clock_that_jumps_is_noticed_within_30_seconds() {
    let now = start();
    let (mut registry, _) = with_listener(now);
    let jumped = Now { instant: now.instant + WALL_CLOCK_CHECK, wall: now.wall + Duration::from_secs(9999) };
    assert!(registry.poll_timeout().unwrap() <= jumped.instant);
    registry.handle_timeout(jumped);
    assert_eq!(registry.listener_count(), 0);
}

fn with_request(now: Now) -> (Small, ListenerId) {
    let (mut registry, listener) = with_listener(now);
    assert_eq!(registry.request(now, &hyco(), (9, "r1".into()), id(1), 0), Ok(1));
    (registry, listener)
}

#[test]
fn life_of_an_http_request_on_the_control_channel() {
    let now = start();
    let (mut registry, listener) = with_request(now);
    assert_eq!(registry.respond(listener, "r1"), None, "it was not told yet");
    assert_eq!(registry.tell(now, listener, &id(1)), Some(&9));
    assert_eq!(registry.request(now, &hyco(), (8, "r1".into()), id(2), 0), Err((8, Refusal::Busy)), "twice");
    assert_eq!(registry.accept(&id(1)), None, "no WebSocket");
    assert_eq!(registry.unanswered(listener), 1);
    assert!(registry.responding(now, listener, "r1") && !registry.responding(now, listener, "r2"));
    assert_eq!(registry.respond(listener, "r1"), Some(9));
    assert_eq!(registry.respond(listener, "r1"), None, "once");
    assert_eq!(registry.meet(now, &id(1)), None, "answered: nobody comes any more");
    assert_eq!((registry.unanswered(listener), registry.waiting_count()), (0, 0));
    assert!(registry.requests.is_empty());
}

#[test]
fn life_of_an_http_request_at_its_rendezvous() {
    let now = start();
    let (mut registry, listener) = with_request(now);
    registry.tell(now, listener, &id(1)).unwrap();
    assert_eq!(registry.meet(now, &id(1)), Some(Meeting::Sender(9)));
    assert_eq!(registry.meet(now, &id(1)), None, "used");
    assert_eq!(registry.respond(listener, "r1"), None, "it is answered there");
    registry.listener_gone(now, listener, 0);
    assert_eq!(outputs(&mut registry), [], "the rendezvous goes on without the control channel");
    registry.declare(hyco()).unwrap();
    registry.listen(now, &hyco(), 1, now.wall + Duration::from_secs(60)).unwrap();
    registry.connect(now, &hyco(), 7, id(3), 0).unwrap();
    assert_eq!(registry.meet(now, &id(3)), None, "no HTTP request");
}

#[test]
fn a_response_has_60_seconds_from_when_the_listener_was_told() {
    let now = start();
    let (mut registry, listener) = with_request(now);
    registry.tell(after(now, 50.0), listener, &id(1)).unwrap();
    registry.handle_timeout(after(now, 109.9));
    assert_eq!(outputs(&mut registry), []);
    // The text has come: the body has 60 s more.
    assert!(registry.responding(after(now, 109.9), listener, "r1"));
    registry.handle_timeout(after(now, 169.8));
    assert_eq!(outputs(&mut registry), []);
    registry.handle_timeout(after(now, 169.9));
    assert_eq!(outputs(&mut registry), [Output::Refuse { sender: 9, refusal: Refusal::NoResponse }]);
    assert_eq!(registry.respond(listener, "r1"), None, "too late");
    assert_eq!(registry.meet(after(now, 259.8), &id(1)), Some(Meeting::Late));
    assert_eq!(registry.meet(after(now, 259.8), &id(1)), None, "once");
}

#[test]
fn a_late_rendezvous_is_known_for_90_seconds_if_the_listener_was_told() {
    let now = start();
    for told in [true, false] {
        let (mut registry, listener) = with_request(now);
        if told {
            registry.tell(now, listener, &id(1)).unwrap();
        }
        assert_eq!(registry.withdraw(now, &id(1)), Some(9));
        let late = told.then_some(Meeting::Late);
        assert_eq!(registry.meet(after(now, 89.9), &id(1)), late);
        let (mut registry, listener) = with_request(now);
        registry.tell(now, listener, &id(1)).unwrap();
        registry.withdraw(now, &id(1));
        assert_eq!(registry.meet(after(now, 90.0), &id(1)), None);
    }
}

#[test]
fn requests_of_a_lost_listener() {
    let now = start();
    let (mut registry, first) = with_request(now);
    registry.request(now, &hyco(), (8, "r2".into()), id(2), 0).unwrap();
    registry.tell(now, first, &id(1)).unwrap();
    registry.listen(now, &hyco(), 2, now.wall + Duration::from_secs(60)).unwrap();
    registry.listener_gone(now, first, 0);
    let expected = [
        Output::Refuse { sender: 9, refusal: Refusal::ListenerLost },
        Output::Offer { listener: 2, rendezvous: id(2) },
    ];
    assert_eq!(outputs(&mut registry), expected, "what it knew of is lost, the rest goes to another");
    assert_eq!(registry.meet(now, &id(1)), Some(Meeting::Late));
}

#[test]
fn a_listener_is_told_only_what_is_still_meant_for_it() {
    let now = start();
    let (mut registry, first) = with_listener(now);
    registry.connect(now, &hyco(), 9, id(1), 0).unwrap();
    let second = registry.listen(now, &hyco(), 2, now.wall + Duration::from_secs(60)).unwrap();
    assert_eq!(registry.tell(now, second, &id(1)), None);
    registry.listener_gone(now, first, 0);
    assert_eq!(registry.tell(now, first, &id(1)), None);
    assert_eq!(registry.tell(now, second, &id(1)), Some(&9));
    registry.withdraw(now, &id(1));
    assert_eq!(registry.tell(now, second, &id(1)), None);
}

#[test]
fn a_retired_listener_gets_nothing_new() {
    let now = start();
    let (mut registry, listener) = with_request(now);
    registry.tell(now, listener, &id(1)).unwrap();
    registry.retire(listener);
    registry.declare(hyco()).unwrap();
    assert_eq!(registry.connect(now, &hyco(), 8, id(2), 0), Err((8, Refusal::NoListener)));
    assert_eq!(registry.unanswered(listener), 1);
    assert_eq!(registry.respond(listener, "r1"), Some(9));
}

#[test]
fn a_day_of_renewals_at_the_expiry_drops_nobody() {
    let mut now = start();
    let mut registry = Small::new(Limits::default());
    let mut until = now.wall + Duration::from_secs(3600);
    let listener = registry.listen(now, &hyco(), 1, until).unwrap();
    for round in 0..24 {
        // The official SDKs renew up to some seconds after the expiry.
        let renewal = until + Duration::from_secs(round % 29);
        while now.wall < renewal {
            now = after(now, 1.0);
            registry.handle_timeout(now);
        }
        until = now.wall + Duration::from_secs(3600);
        registry.renew(now, listener, until);
        assert_eq!(registry.listeners(&hyco()), 1, "round {round}");
    }
    // The control: without the next one it ends.
    registry.handle_timeout(after(now, 3631.0));
    assert_eq!(registry.listeners(&hyco()), 0);
}

#[test]
fn limits_at_and_past_the_bound() {
    let now = start();
    let limits =
        Limits { entities_max: 2, listeners_per_entity_max: 25, waiting_senders_max: 2, ..Limits::default() };
    let mut registry = Small::new(limits);
    let until = now.wall + Duration::from_secs(3600);
    for listener in 0..25 {
        registry.listen(now, &hyco(), listener, until).unwrap();
    }
    assert_eq!(registry.listen(now, &hyco(), 25, until), Err(Refusal::TooManyListeners));
    registry.declare("b".parse().unwrap()).unwrap();
    assert_eq!(registry.declare("c".parse().unwrap()), Err(Refusal::Busy));
    assert_eq!(registry.listen(now, &"c".parse().unwrap(), 1, until), Err(Refusal::Busy));
    registry.connect(now, &hyco(), 1, id(1), 0).unwrap();
    assert_eq!(registry.connect(now, &hyco(), 2, id(1), 0), Err((2, Refusal::Busy)), "an id twice");
    registry.connect(now, &hyco(), 2, id(2), 0).unwrap();
    assert_eq!(registry.connect(now, &hyco(), 3, id(3), 0), Err((3, Refusal::Busy)));
}

#[test]
fn senders_are_spread_over_all_listeners() {
    let now = start();
    let mut registry = Small::new(Limits::default());
    for listener in 0..25 {
        registry.listen(now, &hyco(), listener, now.wall + Duration::from_secs(60)).unwrap();
    }
    let found: BTreeSet<_> =
        (0..25).map(|pick| registry.connect(now, &hyco(), 0, id(pick), u64::from(pick)).unwrap()).collect();
    assert_eq!(found.len(), 25);
}

#[test]
fn rendezvous_id_text() {
    assert_eq!(id(0xab).expose().parse(), Ok(id(0xab)));
    for bad in ["", "ab", &"A".repeat(48), &"a".repeat(49), &"g".repeat(48)] {
        assert_eq!(bad.parse::<RendezvousId>(), Err(RendezvousIdError));
    }
    assert_eq!(format!("{:?}", id(1)), "RendezvousId(…)");
}

#[derive(Debug, Clone)]
enum Operation {
    Listen(u8),
    Gone(u8),
    Connect(u8),
    Request(u8),
    Tell(u8, u8),
    Respond(u8, u8),
    Meet(u8),
    Accept(u8),
    Withdraw(u8),
    Wait(u16),
}

fn any_operation() -> impl Strategy<Value = Operation> {
    prop_oneof![
        (0u8..3).prop_map(Operation::Listen),
        (0u8..8).prop_map(Operation::Gone),
        (0u8..12).prop_map(Operation::Connect),
        (0u8..12).prop_map(Operation::Request),
        (0u8..8, 0u8..12).prop_map(|(listener, id)| Operation::Tell(listener, id)),
        (0u8..8, 0u8..12).prop_map(|(listener, id)| Operation::Respond(listener, id)),
        (0u8..12).prop_map(Operation::Meet),
        (0u8..12).prop_map(Operation::Accept),
        (0u8..12).prop_map(Operation::Withdraw),
        (0u16..40_000).prop_map(Operation::Wait),
    ]
}

proptest! {
    #[test]
    fn sec16_an_id_pairs_at_most_once_and_tables_stay_bounded(operations in proptest::collection::vec(any_operation(), 0..120)) {
        let mut now = start();
        let limits = Limits { entities_max: 2, listeners_per_entity_max: 3, waiting_senders_max: 4, ..Limits::default() };
        let mut registry: Registry<u64, u64> = Registry::new(limits);
        let names = ["a", "b", "c"].map(|name| name.parse::<EntityPath>().unwrap());
        let (mut listeners, mut answered, mut senders) = (Vec::new(), std::collections::HashSet::new(), 0_u64);
        for operation in operations {
            match operation {
                Operation::Listen(entity) => {
                    let until = now.wall + Duration::from_secs(50);
                    listeners.extend(registry.listen(now, &names[usize::from(entity)], 0, until));
                }
                Operation::Gone(index) if !listeners.is_empty() => {
                    let listener = listeners.remove(usize::from(index) % listeners.len());
                    registry.listener_gone(now, listener, u64::from(index));
                }
                Operation::Gone(_) => {}
                Operation::Connect(byte) => {
                    senders += 1;
                    let entity = &names[usize::from(byte % 3)];
                    if let Err((sender, _)) = registry.connect(now, entity, senders, id(byte), 7) {
                        prop_assert!(answered.insert(sender), "refused twice");
                    }
                }
                Operation::Request(byte) => {
                    senders += 1;
                    let entity = &names[usize::from(byte % 3)];
                    let sender = (senders, format!("r{byte}").into());
                    if let Err((sender, _)) = registry.request(now, entity, sender, id(byte), 7) {
                        prop_assert!(answered.insert(sender), "refused twice");
                    }
                }
                Operation::Tell(index, byte) if !listeners.is_empty() => {
                    let listener = listeners[usize::from(index) % listeners.len()];
                    if let Some(sender) = registry.tell(now, listener, &id(byte)) {
                        prop_assert!(!answered.contains(sender), "told of one that was answered");
                    }
                }
                Operation::Respond(index, byte) if !listeners.is_empty() => {
                    let listener = listeners[usize::from(index) % listeners.len()];
                    let request = format!("r{byte}");
                    let begun = registry.responding(now, listener, &request);
                    let sender = registry.respond(listener, &request);
                    prop_assert_eq!(begun, sender.is_some());
                    prop_assert!(sender.is_none_or(|sender| answered.insert(sender)), "answered twice");
                }
                Operation::Tell(..) | Operation::Respond(..) => {}
                Operation::Meet(byte) => if let Some(Meeting::Sender(sender)) = registry.meet(now, &id(byte)) {
                    prop_assert!(answered.insert(sender), "met twice");
                },
                Operation::Accept(byte) => if let Some(sender) = registry.accept(&id(byte)) {
                    prop_assert!(answered.insert(sender), "paired twice");
                },
                Operation::Withdraw(byte) => if let Some(sender) = registry.withdraw(now, &id(byte)) {
                    prop_assert!(answered.insert(sender), "withdrawn twice");
                },
                Operation::Wait(millis) => {
                    now = after(now, f64::from(millis) / 1000.0);
                    registry.handle_timeout(now);
                    prop_assert!(registry.poll_timeout().is_none_or(|at| at > now.instant));
                }
            }
            while let Some(output) = registry.poll_output() {
                if let Output::Refuse { sender, .. } = output {
                    prop_assert!(answered.insert(sender), "refused after an answer");
                }
            }
            prop_assert!(registry.waiting_count() <= 4 && registry.entities.len() <= 2);
            prop_assert!(registry.listener_count() <= 6 && registry.requests.len() <= 4);
            prop_assert_eq!(registry.due.len(), registry.waiting_count() + registry.listener_count());
        }
        registry.handle_timeout(after(now, 61.0));
        prop_assert_eq!(registry.waiting_count(), 0, "nobody waits for ever");
    }
}

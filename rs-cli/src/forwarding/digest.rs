//! Many events in few words, for people.

use std::collections::BTreeMap;

use rs_session::forward::EventKind;
use rs_session::forward::sink::Encoded;

/// So many events of a kind that comes in floods are listed in one message; more are counted.
pub const LISTED_MAX: usize = 20;
/// So many kinds are named in a heading.
const NAMED_MAX: usize = 5;

/// What one message says.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Digest {
    /// In a line: node, number, kinds. Nothing that an engineer wrote is in it.
    pub(super) heading: String,
    /// An event each; the last one says what was only counted.
    pub(super) lines: Vec<String>,
}

/// The events of a batch, which are in [`Format::Text`](rs_session::forward::Format::Text). At most `lines_max` are listed,
/// and of each kind that comes in floods at most [`LISTED_MAX`]; no event is missing from the counts.
pub(super) fn of(batch: &[Encoded], lines_max: usize) -> Digest {
    let mut of_kind: BTreeMap<EventKind, usize> = BTreeMap::new();
    let mut left: BTreeMap<EventKind, usize> = BTreeMap::new();
    let mut lines = Vec::new();
    for one in batch {
        let kind = one.event.kind;
        let count = of_kind.entry(kind).or_default();
        *count += 1;
        if lines.len() < lines_max && (*count <= LISTED_MAX || !kind.comes_in_floods()) {
            lines.push(String::from_utf8_lossy(&one.bytes).into_owned());
        } else {
            *left.entry(kind).or_default() += 1;
        }
    }
    if !left.is_empty() {
        lines.push(format!("and not listed here: {}", counted(&left, usize::MAX)));
    }
    let node = batch.first().map(|one| one.event.node.as_str()).unwrap_or_default();
    let heading = match batch {
        [one] => format!("{node}: {}", one.event.kind.title()),
        many => format!("{node}: {} events: {}", many.len(), counted(&of_kind, NAMED_MAX)),
    };
    Digest { heading, lines }
}

fn counted(kinds: &BTreeMap<EventKind, usize>, named_max: usize) -> String {
    // The rarest first: a flood of one kind hides nothing.
    let mut kinds: Vec<_> = kinds.iter().collect();
    kinds.sort_by_key(|(kind, count)| (**count, **kind));
    let name = |(kind, count): &(&EventKind, &usize)| match count {
        1 => kind.title().to_owned(),
        many => format!("{} ({many})", kind.title()),
    };
    let mut named: Vec<_> = kinds.iter().take(named_max).map(name).collect();
    if kinds.len() > named_max {
        named.push("…".to_owned());
    }
    named.join(", ")
}

#[cfg(test)]
mod tests {
    use rs_session::forward::{Event, Format};

    use super::*;

    fn batch(kinds: &[(EventKind, usize)]) -> Vec<Encoded> {
        let at = "2026-11-28T10:00:00Z".parse().expect("a time");
        let kinds = kinds.iter().flat_map(|&(kind, count)| std::iter::repeat_n(kind, count));
        let event = |(number, kind): (usize, EventKind)| {
            let event = Event::new(&format!("x/{number}"), "node-01", kind, at, &format!("number {number}"));
            Encoded { bytes: Format::Text.encode(&event), event }
        };
        kinds.enumerate().map(event).collect()
    }

    #[test]
    fn u10_one_event_is_told_as_it_is() {
        let digest = of(&batch(&[(EventKind::ConsentRevoked, 1)]), 1000);
        assert_eq!(digest.heading, "node-01: Consent revoked");
        assert_eq!(digest.lines, ["2026-11-28 10:00:00 UTC node-01: Consent revoked: number 0"]);
    }

    #[test]
    fn u10_a_flood_is_counted_past_its_bound_and_not_at_it_and_hides_nothing() {
        let at =
            of(&batch(&[(EventKind::EngineerRefused, LISTED_MAX), (EventKind::ConsentRevoked, 1)]), 1000);
        assert_eq!(at.lines.len(), LISTED_MAX + 1);
        let past = of(&batch(&[(EventKind::EngineerRefused, 950), (EventKind::ConsentRevoked, 30)]), 1000);
        assert_eq!(past.heading, "node-01: 980 events: Consent revoked (30), Engineer refused (950)");
        assert_eq!(past.lines.len(), LISTED_MAX + 30 + 1, "what strangers cannot cause is always listed");
        assert_eq!(past.lines.last().expect("there"), "and not listed here: Engineer refused (930)");
    }

    #[test]
    fn lines_have_their_bound_and_the_rest_is_counted() {
        let events = batch(&[(EventKind::SessionStarted, 11)]);
        assert_eq!(of(&events[..10], 10).lines.len(), 10);
        let past = of(&events, 10);
        assert_eq!((past.lines.len(), past.lines[10].as_str()), (11, "and not listed here: Session started"));
    }
}

//! A set of names and suffixes that answers fast, however long the list is.
//!
//! Each entry is a suffix and how many labels may stand before it: none (`login.example`), one and more (`*.S`), none
//! and more (squid's `.S`), exactly one, at most five. A look-up walks the host once from its end, hashing as it goes,
//! and asks the table at each label boundary, so its cost grows with the length of the host and not with the list.

use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};
use std::ops::RangeInclusive;

use crate::name::{HostName, HostPattern};

/// Any number of labels, for the range of [`HostSet::insert`].
pub const ANY_DEPTH: u8 = u8::MAX;

/// Names and suffixes, each with the number the caller gave it.
///
/// # Examples
///
/// ```
/// use rs_proxy::{ANY_DEPTH, HostSet};
///
/// let mut set = HostSet::default();
/// set.insert("login.example", 0..=0, 1);
/// set.insert("relay.example", 1..=ANY_DEPTH, 2);
/// assert_eq!(set.find("login.example"), Some(1));
/// assert_eq!(set.find("a.b.relay.example"), Some(2));
/// assert_eq!(set.find("relay.example"), None);
/// assert_eq!(set.find("evilrelay.example"), None);
/// ```
#[derive(Debug, Clone, Default)]
pub struct HostSet {
    entries: Vec<Entry>,
    /// From the hash of a suffix to the newest entry with that hash.
    table: HashMap<u64, u32, BuildHasherDefault<Ready>>,
}

/// One suffix.
#[derive(Debug, Clone)]
struct Entry {
    suffix: Box<str>,
    labels: RangeInclusive<u8>,
    number: u32,
    /// The entry before this one with the same hash.
    next: Option<u32>,
}

impl HostSet {
    /// A set of the given patterns, numbered from 0.
    #[must_use]
    pub fn of<'a>(patterns: impl IntoIterator<Item = &'a HostPattern>) -> Self {
        let mut set = Self::default();
        for (number, pattern) in (0..).zip(patterns) {
            let labels = if pattern.is_wildcard() { 1..=ANY_DEPTH } else { 0..=0 };
            set.insert(pattern.name().as_str(), labels, number);
        }
        set
    }

    /// Adds a suffix, in lower case and without a dot in front or at the end, with the permitted number of labels
    /// before it. [`ANY_DEPTH`] as upper end means any number.
    pub fn insert(&mut self, suffix: &str, labels: RangeInclusive<u8>, number: u32) {
        let hash = suffix.bytes().rev().fold(SEED, step);
        let Ok(index) = u32::try_from(self.entries.len()) else { return };
        let next = self.table.insert(hash, index);
        self.entries.push(Entry { suffix: suffix.into(), labels, number, next });
    }

    /// The smallest number among the entries that match, if any. `host` is in lower case without a trailing dot, as
    /// [`HostName::as_str`] gives it.
    #[must_use]
    pub fn find(&self, host: &str) -> Option<u32> {
        let mut best: Option<u32> = None;
        self.visit(host, |number| best = Some(best.map_or(number, |best| best.min(number))));
        best
    }

    /// Whether any entry matches.
    #[must_use]
    pub fn contains(&self, host: &HostName) -> bool {
        self.find(host.as_str()).is_some()
    }

    /// Number of entries.
    #[must_use]
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether there is no entry.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Calls `found` with the number of each entry that matches, in no particular order.
    pub(crate) fn visit(&self, host: &str, mut found: impl FnMut(u32)) {
        let bytes = host.as_bytes();
        let mut hash = SEED;
        let mut below = host.bytes().filter(|&b| b == b'.').count() + 1;
        for at in (0..bytes.len()).rev() {
            hash = step(hash, bytes[at]);
            if at == 0 || bytes[at - 1] == b'.' {
                below -= 1;
                self.visit_suffix(hash, &host[at..], below, &mut found);
            }
        }
    }

    /// The entries of one suffix of the host that has `below` labels before it.
    fn visit_suffix(&self, hash: u64, suffix: &str, below: usize, found: &mut impl FnMut(u32)) {
        let mut next = self.table.get(&hash).copied();
        while let Some(entry) = next.and_then(|index| self.entries.get(index as usize)) {
            let below = u8::try_from(below).unwrap_or(ANY_DEPTH);
            if entry.labels.contains(&below) && &*entry.suffix == suffix {
                found(entry.number);
            }
            next = entry.next;
        }
    }
}

/// Start of the hash (FNV-1a, 64 bits).
const SEED: u64 = 0xcbf2_9ce4_8422_2325;

/// One byte more.
fn step(hash: u64, byte: u8) -> u64 {
    (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
}

/// Hands a finished hash through, spread over the upper bits too.
#[derive(Debug, Clone, Default)]
struct Ready(u64);

impl Hasher for Ready {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        self.0 = bytes.iter().copied().fold(self.0, step);
    }

    fn write_u64(&mut self, hash: u64) {
        self.0 = hash ^ (hash >> 32);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_smallest_number_wins_and_depths_count() {
        let mut set = HostSet::default();
        set.insert("s.example", 1..=ANY_DEPTH, 7);
        set.insert("a.s.example", 0..=0, 3);
        set.insert("s.example", 0..=5, 9);
        assert_eq!(set.find("a.s.example"), Some(3));
        assert_eq!(set.find("s.example"), Some(9));
        assert_eq!(set.find("1.2.3.4.5.6.s.example"), Some(7));
        assert_eq!(set.find("example"), None);
        assert_eq!(set.find(""), None);
        assert_eq!(set.len(), 3);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn agrees_with_the_patterns_one_by_one(
            patterns in proptest::collection::vec(("[ab]{1,2}(\\.[ab]{1,2}){0,3}", any::<bool>()), 0..24),
            host in "[ab]{1,2}(\\.[ab]{1,2}){0,4}",
        ) {
            let patterns: Vec<HostPattern> = patterns
                .into_iter()
                .map(|(name, star)| format!("{}{name}", if star { "*." } else { "" }).parse().unwrap())
                .collect();
            let host: HostName = host.parse().unwrap();
            let expected = patterns.iter().position(|p| p.matches_host(&host)).map(|at| at as u32);
            prop_assert_eq!(HostSet::of(&patterns).find(host.as_str()), expected);
        }
    }
}

//! Does matching hosts against a long allowlist stay cheap? 1,000 hosts against 10,000 entries: our set, a `RegexSet` of
//! the same patterns, and a plain hash set of exact names, in one run.
//!
//! `cargo bench --bench proxy_matcher` prints the times and fails when our set is less than 10 times as fast as the
//! `RegexSet`, or more than 5 times as slow as the hash set. The answers are compared before any time is counted.

use std::collections::HashSet;
use std::hint::black_box;
use std::time::{Duration, Instant};

use regex::{RegexSet, RegexSetBuilder};
use rs_proxy::{HostName, HostPattern, HostSet};

const ENTRIES: usize = 10_000;
const HOSTS: usize = 1_000;
const ROUNDS: usize = 7;
/// Times as fast as the `RegexSet`, at least.
const FASTER_THAN_REGEX_MIN: f64 = 10.0;
/// Times as slow as the hash set, at most.
const SLOWER_THAN_HASH_MAX: f64 = 5.0;

fn main() {
    let patterns: Vec<HostPattern> = (0..ENTRIES).map(|n| parse(&entry(n))).collect();
    let hosts: Vec<HostName> = (0..HOSTS).map(|n| parse(&host(n))).collect();
    let exact: Vec<&str> = hosts.iter().step_by(2).map(HostName::as_str).collect();

    let ours = HostSet::of(&patterns);
    let regexes = RegexSet::new(patterns.iter().map(regex_of)).unwrap_or_else(|error| panic!("{error}"));
    let large = large_regex_set(&patterns);
    let names: HashSet<&str> = patterns.iter().map(|p| p.name().as_str()).chain(exact).collect();

    for host in &hosts {
        assert_eq!(ours.contains(host), regexes.is_match(host.as_str()), "{host}");
    }
    let found = hosts.iter().filter(|host| ours.contains(host)).count();
    assert!(found > HOSTS / 4 && found < HOSTS, "hits and misses: {found}");

    let set = best(|| hosts.iter().filter(|host| ours.contains(black_box(host))).count());
    let hash = best(|| hosts.iter().filter(|host| names.contains(black_box(host.as_str()))).count());
    let first = once(|| hosts.iter().filter(|host| large.is_match(black_box(host.as_str()))).count());
    let warm = best(|| hosts.iter().filter(|host| large.is_match(black_box(host.as_str()))).count());
    let regex = best(|| hosts.iter().filter(|host| regexes.is_match(black_box(host.as_str()))).count());

    let each = |time: Duration| time.as_secs_f64() * 1e9 / HOSTS as f64;
    println!("{HOSTS} hosts, {ENTRIES} entries, best of {ROUNDS}; nanoseconds a host");
    println!("  HostSet   {:>10.0}", each(set));
    println!("  HashSet   {:>10.0}   exact names only", each(hash));
    println!("  RegexSet  {:>10.0}   as RegexSet::new makes it", each(regex));
    println!("  RegexSet  {:>10.0}   with 1 GiB for its automaton, first round", each(first));
    println!("  RegexSet  {:>10.0}   the same, once it has seen each of these hosts", each(warm));
    let (faster, slower) = (regex.as_secs_f64() / set.as_secs_f64(), set.as_secs_f64() / hash.as_secs_f64());
    println!("HostSet is {faster:.0} times as fast as RegexSet, {slower:.2} times the time of HashSet");
    assert!(faster >= FASTER_THAN_REGEX_MIN, "less than {FASTER_THAN_REGEX_MIN} times as fast as RegexSet");
    assert!(slower <= SLOWER_THAN_HASH_MAX, "more than {SLOWER_THAN_HASH_MAX} times as slow as HashSet");
}

/// Entries of different depth, two of three with a wildcard.
fn entry(n: usize) -> String {
    match n % 3 {
        0 => format!("*.service{n}.region{}.cloud.example", n % 40),
        1 => format!("*.tenant{n}.example"),
        _ => format!("node{n}.site{}.company.example", n % 100),
    }
}

/// Hosts of which about half are covered.
fn host(n: usize) -> String {
    let k = n * 9;
    match n % 4 {
        0 => format!("a.b{n}.service{k}.region{}.cloud.example", k % 40),
        1 => format!("x.tenant{}.example", k - k % 3 + 1),
        2 => format!("node{}.site{}.company.example", k + 2, (k + 3) % 100),
        _ => format!("evilservice{k}.region{}.cloud.example", k % 40),
    }
}

/// The patterns as one `RegexSet` that may keep a gigabyte of states, for comparison.
fn large_regex_set(patterns: &[HostPattern]) -> RegexSet {
    let built = RegexSetBuilder::new(patterns.iter().map(regex_of))
        .size_limit(1 << 30)
        .dfa_size_limit(1 << 30)
        .build();
    built.unwrap_or_else(|error| panic!("{error}"))
}

/// The pattern as a regular expression.
fn regex_of(pattern: &HostPattern) -> String {
    let name = regex::escape(pattern.name().as_str());
    if pattern.is_wildcard() { format!(r"\.{name}$") } else { format!("^{name}$") }
}

fn parse<T: std::str::FromStr<Err: std::fmt::Display>>(text: &str) -> T {
    text.parse().unwrap_or_else(|error| panic!("{text}: {error}"))
}

/// One round.
fn once(mut work: impl FnMut() -> usize) -> Duration {
    let begun = Instant::now();
    black_box(work());
    begun.elapsed()
}

/// The shortest of some rounds.
fn best(mut work: impl FnMut() -> usize) -> Duration {
    (0..ROUNDS).map(|_| once(&mut work)).min().unwrap_or_default()
}

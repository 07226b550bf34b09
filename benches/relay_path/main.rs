//! Claim: a session through the relay costs no more than through a TLS proxy in C, rendezvous included.
//!
//! ```sh
//! cargo bench -p rs-benches --bench relay_path                               # everything, some minutes
//! cargo bench -p rs-benches --bench relay_path -- --rounds 3 --mib 128
//! cargo bench -p rs-benches --bench relay_path -- --rows bulk,small,new --paths haproxy,relay
//! ```
//!
//! Whole paths between a driver and a target, each part a process of its own, all on this machine:
//!
//! | path | engineer's end | middle | node's end |
//! | --- | --- | --- | --- |
//! | `TCP` | | | |
//! | `TLS copy` | TCP to TLS, rustls | rustls and a copy loop | TLS to TCP, rustls |
//! | `haproxy` | the same | haproxy with `haproxy.cfg` | the same |
//! | `tungstenite` | `tcp_bridge` | tokio-tungstenite on both legs | `tcp_bridge` |
//! | `relay` | `tcp_bridge` | the relay of this project | `tcp_bridge` |
//!
//! All encrypted legs are TLS 1.3 with `TLS_AES_256_GCM_SHA384`, X25519, and one ECDSA P-256 certificate; all resume sessions.
//! Every bulk byte is compared. The paths take turns within each round; shown are medians over the rounds, and ratios of
//! figures of the same round with their least and greatest. `one core` means that every process of the path, the driver and
//! the target run on one processor.
//!
//! Over hops of 40 ms, one on each side of the middle, the protocol cannot do with less than 8 round trips when nothing is held
//! ready: TCP, TLS and the request of the sender, which waits; the offer to the listener; TCP, TLS and the request of the
//! rendezvous; then the answers and the bytes. A TLS proxy needs 6, as its two legs are opened without asking back.
//!
//! On a machine that has other work to do run it with `chrt -r 1`: all parts inherit that, and nobody else's work counts.
//!
//! An idle listener of `haproxy` is a quiet TLS connection through it, both legs: it knows no listeners.
//!
//! # Results
//!
//! `chrt -r 1 cargo bench -p rs-benches --bench relay_path -- --rounds 3 --mib 256` on a virtual machine with 2 processors that
//! other builds kept busy (load 16), Linux 6.18, haproxy 2.6.12 with OpenSSL 3.0; ratio to haproxy with its least and greatest:
//!
//! | | haproxy | tungstenite | relay | relay/haproxy | relay/tungstenite |
//! | --- | ---: | ---: | ---: | ---: | ---: |
//! | bulk, 1 stream, MB/s | 861 | 998 | 1048 | 1.21 (1.20-1.23) | 1.05 |
//! | bulk, 8 streams, MB/s | 739 | 942 | 990 | 1.33 (1.24-1.34) | 1.05 |
//! | CPU s/GiB of the middle, 1 stream | 1.16 | 0.75 | 0.64 | 0.55 (0.52-0.55) | 0.85 |
//! | CPU s/GiB of the middle, 8 streams | 1.17 | 0.83 | 0.63 | 0.54 (0.53-0.55) | 0.77 |
//! | 128 bytes, one core, p50, us | 70 | 68 | 67 | 0.96 (0.93-0.97) | 0.99 |
//! | 128 bytes, p50, us | 189 | 187 | 187 | 1.01 (0.97-1.01) | 1.01 |
//! | 128 bytes, p99, us | 304 | 294 | 292 | 0.96 (0.88-1.08) | 0.97 |
//! | first byte of a new session, p50, us | 1712 | 1567 | 1626 | 0.97 (0.94-0.98) | 1.05 |
//! | the same over hops of 40 ms, round trips | 6.10 | 8.11 | 8.12 | 1.33 | 1.00 |
//! | new sessions per second, 8 at once | 1285 | 1359 | 1424 | 1.10 (1.08-1.12) | 1.05 |
//! | KiB per idle listener, whole process, 1,000 | 49 | 140 | 17 | 0.34 | 0.12 |
//! | KiB per idle listener, whole process, 2,000 | 48 | 139 | 16 | 0.34 | 0.12 |
//! | CPU at rest, 2,000 listeners, % of a core | 0.11 | 0.24 | 0.16 | 1.43 | 0.66 |
//!
//! The first byte of a new session is where haproxy is met and not beaten: other runs gave 1.00 to 1.04 of its time. There the
//! relay takes 1.03 to 1.07 of the tungstenite relay's time, which checks no token. The relay's profile of new sessions is flat:
//! half is TLS (SHA-384 of the key schedule 9 %, X25519 8 %), 40 % the kernel. What would help: the node's end opening its
//! connection to the target while that to the relay is opened, and fewer tasks between the two handshakes.

mod delay;
mod measure;
mod paths;
mod process;
mod roles;
mod tungstenite;

use std::collections::BTreeMap;
use std::process::{Command, Stdio};
use std::time::Duration;

use measure::{quantile, spread};
use paths::{Ground, Kind, Way};
use process::pin;

type Outcome<T> = Result<T, Box<dyn std::error::Error + Send + Sync>>;

/// Bytes copied at once by the ends and the driver.
const CHUNK_BYTES: usize = 64 * 1024;

/// Period of the bytes that are sent.
const PERIOD: usize = 251;

/// Names in the directory that all processes share.
mod files {
    pub(crate) const AUTHORITY: &str = "authority.pem";
    pub(crate) const CHAIN: &str = "chain.pem";
    pub(crate) const KEY: &str = "key.pem";
    pub(crate) const BOTH: &str = "chain-and-key.pem";
    pub(crate) const SECRET: &str = "connection-string";
    pub(crate) const NAMESPACES: &str = "relay.toml";
}

/// The bytes that are sent, long enough to begin anywhere in a period.
fn pattern() -> Vec<u8> {
    (0..CHUNK_BYTES + PERIOD).map(|index| (index % PERIOD) as u8).collect()
}

fn main() -> Outcome<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if arguments.first().is_some_and(|first| first == "--role") {
        return roles::run(&arguments[1..]);
    }
    let options = Options::parse(&arguments)?;
    println!("{} rounds, {} MiB per bulk row", options.rounds, options.mib);
    println!("processors: {}; load before: {}", std::thread::available_parallelism()?, load());
    let ground = Ground::new()?;
    let mut table = Table::default();
    if options.has("bulk") || options.has("small") || options.has("new") {
        traffic(&ground, &options, &mut table)?;
    }
    if options.has("idle") {
        idle(&ground, &options, &mut table)?;
    }
    if options.has("far") {
        far(&ground, &options, &mut table)?;
    }
    table.print(&options.kinds);
    println!("load after: {}", load());
    Ok(())
}

struct Options {
    rounds: usize,
    mib: usize,
    rows: Option<String>,
    kinds: Vec<Kind>,
}

impl Options {
    fn parse(arguments: &[String]) -> Outcome<Self> {
        let mut options = Self { rounds: 5, mib: 512, rows: None, kinds: Kind::ALL.to_vec() };
        let mut arguments = arguments.iter().filter(|argument| *argument != "--bench");
        while let Some(argument) = arguments.next() {
            let value = arguments.next().ok_or("an option needs a value")?;
            match argument.as_str() {
                "--rounds" => options.rounds = value.parse::<usize>()?.max(1),
                "--mib" => options.mib = value.parse::<usize>()?.max(8),
                "--rows" => options.rows = Some(value.clone()),
                "--paths" => options.kinds.retain(|kind| value.split(',').any(|name| name == kind.name())),
                _ => return Err("only --rounds, --mib, --rows and --paths are known".into()),
            }
        }
        let haproxy = Command::new("haproxy").arg("-v").stdout(Stdio::null()).status();
        if options.kinds.contains(&Kind::Haproxy) && haproxy.is_err() {
            println!("haproxy is not installed (Debian: apt-get install haproxy): left out");
            options.kinds.retain(|kind| *kind != Kind::Haproxy);
        }
        Ok(options)
    }

    fn has(&self, rows: &str) -> bool {
        self.rows.as_ref().is_none_or(|chosen| chosen.split(',').any(|name| name == rows))
    }
}

fn load() -> String {
    let text = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
    text.split(' ').take(3).collect::<Vec<_>>().join(" ")
}

/// All rows that move something.
fn traffic(ground: &Ground, options: &Options, table: &mut Table) -> Outcome<()> {
    let (target, port) = ground.target()?;
    let paths: Vec<_> =
        options.kinds.iter().map(|kind| ground.path(*kind, port, Way::Near)).collect::<Outcome<_>>()?;
    let bytes = options.mib * 1024 * 1024;
    for path in &paths {
        measure::bulk(path, 2, bytes.min(32 << 20))?;
        measure::first_bytes(path.port, 20)?;
    }
    for _ in 0..options.rounds {
        for path in &paths {
            let mut add = |row, value| table.add(row, path.kind, value);
            if options.has("bulk") {
                let one = measure::bulk(path, 1, bytes)?;
                add(Row::BulkOne, one.rate);
                add(Row::CostOne, one.middle);
                add(Row::WholeOne, one.whole);
                let eight = measure::bulk(path, 8, bytes)?;
                add(Row::BulkEight, eight.rate);
                add(Row::CostEight, eight.middle);
                add(Row::WholeEight, eight.whole);
            }
            if options.has("small") {
                let times = measure::round_trips(path.port, 4000)?;
                add(Row::Small, quantile(&times, 0.5));
                add(Row::SmallTail, quantile(&times, 0.99));
                let all: Vec<u32> = path.processes().chain([std::process::id(), target.id()]).collect();
                all.iter().try_for_each(|id| pin(*id, "0"))?;
                let times = measure::round_trips(path.port, 4000);
                let last = std::thread::available_parallelism()?.get().max(2) - 1;
                all.iter().try_for_each(|id| pin(*id, &format!("0-{last}")))?;
                let times = times?;
                add(Row::SmallOneCore, quantile(&times, 0.5));
                add(Row::SmallOneCoreTail, quantile(&times, 0.99));
            }
            if options.has("new") {
                let times = measure::first_bytes(path.port, 200)?;
                add(Row::FirstByte, quantile(&times, 0.5));
                add(Row::Sessions, measure::sessions(path.port, 8, Duration::from_secs(2))?);
            }
        }
    }
    Ok(())
}

/// New sessions whose ends are far away from the middle.
fn far(ground: &Ground, options: &Options, table: &mut Table) -> Outcome<()> {
    let (_target, port) = ground.target()?;
    for kind in options.kinds.iter().filter(|kind| **kind != Kind::Tcp) {
        let path = ground.path(*kind, port, Way::Far)?;
        measure::first_bytes(path.port, 3)?;
        let times = measure::first_bytes(path.port, 21)?;
        let one = delay::ROUND_TRIP.as_secs_f64() * 1e6;
        table.add(Row::FirstByteFar, *kind, quantile(&times, 0.5) / one);
    }
    Ok(())
}

/// What quiet listeners cost.
fn idle(ground: &Ground, options: &Options, table: &mut Table) -> Outcome<()> {
    let (_target, target) = ground.target()?;
    let quiet = [Kind::Haproxy, Kind::Tungstenite, Kind::Relay];
    for kind in quiet.into_iter().filter(|kind| options.kinds.contains(kind)) {
        let (_far, far) = ground.far_end(target)?;
        let (middle, port) = ground.middle(kind, far)?;
        let mut clients = Vec::new();
        for (count, row, own) in [
            (1000, Row::IdleThousand, Row::IdleThousandOwn),
            (2000, Row::IdleTwoThousand, Row::IdleTwoThousandOwn),
        ] {
            let empty = if clients.is_empty() { middle.anonymous_kib()? } else { table.empty };
            table.empty = empty;
            clients.push(ground.idle(kind, port, &format!("group-{count}"), 1000)?);
            // What the handshakes took is given back before the memory of quiet listeners is read.
            std::thread::sleep(Duration::from_secs(2));
            let used = middle.anonymous_kib()?;
            table.add(row, kind, used / f64::from(count));
            table.add(own, kind, (used - empty) / f64::from(count));
        }
        let before = middle.cpu()?;
        let time = Duration::from_secs(20);
        // The stretch over which rest is measured.
        std::thread::sleep(time);
        table.add(Row::Rest, kind, (middle.cpu()? - before).as_secs_f64() / time.as_secs_f64() * 100.0);
    }
    Ok(())
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Row {
    BulkOne,
    BulkEight,
    CostOne,
    CostEight,
    WholeOne,
    WholeEight,
    SmallOneCore,
    SmallOneCoreTail,
    Small,
    SmallTail,
    FirstByte,
    FirstByteFar,
    Sessions,
    IdleThousand,
    IdleThousandOwn,
    IdleTwoThousand,
    IdleTwoThousandOwn,
    Rest,
}

impl Row {
    fn title(self) -> &'static str {
        match self {
            Self::BulkOne => "bulk, 1 stream, MB/s",
            Self::BulkEight => "bulk, 8 streams, MB/s",
            Self::CostOne => "CPU s/GiB of the middle, 1 stream",
            Self::CostEight => "CPU s/GiB of the middle, 8 streams",
            Self::WholeOne => "CPU s/GiB of middle and ends, 1 stream",
            Self::WholeEight => "CPU s/GiB of middle and ends, 8 streams",
            Self::SmallOneCore => "128 bytes there and back, one core, p50, us",
            Self::SmallOneCoreTail => "128 bytes there and back, one core, p99, us",
            Self::Small => "128 bytes there and back, p50, us",
            Self::SmallTail => "128 bytes there and back, p99, us",
            Self::FirstByte => "first byte of a new session, p50, us",
            Self::FirstByteFar => "the same over hops of 40 ms, in round trips",
            Self::Sessions => "new sessions per second, 8 at once",
            Self::IdleThousand => "KiB per idle listener, 1,000, whole process",
            Self::IdleThousandOwn => "KiB per idle listener, 1,000, growth",
            Self::IdleTwoThousand => "KiB per idle listener, 2,000, whole process",
            Self::IdleTwoThousandOwn => "KiB per idle listener, 2,000, growth",
            Self::Rest => "CPU at rest with 2,000 listeners, % of a core",
        }
    }
}

#[derive(Default)]
struct Table {
    values: BTreeMap<Row, Vec<(Kind, f64)>>,
    /// Memory of the middle before anybody came, in KiB.
    empty: f64,
}

impl Table {
    fn add(&mut self, row: Row, kind: Kind, value: f64) {
        self.values.entry(row).or_default().push((kind, value));
    }

    fn of(&self, row: Row, kind: Kind) -> Vec<f64> {
        let values = self.values.get(&row).into_iter().flatten();
        values.filter(|(of, _)| *of == kind).map(|(_, value)| *value).collect()
    }

    /// Ratios of the relay's figures to another's, of the same rounds.
    fn ratio(&self, row: Row, other: Kind) -> String {
        let (ours, theirs) = (self.of(row, Kind::Relay), self.of(row, other));
        let ratios: Vec<f64> = ours.iter().zip(&theirs).map(|(ours, theirs)| ours / theirs).collect();
        if ratios.is_empty() || !ratios.iter().all(|ratio| ratio.is_finite()) {
            return "-".to_owned();
        }
        let (middle, least, greatest) = spread(ratios);
        format!("{middle:.2} ({least:.2}-{greatest:.2})")
    }

    fn print(&self, kinds: &[Kind]) {
        let names: Vec<String> = kinds.iter().map(|kind| format!("{:>11}", kind.name())).collect();
        println!(
            "| {:44} | {} | {:>18} | {:>18} |",
            "",
            names.join(" | "),
            "relay/haproxy",
            "relay/tungstenite"
        );
        println!("| --- |{}", " ---: |".repeat(kinds.len() + 2));
        for row in self.values.keys() {
            let cells: Vec<String> = kinds.iter().map(|kind| cell(self.of(*row, *kind))).collect();
            let (haproxy, other) = (self.ratio(*row, Kind::Haproxy), self.ratio(*row, Kind::Tungstenite));
            println!("| {:44} | {} | {haproxy:>18} | {other:>18} |", row.title(), cells.join(" | "));
        }
    }
}

fn cell(values: Vec<f64>) -> String {
    if values.is_empty() {
        return format!("{:>11}", "-");
    }
    let (middle, ..) = spread(values);
    if middle < 10.0 { format!("{middle:>11.2}") } else { format!("{middle:>11.0}") }
}

//! What comes before what, as the kernel saw it: a trace of the system calls of the program is read and checked.
//!
//! * Output leaves only when it is durable: each message to the engineer is as long as the oldest record that was synced
//!   and not sent, and what the encryption adds. A message for which there is no such record left too early.
//! * An operation starts only when its request is durable: the processes of operations are never ahead of the requests.
//!
//! A write may hold several records, which one sync makes durable. Where each ends is read from the record itself.

use std::collections::{BTreeMap, VecDeque};
use std::path::Path;
use std::process::Command;

use rs_cli::state::Role;
use rs_session::record::{FILE_HEADER, Frame, Kind, SEAL_BYTES};
use rustix::process::{Pid, Signal, kill_process};

use crate::kill9::{short_lines, trials};
use crate::power_cut::shim;
use crate::records;
use crate::site::{Site, session_of};

/// Events when `TRIALS` does not say otherwise.
const EVENTS: usize = 500;
/// Processes that one operation is: its supervisor and its worker.
const PROCESSES: usize = 2;
/// What the encryption inside and outside and the frames of relay and protocol add to a record.
const AROUND_A_RECORD: std::ops::RangeInclusive<usize> = 40..=90;
/// The greeting, which is no record, comes in at most so many pieces of 16 KiB: it lists what the level permits.
const WELCOME_MAX: usize = 8;
/// Shorter messages are not records: a record has a signature and a skeleton.
const MESSAGE_MIN: usize = 250;

/// One record as it lies in the file.
#[derive(Debug, Clone, Copy)]
struct OnDisk {
    bytes: usize,
    is_request: bool,
}

/// A system call of interest, when it took effect: a write or a start when it is made, a sync when it has returned.
#[derive(Debug, PartialEq, Eq)]
enum Call {
    Written { file: String, bytes: usize },
    Synced { file: String },
    Sent { socket: String, bytes: usize },
    Started,
}

/// Reads a trace as `strace -f -yy -s 64` writes it.
fn calls(trace: &str) -> Vec<Call> {
    let mut waiting: BTreeMap<&str, &str> = BTreeMap::new();
    let mut calls = Vec::new();
    for line in trace.lines() {
        let Some((process, call)) = line.split_once(' ') else { continue };
        let call = call.trim_start();
        if let Some(rest) = call.strip_prefix("<... ") {
            // It returns: what it was stands in the line that it did not finish.
            let begun = waiting.remove(process).unwrap_or_default();
            if rest.starts_with("fdatasync resumed") && rest.ends_with("= 0") {
                calls.extend(file(begun).map(|file| Call::Synced { file }));
            }
            continue;
        }
        if call.ends_with("<unfinished ...>") {
            waiting.insert(process, call);
        }
        calls.extend(read(call));
    }
    calls
}

fn read(call: &str) -> Option<Call> {
    let name = call.split_once('(')?.0;
    match name {
        "write" => Some(Call::Written { file: file(call)?, bytes: length(call)? }),
        "fdatasync" if call.ends_with("= 0") => Some(Call::Synced { file: file(call)? }),
        "sendto" | "writev" | "sendmsg" => Some(Call::Sent { socket: socket(call)?, bytes: length(call)? }),
        "execve" if call.contains("\"operation-worker\"") => Some(Call::Started),
        _ => None,
    }
}

/// The record file that a call is about.
fn file(call: &str) -> Option<String> {
    let path = call.split_once('<')?.1.split_once('>')?.0;
    path.ends_with(".record").then(|| path.to_owned())
}

fn socket(call: &str) -> Option<String> {
    let socket = call.split_once('<')?.1.split_once(">, ")?.0;
    socket.starts_with("TCP").then(|| socket.to_owned())
}

/// The length that a call was given, behind its bytes.
fn length(call: &str) -> Option<usize> {
    let behind = call.rsplit_once('"')?.1.trim_start_matches("...").trim_start_matches(", ");
    behind.split(|c: char| !c.is_ascii_digit()).next()?.parse().ok()
}

/// The records of a file, in their order.
fn on_disk(file: &Path) -> Vec<OnDisk> {
    let frames = records::stored(file);
    let one = |frame: &Frame| OnDisk {
        bytes: frame.encode().len(),
        is_request: frame.skeleton().kind == Kind::Request,
    };
    frames.iter().map(one).collect()
}

/// What a trace shows.
#[derive(Debug, Default)]
struct Order {
    records: usize,
    sent: usize,
    started: usize,
    /// What was too early, or never came.
    faults: Vec<String>,
}

/// The socket of the session: the one on which most is sent.
fn busiest(calls: &[Call]) -> Option<&str> {
    let mut sent: BTreeMap<&str, usize> = BTreeMap::new();
    for call in calls {
        if let Call::Sent { socket, bytes } = call
            && *bytes >= MESSAGE_MIN
        {
            *sent.entry(socket).or_default() += 1;
        }
    }
    sent.into_iter().max_by_key(|(_, count)| *count).map(|(socket, _)| socket)
}

/// Checks the trace of one session, whose record has these `records`.
fn order(calls: &[Call], records: &[OnDisk]) -> Order {
    let mut order = Order::default();
    let (mut written, mut synced, mut end) = (0, 0, FILE_HEADER.len());
    let mut records = records.iter().peekable();
    let mut durable: VecDeque<usize> = VecDeque::new();
    let line = busiest(calls);
    let (mut requests, mut processes, mut welcome) = (0, 0, 0);
    for (at, call) in calls.iter().enumerate() {
        match call {
            Call::Written { bytes, .. } => written += bytes,
            Call::Synced { .. } => {
                synced = written;
                while let Some(record) = records.next_if(|record| end + record.bytes <= synced) {
                    end += record.bytes;
                    order.records += 1;
                    requests += usize::from(record.is_request);
                    // On disk its content is sealed; what leaves is shorter by the seal.
                    durable.push_back(record.bytes.saturating_sub(SEAL_BYTES));
                }
            }
            Call::Started => {
                processes += 1;
                order.started = processes / PROCESSES;
                if processes.div_ceil(PROCESSES) > requests {
                    order
                        .faults
                        .push(format!("call {at}: an operation starts before its request is durable"));
                }
            }
            Call::Sent { bytes, .. } if *bytes < MESSAGE_MIN => {}
            Call::Sent { socket, bytes } => {
                let fits = durable.front().is_some_and(|record| {
                    bytes.checked_sub(*record).is_some_and(|more| AROUND_A_RECORD.contains(&more))
                });
                if fits {
                    durable.pop_front();
                    order.sent += 1;
                } else if order.sent == 0 && welcome < WELCOME_MAX {
                    welcome += usize::from(line == Some(socket) && written > FILE_HEADER.len());
                } else if line == Some(socket) {
                    order
                        .faults
                        .push(format!("call {at}: {bytes} bytes leave, and no durable record is so long"));
                }
            }
        }
    }
    if synced != end || records.next().is_some() {
        order.faults.push(format!("{synced} bytes were synced, and the records end at {end} or later"));
    }
    if !durable.is_empty() {
        order.faults.push(format!("{} records were not sent when it was their turn", durable.len()));
    }
    order
}

/// Runs a session with `events` lines under strace; `late` puts every sync behind what waits for it.
fn traced(events: usize, late: bool) -> Option<Order> {
    if Command::new("strace").arg("-V").output().is_err() {
        assert!(std::env::var_os("REQUIRE_STRACE").is_none(), "strace must be here");
        eprintln!("skipped: strace is not installed");
        return None;
    }
    let mut site = Site::ready_without_agent();
    // A program types faster than a person, and would be sent away for the number of its lines.
    let policy = r#"{ "limits": { "session": { "linesPerMinute": 60000 } } }"#;
    std::fs::write(site.role(Role::Node).join("policy.json"), policy).expect("own folder");
    let trace = site.machine.file("trace");
    let agent = site.machine.command(["agent", "run"]);
    let mut strace = Command::new("strace");
    strace.args(["-f", "-yy", "-s", "64", "-e", "trace=write,writev,sendto,sendmsg,fdatasync,execve", "-o"]);
    strace.arg(&trace).arg(agent.get_program()).args(agent.get_args());
    for (name, value) in agent.get_envs() {
        match value {
            Some(value) => strace.env(name, value),
            None => strace.env_remove(name),
        };
    }
    if late {
        strace.env("POWER_CUT_LATE_SYNC", "1").env("LD_PRELOAD", shim());
    }
    let agent = site.start("agent", strace);
    agent.says("The agent of this node runs");
    site.agent = Some(agent);
    site.connected();
    let pid = site.status().pid;
    let mut engineer = site.engineer(short_lines().cycle().take(events));
    let session = session_of(&engineer);
    let shown = crate::daemon::until_for(std::time::Duration::from_secs(600), "the engineer is done", || {
        engineer
            .has_ended()
            .then(|| std::fs::read(site.received(session)).expect("the engineer's copy").len())
    });
    assert!(shown > events * 100, "{shown}");
    let agent = i32::try_from(pid).ok().and_then(Pid::from_raw).expect("a process");
    kill_process(agent, Signal::TERM).expect("own process");
    site.agent().exit_code();
    Some(order(&calls(&read_trace(&trace)), &on_disk(&site.record(session))))
}

fn read_trace(path: &Path) -> String {
    String::from_utf8_lossy(&std::fs::read(path).expect("a trace")).into_owned()
}

#[test]
fn sec24_requests_and_output_are_durable_before_they_act_or_leave() {
    let events = trials(EVENTS);
    let Some(order) = traced(events, false) else { return };
    println!(
        "trials={} lost={}: {} records, {} sent, {} operations, in this order: durable, then out",
        order.records,
        order.faults.len(),
        order.records,
        order.sent,
        order.started
    );
    assert_eq!(order.faults, Vec::<String>::new());
    assert!(order.records >= events && order.sent == order.records && order.started >= 10, "{order:?}");
}

/// The same program, with a library in front of it that says "synced" first and syncs then.
#[test]
fn sec24_control_a_sync_that_comes_late_is_seen() {
    let Some(order) = traced(60, true) else { return };
    assert!(order.faults.len() > 10, "{order:?}");
    assert!(order.faults.iter().any(|fault| fault.contains("leave")), "{order:?}");
    assert!(order.faults.iter().any(|fault| fault.contains("starts before")), "{order:?}");
}

mod reading {
    use super::*;

    const FILE: &str = "/s/node/sessions/x.record";

    fn trace(lines: &[&str]) -> Order {
        let one = |bytes, is_request| OnDisk { bytes, is_request };
        order(
            &calls(&lines.join("\n").replace("FILE", FILE)),
            &[one(1500, false), one(600, true), one(400, false)],
        )
    }

    const START: &[&str] = &[
        r#"9  write(7<FILE>, "RSRECORD\0\1\0\0\0\0\0\0", 16) = 16"#,
        r#"9  write(7<FILE>, "\0\0\5${\"sequence\":0,\"kind\":\"start\",\"wallTime\":\"2026-11-28T"..., 1500) = 1500"#,
        "9  fdatasync(7<FILE> <unfinished ...>",
        r#"8  sendto(6<TCP:[1->2]>, "\27", 30, 0, NULL, 0) = 30"#,
        "9  <... fdatasync resumed>) = 0",
        r#"8  sendto(6<TCP:[1->2]>, "\27\3\3"..., 9000, MSG_NOSIGNAL, NULL, 0) = 9000"#,
        r#"8  sendto(6<TCP:[1->2]>, "\27\3\3"..., 1521, MSG_NOSIGNAL, NULL, 0) = 1521"#,
        r#"9  write(7<FILE>, "\0{\"sequence\":1,\"kind\":\"request\",\"wallTime\":\"2026-11-2"..., 1000) = 1000"#,
    ];
    const SYNC: &str = "9  fdatasync(7<FILE>) = 0";
    const SEND: &str = r#"8  sendto(6<TCP:[1->2]>, "\27\3\3"..., 621, MSG_NOSIGNAL <unfinished ...>"#;
    const SEND_NEXT: &str = r#"8  sendto(6<TCP:[1->2]>, "\27\3\3"..., 421, MSG_NOSIGNAL, NULL, 0) = 421"#;
    const EXEC: &str = r#"5  execve("/p", ["/p", "operation-worker"], 0x1 /* 3 vars */) = 0"#;

    #[test]
    fn the_right_order_passes() {
        let order = trace(&[START, &[SYNC, SEND, EXEC, EXEC, SEND_NEXT]].concat());
        assert!(order.faults.is_empty(), "{order:?}");
        assert_eq!((order.records, order.sent, order.started), (3, 3, 1));
    }

    #[test]
    fn control_each_wrong_order_is_found() {
        for wrong in [
            &[SEND, SYNC, EXEC, EXEC, SEND_NEXT][..],
            &[EXEC, SYNC, SEND, EXEC, SEND_NEXT][..],
            &[SYNC, SEND, EXEC, EXEC, EXEC, SEND_NEXT][..],
            &[SYNC, EXEC, EXEC, SEND_NEXT][..],
            &[SYNC, SEND, SEND, SEND_NEXT][..],
            &[SYNC, SEND_NEXT, SEND][..],
            &[SYNC, SEND][..],
        ] {
            let order = trace(&[START, wrong].concat());
            assert!(!order.faults.is_empty(), "{wrong:?}: {order:?}");
        }
    }
}

//! The owner's limits: reaching one is a record, and a clear message to the engineer; and endless asking leaves memory flat.

use rs_cli::state::Role;
use rs_session::operations::wire::Status;
use rs_session::record::{Content, FinishedContent, OutputContent, OutputData};

use crate::daemon::until_true;
use crate::machine::Run;
use crate::records;
use crate::site::{ENDLESS, Site};

/// A line that prints some 50 KB, without touching anything of the machine.
const LONG: &str = "Get-Command | Format-List *";
/// What the agent's memory may grow by while it carries [`MUCH_LINES`] long outputs, in bytes: less than half of what
/// they are, so that an agent which keeps them is found.
const GROWTH_MAX: u64 = 4 << 20;
/// Lines before, by which the agent has its buffers.
const WARM_LINES: usize = 20;
/// See [`GROWTH_MAX`].
const MUCH_LINES: usize = 200;

/// A node with these limits, an engineer assigned and consent given.
fn site_with(limits: &str) -> Site {
    let mut site = Site::empty();
    site.start_relay();
    site.papers();
    let policy = format!(r#"{{ "limits": {limits} }}"#);
    std::fs::write(site.role(Role::Node).join("policy.json"), policy).expect("own folder");
    site.machine.enable("Diagnostics");
    site.start_agent();
    site.connected();
    site
}

fn connect(site: &Site, lines: &[&str]) -> Run {
    let args = lines.iter().flat_map(|line| ["--command", line]);
    site.machine.run_args(["connect"].into_iter().chain(args))
}

/// The only session's contents.
fn contents(site: &Site) -> Vec<Content> {
    let files: Vec<_> = site
        .records()
        .into_iter()
        .filter(|path| path.extension().is_some_and(|one| one == "record"))
        .collect();
    assert_eq!(files.len(), 1, "one session: {files:?}");
    records::frames(&files[0]).iter().filter_map(records::content).collect()
}

fn finished(contents: &[Content]) -> Vec<&FinishedContent> {
    contents
        .iter()
        .filter_map(|content| match content {
            Content::Finished(finished) => Some(finished),
            _ => None,
        })
        .collect()
}

/// Bytes of output on record.
fn printed(contents: &[Content]) -> usize {
    let bytes = contents.iter().map(|content| match content {
        Content::Output(OutputContent { data: OutputData::Text(text), .. }) => text.len(),
        _ => 0,
    });
    bytes.sum()
}

fn refusals(contents: &[Content], code: &str) -> usize {
    contents
        .iter()
        .filter(|content| matches!(content, Content::Refusal(refusal) if refusal.code == code))
        .count()
}

#[test]
fn a18_output_past_its_limit_is_cut_and_on_record() {
    let site = site_with(r#"{ "operation": { "outputBytes": 16384 } }"#);
    let run = connect(&site, &[LONG]);
    let said = format!("{}{}", run.stdout, run.stderr);
    assert!(said.contains("the output was cut at 16384 bytes; ask for less"), "{}", run.stderr);
    let contents = contents(&site);
    assert_eq!(printed(&contents), 16_384);
    assert_eq!(finished(&contents)[0].status, Status::OutputLimit);
}

#[test]
fn sec46_endless_output_is_cut_at_its_limit() {
    let site = site_with(r#"{ "operation": { "outputBytes": 200 } }"#);
    let run = connect(&site, &[ENDLESS]);
    let said = format!("{}{}", run.stdout, run.stderr);
    assert!(said.contains("the output was cut at 200 bytes; ask for less"), "{said}");
    let contents = contents(&site);
    assert_eq!(finished(&contents)[0].status, Status::OutputLimit);
    assert_eq!(site.workers(), [0; 0], "nobody goes on");
}

/// The control: without the limit it goes past that, and on.
#[test]
fn sec46_control_without_the_limit_endless_output_goes_on() {
    let site = site_with("{}");
    let (engineer, _) = site.busy_engineer();
    until_true("more than the limit is printed", || engineer.stdout().len() > 200);
    assert!(!site.workers().is_empty(), "and it still runs");
}

#[test]
fn a18_output_past_the_sessions_limit_is_cut_then_refused_and_on_record() {
    let site = site_with(r#"{ "session": { "outputBytes": 65536 } }"#);
    let run = connect(&site, &[LONG, LONG, "Get-Date"]);
    let told = "this session has had its 65536 bytes of output; open another";
    let said = format!("{}{}", run.stdout, run.stderr);
    assert!(said.contains(told), "{}", run.stderr);
    let contents = contents(&site);
    let ends: Vec<_> = finished(&contents).iter().map(|one| one.status).collect();
    assert_eq!(ends, [Status::Done, Status::OutputLimit]);
    assert!(finished(&contents)[1].message.contains(told), "{:?}", finished(&contents)[1]);
    assert_eq!(refusals(&contents, "limit-reached"), 1, "a line that would print more does not run");
}

/// At the limit nothing is held; at half of it the second half waits for its second.
#[test]
fn sec46_output_past_its_rate_is_held_to_it_and_on_record() {
    let of = |limits: &str| {
        let site = site_with(limits);
        let run = connect(&site, &[LONG]);
        let contents = contents(&site);
        let finished = finished(&contents)[0];
        assert_eq!(finished.status, Status::Done);
        (printed(&contents), finished.message.clone(), format!("{}{}", run.stdout, run.stderr))
    };
    let bytes = of("{}").0;
    let at = |rate: usize| of(&format!(r#"{{ "operation": {{ "outputBytesPerSecond": {rate} }} }}"#));
    assert_eq!(at(bytes).1, "");
    let (held, message, said) = at(bytes / 2);
    let told = format!("the output was held to {} bytes a second", bytes / 2);
    assert_eq!((held, &message), (bytes, &told), "whole, and on record");
    assert!(said.contains(&told), "the engineer is told");
}

#[test]
fn sec46_the_records_of_a_day_have_their_limit_for_lines_and_for_sessions() {
    /// So many long outputs are more than the smallest limit.
    const MANY: usize = 40;
    let site = site_with(r#"{ "session": { "recordBytesPerDay": 1048576 } }"#);
    let told = "the node's records have had their 1048576 bytes for today; it goes on at midnight UTC";
    let run = connect(&site, &[LONG; MANY]);
    assert!(format!("{}{}", run.stdout, run.stderr).contains(told), "{}", run.stderr);
    let contents = contents(&site);
    let (ran, refused) = (finished(&contents).len(), refusals(&contents, "limit-reached"));
    println!("{ran} lines ran, {refused} were refused");
    assert!(ran > 0 && refused > 0 && ran + refused == MANY, "{ran} ran, {refused} were refused");
    let next = connect(&site, &["Get-Date"]);
    assert_eq!(next.code, 3, "no further session: {}", next.stderr);
    assert!(next.stderr.contains(told), "{}", next.stderr);
}

/// The control: with the default limit the same line goes past that.
#[test]
fn a18_control_without_the_limit_more_is_printed() {
    let site = site_with("{}");
    let run = connect(&site, &[LONG]);
    assert!(run.stdout.len() > 2 * 16_384, "{} bytes", run.stdout.len());
    assert_eq!(finished(&contents(&site))[0].status, Status::Done);
}

#[test]
fn a18_lines_past_the_minutes_limit_are_refused_and_on_record() {
    let site = site_with(r#"{ "session": { "linesPerMinute": 3 } }"#);
    let run = connect(&site, &["Get-Date", "Get-Date", "Get-Date", "Get-Date", "Get-Date"]);
    let said = format!("{}{}", run.stdout, run.stderr);
    assert!(said.contains("more than 3 lines in a minute; wait a minute and go on"), "{said}");
    let contents = contents(&site);
    assert_eq!((finished(&contents).len(), refusals(&contents, "limit-reached")), (3, 2));
}

#[test]
fn a18_lines_past_the_sessions_limit_are_refused_and_on_record() {
    let site = site_with(r#"{ "session": { "lines": 2 } }"#);
    let run = connect(&site, &["Get-Date", "Get-Date", "Get-Date"]);
    let said = format!("{}{}", run.stdout, run.stderr);
    assert!(said.contains("this session has had its 2 lines; open another"), "{said}");
    let contents = contents(&site);
    assert_eq!((finished(&contents).len(), refusals(&contents, "limit-reached")), (2, 1));
}

#[test]
fn a18_time_past_its_limit_ends_the_operation_and_is_on_record() {
    let site = site_with(r#"{ "operation": { "seconds": 1 } }"#);
    connect(&site, &[ENDLESS]);
    let contents = contents(&site);
    let ended = finished(&contents)[0];
    assert_eq!(ended.status, Status::TimeLimit);
    assert!(!ended.message.is_empty(), "the engineer is told why");
}

#[test]
fn s16_a_session_past_their_number_is_refused_and_in_the_nodes_log() {
    let site = site_with(r#"{ "sessions": 1 }"#);
    let (_busy, _) = site.busy_engineer();
    let second = connect(&site, &["Get-Date"]);
    assert_eq!(second.code, 3, "{}", second.stderr);
    assert!(second.stderr.contains("too-many-sessions"), "{}", second.stderr);
    until_true("it is in the node's log", || {
        site.machine.run("node-log show").stdout.contains("too-many-sessions")
    });
}

/// What a process holds in memory.
fn resident_bytes(pid: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).expect("a process");
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).expect("a size");
    let kibibytes: u64 = line.split_whitespace().nth(1).and_then(|size| size.parse().ok()).expect("a number");
    kibibytes * 1024
}

#[test]
fn sec46_the_agents_memory_stays_flat_however_much_is_printed() {
    let mut site = site_with("{}");
    let agent = site.agent().pid();
    connect(&site, &vec![LONG; WARM_LINES]);
    let before = resident_bytes(agent);
    let much = connect(&site, &vec![LONG; MUCH_LINES]);
    let grown = resident_bytes(agent).saturating_sub(before);
    println!("{} bytes printed, the agent grew by {grown} bytes from {before}", much.stdout.len());
    assert!(much.stdout.len() as u64 > 2 * GROWTH_MAX, "{}", much.stderr);
    assert!(grown < GROWTH_MAX, "the agent grew by {grown} bytes");
}

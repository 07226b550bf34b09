//! The power is cut in the middle of sessions and acts of consent: what was not synced is gone, names too.
//!
//! The program runs on a disk that can lose power: `power_cut/shim.c`, preloaded, keeps a copy of what was synced, and
//! after everything has been killed the node's directory is built anew from that copy. What was not synced is gone or
//! there in part, as the seed has it.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write as _;
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;
use std::time::UNIX_EPOCH;

use rs_cli::state::Role;
use rs_consent::clock::Now;
use rs_consent::party::{Grantor, Method};
use rs_consent::{AccessLevel, ApprovalRule, Clock as _, Consent, Minutes, Scope, SystemClock, Terms};
use uuid::Uuid;

use crate::kill9::{AtWork, Moments, trials};
use crate::records;
use crate::site::Site;

/// Trials when `TRIALS` does not say otherwise.
const CUTS: usize = 12;
/// Trials of the control when `TRIALS` does not say otherwise.
const CONTROLS: usize = 5;

/// The shim, built once.
pub(crate) fn shim() -> &'static Path {
    static SHIM: OnceLock<PathBuf> = OnceLock::new();
    SHIM.get_or_init(|| {
        let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/e2e/power_cut/shim.c");
        let built =
            Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("power-cut-{}.so", std::process::id()));
        let compiler = Command::new("cc")
            .args([
                "-std=gnu11",
                "-Wall",
                "-Wextra",
                "-Werror",
                "-Wno-format-truncation",
                "-O1",
                "-shared",
                "-fPIC",
            ])
            .arg("-o")
            .args([&built, &source])
            .arg("-ldl")
            .status();
        assert!(compiler.expect("a C compiler, which the program itself needs too").success());
        built
    })
}

/// A directory on a disk that can lose power.
pub(crate) struct Powered {
    directory: PathBuf,
    shadow: PathBuf,
    ignore_sync: bool,
}

impl Powered {
    pub(crate) fn new(directory: PathBuf, shadow: PathBuf, ignore_sync: bool) -> Self {
        Self { directory, shadow, ignore_sync }
    }

    /// Takes what the directory holds now for synced.
    pub(crate) fn arm(&self) {
        let _none_yet = std::fs::remove_dir_all(&self.shadow);
        for part in ["data", "names"] {
            std::fs::create_dir_all(self.shadow.join(part)).expect("own directory");
        }
        for (name, path) in tree(&self.directory) {
            let to = self.shadow.join("names").join(&name);
            if path.is_dir() {
                std::fs::create_dir(to).expect("own directory");
            } else if path.is_file() {
                let id = id(&path);
                std::fs::write(to, &id).expect("own file");
                std::fs::copy(&path, self.shadow.join("data").join(id)).expect("own file");
            }
        }
    }

    /// Puts a program onto this disk.
    pub(crate) fn on(&self, command: &mut Command) {
        command
            .env("LD_PRELOAD", shim())
            .env("POWER_CUT_DIR", &self.directory)
            .env("POWER_CUT_SHADOW", &self.shadow);
        if self.ignore_sync {
            command.env("POWER_CUT_IGNORE_SYNC", "1");
        }
    }

    /// Builds the directory anew as a power cut would have left it. Nothing may run on it any more.
    pub(crate) fn cut(&self, moments: &mut Moments) {
        self.leave(&self.written(), |more| Torn::random(more, moments));
    }

    /// What was written, synced or not: the files by what the shim calls them.
    fn written(&self) -> BTreeMap<String, Vec<u8>> {
        let files = tree(&self.directory).into_iter().filter(|(_, path)| path.is_file());
        files.map(|(_, path)| (id(&path), std::fs::read(&path).expect("own file"))).collect()
    }

    /// Builds the directory anew from what was synced and, of what was `written` behind it, what `torn` says for its
    /// length.
    fn leave(&self, written: &BTreeMap<String, Vec<u8>>, mut torn: impl FnMut(usize) -> Torn) {
        let _not_there_yet = std::fs::remove_dir_all(&self.directory);
        let mut directory = std::fs::DirBuilder::new();
        directory.mode(0o700).create(&self.directory).expect("own directory");
        for (name, path) in tree(&self.shadow.join("names")) {
            let to = self.directory.join(&name);
            if path.is_dir() {
                directory.create(to).expect("own directory");
                continue;
            }
            // The index of the write-ahead log is memory that programs share; it means nothing after a cut.
            if name.to_string_lossy().ends_with("-shm") {
                continue;
            }
            let id = std::fs::read_to_string(&path).expect("own file");
            let synced = std::fs::read(self.shadow.join("data").join(&id)).unwrap_or_default();
            let left = left(synced, written.get(&id).map_or(&[], Vec::as_slice), &mut torn);
            let mut options = std::fs::OpenOptions::new();
            let mut file = options.write(true).create_new(true).mode(0o600).open(to).expect("own file");
            file.write_all(&left).expect("own file");
        }
    }
}

/// What a power cut leaves of what was written and not synced.
#[derive(Clone, Copy, Debug)]
enum Torn {
    /// So many bytes of its beginning.
    Beginning(usize),
    /// What comes after so many bytes, up to the end of a sector: the disk took the later sectors first.
    Behind(usize),
}

impl Torn {
    /// Of `length` bytes nothing, in half of the cases, or a random part.
    fn random(length: usize, moments: &mut Moments) -> Self {
        let at = usize::try_from(moments.number()).unwrap_or_default() % length;
        match moments.number() % 4 {
            0 | 1 => Self::Beginning(0),
            2 => Self::Beginning(at),
            _ => Self::Behind(at),
        }
    }
}

const SECTOR: usize = 512;
/// What the store writes at once.
const PAGE: usize = 4096;

/// What is left of a file: what was synced, and a part of what was written behind it.
fn left(synced: Vec<u8>, written: &[u8], torn: &mut impl FnMut(usize) -> Torn) -> Vec<u8> {
    let Some(more) = written.get(synced.len()..).filter(|more| !more.is_empty()) else { return synced };
    let mut left = more.to_vec();
    match torn(more.len()) {
        Torn::Beginning(length) => left.truncate(length),
        Torn::Behind(length) => {
            let hole = (synced.len() + length).next_multiple_of(SECTOR) - synced.len();
            left.iter_mut().take(hole).for_each(|byte| *byte = 0);
        }
    }
    [synced, left].concat()
}

/// How the shim calls a file.
fn id(path: &Path) -> String {
    let about = path.metadata().expect("own file");
    let birth =
        about.created().expect("the file system keeps it").duration_since(UNIX_EPOCH).expect("not long ago");
    format!("{}-{}-{}", about.ino(), birth.as_secs(), birth.subsec_nanos())
}

/// Everything below a directory, parents first, by its name from there.
fn tree(root: &Path) -> Vec<(PathBuf, PathBuf)> {
    let mut found = Vec::new();
    let mut folders = vec![root.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).expect("own directory").flatten() {
            let path = entry.path();
            found.push((path.strip_prefix(root).expect("below it").to_owned(), path.clone()));
            if path.is_dir() {
                folders.push(path);
            }
        }
    }
    found.sort();
    found
}

/// What the operator was told last.
#[derive(Debug, PartialEq, Eq)]
enum Told {
    Enabled(u64),
    Disabled,
}

/// One cut: two engineers at work, and the operator at it too. Returns the sessions, and what the operator was told.
fn cut_once(site: &mut Site, powered: &Powered, round: usize, moments: &mut Moments) -> (AtWork, Told) {
    powered.arm();
    site.start_agent_with(|command| powered.on(command));
    site.connected();
    let mut work = AtWork::start(site);
    // Not to wait for anything: the moment of the cut is to be a random one.
    std::thread::sleep(moments.next());
    let told = if round.is_multiple_of(4) {
        assert_eq!(operator(site, powered, &["disable"]), 0);
        Told::Disabled
    } else {
        let minutes = 60 + round as u64;
        let line = ["enable", "--agree-to-remote-support-consent", "--access-level", "Diagnostics"];
        let given = ["--expire-in-minutes".to_owned(), minutes.to_string()];
        let line: Vec<&str> = line.into_iter().chain(given.iter().map(String::as_str)).collect();
        assert_eq!(operator(site, powered, &line), 0);
        Told::Enabled(minutes)
    };
    site.agent().kill9();
    crate::daemon::until_true("no worker survives its agent", || site.workers().is_empty());
    for engineer in &mut work.engineers {
        // 0 and 3: it was told of the end that the operator made.
        engineer.exit_code();
    }
    powered.cut(moments);
    (work, told)
}

fn operator(site: &Site, powered: &Powered, line: &[&str]) -> i32 {
    operator_with(site, powered, line, &[])
}

fn operator_with(site: &Site, powered: &Powered, line: &[&str], more: &[(&str, String)]) -> i32 {
    let mut command = site.machine.command(line);
    powered.on(&mut command);
    command.envs(more.iter().map(|(name, value)| (*name, value)));
    command.output().expect("the program starts").status.code().unwrap_or(-1)
}

/// Whether the store says what the operator was told.
fn is_kept(site: &Site, told: &Told) -> bool {
    let now = SystemClock::new().now();
    let granted = site.store().grants(false, &now).ok().and_then(|grants| grants.into_iter().next());
    match (told, granted) {
        (Told::Disabled, None) => true,
        (Told::Enabled(minutes), Some(grant)) => u64::from(grant.minutes.get()) == *minutes,
        _ => false,
    }
}

/// The first record that the engineer was shown and that is not on record. What came out after a revocation was shown
/// without its content.
pub(crate) fn lost(site: &Site, session: Uuid) -> Option<usize> {
    let shown = records::frames(&site.received(session));
    let path = site.record(session);
    let kept = if path.exists() { records::frames(&path) } else { Vec::new() };
    assert!(shown.len() > 2, "{session}: the session was in the middle of its work");
    let is_kept = |at: usize| {
        kept.get(at).is_some_and(|kept| shown[at] == *kept || shown[at] == kept.clone().without_content())
    };
    (0..shown.len()).find(|at| !is_kept(*at))
}

fn site_that_can_lose_power(ignore_sync: bool) -> (Site, Powered) {
    let site = Site::ready_without_agent();
    let node = site.role(Role::Node);
    let powered = Powered::new(node, site.machine.file("shadow"), ignore_sync);
    (site, powered)
}

#[test]
fn sec25_what_was_shown_or_acknowledged_survives_a_power_cut() {
    let rounds = trials(CUTS);
    let (mut site, powered) = site_that_can_lose_power(false);
    let mut moments = Moments::new();
    let mut shown = 0;
    for round in 0..rounds {
        let (work, told) = cut_once(&mut site, &powered, round, &mut moments);
        assert!(is_kept(&site, &told), "round {round}: {told:?}");
        site.start_agent();
        for session in work.sessions {
            assert_eq!(lost(&site, session), None, "round {round}: {session}: shown and not on record");
            assert_eq!(records::ends(&site.record(session)).len(), 1, "round {round}: {session}: one end");
            let verified = site.machine.run(&format!("session verify {session}"));
            assert_eq!(verified.code, 0, "round {round}: {}{}", verified.stdout, verified.stderr);
            shown += std::fs::read(site.received(session)).expect("the engineer's copy").len();
        }
        if told == Told::Disabled {
            site.machine.enable("Diagnostics");
        }
        site.agent().kill9();
    }
    println!(
        "trials={rounds} lost=0: {rounds} power cuts, {shown} bytes shown, all on record; consent as told"
    );
}

#[test]
fn sec25_control_without_syncs_a_power_cut_loses() {
    let rounds = trials(CONTROLS);
    let (mut site, powered) = site_that_can_lose_power(true);
    let (node, kept) = (site.role(Role::Node), site.machine.file("kept"));
    copied(&node, &kept);
    let mut moments = Moments::new();
    let mut losing = 0;
    for round in 0..rounds {
        // What is left of the round before lets nobody in: log and secret of the node do not fit any more.
        copied(&kept, &node);
        let (work, told) = cut_once(&mut site, &powered, round, &mut moments);
        losing += usize::from(work.sessions.iter().any(|session| lost(&site, *session).is_some()));
        if round == 0 {
            assert!(!is_kept(&site, &told), "consent is lost too");
        }
    }
    println!("trials={rounds} lost={losing}: control without syncs");
    assert!(losing * 100 >= rounds * 99, "{losing} of {rounds} trials lost something");
}

const ENABLE_60: &[&str] = &[
    "enable",
    "--agree-to-remote-support-consent",
    "--access-level",
    "Diagnostics",
    "--expire-in-minutes",
    "60",
];
const ENABLE_90: &[&str] = &[
    "enable",
    "--agree-to-remote-support-consent",
    "--access-level",
    "Diagnostics",
    "--expire-in-minutes",
    "90",
];
const EIO: u32 = 5;
const ENOSPC: u32 = 28;
const EROFS: u32 = 30;

/// Copies a directory, so that a trial can begin where the one before began.
fn copied(from: &Path, to: &Path) {
    let _none_yet = std::fs::remove_dir_all(to);
    let mut directory = std::fs::DirBuilder::new();
    directory.mode(0o700).create(to).expect("own directory");
    for (name, path) in tree(from) {
        if path.is_dir() {
            directory.create(to.join(name)).expect("own directory");
        } else if path.is_file() {
            std::fs::copy(&path, to.join(name)).expect("own file");
        }
    }
}

/// Runs `line` from the state that `before` left, and lets each of its calls in turn be the last, or fail with `errno`.
/// Whatever comes of it, after a power cut the store holds what was there before or what was asked for, and the latter if
/// the command said so. Returns the number of calls.
fn at_each_call(before: &[&[&str]], line: &[&str], errno: Option<u32>, old: &Told, new: &Told) -> usize {
    let site = Site::in_memory();
    let (state, kept) = (site.machine.state(), site.machine.file("kept"));
    std::fs::DirBuilder::new().mode(0o700).create(&state).expect("own directory");
    for line in before {
        assert_eq!(site.machine.run_args(*line).code, 0);
    }
    copied(&state, &kept);
    let powered = Powered::new(state.clone(), site.machine.file("shadow"), false);
    let mut moments = Moments::new();
    for at in 0.. {
        copied(&kept, &state);
        powered.arm();
        let mut more = vec![("POWER_CUT_AT", at.to_string())];
        more.extend(errno.map(|code| ("POWER_CUT_AT_ERRNO", code.to_string())));
        let code = operator_with(&site, &powered, line, &more);
        powered.cut(&mut moments);
        let is_new = is_kept(&site, new);
        assert!(
            is_new || is_kept(&site, old),
            "call {at} of {line:?}, {errno:?}: neither {old:?} nor {new:?}"
        );
        assert!(is_new || code != 0, "call {at} of {line:?}, {errno:?}: acknowledged and lost");
        assert!(at < 1000, "it comes to no end");
        let undisturbed = operator_with(&site, &powered, line, &[]);
        assert_eq!(undisturbed, 0, "call {at} of {line:?}, {errno:?}: it works the next time");
        if code == 0 && is_last(&site, &powered, &kept, line, at) {
            return at;
        }
    }
    unreachable!("the loop has an end");
}

/// Whether the command makes no more than `calls` calls.
fn is_last(site: &Site, powered: &Powered, kept: &Path, line: &[&str], calls: usize) -> bool {
    copied(kept, &site.machine.state());
    powered.arm();
    operator_with(site, powered, line, &[("POWER_CUT_AT", calls.to_string())]) == 0
}

#[test]
fn c23_sec25_a_command_that_is_cut_off_at_any_call_leaves_the_old_consent_or_the_new() {
    let nothing = Told::Disabled;
    let calls = [
        at_each_call(&[], ENABLE_60, None, &nothing, &Told::Enabled(60)),
        at_each_call(&[ENABLE_60], ENABLE_90, None, &Told::Enabled(60), &Told::Enabled(90)),
        at_each_call(&[ENABLE_60], &["disable"], None, &Told::Enabled(60), &nothing),
    ];
    println!("killed at each of {calls:?} calls");
    assert!(calls.iter().all(|calls| *calls > 5), "{calls:?}");
}

/// The first consent of all, which makes the store too: killed at each of its calls in turn, and of what was not synced
/// then some sectors or pages are left, from the beginning or from the end, or an odd number of bytes.
#[test]
fn c23_sec25_the_first_consent_cut_off_anywhere_is_there_or_can_be_given_again() {
    let site = Site::in_memory();
    let state = site.machine.state();
    let powered = Powered::new(state.clone(), site.machine.file("shadow"), false);
    let (mut calls, mut aftermaths, mut held_back) = (0, BTreeSet::new(), 0);
    for at in 0.. {
        let _none_yet = std::fs::remove_dir_all(&state);
        std::fs::DirBuilder::new().mode(0o700).create(&state).expect("own directory");
        powered.arm();
        let code = operator_with(&site, &powered, ENABLE_60, &[("POWER_CUT_AT", at.to_string())]);
        let written = powered.written();
        let longest = written.values().map(Vec::len).max().unwrap_or_default();
        let near = (0..PAGE).step_by(SECTOR).chain([1, 2, 401, 511, 513, 4095, 4097]);
        let near = near.flat_map(|length| [Torn::Beginning(length), Torn::Behind(length)]);
        for torn in near.chain((PAGE..=longest).step_by(PAGE).map(Torn::Beginning)) {
            powered.leave(&written, |_| torn);
            if !aftermaths.insert(contents(&state)) {
                continue;
            }
            let what = format!("call {at}, {torn:?}");
            let store = site.store();
            let now = SystemClock::new().now();
            let facts = store.facts(&now).unwrap_or_else(|error| panic!("{what}: {error}"));
            let granted = facts.grant.map(|grant| grant.minutes.get());
            assert!(matches!(granted, None | Some(60)), "{what}: {granted:?}");
            assert!(granted.is_some() || code != 0, "{what}: acknowledged and lost");
            assert!(!facts.held || code != 0, "{what}: acknowledged, and held back");
            held_back += usize::from(facts.held);
            store.enable(&consent(now), &now).unwrap_or_else(|error| panic!("{what}: {error}"));
            assert!(!store.facts(&now).expect("read").held, "{what}: given again it is in force");
        }
        if code == 0 {
            calls = at;
            break;
        }
        assert!(at < 1000, "it comes to no end");
    }
    println!("killed at each of {calls} calls: {} aftermaths, {held_back} held", aftermaths.len());
    assert!(calls > 5 && aftermaths.len() > calls, "{calls} calls, {} aftermaths", aftermaths.len());
}

/// Every file below a directory, with its content.
fn contents(root: &Path) -> Vec<(PathBuf, Vec<u8>)> {
    let files = tree(root).into_iter().filter(|(_, path)| path.is_file());
    files.map(|(name, path)| (name, std::fs::read(path).expect("own file"))).collect()
}

fn consent(now: Now) -> Consent {
    Consent {
        level: AccessLevel::Diagnostics,
        minutes: Minutes::default(),
        terms: Terms::azure_local(),
        request: None,
        grantor: Grantor {
            user: "owner".parse().expect("a name"),
            host: "node-01".parse().expect("a name"),
            method: Method::Prompt,
        },
        catalog: None,
        scope: Scope::default(),
        approval: ApprovalRule::default(),
        conditions: rs_consent::Conditions::default(),
        requested: now,
    }
}

#[test]
fn c23_sec26_a_command_of_which_any_call_fails_leaves_the_old_consent_or_the_new() {
    for errno in [EIO, ENOSPC, EROFS] {
        at_each_call(&[ENABLE_60], &["disable"], Some(errno), &Told::Enabled(60), &Told::Disabled);
    }
    at_each_call(&[ENABLE_60], ENABLE_90, Some(EIO), &Told::Enabled(60), &Told::Enabled(90));
}

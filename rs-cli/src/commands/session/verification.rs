//! `session verify`: is the record what the node wrote, and by whose key is that known.
//!
//! The text is for somebody who has to rely on it and does not know the format: the verdict first, then what was
//! checked, by which key, how far, and each fault with its place.

use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use rs_consent::keys::{Fingerprint, PublicKey};
use rs_session::evidence::{self, Expected, LogBook, MANIFEST_NAME, RECORD_NAME, RecordAudit, Witnesses};
use rs_session::history::record_path;
use rs_session::node_log::LOG_NAME;
use rs_session::record::{ContentKey, Finding, Report, Trust, Verdict};
use serde::Serialize;
use uuid::Uuid;

use super::{VerifyArgs, whole};
use crate::context::Context;
use crate::outcome::{ErrorCode, Exit, Failure, Outcome};
use crate::output::{self, OutputMode, Record};
use crate::state::Role;
use crate::terminal::progress::Progress;
use crate::{keys, platform, records};

/// Verifies one record and prints the verdict.
///
/// # Errors
///
/// [`ErrorCode::NotFound`] where there is no such record; [`ErrorCode::UnsafePermissions`] where others could have
/// changed the node's key; [`ErrorCode::Key`] for a key file that holds none, and where
/// a session of this node is named and the node's own key is gone. A record that does not hold is no failure of the
/// program: its verdict is printed and the exit code is 6.
pub(super) fn run(args: &VerifyArgs, context: &mut Context) -> Result<Outcome, Failure> {
    let Some(text) = &args.target else {
        return whole::of_node(context.state.role(Role::Node).path(), args, context);
    };
    let is_bundle = || [MANIFEST_NAME, RECORD_NAME].iter().any(|name| Path::new(text).join(name).is_file());
    if platform::on_behalf(Path::new(text), is_bundle) {
        return whole::of_bundle(Path::new(text), args, context);
    }
    if let Some(folder) = whole::node_folder(text) {
        return whole::of_node(&folder, args, context);
    }
    let target = Target::find(text, context)?;
    let root = Root::find(args, target.session.is_some(), context)?;
    let witnesses = whole::witnesses(args, root.trust())?;
    let checked = check(target, root, &witnesses, context)?;
    match context.output {
        OutputMode::Json => output::write_json(&mut *context.console.out, &checked.for_programs())?,
        OutputMode::List | OutputMode::Table => checked.for_people(context)?,
    }
    checked.advise(context);
    Ok(outcome(checked.report.verdict != Verdict::Broken))
}

pub(super) fn outcome(holds: bool) -> Outcome {
    if holds { Outcome::Done } else { Outcome::Exit(Exit::Integrity) }
}

/// What is to be verified.
struct Target {
    path: PathBuf,
    /// The session that it must be the record of, where it was named by id.
    session: Option<Uuid>,
}

impl Target {
    fn find(text: &str, context: &Context) -> Result<Self, Failure> {
        match text.parse() {
            Ok(id) => Ok(Self { path: records::find(&context.state, id)?, session: Some(id) }),
            Err(_) => Ok(Self { path: text.into(), session: None }),
        }
    }
}

/// Whose word the check rests on.
#[derive(Debug)]
pub(super) enum Root {
    /// A key file that was named.
    Given(PublicKey, PathBuf),
    /// The key of the node whose state directory this is.
    Own(PublicKey),
    /// The key that the record itself names: nobody vouches for it.
    Recorded,
}

impl Root {
    /// `own` says that what is verified is of this node.
    pub(super) fn find(args: &VerifyArgs, own: bool, context: &Context) -> Result<Self, Failure> {
        if let Some(path) = &args.node_key {
            return Ok(Self::Given(keys::read_public(path)?, path.clone()));
        }
        match Self::own_key(context)? {
            Some(key) => Ok(Self::Own(key)),
            None if !own => Ok(Self::Recorded),
            None => Err(Self::key_is_gone(context)),
        }
    }

    fn own_key(context: &Context) -> Result<Option<PublicKey>, Failure> {
        context.state.role(Role::Node).check()?;
        match keys::load_public(&context.state, Role::Node)? {
            Some(key) => Ok(Some(key)),
            None => Ok(keys::load(&context.state, Role::Node)?.map(|key| key.public())),
        }
    }

    /// Whoever took the key away could have put another record in its place.
    fn key_is_gone(context: &Context) -> Failure {
        Failure::new(ErrorCode::Key, "the key of this node is missing, so nobody vouches for its records")
            .about(context.state.role(Role::Node).path().display().to_string())
            .next_step("name a copy of the node's public key with --node-key")
    }

    pub(super) fn trust(&self) -> Trust {
        match self {
            Self::Given(key, _) | Self::Own(key) => Trust::Node(*key),
            Self::Recorded => Trust::Recorded,
        }
    }

    pub(super) fn source(&self) -> &'static str {
        match self {
            Self::Given(..) => "file",
            Self::Own(_) => "state-directory",
            Self::Recorded => "record",
        }
    }
}

/// What the check came to.
#[derive(Debug)]
pub(crate) struct Checked {
    path: PathBuf,
    root: Root,
    /// A running session writes the record.
    live: bool,
    /// The node's log knows it.
    logged: bool,
    report: Report,
}

/// Checks the record of a session of this node by the node's own key and log: what `session verify ID` and the page do.
///
/// # Errors
///
/// As [`run`].
pub(crate) fn of_session(session: Uuid, context: &mut Context) -> Result<Checked, Failure> {
    let target = Target::find(&session.to_string(), context)?;
    let args = VerifyArgs { target: None, node_key: None, witness: Vec::new() };
    let root = Root::find(&args, true, context)?;
    let witnesses = whole::witnesses(&args, root.trust())?;
    check(target, root, &witnesses, context)
}

fn check(
    target: Target,
    root: Root,
    witnesses: &Witnesses,
    context: &mut Context,
) -> Result<Checked, Failure> {
    if target.path.is_dir() {
        return Err(Failure::new(
            ErrorCode::InvalidFile,
            "this directory holds neither a node's state nor an exported bundle",
        )
        .about(target.path.display().to_string())
        .next_step("name a state directory, a record file, or the id of a session"));
    }
    let mut expected = match target.session {
        Some(session) => log_book(root.trust(), context)?.expected(session),
        None => Expected::default(),
    };
    let logged = !expected.heads.is_empty();
    let named = target.session.or_else(|| session_of(&target.path));
    expected.heads.extend(named.and_then(|session| witnesses.sessions.get(&session)).into_iter().flatten());
    let key = context.content_key();
    let mut progress = Progress::new("Verifying", context);
    let audited = platform::on_behalf(&target.path, || {
        let whole = target.path.metadata().map_or(0, |about| about.len());
        let went_on = &mut |bytes| progress.add(bytes, whole);
        evidence::audit_record(&target.path, root.trust(), target.session, &expected, &key, went_on)
    });
    progress.finish();
    let RecordAudit { live, report, .. } =
        audited.map_err(|error| Failure::io(&target.path, "read the record", error))?;
    Ok(Checked { path: target.path, root, live, logged, report })
}

/// The records of this node, to be checked by its own key and its log, which are read once.
pub(crate) struct OwnRecords {
    folder: PathBuf,
    trust: Trust,
    book: LogBook,
    key: ContentKey,
}

impl OwnRecords {
    /// # Errors
    ///
    /// As `session verify` with the id of a session; nothing can be checked then.
    pub(crate) fn open(context: &mut Context) -> Result<Self, Failure> {
        let trust = Trust::Node(Root::own_key(context)?.ok_or_else(|| Root::key_is_gone(context))?);
        let book = log_book(trust, context)?;
        Ok(Self { folder: records::folder(&context.state), trust, book, key: context.content_key() })
    }

    /// Checks the record of one session.
    ///
    /// # Errors
    ///
    /// Where the file cannot be read.
    pub(crate) fn verify(&self, session: Uuid) -> Result<Report, Failure> {
        let path = record_path(&self.folder, session);
        let expected = self.book.expected(session);
        let audit =
            evidence::audit_record(&path, self.trust, Some(session), &expected, &self.key, &mut |_| {});
        audit.map(|audit| audit.report).map_err(|error| Failure::io(&path, "read the record", error))
    }
}

/// What this node's log knows of sessions.
fn log_book(trust: Trust, context: &mut Context) -> Result<LogBook, Failure> {
    let path = context.state.role(Role::Node).file(LOG_NAME);
    if !path.exists() {
        return Ok(LogBook::default());
    }
    let node = if let Trust::Node(key) = trust { Some(key) } else { None };
    let log =
        evidence::read_log(&path, node).map_err(|error| Failure::io(&path, "read the node log", error))?;
    if !log.report.intact {
        context.note(
            "ALARM: the log of this node is not what was written, so it proves nothing about the end of this record; see \
             `remote-support session verify` without an id.",
        );
    }
    Ok(log.book)
}

fn session_of(path: &Path) -> Option<Uuid> {
    path.file_stem()?.to_str()?.parse().ok()
}

impl Checked {
    /// The key that vouches.
    fn key(&self) -> Option<PublicKey> {
        match self.root {
            Root::Given(key, _) | Root::Own(key) => Some(key),
            Root::Recorded => self.report.session.as_ref().map(|session| session.node.key),
        }
    }

    fn for_programs(&self) -> impl Serialize + '_ {
        Told {
            record: self.path.display().to_string(),
            live: self.live,
            in_node_log: self.logged,
            checked_with: CheckedWith {
                source: self.root.source(),
                node_key: self.key(),
                fingerprint: self.key().map(|key| key.fingerprint().to_string()),
            },
            report: &self.report,
        }
    }

    fn for_people(&self, context: &mut Context) -> Result<(), Failure> {
        let out = &mut context.console.out;
        writeln!(out, "{}\n", self.sentence())?;
        output::write_all(&mut **out, &[self.facts()], OutputMode::List, context.console.columns)?;
        writeln!(out, "\n{CHECKED}")?;
        writeln!(out, "{}", if self.logged { IN_LOG } else { NOT_IN_LOG })?;
        let report = &self.report;
        if report.contents_sealed > 0 {
            writeln!(out, "Contents sealed, not checked: {}. {SEALED}", report.contents_sealed)?;
        }
        places(&mut **out, "Faults", report.faults, &report.findings)?;
        places(&mut **out, "Remarks", report.remarks.len() as u64, &report.remarks)?;
        Ok(out.flush()?)
    }

    /// What it came to.
    pub(crate) fn verdict(&self) -> Verdict {
        self.report.verdict
    }

    /// What was checked, and what was not, in paragraphs.
    pub(crate) fn words(&self) -> impl Iterator<Item = &'static str> {
        let sealed = (self.report.contents_sealed > 0).then_some(SEALED);
        [CHECKED, if self.logged { IN_LOG } else { NOT_IN_LOG }].into_iter().chain(sealed)
    }

    /// Faults and remarks: a title, how many there are, and the places that are kept.
    pub(crate) fn places(&self) -> impl Iterator<Item = (&'static str, u64, Vec<String>)> {
        let of = |findings: &[Finding]| findings.iter().map(place).collect::<Vec<_>>();
        let report = &self.report;
        let remarks = report.remarks.len() as u64;
        [("Faults", report.faults, of(&report.findings)), ("Remarks", remarks, of(&report.remarks))]
            .into_iter()
            .filter(|(_, count, _)| *count > 0)
    }

    /// The verdict in a sentence.
    pub(crate) fn sentence(&self) -> &'static str {
        match self.report.verdict {
            Verdict::Intact => {
                "INTACT: every record is what was written, from the first to the end of the session."
            }
            Verdict::Open => {
                "INTACT SO FAR: every record is what was written. The session still runs, so the end is still to come."
            }
            Verdict::Broken => {
                "BROKEN: this record is not what was written. Do not rely on it at the places named below and behind them."
            }
        }
    }

    /// Whose record it is, and how far it goes.
    pub(crate) fn facts(&self) -> Record {
        let report = &self.report;
        let session = report.session.as_ref();
        let keyed = |name: String, key: PublicKey| format!("{name} (key fingerprint {})", key.fingerprint());
        Record::new()
            .field("Record", self.path.display().to_string())
            .field("Session", session.map(|session| session.session_id.to_string()))
            .field("Node", session.map(|session| keyed(session.node.name.to_string(), session.node.key)))
            .field(
                "Engineer",
                session.map(|session| keyed(session.engineer.id.to_string(), session.engineer.key)),
            )
            .field("SupportRequest", session.map(|session| session.support_request.to_string()))
            .field("AccessLevel", session.map(|session| session.access_level.to_string()))
            .field("From", report.started_at)
            .field("To", report.last_at)
            .field("EndCause", report.end.map(|cause| cause.as_str()))
            .field("Records", report.records)
            .field("ContentsRemoved", report.contents_removed)
            .field("ContentsSealed", report.contents_sealed)
            .field("Requests", report.requests)
            .field("Refusals", report.refusals)
            .field("Receipts", receipts(report.receipted))
            .field("Faults", report.faults)
            .field("CheckedWith", self.checked_with())
    }

    fn checked_with(&self) -> String {
        let fingerprint = self.key().map_or_else(String::new, |key| fingerprint(key.fingerprint()));
        match &self.root {
            Root::Given(_, path) => format!("the node key in {}{fingerprint}", path.display()),
            Root::Own(_) => format!("the key of this node{fingerprint}"),
            Root::Recorded => format!("the key that the record itself names{fingerprint}"),
        }
    }

    /// What somebody has to know to read the verdict rightly.
    fn advise(&self, context: &mut Context) {
        let named = self.report.session.as_ref().map(|session| session.node.key);
        match (&self.root, named) {
            (Root::Recorded, Some(named)) => context.note(format!(
                "No node key was given. So this shows that the record is of one piece, not whose it is: ask the owner of \
                 the node for the fingerprint of its key and compare it with {}, or name the key with --node-key.",
                named.fingerprint()
            )),
            (Root::Own(own), Some(named)) if *own != named => context.note(format!(
                "The record names a node key with the fingerprint {}, which is not the key of this node. If it is of \
                 another node, verify it with that node's key: --node-key FILE.",
                named.fingerprint()
            )),
            _ => {}
        }
    }
}

/// What the check consists of, in words.
const CHECKED: &str = "\
Checked: each record is signed with the key of its session, for which the node key vouches; each follows from the one
before, with none removed, added or moved; each content is the one that its record commits to; each receipt is signed
by the engineer's key.";

const SEALED: &str = "\
The key that opens them is not here, so that they are what was
committed to is not shown; everything else was checked.";

const IN_LOG: &str = "\
The node's log names this session, and the record goes through every place that the log names: nothing was cut off its
end since. Whether log and record were put back together to an older copy, only a witness from elsewhere can show
(--witness).";

const NOT_IN_LOG: &str = "\
Not checked: whether more records had been written than stand here. That is shown by the node's log, or by the engineer's
own copy (--witness).";

pub(super) fn receipts(receipted: Option<u64>) -> String {
    receipted.map_or_else(
        || "none by the engineer".to_owned(),
        |record| format!("the engineer countersigned everything up to record {record}"),
    )
}

pub(super) fn fingerprint(fingerprint: Fingerprint) -> String {
    format!(", fingerprint {fingerprint}")
}

/// A list of findings with their places; nothing where there are none.
pub(super) fn places(
    out: &mut dyn io::Write,
    title: &str,
    count: u64,
    findings: &[Finding],
) -> io::Result<()> {
    if count == 0 {
        return Ok(());
    }
    writeln!(out, "\n{title}:")?;
    for finding in findings {
        writeln!(out, "  {}", place(finding))?;
    }
    match count.saturating_sub(findings.len() as u64) {
        0 => Ok(()),
        more => writeln!(out, "  and {more} more"),
    }
}

/// A finding with its place, on one line.
fn place(finding: &Finding) -> String {
    let place = finding.record.map_or_else(|| "file header".to_owned(), |record| format!("record {record}"));
    format!("{place}, at byte {}: {}", finding.offset, output::safe(&finding.explanation))
}

/// The verdict for programs.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Told<'a> {
    record: String,
    live: bool,
    in_node_log: bool,
    checked_with: CheckedWith,
    #[serde(flatten)]
    report: &'a Report,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct CheckedWith {
    /// `file`, `state-directory` or `record`.
    source: &'static str,
    node_key: Option<PublicKey>,
    fingerprint: Option<String>,
}

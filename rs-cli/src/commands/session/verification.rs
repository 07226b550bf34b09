//! `session verify`: is the record what the node wrote, and by whose key is that known.
//!
//! The text is for somebody who has to rely on it and does not know the format: the verdict first, then what was
//! checked, by which key, how far, and each fault with its place.

use std::fs::File;
use std::io::{self, BufReader, Read as _, Seek as _, Write as _};
use std::path::PathBuf;

use rs_consent::keys::{Fingerprint, PublicKey};
use rs_session::record::{Finding, FrameError, FrameReader, Report, Trust, Verdict, verify};
use serde::Serialize;
use uuid::Uuid;

use super::VerifyArgs;
use crate::context::Context;
use crate::outcome::{ErrorCode, Exit, Failure, Outcome};
use crate::output::{self, OutputMode, Record};
use crate::state::Role;
use crate::{keys, records};

/// Verifies one record and prints the verdict.
///
/// # Errors
///
/// [`ErrorCode::NotFound`] where there is no such record; [`ErrorCode::UnsafePermissions`] where others could have
/// changed the node's key; [`ErrorCode::Key`] for a key file that holds none, and where
/// a session of this node is named and the node's own key is gone. A record that does not hold is no failure of the
/// program: its verdict is printed and the exit code is 6.
pub(super) fn run(args: &VerifyArgs, context: &mut Context) -> Result<Outcome, Failure> {
    let target = Target::find(&args.target, context)?;
    let root = Root::find(args, &target, context)?;
    let checked = check(target, root)?;
    match context.output {
        OutputMode::Json => output::write_json(&mut *context.console.out, &checked.for_programs())?,
        OutputMode::List | OutputMode::Table => checked.for_people(context)?,
    }
    checked.advise(context);
    Ok(match checked.report.verdict {
        Verdict::Intact | Verdict::Open => Outcome::Done,
        Verdict::Broken => Outcome::Exit(Exit::Integrity),
    })
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

    fn open(&self) -> Result<File, Failure> {
        let failed = |error| Failure::io(&self.path, "read the record", error);
        let file = File::open(&self.path).map_err(failed)?;
        if file.metadata().map_err(failed)?.is_dir() {
            return Err(Failure::new(
                ErrorCode::InvalidFile,
                "this is a directory; name a record file in it",
            )
            .about(self.path.display().to_string()));
        }
        Ok(file)
    }
}

/// Whose word the check rests on.
enum Root {
    /// A key file that was named.
    Given(PublicKey, PathBuf),
    /// The key of the node whose state directory this is.
    Own(PublicKey),
    /// The key that the record itself names: nobody vouches for it.
    Recorded,
}

impl Root {
    fn find(args: &VerifyArgs, target: &Target, context: &Context) -> Result<Self, Failure> {
        if let Some(path) = &args.node_key {
            return Ok(Self::Given(keys::read_public(path)?, path.clone()));
        }
        context.state.role(Role::Node).check()?;
        let own = match keys::load_public(&context.state, Role::Node)? {
            Some(key) => Some(key),
            None => keys::load(&context.state, Role::Node)?.map(|key| key.public()),
        };
        match own {
            Some(key) => Ok(Self::Own(key)),
            None if target.session.is_none() => Ok(Self::Recorded),
            // Whoever took the key away could have put another record in its place.
            None => Err(Failure::new(
                ErrorCode::Key,
                "the key of this node is missing, so nobody vouches for its records",
            )
            .about(context.state.role(Role::Node).path().display().to_string())
            .next_step("name a copy of the node's public key with --node-key")),
        }
    }

    fn trust(&self) -> Trust {
        match self {
            Self::Given(key, _) | Self::Own(key) => Trust::Node(*key),
            Self::Recorded => Trust::Recorded,
        }
    }

    fn source(&self) -> &'static str {
        match self {
            Self::Given(..) => "file",
            Self::Own(_) => "state-directory",
            Self::Recorded => "record",
        }
    }
}

/// What the check came to.
struct Checked {
    path: PathBuf,
    root: Root,
    /// A running session writes the record.
    live: bool,
    report: Report,
}

fn check(target: Target, root: Root) -> Result<Checked, Failure> {
    let mut file = target.open()?;
    // Asked before the reading: a session that ends meanwhile leaves a record that is whole.
    let live = records::is_written(&file);
    let read = |error| Failure::io(&target.path, "read the record", error);
    let whole = if live { whole_bytes(&mut file).map_err(read)? } else { u64::MAX };
    let report = verify(BufReader::new(&file).take(whole), root.trust());
    let mut checked = Checked { path: target.path, root, live, report };
    checked.must_be_of(target.session);
    checked.must_have_its_end(&file);
    Ok(checked)
}

/// How many bytes of a record that is being written are whole records: what follows is a write under way.
fn whole_bytes(file: &mut File) -> io::Result<u64> {
    let mut whole = u64::MAX;
    if let Ok(mut reader) = FrameReader::new(BufReader::new(&*file)) {
        loop {
            match reader.next_frame() {
                Ok(Some(_)) => {}
                Ok(None) | Err(FrameError::Torn { .. }) => break whole = reader.offset(),
                Err(_) => break,
            }
        }
    }
    file.rewind()?;
    Ok(whole)
}

impl Checked {
    fn fault(&mut self, record: u64, offset: u64, explanation: String) {
        self.report.verdict = Verdict::Broken;
        self.report.faults += 1;
        self.report.findings.push(Finding { record: Some(record), offset, explanation });
    }

    /// A record that was asked for by id must be of that session, not a good record of another one under its name.
    fn must_be_of(&mut self, session: Option<Uuid>) {
        let found = self.report.session.as_ref().map(|identity| identity.session_id);
        if let (Some(session), Some(found)) = (session, found)
            && session != found
        {
            let offset = rs_session::record::FILE_HEADER.len() as u64;
            self.fault(0, offset, format!("this is the record of session {found}, not of {session}"));
        }
    }

    /// Only a record that is being written may lack its end.
    fn must_have_its_end(&mut self, file: &File) {
        if self.report.verdict == Verdict::Open && !self.live {
            let length = file.metadata().map_or(0, |metadata| metadata.len());
            let explanation =
                "the end is missing: no end record stands here and no session writes this file; records \
                               were cut off, or the agent stopped and has not been started again"
                    .to_owned();
            self.fault(self.report.records, length, explanation);
        }
    }

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
        let report = &self.report;
        places(&mut **out, "Faults", report.faults, &report.findings)?;
        places(&mut **out, "Remarks", report.remarks.len() as u64, &report.remarks)?;
        Ok(out.flush()?)
    }

    fn sentence(&self) -> &'static str {
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

    fn facts(&self) -> Record {
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

fn receipts(receipted: Option<u64>) -> String {
    receipted.map_or_else(
        || "none by the engineer".to_owned(),
        |record| format!("the engineer countersigned everything up to record {record}"),
    )
}

fn fingerprint(fingerprint: Fingerprint) -> String {
    format!(", fingerprint {fingerprint}")
}

/// A list of findings with their places; nothing where there are none.
fn places(out: &mut dyn io::Write, title: &str, count: u64, findings: &[Finding]) -> io::Result<()> {
    if count == 0 {
        return Ok(());
    }
    writeln!(out, "\n{title}:")?;
    for finding in findings {
        let place =
            finding.record.map_or_else(|| "file header".to_owned(), |record| format!("record {record}"));
        writeln!(out, "  {place}, at byte {}: {}", finding.offset, output::safe(&finding.explanation))?;
    }
    match count.saturating_sub(findings.len() as u64) {
        0 => Ok(()),
        more => writeln!(out, "  and {more} more"),
    }
}

/// The verdict for programs.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Told<'a> {
    record: String,
    live: bool,
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

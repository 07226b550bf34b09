//! `session verify` of everything that a node keeps: its log and all records, each held against the other and against
//! what others keep.

use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use rs_session::evidence::{self, Audit, LogAudit, RECORD_NAME, RecordAudit, Witnesses};
use rs_session::node_log::{LOG_NAME, Witness};
use rs_session::record::{FINDINGS_MAX, Finding, Trust, Verdict};
use serde::Serialize;

use super::VerifyArgs;
use super::verification::{Root, fingerprint, outcome, places};
use crate::context::Context;
use crate::files;
use crate::outcome::{ErrorCode, Failure, Outcome};
use crate::output::{self, OutputMode, Record};
use crate::platform;
use crate::records::SESSIONS_FOLDER;
use crate::state::Role;
use crate::terminal::progress::Progress;

/// First bytes of a record file.
const RECORD_MAGIC: &[u8] = b"RSRECORD";

/// The node's folder in a directory that was named: itself, or that of a state directory.
pub(super) fn node_folder(text: &str) -> Option<PathBuf> {
    let path = Path::new(text);
    let is_node = |path: &Path| path.join(LOG_NAME).exists() || path.join(SESSIONS_FOLDER).is_dir();
    let inner = path.join(Role::Node.as_str());
    platform::on_behalf(path, || {
        if !path.is_dir() {
            return None;
        }
        [inner, path.to_owned()].into_iter().find(|path| is_node(path))
    })
}

/// Reads what others keep.
///
/// # Errors
///
/// [`ErrorCode::Statement`] for a witness that the node did not sign, [`ErrorCode::Integrity`] for a copy that does not hold
/// by itself.
pub(super) fn witnesses(args: &VerifyArgs, trust: Trust) -> Result<Witnesses, Failure> {
    let mut witnesses = Witnesses::default();
    for path in &args.witness {
        let name = path.display().to_string();
        if files::begins_with(path, RECORD_MAGIC)? {
            platform::on_behalf(path, || witnesses.add_copy(path, trust, &name)).map_err(|report| {
                let found = report.findings.first().map_or(String::new(), |found| found.explanation.clone());
                Failure::new(
                    ErrorCode::Integrity,
                    format!("this copy of a record does not hold itself: {found}"),
                )
                .about(name.clone())
            })?;
            continue;
        }
        let envelope = files::read_statement(path)?;
        let keys = match trust {
            Trust::Node(key) => vec![key],
            Trust::Recorded => vec![envelope.claimed_key()],
        };
        let witness: Witness = envelope.open(&keys).map_err(|error| {
            Failure::new(ErrorCode::Statement, "this witness is not signed by the node")
                .about(name.clone())
                .because(error)
        })?;
        witnesses.add_witness(&witness, &name);
    }
    Ok(witnesses)
}

/// Verifies a node's folder.
///
/// # Errors
///
/// [`ErrorCode::NotFound`] where the node keeps nothing, and what keeps keys and files from being read. What does not hold
/// is no failure of the program: the verdict is printed and the exit code is 6.
pub(super) fn of_node(folder: &Path, args: &VerifyArgs, context: &mut Context) -> Result<Outcome, Failure> {
    if !platform::on_behalf(folder, || folder.is_dir()) {
        return Err(Failure::new(ErrorCode::NotFound, "this node keeps nothing yet: no log and no records")
            .about(folder.display().to_string()));
    }
    let own = folder == context.state.role(Role::Node).path();
    let root = Root::find(args, own, context)?;
    let witnesses = witnesses(args, root.trust())?;
    let key = context.content_key();
    let mut progress = Progress::new("Verifying", context);
    let went_on = &mut |done, whole| progress.went_on(done, whole);
    let sessions = folder.join(SESSIONS_FOLDER);
    let audit = platform::on_behalf(folder, || {
        evidence::audit_node(folder, &sessions, root.trust(), &witnesses, &key, went_on)
    });
    progress.finish();
    let audit = audit?;
    let told = Told { folder, root: &root, witnesses: witnesses.log.len() as u64, audit: &audit };
    match context.output {
        OutputMode::Json => output::write_json(&mut *context.console.out, &told.for_programs())?,
        OutputMode::List | OutputMode::Table => told.for_people(context)?,
    }
    Ok(outcome(audit.intact))
}

/// Verifies an exported bundle.
///
/// # Errors
///
/// What keeps keys and files from being read.
pub(super) fn of_bundle(
    directory: &Path,
    args: &VerifyArgs,
    context: &mut Context,
) -> Result<Outcome, Failure> {
    let root = Root::find(args, false, context)?;
    let witnesses = witnesses(args, root.trust())?;
    let mut progress = Progress::new("Verifying", context);
    let audit = platform::on_behalf(directory, || {
        let whole = directory.join(RECORD_NAME).metadata().map_or(0, |about| about.len());
        let went_on = &mut |bytes| progress.add(bytes, whole);
        evidence::audit_bundle(directory, root.trust(), &witnesses, went_on)
    });
    progress.finish();
    let audit = audit.map_err(|error| Failure::io(directory, "read the bundle", error))?;
    match context.output {
        OutputMode::Json => output::write_json(&mut *context.console.out, &audit)?,
        OutputMode::List | OutputMode::Table => bundle_for_people(directory, &root, &audit, context)?,
    }
    if matches!(root.trust(), Trust::Recorded) {
        context.note(
            "No node key was given. So this shows that the bundle is of one piece, not whose it is: ask the owner of the \
             node for the fingerprint of its key, or name the key with --node-key.",
        );
    }
    Ok(outcome(audit.intact))
}

const fn extent(with_log: bool) -> &'static str {
    if with_log {
        "Checked: the manifest is signed by the node key and covers each file by length and hash; the record by itself; the\n\
         log by itself up to the export; and the record goes through every place that the log names.\nNot checked: what \
         happened on the node after the export."
    } else {
        "Checked: the manifest is signed by the node key and covers each file by length and hash; and the record by itself.\n\
         Not checked: whether the record is the one that the node's log names, since the bundle was exported without the \
         log; and what happened on the node after the export."
    }
}

fn bundle_for_people(
    directory: &Path,
    root: &Root,
    audit: &evidence::BundleAudit,
    context: &mut Context,
) -> Result<(), Failure> {
    let out = &mut context.console.out;
    let verdict = if audit.intact {
        "INTACT: every file is what the node exported, and the record in it is what was written."
    } else {
        "BROKEN: this is not what the node exported. Do not rely on the files and places named below."
    };
    writeln!(out, "{verdict}\n")?;
    let manifest = audit.manifest.as_ref();
    let record = audit.record.as_ref().map(|record| &record.report);
    let facts = Record::new()
        .field("Bundle", directory.display().to_string())
        .field("Session", manifest.map(|manifest| manifest.session.to_string()))
        .field("NodeFingerprint", manifest.map(|manifest| manifest.node_key.fingerprint().to_string()))
        .field("KeySource", root.source())
        .field("ExportedAt", manifest.map(|manifest| manifest.exported_at))
        .field("ExportedBy", manifest.map(|manifest| manifest.exported_by.clone()))
        .field("Files", manifest.map_or(0, |manifest| manifest.files.len() as u64))
        .field("Records", record.map_or(0, |report| report.records))
        .field("Receipts", super::verification::receipts(record.and_then(|report| report.receipted)))
        .field("EndCause", record.and_then(|report| report.end).map(rs_consent::EndCause::as_str))
        .field("LogEntries", audit.log.as_ref().map_or(0, |log| log.report.entries))
        .field("PlacesInLog", audit.record.as_ref().map_or(0, |record| record.heads));
    output::write_all(&mut **out, &[facts], OutputMode::List, context.console.columns)?;
    writeln!(out, "\n{}", extent(audit.log.is_some()))?;
    for finding in &audit.findings {
        writeln!(out, "\n{}: {}", output::safe(&finding.file), output::safe(&finding.explanation))?;
    }
    if let Some(log) = &audit.log {
        let findings: Vec<_> = log.report.findings.iter().map(as_record_finding).collect();
        places(&mut **out, "Faults of the log, by entry", log.report.faults, &findings)?;
    }
    if let Some(report) = record {
        places(&mut **out, "Faults of the record", report.faults, &report.findings)?;
    }
    Ok(out.flush()?)
}

struct Told<'a> {
    folder: &'a Path,
    root: &'a Root,
    witnesses: u64,
    audit: &'a Audit,
}

impl Told<'_> {
    fn for_programs(&self) -> impl Serialize + '_ {
        #[derive(Serialize)]
        #[serde(rename_all = "camelCase")]
        struct Json<'a> {
            verdict: &'static str,
            folder: String,
            key_source: &'static str,
            witnesses: u64,
            #[serde(flatten)]
            audit: &'a Audit,
        }
        Json {
            verdict: if self.audit.intact { "intact" } else { "broken" },
            folder: self.folder.display().to_string(),
            key_source: self.root.source(),
            witnesses: self.witnesses,
            audit: self.audit,
        }
    }

    fn for_people(&self, context: &mut Context) -> Result<(), Failure> {
        let out = &mut context.console.out;
        let verdict = if self.audit.intact {
            "INTACT: log and records are what was written, and none is missing."
        } else {
            "BROKEN: not everything is what was written. Do not rely on the places named below."
        };
        writeln!(out, "{verdict}\n")?;
        output::write_all(&mut **out, &[self.facts()], OutputMode::List, context.console.columns)?;
        writeln!(out, "\n{}", self.proven())?;
        let sealed: u64 = self.audit.records.iter().map(|record| record.report.contents_sealed).sum();
        if sealed > 0 {
            writeln!(out, "Contents sealed, not checked: {sealed}. The key that opens them is not here.")?;
        }
        if let Some(log) = &self.audit.log {
            let findings: Vec<_> = log.report.findings.iter().map(as_record_finding).collect();
            places(&mut **out, "Faults of the log, by entry", log.report.faults, &findings)?;
        }
        for record in self.audit.records.iter().filter(|record| record.report.faults > 0) {
            let title = format!("Faults of {}", output::safe(&record.path.display().to_string()));
            places(&mut **out, &title, record.report.faults, &record.report.findings)?;
        }
        self.remarks(&mut **out)?;
        for missing in &self.audit.missing {
            let began = missing.started_at.map_or(String::new(), |at| format!(", which began at {at}"));
            writeln!(out, "\nMissing: the record of session {}{began}", missing.session)?;
        }
        Ok(out.flush()?)
    }

    /// What is no fault and must be known all the same, such as contents that were removed before their time.
    fn remarks(&self, out: &mut dyn io::Write) -> io::Result<()> {
        let all = self.audit.records.iter().flat_map(|record| &record.report.remarks).count();
        if all == 0 {
            return Ok(());
        }
        writeln!(out, "\nRemarks:")?;
        let remarks = self.audit.records.iter().flat_map(|record| {
            record.report.remarks.iter().map(|remark| (record.path.display().to_string(), remark))
        });
        for (path, remark) in remarks.take(FINDINGS_MAX) {
            writeln!(out, "  {}: {}", output::safe(&path), output::safe(&remark.explanation))?;
        }
        match all.saturating_sub(FINDINGS_MAX) {
            0 => Ok(()),
            more => writeln!(out, "  and {more} more: --output json has them"),
        }
    }

    fn facts(&self) -> Record {
        let log = self.audit.log.as_ref();
        let count = |verdict| {
            self.audit.records.iter().filter(|record| record.report.verdict == verdict).count() as u64
        };
        let key = match self.root.trust() {
            Trust::Node(key) => fingerprint(key.fingerprint()),
            Trust::Recorded => String::new(),
        };
        Record::new()
            .field("Folder", self.folder.display().to_string())
            .field("CheckedWith", format!("the key of the {}{key}", self.root.source()))
            .field("LogEntries", log.map_or(0, |log| log.report.entries))
            .field("LogFrom", log.and_then(|log| log.report.began_at))
            .field("LogTo", log.and_then(|log| log.report.last_at))
            .field("Witnesses", witnessed(log, self.witnesses))
            .field("Records", self.audit.records.len() as u64)
            .field("Intact", count(Verdict::Intact))
            .field("Open", count(Verdict::Open))
            .field("Broken", count(Verdict::Broken))
            .field("Missing", self.audit.missing.len() as u64)
            .field("DeletedByRules", self.audit.deleted.len() as u64)
            .field("NotInLog", self.audit.records.iter().filter(|record| is_older(record)).count() as u64)
    }

    /// What the check shows and what it cannot show.
    fn proven(&self) -> &'static str {
        match (&self.audit.log, self.witnesses) {
            (None, _) => {
                "Checked: each record by itself. There is no log of this node, so nothing shows that no record is missing \
                 and none was cut off at its end."
            }
            (Some(_), 0) => {
                "Checked: each entry of the log and each record by itself; each record against the places that the log \
                 names; no session of the log is without its record.\nNot checked: whether everything together was put \
                 back to an older copy. A witness from elsewhere shows that: `remote-support node-log witness FILE`, or \
                 an engineer's copy of a record (--witness)."
            }
            (Some(_), _) => {
                "Checked: each entry of the log and each record by itself; each record against the places that the log \
                 names; no session of the log is without its record; and the log goes through every place that the \
                 witnesses name, so what was there when they were taken is there now."
            }
        }
    }
}

/// A record from before the log.
fn is_older(record: &RecordAudit) -> bool {
    record.report.session.as_ref().is_some_and(|identity| identity.node_log.is_none())
}

fn witnessed(log: Option<&LogAudit>, given: u64) -> String {
    match (log, given) {
        (_, 0) => "none given".to_owned(),
        (log, given) => format!("{} of {given} fit", log.map_or(0, |log| log.witnesses)),
    }
}

fn as_record_finding(finding: &rs_session::node_log::Finding) -> Finding {
    Finding { record: Some(finding.entry), offset: finding.offset, explanation: finding.explanation.clone() }
}

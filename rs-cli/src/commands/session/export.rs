//! `session export`: the evidence of one session as a bundle that anybody can verify, or one rendering of it.

use std::fs::File;
use std::io::{self, BufReader, BufWriter, Seek as _, SeekFrom, Write};
use std::path::{Path, PathBuf};

use clap::{Args, ValueEnum};
use rs_consent::GrantId;
use rs_consent::statement::Envelope;
use rs_session::ending::statement_path;
use rs_session::evidence::{self, BUNDLE_LOG_NAME, MANIFEST_NAME, Manifest, RECORD_NAME, bundle_file};
use rs_session::history::Transcript;
use rs_session::node_log::{Event, LOG_NAME};
use rs_session::record::{ContentKey, Digest, FILE_HEADER, FrameReader, Kind, SessionIdentity};
use rs_session::transcript::{Form, Renderer};
use serde_json::json;
use uuid::Uuid;

use super::report;
use crate::casefiles::{self, Paper};
use crate::context::Context;
use crate::outcome::{ErrorCode, Failure, Outcome};
use crate::output::Record;
use crate::state::Role;
use crate::terminal::progress::Progress;
use crate::{files, keys, node, platform, records};

/// Arguments of `session export`.
#[derive(Debug, Args)]
pub struct ExportArgs {
    /// Id of the session.
    #[arg(value_name = "ID")]
    pub session_id: Uuid,
    /// A directory that does not exist yet, for the bundle; with `--format` the file to write, `-` for standard output.
    #[arg(value_name = "DIR|FILE")]
    pub to: PathBuf,
    /// Write this rendering instead of the bundle. Renderings are for reading; only the bundle is evidence.
    #[arg(long, value_enum, ignore_case = true, value_name = "FORM", env = "REMOTE_SUPPORT_FORMAT")]
    pub format: Option<ExportForm>,
    /// How much of the node's log goes into the bundle. It names every session, engineer, request and refusal of this node.
    #[arg(
        long,
        value_enum,
        ignore_case = true,
        value_name = "PART",
        default_value = "whole",
        conflicts_with = "format",
        env = "REMOTE_SUPPORT_NODE_LOG"
    )]
    pub node_log: LogPart,
}

/// How much of the node's log goes into a bundle.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum LogPart {
    /// All of it up to the export: it shows that nothing was cut off the record, nor put in its place.
    Whole,
    /// Nothing: whoever gets the bundle learns of this request alone, and has the record for itself.
    None,
}

/// The form of a rendering.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum ExportForm {
    /// A transcript in the shape that PowerShell writes.
    Text,
    /// One JSON object a line, one for each record.
    Json,
    /// Asciicast version 2, for terminal players.
    Asciicast,
    /// Comma-separated values.
    Csv,
}

impl ExportForm {
    const fn form(self) -> Form {
        match self {
            Self::Text => Form::Text,
            Self::Json => Form::Json,
            Self::Asciicast => Form::Asciicast,
            Self::Csv => Form::Csv,
        }
    }

    const fn name(self) -> &'static str {
        match self {
            Self::Text => "text",
            Self::Json => "json",
            Self::Asciicast => "asciicast",
            Self::Csv => "csv",
        }
    }
}

/// Exports one session; the export is entered in the node's log before it begins.
///
/// # Errors
///
/// [`ErrorCode::NotFound`] for a session that this node does not know, [`ErrorCode::InvalidFile`] for a target that exists,
/// [`ErrorCode::Integrity`] where the record cannot be read to its end, and what keeps files from being written.
pub(super) fn run(args: &ExportArgs, context: &mut Context) -> Result<Outcome, Failure> {
    let record = records::find(&context.state, args.session_id)?;
    match args.format {
        Some(form) => rendering(&record, form, args, context),
        None => bundle(&record, args, context),
    }
}

/// What is said while a rendering is made.
const RENDERING: &str = "Rendering, records";

fn enter(args: &ExportArgs, form: &str, sha256: Digest, context: &Context) -> Result<(), Failure> {
    let exported =
        Event::Exported { session: args.session_id, sha256, form: form.to_owned(), by: node::operator() };
    if let Some(book) = node::book(context)? {
        book.enter(exported)?;
    }
    Ok(())
}

/// Prints a record in a form, record by record.
pub(super) fn render(
    record: &Path,
    form: Form,
    key: &ContentKey,
    out: &mut dyn Write,
    mut progress: Progress,
) -> Result<SessionIdentity, Failure> {
    let transcript = platform::on_behalf(record, || Transcript::open(record, key.clone()))?;
    let identity = transcript.identity().clone();
    let mut renderer = Renderer::new(form, identity.clone());
    let failed = |error| Failure::io(record, "write the rendering of", error);
    let mut begun = false;
    for row in transcript {
        let row = row?;
        if !begun {
            out.write_all(renderer.begin(row.wall_time).as_bytes()).map_err(failed)?;
            begun = true;
        }
        out.write_all(renderer.row(&row).as_bytes()).map_err(failed)?;
        progress.add(1, 0);
    }
    out.flush().map_err(failed)?;
    Ok(identity)
}

fn rendering(
    record: &Path,
    form: ExportForm,
    args: &ExportArgs,
    context: &mut Context,
) -> Result<Outcome, Failure> {
    let key = context.content_key();
    if args.to == Path::new("-") {
        let head = evidence_digest(record)?;
        enter(args, form.name(), head, context)?;
        render(record, form.form(), &key, &mut *context.console.out, Progress::silent())?;
        return Ok(Outcome::Done);
    }
    let head = evidence_digest(record)?;
    enter(args, form.name(), head, context)?;
    let mut out = BufWriter::new(create(&args.to)?);
    render(record, form.form(), &key, &mut out, Progress::new(RENDERING, context))?;
    context
        .print_one(&Record::new().field("File", args.to.display().to_string()).field("Form", form.name()))?;
    Ok(Outcome::Done)
}

/// The hash of a record as it stands.
fn evidence_digest(record: &Path) -> Result<Digest, Failure> {
    let directory = record.parent().unwrap_or_else(|| Path::new("."));
    let name = record.file_name().and_then(|name| name.to_str()).unwrap_or_default();
    Ok(bundle_file(directory, name).map_err(|error| Failure::io(record, "read the record", error))?.sha256)
}

fn create(path: &Path) -> Result<File, Failure> {
    platform::create_private(path).map_err(|error| match error.kind() {
        io::ErrorKind::AlreadyExists => {
            Failure::new(ErrorCode::InvalidFile, "there is something of this name already; name a new file")
                .about(path.display().to_string())
        }
        _ => Failure::io(path, "write the file", error),
    })
}

fn bundle(record: &Path, args: &ExportArgs, context: &mut Context) -> Result<Outcome, Failure> {
    if args.to.exists() {
        return Err(Failure::new(
            ErrorCode::InvalidFile,
            "there is something of this name already; name a new directory",
        )
        .about(args.to.display().to_string()));
    }
    // A bundle is for people who have no key of this node, so it holds the contents open, or it is not made.
    let key = context.key_store()?.for_reading()?;
    enter(args, "bundle", evidence_digest(record)?, context)?;
    platform::create_private_dir(&args.to)
        .map_err(|error| Failure::io(&args.to, "create the directory", error))?;
    let mut writing = Writing { directory: args.to.clone(), names: Vec::new() };
    writing.record(record, &key, Progress::new("Copying the record", context))?;
    let identity = writing.render("transcript.txt", Form::Text, Progress::new(RENDERING, context))?;
    let statement = statement_path(record);
    if statement.exists() {
        // Beside the record here too, where whoever checks the record finds it.
        let name = statement_path(Path::new(RECORD_NAME));
        writing.copy(&statement, &name.to_string_lossy())?;
    }
    writing.papers(&identity, context)?;
    let log = context.state.role(Role::Node).file(LOG_NAME);
    let with_log = args.node_log == LogPart::Whole && log.exists();
    if with_log {
        writing.copy(&log, BUNDLE_LOG_NAME)?;
    }
    let told = report::of_request(identity.support_request, &key, context)?;
    writing.write("report.txt", report::as_text(&told).as_bytes())?;
    writing.json("report.json", &told)?;
    writing.write("README.txt", README.as_bytes())?;
    let manifest = writing.sign(&identity, context)?;
    let trust = rs_session::record::Trust::Node(manifest.node_key);
    let mut progress = Progress::new("Verifying the bundle", context);
    let audit = platform::on_behalf(&args.to, || {
        let whole = args.to.join(RECORD_NAME).metadata().map_or(0, |about| about.len());
        let went_on = &mut |bytes| progress.add(bytes, whole);
        evidence::audit_bundle(&args.to, trust, &evidence::Witnesses::default(), went_on)
    })
    .map_err(|error| Failure::io(&args.to, "read the bundle back", error))?;
    progress.finish();
    let shown = Record::new()
        .field("Directory", args.to.display().to_string())
        .field("Session", args.session_id.to_string())
        .field("Files", manifest.files.len() as u64 + 1)
        .field("Intact", audit.intact)
        .field("NodeFingerprint", manifest.node_key.fingerprint().to_string());
    context.print_one(&shown)?;
    context.note("Anybody can check it: `remote-support session verify DIR --node-key FILE`.");
    context.note(disclosure(with_log));
    if !audit.intact {
        context.note(
            "What was exported does not hold; `remote-support session verify` on the bundle says where.",
        );
        return Ok(Outcome::Exit(crate::outcome::Exit::Integrity));
    }
    Ok(Outcome::Done)
}

/// A bundle while it is made.
struct Writing {
    directory: PathBuf,
    names: Vec<String>,
}

impl Writing {
    fn new_file(&mut self, name: &str) -> Result<File, Failure> {
        self.names.push(name.to_owned());
        create(&self.directory.join(name))
    }

    fn write(&mut self, name: &str, bytes: &[u8]) -> Result<(), Failure> {
        let mut file = self.new_file(name)?;
        file.write_all(bytes)
            .map_err(|error| Failure::io(&self.directory.join(name), "write the file", error))
    }

    fn json(&mut self, name: &str, value: &impl serde::Serialize) -> Result<(), Failure> {
        let text = serde_json::to_string_pretty(value).map_err(|error| {
            Failure::new(ErrorCode::Internal, "a file of the bundle cannot be written").because(error)
        })?;
        self.write(name, format!("{text}\n").as_bytes())
    }

    fn copy(&mut self, from: &Path, name: &str) -> Result<(), Failure> {
        let mut file = self.new_file(name)?;
        let copied = File::open(from).and_then(|mut source| io::copy(&mut source, &mut file));
        copied.map(drop).map_err(|error| Failure::io(from, "copy the file", error))
    }

    /// The record with its contents open. What cannot be opened is copied as it is, and so is what cannot be read: the bundle
    /// then says so itself.
    fn record(&mut self, from: &Path, key: &ContentKey, mut progress: Progress) -> Result<(), Failure> {
        let failed = |error| Failure::io(from, "copy the record", error);
        let mut out = BufWriter::new(self.new_file(RECORD_NAME)?);
        let source = File::open(from).map_err(failed)?;
        let length = source.metadata().map_err(failed)?.len();
        let mut whole = 0;
        if let Ok(reader) = FrameReader::new(BufReader::new(&source)) {
            let mut reader = reader.opening(key.clone(), None);
            out.write_all(&FILE_HEADER).map_err(failed)?;
            whole = reader.offset();
            while let Ok(Some(frame)) = reader.next_frame() {
                out.write_all(&frame.encode()).map_err(failed)?;
                whole = reader.offset();
                progress.went_on(whole, length);
            }
        }
        let mut rest = source;
        rest.seek(SeekFrom::Start(whole)).map_err(failed)?;
        io::copy(&mut rest, &mut out).map_err(failed)?;
        out.flush().map_err(failed)
    }

    fn render(&mut self, name: &str, form: Form, progress: Progress) -> Result<SessionIdentity, Failure> {
        let mut out = BufWriter::new(self.new_file(name)?);
        render(&self.directory.join(RECORD_NAME), form, &None, &mut out, progress)
    }

    /// Consent, terms, request, the desk's statements and the keys.
    fn papers(&mut self, identity: &SessionIdentity, context: &Context) -> Result<(), Failure> {
        self.json(
            "keys.json",
            &json!({
                "node": identity.node,
                "engineer": identity.engineer,
                "desk": identity.desk,
                "recordKey": identity.record_key,
                "fingerprints": {
                    "node": identity.node.key.fingerprint().to_string(),
                    "engineer": identity.engineer.key.fingerprint().to_string(),
                    "desk": identity.desk.key.fingerprint().to_string(),
                },
            }),
        )?;
        let number = identity.support_request;
        for (paper, name) in [(Paper::Request, "request.json"), (Paper::Opening, "opening.json")] {
            let path = casefiles::path(&context.state, paper, number);
            if path.exists() {
                self.copy(&path, name)?;
            }
        }
        self.assignment()?;
        let Some(store) = node::existing_store(context)? else { return Ok(()) };
        if let Some(request) = store.request(number)? {
            self.json("request-on-node.json", &request)?;
        }
        if let Some(grant) = store.grant(GrantId::new(identity.grant_id))? {
            self.json("grant.json", &grant)?;
        }
        if let Some(terms) = store.terms(&identity.terms.sha256)? {
            self.write("terms.txt", terms.text().as_bytes())?;
        }
        Ok(())
    }

    /// The desk's assignment as the engineer presented it; it stands in record 0.
    fn assignment(&mut self) -> Result<(), Failure> {
        let record = self.directory.join(RECORD_NAME);
        let first = platform::on_behalf(&record, || Transcript::open(&record, None))?.next().transpose()?;
        let start = first.filter(|row| row.kind == Kind::Start).and_then(|row| row.content);
        if let Some(rs_session::record::Content::Start(start)) = start
            && let Some(assignment) = start.assignment
        {
            self.write("assignment.json", format!("{}\n", assignment.to_json()).as_bytes())?;
        }
        Ok(())
    }

    fn sign(&mut self, identity: &SessionIdentity, context: &Context) -> Result<Manifest, Failure> {
        let key = keys::load_or_create(&context.state, Role::Node)?;
        self.names.sort();
        let files = platform::on_behalf(&self.directory, || {
            self.names.iter().map(|name| bundle_file(&self.directory, name)).collect::<Result<Vec<_>, _>>()
        });
        let manifest = Manifest {
            session: identity.session_id,
            node_key: key.public(),
            exported_at: context.clock.now().wall,
            exported_by: node::operator(),
            files: files.map_err(|error| Failure::io(&self.directory, "read the bundle back", error))?,
        };
        let envelope = Envelope::sign(&manifest, &key).map_err(|error| {
            Failure::new(ErrorCode::Internal, "the manifest cannot be signed").because(error)
        })?;
        files::write_statement(&self.directory.join(MANIFEST_NAME), &envelope)?;
        platform::on_behalf(&self.directory, || File::open(&self.directory))
            .and_then(|directory| directory.sync_all())
            .or_else(|error| if cfg!(windows) { Ok(()) } else { Err(error) })
            .map_err(|error| Failure::io(&self.directory, "sync the directory", error))?;
        Ok(manifest)
    }
}

/// What a bundle tells besides its session, or does not show.
const fn disclosure(with_log: bool) -> &'static str {
    if with_log {
        "It discloses more than this session: report.txt tells of every session and command of its support request, and \
         node.log names every session, engineer, request and refusal of this node up to now. `--node-log none` leaves the \
         log out."
    } else {
        "It discloses more than this session: report.txt tells of every session and command of its support request. The \
         node's log is not in it, so the bundle does not show by itself that nothing was cut off the record; the end \
         record and the engineer's receipts are what shows it."
    }
}

const README: &str = "\
This directory is the evidence of one remote support session.

  session.record        the record: every line that was sent, everything that was shown; the truth
  transcript.txt        the same to read; a rendering
  session.end.json      how and how fast the access ended, signed by the node
  report.txt, .json     the whole support request: consents, sessions, commands
  grant.json, terms.txt the consent and the text that was agreed to
  request*.json, opening.json, assignment.json
                        the statements of node and desk, as they were signed
  keys.json             the public keys of node, desk, engineer and session
  node.log              the node's log up to the export: it names the session, and shows that nothing was cut off it; it
                        names the node's other sessions too, and is left out where the exporter wished so
  manifest.json         length and hash of each file, signed by the node

To check it, with nothing but this directory and the node's public key (ask the node's owner, not the sender):

  remote-support session verify DIRECTORY --node-key node.pub

The format is described in the source of remote-support, rs-session/src/record/mod.rs and node_log/mod.rs; it needs SHA-256
and Ed25519 and no other means.
";

//! `diagnostic-data`: what was collected on this node, what left it, and where it may go.

use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};
use rs_session::bundle::{StoreError, Stored};
use secrecy::ExposeSecret as _;
use uuid::Uuid;

use crate::blob::{Container, DESTINATION_NAME};
use crate::context::Context;
use crate::dry_run::{self, DryRun};
use crate::files;
use crate::outcome::{ErrorCode, Failure, Outcome};
use crate::output::{Record, Value, date};
use crate::records::bundles;
use crate::state::{Role, StateDir};

/// What to do with diagnostic data.
#[derive(Debug, Subcommand)]
pub enum DiagnosticDataCommand {
    /// List the bundles on this node, and which of them have left.
    List(ListArgs),
    /// Show what is in a bundle: every part with size, hash and masked places.
    Show(BundleArgs),
    /// Compare a bundle on this node with its manifest, byte by byte; exit code 6 where they differ.
    Verify(VerifyArgs),
    /// Remove a bundle from this node; what has left is not affected.
    Remove(RemoveArgs),
    /// Where bundles go when you approve that they leave. Without a destination they stay on this node.
    #[command(subcommand)]
    Destination(DestinationCommand),
}

/// Arguments of `diagnostic-data list`.
#[derive(Debug, Args)]
pub struct ListArgs {}

/// Arguments that name a bundle.
#[derive(Debug, Args)]
pub struct BundleArgs {
    /// Id of the bundle.
    #[arg(value_name = "ID")]
    pub bundle_id: Uuid,
}

/// Arguments of `diagnostic-data verify`.
#[derive(Debug, Args)]
pub struct VerifyArgs {
    /// Id of the bundle.
    #[arg(value_name = "ID")]
    pub bundle_id: Uuid,
    /// Compare this archive with the manifest instead of the one on this node, such as one fetched from its destination.
    #[arg(long, value_name = "FILE", env = "REMOTE_SUPPORT_ARCHIVE")]
    pub archive: Option<PathBuf>,
}

/// What to do with the destination.
#[derive(Debug, Subcommand)]
pub enum DestinationCommand {
    /// Let bundles go to a container of Azure Blob storage.
    Set(SetArgs),
    /// Show where bundles go, without the credential.
    Show(ShowArgs),
    /// Let bundles stay on this node.
    Clear(ClearArgs),
}

/// Arguments of `diagnostic-data destination set`.
#[derive(Debug, Args)]
pub struct SetArgs {
    /// File with the container's URL and its shared access signature (create and write are enough), mode 0600, or `-`
    /// for standard input.
    #[arg(
        long,
        value_name = "FILE",
        required = true,
        env = "REMOTE_SUPPORT_SAS_URL_FILE",
        hide_env_values = true
    )]
    pub sas_url_file: PathBuf,
    /// Whether to look only.
    #[command(flatten)]
    pub dry_run: DryRun,
}

/// Arguments of `diagnostic-data remove`.
#[derive(Debug, Args)]
pub struct RemoveArgs {
    /// Id of the bundle.
    #[arg(value_name = "ID")]
    pub bundle_id: Uuid,
    /// Whether to look only.
    #[command(flatten)]
    pub dry_run: DryRun,
}

/// Arguments of `diagnostic-data destination show`.
#[derive(Debug, Args)]
pub struct ShowArgs {}

/// Arguments of `diagnostic-data destination clear`.
#[derive(Debug, Args)]
pub struct ClearArgs {
    /// Whether to look only.
    #[command(flatten)]
    pub dry_run: DryRun,
}

impl From<StoreError> for Failure {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::Unknown(id) => Self::new(ErrorCode::NotFound, "there is no such bundle on this node")
                .about(id.to_string())
                .next_step("see `remote-support diagnostic-data list`"),
            StoreError::Damaged { .. } => {
                Self::new(ErrorCode::Integrity, "a bundle on this node is damaged").because(error)
            }
            error => Self::new(ErrorCode::Io, "the bundles of this node cannot be used").because(error),
        }
    }
}

/// Runs a command.
///
/// # Errors
///
/// [`ErrorCode::NotFound`] where there is no such bundle; [`ErrorCode::Integrity`] where one is damaged;
/// [`ErrorCode::InvalidFile`] for a URL that cannot be used, [`ErrorCode::UnsafePermissions`] for its file.
pub fn run(command: &DiagnosticDataCommand, context: &mut Context) -> Result<Outcome, Failure> {
    match command {
        DiagnosticDataCommand::List(_) => list(context),
        DiagnosticDataCommand::Show(args) => show(args.bundle_id, context),
        DiagnosticDataCommand::Verify(args) => verify(args, context),
        DiagnosticDataCommand::Remove(args) => remove(args, context),
        DiagnosticDataCommand::Destination(DestinationCommand::Set(args)) => set(args, context),
        DiagnosticDataCommand::Destination(DestinationCommand::Show(_)) => destination(context),
        DiagnosticDataCommand::Destination(DestinationCommand::Clear(args)) => clear(args, context),
    }
}

fn list(context: &mut Context) -> Result<Outcome, Failure> {
    let (bundles, faults) = bundles(&context.state).list()?;
    let records: Vec<Record> = bundles.iter().map(summary).collect();
    context.print_all(&records)?;
    if records.is_empty() && faults.is_empty() {
        context.note("No diagnostic data was collected on this node.");
    }
    for fault in &faults {
        context.note(format!("A bundle cannot be read: {fault}."));
    }
    Ok(if faults.is_empty() { Outcome::Done } else { Outcome::Partial })
}

fn summary(Stored { manifest, manifest_sha256, released }: &Stored) -> Record {
    Record::new()
        .field("BundleId", manifest.bundle_id.to_string())
        .field("CollectedAt", manifest.collected_at)
        .field("Parts", manifest.parts.len() as u64)
        .field("Bytes", manifest.archive.bytes)
        .field("Masked", manifest.parts.iter().map(|part| part.masked).sum::<u64>())
        .field("Left", released.is_some())
        .detail("Destination", released.as_ref().map(|released| released.destination.clone()))
        .detail("LeftAt", released.as_ref().map(|released| released.at))
        .detail("ApprovedBy", released.as_ref().map(|released| released.approved_by.clone()))
        .detail("SupportRequest", manifest.support_request.to_string())
        .detail("Engineer", manifest.engineer.as_str())
        .detail("SessionId", manifest.session_id.to_string())
        .extra("GrantId", manifest.grant_id.to_string())
        .extra("Sha256", manifest.archive.sha256.to_string())
        .extra("ManifestSha256", manifest_sha256.to_string())
}

fn show(bundle: Uuid, context: &mut Context) -> Result<Outcome, Failure> {
    let stored = bundles(&context.state).read(bundle)?;
    context.print_one(&summary(&stored).extra("Manifest", serde_json::json!(stored.manifest)))?;
    context.note(stored.manifest.describe());
    let path = bundles(&context.state).path(bundle);
    context.note(format!("It lies in {}; to look into it: tar tzvf bundle.tar.gz.", path.display()));
    Ok(Outcome::Done)
}

fn verify(args: &VerifyArgs, context: &mut Context) -> Result<Outcome, Failure> {
    /// Largest archive that is read: more than any bundle has.
    const ARCHIVE_BYTES_MAX: usize = 2 * rs_session::bundle::BUNDLE_BYTES_MAX;
    let store = bundles(&context.state);
    let faults = match &args.archive {
        None => store.verify(args.bundle_id)?,
        Some(path) => {
            let archive = files::read(path, ARCHIVE_BYTES_MAX)?;
            rs_session::bundle::verify(&store.read(args.bundle_id)?.manifest, &archive)
        }
    };
    let record = Record::new()
        .field("BundleId", args.bundle_id.to_string())
        .field("Intact", faults.is_empty())
        .extra("Faults", serde_json::json!(faults.iter().map(ToString::to_string).collect::<Vec<_>>()));
    context.print_one(&record)?;
    if faults.is_empty() {
        context
            .note("Every byte is as the manifest says. The manifest's own hash is on record in the session.");
        return Ok(Outcome::Done);
    }
    let said: Vec<String> = faults.iter().map(ToString::to_string).collect();
    Err(Failure::new(ErrorCode::Integrity, "the bundle is not what its manifest says")
        .about(args.bundle_id.to_string())
        .because(std::io::Error::other(said.join("; "))))
}

fn remove(args: &RemoveArgs, context: &mut Context) -> Result<Outcome, Failure> {
    let bundle = args.bundle_id;
    if args.dry_run.dry_run {
        let stored = bundles(&context.state).read(bundle)?;
        return dry_run::told(summary(&stored).field("Removed", false), context);
    }
    bundles(&context.state).remove(bundle)?;
    context.print_one(&Record::new().field("BundleId", bundle.to_string()).field("Removed", true))?;
    context.note("Removed from this node. What has left it is not affected; its hashes stay on record.");
    Ok(Outcome::Done)
}

fn destination_file(context: &Context) -> PathBuf {
    context.state.role(Role::Node).file(DESTINATION_NAME)
}

fn set(args: &SetArgs, context: &mut Context) -> Result<Outcome, Failure> {
    let text = if args.sas_url_file == Path::new("-") {
        files::read_secret_from(&mut *context.console.input, "standard input")?
    } else {
        files::read_secret(&args.sas_url_file)?
    };
    let container = Container::parse(&text)?;
    let now = context.clock.now().wall;
    if container.expires_at().is_some_and(|end| end <= now) {
        return Err(Failure::new(ErrorCode::InvalidFile, "the storage URL has expired")
            .next_step("ask support for a new one"));
    }
    if args.dry_run.dry_run {
        return dry_run::told(place(Some(&container)), context);
    }
    context.state.role(Role::Node).ensure()?;
    files::replace_secret(&destination_file(context), text.expose_secret().as_bytes())?;
    shown(Some(&container), context)?;
    context
        .note("Bundles go there when you approve that they leave; see `remote-support session approvals`.");
    Ok(Outcome::Done)
}

fn destination(context: &mut Context) -> Result<Outcome, Failure> {
    let file = destination_file(context);
    let container = match file.symlink_metadata() {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => None,
        _ => Some(Container::parse(&files::read_secret(&file)?)?),
    };
    shown(container.as_ref(), context)?;
    if container.is_none() {
        context.note("No destination is set: bundles stay on this node.");
    }
    Ok(Outcome::Done)
}

fn shown(container: Option<&Container>, context: &mut Context) -> Result<(), Failure> {
    context.print_one(&place(container))
}

fn place(container: Option<&Container>) -> Record {
    Record::new()
        .field("Destination", container.map_or(Value::None, |container| container.place().into()))
        .field("ExpiresAt", container.and_then(Container::expires_at))
}

fn clear(args: &ClearArgs, context: &mut Context) -> Result<Outcome, Failure> {
    if args.dry_run.dry_run {
        return dry_run::told(place(None), context);
    }
    let file = destination_file(context);
    match std::fs::remove_file(&file) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            return Err(Failure::io(&file, "remove the file", error));
        }
        _ => {}
    }
    shown(None, context)?;
    context.note("Bundles stay on this node from now on. What has left is not affected.");
    Ok(Outcome::Done)
}

/// What left under the grants of this node, in lines for `disable` (C22); `None` where nothing did.
pub(crate) fn what_left(state: &StateDir) -> Option<String> {
    let (bundles, _) = bundles(state).list().ok()?;
    let line = |Stored { manifest, released, .. }: &Stored| {
        let released = released.as_ref()?;
        let (at, bytes) = (date(released.at), manifest.archive.bytes);
        let (request, place) = (manifest.support_request, &released.destination);
        Some(format!("  {at}: {bytes} bytes for request {request}, to {place}"))
    };
    let lines: Vec<String> = bundles.iter().filter_map(line).collect();
    (!lines.is_empty()).then(|| {
        format!(
            "Diagnostic data that left this node before, and that revoking does not bring back:\n{}",
            lines.join("\n")
        )
    })
}

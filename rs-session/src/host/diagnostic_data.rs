//! `Send-DiagnosticData`: collect, mask, pack, put the manifest on record, ask, send, put on record what arrived.
//!
//! The worker only reads. Here its pieces become parts, are masked and packed into a bundle that stays on the node. What
//! the engineer sees is the manifest, so the hashes of everything are durable before the first byte leaves. It leaves only
//! to the place that the operator has set, and only after the operator's Yes to this manifest, unless the consent says
//! that releases are not asked about (SEC35). The one that carries it is a [`Courier`].

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use rs_consent::clock::Clock;
use rs_consent::digest::Sha256;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::engine::{Occasion, Progress, RunningWork};
use crate::bundle::{
    Archive, BUNDLE_BYTES_MAX, BundleStore, Manifest, PART_BYTES_MAX, PARTS_MAX, Part, Released, Stored,
    is_part_name, pack,
};
use crate::operations::executor::{Chunk, Control, Executor, Running, Stream};
use crate::operations::wire::{Finish, Status};
use crate::operations::{OutputForm, Plan};
use crate::protocol::{Answer, Ask};
use crate::record::{ApprovalSubject, OutputData};

/// Name of the command.
pub(super) const COMMAND: &str = "Send-DiagnosticData";
/// Most bytes of pieces that a worker may give: a whole bundle in base64, with names around it.
const PIECES_BYTES_MAX: u64 = 2 * BUNDLE_BYTES_MAX as u64;
/// Longest line of a worker, in bytes.
const LINE_BYTES_MAX: usize = 64 << 10;
/// Steps of progress that wait to be put on record.
const PROGRESS_WAITING_MAX: usize = 4;

/// Carries bundles to the place that the operator has set.
#[async_trait]
pub trait Courier: Send + Sync + fmt::Debug {
    /// Where bundles go, without any credential; `None` where they stay on the node.
    ///
    /// # Errors
    /// Why the place that was set cannot be used, in words and without a secret.
    fn destination(&self) -> Result<Option<String>, String>;

    /// Brings archive and manifest there, and returns when both have arrived. `progress` takes lines for the record.
    ///
    /// # Errors
    /// Why it did not arrive, in words and without a secret.
    ///
    /// # Cancel safety
    /// Nothing more is sent when the future is dropped; what arrived until then may lie there incomplete.
    async fn deliver(&self, parcel: Parcel<'_>, progress: mpsc::Sender<String>) -> Result<String, String>;
}

/// What a courier carries.
#[derive(Debug, Clone, Copy)]
#[non_exhaustive]
pub struct Parcel<'a> {
    /// What is in it.
    pub manifest: &'a Manifest,
    /// The manifest's bytes.
    pub manifest_bytes: &'a [u8],
    /// The archive's bytes.
    pub archive: &'a [u8],
}

impl<'a> Parcel<'a> {
    /// Archive and manifest as they are sent.
    #[must_use]
    pub const fn new(manifest: &'a Manifest, manifest_bytes: &'a [u8], archive: &'a [u8]) -> Self {
        Self { manifest, manifest_bytes, archive }
    }
}

/// Masks secrets in the text of one part; gives the text that may go out and how many places were masked.
pub trait Masker: Send + Sync + fmt::Debug {
    /// See [`Masker`]; `bundle` names the bundle that the part belongs to.
    fn mask(&self, text: &str, bundle: Uuid) -> (String, u64);
}

/// What the host needs for bundles.
#[derive(Debug, Clone)]
pub struct DiagnosticData {
    /// Where they lie on the node.
    pub store: BundleStore,
    /// Who carries them away.
    pub courier: Arc<dyn Courier>,
    /// Who masks secrets in them.
    pub masker: Arc<dyn Masker>,
    /// Name of the node.
    pub node: String,
    /// The clock for what is written down.
    pub clock: Arc<dyn Clock>,
}

/// The work, as the session sees it.
pub(super) struct Sending {
    progress: mpsc::Receiver<Progress>,
    answers: mpsc::Sender<Answer>,
    /// Steps that were taken, all of which are dealt with when the next one is asked for.
    taken: u64,
    dealt_with: watch::Sender<u64>,
    stop: CancellationToken,
    worker: Arc<Mutex<Option<Control>>>,
    task: JoinHandle<()>,
}

impl Sending {
    pub(super) async fn start(
        executor: &Arc<dyn Executor>,
        mut plan: Plan,
        occasion: Occasion,
        data: DiagnosticData,
    ) -> Result<Self, String> {
        plan.form = OutputForm::Objects;
        plan.limits.output_bytes = PIECES_BYTES_MAX;
        let running = executor.start(plan).await.map_err(|error| error.to_string())?;
        let worker = Arc::new(Mutex::new(Some(running.control())));
        let (out, progress) = mpsc::channel(PROGRESS_WAITING_MAX);
        let (answers, answered) = mpsc::channel(1);
        let (dealt_with, settled) = watch::channel(0);
        let stop = CancellationToken::new();
        let steps = Steps { out, answered, settled, given: 0 };
        let task = tokio::spawn(run(running, steps, occasion, data, stop.clone()));
        Ok(Self { progress, answers, taken: 0, dealt_with, stop, worker, task })
    }
}

#[async_trait]
impl RunningWork for Sending {
    async fn next(&mut self) -> Progress {
        self.dealt_with.send_replace(self.taken);
        match self.progress.recv().await {
            Some(progress) => {
                self.taken += 1;
                progress
            }
            None => Progress::Finished(Finish::new(Status::Fault, "the collection ended without a result")),
        }
    }

    async fn answered(&mut self, answer: Answer) {
        // Work that has ended meanwhile hears nothing.
        let _ = self.answers.send(answer).await;
    }

    async fn interrupt(&mut self) {
        self.stop.cancel();
    }

    async fn kill(&mut self) {
        self.task.abort();
        let control = self.worker.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(control) = control {
            control.kill().await;
        }
        // An aborted task ends with an error; what counts is that it has ended.
        let _ = (&mut self.task).await;
    }
}

impl Drop for Sending {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// The session's ear and mouth, as the work sees them.
struct Steps {
    out: mpsc::Sender<Progress>,
    answered: mpsc::Receiver<Answer>,
    settled: watch::Receiver<u64>,
    given: u64,
}

impl Steps {
    async fn give(&mut self, progress: Progress) {
        self.given += 1;
        // A session that has ended takes nothing any more; the task is aborted with it.
        let _ = self.out.send(progress).await;
    }

    /// Goes on record whole; output may be held back until it is known that no secret begins in it.
    async fn note(&mut self, text: String) {
        self.give(Progress::Note(text)).await;
    }

    async fn say(&mut self, text: String) {
        self.give(Progress::Output(OutputData::Text(text))).await;
    }

    /// Returns when everything that was given is durable on record.
    async fn on_record(&mut self) {
        let given = self.given;
        // The session is gone: this task is about to be aborted, and must not go on until then.
        if self.settled.wait_for(|taken| *taken >= given).await.is_err() {
            std::future::pending::<()>().await;
        }
    }

    async fn ask(&mut self, ask: Ask) -> Answer {
        self.give(Progress::Ask(ask)).await;
        self.answered.recv().await.unwrap_or(Answer::Unanswered)
    }
}

async fn run(
    mut running: Running,
    mut steps: Steps,
    occasion: Occasion,
    data: DiagnosticData,
    stop: CancellationToken,
) {
    let finish = tokio::select! {
        finish = whole(&mut running, &mut steps, &occasion, &data) => finish,
        () = stop.cancelled() => {
            running.kill().await;
            Finish::new(Status::Interrupted, "interrupted; nothing more leaves")
        }
    };
    steps.give(Progress::Finished(finish)).await;
}

async fn whole(
    running: &mut Running,
    steps: &mut Steps,
    occasion: &Occasion,
    data: &DiagnosticData,
) -> Finish {
    match send(running, steps, occasion, data).await {
        Ok(()) => Finish::new(Status::Done, ""),
        Err(finish) => finish,
    }
}

fn failed(why: impl fmt::Display) -> Finish {
    Finish::new(Status::Failed, why.to_string())
}

async fn send(
    running: &mut Running,
    steps: &mut Steps,
    occasion: &Occasion,
    data: &DiagnosticData,
) -> Result<(), Finish> {
    let destination = data.courier.destination().map_err(failed)?;
    let sources = collect(running, steps).await?;
    let (stored, archive) = bundle(sources, occasion, data).await?;
    let place = destination.as_ref().map_or_else(
        || String::from("It stays on the node: the operator has set no destination."),
        |destination| format!("It is to leave for {destination}."),
    );
    let (manifest, sha256) = (&stored.manifest, stored.manifest_sha256);
    steps.note(format!("{}  manifest: sha256 {sha256}\n{place}", manifest.describe())).await;
    let Some(destination) = destination else { return Ok(()) };
    let approved_by = approval(&stored, &destination, steps, occasion).await?;
    // Every hash is durable from here on; only now the first byte leaves.
    steps.on_record().await;
    let arrived = deliver(&stored, &archive, steps, data).await?;
    let at = data.clock.now().wall;
    let released = Released { at, destination: arrived.clone(), approved_by, manifest_sha256: sha256 };
    let (store, id) = (data.store.clone(), manifest.bundle_id);
    let noted = tokio::task::spawn_blocking(move || store.released(id, &released)).await;
    noted.map_err(failed)?.map_err(failed)?;
    let Archive { bytes, sha256 } = manifest.archive;
    steps.note(format!("Arrived at {arrived}: {bytes} bytes, sha256 {sha256}; and its manifest.")).await;
    Ok(())
}

/// Whose Yes the bundle leaves with.
async fn approval(
    stored: &Stored,
    destination: &str,
    steps: &mut Steps,
    occasion: &Occasion,
) -> Result<String, Finish> {
    if !occasion.approval.asks_before_releases() {
        return Ok(String::from("consent"));
    }
    let Manifest { bundle_id, parts, archive, .. } = &stored.manifest;
    let masked: u64 = parts.iter().map(|part| part.masked).sum();
    let summary = format!(
        "{COMMAND}: {} parts, {} bytes packed, {masked} places masked, to {destination}; see `diagnostic-data show {bundle_id}`",
        parts.len(),
        archive.bytes
    );
    let details = serde_json::json!({
        "destination": destination,
        "manifestSha256": stored.manifest_sha256,
        "manifest": stored.manifest,
    });
    let ask = Ask { id: Uuid::new_v4(), subject: ApprovalSubject::Release, summary, details };
    match steps.ask(ask).await {
        Answer::Approved { by } => Ok(by),
        answer => {
            let why = format!("{}; the bundle stays on the node", answer.refusal());
            Err(Finish::new(Status::Declined, why))
        }
    }
}

async fn deliver(
    stored: &Stored,
    archive: &[u8],
    steps: &mut Steps,
    data: &DiagnosticData,
) -> Result<String, Finish> {
    let bytes = stored.manifest.encode().map_err(failed)?;
    let parcel = Parcel::new(&stored.manifest, &bytes, archive);
    let (progress, mut lines) = mpsc::channel(PROGRESS_WAITING_MAX);
    let mut delivery = std::pin::pin!(data.courier.deliver(parcel, progress));
    loop {
        tokio::select! {
            biased;
            Some(line) = lines.recv() => steps.say(format!("{line}\n")).await,
            arrived = &mut delivery => return arrived.map_err(|why| failed(format!("{why}; the bundle stays on the node"))),
        }
    }
}

/// One part as its source had it.
struct SourcePart {
    name: String,
    bytes: Vec<u8>,
    cut: bool,
}

/// Puts the worker's pieces together, within the limits of a bundle whatever the worker sends.
async fn collect(running: &mut Running, steps: &mut Steps) -> Result<Vec<SourcePart>, Finish> {
    let (mut pieces, mut line) = (Pieces::default(), String::new());
    while let Some(Chunk { stream, text }) = running.next().await {
        if stream == Stream::Error {
            steps.give(Progress::Output(OutputData::Error(text))).await;
            continue;
        }
        line.push_str(&text);
        while let Some(end) = line.find('\n') {
            let rest = line.split_off(end + 1);
            pieces.take(&std::mem::replace(&mut line, rest)).map_err(broken)?;
        }
        if line.len() > LINE_BYTES_MAX {
            return Err(broken("a line is too long".into()));
        }
    }
    let finish = running.finish().await;
    if !finish.is_done() {
        return Err(finish);
    }
    pieces.finish().map_err(broken)
}

#[expect(clippy::needless_pass_by_value, reason = "the signature that map_err calls")]
fn broken(why: String) -> Finish {
    Finish::new(Status::Fault, format!("the worker's pieces make no bundle: {why}"))
}

#[derive(Default)]
struct Pieces {
    parts: Vec<SourcePart>,
    bytes: usize,
    open: Option<(String, Vec<u8>)>,
}

impl Pieces {
    fn take(&mut self, line: &str) -> Result<(), String> {
        let piece: serde_json::Value = serde_json::from_str(line).map_err(|error| error.to_string())?;
        let name = piece["Part"].as_str().ok_or("a piece without its part")?;
        let (own, mut bytes) = self.open.take().unwrap_or_else(|| (name.to_owned(), Vec::new()));
        if own != name || !is_part_name(name) || self.parts.iter().any(|part| part.name == name) {
            return Err("a piece out of its order".into());
        }
        if let Some(data) = piece["Data"].as_str() {
            let data = STANDARD.decode(data).map_err(|error| error.to_string())?;
            self.bytes += data.len();
            bytes.extend(data);
            if bytes.len() > PART_BYTES_MAX || self.bytes > BUNDLE_BYTES_MAX {
                return Err("more bytes than a bundle may have".into());
            }
            self.open = Some((own, bytes));
            return Ok(());
        }
        if self.parts.len() >= PARTS_MAX {
            return Err("more parts than a bundle may have".into());
        }
        let cut = piece["Cut"].as_bool().ok_or("a piece without data")?;
        self.parts.push(SourcePart { name: own, bytes, cut });
        Ok(())
    }

    fn finish(self) -> Result<Vec<SourcePart>, String> {
        if self.open.is_some() {
            return Err("the last part has no end".into());
        }
        Ok(self.parts)
    }
}

/// Masks, packs and stores; the unmasked bytes are gone when this returns.
async fn bundle(
    sources: Vec<SourcePart>,
    occasion: &Occasion,
    data: &DiagnosticData,
) -> Result<(Stored, Vec<u8>), Finish> {
    let (data, occasion) = (data.clone(), occasion.clone());
    let made = tokio::task::spawn_blocking(move || made(sources, occasion, &data)).await;
    made.map_err(failed)?
}

fn made(
    sources: Vec<SourcePart>,
    occasion: Occasion,
    data: &DiagnosticData,
) -> Result<(Stored, Vec<u8>), Finish> {
    let bundle_id = Uuid::new_v4();
    let (mut parts, mut texts) = (Vec::new(), Vec::new());
    for SourcePart { name, bytes, cut } in sources {
        let (text, masked) = data.masker.mask(&String::from_utf8_lossy(&bytes), bundle_id);
        let sha256 = Sha256::of(text.as_bytes());
        parts.push(Part { name: name.clone(), bytes: text.len() as u64, sha256, masked, cut });
        texts.push((name, text));
    }
    let packed = pack(texts.iter().map(|(name, text)| (name.as_str(), text.as_bytes()))).map_err(failed)?;
    let manifest = Manifest {
        bundle_id,
        collected_at: data.clock.now().wall,
        node: data.node.clone(),
        session_id: occasion.session,
        engineer: occasion.engineer,
        support_request: occasion.request,
        grant_id: occasion.grant,
        parts,
        archive: Archive { bytes: packed.len() as u64, sha256: Sha256::of(&packed) },
    };
    let stored = data.store.keep(&manifest, &packed).map_err(failed)?;
    Ok((stored, packed))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn piece(part: &str, data: &[u8]) -> String {
        serde_json::json!({ "Part": part, "Data": STANDARD.encode(data) }).to_string()
    }

    fn end(part: &str) -> String {
        serde_json::json!({ "Part": part, "Cut": false }).to_string()
    }

    #[test]
    fn pieces_become_parts() {
        let mut pieces = Pieces::default();
        for line in [piece("a", b"one"), piece("a", b"two"), end("a"), end("b")] {
            pieces.take(&line).unwrap();
        }
        let parts = pieces.finish().unwrap();
        assert_eq!((parts[0].name.as_str(), parts[0].bytes.as_slice()), ("a", &b"onetwo"[..]));
        assert_eq!((parts[1].name.as_str(), parts[1].bytes.len()), ("b", 0));
    }

    #[test]
    fn sec46_a_worker_cannot_make_a_bundle_beyond_its_limits() {
        for bad in [
            vec!["no json".into()],
            vec![piece("../a", b"x")],
            vec![piece("a", b"x"), piece("b", b"y")],
            vec![end("a"), end("a")],
            vec![r#"{"Part":"a"}"#.into()],
            vec![r#"{"Part":"a","Data":"*"}"#.into()],
        ] {
            let mut pieces = Pieces::default();
            assert!(bad.iter().any(|line: &String| pieces.take(line).is_err()), "{bad:?}");
        }
        let mut pieces = Pieces::default();
        pieces.take(&piece("a", &vec![b'x'; PART_BYTES_MAX])).unwrap();
        assert!(pieces.take(&piece("a", b"x")).is_err(), "one byte more");
        let mut pieces = Pieces::default();
        for part in 0..PARTS_MAX {
            pieces.take(&end(&format!("p{part}"))).unwrap();
        }
        assert!(pieces.take(&end("more")).is_err(), "one part more");
        let mut pieces = Pieces::default();
        for part in 0..BUNDLE_BYTES_MAX / PART_BYTES_MAX {
            let name = format!("p{part}");
            pieces.take(&piece(&name, &vec![b'x'; PART_BYTES_MAX])).unwrap();
            pieces.take(&end(&name)).unwrap();
        }
        assert!(pieces.take(&piece("more", b"x")).is_err(), "one byte more than a bundle");
    }
}

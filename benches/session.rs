//! Claim: the record costs a session at most half of what the disk could take, and a line the syncs that it needs.
//!
//! ```sh
//! cargo bench -p rs-benches --bench session               # 16 MiB a round, 15 rounds, on the disk of the build folder
//! cargo bench -p rs-benches --bench session -- 128 5      # MiB a round, rounds
//! BENCH_DISK=/var/tmp cargo bench -p rs-benches --bench session
//! ```
//!
//! Whole sessions over the path of the product: client – encrypted channel – host – masking – journal – disk, contents sealed,
//! receipts of the engineer on record. Only the relay (`relay_path`) and the operation's process are missing. All rows
//! in one process and one run, one after the other in each round; the median counts. Rounds are short, so that what else
//! the disk has to do in the meantime meets all rows alike.
//!
//! * `durable`: as every build of the program does it.
//! * `off`: the same over a disk whose syncs do nothing. Only this bench has such a disk; the program has no such switch.
//! * `floor`: the bytes of the durable session, written to a bare file in the groups in which its journal wrote them, with
//!   one fdatasync for each, and nothing else.
//!
//! `echo` is from the moment when a line is sent to the moment when the engineer has what it printed: a request is durable
//! before it runs, and its output before it leaves, so two syncs at least; its floor is two groups and two fdatasyncs.
//!
//! `bulk` is output in chunks of 64 KiB, always with durability but for `both, off`:
//!
//! * `node`: the engineer's side reads and signs, as often as the protocol asks for, and no more. In the product it runs on another
//!   machine, so this is what the record costs the node. `SESSION_BOUNDS=1` makes the bench fail below half of its floor.
//! * `both`: the engineer's client checks and decodes every record, on the same processors.
//! * `floor 512K`: the same bytes with one fdatasync per 512 KiB, however the journal grouped them: how much more the disk
//!   takes in larger groups. A session gains nothing by them while its own work is what limits it.
//!
//! # Results
//!
//! On a virtual machine with 2 processors, Linux 6.18, `-- 32 15`, eight runs, nothing else at work; least, middle and most:
//!
//! | bulk | MB/s | part of its floor | ns of processor time a byte |
//! | --- | ---: | ---: | ---: |
//! | node | 347, 379, 407 | 0.51, 0.56, 0.61 | 3.8, 4.0, 4.3 |
//! | both | 278, 298, 315 | 0.47, 0.52, 0.56 | 5.2, 5.4, 5.5 |
//! | both, off | 314, 330, 343 | | 5.0, 5.1, 5.5 |
//!
//! The bound holds for the node in all eight runs, and for both sides together in six. What limits is processor time: of both
//! sides' SHA-256 takes a fifth, Ed25519 a seventh, the kernel (writing, syncing, waking) a fifth, copies a tenth, masking 4 %.
//!
//! A floor depends on the size of the groups (210 to 550 KiB here) and on the hour: it went from 539 to 730 MB/s. So each row is held
//! against one of its own groups, measured in its own rounds. Larger groups gain a session nothing here: with a stream between that
//! holds 4 MiB it was as fast as before, and only the floor higher.
//!
//! Echo, five of these runs: 624 to 828 µs, without durability 261 to 406, its floor 272 to 340.

use std::fs::File;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use chrono::TimeDelta;
use rs_consent::grant::{Consent, Grant};
use rs_consent::party::{Desk, Engineer, Grantor, Method, Node};
use rs_consent::request::Opening;
use rs_consent::{
    AccessLevel, ApprovalRule, Assignment, Clock as _, Facts, Gate, GrantId, Minutes, Scope, SigningKey,
    SupportRequest, SystemClock, Terms,
};
use rs_session::channel::Channel;
use rs_session::client::{Client, ClientEvent, Credentials, RECEIPT_BYTES};
use rs_session::disk::{Disk, DiskFile, RealDisk};
use rs_session::host::{Engine, Host, HostSettings, Occasion, Progress, Rights, RunningWork, Silent};
use rs_session::operations::executor::CHUNKS_WAITING_MAX;
use rs_session::operations::wire::{CHUNK_BYTES_MAX, Finish, Status};
use rs_session::protocol::{
    Answer, ClientMessage, Form, NODE_FRAME_BYTES_MAX, Offered, PROTOCOL_VERSION, Planned, Refused, WireFrame,
};
use rs_session::record::{Content, Digest, Frame, Kind, OutputData, Receipt};
use rs_session::sealing::StorageKey;
use tokio::io::{DuplexStream, duplex};
use uuid::Uuid;

const ECHOES: usize = 50;
const RATIO_MIN: f64 = 0.5;

type Outcome<T> = Result<T, Box<dyn std::error::Error + Send + Sync>>;

fn main() -> Outcome<()> {
    let mut numbers = std::env::args().skip(1).filter_map(|argument| argument.parse().ok());
    let (mib, rounds) = (numbers.next().unwrap_or(16), numbers.next().unwrap_or(15));
    let disk = std::env::var_os("BENCH_DISK")
        .map_or_else(|| PathBuf::from(env!("CARGO_TARGET_TMPDIR")), PathBuf::from);
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    println!("median of {rounds} rounds");
    runtime.block_on(echo(&disk, rounds))?;
    let holds = runtime.block_on(bulk(&disk, mib, rounds))?;
    assert!(holds || std::env::var_os("SESSION_BOUNDS").is_none(), "bulk output is too slow");
    Ok(())
}

async fn echo(disk: &Path, rounds: usize) -> Outcome<()> {
    let (mut durable, mut off, mut floor) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..rounds {
        let (node, took) = echoes(disk, true).await?;
        durable.push(took);
        let groups = node.disk.groups();
        // Of the groups of a line, the first two are what the echo waits for: request and output.
        let mean = groups.iter().sum::<usize>() / groups.len().max(1);
        floor.push(bare(disk, &vec![mean; 2 * ECHOES])?);
        off.push(echoes(disk, false).await?.1);
    }
    let each = |times: &mut Vec<Duration>| median(times).as_secs_f64() * 1e6 / ECHOES as f64;
    let (durable, off, floor) = (each(&mut durable), each(&mut off), each(&mut floor));
    println!("echo: {ECHOES} lines, one after the other");
    for (what, each) in [("durable", durable), ("off", off), ("floor", floor)] {
        println!("  {what:10} {each:9.0} µs from line to output");
    }
    println!(
        "  ratio      {:9.2} of the floor's time, {:.2} of the time without durability",
        durable / floor,
        durable / off
    );
    Ok(())
}

async fn echoes(disk: &Path, synced: bool) -> Outcome<(Site, Duration)> {
    let site = Site::new(disk, synced, Arc::from("what was typed\n"))?;
    let mut client = site.connect().await?;
    let mut took = Duration::ZERO;
    for _ in 0..ECHOES {
        let start = Instant::now();
        client.invoke("1", Form::Text, None).await?;
        until(&mut client, |content| matches!(content, Content::Output(_))).await?;
        took += start.elapsed();
        until(&mut client, |content| matches!(content, Content::Finished(_))).await?;
    }
    leave(client).await?;
    Ok((site, took))
}

/// What the rounds of a row took, with the floor of the groups that its journal wrote.
#[derive(Default)]
struct Row {
    took: Vec<Duration>,
    /// Processor time of both sides.
    busy: Vec<Duration>,
    floor: Vec<Duration>,
    groups: Vec<usize>,
}

impl Row {
    async fn round(&mut self, disk: &Path, mib: usize, synced: bool, side: Side) -> Outcome<()> {
        let before = processor_time();
        let (site, took) = output(disk, mib, synced, side).await?;
        self.busy.push(processor_time() - before);
        self.took.push(took);
        self.groups = site.disk.groups();
        drop(site);
        self.floor.push(bare(disk, &self.groups)?);
        Ok(())
    }

    fn bytes(&self) -> usize {
        self.groups.iter().sum()
    }

    /// Prints the row and gives its part of the floor's rate.
    fn print(&mut self, name: &str, bytes: usize) -> f64 {
        let rate = |times: &mut Vec<Duration>| bytes as f64 / 1e6 / median(times).as_secs_f64();
        let (took, floor) = (rate(&mut self.took), rate(&mut self.floor));
        let busy = median(&mut self.busy).as_secs_f64();
        println!(
            "  {name:10} {took:9.1} MB/s, {:.2} of its floor of {floor:.1}; {:.1} ns of processor time a byte, {:.2} of 2 processors; \
             {} KiB a group",
            took / floor,
            busy * 1e9 / bytes as f64,
            busy * took * 1e6 / bytes as f64,
            self.bytes() / self.groups.len().max(1) / 1024
        );
        took / floor
    }
}

/// Whether the bound holds.
async fn bulk(disk: &Path, mib: usize, rounds: usize) -> Outcome<bool> {
    let (mut node, mut both, mut off, mut fixed) =
        (Row::default(), Row::default(), Row::default(), Vec::new());
    for _ in 0..rounds {
        node.round(disk, mib, true, Side::ReadsAndSigns).await?;
        both.round(disk, mib, true, Side::Whole).await?;
        off.round(disk, mib, false, Side::Whole).await?;
        let group = CHUNKS_WAITING_MAX * CHUNK_BYTES_MAX;
        fixed.push(bare(disk, &vec![group; both.bytes() / group])?);
    }
    let bytes = mib << 20;
    println!("bulk: {mib} MiB of output in chunks of 64 KiB, a record of {} bytes", both.bytes());
    let ratio = node.print("node", bytes);
    both.print("both", bytes);
    off.print("both, off", bytes);
    println!("  {:10} {:9.1} MB/s", "floor 512K", bytes as f64 / 1e6 / median(&mut fixed).as_secs_f64());
    let holds = ratio >= RATIO_MIN;
    println!(
        "bound for the node ({RATIO_MIN} of its floor): {}",
        if holds { "holds" } else { "does not hold" }
    );
    Ok(holds)
}

/// Who is at the engineer's end.
#[derive(Clone, Copy)]
enum Side {
    /// [`Client`], as the product has it.
    Whole,
    /// [`Site::read_and_sign`].
    ReadsAndSigns,
}

async fn output(disk: &Path, mib: usize, synced: bool, side: Side) -> Outcome<(Site, Duration)> {
    let line = format!("{}\n", "0123456789abcdef".repeat(7));
    let chunk = line.repeat(CHUNK_BYTES_MAX / line.len());
    let chunks = ((mib << 20) / chunk.len()).to_string();
    let site = Site::new(disk, synced, Arc::from(chunk))?;
    let took = match side {
        Side::ReadsAndSigns => site.read_and_sign(chunks).await?,
        Side::Whole => {
            let mut client = site.connect().await?;
            let start = Instant::now();
            client.invoke(&chunks, Form::Text, None).await?;
            until(&mut client, |content| matches!(content, Content::Finished(_))).await?;
            let took = start.elapsed();
            leave(client).await?;
            took
        }
    };
    Ok((site, took))
}

/// What this process has used so far.
fn processor_time() -> Duration {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
    Duration::new(time.tv_sec.unsigned_abs(), u32::try_from(time.tv_nsec).unwrap_or_default())
}

fn median(times: &mut [Duration]) -> Duration {
    times.sort();
    times[times.len() / 2]
}

/// These groups on a bare file, one fdatasync each.
fn bare(disk: &Path, groups: &[usize]) -> Outcome<Duration> {
    let folder = tempfile::tempdir_in(disk)?;
    let mut file = File::create_new(folder.path().join("bare"))?;
    let bytes = vec![b'x'; groups.iter().copied().max().unwrap_or_default()];
    let start = Instant::now();
    for group in groups {
        file.write_all(&bytes[..*group])?;
        file.sync_data()?;
    }
    Ok(start.elapsed())
}

async fn until(client: &mut Client<DuplexStream>, wanted: fn(&Content) -> bool) -> Outcome<()> {
    loop {
        match client.next().await? {
            ClientEvent::Record { content: Some(content), .. } if wanted(&content) => return Ok(()),
            ClientEvent::Ended { message, .. } => return Err(message.into()),
            _ => {}
        }
    }
}

async fn leave(mut client: Client<DuplexStream>) -> Outcome<()> {
    client.bye().await?;
    while !matches!(client.next().await?, ClientEvent::Ended { .. }) {}
    // The node may have closed before.
    let _closed = client.close().await;
    Ok(())
}

/// A node with a grant and an open request, and an engineer who is assigned to it.
struct Site {
    host: Host<Printer>,
    node: Arc<SigningKey>,
    engineer: Arc<SigningKey>,
    desk: SigningKey,
    disk: CountingDisk,
    _folder: tempfile::TempDir,
}

impl Site {
    fn new(disk: &Path, synced: bool, chunk: Arc<str>) -> Outcome<Self> {
        let folder = tempfile::tempdir_in(disk)?;
        let (node, engineer) = (Arc::new(SigningKey::generate()?), Arc::new(SigningKey::generate()?));
        let (desk, clock) = (SigningKey::generate()?, SystemClock::new());
        let disk = CountingDisk { synced, groups: Arc::default() };
        let mut settings = HostSettings::new("node-01".parse()?, folder.path());
        settings.disk = Arc::new(disk.clone());
        settings.storage = Arc::new(StorageKey::generate()?);
        let limits = &mut settings.limits;
        (limits.output_bytes, limits.record_bytes_per_day) = (1 << 40, 1 << 40);
        (limits.lines, limits.lines_per_minute) = (1_000_000, 60_000);
        let gate = Gate::new(node.public());
        let wall = clock.now().wall;
        let number = "2611250000000001".parse()?;
        let names = (
            Node { name: "node-01".parse()?, key: node.public() },
            Desk { name: "support.example".parse()?, key: desk.public() },
        );
        let mut request = SupportRequest::submit(number, "a bench".parse()?, names.0, wall);
        request
            .confirm(&Opening { number, node_key: node.public(), desk: names.1, opened_at: wall }, wall)?;
        let consent = Consent {
            level: AccessLevel::Diagnostics,
            minutes: Minutes::DEFAULT,
            terms: Terms::azure_local(),
            request: None,
            grantor: Grantor {
                user: "admin".parse()?,
                host: "node-01".parse()?,
                method: Method::CommandLine,
            },
            catalog: None,
            scope: Scope::default(),
            approval: ApprovalRule::default(),
            conditions: rs_consent::Conditions::default(),
            requested: clock.now(),
        };
        let grant = Grant::new(GrantId::new(Uuid::new_v4()), &consent, &clock.now())?;
        gate.load(Facts { revision: 1, requests: vec![request], grant: Some(grant), ..Facts::default() });
        let host = Host::new(
            settings,
            Arc::clone(&node),
            gate,
            Arc::new(clock),
            Printer { chunk },
            Arc::new(Silent),
        );
        Ok(Self { host, node, engineer, desk, disk, _folder: folder })
    }

    fn assignment(&self) -> Outcome<Assignment> {
        let now = SystemClock::new().now().wall;
        Ok(Assignment {
            id: Uuid::new_v4(),
            desk: Desk { name: "support.example".parse()?, key: self.desk.public() },
            request: "2611250000000001".parse()?,
            node: Node { name: "node-01".parse()?, key: self.node.public() },
            engineer: Engineer { id: "engineer@support.example".parse()?, key: self.engineer.public() },
            level_cap: AccessLevel::Diagnostics,
            issued_at: now,
            expires_at: now + TimeDelta::hours(8),
            relay: None,
        })
    }

    /// A stream to the node, which serves it.
    fn dial(&self) -> DuplexStream {
        let (near, far) = duplex(256 << 10);
        let host = self.host.clone();
        tokio::spawn(async move { host.serve(far).await });
        near
    }

    async fn connect(&self) -> Outcome<Client<DuplexStream>> {
        let assignment = self.assignment()?;
        let credentials = Credentials {
            engineer: Arc::clone(&self.engineer),
            assignment: assignment.issue(&self.desk)?,
            assignment_id: assignment.id,
            node: self.node.public(),
        };
        Ok(Client::connect(self.dial(), credentials, "bench", None).await?)
    }

    /// An engineer's side that does what the node waits for and no more: it runs a line, reads, and signs as often as the
    /// protocol asks for. What it signs it does not check, and what it reads it does not look at.
    async fn read_and_sign(&self, line: String) -> Outcome<Duration> {
        let assignment = self.assignment()?.issue(&self.desk)?;
        let channel = Channel::connect(self.dial(), &self.engineer, self.node.public()).await?;
        let (mut sender, mut receiver) = channel.split();
        receiver.set_limit(NODE_FRAME_BYTES_MAX);
        let versions = vec![PROTOCOL_VERSION];
        sender.ask(&ClientMessage::Hello { versions, assignment, client: "bench".to_owned() }).await?;
        let start = Instant::now();
        sender.ask(&ClientMessage::Invoke { invocation: 1, line, form: Form::Text, columns: None }).await?;
        let (mut session, mut unsigned, mut took) = (Uuid::nil(), 0, Duration::ZERO);
        while let Some(frame) = receiver.next_frame().await? {
            let WireFrame::Record(bytes) = frame else { continue };
            let frame = Frame::decode_shared(&bytes)?;
            let skeleton = frame.skeleton();
            session = skeleton.session.as_ref().map_or(session, |identity| identity.session_id);
            unsigned += if skeleton.kind == Kind::Receipt { 0 } else { bytes.len() };
            if unsigned >= RECEIPT_BYTES || skeleton.kind == Kind::Finished {
                unsigned = 0;
                let receipt = Receipt::sign(&*self.engineer, session, skeleton.sequence, frame.link());
                sender.ask(&ClientMessage::Receipt(receipt)).await?;
            }
            if skeleton.kind == Kind::Finished {
                took = start.elapsed();
                sender.ask(&ClientMessage::Bye).await?;
            }
        }
        Ok(took)
    }
}

/// Prints a chunk as many times as the line says.
struct Printer {
    chunk: Arc<str>,
}

struct Printing {
    chunk: Arc<str>,
    left: usize,
}

#[async_trait]
impl Engine for Printer {
    type Work = usize;

    fn plan(
        &self,
        line: &str,
        _rights: Rights<'_>,
        _form: Form,
        _columns: Option<u16>,
    ) -> Result<Planned<usize>, Refused> {
        let work = line.parse().map_err(|_| Refused {
            code: "no-number".to_owned(),
            column: None,
            message: String::new(),
        })?;
        Ok(Planned { work, description: serde_json::json!([{ "chunks": line }]), leaves: false })
    }

    fn offered(&self, _rights: Rights<'_>) -> Vec<Offered> {
        Vec::new()
    }

    fn catalog_sha256(&self) -> Digest {
        Digest::of(b"bench")
    }

    async fn start(&self, left: usize, _occasion: &Occasion) -> Result<Box<dyn RunningWork>, String> {
        Ok(Box::new(Printing { chunk: Arc::clone(&self.chunk), left }))
    }
}

#[async_trait]
impl RunningWork for Printing {
    async fn next(&mut self) -> Progress {
        match self.left {
            0 => Progress::Finished(Finish::new(Status::Done, "")),
            _ => {
                self.left -= 1;
                Progress::Output(OutputData::Text(self.chunk.to_string()))
            }
        }
    }

    async fn answered(&mut self, _answer: Answer) {}

    async fn interrupt(&mut self) {
        self.left = 0;
    }

    async fn kill(&mut self) {
        self.left = 0;
    }
}

/// The disk of the operating system, which counts the groups that are written to it, and syncs them or not.
#[derive(Debug, Clone)]
struct CountingDisk {
    synced: bool,
    groups: Arc<Mutex<Vec<usize>>>,
}

impl CountingDisk {
    fn groups(&self) -> Vec<usize> {
        self.groups.lock().expect("no test breaks").clone()
    }

    fn wrap(&self, file: Box<dyn DiskFile>, counted: bool) -> Box<dyn DiskFile> {
        Box::new(CountingFile { file, disk: self.clone(), counted, open: 0 })
    }
}

impl Disk for CountingDisk {
    fn create(&self, path: &Path) -> io::Result<Box<dyn DiskFile>> {
        Ok(self.wrap(RealDisk.create(path)?, path.extension().is_some_and(|end| end == "record")))
    }

    fn open(&self, path: &Path) -> io::Result<Box<dyn DiskFile>> {
        Ok(self.wrap(RealDisk.open(path)?, false))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        RealDisk.rename(from, to)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        RealDisk.remove(path)
    }

    fn sync_directory(&self, path: &Path) -> io::Result<()> {
        if self.synced { RealDisk.sync_directory(path) } else { Ok(()) }
    }
}

#[derive(Debug)]
struct CountingFile {
    file: Box<dyn DiskFile>,
    disk: CountingDisk,
    counted: bool,
    /// Bytes that were appended since the last sync.
    open: usize,
}

impl DiskFile for CountingFile {
    fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.open += bytes.len();
        self.file.append(bytes)
    }

    fn sync(&mut self) -> io::Result<()> {
        let group = std::mem::take(&mut self.open);
        if self.counted {
            self.disk.groups.lock().expect("no test breaks").push(group);
        }
        if self.disk.synced { self.file.sync() } else { Ok(()) }
    }

    fn reserve(&mut self, end: u64) -> io::Result<()> {
        self.file.reserve(end)
    }

    fn truncate(&mut self, length: u64) -> io::Result<()> {
        self.file.truncate(length)
    }

    fn length(&self) -> io::Result<u64> {
        self.file.length()
    }

    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<usize> {
        self.file.read_at(offset, buffer)
    }

    fn forget_cached(&self, offset: u64) -> io::Result<()> {
        self.file.forget_cached(offset)
    }

    fn try_lock(&self) -> io::Result<bool> {
        self.file.try_lock()
    }
}

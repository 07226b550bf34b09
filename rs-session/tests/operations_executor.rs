//! What every executor keeps to, shown on the one that runs on a thread (SEC7, SEC46): order, back-pressure, limits, ends.

#![cfg(feature = "driver")]
#![expect(clippy::unwrap_used, reason = "helpers of tests")]

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use rs_consent::AccessLevel;
use rs_session::operations::catalog::Systems;
use rs_session::operations::executor::{
    CHUNKS_WAITING_MAX, Executor as _, InProcessExecutor, Running, StartError, Status, Stream, WorkerExecutor,
};
use rs_session::operations::pipeline::Sink;
use rs_session::operations::providers::{ProviderError, Registry};
use rs_session::operations::{Context, Limits, Machine, Plan};

fn endless(_: &Plan, sink: &mut dyn Sink) -> Result<(), ProviderError> {
    loop {
        sink.emit("x".repeat(1000).into())?;
    }
}

/// Whether [`alone`] may go on.
static GO_ON: AtomicBool = AtomicBool::new(false);

fn alone(_: &Plan, sink: &mut dyn Sink) -> Result<(), ProviderError> {
    sink.emit("alone".into())?;
    sink.flush()?;
    while !GO_ON.load(Ordering::Relaxed) {
        std::thread::yield_now();
    }
    for _ in 0..1000 {
        sink.emit("x".repeat(1000).into())?;
    }
    Ok(())
}

/// Objects that [`counted`] has given.
static GIVEN: AtomicU64 = AtomicU64::new(0);

fn counted(_: &Plan, sink: &mut dyn Sink) -> Result<(), ProviderError> {
    loop {
        sink.emit("x".repeat(1000).into())?;
        GIVEN.fetch_add(1, Ordering::Relaxed);
    }
}

fn mixed(_: &Plan, sink: &mut dyn Sink) -> Result<(), ProviderError> {
    sink.emit("one".into())?;
    sink.warn("trouble")?;
    sink.emit("two".into())?;
    Ok(())
}

fn failing(_: &Plan, sink: &mut dyn Sink) -> Result<(), ProviderError> {
    sink.emit("before".into())?;
    Err(ProviderError::failed("no answer \u{1b}"))
}

fn breaking(_: &Plan, _: &mut dyn Sink) -> Result<(), ProviderError> {
    panic!("a provider that breaks")
}

fn plan(line: &str) -> Plan {
    let machine = Machine { native: Systems::ALL, power_shell: false };
    Context { machine, ..Context::new(AccessLevel::Diagnostics) }.plan_line(line).unwrap()
}

async fn start(provider: fn(&Plan, &mut dyn Sink) -> Result<(), ProviderError>, limits: Limits) -> Running {
    let executor = InProcessExecutor::new(Registry::default().with("Get-Process", provider));
    executor.start(Plan { limits, ..plan("Get-Process") }).await.unwrap()
}

#[tokio::test]
async fn output_and_errors_keep_their_order() {
    let mut running = start(mixed, Limits::default()).await;
    let mut seen = Vec::new();
    while let Some(chunk) = running.next().await {
        seen.push((chunk.stream, chunk.text));
    }
    let expected = [(Stream::Output, "one\n"), (Stream::Error, "trouble\n"), (Stream::Output, "two\n")];
    assert_eq!(seen, expected.map(|(stream, text)| (stream, text.to_owned())));
    let finish = running.finish().await;
    assert!(finish.is_done() && finish.output_bytes == 16, "{finish:?}");
    assert_eq!(running.finish().await, finish, "the end can be asked for again");
    assert!(running.kill().await.complete, "an ended operation is dead");
}

#[tokio::test]
async fn a_failure_keeps_what_came_before_and_says_why() {
    let mut running = start(failing, Limits::default()).await;
    assert_eq!(running.next().await.unwrap().text, "before\n");
    let finish = running.finish().await;
    assert_eq!((finish.status, finish.message.as_str()), (Status::Failed, "no answer \\u{1b}"));
}

#[tokio::test]
async fn sec44_a_panic_stays_in_its_operation() {
    assert_eq!(start(breaking, Limits::default()).await.finish().await.status, Status::Fault);
}

#[tokio::test]
async fn sec46_output_ends_exactly_at_its_limit() {
    for limit in [1, 1000, 65_536, 65_537, 200_000] {
        let mut running = start(endless, Limits { output_bytes: limit, ..Limits::default() }).await;
        let mut bytes = 0;
        while let Some(chunk) = running.next().await {
            bytes += chunk.text.len() as u64;
        }
        let finish = running.finish().await;
        assert_eq!((finish.status, bytes, finish.output_bytes), (Status::OutputLimit, limit, limit));
    }
}

/// Each chunk becomes a record with a signature of its own, so bulk must come in large ones; and what is flushed waits for none.
#[tokio::test(flavor = "multi_thread")]
async fn bulk_output_fills_its_chunks_and_a_line_that_is_flushed_comes_alone() {
    let limits = Limits { output_bytes: Limits::OUTPUT_BYTES_MAX, ..Limits::default() };
    let mut running = start(alone, limits).await;
    let first = running.next().await.unwrap();
    assert_eq!(first.text.trim(), "alone", "it is here while the operation waits");
    GO_ON.store(true, Ordering::Relaxed);
    let mut lengths = Vec::new();
    while let Some(chunk) = running.next().await {
        lengths.push(chunk.text.len());
    }
    let (last, full) = lengths.split_last().unwrap();
    assert!(full.len() >= 14 && full.iter().all(|length| *length > 63 << 10), "{lengths:?}");
    assert!(*last > 0, "{lengths:?}");
    assert_eq!(running.finish().await.status, Status::Done);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_operation_whose_output_nobody_takes_stands_still() {
    let limits = Limits { output_bytes: Limits::OUTPUT_BYTES_MAX, ..Limits::default() };
    let mut running = start(counted, limits).await;
    let given = || GIVEN.load(Ordering::Relaxed);
    let per_chunk = 66;
    while given() < CHUNKS_WAITING_MAX as u64 * per_chunk {
        tokio::task::yield_now().await;
    }
    // It can be ahead by the chunks that wait, one in its hands and one that it fills; more time gives no more.
    for _ in 0..10_000 {
        tokio::task::yield_now().await;
        assert!(given() <= (CHUNKS_WAITING_MAX as u64 + 2) * per_chunk, "{} objects given", given());
    }
    assert!(running.kill().await.complete);
    assert_eq!(running.finish().await.status, Status::Killed);
}

#[tokio::test]
async fn interrupt_kill_and_time_have_their_own_status() {
    let limits = Limits { output_bytes: Limits::OUTPUT_BYTES_MAX, ..Limits::default() };
    let mut running = start(endless, limits).await;
    running.interrupt();
    assert_eq!(running.finish().await.status, Status::Interrupted);
    let mut running = start(endless, limits).await;
    let control = running.control();
    assert!(control.kill().await.complete);
    assert_eq!(running.finish().await.status, Status::Killed);
    let mut running = start(endless, Limits { seconds: 0, ..limits }).await;
    assert_eq!(running.finish().await.status, Status::TimeLimit);
}

#[tokio::test]
async fn sec19_what_does_not_fit_is_not_started() {
    let mut forged = plan("Get-Process");
    forged.call.command = String::from("Stop-Computer");
    let error = InProcessExecutor::default().start(forged.clone()).await.unwrap_err();
    assert!(matches!(error, StartError::Mismatch(_)), "{error}");
    let missing = std::env::current_exe().unwrap().with_file_name("no-such-program");
    let worker = WorkerExecutor::new(missing, ["worker"]).unwrap();
    assert!(matches!(worker.start(forged).await.unwrap_err(), StartError::Mismatch(_)));
    let error = worker.start(plan("Get-Process")).await.unwrap_err();
    assert!(
        matches!(error, StartError::Spawn { .. }) && error.to_string().contains("no-such-program"),
        "{error}"
    );
    let relative = WorkerExecutor::new("program", ["worker"]).unwrap_err();
    assert!(matches!(relative, StartError::NotAbsolute(_)));
}

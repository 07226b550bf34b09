//! What does a pipeline cost beside the plain listing of the same objects? A thousand processes, a pipeline of three.
//!
//! `cargo bench --bench operations_pipeline` prints the ratios and fails when one is above 3. It measures twice: with this
//! machine's real processes, of which it starts idle ones until there are a thousand, and with a thousand objects that
//! are only handed out, where nothing but the pipeline is measured. Listing and pipeline run in turns, and what each
//! prints is compared with a reading of the objects themselves before any time is counted.

use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rs_consent::AccessLevel;
use rs_session::operations::pipeline::{Collected, Sink};
use rs_session::operations::providers::{ProviderError, Registry};
use rs_session::operations::{Context, Object, OutputForm, Plan, Value};
use serde_json::Value as Json;

/// Objects of one listing, at least.
const OBJECTS: usize = 1000;
/// A pipeline may cost this many times the plain listing.
const TIMES_MAX: f64 = 3.0;
const ROUNDS: usize = 15;

const PLAIN: &str = "Get-Process";
const PIPELINES: [&str; 4] = [
    "Get-Process | ? Id -gt 1 | sort WS -Desc | select -First 3 Name, Id, WS",
    "Get-Process | ? Name -like *e* | sort Name | ft Name, Id, WS",
    "Get-Process | ? Name -match '^[a-z]+' | sort Id -Desc | select Name, Id, CPU",
    "Get-Process | select * | sort WS, Id -Unique | measure WS -Sum -Average -Maximum",
];

fn main() {
    let crowd = Crowd::up_to(OBJECTS);
    println!("{} real processes", count(&Registry::default()));
    let real = measure(&Registry::default());
    drop(crowd);
    println!("{OBJECTS} objects that are only handed out");
    let fixed = measure(&Registry::default().with(PLAIN, handed_out));
    let worst = real.max(fixed);
    println!("at most {worst:.2} times the plain listing");
    assert!(worst <= TIMES_MAX, "more than {TIMES_MAX} times the plain listing");
}

/// Prints the ratio of each pipeline and gives the largest.
fn measure(registry: &Registry) -> f64 {
    check(registry);
    let mut worst: f64 = 0.0;
    for line in PIPELINES {
        let (mut plain, mut pipeline) = (Duration::MAX, Duration::MAX);
        for _ in 0..ROUNDS {
            plain = plain.min(once(registry, PLAIN));
            pipeline = pipeline.min(once(registry, line));
        }
        let times = pipeline.as_secs_f64() / plain.as_secs_f64();
        println!("  {times:>5.2}  {pipeline:>9.2?} beside {plain:>9.2?}  {line}");
        worst = worst.max(times);
    }
    worst
}

fn once(registry: &Registry, line: &str) -> Duration {
    let plan = plan(line, OutputForm::default());
    let start = Instant::now();
    let text = run(registry, &plan);
    let time = start.elapsed();
    assert!(!text.is_empty());
    time
}

fn plan(line: &str, form: OutputForm) -> Plan {
    let context = Context { form, ..Context::new(AccessLevel::Diagnostics) };
    context.plan_line(line).unwrap_or_else(|why| panic!("{line}: {why}"))
}

fn run(registry: &Registry, plan: &Plan) -> String {
    let mut output = Collected::default();
    registry.run(plan, &mut output).unwrap_or_else(|why| panic!("{why}"));
    output.text
}

fn objects(registry: &Registry, line: &str) -> Vec<Json> {
    let text = run(registry, &plan(line, OutputForm::Objects));
    text.lines()
        .map(|line| serde_json::from_str(line).unwrap_or_else(|why| panic!("{why}: {line}")))
        .collect()
}

fn count(registry: &Registry) -> usize {
    objects(registry, PLAIN).len()
}

/// The pipeline's answer beside the same question put to the objects of the plain listing. Processes that come and go
/// between the two are not in it: only those that were started here are looked at.
fn check(registry: &Registry) {
    assert!(count(registry) >= OBJECTS, "only {} objects", count(registry));
    let own = |object: &Json| object["Name"] == "sleep";
    let mut expected: Vec<i64> = objects(registry, PLAIN)
        .iter()
        .filter(|object| own(object))
        .filter_map(|object| object["Id"].as_i64())
        .collect();
    expected.sort_unstable_by(|a, b| b.cmp(a));
    let found = objects(registry, "Get-Process | ? Name -eq sleep | sort Id -Desc | select Name, Id");
    let found: Vec<i64> = found.iter().filter_map(|object| object["Id"].as_i64()).collect();
    assert_eq!(found, expected);
    assert!(found.len() > OBJECTS / 3, "{}", found.len());
}

fn handed_out(_: &Plan, sink: &mut dyn Sink) -> Result<(), ProviderError> {
    for id in 0..OBJECTS as i64 {
        let name = if id % 2 == 0 { String::from("sleep") } else { format!("process-{id}") };
        sink.emit(
            Object::new("Process")
                .with("Name", name.clone())
                .with("Id", id)
                .with("ProcessName", name)
                .with("CPU", Value::Float((id * 37 % 1000) as f64 / 8.0))
                .with("WS", Value::Size((id * 37 % 1000 * 4096) as u64))
                .with("PM", Value::Size((id * 2048) as u64))
                .with("SI", 1_i64)
                .into(),
        )?;
    }
    Ok(())
}

/// Idle processes that end with this value.
struct Crowd(Vec<Child>);

impl Crowd {
    fn up_to(total: usize) -> Self {
        let there = count(&Registry::default());
        let mut sleep = Command::new("/bin/sleep");
        sleep.arg("600").stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        // A few more than needed: others may end meanwhile.
        let wanted = total.saturating_sub(there) + 50;
        Self((0..wanted).map(|_| sleep.spawn().unwrap_or_else(|why| panic!("a process: {why}"))).collect())
    }
}

impl Drop for Crowd {
    fn drop(&mut self) {
        for child in &mut self.0 {
            // One that is gone already needs no end.
            let _ = child.kill();
        }
        for child in &mut self.0 {
            let _ = child.wait();
        }
    }
}

//! The proxy check: each hop as it happens, then each endpoint with cause and fix.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use maud::{Markup, html};
use rs_proxy::net::probe::{self, EndpointReport, Progress, Report, Step};
use rs_proxy::{EndpointId, Hop};

use crate::commands::proxy::check;
use crate::network;
use crate::outcome::{ErrorCode, Failure};
use crate::output::safe;
use crate::page::live::Subject;
use crate::page::route::{Call, Reply};
use crate::page::server::Answer;
use crate::page::view::{self, Screen};

/// One check, while it runs and afterwards; the page has one at a time.
#[derive(Debug, Default)]
pub(in crate::page) struct Job(Mutex<Board>);

#[derive(Debug, Default)]
struct Board {
    lines: Vec<(EndpointId, String)>,
    outcome: Option<Result<Report, String>>,
}

impl Job {
    fn lock(&self) -> MutexGuard<'_, Board> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn set(&self, id: &EndpointId, text: String) {
        if let Some(line) = self.lock().lines.iter_mut().find(|(own, _)| own == id) {
            line.1 = text;
        }
    }

    pub(in crate::page) fn is_over(&self) -> bool {
        self.lock().outcome.is_some()
    }

    /// The board as it stands.
    pub(in crate::page) fn parts(&self) -> Markup {
        let board = self.lock();
        html! {
            div #board {
                @match &board.outcome {
                    None => (running(&board.lines)),
                    Some(Ok(report)) => (finished(report)),
                    Some(Err(error)) => p.said.bad role="alert" { (safe(error)) },
                }
            }
        }
    }
}

impl Progress for Job {
    fn begin(&self, id: &EndpointId, hop: Hop) {
        self.set(id, check::begins(hop));
    }

    fn step(&self, id: &EndpointId, step: &Step) {
        self.set(id, check::stepped(step));
    }

    fn done(&self, endpoint: &EndpointReport) {
        self.set(&endpoint.id, check::finished(endpoint));
    }
}

fn running(lines: &[(EndpointId, String)]) -> Markup {
    html! {
        p role="status" { "The endpoints are being tried." }
        table {
            thead { tr { th scope="col" { "Endpoint" } th scope="col" { "Hop by hop" } } }
            tbody { @for (id, line) in lines { tr { th scope="row" { (id.as_str()) } td { (safe(line)) } } } }
        }
    }
}

fn finished(report: &Report) -> Markup {
    let bad = report.endpoints.iter().filter(|one| one.hop.is_some()).count();
    html! {
        p role="status" {
            strong {
                @match bad {
                    0 => "Nothing stands in the way of any endpoint that was tried.",
                    1 => "1 endpoint is not usable.",
                    many => { (many) " endpoints are not usable." }
                }
            }
            " It took " (report.millis) " ms. Proxy: " (safe(report.proxy.as_deref().unwrap_or("none, the network is reached directly"))) "."
        }
        div.wide tabindex="0" role="region" aria-label="Endpoints" {
            table {
                thead { tr { th scope="col" { "Endpoint" } th scope="col" { "Usable" } th scope="col" { "What was found, and what to do" } } }
                tbody { @for endpoint in &report.endpoints { (row(endpoint)) } }
            }
        }
        @for finding in &report.findings { p.quiet { (finding.severity) ": " (safe(&finding.text)) } }
    }
}

fn row(endpoint: &EndpointReport) -> Markup {
    html! {
        tr {
            th scope="row" { (safe(&endpoint.host)) ":" (endpoint.port) br; span.quiet { (endpoint.id.as_str()) } }
            td { (check::word(endpoint)) }
            td {
                @if let Some(hop) = endpoint.hop { (hop) ": " }
                (safe(&endpoint.explanation))
                @if !endpoint.fix.is_empty() { br; strong { "What to do: " } (safe(&endpoint.fix)) }
                @for warning in &endpoint.warnings { br; span.quiet { (safe(warning)) } }
                @if !endpoint.steps.is_empty() {
                    details {
                        summary { "Hop by hop" }
                        ol { @for step in &endpoint.steps { li { (safe(&check::stepped(step))) } } }
                    }
                }
            }
        }
    }
}

pub(in crate::page) fn show(call: &mut Call<'_>) -> Result<Reply, Failure> {
    let job = call.site.proxy_job();
    let runs = job.as_ref().is_some_and(|job| !job.is_over());
    let body = html! {
        h1 { "Proxy check" }
        section.card aria-labelledby="check" data-events=[runs.then_some("/proxy/events")] {
            h2 #check { "What must be reachable" }
            p { "Tries each endpoint of the support service from this machine, through its proxy if it has one." }
            form method="post" action="/proxy" {
                (view::token(call.operator, "/proxy"))
                div.actions { button.first type="submit" disabled[runs] { "Check now" } }
            }
            @if runs { p.quiet #link aria-live="polite" { "Reload this page to see how it goes on." } }
            @if let Some(job) = job { (job.parts()) }
        }
    };
    Ok(Reply::Show(Screen { title: "Proxy check".to_owned(), here: "/proxy", body }))
}

pub(in crate::page) fn events(call: &Call<'_>) -> Result<Reply, Failure> {
    let job = call.site.proxy_job();
    let job = job.ok_or_else(|| Failure::new(ErrorCode::NotFound, "no check was started"))?;
    Ok(Reply::Other(Answer::Live(Subject::Proxy(job))))
}

/// Starts a check, unless one runs.
pub(in crate::page) fn start(call: &mut Call<'_>) -> Result<Reply, Failure> {
    let plan = check::plan_of_page(call.site.run.proxy.clone(), call.context)?;
    let lines =
        plan.profile.endpoints().iter().map(|endpoint| (endpoint.id.clone(), "waits".to_owned())).collect();
    let job = Arc::new(Job(Mutex::new(Board { lines, outcome: None })));
    if call.site.take_proxy_job(&job) {
        tokio::runtime::Handle::current().spawn_blocking(move || {
            let watched: Arc<dyn Progress> = Arc::<Job>::clone(&job);
            let report = network::block_on(async { Ok(probe::run(plan, watched).await) });
            job.lock().outcome = Some(report.map_err(|failure| failure.to_string()));
        });
    }
    Ok(Reply::See("/proxy".to_owned()))
}

//! Health: what `agent doctor` finds, with the remedy beside each finding.

use maud::html;

use crate::commands::agent::doctor;
use crate::outcome::Failure;
use crate::output::safe;
use crate::page::route::{Call, Reply};
use crate::page::view::Screen;

pub(in crate::page) fn show(call: &mut Call<'_>) -> Result<Reply, Failure> {
    let findings = doctor::look(&call.site.run, call.context)?;
    let (faults, advice) = (
        findings.iter().filter(|one| one.is_fault()).count(),
        findings.iter().filter(|one| one.is_advice()).count(),
    );
    let body = html! {
        h1 { "Health" }
        section.card aria-labelledby="sum" {
            h2 #sum {
                @match (faults, advice) {
                    (0, 0) => "Nothing is wrong.",
                    (0, advice) => { "Nothing is wrong; advice: " (advice) }
                    (faults, _) => { "Faults: " (faults) }
                }
            }
            div.wide tabindex="0" role="region" aria-labelledby="sum" {
                table {
                    thead { tr { th scope="col" { "Check" } th scope="col" { "Result" } th scope="col" { "Finding and remedy" } } }
                    tbody {
                        @for finding in &findings {
                            tr {
                                th scope="row" { (finding.check.as_str()) }
                                td { span.verdict data-state=(mark(finding)) { (finding.word()) } }
                                td {
                                    (safe(&finding.text))
                                    @if let Some(remedy) = finding.remedy.as_deref().filter(|text| !text.is_empty()) {
                                        br; strong { "What to do: " } (safe(remedy))
                                    }
                                }
                            }
                        }
                    }
                }
            }
            div.actions { a.button href="/health" { "Look again" } }
        }
    };
    Ok(Reply::Show(Screen { title: "Health".to_owned(), here: "/health", body }))
}

fn mark(finding: &doctor::Finding) -> &'static str {
    if finding.is_fault() {
        "bad"
    } else if finding.is_advice() {
        "held"
    } else {
        "on"
    }
}

//! The sessions of this node, the newest first, searched as `history` searches.

use std::time::{Duration, Instant};

use chrono::{DateTime, Utc};
use maud::{Markup, html};
use rs_session::history::{SessionState, SessionSummary};
use rs_session::search::Search;
use uuid::Uuid;

use crate::commands::history::{self as command, Question, Seen};
use crate::outcome::Failure;
use crate::output::{safe, span};
use crate::page::form::{Form, invalid};
use crate::page::index::Begun;
use crate::page::route::{Call, Reply};
use crate::page::view::{self, Screen};
use crate::{records, values};

/// Rows of one page.
pub(in crate::page) const ROWS_MAX: usize = 25;
/// A search that has found nothing for so long shows what it has and offers to go on.
const SEARCH_MAX: Duration = Duration::from_secs(2);

/// The fields of a search.
const FIELDS: [&str; 7] = ["engineer", "request", "outcome", "from", "to", "command", "text"];

/// Ends and states to choose from.
const OUTCOMES: [&str; 12] = [
    "live",
    "ended",
    "cut-off",
    "damaged",
    "exit",
    "revoked",
    "expired",
    "operator",
    "idle",
    "request-closed",
    "interrupted",
    "agent-stopped",
];

fn question(form: &Form) -> Result<Question, Failure> {
    let date = |name: &str, label: &str| {
        form.get(name)
            .map(|text| values::date(text).map_err(|error| invalid(label, &error.to_string())))
            .transpose()
    };
    let text = |name: &str| form.get(name).map(str::to_owned);
    Ok(Question {
        from: date("from", "Since")?,
        to: date("to", "Until")?,
        search: Search {
            engineer: text("engineer"),
            support_request: text("request"),
            node: None,
            outcome: text("outcome"),
            command: text("command"),
            text: text("text"),
        },
    })
}

/// Where a page goes on: behind the last row that was looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Place(DateTime<Utc>, Uuid);

impl Place {
    fn of(begun: &Begun) -> Self {
        Self(begun.at, begun.id)
    }

    fn read(text: &str) -> Option<Self> {
        let (micros, id) = text.split_once('_')?;
        Some(Self(DateTime::from_timestamp_micros(micros.parse().ok()?)?, id.parse().ok()?))
    }

    fn write(self) -> String {
        format!("{}_{}", self.0.timestamp_micros(), self.1)
    }
}

/// What one page found.
#[derive(Default)]
struct Found {
    rows: Vec<SessionSummary>,
    remarks: Vec<String>,
    looked_at: usize,
    next: Option<Place>,
    all: usize,
}

fn find(question: &Question, after: Option<Place>, call: &mut Call<'_>) -> Result<Found, Failure> {
    let (folder, now) = (records::folder(&call.context.state), call.context.clock.now().wall);
    let key = call.context.content_key();
    let all = call.site.index.newest_first(&folder)?;
    let since = Instant::now();
    let look = |begun: &Begun| question.look(begun.id, &begun.path, now, &key);
    Ok(gather(&all, after, look, || since.elapsed()))
}

/// Looks at sessions behind `after` until the page is full or the search has `spent` [`SEARCH_MAX`].
fn gather(
    all: &[Begun],
    after: Option<Place>,
    look: impl Fn(&Begun) -> Seen,
    spent: impl Fn() -> Duration,
) -> Found {
    let mut found = Found { all: all.len(), ..Found::default() };
    // The place is kept in microseconds; a row of the very same is told by its id.
    let is_behind = |begun: &&Begun| {
        after.is_none_or(|after| {
            let own = Place(begun.at, begun.id);
            (own.0.timestamp_micros(), own.1) < (after.0.timestamp_micros(), after.1)
        })
    };
    let mut rest = all.iter().filter(is_behind).peekable();
    while let Some(begun) = rest.next() {
        let Seen { session, remark } = look(begun);
        found.looked_at += 1;
        found.rows.extend(session);
        found.remarks.extend(remark);
        let full = found.rows.len() >= ROWS_MAX || found.remarks.len() >= ROWS_MAX;
        if (full || spent() >= SEARCH_MAX) && rest.peek().is_some() {
            found.next = Some(Place::of(begun));
            break;
        }
    }
    found
}

pub(in crate::page) fn list(call: &mut Call<'_>) -> Result<Reply, Failure> {
    let query = call.ask.query.clone();
    let question = question(&query)?;
    let after = query.get("after").and_then(Place::read);
    let found = find(&question, after, call)?;
    let searches = FIELDS.iter().any(|name| query.has(name));
    let kept = query.only(&FIELDS);
    let body = html! {
        h1 { "Sessions" }
        (search_form(&query, searches))
        section.card aria-labelledby="found" {
            h2 #found { (summary(&found, searches, after.is_some())) }
            @if !found.rows.is_empty() { (table(&found.rows)) }
            @if !found.remarks.is_empty() {
                h3 { "Not shown" }
                ul { @for remark in &found.remarks { li { (safe(remark)) } } }
            }
            nav.actions aria-label="Pages" {
                @if after.is_some() { a.button href={ "/sessions?" (kept) } { "Newest" } }
                @if let Some(next) = found.next {
                    a.button rel="next" href={ "/sessions?" (kept) @if !kept.is_empty() { "&" } "after=" (next.write()) } {
                        @if found.rows.len() < ROWS_MAX && searches { "Search further back" } @else { "Older" }
                    }
                }
            }
        }
    };
    Ok(Reply::Show(Screen { title: "Sessions".to_owned(), here: "/sessions", body }))
}

fn summary(found: &Found, searches: bool, later_page: bool) -> String {
    match (found.all, found.rows.len()) {
        (0, _) => "No remote support session exists.".to_owned(),
        (all, 0) if searches => format!("Nothing found in {} of {all} sessions looked at", found.looked_at),
        (all, rows) if searches => format!("{rows} found in {} of {all} sessions looked at", found.looked_at),
        (all, rows) if later_page => format!("{rows} earlier sessions of {all}"),
        (all, rows) => format!("The newest {rows} of {all}"),
    }
}

fn table(rows: &[SessionSummary]) -> Markup {
    html! {
        div.wide tabindex="0" role="region" aria-labelledby="found" {
            table {
                thead { tr {
                    th scope="col" { "Began" } th scope="col" { "Engineer" } th scope="col" { "How it stands" }
                    th scope="col" { "Level" } th scope="col" { "Support request" } th scope="col" { "Lasted" }
                    th scope="col" { "Lines" } th scope="col" { "Refused" }
                } }
                tbody {
                    @for row in rows {
                        tr {
                            th scope="row" { a href={ "/sessions/" (row.session_id) } { (view::time(row.session_start_time)) } }
                            td { (safe(&row.engineer)) }
                            td { (state(row)) }
                            td { (view::level(row.access_level)) }
                            td { (row.support_request) }
                            td { (span(chrono::TimeDelta::seconds(row.duration_seconds))) }
                            td { (row.operations) }
                            td { (row.refusals) }
                        }
                    }
                }
            }
        }
    }
}

/// How a session stands, in words.
pub(super) fn state(session: &SessionSummary) -> String {
    match (session.state, session.end_cause) {
        (SessionState::Live, _) => "Runs now".to_owned(),
        (SessionState::Ended, Some(cause)) => format!("Ended: {cause}"),
        (SessionState::Ended, None) => "Ended".to_owned(),
        (SessionState::CutOff, _) => "Cut off; its end is written when the agent starts".to_owned(),
        (SessionState::Damaged, _) => "Its record is damaged".to_owned(),
    }
}

fn search_form(query: &Form, open: bool) -> Markup {
    let text = |name: &str, label: &str, hint: &str| {
        html! {
            div {
                label for=(name) { (label) }
                input id=(name) name=(name) value=[query.get(name)] placeholder=(hint) maxlength="256" autocomplete="off";
            }
        }
    };
    html! {
        details.card open[open] {
            summary { "Search" }
            form method="get" action="/sessions" role="search" {
                div.grid {
                    (text("engineer", "Engineer", "part of the name or key"))
                    (text("request", "Support request", "its whole number"))
                    (text("from", "Since", "2025-07-31 or -7d"))
                    (text("to", "Until", "2025-07-31"))
                    (text("command", "Command that was sent", "Get-Process"))
                    (text("text", "Text that was typed or shown", "any text"))
                    div {
                        label for="outcome" { "How it stands or ended" }
                        select #outcome name="outcome" {
                            option value="" { "Any" }
                            @for outcome in OUTCOMES {
                                option value=(outcome) selected[query.get("outcome") == Some(outcome)] { (outcome) }
                            }
                        }
                    }
                }
                div.actions { button.first type="submit" { "Search" } a.button href="/sessions" { "All sessions" } }
            }
        }
    }
}

/// The session that an address names.
pub(in crate::page) fn named(id: &str, call: &mut Call<'_>) -> Result<SessionSummary, Failure> {
    let id: Uuid = id.parse().map_err(|_| invalid("Session", "this is not the id of a session"))?;
    let (now, key) = (call.context.clock.now().wall, call.context.content_key());
    command::one(id, now, &key, call.context)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Sessions, the newest first.
    fn begun(count: u128) -> Vec<Begun> {
        let begun = |id: u128| Begun {
            at: DateTime::from_timestamp(i64::try_from(id).expect("small"), 0).expect("a time"),
            id: Uuid::from_u128(id),
            path: std::path::PathBuf::new(),
        };
        (1..=count).rev().map(begun).collect()
    }

    fn nothing(_: &Begun) -> Seen {
        Seen { session: None, remark: None }
    }

    fn remark(_: &Begun) -> Seen {
        Seen { session: None, remark: Some("damaged".to_owned()) }
    }

    #[test]
    fn a_search_stops_when_its_time_is_over_and_not_before_and_goes_on_behind_that() {
        let all = begun(7);
        let before = gather(&all, None, nothing, || SEARCH_MAX.saturating_sub(Duration::from_nanos(1)));
        assert_eq!((before.looked_at, before.next), (7, None));
        let mut after = None;
        for looked in 1..=7 {
            let found = gather(&all, after, nothing, || SEARCH_MAX);
            assert_eq!(found.looked_at, 1, "each time it gets on by one");
            assert_eq!(found.next, (looked < 7).then(|| Place::of(&all[looked - 1])));
            after = found.next;
        }
    }

    #[test]
    fn a_page_has_its_rows_and_no_more() {
        for (count, next) in [(ROWS_MAX - 1, false), (ROWS_MAX, false), (ROWS_MAX + 1, true)] {
            let found = gather(&begun(count as u128), None, remark, || Duration::ZERO);
            assert_eq!((found.remarks.len(), found.next.is_some()), (count.min(ROWS_MAX), next), "{count}");
        }
    }

    #[test]
    fn a_place_reads_back_and_nonsense_is_none() {
        let place = Place(DateTime::from_timestamp_micros(1_234_567).expect("a time"), Uuid::from_u128(7));
        assert_eq!(Place::read(&place.write()), Some(place));
        for text in ["", "_", "1_", "x_y", "99999999999999999999_7"] {
            assert_eq!(Place::read(text), None, "{text}");
        }
    }
}

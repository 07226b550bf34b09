//! One session: what was typed and shown. Live while it runs, with the button that ends it; afterwards page by page, with a
//! timeline and a replay in its own time; and what its verification comes to.

use std::time::Duration;

use maud::{Markup, html};
use rs_session::history::{self, Entry, SessionState, SessionSummary, Transcript};
use rs_session::record::{Content, Kind, Verdict};

use super::sessions;
use crate::commands::session::verification::{self, Checked};
use crate::commands::session::{self, Ended};
use crate::commands::{ending, history as history_command};
use crate::node;
use crate::outcome::Failure;
use crate::output::{self, safe, span};
use crate::page::live::Subject;
use crate::page::route::{Call, Reply};
use crate::page::server::Answer;
use crate::page::view::{self, Screen};

/// Records of one page of a transcript.
pub(in crate::page) const ENTRIES_MAX: usize = 200;
/// Text of one page after which it ends, in bytes.
const PAGE_BYTES_MAX: usize = 256 * 1024;
/// Text of one record that is shown; the rest is in the record and in an export.
const ENTRY_BYTES_MAX: usize = 64 * 1024;
/// Commands that are listed beside the transcript.
const COMMANDS_MAX: usize = 500;
/// Longest command there, in columns.
const LINE_COLUMNS_MAX: usize = 80;
/// Bars of the timeline.
const BARS: usize = 100;

/// One record as it is shown, in replay and live; none for what people need not see.
pub(in crate::page) fn entry(entry: &Entry, start: Duration) -> Option<(Markup, usize)> {
    let text = output::safe_lines(&history::text(entry)?);
    let cut = (text.len() > ENTRY_BYTES_MAX).then(|| text.floor_char_boundary(ENTRY_BYTES_MAX));
    let shown = cut.map_or(text.as_str(), |at| &text[..at]);
    let at = entry.boot_time.saturating_sub(start).as_millis();
    let markup = html! {
        li id={ "r" (entry.sequence) } data-kind=(kind(entry.kind)) data-at=(at) {
            pre { (shown) }
            @if cut.is_some() { p.quiet { "Cut here: the whole text is in the record." } }
        }
    };
    Some((markup, shown.len()))
}

fn kind(kind: Kind) -> &'static str {
    match kind {
        Kind::Request => "request",
        Kind::Refusal => "refusal",
        Kind::Output => "output",
        Kind::End => "end",
        _ => "other",
    }
}

pub(in crate::page) fn show(id: &str, call: &mut Call<'_>) -> Result<Reply, Failure> {
    let session = sessions::named(id, call)?;
    if session.state == SessionState::Live { live(&session, call) } else { past(&session, call) }
}

fn about(session: &SessionSummary) -> Markup {
    view::facts([
        (
            "Engineer",
            html! { (safe(&session.engineer)) br; span.quiet { "key " (session.engineer_key.fingerprint()) } },
        ),
        ("How it stands", html! { (sessions::state(session)) }),
        ("Began", view::time(session.session_start_time)),
        ("Ended", session.session_end_time.map_or_else(|| html! { "-" }, view::time)),
        ("Lasted", html! { (span(chrono::TimeDelta::seconds(session.duration_seconds))) }),
        ("Level", html! { (view::level(session.access_level)) }),
        ("Support request", html! { (session.support_request) }),
        ("Lines", html! { (session.operations) " permitted, " (session.refusals) " refused" }),
        ("Secrets masked", html! { (session.masked) }),
        ("Contents removed", html! { (session.contents_removed) }),
        ("Contents sealed", html! { (session.contents_sealed) }),
        ("Session", html! { code { (session.session_id) } }),
    ])
}

fn live(session: &SessionSummary, call: &mut Call<'_>) -> Result<Reply, Failure> {
    let id = session.session_id;
    let action = format!("/sessions/{id}/end");
    let body = html! {
        h1 { "Session of " (safe(&session.engineer)) }
        section.card aria-labelledby="about" {
            h2 #about { "This session runs now" }
            (about(session))
            div.actions {
                form method="post" action=(action) {
                    (view::token(call.operator, &action))
                    button.danger type="submit" { "End this session now" }
                }
                span.quiet { "The consent stands; to revoke it go to the " a href="/" { "overview" } "." }
            }
        }
        section.card aria-labelledby="live" data-events={ "/sessions/" (id) "/events" } {
            h2 #live { "What happens" }
            p.quiet #link aria-live="polite" { "To see what happened since, reload this page." }
            ol.transcript #log role="log" aria-label="Records of this session" tabindex="0" {
                @for shown in last(session, call)? { (shown) }
            }
        }
    };
    Ok(Reply::Show(Screen {
        title: format!("Session of {}", safe(&session.engineer)),
        here: "/sessions",
        body,
    }))
}

/// The newest records, as many as one page holds.
fn last(session: &SessionSummary, call: &mut Call<'_>) -> Result<Vec<Markup>, Failure> {
    let mut shown = std::collections::VecDeque::new();
    let mut start = None;
    for read in Transcript::open(&session.record, call.context.content_key())? {
        let read = read?;
        let start = *start.get_or_insert(read.boot_time);
        if let Some((markup, _)) = entry(&read, start) {
            shown.push_back(markup);
            if shown.len() > ENTRIES_MAX {
                shown.pop_front();
            }
        }
    }
    Ok(shown.into())
}

/// Where one record is.
#[derive(Debug, Clone, Copy)]
struct Moment {
    /// Milliseconds from the start.
    at: u64,
    /// Its number.
    sequence: u64,
    /// The page of the transcript that it stands on.
    page: usize,
    /// It is a refusal.
    refused: bool,
}

impl Moment {
    fn link(self, session: &SessionSummary) -> String {
        format!("/sessions/{}?page={}#r{}", session.session_id, self.page, self.sequence)
    }
}

/// One page of a transcript, and what the timeline needs of all of it.
#[derive(Default)]
struct Reading {
    shown: Vec<Markup>,
    pages: usize,
    moments: Vec<Moment>,
    commands: Vec<(Moment, String)>,
    commands_left_out: usize,
    fault: Option<String>,
}

fn read(session: &SessionSummary, wanted: usize, call: &mut Call<'_>) -> Result<Reading, Failure> {
    let mut reading = Reading { pages: 1, ..Reading::default() };
    let (mut entries, mut bytes, mut start) = (0, 0, None);
    for read in Transcript::open(&session.record, call.context.content_key())? {
        let read = match read {
            Ok(read) => read,
            Err(error) => {
                reading.fault = Some(Failure::from(error).in_a_line());
                break;
            }
        };
        let start = *start.get_or_insert(read.boot_time);
        let Some((markup, length)) = entry(&read, start) else { continue };
        if entries >= ENTRIES_MAX || bytes + length > PAGE_BYTES_MAX && entries > 0 {
            (reading.pages, entries, bytes) = (reading.pages + 1, 0, 0);
        }
        (entries, bytes) = (entries + 1, bytes + length);
        if reading.pages == wanted {
            reading.shown.push(markup);
        }
        let moment = Moment {
            at: u64::try_from(read.boot_time.saturating_sub(start).as_millis()).unwrap_or(u64::MAX),
            sequence: read.sequence,
            page: reading.pages,
            refused: read.kind == Kind::Refusal,
        };
        reading.moments.push(moment);
        let line = match &read.content {
            Some(Content::Request(request)) => &request.line,
            Some(Content::Refusal(refusal)) => &refusal.line,
            _ => continue,
        };
        if reading.commands.len() < COMMANDS_MAX {
            reading.commands.push((moment, output::cut(&safe(line), LINE_COLUMNS_MAX)));
        } else {
            reading.commands_left_out += 1;
        }
    }
    Ok(reading)
}

fn past(session: &SessionSummary, call: &mut Call<'_>) -> Result<Reply, Failure> {
    let page: usize = call.ask.query.parsed("page", "Page")?.unwrap_or(1).max(1);
    let reading = read(session, page, call)?;
    let id = session.session_id;
    let warning = history_command::warning(id, call.context);
    let body = html! {
        h1 { "Session of " (safe(&session.engineer)) }
        @if let Some(warning) = warning { p.said.bad role="alert" { (safe(&warning)) } }
        section.card aria-labelledby="about" {
            h2 #about { "About this session" }
            (about(session))
            div.actions { a.button href={ "/sessions/" (id) "/verify" } { "Verify the record" } }
        }
        section.card aria-labelledby="timeline-title" {
            h2 #timeline-title { "Timeline" }
            (timeline(&reading, session))
            (commands(&reading, session))
        }
        section.card aria-labelledby="what" {
            h2 #what { "What was typed and shown" }
            div.actions #replay hidden {
                button type="button" #play { "Replay this page" }
                label.inline for="speed" { "Speed" }
                select #speed { option value="1" { "1x" } option value="4" selected { "4x" } option value="16" { "16x" } }
                label.inline for="position" { "Record" }
                input #position type="range" min="1" max=(reading.shown.len().max(1)) value=(reading.shown.len().max(1));
                span.quiet #where role="status" {}
            }
            @if reading.shown.is_empty() { p { "There is no such page of this transcript." } }
            ol.transcript #log aria-label="Records of this session" tabindex="0" { @for shown in &reading.shown { (shown) } }
            @if let Some(fault) = &reading.fault {
                p.said.bad role="alert" { "The record cannot be read any further: " (safe(fault)) }
            }
            (pages(page, reading.pages, session))
        }
    };
    Ok(Reply::Show(Screen {
        title: format!("Session of {}", safe(&session.engineer)),
        here: "/sessions",
        body,
    }))
}

fn pages(page: usize, pages: usize, session: &SessionSummary) -> Markup {
    let link = |to: usize, words: &str| html! { a.button href={ "/sessions/" (session.session_id) "?page=" (to) "#what" } { (words) } };
    html! {
        @if pages > 1 {
            nav.actions aria-label="Pages of the transcript" {
                @if page > 1 { (link(page - 1, "Earlier")) }
                span { "Page " (page) " of " (pages) }
                @if page < pages { (link(page + 1, "Later")) }
            }
        }
    }
}

fn clock(milliseconds: u64) -> String {
    if milliseconds < 10_000 {
        return format!("{}.{:03} s", milliseconds / 1000, milliseconds % 1000);
    }
    let seconds = milliseconds / 1000;
    format!("{:02}:{:02}:{:02}", seconds / 3600, seconds / 60 % 60, seconds % 60)
}

/// How much happened when. Each bar leads to its first record; the list of commands says the same in words.
fn timeline(reading: &Reading, session: &SessionSummary) -> Markup {
    let Some(last) = reading.moments.iter().map(|moment| moment.at).max() else {
        return html! { p { "Nothing is on record." } };
    };
    let bars = bars(&reading.moments, last);
    let most = bars.iter().flatten().map(|bar| bar.count).max().unwrap_or(1);
    html! {
        svg.timeline viewBox="0 0 1000 70" preserveAspectRatio="none" role="group" aria-label={
            (reading.moments.len()) " records in " (clock(last)) "; each bar leads to its first record"
        } {
            @for (at, bar) in bars.iter().enumerate() {
                @if let Some(bar) = bar {
                    @let height = 8 + bar.count * 44 / most;
                    @let words = bar.words();
                    a href=(bar.first.link(session)) aria-label=(words) {
                        title { (words) }
                        rect x=(at * 10) y=(70 - height) width="8" height=(height)
                            class=(if bar.refused { "refused" } else { "bar" }) {}
                        @if bar.refused { rect.flag x=(at * 10) y="2" width="8" height="8" {} }
                    }
                }
            }
        }
        p.axis.quiet { span { "start" } span { "end, after " (clock(last)) } }
    }
}

/// The records of a hundredth of the time.
#[derive(Debug, Clone, Copy)]
struct Bar {
    first: Moment,
    count: usize,
    refused: bool,
}

impl Bar {
    fn words(&self) -> String {
        let refused = if self.refused { ", with a refusal" } else { "" };
        format!("{} records from {}{refused}", self.count, clock(self.first.at))
    }
}

fn bars(moments: &[Moment], last: u64) -> Vec<Option<Bar>> {
    let mut bars = vec![None; BARS];
    for moment in moments {
        let at = u128::from(moment.at) * BARS as u128 / (u128::from(last) + 1);
        let Some(place) = usize::try_from(at).ok().and_then(|at| bars.get_mut(at)) else { continue };
        let bar = place.get_or_insert(Bar { first: *moment, count: 0, refused: false });
        bar.count += 1;
        bar.refused |= moment.refused;
    }
    bars
}

fn commands(reading: &Reading, session: &SessionSummary) -> Markup {
    html! {
        @if !reading.commands.is_empty() {
            details {
                summary { "Commands in their order" }
                ol.plain {
                    @for (moment, line) in &reading.commands {
                        li {
                            span.quiet { (clock(moment.at)) " " }
                            a href=(moment.link(session)) { code { (line) } }
                            @if moment.refused { " " span.mark { "refused" } }
                        }
                    }
                }
                @if reading.commands_left_out > 0 { p.quiet { "and " (reading.commands_left_out) " more" } }
            }
        }
    }
}

pub(in crate::page) fn events(id: &str, call: &mut Call<'_>) -> Result<Reply, Failure> {
    let session = sessions::named(id, call)?;
    let key = call.context.content_key();
    Ok(Reply::Other(Answer::Live(Subject::Session { path: session.record, key })))
}

pub(in crate::page) fn end(id: &str, call: &mut Call<'_>) -> Result<Reply, Failure> {
    let id = sessions::named(id, call)?.session_id;
    let lines = match session::end_one(id, call.context)? {
        Ended::Session(ended, elapsed) => {
            vec![
                format!("The session is down, {elapsed} ms after the button. The consent stands."),
                ending::words(&ended),
            ]
        }
        Ended::Agent(agent) => vec![node::ended_agent(agent)],
    };
    Ok(call.done(lines, &format!("/sessions/{id}")))
}

pub(in crate::page) fn verify(id: &str, call: &mut Call<'_>) -> Result<Reply, Failure> {
    let session = sessions::named(id, call)?;
    let checked = verification::of_session(session.session_id, call.context)?;
    let facts: Vec<_> =
        checked.facts().for_people().map(|(name, value)| (view::words(name), value)).collect();
    let body = html! {
        h1 { "Verification" }
        section.card aria-labelledby="verdict" {
            h2 #verdict { "Session of " (safe(&session.engineer)) ", " (view::time(session.session_start_time)) }
            (verdict(&checked))
            (view::facts(facts.iter().map(|(name, value)| (name.as_str(), html! { (value) }))))
            @for line in checked.words() { p.quiet { (line) } }
            @for (title, count, places) in checked.places() {
                h3 { (title) ": " (count) }
                ul { @for place in places { li { (safe(&place)) } } }
            }
            @for note in call.notes.take() { p.said.bad { (safe(&note)) } }
            div.actions { a.button href={ "/sessions/" (session.session_id) } { "Back to the session" } }
        }
    };
    Ok(Reply::Show(Screen { title: "Verification".to_owned(), here: "/sessions", body }))
}

fn verdict(checked: &Checked) -> Markup {
    let mark = if checked.verdict() == Verdict::Broken { "bad" } else { "on" };
    html! { p.verdict data-state=(mark) role="status" { strong { (checked.sentence()) } } }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_record_is_in_one_bar_and_refusals_are_marked() {
        let moment = |at, refused| Moment { at, sequence: at, page: 1, refused };
        let moments = [moment(0, false), moment(5, false), moment(99_999, true)];
        let bars = bars(&moments, 99_999);
        assert_eq!(bars.iter().flatten().map(|bar| bar.count).sum::<usize>(), 3);
        assert_eq!(bars[0].map(|bar| (bar.count, bar.refused, bar.first.sequence)), Some((2, false, 0)));
        assert_eq!(bars[BARS - 1].map(|bar| (bar.count, bar.refused)), Some((1, true)));
        assert_eq!((clock(3_661_000), clock(9_999)), ("01:01:01".into(), "9.999 s".into()));
    }
}

//! Which address is which screen. A change is a form that is sent here; its token was checked before (`server`).

use hyper::StatusCode;
use maud::html;

use super::door::{Operator, Said};
use super::screens::{approvals, grant, health, overview, proxy, requests, sessions, transcript};
use super::server::{Answer, Ask, status_of};
use super::view::{self, Screen};
use super::{Site, live};
use crate::context::Context;
use crate::node;
use crate::outcome::{ErrorCode, Failure};
use crate::output;

pub(super) const SIGN_IN: &str = "/sign-in";
pub(super) const SIGN_OUT: &str = "/sign-out";

/// Style and script; they hold nothing of the node, so nobody has to be signed in.
pub(super) fn asset(path: &str) -> Option<Answer> {
    match path {
        "/page.css" => Some(Answer::Asset("text/css; charset=utf-8", include_str!("assets/page.css"))),
        "/page.js" => Some(Answer::Asset("text/javascript; charset=utf-8", include_str!("assets/page.js"))),
        _ => None,
    }
}

/// What one request of a signed-in operator needs.
pub(super) struct Call<'a> {
    pub(super) site: &'a Site,
    pub(super) ask: &'a Ask,
    pub(super) operator: &'a Operator,
    pub(super) context: &'a mut Context,
    pub(super) notes: super::Notes,
}

impl Call<'_> {
    /// Keeps what happened for the next page, and goes there.
    pub(super) fn done(&self, lines: Vec<String>, next: &str) -> Reply {
        let mut lines = lines;
        lines.extend(self.notes.take());
        self.site.door.say(self.operator, Said { bad: false, lines });
        Reply::See(next.to_owned())
    }
}

/// What a screen gives back.
pub(super) enum Reply {
    Show(Screen),
    See(String),
    Other(Answer),
}

/// Makes the answer.
pub(super) fn answer(site: &Site, ask: &Ask, operator: &Operator) -> Answer {
    let (mut context, notes) = site.context();
    let mut call = Call { site, ask, operator, context: &mut context, notes };
    match screen(&mut call) {
        Ok(Reply::Show(screen)) => whole(site, operator, StatusCode::OK, screen),
        Ok(Reply::See(place)) => Answer::See(place),
        Ok(Reply::Other(answer)) => answer,
        Err(failure) => whole(site, operator, status_of(&failure), failed(&failure)),
    }
}

fn screen(call: &mut Call<'_>) -> Result<Reply, Failure> {
    let path: Vec<&str> = call.ask.path.trim_matches('/').split('/').collect();
    match (call.ask.posts, path.as_slice()) {
        (false, [""]) => overview::show(call),
        (false, ["events"]) => Ok(Reply::Other(Answer::Live(live::Subject::Standing))),
        (true, ["revoke"]) => overview::revoke(call),
        (false, ["grant"]) => grant::choose(call),
        (false, ["grant", "review"]) => grant::review(call),
        (true, ["grant"]) => grant::give(call),
        (true, ["grant", "decline"]) => grant::decline(call),
        (false, ["sessions"]) => sessions::list(call),
        (false, ["sessions", id]) => transcript::show(id, call),
        (false, ["sessions", id, "events"]) => transcript::events(id, call),
        (false, ["sessions", id, "verify"]) => transcript::verify(id, call),
        (true, ["sessions", id, "end"]) => transcript::end(id, call),
        (false, ["approvals"]) => approvals::list(call),
        (false, ["approvals", "events"]) => Ok(approvals::events()),
        (false, ["approvals", id]) => approvals::show(id, call),
        (true, ["approvals", id, "approve"]) => approvals::approve(id, call),
        (true, ["approvals", id, "decline"]) => approvals::decline(id, call),
        (false, ["requests"]) => requests::list(call),
        (true, ["requests"]) => requests::submit(call),
        (true, ["requests", "opening"]) => requests::opening(call),
        (false, ["requests", number, "opening"]) => requests::opening_here(number, call),
        (true, ["requests", "confirm"]) => requests::confirm(call),
        (false, ["requests", number, "file"]) => requests::file(number, call),
        (true, ["requests", number, "close"]) => requests::close(number, call),
        (false, ["proxy"]) => proxy::show(call),
        (true, ["proxy"]) => proxy::start(call),
        (false, ["proxy", "events"]) => proxy::events(call),
        (false, ["health"]) => health::show(call),
        _ => {
            Err(Failure::new(ErrorCode::NotFound, "there is no such page")
                .about(output::safe(&call.ask.path)))
        }
    }
}

fn whole(site: &Site, operator: &Operator, status: StatusCode, screen: Screen) -> Answer {
    let said = site.door.said(operator);
    let now = site.clock.now().wall;
    Answer::Page(status, view::page(screen, node::name().as_str(), now, operator, said.as_ref()))
}

/// What went wrong, why, and what to do (U04).
fn failed(failure: &Failure) -> Screen {
    let body = html! {
        h1 { "That did not work" }
        div.said.bad role="alert" {
            p { strong { (output::safe(&failure.in_a_line())) } }
            @if let Some(remedy) = failure.remedy() { p { "What to do: " (output::safe(remedy)) } }
            p.quiet { "Code: " code { (failure.code().as_str()) } }
        }
        p { a href="/" { "To the overview" } }
    };
    Screen { title: "That did not work".to_owned(), here: "", body }
}

//! What is still to be done before an engineer can connect, and where: so that nobody who is new here has to guess.

use maud::{Markup, html};
use rs_consent::SupportRequest;
use rs_consent::request::RequestState;

use crate::output::safe;

/// How far things are, one step after the other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Progress<'a> {
    /// The agent answers.
    pub(super) agent: bool,
    /// A support request was made and is not closed.
    pub(super) asked: bool,
    /// Its desk is confirmed.
    pub(super) confirmed: bool,
    /// A consent counts.
    pub(super) granted: bool,
    /// What a consent that was given waits for.
    pub(super) waits: Option<&'a str>,
    /// The relay has the node's listener.
    pub(super) connected: bool,
    /// Why it has not.
    pub(super) trouble: Option<&'a str>,
}

impl<'a> Progress<'a> {
    /// With what these requests say.
    pub(super) fn of(requests: &[SupportRequest]) -> Self {
        let has = |state| requests.iter().any(|request| request.state() == state);
        let confirmed = has(RequestState::Open);
        Progress {
            agent: false,
            asked: confirmed || has(RequestState::Submitted),
            confirmed,
            granted: false,
            waits: None,
            connected: false,
            trouble: None,
        }
    }

    fn is_ready(self) -> bool {
        self.agent && self.confirmed && self.granted && self.connected
    }

    /// Each step with a word that says whether it is done; or that all is.
    pub(super) fn shown(self) -> Markup {
        if self.is_ready() {
            return html! { p { "All is ready: the engineer whom the desk assigns can connect." } };
        }
        let step = |done: bool, what: Markup| {
            html! { li { strong { (if done { "Done: " } else { "To do: " }) } (what) } }
        };
        html! {
            ol.steps {
                @if self.agent { (step(true, html! { "the agent of this node runs." })) }
                @else { (step(false, html! {
                    "start the agent of this node with " code { "remote-support agent run" } ", or as a service with "
                    code { "systemctl start remote-support-agent" } "."
                })) }
                (step(self.asked, html! {
                    a href="/requests" { "ask for support" } ", and send the file of the request to the desk, which is where the support \
                     organisation takes requests."
                }))
                (step(self.confirmed, html! { a href="/requests" { "confirm the desk" } " by its answer." }))
                (step(self.granted, html! {
                    a href="/grant" { "grant access" } " for a limited time"
                    @if let Some(wait) = self.waits { "; it was granted, and waits for " (safe(wait)) } "."
                }))
                @match (self.connected, self.trouble) {
                    (true, _) => (step(true, html! { "the node is connected to the relay." })),
                    (false, Some(trouble)) => (step(false, html! { "see that the relay can be reached: " (safe(trouble)) })),
                    (false, None) => li {
                        strong { "By itself: " } "the agent connects the node to the relay as soon as access is granted."
                    },
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(progress: Progress<'_>) -> String {
        progress.shown().into_string()
    }

    #[test]
    fn who_begins_with_nothing_is_told_each_step_and_where_it_is_done() {
        let nothing = text(Progress::of(&[]));
        let count = |word: &str| nothing.matches(word).count();
        assert_eq!([count("To do: "), count("By itself: "), count("Done: ")], [4, 1, 0]);
        for place in ["remote-support agent run", "href=\"/requests\"", "href=\"/grant\""] {
            assert!(nothing.contains(place), "{place}: {nothing}");
        }
    }

    #[test]
    fn what_is_done_is_said_and_when_all_is_done_that_too() {
        let all = Progress {
            agent: true,
            asked: true,
            confirmed: true,
            granted: true,
            waits: None,
            connected: true,
            trouble: None,
        };
        assert!(text(all).contains("All is ready"));
        let relay = Progress { connected: false, trouble: Some("no <relay>"), ..all };
        let shown = text(relay);
        assert_eq!((shown.matches("To do: ").count(), shown.matches("Done: ").count()), (1, 4));
        assert!(shown.contains("no &lt;relay&gt;"), "{shown}");
        let waits =
            text(Progress { granted: false, waits: Some("a second person"), connected: false, ..all });
        assert!(waits.contains("it was granted, and waits for a second person"), "{waits}");
    }
}

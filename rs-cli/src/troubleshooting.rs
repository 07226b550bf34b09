//! Every code that people meet, with cause and remedy (U04).
//!
//! Nothing is written here twice: each list says of its own codes what they mean and what can be done. `explain` prints
//! this, and `docs/troubleshooting.md` is made from it.

use rs_consent::{EndCause, RefusalCode};
use rs_proxy::Hop;
use rs_proxy::allowlist::Status as ListStatus;
use rs_relay::proto::{Closing, Reason};
use rs_session::history::SessionState;
use rs_session::node_log::{GapKind, ProofVerdict};
use rs_session::operations::Code;
use rs_session::operations::executor::Status;
use rs_session::record::Verdict;

use crate::commands::agent::doctor::check::Check;
use crate::fleet::answer::NodeTrouble;
use crate::outcome::{ErrorCode, Exit};

/// Where a code is met. Two places can use the same word.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Area {
    /// A command of the program failed.
    Command,
    /// The exit code of the program.
    Exit,
    /// One of several nodes did not do what was asked.
    Node,
    /// The node let nobody in.
    Refusal,
    /// A session or consent ended.
    End,
    /// A line of the engineer was refused.
    Line,
    /// An operation ended.
    Operation,
    /// A finding of `agent doctor`.
    Doctor,
    /// The hop at which a connection ends.
    Network,
    /// The verdict on a name in a proxy's list.
    Allowlist,
    /// A refusal of the relay.
    Relay,
    /// A close code of the relay.
    Close,
    /// The state of a session in the history.
    Session,
    /// The verdict of `session verify`.
    Verdict,
    /// The answer of `node-log prove`.
    Proof,
    /// Why nothing can be said about a time.
    Gap,
}

impl Area {
    /// Every place, in the order of the page.
    pub const ALL: &[Self] = &[
        Self::Command,
        Self::Exit,
        Self::Node,
        Self::Refusal,
        Self::End,
        Self::Line,
        Self::Operation,
        Self::Doctor,
        Self::Network,
        Self::Allowlist,
        Self::Relay,
        Self::Close,
        Self::Session,
        Self::Verdict,
        Self::Proof,
        Self::Gap,
    ];

    /// The place in a few words.
    #[must_use]
    pub const fn title(self) -> &'static str {
        match self {
            Self::Command => "A command fails",
            Self::Exit => "Exit codes",
            Self::Node => "One of several nodes",
            Self::Refusal => "The node lets nobody in",
            Self::End => "A session or consent has ended",
            Self::Line => "A line is refused",
            Self::Operation => "How an operation ended",
            Self::Doctor => "agent doctor",
            Self::Network => "Where a connection ends",
            Self::Allowlist => "A name in a proxy's list",
            Self::Relay => "The relay refuses",
            Self::Close => "The relay closes",
            Self::Session => "State of a session",
            Self::Verdict => "Verdict of session verify",
            Self::Proof => "Answer of node-log prove",
            Self::Gap => "Why nothing can be said about a time",
        }
    }

    /// How a code of this place is shown, `CODE` standing for it.
    #[must_use]
    pub const fn seen(self) -> &'static str {
        match self {
            Self::Command => "error[CODE]: …",
            Self::Exit => "$? is CODE",
            Self::Node => {
                "the trouble of a node in JSON, beside its cause; what failed on the node itself has the code of its command"
            }
            Self::Refusal => "the node let nobody in (CODE)",
            Self::End => "the cause in history, transcripts and at the engineer's prompt",
            Self::Line => "… (column N, CODE)",
            Self::Operation => "the status of a line in transcripts and its JSON",
            Self::Doctor => "Check : CODE",
            Self::Network => "the hop in `proxy check`, `agent doctor` and where a connection fails",
            Self::Allowlist => "the status in `proxy allowlist`",
            Self::Relay => "refused with status N: …",
            Self::Close => "the relay closed the control channel with code CODE",
            Self::Session => "the state in `history`",
            Self::Verdict => "the verdict in `session verify`",
            Self::Proof => "the verdict in `node-log prove`",
            Self::Gap => "the kind of a gap in `node-log prove`",
        }
    }

    /// Its codes.
    fn entries(self) -> Vec<Entry> {
        macro_rules! of {
            ($list:expr) => {
                $list.iter().map(|code| self.entry(code.as_str(), code.cause(), code.remedy())).collect()
            };
        }
        match self {
            Self::Command => of!(ErrorCode::ALL),
            Self::Exit => {
                let number = |exit: &Exit| (*exit as u8).to_string();
                Exit::ALL.iter().map(|exit| self.entry(number(exit), exit.cause(), exit.remedy())).collect()
            }
            Self::Node => of!(NodeTrouble::ALL),
            Self::Refusal => of!(RefusalCode::ALL),
            Self::End => of!(EndCause::ALL),
            Self::Line => of!(Code::ALL),
            Self::Operation => of!(Status::ALL),
            Self::Doctor => of!(Check::ALL),
            Self::Network => of!(Hop::ALL),
            Self::Allowlist => of!(ListStatus::ALL),
            Self::Relay => {
                let entry = |reason: &Reason| Entry {
                    status: Some(reason.status()),
                    ..self.entry(reason.as_str(), reason.cause(), reason.remedy())
                };
                Reason::ALL.iter().map(entry).collect()
            }
            Self::Close => {
                let entry = |close: &Closing| self.entry(close.code.to_string(), close.cause, close.remedy);
                Closing::ALL.iter().map(entry).collect()
            }
            Self::Session => of!(SessionState::ALL),
            Self::Verdict => of!(Verdict::ALL),
            Self::Proof => of!(ProofVerdict::ALL),
            Self::Gap => {
                let entry = |gap: &GapKind| self.entry(gap.as_str(), gap.explanation(), gap.remedy());
                GapKind::ALL.iter().map(entry).collect()
            }
        }
    }

    fn entry(self, code: impl Into<String>, cause: &'static str, remedy: &'static str) -> Entry {
        Entry { area: self, code: code.into(), status: None, cause, remedy }
    }
}

/// One code, explained.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Entry {
    /// Where it is met.
    pub area: Area,
    /// The code as it is shown.
    pub code: String,
    /// The HTTP status that goes with it, where one does.
    pub status: Option<&'static str>,
    /// What it means.
    pub cause: &'static str,
    /// What to do.
    pub remedy: &'static str,
}

/// Every code, in the order of [`Area::ALL`].
///
/// ```
/// let entries = rs_cli::troubleshooting::all();
/// let held = entries.iter().find(|entry| entry.code == "clock-held").expect("there");
/// assert!(held.remedy.contains("enable remote support again"));
/// ```
#[must_use]
pub fn all() -> Vec<Entry> {
    Area::ALL.iter().flat_map(|area| area.entries()).collect()
}

/// What is meant by a word or a message: the entries of that code, without regard to case; else those whose code stands
/// in the message as a word of its own; else those whose cause has the words.
///
/// ```
/// use rs_cli::troubleshooting::find;
///
/// assert_eq!(find("GRANT-REVOKED")[0].code, "grant-revoked");
/// assert_eq!(find("error[no-terminal]: nobody to ask")[0].code, "no-terminal");
/// assert_eq!(find("the consent was revoked")[0].code, "grant-revoked");
/// assert!(find("frobnicate").is_empty());
/// ```
#[must_use]
pub fn find(text: &str) -> Vec<Entry> {
    let text = text.trim().to_lowercase();
    if text.is_empty() {
        return Vec::new();
    }
    let entries = all();
    let of = |fits: &dyn Fn(&Entry) -> bool| -> Vec<Entry> {
        entries.iter().filter(|entry| fits(entry)).cloned().collect()
    };
    let exact = of(&|entry| entry.code == text || entry.status.is_some_and(|status| has_word(status, &text)));
    if !exact.is_empty() {
        return exact;
    }
    // A short word such as `tcp` or `key` says nothing in a message; codes of two words are meant.
    let named = of(&|entry| {
        let marked = [format!("[{}]", entry.code), format!("({})", entry.code), format!(", {})", entry.code)];
        marked.iter().any(|code| text.contains(code))
            || entry.code.contains('-') && has_word(&text, &entry.code)
    });
    if named.is_empty() { of(&|entry| entry.cause.to_lowercase().contains(&text)) } else { named }
}

/// Whether `word` stands in `text` with nothing of a code on either side.
fn has_word(text: &str, word: &str) -> bool {
    text.split(|c: char| !c.is_alphanumeric() && c != '-').any(|own| own == word)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn u04_codes_of_a_place_are_distinct_and_each_has_cause_and_remedy() {
        for area in Area::ALL {
            let mut codes: Vec<_> = area.entries().into_iter().map(|entry| entry.code).collect();
            let number = codes.len();
            codes.sort();
            codes.dedup();
            assert_eq!(codes.len(), number, "{area:?}");
        }
        for entry in all() {
            for text in [entry.cause, entry.remedy] {
                assert!(!text.is_empty() && !text.ends_with('.') && !text.contains('\n'), "{entry:?}");
            }
        }
    }

    #[test]
    fn u04_what_the_program_prints_is_found_again() {
        let message =
            "error[refused]: the node let nobody in (grant-expired)\n  cause: the consent has expired";
        let codes: Vec<_> = find(message).into_iter().map(|entry| entry.code).collect();
        assert_eq!(codes, ["refused", "grant-expired"]);
        let refused = rs_session::operations::parse("Get-Process; Get-Date").expect_err("a separator");
        assert_eq!(find(&refused.to_string())[0].code, "separator");
        assert!(find("404").iter().any(|entry| entry.code == "no-listener"));
        assert_eq!(find("1008")[0].area, Area::Close);
        assert_eq!(find("6")[0].area, Area::Exit);
        assert!(find("").is_empty() && find(" \t").is_empty());
    }
}

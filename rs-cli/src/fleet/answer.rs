//! What a node's output means. It comes from another machine: its length is bounded before, its form is checked, and its
//! texts are short and harmless before anybody sees them.

use serde::Deserialize;
use serde_json::Value;

use crate::outcome::{ErrorCode, Exit};
use crate::output::{self, cut};

/// The most columns of a text of a node's that are shown.
pub const TEXT_COLUMNS_MAX: usize = 300;

/// Why nothing usable came from a node, as far as this side can tell.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum NodeTrouble {
    /// The remote shell did not get there.
    Unreachable,
    /// The time of the node was over.
    NoAnswer,
    /// What came is not what the program prints.
    BadAnswer,
    /// More came than is read.
    TooLong,
    /// The program there failed without saying why.
    Failed,
    /// The node granted something else than was asked for.
    Other,
    /// Whoever asked stopped it.
    Stopped,
}

impl NodeTrouble {
    /// Every trouble.
    pub const ALL: &[Self] = &[
        Self::Unreachable,
        Self::NoAnswer,
        Self::BadAnswer,
        Self::TooLong,
        Self::Failed,
        Self::Other,
        Self::Stopped,
    ];

    /// The code as it is printed.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Unreachable => "node-unreachable",
            Self::NoAnswer => "node-no-answer",
            Self::BadAnswer => "node-bad-answer",
            Self::TooLong => "node-answer-too-long",
            Self::Failed => "node-failed",
            Self::Other => "node-granted-otherwise",
            Self::Stopped => "node-stopped",
        }
    }

    /// What it means, as a sentence without full stop.
    #[must_use]
    pub const fn cause(self) -> &'static str {
        match self {
            Self::Unreachable => "the remote shell did not reach the node, or was not let in",
            Self::NoAnswer => {
                "the node did not answer in its time, and the remote shell was ended; whether it did what was asked is not known"
            }
            Self::BadAnswer => "what came from the node is not what this program prints",
            Self::TooLong => "the node's answer is longer than is read",
            Self::Failed => "the command failed on the node, without a reason in the form of this program",
            Self::Other => {
                "the node granted something else than was asked for, such as another end or other terms"
            }
            Self::Stopped => {
                "it was stopped from this side before the node had answered; whether it did what was asked is not known"
            }
        }
    }

    /// What can be done, as a sentence without full stop.
    #[must_use]
    pub const fn remedy(self) -> &'static str {
        match self {
            Self::Unreachable => {
                "try the remote shell by hand: `ssh -o BatchMode=yes HOST remote-support access`; it must know the host's key and not ask for a password"
            }
            Self::NoAnswer => {
                "look with `remote-support access --node HOST`, give more time with --node-timeout, and repeat for this node alone"
            }
            Self::BadAnswer => {
                "see that the login shell there prints nothing of its own, and that its remote-support is of this version"
            }
            Self::TooLong => "ask for less, for example with --from-date, or ask on the node itself",
            Self::Failed => {
                "run the command on the node by hand; --node-command says what is called there, such as `sudo -n remote-support`"
            }
            Self::Other => {
                "look with `remote-support access --node HOST`, and revoke there with `remote-support disable --node HOST`"
            }
            Self::Stopped => "look with `remote-support access --node HOST`, and repeat for this node alone",
        }
    }
}

/// Why a node is missing from a result: in words that can be shown, and a code for scripts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Trouble {
    /// A code of [`NodeTrouble`], or that of the failure on the node.
    pub code: String,
    /// In words, on one harmless line.
    pub cause: String,
    /// The exit code that goes with it.
    pub exit: Exit,
    /// Whether the node may have done what was asked all the same.
    pub unknown: bool,
}

impl Trouble {
    /// A trouble that this side found, and what is known of it.
    #[must_use]
    pub fn of(kind: NodeTrouble, more: &str) -> Self {
        let more = short(more);
        let cause = if more.is_empty() { kind.cause().to_owned() } else { more };
        let exit = match kind {
            NodeTrouble::Unreachable | NodeTrouble::NoAnswer => Exit::Unreachable,
            _ => Exit::Failed,
        };
        let unknown = !matches!(kind, NodeTrouble::Unreachable | NodeTrouble::Failed | NodeTrouble::Other);
        Self { code: kind.as_str().to_owned(), cause, exit, unknown }
    }
}

/// Something from a node, or why there is nothing.
pub type Told<T> = Result<T, Trouble>;

/// A text of a node's on one harmless line, cut where it is long.
#[must_use]
pub fn short(text: &str) -> String {
    // So much of it is looked at: what is cut off anyway is not made harmless first.
    let begin: String = text.trim().chars().take(TEXT_COLUMNS_MAX * 2).collect();
    cut(&output::safe(&begin), TEXT_COLUMNS_MAX)
}

/// What the command left behind.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ended {
    /// Its exit code; none where it was ended by a signal.
    pub code: Option<i32>,
    /// Its standard output.
    pub out: Vec<u8>,
    /// The end of its standard error.
    pub err: Vec<u8>,
}

/// The exit code of ssh where the trouble is its own.
const SSH_FAILED: i32 = 255;

/// Exit codes of the program with which it has printed a result.
const WITH_RESULT: [Exit; 3] = [Exit::Done, Exit::Integrity, Exit::Partial];

/// The result of the command on a node, and its exit code.
///
/// # Errors
///
/// [`Trouble`]: the failure that the program there told in its own form, else what this side can say.
pub fn judge(ended: &Ended) -> Told<(Value, Exit)> {
    if let Some(exit) = WITH_RESULT.into_iter().find(|exit| ended.code == Some(i32::from(*exit as u8))) {
        return match serde_json::from_slice(&ended.out) {
            Ok(value) => Ok((value, exit)),
            Err(_) if exit == Exit::Done => Err(Trouble::of(NodeTrouble::BadAnswer, "the answer is no JSON")),
            Err(_) => Err(told(ended)),
        };
    }
    Err(told(ended))
}

/// A failure as the program tells it for programs.
#[derive(Deserialize)]
struct ToldFailure {
    error: ToldError,
}

#[derive(Deserialize)]
struct ToldError {
    code: String,
    message: String,
    target: Option<String>,
    #[serde(default)]
    details: Vec<ToldDetail>,
}

#[derive(Deserialize)]
struct ToldDetail {
    message: String,
}

fn told(ended: &Ended) -> Trouble {
    let text = String::from_utf8_lossy(&ended.err);
    let failure = text.lines().rev().find_map(|line| serde_json::from_str::<ToldFailure>(line).ok());
    if let Some(ToldFailure { error }) = failure {
        return of_the_program(error);
    }
    let last = text.lines().rev().map(str::trim).find(|line| !line.is_empty()).unwrap_or_default();
    match ended.code {
        Some(SSH_FAILED) => Trouble::of(NodeTrouble::Unreachable, last),
        Some(code) if last.is_empty() => Trouble::of(NodeTrouble::Failed, &format!("exit code {code}")),
        _ => Trouble::of(NodeTrouble::Failed, last),
    }
}

fn of_the_program(error: ToldError) -> Trouble {
    let known = ErrorCode::ALL.iter().find(|code| code.as_str() == error.code);
    let code = known.map_or(NodeTrouble::Failed.as_str(), |code| code.as_str()).to_owned();
    let parts = [Some(error.message), error.target].into_iter().flatten();
    let parts = parts.chain(error.details.into_iter().map(|detail| detail.message));
    let cause = short(&parts.collect::<Vec<_>>().join(": "));
    Trouble { code, cause, exit: known.map_or(Exit::Failed, |code| code.exit()), unknown: false }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;
    use crate::output::is_unsafe;

    fn ended(code: i32, out: &str, err: &str) -> Ended {
        Ended { code: Some(code), out: out.as_bytes().to_vec(), err: err.as_bytes().to_vec() }
    }

    fn trouble(code: i32, out: &str, err: &str) -> (String, String) {
        let trouble = judge(&ended(code, out, err)).expect_err("trouble");
        (trouble.code, trouble.cause)
    }

    #[test]
    fn f03_what_came_is_a_result_or_a_cause() {
        assert_eq!(judge(&ended(0, "[1]", "notes")), Ok((json!([1]), Exit::Done)));
        assert_eq!(judge(&ended(7, "{}", "")), Ok((json!({}), Exit::Partial)));
        assert_eq!(trouble(0, "Welcome!\n[]", "").0, "node-bad-answer");
        assert_eq!(trouble(0, "", "").0, "node-bad-answer");
        let refused = "Enabling.\n{\"error\":{\"code\":\"refused\",\"message\":\"no\",\"target\":\"x\",\
                       \"details\":[{\"message\":\"why\"}],\"nextStep\":\"y\"}}\n";
        assert_eq!(trouble(3, "", refused), ("refused".to_owned(), "no: x: why".to_owned()));
        assert_eq!(judge(&ended(3, "", refused)).expect_err("trouble").exit, Exit::Refused);
        assert_eq!(
            trouble(255, "", "ssh: connect to host n3 port 22: Connection refused\r\n").1,
            "ssh: connect to host n3 port 22: Connection refused"
        );
        assert_eq!(trouble(255, "", "x").0, "node-unreachable");
        assert_eq!(trouble(127, "", "sh: 1: remote-support: not found\n").0, "node-failed");
        assert_eq!(trouble(9, "", ""), ("node-failed".to_owned(), "exit code 9".to_owned()));
        let signal = Ended { code: None, out: Vec::new(), err: Vec::new() };
        assert_eq!(judge(&signal).expect_err("trouble").cause, NodeTrouble::Failed.cause());
    }

    #[test]
    fn f03_a_node_cannot_make_up_codes() {
        let own = r#"{"error":{"code":"done\u001b[2J","message":"m"}}"#;
        assert_eq!(trouble(1, "", own), ("node-failed".to_owned(), "m".to_owned()));
    }

    #[test]
    fn sec37_what_a_node_says_steers_no_terminal_and_is_short() {
        let hostile = "\u{1b}[2J\u{202e}\u{9b}31m\rnext";
        let said = trouble(255, "", hostile).1;
        assert!(!said.chars().any(is_unsafe), "{said:?}");
        let json = json!({"error": {"code": "io", "message": hostile, "target": "a\nb"}}).to_string();
        let said = trouble(1, "", &json).1;
        assert!(!said.chars().any(is_unsafe) && said.contains("next"), "{said:?}");
        assert_eq!(output::columns(&trouble(255, "", &"x".repeat(10_000)).1), TEXT_COLUMNS_MAX);
        let deep = "[".repeat(100_000);
        assert_eq!(trouble(0, &deep, "").0, "node-bad-answer");
    }

    proptest! {
        #[test]
        fn f03_any_output_is_judged(code in prop::option::of(0..256_i32), out: Vec<u8>, err: Vec<u8>) {
            if let Err(trouble) = judge(&Ended { code, out, err }) {
                prop_assert!(!trouble.cause.chars().any(is_unsafe) && !trouble.code.is_empty());
            }
        }
    }
}

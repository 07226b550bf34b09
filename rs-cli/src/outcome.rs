//! How a command ended: exit codes, and failures that say what happened, why, and what to do next.

use std::error::Error;
use std::fmt;
use std::io;

use serde_json::json;

/// Exit codes of the program.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Exit {
    /// Done.
    Done = 0,
    /// Failed for a reason that has no code of its own.
    Failed = 1,
    /// Wrong usage or a value outside its range.
    Usage = 2,
    /// Declined by the person asked, or refused for want of consent.
    Refused = 3,
    /// No such grant, request, session or file.
    NotFound = 4,
    /// Network, relay or agent cannot be reached.
    Unreachable = 5,
    /// A signature, checksum or chain does not hold.
    Integrity = 6,
    /// Done on some nodes, failed on others.
    Partial = 7,
}

impl Exit {
    /// Every exit code.
    pub const ALL: &[Self] = &[
        Self::Done,
        Self::Failed,
        Self::Usage,
        Self::Refused,
        Self::NotFound,
        Self::Unreachable,
        Self::Integrity,
        Self::Partial,
    ];

    /// What it means, as a sentence without full stop.
    #[must_use]
    pub const fn cause(self) -> &'static str {
        match self {
            Self::Done => "done",
            Self::Failed => "failed for a reason that has no code of its own",
            Self::Usage => "wrong usage, or a value outside its range",
            Self::Refused => "declined by the person asked, or refused for want of consent",
            Self::NotFound => "no such grant, request, session or file",
            Self::Unreachable => "network, relay or agent cannot be reached",
            Self::Integrity => "a signature, checksum or chain does not hold, or something cannot be proved",
            Self::Partial => "done in part, such as on some nodes only; what failed has been printed",
        }
    }

    /// What can be done, as a sentence without full stop.
    #[must_use]
    pub const fn remedy(self) -> &'static str {
        match self {
            Self::Done => "nothing is to be done",
            Self::Failed => "read the message; the code in its brackets is explained here",
            Self::Usage => "correct the command as the message says",
            Self::Refused => "the code in the message says which piece is missing",
            Self::NotFound => "list what there is, and name it as it stands there",
            Self::Unreachable => {
                "look with `remote-support agent doctor` on the node, and with `remote-support proxy check` anywhere"
            }
            Self::Integrity => "keep what was checked as it is; the findings say where it does not hold",
            Self::Partial => "do the rest again when its cause is gone",
        }
    }
}

impl From<Exit> for std::process::ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit as u8)
    }
}

/// How a command that ran to its end turned out; it has printed its results itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[must_use]
pub enum Outcome {
    /// Everything asked for was done.
    Done,
    /// The person asked said No. Nothing was changed.
    Declined,
    /// Done in part; what failed has been printed.
    Partial,
    /// Any other ending that is no failure of the program, for example the exit code of a remote command.
    Exit(Exit),
}

impl Outcome {
    /// The exit code.
    #[must_use]
    pub fn exit(self) -> Exit {
        match self {
            Self::Done => Exit::Done,
            Self::Declined => Exit::Refused,
            Self::Partial => Exit::Partial,
            Self::Exit(exit) => exit,
        }
    }
}

/// What went wrong, in a form that scripts may branch on. Printed as kebab-case text (`no-terminal`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ErrorCode {
    /// A value given is outside what is permitted.
    InvalidValue,
    /// A question had to be put, but there is nobody to answer it.
    NoTerminal,
    /// Consent, or something that stands for it, is missing.
    Refused,
    /// What was named does not exist.
    NotFound,
    /// The file is not in the form that it should have.
    InvalidFile,
    /// A file or directory that protects a secret can be read or written by others.
    UnsafePermissions,
    /// A key cannot be read, or is not the one expected.
    Key,
    /// A signed statement does not hold: wrong signature, wrong key, wrong node, or out of date.
    Statement,
    /// A stored record or transcript has been altered.
    Integrity,
    /// The node's store cannot be opened, read or written.
    Store,
    /// The operating system refused to read or write.
    Io,
    /// The agent of this node does not answer.
    AgentUnreachable,
    /// The network or the relay cannot be reached.
    Unreachable,
    /// The command is declared, but not part of this build.
    NotAvailable,
    /// A fault of the program.
    Internal,
}

impl ErrorCode {
    /// Every code.
    pub const ALL: &[Self] = &[
        Self::InvalidValue,
        Self::NoTerminal,
        Self::Refused,
        Self::NotFound,
        Self::InvalidFile,
        Self::UnsafePermissions,
        Self::Key,
        Self::Statement,
        Self::Integrity,
        Self::Store,
        Self::Io,
        Self::AgentUnreachable,
        Self::Unreachable,
        Self::NotAvailable,
        Self::Internal,
    ];

    /// The code as it is printed.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::InvalidValue => "invalid-value",
            Self::NoTerminal => "no-terminal",
            Self::Refused => "refused",
            Self::NotFound => "not-found",
            Self::InvalidFile => "invalid-file",
            Self::UnsafePermissions => "unsafe-permissions",
            Self::Key => "key",
            Self::Statement => "statement",
            Self::Integrity => "integrity",
            Self::Store => "store",
            Self::Io => "io",
            Self::AgentUnreachable => "agent-unreachable",
            Self::Unreachable => "unreachable",
            Self::NotAvailable => "not-available",
            Self::Internal => "internal",
        }
    }

    /// What it means, as a sentence without full stop.
    #[must_use]
    pub const fn cause(self) -> &'static str {
        match self {
            Self::InvalidValue => "a value or option is outside what is permitted",
            Self::NoTerminal => "a question has to be put, and there is nobody to answer it",
            Self::Refused => {
                "consent, or something that stands for it, is missing, or the person asked said No"
            }
            Self::NotFound => "what was named does not exist",
            Self::InvalidFile => "a file is not in the form that it should have",
            Self::UnsafePermissions => {
                "a file or directory that protects a secret can be read or written by others, or belongs to another user"
            }
            Self::Key => "a key cannot be read, is locked, or is not the one expected",
            Self::Statement => {
                "a signed statement does not hold: wrong signature, wrong key, wrong node, or out of date"
            }
            Self::Integrity => "a stored record, store or transcript is not what was written",
            Self::Store => "the node's store cannot be opened, read or written",
            Self::Io => "the operating system refused to read or write",
            Self::AgentUnreachable => "the agent of this node does not answer",
            Self::Unreachable => "the network or the relay cannot be reached",
            Self::NotAvailable => "the command is declared, but not part of this build",
            Self::Internal => "a fault of the program",
        }
    }

    /// What can be done in general, as a sentence without full stop; a [`Failure`] often knows more.
    #[must_use]
    pub const fn remedy(self) -> &'static str {
        match self {
            Self::InvalidValue => {
                "correct it as the message says; `--help` of the command has ranges and examples"
            }
            Self::NoTerminal => {
                "run the command in a terminal, or give the answer by the option that the message names"
            }
            Self::Refused => {
                "read the code behind the message; it says which piece is missing and who can give it"
            }
            Self::NotFound => {
                "list what there is (`history`, `access`, `request list`), and name it as it stands there"
            }
            Self::InvalidFile => {
                "get it again from whoever made it, or correct it at the place that the message names"
            }
            Self::UnsafePermissions => {
                "set mode and owner as the message says (0600 for files, 0700 for directories), and see who could have read it"
            }
            Self::Key => {
                "hand in the key or passphrase that belongs to this state directory; a node that was set up anew needs new assignments"
            }
            Self::Statement => {
                "get a new one from whoever signed it, and compare the fingerprint with the one that they publish"
            }
            Self::Integrity => {
                "keep it as it is, see where with `remote-support session verify`, and compare with other copies"
            }
            Self::Store => {
                "see that the volume is well and has space left, and that no other program holds the store; `remote-support agent doctor` looks at all of it"
            }
            Self::Io => "see the cause below the message: space, rights, or a path that is not there",
            Self::AgentUnreachable => {
                "start it with `remote-support agent run` or its service, and run commands as its user or as root"
            }
            Self::Unreachable => {
                "look at each hop with `remote-support proxy check`, and see that the relay runs"
            }
            Self::NotAvailable => "use a build that has it; the message says which",
            Self::Internal => "report it with the whole message; what was on record stays on record",
        }
    }

    /// The exit code that goes with it.
    #[must_use]
    pub fn exit(self) -> Exit {
        match self {
            Self::InvalidValue => Exit::Usage,
            Self::NoTerminal | Self::Refused => Exit::Refused,
            Self::NotFound => Exit::NotFound,
            Self::AgentUnreachable | Self::Unreachable => Exit::Unreachable,
            Self::Statement | Self::Integrity => Exit::Integrity,
            Self::InvalidFile
            | Self::UnsafePermissions
            | Self::Key
            | Self::Store
            | Self::Io
            | Self::NotAvailable
            | Self::Internal => Exit::Failed,
        }
    }
}

impl fmt::Display for ErrorCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Why a command failed: a code for scripts, what happened and why for people, and the next step.
///
/// # Examples
///
/// ```
/// use rs_cli::outcome::{ErrorCode, Exit, Failure};
///
/// let failure = Failure::new(ErrorCode::NotFound, "there is no session with this id")
///     .about("5f0c")
///     .next_step("list the sessions with `remote-support history`");
/// assert_eq!(failure.exit(), Exit::NotFound);
/// assert_eq!(
///     failure.to_string(),
///     "there is no session with this id: 5f0c\n  next: list the sessions with `remote-support history`"
/// );
/// ```
#[derive(Debug)]
pub struct Failure {
    code: ErrorCode,
    message: String,
    target: Option<String>,
    cause: Option<Box<dyn Error + Send + Sync>>,
    next: Option<String>,
}

impl Failure {
    /// A failure that says what happened; lower case, no full stop.
    pub fn new(code: ErrorCode, message: impl Into<String>) -> Self {
        Self { code, message: message.into(), target: None, cause: None, next: None }
    }

    /// What it happened to: a path, an id, the name of an option. Never a secret.
    #[must_use]
    pub fn about(mut self, target: impl Into<String>) -> Self {
        self.target = Some(target.into());
        self
    }

    /// Why it happened. The whole chain of causes is printed.
    #[must_use]
    pub fn because(mut self, cause: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        self.cause = Some(cause.into());
        self
    }

    /// What caused it, where another error did.
    #[must_use]
    pub fn cause(&self) -> Option<&(dyn Error + Send + Sync + 'static)> {
        self.cause.as_deref()
    }

    /// What to do next.
    #[must_use]
    pub fn next_step(mut self, next: impl Into<String>) -> Self {
        self.next = Some(next.into());
        self
    }

    /// A file or directory could not be read or written.
    pub fn io(path: &std::path::Path, what: &str, error: io::Error) -> Self {
        let code = if error.kind() == io::ErrorKind::NotFound { ErrorCode::NotFound } else { ErrorCode::Io };
        Self::new(code, format!("cannot {what}")).about(shown(path)).because(error)
    }

    /// The code for scripts.
    #[must_use]
    pub fn code(&self) -> ErrorCode {
        self.code
    }

    /// What to do next: what was said of it, else what helps with its code in general.
    fn next(&self) -> &str {
        self.next.as_deref().unwrap_or_else(|| self.code.remedy())
    }

    /// What to do next, as far as it is known of this very failure.
    #[must_use]
    pub fn remedy(&self) -> Option<&str> {
        self.next.as_deref()
    }

    /// The exit code of the program.
    #[must_use]
    pub fn exit(&self) -> Exit {
        self.code.exit()
    }

    /// Whether it is only that nobody reads the output any more, as in `... | head -1`.
    pub(crate) fn is_broken_pipe(&self) -> bool {
        let cause = self.cause.as_deref().and_then(|cause| cause.downcast_ref::<io::Error>());
        cause.is_some_and(|error| error.kind() == io::ErrorKind::BrokenPipe)
    }

    fn causes(&self) -> Vec<String> {
        let mut causes = Vec::new();
        let mut next = self.cause.as_deref().map(|cause| cause as &(dyn Error + 'static));
        while let Some(cause) = next {
            causes.push(cause.to_string());
            next = cause.source();
        }
        causes
    }

    /// What happened and why on one line, without the next step.
    #[must_use]
    pub fn in_a_line(&self) -> String {
        let first = [Some(self.message.clone()), self.target.clone()].into_iter().flatten();
        first.chain(self.causes()).collect::<Vec<_>>().join(": ")
    }

    /// The failure as programs read it: `{"error": {code, message, target, details, nextStep}}`.
    #[must_use]
    pub fn to_json(&self) -> serde_json::Value {
        let details: Vec<_> =
            self.causes().into_iter().map(|message| json!({ "message": message })).collect();
        json!({
            "error": {
                "code": self.code.as_str(),
                "message": self.message,
                "target": self.target,
                "details": details,
                "nextStep": self.next(),
            }
        })
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)?;
        if let Some(target) = &self.target {
            write!(f, ": {target}")?;
        }
        for cause in self.causes() {
            write!(f, "\n  cause: {cause}")?;
        }
        write!(f, "\n  next: {}", self.next())
    }
}

/// A path as it may be printed. A credential typed where a path belongs is not repeated.
fn shown(path: &std::path::Path) -> String {
    let text = path.display().to_string();
    let lower = text.to_ascii_lowercase();
    let credential =
        ["sharedaccesskey", "sharedaccesssignature", "sig="].iter().any(|mark| lower.contains(mark));
    if credential { "(a credential, where the name of a file belongs)".to_owned() } else { text }
}

/// Output that cannot be written ends the command; nobody reads any more.
impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        Self::new(ErrorCode::Io, "cannot read the input or write the output").because(error)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn u04_a_failure_has_code_cause_and_next_step() {
        let failure =
            Failure::io(std::path::Path::new("/x"), "read the key", io::Error::other("disk on fire"))
                .next_step("put it out");
        assert_eq!(failure.to_string(), "cannot read the key: /x\n  cause: disk on fire\n  next: put it out");
        assert_eq!(failure.exit() as u8, 1);
    }

    #[test]
    fn i14_json_errors_have_code_message_target_and_details() {
        let failure =
            Failure::new(ErrorCode::NoTerminal, "nobody to ask").about("enable").because("stdin is a pipe");
        assert_eq!(
            failure.to_json(),
            json!({"error": {
                "code": "no-terminal", "message": "nobody to ask", "target": "enable",
                "details": [{"message": "stdin is a pipe"}], "nextStep": ErrorCode::NoTerminal.remedy(),
            }})
        );
        assert_eq!(failure.exit(), Exit::Refused);
    }
}

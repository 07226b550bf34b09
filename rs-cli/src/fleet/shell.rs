//! The command that asks a node: the remote shell, the node, and the words, quoted for the shell of the other side.
//!
//! Nothing of it passes a shell on this side. ssh joins the words with blanks and gives them to the login shell of the other
//! side; so each word is quoted for a POSIX shell where it has to be, and left as it is where not, which the shells of Windows
//! read alike.

use std::borrow::Cow;
use std::path::{Path, PathBuf};

use super::target::Host;
use crate::outcome::{ErrorCode, Failure};
use crate::platform;

/// Longest line that names a remote shell or a command, in bytes.
pub const LINE_BYTES_MAX: usize = 4096;
/// The system's own ssh.
const SSH: &str = if cfg!(windows) { r"C:\Windows\System32\OpenSSH\ssh.exe" } else { "/usr/bin/ssh" };
/// What is said to every ssh: ask nothing, start nothing that outlives the command, and forward nothing of this machine.
const SSH_OPTIONS: &[&str] = &[
    "-T",
    "-a",
    "-x",
    "-oBatchMode=yes",
    "-oConnectTimeout=10",
    "-oControlMaster=no",
    "-oClearAllForwardings=yes",
    "-oPermitLocalCommand=no",
    "-oRemoteCommand=none",
];
/// What is called on a node, when nothing is said.
const COMMAND: &str = "remote-support";

/// How nodes are asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NodeShell {
    program: PathBuf,
    arguments: Vec<String>,
    command: Vec<String>,
}

impl NodeShell {
    /// Reads the line of the remote shell and that of the command, each with a default.
    ///
    /// # Errors
    ///
    /// [`ErrorCode::InvalidValue`] for an empty line or a program without its whole path; as
    /// `platform::check_program` for a program that others can change.
    pub fn new(shell: Option<&str>, command: Option<&str>) -> Result<Self, Failure> {
        let mut arguments = words("node-shell", shell.unwrap_or("ssh"))?.into_iter();
        let command = words("node-command", command.unwrap_or(COMMAND))?;
        let named = arguments.next().unwrap_or_default();
        let named = if named == "ssh" { PathBuf::from(SSH) } else { PathBuf::from(named) };
        let program = checked(&named)?;
        let is_ssh = named.file_stem().is_some_and(|stem| stem.eq_ignore_ascii_case("ssh"));
        let own = if is_ssh { SSH_OPTIONS } else { &[] };
        let arguments = own.iter().map(|option| (*option).to_owned()).chain(arguments).collect();
        Ok(Self { program, arguments, command })
    }

    /// The program that is run.
    #[must_use]
    pub fn program(&self) -> &Path {
        &self.program
    }

    /// Its arguments: its own, the node, and the command with `words`, each quoted for the shell of the other side.
    #[must_use]
    pub fn arguments(&self, host: &Host, words: &[String]) -> Vec<String> {
        let asked = self.command.iter().chain(words).map(|word| quote(word).into_owned());
        self.arguments.iter().cloned().chain([host.as_str().to_owned()]).chain(asked).collect()
    }
}

/// The words of a line. There is no quoting: for more, name a script.
fn words(name: &str, line: &str) -> Result<Vec<String>, Failure> {
    let words: Vec<String> = line.split_ascii_whitespace().map(str::to_owned).collect();
    let harmless = line.len() <= LINE_BYTES_MAX && !line.contains(char::is_control);
    if words.is_empty() || !harmless {
        return Err(Failure::new(ErrorCode::InvalidValue, "this line names no program")
            .about(format!("--{name}"))
            .next_step("give the program and its arguments on one line, blanks between them"));
    }
    Ok(words)
}

/// The file that is run for a path, if nobody else can put another in its place.
fn checked(path: &Path) -> Result<PathBuf, Failure> {
    if !path.is_absolute() {
        return Err(Failure::new(ErrorCode::InvalidValue, "the remote shell is not named by its whole path")
            .about(path.display().to_string())
            .next_step("name it so, for example /usr/bin/ssh, or write `ssh` for that of the system"));
    }
    if cfg!(target_os = "linux") {
        return platform::on_behalf(path, || platform::check_program(path));
    }
    if path.is_file() {
        return Ok(path.to_owned());
    }
    Err(Failure::new(ErrorCode::NotFound, "there is no such remote shell")
        .about(path.display().to_string())
        .next_step("install OpenSSH's client, or name another program with --node-shell"))
}

/// A word as a POSIX shell reads it back.
///
/// ```
/// use rs_cli::fleet::shell::quote;
///
/// assert_eq!(quote("--until=2026-01-02T03:04:05Z"), "--until=2026-01-02T03:04:05Z");
/// assert_eq!(quote("it's; rm"), r"'it'\''s; rm'");
/// ```
#[must_use]
pub fn quote(word: &str) -> Cow<'_, str> {
    let plain = |b: u8| b.is_ascii_alphanumeric() || b"_-./:,@+".contains(&b);
    // A word with `=` is an assignment only in front of a command, and begins with a letter or with `=`.
    let fits = |word: &str| {
        let dashed = word.starts_with("--");
        !word.is_empty() && word.bytes().all(|b| plain(b) || dashed && b == b'=')
    };
    if fits(word) { Cow::Borrowed(word) } else { Cow::Owned(format!("'{}'", word.replace('\'', r"'\''"))) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn host(name: &str) -> Host {
        name.parse().expect("a name")
    }

    #[test]
    fn f01_the_words_of_the_command() {
        let shell = NodeShell {
            program: PathBuf::from("/bin/x"),
            arguments: vec!["-F".to_owned(), "my file".to_owned()],
            command: vec!["sudo".to_owned(), "remote-support".to_owned()],
        };
        let words = ["history", "--engineer", "a b"].map(str::to_owned);
        assert_eq!(
            shell.arguments(&host("n1"), &words),
            ["-F", "my file", "n1", "sudo", "remote-support", "history", "--engineer", "'a b'"]
        );
    }

    #[test]
    fn f01_a_shell_is_named_by_its_whole_path_and_asks_nothing() {
        for bad in ["", "   ", "rsh -x", "./ssh", "bin/ssh", "ssh\u{7}", "/\n"] {
            assert_eq!(
                NodeShell::new(Some(bad), None).expect_err(bad).code(),
                ErrorCode::InvalidValue,
                "{bad:?}"
            );
        }
        let long = format!("ssh {}", "x".repeat(LINE_BYTES_MAX));
        assert_eq!(NodeShell::new(Some(&long), None).expect_err("too long").code(), ErrorCode::InvalidValue);
        assert_eq!(NodeShell::new(None, Some(" ")).expect_err("nothing").code(), ErrorCode::InvalidValue);
    }

    #[cfg(unix)]
    mod with_sh {
        use proptest::prelude::*;

        use super::*;

        /// What a shell makes of a line: its words, as `printf` prints them.
        fn read_back(line: &str) -> Vec<String> {
            let script = format!("printf '%s\\0' {line}");
            let run = std::process::Command::new("/bin/sh").args(["-c", &script]).output().expect("a shell");
            let text = String::from_utf8(run.stdout).expect("text");
            text.split_terminator('\0').map(str::to_owned).collect()
        }

        proptest! {
            #![proptest_config(ProptestConfig::with_cases(96))]
            #[test]
            fn f01_a_shell_reads_back_every_word(words in prop::collection::vec("[^\0]{0,12}", 1..6)) {
                let line = words.iter().map(|word| quote(word)).collect::<Vec<_>>().join(" ");
                prop_assert_eq!(read_back(&line), words);
            }
        }

        #[test]
        fn f01_hostile_words_are_words_and_the_control_is_not() {
            let words = [
                "$(id)", "`id`", "; id", "a\nb", "*", "~", "", "'", "\\", "!x", "a=b", "=b", "-n", "{a,b}",
                "&", "#x",
            ];
            let quoted = words.map(quote).join(" ");
            assert_eq!(read_back(&quoted), words);
            assert_ne!(
                read_back(&words.map(|word| word.replace('\'', "")).join(" ")),
                words,
                "unquoted they act"
            );
        }
    }
}

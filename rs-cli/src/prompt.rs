//! The question that turns a text into consent.
//!
//! Consent is an act: by default only a typed `y` or `yes` is one, and Enter means No. The product's own prompt takes
//! Enter as Yes; whoever relies on that says so with `--compat-prompt`. The end of the input is a No.

use std::io::{self, BufRead, Read, Write};

/// Longest answer that is read, in bytes; the rest of a longer line is skipped.
pub const ANSWER_BYTES_MAX: u64 = 256;

/// How often the question is put before silence or nonsense counts as No.
pub const ATTEMPTS_MAX: usize = 16;

/// What an empty line means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EnterMeans {
    /// Enter declines: the default of this program.
    No,
    /// Enter agrees: the product's prompt, only with `--compat-prompt`.
    Yes,
}

/// How the question was answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Answer {
    /// Agreed, by `y` or `yes` in any case (or Enter where that was asked for).
    Yes,
    /// Declined: `n`, `no`, Enter, the end of the input, or no clear answer in [`ATTEMPTS_MAX`] attempts.
    No,
}

/// Puts `question` until the answer is clear. `help` is what `?` explains.
///
/// # Errors
///
/// Those of `input` and `output`; nothing has been agreed to then.
///
/// # Examples
///
/// ```
/// use rs_cli::prompt::{Answer, EnterMeans, ask};
///
/// let mut shown = Vec::new();
/// let answer = ask(&mut &b"maybe\nYES\n"[..], &mut shown, "Proceed?", "Yes proceeds.", EnterMeans::No)?;
/// assert_eq!(answer, Answer::Yes);
/// # Ok::<(), std::io::Error>(())
/// ```
pub fn ask(
    input: &mut dyn BufRead,
    output: &mut dyn Write,
    question: &str,
    help: &str,
    enter: EnterMeans,
) -> io::Result<Answer> {
    for _ in 0..ATTEMPTS_MAX {
        show(output, question, enter)?;
        let Some(line) = read_answer(input)? else {
            writeln!(output)?;
            return Ok(Answer::No);
        };
        match (line.trim().to_ascii_lowercase().as_str(), enter) {
            ("y" | "yes", _) | ("", EnterMeans::Yes) => return Ok(Answer::Yes),
            ("n" | "no", _) | ("", EnterMeans::No) => return Ok(Answer::No),
            ("?", _) => writeln!(output, "{help}")?,
            _ => writeln!(output, "Please answer y, n or ?.")?,
        }
    }
    Ok(Answer::No)
}

fn show(output: &mut dyn Write, question: &str, enter: EnterMeans) -> io::Result<()> {
    let default = match enter {
        EnterMeans::No => "N",
        EnterMeans::Yes => "Y",
    };
    write!(output, "{question}\n[Y] Yes  [N] No  [?] Help (default is \"{default}\"): ")?;
    output.flush()
}

/// One line without its end; `None` at the end of the input, also in the middle of a line: an answer is finished by
/// Enter, not by a terminal that went away.
fn read_answer(input: &mut dyn BufRead) -> io::Result<Option<String>> {
    let mut line = Vec::new();
    Read::take(&mut *input, ANSWER_BYTES_MAX).read_until(b'\n', &mut line)?;
    if line.last() == Some(&b'\n') {
        return Ok(Some(String::from_utf8_lossy(&line).into_owned()));
    }
    if (line.len() as u64) < ANSWER_BYTES_MAX {
        return Ok(None);
    }
    skip_line(input)?;
    Ok(Some("too long".to_owned()))
}

fn skip_line(input: &mut dyn BufRead) -> io::Result<()> {
    loop {
        let chunk = input.fill_buf()?;
        let (used, done) = match chunk.iter().position(|byte| *byte == b'\n') {
            Some(end) => (end + 1, true),
            None => (chunk.len(), chunk.is_empty()),
        };
        input.consume(used);
        if done {
            return Ok(());
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use rs_consent::compat::QUESTION;

    use super::*;

    fn answer(typed: &str, enter: EnterMeans) -> (Answer, String) {
        let mut shown = Vec::new();
        let answer = ask(&mut typed.as_bytes(), &mut shown, QUESTION, "HELP", enter).expect("memory");
        (answer, String::from_utf8(shown).expect("text"))
    }

    #[test]
    fn c07_only_a_clear_yes_agrees() {
        for (typed, expected) in [
            ("y\n", Answer::Yes),
            ("Y\n", Answer::Yes),
            ("yes\r\n", Answer::Yes),
            (" YES \n", Answer::Yes),
            ("junk\ny\n", Answer::Yes),
            ("?\ny\n", Answer::Yes),
            ("\n", Answer::No),
            ("n\n", Answer::No),
            ("No\n", Answer::No),
            ("", Answer::No),
            ("y", Answer::No),
            ("yep\n", Answer::No),
            ("yy\nn\n", Answer::No),
        ] {
            assert_eq!(answer(typed, EnterMeans::No).0, expected, "{typed:?}");
        }
    }

    #[test]
    fn c07_compat_prompt_takes_enter_as_yes_but_the_end_of_input_never() {
        assert_eq!(answer("\n", EnterMeans::Yes).0, Answer::Yes);
        assert_eq!(answer("", EnterMeans::Yes).0, Answer::No);
        assert_eq!(answer("n\n", EnterMeans::Yes).0, Answer::No);
        assert!(answer("\n", EnterMeans::Yes).1.contains("(default is \"Y\"): "));
    }

    #[test]
    fn c06_the_prompt_has_the_words_of_the_product() {
        assert_eq!(
            answer("?\nn\n", EnterMeans::No).1,
            "Proceed with enabling remote support?\n[Y] Yes  [N] No  [?] Help (default is \"N\"): HELP\n\
             Proceed with enabling remote support?\n[Y] Yes  [N] No  [?] Help (default is \"N\"): "
        );
    }

    #[test]
    fn nonsense_without_end_is_a_no() {
        let typed = "what\n".repeat(ATTEMPTS_MAX) + "y\n";
        assert_eq!(answer(&typed, EnterMeans::No).0, Answer::No);
        let typed = "what\n".repeat(ATTEMPTS_MAX - 1) + "y\n";
        assert_eq!(answer(&typed, EnterMeans::No).0, Answer::Yes);
    }

    #[test]
    fn an_answer_at_the_length_limit_is_read_and_one_past_it_is_skipped() {
        let limit = usize::try_from(ANSWER_BYTES_MAX).expect("small");
        let fits = format!("{:>width$}\n", "y", width = limit - 1);
        assert_eq!(answer(&fits, EnterMeans::No).0, Answer::Yes);
        let long = format!("{:>width$}\nn\n", "y", width = limit);
        assert_eq!(answer(&long, EnterMeans::Yes).0, Answer::No);
    }

    proptest! {
        #[test]
        fn c07_nothing_but_yes_agrees(first in "[^\n]{0,20}") {
            let word = first.trim().to_ascii_lowercase();
            let (got, _) = answer(&format!("{first}\n"), EnterMeans::No);
            prop_assert_eq!(got == Answer::Yes, word == "y" || word == "yes");
        }
    }
}

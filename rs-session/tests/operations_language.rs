//! The language against its corpora and against random lines (A07, A08, A12, A19, SEC19, SEC44).
//!
//! `corpus/refused.txt` and `corpus/accepted.txt` are the specification by example; the properties below say what holds
//! for every line. A new case is a line in a file.

#![expect(clippy::unwrap_used, reason = "helpers of tests")]

use proptest::prelude::*;
use rs_consent::AccessLevel;
use rs_session::operations::catalog::Systems;
use rs_session::operations::{Code, Context, Machine, Plan, Refused, parse};

const REFUSED: &str = include_str!("corpus/refused.txt");
const ACCEPTED: &str = include_str!("corpus/accepted.txt");

fn context(level: AccessLevel) -> Context {
    let machine = Machine { native: Systems::ALL, power_shell: false };
    Context { machine, ..Context::new(level) }
}

/// Cases of a corpus: no comments, no blank lines.
fn cases(corpus: &str) -> impl Iterator<Item = &str> {
    corpus.lines().filter(|line| !line.is_empty() && !line.starts_with("# ") && !line.starts_with("## "))
}

/// Puts the characters in that a corpus file only names.
fn unescape(line: &str) -> String {
    let mut text = String::new();
    let mut rest = line;
    while let Some((before, after)) = rest.split_once("\\u{") {
        let (digits, after) = after.split_once('}').unwrap();
        text.push_str(before);
        text.push(u32::from_str_radix(digits, 16).ok().and_then(char::from_u32).unwrap());
        rest = after;
    }
    text + rest
}

fn judge(line: &str, level: AccessLevel) -> Result<Plan, Refused> {
    context(level).plan_line(line)
}

#[test]
fn sec19_every_line_outside_is_refused_for_its_reason() {
    let mut wrong = Vec::new();
    let mut count = 0;
    for case in cases(REFUSED) {
        let (code, line) = case.split_once('\t').unwrap();
        let line = unescape(line);
        count += 1;
        match judge(&line, AccessLevel::Diagnostics) {
            Ok(_) => wrong.push(format!("accepted: {line:?}, expected {code}")),
            Err(refused) => {
                let columns = u32::try_from(line.chars().count()).unwrap() + 1;
                if refused.code.as_str() != code {
                    wrong.push(format!("{line:?}: {refused}, expected {code}"));
                } else if !(1..=columns).contains(&refused.column) || refused.message.is_empty() {
                    wrong.push(format!("{line:?}: place or words are missing: {refused}"));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{} wrong:\n{}", wrong.len(), wrong.join("\n"));
    assert!(count >= 400, "only {count} cases");
}

#[test]
fn sec19_the_corpus_has_every_reason_of_the_language() {
    // The rest belong to a level, a policy or a limit, and have tests of their own.
    let elsewhere = [
        Code::LineTooLong,
        Code::TooManyStages,
        Code::TooManyArguments,
        Code::ValueTooLong,
        Code::NotPermitted,
        Code::PolicyExcludes,
        Code::ProtectedService,
    ];
    for code in Code::ALL.iter().filter(|code| !elsewhere.contains(code)) {
        let used =
            cases(REFUSED).any(|case| case.split_once('\t').is_some_and(|(own, _)| own == code.as_str()));
        assert!(used, "no case for {code}");
    }
}

#[test]
fn what_an_engineer_types_is_planned() {
    let lines: Vec<_> = cases(ACCEPTED).collect();
    let wrong: Vec<_> = lines
        .iter()
        .filter_map(|line| {
            judge(line, AccessLevel::DiagnosticsRepair).err().map(|refused| format!("{line}: {refused}"))
        })
        .collect();
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(lines.len() >= 100, "only {} cases", lines.len());
}

#[test]
fn a19_case_of_names_never_matters() {
    for line in cases(ACCEPTED).filter(|line| !line.contains(['\'', '"'])) {
        let plan = judge(line, AccessLevel::DiagnosticsRepair).unwrap();
        let command = line.split_whitespace().next().unwrap();
        let other = line.replacen(command, &command.to_uppercase(), 1);
        assert_eq!(judge(&other, AccessLevel::DiagnosticsRepair).unwrap(), plan, "{other}");
    }
}

/// Pieces from which random lines grow that are nearly right.
fn piece() -> impl Strategy<Value = String> {
    let words = prop::sample::select(vec![
        "Get-Process",
        "sort",
        "?",
        "ft",
        "|",
        "-Name",
        "-First",
        "-eq",
        "'a b'",
        "\"x\"",
        "1KB",
        "-5",
        ",",
        "a",
        ":",
        "''",
        "-Id:",
        "$x",
        "$(",
        "{",
        "}",
        ";",
        "&",
        "`",
        "#",
        "@",
        "(",
        ")",
        "[",
        ">",
        "--",
        "%",
        "\\",
        "/",
        "*",
        "=",
        "\u{1b}",
        "\u{2019}",
        "\u{202e}",
        "é",
        "\t",
        " ",
    ]);
    prop_oneof![4 => words.prop_map(str::to_owned), 1 => any::<char>().prop_map(String::from)]
}

fn nearly() -> impl Strategy<Value = String> {
    prop::collection::vec((piece(), prop::bool::ANY), 0..24).prop_map(|pieces| {
        pieces.into_iter().map(|(piece, blank)| piece + if blank { " " } else { "" }).collect()
    })
}

/// Characters that never stand outside quotes.
const FORBIDDEN: &[char] =
    &['$', '@', '{', '}', '(', ')', ';', '&', '<', '>', '`', '#', '=', '[', ']', '~', '^', '!'];

/// True if a character of [`FORBIDDEN`] stands outside quotes; a second, simpler reading of quotes than the parser's.
fn has_forbidden(line: &str) -> bool {
    let mut quote = None;
    for c in line.chars() {
        match quote {
            Some(open) if c == open => quote = None,
            Some('"') if matches!(c, '$' | '`') => return true,
            Some(_) => {}
            None if matches!(c, '\'' | '"') => quote = Some(c),
            None if FORBIDDEN.contains(&c) => return true,
            None => {}
        }
    }
    false
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn sec44_no_text_panics_and_every_refusal_has_a_place(line in any::<String>()) {
        if let Err(refused) = judge(&line, AccessLevel::Diagnostics) {
            prop_assert!(refused.column >= 1 && refused.column as usize <= line.chars().count() + 1);
            prop_assert!(!refused.message.chars().any(char::is_control));
        }
    }

    #[test]
    fn sec44_nearly_right_lines_do_not_panic(line in nearly()) {
        if let Ok(plan) = judge(&line, AccessLevel::DiagnosticsRepair) {
            prop_assert!(plan.check().is_ok(), "{line:?} gave a plan that its own check refuses");
        }
    }

    #[test]
    fn printing_and_reading_again_is_the_same(line in nearly()) {
        if let Ok(parsed) = parse(&line) {
            let printed = parsed.to_string();
            let again = parse(&printed);
            prop_assert!(again.is_ok(), "{line:?} prints as {printed:?}: {again:?}");
            prop_assert_eq!(again.unwrap().without_columns(), parsed.without_columns(), "{} / {}", line, printed);
        }
    }

    #[test]
    fn a07_forbidden_characters_outside_quotes_are_refused(line in nearly()) {
        let switches = line.to_lowercase().replace(":$true", "").replace(":$false", "");
        if has_forbidden(&switches) {
            prop_assert!(parse(&line).is_err(), "{line:?} was read");
        }
    }

    #[test]
    fn a03_random_names_are_refused(name in "[A-Za-z]{2,12}-[A-Za-z]{2,20}") {
        let context = context(AccessLevel::DiagnosticsRepair);
        prop_assume!(context.catalog().resolve(&name).is_none());
        prop_assert_eq!(judge(&name, AccessLevel::DiagnosticsRepair).unwrap_err().code, Code::UnknownCommand);
    }
}

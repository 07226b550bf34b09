//! The language against its corpora and against random lines (A07, A08, A12, A19, SEC19, SEC44).
//!
//! The corpora are the specification by example; the properties below say what holds for every line.

#[path = "common/corpus.rs"]
mod corpus;

use corpus::{accepted, context, refused, violations};
use proptest::prelude::*;
use rs_consent::AccessLevel;
use rs_session::operations::{Code, Plan, Refused, parse};

fn judge(line: &str, level: AccessLevel) -> Result<Plan, Refused> {
    context(level).plan_line(line)
}

#[test]
fn sec19_every_line_outside_is_refused_for_its_reason_at_its_column() {
    let context = context(AccessLevel::Diagnostics);
    let wrong = violations(|line| context.plan_line(line));
    assert!(wrong.is_empty(), "{} wrong:\n{}", wrong.len(), wrong.join("\n"));
    let count = refused().len();
    assert!(count >= 700, "only {count} cases");
}

/// Control: readers that leave a part of the check out let lines of the corpus through, and the corpus finds them.
#[test]
fn sec19_control_without_the_check_the_corpus_fails() {
    let context = context(AccessLevel::Diagnostics);
    // Takes words at blanks and what stands in front of a separator: no language at all.
    let careless = violations(|line| {
        let first = line.split(['|', ';', '&']).next().unwrap_or_default();
        let words: Vec<String> =
            first.split_whitespace().map(|word| format!("'{}'", word.replace('\'', ""))).collect();
        let (name, rest) = words.split_first().ok_or_else(|| Refused::new(Code::Empty, 1, "empty"))?;
        context.plan_line(&format!("{} {}", name.trim_matches('\''), rest.join(",")))
    });
    let accepted = careless.iter().filter(|wrong| wrong.contains("accepted")).count();
    assert!(accepted >= 100, "only {accepted} of the lines need the language");
    // Drops what cannot be seen, as many terminals do, instead of refusing it.
    let blind = violations(|line| {
        let seen: String = line.chars().filter(|c| c.is_ascii_graphic() || *c == ' ').collect();
        context.plan_line(&seen)
    });
    let hidden =
        blind.iter().filter(|wrong| wrong.starts_with("hiding.txt") && wrong.contains("accepted")).count();
    assert!(hidden >= 20, "only {hidden} lines hide something");
    // Knows the language and forgets the level.
    let lenient = violations(|line| corpus::context(AccessLevel::DiagnosticsRepair).plan_line(line));
    assert!(
        lenient.iter().any(|wrong| wrong.contains("accepted") && wrong.contains("Stop-Service")),
        "{lenient:?}"
    );
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
    let cases = refused();
    for code in Code::ALL.iter().filter(|code| !elsewhere.contains(code)) {
        assert!(cases.iter().any(|case| case.code == code.as_str()), "no case for {code}");
    }
}

#[test]
fn what_an_engineer_types_is_planned() {
    let lines = accepted();
    let wrong: Vec<_> = lines
        .iter()
        .filter_map(|line| {
            judge(line, AccessLevel::DiagnosticsRepair).err().map(|refused| format!("{line}: {refused}"))
        })
        .collect();
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(lines.len() >= 150, "only {} cases", lines.len());
}

#[test]
fn a19_case_of_names_never_matters() {
    for line in accepted().iter().filter(|line| !line.contains(['\'', '"'])) {
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

//! Lines of the language, read one by one; the corpora are tested from outside.

use super::*;

#[track_caller]
fn refused(line: &str, code: Code, column: u32) {
    let refused = parse(line).unwrap_err();
    assert_eq!((refused.code, refused.column), (code, column), "{line:?}: {refused}");
}

fn value_of(line: &str) -> Literal {
    match &parse(&format!("x {line}")).unwrap().stages[0].arguments[0] {
        Argument::Value { items, .. } => items[0].clone(),
        other => panic!("{other:?}"),
    }
}

#[test]
fn a07_limits_hold_at_the_bound_and_one_past_it() {
    let line = |bytes: usize| format!("Get-Date{}", " ".repeat(bytes - 8));
    assert!(parse(&line(LINE_BYTES_MAX)).is_ok());
    refused(&line(LINE_BYTES_MAX + 1), Code::LineTooLong, 4097);

    let stages = |count: usize| vec!["Get-Date"; count].join("|");
    assert_eq!(parse(&stages(STAGES_MAX)).unwrap().stages.len(), STAGES_MAX);
    assert_eq!(parse(&stages(STAGES_MAX + 1)).unwrap_err().code, Code::TooManyStages);

    let arguments = |count: usize| format!("x {}", vec!["1"; count].join(","));
    assert!(parse(&arguments(ARGUMENTS_MAX)).is_ok());
    assert_eq!(parse(&arguments(ARGUMENTS_MAX + 1)).unwrap_err().code, Code::TooManyArguments);
    let names = |count: usize| format!("x {}", vec!["-a"; count].join(" "));
    assert!(parse(&names(ARGUMENTS_MAX)).is_ok());
    assert_eq!(parse(&names(ARGUMENTS_MAX + 1)).unwrap_err().code, Code::TooManyArguments);

    for quote in ["", "'", "\""] {
        let value = |chars: usize| format!("x {quote}{}{quote}", "ü".repeat(chars));
        assert!(parse(&value(VALUE_CHARS_MAX)).is_ok());
        refused(&value(VALUE_CHARS_MAX + 1), Code::ValueTooLong, 3);
    }
}

#[test]
fn numbers_read_as_in_powershell() {
    for (text, value) in [
        ("5", Number::Integer(5)),
        ("-5", Number::Integer(-5)),
        ("0x1F", Number::Integer(31)),
        ("0x7FFFFFFF", Number::Integer(0x7FFF_FFFF)),
        ("0xFFFFFFFF", Number::Integer(-1)),
        ("0x0FFFFFFFF", Number::Integer(0xFFFF_FFFF)),
        ("0xFFFFFFFFFFFFFFFE", Number::Integer(-2)),
        ("0x10l", Number::Integer(16)),
        ("10L", Number::Integer(10)),
        ("10lKB", Number::Integer(10 << 10)),
        ("1.5d", Number::Float(1.5)),
        ("3d", Number::Float(3.0)),
        ("1KB", Number::Integer(1024)),
        ("2mb", Number::Integer(2 << 20)),
        ("1.5kb", Number::Float(1536.0)),
        ("1e3", Number::Float(1000.0)),
        (".5", Number::Float(0.5)),
        ("9223372036854775807", Number::Integer(i64::MAX)),
    ] {
        assert_eq!(value_of(text).kind, LiteralKind::Number(value), "{text}");
    }
    for text in ["1.2.3", "5x", "KB", "e3", "0xZZ", "1e", "-x5"] {
        assert!(number(text).is_none(), "{text}");
    }
    refused("x 9223372036854775808", Code::BadNumber, 3);
    refused("x 9999PB", Code::BadNumber, 3);
    refused("x 1.5l", Code::BadNumber, 3);
    refused("x 0xFFFFFFFFl", Code::BadNumber, 3);
    refused("x 0x10000000000000000", Code::BadNumber, 3);
    assert_eq!(value_of("'5'").kind, LiteralKind::Quoted);
}

#[test]
fn quotes_do_not_expand() {
    assert_eq!(value_of("'it''s $x'").text, "it's $x");
    assert_eq!(value_of("\"say \"\"hi\"\"\"").text, "say \"hi\"");
    refused("x \"$(1)\"", Code::Expansion, 4);
    refused("x \"a`nb\"", Code::Expansion, 5);
    refused("x 'abc", Code::UnterminatedString, 3);
}

#[test]
fn columns_count_characters() {
    refused("x 'üüü' ;", Code::Separator, 9);
    refused("Get-Process | ? { $_ }", Code::ScriptBlock, 17);
}

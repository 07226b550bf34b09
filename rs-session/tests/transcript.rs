//! Renderings: what is printed can be parsed back, and content forges nothing in any form.

mod common;

use common::{Story, at};
use proptest::prelude::*;
use rs_consent::EndCause;
use rs_session::operations::wire::Status;
use rs_session::record::{
    Content, FinishedContent, Kind, OutputContent, OutputData, RefusalContent, RequestContent, Stored,
};
use rs_session::transcript::text::{Line, STARS, Text, TextError, parse, print};
use rs_session::transcript::{Form, Renderer, Row, cell};

const NASTY: &str = "x\"; value=\"y\"\nPS>CommandInvocation(Stop-Service): \"Stop-Service\"\r\n**********************\n>> \
                     Record(9): \"2026-01-01\"\u{1b}[2J\u{202e}`n\t=1+1";

fn rows(story: &Story) -> Vec<Row> {
    let row = |frame: &rs_session::record::Frame| {
        let skeleton = frame.skeleton();
        let content = match frame.content() {
            Stored::Present { bytes, .. } => Content::decode(skeleton.kind, bytes).ok(),
            Stored::Removed | Stored::Sealed(_) => None,
        };
        Row {
            sequence: skeleton.sequence,
            kind: skeleton.kind,
            wall_time: skeleton.wall_time,
            boot_time: std::time::Duration::from_nanos(skeleton.boot_time_ns),
            content,
            closed: None,
        }
    };
    story.frames.iter().map(row).collect()
}

fn render(form: Form, story: &Story) -> String {
    let mut renderer = Renderer::new(form, story.parties.identity());
    let mut out = renderer.begin(at(0).wall);
    for row in rows(story) {
        out.push_str(&renderer.row(&row));
    }
    out
}

/// A session in which everything that somebody else chooses is nasty.
fn nasty() -> Story {
    let mut story = Story::begin();
    story.add(&Content::Request(RequestContent {
        invocation: 1,
        line: NASTY.to_owned(),
        plan: serde_json::json!({
            "call": { "command": "Get-Process", "arguments": { "Name": { "texts": [NASTY, "b"] } } },
            "stages": [{ "where": { "property": NASTY, "values": [3] } }, { "measure": {} }],
        }),
        access_level: rs_consent::AccessLevel::Diagnostics,
    }));
    for data in [OutputData::Text(NASTY.to_owned()), OutputData::Error(format!("{NASTY}\n"))] {
        story.add(&Content::Output(OutputContent { invocation: 1, data }));
    }
    story.add(&Content::Finished(FinishedContent {
        invocation: 1,
        status: Status::Done,
        elapsed_ms: 5,
        message: NASTY.to_owned(),
        measures: Vec::new(),
    }));
    story.add(&Content::Refusal(RefusalContent {
        invocation: 2,
        line: NASTY.to_owned(),
        code: "needs-repair".to_owned(),
        column: None,
        message: NASTY.to_owned(),
    }));
    story.receipt();
    story.end(EndCause::Exit);
    story
}

#[test]
fn s09_the_public_edge_transcript_is_read() {
    let text = parse(include_str!("corpus/transcripts/edge.txt")).expect("valid");
    assert_eq!(text.title, "Windows PowerShell transcript start");
    assert_eq!(text.field("Start time"), Some("20210826073536"));
    assert_eq!(text.field("Username"), Some("WORKGROUP\\HW4J1T2$"));
    assert_eq!(text.header.len(), 15);
    assert_eq!(text.end.as_deref(), Some("20210826093537"));
    let broken = Line::Binding {
        command: "Get-Command".to_owned(),
        name: "CommandType".to_owned(),
        value: "Alias, Function, Filter, Cmdlet,\nConfiguration".to_owned(),
    };
    assert!(text.lines.contains(&broken), "a value over two lines: {:?}", text.lines);
    assert_eq!(text.lines.last(), Some(&Line::Output("Id : one".to_owned())));
    let commands = text.commands();
    assert_eq!(commands.len(), 1, "s10: the client's probes are no act of the engineer: {commands:?}");
    assert_eq!(commands[0].command, "Get-HcsApplianceInfo");
}

#[test]
fn s09_s12_the_public_jea_transcript_is_read_and_has_no_end() {
    let text = parse(include_str!("corpus/transcripts/jea.txt")).expect("valid");
    assert_eq!(text.field("RunAs User"), Some("WinRM Virtual Users\\WinRM VA_1_CONTOSO_Alice"));
    assert_eq!(text.end, None);
    let commands: Vec<String> = text.commands().into_iter().map(|called| called.command).collect();
    assert_eq!(commands, ["Get-Service", "Restart-Service"]);
}

#[test]
fn what_is_no_transcript_is_said_to_be_none() {
    for text in ["", "hello", STARS, "**********************\nhello\n"] {
        assert_eq!(parse(text), Err(TextError::Beginning), "{text:?}");
    }
    assert_eq!(parse("**********************\nPowerShell transcript start\nA: b\n"), Err(TextError::Header));
    let bad = "**********************\nPowerShell transcript start\nEscapes: backtick\n**********************\n`q\n";
    assert_eq!(parse(bad), Err(TextError::Escape { line: 5 }));
}

#[test]
fn sec38_s11_the_text_says_of_each_record_what_it_is_and_content_adds_none() {
    let story = nasty();
    let printed = render(Form::Text, &story);
    let text = parse(&printed).expect("valid");
    assert_eq!(print(&text), printed);
    let marks = |wanted: &str| {
        text.lines.iter().filter(|line| matches!(line, Line::Mark { kind, .. } if kind == wanted)).count()
    };
    assert_eq!(marks("Record"), story.frames.len());
    let called: Vec<String> = text.commands().into_iter().map(|called| called.command).collect();
    assert_eq!(called, ["Get-Process", "Where-Object", "Measure-Object"], "no command is forged");
    assert_eq!(text.field("Time zone"), Some("UTC"), "s13");
    assert!(text.lines.contains(&Line::Mark { kind: "Line".into(), of: "1".into(), text: NASTY.into() }));
    let bound =
        Line::Binding { command: "Get-Process".into(), name: "Name".into(), value: format!("{NASTY}, b") };
    assert!(text.lines.contains(&bound), "{:?}", text.lines);
    assert!(!printed.contains('\u{1b}') && !printed.contains('\u{202e}'));
    assert!(text.end.is_some());
}

#[test]
fn sec38_a_line_of_json_is_a_record_and_gives_back_the_content() {
    let story = nasty();
    let printed = render(Form::Json, &story);
    let lines: Vec<serde_json::Value> =
        printed.lines().map(|line| serde_json::from_str(line).expect("valid")).collect();
    assert_eq!(lines.len(), 1 + story.frames.len());
    for (row, line) in rows(&story).iter().zip(&lines[1..]) {
        assert_eq!(line["sequence"], row.sequence);
        let bytes = serde_json::to_vec(&line["content"]).expect("valid");
        assert_eq!(Content::decode(row.kind, &bytes).ok(), row.content);
    }
}

#[test]
fn sec38_sec37_an_asciicast_event_is_a_record_and_steers_nothing() {
    let story = nasty();
    let printed = render(Form::Asciicast, &story);
    let mut lines = printed.lines();
    let header: serde_json::Value = serde_json::from_str(lines.next().expect("valid")).expect("valid");
    assert_eq!(header["version"], 2);
    let mut last = 0.0;
    let mut count = 0;
    for line in lines {
        let (time, kind, data): (f64, String, String) = serde_json::from_str(line).expect("valid");
        assert!(time >= last && kind == "o");
        assert!(
            data.chars().all(|character| !character.is_control() || "\r\n\t".contains(character)),
            "{data:?}"
        );
        (last, count) = (time, count + 1);
    }
    assert_eq!(count, rows(&story).iter().filter(|row| row.kind != Kind::Receipt).count());
}

/// Cells of a CSV text; the oracle is RFC 4180 in a few lines.
fn cells(text: &str) -> Vec<Vec<String>> {
    let (mut table, mut row, mut cell) = (Vec::new(), Vec::new(), String::new());
    let mut characters = text.chars().peekable();
    let mut quoted = false;
    while let Some(character) = characters.next() {
        match (quoted, character) {
            (true, '"') if characters.peek() == Some(&'"') => cell.extend(characters.next()),
            (_, '"') => quoted = !quoted,
            (false, ',') => row.push(std::mem::take(&mut cell)),
            (false, '\r') => {}
            (false, '\n') => {
                row.push(std::mem::take(&mut cell));
                table.push(std::mem::take(&mut row));
            }
            (_, other) => cell.push(other),
        }
    }
    table
}

#[test]
fn sec37_sec38_a_row_of_csv_is_a_record_and_no_cell_is_a_formula() {
    let story = nasty();
    let table = cells(&render(Form::Csv, &story));
    assert_eq!(table.len(), 1 + story.frames.len());
    assert!(table.iter().all(|row| row.len() == 8), "{table:?}");
    for formula in ["=1", "+1", "-1", "@a", "\t=1", " =1", "\n=1", "'=1", "\u{ff1d}1"] {
        let printed = cell(formula);
        assert!(printed.starts_with("\"'"), "{formula:?} is printed as {printed}");
    }
    for plain in ["a=1", "", "1", "Get-Date"] {
        assert_eq!(cell(plain), format!("\"{plain}\""));
    }
}

#[test]
fn a_removed_content_is_said_to_be_removed_in_every_form() {
    let mut story = nasty();
    story.frames[1] = story.frames[1].clone().without_content();
    for (form, said) in
        [(Form::Text, "removed"), (Form::Csv, "removed"), (Form::Asciicast, "removed"), (Form::Json, "null")]
    {
        assert!(render(form, &story).contains(said), "{form:?}");
    }
}

fn lines() -> impl Strategy<Value = Line> {
    let any_text = || prop_oneof!["(?s).{0,40}", Just(NASTY.to_owned()), "[`>PS* \"();:=\n\r]{0,12}"];
    prop_oneof![
        (any::<bool>(), any_text(), any_text()).prop_map(|(nested, command, text)| Line::Invocation {
            nested,
            command,
            text
        }),
        (any_text(), any_text(), any_text()).prop_map(|(command, name, value)| Line::Binding {
            command,
            name,
            value
        }),
        ("[A-Z][a-z]{1,8}", any_text(), any_text()).prop_map(|(kind, of, text)| Line::Mark {
            kind,
            of,
            text
        }),
        any_text().prop_map(Line::Output),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn sec38_what_is_printed_is_parsed_back(
        header in prop::collection::vec(("(?s).{1,20}", "(?s).{0,20}"), 0..5),
        body in prop::collection::vec(lines(), 0..12),
        end in prop::option::of("[0-9]{14}"),
    ) {
        let text = Text { title: "PowerShell transcript start".to_owned(), header, lines: body, end };
        let printed = print(&text);
        prop_assert_eq!(parse(&printed).expect("valid"), text);
        prop_assert!(printed.chars().all(|c| !c.is_control() || c == '\n' || c == '\t'));
    }

    #[test]
    fn sec44_no_text_makes_the_parser_panic(text in "(?s)(\\*{22}\nPowerShell transcript start\n)?.{0,300}") {
        let _ = parse(&text);
    }

    #[test]
    fn sec38_a_cell_gives_back_its_text(text in "[a-z\"',\n ]{0,40}") {
        let table = cells(&format!("{}\r\n", cell(&text)));
        prop_assert_eq!(table[0][0].trim_start_matches('\''), text.trim_start_matches('\''));
    }
}

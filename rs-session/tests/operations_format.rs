//! What a pipeline prints, character by character, and that it stays within its memory (A08, SEC37, SEC46).
//!
//! A provider with fixed objects takes the place of `Get-Process`, so that the text is the same everywhere.

#![expect(clippy::unwrap_used, reason = "helpers of tests")]

use chrono::DateTime;
use rs_consent::AccessLevel;
use rs_session::operations::catalog::Systems;
use rs_session::operations::format::SAMPLE_BYTES_MAX;
use rs_session::operations::pipeline::{Collected, HELD_OBJECTS_MAX, Output, Sink, Stop};
use rs_session::operations::plan::{WIDTH_MAX, WIDTH_MIN};
use rs_session::operations::providers::{ProviderError, Registry};
use rs_session::operations::{Context, Machine, Object, OutputForm, Plan, Value};

fn process(name: &'static str, id: i64, cpu: f64, memory: u64) -> Object {
    Object::new("Process")
        .with("Name", name)
        .with("Id", id)
        .with("ProcessName", name)
        .with("CPU", cpu)
        .with("WS", Value::Size(memory))
        .with("PM", Value::Size(memory / 2))
        .with("SI", 1_i64)
        .with("StartTime", DateTime::from_timestamp(1_694_037_952 + id, 0).unwrap())
        .with("Tags", vec![Value::from("a"), Value::from("b")])
        .with("Nothing", Value::Null)
}

fn fixed(_: &Plan, sink: &mut dyn Sink) -> Result<(), ProviderError> {
    for (name, id, cpu, memory) in [
        ("systemd", 1, 12.5, 10 << 20),
        ("sshd", 722, 0.25, 6 << 20),
        ("SQL", 1044, 310.0, 900 << 20),
        ("cron", 431, 0.0, 2 << 20),
        ("sshd", 9001, 0.125, 7 << 20),
    ] {
        sink.emit(process(name, id, cpu, memory).into())?;
    }
    Ok(())
}

fn many(plan: &Plan, sink: &mut dyn Sink) -> Result<(), ProviderError> {
    let count = plan.call.integers("Id").first().copied().unwrap_or(0);
    for id in 0..count {
        sink.emit(Object::new("Row").with("Id", id).with("Group", id % 10).into())?;
    }
    Ok(())
}

fn hostile(_: &Plan, sink: &mut dyn Sink) -> Result<(), ProviderError> {
    let text = "a\u{1b}[2J\u{7}\u{9b}31m\u{202e}b\nPS> fake\tc\u{0}";
    sink.warn(text)?;
    sink.emit(Object::new("x").with("Text\u{1b}", text).with("List", vec![Value::from(text)]).into())?;
    Ok(())
}

fn context() -> Context {
    let machine = Machine { native: Systems::ALL, power_shell: false };
    Context { machine, ..Context::new(AccessLevel::Diagnostics) }
}

fn run_with(provider: fn(&Plan, &mut dyn Sink) -> Result<(), ProviderError>, plan: &Plan) -> Collected {
    let mut output = Collected::default();
    Registry::default().with("Get-Process", provider).run(plan, &mut output).unwrap();
    output
}

fn run(line: &str) -> Collected {
    run_with(fixed, &context().plan_line(line).unwrap())
}

#[track_caller]
fn prints(line: &str, lines: &[&str]) {
    let output = run(line);
    assert_eq!(output.text.lines().collect::<Vec<_>>(), lines, "{line}\n{}", output.text);
    assert_eq!(output.errors, Vec::<String>::new());
}

#[test]
fn the_line_of_every_tutorial_prints_what_powershell_prints() {
    prints(
        "gEt-pRoCeSs | ? CPU -gt 0.2 | sort cpu -Desc | select -First 3 Name, Id, CPU | ft",
        &[
            "",
            "Name      Id  CPU",
            "----      --  ---",
            "SQL     1044  310",
            "systemd    1 12.5",
            "sshd     722 0.25",
            "",
        ],
    );
}

#[test]
fn default_view_has_units_and_right_aligned_numbers() {
    prints(
        "Get-Process | ? Id -lt 800 | sort Id",
        &[
            "",
            "    PM(M)     WS(M)     CPU(s)      Id      SI ProcessName",
            "    -----     -----     ------      --      -- -----------",
            "     5.00     10.00      12.50       1       1 systemd",
            "     1.00      2.00       0.00     431       1 cron",
            "     3.00      6.00       0.25     722       1 sshd",
            "",
        ],
    );
}

#[test]
fn lists_align_their_colons_and_stand_apart() {
    prints(
        "gps | select -First 2 | fl Name, StartTime, Tags, Nothing",
        &[
            "",
            "Name      : systemd",
            "StartTime : 9/6/2023 10:05:53 PM",
            "Tags      : {a, b}",
            "Nothing   :",
            "",
            "Name      : sshd",
            "StartTime : 9/6/2023 10:17:54 PM",
            "Tags      : {a, b}",
            "Nothing   :",
            "",
        ],
    );
}

#[test]
fn selected_objects_print_as_table_up_to_four_properties_then_as_list() {
    prints("gps | select -First 1 Name, Id", &["", "Name    Id", "----    --", "systemd  1", ""]);
    prints(
        "gps | select -First 1 Name, Id, CPU, WS, SI",
        &["", "Name : systemd", "Id   : 1", "CPU  : 12.5", "WS   : 10485760", "SI   : 1", ""],
    );
    prints("gps | select -Last 1 -ExpandProperty Name", &["sshd"]);
    prints("gps | select -First 1 -ExpandProperty Tags", &["a", "b"]);
    prints("gps | select Name -Unique | ft -HideTableHeaders", &["", "systemd", "sshd", "SQL", "cron", ""]);
    prints("gps | select -Skip 3 -First 1 Name | ft", &["", "Name", "----", "cron", ""]);
    prints("gps | select -First 1 -Last 1 Id | ft", &["", "  Id", "  --", "   1", "9001", ""]);
    prints("gps | select -Last 1 -Skip 1 Id | ft", &["", " Id", " --", "431", ""]);
    prints(
        "gps | select -First 1 n*, Missing | ft",
        &["", "Name    Nothing Missing", "----    ------- -------", "systemd", ""],
    );
    prints("gps | select -First 0", &[]);
    prints("gps | ? Name -eq nobody", &[]);
}

#[test]
fn sorting_is_stable_and_knows_types() {
    let ids = |line: &str| run(line).text.lines().map(str::to_owned).collect::<Vec<_>>();
    assert_eq!(ids("gps | sort Name, Id | select -exp Id"), ["431", "1044", "722", "9001", "1"]);
    assert_eq!(ids("gps | sort Name -Desc | select -exp Id"), ["1", "722", "9001", "1044", "431"]);
    // Case decides only between words that are otherwise the same: SQL stands in its place, not in front.
    assert_eq!(ids("gps | sort Name -CaseSensitive | select -exp Id"), ["431", "1044", "722", "9001", "1"]);
    assert_eq!(ids("gps | sort Name -Unique | select -exp Id"), ["431", "1044", "722", "1"]);
    assert_eq!(ids("gps | sort WS -Top 2 | select -exp Id"), ["431", "722"]);
    assert_eq!(ids("gps | sort WS -Bottom 1 | select -exp Id"), ["1044"]);
    assert_eq!(ids("gps | sort StartTime | select -exp Id"), ["1", "431", "722", "1044", "9001"]);
    assert_eq!(ids("gps | sort Missing | select -exp Id"), ["1", "722", "1044", "431", "9001"]);
}

#[test]
fn measuring_counts_and_sums() {
    prints(
        "gps | measure WS -Sum -Max",
        &[
            "",
            "Count    : 5",
            "Average  :",
            "Sum      : 969932800",
            "Maximum  : 943718400",
            "Minimum  :",
            "Property : WS",
            "",
        ],
    );
    prints("gps | ? Name -eq nobody | measure | select -exp Count", &["0"]);
    prints(
        "gps | measure Name -Minimum -Maximum | select Minimum, Maximum",
        &["", "Minimum Maximum", "------- -------", "cron    systemd", ""],
    );
    prints("gps | measure CPU -Average | select -exp Average", &["64.575"]);
    assert_eq!(
        run("gps | measure Name -Sum").errors,
        ["Measure-Object : Input object \"systemd\" is not numeric."]
    );
    assert_eq!(
        run("gps | measure Nope -Sum").errors,
        ["Measure-Object : The property \"Nope\" cannot be found in the input."]
    );
    assert_eq!(
        run("gps | select -First 1 -exp Nope").errors,
        ["Select-Object : Property \"Nope\" cannot be found."]
    );
}

#[test]
fn narrow_lines_cut_and_drop_from_the_right() {
    let mut context = context();
    context.form = OutputForm::Text { width: WIDTH_MIN };
    let plan = context.plan_line("gps | select -First 1 | ft Name, StartTime, WS, CPU").unwrap();
    let text = run_with(fixed, &plan).text;
    assert_eq!(
        text,
        "\nName    StartTime                  WS\n----    ---------                  --\n\
         systemd 9/6/2023 10:05:53 PM 10485760\n\n"
    );
    let plan = context.plan_line("gps | select -First 1 | ft Name, StartTime, Tags, Nothing").unwrap();
    let text = run_with(fixed, &plan).text;
    assert_eq!(text.lines().nth(1), Some("Name    StartTime            Tags   Not…"));
    for width in [0, WIDTH_MIN, 80, WIDTH_MAX, u16::MAX] {
        context.form = OutputForm::Text { width };
        for line in ["gps", "gps | fl *", "gps | ft *", "gps | ft * -Wrap", "help gps", "gcm"] {
            let plan = context.plan_line(line).unwrap();
            let limit = usize::from(width.clamp(WIDTH_MIN, WIDTH_MAX));
            for line in run_with(fixed, &plan).text.lines() {
                assert!(line.chars().count() <= limit, "{width}: {line:?}");
            }
        }
    }
}

#[test]
fn objects_leave_as_one_json_text_per_line() {
    let mut context = context();
    context.form = OutputForm::Objects;
    let plan = context.plan_line("gps | select -First 2 Name, CPU, StartTime, Tags, Nothing | ft").unwrap();
    assert_eq!(
        run_with(fixed, &plan).text,
        "{\"Name\":\"systemd\",\"CPU\":12.5,\"StartTime\":\"2023-09-06T22:05:53Z\",\"Tags\":[\"a\",\"b\"],\"Nothing\":null}\n\
         {\"Name\":\"sshd\",\"CPU\":0.25,\"StartTime\":\"2023-09-06T22:17:54Z\",\"Tags\":[\"a\",\"b\"],\"Nothing\":null}\n"
    );
}

#[test]
fn sec37_no_control_character_leaves_in_any_form() {
    for form in [OutputForm::default(), OutputForm::Objects] {
        for line in [
            "gps",
            "gps | ft",
            "gps | ft -Wrap",
            "gps | fl",
            "gps | select -exp List",
            "gps | select *",
            "gps | sort List",
        ] {
            let mut context = context();
            context.form = form;
            let output = run_with(hostile, &context.plan_line(line).unwrap());
            let all = output.errors.concat() + &output.text;
            let bad = |c: char| c != '\n' && c != '\t' && (c.is_control() || c == '\u{202e}');
            assert!(!all.contains(bad), "{line}: {all:?}");
            assert!(
                !output.text.lines().any(|line| line.starts_with("PS>")) || line.contains("List"),
                "{line}: {all:?}"
            );
            assert!(all.contains("1b"), "{line}: it is shown, not dropped: {all:?}");
        }
    }
}

#[test]
fn sec46_what_a_step_holds_is_bounded() {
    // Ids are limited to the range of the parameter, so the count comes through it.
    let run = |line: &str| {
        let plan = context().plan_line(line).unwrap();
        let mut output = Collected::default();
        let result = Registry::default().with("Get-Process", many).run(&plan, &mut output);
        (result, output)
    };
    let at = HELD_OBJECTS_MAX;
    let past = HELD_OBJECTS_MAX + 1;
    assert!(run(&format!("gps -Id {at} | sort Id | select -First 1")).0.is_ok());
    for step in ["sort Id", "select -Unique"] {
        let (result, _) = run(&format!("gps -Id {} | {step} | measure", past + 1));
        assert!(matches!(result, Err(ProviderError::Stop(Stop::Failed(_)))), "{step}: {result:?}");
    }
    // Steps that hold nothing take any number.
    let (result, output) = run(&format!("gps -Id {} | ? Group -eq 3 | select -Last 2 Id | ft", past * 2));
    assert!(result.is_ok());
    assert_eq!(output.text.lines().count(), 6);
}

#[test]
fn a_source_stops_when_enough_has_arrived() {
    fn endless(_: &Plan, sink: &mut dyn Sink) -> Result<(), ProviderError> {
        for id in 0_i64.. {
            sink.emit(Object::new("Row").with("Id", id).into())?;
        }
        Ok(())
    }
    let plan = context().plan_line("gps | ? Id -gt 10 | select -First 2 | sort Id -Desc | ft Id").unwrap();
    assert_eq!(run_with(endless, &plan).text, "\nId\n--\n12\n11\n\n");
}

/// Rows of which 4096 fill the sample of a table to the byte: each cell counts with the place that it takes.
fn filling(count: usize) -> usize {
    use rs_session::operations::format::Formatter;
    use rs_session::operations::plan::Stage;
    let stage =
        Stage::Table { properties: vec!["Text".into()], auto_size: true, hide_headers: false, wrap: false };
    let mut formatter = Formatter::for_stages(&[stage], WIDTH_MAX);
    let mut printed = Collected::default();
    let text = "x".repeat(SAMPLE_BYTES_MAX / 4096 - size_of::<(String, bool)>());
    for _ in 0..count {
        formatter.push(&Value::from(Object::new("Row").with("Text", text.clone())), &mut printed).unwrap();
    }
    printed.text.len()
}

#[test]
fn sec46_a_table_holds_back_so_many_bytes_and_no_more() {
    assert_eq!(filling(4095), 0, "one below the bound it still waits for more");
    assert!(filling(4096) > 0, "at the bound it prints");
}

#[test]
fn a_table_streams_once_its_widths_are_known() {
    /// Notes how much text had arrived when each object was asked for.
    #[derive(Default)]
    struct Watching {
        bytes: usize,
        largest: usize,
    }
    impl Output for Watching {
        fn text(&mut self, text: &str) -> Result<(), Stop> {
            self.bytes += text.len();
            self.largest = self.largest.max(text.len());
            Ok(())
        }
        fn error(&mut self, _: &str) -> Result<(), Stop> {
            Ok(())
        }
        fn flush(&mut self) -> Result<(), Stop> {
            Ok(())
        }
    }
    let plan = context().plan_line("gps -Id 100000 | ft").unwrap();
    let mut output = Watching::default();
    Registry::default().with("Get-Process", many).run(&plan, &mut output).unwrap();
    assert!(output.bytes > 500_000 && output.largest < 200);
}

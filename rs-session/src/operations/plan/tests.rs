//! Judgements of single lines; the corpora are tested from outside.

use super::*;

fn context(level: AccessLevel) -> Context {
    let machine = Machine { native: crate::operations::catalog::Systems::ALL, power_shell: false };
    Context { machine, ..Context::new(level) }
}

#[track_caller]
fn refused(line: &str, code: Code, column: u32) -> String {
    let refused = context(AccessLevel::Diagnostics).plan_line(line).unwrap_err();
    assert_eq!((refused.code, refused.column), (code, column), "{line}: {refused}");
    refused.message
}

#[track_caller]
fn planned(line: &str) -> Plan {
    let plan =
        context(AccessLevel::DiagnosticsRepair).plan_line(line).unwrap_or_else(|why| panic!("{line}: {why}"));
    plan.check().unwrap_or_else(|why| panic!("{line}: {why}"));
    let json = serde_json::to_string(&plan).unwrap();
    assert_eq!(serde_json::from_str::<Plan>(&json).unwrap(), plan, "{line}");
    plan
}

#[test]
fn e05_each_refusal_has_its_reason() {
    assert!(refused("Get-Proces", Code::UnknownCommand, 1).contains("did you mean Get-Process?"));
    assert!(refused("Get-Process | %", Code::UnknownCommand, 15).contains("script blocks"));
    refused("Start-Service cron", Code::NeedsRepair, 1);
    refused("Get-Process -ComputerName x", Code::ParameterNotPermitted, 13);
    refused("Get-Process -Nonsense x", Code::UnknownParameter, 13);
    refused("Get-Process -Name", Code::MissingValue, 13);
    refused("Get-Process -Name a -Name b", Code::DuplicateParameter, 21);
    refused("Get-Process -Id x", Code::WrongType, 17);
    refused("Get-Process -Id 1.5", Code::WrongType, 17);
    refused("Get-Process -Id -1", Code::OutOfConstraint, 17);
    refused("Get-Process a b", Code::UnexpectedArgument, 15);
    refused("Get-NetTCPConnection -State Open", Code::OutOfConstraint, 29);
    refused("Test-Observability 3601", Code::OutOfConstraint, 20);
    refused("Test-Observability 0", Code::OutOfConstraint, 20);
    refused("Sort-Object Name", Code::NeedsInput, 1);
    refused("Get-Date | Get-Process", Code::TakesNoInput, 12);
    refused("Get-Date | ft | sort Day", Code::AfterFormat, 17);
    refused("exit | ft", Code::StandsAlone, 1);
    refused("Get-Date | exit", Code::StandsAlone, 12);
    refused("Get-VM", Code::NotAvailable, 1);
    refused("Get-Process | ? Name -match x", Code::ParameterNotPermitted, 22);
    refused("Get-Process | ? Name -eq", Code::MissingValue, 15);
    refused("Get-Process | ? Name x", Code::UnexpectedArgument, 15);
    refused("Get-Process | ? Name -eq a -ne b", Code::UnexpectedArgument, 32);
    refused("Get-Process | ? Id -eq 1,2", Code::UnexpectedArgument, 15);
    refused("Get-Process | ? -eq 1", Code::MissingValue, 15);
    refused("Get-Process | ?", Code::MissingParameter, 15);
    refused("Get-Process | select -First x", Code::WrongType, 29);
    refused("Get-Process | sort -Descending:yes", Code::WrongType, 20);
    refused("Get-Process | sort -Descending:$true x y", Code::UnexpectedArgument, 40);
    refused("Get-NetIPAddress -I 1", Code::AmbiguousParameter, 18);
}

#[test]
fn a09_protected_services_are_left_alone() {
    let repair = context(AccessLevel::DiagnosticsRepair);
    for name in [
        "sshd",
        "SSH.service",
        "systemd-journald",
        "dbus",
        "WinRM",
        "ClusSvc",
        "remote-support",
        "dbus.socket",
    ] {
        for verb in ["Start-Service", "Stop-Service"] {
            let refused = repair.plan_line(&format!("{verb} {name}")).unwrap_err();
            assert_eq!(refused.code, Code::ProtectedService, "{verb} {name}");
        }
    }
    for name in ["'*'", "ssh*", "cron,atd", "-rf", "'../x'", "'a/b'", "'-x'", "''"] {
        assert!(repair.plan_line(&format!("Stop-Service {name}")).is_err(), "{name}");
    }
    assert_eq!(planned("Stop-Service cron").call.text("Name"), Some("cron"));
    assert!(planned("Stop-Service cron").effects().changes_state());
}

#[test]
fn sec19_a_forged_plan_does_not_pass_the_second_check() {
    let honest = planned("Stop-Service cron");
    assert!(honest.check().is_ok());
    let forge = |change: fn(&mut Plan)| {
        let mut plan = honest.clone();
        change(&mut plan);
        assert!(plan.check().is_err(), "{plan:?}");
    };
    forge(|plan| plan.level = AccessLevel::Diagnostics);
    forge(|plan| plan.call.command = String::from("Remove-Item"));
    forge(|plan| plan.call.command = String::from("stop-service"));
    forge(|plan| plan.call.command = String::from("Format-Table"));
    forge(|plan| plan.call.arguments.clear());
    forge(|plan| drop(plan.call.arguments.insert("Name".into(), Bound::Texts(vec!["sshd".into()]))));
    forge(|plan| drop(plan.call.arguments.insert("Name".into(), Bound::Texts(vec!["a;b".into()]))));
    forge(|plan| drop(plan.call.arguments.insert("Name".into(), Bound::Integers(vec![1]))));
    forge(|plan| drop(plan.call.arguments.insert("Path".into(), Bound::Texts(vec!["x".into()]))));
    forge(|plan| plan.stages = vec![Stage::Default; STAGES_MAX]);
    forge(|plan| plan.stages = vec![Stage::List { properties: vec!["x".repeat(VALUE_CHARS_MAX + 1)] }]);
    forge(|plan| plan.limits.output_bytes = Limits::OUTPUT_BYTES_MAX + 1);
    forge(|plan| plan.limits.seconds = Limits::SECONDS_MAX + 1);
}

#[test]
fn a10_policy_has_its_own_code() {
    let mut strict = context(AccessLevel::Diagnostics);
    strict.policy = Policy::strict_read_only();
    assert_eq!(strict.plan_line("Start-SolutionUpdate").unwrap_err().code, Code::PolicyExcludes);
    assert_eq!(
        context(AccessLevel::Diagnostics).plan_line("Start-SolutionUpdate").unwrap_err().code,
        Code::NotAvailable
    );
}

#[test]
fn a19_prefixes_colons_positions_and_switches_bind() {
    let call = planned("gps -na ssh*,systemd -id:5").call;
    assert_eq!(call.texts("Name"), ["ssh*", "systemd"]);
    assert_eq!(call.integers("Id"), [5]);
    assert_eq!(planned("Get-Process -Name 123").call.texts("Name"), ["123"]);
    assert_eq!(planned("Get-Process -Id '5'").call.integers("Id"), [5]);
    assert_eq!(planned("Get-NetTCPConnection -State listen").call.texts("State"), ["Listen"]);
    let stages =
        planned("Get-Process | ? CPU -gt 1kb | sort cpu -Desc | select -First 3 Name, Id | ft -a:$false")
            .stages;
    assert!(matches!(&stages[0], Stage::Where { property, values, .. }
        if property == "CPU" && *values == [Constant::Integer(1024)]));
    assert!(matches!(&stages[1], Stage::Sort { descending: true, .. }));
    assert!(matches!(&stages[2], Stage::Select { properties, first: Some(3), .. } if properties.len() == 2));
    assert!(matches!(&stages[3], Stage::Table { auto_size: false, .. }));
    let long = planned("gps | Where-Object -Property Name -CEQ -Value x").stages;
    assert!(matches!(&long[0], Stage::Where { comparison, .. } if comparison.case_sensitive));
    assert!(
        matches!(&planned("gps | ? Id -in 1,2,3").stages[0], Stage::Where { values, .. } if values.len() == 3)
    );
    assert_eq!(planned("Get-Service -?").call.text("Name"), Some("Get-Service"));
    assert!(planned("exit").ends_session() && planned("cls").clears_screen());
}

#[test]
fn sec20_values_hold_their_length_and_no_more() {
    for (command, chars) in [("Get-Process -Name", 256), ("Get-Help", 100), ("Get-NetIPAddress", 64)] {
        planned(&format!("{command} {}", "a".repeat(chars)));
        refused(
            &format!("{command} {}", "a".repeat(chars + 1)),
            Code::OutOfConstraint,
            command.len() as u32 + 2,
        );
    }
    let many = |count: usize| format!("Get-Process -Id {}", vec!["1"; count].join(","));
    planned(&many(32));
    refused(&many(33), Code::OutOfConstraint, 17);
}

#[test]
fn e05_messages_do_not_carry_control_characters() {
    let refused = Refused::new(Code::UnknownCommand, 1, "a\u{1b}[2J");
    assert_eq!(refused.message, "a\\u{1b}[2J");
}

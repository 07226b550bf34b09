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
    refused("Get-Process | ? Name -match '(?=x)'", Code::OutOfConstraint, 29);
    refused("Get-Process | ? Name -match '('", Code::OutOfConstraint, 29);
    refused("Get-Process | ? Name -is x", Code::ParameterNotPermitted, 22);
    refused("Get-Process | ? Name -eq", Code::MissingValue, 15);
    refused("Get-Process | ? Name x", Code::UnexpectedArgument, 22);
    refused("Get-Process | ? Name -eq a -ne b", Code::UnexpectedArgument, 32);
    refused("Get-Process | ? Id -eq 1,2", Code::UnexpectedArgument, 24);
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
    let comparison = Comparison::by_name("match").unwrap();
    let values = vec![Constant::Text("(".into())];
    let mut plan = honest.clone();
    plan.stages = vec![Stage::Where { property: "Name".into(), comparison, values }];
    assert!(plan.check().is_err(), "a pattern that is none");
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

#[test]
fn sec46_every_limit_has_its_range() {
    type Set = fn(&mut Limits, u64);
    let day = u64::from(Limits::SECONDS_MAX);
    let set: [(&str, u64, u64, Set); 7] = [
        ("outputBytes", 1, Limits::OUTPUT_BYTES_MAX, |own, value| own.output_bytes = value),
        ("outputBytesPerSecond", 1, 1 << 30, |own, value| own.output_bytes_per_second = value),
        ("seconds", 0, day, |own, value| own.seconds = u32::try_from(value).unwrap_or(u32::MAX)),
        ("cpuSeconds", 1, day, |own, value| own.cpu_seconds = u32::try_from(value).unwrap_or(u32::MAX)),
        ("memoryBytes", 32 << 20, 1 << 40, |own, value| own.memory_bytes = value),
        ("files", 8, 65_536, |own, value| own.files = u32::try_from(value).unwrap_or(u32::MAX)),
        ("processes", 1, 4096, |own, value| own.processes = u32::try_from(value).unwrap_or(u32::MAX)),
    ];
    for (name, low, high, change) in set {
        let fault = |value| {
            let mut limits = Limits::default();
            change(&mut limits, value);
            limits.fault()
        };
        assert_eq!((fault(low), fault(high)), (None, None), "{name}");
        assert!(fault(high + 1).is_some_and(|why| why.contains(name)), "{name}");
        assert!(low == 0 || fault(low - 1).is_some_and(|why| why.contains(name)), "{name}");
    }
}

#[test]
fn a07_values_of_parameters_end_at_their_bounds() {
    for (at, past) in [
        ("Get-Process | sort -Top 10000", "Get-Process | sort -Top 10001"),
        ("Get-Process | sort -Bottom 1", "Get-Process | sort -Bottom 0"),
        ("Get-Process | select -First 2147483647", "Get-Process | select -First 2147483648"),
        ("Get-NetTCPConnection -LocalPort 65535", "Get-NetTCPConnection -LocalPort 65536"),
        ("Test-Observability 3600", "Test-Observability 3601"),
    ] {
        planned(at);
        assert_eq!(
            context(AccessLevel::Diagnostics).plan_line(past).unwrap_err().code,
            Code::OutOfConstraint,
            "{past}"
        );
    }
    let names = |count: usize| format!("Get-Process -Name {}", vec!["a"; count].join(","));
    planned(&names(32));
    assert_eq!(
        context(AccessLevel::Diagnostics).plan_line(&names(33)).unwrap_err().code,
        Code::OutOfConstraint
    );
    let property = |chars: usize| format!("Get-Process | select {}", "a".repeat(chars));
    planned(&property(128));
    let refused = context(AccessLevel::Diagnostics).plan_line(&property(129)).unwrap_err();
    assert_eq!(refused.code, Code::OutOfConstraint);
}

/// A node with PowerShell, and nothing of its own but what runs on every system.
fn on_windows(variant: Variant) -> Context {
    let machine = Machine { native: crate::operations::catalog::Systems::WINDOWS, power_shell: true };
    Context { machine, variant, ..Context::new(AccessLevel::DiagnosticsRepair) }
}

#[test]
fn sec20_what_has_no_definition_stays_refused_with_power_shell_too() {
    let mut closed = 0;
    for variant in Variant::ALL {
        let context = on_windows(*variant);
        for entry in context.catalog().entries() {
            let Some(why) = entry.closed() else {
                // Control: whatever can be called without parameters is planned, so nothing else refuses it.
                let calls = entry.definition.is_some_and(|own| {
                    matches!(own.role, Role::Source) && own.parameters.iter().all(|own| !own.mandatory)
                });
                assert!(!calls || context.plan_line(&entry.name).is_ok(), "{variant}: {}", entry.name);
                continue;
            };
            for line in
                [entry.name.clone(), format!("{} -Name x", entry.name), format!("{} | ft", entry.name)]
            {
                let refused = context.plan_line(&line).unwrap_err();
                assert_eq!(refused.code, Code::NotAvailable, "{line}");
                assert!(refused.message.contains(&why.to_string()), "{line}: {}", refused.message);
            }
            closed += 1;
        }
    }
    assert!(closed > 400, "{closed}");
    let context = on_windows(Variant::AzureLocal);
    for line in
        ["Start-SolutionUpdate", "Test-ClusterResourceFailure", "Get-VMKeyProtector x", "Get-VHDSet x"]
    {
        assert_eq!(context.plan_line(line).unwrap_err().code, Code::NotAvailable, "{line}");
    }
}

#[test]
fn a01_parameters_of_windows_are_typed_and_no_way_around_is_open() {
    let context = on_windows(Variant::AzureLocal);
    for line in [
        "Get-VM",
        "get-vm -n web*,db01",
        "Get-VMMemory web01 | ft",
        "Get-VMSwitch -SwitchType External,Private",
        "Get-ClusterGroup 'Cluster Group'",
        "Get-NetFirewallRule -DisplayName 'Core Networking*'",
        "Get-NetAdapterVmqQueue -InterfaceDescription 'Ethernet 10/25G #2' -Id 1,2",
        "Get-SupportedClusterSizes C,D",
        "Get-PartitionSupportedSize 0 1",
    ] {
        context.plan_line(line).unwrap_or_else(|why| panic!("{line}: {why}")).check().unwrap();
    }
    for (line, code) in [
        ("Get-VM -ComputerName other", Code::ParameterNotPermitted),
        ("Get-VM -CimSession other", Code::ParameterNotPermitted),
        ("Get-VM -Credential x", Code::ParameterNotPermitted),
        ("Get-VM -Name '\\\\other\\share'", Code::OutOfConstraint),
        ("Get-VM -Name //other/share", Code::OutOfConstraint),
        ("Get-VM -Name C:x", Code::OutOfConstraint),
        ("Get-VMMemory", Code::MissingParameter),
        ("Get-VHD -Path x", Code::UnknownParameter),
        ("Get-ClusterNode -Cluster other", Code::UnknownParameter),
        ("Get-NetFirewallRule -PolicyStore other", Code::UnknownParameter),
        ("Get-SupportedClusterSizes CD", Code::OutOfConstraint),
        ("Get-PartitionSupportedSize 65536", Code::OutOfConstraint),
        ("Get-VMSwitch -SwitchType Other", Code::OutOfConstraint),
        ("Get-VMSwitch -Name a,b", Code::OutOfConstraint),
    ] {
        assert_eq!(context.plan_line(line).unwrap_err().code, code, "{line}");
    }
    let name = |count| format!("Get-VM -Name {}", "x".repeat(count));
    assert!(context.plan_line(&name(256)).is_ok());
    assert_eq!(context.plan_line(&name(257)).unwrap_err().code, Code::OutOfConstraint);
}

#[test]
fn sec21_a_dns_question_is_one_of_a_few() {
    let context = on_windows(Variant::AzureStackEdge2110);
    assert!(context.plan_line("Resolve-DnsName login.microsoftonline.com AAAA -TcpOnly").is_ok());
    for line in [
        "Resolve-DnsName secret.example.org",
        "Resolve-DnsName x.login.microsoftonline.com",
        "Resolve-DnsName login.microsoftonline.com,graph.microsoft.com",
    ] {
        assert_eq!(context.plan_line(line).unwrap_err().code, Code::OutOfConstraint, "{line}");
    }
    let other = "Resolve-DnsName login.microsoftonline.com -Server 192.0.2.1";
    assert_eq!(context.plan_line(other).unwrap_err().code, Code::UnknownParameter);
}

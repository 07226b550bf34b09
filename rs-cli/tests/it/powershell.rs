//! The PowerShell module, read by somebody else's grammar and held against the program that it calls (I10).
//!
//! PowerShell itself does not run here; `powershell/tests` is for where it does.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use clap::CommandFactory as _;
use rs_cli::outcome::{ErrorCode, Exit};
use rs_consent::{AccessLevel, ApprovalRule, Minutes};
use serde_json::Value;
use tree_sitter::{Node, Parser, Tree};

use crate::machine::Machine;

const CMDLETS: [&str; 5] = [
    "Enable-RemoteSupport",
    "Disable-RemoteSupport",
    "Get-RemoteSupportAccess",
    "Get-RemoteSupportSessionHistory",
    "Remove-RemoteSupport",
];

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../powershell")
}

fn read(name: &str) -> String {
    std::fs::read_to_string(folder().join(name)).expect("a file of the module")
}

fn module() -> String {
    read("RemoteSupport/RemoteSupport.psm1")
}

fn parse(text: &str) -> Tree {
    let mut parser = Parser::new();
    parser.set_language(&tree_sitter_powershell::LANGUAGE.into()).expect("the grammar");
    parser.parse(text, None).expect("a tree")
}

/// Everything below a node, itself first.
fn all(node: Node<'_>) -> Vec<Node<'_>> {
    let mut found = vec![node];
    let mut at = 0;
    while at < found.len() {
        let mut cursor = found[at].walk();
        let children: Vec<_> = found[at].children(&mut cursor).collect();
        found.extend(children);
        at += 1;
    }
    found
}

fn of_kind<'a>(node: Node<'a>, kind: &str) -> Vec<Node<'a>> {
    all(node).into_iter().filter(|node| node.kind() == kind).collect()
}

fn fault(text: &str) -> Option<String> {
    let tree = parse(text);
    let broken = all(tree.root_node()).into_iter().find(|node| node.is_error() || node.is_missing())?;
    Some(format!("{:?}: {}", broken.start_position(), &text[broken.byte_range()]))
}

/// The texts in single quotes, in order.
fn literals(node: Node<'_>, text: &str) -> Vec<String> {
    let mut found = of_kind(node, "verbatim_string_characters");
    found.sort_by_key(Node::start_byte);
    found.iter().map(|node| text[node.byte_range()].trim_matches('\'').to_owned()).collect()
}

/// The functions of the module, by name.
fn functions<'a>(tree: &'a Tree, text: &str) -> BTreeMap<String, Node<'a>> {
    let found = of_kind(tree.root_node(), "function_statement").into_iter();
    found
        .map(|node| {
            let name = of_kind(node, "function_name")[0];
            (text[name.byte_range()].to_owned(), node)
        })
        .collect()
}

/// The parameters of a function with their types and defaults, as they are written.
fn parameters(function: Node<'_>, text: &str) -> Vec<String> {
    let found = of_kind(function, "script_parameter").into_iter().filter(|parameter| {
        // Those of script blocks inside the function are not its own.
        let mut above = parameter.parent();
        while let Some(node) = above.filter(|node| *node != function) {
            if node.kind() == "script_block_expression" {
                return false;
            }
            above = node.parent();
        }
        true
    });
    found
        .map(|parameter| {
            let mut cursor = parameter.walk();
            let children: Vec<_> = parameter.children(&mut cursor).collect();
            let own = |node: &Node<'_>| text[node.byte_range()].to_owned();
            let name = children.iter().find(|node| node.kind() == "variable").map(own).expect("a name");
            let at = children.iter().find(|node| node.kind() == "variable").map_or(0, Node::start_byte);
            let types = of_kind(parameter, "type_literal").into_iter().filter(|node| node.start_byte() < at);
            let types = types.max_by_key(Node::start_byte).map(|node| own(&node));
            let default = children.iter().find(|node| node.kind() == "script_parameter_default").map(own);
            [types, Some(name), default].into_iter().flatten().collect::<Vec<_>>().join(" ")
        })
        .collect()
}

#[test]
fn i10_every_file_is_powershell() {
    for name in [
        "RemoteSupport/RemoteSupport.psm1",
        "RemoteSupport/RemoteSupport.psd1",
        "tests/RemoteSupport.Tests.ps1",
    ] {
        assert_eq!(fault(&read(name)), None, "{name}");
    }
}

#[test]
fn i10_control_a_missing_brace_is_found() {
    let text = module();
    let at = text.rfind("\n}").expect("the end of a function");
    assert!(fault(&format!("{}{}", &text[..at], &text[at + 2..])).is_some());
}

#[test]
fn i10_the_five_cmdlets_and_their_older_names_are_exported_and_nothing_else() {
    let (text, manifest) = (module(), read("RemoteSupport/RemoteSupport.psd1"));
    let tree = parse(&text);
    let functions = functions(&tree, &text);
    let listed = |text: &str| {
        let tree = parse(text);
        literals(tree.root_node(), text)
            .into_iter()
            .filter(|word| word.contains("RemoteSupport") && word.contains('-'))
            .collect::<BTreeSet<_>>()
    };
    let older = CMDLETS.map(|name| name.replace("-RemoteSupport", "-AzStackHCIRemoteSupport"));
    let expected: BTreeSet<String> =
        CMDLETS.iter().map(|name| (*name).to_owned()).chain(older.clone()).collect();
    assert_eq!(listed(&manifest), expected);
    let export = text.rfind("Export-ModuleMember").expect("the exports");
    assert_eq!(listed(&text[export..]), expected);
    for (name, older) in CMDLETS.iter().zip(older) {
        assert!(functions.contains_key(*name), "{name}");
        assert!(text.contains(&format!("Set-Alias -Name '{older}' -Value '{name}'")), "{older}");
        let position = text.find(&format!("\nfunction {name} {{")).expect("its text");
        let help = &text[..position];
        let help = &help[help.rfind("<#").expect("help")..];
        assert!(help.contains(".SYNOPSIS") && help.contains(".EXAMPLE") && help.ends_with("#>"), "{name}");
        for parameter in parameters(functions[*name], &text) {
            let name = parameter.split('$').nth(1).and_then(|rest| rest.split(' ').next()).expect("a name");
            assert!(help.contains(&format!(".PARAMETER {name}\n")), "{name} is not explained");
        }
    }
}

#[test]
fn i10_parameters_types_and_defaults_are_the_published_ones() {
    let text = module();
    let tree = parse(&text);
    let functions = functions(&tree, &text);
    let of = |name: &str| parameters(functions[name], &text);
    assert_eq!(
        of("Enable-RemoteSupport"),
        [
            "[string] $AccessLevel",
            "[int] $ExpireInMinutes = 480",
            "[object] $SasCredential",
            "[switch] $AgreeToRemoteSupportConsent",
            "[string] $SupportRequest",
            "[string] $RequireApproval",
            "[bool] $StrictReadOnly",
        ]
    );
    assert!(of("Disable-RemoteSupport").is_empty() && of("Remove-RemoteSupport").is_empty());
    assert_eq!(
        of("Get-RemoteSupportAccess"),
        ["[switch] $Cluster", "[switch] $IncludeExpired", "[switch] $IncludeSessions"]
    );
    assert_eq!(
        of("Get-RemoteSupportSessionHistory"),
        [
            "[string] $SessionId",
            "[switch] $IncludeSessionTranscript",
            "[DateTime] $FromDate = [DateTime]::Now.AddDays(-7)"
        ]
    );
    for (name, confirms) in [
        ("Enable-RemoteSupport", true),
        ("Disable-RemoteSupport", true),
        ("Remove-RemoteSupport", true),
        ("Get-RemoteSupportAccess", false),
    ] {
        let own = &text[functions[name].byte_range()];
        assert_eq!(
            own.contains("SupportsShouldProcess = $true") && own.contains("$PSCmdlet.ShouldProcess("),
            confirms,
            "{name}"
        );
    }
}

#[test]
fn i10_sets_ranges_codes_and_exit_codes_are_those_of_the_program() {
    let text = module();
    assert!(text.contains(&format!("[ValidateRange({}, {})]", Minutes::MIN, Minutes::MAX)));
    assert!(text.contains(&format!("$ExpireInMinutes = {}", Minutes::DEFAULT)));
    let set = |words: Vec<String>| {
        let words: Vec<_> = words.iter().map(|word| format!("'{word}'")).collect();
        format!("[ValidateSet({})]", words.join(", "))
    };
    assert!(text.contains(&set(AccessLevel::ALL.iter().map(ToString::to_string).collect())));
    let approvals = text.match_indices("'never', 'releases', 'changes'").count();
    assert_eq!(approvals, 1);
    for word in ["never", "releases", "changes"] {
        assert!(word.parse::<ApprovalRule>().is_ok(), "{word}");
    }
    let table = &text[text.find("$script:Categories = @{").expect("the table")..];
    let table = &table[..table.find("\n}").expect("its end")];
    let codes: BTreeSet<_> =
        table.lines().skip(1).filter_map(|line| line.trim().strip_prefix('\'')?.split('\'').next()).collect();
    assert_eq!(codes, ErrorCode::ALL.iter().map(|code| code.as_str()).collect());
    assert!(text.contains(&format!("$script:ExitPartial = {}\n", Exit::Partial as u8)));
}

#[test]
fn i10_every_option_that_it_passes_exists() {
    let text = module();
    let tree = parse(&text);
    let functions = functions(&tree, &text);
    let program = rs_cli::cli::Cli::command();
    let commands = [
        ("Get-PreviewArgument", "enable"),
        ("Enable-RemoteSupport", "enable"),
        ("Disable-RemoteSupport", "disable"),
        ("Get-RemoteSupportAccess", "access"),
        ("Get-RemoteSupportSessionHistory", "history"),
    ];
    let mut seen = 0;
    for (function, command) in commands {
        let command = program.find_subcommand(command).expect("a command");
        let own = &text[functions[function].byte_range()];
        for option in own.split(['\'', '"']).filter_map(|word| word.strip_prefix("--")) {
            let option = option.split('=').next().unwrap_or_default();
            assert!(
                command.get_arguments().any(|arg| arg.get_long() == Some(option)),
                "{function}: --{option}"
            );
            seen += 1;
        }
    }
    assert_eq!(seen, 13, "{seen} options were looked at");
}

#[test]
fn i10_sec33_nothing_is_read_as_code_and_no_secret_becomes_an_argument() {
    let text = module();
    for word in [
        "Invoke-Expression",
        "iex ",
        "cmd /c",
        "cmd.exe",
        "Start-Process",
        "$ExecutionContext",
        "ScriptBlock]::Create",
    ] {
        assert!(!text.contains(word), "{word}");
    }
    // The credential is named in its parameter, made text, and given as input.
    let uses: Vec<_> = text.lines().filter(|line| line.contains("$secret")).map(str::trim).collect();
    assert_eq!(
        uses,
        [
            "$secret = ''",
            "$secret = ConvertTo-PlainText -Credential $SasCredential",
            "$run = Invoke-Program -Arguments ($arguments + '--dry-run') -InputText $secret",
            "$run = Invoke-Program -Arguments $arguments -InputText $secret",
        ]
    );
}

/// The names in a list of the module, after `before`.
fn names_after(text: &str, before: &str) -> Vec<String> {
    let part = &text[text.find(before).expect("the list") + before.len()..];
    let part = &part[..part.find("\n)").expect("its end")];
    part.split('\'').skip(1).step_by(2).map(str::to_owned).collect()
}

fn keys(value: &Value) -> BTreeSet<String> {
    let names = value.as_object().expect("an object").keys();
    names.map(|name| name[..1].to_uppercase() + &name[1..]).collect()
}

#[test]
fn i10_every_property_that_it_shows_or_reads_is_in_the_programs_json() {
    let text = module();
    let machine = Machine::new();
    let preview = machine.json("enable --access-level Diagnostics --dry-run");
    for name in ["AccessLevel", "Minutes", "DeskToConfirm", "Terms", "Permits"] {
        assert!(keys(&preview).contains(name), "{name}");
        assert!(text.contains(&format!("$preview.{}{}", name[..1].to_lowercase(), &name[1..])), "{name}");
    }
    assert!(preview["terms"]["version"].is_string() && preview["terms"]["text"].is_string());

    let access = machine.enable("Diagnostics");
    let shown = names_after(&text, "-TypeName 'RemoteSupport.Access' -DefaultDisplayPropertySet @(");
    assert_eq!(shown.len(), 9, "the public fields");
    assert!(shown.iter().all(|name| keys(&access).contains(name)), "{shown:?} {access}");
    assert!(keys(&access).contains("Id"));

    let node = crate::records::Node::new();
    let mut story = crate::records::story(7, 0);
    story.end(rs_consent::EndCause::Exit);
    node.keep(&story);
    let sessions = node.machine.json("history --from-date 2026-11-01 --include-session-transcript");
    let session = &sessions[0];
    let shown = names_after(&text, "-TypeName 'RemoteSupport.Session' -DefaultDisplayPropertySet @(");
    assert!(shown.iter().all(|name| keys(session).contains(name)), "{shown:?} {session}");
    assert!(keys(session).contains("GrantId") && keys(session).contains("SessionTranscript"));

    let refused = machine.run("history --session-id 1b9d6bcd-bbfd-4b2d-9b5d-ab8dfbbd4bed --output json");
    let error: Value = serde_json::from_str(&refused.stderr).expect("JSON");
    assert!(refused.stderr.starts_with("{\"error\":"), "the module finds failures by that");
    for name in ["code", "message", "target", "details", "nextStep"] {
        assert!(error["error"].get(name).is_some(), "{name}");
    }
}

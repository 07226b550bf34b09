//! The PowerShell files that we write, read by somebody else's grammar and compared with the catalog (A04, A20).

#![expect(clippy::unwrap_used, reason = "helpers of tests")]

use std::collections::BTreeMap;

use proptest::prelude::*;
use rs_consent::AccessLevel;
use rs_session::operations::catalog::{Entry, Kind, Role};
use rs_session::operations::jea::{Constraint, Groups, JeaFile, jea_files, literal, session_configuration};
use rs_session::operations::objects::is_harmful;
use rs_session::operations::{Catalog, Policy, Variant};
use tree_sitter::{Node, Parser, Tree};

const LEVELS: [AccessLevel; 2] = [AccessLevel::Diagnostics, AccessLevel::DiagnosticsRepair];

/// What a data file holds.
#[derive(Clone, Debug, PartialEq)]
enum Data {
    Text(String),
    Word(String),
    List(Vec<Self>),
    Table(Vec<(String, Self)>),
}

impl Data {
    fn get(&self, key: &str) -> &Self {
        let Self::Table(entries) = self else { panic!("no table: {self:?}") };
        let mut found = entries.iter().filter(|(own, _)| own == key);
        let value = found.next().unwrap_or_else(|| panic!("no {key} in {self:?}"));
        assert!(found.next().is_none(), "{key} stands twice");
        &value.1
    }

    fn has(&self, key: &str) -> bool {
        matches!(self, Self::Table(entries) if entries.iter().any(|(own, _)| own == key))
    }

    fn keys(&self) -> Vec<&str> {
        let Self::Table(entries) = self else { panic!("no table: {self:?}") };
        entries.iter().map(|(key, _)| key.as_str()).collect()
    }

    fn text(&self) -> &str {
        let Self::Text(text) = self else { panic!("no text: {self:?}") };
        text
    }

    fn word(&self) -> &str {
        let Self::Word(word) = self else { panic!("no word: {self:?}") };
        word
    }

    /// One value counts as a list of one, as in PowerShell.
    fn items(&self) -> Vec<&Self> {
        match self {
            Self::List(items) => items.iter().collect(),
            one => vec![one],
        }
    }

    fn texts(&self) -> Vec<String> {
        self.items().into_iter().map(|item| item.text().to_owned()).collect()
    }
}

fn parse(text: &str) -> Tree {
    let mut parser = Parser::new();
    parser.set_language(&tree_sitter_powershell::LANGUAGE.into()).unwrap();
    parser.parse(text, None).unwrap()
}

/// Everything below a node, itself first.
fn all<'a>(node: Node<'a>) -> Vec<Node<'a>> {
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

fn whole(text: &str) -> Result<Tree, String> {
    let tree = parse(text);
    let broken = all(tree.root_node()).into_iter().find(|node| node.is_error() || node.is_missing());
    match broken {
        Some(node) => Err(format!("{:?}: {}", node.start_position(), &text[node.byte_range()])),
        None => Ok(tree),
    }
}

/// The value that an expression stands for.
fn data(node: Node<'_>, text: &str) -> Data {
    let own = &text[node.byte_range()];
    let mut cursor = node.walk();
    let children: Vec<_> =
        node.named_children(&mut cursor).filter(|child| child.kind() != "comment").collect();
    match node.kind() {
        "verbatim_string_characters" => {
            Data::Text(own.strip_prefix('\'').unwrap().strip_suffix('\'').unwrap().replace("''", "'"))
        }
        "hash_literal_expression" => {
            let entries = all(node).into_iter().filter(|entry| {
                entry.kind() == "hash_entry" && entry.parent().and_then(|body| body.parent()) == Some(node)
            });
            Data::Table(entries.map(|entry| table_entry(entry, text)).collect())
        }
        "array_expression" => match children.first() {
            None => Data::List(Vec::new()),
            Some(inner) => Data::List(data(*inner, text).items().into_iter().cloned().collect()),
        },
        "array_literal_expression" if children.len() > 1 => {
            Data::List(children.into_iter().map(|child| data(child, text)).collect())
        }
        _ => match children.as_slice() {
            [one] => data(*one, text),
            [] => Data::Word(own.to_owned()),
            _ if node.kind() == "expression_with_unary_operator" => Data::Word(own.to_owned()),
            several => panic!("{}: {} {own}", node.kind(), several.len()),
        },
    }
}

fn table_entry(entry: Node<'_>, text: &str) -> (String, Data) {
    let mut cursor = entry.walk();
    let parts: Vec<_> = entry.named_children(&mut cursor).collect();
    let [key, value] = parts.as_slice() else { panic!("{}", &text[entry.byte_range()]) };
    let key = match data(*key, text) {
        Data::Text(key) | Data::Word(key) => key,
        other => panic!("{other:?}"),
    };
    (key, data(*value, text))
}

/// The table that a data file is, and nothing beside it.
fn table(text: &str) -> Result<Data, String> {
    let tree = whole(text)?;
    let root = tree.root_node();
    let mut cursor = root.walk();
    let parts: Vec<_> = root.named_children(&mut cursor).filter(|node| node.kind() != "comment").collect();
    match parts.as_slice() {
        [one] if one.named_child_count() == 1 => Ok(data(*one, text)),
        other => Err(format!("{} parts", other.len())),
    }
}

fn files(variant: Variant) -> Vec<JeaFile> {
    jea_files(Catalog::of(variant), Policy::default(), &Groups::local("NODE1"))
}

fn text_of(files: &[JeaFile], path: &str) -> String {
    files.iter().find(|file| file.path == path).unwrap_or_else(|| panic!("no {path}")).text.clone()
}

#[test]
fn a20_every_file_is_powershell_to_an_independent_grammar() {
    for variant in Variant::ALL {
        for file in files(*variant) {
            if let Err(why) = whole(&file.text) {
                panic!("{variant} {}: {why}", file.path);
            }
            assert!(file.text.is_ascii() && !file.text.contains('\r'), "{}", file.path);
        }
    }
}

/// The control: the grammar does find what is broken.
#[test]
fn a20_control_a_broken_file_is_found() {
    for text in ["@{ A = 'b", "@{ A = 'b' c }", "@{ A = @('b' }", "@{ A = 'O'Brien' }"] {
        assert!(table(text).is_err(), "{text}");
    }
}

fn constraint(parameter: &Data) -> Constraint {
    match (parameter.has("ValidateSet"), parameter.has("ValidatePattern")) {
        (false, false) => Constraint::Switch,
        (true, false) => Constraint::Set(parameter.get("ValidateSet").texts()),
        (false, true) => Constraint::Pattern(parameter.get("ValidatePattern").text().to_owned()),
        (true, true) => panic!("both on one parameter: {parameter:?}"),
    }
}

fn qualified(entry: &Entry) -> String {
    entry.module.map_or_else(|| entry.name.clone(), |module| format!("{module}\\{}", entry.name))
}

/// Commands with their parameters; `None` leaves them open.
type Rights = BTreeMap<String, Option<Vec<(String, Constraint)>>>;

fn rights(list: &Data) -> Rights {
    let read = |item: &Data| match item {
        Data::Text(name) => (name.clone(), None),
        table => {
            let parameters = table.get("Parameters").items().into_iter();
            let read = |own: &Data| (own.get("Name").text().to_owned(), constraint(own));
            (table.get("Name").text().to_owned(), Some(parameters.map(read).collect()))
        }
    };
    let rights: Rights = list.items().into_iter().map(read).collect();
    assert_eq!(rights.len(), list.items().len(), "a command stands twice");
    rights
}

fn expected(catalog: &Catalog, level: AccessLevel) -> Rights {
    let parameters = |entry: &Entry| {
        let own: Vec<_> = entry.parameters().map(|own| (own.name.to_owned(), Constraint::of(own))).collect();
        // A table without parameters, or a name alone, would leave all of them open.
        Some(if own.is_empty() { vec![(String::from("ErrorAction"), Constraint::Switch)] } else { own })
    };
    let permitted = catalog.permitted(level, Policy::default());
    permitted.map(|entry| (qualified(entry), parameters(entry))).collect()
}

#[test]
fn a20_a04_roles_read_back_are_the_catalog_exactly() {
    for variant in Variant::ALL {
        let files = files(*variant);
        for level in LEVELS {
            let path = format!("RemoteSupport/RoleCapabilities/RemoteSupport{level}.psrc");
            let role = table(&text_of(&files, &path)).unwrap();
            let expected = expected(Catalog::of(*variant), level);
            assert_eq!(rights(role.get("VisibleCmdlets")), expected, "{variant} {level}");
            assert_eq!(rights(role.get("VisibleFunctions")), expected, "{variant} {level}");
            for nothing in ["VisibleExternalCommands", "VisibleProviders"] {
                assert_eq!(role.get(nothing), &Data::List(Vec::new()), "{nothing}");
            }
            let keys = role.keys();
            for opening in ["ScriptsToProcess", "FunctionDefinitions", "ModulesToImport", "VisibleAliases"] {
                assert!(!keys.contains(&opening), "{opening}");
            }
        }
    }
}

#[test]
fn a20_sessions_are_closed_and_know_one_role() {
    let files = files(Variant::AzureLocal);
    for level in LEVELS {
        let session = table(&text_of(&files, &format!("RemoteSupport{level}.pssc"))).unwrap();
        assert_eq!(session.get("SessionType").text(), "RestrictedRemoteServer");
        assert_eq!(session.get("LanguageMode").text(), "NoLanguage");
        assert_eq!(session.get("RunAsVirtualAccount").word(), "$true");
        assert!(session.get("TranscriptDirectory").text().starts_with("C:\\ProgramData\\"));
        let roles = session.get("RoleDefinitions");
        let group = format!("NODE1\\RemoteSupport{level}");
        assert_eq!(roles.keys(), [group.as_str()]);
        assert_eq!(roles.get(&group).get("RoleCapabilities").texts(), [format!("RemoteSupport{level}")]);
    }
    assert!(table(&text_of(&files, "RemoteSupport/RemoteSupport.psd1")).unwrap().has("ModuleVersion"));
}

/// The table `$Allowed` of an endpoint's script.
fn allowed(script: &str) -> Data {
    let tree = whole(script).unwrap_or_else(|why| panic!("{why}"));
    let assignment = all(tree.root_node()).into_iter().find(|node| {
        node.kind() == "assignment_expression" && script[node.byte_range()].starts_with("$Allowed")
    });
    let tables = all(assignment.unwrap()).into_iter().find(|node| node.kind() == "hash_literal_expression");
    data(tables.unwrap(), script)
}

#[test]
fn a20_the_endpoint_permits_the_catalog_exactly() {
    for level in LEVELS {
        let script = text_of(&files(Variant::AzureLocal), &format!("RemoteSupport{level}Endpoint.ps1"));
        let allowed = allowed(&script);
        let sources = Catalog::azure_local().permitted(level, Policy::default());
        let sources = sources.filter(|entry| entry.definition.is_some_and(|own| own.role == Role::Source));
        let mut count = 0;
        for entry in sources {
            count += 1;
            let rule = allowed.get(&entry.name);
            match entry.module {
                Some(module) => assert_eq!(rule.get("Module").text(), module),
                None => assert_eq!(rule.get("Module").word(), "$null"),
            }
            let parameters = entry.definition.unwrap().parameters;
            assert_eq!(rule.get("Parameters").keys().len(), parameters.len(), "{}", entry.name);
            for parameter in parameters {
                let own = rule.get("Parameters").get(parameter.name);
                let number = |key: &str| own.get(key).word().parse::<i64>().unwrap();
                assert_eq!(number("ItemsMax"), i64::try_from(parameter.items_max).unwrap());
                match (own.get("Kind").text(), parameter.kind, Constraint::of(parameter)) {
                    ("switch", Kind::Switch, _) => {}
                    ("integers", Kind::Integer(low, high), _) => {
                        assert_eq!((number("Low"), number("High")), (low, high));
                    }
                    ("texts", _, Constraint::Set(words)) => assert_eq!(own.get("Set").texts(), words),
                    ("texts", _, Constraint::Pattern(pattern)) => {
                        assert_eq!(own.get("Pattern").text(), pattern)
                    }
                    other => panic!("{} -{}: {other:?}", entry.name, parameter.name),
                }
            }
        }
        assert_eq!(allowed.keys().len(), count);
    }
}

/// Characters that end, escape or expand something somewhere in PowerShell.
fn hostile() -> impl Strategy<Value = String> {
    let signs = prop_oneof![
        Just('\''),
        Just('"'),
        Just('`'),
        Just('\n'),
        Just('\r'),
        Just('\u{2018}'),
        Just('\u{2019}'),
        Just('\u{201a}'),
        Just('\u{201b}'),
        Just('\u{201c}'),
        Just('\u{201d}'),
        Just('$'),
        Just('('),
        Just(')'),
        Just('{'),
        Just('}'),
        Just(';'),
        Just('#'),
        Just('@'),
        Just('\0'),
        Just('\u{2028}'),
        Just('\u{85}'),
        Just('\u{202e}'),
        any::<char>(),
        proptest::char::range('a', 'z'),
    ];
    proptest::collection::vec(signs, 0..24).prop_map(String::from_iter)
}

/// What is left of a text in a literal.
fn cleaned(text: &str) -> String {
    text.chars().filter(|c| !is_harmful(*c) && !matches!(c, '\n' | '\t')).collect()
}

/// Where PowerShell ends a literal, by its own rule: each of five characters is a quote, and two in a row are one
/// character. The grammar knows the plain quote only, so this reads beside it.
fn powershell_reads(literal: &str) -> Result<String, String> {
    let quote = |c: char| matches!(c, '\'' | '\u{2018}'..='\u{201b}');
    let mut chars = literal.chars().peekable();
    if !chars.next().is_some_and(quote) {
        return Err(String::from("no literal"));
    }
    let mut text = String::new();
    while let Some(c) = chars.next() {
        if quote(c) && chars.next_if(|next| quote(*next)).is_none() {
            let rest: String = chars.collect();
            return if rest.is_empty() { Ok(text) } else { Err(format!("ended before {rest:?}")) };
        }
        text.push(c);
    }
    Err(String::from("no end"))
}

fn session(group: &str) -> String {
    session_configuration(Catalog::azure_local(), AccessLevel::Diagnostics, Policy::default(), group, "Diag")
}

/// Typographic quotes stand twice for the grammar, as it does not know them.
fn as_grammar_reads(text: &str) -> String {
    let twice = |c: char| if matches!(c, '\u{2018}'..='\u{201b}') { vec![c, c] } else { vec![c] };
    cleaned(text).chars().flat_map(twice).collect()
}

proptest! {
    #[test]
    fn a20_no_text_breaks_out_of_its_literal(text in hostile()) {
        let written = literal(&text);
        prop_assert_eq!(powershell_reads(&written), Ok(cleaned(&text)));
        let file = table(&session(&text));
        prop_assert!(file.is_ok(), "{:?}", file);
        let file = file.unwrap();
        let (plain, group) = (table(&session("plain")).unwrap(), as_grammar_reads(&text));
        prop_assert_eq!(file.keys(), plain.keys());
        prop_assert_eq!(file.get("RoleDefinitions").keys(), [group.as_str()]);
    }
}

/// The control: the same texts between quotes without care break the file, for both readers.
#[test]
fn a20_control_without_escapes_texts_break_out() {
    let careless = |text: &str| session("PLACE").replace("'PLACE'", &format!("'{text}'"));
    assert!(table(&careless("plain")).is_ok());
    let escapes = ["O'Brien", "x' = @{ RoleCapabilities = 'y' }\n    'z", "'", "x'; Stop-Computer #"];
    for text in escapes {
        let caught = |read: Data| read.get("RoleDefinitions").keys() != [text];
        assert!(table(&careless(text)).map_or(true, caught), "{text}");
        assert!(powershell_reads(&format!("'{text}'")).is_err(), "{text}");
    }
    assert!(powershell_reads("'a\u{2019}; Stop-Computer #'").is_err());
}

/// The commands that every constrained session has are no wider here than PowerShell's own narrow forms of them, at each
/// limit. Select-Object and Measure-Object are this engine's own and take more: names of properties, never code.
#[test]
fn a06_always_there_commands_keep_their_limits() {
    let file: serde_json::Value = serde_json::from_str(include_str!("../data/operations.json")).unwrap();
    let proxies = file["jea_restricted_proxies"]["commands"].as_object().unwrap();
    assert_eq!(proxies.len(), 7);
    let catalog = Catalog::azure_local();
    for (name, limits) in proxies {
        let definition = catalog.resolve(name).unwrap().definition.unwrap();
        for parameter in definition.parameters {
            let limit = &limits[parameter.name];
            let most = |key: &str| limit[key].as_u64().and_then(|most| usize::try_from(most).ok());
            if let (Kind::Text(_, chars), Some(most)) = (parameter.kind, most("max_len")) {
                assert!(chars <= most, "{name} -{}", parameter.name);
            }
            if let Some(most) = most("max_items").filter(|_| !name.ends_with("-Object")) {
                assert!(parameter.items_max <= most, "{name} -{}", parameter.name);
            }
            let code = ["FilterScript", "Expression", "InputObject", "ArgumentList"];
            assert!(!code.contains(&parameter.name), "{name} -{}", parameter.name);
        }
        if limits.as_object().unwrap().keys().all(|key| key == "InputObject") && !name.starts_with("Measure")
        {
            assert!(definition.parameters.is_empty(), "{name}");
        }
    }
    let context = rs_session::operations::Context::new(AccessLevel::Diagnostics);
    let fits = |line: String| context.plan_line(&line).is_ok();
    for (command, chars) in [("Get-Help", 100), ("Get-Command", 128), ("Get-FormatData", 256)] {
        assert!(fits(format!("{command} {}", "x".repeat(chars))), "{command}");
        assert!(!fits(format!("{command} {}", "x".repeat(chars + 1))), "{command}");
    }
    for command in ["Get-Command", "Get-FormatData"] {
        assert!(fits(format!("{command} {}", vec!["x"; 32].join(","))), "{command}");
        assert!(!fits(format!("{command} {}", vec!["x"; 33].join(","))), "{command}");
    }
    for line in ["Get-Help a,b", "Get-Help 'a;b'", "Get-Help 'a b'", "Exit-PSSession x", "Clear-Host x"] {
        assert!(!fits(line.to_owned()), "{line}");
    }
}

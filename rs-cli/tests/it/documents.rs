//! Each command in each document is one that the program knows, and the guide runs as it stands.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use clap::CommandFactory as _;
use clap::error::ErrorKind;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the crate lies in the workspace").to_owned()
}

/// The documents for people, by their path.
fn documents() -> Vec<PathBuf> {
    let mut found: Vec<PathBuf> = std::fs::read_dir(root().join("docs"))
        .expect("the documents")
        .map(|entry| entry.expect("readable").path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "md"))
        .collect();
    found.push(root().join("README.md"));
    found.sort();
    found
}

/// The `sh` blocks of a document, lines that go on joined.
fn blocks(text: &str) -> Vec<String> {
    let blocks = text.split("\n```sh\n").skip(1).map(|rest| rest.split("\n```").next().unwrap_or_default());
    blocks.map(|block| block.replace("\\\n", " ")).collect()
}

/// The commands of the program that stand in a sentence.
fn inline(text: &str) -> impl Iterator<Item = &str> {
    let sentences = text.split("```").step_by(2);
    let spans = sentences.flat_map(|sentence| sentence.split('`').skip(1).step_by(2));
    spans.filter(|span| span.starts_with("remote-support "))
}

/// What stands in a document for something that only the reader knows, and a value of its kind.
const STANDS_FOR: [(&str, &str); 5] = [
    ("SESSION-ID", "1b9d6bcd-bbfd-4b2d-9b5d-ab8dfbbd4bed"),
    ("NUMBER", "2611280000000001"),
    ("HOST", "host.example"),
    ("\"$number\"", "2611280000000001"),
    ("\"$session\"", "1b9d6bcd-bbfd-4b2d-9b5d-ab8dfbbd4bed"),
];

/// A command that other systems do not have: the agent changes its account there.
const ONLY_LINUX: [&str; 2] = ["agent", "hand-over"];

/// The commands of the program in a shell line: from its name to the next operator of the shell.
fn commands(line: &str) -> Vec<Vec<OsString>> {
    let mut found = Vec::new();
    for rest in line.split("remote-support ").skip(1) {
        let mut words = vec![OsString::from("remote-support")];
        let mut word = String::new();
        let (mut quote, mut dollar) = (None, 0);
        for c in rest.chars() {
            match (quote, c) {
                (Some(open), c) if c == open => quote = None,
                (None, '"' | '\'') => quote = Some(c),
                (None, '(' | '{') => dollar += 1,
                (None, ')' | '}') if dollar > 0 => dollar -= 1,
                (None, '|' | ';' | '&' | '>' | '#' | ')' | '`') if dollar == 0 => break,
                (None, ' ') if dollar == 0 => {
                    if !word.is_empty() {
                        words.push(std::mem::take(&mut word).into());
                    }
                }
                (_, c) => word.push(c),
            }
        }
        if !word.is_empty() {
            words.push(word.into());
        }
        // What the shell fills in is not known here.
        words.retain(|word| !word.to_string_lossy().contains("$fingerprint") && *word != "$");
        found.push(words);
    }
    found
}

#[test]
fn every_command_in_every_document_is_one_that_the_program_knows() {
    let mut seen = 0;
    for path in documents() {
        let text = std::fs::read_to_string(&path).expect("a document");
        let blocks = blocks(&text);
        for line in blocks.iter().flat_map(|block| block.lines()).chain(inline(&text)) {
            let line =
                STANDS_FOR.iter().fold(line.to_owned(), |line, (name, value)| line.replace(name, value));
            for words in commands(&line) {
                if !cfg!(target_os = "linux") && words[1..].starts_with(&ONLY_LINUX.map(OsString::from)) {
                    continue;
                }
                let mut program = rs_cli::cli::Cli::command();
                let known = rs_cli::argv::rewrite(&program, words.clone())
                    .map_err(|error| error.to_string())
                    .and_then(|words| {
                        match program.try_get_matches_from_mut(words) {
                            // A family of commands, named in a sentence.
                            Err(error)
                                if error.kind() == ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand =>
                            {
                                Ok(())
                            }
                            matches => matches.map(drop).map_err(|error| error.to_string()),
                        }
                    });
                assert!(
                    known.is_ok(),
                    "{}: {line}\n{words:?}\n{}",
                    path.display(),
                    known.err().unwrap_or_default()
                );
                seen += 1;
            }
        }
    }
    assert!(seen > 60, "only {seen} commands were found");
}

#[test]
fn control_a_command_that_does_not_exist_is_found() {
    for line in
        ["remote-support enabel --access-level Diagnostics", "remote-support history --from 7d | head"]
    {
        let words = commands(line).remove(0);
        let mut program = rs_cli::cli::Cli::command();
        assert!(program.try_get_matches_from_mut(words).is_err(), "{line}");
    }
}

/// Every document with what could be typed in it, by its path from the root.
fn everything() -> Vec<PathBuf> {
    let mut found: Vec<PathBuf> =
        documents().into_iter().filter_map(|path| Some(path.strip_prefix(root()).ok()?.to_owned())).collect();
    for name in ["ARCHITECTURE.md", "CONTRIBUTING.md", "SECURITY.md"] {
        found.push(name.into());
    }
    for entry in std::fs::read_dir(root()).expect("the workspace") {
        let folder = entry.expect("readable").file_name();
        let name = Path::new(&folder).join("README.md");
        if root().join(&name).is_file() {
            found.push(name);
        }
    }
    found.sort();
    found
}

/// Blocks that are not run, by document and first line, and why not.
const NOT_RUN: &[(&str, &str, &str)] = &[
    ("ARCHITECTURE.md", "rs-consent   DECIDE", "a drawing"),
    ("ARCHITECTURE.md", "record = skeleton_length", "a form of bytes"),
    ("ARCHITECTURE.md", "node:  request", "a drawing"),
    ("CONTRIBUTING.md", "cargo test --workspace", "scripts, of which CI runs what is not long"),
    ("README.md", "cargo run --release -- demo", "CI runs both: scripts/test runs the demo"),
    ("README.md", "[node-01 Diagnostics", "what a person types at the prompt; tests/it/prompt.rs and e2e do"),
    ("README.md", "cargo run --example validate_consent", "examples/tests and scripts/test run each"),
    (
        "docs/administration.md",
        "remote-support notify add pager",
        "names of a site's own: a program and a mail server; tests/e2e tell to each kind",
    ),
    ("docs/administration.md", "remote-support agent service install", "a service of Windows"),
    ("docs/local-api.md", "ask  {\"request\":\"version\"}", "messages; the schema's tests hold them"),
    ("rs-relay/README.md", "Endpoint=sb://", "what a connection string looks like"),
    ("rs-relay/README.md", "[dependencies]", "for the reader's own Cargo.toml"),
];

/// The fenced blocks of a document: language and text.
fn fenced(text: &str) -> Vec<(String, String)> {
    let mut blocks = Vec::new();
    let mut lines = text.lines();
    while let Some(line) = lines.next() {
        if let Some(language) = line.trim_start().strip_prefix("```") {
            let body: Vec<&str> =
                lines.by_ref().take_while(|line| !line.trim_start().starts_with("```")).collect();
            blocks.push((language.to_owned(), body.join("\n")));
        }
    }
    blocks
}

/// Whether a block is run by a test, for its document and language.
fn is_run(document: &Path, language: &str) -> bool {
    match language {
        "sh" => ["README.md", "docs/guide.md", "docs/administration.md"].map(Path::new).contains(&document),
        // The documentation tests of a library whose first words are this page.
        "" | "rust" | "rust,no_run" => document.parent().is_some_and(|folder| {
            let library = std::fs::read_to_string(root().join(folder).join("src/lib.rs"));
            library.is_ok_and(|text| text.contains("include_str!(\"../README.md\")"))
        }),
        _ => false,
    }
}

#[test]
fn every_block_of_every_document_is_run_or_says_why_not() {
    let mut used = vec![false; NOT_RUN.len()];
    let mut run = 0;
    for document in everything() {
        let text = std::fs::read_to_string(root().join(&document)).expect("a document");
        for (language, body) in fenced(&text) {
            let first = body.lines().next().unwrap_or_default();
            let marked = NOT_RUN
                .iter()
                .position(|(own, begin, _)| Path::new(own) == document && first.starts_with(begin));
            match marked {
                Some(place) => used[place] = true,
                None if is_run(&document, &language) => run += 1,
                None => panic!(
                    "{}: nothing runs the block ```{language} that begins `{first}`: run it, or say in NOT_RUN why not",
                    document.display()
                ),
            }
        }
    }
    assert!(run > 30, "only {run} blocks are run");
    for (place, (document, begin, _)) in NOT_RUN.iter().enumerate() {
        assert!(used[place], "{document}: `{begin}` is gone");
    }
}

#[test]
fn control_a_block_that_nothing_runs_is_found() {
    let blocks = fenced("a\n```sh\nrm -rf /\n```\nb\n  ```\n  x\n  ```\n");
    assert_eq!(blocks, [("sh".to_owned(), "rm -rf /".to_owned()), (String::new(), "  x".to_owned())]);
    assert!(!is_run(Path::new("docs/comparison.md"), "sh") && !is_run(Path::new("README.md"), "python"));
    assert!(!is_run(Path::new("docs/guide.md"), "rust") && is_run(Path::new("rs-consent/README.md"), "rust"));
}

/// Runs a script in an empty directory with the program of this build on the path; gives what it printed. What it starts in
/// the background ends with it.
#[cfg(unix)]
fn bash(folder: &Path, script: &str) -> String {
    let program = crate::machine::program();
    let path = format!(
        "{}:{}",
        program.parent().expect("its directory").display(),
        std::env::var("PATH").unwrap_or_default()
    );
    let script = format!("set -euo pipefail\ntrap 'kill $(jobs -p) 2>/dev/null; wait' EXIT\n{script}\n");
    let mut command = std::process::Command::new("bash");
    for (name, _) in std::env::vars_os() {
        let text = name.to_string_lossy();
        if text.starts_with("REMOTE_SUPPORT_") || text.to_lowercase().ends_with("_proxy") {
            command.env_remove(&name);
        }
    }
    let run = command
        .args(["-c", &script])
        .env("PATH", path)
        .env("HOME", folder)
        // Several of these tests may run at once.
        .env("REMOTE_SUPPORT_LISTEN", "127.0.0.1:0")
        .current_dir(folder)
        .stdin(std::process::Stdio::null())
        .output()
        .expect("bash");
    let (out, err) = (String::from_utf8_lossy(&run.stdout), String::from_utf8_lossy(&run.stderr));
    assert!(run.status.success(), "{out}\n{err}");
    format!("{out}\n{err}")
}

#[cfg(unix)]
#[test]
fn the_guide_runs_from_top_to_bottom() {
    let folder = tempfile::tempdir().expect("a directory");
    let text = std::fs::read_to_string(root().join("docs/guide.md")).expect("the guide");
    let said = bash(folder.path(), &blocks(&text).join("\n"));
    for shown in ["Revoked", "Select-Object", "Changed"] {
        assert!(said.contains(shown), "{shown}: {said}");
    }
    let transcripts = std::fs::read_to_string(folder.path().join("transcripts.json")).expect("transcripts");
    assert!(transcripts.contains("Get-Process | Sort-Object CPU"), "{transcripts}");
    assert!(folder.path().join("evidence").is_dir());
}

/// The administrator's page, on the node of the guide while its consent is in force: what was backed up is whole, and the
/// consent does not come back with it.
#[cfg(unix)]
#[test]
fn the_administrators_page_runs_and_a_restored_node_lets_nobody_in() {
    let folder = tempfile::tempdir().expect("a directory");
    let guide = std::fs::read_to_string(root().join("docs/guide.md")).expect("the guide");
    let (before, _) = guide.split_once("\n## Operator: while somebody is there").expect("the chapter");
    let page = std::fs::read_to_string(root().join("docs/administration.md")).expect("the page");
    // What the page says of a whole directory that is put back: the node cannot know.
    let after = "
        remote-support agent doctor --output json >doctor.json || true
        mkdir -m 0700 whole
        tar -c -C state --exclude='*.sock' . | tar -x -C whole
        REMOTE_SUPPORT_STATE_DIR=$PWD/whole remote-support agent doctor --output json >whole.json || true";
    let marked = |block: &String| {
        NOT_RUN.iter().any(|(own, begin, _)| *own == "docs/administration.md" && block.starts_with(begin))
    };
    let page: Vec<String> = blocks(&page).into_iter().filter(|block| !marked(block)).collect();
    let script = format!("{}\n{}\n{after}\n", blocks(before).join("\n"), page.join("\n"));
    let said = bash(folder.path(), &script);
    assert!(said.contains("Get-Process | Sort-Object CPU"), "the transcript can be read again: {said}");
    let clock = |name: &str| {
        let text = std::fs::read_to_string(folder.path().join(name)).expect("written");
        let findings: Vec<serde_json::Value> = serde_json::from_str(&text).expect("JSON");
        findings.iter().find(|finding| finding["check"] == "clock").expect("a finding")["result"].clone()
    };
    assert_eq!(clock("doctor.json"), "fault", "the consent is held");
    assert_eq!(clock("whole.json"), "ok", "with its anchor nobody on the node can tell");
}

/// What README tells people to type in four terminals, where a script has to write it in another way, and why.
#[cfg(unix)]
const IN_A_SCRIPT: &[(&str, &str, &str)] = &[
    ("cargo build --release", ":", "the tests have built it"),
    (
        "export PATH=\"$PWD/target/release:$PATH\" REMOTE_SUPPORT_STATE_DIR=\"$HOME/remote-support-try\"",
        "export REMOTE_SUPPORT_STATE_DIR=\"$HOME/remote-support-try\"",
        "the path is set",
    ),
    (
        "remote-support relay serve",
        "remote-support relay serve &\nuntil remote-support relay connection-string --side listen --file x; do sleep 0.2; done",
        "it has a terminal of its own",
    ),
    (
        "remote-support agent run",
        "remote-support agent run &\nuntil remote-support agent status; do sleep 0.2; done",
        "it has a terminal of its own",
    ),
    (
        "remote-support enable --access-level Diagnostics",
        "remote-support enable --access-level Diagnostics --agree-to-remote-support-consent",
        "nobody is there to answer",
    ),
    (
        "remote-support Enable-RemoteSupport -AccessLevel Diagnostics -ExpireInMinutes 1440",
        "remote-support Enable-RemoteSupport -AccessLevel Diagnostics -ExpireInMinutes 1440 -AgreeToRemoteSupportConsent
         until remote-support access | grep 'Connected$'; do sleep 0.2; done",
        "nobody is there to answer",
    ),
    (
        "remote-support connect",
        "remote-support connect --command Get-Date --command 'Get-Process | Select-Object -First 3'",
        "as README says, for who has no terminal",
    ),
    ("remote-support session watch", ":", "it takes a terminal; tests/e2e/watch.rs has one"),
    (
        "remote-support session verify SESSION-ID",
        "session=$(remote-support history --output json | sed -n 's/.*\"sessionId\": \"\\(.*\\)\".*/\\1/p' | head -n 1)
         remote-support session verify \"$session\"",
        "the reader's own session",
    ),
    ("remote-support node-log prove --from -7d", "remote-support node-log prove --from -7d || [ $? = 6 ]", "the node is younger"),
    ("remote-support node-log witness FILE", "remote-support node-log witness witness.json", "the reader's own file"),
    ("remote-support session export SESSION-ID DIR", "remote-support session export \"$session\" evidence", "the reader's own names"),
];

#[cfg(unix)]
#[test]
fn what_readme_tells_to_type_in_four_terminals_works() {
    let folder = tempfile::tempdir().expect("a directory");
    let readme = std::fs::read_to_string(root().join("README.md")).expect("the readme");
    let (_, rest) = readme.split_once("\n## The real thing").expect("the chapter");
    let (chapter, _) = rest.split_once("\n## The crates").expect("the next chapter");
    let mut used = 0;
    let mut script = String::new();
    for line in blocks(chapter).iter().flat_map(|block| block.lines()) {
        let typed = line.split(" # ").next().unwrap_or_default().trim_end();
        let instead = IN_A_SCRIPT.iter().find(|(own, ..)| *own == typed);
        used += usize::from(instead.is_some());
        script += instead.map_or(typed, |(_, instead, _)| instead);
        script.push('\n');
    }
    assert_eq!(used, IN_A_SCRIPT.len(), "a line of README that was written in another way is gone");
    let said = bash(folder.path(), &script);
    assert!(said.contains("Get-Process | Select-Object -First 3"), "{said}");
    assert!(folder.path().join("evidence").is_dir() && folder.path().join("witness.json").is_file());
}

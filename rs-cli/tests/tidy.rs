//! The repository checks itself: what a reader is told is what is there.

use std::fs;
use std::path::{Path, PathBuf};

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the crate lies in the workspace").to_owned()
}

fn text(path: &str) -> String {
    fs::read_to_string(root().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// Files of a folder with this extension, by name without it.
fn names(folder: &str, extension: &str) -> Vec<String> {
    let entries = fs::read_dir(root().join(folder)).unwrap_or_else(|error| panic!("{folder}: {error}"));
    let named = |path: PathBuf| {
        let fits = path.extension().is_some_and(|found| found == extension);
        fits.then(|| path.file_stem().expect("named").to_string_lossy().into_owned())
    };
    let mut names: Vec<_> = entries.filter_map(|entry| named(entry.expect("readable").path())).collect();
    names.sort();
    names
}

#[test]
fn every_example_bench_and_fuzz_target_is_listed() {
    for (folder, manifest, except) in [
        ("examples", "examples/Cargo.toml", "lib"),
        ("benches", "benches/Cargo.toml", "lib"),
        ("fuzz/targets", "fuzz/Cargo.toml", ""),
    ] {
        let manifest = text(manifest);
        for name in names(folder, "rs").iter().filter(|name| *name != except) {
            assert!(manifest.contains(&format!("name = \"{name}\"")), "{folder}/{name}.rs is not listed");
        }
    }
}

#[test]
fn the_readme_tells_the_rust_version_of_the_manifest() {
    let manifest = text("Cargo.toml");
    let version = manifest.lines().find_map(|line| line.strip_prefix("rust-version = ")).expect("a version");
    let version = version.trim_matches('"');
    for page in ["README.md", "CONTRIBUTING.md"] {
        assert!(text(page).contains(&format!("Rust {version}")), "{page} tells another Rust version");
    }
}

#[test]
fn the_readme_shows_the_two_commands_and_every_example_that_it_names_exists() {
    let readme = text("README.md");
    assert!(readme.contains("cargo run --release -- demo") && readme.contains("scripts/test"));
    let examples = names("examples", "rs");
    for name in readme.split("--example ").skip(1).filter_map(|rest| rest.split_whitespace().next()) {
        assert!(examples.iter().any(|example| example == name), "there is no example {name}");
    }
}

#[test]
fn the_changelog_has_its_open_section_on_top() {
    let first = text("CHANGELOG.md").lines().find(|line| line.starts_with("## ")).map(str::to_owned);
    assert_eq!(first.as_deref(), Some("## Unreleased"));
}

#[test]
fn every_member_takes_the_lints_of_the_workspace_and_only_the_program_knows_all_crates() {
    let crates =
        ["rs-consent", "rs-session", "rs-relay", "rs-proxy", "rs-simulator", "rs-cli", "examples", "benches"];
    for member in crates {
        let manifest = text(&format!("{member}/Cargo.toml"));
        assert!(manifest.contains("[lints]\nworkspace = true"), "{member} does not take the lints");
        let library = manifest.split("[dev-dependencies]").next().unwrap_or_default();
        for other in ["rs-consent", "rs-session", "rs-relay", "rs-proxy"] {
            let allowed = matches!((member, other), ("rs-session", "rs-consent"))
                || ["rs-simulator", "rs-cli", "examples", "benches"].contains(&member)
                || member == other;
            assert!(
                allowed || !library.contains(&format!("\n{other}.workspace")),
                "{member} must not use {other}"
            );
        }
    }
}

#[test]
fn cores_import_neither_runtime_nor_sockets() {
    let cores = ["rs-consent/src", "rs-session/src/record", "rs-session/src/protocol", "rs-relay/src/proto"];
    for core in cores {
        for name in names(core, "rs") {
            if ["store", "platform"].contains(&name.as_str()) {
                continue;
            }
            let source = text(&format!("{core}/{name}.rs"));
            let code = source.split("#[cfg(test)]").next().unwrap_or_default();
            for import in ["use tokio", "use hyper", "std::net::Tcp", "std::time::Instant", "use rustls"] {
                assert!(!code.contains(import), "{core}/{name}.rs: {import}");
            }
        }
    }
}

#[test]
fn scripts_are_executable_and_ci_runs_the_same_as_everybody() {
    assert!(text(".ci/run").contains("scripts/test"));
    #[cfg(unix)]
    for script in ["scripts/test", "scripts/fuzz", ".ci/run"] {
        use std::os::unix::fs::PermissionsExt as _;
        let mode = fs::metadata(root().join(script)).expect("there").permissions().mode();
        assert!(mode & 0o111 != 0, "{script} is not executable");
    }
}

//! File, TCP and scope rules by Landlock: what was declared can be read or started, nothing can be written.

use std::path::{Path, PathBuf};

use landlock::{
    ABI, Access as _, AccessFs, AccessNet, BitFlags, CompatLevel, Compatible as _, LandlockStatus, NetPort,
    PathBeneath, PathFd, Ruleset, RulesetAttr as _, RulesetCreated, RulesetCreatedAttr as _, RulesetError,
    RulesetStatus, Scope,
};

use rustix::fs::{FileType, fstat};

use crate::operations::catalog::{Needs, Network};

/// What every operation may read: the time zone.
const EVERYBODY: &[&str] = &["/etc/localtime", "/usr/share/zoneinfo"];
/// What starts a program that is linked dynamically.
const LOADERS: &[&str] = &["/lib64/ld-linux-x86-64.so.2", "/lib/ld-linux-aarch64.so.1"];
/// Devices without content, and what they may be used for.
const NULL: &str = "/dev/null";
const RANDOM: &str = "/dev/urandom";

/// Oldest version that serves; without it nothing runs.
const REQUIRED: ABI = ABI::V1;
/// Newest version that this program knows how to use.
const KNOWN: ABI = ABI::V7;

pub(super) fn restrict(needs: &Needs) -> Result<String, String> {
    let status = rules(needs).and_then(RulesetCreated::restrict_self).map_err(|error| error.to_string())?;
    match (status.ruleset, status.landlock) {
        (RulesetStatus::NotEnforced, _) => Err(String::from("this kernel does not enforce Landlock")),
        (_, LandlockStatus::Available { effective_abi, .. }) => {
            Ok(format!("-landlock-{}", effective_abi as u8))
        }
        _ => Err(String::from("this kernel has no Landlock")),
    }
}

fn rules(needs: &Needs) -> Result<RulesetCreated, RulesetError> {
    let rules = Ruleset::default()
        .set_compatibility(CompatLevel::HardRequirement)
        .handle_access(AccessFs::from_all(REQUIRED))?
        .set_compatibility(CompatLevel::BestEffort)
        .handle_access(AccessFs::from_all(KNOWN))?
        .handle_access(AccessNet::from_all(KNOWN))?
        .scope(Scope::from_all(KNOWN))?
        .create()?;
    let read = AccessFs::ReadFile | AccessFs::ReadDir;
    let start = AccessFs::ReadFile | AccessFs::Execute;
    let mut rules = rules;
    for path in needs.reads.iter().chain(EVERYBODY) {
        rules = permit(rules, path, read)?;
    }
    if !needs.programs.is_empty() {
        for path in needs.programs.iter().chain(LOADERS) {
            rules = permit(rules, path, start)?;
        }
    }
    for pipe in needs.pipes.iter().flat_map(|pattern| matching(pattern)) {
        rules = permit_pipe(rules, &pipe)?;
    }
    rules = permit(rules, NULL, AccessFs::ReadFile | AccessFs::WriteFile)?;
    rules = permit(rules, RANDOM, AccessFs::ReadFile.into())?;
    if let Network::Connect(ports) = needs.network {
        for port in ports {
            rules = rules.add_rule(NetPort::new(*port, AccessNet::ConnectTcp))?;
        }
    }
    Ok(rules)
}

/// The paths that a pattern with at most one `*` for one part stands for.
fn matching(pattern: &str) -> Vec<PathBuf> {
    let Some((before, after)) = pattern.split_once("/*/") else { return vec![pattern.into()] };
    let entries = std::fs::read_dir(before).into_iter().flatten().flatten();
    entries.map(|entry| entry.path().join(after)).collect()
}

/// Permits to write to a pipe, and to nothing that is not one.
fn permit_pipe(rules: RulesetCreated, path: &Path) -> Result<RulesetCreated, RulesetError> {
    let Ok(opened) = PathFd::new(path) else { return Ok(rules) };
    let is_pipe = fstat(&opened).is_ok_and(|found| FileType::from_raw_mode(found.st_mode) == FileType::Fifo);
    if is_pipe { rules.add_rule(PathBeneath::new(opened, AccessFs::WriteFile)) } else { Ok(rules) }
}

/// Permits a path and what is below it; one that does not exist, or cannot be opened, stays forbidden.
fn permit(
    rules: RulesetCreated,
    path: &str,
    access: BitFlags<AccessFs>,
) -> Result<RulesetCreated, RulesetError> {
    let Ok(opened) = PathFd::new(path) else { return Ok(rules) };
    // Rights of directories do not fit a file.
    let fits = if Path::new(path).is_dir() { access } else { access & AccessFs::from_file(REQUIRED) };
    rules.add_rule(PathBeneath::new(opened, fits))
}

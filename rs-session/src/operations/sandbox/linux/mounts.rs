//! A view of the file system in which every directory that can hold a service's socket is empty but for what was declared.
//!
//! Landlock has no rule for connecting to a socket that has a path; where there is none there is nothing to connect to.

use std::fs;
use std::os::fd::OwnedFd;
use std::path::Path;

use rustix::fs::CWD;
use rustix::io::Errno;
use rustix::mount::{
    MountFlags, MountPropagationFlags, MoveMountFlags, OpenTreeFlags, mount, mount_change, move_mount,
    open_tree,
};

use crate::operations::catalog::Needs;

/// What lies at the top and stays in view: programs, their settings, the kernel's own. Sockets can be anywhere else.
const SHOWN: &[&str] =
    &["bin", "boot", "dev", "etc", "lib", "lib32", "lib64", "libx32", "proc", "sbin", "sys", "usr"];
/// What is hidden below one that stays in view: anybody can make sockets there.
const HIDDEN_BELOW: &[&str] = &["/dev/shm", "/dev/mqueue"];

pub(super) fn hide(needs: &Needs) -> Result<String, String> {
    let everything = MountPropagationFlags::REC | MountPropagationFlags::PRIVATE;
    mount_change("/", everything).map_err(|error| at("/", error))?;
    let shown: Vec<&str> = needs.reads.iter().chain(needs.sockets).copied().collect();
    for directory in hidden()?.iter().filter(|path| is_real_directory(path)) {
        // One that was declared as a whole is as it is.
        if !shown.contains(&directory.as_str()) {
            let below: Vec<&str> = shown.iter().copied().filter(|path| is_below(path, directory)).collect();
            replace(directory, &below)?;
        }
    }
    Ok(String::new())
}

/// Everything at the top that is not to be shown, and what is hidden elsewhere.
fn hidden() -> Result<Vec<String>, String> {
    let mut hidden: Vec<String> = HIDDEN_BELOW.iter().map(|path| (*path).to_owned()).collect();
    for entry in fs::read_dir("/").map_err(|error| at("/", error))? {
        let name = entry.map_err(|error| at("/", error))?.file_name();
        // A name that is no text cannot be given to the kernel here, so nothing runs beside it.
        let name = name.to_str().ok_or_else(|| String::from("a name in / is not UTF-8"))?;
        if !SHOWN.contains(&name) {
            hidden.push(format!("/{name}"));
        }
    }
    Ok(hidden)
}

fn at(path: &str, error: impl std::fmt::Display) -> String {
    format!("{path}: {error}")
}

/// Links such as /var/run lead to a directory that is hidden itself.
fn is_real_directory(path: &str) -> bool {
    fs::symlink_metadata(path).is_ok_and(|found| found.is_dir())
}

fn is_below(path: &str, directory: &str) -> bool {
    Path::new(path).starts_with(directory) && path != directory
}

/// Puts an empty directory over `directory`, with those of the paths below it that exist. One that went away since it was
/// listed holds nothing to hide.
fn replace(directory: &str, shown: &[&str]) -> Result<(), String> {
    let mut kept: Vec<(&str, bool, OwnedFd)> = Vec::new();
    for path in shown.iter().filter(|path| Path::new(path).exists()) {
        let copy =
            OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::AT_RECURSIVE | OpenTreeFlags::OPEN_TREE_CLOEXEC;
        let tree = open_tree(CWD, *path, copy).map_err(|error| at(path, error))?;
        kept.push((path, Path::new(path).is_dir(), tree));
    }
    let flags = MountFlags::NOSUID | MountFlags::NODEV | MountFlags::NOEXEC;
    match mount("none", directory, "tmpfs", flags, c"mode=0755,size=64k") {
        Err(Errno::NOENT) => return Ok(()),
        mounted => mounted.map_err(|error| at(directory, error))?,
    }
    for (path, is_directory, tree) in kept {
        make_place(Path::new(path), is_directory).map_err(|error| at(path, error))?;
        move_mount(tree, "", CWD, path, MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH)
            .map_err(|error| at(path, error))?;
    }
    Ok(())
}

/// A directory for a directory, an empty file for anything else.
fn make_place(path: &Path, is_directory: bool) -> std::io::Result<()> {
    if is_directory {
        return fs::create_dir_all(path);
    }
    if let Some(parent) = path.parent() {
        fs::create_dir_all(parent)?;
    }
    if path.exists() { Ok(()) } else { fs::write(path, b"") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_directory_that_went_away_keeps_nothing_from_running() {
        let directory = tempfile::tempdir().expect("a directory");
        let gone = directory.path().join("gone");
        assert_eq!(replace(gone.to_str().expect("text"), &[]), Ok(()));
        // Any other reason does: what cannot be hidden is in view.
        let file = directory.path().join("file");
        fs::write(&file, "").expect("own directory");
        replace(file.to_str().expect("text"), &[]).expect_err("no directory");
    }
}

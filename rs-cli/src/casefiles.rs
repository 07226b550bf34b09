//! The files of a support request: what node and desk have signed, kept by number in their folders.
//!
//! `NUMBER.request.json` (node), `NUMBER.opening.json`, `NUMBER.assignment.json`, `NUMBER.closing.json` (desk). On one
//! machine with one state directory the other side finds them there; otherwise people carry copies.

use std::path::PathBuf;

use rs_consent::{Envelope, RequestNumber};

use crate::files;
use crate::outcome::Failure;
use crate::state::{Role, StateDir};

/// The folder within a role's folder.
pub const FOLDER: &str = "requests";

/// What a file says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Paper {
    /// The node asks for support.
    Request,
    /// The desk took the request.
    Opening,
    /// The desk assigned an engineer; the newest replaces the ones before.
    Assignment,
    /// The desk closed the request.
    Closing,
}

impl Paper {
    fn role(self) -> Role {
        match self {
            Self::Request => Role::Node,
            Self::Opening | Self::Assignment | Self::Closing => Role::Desk,
        }
    }

    fn suffix(self) -> &'static str {
        match self {
            Self::Request => ".request.json",
            Self::Opening => ".opening.json",
            Self::Assignment => ".assignment.json",
            Self::Closing => ".closing.json",
        }
    }
}

/// Where the signer keeps the file, whether it is there or not.
#[must_use]
pub fn path(state: &StateDir, paper: Paper, number: RequestNumber) -> PathBuf {
    path_at(state, paper.role(), paper, number)
}

/// Where `role` keeps the file: the desk keeps copies of the requests that it took.
#[must_use]
pub fn path_at(state: &StateDir, role: Role, paper: Paper, number: RequestNumber) -> PathBuf {
    state.role(role).file(FOLDER).join(format!("{number}{}", paper.suffix()))
}

/// Stores a file in the folder of `role` and returns where.
///
/// # Errors
///
/// As [`files::keep_statement`] and [`RoleDir::ensure`](crate::state::RoleDir::ensure).
pub fn store(
    state: &StateDir,
    role: Role,
    paper: Paper,
    number: RequestNumber,
    statement: &Envelope,
) -> Result<PathBuf, Failure> {
    state.role(role).ensure_inner(FOLDER)?;
    let path = path_at(state, role, paper, number);
    files::keep_statement(&path, statement)?;
    Ok(path)
}

/// The files of one kind in the folder of `role`, in no order; what is not named as a request's file is passed over.
#[must_use]
pub fn list(state: &StateDir, role: Role, paper: Paper) -> Vec<(RequestNumber, PathBuf)> {
    let Ok(entries) = std::fs::read_dir(state.role(role).file(FOLDER)) else { return Vec::new() };
    let named = |path: &PathBuf| path.file_name()?.to_str()?.strip_suffix(paper.suffix())?.parse().ok();
    entries.flatten().map(|entry| entry.path()).filter_map(|path| Some((named(&path)?, path))).collect()
}

//! Unix: a tree is known by its root and its mark, and is hunted when it has to end.

use std::io;
use std::process::Command;
use std::sync::Arc;

use super::{Bounds, Console, kill};
use crate::operations::wire::Killed;

/// A process that was started, with everything below it.
#[derive(Clone, Debug)]
pub(in crate::operations) struct Tree {
    root: u32,
    mark: Arc<str>,
}

/// Nothing has to wait: root and mark are known from the start.
pub(in crate::operations) fn hold_back(_command: &mut Command, _console: Console) {}

impl Tree {
    /// Takes hold of the process `root`, whose environment has the mark.
    pub(in crate::operations) fn take(root: u32, mark: &str, _bounds: &Bounds) -> io::Result<Self> {
        Ok(Self { root, mark: mark.into() })
    }

    /// Ends everything, the root last, which must not have been waited for.
    pub(in crate::operations) fn kill(&self) -> Killed {
        kill(self.root, &self.mark, true)
    }

    /// Ends what is left when the root is gone.
    pub(in crate::operations) fn kill_rest(&self) -> Killed {
        kill(u32::MAX, &self.mark, false)
    }

    /// Ends what a root leaves that has ended by itself; true if nothing is left. The supervisor has seen to it.
    pub(in crate::operations) fn tidy(&self) -> bool {
        true
    }
}

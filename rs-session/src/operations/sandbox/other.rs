//! Systems without measures of their own yet: nothing is claimed.

use super::{Confinement, Measure, SandboxError};

pub(super) const MEASURES: &[Measure] = &[];

pub(super) fn prepare_supervisor(_: &Confinement) -> Result<(), SandboxError> {
    Ok(())
}

pub(super) const fn is_root() -> bool {
    false
}

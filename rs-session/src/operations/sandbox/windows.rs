//! The measures of Windows: what the job object does is set up by whoever starts the worker
//! ([`process_tree`](crate::operations::process_tree)); the worker makes sure that it is in one before it answers.

use super::{Confinement, Measure, clean_environment};
use crate::operations::process_tree;

pub(super) const MEASURES: &[Measure] =
    &[always("clean-environment", clean_environment), always("job-object", in_job_object)];

const fn always(name: &'static str, set_up: fn(&Confinement) -> Result<String, String>) -> Measure {
    Measure { name, needs_root: false, applies: |_| true, set_up }
}

/// No measure here asks for more than the agent's own account.
pub(super) const fn is_root() -> bool {
    false
}

fn in_job_object(_: &Confinement) -> Result<String, String> {
    match process_tree::is_held() {
        Ok(true) => Ok(String::new()),
        Ok(false) => Err(String::from("the worker is in no job object")),
        Err(error) => Err(error.to_string()),
    }
}

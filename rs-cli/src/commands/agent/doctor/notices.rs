//! Whether those who are to be told what happens are told.

use super::Finding;
use super::check::Check;
use crate::context::Context;
use crate::forwarding::Collectors;
use crate::state::Role;

const CHECK: Check = Check::Notify;

/// One finding for each that is not told at present; one for all where all are; none where nobody is to be told.
pub(super) fn notices(context: &Context) -> Vec<Finding> {
    let collectors = Collectors::of(context.state.role(Role::Node));
    let names = match collectors.names() {
        Ok(names) => names,
        Err(failure) => return vec![Finding::of(CHECK, &failure, "see that the state directory is well")],
    };
    let trouble = |name| collectors.trouble(name).map(|trouble| (name, trouble));
    let troubled: Vec<_> = names.iter().filter_map(trouble).collect();
    match (names.len(), troubled.is_empty()) {
        (0, _) => Vec::new(),
        (all, true) => vec![Finding::well(CHECK, format!("{all} are told what happens here"))],
        _ => troubled
            .into_iter()
            .map(|(name, trouble)| {
                let remedy = format!(
                    "nothing is lost; see that it takes events, try it with `remote-support notify test {name}`, or remove it \
                     with `remote-support notify remove {name}`"
                );
                Finding::advice(CHECK, format!("{name} is not told at present: {trouble}"), remedy)
            })
            .collect(),
    }
}

//! The nodes of this node's cluster, where somebody here knows them.

use super::target::Host;
use crate::outcome::{ErrorCode, Failure};

/// Asks for the nodes of this cluster.
///
/// # Errors
///
/// [`ErrorCode::NotAvailable`] where nothing on this machine knows them: the option is refused then, never dropped.
pub(super) fn nodes() -> Result<Vec<Host>, Failure> {
    Err(Failure::new(ErrorCode::NotAvailable, "nothing on this machine says which nodes the cluster has")
        .about("--cluster")
        .next_step("name them: --nodes-from FILE with one node a line, or --node for each"))
}

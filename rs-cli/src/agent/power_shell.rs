//! PowerShell on nodes that have it.

use rs_session::operations::Machine;
use rs_session::operations::executor::PowerShell;
use rs_session::operations::powershell::EndpointProgram;

use crate::outcome::{ErrorCode, Failure};
use crate::state::RoleDir;

/// Folder of the endpoint's scripts below the node's state. Only the agent's account may write there.
const FOLDER: &str = "powershell";

/// Who answers operations on this machine.
#[must_use]
pub fn machine() -> Machine {
    Machine { power_shell: EndpointProgram::windows_power_shell().is_some(), ..Machine::current() }
}

/// This machine's PowerShell; `None` on a machine without.
///
/// # Errors
///
/// [`ErrorCode::Io`] where the folder of its scripts cannot be made; [`ErrorCode::Internal`] where it has no absolute path.
pub fn find(folder: &RoleDir) -> Result<Option<PowerShell>, Failure> {
    let Some(program) = EndpointProgram::windows_power_shell() else { return Ok(None) };
    let program = program.with_scripts_in(folder.ensure_inner(FOLDER)?).map_err(|error| {
        Failure::new(
            ErrorCode::Internal,
            "PowerShell cannot be used: the state directory has no absolute path",
        )
        .because(error)
    })?;
    Ok(Some(PowerShell::new(program)))
}

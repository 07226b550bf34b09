//! Everything that a constrained endpoint of Windows needs for both levels, as files.

use rs_consent::AccessLevel;
use sha2::{Digest as _, Sha256};

use super::{RoleCapability, guid, literal, session_configuration};
use crate::operations::catalog::{Catalog, Policy};
use crate::operations::powershell::endpoint_script;

/// Name of the module that holds the roles.
const MODULE: &str = "RemoteSupport";

/// Groups of Windows whose members get a level's role, as `COMPUTER\Group` or `DOMAIN\Group`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Groups {
    /// Of Diagnostics.
    pub diagnostics: String,
    /// Of DiagnosticsRepair.
    pub repair: String,
}

impl Groups {
    /// Local groups of a computer with the names of the roles.
    #[must_use]
    pub fn local(computer: &str) -> Self {
        let name = |level| format!("{computer}\\{}", role_name(level));
        Self { diagnostics: name(AccessLevel::Diagnostics), repair: name(AccessLevel::DiagnosticsRepair) }
    }
}

/// One file to write.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct JeaFile {
    /// Where it belongs, with `/` between the parts.
    pub path: String,
    /// What it holds.
    pub text: String,
}

fn role_name(level: AccessLevel) -> String {
    format!("{MODULE}{level}")
}

/// The files of both levels: a module with a role capability each, a session configuration each, and the script of the
/// endpoint that the program itself starts. Put the folder `RemoteSupport` among the modules of the machine, then register
/// each session configuration.
///
/// ```
/// use rs_session::operations::{jea::{Groups, jea_files}, Catalog, Policy};
/// let files = jea_files(Catalog::azure_local(), Policy::default(), &Groups::local("NODE1"));
/// assert_eq!(files[0].path, "RemoteSupport/RemoteSupport.psd1");
/// assert_eq!(files.len(), 7);
/// ```
#[must_use]
pub fn jea_files(catalog: &Catalog, policy: Policy, groups: &Groups) -> Vec<JeaFile> {
    let file = |path: String, text: String| JeaFile { path, text };
    let mut files = vec![file(format!("{MODULE}/{MODULE}.psd1"), manifest(catalog, policy))];
    for (level, group) in
        [(AccessLevel::Diagnostics, &groups.diagnostics), (AccessLevel::DiagnosticsRepair, &groups.repair)]
    {
        let name = role_name(level);
        let role = RoleCapability::new(catalog, level, policy);
        files.push(file(format!("{MODULE}/RoleCapabilities/{name}.psrc"), role.text));
        let session = session_configuration(catalog, level, policy, group, &name);
        files.push(file(format!("{name}.pssc"), session));
        files.push(file(format!("{name}Endpoint.ps1"), endpoint_script(catalog, level, policy)));
    }
    files
}

/// The module's manifest; without one its roles are not found.
fn manifest(catalog: &Catalog, policy: Policy) -> String {
    let rights = catalog.rights_sha256(AccessLevel::DiagnosticsRepair, policy);
    let hash = hex::encode(Sha256::digest(format!("module {rights}")));
    format!(
        "# Remote support, lists of {}\n@{{\n    ModuleVersion = '{}'\n    GUID = '{}'\n    Description = {}\n    \
         PowerShellVersion = '5.1'\n    FunctionsToExport = @()\n    CmdletsToExport = @()\n    AliasesToExport = @()\n}}\n",
        catalog.variant(),
        env!("CARGO_PKG_VERSION"),
        guid(&hash),
        literal("Roles of remote support"),
    )
}

//! What a level permits, in short, for somebody who is about to agree to it (U11).

use rs_consent::{AccessLevel, Sha256};

/// A few lines that say what an engineer may do at `level`; shown before the question is put.
pub fn level(level: AccessLevel) -> String {
    let (may, may_not) = match level {
        AccessLevel::Diagnostics => (
            "look at this node and collect logs",
            "It does not permit to start, stop, change or remove anything.",
        ),
        AccessLevel::DiagnosticsRepair => (
            "look at this node, collect logs, and run the listed repair operations",
            "Repair operations can restart services and change settings.",
        ),
    };
    format!(
        "Access level '{level}' permits an engineer to {may}. {may_not}\n\
         The list: remote-support operations --access-level {level}"
    )
}

/// The catalog of operations that stands behind [`level`], for the grant to name.
pub fn catalog() -> Option<Sha256> {
    None
}

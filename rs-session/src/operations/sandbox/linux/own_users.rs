//! A namespace of users for an agent that is not root: in it the worker may arrange a view of the file system of its own, and
//! afterwards nothing. It stays the user that it is, so it is nobody else to whomever it talks to.

use rustix::process::{getegid, geteuid};
use rustix::thread::{CapabilitySet, CapabilitySets, UnshareFlags, set_capabilities};

/// Enters it, with every capability towards what belongs to it.
pub(super) fn enter() -> Result<(), String> {
    let (user, group) = (geteuid().as_raw(), getegid().as_raw());
    super::unshare(UnshareFlags::NEWUSER).map_err(|why| {
        format!("{why}; this system lets nobody but root have a namespace of users, so run the agent as root")
    })?;
    // Groups can only be mapped by somebody who cannot change them any more.
    for (file, text) in [
        ("setgroups", String::from("deny")),
        ("uid_map", format!("{user} {user} 1")),
        ("gid_map", format!("{group} {group} 1")),
    ] {
        let path = format!("/proc/self/{file}");
        std::fs::write(&path, text).map_err(|error| format!("{path}: {error}"))?;
    }
    Ok(())
}

/// Gives the capabilities back. None comes again: this user is not root in the namespace either, and no program that is
/// started gives rights any more.
pub(super) fn drop_rights() -> Result<(), String> {
    let none = CapabilitySet::empty();
    let sets = CapabilitySets { effective: none, permitted: none, inheritable: none };
    set_capabilities(None, sets).map_err(super::text)
}

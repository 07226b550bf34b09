//! A user who owns nothing, and no capability beyond what was declared.

use rustix::process::{Gid, Uid};
use rustix::thread::{
    CapabilitySet, CapabilitySets, capability_is_in_bounding_set, clear_ambient_capability_set,
    remove_capability_from_bounding_set, set_capabilities, set_keep_capabilities, set_thread_groups,
    set_thread_res_gid, set_thread_res_uid,
};

use crate::operations::catalog::Needs;

/// Numbers from which an operation's user is taken: the range that systemd sets aside for users who come and go.
const USERS: std::ops::RangeInclusive<u32> = 61_184..=65_519;
/// Where accounts are listed.
const ACCOUNTS: &str = "/etc/passwd";
/// Where systemd notes which of these numbers are taken now.
const TAKEN: &str = "/run/systemd/dynamic-uid";
/// Most capabilities that a kernel can have.
const CAPABILITIES_MAX: u32 = 64;

pub(super) fn drop_rights(needs: &Needs) -> Result<String, String> {
    let kept = if needs.reads_as_root { CapabilitySet::DAC_READ_SEARCH } else { CapabilitySet::empty() };
    empty_bounding_set()?;
    clear_ambient_capability_set().map_err(text)?;
    let named = if needs.root {
        set_thread_groups(&[]).map_err(text)?;
        String::from("-root")
    } else {
        let number = free_user()?;
        set_keep_capabilities(!kept.is_empty()).map_err(text)?;
        become_user(number)?;
        format!("-{number}")
    };
    let sets = CapabilitySets { effective: kept, permitted: kept, inheritable: CapabilitySet::empty() };
    set_capabilities(None, sets).map_err(text)?;
    set_keep_capabilities(false).map_err(text)?;
    Ok(if kept.is_empty() { named } else { format!("{named}-reads-as-root") })
}

fn text(error: rustix::io::Errno) -> String {
    error.to_string()
}

/// So that no program that is started can get one back.
fn empty_bounding_set() -> Result<(), String> {
    for number in 0..CAPABILITIES_MAX {
        let capability = CapabilitySet::from_bits_retain(1 << number);
        // The first number that the kernel does not know is the end.
        if !capability_is_in_bounding_set(capability).unwrap_or(false) {
            continue;
        }
        remove_capability_from_bounding_set(capability).map_err(text)?;
    }
    Ok(())
}

fn become_user(number: u32) -> Result<(), String> {
    let (user, group) = (Uid::from_raw(number), Gid::from_raw(number));
    set_thread_groups(&[]).map_err(text)?;
    set_thread_res_gid(group, group, group).map_err(text)?;
    set_thread_res_uid(user, user, user).map_err(text)
}

fn free_user() -> Result<u32, String> {
    let accounts = std::fs::read_to_string(ACCOUNTS).map_err(|error| format!("{ACCOUNTS}: {error}"))?;
    let taken = |number: u32| std::path::Path::new(TAKEN).join(number.to_string()).exists();
    first_free(&accounts, taken).ok_or_else(|| String::from("no number is free"))
}

/// The last number that is neither a user's nor a group's in the list of accounts, nor taken.
fn first_free(accounts: &str, taken: impl Fn(u32) -> bool) -> Option<u32> {
    let listed = |number: u32| {
        let number = number.to_string();
        accounts.lines().any(|line| line.split(':').skip(2).take(2).any(|own| own == number))
    };
    USERS.rev().find(|number| !listed(*number) && !taken(*number))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a13_the_user_is_nobody_else() {
        let accounts = "root:x:0:0::/root:/bin/sh\nzoe:x:65519:100::/:/bin/sh\nyan:x:7:65518::/:/bin/sh\n";
        assert_eq!(first_free(accounts, |_| false), Some(65_517));
        assert_eq!(first_free(accounts, |number| number > 65_000), Some(65_000));
        assert_eq!(first_free("", |_| true), None);
    }
}

//! Who may do what with a file, read from the text form of its security descriptor (SDDL).
//!
//! The form: `O:owner G:group D:flags(type;flags;rights;object;inherited object;account)…`. Windows writes it; the rules
//! here only read it, so they are plain code.

/// Accounts that may reach everything anyway: LocalSystem and administrators.
const SYSTEM: &str = "SY";
const ADMINISTRATORS: &str = "BA";
/// Owner of what belongs to Windows itself, such as `C:\Program Files`: only the system can act as it.
const TRUSTED_INSTALLER: &str = "S-1-5-80-956008885-3418522649-1831038044-1853292631-2271478464";
/// Stand for the owner, and for whoever makes a file in a directory; they name nobody else.
const OWNER_RIGHTS: &str = "OW";
const CREATOR_OWNER: &str = "CO";

/// Rights that only look: read, execute, synchronize, in the names that Windows writes for them.
const READ_RIGHTS: &[&str] = &["FR", "FX", "GR", "GX", "RC", "CC", "SW", "LO", "WP"];
/// The bits of the same in numbers: read data, read extended attributes, execute, read attributes, READ_CONTROL,
/// SYNCHRONIZE, GENERIC_EXECUTE, GENERIC_READ.
const READ_BITS: u32 = 0x1 | 0x8 | 0x20 | 0x80 | 0x2_0000 | 0x10_0000 | 0x2000_0000 | 0x8000_0000;

/// A fault of a file's access list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Exposed {
    /// It belongs to somebody else.
    Owner(String),
    /// Somebody else has a right.
    Account(String),
    /// There is no list, so everybody may do everything, or it is not in the form that is known.
    Open,
}

/// What others may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Others {
    Nothing,
    Read,
}

/// The descriptor of what only `owner`, the system and administrators can reach; what is made in it takes that over.
pub(super) fn private(owner: &str) -> String {
    format!("D:P(A;OICI;FA;;;{SYSTEM})(A;OICI;FA;;;{ADMINISTRATORS})(A;OICI;FA;;;{owner})")
}

/// The same where the owner is one of the administrators, or the system.
pub(super) fn private_to_administrators() -> String {
    format!("O:{ADMINISTRATORS}D:P(A;OICI;FA;;;{SYSTEM})(A;OICI;FA;;;{ADMINISTRATORS})")
}

/// The same for a pipe, closed to the network as well.
pub(super) fn private_pipe(owner: &str) -> String {
    format!("D:P(D;;GA;;;NU)(A;;GA;;;{SYSTEM})(A;;GA;;;{ADMINISTRATORS})(A;;GA;;;{owner})")
}

/// Checks that nobody but `own` (as Windows writes that account here), the system and administrators have more rights
/// than `others` permits.
pub(super) fn check(descriptor: &str, own: &str, others: Others) -> Result<(), Exposed> {
    let is_own = |account: &str| {
        [own, SYSTEM, ADMINISTRATORS].contains(&account)
            || (others == Others::Read && account == TRUSTED_INSTALLER)
    };
    let owner = part(descriptor, "O:").ok_or(Exposed::Open)?;
    if !is_own(owner) {
        return Err(Exposed::Owner(owner.to_owned()));
    }
    let list = part(descriptor, "D:").ok_or(Exposed::Open)?;
    if list.contains("NO_ACCESS_CONTROL") {
        return Err(Exposed::Open);
    }
    for entry in list.split('(').skip(1) {
        let fields: Vec<&str> = entry.trim_end_matches(')').split(';').collect();
        let [kind, _flags, rights, _object, _inherited, account, ..] = fields[..] else {
            return Err(Exposed::Open);
        };
        // Only what denies is harmless whatever else it says.
        let denies = ["D", "OD", "XD"].contains(&kind);
        let harmless = denies
            || is_own(account)
            || [OWNER_RIGHTS, CREATOR_OWNER].contains(&account)
            || (others == Others::Read && only_reads(rights));
        if !harmless {
            return Err(Exposed::Account(account.to_owned()));
        }
    }
    Ok(())
}

/// The part behind a tag, up to the next one. Tags stand outside of all brackets.
fn part<'a>(descriptor: &'a str, tag: &str) -> Option<&'a str> {
    let outside = |at: usize| {
        let before = &descriptor[..at];
        before.matches('(').count() == before.matches(')').count()
    };
    let starts = |tag: &str| descriptor.match_indices(tag).map(|(at, _)| at).find(|at| outside(*at));
    let from = starts(tag)?.checked_add(tag.len())?;
    let to = ["O:", "G:", "D:", "S:"].iter().filter_map(|tag| starts(tag)).filter(|at| *at >= from).min();
    descriptor.get(from..to.unwrap_or(descriptor.len()))
}

fn only_reads(rights: &str) -> bool {
    if let Some(number) = rights.strip_prefix("0x") {
        return u32::from_str_radix(number, 16).is_ok_and(|bits| bits & !READ_BITS == 0);
    }
    let pairs: Vec<&str> = (0..rights.len()).step_by(2).filter_map(|at| rights.get(at..at + 2)).collect();
    !pairs.is_empty()
        && pairs.len() * 2 == rights.len()
        && pairs.iter().all(|pair| READ_RIGHTS.contains(pair))
}

#[cfg(test)]
mod tests {
    use super::*;

    const OWN: &str = "S-1-5-21-1-2-3-1001";

    fn faults(descriptor: &str) -> [Option<Exposed>; 2] {
        [Others::Nothing, Others::Read].map(|others| check(descriptor, OWN, others).err())
    }

    #[test]
    fn sec36_what_is_made_here_is_private() {
        assert_eq!(faults(&format!("O:{OWN}{}", private(OWN))), [None, None]);
        assert_eq!(
            faults(&format!("O:BAG:SYD:PAI(A;OICI;FA;;;SY)(A;OICIID;FA;;;BA)(A;;FA;;;{OWN})(A;;FA;;;OW)")),
            [None, None]
        );
        for own in [OWN, "SY"] {
            let list = private_to_administrators();
            assert_eq!(check(&list, own, Others::Nothing), Ok(()), "the service and administrators share it");
        }
        // The list of C:\Program Files.
        let programs = format!(
            "O:{TRUSTED_INSTALLER}G:{TRUSTED_INSTALLER}D:PAI(A;;FA;;;{TRUSTED_INSTALLER})(A;CIIO;GA;;;{TRUSTED_INSTALLER})\
             (A;;0x1301bf;;;SY)(A;OICIIO;GA;;;SY)(A;;0x1301bf;;;BA)(A;OICIIO;GA;;;BA)(A;;0x1200a9;;;BU)\
             (A;OICIIO;GXGR;;;BU)(A;OICIIO;GA;;;CO)(A;;0x1200a9;;;AC)(A;OICIIO;GXGR;;;AC)"
        );
        assert_eq!(faults(&programs), [Some(Exposed::Owner(TRUSTED_INSTALLER.to_owned())), None]);
        assert_eq!(faults("O:SYD:P"), [None, None], "nobody has any right");
        assert_eq!(faults(&format!("O:SY{}", private_pipe(OWN))), [None, None]);
    }

    #[test]
    fn sec36_others_are_found_by_what_they_may_do() {
        let with = |entry: &str| faults(&format!("O:{OWN}G:S-1-5-21-1-2-3-513D:AI(A;OICI;FA;;;SY){entry}"));
        let account = |name: &str| Some(Exposed::Account(name.to_owned()));
        for reads in ["(A;OICIID;0x1200a9;;;BU)", "(A;;FR;;;BU)", "(A;;FRFX;;;BU)", "(A;;CCSWWPLORC;;;BU)"] {
            assert_eq!(with(reads), [account("BU"), None], "{reads}");
        }
        for writes in [
            "(A;;FA;;;WD)",
            "(A;CI;0x100116;;;WD)",
            "(A;;FRFW;;;WD)",
            "(A;;WD;;;WD)",
            "(A;;F;;;WD)",
            "(A;;;;;WD)",
            "(A;;0xz;;;WD)",
        ] {
            assert_eq!(with(writes), [account("WD"), account("WD")], "{writes}");
        }
        assert_eq!(with("(D;;FA;;;WD)"), [None, None], "a denial gives nothing");
        assert_eq!(
            with("(A;;FA;;;S-1-5-21-1-2-3-10010)"),
            [account("S-1-5-21-1-2-3-10010"), account("S-1-5-21-1-2-3-10010")]
        );
    }

    #[test]
    fn sec36_what_is_not_understood_is_refused() {
        let open = [Some(Exposed::Open), Some(Exposed::Open)];
        for descriptor in [
            "",
            "O:BA",
            "D:P(A;;FA;;;BA)",
            "O:BAD:NO_ACCESS_CONTROL",
            "O:BAD:(A;;FA)",
            "O:BAD:(XA;;FA;;;BA;(@User.a == 1))",
        ] {
            assert_eq!(faults(descriptor), open, "{descriptor}");
        }
        let owner = Some(Exposed::Owner("BU".to_owned()));
        assert_eq!(faults("O:BUD:P(A;;FA;;;BA)"), [owner.clone(), owner]);
    }
}

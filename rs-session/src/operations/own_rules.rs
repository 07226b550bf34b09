//! What the owner of a node takes out of every level: a catalog of the owner's own that can only be smaller.

use rs_consent::AccessLevel;
use serde::{Deserialize, Serialize};

use super::catalog::{Catalog, Policy, Variant};
use super::critical::{RULE_NAME_CHARS_MAX, RULE_NAMES_MAX};

/// Commands that no level permits on this node, whatever is published.
///
/// ```
/// use rs_session::operations::CommandRules;
///
/// let rules: CommandRules = serde_json::from_str(r#"{ "deny": ["send-diagnosticdata", "Get-VM*"] }"#)?;
/// assert!(rules.take_out("Send-DiagnosticData") && rules.take_out("Get-VMHost"));
/// assert!(!rules.take_out("Get-Volume"));
/// assert_eq!(rules.fault(), None);
/// # Ok::<(), serde_json::Error>(())
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
#[non_exhaustive]
pub struct CommandRules {
    /// Names of commands; a trailing `*` takes every name that begins so. At most [`RULE_NAMES_MAX`].
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub deny: Vec<String>,
}

impl CommandRules {
    /// True if nothing is taken out.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.deny.is_empty()
    }

    /// True if a command is taken out; `name` is its published name.
    #[must_use]
    pub fn take_out(&self, name: &str) -> bool {
        self.deny.iter().any(|own| fits(own, name))
    }

    /// What is wrong with the rules, if anything is: too many names, one that is too long, or one of no published command,
    /// which would be missing silently.
    #[must_use]
    pub fn fault(&self) -> Option<String> {
        if self.deny.len() > RULE_NAMES_MAX {
            return Some(format!(
                "a list of commands has {} names, {RULE_NAMES_MAX} are the limit",
                self.deny.len()
            ));
        }
        let published = |own: &String| {
            own.len() <= RULE_NAME_CHARS_MAX
                && Variant::ALL.iter().any(|variant| {
                    let mut all =
                        Catalog::of(*variant).permitted(AccessLevel::DiagnosticsRepair, Policy::default());
                    all.any(|entry| fits(own, &entry.name))
                })
        };
        let wrong = self.deny.iter().find(|own| !published(own))?;
        Some(format!("{wrong:?} is no published command"))
    }
}

fn fits(own: &str, name: &str) -> bool {
    match own.strip_suffix('*') {
        Some(start) => name.get(..start.len()).is_some_and(|begin| begin.eq_ignore_ascii_case(start)),
        None => own.eq_ignore_ascii_case(name),
    }
}

#[cfg(test)]
#[cfg(target_os = "linux")]
mod tests {
    use super::*;
    use crate::operations::{Code, Context, offered};

    fn rules(names: &[&str]) -> CommandRules {
        CommandRules { deny: names.iter().map(|name| (*name).to_owned()).collect() }
    }

    #[test]
    fn a15_what_the_owner_takes_out_is_refused_offered_to_nobody_and_passes_no_second_check() {
        let as_published = Context::new(AccessLevel::DiagnosticsRepair);
        let narrowed = Context { commands: rules(&["Stop-*", "get-process"]), ..as_published.clone() };
        for line in ["Stop-Service cron", "spsv cron", "gps", "Get-Process | ft", "Get-Process -?"] {
            let refused = narrowed.plan_line(line).unwrap_err();
            assert_eq!((refused.code, refused.column), (Code::PolicyExcludes, 1), "{line}");
            assert!(refused.message.contains("the owner of the node"), "{}", refused.message);
            // The control, and a plan that was made without the rules.
            let plan = as_published.plan_line(line).unwrap();
            assert_eq!(plan.check(), Ok(()), "{line}");
            if !line.ends_with("-?") {
                let with_rules = crate::operations::Plan { commands: narrowed.commands.clone(), ..plan };
                assert!(with_rules.check().is_err(), "{line}");
            }
        }
        assert!(narrowed.plan_line("Start-Service cron").is_ok() && narrowed.plan_line("Get-Date").is_ok());
        let named = |context: &Context, name: &str| offered(context).iter().any(|one| one.name == name);
        assert!(named(&as_published, "Get-Process") && !named(&narrowed, "Get-Process"));
        let lost = offered(&as_published).len() - offered(&narrowed).len();
        assert_eq!(lost, 2);
    }

    #[test]
    fn a15_rules_can_only_take_out_and_name_what_is_published() {
        for good in ["Get-Process", "GET-VM*", "*"] {
            assert_eq!(rules(&[good]).fault(), None, "{good}");
        }
        for wrong in ["Get-Proces", "", "rm", "Get-Process ", "Gét-*"] {
            assert!(rules(&[wrong]).fault().is_some(), "{wrong}");
        }
        assert_eq!(rules(&["*"; RULE_NAMES_MAX]).fault(), None);
        assert!(rules(&["*"; RULE_NAMES_MAX + 1]).fault().is_some());
        // There is no word by which a command could be added.
        assert!(serde_json::from_str::<CommandRules>(r#"{ "allow": ["Invoke-Expression"] }"#).is_err());
    }
}

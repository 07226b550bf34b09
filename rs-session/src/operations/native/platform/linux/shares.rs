//! SMB: shares that this node offers (Samba's configuration) and shares that it uses (mounted ones).

use super::storage::mounts;
use super::text;
use crate::operations::native::answer;
use crate::operations::objects::Object;
use crate::operations::pipeline::Sink;
use crate::operations::plan::Plan;
use crate::operations::providers::ProviderError;

pub(super) const CONFIGURATION: &str = "/etc/samba/smb.conf";

pub(super) fn get_smb_share(plan: &Plan, sink: &mut dyn Sink) -> Result<(), ProviderError> {
    let configuration = text(CONFIGURATION).unwrap_or_default();
    let objects = shares(&configuration).into_iter().map(|share| {
        Object::new("SmbShare")
            .with("Name", share.name)
            .with("ScopeName", "*")
            .with("Path", share.path)
            .with("Description", share.comment)
            .with("ReadOnly", share.read_only)
    });
    answer(plan, sink, objects, &[("Name", "Name")])
}

#[derive(Debug, Default, PartialEq)]
struct Share {
    name: String,
    path: Option<String>,
    comment: Option<String>,
    read_only: bool,
}

/// A section of a Samba configuration. Names of settings are in lower case and without blanks, as Samba reads them.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Section {
    pub(super) name: String,
    pub(super) settings: Vec<(String, String)>,
}

impl Section {
    pub(super) fn is(&self, name: &str) -> bool {
        self.name.eq_ignore_ascii_case(name)
    }

    /// The last value of a setting, which is the one in force.
    pub(super) fn get(&self, key: &str) -> Option<&str> {
        self.settings.iter().rev().find(|(own, _)| own == key).map(|(_, value)| value.as_str())
    }

    /// True if whoever may use the share may write to it; the last word on it counts.
    pub(super) fn is_writable(&self) -> bool {
        let word = |(key, value): &(String, String)| {
            let yes = matches!(value.to_lowercase().as_str(), "yes" | "true" | "1");
            match key.as_str() {
                "writable" => Some(yes),
                "readonly" => Some(!yes),
                _ => None,
            }
        };
        self.settings.iter().rev().find_map(word).unwrap_or(false)
    }
}

/// The sections of a Samba configuration.
pub(super) fn sections(configuration: &str) -> Vec<Section> {
    let mut sections: Vec<Section> = Vec::new();
    for line in configuration.lines().map(str::trim).filter(|line| !line.starts_with(['#', ';'])) {
        if let Some(name) = line.strip_prefix('[').and_then(|line| line.strip_suffix(']')) {
            sections.push(Section { name: name.trim().to_owned(), settings: Vec::new() });
        } else if let (Some(section), Some((key, value))) = (sections.last_mut(), line.split_once('=')) {
            let key: String =
                key.chars().filter(|c| !c.is_whitespace()).flat_map(char::to_lowercase).collect();
            let key = match key.as_str() {
                "writeable" | "writeok" => String::from("writable"),
                "directory" => String::from("path"),
                _ => key,
            };
            section.settings.push((key, value.trim().to_owned()));
        }
    }
    sections
}

/// The sections that are shares.
fn shares(configuration: &str) -> Vec<Share> {
    let shares = sections(configuration).into_iter().filter(|section| !section.is("global"));
    shares
        .map(|section| Share {
            path: section.get("path").map(str::to_owned),
            comment: section.get("comment").map(str::to_owned),
            read_only: !section.is_writable(),
            name: section.name,
        })
        .collect()
}

pub(super) fn get_smb_mapping(plan: &Plan, sink: &mut dyn Sink) -> Result<(), ProviderError> {
    let objects = mounts().into_iter().filter(|mount| mount.is_smb()).map(|mount| {
        Object::new("SmbMapping")
            .with("Status", "OK")
            .with("LocalPath", mount.point)
            .with("RemotePath", mount.source.replace('/', "\\"))
    });
    answer(plan, sink, objects, &[("LocalPath", "LocalPath"), ("RemotePath", "RemotePath")])
}

pub(super) fn get_smb_connection(plan: &Plan, sink: &mut dyn Sink) -> Result<(), ProviderError> {
    let objects = mounts().into_iter().filter(|mount| mount.is_smb()).filter_map(|mount| {
        let (server, share) = mount.source.trim_start_matches('/').split_once('/')?;
        let dialect =
            mount.options.split(',').find_map(|option| option.strip_prefix("vers=")).map(str::to_owned);
        Some(
            Object::new("SmbConnection")
                .with("ServerName", server.to_owned())
                .with("ShareName", share.to_owned())
                .with("Dialect", dialect)
                .with("Encrypted", mount.options.split(',').any(|option| option == "seal")),
        )
    });
    answer(plan, sink, objects, &[("ServerName", "ServerName")])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn samba_sections_become_shares() {
        let shares = shares(
            "[global]\nworkgroup = X\n# [no]\n[data]\n path = /srv/data\ncomment=Files\nwritable = yes\n[ro]\n",
        );
        assert_eq!(shares.len(), 2);
        assert_eq!(shares[0].path.as_deref(), Some("/srv/data"));
        assert!(!shares[0].read_only && shares[1].read_only);
    }
}

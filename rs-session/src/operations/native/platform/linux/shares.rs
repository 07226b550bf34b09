//! SMB: shares that this node offers (Samba's configuration) and shares that it uses (mounted ones).

use super::storage::mounts;
use super::text;
use crate::operations::native::answer;
use crate::operations::objects::Object;
use crate::operations::pipeline::Sink;
use crate::operations::plan::Plan;
use crate::operations::providers::ProviderError;

const CONFIGURATION: &str = "/etc/samba/smb.conf";

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

/// The sections of a Samba configuration that are shares.
fn shares(configuration: &str) -> Vec<Share> {
    let mut shares: Vec<Share> = Vec::new();
    for line in configuration.lines().map(str::trim).filter(|line| !line.starts_with(['#', ';'])) {
        if let Some(name) = line.strip_prefix('[').and_then(|line| line.strip_suffix(']')) {
            shares.push(Share { name: name.trim().to_owned(), read_only: true, ..Share::default() });
        } else if let (Some(share), Some((key, value))) = (shares.last_mut(), line.split_once('=')) {
            let value = value.trim();
            let yes = matches!(value.to_lowercase().as_str(), "yes" | "true" | "1");
            match key.trim().to_lowercase().replace(' ', "").as_str() {
                "path" | "directory" => share.path = Some(value.to_owned()),
                "comment" => share.comment = Some(value.to_owned()),
                "readonly" => share.read_only = yes,
                "writable" | "writeable" | "writeok" => share.read_only = !yes,
                _ => {}
            }
        }
    }
    shares.retain(|share| !share.name.eq_ignore_ascii_case("global"));
    shares
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

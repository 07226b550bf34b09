//! SMB and NFS: what servers offer by their configuration, the client's settings, and the interfaces for both.

use std::path::Path;

use super::adapters::link_speed;
use super::shares::{CONFIGURATION, sections};
use super::storage::mounts;
use super::{line, names, number, text};
use crate::operations::native::{addresses, answer};
use crate::operations::objects::{Object, Value};
use crate::operations::pipeline::Sink;
use crate::operations::plan::Plan;
use crate::operations::providers::ProviderError;

/// Settings of the SMB client, as the kernel's module has them.
pub(super) const CLIENT: &str = "/sys/module/cifs/parameters";

pub(super) fn get_file_share(plan: &Plan, sink: &mut dyn Sink) -> Result<(), ProviderError> {
    let samba = text(CONFIGURATION).unwrap_or_default();
    let smb = sections(&samba)
        .into_iter()
        .filter(|section| !section.is("global"))
        .map(|section| share(&section.name, "SMB", section.get("path").map(str::to_owned)));
    let more = names("/etc/exports.d").into_iter().map(|name| format!("/etc/exports.d/{name}"));
    let exports =
        std::iter::once(String::from("/etc/exports")).chain(more).filter_map(text).collect::<Vec<_>>();
    let nfs: Vec<_> = exports
        .iter()
        .flat_map(|text| exported(text))
        .map(|path| share(path, "NFS", Some(path.to_owned())))
        .collect();
    answer(plan, sink, smb.chain(nfs), &[("Name", "Name"), ("Protocol", "FileSharingProtocol")])
}

fn share(name: &str, protocol: &'static str, path: Option<String>) -> Object {
    let there = path.as_ref().is_none_or(|path| Path::new(path).is_dir());
    Object::new("FileShare")
        .with("Name", name.to_owned())
        .with("FileSharingProtocol", protocol)
        .with("OperationalStatus", "Online")
        .with("HealthStatus", if there { "Healthy" } else { "Unhealthy" })
        .with("SharePath", path)
}

/// Directories in a table of NFS exports.
fn exported(table: &str) -> Vec<&str> {
    let lines = table.lines().map(str::trim).filter(|line| line.starts_with(['/', '"']));
    lines
        .filter_map(|line| {
            line.strip_prefix('"')
                .map_or_else(|| line.split_whitespace().next(), |rest| rest.split('"').next())
        })
        .collect()
}

pub(super) fn get_share_access(plan: &Plan, sink: &mut dyn Sink) -> Result<(), ProviderError> {
    let samba = text(CONFIGURATION).unwrap_or_default();
    let mut objects = Vec::new();
    for section in sections(&samba).into_iter().filter(|section| !section.is("global")) {
        let mut add = |account: &str, kind: &'static str, right: &'static str| {
            objects.push(
                Object::new("SmbShareAccess")
                    .with("Name", section.name.clone())
                    .with("ScopeName", "*")
                    .with("AccountName", account.to_owned())
                    .with("AccessControlType", kind)
                    .with("AccessRight", right),
            );
        };
        let right = if section.is_writable() { "Change" } else { "Read" };
        let list = |key: &str| {
            section.get(key).unwrap_or_default().split([',', ' ']).filter(|name| !name.is_empty())
        };
        if list("validusers").next().is_none() {
            add("Everyone", "Allow", right);
        }
        list("validusers").for_each(|name| add(name, "Allow", right));
        list("writelist").for_each(|name| add(name, "Allow", "Change"));
        list("adminusers").for_each(|name| add(name, "Allow", "Full"));
        list("invalidusers").for_each(|name| add(name, "Deny", "Full"));
    }
    answer(plan, sink, objects, &[("Name", "Name")])
}

pub(super) fn get_server_configuration(plan: &Plan, sink: &mut dyn Sink) -> Result<(), ProviderError> {
    let samba = text(CONFIGURATION).unwrap_or_default();
    let global = sections(&samba).into_iter().find(|section| section.is("global"));
    let mut object = Object::new("SmbServerConfiguration");
    // One property for each setting, so that those that hold secrets are withheld by their names.
    global.into_iter().flat_map(|section| section.settings).for_each(|(key, value)| object.set(key, value));
    answer(plan, sink, [object], &[])
}

pub(super) fn get_client_configuration(plan: &Plan, sink: &mut dyn Sink) -> Result<(), ProviderError> {
    let mut object = Object::new("SmbClientConfiguration");
    for name in names(CLIENT) {
        let value = line(Path::new(CLIENT).join(&name));
        object.set(name, value);
    }
    answer(plan, sink, [object], &[])
}

pub(super) fn get_global_mapping(plan: &Plan, sink: &mut dyn Sink) -> Result<(), ProviderError> {
    let objects = mounts().into_iter().filter(|mount| mount.is_smb()).map(|mount| {
        Object::new("SmbGlobalMapping")
            .with("Status", "OK")
            .with("LocalPath", mount.point)
            .with("RemotePath", mount.source.replace('/', "\\"))
    });
    answer(plan, sink, objects, &[("LocalPath", "LocalPath")])
}

pub(super) fn get_network_interface(plan: &Plan, sink: &mut dyn Sink) -> Result<(), ProviderError> {
    let addresses = addresses::by_interface()?;
    let mut objects = Vec::new();
    for name in names("/sys/class/net") {
        let directory = Path::new("/sys/class/net").join(&name);
        let Some(own) = addresses.get(&name) else { continue };
        let queues = names(directory.join("queues"));
        objects.push(
            Object::new("SmbNetworkInterface")
                .with("InterfaceIndex", number(&directory.join("ifindex")))
                .with("RssCapable", queues.iter().filter(|queue| queue.starts_with("rx-")).count() > 1)
                .with("RdmaCapable", directory.join("device/infiniband").exists())
                .with("Speed", link_speed(&directory))
                .with(
                    "IpAddresses",
                    own.iter().map(|address| Value::from(address.to_string())).collect::<Vec<_>>(),
                )
                .with("FriendlyName", name.clone()),
        );
    }
    answer(plan, sink, objects, &[("InterfaceAlias", "FriendlyName"), ("InterfaceIndex", "InterfaceIndex")])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exports_are_read() {
        let table = "# comment\n/srv/a *(ro)\n\"/srv/with blank\" host(rw)\n\n";
        assert_eq!(exported(table), ["/srv/a", "/srv/with blank"]);
    }
}

//! Neighbours of both families, as the kernel's table of them has them. There is no file for those of IPv6, so the kernel is
//! asked by netlink (`RTM_GETNEIGH`), which the sandbox leaves to whoever lists the network.

use std::collections::HashMap;

use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, recv, send, socket_with};

use self::message::{Neighbor, read, request};
use super::{interface_index, names};
use crate::operations::native::addresses::INTERFACE_FILTERS;
use crate::operations::native::answer;
use crate::operations::objects::Object;
use crate::operations::pipeline::Sink;
use crate::operations::plan::Plan;
use crate::operations::providers::ProviderError;

mod message;

/// Most bytes that the kernel puts into one answer.
const ANSWER_BYTES_MAX: usize = 64 << 10;
/// Most entries that are read.
const NEIGHBORS_MAX: usize = 100_000;

pub(super) fn get_neighbor(plan: &Plan, sink: &mut dyn Sink) -> Result<(), ProviderError> {
    let failed =
        |error| ProviderError::failed(format!("Get-NetNeighbor : the kernel does not answer: {error}"));
    let interfaces: HashMap<_, _> = names("/sys/class/net")
        .into_iter()
        .filter_map(|name| Some((interface_index(&name)?, name)))
        .collect();
    let objects = table().map_err(failed)?.into_iter().map(|own| {
        let index = i64::from(own.interface);
        Object::new("NetNeighbor")
            .with("ifIndex", index)
            .with("IPAddress", own.address.to_string())
            .with("LinkLayerAddress", own.hardware)
            .with("State", state(own.state))
            .with("InterfaceAlias", interfaces.get(&index).cloned())
            .with("AddressFamily", if own.address.is_ipv4() { "IPv4" } else { "IPv6" })
            .with("InterfaceIndex", index)
    });
    answer(plan, sink, objects, INTERFACE_FILTERS)
}

/// The kernel's table without groups of receivers, sorted by family, interface and address.
fn table() -> std::io::Result<Vec<Neighbor>> {
    // Without a protocol it is the one about routes, to which neighbours belong.
    let socket = socket_with(AddressFamily::NETLINK, SocketType::RAW, SocketFlags::CLOEXEC, None)?;
    send(&socket, &request(), SendFlags::empty())?;
    let mut found = Vec::new();
    let mut answer = vec![0; ANSWER_BYTES_MAX];
    loop {
        let (bytes, _) = recv(&socket, answer.as_mut_slice(), RecvFlags::empty())?;
        let Some(read) = answer.get(..bytes).and_then(read) else {
            return Err(std::io::Error::other("its answer cannot be read"));
        };
        found.extend(read.neighbors);
        if read.last || bytes == 0 || found.len() >= NEIGHBORS_MAX {
            break;
        }
    }
    found.truncate(NEIGHBORS_MAX);
    found.sort_by_key(|own| (own.address.is_ipv6(), own.interface, own.address));
    Ok(found)
}

/// PowerShell's word for the state of an entry.
const fn state(bits: u16) -> &'static str {
    match bits {
        bits if bits & 0x80 != 0 => "Permanent",
        bits if bits & 0x02 != 0 => "Reachable",
        bits if bits & 0x04 != 0 => "Stale",
        bits if bits & 0x08 != 0 => "Delay",
        bits if bits & 0x10 != 0 => "Probe",
        bits if bits & 0x20 != 0 => "Unreachable",
        _ => "Incomplete",
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_kernel_answers() {
        super::table().unwrap();
    }
}

//! TCP connections and UDP endpoints from `/proc/net`, with the processes that own them.

use std::collections::HashMap;
use std::fs;
use std::io::{BufRead as _, BufReader};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use crate::operations::native::addresses::family;
use crate::operations::native::{answer, facts};
use crate::operations::objects::Object;
use crate::operations::pipeline::Sink;
use crate::operations::plan::Plan;
use crate::operations::providers::ProviderError;

/// One line of a socket table.
#[derive(Debug, PartialEq, Eq)]
struct Socket {
    local: (IpAddr, u16),
    remote: (IpAddr, u16),
    state: u8,
    inode: u64,
}

pub(super) fn get_tcp_connection(plan: &Plan, sink: &mut dyn Sink) -> Result<(), ProviderError> {
    let filters = ["LocalAddress", "LocalPort", "RemoteAddress", "RemotePort", "State", "OwningProcess"];
    let owners = owners();
    let sockets = table("/proc/net/tcp").chain(table("/proc/net/tcp6"));
    let objects = sockets.map(|socket| {
        let (id, name) = owner(&owners, socket.inode);
        endpoints("NetTCPConnection", &socket, true)
            .with("State", state(socket.state))
            .with("OwningProcess", id)
            .with("ProcessName", name)
            .with("AddressFamily", family(&socket.local.0))
    });
    answer(plan, sink, objects, &filters.map(|name| (name, name)))
}

pub(super) fn get_udp_endpoint(plan: &Plan, sink: &mut dyn Sink) -> Result<(), ProviderError> {
    let filters = ["LocalAddress", "LocalPort", "OwningProcess"];
    let owners = owners();
    let sockets = table("/proc/net/udp").chain(table("/proc/net/udp6"));
    let objects = sockets.map(|socket| {
        let (id, name) = owner(&owners, socket.inode);
        endpoints("NetUDPEndpoint", &socket, false)
            .with("OwningProcess", id)
            .with("ProcessName", name)
            .with("AddressFamily", family(&socket.local.0))
    });
    answer(plan, sink, objects, &filters.map(|name| (name, name)))
}

fn endpoints(type_name: &'static str, socket: &Socket, with_remote: bool) -> Object {
    let object = Object::new(type_name)
        .with("LocalAddress", socket.local.0.to_string())
        .with("LocalPort", socket.local.1);
    if !with_remote {
        return object;
    }
    object.with("RemoteAddress", socket.remote.0.to_string()).with("RemotePort", socket.remote.1)
}

/// Lines of a table as they come; a table that is not there is empty.
fn table(path: &str) -> impl Iterator<Item = Socket> + use<> {
    let lines = fs::File::open(path).ok().map(|file| BufReader::new(file).lines().map_while(Result::ok));
    lines.into_iter().flatten().skip(1).filter_map(|line| socket(&line))
}

fn socket(line: &str) -> Option<Socket> {
    let fields: Vec<_> = line.split_ascii_whitespace().collect();
    let [_, local, remote, state, _, _, _, _, _, inode, ..] = fields.as_slice() else { return None };
    Some(Socket {
        local: endpoint(local)?,
        remote: endpoint(remote)?,
        state: u8::from_str_radix(state, 16).ok()?,
        inode: inode.parse().ok()?,
    })
}

/// An address as the kernel prints it: 32-bit words in the machine's byte order, then the port.
fn endpoint(text: &str) -> Option<(IpAddr, u16)> {
    let (address, port) = text.split_once(':')?;
    Some((kernel_address(address)?, u16::from_str_radix(port, 16).ok()?))
}

/// An address of one or four words in the machine's byte order.
pub(super) fn kernel_address(hex: &str) -> Option<IpAddr> {
    let word = |at: usize| u32::from_str_radix(hex.get(at..at + 8)?, 16).ok().map(u32::to_ne_bytes);
    match hex.len() {
        8 => Some(IpAddr::V4(Ipv4Addr::from(word(0)?))),
        32 => {
            let mut bytes = [0; 16];
            for (index, chunk) in bytes.chunks_exact_mut(4).enumerate() {
                chunk.copy_from_slice(&word(index * 8)?);
            }
            Some(IpAddr::V6(Ipv6Addr::from(bytes)))
        }
        _ => None,
    }
}

/// The state's name in PowerShell.
const fn state(number: u8) -> &'static str {
    match number {
        1 => "Established",
        2 => "SynSent",
        3 | 12 => "SynReceived",
        4 => "FinWait1",
        5 => "FinWait2",
        6 => "TimeWait",
        7 => "Closed",
        8 => "CloseWait",
        9 => "LastAck",
        10 => "Listen",
        11 => "Closing",
        _ => "Unknown",
    }
}

fn owner(owners: &HashMap<u64, (i64, String)>, inode: u64) -> (i64, Option<String>) {
    owners.get(&inode).map_or((0, None), |(id, name)| (*id, Some(name.clone())))
}

/// Processes by the inodes of their sockets, as far as this process may look.
fn owners() -> HashMap<u64, (i64, String)> {
    let mut owners = HashMap::new();
    for (id, own) in facts::processes() {
        let name = super::line(format!("/proc/{id}/comm")).unwrap_or_default();
        for inode in own.sockets {
            owners.entry(inode).or_insert_with(|| (i64::from(id), name.clone()));
        }
    }
    owners
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[cfg(target_endian = "little")]
    fn lines_of_the_kernel_are_read() {
        let line = "   0: 0100007F:1F90 0A00020F:C350 01 00000000:00000000 00:00000000 00000000  1000  0 4242 1 0 100";
        let socket = socket(line).unwrap();
        assert_eq!(socket.local, (IpAddr::from([127, 0, 0, 1]), 8080));
        assert_eq!(socket.remote, (IpAddr::from([15, 2, 0, 10]), 50000));
        assert_eq!((socket.inode, state(socket.state)), (4242, "Established"));
        let six = endpoint("00000000000000000000000001000000:0016").unwrap();
        assert_eq!(six, (IpAddr::from(Ipv6Addr::LOCALHOST), 22));
        assert!(super::socket("").is_none() && endpoint("12:zz").is_none() && endpoint("0100007F").is_none());
    }

    #[test]
    fn every_state_has_a_permitted_name() {
        for number in 1..=12 {
            assert!(crate::operations::catalog::tcp_states().contains(&state(number)));
        }
    }
}

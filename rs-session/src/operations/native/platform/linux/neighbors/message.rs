//! The kernel's words about neighbours: the question, and what an answer says. Pure, so that it can be fuzzed by itself.

use std::net::IpAddr;

/// Bytes of the head of a message, of a neighbour, of an attribute.
const HEAD: usize = 16;
const NEIGHBOR: usize = 12;
const ATTRIBUTE: usize = 4;

const NLMSG_ERROR: u16 = 2;
const NLMSG_DONE: u16 = 3;
const RTM_NEWNEIGH: u16 = 28;
const RTM_GETNEIGH: u16 = 30;
/// A request for everything there is.
const REQUEST_DUMP: u16 = 0x301;
const NDA_DST: u16 = 1;
const NDA_LLADDR: u16 = 2;
const FAMILY_IPV4: u8 = 2;
const FAMILY_IPV6: u8 = 10;
/// State of what has no neighbour to ask for, such as a group of receivers.
const NO_ARP: u16 = 0x40;

/// One entry of the table.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Neighbor {
    pub(super) address: IpAddr,
    pub(super) hardware: String,
    pub(super) state: u16,
    pub(super) interface: u32,
}

/// What an answer of the kernel says.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Read {
    pub(super) neighbors: Vec<Neighbor>,
    /// True if nothing follows.
    pub(super) last: bool,
}

/// Asks for the whole table.
pub(super) fn request() -> Vec<u8> {
    let length = u32::try_from(HEAD + NEIGHBOR).unwrap_or_default();
    let mut request = Vec::with_capacity(HEAD + NEIGHBOR);
    request.extend(length.to_ne_bytes());
    request.extend(RTM_GETNEIGH.to_ne_bytes());
    request.extend(REQUEST_DUMP.to_ne_bytes());
    request.resize(HEAD + NEIGHBOR, 0);
    request
}

/// Reads the messages of one answer; `None` if it is not whole, or says that something went wrong.
pub(super) fn read(mut answer: &[u8]) -> Option<Read> {
    let mut read = Read::default();
    while !answer.is_empty() {
        let length = usize::try_from(u32::from_ne_bytes(*answer.first_chunk()?)).ok()?;
        let kind = u16::from_ne_bytes(*answer.get(4..)?.first_chunk()?);
        let body = answer.get(HEAD..length)?;
        match kind {
            NLMSG_DONE => read.last = true,
            NLMSG_ERROR => return None,
            RTM_NEWNEIGH => read.neighbors.extend(neighbor(body)),
            _ => {}
        }
        answer = answer.get(aligned(length)..).unwrap_or_default();
    }
    Some(read)
}

/// One entry; `None` for another family, a group of receivers, or what has no address.
fn neighbor(body: &[u8]) -> Option<Neighbor> {
    let family = *body.first()?;
    let interface = u32::from_ne_bytes(*body.get(4..)?.first_chunk()?);
    let state = u16::from_ne_bytes(*body.get(8..)?.first_chunk()?);
    let (mut address, mut hardware) = (None, String::new());
    let mut attributes = body.get(NEIGHBOR..)?;
    while let Some(length) = attributes.first_chunk().map(|own| usize::from(u16::from_ne_bytes(*own))) {
        let kind = u16::from_ne_bytes(*attributes.get(2..)?.first_chunk()?);
        let value = attributes.get(ATTRIBUTE..length)?;
        match (kind, family) {
            (NDA_DST, FAMILY_IPV4) => address = Some(IpAddr::from(<[u8; 4]>::try_from(value).ok()?)),
            (NDA_DST, FAMILY_IPV6) => address = Some(IpAddr::from(<[u8; 16]>::try_from(value).ok()?)),
            (NDA_LLADDR, _) => {
                hardware = value.iter().map(|byte| format!("{byte:02X}")).collect::<Vec<_>>().join("-");
            }
            _ => {}
        }
        attributes = attributes.get(aligned(length)..).unwrap_or_default();
    }
    (state & NO_ARP == 0).then_some(Neighbor { address: address?, hardware, state, interface })
}

/// Messages and attributes begin at multiples of four bytes.
const fn aligned(length: usize) -> usize {
    length.saturating_add(3) & !3
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn attribute(kind: u16, value: &[u8]) -> Vec<u8> {
        let length = u16::try_from(ATTRIBUTE + value.len()).unwrap();
        let mut bytes = [length.to_ne_bytes(), kind.to_ne_bytes()].concat();
        bytes.extend(value);
        bytes.resize(aligned(bytes.len()), 0);
        bytes
    }

    fn message(kind: u16, body: &[u8]) -> Vec<u8> {
        let length = u32::try_from(HEAD + body.len()).unwrap();
        let mut bytes = length.to_ne_bytes().to_vec();
        bytes.extend(kind.to_ne_bytes());
        bytes.resize(HEAD, 0);
        bytes.extend(body);
        bytes
    }

    fn entry(family: u8, state: u16, attributes: &[Vec<u8>]) -> Vec<u8> {
        let mut body = vec![family, 0, 0, 0];
        body.extend(3_u32.to_ne_bytes());
        body.extend(state.to_ne_bytes());
        body.extend([0, 1]);
        body.extend(attributes.concat());
        message(RTM_NEWNEIGH, &body)
    }

    #[test]
    fn neighbours_of_both_families_are_read() {
        let hardware = attribute(NDA_LLADDR, &[2, 0xfc, 0, 0, 0, 5]);
        let six = "fe80::1".parse::<std::net::Ipv6Addr>().unwrap().octets();
        let answer = [
            entry(FAMILY_IPV4, 0x02, &[attribute(NDA_DST, &[192, 0, 2, 1]), hardware.clone()]),
            entry(FAMILY_IPV6, 0x04, &[attribute(NDA_DST, &six), hardware]),
            // A group of receivers, another family, and one without address.
            entry(FAMILY_IPV6, NO_ARP, &[attribute(NDA_DST, &six)]),
            entry(7, 0x02, &[attribute(NDA_DST, &[1, 2, 3, 4, 5, 6])]),
            entry(FAMILY_IPV4, 0x20, &[]),
        ]
        .concat();
        let found = read(&answer).unwrap();
        assert!(!found.last);
        let shown: Vec<_> = found
            .neighbors
            .iter()
            .map(|own| format!("{} {} {}", own.address, own.hardware, own.state))
            .collect();
        assert_eq!(shown, ["192.0.2.1 02-FC-00-00-00-05 2", "fe80::1 02-FC-00-00-00-05 4"]);
        assert!(read(&message(NLMSG_DONE, &[0; 4])).unwrap().last);
        assert_eq!(read(&message(NLMSG_ERROR, &[0; 4])), None);
    }

    proptest! {
        #[test]
        fn sec44_no_answer_panics(bytes in proptest::collection::vec(any::<u8>(), 0..200), cut in 0_usize..80) {
            let _ = read(&bytes);
            let whole = entry(FAMILY_IPV4, 2, &[attribute(NDA_DST, &[192, 0, 2, 1])]);
            let cut = cut.min(whole.len());
            prop_assert!(cut == 0 || cut == whole.len() || read(&whole[..cut]).is_none_or(|own| own.neighbors.is_empty()));
        }
    }
}

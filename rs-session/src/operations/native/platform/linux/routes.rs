//! Routes from `/proc/net`.

use std::net::{IpAddr, Ipv6Addr};

use super::connections::kernel_address;
use super::{interface_index, text};
use crate::operations::native::answer;
use crate::operations::objects::Object;
use crate::operations::pipeline::Sink;
use crate::operations::plan::Plan;
use crate::operations::providers::ProviderError;

/// Route flag: goes through a gateway.
const FLAG_GATEWAY: u32 = 0x2;
/// Route flag: leads nowhere on purpose.
const FLAG_REJECT: u32 = 0x200;

struct Route {
    interface: String,
    destination: IpAddr,
    prefix: u32,
    gateway: Option<IpAddr>,
    metric: i64,
}

pub(super) fn get_route(plan: &Plan, sink: &mut dyn Sink) -> Result<(), ProviderError> {
    let four = text("/proc/net/route").unwrap_or_default();
    let six = text("/proc/net/ipv6_route").unwrap_or_default();
    let routes = four.lines().filter_map(route_v4).chain(six.lines().filter_map(route_v6));
    let objects = routes.map(|route| {
        let none = if route.destination.is_ipv4() { "0.0.0.0" } else { "::" };
        let index = interface_index(&route.interface);
        Object::new("NetRoute")
            .with("ifIndex", index)
            .with("DestinationPrefix", format!("{}/{}", route.destination, route.prefix))
            .with("NextHop", route.gateway.map_or_else(|| none.to_owned(), |gateway| gateway.to_string()))
            .with("RouteMetric", route.metric)
            .with("InterfaceAlias", route.interface)
            .with("AddressFamily", crate::operations::native::addresses::family(&route.destination))
            .with("InterfaceIndex", index)
    });
    let filters = ["DestinationPrefix", "NextHop", "InterfaceAlias", "InterfaceIndex", "AddressFamily"];
    answer(plan, sink, objects, &filters.map(|name| (name, name)))
}

/// Interfaces with a default route, with true for IPv4.
pub(super) fn default_routes() -> Vec<(String, bool)> {
    let four = text("/proc/net/route").unwrap_or_default();
    let six = text("/proc/net/ipv6_route").unwrap_or_default();
    let routes = four.lines().filter_map(route_v4).chain(six.lines().filter_map(route_v6));
    let default = routes.filter(|route| route.prefix == 0 && route.gateway.is_some());
    default.map(|route| (route.interface, route.destination.is_ipv4())).collect()
}

fn route_v4(line: &str) -> Option<Route> {
    let fields: Vec<_> = line.split_ascii_whitespace().collect();
    let [interface, destination, gateway, flags, _, _, metric, mask, ..] = fields.as_slice() else {
        return None;
    };
    let flags = u32::from_str_radix(flags, 16).ok().filter(|flags| flags & FLAG_REJECT == 0)?;
    let IpAddr::V4(mask) = kernel_address(mask)? else { return None };
    Some(Route {
        interface: (*interface).to_owned(),
        destination: kernel_address(destination)?,
        prefix: u32::from(mask).count_ones(),
        gateway: if flags & FLAG_GATEWAY != 0 { kernel_address(gateway) } else { None },
        metric: metric.parse().ok()?,
    })
}

fn route_v6(line: &str) -> Option<Route> {
    let fields: Vec<_> = line.split_ascii_whitespace().collect();
    let [destination, prefix, _, _, gateway, metric, _, _, flags, interface] = fields.as_slice() else {
        return None;
    };
    let flags = u32::from_str_radix(flags, 16).ok().filter(|flags| flags & FLAG_REJECT == 0)?;
    let address =
        |hex: &str| u128::from_str_radix(hex, 16).ok().map(|bits| IpAddr::from(Ipv6Addr::from(bits)));
    Some(Route {
        interface: (*interface).to_owned(),
        destination: address(destination)?,
        prefix: u32::from_str_radix(prefix, 16).ok()?,
        gateway: if flags & FLAG_GATEWAY != 0 { address(gateway) } else { None },
        metric: i64::from_str_radix(metric, 16).ok()?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[cfg(target_endian = "little")]
    fn routes_of_the_kernel_are_read() {
        let line = "eth0\t00000000\t010200C0\t0003\t0\t0\t100\t00000000\t0\t0\t0";
        let route = route_v4(line).unwrap();
        assert_eq!(route.destination, IpAddr::from([0, 0, 0, 0]));
        assert_eq!(route.gateway, Some(IpAddr::from([192, 0, 2, 1])));
        assert_eq!((route.prefix, route.metric), (0, 100));
        assert!(route_v4("Iface Destination Gateway Flags").is_none());
        let line = "fe800000000000000000000000000000 40 00000000000000000000000000000000 00 \
                    00000000000000000000000000000000 00000100 00000001 00000000 00000001     eth0";
        let route = route_v6(line).unwrap();
        assert_eq!((route.destination.to_string().as_str(), route.prefix, route.metric), ("fe80::", 64, 256));
        assert!(route.gateway.is_none());
    }
}

//! IPv6 addresses as people write them.

use core::net::Ipv6Addr;

/// The address and the port of `[ADDRESS]` or `[ADDRESS]:PORT`, as IPv6 addresses are often written;
/// `None` where it is neither.
fn in_brackets(text: &str) -> Option<(Ipv6Addr, Option<u16>)> {
    let (address, port) = text.strip_prefix('[')?.split_once(']')?;
    let port = match port {
        "" => None,
        port => Some(
            port.strip_prefix(':')?
                .parse()
                .ok()
                .filter(|port| *port > 0)?,
        ),
    };
    Some((address.parse().ok()?, port))
}

/// The address and the port of an IPv6 address, with brackets around it or without.
#[must_use]
pub fn ipv6_address(text: &str) -> Option<(Ipv6Addr, Option<u16>)> {
    in_brackets(text).or_else(|| Some((text.parse().ok()?, None)))
}

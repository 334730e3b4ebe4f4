//! IPv6 addresses as users write them.

use core::net::Ipv6Addr;

/// Parses the address and port of `[ADDRESS]` or `[ADDRESS]:PORT`; `None` if it is neither.
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

/// Parses an IPv6 address, with or without brackets, and its port.
#[must_use]
pub fn ipv6_address(text: &str) -> Option<(Ipv6Addr, Option<u16>)> {
    in_brackets(text).or_else(|| Some((text.parse().ok()?, None)))
}

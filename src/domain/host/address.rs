//! Addresses as users write them.

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

/// Whether it is a host name or an IP address, without user and port. IPv6 has no brackets here.
#[must_use]
pub fn is_address(text: &str) -> bool {
    let odd = |c: char| c.is_whitespace() || c.is_control() || "/[]@".contains(c);
    // A zone names a network interface: `fe80::1%eth0`.
    let ipv6 = text.split('%').next().unwrap_or_default();
    let is_name = !text.contains(':') || ipv6.parse::<Ipv6Addr>().is_ok();
    !text.is_empty() && !text.starts_with('-') && !text.contains(odd) && is_name
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn address_has_neither_user_nor_port() {
        for text in [
            "web1",
            "web-1.example.com",
            "192.0.2.1",
            "::1",
            "fe80::1%eth0",
        ] {
            assert!(is_address(text), "{text}");
        }
        for text in [
            "",
            "-x",
            "a b",
            "a/b",
            "[::1]",
            "127.0.0.1:22",
            "web1:22",
            "deploy@web1",
            "deploy@::1",
            "::1:x",
        ] {
            assert!(!is_address(text), "{text}");
        }
    }
}

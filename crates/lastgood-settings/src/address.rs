//! Where to listen.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use crate::problem::Wrong;
use crate::value::Raw;

const EXAMPLE: &str = "127.0.0.1:8090";

/// Reads `address:port`; `localhost` is accepted, other host names are not.
pub(crate) fn parse(raw: &Raw) -> Result<SocketAddr, Wrong> {
    let text = raw.as_text(EXAMPLE)?;
    if let Ok(address) = text.parse() {
        return Ok(address);
    }
    if let Some(port) = text.strip_prefix("localhost:")
        && let Ok(port) = port.parse()
    {
        return Ok(SocketAddr::from((Ipv4Addr::LOCALHOST, port)));
    }
    let wrong = Wrong::new(format!("{text:?} is not an address and a port"));
    Err(wrong.hint(hint(text)))
}

fn hint(text: &str) -> String {
    let port = text.strip_prefix(':').unwrap_or(text);
    if port.parse::<u16>().is_ok() {
        return format!("did you mean \"127.0.0.1:{port}\"?");
    }
    match text.parse::<IpAddr>() {
        Ok(IpAddr::V4(ip)) => format!("the port is missing: \"{ip}:8090\""),
        Ok(IpAddr::V6(ip)) => format!("the port is missing: \"[{ip}]:8090\""),
        Err(_) => format!("write an IP address and a port, for example \"{EXAMPLE}\""),
    }
}

/// The address that a client on the same machine connects to: one that stands for all interfaces is none.
pub(crate) fn to_connect(listen: SocketAddr) -> SocketAddr {
    // An IPv4 address in the form of IPv6 is reached over IPv4 alone.
    let ip = match listen.ip().to_canonical() {
        ip if !ip.is_unspecified() => ip,
        IpAddr::V4(_) => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(_) => Ipv6Addr::LOCALHOST.into(),
    };
    SocketAddr::new(ip, listen.port())
}

/// Whether only this machine can reach the address.
pub(crate) fn is_loopback(address: SocketAddr) -> bool {
    address.ip().to_canonical().is_loopback()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_needs_an_ip_and_a_port() {
        for (text, expected) in [
            ("127.0.0.1:0", "127.0.0.1:0"),
            ("localhost:9000", "127.0.0.1:9000"),
            ("[::1]:8090", "[::1]:8090"),
            ("0.0.0.0:80", "0.0.0.0:80"),
        ] {
            assert_eq!(parse(&Raw::text(text)).map(|a| a.to_string()), Ok(expected.to_owned()));
        }
        for (text, hint) in [
            (":8090", "did you mean \"127.0.0.1:8090\"?"),
            ("8090", "did you mean \"127.0.0.1:8090\"?"),
            ("10.0.0.1", "the port is missing: \"10.0.0.1:8090\""),
            ("::1", "the port is missing: \"[::1]:8090\""),
            ("web:8090", "write an IP address and a port, for example \"127.0.0.1:8090\""),
            ("127.0.0.1:99999", "write an IP address and a port, for example \"127.0.0.1:8090\""),
        ] {
            assert_eq!(parse(&Raw::text(text)).expect_err(text).hint.as_deref(), Some(hint));
        }
    }

    #[test]
    fn a_wildcard_is_reached_at_the_loopback_address() {
        for (listen, expected) in [
            ("0.0.0.0:80", "127.0.0.1:80"),
            ("[::]:80", "[::1]:80"),
            ("[::ffff:0.0.0.0]:80", "127.0.0.1:80"),
            ("[::ffff:127.0.0.1]:80", "127.0.0.1:80"),
            ("192.168.0.1:80", "192.168.0.1:80"),
            ("[::1]:80", "[::1]:80"),
        ] {
            assert_eq!(listen.parse().map(|listen| to_connect(listen).to_string()), Ok(expected.to_owned()));
        }
    }

    #[test]
    fn only_loopback_is_loopback() {
        for (text, expected) in [
            ("127.0.0.1:1", true),
            ("127.9.9.9:1", true),
            ("[::1]:1", true),
            ("[::ffff:127.0.0.1]:1", true),
            ("0.0.0.0:1", false),
            ("[::]:1", false),
            ("192.168.0.1:1", false),
        ] {
            assert_eq!(text.parse().map(is_loopback), Ok(expected), "{text}");
        }
    }
}

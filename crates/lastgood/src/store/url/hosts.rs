//! The parts that URLs of stores have in common.

use std::borrow::Cow;
use std::net::Ipv6Addr;

use percent_encoding::percent_decode_str;

/// The most servers that one URL may name.
const MOST_HOSTS: usize = 32;

/// `credentials@host,host/path?query`.
pub(super) struct Parts<'a> {
    pub(super) credentials: &'a str,
    pub(super) hosts: Vec<&'a str>,
    pub(super) path: &'a str,
    query: &'a str,
}

impl<'a> Parts<'a> {
    /// Divides what follows `scheme://`, or names the problem with it.
    pub(super) fn of(rest: &'a str) -> Result<Parts<'a>, &'static str> {
        if rest.contains('#') {
            return Err(match rest.ends_with("#insecure") {
                true => "#insecure is not supported; add ?ca=FILE with the server's own authority",
                false => "it has a fragment (is the # in the password written as %23?)",
            });
        }
        let (rest, query) = rest.split_once('?').unwrap_or((rest, ""));
        let (authority, path) = rest.split_once('/').unwrap_or((rest, ""));
        if path.contains('@') {
            return Err("the / in its password must be written as %2F");
        }
        let (credentials, hosts) = authority.rsplit_once('@').unwrap_or(("", authority));
        let hosts: Vec<&str> = hosts.split(',').collect();
        if hosts.len() > MOST_HOSTS {
            return Err("it names more than 32 servers; a few of them are enough");
        }
        if hosts.contains(&"") {
            return Err(match hosts.len() {
                1 => "it names no host (is the password percent-encoded?)",
                _ => "it names no host between two commas",
            });
        }
        Ok(Parts { credentials, hosts, path, query })
    }

    /// What stands after the `?`, as it is written.
    pub(super) fn parameters(&self) -> impl Iterator<Item = (&'a str, &'a str)> {
        parameters(self.query)
    }

    /// The hosts with their ports.
    pub(super) fn addresses(&self, default_port: u16) -> Result<Vec<(String, u16)>, &'static str> {
        let addresses = self.hosts.iter().map(|host| {
            let (host, port) = host_and_port(host)?;
            match host.as_str() {
                "0.0.0.0" | "::" => Err("0.0.0.0 and :: are wildcard addresses, to which no client can connect"),
                _ => Ok((host, port.unwrap_or(default_port))),
            }
        });
        addresses.collect()
    }
}

/// Names and values after a `?`, as they are written.
pub(super) fn parameters(query: &str) -> impl Iterator<Item = (&str, &str)> {
    query.split('&').filter(|part| !part.is_empty()).map(|part| part.split_once('=').unwrap_or((part, "")))
}

/// A host without its brackets, and its port if it has one.
pub(super) fn host_and_port(text: &str) -> Result<(String, Option<u16>), &'static str> {
    let (host, port) = match text.strip_prefix('[') {
        Some(rest) => {
            let (address, port) = rest.split_once(']').ok_or("the bracket before its host is not closed")?;
            let address: Ipv6Addr = address.parse().map_err(|_| "there is no IPv6 address between its brackets")?;
            let port = match port.strip_prefix(':') {
                None if port.is_empty() => "",
                None => return Err("something other than a port follows its host"),
                Some(port) => port,
            };
            (address.to_string(), port)
        }
        None => {
            let (host, port) = text.split_once(':').unwrap_or((text, ""));
            (host.to_owned(), port)
        }
    };
    if host.is_empty() {
        return Err("it names no host (is the password percent-encoded?)");
    }
    let is_odd = |c: char| !c.is_ascii_graphic() || "<>[]\\^`{|}%\"".contains(c);
    if host.contains(is_odd) {
        return Err("its host holds what no name has (are special characters in the password percent-encoded?)");
    }
    match port {
        "" => Ok((host, None)),
        port => match port.parse() {
            Ok(0) => Err("its port is 0, at which nothing listens"),
            Ok(port) if text.ends_with(|c: char| c.is_ascii_digit()) => Ok((host, Some(port))),
            _ => Err("its port is no number (are special characters in the password percent-encoded?)"),
        },
    }
}

/// `host:port` as it stands in a URL.
pub(in crate::store) fn authority(host: &str, port: u16) -> String {
    if host.contains(':') { format!("[{host}]:{port}") } else { format!("{host}:{port}") }
}

/// A part of a URL without its percent signs; `None` where that is no text.
pub(super) fn decoded(text: &str) -> Option<String> {
    percent_decode_str(text).decode_utf8().ok().map(Cow::into_owned)
}

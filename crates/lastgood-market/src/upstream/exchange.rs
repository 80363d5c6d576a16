//! Which exchange a host is of, as far as that is known by its name.

use std::fmt;

use ring::digest::{SHA256, digest};

use super::{BaseUrl, Options};
use crate::identity::{Identities, PUBLIC};
use crate::venue::Venue;

/// The public exchange's hosts, those of its streams included.
const PUBLIC_HOSTS: [&str; 13] = [
    "api.binance.com",
    "api-gcp.binance.com",
    "api1.binance.com",
    "api2.binance.com",
    "api3.binance.com",
    "api4.binance.com",
    "data-api.binance.vision",
    "fapi.binance.com",
    "dapi.binance.com",
    "stream.binance.com",
    "fstream.binance.com",
    "dstream.binance.com",
    "data-stream.binance.vision",
];
/// Other exchanges by the domain of their hosts.
const OTHERS: [&str; 3] = ["binance.us", "testnet.binance.vision", "binancefuture.com"];
const DEMO: &str = "demo.binance.com";
/// What a list without a host is of.
const NOWHERE: &str = "none";
/// Longer names are replaced by their hash, so that keys stay short.
const LONGEST_NAME: usize = 64;

/// Two hosts that are known to be of different exchanges, where one exchange is wanted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mixed {
    /// A host.
    pub one: String,
    /// A host of another exchange.
    pub other: String,
}

impl fmt::Display for Mixed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} and {} are of different exchanges, whose answers must not be mixed", self.one, self.other)
    }
}

impl std::error::Error for Mixed {}

/// What the name of a host says of its exchange.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Known {
    Exchange(&'static str),
    /// Any exchange for trying things out.
    Test,
    Nothing,
}

impl Known {
    fn of(url: &BaseUrl) -> Known {
        let host = bare_host(url);
        let is_usual = matches!(url.port(), 80 | 443 | 9443) && base_path(url).is_empty();
        let other = OTHERS
            .into_iter()
            .find(|domain| host.strip_suffix(domain).is_some_and(|before| before.is_empty() || before.ends_with('.')));
        match other {
            Some(other) if is_usual => {
                Known::Exchange(if other == "binancefuture.com" { FUTURES_TESTNET } else { other })
            }
            None if is_usual && PUBLIC_HOSTS.contains(&host) => Known::Exchange(PUBLIC),
            None if is_usual && host.starts_with("demo-") && host.ends_with(".binance.com") => Known::Exchange(DEMO),
            _ if is_test(host) => Known::Test,
            _ => Known::Nothing,
        }
    }

    fn is_test(self) -> bool {
        match self {
            Known::Exchange(name) => is_test(name),
            Known::Test => true,
            Known::Nothing => false,
        }
    }

    fn differs(self, other: Known) -> bool {
        match (self, other) {
            (Known::Nothing, _) | (_, Known::Nothing) => false,
            (Known::Exchange(one), Known::Exchange(other)) => one != other,
            (one, other) => one.is_test() != other.is_test(),
        }
    }
}

const FUTURES_TESTNET: &str = "testnet.binancefuture.com";

/// Whether a host is of an exchange for trying things out.
fn is_test(host: &str) -> bool {
    host.split(['.', '-']).any(|word| matches!(word, "testnet" | "demo" | "sandbox"))
}

/// The name of the exchange that a list of hosts is of: of a known one if any of them is, else the first host's own.
///
/// The list says that its hosts are one exchange. So a host that is added to the list, wherever, changes the name only where it
/// makes the exchange a known one.
///
/// # Errors
///
/// When two of them are known to be of different exchanges.
pub fn exchange_of(hosts: &[BaseUrl]) -> Result<String, Mixed> {
    if let Some(mixed) = mixed(hosts, hosts) {
        return Err(mixed);
    }
    let known = hosts.iter().find_map(|host| match Known::of(host) {
        Known::Exchange(name) => Some(name.to_owned()),
        Known::Test | Known::Nothing => None,
    });
    Ok(known.or_else(|| hosts.first().map(own_name)).unwrap_or_else(|| NOWHERE.to_owned()))
}

/// Two hosts of different exchanges, one of each list.
pub fn mixed(hosts: &[BaseUrl], others: &[BaseUrl]) -> Option<Mixed> {
    let known: Vec<(&BaseUrl, Known)> = others.iter().map(|host| (host, Known::of(host))).collect();
    hosts.iter().find_map(|one| {
        let of_one = Known::of(one);
        let (other, _) = known.iter().find(|(_, of_other)| of_one.differs(*of_other))?;
        Some(Mixed { one: one.name().to_owned(), other: other.name().to_owned() })
    })
}

/// A host's own name: its host, its port unless it is that of https, and its path.
pub(super) fn own_name(host: &BaseUrl) -> String {
    let port = match host.port() {
        443 => String::new(),
        port => format!(":{port}"),
    };
    let name = [bare_host(host), &port, base_path(host)].concat();
    let is_plain = name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b".:/-_[]".contains(&byte));
    match is_plain && name.len() <= LONGEST_NAME {
        true => name,
        false => digest(&SHA256, name.as_bytes()).as_ref()[..16].iter().map(|byte| format!("{byte:02x}")).collect(),
    }
}

fn bare_host(host: &BaseUrl) -> &str {
    host.host().trim_end_matches('.')
}

fn base_path(host: &BaseUrl) -> &str {
    host.url().path().trim_end_matches('/')
}

impl Options {
    /// The exchange of each venue.
    ///
    /// # Errors
    ///
    /// When the hosts of a venue are known to be of different exchanges.
    pub fn identities(&self) -> Result<Identities, Mixed> {
        let [spot, futures, coin] = Venue::ALL.map(|venue| exchange_of(self.hosts(venue)));
        Ok(Identities::new([&spot?, &futures?, &coin?]))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hosts(urls: &str) -> Vec<BaseUrl> {
        urls.split(',').map(|url| BaseUrl::new(url.parse().unwrap()).unwrap()).collect()
    }

    fn name(urls: &str) -> String {
        exchange_of(&hosts(urls)).unwrap_or_else(|mixed| mixed.to_string())
    }

    #[test]
    fn the_public_hosts_are_one_exchange_in_any_order_and_with_any_mirror() {
        for urls in [
            crate::upstream::options::SPOT_HOSTS,
            crate::upstream::options::FUTURES_HOSTS,
            crate::upstream::options::COIN_HOSTS,
            "https://data-api.binance.vision",
            "https://API.Binance.com./",
            "https://mirror.example,https://api3.binance.com",
            "https://api3.binance.com,http://127.0.0.1:8091",
        ] {
            assert_eq!(name(urls), PUBLIC, "{urls}");
        }
    }

    #[test]
    fn any_other_list_is_named_after_a_known_host_or_its_first_host() {
        for (urls, expected) in [
            ("https://api.binance.us", "binance.us"),
            ("https://testnet.binance.vision", "testnet.binance.vision"),
            ("https://api1.testnet.binance.vision,https://testnet.binance.vision", "testnet.binance.vision"),
            ("http://127.0.0.1:8091,https://testnet.binance.vision", "testnet.binance.vision"),
            ("https://testnet.binancefuture.com", "testnet.binancefuture.com"),
            ("https://demo-fapi.binance.com", "demo.binance.com"),
            ("https://mirror.example,https://spare.example", "mirror.example"),
            ("http://mirror.example", "mirror.example:80"),
            ("http://127.0.0.1:8091/base/", "127.0.0.1:8091/base"),
            ("http://[::1]:81", "[::1]:81"),
            ("https://api.binance.com:8443", "api.binance.com:8443"),
            ("https://api.binance.com/mirror", "api.binance.com/mirror"),
            ("https://notbinance.us", "notbinance.us"),
            ("https://api.binance.com.example", "api.binance.com.example"),
        ] {
            assert_eq!(name(urls), expected, "{urls}");
        }
        assert_eq!(exchange_of(&[]).as_deref(), Ok("none"));
    }

    #[test]
    fn long_and_odd_names_become_short_and_stay_apart() {
        let (long, longer) =
            (format!("https://{}.example", "a".repeat(60)), format!("https://{}.example", "a".repeat(61)));
        let names = [long.as_str(), longer.as_str(), "https://h/a%20b", "https://h/a*b"].map(name);
        for (index, name) in names.iter().enumerate() {
            assert!(name.len() == 32 && name.bytes().all(|byte| byte.is_ascii_hexdigit()), "{name}");
            assert!(!names[..index].contains(name));
        }
    }

    #[test]
    fn exchanges_that_are_known_to_differ_are_not_mixed() {
        for (urls, others) in [
            ("https://api.binance.com", "https://testnet.binance.vision"),
            ("https://api.binance.com", "https://api.binance.us"),
            ("https://api.binance.us", "wss://stream.binance.com:9443"),
            ("https://testnet.binance.vision", "wss://stream.binance.com:9443"),
            ("https://fapi.binance.com", "wss://stream.binancefuture.com"),
            ("https://testnet.binancefuture.com", "wss://fstream.binance.com"),
            ("https://demo-fapi.binance.com", "https://fapi.binance.com"),
            ("https://api.binance.com", "https://sandbox.mirror.example"),
        ] {
            for (urls, others) in [(urls, others), (others, urls)] {
                assert!(mixed(&hosts(urls), &hosts(others)).is_some(), "{urls} {others}");
                assert!(exchange_of(&hosts(&format!("{urls},{others}"))).is_err(), "{urls},{others}");
            }
        }
        for (urls, others) in [
            ("https://api.binance.com", "wss://stream.binance.com:9443"),
            ("https://api.binance.com", "wss://data-stream.binance.vision"),
            ("https://testnet.binance.vision", "wss://stream.testnet.binance.vision"),
            ("https://testnet.binancefuture.com", "wss://stream.binancefuture.com"),
            ("http://127.0.0.1:8091", "wss://stream.binance.com:9443"),
            ("https://a-testnet.example", "https://b-testnet.example"),
        ] {
            assert_eq!(mixed(&hosts(urls), &hosts(others)), None, "{urls} {others}");
        }
    }
}

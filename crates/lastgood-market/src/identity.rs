//! Which exchange an answer is of: a part of every key, so that nothing of one exchange is ever served as another's.

use std::fmt;
use std::sync::Arc;

use crate::venue::Venue;

/// The public exchange. Keys leave its name out.
pub(crate) const PUBLIC: &str = "binance.com";

/// Which exchange the answers of each venue are of.
///
/// Keys begin with the venue and, for any other exchange than the public one, its name: `spot/api/v3/…`, but
/// `spot@testnet.binance.vision/api/v3/…`.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Identities([Identity; 3]);

#[derive(Clone, PartialEq, Eq, Hash)]
struct Identity {
    name: Arc<str>,
    /// What keys begin with.
    prefix: Arc<str>,
}

impl Identities {
    /// The exchanges of these names, in the order of [`Venue::ALL`].
    pub fn new(names: [&str; 3]) -> Identities {
        Identities(Venue::ALL.map(|venue| {
            let name = names[venue as usize];
            let prefix = if name == PUBLIC { venue.to_string() } else { format!("{venue}@{name}") };
            Identity { name: name.into(), prefix: prefix.into() }
        }))
    }

    /// The public exchange, for every venue.
    pub fn public() -> Identities {
        Identities::new([PUBLIC; 3])
    }

    /// The name of a venue's exchange.
    pub fn name(&self, venue: Venue) -> &str {
        &self.0[venue as usize].name
    }

    /// What the keys of a venue's answers begin with; a path follows.
    pub fn of(&self, venue: Venue) -> &str {
        &self.0[venue as usize].prefix
    }

    /// A key without the name of the exchange, where it is one of these exchanges'.
    pub fn without_name(&self, key: &str) -> Option<String> {
        self.replaced(key, |venue| (self.of(venue), venue.as_str()))
    }

    /// A key with the name of the exchange, where it was left out and is not that of the public exchange.
    pub fn with_name(&self, key: &str) -> Option<String> {
        self.replaced(key, |venue| (venue.as_str(), self.of(venue)))
    }

    fn replaced<'a>(&self, key: &str, change: impl Fn(Venue) -> (&'a str, &'a str)) -> Option<String> {
        let (unit, rest) = split_unit(key);
        Venue::ALL.into_iter().filter(|venue| self.name(*venue) != PUBLIC).map(change).find_map(|(from, to)| {
            let path = rest.strip_prefix(from).filter(|path| path.starts_with('/'))?;
            Some([unit, to, path].concat())
        })
    }
}

/// Debug output as in logs: `spot@binance.com futures@binance.com coin@binance.com`.
impl fmt::Debug for Identities {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names = Venue::ALL.map(|venue| format!("{venue}@{}", self.name(venue)));
        f.write_str(&names.join(" "))
    }
}

/// Keys of answers in microseconds begin with this.
pub(crate) const MICROSECONDS: &str = "us:";

fn split_unit(key: &str) -> (&str, &str) {
    key.strip_prefix(MICROSECONDS).map_or(("", key), |rest| (MICROSECONDS, rest))
}

/// The part of a key after the name of the exchange: from the path on. The whole key where it names none.
pub fn after_name(key: &str) -> &str {
    let (_, rest) = split_unit(key);
    let names_one = |venue: &Venue| rest.strip_prefix(venue.as_str()).is_some_and(|rest| rest.starts_with('@'));
    if !Venue::ALL.iter().any(names_one) {
        return key;
    }
    // The name may hold a path of its own.
    let paths = ["/api/v", "/fapi/v", "/dapi/v", "/futures/data/"];
    let path = paths.iter().filter_map(|path| rest.find(path)).min();
    path.or_else(|| rest.rfind('/')).map_or(rest, |at| &rest[at..])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_name_every_exchange_but_the_public_one() {
        let identities = Identities::new([PUBLIC, "testnet.example", "127.0.0.1:8091/base"]);
        assert_eq!(identities.of(Venue::Spot), "spot");
        assert_eq!(identities.of(Venue::UsdM), "futures@testnet.example");
        assert_eq!(identities.of(Venue::CoinM), "coin@127.0.0.1:8091/base");
        assert_eq!(identities.name(Venue::Spot), "binance.com");
    }

    #[test]
    fn the_own_exchange_may_be_left_out_and_another_is_never_taken_for_it() {
        let identities = Identities::new(["h:1", "h:2", PUBLIC]);
        for (short, full) in [
            ("spot/api/v3/klines:BTCUSDT:1h:tail", "spot@h:1/api/v3/klines:BTCUSDT:1h:tail"),
            ("us:spot/api/v3/trades?symbol=X", "us:spot@h:1/api/v3/trades?symbol=X"),
            ("futures/fapi/v1/depth?symbol=X", "futures@h:2/fapi/v1/depth?symbol=X"),
        ] {
            assert_eq!(identities.with_name(short).as_deref(), Some(full));
            assert_eq!(identities.without_name(full).as_deref(), Some(short));
        }
        for other in ["spot@h:2/api", "spot@h:11/api", "coin/dapi/v1/depth?", "spotted/api", "anything", ""] {
            assert_eq!(identities.with_name(other), None, "{other}");
            assert_eq!(identities.without_name(other), None, "{other}");
        }
    }

    #[test]
    fn what_follows_on_a_name_is_found_whatever_the_name_is() {
        for (key, after) in [
            ("spot@bnb.example/api/v3/klines:BTCUSDT:1h:tail", "/api/v3/klines:BTCUSDT:1h:tail"),
            ("us:futures@[::1]:80/eth/fapi/v1/depth?symbol=X", "/fapi/v1/depth?symbol=X"),
            ("spot@bnb.example/testnet,public", "/testnet,public"),
            ("spot/api/v3/depth?symbol=X", "spot/api/v3/depth?symbol=X"),
            ("me@bnb/x", "me@bnb/x"),
        ] {
            assert_eq!(after_name(key), after);
        }
    }
}

//! The traded symbols.

use crate::Venue;
use crate::random::{fraction, mix};

/// A pair on one of the markets.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Symbol {
    pub(crate) venue: Venue,
    pub(crate) name: String,
    /// What index and continuous series are asked for by.
    pub(crate) pair: String,
    pub(crate) base: String,
    pub(crate) quote: String,
    pub(crate) contract: Contract,
    /// A price in the middle of its history.
    pub(crate) level: f64,
    /// Decimals of its price.
    pub(crate) decimals: usize,
    /// When it was listed, in ms.
    pub(crate) listed_at: u64,
    pub(crate) trading: bool,
    /// Whether its history has runs of missing candles.
    pub(crate) has_gaps: bool,
    /// Whether some of its candles open or close off the grid.
    pub(crate) off_grid: bool,
    /// Tells its chance from every other's.
    pub(crate) salt: u64,
}

/// The contract traded under a symbol.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Contract {
    Spot,
    Perpetual,
    /// Delivered at this time, in ms.
    Quarter(u64),
}

impl Contract {
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Contract::Spot => "SPOT",
            Contract::Perpetual => "PERPETUAL",
            Contract::Quarter(_) => "CURRENT_QUARTER",
        }
    }
}

/// Well-known assets with a price level in dollars.
const KNOWN: &[(&str, f64)] = &[
    ("BTC", 61_000.0),
    ("ETH", 2_900.0),
    ("BNB", 560.0),
    ("SOL", 145.0),
    ("XRP", 0.58),
    ("ADA", 0.41),
    ("DOGE", 0.12),
    ("TRX", 0.15),
    ("DOT", 5.9),
    ("LTC", 71.0),
    ("LINK", 13.0),
    ("AVAX", 27.0),
    ("ATOM", 6.1),
    ("UNI", 8.0),
    ("ETC", 22.0),
    ("XLM", 0.1),
    ("NEAR", 5.2),
    ("FIL", 4.2),
    ("APT", 7.1),
    ("ARB", 0.73),
    ("OP", 1.8),
    ("SUI", 1.1),
    ("INJ", 23.0),
    ("TON", 6.8),
    ("SHIB", 0.000_017),
    ("PEPE", 0.000_009),
    ("BCH", 370.0),
    ("ICP", 8.3),
    ("AAVE", 98.0),
    ("MKR", 2_500.0),
    ("ALGO", 0.14),
    ("VET", 0.025),
    ("SAND", 0.31),
    ("MANA", 0.32),
    ("AXS", 5.7),
    ("GALA", 0.022),
    ("RUNE", 4.1),
    ("EGLD", 30.0),
    ("THETA", 1.4),
    ("FTM", 0.52),
    ("CRV", 0.29),
    ("SNX", 1.9),
    ("COMP", 50.0),
    ("CHZ", 0.07),
    ("ENJ", 0.17),
    ("ZEC", 24.0),
    ("DASH", 25.0),
    ("XTZ", 0.78),
    ("EOS", 0.57),
    ("NEO", 11.0),
    ("IOTA", 0.16),
    ("KAVA", 0.38),
    ("GRT", 0.19),
    ("LDO", 1.8),
    ("IMX", 1.5),
    ("STX", 1.6),
    ("TIA", 6.3),
    ("SEI", 0.34),
    ("JUP", 0.8),
    ("WIF", 1.7),
];

/// Quarterly contracts are delivered here: 2027-03-26 08:00 UTC.
const DELIVERY: u64 = 1_806_048_000_000;
const EARLIEST: u64 = 1_502_942_400_000;
const LATEST: u64 = 1_748_736_000_000;
const HOUR: u64 = 3_600_000;

/// The pairs of a market, in the order the exchange lists them.
pub(crate) fn symbols(venue: Venue, count: usize, seed: u64) -> Vec<Symbol> {
    let assets = KNOWN.iter().map(|(name, level)| ((*name).to_owned(), *level));
    let invented = (0..).map(|number| {
        let level = 10f64.powf(fraction(seed, number, 1) * 5.0 - 3.0);
        (invented_name(seed, number), level)
    });
    let unicode = std::iter::once(("币安人生".to_owned(), 0.12));
    let quotes: &[&str] = match venue {
        Venue::Spot => &["USDT", "BTC", "USDC", "EUR"],
        Venue::UsdM => &["USDT"],
        Venue::CoinM => &["USD"],
    };
    let mut listed: Vec<Symbol> = Vec::with_capacity(count);
    // All known assets in the first quote, then the unicode one, then the others as room allows.
    for (base, level) in assets.chain(unicode).chain(invented) {
        for (position, quote) in quotes.iter().enumerate() {
            if listed.len() >= count {
                break;
            }
            if base == *quote || (position > 0 && listed.len().is_multiple_of(3)) {
                continue;
            }
            let level = if *quote == "BTC" { level / 61_000.0 } else { level };
            listed.push(symbol(venue, listed.len(), &base, quote, level, seed));
        }
        if listed.len() >= count {
            break;
        }
    }
    if venue != Venue::Spot {
        for base in ["BTC", "ETH"] {
            let perpetual = listed.iter().find(|symbol| symbol.base == base).cloned();
            listed.extend(perpetual.map(|perpetual| Symbol {
                name: format!("{}_270326", perpetual.pair),
                contract: Contract::Quarter(DELIVERY),
                salt: perpetual.salt ^ 1,
                ..perpetual
            }));
        }
    }
    listed
}

fn symbol(venue: Venue, position: usize, base: &str, quote: &str, level: f64, seed: u64) -> Symbol {
    let pair = format!("{base}{quote}");
    let salt = mix(seed, venue as u64 + 1, pair.bytes().fold(7, |hash, byte| mix(hash, u64::from(byte), 3)));
    let well_known = KNOWN[..6].iter().any(|(known, _)| *known == base);
    let listed_at = match well_known {
        true => EARLIEST,
        false => EARLIEST + mix(salt, 5, 5) % (LATEST - EARLIEST),
    };
    Symbol {
        venue,
        name: if venue == Venue::CoinM { format!("{pair}_PERP") } else { pair.clone() },
        pair,
        base: base.to_owned(),
        quote: quote.to_owned(),
        contract: if venue == Venue::Spot { Contract::Spot } else { Contract::Perpetual },
        level,
        decimals: match level {
            level if level >= 1_000.0 => 2,
            level if level >= 1.0 => 4,
            level if level >= 0.01 => 5,
            _ => 8,
        },
        listed_at: listed_at / HOUR * HOUR,
        trading: well_known || position % 41 != 40,
        has_gaps: !well_known && position % 7 == 3,
        off_grid: !well_known && position % 11 == 5,
        salt,
    }
}

fn invented_name(seed: u64, number: u64) -> String {
    const CONSONANTS: &[u8] = b"BCDFGKLMNPRSTVZ";
    const VOWELS: &[u8] = b"AEIOU";
    let pick = |letters: &[u8], place: u64| letters[(mix(seed, number, place) % letters.len() as u64) as usize] as char;
    let mut name: String = (0..4).map(|place| pick(if place % 2 == 0 { CONSONANTS } else { VOWELS }, place)).collect();
    // The number makes it unique.
    name.push_str(&number.to_string());
    name
}

//! The symbols of all markets, by name and by position.

use std::collections::HashMap;
use std::sync::{Arc, OnceLock};

use crate::content::Tail;
use crate::symbols::{Symbol, symbols};
use crate::{Venue, info};

#[derive(Debug)]
pub(crate) struct Catalogue {
    markets: [Market; 3],
}

#[derive(Debug)]
struct Market {
    symbols: Vec<Symbol>,
    positions: HashMap<String, usize>,
    /// The long part of exchangeInfo with all symbols.
    info: OnceLock<Arc<Tail>>,
}

impl Catalogue {
    pub(crate) fn new(seed: u64, spot: usize) -> Self {
        // The real exchange lists some five spot pairs for each USD-M contract.
        let market = |venue, count| {
            let symbols = symbols(venue, count, seed);
            let positions = symbols.iter().enumerate().map(|(at, symbol)| (symbol.name.clone(), at)).collect();
            Market { symbols, positions, info: OnceLock::new() }
        };
        Catalogue {
            markets: [
                market(Venue::Spot, spot),
                market(Venue::UsdM, (spot / 5).max(12)),
                market(Venue::CoinM, (spot / 40).max(12)),
            ],
        }
    }

    pub(crate) fn all(&self, venue: Venue) -> &[Symbol] {
        &self.markets[venue as usize].symbols
    }

    pub(crate) fn info(&self, venue: Venue) -> &Arc<Tail> {
        let made = || Arc::new(Tail::new(info::tail(self.all(venue), venue, |_| true, venue == Venue::Spot)));
        self.markets[venue as usize].info.get_or_init(made)
    }

    /// Those that are traded, and so have tickers.
    pub(crate) fn trading(&self, venue: Venue) -> impl Iterator<Item = &Symbol> {
        self.all(venue).iter().filter(|symbol| symbol.trading)
    }

    pub(crate) fn get(&self, venue: Venue, name: &str) -> Option<&Symbol> {
        let market = &self.markets[venue as usize];
        market.positions.get(name).map(|at| &market.symbols[*at])
    }

    pub(crate) fn position(&self, venue: Venue, name: &str) -> Option<usize> {
        self.markets[venue as usize].positions.get(name).copied()
    }

    /// The perpetual of a pair, for the series that are asked for by pair.
    pub(crate) fn of_pair(&self, venue: Venue, pair: &str) -> Option<&Symbol> {
        self.all(venue).iter().find(|symbol| symbol.pair == pair)
    }
}

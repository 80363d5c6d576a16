//! The values read and changed: values of applications, answers of the exchange and of declared routes.

/// The symbols whose answers and values are invalidated.
const SYMBOLS: [&str; 4] = ["BTCUSDT", "ETHUSDT", "SOLUSDT", "XRPUSDT"];
/// Those whose answers are never invalidated: with them, the loads of each window are counted.
const STEADY: [&str; 4] = ["AAA", "BBB", "CCC", "DDD"];
/// Values of applications that are about one symbol.
const VALUES_EACH: usize = 4;

/// What kind of place it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// A value of `/v1/kv`.
    Value,
    Price,
    Candles,
    Quote,
    /// An answer of a declared route that is never invalidated.
    Steady,
}

impl Kind {
    /// The region of the cache.
    pub(crate) fn region(self) -> &'static str {
        match self {
            Kind::Value => "kv",
            Kind::Price => "ticker_price",
            Kind::Candles => "klines",
            Kind::Quote => "quotes",
            Kind::Steady => "steady",
        }
    }

    /// How long an answer is fresh and how long after that it is served stale, in milliseconds; what the gateways are
    /// configured with.
    pub(crate) fn freshness(self) -> (u64, u64) {
        match self {
            Kind::Value => (3_600_000, 0),
            Kind::Price | Kind::Quote => (2_000, 1_000),
            Kind::Candles => (2_000, 0),
            Kind::Steady => (1_000, 0),
        }
    }
}

/// One question, or the name of one value.
#[derive(Clone, Debug)]
pub(crate) struct Place {
    pub(crate) kind: Kind,
    pub(crate) symbol: &'static str,
    /// A request to a gateway.
    pub(crate) target: String,
    /// What its key is in the cache.
    pub(crate) key: String,
}

/// Everything that is asked for.
pub(crate) fn all() -> Vec<Place> {
    let mut places = Vec::new();
    for symbol in SYMBOLS {
        let price = format!("/api/v3/ticker/price?symbol={symbol}");
        let candles = format!("/api/v3/klines?symbol={symbol}&interval=1m&limit=3");
        let quote = format!("/v1/quotes/{symbol}");
        let key = format!("ticker_price:spot{price}");
        places.push(Place { kind: Kind::Price, symbol, target: price, key });
        let key = format!("klines:spot/api/v3/klines:{symbol}:1m:tail");
        places.push(Place { kind: Kind::Candles, symbol, target: candles, key });
        let key = format!("quotes:/v1/quotes/{{symbol}}?symbol={symbol}");
        places.push(Place { kind: Kind::Quote, symbol, target: quote, key });
        for number in 0..VALUES_EACH {
            let name = format!("{symbol}.{number}");
            let (target, key) = (format!("/v1/kv/kv/{name}"), format!("kv:{name}"));
            places.push(Place { kind: Kind::Value, symbol, target, key });
        }
    }
    for symbol in STEADY {
        let (target, key) = (format!("/v1/steady/{symbol}"), format!("steady:/v1/steady/{{symbol}}?symbol={symbol}"));
        places.push(Place { kind: Kind::Steady, symbol, target, key });
    }
    places
}

/// An invalidation: the request for it, and which places it is about.
#[derive(Clone, Debug)]
pub(crate) struct Invalidation {
    pub(crate) path: String,
    pub(crate) body: serde_json::Value,
    pub(crate) places: Vec<usize>,
    pub(crate) is_hard: bool,
}

/// The ways to invalidate.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Way {
    Key,
    TagOfSymbol,
    TagOfKind,
    Pattern,
    Region,
    Symbol,
    Clear,
    Flush,
}

impl Way {
    /// The more often it stands here, the more often it is gone.
    pub(crate) const OFTEN: [Way; 14] = [
        Way::Key,
        Way::Key,
        Way::Key,
        Way::Key,
        Way::TagOfSymbol,
        Way::TagOfSymbol,
        Way::TagOfKind,
        Way::Pattern,
        Way::Pattern,
        Way::Pattern,
        Way::Region,
        Way::Symbol,
        Way::Clear,
        Way::Clear,
    ];
}

type IsMeant<'a> = Box<dyn Fn(&Place) -> bool + 'a>;

/// How `way` invalidates `place`, and what else.
pub(crate) fn invalidation(places: &[Place], place: usize, way: Way, is_hard: bool) -> Option<Invalidation> {
    let chosen = places.get(place)?;
    let (kind, symbol) = (chosen.kind, chosen.symbol);
    let is_tagged = |kind| matches!(kind, Kind::Value | Kind::Quote);
    let by = |name: &str, value: String| (invalidate(), serde_json::json!({ name: value, "hard": is_hard }));
    let (request, is_meant): (_, IsMeant<'_>) = match way {
        Way::Key => (by("key", chosen.key.clone()), Box::new(move |place| place.key == chosen.key)),
        Way::TagOfSymbol if is_tagged(kind) => (
            by("tag", format!("symbol:{symbol}")),
            Box::new(move |place| place.symbol == symbol && is_tagged(place.kind)),
        ),
        Way::TagOfKind if is_tagged(kind) => {
            (by("tag", format!("all-{}", kind.region())), Box::new(move |place| place.kind == kind))
        }
        // Only values and quotes have tags.
        Way::TagOfSymbol | Way::TagOfKind => return None,
        Way::Pattern => (
            by("pattern", format!("{}:*{symbol}*", kind.region())),
            Box::new(move |place| place.kind == kind && place.symbol == symbol),
        ),
        Way::Region => (by("region", kind.region().to_owned()), Box::new(move |place| place.kind == kind)),
        Way::Symbol => (by("symbol", symbol.to_owned()), Box::new(move |place| place.symbol == symbol)),
        Way::Clear => {
            ((format!("/api/cache/clear/{symbol}"), serde_json::json!({})), Box::new(move |p| p.symbol == symbol))
        }
        Way::Flush => (("/api/cache/flush".to_owned(), serde_json::json!({ "confirm": true })), Box::new(|_| true)),
    };
    let meant = places.iter().enumerate().filter(|(_, place)| is_meant(place)).map(|(index, _)| index);
    let is_hard = is_hard || matches!(way, Way::Clear | Way::Flush);
    Some(Invalidation { path: request.0, body: request.1, places: meant.collect(), is_hard })
}

fn invalidate() -> String {
    "/api/cache/invalidate".to_owned()
}

//! Keys as they are written: `region:name`.

use std::borrow::Cow;

use http::{StatusCode, Uri};
use lastgood::Region;
use lastgood_market::candles::series_prefix;
use lastgood_market::{Identities, RegionName};
use lastgood_routes::suggest::nearest;
use percent_encoding::{AsciiSet, CONTROLS, percent_decode_str, utf8_percent_encode};

use super::glob::Glob;
use crate::app::App;
use crate::fleet;
use crate::problem::Refused;

/// Names beyond this fit no store.
const LONGEST: usize = 768;

/// What keys of the exchange's answers write as `%XX`, and what those of routes do; both with all that is not ASCII.
const BY_THE_EXCHANGE: &AsciiSet = &CONTROLS
    .add(b' ')
    .add(b'"')
    .add(b'\'')
    .add(b',')
    .add(b'[')
    .add(b']')
    .add(b'{')
    .add(b'}')
    .add(b'(')
    .add(b')')
    .add(b'<')
    .add(b'>')
    .add(b'+')
    .add(b'*')
    .add(b'!')
    .add(b'$')
    .add(b'@')
    .add(b'#')
    .add(b';')
    .add(b'\\')
    .add(b'^')
    .add(b'`')
    .add(b'|')
    .add(b'~');
const BY_ROUTES: &AsciiSet = &CONTROLS.add(b' ').add(b'*').add(b'[').add(b']');

/// A key: its region and its name in it.
pub(super) struct KeyName {
    pub(super) region: Region,
    pub(super) name: String,
}

impl KeyName {
    /// The key of a text. The name of this gateway's exchange may be left out: `spot/api/…` is what it answers itself.
    pub(super) fn parse(app: &App, text: &str) -> Result<KeyName, Refused> {
        let refuse = |detail: &str| Err(Refused::new(StatusCode::BAD_REQUEST, detail));
        let Some((region_name, name)) = text.split_once(':').filter(|(_, name)| !name.is_empty()) else {
            return refuse("A key is written region:name, such as ticker_price:spot/api/v3/ticker/price?");
        };
        if name.len() > LONGEST {
            return refuse(&format!("The key's name has {} bytes; at most {LONGEST} are possible.", name.len()));
        }
        let full_name = app.plans.identities().with_name(name).filter(|_| is_market(region_name));
        Ok(KeyName { region: region(app, region_name)?, name: full_name.unwrap_or_else(|| name.to_owned()) })
    }

    /// The key that a URL names after `prefix`, decoded once. A question mark that was not encoded is taken for the
    /// key's own, with the query as it stands.
    pub(super) fn of(app: &App, uri: &Uri, prefix: &str) -> Result<KeyName, Refused> {
        let encoded = uri.path().strip_prefix(prefix).unwrap_or_default();
        let decoded = percent_decode_str(encoded).decode_utf8().map_err(|_| {
            let detail = "The key is no UTF-8 once its percent-encoding is undone; encode it again.";
            Refused::new(StatusCode::BAD_REQUEST, detail)
        })?;
        match uri.query() {
            Some(query) => KeyName::parse(app, &format!("{decoded}?{query}")),
            None => KeyName::parse(app, &decoded),
        }
    }

    /// The key that is meant: this one if there is any such, else the one that is written like it once its name is
    /// percent-encoded, as keys of answers are.
    pub(super) async fn meant(self) -> KeyName {
        let is_there = async |name: &str| {
            let known = self.region.explain(name).await;
            known.answer.is_some() || known.backoff.is_some() || known.is_loading
        };
        let written = with_upper_escapes(&self.name);
        let encoded = |set| utf8_percent_encode(&written, set).to_string();
        let mut others = vec![encoded(BY_THE_EXCHANGE), encoded(BY_ROUTES)];
        others.dedup();
        others.retain(|other| *other != self.name);
        if others.is_empty() || is_there(&self.name).await {
            return self;
        }
        for other in others {
            if is_there(&other).await {
                return KeyName { name: other, region: self.region };
            }
        }
        self
    }

    /// The series of candles that is meant, by what its keys begin with: of a key of it, or of the series as a whole.
    pub(super) async fn series(&self) -> Option<String> {
        if self.region.name() != RegionName::Klines.as_str() || self.name.contains('?') {
            return None;
        }
        let end = KeyName { region: self.region.clone(), name: format!("{}tail", series_prefix(&self.name)) };
        Some(series_prefix(&end.meant().await.name))
    }

    /// The whole key.
    pub(super) fn full(&self) -> String {
        format!("{}:{}", self.region.name(), self.name)
    }
}

/// Whether a pattern takes a key, with the name of this gateway's exchange or without it.
pub(super) fn takes(glob: &Glob, identities: &Identities, region: &str, name: &str) -> bool {
    if region == fleet::REGION {
        return false;
    }
    let short = || identities.without_name(name).filter(|_| is_market(region));
    glob.takes(region, name) || short().is_some_and(|short| glob.takes(region, &short))
}

/// Whether a region holds what exchanges answered.
pub(super) fn is_market(region: &str) -> bool {
    let holds = |market: &RegionName| *market != RegionName::Bars && market.as_str() == region;
    RegionName::ALL.iter().any(holds)
}

/// A text with the letters of its escapes `%XX` in upper case, as keys have them.
pub(super) fn with_upper_escapes(text: &str) -> Cow<'_, str> {
    let Some(first) = text.find('%') else { return Cow::Borrowed(text) };
    let (mut written, mut rest) = (text[..first].to_owned(), &text[first..]);
    while let Some(c) = rest.chars().next() {
        match rest.get(..3) {
            Some(escape) if c == '%' && escape[1..].bytes().all(|digit| digit.is_ascii_hexdigit()) => {
                written.push_str(&escape.to_ascii_uppercase());
                rest = &rest[3..];
            }
            _ => {
                written.push(c);
                rest = &rest[c.len_utf8()..];
            }
        }
    }
    Cow::Owned(written)
}

/// The region of that name.
pub(super) fn region(app: &App, name: &str) -> Result<Region, Refused> {
    app.cache.region_named(name).ok_or_else(|| {
        let regions = app.cache.regions();
        let names: Vec<&str> = regions.iter().map(Region::name).filter(|name| *name != fleet::REGION).collect();
        let shown: String = name.chars().take(64).collect();
        let hint = match nearest(name, names.iter().copied()) {
            Some(meant) => format!("did you mean {meant:?}?"),
            None => format!("there are {}.", names.join(", ")),
        };
        Refused::new(StatusCode::NOT_FOUND, &format!("There is no region {shown:?}; {hint}"))
    })
}

//! Parameters as the exchange reads them, and its words for those it does not like.

use percent_encoding::percent_decode_str;

use crate::Venue;
use crate::catalogue::Catalogue;
use crate::symbols::Symbol;

/// An error in the exchange's shape.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ApiError {
    pub(crate) status: u16,
    pub(crate) code: i32,
    pub(crate) msg: String,
}

impl ApiError {
    pub(crate) fn new(status: u16, code: i32, msg: impl Into<String>) -> Self {
        ApiError { status, code, msg: msg.into() }
    }

    pub(crate) fn body(&self) -> String {
        serde_json::json!({ "code": self.code, "msg": self.msg }).to_string()
    }
}

pub(crate) fn invalid_symbol() -> ApiError {
    ApiError::new(400, -1121, "Invalid symbol.")
}

fn mandatory(name: &str) -> ApiError {
    ApiError::new(400, -1102, format!("Mandatory parameter '{name}' was not sent, was empty/null, or malformed."))
}

pub(crate) fn not_valid(name: &str) -> ApiError {
    ApiError::new(400, -1130, format!("Data sent for parameter '{name}' is not valid."))
}

pub(crate) fn illegal(name: &str, range: &str) -> ApiError {
    ApiError::new(400, -1100, format!("Illegal characters found in parameter '{name}'; legal range is '{range}'."))
}

/// A number of nothing but digits.
pub(crate) fn digits(text: &str) -> Option<u64> {
    text.bytes().all(|byte| byte.is_ascii_digit()).then(|| text.parse().ok())?
}

/// No endpoint reads this many parameters.
const MOST_PARAMS: usize = 40;

/// Decoded parameters of a query and a form body.
#[derive(Clone, Debug, Default)]
pub(crate) struct Params(Vec<(String, String)>);

impl Params {
    pub(crate) fn parse(raw: &str) -> Result<Params, ApiError> {
        let mut params = Params::default();
        let count = raw.split('&').filter(|field| !field.is_empty()).count();
        if count > MOST_PARAMS {
            let msg = format!("Too many parameters; expected '{MOST_PARAMS}' and received '{count}'.");
            return Err(ApiError::new(400, -1101, msg));
        }
        for field in raw.split('&').filter(|field| !field.is_empty()) {
            let (name, value) = field.split_once('=').unwrap_or((field, ""));
            let decode = |text: &str| percent_decode_str(text).decode_utf8_lossy().into_owned();
            let (name, value) = (decode(name), decode(value));
            if params.get(&name).is_some() {
                return Err(ApiError::new(400, -1101, format!("Duplicate values for parameter '{name}' detected.")));
            }
            params.0.push((name, value));
        }
        Ok(params)
    }

    pub(crate) fn get(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }

    /// Refuses parameters that an endpoint does not read, and empty ones.
    pub(crate) fn read_only(&self, venue: Venue, known: &[&str]) -> Result<(), ApiError> {
        if let Some((name, _)) = self.0.iter().find(|(name, value)| value.is_empty() && known.contains(&name.as_str()))
        {
            return Err(ApiError::new(400, -1105, format!("Parameter '{name}' was empty.")));
        }
        let read = self.0.iter().filter(|(name, _)| known.contains(&name.as_str())).count();
        if venue == Venue::Spot && read < self.0.len() {
            let msg = format!(
                "Not all sent parameters were read; read '{read}' parameter(s) but was sent '{}'.",
                self.0.len()
            );
            return Err(ApiError::new(400, -1104, msg));
        }
        Ok(())
    }

    pub(crate) fn mandatory(&self, name: &str) -> Result<&str, ApiError> {
        self.get(name).filter(|value| !value.is_empty()).ok_or_else(|| mandatory(name))
    }

    pub(crate) fn number(&self, name: &str) -> Result<Option<u64>, ApiError> {
        let Some(text) = self.get(name) else { return Ok(None) };
        digits(text).map(Some).ok_or_else(|| illegal(name, "^[0-9]{1,20}$"))
    }

    /// A time in ms, from ms or µs.
    pub(crate) fn time(&self, name: &str) -> Result<Option<u64>, ApiError> {
        Ok(self.number(name)?.map(|time| if time > 100_000_000_000_000 { time / 1_000 } else { time }))
    }

    /// `limit`: spot clamps one that is too large, futures refuse it.
    pub(crate) fn limit(&self, venue: Venue, default: usize, most: usize) -> Result<usize, ApiError> {
        let Some(limit) = self.number("limit")? else { return Ok(default) };
        let limit = usize::try_from(limit).unwrap_or(usize::MAX);
        match (venue, limit) {
            (Venue::Spot, 0) => Err(illegal("limit", "^[1-9][0-9]*$")),
            (Venue::Spot, limit) => Ok(limit.min(most)),
            (_, limit) if limit == 0 || limit > most => Err(not_valid("limit")),
            (_, limit) => Ok(limit),
        }
    }

    /// `timeZone`: hours, or hours and minutes, from −12:00 to +14:00; in ms east of UTC.
    pub(crate) fn time_zone(&self) -> Result<i64, ApiError> {
        let Some(zone) = self.get("timeZone") else { return Ok(0) };
        let (sign, zone) = match zone.strip_prefix('-') {
            Some(zone) => (-1, zone),
            None => (1, zone.strip_prefix('+').unwrap_or(zone)),
        };
        let (hours, minutes) = zone.split_once(':').unwrap_or((zone, "0"));
        let part = |text: &str| digits(text).and_then(|part| i64::try_from(part).ok()).filter(|part| *part < 60);
        let offset = part(hours).zip(part(minutes)).map(|(hours, minutes)| sign * (hours * 60 + minutes));
        let offset = offset.filter(|offset| (-12 * 60..=14 * 60).contains(offset));
        offset.map(|minutes| minutes * 60_000).ok_or_else(|| mandatory("timeZone"))
    }

    /// `symbolStatus`.
    pub(crate) fn status(&self) -> Result<Option<Status>, ApiError> {
        match self.get("symbolStatus") {
            None => Ok(None),
            Some("TRADING") => Ok(Some(Status::Trading)),
            Some("HALT") => Ok(Some(Status::Halt)),
            Some("BREAK") => Ok(Some(Status::Break)),
            Some(_) => Err(ApiError::new(400, -1122, "Invalid symbolStatus.")),
        }
    }

    /// Refuses a symbol that has not the status that is asked for.
    pub(crate) fn require_status(&self, symbol: &Symbol) -> Result<(), ApiError> {
        match self.status()? {
            Some(status) if !status.is_of(symbol) => {
                Err(ApiError::new(400, -1220, "The symbol's status does not match the requested symbolStatus."))
            }
            _ => Ok(()),
        }
    }

    /// The one symbol that must be named.
    pub(crate) fn symbol<'a>(&self, catalogue: &'a Catalogue, venue: Venue) -> Result<&'a Symbol, ApiError> {
        find(catalogue, venue, self.mandatory("symbol")?)
    }

    /// What `symbol` and `symbols` ask for.
    pub(crate) fn symbols<'a>(&self, catalogue: &'a Catalogue, venue: Venue) -> Result<Asked<'a>, ApiError> {
        match (self.get("symbol"), self.get("symbols")) {
            (Some(_), Some(_)) => Err(ApiError::new(
                400,
                -1128,
                "Combination of optional parameters invalid. Recommendation: 'symbol' and 'symbols' must not be sent together.",
            )),
            (Some(name), None) => find(catalogue, venue, name).map(Asked::One),
            (None, Some(list)) => {
                let illegal = || illegal("symbols", SYMBOLS);
                let names: Vec<String> = serde_json::from_str(list).map_err(|_| illegal())?;
                // Its pattern knows no blanks and no escapes.
                if serde_json::to_string(&names).ok().as_deref() != Some(list) {
                    return Err(illegal());
                }
                let mut found = names.iter().map(|name| find(catalogue, venue, name)).collect::<Result<Vec<_>, _>>()?;
                if found.is_empty() {
                    return Err(illegal());
                }
                let count = found.len();
                found.sort_by_key(|symbol| catalogue.position(venue, &symbol.name));
                found.dedup_by_key(|symbol| &symbol.name);
                match found.len() == count {
                    true => Ok(Asked::Some(found)),
                    false => Err(ApiError::new(400, -1101, "Duplicate values for parameter 'symbols' detected.")),
                }
            }
            (None, None) => Ok(Asked::All),
        }
    }
}

/// Whether a symbol is traded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Status {
    Trading,
    /// None of the simulated symbols ever is.
    Halt,
    Break,
}

impl Status {
    pub(crate) fn is_of(self, symbol: &Symbol) -> bool {
        match self {
            Status::Trading => symbol.trading,
            Status::Halt => false,
            Status::Break => !symbol.trading,
        }
    }
}

const SYMBOL: &str = "^[A-Z0-9-_.]{1,20}$";
const SYMBOLS: &str = r#"^\[("[A-Z0-9-_.]{1,20}"(,"[A-Z0-9-_.]{1,20}"){0,}){0,1}\]$"#;

/// Which symbols are asked for.
pub(crate) enum Asked<'a> {
    One(&'a Symbol),
    Some(Vec<&'a Symbol>),
    All,
}

pub(crate) fn find<'a>(catalogue: &'a Catalogue, venue: Venue, name: &str) -> Result<&'a Symbol, ApiError> {
    // Letters of every script, but no small Latin ones.
    let is_legal = |c: char| !c.is_ascii_lowercase() && (c.is_alphanumeric() || "-_.".contains(c));
    if !(1..=20).contains(&name.chars().count()) || !name.chars().all(is_legal) {
        return Err(illegal("symbol", SYMBOL));
    }
    catalogue.get(venue, name).ok_or_else(invalid_symbol)
}

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

fn not_valid(name: &str) -> ApiError {
    ApiError::new(400, -1130, format!("Data sent for parameter '{name}' is not valid."))
}

/// Decoded parameters of a query and a form body.
#[derive(Clone, Debug, Default)]
pub(crate) struct Params(Vec<(String, String)>);

impl Params {
    pub(crate) fn parse(raw: &str) -> Result<Params, ApiError> {
        let mut params = Params::default();
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
        let illegal = || {
            ApiError::new(
                400,
                -1100,
                format!("Illegal characters found in parameter '{name}'; legal range is '^[0-9]{{1,20}}$'."),
            )
        };
        text.parse().map(Some).map_err(|_| illegal())
    }

    /// A time in ms, from ms or µs.
    pub(crate) fn time(&self, name: &str) -> Result<Option<u64>, ApiError> {
        Ok(self.number(name)?.map(|time| if time > 100_000_000_000_000 { time / 1_000 } else { time }))
    }

    /// `limit`: spot clamps what is too much, futures refuse it.
    pub(crate) fn limit(&self, venue: Venue, default: usize, most: usize) -> Result<usize, ApiError> {
        let Some(limit) = self.number("limit")? else { return Ok(default) };
        let limit = usize::try_from(limit).unwrap_or(usize::MAX);
        match (venue, limit) {
            (Venue::Spot, 0) => Err(ApiError::new(
                400,
                -1100,
                "Illegal characters found in parameter 'limit'; legal range is '^[1-9][0-9]*$'.",
            )),
            (Venue::Spot, limit) => Ok(limit.min(most)),
            (_, limit) if limit == 0 || limit > most => Err(not_valid("limit")),
            (_, limit) => Ok(limit),
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
                let illegal = || {
                    ApiError::new(
                        400,
                        -1100,
                        "Illegal characters found in parameter 'symbols'; legal range is '^\\[(\"[A-Z0-9-_.]{1,20}\"(,\"[A-Z0-9-_.]{1,20}\"){0,}){0,1}\\]$'.",
                    )
                };
                let names: Vec<String> = serde_json::from_str(list).map_err(|_| illegal())?;
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

/// Which symbols are asked for.
pub(crate) enum Asked<'a> {
    One(&'a Symbol),
    Some(Vec<&'a Symbol>),
    All,
}

pub(crate) fn find<'a>(catalogue: &'a Catalogue, venue: Venue, name: &str) -> Result<&'a Symbol, ApiError> {
    if name.is_empty()
        || name.chars().any(|c| c.is_lowercase() && c.is_ascii() || !(c.is_alphanumeric() || "-_.".contains(c)))
    {
        return Err(ApiError::new(
            400,
            -1100,
            "Illegal characters found in parameter 'symbol'; legal range is '^[A-Z0-9-_.]{1,20}$'.",
        ));
    }
    catalogue.get(venue, name).ok_or_else(invalid_symbol)
}

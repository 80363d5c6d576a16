//! What part of a list is asked for.

use percent_encoding::percent_decode_str;

/// The largest `limit`.
pub const LARGEST_LIMIT: usize = 10_000;
/// The longest name of an asset.
const LONGEST_ASSET: usize = 32;
/// So much of a refused value is shown.
const SHOWN: usize = 64;

/// What part of a list is asked for; everything by default.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Selection {
    /// Only pairs that are quoted in this asset.
    pub quote: Option<String>,
    /// At most so many.
    pub limit: Option<usize>,
}

/// A parameter that cannot be acted upon.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// Its name.
    pub parameter: String,
    /// What was given, shortened.
    pub value: String,
    /// What may be given.
    pub allowed: String,
}

impl Refusal {
    fn new(parameter: &str, value: &str, allowed: impl Into<String>) -> Self {
        let shown = |text: &str| text.chars().take(SHOWN).collect();
        Refusal { parameter: shown(parameter), value: shown(value), allowed: allowed.into() }
    }
}

impl Selection {
    /// The selection that a query asks for.
    ///
    /// # Errors
    ///
    /// For a parameter that is unknown, given twice, or out of its range.
    pub fn parse(query: &str) -> Result<Selection, Refusal> {
        let mut selection = Selection::default();
        for field in query.split('&').filter(|field| !field.is_empty()) {
            let (name, value) = field.split_once('=').unwrap_or((field, ""));
            let value = percent_decode_str(value).decode_utf8_lossy();
            let known = match name {
                "limit" => selection.limit.replace(limit(&value)?).is_none(),
                "quote" => selection.quote.replace(quote(&value)?).is_none(),
                _ => return Err(Refusal::new(name, &value, "the parameters are limit and quote")),
            };
            if !known {
                return Err(Refusal::new(name, &value, "each parameter once"));
            }
        }
        Ok(selection)
    }

    pub(super) fn takes(&self, quote: &str) -> bool {
        self.quote.as_deref().is_none_or(|wanted| wanted == quote)
    }
}

fn limit(value: &str) -> Result<usize, Refusal> {
    let digits = !value.is_empty() && value.bytes().all(|byte| byte.is_ascii_digit());
    let number = digits.then(|| value.parse().ok()).flatten();
    let sound = number.filter(|number| (1..=LARGEST_LIMIT).contains(number));
    sound.ok_or_else(|| Refusal::new("limit", value, format!("a whole number from 1 to {LARGEST_LIMIT}")))
}

/// Assets may have names outside ASCII.
fn quote(value: &str) -> Result<String, Refusal> {
    if value.is_empty() || value.len() > LONGEST_ASSET || !value.chars().all(char::is_alphanumeric) {
        let allowed = format!("an asset such as USDT, 1 to {LONGEST_ASSET} bytes of letters and digits");
        return Err(Refusal::new("quote", value, allowed));
    }
    Ok(value.to_uppercase())
}

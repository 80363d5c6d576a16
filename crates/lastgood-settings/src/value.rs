//! A value as it was written, and the plain types it can be read as.

use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::time::Duration;

use lastgood_market::credentials::MasterKey;
use lastgood_routes::suggest::did_you_mean;
use secrecy::SecretString;
use toml::de::DeValue;

use crate::duration::{self, format_duration};
use crate::problem::{Origin, Wrong};
use crate::size;
use crate::variable::{Lookup, expand};

/// A value before it has a type: text from flags and the environment, more from TOML.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Raw {
    /// A string.
    Text(String),
    /// The text of an environment variable: it has no other way to say a number or a list.
    Variable {
        /// The variable, where the file or a flag names it.
        name: Option<String>,
        /// Its value, or the default that stands in for it.
        text: String,
    },
    /// A list of strings.
    List(Vec<String>),
    /// An integer, float or boolean as it was written.
    Bare { kind: &'static str, text: String },
}

impl Raw {
    /// A value of the file, before it has a type. Texts may be `env:NAME`.
    pub(crate) fn of(value: &DeValue<'_>, env: Lookup<'_>) -> Result<Self, Wrong> {
        let bare = |kind, text: String| Ok(Self::Bare { kind, text });
        match value {
            DeValue::String(text) => Self::written(text, env),
            DeValue::Integer(number) => bare("integer", number.to_string()),
            DeValue::Float(number) => bare("float", number.to_string()),
            DeValue::Boolean(flag) => bare("boolean", flag.to_string()),
            DeValue::Datetime(date) => bare("date", date.to_string()),
            DeValue::Table(_) => Err(Wrong::new("expected a value, found a table")),
            DeValue::Array(items) => items
                .iter()
                .map(|item| match item.get_ref() {
                    DeValue::String(text) => {
                        Ok(expand(text, env)?.map_or_else(|| text.to_string(), |expanded| expanded.text))
                    }
                    other => Err(Wrong::new(format!(
                        "expected a list of strings, found a list with a value of type {}",
                        other.type_str()
                    ))
                    .hint("put every item in quotes")),
                })
                .collect::<Result<_, _>>()
                .map(Self::List),
        }
    }

    /// A text of the file or of a flag, which may be `env:NAME`.
    pub(crate) fn written(text: &str, env: Lookup<'_>) -> Result<Self, Wrong> {
        Ok(match expand(text, env)? {
            Some(expanded) => Self::Variable { name: expanded.name, text: expanded.text },
            None => Self::text(text),
        })
    }

    pub(crate) fn text(text: impl Into<String>) -> Self {
        Self::Text(text.into())
    }

    /// The text of a string.
    pub(crate) fn string(&self) -> Option<&str> {
        match self {
            Self::Text(text) | Self::Variable { text, .. } => Some(text),
            Self::List(_) | Self::Bare { .. } => None,
        }
    }

    /// The items of a list; those of a variable are separated by commas.
    pub(crate) fn items(&self) -> Option<Vec<String>> {
        match self {
            Self::List(items) => Some(items.clone()),
            Self::Variable { text, .. } => {
                Some(text.split(',').map(str::trim).filter(|item| !item.is_empty()).map(str::to_owned).collect())
            }
            Self::Text(_) | Self::Bare { .. } => None,
        }
    }

    /// The text of a string value; anything else is refused with `example` to follow.
    pub(crate) fn as_text(&self, example: &str) -> Result<&str, Wrong> {
        match self {
            Self::Text(text) | Self::Variable { text, .. } => Ok(text.trim()),
            Self::List(_) => Err(Wrong::new("expected a string, found a list").hint(format!("write \"{example}\""))),
            Self::Bare { kind, text } => {
                Err(Wrong::new(format!("expected a string, found the {kind} {text}"))
                    .hint(format!("write \"{example}\"")))
            }
        }
    }

    /// The text of a string or bare value.
    pub(crate) fn as_word(&self, expected: &str) -> Result<&str, Wrong> {
        match self {
            Self::Text(text) | Self::Variable { text, .. } | Self::Bare { text, .. } => Ok(text.trim()),
            Self::List(_) => Err(Wrong::new(format!("expected {expected}, found a list"))),
        }
    }

    /// The items of a list, or of a comma-separated string.
    pub(crate) fn as_list(&self) -> Result<Vec<&str>, Wrong> {
        match self {
            Self::Text(text) | Self::Variable { text, .. } => {
                Ok(text.split(',').map(str::trim).filter(|item| !item.is_empty()).collect())
            }
            Self::List(items) => Ok(items.iter().map(|item| item.trim()).collect()),
            Self::Bare { kind, text } => Err(Wrong::new(format!("expected a list of URLs, found the {kind} {text}"))
                .hint("write [\"https://host\"], or \"https://host,https://other\"")),
        }
    }
}

impl Origin {
    /// The origin of `raw`, which stands here.
    pub(crate) fn of_value(self, raw: &Raw) -> Self {
        match (self, raw) {
            (Self::File { path, line, .. }, Raw::Variable { name, .. }) => {
                Self::File { path, line, variable: name.clone() }
            }
            (other, _) => other,
        }
    }
}

/// `true` or `false`, and what people write instead of them in the environment.
pub(crate) fn optional_boolean(raw: &Raw) -> Result<Option<bool>, Wrong> {
    let is_empty = raw.as_word("true or false").is_ok_and(str::is_empty);
    if is_empty { Ok(None) } else { boolean(raw).map(Some) }
}

pub(crate) fn boolean(raw: &Raw) -> Result<bool, Wrong> {
    let word = raw.as_word("true or false")?;
    match word.to_ascii_lowercase().as_str() {
        "true" | "1" | "yes" | "on" | "enabled" => Ok(true),
        "false" | "0" | "no" | "off" | "disabled" => Ok(false),
        _ => Err(Wrong::new(format!("{word:?} is neither true nor false")).hint("write true or false")),
    }
}

/// A whole number within `range`.
pub(crate) fn count(raw: &Raw, range: RangeInclusive<usize>) -> Result<usize, Wrong> {
    let word = raw.as_word("a whole number")?;
    let digits = word.replace('_', "");
    let number: usize =
        digits.parse().map_err(|_| Wrong::new(format!("{word:?} is not a whole number")).hint(range_hint(&range)))?;
    if range.contains(&number) {
        Ok(number)
    } else {
        Err(Wrong::new(format!("{number} is out of range")).hint(range_hint(&range)))
    }
}

fn range_hint(range: &RangeInclusive<usize>) -> String {
    format!("choose between {} and {}", range.start(), range.end())
}

/// A fraction between 0 and 1.
pub(crate) fn fraction(raw: &Raw) -> Result<f64, Wrong> {
    let word = raw.as_word("a number between 0 and 1")?;
    match word.parse::<f64>() {
        Ok(number) if (0.0..=1.0).contains(&number) => Ok(number),
        Ok(number) if number > 1.0 && number <= 100.0 => Err(Wrong::new(format!("{word} is out of range"))
            .hint(format!("choose between 0 and 1; {word} % is {}", number / 100.0))),
        _ => Err(Wrong::new(format!("{word:?} is not a number between 0 and 1")).hint("0.1 means 10 %")),
    }
}

/// A duration within `range`. Digits alone are seconds where a variable says them.
pub(crate) fn span(raw: &Raw, range: RangeInclusive<Duration>) -> Result<Duration, Wrong> {
    let word = raw.as_word("a duration")?;
    let is_number = !word.is_empty() && word.bytes().all(|byte| byte.is_ascii_digit());
    let value = match raw {
        Raw::Variable { .. } if is_number => duration::parse(&format!("{word}s"))?,
        _ => duration::parse(word)?,
    };
    if range.contains(&value) {
        Ok(value)
    } else {
        Err(Wrong::new(format!("{word} is out of range")).hint(format!(
            "choose between {} and {}",
            format_duration(*range.start()),
            format_duration(*range.end())
        )))
    }
}

/// A number of bytes within `range`.
pub(crate) fn bytes(raw: &Raw, range: RangeInclusive<u64>) -> Result<u64, Wrong> {
    let word = raw.as_word("a size")?;
    let value = size::parse(word)?;
    if range.contains(&value) {
        Ok(value)
    } else {
        Err(Wrong::new(format!("{word} is out of range")).hint(format!(
            "choose between {} and {}",
            size::format(*range.start()),
            size::format(*range.end())
        )))
    }
}

/// One of a few words.
pub(crate) fn one_of<T: Copy>(raw: &Raw, choices: &[(&str, T)]) -> Result<T, Wrong> {
    let names: Vec<&str> = choices.iter().map(|(name, _)| *name).collect();
    let word = raw.as_text(names.first().copied().unwrap_or_default())?;
    choices.iter().find(|(name, _)| word.eq_ignore_ascii_case(name)).map(|(_, value)| *value).ok_or_else(|| {
        Wrong::new(format!("{word:?} is not one of {}", names.join(", ")))
            .hint_if(did_you_mean(word, names.iter().copied()))
    })
}

/// A path; empty is refused by the caller that needs one.
pub(crate) fn path(raw: &Raw) -> Result<PathBuf, Wrong> {
    let text = raw.as_text("/var/lib/lastgood")?;
    if text.starts_with('~') {
        return Err(Wrong::new("`~` is not expanded here").hint("write the path in full"));
    }
    if text.contains('\0') {
        return Err(Wrong::new("a path cannot hold a zero byte"));
    }
    Ok(PathBuf::from(text))
}

/// A secret that fits into a header; empty means none. Its text appears in no message.
pub(crate) fn secret(raw: &Raw) -> Result<Option<SecretString>, Wrong> {
    let Some(text) = secret_text(raw)? else { return Ok(None) };
    if !text.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Err(Wrong::new("the secret holds a blank or a character outside ASCII, which no header can carry")
            .hint("generate one with: openssl rand -hex 32"));
    }
    Ok(Some(SecretString::from(text)))
}

/// The text of a secret, unless it is empty.
fn secret_text(raw: &Raw) -> Result<Option<&str>, Wrong> {
    let text = raw.string().ok_or_else(|| Wrong::new("expected a string").hint("put the secret in quotes"))?.trim();
    // References of the file and of flags are expanded before: left as it is, this text would be the secret.
    match text.starts_with("env:") {
        true => Err(Wrong::new("a variable cannot name another one with env:").hint("set it to the secret itself")),
        false => Ok(Some(text).filter(|text| !text.is_empty())),
    }
}

/// A master key, which may be a passphrase of words; empty means none. Its text appears in no message.
pub(crate) fn master_key(raw: &Raw) -> Result<Option<SecretString>, Wrong> {
    let Some(text) = secret_text(raw)? else { return Ok(None) };
    let secret = SecretString::from(text);
    match MasterKey::parse(&secret) {
        Ok(_) => Ok(Some(secret)),
        Err(why) => Err(Wrong::new(why.to_string()).hint_if(why.hint().map(str::to_owned))),
    }
}

/// The most symbols of a list.
const MOST_SYMBOLS: usize = 500;
/// The longest name of a symbol, in bytes.
const LONGEST_SYMBOL: usize = 64;

/// A list of symbols, each once, in capitals; names outside ASCII exist.
pub(crate) fn symbols(raw: &Raw) -> Result<Vec<String>, Wrong> {
    let example = "write [\"BTCUSDT\", \"ETHUSDT\"], or \"BTCUSDT,ETHUSDT\"";
    if let Raw::Bare { kind, text } = raw {
        return Err(Wrong::new(format!("expected a list of symbols, found the {kind} {text}")).hint(example));
    }
    let mut symbols: Vec<String> = Vec::new();
    for item in raw.as_list()? {
        let sound = |c: char| c.is_alphanumeric() || matches!(c, '_' | '-');
        if item.is_empty() || item.len() > LONGEST_SYMBOL || !item.chars().all(sound) {
            return Err(Wrong::new(format!("{item:?} is no symbol")).hint(example));
        }
        let symbol = item.to_uppercase();
        if symbols.contains(&symbol) {
            return Err(Wrong::new(format!("{symbol} is listed twice")).hint("name each symbol once"));
        }
        symbols.push(symbol);
    }
    match symbols.len() {
        0..=MOST_SYMBOLS => Ok(symbols),
        many => Err(Wrong::new(format!("the list has {many} symbols")).hint(format!("name at most {MOST_SYMBOLS}"))),
    }
}

/// The longest name of a host (RFC 1035, 2.3.4).
const LONGEST_HOST: usize = 253;
const MOST_HOSTS: usize = 50;

/// A list of names of hosts, without ports.
pub(crate) fn hosts(raw: &Raw) -> Result<Vec<String>, Wrong> {
    let example = "write [\"cache.example\", \"10.0.0.7\"], without ports";
    if let Raw::Bare { kind, text } = raw {
        return Err(Wrong::new(format!("expected a list of host names, found the {kind} {text}")).hint(example));
    }
    let names: Vec<String> = raw.as_list()?.into_iter().map(str::to_ascii_lowercase).collect();
    let sound = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_');
    let is_name = |name: &str| {
        let is_address = name.parse::<std::net::IpAddr>().is_ok();
        is_address || (!name.is_empty() && name.len() <= LONGEST_HOST && name.chars().all(sound))
    };
    if let Some(wrong) = names.iter().find(|name| !is_name(name)) {
        return Err(Wrong::new(format!("{wrong:?} is no name of a host")).hint(example));
    }
    match names.len() {
        0..=MOST_HOSTS => Ok(names),
        many => Err(Wrong::new(format!("the list has {many} hosts")).hint(format!("name at most {MOST_HOSTS}"))),
    }
}

/// A key prefix: short, and free of what has a meaning in a Redis key or pattern.
pub(crate) fn namespace(raw: &Raw) -> Result<String, Wrong> {
    let word = raw.as_word("a name")?;
    let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    if word.is_empty() || word.len() > 64 || !word.chars().all(allowed) {
        return Err(
            Wrong::new(format!("{word:?} is no namespace")).hint("use 1 to 64 of the characters a-z A-Z 0-9 - _ .")
        );
    }
    Ok(word.to_owned())
}

const LEVELS: [&str; 6] = ["off", "error", "warn", "info", "debug", "trace"];

/// A level, or filter directives such as `info,lastgood=debug`.
pub(crate) fn log_filter(raw: &Raw) -> Result<String, Wrong> {
    let text = raw.as_text("info")?;
    for directive in text.split(',') {
        let level = directive.rsplit('=').next().unwrap_or_default().trim();
        let plain = directive.trim();
        if plain.is_empty() || !LEVELS.iter().any(|known| level.eq_ignore_ascii_case(known)) {
            return Err(Wrong::new(format!("{plain:?} is no log level; the levels are {}", LEVELS.join(", "))).hint(
                did_you_mean(level, LEVELS).unwrap_or_else(|| "write \"info\", or \"info,lastgood=debug\"".to_owned()),
            ));
        }
    }
    text.parse::<tracing_subscriber::filter::Targets>()
        .map_err(|error| Wrong::new(error.to_string()).hint("write \"info\""))?;
    Ok(text.to_owned())
}

/// Sets a field to what was read for it.
pub(crate) fn put<T>(field: &mut T, read: Result<T, Wrong>) -> Result<(), Wrong> {
    *field = read?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_master_key_is_checked_where_it_is_written_and_not_shown() {
        let key = |text: &str| master_key(&Raw::text(text));
        assert!(key(" ").unwrap().is_none());
        assert!(key("correct horse battery staple").unwrap().is_some());
        assert!(key(&"0f".repeat(32)).unwrap().is_some());
        let wrong = key("hunter2 hunter2").unwrap_err();
        assert!(!wrong.what.contains("hunter2") && wrong.hint.unwrap().contains("openssl rand -hex 32"));
    }

    #[test]
    fn hosts_are_names_and_addresses_without_ports() {
        let read = |text: &str| hosts(&Raw::text(text)).map_err(|wrong| wrong.what);
        assert_eq!(read("Cache.Example, 10.0.0.7,::1").unwrap(), ["cache.example", "10.0.0.7", "::1"]);
        assert!(read("").unwrap().is_empty());
        for wrong in ["cache.example:8090", "http://cache.example", "a b", "*"] {
            assert!(read(wrong).unwrap_err().contains("is no name of a host"), "{wrong}");
        }
    }

    #[test]
    fn symbols_are_read_in_capitals_and_each_once() {
        let read = |text: &str| symbols(&Raw::text(text)).map_err(|wrong| wrong.what);
        assert_eq!(read("btcusdt, 币安人生USDT,BTCUSD_PERP").unwrap(), ["BTCUSDT", "币安人生USDT", "BTCUSD_PERP"]);
        assert!(read("").unwrap().is_empty());
        assert_eq!(read("A,a").unwrap_err(), "A is listed twice");
        assert_eq!(read("BTC/USDT").unwrap_err(), "\"BTC/USDT\" is no symbol");
        assert!(read(&(0..501).map(|n| format!("S{n},")).collect::<String>()).is_err());
        assert!(symbols(&Raw::Bare { kind: "integer", text: "5".to_owned() }).unwrap_err().what.contains("integer"));
    }
}

//! Keys for analyses by a language model: the same question is the same key, however it is written.

use std::fmt;
use std::io;

use ring::digest::{Context, SHA256};
use serde_json::{Number, Value};

/// The longest name of a kind of analysis.
const LONGEST_TYPE: usize = 64;
/// The deepest nesting of an input, and the largest one in its canonical form.
const DEEPEST: usize = 64;
const LARGEST: usize = 1 << 20;

/// Why there is no key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NoKey {
    /// The kind of analysis is not 1 to 64 letters, digits, `_`, `-` or `.`.
    Type,
    /// The input is nested deeper than 64 levels.
    TooDeep,
    /// The input is larger than 1 MiB.
    TooLarge,
}

impl fmt::Display for NoKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            NoKey::Type => "the kind of analysis is not 1 to 64 letters, digits, '_', '-' or '.'",
            NoKey::TooDeep => "the input is nested deeper than 64 levels",
            NoKey::TooLarge => "the input is larger than 1 MiB",
        })
    }
}

impl std::error::Error for NoKey {}

/// The key of an analysis of `input`: its kind, and the SHA-256 of the input in a canonical form, in hexadecimal.
///
/// In that form objects are sorted by their keys and a number has one spelling (`1`, `1.0` and `1e0` are one), so that
/// programs that write the same input differently share the analysis.
///
/// # Errors
///
/// When the kind is no name, or the input is too deep or too large.
pub fn key(analysis_type: &str, input: &Value) -> Result<String, NoKey> {
    let is_of_name = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-' | b'.');
    if analysis_type.is_empty() || analysis_type.len() > LONGEST_TYPE || !analysis_type.bytes().all(is_of_name) {
        return Err(NoKey::Type);
    }
    let mut canonical = Canonical { hash: Context::new(&SHA256), left: LARGEST };
    canonical.value(input, DEEPEST)?;
    let digest = canonical.hash.finish();
    let hex: String = digest.as_ref().iter().map(|byte| format!("{byte:02x}")).collect();
    Ok(format!("{analysis_type}:{hex}"))
}

/// Hashes the bytes written to it, up to a size.
struct Canonical {
    hash: Context,
    left: usize,
}

impl Canonical {
    fn value(&mut self, value: &Value, depth: usize) -> Result<(), NoKey> {
        let inside = depth.checked_sub(1).ok_or(NoKey::TooDeep);
        match value {
            Value::Null => self.put("null"),
            Value::Bool(true) => self.put("true"),
            Value::Bool(false) => self.put("false"),
            Value::Number(number) => self.put(&spelling(number)),
            Value::String(text) => self.text(text),
            Value::Array(items) => {
                let inside = inside?;
                self.put("[")?;
                for (index, item) in items.iter().enumerate() {
                    self.put(if index == 0 { "" } else { "," })?;
                    self.value(item, inside)?;
                }
                self.put("]")
            }
            Value::Object(fields) => {
                let inside = inside?;
                // Sorted here: whether the map itself is depends on a feature that any other crate may turn on.
                let mut sorted: Vec<(&String, &Value)> = fields.iter().collect();
                sorted.sort_unstable_by_key(|(name, _)| *name);
                self.put("{")?;
                for (index, (name, field)) in sorted.into_iter().enumerate() {
                    self.put(if index == 0 { "" } else { "," })?;
                    self.text(name)?;
                    self.put(":")?;
                    self.value(field, inside)?;
                }
                self.put("}")
            }
        }
    }

    fn text(&mut self, text: &str) -> Result<(), NoKey> {
        serde_json::to_writer(&mut *self, text).map_err(|_| NoKey::TooLarge)
    }

    fn put(&mut self, text: &str) -> Result<(), NoKey> {
        self.left = self.left.checked_sub(text.len()).ok_or(NoKey::TooLarge)?;
        self.hash.update(text.as_bytes());
        Ok(())
    }
}

impl io::Write for Canonical {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.left = self.left.checked_sub(bytes.len()).ok_or(io::ErrorKind::FileTooLarge)?;
        self.hash.update(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// The one spelling of a number. Integers stay exact: those beyond 2^53 must not be taken for their neighbours.
fn spelling(number: &Number) -> String {
    if number.is_i64() || number.is_u64() {
        return number.to_string();
    }
    match number.as_f64() {
        // 2^64: what lies beyond is written with an exponent, which no integer above is.
        Some(float) if float.fract() == 0.0 && float.abs() < 18_446_744_073_709_551_616.0 => {
            format!("{}", float as i128)
        }
        Some(float) => format!("{float:e}"),
        None => number.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    fn parse(text: &str) -> Value {
        serde_json::from_str(text).unwrap()
    }

    #[test]
    fn the_order_of_keys_and_the_spelling_of_numbers_do_not_matter() {
        let one = parse(r#"{"symbol":"BTCUSDT","bars":[1,2.50,{"b":-0.0,"a":1e3}]}"#);
        let other = parse(r#"{ "bars":[1.0,25e-1,{"a":1000,"b":0}], "symbol":"\u0042TCUSDT" }"#);
        assert_eq!(key("sentiment", &one), key("sentiment", &other));
    }

    #[test]
    fn the_key_is_the_kind_and_the_hash_of_the_canonical_form() {
        // printf '{"a":[1,"x"],"b":null}' | sha256sum
        let expected = "risk:854ef06dc57f5dfed10206344ab2d02e0b6c84b0e19436703a5afd0f1f9f2687";
        assert_eq!(key("risk", &json!({"b": null, "a": [1, "x"]})).unwrap(), expected);
    }

    #[test]
    fn different_inputs_and_kinds_have_different_keys() {
        let inputs = [
            "1",
            "\"1\"",
            "[1]",
            "[[1]]",
            "{\"a\":1}",
            "{\"a\":[1]}",
            "[\"a\",1]",
            "null",
            "\"null\"",
            "[]",
            "{}",
            "9007199254740992",
            "9007199254740993",
            "18446744073709551615",
            "18446744073709551616",
            "0.1",
            "0.10000001",
            "[1,23]",
            "[12,3]",
            "[\"a,b\"]",
            "[\"a\",\"b\"]",
        ];
        let mut keys: Vec<String> = inputs.iter().map(|input| key("a", &parse(input)).unwrap()).collect();
        keys.push(key("b", &parse("1")).unwrap());
        let count = keys.len();
        keys.sort();
        keys.dedup();
        assert_eq!(keys.len(), count);
    }

    #[test]
    fn an_odd_name_too_deep_or_too_large_has_no_key() {
        for bad in ["", "a b", "a:b", "*", "ä", &"a".repeat(65)] {
            assert_eq!(key(bad, &Value::Null), Err(NoKey::Type), "{bad}");
        }
        let nested = |depth: usize| (0..depth).fold(Value::Null, |inner, _| json!([inner]));
        assert!(key("a", &nested(64)).is_ok());
        assert_eq!(key("a", &nested(65)), Err(NoKey::TooDeep));
        assert_eq!(key("a", &json!("a".repeat(LARGEST))), Err(NoKey::TooLarge));
        assert!(key("a", &json!("a".repeat(LARGEST - 2))).is_ok());
        assert_eq!(key("a", &json!(vec![1; LARGEST / 2])), Err(NoKey::TooLarge));
    }

    proptest! {
        #[test]
        fn what_was_written_and_read_again_has_the_same_key(text in "\\PC*", float: f64, integer: i64, unsigned: u64) {
            let value = json!({ &text: [float, integer], "n": { "u": unsigned, &text: &text } });
            let again = parse(&value.to_string());
            prop_assert_eq!(key("a", &value), key("a", &again));
        }
    }
}

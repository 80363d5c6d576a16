//! What Upstash answers, in the words of the contract.

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http::StatusCode;
use serde::Deserialize;
use serde::de::{self, DeserializeOwned, Deserializer, IgnoredAny, Visitor};

use super::UpstashOptions;
use super::link::Answer;
use crate::store::{StoreError, Usage, dialect};

/// How much of a server's own words is repeated.
const LONGEST_WORDS: usize = 200;

/// How the words of a server become an error: as the answer to a read or to a write.
pub(super) type Classify = fn(&str, String) -> StoreError;

/// Every answer to one command: a result, which may be null, or an error.
#[derive(Deserialize)]
#[serde(bound(deserialize = "T: Deserialize<'de>"))]
struct Envelope<T> {
    #[serde(default = "absent", deserialize_with = "present")]
    result: Option<T>,
    error: Option<String>,
}

fn absent<T>() -> Option<T> {
    None
}

/// Tells a null from a field that is not there.
fn present<'de, T: Deserialize<'de>, D: Deserializer<'de>>(from: D) -> Result<Option<T>, D::Error> {
    T::deserialize(from).map(Some)
}

/// The result of one command.
pub(super) fn result<T: DeserializeOwned>(
    answer: &Answer,
    options: &UpstashOptions,
    classify: Classify,
) -> Result<T, StoreError> {
    if !answer.status.is_success() {
        return Err(of_status(answer, options, classify));
    }
    let envelope: Envelope<T> = serde_json::from_slice(&answer.body).map_err(|_| foreign(options))?;
    unwrap(envelope, options, classify)
}

/// What the three commands of a probe say.
pub(super) fn usage(answer: &Answer, options: &UpstashOptions) -> Result<Usage, StoreError> {
    if !answer.status.is_success() {
        return Err(of_status(answer, options, dialect::error_of));
    }
    let envelopes: [Envelope<serde_json::Value>; 3] =
        serde_json::from_slice(&answer.body).map_err(|_| foreign(options))?;
    let [ping, size, info] = envelopes.map(|envelope| unwrap(envelope, options, dialect::error_of));
    ping?;
    // A token may well lack the right to see these two.
    let info = info.ok().and_then(|info| Binary::decode(info.as_str()?)).and_then(|info| String::from_utf8(info).ok());
    Ok(dialect::usage(info.as_deref(), size.ok().and_then(|size| size.as_u64())))
}

fn unwrap<T>(envelope: Envelope<T>, options: &UpstashOptions, classify: Classify) -> Result<T, StoreError> {
    match envelope {
        Envelope { error: Some(error), .. } => Err(of_words(&error, options, classify)),
        Envelope { result: Some(result), error: None } => Ok(result),
        Envelope { result: None, error: None } => Err(foreign(options)),
    }
}

fn of_words(words: &str, options: &UpstashOptions, classify: Classify) -> StoreError {
    let text = shown(words, options);
    let code = text.split([' ', ',']).next().unwrap_or_default().to_owned();
    classify(&code, text)
}

/// An answer that is none of a command's, or that says in its status what became of the command.
fn of_status(answer: &Answer, options: &UpstashOptions, classify: Classify) -> StoreError {
    let said = serde_json::from_slice::<Envelope<IgnoredAny>>(&answer.body).ok().and_then(|envelope| envelope.error);
    let words = said.as_deref().map(|words| format!(": {}", shown(words, options))).unwrap_or_default();
    let status = answer.status.as_u16();
    let unavailable = |what: &str| StoreError::Unavailable(format!("{options} {what} (HTTP {status}){words}"));
    match (answer.status, &said) {
        // What Redis itself says comes with this status.
        (StatusCode::BAD_REQUEST, Some(words)) => of_words(words, options, classify),
        (StatusCode::FORBIDDEN, Some(words)) if words.starts_with("NOPERM") => of_words(words, options, classify),
        (StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN, _) => unavailable("does not accept the REST token"),
        (StatusCode::TOO_MANY_REQUESTS, _) => unavailable("limits the rate of requests"),
        (StatusCode::PAYLOAD_TOO_LARGE, _) => {
            StoreError::Refused(format!("{options} finds the request too large (HTTP 413){words}"))
        }
        (status, _) if status.is_server_error() => unavailable("answers with an error of its own"),
        (status, _) if status.is_redirection() => unavailable("answers with a redirect, which is not followed"),
        _ => unavailable("answers, but not as Upstash does"),
    }
}

fn foreign(options: &UpstashOptions) -> StoreError {
    StoreError::Unavailable(format!("{options} answers, but not as Upstash does"))
}

/// A server's own words: on one line, not too many, and without the token.
fn shown(words: &str, options: &UpstashOptions) -> String {
    options.redact(words).chars().filter(|character| !character.is_control()).take(LONGEST_WORDS).collect()
}

/// A string of an answer, which comes in base64.
pub(super) struct Binary(pub(super) Bytes);

impl Binary {
    fn decode(text: &str) -> Option<Vec<u8>> {
        STANDARD.decode(text).ok()
    }
}

impl<'de> Deserialize<'de> for Binary {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        struct InBase64;
        impl Visitor<'_> for InBase64 {
            type Value = Binary;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a string in base64")
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<Binary, E> {
                let bytes = Binary::decode(text).ok_or_else(|| E::custom("no base64"))?;
                Ok(Binary(bytes.into()))
            }
        }
        from.deserialize_str(InBase64)
    }
}

/// A cursor of `SCAN`, encoded like any other string, or as it is: digits in base64 never begin with a digit.
pub(super) struct At(pub(super) u64);

impl<'de> Deserialize<'de> for At {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let text = String::deserialize(from)?;
        let decoded = Binary::decode(&text).and_then(|digits| String::from_utf8(digits).ok()?.parse().ok());
        decoded.or_else(|| text.parse().ok()).map(At).ok_or_else(|| de::Error::custom("no cursor"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(status: u16, body: &str) -> Answer {
        Answer {
            status: StatusCode::from_u16(status).expect("a status"),
            body: Bytes::copy_from_slice(body.as_bytes()),
        }
    }

    fn read<T: DeserializeOwned>(status: u16, body: &str) -> Result<T, StoreError> {
        let options = UpstashOptions::new("https://host", "t0ken").expect("good options");
        result(&answer(status, body), &options, dialect::error_of)
    }

    fn value(status: u16, body: &str) -> Result<Option<Bytes>, StoreError> {
        read::<Option<Binary>>(status, body).map(|value| value.map(|value| value.0))
    }

    #[test]
    fn a_result_is_read_and_null_is_distinct_from_nothing() {
        assert_eq!(value(200, r#"{"result":"AP8="}"#), Ok(Some(Bytes::from_static(b"\0\xff"))));
        assert_eq!(value(200, r#"{"result":"AP8\u003d"}"#), Ok(Some(Bytes::from_static(b"\0\xff"))));
        assert_eq!(value(200, r#"{"result":""}"#), Ok(Some(Bytes::new())));
        assert_eq!(value(200, r#"{"result":null}"#), Ok(None));
        for foreign in ["{}", "", "[]", "null", r#"{"message":"hi"}"#, "<html>", r#"{"result":"AP8"#, r#"{"result":1}"#]
        {
            assert!(matches!(value(200, foreign), Err(StoreError::Unavailable(_))), "{foreign}");
        }
        assert!(matches!(value(200, r#"{"result":"plain text"}"#), Err(StoreError::Unavailable(_))));
    }

    #[test]
    fn what_a_server_says_is_classified_as_what_redis_says() {
        let error =
            |status, words: &str| value(status, &serde_json::json!({ "error": words }).to_string()).expect_err(words);
        for status in [200, 400] {
            assert!(matches!(error(status, "WRONGTYPE Operation"), StoreError::Corrupt(_)));
            assert!(matches!(error(status, "OOM command not allowed"), StoreError::Refused(_)));
            assert!(matches!(error(status, "ERR max request size exceeded. Limit: 1"), StoreError::Refused(_)));
            assert!(matches!(error(status, "ERR max requests limit exceeded"), StoreError::Unavailable(_)));
        }
        assert!(matches!(error(413, "too large"), StoreError::Refused(_)));
        for status in [301, 401, 403, 404, 429, 500, 503] {
            assert!(matches!(error(status, "OOM"), StoreError::Unavailable(_)), "{status}");
        }
        let options = UpstashOptions::new("https://host", "t0ken").expect("good options");
        for status in [400, 403] {
            let refused = answer(status, r#"{"error":"NOPERM this user has no permissions"}"#);
            let written = result::<String>(&refused, &options, dialect::write_error_of).expect_err("refused");
            assert!(matches!(written, StoreError::Refused(_)), "{written}");
        }
    }

    #[test]
    fn a_servers_words_are_repeated_in_part_on_one_line_and_without_the_token() {
        let words = format!("ERR\r\n no t0ken{}", "x".repeat(1000));
        for status in [200, 400, 401, 429, 500] {
            let error = value(status, &serde_json::json!({ "error": words }).to_string()).expect_err("an error");
            let text = error.to_string();
            assert!(text.contains("ERR no ***xxx") && text.len() < 400, "{text}");
            assert!(!text.contains("t0ken") && !text.contains('\n'), "{text}");
        }
    }

    #[test]
    fn a_cursor_is_read_whether_it_is_encoded_or_not() {
        for (text, cursor) in
            [("MA==", 0), ("0", 0), ("MTcx", 171), ("1234", 1234), ("MTg0NDY3NDQwNzM3MDk1NTE2MTU=", u64::MAX)]
        {
            let read = read::<At>(200, &serde_json::json!({ "result": text }).to_string());
            assert_eq!(read.map(|at| at.0), Ok(cursor), "{text}");
        }
        assert!(read::<At>(200, r#"{"result":"bm9uZQ=="}"#).is_err());
    }
}

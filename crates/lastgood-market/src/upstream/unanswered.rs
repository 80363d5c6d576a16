//! Why a host gave no answer, in words for a person: its name and the cause. Addresses and the system's own words are for the
//! log alone.

use std::time::Duration;

use lastgood::http_client::{HttpError, Progress};
use lastgood::{Error, Reason};

/// What became of a request to the host of this name.
pub(super) fn words(name: &str, why: &HttpError) -> String {
    match why.is_unsent() {
        true => format!("{name} cannot be reached: {}", why.in_words()),
        false => format!("{name} broke off before it answered: {}", why.in_words()),
    }
}

/// The error for it.
pub(super) fn error(name: &str, why: HttpError) -> Error {
    let error = Error::new(Reason::Unreachable, words(name, &why));
    match why {
        // The words are all that there is.
        HttpError::Proxy(_) => error,
        why => error.with_source(why),
    }
}

/// That the host of this name did not answer in time, and how far the request had come.
pub(super) fn late(name: &str, within: Duration, progress: &Progress) -> String {
    let within = match within.subsec_millis() {
        0 => format!("{} s", within.as_secs()),
        _ => format!("{} ms", within.as_millis()),
    };
    format!("{name} did not answer within {within}: {}", progress.stage().late())
}

#[cfg(test)]
mod tests {
    use std::io;

    use lastgood_testing::says_each_part_once;

    use super::*;

    #[test]
    fn an_error_says_why_and_each_part_once_and_leaves_the_systems_words_to_the_log() {
        let refused = || io::Error::new(io::ErrorKind::ConnectionRefused, "refused by 10.0.0.7 (os error 111)");
        let unreachable = error("api.example:8443", HttpError::Connect(refused().into()));
        assert_eq!(unreachable.message, "api.example:8443 cannot be reached: the connection is refused");
        assert!(unreachable.detail.as_ref().is_some_and(|detail| detail.contains("os error 111")), "{unreachable:?}");
        assert!(std::error::Error::source(&unreachable).is_some_and(|source| source.is::<HttpError>()));
        let broken = io::Error::from(io::ErrorKind::ConnectionReset);
        let broken = error("api.example", HttpError::BrokeOff(broken.into()));
        assert_eq!(broken.message, "api.example broke off before it answered: the connection was closed early");
        [unreachable, broken].iter().for_each(|error| says_each_part_once(error));
    }
}

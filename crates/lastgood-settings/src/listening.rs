//! What the listener says of itself: its certificate, its socket, and whose pages may read its answers.

use std::path::PathBuf;

use url::Url;

use crate::problem::Wrong;
use crate::value::{self, Raw};

/// The certificate of the listener, and its key; both or neither.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tls {
    /// A PEM file: the certificate first, then those of the authorities up to one that clients know.
    pub certificate: Option<PathBuf>,
    /// A PEM file with the certificate's private key.
    pub key: Option<PathBuf>,
}

/// Cross-origin requests of browsers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cors {
    /// Origins whose pages may read market data, declared routes and health; `*` is every origin.
    pub origins: Vec<String>,
}

/// A certificate without a key proves nothing, nor does a key alone: the key that lacks its other half.
pub(crate) fn check_pair(tls: &Tls) -> Option<(&'static str, Wrong)> {
    let (set, lacks) = match (&tls.certificate, &tls.key) {
        (Some(_), None) => ("tls.certificate", "tls.key"),
        (None, Some(_)) => ("tls.key", "tls.certificate"),
        _ => return None,
    };
    Some((set, Wrong::new(format!("it takes {lacks}, too")).hint(format!("set {lacks} to a PEM file, or neither"))))
}

/// More than any gateway needs.
const MOST_ORIGINS: usize = 64;

/// A path, if there is one.
pub(crate) fn optional_path(raw: &Raw) -> Result<Option<PathBuf>, Wrong> {
    Ok(Some(value::path(raw)?).filter(|path| !path.as_os_str().is_empty()))
}

/// A list of origins: a scheme, a host and a port if it is not the scheme's own.
pub(crate) fn origins(raw: &Raw) -> Result<Vec<String>, Wrong> {
    let origins: Vec<String> = raw.as_list()?.into_iter().map(|text| origin(text.trim())).collect::<Result<_, _>>()?;
    match origins.len() {
        0..=MOST_ORIGINS => Ok(origins),
        many => Err(Wrong::new(format!("the list has {many} origins")).hint(format!("name at most {MOST_ORIGINS}"))),
    }
}

/// An origin as browsers write it in `Origin`.
fn origin(text: &str) -> Result<String, Wrong> {
    if text == "*" {
        return Ok(text.to_owned());
    }
    let refused = || {
        Wrong::new(format!("{text:?} is no origin of a page"))
            .hint("write \"https://app.example\": a scheme, a host and a port, no path; or \"*\" for every page")
    };
    let url = Url::parse(text).map_err(|_| refused())?;
    let is_bare = url.path() == "/" && url.query().is_none() && url.fragment().is_none() && url.username().is_empty();
    let serialized = url.origin().ascii_serialization();
    match matches!(url.scheme(), "http" | "https") && is_bare && serialized != "null" {
        true => Ok(serialized),
        false => Err(refused()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn origins_are_those_that_browsers_send() {
        let read = |text: &str| origins(&Raw::text(text)).map_err(|wrong| wrong.what);
        assert_eq!(
            read("https://App.Example/, http://localhost:3000,https://a.example:443").unwrap(),
            ["https://app.example", "http://localhost:3000", "https://a.example"]
        );
        assert_eq!(read("*").unwrap(), ["*"]);
        assert!(read("").unwrap().is_empty());
        for wrong in ["app.example", "https://a.example/path", "ftp://a.example", "https://u@a.example", "null", "*.a"]
        {
            assert!(read(wrong).unwrap_err().contains("is no origin"), "{wrong}");
        }
    }
}

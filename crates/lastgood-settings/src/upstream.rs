//! The base URL of an upstream: the only way a host gets to be asked.

use lastgood_market::upstream::BaseUrl;
use url::Url;

use crate::problem::Wrong;
use crate::redact::redact;
use crate::value::{self, Raw};

/// Paths that the gateway adds itself.
const ADDED_BY_THE_GATEWAY: [&str; 11] =
    ["/api", "/api/v3", "/fapi", "/fapi/v1", "/fapi/v2", "/dapi", "/dapi/v1", "/eapi", "/eapi/v1", "/papi", "/papi/v1"];

/// Which schemes an upstream may have.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Protocol {
    Http,
    WebSocket,
}

impl Protocol {
    fn schemes(self) -> [&'static str; 2] {
        match self {
            Self::Http => ["https", "http"],
            Self::WebSocket => ["wss", "ws"],
        }
    }
}

/// Reads whether there is an exchange at all.
pub(crate) fn switch(raw: &Raw) -> Result<bool, Wrong> {
    value::boolean(raw).map_err(|wrong| match raw.string() {
        Some(text) => Wrong::new(format!("{text:?} is neither on nor off"))
            .hint("write off for a gateway without an exchange; its hosts are in [binance]"),
        None => wrong,
    })
}

/// Reads the URLs of one upstream, in the order they are to be tried.
pub(crate) fn list(raw: &Raw, protocol: Protocol) -> Result<Vec<BaseUrl>, Wrong> {
    let mut urls = Vec::new();
    for item in raw.as_list()? {
        let url = exchange_url(item, protocol)?;
        if urls.contains(&url) {
            return Err(Wrong::new(format!("{url} is listed twice")).hint("name each URL once"));
        }
        urls.push(url);
    }
    if urls.is_empty() {
        return Err(Wrong::new("the list is empty").hint(format!("name at least one {}:// URL", protocol.schemes()[0])));
    }
    Ok(urls)
}

/// Reads the only URL of an upstream.
pub(crate) fn single(raw: &Raw) -> Result<BaseUrl, Wrong> {
    exchange_url(raw.as_text("https://api.alternative.me")?, Protocol::Http)
}

/// Reads the URL of anything else that speaks HTTP, whatever its path.
pub(crate) fn any(raw: &Raw) -> Result<BaseUrl, Wrong> {
    base_url(raw.as_text("https://www.example.com/v2")?, Protocol::Http)
}

/// A URL that the gateway adds the exchange's paths to.
fn exchange_url(text: &str, protocol: Protocol) -> Result<BaseUrl, Wrong> {
    let url = base_url(text, protocol)?;
    let path = url.url().path().trim_end_matches('/');
    if ADDED_BY_THE_GATEWAY.iter().any(|added| path.ends_with(added)) {
        let shown = redact(text);
        let [secure, _] = protocol.schemes();
        return Err(Wrong::new(format!("{shown} ends with a path that is added to every request"))
            .hint(format!("write \"{secure}://{}\"", url.host())));
    }
    Ok(url)
}

fn base_url(text: &str, protocol: Protocol) -> Result<BaseUrl, Wrong> {
    let [secure, plain] = protocol.schemes();
    let shown = redact(text);
    let example = format!("write for example \"{secure}://host\"");
    let url = match Url::parse(text) {
        Ok(url) if text.contains("://") => url,
        _ => {
            let wrong = match text.contains('@') {
                true => Wrong::new("this is not a URL"),
                false => Wrong::new(format!("{shown:?} is not a URL")),
            };
            let looks_like_a_host = !text.is_empty() && !text.contains([' ', '@', '/']);
            return Err(wrong.hint(match looks_like_a_host {
                true => format!("did you mean \"{secure}://{text}\"?"),
                false => example,
            }));
        }
    };
    if url.scheme() != secure && url.scheme() != plain {
        return Err(Wrong::new(format!("{shown} has the scheme {}", url.scheme()))
            .hint(format!("only {secure}:// and {plain}:// are possible here")));
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err(Wrong::new("an upstream URL must not hold a user or password")
            .hint(format!("write {secure}://{} alone", url.host_str().unwrap_or("host"))));
    }
    if url.query().is_some() || url.fragment().is_some() {
        return Err(Wrong::new(format!("{shown} has a query or fragment"))
            .hint("an upstream is a scheme, a host and at most a base path"));
    }
    if url.host_str().is_none_or(str::is_empty) || url.port() == Some(0) {
        return Err(Wrong::new(format!("{shown} names no host and port to connect to")).hint(example));
    }
    BaseUrl::new(url).map_err(|why| Wrong::new(why.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bases_are_kept_in_order_and_end_without_a_slash() {
        let raw = Raw::text("https://a.example/, http://127.0.0.1:9/base/ ,");
        let urls = list(&raw, Protocol::Http).expect("two good URLs");
        let texts: Vec<_> = urls.iter().map(BaseUrl::as_str).collect();
        assert_eq!(texts, ["https://a.example", "http://127.0.0.1:9/base"]);
        assert_eq!((urls[0].host(), urls[0].port()), ("a.example", 443));
    }

    #[test]
    fn a_wrong_base_is_refused_with_the_reason() {
        for (text, expected) in [
            ("api.binance.com", "\"api.binance.com\" is not a URL / did you mean \"https://api.binance.com\"?"),
            ("", "the list is empty / name at least one https:// URL"),
            ("ftp://h", "ftp://h has the scheme ftp / only https:// and http:// are possible here"),
            ("https://u:hunter2@h", "an upstream URL must not hold a user or password / write https://h alone"),
            (
                "https://h?x=1",
                "https://h?x=1 has a query or fragment / an upstream is a scheme, a host and at most a base path",
            ),
            ("https://h,https://h/", "https://h is listed twice / name each URL once"),
            (
                "https://h/api/v3",
                "https://h/api/v3 ends with a path that is added to every request / write \"https://h\"",
            ),
        ] {
            let wrong = list(&Raw::text(text), Protocol::Http).expect_err(text);
            assert_eq!(format!("{} / {}", wrong.what, wrong.hint.unwrap_or_default()), expected);
        }
    }
}

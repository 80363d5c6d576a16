//! Where an Upstash database is and how to get in.

use std::fmt;

use http::HeaderValue;

use crate::proxy::Proxies;
use crate::store::{StoreError, UpstashUrl};

/// Where an Upstash database answers over REST, and its token. Its texts never show the token.
#[derive(Clone)]
pub struct UpstashOptions {
    base: String,
    is_tls: bool,
    token: String,
    authorization: HeaderValue,
    proxies: Proxies,
}

impl UpstashOptions {
    /// Reads a URL as [`UpstashUrl::parse`] does, and the database's REST token.
    ///
    /// # Errors
    ///
    /// [`StoreError::Unavailable`], naming the problem without repeating URL or token.
    pub fn new(url: &str, token: &str) -> Result<UpstashOptions, StoreError> {
        let url = UpstashUrl::parse(url).map_err(|why| StoreError::Unavailable(why.to_string()))?;
        UpstashOptions::of(&url, token)
    }

    /// The database at this address, with its REST token.
    ///
    /// # Errors
    ///
    /// [`StoreError::Unavailable`], where the token is none.
    pub fn of(url: &UpstashUrl, token: &str) -> Result<UpstashOptions, StoreError> {
        if token.is_empty() || !token.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err(unusable("its token is empty, or holds what no header can carry"));
        }
        let mut authorization = HeaderValue::from_str(&format!("Bearer {token}"))
            .map_err(|_| unusable("its token holds what no header can carry"))?;
        authorization.set_sensitive(true);
        Ok(UpstashOptions {
            base: url.to_string(),
            is_tls: url.is_tls(),
            token: token.to_owned(),
            authorization,
            proxies: Proxies::default(),
        })
    }

    /// The same, reached by these proxies.
    #[must_use]
    pub fn with_proxies(mut self, proxies: Proxies) -> UpstashOptions {
        self.proxies = proxies;
        self
    }

    pub(super) fn proxies(&self) -> &Proxies {
        &self.proxies
    }

    pub(super) fn base(&self) -> &str {
        &self.base
    }

    pub(super) fn is_tls(&self) -> bool {
        self.is_tls
    }

    pub(super) fn authorization(&self) -> HeaderValue {
        self.authorization.clone()
    }

    /// `text` without the token, should a server have repeated it.
    pub(super) fn redact(&self, text: &str) -> String {
        text.replace(&self.token, "***")
    }
}

fn unusable(why: &str) -> StoreError {
    StoreError::Unavailable(format!("the Upstash address is unusable: {why}"))
}

impl fmt::Display for UpstashOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.base)
    }
}

impl fmt::Debug for UpstashOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("UpstashOptions").field("at", &self.base).field("token", &"***").finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_read_and_shown_without_its_token() {
        for (url, shown) in [
            ("https://eu1-x.upstash.io", "https://eu1-x.upstash.io"),
            ("HTTPS://eu1-x.upstash.io/", "https://eu1-x.upstash.io"),
            ("https://10.0.0.1:8443", "https://10.0.0.1:8443"),
            ("http://127.0.0.1:8079", "http://127.0.0.1:8079"),
            ("http://localhost:8079", "http://localhost:8079"),
            ("http://[::1]:8079", "http://[::1]:8079"),
        ] {
            let options = UpstashOptions::new(url, "s3cret").expect(url);
            assert_eq!(options.to_string(), shown);
            assert_eq!(format!("{options:?}"), format!("UpstashOptions {{ at: {shown:?}, token: \"***\" }}"));
            assert!(!format!("{:?}", options.authorization()).contains("s3cret"));
            assert_eq!(options.redact("no s3cret here"), "no *** here");
        }
    }

    #[test]
    fn an_unusable_address_is_explained_without_its_secrets() {
        for (url, token) in [
            ("", "t"),
            ("eu1-x.upstash.io", "t"),
            ("redis://host", "t"),
            ("https://", "t"),
            ("https://:443", "t"),
            ("https://host:0", "t"),
            ("https://host:", "t"),
            ("https://host:99999", "t"),
            ("https://default:s3cret@host", "t"),
            ("https://s3cret@host", "t"),
            ("https://host/?_token=s3cret", "t"),
            ("https://host/s3cret", "t"),
            ("https://host#s3cret", "t"),
            ("http://host", "t"),
            ("http://10.0.0.1", "t"),
            ("http://127.0.0.1.example.com", "t"),
            ("https://host", ""),
            ("https://host", "s3cret s3cret"),
            ("https://host", "s3cret\r\nx: y"),
        ] {
            let error = UpstashOptions::new(url, token).expect_err(url).to_string();
            assert!(error.contains("the Upstash address is unusable: "), "{error}");
            assert!(!error.contains("s3cret"), "{error}");
        }
    }
}

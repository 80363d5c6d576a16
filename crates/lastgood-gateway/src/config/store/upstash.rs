//! The address of a store at Upstash.

use std::fmt;

use lastgood::store::{StoreError, UpstashOptions};
use secrecy::{ExposeSecret, SecretString};

use super::StoreSetting;
use crate::config::problem::Wrong;

/// Where an Upstash database answers over REST. Its token is a setting of its own.
#[derive(Debug, Clone)]
pub struct UpstashAddress {
    base: String,
}

impl UpstashAddress {
    /// The address with the token to get in.
    ///
    /// # Errors
    ///
    /// When there is no token, or one that no header can carry.
    pub fn options(&self, token: Option<&SecretString>) -> Result<UpstashOptions, StoreError> {
        UpstashOptions::new(&self.base, token.map(SecretString::expose_secret).unwrap_or_default())
    }
}

impl fmt::Display for UpstashAddress {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(&self.base)
    }
}

pub(super) fn parse(text: &str) -> Result<StoreSetting, Wrong> {
    // The token is not known yet; any will do to have the address judged.
    match UpstashOptions::new(text, "token") {
        Ok(options) => Ok(StoreSetting::Upstash(UpstashAddress { base: options.to_string() })),
        Err(StoreError::Unavailable(why)) => Err(Wrong::new(why).hint(
            "write https://HOST, as Upstash shows it, and its token in UPSTASH_REDIS_REST_TOKEN or UPSTASH_REDIS_TOKEN; \
             plain http:// is for loopback hosts",
        )),
        Err(why) => Err(Wrong::new(why.to_string())),
    }
}

/// What is wrong with an address that came without a token.
pub(crate) fn without_token() -> Wrong {
    Wrong::new("this is an Upstash REST address, and there is no token for it").hint(
        "set UPSTASH_REDIS_REST_TOKEN, or UPSTASH_REDIS_TOKEN, to the token that Upstash shows beside the address, \
         or write rediss://default:TOKEN@HOST:6379 for the same database",
    )
}

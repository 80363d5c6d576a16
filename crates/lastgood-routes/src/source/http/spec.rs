//! What may be declared of an API and of a request to it.

use std::time::Duration;

use http::{HeaderName, HeaderValue};
use regex_lite::Regex;
use secrecy::{ExposeSecret as _, SecretString};
use url::Url;

use crate::arguments::Arguments;
use crate::source::selector::Selector;
use crate::template::Template;

/// A declared HTTP API.
#[derive(Clone, Debug)]
pub struct ApiSpec {
    /// What all its paths follow on.
    pub url: Url,
    /// Sent with every request; mark those that hold secrets as sensitive.
    pub headers: Vec<(HeaderName, HeaderValue)>,
    /// Defaults to 5 s, for a whole answer.
    pub timeout: Duration,
    /// Whether its name may lead to an address that is not public. Not by default.
    pub allow_private: bool,
}

impl ApiSpec {
    /// An API with all at its default.
    pub fn new(url: Url) -> ApiSpec {
        ApiSpec { url, headers: Vec::new(), timeout: Duration::from_secs(5), allow_private: false }
    }

    /// The text to put a path behind: it never ends with a slash.
    pub fn base(&self) -> &str {
        self.url.as_str().trim_end_matches('/')
    }
}

/// A declared request to an API.
#[derive(Clone, Debug)]
pub struct RequestSpec {
    /// The name of the API that it goes to.
    pub api: String,
    /// The path below the API's URL.
    pub path: Template,
    /// What follows the path, in this order.
    pub query: Vec<(String, QueryValue)>,
    /// What a good answer looks like.
    pub expect: Expect,
    /// What of an answer as expected is served.
    pub select: Selector,
    /// Where the answer says for how many seconds it is fresh.
    pub fresh_for_field: Option<Vec<String>>,
}

/// A value of a query.
#[derive(Clone, Debug)]
pub enum QueryValue {
    /// Filled with the arguments of the request; a parameter that was not given leaves its whole field out.
    Template(Template),
    /// Sent as it is, and shown nowhere.
    Secret(SecretString),
}

impl QueryValue {
    /// Whether it depends on the request.
    pub(super) fn has_places(&self) -> bool {
        matches!(self, QueryValue::Template(template) if template.places().next().is_some())
    }

    /// The value as it is sent; `None` where it is not sent at all.
    pub(super) fn fill(&self, arguments: &Arguments) -> Option<String> {
        match self {
            QueryValue::Secret(secret) => Some(secret.expose_secret().to_owned()),
            QueryValue::Template(template) if template.is_absent(arguments) => None,
            QueryValue::Template(template) => Some(template.fill(arguments, str::to_owned)),
        }
    }
}

/// What a good answer looks like.
#[derive(Clone, Debug, Default)]
pub struct Expect {
    /// What it is at its outermost.
    pub is: Option<Is>,
    /// What it has, each by the steps that lead there.
    pub fields: Vec<Vec<String>>,
    /// What only errors have.
    pub not_fields: Vec<Vec<String>>,
    /// What no answer says anywhere.
    pub refuse: Option<Regex>,
}

/// What a document is at its outermost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Is {
    /// `{…}`
    Object,
    /// `[…]`
    Array,
}

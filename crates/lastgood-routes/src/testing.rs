//! What the fuzz targets call of parts that are private.

use url::Url;

use crate::arguments::Arguments;
use crate::source::ConnectOptions;
use crate::source::http::{Api, HttpSource};
use crate::spec::{ApiSpec, RequestSpec};

/// A declared request that is never sent.
pub struct Unsent(HttpSource);

impl Unsent {
    /// The request to this API.
    ///
    /// # Panics
    ///
    /// If there can be no such request.
    pub fn new(api: &ApiSpec, request: &RequestSpec) -> Unsent {
        let api = Api::new("api", api, &ConnectOptions::default()).expect("an API");
        Unsent(HttpSource::new(api, request.clone()).expect("a request"))
    }

    /// The URL that it would go to; `None` where the arguments have no place in one.
    pub fn url(&self, arguments: &Arguments) -> Option<Url> {
        self.0.url(arguments)
    }
}

//! What a market asks, and of which exchange.

use std::sync::Arc;

use lastgood::{Error, Reason};

use super::Market;
use crate::plan::{Plan, Request, plan};
use crate::{Identities, Source, Venue};

impl Market {
    /// Which exchange each venue is of, for [`Series::of_symbol`](crate::candles::Series::of_symbol).
    pub fn identities(&self) -> &Identities {
        self.0.upstreams.identities()
    }

    /// The question itself, not one that answers others as well: a bot asks for few symbols.
    pub(super) fn source(&self, venue: Venue, path: &str, query: &str) -> Result<Arc<Source>, Error> {
        match plan(self.identities(), venue, Request { is_get: true, path, query, ..Request::default() }) {
            Plan::Cached { direct: Some(direct), .. } => Ok(direct),
            Plan::Cached { load, .. } => Ok(load),
            _ => Err(Error::new(Reason::NotFound, format!("{path} is nothing that is cached"))),
        }
    }
}

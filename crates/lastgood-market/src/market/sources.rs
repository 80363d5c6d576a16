//! Which exchange a market asks, and how a question is answered there.

use lastgood::{Error, Reason};

use super::Market;
use crate::line::Line;
use crate::plan::{Plan, Request, plan};
use crate::{Identities, Venue};

impl Market {
    /// Which exchange each venue is of, for [`Series::of_symbol`](crate::candles::Series::of_symbol).
    pub fn identities(&self) -> &Identities {
        self.0.engine.identities()
    }

    /// How a question is answered, without loading what answers others as well: a bot asks for few symbols.
    pub(super) fn line(&self, venue: Venue, path: &str, query: &str) -> Result<Line, Error> {
        match plan(self.identities(), venue, Request { is_get: true, path, query, ..Request::default() }) {
            Plan::Cached(line) => Ok(line.alone()),
            _ => Err(Error::new(Reason::NotFound, format!("{path} is nothing that is cached"))),
        }
    }
}

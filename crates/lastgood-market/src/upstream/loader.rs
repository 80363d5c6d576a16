//! Loads from the exchange, checked and dated.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use lastgood::{Clock, Error, Loaded, Reason};

use super::Upstreams;
use crate::candles::Exchange;
use crate::line::{Doubts, Loader};
use crate::{Preset, Priority, Received, UpstreamRequest, interval};

/// The exchange, asked with care.
pub(crate) struct ExchangeLoader {
    /// The hosts.
    pub(crate) upstreams: Arc<Upstreams>,
    /// Where time comes from.
    pub(crate) clock: Clock,
    /// Decides how long forming candles are fresh.
    pub(crate) preset: Preset,
    /// A configured freshness of forming candles, in place of the preset's.
    pub(crate) klines_fresh_for: Option<Duration>,
    pub(crate) doubts: Doubts,
}

impl ExchangeLoader {
    /// Fetches and checks an answer. Only an answer of the requested shape gets any further.
    async fn fetch(&self, request: &UpstreamRequest, priority: Priority) -> Result<Received, Error> {
        let loaded = self.upstreams.load(request, priority).await;
        if priority == Priority::Warm { loaded.map_err(yielded) } else { loaded }
    }

    /// Fetches, checks and dates an answer.
    ///
    /// # Errors
    ///
    /// Why the exchange gives none, or none that is one.
    pub(crate) async fn load(&self, request: &UpstreamRequest, priority: Priority) -> Result<Loaded, Error> {
        let Received { value, asked_at } = self.fetch(request, priority).await?;
        let forming = request.interval().map_or(Duration::from_secs(1), |interval| self.forming_fresh_for(interval));
        let fresh_for = request.fresh_for(&value.body, self.clock.now(), forming);
        Ok(Loaded { fresh_for, asked_at: Some(asked_at), ..Loaded::from(value) })
    }
}

/// What a load that no reader waits for was refused, which says nothing about what a reader may ask for.
pub(crate) fn yielded(error: Error) -> Error {
    match error.reason {
        Reason::RateLimited | Reason::Banned | Reason::Firewall | Reason::Overloaded => {
            error.with_reason(Reason::Yielded)
        }
        _ => error,
    }
}

#[async_trait]
impl Loader for ExchangeLoader {
    async fn load_request(&self, request: &UpstreamRequest, priority: Priority) -> Result<Loaded, Error> {
        self.load(request, priority).await
    }

    fn doubts(&self) -> &Doubts {
        &self.doubts
    }
}

#[async_trait]
impl Exchange for ExchangeLoader {
    async fn receive(&self, request: UpstreamRequest, priority: Priority) -> Result<Received, Error> {
        self.fetch(&request, priority).await
    }

    fn forming_fresh_for(&self, interval: &str) -> Duration {
        self.klines_fresh_for.unwrap_or_else(|| interval::fresh_for(self.preset, interval))
    }

    fn clock_skew(&self) -> i64 {
        self.upstreams.clock_skew.millis()
    }
}

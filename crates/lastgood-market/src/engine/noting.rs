//! The exchange as candles ask it.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use lastgood::Error;

use crate::candles::Exchange;
use crate::trouble::Troubles;
use crate::upstream::ExchangeLoader;
use crate::{Priority, Received, RegionName, UpstreamRequest};

/// The exchange of candles, with its failures noted.
pub(super) struct Noting {
    pub(super) loader: Arc<ExchangeLoader>,
    pub(super) troubles: Arc<Troubles>,
}

#[async_trait]
impl Exchange for Noting {
    async fn receive(&self, request: UpstreamRequest, priority: Priority) -> Result<Received, Error> {
        self.troubles.note(RegionName::Klines, self.loader.receive(request, priority).await)
    }

    fn forming_fresh_for(&self, interval: &str) -> Duration {
        self.loader.forming_fresh_for(interval)
    }

    fn clock_skew(&self) -> i64 {
        self.loader.clock_skew()
    }
}

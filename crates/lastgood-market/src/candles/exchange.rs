//! What the candle store needs of an exchange.

use std::time::Duration;

use async_trait::async_trait;
use lastgood::Error;

use crate::budget::Priority;
use crate::upstream_request::{Received, UpstreamRequest};

/// The exchange, as the candle store loads from it.
#[async_trait]
pub trait Exchange: Send + Sync + 'static {
    /// The answer to `request`, checked to be of its shape.
    ///
    /// # Errors
    ///
    /// Whatever keeps the exchange from answering; [`Reason::Yielded`] where a load ahead of its readers is to wait.
    async fn receive(&self, request: UpstreamRequest, priority: Priority) -> Result<Received, Error>;

    /// How long a list that ends in a forming candle of that interval may be believed.
    fn forming_fresh_for(&self, interval: &str) -> Duration;

    /// How far its clock is ahead of ours, in ms, as far as is known; negative where it is behind.
    fn clock_skew(&self) -> i64 {
        0
    }
}

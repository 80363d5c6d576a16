//! The streams of one venue: one connection after the other, while anything is in use.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use super::Streams;
use super::session::{Ended, LOOK_EVERY, Session};
use crate::Venue;
use crate::upstream::BaseUrl;

/// The pause before a connection is tried again, doubled each time. The exchange allows 300 tries in 5 minutes.
const RETRY_AFTER: Duration = Duration::from_secs(2);
const RETRY_AFTER_AT_MOST: Duration = Duration::from_secs(60);

/// Keeps the streams of a venue, until the task is dropped.
pub(crate) async fn keep(streams: Arc<Streams>, venue: Venue, hosts: Vec<BaseUrl>) {
    let mut pause = RETRY_AFTER;
    for host in hosts.iter().cycle() {
        while streams.wanted(venue).is_empty() {
            tokio::time::sleep(LOOK_EVERY).await;
        }
        let counters = streams.counters(venue);
        match Session::begin(&streams.connector, host, venue).await {
            Ok(session) => {
                counters.connections.fetch_add(1, Ordering::Relaxed);
                counters.turn(true, None, streams.clock.now());
                tracing::info!(%venue, host = host.name(), "streams connected");
                let ended = session.run(&streams).await;
                counters.subscribed.store(0, Ordering::Relaxed);
                pause = RETRY_AFTER;
                match ended {
                    Ended::Unused => {
                        counters.turn(false, None, streams.clock.now());
                        continue;
                    }
                    Ended::Broken(why) => {
                        counters.turn(false, Some(why.to_string()), streams.clock.now());
                        tracing::warn!(%venue, host = host.name(), why = why.to_string(), "streams ended")
                    }
                }
            }
            Err(why) => {
                counters.turn(false, Some(why.to_string()), streams.clock.now());
                tracing::warn!(%venue, host = host.name(), why = why.to_string(), seconds = pause.as_secs(), "no streams");
            }
        }
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(RETRY_AFTER_AT_MOST);
    }
}

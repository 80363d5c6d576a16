//! Calls to all servers of a cluster, one after the other or together.

use std::time::Duration;

use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use tokio::time::timeout;

use super::Cluster;
use super::slots::Address;
use super::view::View;
use crate::store::redis::{reply, server};
use crate::store::{Cursor, Page, StoreError, Usage};

/// How much longer than the first server the others may take to answer a probe. Short, because a silent server must not
/// make the whole cluster look silent.
const PROBE_GRACE: Duration = Duration::from_millis(8);

/// How often a listing starts over because slots moved while it went from server to server.
const MOST_RESTARTS: u32 = 3;

/// How far a listing has come.
struct Position {
    /// The SCAN cursor on the server.
    at: u64,
    /// The distribution of slots that the listing began with.
    fingerprint: u32,
    restarts: u32,
    /// The server, or one past the last that is done.
    address: Address,
}

impl Position {
    fn read(Cursor(text): &Cursor) -> Option<Position> {
        let mut parts = text.splitn(5, '/');
        Some(Position {
            at: parts.next()?.parse().ok()?,
            fingerprint: parts.next()?.parse().ok()?,
            restarts: parts.next()?.parse().ok()?,
            address: {
                let port = parts.next()?.parse().ok()?;
                (parts.next()?.to_owned(), port)
            },
        })
    }

    fn write(&self) -> Cursor {
        let (host, port) = &self.address;
        Cursor(format!("{}/{}/{}/{port}/{host}", self.at, self.fingerprint, self.restarts))
    }

    fn beginning(view: &View, restarts: u32) -> Option<Position> {
        let address = view.primaries().next()?.address.clone();
        Some(Position { at: 0, fingerprint: view.fingerprint(), restarts, address })
    }
}

impl Cluster {
    /// One page from one server. After the last server the listing starts over if slots moved meanwhile: their keys may
    /// have gone to a server that was done already.
    pub(in crate::store::redis) async fn list(
        &self,
        prefix: &str,
        cursor: Option<Cursor>,
        limit: usize,
    ) -> Result<Page, StoreError> {
        let view = self.shared.view.load_full();
        let error = |fault| self.partly(&fault, reply::read_error(&fault));
        let mut position = match &cursor {
            None => Position::beginning(&view, 0).ok_or_else(|| error(self.nowhere()))?,
            Some(cursor) => Position::read(cursor)
                .ok_or_else(|| StoreError::Corrupt(format!("{:?} is no cursor of a Redis cluster", cursor.0)))?,
        };
        let mut keys = Vec::new();
        // A server that is no longer there has given its keys to others, whom the new distribution makes come again.
        let rest = || view.primaries().skip_while(|member| member.address < position.address);
        if let Some(member) = rest().next() {
            let at = if member.address == position.address { position.at } else { 0 };
            let (found, at) = server::scan(&member.node, prefix, at, limit).await.map_err(error)?;
            keys = found;
            if at != 0 {
                position = Position { at, address: member.address.clone(), ..position };
                return Ok(Page { keys, next: Some(position.write()) });
            }
        } else if view.ranges.is_empty() {
            return Err(error(self.nowhere()));
        }
        if let Some(next) = rest().nth(1) {
            position = Position { at: 0, address: next.address.clone(), ..position };
            return Ok(Page { keys, next: Some(position.write()) });
        }
        _ = self.shared.refresh().await;
        let view = self.shared.view.load_full();
        let moved = view.fingerprint() != position.fingerprint && position.restarts < MOST_RESTARTS;
        let again = moved.then(|| Position::beginning(&view, position.restarts + 1)).flatten();
        Ok(Page { keys, next: again.map(|position| position.write()) })
    }

    /// Whether any server answers; how much there is only where all do.
    pub(in crate::store::redis) async fn probe(&self) -> Result<Usage, StoreError> {
        let view = self.shared.view.load_full();
        let mut asked: FuturesUnordered<_> = view.primaries().map(|member| server::probe(&member.node)).collect();
        let (mut missing, mut last_fault) = (asked.len(), self.nowhere());
        let mut total: Option<Usage> = None;
        loop {
            let next = match total {
                None => asked.next().await,
                Some(_) => timeout(PROBE_GRACE, asked.next()).await.ok().flatten(),
            };
            match next {
                Some(Ok(usage)) => {
                    missing -= 1;
                    total = Some(match total {
                        Some(total) => add(total, usage),
                        None => usage,
                    });
                }
                Some(Err(fault)) => last_fault = fault,
                None => break,
            }
        }
        match total {
            Some(total) if missing == 0 => Ok(total),
            Some(_) => Ok(Usage::default()),
            None => Err(reply::read_error(&last_fault)),
        }
    }
}

fn add(one: Usage, other: Usage) -> Usage {
    let sum = |one: Option<u64>, other: Option<u64>| Some(one?.saturating_add(other?));
    Usage {
        keys: sum(one.keys, other.keys),
        bytes: sum(one.bytes, other.bytes),
        // Each server words its own.
        bytes_human: None,
        limit: sum(one.limit, other.limit),
        evicted_keys: sum(one.evicted_keys, other.evicted_keys),
        file_bytes: None,
    }
}

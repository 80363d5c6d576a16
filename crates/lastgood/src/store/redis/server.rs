//! Calls to one server, for any of its keys.

use ::redis::cmd;

use super::link::{Fault, Link};
use crate::store::{Usage, dialect};

/// How many SCAN steps one page may take. Few matches in a large database would otherwise make pages of nothing.
const SCANS_A_PAGE: usize = 20;

/// About `limit` keys with the prefix, and where the next page begins; zero after the last.
pub(super) async fn scan(link: &Link, prefix: &str, mut at: u64, limit: usize) -> Result<(Vec<String>, u64), Fault> {
    let pattern = dialect::glob_of_prefix(prefix);
    let count = limit.clamp(10, 1000);
    let mut keys = Vec::new();
    for _ in 0..SCANS_A_PAGE {
        let scan = cmd("SCAN").arg(at).arg("MATCH").arg(&pattern).arg("COUNT").arg(count).take();
        let (next, found): (u64, Vec<Vec<u8>>) = link.query(&scan).await?;
        // Other programs' keys may be no text; none of ours.
        let texts = found.into_iter().filter_map(|key| String::from_utf8(key).ok());
        keys.extend(texts.filter(|key| key.starts_with(prefix)));
        at = next;
        if at == 0 || keys.len() >= limit {
            break;
        }
    }
    Ok((keys, at))
}

/// Proves that the server answers.
pub(super) async fn probe(link: &Link) -> Result<Usage, Fault> {
    // Sent together, so one round trip.
    let (ping, info, size) = (cmd("PING"), cmd("INFO"), cmd("DBSIZE"));
    let (ping, info, size) =
        tokio::join!(link.query::<String>(&ping), link.query::<String>(&info), link.query::<u64>(&size));
    ping?;
    // An account may well lack the right to see these two.
    Ok(dialect::usage(info.ok().as_deref(), size.ok()))
}

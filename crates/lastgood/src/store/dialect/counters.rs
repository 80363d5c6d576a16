//! Counters as a hash of Redis, and the command that adds to it.

use std::time::Duration;

use bytes::Bytes;

use crate::store::counters::{KEPT_FOR, RECOGNISED_FOR};
use crate::store::{Addition, Counters};

impl Addition {
    /// The words of the command that adds in Redis.
    ///
    /// The number is noted first: a server that fails in the middle has counted too little, never twice.
    pub(in crate::store) fn command(&self) -> Vec<String> {
        const SCRIPT: &str = "\
            if #ARGV > 4 and tonumber(redis.call('GET', KEYS[2]) or '0') < tonumber(ARGV[1]) then \
            redis.call('SET', KEYS[2], ARGV[1], 'PX', ARGV[2]) \
            for i = 5, #ARGV, 2 do redis.call('HINCRBY', KEYS[1], ARGV[i], ARGV[i + 1]) end \
            end \
            redis.call('HSETNX', KEYS[1], 'since', ARGV[3]) \
            redis.call('PEXPIRE', KEYS[1], ARGV[4]) \
            return redis.call('HGETALL', KEYS[1])";
        let millis = |time: Duration| time.as_millis().to_string();
        let head = ["EVAL".to_owned(), SCRIPT.to_owned(), "2".to_owned(), self.key.clone(), self.writer_key()];
        let settings =
            [self.number.to_string(), millis(RECOGNISED_FOR), self.at.as_millis().to_string(), millis(KEPT_FOR)];
        let counts = self.counts.iter().filter(|(_, by)| *by > 0);
        let counts = counts.flat_map(|(name, by)| [(*name).to_owned(), by.to_string()]);
        head.into_iter().chain(settings).chain(counts).collect()
    }
}

impl Counters {
    /// Reads what the command answers: names and numbers in turn. Fields that are no numbers are another program's.
    pub(in crate::store) fn of_pairs(pairs: &[Bytes]) -> Counters {
        let text = |bytes: &Bytes| std::str::from_utf8(bytes).map(str::to_owned).ok();
        let pairs = pairs.chunks_exact(2).filter_map(|pair| Some((text(&pair[0])?, text(&pair[1])?.parse().ok()?)));
        Counters::of(pairs.collect())
    }
}

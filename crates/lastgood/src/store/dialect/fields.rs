//! A map of fields as a hash of Redis, and the command that updates it.

use bytes::Bytes;

use crate::store::{FieldUpdate, Fields, StoreError, dialect};

impl FieldUpdate {
    /// The words of the command that updates the map in Redis. It answers the server's time (seconds and microseconds,
    /// empty where the account may not ask), then names and texts in turn.
    pub(in crate::store) fn command(&self) -> Vec<String> {
        const SCRIPT: &str = "\
            if ARGV[1] ~= '' then \
            redis.call('HSET', KEYS[1], ARGV[2], ARGV[3]) redis.call('PEXPIRE', KEYS[1], ARGV[1]) end \
            for i = 4, #ARGV do redis.call('HDEL', KEYS[1], ARGV[i]) end \
            local all = redis.call('HGETALL', KEYS[1]) \
            local time = redis.pcall('TIME') \
            if time.err then time = {'', ''} end \
            table.insert(all, 1, time[2]) table.insert(all, 1, time[1]) \
            return all";
        let words = ["EVAL", SCRIPT, "1", &self.key].map(str::to_owned);
        let (ttl, name, text) = match &self.set {
            Some((name, text)) => (dialect::ttl_millis(self.ttl).to_string(), name.clone(), text.clone()),
            None => Default::default(),
        };
        words.into_iter().chain([ttl, name, text]).chain(self.remove.iter().cloned()).collect()
    }
}

impl Fields {
    /// Reads what the command answers. Texts that are not UTF-8 are another program's.
    pub(in crate::store) fn of_reply(reply: &[Bytes]) -> Result<Fields, StoreError> {
        let Some((time, pairs)) = reply.split_at_checked(2) else {
            return Err(StoreError::Corrupt("the reply to an update of fields is too short".to_owned()));
        };
        let text = |bytes: &Bytes| std::str::from_utf8(bytes).map(str::to_owned).ok();
        let texts = pairs.chunks_exact(2).filter_map(|pair| Some((text(&pair[0])?, text(&pair[1])?))).collect();
        Ok(Fields { now: dialect::time(time).ok(), texts })
    }
}

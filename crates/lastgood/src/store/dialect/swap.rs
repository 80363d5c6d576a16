//! Changes on a condition, as scripts that Redis runs.

use std::borrow::Cow;

use bytes::Bytes;

use crate::store::{Swap, Version, dialect};

/// Says in Lua whether a change comes too late, and whether a key holds an expected version. The time is not asked for where
/// there is no end, and does not count for a user who may not ask. The magic, the version and the time of an entry are as
/// `entry/wire.rs` writes them.
macro_rules! is_expected {
    () => {
        "local function what(expected) return (string.gsub(expected, ',%d+$', '')) end \
        local function is_late(expected) \
        local by = string.match(expected, ',(%d+)$') \
        local now = by and redis.pcall('TIME') \
        return type(now) == 'table' and now.err == nil \
        and now[1] * 1000 + math.floor(now[2] / 1000) > tonumber(by) end \
        local late = {err = 'LATE the caller has given this change up'} \
        local function is_expected(key, expected) \
        expected = what(expected) \
        if string.sub(expected, 1, 1) == '<' then \
        local held, at = redis.pcall('GETRANGE', key, 0, 17), 0 \
        if type(held) == 'string' and #held == 18 and string.sub(held, 1, 4) == 'LGE\\2' then \
        for i = 18, 11, -1 do at = at * 256 + string.byte(held, i) end end \
        return at <= tonumber(string.sub(expected, 2)) end \
        local held, tail = redis.pcall('GETRANGE', key, 0, 49), redis.pcall('GETRANGE', key, -4, -1) \
        if type(held) ~= 'string' or type(tail) ~= 'string' then return false end \
        held = string.gsub(held..tail, '.', function(c) return string.format('%02x', string.byte(c)) end) \
        return held == expected end "
    };
}

/// The command that removes keys in Redis where they hold the expected bytes; it answers how many it removed.
pub(in crate::store) fn removal_command(removals: &[(String, Version)]) -> Vec<Cow<'_, str>> {
    const SCRIPT: &str = concat!(
        is_expected!(),
        "if is_late(ARGV[1]) then return late end \
        local removed = 0 \
        for i, key in ipairs(KEYS) do \
        if is_expected(key, ARGV[i]) then removed = removed + redis.call('UNLINK', key) end end \
        return removed"
    );
    let mut words = vec![Cow::from("EVAL"), SCRIPT.into(), removals.len().to_string().into()];
    words.extend(removals.iter().map(|(key, _)| Cow::from(key)));
    words.extend(removals.iter().map(|(_, expected)| Cow::from(&expected.0)));
    words
}

impl Swap {
    /// The words of the command that swaps in Redis, but for the last, which is the value; it answers 1 where it did.
    pub(in crate::store) fn command(&self) -> [String; 6] {
        const SCRIPT: &str = concat!(
            is_expected!(),
            "if is_late(ARGV[1]) then return late end \
            if what(ARGV[1]) == '' then if redis.call('EXISTS', KEYS[1]) == 1 then return 0 end \
            elseif not is_expected(KEYS[1], ARGV[1]) then return 0 end \
            if ARGV[2] == '0' then redis.call('UNLINK', KEYS[1]) \
            else redis.call('SET', KEYS[1], ARGV[3], 'PX', ARGV[2]) end \
            return 1"
        );
        let millis = self.to.as_ref().map_or(0, |(_, ttl)| dialect::ttl_millis(*ttl));
        let expected = self.expected.as_ref().map(|version| version.0.clone()).unwrap_or_default();
        let words = ["EVAL", SCRIPT, "1"].map(str::to_owned);
        let [eval, script, keys] = words;
        [eval, script, keys, self.key.clone(), expected, millis.to_string()]
    }

    /// The value that it writes, if any.
    pub(in crate::store) fn value(&self) -> Bytes {
        self.to.as_ref().map(|(value, _)| value.clone()).unwrap_or_default()
    }
}

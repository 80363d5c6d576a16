//! Which server of a cluster has which keys.

use ::redis::{RedisError, Value, from_redis_value};

/// How many slots a cluster's keys fall into.
const SLOTS: u16 = 16_384;

pub(in crate::store::redis) type Address = (String, u16);

/// The slots from the first to the last, and the primary that has them.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Range {
    pub(super) first: u16,
    pub(super) last: u16,
    pub(super) primary: Address,
}

/// The slot of a key: of the part in braces where there is one, as the servers count.
pub(super) fn slot_of(key: &str) -> u16 {
    let tag = key.split_once('{').and_then(|(_, rest)| rest.split_once('}')).map(|(tag, _)| tag);
    let hashed = tag.filter(|tag| !tag.is_empty()).unwrap_or(key);
    crc16(hashed.as_bytes()) % SLOTS
}

/// The checksum known as CRC-16/XMODEM.
fn crc16(bytes: &[u8]) -> u16 {
    bytes.iter().fold(0, |sum, byte| {
        (0..8).fold(sum ^ u16::from(*byte) << 8, |sum, _| match sum & 0x8000 {
            0 => sum << 1,
            _ => sum << 1 ^ 0x1021,
        })
    })
}

/// Reads the reply to `CLUSTER SLOTS` of the server that was asked at `asked`, in the order of the slots.
pub(super) fn read(reply: Value, asked: &str) -> Result<Vec<Range>, RedisError> {
    let mut ranges = Vec::new();
    for entry in from_redis_value::<Vec<Vec<Value>>>(reply)? {
        let mut parts = entry.into_iter();
        let (Some(first), Some(last), Some(primary)) = (parts.next(), parts.next(), parts.next()) else {
            continue;
        };
        let (first, last) = (number(first)?, number(last)?);
        let mut primary = from_redis_value::<Vec<Value>>(primary)?.into_iter();
        let (Some(host), Some(port)) = (primary.next(), primary.next()) else {
            continue;
        };
        let host: Option<String> = from_redis_value(host)?;
        let port = number(port)?;
        let host = match host.as_deref() {
            None | Some("") => asked.to_owned(),
            // A server that does not know where this one is.
            Some("?") => continue,
            Some(host) => host.to_owned(),
        };
        if let (Some(first), Some(last), Some(port)) = (first, last, port)
            && first <= last
            && last < SLOTS
            && port > 0
        {
            ranges.push(Range { first, last, primary: (host, port) });
        }
    }
    ranges.sort_unstable();
    Ok(ranges)
}

fn number(value: Value) -> Result<Option<u16>, RedisError> {
    let number: i64 = from_redis_value(value)?;
    Ok(u16::try_from(number).ok())
}

/// Reads the address that a redirection names; without a host it is the one that was asked.
pub(super) fn redirected(address: &str, asked: &str) -> Option<Address> {
    let (host, port) = address.rsplit_once(':')?;
    let host = host.trim_start_matches('[').trim_end_matches(']');
    let host = if host.is_empty() { asked } else { host };
    Some((host.to_owned(), port.parse().ok().filter(|port| *port > 0)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_in_the_slot_that_the_servers_say() {
        // As CLUSTER KEYSLOT answers.
        for (key, slot) in [
            ("123456789", 12_739),
            ("foo", 12_182),
            ("bar", 5_061),
            ("", 0),
            ("{user1000}.following", 3_443),
            ("{user1000}.followers", 3_443),
            ("foo{}{bar}", 8_363),
            ("foo{{bar}}zap", 4_015),
            ("foo{bar}{zap}", 5_061),
            ("foo{bar", 15_278),
        ] {
            assert_eq!(slot_of(key), slot, "{key:?}");
        }
    }

    fn text(text: &str) -> Value {
        Value::BulkString(text.as_bytes().to_vec())
    }

    fn entry(first: i64, last: i64, host: Value, port: i64) -> Value {
        let replica = Value::Array(vec![text("replica"), Value::Int(1), text("id")]);
        let primary = Value::Array(vec![host, Value::Int(port), text("id"), Value::Array(vec![])]);
        Value::Array(vec![Value::Int(first), Value::Int(last), primary, replica])
    }

    #[test]
    fn ranges_are_read_in_order_and_what_makes_no_sense_is_left_out() {
        let reply = Value::Array(vec![
            entry(200, 16_383, text("b"), 2),
            entry(0, 99, text(""), 1),
            entry(100, 150, Value::Nil, 3),
            entry(151, 160, text("?"), 4),
            entry(170, 16_384, text("b"), 2),
            entry(180, 170, text("b"), 2),
            entry(180, 181, text("b"), 0),
            entry(180, 181, text("b"), 65_536 + 2),
            entry(-1, 5, text("b"), 2),
            Value::Array(vec![Value::Int(190)]),
        ]);
        let range = |first, last, host: &str, port| Range { first, last, primary: (host.to_owned(), port) };
        let expected = [range(0, 99, "asked", 1), range(100, 150, "asked", 3), range(200, 16_383, "b", 2)];
        assert_eq!(read(reply, "asked").expect("a good reply"), expected);
        assert!(read(text("nonsense"), "asked").unwrap_or_default().is_empty());
    }

    #[test]
    fn a_redirection_names_host_and_port_or_the_port_alone() {
        assert_eq!(redirected("10.0.0.1:7000", "asked"), Some(("10.0.0.1".to_owned(), 7000)));
        assert_eq!(redirected("::1:7000", "asked"), Some(("::1".to_owned(), 7000)));
        assert_eq!(redirected(":7000", "asked"), Some(("asked".to_owned(), 7000)));
        for nonsense in ["", "host", "host:", "host:0", "host:70000"] {
            assert_eq!(redirected(nonsense, "asked"), None, "{nonsense}");
        }
    }
}

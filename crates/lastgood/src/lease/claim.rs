//! What a load leaves in the store while it is under way.

use bytes::{Buf, BufMut, Bytes, BytesMut};

use crate::clock::Timestamp;

/// No entry begins so, and programs that know no leases take it for a value that they cannot read.
const MAGIC: &[u8; 4] = b"LGC1";
/// Its end, where entries have their checksum.
const END: [u8; 4] = *b"load";
const LENGTH: usize = 4 + 3 * 8 + 4;

/// The claim of one load: `"LGC1" | started_at u64 | node u64 | number u64 | "load"`, little-endian, the time in milliseconds of
/// the store's clock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Claim {
    /// When the load began, by the store's clock.
    pub(crate) started_at: Timestamp,
    /// The process that loads.
    pub(crate) node: u64,
    /// Which of its loads.
    pub(crate) number: u64,
}

impl Claim {
    /// What its last four bytes are, read as the checksum of an entry.
    pub(crate) const CHECKSUM: u32 = u32::from_le_bytes(END);

    pub(crate) fn encode(self) -> Bytes {
        let mut out = BytesMut::with_capacity(LENGTH);
        out.put_slice(MAGIC);
        out.put_u64_le(self.started_at.as_millis());
        out.put_u64_le(self.node);
        out.put_u64_le(self.number);
        out.put_slice(&END);
        out.freeze()
    }

    /// The claim that these bytes are, if they are one.
    pub(crate) fn decode(bytes: &[u8]) -> Option<Claim> {
        let mut rest = bytes.strip_prefix(MAGIC).filter(|_| bytes.len() == LENGTH && bytes.ends_with(&END))?;
        let started_at = Timestamp::from_millis(rest.get_u64_le());
        Some(Claim { started_at, node: rest.get_u64_le(), number: rest.get_u64_le() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The bytes as released programs write them.
    #[test]
    fn a_claim_is_read_as_it_was_written_and_nothing_else_is_one() {
        let claim = Claim { started_at: Timestamp::from_millis(0x0102), node: 3, number: 4 };
        let bytes = claim.encode();
        assert_eq!(&bytes[..], b"LGC1\x02\x01\0\0\0\0\0\0\x03\0\0\0\0\0\0\0\x04\0\0\0\0\0\0\0load");
        assert_eq!(Claim::decode(&bytes), Some(claim));
        for other in
            [&bytes[..31], b"", b"LGE", b"LGC2aaaaaaaabbbbbbbbccccccccload", b"LGC1aaaaaaaabbbbbbbbccccccccdddd"]
        {
            assert_eq!(Claim::decode(other), None, "{other:?}");
        }
        let longer = [&bytes[..], b"x"].concat();
        assert_eq!(Claim::decode(&longer), None);
    }
}

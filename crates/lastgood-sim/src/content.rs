//! Bodies of answers, packed no more often than needed.

use std::io::Write as _;
use std::sync::{Arc, OnceLock};

use bytes::Bytes;
use flate2::write::{DeflateEncoder, GzEncoder};
use flate2::{Compression, Crc};

/// The header of a gzip stream: deflate, no flags, no time, no system.
const GZIP_HEADER: [u8; 10] = [0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 255];

/// A body: the part made for this answer, and for the long ones an end that all of them share.
#[derive(Debug)]
pub(crate) struct Content {
    head: String,
    tail: Option<Arc<Tail>>,
}

/// The unchanging end of long bodies. Compressing megabytes again for each answer would take longer than all else.
#[derive(Debug)]
pub(crate) struct Tail {
    text: String,
    packed: OnceLock<(Vec<u8>, Crc)>,
}

impl From<String> for Content {
    fn from(head: String) -> Self {
        Content { head, tail: None }
    }
}

impl From<&str> for Content {
    fn from(head: &str) -> Self {
        head.to_owned().into()
    }
}

impl Content {
    pub(crate) fn with_tail(head: String, tail: Arc<Tail>) -> Self {
        Content { head, tail: Some(tail) }
    }

    pub(crate) fn len(&self) -> usize {
        self.head.len() + self.tail.as_ref().map_or(0, |tail| tail.text.len())
    }

    pub(crate) fn plain(self) -> Bytes {
        match self.tail {
            Some(tail) => [self.head.as_str(), &tail.text].concat().into(),
            None => self.head.into(),
        }
    }

    pub(crate) fn text(self) -> String {
        match self.tail {
            Some(tail) => self.head + &tail.text,
            None => self.head,
        }
    }

    pub(crate) fn gzip(self) -> Bytes {
        match self.tail {
            Some(tail) => tail.gzip_behind(&self.head),
            None => gzip(self.head.as_bytes()),
        }
    }
}

impl Tail {
    pub(crate) fn new(text: String) -> Self {
        Tail { text, packed: OnceLock::new() }
    }

    /// Head and tail as one gzip stream: the head's blocks end on a byte by a flush, and the tail's end the stream.
    fn gzip_behind(&self, head: &str) -> Bytes {
        let (packed, tail_sum) = self.packed.get_or_init(|| (self.deflated(), checksum(&self.text)));
        let mut sum = checksum(head);
        sum.combine(tail_sum);
        let mut encoder = DeflateEncoder::new(Vec::new(), Compression::fast());
        // Writing into a Vec cannot fail.
        let _ = encoder.write_all(head.as_bytes());
        let _ = encoder.flush();
        let trailer = [sum.sum().to_le_bytes(), sum.amount().to_le_bytes()].concat();
        [&GZIP_HEADER, encoder.get_ref().as_slice(), packed, &trailer].concat().into()
    }

    fn deflated(&self) -> Vec<u8> {
        let mut encoder = DeflateEncoder::new(Vec::with_capacity(self.text.len() / 8), Compression::fast());
        let _ = encoder.write_all(self.text.as_bytes());
        encoder.finish().unwrap_or_default()
    }
}

fn checksum(text: &str) -> Crc {
    let mut sum = Crc::new();
    sum.update(text.as_bytes());
    sum
}

fn gzip(body: &[u8]) -> Bytes {
    let mut encoder = GzEncoder::new(Vec::with_capacity(body.len() / 4), Compression::fast());
    let _ = encoder.write_all(body);
    encoder.finish().unwrap_or_default().into()
}

#[cfg(test)]
mod tests {
    use std::io::Read as _;

    use super::*;

    #[test]
    fn a_shared_tail_unpacks_behind_every_head() {
        let tail = Arc::new(Tail::new("a tail that repeats itself; ".repeat(5_000)));
        for head in [String::new(), "head".to_owned(), "a longer head; ".repeat(9_000)] {
            let packed = Content::with_tail(head.clone(), Arc::clone(&tail)).gzip();
            let mut unpacked = Vec::new();
            flate2::read::GzDecoder::new(packed.as_ref()).read_to_end(&mut unpacked).unwrap();
            assert_eq!(unpacked, Content::with_tail(head, Arc::clone(&tail)).plain());
        }
    }
}

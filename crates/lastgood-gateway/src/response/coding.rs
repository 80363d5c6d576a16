//! Content codings (RFC 9110, 8.4.1): which one a client gets, and packing by it.

use std::cell::RefCell;
use std::io::Write as _;

use bytes::Bytes;
use flate2::Compression;
use flate2::write::GzEncoder;
use http::header::ACCEPT_ENCODING;
use http::{HeaderMap, HeaderValue};

/// The form in which a body is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Coding {
    Identity,
    Gzip,
    /// One frame (RFC 8878), whose window stays within the 8 MB of RFC 9659. In several frames it would be cut short by
    /// readers that stop after the first.
    Zstd,
}

/// zstd's fastest level packs market data about as small as the next ones do, in a third of gzip's time or less.
const ZSTD_LEVEL: i32 = 1;
/// A packed form of more than seven eighths of its body is not worth the unpacking.
const WORTH: usize = 8;

impl Coding {
    /// How many there are.
    pub(crate) const COUNT: usize = 3;

    /// The best that a request with these headers takes.
    pub(crate) fn of(headers: &HeaderMap) -> Coding {
        headers.get_all(ACCEPT_ENCODING).iter().map(Coding::taken).fold(Coding::Identity, Coding::better)
    }

    /// The better of two that different headers of one request name.
    pub(crate) fn better(self, other: Coding) -> Coding {
        if other.place() > self.place() { other } else { self }
    }

    /// Its number among all.
    #[inline]
    pub(crate) fn place(self) -> usize {
        self as usize
    }

    /// Its name in `Content-Encoding`; the identity has none there.
    pub(crate) fn name(self) -> Option<&'static str> {
        match self {
            Coding::Identity => None,
            Coding::Gzip => Some("gzip"),
            Coding::Zstd => Some("zstd"),
        }
    }

    /// What the value of an `Accept-Encoding` takes best. A thread remembers the last: clients of one kind send the same.
    pub(crate) fn taken(value: &HeaderValue) -> Coding {
        /// The longest value that a thread remembers.
        const REMEMBERED: usize = 128;
        thread_local!(static LAST: RefCell<(Vec<u8>, Coding)> = const { RefCell::new((Vec::new(), Coding::Identity)) });
        let bytes = value.as_bytes();
        LAST.with_borrow_mut(|(last, taken)| {
            if *last == bytes {
                return *taken;
            }
            let named = value.to_str().map_or(Coding::Identity, best);
            if bytes.len() <= REMEMBERED {
                last.clear();
                last.extend_from_slice(bytes);
                *taken = named;
            }
            named
        })
    }

    /// A body, packed at the speed that suits an answer of a second's life; `None` where that does not make it smaller.
    pub(crate) fn pack(self, body: &[u8]) -> Option<Bytes> {
        let packed = match self {
            Coding::Identity => None,
            Coding::Gzip => {
                let mut encoder = GzEncoder::new(Vec::with_capacity(body.len() / 4), Compression::fast());
                encoder.write_all(body).and_then(|()| encoder.finish()).ok()
            }
            Coding::Zstd => zstd::bulk::compress(body, ZSTD_LEVEL).ok(),
        };
        let packed = packed.filter(|packed| packed.len() + body.len() / WORTH <= body.len())?;
        // Of its own size: it is kept.
        Some(packed.into_boxed_slice().into())
    }
}

/// The coding that an `Accept-Encoding` gives the greatest weight (RFC 9110, 12.5.3); of two with the same, the smaller and
/// faster. Who takes any gets gzip, which none is without.
fn best(value: &str) -> Coding {
    let weight = |wanted: &str| {
        value.split(',').find_map(|coding| {
            let mut parts = coding.split(';').map(str::trim);
            parts.next().filter(|name| name.eq_ignore_ascii_case(wanted))?;
            let named = parts.find_map(|part| part.strip_prefix("q=").or_else(|| part.strip_prefix("Q=")));
            Some(named.and_then(|named| named.parse().ok()).filter(|weight: &f32| weight.is_finite()).unwrap_or(1.0))
        })
    };
    let identity = weight("identity").unwrap_or(0.0);
    let gzip = weight("gzip").or_else(|| weight("x-gzip")).or_else(|| weight("*")).unwrap_or(0.0);
    let zstd = weight("zstd").unwrap_or(0.0);
    match gzip.max(zstd) {
        most if most <= 0.0 || most < identity => Coding::Identity,
        _ if zstd >= gzip => Coding::Zstd,
        _ => Coding::Gzip,
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read as _;

    use http::header::ACCEPT_ENCODING;

    use super::*;

    #[test]
    fn a_client_gets_the_best_coding_that_it_takes() {
        let gzip = [
            "gzip",
            "deflate, gzip;q=0.5",
            "*",
            "br, GZIP",
            "br;q=1, zstd;q=0.05, gzip;q=0.1",
            "br;q=0, *;q=0.5",
            "x-gzip",
        ];
        let zstd = [
            "zstd",
            "gzip, deflate, br, zstd",
            "gzip;q=0.5, ZSTD;Q=0.5",
            "identity;q=0.1, zstd;q=0.2",
            "gzip;q=0, zstd",
        ];
        let identity = [
            "",
            "br",
            "gzip;q=0",
            "identity",
            "xgzip",
            "gzip; q=0.0",
            "gzip;q=0, *",
            "*;q=0",
            "zstd;q=0",
            "identity, gzip;q=0.5",
        ];
        let all = [(Coding::Gzip, &gzip[..]), (Coding::Zstd, &zstd), (Coding::Identity, &identity)];
        for (coding, values) in all {
            for value in values {
                assert_eq!(best(value), coding, "{value}");
            }
        }
        for (value, coding) in
            [("gzip", Coding::Gzip), ("br", Coding::Identity), ("br", Coding::Identity), ("zstd", Coding::Zstd)]
        {
            assert_eq!(Coding::taken(&HeaderValue::from_static(value)), coding, "{value}, after others");
        }
        let lines = ["br", "zstd", "gzip"].map(|value| (ACCEPT_ENCODING, HeaderValue::from_static(value)));
        assert_eq!(Coding::of(&HeaderMap::from_iter(lines)), Coding::Zstd, "in lines of their own");
    }

    #[test]
    fn a_packed_body_comes_back_and_one_that_would_not_be_smaller_is_not_packed() {
        let body = "{\"symbol\":\"BTCUSDT\"},".repeat(2_000);
        let gzip = Coding::Gzip.pack(body.as_bytes()).expect("it is smaller");
        let mut unpacked = String::new();
        flate2::read::GzDecoder::new(&gzip[..]).read_to_string(&mut unpacked).expect("gzip");
        assert_eq!(unpacked, body);
        let packed = Coding::Zstd.pack(body.as_bytes()).expect("it is smaller");
        assert_eq!(zstd::bulk::decompress(&packed, body.len()).expect("one frame"), body.as_bytes());
        assert_eq!(Coding::Identity.pack(body.as_bytes()), None);

        let mut state = 1_u64;
        let noise = std::iter::repeat_with(|| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            (state >> 56) as u8
        });
        let noise: Vec<u8> = noise.take(5_000).collect();
        assert_eq!([Coding::Gzip, Coding::Zstd].map(|coding| coding.pack(&noise)), [None, None]);
    }
}

//! What the servers that lastgood is measured against have in common: the same bodies, kept in memory.

use std::collections::HashMap;
use std::io;
use std::path::Path;

use bytes::Bytes;
use http::{HeaderName, HeaderValue};

/// An answer of the gateway, as a benchmark has recorded it.
pub struct Recorded {
    /// Its header fields, without those of the connection, `Date` and `Content-Length`.
    pub headers: Vec<(HeaderName, HeaderValue)>,
    /// Its body, encoded as the headers say.
    pub body: Bytes,
}

/// Answers by target: for each target the one without a content coding, with gzip and with zstd.
pub type Answers<T> = HashMap<String, [T; 3]>;

/// Which of them a request with this `Accept-Encoding` gets. A bench names one coding, so that the first letter tells.
#[must_use]
pub fn form(accept_encoding: Option<&[u8]>) -> usize {
    match accept_encoding.and_then(<[u8]>::first) {
        Some(b'g') => 1,
        Some(b'z') => 2,
        _ => 0,
    }
}

/// Reads what `benches/hits.py` has recorded, and makes of each answer what a server needs: of the answer number N there are the
/// files `N.target`, `N.0.headers` and `N.0.body`, for gzip `N.1.headers` and `N.1.body`, and for zstd those with a 2.
///
/// # Errors
///
/// That of a file that cannot be read.
pub fn recorded<T>(folder: &Path, make: impl Fn(Recorded) -> T) -> io::Result<Answers<T>> {
    let mut answers = HashMap::new();
    for number in 0.. {
        let Ok(target) = std::fs::read_to_string(folder.join(format!("{number}.target"))) else { break };
        let read = |form: u8| -> io::Result<T> {
            let file = |kind: &str| folder.join(format!("{number}.{form}.{kind}"));
            let text = std::fs::read_to_string(file("headers"))?;
            let fields = text.lines().filter_map(|line| line.split_once(": "));
            let headers = fields.filter_map(|(name, value)| Some((name.parse().ok()?, value.parse().ok()?))).collect();
            Ok(make(Recorded { headers, body: std::fs::read(file("body"))?.into() }))
        };
        answers.insert(target, [read(0)?, read(1)?, read(2)?]);
    }
    Ok(answers)
}

/// Bytes of physical memory that this process has.
///
/// # Panics
///
/// Where the kernel does not say it: on Linux it does.
#[must_use]
pub fn resident() -> u64 {
    let pages =
        std::fs::read_to_string("/proc/self/statm").ok().and_then(|text| text.split(' ').nth(1)?.parse::<u64>().ok());
    pages.expect("/proc/self/statm") * 4_096
}

/// This many ranks below `keys`, the popular ones lower, by Zipf's law with exponent 0.99 and from a fixed seed.
pub fn zipf(keys: usize, count: usize) -> Vec<usize> {
    let mut total = 0.0;
    let bounds: Vec<f64> = (1..=keys)
        .map(|rank| {
            total += 1.0 / (rank as f64).powf(0.99);
            total
        })
        .collect();
    let mut state = 0x9E37_79B9_7F4A_7C15_u64;
    let mut random = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 11) as f64 / (1u64 << 53) as f64 * total
    };
    let pick = |at: f64| bounds.partition_point(|bound| *bound < at).min(keys - 1);
    (0..count).map(|_| pick(random())).collect()
}

/// What a future gives at its first poll. A hit is ready then, so that no runtime is in the way of a measurement.
///
/// # Panics
///
/// Where it is not ready.
pub fn poll_once<F: Future>(future: F) -> F::Output {
    let mut future = std::pin::pin!(future);
    let mut context = std::task::Context::from_waker(std::task::Waker::noop());
    match future.as_mut().poll(&mut context) {
        std::task::Poll::Ready(output) => output,
        std::task::Poll::Pending => panic!("a hit had to wait"),
    }
}

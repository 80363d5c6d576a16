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

/// Answers by target: for each target the one without and the one with gzip.
pub type Answers<T> = HashMap<String, [T; 2]>;

/// Reads what `benches/hits.py` has recorded, and makes of each answer what a server needs: of the answer number N there are the
/// files `N.target`, `N.0.headers` and `N.0.body`, and for gzip `N.1.headers` and `N.1.body`.
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
        answers.insert(target, [read(0)?, read(1)?]);
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

//! What names a question: the route, and its arguments in their one form.

use percent_encoding::{AsciiSet, CONTROLS, utf8_percent_encode};
use ring::digest::{SHA256, digest};

use crate::arguments::{Argument, Arguments};
use crate::route::Route;

/// Longer keys are replaced by their hash: stores take 1,024 bytes, prefix included.
const LONGEST_KEY: usize = 256;
/// What would make one key of two questions, or a pattern of a key.
const ENCODED: &AsciiSet = &CONTROLS.add(b'%').add(b'&').add(b'=').add(b' ').add(b'*').add(b'?').add(b'[').add(b']');

impl Route {
    /// The key of a question in the route's region: `/v1/stocks/{symbol}/recent?symbol=AAPL&days=30`. The
    /// arguments give way to their hash where they are long, and where the route wants them unreadable.
    pub fn key(&self, arguments: &Arguments) -> String {
        let path = &self.spec.path;
        let given = arguments.0.iter().filter(|(_, value)| *value != Argument::Absent);
        let mut plain = format!("{path}?");
        for (number, (name, value)) in given.enumerate() {
            plain.extend([if number == 0 { "" } else { "&" }, name, "="]);
            plain.extend(utf8_percent_encode(&value.to_string(), ENCODED));
        }
        match plain.len() <= LONGEST_KEY && !self.spec.hash_parameters {
            true => plain,
            // No parameter is called this.
            false => format!("{path}?sha256={}", hex(digest(&SHA256, plain.as_bytes()).as_ref())),
        }
    }

    /// Names under which its answers can be invalidated together.
    pub(crate) fn tags(&self, arguments: &Arguments) -> Vec<String> {
        let write = |text: &str| utf8_percent_encode(text, TAG_ENCODED).to_string();
        self.spec.tags.iter().map(|tag| tag.fill(arguments, write)).collect()
    }
}

/// Lists of tags have commas between them.
const TAG_ENCODED: &AsciiSet = &CONTROLS.add(b'%').add(b',').add(b' ');

/// A digest of what a route asks.
pub(crate) fn definition(asked: &str) -> String {
    hex(&digest(&SHA256, asked.as_bytes()).as_ref()[..8])
}

pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

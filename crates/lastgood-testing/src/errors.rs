//! What errors display, and what their sources do.

use std::error::Error;

/// That no error in the chain of `error` displays what stands in one before it.
///
/// # Panics
///
/// When one does.
pub fn says_each_part_once(error: &(dyn Error + 'static)) {
    let chain: Vec<String> =
        std::iter::successors(Some(error), |&error| error.source()).map(ToString::to_string).collect();
    for (at, part) in chain.iter().enumerate() {
        assert!(!part.is_empty(), "an error says nothing: {chain:?}");
        let before = chain[..at].iter().find(|before| before.contains(part));
        assert!(before.is_none(), "said twice: {part:?} in {chain:#?}");
    }
}

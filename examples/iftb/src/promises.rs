//! What the example promises, and whether it holds.

use std::fmt::Display;

/// Counts the promises that held.
#[derive(Default)]
pub(crate) struct Promises {
    held: usize,
    broken: Vec<String>,
}

impl Promises {
    /// Notes one promise: its words, whether it holds, and what was seen.
    pub(crate) fn hold(&mut self, words: &str, holds: bool, seen: impl Display) {
        match holds {
            true => {
                self.held += 1;
                println!("  held    {words}");
            }
            false => {
                self.broken.push(words.to_owned());
                println!("  BROKEN  {words}: {seen}");
            }
        }
    }

    /// Prints how many held, and says whether all did.
    pub(crate) fn end(&self) -> bool {
        let (held, all) = (self.held, self.held + self.broken.len());
        println!("\niftb, as a library: {held} of {all} promises held");
        self.broken.iter().for_each(|words| println!("  broken: {words}"));
        self.broken.is_empty() && held > 0
    }
}

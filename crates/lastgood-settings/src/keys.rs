//! Everything that can be set, apart from the regions.

use crate::problem::Wrong;
use crate::settings::Settings;
use crate::value::{Raw, put};

mod access;
mod bounds;
mod exchange;
mod general;
mod limits;
mod listener;
mod log;
mod warm;

/// The keys, a file a group, in the order they are shown.
const GROUPS: [&[Key]; 7] =
    [general::KEYS, listener::KEYS, exchange::KEYS, warm::KEYS, access::KEYS, limits::KEYS, log::KEYS];

const COUNT: usize = {
    let (mut count, mut group) = (0, 0);
    while group < GROUPS.len() {
        count += GROUPS[group].len();
        group += 1;
    }
    count
};

/// Everything that can be set, in the order it is shown.
pub const KEYS: &[Key] = &{
    let mut keys = [GROUPS[0][0]; COUNT];
    let (mut at, mut group) = (0, 0);
    while group < GROUPS.len() {
        let mut index = 0;
        while index < GROUPS[group].len() {
            keys[at] = GROUPS[group][index];
            (at, index) = (at + 1, index + 1);
        }
        group += 1;
    }
    keys
};

/// One thing that can be set.
#[derive(Debug, Clone, Copy)]
pub struct Key {
    /// Its dotted name in the file, in `--set` and in messages.
    pub name: &'static str,
    /// Its type in words.
    pub kind: &'static str,
    /// The environment variables it is read from; the first that is set wins.
    pub env: &'static [&'static str],
    /// Its own flag, without dashes. Any key can be given with `--set`.
    pub flag: Option<&'static str>,
    /// What it does.
    pub doc: &'static str,
    /// Whether its value is never shown.
    pub secret: bool,
    set: fn(&mut Settings, &Raw) -> Result<(), Wrong>,
    show: fn(&Settings) -> String,
}

impl Key {
    /// The key of this name.
    #[must_use]
    pub fn named(name: &str) -> Option<&'static Self> {
        KEYS.iter().find(|key| key.name == name)
    }

    pub(crate) fn apply(&self, settings: &mut Settings, raw: &Raw) -> Result<(), Wrong> {
        (self.set)(settings, raw)
    }

    /// The value in force, secrets masked.
    #[must_use]
    pub fn show(&self, settings: &Settings) -> String {
        (self.show)(settings)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_default_can_be_written_as_it_is_shown() {
        let defaults = Settings::default();
        for key in KEYS {
            let (mut written, shown) = (Settings::default(), key.show(&defaults));
            key.apply(&mut written, &Raw::text(&shown)).unwrap_or_else(|wrong| panic!("{}: {wrong:?}", key.name));
            assert_eq!(key.show(&written), shown, "{}", key.name);
        }
    }

    #[test]
    fn names_and_variables_are_used_once() {
        let mut names: Vec<_> = KEYS.iter().map(|key| key.name).collect();
        names.extend(KEYS.iter().flat_map(|key| key.env));
        let all = names.len();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), all);
    }
}

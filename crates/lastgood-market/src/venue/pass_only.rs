//! Parts of the exchange that nothing is cached of.

/// A part of the exchange with a host of its own, whose requests all pass through.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum PassOnly {
    /// European options: `/eapi`.
    Options,
    /// Portfolio margin: `/papi`.
    Portfolio,
}

impl PassOnly {
    /// Every one, in the order of their discriminants.
    pub const ALL: [PassOnly; 2] = [PassOnly::Options, PassOnly::Portfolio];

    /// The word for labels and logs.
    pub const fn as_str(self) -> &'static str {
        match self {
            PassOnly::Options => "options",
            PassOnly::Portfolio => "portfolio",
        }
    }

    /// The part that a request path belongs to.
    pub fn of(path: &str) -> Option<PassOnly> {
        match path.strip_prefix('/')?.split_once('/')?.0 {
            "eapi" => Some(PassOnly::Options),
            "papi" => Some(PassOnly::Portfolio),
            _ => None,
        }
    }
}

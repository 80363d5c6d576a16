//! What part of a list is asked for.

/// What part of a list is asked for; everything by default.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Selection {
    /// Only pairs that are quoted in this asset, in capitals.
    pub quote: Option<String>,
    /// The most rows.
    pub limit: Option<usize>,
}

impl Selection {
    pub(super) fn takes(&self, quote: &str) -> bool {
        self.quote.as_deref().is_none_or(|wanted| wanted == quote)
    }
}

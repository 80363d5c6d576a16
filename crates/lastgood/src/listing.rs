//! Which keys of a region the store holds.

use crate::region::Region;
use crate::store::{Store, StoreError};

const PAGE: usize = 500;

impl Region {
    /// Names in the store that begin with `prefix`, at most `most` of them, in no particular order. Empty without a
    /// store. What is about to be removed, or has outlived its time in the meantime, may be among them.
    ///
    /// # Errors
    ///
    /// When the store does not answer.
    pub async fn stored_names(&self, prefix: &str, most: usize) -> Result<Vec<String>, StoreError> {
        let Some(tier) = &self.cache.store else {
            return Ok(Vec::new());
        };
        let (mut names, mut cursor) = (Vec::new(), None);
        loop {
            let page = tier.store.list(&self.store_key(prefix), cursor, PAGE.min(most)).await?;
            let own = page.keys.iter().filter_map(|key| key.strip_prefix(&self.shared.prefix));
            names.extend(own.map(str::to_owned));
            // A store may give a key twice.
            names.sort_unstable();
            names.dedup();
            cursor = page.next;
            if cursor.is_none() || names.len() >= most {
                names.truncate(most);
                return Ok(names);
            }
        }
    }
}

//! The regions of the exchange.

use std::sync::Arc;

use lastgood::Region;

use crate::region::RegionName;

/// The regions of the exchange, by name. Clones share everything.
#[derive(Clone)]
pub(crate) struct Regions(Arc<[Region]>);

impl Regions {
    /// Opens each of them.
    ///
    /// # Errors
    ///
    /// The first that `open` gives.
    pub(crate) fn open<E>(open: impl FnMut(RegionName) -> Result<Region, E>) -> Result<Regions, E> {
        RegionName::ALL.into_iter().map(open).collect::<Result<_, E>>().map(Regions)
    }

    pub(crate) fn of(&self, name: RegionName) -> &Region {
        &self.0[name as usize]
    }
}

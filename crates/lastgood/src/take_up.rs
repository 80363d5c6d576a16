//! Taking up what earlier processes left to be done: the file of waiting changes, as soon as it can be read.

use std::sync::{Arc, PoisonError, Weak};
use std::time::Duration;

use tokio::runtime::Handle;

use crate::shared::Shared;
use crate::store::jittered;
use crate::write_behind::journal::Restored;

/// How often a file that another process has is tried again.
const TRY_EVERY: Duration = Duration::from_secs(2);

impl Shared {
    /// Takes up what earlier processes left, now or as soon as their file can be read.
    pub(crate) fn take_up(self: &Arc<Self>) {
        let Some(tier) = &self.store else { return };
        match tier.behind.restore() {
            Ok(restored) => self.take_up_restored(restored),
            Err(_) if Handle::try_current().is_ok() => drop(tokio::spawn(take_up_later(Arc::downgrade(self)))),
            Err(_) => {}
        }
    }

    fn take_up_restored(self: &Arc<Self>, restored: Restored) {
        let Restored { bulk, marks, heard } = restored;
        for (key, at) in marks {
            self.tags.remember_key(&key, at);
        }
        if let Some(heard) = heard {
            *self.heard_before.lock().unwrap_or_else(PoisonError::into_inner) = Some(heard);
        }
        self.owe_again(bulk);
    }
}

async fn take_up_later(cache: Weak<Shared>) {
    loop {
        tokio::time::sleep(jittered(TRY_EVERY)).await;
        let Some(cache) = cache.upgrade() else { return };
        let Some(behind) = cache.store.as_ref().map(|tier| Arc::clone(&tier.behind)) else { return };
        let restored = tokio::task::spawn_blocking(move || behind.restore()).await;
        if let Ok(Ok(restored)) = restored {
            return cache.take_up_restored(restored);
        }
    }
}

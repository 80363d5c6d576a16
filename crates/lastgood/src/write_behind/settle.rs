//! What must not be lost is done only once it would outlive the process.

use super::WriteBehind;
use super::change::ChangeKind;
use super::worker::Report;
use crate::store::{Store, StoreError};

impl WriteBehind {
    /// How some changes ended that the store has taken, once those that must not be lost are kept. Where they cannot be, they
    /// are still to be made.
    pub(super) async fn kept(
        &self,
        report: &[Report],
        mut ended: Vec<Result<(), StoreError>>,
    ) -> Vec<Result<(), StoreError>> {
        let Some(settling) = self.store.settling() else { return ended };
        let taken =
            report.iter().zip(&mut ended).filter(|(report, ended)| report.kind == ChangeKind::Lasting && ended.is_ok());
        let taken: Vec<_> = taken.map(|(_, ended)| ended).collect();
        if !taken.is_empty()
            && let Err(why) = settling.settle().await
        {
            taken.into_iter().for_each(|ended| *ended = Err(why.clone()));
        }
        ended
    }
}

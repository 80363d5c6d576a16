//! Callers of this gateway who wait for an analysis that another gateway may bring.

use std::sync::Weak;
use std::time::Duration;

use lastgood::Value;
use lastgood_market::RegionName;
use tokio::time::sleep;

use crate::app::App;
use crate::claims::{Brought, Watched};
use crate::stored_value;

/// How often the store is asked whether a claim is still held, for all who wait for it here together.
const LOOK_EVERY: Duration = Duration::from_millis(500);

/// Looks after the claim of `key` while callers wait for it: they have the analysis once it is stored, or the next claim
/// once this one has ended.
pub(super) async fn until_it_ends(app: Weak<App>, key: String, watch: u64) {
    loop {
        sleep(LOOK_EVERY).await;
        // A gateway that ends does not wait for this.
        let Some(app) = app.upgrade() else { return };
        match app.claims.look(&key, watch).await {
            Watched::Held => {}
            Watched::ByNobody => return,
            Watched::Ended(token) => {
                let kept = stored_value::kept(app.region(RegionName::Llm), &key).await;
                match kept.ok().flatten().filter(stored_value::Kept::is_fresh) {
                    Some(kept) => {
                        let answer = &kept.answer;
                        let value = Value { body: answer.body().clone(), meta: answer.meta().map(Into::into) };
                        app.claims.fulfil(&key, Brought { value, fresh_for: answer.fresh_for() });
                    }
                    None => app.claims.forget(&key, &token),
                }
                return;
            }
        }
    }
}

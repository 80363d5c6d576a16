//! What the exchange's refusals ask for: a pause of one bucket, of all, or a ban.

use std::time::Duration;

use lastgood::Reason;

use super::{Host, Upstreams};
use crate::Bucket;
use crate::validate::Fetched;

/// A WAF that answers 403 wants less of us; it names no time.
const WAF_PAUSE: Duration = Duration::from_secs(10);
impl Upstreams {
    /// Stops asking when the exchange says so: what a 429 names, or all.
    pub(super) fn apply_refusal(&self, host: &Host, bucket: Bucket, fetched: &Fetched) {
        let Some(reason) = reason_to_stop(fetched.status) else { return };
        let wait = fetched.wait(reason, self.exchange_now());
        let message = String::from_utf8_lossy(&fetched.body);
        let is_of_bucket = match bucket {
            Bucket::Funding | Bucket::Statistics => !message.contains("weight"),
            Bucket::Sapi => true,
            Bucket::Weight | Bucket::Raw => false,
        };
        if reason == Reason::RateLimited && !is_of_bucket {
            host.budget.learn_from_refusal(&message);
        }
        self.stop(host, reason, is_of_bucket.then_some(bucket), wait);
    }

    /// Stops all calls to the exchange of this host. A pause may be of one bucket alone; a ban is of the address, and so
    /// of everything that lies on the exchange's hosts.
    pub(super) fn stop(&self, host: &Host, reason: Reason, bucket: Option<Bucket>, wait: Duration) {
        let news = match (reason, bucket) {
            (Reason::RateLimited, Some(bucket)) => {
                host.budget.stop_bucket(bucket, wait);
                false
            }
            (Reason::Firewall, _) => host.budget.stop(reason, WAF_PAUSE),
            _ => host.budget.stop(reason, wait),
        };
        if news {
            self.stopped.notify_one();
        }
    }
}

/// Why an answer of this status stops the asking, if it does.
pub(super) fn reason_to_stop(status: u16) -> Option<Reason> {
    match status {
        403 => Some(Reason::Firewall),
        418 => Some(Reason::Banned),
        429 => Some(Reason::RateLimited),
        _ => None,
    }
}

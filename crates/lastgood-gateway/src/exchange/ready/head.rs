//! The head of an answer, written once: what it says of the moment is put in for each request.

use http::header::AGE;
use http::{HeaderMap, HeaderName, HeaderValue};

use crate::exchange::answer::{USED_WEIGHT, USED_WEIGHT_1M};
use crate::response::cached::Form;
use crate::response::coding::Coding;
use crate::response::label::{CACHE_STATUS, Label};

/// The heads of an answer, by the form in which it is sent; those that were sent.
#[derive(Default)]
pub(super) struct Heads([[Option<Head>; Coding::COUNT]; 2]);

impl Heads {
    pub(super) fn get(&self, form: Form) -> Option<&Head> {
        self.0[usize::from(form.is_known)][form.coding.place()].as_ref()
    }

    pub(super) fn set(&mut self, form: Form, head: Head) {
        self.0[usize::from(form.is_known)][form.coding.place()] = Some(head);
    }
}

/// A head, whose first fields are those of the moment.
pub(super) struct Head(HeaderMap);

/// What the head says of the moment, in the order of the fields. The fields of an answer have no other order than this.
const OF_THE_MOMENT: [HeaderName; 4] = [AGE, CACHE_STATUS, USED_WEIGHT, USED_WEIGHT_1M];

impl Head {
    /// The head of an answer with these fields.
    pub(super) fn of(fields: &HeaderMap) -> Option<Head> {
        let mut head = HeaderMap::with_capacity(fields.len());
        for name in OF_THE_MOMENT {
            head.insert(name, HeaderValue::from_static(""));
        }
        for (name, value) in fields.iter().filter(|(name, _)| !OF_THE_MOMENT.contains(name)) {
            head.append(name.clone(), value.clone());
        }
        // The map does not promise an order.
        head.keys().take(OF_THE_MOMENT.len()).eq(&OF_THE_MOMENT).then_some(Head(head))
    }

    /// The head of the answer that says this of itself, with the weight that is used.
    pub(super) fn at(&self, label: &Label, used_weight: HeaderValue) -> HeaderMap {
        let (age, status) = label.of_the_moment();
        let mut head = self.0.clone();
        let values = [age, status, used_weight.clone(), used_weight];
        values.into_iter().zip(head.values_mut()).for_each(|(value, field)| *field = value);
        head
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use http::header::{CONTENT_TYPE, ETAG, VARY};
    use lastgood::{Outcome, Tier};

    use super::*;

    #[test]
    fn a_head_is_as_it_was_but_for_the_moment() {
        let label = |seconds| Label::new(Outcome::Hit(Tier::Memory), Duration::from_secs(seconds));
        let fields = |seconds, weight: &'static str| {
            let mut fields = HeaderMap::new();
            fields.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
            fields.insert(ETAG, HeaderValue::from_static("\"1\""));
            label(seconds).write(&mut fields);
            fields.append(VARY, HeaderValue::from_static("origin"));
            fields.insert(USED_WEIGHT, HeaderValue::from_static(weight));
            fields.insert(USED_WEIGHT_1M, HeaderValue::from_static(weight));
            fields
        };
        let head = Head::of(&fields(7, "1")).expect("a head");
        for (seconds, weight) in [(3, "17"), (70_000, "5999")] {
            assert_eq!(head.at(&label(seconds), HeaderValue::from_static(weight)), fields(seconds, weight));
        }
    }
}

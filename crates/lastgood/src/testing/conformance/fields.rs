//! The clauses on maps of fields that several processes keep together.

use std::time::Duration;

use futures_util::future::join_all;

use crate::store::{FieldUpdate, Fields, Store};

fn update(set: Option<(&str, &str)>, remove: &[&str]) -> FieldUpdate {
    FieldUpdate {
        key: "conformance:fields".to_owned(),
        set: set.map(|(name, text)| (name.to_owned(), text.to_owned())),
        ttl: Duration::from_secs(3600),
        remove: remove.iter().map(|name| (*name).to_owned()).collect(),
    }
}

/// Runs the clauses on [`Store::update_fields`] against `store`.
///
/// # Panics
///
/// When the store breaks a clause; the message says which.
pub async fn run_fields(store: &dyn Store) {
    let does = async |update: FieldUpdate| store.update_fields(&update).await.expect("an update");
    let texts = |fields: Fields| fields.texts.into_iter().collect::<Vec<_>>();
    let pairs = |pairs: &[(&str, &str)]| {
        pairs.iter().map(|(name, text)| ((*name).to_owned(), (*text).to_owned())).collect::<Vec<_>>()
    };
    assert_eq!(texts(does(update(None, &[])).await), pairs(&[]), "nothing is there, and reading makes nothing");
    assert_eq!(store.get("conformance:fields").await.ok().flatten(), None);
    assert_eq!(texts(does(update(Some(("a", "{\"1\": 2}\n")), &[])).await), pairs(&[("a", "{\"1\": 2}\n")]));
    assert_eq!(texts(does(update(Some(("b", "")), &[])).await), pairs(&[("a", "{\"1\": 2}\n"), ("b", "")]));
    let read = does(update(None, &[])).await;
    if store.log().is_some() {
        assert!(read.now.is_some_and(|now| now.as_millis() > 1_600_000_000_000), "a shared store tells the time");
    }
    assert_eq!(texts(read), pairs(&[("a", "{\"1\": 2}\n"), ("b", "")]));
    assert_eq!(texts(does(update(Some(("b", "币安")), &["a", "none"])).await), pairs(&[("b", "币安")]));
    if store.log().is_some() {
        let names: Vec<String> = (0..20).map(|number| format!("n{number:02}")).collect();
        join_all(names.iter().map(|name| does(update(Some((name, "1")), &[])))).await;
        let all = texts(does(update(None, &["b"])).await);
        assert_eq!(
            all.into_iter().map(|(name, _)| name).collect::<Vec<_>>(),
            names,
            "no writer undoes another's field"
        );
    }
}

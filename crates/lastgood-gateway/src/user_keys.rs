//! Where API keys of users are looked up: in the credentials file first, then in the database that `[credentials.sql]`
//! names.

use std::sync::Arc;

use lastgood_market::api_keys::{FileKeys, KeySource, UserKeys};
use lastgood_market::credentials::MasterKey;
use lastgood_settings::Settings;

use self::sql::SharedStatement;

pub(crate) mod sql;

/// The keys in the credentials file of the settings and, where `[credentials.sql]` is there, by its statement. Without
/// a master key no user has any.
pub(crate) fn user_keys(settings: &Settings, statement: Option<SharedStatement>) -> UserKeys {
    let master = settings.master_key.as_ref().and_then(|master| MasterKey::parse(master).ok()).map(Arc::new);
    let Some(master) = master else {
        if statement.is_some() {
            let hint = "set LASTGOOD_MASTER_KEY";
            tracing::error!(hint, "[credentials.sql] is there and no master key: no user has an API key");
        }
        return UserKeys::default();
    };
    let file = FileKeys::new(settings.credentials(), Arc::clone(&master));
    let mut sources: Vec<Box<dyn KeySource>> = vec![Box::new(file)];
    if let Some(statement) = statement {
        sources.push(Box::new(sql::SqlKeys::new(statement, master)));
    }
    UserKeys::new(sources)
}

//! `[credentials.sql]`: the application's own table of its users' API keys.

use lastgood_routes::spec::{Shape, SourceSpecs, StatementSpec};
use lastgood_routes::suggest::did_you_mean;

use crate::fields::{Fields, text};
use crate::problem::{Origin, Wrong};

/// Where the API keys of users are looked up, besides the credentials file.
#[derive(Debug, Clone)]
pub struct UserKeysSetting {
    /// Where it was written.
    pub origin: Origin,
    /// A row of it has the sealed key in the column `api_key`.
    pub statement: StatementSpec,
}

const EXAMPLE: &str =
    "\"SELECT api_key, api_secret FROM user_keys WHERE user_id = :user AND environment = :environment\"";

impl UserKeysSetting {
    /// What the query may ask by.
    pub const PARAMETERS: [&str; 3] = ["user", "environment", "market"];

    /// Reads the table `credentials`.
    pub(crate) fn read(mut fields: Fields<'_>, sources: &SourceSpecs) -> Option<UserKeysSetting> {
        let sql = fields.table("sql");
        fields.finish();
        let mut fields = sql?;
        let database = fields.required("database", "\"main\"", |raw| {
            let name = text("main")(raw)?;
            match sources.databases.contains_key(&name) {
                true => Ok(name),
                false => {
                    let known = sources.databases.keys().map(String::as_str);
                    let hint = did_you_mean(&name, known).unwrap_or_else(|| format!("declare [databases.{name}]"));
                    Err(Wrong::new(format!("there is no database {name:?}")).hint(hint))
                }
            }
        });
        let query = fields.required("query", EXAMPLE, |raw| {
            let query = text("SELECT …")(raw)?;
            // Without the user everybody would get the same key; without the environment the testnet's would go to the
            // exchange.
            match [":user", ":environment"].into_iter().find(|name| !query.contains(name)) {
                None => Ok(query),
                Some(name) => {
                    Err(Wrong::new(format!("it does not ask by {name}")).hint(format!("write for example {EXAMPLE}")))
                }
            }
        });
        let origin = fields.origin.clone();
        fields.finish();
        Some(UserKeysSetting { origin, statement: StatementSpec::new(database?, query?, Shape::Row) })
    }
}

//! Keys of users in the application's own database, each sealed for its user.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::Duration;

use async_trait::async_trait;
use lastgood::{Error, Reason};
use lastgood_market::Venue;
use lastgood_market::api_keys::{ApiKey, KeySource, Once};
use lastgood_market::credentials::{Environment, MasterKey, UserId, open_sealed};
use lastgood_routes::spec::ParameterType;
use lastgood_routes::{Argument, Arguments, Connections, RouteError, Statement};
use lastgood_settings::{Settings, UserKeysSetting};
use serde::Deserialize;
use tokio::time::{Instant, timeout};

/// A request waits no longer for its user's key.
const WITHIN: Duration = Duration::from_secs(1);
/// How long the gateway backs off from a database that did not answer.
const PAUSE: Duration = Duration::from_secs(5);

/// The statement of `[credentials.sql]`, which a reload may put on other connections.
#[derive(Clone)]
pub(crate) struct SharedStatement(Arc<RwLock<Arc<Statement>>>);

impl SharedStatement {
    pub(crate) fn new(statement: Statement) -> SharedStatement {
        SharedStatement(Arc::new(RwLock::new(Arc::new(statement))))
    }

    pub(crate) fn replace(&self, statement: Statement) {
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(statement);
    }

    fn now(&self) -> Arc<Statement> {
        Arc::clone(&self.0.read().unwrap_or_else(PoisonError::into_inner))
    }
}

pub(super) struct SqlKeys {
    statement: SharedStatement,
    master: Arc<MasterKey>,
    /// Until when the gateway backs off from the database, from the first failure to the next answer.
    down_until: Mutex<Option<Instant>>,
    reported: Once,
}

/// A row of the statement. The secret stays sealed: a list is asked for with the API key alone, and never signed.
#[derive(Deserialize)]
struct Row {
    api_key: Option<String>,
}

/// The statement of `[credentials.sql]` has a fault.
#[derive(Debug)]
pub(crate) struct NoStatement(RouteError);

impl fmt::Display for NoStatement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("credentials.sql")
    }
}

impl std::error::Error for NoStatement {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        Some(&self.0)
    }
}

/// The statement of `[credentials.sql]`, over the connections of the routes; `None` where there is none.
pub(crate) fn statement(settings: &Settings, connections: &Connections) -> Result<Option<Statement>, NoStatement> {
    let Some(UserKeysSetting { statement, .. }) = &settings.declared.user_keys else { return Ok(None) };
    let parameters = UserKeysSetting::PARAMETERS.map(|name| (name.to_owned(), ParameterType::Text)).to_vec();
    connections.statement(statement, parameters).map(Some).map_err(NoStatement)
}

impl SqlKeys {
    pub(super) fn new(statement: SharedStatement, master: Arc<MasterKey>) -> SqlKeys {
        SqlKeys { statement, master, down_until: Mutex::default(), reported: Once::new() }
    }

    /// The row of a user; `None` where there is none.
    async fn row(&self, user: &UserId, venue: Venue, environment: Environment) -> Result<Option<Row>, Error> {
        if !self.may_ask() {
            return Err(Error::new(Reason::Unreachable, "the database did not answer a moment ago"));
        }
        let argument = |name: &str, value: &str| (name.to_owned(), Argument::Text(value.to_owned()));
        let arguments = Arguments(vec![
            argument("user", user.as_str()),
            argument("environment", environment.as_str()),
            argument("market", venue.as_str()),
        ]);
        let statement = self.statement.now();
        let asked = timeout(WITHIN, statement.query(&arguments)).await;
        let answered = asked
            .unwrap_or_else(|_| Err(Error::new(Reason::TimedOut, format!("no answer within {} s", WITHIN.as_secs()))));
        self.note(&answered);
        match answered {
            Ok(body) => {
                let row = serde_json::from_slice(&body);
                row.map(Some).map_err(|_| Error::new(Reason::Malformed, "the row has no text in a column api_key"))
            }
            Err(why) if why.reason == Reason::NotFound => Ok(None),
            Err(why) => Err(why),
        }
    }

    /// Whether the database may be asked: while it is down, one lookup in a while tries it.
    fn may_ask(&self) -> bool {
        let mut down_until = self.down_until.lock().unwrap_or_else(PoisonError::into_inner);
        match *down_until {
            Some(until) if Instant::now() < until => false,
            Some(_) => {
                *down_until = Some(Instant::now() + PAUSE);
                true
            }
            None => true,
        }
    }

    /// Notes whether the database is there, and logs when that changes.
    fn note<T>(&self, answered: &Result<T, Error>) {
        let mut down_until = self.down_until.lock().unwrap_or_else(PoisonError::into_inner);
        match answered {
            Err(why) if matches!(why.reason, Reason::Unreachable | Reason::TimedOut) => {
                if down_until.is_none() {
                    tracing::warn!(%why, "API keys of users cannot be looked up: those that are remembered are used");
                }
                *down_until = Some(Instant::now() + PAUSE);
            }
            _ => {
                if down_until.take().is_some() {
                    tracing::info!("API keys of users can be looked up again");
                }
            }
        }
    }
}

#[async_trait]
impl KeySource for SqlKeys {
    async fn find(&self, user: &UserId, venue: Venue, environment: Environment) -> Result<Option<ApiKey>, Error> {
        let row = self.row(user, venue, environment).await?;
        let Some(sealed) = row.and_then(|row| row.api_key).filter(|sealed| !sealed.is_empty()) else {
            return Ok(None);
        };
        let (master, of) = (Arc::clone(&self.master), user.clone());
        // A passphrase takes a while to become a key.
        let opened = tokio::task::spawn_blocking(move || open_sealed(&master, &of, &sealed)).await;
        match opened.map_err(|why| Error::new(Reason::Panicked, why.to_string()))? {
            Ok(key) => Ok(ApiKey::new(&key, venue, environment)),
            Err(why) => {
                if self.reported.is_first(format!("{user} {environment}")) {
                    let hint = why.hint().unwrap_or_default();
                    tracing::warn!(%user, %environment, %why, hint, "a user's API key is not used");
                }
                Ok(None)
            }
        }
    }
}

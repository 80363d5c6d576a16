//! Asking Sentinels where the primary is, and following it when it changes.

use std::time::Duration;

use ::redis::aio::MultiplexedConnection;
use ::redis::{RedisError, cmd};
use tokio::time::{sleep, timeout};

use super::connect::{Failure, connect, is_misnamed, is_primary};
use super::link::Link;
use super::options::{Access, Server, authority};
use super::reply;

/// The longest that one Sentinel may take to be connected to and to answer, before the next one is asked.
const ASK_WITHIN: Duration = Duration::from_millis(500);

/// How often the primary is asked whether it still is one, and a Sentinel who is. Not rarer, because what a demoted
/// primary takes meanwhile is lost.
const CHECK_EVERY: Duration = Duration::from_secs(1);

/// The least time between two such checks that refused writes ask for.
const CHECK_APART: Duration = Duration::from_millis(100);

type Address = (String, u16);

/// What became of a connection to a primary.
pub(super) enum Change {
    /// It is no longer one, or does not answer.
    Lost(String),
    /// Another server took its place, to which this is a connection.
    Replaced(MultiplexedConnection),
}

/// The Sentinels of one service.
pub(super) struct Sentinels {
    sentinels: Vec<Server>,
    service: String,
    access: Access,
    /// The Sentinel that is asked; the next one once it does not answer.
    at: usize,
    open: Option<MultiplexedConnection>,
    primary: Option<Address>,
}

impl Sentinels {
    pub(super) fn new(sentinels: Vec<Server>, service: String, access: Access) -> Self {
        Sentinels { sentinels, service, access, at: 0, open: None, primary: None }
    }

    /// A connection to the server that is the primary now.
    pub(super) async fn connect(&mut self) -> Result<MultiplexedConnection, Failure> {
        let address = self.find().await?;
        let connection = self.connect_to(&address).await?;
        self.primary = Some(address);
        Ok(connection)
    }

    async fn connect_to(&self, (host, port): &Address) -> Result<MultiplexedConnection, Failure> {
        let at = authority(host, *port);
        let attempt = async {
            let server = self.access.to(host, *port).ok_or_else(|| "that is no address to connect to".to_owned())?;
            let mut connection = connect(server).await?;
            match is_primary(&mut connection).await? {
                true => Ok(connection),
                false => Err("it says that it is a replica".to_owned().into()),
            }
        };
        attempt.await.map_err(|Failure { why, login }| match login {
            true => Failure { why: format!("the primary at {at} does not let us in: {why}"), login },
            false if is_misnamed(&why) => Failure {
                why: format!(
                    "the certificate of {at}, which the Sentinels name as the primary of {:?}, is for other names: {why}; \
                     let it name that one too, or the Sentinels and servers announce a name that is in it \
                     (sentinel resolve-hostnames, sentinel announce-hostnames, replica-announce-ip)",
                    self.service
                ),
                login,
            },
            false => Failure {
                why: format!(
                    "the Sentinels name {at} as the primary of {:?}, which cannot be used: {why}; if a failover does \
                     not help, let the servers announce an address that can be reached from here \
                     (replica-announce-ip, sentinel announce-ip)",
                    self.service
                ),
                login,
            },
        })
    }

    /// Where the primary is, as the first Sentinel to answer has it.
    async fn find(&mut self) -> Result<Address, Failure> {
        let mut whys: Vec<String> = Vec::new();
        let mut login = false;
        for _ in 0..self.sentinels.len() {
            let failure = match timeout(ASK_WITHIN, self.query_sentinel()).await {
                Ok(Ok(address)) => return Ok(address),
                Ok(Err(failure)) => failure,
                Err(_) => format!("no answer within {} ms", ASK_WITHIN.as_millis()).into(),
            };
            whys.push(format!("{}: {}", self.sentinels[self.at].addr(), failure.why));
            login |= failure.login;
            self.open = None;
            self.at = (self.at + 1) % self.sentinels.len();
        }
        // Started from another one each time, they would else make a new text each time.
        whys.sort_unstable();
        let hint = match login {
            true => "; the Sentinels' own password is sentinel_password=… at the end of the URL",
            false => "",
        };
        Err(Failure { why: format!("no Sentinel could say where the primary is ({}){hint}", whys.join(", ")), login })
    }

    async fn query_sentinel(&mut self) -> Result<Address, Failure> {
        let sentinel = match &mut self.open {
            Some(open) => open,
            closed => closed.insert(connect(self.sentinels[self.at].clone()).await?),
        };
        let question = cmd("SENTINEL").arg("GET-MASTER-ADDR-BY-NAME").arg(&self.service).take();
        let answer: Result<Option<Address>, RedisError> = question.query_async(sentinel).await;
        match answer {
            Ok(Some(address)) => Ok(address),
            Ok(None) => Err(format!("it knows no service {:?}", self.service).into()),
            Err(error) if error.detail().is_some_and(|detail| detail.contains("unknown command")) => {
                Err(format!("it is no Sentinel ({}); write redis:// for a server", reply::text(&error)).into())
            }
            Err(error) => Err(error.into()),
        }
    }

    /// Ends when `connection` no longer leads to the primary.
    pub(super) async fn follow(&mut self, link: &Link, mut connection: MultiplexedConnection) -> Change {
        loop {
            _ = timeout(CHECK_EVERY, link.refused_write.notified()).await;
            // While no Sentinel answers, the server's own word is what there is.
            if let Ok(address) = self.find().await
                && self.primary.as_ref() != Some(&address)
                // Named before it took over, or not to be reached: the old one stays meanwhile.
                && let Ok(replacement) = self.connect_to(&address).await
            {
                self.primary = Some(address);
                return Change::Replaced(replacement);
            }
            // Silence is noticed by who watches the connection.
            if let Ok(false) = is_primary(&mut connection).await {
                return Change::Lost("it is a replica now".to_owned());
            }
            sleep(CHECK_APART).await;
        }
    }

    /// How the primary is reached that there is a connection to.
    pub(super) fn server(&self) -> Option<Server> {
        let (host, port) = self.primary.as_ref()?;
        self.access.to(host, *port)
    }

    /// The primary that there is a connection to.
    pub(super) fn primary(&self) -> Option<String> {
        self.primary.as_ref().map(|(host, port)| authority(host, *port))
    }
}

//! A running gateway, as the verbs ask it.

use std::time::Duration;

use reqwest::{Method, StatusCode, Url};
use secrecy::{ExposeSecret, SecretString};
use serde_json::Value;

use crate::output::Failure;

const CONNECT_WITHIN: Duration = Duration::from_secs(3);

/// The flags of every verb that asks a running gateway.
#[derive(Debug, clap::Args)]
pub(crate) struct ClientArguments {
    /// The gateway
    #[arg(long, value_name = "URL", env = "LASTGOOD_URL", default_value = "http://127.0.0.1:8090")]
    url: String,
    /// Its admin token
    #[arg(long, value_name = "TOKEN", env = "LASTGOOD_ADMIN_TOKEN", hide_env_values = true)]
    token: Option<SecretString>,
}

/// A running gateway. Clones share everything.
#[derive(Clone)]
pub(crate) struct Client {
    http: reqwest::Client,
    base: Url,
    token: Option<SecretString>,
}

impl ClientArguments {
    /// The gateway that the flags or the environment name.
    pub(crate) fn client(self) -> Result<Client, Failure> {
        let wrong = |why: &str| {
            Failure::usage(format!(
                "{:?} is no URL of a gateway: {why}\n    help: write for example http://127.0.0.1:8090",
                self.url
            ))
        };
        let base = Url::parse(self.url.trim()).map_err(|why| wrong(&why.to_string()))?;
        if !matches!(base.scheme(), "http" | "https") || base.host_str().is_none() {
            return Err(wrong("it must begin with http:// or https:// and name a host"));
        }
        let token = self.token.filter(|token| !token.expose_secret().trim().is_empty());
        let http = reqwest::Client::builder()
            .connect_timeout(CONNECT_WITHIN)
            .redirect(reqwest::redirect::Policy::none())
            .build()
            .map_err(|why| Failure::failed(format!("failed to make a client: {why}")))?;
        Ok(Client { http, base, token })
    }
}

impl Client {
    /// The JSON at a path.
    pub(crate) async fn get(&self, path: &str) -> Result<Value, Failure> {
        self.ask(Method::GET, path, None).await
    }

    /// What a path makes of `body`.
    pub(crate) async fn post(&self, path: &str, body: &Value) -> Result<Value, Failure> {
        self.ask(Method::POST, path, Some(body)).await
    }

    async fn ask(&self, method: Method, path: &str, body: Option<&Value>) -> Result<Value, Failure> {
        let mut url = self.base.clone();
        url.set_path(&format!("{}{path}", self.base.path().trim_end_matches('/')));
        let mut request = self.http.request(method, url);
        if let Some(body) = body {
            request = request.header("content-type", "application/json").body(body.to_string());
        }
        if let Some(token) = &self.token {
            request = request.bearer_auth(token.expose_secret().trim());
        }
        let response = request.send().await.map_err(|why| self.unreachable(&why))?;
        let status = response.status();
        let text = response.bytes().await.map_err(|why| self.unreachable(&why))?;
        let answer: Result<Value, _> = serde_json::from_slice(&text);
        match (status.is_success(), answer) {
            (true, Ok(answer)) => Ok(answer),
            (true, Err(_)) => Err(self.refused(status, "its answer is no JSON; is there a lastgood gateway?")),
            (false, answer) => {
                let answer = answer.unwrap_or_default();
                Err(self.refused(status, answer["detail"].as_str().unwrap_or("it does not say why")))
            }
        }
    }

    /// The gateway's address, for people.
    pub(crate) fn address(&self) -> &str {
        self.base.as_str().trim_end_matches('/')
    }

    fn unreachable(&self, why: &reqwest::Error) -> Failure {
        let what = match why {
            why if why.is_connect() => "nobody answers there",
            why if why.is_timeout() => "no answer in time",
            _ => "the connection broke off",
        };
        let mend = "start it with: lastgood serve, or name another with --url or LASTGOOD_URL";
        Failure::failed(format!("failed to ask the gateway at {}: {what}\n    help: {mend}", self.address()))
    }

    fn refused(&self, status: StatusCode, detail: &str) -> Failure {
        let mend = match status {
            StatusCode::UNAUTHORIZED => "\n    help: give its admin.token with --token or LASTGOOD_ADMIN_TOKEN",
            StatusCode::NOT_FOUND => "\n    help: it may be an older version, or --url may not name a gateway",
            _ => "",
        };
        Failure::failed(format!("the gateway at {} answers {status}: {detail}{mend}", self.address()))
    }
}

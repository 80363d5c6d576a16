//! A running gateway, as the verbs ask it.

use std::net::{IpAddr, SocketAddr};
use std::path::Path;
use std::time::Duration;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, Request, StatusCode, header};
use lastgood::http_client::{HttpClient, HttpError, HttpOptions, Trust, body, read};
use lastgood::proxy::{Proxies, ProxyError};
use lastgood_settings::{FlagValue, Origin, Reached, conventional_proxies};
use percent_encoding::{NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};
use rustls::Error::{InvalidCertificate, NoCertificatesPresented};
use secrecy::{ExposeSecret, SecretString};
use serde_json::Value;
use url::Url;

use crate::output::Failure;
use crate::settings;

const CONNECT_WITHIN: Duration = Duration::from_secs(3);

/// The flags of every verb that asks a running gateway.
#[derive(Debug, clap::Args)]
pub(crate) struct ClientArguments {
    /// The gateway, such as http://cache:8090; without it, the one of this configuration: where LASTGOOD_LISTEN, the file's
    /// `listen` or else the default, 127.0.0.1:8090, has it listen
    #[arg(long, value_name = "URL", env = "LASTGOOD_URL")]
    url: Option<String>,
    /// Its admin token; without it, the one of the configuration file
    #[arg(long, value_name = "TOKEN", env = "LASTGOOD_ADMIN_TOKEN", hide_env_values = true)]
    token: Option<SecretString>,
}

/// A running gateway. Clones share everything.
#[derive(Clone)]
pub(crate) struct Client {
    http: HttpClient,
    base: Url,
    /// What names the address, where it is the configuration.
    origin: Option<Origin>,
    token: Option<SecretString>,
}

impl ClientArguments {
    /// The gateway that the flags, the environment or the configuration file name.
    pub(crate) fn client(self, file: Option<&Path>) -> Result<Client, Failure> {
        self.client_of(file, Vec::new())
    }

    /// The same, where flags are part of the configuration.
    pub(crate) fn client_of(self, file: Option<&Path>, flags: Vec<FlagValue>) -> Result<Client, Failure> {
        let configured = settings::reached(file, flags)?;
        let given = self.url.filter(|url| !url.trim().is_empty());
        let (url, origin) = match given.clone() {
            Some(url) => (url, None),
            None => {
                let Reached { address, is_tls, origin, .. } = &configured.reached;
                (configured_url(address.clone()?, *is_tls)?, Some(origin.clone()))
            }
        };
        let wrong = |why: &str| {
            Failure::usage(format!(
                "{url:?} is no URL of a gateway: {why}\n    help: write for example http://127.0.0.1:8090",
            ))
        };
        if !url.contains("://") {
            return Err(wrong("it must begin with http:// or https://"));
        }
        let base = Url::parse(url.trim()).map_err(|why| wrong(&why.to_string()))?;
        let Some(host) = base.host_str().filter(|_| matches!(base.scheme(), "http" | "https")) else {
            return Err(wrong("it must begin with http:// or https:// and name a host"));
        };
        // The token of a file that happens to lie here is not for any other machine.
        let is_meant = given.is_none() || configured.is_named || is_loopback(host);
        let token = self.token.filter(|token| !token.expose_secret().trim().is_empty());
        let token = match token {
            None if is_meant => configured.reached.token?,
            token => token,
        };
        // No proxy leads to this machine itself.
        let proxies = if given.is_none() || is_loopback(host) { Proxies::default() } else { proxies()? };
        let is_plain = base.scheme() == "http" && proxies == Proxies::default();
        let trust = if is_plain { Trust::Nothing } else { Trust::System };
        let http = HttpClient::new(&HttpOptions { proxies, trust, ..HttpOptions::new(CONNECT_WITHIN) })
            .map_err(|why| Failure::failed(format!("failed to make a client: {why}")))?;
        Ok(Client { http, base, origin, token })
    }
}

/// The proxies of the environment.
fn proxies() -> Result<Proxies, Failure> {
    Proxies::new(&conventional_proxies(&settings::variable)).map_err(|why| {
        let ProxyError { variable, problem } = why;
        Failure::usage(format!("the variable {variable} {problem}\n    help: {}", ProxyError::HINT))
    })
}

/// The URL of the gateway that listens there.
fn configured_url(address: SocketAddr, is_tls: bool) -> Result<String, Failure> {
    match address.port() {
        0 => Err(Failure::failed(
            "the configuration leaves the gateway's port open (`listen` ends with :0)\n    \
             help: take the port from the gateway's log, and name it with --url or LASTGOOD_URL",
        )),
        // Its certificate is for a name, which --url says where it is not this address.
        _ if is_tls => Ok(format!("https://{address}")),
        _ => Ok(format!("http://{address}")),
    }
}

fn is_loopback(host: &str) -> bool {
    let address = host.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>();
    host == "localhost" || address.is_ok_and(|address| address.to_canonical().is_loopback())
}

impl Client {
    /// The JSON at a path.
    pub(crate) async fn get(&self, path: &str) -> Result<Value, Failure> {
        self.request_json(Method::GET, path, &[], None).await
    }

    /// The JSON at a path with these parameters.
    pub(crate) async fn get_with(&self, path: &str, parameters: &[(&str, String)]) -> Result<Value, Failure> {
        self.request_json(Method::GET, path, parameters, None).await
    }

    /// The bytes at a path, with their headers.
    pub(crate) async fn get_bytes(&self, path: &str) -> Result<(HeaderMap, Bytes), Failure> {
        let (status, headers, body) = self.send(Method::GET, path, &[], None).await?;
        match status.is_success() {
            true => Ok((headers, body)),
            false => Err(self.refused(status, &body)),
        }
    }

    /// What a path makes of `body`.
    pub(crate) async fn post(&self, path: &str, body: &Value) -> Result<Value, Failure> {
        self.request_json(Method::POST, path, &[], Some(body)).await
    }

    async fn request_json(
        &self,
        method: Method,
        path: &str,
        parameters: &[(&str, String)],
        body: Option<&Value>,
    ) -> Result<Value, Failure> {
        let (status, _, text) = self.send(method, path, parameters, body).await?;
        if !status.is_success() {
            return Err(self.refused(status, &text));
        }
        let no_json = || self.failed(status, "its answer is no JSON; is there a lastgood gateway?", "");
        serde_json::from_slice(&text).map_err(|_| no_json())
    }

    async fn send(
        &self,
        method: Method,
        path: &str,
        parameters: &[(&str, String)],
        content: Option<&Value>,
    ) -> Result<(StatusCode, HeaderMap, Bytes), Failure> {
        let mut url = self.base.clone();
        url.set_path(&format!("{}{path}", self.base.path().trim_end_matches('/')));
        if !parameters.is_empty() {
            url.query_pairs_mut().extend_pairs(parameters);
        }
        let mut headers = HeaderMap::new();
        if content.is_some() {
            headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
        }
        if let Some(authorization) = self.authorization() {
            let authorization = HeaderValue::try_from(authorization);
            let authorization =
                authorization.map_err(|_| Failure::usage("the admin token has a character that no header can hold"))?;
            headers.insert(header::AUTHORIZATION, authorization);
        }
        headers.insert(header::ACCEPT, HeaderValue::from_static("*/*"));
        headers.insert(header::ACCEPT_ENCODING, HeaderValue::from_static("gzip"));
        let mut request = Request::new(body(content.map(Value::to_string).unwrap_or_default()));
        *request.method_mut() = method;
        *request.uri_mut() =
            url.as_str().parse().map_err(|why| Failure::usage(format!("{} cannot be asked: {why}", self.address())))?;
        *request.headers_mut() = headers;
        let asked = async {
            let (head, body) = self.http.send(request).await?.into_parts();
            let body = read(&head.headers, body, usize::MAX).await?;
            Ok((head.status, head.headers, body))
        };
        asked.await.map_err(|why| self.unreachable(&why))
    }

    /// Who asks: by the token, else by the user that the URL names.
    fn authorization(&self) -> Option<String> {
        if let Some(token) = &self.token {
            return Some(format!("Bearer {}", token.expose_secret().trim()));
        }
        let (user, password) = (self.base.username(), self.base.password());
        if user.is_empty() && password.is_none() {
            return None;
        }
        let mut text: Vec<u8> = percent_decode_str(user).collect();
        text.push(b':');
        text.extend(percent_decode_str(password.unwrap_or_default()));
        Some(format!("Basic {}", BASE64_STANDARD.encode(text)))
    }

    /// The gateway's address, for people.
    pub(crate) fn address(&self) -> &str {
        self.base.as_str().trim_end_matches('/')
    }

    fn unreachable(&self, why: &HttpError) -> Failure {
        let elsewhere = "start it with: lastgood serve, or name another with --url, LASTGOOD_URL or LASTGOOD_LISTEN";
        let by_proxy;
        let (what, hint) = match why {
            HttpError::Tls(InvalidCertificate(_) | NoCertificatesPresented) => (
                "its certificate is not one that is trusted for this address",
                "let SSL_CERT_FILE name the certificate of its authority, and --url the name that it is for",
            ),
            HttpError::Proxy(failure) => {
                by_proxy = failure.to_string();
                (by_proxy.as_str(), failure.hint())
            }
            why if why.is_unsent() => ("no server answers there", elsewhere),
            why if why.is_timeout() => ("no answer in time", elsewhere),
            HttpError::Encoding | HttpError::Damaged => ("its answer cannot be unpacked", elsewhere),
            _ => ("the connection broke off", elsewhere),
        };
        let origin = self.origin.as_ref().map(|origin| format!(" (listen: {origin})")).unwrap_or_default();
        let address = self.address();
        Failure::failed(format!("failed to ask the gateway at {address}{origin}: {what}\n    help: {hint}"))
    }

    fn refused(&self, status: StatusCode, body: &[u8]) -> Failure {
        let answer: Value = serde_json::from_slice(body).unwrap_or_default();
        let detail = answer["detail"].as_str();
        // Of a key that is not there the gateway says so itself.
        let is_foreign = detail.is_none_or(|detail| detail.starts_with("There is nothing at"));
        let hint = match status {
            StatusCode::UNAUTHORIZED => "\n    help: give its admin.token with --token or LASTGOOD_ADMIN_TOKEN",
            StatusCode::NOT_FOUND if is_foreign => {
                "\n    help: it may be an older version, or --url may not name a gateway"
            }
            _ => "",
        };
        self.failed(status, detail.unwrap_or("it does not say why"), hint)
    }

    fn failed(&self, status: StatusCode, detail: &str, hint: &str) -> Failure {
        Failure::failed(format!("the gateway at {} answers {status}: {detail}{hint}", self.address()))
    }
}

/// A key or a symbol as one segment of a path.
pub(crate) fn segment(text: &str) -> String {
    utf8_percent_encode(text, NON_ALPHANUMERIC).to_string()
}

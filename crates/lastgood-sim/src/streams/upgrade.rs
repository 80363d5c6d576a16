//! From a request to a connection.

use std::net::IpAddr;
use std::sync::{Arc, Mutex};

use axum::body::Body;
use http::request::Parts;
use http::{HeaderMap, HeaderValue, Method, Response, StatusCode, header};
use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;
use tokio_tungstenite::tungstenite::protocol::{Role, WebSocketConfig};

use super::MOST_STREAMS;
use super::connection::Connection;
use super::route::Route;
use crate::{State, lock};

/// No message of a subscriber is longer than this.
const LONGEST_MESSAGE: usize = 1 << 20;

/// Where a request leaves the connection that it asked for, for the one who serves its bytes.
#[derive(Clone, Default)]
pub(crate) struct Handover(Arc<Mutex<Option<(OnUpgrade, Connection)>>>);

impl Handover {
    /// Serves the connection that was left, if one was.
    pub(crate) async fn run(self) {
        let Some((upgrade, connection)) = lock(&self.0).take() else { return };
        let Ok(upgraded) = upgrade.await else { return };
        let config =
            WebSocketConfig::default().max_message_size(Some(LONGEST_MESSAGE)).max_frame_size(Some(LONGEST_MESSAGE));
        let socket = WebSocketStream::from_raw_socket(TokioIo::new(upgraded), Role::Server, Some(config)).await;
        connection.run(socket).await;
    }
}

/// Answers a request for a connection.
pub(crate) fn upgrade(
    state: &Arc<State>,
    head: &mut Parts,
    route: Route,
    is_refused: bool,
    address: IpAddr,
    handover: &Handover,
) -> Response<Body> {
    let Some((accept, upgrade)) = asked(head) else {
        return answer(StatusCode::BAD_REQUEST, r#"{"code":-1000,"msg":"Expected a WebSocket upgrade."}"#);
    };
    let most = state.config().stream_attempts;
    if let Err(seconds) = state.streams.attempt(route.area.venue(), address, most, state.clock.now()) {
        let mut refused = answer(
            StatusCode::TOO_MANY_REQUESTS,
            r#"{"code":-1003,"msg":"Too many connection attempts; please use one connection for many streams."}"#,
        );
        refused.headers_mut().insert(header::RETRY_AFTER, seconds.into());
        return refused;
    }
    if is_refused {
        return answer(StatusCode::SERVICE_UNAVAILABLE, r#"{"code":-1001,"msg":"Internal error; unable to connect."}"#);
    }
    if route.streams.len() > MOST_STREAMS {
        return answer(StatusCode::BAD_REQUEST, r#"{"code":4,"msg":"Too many subscriptions"}"#);
    }
    *lock(&handover.0) = Some((upgrade, Connection::new(state, route)));
    let mut response = Response::new(Body::empty());
    *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
    let headers = response.headers_mut();
    headers.insert(header::CONNECTION, HeaderValue::from_static("Upgrade"));
    headers.insert(header::UPGRADE, HeaderValue::from_static("websocket"));
    headers.insert(header::SEC_WEBSOCKET_ACCEPT, accept);
    response
}

/// What a good request is accepted with, and its connection.
fn asked(head: &mut Parts) -> Option<(HeaderValue, OnUpgrade)> {
    let is_good = head.method == Method::GET
        && says(&head.headers, &header::CONNECTION, "upgrade")
        && says(&head.headers, &header::UPGRADE, "websocket")
        && says(&head.headers, &header::SEC_WEBSOCKET_VERSION, "13");
    let key = head.headers.get(header::SEC_WEBSOCKET_KEY).filter(|_| is_good)?;
    let accept = HeaderValue::try_from(derive_accept_key(key.as_bytes())).ok()?;
    Some((accept, head.extensions.remove::<OnUpgrade>()?))
}

/// Whether a header holds a word, whatever its case.
fn says(headers: &HeaderMap, name: &header::HeaderName, word: &str) -> bool {
    let values = headers.get_all(name).iter().filter_map(|value| value.to_str().ok());
    values.flat_map(|value| value.split(',')).any(|part| part.trim().eq_ignore_ascii_case(word))
}

fn answer(status: StatusCode, body: &'static str) -> Response<Body> {
    let mut response = Response::new(Body::from(body));
    *response.status_mut() = status;
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json;charset=UTF-8"));
    response
}

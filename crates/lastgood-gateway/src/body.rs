//! The bodies that requests bring, within the limits of size and time.

use std::pin::pin;

use axum::body::to_bytes;
use axum::extract::Request;
use bytes::Bytes;
use http::StatusCode;
use http::header::CONTENT_LENGTH;
use http_body_util::LengthLimitError;

use crate::app::App;

/// Why a body was not read, and the status that says so.
pub(crate) type Unread = (StatusCode, String);

/// The body of a request, at most `most` bytes of it; `limit` names the limit in the error. It lies in a buffer of its
/// own, so that keeping it keeps nothing else in memory.
pub(crate) async fn read(app: &App, request: Request, most: u64, limit: &str) -> Result<Bytes, Unread> {
    let too_large = || (StatusCode::PAYLOAD_TOO_LARGE, format!("The body is larger than {limit}, {most} bytes."));
    let stated = request.headers().get(CONTENT_LENGTH).and_then(|length| length.to_str().ok()?.parse::<u64>().ok());
    if stated.is_some_and(|length| length > most) {
        return Err(too_large());
    }
    let body = to_bytes(request.into_body(), usize::try_from(most).unwrap_or(usize::MAX));
    let read = pin!(tokio::time::timeout(app.limits.request_timeout, body));
    match app.places.wait(read).await {
        // A slice of what the connection read, or of a buffer that grew with the body.
        Ok(Ok(Ok(body))) => Ok(Bytes::copy_from_slice(&body)),
        Ok(Ok(Err(why))) => match std::error::Error::source(&why).is_some_and(|cause| cause.is::<LengthLimitError>()) {
            true => Err(too_large()),
            false => Err((StatusCode::BAD_REQUEST, "The body breaks off.".to_owned())),
        },
        Ok(Err(_)) => {
            Err((StatusCode::REQUEST_TIMEOUT, "The body did not arrive within limits.request_timeout.".to_owned()))
        }
        Err(full) => Err((StatusCode::SERVICE_UNAVAILABLE, full.detail())),
    }
}

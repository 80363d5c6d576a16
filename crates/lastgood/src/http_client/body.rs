//! Bodies of answers, read to their end.

use std::io::Read as _;

use bytes::{Bytes, BytesMut};
use http::{HeaderMap, HeaderValue, header};
use http_body_util::BodyExt as _;
use hyper::body::{Body as _, Incoming};

use super::HttpError;

/// Reads a body to its end and unpacks it where `headers` say that it is gzip; at most `max` bytes, packed or not.
///
/// # Errors
///
/// When it breaks off, is larger (which is seen before it is read, where its length is known), or cannot be unpacked.
pub async fn read(headers: &HeaderMap, body: Incoming, max: usize) -> Result<Bytes, HttpError> {
    let body = collect(body, max).await?;
    match headers.get(header::CONTENT_ENCODING).map(HeaderValue::as_bytes) {
        None | Some(b"identity") => Ok(body),
        Some(b"gzip") => gunzip(&body, max),
        Some(_) => Err(HttpError::Encoding),
    }
}

async fn collect(mut body: Incoming, max: usize) -> Result<Bytes, HttpError> {
    let stated = usize::try_from(body.size_hint().lower()).unwrap_or(usize::MAX);
    if stated > max {
        return Err(HttpError::TooLarge);
    }
    let mut collected = BytesMut::new();
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|why| HttpError::BrokeOff(why.into()))?;
        let Ok(data) = frame.into_data() else { continue };
        if collected.len() + data.len() > max {
            return Err(HttpError::TooLarge);
        }
        collected.extend_from_slice(&data);
    }
    Ok(collected.freeze())
}

fn gunzip(packed: &[u8], max: usize) -> Result<Bytes, HttpError> {
    let mut body = Vec::with_capacity(packed.len().saturating_mul(4).min(max));
    let limit = u64::try_from(max).unwrap_or(u64::MAX).saturating_add(1);
    let read = flate2::read::MultiGzDecoder::new(packed).take(limit).read_to_end(&mut body);
    match read {
        Ok(length) if length > max => Err(HttpError::TooLarge),
        Ok(_) => Ok(body.into()),
        Err(_) => Err(HttpError::Damaged),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_small_body_that_unpacks_to_too_much_is_refused() {
        use std::io::Write as _;
        let mut packer = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
        packer.write_all(&vec![b'0'; 1 << 20]).unwrap();
        let packed = packer.finish().unwrap();
        assert_eq!(gunzip(&packed, 1 << 20).unwrap().len(), 1 << 20);
        assert!(matches!(gunzip(&packed, (1 << 20) - 1), Err(HttpError::TooLarge)));
        assert!(matches!(gunzip(&packed[..packed.len() / 2], 1 << 21), Err(HttpError::Damaged)));
    }
}

//! The floor that the gateway is measured against: axum with a body in memory and nothing else.
//!
//! `bare_axum ADDRESS` fetches nothing and caches nothing: it serves a ticker, a list of klines and an exchangeInfo of
//! the sizes that the gateway serves, under the same paths.

use std::fmt::Write as _;

use axum::Router;
use axum::http::{HeaderName, HeaderValue, header};
use axum::routing::get;
use bytes::Bytes;

/// The simulated exchange's list of symbols, in bytes.
const EXCHANGE_INFO: usize = 2_437_540;

#[tokio::main]
async fn main() -> std::io::Result<()> {
    let address = std::env::args().nth(1).unwrap_or_else(|| "127.0.0.1:0".to_owned());
    let serve = |body: Bytes| {
        get(move || {
            let body = body.clone();
            async move {
                let json = HeaderValue::from_static("application/json;charset=UTF-8");
                let hit = HeaderValue::from_static("HIT");
                ([(header::CONTENT_TYPE, json), (HeaderName::from_static("x-cache"), hit)], body)
            }
        })
    };
    let router = Router::new()
        .route("/api/v3/ticker/price", serve(Bytes::from_static(br#"{"symbol":"BTCUSDT","price":"61000.10000000"}"#)))
        .route("/api/v3/klines", serve(klines(1_000)))
        .route("/api/v3/exchangeInfo", serve(Bytes::from(vec![b'x'; EXCHANGE_INFO])));
    axum::serve(tokio::net::TcpListener::bind(address).await?, router).await
}

fn klines(rows: usize) -> Bytes {
    let mut body = String::from("[");
    for row in 0..rows {
        let comma = if row == 0 { "" } else { "," };
        // Writing into a String cannot fail.
        let _ = write!(
            body,
            r#"{comma}[{},"61000.10000000","61100.10000000","60900.10000000","61050.10000000","123.45678900",{},"7530864.12345678",12345,"61.72839450","3765432.06172839","0"]"#,
            1_700_000_000_000_u64 + row as u64 * 60_000,
            1_700_000_059_999_u64 + row as u64 * 60_000
        );
    }
    body.push(']');
    Bytes::from(body)
}

//! `lastgood get KEY`: the value kept under a key.

use std::path::Path;

use serde_json::{Value, json};

use crate::client::{ClientArguments, segment};
use crate::output::{Failure, complain, say_bytes, say_json};

#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  lastgood get \"ticker_price:spot/api/v3/ticker/price?\"
  lastgood get \"ticker_price:spot/api/v3/ticker/price?\" > prices.json
  lastgood get --json \"exchange_info:spot/api/v3/exchangeInfo?\"

The body goes to standard output as it is, its headers to standard error.
Nothing is loaded: a key that neither memory nor the store holds is a failure.
Keys: lastgood keys.")]
pub(crate) struct Arguments {
    #[command(flatten)]
    client: ClientArguments,
    /// The key, written region:name
    #[arg(value_name = "KEY")]
    key: String,
    /// Print JSON: {key, x_cache, age, cache_status, content_type, etag, body}
    #[arg(long)]
    json: bool,
}

const SHOWN: [(&str, &str); 5] = [
    ("x_cache", "x-cache"),
    ("age", "age"),
    ("cache_status", "cache-status"),
    ("content_type", "content-type"),
    ("etag", "etag"),
];

pub(crate) async fn run(arguments: Arguments, file: Option<&Path>) -> Result<(), Failure> {
    let Arguments { client, key, json: as_json } = arguments;
    let (headers, body) = client.client(file)?.get_bytes(&format!("/api/cache/key/{}", segment(&key))).await?;
    let header = |name: &str| headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default();
    if as_json {
        let mut report = json!({ "key": key });
        for (name, of) in SHOWN {
            report[name] = header(of).into();
        }
        // A body that is no JSON is shown as text.
        let as_text = || Value::from(String::from_utf8_lossy(&body));
        report["body"] = serde_json::from_slice(&body).unwrap_or_else(|_| as_text());
        return say_json(&report);
    }
    for (_, name) in SHOWN {
        complain(&format!("{name}: {}", header(name)));
    }
    say_bytes(&body);
    Ok(())
}

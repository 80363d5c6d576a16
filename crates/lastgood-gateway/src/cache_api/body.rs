//! The JSON that requests bring.

use axum::extract::Request;
use http::StatusCode;
use lastgood_routes::suggest::nearest;
use serde_json::{Map, Value};

use crate::app::App;
use crate::body;
use crate::problem::Refused;

/// More than any sound body has.
const MOST_BYTES: u64 = 64 << 10;

/// The fields of a body.
pub(crate) struct Fields(Map<String, Value>);

fn wrong(detail: &str) -> Refused {
    Refused::new(StatusCode::BAD_REQUEST, detail)
}

impl Fields {
    /// Reads a body that has no other fields than `known`; nothing is as good as `{}`.
    pub(crate) async fn read(app: &App, request: Request, known: &[&str], example: &str) -> Result<Fields, Refused> {
        let body = body::read(app, request, MOST_BYTES, "any sound body").await;
        let body = body.map_err(|(status, detail)| Refused::new(status, &detail))?;
        let fields = match serde_json::from_slice(&body) {
            _ if body.trim_ascii().is_empty() => Map::new(),
            Ok(Value::Object(fields)) => fields,
            Ok(_) => return Err(wrong(&format!("The body is no JSON object. Send for example {example}."))),
            Err(why) => return Err(wrong(&format!("The body is no JSON: {why}. Send for example {example}."))),
        };
        if let Some(unknown) = fields.keys().find(|name| !known.contains(&name.as_str())) {
            let meant = nearest(unknown, known.iter().copied()).map(|name| format!(" Did you mean {name:?}?"));
            let shown: String = unknown.chars().take(64).collect();
            let (meant, known) = (meant.unwrap_or_default(), known.join(", "));
            return Err(wrong(&format!("The body has an unknown field {shown:?}; known are {known}.{meant}")));
        }
        Ok(Fields(fields))
    }

    /// A text, if it is there.
    pub(crate) fn text(&self, name: &str) -> Result<Option<String>, Refused> {
        match self.0.get(name) {
            None | Some(Value::Null) => Ok(None),
            Some(Value::String(text)) => Ok(Some(text.clone())),
            Some(_) => Err(wrong(&format!("The field {name} of the body must be a text in quotes."))),
        }
    }

    /// A switch, off if it is not there.
    pub(crate) fn flag(&self, name: &str) -> Result<bool, Refused> {
        match self.0.get(name) {
            None | Some(Value::Null) => Ok(false),
            Some(Value::Bool(flag)) => Ok(*flag),
            Some(_) => Err(wrong(&format!("The field {name} of the body must be true or false."))),
        }
    }
}

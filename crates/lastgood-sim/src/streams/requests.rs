//! What subscribers ask for on their connection.

use serde_json::{Map, Value, json};

/// A well-formed request.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Request {
    pub(super) id: Value,
    pub(super) asked: Asked,
}

/// The requested action.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Asked {
    Subscribe(Vec<String>),
    Unsubscribe(Vec<String>),
    List,
    SetCombined(bool),
    GetCombined,
}

/// An error in the exchange's shape.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Refused {
    code: u8,
    msg: String,
    id: Option<Value>,
}

const METHODS: &str = "`SUBSCRIBE`, `UNSUBSCRIBE`, `LIST_SUBSCRIPTIONS`, `SET_PROPERTY`, `GET_PROPERTY`";
const LONGEST_ID: usize = 36;

impl Refused {
    pub(super) fn too_many(id: Value) -> Self {
        Refused { code: 4, msg: "Too many subscriptions".to_owned(), id: Some(id) }
    }

    pub(super) fn text(&self) -> String {
        let mut answer = json!({"error": {"code": self.code, "msg": self.msg}});
        if let Some(id) = &self.id {
            answer["id"] = id.clone();
        }
        answer.to_string()
    }
}

/// The answer to a request that went well.
pub(super) fn result(result: &Value, id: &Value) -> String {
    json!({"result": result, "id": id}).to_string()
}

impl Request {
    pub(super) fn parse(written: &[u8]) -> Result<Request, Refused> {
        let refused = |code, msg: String| Refused { code, msg, id: None };
        let invalid = |why: &str| refused(2, format!("Invalid request: {why}"));
        let value: Value = serde_json::from_slice(written).map_err(|why| refused(3, format!("Invalid JSON: {why}")))?;
        let Value::Object(fields) = value else { return Err(invalid("expected an object")) };
        let id = id(&fields).map_err(invalid)?;
        let method = match fields.get("method") {
            Some(Value::String(method)) => method.as_str(),
            Some(_) => return Err(invalid("method must be a string")),
            None => return Err(invalid("missing field `method`")),
        };
        let asked = asked(method, fields.get("params"));
        match asked {
            Ok(asked) => Ok(Request { id, asked }),
            Err((code, msg)) => Err(Refused { code, msg, id: Some(id) }),
        }
    }
}

/// An id is a number, a short name or nothing.
fn id(fields: &Map<String, Value>) -> Result<Value, &'static str> {
    let id = fields.get("id").unwrap_or(&Value::Null);
    let is_good = match id {
        Value::Null => true,
        Value::Number(id) => id.is_i64(),
        Value::String(id) => {
            id.len() <= LONGEST_ID && id.chars().all(|letter| letter.is_ascii_alphanumeric() || letter == '-')
        }
        _ => false,
    };
    if is_good { Ok(id.clone()) } else { Err("request ID must be an integer, a short string or null") }
}

fn asked(method: &str, params: Option<&Value>) -> Result<Asked, (u8, String)> {
    let invalid = |why: &str| (2, format!("Invalid request: {why}"));
    let list = || match params {
        Some(Value::Array(params)) => Ok(params),
        Some(_) => Err(invalid("params must be an array")),
        None => Err(invalid("missing field `params`")),
    };
    let names = || {
        let name = |param: &Value| param.as_str().map(ToOwned::to_owned);
        list()?.iter().map(name).collect::<Option<Vec<_>>>().ok_or_else(|| invalid("stream name must be a string"))
    };
    let property = |params: &[Value]| match params.first() {
        Some(Value::String(name)) if name == "combined" => Ok(()),
        Some(Value::String(_)) => Err((0, "Unknown property".to_owned())),
        _ => Err(invalid("property name must be a string")),
    };
    match method {
        "SUBSCRIBE" => names().map(Asked::Subscribe),
        "UNSUBSCRIBE" => names().map(Asked::Unsubscribe),
        "LIST_SUBSCRIPTIONS" => Ok(Asked::List),
        "SET_PROPERTY" => {
            let params = list()?;
            property(params)?;
            match params.as_slice() {
                [_, Value::Bool(combined)] => Ok(Asked::SetCombined(*combined)),
                [_, _, _, ..] => Err(invalid("too many parameters")),
                _ => Err((1, "Invalid value type: expected Boolean".to_owned())),
            }
        }
        "GET_PROPERTY" => property(list()?).map(|()| Asked::GetCombined),
        _ => Err(invalid(&format!("unknown variant `{method}`, expected one of {METHODS}"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn malformed_requests_are_refused_in_the_exchanges_shape() {
        for (written, code, begin) in [
            ("no json", 3, "Invalid JSON: "),
            ("", 3, "Invalid JSON: "),
            ("[]", 2, "Invalid request: "),
            (r#"{"id":1}"#, 2, "Invalid request: missing field `method`"),
            (r#"{"method":1,"id":1}"#, 2, "Invalid request: "),
            (r#"{"method":"PING","id":1}"#, 2, "Invalid request: unknown variant `PING`, expected one of `SUBSCRIBE`"),
            (r#"{"method":"SUBSCRIBE","id":1}"#, 2, "Invalid request: missing field `params`"),
            (r#"{"method":"SUBSCRIBE","params":"a@ticker","id":1}"#, 2, "Invalid request: "),
            (r#"{"method":"SUBSCRIBE","params":[1],"id":1}"#, 2, "Invalid request: "),
            (r#"{"method":"SUBSCRIBE","params":[],"id":{}}"#, 2, "Invalid request: request ID "),
            (r#"{"method":"SUBSCRIBE","params":[],"id":1.5}"#, 2, "Invalid request: request ID "),
            (
                r#"{"method":"SET_PROPERTY","params":["combined","yes"],"id":1}"#,
                1,
                "Invalid value type: expected Boolean",
            ),
            (r#"{"method":"SET_PROPERTY","params":["other",true],"id":1}"#, 0, "Unknown property"),
            (r#"{"method":"GET_PROPERTY","params":[1],"id":1}"#, 2, "Invalid request: property name must be a string"),
        ] {
            let refused = Request::parse(written.as_bytes()).unwrap_err();
            assert_eq!(refused.code, code, "{written}: {refused:?}");
            assert!(refused.msg.starts_with(begin), "{written}: {refused:?}");
        }
    }

    #[test]
    fn an_id_is_a_number_a_short_name_or_nothing() {
        let long = format!("{:?}", "x".repeat(37));
        for (id, is_good) in [
            ("7", true),
            ("-7", true),
            ("null", true),
            (r#""a1""#, true),
            (r#""6f1e0b0e-1a2b-4c3d-8e9f-001122334455""#, true),
            (&long, false),
            ("1.5", false),
            ("18446744073709551615", false),
            ("true", false),
            ("[]", false),
        ] {
            let written = format!(r#"{{"method":"LIST_SUBSCRIPTIONS","id":{id}}}"#);
            assert_eq!(Request::parse(written.as_bytes()).is_ok(), is_good, "{id}");
        }
    }
}

//! Variables that the file and flags name as `env:NAME`.

use crate::problem::Wrong;

/// Looks up a variable.
pub(crate) type Lookup<'a> = &'a dyn Fn(&str) -> Option<String>;

/// What a reference stands for.
pub(crate) struct Expanded {
    /// The variable, unless the default stands in for it.
    pub(crate) name: Option<String>,
    pub(crate) text: String,
}

/// Expands `env:NAME`, and `env:NAME:-DEFAULT`, whose default stands in for an unset or empty variable; `None` for any
/// other text. What follows `env:` appears in no message unless it is a name: it may be a secret.
pub(crate) fn expand(text: &str, env: Lookup<'_>) -> Result<Option<Expanded>, Wrong> {
    let Some(reference) = text.trim().strip_prefix("env:") else { return Ok(None) };
    let (name, default) = match reference.split_once(":-") {
        Some((name, default)) => (name, Some(default.trim())),
        None => (reference, None),
    };
    let is_plain = name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
    if name.is_empty() || !is_plain || name.starts_with(|c: char| c.is_ascii_digit()) {
        return Err(Wrong::new("what follows env: is not the name of a variable")
            .hint("write \"env:NAME\", or \"env:NAME:-DEFAULT\""));
    }
    if let Some(value) = env(name).filter(|value| !value.trim().is_empty()) {
        return Ok(Some(Expanded { name: Some(name.to_owned()), text: value.trim().to_owned() }));
    }
    match default {
        Some(default) => Ok(Some(Expanded { name: None, text: default.to_owned() })),
        None => {
            let wrong = Wrong::new(format!("the environment variable {name:?} is not set")).for_lack_of_a_variable();
            let hint =
                format!("set it, or write the value in place of \"env:{name}\", or a default: \"env:{name}:-DEFAULT\"");
            Err(wrong.hint(hint))
        }
    }
}

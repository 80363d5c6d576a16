//! Templates over the parameters of a route.

use lastgood_routes::suggest::did_you_mean;
use lastgood_routes::template::Template;

use crate::problem::Wrong;

/// Reads a template whose places are parameters of the route.
pub(super) fn template(text: &str, names: &[&str]) -> Result<Template, Wrong> {
    let template =
        Template::parse(text).map_err(|what| Wrong::new(what.to_string()).hint("write {name} for a parameter"))?;
    if let Some(unknown) = template.places().find(|place| !names.contains(place)) {
        let hint = did_you_mean(unknown, names.iter().copied());
        let hint = hint.unwrap_or_else(|| format!("declare it in [routes.parameters.{unknown}]"));
        return Err(Wrong::new(format!("{{{unknown}}} is no parameter of the route")).hint(hint));
    }
    Ok(template)
}

//! The environment: variables of keys and of regions, and unknown ones.

use std::collections::BTreeSet;

use lastgood_routes::suggest::nearest;

use crate::file::{Assignment, Target};
use crate::keys::KEYS;
use crate::problem::{Origin, Problem, Wrong};
use crate::regions::{self, REGION_KEYS};
use crate::value::Raw;
use crate::variable::Lookup;

const PREFIX: &str = "LASTGOOD_";
const REGIONS: &str = "LASTGOOD_REGIONS_";

/// Variables of the program and of the examples that are not settings of the gateway.
const OTHER_VARIABLES: [&str; 5] =
    ["LASTGOOD_CONFIG", "LASTGOOD_URL", "LASTGOOD_BIN", "LASTGOOD_TOKEN_FROM", "LASTGOOD_TOKEN_TO"];

/// Reads the variables of all keys and regions. `names` are those of the whole environment.
pub(crate) fn read(env: Lookup<'_>, names: &[String]) -> (Vec<Assignment>, Vec<Problem>) {
    let (mut assignments, mut problems) = (Vec::new(), Vec::new());
    for key in KEYS {
        // An empty variable counts as unset, except for the store, where empty means embedded.
        let set = |name: &'static str| {
            let text = env(name)?;
            (key.name == "store" || !text.trim().is_empty()).then_some((name, text))
        };
        if let Some((name, text)) = key.env.iter().copied().find_map(set) {
            let (target, name, origin) = (Target::Key(key), key.name.to_owned(), Origin::Env(name.to_owned()));
            assignments.push(Assignment { target, name, origin, raw: Raw::Variable { name: None, text } });
        }
    }
    for variable in sorted(names) {
        let Some((region, field)) = region_and_field(variable) else { continue };
        let Some(text) = env(variable).filter(|text| !text.trim().is_empty()) else { continue };
        let (name, origin) = (format!("regions.{region}.{field}"), Origin::Env(variable.clone()));
        let target = match regions::renamed(field) {
            Some(new) => Err(Wrong::new(regions::RENAMED).hint(format!("set {}", variable_of(&region, new)))),
            None => Target::named(&name),
        };
        match target {
            Ok(target) => {
                assignments.push(Assignment { target, name, origin, raw: Raw::Variable { name: None, text } });
            }
            Err(wrong) => problems.push(Problem::new(Some(origin), Some(&name), wrong)),
        }
    }
    (assignments, problems)
}

/// The region and the field that a variable sets. Both may have underscores: the longest field wins.
fn region_and_field(variable: &str) -> Option<(String, &'static str)> {
    let rest = variable.strip_prefix(REGIONS)?;
    if rest.bytes().any(|byte| byte.is_ascii_lowercase()) {
        return None;
    }
    let rest = rest.to_ascii_lowercase();
    let fields = REGION_KEYS.iter().map(|key| key.name).chain(regions::OLD_NAMES.map(|(old, _)| old));
    let region = |field: &str| rest.strip_suffix(field)?.strip_suffix('_').filter(|region| !region.is_empty());
    let found = fields.filter_map(|field| Some((region(field)?, field)));
    let (region, field) = found.max_by_key(|(_, field)| field.len())?;
    Some((region.to_owned(), field))
}

fn variable_of(region: &str, field: &str) -> String {
    format!("{REGIONS}{}_{}", region.to_ascii_uppercase(), field.to_ascii_uppercase())
}

/// Warns of variables that look like ours and set nothing. `named` are those that the configuration names itself.
pub(crate) fn unknown(names: &[String], named: &BTreeSet<String>) -> Vec<Problem> {
    let mut known: Vec<String> = KEYS.iter().flat_map(|key| key.env).map(|name| (*name).to_owned()).collect();
    known.extend(OTHER_VARIABLES.map(str::to_owned));
    for region in regions::built_in() {
        known.extend(REGION_KEYS.iter().map(|key| variable_of(region, key.name)));
    }
    let is_known = |name: &String| known.contains(name) || named.contains(name) || region_and_field(name).is_some();
    sorted(names)
        .into_iter()
        .filter(|name| name.starts_with(PREFIX) && !is_known(name))
        .map(|name| {
            let wrong = Wrong::new("this variable means nothing to lastgood").hint(meant(name, &known));
            Problem::new(Some(Origin::Env(name.clone())), None, wrong)
        })
        .collect()
}

/// The hint for an unknown variable.
fn meant(name: &str, known: &[String]) -> String {
    let rest = |name: &'_ str| name.strip_prefix(PREFIX).map(str::to_owned);
    let known: Vec<String> = known.iter().filter_map(|name| rest(name)).collect();
    let wanted = rest(name).unwrap_or_default();
    let part = format!("_{wanted}");
    let mut longer = known.iter().filter(|known| known.ends_with(&part));
    let only = longer.next().filter(|_| longer.next().is_none());
    let meant = nearest(&wanted, known.iter().map(String::as_str)).or(only.map(String::as_str));
    match meant {
        Some(meant) => format!("did you mean `{PREFIX}{meant}`?"),
        None if name.contains("_SERVICE_") || name.contains("_PORT") => {
            "the port is part of LASTGOOD_LISTEN; if Kubernetes made it of a service called lastgood, \
             enableServiceLinks: false leaves it out"
                .to_owned()
        }
        None => "unset it; lastgood.example.toml names every variable".to_owned(),
    }
}

fn sorted(names: &[String]) -> Vec<&String> {
    let mut names: Vec<&String> = names.iter().collect();
    names.sort_unstable();
    names.dedup();
    names
}

#[cfg(test)]
mod tests;

//! What a request asks: its parameters, each once, checked and in one form.

use lastgood_market::symbols::Refusal;
use percent_encoding::percent_decode_str;

use super::parameter::{Parameter, refusal};
use super::path::Segment;
use super::route::Route;
use crate::source::{Argument, Arguments};

impl Route {
    /// The arguments of a request, in the order of declaration.
    ///
    /// # Errors
    ///
    /// For a parameter that is unknown, given twice, missing or out of its range.
    pub(super) fn arguments(&self, path: &str, query: &str) -> Result<Arguments, Refusal> {
        let parameters = &self.setting.parameters;
        let mut given: Vec<Option<Argument>> = vec![None; parameters.len()];
        let place = |name: &str| parameters.iter().position(|parameter| parameter.name == name);
        for (segment, text) in self.setting.path.segments().iter().zip(path.split('/').skip(1)) {
            if let Segment::Parameter(name) = segment
                && let Some(at) = place(name)
            {
                given[at] = Some(read(&parameters[at], text)?);
            }
        }
        for field in query.split('&').filter(|field| !field.is_empty()) {
            let (name, text) = field.split_once('=').unwrap_or((field, ""));
            let is_in_path = |name: &str| self.setting.path.parameters().any(|known| known == name);
            // In a query, unlike in a path, a plus is a blank.
            let spaced = text.replace('+', " ");
            match place(name).filter(|_| !is_in_path(name)) {
                None => return Err(refusal(name, &decoded(&spaced).unwrap_or(spaced), self.known())),
                Some(at) if given[at].is_some() => {
                    return Err(refusal(name, &decoded(&spaced).unwrap_or(spaced), "it once, not twice".to_owned()));
                }
                Some(at) => given[at] = Some(read(&parameters[at], &spaced)?),
            }
        }
        let all = parameters.iter().zip(given);
        let all =
            all.map(|(parameter, given)| Ok((parameter.name.clone(), given.map_or_else(|| parameter.missing(), Ok)?)));
        all.collect::<Result<_, _>>().map(Arguments)
    }

    /// The parameters that a query may have.
    fn known(&self) -> String {
        let in_path: Vec<&str> = self.setting.path.parameters().collect();
        let names = self.setting.parameters.iter().map(|parameter| parameter.name.as_str());
        let names: Vec<&str> = names.filter(|name| !in_path.contains(name)).collect();
        match names.is_empty() {
            true => "no parameters in the query".to_owned(),
            false => format!("the parameters {}", names.join(", ")),
        }
    }
}

fn read(parameter: &Parameter, text: &str) -> Result<Argument, Refusal> {
    match decoded(text) {
        Some(decoded) => parameter.read(&decoded),
        None => Err(refusal(&parameter.name, text, parameter.kind.allowed())),
    }
}

/// Text as it was before it was put into a URL; `None` where that is no text.
fn decoded(text: &str) -> Option<String> {
    percent_decode_str(text).decode_utf8().ok().map(std::borrow::Cow::into_owned)
}

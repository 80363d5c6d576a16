//! What a request asks: its parameters, each once, checked and in one form.

use std::borrow::Cow;

use crate::arguments::{Argument, Arguments};
use crate::parameter::Parameter;
use crate::path::Segment;
use crate::query::{NotText, decoded, fields};
use crate::refusal::Refusal;
use crate::route::Route;

impl Route {
    /// The arguments of a request, in the order of declaration.
    ///
    /// # Errors
    ///
    /// For a parameter that is unknown, given twice, missing or out of its range.
    pub fn arguments(&self, path: &str, query: &str) -> Result<Arguments, Refusal> {
        let parameters = &self.spec.parameters;
        let mut given: Vec<Option<Argument>> = vec![None; parameters.len()];
        let place = |name: &str| parameters.iter().position(|parameter| parameter.name == name);
        for (segment, text) in self.spec.path.segments().iter().zip(path.split('/').skip(1)) {
            if let Segment::Parameter(name) = segment
                && let Some(at) = place(name)
            {
                let value = decoded(text).map(Cow::into_owned).ok_or_else(|| NotText { written: text.to_owned() });
                given[at] = Some(read(&parameters[at], value)?);
            }
        }
        for (name, value) in fields(query) {
            let is_in_path = |name: &str| self.spec.path.parameters().any(|known| known == name);
            let shown = || value.clone().unwrap_or_else(|not_text| not_text.written);
            match place(name).filter(|_| !is_in_path(name)) {
                None => return Err(Refusal::new(name, &shown(), self.known())),
                Some(at) if given[at].is_some() => {
                    return Err(Refusal::new(name, &shown(), "it once, not twice".to_owned()));
                }
                Some(at) => given[at] = Some(read(&parameters[at], value)?),
            }
        }
        let all = parameters.iter().zip(given);
        let all =
            all.map(|(parameter, given)| Ok((parameter.name.clone(), given.map_or_else(|| parameter.missing(), Ok)?)));
        all.collect::<Result<_, _>>().map(Arguments)
    }

    /// The parameters that a query may have.
    fn known(&self) -> String {
        let in_path: Vec<&str> = self.spec.path.parameters().collect();
        let names = self.spec.parameters.iter().map(|parameter| parameter.name.as_str());
        let names: Vec<&str> = names.filter(|name| !in_path.contains(name)).collect();
        match names.is_empty() {
            true => "no parameters in the query".to_owned(),
            false => format!("the parameters {}", names.join(", ")),
        }
    }
}

/// Reads a value that was decoded.
fn read(parameter: &Parameter, value: Result<String, NotText>) -> Result<Argument, Refusal> {
    match value {
        Ok(decoded) => parameter.read(&decoded),
        Err(not_text) => Err(Refusal::new(&parameter.name, &not_text.written, parameter.kind.allowed())),
    }
}

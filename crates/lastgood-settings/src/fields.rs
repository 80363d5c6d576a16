//! Reading tables whose keys are not in [`KEYS`](crate::KEYS): each key once, and whatever is left over is unknown.

use std::cell::RefCell;

use lastgood_routes::suggest::did_you_mean;
use toml::Spanned;
use toml::de::{DeString, DeTable, DeValue};

use crate::problem::{Origin, Problem, Wrong};
use crate::regions;
use crate::value::Raw;
use crate::variable::Lookup;

/// What all tables of a file share: its lines, the environment and the list of problems.
pub(crate) struct Report<'a> {
    pub(crate) line_of: &'a dyn Fn(usize) -> Origin,
    pub(crate) env: Lookup<'a>,
    pub(crate) problems: RefCell<Vec<Problem>>,
}

impl Report<'_> {
    pub(crate) fn refuse(&self, origin: &Origin, key: &str, wrong: Wrong) {
        self.problems.borrow_mut().push(Problem::new(Some(origin.clone()), Some(key), wrong));
    }
}

/// A table that is being read.
pub(crate) struct Fields<'a> {
    pub(crate) report: &'a Report<'a>,
    /// Its dotted name, for messages.
    pub(crate) path: String,
    pub(crate) origin: Origin,
    table: &'a DeTable<'a>,
    /// Where keys that the table lacks are looked for.
    more: Option<&'a DeTable<'a>>,
    known: Vec<&'static str>,
}

impl<'a> Fields<'a> {
    pub(crate) fn new(report: &'a Report<'a>, path: String, origin: Origin, table: &'a DeTable<'a>) -> Self {
        Fields { report, path, origin, table, more: None, known: Vec::new() }
    }

    /// The file itself.
    pub(crate) fn root(report: &'a Report<'a>, table: &'a DeTable<'a>) -> Self {
        Fields::new(report, String::new(), (report.line_of)(0), table)
    }

    /// With the keys of another table where this one lacks them. Unread ones are looked for here alone.
    pub(crate) fn with_more(self, more: &'a DeTable<'a>) -> Self {
        Fields { more: Some(more), ..self }
    }

    /// The table itself.
    pub(crate) fn own(&self) -> &'a DeTable<'a> {
        self.table
    }

    /// A key, in the table or in the other that it goes on in.
    fn entry(&self, key: &str) -> Option<(&'a Spanned<DeString<'a>>, &'a Spanned<DeValue<'a>>)> {
        let find = |table: &'a DeTable<'a>| table.iter().find(|(known, _)| known.get_ref() == key);
        find(self.table).or_else(|| find(self.more?))
    }

    fn find(&mut self, key: &'static str) -> Option<(Origin, &'a Spanned<DeValue<'a>>)> {
        self.known.push(key);
        let (key, value) = self.entry(key)?;
        Some(((self.report.line_of)(key.span().start), value))
    }

    fn name(&self, key: &str) -> String {
        match self.path.as_str() {
            "" => key.to_owned(),
            path => format!("{path}.{key}"),
        }
    }

    /// Whether the table says anything about a key.
    pub(crate) fn has(&self, key: &str) -> bool {
        self.entry(key).is_some()
    }

    /// Where a key stands, else where the table does.
    pub(crate) fn origin_of(&self, key: &str) -> Origin {
        self.entry(key).map_or_else(|| self.origin.clone(), |(key, _)| (self.report.line_of)(key.span().start))
    }

    pub(crate) fn refuse(&self, key: &str, wrong: Wrong) {
        self.report.refuse(&self.origin_of(key), &self.name(key), wrong);
    }

    /// The value of a key, if there is a good one.
    pub(crate) fn read<T>(&mut self, key: &'static str, parse: impl FnOnce(&Raw) -> Result<T, Wrong>) -> Option<T> {
        let (origin, value) = self.find(key)?;
        let refuse = |origin: &Origin, wrong| self.report.refuse(origin, &self.name(key), wrong);
        let raw = Raw::of(value.get_ref(), self.report.env).map_err(|wrong| refuse(&origin, wrong)).ok()?;
        parse(&raw).map_err(|wrong| refuse(&origin.of_value(&raw), wrong)).ok()
    }

    /// The value of a key that must be there.
    pub(crate) fn required<T>(
        &mut self,
        key: &'static str,
        example: &str,
        parse: impl FnOnce(&Raw) -> Result<T, Wrong>,
    ) -> Option<T> {
        if !self.has(key) {
            let wrong = Wrong::new(format!("`{key}` is missing")).hint(format!("write for example {key} = {example}"));
            self.report.refuse(&self.origin, &self.path, wrong);
        }
        self.read(key, parse)
    }

    /// The table under a key.
    pub(crate) fn table(&mut self, key: &'static str) -> Option<Fields<'a>> {
        let (origin, value) = self.find(key)?;
        match value.get_ref() {
            DeValue::Table(table) => Some(Fields::new(self.report, self.name(key), origin, table)),
            _ => {
                self.report.refuse(&origin, &self.name(key), Wrong::new("expected a table").hint("write { … }"));
                None
            }
        }
    }

    /// The tables in the list under a key.
    pub(crate) fn tables(&mut self, key: &'static str) -> Vec<Fields<'a>> {
        let Some((origin, value)) = self.find(key) else { return Vec::new() };
        let DeValue::Array(items) = value.get_ref() else {
            let hint = format!("write [[{}]] above each", self.name(key));
            self.report.refuse(&origin, &self.name(key), Wrong::new("expected a list of tables").hint(hint));
            return Vec::new();
        };
        let mut tables = Vec::new();
        for item in items {
            let origin = (self.report.line_of)(item.span().start);
            match item.get_ref() {
                DeValue::Table(table) => tables.push(Fields::new(self.report, self.name(key), origin, table)),
                _ => self.report.refuse(&origin, &self.name(key), Wrong::new("expected a table").hint("write { … }")),
            }
        }
        tables
    }

    /// Every entry of a table whose keys are names of the user's choosing, in the order of the file.
    pub(crate) fn entries(self) -> Vec<(String, Fields<'a>)> {
        let mut entries = Vec::new();
        let mut in_order: Vec<_> = self.table.iter().collect();
        in_order.sort_by_key(|(key, _)| key.span().start);
        for (key, value) in in_order {
            let (name, origin) = (key.get_ref().to_string(), (self.report.line_of)(key.span().start));
            let path = self.name(&name);
            match value.get_ref() {
                DeValue::Table(table) => entries.push((name, Fields::new(self.report, path, origin, table))),
                _ => self.report.refuse(&origin, &path, Wrong::new("expected a table").hint(format!("write [{path}]"))),
            }
        }
        entries
    }

    /// Every value of a table whose keys are names of the user's choosing, in the order of the file.
    pub(crate) fn values(self) -> Vec<(String, Origin, String, Raw)> {
        let mut values = Vec::new();
        for (key, value) in self.table {
            let (name, origin) = (key.get_ref().to_string(), (self.report.line_of)(key.span().start));
            let path = self.name(&name);
            match Raw::of(value.get_ref(), self.report.env) {
                Ok(raw) => values.push((name, origin, path, raw, key.span().start)),
                Err(wrong) => self.report.refuse(&origin, &path, wrong),
            }
        }
        values.sort_by_key(|(.., at)| *at);
        values.into_iter().map(|(name, origin, path, raw, _)| (name, origin, path, raw)).collect()
    }

    /// Refuses every key that no reader asked for.
    pub(crate) fn finish(self) {
        for (key, _) in self.table {
            if !self.known.contains(&key.get_ref().as_ref()) {
                let origin = (self.report.line_of)(key.span().start);
                self.report.refuse(&origin, &self.name(key.get_ref()), self.unknown(key.get_ref()));
            }
        }
    }

    fn unknown(&self, key: &str) -> Wrong {
        if self.path == "routes"
            && let Some(wrong) = regions::in_a_route(key)
        {
            return wrong;
        }
        let hint = did_you_mean(key, self.known.iter().copied())
            .unwrap_or_else(|| format!("`{}` has {}", self.path, self.known.join(", ")));
        Wrong::new("unknown key").hint(hint)
    }
}

/// A text that is not empty.
pub(crate) fn text(example: &'static str) -> impl Fn(&Raw) -> Result<String, Wrong> {
    move |raw| {
        let text = raw.as_text(example)?;
        match text.is_empty() {
            true => Err(Wrong::new("it is empty").hint(format!("write \"{example}\""))),
            false => Ok(text.to_owned()),
        }
    }
}

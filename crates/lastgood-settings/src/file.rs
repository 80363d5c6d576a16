//! The configuration file: finding it, and reading it with the line of every value.

use std::cell::RefCell;
use std::fs::File;
use std::io::{self, Read as _};
use std::path::Path;

use lastgood_routes::suggest::did_you_mean;
use toml::Spanned;
use toml::de::{DeTable, DeValue};

use crate::declared::Declared;
use crate::fields::Report;
use crate::keys::{KEYS, Key};
use crate::problem::{Origin, Problem, Problems, Wrong};
use crate::regions::{self, REGION_KEYS, REGION_NAMES, RegionKey};
use crate::value::Raw;
use crate::variable::Lookup;

/// The file that is read when it lies in the working directory and no other is named.
pub const FILE_NAME: &str = "lastgood.toml";

/// More than any configuration needs; a wrong `--config` must not fill the memory.
const LARGEST: u64 = 1 << 20;

/// A configuration file that was read but not yet understood.
#[derive(Debug, Clone)]
pub struct ConfigFile {
    /// Its name for messages.
    pub path: String,
    /// What it says.
    pub text: String,
}

impl ConfigFile {
    /// The file named by `--config`, else by `LASTGOOD_CONFIG`, else `lastgood.toml` in
    /// `directory` if there is one.
    ///
    /// # Errors
    /// A file that was named, or is there, but cannot be read.
    pub fn find(
        flag: Option<&Path>,
        env: &dyn Fn(&str) -> Option<String>,
        directory: &Path,
    ) -> Result<Option<Self>, Problems> {
        const VARIABLE: &str = "LASTGOOD_CONFIG";
        if let Some(path) = flag {
            let origin = Origin::Flag("--config".to_owned());
            return Self::read(path, &path.display().to_string(), origin).map(Some);
        }
        if let Some(path) = env(VARIABLE).filter(|path| !path.trim().is_empty()) {
            let origin = Origin::Env(VARIABLE.to_owned());
            return Self::read(Path::new(&path), &path, origin).map(Some);
        }
        let path = directory.join(FILE_NAME);
        // A link that leads nowhere, or a folder that may not be read, is not "no file".
        if path.symlink_metadata().is_err_and(|why| why.kind() == io::ErrorKind::NotFound) {
            return Ok(None);
        }
        let origin = Origin::File { path: FILE_NAME.to_owned(), line: 1, variable: None };
        Self::read(&path, FILE_NAME, origin).map(Some)
    }

    fn read(path: &Path, shown: &str, origin: Origin) -> Result<Self, Problems> {
        let refuse = |what: String, hint: &str| {
            let wrong = Wrong::new(what).hint(hint);
            Problems(vec![Problem::new(Some(origin.clone()), None, wrong)])
        };
        let unreadable = |error: std::io::Error| {
            refuse(
                format!("the configuration file {shown} cannot be read: {error}"),
                "name a TOML file that exists and may be read",
            )
        };
        let mut bytes = Vec::new();
        // Not every file says its size: a pipe may be read, and a device may never end.
        let read = File::open(path).and_then(|file| file.take(LARGEST + 1).read_to_end(&mut bytes));
        read.map_err(unreadable)?;
        if bytes.len() as u64 > LARGEST {
            return Err(refuse(
                format!("{shown} is larger than a configuration can be (1 MiB)"),
                "is it the right file?",
            ));
        }
        let text =
            String::from_utf8(bytes).map_err(|_| refuse(format!("{shown} is not UTF-8 text"), "save it as UTF-8"))?;
        Ok(Self { path: shown.to_owned(), text })
    }
}

/// What a dotted name stands for.
#[derive(Debug, Clone)]
pub(crate) enum Target {
    Key(&'static Key),
    Region(String, &'static RegionKey),
    /// `[regions.NAME]` itself, which makes the region if there is none.
    Declared(String),
}

impl Target {
    /// Finds what a dotted name stands for, or what it was meant to be.
    pub(crate) fn named(name: &str) -> Result<Self, Wrong> {
        if let Some(key) = Key::named(name) {
            return Ok(Self::Key(key));
        }
        if let Some(rest) = name.strip_prefix("regions.")
            && let Some((region, key)) = rest.split_once('.')
        {
            regions::check_name(region)?;
            if let Some(new) = regions::renamed(key) {
                return Err(Wrong::new(regions::RENAMED).hint(format!("write {new}")));
            }
            return match REGION_KEYS.iter().find(|known| known.name == key) {
                Some(key) => regions::check_key(region, key).map(|()| Self::Region(region.to_owned(), key)),
                None => Err(Wrong::new("unknown key of a region").hint(
                    did_you_mean(key, REGION_KEYS.iter().map(|known| known.name))
                        .unwrap_or_else(|| list("a region has", region_key_names())),
                )),
            };
        }
        Err(match keys_of_group(name) {
            Some(keys) => Wrong::new("this is a table, not a value").hint(list("it has", keys)),
            None => Wrong::new("unknown key").hint(meant(name)),
        })
    }
}

fn region_key_names() -> impl Iterator<Item = &'static str> {
    REGION_KEYS.iter().map(|key| key.name)
}

fn list<'a>(intro: &str, names: impl IntoIterator<Item = &'a str>) -> String {
    let names: Vec<&str> = names.into_iter().collect();
    format!("{intro} {}", names.join(", "))
}

/// The tables of the file, `regions` apart.
fn groups() -> impl Iterator<Item = &'static str> {
    KEYS.iter().filter_map(|key| Some(key.name.split_once('.')?.0))
}

fn keys_of_group(group: &str) -> Option<Vec<&'static str>> {
    if group == "regions" {
        return Some(REGION_NAMES.to_vec());
    }
    let keys: Vec<&str> = KEYS
        .iter()
        .filter_map(|key| key.name.split_once('.'))
        .filter(|(known, _)| *known == group)
        .map(|(_, key)| key)
        .collect();
    Some(keys).filter(|keys| !keys.is_empty())
}

/// The hint for a name that means nothing: a spelling, or the table it belongs to.
fn meant(name: &str) -> String {
    let last = name.rsplit('.').next().unwrap_or(name);
    did_you_mean(name, KEYS.iter().map(|key| key.name))
        .or_else(|| {
            let inside = |key: &&Key| key.name.rsplit('.').next() == Some(last);
            let mut found = KEYS.iter().filter(inside);
            match (found.next(), found.next()) {
                (Some(key), None) => Some(format!("did you mean `{}`?", key.name)),
                _ => None,
            }
        })
        .or_else(|| {
            let (group, last) = name.rsplit_once('.')?;
            keys_of_group(group).map(|keys| {
                did_you_mean(last, keys.iter().copied()).unwrap_or_else(|| list(&format!("`{group}` has"), keys))
            })
        })
        .unwrap_or_else(|| "`lastgood config` lists every key".to_owned())
}

/// A value of the file or the environment that belongs to a known key.
#[derive(Debug)]
pub(crate) struct Assignment {
    pub(crate) target: Target,
    pub(crate) name: String,
    pub(crate) origin: Origin,
    pub(crate) raw: Raw,
}

/// What a file says.
pub(crate) struct Said {
    pub(crate) assignments: Vec<Assignment>,
    pub(crate) declared: Declared,
    /// The problems with it, by line.
    pub(crate) problems: Vec<Problem>,
}

/// Reads the whole file. `env` is asked for the variables that it names.
pub(crate) fn read(file: &ConfigFile, env: Lookup<'_>) -> Said {
    let mut reader = Reader { file, env, assignments: Vec::new(), problems: Vec::new() };
    let (root, errors) = DeTable::parse_recoverable(&file.text);
    for error in errors {
        let start = error.span().map_or(0, |span| span.start);
        let origin = reader.origin(start);
        // After its first error a line only has errors that follow from it.
        if reader.problems.last().and_then(|last| last.origin.as_ref()) != Some(&origin) {
            let wrong = Wrong::new(format!("not valid TOML: {}", error.message()))
                .hint("texts need quotes, tables need [brackets], keys are set once");
            reader.problems.push(Problem::new(Some(origin), None, wrong));
        }
    }
    let mut declared = Declared::default();
    if reader.problems.is_empty() {
        reader.table("", root.get_ref());
        let line_of = |offset: usize| reader.origin(offset);
        let report = Report { line_of: &line_of, env, problems: RefCell::default() };
        declared = Declared::read(root.get_ref(), &report);
        let problems = report.problems.take();
        reader.problems.extend(problems);
    }
    reader.problems.sort_by_key(|problem| match problem.origin {
        Some(Origin::File { line, .. }) => line,
        _ => 0,
    });
    Said { assignments: reader.assignments, declared, problems: reader.problems }
}

struct Reader<'a> {
    file: &'a ConfigFile,
    env: Lookup<'a>,
    assignments: Vec<Assignment>,
    problems: Vec<Problem>,
}

impl Reader<'_> {
    fn origin(&self, offset: usize) -> Origin {
        let before = &self.file.text.as_bytes()[..offset.min(self.file.text.len())];
        let line = 1 + before.iter().filter(|byte| **byte == b'\n').count();
        Origin::File { path: self.file.path.clone(), line, variable: None }
    }

    /// Goes no deeper than known names do, however deep the file nests.
    fn table(&mut self, path: &str, table: &DeTable<'_>) {
        for (key, value) in table {
            let name = match path {
                "" => key.get_ref().to_string(),
                _ => format!("{path}.{}", key.get_ref()),
            };
            if path.is_empty() && Declared::TABLES.contains(&name.as_str()) {
                continue;
            }
            let origin = self.origin(key.span().start);
            if let Err(wrong) = self.entry(&name, &origin, value) {
                self.problems.push(Problem::new(Some(origin), Some(&name), wrong));
            }
        }
    }

    fn entry(&mut self, name: &str, origin: &Origin, value: &Spanned<DeValue<'_>>) -> Result<(), Wrong> {
        if let DeValue::Table(table) = value.get_ref() {
            if let Some(region) = name.strip_prefix("regions.")
                && !region.contains('.')
            {
                regions::check_name(region)?;
                self.assignments.push(Assignment {
                    target: Target::Declared(region.to_owned()),
                    name: name.to_owned(),
                    origin: origin.clone(),
                    raw: Raw::text(""),
                });
            } else if keys_of_group(name).is_none() {
                return Err(match Target::named(name) {
                    Ok(_) => Wrong::new("expected a value, found a table"),
                    Err(wrong) if name.contains('.') => wrong,
                    Err(_) => Wrong::new("unknown table").hint(
                        did_you_mean(name, groups().chain(["regions"]).chain(Declared::TABLES))
                            .unwrap_or_else(|| "`lastgood config` lists every key".to_owned()),
                    ),
                });
            }
            self.table(name, table);
            return Ok(());
        }
        let target = Target::named(name)?;
        let raw = Raw::of(value.get_ref(), self.env)?;
        let origin = origin.clone().of_value(&raw);
        self.assignments.push(Assignment { target, name: name.to_owned(), origin, raw });
        Ok(())
    }
}

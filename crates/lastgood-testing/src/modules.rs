//! The order of a crate's modules, in which each imports only what stands above it.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

/// Panics unless each module of the crate in `manifest_dir` imports only modules that stand above it in `order`, which
/// names every module. What tests import, and what `lib.rs` and programs do, does not count.
///
/// # Panics
///
/// When an import runs back up, with the file and what it imports.
pub fn check_module_order(manifest_dir: &str, order: &[&str]) {
    let found = upward_imports(&sources(&Path::new(manifest_dir).join("src")), order);
    assert!(found.is_empty(), "imports that run back up:\n{:#?}", found.values());
}

/// The text of each file below `src` that is no program's, by its path from there.
fn sources(src: &Path) -> BTreeMap<String, String> {
    let files = files(src).into_iter().map(|file| {
        let path = file.strip_prefix(src).expect("it is below").to_string_lossy().replace('\\', "/");
        (path, fs::read_to_string(&file).expect("a source file can be read"))
    });
    files.filter(|(path, _)| !path.starts_with("bin/") && path != "main.rs").collect()
}

pub(crate) fn files(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).expect("a folder can be read").map(|entry| entry.expect("an entry").path());
    entries
        .flat_map(|path| if path.is_dir() { files(&path) } else { vec![path] })
        .filter(|path| is_rust(path))
        .collect()
}

fn is_rust(path: &Path) -> bool {
    path.extension().is_some_and(|extension| extension == "rs")
}

/// The imports of a module that stands below the importer, each with a file that has it.
fn upward_imports(sources: &BTreeMap<String, String>, order: &[&str]) -> BTreeMap<(String, String), String> {
    let place = |module: &str| order.iter().position(|known| *known == module);
    let modules: BTreeSet<&str> =
        sources.keys().map(|path| module_of(path)).filter(|module| *module != "lib").collect();
    let unlisted: Vec<_> = modules.iter().filter(|module| place(module).is_none()).collect();
    assert!(unlisted.is_empty(), "modules that are not in the order: {unlisted:?}");
    let gone: Vec<_> = order.iter().filter(|module| !modules.contains(**module)).collect();
    assert!(gone.is_empty(), "the order names files that are no modules: {gone:?}");
    let exported = exported(sources.get("lib.rs").map_or("", String::as_str));
    let mut upward = BTreeMap::new();
    for (path, text) in sources.iter().filter(|(path, _)| !is_of_tests(path) && *path != "lib.rs") {
        let module = module_of(path);
        for name in names_in_crate(without_tests(text)) {
            let imported = exported.get(&name).map_or(name.as_str(), String::as_str);
            let Some(to) = place(imported) else { panic!("{path} imports crate::{name}, which is in no module") };
            if Some(to) > place(module) {
                upward.insert((module.to_owned(), imported.to_owned()), format!("{path} imports {imported}"));
            }
        }
    }
    upward
}

/// The crate's module that a file is of.
fn module_of(path: &str) -> &str {
    let first = path.split('/').next().unwrap_or_default();
    first.trim_end_matches(".rs")
}

pub(crate) fn is_of_tests(path: &str) -> bool {
    path.split('/').any(|part| matches!(part, "tests" | "tests.rs" | "schedules.rs"))
}

/// What stands before the module of a file's own tests.
pub(crate) fn without_tests(text: &str) -> &str {
    text.split("#[cfg(test)]\nmod tests {").next().unwrap_or_default()
}

/// The names that `lib.rs` exports, by the module that has them.
fn exported(lib: &str) -> BTreeMap<String, String> {
    let mut exported = BTreeMap::new();
    for statement in lib.split(';') {
        let Some((_, path)) = statement.split_once("pub use self::") else { continue };
        let Some((module, names)) = path.split_once("::") else { continue };
        for name in names.trim_matches(['{', '}']).split(',').filter_map(|name| name.split(" as ").last()) {
            exported.insert(name.trim_matches(['{', '}', ' ', '\n']).to_owned(), module.to_owned());
        }
    }
    // A function may have the name of its module.
    exported.retain(|name, module| name != module);
    exported
}

/// What follows `crate::` in a text, comments apart.
fn names_in_crate(text: &str) -> BTreeSet<String> {
    let code: Vec<&str> = text.lines().filter(|line| !line.trim_start().starts_with("//")).collect();
    let code = code.join("\n");
    let mut names = BTreeSet::new();
    for (at, path) in code.match_indices("crate::") {
        let is_word = code[..at].ends_with(|c: char| c.is_alphanumeric() || c == '_');
        let rest = &code[at + path.len()..];
        match rest.strip_prefix('{') {
            _ if is_word => {}
            Some(group) => names.extend(top_level(group)),
            None => names.extend(name(rest)),
        }
    }
    names
}

/// The names at the top level of a group such as `a::{B, C}, d}`.
fn top_level(group: &str) -> Vec<String> {
    let (mut depth, mut parts) = (0, vec![String::new()]);
    for c in group.chars() {
        match c {
            '{' => depth += 1,
            '}' if depth == 0 => break,
            '}' => depth -= 1,
            ',' if depth == 0 => parts.push(String::new()),
            _ if depth == 0 => parts.last_mut().expect("never empty").push(c),
            _ => {}
        }
    }
    parts.iter().filter_map(|part| name(part.trim())).collect()
}

fn name(text: &str) -> Option<String> {
    let name: String = text.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect();
    (!name.is_empty()).then_some(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn crate_of(files: &[(&str, &str)]) -> BTreeMap<String, String> {
        files.iter().map(|(path, text)| ((*path).to_owned(), (*text).to_owned())).collect()
    }

    fn upward(files: &[(&str, &str)]) -> Vec<(String, String)> {
        upward_imports(&crate_of(files), &["base", "middle", "top"]).into_keys().collect()
    }

    #[test]
    fn imports_that_run_back_up_are_found_in_every_form() {
        let lib = ("lib.rs", "mod base;\npub use self::top::{Face, Other as Mask};\npub use self::middle::Half;\n");
        let of_base = |text| vec![lib, ("base.rs", text), ("middle.rs", "use crate::base::X;"), ("top.rs", "")];
        for down in ["", "// crate::top\n", "use crate::base::Y;", "#[cfg(test)]\nmod tests {\n use crate::top::X;\n}"]
        {
            assert!(upward(&of_base(down)).is_empty(), "{down}");
        }
        for up in [
            "use crate::top::X;",
            "fn f() { crate::top::x() }",
            "use crate::{base::Y, top::{Z, W}};",
            "use crate::Face;",
            "use crate::{base::Y,\n    Mask};",
        ] {
            assert_eq!(upward(&of_base(up)), [("base".to_owned(), "top".to_owned())], "{up}");
        }
        let below = [("base.rs", ""), ("middle/deep.rs", "use crate::top::X;"), ("middle.rs", ""), ("top.rs", "")];
        assert_eq!(upward(&below), [("middle".to_owned(), "top".to_owned())]);
    }

    #[test]
    #[should_panic(expected = "not in the order")]
    fn a_module_that_the_order_does_not_name_is_found() {
        upward(&[("base.rs", ""), ("middle.rs", ""), ("top.rs", ""), ("new.rs", "")]);
    }
}

//! How long files and functions may be: a reader sees a function on one screen, and finds a file's one concern.

use std::fs;
use std::path::{Path, PathBuf};

use crate::modules::{files, is_of_tests, without_tests};

/// The most lines of a file, without the tests at its end. A file of tests has no more, either.
const FILE: usize = 400;
/// The most lines of a function, from its head to its end.
const FUNCTION: usize = 60;

/// The Rust files of this repository by their path from `root`: those of programs, libraries and benches, and those of tests.
fn sources_and_tests(root: &Path) -> (Vec<PathBuf>, Vec<PathBuf>) {
    let folders = ["crates", "benches", "fuzz", "soak", "examples/iftb"];
    let files = folders.into_iter().flat_map(|folder| files(&root.join(folder)));
    let files = files.map(|file| file.strip_prefix(root).expect("it is below").to_owned());
    let is_built = |file: &PathBuf| file.iter().any(|part| part == "target");
    let is_of_tests = |file: &PathBuf| is_of_tests(&file.to_string_lossy().replace('\\', "/"));
    files.filter(|file| !is_built(file)).partition(|file| !is_of_tests(file))
}

/// The functions of a formatted text, each with its lines.
fn functions(text: &str) -> Vec<(&str, usize)> {
    let lines: Vec<&str> = text.lines().collect();
    let length = |at: usize| {
        let head = lines[at..].iter().position(|line| line.ends_with(['{', '}', ';']))?;
        let indent = &lines[at][..lines[at].len() - lines[at].trim_start().len()];
        let is_end = |line: &&str| line.strip_prefix(indent) == Some("}");
        let has_body = lines[at + head].ends_with('{');
        has_body.then(|| lines[at..].iter().position(is_end).map(|end| end + 1))?
    };
    lines.iter().enumerate().filter_map(|(at, line)| Some((function_name(line)?, length(at)?))).collect()
}

/// The name of the function that begins in this line.
fn function_name(line: &str) -> Option<&str> {
    let (before, after) = line.split_once("fn ")?;
    let is_qualifier = |word: &str| matches!(word, "const" | "async") || word.starts_with("pub") || word.ends_with(')');
    let name = after.split(['(', '<']).next()?;
    before.split_whitespace().all(is_qualifier).then_some(name)
}

/// What in a text is longer than it may be, its tests apart.
fn too_long(text: &str) -> Vec<String> {
    let text = without_tests(text);
    let functions = functions(text).into_iter().filter(|(_, lines)| *lines > FUNCTION);
    let functions = functions.map(|(name, lines)| format!("fn {name}: {lines} lines of {FUNCTION}"));
    too_long_as_a_file(text).into_iter().chain(functions).collect()
}

/// Whether a text is longer than a file may be. A test that goes through a table of cases may be as long as that.
fn too_long_as_a_file(text: &str) -> Option<String> {
    let lines = text.lines().count();
    (lines > FILE).then(|| format!("{lines} lines of {FILE}"))
}

#[test]
fn no_file_and_no_function_is_longer_than_a_reader_can_follow() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").canonicalize().expect("it is there");
    let (sources, tests) = sources_and_tests(&root);
    assert!(!sources.is_empty() && !tests.is_empty());
    let text = |file: &PathBuf| fs::read_to_string(root.join(file)).expect("a source file can be read");
    let of_sources = sources.iter().flat_map(|file| too_long(&text(file)).into_iter().map(move |what| (file, what)));
    let of_tests = tests.iter().filter_map(|file| Some((file, too_long_as_a_file(&text(file))?)));
    let found = of_sources.chain(of_tests).map(|(file, what)| format!("{}: {what}", file.display()));
    let found: Vec<String> = found.collect();
    assert!(found.is_empty(), "split where a part has a name of its own:\n{}", found.join("\n"));
}

#[test]
fn a_long_function_is_found_wherever_it_stands() {
    let body = "        x();\n".repeat(FUNCTION);
    for head in ["fn f()", "pub(in crate::a) async fn f<T>()", "pub const fn f(\n    a: u8,\n)\nwhere\n    T: X,"] {
        let text = format!("impl A {{\n    {} {{\n{body}    }}\n}}\n", head.replace('\n', "\n    "));
        assert_eq!(too_long(&text).len(), 1, "{text}");
        assert!(too_long(&text.replacen("        x();\n", "", FUNCTION / 2)).is_empty(), "{text}");
    }
    let without_body = format!("trait A {{\n    fn f();\n    // fn g() {{\n{body}    fn h() {{}}\n}}\n");
    assert!(too_long(&without_body).is_empty());
    let in_tests = format!("fn f() {{}}\n\n#[cfg(test)]\nmod tests {{\n    fn g() {{\n{body}    }}\n}}\n");
    assert!(too_long(&in_tests).is_empty());
    assert_eq!(too_long(&"\n".repeat(FILE + 1)).len(), 1);
    assert!(too_long_as_a_file(&"\n".repeat(FILE)).is_none() && too_long_as_a_file(&"\n".repeat(FILE + 1)).is_some());
}

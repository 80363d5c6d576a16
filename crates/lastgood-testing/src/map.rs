//! What ARCHITECTURE.md names exists: its files, and the functions, fields, variants and modules of the walkthroughs.

use std::fs;
use std::path::Path;

use crate::modules::files;

/// The Rust files of the repository: each path from its root, and the text.
fn sources(root: &Path) -> Vec<(String, String)> {
    let files = ["crates", "soak", "benches"].into_iter().flat_map(|folder| files(&root.join(folder)));
    let files = files.map(|file| {
        let path = file.strip_prefix(root).expect("it is below").to_string_lossy().replace('\\', "/");
        (path, fs::read_to_string(&file).expect("a source file can be read"))
    });
    files.collect()
}

/// What stands between backticks.
fn code(text: &str) -> impl Iterator<Item = &str> {
    text.split('`').skip(1).step_by(2)
}

/// `a/{b,c}.rs` is two files.
fn spelled_out(path: &str) -> Vec<String> {
    match path.split_once('{').and_then(|(before, rest)| Some((before, rest.split_once('}')?))) {
        Some((before, (names, after))) => names.split(',').map(|name| format!("{before}{name}{after}")).collect(),
        None => vec![path.to_owned()],
    }
}

fn is_file(path: &str, sources: &[(String, String)]) -> bool {
    sources.iter().any(|(known, _)| known == path || known.ends_with(&format!("/{path}")))
}

fn has_word(line: &str, word: &str) -> bool {
    line.split(|c: char| !c.is_alphanumeric() && c != '_').any(|part| part == word)
}

/// Whether a file declares `owner`, implements it, or is the module of that name.
fn is_of(owner: &str, path: &str, text: &str) -> bool {
    let is_declared = |line: &str| {
        let line = line.trim_start();
        let begins =
            ["impl", "pub struct", "pub enum", "pub trait", "pub(crate) struct", "pub(crate) enum", "struct", "enum"];
        begins.iter().any(|begin| line.starts_with(begin)) && has_word(line, owner)
    };
    path.ends_with(&format!("/{owner}.rs")) || text.lines().any(is_declared)
}

/// Whether a text has a function, a field, a variant or a module of that name.
fn declares(name: &str, text: &str) -> bool {
    text.lines().map(str::trim_start).any(|line| {
        let after_fn =
            line.split("fn ").nth(1).is_some_and(|rest| has_word(rest.split(['(', '<']).next().unwrap_or(""), name));
        let first = line.trim_start_matches("pub ").trim_start_matches("pub(crate) ").trim_start_matches("mod ");
        let is_field_or_variant =
            first.strip_prefix(name).is_some_and(|rest| rest.starts_with([':', ',', '(', ';', ' ']));
        after_fn || is_field_or_variant
    })
}

/// The names of a text that lead nowhere.
fn missing(text: &str, sources: &[(String, String)]) -> Vec<String> {
    let is_missing = |span: &str| match span.rsplit_once("::") {
        // Another crate's, or more than a name.
        _ if span.starts_with("tokio::") || span.contains([' ', '(', '…']) => false,
        Some((owner, name)) => {
            let owner = owner.rsplit("::").next().unwrap_or(owner);
            !sources.iter().any(|(path, text)| is_of(owner, path, text) && declares(name, text))
        }
        None if span.ends_with(".rs") => !spelled_out(span).iter().all(|path| is_file(path, sources)),
        None => false,
    };
    code(text).filter(|span| is_missing(span)).map(str::to_owned).collect()
}

#[test]
fn what_the_map_names_is_there() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").canonicalize().expect("it is there");
    let text = fs::read_to_string(root.join("ARCHITECTURE.md")).expect("the map");
    let missing = missing(&text, &sources(&root));
    assert!(missing.is_empty(), "these names of ARCHITECTURE.md lead nowhere: {missing:?}");
}

#[test]
fn missing_names_are_found() {
    let sources = [(
        "crates/a/src/read.rs".to_owned(),
        "impl Region {\n    fn judge(&self) {}\n}\nenum Priority {\n    Demand,\n}\n".to_owned(),
    )];
    let all = "`Region::judge` `read::judge` `Priority::Demand` `read.rs` `a/src/{read,read}.rs` `make test`";
    assert_eq!(missing(all, &sources), Vec::<String>::new());
    for gone in
        ["Region::judged", "Regions::judge", "write::judge", "Priority::Deman", "write.rs", "src/{read,write}.rs"]
    {
        assert_eq!(missing(&format!("`{gone}`"), &sources), [gone]);
    }
}

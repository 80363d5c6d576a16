//! The order of the crate's modules: each imports only what stands above it in the list.

use std::fs;
use std::path::{Path, PathBuf};

const ORDER: [&str; 22] = [
    "suggest",
    "query",
    "refusal",
    "arguments",
    "template",
    "path",
    "parameter",
    "source",
    "spec",
    "error",
    "meta",
    "answer",
    "route",
    "key",
    "place",
    "question",
    "load",
    "connections",
    "check",
    "routes",
    "warm",
    "testing",
];

#[test]
fn no_module_imports_one_that_is_built_on_it() {
    let src = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let files = files(&src);
    assert!(files.len() > ORDER.len(), "{files:?}");
    for file in files {
        let name = file.strip_prefix(&src).expect("below").components().next().expect("a part");
        let name = name.as_os_str().to_string_lossy().trim_end_matches(".rs").to_owned();
        if name == "lib" {
            continue;
        }
        let text = fs::read_to_string(&file).expect("a file");
        for import in text.lines().filter_map(|line| line.trim().split_once("use crate::").map(|(_, import)| import)) {
            let imported: String = import.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect();
            let Some(below) = place(&imported) else { panic!("{}: use crate::{import}", file.display()) };
            assert!(Some(below) <= place(&name), "{} imports {imported}", file.display());
        }
    }
}

fn place(module: &str) -> Option<usize> {
    ORDER.iter().position(|known| *known == module)
}

fn files(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).expect("a folder").map(|entry| entry.expect("an entry").path());
    entries.flat_map(|path| if path.is_dir() { files(&path) } else { vec![path] }).collect()
}

//! Words that the repository does without, because a reader finds the plain one: in comments, names, messages and pages.

use std::fs;
use std::path::{Path, PathBuf};

/// Each is looked for as a whole word, in capitals or not, over the ends of lines too. An underscore counts as a blank, so
/// that names of tests are held to it.
const BANNED: [&str; 20] = [
    "told",
    "untold",
    "heed",
    "heeds",
    "heeded",
    "hearing",
    "unheard",
    "anew",
    "lest",
    "whence",
    "beside",
    "so many",
    "whoever",
    "whomever",
    "whichever",
    "crooked",
    "nobody",
    "what is",
    // Marks that a merge leaves.
    "<<<<<<<",
    ">>>>>>>",
];

/// A file, a text in it with such a word, and why it stays.
const ALLOWED: [(&str, &str, &str); 3] = [
    ("crates/lastgood-testing/src/words.rs", "", "it lists them"),
    ("CHANGELOG.md", "answer::is unheard", "the name that a method had"),
    ("CHANGELOG.md", "untold", "the name that a metric had"),
];

const ENDINGS: [&str; 16] = [
    "rs",
    "md",
    "toml",
    "py",
    "js",
    "mjs",
    "html",
    "css",
    "json",
    "yml",
    "yaml",
    "sql",
    "sh",
    "run",
    "Makefile",
    "Dockerfile",
];

fn files(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).expect("a folder can be read").map(|entry| entry.expect("an entry").path());
    let entries = entries.filter(|path| {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        !matches!(&*name, "target" | "node_modules" | "__pycache__" | ".git") && !path.is_symlink()
    });
    entries
        .flat_map(|path| if path.is_dir() { files(&path) } else { vec![path] })
        .filter(|path| is_text(path))
        .collect()
}

fn is_text(path: &Path) -> bool {
    let ending = path.extension().or(path.file_name()).unwrap_or_default();
    ENDINGS.iter().any(|known| ending == *known)
}

/// A text in one line, without the marks of comments.
fn in_one_line(text: &str) -> String {
    let lines = text.lines().map(|line| line.trim().trim_start_matches(['/', '!', '#', '*']).trim_start());
    lines.collect::<Vec<_>>().join(" ").replace('_', " ").to_ascii_lowercase()
}

/// The banned words of a text, each with the words around it.
fn banned(text: &str) -> Vec<String> {
    let text = in_one_line(text);
    let is_letter = |c: char| c.is_ascii_alphabetic();
    let mut found = Vec::new();
    for word in BANNED {
        for (at, _) in text.match_indices(word) {
            let (before, after) = (&text[..at], &text[at + word.len()..]);
            if !before.ends_with(is_letter) && !after.starts_with(is_letter) {
                let lead: String = before.chars().rev().take(30).collect::<Vec<_>>().into_iter().rev().collect();
                let rest: String = after.chars().take(30).collect();
                found.push(format!("…{lead}{word}{rest}…"));
            }
        }
    }
    found
}

#[test]
fn no_source_and_no_page_has_a_banned_word() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").canonicalize().expect("it is there");
    let mut found = Vec::new();
    for file in files(&root) {
        let path = file.strip_prefix(&root).expect("it is below").to_string_lossy().replace('\\', "/");
        let Ok(text) = fs::read_to_string(&file) else { continue };
        let allowed = |around: &str| ALLOWED.iter().any(|(known, text, _)| path == *known && around.contains(text));
        found.extend(banned(&text).into_iter().filter(|at| !allowed(at)).map(|around| format!("{path}: {around}")));
    }
    assert!(found.is_empty(), "write it plainly:\n{}", found.join("\n"));
}

#[test]
fn a_banned_word_is_found_in_every_form() {
    for text in ["Nobody waits.", "/// for what\n    /// is kept", "fn what_is_kept_stays()", "`told`", "# so many\n"] {
        assert_eq!(banned(text).len(), 1, "{text}");
    }
    for text in ["It waits besides.", "somewhat isolated", "the stoldest", "a blest name", "sheared"] {
        assert!(banned(text).is_empty(), "{text}");
    }
}

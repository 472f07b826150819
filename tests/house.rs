//! The rules of the house, read off the sources: imports go downward, files stay readable, no `unsafe`, every file says
//! what it is.

use std::fs;
use std::path::{Path, PathBuf};

/// Modules by layer; neighbours in one layer do not see each other.
const LAYERS: &[&[&str]] = &[
    &["base"],
    &["stats", "sys"],
    &["protocol", "store"],
    &["command"],
    &["admin", "net"],
    &["options", "server", "terminal"],
];

/// Top-level modules that may see a neighbour: the server starts from the options.
const NEIGHBOURS_ALLOWED: &[(&str, &str)] = &[("server", "options")];

/// Modules that see nothing but these, however high they stand.
const SEES_ONLY: &[(&str, &[&str])] = &[("terminal", &["base"])];

/// Lines of a file without its tests.
const LINES_MAX: usize = 600;

struct Source {
    path: PathBuf,
    text: String,
}

fn sources() -> Vec<Source> {
    let mut found = Vec::new();
    let mut folders = vec![PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("src")];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).expect("readable folder") {
            let path = entry.expect("entry").path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let text = fs::read_to_string(&path).expect("readable source");
                found.push(Source { path, text });
            }
        }
    }
    assert!(found.len() > 20, "only {} sources found", found.len());
    found
}

/// The top-level module a file belongs to; `None` for `lib.rs` and `main.rs`.
fn module_of(path: &Path) -> Option<String> {
    let root = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("src");
    let first = path.strip_prefix(root).ok()?.components().next()?.as_os_str().to_str()?.to_owned();
    let name = first.trim_end_matches(".rs").to_owned();
    (name != "lib" && name != "main").then_some(name)
}

fn layer_of(module: &str) -> Option<usize> {
    LAYERS.iter().position(|layer| layer.contains(&module))
}

/// The part of a source before its test module.
fn without_tests(text: &str) -> &str {
    text.find("#[cfg(test)]\nmod tests {").map_or(text, |end| &text[..end])
}

/// Top-level modules of this crate that a line of code names.
fn named_modules(line: &str) -> impl Iterator<Item = &str> {
    let code = line.split("//").next().unwrap_or("");
    code.match_indices("crate::").map(move |(at, word)| {
        let rest = &code[at + word.len()..];
        let end = rest.find(|letter: char| !letter.is_alphanumeric() && letter != '_').unwrap_or(rest.len());
        &rest[..end]
    })
}

#[test]
fn imports_go_downward() {
    let mut wrong = Vec::new();
    for source in sources() {
        let Some(module) = module_of(&source.path) else { continue };
        let layer = layer_of(&module).unwrap_or_else(|| panic!("{module} is in no layer"));
        for (number, line) in without_tests(&source.text).lines().enumerate() {
            for named in named_modules(line).filter(|named| **named != *module) {
                let is_seen = SEES_ONLY.iter().all(|(only, seen)| *only != module || seen.contains(&named));
                let is_below = is_seen && layer_of(named).is_none_or(|other| other < layer);
                if !is_below && !NEIGHBOURS_ALLOWED.contains(&(&module, named)) {
                    wrong.push(format!("{}:{}: {module} sees {named}", source.path.display(), number + 1));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn files_stay_readable() {
    let mut wrong = Vec::new();
    for source in sources() {
        let name = source.path.display();
        let is_test = source.path.file_stem().and_then(|stem| stem.to_str()).is_some_and(|stem| {
            stem == "tests" || stem.ends_with("_tests") || stem == "testing" || stem.ends_with("_testing")
        });
        let lines = without_tests(&source.text).lines().count();
        if lines > LINES_MAX && !is_test {
            wrong.push(format!("{name}: {lines} lines"));
        }
        if !source.text.starts_with("//!") {
            wrong.push(format!("{name}: does not say what it is"));
        }
        for banned in ["use super::*;", "TODO", "FIXME", "todo!(", "unimplemented!(", "#[ignore", "#[should_panic"] {
            if without_tests(&source.text).contains(banned) && !is_test {
                wrong.push(format!("{name}: {banned}"));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn nothing_is_unsafe() {
    let manifest = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("Cargo.toml")).expect("Cargo.toml");
    assert!(manifest.contains("unsafe_code = \"forbid\""), "the lint that forbids unsafe is off");
    let wrong: Vec<String> = sources()
        .iter()
        .filter(|source| source.text.lines().any(|line| line.trim_start().starts_with("unsafe ")))
        .map(|source| source.path.display().to_string())
        .collect();
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

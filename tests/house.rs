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
    let found = sources_below(&["src"]);
    assert!(found.len() > 20, "only {} sources found", found.len());
    found
}

fn sources_below(names: &[&str]) -> Vec<Source> {
    let mut found = Vec::new();
    let mut folders: Vec<PathBuf> = names.iter().map(|name| Path::new(env!("CARGO_MANIFEST_DIR")).join(name)).collect();
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

/// Whether a file has tests, or what they need, and nothing else.
fn is_test(path: &Path) -> bool {
    path.file_stem().and_then(|stem| stem.to_str()).is_some_and(|stem| {
        stem == "tests" || stem.ends_with("_tests") || stem == "testing" || stem.ends_with("_testing")
    })
}

/// The part of a source before its test module, or its models.
fn without_tests(text: &str) -> &str {
    let begins = ["#[cfg(test)]\nmod tests {", "#[cfg(all(test, feature = \"loom\"))]\nmod models {"];
    let end = begins.iter().filter_map(|begin| text.find(begin)).min();
    end.map_or(text, |end| &text[..end])
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
        let is_test = is_test(&source.path);
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

/// What threads share comes from `base/sync`, so that the models see all of it. Channels between a few long-lived threads
/// are crossbeam's own business.
#[test]
fn threads_share_by_one_door() {
    let mut wrong = Vec::new();
    for source in sources().iter().filter(|source| !is_test(&source.path)) {
        if source.path.parent().is_some_and(|folder| folder.ends_with("base/sync")) {
            continue;
        }
        for (number, line) in without_tests(&source.text).lines().enumerate() {
            let words =
                ["parking_lot::", "std::sync::", "crossbeam_queue", "crossbeam_utils::", "mio::Waker", "Waker};"];
            let is_shared = words.iter().any(|word| line.contains(word));
            if is_shared && !["crate::base::sync::", "std::sync::mpsc::"].iter().any(|word| line.contains(word)) {
                wrong.push(format!("{}:{}: {line}", source.path.display(), number + 1));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// The crate of every package, tests and benchmarks too; the lint itself holds for all targets of a manifest.
#[test]
fn nothing_is_unsafe() {
    let manifests = [
        ("Cargo.toml", "forbid"),
        ("benches/Cargo.toml", "forbid"),
        ("protocol-tests/Cargo.toml", "forbid"),
        ("protocol-tests/clients/rust-memcache/Cargo.toml", "forbid"),
        // The macro of libfuzzer-sys that begins a target allows itself an attribute which counts as unsafe.
        ("protocol-tests/fuzz/Cargo.toml", "deny"),
    ];
    for (manifest, level) in manifests {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(manifest);
        let text = fs::read_to_string(path).expect("a manifest");
        assert!(text.contains(&format!("unsafe_code = \"{level}\"")), "{manifest}: the lint against unsafe is off");
    }
    let sources = sources_below(&["src", "tests", "benches", "protocol-tests"]);
    let folders = ["/src/", "/tests/", "/benches/src/", "/protocol-tests/src/", "/protocol-tests/clients/"];
    for folder in folders.into_iter().chain(["/protocol-tests/fuzz/src/", "/protocol-tests/fuzz/fuzz_targets/"]) {
        assert!(sources.iter().any(|source| source.path.to_string_lossy().contains(folder)), "no source in {folder}");
    }
    let is_unsafe = |line: &str| {
        let code = line.trim_start();
        ["unsafe ", "pub unsafe ", "#[allow(unsafe_code", "#![allow(unsafe_code"]
            .iter()
            .any(|start| code.starts_with(start))
    };
    let wrong: Vec<String> = sources
        .iter()
        .filter(|source| source.text.lines().any(is_unsafe))
        .map(|source| source.path.display().to_string())
        .collect();
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

//! Tests that a document names, and whether they are there: `text/limits.case: title`, `src/file.rs: name`, or
//! `tls: name` for a test of `protocol-tests/tests`.

use std::fs;
use std::path::{Path, PathBuf};

/// What stands between backquotes.
pub fn quoted(cell: &str) -> Vec<&str> {
    cell.split('`').skip(1).step_by(2).collect()
}

/// Whether a test is there.
pub fn is_there(test: &str) -> bool {
    let root = PathBuf::from(env!("CARGO_MANIFEST_DIR"));
    let tests = root.join("protocol-tests");
    let (place, name) = test.split_once(": ").unwrap_or((test, ""));
    // A name of one word is a function's; others are what a table of tests says.
    let wanted = if name.contains([' ', '=']) { name.to_owned() } else { format!("fn {name}()") };
    if place.ends_with(".case") {
        let text = read(&tests.join("cases").join(place)).unwrap_or_default();
        text.lines().any(|line| line.strip_prefix("== ") == Some(name))
    } else if place.ends_with(".rs") {
        read(&root.join(place)).unwrap_or_default().contains(&wanted)
    } else {
        let file = tests.join("tests").join(place).with_extension("rs");
        let folder = fs::read_dir(tests.join("tests").join(place)).into_iter().flatten();
        let mut files = folder.filter_map(|entry| Some(entry.ok()?.path())).chain([file]);
        files.any(|file| read(&file).unwrap_or_default().contains(&wanted))
    }
}

/// A text, if it is one.
pub fn read(path: &Path) -> Option<String> {
    fs::read_to_string(path).ok()
}

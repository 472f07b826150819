//! Tests as the documents name them, and whether there is one: `PLACE: NAME`, where the place is a transcript of
//! `protocol-tests/cases`, a file or folder of `protocol-tests/tests`, or a source.

use std::fs;
use std::path::{Path, PathBuf};

/// What stands between backquotes.
pub fn quoted(cell: &str) -> Vec<&str> {
    cell.split('`').skip(1).step_by(2).collect()
}

/// Whether there is a test of that name.
pub fn is_there(test: &str) -> bool {
    let root = PathBuf::from(env!("CARGO_MANIFEST_DIR"));
    let tests = root.join("protocol-tests");
    let read = |path: &Path| fs::read_to_string(path).unwrap_or_default();
    let (place, name) = test.split_once(": ").unwrap_or((test, ""));
    if place.ends_with(".case") {
        return read(&tests.join("cases").join(place)).lines().any(|line| line.strip_prefix("== ") == Some(name));
    }
    // A name of one word is a function's; others are what a table of tests says.
    let wanted = if name.contains([' ', '=']) { name.to_owned() } else { format!("fn {name}()") };
    if place.ends_with(".rs") {
        return read(&root.join(place)).contains(&wanted);
    }
    let file = tests.join("tests").join(place).with_extension("rs");
    let folder = fs::read_dir(tests.join("tests").join(place)).into_iter().flatten();
    let mut files = folder.filter_map(|entry| Some(entry.ok()?.path())).chain([file]);
    files.any(|file| read(&file).contains(&wanted))
}

//! `docs/dependencies.md` against the manifests and `Cargo.lock`: a reason for every crate that is named in a manifest, its
//! version and features as they are built, and the crates that come along.
//!
//! `SLABSTASH_WRITE_DEPENDENCIES=1 cargo test --test dependencies` writes all of it anew but the reasons, which are for people
//! to write. Licences, sources, duplicates and advisories are cargo-deny's: `./test --only deny`.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use std::path::Path;
use std::process::Command;
use std::{env, fs};

const PACKAGES: &[&str] = &["slabstash", "protocol-tests", "slabstash-bench"];

/// The lists of the document: heading, and what `cargo tree` is asked for. A list leaves out what those before it have.
const LISTS: &[(&str, &[&str])] = &[
    ("Linked into the daemon alone", &["-p", "slabstash", "--no-default-features", "-e", "normal,no-proc-macro"]),
    ("Added by `terminal`", &["-p", "slabstash", "-e", "normal,no-proc-macro"]),
    ("Added by building and by the tests", &["--workspace", "--all-features", "-e", "normal,build,dev"]),
];

const LINE_BYTES: usize = 120;

/// A direct dependency as it is built.
#[derive(Default)]
struct Direct {
    version: String,
    features: String,
    brings: BTreeSet<String>,
}

impl Direct {
    /// The cells of a row that are not for people to write.
    fn cells(&self, name: &str) -> String {
        let features = self.features.replace(',', ", ");
        format!("| `{name}` | {} | {features} | {} |", self.version, self.brings.len())
    }
}

/// Lines `DEPTH NAME VERSION FEATURES` for the machine that CI runs on, whatever this one is.
fn tree(words: &[&str]) -> Vec<(usize, String, String, String)> {
    let output = Command::new(env!("CARGO"))
        .args([
            "tree",
            "--locked",
            "--target",
            "x86_64-unknown-linux-gnu",
            "--prefix",
            "depth",
            "--no-dedupe",
            "-f",
            " {p}|{f}",
        ])
        .args(words)
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output()
        .expect("cargo runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8(output.stdout).expect("names are text");
    let parsed = text.lines().filter(|line| !line.is_empty()).map(|line| {
        let (package, features) = line.split_once('|')?;
        let mut words = package.split(' ');
        let (depth, name, version) = (words.next()?.parse().ok()?, words.next()?, words.next()?.strip_prefix('v')?);
        Some((depth, name.to_owned(), version.to_owned(), features.to_owned()))
    });
    parsed.collect::<Option<_>>().expect("lines of the format that was asked for")
}

fn is_ours(name: &str) -> bool {
    PACKAGES.contains(&name)
}

fn direct_dependencies(package: &str) -> BTreeMap<String, Direct> {
    let mut found: BTreeMap<String, Direct> = BTreeMap::new();
    let mut current = String::new();
    // As it is built by default; what only further features bring (models, the checkers) is as these build it.
    let of = |more: &[&str]| tree(&[&["-p", package, "-e", "normal,build,dev"], more].concat());
    for (depth, name, version, features) in of(&["--all-features"]).into_iter().chain(of(&[])) {
        match depth {
            0 => (),
            1 => {
                current.clone_from(&name);
                found.insert(name, Direct { version, features, ..Direct::default() });
            }
            _ => drop(found.get_mut(&current).expect("depth 1 comes before 2").brings.insert(name)),
        }
    }
    found.retain(|name, _| !is_ours(name));
    found
}

/// Where the text below `## heading` is.
fn section(document: &str, heading: &str) -> Range<usize> {
    let title = format!("\n## {heading}\n");
    let start = document.find(&title).unwrap_or_else(|| panic!("no section {heading}")) + title.len();
    start..document[start..].find("\n## ").map_or(document.len(), |length| start + length)
}

/// The table of a package with its own reasons, and everything else as it is.
fn table(package: &str, old: &str) -> String {
    let direct = direct_dependencies(package);
    let mut seen = BTreeSet::new();
    let mut new = String::new();
    for line in old.split_inclusive('\n') {
        match line.strip_prefix("| `").and_then(|rest| rest.split_once('`')) {
            None => new += line,
            Some((name, cells)) => {
                let dependency = direct.get(name).unwrap_or_else(|| panic!("{package} does not depend on {name}"));
                let reason = cells.splitn(5, '|').nth(4).unwrap_or_else(|| panic!("{name}: cells are missing")).trim();
                assert!(reason.trim_end_matches('|').trim().len() > 3, "{name} has no reason");
                new += &format!("{} {reason}\n", dependency.cells(name));
                seen.insert(name.to_owned());
            }
        }
    }
    let missing: Vec<_> = direct.keys().filter(|name| !seen.contains(*name)).collect();
    assert!(missing.is_empty(), "docs/dependencies.md has no reason for {missing:?} of {package}");
    new
}

#[test]
fn the_document_says_what_is_built() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/dependencies.md");
    let document = fs::read_to_string(&path).expect("docs/dependencies.md");
    let mut written = document.clone();
    for package in PACKAGES {
        let range = section(&written, &format!("`{package}`"));
        let new = table(package, &written[range.clone()]);
        written.replace_range(range, &new);
    }
    let mut seen = BTreeSet::new();
    for (heading, words) in LISTS {
        let names: BTreeSet<String> =
            tree(words).into_iter().map(|(_, name, ..)| name).filter(|name| !is_ours(name)).collect();
        let new: BTreeSet<String> = names.difference(&seen).cloned().collect();
        let list = format!("\n{} crates.\n\n```text\n{}```\n", new.len(), folded(&new));
        let range = section(&written, heading);
        written.replace_range(range, &list);
        seen.extend(names);
    }
    if env::var_os("SLABSTASH_WRITE_DEPENDENCIES").is_some() {
        fs::write(&path, &written).expect("the document can be written");
    } else {
        assert!(
            document == written,
            "docs/dependencies.md is old: run SLABSTASH_WRITE_DEPENDENCIES=1 cargo test --test dependencies"
        );
    }
}

/// Names in lines of readable length.
fn folded(names: &BTreeSet<String>) -> String {
    let mut lines = vec![String::new()];
    for name in names {
        let line = lines.last_mut().expect("there is always one");
        if line.is_empty() {
            line.clone_from(name);
        } else if line.len() + 1 + name.len() <= LINE_BYTES {
            *line += &format!(" {name}");
        } else {
            lines.push(name.clone());
        }
    }
    lines.join("\n") + "\n"
}

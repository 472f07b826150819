//! `docs/faults.md` names tests that there are: each fault has a test or a drill, each test and drill exists, and no test of
//! the faults is left out.

mod cited;

use std::fs;
use std::path::PathBuf;

use cited::{is_there, quoted, read};

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

fn document(name: &str) -> String {
    read(&root().join("docs").join(name)).expect("a document")
}

/// The rows of the tables of a document, as cells.
fn rows(text: &str) -> Vec<Vec<&str>> {
    let rows = text.lines().filter(|line| line.starts_with("| ") && !line.contains("---"));
    rows.map(|row| row.trim_matches('|').split('|').map(str::trim).collect()).collect()
}

/// The faults and what went wrong elsewhere: the first cell, and the last, which is about tests.
fn faults(text: &str) -> Vec<(&str, &str)> {
    let named = rows(text).into_iter().map(|cells| (cells[0], *cells.last().expect("a cell")));
    named.filter(|(fault, _)| !["Fault", ""].contains(fault)).collect()
}

/// A test without a place is one of the faults'.
fn with_place(test: &str) -> String {
    if test.contains(": ") { test.to_owned() } else { format!("faults: {test}") }
}

#[test]
fn every_fault_has_tests_or_drills_that_exist() {
    let text = document("faults.md");
    let faults = faults(&text);
    assert!(faults.len() > 80, "{} faults", faults.len());
    let drills = drills(&text);
    let mut wrong = Vec::new();
    for (fault, cell) in faults {
        let named = cell.split("drill ").skip(1).filter_map(|rest| rest.split([',', ' ']).next());
        let named: Vec<&str> = named.collect();
        if quoted(cell).is_empty() && named.is_empty() {
            wrong.push(format!("{fault}: no test and no drill"));
        }
        let tests = quoted(cell).into_iter().filter(|test| !is_there(&with_place(test)));
        wrong.extend(tests.map(|test| format!("{fault}: there is no {test}")));
        let missing = named.into_iter().filter(|number| !drills.iter().any(|(other, _)| other == number));
        wrong.extend(missing.map(|number| format!("{fault}: there is no drill {number}")));
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// The drills by number, with their text.
fn drills(text: &str) -> Vec<(&str, String)> {
    let (_, section) = text.split_once("\n## Drills\n").expect("drills");
    let section = section.split("\n## ").next().unwrap_or_default();
    let mut drills: Vec<(&str, String)> = Vec::new();
    for line in section.lines() {
        let begin = line.split_once(". ").filter(|(number, _)| number.parse::<u32>().is_ok());
        if let Some((number, text)) = begin {
            drills.push((number, text.to_owned()));
        } else if let Some((_, text)) = drills.last_mut() {
            text.push_str(line);
        }
    }
    drills
}

/// A drill says when it was done, and what came out.
#[test]
fn drills_were_done() {
    let text = document("faults.md");
    let drills = drills(&text);
    assert!(drills.len() >= 3, "{} drills", drills.len());
    let undone = drills.iter().filter(|(_, text)| !text.contains(" 20") || !text.contains("Done on "));
    let undone: Vec<&str> = undone.map(|(number, _)| *number).collect();
    assert!(undone.is_empty(), "not done: {undone:?}");
}

/// What `tests/faults` of the protocol tests tries is told to those who run the daemon.
#[test]
fn no_test_of_the_faults_is_left_out() {
    let text = document("faults.md");
    let named: Vec<&str> = faults(&text).into_iter().flat_map(|(_, cell)| quoted(cell)).collect();
    let folder = root().join("protocol-tests/tests/faults");
    let mut left_out = Vec::new();
    for file in fs::read_dir(folder).expect("readable folder") {
        let source = read(&file.expect("entry").path()).expect("readable source");
        let tests = source.split("#[test]\n").skip(1).filter_map(|rest| rest.split_once("fn ")?.1.split('(').next());
        left_out.extend(tests.filter(|test| !named.contains(test)).map(str::to_owned));
    }
    assert!(left_out.is_empty(), "not in docs/faults.md: {left_out:?}");
}

//! `docs/testing.md` names tests that exist, one at least for each finding, and its links lead somewhere.

mod cited;

use std::fs;
use std::path::PathBuf;

use cited::quoted;

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

fn text() -> String {
    fs::read_to_string(root().join("docs/testing.md")).expect("docs/testing.md")
}

/// The rows of a table by its first words, as cells.
fn rows(first: &str) -> Vec<Vec<String>> {
    let text = text();
    let table = text.split_once(first).unwrap_or_else(|| panic!("no table '{first}'")).1;
    let lines = table.lines().skip(1).take_while(|line| line.starts_with('|')).filter(|line| !line.contains("---"));
    lines.map(|line| line.split('|').map(|cell| cell.trim().to_owned()).collect()).collect()
}

#[test]
fn every_finding_has_a_test() {
    let findings = rows("| | defect | found by | test |");
    assert!(findings.len() > 20, "{} findings", findings.len());
    let mut wrong = Vec::new();
    for (index, cells) in findings.iter().enumerate() {
        assert_eq!((cells.len(), cells[1].parse()), (6, Ok(index + 1)), "{cells:?}");
        let tests = quoted(&cells[4]);
        if tests.is_empty() {
            wrong.push(format!("finding {}: no test", cells[1]));
        }
        wrong.extend(tests.iter().filter(|test| !cited::is_there(test)).map(|test| format!("there is no {test}")));
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// What the first table names is a file of tests.
#[test]
fn every_method_is_there() {
    let methods = rows("| method | how much | in `./test` | findings |");
    assert!(methods.len() > 10, "{} methods", methods.len());
    let mut named = 0;
    for cells in &methods {
        for name in quoted(&cells[1]) {
            named += 1;
            let places = [format!("protocol-tests/tests/{name}.rs"), format!("src/{name}")];
            assert!(places.iter().any(|place| root().join(place).exists()), "there is no {name}");
        }
        // The findings of a method are in the second table.
        for number in cells[4].split([',', ' ', '-']).filter_map(|word| word.parse::<usize>().ok()) {
            assert!((1..=rows("| | defect | found by | test |").len()).contains(&number), "{cells:?}");
        }
    }
    assert!(named >= 4, "{named} names");
}

#[test]
fn links_lead_somewhere() {
    let text = text();
    let links: Vec<&str> = text.split("](").skip(1).filter_map(|rest| Some(rest.split_once(')')?.0)).collect();
    assert!(links.len() > 5, "{links:?}");
    for link in links {
        let path = link.split('#').next().unwrap_or(link);
        assert!(root().join("docs").join(path).exists(), "there is no {link}");
    }
}

/// The parts of `./test`, and the words of README.md that say so.
const PARTS: [(&str, &str); 16] = [
    ("fmt", "formatting"),
    ("clippy", "clippy"),
    ("deny", "cargo-deny"),
    ("tests", "unit and wire tests"),
    ("concurrency", "models of what threads share"),
    ("thread_sanitizer", "ThreadSanitizer"),
    ("reference", "Debian's memcached"),
    ("release", "the release build"),
    ("clients", "real clients"),
    ("soak", "half a minute of the soak"),
    ("package", "the packages"),
    ("dashboard", "dashboard in a browser"),
    ("bench", "every benchmark"),
    ("fuzz", "the fuzz targets"),
    ("suite", "memcached's own suite"),
    ("suite_tls", "memcached's own suite"),
];

#[test]
fn the_readme_tells_of_every_part() {
    let read = |name: &str| fs::read_to_string(root().join(name)).expect("a readable file");
    let (script, readme) = (read("test"), read("README.md"));
    let table =
        script.split_once("parts=\"\n").and_then(|(_, rest)| rest.split_once("\n\"")).expect("the table of parts").0;
    let names: Vec<&str> = table.lines().map(|line| line.split('|').next().unwrap_or(line).trim()).collect();
    assert_eq!(names, PARTS.map(|(name, _)| name));
    let told = readme.split_once("\n## Tests\n").and_then(|(_, rest)| rest.split_once("\n## ")).expect("a section").0;
    let told = told.split_whitespace().collect::<Vec<_>>().join(" ");
    let mut from = 0;
    for (name, words) in PARTS {
        let at = told[from..].find(words).unwrap_or_else(|| panic!("README.md does not tell of {name} in its place"));
        from += at;
    }
}

//! `docs/limits.md` is what the code is: its values are those of the constants and of an empty command line, its tests
//! exist, and no bound of the source is missing.

mod cited;

use std::fs;
use std::path::PathBuf;

use cited::{is_there, quoted, read};
use slabstash::options::{Invocation, Parsed, parse, settings_report};

/// A row of a table.
struct Row {
    limit: String,
    value: String,
    set_by: String,
    tests: String,
}

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

/// The rows that have a value and what sets it: those of the first table and the last.
fn rows() -> Vec<Row> {
    let text = read(&root().join("docs/limits.md")).expect("docs/limits.md");
    let cells = |line: &str| line.split('|').map(|cell| cell.trim().to_owned()).collect::<Vec<_>>();
    let rows: Vec<Row> = text
        .lines()
        .filter(|line| line.starts_with("| ") && !line.contains("---"))
        .map(cells)
        .filter(|cells| cells.len() >= 5 && !cells[2].is_empty() && !["Value", "At most"].contains(&cells[2].as_str()))
        .map(|cells| Row {
            limit: cells[1].clone(),
            value: cells[2].clone(),
            set_by: cells[3].clone(),
            // The last one; behind it there is what follows the last bar.
            tests: cells[cells.len() - 2].clone(),
        })
        .collect();
    assert!(rows.len() > 100, "{} rows", rows.len());
    rows
}

/// A value in the smallest unit: bytes, milliseconds, or as it is.
fn number_of(value: &str) -> Option<u64> {
    let mut words = value.split([' ', ',']);
    let number: u64 = words.next()?.parse().ok()?;
    let factor = match words.next() {
        Some("KiB") => 1 << 10,
        Some("MiB") => 1 << 20,
        Some("GiB") => 1 << 30,
        Some("s") => 1000,
        _ => 1,
    };
    Some(number * factor)
}

/// The file of a constant by its path, and its name.
fn place_of(path: &str) -> Option<(PathBuf, &str)> {
    let (module, name) = path.rsplit_once("::")?;
    let is_constant =
        name.chars().all(|letter| letter.is_ascii_uppercase() || letter.is_ascii_digit() || letter == '_');
    let folder = root().join("src").join(module.replace("::", "/"));
    let file = [folder.with_extension("rs"), folder.join("mod.rs")].into_iter().find(|file| file.exists())?;
    is_constant.then_some((file, name))
}

/// The type and the text of a constant.
fn constant(source: &str, name: &str) -> Option<(String, String)> {
    let start = source.find(&format!("const {name}: "))?;
    let (declared, text) = source[start..].split_once(';')?.0.split_once('=')?;
    Some((declared.rsplit(' ').nth(1)?.to_owned(), text.trim().to_owned()))
}

/// Where constants come from that others are made of.
const IMPORTED_FROM: [&str; 3] = ["src/base/key.rs", "src/base/sizes.rs", "src/store/slab/regions.rs"];

/// The value of a constant's text: sums of products of numbers and of other constants, shifts, and durations.
fn evaluate(text: &str, source: &str) -> Option<u64> {
    if let Some(rest) = text.strip_prefix("Duration::from_") {
        let (unit, number) = rest.strip_suffix(')')?.split_once('(')?;
        return Some(number.parse::<u64>().ok()? * if unit == "secs" { 1000 } else { 1 });
    }
    let text = text.strip_prefix('(').and_then(|text| text.strip_suffix(')')).unwrap_or(text);
    if let Some((left, right)) = text.split_once(" << ") {
        return Some(evaluate(left, source)? << evaluate(right, source)?);
    }
    if let Some((left, right)) = text.split_once(" + ") {
        return Some(evaluate(left, source)? + evaluate(right, source)?);
    }
    if let Some((left, right)) = text.split_once(" - ") {
        return Some(evaluate(left, source)? - evaluate(right, source)?);
    }
    if let Some((left, right)) = text.split_once(" * ") {
        return Some(evaluate(left, source)? * evaluate(right, source)?);
    }
    if let Some((left, right)) = text.split_once(" / ") {
        return Some(evaluate(left, source)? / evaluate(right, source)?);
    }
    if text == "u8::MAX as usize" {
        return Some(u64::from(u8::MAX));
    }
    let number = text.replace('_', "");
    number.parse().ok().or_else(|| {
        let (_, text) = constant(source, text).or_else(|| {
            let others = IMPORTED_FROM.iter().filter_map(|path| read(&root().join(path)));
            others.into_iter().find_map(|other| constant(&other, text))
        })?;
        evaluate(&text, source)
    })
}

#[test]
fn values_are_those_of_the_source() {
    let mut wrong = Vec::new();
    let mut checked = 0;
    for row in rows() {
        for (file, name) in quoted(&row.set_by).into_iter().filter_map(place_of) {
            let source = read(&file).expect("readable source");
            let Some((kind, text)) = constant(&source, name) else {
                wrong.push(format!("{}: there is no {name} in {}", row.limit, file.display()));
                continue;
            };
            let Some(value) = evaluate(&text, &source) else {
                wrong.push(format!("{}: {name} = {text} is not understood", row.limit));
                continue;
            };
            let is_seconds = kind != "Duration" && row.value.ends_with(" s");
            let value = if is_seconds { value * 1000 } else { value };
            checked += 1;
            if number_of(&row.value) != Some(value) {
                wrong.push(format!("{}: {} is {name} = {value}", row.limit, row.value));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(checked > 100, "{checked} constants");
}

#[test]
fn values_are_those_of_an_empty_command_line() {
    let invocation = Invocation { program: "slabstash".into(), core_count: 4, ..Invocation::default() };
    let Ok(Parsed::Run(options)) = parse(&invocation) else { panic!("an empty command line runs") };
    let settings = settings_report(&options);
    let mut checked = 0;
    for row in rows().iter().filter(|row| row.set_by.ends_with("`)")) {
        let name = quoted(&row.set_by)[1];
        let (_, value) = settings.iter().find(|(setting, _)| *setting == name).expect(name);
        assert_eq!(number_of(&row.value), value.parse().ok(), "{}: {} is {name} {value}", row.limit, row.value);
        checked += 1;
    }
    assert!(checked >= 10, "{checked} options");
}

#[test]
fn every_limit_has_tests_that_exist() {
    let mut wrong = Vec::new();
    for row in rows() {
        let named = quoted(&row.tests);
        if named.is_empty() {
            wrong.push(format!("{}: no test", row.limit));
        }
        for test in named {
            if !is_there(test) {
                wrong.push(format!("{}: there is no {test}", row.limit));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// What is used above `-m` has a test for each kind.
#[test]
fn what_is_used_above_the_limit_is_tested() {
    let text = read(&root().join("docs/limits.md")).expect("docs/limits.md");
    let section =
        text.split_once("\n## Memory above `-m`\n").and_then(|(_, rest)| rest.split_once("\n## ")).expect("it").0;
    let rows: Vec<&str> = section.lines().filter(|line| line.starts_with("| a ")).collect();
    assert!(rows.len() >= 5, "{rows:?}");
    for row in rows {
        let tests: Vec<&str> = quoted(row).into_iter().filter(|word| word.contains(": ")).collect();
        assert!(!tests.is_empty() && tests.iter().all(|test| cited::is_there(test)), "{row}");
    }
}

/// The terminal's commands are clients, and bound themselves.
const OTHERS: [&str; 1] = ["terminal"];

/// What bounds nothing that grows.
const NO_LIMITS: [&str; 35] = [
    // How far models look.
    "base::sync::model::BRANCHES_MAX",
    "base::sync::model::PREEMPTIONS_MAX",
    // Thresholds: of warnings, of what counts as small or hot, of what is worth its while.
    "admin::warnings::CONNECTIONS_SHARE_MAX",
    "admin::warnings::CERTIFICATE_DAYS_MIN",
    "admin::warnings::EVICTED_AGE_SECONDS_MIN",
    "command::output::SMALL_VALUE_BYTES_MAX",
    "stats::hot_keys::SAMPLES_MIN",
    "server::config::HUGE_PAGES_LIMIT_MIN",
    "server::config::PARTITION_BYTES_MIN",
    "store::chunks::MAPPED_BYTES_MIN",
    // The least that anything of the kind has: a buffer, a step, a share, a table, a line that is complete.
    "command::login::hashed::HASH_BYTES_MIN",
    "command::login::hashed::SALT_BYTES_MIN",
    "command::login::text::INPUT_BYTES_MIN",
    "command::login::text::LINE_BYTES_MIN",
    "net::tls::workspace::SEND_BYTES_MIN",
    "protocol::text::line::LINE_BYTES_MIN",
    "stats::events::BUFFER_BYTES_MIN",
    "store::HASH_POWER_MIN",
    "store::index::BUCKETS_MIN",
    "store::lru::ghosts::ITEMS_MIN",
    "store::lru::quick_demotion::HOT_ITEMS_MIN",
    "store::rebalance::WORK_MIN",
    "store::slab::bins::SPAN_BYTES_MIN",
    "store::slab::bins::STEP_BYTES_MIN",
    "store::slab::budget::BORROWED_BYTES_MIN",
    "store::slab::budget::RESERVE_BYTES_MIN",
    // Windows, and what follows from the layout of an item, a bucket or the table of classes.
    "store::rebalance::WINDOW_BYTES_MIN",
    "store::automove::PAGES_FREE_KEPT",
    "store::index::CHAIN_ITEMS_MAX",
    "store::item::CAS_NARROW_MAX",
    "store::item::HEAD_BYTES_MAX",
    "store::item::INLINE_VALUE_BYTES_MAX",
    "store::slab::bins::NOMINAL_OVERHEAD_MAX",
    "store::slab::bins::NOMINAL_OVERHEAD_MIN",
    "store::slab::classes::CLASS_MAX",
];

#[test]
fn no_bound_is_missing() {
    let named: Vec<String> =
        rows().iter().flat_map(|row| quoted(&row.set_by).into_iter().map(str::to_owned).collect::<Vec<_>>()).collect();
    let mut missing = Vec::new();
    let mut folders = vec![root().join("src")];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).expect("readable folder") {
            let path = entry.expect("entry").path();
            let name = path.file_name().and_then(|name| name.to_str()).expect("a name");
            if path.is_dir() {
                if !OTHERS.contains(&name) {
                    folders.push(path);
                }
            } else if name.ends_with(".rs") && !name.contains("test") {
                let module = path.strip_prefix(root().join("src")).expect("below src").with_extension("");
                let module = module.display().to_string().replace('/', "::").trim_end_matches("::mod").to_owned();
                let source = read(&path).expect("readable source");
                let paths = bounds(&source).map(|name| format!("{module}::{name}"));
                missing.extend(paths.filter(|path| !named.contains(path) && !NO_LIMITS.contains(&path.as_str())));
            }
        }
    }
    assert!(missing.is_empty(), "not in docs/limits.md: {}", missing.join(", "));
}

/// Names of constants that bound something, by how they end.
fn bounds(source: &str) -> impl Iterator<Item = &str> {
    let source = source.find("#[cfg(test)]\nmod tests {").map_or(source, |end| &source[..end]);
    source.lines().filter_map(|line| {
        let (before, rest) = line.trim_start().split_once("const ")?;
        let name = rest.split_once(": ")?.0;
        let is_bound = [
            "_MAX",
            "_MAX_32",
            "_MAX_64",
            "_PER_TURN",
            "_PER_POLL",
            "_PER_HOLD",
            "_PER_STEP",
            "_PER_MESSAGE",
            "_AT_ONCE",
            "_MIN",
            "_KEPT",
            "_TIMEOUT",
            "_TIMEOUT_SECONDS",
        ];
        ((before.is_empty() || before.starts_with("pub")) && is_bound.iter().any(|end| name.ends_with(end)))
            .then_some(name)
    })
}

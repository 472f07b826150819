//! `slabstash keys`: which keys a node holds, filtered, listed or counted.

use std::collections::HashMap;
use std::io::{BufWriter, IsTerminal, Write, stdout};

use super::address::Address;
use super::arguments::{Arguments, Command, Flag};
use super::connection::{Access, Connection};
use super::failure::Failure;
use super::listing::{Dump, Entry, Facts, Listing};
use super::progress::Progress;
use super::text::{self, base64, json_object, json_string, printable};
use crate::base::key;

/// The command's row.
pub const COMMAND: Command = Command {
    name: "keys",
    summary: "list or count the keys of a node",
    words: "[ADDRESS] [FLAGS]",
    about: &[
        "Lists what a node holds: seconds to live, slab class, bytes, whether it was fetched since it was stored, seconds\n\
         since its last access, key. Bytes that a terminal cannot show stand as \\xNN. The node lists while it serves;\n\
         what is stored meanwhile may be missing, and in memcached what moves between its lists meanwhile. Nodes that\n\
         run with -X refuse.",
    ],
    flags: &[
        Flag { short: Some('p'), name: "prefix", value: "TEXT", help: "only keys that begin so" },
        Flag { short: Some('c'), name: "class", value: "N[,N...]", help: "only items of these slab classes" },
        Flag { short: None, name: "ttl-below", value: "SECONDS", help: "only items that live shorter than that" },
        Flag { short: None, name: "ttl-above", value: "SECONDS", help: "only items that live longer, or for ever" },
        Flag { short: Some('l'), name: "limit", value: "N", help: "stop after N keys" },
        Flag { short: Some('n'), name: "names", value: "", help: "print keys only" },
        Flag { short: None, name: "raw", value: "", help: "print the node's lines, as memcached-tool does" },
        Flag { short: Some('j'), name: "json", value: "", help: "print a JSON object for each key" },
        Flag { short: None, name: "count", value: "", help: "print how many keys there are and their bytes" },
        Flag { short: None, name: "count-by", value: "WHAT", help: "the same by prefix, class or ttl" },
        Flag { short: None, name: "delimiter", value: "TEXT", help: "where a key's prefix ends (default: a colon)" },
    ],
    exit: &[(0, "listed to the end, or to the limit"), (1, "the node did not answer, or refused")],
    examples: &[
        ("slabstash keys --prefix session: --limit 20", "some of the keys that begin with session:"),
        ("slabstash keys cache-1 --count-by prefix", "who uses the memory"),
        ("slabstash keys --ttl-above 864000 --names", "keys that live longer than ten days"),
    ],
    run,
};

/// Which entries are wanted.
#[derive(Default)]
struct Filter {
    prefix: Vec<u8>,
    classes: Vec<u32>,
    ttl_below: Option<i64>,
    ttl_above: Option<i64>,
}

/// What is done with them.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Shape {
    Table,
    Names,
    Raw,
    Json,
    Count(Option<Group>),
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Group {
    Prefix,
    Class,
    Ttl,
}

fn run(arguments: &Arguments) -> Result<u8, Failure> {
    let address = Address::parse_one(&arguments.words)?;
    let access = arguments.access()?;
    let filter = Filter::of(arguments)?;
    let shape = shape(arguments)?;
    let limit = arguments.number("limit", 1, u64::MAX)?.unwrap_or(u64::MAX);
    let delimiter = arguments.text("delimiter").unwrap_or(":").as_bytes();

    let mut connection = Connection::open(&address, &access)?;
    let general = connection.stats("")?;
    let now = general.number("time").and_then(|time| i64::try_from(time).ok()).unwrap_or(0);
    let mut listing = start(connection, &access, shape, &filter)?;

    // On a terminal the listing itself is what moves.
    let is_shown = matches!(shape, Shape::Count(_)) || !stdout().is_terminal();
    let progress = is_shown.then(|| Progress::items(general.number("curr_items")));
    let mut out = BufWriter::new(stdout().lock());
    let mut counts = Counts::default();
    let mut matched = 0;
    if shape == Shape::Table {
        writeln!(out, "{HEADING}").map_err(Failure::output)?;
    }
    while matched < limit
        && let Some(entry) = listing.next_entry()?
    {
        if let Some(progress) = &progress {
            progress.advance(1);
        }
        if !filter.takes(&entry, now) {
            continue;
        }
        matched += 1;
        match shape {
            Shape::Count(group) => counts.add(&entry, group, delimiter, now),
            shape => writeln!(out, "{}", line(&entry, shape, now)).map_err(Failure::output)?,
        }
    }
    drop(progress);
    if let Shape::Count(group) = shape {
        out.write_all(counts.table(group).as_bytes()).map_err(Failure::output)?;
    }
    out.flush().map_err(Failure::output)?;
    Ok(0)
}

/// Names alone need less of the node, where it has `mgdump` and nothing else is asked for.
fn start(connection: Connection, access: &Access, shape: Shape, filter: &Filter) -> Result<Listing, Failure> {
    let needs_facts = shape != Shape::Names || filter.ttl_below.is_some() || filter.ttl_above.is_some();
    if needs_facts {
        return Listing::start(connection, Dump::Meta, &filter.classes);
    }
    let address = connection.address().clone();
    match Listing::start(connection, Dump::Keys, &filter.classes) {
        Err(Failure::Answer { line, .. }) if line.starts_with("ERROR") => {
            Listing::start(Connection::open(&address, access)?, Dump::Meta, &filter.classes)
        }
        answered => answered,
    }
}

fn shape(arguments: &Arguments) -> Result<Shape, Failure> {
    let by = match arguments.text("count-by") {
        None => None,
        Some("prefix") => Some(Group::Prefix),
        Some("class") => Some(Group::Class),
        Some("ttl") => Some(Group::Ttl),
        Some(other) => return Err(Failure::Usage(format!("--count-by {other:?} is not prefix, class or ttl"))),
    };
    let has_count = by.is_some() || arguments.has("count");
    let wanted = [
        (has_count, Shape::Count(by)),
        (arguments.has("names"), Shape::Names),
        (arguments.has("raw"), Shape::Raw),
        (arguments.has("json"), Shape::Json),
    ];
    let mut chosen = wanted.into_iter().filter(|(is_wanted, _)| *is_wanted).map(|(_, shape)| shape);
    match (chosen.next(), chosen.next()) {
        (None, _) => Ok(Shape::Table),
        (Some(shape), None) => Ok(shape),
        _ => Err(Failure::Usage("only one of --names, --raw, --json and --count".to_owned())),
    }
}

impl Filter {
    fn of(arguments: &Arguments) -> Result<Filter, Failure> {
        let mut classes = Vec::new();
        for word in arguments.text("class").into_iter().flat_map(|text| text.split(',')) {
            let class = word.parse().ok().filter(|class| (1..64).contains(class));
            classes.push(class.ok_or_else(|| Failure::Usage(format!("--class {word:?} is no slab class, 1 to 63")))?);
        }
        Ok(Filter {
            prefix: arguments.text("prefix").unwrap_or_default().as_bytes().to_vec(),
            classes,
            ttl_below: arguments.number("ttl-below", 0, i64::MAX)?,
            ttl_above: arguments.number("ttl-above", 0, i64::MAX)?,
        })
    }

    fn takes(&self, entry: &Entry, now: i64) -> bool {
        let is_within = |facts: Facts| match ttl(facts, now) {
            None => self.ttl_below.is_none(),
            Some(ttl) => self.ttl_below.is_none_or(|most| ttl < most) && self.ttl_above.is_none_or(|least| ttl > least),
        };
        entry.key.starts_with(&self.prefix) && entry.facts.is_none_or(is_within)
    }
}

/// Seconds to live; `None` is for ever.
fn ttl(facts: Facts, now: i64) -> Option<i64> {
    facts.expires.map(|expires| expires.saturating_sub(now))
}

fn line(entry: &Entry, shape: Shape, now: i64) -> String {
    let key = printable(&entry.key);
    let Some(facts) = entry.facts.filter(|_| shape != Shape::Names) else { return key };
    let ttl = ttl(facts, now);
    let idle = now.saturating_sub(facts.accessed).max(0);
    let fetched = if facts.is_fetched { "yes" } else { "no" };
    match shape {
        Shape::Raw => {
            let mut encoded = Vec::new();
            key::uri_encode(&entry.key, &mut encoded);
            format!(
                "key={} exp={} la={} cas={} fetch={fetched} cls={} size={}",
                String::from_utf8_lossy(&encoded),
                facts.expires.unwrap_or(-1),
                facts.accessed,
                facts.cas,
                facts.class,
                facts.bytes,
            )
        }
        Shape::Json => {
            let name = match std::str::from_utf8(&entry.key) {
                Ok(key) => ("key", json_string(key)),
                Err(_) => ("key_base64", json_string(&base64(&entry.key))),
            };
            json_object(&[
                name,
                ("ttl_seconds", ttl.map_or("null".to_owned(), |ttl| ttl.to_string())),
                ("class", facts.class.to_string()),
                ("bytes", facts.bytes.to_string()),
                ("fetched", facts.is_fetched.to_string()),
                ("idle_seconds", idle.to_string()),
                ("cas", facts.cas.to_string()),
                ("flags", facts.flags.map_or("null".to_owned(), |flags| flags.to_string())),
            ])
        }
        _ => {
            let ttl = ttl.map_or("-".to_owned(), |ttl| ttl.to_string());
            format!("{ttl:>10} {:>5} {:>8} {fetched:>7} {idle:>7}  {key}", facts.class, facts.bytes)
        }
    }
}

/// Keys and bytes, in all and by group.
#[derive(Default)]
struct Counts {
    all: (u64, u64),
    groups: HashMap<Vec<u8>, (u64, u64)>,
}

impl Counts {
    fn add(&mut self, entry: &Entry, group: Option<Group>, delimiter: &[u8], now: i64) {
        let bytes = entry.facts.map_or(0, |facts| facts.bytes);
        add(&mut self.all, bytes);
        let name = match (group, entry.facts) {
            (Some(Group::Prefix), _) => prefix(&entry.key, delimiter).to_vec(),
            (Some(Group::Class), Some(facts)) => format!("{:>2}", facts.class).into_bytes(),
            (Some(Group::Ttl), Some(facts)) => ttl_group(ttl(facts, now)).as_bytes().to_vec(),
            _ => return,
        };
        // A cache without any order in its keys must not fill our memory.
        let is_room = self.groups.len() < GROUPS_MAX || self.groups.contains_key(&name);
        let name = if is_room { name } else { b"(others)".to_vec() };
        add(self.groups.entry(name).or_default(), bytes);
    }

    fn table(&self, group: Option<Group>) -> String {
        let (keys, bytes) = self.all;
        let mut table = String::new();
        let mut rows: Vec<(&[u8], (u64, u64))> = self.groups.iter().map(|(name, sums)| (&name[..], *sums)).collect();
        match group {
            Some(Group::Ttl) => rows.sort_by_key(|(name, _)| {
                TTL_GROUPS.iter().position(|row| row.1.as_bytes() == *name).unwrap_or(TTL_GROUPS.len())
            }),
            _ => rows.sort_by_key(|(name, (keys, bytes))| (std::cmp::Reverse((*bytes, *keys)), *name)),
        }
        if group.is_some() {
            table.push_str("      keys       bytes  share  \n");
        }
        for (name, (keys, count)) in rows {
            let share = if bytes == 0 { 0.0 } else { count as f64 / bytes as f64 };
            table.push_str(&format!("{keys:>10} {count:>11} {:>6}  {}\n", text::percent(share), printable(name)));
        }
        table.push_str(&format!("{keys} keys, {bytes} bytes ({})\n", text::bytes(bytes)));
        table
    }
}

fn add(sums: &mut (u64, u64), bytes: u64) {
    sums.0 += 1;
    sums.1 = sums.1.saturating_add(bytes);
}

/// What stands before the first delimiter, with it; all keys without one are together.
fn prefix<'a>(key: &'a [u8], delimiter: &[u8]) -> &'a [u8] {
    if delimiter.is_empty() {
        return b"";
    }
    match key.windows(delimiter.len()).position(|window| window == delimiter) {
        Some(at) => &key[..at + delimiter.len()],
        None => b"(no prefix)",
    }
}

fn ttl_group(ttl: Option<i64>) -> &'static str {
    let Some(ttl) = ttl else { return TTL_FOR_EVER };
    TTL_GROUPS.iter().find(|(below, _)| ttl < *below).map_or(TTL_FOR_EVER, |(_, name)| name)
}

const HEADING: &str = "       TTL CLASS    BYTES FETCHED    IDLE  KEY";

const TTL_FOR_EVER: &str = "for ever";

/// Seconds below which a group ends.
const TTL_GROUPS: &[(i64, &str)] = &[
    (1, "expired"),
    (60, "below 1 minute"),
    (3600, "below 1 hour"),
    (86_400, "below 1 day"),
    (604_800, "below 1 week"),
    (2_592_000, "below 30 days"),
    (i64::MAX, "30 days and more"),
];

/// Prefixes that are counted apart.
const GROUPS_MAX: usize = 100_000;

#[cfg(test)]
mod tests {
    use super::super::listing::entry;
    use super::*;
    use std::ffi::OsString;

    fn arguments(line: &str) -> Arguments {
        let words: Vec<OsString> = line.split_whitespace().map(OsString::from).collect();
        Arguments::parse(&COMMAND, &words).expect("a right command line")
    }

    fn entries() -> Vec<Entry> {
        [
            "key=user%3A1 exp=1100 la=990 cas=3 fetch=yes cls=1 size=63 flags=7 ",
            "key=user%3A%00 exp=-1 la=900 cas=4 fetch=no cls=2 size=137",
            "key=plain exp=5000 la=1000 cas=5 fetch=no cls=2 size=200",
        ]
        .map(|line| entry(line.as_bytes()).expect("an entry"))
        .to_vec()
    }

    #[track_caller]
    fn check_filter(line: &str, expected: &[usize]) {
        let filter = Filter::of(&arguments(line)).unwrap_or_default();
        let entries = entries();
        let taken: Vec<usize> = (0..entries.len()).filter(|at| filter.takes(&entries[*at], 1000)).collect();
        assert_eq!(taken, expected, "{line}");
    }

    #[test]
    fn filters_are_put_together() {
        check_filter("", &[0, 1, 2]);
        check_filter("--prefix user:", &[0, 1]);
        check_filter("--ttl-below 101", &[0]);
        check_filter("--ttl-below 100", &[]);
        check_filter("--ttl-above 100", &[1, 2]);
        check_filter("--ttl-above 50 --ttl-below 4001", &[0, 2]);
    }

    #[test]
    fn wrong_filters_are_refused() {
        for line in ["--class 0", "--class 64", "--class 1,,2", "--ttl-below -1", "--ttl-above x"] {
            assert!(matches!(Filter::of(&arguments(line)), Err(Failure::Usage(_))), "{line}");
        }
        for line in ["--names --json", "--count --raw", "--count-by x"] {
            assert!(matches!(shape(&arguments(line)), Err(Failure::Usage(_))), "{line}");
        }
    }

    #[test]
    fn entries_have_four_shapes() {
        let entries = entries();
        assert_eq!(line(&entries[1], Shape::Names, 1000), "user:\\x00");
        assert_eq!(HEADING.find("KEY"), line(&entries[0], Shape::Table, 1000).find("user"));
        assert_eq!(line(&entries[0], Shape::Table, 1000), "       100     1       63     yes      10  user:1");
        assert_eq!(line(&entries[1], Shape::Raw, 1000), "key=user%3A%00 exp=-1 la=900 cas=4 fetch=no cls=2 size=137");
        assert_eq!(
            line(&entries[0], Shape::Json, 1000),
            "{\"key\":\"user:1\",\"ttl_seconds\":100,\"class\":1,\"bytes\":63,\"fetched\":true,\
             \"idle_seconds\":10,\"cas\":3,\"flags\":7}"
        );
        let binary = Entry { key: vec![255], ..entries[1].clone() };
        assert!(line(&binary, Shape::Json, 1000).starts_with("{\"key_base64\":\"/w==\",\"ttl_seconds\":null,"));
    }

    #[track_caller]
    fn check_counts(group: Option<Group>, expected: &str) {
        let mut counts = Counts::default();
        for entry in entries() {
            counts.add(&entry, group, b":", 1000);
        }
        assert_eq!(counts.table(group), expected);
    }

    #[test]
    fn keys_are_counted() {
        check_counts(None, "3 keys, 400 bytes (400 B)\n");
        check_counts(
            Some(Group::Prefix),
            "      keys       bytes  share  \n         2         200  50.0%  user:\n         1         200  50.0%  (no prefix)\n\
             3 keys, 400 bytes (400 B)\n",
        );
        check_counts(
            Some(Group::Class),
            "      keys       bytes  share  \n         2         337  84.2%   2\n         1          63  15.8%   1\n\
             3 keys, 400 bytes (400 B)\n",
        );
        let mut counts = Counts::default();
        for entry in entries() {
            counts.add(&entry, Some(Group::Ttl), b":", 1000);
        }
        let table = counts.table(Some(Group::Ttl));
        let names: Vec<&str> = table.lines().skip(1).filter_map(|line| line.get(31..)).collect();
        assert_eq!(names, ["below 1 hour", "below 1 day", "for ever"]);
    }
}

//! `slabstash stats`: what nodes say of themselves, as memcached-tool prints it or as JSON.

use std::io::{Write, stdout};

use super::address::Address;
use super::arguments::{Arguments, Command, Flag};
use super::classes::Classes;
use super::connection::{Access, Connection};
use super::failure::Failure;
use super::settings;
use super::statistics::Statistics;
use super::text::{json_object, json_string};

/// The command's row.
pub const COMMAND: Command = Command {
    name: "stats",
    summary: "show the statistics of nodes",
    words: "[ADDRESS...] [display|settings|items|slabs|sizes|conns]",
    about: &[
        "Shows a node's general statistics, or what the last word names: display is memcached-tool's table of slab\n\
         classes, settings are the node's options, items and slabs are its figures by slab class, sizes counts items by\n\
         size (for nodes that run with -o track_sizes), conns lists the connections.",
        "The tables are those of memcached-tool.",
    ],
    flags: &[
        Flag { short: Some('j'), name: "json", value: "", help: "print one JSON object, with a member for each node" },
        Flag { short: None, name: "changed", value: "", help: "settings: only those that differ from the default" },
    ],
    exit: &[(0, "all nodes answered"), (1, "a node did not answer, or not as expected")],
    examples: &[
        ("slabstash stats", "the general statistics of the node on this machine"),
        ("slabstash stats cache-1:11211 cache-2:11211 display", "memory by slab class of two nodes"),
        ("slabstash stats settings --changed", "what was changed from the defaults"),
    ],
    run,
};

/// What is asked for.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// The table of slab classes, from two answers.
    Display,
    /// One answer: the word after `stats`, the table's two headings and the width of its first column.
    Answer { word: &'static str, headings: [&'static str; 2], width: usize },
}

fn run(arguments: &Arguments) -> Result<u8, Failure> {
    let mut words = arguments.words.clone();
    let kind = match words.last().and_then(|word| kind(word)) {
        Some(kind) => {
            words.pop();
            kind
        }
        None => GENERAL,
    };
    let addresses = Address::parse_all(&words)?;
    let access = arguments.access()?;
    let only_changed = arguments.has("changed");
    if only_changed && kind != SETTINGS {
        return Err(Failure::Usage("--changed is for `stats settings`".to_owned()));
    }
    let has_json = arguments.has("json");
    let mut members = Vec::new();
    let mut exit_code = 0;
    for address in &addresses {
        match node(address, &access, kind, only_changed) {
            Ok((_, json)) if has_json => members.push((address.to_string(), json)),
            Ok((text, _)) => print(&text)?,
            Err(failure) => {
                eprintln!("slabstash: {failure}");
                exit_code = exit_code.max(failure.exit_code());
                members.push((address.to_string(), json_object(&[("error", json_string(&failure.to_string()))])));
            }
        }
    }
    if has_json {
        let members: Vec<(&str, String)> = members.iter().map(|(name, json)| (name.as_str(), json.clone())).collect();
        print(&format!("{}\n", json_object(&members)))?;
    }
    Ok(exit_code)
}

/// One node's statistics as text and as JSON.
fn node(address: &Address, access: &Access, kind: Kind, only_changed: bool) -> Result<(String, String), Failure> {
    let mut connection = Connection::open(address, access)?;
    match kind {
        Kind::Display => {
            let items = connection.stats("items")?;
            let classes = Classes::of(&connection.stats("slabs")?, &items);
            Ok((classes.display(), classes_json(&classes)))
        }
        Kind::Answer { word, headings, width } => {
            let mut statistics = connection.stats(word)?;
            if only_changed {
                statistics = changed(&statistics);
            }
            Ok((table(address, &statistics, headings, width), statistics.json()))
        }
    }
}

/// The table of memcached-tool, sorted by name as there, without the carriage returns that it leaves in the values.
fn table(address: &Address, statistics: &Statistics, headings: [&str; 2], width: usize) -> String {
    let mut rows: Vec<(&str, &str)> = statistics.iter().collect();
    rows.sort_by_key(|(name, _)| *name);
    let (left, right) = (width - 7, width / 2 - 1);
    let [field, value] = headings;
    let mut text = format!("#{address:<left$} {field:>5} {value:>right$}\n");
    for (name, value) in rows {
        text.push_str(&format!("{name:>width$} {value:>right$}\n"));
    }
    text
}

fn changed(statistics: &Statistics) -> Statistics {
    let mut left = Statistics::default();
    for setting in settings::changed(statistics) {
        left.push_line(format!("STAT {} {}", setting.name, setting.value).as_bytes());
    }
    left
}

fn classes_json(classes: &Classes) -> String {
    let objects: Vec<(String, String)> = classes
        .0
        .iter()
        .map(|class| {
            let fields = [
                ("chunk_bytes", class.chunk_bytes),
                ("pages", class.pages),
                ("items", class.items),
                ("chunks_used", class.chunks_used),
                ("chunks_free", class.chunks_free),
                ("requested_bytes", class.requested_bytes),
                ("wasted_bytes", class.wasted_bytes()),
                ("age_seconds", class.age_seconds),
                ("evicted", class.evicted),
                ("evicted_age_seconds", class.evicted_age_seconds),
                ("out_of_memory", class.out_of_memory),
            ];
            (class.id.to_string(), json_object(&fields.map(|(name, value)| (name, value.to_string()))))
        })
        .collect();
    let objects: Vec<(&str, String)> = objects.iter().map(|(id, json)| (id.as_str(), json.clone())).collect();
    json_object(&objects)
}

fn kind(word: &str) -> Option<Kind> {
    KINDS.iter().find(|(name, _)| *name == word).map(|(_, kind)| *kind)
}

fn print(text: &str) -> Result<(), Failure> {
    stdout().write_all(text.as_bytes()).map_err(Failure::output)
}

const FIELD: [&str; 2] = ["Field", "Value"];
const GENERAL: Kind = Kind::Answer { word: "", headings: FIELD, width: 29 };
const SETTINGS: Kind = Kind::Answer { word: "settings", headings: FIELD, width: 24 };

const KINDS: &[(&str, Kind)] = &[
    ("display", Kind::Display),
    ("settings", SETTINGS),
    ("items", Kind::Answer { word: "items", headings: FIELD, width: 29 }),
    ("slabs", Kind::Answer { word: "slabs", headings: FIELD, width: 29 }),
    ("sizes", Kind::Answer { word: "sizes", headings: ["Size", "Count"], width: 24 }),
    ("conns", Kind::Answer { word: "conns", headings: FIELD, width: 29 }),
];

#[cfg(test)]
mod tests {
    use super::*;

    /// The lines below are what memcached-tool prints for the same answers, less its carriage returns.
    #[test]
    fn tables_are_those_of_memcached_tool() {
        let address = Address::parse("127.0.0.1:23111").expect("an address");
        let statistics = Statistics::of("STAT b 2\nSTAT a 1.6.45");
        assert_eq!(
            table(&address, &statistics, FIELD, 29),
            "#127.0.0.1:23111        Field         Value\n                            a        1.6.45\n                            b             2\n"
        );
        assert_eq!(
            table(&address, &statistics, ["Size", "Count"], 24),
            "#127.0.0.1:23111    Size       Count\n                       a      1.6.45\n                       b           2\n"
        );
    }

    #[test]
    fn classes_are_json() {
        let slabs = Statistics::of("STAT 3:chunk_size 96\nSTAT 3:total_pages 1\nSTAT 3:free_chunks 10922");
        let json = classes_json(&Classes::of(&slabs, &Statistics::default()));
        assert!(json.starts_with("{\"3\":{\"chunk_bytes\":96,\"pages\":1,\"items\":0,"), "{json}");
        assert!(json.contains("\"wasted_bytes\":1048576"), "{json}");
    }

    #[test]
    fn samples_are_printed() {
        for text in [include_str!("samples/memcached-conns.txt"), include_str!("samples/slabstash-general.txt")] {
            let address = Address::standard();
            let statistics = Statistics::of(text);
            let table = table(&address, &statistics, FIELD, 29);
            assert_eq!(table.lines().count(), statistics.iter().count() + 1);
        }
    }
}

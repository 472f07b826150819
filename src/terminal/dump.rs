//! `slabstash dump`: keys and values as commands that store them again.
//!
//! The keys come from `lru_crawler metadump` on one connection; their values are fetched in batches on another, without
//! counting as an access. Nothing is held but a batch of keys: values of any size go straight to the output.
//!
//! A key that can be written in the text protocol becomes a `set` with the flags and the absolute time of its item. Any
//! other becomes an `ms` with a base 64 key. `slabstash load` reads both, and so does any memcached 1.6 over `nc`.

use std::fs::{self, File};
use std::io::{self, BufWriter, IsTerminal, Write, stdout};
use std::time::Instant;

use super::address::Address;
use super::arguments::{Arguments, Command, Flag};
use super::connection::Connection;
use super::failure::Failure;
use super::listing::{Dump, Entry, Listing};
use super::progress::Progress;
use super::text::{base64, bytes};

/// The command's row.
pub const COMMAND: Command = Command {
    name: "dump",
    summary: "write a node's keys and values as commands that store them again",
    words: "[ADDRESS] [FLAGS]",
    about: &[
        "Writes what a node holds to the standard output or to a file, as `set` commands with flags and absolute times, and\n\
         as `ms` commands for keys that `set` cannot name. `slabstash load` stores them in another node; so does\n\
         `nc HOST 11211 < FILE`. The node serves meanwhile, and what is dumped does not count as accessed.",
        "A file is complete or not there: it is written beside its name and renamed at the end.",
    ],
    flags: &[
        Flag { short: Some('o'), name: "output", value: "FILE", help: "write to FILE" },
        Flag { short: Some('p'), name: "prefix", value: "TEXT", help: "only keys that begin so" },
        Flag { short: Some('l'), name: "limit", value: "N", help: "stop after N keys" },
    ],
    exit: &[(0, "everything was written"), (1, "the node did not answer or refused, or the output failed")],
    examples: &[
        ("slabstash dump cache-1 -o cache-1.dump", "keep what a node holds"),
        ("slabstash dump old:11211 | slabstash load new:11211", "move from one node to another"),
    ],
    run,
};

fn run(arguments: &Arguments) -> Result<u8, Failure> {
    let address = Address::parse_one(&arguments.words)?;
    let access = arguments.access()?;
    let limit = arguments.number("limit", 1, u64::MAX)?.unwrap_or(u64::MAX);
    let prefix = arguments.text("prefix").unwrap_or_default().as_bytes().to_vec();

    let mut fetcher = Connection::open(&address, &access)?;
    let general = fetcher.stats("")?;
    let time = general.number("time").and_then(|time| i64::try_from(time).ok()).unwrap_or(0);
    let clock = NodeClock { time, read: Instant::now() };
    let mut listing = Listing::start(Connection::open(&address, &access)?, Dump::Meta, &[])?;

    let mut output = Output::open(arguments.text("output"))?;
    // A dump that runs over the terminal is what moves there.
    let is_shown = arguments.has("output") || !stdout().is_terminal();
    let progress = is_shown.then(|| Progress::items(general.number("curr_items")));
    let mut counts = Counts::default();
    let mut batch = Vec::with_capacity(BATCH_KEYS);
    let (mut listed, mut batch_bytes) = (0, 0);
    loop {
        let entry = if listed < limit { listing.next_entry()? } else { None };
        let is_over = entry.is_none();
        if let Some(entry) = entry.filter(|entry| entry.key.starts_with(&prefix)) {
            listed += 1;
            batch_bytes += REQUEST_BYTES + entry.key.len() * 4 / 3;
            batch.push(entry);
        }
        if batch.len() == BATCH_KEYS || batch_bytes >= BATCH_BYTES || is_over {
            fetch(&mut fetcher, &batch, &clock, &mut output, &mut counts)?;
            if let Some(progress) = &progress {
                progress.advance(batch.len() as u64);
            }
            batch.clear();
            batch_bytes = 0;
        }
        if is_over {
            break;
        }
    }
    drop(progress);
    output.finish()?;
    eprintln!("{}", counts.text());
    Ok(0)
}

/// What became of the keys.
#[derive(Default, PartialEq, Eq, Debug)]
struct Counts {
    written: u64,
    value_bytes: u64,
    /// Listed, and gone when they were fetched.
    gone: u64,
    /// No text command can name them.
    left_out: u64,
}

impl Counts {
    fn text(&self) -> String {
        let mut text = format!("{} keys, {} of values", self.written, bytes(self.value_bytes));
        if self.gone > 0 {
            text.push_str(&format!("; {} were gone before they were read", self.gone));
        }
        if self.left_out > 0 {
            text.push_str(&format!(
                "; {} left out: too long for the text protocol with the bytes they have",
                self.left_out
            ));
        }
        text
    }
}

/// The node's idea of the time.
struct NodeClock {
    time: i64,
    read: Instant,
}

impl NodeClock {
    fn now(&self) -> i64 {
        self.time.saturating_add(i64::try_from(self.read.elapsed().as_secs()).unwrap_or(0))
    }
}

/// How a key is named on the wire.
enum Name {
    Plain(Vec<u8>),
    Base64(String),
}

impl Name {
    /// `None` if the text protocol has no way to name it.
    fn of(key: &[u8]) -> Option<Name> {
        if key.iter().all(|byte| *byte > b' ' && *byte != 0x7f) {
            return Some(Name::Plain(key.to_vec()));
        }
        let name = base64(key);
        (name.len() <= crate::base::key::KEY_BYTES_MAX).then_some(Name::Base64(name))
    }
}

/// Fetches a batch: all requests first, then all answers. The requests of a batch fit into any socket's buffer, so the node
/// never waits for us to read while we wait for it to.
fn fetch(
    fetcher: &mut Connection,
    batch: &[Entry],
    clock: &NodeClock,
    output: &mut Output,
    counts: &mut Counts,
) -> Result<(), Failure> {
    let mut requests = Vec::new();
    let mut asked = Vec::with_capacity(batch.len());
    for entry in batch {
        let Some(name) = Name::of(&entry.key) else {
            counts.left_out += 1;
            continue;
        };
        requests.extend_from_slice(b"mg ");
        match &name {
            Name::Plain(key) => requests.extend_from_slice(key),
            Name::Base64(key) => requests.extend_from_slice(format!("{key} b").as_bytes()),
        }
        // u: it is no access.
        requests.extend_from_slice(b" f t v u\r\n");
        asked.push((entry, name));
    }
    fetcher.extend();
    fetcher.send(&requests)?;
    for (entry, name) in &asked {
        fetcher.extend();
        let line = fetcher.line()?;
        if line == b"EN" {
            counts.gone += 1;
            continue;
        }
        let value = Value::of(&line).ok_or_else(|| fetcher.surprise(&line))?;
        let listed = entry.facts.and_then(|facts| facts.expires);
        let header = header(name, &value, exptime(value.ttl, listed, clock.now()));
        output.write(&header)?;
        fetcher.body(value.bytes + 2, |piece| output.write(piece))?;
        counts.written += 1;
        counts.value_bytes += value.bytes as u64;
    }
    Ok(())
}

/// The line before a value: `VA 3 f7 t100`.
#[derive(PartialEq, Eq, Debug)]
struct Value {
    bytes: usize,
    flags: String,
    /// Seconds to live; `None` is for ever.
    ttl: Option<i64>,
}

impl Value {
    fn of(line: &[u8]) -> Option<Value> {
        let text = std::str::from_utf8(line).ok()?;
        let mut words = text.strip_prefix("VA ")?.split(' ');
        let bytes: usize = words.next()?.parse().ok().filter(|bytes| *bytes <= crate::base::sizes::VALUE_BYTES_MAX)?;
        let (mut flags, mut ttl) = (None, None);
        for word in words {
            if let Some(number) = word.strip_prefix('f') {
                flags = Some(number.parse::<u64>().ok()?.to_string());
            } else if let Some(number) = word.strip_prefix('t') {
                ttl = Some(number.parse::<i64>().ok()?);
            }
        }
        let ttl = ttl?;
        Some(Value { bytes, flags: flags?, ttl: (ttl != -1).then_some(ttl) })
    }
}

/// The time at which an item expires, for a storage command; 0 is never.
///
/// The listing has it to the second; what was fetched has it from now on. They agree unless the item was stored anew in
/// between, and then the later one is right.
fn exptime(ttl: Option<i64>, listed: Option<i64>, now: i64) -> i64 {
    let Some(ttl) = ttl else { return 0 };
    let fetched = now.saturating_add(ttl);
    match listed {
        Some(listed) if (listed - fetched).abs() <= CLOCK_SLACK_SECONDS => listed,
        _ => fetched,
    }
}

fn header(name: &Name, value: &Value, exptime: i64) -> Vec<u8> {
    let (flags, bytes) = (&value.flags, value.bytes);
    match name {
        Name::Plain(key) => {
            let mut header = b"set ".to_vec();
            header.extend_from_slice(key);
            header.extend_from_slice(format!(" {flags} {exptime} {bytes}\r\n").as_bytes());
            header
        }
        Name::Base64(key) => format!("ms {key} {bytes} b F{flags} T{exptime}\r\n").into_bytes(),
    }
}

/// Where the dump goes: a file that gets its name when it is complete, or the standard output.
struct Output {
    writer: BufWriter<Box<dyn Write>>,
    /// The name of a file while it is written, and its name afterwards.
    names: Option<(String, String)>,
}

impl Output {
    fn open(path: Option<&str>) -> Result<Output, Failure> {
        let Some(path) = path else {
            return Ok(Output { writer: BufWriter::new(Box::new(stdout())), names: None });
        };
        let partial = format!("{path}.partial");
        let file = File::create(&partial).map_err(|error| wrong_file(&partial, error))?;
        Ok(Output {
            writer: BufWriter::with_capacity(FILE_BUFFER_BYTES, Box::new(file)),
            names: Some((partial, path.to_owned())),
        })
    }

    fn write(&mut self, bytes: &[u8]) -> Result<(), Failure> {
        self.writer.write_all(bytes).map_err(|error| self.failure(error))
    }

    fn finish(mut self) -> Result<(), Failure> {
        self.writer.flush().map_err(|error| self.failure(error))?;
        if let Some((partial, path)) = self.names.take() {
            fs::rename(&partial, &path).map_err(|error| wrong_file(&path, error))?;
        }
        Ok(())
    }

    fn failure(&self, error: io::Error) -> Failure {
        match &self.names {
            Some((partial, _)) => wrong_file(partial, error),
            None => Failure::output(error),
        }
    }
}

impl Drop for Output {
    /// What is not complete is of no use.
    fn drop(&mut self) {
        if let Some((partial, _)) = &self.names {
            let _ = fs::remove_file(partial);
        }
    }
}

fn wrong_file(path: &str, error: io::Error) -> Failure {
    Failure::File(format!("cannot write {path}: {error}"))
}

/// Keys fetched at once.
const BATCH_KEYS: usize = 1000;

/// Bytes of requests sent at once.
const BATCH_BYTES: usize = 32 * 1024;

/// Bytes of a request, without its key.
const REQUEST_BYTES: usize = 16;

/// How far two ways to the same time may differ: both clocks move in whole seconds.
const CLOCK_SLACK_SECONDS: i64 = 2;

const FILE_BUFFER_BYTES: usize = 256 * 1024;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_read() {
        let value = |bytes, flags: &str, ttl| Some(Value { bytes, flags: flags.to_owned(), ttl });
        assert_eq!(Value::of(b"VA 3 f7 t100"), value(3, "7", Some(100)));
        assert_eq!(Value::of(b"VA 0 f0 t-1"), value(0, "0", None));
        for line in ["VA", "VA x f0 t1", "VA 3 t1", "VA 3 f1", "VA 99999999999 f0 t1", "HD f0 t1", "VALUE a 0 3"] {
            assert_eq!(Value::of(line.as_bytes()), None, "{line}");
        }
    }

    #[test]
    fn times_are_absolute() {
        assert_eq!(exptime(None, None, 5000), 0);
        assert_eq!(exptime(Some(100), Some(5101), 5000), 5101);
        // Stored anew with another time, or with one at all.
        assert_eq!(exptime(Some(900), Some(5101), 5000), 5900);
        assert_eq!(exptime(Some(900), None, 5000), 5900);
        assert_eq!(exptime(None, Some(5101), 5000), 0);
    }

    #[track_caller]
    fn check(key: &[u8], expected: &str) {
        let value = Value { bytes: 3, flags: "7".to_owned(), ttl: None };
        let name = Name::of(key).expect("a key of the text protocol");
        assert_eq!(String::from_utf8(header(&name, &value, 5101)).as_deref(), Ok(expected));
    }

    #[test]
    fn keys_decide_the_command() {
        check(b"a%b", "set a%b 7 5101 3\r\n");
        check("käse".as_bytes(), "set käse 7 5101 3\r\n");
        check(b"\0\x01\x02 ", "ms AAECIA== 3 b F7 T5101\r\n");
        assert!(Name::of(&[b' '; 186]).is_some());
        assert!(Name::of(&[b' '; 187]).is_none());
    }

    #[test]
    fn the_summary_says_what_is_missing() {
        let counts = Counts { written: 2, value_bytes: 2048, ..Counts::default() };
        assert_eq!(counts.text(), "2 keys, 2.0 KiB of values");
        let counts = Counts { gone: 1, left_out: 3, ..counts };
        assert!(counts.text().contains("; 1 were gone") && counts.text().contains("; 3 left out"));
    }
}

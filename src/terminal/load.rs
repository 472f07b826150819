//! `slabstash load`: stores a dump in a node.
//!
//! Only storage commands are taken from the input, and they are read and written anew: a file cannot make a node do
//! anything else. Values go through piece by piece; what was sent and not yet answered is bounded by a batch.

use std::fs::File;
use std::io::{BufRead, BufReader, Read, stdin};
use std::time::{SystemTime, UNIX_EPOCH};

use super::address::Address;
use super::arguments::{Arguments, Command, Flag};
use super::connection::Connection;
use super::failure::Failure;
use super::progress::Progress;
use super::text::printable;
use crate::base::{key, sizes, time};

/// The command's row.
pub const COMMAND: Command = Command {
    name: "load",
    summary: "store a dump in a node",
    words: "[ADDRESS] [FLAGS]",
    about: &[
        "Reads what `slabstash dump` or `memcached-tool HOST dump` wrote and stores it in a node. What has expired meanwhile\n\
         is left out. Items that the node refuses, those larger than its -I for instance, are named and counted.",
    ],
    flags: &[
        Flag { short: Some('i'), name: "input", value: "FILE", help: "read FILE instead of the standard input" },
        Flag { short: None, name: "add", value: "", help: "keep what the node holds already" },
    ],
    exit: &[
        (0, "everything was stored that had not expired"),
        (1, "the node did not answer or refused an item, or the input is no dump or is cut off"),
    ],
    examples: &[
        ("slabstash load cache-2 -i cache-1.dump", "store what another node held"),
        ("slabstash dump old:11211 | slabstash load new:11211 --add", "fill a node that is in use already"),
    ],
    run,
};

fn run(arguments: &Arguments) -> Result<u8, Failure> {
    let address = Address::parse_one(&arguments.words)?;
    let access = arguments.access()?;
    let (name, mut input, total): (&str, Box<dyn BufRead>, Option<u64>) = match arguments.text("input") {
        None | Some("-") => ("the input", Box::new(stdin().lock()), None),
        Some(path) => {
            let file = File::open(path).map_err(|error| Failure::File(format!("cannot read {path}: {error}")))?;
            let total = file.metadata().ok().filter(|data| data.is_file()).map(|data| data.len());
            (path, Box::new(BufReader::with_capacity(PIECE_BYTES, file)), total)
        }
    };
    let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
    let mut loader = Loader {
        connection: Connection::open(&address, &access)?,
        is_add: arguments.has("add"),
        now: i64::try_from(now).unwrap_or(i64::MAX),
        unsent: Vec::new(),
        whole: 0,
        unanswered: Vec::new(),
        unanswered_bytes: 0,
        counts: Counts::default(),
        complaints: 0,
    };
    let progress = Progress::bytes(total);
    let result = loader.load(&mut input, name, &progress);
    // What came before a fault of the input is stored, and counted.
    let result = match result {
        Ok(()) => loader.settle(),
        Err(failure @ Failure::File(_)) => loader.settle().and(Err(failure)),
        Err(failure) => Err(failure),
    };
    drop(progress);
    eprintln!("{}", loader.counts.text(loader.is_add));
    result?;
    Ok(u8::from(loader.counts.refused > 0))
}

/// What became of the records.
#[derive(Default, PartialEq, Eq, Debug)]
struct Counts {
    stored: u64,
    /// The node had the key, and `--add` keeps it.
    kept: u64,
    expired: u64,
    refused: u64,
}

impl Counts {
    fn text(&self, is_add: bool) -> String {
        let kept = if is_add { format!(", {} were there", self.kept) } else { String::new() };
        format!("{} stored{kept}, {} expired, {} refused", self.stored, self.expired, self.refused)
    }
}

struct Loader {
    connection: Connection,
    is_add: bool,
    /// Unix time.
    now: i64,
    /// Bytes that wait to be sent together.
    unsent: Vec<u8>,
    /// So much of it is whole records: `whole <= unsent.len()`.
    whole: usize,
    /// Keys whose answers are still to come, in their order, and the bytes sent for them.
    unanswered: Vec<Vec<u8>>,
    unanswered_bytes: usize,
    counts: Counts,
    /// Refusals that were told.
    complaints: u32,
}

impl Loader {
    fn load(&mut self, input: &mut dyn BufRead, name: &str, progress: &Progress) -> Result<(), Failure> {
        let mut number = 0u64;
        loop {
            let unreadable = |error| Failure::File(format!("cannot read {name}: {error}"));
            let line = header_line(input).map_err(unreadable)?;
            if line.is_empty() {
                return Ok(());
            }
            number += 1;
            let record = Record::of(&line).ok_or_else(|| {
                let shown = printable(&line[..line.len().min(80)]);
                Failure::File(format!("{name}: record {number} is no storage command of a dump: {shown}"))
            })?;
            let cut = || Failure::File(format!("{name}: record {number}, {}, is cut off", printable(&record.key)));
            let is_wanted = !record.is_expired(self.now);
            if is_wanted {
                // A large value goes out before it is whole. Should it be cut off, nothing waits for an answer behind it.
                if record.bytes > BATCH_BYTES {
                    self.settle()?;
                }
                self.whole = self.unsent.len();
                self.unsent.extend_from_slice(&record.command(self.is_add));
            } else {
                self.counts.expired += 1;
            }
            self.copy_value(input, record.bytes, is_wanted, &cut)?;
            self.whole = self.unsent.len();
            if is_wanted {
                self.unanswered_bytes += line.len() + record.bytes;
                self.unanswered.push(record.key);
            }
            progress.advance((line.len() + record.bytes) as u64 + 2);
            if self.unanswered.len() >= BATCH_RECORDS || self.unanswered_bytes >= BATCH_BYTES {
                self.settle()?;
            }
        }
    }

    /// Hands a value and its line end on, or passes over them.
    fn copy_value(
        &mut self,
        input: &mut dyn BufRead,
        count: usize,
        is_wanted: bool,
        cut: &dyn Fn() -> Failure,
    ) -> Result<(), Failure> {
        let mut remaining = count;
        let mut piece = [0; PIECE_BYTES];
        while remaining > 0 {
            let length = remaining.min(PIECE_BYTES);
            input.read_exact(&mut piece[..length]).map_err(|_| cut())?;
            if is_wanted {
                self.unsent.extend_from_slice(&piece[..length]);
                if count > BATCH_BYTES {
                    self.send()?;
                    self.whole = 0;
                }
            }
            remaining -= length;
        }
        let mut end = [0; 2];
        input.read_exact(&mut end).map_err(|_| cut())?;
        if end != *b"\r\n" {
            return Err(cut());
        }
        if is_wanted {
            self.unsent.extend_from_slice(&end);
        }
        Ok(())
    }

    /// Sends what waits.
    fn send(&mut self) -> Result<(), Failure> {
        self.connection.extend();
        self.connection.send(&self.unsent)?;
        self.unsent.clear();
        Ok(())
    }

    /// Sends everything and takes all answers. A record that is not whole is not sent: memcached answers nothing while it
    /// waits for a value's end.
    fn settle(&mut self) -> Result<(), Failure> {
        self.unsent.truncate(self.whole);
        self.send()?;
        self.whole = 0;
        for key in std::mem::take(&mut self.unanswered) {
            self.connection.extend();
            let line = self.connection.line()?;
            match &line[..] {
                b"STORED" | b"HD" => self.counts.stored += 1,
                b"NOT_STORED" | b"NS" if self.is_add => self.counts.kept += 1,
                _ if line.starts_with(b"SERVER_ERROR") || line.starts_with(b"CLIENT_ERROR") => {
                    self.counts.refused += 1;
                    self.complain(&key, &line);
                }
                _ => return Err(self.connection.surprise(&line)),
            }
        }
        self.unanswered_bytes = 0;
        Ok(())
    }

    fn complain(&mut self, key: &[u8], line: &[u8]) {
        self.complaints += 1;
        if self.complaints <= COMPLAINTS_MAX {
            eprintln!("slabstash: {}: {}: {}", self.connection.address(), printable(key), printable(line));
        }
    }
}

/// The next line that is not blank, without its end; empty at the end of the input. A line longer than any command is cut,
/// and so not understood.
fn header_line(mut input: &mut dyn BufRead) -> std::io::Result<Vec<u8>> {
    loop {
        let mut line = Vec::new();
        let count = (&mut input).take(HEADER_BYTES_MAX).read_until(b'\n', &mut line)?;
        while line.ends_with(b"\n") || line.ends_with(b"\r") {
            line.pop();
        }
        if count == 0 || !line.is_empty() {
            return Ok(line);
        }
    }
}

/// A storage command of a dump, without its value.
#[derive(PartialEq, Eq, Debug)]
struct Record {
    /// As it stands in the command: plain, or in base 64 for `ms`.
    key: Vec<u8>,
    is_base64: bool,
    flags: u64,
    exptime: i64,
    bytes: usize,
}

impl Record {
    /// Reads `set KEY FLAGS EXPTIME BYTES`, `add` likewise, or `ms KEY BYTES b F… T…`.
    fn of(line: &[u8]) -> Option<Record> {
        let words: Vec<&[u8]> = line.split(|byte| *byte == b' ').filter(|word| !word.is_empty()).collect();
        let record = match words[..] {
            [b"set" | b"add", key, flags, exptime, bytes] => Record {
                key: key.to_vec(),
                is_base64: false,
                flags: number(flags)?,
                exptime: number(exptime)?,
                bytes: number(bytes)?,
            },
            [b"ms", key, bytes, b"b", flags, exptime] => Record {
                key: key.to_vec(),
                is_base64: true,
                flags: number(flags.strip_prefix(b"F")?)?,
                exptime: number(exptime.strip_prefix(b"T")?)?,
                bytes: number(bytes)?,
            },
            _ => return None,
        };
        (key::is_valid(&record.key) && record.bytes <= sizes::VALUE_BYTES_MAX).then_some(record)
    }

    /// A relative time is as good now as it was then; there is nothing to compare it with.
    fn is_expired(&self, now: i64) -> bool {
        self.exptime < 0 || self.exptime > time::RELATIVE_EXPTIME_MAX && self.exptime <= now
    }

    /// The command line to send.
    fn command(&self, is_add: bool) -> Vec<u8> {
        let (flags, exptime, bytes) = (self.flags, self.exptime, self.bytes);
        let (start, rest) = match (self.is_base64, is_add) {
            (false, false) => (&b"set "[..], format!(" {flags} {exptime} {bytes}\r\n")),
            (false, true) => (&b"add "[..], format!(" {flags} {exptime} {bytes}\r\n")),
            (true, false) => (&b"ms "[..], format!(" {bytes} b F{flags} T{exptime}\r\n")),
            (true, true) => (&b"ms "[..], format!(" {bytes} b F{flags} T{exptime} ME\r\n")),
        };
        [start, &self.key, rest.as_bytes()].concat()
    }
}

fn number<T: std::str::FromStr>(text: &[u8]) -> Option<T> {
    std::str::from_utf8(text).ok()?.parse().ok()
}

/// Read, and sent, at a time.
const PIECE_BYTES: usize = 64 * 1024;

/// Longest line before a value, with room for a key and its numbers.
const HEADER_BYTES_MAX: u64 = 1024;

/// Records sent before their answers are taken; a thousand answers, errors too, fit into any socket's buffer.
const BATCH_RECORDS: usize = 1000;

/// Bytes sent before answers are taken. Values up to this are held until they are whole.
const BATCH_BYTES: usize = 1024 * 1024;

/// Refused items that are named; the others are counted.
const COMPLAINTS_MAX: u32 = 10;

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(line: &str, set: &str, add: &str) {
        let record = Record::of(line.as_bytes()).expect("a record");
        assert_eq!(record.command(false), format!("{set}\r\n").as_bytes());
        assert_eq!(record.command(true), format!("{add}\r\n").as_bytes());
    }

    #[test]
    fn storage_commands_are_written_anew() {
        check("set a 7 0 3", "set a 7 0 3", "add a 7 0 3");
        check("add  a 7 1795451006 3", "set a 7 1795451006 3", "add a 7 1795451006 3");
        check("ms AAE= 3 b F7 T100", "ms AAE= 3 b F7 T100", "ms AAE= 3 b F7 T100 ME");
    }

    #[test]
    fn nothing_else_is_taken() {
        let long = format!("set {} 0 0 1", "k".repeat(251));
        for line in [
            "flush_all",
            "get a",
            "set a 0 0",
            "set a 0 0 3 noreply",
            "set a x 0 3",
            "set a 0 0 -1",
            "set a 0 0 2147483646",
            "append a 0 0 3",
            "ms a 3",
            "ms a 3 b F0 T0 I",
            "ms a 3 b T0 F0",
            &long,
        ] {
            assert_eq!(Record::of(line.as_bytes()), None, "{line}");
        }
    }

    #[test]
    fn only_absolute_times_expire() {
        let record = |exptime| Record { key: vec![b'a'], is_base64: false, flags: 0, exptime, bytes: 0 };
        for (exptime, is_expired) in
            [(0, false), (100, false), (-1, true), (1_795_451_006, true), (1_795_451_008, false)]
        {
            assert_eq!(record(exptime).is_expired(1_795_451_007), is_expired, "{exptime}");
        }
    }

    #[test]
    fn lines_are_taken_one_by_one() {
        let mut input: &[u8] = b"set a 0 0 1\r\nset b 0 0 1\n\r\n\nlast";
        for expected in ["set a 0 0 1", "set b 0 0 1", "last", "", ""] {
            assert_eq!(header_line(&mut input).ok().as_deref(), Some(expected.as_bytes()));
        }
        let long = vec![b'x'; 5000];
        assert_eq!(header_line(&mut &long[..]).map(|line| line.len()).ok(), Some(1024));
    }
}

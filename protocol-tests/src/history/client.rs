//! A client: connections that send batches and check every answer.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use super::check::{Checker, SECOND, STEP, check_age};
use super::ledger::Ledger;
use super::link::Link;
use super::value::{Filler, HEADER_BYTES, Label};
use crate::random::Random;
use crate::tls::Trust;

/// What all clients share.
#[derive(Debug)]
pub struct Shared {
    /// What is known of the keys.
    pub ledger: Ledger,
    /// Where values come from.
    pub filler: Filler,
    /// The start of the run.
    pub start: Instant,
    /// What is asked for.
    pub load: Load,
    /// Requests that were answered.
    pub operations: AtomicU64,
    /// Values that were found, and checked.
    pub hits: AtomicU64,
    /// Requests refused for want of memory.
    pub refused: AtomicU64,
    /// Hits about which nothing could be said.
    pub undecided: AtomicU64,
    /// When the cache was kept over a restart last, 0 for never, and hits on what was written before that.
    pub kept_at: AtomicU64,
    /// See `kept_at`.
    pub kept: AtomicU64,
    /// Largest value at the moment, which changes from phase to phase.
    pub value_bytes_max: AtomicU64,
}

/// What is asked for.
#[derive(Clone, Debug)]
pub struct Load {
    /// Keys of values; one in eight has values that expire.
    pub keys: u32,
    /// Keys of counters.
    pub counters: u32,
    /// Requests in a batch, at most.
    pub batch: usize,
    /// Whether one connection in three speaks binary.
    pub has_binary: bool,
}

impl Shared {
    /// The time of the run, as a connection says it.
    pub fn now(&self, connection: u64) -> u64 {
        self.start.elapsed().as_nanos() as u64 * STEP + connection
    }
}

/// A request whose answer is awaited.
#[derive(Clone, Copy, Debug)]
enum Asked {
    Get { key: u32, floor: u64, has_more: bool },
    MetaGet { key: u32, floor: u64 },
    Set { key: u32, number: u64 },
    Swap { key: u32, number: u64, replaced: Label, floor: u64 },
    Delete { key: u32, last: u64 },
    Start,
    Count { counter: u32 },
}

/// How an answer ended; `More` when it has not come yet.
enum Taken {
    More,
    Bytes(usize),
}

/// One connection and its batch.
#[derive(Debug)]
pub struct Client {
    shared: Arc<Shared>,
    link: Option<Link>,
    checker: Checker,
    random: Random,
    is_binary: bool,
    asked: Vec<Asked>,
    answered: usize,
    begin: u64,
    now: u64,
    request: Vec<u8>,
    /// CAS ids seen in the last batch.
    swappable: Vec<(Label, u64)>,
    /// Counters that were not there.
    missing: Vec<u32>,
    last: std::collections::HashMap<u32, u64>,
    /// The cache it knows: another one is there after a server was killed.
    cache: u64,
}

impl Client {
    /// A client that has not connected.
    pub fn new(shared: Arc<Shared>, connection: u64, seed: u64) -> Client {
        let is_binary = shared.load.has_binary && connection % 3 == 2;
        Client {
            shared,
            link: None,
            checker: Checker::new(connection),
            random: Random::new(seed.wrapping_mul(STEP).wrapping_add(connection)),
            is_binary,
            asked: Vec::new(),
            answered: 0,
            begin: 0,
            now: 0,
            request: Vec::new(),
            swappable: Vec::new(),
            missing: Vec::new(),
            last: std::collections::HashMap::new(),
            cache: 0,
        }
    }

    /// Connects. What the connection before has shown binds this one if the cache is the same.
    pub fn connect(&mut self, port: u16, trust: Option<&Trust>, cache: u64) -> Result<(), String> {
        self.link = Some(Link::open(port, trust)?);
        if self.cache != cache {
            self.cache = cache;
            self.checker.forget();
        }
        self.swappable.clear();
        self.missing.clear();
        Ok(())
    }

    /// Whether there is a connection.
    pub fn is_connected(&self) -> bool {
        self.link.is_some()
    }

    /// Sends a batch.
    pub fn ask(&mut self) -> Result<(), String> {
        self.begin = self.shared.now(self.checker.connection);
        self.asked.clear();
        self.answered = 0;
        self.request.clear();
        let count = 1 + self.random.below(self.shared.load.batch);
        while self.asked.len() < count && self.request.len() < BATCH_BYTES_MAX {
            self.add_request();
        }
        let Some(link) = &mut self.link else { return Ok(()) };
        link.send(&self.request)
    }

    /// Takes the answers to the batch and checks them. The error of a broken connection is the outer one, the inner one is
    /// a violation.
    pub fn check(&mut self) -> Result<Result<(), String>, String> {
        self.now = self.shared.now(self.checker.connection);
        while self.answered < self.asked.len() {
            let taken = match self.is_binary {
                true => self.take_packet(),
                false => self.take_text(),
            };
            match taken {
                Ok(Taken::Bytes(count)) => {
                    if let Some(link) = &mut self.link {
                        link.consume(count);
                    }
                    self.answered += 1;
                }
                Ok(Taken::More) => {
                    let Some(link) = &mut self.link else { return Err("not connected".to_string()) };
                    link.wait()?;
                    self.now = self.shared.now(self.checker.connection);
                }
                Err(violation) => {
                    let asked = self.asked[self.answered];
                    return Ok(Err(format!("connection {}: {violation} ({asked:?})", self.checker.connection)));
                }
            }
        }
        self.shared.operations.fetch_add(self.asked.len() as u64, Ordering::Relaxed);
        self.shared.undecided.fetch_add(std::mem::take(&mut self.checker.undecided), Ordering::Relaxed);
        Ok(Ok(()))
    }

    /// The connection is gone: what was asked may have been done or not, and never will be any more.
    pub fn abandon(&mut self) {
        let now = self.shared.now(self.checker.connection);
        for asked in self.asked.drain(..).skip(self.answered) {
            if let Asked::Set { key, number } | Asked::Swap { key, number, .. } = asked {
                self.shared.ledger.abandon(key, number, now);
            }
            if let Asked::Count { counter } = asked {
                self.shared.ledger.abandon_count(counter);
            }
        }
        self.answered = 0;
        self.link = None;
    }

    fn add_request(&mut self) {
        let keys = self.shared.load.keys as usize;
        // A few keys are everybody's favourites.
        let key = match self.random.one_in(4) {
            true => self.random.below(keys.min(16)),
            false => self.random.below(keys),
        } as u32;
        match self.random.below(100) {
            // Values that expire are left alone for long enough to see that they do.
            _ if key % 8 == 7 && (self.begin / SECOND + u64::from(key)) % EXPIRY_PERIOD != 0 => self.add_get(key),
            0..50 => self.add_get(key),
            50..80 => self.add_set(key),
            80..88 => match self.swappable.pop().filter(|(label, _)| label.expires == 0) {
                Some((label, cas)) => self.add_swap(label, cas),
                None => self.add_get(key),
            },
            88..93 => self.add_delete(key),
            _ if self.shared.load.counters == 0 => self.add_get(key),
            _ => match self.missing.pop() {
                Some(counter) => self.add_start(counter),
                None => self.add_count(),
            },
        }
    }

    fn add_get(&mut self, key: u32) {
        let floor = self.shared.ledger.floor(key);
        if self.is_binary {
            self.packet(0x00, &[], format!("h{key:06}").as_bytes(), 0, 0, None);
            return self.asked.push(Asked::MetaGet { key, floor });
        }
        match self.random.below(4) {
            0 | 1 => {
                self.push(format_args!("mg h{key:06} v c\r\n"));
                self.asked.push(Asked::MetaGet { key, floor });
            }
            2 => {
                self.push(format_args!("gets h{key:06}\r\n"));
                self.asked.push(Asked::Get { key, floor, has_more: false });
            }
            _ => {
                let keys = self.shared.load.keys;
                self.push(format_args!("gets"));
                let count = 2 + self.random.below(6) as u32;
                for index in 0..count {
                    let key = (key + index * 7) % keys;
                    self.push(format_args!(" h{key:06}"));
                    let floor = self.shared.ledger.floor(key);
                    self.asked.push(Asked::Get { key, floor, has_more: index + 1 < count });
                }
                self.push(format_args!("\r\n"));
            }
        }
    }

    /// A value to write: its label, with a number of its own.
    fn label(&mut self, key: u32) -> Label {
        let number = self.shared.ledger.begin(key);
        let max = self.shared.value_bytes_max.load(Ordering::Relaxed) as usize;
        let bytes = HEADER_BYTES
            + match self.random.below(64) {
                0 => self.random.below(max),
                1..8 => self.random.below(max.min(2000)),
                _ => self.random.below(max.min(200)),
            };
        let expires = if key % 8 == 7 { 1 + self.random.below(3) as u64 } else { 0 };
        self.last.insert(key, number);
        Label { key, bytes: bytes as u32, number, begin: self.begin, expires }
    }

    fn add_set(&mut self, key: u32) {
        let label = self.label(key);
        let (bytes, expires) = (label.bytes, label.expires);
        if self.is_binary {
            let extras = [0u32.to_be_bytes(), (expires as u32).to_be_bytes()].concat();
            self.packet(0x01, &extras, format!("h{key:06}").as_bytes(), bytes as usize, 0, Some(&label));
        } else {
            match self.random.one_in(2) {
                true => self.push(format_args!("set h{key:06} 0 {expires} {bytes}\r\n")),
                false => self.push(format_args!("ms h{key:06} {bytes} T{expires}\r\n")),
            }
            self.shared.filler.append(&label, &mut self.request);
            self.request.extend(b"\r\n");
        }
        self.asked.push(Asked::Set { key, number: label.number });
    }

    fn add_swap(&mut self, replaced: Label, cas: u64) {
        let key = replaced.key;
        let floor = self.shared.ledger.floor(key);
        let label = self.label(key);
        let (bytes, expires) = (label.bytes, label.expires);
        if self.is_binary {
            let extras = [0u32.to_be_bytes(), (expires as u32).to_be_bytes()].concat();
            self.packet(0x01, &extras, format!("h{key:06}").as_bytes(), bytes as usize, cas, Some(&label));
        } else {
            match self.random.one_in(2) {
                true => self.push(format_args!("cas h{key:06} 0 {expires} {bytes} {cas}\r\n")),
                false => self.push(format_args!("ms h{key:06} {bytes} C{cas} T{expires}\r\n")),
            }
            self.shared.filler.append(&label, &mut self.request);
            self.request.extend(b"\r\n");
        }
        self.asked.push(Asked::Swap { key, number: label.number, replaced, floor });
    }

    fn add_delete(&mut self, key: u32) {
        match (self.is_binary, self.random.one_in(2)) {
            (true, _) => self.packet(0x04, &[], format!("h{key:06}").as_bytes(), 0, 0, None),
            (false, true) => self.push(format_args!("delete h{key:06}\r\n")),
            (false, false) => self.push(format_args!("md h{key:06}\r\n")),
        }
        let last = self.last.get(&key).copied().unwrap_or(0);
        self.asked.push(Asked::Delete { key, last });
    }

    fn add_start(&mut self, counter: u32) {
        let digits = self.shared.ledger.lifetime().to_string();
        if self.is_binary {
            let key = format!("c{counter:06}");
            self.packet(0x02, &[0; 8], key.as_bytes(), digits.len(), 0, None);
            self.request.extend(digits.bytes());
        } else {
            self.push(format_args!("add c{counter:06} 0 0 {}\r\n{digits}\r\n", digits.len()));
        }
        self.asked.push(Asked::Start);
    }

    fn add_count(&mut self) {
        let counter = self.random.below(self.shared.load.counters as usize) as u32;
        if self.is_binary {
            let mut extras = [0; 20];
            extras[7] = 1;
            extras[16..].fill(0xff);
            self.packet(0x05, &extras, format!("c{counter:06}").as_bytes(), 0, 0, None);
        } else {
            match self.random.one_in(2) {
                true => self.push(format_args!("incr c{counter:06} 1\r\n")),
                false => self.push(format_args!("ma c{counter:06} v\r\n")),
            }
        }
        self.asked.push(Asked::Count { counter });
    }

    fn push(&mut self, text: std::fmt::Arguments<'_>) {
        use std::io::Write;
        // Writing to a vector does not fail.
        let _ = self.request.write_fmt(text);
    }

    /// A header, extras and key, and the value of a label.
    fn packet(&mut self, opcode: u8, extras: &[u8], key: &[u8], value_bytes: usize, cas: u64, label: Option<&Label>) {
        let body = (extras.len() + key.len() + value_bytes) as u32;
        self.request.extend([0x80, opcode, 0, key.len() as u8, extras.len() as u8, 0, 0, 0]);
        self.request.extend(body.to_be_bytes());
        self.request.extend((self.asked.len() as u32).to_be_bytes());
        self.request.extend(cas.to_be_bytes());
        self.request.extend_from_slice(extras);
        self.request.extend_from_slice(key);
        if let Some(label) = label {
            self.shared.filler.append(label, &mut self.request);
        }
    }

    /// Takes the next answer of a text connection.
    fn take_text(&mut self) -> Result<Taken, String> {
        let link = self.link.take().ok_or("not connected")?;
        let taken = self.take_line(link.received());
        self.link = Some(link);
        taken
    }

    fn take_line(&mut self, received: &[u8]) -> Result<Taken, String> {
        let Some(end) = received.iter().position(|byte| *byte == b'\n') else { return Ok(Taken::More) };
        let line = received[..end].strip_suffix(b"\r").ok_or("a line without its end")?;
        let asked = self.asked[self.answered];
        match asked {
            Asked::Get { key, floor, has_more } => {
                let prefix = b"VALUE h";
                if !line.starts_with(prefix)
                    || parse(&line[prefix.len()..(prefix.len() + 6).min(line.len())]) != Some(u64::from(key))
                {
                    // A miss leaves no trace; END stands behind the last one only.
                    return match (line, has_more) {
                        (b"END", false) => Ok(Taken::Bytes(end + 1)),
                        _ if has_more && (line == b"END" || line.starts_with(b"VALUE ")) => Ok(Taken::Bytes(0)),
                        _ => Err(format!("answered '{}'", line.escape_ascii())),
                    };
                }
                let words: Vec<&[u8]> = line.split(|byte| *byte == b' ').collect();
                let (Some(length), Some(cas)) =
                    (words.get(3).and_then(|word| parse(word)), words.get(4).and_then(|word| parse(word)))
                else {
                    return Err(format!("answered '{}'", line.escape_ascii()));
                };
                let tail: &[u8] = if has_more { b"\r\n" } else { b"\r\nEND\r\n" };
                let from = end + 1;
                let Some(value) = received.get(from..from + length as usize + tail.len()) else {
                    return Ok(Taken::More);
                };
                let (value, found) = value.split_at(length as usize);
                if found != tail {
                    return Err(format!("a value that ends in '{}'", found.escape_ascii()));
                }
                self.hit(key, value, cas, floor)?;
                Ok(Taken::Bytes(from + length as usize + tail.len()))
            }
            Asked::MetaGet { key, floor } => {
                if line == b"EN" {
                    return Ok(Taken::Bytes(end + 1));
                }
                let words: Vec<&[u8]> = line.split(|byte| *byte == b' ').collect();
                let [b"VA", length, cas] = words[..] else { return Err(format!("answered '{}'", line.escape_ascii())) };
                let (Some(length), Some(cas)) = (parse(length), cas.strip_prefix(b"c").and_then(parse)) else {
                    return Err(format!("answered '{}'", line.escape_ascii()));
                };
                let from = end + 1;
                let Some(value) = received.get(from..from + length as usize + 2) else { return Ok(Taken::More) };
                self.hit(key, &value[..length as usize], cas, floor)?;
                Ok(Taken::Bytes(from + length as usize + 2))
            }
            Asked::Count { counter } => {
                // `ma` says the length first.
                if line.starts_with(b"VA ") {
                    let from = end + 1;
                    let Some(length) = received[from..].iter().position(|byte| *byte == b'\n') else {
                        return Ok(Taken::More);
                    };
                    let number = parse(received[from..from + length].trim_ascii()).ok_or("no number")?;
                    self.shared.ledger.count(counter, number)?;
                    return Ok(Taken::Bytes(from + length + 1));
                }
                match (line, parse(line)) {
                    (_, Some(number)) => self.shared.ledger.count(counter, number)?,
                    (b"NOT_FOUND" | b"NF", _) => self.missing.push(counter),
                    _ => self.expect_refusal(line)?,
                }
                Ok(Taken::Bytes(end + 1))
            }
            _ => {
                let outcome = match line {
                    b"STORED" | b"HD" | b"DELETED" => Outcome::Done,
                    b"NOT_STORED" | b"NS" | b"EXISTS" | b"EX" | b"NOT_FOUND" | b"NF" => Outcome::NotDone,
                    _ => {
                        self.expect_refusal(line)?;
                        Outcome::NotDone
                    }
                };
                self.finish(asked, outcome)?;
                Ok(Taken::Bytes(end + 1))
            }
        }
    }

    /// Takes the next answer of a binary connection.
    fn take_packet(&mut self) -> Result<Taken, String> {
        let link = self.link.take().ok_or("not connected")?;
        let taken = self.take_fields(link.received());
        self.link = Some(link);
        taken
    }

    fn take_fields(&mut self, received: &[u8]) -> Result<Taken, String> {
        let Some(header) = received.get(..24) else { return Ok(Taken::More) };
        let number =
            |from: usize, to: usize| header[from..to].iter().fold(0, |sum: u64, byte| sum << 8 | u64::from(*byte));
        let length = 24 + number(8, 12) as usize;
        let Some(body) = received.get(24..length) else { return Ok(Taken::More) };
        if header[0] != 0x81 {
            return Err("no packet".to_string());
        }
        let asked = self.asked[self.answered];
        let status = number(6, 8);
        let is_refused = matches!(status, 0x82 | 0x03);
        if is_refused {
            self.shared.refused.fetch_add(1, Ordering::Relaxed);
        } else if !matches!(status, 0 | 1 | 2 | 5) {
            return Err(format!("status {status}"));
        }
        match (asked, status) {
            (Asked::MetaGet { key, floor }, 0) => {
                self.hit(key, body.get(4..).unwrap_or(&[]), number(16, 24), floor)?;
            }
            (Asked::Count { counter }, 0) => {
                let number = body.iter().fold(0, |sum: u64, byte| sum << 8 | u64::from(*byte));
                self.shared.ledger.count(counter, number)?;
            }
            (Asked::Count { counter }, 1) => self.missing.push(counter),
            (Asked::MetaGet { .. } | Asked::Count { .. }, _) => {}
            (asked, status) => self.finish(asked, if status == 0 { Outcome::Done } else { Outcome::NotDone })?,
        }
        Ok(Taken::Bytes(length))
    }

    fn hit(&mut self, key: u32, value: &[u8], cas: u64, floor: u64) -> Result<(), String> {
        let shared = Arc::clone(&self.shared);
        let label = self.checker.hit(&shared.ledger, &shared.filler, key, value, cas, floor, self.begin, self.now)?;
        shared.hits.fetch_add(1, Ordering::Relaxed);
        if label.begin < shared.kept_at.load(Ordering::Relaxed) {
            shared.kept.fetch_add(1, Ordering::Relaxed);
        }
        if self.swappable.len() < SWAPPABLE_MAX && self.random.one_in(4) {
            self.swappable.push((label, cas));
        }
        Ok(())
    }

    /// A write or delete was answered.
    fn finish(&mut self, asked: Asked, outcome: Outcome) -> Result<(), String> {
        let ledger = &self.shared.ledger;
        match (asked, outcome) {
            (Asked::Set { key, number }, Outcome::Done) => {
                ledger.end(key, number, self.begin, self.now);
                self.checker.wrote(key, number, self.begin);
            }
            (Asked::Swap { key, number, replaced, floor }, Outcome::Done) => {
                ledger.end(key, number, self.begin, self.now);
                self.checker.wrote(key, number, self.begin);
                let lost = |error: String| format!("a lost update: {error}");
                check_age(ledger, &replaced, floor, self.begin).map_err(lost)?;
                ledger.swap(key, replaced.number).map_err(|error| format!("key {key}: {error}"))?;
            }
            (Asked::Set { key, number } | Asked::Swap { key, number, .. }, Outcome::NotDone) => {
                ledger.refuse(key, number);
            }
            // Not found is as good as deleted.
            (Asked::Delete { key, last }, _) => {
                ledger.raise(key, self.begin);
                self.checker.deleted(key, last, self.begin);
            }
            // Somebody else may have been faster, and the count begins at whatever number there is.
            _ => {}
        }
        Ok(())
    }

    fn expect_refusal(&self, line: &[u8]) -> Result<(), String> {
        if !line.starts_with(b"SERVER_ERROR out of memory") {
            return Err(format!("answered '{}'", line.escape_ascii()));
        }
        self.shared.refused.fetch_add(1, Ordering::Relaxed);
        Ok(())
    }
}

/// How a write ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Outcome {
    Done,
    NotDone,
}

fn parse(digits: &[u8]) -> Option<u64> {
    std::str::from_utf8(digits).ok()?.parse().ok()
}

const BATCH_BYTES_MAX: usize = 512 << 10;
/// Keys of values that expire are written in one second out of so many.
const EXPIRY_PERIOD: u64 = 8;
const SWAPPABLE_MAX: usize = 32;

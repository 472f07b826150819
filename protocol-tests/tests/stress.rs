//! Values that say themselves what they must be, under churn: pipelines of several connections in little memory, values
//! from a byte to 900 KB, with deletes, flushes, page moves and a changing memory limit.
//!
//! Each client writes keys of its own and reads everybody's. A miss is always allowed. A hit must be whole and the
//! key's; and of the client's own keys it must be the last version that was acknowledged, never one that was deleted,
//! flushed or replaced. Counters are exact while they are there.
//!
//! | variable | meaning |
//! |---|---|
//! | `STRESS_SECONDS` | how long, 10 |
//! | `STRESS_SEED` | a number; printed at the start, the process' id otherwise |
//! | `STRESS_OPTIONS` | options of the one server tried, instead of a few in turn |
//! | `STRESS_RESIDENT_MIB` | what the server may have in memory at the end, 164; more for one that a sanitizer watches |

use std::collections::{HashMap, VecDeque};
use std::env;
use std::process;
use std::thread;
use std::time::{Duration, Instant};

use protocol_tests::case::Setting;
use protocol_tests::pump::{Pump, Pumped};
use protocol_tests::random::Random;
use protocol_tests::server::{Program, Server};

#[test]
fn values_are_whole_and_never_old() {
    let program = Program::from_environment().unwrap();
    let seconds = number("STRESS_SECONDS").unwrap_or(SECONDS_DEFAULT);
    let seed = number("STRESS_SEED").unwrap_or_else(|| u64::from(process::id()));
    println!("STRESS_SEED={seed} STRESS_SECONDS={seconds}");
    let servers = match env::var("STRESS_OPTIONS") {
        Ok(options) => vec![options],
        Err(_) => OPTIONS.iter().map(ToString::to_string).collect(),
    };
    let duration = Duration::from_secs(seconds) / servers.len() as u32;
    for options in &servers {
        if let Err(error) = run(&program, options, seed, duration) {
            panic!("STRESS_SEED={seed} STRESS_OPTIONS='{options}': {error}");
        }
    }
}

fn number(name: &str) -> Option<u64> {
    env::var(name).ok()?.parse().ok()
}

fn run(program: &Program, options: &str, seed: u64, duration: Duration) -> Result<(), String> {
    let options_list = options.split_whitespace().map(str::to_string).collect();
    let setting = Setting { options: options_list, ..Setting::default() };
    let folder = env::temp_dir().join(format!("stress-{}", process::id()));
    let mut server = Server::start(program, &setting, folder)?;
    let port = server.port;
    let deadline = Instant::now() + duration;
    let clients: Vec<_> = (0..CLIENTS)
        .map(|client| thread::spawn(move || Client::new(port, client, seed)?.work_until(deadline)))
        .collect();
    let mut total = Totals::default();
    for client in clients {
        let totals = client.join().map_err(|_| "a client panicked".to_string())??;
        total.requests += totals.requests;
        total.hits += totals.hits;
        total.refused += totals.refused;
    }
    server.expect_running()?;
    let resident = server.resident_bytes()?;
    println!("'{options}': {total:?}, {} MiB in use", resident >> 20);
    if total.hits == 0 {
        return Err("no hit at all".to_string());
    }
    // Rarely all that could go is on its way in or out.
    if !options.contains("-M") && total.refused * REFUSED_ONE_IN > total.requests {
        return Err(format!("{} of {} requests refused", total.refused, total.requests));
    }
    let resident_mib_max = number("STRESS_RESIDENT_MIB").unwrap_or(RESIDENT_MIB_MAX);
    if resident >> 20 > resident_mib_max as usize {
        return Err(format!("{resident} bytes of memory afterwards, and {resident_mib_max} MiB are allowed"));
    }
    Ok(())
}

/// What a client knows of a key of its own.
#[derive(Clone, Debug)]
enum Known {
    /// It is not there.
    Absent,
    /// It has this value, or is not there.
    Value(Vec<u8>),
    /// It holds this number, or is not there.
    Number(u64),
}

/// A request whose reply is awaited.
#[derive(Clone, Debug)]
enum Asked {
    Get {
        key: String,
    },
    GetOther {
        key: String,
    },
    Set {
        key: String,
        value: Vec<u8>,
    },
    Cas {
        key: String,
        value: Vec<u8>,
    },
    Join {
        key: String,
        added: Vec<u8>,
        is_front: bool,
    },
    Delete {
        key: String,
    },
    Start {
        key: String,
    },
    Count {
        key: String,
        delta: u64,
    },
    Flush,
    /// One line of any kind.
    Admin,
}

#[derive(Default, Debug)]
struct Totals {
    requests: u64,
    hits: u64,
    refused: u64,
}

struct Client {
    number: usize,
    pump: Pump,
    random: Random,
    known: HashMap<String, Known>,
    /// CAS ids seen in this pipeline's predecessor.
    cas_ids: HashMap<String, u64>,
    version: u64,
    asked: VecDeque<Asked>,
    totals: Totals,
}

impl Client {
    fn new(port: u16, number: usize, seed: u64) -> Result<Client, String> {
        Ok(Client {
            number,
            pump: Pump::open(port)?,
            random: Random::new(seed.wrapping_mul(31).wrapping_add(number as u64)),
            known: HashMap::new(),
            cas_ids: HashMap::new(),
            version: 0,
            asked: VecDeque::new(),
            totals: Totals::default(),
        })
    }

    fn work_until(mut self, deadline: Instant) -> Result<Totals, String> {
        let mut requests = Vec::new();
        while Instant::now() < deadline {
            requests.clear();
            for _ in 0..=self.random.below(PIPELINE_MAX) {
                self.ask(&mut requests);
            }
            self.cas_ids.clear();
            if self.pump.send(&requests)? == Pumped::Closed {
                return Err("the connection is closed".to_string());
            }
            while let Some(asked) = self.asked.pop_front() {
                self.totals.requests += 1;
                self.take_reply(asked.clone()).map_err(|error| format!("{error}, asked: {}", short(&asked)))?;
            }
            if !self.pump.received.is_empty() {
                return Err(format!("the server says too much: '{}'", shown(&self.pump.received)));
            }
        }
        Ok(self.totals)
    }

    /// Appends a request.
    fn ask(&mut self, out: &mut Vec<u8>) {
        let own = format!("v{}-{}", self.number, self.random.below(KEYS));
        match self.random.below(100) {
            0..35 => {
                out.extend(format!("gets {own}\r\n").bytes());
                self.asked.push_back(Asked::Get { key: own });
            }
            35..45 => {
                let key = format!("v{}-{}", self.random.below(CLIENTS), self.random.below(KEYS));
                out.extend(format!("gets {key}\r\n").bytes());
                self.asked.push_back(Asked::GetOther { key });
            }
            45..70 => {
                let value = self.value(&own);
                store("set", &own, "", &value, out);
                self.asked.push_back(Asked::Set { key: own, value });
            }
            70..75 => match self.cas_ids.remove(&own) {
                Some(id) if !self.asked.iter().any(|asked| asked.writes(&own)) => {
                    let value = self.value(&own);
                    store("cas", &own, &format!(" {id}"), &value, out);
                    self.asked.push_back(Asked::Cas { key: own, value });
                }
                _ => {
                    out.extend(format!("gets {own}\r\n").bytes());
                    self.asked.push_back(Asked::Get { key: own });
                }
            },
            75..80 => {
                let key = format!("j{}-{}", self.number, self.random.below(JOIN_KEYS));
                self.join(key, out);
            }
            80..85 => {
                out.extend(format!("delete {own}\r\n").bytes());
                self.asked.push_back(Asked::Delete { key: own });
            }
            85..98 => {
                let key = format!("c{}-{}", self.number, self.random.below(COUNTERS));
                self.count(key, out);
            }
            _ => self.administer(out),
        }
    }

    fn join(&mut self, key: String, out: &mut Vec<u8>) {
        match self.random.below(4) {
            0 => {
                out.extend(format!("gets {key}\r\n").bytes());
                self.asked.push_back(Asked::Get { key });
            }
            1 => {
                store("set", &key, "", b"0", out);
                self.asked.push_back(Asked::Set { key, value: b"0".to_vec() });
            }
            choice => {
                let is_front = choice == 2;
                let count = 1 + self.random.below([20, 3000, 40_000][self.random.clone().below(3)]);
                self.version += 1;
                let piece = format!("<{}>", self.version);
                let added: Vec<u8> = piece.bytes().cycle().take(count).collect();
                store(if is_front { "prepend" } else { "append" }, &key, "", &added, out);
                self.asked.push_back(Asked::Join { key, added, is_front });
            }
        }
    }

    fn count(&mut self, key: String, out: &mut Vec<u8>) {
        if self.random.one_in(6) {
            store("add", &key, "", b"95", out);
            self.asked.push_back(Asked::Start { key });
        } else {
            let delta = self.random.below(20) as u64;
            out.extend(format!("incr {key} {delta}\r\n").bytes());
            self.asked.push_back(Asked::Count { key, delta });
        }
    }

    fn administer(&mut self, out: &mut Vec<u8>) {
        let class = self.random.below(40);
        let line = match self.random.below(60) {
            0 if self.random.one_in(5) => {
                out.extend(b"flush_all\r\n");
                self.asked.push_back(Asked::Flush);
                return;
            }
            0..20 => format!("slabs reassign {class} {}", self.random.below(40)),
            20..30 => format!("slabs reassign -1 {class}"),
            30..36 => format!("cache_memlimit {}", 8 + self.random.below(56)),
            36..40 => "lru_crawler crawl all".to_string(),
            40..42 => "lru mode flat".to_string(),
            42..50 => "lru mode segmented".to_string(),
            50..55 => "slabs automove 2".to_string(),
            _ => "slabs automove 1".to_string(),
        };
        out.extend(format!("{line}\r\n").bytes());
        self.asked.push_back(Asked::Admin);
    }

    /// A value that tells its key, version and length, and whose every byte follows from them.
    fn value(&mut self, key: &str) -> Vec<u8> {
        self.version += 1;
        let length = match self.random.below(100) {
            0..40 => self.random.below(100),
            40..75 => self.random.below(2000),
            75..90 => self.random.below(16_500),
            90..97 => self.random.below(100_000),
            _ => self.random.below(900_000),
        };
        described(key, self.version, 1 + length)
    }

    fn take_reply(&mut self, asked: Asked) -> Result<(), String> {
        if let Asked::Set { key, .. } | Asked::Cas { key, .. } | Asked::Delete { key } = &asked {
            // What an earlier gets of the same pipeline said is old now.
            self.cas_ids.remove(key);
        }
        match asked {
            Asked::Get { key } => {
                let found = self.take_value(&key)?;
                self.check_own(&key, found)
            }
            Asked::GetOther { key } => match self.take_value(&key)? {
                Some((value, _)) => check_described(&key, &value),
                None => Ok(()),
            },
            Asked::Set { key, value } => {
                let line = self.take_line()?;
                let known = if line == "STORED" {
                    Known::Value(value)
                } else {
                    self.expect_refusal(&line)?;
                    Known::Absent
                };
                self.known.insert(key, known);
                Ok(())
            }
            Asked::Cas { key, value } => {
                let line = self.take_line()?;
                match line.as_str() {
                    "STORED" => drop(self.known.insert(key, Known::Value(value))),
                    "NOT_FOUND" => drop(self.known.insert(key, Known::Absent)),
                    // The old value stays.
                    _ => self.expect_refusal(&line)?,
                }
                Ok(())
            }
            Asked::Join { key, added, is_front } => self.take_join(&key, &added, is_front),
            Asked::Delete { key } => {
                let line = self.take_line()?;
                let is_absent = matches!(self.known.get(&key), None | Some(Known::Absent));
                if line != "NOT_FOUND" && (line != "DELETED" || is_absent) {
                    return Err(format!("'{line}' although absent is {is_absent}"));
                }
                self.known.insert(key, Known::Absent);
                Ok(())
            }
            Asked::Start { key } => self.take_start(key),
            Asked::Count { key, delta } => self.take_count(key, delta),
            Asked::Flush => {
                let line = self.take_line()?;
                self.known.clear();
                if line == "OK" { Ok(()) } else { Err(format!("'{line}'")) }
            }
            Asked::Admin => self.take_line().map(drop),
        }
    }

    fn take_join(&mut self, key: &str, added: &[u8], is_front: bool) -> Result<(), String> {
        let line = self.take_line()?;
        match (line.as_str(), self.known.get_mut(key)) {
            ("STORED", Some(Known::Value(value))) => {
                *value = if is_front { [added, value].concat() } else { [value, added].concat() };
                Ok(())
            }
            ("STORED", known) => Err(format!("joined to {known:?}")),
            ("NOT_STORED", _) => Ok(()),
            _ => self.expect_refusal(&line),
        }
    }

    fn take_start(&mut self, key: String) -> Result<(), String> {
        let line = self.take_line()?;
        match line.as_str() {
            "STORED" => drop(self.known.insert(key, Known::Number(95))),
            "NOT_STORED" if matches!(self.known.get(&key), Some(Known::Number(_))) => {}
            "NOT_STORED" => return Err("there is a counter that was gone".to_string()),
            _ => self.expect_refusal(&line)?,
        }
        Ok(())
    }

    fn take_count(&mut self, key: String, delta: u64) -> Result<(), String> {
        let line = self.take_line()?;
        if line == "NOT_FOUND" {
            self.known.insert(key, Known::Absent);
            return Ok(());
        }
        match (line.parse::<u64>(), self.known.get_mut(&key)) {
            (Ok(number), Some(Known::Number(known))) if number == *known + delta => {
                *known = number;
                self.totals.hits += 1;
                Ok(())
            }
            (Ok(number), known) => Err(format!("{number} after {known:?} and {delta}")),
            _ => self.expect_refusal(&line),
        }
    }

    fn expect_refusal(&mut self, line: &str) -> Result<(), String> {
        if !line.starts_with("SERVER_ERROR out of memory") {
            return Err(format!("answered '{line}'"));
        }
        self.totals.refused += 1;
        if env::var_os("STRESS_SHOW_REFUSED").is_some() {
            println!("client {} request {}: '{line}'", self.number, self.totals.requests);
        }
        Ok(())
    }

    /// A hit must be what is known; after a miss the key stays away.
    fn check_own(&mut self, key: &str, found: Option<(Vec<u8>, u64)>) -> Result<(), String> {
        let Some((value, cas)) = found else {
            self.known.insert(key.to_string(), Known::Absent);
            return Ok(());
        };
        self.totals.hits += 1;
        self.cas_ids.insert(key.to_string(), cas);
        match self.known.get(key) {
            Some(Known::Value(known)) if *known == value => Ok(()),
            Some(Known::Value(known)) => {
                Err(format!("'{}', {} bytes, instead of '{}'", shown(&value), value.len(), shown(known)))
            }
            _ => Err(format!("'{}', {} bytes, came back", shown(&value), value.len())),
        }
    }

    /// The value and CAS id of a single key's `gets`.
    fn take_value(&mut self, key: &str) -> Result<Option<(Vec<u8>, u64)>, String> {
        let line = self.take_line()?;
        if line == "END" {
            return Ok(None);
        }
        let words: Vec<&str> = line.split(' ').collect();
        let ["VALUE", shown_key, "7", length, cas] = words[..] else {
            return Err(format!("answered '{line}'"));
        };
        let (Ok(length), Ok(cas)) = (length.parse::<usize>(), cas.parse::<u64>()) else {
            return Err(format!("answered '{line}'"));
        };
        if shown_key != key {
            return Err(format!("answered '{line}' for {key}"));
        }
        let mut value = self.take(length + END.len())?;
        if !value.ends_with(END) {
            return Err(format!("'{line}' ends in '{}'", value[length..].escape_ascii()));
        }
        value.truncate(length);
        Ok(Some((value, cas)))
    }

    fn take_line(&mut self) -> Result<String, String> {
        loop {
            if let Some(end) = self.pump.received.windows(2).position(|pair| pair == b"\r\n") {
                let line = self.take(end + 2)?;
                return Ok(String::from_utf8_lossy(&line[..end]).into_owned());
            }
            self.more()?;
        }
    }

    fn take(&mut self, count: usize) -> Result<Vec<u8>, String> {
        while self.pump.received.len() < count {
            self.more()?;
        }
        let rest = self.pump.received.split_off(count);
        Ok(std::mem::replace(&mut self.pump.received, rest))
    }

    fn more(&mut self) -> Result<(), String> {
        match self.pump.wait()? {
            Pumped::Done => Ok(()),
            Pumped::Closed => Err("the connection is closed".to_string()),
        }
    }
}

impl Asked {
    fn writes(&self, own: &str) -> bool {
        match self {
            Asked::Set { key, .. } | Asked::Cas { key, .. } | Asked::Delete { key } => key == own,
            Asked::Flush => true,
            _ => false,
        }
    }
}

fn store(verb: &str, key: &str, behind: &str, value: &[u8], out: &mut Vec<u8>) {
    out.extend(format!("{verb} {key} 7 0 {}{behind}\r\n", value.len()).bytes());
    out.extend_from_slice(value);
    out.extend(b"\r\n");
}

/// See [`Client::value`].
fn described(key: &str, version: u64, length: usize) -> Vec<u8> {
    let mut value = format!("{key}:{version}:{length}:").into_bytes();
    let mut state = version.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ length as u64;
    while value.len() < length {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        value.extend((state >> 16).to_be_bytes());
    }
    value.truncate(length.max(1));
    value
}

/// Short values are cut off in their description; they can only be compared as far as they go.
fn check_described(key: &str, value: &[u8]) -> Result<(), String> {
    let head = &value[..value.len().min(60)];
    let fields: Vec<&[u8]> = head.splitn(4, |byte| *byte == b':').collect();
    let [shown_key, version, length, _] = fields[..] else {
        let is_ours = key.as_bytes().starts_with(fields[0]) && value.len() < 30;
        return if is_ours { Ok(()) } else { Err(format!("{key} has '{}'", shown(value))) };
    };
    let parse = |field: &[u8]| String::from_utf8_lossy(field).parse::<u64>().unwrap_or(0);
    let expected = described(key, parse(version), parse(length) as usize);
    if shown_key != key.as_bytes() || expected != value {
        return Err(format!("{key} has '{}', {} bytes", shown(value), value.len()));
    }
    Ok(())
}

fn shown(bytes: &[u8]) -> String {
    bytes[..bytes.len().min(80)].escape_ascii().to_string()
}

fn short(asked: &Asked) -> String {
    format!("{asked:?}").chars().take(120).collect()
}

const SECONDS_DEFAULT: u64 = 10;
const CLIENTS: usize = 4;
const REFUSED_ONE_IN: u64 = 20_000;
const KEYS: usize = 400;
const JOIN_KEYS: usize = 20;
const COUNTERS: usize = 200;
const PIPELINE_MAX: usize = 16;
const END: &[u8] = b"\r\nEND\r\n";

/// The highest memory limit asked for, first pages of classes above it, buffers.
const RESIDENT_MIB_MAX: u64 = 64 + 100;

const OPTIONS: [&str; 4] = ["-t 2 -m 8", "-t 2 -m 64", "-t 2 -m 16 -o slab_chunk_max=16", "-t 4 -m 8 -M"];

//! A small cache server in this process that can be told to be wrong, to see that the check notices.
//!
//! It speaks as much of the text protocol as the clients do, keeps everything, and is right unless its [`Fault`] says
//! otherwise: then it is wrong once in a while.

use std::collections::HashMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use crate::random::Random;

/// What the server does wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// Nothing.
    None,
    /// A fetch finds the value before the present one.
    Stale,
    /// A fetch finds another key's value.
    Swapped,
    /// A fetch finds the beginning of a value and the end of another.
    Torn,
    /// A compare-and-swap stores although the item has changed.
    LostSwap,
    /// A delete is answered and not done.
    Resurrected,
    /// A flush is answered and not done.
    FlushForgotten,
    /// Items do not expire.
    ExpiryForgotten,
    /// A count is answered and not kept.
    CountLost,
    /// A fetch shows another CAS id.
    ChangedId,
    /// A refused store is done all the same.
    RefusedStored,
    /// Two items have the same CAS id.
    SameId,
    /// A later store has a lower CAS id.
    LowerId,
    /// An add stores although there is an item.
    AddedTwice,
}

#[derive(Clone, Debug)]
struct Item {
    value: Vec<u8>,
    cas: u64,
    expires: Option<Instant>,
}

#[derive(Debug)]
struct Store {
    items: HashMap<Vec<u8>, Item>,
    before: HashMap<Vec<u8>, Item>,
    cas: u64,
    low_cas: u64,
    random: Random,
    fault: Fault,
}

/// Starts the server and returns its port. It runs until the process ends.
pub fn start(fault: Fault) -> Result<u16, String> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).map_err(|error| error.to_string())?;
    let port = listener.local_addr().map_err(|error| error.to_string())?.port();
    let store = Store {
        items: HashMap::new(),
        before: HashMap::new(),
        cas: HIGH_CAS,
        low_cas: 0,
        random: Random::new(1),
        fault,
    };
    let store = Arc::new(Mutex::new(store));
    thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let store = Arc::clone(&store);
            thread::spawn(move || serve(&stream, &store));
        }
    });
    Ok(port)
}

/// Answers one connection until it ends.
fn serve(stream: &TcpStream, store: &Mutex<Store>) {
    let mut reader = BufReader::new(stream);
    let mut writer = stream;
    let (mut line, mut out) = (Vec::new(), Vec::new());
    loop {
        line.clear();
        if !matches!(reader.read_until(b'\n', &mut line), Ok(1..)) {
            return;
        }
        let text = String::from_utf8_lossy(&line).into_owned();
        let words: Vec<&str> = text.split_whitespace().collect();
        let length: Option<usize> = match words[..] {
            ["set" | "add" | "cas", _, _, _, length, ..] | ["ms", _, length, ..] => length.parse().ok(),
            _ => None,
        };
        let mut data = vec![0; length.map_or(0, |length| length + 2)];
        if reader.read_exact(&mut data).is_err() {
            return;
        }
        data.truncate(data.len().saturating_sub(2));
        store.lock().unwrap_or_else(PoisonError::into_inner).answer(&words, data, &mut out);
        // Answers go out when there is nothing more to read, as servers do.
        if reader.buffer().is_empty() {
            if writer.write_all(&out).is_err() {
                return;
            }
            out.clear();
        }
    }
}

impl Store {
    fn answer(&mut self, words: &[&str], data: Vec<u8>, out: &mut Vec<u8>) {
        let number = |prefix: char| {
            words.iter().skip(2).find_map(|word| word.strip_prefix(prefix)).and_then(|word| word.parse::<u64>().ok())
        };
        match *words {
            ["gets", ref keys @ ..] => {
                for key in keys {
                    if let Some(item) = self.find(key.as_bytes()) {
                        out.extend(format!("VALUE {key} 0 {} {}\r\n", item.value.len(), item.cas).bytes());
                        out.extend(item.value);
                        out.extend(b"\r\n");
                    }
                }
                out.extend(b"END\r\n");
            }
            ["mg", key, ..] => match self.find(key.as_bytes()) {
                Some(item) => {
                    out.extend(format!("VA {} c{}\r\n", item.value.len(), item.cas).bytes());
                    out.extend(item.value);
                    out.extend(b"\r\n");
                }
                None => out.extend(b"EN\r\n"),
            },
            ["set", key, _, expires, ..] => {
                let is_done = self.set(key, data, expires.parse().unwrap_or(0));
                out.extend_from_slice(if is_done {
                    b"STORED\r\n"
                } else {
                    b"SERVER_ERROR out of memory storing object\r\n"
                });
            }
            ["add", key, ..] => match self.present(key.as_bytes()) {
                Some(_) if !self.is_wrong(Fault::AddedTwice) => out.extend(b"NOT_STORED\r\n"),
                _ => {
                    self.keep(key, data, 0);
                    out.extend(b"STORED\r\n");
                }
            },
            ["cas", key, _, expires, _, cas] => {
                let stored = self.swap(key, data, expires.parse().unwrap_or(0), cas.parse().unwrap_or(0));
                out.extend_from_slice([&b"STORED\r\n"[..], b"EXISTS\r\n", b"NOT_FOUND\r\n"][stored]);
            }
            ["ms", key, ..] => {
                let expires = number('T').unwrap_or(0);
                match number('C') {
                    Some(cas) => {
                        let stored = self.swap(key, data, expires, cas);
                        out.extend_from_slice([&b"HD\r\n"[..], b"EX\r\n", b"NF\r\n"][stored]);
                    }
                    None if self.set(key, data, expires) => out.extend(b"HD\r\n"),
                    None => out.extend(b"SERVER_ERROR out of memory storing object\r\n"),
                }
            }
            [verb @ ("delete" | "md"), key, ..] => {
                let was_there = self.present(key.as_bytes()).is_some();
                if !self.is_wrong(Fault::Resurrected) {
                    self.items.remove(key.as_bytes());
                }
                out.extend_from_slice(match (verb, was_there) {
                    ("delete", true) => b"DELETED\r\n",
                    ("delete", false) => b"NOT_FOUND\r\n",
                    (_, true) => b"HD\r\n",
                    (_, false) => b"NF\r\n",
                });
            }
            [verb @ ("incr" | "ma"), key, ..] => {
                let Some(item) = self.present(key.as_bytes()) else {
                    return out.extend_from_slice(if verb == "incr" { b"NOT_FOUND\r\n" } else { b"NF\r\n" });
                };
                let digits =
                    String::from_utf8_lossy(&item.value).parse::<u64>().unwrap_or(0).wrapping_add(1).to_string();
                if !self.is_wrong(Fault::CountLost) {
                    self.keep(key, digits.clone().into_bytes(), 0);
                }
                match verb {
                    "incr" => out.extend(format!("{digits}\r\n").bytes()),
                    _ => out.extend(format!("VA {}\r\n{digits}\r\n", digits.len()).bytes()),
                }
            }
            ["flush_all", ..] => {
                if self.fault != Fault::FlushForgotten {
                    self.items.clear();
                }
                out.extend(b"OK\r\n");
            }
            ["stats"] => out.extend(b"STAT evictions 0\r\nEND\r\n"),
            ["mn"] => out.extend(b"MN\r\n"),
            _ => out.extend(b"ERROR\r\n"),
        }
    }

    fn present(&mut self, key: &[u8]) -> Option<Item> {
        let item = self.items.get(key)?;
        let is_dead = item.expires.is_some_and(|expires| expires <= Instant::now());
        if is_dead && self.fault != Fault::ExpiryForgotten {
            self.items.remove(key);
            return None;
        }
        self.items.get(key).cloned()
    }

    fn find(&mut self, key: &[u8]) -> Option<Item> {
        let mut item = self.present(key)?;
        let before = self.before.get(key).cloned();
        if let (Some(before), true) = (before, !key.starts_with(b"c")) {
            if self.is_wrong(Fault::Stale) {
                return Some(before);
            }
            if before.value.len() > 20 && self.is_wrong(Fault::Torn) {
                let middle = item.value.len().min(before.value.len()) / 2;
                let end = item.value.len().min(before.value.len());
                item.value[middle..end].copy_from_slice(&before.value[middle..end]);
            }
        }
        if self.is_wrong(Fault::Swapped) {
            let other = self.items.iter().find(|(other, _)| other.starts_with(b"h") && *other != key);
            item.value = other.map_or(item.value, |(_, other)| other.value.clone());
        }
        if self.is_wrong(Fault::ChangedId) {
            item.cas += 1;
        }
        Some(item)
    }

    fn set(&mut self, key: &str, value: Vec<u8>, seconds: u64) -> bool {
        let is_refused = self.is_wrong(Fault::RefusedStored);
        self.keep(key, value, seconds);
        !is_refused
    }

    /// 0 when stored, 1 when the item has changed, 2 when there is none.
    fn swap(&mut self, key: &str, value: Vec<u8>, seconds: u64, cas: u64) -> usize {
        match self.present(key.as_bytes()) {
            None => 2,
            Some(item) if item.cas != cas && self.fault != Fault::LostSwap => 1,
            Some(_) => {
                self.keep(key, value, seconds);
                0
            }
        }
    }

    fn keep(&mut self, key: &str, value: Vec<u8>, seconds: u64) {
        if !self.is_wrong(Fault::SameId) {
            self.cas += 1;
        }
        let cas = match self.is_wrong(Fault::LowerId) {
            true => {
                self.low_cas += 1;
                self.low_cas
            }
            false => self.cas,
        };
        let expires = (seconds > 0).then(|| Instant::now() + Duration::from_secs(seconds));
        let old = self.items.insert(key.as_bytes().to_vec(), Item { value, cas, expires });
        if let Some(old) = old {
            self.before.insert(key.as_bytes().to_vec(), old);
        }
    }

    /// Whether to do this wrong now.
    fn is_wrong(&mut self, fault: Fault) -> bool {
        self.fault == fault && self.random.one_in(WRONG_ONE_IN)
    }
}

/// Where CAS ids begin; lower ones are left for what is wrong.
const HIGH_CAS: u64 = 1 << 32;

/// A fault shows once in so many chances.
const WRONG_ONE_IN: usize = 500;

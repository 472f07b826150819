//! Meta commands: any flags in any order.

use crate::bytes::Bytes;

use super::items::{Counted, Item, Mode, NewItem, Outcome};
use super::{Oracle, Script};

/// A flag: its letter and its argument.
#[derive(Clone)]
struct Flag {
    letter: char,
    text: String,
}

impl Oracle {
    /// Adds a meta command.
    pub(super) fn meta(&mut self, bytes: &mut Bytes<'_>, script: &mut Script) {
        match bytes.below(16) {
            0..6 => self.meta_get(bytes, script),
            6..10 => self.meta_set(bytes, script),
            10..12 => self.meta_delete(bytes, script),
            12..14 => self.meta_count(bytes, script),
            14 => self.broken_meta(bytes, script),
            _ => {
                // Several in a row, which the server looks up together.
                for _ in 0..2 + bytes.below(30) {
                    self.meta_get(bytes, script);
                }
            }
        }
    }

    /// The key, its text in the line, and the flags, drawn from these letters; `b` comes with a key in base64.
    fn meta_line(&mut self, letters: &str, bytes: &mut Bytes<'_>) -> (Vec<u8>, Vec<u8>, Vec<Flag>) {
        let mut key = self.key(bytes);
        let mut flags: Vec<Flag> = Vec::new();
        let letters: Vec<char> = letters.chars().collect();
        for _ in 0..bytes.below(8) {
            let letter = letters[bytes.below(letters.len())];
            if flags.iter().any(|flag| flag.letter == letter) {
                continue;
            }
            let argument = match letter {
                'T' | 'N' | 'R' => self.exptime(bytes).to_string(),
                'C' => self.cas(&key, bytes).to_string(),
                'E' => (1_000_000 + u64::from(bytes.byte())).to_string(),
                'F' => self.flags(bytes).to_string(),
                'D' | 'J' => self.delta(bytes).to_string(),
                'O' => "opaque-0123456789012345678901234"[..bytes.below(32)].to_string(),
                'M' => ["S", "E", "A", "P", "R", "APPEND"][bytes.below(6)].to_string(),
                _ => String::new(),
            };
            flags.push(Flag { letter, text: format!("{letter}{argument}") });
        }
        let text = match has(&flags, 'b') {
            true => {
                // What is sent is the key whose length is limited.
                key.truncate(BINARY_KEY_BYTES_MAX);
                base64(&key)
            }
            false => key.clone(),
        };
        (key, text, flags)
    }

    fn meta_get(&mut self, bytes: &mut Bytes<'_>, script: &mut Script) {
        let (key, text, flags) = self.meta_line("vvvsktcfhquObNRTCE", bytes);
        script.line(line("mg", &text, &flags), "");
        let mut is_created = false;
        if self.items.find(&key).is_none() {
            if !has(&flags, 'N') {
                let reply = bare("EN", &key, &flags);
                script.answer(reply, has(&flags, 'q'));
                return;
            }
            is_created = true;
            self.items.put(&key, Vec::new(), 0, 0, number(&flags, 'E'));
        }
        let seconds = self.items.seconds;
        let deadlines: Vec<u32> = flags.iter().map(|flag| self.items.deadline(signed(&flag.text))).collect();
        let item = self.items.find(&key).expect("an item");
        let has_value = has(&flags, 'v') && number(&flags, 'C') != Some(item.cas);
        let mut reply = if has_value { format!("VA {}", item.value.len()) } else { "HD".to_string() }.into_bytes();
        let mut wins = false;
        for (flag, &deadline) in flags.iter().zip(&deadlines) {
            match flag.letter {
                'T' => item.exptime = deadline,
                'N' if is_created => {
                    item.exptime = deadline;
                    wins = true;
                }
                'R' => wins |= !item.is_won && !is_created && item.exptime != 0 && item.exptime < deadline,
                's' => reply.extend(format!(" s{}", item.value.len()).into_bytes()),
                't' => reply.extend(ttl(item, seconds).into_bytes()),
                'c' => reply.extend(format!(" c{}", item.cas).into_bytes()),
                'f' => reply.extend(format!(" f{}", item.flags).into_bytes()),
                'h' => reply.extend(format!(" h{}", u8::from(item.is_fetched)).into_bytes()),
                'O' => reply.extend(format!(" {}", flag.text).into_bytes()),
                'k' => reply.extend(shown(&key, item.is_binary)),
                _ => {}
            }
        }
        if item.is_won {
            reply.extend(b" Z");
        }
        if item.is_stale {
            reply.extend(b" X");
            wins |= !item.is_won;
        }
        if wins {
            reply.extend(b" W");
            item.is_won = true;
        }
        reply.extend(b"\r\n");
        if has_value {
            reply.extend_from_slice(&item.value);
            reply.extend(b"\r\n");
        }
        if !has(&flags, 'u') {
            item.is_fetched = true;
        }
        script.answer(reply, false);
    }

    fn meta_set(&mut self, bytes: &mut Bytes<'_>, script: &mut Script) {
        let (key, text, flags) = self.meta_line("kcsqObFTMCINE", bytes);
        let value = self.value(bytes);
        let mut input = [b"ms ", &text[..], format!(" {}", value.len()).as_bytes()].concat();
        for flag in &flags {
            input.extend(format!(" {}", flag.text).into_bytes());
        }
        input.extend_from_slice(b"\r\n");
        input.extend_from_slice(&value);
        script.line(input, "");
        let has_compare = has(&flags, 'C');
        let mode = match flags.iter().find(|flag| flag.letter == 'M').map(|flag| flag.text.as_bytes()[1]) {
            None | Some(b'S' | b'R') if has_compare => Mode::Cas,
            None | Some(b'S') => Mode::Set,
            Some(b'R') => Mode::Replace,
            Some(b'E') => Mode::Add,
            Some(b'A') => Mode::Append,
            _ => Mode::Prepend,
        };
        let vivifies = has(&flags, 'N');
        let is_join = matches!(mode, Mode::Append | Mode::Prepend);
        let lifetime = if is_join && vivifies { 'N' } else { 'T' };
        let exptime = flags.iter().find(|flag| flag.letter == lifetime).map_or(0, |flag| signed(&flag.text));
        let new = NewItem {
            mode,
            value,
            flags: number(&flags, 'F').unwrap_or(0) as u32,
            exptime: self.items.deadline(exptime),
            compare: number(&flags, 'C').unwrap_or(0),
            cas: number(&flags, 'E'),
            allows_stale: has(&flags, 'I'),
            is_binary: has(&flags, 'b'),
            vivifies,
        };
        let (stored, cas, bytes_now) = self.items.store(&key, new);
        let code = match stored {
            Outcome::Stored if has(&flags, 'q') => return,
            Outcome::Stored => "HD",
            Outcome::NotStored => "NS",
            Outcome::Exists => "EX",
            Outcome::NotFound => "NF",
            Outcome::TooLarge => {
                // In every mode: nobody is to read what was meant to be replaced.
                self.items.remove(&key);
                return script.answer("SERVER_ERROR object too large for cache\r\n", false);
            }
        };
        let mut reply = code.as_bytes().to_vec();
        for flag in &flags {
            match flag.letter {
                'O' => reply.extend(format!(" {}", flag.text).into_bytes()),
                'k' => reply.extend(shown(&key, has(&flags, 'b'))),
                'c' => reply.extend(format!(" c{cas}").into_bytes()),
                's' => reply.extend(format!(" s{bytes_now}").into_bytes()),
                _ => {}
            }
        }
        reply.extend(b"\r\n");
        script.answer(reply, false);
    }

    fn meta_delete(&mut self, bytes: &mut Bytes<'_>, script: &mut Script) {
        let (key, text, flags) = self.meta_line("kqObTCxIFE", bytes);
        script.line(line("md", &text, &flags), "");
        let Some(cas) = self.items.find(&key).map(|item| item.cas) else {
            return script.answer(bare("NF", &key, &flags), false);
        };
        if number(&flags, 'C').is_some_and(|compare| compare != cas) {
            return script.answer(bare("EX", &key, &flags), false);
        }
        let exptime = flags.iter().find(|flag| flag.letter == 'T').map(|flag| self.items.deadline(signed(&flag.text)));
        let given = number(&flags, 'E');
        if has(&flags, 'x') {
            let client_flags = number(&flags, 'F').unwrap_or(0) as u32;
            self.items.put(&key, Vec::new(), client_flags, exptime.unwrap_or(0), Some(given.unwrap_or(cas)));
        }
        if has(&flags, 'I') {
            let cas = given.unwrap_or_else(|| self.items.next_cas(&key));
            let item = self.items.put_back(&key);
            item.exptime = exptime.unwrap_or(item.exptime);
            (item.is_stale, item.is_won, item.cas) = (true, false, cas);
        } else if !has(&flags, 'x') {
            self.items.remove(&key);
        }
        script.answer(bare("HD", &key, &flags), has(&flags, 'q'));
    }

    fn meta_count(&mut self, bytes: &mut Bytes<'_>, script: &mut Script) {
        // Not T and E: where the number gets longer they reach the item here, and not in memcached.
        let (key, text, mut flags) = self.meta_line("tckvqObNJDC", bytes);
        let is_up = bytes.one_in(2);
        if !is_up || bytes.one_in(4) {
            let word = if is_up { ["I", "+", "INCR"] } else { ["D", "-", "DECR"] }[bytes.below(3)];
            flags.push(Flag { letter: 'M', text: format!("M{word}") });
        }
        script.line(line("ma", &text, &flags), "");
        let compare = number(&flags, 'C').unwrap_or(0);
        let delta = number(&flags, 'D').unwrap_or(1);
        let mut is_created = false;
        let (value, cas) = match self.items.count(&key, is_up, delta, compare, None) {
            Counted::Done { value, cas } => (value, cas),
            Counted::NotFound if has(&flags, 'N') => {
                is_created = true;
                let value = number(&flags, 'J').unwrap_or(0);
                (value, self.items.put(&key, value.to_string().into_bytes(), 0, 0, None).cas)
            }
            Counted::NotFound => return script.answer(bare("NF", &key, &flags), false),
            Counted::Exists => return script.answer(bare("EX", &key, &flags), false),
            Counted::NonNumeric => {
                let reply = "CLIENT_ERROR cannot increment or decrement non-numeric value\r\n";
                return script.answer(reply, false);
            }
        };
        let digits = value.to_string();
        let has_value = has(&flags, 'v');
        let mut reply = if has_value { format!("VA {}", digits.len()) } else { "HD".to_string() }.into_bytes();
        for flag in &flags {
            let deadline = self.items.deadline(signed(&flag.text));
            let seconds = self.items.seconds;
            let item = self.items.put_back(&key);
            match flag.letter {
                'c' => reply.extend(format!(" c{cas}").into_bytes()),
                't' => reply.extend(ttl(item, seconds).into_bytes()),
                'N' if is_created => item.exptime = deadline,
                'O' => reply.extend(format!(" {}", flag.text).into_bytes()),
                'k' => reply.extend(shown(&key, has(&flags, 'b'))),
                _ => {}
            }
        }
        reply.extend(b"\r\n");
        if has_value {
            reply.extend(format!("{digits}\r\n").into_bytes());
        }
        script.answer(reply, has(&flags, 'q'));
    }

    fn broken_meta(&mut self, bytes: &mut Bytes<'_>, script: &mut Script) {
        let bad_line = "CLIENT_ERROR bad command line format\r\n";
        let bad_token = "CLIENT_ERROR bad token in command line format\r\n";
        let bad_count = "CLIENT_ERROR invalid or duplicate flag\r\n";
        let long = format!("mg {} v", "l".repeat(251));
        // The 189 bytes of the key take 252.
        let long_binary = format!("mg {} v b", "bGxs".repeat(63));
        let many = format!("mg k5{}", " v".repeat(19));
        let opaque = format!("mg none O{}", "o".repeat(32));
        let cases = [
            ("mg", bad_line),
            (long.as_str(), bad_line),
            (&long_binary, bad_line),
            ("mg k5 ?", bad_line),
            ("mg k5 v v", "CLIENT_ERROR duplicate flag\r\n"),
            ("mg k5 z", "CLIENT_ERROR invalid flag\r\n"),
            ("mg k5 C", bad_token),
            ("mg k5 Tx", bad_token),
            (&many, "CLIENT_ERROR options flags are too long\r\n"),
            ("mg !!!! b v", "CLIENT_ERROR error decoding key\r\n"),
            (&opaque, "CLIENT_ERROR opaque token too long\r\n"),
            ("ms k5", bad_line),
            ("ms k5 S3", bad_line),
            ("ms k5 3 MX\r\nabc", "CLIENT_ERROR invalid mode for ms M token\r\n"),
            ("ms k5 3 Cx q\r\nabc", bad_token),
            ("ma k5 D", bad_count),
            ("ma k5 MZ", "CLIENT_ERROR invalid mode for ma M token\r\n"),
            ("md k5 Cx", bad_token),
        ];
        let (line, reply) = cases[bytes.below(cases.len())];
        script.line(line, reply);
    }
}

fn has(flags: &[Flag], letter: char) -> bool {
    flags.iter().any(|flag| flag.letter == letter)
}

/// The number of a flag.
fn number(flags: &[Flag], letter: char) -> Option<u64> {
    flags.iter().find(|flag| flag.letter == letter).and_then(|flag| flag.text[1..].parse().ok())
}

/// The number in a flag's text; 0 when there is none.
fn signed(text: &str) -> i64 {
    text.get(1..).and_then(|text| text.parse().ok()).unwrap_or(0)
}

fn line(word: &str, text: &[u8], flags: &[Flag]) -> Vec<u8> {
    let mut line = [word.as_bytes(), b" ", text].concat();
    for flag in flags {
        line.extend(format!(" {}", flag.text).into_bytes());
    }
    line
}

/// The reply of a command that has no item to show.
fn bare(code: &str, key: &[u8], flags: &[Flag]) -> Vec<u8> {
    let mut reply = code.as_bytes().to_vec();
    for flag in flags {
        match flag.letter {
            'O' => reply.extend(format!(" {}", flag.text).into_bytes()),
            'k' => reply.extend(shown(key, has(flags, 'b'))),
            _ => {}
        }
    }
    reply.extend(b"\r\n");
    reply
}

fn shown(key: &[u8], is_binary: bool) -> Vec<u8> {
    match is_binary {
        true => [b" k", &base64(key)[..], b" b"].concat(),
        false => [b" k", key].concat(),
    }
}

fn ttl(item: &Item, seconds: u32) -> String {
    match item.exptime {
        0 => " t-1".to_string(),
        exptime => format!(" t{}", exptime.wrapping_sub(seconds)),
    }
}

/// The longest key that takes no more than 250 bytes in base64.
const BINARY_KEY_BYTES_MAX: usize = 186;

fn base64(bytes: &[u8]) -> Vec<u8> {
    const LETTERS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = Vec::new();
    for group in bytes.chunks(3) {
        let bits = group.iter().fold(0u32, |bits, byte| bits << 8 | u32::from(*byte)) << (8 * (3 - group.len()));
        for place in 0..4 {
            match place <= group.len() {
                true => text.push(LETTERS[(bits >> (18 - 6 * place) & 63) as usize]),
                false => text.push(b'='),
            }
        }
    }
    text
}

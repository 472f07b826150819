//! Classic text commands.

use crate::bytes::Bytes;

use super::items::{Counted, Mode, NewItem, Outcome};
use super::{Oracle, Script};

const BAD_LINE: &str = "CLIENT_ERROR bad command line format\r\n";

impl Oracle {
    /// Adds a classic command.
    pub(super) fn text(&mut self, bytes: &mut Bytes<'_>, script: &mut Script) {
        match bytes.below(16) {
            0..4 => self.store_line(bytes, script),
            4..7 => self.get(bytes, script),
            7 => self.get_and_touch(bytes, script),
            8 | 9 => self.count_line(bytes, script),
            10 => {
                let key = self.key(bytes);
                let silence = silence(bytes);
                let is_there = self.items.remove(&key);
                script.line([b"delete ", &key[..], silence].concat(), "");
                let is_quiet = !silence.is_empty() || key == b"noreply";
                script.answer(if is_there { "DELETED\r\n" } else { "NOT_FOUND\r\n" }, is_quiet);
            }
            11 => {
                let (key, exptime) = (self.key(bytes), self.exptime(bytes));
                let silence = silence(bytes);
                script.line([b"touch ", &key[..], format!(" {exptime}").as_bytes(), silence].concat(), "");
                let is_there = self.touch(&key, exptime.into());
                script.answer(if is_there { "TOUCHED\r\n" } else { "NOT_FOUND\r\n" }, !silence.is_empty());
            }
            12 => self.broken_line(bytes, script),
            13 => self.broken_store(bytes, script),
            14 => match bytes.byte() % 8 {
                0 => {
                    self.items.flush();
                    script.line("flush_all", "OK\r\n");
                }
                1 => script.line("flush_all 1000000 noreply", ""),
                2 => script.line("verbosity 0", "OK\r\n"),
                3 => script.line("version", "VERSION 1.6.45\r\n"),
                4 if bytes.one_in(8) => {
                    script.line("quit", "");
                    script.is_ended = true;
                }
                _ => script.line("mn", "MN\r\n"),
            },
            _ => self.same_again(bytes, script),
        }
    }

    /// Sets and gets in a row, which the server may do together.
    fn same_again(&mut self, bytes: &mut Bytes<'_>, script: &mut Script) {
        let (count, is_set) = (2 + bytes.below(40), bytes.one_in(2));
        for number in 0..count {
            let key = format!("k{}", 3 + (number * 7) % 17).into_bytes();
            if is_set {
                let value = format!("value {number}");
                script.line(
                    [b"set ", &key[..], format!(" 0 0 {}\r\n{value}", value.len()).as_bytes()].concat(),
                    "STORED\r\n",
                );
                self.items.put(&key, value.into_bytes(), 0, 0, None);
            } else {
                script.line([b"get ", &key[..]].concat(), "");
                self.show(&key, false, script);
                script.answer("END\r\n", false);
            }
        }
    }

    pub(super) fn touch(&mut self, key: &[u8], exptime: i64) -> bool {
        let deadline = self.items.deadline(exptime);
        let Some(item) = self.items.find(key) else { return false };
        item.exptime = deadline;
        item.is_fetched = true;
        true
    }

    fn store_line(&mut self, bytes: &mut Bytes<'_>, script: &mut Script) {
        let (word, mode) = [
            ("set", Mode::Set),
            ("set", Mode::Set),
            ("set", Mode::Set),
            ("add", Mode::Add),
            ("replace", Mode::Replace),
            ("append", Mode::Append),
            ("prepend", Mode::Prepend),
            ("cas", Mode::Cas),
        ][bytes.below(8)];
        let (key, value) = (self.key(bytes), self.value(bytes));
        let (flags, exptime) = (self.flags(bytes), self.exptime(bytes));
        let compare = if mode == Mode::Cas { self.cas(&key, bytes) } else { 0 };
        let silence = silence(bytes);
        let mut line = [word.as_bytes(), b" ", &key[..]].concat();
        line.extend(format!(" {flags} {exptime} {}", value.len()).into_bytes());
        if mode == Mode::Cas {
            line.extend(format!(" {compare}").into_bytes());
        }
        line.extend_from_slice(silence);
        line.extend_from_slice(if bytes.one_in(8) { b"\n" } else { b"\r\n" });
        line.extend_from_slice(&value);
        script.line(line, "");
        let exptime = self.items.deadline(exptime.into());
        let new = NewItem {
            mode,
            value,
            flags,
            exptime,
            compare,
            cas: None,
            allows_stale: false,
            is_binary: false,
            vivifies: false,
        };
        let reply = match self.items.store(&key, new).0 {
            Outcome::Stored => "STORED\r\n",
            Outcome::NotStored => "NOT_STORED\r\n",
            Outcome::Exists => "EXISTS\r\n",
            Outcome::NotFound => "NOT_FOUND\r\n",
            Outcome::TooLarge => {
                // Nobody is to read what was meant to be replaced.
                if mode == Mode::Set {
                    self.items.remove(&key);
                }
                "SERVER_ERROR object too large for cache\r\n"
            }
        };
        script.answer(reply, !silence.is_empty());
    }

    fn get(&mut self, bytes: &mut Bytes<'_>, script: &mut Script) {
        let has_cas = bytes.one_in(3);
        let mut line = if has_cas { b"gets".to_vec() } else { b"get".to_vec() };
        let count = if bytes.one_in(4) { 1 + bytes.below(80) } else { 1 };
        let mut keys = Vec::new();
        for _ in 0..count {
            let key = self.key(bytes);
            line.push(b' ');
            line.extend_from_slice(&key);
            keys.push(key);
        }
        script.line(line, "");
        for key in keys {
            self.show(&key, has_cas, script);
        }
        script.answer("END\r\n", false);
    }

    fn get_and_touch(&mut self, bytes: &mut Bytes<'_>, script: &mut Script) {
        let has_cas = bytes.one_in(2);
        let exptime = self.exptime(bytes);
        let mut line = format!("gat{} {exptime}", if has_cas { "s" } else { "" }).into_bytes();
        let mut keys = Vec::new();
        for _ in 0..1 + bytes.below(4) {
            let key = self.key(bytes);
            line.push(b' ');
            line.extend_from_slice(&key);
            keys.push(key);
        }
        script.line(line, "");
        for key in keys {
            self.show(&key, has_cas, script);
            self.touch(&key, exptime.into());
        }
        script.answer("END\r\n", false);
    }

    /// The value of a key, if there is one.
    fn show(&mut self, key: &[u8], has_cas: bool, script: &mut Script) {
        let Some(item) = self.items.find(key) else { return };
        item.is_fetched = true;
        let cas = if has_cas { format!(" {}", item.cas) } else { String::new() };
        script.answer([b"VALUE ", key].concat(), false);
        script.answer(format!(" {} {}{cas}\r\n", item.flags, item.value.len()), false);
        script.answer(&item.value, false);
        script.answer("\r\n", false);
    }

    fn count_line(&mut self, bytes: &mut Bytes<'_>, script: &mut Script) {
        let is_up = bytes.one_in(2);
        let (key, delta) = (self.key(bytes), self.delta(bytes));
        let silence = silence(bytes);
        let word: &[u8] = if is_up { b"incr " } else { b"decr " };
        script.line([word, &key, format!(" {delta}").as_bytes(), silence].concat(), "");
        let reply = match self.items.count(&key, is_up, delta, 0, None) {
            Counted::Done { value, .. } => format!("{value}\r\n"),
            Counted::NotFound => "NOT_FOUND\r\n".to_string(),
            _ => "CLIENT_ERROR cannot increment or decrement non-numeric value\r\n".to_string(),
        };
        script.answer(reply, !silence.is_empty());
    }

    /// Lines that are refused.
    fn broken_line(&mut self, bytes: &mut Bytes<'_>, script: &mut Script) {
        let bad_exptime = "CLIENT_ERROR invalid exptime argument\r\n";
        let bad_delta = "CLIENT_ERROR invalid numeric delta argument\r\n";
        let long = format!("delete {}", "l".repeat(251));
        let cases = [
            ("get", BAD_LINE),
            ("gets  ", BAD_LINE),
            ("gat 1", BAD_LINE),
            ("gat x k5", bad_exptime),
            ("touch k5 x", bad_exptime),
            ("touch k5 x noreply", ""),
            ("touch k5", BAD_LINE),
            ("incr k5 x", bad_delta),
            ("incr k5 -1", bad_delta),
            ("decr k5 99999999999999999999", bad_delta),
            ("incr k5 x noreply", ""),
            ("incr k5", BAD_LINE),
            ("delete", BAD_LINE),
            (&long, BAD_LINE),
            ("set k5 0 0", BAD_LINE),
            ("set k5 0 0 -1", BAD_LINE),
            ("set k5 0 0 x", BAD_LINE),
            ("", BAD_LINE),
            ("x", BAD_LINE),
            ("GET k5", "ERROR\r\n"),
            (" get k5", "ERROR\r\n"),
            ("rubbish noreply", ""),
            ("flush_all x", "CLIENT_ERROR invalid exptime argument\r\n"),
        ];
        let (line, reply) = cases[bytes.below(cases.len())];
        script.line(line, reply);
    }

    /// Stores that are refused, whose data is skipped or not.
    fn broken_store(&mut self, bytes: &mut Bytes<'_>, script: &mut Script) {
        let long = format!("set {} 0 0 3\r\nabc", "l".repeat(251));
        let huge = "set k5 0 0 2147483646".to_string();
        let bad_data = format!("CLIENT_ERROR bad data chunk\r\n{BAD_LINE}");
        let cases = [
            ("set k5 x 0 3\r\nabc", BAD_LINE),
            ("set k5 0 x 3 noreply\r\nabc", ""),
            ("cas k5 0 0 3 x\r\nabc", BAD_LINE),
            ("cas k5 0 0 3\r\nabc", BAD_LINE),
            (&long, BAD_LINE),
            (&huge, BAD_LINE),
            ("set k5 0 0 3\r\nabcde", &bad_data),
            ("append k5 0 0 3 noreply\r\nabcde", BAD_LINE),
        ];
        let (line, reply) = cases[bytes.below(cases.len())];
        script.line(line, reply);
    }
}

/// ` noreply`, or not.
fn silence(bytes: &mut Bytes<'_>) -> &'static [u8] {
    if bytes.one_in(6) { b" noreply" } else { b"" }
}

//! Keys of a retrieval, or of several in a row, answered together by one visit to each partition they are in.
//!
//! Partitions are visited one after another, so when keys are in more than one the values come out of order: they are kept in
//! [`Scratch`](super::service::Scratch) until it is their turn. What is not answered together (a large value, a key behind
//! too many bytes, all keys while somebody watches) was not looked up either, and is left to the caller.

use crate::base::hash::KeyHash;
use crate::base::key;
use crate::protocol::text::line::next_token;
use crate::protocol::text::reply;
use crate::store::BATCH_KEYS_MAX;
use crate::store::value::Value;

use super::output::{Output, ROOM_BYTES};
use super::retrieval::{Wanted, is_observed, write_inline};
use super::service::Context;
use super::verbose;

/// Reply bytes of a batch behind which no further key is answered together.
const BATCH_BYTES_MAX: usize = 64 * 1024;

/// What has become of a key.
#[derive(Clone, Copy)]
enum Answer {
    /// Nothing yet.
    Left,
    /// It is in the scratch memory, from the first to before the second byte.
    Kept(u32, u32),
}

/// See the module comment.
pub(super) struct Batch<'a> {
    keys: [&'a [u8]; BATCH_KEYS_MAX],
    hashes: [KeyHash; BATCH_KEYS_MAX],
    answers: [Answer; BATCH_KEYS_MAX],
    /// Bytes of the list behind each key.
    left: [usize; BATCH_KEYS_MAX],
    /// count <= BATCH_KEYS_MAX
    count: usize,
    /// The first so many keys are answered already: written <= count
    written: usize,
    /// Keys up to and with the last one whose answer is kept: kept_until <= count
    kept_until: usize,
    has_bad_key: bool,
}

impl<'a> Batch<'a> {
    /// A batch of no keys.
    pub fn new() -> Self {
        Self {
            keys: [&[]; BATCH_KEYS_MAX],
            hashes: [KeyHash(0); BATCH_KEYS_MAX],
            answers: [Answer::Left; BATCH_KEYS_MAX],
            left: [0; BATCH_KEYS_MAX],
            count: 0,
            written: 0,
            kept_until: 0,
            has_bad_key: false,
        }
    }

    /// Takes keys off the front of a list.
    pub fn take(rest: &mut &'a [u8], context: &Context<'_>) -> Self {
        let mut batch = Self::new();
        while batch.count < BATCH_KEYS_MAX {
            let key = next_token(rest);
            if key.is_empty() {
                break;
            }
            if !key::is_valid(key) {
                batch.has_bad_key = true;
                break;
            }
            batch.add(key, rest.len(), context);
        }
        batch
    }

    /// Adds a key with `left` bytes behind it; there must be room.
    #[inline(always)]
    pub fn add(&mut self, key: &'a [u8], left: usize, context: &Context<'_>) {
        self.keys[self.count] = key;
        self.hashes[self.count] = context.service.store.hash(key);
        self.left[self.count] = left;
        self.count += 1;
    }

    /// Keys.
    #[inline]
    pub fn count(&self) -> usize {
        self.count
    }

    /// How many keys [`Batch::answer_together`] has answered, from the first on.
    #[inline]
    pub fn written(&self) -> usize {
        self.written
    }

    /// Whether the key behind these is too long.
    pub fn has_bad_key(&self) -> bool {
        self.has_bad_key
    }

    /// Bytes of the list behind a key.
    #[inline]
    pub fn left(&self, index: usize) -> usize {
        self.left[index]
    }

    /// Whether the turn may end before a key: not while a key behind it has been answered, for its get is counted.
    #[inline]
    pub fn may_stop_before(&self, index: usize) -> bool {
        index >= self.kept_until
    }

    /// What to look up for a key.
    #[inline]
    pub fn wanted(&self, index: usize) -> Wanted<'a> {
        Wanted { key: self.keys[index], hash: self.hashes[index] }
    }

    /// Looks up what can be looked up together. The first answers may be in the output then ([`Batch::written`]);
    /// [`Batch::push_answer`] gives the others. With `ends` each key's answer
    /// has its own end.
    pub fn answer_together(&mut self, has_cas: bool, ends: bool, output: &mut Output, context: &mut Context<'_>) {
        let service = context.service;
        if self.count < 2 || is_observed(service) || verbose::is_on() || !output.is_plain() {
            return;
        }
        let is_in_order = service.store.are_in_one_partition(&self.hashes[..self.count]);
        let out = if is_in_order { output.bytes() } else { &mut context.scratch.replies };
        if !is_in_order {
            out.clear();
            if out.try_reserve(ROOM_BYTES).is_err() {
                return;
            }
        }
        let limit = out.len() + BATCH_BYTES_MAX;
        let mut is_open = true;
        let keys = &self.keys[..self.count];
        let (answers, written, kept_until) = (&mut self.answers, &mut self.written, &mut self.kept_until);
        service.store.get_batch(keys, &self.hashes[..self.count], context.now, |index, item| {
            let start = out.len();
            if !is_open || start > limit {
                return false;
            }
            match item {
                Some(item) if !write_inline(keys[index], item, has_cas, ends, out) => {
                    // Its place is here, so in order nothing may follow; and what is large may end the turn.
                    is_open = false;
                    return false;
                }
                None if ends => out.extend_from_slice(reply::END),
                _ => {}
            }
            if is_in_order {
                *written = index + 1;
            } else {
                *kept_until = (*kept_until).max(index + 1);
                answers[index] = Answer::Kept(start as u32, out.len() as u32);
            }
            true
        });
    }

    /// Appends a key's answer, if one is kept, and says so. To be asked in the order of the keys behind those that are
    /// written, each once.
    #[inline]
    pub fn push_answer(&self, index: usize, output: &mut Output, context: &Context<'_>) -> bool {
        let Answer::Kept(start, end) = self.answers[index] else {
            return false;
        };
        output.push_value(Value::Inline(&context.scratch.replies[start as usize..end as usize]));
        true
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use super::BATCH_BYTES_MAX;
    use crate::command::Session;
    use crate::command::service::ProtocolChoice;
    use crate::command::testing::{Client, service_with};
    use crate::store::{BATCH_KEYS_MAX, Config};

    /// What is stored under a number: of every fifth key nothing, of every seventh a large value, some with client flags.
    fn value(number: usize) -> Option<(u32, String)> {
        let bytes = match number {
            number if number % 5 == 4 => return None,
            number if number % 7 == 3 => 20_000 + number,
            number => number,
        };
        Some((number as u32 % 3, "v".repeat(bytes)))
    }

    fn shown(number: usize) -> String {
        let show = |(flags, value): (u32, String)| format!("VALUE key{number} {flags} {}\r\n{value}\r\n", value.len());
        value(number).map(show).unwrap_or_default()
    }

    /// Sets and gets of `count` keys: sets one behind another, gets one behind another, and one get of all keys.
    #[track_caller]
    fn check(partitions: usize, count: usize) {
        let service = service_with(Config { partitions, ..Config::default() });
        let mut client = Client::new(&service);
        let (mut input, mut expected) = (String::new(), String::new());
        for number in 0..count {
            if let Some((flags, value)) = value(number) {
                // Of two for one key in a batch the last wins.
                input += &format!("set key{number} 9 0 5\r\nfirst\r\n");
                input += &format!("set key{number} {flags} 0 {}\r\n{value}\r\n", value.len());
                expected += "STORED\r\nSTORED\r\n";
            }
        }
        for number in 0..count {
            input += &format!("get key{number}\r\n");
            expected += &shown(number);
            expected += "END\r\n";
        }
        input += "get";
        for number in (0..count).rev() {
            input += &format!(" key{number}");
            expected += &shown(number);
        }
        input += "\r\n";
        expected += "END\r\n";
        client.feed(input.as_bytes());
        assert!(String::from_utf8_lossy(&client.sent) == expected, "{partitions} partitions, {count} keys");
        let counters = service.store.snapshot();
        let hits: u64 = counters.classes.iter().map(|class| class.counters.get_hits()).sum();
        let there = (0..count).filter(|&number| value(number).is_some()).count();
        assert_eq!((hits, counters.counters.get_misses), (2 * there as u64, 2 * (count - there) as u64));
        let sets: u64 = counters.classes.iter().map(|class| class.counters.cmd_set).sum();
        assert_eq!(sets, 2 * there as u64);
    }

    #[test]
    fn answers_come_in_the_order_of_the_keys() {
        for partitions in [1, 2, 16, 256] {
            for count in [1, 2, 19, 33, 100] {
                check(partitions, count);
            }
        }
    }

    #[test]
    fn answers_of_one_hot_key_are_not_kept() {
        let service = service_with(Config { partitions: 4, ..Config::default() });
        let mut client = Client::new(&service);
        client.feed(b"set hot 0 0 1\r\n1\r\n");
        let kept = |service: &crate::command::Service, input: &[u8]| {
            Client::new(service).visit(|output, context| {
                Session::new(ProtocolChoice::Text).process(input, output, context);
                (output.pending(), context.scratch.replies.len())
            })
        };
        let one = b"VALUE hot 0 1\r\n1\r\nEND\r\n".len();
        assert_eq!(kept(&service, &b"get hot\r\n".repeat(20)), (20 * one, 0));
        let many: String = (0..20).map(|number| format!("get key{number}\r\n")).collect();
        assert_ne!(kept(&service, many.as_bytes()).1, 0, "twenty keys in one partition of four");
    }

    #[test]
    fn gets_with_cas_ids_are_answered_together_too() {
        let service = service_with(Config { partitions: 8, ..Config::default() });
        let mut client = Client::new(&service);
        client.feed(b"set a 0 0 1\r\n1\r\nset b 7 0 1\r\n2\r\nset c 0 0 1\r\n3\r\ngets c x b a\r\n");
        let sent = String::from_utf8_lossy(&client.sent).into_owned();
        let mut cas_ids = HashMap::new();
        for line in sent.lines().filter(|line| line.starts_with("VALUE")) {
            let words: Vec<_> = line.split(' ').collect();
            assert_eq!(words.len(), 5, "{line}");
            cas_ids.insert(words[4].to_owned(), words[1].to_owned());
        }
        assert_eq!(cas_ids.len(), 3);
        let keys: Vec<_> = sent.lines().filter_map(|line| line.strip_prefix("VALUE ")).map(|line| &line[..1]).collect();
        assert_eq!(keys, ["c", "b", "a"]);
    }

    #[test]
    fn many_bytes_are_answered_too() {
        let service = service_with(Config { partitions: 4, ..Config::default() });
        let mut client = Client::new(&service);
        let value = "v".repeat(15_000);
        let (mut line, mut expected) = ("get".to_owned(), String::new());
        for number in 0..60 {
            client.feed(format!("set key{number} 0 0 15000 noreply\r\n{value}\r\n").as_bytes());
            line += &format!(" key{number}");
            expected += &format!("VALUE key{number} 0 15000\r\n{value}\r\n");
        }
        client.feed(format!("{line}\r\n").as_bytes());
        assert!(String::from_utf8_lossy(&client.sent) == expected + "END\r\n");
        let hits: u64 = service.store.snapshot().classes.iter().map(|class| class.counters.get_hits()).sum();
        assert_eq!(hits, 60);
    }

    #[test]
    fn answers_that_are_long_together_are_not_made_together() {
        let service = service_with(Config { partitions: 4, ..Config::default() });
        let mut client = Client::new(&service);
        let mut line = "get".to_owned();
        for number in 0..BATCH_KEYS_MAX {
            client.feed(format!("set key{number} 0 0 15000 noreply\r\n{}\r\n", "v".repeat(15_000)).as_bytes());
            line += &format!(" key{number}");
        }
        let made = client.visit(|output, context| {
            Session::new(ProtocolChoice::Text).process(format!("{line}\r\n").as_bytes(), output, context);
            context.scratch.replies.len()
        });
        assert!((BATCH_BYTES_MAX..BATCH_BYTES_MAX + 16 * 1024).contains(&made), "{made} bytes");
    }
}

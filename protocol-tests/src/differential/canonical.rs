//! One server's answers in a form that is the same for every server that is right: what [`rules`](super::rules) lets
//! differ is taken out. CAS ids become the number of their first appearance, so that one stands for one store; seconds to
//! live stand beside the text, for a comparison with some slack; idle seconds and the release are gone.
//!
//! Two forms are equal where [`Comparison`](super::compare::Comparison) would find no difference, but for the seconds.

use std::collections::HashMap;

use super::compare::{
    CAS_AT, data_bytes, digits_of, line_of, number_of, prefix_of, rule_of, seconds_of, shown, words_of,
};
use super::meta::EXPLICIT_CAS;
use super::rules::Rule;
use crate::packet::{HEADER_BYTES, body_bytes};

/// What a server has shown of its CAS ids.
#[derive(Clone, Debug, Default)]
pub struct Canonical {
    /// Of each key the id that was shown last.
    keys: HashMap<Vec<u8>, u64>,
    /// By id, its number.
    numbers: HashMap<u64, u64>,
}

/// One reply: a packet, or a line with those before it that only begin a reply.
#[derive(Clone, Debug, Default)]
pub struct Reply {
    /// Stands for its canonical bytes.
    pub digest: u64,
    /// Seconds to live in it.
    pub clocks: Vec<i64>,
    /// Its bytes as they came, where it begins in the answer, and how long it is.
    pub start: usize,
    /// See `start`.
    pub length: usize,
}

impl Reply {
    /// For people.
    pub fn shown(&self, answer: &[u8]) -> String {
        shown(answer.get(self.start..self.start + self.length).unwrap_or_default())
    }
}

impl Canonical {
    /// The CAS id that the server has shown for a key; 1 if it has shown none.
    pub fn cas(&self, key: &[u8]) -> u64 {
        self.keys.get(key).copied().unwrap_or(1)
    }

    /// The first `most` replies of an answer in their order. What is no whole reply at its end counts as one. What a server
    /// says in addition must not be looked at: its CAS ids have no counterpart.
    pub fn replies(&mut self, is_binary: bool, answer: &[u8], most: usize) -> Vec<Reply> {
        let mut replies = Vec::new();
        let mut start = 0;
        let mut reply = Reply::default();
        let mut hash = Fnv::new();
        let mut at = 0;
        while at < answer.len() && replies.len() < most {
            let rest = &answer[at..];
            let (length, is_end) = match is_binary {
                true => self.packet(rest, &mut hash, &mut reply.clocks),
                false => self.line(rest, &mut hash, &mut reply.clocks),
            };
            at += length;
            if is_end || at == answer.len() {
                (reply.digest, reply.start, reply.length) = (hash.0, start, at - start);
                replies.push(std::mem::take(&mut reply));
                (start, hash) = (at, Fnv::new());
            }
        }
        replies
    }

    /// Takes a line with its data; returns how long both are, and whether the reply ends with it.
    fn line(&mut self, answer: &[u8], hash: &mut Fnv, clocks: &mut Vec<i64>) -> (usize, bool) {
        let Some(line) = line_of(answer) else {
            hash.bytes(answer);
            return (answer.len(), true);
        };
        let words = words_of(line);
        for (index, word) in words.iter().enumerate() {
            hash.bytes(b" ");
            let digits = digits_of(word);
            match rule_of(&words, index) {
                Some(Rule::CasId) if digits.is_some() => {
                    hash.bytes(prefix_of(word));
                    hash.number(self.number(digits.unwrap_or(0)));
                }
                Some(Rule::Clock) if seconds_of(word).is_some() => {
                    hash.bytes(prefix_of(word));
                    clocks.extend(seconds_of(word));
                }
                Some(Rule::Idle) if digits.is_some() => hash.bytes(prefix_of(word)),
                Some(Rule::Release) => {}
                _ => hash.bytes(word),
            }
        }
        if let [b"VALUE", key, _, _, id] = words[..] {
            self.keys.insert(key.to_vec(), number_of(id).unwrap_or(0));
        }
        let end = line.ends_with(b"\r\n");
        hash.bytes(if end { b"\r\n" } else { b"\n" });
        let length = (line.len() + data_bytes(&words)).min(answer.len());
        hash.bytes(&answer[line.len()..length]);
        (length, !matches!(words[0], b"VALUE" | b"STAT"))
    }

    fn packet(&mut self, answer: &[u8], hash: &mut Fnv, _: &mut Vec<i64>) -> (usize, bool) {
        let Some(header) = answer.get(..HEADER_BYTES) else {
            hash.bytes(answer);
            return (answer.len(), true);
        };
        let length = (HEADER_BYTES + body_bytes(header)).min(answer.len());
        let packet = &answer[..length];
        let id = packet[CAS_AT..HEADER_BYTES].iter().fold(0, |number: u64, byte| number << 8 | u64::from(*byte));
        if header[1] == VERSION_OPCODE {
            hash.bytes(&packet[..BODY_LENGTH_AT]);
        } else {
            hash.bytes(&packet[..CAS_AT]);
            hash.bytes(&packet[HEADER_BYTES..]);
        }
        hash.number(self.number(id));
        let key_bytes = usize::from(u16::from_be_bytes([packet[2], packet[3]]));
        let key_at = HEADER_BYTES + usize::from(packet[4]);
        if let (true, Some(key)) = (key_bytes > 0 && id != 0, packet.get(key_at..key_at + key_bytes)) {
            self.keys.insert(key.to_vec(), id);
        }
        (length, true)
    }

    /// The number of an id; what the stream chose itself, and none, is what it is.
    fn number(&mut self, id: u64) -> u64 {
        if id == 0 || id >= EXPLICIT_CAS {
            return id;
        }
        let next = self.numbers.len() as u64 + 1;
        *self.numbers.entry(id).or_insert(next)
    }
}

/// FNV-1a over words of eight bytes, which is enough to notice a difference, and fast.
#[derive(Clone, Copy, Debug)]
pub struct Fnv(pub u64);

impl Fnv {
    /// Nothing so far.
    pub fn new() -> Fnv {
        Fnv(0xcbf2_9ce4_8422_2325)
    }

    /// Adds bytes, and how many they are.
    pub fn bytes(&mut self, bytes: &[u8]) {
        let mut words = bytes.chunks_exact(8);
        for word in &mut words {
            self.number(word.try_into().map_or(0, u64::from_le_bytes));
        }
        words.remainder().iter().for_each(|byte| self.number(u64::from(*byte)));
        self.number(bytes.len() as u64);
    }

    /// Adds a number.
    pub fn number(&mut self, number: u64) {
        // The high bits of a product know of all bits below them, and are brought down to where the next ones work.
        self.0 = (self.0 ^ number).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        self.0 ^= self.0 >> 32;
    }
}

impl Default for Fnv {
    fn default() -> Self {
        Fnv::new()
    }
}

const VERSION_OPCODE: u8 = 0x0b;

/// Where a packet has the length of its body.
const BODY_LENGTH_AT: usize = 8;

#[cfg(test)]
mod tests {
    use super::{Canonical, Reply};

    fn forms(answers: [&[u8]; 2], is_binary: bool) -> [Vec<(u64, Vec<i64>)>; 2] {
        answers.map(|answer| {
            let replies = Canonical::default().replies(is_binary, answer, usize::MAX);
            assert_eq!(replies.iter().map(|reply| reply.length).sum::<usize>(), answer.len());
            replies.into_iter().map(|Reply { digest, clocks, .. }| (digest, clocks)).collect()
        })
    }

    #[track_caller]
    fn check(first: &str, second: &str, is_equal: bool) {
        let [first, second] = forms([first.as_bytes(), second.as_bytes()], false);
        let digests = |form: &[(u64, Vec<i64>)]| form.iter().map(|it| it.0).collect::<Vec<_>>();
        assert_eq!(digests(&first) == digests(&second), is_equal, "{first:?} {second:?}");
    }

    #[test]
    fn what_a_rule_names_is_gone() {
        check("VALUE a 0 1 5\r\nx\r\nEND\r\n", "VALUE a 0 1 17\r\nx\r\nEND\r\n", true);
        check("HD t100 c5 l3\r\n", "HD t99 c170 l66\r\n", true);
        check("VERSION 1.6.45\r\n", "VERSION 0.1.0\r\n", true);
        check("HD c5\r\nHD c6\r\nHD c5\r\n", "HD c7\r\nHD c8\r\nHD c7\r\n", true);
    }

    #[test]
    fn nothing_else_is() {
        check("STORED\r\n", "STORED\n", false);
        check("STORED\r\nEND\r\n", "STORED\r\n", false);
        check("VALUE a 0 1\r\nx\r\nEND\r\n", "VALUE a 0 1\r\ny\r\nEND\r\n", false);
        check("VALUE a 0 1\r\nx\r\nEND\r\n", "VALUE a 1 1\r\nx\r\nEND\r\n", false);
        check("HD s5\r\n", "HD s6\r\n", false);
        check("HD t100\r\n", "HD t-1\r\n", false);
        check("HD c5\r\nHD c5\r\n", "HD c7\r\nHD c8\r\n", false);
        check("HD c5\r\nHD c6\r\n", "HD c7\r\nHD c7\r\n", false);
        check("HD c0\r\n", "HD c7\r\n", false);
    }

    #[test]
    fn seconds_stand_beside() {
        let [first, _] = forms([b"HD t100 s3\r\nHD t-1\r\nME a exp=-2 la=3 cas=2\r\n", b""], false);
        let clocks: Vec<&[i64]> = first.iter().map(|it| it.1.as_slice()).collect();
        assert_eq!(clocks, [&[100][..], &[], &[-2]]);
    }

    #[test]
    fn a_reply_is_a_packet_or_what_ends_with_a_line() {
        let mut canonical = Canonical::default();
        let answer = b"VALUE a 0 1 5\r\n\n\r\nVALUE b 0 1 6\r\nx\r\nEND\r\nSTORED\r\nSTO";
        let lengths: Vec<usize> =
            canonical.replies(false, answer, usize::MAX).iter().map(|reply| reply.length).collect();
        assert_eq!(lengths, [41, 8, 3]);
        assert_eq!((canonical.cas(b"a"), canonical.cas(b"b"), canonical.cas(b"c")), (5, 6, 1));
        let packet = [&[0x81, 1][..], &[0; 21], &[9]].concat();
        let lengths: Vec<usize> =
            canonical.replies(true, &packet.repeat(2), usize::MAX).iter().map(|reply| reply.length).collect();
        assert_eq!(lengths, [24, 24]);
    }
}

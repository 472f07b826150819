//! Two answers to the same requests, line by line and packet by packet. What is not equal must be so by a rule.

use std::collections::{BTreeMap, HashMap};

use super::ending::Ending;
use super::meta::EXPLICIT_CAS;
use super::rules::{CLOCK_SECONDS_MAX, Rule};
use crate::packet::{HEADER_BYTES, body_bytes};

/// What is known of two servers' CAS ids, and how often which rule was used.
#[derive(Debug, Default)]
pub struct Comparison {
    /// Of each key, the CAS id that the servers showed last.
    keys: HashMap<Vec<u8>, [u64; 2]>,
    /// Ids that stand for the same store.
    pairs: [HashMap<u64, u64>; 2],
    /// How often a difference was allowed, by rule.
    pub uses: BTreeMap<Rule, u64>,
    /// Whether the connections whose answers are compared next were reset.
    pub resets: [bool; 2],
    /// Whether the two are of different releases.
    pub has_two_releases: bool,
}

impl Comparison {
    /// The CAS id that a server (0 or 1) has shown for a key; 1 if it has shown none.
    pub fn cas(&self, server: usize, key: &[u8]) -> u64 {
        self.keys.get(key).map_or(1, |ids| ids[server])
    }

    /// Forgets CAS ids: the servers are new.
    pub fn forget(&mut self) {
        self.keys.clear();
        self.pairs = Default::default();
    }

    /// Compares what came over one connection, where the requests end so. The error says where and how the answers part.
    pub fn answers(&mut self, is_binary: bool, ending: Ending, answers: [&[u8]; 2]) -> Result<(), String> {
        let [mut first, mut second] = answers;
        while !first.is_empty() || !second.is_empty() {
            let at = answers[0].len() - first.len();
            let rule = match (first.is_empty(), second.is_empty()) {
                (true, _) => longer(is_binary, ending, second, self.resets[0]),
                (_, true) => shorter(is_binary, ending, first, self.resets[1]),
                _ => None,
            };
            let is_cut = is_binary
                && ending.may_be_reset
                && (self.resets[0] && is_cut(first, second) || self.resets[1] && is_cut(second, first));
            if let Some(rule) = rule.or(is_cut.then_some(Rule::Reset)) {
                *self.uses.entry(rule).or_default() += 1;
                return Ok(());
            }
            let result = match is_binary {
                true => self.packet(first, second),
                false => self.line(first, second),
            };
            let lengths = result.map_err(|reason| {
                let before = &answers[0][at.saturating_sub(SHOWN_BYTES)..at];
                format!(
                    "at {at}: {reason}\nbehind '{}'\n- {}\n+ {}",
                    before.escape_ascii(),
                    shown(first),
                    shown(second)
                )
            })?;
            first = &first[lengths[0]..];
            second = &second[lengths[1]..];
        }
        Ok(())
    }

    /// Compares one line, with the data behind it; returns how long both are.
    fn line(&mut self, first: &[u8], second: &[u8]) -> Result<[usize; 2], String> {
        let [first_line, second_line] = [first, second].map(line_of);
        let [Some(first_line), Some(second_line)] = [first_line, second_line] else {
            return if first == second { Ok([first.len(); 2]) } else { Err("one ends".to_string()) };
        };
        let words = [first_line, second_line].map(words_of);
        if words[0].len() != words[1].len() {
            return Err("other words".to_string());
        }
        for index in 0..words[0].len() {
            self.word(&words[0], &words[1], index)?;
        }
        if let [b"VALUE", key, _, _, id] = words[0][..] {
            let other = words[1][4];
            self.keys.insert(key.to_vec(), [number_of(id).unwrap_or(0), number_of(other).unwrap_or(0)]);
        }
        let data = data_bytes(&words[0]);
        let [first_data, second_data] = [(first, first_line), (second, second_line)]
            .map(|(answer, line)| &answer[line.len()..(line.len() + data).min(answer.len())]);
        if first_data != second_data {
            let at = first_data.iter().zip(second_data).take_while(|(one, other)| one == other).count();
            return Err(format!("other data from byte {at} on"));
        }
        Ok([first_line.len() + first_data.len(), second_line.len() + second_data.len()])
    }

    /// Compares a word of a line.
    fn word(&mut self, first: &[&[u8]], second: &[&[u8]], index: usize) -> Result<(), String> {
        let (one, other) = (first[index], second[index]);
        let rule = rule_of(first, index);
        if one == other {
            if rule == Some(Rule::CasId) {
                self.pair(digits_of(one), digits_of(other))?;
            }
            return Ok(());
        }
        let differs = || format!("'{}' and '{}'", one.escape_ascii(), other.escape_ascii());
        let rule = rule.filter(|_| prefix_of(one) == prefix_of(other)).ok_or_else(differs)?;
        let (one_number, other_number) = (digits_of(one), digits_of(other));
        match rule {
            Rule::CasId => self.pair(one_number, other_number)?,
            Rule::Clock => {
                let (Some(one), Some(other)) = (seconds_of(one), seconds_of(other)) else { return Err(differs()) };
                if one.is_negative() != other.is_negative() || one.abs_diff(other) > CLOCK_SECONDS_MAX {
                    return Err(differs());
                }
            }
            Rule::Idle => {
                if one_number.is_none() || other_number.is_none() {
                    return Err(differs());
                }
            }
            // Not about words.
            Rule::WrongMagic | Rule::UnfinishedValue | Rule::Reset => return Err(differs()),
            Rule::Release => {
                if !self.has_two_releases {
                    return Err(differs());
                }
            }
        }
        *self.uses.entry(rule).or_default() += 1;
        Ok(())
    }

    /// Two CAS ids that stand for the same store.
    fn pair(&mut self, first: Option<u64>, second: Option<u64>) -> Result<(), String> {
        let (Some(first), Some(second)) = (first, second) else {
            return Err("no CAS id".to_string());
        };
        // The stream's own ids, and none, are what they are.
        let is_given = |id: u64| id == 0 || id >= EXPLICIT_CAS;
        if is_given(first) || is_given(second) || first == second {
            return if first == second { Ok(()) } else { Err(format!("CAS ids {first} and {second}")) };
        }
        let known = [self.pairs[0].get(&first), self.pairs[1].get(&second)];
        match known {
            [None, None] => {
                self.pairs[0].insert(first, second);
                self.pairs[1].insert(second, first);
                if self.pairs[0].len() > PAIRS_MAX {
                    self.pairs = Default::default();
                }
                Ok(())
            }
            [Some(known), _] if *known == second => Ok(()),
            _ => Err(format!("CAS ids {first} and {second}, before {:?} and {:?}", known[1], known[0])),
        }
    }

    /// Compares one packet; returns how long both are.
    fn packet(&mut self, first: &[u8], second: &[u8]) -> Result<[usize; 2], String> {
        let lengths = [first, second].map(|answer| {
            let header = answer.get(..HEADER_BYTES)?;
            Some(HEADER_BYTES + body_bytes(header)).filter(|length| *length <= answer.len() && header[0] == 0x81)
        });
        let [Some(first_length), Some(second_length)] = lengths else {
            return if first == second { Ok([first.len(); 2]) } else { Err("one ends".to_string()) };
        };
        let (one, other) = (&first[..first_length], &second[..second_length]);
        if one[..CAS_AT] != other[..CAS_AT] || one[HEADER_BYTES..] != other[HEADER_BYTES..] {
            let is_version = one[1] == 0x0b && other[1] == 0x0b && self.has_two_releases;
            if !is_version {
                return Err("other packets".to_string());
            }
            *self.uses.entry(Rule::Release).or_default() += 1;
        }
        let ids = [one, other].map(|packet| {
            packet[CAS_AT..HEADER_BYTES].iter().fold(0, |number: u64, byte| number << 8 | u64::from(*byte))
        });
        self.pair(Some(ids[0]), Some(ids[1]))?;
        if ids[0] != ids[1] {
            *self.uses.entry(Rule::CasId).or_default() += 1;
        }
        let key_bytes = usize::from(u16::from_be_bytes([one[2], one[3]]));
        let key_at = HEADER_BYTES + usize::from(one[4]);
        if let (true, Some(key)) = (key_bytes > 0 && ids[0] != 0, one.get(key_at..key_at + key_bytes)) {
            self.keys.insert(key.to_vec(), ids);
        }
        Ok([first_length, second_length])
    }
}

/// The rule by which a word may differ, as its place and its first letter say.
pub(super) fn rule_of(words: &[&[u8]], index: usize) -> Option<Rule> {
    if index == 0 {
        return None;
    }
    match (words[0], index) {
        (b"VALUE", 4) => Some(Rule::CasId),
        (b"VERSION", 1) => Some(Rule::Release),
        (b"VA", 1) => None,
        (b"ME", 1) => None,
        (b"ME", _) => match prefix_of(words[index]) {
            b"cas=" => Some(Rule::CasId),
            b"exp=" => Some(Rule::Clock),
            b"la=" => Some(Rule::Idle),
            _ => None,
        },
        (b"VA" | b"HD" | b"EX" | b"NS" | b"NF" | b"EN", _) => match prefix_of(words[index]) {
            b"c" => Some(Rule::CasId),
            b"t" => Some(Rule::Clock),
            b"l" => Some(Rule::Idle),
            _ => None,
        },
        _ if words[0].starts_with(b"key=") => match prefix_of(words[index]) {
            b"cas=" => Some(Rule::CasId),
            b"exp=" => Some(Rule::Clock),
            b"la=" => Some(Rule::Idle),
            _ => None,
        },
        _ => None,
    }
}

/// The rule by which this server's answer may be longer than memcached's by `surplus`.
pub fn longer(is_binary: bool, ending: Ending, surplus: &[u8], is_reset: bool) -> Option<Rule> {
    if !is_whole(is_binary, surplus) {
        return None;
    }
    let count = replies(is_binary, surplus);
    if ending.has_wrong_magic && count <= ending.tail_replies_max {
        Some(Rule::WrongMagic)
    } else if ending.is_unfinished && count <= ending.tail_replies_max {
        Some(Rule::UnfinishedValue)
    } else {
        shorter(is_binary, ending, surplus, is_reset)
    }
}

/// The rule by which an answer over a connection that may have been reset may be shorter than the other by `missing`.
pub fn shorter(is_binary: bool, ending: Ending, missing: &[u8], is_reset: bool) -> Option<Rule> {
    let may_be_lost = is_reset && ending.may_be_reset && is_whole(is_binary, missing);
    (may_be_lost && replies(is_binary, missing) <= ending.replies_max).then_some(Rule::Reset)
}

/// Whether an answer ends within its next packet, as far as it goes the other's: a reset can cut a large one.
fn is_cut(short: &[u8], other: &[u8]) -> bool {
    let Some(header) = short.get(..HEADER_BYTES) else { return false };
    short.len() < HEADER_BYTES + body_bytes(header)
        && other.get(..CAS_AT) == short.get(..CAS_AT)
        && other.get(HEADER_BYTES..short.len()) == short.get(HEADER_BYTES..)
        && is_packets(other)
}

/// How many requests a whole answer is the reply to, at least. All statistics are one.
fn replies(is_binary: bool, mut answer: &[u8]) -> usize {
    let mut count = 0;
    while !answer.is_empty() {
        let length = if is_binary {
            let length = HEADER_BYTES + answer.get(..HEADER_BYTES).map_or(0, body_bytes);
            let is_part = answer.get(1) == Some(&STATISTICS_OPCODE) && answer.get(2..4) != Some(&[0, 0]);
            count += usize::from(!is_part);
            length
        } else {
            let line = line_of(answer).unwrap_or(answer);
            let words = words_of(line);
            count += usize::from(!matches!(words[0], b"VALUE" | b"STAT"));
            line.len() + data_bytes(&words)
        };
        answer = answer.get(length..).unwrap_or(&[]);
    }
    count
}

/// Whether an answer ends behind a packet, or a line.
pub(super) fn is_whole(is_binary: bool, answer: &[u8]) -> bool {
    if is_binary { is_packets(answer) } else { answer.is_empty() || answer.ends_with(b"\r\n") }
}

/// Whether all of it is whole packets.
fn is_packets(mut answer: &[u8]) -> bool {
    while let Some(header) = answer.get(..HEADER_BYTES) {
        match answer.get(HEADER_BYTES + body_bytes(header)..) {
            Some(rest) if header[0] == 0x81 => answer = rest,
            _ => return false,
        }
    }
    answer.is_empty()
}

/// The first line with its end.
pub(super) fn line_of(answer: &[u8]) -> Option<&[u8]> {
    let end = answer.iter().position(|byte| *byte == b'\n')?;
    Some(&answer[..=end])
}

/// The words of a line; the last one has its end.
pub(super) fn words_of(line: &[u8]) -> Vec<&[u8]> {
    let text = line.strip_suffix(b"\r\n").unwrap_or(line);
    text.split(|byte| *byte == b' ').collect()
}

/// Bytes of data behind a line, with their end.
pub(super) fn data_bytes(words: &[&[u8]]) -> usize {
    let number = match words {
        [b"VALUE", _, _, length] | [b"VALUE", _, _, length, _] | [b"VA", length, ..] => number_of(length),
        _ => None,
    };
    number.map_or(0, |number| number as usize + 2)
}

/// A word without the number at its end.
pub(super) fn prefix_of(word: &[u8]) -> &[u8] {
    let digits = word.iter().rev().take_while(|byte| byte.is_ascii_digit()).count();
    let before = &word[..word.len() - digits];
    before.strip_suffix(b"-").unwrap_or(before)
}

/// The number at the end of a word.
pub(super) fn digits_of(word: &[u8]) -> Option<u64> {
    number_of(&word[prefix_of(word).len()..])
}

/// Seconds at the end of a word, below nought for a time that has been; `None` for -1, which is never.
pub(super) fn seconds_of(word: &[u8]) -> Option<i64> {
    let text = std::str::from_utf8(&word[prefix_of(word).len()..]).ok()?;
    text.parse().ok().filter(|&seconds| seconds != -1)
}

pub(super) fn number_of(word: &[u8]) -> Option<u64> {
    std::str::from_utf8(word).ok()?.parse().ok()
}

pub(super) fn shown(answer: &[u8]) -> String {
    let shown = &answer[..answer.len().min(SHOWN_BYTES)];
    format!("'{}' ({} bytes)", shown.escape_ascii(), answer.len())
}

/// Where a packet has its CAS id.
pub(super) const CAS_AT: usize = 16;

const STATISTICS_OPCODE: u8 = 0x10;

/// So many bytes of an answer are shown.
const SHOWN_BYTES: usize = 300;

/// Pairs of CAS ids that are remembered.
const PAIRS_MAX: usize = 2_000_000;

#[cfg(test)]
mod tests {
    use super::{Comparison, Ending};

    #[track_caller]
    fn check(first: &str, second: &str, is_equal: bool) {
        let result = Comparison::default().answers(false, Ending::default(), [first.as_bytes(), second.as_bytes()]);
        assert_eq!(result.is_ok(), is_equal, "{result:?}");
    }

    #[test]
    fn what_a_rule_names_may_differ() {
        check("VALUE a 0 1 5\r\nx\r\nEND\r\n", "VALUE a 0 1 17\r\nx\r\nEND\r\n", true);
        check("HD t100 c5 l3\r\n", "HD t99 c170 l66\r\n", true);
        check("ME a exp=5 la=3 cas=2 fetch=no\r\n", "ME a exp=4 la=1 cas=700 fetch=no\r\n", true);
        // Stored with a time long gone, behind an item that lives.
        check("ME a exp=-1795490342 la=0 cas=2\r\n", "ME a exp=-1795490343 la=0 cas=7\r\n", true);
        check("VALUE a 0 1 5\r\nx\r\nVALUE a 0 1 5\r\nx\r\n", "VALUE a 0 1 7\r\nx\r\nVALUE a 0 1 7\r\nx\r\n", true);
    }

    #[test]
    fn whole_replies_may_be_lost_with_the_connection_that_was_reset() {
        let answers: [(&str, &str); 2] = [("STORED\r\nEND\r\n", "STORED\r\n"), ("STORED\r\nEND\r\n", "STORED\r\nEN")];
        for (index, (longer, shorter)) in answers.into_iter().enumerate() {
            for (first, second, loser) in [(longer, shorter, 1), (shorter, longer, 0)] {
                for resets in [[false; 2], [true, false], [false, true]] {
                    let mut comparison = Comparison { resets, ..Comparison::default() };
                    let ending = Ending { may_be_reset: true, replies_max: 2, ..Ending::default() };
                    let result = comparison.answers(false, ending, [first.as_bytes(), second.as_bytes()]);
                    assert_eq!(
                        result.is_ok(),
                        index == 0 && resets[loser],
                        "{first:?} {second:?} {resets:?}: {result:?}"
                    );
                }
            }
        }
    }

    #[test]
    fn nothing_else_may() {
        check("STORED\r\n", "STORED\n", false);
        check("STORED\r\n", "STORED\r\n\r\n", false);
        check("STORED\r\nEND\r\n", "STORED\r\n", false);
        check("VALUE a 0 1\r\nx\r\n", "VALUE a 0 1\r\ny\r\n", false);
        check("VALUE a 0 1\r\nx\r\n", "VALUE a 1 1\r\nx\r\n", false);
        check("VALUE a 0 3\r\nc1\n\r\n", "VALUE a 0 3\r\nc2\n\r\n", false);
        check("HD t100\r\n", "HD t90\r\n", false);
        check("HD t100\r\n", "HD t-1\r\n", false);
        check("HD t1\r\n", "HD t-1\r\n", false);
        check("ME a exp=-2\r\n", "ME a exp=-1\r\n", false);
        check("HD s5\r\n", "HD s6\r\n", false);
        check("HD c5\r\n", "HD\r\n", false);
        check("HD Oc5\r\n", "HD Oc6\r\n", false);
        check("VERSION 1.6.45\r\n", "VERSION 1.6.46\r\n", false);
        // One store, then another, and the same again.
        check("HD c5\r\nHD c5\r\n", "HD c7\r\nHD c8\r\n", false);
        check("HD c5\r\nHD c6\r\n", "HD c7\r\nHD c7\r\n", false);
    }

    #[test]
    fn replies_may_be_lost_before_a_value_that_never_ends() {
        let answers: [&[u8]; 2] = [b"MN\r\n", b"MN\r\nERROR\r\n"];
        let check = |ending: Ending, answers: [&[u8]; 2]| Comparison::default().answers(false, ending, answers).is_ok();
        assert!(!check(Ending::default(), answers));
        let ending = Ending { is_unfinished: true, tail_replies_max: 1, ..Ending::default() };
        assert!(check(ending, answers));
        assert!(!check(ending, [answers[1], answers[0]]));
        assert!(!check(ending, [b"MN\r\n", b"MN\r\nERR"]));
        // Not more than there can be: a server that says too much does not hide here.
        assert!(!check(ending, [b"MN\r\n", b"MN\r\nERROR\r\nERROR\r\n"]));
        assert!(check(ending, [b"MN\r\n", b"MN\r\nVALUE a 0 4\r\nx\r\nx\r\nEND\r\n"]));
    }

    #[test]
    fn a_reset_explains_only_what_a_refused_command_can_cause() {
        let answers: [&[u8]; 2] = [b"STORED\r\n", b"STORED\r\nEND\r\n"];
        for (may_be_reset, replies_max, is_equal) in [(true, 1, true), (false, 1, false), (true, 0, false)] {
            let ending = Ending { may_be_reset, replies_max, ..Ending::default() };
            let mut comparison = Comparison { resets: [true, false], ..Comparison::default() };
            assert_eq!(comparison.answers(false, ending, answers).is_ok(), is_equal, "{ending:?}");
        }
    }

    /// A large reply was on its way when the connection was reset, and came in part.
    #[test]
    fn a_reset_may_cut_a_packet() {
        let mut whole = vec![0x81, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 9, 0, 0, 0, 9, 0, 0, 0, 0, 0, 0, 0, 5];
        whole.extend(b"123456789");
        let check = |short: &[u8], is_reset: bool| {
            let mut comparison = Comparison { resets: [false, is_reset], ..Comparison::default() };
            let ending = Ending { may_be_reset: true, replies_max: 1, ..Ending::default() };
            comparison.answers(true, ending, [&whole, short]).is_ok()
        };
        assert!(check(&whole[..30], true) && !check(&whole[..30], false));
        let mut other = whole[..30].to_vec();
        other[28] = b'x';
        assert!(!check(&other, true));
    }

    #[test]
    fn packets_are_compared_field_by_field() {
        let packet = |opcode: u8, status: u8, cas: u8, body: &[u8]| {
            let mut bytes = vec![0x81, opcode, 0, 0, 0, 0, 0, status, 0, 0, 0, body.len() as u8, 0, 0, 0, 9];
            bytes.extend([0, 0, 0, 0, 0, 0, 0, cas]);
            bytes.extend(body);
            bytes
        };
        let check = |first: Vec<u8>, second: Vec<u8>, is_equal: bool| {
            let result = Comparison::default().answers(true, Ending::default(), [&first, &second]);
            assert_eq!(result.is_ok(), is_equal, "{result:?}");
        };
        check(packet(1, 0, 5, b""), packet(1, 0, 9, b""), true);
        check(packet(1, 0, 5, b""), packet(1, 0, 0, b""), false);
        check(packet(1, 0, 5, b""), packet(1, 2, 5, b""), false);
        check(packet(0, 0, 5, b"abcd"), packet(0, 0, 5, b"abce"), false);
        check(packet(0, 0, 5, b"abcd"), packet(0, 0, 5, b"abc"), false);
        check([packet(1, 0, 5, b""), packet(10, 0, 0, b"")].concat(), packet(1, 0, 5, b""), false);
    }
}

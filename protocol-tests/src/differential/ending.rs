//! What a batch's own bytes allow one server to answer beyond the other. A rule of [`rules`](super::rules) about lost
//! replies is used only where the input gives the reason: behind a command that is broken by chance a wrong magic byte
//! comes, or a value that never ends; or a command that breaks a rule closes the connection. And only so many replies can
//! be lost as there are requests to lose them of.

use super::stream::{Batch, Kind};
use crate::packet::{HEADER_BYTES, body_bytes};

/// What may be lost of the replies to an input, at its end.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Ending {
    /// Something comes behind the mutated packet that is no packet.
    pub has_wrong_magic: bool,
    /// The input may end within a value, or a packet.
    pub is_unfinished: bool,
    /// A command breaks a rule, and may close the connection.
    pub may_be_reset: bool,
    /// Most replies to what comes from the mutated command on. A noop stands before it, behind which no reply waits.
    pub tail_replies_max: usize,
    /// Most replies to all of it.
    pub replies_max: usize,
}

impl Ending {
    /// That of a batch whose bytes are `input`, and its mutated command at `mutated_at`.
    pub fn of(batch: &Batch, input: &[u8], mutated_at: Option<usize>) -> Ending {
        let may_be_reset = batch.count(Kind::Broken) > 0;
        let replies_max = requests(batch.is_binary, input);
        let ending = Ending { may_be_reset, replies_max, ..Ending::default() };
        let Some(tail) = mutated_at.and_then(|at| input.get(at..)) else { return ending };
        let (has_wrong_magic, is_unfinished) = match batch.is_binary {
            true => packets_end(tail),
            false => (false, may_end_in_a_value(tail)),
        };
        Ending { has_wrong_magic, is_unfinished, tail_replies_max: requests(batch.is_binary, tail), ..ending }
    }
}

/// Most requests that there can be in an input: lines, or headers.
fn requests(is_binary: bool, input: &[u8]) -> usize {
    match is_binary {
        true => input.len().div_ceil(HEADER_BYTES),
        false => input.iter().filter(|byte| **byte == b'\n').count(),
    }
}

/// Whether packets end with something that is none, or with a part of one.
fn packets_end(mut input: &[u8]) -> (bool, bool) {
    while let Some(&magic) = input.first() {
        if magic != 0x80 {
            return (true, false);
        }
        let next = input.get(..HEADER_BYTES).and_then(|header| input.get(HEADER_BYTES + swallowed(header)..));
        let Some(rest) = next else { return (false, true) };
        input = rest;
    }
    (false, false)
}

/// Bytes that a packet takes behind its header in memcached, which takes extras and key before it looks at the command: a
/// store takes its value then, a command that does not exist once more as much as its whole body, and others nothing.
fn swallowed(header: &[u8]) -> usize {
    let head = usize::from(u16::from_be_bytes([header[2], header[3]])) + usize::from(header[4]);
    match header[1] {
        0x01..=0x03 | 0x0e | 0x0f | 0x11..=0x13 | 0x19 | 0x1a => body_bytes(header).max(head),
        0x00..=0x1a | 0x1c..=0x1e | 0x23 | 0x24 => head,
        _ => head + body_bytes(header),
    }
}

/// Whether a line begins a value that is longer than what is left. What a server takes for a line and what for data
/// depends on the lines before; here each is looked at.
fn may_end_in_a_value(input: &[u8]) -> bool {
    let mut at = 0;
    while let Some(length) = input[at..].iter().position(|byte| *byte == b'\n') {
        let line = &input[at..at + length];
        at += length + 1;
        if value_bytes(line).is_some_and(|bytes| bytes.saturating_add(2) > input.len() - at) {
            return true;
        }
    }
    false
}

/// Bytes of the value that a line announces.
fn value_bytes(line: &[u8]) -> Option<usize> {
    let text = line.strip_suffix(b"\r").unwrap_or(line);
    let words: Vec<&[u8]> = text.split(|byte| *byte == b' ').filter(|word| !word.is_empty()).collect();
    let number = match words[..] {
        [b"ms", _, number, ..] => number,
        [b"set" | b"add" | b"replace" | b"append" | b"prepend" | b"cas", _, _, _, number, ..] => number,
        _ => return None,
    };
    std::str::from_utf8(number).ok()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::{Ending, may_end_in_a_value, packets_end};
    use crate::differential::stream::{Batch, Command, Kind};

    #[test]
    fn a_value_ends_or_does_not() {
        let check = |input: &[u8], expected: bool| {
            assert_eq!(may_end_in_a_value(input), expected, "{}", input.escape_ascii());
        };
        check(b"set a 0 0 3\r\nabc\r\n", false);
        check(b"set a 0 0 30\r\nabc\r\nmn\r\n", true);
        check(b"set a 0 0 3\r\nabc\r", true);
        check(b"ms a 5 T0\r\nabc\r\nmn\r\n", false);
        check(b"ms a 50\r\nabc\r\nmn\r\n", true);
        check(b"get a\r\nset a 0 0 x\r\nmn\r\n", false);
        check(b"get set a 0 0 999", false);
        check(b"setx a 0 0 999\r\n", false);
        check(b"set a 0 0 18446744073709551615\r\n", true);
    }

    #[test]
    fn packets_end_or_do_not() {
        let noop = [&[0x80, 0x0a][..], &[0; 22]].concat();
        assert_eq!(packets_end(&noop.repeat(2)), (false, false));
        assert_eq!(packets_end(&[&noop, &b"x"[..]].concat()), (true, false));
        assert_eq!(packets_end(&[&noop, &noop[..5]].concat()), (false, true));
        let mut long = noop.clone();
        (long[1], long[11]) = (0x01, 9);
        assert_eq!(packets_end(&long), (false, true));
        // A fetch does not take what is behind its key.
        let fetch = [&[0x80, 0x00, 0, 2, 0, 0, 0, 0, 0, 0, 0, 4][..], &[0; 12], b"abcd"].concat();
        assert_eq!(packets_end(&fetch), (true, false));
        // The two bytes of its key are taken twice.
        let unknown = [&[0x80, 0xb9, 0, 2, 0, 0, 0, 0, 0, 0, 0, 2][..], &[0; 12], b"ab"].concat();
        assert_eq!(packets_end(&[&unknown[..], &noop].concat()), (true, false));
    }

    #[test]
    fn only_what_is_behind_the_mutated_command_counts() {
        let broken = Command { kind: Kind::Broken, ..Command::bytes("set a 0 0 9\r\nx\r\n") };
        let commands = vec![Command::bytes("get a\r\n"), Command::filler("mn\r\n"), broken];
        let batch = Batch { commands, mutated: Some(2), ..Batch::default() };
        let (input, mutated_at) = batch.input(|_| 0);
        let ending = Ending::of(&batch, &input, mutated_at);
        assert_eq!((mutated_at, ending.tail_replies_max, ending.replies_max), (Some(11), 2, 4));
        assert!(ending.is_unfinished && ending.may_be_reset && !ending.has_wrong_magic);
        assert!(!Ending::of(&batch, &input, None).is_unfinished);
    }
}

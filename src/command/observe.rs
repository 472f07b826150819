//! What a sampled piece of input asked for: reads requests once more, after they were executed, and picks one of them.
//!
//! Only for statistics. It follows the framing of requests that are well-formed; behind one that is not it may take data
//! for a request, which costs a sample and nothing else. Passwords are no keys: a login is never looked at.

use crate::protocol::binary::header::{HEADER_BYTES, Header, Parsed};
use crate::protocol::binary::opcode::{Command, Opcode};
use crate::protocol::text::classic::{self, Storage, Verb};
use crate::protocol::text::line::{self, Found, next_token};
use crate::protocol::text::meta;
use crate::stats::observation::ObservedCommand;

/// How requests are framed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Framing {
    /// Lines.
    Text,
    /// Packets.
    Binary,
}

/// One request out of several.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Observed<'a> {
    /// What it asks for.
    pub command: ObservedCommand,
    /// One of its keys; empty when it has none.
    pub key: &'a [u8],
    /// How many keys it has.
    pub keys: u64,
    /// For stores: the size of the value and the exptime as given.
    pub stored: Option<(usize, i64)>,
    /// Whether all of it was there.
    pub is_whole: bool,
    /// How many requests it was picked from, itself included.
    pub requests: u64,
}

/// Picks one of the requests that `input` begins with, and of several keys one: `random` gives numbers below its
/// argument, which is at least 1. `None` when there is no request.
pub fn pick<'a>(input: &'a [u8], framing: Framing, random: &mut dyn FnMut(usize) -> usize) -> Option<Observed<'a>> {
    let mut starts = [0; REQUESTS_MAX];
    let mut count = 0;
    let mut position = 0;
    while count < REQUESTS_MAX
        && let Some(bytes) = request_bytes(input.get(position..).unwrap_or_default(), framing)
    {
        starts[count] = position;
        count += 1;
        position = position.saturating_add(bytes);
    }
    if count == 0 {
        return None;
    }
    let start = starts[random(count).min(count - 1)];
    let rest = input.get(start..)?;
    let is_whole = request_bytes(rest, framing).is_some_and(|bytes| bytes <= rest.len());
    let observed = match framing {
        Framing::Text => read_text(rest, random),
        Framing::Binary => read_binary(rest),
    }?;
    Some(Observed { is_whole, requests: count as u64, ..observed })
}

/// Bytes of the request at the start of the input, with its data, which may not all be there.
fn request_bytes(input: &[u8], framing: Framing) -> Option<usize> {
    match framing {
        Framing::Binary => match Header::parse(input) {
            Parsed::Header(header) => HEADER_BYTES.checked_add(header.body_bytes),
            Parsed::Partial | Parsed::BadMagic => None,
        },
        Framing::Text => {
            let Found::Line { text, bytes } = line::find(input, 0) else {
                return None;
            };
            let data_bytes = data_bytes(text).map_or(0, |value_bytes| value_bytes + LINE_END.len());
            Some(bytes + data_bytes)
        }
    }
}

/// Bytes of the value that follows a line; `None` when none follows.
fn data_bytes(text: &[u8]) -> Option<usize> {
    let (verb, arguments) = classic::verb(text);
    match verb {
        Verb::Set | Verb::Add | Verb::Replace | Verb::Append | Verb::Prepend | Verb::Cas => {
            match classic::storage(arguments, verb == Verb::Cas) {
                Storage::Data(line) => Some(line.value_bytes),
                Storage::Swallow { value_bytes, .. } => Some(value_bytes),
                Storage::Refused(_) => None,
            }
        }
        Verb::MetaSet => meta::split(text, 3)?.data_bytes(),
        _ => None,
    }
}

fn read_text<'a>(input: &'a [u8], random: &mut dyn FnMut(usize) -> usize) -> Option<Observed<'a>> {
    use ObservedCommand as Seen;
    let Found::Line { text, .. } = line::find(input, 0) else {
        return None;
    };
    let (verb, arguments) = classic::verb(text);
    let command = match verb {
        Verb::Get | Verb::Gets => Seen::Get,
        Verb::Gat | Verb::Gats => Seen::Gat,
        Verb::Set => Seen::Set,
        Verb::Add => Seen::Add,
        Verb::Replace => Seen::Replace,
        Verb::Append => Seen::Append,
        Verb::Prepend => Seen::Prepend,
        Verb::Cas => Seen::Cas,
        Verb::Delete => Seen::Delete,
        Verb::Incr => Seen::Incr,
        Verb::Decr => Seen::Decr,
        Verb::Touch => Seen::Touch,
        Verb::Meta([b'm', b'g']) => Seen::MetaGet,
        Verb::Meta([b'm', b'd']) => Seen::MetaDelete,
        Verb::Meta([b'm', b'a']) => Seen::MetaArithmetic,
        Verb::MetaSet => Seen::MetaSet,
        Verb::Meta(_) | Verb::MetaNoop | Verb::Other => Seen::Other,
        Verb::Stats | Verb::Watch | Verb::Version | Verb::Quit => Seen::Other,
    };
    let mut rest = arguments;
    let (key, keys) = match verb {
        _ if command == Seen::Other => (&[][..], 0),
        Verb::Get | Verb::Gets => one_of(rest, random),
        Verb::Gat | Verb::Gats => {
            next_token(&mut rest);
            one_of(rest, random)
        }
        _ => (next_token(&mut rest), 1),
    };
    let stored = match verb {
        Verb::MetaSet => meta::split(text, 3).and_then(|mut request| {
            let value_bytes = request.data_bytes()?;
            request.check().ok()?;
            Some((value_bytes, request.seconds(b'T').unwrap_or(0)))
        }),
        Verb::Set | Verb::Add | Verb::Replace | Verb::Append | Verb::Prepend | Verb::Cas => {
            match classic::storage(arguments, verb == Verb::Cas) {
                Storage::Data(line) => Some((line.value_bytes, i64::from(line.exptime))),
                Storage::Swallow { .. } | Storage::Refused(_) => None,
            }
        }
        _ => None,
    };
    Some(Observed { command, key, keys, stored, is_whole: false, requests: 0 })
}

/// One of the tokens and how many there are, as far as they are counted.
fn one_of<'a>(tokens: &'a [u8], random: &mut dyn FnMut(usize) -> usize) -> (&'a [u8], u64) {
    let mut rest = tokens;
    let mut picked: &[u8] = &[];
    for count in 1..=KEYS_MAX {
        let token = next_token(&mut rest);
        if token.is_empty() {
            return (picked, count as u64 - 1);
        }
        // Each of the tokens so far is the picked one with the same likelihood.
        if random(count) == 0 {
            picked = token;
        }
    }
    (picked, KEYS_MAX as u64)
}

fn read_binary(input: &[u8]) -> Option<Observed<'_>> {
    use ObservedCommand as Seen;
    let Parsed::Header(header) = Header::parse(input) else {
        return None;
    };
    let command = match Opcode::find(header.opcode)?.command {
        Command::Get | Command::GetWithKey => Seen::Get,
        Command::GetAndTouch | Command::GetAndTouchWithKey => Seen::Gat,
        Command::Set if header.cas != 0 => Seen::Cas,
        Command::Set => Seen::Set,
        Command::Add => Seen::Add,
        Command::Replace => Seen::Replace,
        Command::Append => Seen::Append,
        Command::Prepend => Seen::Prepend,
        Command::Delete => Seen::Delete,
        Command::Increment => Seen::Incr,
        Command::Decrement => Seen::Decr,
        Command::Touch => Seen::Touch,
        Command::Flush | Command::Noop | Command::Version | Command::Stat | Command::Quit => Seen::Other,
        Command::SaslList | Command::SaslStart | Command::SaslStep => Seen::Other,
    };
    let start = HEADER_BYTES + header.extras_bytes;
    let key = match command {
        Seen::Other => &[][..],
        _ => input.get(start..start + header.key_bytes).unwrap_or_default(),
    };
    let extras = input.get(HEADER_BYTES..start).unwrap_or_default();
    let stored = match command {
        // Append and prepend keep the item's exptime.
        Seen::Set | Seen::Cas | Seen::Add | Seen::Replace => {
            let exptime = extras.get(4..).and_then(|rest| rest.first_chunk()).map(|&bytes| i32::from_be_bytes(bytes));
            header.value_bytes().zip(exptime.map(i64::from))
        }
        _ => None,
    };
    Some(Observed { command, key, keys: u64::from(!key.is_empty()), stored, is_whole: false, requests: 0 })
}

const LINE_END: &[u8] = b"\r\n";
/// Requests that are looked at; one turn executes 20 by default.
const REQUESTS_MAX: usize = 64;
/// Keys of one request that are looked at.
const KEYS_MAX: usize = 128;

#[cfg(test)]
mod tests {
    use super::*;

    /// Picks every request in turn; of several keys the last.
    fn all(input: &[u8], framing: Framing) -> Vec<Observed<'_>> {
        let first = pick(input, framing, &mut |_| 0);
        let count = first.map_or(0, |observed| observed.requests as usize);
        (0..count)
            .map(|index| {
                let mut calls = 0;
                let mut random = |_| {
                    calls += 1;
                    if calls == 1 { index } else { 0 }
                };
                pick(input, framing, &mut random).expect("it was counted")
            })
            .collect()
    }

    /// Command, key, number of keys, and what is stored.
    type Seen<'a> = (ObservedCommand, &'a str, u64, Option<(usize, i64)>);

    #[track_caller]
    fn check(input: &str, expected: &[Seen<'_>]) {
        let seen = all(input.as_bytes(), Framing::Text);
        let seen: Vec<_> = seen
            .iter()
            .map(|observed| {
                (observed.command, std::str::from_utf8(observed.key).unwrap(), observed.keys, observed.stored)
            })
            .collect();
        assert_eq!(seen, expected, "{input}");
    }

    #[test]
    fn text_requests() {
        use ObservedCommand::*;
        check("", &[]);
        check("get a", &[]);
        check("get a\r\n", &[(Get, "a", 1, None)]);
        check(
            "get a\nset b 1 60 3\r\nget\r\ngets c d e\r\n",
            &[(Get, "a", 1, None), (Set, "b", 1, Some((3, 60))), (Get, "e", 3, None)],
        );
        check("cas k 0 -1 1 77 noreply\r\nx\r\ndelete k\r\n", &[(Cas, "k", 1, Some((1, -1))), (Delete, "k", 1, None)]);
        check(
            "gat 10 a b\r\ntouch a 5\r\nincr n 1\r\ndecr n 1\r\n",
            &[(Gat, "b", 2, None), (Touch, "a", 1, None), (Incr, "n", 1, None), (Decr, "n", 1, None)],
        );
        check(
            "mg k v\r\nms k 2 T9 I\r\nab\r\nmd k\r\nma k\r\nmn\r\nme k\r\n",
            &[
                (MetaGet, "k", 1, None),
                (MetaSet, "k", 1, Some((2, 9))),
                (MetaDelete, "k", 1, None),
                (MetaArithmetic, "k", 1, None),
                (Other, "", 0, None),
                (Other, "", 0, None),
            ],
        );
        check(
            "set k 0 0 x\r\nstats\r\nflush_all\r\n",
            &[(Set, "k", 1, None), (Other, "", 0, None), (Other, "", 0, None)],
        );
        check("\r\n", &[(Other, "", 0, None)]);
    }

    #[test]
    fn a_request_that_is_not_all_there_says_so() {
        let seen = pick(b"set k 0 0 1000\r\nabc", Framing::Text, &mut |_| 0).expect("a line");
        assert!(!seen.is_whole && seen.stored == Some((1000, 0)));
        assert!(pick(b"set k 0 0 3\r\nabc\r\n", Framing::Text, &mut |_| 0).expect("a line").is_whole);
    }

    #[test]
    fn binary_requests() {
        let mut input = vec![0x80, 0x01, 0, 1, 8, 0, 0, 0, 0, 0, 0, 11, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
        input.extend_from_slice(&[0, 0, 0, 0, 0, 0, 0, 60, b'k', b'v', b'w']);
        input.extend_from_slice(&[0x80, 0x0d, 0, 2, 0, 0, 0, 0, 0, 0, 0, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
        input.extend_from_slice(b"ab");
        // A login: the mechanism is where keys are.
        input.extend_from_slice(&[0x80, 0x21, 0, 5, 0, 0, 0, 0, 0, 0, 0, 9, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
        input.extend_from_slice(b"PLAIN\0u\0p");
        let seen = all(&input, Framing::Binary);
        let names: Vec<_> = seen.iter().map(|observed| (observed.command, observed.key)).collect();
        let expected: [(ObservedCommand, &[u8]); 3] =
            [(ObservedCommand::Set, b"k"), (ObservedCommand::Get, b"ab"), (ObservedCommand::Other, b"")];
        assert_eq!(names, expected);
        assert_eq!(seen[0].stored, Some((2, 60)));
        assert!(seen.iter().all(|observed| observed.is_whole));
        assert!(!pick(&input[..34], Framing::Binary, &mut |_| 0).expect("a header").is_whole);
        assert_eq!(pick(&input[..20], Framing::Binary, &mut |_| 0), None);
    }

    #[test]
    fn any_bytes_are_survived() {
        let mut state = 7u64;
        for _ in 0..20_000 {
            let bytes: Vec<u8> = (0..40)
                .map(|_| {
                    state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                    b"gets mcasi 0189\r\n\x80\xff"[(state >> 33) as usize % 19]
                })
                .collect();
            for framing in [Framing::Text, Framing::Binary] {
                pick(&bytes, framing, &mut |count| count - 1);
            }
        }
    }

    #[test]
    fn a_long_pipeline_and_a_long_multiget_are_looked_at_in_part() {
        let pipeline = b"mn\r\n".repeat(REQUESTS_MAX + 10);
        let mut asked = Vec::new();
        let seen = pick(&pipeline, Framing::Text, &mut |below| {
            asked.push(below);
            below - 1
        });
        assert_eq!((seen.expect("a request").requests, asked), (REQUESTS_MAX as u64, vec![REQUESTS_MAX]));
        let keys: Vec<String> = (1..KEYS_MAX + 10).map(|number| format!(" k{number}")).collect();
        let multiget = format!("get{}\r\n", keys.concat());
        let seen = pick(multiget.as_bytes(), Framing::Text, &mut |_| 0).expect("a request");
        assert_eq!((seen.key, seen.keys), (format!("k{KEYS_MAX}").as_bytes(), KEYS_MAX as u64));
    }
}

//! Compares what a server has sent so far with a template.
//!
//! The input is a prefix of the answer, so there are three outcomes, and "not yet" is none of the failures.
//! Placeholders of variable length are matched shortest first, with backtracking.

use crate::packet::{HEADER_BYTES, body_bytes};
use crate::template::{Bindings, Piece, literal};

/// How the input compares with a template.
#[derive(Debug, PartialEq)]
pub enum Outcome {
    /// The template matches this many leading bytes.
    Match(usize),
    /// So far so good, but more input is needed to tell.
    More,
    /// No further input can make it match.
    Mismatch,
}

/// Matches `pieces` against the beginning of `input`. Names are bound in `bindings` only by a match.
pub fn matches(pieces: &[Piece], input: &[u8], bindings: &mut Bindings) -> Result<Outcome, String> {
    let Some((piece, rest)) = pieces.split_first() else {
        return Ok(Outcome::Match(0));
    };
    if let Some(expected) = literal(piece, bindings)? {
        return match_bytes(&expected, rest, input, bindings);
    }
    match piece {
        Piece::Number(name) => match_number(name.as_deref(), None, rest, input, bindings),
        Piece::OtherNumber(name) => match_number(None, Some(name), rest, input, bindings),
        Piece::Any(name) => match_any(name.as_deref(), rest, input, bindings),
        Piece::Lines => match_units(rest, input, bindings, |input| {
            input.iter().position(|byte| *byte == b'\n').map(|index| index + 1)
        }),
        Piece::Packets => match_units(rest, input, bindings, |input| {
            let header = input.get(..HEADER_BYTES)?;
            let length = HEADER_BYTES + body_bytes(header);
            (input.len() >= length).then_some(length)
        }),
        Piece::Packet(packet) => match packet.matches(input, bindings)? {
            Outcome::Match(length) => after(length, rest, input, bindings),
            outcome => Ok(outcome),
        },
        _ => Err(format!("{piece:?} cannot be matched")),
    }
}

/// Matches the rest of a template behind the first `length` bytes.
fn after(length: usize, rest: &[Piece], input: &[u8], bindings: &mut Bindings) -> Result<Outcome, String> {
    Ok(match matches(rest, &input[length..], bindings)? {
        Outcome::Match(more) => Outcome::Match(length + more),
        outcome => outcome,
    })
}

fn match_bytes(expected: &[u8], rest: &[Piece], input: &[u8], bindings: &mut Bindings) -> Result<Outcome, String> {
    if input.starts_with(expected) {
        after(expected.len(), rest, input, bindings)
    } else if expected.starts_with(input) {
        Ok(Outcome::More)
    } else {
        Ok(Outcome::Mismatch)
    }
}

fn match_number(
    name: Option<&str>,
    unlike: Option<&str>,
    rest: &[Piece],
    input: &[u8],
    bindings: &mut Bindings,
) -> Result<Outcome, String> {
    let length = input.iter().take_while(|byte| byte.is_ascii_digit()).count();
    if length == input.len() && !rest.is_empty() {
        return Ok(Outcome::More);
    }
    let digits = &input[..length];
    let is_refused = unlike.is_some_and(|name| bindings.values.get(name).is_some_and(|value| value == digits));
    if length == 0 || is_refused {
        return Ok(Outcome::Mismatch);
    }
    if let Some(name) = name {
        bindings.values.insert(name.to_string(), digits.to_vec());
    }
    after(length, rest, input, bindings)
}

fn match_any(name: Option<&str>, rest: &[Piece], input: &[u8], bindings: &mut Bindings) -> Result<Outcome, String> {
    let mut needs_more = false;
    for length in 0..=input.len() {
        let mut tried = bindings.clone();
        if let Some(name) = name {
            tried.values.insert(name.to_string(), input[..length].to_vec());
        }
        match after(length, rest, input, &mut tried)? {
            Outcome::Match(total) => {
                *bindings = tried;
                return Ok(Outcome::Match(total));
            }
            Outcome::More => needs_more = true,
            Outcome::Mismatch => {}
        }
        match input.get(length) {
            None => needs_more = true,
            Some(b'\r' | b'\n') => break,
            Some(_) => {}
        }
    }
    Ok(if needs_more { Outcome::More } else { Outcome::Mismatch })
}

/// Skips units (lines, packets) until the rest of the template matches.
fn match_units(
    rest: &[Piece],
    input: &[u8],
    bindings: &mut Bindings,
    unit_bytes: impl Fn(&[u8]) -> Option<usize>,
) -> Result<Outcome, String> {
    let mut length = 0;
    loop {
        let mut tried = bindings.clone();
        match after(length, rest, input, &mut tried)? {
            Outcome::Match(total) => {
                *bindings = tried;
                return Ok(Outcome::Match(total));
            }
            Outcome::More | Outcome::Mismatch => {}
        }
        match unit_bytes(&input[length..]) {
            Some(bytes) => length += bytes,
            None => return Ok(Outcome::More),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Outcome, matches};
    use crate::template::{Bindings, parse};
    use crate::version::REFERENCE;

    #[track_caller]
    fn check(template: &str, input: &str, expected: Outcome) {
        let mut bindings = Bindings::new(REFERENCE);
        bindings.values.insert("old".to_string(), b"7".to_vec());
        let pieces = parse(template).unwrap();
        assert_eq!(matches(&pieces, input.as_bytes(), &mut bindings).unwrap(), expected);
    }

    #[test]
    fn literals_match_by_prefix() {
        check("END", "END\r\n", Outcome::Match(3));
        check("END", "EN", Outcome::More);
        check("END", "ERROR", Outcome::Mismatch);
    }

    #[test]
    fn numbers_are_digits() {
        check(r"{number}\r\n", "12\r\n", Outcome::Match(4));
        check(r"{number}\r\n", "12", Outcome::More);
        check(r"{number}\r\n", "x", Outcome::Mismatch);
        check(r"{number!=old}\r\n", "7\r\n", Outcome::Mismatch);
        check(r"{number!=old}\r\n", "77\r\n", Outcome::Match(4));
    }

    #[test]
    fn any_stays_on_its_line() {
        check(r"a {any}\r\n", "a b c\r\n", Outcome::Match(7));
        check(r"a {any} c\r\n", "a b\r\n", Outcome::Mismatch);
        check(r"a {any} c\r\n", "a b", Outcome::More);
        check(r"{any:x} {=x}\n", "b b\n", Outcome::Match(4));
    }

    #[test]
    fn lines_are_skipped_until_the_rest_matches() {
        check(r"{lines}END\r\n", "STAT a\r\nSTAT b\r\nEND\r\n", Outcome::Match(21));
        check(r"{lines}END\r\n", "STAT a\r\nST", Outcome::More);
        check(r"{lines}STAT b {number}\r\n", "STAT a 1\r\nSTAT b 2\r\n", Outcome::Match(20));
    }
}

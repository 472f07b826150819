//! Replies of the classic text protocol, and the header of a value. Numbers are written without `fmt`.

use crate::base::key::KEY_BYTES_MAX;

/// Unknown command.
pub const ERROR: &[u8] = b"ERROR\r\n";
/// The line is not what the command takes.
pub const BAD_LINE: &[u8] = b"CLIENT_ERROR bad command line format\r\n";
/// The data block does not end where it should.
pub const BAD_DATA: &[u8] = b"CLIENT_ERROR bad data chunk\r\n";
/// An exptime is no number.
pub const BAD_EXPTIME: &[u8] = b"CLIENT_ERROR invalid exptime argument\r\n";
/// A delta is no number.
pub const BAD_DELTA: &[u8] = b"CLIENT_ERROR invalid numeric delta argument\r\n";
/// The value under the key is no number.
pub const NON_NUMERIC: &[u8] = b"CLIENT_ERROR cannot increment or decrement non-numeric value\r\n";
/// The item would be over the item size limit.
pub const TOO_LARGE: &[u8] = b"SERVER_ERROR object too large for cache\r\n";
/// A storage command found no memory.
pub const NO_MEMORY_STORING: &[u8] = b"SERVER_ERROR out of memory storing object\r\n";
/// A delta found no memory.
pub const NO_MEMORY: &[u8] = b"SERVER_ERROR out of memory\r\n";
/// A retrieval of more values than one connection may have waiting.
pub const NO_MEMORY_WRITING: &[u8] = b"SERVER_ERROR out of memory writing get response\r\n";
/// Done.
pub const STORED: &[u8] = b"STORED\r\n";
/// The item was (not) there.
pub const NOT_STORED: &[u8] = b"NOT_STORED\r\n";
/// The CAS id did not match.
pub const EXISTS: &[u8] = b"EXISTS\r\n";
/// No such key.
pub const NOT_FOUND: &[u8] = b"NOT_FOUND\r\n";
/// Done.
pub const DELETED: &[u8] = b"DELETED\r\n";
/// Done.
pub const TOUCHED: &[u8] = b"TOUCHED\r\n";
/// Behind the last value.
pub const END: &[u8] = b"END\r\n";
/// Answer to `mn`.
pub const META_NOOP: &[u8] = b"MN\r\n";

/// Longest header of a value: the word, a key, flags, length, CAS id, spaces and line end.
pub const VALUE_HEADER_BYTES_MAX: usize = 6 + KEY_BYTES_MAX + 1 + 10 + 1 + 10 + 1 + 20 + 2;

/// Writes `VALUE <key> <flags> <bytes>[ <cas>]` and the line end.
pub fn value_header(key: &[u8], flags: u32, value_bytes: usize, cas: Option<u64>, out: &mut Vec<u8>) {
    out.extend_from_slice(b"VALUE ");
    out.extend_from_slice(key);
    out.push(b' ');
    number(u64::from(flags), out);
    out.push(b' ');
    number(value_bytes as u64, out);
    if let Some(cas) = cas {
        out.push(b' ');
        number(cas, out);
    }
    out.extend_from_slice(b"\r\n");
}

/// Writes [`STORED`]: of known length, that is two moves.
#[inline(never)]
pub fn stored(out: &mut Vec<u8>) {
    out.extend_from_slice(STORED);
}

/// Writes a value without client flags: header, value and line end, and `END` behind it if it `is_last`. What nearly
/// every get is answered with.
#[inline(always)]
pub fn plain_value(key: &[u8], value: &[u8], is_last: bool, out: &mut Vec<u8>) {
    match key.len() {
        8..=16 if value.len() < 10_000 => plain_header::<8, { 16 + PLAIN_BYTES }>(key, value.len(), out),
        17..=32 if value.len() < 10_000 => plain_header::<16, { 32 + PLAIN_BYTES }>(key, value.len(), out),
        _ => value_header(key, 0, value.len(), None, out),
    }
    out.extend_from_slice(value);
    if is_last {
        out.extend_from_slice(b"\r\nEND\r\n");
    } else {
        out.extend_from_slice(b"\r\n");
    }
}

/// What [`plain_header`] writes beside the key, at most.
const PLAIN_BYTES: usize = b"VALUE ".len() + b" 0 9999\r\n".len() + 2;

/// The header for a key of `HALF` to twice as many bytes and a value below 10 000. Everything is copied in pieces of fixed size,
/// which are a move or two each: the key as its two ends, which overlap, and what is too much is cut off.
#[inline(always)]
fn plain_header<const HALF: usize, const MOST: usize>(key: &[u8], value_bytes: usize, out: &mut Vec<u8>) {
    let (text, length) = plain_header_end(value_bytes);
    let key_end = b"VALUE ".len() + key.len();
    out.extend_from_slice(&[0; MOST]);
    if let (Some(header), Some(front), Some(back)) =
        (out.last_chunk_mut::<MOST>(), key.first_chunk::<HALF>(), key.last_chunk::<HALF>())
    {
        header[..b"VALUE ".len()].copy_from_slice(b"VALUE ");
        header[b"VALUE ".len()..][..HALF].copy_from_slice(front);
        header[key_end - HALF..][..HALF].copy_from_slice(back);
        header[key_end..][..text.len()].copy_from_slice(&text);
    }
    out.truncate(out.len() - MOST + key_end + length);
}

/// ` 0 <bytes>` and the line end, for up to four digits, and its length.
#[inline(always)]
fn plain_header_end(value_bytes: usize) -> ([u8; 11], usize) {
    let (digits, length) = short_decimal(value_bytes, *b"\r\n");
    let mut text = *b" 0 \0\0\0\0\0\0\0\0";
    text[3..].copy_from_slice(&digits);
    (text, 5 + length)
}

/// The digits of a number below 10 000 with `ending` behind them, and how many digits there are.
#[inline(always)]
fn short_decimal(number: usize, ending: [u8; 2]) -> ([u8; 8], usize) {
    let length = 1 + usize::from(number >= 10) + usize::from(number >= 100) + usize::from(number >= 1000);
    let pair = |number: usize| DIGIT_PAIRS.get(number).copied().unwrap_or_default();
    let ([d0, d1], [d2, d3], [e0, e1]) = (pair(number / 100), pair(number % 100), ending);
    // All four digits; shifting throws the leading zeros away.
    let word = u64::from_le_bytes([d0, d1, d2, d3, e0, e1, 0, 0]) >> (8 * (4 - length));
    (word.to_le_bytes(), length)
}

/// `00` to `99`.
static DIGIT_PAIRS: [[u8; 2]; 100] = {
    let mut pairs = [[b'0'; 2]; 100];
    let mut number = 0;
    while number < pairs.len() {
        pairs[number] = [b'0' + number as u8 / 10, b'0' + number as u8 % 10];
        number += 1;
    }
    pairs
};

/// Writes a number in decimal.
#[inline]
pub fn number(value: u64, out: &mut Vec<u8>) {
    if value < 10_000 {
        let (text, length) = short_decimal(value as usize, [0; 2]);
        out.extend_from_slice(&text);
        out.truncate(out.len() - text.len() + length);
    } else {
        out.extend_from_slice(itoa::Buffer::new().format(value).as_bytes());
    }
}

/// Writes `VERSION <version>` and the line end.
pub fn version(version: &str, out: &mut Vec<u8>) {
    out.extend_from_slice(b"VERSION ");
    out.extend_from_slice(version.as_bytes());
    out.extend_from_slice(b"\r\n");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(key: &str, flags: u32, value_bytes: usize, cas: Option<u64>, expected: &str) {
        let mut out = Vec::new();
        value_header(key.as_bytes(), flags, value_bytes, cas, &mut out);
        assert_eq!(String::from_utf8_lossy(&out), expected);
        if flags == 0 && cas.is_none() && value_bytes < 1 << 20 {
            for (is_last, ending) in [(false, "\r\n"), (true, "\r\nEND\r\n")] {
                let mut whole = Vec::new();
                plain_value(key.as_bytes(), &vec![b'v'; value_bytes], is_last, &mut whole);
                assert_eq!(String::from_utf8_lossy(&whole), format!("{expected}{}{ending}", "v".repeat(value_bytes)));
            }
        }
        assert!(out.len() <= VALUE_HEADER_BYTES_MAX);
    }

    #[test]
    fn numbers_are_written_in_decimal() {
        for value in [0, 9, 10, 99, 100, 999, 1000, 9999, 10_000, u64::MAX] {
            let mut out = b"x".to_vec();
            number(value, &mut out);
            assert_eq!(String::from_utf8_lossy(&out), format!("x{value}"));
        }
    }

    #[test]
    fn headers_hold_key_flags_length_and_cas() {
        check("a", 0, 0, None, "VALUE a 0 0\r\n");
        for bytes in [9, 10, 99, 100, 101, 999, 1000, 9999, 10_000, 123_456] {
            check("a", 0, bytes, None, &format!("VALUE a 0 {bytes}\r\n"));
        }
        check("a", 7, 12, None, "VALUE a 7 12\r\n");
        check("a", 0, 3, Some(2), "VALUE a 0 3 2\r\n");
        for length in 1..=40 {
            let key = &"abcdefghijklmnopqrstuvwxyz0123456789ABCDEFGH"[..length];
            for bytes in [0, 10, 9999, 10_000] {
                check(key, 0, bytes, None, &format!("VALUE {key} 0 {bytes}\r\n"));
            }
        }
        let key = "k".repeat(250);
        check(
            &key,
            u32::MAX,
            u32::MAX as usize,
            Some(u64::MAX),
            &format!("VALUE {key} 4294967295 4294967295 18446744073709551615\r\n"),
        );
        let mut longest = Vec::new();
        value_header(key.as_bytes(), u32::MAX, u32::MAX as usize, Some(u64::MAX), &mut longest);
        assert_eq!(longest.len(), VALUE_HEADER_BYTES_MAX);
    }
}

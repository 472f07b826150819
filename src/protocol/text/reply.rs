//! Replies of the classic text protocol, and the header of a value. Numbers are written without `fmt`.

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
pub const VALUE_HEADER_BYTES_MAX: usize = 6 + 250 + 1 + 10 + 1 + 10 + 1 + 20 + 2;

/// Writes `VALUE <key> <flags> <bytes>[ <cas>]` and the line end.
#[inline(always)]
pub fn value_header(key: &[u8], flags: u32, value_bytes: usize, cas: Option<u64>, out: &mut Vec<u8>) {
    out.extend_from_slice(b"VALUE ");
    out.extend_from_slice(key);
    if flags == 0 && cas.is_none() && value_bytes < 10_000 {
        // Nearly always. A copy of fixed size is two moves; what is too much is cut off.
        let (text, length) = plain_header_end(value_bytes);
        out.extend_from_slice(&text);
        out.truncate(out.len() - text.len() + length);
    } else {
        header_end(flags, value_bytes, cas, out);
    }
}

#[inline(never)]
fn header_end(flags: u32, value_bytes: usize, cas: Option<u64>, out: &mut Vec<u8>) {
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

/// ` 0 <bytes>` and the line end, for up to four digits, and its length.
#[inline(always)]
fn plain_header_end(value_bytes: usize) -> ([u8; 11], usize) {
    let digits =
        1 + usize::from(value_bytes >= 10) + usize::from(value_bytes >= 100) + usize::from(value_bytes >= 1000);
    let pair = |number: usize| DIGIT_PAIRS.get(number).copied().unwrap_or_default();
    let ([d0, d1], [d2, d3]) = (pair(value_bytes / 100), pair(value_bytes % 100));
    // All four digits and the line end; shifting throws the leading zeros away.
    let word = u64::from_le_bytes([d0, d1, d2, d3, b'\r', b'\n', 0, 0]) >> (8 * (4 - digits));
    let mut text = *b" 0 \0\0\0\0\0\0\0\0";
    text[3..].copy_from_slice(&word.to_le_bytes());
    (text, 5 + digits)
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
    out.extend_from_slice(itoa::Buffer::new().format(value).as_bytes());
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
        assert!(out.len() <= VALUE_HEADER_BYTES_MAX);
    }

    #[test]
    fn headers_hold_key_flags_length_and_cas() {
        check("a", 0, 0, None, "VALUE a 0 0\r\n");
        for bytes in [9, 10, 99, 100, 101, 999, 1000, 9999, 10_000, 123_456] {
            check("a", 0, bytes, None, &format!("VALUE a 0 {bytes}\r\n"));
        }
        check("a", 7, 12, None, "VALUE a 7 12\r\n");
        check("a", 0, 3, Some(2), "VALUE a 0 3 2\r\n");
        let key = "k".repeat(250);
        check(
            &key,
            u32::MAX,
            u32::MAX as usize,
            Some(u64::MAX),
            &format!("VALUE {key} 4294967295 4294967295 18446744073709551615\r\n"),
        );
    }
}

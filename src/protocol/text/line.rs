//! Lines and their tokens.
//!
//! A line ends in LF, and one CR right before it belongs to the end. Tokens are what lies between spaces; no other byte
//! separates them. Only the first [`TOKENS_KEPT`] tokens of a line exist for commands that look at tokens by number, as
//! in memcached; the keys of get and its kin are scanned from the line and are not bounded.

use memchr::memchr;

/// Tokens of a line that memcached's tokenizer keeps.
pub const TOKENS_KEPT: usize = 23;

/// Shortest line with its end, in bytes; a shorter one is a bad command line.
pub const LINE_BYTES_MIN: usize = 4;

/// Bytes without a line end after which anything but a multiget is given up.
pub const UNFINISHED_BYTES_MAX: usize = 2048;

/// Longest unfinished multiget line in bytes. memcached grows without bound here.
pub const UNFINISHED_GET_BYTES_MAX: usize = 8 * 1024 * 1024;

/// Spaces before `get ` that an unfinished line may have to count as a multiget.
const UNFINISHED_SPACES_MAX: usize = 100;

/// What [`find`] saw.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Found<'a> {
    /// A whole line.
    Line {
        /// The line without its end.
        text: &'a [u8],
        /// Bytes of the line with its end: text.len() < bytes <= text.len() + 2
        bytes: usize,
    },
    /// The line end is still to come.
    Partial,
    /// The line end is still to come, and there is more than an unfinished line may have.
    TooLong,
}

/// Finds the first line in `input`, whose first `scanned` bytes are known to hold no line end.
#[inline]
pub fn find(input: &[u8], scanned: usize) -> Found<'_> {
    let scanned = scanned.min(input.len());
    match memchr(b'\n', &input[scanned..]) {
        Some(position) => {
            let end = scanned + position;
            let text = match input[..end] {
                [ref text @ .., b'\r'] => text,
                ref text => text,
            };
            Found::Line { text, bytes: end + 1 }
        }
        None => judge_unfinished(input),
    }
}

#[cold]
fn judge_unfinished(input: &[u8]) -> Found<'_> {
    if input.len() <= UNFINISHED_BYTES_MAX {
        return Found::Partial;
    }
    let spaces = input.iter().take_while(|&&byte| byte == b' ').count();
    let rest = &input[spaces..];
    let is_multiget = rest.starts_with(b"get ") || rest.starts_with(b"gets ");
    if spaces <= UNFINISHED_SPACES_MAX && is_multiget && input.len() < UNFINISHED_GET_BYTES_MAX {
        Found::Partial
    } else {
        Found::TooLong
    }
}

/// Takes the next token off the front of `rest`; empty when there is none.
#[inline]
pub fn next_token<'a>(rest: &mut &'a [u8]) -> &'a [u8] {
    let text = skip_spaces(rest);
    let length = token_length(text);
    let (token, after) = text.split_at(length);
    *rest = after;
    token
}

/// `text` without the spaces at its front.
#[inline]
pub fn skip_spaces(text: &[u8]) -> &[u8] {
    let mut text = text;
    while let [b' ', rest @ ..] = text {
        text = rest;
    }
    text
}

/// Bytes before the first space. Tokens are short: eight bytes at a time beat both a plain loop and a call of a
/// vectored search.
#[inline]
fn token_length(text: &[u8]) -> usize {
    let mut length = 0;
    let mut rest = text;
    while let Some((chunk, tail)) = rest.split_first_chunk::<8>() {
        let spaces = space_mask(u64::from_le_bytes(*chunk));
        if spaces != 0 {
            return length + spaces.trailing_zeros() as usize / 8;
        }
        length += 8;
        rest = tail;
    }
    for &byte in rest {
        if byte == b' ' {
            break;
        }
        length += 1;
    }
    length
}

/// Bytes before the first space or control character; all of them when there is none.
#[inline(always)]
pub fn printable_length(text: &[u8]) -> usize {
    let mut length = 0;
    let mut rest = text;
    while let Some((chunk, tail)) = rest.split_first_chunk::<8>() {
        let ends = end_mask(u64::from_le_bytes(*chunk));
        if ends != 0 {
            return length + ends.trailing_zeros() as usize / 8;
        }
        length += 8;
        rest = tail;
    }
    match text.last_chunk::<8>() {
        // The last bytes again, with those seen before shifted out; the zeros behind them end the count.
        Some(last) if !rest.is_empty() => {
            let word = u64::from_le_bytes(*last) >> (8 * (8 - rest.len()));
            length + end_mask(word).trailing_zeros() as usize / 8
        }
        _ => length + rest.iter().take_while(|&&byte| byte > b' ').count(),
    }
}

/// The high bit of the lowest byte that is a space or below; bits above it may be wrong.
#[inline]
fn end_mask(word: u64) -> u64 {
    const LOW: u64 = u64::from_ne_bytes([1; 8]);
    word.wrapping_sub(LOW * (b' ' as u64 + 1)) & !word & (LOW << 7)
}

/// The high bit of the lowest byte that is a space; bits above it may be wrong.
#[inline]
fn space_mask(word: u64) -> u64 {
    const LOW: u64 = u64::from_ne_bytes([1; 8]);
    let difference = word ^ (LOW * b' ' as u64);
    difference.wrapping_sub(LOW) & !difference & (LOW << 7)
}

/// The first [`TOKENS_KEPT`] tokens of a line, for commands that are rare enough to be split as a whole.
#[derive(Clone, Copy, Debug)]
pub struct Tokens<'a> {
    tokens: [&'a [u8]; TOKENS_KEPT],
    /// count <= TOKENS_KEPT
    count: usize,
}

impl<'a> Tokens<'a> {
    /// Splits `line`.
    pub fn split(line: &'a [u8]) -> Self {
        let mut tokens: [&[u8]; TOKENS_KEPT] = [&[]; TOKENS_KEPT];
        let mut count = 0;
        let mut rest = line;
        for place in &mut tokens {
            let token = next_token(&mut rest);
            if token.is_empty() {
                break;
            }
            *place = token;
            count += 1;
        }
        Self { tokens, count }
    }

    /// The tokens, the command word first.
    pub fn as_slice(&self) -> &[&'a [u8]] {
        &self.tokens[..self.count]
    }

    /// The last token.
    pub fn last(&self) -> Option<&'a [u8]> {
        self.as_slice().last().copied()
    }
}

/// Whether `token` abbreviates `word`, by C's `strncmp` over the token's length.
pub fn is_keyword(token: &[u8], word: &str) -> bool {
    // A NUL in the token ends the comparison as it ends the word.
    let token = match token.iter().position(|&byte| byte == 0) {
        Some(end) => return &token[..end] == word.as_bytes(),
        None => token,
    };
    word.as_bytes().starts_with(token)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn printable_length_is_that_of_a_plain_loop() {
        for length in 0..40 {
            let mut text = vec![b'k'; length];
            assert_eq!(printable_length(&text), length);
            for end in 0..length {
                for byte in [b' ', b'\r', b'\n', 0, 0x1f] {
                    text[end] = byte;
                    assert_eq!(printable_length(&text), end, "{length} {end} {byte}");
                }
                text[end] = [b'!', 0x7f, 0x80, 0xff][end % 4];
            }
            assert_eq!(printable_length(&text), length);
        }
    }

    #[track_caller]
    fn check_line(input: &[u8], expected: Option<(&[u8], usize)>) {
        let expected = match expected {
            Some((text, bytes)) => Found::Line { text, bytes },
            None => Found::Partial,
        };
        for scanned in [0, input.iter().position(|&byte| byte == b'\n').unwrap_or(0)] {
            assert_eq!(find(input, scanned), expected);
        }
    }

    #[test]
    fn a_line_ends_in_lf_and_loses_one_cr() {
        check_line(b"", None);
        check_line(b"get a", None);
        check_line(b"get a\r", None);
        check_line(b"\n", Some((b"", 1)));
        check_line(b"\r\n", Some((b"", 2)));
        check_line(b"get a\n", Some((b"get a", 6)));
        check_line(b"get a\r\nx", Some((b"get a", 7)));
        check_line(b"get a\r\r\n", Some((b"get a\r", 8)));
        check_line(b"get a\rb\r\n", Some((b"get a\rb", 9)));
    }

    #[track_caller]
    fn check_unfinished(prefix: &[u8], length: usize, is_kept: bool) {
        let mut input = prefix.to_vec();
        input.resize(length, b'k');
        let expected = if is_kept { Found::Partial } else { Found::TooLong };
        assert_eq!(find(&input, 0), expected);
    }

    #[test]
    fn an_unfinished_line_has_limits() {
        check_unfinished(b"delete ", 2048, true);
        check_unfinished(b"delete ", 2049, false);
        check_unfinished(b"get ", 2049, true);
        check_unfinished(b"gets ", 2049, true);
        check_unfinished(b"gat ", 2049, false);
        check_unfinished(b"mg ", 2049, false);
        check_unfinished(&[&[b' '; 100][..], b"get "].concat(), 2049, true);
        check_unfinished(&[&[b' '; 101][..], b"get "].concat(), 2049, false);
        check_unfinished(b"get ", UNFINISHED_GET_BYTES_MAX - 1, true);
        check_unfinished(b"get ", UNFINISHED_GET_BYTES_MAX, false);
    }

    #[test]
    fn tokens_lie_between_spaces() {
        let tokens = Tokens::split(b"  stats\t  a \rb  ");
        assert_eq!(tokens.as_slice(), [&b"stats\t"[..], b"a", b"\rb"]);
        assert_eq!(tokens.last(), Some(&b"\rb"[..]));
        assert_eq!(Tokens::split(b"   ").last(), None);
    }

    #[test]
    fn a_token_of_any_length_ends_at_its_space() {
        for length in 0..40 {
            for fill in [0, b'!', 0x1f, 0x21, 0xa0, 0xff] {
                let mut text = vec![fill; length];
                assert_eq!(token_length(&text), length);
                text.extend_from_slice(b" \x21\x20\x1f    xyz");
                assert_eq!(token_length(&text), length);
            }
        }
    }

    #[test]
    fn only_the_first_tokens_are_kept() {
        let mut line = vec![];
        for number in 1..=24 {
            line.extend_from_slice(format!("t{number} ").as_bytes());
        }
        let tokens = Tokens::split(&line);
        assert_eq!(tokens.as_slice().len(), TOKENS_KEPT);
        assert_eq!(tokens.last(), Some(&b"t23"[..]));
    }

    #[test]
    fn keywords_match_over_the_clients_length() {
        for (token, is_match) in [
            (&b"s"[..], true),
            (b"settings", true),
            (b"settingsx", false),
            (b"settinX", false),
            (b"settings\0x", true),
            (b"set\0", false),
            (b"", true),
        ] {
            assert_eq!(is_keyword(token, "settings"), is_match, "{token:?}");
        }
    }
}

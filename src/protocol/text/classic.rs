//! Requests of the classic text protocol, borrowed from their line.
//!
//! [`verb`] reads the command word; the function that goes with it reads the rest. The order of checks is memcached's,
//! because it decides which error is answered, whether `noreply` is heeded, and whether a data block is swallowed.

use crate::base::{key, sizes};

use super::line::{TOKENS_KEPT, next_token, printable_length, skip_spaces};
use super::{number, reply};

/// Command words whose place is the very start of the line.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[allow(missing_docs)]
pub enum Verb {
    Get,
    Gets,
    Gat,
    Gats,
    Set,
    Add,
    Replace,
    Append,
    Prepend,
    Cas,
    Delete,
    Incr,
    Decr,
    Touch,
    Stats,
    Watch,
    Version,
    Quit,
    /// `mg`, `md`, `ma`, `me`.
    Meta([u8; 2]),
    MetaSet,
    MetaNoop,
    /// Anything else: an administrative command perhaps.
    Other,
}

/// The command word of a line, and what follows it. The frequent words are told apart byte by byte.
#[inline]
pub fn verb(line: &[u8]) -> (Verb, &[u8]) {
    match line {
        [b'g', b'e', b't', b' ', rest @ ..] => (Verb::Get, rest),
        [b'm', b'g', b' ', rest @ ..] => (Verb::Meta(*b"mg"), rest),
        [b's', b'e', b't', b' ', rest @ ..] => (Verb::Set, rest),
        [b'm', b's', b' ', rest @ ..] => (Verb::MetaSet, rest),
        [b'g', b'e', b't', b's', b' ', rest @ ..] => (Verb::Gets, rest),
        [b'i', b'n', b'c', b'r', b' ', rest @ ..] => (Verb::Incr, rest),
        [b'd', b'e', b'l', b'e', b't', b'e', b' ', rest @ ..] => (Verb::Delete, rest),
        _ => other_verb(line),
    }
}

fn other_verb(line: &[u8]) -> (Verb, &[u8]) {
    let length = line.iter().position(|&byte| byte == b' ').unwrap_or(line.len());
    let (word, rest) = line.split_at(length);
    let verb = match word {
        b"get" => Verb::Get,
        b"gets" => Verb::Gets,
        b"gat" => Verb::Gat,
        b"gats" => Verb::Gats,
        b"set" => Verb::Set,
        b"add" => Verb::Add,
        b"replace" => Verb::Replace,
        b"append" => Verb::Append,
        b"prepend" => Verb::Prepend,
        b"cas" => Verb::Cas,
        b"delete" => Verb::Delete,
        b"incr" => Verb::Incr,
        b"decr" => Verb::Decr,
        b"touch" => Verb::Touch,
        b"stats" => Verb::Stats,
        b"watch" => Verb::Watch,
        b"version" => Verb::Version,
        b"quit" => Verb::Quit,
        b"mg" => Verb::Meta(*b"mg"),
        b"md" => Verb::Meta(*b"md"),
        b"ma" => Verb::Meta(*b"ma"),
        b"me" => Verb::Meta(*b"me"),
        b"ms" => Verb::MetaSet,
        b"mn" => Verb::MetaNoop,
        _ => Verb::Other,
    };
    (verb, rest)
}

/// A request that is answered with an error.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Refusal {
    /// The answer.
    pub reply: &'static [u8],
    /// Whether the answer is kept back.
    pub is_noreply: bool,
}

impl Refusal {
    /// A refusal that `noreply` does not silence.
    fn loud(reply: &'static [u8]) -> Self {
        Self { reply, is_noreply: false }
    }
}

/// Arguments of a storage command.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct StorageLine<'a> {
    /// The key, 1 to 250 bytes.
    pub key: &'a [u8],
    /// Client flags.
    pub flags: u32,
    /// Exptime as given.
    pub exptime: i32,
    /// Bytes of the data block without its CR LF.
    pub value_bytes: usize,
    /// CAS id of `cas`; 0 otherwise.
    pub compare: u64,
    /// Whether the answer is kept back.
    pub is_noreply: bool,
}

impl StorageLine<'_> {
    /// The line of no command, to begin with.
    pub const EMPTY: Self = Self { key: &[], flags: 0, exptime: 0, value_bytes: 0, compare: 0, is_noreply: false };
}

/// What the line of a storage command comes to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Storage<'a> {
    /// A data block follows and is to be stored.
    Data(StorageLine<'a>),
    /// A data block follows and is to be swallowed, with its CR LF; then the refusal is answered.
    Swallow {
        /// Bytes of the data block without its CR LF.
        value_bytes: usize,
        /// The answer.
        refusal: Refusal,
    },
    /// No data block can be told from here.
    Refused(Refusal),
}

/// Reads the arguments of a storage command: `<key> <flags> <exptime> <bytes> [<cas>] ... [noreply]`.
#[inline]
pub fn storage(arguments: &[u8], has_compare: bool) -> Storage<'_> {
    let bad_line = Storage::Refused(Refusal::loud(reply::BAD_LINE));
    let mut rest = arguments;
    let key = next_token(&mut rest);
    // Flags and exptime are read by C's rules, which look past the end of a token.
    let flags_text = skip_spaces(rest);
    let flags_token = next_token(&mut rest);
    let exptime_text = skip_spaces(rest);
    let exptime_token = next_token(&mut rest);
    let bytes_token = next_token(&mut rest);
    if key.is_empty() || flags_token.is_empty() || exptime_token.is_empty() || bytes_token.is_empty() {
        return bad_line;
    }
    let value_bytes = match number::strict_i32(bytes_token).map(usize::try_from) {
        Some(Ok(value_bytes)) if value_bytes <= sizes::VALUE_BYTES_MAX => value_bytes,
        _ => return bad_line,
    };
    let is_noreply = is_noreply(bytes_token, rest, TOKENS_KEPT - 5);
    let compare = if has_compare {
        match next_token(&mut rest) {
            b"" => None,
            token => number::strict_u64(token),
        }
    } else {
        Some(0)
    };
    match (key::is_valid(key), number::c_u32(flags_text), number::c_exptime(exptime_text), compare) {
        (true, Some(flags), Some(exptime), Some(compare)) => {
            Storage::Data(StorageLine { key, flags, exptime, value_bytes, compare, is_noreply })
        }
        _ => Storage::Swallow { value_bytes, refusal: Refusal { reply: reply::BAD_LINE, is_noreply } },
    }
}

/// Reads the arguments of get and gets: the part of the line that holds the keys.
#[inline]
pub fn retrieval(arguments: &[u8]) -> Result<&[u8], Refusal> {
    let keys = skip_spaces(arguments);
    if keys.is_empty() { Err(Refusal::loud(reply::BAD_LINE)) } else { Ok(keys) }
}

/// The key of a plain `get <key>` at the start of the input, and the bytes of its line: the most frequent request,
/// recognised in one pass. `None` for everything out of the ordinary, which is read line by line then.
#[inline(always)]
pub fn single_get(input: &[u8]) -> Option<(&[u8], usize)> {
    let rest = input.strip_prefix(b"get ")?;
    let length = printable_length(rest);
    let (key, behind) = rest.split_at_checked(length)?;
    let line_end = match behind {
        [b'\r', b'\n', ..] => 2,
        [b'\n', ..] => 1,
        _ => return None,
    };
    key::is_valid(key).then_some((key, b"get ".len() + length + line_end))
}

/// A plain `set <key> <flags> <exptime> <bytes>[ noreply]` at the start of the input, and the bytes of its line: read in
/// one pass, like [`single_get`]. `None` for everything out of the ordinary.
#[inline(always)]
pub fn single_set(input: &[u8]) -> Option<(StorageLine<'_>, usize)> {
    let rest = input.strip_prefix(b"set ")?;
    let (key, rest) = rest.split_at_checked(printable_length(rest))?;
    if !key::is_valid(key) {
        return None;
    }
    let (flags, rest) = short_number(rest)?;
    let (exptime, rest) = short_number(rest)?;
    let (value_bytes, rest) = short_number(rest)?;
    let (is_noreply, rest) = match rest {
        [b' ', ..] => (true, rest.strip_prefix(b" noreply")?),
        _ => (false, rest),
    };
    let data = match rest {
        [b'\r', b'\n', data @ ..] | [b'\n', data @ ..] => data,
        _ => return None,
    };
    let (exptime, value_bytes) = (exptime as i32, value_bytes as usize);
    Some((StorageLine { key, flags, exptime, value_bytes, compare: 0, is_noreply }, input.len() - data.len()))
}

/// The number of up to nine digits behind a space, and what follows it.
#[inline(always)]
fn short_number(text: &[u8]) -> Option<(u32, &[u8])> {
    let [b' ', first, rest @ ..] = text else { return None };
    let mut number = u32::from(first.wrapping_sub(b'0'));
    if number > 9 {
        return None;
    }
    let mut rest = rest;
    loop {
        let (byte, behind) = rest.split_first()?;
        let digit = u32::from(byte.wrapping_sub(b'0'));
        if digit > 9 {
            return Some((number, rest));
        }
        if number > 99_999_999 {
            return None;
        }
        number = number * 10 + digit;
        rest = behind;
    }
}

/// Whether the error of a get with a key that is too long is kept back: the last kept token is `noreply`, and the first
/// key is the long one, since memcached forgets `noreply` behind the first key.
pub fn is_long_key_silent(keys: &[u8]) -> bool {
    let mut rest = keys;
    let first = next_token(&mut rest);
    !key::is_valid(first) && is_noreply(first, rest, TOKENS_KEPT - 2)
}

/// Reads the arguments of gat and gats: the exptime, and the part of the line that holds the keys.
pub fn retrieval_and_touch(arguments: &[u8]) -> Result<(i32, &[u8]), Refusal> {
    let mut rest = arguments;
    let exptime = next_token(&mut rest);
    let keys = skip_spaces(rest);
    if keys.is_empty() {
        return Err(Refusal::loud(reply::BAD_LINE));
    }
    match number::strict_i32(exptime) {
        Some(exptime) => Ok((exptime, keys)),
        None => Err(Refusal::loud(reply::BAD_EXPTIME)),
    }
}

/// A request on one key.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Keyed<'a, T> {
    /// The key, 1 to 250 bytes.
    pub key: &'a [u8],
    /// The command's argument.
    pub argument: T,
    /// Whether the answer is kept back.
    pub is_noreply: bool,
}

/// Reads the arguments of delete: `<key> ... [noreply]`.
#[inline]
pub fn delete(arguments: &[u8]) -> Result<Keyed<'_, ()>, Refusal> {
    let mut rest = arguments;
    let key = next_token(&mut rest);
    if key.is_empty() {
        return Err(Refusal::loud(reply::BAD_LINE));
    }
    let is_noreply = is_noreply(key, rest, TOKENS_KEPT - 2);
    if key::is_valid(key) {
        Ok(Keyed { key, argument: (), is_noreply })
    } else {
        Err(Refusal { reply: reply::BAD_LINE, is_noreply })
    }
}

/// Reads the arguments of incr and decr: `<key> <delta> ... [noreply]`.
#[inline]
pub fn arithmetic(arguments: &[u8]) -> Result<Keyed<'_, u64>, Refusal> {
    keyed(arguments, number::strict_u64, reply::BAD_DELTA)
}

/// Reads the arguments of touch: `<key> <exptime> ... [noreply]`.
#[inline]
pub fn touch(arguments: &[u8]) -> Result<Keyed<'_, i32>, Refusal> {
    keyed(arguments, number::strict_i32, reply::BAD_EXPTIME)
}

#[inline]
fn keyed<'a, T>(
    arguments: &'a [u8],
    parse: impl FnOnce(&[u8]) -> Option<T>,
    bad_argument: &'static [u8],
) -> Result<Keyed<'a, T>, Refusal> {
    let mut rest = arguments;
    let key = next_token(&mut rest);
    let argument = next_token(&mut rest);
    if argument.is_empty() {
        return Err(Refusal::loud(reply::BAD_LINE));
    }
    let is_noreply = is_noreply(argument, rest, TOKENS_KEPT - 3);
    if !key::is_valid(key) {
        return Err(Refusal { reply: reply::BAD_LINE, is_noreply });
    }
    match parse(argument) {
        Some(argument) => Ok(Keyed { key, argument, is_noreply }),
        None => Err(Refusal { reply: bad_argument, is_noreply }),
    }
}

/// Whether the last kept token is `noreply`: `last`, or the last of `rest`, of which `kept` tokens count.
#[inline]
fn is_noreply(last: &[u8], rest: &[u8], kept: usize) -> bool {
    let (mut last, mut rest) = (last, rest);
    for _ in 0..kept {
        let token = next_token(&mut rest);
        if token.is_empty() {
            break;
        }
        last = token;
    }
    last == NOREPLY
}

/// The word that keeps answers back.
pub const NOREPLY: &[u8] = b"noreply";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_plain_get_is_recognised_and_nothing_else() {
        let long = [b"get ".as_slice(), &[b'k'; 251], b"\r\n"].concat();
        type Case<'a> = (&'a [u8], Option<(&'a [u8], usize)>);
        let cases: [Case<'_>; 14] = [
            (b"get a\r\n", Some((b"a", 7))),
            (b"get a\n", Some((b"a", 6))),
            (b"get abcdefghijklmnop\r\nget b\r\n", Some((b"abcdefghijklmnop", 22))),
            (b"get \xff\x80\r\n", Some((b"\xff\x80", 8))),
            (b"get a", None),
            (b"get a\r", None),
            (b"get a b\r\n", None),
            (b"get a \r\n", None),
            (b"get  a\r\n", None),
            (b"get \r\n", None),
            (b"get a\tb\r\n", None),
            (b"get a\rb\r\n", None),
            (b"gets a\r\n", None),
            (&long, None),
        ];
        for (input, expected) in cases {
            assert_eq!(single_get(input), expected, "{}", input.escape_ascii());
        }
        assert_eq!(single_get(&long[1..]), None);
        let longest = [b"get ".as_slice(), &[b'k'; 250], b"\r\n"].concat();
        assert_eq!(single_get(&longest).map(|(key, bytes)| (key.len(), bytes)), Some((250, 256)));
    }

    #[test]
    fn a_plain_set_is_read_as_the_general_way_reads_it() {
        let cases =
            ["k 0 0 1", "key 5 0 100", "key 999999999 123456789 1048576", "key 0 0 0 noreply", "k 007 001 0002"];
        for arguments in cases {
            for line_end in ["\r\n", "\n"] {
                let input = format!("set {arguments}{line_end}data");
                let (line, bytes) = single_set(input.as_bytes()).expect(arguments);
                assert_eq!(Storage::Data(line), storage(arguments.as_bytes(), false), "{arguments}");
                assert_eq!(&input.as_bytes()[bytes..], b"data");
            }
        }
        let others = [
            "set k 0 0 1",
            "set k 0 0 1\r",
            "set  k 0 0 1\r\n",
            "set k  0 0 1\r\n",
            "set k 0 0 1 \r\n",
            "set k 0 0\r\n",
            "set k -1 0 1\r\n",
            "set k 0 -1 1\r\n",
            "set k 0 0 -1\r\n",
            "set k 0 0 1x\r\n",
            "set k 0 0 1 noreply \r\n",
            "set k 0 0 1 2\r\n",
            "set k 1234567890 0 1\r\n",
            "set k\t 0 0 1\r\n",
            "add k 0 0 1\r\n",
            "set \r\n",
        ];
        for input in others {
            assert_eq!(single_set(input.as_bytes()), None, "{input:?}");
        }
        let long = format!("set {} 0 0 1\r\n", "k".repeat(251));
        assert_eq!(single_set(long.as_bytes()), None);
    }

    #[test]
    fn words_stand_at_the_start_and_end_at_a_space() {
        let cases: [(&[u8], Verb, &[u8]); 14] = [
            (b"get a b", Verb::Get, b"a b"),
            (b"get", Verb::Get, b""),
            (b"gets a", Verb::Gets, b"a"),
            (b"gat 1 a", Verb::Gat, b" 1 a"),
            (b"mg", Verb::Meta(*b"mg"), b""),
            (b"mg a v", Verb::Meta(*b"mg"), b"a v"),
            (b"md a", Verb::Meta(*b"md"), b" a"),
            (b"ms a 1", Verb::MetaSet, b"a 1"),
            (b"mn", Verb::MetaNoop, b""),
            (b"GET a", Verb::Other, b" a"),
            (b" get a", Verb::Other, b" get a"),
            (b"get\ta", Verb::Other, b""),
            (b"prepend a", Verb::Prepend, b" a"),
            (b"", Verb::Other, b""),
        ];
        for (line, verb_expected, rest_expected) in cases {
            assert_eq!(verb(line), (verb_expected, rest_expected));
        }
    }

    const LOUD: Storage<'_> = Storage::Refused(Refusal { reply: reply::BAD_LINE, is_noreply: false });

    fn swallow(value_bytes: usize, is_noreply: bool) -> Storage<'static> {
        let refusal = Refusal { reply: reply::BAD_LINE, is_noreply };
        Storage::Swallow { value_bytes, refusal }
    }

    fn data(value_bytes: usize, is_noreply: bool) -> Storage<'static> {
        Storage::Data(StorageLine { key: b"k", flags: 5, exptime: 7, value_bytes, compare: 0, is_noreply })
    }

    #[track_caller]
    fn check_storage(arguments: &str, expected: Storage<'_>) {
        assert_eq!(storage(arguments.as_bytes(), false), expected, "{arguments:?}");
    }

    #[test]
    fn storage_lines_are_checked_in_order() {
        check_storage("k 5 7 3", data(3, false));
        check_storage(" k  5   7 3  ", data(3, false));
        check_storage("k 5 7 3 noreply", data(3, true));
        check_storage("k 5 7 3 x noreply", data(3, true));
        check_storage("k 5 7 3 noreply x", data(3, false));
        check_storage("k 5 7 0", data(0, false));
        check_storage("k 5 7 2147483645", data(2147483645, false));
        check_storage("k 5 7 2147483646 noreply", LOUD);
        check_storage("k 5 7 -1", LOUD);
        check_storage("k 5 7 1x", LOUD);
        check_storage("k 5 7 noreply", LOUD);
        check_storage("k 5 7", LOUD);
        check_storage("", LOUD);
        check_storage("k a 7 3", swallow(3, false));
        check_storage("k 5 1.5 3 noreply", swallow(3, true));
        check_storage("k -1 7 3", swallow(3, false));
        let long = "k".repeat(251);
        check_storage(&format!("{long} 5 7 3"), swallow(3, false));
        check_storage(&format!("{long} 5 7 3 noreply"), swallow(3, true));
        check_storage(&format!("{long} 5 7 x"), LOUD);
        // `noreply` is heeded up to the 23rd token, the word included.
        check_storage(&format!("k 5 7 3{} noreply", " x".repeat(17)), data(3, true));
        check_storage(&format!("k 5 7 3{} noreply", " x".repeat(18)), data(3, false));
    }

    #[test]
    fn cas_needs_its_number() {
        let Storage::Data(line) = storage(b"k 5 7 3 9 noreply", true) else {
            panic!("refused");
        };
        assert_eq!((line.compare, line.is_noreply), (9, true));
        assert_eq!(storage(b"k 5 7 3", true), swallow(3, false));
        assert_eq!(storage(b"k 5 7 3 noreply", true), swallow(3, true));
        assert_eq!(storage(b"k 5 7 3 -1", true), swallow(3, false));
    }

    fn refused<T>(reply: &'static [u8], is_noreply: bool) -> Result<T, Refusal> {
        Err(Refusal { reply, is_noreply })
    }

    #[test]
    fn keyed_lines_are_checked_in_order() {
        let long = "k".repeat(251);
        let (number, noreply) = (5, false);
        let keyed = |argument, is_noreply| Ok(Keyed { key: &b"k"[..], argument, is_noreply });
        assert_eq!(arithmetic(b"k 5"), keyed(number, noreply));
        assert_eq!(arithmetic(b"k 5 noreply"), keyed(number, true));
        assert_eq!(arithmetic(b"k 5 x"), keyed(number, noreply));
        assert_eq!(arithmetic(b"k"), refused(reply::BAD_LINE, false));
        assert_eq!(arithmetic(b"k noreply"), refused(reply::BAD_DELTA, true));
        assert_eq!(arithmetic(b"k -1"), refused(reply::BAD_DELTA, false));
        assert_eq!(arithmetic(format!("{long} x noreply").as_bytes()), refused(reply::BAD_LINE, true));
        assert_eq!(touch(b"k +1"), refused(reply::BAD_EXPTIME, false));
        assert_eq!(touch(b"k -1").map(|touch| touch.argument), Ok(-1));
        assert_eq!(delete(b""), refused(reply::BAD_LINE, false));
        assert_eq!(delete(b"noreply").map(|line| line.is_noreply), Ok(true));
        assert_eq!(delete(b"k 0").map(|line| line.is_noreply), Ok(false));
        assert_eq!(delete(long.as_bytes()), refused(reply::BAD_LINE, false));
    }

    #[test]
    fn retrieval_lines_need_a_key() {
        assert_eq!(retrieval(b"a b"), Ok(&b"a b"[..]));
        assert_eq!(retrieval(b"  "), refused(reply::BAD_LINE, false));
        assert_eq!(retrieval_and_touch(b" 5 a b"), Ok((5, &b"a b"[..])));
        assert_eq!(retrieval_and_touch(b" x"), refused(reply::BAD_LINE, false));
        assert_eq!(retrieval_and_touch(b" x a"), refused(reply::BAD_EXPTIME, false));
        let long = "k".repeat(251);
        assert!(is_long_key_silent(format!("{long} noreply").as_bytes()));
        assert!(!is_long_key_silent(format!("{long} a").as_bytes()));
        assert!(!is_long_key_silent(format!("a {long} noreply").as_bytes()));
    }
}

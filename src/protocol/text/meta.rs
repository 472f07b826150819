//! Lines of the meta commands: `<word> <key> [<data length>] [flags]`, where a flag is one letter with an argument
//! glued to it.
//!
//! A line is read in two steps, because memcached refuses in two ways: [`split`] finds the tokens, and what it refuses
//! is no meta command at all (the data block of an `ms` is then not skipped); [`Request::check`] reads the flags'
//! arguments. The result borrows the line and allocates nothing.
//!
//! The flags are the rows of [`FLAGS`]; what a flag means is decided in `command::meta`.

use crate::base::key::KEY_BYTES_MAX;
use crate::base::sizes::VALUE_BYTES_MAX;

use super::base64;
use super::line::{next_token, printable_length};
use super::number::{strict_i32, strict_u32, strict_u64};

/// What may be glued to a flag's letter.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Argument {
    /// Whatever: it is not looked at.
    Ignored,
    /// Bytes that come back as they are.
    Opaque,
    /// Nothing; the line's key is base64.
    Base64Key,
    /// Seconds as of an exptime, signed 32 bit.
    Seconds,
    /// Client flags, 32 bit.
    ClientFlags,
    /// An unsigned 64-bit number, and how another argument is refused.
    Number(Refusal),
    /// A mode's letter; what follows it is not looked at.
    Mode,
}

/// All known flags. Every command accepts every flag and ignores those that mean nothing to it.
pub const FLAGS: [(u8, Argument); 25] = [
    (b'b', Argument::Base64Key),
    (b'c', Argument::Ignored),
    (b'f', Argument::Ignored),
    (b'h', Argument::Ignored),
    (b'k', Argument::Ignored),
    (b'l', Argument::Ignored),
    (b'q', Argument::Ignored),
    (b's', Argument::Ignored),
    (b't', Argument::Ignored),
    (b'u', Argument::Ignored),
    (b'v', Argument::Ignored),
    (b'x', Argument::Ignored),
    (b'C', Argument::Number(Refusal::BadToken)),
    (b'D', Argument::Number(Refusal::BadDelta)),
    (b'E', Argument::Number(Refusal::BadToken)),
    (b'F', Argument::ClientFlags),
    (b'I', Argument::Ignored),
    (b'J', Argument::Number(Refusal::BadInitial)),
    (b'L', Argument::Ignored),
    (b'M', Argument::Mode),
    (b'N', Argument::Seconds),
    (b'O', Argument::Opaque),
    (b'P', Argument::Ignored),
    (b'R', Argument::Seconds),
    (b'T', Argument::Seconds),
];

/// [`FLAGS`] by letter.
const ARGUMENTS: [Option<Argument>; 128] = {
    let mut arguments = [None; 128];
    let mut index = 0;
    while index < FLAGS.len() {
        let (letter, argument) = FLAGS[index];
        arguments[letter as usize] = Some(argument);
        index += 1;
    }
    arguments
};

/// Why a meta command is refused.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Refusal {
    /// No key, a key that is too long, or a token that cannot be a flag.
    BadFormat,
    /// More than 20 tokens.
    TooManyFlags,
    /// A letter that is no flag.
    InvalidFlag,
    /// A letter came twice.
    DuplicateFlag,
    /// An argument is not the number it should be.
    BadToken,
    /// The same for `J`.
    BadInitial,
    /// The same for `D`.
    BadDelta,
    /// The key is not base64.
    BadKey,
    /// `O` is longer than 32 bytes, letter included.
    OpaqueTooLong,
}

impl Refusal {
    /// The reply, with its line end.
    pub fn reply(self) -> &'static [u8] {
        match self {
            Refusal::BadFormat => b"CLIENT_ERROR bad command line format\r\n",
            Refusal::TooManyFlags => b"CLIENT_ERROR options flags are too long\r\n",
            Refusal::InvalidFlag => b"CLIENT_ERROR invalid flag\r\n",
            Refusal::DuplicateFlag => b"CLIENT_ERROR duplicate flag\r\n",
            Refusal::BadToken => b"CLIENT_ERROR bad token in command line format\r\n",
            Refusal::BadInitial => b"CLIENT_ERROR invalid numeric initial value\r\n",
            Refusal::BadDelta => b"CLIENT_ERROR invalid numeric delta value\r\n",
            Refusal::BadKey => b"CLIENT_ERROR error decoding key\r\n",
            Refusal::OpaqueTooLong => b"CLIENT_ERROR opaque token too long\r\n",
        }
    }
}

/// Longest `O` flag in bytes, letter included.
pub const OPAQUE_BYTES_MAX: usize = 32;

/// Tokens a line may have, word and key included.
const TOKENS_MAX: usize = 20;

/// Tokens that are looked at; later ones are invisible.
const TOKENS_SEEN: usize = 23;

/// Bytes of a line that are looked at, so that positions fit 16 bits.
const LINE_BYTES_MAX: usize = 65_534;

/// One flag of a line.
#[derive(Clone, Copy, Default, Debug)]
pub struct Flag {
    value: u64,
    /// Where the token is in the line: start + length <= the line's length
    start: u16,
    length: u16,
    /// The letter.
    pub letter: u8,
}

impl Flag {
    /// The argument of a flag with [`Argument::Number`] or [`Argument::ClientFlags`], or the mode's letter.
    pub fn number(&self) -> u64 {
        self.value
    }

    /// The argument of a flag with [`Argument::Seconds`].
    pub fn seconds(&self) -> i64 {
        self.value as i64
    }
}

/// The flags and key of a line. What flags mean may be asked once they are checked.
#[derive(Clone, Debug)]
pub struct Request<'a> {
    line: &'a [u8],
    key: &'a [u8],
    /// The third token when it is no flag.
    data_length: &'a [u8],
    /// Bit `letter - 64` is set for each flag of the line.
    present: u64,
    flags: [Flag; TOKENS_MAX],
    /// count <= TOKENS_MAX
    count: usize,
    /// Tokens of the line, [`TOKENS_SEEN`] at most.
    tokens: usize,
}

impl<'a> Request<'a> {
    /// The key as it was sent: base64 when there is a `b`.
    pub fn key(&self) -> &'a [u8] {
        self.key
    }

    /// The flags in order.
    pub fn flags(&self) -> &[Flag] {
        self.flags.get(..self.count).unwrap_or(&[])
    }

    /// A flag with its letter, as it was sent.
    pub fn text(&self, flag: &Flag) -> &'a [u8] {
        let start = usize::from(flag.start);
        self.line.get(start..start + usize::from(flag.length)).unwrap_or(&[])
    }

    /// Whether the flag is there.
    #[inline]
    pub fn has(&self, letter: u8) -> bool {
        self.present & bit(letter) != 0
    }

    /// The flag, when it is there.
    #[inline]
    pub fn flag(&self, letter: u8) -> Option<&Flag> {
        if self.has(letter) { self.flags().iter().find(|flag| flag.letter == letter) } else { None }
    }

    /// The number of a flag, when it is there.
    #[inline]
    pub fn number(&self, letter: u8) -> Option<u64> {
        self.flag(letter).map(Flag::number)
    }

    /// The seconds of a flag, when it is there.
    #[inline]
    pub fn seconds(&self, letter: u8) -> Option<i64> {
        self.flag(letter).map(Flag::seconds)
    }

    /// The mode's letter, when one is given.
    pub fn mode(&self) -> Option<u8> {
        match self.number(b'M') {
            None | Some(0) => None,
            Some(letter) => Some(letter as u8),
        }
    }

    /// The `O` flag as it was sent, empty without one; refused when it is too long.
    pub fn opaque(&self) -> Result<&'a [u8], Refusal> {
        let text = self.flag(b'O').map_or(&[][..], |flag| self.text(flag));
        if text.len() > OPAQUE_BYTES_MAX { Err(Refusal::OpaqueTooLong) } else { Ok(text) }
    }
}

/// The bit of a letter in [`Request::present`]. Letters of checked flags are 65 to 122.
fn bit(letter: u8) -> u64 {
    1 << (letter & 63)
}

/// The keys of the meta commands that the input begins with, for looking ahead: as they are sent, and only of lines that
/// are all there. Ends behind an `ms`, whose data block follows.
pub fn keys(input: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut rest = Some(input);
    std::iter::from_fn(move || {
        let input = rest.take()?;
        let [b'm', command, b' ', line @ ..] = input else {
            return None;
        };
        let key = &line[..printable_length(line)];
        if *command != b's' {
            let end = key.len() + memchr::memchr(b'\n', &line[key.len()..])?;
            rest = line.get(end + 1..);
        }
        Some(key)
    })
}

/// A [`Request`] of a line whose tokens are found ([`Request::split`]).
pub fn split(line: &[u8], positional: usize) -> Option<Request<'_>> {
    let mut request = Request::new(line);
    request.split(positional).then_some(request)
}

impl<'a> Request<'a> {
    /// A line of which nothing is read yet.
    #[inline(always)]
    pub fn new(line: &'a [u8]) -> Self {
        Self {
            line: line.get(..LINE_BYTES_MAX).unwrap_or(line),
            key: &[],
            data_length: &[],
            present: 0,
            flags: [Flag::default(); TOKENS_MAX],
            count: 0,
            tokens: 0,
        }
    }

    /// Finds the tokens of the line. The first `positional` (2 or 3) are word, key and data length, the rest are flags. False
    /// when a positional one is missing or a flag does not start as flags do. To be called once, in place: to hand a
    /// request on costs more than to read it.
    #[inline(always)]
    pub fn split(&mut self, positional: usize) -> bool {
        let mut rest = self.line;
        while self.tokens < TOKENS_SEEN {
            let token = next_token(&mut rest);
            let Some(&letter) = token.first() else {
                break;
            };
            match self.tokens {
                0 => {}
                1 => self.key = token,
                2 if positional == 3 => self.data_length = token,
                _ => {
                    if !(letter.is_ascii_digit() || (65..=122).contains(&letter)) {
                        return false;
                    }
                    if let Some(flag) = self.flags.get_mut(self.count) {
                        let start = self.line.len() - rest.len() - token.len();
                        *flag = Flag { value: 0, start: start as u16, length: token.len() as u16, letter };
                        self.count += 1;
                    }
                }
            }
            self.tokens += 1;
        }
        self.tokens >= positional
    }

    /// The data length of an `ms` line, without the line end; `None` when it is not a number or out of range.
    pub fn data_bytes(&self) -> Option<usize> {
        let bytes = usize::try_from(strict_i32(self.data_length)?).ok()?;
        (bytes <= VALUE_BYTES_MAX).then_some(bytes)
    }

    /// Checks the key's length: all that `me` checks.
    pub fn check_key(&self) -> Result<(), Refusal> {
        if self.key.len() > KEY_BYTES_MAX { Err(Refusal::BadFormat) } else { Ok(()) }
    }

    /// Reads the flags' arguments. Of several bad arguments the last one is reported, as memcached does.
    pub fn check(&mut self) -> Result<(), Refusal> {
        self.check_key()?;
        if self.tokens > TOKENS_MAX {
            return Err(Refusal::TooManyFlags);
        }
        let line = self.line;
        let mut refusal = None;
        for flag in self.flags.iter_mut().take(self.count) {
            let start = usize::from(flag.start);
            let Some(argument) = ARGUMENTS.get(usize::from(flag.letter)).copied().flatten() else {
                // A digit or a letter without a meaning. A repeated one never gets this far.
                return Err(Refusal::InvalidFlag);
            };
            if self.present & bit(flag.letter) != 0 {
                return Err(Refusal::DuplicateFlag);
            }
            self.present |= bit(flag.letter);
            let text = &line[start + 1..start + usize::from(flag.length)];
            match argument {
                Argument::Ignored | Argument::Opaque => {}
                Argument::Base64Key => {
                    if base64::decode(self.key, &mut [0; KEY_BYTES_MAX]).is_none() {
                        refusal = Some(Refusal::BadKey);
                    }
                }
                Argument::Mode => {
                    // Without an argument memcached sees the separator, which is no mode either.
                    flag.value = u64::from(text.first().copied().unwrap_or(b' '));
                }
                Argument::Seconds => match strict_i32(text) {
                    Some(seconds) if !text.is_empty() => flag.value = i64::from(seconds) as u64,
                    _ => refusal = Some(Refusal::BadToken),
                },
                Argument::ClientFlags => match strict_u32(text) {
                    Some(flags) if !text.is_empty() => flag.value = u64::from(flags),
                    // memcached sets no text of its own here: an earlier flag's stays.
                    _ => refusal = refusal.or(Some(Refusal::BadFormat)),
                },
                Argument::Number(other) => match strict_u64(text) {
                    Some(number) if !text.is_empty() => flag.value = number,
                    _ => refusal = Some(other),
                },
            }
        }
        match refusal {
            None => Ok(()),
            Some(refusal) => Err(refusal),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{FLAGS, Refusal, Request, keys, split};

    fn parse(line: &[u8]) -> Result<Request<'_>, Refusal> {
        let mut request = split(line, 2).ok_or(Refusal::BadFormat)?;
        request.check().map(|()| request)
    }

    #[track_caller]
    fn refused(line: &str, expected: Refusal) {
        assert_eq!(parse(line.as_bytes()).err(), Some(expected), "{line}");
    }

    #[track_caller]
    fn accepted(line: &str, letters: &str) {
        let request = parse(line.as_bytes()).unwrap();
        let seen: Vec<u8> = request.flags().iter().map(|flag| flag.letter).collect();
        assert_eq!(String::from_utf8_lossy(&seen), letters, "{line}");
        for letter in letters.bytes() {
            assert!(request.has(letter), "{line}");
        }
    }

    #[test]
    fn the_table_has_each_letter_once() {
        for (index, (letter, _)) in FLAGS.iter().enumerate() {
            assert!(letter.is_ascii_alphabetic());
            assert!(FLAGS[..index].iter().all(|(other, _)| other != letter));
        }
    }

    #[test]
    fn flags_are_taken_in_order() {
        accepted("mg a", "");
        accepted("mg a  ", "");
        accepted("mg   a   v  t", "vt");
        accepted("mg a kfoo Oxyz P9 L", "kOPL");
        accepted("mg a v k s t c f h l q u x I P L O M T1 R1", "vkstcfhlquxIPLOMTR");
    }

    #[test]
    fn keys_are_those_of_whole_lines() {
        let keys_of = |input: &'static [u8]| keys(input).map(String::from_utf8_lossy).collect::<Vec<_>>().join(",");
        assert_eq!(keys_of(b"mg a v\r\nmd b\r\nma c q\nget d\r\nmg e\r\n"), "a,b,c");
        assert_eq!(keys_of(b"mg a\r\nms b 2\r\nxx\r\nmg c\r\n"), "a,b");
        assert_eq!(keys_of(b"mg a v\r\nmg b v"), "a");
        assert_eq!(keys_of(b"mn\r\nmg b\r\n"), "");
        assert_eq!(keys_of(b""), "");
    }

    #[test]
    fn lines_that_are_no_meta_commands() {
        refused("mg", Refusal::BadFormat);
        refused("mg ", Refusal::BadFormat);
        refused("mg a $", Refusal::BadFormat);
        refused("mg a v {", Refusal::BadFormat);
        refused(&format!("mg {}", "a".repeat(251)), Refusal::BadFormat);
        assert!(split(b"mg a \x80", 2).is_none());
        assert!(split(b"ms a", 3).is_none());
    }

    #[test]
    fn flags_that_are_refused() {
        refused("mg a S", Refusal::InvalidFlag);
        refused("mg a 1", Refusal::InvalidFlag);
        refused("mg a [", Refusal::InvalidFlag);
        refused("mg a noreply", Refusal::InvalidFlag);
        refused("mg a v v", Refusal::DuplicateFlag);
        refused("mg a Tx v v", Refusal::DuplicateFlag);
        refused(&format!("mg a{}", " v".repeat(19)), Refusal::TooManyFlags);
        refused(&format!("mg a{}", " v".repeat(40)), Refusal::TooManyFlags);
    }

    #[test]
    fn arguments_that_are_refused() {
        for line in ["mg a T", "mg a Tx", "mg a T+1", "mg a N2147483648", "mg a R1.5", "mg a C", "mg a C-1"] {
            refused(line, Refusal::BadToken);
        }
        refused("mg a E18446744073709551616", Refusal::BadToken);
        refused("mg a E00000000000000000000001", Refusal::BadToken);
        refused("mg a J", Refusal::BadInitial);
        refused("mg a Dx", Refusal::BadDelta);
        refused("mg a F", Refusal::BadFormat);
        refused("mg a F4294967296", Refusal::BadFormat);
        refused("mg a b", Refusal::BadKey);
        refused("mg a= b", Refusal::BadKey);
        refused("mg a b Tx", Refusal::BadToken);
        refused("mg a Tx b", Refusal::BadKey);
        refused("mg a Tx Fx", Refusal::BadToken);
        refused("mg a Fx Tx", Refusal::BadToken);
    }

    #[test]
    fn arguments_have_their_values() {
        let request = parse(b"mg YQ== b T-1 N- R0000000010 C18446744073709551615 F4294967295 MADD Ofoo").unwrap();
        assert_eq!(request.seconds(b'T'), Some(-1));
        assert_eq!(request.seconds(b'N'), Some(0));
        assert_eq!(request.seconds(b'R'), Some(10));
        assert_eq!(request.number(b'C'), Some(u64::MAX));
        assert_eq!(request.number(b'F'), Some(4_294_967_295));
        assert_eq!(request.number(b'E'), None);
        assert_eq!(request.mode(), Some(b'A'));
        assert_eq!(request.opaque(), Ok(&b"Ofoo"[..]));
        assert_eq!(parse(b"mg a M").unwrap().mode(), Some(b' '));
        assert_eq!(parse(b"mg a M\0").unwrap().mode(), None);
        assert_eq!(parse(b"mg a v").unwrap().mode(), None);
        let long = format!("mg a O{}", "o".repeat(32));
        assert_eq!(parse(long.as_bytes()).unwrap().opaque(), Err(Refusal::OpaqueTooLong));
    }

    #[test]
    fn data_lengths_are_strict() {
        let bytes = |text: &str| split(format!("ms a {text}").as_bytes(), 3).unwrap().data_bytes();
        assert_eq!(bytes("0"), Some(0));
        assert_eq!(bytes("-0"), Some(0));
        assert_eq!(bytes("00000000001"), Some(1));
        assert_eq!(bytes("2147483645"), Some(2_147_483_645));
        for text in ["2147483646", "-1", "+1", "1x", "S1", "000000000001", "99999999999"] {
            assert_eq!(bytes(text), None, "{text}");
        }
    }

    #[test]
    fn every_cut_of_a_line_is_answered() {
        let line = b"ms YWJjZA== 10 b k s c q T30 F7 C1 E2 I MS N10 J1 D2 R5 Oxyz v t f h l";
        for end in 0..=line.len() {
            for positional in [2, 3] {
                if let Some(mut request) = split(&line[..end], positional) {
                    let _ = request.data_bytes();
                    let _ = request.check();
                }
            }
        }
    }

    #[test]
    fn what_is_behind_a_very_long_line_is_not_looked_at() {
        let flags_at = |bytes: usize| {
            let line = format!("mg k{}v", " ".repeat(bytes - 4));
            split(line.as_bytes(), 2).expect("a line").flags().len()
        };
        assert_eq!((flags_at(super::LINE_BYTES_MAX - 1), flags_at(super::LINE_BYTES_MAX)), (1, 0));
    }
}

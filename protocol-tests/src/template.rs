//! Templates: bytes with placeholders, the language of the lines of a case file.
//!
//! | written | means |
//! |---|---|
//! | `\r \n \t \0 \s \\ \{ \}` | the byte (`\s` is a space, for the ends of lines and inside packet fields) |
//! | `\x7f` | a byte in hexadecimal |
//! | `{repeat:TEXT:COUNT}` | TEXT, which may use the escapes above, COUNT times |
//! | `{count:TEXT:FROM-TO}` | TEXT once per number, each `#` in it replaced by the number |
//! | `{=name}` | what an earlier placeholder of that name matched |
//! | `{version}` | the version of the server under test |
//! | `{epoch+5}` `{epoch-5}` | the wall clock plus or minus seconds, as a decimal number |
//!
//! and, in expectations only:
//!
//! | written | matches |
//! |---|---|
//! | `{number}` `{number:name}` | decimal digits, and remembers them |
//! | `{number!=name}` | decimal digits other than the remembered ones |
//! | `{any}` `{any:name}` | the shortest run (also empty) of bytes other than CR and LF |
//! | `{lines}` | the shortest run (also empty) of whole lines |
//! | `{packets}` | the shortest run (also empty) of whole binary packets |

use std::collections::HashMap;
use std::time::{SystemTime, UNIX_EPOCH};

use crate::packet::Packet;
use crate::version::Version;

/// One piece of a template.
#[derive(Clone, Debug, PartialEq)]
pub enum Piece {
    /// These bytes and no others.
    Bytes(Vec<u8>),
    /// What an earlier placeholder matched.
    Remembered(String),
    /// The version of the server under test.
    Version,
    /// The wall clock in seconds, plus an offset.
    Epoch(i64),
    /// Decimal digits, remembered under the name if there is one.
    Number(Option<String>),
    /// Decimal digits that differ from the remembered ones.
    OtherNumber(String),
    /// A run of bytes within a line, remembered under the name if there is one.
    Any(Option<String>),
    /// Whole lines.
    Lines,
    /// Whole binary packets.
    Packets,
    /// One binary packet, built or checked field by field.
    Packet(Box<Packet>),
}

/// What is known while a case runs: the server's version and what placeholders matched.
#[derive(Clone, Debug)]
pub struct Bindings {
    /// The version of the server under test.
    pub version: Version,
    /// What placeholders with a name have matched so far.
    pub values: HashMap<String, Vec<u8>>,
}

impl Bindings {
    /// Bindings at the start of a case.
    pub fn new(version: Version) -> Bindings {
        Bindings { version, values: HashMap::new() }
    }
}

/// Parses the text of a line into pieces.
pub fn parse(text: &str) -> Result<Vec<Piece>, String> {
    let mut pieces = Vec::new();
    let mut bytes = Vec::new();
    let mut rest = text;
    while let Some(next) = rest.chars().next() {
        match next {
            '\\' => rest = unescape(rest, &mut bytes)?,
            '{' => {
                let end = closing_brace(rest)?;
                match placeholder(&rest[1..end])? {
                    Piece::Bytes(more) => bytes.extend(more),
                    piece => {
                        if !bytes.is_empty() {
                            pieces.push(Piece::Bytes(std::mem::take(&mut bytes)));
                        }
                        pieces.push(piece);
                    }
                }
                rest = &rest[end + 1..];
            }
            _ => {
                bytes.extend(next.to_string().bytes());
                rest = &rest[next.len_utf8()..];
            }
        }
    }
    if !bytes.is_empty() {
        pieces.push(Piece::Bytes(bytes));
    }
    Ok(pieces)
}

/// The bytes of a template that stands for exactly one text: all there is to send, most there is to expect.
pub fn expand(pieces: &[Piece], bindings: &Bindings) -> Result<Vec<u8>, String> {
    let mut bytes = Vec::new();
    for piece in pieces {
        match piece {
            Piece::Packet(packet) => bytes.extend(packet.build(bindings)?),
            piece => match literal(piece, bindings)? {
                Some(more) => bytes.extend(more),
                None => {
                    return Err(format!("{piece:?} matches many texts, so it cannot be sent"));
                }
            },
        }
    }
    Ok(bytes)
}

/// The bytes one piece stands for, if it stands for exactly one text.
pub fn literal(piece: &Piece, bindings: &Bindings) -> Result<Option<Vec<u8>>, String> {
    match piece {
        Piece::Bytes(bytes) => Ok(Some(bytes.clone())),
        Piece::Version => Ok(Some(bindings.version.to_string().into_bytes())),
        Piece::Epoch(offset) => Ok(Some((epoch_seconds()? + offset).to_string().into_bytes())),
        Piece::Remembered(name) => match bindings.values.get(name) {
            Some(value) => Ok(Some(value.clone())),
            None => Err(format!("nothing is remembered under '{name}'")),
        },
        _ => Ok(None),
    }
}

/// The bytes of a text with escapes and repeats only.
pub fn expand_constant(text: &str) -> Result<Vec<u8>, String> {
    match parse(text)?.as_slice() {
        [] => Ok(Vec::new()),
        [Piece::Bytes(bytes)] => Ok(bytes.clone()),
        _ => Err(format!("'{text}' must not hold placeholders")),
    }
}

/// Parses hexadecimal digits, with blanks and underscores anywhere between bytes.
pub fn parse_hex(text: &str) -> Result<Vec<u8>, String> {
    let digits: Vec<char> = text.chars().filter(|digit| !matches!(digit, ' ' | '_')).collect();
    if digits.len() % 2 != 0 {
        return Err(format!("'{text}' has an odd number of hexadecimal digits"));
    }
    digits
        .chunks(2)
        .map(|pair| {
            let pair: String = pair.iter().collect();
            u8::from_str_radix(&pair, 16).map_err(|_| format!("'{pair}' is no hexadecimal byte"))
        })
        .collect()
}

/// Appends the byte of the escape `text` starts with and returns what follows it.
fn unescape<'t>(text: &'t str, bytes: &mut Vec<u8>) -> Result<&'t str, String> {
    let byte = match text.as_bytes().get(1) {
        Some(b'r') => b'\r',
        Some(b'n') => b'\n',
        Some(b't') => b'\t',
        Some(b'0') => 0,
        Some(b's') => b' ',
        Some(byte @ (b'\\' | b'{' | b'}')) => *byte,
        Some(b'x') => {
            let digits = text.get(2..4).ok_or("\\x needs two digits")?;
            bytes.extend(parse_hex(digits)?);
            return Ok(&text[4..]);
        }
        _ => return Err(format!("unknown escape at '{text}'")),
    };
    bytes.push(byte);
    Ok(&text[2..])
}

fn closing_brace(text: &str) -> Result<usize, String> {
    let mut is_escaped = false;
    for (index, byte) in text.bytes().enumerate() {
        match byte {
            b'}' if !is_escaped => return Ok(index),
            b'\\' => is_escaped = !is_escaped,
            _ => is_escaped = false,
        }
    }
    Err(format!("no closing brace at '{text}'"))
}

fn placeholder(text: &str) -> Result<Piece, String> {
    if let Some(argument) = text.strip_prefix("repeat:") {
        return repeat(argument);
    }
    if let Some(argument) = text.strip_prefix("count:") {
        return count(argument);
    }
    if let Some(name) = text.strip_prefix('=') {
        return Ok(Piece::Remembered(name.to_string()));
    }
    if let Some(name) = text.strip_prefix("number!=") {
        return Ok(Piece::OtherNumber(name.to_string()));
    }
    if let Some(offset) = text.strip_prefix("epoch") {
        let offset = if offset.is_empty() { "0" } else { offset };
        return offset.parse().map(Piece::Epoch).map_err(|_| format!("'{offset}' is no offset"));
    }
    let (word, name) = match text.split_once(':') {
        Some((word, name)) => (word, Some(name.to_string())),
        None => (text, None),
    };
    match (word, name) {
        ("number", name) => Ok(Piece::Number(name)),
        ("any", name) => Ok(Piece::Any(name)),
        ("version", None) => Ok(Piece::Version),
        ("lines", None) => Ok(Piece::Lines),
        ("packets", None) => Ok(Piece::Packets),
        _ => Err(format!("unknown placeholder '{text}'")),
    }
}

fn repeat(argument: &str) -> Result<Piece, String> {
    let (text, count) = argument.rsplit_once(':').ok_or("repeat needs a text and a count")?;
    let count: usize = count.parse().map_err(|_| format!("'{count}' is no count"))?;
    Ok(Piece::Bytes(expand_constant(text)?.repeat(count)))
}

fn count(argument: &str) -> Result<Piece, String> {
    let (text, range) = argument.rsplit_once(':').ok_or("count needs a text and a range")?;
    let (from, to) = range.split_once('-').ok_or("a range is FROM-TO")?;
    let number = |text: &str| text.parse::<u32>().map_err(|_| format!("'{text}' is no number"));
    let mut bytes = Vec::new();
    for index in number(from)?..=number(to)? {
        bytes.extend(expand_constant(&text.replace('#', &index.to_string()))?);
    }
    Ok(Piece::Bytes(bytes))
}

fn epoch_seconds() -> Result<i64, String> {
    let elapsed = SystemTime::now().duration_since(UNIX_EPOCH).map_err(|error| error.to_string())?;
    i64::try_from(elapsed.as_secs()).map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    use super::{Bindings, Piece, expand, parse, parse_hex};
    use crate::version::REFERENCE;

    #[track_caller]
    fn check(text: &str, expected: &[u8]) {
        assert_eq!(expand(&parse(text).unwrap(), &Bindings::new(REFERENCE)).unwrap(), expected);
    }

    #[test]
    fn expands_escapes_and_repeats() {
        check("", b"");
        check("a b", b"a b");
        check(r"\r\n\t\0\s\\\{\}\x80", b"\r\n\t\0 \\{}\x80");
        check("<{repeat:ab:3}>", b"<ababab>");
        check(r"{repeat:\x00\}:2}", b"\0}\0}");
        check(r"{count:k#\s:9-11}", b"k9 k10 k11 ");
        check("{version}", b"1.6.45");
    }

    #[test]
    fn refuses_what_it_does_not_know() {
        for text in [r"\q", r"\x1", "{", "{nope}", "{repeat:x:y}", "{count:x:1}", "{repeat:{any}:2}", "{version:x}"] {
            assert!(parse(text).is_err(), "{text}");
        }
        assert!(parse_hex("0").is_err());
        assert!(parse_hex("zz").is_err());
    }

    #[test]
    fn remembers_before_it_repeats() {
        let pieces = parse("cas {=unique}").unwrap();
        let mut bindings = Bindings::new(REFERENCE);
        assert!(expand(&pieces, &bindings).is_err());
        bindings.values.insert("unique".to_string(), b"17".to_vec());
        assert_eq!(expand(&pieces, &bindings).unwrap(), b"cas 17");
        assert!(expand(&[Piece::Number(None)], &bindings).is_err());
    }
}

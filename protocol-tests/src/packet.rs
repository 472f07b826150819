//! Packets of the binary protocol: built from the fields a case names, and checked field by field.
//!
//! ```text
//!   0     1      2    4     5     6       8      12      16   24
//!   magic opcode keys extra dtype status  body   opaque  cas  extras key value
//! ```
//!
//! In a request every field a case does not name is computed or zero. In an expectation a field that is not named must be
//! empty or zero, and `*` accepts anything.

use crate::matcher::{Outcome, matches};
use crate::template::{Bindings, Piece, expand, parse, parse_hex};

/// Bytes of a header.
pub const HEADER_BYTES: usize = 24;

/// A request to build or a response to expect.
#[derive(Clone, Debug, PartialEq)]
pub struct Packet {
    magic: u8,
    opcode: u8,
    data_type: u8,
    status: Expected<Vec<u8>>,
    opaque: Vec<u8>,
    cas: Expected<Vec<Piece>>,
    extras: Expected<Vec<u8>>,
    key: Expected<Vec<Piece>>,
    value: Expected<Vec<Piece>>,
    key_bytes: Option<u32>,
    extras_bytes: Option<u32>,
    body_bytes: Option<u32>,
}

/// What a field holds, or has to hold.
#[derive(Clone, Debug, PartialEq)]
enum Expected<T> {
    Exactly(T),
    Anything,
}

impl Packet {
    /// Parses a request: `OPCODE [key=TEXT] [extras=HEX] [value=TEXT] [opaque=HEX] [cas=NUMBER]`, and to break the rules
    /// `[keylen=N] [extlen=N] [body=N] [magic=HEX] [datatype=HEX] [reserved=HEX]`.
    pub fn request(text: &str) -> Result<Packet, String> {
        Packet::parse(text, 0x80)
    }

    /// Parses an expectation: `OPCODE [status=HEX] [key=TEXT] [extras=HEX] [value=TEXT] [opaque=HEX] [cas=NUMBER]`.
    pub fn response(text: &str) -> Result<Packet, String> {
        Packet::parse(text, 0x81)
    }

    fn parse(text: &str, magic: u8) -> Result<Packet, String> {
        let mut words = text.split_ascii_whitespace();
        let opcode = opcode(words.next().ok_or("a packet begins with its opcode")?)?;
        let mut packet = Packet {
            magic,
            opcode,
            data_type: 0,
            status: Expected::Exactly(vec![0, 0]),
            opaque: vec![0; 4],
            cas: Expected::Exactly(parse("0")?),
            extras: Expected::Exactly(Vec::new()),
            key: Expected::Exactly(Vec::new()),
            value: Expected::Exactly(Vec::new()),
            key_bytes: None,
            extras_bytes: None,
            body_bytes: None,
        };
        for word in words {
            let (name, text) = word.split_once('=').ok_or_else(|| format!("'{word}' is not name=value"))?;
            packet.set(name, text)?;
        }
        Ok(packet)
    }

    fn set(&mut self, name: &str, text: &str) -> Result<(), String> {
        match name {
            "status" | "reserved" => self.status = field(text, parse_hex)?,
            "cas" => self.cas = field(text, parse)?,
            "extras" => self.extras = field(text, parse_hex)?,
            "key" => self.key = field(text, parse)?,
            "value" => self.value = field(text, parse)?,
            "opaque" => self.opaque = parse_hex(text)?,
            "magic" => self.magic = byte(text)?,
            "datatype" => self.data_type = byte(text)?,
            "keylen" => self.key_bytes = Some(number(text)?),
            "extlen" => self.extras_bytes = Some(number(text)?),
            "body" => self.body_bytes = Some(number(text)?),
            _ => return Err(format!("a packet has no field '{name}'")),
        }
        Ok(())
    }

    /// The bytes of a request.
    pub fn build(&self, bindings: &Bindings) -> Result<Vec<u8>, String> {
        let cas = expand(self.cas.exactly()?, bindings)?;
        let cas: u64 = String::from_utf8_lossy(&cas).parse().map_err(|_| "cas is no number".to_string())?;
        let extras = self.extras.exactly()?;
        let key = expand(self.key.exactly()?, bindings)?;
        let value = expand(self.value.exactly()?, bindings)?;
        let body = extras.len() + key.len() + value.len();
        let size = |size: usize| u32::try_from(size).map_err(|error| error.to_string());
        let key_bytes = self.key_bytes.unwrap_or(size(key.len())?);
        let extras_bytes = self.extras_bytes.unwrap_or(size(extras.len())?);
        let body_bytes = self.body_bytes.unwrap_or(size(body)?);

        let mut bytes = vec![self.magic, self.opcode];
        bytes.extend(&key_bytes.to_be_bytes()[2..]);
        bytes.extend(&extras_bytes.to_be_bytes()[3..]);
        bytes.push(self.data_type);
        bytes.extend(self.status.exactly()?);
        bytes.extend(body_bytes.to_be_bytes());
        bytes.extend(&self.opaque);
        bytes.extend(cas.to_be_bytes());
        bytes.extend(extras);
        bytes.extend(key);
        bytes.extend(value);
        Ok(bytes)
    }

    /// Compares the beginning of `input` with the expected response.
    pub fn matches(&self, input: &[u8], bindings: &mut Bindings) -> Result<Outcome, String> {
        let Some(header) = input.get(..HEADER_BYTES) else {
            let is_possible = [self.magic, self.opcode].iter().zip(input).all(|(expected, byte)| expected == byte);
            return Ok(if is_possible { Outcome::More } else { Outcome::Mismatch });
        };
        let is_equal = header[0] == self.magic
            && header[1] == self.opcode
            && header[5] == 0
            && self.status.accepts(&header[6..8])
            && header[12..16] == self.opaque;
        if !is_equal {
            return Ok(Outcome::Mismatch);
        }
        let mut tried = bindings.clone();
        let cas = u64::from_be_bytes(header[16..24].try_into().map_err(|_| "a header has 24 bytes")?);
        if !accepts_text(&self.cas, cas.to_string().as_bytes(), &mut tried)? {
            return Ok(Outcome::Mismatch);
        }
        let length = HEADER_BYTES + body_bytes(header);
        let Some(body) = input.get(HEADER_BYTES..length) else {
            return Ok(Outcome::More);
        };
        let key_start = usize::from(header[4]);
        let key_end = key_start + usize::from(u16::from_be_bytes([header[2], header[3]]));
        if key_end > body.len() {
            return Ok(Outcome::Mismatch);
        }
        let is_equal = self.extras.accepts(&body[..key_start])
            && accepts_text(&self.key, &body[key_start..key_end], &mut tried)?
            && accepts_text(&self.value, &body[key_end..], &mut tried)?;
        if !is_equal {
            return Ok(Outcome::Mismatch);
        }
        *bindings = tried;
        Ok(Outcome::Match(length))
    }
}

/// The body length a header announces.
pub fn body_bytes(header: &[u8]) -> usize {
    header[8..12].iter().fold(0, |length, byte| length << 8 | usize::from(*byte))
}

impl<T> Expected<T> {
    fn exactly(&self) -> Result<&T, String> {
        match self {
            Expected::Exactly(value) => Ok(value),
            Expected::Anything => Err("a request cannot have a field '*'".to_string()),
        }
    }
}

impl Expected<Vec<u8>> {
    fn accepts(&self, bytes: &[u8]) -> bool {
        match self {
            Expected::Exactly(expected) => expected == bytes,
            Expected::Anything => true,
        }
    }
}

/// Whether the whole of `bytes` matches a field's template.
fn accepts_text(field: &Expected<Vec<Piece>>, bytes: &[u8], bindings: &mut Bindings) -> Result<bool, String> {
    match field {
        Expected::Anything => Ok(true),
        Expected::Exactly(pieces) => Ok(matches(pieces, bytes, bindings)? == Outcome::Match(bytes.len())),
    }
}

fn field<T>(text: &str, parse: impl Fn(&str) -> Result<T, String>) -> Result<Expected<T>, String> {
    if text == "*" { Ok(Expected::Anything) } else { parse(text).map(Expected::Exactly) }
}

fn byte(text: &str) -> Result<u8, String> {
    u8::from_str_radix(text, 16).map_err(|_| format!("'{text}' is no hexadecimal byte"))
}

fn number(text: &str) -> Result<u32, String> {
    let parsed = match text.strip_prefix("0x") {
        Some(digits) => u32::from_str_radix(digits, 16),
        None => text.parse(),
    };
    parsed.map_err(|_| format!("'{text}' is no number"))
}

/// The number of a name in [`OPCODES`], or of two hexadecimal digits behind `0x`.
fn opcode(text: &str) -> Result<u8, String> {
    if let Some(digits) = text.strip_prefix("0x") {
        return byte(digits);
    }
    match OPCODES.iter().find(|(name, _)| *name == text) {
        Some((_, opcode)) => Ok(*opcode),
        None => Err(format!("there is no opcode '{text}'")),
    }
}

const OPCODES: [(&str, u8); 36] = [
    ("get", 0x00),
    ("set", 0x01),
    ("add", 0x02),
    ("replace", 0x03),
    ("delete", 0x04),
    ("incr", 0x05),
    ("decr", 0x06),
    ("quit", 0x07),
    ("flush", 0x08),
    ("getq", 0x09),
    ("noop", 0x0a),
    ("version", 0x0b),
    ("getk", 0x0c),
    ("getkq", 0x0d),
    ("append", 0x0e),
    ("prepend", 0x0f),
    ("stat", 0x10),
    ("setq", 0x11),
    ("addq", 0x12),
    ("replaceq", 0x13),
    ("deleteq", 0x14),
    ("incrq", 0x15),
    ("decrq", 0x16),
    ("quitq", 0x17),
    ("flushq", 0x18),
    ("appendq", 0x19),
    ("prependq", 0x1a),
    ("verbosity", 0x1b),
    ("touch", 0x1c),
    ("gat", 0x1d),
    ("gatq", 0x1e),
    ("sasl_list", 0x20),
    ("sasl_auth", 0x21),
    ("sasl_step", 0x22),
    ("gatk", 0x23),
    ("gatkq", 0x24),
];

#[cfg(test)]
mod tests {
    use super::Packet;
    use crate::matcher::Outcome;
    use crate::template::{Bindings, parse_hex};
    use crate::version::REFERENCE;

    #[test]
    fn builds_a_set() {
        let packet = Packet::request(r"set key=ab extras=00000005_00000000 value=c\sd opaque=01020304 cas=9").unwrap();
        let expected = "80 01 0002 08 00 0000 0000000d 01020304 0000000000000009 00000005 00000000 6162 632064";
        assert_eq!(packet.build(&Bindings::new(REFERENCE)).unwrap(), parse_hex(expected).unwrap());
    }

    #[test]
    fn lengths_can_lie() {
        let packet = Packet::request("0x21 key=a keylen=32 body=0xffffffe8 extlen=9").unwrap();
        let expected = "80 21 0020 09 00 0000 ffffffe8 00000000 0000000000000000 61";
        assert_eq!(packet.build(&Bindings::new(REFERENCE)).unwrap(), parse_hex(expected).unwrap());
    }

    #[test]
    fn matches_field_by_field() {
        let answer = parse_hex("81 00 0000 04 00 0000 00000006 00000000 0000000000000007 00000005 6162").unwrap();
        let check = |text: &str, expected: Outcome| {
            let packet = Packet::response(text).unwrap();
            assert_eq!(packet.matches(&answer, &mut Bindings::new(REFERENCE)).unwrap(), expected, "{text}");
        };
        check("get extras=00000005 value=ab cas=7", Outcome::Match(30));
        check("get extras=* value=* cas={number:unique}", Outcome::Match(30));
        check("get extras=00000005 value=ab", Outcome::Mismatch);
        check("get extras=00000005 value=a cas=7", Outcome::Mismatch);
        check("get extras=00000005 cas=7", Outcome::Mismatch);
        check("get status=0001 extras=* value=* cas=*", Outcome::Mismatch);
        check("getq extras=* value=* cas=*", Outcome::Mismatch);
        let packet = Packet::response("get extras=00000005 value=ab cas=7").unwrap();
        assert_eq!(packet.matches(&answer[..20], &mut Bindings::new(REFERENCE)).unwrap(), Outcome::More);
        assert_eq!(packet.matches(&answer[..29], &mut Bindings::new(REFERENCE)).unwrap(), Outcome::More);
    }

    #[test]
    fn refuses_what_it_does_not_know() {
        for text in ["", "nope", "get key", "get colour=red", "get extras=0", "get keylen=x", "0xzz"] {
            assert!(Packet::request(text).is_err(), "{text}");
        }
    }
}

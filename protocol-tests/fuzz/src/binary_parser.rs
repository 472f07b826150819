//! The parser of binary headers and the table of opcodes against memcached's rules, written out once more.

use slabstash::protocol::binary::header::{self, HEADER_BYTES, Header, Parsed};
use slabstash::protocol::binary::opcode::Opcode;
use slabstash::protocol::binary::reply::{Echo, Status, push_error, push_value};

/// Checks an input: packets, or what begins like some.
pub fn check(input: &[u8]) {
    let mut rest = input;
    while let Some(packet) = check_packet(rest) {
        rest = &rest[packet..];
    }
    let mut rest = input;
    for key in header::keys(input) {
        let Parsed::Header(header) = Header::parse(rest) else { panic!("a key of no packet") };
        let start = HEADER_BYTES + header.extras_bytes;
        let packet = &rest[..HEADER_BYTES + header.body_bytes];
        assert_eq!(key, packet.get(start..start + header.key_bytes).unwrap_or_default());
        rest = &rest[packet.len()..];
    }
}

/// The length of the packet at the front, if it is all there.
fn check_packet(input: &[u8]) -> Option<usize> {
    let number =
        |at: usize, bytes: usize| input[at..at + bytes].iter().fold(0u64, |sum, &byte| sum << 8 | u64::from(byte));
    let header = match Header::parse(input) {
        Parsed::Partial => {
            assert!(input.len() < HEADER_BYTES);
            return None;
        }
        Parsed::BadMagic => {
            assert_ne!(input[0], 0x80);
            return None;
        }
        Parsed::Header(header) => header,
    };
    assert_eq!(input[0], 0x80);
    let (key, extras, body) = (number(2, 2) as usize, number(4, 1) as usize, number(8, 4) as usize);
    assert_eq!((header.opcode, header.cas, &header.opaque[..]), (input[1], number(16, 8), &input[12..16]));
    assert_eq!((header.key_bytes, header.extras_bytes, header.body_bytes), (key, extras, body));
    assert_eq!(header.prefix_bytes(), 24 + key + extras);
    assert_eq!(header.value_bytes(), (key + extras <= body).then(|| body - key - extras));
    let opcode = Opcode::find(header.opcode);
    assert_eq!(opcode.map(|opcode| opcode.code), demands(header.opcode, 0, 0, 0).map(|_| header.opcode));
    if let (Some(opcode), Some(value)) = (opcode, header.value_bytes()) {
        assert_eq!(Some(opcode.accepts(&header, value)), demands(header.opcode, extras, key, value));
    }
    check_replies(&header);
    HEADER_BYTES.checked_add(body).filter(|&bytes| bytes <= input.len())
}

/// Whether an opcode takes such parts; `None` for one that memcached does not know.
fn demands(opcode: u8, extras: usize, key: usize, value: usize) -> Option<bool> {
    Some(match opcode {
        // get, delete, and their quiet and keyed kin
        0x00 | 0x04 | 0x09 | 0x0c | 0x0d | 0x14 => extras == 0 && key > 0 && value == 0,
        // set, add, replace
        0x01..=0x03 | 0x11..=0x13 => extras == 8 && key > 0,
        // incr, decr
        0x05 | 0x06 | 0x15 | 0x16 => extras == 20 && key > 0 && value == 0,
        // quit, noop, version, the list of mechanisms
        0x07 | 0x17 | 0x0a | 0x0b | 0x20 => extras == 0 && key == 0 && value == 0,
        // flush
        0x08 | 0x18 => (extras == 0 || extras == 4) && key == 0 && value == 0,
        // append, prepend, logins
        0x0e | 0x0f | 0x19 | 0x1a | 0x21 | 0x22 => extras == 0 && key > 0,
        // stat
        0x10 => extras == 0,
        // touch, and get with it
        0x1c..=0x1e | 0x23 | 0x24 => extras == 4 && key > 0,
        _ => return None,
    })
}

/// Replies say what the request did, and that they are replies.
fn check_replies(header: &Header) {
    let mut out = Vec::new();
    push_error(Echo::of(header), Status::NotFound, &mut out);
    assert_eq!(out.len(), HEADER_BYTES + Status::NotFound.text().len());
    let value = header.opaque;
    push_value(Echo::of(header), &value, header.cas, &mut out);
    let reply = &out[out.len() - HEADER_BYTES - value.len()..];
    assert_eq!((reply[0], reply[1], &reply[12..16], &reply[24..]), (0x81, header.opcode, &value[..], &value[..]));
    assert_eq!(reply[16..24], header.cas.to_be_bytes());
}

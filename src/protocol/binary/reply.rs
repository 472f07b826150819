//! Replies: the header that mirrors the request's, and what statuses say.

use super::header::{HEADER_BYTES, Header};

/// First byte of a reply.
const REPLY_MAGIC: u8 = 0x81;

/// How a request ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Status {
    /// Done.
    Success,
    /// `Not found`
    NotFound,
    /// `Data exists for key.`
    Exists,
    /// `Too large.`
    TooLarge,
    /// `Invalid arguments`
    InvalidArguments,
    /// `Not stored.`
    NotStored,
    /// `Non-numeric server-side value for incr or decr`
    NonNumeric,
    /// `Auth failure.`
    AuthFailure,
    /// A login goes on; the body is for the client.
    Continue,
    /// `Unknown command`
    UnknownCommand,
    /// `Out of memory allocating item`
    NoMemory,
    /// `Out of memory allocating new item`
    NoMemoryCreating,
    /// `Out of memory incrementing value`
    NoMemoryIncrementing,
    /// `Out of memory`
    NoMemoryReceiving,
}

impl Status {
    /// The number on the wire.
    pub fn code(self) -> u16 {
        match self {
            Status::Success => 0x00,
            Status::NotFound => 0x01,
            Status::Exists => 0x02,
            Status::TooLarge => 0x03,
            Status::InvalidArguments => 0x04,
            Status::NotStored => 0x05,
            Status::NonNumeric => 0x06,
            Status::AuthFailure => 0x20,
            Status::Continue => 0x21,
            Status::UnknownCommand => 0x81,
            Status::NoMemory | Status::NoMemoryCreating | Status::NoMemoryIncrementing | Status::NoMemoryReceiving => {
                0x82
            }
        }
    }

    /// The text that is an error's body.
    pub fn text(self) -> &'static [u8] {
        match self {
            Status::Success | Status::Continue => b"",
            Status::NotFound => b"Not found",
            Status::Exists => b"Data exists for key.",
            Status::TooLarge => b"Too large.",
            Status::InvalidArguments => b"Invalid arguments",
            Status::NotStored => b"Not stored.",
            Status::NonNumeric => b"Non-numeric server-side value for incr or decr",
            Status::AuthFailure => b"Auth failure.",
            Status::UnknownCommand => b"Unknown command",
            Status::NoMemory => b"Out of memory allocating item",
            Status::NoMemoryCreating => b"Out of memory allocating new item",
            Status::NoMemoryIncrementing => b"Out of memory incrementing value",
            Status::NoMemoryReceiving => b"Out of memory",
        }
    }
}

/// The part of a request's header that its reply repeats.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Echo {
    opcode: u8,
    opaque: [u8; 4],
}

impl Echo {
    /// Of this request.
    pub fn of(header: &Header) -> Self {
        Self { opcode: header.opcode, opaque: header.opaque }
    }
}

/// Bytes of the parts that follow a header.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Parts {
    /// Of the extras: at most 255.
    pub extras_bytes: usize,
    /// Of the key: at most 65535.
    pub key_bytes: usize,
    /// Of the value.
    pub value_bytes: usize,
}

/// Appends a reply's header; the caller appends the parts.
#[inline]
pub fn push_header(echo: Echo, status: Status, parts: Parts, cas: u64, out: &mut Vec<u8>) {
    let body_bytes = parts.extras_bytes + parts.key_bytes + parts.value_bytes;
    let mut header = [0; HEADER_BYTES];
    header[0] = REPLY_MAGIC;
    header[1] = echo.opcode;
    header[2..4].copy_from_slice(&(parts.key_bytes as u16).to_be_bytes());
    header[4] = parts.extras_bytes as u8;
    header[6..8].copy_from_slice(&status.code().to_be_bytes());
    header[8..12].copy_from_slice(&(body_bytes as u32).to_be_bytes());
    header[12..16].copy_from_slice(&echo.opaque);
    header[16..24].copy_from_slice(&cas.to_be_bytes());
    out.extend_from_slice(&header);
}

/// Appends a successful reply that is a value and nothing else.
pub fn push_value(echo: Echo, value: &[u8], cas: u64, out: &mut Vec<u8>) {
    let parts = Parts { value_bytes: value.len(), ..Parts::default() };
    push_header(echo, Status::Success, parts, cas, out);
    out.extend_from_slice(value);
}

/// Appends an error with its text.
pub fn push_error(echo: Echo, status: Status, out: &mut Vec<u8>) {
    let text = status.text();
    let parts = Parts { value_bytes: text.len(), ..Parts::default() };
    push_header(echo, status, parts, 0, out);
    out.extend_from_slice(text);
}

#[cfg(test)]
mod tests {
    use super::{Echo, Parts, Status, push_error, push_header};

    const ECHO: Echo = Echo { opcode: 0x0d, opaque: [1, 2, 3, 4] };

    #[test]
    fn a_header_has_its_fields_in_place() {
        let mut out = Vec::new();
        let parts = Parts { extras_bytes: 4, key_bytes: 0x102, value_bytes: 0x10000 };
        push_header(ECHO, Status::NotFound, parts, 0x0102_0304_0506_0708, &mut out);
        let expected = [0x81, 0x0d, 1, 2, 4, 0, 0, 1, 0, 1, 1, 6, 1, 2, 3, 4, 1, 2, 3, 4, 5, 6, 7, 8];
        assert_eq!(out, expected);
    }

    #[test]
    fn an_error_is_its_text() {
        let mut out = Vec::new();
        push_error(ECHO, Status::TooLarge, &mut out);
        assert_eq!(&out[..12], [0x81, 0x0d, 0, 0, 0, 0, 0, 3, 0, 0, 0, 10]);
        assert_eq!(&out[24..], b"Too large.");
    }
}

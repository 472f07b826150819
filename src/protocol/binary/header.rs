//! The header of a request.
//!
//! ```text
//!  0      1       2           4              5          6         8            12      16    24
//! [magic][opcode][key length][extras length][data type][reserved][body length][opaque][cas ]
//!  0x80                                      ignored    ignored   the sum of what follows:
//!                                                                 extras, key, value
//! ```
//! Numbers are in network order. The lengths are the client's claims; [`Header::value_bytes`] checks that they add up.

/// Bytes of a header, in requests and replies.
pub const HEADER_BYTES: usize = 24;

/// First byte of a request.
pub const REQUEST_MAGIC: u8 = 0x80;

/// What the start of the input is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Parsed {
    /// Not a whole header yet.
    Partial,
    /// No request begins here.
    BadMagic,
    /// A header.
    Header(Header),
}

/// A request's header.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Header {
    /// The opcode's number.
    pub opcode: u8,
    /// Bytes of the key.
    pub key_bytes: usize,
    /// Bytes of the extras.
    pub extras_bytes: usize,
    /// Bytes of extras, key and value.
    pub body_bytes: usize,
    /// Comes back as it is.
    pub opaque: [u8; 4],
    /// CAS id, 0 for none.
    pub cas: u64,
}

impl Header {
    /// Reads the header at the start of `input`.
    pub fn parse(input: &[u8]) -> Parsed {
        let Some(bytes) = input.first_chunk::<HEADER_BYTES>() else {
            return Parsed::Partial;
        };
        let [magic, opcode, key0, key1, extras, _, _, _, rest @ ..] = *bytes;
        let [body0, body1, body2, body3, opaque0, opaque1, opaque2, opaque3, cas @ ..] = rest;
        if magic != REQUEST_MAGIC {
            return Parsed::BadMagic;
        }
        Parsed::Header(Self {
            opcode,
            key_bytes: usize::from(u16::from_be_bytes([key0, key1])),
            extras_bytes: usize::from(extras),
            body_bytes: u32::from_be_bytes([body0, body1, body2, body3]) as usize,
            opaque: [opaque0, opaque1, opaque2, opaque3],
            cas: u64::from_be_bytes(cas),
        })
    }

    /// Bytes before the value: header, extras and key.
    pub fn prefix_bytes(&self) -> usize {
        HEADER_BYTES + self.extras_bytes + self.key_bytes
    }

    /// Bytes of the value; `None` when key and extras do not fit the body.
    pub fn value_bytes(&self) -> Option<usize> {
        self.body_bytes.checked_sub(self.key_bytes + self.extras_bytes)
    }
}

/// The keys of the packets that the input begins with, for looking ahead: only of packets that are all there. A packet
/// without a key has an empty one.
pub fn keys(input: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut rest = input;
    std::iter::from_fn(move || {
        let Parsed::Header(header) = Header::parse(rest) else {
            return None;
        };
        let (packet, behind) = rest.split_at_checked(HEADER_BYTES.checked_add(header.body_bytes)?)?;
        rest = behind;
        let start = HEADER_BYTES + header.extras_bytes;
        Some(packet.get(start..start + header.key_bytes).unwrap_or_default())
    })
}

#[cfg(test)]
mod tests {
    use super::{Header, Parsed};

    const REQUEST: [u8; 24] =
        [0x80, 0x01, 0x01, 0x02, 8, 5, 6, 6, 0, 1, 0, 0, 0xde, 0xad, 0xbe, 0xef, 1, 2, 3, 4, 5, 6, 7, 8];

    #[test]
    fn fields_are_where_they_belong() {
        let Parsed::Header(header) = Header::parse(&REQUEST) else {
            panic!("no header");
        };
        assert_eq!(header.opcode, 1);
        assert_eq!(header.key_bytes, 0x102);
        assert_eq!(header.extras_bytes, 8);
        assert_eq!(header.body_bytes, 0x10000);
        assert_eq!(header.opaque, [0xde, 0xad, 0xbe, 0xef]);
        assert_eq!(header.cas, 0x0102_0304_0506_0708);
        assert_eq!(header.prefix_bytes(), 24 + 8 + 0x102);
        assert_eq!(header.value_bytes(), Some(0x10000 - 0x102 - 8));
    }

    #[test]
    fn short_input_is_partial() {
        for end in 0..REQUEST.len() {
            assert_eq!(Header::parse(&REQUEST[..end]), Parsed::Partial);
        }
    }

    #[test]
    fn other_magic_is_refused() {
        let mut request = REQUEST;
        for magic in (0..=255).filter(|&magic| magic != 0x80) {
            request[0] = magic;
            assert_eq!(Header::parse(&request), Parsed::BadMagic);
        }
    }

    #[test]
    fn lengths_that_do_not_add_up_have_no_value() {
        let mut request = REQUEST;
        request[8..12].copy_from_slice(&[0, 0, 1, 9]);
        let Parsed::Header(header) = Header::parse(&request) else {
            panic!("no header");
        };
        assert_eq!(header.value_bytes(), None);
    }
}

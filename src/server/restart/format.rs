//! The bytes of a kept cache: header, description, blocks of items.
//!
//! ```text
//! header       64  magic 8 | format 4 | description bytes 4 | stream 8 | end 8 | blocks 8 | items 8 | 0 8 | checksum 8
//! description      text, see `description`, and its checksum 8
//! block        32  magic 4 | kind 4 | payload bytes 8 | place 8 | stream 8
//!                  payload
//!               8  checksum of all of the block before it
//! ```
//! All numbers are little endian. The header is written last, and overwritten with zeros as soon as somebody takes the cache,
//! so what has a header is whole, and is used once. `stream` is a number drawn for the one writing, `place` is where the block
//! begins: a block that is of another time or elsewhere is not taken for this one. A block of kind [`ITEMS`] has many small
//! items in its payload, one of kind [`LARGE`] has one item of any size.
//!
//! ```text
//! item  marks 1 | key bytes 1 | exptime 4 | time 4 | cas 8 | rank 4 | value bytes 4 | [flags 4] | key | value
//! ```
//! The marks are the store's; bit 7, which has no meaning in them, says that there are client flags other than 0.
//!
//! The checksums are rapidhash v3 of 64 bits, whose output is fixed for all versions and machines: as likely as not to miss one
//! damage in 2^64, and several times faster than a CRC of 32 bits.

use rapidhash::v3::{RapidSecrets, RapidStreamHasherV3};

use crate::store::SavedItem;

/// Version of all of this, and of what the fields mean. What has another one is not read.
pub const FORMAT: u32 = 1;

/// Bytes of the header.
pub const HEADER_BYTES: usize = 64;

/// Bytes before the payload of a block.
pub const BLOCK_HEAD_BYTES: usize = 32;

/// Bytes of a checksum.
pub const CHECKSUM_BYTES: usize = 8;

/// A block of small items is written when its payload has so many bytes.
pub const BLOCK_BYTES: usize = 256 * 1024;

/// Largest payload of a block of small items that is read.
pub const BLOCK_BYTES_MAX: usize = 2 * BLOCK_BYTES;

/// Longest description.
pub const DESCRIPTION_BYTES_MAX: usize = 64 * 1024;

/// Kind of a block of small items.
pub const ITEMS: u32 = 1;

/// Kind of a block of one item.
pub const LARGE: u32 = 2;

const MAGIC: [u8; 8] = *b"slabkept";
const BLOCK_MAGIC: u32 = 0x6b63_6c62;
/// Bytes of an item before its flags.
const ITEM_HEAD_BYTES: usize = 26;
const HAS_FLAGS: u8 = 1 << 7;
/// The marks, the head, flags and key of any item fit into this.
pub const ITEM_HEAD_BYTES_MAX: usize = ITEM_HEAD_BYTES + 4 + u8::MAX as usize;

/// The secrets of rapidhash for checksums: any fixed ones do.
pub fn secrets() -> RapidSecrets {
    RapidSecrets::seed(0x736c_6162_7374_6173)
}

/// The checksum of one piece of bytes.
pub fn checksum(bytes: &[u8]) -> u64 {
    let secrets = secrets();
    let mut hasher = RapidStreamHasherV3::new(&secrets);
    hasher.write(bytes);
    hasher.finish()
}

/// See the module comment.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Header {
    /// Bytes of the description, without its checksum.
    pub description_bytes: usize,
    /// Number of this writing.
    pub stream: u64,
    /// Where the last block ends.
    pub end: u64,
    /// How many blocks there are.
    pub blocks: u64,
    /// How many items are in them.
    pub items: u64,
}

/// Why bytes are no header.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum NoHeader {
    /// Nobody finished writing it, or somebody took what it was the header of.
    Blank,
    /// It is something else, or damaged.
    Damaged,
    /// It is of this other format.
    Format(u32),
}

impl Header {
    /// Where the first block begins.
    pub fn blocks_start(&self) -> u64 {
        (HEADER_BYTES + self.description_bytes + CHECKSUM_BYTES) as u64
    }

    /// Its bytes.
    pub fn encode(&self) -> [u8; HEADER_BYTES] {
        let mut bytes = [0; HEADER_BYTES];
        bytes[..8].copy_from_slice(&MAGIC);
        bytes[8..12].copy_from_slice(&FORMAT.to_le_bytes());
        bytes[12..16].copy_from_slice(&(self.description_bytes as u32).to_le_bytes());
        for (place, number) in [self.stream, self.end, self.blocks, self.items].into_iter().enumerate() {
            bytes[16 + 8 * place..24 + 8 * place].copy_from_slice(&number.to_le_bytes());
        }
        let checksum = checksum(&bytes[..HEADER_BYTES - CHECKSUM_BYTES]);
        bytes[HEADER_BYTES - CHECKSUM_BYTES..].copy_from_slice(&checksum.to_le_bytes());
        bytes
    }

    /// The header of these bytes.
    pub fn decode(bytes: &[u8; HEADER_BYTES]) -> Result<Self, NoHeader> {
        if bytes.iter().all(|byte| *byte == 0) {
            return Err(NoHeader::Blank);
        }
        let mut fields = Fields(bytes);
        let (Some(magic), Some(format)) = (fields.bytes(8), fields.u32()) else { return Err(NoHeader::Damaged) };
        // The checksum of another format may be elsewhere.
        if magic != MAGIC {
            return Err(NoHeader::Damaged);
        }
        if format != FORMAT {
            return Err(NoHeader::Format(format));
        }
        let stated = u64::from_le_bytes(last(bytes));
        let description_bytes = fields.u32().unwrap_or_default() as usize;
        let mut number = || fields.u64().unwrap_or_default();
        let header = Self { description_bytes, stream: number(), end: number(), blocks: number(), items: number() };
        let is_whole = stated == checksum(&bytes[..HEADER_BYTES - CHECKSUM_BYTES]);
        let is_possible = description_bytes <= DESCRIPTION_BYTES_MAX && header.blocks_start() <= header.end;
        if is_whole && is_possible { Ok(header) } else { Err(NoHeader::Damaged) }
    }
}

fn last(bytes: &[u8; HEADER_BYTES]) -> [u8; CHECKSUM_BYTES] {
    let mut last = [0; CHECKSUM_BYTES];
    last.copy_from_slice(&bytes[HEADER_BYTES - CHECKSUM_BYTES..]);
    last
}

/// What stands before a block's payload.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct BlockHead {
    /// [`ITEMS`] or [`LARGE`].
    pub kind: u32,
    /// Bytes between the head and the checksum.
    pub payload_bytes: u64,
    /// Where the head begins.
    pub place: u64,
    /// The header's.
    pub stream: u64,
}

impl BlockHead {
    /// Bytes of the whole block; `None` when that is more than can be.
    pub fn block_bytes(&self) -> Option<u64> {
        self.payload_bytes.checked_add((BLOCK_HEAD_BYTES + CHECKSUM_BYTES) as u64)
    }

    /// Its bytes.
    pub fn encode(&self) -> [u8; BLOCK_HEAD_BYTES] {
        let mut bytes = [0; BLOCK_HEAD_BYTES];
        bytes[..4].copy_from_slice(&BLOCK_MAGIC.to_le_bytes());
        bytes[4..8].copy_from_slice(&self.kind.to_le_bytes());
        bytes[8..16].copy_from_slice(&self.payload_bytes.to_le_bytes());
        bytes[16..24].copy_from_slice(&self.place.to_le_bytes());
        bytes[24..].copy_from_slice(&self.stream.to_le_bytes());
        bytes
    }

    /// The head in these bytes, if they are one.
    pub fn decode(bytes: &[u8; BLOCK_HEAD_BYTES]) -> Option<Self> {
        let mut fields = Fields(bytes);
        let magic = fields.u32()?;
        let kind = fields.u32()?;
        let head = Self { kind, payload_bytes: fields.u64()?, place: fields.u64()?, stream: fields.u64()? };
        (magic == BLOCK_MAGIC && matches!(kind, ITEMS | LARGE)).then_some(head)
    }
}

/// Appends an item, but for its value.
pub fn encode_item(item: &SavedItem<'_>, value_bytes: usize, out: &mut Vec<u8>) {
    let flagged = if item.flags != 0 { HAS_FLAGS } else { 0 };
    out.push((item.marks & !HAS_FLAGS) | flagged);
    out.push(item.key.len() as u8);
    out.extend_from_slice(&item.exptime.to_le_bytes());
    out.extend_from_slice(&item.time.to_le_bytes());
    out.extend_from_slice(&item.cas.to_le_bytes());
    out.extend_from_slice(&item.rank.to_le_bytes());
    out.extend_from_slice(&(value_bytes as u32).to_le_bytes());
    if item.flags != 0 {
        out.extend_from_slice(&item.flags.to_le_bytes());
    }
    out.extend_from_slice(item.key);
}

/// The item at the start of `bytes`, which go on behind its key, and the bytes of its value; `None` when there is none.
pub fn decode_item<'a>(bytes: &mut &'a [u8]) -> Option<(SavedItem<'a>, usize)> {
    let mut fields = Fields(bytes);
    let marks = fields.u8()?;
    let key_bytes = fields.u8()?;
    let (exptime, time, cas, rank) = (fields.u32()?, fields.u32()?, fields.u64()?, fields.u32()?);
    let value_bytes = fields.u32()? as usize;
    let flags = if marks & HAS_FLAGS != 0 { fields.u32()? } else { 0 };
    let key = fields.bytes(usize::from(key_bytes)).filter(|key| !key.is_empty())?;
    *bytes = fields.0;
    Some((SavedItem { key, flags, exptime, time, cas, marks: marks & !HAS_FLAGS, rank }, value_bytes))
}

/// Takes numbers off the front of bytes.
struct Fields<'a>(&'a [u8]);

impl<'a> Fields<'a> {
    fn bytes(&mut self, count: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(count)?;
        self.0 = rest;
        Some(taken)
    }

    fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (taken, rest) = self.0.split_first_chunk::<N>()?;
        self.0 = rest;
        Some(*taken)
    }

    fn u8(&mut self) -> Option<u8> {
        self.array().map(u8::from_le_bytes)
    }

    fn u32(&mut self) -> Option<u32> {
        self.array().map(u32::from_le_bytes)
    }

    fn u64(&mut self) -> Option<u64> {
        self.array().map(u64::from_le_bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_come_back_and_no_flipped_bit_does() {
        let header = Header { description_bytes: 300, stream: 7, end: 1 << 40, blocks: 3, items: 99 };
        let bytes = header.encode();
        assert_eq!(Header::decode(&bytes), Ok(header));
        assert_eq!(Header::decode(&[0; HEADER_BYTES]), Err(NoHeader::Blank));
        for bit in 0..HEADER_BYTES * 8 {
            let mut flipped = bytes;
            flipped[bit / 8] ^= 1 << (bit % 8);
            assert!(Header::decode(&flipped).is_err(), "bit {bit}");
        }
        for (description_bytes, is_possible) in [(DESCRIPTION_BYTES_MAX, true), (DESCRIPTION_BYTES_MAX + 1, false)] {
            let header = Header { description_bytes, ..header };
            assert_eq!(Header::decode(&header.encode()).is_ok(), is_possible, "{description_bytes}");
        }
        let mut other = bytes;
        other[8] = 2;
        assert_eq!(Header::decode(&other), Err(NoHeader::Format(2)));
    }

    #[test]
    fn block_heads_come_back() {
        let head = BlockHead { kind: LARGE, payload_bytes: 1 << 31, place: 123, stream: 9 };
        assert_eq!(BlockHead::decode(&head.encode()), Some(head));
        assert_eq!(BlockHead::decode(&[0; BLOCK_HEAD_BYTES]), None);
        assert_eq!(BlockHead::decode(&BlockHead { kind: 3, ..head }.encode()), None);
        assert_eq!(BlockHead { payload_bytes: u64::MAX, ..head }.block_bytes(), None);
    }

    #[test]
    fn items_come_back_and_cut_ones_do_not() {
        for flags in [0, u32::MAX] {
            let item = SavedItem { key: b"key", flags, exptime: 5, time: 6, cas: u64::MAX, marks: 0x7f, rank: 8 };
            let mut bytes = Vec::new();
            encode_item(&item, 1000, &mut bytes);
            assert!(bytes.len() <= ITEM_HEAD_BYTES_MAX);
            let whole = bytes.clone();
            bytes.extend_from_slice(b"value");
            let mut rest = &bytes[..];
            assert_eq!(decode_item(&mut rest), Some((item, 1000)));
            assert_eq!(rest, b"value");
            for end in 0..whole.len() {
                assert_eq!(decode_item(&mut &whole[..end]), None);
            }
        }
        let mut longest = Vec::new();
        let key = [b'k'; u8::MAX as usize];
        let item = SavedItem { key: &key, flags: 1, exptime: 1, time: 1, cas: 1, marks: 1, rank: 1 };
        encode_item(&item, 1, &mut longest);
        assert_eq!(longest.len(), ITEM_HEAD_BYTES_MAX);
        let mut empty = Vec::new();
        let item = SavedItem { key: b"", flags: 0, exptime: 0, time: 0, cas: 0, marks: 0, rank: 0 };
        encode_item(&item, 0, &mut empty);
        assert_eq!(decode_item(&mut &empty[..]), None);
    }

    /// What is written by one version is read by the next, on other machines too.
    #[test]
    fn checksums_are_fixed_for_all_time() {
        let pieces = || {
            let secrets = secrets();
            let mut hasher = RapidStreamHasherV3::new(&secrets);
            (0..10u8).for_each(|piece| hasher.write(&[piece; 100]));
            hasher.finish()
        };
        let whole: Vec<u8> = (0..10u8).flat_map(|piece| [piece; 100]).collect();
        const EXPECTED: (u64, u64) = (10_321_768_591_385_064_137, 15_638_513_425_116_648_924);
        assert_eq!(pieces(), checksum(&whole));
        assert_eq!((checksum(b""), checksum(b"slabstash")), EXPECTED);
    }
}

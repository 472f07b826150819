//! The items of a workload. Key and value follow from the item's number, so nothing is stored on the client's side: it
//! can tell the exact bytes of every reply for any number of items, and its own memory does not push the server's out of
//! the shared cache.

use crate::random::{mix, unit};

/// How keys look.
#[derive(Clone, Copy, Debug)]
pub enum KeyShape {
    /// 12 to 16 bytes.
    Short,
    /// 20 bytes, all of them.
    Twenty,
}

/// How long values are.
#[derive(Clone, Copy, Debug)]
pub enum ValueSize {
    /// All alike.
    Fixed(usize),
    /// Between two sizes, so that each doubling has the same share of the items.
    LogUniform {
        /// The shortest.
        min: usize,
        /// The longest.
        max: usize,
    },
}

/// The items `0..keys`.
#[derive(Clone, Copy, Debug)]
pub struct Data {
    /// How many there are.
    pub keys: u64,
    /// How their keys look.
    pub key: KeyShape,
    /// How long their values are.
    pub value: ValueSize,
}

impl Data {
    /// Items with short keys and values of one size.
    pub fn short(keys: u64, value_bytes: usize) -> Data {
        Data { keys, key: KeyShape::Short, value: ValueSize::Fixed(value_bytes) }
    }

    /// Appends the key of an item.
    pub fn write_key(&self, id: u64, out: &mut Vec<u8>) {
        out.extend_from_slice(b"key:");
        match self.key {
            KeyShape::Short => {
                write_digits::<8>(id, out);
                out.extend_from_slice(&b"-pad"[..(id % 5) as usize]);
            }
            KeyShape::Twenty => write_digits::<16>(id, out),
        }
    }

    /// The length of the key of an item.
    pub fn key_bytes(&self, id: u64) -> usize {
        match self.key {
            KeyShape::Short => 12 + (id % 5) as usize,
            KeyShape::Twenty => 20,
        }
    }

    /// The length of the value of an item.
    pub fn value_bytes(&self, id: u64) -> usize {
        match self.value {
            ValueSize::Fixed(size) => size,
            ValueSize::LogUniform { min, max } => log_uniform(id, min, max),
        }
    }

    /// Appends the value of an item: a stamp that no other item has, then filler from a place that depends on the item.
    pub fn write_value(&self, id: u64, out: &mut Vec<u8>) {
        let size = self.value_bytes(id);
        let stamp = stamp(id);
        out.extend_from_slice(&stamp[..size.min(stamp.len())]);
        let mut left = size.saturating_sub(stamp.len());
        let offset = (id % FILLER_SHIFTS as u64) as usize;
        while left > 0 {
            let part = left.min(FILLER_BYTES);
            out.extend_from_slice(&FILLER[offset..offset + part]);
            left -= part;
        }
    }
}

/// A size that belongs to the item. Never inlined: the compiler takes logarithms to be free of side effects and would
/// compute them for every item of a fixed size too, which was half of the client's own time.
#[inline(never)]
fn log_uniform(id: u64, min: usize, max: usize) -> usize {
    let (low, high) = ((min as f64).ln(), (max as f64).ln());
    (low + unit(mix(id)) * (high - low)).exp().round() as usize
}

/// The low digits of a number, with leading zeros.
fn write_digits<const COUNT: usize>(mut number: u64, out: &mut Vec<u8>) {
    let mut digits = [b'0'; COUNT];
    for digit in digits.iter_mut().rev() {
        *digit += (number % 10) as u8;
        number /= 10;
    }
    out.extend_from_slice(&digits);
}

/// The scattered number of the item as 16 letters.
fn stamp(id: u64) -> [u8; 16] {
    let mut bits = mix(id);
    let mut stamp = [0; 16];
    for letter in &mut stamp {
        *letter = b'a' + (bits & 15) as u8;
        bits >>= 4;
    }
    stamp
}

const FILLER_BYTES: usize = 4096;
const FILLER_SHIFTS: usize = 61;
static FILLER: [u8; FILLER_BYTES + FILLER_SHIFTS] = filler();

const fn filler() -> [u8; FILLER_BYTES + FILLER_SHIFTS] {
    let mut bytes = [0; FILLER_BYTES + FILLER_SHIFTS];
    let mut index = 0;
    while index < bytes.len() {
        bytes[index] = b'A' + ((index * 7 + index / 26) % 26) as u8;
        index += 1;
    }
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(data: &Data, id: u64) -> String {
        let mut out = Vec::new();
        data.write_key(id, &mut out);
        assert_eq!(out.len(), data.key_bytes(id));
        String::from_utf8(out).unwrap()
    }

    fn value(data: &Data, id: u64) -> Vec<u8> {
        let mut out = Vec::new();
        data.write_value(id, &mut out);
        assert_eq!(out.len(), data.value_bytes(id));
        out
    }

    #[test]
    fn keys_have_the_lengths_of_their_shape() {
        let data = Data::short(10, 0);
        assert_eq!(key(&data, 0), "key:00000000");
        assert_eq!(key(&data, 99_999_994), "key:99999994-pad");
        let data = Data { key: KeyShape::Twenty, ..data };
        assert_eq!(key(&data, 12_345), "key:0000000000012345");
    }

    #[test]
    fn values_tell_items_apart_and_repeat() {
        for size in [10, 16, 17, 100, 4096, 10_000] {
            let data = Data::short(1000, size);
            assert_ne!(value(&data, 1), value(&data, 2), "{size} bytes");
            assert_eq!(value(&data, 1), value(&data, 1), "{size} bytes");
        }
        assert!(value(&Data::short(1, 0), 0).is_empty());
    }

    #[test]
    fn log_uniform_sizes_stay_between_the_ends_and_halve_evenly() {
        let data = Data { value: ValueSize::LogUniform { min: 8, max: 8192 }, ..Data::short(0, 0) };
        let sizes: Vec<usize> = (0..10_000).map(|id| data.value_bytes(id)).collect();
        assert!(sizes.iter().all(|size| (8..=8192).contains(size)));
        let below_middle = sizes.iter().filter(|&&size| size < 256).count();
        assert!((4500..5500).contains(&below_middle), "{below_middle}");
    }
}

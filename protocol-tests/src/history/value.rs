//! Values that say what they are.
//!
//! ```text
//!   0    4      8       16      24       32      40
//!   key  bytes  number  begin   expires  check   filler...
//!   u32  u32    u64     u64     u64      u64
//! ```
//!
//! `number` names the write among those of its key; `begin` and `expires` are nanoseconds of the run, 0 is never. `check`
//! follows from all before it, and the filler is cut out of one long random text at a place that follows from `check`: so
//! bytes of any other value are seen wherever they stand.

use crate::random::Random;

/// Bytes in front of the filler.
pub const HEADER_BYTES: usize = 40;

/// Largest value.
pub const VALUE_BYTES_MAX: usize = 1 << 20;

/// What a value says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Label {
    /// Number of the key.
    pub key: u32,
    /// Bytes of the value.
    pub bytes: u32,
    /// Which write of the key it is.
    pub number: u64,
    /// When the write began.
    pub begin: u64,
    /// When it may not be there any more; 0 is never.
    pub expires: u64,
}

/// Where fillers come from.
#[derive(Debug)]
pub struct Filler {
    text: Vec<u8>,
}

impl Default for Filler {
    fn default() -> Self {
        let mut random = Random::new(0x5eed);
        let words = (PLACES + VALUE_BYTES_MAX) / 8;
        Filler { text: (0..words).flat_map(|_| random.number().to_le_bytes()).collect() }
    }
}

impl Filler {
    /// Appends the value of a label.
    pub fn append(&self, label: &Label, out: &mut Vec<u8>) {
        let check = check_of(label);
        out.extend(label.key.to_le_bytes());
        out.extend(label.bytes.to_le_bytes());
        for number in [label.number, label.begin, label.expires, check] {
            out.extend(number.to_le_bytes());
        }
        out.extend_from_slice(self.of(check, label.bytes as usize));
    }

    /// Reads a value; the error says what is wrong with it.
    pub fn read(&self, value: &[u8]) -> Result<Label, &'static str> {
        let word =
            |at: usize| value.get(at..at + 8).map(|bytes| u64::from_le_bytes(bytes.try_into().unwrap_or([0; 8])));
        let (Some(first), Some(number), Some(begin), Some(expires), Some(check)) =
            (word(0), word(8), word(16), word(24), word(32))
        else {
            return Err("too short");
        };
        let label = Label { key: first as u32, bytes: (first >> 32) as u32, number, begin, expires };
        if check != check_of(&label) {
            return Err("its header is torn");
        }
        if value.len() != label.bytes as usize {
            return Err("of another length");
        }
        match value[HEADER_BYTES..] == *self.of(check, value.len()) {
            true => Ok(label),
            false => Err("torn"),
        }
    }

    fn of(&self, check: u64, bytes: usize) -> &[u8] {
        let place = (check >> 16) as usize % PLACES;
        &self.text[place..place + bytes.saturating_sub(HEADER_BYTES)]
    }
}

/// Mixes all that a label says; every bit of it changes about half of the result.
fn check_of(label: &Label) -> u64 {
    let words = [u64::from(label.key) | u64::from(label.bytes) << 32, label.number, label.begin, label.expires];
    let mut mixed = 0x2545_f491_4f6c_dd1d_u64;
    for word in words {
        mixed = (mixed ^ word).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        mixed ^= mixed >> 29;
    }
    mixed
}

/// Places in the text at which a filler may begin.
const PLACES: usize = 1 << 20;

#[cfg(test)]
mod tests {
    use super::{Filler, HEADER_BYTES, Label};

    #[test]
    fn every_changed_byte_is_seen() {
        let filler = Filler::default();
        let label = Label { key: 7, bytes: 300, number: 12, begin: 99, expires: 0 };
        let mut value = Vec::new();
        filler.append(&label, &mut value);
        assert_eq!(filler.read(&value), Ok(label));
        for at in 0..value.len() {
            value[at] ^= 4;
            assert!(filler.read(&value).is_err(), "byte {at}");
            value[at] ^= 4;
        }
        assert!(filler.read(&value[..299]).is_err());
        assert!(filler.read(&value[..HEADER_BYTES - 1]).is_err());
    }

    #[test]
    fn halves_of_two_values_are_no_value() {
        let filler = Filler::default();
        let make = |number| {
            let mut value = Vec::new();
            filler.append(&Label { key: 7, bytes: 200, number, begin: number, expires: 0 }, &mut value);
            value
        };
        let (first, second) = (make(1), make(2));
        // Both begin alike, and the last bytes may be alike.
        for at in 9..190 {
            assert!(filler.read(&[&first[..at], &second[at..]].concat()).is_err(), "{at}");
        }
    }
}

//! A bucket: a cache line of items with their tags, and how one is found in it. What does not fit, and when there are more
//! buckets, is the [index](super)'s business.

use super::super::ids::ItemId;
use super::{Likely, tag_of};

/// Items in a bucket.
pub(super) const PLACES: usize = 12;

/// See the module comment.
#[derive(Clone, Copy)]
#[repr(align(64))]
pub struct Bucket {
    pub(super) items: [ItemId; PLACES],
    /// By place; 0 is free.
    pub(super) tags: [u8; PLACES],
    /// Number of the first spill bucket, plus 1; 0 while the bucket has spilled nothing.
    pub(super) spill: u32,
}

const _: () = assert!(size_of::<Bucket>() == 64);

/// The lowest bit of each byte of a word.
const LOW_BITS: u64 = u64::from_ne_bytes([1; 8]);

impl Bucket {
    /// A bucket without items.
    pub const EMPTY: Bucket = Bucket { items: [ItemId::NONE; PLACES], tags: [0; PLACES], spill: 0 };

    /// Touches its memory.
    #[inline(always)]
    pub fn touch(&self) -> u8 {
        self.tags[0]
    }

    /// The first item with the tag of a hash that belongs here, without looking at items: nearly always the one that is meant,
    /// and what a prefetch touches.
    #[inline(always)]
    pub fn likely(&self, hash: u64) -> Likely {
        match self.find(tag_of(hash), &mut Some) {
            Some(id) => Likely::Item(id),
            None if self.spill != 0 => Likely::Spilled,
            None => Likely::Nothing,
        }
    }

    /// What `accept` makes of the first item with this tag that it accepts. The tags are compared eight and four at a
    /// time; a match may be false when it lies above a true one, which costs a further call of `accept` and nothing else.
    #[inline(always)]
    pub(super) fn find<T>(&self, tag: u8, accept: &mut impl FnMut(ItemId) -> Option<T>) -> Option<T> {
        let [t0, t1, t2, t3, t4, t5, t6, t7, t8, t9, t10, t11] = self.tags;
        let low = u64::from_le_bytes([t0, t1, t2, t3, t4, t5, t6, t7]) ^ (LOW_BITS * u64::from(tag));
        let high = u32::from_le_bytes([t8, t9, t10, t11]) ^ (LOW_BITS as u32 * u32::from(tag));
        let low = low.wrapping_sub(LOW_BITS) & !low & (LOW_BITS << 7);
        let high = high.wrapping_sub(LOW_BITS as u32) & !high & ((LOW_BITS as u32) << 7);
        // Bit 8n + 7 of the first word and bit 8n + 6 of the second become bits of one.
        let mut matches = low | u64::from(high >> 1);
        while matches != 0 {
            let bit = matches.trailing_zeros() as usize;
            let place = bit / 8 + if bit % 8 == 6 { 8 } else { 0 };
            if let Some(found) = self.items.get(place).and_then(|&id| accept(id)) {
                return Some(found);
            }
            matches &= matches - 1;
        }
        None
    }

    /// False when no place is free.
    pub(super) fn insert(&mut self, tag: u8, id: ItemId) -> bool {
        match self.tags.iter().position(|&other| other == 0) {
            Some(place) => {
                self.tags[place] = tag;
                self.items[place] = id;
                true
            }
            None => false,
        }
    }
}

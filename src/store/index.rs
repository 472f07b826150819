//! From key hash to item: cache-line buckets that grow one bucket at a time (linear hashing).
//!
//! ```text
//! bucket, 64 bytes: | 12 item ids, 4 bytes each | 12 tags | overflow |
//! ```
//! A tag is eight bits of the hash, 0 for an empty place, so that a lookup looks at one cache line and, nearly always,
//! at one item. A full bucket chains to overflow buckets, a bounded number of them: past that bound the insert says so
//! and the caller throws an item of the chain away, so that colliding keys cost evictions and never time.
//!
//! Growth: with `base` a power of two and `split < base`, there are `base + split` buckets; bucket `b` of the lower half
//! has been split when `b < split`. Each insert splits at most one bucket.

use super::ids::ItemId;

/// Items in a bucket.
const PLACES: usize = 12;

/// Buckets in a segment of the directory: 64 KiB.
const SEGMENT_BUCKETS: usize = 1024;

/// Buckets of a new index; a power of two, at most [`SEGMENT_BUCKETS`].
const BUCKETS_MIN: usize = 16;

/// Items per bucket, times 16, above which the index grows.
const LOAD_SIXTEENTHS: usize = 9 * 16;

/// Most overflow buckets behind a bucket.
const OVERFLOW_MAX: usize = 4;

#[derive(Clone, Copy)]
#[repr(align(64))]
struct Bucket {
    items: [ItemId; PLACES],
    tags: [u8; PLACES],
    /// Number of the next overflow bucket, plus 1; 0 is none.
    overflow: u32,
}

const _: () = assert!(size_of::<Bucket>() == 64);

/// The lowest bit of each byte of a word.
const LOW_BITS: u64 = u64::from_ne_bytes([1; 8]);

impl Bucket {
    const EMPTY: Bucket = Bucket { items: [ItemId::NONE; PLACES], tags: [0; PLACES], overflow: 0 };

    /// What `accept` makes of the first item with this tag that it accepts. The tags are compared eight and four at a
    /// time; a match may be false when it lies above a true one, which costs a further call of `accept` and nothing else.
    #[inline(always)]
    fn find<T>(&self, tag: u8, accept: &mut impl FnMut(ItemId) -> Option<T>) -> Option<T> {
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

    fn insert(&mut self, tag: u8, id: ItemId) -> bool {
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

/// The index of a partition.
pub struct Index {
    segments: Vec<Box<[Bucket]>>,
    overflow: Vec<Bucket>,
    /// Overflow buckets free for reuse.
    spare: Vec<u32>,
    base: usize,
    split: usize,
    items: usize,
}

/// The chain of a hash is full.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ChainFull {
    /// An item of the chain that may go.
    pub victim: ItemId,
}

#[inline]
fn tag_of(hash: u64) -> u8 {
    ((hash >> 40) as u8).max(1)
}

impl Index {
    /// An empty index.
    pub fn new() -> Self {
        Self {
            segments: vec![vec![Bucket::EMPTY; BUCKETS_MIN].into_boxed_slice()],
            overflow: Vec::new(),
            spare: Vec::new(),
            base: BUCKETS_MIN,
            split: 0,
            items: 0,
        }
    }

    /// Items in the index.
    pub fn len(&self) -> usize {
        self.items
    }

    /// Buckets, without the overflow ones.
    pub fn buckets(&self) -> usize {
        self.base + self.split
    }

    /// Bytes of memory.
    pub fn bytes(&self) -> usize {
        (self.segments.iter().map(|segment| segment.len()).sum::<usize>() + self.overflow.len()) * size_of::<Bucket>()
    }

    #[inline]
    fn bucket_number(&self, hash: u64) -> usize {
        let number = hash as usize & (2 * self.base - 1);
        if number < self.base + self.split { number } else { hash as usize & (self.base - 1) }
    }

    #[inline]
    fn bucket(&self, number: usize) -> &Bucket {
        &self.segments[number / SEGMENT_BUCKETS][number % SEGMENT_BUCKETS]
    }

    #[inline]
    fn bucket_mut(&mut self, number: usize) -> &mut Bucket {
        &mut self.segments[number / SEGMENT_BUCKETS][number % SEGMENT_BUCKETS]
    }

    /// What `accept` makes of the item with `hash` that it accepts.
    #[inline(always)]
    pub fn find<T>(&self, hash: u64, mut accept: impl FnMut(ItemId) -> Option<T>) -> Option<T> {
        let tag = tag_of(hash);
        let mut bucket = self.bucket(self.bucket_number(hash));
        loop {
            if let Some(found) = bucket.find(tag, &mut accept) {
                return Some(found);
            }
            if bucket.overflow == 0 {
                return None;
            }
            bucket = &self.overflow[bucket.overflow as usize - 1];
        }
    }

    /// The first item with this hash's tag, without looking at items: what a prefetch touches.
    #[inline]
    pub fn likely(&self, hash: u64) -> Option<ItemId> {
        let tag = tag_of(hash);
        let bucket = self.bucket(self.bucket_number(hash));
        bucket.find(tag, &mut Some)
    }

    /// Adds an item. The key must not be in the index.
    pub fn insert(&mut self, hash: u64, id: ItemId) -> Result<(), ChainFull> {
        let tag = tag_of(hash);
        let number = self.bucket_number(hash);
        if !self.bucket_mut(number).insert(tag, id) {
            self.insert_behind(number, tag, id)?;
        }
        self.items += 1;
        Ok(())
    }

    fn insert_behind(&mut self, number: usize, tag: u8, id: ItemId) -> Result<(), ChainFull> {
        let mut last = 0;
        let mut link = self.bucket(number).overflow;
        for _ in 0..OVERFLOW_MAX {
            if link == 0 {
                let fresh = match self.spare.pop() {
                    Some(fresh) => fresh,
                    None => {
                        self.overflow.push(Bucket::EMPTY);
                        self.overflow.len() as u32 - 1
                    }
                };
                self.overflow[fresh as usize] = Bucket::EMPTY;
                self.overflow[fresh as usize].insert(tag, id);
                match last {
                    0 => self.bucket_mut(number).overflow = fresh + 1,
                    last => self.overflow[last as usize - 1].overflow = fresh + 1,
                }
                return Ok(());
            }
            if self.overflow[link as usize - 1].insert(tag, id) {
                return Ok(());
            }
            last = link;
            link = self.overflow[link as usize - 1].overflow;
        }
        Err(ChainFull { victim: self.bucket(number).items[0] })
    }

    /// Takes an item out.
    pub fn remove(&mut self, hash: u64, id: ItemId) -> bool {
        let is_removed = self.edit(hash, id, |bucket, place| {
            bucket.tags[place] = 0;
            bucket.items[place] = ItemId::NONE;
        });
        if is_removed {
            self.items -= 1;
        }
        is_removed
    }

    /// Puts another id in the place of `old`: the item has moved.
    pub fn replace(&mut self, hash: u64, old: ItemId, new: ItemId) -> bool {
        self.edit(hash, old, |bucket, place| bucket.items[place] = new)
    }

    fn edit(&mut self, hash: u64, id: ItemId, change: impl FnOnce(&mut Bucket, usize)) -> bool {
        let number = self.bucket_number(hash);
        let mut link = {
            let bucket = self.bucket_mut(number);
            if let Some(place) = bucket.items.iter().position(|&other| other == id) {
                change(bucket, place);
                return true;
            }
            bucket.overflow
        };
        while link != 0 {
            let bucket = &mut self.overflow[link as usize - 1];
            if let Some(place) = bucket.items.iter().position(|&other| other == id) {
                change(bucket, place);
                return true;
            }
            link = bucket.overflow;
        }
        false
    }

    /// Whether the index should grow; call [`Index::grow`] then.
    #[inline]
    pub fn is_crowded(&self) -> bool {
        self.items * 16 > self.buckets() * LOAD_SIXTEENTHS
    }

    /// Adds one bucket by splitting another; `hash_of` gives the hash of an item's key.
    pub fn grow(&mut self, mut hash_of: impl FnMut(ItemId) -> u64) {
        let (old, new) = (self.split, self.base + self.split);
        self.make_room(new);
        self.split += 1;
        if self.split == self.base {
            self.base *= 2;
            self.split = 0;
        }
        let mut bucket = *self.bucket(old);
        *self.bucket_mut(old) = Bucket::EMPTY;
        loop {
            for place in 0..PLACES {
                if bucket.tags[place] != 0 {
                    let id = bucket.items[place];
                    let target = self.bucket_number(hash_of(id));
                    debug_assert!(target == old || target == new);
                    let (tag, target_bucket) = (bucket.tags[place], self.bucket_mut(target));
                    if !target_bucket.insert(tag, id) {
                        // Cannot fail: there are no more items than before, in at least as many buckets.
                        let _ = self.insert_behind(target, tag, id);
                    }
                }
            }
            if bucket.overflow == 0 {
                return;
            }
            let link = bucket.overflow - 1;
            bucket = self.overflow[link as usize];
            self.spare.push(link);
        }
    }

    fn make_room(&mut self, number: usize) {
        let segment = number / SEGMENT_BUCKETS;
        if segment == 0 && number >= self.segments[0].len() {
            // The first segment doubles until it is whole, so that an empty partition is small.
            let mut grown = self.segments[0].to_vec();
            grown.resize((number + 1).next_power_of_two().min(SEGMENT_BUCKETS), Bucket::EMPTY);
            self.segments[0] = grown.into_boxed_slice();
        } else if segment == self.segments.len() {
            self.segments.push(vec![Bucket::EMPTY; SEGMENT_BUCKETS].into_boxed_slice());
        }
    }

    /// Calls `each` for all items of a bucket and of those behind it. Buckets at or above [`Index::buckets`] are empty.
    /// Growth moves items only to buckets with higher numbers, so that a walk in ascending order misses none.
    pub fn walk_bucket(&self, number: usize, mut each: impl FnMut(ItemId)) {
        if number >= self.buckets() {
            return;
        }
        let mut bucket = self.bucket(number);
        loop {
            for place in 0..PLACES {
                if bucket.tags[place] != 0 {
                    each(bucket.items[place]);
                }
            }
            if bucket.overflow == 0 {
                return;
            }
            bucket = &self.overflow[bucket.overflow as usize - 1];
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashMap;

    fn mix(number: u64) -> u64 {
        rapidhash::v3::rapidhash_v3(&number.to_le_bytes())
    }

    #[test]
    fn it_behaves_like_a_map_while_it_grows() {
        let mut index = Index::new();
        let mut model = HashMap::new();
        for number in 1..50_000u32 {
            assert_eq!(index.insert(mix(number.into()), ItemId(number)), Ok(()));
            model.insert(number, ItemId(number));
            if index.is_crowded() {
                index.grow(|id| mix(id.0.into()));
            }
            if number % 3 == 0 {
                let gone = number / 2;
                assert_eq!(index.remove(mix(gone.into()), ItemId(gone)), model.remove(&gone).is_some());
            }
        }
        assert_eq!(index.len(), model.len());
        for number in 1..50_000u32 {
            let found = index.find(mix(number.into()), |id| (id.0 == number).then_some(id));
            assert_eq!(found, model.get(&number).copied(), "{number}");
        }
        let mut seen = 0;
        (0..index.buckets()).for_each(|bucket| index.walk_bucket(bucket, |_| seen += 1));
        assert_eq!(seen, model.len());
        assert!(index.bytes() < 12 * model.len(), "{} bytes for {} items", index.bytes(), model.len());
    }

    #[test]
    fn colliding_hashes_are_bounded() {
        let mut index = Index::new();
        let mut number = 0;
        let full = loop {
            number += 1;
            if let Err(full) = index.insert(7, ItemId(number)) {
                break full;
            }
        };
        assert_eq!(number as usize - 1, PLACES * (1 + OVERFLOW_MAX));
        assert!(index.remove(7, full.victim));
        assert_eq!(index.insert(7, ItemId(number)), Ok(()));
    }
}

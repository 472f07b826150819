//! From key hash to item: cache-line buckets that grow one bucket at a time (linear hashing).
//!
//! ```text
//! bucket, 64 bytes: | 12 item ids, 4 bytes each | 12 tags | spill |
//! spill,  64 bytes: | 10 item ids, 4 bytes each | 10 tags | 10 owners | next |
//! ```
//! A tag is eight bits of the hash, 0 for an empty place, so that a lookup looks at one cache line and, nearly always,
//! at one item. What does not fit into a bucket goes to a spill bucket, which the buckets of a group (neighbours) share: an
//! owner is a bucket's number within its group. All items that a bucket has spilled are in one spill bucket; only when
//! they fill it alone does it get a `next`, and a spill bucket with a `next` is nobody else's. The length of such a chain
//! is bounded: past the bound the insert says so and the caller throws an item of the chain away, so that colliding keys
//! cost evictions and never time. Items come back from the spill as places in their bucket fall free, and spill buckets
//! with few items are merged, so that an index that is full for long does not grow.
//!
//! Growth: with `base` a power of two and `split < base`, there are `base + split` buckets; bucket `b` of the lower half
//! has been split when `b < split`. Each insert splits at most one bucket. Shrinking is the same backwards, for an index
//! that has become much too large.
//!
//! Just before a doubling is complete the buckets not yet split have nearly twice the mean load. A high load is
//! affordable since spill buckets are shared: at a mean of 10.5 items per bucket the index takes 6.8 to 7.4 bytes per
//! item, and 7 to 14 % of the items are spilled. (At 9 it is 7.6 to 7.9 bytes and 4 to 9 %.)

mod bucket;
mod spill;

pub use bucket::Bucket;

use super::ids::ItemId;

use bucket::PLACES;
use spill::{GROUP, SPILL_PLACES, Spill, owner_of};

/// Buckets in a segment of the directory: 64 KiB.
const SEGMENT_BUCKETS: usize = 1024;

/// Spill buckets in a segment: 8 KiB.
const SEGMENT_SPILLS: usize = 128;

/// Buckets of a new index; a power of two, from [`GROUP`] to [`SEGMENT_BUCKETS`].
const BUCKETS_MIN: usize = 16;

/// Items per bucket, times 16, above which the index grows.
const LOAD_SIXTEENTHS: usize = 168;

/// Items per bucket, times 16, below which the index may shrink.
const LOAD_LOW_SIXTEENTHS: usize = LOAD_SIXTEENTHS / 4;

/// Most spill buckets behind a bucket.
const CHAIN_MAX: usize = 4;

/// A spill bucket with so many items, or fewer, goes up in another one.
const MERGE_ITEMS_MAX: usize = 4;

/// Most items of a bucket and its chain.
const CHAIN_ITEMS_MAX: usize = PLACES + CHAIN_MAX * SPILL_PLACES;

/// The index of a partition.
pub struct Index {
    segments: Vec<Box<[Bucket]>>,
    spills: Vec<Box<[Spill]>>,
    /// Spill buckets free for reuse.
    spare: Vec<u32>,
    base: usize,
    split: usize,
    items: usize,
    /// Of segments and spills.
    bytes: usize,
}

/// The chain of a hash is full.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ChainFull {
    /// An item of the chain that may go.
    pub victim: ItemId,
}

/// What a bucket says of a hash at the first look.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Likely {
    /// An item with its tag.
    Item(ItemId),
    /// None; but the bucket has spilled some, which may have it.
    Spilled,
    /// There is no such item.
    Nothing,
}

/// Items on their way from one bucket to others, with their tags.
struct Moving {
    items: [(ItemId, u8); CHAIN_ITEMS_MAX],
    count: usize,
}

impl Moving {
    fn push(&mut self, id: ItemId, tag: u8) {
        self.items[self.count] = (id, tag);
        self.count += 1;
    }

    fn as_slice(&self) -> &[(ItemId, u8)] {
        &self.items[..self.count]
    }
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
            spills: Vec::new(),
            spare: Vec::new(),
            base: BUCKETS_MIN,
            split: 0,
            items: 0,
            bytes: BUCKETS_MIN * size_of::<Bucket>(),
        }
    }

    /// Items in the index.
    pub fn len(&self) -> usize {
        self.items
    }

    /// Buckets, without the spill ones.
    pub fn buckets(&self) -> usize {
        self.base + self.split
    }

    /// Bytes of memory.
    #[inline]
    pub fn bytes(&self) -> usize {
        self.bytes
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

    /// The spill bucket of a link, which is not 0.
    #[inline]
    fn spill(&self, link: u32) -> &Spill {
        let number = link as usize - 1;
        &self.spills[number / SEGMENT_SPILLS][number % SEGMENT_SPILLS]
    }

    fn spill_mut(&mut self, link: u32) -> &mut Spill {
        let number = link as usize - 1;
        &mut self.spills[number / SEGMENT_SPILLS][number % SEGMENT_SPILLS]
    }

    /// The links of a chain that begins with `link`.
    fn chain(&self, link: u32) -> impl Iterator<Item = u32> + '_ {
        let is_link = |link: u32| (link != 0).then_some(link);
        std::iter::successors(is_link(link), move |&link| is_link(self.spill(link).next))
    }

    /// What `accept` makes of the item with `hash` that it accepts.
    #[inline]
    pub fn find<T>(&self, hash: u64, mut accept: impl FnMut(ItemId) -> Option<T>) -> Option<T> {
        let tag = tag_of(hash);
        let number = self.bucket_number(hash);
        let bucket = self.bucket(number);
        match bucket.find(tag, &mut accept) {
            None if bucket.spill != 0 => self.find_spilled(bucket.spill, owner_of(number), tag, accept),
            found => found,
        }
    }

    #[inline(never)]
    fn find_spilled<T>(
        &self,
        mut link: u32,
        owner: u8,
        tag: u8,
        mut accept: impl FnMut(ItemId) -> Option<T>,
    ) -> Option<T> {
        while link != 0 {
            let spill = self.spill(link);
            for place in 0..SPILL_PLACES {
                if spill.tags[place] == tag
                    && spill.owners[place] == owner
                    && let Some(found) = accept(spill.items[place])
                {
                    return Some(found);
                }
            }
            link = spill.next;
        }
        None
    }

    /// The bucket of a hash, as it is now.
    #[inline(always)]
    pub fn bucket_of(&self, hash: u64) -> &Bucket {
        self.bucket(self.bucket_number(hash))
    }

    /// Adds an item. The key must not be in the index.
    pub fn insert(&mut self, hash: u64, id: ItemId) -> Result<(), ChainFull> {
        let number = self.bucket_number(hash);
        self.put(number, tag_of(hash), id)?;
        self.items += 1;
        Ok(())
    }

    fn put(&mut self, number: usize, tag: u8, id: ItemId) -> Result<(), ChainFull> {
        if self.bucket_mut(number).insert(tag, id) { Ok(()) } else { self.put_spilled(number, tag, id) }
    }

    /// Never fails for a bucket and chain of less than [`CHAIN_ITEMS_MAX`] items.
    fn put_spilled(&mut self, number: usize, tag: u8, id: ItemId) -> Result<(), ChainFull> {
        let owner = owner_of(number);
        let first = self.bucket(number).spill;
        if first == 0 {
            let link = self.shared_spill(number, 1).ok_or_else(|| self.full(number))?;
            self.spill_mut(link).insert(tag, owner, id);
            self.bucket_mut(number).spill = link;
            return Ok(());
        }
        let (mut last, mut length) = (first, 0);
        for link in self.chain(first) {
            (last, length) = (link, length + 1);
            if self.spill(link).free() > 0 {
                break;
            }
        }
        if self.spill_mut(last).insert(tag, owner, id) {
            return Ok(());
        }
        let own = self.spill(last).places_of(owner).count();
        if own < SPILL_PLACES {
            // The spill bucket is full of others' items too: this bucket's move out together.
            let link = self.shared_spill(number, own + 1).ok_or_else(|| self.full(number))?;
            self.move_spilled(last, link, owner);
            self.spill_mut(link).insert(tag, owner, id);
            self.bucket_mut(number).spill = link;
            return Ok(());
        }
        if length == CHAIN_MAX {
            return Err(self.full(number));
        }
        let link = self.fresh_spill().ok_or_else(|| self.full(number))?;
        self.spill_mut(link).insert(tag, owner, id);
        self.spill_mut(last).next = link;
        Ok(())
    }

    /// What has to go for another item of a bucket that is full.
    fn full(&self, number: usize) -> ChainFull {
        ChainFull { victim: self.bucket(number).items[0] }
    }

    /// The fullest spill bucket of the group that has room for so many more, or a fresh one; `None` without memory.
    fn shared_spill(&mut self, number: usize, room: usize) -> Option<u32> {
        self.roomy_spill(number, 0, room).or_else(|| self.fresh_spill())
    }

    /// The fullest spill bucket of the group, but for `not`, that has room for so many more.
    fn roomy_spill(&self, number: usize, not: u32, room: usize) -> Option<u32> {
        let links = self.group(number).map(|other| self.bucket(other).spill).filter(|&link| link != 0 && link != not);
        let alone = links.filter(|&link| self.spill(link).next == 0);
        let roomy = alone.map(|link| (self.spill(link).free(), link)).filter(|(free, _)| *free >= room);
        roomy.min().map(|(_, link)| link)
    }

    /// The numbers of a bucket's group.
    fn group(&self, number: usize) -> std::ops::Range<usize> {
        let start = number / GROUP * GROUP;
        start..(start + GROUP).min(self.buckets())
    }

    fn fresh_spill(&mut self) -> Option<u32> {
        if self.spare.is_empty() && !self.add_spills() {
            return None;
        }
        self.spare.pop().map(|number| number + 1)
    }

    /// Adds a segment of spill buckets; false when there is no memory for it.
    #[cold]
    fn add_spills(&mut self) -> bool {
        let first = (self.spills.len() * SEGMENT_SPILLS) as u32;
        let has_room = self.spills.try_reserve(1).is_ok() && self.spare.try_reserve(SEGMENT_SPILLS).is_ok();
        let Some(segment) = filled(Spill::EMPTY, SEGMENT_SPILLS).filter(|_| has_room) else {
            return false;
        };
        self.spills.push(segment);
        self.bytes += SEGMENT_SPILLS * size_of::<Spill>();
        self.spare.extend((first..first + SEGMENT_SPILLS as u32).rev());
        true
    }

    /// Whether the items of a chain can be put anywhere else without asking the system for memory.
    fn can_move(&mut self, spilled: usize) -> bool {
        spilled == 0 || self.spare.len() >= CHAIN_MAX || self.add_spills()
    }

    fn move_spilled(&mut self, from: u32, to: u32, owner: u8) {
        for place in 0..SPILL_PLACES {
            let source = self.spill_mut(from);
            if source.tags[place] != 0 && source.owners[place] == owner {
                let (tag, id) = (source.tags[place], source.items[place]);
                source.clear(place);
                self.spill_mut(to).insert(tag, owner, id);
            }
        }
    }

    /// Takes an item out.
    pub fn remove(&mut self, hash: u64, id: ItemId) -> bool {
        let number = self.bucket_number(hash);
        let bucket = self.bucket_mut(number);
        if let Some(place) = bucket.items.iter().position(|&other| other == id) {
            bucket.tags[place] = 0;
            bucket.items[place] = ItemId::NONE;
            if bucket.spill != 0 {
                self.bring_back(number, place);
            }
        } else {
            let Some((link, place)) = self.spilled_place(number, id) else { return false };
            self.spill_mut(link).clear(place);
            self.tidy(number, link);
        }
        self.items -= 1;
        true
    }

    /// Fills a free place of a bucket with the last item it has spilled.
    fn bring_back(&mut self, number: usize, place: usize) {
        let owner = owner_of(number);
        let mut found = None;
        for link in self.chain(self.bucket(number).spill) {
            if let Some(from) = self.spill(link).places_of(owner).next_back() {
                found = Some((link, from));
            }
        }
        let Some((link, from)) = found else { return };
        let spill = self.spill_mut(link);
        let (tag, id) = (spill.tags[from], spill.items[from]);
        spill.clear(from);
        let bucket = self.bucket_mut(number);
        bucket.tags[place] = tag;
        bucket.items[place] = id;
        self.tidy(number, link);
    }

    /// After an item of a bucket has left a spill bucket: frees the spill bucket if that was its last item, and forgets the
    /// bucket's link if it has nothing spilled any more.
    fn tidy(&mut self, number: usize, link: u32) {
        if self.spill(link).free() == SPILL_PLACES {
            let next = self.spill(link).next;
            let first = self.bucket(number).spill;
            let before = self.chain(first).find(|&other| self.spill(other).next == link);
            match before {
                Some(before) => self.spill_mut(before).next = next,
                None => self.bucket_mut(number).spill = next,
            }
            self.spill_mut(link).next = 0;
            self.spare.push(link - 1);
            return;
        }
        if self.spill(link).next != 0 {
            return;
        }
        if self.bucket(number).spill == link && self.spill(link).places_of(owner_of(number)).next().is_none() {
            self.bucket_mut(number).spill = 0;
        }
        if self.spill(link).free() >= SPILL_PLACES - MERGE_ITEMS_MAX {
            self.merge(number, link);
        }
    }

    /// Moves the few items of a spill bucket to another one of the group, if one has room for them.
    fn merge(&mut self, number: usize, link: u32) {
        let is_head = self.group(number).any(|other| self.bucket(other).spill == link);
        if !is_head {
            return;
        }
        let Some(target) = self.roomy_spill(number, link, SPILL_PLACES - self.spill(link).free()) else { return };
        for other in self.group(number) {
            if self.bucket(other).spill == link {
                self.move_spilled(link, target, owner_of(other));
                self.bucket_mut(other).spill = target;
            }
        }
        self.spare.push(link - 1);
    }

    /// Puts another id in the place of `old`: the item has moved.
    pub fn replace(&mut self, hash: u64, old: ItemId, new: ItemId) -> bool {
        let number = self.bucket_number(hash);
        let bucket = self.bucket_mut(number);
        if let Some(place) = bucket.items.iter().position(|&other| other == old) {
            bucket.items[place] = new;
            return true;
        }
        match self.spilled_place(number, old) {
            Some((link, place)) => {
                self.spill_mut(link).items[place] = new;
                true
            }
            None => false,
        }
    }

    /// Where an item that its bucket has spilled is.
    fn spilled_place(&self, number: usize, id: ItemId) -> Option<(u32, usize)> {
        self.chain(self.bucket(number).spill)
            .find_map(|link| Some((link, self.spill(link).items.iter().position(|&other| other == id)?)))
    }

    /// Whether the index should grow; call [`Index::grow`] then.
    #[inline]
    pub fn is_crowded(&self) -> bool {
        self.items * 16 > self.buckets() * LOAD_SIXTEENTHS
    }

    /// Whether the index is so empty that it should [shrink](Index::shrink).
    pub fn is_sparse(&self) -> bool {
        self.buckets() > BUCKETS_MIN && self.items * 16 < self.buckets() * LOAD_LOW_SIXTEENTHS
    }

    /// Adds one bucket by splitting another; `hash_of` gives the hash of an item's key. Without memory it stays crowded:
    /// chains get longer, and when one is full an item goes.
    pub fn grow(&mut self, mut hash_of: impl FnMut(ItemId) -> u64) {
        let (old, new) = (self.split, self.base + self.split);
        if !self.can_move(self.bucket(old).spill as usize) || !self.make_room(new) {
            return;
        }
        let moving = self.empty_bucket(old);
        self.split += 1;
        if self.split == self.base {
            self.base *= 2;
            self.split = 0;
        }
        for &(id, tag) in moving.as_slice() {
            let target = self.bucket_number(hash_of(id));
            debug_assert!(target == old || target == new);
            // Cannot fail: all of them fit into one bucket and its chain before.
            let _ = self.put(target, tag, id);
        }
    }

    /// Takes the last bucket away, its items go to the one that it was split from. False when they do not fit there. Items
    /// move to a bucket with a lower number, so that a walk that is under way may miss them.
    pub fn shrink(&mut self) -> bool {
        let last = self.buckets() - 1;
        let target = if self.split == 0 { self.base / 2 - 1 } else { self.split - 1 };
        if self.chain_items(last) + self.chain_items(target) > CHAIN_ITEMS_MAX {
            return false;
        }
        if !self.can_move((self.chain_items(last) + self.chain_items(target)).saturating_sub(PLACES)) {
            return false;
        }
        let moving = self.empty_bucket(last);
        if self.split == 0 {
            self.base /= 2;
            self.split = self.base;
        }
        self.split -= 1;
        for &(id, tag) in moving.as_slice() {
            // Cannot fail, as was just counted.
            let _ = self.put(target, tag, id);
        }
        if last.is_multiple_of(SEGMENT_BUCKETS) {
            self.bytes -= self.segments.pop().map_or(0, |segment| segment.len() * size_of::<Bucket>());
            self.segments.shrink_to_fit();
        }
        if self.spare.len() == self.spills.len() * SEGMENT_SPILLS {
            self.bytes -= self.spare.len() * size_of::<Spill>();
            (self.spills, self.spare) = (Vec::new(), Vec::new());
        }
        true
    }

    fn chain_items(&self, number: usize) -> usize {
        let mut count = 0;
        self.walk_bucket(number, |_| count += 1);
        count
    }

    /// Takes all items out of a bucket and its spill.
    fn empty_bucket(&mut self, number: usize) -> Moving {
        let mut moving = Moving { items: [(ItemId::NONE, 0); CHAIN_ITEMS_MAX], count: 0 };
        let bucket = *self.bucket(number);
        *self.bucket_mut(number) = Bucket { spill: bucket.spill, ..Bucket::EMPTY };
        for place in 0..PLACES {
            if bucket.tags[place] != 0 {
                moving.push(bucket.items[place], bucket.tags[place]);
            }
        }
        let owner = owner_of(number);
        let mut link = bucket.spill;
        while link != 0 {
            let next = self.spill(link).next;
            for place in 0..SPILL_PLACES {
                let spill = self.spill_mut(link);
                if spill.tags[place] != 0 && spill.owners[place] == owner {
                    moving.push(spill.items[place], spill.tags[place]);
                    spill.clear(place);
                }
            }
            self.tidy(number, link);
            link = next;
        }
        moving
    }

    /// Makes a bucket of that number possible; false when there is no memory for it.
    fn make_room(&mut self, number: usize) -> bool {
        let segment = number / SEGMENT_BUCKETS;
        if segment == 0 && number >= self.segments[0].len() {
            // The first segment doubles until it is whole, so that an empty partition is small.
            let count = (number + 1).next_power_of_two().min(SEGMENT_BUCKETS);
            let Some(mut grown) = filled(Bucket::EMPTY, count) else {
                return false;
            };
            let present = &self.segments[0];
            grown[..present.len()].clone_from_slice(present);
            self.bytes += (grown.len() - present.len()) * size_of::<Bucket>();
            self.segments[0] = grown;
        } else if segment == self.segments.len() {
            let fresh = filled(Bucket::EMPTY, SEGMENT_BUCKETS).filter(|_| self.segments.try_reserve(1).is_ok());
            let Some(fresh) = fresh else {
                return false;
            };
            self.segments.push(fresh);
            self.bytes += SEGMENT_BUCKETS * size_of::<Bucket>();
        }
        true
    }

    /// Calls `each` for all items of a bucket, the spilled ones included. Buckets at or above [`Index::buckets`] are empty.
    /// Growth moves items only to buckets with higher numbers, so that a walk in ascending order misses none.
    pub fn walk_bucket(&self, number: usize, mut each: impl FnMut(ItemId)) {
        if number >= self.buckets() {
            return;
        }
        let bucket = self.bucket(number);
        for place in 0..PLACES {
            if bucket.tags[place] != 0 {
                each(bucket.items[place]);
            }
        }
        let owner = owner_of(number);
        for link in self.chain(bucket.spill) {
            let spill = self.spill(link);
            spill.places_of(owner).for_each(|place| each(spill.items[place]));
        }
    }
}

/// So many of them, unless the system has no memory.
fn filled<T: Clone>(value: T, count: usize) -> Option<Box<[T]>> {
    let mut all = Vec::new();
    all.try_reserve_exact(count).ok()?;
    all.resize(count, value);
    Some(all.into_boxed_slice())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashMap;

    fn mix(number: u64) -> u64 {
        rapidhash::v3::rapidhash_v3(&number.to_le_bytes())
    }

    /// An index beside a map that says what must be in it.
    struct Checked {
        index: Index,
        model: HashMap<u32, u64>,
        random: u64,
    }

    impl Checked {
        fn new() -> Self {
            Self { index: Index::new(), model: HashMap::new(), random: 1 }
        }

        fn random(&mut self, below: usize) -> usize {
            self.random = mix(self.random);
            (self.random >> 8) as usize % below
        }

        fn insert(&mut self, number: u32, hash: u64) {
            assert_eq!(self.index.insert(hash, ItemId(number)), Ok(()));
            self.model.insert(number, hash);
            if self.index.is_crowded() {
                let model = &self.model;
                self.index.grow(|id| model[&id.0]);
            }
        }

        fn remove(&mut self, number: u32) {
            let hash = self.model.remove(&number).expect("present");
            assert!(self.index.remove(hash, ItemId(number)));
            assert!(!self.index.remove(hash, ItemId(number)));
        }

        #[track_caller]
        fn check(&self) {
            assert_eq!(self.index.len(), self.model.len());
            for (&number, &hash) in &self.model {
                assert_eq!(self.index.find(hash, |id| (id.0 == number).then_some(id)), Some(ItemId(number)));
            }
            let (mut seen, mut spilled) = (0, 0);
            for bucket in 0..self.index.buckets() {
                let links: Vec<u32> = self.index.chain(self.index.bucket(bucket).spill).collect();
                assert!(links.len() <= CHAIN_MAX);
                let owned = |link: &u32| self.index.spill(*link).places_of(owner_of(bucket)).count();
                let behind: usize = links.iter().map(owned).sum();
                let is_full = self.index.bucket(bucket).tags.iter().all(|&tag| tag != 0);
                assert_eq!(behind > 0, !links.is_empty(), "a link to nothing of its own");
                assert!(behind == 0 || is_full, "an item is spilled though there is a place");
                let is_shared = links.iter().any(|link| self.index.spill(*link).next != 0 && owned(link) == 0);
                assert!(!is_shared, "a chain of several buckets");
                spilled += behind;
                self.index.walk_bucket(bucket, |_| seen += 1);
            }
            assert_eq!(seen, self.model.len());
            let in_use: usize = self.index.spills.iter().flatten().map(|spill| SPILL_PLACES - spill.free()).sum();
            assert_eq!(in_use, spilled, "an item in a spill bucket that nothing leads to");
            let empty = self.index.spills.iter().flatten().filter(|spill| spill.free() == SPILL_PLACES).count();
            assert_eq!(empty, self.index.spare.len(), "a spill bucket was lost");
            let buckets: usize = self.index.segments.iter().map(|segment| segment.len()).sum();
            let spills: usize = self.index.spills.iter().map(|segment| segment.len()).sum();
            assert_eq!(self.index.bytes(), 64 * (buckets + spills));
        }
    }

    #[test]
    fn it_behaves_like_a_map_while_it_grows() {
        let mut checked = Checked::new();
        for number in 1..50_000u32 {
            checked.insert(number, mix(number.into()));
            if number % 3 == 0 {
                checked.remove(number / 3 * 2);
            }
            if number % 10_000 == 0 {
                checked.check();
            }
        }
        checked.check();
    }

    /// Once a bucket that had ever been overfull kept its overflow bucket, so that each of them had one in the end, and
    /// the index took 10 bytes per item.
    #[test]
    fn a_long_coming_and_going_does_not_make_it_larger() {
        for items in [40_000, 55_000, 65_000, 85_000] {
            let mut checked = Checked::new();
            let mut live: Vec<u32> = (1..=items).collect();
            live.iter().for_each(|&number| checked.insert(number, mix(number.into())));
            for number in items + 1..8 * items {
                let place = checked.random(live.len());
                checked.remove(std::mem::replace(&mut live[place], number));
                checked.insert(number, mix(number.into()));
            }
            checked.check();
            let spills = checked.index.spills.len() * SEGMENT_SPILLS - checked.index.spare.len();
            let per_item = ((checked.index.buckets() + spills) * 64) as f64 / f64::from(items);
            assert!(per_item < 7.6, "{per_item} bytes for each of {items} items");
        }
    }

    #[test]
    fn overfull_buckets_share_their_spill() {
        let mut checked = Checked::new();
        // Buckets 0 to 7 without growth: every hash is of one group, with different tags.
        for round in 0..200u32 {
            for number in 1..=400 {
                let id = round * 400 + number;
                let bucket = checked.random(GROUP) as u64;
                let hash = bucket | (mix(u64::from(id)) << 40);
                if checked.index.insert(hash, ItemId(id)).is_ok() {
                    checked.model.insert(id, hash);
                }
                if checked.random(3) > 0 && !checked.model.is_empty() {
                    let victim = *checked.model.keys().min_by_key(|&&key| mix(u64::from(key ^ id))).expect("some");
                    checked.remove(victim);
                }
                if checked.model.len() > 300 {
                    break;
                }
            }
            checked.check();
            let keep = checked.random(200);
            while checked.model.len() > keep {
                let victim = *checked.model.keys().next().expect("some");
                checked.remove(victim);
            }
            checked.check();
        }
    }

    #[test]
    fn it_shrinks_when_it_is_nearly_empty() {
        let mut checked = Checked::new();
        (1..60_000).for_each(|number| checked.insert(number, mix(number.into())));
        let full = checked.index.bytes();
        (2000..60_000).for_each(|number| checked.remove(number));
        while checked.index.is_sparse() {
            assert!(checked.index.shrink());
        }
        checked.check();
        assert!(checked.index.bytes() < full / 6, "{} of {full} bytes", checked.index.bytes());
        (2000..60_000).for_each(|number| checked.insert(number, mix(number.into())));
        checked.check();
        (1..60_000).for_each(|number| checked.remove(number));
        while checked.index.is_sparse() {
            assert!(checked.index.shrink());
        }
        checked.check();
        assert_eq!((checked.index.buckets(), checked.index.spills.len()), (BUCKETS_MIN, 0));
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
        assert_eq!(number as usize - 1, CHAIN_ITEMS_MAX);
        assert!(index.remove(7, full.victim));
        assert_eq!(index.insert(7, ItemId(number)), Ok(()));
    }
}

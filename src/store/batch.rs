//! Several keys at once. Each partition is visited once, and there the cache misses of its keys overlap: first the index
//! is touched for all of them, then the items that it names, and only then is anything done.

use crate::base::hash::KeyHash;
use crate::base::time::Now;

use super::Store;
use super::entry::{Entry, Hint, ItemView};
use super::partition::Partition;

/// Most keys of a batch.
pub const BATCH_KEYS: usize = 32;

/// Keys of a batch, one bit each.
type KeySet = u32;

const _: () = assert!(KeySet::BITS as usize == BATCH_KEYS);

impl Store {
    /// Whether there is one partition only, so that a batch is done in the order of its keys.
    #[inline]
    pub fn has_one_partition(&self) -> bool {
        self.mask == 0
    }

    /// Plain gets ([`Store::get`]) of up to [`BATCH_KEYS`] keys, with their hashes. `read` is given a key's number and its
    /// live item or nothing; when it says false, nothing is counted or marked. It is called in the order of the keys
    /// within a partition, and partition by partition.
    #[inline(always)]
    pub fn get_batch(
        &self,
        keys: &[&[u8]],
        hashes: &[KeyHash],
        now: Now,
        mut read: impl FnMut(usize, Option<&ItemView<'_>>) -> bool,
    ) {
        self.visit_batch(hashes, |partition, number, hash, hint| {
            partition.get(keys[number], (hash, hint), now, |item| read(number, item));
        });
    }

    /// Visits ([`Store::entry`]) to up to [`BATCH_KEYS`] keys, in the order that [`Store::get_batch`] keeps.
    #[inline(always)]
    pub fn entry_batch<'k>(
        &self,
        key: impl Fn(usize) -> &'k [u8],
        hashes: &[KeyHash],
        now: Now,
        mut visit: impl FnMut(usize, &mut Entry<'_>),
    ) {
        self.visit_batch(hashes, |partition, number, hash, hint| {
            visit(number, &mut Entry::new(partition, &self.partitions, key(number), (hash, hint), now));
        });
    }

    /// Finds out where the items of up to [`BATCH_KEYS`] keys probably are, for visits one by one soon after: a hint
    /// spares the visit the index.
    pub fn locate(&self, hashes: &[KeyHash], hints: &mut [Hint; BATCH_KEYS]) {
        self.visit_batch(hashes, |_, number, _, hint| hints[number] = hint);
    }

    #[inline(always)]
    fn visit_batch(&self, hashes: &[KeyHash], mut visit: impl FnMut(&mut Partition, usize, KeyHash, Hint)) {
        let hashes = &hashes[..hashes.len().min(BATCH_KEYS)];
        let mut hints = [Hint::NONE; BATCH_KEYS];
        let mut left = KeySet::MAX.checked_shr((BATCH_KEYS - hashes.len()) as u32).unwrap_or(0);
        let slots = if self.has_one_partition() { [left; SLOTS] } else { self.slots(hashes) };
        while left != 0 {
            let number = self.partition_number(hashes[left.trailing_zeros() as usize]);
            let mut mine = slots[number % SLOTS] & left;
            if self.partitions.len() > SLOTS {
                mine = members(mine).filter(|&key| self.partition_number(hashes[key]) == number).fold(0, with);
            }
            left &= !mine;
            let partition = &mut *self.partitions[number].lock();
            let mut touched = 0;
            for key in members(mine) {
                touched ^= partition.index.touch(hashes[key].0);
            }
            for key in members(mine) {
                hints[key] = partition.probable(hashes[key]);
            }
            for key in members(mine) {
                touched ^= partition.touch(hints[key]);
            }
            std::hint::black_box(touched);
            for key in members(mine) {
                visit(partition, key, hashes[key], hints[key]);
            }
        }
    }

    /// The keys of the partitions that share each slot.
    fn slots(&self, hashes: &[KeyHash]) -> [KeySet; SLOTS] {
        let mut slots = [0; SLOTS];
        for (key, &hash) in hashes.iter().enumerate() {
            let slot = &mut slots[self.partition_number(hash) % SLOTS];
            *slot = with(*slot, key);
        }
        slots
    }
}

/// Partitions are told apart by number modulo this first.
const SLOTS: usize = 64;

/// The members of a set, in ascending order.
fn members(mut set: KeySet) -> impl Iterator<Item = usize> {
    std::iter::from_fn(move || {
        let key = set.trailing_zeros();
        set &= set.checked_sub(1)?;
        Some(key as usize)
    })
}

fn with(set: KeySet, key: usize) -> KeySet {
    set | 1 << key
}

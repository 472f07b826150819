//! Several keys at once. Each partition is visited once, first those that no other worker has locked, and there the cache
//! misses of its keys overlap: first the index is touched for all of them, then the items that it names, and only then is
//! anything done.

use crate::base::hash::KeyHash;
use crate::base::sync::MutexGuard;
use crate::base::time::Now;

use super::Store;
use super::entry::{Entry, Hint, ItemView};
use super::index::{Bucket, Likely};
use super::partition::Partition;

/// Most keys of a batch.
pub const BATCH_KEYS_MAX: usize = 32;

/// Keys of a batch, one bit each.
type KeySet = u32;

const _: () = assert!(KeySet::BITS as usize == BATCH_KEYS_MAX);

impl Store {
    /// Whether all of these keys are in one partition, so that a batch of them is done in their order: always where there is
    /// one only, and where many ask for one hot key.
    #[inline]
    pub fn are_in_one_partition(&self, hashes: &[KeyHash]) -> bool {
        self.has_one_partition()
            || hashes.windows(2).all(|pair| self.partition_number(pair[0]) == self.partition_number(pair[1]))
    }

    #[inline]
    fn has_one_partition(&self) -> bool {
        self.mask == 0
    }

    /// Plain gets ([`Store::get`]) of up to [`BATCH_KEYS_MAX`] keys, with their hashes. `read` is given a key's number and its
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
            let is_there = partition
                .get(keys[number], (hash, hint), now, |item: &ItemView<'_>| read(number, Some(item)))
                .is_some();
            if !is_there && read(number, None) {
                partition.counters.get_misses += 1;
            }
        });
    }

    /// Visits ([`Store::entry`]) to up to [`BATCH_KEYS_MAX`] keys, in the order that [`Store::get_batch`] keeps.
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

    /// Finds out where the items of up to [`BATCH_KEYS_MAX`] keys probably are, for visits one by one soon after: a hint
    /// spares the visit the index.
    pub fn locate(&self, hashes: &[KeyHash], hints: &mut [Hint; BATCH_KEYS_MAX]) {
        self.visit_batch(hashes, |_, number, _, hint| hints[number] = hint);
    }

    #[inline(always)]
    fn visit_batch(&self, hashes: &[KeyHash], mut visit: impl FnMut(&mut Partition, usize, KeyHash, Hint)) {
        let hashes = &hashes[..hashes.len().min(BATCH_KEYS_MAX)];
        let mut hints = [Hint::NONE; BATCH_KEYS_MAX];
        let mut left = KeySet::MAX.checked_shr((BATCH_KEYS_MAX - hashes.len()) as u32).unwrap_or(0);
        let slots = if self.has_one_partition() { [left; SLOTS] } else { self.slots(hashes) };
        while left != 0 {
            let (number, mut partition) = self.lock_one(hashes, left);
            let partition = &mut *partition;
            let mut mine = slots[number % SLOTS] & left;
            if self.partitions.len() > SLOTS {
                mine = members(mine).filter(|&key| self.partition_number(hashes[key]) == number).fold(0, with);
            }
            left &= !mine;
            let mut touched = 0;
            let mut buckets = [&Bucket::EMPTY; BATCH_KEYS_MAX];
            for key in members(mine) {
                buckets[key] = partition.index.bucket_of(hashes[key].0);
                touched ^= buckets[key].touch();
            }
            for key in members(mine) {
                if let Likely::Item(id) = buckets[key].likely(hashes[key].0) {
                    hints[key] = Hint(id);
                }
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

    /// Locks a partition that some of these keys are in. One that another worker has at the moment is left for later, as long
    /// as there is another: waiting for it may put the thread to sleep.
    #[inline]
    fn lock_one(&self, hashes: &[KeyHash], left: KeySet) -> (usize, MutexGuard<'_, Partition>) {
        let first = self.partition_number(hashes[left.trailing_zeros() as usize]);
        match self.partitions[first].try_lock() {
            Some(partition) => (first, partition),
            None => self.lock_other(first, hashes, left),
        }
    }

    #[cold]
    fn lock_other(&self, first: usize, hashes: &[KeyHash], left: KeySet) -> (usize, MutexGuard<'_, Partition>) {
        let mut tried = 1_u64 << (first % SLOTS);
        for key in members(left) {
            let number = self.partition_number(hashes[key]);
            if tried & 1 << (number % SLOTS) == 0 {
                if let Some(partition) = self.partitions[number].try_lock() {
                    return (number, partition);
                }
                tried |= 1 << (number % SLOTS);
            }
        }
        (first, self.partitions[first].lock())
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

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::super::Config;
    use super::*;
    use crate::base::sync::Arc;

    /// A worker that has another's partition to wait for does the keys of the free ones first.
    #[test]
    fn partitions_that_are_free_are_visited_first() {
        let store = Store::new(Config { partitions: 4, ..Config::default() }, Arc::default());
        let keys: Vec<[u8; 4]> = (0..20_u32).map(u32::to_be_bytes).collect();
        let hashes: Vec<KeyHash> = keys.iter().map(|key| store.hash(key)).collect();
        let first = store.partition_number(hashes[0]);
        let others = hashes.iter().filter(|&&hash| store.partition_number(hash) != first).count();
        assert!(others > 0, "twenty keys in one partition of four");
        let taken = store.partitions[first].lock();
        let (visited, visits) = mpsc::channel();
        let now = Now { seconds: 100, epoch: 0 };
        std::thread::scope(|scope| {
            let (store, keys, hashes) = (&store, &keys, &hashes);
            scope.spawn(move || {
                store.entry_batch(
                    |number| &keys[number],
                    hashes,
                    now,
                    |number, _| visited.send(number).expect("heard"),
                );
            });
            let before: Vec<usize> = (0..others).map(|_| visits.recv().expect("a visit")).collect();
            assert!(before.iter().all(|&number| store.partition_number(hashes[number]) != first));
            assert!(visits.try_recv().is_err(), "the partition is taken");
            drop(taken);
            let after: Vec<usize> = visits.iter().collect();
            assert_eq!(after.len(), keys.len() - others);
            assert!(after.is_sorted());
        });
    }
}

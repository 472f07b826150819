//! Ghosts: fingerprints of keys that were evicted lately, so that one that comes back is known.
//!
//! ```text
//!  group:  | newest | … | oldest |    8 fingerprints of 16 bits, 0 is none
//! ```
//! A key has one group; remembering it pushes the group's oldest fingerprint out. So a key is remembered for about as
//! many evictions as there are fingerprints, and both operations touch 16 bytes. One key in 8192 that was never there is
//! taken for a ghost, which costs nothing but a better place in the LRU.
//!
//! Two bytes per item of the partition, allocated with the first eviction. When the partition outgrows it, a larger one
//! is begun empty: copying would be unbounded work, and a policy can do without its ghosts for a while.

use crate::base::hash::KeyHash;

/// Fingerprints in a group.
const GROUP: usize = 8;

/// The fewest items it is made for.
const ITEMS_MIN: usize = 512;

/// See the module comment.
#[derive(Default)]
pub struct Ghosts {
    groups: Vec<[u16; GROUP]>,
}

impl Ghosts {
    /// Remembers a key that is being evicted from a partition of `items` items.
    pub fn remember(&mut self, hash: KeyHash, items: usize) {
        if items > self.capacity() + self.capacity() / 4 {
            let count = items.max(ITEMS_MIN).div_ceil(GROUP);
            let mut groups = Vec::new();
            // Without memory for more the present ones have to do.
            if groups.try_reserve_exact(count).is_ok() {
                groups.resize(count, [0; GROUP]);
                self.groups = groups;
            }
        }
        if let Some(group) = self.group_mut(hash) {
            group.copy_within(..GROUP - 1, 1);
            group[0] = fingerprint(hash);
        }
    }

    /// Whether the key is remembered; it is forgotten with that.
    #[inline]
    pub fn recall(&mut self, hash: KeyHash) -> bool {
        let wanted = fingerprint(hash);
        let Some(group) = self.group_mut(hash) else {
            return false;
        };
        match group.iter_mut().find(|ghost| **ghost == wanted) {
            Some(ghost) => {
                *ghost = 0;
                true
            }
            None => false,
        }
    }

    /// Bytes of memory.
    #[inline]
    pub fn bytes(&self) -> usize {
        self.groups.len() * size_of::<[u16; GROUP]>()
    }

    /// Keys it can remember.
    fn capacity(&self) -> usize {
        self.groups.len() * GROUP
    }

    #[inline]
    fn group_mut(&mut self, hash: KeyHash) -> Option<&mut [u16; GROUP]> {
        // Multiplication spreads 32 bits of the hash over any number of groups.
        let number = (u64::from(hash.0 as u32) * self.groups.len() as u64) >> 32;
        self.groups.get_mut(number as usize)
    }
}

/// Bits of the hash that choose neither the group nor, for the most part, the partition.
#[inline]
fn fingerprint(hash: KeyHash) -> u16 {
    ((hash.0 >> 32) as u16).max(1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::hash::KeyHasher;

    fn hash(number: u32) -> KeyHash {
        KeyHasher::new(7).hash(&number.to_le_bytes())
    }

    #[test]
    fn a_ghost_is_recalled_once() {
        let mut ghosts = Ghosts::default();
        assert!(!ghosts.recall(hash(1)));
        ghosts.remember(hash(1), 1000);
        assert!(!ghosts.recall(hash(2)));
        assert!(ghosts.recall(hash(1)));
        assert!(!ghosts.recall(hash(1)));
    }

    #[test]
    fn about_as_many_are_remembered_as_there_are_items() {
        let mut ghosts = Ghosts::default();
        for number in 0..100_000 {
            ghosts.remember(hash(number), 10_000);
        }
        assert_eq!(ghosts.capacity(), 10_000);
        let recalled = |ghosts: &mut Ghosts, range: std::ops::Range<u32>| {
            range.filter(|&number| ghosts.recall(hash(number))).count()
        };
        assert!(recalled(&mut ghosts, 98_000..100_000) > 1990);
        assert!((3000..8000).contains(&recalled(&mut ghosts, 88_000..98_000)));
        assert!(recalled(&mut ghosts, 0..50_000) < 100);
    }

    #[test]
    fn it_grows_with_the_partition() {
        let mut ghosts = Ghosts::default();
        ghosts.remember(hash(1), 1);
        assert_eq!(ghosts.capacity(), ITEMS_MIN);
        ghosts.remember(hash(2), ITEMS_MIN + ITEMS_MIN / 4);
        assert_eq!(ghosts.capacity(), ITEMS_MIN);
        ghosts.remember(hash(3), 10_000);
        assert_eq!(ghosts.capacity(), 10_000);
        assert!(!ghosts.recall(hash(1)) && ghosts.recall(hash(3)));
    }
}

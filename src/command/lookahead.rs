//! Requests that wait behind the one being executed: their items are looked for together, so that the cache misses of
//! all of them overlap.
//!
//! Who reads requests hands in the keys of several; each visit then asks whether its key's item was found already. Order
//! is all that ties the two together, and a hint is only a hint: a request that visits another key, or none, or that
//! changes what the next one finds, does no harm.

use std::cell::Cell;

use crate::base::hash::KeyHash;
use crate::store::{BATCH_KEYS_MAX, Hint, Store};

/// See the module comment. Reused from turn to turn.
#[derive(Default)]
pub struct Lookahead {
    hashes: [KeyHash; BATCH_KEYS_MAX],
    hints: [Hint; BATCH_KEYS_MAX],
    /// count <= BATCH_KEYS_MAX
    count: usize,
    /// The first that no visit has asked for: next <= count
    next: Cell<usize>,
}

impl Lookahead {
    /// Forgets everything.
    #[inline]
    pub fn clear(&mut self) {
        self.count = 0;
        self.next.set(0);
    }

    /// Whether nothing is left of the last look.
    #[inline]
    pub fn is_used_up(&self) -> bool {
        self.next.get() >= self.count
    }

    /// Looks for the items of the next keys, in the order in which they will be visited; at most [`BATCH_KEYS_MAX`] of them.
    pub fn look<'k>(&mut self, keys: impl Iterator<Item = &'k [u8]>, store: &Store) {
        self.clear();
        for (place, key) in self.hashes.iter_mut().zip(keys) {
            *place = store.hash(key);
            self.count += 1;
        }
        if self.count > 1 {
            self.hints = [Hint::NONE; BATCH_KEYS_MAX];
            store.locate(&self.hashes[..self.count], &mut self.hints);
        } else {
            self.count = 0;
        }
    }

    /// What is known of the key with this hash. What was looked for before it is passed over.
    #[inline]
    pub fn hint(&self, hash: KeyHash) -> Hint {
        while !self.is_used_up() {
            let index = self.next.replace(self.next.get() + 1);
            if self.hashes.get(index) == Some(&hash) {
                return self.hints[index];
            }
        }
        Hint::NONE
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::command::testing::service;

    #[test]
    fn hints_are_given_out_in_order() {
        let mut lookahead = Lookahead::default();
        let service = service();
        let store = &service.store;
        assert!(lookahead.is_used_up());
        lookahead.look([&b"a"[..], b"b", b"c"].into_iter(), store);
        assert!(!lookahead.is_used_up());
        lookahead.hint(store.hash(b"b"));
        assert!(!lookahead.is_used_up());
        lookahead.hint(store.hash(b"a"));
        assert!(lookahead.is_used_up());
        lookahead.look([&b"a"[..]].into_iter(), store);
        assert!(lookahead.is_used_up());
    }
}

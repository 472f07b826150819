//! Seeded 64-bit key hashes. The seed is random per process, so that a client cannot prepare colliding keys.

use rapidhash::v3::{RapidSecrets, rapidhash_v3_seeded};

/// The hash of a key under the process' seed.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct KeyHash(pub u64);

/// Hashes keys under one seed.
#[derive(Clone, Debug)]
pub struct KeyHasher {
    secrets: RapidSecrets,
}

impl KeyHasher {
    /// A hasher for `seed`; give each process another one.
    pub fn new(seed: u64) -> Self {
        Self { secrets: RapidSecrets::seed(seed) }
    }

    /// A hasher with a seed taken from the standard library's random state.
    pub fn random() -> Self {
        use std::hash::{BuildHasher, Hasher};
        if cfg!(all(test, feature = "shuttle")) {
            // A model's seed has to repeat it.
            return Self::new(1);
        }
        Self::new(std::collections::hash_map::RandomState::new().build_hasher().finish())
    }

    /// The hash of `key`.
    #[inline(always)]
    pub fn hash(&self, key: &[u8]) -> KeyHash {
        KeyHash(rapidhash_v3_seeded(key, &self.secrets))
    }
}

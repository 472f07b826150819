//! Which keys are asked for most, from a node's own log of fetches (`watch fetchers`).
//!
//! The node writes a line for each fetch and drops lines when we are slow, so this is a sample; being watched costs it
//! something, so nothing is watched unless somebody looks. Memory is bounded by counting a few candidates only, by the
//! space-saving method: a new key takes the place of the rarest and inherits its count, so that a key that makes up more
//! than 1 in [`CANDIDATES`] of the fetches is never missed and counts are never too low.

use std::collections::HashMap;

use super::text::uri_decode;

/// Counts of the keys that are fetched most.
#[derive(Clone, Default, Debug)]
pub struct HotKeys {
    /// Key to how often it was seen, at most that. `counts.len() <= CANDIDATES`.
    counts: HashMap<Vec<u8>, u64>,
    /// Fetches seen.
    total: u64,
}

impl HotKeys {
    /// Takes a line of the log; what is no fetch is passed over.
    pub fn push_line(&mut self, line: &[u8]) {
        let mut words = line.split(|byte| *byte == b' ');
        if words.clone().any(|word| word == b"type=item_get")
            && let Some(key) = words.find_map(|word| word.strip_prefix(b"key="))
        {
            self.add(uri_decode(key));
        }
    }

    /// Forgets half of what was seen, so that what is hot now comes to the top.
    pub fn fade(&mut self) {
        self.total /= 2;
        self.counts.retain(|_, count| {
            *count /= 2;
            *count > 0
        });
    }

    /// The keys seen most, with their share of all fetches.
    pub fn top(&self, count: usize) -> Vec<(Vec<u8>, f64)> {
        let mut keys: Vec<(&Vec<u8>, u64)> = self.counts.iter().map(|(key, count)| (key, *count)).collect();
        keys.sort_by(|one, two| two.1.cmp(&one.1).then_with(|| one.0.cmp(two.0)));
        let share = |seen: u64| (seen as f64 / self.total.max(1) as f64).min(1.0);
        keys.into_iter().take(count).map(|(key, seen)| (key.clone(), share(seen))).collect()
    }

    fn add(&mut self, key: Vec<u8>) {
        self.total += 1;
        if let Some(count) = self.counts.get_mut(&key) {
            *count += 1;
            return;
        }
        let mut inherited = 0;
        if self.counts.len() == CANDIDATES
            && let Some((rarest, count)) = self.counts.iter().min_by_key(|(_, count)| **count)
        {
            inherited = *count;
            let rarest = rarest.clone();
            self.counts.remove(&rarest);
        }
        self.counts.insert(key, inherited + 1);
    }
}

/// Keys that are counted at a time.
pub const CANDIDATES: usize = 256;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_of_the_log_are_read() {
        let mut keys = HotKeys::default();
        for line in [
            "ts=1.0 gid=2 type=item_get key=a%25b status=found clsid=1 cfd=28 size=3",
            "ts=1.0 gid=3 type=item_get key=a%25b status=not_found clsid=0 cfd=28 size=0",
            "ts=1.0 gid=4 type=item_store key=c status=stored",
            "skipped=17",
            "",
        ] {
            keys.push_line(line.as_bytes());
        }
        assert_eq!(keys.top(9), [(b"a%b".to_vec(), 1.0)]);
    }

    #[test]
    fn hot_keys_are_found_among_many() {
        let mut keys = HotKeys::default();
        for number in 0..100_000u32 {
            let key = match number % 10 {
                0 => b"hot".to_vec(),
                1 if number % 20 == 1 => b"warm".to_vec(),
                _ => format!("cold:{number}").into_bytes(),
            };
            keys.add(key);
            assert!(keys.counts.len() <= CANDIDATES);
        }
        let names: Vec<Vec<u8>> = keys.top(2).into_iter().map(|(key, _)| key).collect();
        assert_eq!(names, [b"hot".to_vec(), b"warm".to_vec()]);
        assert!(keys.top(1)[0].1 >= 0.1);
    }

    #[test]
    fn what_was_hot_fades() {
        let mut keys = HotKeys::default();
        for _ in 0..100 {
            keys.add(b"old".to_vec());
        }
        for _ in 0..10 {
            keys.fade();
        }
        assert_eq!(keys.top(1), []);
        keys.add(b"new".to_vec());
        assert_eq!(keys.top(1), [(b"new".to_vec(), 1.0)]);
    }
}

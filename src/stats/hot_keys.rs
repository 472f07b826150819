//! A sketch of the keys that are asked for most: space-saving over a bounded number of places.
//!
//! A key that is not in the table takes the place of the lightest one and inherits its weight, so that the order of
//! places is right for keys that are hot enough, however many others there are. What is shown of a key is less than that:
//! only the weight that came while it held its place, which is never more than the truth, and only after a few samples.
//!
//! Weights fade by half in [`HALF_LIFE_SECONDS`], so the table is about the present; [`HotKeys::fade`] is called once a
//! second.

use std::collections::HashMap;
use std::ops::Deref;

use crate::base::hash::KeyHasher;

/// Places of a table. With more of them colder keys are seen: a key is found for certain when its share of the requests is
/// above one in so many.
pub const PLACES: usize = 256;

/// How long until an old request counts half.
pub const HALF_LIFE_SECONDS: f64 = 30.0;

/// Samples before a key is shown.
const SAMPLES_MIN: f64 = 3.0;

/// One worker's table.
#[derive(Debug)]
pub struct HotKeys {
    hasher: KeyHasher,
    /// Hash of the key in each place.
    hashes: Vec<u64>,
    /// places.len() == hashes.len() <= PLACES
    places: Vec<Place>,
    /// Weight of all keys.
    total: f64,
    /// What a steady weight of 1 per second would have come to.
    steady: f64,
}

#[derive(Debug)]
struct Place {
    key: Vec<u8>,
    /// With what was inherited.
    weight: f64,
    /// What came since the key has this place.
    seen: f64,
    samples: f64,
}

/// A key and how often it is asked for.
#[derive(Clone, PartialEq, Debug)]
pub struct HotKey {
    /// The key.
    pub key: Vec<u8>,
    /// Requests per second, or a little less than that.
    pub per_second: f64,
    /// Its share of all keys asked for, 0 to 1.
    pub share: f64,
}

impl Default for HotKeys {
    fn default() -> Self {
        Self { hasher: KeyHasher::random(), hashes: Vec::new(), places: Vec::new(), total: 0.0, steady: 0.0 }
    }
}

impl HotKeys {
    /// Adds a sample of a key that stands for `weight` requests.
    pub fn record(&mut self, key: &[u8], weight: u64) {
        let weight = weight as f64;
        let hash = self.hasher.hash(key).0;
        self.total += weight;
        if let Some(index) = self.hashes.iter().position(|&other| other == hash) {
            let place = &mut self.places[index];
            place.weight += weight;
            place.seen += weight;
            place.samples += 1.0;
        } else if self.places.len() < PLACES {
            self.hashes.push(hash);
            self.places.push(Place { key: key.to_vec(), weight, seen: weight, samples: 1.0 });
        } else if let Some(index) = self.lightest() {
            self.hashes[index] = hash;
            let place = &mut self.places[index];
            place.key.clear();
            place.key.extend_from_slice(key);
            place.weight += weight;
            place.seen = weight;
            place.samples = 1.0;
        }
    }

    fn lightest(&self) -> Option<usize> {
        let weights = self.places.iter().map(|place| place.weight).enumerate();
        weights.min_by(|(_, one), (_, other)| one.total_cmp(other)).map(|(index, _)| index)
    }

    /// Lets a second pass.
    pub fn fade(&mut self) {
        let factor = 0.5f64.powf(1.0 / HALF_LIFE_SECONDS);
        self.total *= factor;
        self.steady = self.steady * factor + 1.0;
        for place in &mut self.places {
            place.weight *= factor;
            place.seen *= factor;
            place.samples *= factor;
        }
    }
}

/// The hottest keys of several workers' tables, hottest first, at most `count`.
pub fn hottest<T>(tables: impl Iterator<Item = T>, count: usize) -> Vec<HotKey>
where
    T: Deref<Target = HotKeys>,
{
    let mut keys: HashMap<Vec<u8>, (f64, f64)> = HashMap::new();
    let (mut total, mut steady) = (0.0f64, 0.0f64);
    for table in tables {
        total += table.total;
        steady = steady.max(table.steady);
        for place in &table.places {
            let sum = keys.entry(place.key.clone()).or_default();
            sum.0 += place.seen;
            sum.1 += place.samples;
        }
    }
    let steady = steady.max(1.0);
    let mut hot: Vec<HotKey> = keys
        .into_iter()
        .filter(|(_, (_, samples))| *samples >= SAMPLES_MIN)
        .map(|(key, (seen, _))| HotKey { key, per_second: seen / steady, share: seen / total })
        .collect();
    hot.sort_by(|one, other| other.per_second.total_cmp(&one.per_second).then_with(|| one.key.cmp(&other.key)));
    hot.truncate(count);
    hot
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(tables: &[&HotKeys], count: usize) -> Vec<(String, f64)> {
        let keys = hottest(tables.iter().copied(), count);
        keys.iter().map(|hot| (String::from_utf8(hot.key.clone()).unwrap(), hot.share)).collect()
    }

    #[test]
    fn hot_keys_are_found_among_many_cold_ones() {
        let mut table = HotKeys::default();
        // A fifth of the requests go to one key, a twentieth to another, the rest to keys of their own.
        for round in 0..10_000u32 {
            match round % 20 {
                0..4 => table.record(b"hot", 10),
                4 => table.record(b"warm", 10),
                _ => table.record(format!("cold{round}").as_bytes(), 10),
            }
        }
        let found = shown(&[&table], 16);
        assert_eq!(found.len(), 2, "{found:?}");
        assert_eq!((found[0].0.as_str(), found[1].0.as_str()), ("hot", "warm"));
        assert!((0.19..=0.2).contains(&found[0].1) && (0.04..=0.05).contains(&found[1].1), "{found:?}");
    }

    #[test]
    fn nothing_is_hot_when_all_are_alike() {
        let mut table = HotKeys::default();
        for round in 0..100_000u32 {
            table.record(format!("key{}", round % 10_000).as_bytes(), 1);
        }
        assert_eq!(shown(&[&table], 16), []);
    }

    #[test]
    fn the_past_fades() {
        let mut table = HotKeys::default();
        for _ in 0..300 {
            for _ in 0..100 {
                table.record(b"first", 7);
            }
            table.fade();
        }
        let steady = hottest([&table].into_iter(), 1)[0].per_second;
        assert!((650.0..=700.0).contains(&steady), "{steady}");
        for _ in 0..60 {
            for _ in 0..100 {
                table.record(b"second", 7);
            }
            table.fade();
        }
        let found = shown(&[&table], 1);
        assert_eq!(found[0].0, "second");
        assert!((0.7..0.8).contains(&found[0].1), "{found:?}");
        for _ in 0..600 {
            table.fade();
        }
        assert_eq!(shown(&[&table], 16), [], "an idle server has no hot keys");
    }

    #[test]
    fn tables_of_workers_are_added_up() {
        let (mut one, mut other) = (HotKeys::default(), HotKeys::default());
        for _ in 0..2 {
            one.record(b"shared", 1);
            other.record(b"shared", 1);
            one.record(b"own", 1);
        }
        assert_eq!(shown(&[&one, &other], 16), [("shared".to_owned(), 4.0 / 6.0)]);
        assert_eq!(shown(&[&one, &other], 0), []);
        assert_eq!(shown(&[], 16), []);
    }
}

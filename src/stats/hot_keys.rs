//! A sketch of the keys that are asked for most: space-saving over a bounded number of places.
//!
//! A key that is not in the table takes the place of the lightest one and inherits its weight, so that the order of
//! places is right for keys that are hot enough, however many others there are. What is shown of a key is less than that:
//! only the weight that came while it held its place, which is never more than the truth, and only after a few samples.
//!
//! Weights fade by half in [`HALF_LIFE_SECONDS`], so the table is about the present; [`HotKeys::fade`] is called once a
//! second.
//!
//! A key is found by its hash, and the lightest place at the root of a heap, so that a sample costs the same however many
//! places there are. Fading changes all weights alike and leaves the heap in order.

use std::collections::{HashMap, TryReserveError};
use std::hash::{BuildHasherDefault, Hasher};
use std::ops::Deref;

use crate::base::hash::KeyHasher;

/// Places of a table. With more of them colder keys are seen: a key is found for certain when its share of the requests is
/// above one in so many.
pub const PLACES_MAX: usize = 256;

/// How long until an old request counts half.
pub const HALF_LIFE_SECONDS: f64 = 30.0;

/// Samples before a key is shown.
const SAMPLES_MIN: f64 = 3.0;

/// One worker's table.
#[derive(Debug)]
pub struct HotKeys {
    hasher: KeyHasher,
    /// The place of each key, by its hash. indices.len() == places.len()
    indices: HashMap<u64, usize, BuildHasherDefault<AsItIs>>,
    /// places.len() <= PLACES_MAX
    places: Vec<Place>,
    /// Indices of places; none is lighter than its parent, at (rank - 1) / 2. heap.len() == places.len()
    heap: Vec<usize>,
    /// Weight of all keys.
    total: f64,
    /// What a steady weight of 1 per second would have come to.
    steady: f64,
}

#[derive(Debug)]
struct Place {
    hash: u64,
    key: Vec<u8>,
    /// With what was inherited.
    weight: f64,
    /// What came since the key has this place.
    seen: f64,
    samples: f64,
    /// Where in the heap. heap[places[index].rank] == index
    rank: usize,
}

/// Takes a hash for its hash.
#[derive(Default, Debug)]
struct AsItIs(u64);

impl Hasher for AsItIs {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write_u64(&mut self, hash: u64) {
        self.0 = hash;
    }

    fn write(&mut self, bytes: &[u8]) {
        bytes.iter().for_each(|&byte| self.0 = self.0.rotate_left(8) ^ u64::from(byte));
    }
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
        Self {
            hasher: KeyHasher::random(),
            indices: HashMap::default(),
            places: Vec::new(),
            heap: Vec::new(),
            total: 0.0,
            steady: 0.0,
        }
    }
}

impl HotKeys {
    /// Adds a sample of a key that stands for `weight` requests.
    pub fn record(&mut self, key: &[u8], weight: u64) {
        let weight = weight as f64;
        let hash = self.hasher.hash(key).0;
        self.total += weight;
        if let Some(&index) = self.indices.get(&hash) {
            let place = &mut self.places[index];
            place.weight += weight;
            place.seen += weight;
            place.samples += 1.0;
            self.sink(index);
        } else if self.places.len() < PLACES_MAX {
            let index = self.places.len();
            self.indices.insert(hash, index);
            self.heap.push(index);
            self.places.push(Place { hash, key: key.to_vec(), weight, seen: weight, samples: 1.0, rank: index });
            self.rise(index);
        } else if let Some(&index) = self.heap.first() {
            self.indices.remove(&self.places[index].hash);
            self.indices.insert(hash, index);
            let place = &mut self.places[index];
            place.hash = hash;
            place.key.clear();
            place.key.extend_from_slice(key);
            place.weight += weight;
            place.seen = weight;
            place.samples = 1.0;
            self.sink(index);
        }
    }

    /// Moves a place that became heavier away from the root.
    fn sink(&mut self, index: usize) {
        loop {
            let rank = self.places[index].rank;
            let below = [2 * rank + 1, 2 * rank + 2].into_iter().filter_map(|child| self.heap.get(child).copied());
            let lightest = below.min_by(|&one, &other| self.weight(one).total_cmp(&self.weight(other)));
            match lightest {
                Some(child) if self.weight(child) < self.weight(index) => self.swap(index, child),
                _ => return,
            }
        }
    }

    /// Moves a new place towards the root.
    fn rise(&mut self, index: usize) {
        while self.places[index].rank > 0 {
            let parent = self.heap[(self.places[index].rank - 1) / 2];
            if self.weight(parent) <= self.weight(index) {
                return;
            }
            self.swap(index, parent);
        }
    }

    fn weight(&self, index: usize) -> f64 {
        self.places[index].weight
    }

    fn swap(&mut self, one: usize, other: usize) {
        let (rank, other_rank) = (self.places[one].rank, self.places[other].rank);
        self.heap.swap(rank, other_rank);
        self.places[one].rank = other_rank;
        self.places[other].rank = rank;
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

/// The hottest keys of several workers' tables, hottest first, at most `count`. The error is that there is no memory to put
/// the tables together.
pub fn hottest<T>(tables: impl Iterator<Item = T>, count: usize) -> Result<Vec<HotKey>, TryReserveError>
where
    T: Deref<Target = HotKeys>,
{
    let mut keys: HashMap<Vec<u8>, (f64, f64)> = HashMap::new();
    let (mut total, mut steady) = (0.0f64, 0.0f64);
    for table in tables {
        total += table.total;
        steady = steady.max(table.steady);
        keys.try_reserve(table.places.len())?;
        for place in &table.places {
            let sum = keys.entry(place.key.clone()).or_default();
            sum.0 += place.seen;
            sum.1 += place.samples;
        }
    }
    let steady = steady.max(1.0);
    let mut hot = Vec::new();
    hot.try_reserve(keys.len())?;
    let of_all = keys.into_iter().filter(|(_, (_, samples))| *samples >= SAMPLES_MIN).map(|(key, (seen, _))| HotKey {
        key,
        per_second: seen / steady,
        share: seen / total,
    });
    hot.extend(of_all);
    hot.sort_by(|one, other| other.per_second.total_cmp(&one.per_second).then_with(|| one.key.cmp(&other.key)));
    hot.truncate(count);
    Ok(hot)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(tables: &[&HotKeys], count: usize) -> Vec<(String, f64)> {
        let keys = hottest(tables.iter().copied(), count).expect("memory");
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

    /// Heap and index against scans of all places, which is what they stand for.
    #[test]
    fn the_lightest_place_is_the_one_that_goes() {
        let mut table = HotKeys::default();
        let mut state = 11u64;
        for round in 0..20_000u32 {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            let number = (state >> 33) % 600;
            let key = format!("key{}", number * number / 600);
            let hash = table.hasher.hash(key.as_bytes()).0;
            let is_there = table.places.iter().any(|place| place.hash == hash);
            let lightest = table.places.iter().map(|place| place.weight).min_by(f64::total_cmp);
            let is_full = table.places.len() == PLACES_MAX;
            let weight = 1 + (state >> 20) % 50;
            table.record(key.as_bytes(), weight);
            let place = table.places.iter().find(|place| place.hash == hash).expect("it has a place");
            assert_eq!(place.key, key.as_bytes());
            if is_full && !is_there {
                assert_eq!(place.weight, lightest.expect("a full table") + weight as f64);
            }
            if round % 100 == 0 {
                table.fade();
            }
            assert_eq!((table.indices.len(), table.heap.len()), (table.places.len(), table.places.len()));
            for (index, place) in table.places.iter().enumerate() {
                assert_eq!((table.heap[place.rank], table.indices[&place.hash]), (index, index));
                assert!(place.weight >= table.places[table.heap[place.rank.saturating_sub(1) / 2]].weight);
            }
        }
        assert_eq!(table.places.len(), PLACES_MAX);
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
        let steady = hottest([&table].into_iter(), 1).expect("memory")[0].per_second;
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

//! Counts per key prefix from samples: always on where requests are sampled, for as many clients as there are, in a bounded
//! table. Those of `stats detail` ([`super::prefix`]) are exact, and too dear to be left on.
//!
//! A sample stands for all requests that were passed over to take it, so counts are estimates of all requests. They fall
//! into three: those of a prefix that is shown, those of all other prefixes together, and those of keys without a prefix.
//!
//! ```text
//!   new prefix --> a place that is free, or one whose holder was challenged once too often
//!                    |  its first samples count among the others
//!                    v
//!                  shown under its name, from now on counted there
//! ```
//! A prefix without a place challenges one holder, the next one in turn: that loses as much weight as the newcomer brings,
//! and its place when it has none left. So a prefix with more than one in [`PREFIXES_MAX`] of the requests keeps its place,
//! and where each client has a prefix of its own none is shown, which keeps Prometheus' labels few. Weights fade by half in
//! [`HALF_LIFE_SECONDS`]. What was counted for a prefix goes with its place: it begins at zero should it come back.

use crate::base::hash::KeyHasher;

/// Places, and so the most prefixes that are shown.
pub const PREFIXES_MAX: usize = 100;

/// How long until an old request counts half for keeping a place.
pub const HALF_LIFE_SECONDS: f64 = 300.0;

/// Samples of a prefix before it is shown.
pub const SAMPLES_BEFORE: u32 = 8;

/// What a request did with a key.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum PrefixUse {
    /// A get, gat or the like.
    Get {
        /// The key was found.
        is_hit: bool,
    },
    /// A storage command.
    Set {
        /// The size of the value.
        value_bytes: usize,
    },
    /// A delete.
    Delete,
    /// Anything else.
    Other,
}

/// Estimated requests.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct PrefixCounts {
    /// Keys looked up.
    pub gets: u64,
    /// Keys found.
    pub hits: u64,
    /// Storage commands.
    pub sets: u64,
    /// Bytes of the values of these.
    pub stored_bytes: u64,
    /// Deletes.
    pub deletes: u64,
}

impl PrefixCounts {
    fn add(&mut self, usage: PrefixUse, weight: u64) {
        match usage {
            PrefixUse::Get { is_hit } => {
                self.gets += weight;
                self.hits += if is_hit { weight } else { 0 };
            }
            PrefixUse::Set { value_bytes } => {
                self.sets += weight;
                self.stored_bytes = self.stored_bytes.wrapping_add(weight.saturating_mul(value_bytes as u64));
            }
            PrefixUse::Delete => self.deletes += weight,
            PrefixUse::Other => {}
        }
    }
}

/// The table; see the module comment.
#[derive(Debug)]
pub struct SampledPrefixes {
    hasher: KeyHasher,
    /// Hash of the prefix in each place.
    hashes: Vec<u64>,
    /// places.len() == hashes.len() <= PREFIXES_MAX
    places: Vec<Place>,
    /// The place that the next newcomer challenges, modulo their number.
    challenged: usize,
    others: PrefixCounts,
    without: PrefixCounts,
}

#[derive(Debug)]
struct Place {
    prefix: Vec<u8>,
    weight: f64,
    samples: u32,
    counts: PrefixCounts,
}

/// What is shown.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct SampledRows {
    /// Prefixes without their delimiter, the busiest first.
    pub rows: Vec<(Vec<u8>, PrefixCounts)>,
    /// All other prefixes together.
    pub others: PrefixCounts,
    /// Keys without a prefix.
    pub without: PrefixCounts,
}

impl Default for SampledPrefixes {
    fn default() -> Self {
        Self {
            hasher: KeyHasher::random(),
            hashes: Vec::new(),
            places: Vec::new(),
            challenged: 0,
            others: PrefixCounts::default(),
            without: PrefixCounts::default(),
        }
    }
}

impl SampledPrefixes {
    /// Adds a sample of a key with this prefix that stands for `weight` requests.
    pub fn record(&mut self, prefix: Option<&[u8]>, usage: PrefixUse, weight: u64) {
        let Some(prefix) = prefix else {
            self.without.add(usage, weight);
            return;
        };
        let hash = self.hasher.hash(prefix).0;
        let place = self.hashes.iter().position(|&other| other == hash).and_then(|index| self.places.get_mut(index));
        match place {
            Some(place) => {
                place.weight += weight as f64;
                place.samples = place.samples.saturating_add(1);
                let counts = if place.samples > SAMPLES_BEFORE { &mut place.counts } else { &mut self.others };
                counts.add(usage, weight);
            }
            None => {
                self.others.add(usage, weight);
                self.challenge(prefix, hash, weight as f64);
            }
        }
    }

    /// A prefix without a place tries to get one.
    fn challenge(&mut self, prefix: &[u8], hash: u64, weight: f64) {
        if self.places.len() < PREFIXES_MAX {
            self.hashes.push(hash);
            self.places.push(Place { prefix: prefix.to_vec(), weight, samples: 1, counts: PrefixCounts::default() });
            return;
        }
        let index = self.challenged % PREFIXES_MAX;
        self.challenged = index + 1;
        let place = &mut self.places[index];
        place.weight -= weight;
        if place.weight < 0.0 {
            place.prefix.clear();
            place.prefix.extend_from_slice(prefix);
            place.weight = weight;
            place.samples = 1;
            place.counts = PrefixCounts::default();
            self.hashes[index] = hash;
        }
    }

    /// Lets a second pass.
    pub fn fade(&mut self) {
        let factor = 0.5f64.powf(1.0 / HALF_LIFE_SECONDS);
        self.places.iter_mut().for_each(|place| place.weight *= factor);
    }

    /// All that is shown.
    pub fn rows(&self) -> SampledRows {
        let shown = self.places.iter().filter(|place| place.samples > SAMPLES_BEFORE);
        let mut rows: Vec<_> = shown.map(|place| (place.prefix.clone(), place.counts)).collect();
        let requests = |counts: &PrefixCounts| counts.gets + counts.sets + counts.deletes;
        rows.sort_by(|one, other| requests(&other.1).cmp(&requests(&one.1)).then_with(|| one.0.cmp(&other.0)));
        SampledRows { rows, others: self.others, without: self.without }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HIT: PrefixUse = PrefixUse::Get { is_hit: true };

    fn names(rows: &SampledRows) -> Vec<&str> {
        rows.rows.iter().map(|(prefix, _)| std::str::from_utf8(prefix).unwrap()).collect()
    }

    fn all_gets(rows: &SampledRows) -> u64 {
        rows.rows.iter().map(|(_, counts)| counts.gets).sum::<u64>() + rows.others.gets + rows.without.gets
    }

    #[test]
    fn a_prefix_is_shown_after_some_samples_and_nothing_is_lost() {
        let mut table = SampledPrefixes::default();
        for _ in 0..SAMPLES_BEFORE {
            table.record(Some(b"user"), HIT, 3);
        }
        let rows = table.rows();
        assert_eq!((rows.rows.len(), rows.others.gets, rows.others.hits), (0, 24, 24));
        table.record(Some(b"user"), PrefixUse::Get { is_hit: false }, 3);
        table.record(Some(b"user"), PrefixUse::Set { value_bytes: 10 }, 2);
        table.record(Some(b"user"), PrefixUse::Delete, 5);
        table.record(Some(b"user"), PrefixUse::Other, 5);
        table.record(None, HIT, 7);
        let rows = table.rows();
        let counts = PrefixCounts { gets: 3, hits: 0, sets: 2, stored_bytes: 20, deletes: 5 };
        assert_eq!(rows.rows, [(b"user".to_vec(), counts)]);
        assert_eq!((rows.without.gets, rows.without.hits, all_gets(&rows)), (7, 7, 34));
    }

    /// A prefix for each client would otherwise be a label for each client.
    #[test]
    fn where_each_client_has_a_prefix_none_is_shown() {
        let mut table = SampledPrefixes::default();
        for client in 0..200_000u32 {
            table.record(Some(format!("client{}", client.wrapping_mul(2_654_435_761) % 100_000).as_bytes()), HIT, 64);
        }
        let rows = table.rows();
        assert_eq!(names(&rows), [""; 0]);
        assert_eq!(rows.others.gets, 200_000 * 64);
        assert_eq!(table.places.len(), PREFIXES_MAX);
    }

    #[test]
    fn busy_prefixes_are_shown_among_many_rare_ones() {
        let mut table = SampledPrefixes::default();
        // The rare ones were there first and have all the places.
        for round in 0..100_000u32 {
            match round % 20 {
                _ if round < 200 => table.record(Some(format!("rare{round}").as_bytes()), HIT, 64),
                0..4 => table.record(Some(b"busy"), HIT, 64),
                4 => table.record(Some(b"warm"), HIT, 64),
                _ => table.record(Some(format!("rare{round}").as_bytes()), HIT, 64),
            }
        }
        let rows = table.rows();
        assert_eq!(names(&rows), ["busy", "warm"]);
        assert_eq!(all_gets(&rows), 6_400_000);
        let share = |index: usize| rows.rows[index].1.gets as f64 / 6_400_000.0;
        assert!((0.19..=0.2).contains(&share(0)) && (0.04..=0.05).contains(&share(1)), "{} {}", share(0), share(1));
    }

    #[test]
    fn who_was_busy_goes_in_the_end() {
        let mut table = SampledPrefixes::default();
        (0..50_000).for_each(|_| table.record(Some(b"past"), HIT, 1000));
        for second in 0..3600u32 {
            for number in 0..200 {
                table.record(Some(format!("p{second}-{number}").as_bytes()), HIT, 1000);
            }
            table.fade();
        }
        assert_eq!(names(&table.rows()), [""; 0]);
    }
}

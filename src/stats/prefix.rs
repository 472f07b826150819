//! Counts per key prefix (`stats detail`): the part of a key before the first delimiter.
//!
//! Collecting is off unless asked for; then recording costs one relaxed load. While it is on, all workers share one
//! lock, as in memcached: the table is for finding out, not for production loads. It holds a bounded number of
//! prefixes; later ones are not counted.
//!
//! Beside it are the counts from samples ([`SampledPrefixes`]), which are on wherever requests are sampled; a few hundred
//! times a second a worker takes their lock.

use std::collections::{HashMap, TryReserveError};
use std::io::Write;

use crate::base::sync::{AtomicBool, Mutex, Ordering};

use super::sampled_prefixes::{PrefixUse, SampledPrefixes, SampledRows};

/// Most prefixes counted (memcached's `MAX_PREFIX_COUNT`).
pub const PREFIXES_MAX: usize = 65536;

/// Bytes of a line of the dump beside its prefix, at most: words and four numbers of up to twenty digits.
const COUNTS_BYTES: usize = 112;

/// The table of prefixes.
#[derive(Debug)]
pub struct PrefixTable {
    delimiter: u8,
    is_enabled: AtomicBool,
    /// `prefixes.len() <= PREFIXES_MAX`
    prefixes: Mutex<HashMap<Box<[u8]>, Counts>>,
    sampled: Mutex<SampledPrefixes>,
}

/// A prefix and what was counted for its keys.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct PrefixRow {
    /// The prefix, without its delimiter.
    pub prefix: Vec<u8>,
    /// Keys looked up.
    pub gets: u64,
    /// Keys found.
    pub hits: u64,
    /// Storage commands.
    pub sets: u64,
    /// Deletes.
    pub deletes: u64,
}

#[derive(Clone, Copy, Default, Debug)]
struct Counts {
    gets: u64,
    hits: u64,
    sets: u64,
    deletes: u64,
}

impl PrefixTable {
    /// An empty table.
    pub fn new(delimiter: u8, is_enabled: bool) -> Self {
        Self {
            delimiter,
            is_enabled: AtomicBool::new(is_enabled),
            prefixes: Mutex::default(),
            sampled: Mutex::default(),
        }
    }

    /// Whether counts are collected.
    #[inline]
    pub fn is_enabled(&self) -> bool {
        self.is_enabled.load(Ordering::Relaxed)
    }

    /// Starts or stops collecting; what was collected stays.
    pub fn set_enabled(&self, is_enabled: bool) {
        self.is_enabled.store(is_enabled, Ordering::Relaxed);
    }

    /// Counts a get, gat or the like. Does nothing while collecting is off.
    #[inline]
    pub fn record_get(&self, key: &[u8], is_hit: bool) {
        if self.is_enabled() {
            self.record(key, |counts| {
                counts.gets += 1;
                counts.hits += u64::from(is_hit);
            });
        }
    }

    /// Counts a storage command. Does nothing while collecting is off.
    #[inline]
    pub fn record_set(&self, key: &[u8]) {
        if self.is_enabled() {
            self.record(key, |counts| counts.sets += 1);
        }
    }

    /// Counts a delete. Does nothing while collecting is off.
    #[inline]
    pub fn record_delete(&self, key: &[u8]) {
        if self.is_enabled() {
            self.record(key, |counts| counts.deletes += 1);
        }
    }

    #[cold]
    fn record(&self, key: &[u8], count: impl FnOnce(&mut Counts)) {
        let Some(prefix) = self.prefix_of(key) else {
            return;
        };
        let mut prefixes = self.prefixes.lock();
        if let Some(counts) = prefixes.get_mut(prefix) {
            count(counts);
        } else if prefixes.len() < PREFIXES_MAX && prefixes.try_reserve(1).is_ok() {
            count(prefixes.entry(prefix.into()).or_default());
        }
    }

    /// The part before the first delimiter. As in memcached a key with a NUL before the delimiter has none.
    fn prefix_of<'a>(&self, key: &'a [u8]) -> Option<&'a [u8]> {
        let end = key.iter().position(|&byte| byte == self.delimiter || byte == 0)?;
        let (prefix, rest) = key.split_at(end);
        (rest.first() == Some(&self.delimiter)).then_some(prefix)
    }

    /// Appends one `PREFIX` line per prefix, in no order, and `END`; nothing when there is no memory for all of it.
    pub fn dump(&self, out: &mut Vec<u8>) -> Result<(), TryReserveError> {
        let prefixes = self.prefixes.lock();
        let bytes: usize = prefixes.keys().map(|prefix| prefix.len() + COUNTS_BYTES).sum();
        out.try_reserve(bytes + b"END\r\n".len())?;
        for (prefix, counts) in &*prefixes {
            out.extend_from_slice(b"PREFIX ");
            out.extend_from_slice(prefix);
            // Writing to a vector does not fail.
            let _ =
                write!(out, " get {} hit {} set {} del {}\r\n", counts.gets, counts.hits, counts.sets, counts.deletes);
        }
        out.extend_from_slice(b"END\r\n");
        Ok(())
    }

    /// The `count` prefixes with the most commands, the busiest first.
    pub fn busiest(&self, count: usize) -> Vec<PrefixRow> {
        let prefixes = self.prefixes.lock();
        let commands = |counts: &Counts| counts.gets + counts.sets + counts.deletes;
        // The busiest so far, in order: no list of all is made.
        let mut rows: Vec<(&[u8], &Counts)> = Vec::new();
        for row in prefixes.iter().map(|(prefix, counts)| (&**prefix, counts)) {
            let is_busier = |other: &(&[u8], &Counts)| {
                commands(other.1).cmp(&commands(row.1)).then_with(|| row.0.cmp(other.0)).is_gt()
            };
            let place = rows.partition_point(is_busier);
            if place < count {
                rows.truncate(count - 1);
                rows.insert(place, row);
            }
        }
        rows.into_iter()
            .map(|(prefix, counts)| PrefixRow {
                prefix: prefix.to_vec(),
                gets: counts.gets,
                hits: counts.hits,
                sets: counts.sets,
                deletes: counts.deletes,
            })
            .collect()
    }

    /// Counts a sample of a key that stands for `weight` requests, whether collecting is on or off.
    pub fn record_sample(&self, key: &[u8], usage: PrefixUse, weight: u64) {
        self.sampled.lock().record(self.prefix_of(key), usage, weight);
    }

    /// What was counted from samples.
    pub fn sampled(&self) -> SampledRows {
        self.sampled.lock().rows()
    }

    /// Lets a second pass for these.
    pub fn fade_sampled(&self) {
        self.sampled.lock().fade();
    }

    /// The byte that ends a prefix.
    pub fn delimiter(&self) -> u8 {
        self.delimiter
    }

    /// Forgets all prefixes (`stats reset`).
    pub fn reset(&self) {
        *self.prefixes.lock() = HashMap::new();
    }
}

impl Default for PrefixTable {
    fn default() -> Self {
        Self::new(b':', false)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn dump(table: &PrefixTable) -> String {
        let mut out = Vec::new();
        table.dump(&mut out).unwrap();
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn counts_follow_the_commands() {
        let table = PrefixTable::new(b':', true);
        assert_eq!(dump(&table), "END\r\n");
        table.record_set(b"foo:1");
        table.record_get(b"foo:1", true);
        table.record_get(b"foo:2:3", false);
        table.record_delete(b"foo:");
        assert_eq!(dump(&table), "PREFIX foo get 2 hit 1 set 1 del 1\r\nEND\r\n");
        table.set_enabled(false);
        table.record_get(b"foo:1", true);
        assert_eq!(dump(&table), "PREFIX foo get 2 hit 1 set 1 del 1\r\nEND\r\n");
        table.reset();
        assert_eq!(dump(&table), "END\r\n");
    }

    #[test]
    fn the_busiest_come_first() {
        let table = PrefixTable::new(b'/', true);
        for (key, count) in [("b/1", 2), ("a/1", 2), ("c/1", 3), ("none", 9)] {
            for _ in 0..count {
                table.record_get(key.as_bytes(), true);
            }
        }
        table.record_delete(b"c/2");
        let rows = table.busiest(2);
        assert_eq!(rows[0], PrefixRow { prefix: b"c".to_vec(), gets: 3, hits: 3, sets: 0, deletes: 1 });
        assert_eq!((rows.len(), &rows[1].prefix[..], table.delimiter()), (2, &b"a"[..], b'/'));
    }

    #[test]
    fn samples_are_counted_apart() {
        let table = PrefixTable::new(b'/', false);
        for _ in 0..20 {
            table.record_sample(b"a:b/c", PrefixUse::Delete, 2);
            table.record_sample(b"a:b", PrefixUse::Delete, 2);
        }
        table.reset();
        let rows = table.sampled();
        assert_eq!((rows.rows.len(), &rows.rows[0].0[..], rows.without.deletes), (1, &b"a:b"[..], 40));
        assert_eq!(dump(&table), "END\r\n");
    }

    #[track_caller]
    fn check(key: &[u8], expected: Option<&[u8]>) {
        assert_eq!(PrefixTable::default().prefix_of(key), expected);
    }

    #[test]
    fn prefixes_end_at_the_first_delimiter() {
        check(b"a:b", Some(b"a"));
        check(b"a:b:c", Some(b"a"));
        check(b":b", Some(b""));
        check(b"ab", None);
        check(b"", None);
        check(b"a\0:b", None);
        assert_eq!(PrefixTable::new(b'/', true).prefix_of(b"a:b/c"), Some(&b"a:b"[..]));
    }

    #[test]
    fn the_number_of_prefixes_is_limited() {
        let table = PrefixTable::new(b':', true);
        for number in 0..PREFIXES_MAX + 10 {
            table.record_set(format!("{number}:").as_bytes());
        }
        table.record_set(b"0:");
        let text = dump(&table);
        assert_eq!(text.lines().count(), PREFIXES_MAX + 1);
        assert!(text.contains("PREFIX 0 get 0 hit 0 set 2 del 0\r\n"));
    }
}

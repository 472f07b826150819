//! What is replayed: the traces, their items and the memory for a share of the footprint.
//!
//! The footprint is the sum of the bytes of key and value over the distinct keys. The traces are small, so a trace is
//! replayed in so many copies that the share in question is about `--replay-mib`: each request is made for each copy of its
//! key. That leaves the shares alone that a cache of a certain share of the footprint can hold; so the miss ratios are those
//! of the trace. All shares are replayed in the same memory: with a `-m` of few MiB the first page of each slab class, which
//! memcached gives whatever the limit, would be most of it.
//!
//! Where the source has no sizes, they are log-normal as is usual in caches: a median of 1000 bytes, a tenth above 3600,
//! one in a hundred above 10 200, at least 16 and at most 16 000; the same for a key in every run. Where it has sizes, the
//! copies of a key have the same.

use std::f64::consts::TAU;
use std::io;
use std::path::Path;

use crate::random::{mix, unit};

use super::trace::Trace;

/// A trace of the folder that `--traces` names.
#[derive(Debug)]
pub struct Source {
    /// Name in workloads and tables.
    pub name: &'static str,
    /// The file without its endings; `None` is generated.
    pub file: Option<&'static str>,
    /// How much of it is replayed.
    pub requests_max: usize,
}

/// All of them. Two are cut so that a replay takes minutes: of the shop's five million requests the first million has
/// 58 % of the keys, and of the loop's five hundred rounds each after the first is the same.
pub const SOURCES: &[Source] = &[
    Source { name: "twitter", file: Some("twitter_c52_1m"), requests_max: usize::MAX },
    Source { name: "orm", file: Some("orm_busy"), requests_max: 1_000_000 },
    Source { name: "web", file: Some("web07"), requests_max: usize::MAX },
    Source { name: "loop", file: Some("lirs_loop"), requests_max: 20_220 },
    Source { name: "multi", file: Some("lirs_multi3"), requests_max: usize::MAX },
    Source { name: "generated", file: None, requests_max: GENERATED_REQUESTS },
];

/// Shares of the footprint, percent.
pub const PERCENTS: [u64; 3] = [1, 10, 30];

/// A trace ready to be replayed.
pub struct Plan {
    /// The requests, each to be made for every copy.
    pub trace: Trace,
    /// Copies of every key.
    pub copies: u32,
    /// Bytes of keys and values over all keys and copies.
    pub footprint: u64,
}

/// A copy of a key, and the seed of its size and value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Key(pub u64);

impl Plan {
    /// Reads a source's file in `folder`, packed or plain, or generates it. `percent` of the footprint will be about
    /// `memory_mib` MiB, never less.
    pub fn load(source: &Source, folder: Option<&Path>, percent: u64, memory_mib: u64) -> io::Result<Plan> {
        let trace = match (source.file, folder) {
            (None, _) => Trace::generate(source.requests_max, GENERATED_POPULAR_KEYS),
            (Some(_), None) => return Err(io::Error::other(NO_FOLDER)),
            (Some(file), Some(folder)) => {
                let named = |ending: &str| folder.join(format!("{file}{ending}"));
                let path = Some(named(".csv")).filter(|path| path.exists()).unwrap_or_else(|| named(".csv.zst"));
                Trace::read(&path, source.requests_max)
                    .map_err(|error| io::Error::new(error.kind(), format!("{}: {error}", path.display())))?
            }
        };
        Ok(Plan::new(trace, (memory_mib << 20) * 100 / percent))
    }

    /// A plan with a footprint of `footprint_least` bytes or a little more.
    fn new(trace: Trace, footprint_least: u64) -> Plan {
        let mut plan = Plan { trace, copies: 0, footprint: 0 };
        while plan.footprint < footprint_least && !plan.trace.sizes.is_empty() {
            let copy = plan.copies;
            plan.footprint += (0..plan.trace.sizes.len()).map(|key| plan.copy_bytes(key as u32, copy)).sum::<u64>();
            plan.copies += 1;
        }
        plan
    }

    /// `-m` for a share of the footprint.
    pub fn memory_mib(&self, percent: u64) -> u64 {
        (self.footprint * percent).div_ceil(100 << 20)
    }

    /// A copy of a key.
    pub fn key(&self, key: u32, copy: u32) -> Key {
        Key(u64::from(key) * u64::from(self.copies) + u64::from(copy))
    }

    /// Bytes of the value of a copy of a key.
    pub fn value_bytes(&self, key: u32, copy: u32) -> usize {
        (self.copy_bytes(key, copy) as usize).saturating_sub(KEY_BYTES)
    }

    /// Bytes of key and value of a copy of a key.
    fn copy_bytes(&self, key: u32, copy: u32) -> u64 {
        match self.trace.sizes[key as usize] {
            1 => modelled_bytes(u64::from(key) << 32 | u64::from(copy)),
            size => u64::from(size).max(KEY_BYTES as u64),
        }
    }
}

impl Key {
    /// Writes the key's text, [`KEY_BYTES`] long.
    pub fn write(self, out: &mut Vec<u8>) {
        out.extend_from_slice(b"r");
        for digit in (0..KEY_BYTES - 1).rev() {
            out.push(b"0123456789abcdef"[(self.0 >> (4 * digit)) as usize & 15]);
        }
    }
}

/// A size of the model for each seed.
fn modelled_bytes(seed: u64) -> u64 {
    // Box and Muller's way from two uniform numbers to a normal one.
    let (one, other) = (unit(mix(seed)), unit(mix(!seed)));
    let normal = (-2.0 * one.ln()).sqrt() * (TAU * other).cos();
    (MEDIAN_BYTES * normal.exp()).clamp(16.0, 16_000.0) as u64
}

/// Bytes of every key: enough for 2^40 of them.
pub const KEY_BYTES: usize = 11;
const MEDIAN_BYTES: f64 = 1000.0;
const GENERATED_REQUESTS: usize = 60_000;
const GENERATED_POPULAR_KEYS: u64 = 20_000;
/// What is missing without `--traces`.
pub const NO_FOLDER: &str = "there are no traces: give their folder with --traces DIR or in the variable TRACES";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_footprint_is_what_was_asked_for() {
        for size in [1, 5000] {
            let mut trace = Trace::generate(1000, 100);
            trace.sizes.fill(size);
            let plan = Plan::new(trace, 100 << 20);
            assert_eq!(plan.memory_mib(1), 1 + u64::from(plan.footprint > 100 << 20));
            assert!((100 << 20..110 << 20).contains(&plan.footprint), "{}", plan.footprint);
        }
        assert_eq!(Plan::new(Trace::default(), 100 << 20).copies, 0);
    }

    #[test]
    fn sizes_are_those_of_the_source_or_of_the_model() {
        let mut trace = Trace::generate(10_000, 9000);
        trace.sizes[0] = 5000;
        trace.sizes[1] = 3;
        let plan = Plan { trace, copies: 2, footprint: 0 };
        assert_eq!((plan.value_bytes(0, 0), plan.value_bytes(0, 1)), (5000 - KEY_BYTES, 5000 - KEY_BYTES));
        assert_eq!(plan.value_bytes(1, 0), 0);
        let mut modelled: Vec<usize> = (2..4000).map(|key| plan.value_bytes(key, 1)).collect();
        modelled.sort_unstable();
        assert!((900..1100).contains(&modelled[modelled.len() / 2]), "{}", modelled[modelled.len() / 2]);
        assert!((3200..4000).contains(&modelled[modelled.len() * 9 / 10]));
        assert_eq!(plan.value_bytes(7, 1), plan.value_bytes(7, 1));
        assert_ne!(plan.value_bytes(7, 0), plan.value_bytes(7, 1));
    }

    #[test]
    fn keys_are_distinct_and_of_one_length() {
        let plan = Plan { trace: Trace::default(), copies: 3, footprint: 0 };
        let mut texts = Vec::new();
        for (key, copy) in [(0, 0), (0, 2), (1, 0), (u32::MAX, 2)] {
            let mut text = Vec::new();
            plan.key(key, copy).write(&mut text);
            assert_eq!(text.len(), KEY_BYTES);
            texts.push(text);
        }
        texts.dedup();
        assert_eq!(texts.len(), 4);
    }

    #[test]
    fn without_a_folder_only_the_generated_trace_is_there() {
        for source in SOURCES {
            let plan = Plan::load(source, None, 10, 1);
            assert_eq!(plan.is_ok(), source.file.is_none(), "{}", source.name);
            let missing = Plan::load(source, Some(Path::new("/nonexistent")), 10, 1);
            assert_eq!(missing.is_ok(), source.file.is_none(), "{}", source.name);
        }
    }
}

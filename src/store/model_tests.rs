//! The store against a naive model, in as little memory as it takes and through everything that can happen to an item
//! there: eviction under each policy, expiry, flushes now and later, page moves, limits that fall and rise, values of one
//! slot and of many chunks, clocks that jump.
//!
//! A miss is always allowed. A hit must be what was stored last, and must not have been deleted, flushed or expired; the
//! store's own counts must agree with what it lists. `MODEL_SEED` and `MODEL_STEPS` repeat and prolong a run.

use std::collections::HashMap;
use std::env;

use super::counters::ClassCounters;
use super::snapshot::ClassSnapshot;
use super::tests::{Random, filled, get, now, set};
use super::{Arc, Config, DumpCursor, Policy, Store, StoreError};

/// What the model holds under a key.
struct Expected {
    length: usize,
    mark: u64,
    flags: u32,
    cas: u64,
    exptime: u32,
    stored: u32,
}

/// A store and what it should hold.
struct Model {
    store: Store,
    items: HashMap<u64, Expected>,
    random: Random,
    seconds: u32,
    /// When a delayed flush comes.
    flush: Option<u32>,
    hits: u64,
    refused: u64,
}

/// Runs `steps` random operations on values of up to some size.
#[track_caller]
fn check(config: Config, seed: u64, steps: u64, sizes: &[usize]) {
    let has_evictions = config.has_evictions;
    let store = Store::new(config, Arc::default());
    let mut model =
        Model { store, items: HashMap::new(), random: Random(seed), seconds: 100, flush: None, hits: 0, refused: 0 };
    for step in 0..steps {
        if let Err(error) = model.step(step, sizes) {
            panic!("MODEL_SEED={seed}, step {step}: {error}");
        }
        if step % (steps / 4) == steps / 4 - 1 {
            model.compare_counts().unwrap_or_else(|error| panic!("MODEL_SEED={seed}, step {step}: {error}"));
        }
    }
    let evicted: u64 = model.classes().iter().map(|class| class.counters.evicted).sum();
    assert!(model.hits > steps / 50, "seed {seed}: only {} hits", model.hits);
    assert!(has_evictions == (evicted > 0), "seed {seed}: {evicted} evictions");
    assert!(!has_evictions || model.refused == 0, "seed {seed}: {} stores refused", model.refused);
}

impl Model {
    fn step(&mut self, step: u64, sizes: &[usize]) -> Result<(), String> {
        let number = match self.random.next(3) {
            0 => self.random.next(50),
            _ => self.random.next(2000),
        };
        match self.random.next(1000) {
            0..450 => self.set(number, step, sizes),
            450..850 => self.get(number),
            850..920 => {
                self.items.remove(&number);
                let key = key(number);
                self.store.entry(&key, self.store.hash(&key), now(self.seconds), |entry| entry.remove());
                Ok(())
            }
            920..940 => self.touch(number),
            940..950 => self.set_cas(number, step),
            950..955 => {
                let largest = i64::from(self.store.class_largest()) as u64;
                let (source, target) = (self.random.next(largest + 2) as i32 - 1, self.random.next(largest + 1) as i32);
                let _ = self.store.reassign(source, target, now(self.seconds));
                Ok(())
            }
            955..957 => {
                self.store.set_memory_limit((1 << 20) << self.random.next(3));
                Ok(())
            }
            957..960 => {
                let automove = self.random.next(3) as u32;
                let policy = [Policy::QuickDemotion, Policy::Segmented, Policy::Flat][self.random.next(3) as usize];
                self.store.tune(|tuning| (tuning.automove, tuning.policy) = (automove, policy));
                Ok(())
            }
            960..970 => {
                // Mostly a little, seldom past everything.
                let jump = if self.random.next(20) == 0 { 100_000 } else { self.random.next(4) as u32 };
                self.seconds += jump;
                Ok(())
            }
            // Seldom enough for memory to be full in between.
            970 if self.random.next(8) == 0 => {
                self.store.flush(None, now(self.seconds));
                self.items.clear();
                self.flush = None;
                Ok(())
            }
            971 if self.random.next(8) == 0 => {
                let at = self.seconds + 1 + self.random.next(5) as u32;
                self.store.flush(Some(at), now(self.seconds));
                self.flush = Some(at);
                Ok(())
            }
            972..980 => {
                let _ = self.store.crawl(u64::MAX, now(self.seconds));
                Ok(())
            }
            _ => {
                let _ = self.store.maintain(0, 1, now(self.seconds));
                Ok(())
            }
        }
    }

    fn set(&mut self, number: u64, step: u64, sizes: &[usize]) -> Result<(), String> {
        let size = sizes[self.random.next(sizes.len() as u64) as usize];
        let length = size - self.random.next(size as u64 / 2 + 1) as usize;
        let flags = if self.random.next(2) == 0 { 0 } else { step as u32 | 1 };
        let exptime = if self.random.next(6) == 0 { self.seconds + 1 + self.random.next(30) as u32 } else { 0 };
        let mark = step + 1;
        match set(&self.store, &key(number), &filled(length, mark), flags, exptime, now(self.seconds)) {
            Ok(cas) => {
                let stored = self.seconds;
                self.items.insert(number, Expected { length, mark, flags, cas, exptime, stored });
            }
            Err(StoreError::NoMemory) => self.refused += 1,
            Err(error) => return Err(format!("{length} bytes: {error:?}")),
        }
        Ok(())
    }

    fn get(&mut self, number: u64) -> Result<(), String> {
        let Some((value, flags, cas)) = get(&self.store, &key(number), now(self.seconds)) else { return Ok(()) };
        self.hits += 1;
        let expected = self.items.get(&number).ok_or("a value came back")?;
        if expected.exptime != 0 && expected.exptime <= self.seconds {
            return Err(format!("expired at {}, found at {}", expected.exptime, self.seconds));
        }
        // A delayed flush comes a second early, and what is stored in that second lives.
        if self.flush.is_some_and(|at| expected.stored + 1 < at && self.seconds + 1 >= at) {
            return Err(format!("flushed at {:?}, stored at {}", self.flush, expected.stored));
        }
        if value != filled(expected.length, expected.mark) {
            return Err(format!("another value, {} bytes instead of {}", value.len(), expected.length));
        }
        match (flags, cas) == (expected.flags, expected.cas) {
            true => Ok(()),
            false => Err(format!("flags {flags} and CAS id {cas}, not {} and {}", expected.flags, expected.cas)),
        }
    }

    fn touch(&mut self, number: u64) -> Result<(), String> {
        let exptime = if self.random.next(2) == 0 { 0 } else { self.seconds + 1 + self.random.next(9) as u32 };
        let is_there = self.visit(number, |entry| entry.set_exptime(exptime));
        if is_there {
            self.items.get_mut(&number).ok_or("touched what was gone")?.exptime = exptime;
        }
        Ok(())
    }

    /// Gives an item a CAS id that needs more room than it has.
    fn set_cas(&mut self, number: u64, step: u64) -> Result<(), String> {
        let wide = u64::MAX - step;
        if self.visit(number, |entry| entry.set_cas(wide)) {
            self.items.get_mut(&number).ok_or("changed what was gone")?.cas = wide;
        }
        Ok(())
    }

    /// Does something to an item that is there; whether it was, and still is.
    fn visit(&self, number: u64, change: impl FnOnce(&mut super::Entry<'_>)) -> bool {
        let key = key(number);
        self.store.entry(&key, self.store.hash(&key), now(self.seconds), |entry| {
            if entry.item().is_some() {
                change(entry);
            }
            entry.item().is_some()
        })
    }

    fn classes(&self) -> Vec<ClassSnapshot> {
        self.store.snapshot().classes
    }

    /// What the lists hold, what is counted and what a dump shows is the same.
    fn compare_counts(&mut self) -> Result<(), String> {
        let snapshot = self.store.snapshot();
        let listed: usize = snapshot.classes.iter().map(ClassSnapshot::item_count).sum();
        if listed != snapshot.curr_items {
            return Err(format!("{listed} items in lists, {} counted", snapshot.curr_items));
        }
        let counters: Vec<&ClassCounters> = snapshot.classes.iter().map(|class| &class.counters).collect();
        if counters.iter().any(|counters| counters.evicted > u64::MAX / 2) {
            return Err("a counter ran below nought".to_string());
        }
        let mut dumped = 0;
        let mut cursor = Some(DumpCursor::default());
        while let Some(from) = cursor {
            cursor = self.store.dump(from, u64::MAX, 100, now(self.seconds), &mut |_| dumped += 1);
        }
        match dumped <= listed {
            true => Ok(()),
            false => Err(format!("{dumped} items dumped of {listed}")),
        }
    }
}

fn key(number: u64) -> Vec<u8> {
    format!("key{number}").into_bytes()
}

/// The least memory there is, in chunks of 4 KiB.
fn tiny(partitions: usize) -> Config {
    Config {
        memory_limit_bytes: 1 << 20,
        slab_chunk_max: 4096,
        item_size_max: 1 << 19,
        partitions,
        ..Config::default()
    }
}

fn number(name: &str, default: u64) -> u64 {
    env::var(name).ok().and_then(|number| number.parse().ok()).unwrap_or(default)
}

#[test]
fn small_values_agree_with_the_model() {
    for round in 0..4 {
        let partitions = [1, 4][round as usize % 2];
        check(
            tiny(partitions),
            number("MODEL_SEED", 1) + round,
            number("MODEL_STEPS", 300_000),
            &[30, 200, 1500, 4000],
        );
    }
}

#[test]
fn values_of_all_sizes_agree_with_the_model() {
    for round in 0..4 {
        let sizes = [50, 800, 5000, 9000, 40_000, 120_000];
        let config = Config { slab_chunk_max: [4096, 16384][round as usize % 2], ..tiny(1) };
        check(config, number("MODEL_SEED", 11) + round, number("MODEL_STEPS", 20_000), &sizes);
    }
}

#[test]
fn a_store_that_may_not_evict_agrees_with_the_model() {
    for round in 0..2 {
        let config = Config { has_evictions: false, ..tiny(1) };
        check(config, number("MODEL_SEED", 21) + round, number("MODEL_STEPS", 200_000), &[30, 500, 3000]);
    }
}

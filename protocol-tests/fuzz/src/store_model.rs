//! The store against a naive model, in next to no memory: any order of stores, fetches, changes, flushes, page moves,
//! limits, policies, clock jumps, dumps, pins, values held while their items go, and restarts.
//!
//! A miss is always allowed: memory is short. A hit must be what was stored last, with its flags, CAS id and marks, and
//! must not have been deleted, flushed or expired. What a client still holds of a large value never changes. The store's
//! own counts agree with what it lists.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::ControlFlow;

use slabstash::base::sizes::PAGE_BYTES;
use slabstash::base::sync::Arc;
use slabstash::store::value::{Chunk, NewValue, Value};
use slabstash::store::{
    Config, DebugItem, DumpCursor, Entry, Fit, Imported, ItemView, Marks, NewItem, Policy, SavedItem, Store,
    StoreError, Tuning,
};

use crate::bytes::Bytes;
use crate::drive::{START_SECONDS, now};
use crate::random::Random;

/// Checks an input: some bytes of configuration, then operations of a few bytes each, of which the first
/// [`OPERATIONS_MAX`] are done.
pub fn check(input: &[u8]) {
    let mut bytes = Bytes(input);
    let mut model = Model::new(&mut bytes);
    for _ in 0..OPERATIONS_MAX {
        if bytes.is_empty() {
            break;
        }
        model.step(&mut bytes);
    }
    model.compare_counts();
    let numbers: Vec<u16> = model.items.keys().copied().collect();
    numbers.into_iter().for_each(|number| model.get(number));
    model.compare_held();
}

/// One of many keys, mostly one of few.
fn key(bytes: &mut Bytes<'_>) -> u16 {
    match bytes.byte() {
        few @ 0..192 => u16::from(few % 48),
        many => u16::from(many % 8) << 8 | u16::from(bytes.byte()),
    }
}

/// What the model holds under a key.
#[derive(Clone)]
struct Expected {
    value: Vec<u8>,
    flags: u32,
    cas: u64,
    exptime: u32,
    marks: Marks,
    stored: u32,
}

/// Parts of a value that a client has not read to its end.
struct Held {
    parts: Vec<(Arc<Chunk>, usize)>,
    value: Vec<u8>,
}

struct Model {
    store: Store,
    config: Config,
    items: BTreeMap<u16, Expected>,
    seconds: u32,
    /// When a delayed flush comes.
    flush: Option<u32>,
    held: Vec<Held>,
    has_pins: bool,
    /// Operations so far; what is stored tells them apart.
    mark: u64,
    /// Bytes that may still be stored.
    budget: usize,
    /// How often everything was compared.
    comparisons: usize,
}

impl Model {
    fn new(bytes: &mut Bytes<'_>) -> Self {
        let (choice, other) = (bytes.byte(), bytes.byte());
        // Memory, its pages, and the chunks of large values: mostly sixteen pages of one granule each.
        let (memory, page, chunk) = [
            (64 << 10, 4096, 1024),
            (64 << 10, 4096, 1024),
            (1 << 20, PAGE_BYTES, 16_384),
            (1 << 20, PAGE_BYTES, 4096),
        ][usize::from(other & 3)];
        let config = Config {
            memory_limit_bytes: memory,
            page_bytes: page,
            // So that an input that fails does so again.
            hash_seed: Some(1),
            item_size_max: ITEM_BYTES_MAX.min(memory / 2),
            slab_chunk_max: chunk,
            slab_sizes: (choice & 1 != 0).then(|| vec![96, 400, 800]),
            growth_factor: if page < PAGE_BYTES { 1.5 } else { 2.0 },
            partitions: [1, 1, 2, 4][usize::from(choice >> 1 & 3)],
            has_cas: choice & 8 == 0,
            has_evictions: choice & 0x30 != 0,
            has_slab_reassign: choice & 0x40 == 0,
            has_size_tracking: choice & 0x80 != 0,
            tuning: Tuning {
                policy: policy(other >> 2),
                has_temp_lru: other & 16 != 0,
                has_maintainer: other & 32 == 0,
                automove: u32::from(other >> 6).min(2),
                ..Tuning::default()
            },
            ..Config::default()
        };
        Self {
            store: Store::new(config.clone(), Arc::default()),
            config,
            items: BTreeMap::new(),
            seconds: START_SECONDS,
            flush: None,
            held: Vec::new(),
            has_pins: false,
            mark: 0,
            budget: STORED_BYTES_MAX,
            comparisons: 0,
        }
    }

    fn step(&mut self, bytes: &mut Bytes<'_>) {
        self.mark += 1;
        let now = now(self.seconds);
        match bytes.byte() % 32 {
            0..6 => {
                let (number, length, options) = (key(bytes), bytes.two(), bytes.byte());
                self.set(number, length, options, bytes);
            }
            6 | 7 => {
                // Many at a time, or memory would never be full.
                let (first, count, length, options) = (key(bytes), bytes.byte(), bytes.two(), bytes.byte());
                for number in 0..=u16::from(count) % STORED_TOGETHER_MAX {
                    self.mark += 1;
                    self.set(first + number, length, options & !0x30, bytes);
                }
            }
            8..11 => {
                let number = key(bytes);
                self.get(number);
            }
            11 => {
                let (first, count) = (key(bytes), bytes.byte());
                self.get_many(first, count);
            }
            12 => {
                let number = key(bytes);
                self.items.remove(&number);
                self.visit(number, |entry| entry.remove());
                assert!(!self.visit(number, |entry| assert!(entry.item().is_none())), "there after its removal");
            }
            13 => {
                let (number, seconds) = (key(bytes), bytes.byte());
                let exptime = if seconds & 1 == 0 { 0 } else { self.seconds + 1 + u32::from(seconds >> 1) };
                if self.visit(number, |entry| entry.set_exptime(exptime)) {
                    self.expected(number).exptime = exptime;
                }
            }
            14 => self.set_cas(key(bytes)),
            15 => {
                let (number, bits) = (key(bytes), bytes.byte());
                let bit = |bit: u8| bits & bit != 0;
                let marks = Marks { is_stale: bit(1), is_win_sent: bit(2), is_binary_key: bit(4) };
                if self.visit(number, |entry| entry.set_marks(marks)) {
                    self.expected(number).marks = marks;
                }
            }
            16 => self.overwrite(key(bytes)),
            17 => self.append(key(bytes), bytes.byte()),
            18 => self.hold(key(bytes)),
            19 => {
                self.compare_held();
                self.held.clear();
            }
            20 => {
                let (source, target) = (bytes.byte() as i8, bytes.byte() as i8);
                let _ = self.store.reassign(i32::from(source), i32::from(target), now);
            }
            21 => self.store.set_memory_limit(self.config.memory_limit_bytes << (bytes.byte() % 3)),
            22 => {
                let choice = bytes.byte();
                self.store.tune(|tuning| {
                    tuning.policy = policy(choice);
                    tuning.automove = u32::from(choice >> 2) % 3;
                    tuning.has_temp_lru = choice & 32 != 0;
                });
            }
            23 => {
                // Mostly a little, seldom past everything.
                let jump = bytes.byte();
                self.seconds += if jump > 250 { 100_000 } else { u32::from(jump % 8) };
                self.settle();
            }
            24 if bytes.byte().is_multiple_of(4) => {
                self.store.flush(None, now);
                self.items.clear();
                self.flush = None;
            }
            25 if bytes.byte().is_multiple_of(4) => {
                let at = self.seconds + 1 + u32::from(bytes.byte() % 5);
                self.store.flush(Some(at), now);
                self.flush = Some(at);
                self.settle();
            }
            26 => {
                let _ = self.store.crawl(u64::MAX, now);
            }
            27 | 28 => {
                for _ in 0..=bytes.byte() % 16 {
                    self.store.maintain(0, 1, now);
                }
            }
            29 => self.pin(key(bytes), bytes.byte()),
            30 if bytes.byte().is_multiple_of(8) => self.restart(bytes.byte()),
            31 if self.comparisons < COMPARISONS_MAX => {
                self.comparisons += 1;
                self.compare_counts();
            }
            _ => self.reset_counters(bytes.byte()),
        }
    }

    fn key(number: u16) -> Vec<u8> {
        match number % 16 {
            15 => format!("{number:0>250}").into_bytes(),
            _ => format!("k{number}").into_bytes(),
        }
    }

    /// The number in a key.
    fn number(key: &[u8]) -> u16 {
        let digits = std::str::from_utf8(key).expect("a key of ours").trim_start_matches(['k', '0']);
        if digits.is_empty() { 0 } else { digits.parse().expect("a key of ours") }
    }

    fn expected(&mut self, number: u16) -> &mut Expected {
        self.items.get_mut(&number).expect("an item that was never stored, or is gone")
    }

    /// Does something to the item that is there; whether it was, and still is.
    fn visit(&self, number: u16, change: impl FnOnce(&mut Entry<'_>)) -> bool {
        let key = Self::key(number);
        self.store.entry(&key, self.store.hash(&key), now(self.seconds), |entry| {
            let is_there = entry.item().is_some();
            if is_there {
                change(entry);
            }
            is_there && entry.item().is_some()
        })
    }

    fn set(&mut self, number: u16, length: u16, options: u8, bytes: &mut Bytes<'_>) {
        let length = match options & 3 {
            0 => usize::from(length) % 600,
            1 => usize::from(length) % 5000,
            2 => usize::from(length) % 20_000,
            _ => usize::from(length) * 2 % (ITEM_BYTES_MAX + 100),
        };
        let length = if length > self.budget { length % 100 } else { length };
        self.budget = self.budget.saturating_sub(length);
        let flags = if options & 4 == 0 { 0 } else { self.mark as u32 | 1 };
        let exptime = if options & 8 == 0 { 0 } else { self.seconds + 1 + u32::from(length as u8 % 16) };
        let cas = (options & 16 != 0).then(|| (u64::from(bytes.byte()) << 50) + self.mark);
        let marks = Marks { is_stale: options & 32 != 0, ..Marks::default() };
        self.insert(number, filled(length, self.mark), flags, exptime, cas, marks);
    }

    fn insert(&mut self, number: u16, value: Vec<u8>, flags: u32, exptime: u32, cas: Option<u64>, marks: Marks) {
        let (key, now) = (Self::key(number), now(self.seconds));
        let fit = self.store.fit(key.len(), value.len(), flags);
        let large = match fit {
            Fit::TooLarge => return,
            Fit::Inline => None,
            Fit::Large => match self.store.large_buffer(key.len(), value.len(), flags, now) {
                Ok(mut buffer) => {
                    assert_eq!(buffer.fill(&value), value.len());
                    assert_eq!(buffer.missing(), 0);
                    Some(buffer)
                }
                Err(error) => {
                    assert_eq!(error, StoreError::NoMemory);
                    return;
                }
            },
        };
        let new = match large {
            Some(buffer) => NewValue::Large(buffer),
            None => NewValue::Bytes(&value),
        };
        let item = NewItem { flags, exptime, cas, value: new, marks };
        let stored = self.store.entry(&key, self.store.hash(&key), now, |entry| {
            let stored = entry.insert(item);
            if let (Ok(cas), Some(item)) = (stored, entry.item()) {
                assert_eq!(item.cas(), cas);
            }
            stored
        });
        match stored {
            Ok(given) => {
                if let (Some(cas), true) = (cas, self.config.has_cas) {
                    assert_eq!(given, cas);
                }
                let stored = self.seconds;
                self.items.insert(number, Expected { value, flags, cas: given, exptime, marks, stored });
            }
            Err(error) => {
                assert_eq!(error, StoreError::NoMemory);
                let is_small = fit == Fit::Inline && value.len() < 1000;
                assert!(
                    !self.config.has_evictions || !is_small || self.has_pins || !self.held.is_empty(),
                    "{} bytes found no memory",
                    value.len()
                );
            }
        }
    }

    fn get(&mut self, number: u16) {
        let key = Self::key(number);
        let mut found = None;
        let is_there = self.store.get(&key, self.store.hash(&key), now(self.seconds), |item: &ItemView| {
            assert_eq!(item.key(), key);
            found = Some(owned(item));
            true
        });
        assert_eq!(is_there, found.is_some());
        if let Some(found) = found {
            self.compare(number, &found);
        }
    }

    fn get_many(&mut self, first: u16, count: u8) {
        let numbers: Vec<u16> = (0..u16::from(count % 33)).map(|index| first + index * 3).collect();
        let keys: Vec<Vec<u8>> = numbers.iter().map(|&number| Self::key(number)).collect();
        let slices: Vec<&[u8]> = keys.iter().map(Vec::as_slice).collect();
        let hashes: Vec<_> = slices.iter().map(|key| self.store.hash(key)).collect();
        let mut answers: Vec<Option<Option<Expected>>> = vec![None; numbers.len()];
        self.store.get_batch(&slices, &hashes, now(self.seconds), |index, item| {
            assert!(answers[index].is_none(), "asked twice");
            answers[index] = Some(item.map(|item| {
                assert_eq!(item.key(), slices[index]);
                owned(item)
            }));
            true
        });
        for (number, answer) in numbers.into_iter().zip(answers) {
            if let Some(found) = answer.expect("a key without an answer") {
                self.compare(number, &found);
            }
        }
    }

    #[track_caller]
    fn compare(&self, number: u16, found: &Expected) {
        let expected = self.items.get(&number).expect("a value that was never stored, or is gone");
        assert!(
            expected.exptime == 0 || expected.exptime > self.seconds,
            "expired at {}, found at {}",
            expected.exptime,
            self.seconds
        );
        assert!(
            found.value == expected.value,
            "another value: {} bytes instead of {}",
            found.value.len(),
            expected.value.len()
        );
        assert_eq!(
            (found.flags, found.cas, found.exptime, found.marks),
            (expected.flags, expected.cas, expected.exptime, expected.marks)
        );
    }

    /// Gives an item a CAS id, which mostly needs more room than it has.
    fn set_cas(&mut self, number: u16) {
        let wide = if self.mark.is_multiple_of(4) { self.mark } else { u64::MAX - self.mark };
        let mut given = 0;
        let is_there = self.visit(number, |entry| {
            entry.set_cas(wide);
            given = entry.item().map_or(0, |item| item.cas());
        });
        if is_there {
            let (has_cas, has_evictions) = (self.config.has_cas, self.config.has_evictions);
            let expected = self.expected(number);
            assert!(!has_cas || given == wide || given == expected.cas && !has_evictions, "{given}, not {wide}");
            expected.cas = given;
        }
    }

    /// What incr and decr do to a value.
    fn overwrite(&mut self, number: u16) {
        let mark = self.mark;
        let mut value = None;
        let is_there = self.visit(number, |entry| {
            let Some(Value::Inline(old)) = entry.item().map(|item| item.value()) else { return };
            let new = filled(old.len(), mark);
            entry.overwrite_number(&new);
            entry.refresh();
            value = Some(new);
        });
        if let (true, Some(value)) = (is_there, value) {
            self.expected(number).value = value;
        }
    }

    fn append(&mut self, number: u16, count: u8) {
        let Some(old) = self.items.get(&number).cloned() else { return };
        let is_there = self.visit(number, |_| {});
        if is_there {
            let mut value = old.value;
            value.extend(filled(usize::from(count) * 8, self.mark));
            self.insert(number, value, old.flags, old.exptime, None, old.marks);
        }
    }

    /// Keeps a large value's parts, as a reply does that waits to be sent.
    fn hold(&mut self, number: u16) {
        if self.held.len() >= HELD_MAX {
            return;
        }
        let mut parts = None;
        self.visit(number, |entry| {
            if let Some(Value::Large(large)) = entry.item().map(|item| item.value()) {
                parts = Some(large.parts().map(|(chunk, length)| (Arc::clone(chunk), length)).collect());
            }
        });
        if let Some(parts) = parts {
            let value = self.expected(number).value.clone();
            self.held.push(Held { parts, value });
        }
    }

    fn compare_held(&self) {
        for held in &self.held {
            let bytes: Vec<u8> =
                held.parts.iter().flat_map(|(chunk, length)| chunk.bytes()[..*length].iter().copied()).collect();
            assert!(bytes == held.value, "a value changed while it was held");
        }
    }

    fn pin(&mut self, number: u16, action: u8) {
        let actions = [DebugItem::Lock, DebugItem::Unlock, DebugItem::Reference, DebugItem::Unreference];
        self.has_pins = true;
        self.store.debug_item(actions[usize::from(action % 4)], &Self::key(number), now(self.seconds));
    }

    fn reset_counters(&mut self, choice: u8) {
        if choice.is_multiple_of(16) {
            self.store.reset_counters();
        }
    }

    /// Forgets what a delayed flush covers whose time has come. It comes a second early, and what is stored in that second
    /// lives.
    fn settle(&mut self) {
        if let Some(at) = self.flush
            && at <= self.seconds + 1
        {
            self.flush = None;
            self.items.retain(|_, item| item.stored + 1 >= at);
        }
    }

    /// Takes the store apart and puts it together again, with another number of partitions.
    fn restart(&mut self, choice: u8) {
        let now = now(self.seconds);
        let state = self.store.saved_state();
        let mut saved = Vec::new();
        for partition in 0..self.store.partition_count() {
            let _ = self.store.export(partition, now, &mut |item, value| {
                let mut bytes = Vec::new();
                value.copy_to(&mut bytes);
                saved.push((
                    item.key.to_vec(),
                    bytes,
                    item.flags,
                    item.exptime,
                    item.time,
                    item.cas,
                    item.marks,
                    item.rank,
                ));
                ControlFlow::Continue(())
            });
        }
        self.compare_held();
        self.held.clear();
        self.has_pins = false;
        self.config.partitions = 1 << (choice & 3);
        self.store = Store::new(self.config.clone(), Arc::default());
        self.store.restore_state(&state);
        for (key, value, flags, exptime, time, cas, marks, rank) in saved {
            let item = SavedItem { key: &key, flags, exptime, time, cas, marks, rank };
            let new = match self.store.fit(key.len(), value.len(), flags) {
                Fit::TooLarge => panic!("an item that could not have been stored"),
                Fit::Inline => NewValue::Bytes(&value),
                Fit::Large => match self.store.import_buffer(key.len(), value.len(), flags) {
                    None => continue,
                    Some(mut buffer) => {
                        buffer.fill(&value);
                        NewValue::Large(buffer)
                    }
                },
            };
            let imported = self.store.import(&item, new, now);
            assert!(matches!(imported, Imported::Stored | Imported::NoRoom), "{imported:?}");
        }
        (0..self.store.partition_count()).for_each(|partition| self.store.finish_import(partition));
        self.compare_counts();
    }

    /// What the lists hold, what is counted and what a dump shows is the same.
    fn compare_counts(&mut self) {
        let snapshot = self.store.snapshot();
        let listed: usize = snapshot.classes.iter().map(|class| class.item_count()).sum();
        assert_eq!(listed, snapshot.curr_items, "in lists, and counted");
        for class in &snapshot.classes {
            assert!(class.counters.evicted < u64::MAX / 2, "a counter ran below nought");
            assert!(class.mem_requested < usize::MAX / 2, "bytes ran below nought");
            assert!(class.item_count() > 0 || class.mem_requested == 0, "{} bytes of no items", class.mem_requested);
        }
        if self.config.has_size_tracking {
            let tracked: u64 = self.store.size_histogram().iter().map(|(_, count)| count).sum();
            assert_eq!(tracked, listed as u64, "tracked sizes, and items");
        }
        let mut dumped = BTreeSet::new();
        let mut cursor = Some(DumpCursor::default());
        while let Some(from) = cursor {
            cursor = self.store.dump(from, u64::MAX, 100, now(self.seconds), &mut |item| {
                let number = Self::number(item.key());
                assert!(dumped.insert(number), "dumped twice");
                let expected = self.items.get(&number).expect("an item that was never stored, or is gone");
                assert!(item.cas() == expected.cas && is_value(item, &expected.value), "dumped another value");
            });
        }
        assert!(dumped.len() <= listed, "{} items dumped of {listed}", dumped.len());
    }
}

fn policy(choice: u8) -> Policy {
    [Policy::QuickDemotion, Policy::Segmented, Policy::Flat][usize::from(choice & 3) % 3]
}

fn owned(item: &ItemView<'_>) -> Expected {
    let mut value = Vec::new();
    item.value().copy_to(&mut value);
    assert_eq!(value.len(), item.value().len());
    Expected { value, flags: item.flags(), cas: item.cas(), exptime: item.exptime(), marks: item.marks(), stored: 0 }
}

/// Whether an item has this value.
fn is_value(item: &ItemView<'_>, value: &[u8]) -> bool {
    let mut rest = Some(value);
    item.value().pieces(|piece| rest = rest.and_then(|rest| rest.strip_prefix(piece)));
    rest.is_some_and(<[u8]>::is_empty)
}

/// Bytes that belong to one store only.
fn filled(length: usize, mark: u64) -> Vec<u8> {
    let mut bytes = Random::new(mark).number().to_le_bytes().repeat(length.div_ceil(8));
    bytes.truncate(length);
    bytes
}

/// Enough to fill memory, empty it and fill it again. More would make executions slow, and there are many of them.
const OPERATIONS_MAX: usize = 150;

/// Comparisons of everything that one input asks for.
const COMPARISONS_MAX: usize = 2;

/// Items that one operation stores.
const STORED_TOGETHER_MAX: u16 = 32;

/// Bytes that one input may store; then its values are short.
const STORED_BYTES_MAX: usize = 5 << 19;

/// A few of these fill memory.
const ITEM_BYTES_MAX: usize = 1 << 17;

/// More would leave too little memory.
const HELD_MAX: usize = 3;

//! Memory from where it is needed least to where it is stored to: when a class is full and another holds colder items, or
//! when a class has no slot of the size in question, a span is emptied item by item, in bounded steps. What is still wanted
//! in it moves to slots of the class' coldest items, which are evicted; so a change of value sizes costs the items that an
//! LRU over all classes would give up.
//!
//! The store that finds its class full does not wait for that: it borrows a span, a small one against all memory, and the
//! stores that come after it empty the other span, each in proportion to its own size. A partition has one such span at a
//! time, and finishes it in idle turns.
//!
//! Which class is colder: the one whose next victim was touched longer ago. Times are seconds, and a busy cache may turn
//! over in one; at equal times the class that takes longer to be replaced by what is stored is the colder one.
//!
//! Times of large items count more than those of small ones, for each holds the room of several that could be hit as often. By the
//! root of their size rather than by size as in GreedyDual-Size (Cao and Irani, 1997), and within a bound, so that a class
//! keeps some memory however large its items are, and new ones of another size get theirs soon.
//!
//! Classes take from each other only with the automover on (not with `slab_automove=0` or `no_slab_reassign`) and with
//! evictions; otherwise they keep their pages until the [mover](super::mover) takes them.

use crate::base::time::Now;

use super::ids::ItemId;
use super::maintain::{Rescue, Tally};
use super::partition::{ClassState, Partition};

/// Items that a store moves or evicts, at least and at most.
const WORK_MIN: usize = 4;
const WORK_MAX: usize = 256;

/// Bytes of the emptied class that a store handles for a byte of its own: every byte freed is evicted in one place and
/// moved in another, and the span should be empty before what was borrowed is used up.
const WORK_FACTOR: usize = 4;

/// Steps at once after which the rest of a span is evicted as it is, newest items or not.
const STEPS_MAX: usize = 16;

/// Spans emptied at once, at most, for a store that can borrow nothing.
const SPANS_MAX: usize = 8;

/// Bytes that stores want of full classes before the coldest class is looked for again, and what a small one counts for.
const PATIENCE_BYTES: usize = 64 * 1024;
const PATIENCE_STEP_BYTES: usize = 1024;

/// Large values evicted in a step, at most.
const LARGE_VICTIMS_MAX: usize = 16;

/// Least window over which stores are counted, in bytes.
const WINDOW_BYTES_MIN: u64 = 4 << 20;

/// Times that differ by less than this many seconds are equal.
const SECONDS_APART: u32 = 2;

/// How many times longer the colder of two classes takes to be replaced, when their times are equal.
const TURNOVER_RATIO: f64 = 2.0;

/// By its items' size a class' times count for up to so much, and down to one over it.
const WEIGHT_RANGE: f64 = 2.0;

/// Of fewer items the size counts for nothing: moving memory between classes of a few would evict most of them. memcached's
/// tests have two such classes, and count their pages.
const WEIGHED_ITEMS: usize = 64;

/// What a step came to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Freed {
    /// No other class should give memory to this one.
    Nothing,
    /// There is more to do.
    NotYet,
    /// Memory is free.
    Some,
}

/// A partition's state of it.
pub(super) struct Rebalance {
    /// The span being emptied; 0 is none.
    span: usize,
    /// Its class.
    donor: usize,
    /// Its slots below this one are free.
    cursor: usize,
    /// Bytes borrowed and not freed since, and the class that did.
    owed: usize,
    borrower: usize,
    /// Coarse second of the last step.
    stepped: u32,
    /// The class to take from, 0 for none, and whether it has free slots to give.
    source: (usize, bool),
    /// Bytes that may be wanted of full classes until the source is looked for again.
    patience: usize,
    /// Bytes of an item of any class when the source was last looked for.
    item_bytes_mean: usize,
    stores: Stores,
    pub(super) tally: Tally,
}

/// How cold a class is.
#[derive(Clone, Copy, Debug)]
struct Coldness {
    /// Seconds since its next victim was touched.
    age: u32,
    /// Bytes that are stored, in all classes, while its items are replaced once.
    turnover: f64,
    /// What both count for; see the module comment.
    weight: f64,
}

impl Coldness {
    /// A class with nothing in it.
    const EMPTY: Self = Self { age: 0, turnover: 0.0, weight: 1.0 };

    /// `ratio` is that of the ages, below 1.
    fn is_colder_than(self, other: Self, ratio: f64) -> bool {
        if self.is_apart_from(other) {
            other.weighted_age() < self.weighted_age() * ratio
        } else {
            self.weighted_turnover() > other.weighted_turnover() * TURNOVER_RATIO
        }
    }

    /// Whether it is the colder one, by however little.
    fn is_before(self, other: Self) -> bool {
        if self.is_apart_from(other) {
            self.weighted_age() > other.weighted_age()
        } else {
            self.weighted_turnover() > other.weighted_turnover()
        }
    }

    fn is_apart_from(self, other: Self) -> bool {
        self.age.abs_diff(other.age) >= SECONDS_APART
    }

    fn weighted_age(self) -> f64 {
        f64::from(self.age) * self.weight
    }

    fn weighted_turnover(self) -> f64 {
        self.turnover * self.weight
    }
}

/// Bytes stored by class, in this window and the one before.
struct Stores {
    window_bytes: u64,
    current: Vec<u64>,
    current_total: u64,
    previous: Vec<u64>,
    previous_total: u64,
}

impl Stores {
    #[inline(always)]
    fn note(&mut self, class: usize, bytes: usize) {
        self.current[class] += bytes as u64;
        self.current_total += bytes as u64;
        if self.current_total >= self.window_bytes {
            std::mem::swap(&mut self.current, &mut self.previous);
            self.previous_total = self.current_total;
            self.current.fill(0);
            self.current_total = 0;
        }
    }

    fn turnover(&self, class: usize, held_bytes: usize) -> f64 {
        let stored = self.current[class] + self.previous[class];
        match (held_bytes, stored) {
            (0, _) => 0.0,
            (_, 0) => f64::INFINITY,
            _ => held_bytes as f64 * (self.current_total + self.previous_total) as f64 / stored as f64,
        }
    }
}

impl Rebalance {
    /// For a partition with this many classes and bytes of memory.
    pub(super) fn new(classes: usize, memory_bytes: usize) -> Self {
        let stores = Stores {
            window_bytes: (memory_bytes as u64 / 2).max(WINDOW_BYTES_MIN),
            current: vec![0; classes],
            current_total: 0,
            previous: vec![0; classes],
            previous_total: 0,
        };
        Self {
            span: 0,
            donor: 0,
            cursor: 0,
            owed: 0,
            borrower: 0,
            stepped: 0,
            source: (0, false),
            patience: 0,
            item_bytes_mean: 0,
            stores,
            tally: Tally::default(),
        }
    }

    /// What the times of a class with so many bytes in so many items count for.
    fn weight(&self, bytes: usize, items: usize) -> f64 {
        let all = (self.item_bytes_mean * items) as f64;
        if items < WEIGHED_ITEMS || all == 0.0 {
            return 1.0;
        }
        (bytes as f64 / all).sqrt().clamp(1.0 / WEIGHT_RANGE, WEIGHT_RANGE)
    }

    /// An item of a class has been stored.
    #[inline]
    pub(super) fn note_store(&mut self, class: usize, bytes: usize) {
        self.stores.note(class, bytes);
    }
}

impl Partition {
    /// Whether memory follows the need.
    #[inline]
    pub(super) fn is_elastic(&self) -> bool {
        self.shared.config.is_elastic(&self.tuning)
    }

    /// Works towards memory for a class that is full and wants `bytes` more: one bounded step.
    pub(super) fn rebalance(&mut self, class: usize, bytes: usize, now: Now) -> Freed {
        if self.rebalance.span == 0 {
            match self.choose_source(class, bytes, now) {
                0 => return Freed::Nothing,
                donor if self.spans.count(donor) == 0 => return self.evict_large(donor, bytes, now),
                donor if !self.start_emptying(donor) => return Freed::Nothing,
                _ => {}
            }
        }
        self.empty_step(bytes, now)
    }

    /// A slot from memory of a colder class, borrowed or freed at once.
    pub(super) fn allocate_colder(&mut self, class: usize, bin: usize, now: Now) -> Option<ItemId> {
        if !self.is_elastic() || self.rebalance.span != 0 || self.rebalance.owed > 0 {
            return None;
        }
        let row = self.shared.bins.row(class);
        let (bytes, slot_bytes) = (row.span_bytes(bin), row.slot_bytes(bin));
        match self.choose_source(class, slot_bytes, now) {
            0 => return None,
            donor if self.spans.count(donor) == 0 => {
                let is_freed = self.evict_large(donor, bytes, now) == Freed::Some;
                return if is_freed { self.allocate_span(class, bin) } else { None };
            }
            donor if !self.start_emptying(donor) => return None,
            _ => {}
        }
        self.borrow(class, bin)
    }

    /// A slot for a class that has none of the right size and none to evict: from a span of its own that is emptied, or if
    /// it has none, of another.
    pub(super) fn allocate_other(&mut self, class: usize, bin: usize, now: Now) -> Option<ItemId> {
        let row = self.shared.bins.row(class);
        let (bytes, slot_bytes) = (row.span_bytes(bin), row.slot_bytes(bin));
        for _ in 0..SPANS_MAX {
            self.finish_emptying(now);
            if let Some(id) = self.allocate_span(class, bin) {
                return Some(id);
            }
            let source = match self.spans.count(class) {
                0 if self.is_elastic() => self.choose_source(class, slot_bytes, now),
                0 => 0,
                _ => class,
            };
            if source == 0 {
                return None;
            }
            if self.spans.count(source) == 0 {
                if self.evict_large(source, bytes, now) == Freed::Nothing {
                    // It was emptied since it was chosen.
                    self.rebalance.patience = 0;
                }
            } else if !self.start_emptying(source) {
                return None;
            } else if let Some(id) = self.borrow(class, bin) {
                return Some(id);
            }
        }
        None
    }

    /// Goes on with the span being emptied, if there is one, on behalf of a store of `bytes`.
    #[inline]
    pub(super) fn pay(&mut self, bytes: usize, now: Now) {
        if self.rebalance.span != 0 || (self.rebalance.owed > 0 && self.start_next(now)) {
            self.empty_step(bytes, now);
        }
    }

    /// Begins with a further span for what is owed: of the same class while it is the colder one, else of the borrower.
    #[cold]
    fn start_next(&mut self, now: Now) -> bool {
        let Rebalance { donor, borrower, .. } = self.rebalance;
        let is_elastic = self.is_elastic();
        let is_started = (is_elastic && self.is_colder(donor, borrower, now) && self.start_emptying(donor))
            || self.start_emptying(borrower);
        if !is_started {
            self.rebalance.owed = 0;
        }
        is_started
    }

    /// In idle turns: goes on with a span that no store has worked at for a while.
    pub(super) fn pay_idly(&mut self, now: Now) -> bool {
        let is_busy = self.rebalance.span != 0 || self.rebalance.owed > 0;
        let is_due = is_busy && now.seconds > self.rebalance.stepped.saturating_add(1);
        if is_due {
            let stepped = self.rebalance.stepped;
            self.pay(usize::MAX / WORK_FACTOR, now);
            self.rebalance.stepped = stepped;
        }
        is_due
    }

    /// The class to take from for a full class that wants `bytes` for an item, 0 for none.
    fn choose_source(&mut self, class: usize, bytes: usize, now: Now) -> usize {
        if self.rebalance.patience == 0 {
            self.rebalance.patience = PATIENCE_BYTES;
            self.rebalance.source = match self.slack_class() {
                0 => (self.coldest_class(now), false),
                slack => (slack, true),
            };
        }
        self.rebalance.patience = self.rebalance.patience.saturating_sub(bytes.max(PATIENCE_STEP_BYTES));
        let (source, has_slack) = self.rebalance.source;
        if source == 0 || !(has_slack || (source != class && self.is_colder(source, class, now))) {
            return 0;
        }
        source
    }

    /// A class whose free slots are worth more than a span for each size of slot and an eighth of its spans: some of its
    /// spans can be emptied into others.
    fn slack_class(&self) -> usize {
        let has_slack = |&class: &usize| {
            let spans = self.spans.count(class);
            let sizes = self.shared.bins.row(class).shares(spans);
            spans > 0 && self.spans.free_bytes(class) > self.spans.bytes(class) / spans * (sizes + spans / 8)
        };
        (1..self.classes.len()).find(has_slack).unwrap_or(0)
    }

    fn coldest_class(&mut self, now: Now) -> usize {
        self.rebalance.item_bytes_mean = self.classes.iter().map(ClassState::bytes).sum::<usize>() / self.len().max(1);
        let mut coldest = (0, Coldness::EMPTY);
        for class in 1..self.classes.len() {
            if let Some(coldness) = self.coldness(class, now)
                && (coldest.0 == 0 || coldness.is_before(coldest.1))
            {
                coldest = (class, coldness);
            }
        }
        coldest.0
    }

    fn is_colder(&self, source: usize, class: usize, now: Now) -> bool {
        let Some(coldness) = self.coldness(source, now) else {
            // Nothing is in it; its spans cost no eviction.
            return true;
        };
        let own = self.coldness(class, now).unwrap_or(Coldness::EMPTY);
        coldness.is_colder_than(own, self.tuning.automove_ratio)
    }

    /// `None` for a class without items.
    fn coldness(&self, class: usize, now: Now) -> Option<Coldness> {
        let time = self.victim_time(class)?;
        let bytes = self.classes[class].bytes();
        let turnover = self.rebalance.stores.turnover(class, bytes);
        let weight = self.rebalance.weight(bytes, self.classes[class].items());
        Some(Coldness { age: now.seconds.saturating_sub(time), turnover, weight })
    }

    fn borrow(&mut self, class: usize, bin: usize) -> Option<ItemId> {
        let id = self.borrow_span(class, bin)?;
        self.rebalance.owed += self.spans.size(id);
        self.rebalance.borrower = class;
        Some(id)
    }

    /// Begins with the emptiest span of a class.
    fn start_emptying(&mut self, donor: usize) -> bool {
        let Some(facts) = self.spans.emptiest(donor) else { return false };
        self.spans.start_leaving(facts.span);
        (self.rebalance.span, self.rebalance.donor, self.rebalance.cursor) = (facts.span, donor, 0);
        true
    }

    /// Moves, throws away or evicts some items of the span being emptied, for a store of `bytes`.
    fn empty_step(&mut self, bytes: usize, now: Now) -> Freed {
        self.rebalance.stepped = now.seconds;
        let row = self.shared.bins.row(self.rebalance.donor);
        let work = (bytes * WORK_FACTOR / row.slot_bytes(0)).clamp(WORK_MIN, WORK_MAX);
        let mut tally = std::mem::take(&mut self.rebalance.tally);
        let freed = self.empty_items(work, now, &mut tally);
        self.rebalance.tally = tally;
        freed
    }

    fn empty_items(&mut self, work: usize, now: Now, tally: &mut Tally) -> Freed {
        let (span, donor) = (self.rebalance.span, self.rebalance.donor);
        for _ in 0..work {
            let Some(id) = self.spans.next_live(span, self.rebalance.cursor) else {
                self.rebalance.span = 0;
                return self.give_up(span);
            };
            self.rebalance.cursor = id.slot();
            let is_done = match self.rescue_step(id, now, tally) {
                Rescue::Done => true,
                Rescue::Pinned => false,
                Rescue::NoSlot => self.evict_from(donor, now),
            };
            if !is_done {
                self.spans.stop_leaving(span);
                self.rebalance.span = 0;
                self.rebalance.source = (0, false);
                return Freed::Nothing;
            }
        }
        Freed::NotYet
    }

    /// Empties the rest of the span being emptied at once; whether there was one, and its memory is free.
    pub(super) fn finish_emptying(&mut self, now: Now) -> bool {
        for _ in 0..STEPS_MAX {
            if self.rebalance.span == 0 {
                return false;
            }
            if self.empty_step(usize::MAX / WORK_FACTOR, now) == Freed::Some {
                return true;
            }
        }
        let span = std::mem::take(&mut self.rebalance.span);
        span != 0 && self.empty_span(span, now) && self.give_up(span) == Freed::Some
    }

    /// Gives up the memory of the span that has been emptied.
    fn give_up(&mut self, span: usize) -> Freed {
        let Some(bytes) = self.release_span(span) else { return Freed::Nothing };
        self.shared.budget.give_back(self.rebalance.donor, bytes);
        self.rebalance.owed = self.rebalance.owed.saturating_sub(bytes);
        Freed::Some
    }

    /// Evicts large values of a class until chunks worth `bytes` are free, or some.
    fn evict_large(&mut self, donor: usize, bytes: usize, now: Now) -> Freed {
        for _ in 0..LARGE_VICTIMS_MAX {
            if !self.evict_from(donor, now) {
                return Freed::Nothing;
            }
            if self.shared.chunks.release_any(bytes) {
                return Freed::Some;
            }
        }
        Freed::NotYet
    }

    /// Empties a span at once, for a store that has no other way: what has no other slot is evicted. False when a pinned
    /// item stays.
    pub(super) fn empty_span(&mut self, span: usize, now: Now) -> bool {
        self.spans.start_leaving(span);
        let mut tally = std::mem::take(&mut self.rebalance.tally);
        let mut is_empty = true;
        let mut from = 0;
        while let Some(id) = self.spans.next_live(span, from) {
            match self.rescue_step(id, now, &mut tally) {
                Rescue::Done => {}
                Rescue::NoSlot => self.evict(id, now),
                Rescue::Pinned => {
                    self.spans.stop_leaving(span);
                    is_empty = false;
                    break;
                }
            }
            from = id.slot() + 1;
        }
        self.rebalance.tally = tally;
        is_empty
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::sync::Arc;
    use crate::store::tests::{now, set};
    use crate::store::value::{LargeValue, Value};
    use crate::store::{Config, Policy, Store};

    #[track_caller]
    fn check(one: (u32, f64), other: (u32, f64), is_colder: bool) {
        let coldness = |(age, turnover)| Coldness { age, turnover, weight: 1.0 };
        assert_eq!(coldness(one).is_colder_than(coldness(other), 0.8), is_colder, "{one:?} {other:?}");
    }

    #[test]
    fn older_is_colder_and_equal_times_are_told_apart_by_turnover() {
        check((10, 1.0), (3, 9.0), true);
        check((3, 9.0), (10, 1.0), false);
        // By less than the ratio.
        check((100, 1.0), (90, 1.0), false);
        check((100, 1.0), (79, 1.0), true);
        // Equal times.
        check((1, 3.0), (0, 1.0), true);
        check((0, 3.0), (1, 1.0), true);
        check((0, 1.5), (0, 1.0), false);
        check((0, f64::INFINITY), (0, 1.0), true);
        check((0, 1.0), (0, 0.0), true);
        check((0, 0.0), (0, 0.0), false);
    }

    #[test]
    fn times_of_large_items_count_more() {
        let mut rebalance = Rebalance::new(3, 0);
        assert_eq!(rebalance.weight(100, 1000), 1.0, "nothing is known yet");
        rebalance.item_bytes_mean = 1000;
        assert_eq!(rebalance.weight(0, 0), 1.0);
        assert_eq!([1000, 2250, 4000, 1 << 20].map(|bytes| rebalance.weight(70 * bytes, 70)), [1.0, 1.5, 2.0, 2.0]);
        assert_eq!([250, 10].map(|bytes| rebalance.weight(70 * bytes, 70)), [0.5, 0.5]);
        // 60 values of 70 000 bytes gave way to 60 of 20 000 in 4 MiB, and their class had one page left.
        assert_eq!(rebalance.weight(60 * 70_000, 60), 1.0);
        let large = Coldness { age: 60, turnover: 1.0, weight: 2.0 };
        let small = |age| Coldness { age, turnover: 1.0, weight: 0.5 };
        assert!(large.is_colder_than(small(150), 0.8) && large.is_before(small(239)));
        assert!(!large.is_before(small(241)) && small(400).is_colder_than(large, 0.8));
        // At equal times it is the turnover that counts so.
        assert!(large.is_colder_than(small(60), 0.8) && !small(60).is_colder_than(large, 0.8));
    }

    #[test]
    fn a_class_without_stores_is_never_replaced() {
        let mut rebalance = Rebalance::new(3, 0);
        rebalance.note_store(1, 3 << 20);
        assert_eq!(rebalance.stores.turnover(1, 1 << 20), f64::from(1 << 20));
        assert_eq!(rebalance.stores.turnover(2, 1), f64::INFINITY);
        rebalance.note_store(2, 1 << 20);
        assert_eq!(rebalance.stores.turnover(2, 1 << 20), f64::from(4 << 20));
        assert_eq!(rebalance.stores.turnover(2, 0), 0.0);
        // Two windows on, what was stored before no longer counts.
        rebalance.note_store(2, 4 << 20);
        rebalance.note_store(2, 4 << 20);
        assert_eq!(rebalance.stores.turnover(1, 1), f64::INFINITY);
    }

    /// What a client has not taken is not free when its item has gone.
    #[test]
    fn a_step_evicts_few_large_values_that_are_held() {
        let store = Store::new(Config::default(), Arc::default());
        let mut held: Vec<LargeValue> = Vec::new();
        for number in 0..2 * LARGE_VICTIMS_MAX as u32 {
            let key = number.to_le_bytes();
            set(&store, &key, &[7; 20_000], 0, 0, now(100)).expect("stored");
            store.entry(&key, store.hash(&key), now(100), |entry| match entry.item().expect("stored").value() {
                Value::Large(value) => held.push(value.clone()),
                Value::Inline(_) => panic!("it is large"),
            });
        }
        let mut partition = store.partitions[0].lock();
        let class = (1..partition.classes.len()).find(|&class| partition.classes[class].bytes() > 0).expect("a class");
        assert_eq!(partition.evict_large(class, 1, now(100)), Freed::NotYet);
        assert_eq!(partition.classes[class].counters.evicted, LARGE_VICTIMS_MAX as u64);
        drop(held);
        assert_eq!(partition.evict_large(class, 1, now(100)), Freed::Some);
        assert_eq!(partition.classes[class].counters.evicted, LARGE_VICTIMS_MAX as u64 + 1);
    }

    #[test]
    fn a_span_of_many_items_is_not_moved_whole_at_once() {
        let mut config = Config { memory_limit_bytes: 8 << 30, ..Config::default() };
        config.tuning.policy = Policy::Segmented;
        let store = Store::new(config, Arc::default());
        let mut number = 0_u32;
        // As many items as fit into some spans.
        while number < 40_000 || store.partitions[0].lock().spans.free_bytes(1) > 0 {
            set(&store, &number.to_le_bytes(), b"v", 0, 0, now(100)).expect("stored");
            number += 1;
        }
        // Stored again in their slots, the first are the newest.
        (0..30_000_u32).for_each(|first| _ = set(&store, &first.to_le_bytes(), b"v", 0, 0, now(100)));
        let mut partition = store.partitions[0].lock();
        assert!(partition.start_emptying(1));
        let before = partition.len();
        partition.finish_emptying(now(100));
        assert_eq!((partition.rebalance.span, partition.spans.free_bytes(1)), (0, 0), "it is given up");
        let (moved, gone) = (partition.rebalance.tally.rescues, before - partition.len());
        // For each that was moved another one went.
        assert_eq!(moved as usize, STEPS_MAX * WORK_MAX / 2);
        assert!(gone > 2 * STEPS_MAX * WORK_MAX, "{gone} of a span with more went");
    }
}

//! What the policies keep and what they let go, seen from outside: one partition, one class of a few hundred items.

use crate::base::sync::Arc;
use crate::base::time::Now;

use super::super::partition::Partition;
use super::super::value::NewValue;
use super::super::{Config, Marks, NewItem, Policy, Store, Tuning};
use super::policy::{Preparation, TAILS_MAX};
use super::{Segment, quick_demotion};

const NOW: Now = Now { seconds: 100, epoch: 1_700_000_000 };

struct Cache(Store);

impl Cache {
    /// A store of 1 MiB that holds about 900 items of this test.
    fn new(policy: Policy) -> Self {
        let tuning = Tuning { policy, ..Tuning::default() };
        Self(Store::new(Config { memory_limit_bytes: 1 << 20, tuning, ..Config::default() }, Arc::default()))
    }

    fn set(&self, number: u32) {
        self.set_until(number, 0);
    }

    fn set_until(&self, number: u32, exptime: u32) {
        let key = number.to_be_bytes();
        let new = NewItem { flags: 0, exptime, cas: None, value: NewValue::Bytes(&[7; 1000]), marks: Marks::default() };
        self.0.entry(&key, self.0.hash(&key), NOW, |entry| entry.insert(new)).expect("stored");
    }

    fn get(&self, number: u32) -> bool {
        let key = number.to_be_bytes();
        self.0.entry(&key, self.0.hash(&key), NOW, |entry| {
            entry.bump();
            entry.item().is_some()
        })
    }

    /// A get, and a set after a miss; whether it hit.
    fn look_aside(&self, number: u32) -> bool {
        let is_hit = self.get(number);
        if !is_hit {
            self.set(number);
        }
        is_hit
    }

    fn hits(&self, numbers: std::ops::Range<u32>) -> usize {
        numbers.filter(|&number| self.look_aside(number)).count()
    }

    /// Items in a segment.
    fn items(&self, segment: Segment) -> usize {
        self.0.snapshot().classes.iter().map(|class| class.items[segment.index()]).sum()
    }

    fn held(&self, numbers: std::ops::Range<u32>) -> usize {
        let is_held = |number: &u32| {
            let key = number.to_be_bytes();
            self.0.entry(&key, self.0.hash(&key), NOW, |entry| entry.item().is_some())
        };
        numbers.filter(is_held).count()
    }
}

#[test]
fn a_scan_pushes_out_what_nobody_fetched_and_nothing_else() {
    let cache = Cache::new(Policy::QuickDemotion);
    for _ in 0..3 {
        cache.hits(0..400);
    }
    cache.hits(10_000..13_000);
    assert_eq!(cache.held(0..400), 400);
    let flushed = Cache::new(Policy::Segmented);
    flushed.hits(0..400);
    flushed.hits(0..400);
    flushed.hits(10_000..13_000);
    assert!(flushed.held(0..400) < 400, "the test is too easy");
}

#[test]
fn a_loop_longer_than_memory_hits() {
    let cache = Cache::new(Policy::QuickDemotion);
    for _ in 0..5 {
        cache.hits(0..2000);
    }
    let hits = cache.hits(0..2000);
    // 580 to 700 by the seed of the hash.
    assert!(hits > 400, "{hits} of {}", cache.held(0..2000));
    let lru = Cache::new(Policy::Flat);
    for _ in 0..5 {
        lru.hits(0..2000);
    }
    assert_eq!(lru.hits(0..2000), 0);
}

#[test]
fn who_comes_back_goes_to_warm() {
    let cache = Cache::new(Policy::QuickDemotion);
    cache.hits(0..1500);
    // The last to go: of the first the memory may be gone as well, which depends on the hashes.
    let gone = (900..1500).rev().find(|&number| cache.held(number..number + 1) == 0).expect("one in ten stays");
    let before = cache.items(Segment::Warm);
    cache.look_aside(gone);
    assert_eq!(cache.items(Segment::Warm), before + 1);
    cache.set(gone);
    assert_eq!(cache.items(Segment::Warm), before + 1, "an item that is replaced stays where it is");
}

#[test]
fn segments_keep_to_their_shares() {
    let cache = Cache::new(Policy::QuickDemotion);
    for round in 0..4 {
        cache.hits(0..600);
        cache.hits(round * 1000..round * 1000 + 1000);
    }
    let total: usize = [Segment::Hot, Segment::Warm, Segment::Cold].map(|segment| cache.items(segment)).iter().sum();
    assert!((total / 11..total / 7).contains(&cache.items(Segment::Hot)), "{} of {total}", cache.items(Segment::Hot));
    assert!(cache.items(Segment::Warm) <= total * 8 / 10);
}

/// Keys that are only written: memory must not stay with the first of them.
#[test]
fn what_was_never_fetched_goes_in_the_end() {
    let cache = Cache::new(Policy::QuickDemotion);
    for number in 0..30_000 {
        cache.set(number);
    }
    assert_eq!(cache.held(0..800), 0);
    assert!(cache.held(29_950..30_000) == 50);
}

#[test]
fn the_policy_may_change_at_any_time() {
    let cache = Cache::new(Policy::QuickDemotion);
    for round in 0..30 {
        let policy = Policy::ALL[round as usize % Policy::ALL.len()];
        cache.0.tune(|tuning| tuning.policy = policy);
        cache.hits(0..700);
        cache.hits(round * 500..round * 500 + 1000);
        cache.0.maintain(0, 1, NOW);
        assert!(cache.held(round * 500 + 990..round * 500 + 1000) > 0);
    }
}

#[test]
fn a_fetch_marks_and_moves_nothing() {
    let cache = Cache::new(Policy::QuickDemotion);
    for _ in 0..2 {
        cache.hits(0..1200);
    }
    let before = [Segment::Hot, Segment::Warm, Segment::Cold].map(|segment| cache.items(segment));
    for _ in 0..3 {
        (0..1200).filter(|&number| cache.get(number)).count();
    }
    assert_eq!([Segment::Hot, Segment::Warm, Segment::Cold].map(|segment| cache.items(segment)), before);
}

#[test]
fn names_of_policies() {
    for policy in Policy::ALL {
        assert_eq!(Policy::named(policy.name().as_bytes()), Some(policy));
    }
    assert_eq!(Policy::named(b"lru"), None);
}

#[test]
fn an_eviction_gives_few_second_chances() {
    let cache = Cache::new(Policy::QuickDemotion);
    cache.hits(0..300);
    for _ in 0..2 {
        assert_eq!(cache.hits(0..300), 300);
    }
    let mut partition = cache.0.partitions[0].lock();
    let class = (1..partition.classes.len()).find(|&class| partition.classes[class].bytes() > 0).expect("a class");
    let moves = |partition: &Partition| {
        let counters = &partition.classes[class].counters;
        counters.moves_to_cold + counters.moves_to_warm + counters.moves_within_lru
    };
    let before = moves(&partition);
    assert_eq!(partition.prepare_eviction(class, NOW), Preparation::Take(Segment::Cold));
    assert_eq!(moves(&partition) - before, quick_demotion::STEPS_MAX as u64);
}

#[test]
fn an_eviction_looks_behind_few_pinned_tails() {
    let cache = Cache::new(Policy::Flat);
    (0..20).for_each(|number| cache.set(number));
    let mut partition = cache.0.partitions[0].lock();
    let class = (1..partition.classes.len()).find(|&class| partition.classes[class].bytes() > 0).expect("a class");
    let mut tail = partition.classes[class].lists[Segment::Cold.index()].tail;
    for pinned in 0..10 {
        let expected = (pinned < TAILS_MAX).then_some(tail);
        assert_eq!(partition.victim(class, Segment::Hot), expected, "behind {pinned} pinned ones");
        partition.pins.lock(tail);
        tail = partition.item(tail).prev();
    }
}

/// While COLD was empty the segmented LRU threw up to [`TAILS_MAX`] dead tails of HOT and WARM away and took that for
/// nothing: a live item was evicted as well, or when there was none left, the store was told that nothing could go.
#[test]
fn an_eviction_that_meets_a_dead_item_takes_that_and_no_other() {
    for (policy, has_maintainer) in Policy::ALL.into_iter().flat_map(|policy| [(policy, false), (policy, true)]) {
        let cache = Cache::new(policy);
        cache.0.tune(|tuning| tuning.has_maintainer = has_maintainer);
        (0..TAILS_MAX as u32 - 1).for_each(|number| cache.set_until(number, NOW.seconds + 1));
        cache.set(100);
        let mut partition = cache.0.partitions[0].lock();
        let class = (1..partition.classes.len()).find(|&class| partition.classes[class].bytes() > 0).expect("a class");
        let later = Now { seconds: NOW.seconds + 10, ..NOW };
        for left in (0..TAILS_MAX).rev() {
            let evicted =
                (partition.evict_from(class, later), partition.len(), partition.classes[class].counters.evicted);
            assert_eq!(evicted, (true, left, u64::from(left == 0)), "{policy:?}, maintainer {has_maintainer}");
        }
        assert!(!partition.evict_from(class, later), "{policy:?}: nothing is left");
    }
}

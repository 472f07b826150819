//! Bounds of the store that no other test reaches, from one below to one above.

use super::tests::{now, set};
use super::value::{LargeValue, Value};
use super::*;
use crate::base::sizes::item_bytes;

#[test]
fn items_up_to_a_size_are_kept_in_slots() {
    let store = Store::new(Config::default(), Arc::default());
    let most = INLINE_ITEM_BYTES_MAX - item_bytes(3, 0, false, true);
    assert_eq!((store.fit(3, most, 0), store.fit(3, most + 1, 0)), (Fit::Inline, Fit::Large));
}

#[test]
fn others_may_be_faster_with_a_page_for_a_bounded_number_of_times() {
    let mut steals = 0;
    let mut steal = || {
        steals += 1;
        true
    };
    assert_eq!(take_after_stealing(&mut steal, || None::<()>), None);
    assert_eq!(steals, STEALS_MAX);
    let mut left = STEALS_MAX;
    let taken = take_after_stealing(
        || true,
        || {
            left -= 1;
            (left == 0).then_some(7)
        },
    );
    assert_eq!(taken, Some(7));
    assert_eq!(take_after_stealing(|| false, || Some(7)), None);
}

/// While replies hold all that is evicted a large value finds nothing, and evicts no more than so much for it.
#[test]
fn a_large_value_evicts_a_bounded_number_of_items() {
    let mut config = Config { memory_limit_bytes: 8 << 20, slab_chunk_max: 512, ..Config::default() };
    config.tuning.automove = 0;
    let store = Store::new(config, Arc::default());
    let mut held: Vec<LargeValue> = Vec::new();
    let evicted = || -> u64 { store.snapshot().classes.iter().map(|class| class.counters.evicted).sum() };
    for number in 0..100_000_u32 {
        let key = number.to_le_bytes();
        if set(&store, &key, &[7; 600], 0, 0, now(100)).is_err() {
            break;
        }
        store.entry(&key, store.hash(&key), now(100), |entry| match entry.item().expect("stored").value() {
            Value::Large(value) => held.push(value.clone()),
            Value::Inline(_) => panic!("it is large"),
        });
    }
    let items = held.len() as u64;
    assert!(items > LARGE_EVICTIONS_MAX as u64 && evicted() == LARGE_EVICTIONS_MAX as u64, "{} of {items}", evicted());
}

/// Without evictions classes keep to their pages, but each gets a first one: another class is to give back what is above
/// the limit for it, after a while.
#[test]
fn first_pages_above_the_limit_stay_for_a_while() {
    let config = Config { memory_limit_bytes: 4 << 20, has_evictions: false, ..Config::default() };
    let store = Store::new(config, Arc::default());
    let mut number = 0_u32;
    while set(&store, &number.to_le_bytes(), &[7; 1000], 0, 0, now(100)).is_ok() {
        number += 1;
    }
    set(&store, b"first of its class", &[7; 5000], 0, 0, now(100)).expect("a first page");
    let begins = (101..200).find(|&seconds| {
        store.move_step(now(seconds));
        store.mover.lock().is_running()
    });
    assert_eq!(begins, Some(101 + mover::EXCESS_SECONDS_MAX), "it was seen in the first second");
}

//! `flush_all`: which items are dead because of it.
//!
//! An item carries the coarse second of its last touch. A flush at once covers everything touched so far, the current
//! second included; so that what is stored after it in the same second lives, the item clock runs ahead of the wall
//! clock from then on until that has caught up. A delayed flush becomes a flush at once when its time has come, by the
//! first lookup or store that sees it. A later flush never brings back what an earlier one covered.

use crate::base::sync::{AtomicU32, Ordering};
use crate::base::time::Now;

/// The marks. Written by `flush_all`, read at every lookup.
#[derive(Default, Debug)]
pub struct FlushMarks {
    /// Items touched at or before this item-clock second are dead.
    through: AtomicU32,
    /// At this coarse second everything dies; 0 is none.
    delayed: AtomicU32,
    /// What `stats settings` shows as `oldest`.
    shown: AtomicU32,
}

impl FlushMarks {
    /// The item clock: what a touch at `now` writes into an item.
    #[inline]
    pub fn touch_time(&self, now: Now) -> u32 {
        self.settle(now);
        now.seconds.max(self.through.load(Ordering::Relaxed) + 1)
    }

    /// Whether an item touched at `time` is covered.
    #[inline]
    pub fn is_covered(&self, time: u32, now: Now) -> bool {
        self.settle(now);
        time <= self.through.load(Ordering::Relaxed)
    }

    /// Carries out a delayed flush whose time has come.
    #[inline]
    fn settle(&self, now: Now) {
        let delayed = self.delayed.load(Ordering::Relaxed);
        if delayed != 0 && delayed <= now.seconds {
            self.settle_at(delayed);
        }
    }

    #[cold]
    fn settle_at(&self, delayed: u32) {
        if self.delayed.compare_exchange(delayed, 0, Ordering::Relaxed, Ordering::Relaxed).is_ok() {
            self.cover(delayed);
        }
    }

    /// Covers everything that the item clock has touched up to coarse second `seconds`.
    fn cover(&self, seconds: u32) {
        let through = self.through.load(Ordering::Relaxed);
        self.through.fetch_max(seconds.max(through.saturating_add(1)).min(u32::MAX - 1), Ordering::Relaxed);
    }

    /// A flush at once; a delayed one is off.
    pub fn flush_now(&self, now: Now) {
        self.delayed.store(0, Ordering::Relaxed);
        self.cover(now.seconds);
    }

    /// A flush at coarse second `at`, from `now.seconds` + 1 on, in the place of one that waits; with 0 of none. As in
    /// memcached it comes a second early.
    pub fn flush_at(&self, at: u32, now: Now) {
        self.settle(now);
        self.delayed.store(at.saturating_sub(1), Ordering::Relaxed);
    }

    /// What [`FlushMarks::shown`] says from now on, for a flush at coarse second `at`.
    pub fn show(&self, at: u32) {
        self.shown.store(at.saturating_sub(1), Ordering::Relaxed);
    }

    /// The marks, to be kept over a restart: see the fields, in their order.
    pub fn saved(&self) -> [u32; 3] {
        [&self.through, &self.delayed, &self.shown].map(|mark| mark.load(Ordering::Relaxed))
    }

    /// Takes marks over that were [saved](FlushMarks::saved), on the same coarse clock.
    pub fn restore(&self, saved: [u32; 3]) {
        for (mark, value) in [&self.through, &self.delayed, &self.shown].into_iter().zip(saved) {
            mark.store(value, Ordering::Relaxed);
        }
    }

    /// `oldest` in `stats settings`.
    pub fn shown(&self) -> u32 {
        self.shown.load(Ordering::Relaxed)
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{get, now, set};
    use super::super::{Config, Store};
    use super::*;
    use crate::base::sync::Arc;

    fn at(seconds: u32) -> Now {
        Now { seconds, epoch: 0 }
    }

    #[test]
    fn a_flush_covers_the_past_and_nothing_else() {
        let marks = FlushMarks::default();
        let before = marks.touch_time(at(100));
        marks.flush_now(at(100));
        let after = marks.touch_time(at(100));
        assert!(marks.is_covered(before, at(100)) && !marks.is_covered(after, at(100)));
        marks.flush_now(at(100));
        assert!(marks.is_covered(after, at(100)));
        assert!(!marks.is_covered(marks.touch_time(at(100)), at(100)));
        assert_eq!(marks.touch_time(at(200)), 200);
    }

    #[test]
    fn a_delayed_flush_waits_and_does_not_bring_back() {
        let marks = FlushMarks::default();
        let before = marks.touch_time(at(100));
        marks.flush_at(110, at(100));
        assert!(!marks.is_covered(before, at(108)) && marks.is_covered(before, at(109)));
        let after = marks.touch_time(at(109));
        assert!(!marks.is_covered(after, at(111)));
        marks.flush_at(200, at(120));
        assert!(marks.is_covered(before, at(120)) && !marks.is_covered(after, at(120)));
    }

    /// One of before the server's start covered a second more than had been flushed.
    #[test]
    fn a_flush_of_no_time_covers_nothing() {
        let marks = FlushMarks::default();
        marks.flush_now(at(100));
        let after = marks.touch_time(at(100));
        marks.flush_at(110, at(100));
        marks.flush_at(0, at(100));
        assert!(!marks.is_covered(after, at(100)) && !marks.is_covered(after, at(200)));
    }

    /// As in memcached a time of before the server's start flushes nothing, and a later one in the past everything; the first used to
    /// flush what an earlier flush in the same second had let live, and the second what was older than it.
    #[test]
    fn a_flush_in_the_past_is_at_once_or_none() {
        let store = Store::new(Config::default(), Arc::default());
        store.flush(None, now(100));
        set(&store, b"key", b"value", 0, 0, now(100)).expect("stored");
        store.flush(Some(1), now(100));
        assert!(get(&store, b"key", now(100)).is_some());
        assert_eq!(store.snapshot().oldest_live, 0);
        store.flush(Some(50), now(200));
        assert_eq!(get(&store, b"key", now(200)), None);
        assert_eq!(store.snapshot().oldest_live, 49);
        set(&store, b"key", b"value", 0, 0, now(200)).expect("stored");
        assert!(get(&store, b"key", now(200)).is_some());
    }

    #[test]
    fn a_delayed_flush_covers_what_the_clock_ran_ahead_for() {
        let marks = FlushMarks::default();
        (0..5).for_each(|_| marks.flush_now(at(100)));
        let ahead = marks.touch_time(at(100));
        assert!(ahead > 102);
        marks.flush_at(102, at(100));
        assert!(!marks.is_covered(ahead, at(100)) && marks.is_covered(ahead, at(101)));
        assert!(!marks.is_covered(marks.touch_time(at(101)), at(101)));
    }
}

#[cfg(all(test, feature = "loom"))]
mod models {
    use super::*;
    use crate::base::sync::Arc;
    use crate::base::sync::model::{check, thread};

    fn at(seconds: u32) -> Now {
        Now { seconds, epoch: 0 }
    }

    /// Two workers carry a delayed flush out, and one of them flushes at once after it.
    #[test]
    fn what_is_covered_stays_covered() {
        check(|| {
            let marks = Arc::new(FlushMarks::default());
            let before = marks.touch_time(at(100));
            marks.flush_at(110, at(100));
            let other = Arc::clone(&marks);
            let other = thread::spawn(move || {
                let is_covered = other.is_covered(before, at(111));
                other.flush_now(at(112));
                is_covered
            });
            let first = marks.is_covered(before, at(111));
            assert!(!first || marks.is_covered(before, at(111)), "it came back");
            other.join().expect("no panic");
            assert!(marks.is_covered(112, at(108)), "the later flush");
            assert!(!marks.is_covered(marks.touch_time(at(100)), at(112)));
        });
    }

    /// Two workers see at a time that the second has come. What one of them stores after it has been carried out lives.
    #[test]
    fn a_delayed_flush_is_carried_out_once() {
        check(|| {
            let marks = Arc::new(FlushMarks::default());
            marks.flush_at(110, at(100));
            let other = Arc::clone(&marks);
            let other = thread::spawn(move || other.is_covered(100, at(109)));
            let stored = marks.touch_time(at(109));
            other.join().expect("no panic");
            assert!(marks.is_covered(109, at(109)));
            assert!(stored == 109 || !marks.is_covered(stored, at(109)));
        });
    }

    #[test]
    fn each_flush_covers_what_was_touched_before_it() {
        check(|| {
            let marks = Arc::new(FlushMarks::default());
            let other = Arc::clone(&marks);
            let flush = |marks: &FlushMarks, now| {
                let touched = marks.touch_time(now);
                marks.flush_now(now);
                assert!(marks.is_covered(touched, now));
            };
            // The other worker's clock is ahead.
            let other = thread::spawn(move || flush(&other, at(105)));
            flush(&marks, at(100));
            other.join().expect("no panic");
        });
    }
}

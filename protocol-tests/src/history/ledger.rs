//! What is known of every key, by all clients together.
//!
//! Times are nanoseconds since the start of the run. A begin is taken before anything is sent, an end after everything has
//! been received, so a write is believed to have been under way longer than it was: what is reported is wrong, whatever
//! the threads did.

use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

/// Keys of plain values, of values that expire, and of counters follow each other.
#[derive(Debug)]
pub struct Ledger {
    keys: Box<[Key]>,
    counters: Box<[Mutex<Counter>]>,
    /// The begin of the latest flush, or of a restart, that is over.
    flushed: AtomicU64,
    lifetimes: AtomicU64,
    recent_ids: Box<[Mutex<(u64, u64)>]>,
}

/// A key's history.
#[derive(Debug)]
struct Key {
    /// The begin of the latest write or delete that is over for everybody.
    floor: AtomicU64,
    /// Writes so far.
    writes: AtomicU64,
    slots: [Slot; SLOTS],
}

/// One of a key's latest writes.
#[derive(Debug, Default)]
struct Slot {
    number: AtomicU64,
    /// 0 while it is under way.
    end: AtomicU64,
    /// Its CAS id; 0 while nobody has seen it.
    cas: AtomicU64,
    /// How many compare-and-swaps have replaced it.
    swaps: AtomicU64,
}

/// A counter's present lifetime.
#[derive(Debug, Default)]
struct Counter {
    lifetime: u64,
    answers: u64,
    highest: u64,
    /// Bit n: `highest` - n was answered.
    seen: u128,
    /// In lifetimes below this one counts may have been done whose answers were lost.
    unsure_below: u64,
}

/// When a write ended, as far as is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// It is under way.
    Open,
    /// At this time.
    At(u64),
    /// It was refused: nobody may ever see it.
    Refused,
    /// So many writes ago that it is not kept.
    Forgotten,
}

impl Ledger {
    /// Nothing has happened yet.
    pub fn new(keys: usize, counters: usize) -> Ledger {
        let key = |_| Key { floor: AtomicU64::new(0), writes: AtomicU64::new(0), slots: Default::default() };
        Ledger {
            keys: (0..keys).map(key).collect(),
            counters: (0..counters).map(|_| Mutex::default()).collect(),
            flushed: AtomicU64::new(0),
            lifetimes: AtomicU64::new(1),
            recent_ids: (0..IDS).map(|_| Mutex::default()).collect(),
        }
    }

    /// Begins a write and gives it its number.
    pub fn begin(&self, key: u32) -> u64 {
        let entry = &self.keys[key as usize];
        let number = entry.writes.fetch_add(1, Ordering::SeqCst) + 1;
        let slot = &entry.slots[number as usize % SLOTS];
        // Whoever looks meanwhile finds no number, which is "forgotten".
        slot.number.store(0, Ordering::SeqCst);
        slot.end.store(0, Ordering::SeqCst);
        slot.cas.store(0, Ordering::SeqCst);
        slot.swaps.store(0, Ordering::SeqCst);
        slot.number.store(number, Ordering::SeqCst);
        number
    }

    /// A write is over: it has been acknowledged.
    pub fn end(&self, key: u32, number: u64, begin: u64, now: u64) {
        self.finish(key, number, now);
        self.raise(key, begin);
    }

    /// A write is over without effect: nobody may ever see it.
    pub fn refuse(&self, key: u32, number: u64) {
        self.finish(key, number, REFUSED);
    }

    /// A write is over, with or without effect: its connection is gone.
    pub fn abandon(&self, key: u32, number: u64, now: u64) {
        self.finish(key, number, now);
    }

    fn finish(&self, key: u32, number: u64, end: u64) {
        let slot = &self.keys[key as usize].slots[number as usize % SLOTS];
        if slot.number.load(Ordering::SeqCst) == number {
            slot.end.store(end, Ordering::SeqCst);
        }
    }

    /// A write or delete that began then is over for everybody.
    pub fn raise(&self, key: u32, begin: u64) {
        self.keys[key as usize].floor.fetch_max(begin, Ordering::SeqCst);
    }

    /// A flush that began then is over.
    pub fn flush(&self, begin: u64) {
        self.flushed.fetch_max(begin, Ordering::SeqCst);
    }

    /// What began before this and ended before it, too, must not be read any more by what begins now.
    pub fn floor(&self, key: u32) -> u64 {
        self.keys[key as usize].floor.load(Ordering::SeqCst).max(self.flushed.load(Ordering::SeqCst))
    }

    /// When a write ended.
    pub fn end_of(&self, key: u32, number: u64) -> End {
        let slot = &self.keys[key as usize].slots[number as usize % SLOTS];
        let end = slot.end.load(Ordering::SeqCst);
        if slot.number.load(Ordering::SeqCst) != number {
            return End::Forgotten;
        }
        match end {
            0 => End::Open,
            REFUSED => End::Refused,
            end => End::At(end),
        }
    }

    /// Whether a write was ever begun.
    pub fn is_known(&self, key: u32, number: u64) -> bool {
        number <= self.keys[key as usize].writes.load(Ordering::SeqCst)
    }

    /// A write has been seen with a CAS id: it never has another one, and no other write of late has it.
    pub fn see_cas(&self, key: u32, number: u64, cas: u64) -> Result<(), String> {
        let slot = &self.keys[key as usize].slots[number as usize % SLOTS];
        if slot.number.load(Ordering::SeqCst) == number {
            let known = slot.cas.compare_exchange(0, cas, Ordering::SeqCst, Ordering::SeqCst).err().unwrap_or(cas);
            if known != cas && slot.number.load(Ordering::SeqCst) == number {
                return Err(format!("CAS id {cas} of a value that had {known}"));
            }
        }
        let name = u64::from(key) << 40 | number & ((1 << 40) - 1);
        let place = &self.recent_ids[(cas.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 40) as usize % IDS];
        let mut recent = place.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        if recent.0 == cas && recent.1 != name {
            let (other, write) = (recent.1 >> 40, recent.1 & ((1 << 40) - 1));
            return Err(format!("CAS id {cas} is also that of key {other}, write {write}"));
        }
        *recent = (cas, name);
        Ok(())
    }

    /// A compare-and-swap has replaced a write: only one can.
    pub fn swap(&self, key: u32, number: u64) -> Result<(), String> {
        let slot = &self.keys[key as usize].slots[number as usize % SLOTS];
        if slot.number.load(Ordering::SeqCst) != number {
            return Ok(());
        }
        match slot.swaps.fetch_add(1, Ordering::SeqCst) {
            0 => Ok(()),
            _ => Err("two compare-and-swaps of one id were stored".to_string()),
        }
    }

    /// The server is another one, with CAS ids of its own and without counters.
    pub fn restart(&self) {
        for place in &self.recent_ids {
            *place.lock().unwrap_or_else(std::sync::PoisonError::into_inner) = (0, 0);
        }
        for counter in &self.counters {
            *counter.lock().unwrap_or_else(std::sync::PoisonError::into_inner) = Counter::default();
        }
    }

    /// A number to start a counter at; its lower half is 0.
    pub fn lifetime(&self) -> u64 {
        self.lifetimes.fetch_add(1, Ordering::SeqCst) << 32
    }

    /// A counter has answered a number. Counts of a lifetime come once each.
    pub fn count(&self, counter: u32, number: u64) -> Result<(), String> {
        let (lifetime, count) = (number >> 32, number & 0xffff_ffff);
        if lifetime == 0 || lifetime >= self.lifetimes.load(Ordering::SeqCst) || count == 0 {
            return Err(format!("{number} is no count"));
        }
        let mut entry = self.counters[counter as usize].lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        if entry.lifetime != lifetime {
            // The answer of an older one may come late; it is not checked then.
            if lifetime > entry.lifetime {
                *entry = Counter { lifetime, answers: 1, highest: count, seen: 1, ..*entry };
            }
            return Ok(());
        }
        entry.answers += 1;
        if count > entry.highest {
            let distance = count - entry.highest;
            entry.seen = if distance < 128 { entry.seen << distance | 1 } else { 1 };
            entry.highest = count;
            return Ok(());
        }
        let distance = entry.highest - count;
        if distance < 128 {
            if entry.seen >> distance & 1 == 1 {
                return Err(format!("count {count} of lifetime {lifetime} was answered twice"));
            }
            entry.seen |= 1 << distance;
        }
        Ok(())
    }

    /// A count was asked for, and its connection is gone: it may have been done or not.
    pub fn abandon_count(&self, counter: u32) {
        let mut entry = self.counters[counter as usize].lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        entry.unsure_below = self.lifetimes.load(Ordering::SeqCst);
    }

    /// At rest a counter holds as many counts as were answered.
    pub fn check_counter(&self, counter: u32, number: u64) -> Result<(), String> {
        let entry = self.counters[counter as usize].lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let (lifetime, count) = (number >> 32, number & 0xffff_ffff);
        if lifetime == entry.lifetime && lifetime >= entry.unsure_below && count != entry.answers {
            return Err(format!("counter {counter} holds {count} after {} counts were answered", entry.answers));
        }
        Ok(())
    }
}

/// Latest writes of a key whose ends are kept.
const SLOTS: usize = 32;

/// CAS ids that are remembered for a while.
const IDS: usize = 1 << 16;

/// The end of a write without effect.
const REFUSED: u64 = u64::MAX;

#[cfg(test)]
mod tests {
    use super::{End, Ledger};

    #[test]
    fn ends_are_kept_for_a_while() {
        let ledger = Ledger::new(1, 1);
        let first = ledger.begin(0);
        assert_eq!(ledger.end_of(0, first), End::Open);
        ledger.end(0, first, 5, 9);
        assert_eq!((ledger.end_of(0, first), ledger.floor(0)), (End::At(9), 5));
        let second = ledger.begin(0);
        ledger.refuse(0, second);
        assert_eq!((ledger.end_of(0, second), ledger.floor(0)), (End::Refused, 5));
        for _ in 0..32 {
            ledger.begin(0);
        }
        assert_eq!(ledger.end_of(0, first), End::Forgotten);
        assert!(ledger.is_known(0, first) && !ledger.is_known(0, 99));
        ledger.flush(7);
        assert_eq!(ledger.floor(0), 7);
    }

    #[test]
    fn counts_come_once_and_all_of_them() {
        let ledger = Ledger::new(1, 1);
        let start = ledger.lifetime();
        for count in [1, 2, 4, 3] {
            ledger.count(0, start + count).unwrap();
        }
        ledger.check_counter(0, start + 4).unwrap();
        assert!(ledger.check_counter(0, start + 3).is_err());
        assert!(ledger.count(0, start + 2).is_err());
        assert!(ledger.count(0, 17).is_err());
        // What was asked for when a connection broke may be there or not.
        ledger.abandon_count(0);
        ledger.check_counter(0, start + 3).unwrap();
        let next = ledger.lifetime();
        ledger.count(0, next + 1).unwrap();
        assert!(ledger.check_counter(0, next + 2).is_err());
    }

    #[test]
    fn cas_ids_belong_to_one_write() {
        let ledger = Ledger::new(2, 1);
        let write = ledger.begin(0);
        ledger.see_cas(0, write, 7).unwrap();
        ledger.see_cas(0, write, 7).unwrap();
        assert!(ledger.see_cas(0, write, 8).is_err());
        let other = ledger.begin(1);
        assert!(ledger.see_cas(1, other, 7).is_err());
        ledger.swap(0, write).unwrap();
        assert!(ledger.swap(0, write).is_err());
    }
}

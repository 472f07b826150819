//! Which class should give a page to which: a policy over per-class numbers, once a second. Pure; how a page is moved is
//! `mover`'s business. The rules are memcached's `slab_automove`.

/// Pages a class must own to give one to another class.
const PAGES_MIN_FOR_SOURCE: usize = 2;

/// Free pages a class keeps.
const PAGES_FREE_KEPT: f64 = 2.5;

/// What the policy looks at, per class.
#[derive(Clone, Copy, Default, Debug)]
pub struct Sample {
    /// Evictions so far.
    pub evicted: u64,
    /// Failed stores so far.
    pub outofmemory: u64,
    /// Age of the oldest item that an eviction would take, seconds.
    pub age: u64,
    /// Pages owned.
    pub pages: usize,
    /// Free memory, in pages.
    pub free_pages: f64,
}

#[derive(Clone, Copy, Default)]
struct Second {
    age: u64,
    is_dirty: bool,
    evicted_ratio: f64,
    has_evicted: bool,
}

/// A decision: move `pages` pages from a class to another, 0 being the pool.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Decision {
    /// Source class.
    pub source: usize,
    /// Target class, or 0.
    pub target: usize,
    /// How many.
    pub pages: usize,
}

/// The policy's memory: a window of seconds per class.
#[derive(Default)]
pub struct Automove {
    window: usize,
    /// By class, then second.
    seconds: Vec<Vec<Second>>,
    before: Vec<Sample>,
    current: usize,
}

impl Automove {
    /// Looks at the classes once a second. `is_full` says whether all memory is given out.
    pub fn run(&mut self, samples: &[Sample], window: usize, age_ratio: f64, is_full: bool) -> Option<Decision> {
        if self.window != window || self.before.len() != samples.len() {
            *self = Self {
                window,
                seconds: vec![vec![Second::default(); window]; samples.len()],
                before: samples.to_vec(),
                current: 0,
            };
        }
        self.current += 1;
        let evicted_total: u64 =
            samples.iter().zip(&self.before).map(|(now, before)| now.evicted.saturating_sub(before.evicted)).sum();
        let decision = self.decide(samples, evicted_total, age_ratio, is_full);
        self.before.copy_from_slice(samples);
        decision
    }

    fn decide(&mut self, samples: &[Sample], evicted_total: u64, age_ratio: f64, is_full: bool) -> Option<Decision> {
        let mut oldest: Option<(usize, u64)> = None;
        let mut youngest: Option<(usize, u64, bool)> = None;
        for (class, sample) in samples.iter().enumerate().skip(1) {
            let before = self.before[class];
            let evicted = sample.evicted.saturating_sub(before.evicted);
            let second = Second {
                age: sample.age,
                is_dirty: evicted > 0 || sample.outofmemory > before.outofmemory || sample.pages > before.pages,
                evicted_ratio: if evicted == 0 { 0.0 } else { evicted as f64 / evicted_total as f64 },
                has_evicted: evicted > 0,
            };
            let slot = self.current % self.window;
            self.seconds[class][slot] = second;
            let window = &self.seconds[class];
            let age = window.iter().map(|second| second.age).sum::<u64>() / self.window as u64;
            let is_dirty = window.iter().any(|second| second.is_dirty);
            if sample.free_pages > PAGES_FREE_KEPT && is_full && !is_dirty {
                let pages = ((sample.free_pages - PAGES_FREE_KEPT) as usize).max(1);
                return Some(Decision { source: class, target: 0, pages });
            }
            if sample.pages > PAGES_MIN_FOR_SOURCE && oldest.is_none_or(|(_, other)| age > other) && age > 0 {
                oldest = Some((class, age));
            }
            let evicting = window.iter().filter(|second| second.has_evicted).count();
            let ratio = window.iter().map(|second| second.evicted_ratio).sum::<f64>() / self.window as f64;
            if (evicting > self.window / 2 || ratio > 0.25) && youngest.is_none_or(|(_, other, _)| age < other) {
                youngest = Some((class, age, second.has_evicted));
            }
        }
        let ((source, old_age), (target, young_age, is_evicting)) = (oldest?, youngest?);
        let is_worth = self.current > self.window
            && is_evicting
            && source != target
            && (young_age as f64) < old_age as f64 * age_ratio;
        is_worth.then_some(Decision { source, target, pages: 1 })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn free_pages_go_to_the_pool_when_the_window_is_clean() {
        let mut automove = Automove::default();
        let mut samples = [Sample::default(); 3];
        samples[1] = Sample { pages: 10, free_pages: 5.0, ..Sample::default() };
        assert_eq!(automove.run(&samples, 3, 0.8, false), None);
        assert_eq!(automove.run(&samples, 3, 0.8, true), Some(Decision { source: 1, target: 0, pages: 2 }));
        samples[1].evicted += 1;
        assert_eq!(automove.run(&samples, 3, 0.8, true), None);
        assert_eq!(automove.run(&samples, 3, 0.8, true), None);
        assert_eq!(automove.run(&samples, 3, 0.8, true), None);
        assert!(automove.run(&samples, 3, 0.8, true).is_some());
    }

    #[test]
    fn the_oldest_class_feeds_the_youngest() {
        let mut automove = Automove::default();
        let mut samples = [Sample::default(); 3];
        let mut decided = None;
        for second in 1..=4 {
            samples[1] = Sample { pages: 10, age: 100, ..Sample::default() };
            samples[2] = Sample { pages: 2, age: 3, evicted: second * 10, ..Sample::default() };
            decided = automove.run(&samples, 3, 0.8, true);
            assert_eq!(decided.is_some(), second > 3, "second {second}");
        }
        assert_eq!(decided, Some(Decision { source: 1, target: 2, pages: 1 }));
    }
}

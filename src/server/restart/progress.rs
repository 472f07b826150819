//! A line every few seconds for what takes long, and a word to the service manager that it is still going on.

use std::time::{Duration, Instant};

use crate::base::sync::{AtomicU64, Mutex, Ordering};

/// How far a save or load is. Shared by its threads.
pub struct Progress<'a> {
    /// Items, of which `done` are done.
    all: u64,
    done: AtomicU64,
    start: Instant,
    /// When the last line was said.
    said: Mutex<Instant>,
    /// Is told how far it is, in words.
    say: &'a (dyn Fn(&str) + Sync),
}

/// Between two lines.
const INTERVAL: Duration = Duration::from_secs(5);

/// Items between two looks at the clock, about.
const LOOK_ITEMS: u64 = 4096;

impl<'a> Progress<'a> {
    /// Of `all` items none are done.
    pub fn new(all: u64, say: &'a (dyn Fn(&str) + Sync)) -> Self {
        let start = Instant::now();
        Self { all, done: AtomicU64::new(0), start, said: Mutex::new(start), say }
    }

    /// Some more items are done.
    pub fn add(&self, items: u64) {
        let before = self.done.fetch_add(items, Ordering::Relaxed);
        if before / LOOK_ITEMS != (before + items) / LOOK_ITEMS || items == 1 {
            self.look(Instant::now());
        }
    }

    fn look(&self, now: Instant) {
        // One thread that looks is enough.
        let Some(mut said) = self.said.try_lock() else { return };
        if now.saturating_duration_since(*said) < INTERVAL {
            return;
        }
        *said = now;
        let done = self.done.load(Ordering::Relaxed);
        let percent = done.min(self.all) * 100 / self.all.max(1);
        (self.say)(&format!("{percent} % of {} items", self.all));
    }

    /// Seconds since the start.
    pub fn seconds(&self) -> f64 {
        self.start.elapsed().as_secs_f64()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_comes_every_few_seconds() {
        let lines = Mutex::new(Vec::new());
        let say = |text: &str| lines.lock().push(text.to_owned());
        let progress = Progress::new(200, &say);
        progress.add(50);
        progress.look(progress.start + INTERVAL);
        progress.look(progress.start + INTERVAL);
        progress.add(350);
        progress.look(progress.start + INTERVAL * 2);
        assert_eq!(*lines.lock(), ["25 % of 200 items", "100 % of 200 items"]);
    }
}

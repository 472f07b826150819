//! The coarse clock: seconds since a little before the process started, and memcached's rules for exptimes.
//!
//! As in memcached the clock starts at 62, so that small values are always in the past, and moves in whole seconds.
//! Nothing below the worker loop reads a clock; [`Now`] is handed in.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use super::sync::{AtomicBool, AtomicI64, Ordering};

/// The clock's value when the process starts.
pub const START_SECONDS: u32 = 62;

/// Exptimes up to this many seconds are relative, larger ones are unix times (memcached's `REALTIME_MAXDELTA`).
pub const RELATIVE_EXPTIME_MAX: i64 = 60 * 60 * 24 * 30;

/// A moment on the coarse clock.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Now {
    /// Seconds on the coarse clock; 62 at start.
    pub seconds: u32,
    /// Unix time of coarse second 0.
    pub epoch: i64,
}

impl Now {
    /// The coarse time at which an exptime given by a client ends: 0 is never, negative is at once (1).
    /// Values above 30 days are unix times; one at or before the process' start is at once.
    pub fn deadline(self, exptime: i64) -> u32 {
        if exptime == 0 {
            0
        } else if exptime < 0 {
            1
        } else if exptime > RELATIVE_EXPTIME_MAX {
            let relative = exptime - self.epoch;
            if relative <= 0 { 1 } else { relative.min(i64::from(u32::MAX)) as u32 }
        } else {
            self.seconds.saturating_add(exptime as u32)
        }
    }

    /// The unix time of a moment on the coarse clock.
    pub fn unix(self, seconds: u32) -> i64 {
        self.epoch + i64::from(seconds)
    }
}

/// The process' clock. Shared by all workers; each reads it once per loop turn.
#[derive(Debug)]
pub struct Clock {
    start: Instant,
    epoch: i64,
    /// Seconds added by `debugtime`; written by commands, read by workers.
    shift_seconds: AtomicI64,
    /// While paused, the coarse time stands at `paused_at`, which is written first.
    is_paused: AtomicBool,
    paused_at: AtomicI64,
}

impl Clock {
    /// A clock that starts now.
    pub fn start() -> Self {
        let unix = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO).as_secs() as i64;
        Self {
            start: Instant::now(),
            epoch: unix - i64::from(START_SECONDS),
            shift_seconds: AtomicI64::new(0),
            is_paused: AtomicBool::new(false),
            paused_at: AtomicI64::new(0),
        }
    }

    /// A clock that goes on with coarse second `seconds` now, on the scale whose second 0 is unix time `epoch`: that of an
    /// earlier process.
    pub fn resume_at(epoch: i64, seconds: u32) -> Self {
        let shift = i64::from(seconds) - i64::from(START_SECONDS);
        Self { epoch, shift_seconds: AtomicI64::new(shift), ..Self::start() }
    }

    /// The coarse time now. Costs one read of the monotonic clock.
    pub fn now(&self) -> Now {
        self.at(Instant::now())
    }

    /// The coarse time at `instant`, for callers that read the monotonic clock for themselves.
    pub fn at(&self, instant: Instant) -> Now {
        let ticks = if self.is_paused.load(Ordering::Acquire) {
            self.paused_at.load(Ordering::Relaxed)
        } else {
            instant.saturating_duration_since(self.start).as_secs() as i64
        };
        let seconds = ticks + i64::from(START_SECONDS) + self.shift_seconds.load(Ordering::Relaxed);
        Now { seconds: seconds.clamp(1, i64::from(u32::MAX)) as u32, epoch: self.epoch }
    }

    /// Moves the coarse time by `seconds`; adds up (memcached's `debugtime N`).
    pub fn shift(&self, seconds: i64) {
        self.shift_seconds.fetch_add(seconds, Ordering::Relaxed);
    }

    /// Stops the clock (`debugtime p`).
    pub fn pause(&self) {
        self.paused_at.store(self.start.elapsed().as_secs() as i64, Ordering::Relaxed);
        self.is_paused.store(true, Ordering::Release);
    }

    /// Lets the clock run again (`debugtime r`).
    pub fn resume(&self) {
        self.is_paused.store(false, Ordering::Relaxed);
    }
}

#[cfg(all(test, feature = "loom"))]
mod models {
    use super::*;
    use crate::base::sync::Arc;
    use crate::base::sync::model::{check, thread};

    /// A worker saw that the clock was stopped before it saw when, and went back to the start of the process.
    #[test]
    fn a_clock_that_is_stopped_does_not_go_back() {
        check(|| {
            let start = Instant::now() - Duration::from_secs(100);
            let clock = Arc::new(Clock { start, ..Clock::start() });
            let other = Arc::clone(&clock);
            let other = thread::spawn(move || other.pause());
            assert!(clock.now().seconds >= START_SECONDS + 100, "{}", clock.now().seconds);
            other.join().expect("no panic");
            assert!(clock.now().seconds >= START_SECONDS + 100);
        });
    }
}

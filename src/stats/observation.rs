//! What a worker finds out by looking closely at a few requests: how long they took, what they stored, which keys they
//! named. Only there while somebody may ask (`-o admin_listen`).
//!
//! A sample stands for all the requests that were passed over to take it: it is added with that weight, so the sums are
//! estimates of all requests. One worker writes a [`WorkerObservation`], any thread reads it; the sketch of keys alone has
//! a lock, which is taken for samples and by readers. `stats reset` leaves all of it alone.
//!
//! Latencies fall into buckets whose bounds step by a fifth or less: a quarter of a microsecond up to two, then four to
//! a doubling, up to 16.8 seconds.

use std::time::Duration;

use crate::base::sync::Mutex;

use super::counters::Counter;
use super::hot_keys::HotKeys;

/// Declares the commands that are told apart: each with its name.
macro_rules! commands {
    ($($(#[$meta:meta])* $command:ident $name:literal,)*) => {
        /// A command as it is observed. Those of the binary protocol are counted under the classic names.
        #[derive(Clone, Copy, PartialEq, Eq, Debug)]
        pub enum ObservedCommand { $($(#[$meta])* $command,)* }

        impl ObservedCommand {
            /// All of them, in the order in which they are shown.
            pub const ALL: &[ObservedCommand] = &[$(ObservedCommand::$command,)*];

            /// Its name.
            pub fn name(self) -> &'static str {
                match self { $(ObservedCommand::$command => $name,)* }
            }
        }
    };
}

commands! {
    /// get and gets.
    Get "get",
    /// gat and gats.
    Gat "gat",
    /// set.
    Set "set",
    /// add.
    Add "add",
    /// replace.
    Replace "replace",
    /// append.
    Append "append",
    /// prepend.
    Prepend "prepend",
    /// cas.
    Cas "cas",
    /// delete.
    Delete "delete",
    /// touch.
    Touch "touch",
    /// incr.
    Incr "incr",
    /// decr.
    Decr "decr",
    /// Meta get.
    MetaGet "mg",
    /// Meta set.
    MetaSet "ms",
    /// Meta delete.
    MetaDelete "md",
    /// Meta arithmetic.
    MetaArithmetic "ma",
    /// Everything else.
    Other "other",
}

impl ObservedCommand {
    /// Whether it reads values.
    pub fn is_reading(self) -> bool {
        matches!(self, Self::Get | Self::Gat | Self::MetaGet)
    }

    /// Whether it names keys.
    pub fn has_keys(self) -> bool {
        self != Self::Other
    }
}

/// Buckets of a latency histogram, the last for all that is longer.
pub const LATENCY_BUCKETS: usize = LINEAR_BUCKETS + OCTAVES * BUCKETS_PER_OCTAVE + 1;

/// Buckets of one unit each.
const LINEAR_BUCKETS: usize = 8;
const BUCKETS_PER_OCTAVE: usize = 4;
const OCTAVES: usize = 23;
/// Nanoseconds of a unit.
const UNIT_NANOS: u64 = 250;

/// The bucket of a latency.
fn latency_bucket(latency: Duration) -> usize {
    let units = u64::try_from(latency.as_nanos()).unwrap_or(u64::MAX) / UNIT_NANOS;
    let index = match units {
        0..8 => units as usize,
        _ => {
            let octave = units.ilog2();
            let quarter = (units >> (octave - 2)) & 3;
            LINEAR_BUCKETS + (octave as usize - 3) * BUCKETS_PER_OCTAVE + quarter as usize
        }
    };
    index.min(LATENCY_BUCKETS - 1)
}

/// Upper bound of a bucket in microseconds: latencies in it are below; infinite for the last.
pub fn latency_bound_micros(bucket: usize) -> f64 {
    let units = match bucket {
        _ if bucket >= LATENCY_BUCKETS - 1 => return f64::INFINITY,
        0..LINEAR_BUCKETS => bucket as u64 + 1,
        _ => {
            let above = bucket - LINEAR_BUCKETS;
            (5 + (above % BUCKETS_PER_OCTAVE) as u64) << (1 + above / BUCKETS_PER_OCTAVE)
        }
    };
    (units * UNIT_NANOS) as f64 / 1000.0
}

/// Latencies of one command on one worker.
#[derive(Debug)]
pub struct LatencyHistogram {
    buckets: [Counter; LATENCY_BUCKETS],
    nanos: Counter,
    samples: Counter,
}

impl Default for LatencyHistogram {
    fn default() -> Self {
        Self {
            buckets: std::array::from_fn(|_| Counter::default()),
            nanos: Counter::default(),
            samples: Counter::default(),
        }
    }
}

impl LatencyHistogram {
    /// Adds a sample that stands for `weight` requests. Only the owning worker may call it.
    pub fn record(&self, latency: Duration, weight: u64) {
        self.buckets[latency_bucket(latency)].add(weight);
        let nanos = u64::try_from(latency.as_nanos()).unwrap_or(u64::MAX);
        self.nanos.add(nanos.saturating_mul(weight));
        self.samples.add(1);
    }
}

/// Latencies at a moment, of one command or several, on one worker or several.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Latencies {
    /// Requests in each bucket.
    pub buckets: [u64; LATENCY_BUCKETS],
    /// Nanoseconds of all requests together.
    pub nanos: u64,
    /// Requests that were looked at.
    pub samples: u64,
}

impl Default for Latencies {
    fn default() -> Self {
        Self { buckets: [0; LATENCY_BUCKETS], nanos: 0, samples: 0 }
    }
}

impl Latencies {
    /// Adds a histogram.
    pub fn read(&mut self, histogram: &LatencyHistogram) {
        for (sum, bucket) in self.buckets.iter_mut().zip(&histogram.buckets) {
            *sum += bucket.value();
        }
        self.nanos = self.nanos.wrapping_add(histogram.nanos.value());
        self.samples += histogram.samples.value();
    }

    /// Adds others.
    pub fn add(&mut self, other: &Self) {
        for (sum, bucket) in self.buckets.iter_mut().zip(&other.buckets) {
            *sum += bucket;
        }
        self.nanos = self.nanos.wrapping_add(other.nanos);
        self.samples += other.samples;
    }

    /// What came since `earlier`.
    pub fn since(&self, earlier: &Self) -> Self {
        let mut difference = self.clone();
        for (bucket, before) in difference.buckets.iter_mut().zip(&earlier.buckets) {
            *bucket = bucket.saturating_sub(*before);
        }
        difference.nanos = self.nanos.wrapping_sub(earlier.nanos);
        difference.samples = self.samples.saturating_sub(earlier.samples);
        difference
    }

    /// Requests in all buckets.
    pub fn requests(&self) -> u64 {
        self.buckets.iter().sum()
    }

    /// The latency in microseconds that the given share of requests stays below (0 < share <= 1), as the upper bound of
    /// its bucket; `None` without requests. The last bucket answers with the bound of the one before.
    pub fn quantile_micros(&self, share: f64) -> Option<f64> {
        let requests = self.requests();
        if requests == 0 {
            return None;
        }
        let rank = ((requests as f64 * share).ceil() as u64).clamp(1, requests);
        let mut passed = 0;
        let bucket = self.buckets.iter().position(|&count| {
            passed += count;
            passed >= rank
        });
        let bucket = bucket.unwrap_or(LATENCY_BUCKETS - 1).min(LATENCY_BUCKETS - 2);
        Some(latency_bound_micros(bucket))
    }

    /// Mean in microseconds; `None` without requests.
    pub fn mean_micros(&self) -> Option<f64> {
        let requests = self.requests();
        (requests > 0).then(|| self.nanos as f64 / 1000.0 / requests as f64)
    }
}

/// Upper bounds in seconds of the buckets for times to live; longer ones have one more.
pub const TTL_BOUNDS_SECONDS: [u64; 11] = [1, 10, 60, 300, 900, 3600, 21_600, 86_400, 604_800, 2_592_000, 31_536_000];

/// Buckets for value sizes: bucket n holds those of at most 2^n bytes, down to the bound before.
pub const SIZE_BUCKETS: usize = 31;

/// What was stored, on one worker.
#[derive(Default, Debug)]
pub struct StoredHistograms {
    /// Values by size.
    pub sizes: [Counter; SIZE_BUCKETS],
    /// Bytes of all values together.
    pub size_sum: Counter,
    /// Values by time to live, those without one left out.
    pub ttls: [Counter; TTL_BOUNDS_SECONDS.len() + 1],
    /// Seconds to live of all of these together.
    pub ttl_sum: Counter,
    /// Values that never expire.
    pub without_ttl: Counter,
}

impl StoredHistograms {
    /// Adds a store that stands for `weight` stores; `ttl_seconds` is `None` for a value that never expires.
    pub fn record(&self, value_bytes: usize, ttl_seconds: Option<u64>, weight: u64) {
        let bucket = value_bytes.max(1).next_power_of_two().ilog2() as usize;
        self.sizes[bucket.min(SIZE_BUCKETS - 1)].add(weight);
        self.size_sum.add(weight.saturating_mul(value_bytes as u64));
        match ttl_seconds {
            None => self.without_ttl.add(weight),
            Some(seconds) => {
                let bucket = TTL_BOUNDS_SECONDS.iter().position(|&bound| seconds <= bound);
                self.ttls[bucket.unwrap_or(TTL_BOUNDS_SECONDS.len())].add(weight);
                self.ttl_sum.add(weight.saturating_mul(seconds));
            }
        }
    }
}

/// What one worker has observed.
#[derive(Debug)]
pub struct WorkerObservation {
    /// Turns of its loop; a worker that works or waits goes on turning, at least about once a second.
    pub turns: Counter,
    /// Latencies by command, in the order of [`ObservedCommand::ALL`].
    latencies: [LatencyHistogram; ObservedCommand::ALL.len()],
    /// What was stored.
    pub stored: StoredHistograms,
    /// Keys that are asked for most.
    pub hot_keys: Mutex<HotKeys>,
}

impl Default for WorkerObservation {
    fn default() -> Self {
        Self {
            turns: Counter::default(),
            latencies: std::array::from_fn(|_| LatencyHistogram::default()),
            stored: StoredHistograms::default(),
            hot_keys: Mutex::default(),
        }
    }
}

impl WorkerObservation {
    /// The latencies of a command.
    pub fn latencies(&self, command: ObservedCommand) -> &LatencyHistogram {
        &self.latencies[command as usize]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check_bucket(nanos: u64, bucket: usize, bound_micros: f64) {
        assert_eq!(latency_bucket(Duration::from_nanos(nanos)), bucket, "{nanos} ns");
        assert_eq!(latency_bound_micros(bucket), bound_micros);
    }

    #[test]
    fn latencies_find_their_buckets() {
        check_bucket(0, 0, 0.25);
        check_bucket(249, 0, 0.25);
        check_bucket(250, 1, 0.5);
        check_bucket(1999, 7, 2.0);
        check_bucket(2000, 8, 2.5);
        check_bucket(2499, 8, 2.5);
        check_bucket(3999, 11, 4.0);
        check_bucket(4000, 12, 5.0);
        check_bucket(1_000_000, 43, 1024.0);
        check_bucket(16_777_215_999, LATENCY_BUCKETS - 2, 16_777_216.0);
        check_bucket(16_777_216_000, LATENCY_BUCKETS - 1, f64::INFINITY);
        check_bucket(u64::MAX, LATENCY_BUCKETS - 1, f64::INFINITY);
    }

    #[test]
    fn every_bucket_ends_where_the_next_begins() {
        for bucket in 0..LATENCY_BUCKETS - 1 {
            let end_nanos = (latency_bound_micros(bucket) * 1000.0) as u64;
            assert_eq!(latency_bucket(Duration::from_nanos(end_nanos - 1)), bucket);
            assert_eq!(latency_bucket(Duration::from_nanos(end_nanos)), bucket + 1);
        }
    }

    #[test]
    fn quantiles_are_upper_bounds() {
        let histogram = LatencyHistogram::default();
        let mut latencies = Latencies::default();
        assert_eq!((latencies.quantile_micros(0.5), latencies.mean_micros()), (None, None));
        histogram.record(Duration::from_micros(3), 98);
        histogram.record(Duration::from_micros(100), 2);
        latencies.read(&histogram);
        assert_eq!((latencies.requests(), latencies.samples), (100, 2));
        assert_eq!(latencies.quantile_micros(0.5), Some(3.5));
        assert_eq!(latencies.quantile_micros(0.98), Some(3.5));
        assert_eq!(latencies.quantile_micros(0.99), Some(112.0));
        assert_eq!(latencies.quantile_micros(1.0), Some(112.0));
        assert_eq!(latencies.mean_micros(), Some(4.94));
        let earlier = latencies.clone();
        histogram.record(Duration::from_secs(60), 1);
        let mut later = Latencies::default();
        later.read(&histogram);
        let between = later.since(&earlier);
        assert_eq!((between.requests(), between.samples), (1, 1));
        assert_eq!(between.quantile_micros(0.5), Some(16_777_216.0), "of what is longer the least is known");
        let mut both = earlier.clone();
        both.add(&between);
        assert_eq!(both, later);
    }

    #[test]
    fn stores_are_sorted_by_size_and_ttl() {
        let stored = StoredHistograms::default();
        for (bytes, bucket) in [(0, 0), (1, 0), (2, 1), (3, 2), (64, 6), (65, 7), (1 << 30, 30), (usize::MAX / 2, 30)] {
            let before = stored.sizes[bucket].value();
            stored.record(bytes, None, 2);
            assert_eq!(stored.sizes[bucket].value(), before + 2, "{bytes}");
        }
        assert_eq!(stored.without_ttl.value(), 16);
        for (seconds, bucket) in [(0, 0), (1, 0), (2, 1), (60, 2), (31_536_000, 10), (31_536_001, 11)] {
            let before = stored.ttls[bucket].value();
            stored.record(1, Some(seconds), 1);
            assert_eq!(stored.ttls[bucket].value(), before + 1, "{seconds}");
        }
        assert_eq!(stored.without_ttl.value(), 16);
    }

    #[test]
    fn commands_are_in_the_order_of_their_histograms() {
        for (index, command) in ObservedCommand::ALL.iter().enumerate() {
            assert_eq!(*command as usize, index);
        }
        let observation = WorkerObservation::default();
        observation.latencies(ObservedCommand::Other).record(Duration::ZERO, 3);
        let mut latencies = Latencies::default();
        latencies.read(observation.latencies(ObservedCommand::Other));
        assert_eq!(latencies.requests(), 3);
    }
}

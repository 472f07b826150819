//! The last ten minutes by the second and the last day by the minute, kept in two rings of fixed size, so that a page that is
//! opened has a past to show.
//!
//! A second's row is the difference of two readings of the counters; when the clock jumped over seconds (a suspended
//! machine), rows without events fill the gap, so that numbers of rows and times go together.

use std::collections::VecDeque;

use crate::base::time::Now;
use crate::command::Service;
use crate::stats::observation::{Latencies, ObservedCommand};
use crate::store::counters::ClassCounters;
use crate::sys::process;

use super::body::NoMemory;
use super::facts;
use super::json::{Json, Value};

/// Declares the columns of a row once: field, name, and whether a minute holds the sum or the last value.
macro_rules! columns {
    ($($column:ident $kind:ident,)*) => {
        /// What happened in a second or a minute, or stood at its end.
        #[derive(Clone, Copy, Default, PartialEq, Debug)]
        pub(super) struct Row { $(pub $column: f64,)* }

        /// Names of the columns in their order.
        const COLUMNS: &[&str] = &[$(stringify!($column),)*];

        impl Row {
            fn values(&self) -> impl Iterator<Item = f64> {
                [$(self.$column,)*].into_iter()
            }

            /// Takes a later row up into this one.
            fn follow(&mut self, later: &Row) { $(columns!(@$kind self.$column, later.$column);)* }

            /// What came between two readings.
            fn since(&self, earlier: &Row) -> Row {
                Row { $($column: columns!(@@$kind self.$column, earlier.$column),)* }
            }
        }
    };
    (@Sum $mine:expr, $later:expr) => { $mine += $later };
    (@Last $mine:expr, $later:expr) => { $mine = $later };
    // A reset counter begins anew: then its value is all that is known.
    (@@Sum $now:expr, $before:expr) => { if $now >= $before { $now - $before } else { 0.0 } };
    (@@Last $now:expr, $before:expr) => { $now };
}

columns! {
    get_hits Sum,
    get_misses Sum,
    sets Sum,
    deletes Sum,
    others Sum,
    evictions Sum,
    read_bytes Sum,
    written_bytes Sum,
    connections Last,
    items Last,
    items_bytes Last,
    pages_bytes Last,
    resident_bytes Last,
    processor_us Sum,
    read_p50_us Last,
    read_p99_us Last,
    read_p999_us Last,
    write_p50_us Last,
    write_p99_us Last,
    write_p999_us Last,
    oldest_seconds Last,
}

/// Rows of one step, the oldest first.
#[derive(Debug)]
struct Ring {
    step_seconds: u64,
    /// rows.len() <= rows_max
    rows: VecDeque<Row>,
    rows_max: usize,
    /// Rows ever added; the newest has this number less one.
    added: u64,
}

impl Ring {
    fn new(step_seconds: u64, rows_max: usize) -> Self {
        Self { step_seconds, rows: VecDeque::with_capacity(rows_max), rows_max, added: 0 }
    }

    fn add(&mut self, row: Row) {
        if self.rows.len() == self.rows_max {
            self.rows.pop_front();
        }
        self.rows.push_back(row);
        self.added += 1;
    }

    fn newest(&self) -> Option<u64> {
        self.added.checked_sub(1)
    }

    /// The rows newer than row number `after`.
    fn after(&self, after: Option<u64>) -> impl Iterator<Item = &Row> {
        let wanted = match after {
            None => self.rows.len(),
            Some(after) => usize::try_from(self.added.saturating_sub(after.saturating_add(1))).unwrap_or(usize::MAX),
        };
        self.rows.iter().skip(self.rows.len().saturating_sub(wanted))
    }

    fn write(&self, name: &str, newest_unix: Option<i64>, after: Option<u64>, is_shown: bool, json: &mut Json) {
        json.object(name, |json| {
            json.member("step_seconds", self.step_seconds);
            json.member("newest", self.newest());
            json.member("newest_unix", newest_unix);
            json.array("rows", |json| {
                for row in self.after(after).filter(|_| is_shown) {
                    json.item_array(|json| row.values().for_each(|value| json.item(number(value))));
                }
            });
        });
    }
}

/// Whole numbers without a fraction; what is not known is not a number.
fn number(value: f64) -> Value {
    match value {
        value if value.is_nan() => Value::Null,
        value if value.fract() == 0.0 && value.abs() < 9e15 => Value::Whole(value as i64),
        value => Value::Real(value),
    }
}

/// The counters at a moment.
#[derive(Clone, Default)]
struct Reading {
    row: Row,
    /// By command.
    latencies: Vec<Latencies>,
}

impl Reading {
    fn take(service: &Service, now: Now) -> Self {
        let snapshot = service.store.snapshot();
        let mut classes = ClassCounters::default();
        for class in &snapshot.classes {
            classes.add(&class.counters);
        }
        let (store, workers) = (snapshot.counters, service.worker_totals());
        let processor = process::processor_time();
        let cas = classes.cas_hits + classes.cas_badval + store.cas_misses;
        let touches = classes.touch_hits + store.touch_misses;
        let deltas = classes.incr_hits + classes.decr_hits + store.incr_misses + store.decr_misses;
        let row = Row {
            get_hits: classes.get_hits() as f64,
            get_misses: store.get_misses as f64,
            sets: classes.cmd_set.saturating_sub(cas) as f64,
            deletes: (classes.delete_hits + store.delete_misses) as f64,
            others: (touches + deltas + cas + workers.cmd_flush) as f64,
            evictions: classes.evicted as f64,
            read_bytes: workers.bytes_read as f64,
            written_bytes: workers.bytes_written as f64,
            connections: service.connections.count().saturating_sub(1) as f64,
            items: snapshot.curr_items as f64,
            items_bytes: snapshot.bytes as f64,
            pages_bytes: snapshot.malloced_bytes as f64,
            resident_bytes: process::memory().resident_bytes as f64,
            processor_us: (processor.user + processor.system).as_micros() as f64,
            oldest_seconds: facts::oldest_seconds(&snapshot, now).map_or(f64::NAN, f64::from),
            ..Row::default()
        };
        Self { row, latencies: facts::latencies(service) }
    }

    fn since(&self, earlier: &Reading) -> Row {
        let mut row = self.row.since(&earlier.row);
        set_quantiles(&mut row, &since(&self.latencies, &earlier.latencies));
        row
    }
}

/// Latencies by command that came between two readings.
pub(super) fn since(now: &[Latencies], before: &[Latencies]) -> Vec<Latencies> {
    now.iter().zip(before).map(|(now, before)| now.since(before)).collect()
}

fn set_quantiles(row: &mut Row, latencies: &[Latencies]) {
    let (mut reads, mut writes) = (Latencies::default(), Latencies::default());
    for (command, latencies) in ObservedCommand::ALL.iter().zip(latencies) {
        match command {
            _ if command.is_reading() => reads.add(latencies),
            ObservedCommand::Other => {}
            _ => writes.add(latencies),
        }
    }
    let quantile = |latencies: &Latencies, share| latencies.quantile_micros(share).unwrap_or(f64::NAN);
    (row.read_p50_us, row.write_p50_us) = (quantile(&reads, 0.5), quantile(&writes, 0.5));
    (row.read_p99_us, row.write_p99_us) = (quantile(&reads, 0.99), quantile(&writes, 0.99));
    (row.read_p999_us, row.write_p999_us) = (quantile(&reads, 0.999), quantile(&writes, 0.999));
}

/// Both rings, and the readings that they go on from.
pub(super) struct History {
    seconds: Ring,
    minutes: Ring,
    /// At the end of the newest second.
    last: Reading,
    /// Latencies when the present minute began, and the one before it.
    minute_began: [Vec<Latencies>; 2],
    /// The minute so far.
    minute: Row,
    newest_unix: i64,
}

impl History {
    /// An empty history that begins with the present counters.
    pub fn new(service: &Service) -> Self {
        let now = service.clock.now();
        let last = Reading::take(service, now);
        Self {
            seconds: Ring::new(1, SECONDS_MAX),
            minutes: Ring::new(SECONDS_PER_MINUTE, MINUTES_MAX),
            minute_began: [last.latencies.clone(), last.latencies.clone()],
            minute: Row::default(),
            last,
            newest_unix: now.unix(now.seconds),
        }
    }

    /// Ends a second, or the last of several that passed.
    pub fn tick(&mut self, seconds: u64, service: &Service) {
        let now = service.clock.now();
        let reading = Reading::take(service, now);
        self.newest_unix = now.unix(now.seconds);
        for passed in 0..seconds.min(SECONDS_MAX as u64) {
            let row = match passed {
                0 => reading.since(&self.last),
                _ => reading.since(&reading),
            };
            if passed == 0 {
                self.last = reading.clone();
            }
            self.seconds.add(row);
            self.minute.follow(&row);
            if self.seconds.added.is_multiple_of(SECONDS_PER_MINUTE) {
                self.end_minute();
            }
        }
    }

    fn end_minute(&mut self) {
        let mut row = std::mem::take(&mut self.minute);
        set_quantiles(&mut row, &since(&self.last.latencies, &self.minute_began[0]));
        self.minutes.add(row);
        self.minute_began.swap(0, 1);
        self.minute_began[0].clone_from(&self.last.latencies);
    }

    /// Number of the newest second.
    pub fn newest(&self) -> Option<u64> {
        self.seconds.newest()
    }

    /// The newest second.
    pub fn last_second(&self) -> Row {
        self.seconds.rows.back().copied().unwrap_or_default()
    }

    /// Hits and misses of the last minute.
    pub fn last_minute_gets(&self) -> (f64, f64) {
        let rows = self.seconds.rows.iter().rev().take(SECONDS_PER_MINUTE as usize);
        rows.fold((0.0, 0.0), |(hits, misses), row| (hits + row.get_hits, misses + row.get_misses))
    }

    /// Latencies by command over the last one to two minutes, given those since the start, and the seconds that is.
    pub fn recent(&self, latencies: &[Latencies]) -> (Vec<Latencies>, u64) {
        let into_minute = self.seconds.added % SECONDS_PER_MINUTE;
        let window = into_minute + if self.minutes.added > 0 { SECONDS_PER_MINUTE } else { 0 };
        (since(latencies, &self.minute_began[1]), window)
    }

    /// `/history.json`, whole or what is newer than the second with number `after`.
    pub fn document(&self, start_id: &str, after: Option<u64>) -> Result<String, NoMemory> {
        Json::document(|json| {
            json.member("schema", super::SCHEMA);
            json.member("start_id", start_id);
            json.array("columns", |json| COLUMNS.iter().for_each(|column| json.item(*column)));
            let newest_unix = self.newest().map(|_| self.newest_unix);
            self.seconds.write("seconds", newest_unix, after, true, json);
            let since_minute = self.seconds.added % SECONDS_PER_MINUTE;
            let minute_unix = self.minutes.newest().map(|_| self.newest_unix - since_minute as i64);
            self.minutes.write("minutes", minute_unix, None, after.is_none(), json);
        })
    }
}

/// Seconds that are kept.
const SECONDS_MAX: usize = 600;
/// Minutes that are kept.
const MINUTES_MAX: usize = 1440;
const SECONDS_PER_MINUTE: u64 = 60;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::time::START_SECONDS;
    use crate::store;

    fn row(get_hits: f64) -> Row {
        Row { get_hits, items: get_hits, ..Row::default() }
    }

    #[test]
    fn a_ring_forgets_the_oldest_and_keeps_count() {
        let mut ring = Ring::new(1, 3);
        assert_eq!((ring.newest(), ring.after(None).count()), (None, 0));
        for number in 0..5 {
            ring.add(row(f64::from(number)));
        }
        let hits = |after| ring.after(after).map(|row| row.get_hits).collect::<Vec<_>>();
        assert_eq!(ring.newest(), Some(4));
        assert_eq!(hits(None), [2.0, 3.0, 4.0]);
        assert_eq!(hits(Some(0)), [2.0, 3.0, 4.0]);
        assert_eq!(hits(Some(3)), [4.0]);
        assert!(hits(Some(4)).is_empty());
        assert!(hits(Some(u64::MAX)).is_empty());
    }

    #[test]
    fn sums_are_differences_and_never_negative() {
        let (before, after) = (row(10.0), row(15.0));
        assert_eq!(after.since(&before), Row { get_hits: 5.0, items: 15.0, ..Row::default() });
        assert_eq!(before.since(&after).get_hits, 0.0, "a reset");
        let mut minute = row(1.0);
        minute.follow(&row(2.0));
        assert_eq!((minute.get_hits, minute.items), (3.0, 2.0));
    }

    #[test]
    fn seconds_make_minutes() {
        let service = Service::in_process(store::Config::default());
        let mut history = History::new(&service);
        assert_eq!(history.newest(), None);
        for _ in 0..59 {
            history.tick(1, &service);
        }
        assert_eq!((history.newest(), history.minutes.newest()), (Some(58), None));
        history.tick(3, &service);
        assert_eq!((history.newest(), history.minutes.newest()), (Some(61), Some(0)));
        assert_eq!(history.seconds.rows.len(), 62);
        history.tick(1_000_000, &service);
        assert_eq!(history.seconds.rows.len(), SECONDS_MAX);
        let document = history.document("id", Some(history.newest().unwrap() - 1)).unwrap();
        assert!(
            document.contains("\"start_id\":\"id\"")
                && document.contains("\"minutes\":{\"step_seconds\":60,\"newest\":10")
        );
        assert_eq!(document.matches('[').count(), 4, "columns, two lists of rows, one row: {document}");
        assert!(document.contains("null"), "no sample, no quantile");
        let now = Now { seconds: START_SECONDS, epoch: 0 };
        assert!(Reading::take(&service, now).row.resident_bytes > 0.0);
    }

    #[test]
    fn a_day_of_minutes_is_kept() {
        let service = Service::in_process(store::Config::default());
        let mut history = History::new(&service);
        (0..MINUTES_MAX + 2).for_each(|_| history.end_minute());
        assert_eq!((history.minutes.newest(), history.minutes.rows.len()), (Some(MINUTES_MAX as u64 + 1), MINUTES_MAX));
    }

    #[test]
    fn a_long_gap_is_filled_up_to_what_is_kept() {
        let service = Service::in_process(store::Config::default());
        let mut history = History::new(&service);
        history.tick(SECONDS_MAX as u64 + 100, &service);
        assert_eq!(history.newest(), Some(SECONDS_MAX as u64 - 1));
        history.tick(1, &service);
        assert_eq!((history.newest(), history.seconds.rows.len()), (Some(SECONDS_MAX as u64), SECONDS_MAX));
    }
}

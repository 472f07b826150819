//! Events for `watch`: what happens in the server, as lines for those who listen.
//!
//! ```text
//! ts=1700000000.52478 gid=17 type=item_get key=foo status=found clsid=1 cfd=27 size=3\n
//! skipped=204\n                              what did not fit, told before the next line that does
//! ```
//! `ts` has microseconds without leading zeros and `gid` counts events, both as in memcached.
//!
//! Emitting costs one relaxed load while nobody watches. A watcher has a bounded buffer; what does not fit is counted
//! and reported to it as `skipped=`. The hub does no I/O: whoever owns the watcher's connection drains its buffer with
//! [`Subscription::drain_to`] after its wake callback was called.
//!
//! Lock order: a partition of the store, then the hub, then one watcher's buffer. The callbacks (`body`, `wake`) run
//! under the hub's lock and must not come back to it.

use std::fmt;
use std::io::Write;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use crate::base::sync::{Arc, AtomicU32, AtomicU64, Mutex, Ordering};

/// Kinds of events a watcher chooses from, as bits.
pub mod class {
    /// Lookups.
    pub const FETCHERS: u32 = 1;
    /// Stores.
    pub const MUTATIONS: u32 = 2;
    /// Evictions.
    pub const EVICTIONS: u32 = 4;
    /// Connections opened and closed.
    pub const CONNEVENTS: u32 = 8;
    /// Crawler and page mover.
    pub const SYSEVENTS: u32 = 16;
    /// Deletes.
    pub const DELETIONS: u32 = 32;
    /// Accepted, emits nothing.
    pub const RAWCMDS: u32 = 64;
}

/// Most watchers at a time (memcached's `WATCHER_LIMIT`).
pub const WATCHERS_MAX: usize = 20;

/// Wakes the connection of a watcher; called from any thread.
pub type Wake = Arc<dyn Fn() + Send + Sync>;

/// The limit of [`WATCHERS_MAX`] is reached.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct TooManyWatchers;

/// What the hub counts, for `stats`.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct EventCounters {
    /// Events that were made into a line.
    pub worker_written: u64,
    /// Lines that did not fit into a watcher's buffer.
    pub watcher_skipped: u64,
    /// Lines put into watchers' buffers.
    pub watcher_sent: u64,
    /// Watchers now.
    pub watchers: u64,
}

/// Where events go.
#[derive(Default, Debug)]
pub struct EventHub {
    /// Classes that somebody watches. Written under the lock of `state`, read without.
    mask: AtomicU32,
    worker_written: AtomicU64,
    watcher_skipped: AtomicU64,
    watcher_sent: AtomicU64,
    state: Mutex<State>,
}

#[derive(Default, Debug)]
struct State {
    /// `watchers.len() <= WATCHERS_MAX`
    watchers: Vec<Arc<Watcher>>,
    /// The last event's number.
    gid: u64,
    /// Memory for the line being built.
    line: Vec<u8>,
}

struct Watcher {
    classes: u32,
    /// `pending.bytes.len() <= buffer_bytes_max`
    buffer_bytes_max: usize,
    wake: Wake,
    pending: Mutex<Pending>,
}

#[derive(Default)]
struct Pending {
    bytes: Vec<u8>,
    skipped: u64,
}

impl EventHub {
    /// Whether anyone watches one of these classes. Check before building a line.
    #[inline]
    pub fn is_watched(&self, classes: u32) -> bool {
        self.mask.load(Ordering::Relaxed) & classes != 0
    }

    /// The number of the last event.
    pub fn last_number(&self) -> u64 {
        self.state.lock().gid
    }

    /// Numbers further events from here on.
    pub fn go_on_after(&self, number: u64) {
        self.state.lock().gid = number;
    }

    /// Sends one event to the watchers of `class`. `body` writes the fields after `ts= gid=`, for instance
    /// `type=eviction key=...`, without the line end.
    pub fn emit(&self, class: u32, body: impl FnOnce(&mut Vec<u8>)) {
        if !self.is_watched(class) {
            return;
        }
        let State { watchers, gid, line } = &mut *self.state.lock();
        *gid += 1;
        line.clear();
        let time = unix_time();
        // Writing to a vector does not fail.
        let _ = write!(line, "ts={}.{} gid={gid} ", time.as_secs(), time.subsec_micros());
        body(line);
        line.push(b'\n');
        self.worker_written.fetch_add(1, Ordering::Relaxed);
        for watcher in watchers {
            if watcher.classes & class != 0 {
                self.deliver(watcher, line);
            }
        }
    }

    fn deliver(&self, watcher: &Watcher, line: &[u8]) {
        let Pending { bytes, skipped } = &mut *watcher.pending.lock();
        if bytes.len() + line.len() + SKIPPED_LINE_BYTES_MAX > watcher.buffer_bytes_max {
            *skipped += 1;
            self.watcher_skipped.fetch_add(1, Ordering::Relaxed);
            return;
        }
        let was_empty = bytes.is_empty();
        if *skipped > 0 {
            let _ = writeln!(bytes, "skipped={skipped}");
            *skipped = 0;
        }
        bytes.extend_from_slice(line);
        self.watcher_sent.fetch_add(1, Ordering::Relaxed);
        if was_empty {
            (watcher.wake)();
        }
    }

    /// Adds a watcher of `classes` with a buffer of `buffer_bytes_max`. `wake` is called when the buffer turns from
    /// empty to not empty, from the thread that emits.
    pub fn subscribe(
        self: &Arc<Self>,
        classes: u32,
        buffer_bytes_max: usize,
        wake: Wake,
    ) -> Result<Subscription, TooManyWatchers> {
        let mut state = self.state.lock();
        if state.watchers.len() >= WATCHERS_MAX {
            return Err(TooManyWatchers);
        }
        let watcher = Arc::new(Watcher {
            classes,
            buffer_bytes_max: buffer_bytes_max.max(BUFFER_BYTES_MIN),
            wake,
            pending: Mutex::default(),
        });
        state.watchers.push(Arc::clone(&watcher));
        self.set_mask(&state);
        Ok(Subscription { hub: Arc::clone(self), watcher })
    }

    fn unsubscribe(&self, watcher: &Arc<Watcher>) {
        let mut state = self.state.lock();
        state.watchers.retain(|other| !Arc::ptr_eq(other, watcher));
        self.set_mask(&state);
    }

    fn set_mask(&self, state: &State) {
        let mask = state.watchers.iter().fold(0, |mask, watcher| mask | watcher.classes);
        self.mask.store(mask, Ordering::Relaxed);
    }

    /// What was counted.
    pub fn counters(&self) -> EventCounters {
        EventCounters {
            worker_written: self.worker_written.load(Ordering::Relaxed),
            watcher_skipped: self.watcher_skipped.load(Ordering::Relaxed),
            watcher_sent: self.watcher_sent.load(Ordering::Relaxed),
            watchers: self.state.lock().watchers.len() as u64,
        }
    }

    /// `stats reset`.
    pub fn reset_counters(&self) {
        self.worker_written.store(0, Ordering::Relaxed);
        self.watcher_skipped.store(0, Ordering::Relaxed);
        self.watcher_sent.store(0, Ordering::Relaxed);
    }
}

/// A watcher's end: its buffer is drained here, and dropping it ends the watch.
pub struct Subscription {
    hub: Arc<EventHub>,
    watcher: Arc<Watcher>,
}

impl Subscription {
    /// Moves all waiting lines to the end of `out`. The buffer's memory is kept for the next lines.
    pub fn drain_to(&mut self, out: &mut Vec<u8>) {
        out.append(&mut self.watcher.pending.lock().bytes);
    }

    /// Whether lines are waiting.
    pub fn has_events(&self) -> bool {
        !self.watcher.pending.lock().bytes.is_empty()
    }
}

impl Drop for Subscription {
    fn drop(&mut self) {
        self.hub.unsubscribe(&self.watcher);
    }
}

impl fmt::Debug for Subscription {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.watcher.fmt(formatter)
    }
}

impl fmt::Debug for Watcher {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Watcher")
            .field("classes", &self.classes)
            .field("buffer_bytes_max", &self.buffer_bytes_max)
            .finish_non_exhaustive()
    }
}

/// Tells watchers of a new connection. `rip` is the peer's address (`unix` for unix sockets), `transport` is `local`,
/// `tcp` or `udp`.
pub fn connection_opened(hub: &EventHub, rip: &str, rport: u16, transport: &str, descriptor: i32) {
    hub.emit(class::CONNEVENTS, |line| {
        let _ = write!(line, "type=conn_new rip={rip} rport={rport} transport={transport} cfd={descriptor}");
    });
}

/// Tells watchers of a closed connection; `reason` is `error`, `normal`, `idle_timeout` or `shutdown`.
pub fn connection_closed(hub: &EventHub, rip: &str, rport: u16, transport: &str, descriptor: i32, reason: &str) {
    hub.emit(class::CONNEVENTS, |line| {
        let _ = write!(
            line,
            "type=conn_close rip={rip} rport={rport} transport={transport} reason={reason} cfd={descriptor}"
        );
    });
}

/// Tells watchers that a connection's encryption failed, for a reason in words.
pub fn connection_encryption_failed(hub: &EventHub, descriptor: i32, reason: &str) {
    hub.emit(class::CONNEVENTS, |line| {
        let _ = write!(line, "type=conntlserr fd={descriptor} msg={reason}");
    });
}

/// Room kept free for a `skipped=` line, as in memcached.
const SKIPPED_LINE_BYTES_MAX: usize = 128;

/// The smallest buffer takes the longest line: a key of 250 bytes in percent encoding and its fields.
const BUFFER_BYTES_MIN: usize = 2048;

/// The wall clock, for `ts=` alone. Lines come from deep inside visits to the store, where the loop's coarse time is
/// too coarse, and the clock is read only while somebody watches.
fn unix_time() -> Duration {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::sync::AtomicUsize;

    fn counting_wake() -> (Wake, Arc<AtomicUsize>) {
        let count = Arc::new(AtomicUsize::new(0));
        let counter = Arc::clone(&count);
        let wake: Wake = Arc::new(move || {
            counter.fetch_add(1, Ordering::Relaxed);
        });
        (wake, count)
    }

    fn drained(subscription: &mut Subscription) -> String {
        let mut out = Vec::new();
        subscription.drain_to(&mut out);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn lines_have_time_number_and_bare_line_feed() {
        let hub = Arc::new(EventHub::default());
        let (wake, wakes) = counting_wake();
        let mut subscription = hub.subscribe(class::CONNEVENTS, 8192, wake).unwrap();
        connection_opened(&hub, "127.0.0.1", 4000, "tcp", 27);
        connection_closed(&hub, "127.0.0.1", 4000, "tcp", 27, "normal");
        assert_eq!(wakes.load(Ordering::Relaxed), 1, "one wake while not drained");
        let text = drained(&mut subscription);
        let lines: Vec<&str> = text.lines().collect();
        assert!(!text.contains('\r') && text.ends_with('\n'));
        assert_eq!(lines.len(), 2);
        let fields: Vec<&str> = lines[0].splitn(3, ' ').collect();
        let (seconds, micros) = fields[0].strip_prefix("ts=").unwrap().split_once('.').unwrap();
        assert!(seconds.parse::<u64>().unwrap() > 1_600_000_000);
        assert!(micros.parse::<u64>().unwrap() < 1_000_000);
        assert_eq!(fields[1], "gid=1");
        assert_eq!(fields[2], "type=conn_new rip=127.0.0.1 rport=4000 transport=tcp cfd=27");
        assert!(
            lines[1].contains(" gid=2 type=conn_close rip=127.0.0.1 rport=4000 transport=tcp reason=normal cfd=27")
        );
        assert!(!subscription.has_events());
        connection_opened(&hub, "unix", 0, "local", 28);
        assert_eq!(wakes.load(Ordering::Relaxed), 2);
        assert!(subscription.has_events());
    }

    #[test]
    fn only_watched_classes_are_built_and_sent() {
        let hub = Arc::new(EventHub::default());
        hub.emit(class::FETCHERS, |_| panic!("nobody watches"));
        let (wake, _) = counting_wake();
        let mut deletions = hub.subscribe(class::DELETIONS, 8192, Arc::clone(&wake)).unwrap();
        let mut both = hub.subscribe(class::DELETIONS | class::MUTATIONS, 8192, wake).unwrap();
        assert!(!hub.is_watched(class::FETCHERS));
        hub.emit(class::FETCHERS, |_| panic!("nobody watches fetchers"));
        hub.emit(class::MUTATIONS, |line| line.extend_from_slice(b"type=item_store"));
        assert!(!deletions.has_events() && both.has_events());
        drop(both);
        assert!(!hub.is_watched(class::MUTATIONS) && hub.is_watched(class::DELETIONS));
        assert_eq!(drained(&mut deletions), "");
        drop(deletions);
        assert!(!hub.is_watched(u32::MAX));
        both = hub.subscribe(class::RAWCMDS, 8192, Arc::new(|| {})).unwrap();
        assert!(hub.is_watched(class::RAWCMDS));
        drop(both);
    }

    #[test]
    fn what_does_not_fit_is_counted_and_told_before_the_next_line() {
        let hub = Arc::new(EventHub::default());
        let (wake, _) = counting_wake();
        let mut subscription = hub.subscribe(class::FETCHERS, BUFFER_BYTES_MIN, wake).unwrap();
        let emit = || hub.emit(class::FETCHERS, |line| line.extend_from_slice(&[b'x'; 500]));
        for _ in 0..10 {
            emit();
        }
        let first = drained(&mut subscription);
        assert_eq!(first.lines().count(), 3);
        assert!(!first.contains("skipped"));
        emit();
        let second = drained(&mut subscription);
        let lines: Vec<&str> = second.lines().collect();
        assert_eq!(lines[0], "skipped=7");
        assert!(lines[1].contains(" gid=11 "));
        emit();
        assert!(!drained(&mut subscription).contains("skipped"));
        let counters = hub.counters();
        assert_eq!(counters, EventCounters { worker_written: 12, watcher_skipped: 7, watcher_sent: 5, watchers: 1 });
        hub.reset_counters();
        assert_eq!(hub.counters().watcher_sent, 0);
        assert_eq!(hub.counters().watchers, 1);
    }

    #[test]
    fn the_twenty_first_watcher_is_refused() {
        let hub = Arc::new(EventHub::default());
        let subscribe = || hub.subscribe(class::FETCHERS, 8192, Arc::new(|| {}));
        let mut held: Vec<_> = (0..WATCHERS_MAX).map(|_| subscribe().unwrap()).collect();
        assert_eq!(subscribe().err(), Some(TooManyWatchers));
        held.pop();
        assert!(subscribe().is_ok());
        assert_eq!(hub.counters().watchers, WATCHERS_MAX as u64 - 1);
    }

    #[test]
    fn room_is_kept_for_a_line_about_what_was_skipped() {
        let hub = Arc::new(EventHub::default());
        let mut subscription = hub.subscribe(class::FETCHERS, BUFFER_BYTES_MIN, Arc::new(|| {})).unwrap();
        let mut emit = |bytes: usize| {
            // Time and number come first, and a line end last.
            hub.emit(class::FETCHERS, |line| line.resize(bytes - 1, b'x'));
            let mut out = Vec::new();
            subscription.drain_to(&mut out);
            out.len()
        };
        let most = BUFFER_BYTES_MIN - SKIPPED_LINE_BYTES_MAX;
        assert_eq!(emit(most), most);
        assert_eq!(emit(most + 1), 0);
        // The line about it fits, and the longest line behind it.
        assert_eq!(emit(most), "skipped=1\n".len() + most);
    }
}

#[cfg(all(test, feature = "loom"))]
mod models {
    use super::*;
    use crate::base::sync::Waker;
    use crate::base::sync::model::{Poll, check, thread};

    fn watch(hub: &Arc<EventHub>, buffer_bytes_max: usize) -> (Subscription, Poll) {
        let (waker, poll) = Waker::with_poll();
        let wake = Arc::new(move || waker.wake().expect("woken"));
        (hub.subscribe(class::FETCHERS, buffer_bytes_max, wake).expect("a place"), poll)
    }

    fn emit(hub: &EventHub, bytes: usize) {
        hub.emit(class::FETCHERS, |line| line.resize(line.len() + bytes, b'x'));
    }

    fn numbers(lines: &[u8]) -> Vec<u64> {
        let text = String::from_utf8_lossy(lines);
        let gids = text.lines().filter_map(|line| line.split_once(" gid=")?.1.split(' ').next()?.parse().ok());
        gids.collect()
    }

    /// A watcher that drains whenever it is woken, and only then, gets every line in order.
    #[test]
    fn every_line_arrives_in_order() {
        check(|| {
            let hub = Arc::new(EventHub::default());
            let (mut subscription, poll) = watch(&hub, 8192);
            let emitters = [1, 2].map(|_| {
                let hub = Arc::clone(&hub);
                thread::spawn(move || emit(&hub, 1))
            });
            let mut lines = Vec::new();
            while numbers(&lines).len() < 2 {
                poll.wait();
                subscription.drain_to(&mut lines);
            }
            assert_eq!(numbers(&lines), [1, 2]);
            emitters.into_iter().for_each(|emitter| emitter.join().expect("no panic"));
        });
    }

    #[test]
    fn a_line_is_sent_or_skipped_and_a_watcher_that_goes_takes_none() {
        check(|| {
            let hub = Arc::new(EventHub::default());
            let (mut subscription, _poll) = watch(&hub, BUFFER_BYTES_MIN);
            let (passing, _) = watch(&hub, 8192);
            let emitter = Arc::clone(&hub);
            let emitter = thread::spawn(move || (0..3).for_each(|_| emit(&emitter, 900)));
            let mut lines = Vec::new();
            subscription.drain_to(&mut lines);
            drop(passing);
            emitter.join().expect("no panic");
            subscription.drain_to(&mut lines);
            let skipped = subscription.watcher.pending.lock().skipped;
            assert_eq!(numbers(&lines).len() as u64 + skipped, 3);
            let told = hub.counters();
            assert_eq!((told.worker_written, told.watchers), (3, 1));
            assert!((3..=6).contains(&(told.watcher_sent + told.watcher_skipped)));
            drop(subscription);
            assert!(!hub.is_watched(u32::MAX));
        });
    }
}

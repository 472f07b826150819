//! What commands may reach besides their own connection: the store, the counters, the settings they obey.

use std::fmt;

use crate::base::hash::KeyHash;
use crate::base::sync::{Arc, AtomicU8, AtomicU32, CachePadded, Ordering};
use crate::base::time::{Clock, Now};
use crate::stats::connections::ConnectionTable;
use crate::stats::counters::{WorkerCounters, WorkerTotals};
use crate::stats::events::EventHub;
use crate::stats::observation::WorkerObservation;
use crate::stats::prefix::PrefixTable;
use crate::store::{self, Entry, Hint, Store};

use super::event_lines;
use super::login::Logins;
use super::login::failures::FailureLog;
use super::lookahead::Lookahead;

/// Protocol of a listener or connection.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ProtocolChoice {
    /// By the first byte: 0x80 is binary.
    Negotiate,
    /// Text only.
    Text,
    /// Binary only.
    Binary,
}

/// `stats settings` lines by name, changed ones first; see [`Service::settings_report`].
pub type SettingsReport = dyn Fn(&[(&'static str, String)]) -> Vec<(&'static str, String)> + Send + Sync;

/// Settings that commands obey. Fixed at start.
#[derive(Clone, Debug)]
pub struct Config {
    /// What `version` answers.
    pub version: String,
    /// `-A`.
    pub is_shutdown_enabled: bool,
    /// `-F` turns it off.
    pub is_flush_enabled: bool,
    /// `-X` turns it off.
    pub is_dump_enabled: bool,
    /// `-W` turns it off.
    pub is_watch_enabled: bool,
    /// `debugtime`, `debugitem`: for memcached's own tests.
    pub has_debug_commands: bool,
    /// `-o maxconns_fast`: shows `rejected_connections`.
    pub is_maxconns_fast: bool,
    /// `-c`.
    pub max_connections: usize,
    /// `-t`.
    pub threads: usize,
    /// `-R`: requests of one connection per turn, at least 1.
    pub requests_per_event: u32,
    /// `idle_timeout`, seconds, 0 is off.
    pub idle_timeout_seconds: u32,
    /// Read buffers allowed per worker, 0 is unlimited (`read_buf_mem_limit` in 16 KiB units).
    pub read_buffers_max: usize,
    /// Bytes of a watcher's buffer.
    pub watcher_buffer_bytes: usize,
    /// `-D`: first byte of the prefix delimiter.
    pub prefix_delimiter: u8,
}

impl Config {
    /// Replies of one connection in one turn; `None` is any number. As in memcached, one read buffer is taken by the
    /// connection itself and each of the others holds `REPLIES_PER_BUFFER`.
    pub fn replies_per_turn_max(&self) -> Option<u32> {
        let buffers = u32::try_from(self.read_buffers_max).unwrap_or(u32::MAX);
        (buffers > 0).then(|| (buffers - 1).max(1).saturating_mul(REPLIES_PER_BUFFER))
    }
}

/// Response objects that fit into one of memcached's read buffers.
pub(super) const REPLIES_PER_BUFFER: u32 = 13;

/// A request from a command to the server around it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Control {
    /// `shutdown`.
    Shutdown,
    /// `shutdown graceful`.
    ShutdownGracefully,
    /// `verbosity N`.
    Verbosity(u8),
}

/// Everything shared by all connections of the process.
pub struct Service {
    /// Keys and values.
    pub store: Store,
    /// What commands obey.
    pub config: Config,
    /// The process' clock.
    pub clock: Arc<Clock>,
    /// Counters, one set per worker.
    pub workers: Box<[Arc<CachePadded<WorkerCounters>>]>,
    /// What each worker sees of sampled requests; `None` when nobody may ask.
    pub observations: Option<Box<[CachePadded<WorkerObservation>]>>,
    /// Open connections and listeners.
    pub connections: ConnectionTable,
    /// Events for watchers.
    pub events: Arc<EventHub>,
    /// Counts per prefix.
    pub prefixes: PrefixTable,
    /// Where `verbosity` and `shutdown` go.
    pub control: Box<dyn Fn(Control) + Send + Sync>,
    /// Current verbosity, 0 to 2 (3 with -vvv).
    pub verbosity: AtomicU8,
    /// All lines of `stats settings` in order, given the values that changed since start.
    pub settings_report: Box<SettingsReport>,
    /// `-Y` and `-S`; `None` when nobody has to log in.
    pub logins: Option<Logins>,
    /// `-Z`; `None` without.
    pub certificates: Option<Certificates>,
}

/// What commands know of TLS: that the certificates can be read again, and when they were.
pub struct Certificates {
    /// Reads the files again for connections to come. The error is a line for the operator; the old ones stay.
    pub reload: Box<dyn Fn() -> Result<(), String> + Send + Sync>,
    /// Coarse seconds of the last reading; 0 is the start.
    pub read_at_seconds: AtomicU32,
    /// `ssl_session_cache`: shows `ssl_new_sessions`.
    pub has_session_cache: bool,
    /// Unix time at which the first of the server's certificates ends; `None` when that cannot be read.
    pub ends_at_unix: Box<dyn Fn() -> Option<i64> + Send + Sync>,
}

impl Certificates {
    /// Reads the files again, for `refresh_certs` and SIGHUP.
    pub fn refresh(&self, now: Now) -> Result<(), String> {
        (self.reload)()?;
        self.read_at_seconds.store(now.seconds, Ordering::Relaxed);
        Ok(())
    }
}

impl Service {
    /// A service of one worker with memcached's settings and a store of its own, for conversations inside one process:
    /// tests and micro-benchmarks. Nobody obeys its `verbosity` and `shutdown`.
    pub fn in_process(store_config: store::Config) -> Self {
        let events = Arc::new(EventHub::default());
        let prefix_delimiter = b':';
        Self {
            store: Store::new(store_config, Arc::clone(&events)),
            config: Config {
                version: "1.6.45".to_owned(),
                is_shutdown_enabled: false,
                is_flush_enabled: true,
                is_dump_enabled: true,
                is_watch_enabled: true,
                has_debug_commands: false,
                is_maxconns_fast: true,
                max_connections: 1024,
                threads: 1,
                requests_per_event: 20,
                idle_timeout_seconds: 0,
                read_buffers_max: 0,
                watcher_buffer_bytes: 262_144,
                prefix_delimiter,
            },
            clock: Arc::new(Clock::start()),
            workers: vec![Default::default()].into(),
            observations: None,
            connections: ConnectionTable::default(),
            events,
            prefixes: PrefixTable::new(prefix_delimiter, false),
            control: Box::new(|_| {}),
            verbosity: AtomicU8::new(0),
            settings_report: Box::new(|changed| changed.to_vec()),
            logins: None,
            certificates: None,
        }
    }

    /// What a worker sees of sampled requests.
    #[inline]
    pub fn observation(&self, worker: usize) -> Option<&WorkerObservation> {
        let observations = self.observations.as_ref()?;
        observations.get(worker).map(|observation| &**observation)
    }

    /// Sum of all workers' counters.
    pub fn worker_totals(&self) -> WorkerTotals {
        let mut totals = WorkerTotals::default();
        for worker in &self.workers {
            totals.add(worker);
        }
        totals
    }
}

/// Makes handles that wake one connection. The worker has one `target` for all of its connections, so that a
/// connection that never watches costs nothing.
#[derive(Clone, Copy)]
pub struct Wake<'a> {
    /// Wakes the connection with a given token.
    pub target: &'a Arc<dyn Fn(usize) + Send + Sync>,
    /// The connection.
    pub token: usize,
}

impl Wake<'_> {
    /// A handle that wakes the connection from any thread. It may outlive the connection.
    pub fn handle(&self) -> Arc<dyn Fn() + Send + Sync> {
        let target = Arc::clone(self.target);
        let token = self.token;
        Arc::new(move || target(token))
    }
}

/// What a session is given for one call.
pub struct Context<'a> {
    /// The process' shared parts.
    pub service: &'a Service,
    /// Index of the worker that runs the session; its counters are `service.workers[worker]`.
    pub worker: usize,
    /// The time of this loop turn.
    pub now: Now,
    /// Makes handles that wake this connection; a watcher keeps one.
    pub wake: Wake<'a>,
    /// Number of the connection's socket, which watchers see as `cfd`.
    pub descriptor: i32,
    /// The client's address, for the log.
    pub peer: &'a dyn fmt::Display,
    /// What is kept from request to request.
    pub scratch: &'a mut Scratch,
}

/// A worker's memory for one conversation at a time, kept so that nothing is allocated per request.
#[derive(Default)]
pub struct Scratch {
    /// For joining values.
    pub(super) joined: Vec<u8>,
    /// Values whose turn in the output has not come.
    pub(super) replies: Vec<u8>,
    /// Requests looked at before their turn.
    pub(super) lookahead: Lookahead,
    /// What was logged of failed logins.
    pub(super) failures: FailureLog,
}

impl Context<'_> {
    /// A command's visit to a key ([`Store::entry`]); watchers are told of the lookup.
    #[inline]
    pub fn visit<R>(&self, key: &[u8], visit: impl FnOnce(&mut Entry<'_>) -> R) -> R {
        let hash = self.service.store.hash(key);
        self.visit_at(key, hash, self.scratch.lookahead.hint(hash), visit)
    }

    /// [`Context::visit`] for a key whose hash is known.
    #[inline]
    pub fn visit_hashed<R>(&self, key: &[u8], hash: KeyHash, visit: impl FnOnce(&mut Entry<'_>) -> R) -> R {
        self.visit_at(key, hash, Hint::NONE, visit)
    }

    /// [`Context::visit_hashed`] for a key whose item was located.
    #[inline]
    pub fn visit_at<R>(&self, key: &[u8], hash: KeyHash, hint: Hint, visit: impl FnOnce(&mut Entry<'_>) -> R) -> R {
        self.service.store.entry_at(key, hash, hint, self.now, |entry| {
            event_lines::fetched(entry, key, self.descriptor, self.service);
            visit(entry)
        })
    }

    /// `flush_all`: at once (exptime 0 or less) or at an exptime. The clock is read anew, since another worker's turn may
    /// have begun, and items been stored, in a later second than this turn's.
    pub fn flush(&self, exptime: i64) {
        let now = self.now.max(self.service.clock.now());
        let at = (exptime > 0).then(|| now.deadline(exptime));
        self.service.store.flush(at, now);
    }

    /// The counters of the worker that runs the session.
    pub fn counters(&self) -> &WorkerCounters {
        &self.service.workers[self.worker]
    }
}

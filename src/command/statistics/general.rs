//! The general list of `stats`: one row per statistic, with its name, unit, help text, the circumstances under which it
//! is shown and the function that reads it. Names and order are memcached's.
//!
//! All values are gathered once ([`Facts::gather`]) and then read by the rows, so that one list is consistent in itself
//! as far as counters of many threads can be.

use std::borrow::Cow;
use std::time::Duration;

use crate::base::sizes::{DESCRIPTORS_PER_THREAD, MEMCACHED_BUFFER_BYTES, READ_BUFFER_BYTES};
use crate::base::sync::{AtomicU64, Ordering};
use crate::stats::connections::ConnectionTable;
use crate::stats::counters::WorkerTotals;
use crate::stats::events::EventCounters;
use crate::store::Tuning;
use crate::store::counters::{ClassCounters, StoreCounters};
use crate::store::snapshot::Snapshot;
use crate::sys::process::{self, ProcessorTime};

use super::super::service::{Certificates, Config, Context, REPLIES_PER_BUFFER};
use super::Emit;

/// What a statistic measures.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Unit {
    /// Words.
    Text,
    /// 0 or 1.
    Flag,
    /// A number that may fall.
    Gauge,
    /// A number that only grows, until `stats reset`.
    Count,
    /// Bytes now.
    Bytes,
    /// Bytes ever.
    BytesCount,
    /// Seconds.
    Seconds,
    /// Microseconds.
    Micros,
}

/// When a statistic is shown.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Condition {
    /// In any case.
    Always,
    /// With maxconns_fast.
    MaxconnsFast,
    /// With idle_timeout.
    IdleTimeout,
    /// With slab_reassign.
    Reassign,
    /// While the LRU crawler is on.
    Crawler,
    /// With the LRU maintainer.
    Maintainer,
    /// With TLS.
    Tls,
    /// With TLS and its session cache.
    TlsSessions,
    /// Where clients have to log in.
    Logins,
}

/// A row of the list.
#[derive(Debug)]
pub struct Statistic {
    /// Its name, memcached's.
    pub name: &'static str,
    /// What it measures.
    pub unit: Unit,
    /// When it is shown.
    pub condition: Condition,
    /// What it says.
    pub help: &'static str,
    value: fn(&Facts<'_>) -> Value,
}

/// A statistic's value.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Value {
    /// A number.
    Number(u64),
    /// Anything else.
    Text(Cow<'static, str>),
}

/// Emits the general list.
pub fn general(context: &Context<'_>, emit: Emit<'_>) {
    let mut digits = itoa::Buffer::new();
    each(&Facts::gather(context), &mut |statistic, value| {
        let text = match value {
            Value::Number(number) => digits.format(*number),
            Value::Text(text) => text,
        };
        emit(statistic.name, text);
    });
}

/// Visits the rows that are to be shown, with their values.
pub fn each(facts: &Facts<'_>, visit: &mut dyn FnMut(&Statistic, &Value)) {
    for statistic in STATISTICS {
        if facts.is_met(statistic.condition) {
            visit(statistic, &(statistic.value)(facts));
        }
    }
}

/// Everything that the rows read.
pub struct Facts<'a> {
    context: &'a Context<'a>,
    config: &'a Config,
    workers: WorkerTotals,
    /// Counters of all classes together.
    classes: ClassCounters,
    store: StoreCounters,
    snapshot: Snapshot,
    tuning: Tuning,
    events: EventCounters,
    processor: ProcessorTime,
    /// Connections and listeners.
    connections: usize,
    replies_waiting: u64,
}

impl<'a> Facts<'a> {
    /// Reads all counters.
    pub fn gather(context: &'a Context<'a>) -> Self {
        let service = context.service;
        let snapshot = service.store.snapshot();
        let mut classes = ClassCounters::default();
        for class in &snapshot.classes {
            classes.add(&class.counters);
        }
        Self {
            context,
            config: &service.config,
            workers: service.worker_totals(),
            classes,
            store: snapshot.counters,
            tuning: service.store.tuning(),
            events: service.events.counters(),
            processor: process::processor_time(),
            connections: service.connections.count(),
            replies_waiting: service.connections.replies_waiting(),
            snapshot,
        }
    }

    fn is_met(&self, condition: Condition) -> bool {
        match condition {
            Condition::Always => true,
            Condition::MaxconnsFast => self.config.is_maxconns_fast,
            Condition::IdleTimeout => self.config.idle_timeout_seconds != 0,
            Condition::Reassign => self.context.service.store.config().has_slab_reassign,
            Condition::Crawler => self.tuning.has_crawler,
            Condition::Maintainer => self.tuning.has_maintainer,
            Condition::Tls => self.certificates().is_some(),
            Condition::Logins => self.context.service.logins.is_some(),
            Condition::TlsSessions => self.certificates().is_some_and(|certificates| certificates.has_session_cache),
        }
    }

    fn threads(&self) -> u64 {
        self.config.threads as u64
    }

    /// Replies waiting, and the one that is being written.
    fn replies(&self) -> u64 {
        self.replies_waiting + 1
    }

    fn seconds(&self) -> u32 {
        self.context.now.seconds
    }

    fn certificates(&self) -> Option<&Certificates> {
        self.context.service.certificates.as_ref()
    }

    fn certificates_read_at(&self) -> u32 {
        self.certificates().map_or(0, |certificates| certificates.read_at_seconds.load(Ordering::Relaxed))
    }

    fn table(&self) -> &ConnectionTable {
        &self.context.service.connections
    }
}

impl From<u64> for Value {
    fn from(number: u64) -> Self {
        Value::Number(number)
    }
}

impl From<u32> for Value {
    fn from(number: u32) -> Self {
        Value::Number(u64::from(number))
    }
}

impl From<usize> for Value {
    fn from(number: usize) -> Self {
        Value::Number(number as u64)
    }
}

impl From<i64> for Value {
    fn from(number: i64) -> Self {
        Value::Number(u64::try_from(number).unwrap_or(0))
    }
}

impl From<bool> for Value {
    fn from(flag: bool) -> Self {
        Value::Number(u64::from(flag))
    }
}

impl From<&'static str> for Value {
    fn from(text: &'static str) -> Self {
        Value::Text(Cow::Borrowed(text))
    }
}

impl From<String> for Value {
    fn from(text: String) -> Self {
        Value::Text(Cow::Owned(text))
    }
}

/// Seconds with six decimals.
impl From<Duration> for Value {
    fn from(time: Duration) -> Self {
        format!("{}.{:06}", time.as_secs(), time.subsec_micros()).into()
    }
}

impl From<&AtomicU64> for Value {
    fn from(counter: &AtomicU64) -> Self {
        counter.load(Ordering::Relaxed).into()
    }
}

/// `uptime` counts from here on the coarse clock, as in memcached.
const UPTIME_ZERO_SECONDS: u32 = 60;

/// Declares the rows: name, unit, condition, help text and how the value is read.
macro_rules! statistics {
    ($($name:ident $unit:ident $condition:ident $help:literal |$facts:ident| $value:expr;)*) => {
        /// All rows, in the order in which they are shown.
        pub const STATISTICS: &[Statistic] = &[$(Statistic {
            name: stringify!($name),
            unit: Unit::$unit,
            condition: Condition::$condition,
            help: $help,
            value: |$facts| Value::from($value),
        },)*];
    };
}

statistics! {
    pid Gauge Always "Process id." |_facts| process::id();
    uptime Seconds Always "Time since the start." |facts| facts.seconds().saturating_sub(UPTIME_ZERO_SECONDS);
    time Seconds Always "Unix time." |facts| facts.context.now.unix(facts.seconds());
    version Text Always "Version." |facts| facts.config.version.clone();
    libevent Text Always "The event library; memcached shows libevent's version here." |_facts| "mio";
    pointer_size Gauge Always "Bits of a pointer." |_facts| usize::BITS;
    rusage_user Seconds Always "Processor time spent in the program." |facts| facts.processor.user;
    rusage_system Seconds Always "Processor time spent in the kernel." |facts| facts.processor.system;
    max_connections Gauge Always "Most connections at a time." |facts| facts.config.max_connections;
    // memcached leaves one listener out.
    curr_connections Gauge Always "Open connections." |facts| facts.connections.saturating_sub(1);
    total_connections Count Always "Connections ever opened." |facts| &facts.table().total;
    rejected_connections Count MaxconnsFast "Connections refused for want of descriptors."
        |facts| &facts.table().rejected;
    connection_structures Gauge Always "Most connections open at a time." |facts| &facts.table().structures;
    response_obj_oom Count Always "Connections closed for want of reply memory."
        |facts| facts.workers.response_obj_oom;
    response_obj_count Gauge Always "Replies waiting to be sent, this one included." |facts| facts.replies();
    // Replies live in their connections' queues; this is what memcached would allocate for as many, in bundles of
    // `REPLIES_PER_BUFFER`.
    response_obj_bytes Bytes Always "Memory of waiting replies."
        |facts| facts.replies().div_ceil(u64::from(REPLIES_PER_BUFFER)) * MEMCACHED_BUFFER_BYTES as u64;
    // Each worker has one buffer that all its connections share, and it is always in use.
    read_buf_count Gauge Always "Read buffers." |facts| facts.threads();
    read_buf_bytes Bytes Always "Bytes of all read buffers." |facts| facts.threads() * READ_BUFFER_BYTES as u64;
    read_buf_bytes_free Bytes Always "Bytes of unused read buffers." |_facts| 0u64;
    read_buf_oom Count Always "Connections closed for want of read buffers." |facts| facts.workers.read_buf_oom;
    // memcached's arithmetic; nothing is set aside here.
    reserved_fds Gauge Always "Descriptors reckoned for internal use." |facts| facts.threads() * DESCRIPTORS_PER_THREAD as u64;
    cmd_get Count Always "Keys looked up by get." |facts| facts.classes.get_hits() + facts.store.get_misses;
    cmd_set Count Always "Storage commands for which an item was made." |facts| facts.classes.cmd_set;
    cmd_flush Count Always "flush_all commands." |facts| facts.workers.cmd_flush;
    cmd_touch Count Always "Keys looked up by touch and gat."
        |facts| facts.classes.touch_hits + facts.store.touch_misses;
    cmd_meta Count Always "me commands." |facts| facts.workers.cmd_meta;
    get_hits Count Always "Keys found by get." |facts| facts.classes.get_hits();
    get_misses Count Always "Keys not found by get." |facts| facts.store.get_misses;
    get_expired Count Always "Lookups that met an expired item." |facts| facts.store.get_expired;
    get_flushed Count Always "Lookups that met a flushed item." |facts| facts.store.get_flushed;
    delete_misses Count Always "Keys not found by delete." |facts| facts.store.delete_misses;
    delete_hits Count Always "Keys deleted." |facts| facts.classes.delete_hits;
    incr_misses Count Always "Keys not found by incr." |facts| facts.store.incr_misses;
    incr_hits Count Always "Keys incremented." |facts| facts.classes.incr_hits;
    decr_misses Count Always "Keys not found by decr." |facts| facts.store.decr_misses;
    decr_hits Count Always "Keys decremented." |facts| facts.classes.decr_hits;
    cas_misses Count Always "Keys not found by cas." |facts| facts.store.cas_misses;
    cas_hits Count Always "Successful cas commands." |facts| facts.classes.cas_hits;
    cas_badval Count Always "cas commands with another id than the item's." |facts| facts.classes.cas_badval;
    touch_hits Count Always "Keys found by touch and gat." |facts| facts.classes.touch_hits;
    touch_misses Count Always "Keys not found by touch and gat." |facts| facts.store.touch_misses;
    store_too_large Count Always "Values refused for their size." |facts| facts.store.store_too_large;
    store_no_memory Count Always "Values refused for want of memory." |facts| facts.store.store_no_memory;
    auth_cmds Count Always "Attempts to authenticate." |facts| facts.workers.auth_cmds;
    auth_errors Count Always "Failed attempts to authenticate." |facts| facts.workers.auth_errors;
    idle_kicks Count IdleTimeout "Connections closed for being idle." |facts| facts.workers.idle_kicks;
    bytes_read BytesCount Always "Bytes received." |facts| facts.workers.bytes_read;
    bytes_written BytesCount Always "Bytes sent." |facts| facts.workers.bytes_written;
    limit_maxbytes Bytes Always "Memory limit for items." |facts| facts.snapshot.limit_bytes;
    accepting_conns Flag Always "Whether connections are accepted."
        |facts| u32::from(facts.table().is_accepting.load(Ordering::Relaxed));
    listen_disabled_num Count Always "Times accepting was stopped." |facts| &facts.table().listen_disabled;
    time_in_listen_disabled_us Micros Always "Time during which accepting was stopped."
        |facts| &facts.table().listen_disabled_micros;
    threads Gauge Always "Worker threads." |facts| facts.threads();
    conn_yields Count Always "Turns that ended with requests left." |facts| facts.workers.conn_yields;
    hash_power_level Gauge Always "Size of the index as a power of two." |facts| facts.snapshot.hash_power;
    hash_bytes Bytes Always "Memory of the index." |facts| facts.snapshot.hash_bytes;
    // The index grows in steps of its own; there is no phase in which it is locked.
    hash_is_expanding Flag Always "Whether the index is being enlarged." |_facts| false;
    slab_reassign_rescues Count Reassign "Items copied by the page mover." |facts| facts.store.reassign_rescues;
    slab_reassign_chunk_rescues Count Reassign "Chunks of large values kept by the page mover."
        |facts| facts.store.reassign_chunk_rescues;
    slab_reassign_inline_reclaim Count Reassign "Dead items freed by the page mover."
        |facts| facts.store.reassign_inline_reclaim;
    slab_reassign_busy_items Count Reassign "Times the page mover met an item in use."
        |facts| facts.store.reassign_busy_items;
    slab_reassign_busy_deletes Count Reassign "Items the page mover had to delete."
        |facts| facts.store.reassign_busy_deletes;
    slab_reassign_busy_nomem Count Reassign "Times the page mover found no memory."
        |facts| facts.store.reassign_busy_nomem;
    slab_reassign_last_busy_status Text Reassign "Why the page mover last stood still." |facts| facts.snapshot.last_busy_status;
    slab_reassign_running Flag Reassign "Whether a page is being moved." |facts| facts.snapshot.is_reassigning;
    slabs_moved Count Reassign "Pages moved." |facts| facts.store.slabs_moved;
    lru_crawler_running Flag Crawler "Whether the LRU crawler is at work." |facts| facts.snapshot.is_crawling;
    lru_crawler_starts Count Crawler "Crawls started." |facts| facts.store.lru_crawler_starts;
    lru_maintainer_juggles Count Maintainer "Steps of LRU maintenance." |facts| facts.store.lru_maintainer_juggles;
    malloc_fails Count Always "Times the system refused memory for items." |facts| facts.snapshot.refusals;
    // Events go to watchers' buffers directly; there is no worker's buffer to overflow.
    log_worker_dropped Count Always "Events dropped before they reached a watcher." |_facts| 0u64;
    log_worker_written Count Always "Events made." |facts| facts.events.worker_written;
    log_watcher_skipped Count Always "Events that did not fit into a watcher's buffer."
        |facts| facts.events.watcher_skipped;
    log_watcher_sent Count Always "Events given to watchers." |facts| facts.events.watcher_sent;
    log_watchers Gauge Always "Watchers." |facts| facts.events.watchers;
    ssl_new_sessions Count TlsSessions "TLS sessions negotiated from the start, not resumed."
        |facts| facts.workers.ssl_new_sessions;
    ssl_handshake_errors Count Tls "TLS handshakes that failed." |facts| facts.workers.ssl_handshake_errors;
    ssl_proto_errors Count Tls "TLS connections that failed after the handshake."
        |facts| facts.workers.ssl_proto_errors;
    time_since_server_cert_refresh Seconds Tls "Time since the certificates were read."
        |facts| facts.seconds().saturating_sub(facts.certificates_read_at());
    unexpected_napi_ids Count Always "Connections without a known network queue; always 0." |_facts| 0u64;
    round_robin_fallback Count Always "Connections spread without a network queue; always 0." |_facts| 0u64;
    bytes Bytes Always "Bytes of all items." |facts| facts.snapshot.bytes;
    curr_items Gauge Always "Items stored." |facts| facts.snapshot.curr_items;
    total_items Count Always "Items ever stored." |facts| facts.store.total_items;
    slab_global_page_pool Gauge Always "Free pages that belong to no class." |facts| facts.snapshot.pool_pages;
    expired_unfetched Count Always "Items that expired without a fetch." |facts| facts.classes.expired_unfetched;
    evicted_unfetched Count Always "Items evicted without a fetch." |facts| facts.classes.evicted_unfetched;
    evicted_active Count Maintainer "Active items evicted." |facts| facts.classes.evicted_active;
    evictions Count Always "Live items thrown away for memory." |facts| facts.classes.evicted;
    reclaimed Count Always "Dead items whose memory was used again." |facts| facts.classes.reclaimed;
    crawler_reclaimed Count Always "Dead items found by the LRU crawler." |facts| facts.classes.crawler_reclaimed;
    crawler_items_checked Count Always "Items looked at by the LRU crawler."
        |facts| facts.classes.crawler_items_checked;
    lrutail_reflocked Count Always "Tail items that were in use." |facts| facts.classes.lrutail_reflocked;
    moves_to_cold Count Maintainer "Items moved to COLD." |facts| facts.classes.moves_to_cold;
    moves_to_warm Count Maintainer "Items moved to WARM." |facts| facts.classes.moves_to_warm;
    moves_within_lru Count Maintainer "Active items kept in their segment." |facts| facts.classes.moves_within_lru;
    direct_reclaims Count Maintainer "Times a store freed memory for itself." |facts| facts.classes.direct_reclaims;
    // A fetch marks the item at once; there is no queue that could be full.
    lru_bumps_dropped Count Maintainer "Fetches whose mark was lost." |_facts| 0u64;
    // Not memcached's.
    auth_failed_credentials Count Logins "Logins with a wrong user or password."
        |facts| facts.workers.auth_failed_credentials;
    auth_failed_malformed Count Logins "Logins that were none." |facts| facts.workers.auth_failed_malformed;
    auth_failed_mechanism Count Logins "Logins by a SASL mechanism that is not offered."
        |facts| facts.workers.auth_failed_mechanism;
    auth_failed_busy Count Logins "Logins refused because too many passwords waited to be verified."
        |facts| facts.workers.auth_failed_busy;
    auth_failed_memory Count Logins "Logins refused because the system gave no memory to verify a password."
        |facts| facts.workers.auth_failed_memory;
    auth_failed_command Count Logins "Commands before the login." |facts| facts.workers.auth_failed_command;
}

//! Everything that an answer is made of, gathered once, so that one answer is consistent in itself as far as counters of
//! many threads can be. Names of keys are hidden here already, unless they may be shown.

use std::collections::{BTreeMap, HashMap};
use std::hash::{BuildHasher, RandomState};

use crate::base::sizes::{ITEM_HEADER_BYTES, PAGE_BYTES};
use crate::base::sync::{Arc, Ordering};
use crate::base::time::Now;
use crate::command::Service;
use crate::command::service::{Context, Scratch, Wake};
use crate::command::statistics::{self, Emit};
use crate::stats::hot_keys::{self, HotKey};
use crate::stats::observation::{Latencies, ObservedCommand, SIZE_BUCKETS, TTL_BOUNDS_SECONDS};
use crate::stats::prefix::PrefixRow;
use crate::stats::sampled_prefixes::PrefixCounts;
use crate::store::snapshot::{ClassSnapshot, Snapshot};
use crate::sys::process::{self, ProcessMemory, ProcessorTime};

use super::Config;
use super::body::NoMemory;

/// Hot keys that are shown.
pub(super) const HOT_KEYS_MAX: usize = 16;
/// Prefixes that are shown.
pub(super) const PREFIXES_MAX: usize = 100;
/// Certificates ending in fewer days than these are warned of, elsewhere.
const SECONDS_PER_DAY: f64 = 86_400.0;

/// A list of `stats`: names and values.
#[derive(Default)]
pub(super) struct Lines(HashMap<String, String>);

impl Lines {
    /// A value; empty when there is none.
    pub fn text(&self, name: &str) -> &str {
        self.0.get(name).map_or("", String::as_str)
    }

    /// A value that is a number.
    pub fn number(&self, name: &str) -> Option<f64> {
        self.text(name).parse().ok()
    }

    /// Another value for a line.
    #[cfg(test)]
    pub fn set(&mut self, name: &str, value: u64) {
        self.0.insert(name.to_owned(), value.to_string());
    }

    /// A value that is a count; 0 when there is none.
    pub fn count(&self, name: &str) -> u64 {
        self.text(name).parse().unwrap_or(0)
    }
}

/// What was stored, by sampling, on all workers together.
#[derive(Clone, Default)]
pub(super) struct Stored {
    /// Stores by [`crate::stats::observation::StoredHistograms::sizes`].
    pub sizes: [u64; SIZE_BUCKETS],
    pub size_sum: u64,
    pub ttls: [u64; TTL_BOUNDS_SECONDS.len() + 1],
    pub ttl_sum: u64,
    pub without_ttl: u64,
}

/// A key or prefix as it may be shown.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Shown {
    /// Its name with bytes that do not print as `%XX`; `None` when it is hidden.
    pub name: Option<String>,
    /// A hash of it that is the same until the restart, in hexadecimal.
    pub hash: String,
}

/// Counts by prefix from samples: what is shown, and the rest.
pub(super) struct Sampled {
    pub rows: Vec<(Shown, PrefixCounts)>,
    pub others: PrefixCounts,
    pub without: PrefixCounts,
}

impl Sampled {
    fn read(service: &Service, curtain: &Curtain) -> Self {
        let sampled = service.prefixes.sampled();
        let rows = sampled.rows.iter().map(|(prefix, counts)| (curtain.show(prefix), *counts)).collect();
        Self { rows, others: sampled.others, without: sampled.without }
    }
}

/// Turns keys into what may be shown of them.
#[derive(Debug)]
pub(super) struct Curtain {
    state: RandomState,
    shows_keys: bool,
}

impl Curtain {
    pub fn new(shows_keys: bool) -> Self {
        Self { state: RandomState::new(), shows_keys }
    }

    /// What may be shown of a key. The hash is keyed (SipHash), so that guessed keys cannot be tried against it.
    pub fn show(&self, key: &[u8]) -> Shown {
        let name = || {
            key.iter().fold(String::with_capacity(key.len()), |mut name, &byte| {
                match byte {
                    b'!'..=b'~' if byte != b'%' => name.push(char::from(byte)),
                    _ => name.push_str(&format!("%{byte:02X}")),
                }
                name
            })
        };
        Shown { name: self.shows_keys.then(name), hash: format!("{:016x}", self.state.hash_one(key)) }
    }
}

/// Everything; see the module comment.
pub(super) struct Facts<'a> {
    pub service: &'a Service,
    pub config: &'a Config,
    pub now: Now,
    /// `stats`, and the totals of `stats slabs`.
    pub general: Lines,
    /// `stats settings`.
    pub settings: Lines,
    /// `stats items` by class.
    pub items: BTreeMap<u32, Lines>,
    /// `stats slabs` by class.
    pub slabs: BTreeMap<u32, Lines>,
    pub snapshot: Snapshot,
    pub memory: ProcessMemory,
    pub processor: ProcessorTime,
    /// Since the start, in the order of [`ObservedCommand::ALL`].
    pub latencies: Vec<Latencies>,
    pub stored: Stored,
    pub hot_keys: Vec<(Shown, HotKey)>,
    pub prefixes: Vec<(Shown, PrefixRow)>,
    pub sampled: Sampled,
    /// Open connections by the address that they came in by.
    pub listeners: Vec<(String, u64)>,
    /// Unix time of the end of the certificates, with TLS.
    pub certificate_ends_at: Option<i64>,
}

impl<'a> Facts<'a> {
    /// Reads all counters.
    pub fn gather(service: &'a Service, config: &'a Config, curtain: &Curtain) -> Result<Self, NoMemory> {
        let observations = || service.observations.iter().flat_map(|all| all.iter());
        let tables = observations().map(|observation| observation.hot_keys.lock());
        let hot_keys = hot_keys::hottest(tables, HOT_KEYS_MAX).map_err(|_| NoMemory)?;
        let prefixes = service.prefixes.busiest(PREFIXES_MAX);
        let (slabs, totals) = by_class(|context, emit| statistics::slabs(context, emit), "", service);
        Ok(Self {
            service,
            config,
            now: service.clock.now(),
            general: {
                let mut general = lines(service, |context, emit| statistics::general(context, emit));
                general.0.extend(totals.0);
                general
            },
            settings: lines(service, |context, emit| statistics::settings(context, emit)),
            items: by_class(|context, emit| statistics::items(context, emit), "items:", service).0,
            slabs,
            snapshot: service.store.snapshot(),
            memory: process::memory(),
            processor: process::processor_time(),
            latencies: latencies(service),
            stored: stored(service),
            hot_keys: hot_keys.into_iter().map(|hot| (curtain.show(&hot.key), hot)).collect(),
            prefixes: prefixes.into_iter().map(|row| (curtain.show(&row.prefix), row)).collect(),
            sampled: Sampled::read(service, curtain),
            listeners: service.connections.by_listener(),
            certificate_ends_at: service.certificates.as_ref().and_then(|certificates| (certificates.ends_at_unix)()),
        })
    }

    /// Unix time.
    pub fn now_unix(&self) -> i64 {
        self.now.unix(self.now.seconds)
    }

    /// Days until the certificates end; negative when they have.
    pub fn certificate_days_left(&self) -> Option<f64> {
        self.certificate_ends_at.map(|end| (end - self.now_unix()) as f64 / SECONDS_PER_DAY)
    }

    /// Classes that own pages or hold items.
    pub fn classes(&self) -> impl Iterator<Item = ClassFacts<'_>> {
        let has_cas = self.service.store.config().has_cas;
        let classes = self.snapshot.classes.iter().filter(|class| class.pages > 0 || class.item_count() > 0);
        classes.map(move |class| ClassFacts::new(class, self.now, has_cas))
    }

    /// The age of the item that was used longest ago, of all classes.
    pub fn oldest_seconds(&self) -> Option<u32> {
        oldest_seconds(&self.snapshot, self.now)
    }

    /// The age at its eviction of the item that was evicted last, of all classes the greatest.
    pub fn evicted_age_seconds(&self) -> Option<u32> {
        let evicted = self.snapshot.classes.iter().filter(|class| class.counters.evicted > 0);
        evicted.map(|class| class.evicted_time).max()
    }
}

/// What a class' memory is used for: pages_bytes = items_bytes + free_bytes + wasted_bytes, unless pages are just being
/// moved.
pub(super) struct ClassFacts<'a> {
    pub class: &'a ClassSnapshot,
    pub pages_bytes: usize,
    /// Keys, values and client flags.
    pub items_bytes: usize,
    /// Ready to be used.
    pub free_bytes: usize,
    /// Item headers, room in a slot that its item does not need, and what is left over at the end of a page.
    pub wasted_bytes: usize,
    /// `None` when it is empty.
    pub oldest_seconds: Option<u32>,
}

impl<'a> ClassFacts<'a> {
    fn new(class: &'a ClassSnapshot, now: Now, has_cas: bool) -> Self {
        let overhead_bytes = class.item_count() * item_overhead_bytes(has_cas);
        let pages_bytes = class.pages * PAGE_BYTES;
        let items_bytes = class.mem_requested.saturating_sub(overhead_bytes);
        let free_bytes = (class.free_chunks * class.chunk_bytes).min(pages_bytes.saturating_sub(items_bytes));
        Self {
            class,
            pages_bytes,
            items_bytes,
            free_bytes,
            wasted_bytes: pages_bytes.saturating_sub(items_bytes + free_bytes),
            oldest_seconds: class_oldest_seconds(class, now),
        }
    }
}

/// What memcached's arithmetic adds to key and value.
fn item_overhead_bytes(has_cas: bool) -> usize {
    ITEM_HEADER_BYTES + if has_cas { 8 } else { 0 } + "\0\r\n".len()
}

fn class_oldest_seconds(class: &ClassSnapshot, now: Now) -> Option<u32> {
    let times = class.tail_times.iter().filter(|&&time| time > 0);
    times.min().map(|time| now.seconds.saturating_sub(*time))
}

/// See [`Facts::oldest_seconds`].
pub(super) fn oldest_seconds(snapshot: &Snapshot, now: Now) -> Option<u32> {
    snapshot.classes.iter().filter_map(|class| class_oldest_seconds(class, now)).max()
}

/// Latencies since the start, in the order of [`ObservedCommand::ALL`].
pub(super) fn latencies(service: &Service) -> Vec<Latencies> {
    let observations = || service.observations.iter().flat_map(|all| all.iter());
    let commands = ObservedCommand::ALL.iter();
    let sum = |&command| {
        observations().fold(Latencies::default(), |mut sum, observation| {
            sum.read(observation.latencies(command));
            sum
        })
    };
    commands.map(sum).collect()
}

fn stored(service: &Service) -> Stored {
    let mut sum = Stored::default();
    for observation in service.observations.iter().flat_map(|all| all.iter()) {
        let stored = &observation.stored;
        for (sum, size) in sum.sizes.iter_mut().zip(&stored.sizes) {
            *sum += size.value();
        }
        for (sum, ttl) in sum.ttls.iter_mut().zip(&stored.ttls) {
            *sum += ttl.value();
        }
        sum.size_sum = sum.size_sum.wrapping_add(stored.size_sum.value());
        sum.ttl_sum = sum.ttl_sum.wrapping_add(stored.ttl_sum.value());
        sum.without_ttl += stored.without_ttl.value();
    }
    sum
}

type List = fn(&Context<'_>, Emit<'_>);

/// Runs one of the lists of `stats`, as a connection of nobody.
fn each(service: &Service, list: List, emit: Emit<'_>) {
    let target: Arc<dyn Fn(usize) + Send + Sync> = Arc::new(|_| {});
    let context = Context {
        service,
        worker: 0,
        now: service.clock.now(),
        wake: Wake { target: &target, token: 0 },
        descriptor: -1,
        peer: &"nobody",
        scratch: &mut Scratch::default(),
    };
    list(&context, emit);
}

fn lines(service: &Service, list: List) -> Lines {
    let mut lines = Lines::default();
    each(service, list, &mut |name, value| {
        lines.0.insert(name.to_owned(), value.to_owned());
    });
    lines
}

/// A list whose names are `<prefix><class>:<name>`, by class; the rest apart.
fn by_class(list: List, prefix: &str, service: &Service) -> (BTreeMap<u32, Lines>, Lines) {
    let mut classes: BTreeMap<u32, Lines> = BTreeMap::new();
    let mut rest = Lines::default();
    each(service, list, &mut |name, value| {
        let parts = name.strip_prefix(prefix).and_then(|name| name.split_once(':'));
        match parts.and_then(|(class, name)| Some((class.parse().ok()?, name))) {
            Some((class, name)) => classes.entry(class).or_default().0.insert(name.to_owned(), value.to_owned()),
            None => rest.0.insert(name.to_owned(), value.to_owned()),
        };
    });
    (classes, rest)
}

/// Whether connections are accepted.
pub(super) fn is_accepting(service: &Service) -> bool {
    service.connections.is_accepting.load(Ordering::Relaxed) != 0
}

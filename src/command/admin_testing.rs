//! A service without sockets, for unit tests of the commands that look at the whole server.

use crate::base::sync::{Arc, AtomicU8, AtomicUsize, Mutex, Ordering};
use crate::base::time::{Clock, Now};
use crate::stats::connections::ConnectionTable;
use crate::stats::events::EventHub;
use crate::stats::prefix::PrefixTable;
use crate::store::value::NewValue;
use crate::store::{self, Marks, NewItem, Store};

use super::output::Output;
use super::service::{Config, Context, Control, Logins, Service, Wake};

/// A service and what it asked of the server around it.
pub struct Fixture {
    pub service: Service,
    pub controls: Arc<Mutex<Vec<Control>>>,
    wake: Arc<dyn Fn(usize) + Send + Sync>,
    wakes: Arc<AtomicUsize>,
}

/// The time of all calls: 38 seconds after the start.
pub const NOW: Now = Now { seconds: 100, epoch: 1_700_000_000 };

impl Fixture {
    pub fn new() -> Self {
        Self::with_store(store::Config::default())
    }

    pub fn with_store(config: store::Config) -> Self {
        let events = Arc::new(EventHub::default());
        let controls = Arc::new(Mutex::new(Vec::new()));
        let wakes = Arc::new(AtomicUsize::new(0));
        let (sink, counter) = (Arc::clone(&controls), Arc::clone(&wakes));
        Self {
            service: Service {
                store: Store::new(config, Arc::clone(&events)),
                config: config_default(),
                clock: Arc::new(Clock::start()),
                workers: (0..4).map(|_| Default::default()).collect(),
                connections: ConnectionTable::default(),
                events,
                prefixes: PrefixTable::new(b':', false),
                control: Box::new(move |control| sink.lock().push(control)),
                verbosity: AtomicU8::new(0),
                settings_report: Box::new(|changed| changed.to_vec()),
                logins: Mutex::new(None),
            },
            controls,
            wake: Arc::new(move |_| {
                counter.fetch_add(1, Ordering::Relaxed);
            }),
            wakes,
        }
    }

    /// Runs `call` with a context of worker 0.
    pub fn with<R>(&self, call: impl FnOnce(&mut Context<'_>) -> R) -> R {
        call(&mut Context {
            service: &self.service,
            worker: 0,
            now: NOW,
            wake: Wake { target: &self.wake, token: 0 },
            scratch: &mut Vec::new(),
        })
    }

    /// Stores an item.
    pub fn set(&self, key: &[u8], value: &[u8], flags: u32, exptime: u32, is_binary_key: bool) {
        let store = &self.service.store;
        let marks = Marks { is_binary_key, ..Marks::default() };
        store.entry(key, store.hash(key), NOW, |entry| {
            entry.insert(NewItem { flags, exptime, cas: Some(2), value: NewValue::Bytes(value), marks }).unwrap();
        });
    }

    /// Sets the accepted logins.
    pub fn set_logins(&self, pairs: &[(&str, &str)]) {
        let pairs =
            pairs.iter().map(|(user, password)| (user.as_bytes().to_vec(), password.as_bytes().to_vec())).collect();
        *self.service.logins.lock() = Some(Arc::new(Logins { pairs }));
    }

    /// How often the connection was woken.
    pub fn wakes(&self) -> usize {
        self.wakes.load(Ordering::Relaxed)
    }
}

fn config_default() -> Config {
    Config {
        version: "1.6.45".to_owned(),
        is_shutdown_enabled: true,
        is_flush_enabled: true,
        is_dump_enabled: true,
        is_watch_enabled: true,
        has_debug_commands: false,
        is_maxconns_fast: true,
        max_connections: 1024,
        threads: 4,
        requests_per_event: 20,
        idle_timeout_seconds: 0,
        read_buffers_max: 0,
        watcher_buffer_bytes: 262_144,
        prefix_delimiter: b':',
        auth_file: None,
    }
}

/// Takes what is queued as text.
pub fn text(output: &mut Output) -> String {
    let text = String::from_utf8_lossy(output.bytes()).into_owned();
    output.clear();
    text
}

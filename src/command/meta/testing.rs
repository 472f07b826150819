//! A service of its own for tests of commands, with a clock that stands.

use crate::base::sync::{Arc, AtomicU8, CachePadded, Mutex};
use crate::base::time::{Clock, Now};
use crate::stats::connections::ConnectionTable;
use crate::stats::counters::WorkerCounters;
use crate::stats::events::EventHub;
use crate::store::{Config as StoreConfig, Store};

use super::super::output::Output;
use super::super::service::{Config, Context, Service, Wake};

/// The service with a reply queue and what else a context borrows.
pub(in crate::command) struct TestServer {
    pub service: Service,
    pub now: Now,
    pub output: Output,
    wake: Arc<dyn Fn(usize) + Send + Sync>,
    scratch: Vec<u8>,
}

impl TestServer {
    pub fn new() -> Self {
        let events = Arc::new(EventHub::default());
        let store_config = StoreConfig { item_size_max: 64 << 10, ..StoreConfig::default() };
        let config = Config {
            version: "1.2.3".into(),
            is_shutdown_enabled: false,
            is_flush_enabled: true,
            is_dump_enabled: true,
            is_watch_enabled: true,
            has_debug_commands: false,
            is_maxconns_fast: false,
            max_connections: 10,
            threads: 1,
            requests_per_event: 20,
            idle_timeout_seconds: 0,
            read_buffers_max: 0,
            watcher_buffer_bytes: 0,
            prefix_delimiter: b':',
            auth_file: None,
        };
        Self {
            service: Service {
                store: Store::new(store_config, Arc::clone(&events)),
                config,
                clock: Arc::new(Clock::start()),
                workers: Box::new([CachePadded::new(WorkerCounters::default())]),
                connections: ConnectionTable::default(),
                events,
                prefixes: Default::default(),
                control: Box::new(|_| {}),
                verbosity: AtomicU8::new(0),
                settings_report: Box::new(|_| Vec::new()),
                logins: Mutex::new(None),
            },
            now: Now { seconds: 1000, epoch: 1_700_000_000 },
            output: Output::new(),
            wake: Arc::new(|_| {}),
            scratch: Vec::new(),
        }
    }

    /// Lets `act` work with the context and the reply queue.
    pub fn with<R>(&mut self, act: impl FnOnce(&mut Output, &mut Context<'_>) -> R) -> R {
        let mut context = Context {
            service: &self.service,
            worker: 0,
            now: self.now,
            wake: Wake { target: &self.wake, token: 0 },
            scratch: &mut self.scratch,
        };
        act(&mut self.output, &mut context)
    }

    /// Everything answered since the last call.
    pub fn replies(&mut self) -> Vec<u8> {
        let mut replies = Vec::new();
        while !self.output.is_empty() {
            let mut slices = [std::io::IoSlice::new(&[]); 8];
            let count = self.output.slices(&mut slices);
            let before = replies.len();
            for slice in &slices[..count] {
                replies.extend_from_slice(slice);
            }
            self.output.advance(replies.len() - before);
        }
        replies
    }
}

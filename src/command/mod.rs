//! Layer 3: what a request means. A [`Session`] turns the bytes of one connection into replies; it knows the protocols
//! and the store, and neither sockets nor threads.
//!
//! | file | what |
//! |---|---|
//! | `session` | the conversation: which protocol, what is unfinished |
//! | `text`, `binary/` | finds the family of a request; those of the binary protocol are inside `binary/` |
//! | `retrieval`, `batch` | get gets gat gats; several keys at a time |
//! | `sets` | runs of plain sets |
//! | `storage` | set add replace append prepend cas, and the data of ms |
//! | `arithmetic`, `removal` | incr decr; delete touch |
//! | `meta/` | mg ms md ma me |
//! | `admin` | flush_all, verbosity, cache_memlimit, lru, lru_crawler, slabs, shutdown |
//! | `statistics/` | stats |
//! | `dump`, `watch` | cachedump metadump mgdump; watch |
//! | `login/` | `-Y`, and what `-S` has in common with it |
//! | `apply`, `join`, `room` | what all protocols' stores and deltas do to an item; where a value goes |
//! | `lookahead` | the items of requests that wait behind one, looked for together |
//! | `output` | the reply queue |
//! | `event_lines`, `verbose`, `observe` | what watchers, `-vv` and samples see of commands |
//! | `service` | what commands may reach |

pub mod admin;
pub mod apply;
pub mod binary;
pub mod dump;
pub mod event_lines;
pub mod login;
pub mod meta;
pub mod observe;
pub mod output;
pub mod service;
pub mod session;
pub mod statistics;
pub mod watch;

mod arithmetic;
mod batch;
mod join;
mod listing;
mod lookahead;
mod removal;
mod retrieval;
mod room;
mod sets;
mod storage;
mod text;
mod verbose;

#[cfg(test)]
mod admin_testing;
#[cfg(test)]
mod session_tests;
#[cfg(test)]
pub(crate) mod testing;

pub use output::Output;
pub use retrieval::One;
pub use service::{Config, Context, Control, Service};
pub use session::{CloseReason, Next, Progress, Session};

//! Layer 3: what a request means. A [`Session`] turns the bytes of one connection into replies; it knows the protocols
//! and the store, and neither sockets nor threads.
//!
//! One file per family: `retrieval` (get gets gat gats), `storage` (set … cas, ms' data), `arithmetic` (incr decr),
//! `removal` (delete touch), `meta/` (mg ms md ma mn me), `binary/`, `admin` (flush_all … slabs), `statistics/`
//! (stats), `dump` (cachedump metadump mgdump), `watch`, `login` (-Y). `text` and `binary` dispatch.

pub mod admin;
pub mod apply;
pub mod binary;
pub mod dump;
pub mod event_lines;
pub mod login;
pub mod meta;
pub mod output;
pub mod service;
pub mod session;
pub mod statistics;
pub mod watch;

mod arithmetic;
mod join;
mod removal;
mod retrieval;
mod room;
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
pub use service::{Config, Context, Control, Service};
pub use session::{CloseReason, Next, Progress, Session};

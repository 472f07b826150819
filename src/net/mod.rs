//! Layer 4: sockets, threads and buffers. Knows nothing of what a command means.
//!
//! ```text
//!   listeners -> acceptor --(inbox, one wake per batch)--> worker 0..n: connections by token
//!   UDP sockets ---------------------------------------> worker i % n
//! ```
//! The acceptor takes connections and hands them out round robin. A worker owns its connections alone: it reads,
//! lets the [`crate::command::Session`] work, and writes at most once per connection and turn. Shared between threads are only
//! the [`inbox`] of each worker and the [`crate::command::Service`].

pub mod acceptor;
pub mod address;
pub mod buffer;
pub mod connection;
mod held;
pub mod inbox;
pub mod listener;
pub mod sampler;
pub mod stream;
#[cfg(test)]
mod testing;
pub mod tls;
pub mod tools;
pub mod udp;
pub mod worker;

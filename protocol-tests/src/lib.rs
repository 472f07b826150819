//! Black-box tests of slabstash: the wire and nothing else.
//!
//! Transcripts of what a client sends and what a server answers live in `cases/`, as plain text; the format is described
//! in `README.md` and, normatively, in [`case`]. The runner (`tests/wire.rs`) plays them against a server it starts itself:
//! slabstash, or a real memcached, which keeps the transcripts honest.
//!
//! ```text
//!   cases/*.case ── case ──┐                         ┌── connection ── socket ── server
//!                          ├── suite ── play (a run) ┤
//!   template, packet ──────┘     └── cuts            └── matcher
//! ```
//!
//! The same transcripts are played over TLS by `tests/tls_wire.rs`; [`credentials`] makes certificates for that, [`tls`] is
//! the client's side. [`daemon`] starts slabstash as an operator would, for tests of what is around the wire.
//!
//! Nothing here knows anything of slabstash but its command line, so any memcached-compatible server can be tested.

pub mod case;
pub mod connection;
pub mod credentials;
pub mod cuts;
pub mod daemon;
pub mod differential;
pub mod history;
pub mod manager;
pub mod matcher;
pub mod mutate;
pub mod packet;
pub mod play;
pub mod pump;
pub mod random;
pub mod server;
pub mod suite;
pub mod template;
pub mod tls;
pub mod version;

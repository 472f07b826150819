//! Encryption of TCP connections by rustls, with the cryptography of `ring`.
//!
//! ```text
//!   listener -- Terms --> acceptor -- TlsStream --> worker: handshake, then records in and out
//!                 |
//!   Identities: the configurations that new connections get, replaced whole by a reload
//! ```
//! * [`identities`] reads certificates and keys and makes rustls' configurations of them.
//! * [`ciphers`] reads OpenSSL's lists of cipher suites.
//! * `validity` reads when a certificate ends.
//! * [`stream`] is one connection: bytes of the socket to bytes of the client and back.
//! * [`workspace`] is the memory that the connections of a worker share, and where failures are counted.
//!
//! rustls is used without buffers of its own: a record is decrypted where it was received, what the turn has to say goes
//! out in one record of up to 16 KiB, and an idle connection holds no buffer.

pub mod ciphers;
pub mod identities;
mod strangers;
pub mod stream;
mod validity;
pub mod workspace;

pub use identities::{Config, Identities, Terms};
pub use stream::TlsStream;
pub use workspace::Workspace;

//! Checks what a server under load answers against what it was told: the history of every key.
//!
//! ```text
//!   runner ── clients (threads) ── connections ── batches ── wire ── server
//!                │                                   │
//!                └──────────── ledger ◄──────────────┘  begins, ends, floors of every key
//! ```
//!
//! A miss is always allowed, a wrong hit never. Every value says itself what it is ([`value`]): key, length, who wrote it
//! and when that began, and a filler that follows from these. So of each hit is known at once whether it is whole, whose it
//! is, and which write it comes from. What a write is to others is known from times: a write is over for everybody when its
//! answer has come, or when somebody has read it. The [`ledger`] keeps, for each key, the begin of the latest write,
//! delete or flush that is over for everybody, the *floor*. A hit is too old if its write had ended before the floor when
//! the read began: then a later write lies between them. That is all of linearizability for unique values with losses, at
//! the cost of a comparison. On top of it comes the order of each connection.
//!
//! Counters are kept by lifetime: whoever finds none starts one at a number of its own, so each answer says the lifetime
//! and the count; at rest the count is the number of answers. At rest, too, connections [`race`] for new keys with `add`.
//!
//! A server that is killed has nothing when it starts again. One that is stopped in order may leave its cache to a
//! [`keeper`], and all that was known of the keys goes on to bind it.

pub mod check;
pub mod client;
pub mod faulty;
pub mod keeper;
pub mod ledger;
pub mod link;
pub mod race;
pub mod runner;
pub mod value;

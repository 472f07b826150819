//! The same stream to two servers: what one answers, the other must answer too, to the byte.
//!
//! ```text
//!   seed ── stream ── batches ──┬── server A ──┐
//!           (text, meta,        │              ├── compare ── rules
//!            binary, broken)    └── server B ──┘
//! ```
//!
//! A [`Batch`](stream::Batch) is all that one connection says. It is sent in pieces, cut anywhere, the sending side is
//! closed behind it, and everything that comes until the server closes is compared. So nothing has to be known about what
//! a broken request swallows, and no server can hide what it says too much. Batches follow each other, so both servers are
//! in the same state when one begins, whatever the number of their threads.
//!
//! Where there is no other server, what it answered before is: a [`record`] of its replies, which [`solo`] compares one
//! server with.
//!
//! What may differ is in [`rules`], by name; `docs/compatibility.md` has the differences that users can see. What the
//! stream leaves out, because it depends on how the system cuts it or on when a thread runs, is said in [`stream`].

pub mod canonical;
pub mod compare;
pub mod ending;
pub mod pair;
pub mod record;
pub mod rules;
pub mod sizes;
pub mod solo;
pub mod stream;

mod binary;
mod broken;
mod classic;
mod meta;

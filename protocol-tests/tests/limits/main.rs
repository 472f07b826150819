//! Every limit of `docs/limits.md` that no transcript and no other test reaches: from one below it to one above, on a live
//! server. Where the limit is memcached's, a real memcached passes as well; a test of ours alone ends at once there.
//!
//! The table names these tests; `tests/limits.rs` of the daemon checks that it does, and that its figures are the code's.

mod client;
mod connections;
mod lines;
mod memory;
mod requests;

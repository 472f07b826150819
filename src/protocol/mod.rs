//! Layer 2: bytes to requests, replies to bytes. Pure: no I/O, no clock, no store.

pub mod binary;
pub mod text;

//! The text protocol: classic commands and meta commands on lines. Pure functions from bytes to requests and from
//! replies to bytes; nothing here allocates, and everything parsed borrows from the line.

pub mod base64;
pub mod classic;
pub mod line;
pub mod meta;
pub mod number;
pub mod reply;

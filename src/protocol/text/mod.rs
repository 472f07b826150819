//! The text protocol: classic commands and meta commands on lines.

pub mod base64;
pub mod meta;

//! Layer 0: plain values that every other layer may use.

pub mod hash;
pub mod key;
pub mod sizes;
pub mod sync;
pub mod time;

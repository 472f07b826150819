//! The slabstash daemon.
fn main() {}

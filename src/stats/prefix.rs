//! Counts per key prefix (`stats detail`).

/// The table of prefixes.
#[derive(Default, Debug)]
pub struct PrefixTable {}

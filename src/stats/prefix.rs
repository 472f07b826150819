//! Counts per key prefix (`stats detail`).

/// The table of prefixes.
#[derive(Default, Debug)]
pub struct PrefixTable {}

impl PrefixTable {
    /// An empty table.
    pub fn new(_delimiter: u8, _is_enabled: bool) -> Self {
        Self {}
    }
    /// Whether counting is on.
    #[inline]
    pub fn is_enabled(&self) -> bool {
        false
    }
    /// Counts a lookup.
    pub fn record_get(&self, _key: &[u8], _is_hit: bool) {}
    /// Counts a store.
    pub fn record_set(&self, _key: &[u8]) {}
    /// Counts a delete.
    pub fn record_delete(&self, _key: &[u8]) {}
}

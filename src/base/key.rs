//! What a key may be. A key is 1 to 250 bytes; the parsers refuse everything else, so that layers above rely on it.

/// Longest key in bytes, as in memcached (`KEY_MAX_LENGTH`).
pub const KEY_BYTES_MAX: usize = 250;

/// Whether `key` has a legal length.
pub fn is_valid(key: &[u8]) -> bool {
    !key.is_empty() && key.len() <= KEY_BYTES_MAX
}

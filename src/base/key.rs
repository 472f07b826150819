//! What a key may be. A key is 1 to 250 bytes; the parsers refuse everything else, so that layers above rely on it.

/// Longest key in bytes, as in memcached (`KEY_MAX_LENGTH`).
pub const KEY_BYTES_MAX: usize = 250;

/// Whether `key` has a legal length.
pub fn is_valid(key: &[u8]) -> bool {
    !key.is_empty() && key.len() <= KEY_BYTES_MAX
}

/// Appends `key` with everything but letters, digits and `-._~` as `%XX`.
pub fn uri_encode(key: &[u8], out: &mut Vec<u8>) {
    const HEX: &[u8; 16] = b"0123456789ABCDEF";
    for &byte in key {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            out.push(byte);
        } else {
            out.extend_from_slice(&[b'%', HEX[usize::from(byte >> 4)], HEX[usize::from(byte & 15)]]);
        }
    }
}

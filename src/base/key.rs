//! What a key may be. A key is 1 to 250 bytes; the parsers refuse everything else, so that layers above rely on it.

/// Longest key in bytes, as in memcached (`KEY_MAX_LENGTH`).
pub const KEY_BYTES_MAX: usize = 250;

/// Whether `key` has a legal length.
pub fn is_valid(key: &[u8]) -> bool {
    !key.is_empty() && key.len() <= KEY_BYTES_MAX
}

/// Whether two keys are the same. Most keys have 8 to 32 bytes: then it takes two loads from each and no call.
#[inline(always)]
pub fn is_same(key: &[u8], other: &[u8]) -> bool {
    if key.len() != other.len() {
        return false;
    }
    match key.len() {
        8..=16 => key.first_chunk::<8>() == other.first_chunk() && key.last_chunk::<8>() == other.last_chunk(),
        17..=32 => key.first_chunk::<16>() == other.first_chunk() && key.last_chunk::<16>() == other.last_chunk(),
        _ => key == other,
    }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_differ_at_any_byte_and_by_length() {
        for length in 0..=KEY_BYTES_MAX {
            let key: Vec<u8> = (0..length).map(|at| at as u8).collect();
            assert!(is_same(&key, &key.clone()), "{length}");
            assert!(!is_same(&key, &[&key[..], b"x"].concat()), "{length}");
            for at in 0..length {
                let mut other = key.clone();
                other[at] ^= 1;
                assert!(!is_same(&key, &other), "{at} of {length}");
            }
        }
    }
}

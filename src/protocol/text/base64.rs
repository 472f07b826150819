//! Base64 for binary keys of the meta commands.
//!
//! Encoding is the standard alphabet with padding. Decoding follows memcached's rules, which are looser than the
//! standard: bytes outside the alphabet are skipped, the rest must come in quartets, and the first padded quartet ends
//! the text (`YQ==YQ==` is `a`). Both work in memory the caller gives.

const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

/// Marks a byte that decoding skips.
const SKIPPED: u8 = 0x80;

/// The six bits a byte stands for, [`SKIPPED`] outside the alphabet; `=` counts as 0.
const VALUES: [u8; 256] = {
    let mut values = [SKIPPED; 256];
    let mut index = 0;
    while index < ALPHABET.len() {
        values[ALPHABET[index] as usize] = index as u8;
        index += 1;
    }
    values[b'=' as usize] = 0;
    values
};

/// Appends the encoding of `bytes` to `out`.
pub fn encode(bytes: &[u8], out: &mut Vec<u8>) {
    let letter = |bits: u32| ALPHABET[(bits & 63) as usize];
    for group in bytes.chunks(3) {
        let first = u32::from(group[0]) << 16;
        let second = group.get(1).map_or(0, |&byte| u32::from(byte) << 8);
        let third = group.get(2).map_or(0, |&byte| u32::from(byte));
        let bits = first | second | third;
        let mut quartet = [b'='; 4];
        quartet[0] = letter(bits >> 18);
        quartet[1] = letter(bits >> 12);
        if group.len() > 1 {
            quartet[2] = letter(bits >> 6);
        }
        if group.len() > 2 {
            quartet[3] = letter(bits);
        }
        out.extend_from_slice(&quartet);
    }
}

/// Decodes `text` into the front of `out`; the number of bytes, or `None` when `text` is not base64 or `out` is too
/// small. Three quarters of the text's length are always enough.
pub fn decode(text: &[u8], out: &mut [u8]) -> Option<usize> {
    let value = |byte: u8| VALUES[usize::from(byte)];
    let digits = text.iter().filter(|&&byte| value(byte) != SKIPPED).count();
    if digits == 0 || digits % 4 != 0 || digits / 4 * 3 > out.len() {
        return None;
    }
    let (mut bits, mut digit_count, mut padding, mut written) = (0u32, 0, 0, 0);
    for &byte in text {
        if value(byte) == SKIPPED {
            continue;
        }
        padding += usize::from(byte == b'=');
        bits = bits << 6 | u32::from(value(byte));
        digit_count += 1;
        if digit_count % 4 != 0 {
            continue;
        }
        let [_, triple @ ..] = bits.to_be_bytes();
        out.get_mut(written..written + 3)?.copy_from_slice(&triple);
        bits = 0;
        match padding {
            0 => written += 3,
            1 | 2 => return Some(written + 3 - padding),
            _ => return None,
        }
    }
    Some(written)
}

#[cfg(test)]
mod tests {
    use super::{decode, encode};

    #[track_caller]
    fn check(text: &[u8], expected: Option<&[u8]>) {
        let mut out = [0; 64];
        let decoded = decode(text, &mut out).map(|length| &out[..length]);
        assert_eq!(decoded, expected, "{:?}", String::from_utf8_lossy(text));
    }

    #[test]
    fn decodes_as_memcached_does() {
        check(b"YQ==", Some(b"a"));
        check(b"YWI=", Some(b"ab"));
        check(b"YWJj", Some(b"abc"));
        check(b"YWJjZA==", Some(b"abcd"));
        check(b"+/+/", Some(&[0xfb, 0xff, 0xbf]));
        check(b"Y-Q_=.=", Some(b"a"));
        check(b"YQ==YQ==", Some(b"a"));
        check(b"YQ=a", Some(&[0x61, 0]));
        check(b"YQ=", None);
        check(b"Y", None);
        check(b"", None);
        check(b"-_", None);
        check(b"====", None);
        check(b"Y===", None);
    }

    #[test]
    fn a_small_target_is_refused() {
        assert_eq!(decode(b"YWJj", &mut [0; 2]), None);
    }

    #[test]
    fn every_length_survives_the_round_trip() {
        let bytes: Vec<u8> = (0..200u8).map(|byte| byte.wrapping_mul(37)).collect();
        for length in 1..bytes.len() {
            let mut text = Vec::new();
            encode(&bytes[..length], &mut text);
            let mut out = [0; 256];
            let decoded = decode(&text, &mut out);
            assert_eq!(decoded, Some(length));
            assert_eq!(&out[..length], &bytes[..length]);
        }
    }
}

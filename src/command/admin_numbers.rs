//! Numbers and keywords as memcached's administrative commands read them.
//!
//! Each parser takes one whole token. Keywords are compared over the client's length alone, so `stats s` is
//! `stats settings`.

/// Longest token of a 32-bit number, leading zeros included.
const DIGITS_32_MAX: usize = 11;
/// Longest token of a 64-bit number, leading zeros included.
const DIGITS_64_MAX: usize = 22;
/// Longest token of a floating-point number.
const DOUBLE_BYTES_MAX: usize = 31;

/// Whether `token` abbreviates `word`, by C's `strncmp` over the token's length.
pub fn is_keyword(token: &[u8], word: &str) -> bool {
    // A NUL in the token ends the comparison as it ends the word.
    let token = match token.iter().position(|&byte| byte == 0) {
        Some(end) => return &token[..end] == word.as_bytes(),
        None => token,
    };
    word.as_bytes().starts_with(token)
}

/// An unsigned 32-bit number: digits only.
pub fn parse_u32(token: &[u8]) -> Option<u32> {
    if token.len() > DIGITS_32_MAX {
        return None;
    }
    u32::try_from(digits(token)?).ok()
}

/// A signed 32-bit number: digits, with a minus sign perhaps; a lone minus is 0.
pub fn parse_i32(token: &[u8]) -> Option<i32> {
    if token.len() > DIGITS_32_MAX {
        return None;
    }
    i32::try_from(signed(token)?).ok()
}

/// A signed 64-bit number, by the rules of [`parse_i32`].
pub fn parse_i64(token: &[u8]) -> Option<i64> {
    if token.len() > DIGITS_64_MAX {
        return None;
    }
    i64::try_from(signed(token)?).ok()
}

fn signed(token: &[u8]) -> Option<i128> {
    match token.split_first() {
        Some((b'-', rest)) => Some(-i128::from(digits(rest)?)),
        _ => Some(i128::from(digits(token)?)),
    }
}

fn digits(token: &[u8]) -> Option<u64> {
    let mut number: u64 = 0;
    for &byte in token {
        if !byte.is_ascii_digit() {
            return None;
        }
        number = number.checked_mul(10)?.checked_add(u64::from(byte - b'0'))?;
    }
    Some(number)
}

/// A floating-point number as C's `strtod` reads it, followed by the token's end, white space or a NUL. Hexadecimal
/// numbers are not read; a number beyond the range is refused.
pub fn parse_double(token: &[u8]) -> Option<f64> {
    if token.len() > DOUBLE_BYTES_MAX {
        return None;
    }
    let number = first_word(token)?;
    let text = std::str::from_utf8(number).ok()?;
    let value: f64 = text.parse().ok()?;
    let is_named = text.bytes().any(|byte| byte.eq_ignore_ascii_case(&b'i'));
    if value.is_infinite() && !is_named {
        return None;
    }
    Some(value)
}

/// A slab class id of `lru_crawler crawl`, as C's `strtoul` reads it: leading white space and a plus sign are allowed,
/// white space or a NUL ends it, and only the low 32 bits count.
pub fn parse_class_id(token: &[u8]) -> Option<u32> {
    let word = first_word(token)?;
    let number = word.strip_prefix(b"+").unwrap_or(word);
    if number.is_empty() {
        return None;
    }
    Some(digits(number)? as u32)
}

/// The token without leading white space, up to the next white space or NUL; `None` when nothing is left.
fn first_word(token: &[u8]) -> Option<&[u8]> {
    let is_space = |byte: u8| byte == b' ' || (9..=13).contains(&byte);
    let start = token.iter().position(|&byte| !is_space(byte))?;
    let rest = &token[start..];
    let end = rest.iter().position(|&byte| is_space(byte) || byte == 0).unwrap_or(rest.len());
    (end > 0).then(|| &rest[..end])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keywords_match_over_the_clients_length() {
        for (token, is_match) in [
            (&b"s"[..], true),
            (b"settings", true),
            (b"settingsx", false),
            (b"settinX", false),
            (b"settings\0x", true),
            (b"set\0", false),
            (b"", true),
        ] {
            assert_eq!(is_keyword(token, "settings"), is_match, "{token:?}");
        }
    }

    #[test]
    fn integers_are_strict() {
        for (token, expected) in [
            (&b"0"[..], Some(0)),
            (b"4294967295", Some(u32::MAX)),
            (b"4294967296", None),
            (b"00000000001", Some(1)),
            (b"000000000001", None),
            (b"-1", None),
            (b"+1", None),
            (b"1x", None),
            (b"", Some(0)),
        ] {
            assert_eq!(parse_u32(token), expected, "{token:?}");
        }
        for (token, expected) in [
            (&b"-"[..], Some(0)),
            (b"-2147483648", Some(i32::MIN)),
            (b"-2147483649", None),
            (b"2147483647", Some(i32::MAX)),
            (b"2147483648", None),
            (b"+1", None),
            (b"--1", None),
        ] {
            assert_eq!(parse_i32(token), expected, "{token:?}");
        }
        assert_eq!(parse_i64(b"-9223372036854775808"), Some(i64::MIN));
        assert_eq!(parse_i64(b"9223372036854775808"), None);
        assert_eq!(parse_i64(b"00000000000000000000001"), None);
    }

    #[test]
    fn doubles_are_read_as_strtod_reads_them() {
        for (token, expected) in [
            (&b"0.5"[..], Some(0.5)),
            (b".5", Some(0.5)),
            (b"-1", Some(-1.0)),
            (b"1e3", Some(1000.0)),
            (b"1.", Some(1.0)),
            (b"1\tx", Some(1.0)),
            (b"inf", Some(f64::INFINITY)),
            (b"1e999", None),
            (b"0.2x", None),
            (b"", None),
            (b"\xff", None),
            (b"00000000000000000000000000000001", None),
        ] {
            assert_eq!(parse_double(token), expected, "{token:?}");
        }
        assert!(parse_double(b"nan").is_some_and(f64::is_nan));
    }

    #[test]
    fn class_ids_are_read_as_strtoul_reads_them() {
        for (token, expected) in [
            (&b"1"[..], Some(1)),
            (b"+1", Some(1)),
            (b"\t1\t", Some(1)),
            (b"4294967297", Some(1)),
            (b"-1", None),
            (b"x", None),
            (b"1x", None),
            (b"", None),
            (b"+", None),
            (b"99999999999999999999", None),
        ] {
            assert_eq!(parse_class_id(token), expected, "{token:?}");
        }
    }
}

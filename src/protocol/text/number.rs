//! Numbers as memcached reads them. It has two families: strict ones that take a whole token, and C's `strtoul`,
//! `strtol` and `strtod`, which skip white space, take a sign and stop at white space or NUL, for the flags and the
//! exptime of storage commands and some arguments of administrative ones.

/// Most characters of a 32-bit number's token, leading zeros included.
const DIGITS_MAX_32: usize = 11;
/// Most characters of a 64-bit number's token, leading zeros included.
const DIGITS_MAX_64: usize = 22;
/// Most characters of a floating-point number's token.
const DOUBLE_BYTES_MAX: usize = 31;

/// A token of digits up to 2^64 - 1. An empty token is 0, as in memcached; callers that can meet one check for it.
#[inline]
pub fn strict_u64(token: &[u8]) -> Option<u64> {
    if token.len() > DIGITS_MAX_64 {
        return None;
    }
    digits(token)
}

/// A token of digits up to 2^32 - 1.
#[inline]
pub fn strict_u32(token: &[u8]) -> Option<u32> {
    if token.len() > DIGITS_MAX_32 {
        return None;
    }
    u32::try_from(digits(token)?).ok()
}

/// A token of digits with an optional minus sign, within 32 bits. `-` alone is 0, as in memcached.
#[inline]
pub fn strict_i32(token: &[u8]) -> Option<i32> {
    if token.len() > DIGITS_MAX_32 {
        return None;
    }
    let number = match token {
        // At most ten digits: far from the limits of i64.
        [b'-', rest @ ..] => -i64::try_from(digits(rest)?).ok()?,
        _ => i64::try_from(digits(token)?).ok()?,
    };
    i32::try_from(number).ok()
}

/// A token of digits with an optional minus sign, within 64 bits, by the rules of [`strict_i32`].
pub fn strict_i64(token: &[u8]) -> Option<i64> {
    if token.len() > DIGITS_MAX_64 {
        return None;
    }
    match token {
        [b'-', rest @ ..] => i64::try_from(-i128::from(digits(rest)?)).ok(),
        _ => i64::try_from(digits(token)?).ok(),
    }
}

/// The number at the start of `text`, by `strtoul` as memcached uses it for client flags and slab classes: the low 32
/// bits of a 64-bit number. A minus sign negates modulo 2^64; what is then 2^63 or more is refused.
#[inline]
pub fn c_u32(text: &[u8]) -> Option<u32> {
    let (is_negative, magnitude) = c_number(text)?;
    let value = if is_negative { magnitude.wrapping_neg() } else { magnitude };
    if is_negative && value > i64::MAX as u64 { None } else { Some(value as u32) }
}

/// The number at the start of `text`, by `strtoull` as memcached uses it for stored values that are counted up and down.
/// `-0` is 0; every other negative number is refused.
#[inline]
pub fn c_u64(text: &[u8]) -> Option<u64> {
    let (is_negative, magnitude) = c_number(text)?;
    if is_negative && magnitude != 0 { None } else { Some(magnitude) }
}

/// The number at the start of `text`, by `strtol` as memcached uses it for exptimes: 64 bits, cut to 32.
#[inline]
pub fn c_exptime(text: &[u8]) -> Option<i32> {
    let (is_negative, magnitude) = c_number(text)?;
    let limit = i64::MAX as u64 + u64::from(is_negative);
    if magnitude > limit {
        return None;
    }
    let value = if is_negative { magnitude.wrapping_neg() } else { magnitude };
    Some(value as i32)
}

/// A floating-point number as C's `strtod` reads it, followed by the token's end, white space or a NUL. Hexadecimal
/// numbers are not read; a number beyond the range is refused.
pub fn c_double(token: &[u8]) -> Option<f64> {
    if token.len() > DOUBLE_BYTES_MAX {
        return None;
    }
    let start = token.iter().position(|&byte| !is_space(byte))?;
    let number = token.get(start..)?.split(|&byte| is_space(byte) || byte == 0).next()?;
    let text = std::str::from_utf8(number).ok()?;
    let value: f64 = text.parse().ok()?;
    let is_named = text.bytes().any(|byte| byte.eq_ignore_ascii_case(&b'i'));
    if value.is_infinite() && !is_named {
        return None;
    }
    Some(value)
}

/// Sign and magnitude of the number at the start of `text`. The end of `text` ends the number, like white space.
#[inline]
fn c_number(text: &[u8]) -> Option<(bool, u64)> {
    let mut rest = text;
    while let [byte, tail @ ..] = rest
        && is_space(*byte)
    {
        rest = tail;
    }
    let mut is_negative = false;
    if let [sign @ (b'+' | b'-'), tail @ ..] = rest {
        is_negative = *sign == b'-';
        rest = tail;
    }
    let mut number: u64 = 0;
    let mut count = 0;
    for &byte in rest {
        let digit = byte.wrapping_sub(b'0');
        if digit > 9 {
            if !is_space(byte) && byte != 0 {
                return None;
            }
            break;
        }
        number = number.checked_mul(10)?.checked_add(u64::from(digit))?;
        count += 1;
    }
    if count == 0 { None } else { Some((is_negative, number)) }
}

#[inline]
fn is_space(byte: u8) -> bool {
    byte == b' ' || (9..=13).contains(&byte)
}

#[inline]
fn digits(token: &[u8]) -> Option<u64> {
    let mut number: u64 = 0;
    for &byte in token {
        let digit = byte.wrapping_sub(b'0');
        if digit > 9 {
            return None;
        }
        number = number.checked_mul(10)?.checked_add(u64::from(digit))?;
    }
    Some(number)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check<T: PartialEq + std::fmt::Debug>(parse: impl Fn(&[u8]) -> Option<T>, cases: &[(&str, Option<T>)]) {
        for (text, expected) in cases {
            assert_eq!(&parse(text.as_bytes()), expected, "{text:?}");
        }
    }

    #[test]
    fn strict_numbers_take_whole_tokens() {
        check(
            strict_u64,
            &[
                ("0", Some(0)),
                ("18446744073709551615", Some(u64::MAX)),
                ("18446744073709551616", None),
                ("0018446744073709551615", Some(u64::MAX)),
                ("00018446744073709551615", None),
                ("+1", None),
                ("-1", None),
                ("1x", None),
                ("1\t", None),
            ],
        );
        check(
            strict_u32,
            &[
                ("4294967295", Some(u32::MAX)),
                ("4294967296", None),
                ("00000000001", Some(1)),
                ("000000000001", None),
                ("-1", None),
            ],
        );
        check(
            strict_i32,
            &[
                ("2147483647", Some(i32::MAX)),
                ("2147483648", None),
                ("-2147483648", Some(i32::MIN)),
                ("-2147483649", None),
                ("00000000001", Some(1)),
                ("000000000001", None),
                ("-0", Some(0)),
                ("-", Some(0)),
                ("+1", None),
                ("1x", None),
                ("--1", None),
            ],
        );
        check(
            strict_i64,
            &[
                ("9223372036854775807", Some(i64::MAX)),
                ("9223372036854775808", None),
                ("-9223372036854775808", Some(i64::MIN)),
                ("-9223372036854775809", None),
                ("00000000000000000000001", None),
                ("-", Some(0)),
                ("+1", None),
            ],
        );
    }

    #[test]
    fn doubles_are_read_by_strtod() {
        check(
            c_double,
            &[
                ("0.5", Some(0.5)),
                (".5", Some(0.5)),
                ("-1", Some(-1.0)),
                ("1e3", Some(1000.0)),
                ("1.", Some(1.0)),
                ("1\tx", Some(1.0)),
                ("inf", Some(f64::INFINITY)),
                ("1e999", None),
                ("0.2x", None),
                ("", None),
                ("\u{fc}", None),
                ("00000000000000000000000000000001", None),
            ],
        );
        assert!(c_double(b"nan").is_some_and(f64::is_nan));
    }

    #[test]
    fn stored_numbers_are_read_by_strtoull() {
        check(
            c_u64,
            &[
                ("5", Some(5)),
                ("5 abc", Some(5)),
                ("5\r\n6", Some(5)),
                (" 5", Some(5)),
                ("+5", Some(5)),
                ("007", Some(7)),
                ("5\0", Some(5)),
                ("-0", Some(0)),
                ("18446744073709551615", Some(u64::MAX)),
                ("18446744073709551616", None),
                ("-5", None),
                ("0x10", None),
                ("1e3", None),
                ("1.5", None),
                ("", None),
                ("   ", None),
            ],
        );
    }

    #[test]
    fn flags_are_read_by_strtoul() {
        check(
            c_u32,
            &[
                ("5 0 1", Some(5)),
                ("5", Some(5)),
                ("+5 0", Some(5)),
                ("\t5 0", Some(5)),
                ("\t 7 1", Some(7)),
                ("5\t", Some(5)),
                ("5\0x", Some(5)),
                ("4294967296 ", Some(0)),
                ("18446744073709551615 ", Some(u32::MAX)),
                ("18446744073709551616 ", None),
                ("-1 ", None),
                ("-18446744073709551615 ", Some(1)),
                ("-0 ", Some(0)),
                ("0x10 ", None),
                ("1a ", None),
                ("+ 1", None),
                ("", None),
                ("abc", None),
            ],
        );
    }

    #[test]
    fn exptimes_are_read_by_strtol() {
        check(
            c_exptime,
            &[
                ("0 1", Some(0)),
                ("+10 ", Some(10)),
                ("-1 ", Some(-1)),
                ("2147483648 ", Some(i32::MIN)),
                ("4294967296 ", Some(0)),
                ("-2147483649 ", Some(i32::MAX)),
                ("9223372036854775807 ", Some(-1)),
                ("9223372036854775808 ", None),
                ("-9223372036854775808 ", Some(0)),
                ("-9223372036854775809 ", None),
                ("1.5 ", None),
                ("abc ", None),
            ],
        );
    }
}

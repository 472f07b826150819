//! Reading numbers the way memcached's start-up code does.
//!
//! Two families: the loose readers (`atoi`, `atof`, `strtol` with base 8) take the longest prefix that is a number and
//! call the rest junk, so `12abc` is 12 and `abc` is 0; the strict ones (`safe_strtol` and its kin) want a whole number
//! followed by the end or by white space. Which option uses which is part of the command line's contract.
//!
//! One difference on purpose: a strict number that does not fit its type is refused, where memcached keeps its low bits.

/// `atoi`: the leading decimal number, 0 for junk; wraps as the C library does.
pub(super) fn loose_integer(text: &[u8]) -> i32 {
    leading_integer(text, 10).value as i32
}

/// `strtol` with base 8, for permission masks.
pub(super) fn loose_octal(text: &[u8]) -> u32 {
    leading_integer(text, 8).value as u32
}

/// `atof`: the leading decimal number, 0 for junk. Words (`inf`, `nan`) and hexadecimal are junk here.
pub(super) fn loose_real(text: &[u8]) -> f64 {
    let text = skip_space(text);
    let mut end = usize::from(matches!(text.first(), Some(b'+' | b'-')));
    let digits_start = end;
    end += digits(&text[end..]);
    let mut digit_count = end - digits_start;
    if text.get(end) == Some(&b'.') {
        let fraction = digits(&text[end + 1..]);
        digit_count += fraction;
        end += 1 + fraction;
    }
    if digit_count == 0 {
        return 0.0;
    }
    if matches!(text.get(end), Some(b'e' | b'E')) {
        let sign = usize::from(matches!(text.get(end + 1), Some(b'+' | b'-')));
        let exponent = digits(&text[(end + 1 + sign).min(text.len())..]);
        if exponent > 0 {
            end += 1 + sign + exponent;
        }
    }
    let number = std::str::from_utf8(&text[..end]).unwrap_or("0");
    number.parse().unwrap_or(0.0)
}

/// `safe_strtol`: a whole decimal number that fits 32 bits with sign.
pub(super) fn strict_integer(text: &[u8]) -> Option<i32> {
    i32::try_from(strict(text)?).ok()
}

/// `safe_strtoul`: a whole decimal number that fits 32 bits without sign.
pub(super) fn strict_unsigned(text: &[u8]) -> Option<u32> {
    u32::try_from(strict(text)?).ok()
}

fn strict(text: &[u8]) -> Option<i64> {
    let read = leading_integer(text, 10);
    let is_whole = read.is_number && text[read.length..].first().is_none_or(is_space);
    (is_whole && !read.has_overflowed).then_some(read.value)
}

/// Drops leading white space, as the option loop does with every value.
pub(super) fn skip_space(text: &[u8]) -> &[u8] {
    let start = text.iter().position(|byte| !is_space(byte)).unwrap_or(text.len());
    &text[start..]
}

/// What `strtol` found: `length` bytes of `text` were read.
struct LeadingInteger {
    value: i64,
    length: usize,
    is_number: bool,
    has_overflowed: bool,
}

fn leading_integer(text: &[u8], base: u32) -> LeadingInteger {
    let start = text.len() - skip_space(text).len();
    let is_negative = text.get(start) == Some(&b'-');
    let mut at = start + usize::from(matches!(text.get(start), Some(b'+' | b'-')));
    let mut read = LeadingInteger { value: 0, length: 0, is_number: false, has_overflowed: false };
    while let Some(digit) = text.get(at).and_then(|byte| char::from(*byte).to_digit(base)) {
        let signed = if is_negative { -i64::from(digit) } else { i64::from(digit) };
        let next = read.value.checked_mul(i64::from(base)).and_then(|value| value.checked_add(signed));
        read.has_overflowed |= next.is_none();
        read.value = next.unwrap_or(if is_negative { i64::MIN } else { i64::MAX });
        read.is_number = true;
        at += 1;
        read.length = at;
    }
    read
}

fn digits(text: &[u8]) -> usize {
    text.iter().take_while(|byte| byte.is_ascii_digit()).count()
}

/// C's `isspace` in the default locale (vertical tab included).
fn is_space(byte: &u8) -> bool {
    matches!(byte, b' ' | b'\t' | b'\n' | 0x0b | 0x0c | b'\r')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check_loose(text: &str, integer: i32, real: f64) {
        assert_eq!(loose_integer(text.as_bytes()), integer, "atoi {text:?}");
        assert_eq!(loose_real(text.as_bytes()), real, "atof {text:?}");
    }

    #[test]
    fn loose_numbers_stop_at_junk() {
        check_loose("12abc", 12, 12.0);
        check_loose("abc", 0, 0.0);
        check_loose("", 0, 0.0);
        check_loose("-", 0, 0.0);
        check_loose(" \t7", 7, 7.0);
        check_loose("+5", 5, 5.0);
        check_loose("-3.5x", -3, -3.5);
        check_loose(".5", 0, 0.5);
        check_loose(".", 0, 0.0);
        check_loose("1e", 1, 1.0);
        check_loose("1e2", 1, 100.0);
        check_loose("1e-", 1, 1.0);
        check_loose("1.25.3", 1, 1.25);
        check_loose("nan", 0, 0.0);
        check_loose("inf", 0, 0.0);
    }

    #[test]
    fn atoi_keeps_the_low_bits() {
        assert_eq!(loose_integer(b"4294967297"), 1);
        assert_eq!(loose_integer(b"99999999999999999999"), -1);
        assert_eq!(loose_integer(b"-99999999999999999999"), 0);
    }

    #[test]
    fn octal_stops_at_eight() {
        assert_eq!(loose_octal(b"0700"), 0o700);
        assert_eq!(loose_octal(b"777"), 0o777);
        assert_eq!(loose_octal(b"89"), 0);
        assert_eq!(loose_octal(b"junk"), 0);
    }

    #[test]
    fn strict_numbers_want_all_of_it() {
        assert_eq!(strict_integer(b"15"), Some(15));
        assert_eq!(strict_integer(b"-1"), Some(-1));
        assert_eq!(strict_integer(b"15 x"), Some(15));
        assert_eq!(strict_integer(b"15x"), None);
        assert_eq!(strict_integer(b""), None);
        assert_eq!(strict_integer(b"-"), None);
        assert_eq!(strict_integer(b"2147483648"), None);
        assert_eq!(strict_unsigned(b"4294967295"), Some(u32::MAX));
        assert_eq!(strict_unsigned(b"4294967296"), None);
        assert_eq!(strict_unsigned(b"-1"), None);
        assert_eq!(strict_unsigned(b"99999999999999999999"), None);
    }
}

//! When a certificate ends, read from its DER: rustls checks certificates of others and does not tell about one's own.
//!
//! ```text
//!   Certificate ::= SEQUENCE { tbsCertificate SEQUENCE { [0] version, INTEGER serial, SEQUENCE algorithm, SEQUENCE issuer,
//!                                                        SEQUENCE validity { notBefore, notAfter }, ... }, ... }
//! ```
//! Times are `YYMMDDhhmmssZ` (UTCTime, 1950 to 2049) or `YYYYMMDDhhmmssZ` (GeneralizedTime), as RFC 5280 demands. What is
//! anything else is answered with `None`.

/// The unix time of a certificate's `notAfter`.
pub fn ends_at_unix(certificate: &[u8]) -> Option<i64> {
    let (certificate, _) = element(certificate, SEQUENCE)?;
    let (mut fields, _) = element(certificate, SEQUENCE)?;
    if let Some((_, rest)) = element(fields, VERSION) {
        fields = rest;
    }
    for tag in [INTEGER, SEQUENCE, SEQUENCE] {
        (_, fields) = element(fields, tag)?;
    }
    let (validity, _) = element(fields, SEQUENCE)?;
    let (_, rest) = time(validity)?;
    let (not_after, _) = time(rest)?;
    Some(not_after)
}

/// The content of the element with this tag at the start of `input`, and what follows it.
fn element(input: &[u8], tag: u8) -> Option<(&[u8], &[u8])> {
    let (&found, rest) = input.split_first()?;
    let (&first, rest) = rest.split_first()?;
    let (length, rest) = match first {
        0..=0x7f => (usize::from(first), rest),
        0x81..=0x84 => {
            let (digits, rest) = rest.split_at_checked(usize::from(first & 0x7f))?;
            (digits.iter().fold(0, |length, &digit| length << 8 | usize::from(digit)), rest)
        }
        _ => return None,
    };
    let (content, rest) = rest.split_at_checked(length)?;
    (found == tag).then_some((content, rest))
}

/// The unix time at the start of `input`, and what follows it.
fn time(input: &[u8]) -> Option<(i64, &[u8])> {
    let (text, rest, is_short) = match (element(input, UTC_TIME), element(input, GENERALIZED_TIME)) {
        (Some((text, rest)), _) => (text, rest, true),
        (None, Some((text, rest))) => (text, rest, false),
        (None, None) => return None,
    };
    let digits = text.strip_suffix(b"Z")?;
    if !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let (year_digits, rest_digits) = digits.split_at_checked(if is_short { 2 } else { 4 })?;
    let [month, day, hour, minute, second] = pairs(rest_digits)?;
    let year = number(year_digits);
    let year = match (is_short, year) {
        (true, 50..) => 1900 + year,
        (true, _) => 2000 + year,
        (false, _) => year,
    };
    if !(1..=12).contains(&month) || !(1..=31).contains(&day) || hour > 23 || minute > 59 || second > 60 {
        return None;
    }
    Some((days_since_1970(year, month, day) * 86_400 + hour * 3600 + minute * 60 + second, rest))
}

fn pairs(digits: &[u8]) -> Option<[i64; 5]> {
    let mut numbers = [0; 5];
    if digits.len() != 2 * numbers.len() {
        return None;
    }
    for (number_of_pair, pair) in numbers.iter_mut().zip(digits.chunks(2)) {
        *number_of_pair = number(pair);
    }
    Some(numbers)
}

fn number(digits: &[u8]) -> i64 {
    digits.iter().fold(0, |number, digit| number * 10 + i64::from(digit - b'0'))
}

/// Days from 1970-01-01 in the Gregorian calendar. Years are counted from March, so that the leap day is their last.
fn days_since_1970(year: i64, month: i64, day: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let month_from_march = (month + 9) % 12;
    let day_of_year = (153 * month_from_march + 2) / 5 + day - 1;
    let leap_days = year.div_euclid(4) - year.div_euclid(100) + year.div_euclid(400);
    year * 365 + leap_days + day_of_year - 719_468
}

const INTEGER: u8 = 0x02;
const UTC_TIME: u8 = 0x17;
const GENERALIZED_TIME: u8 = 0x18;
const SEQUENCE: u8 = 0x30;
const VERSION: u8 = 0xa0;

#[cfg(test)]
mod tests {
    use super::*;

    /// A certificate as far as it is read, with a long-form length.
    fn certificate(has_version: bool, not_after: &[u8]) -> Vec<u8> {
        let mut fields = Vec::new();
        if has_version {
            fields.extend_from_slice(&[VERSION, 3, INTEGER, 1, 2]);
        }
        fields.extend_from_slice(&[INTEGER, 2, 0, 7, SEQUENCE, 0, SEQUENCE, 1, 0]);
        let mut validity = vec![UTC_TIME, 13];
        validity.extend_from_slice(b"200101000000Z");
        validity.extend_from_slice(not_after);
        fields.extend_from_slice(&[SEQUENCE, validity.len() as u8]);
        fields.extend_from_slice(&validity);
        let mut inner = vec![SEQUENCE, 0x81, fields.len() as u8];
        inner.extend_from_slice(&fields);
        let mut outer = vec![SEQUENCE, 0x82, 0, inner.len() as u8];
        outer.extend_from_slice(&inner);
        outer
    }

    #[track_caller]
    fn check(tag: u8, text: &str, expected: Option<i64>) {
        let mut not_after = vec![tag, text.len() as u8];
        not_after.extend_from_slice(text.as_bytes());
        for has_version in [true, false] {
            assert_eq!(ends_at_unix(&certificate(has_version, &not_after)), expected, "{text}");
        }
    }

    #[test]
    fn both_forms_of_time() {
        check(UTC_TIME, "700101000000Z", Some(0));
        check(UTC_TIME, "491231235959Z", Some(2_524_607_999));
        check(UTC_TIME, "500101000000Z", Some(-631_152_000));
        check(UTC_TIME, "240229120000Z", Some(1_709_208_000));
        check(GENERALIZED_TIME, "20500101000000Z", Some(2_524_608_000));
        check(GENERALIZED_TIME, "99991231235959Z", Some(253_402_300_799));
        check(GENERALIZED_TIME, "20000301000000Z", Some(951_868_800));
    }

    #[test]
    fn what_is_no_time_is_refused() {
        for text in ["", "Z", "240229120000", "2402291200Z", "24022912000xZ", "241329120000Z", "240100120000Z"] {
            check(UTC_TIME, text, None);
        }
        check(INTEGER, "240229120000Z", None);
    }

    #[test]
    fn a_certificate_that_is_cut_has_no_end() {
        let mut not_after = vec![UTC_TIME, 13];
        not_after.extend_from_slice(b"240229120000Z");
        let whole = certificate(true, &not_after);
        for end in 0..whole.len() {
            assert_eq!(ends_at_unix(&whole[..end]), None, "{end}");
        }
    }
}

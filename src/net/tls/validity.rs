//! When a certificate ends, read from its DER: rustls checks certificates of others and does not tell about one's own.
//!
//! ```text
//!   Certificate ::= SEQUENCE { tbsCertificate SEQUENCE { [0] version, INTEGER serial, SEQUENCE algorithm, SEQUENCE issuer,
//!                                                        SEQUENCE validity { notBefore, notAfter }, ... }, ... }
//! ```
//! Times are `YYMMDDhhmmssZ` (UTCTime) or `YYYYMMDDhhmmssZ` (GeneralizedTime), as RFC 5280 demands. What is anything else,
//! and a time before 1970, is answered with `None`.

use der::asn1::{AnyRef, GeneralizedTime, SequenceRef, UtcTime};
use der::{Class, Decode, SliceReader, Tag};

/// The unix time of a certificate's `notAfter`.
pub fn ends_at_unix(certificate: &[u8]) -> Option<i64> {
    i64::try_from(not_after(certificate).ok()?).ok()
}

fn not_after(certificate: &[u8]) -> der::Result<u64> {
    let mut certificate = sequence(&mut SliceReader::new(certificate)?)?;
    let mut fields = sequence(&mut certificate)?;
    if Tag::peek(&fields)?.class() == Class::ContextSpecific {
        let _version = AnyRef::decode(&mut fields)?;
    }
    for _serial_algorithm_issuer in 0..3 {
        AnyRef::decode(&mut fields)?;
    }
    let mut validity = sequence(&mut fields)?;
    let _not_before = time(&mut validity)?;
    time(&mut validity)
}

/// The inside of the sequence that comes next.
fn sequence<'a>(reader: &mut SliceReader<'a>) -> der::Result<SliceReader<'a>> {
    SliceReader::new(<&SequenceRef>::decode(reader)?.as_bytes())
}

/// The unix time that comes next.
fn time(reader: &mut SliceReader<'_>) -> der::Result<u64> {
    let since_1970 = match Tag::peek(reader)? {
        Tag::UtcTime => UtcTime::decode(reader)?.to_unix_duration(),
        _ => GeneralizedTime::decode(reader)?.to_unix_duration(),
    };
    Ok(since_1970.as_secs())
}

#[cfg(test)]
mod tests {
    use super::*;

    const INTEGER: u8 = 0x02;
    const OCTET_STRING: u8 = 0x04;
    const UTC_TIME: u8 = 0x17;
    const GENERALIZED_TIME: u8 = 0x18;
    const SEQUENCE: u8 = 0x30;
    const VERSION: u8 = 0xa0;

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
        // An extension makes the lengths long ones.
        fields.extend_from_slice(&[OCTET_STRING, 0x81, 200]);
        fields.extend_from_slice(&[0; 200]);
        let mut inner = vec![SEQUENCE, 0x81, fields.len() as u8];
        inner.extend_from_slice(&fields);
        inner.extend_from_slice(&[OCTET_STRING, 60]);
        inner.extend_from_slice(&[0; 60]);
        let length = (inner.len() as u16).to_be_bytes();
        let mut outer = vec![SEQUENCE, 0x82, length[0], length[1]];
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
        check(UTC_TIME, "240229120000Z", Some(1_709_208_000));
        check(GENERALIZED_TIME, "20500101000000Z", Some(2_524_608_000));
        check(GENERALIZED_TIME, "99991231235959Z", Some(253_402_300_799));
        check(GENERALIZED_TIME, "20000301000000Z", Some(951_868_800));
    }

    #[test]
    fn what_is_no_time_is_refused() {
        for text in
            ["", "Z", "240229120000", "2402291200Z", "24022912000xZ", "241329120000Z", "240100120000Z", "500101000000Z"]
        {
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

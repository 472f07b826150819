//! OpenSSL's lists of cipher suites, as far as they choose among what rustls has for TLS 1.2.
//!
//! ```text
//! list = item { (":" | "," | " " | ";") item }
//! item = [ "!" | "-" | "+" ] word { "+" word } | "@" text
//! ```
//! Each word names a set of suites and `+` between words is their intersection. An item adds its suites, `-` takes them
//! away and `!` does so for good. A leading `+` and `@STRENGTH` only reorder in OpenSSL; here the client's order counts,
//! as in OpenSSL by default, so they change nothing. Words that nobody knows stand for no suite. TLS 1.3 has suites of
//! its own that these lists do not touch, in OpenSSL neither.

use rustls::{CipherSuite, SupportedCipherSuite};

/// The suites of TLS 1.3 and those of TLS 1.2 that `list` chooses; `None` when it chooses none.
pub fn choose(list: &str, suites: &[SupportedCipherSuite]) -> Option<Vec<SupportedCipherSuite>> {
    let chosen = Choice::of(list, suites);
    let is_chosen = |suite: &&SupportedCipherSuite| suite.tls13().is_some() || chosen.contains(&suite.suite());
    let kept: Vec<_> = suites.iter().filter(is_chosen).copied().collect();
    kept.iter().any(|suite| suite.tls13().is_none()).then_some(kept)
}

/// What a list chooses while it is read.
struct Choice {
    chosen: Vec<CipherSuite>,
    banned: Vec<CipherSuite>,
}

impl Choice {
    fn of(list: &str, suites: &[SupportedCipherSuite]) -> Vec<CipherSuite> {
        let mut choice = Self { chosen: Vec::new(), banned: Vec::new() };
        for item in list.split([':', ',', ' ', ';']).filter(|item| !item.is_empty()) {
            choice.take(item, suites);
        }
        choice.chosen
    }

    fn take(&mut self, item: &str, suites: &[SupportedCipherSuite]) {
        let (sign, words) = match item.as_bytes()[0] {
            sign @ (b'!' | b'-' | b'+' | b'@') => (sign, &item[1..]),
            _ => (b' ', item),
        };
        let named = |suite: &&SupportedCipherSuite| words.split('+').all(|word| is_named(suite.suite(), word));
        let named: Vec<_> = suites.iter().filter(named).map(SupportedCipherSuite::suite).collect();
        match sign {
            b' ' => {
                let fresh = named.into_iter().filter(|suite| !self.banned.contains(suite));
                self.chosen.extend(fresh);
            }
            b'!' => {
                self.chosen.retain(|suite| !named.contains(suite));
                self.banned.extend(named);
            }
            b'-' => self.chosen.retain(|suite| !named.contains(suite)),
            _ => {}
        }
    }
}

/// Whether a word of a list stands for a suite, among others perhaps.
fn is_named(suite: CipherSuite, word: &str) -> bool {
    let Some((_, name, words)) = SUITES.iter().find(|(known, ..)| *known == suite) else {
        return false;
    };
    *name == word || words.contains(&word) || COMMON_WORDS.contains(&word)
}

/// rustls' suites of TLS 1.2 with OpenSSL's name and the words for sets that each is in.
const SUITES: &[(CipherSuite, &str, &[&str])] = &[
    (
        CipherSuite::TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384,
        "ECDHE-ECDSA-AES256-GCM-SHA384",
        &["aECDSA", "ECDSA", "AES", "AES256", "AESGCM", "SHA384", "SUITEB128", "SUITEB192"],
    ),
    (
        CipherSuite::TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256,
        "ECDHE-ECDSA-AES128-GCM-SHA256",
        &["aECDSA", "ECDSA", "AES", "AES128", "AESGCM", "SHA256", "SUITEB128", "SUITEB128ONLY"],
    ),
    (
        CipherSuite::TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256,
        "ECDHE-ECDSA-CHACHA20-POLY1305",
        &["aECDSA", "ECDSA", "CHACHA20", "SHA256"],
    ),
    (
        CipherSuite::TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384,
        "ECDHE-RSA-AES256-GCM-SHA384",
        &["aRSA", "AES", "AES256", "AESGCM", "SHA384"],
    ),
    (
        CipherSuite::TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256,
        "ECDHE-RSA-AES128-GCM-SHA256",
        &["aRSA", "AES", "AES128", "AESGCM", "SHA256"],
    ),
    (
        CipherSuite::TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256,
        "ECDHE-RSA-CHACHA20-POLY1305",
        &["aRSA", "CHACHA20", "SHA256"],
    ),
];

/// Words for sets that all of them are in.
const COMMON_WORDS: &[&str] =
    &["ALL", "DEFAULT", "COMPLEMENTOFDEFAULT", "HIGH", "ECDHE", "EECDH", "kECDHE", "kEECDH", "ECDH", "FIPS", "TLSv1.2"];

#[cfg(test)]
mod tests {
    use super::*;
    use rustls::crypto::ring::ALL_CIPHER_SUITES;

    /// Names of TLS 1.2 suites a list chooses, in rustls' order, without what they have in common.
    fn read(list: &str) -> String {
        let Some(kept) = choose(list, ALL_CIPHER_SUITES) else {
            return "nothing".to_owned();
        };
        assert_eq!(kept.iter().filter(|suite| suite.tls13().is_some()).count(), 3);
        let name = |suite: &SupportedCipherSuite| {
            let known = SUITES.iter().find(|(known, ..)| *known == suite.suite())?;
            known.1.strip_prefix("ECDHE-")
        };
        kept.iter().filter_map(name).collect::<Vec<_>>().join(" ")
    }

    #[track_caller]
    fn check(list: &str, expected: &str) {
        assert_eq!(read(list), expected, "{list:?}");
    }

    #[test]
    fn every_suite_has_a_name() {
        let unnamed = ALL_CIPHER_SUITES.iter().filter(|suite| suite.tls13().is_none());
        for suite in unnamed {
            assert!(SUITES.iter().any(|(known, ..)| *known == suite.suite()), "{suite:?}");
        }
    }

    #[test]
    fn lists_are_read_as_openssl_reads_them() {
        check("ECDHE-RSA-AES128-GCM-SHA256", "RSA-AES128-GCM-SHA256");
        check(
            "ECDHE-RSA-AES128-GCM-SHA256:unknown,ECDHE-ECDSA-CHACHA20-POLY1305",
            "ECDSA-CHACHA20-POLY1305 RSA-AES128-GCM-SHA256",
        );
        check("AES128", "ECDSA-AES128-GCM-SHA256 RSA-AES128-GCM-SHA256");
        check("aRSA+AESGCM", "RSA-AES256-GCM-SHA384 RSA-AES128-GCM-SHA256");
        check("HIGH:!aECDSA:ECDSA:!CHACHA20:@STRENGTH", "RSA-AES256-GCM-SHA384 RSA-AES128-GCM-SHA256");
        check(
            "ALL:-AES:ECDHE+AES256:+CHACHA20",
            "ECDSA-AES256-GCM-SHA384 ECDSA-CHACHA20-POLY1305 RSA-AES256-GCM-SHA384 RSA-CHACHA20-POLY1305",
        );
    }

    #[test]
    fn lists_without_a_suite_choose_nothing() {
        for list in
            ["", "foo", ":", "AES128-SHA", "ALL:!ALL:ALL", "!AES", "aRSA+aECDSA", "TLS_AES_128_GCM_SHA256", "@", "+"]
        {
            check(list, "nothing");
        }
    }
}

//! SASL mechanisms: PLAIN (RFC 4616) and CRAM-MD5 (RFC 2195), with the rules that libsasl adds for memcached.
//!
//! ```text
//! PLAIN       client: [authzid] NUL user NUL password
//! CRAM-MD5    server: <nonce.time@realm>      client: user SP hex(HMAC-MD5(password, challenge))
//! ```
//! CRAM-MD5 is offered only where libsasl's configuration asks for it (`mech_list`). It keeps the password off the wire,
//! but it wants passwords in plain in the file; TLS is the better way to the same end.

use hmac::{Hmac, Mac};
use md5::Md5;

use super::accounts::Claim;
use super::random;

/// A way to log in.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Mechanism {
    /// The password itself.
    Plain,
    /// A digest of the password and a challenge.
    CramMd5,
}

/// A user with its realm, and without one if it came without.
type Names = (Vec<u8>, Option<Vec<u8>>);

/// All mechanisms, in the order in which they are listed.
const MECHANISMS: [(&str, Mechanism); 2] = [("PLAIN", Mechanism::Plain), ("CRAM-MD5", Mechanism::CramMd5)];

/// What SASL clients may log in with, and as whom.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Sasl {
    /// What is offered.
    mechanisms: Vec<Mechanism>,
    /// Added to users that have none: the host's name, as memcached has it.
    pub realm: String,
}

impl Sasl {
    /// By libsasl's configuration file; without one PLAIN alone is offered. The error says what is wrong with it.
    pub fn new(configuration: Option<&str>, realm: String) -> Result<Self, String> {
        let list = configuration.and_then(mechanism_list);
        let mechanisms: Vec<_> = match list {
            None => vec![Mechanism::Plain],
            Some(list) => {
                let is_listed = |name: &str| words(list).any(|word| word.eq_ignore_ascii_case(name));
                MECHANISMS.iter().filter(|(name, _)| is_listed(name)).map(|(_, mechanism)| *mechanism).collect()
            }
        };
        if mechanisms.is_empty() {
            return Err("its mech_list names none of PLAIN and CRAM-MD5".to_owned());
        }
        Ok(Self { mechanisms, realm })
    }

    /// The names of what is offered, separated by spaces.
    pub fn names(&self) -> String {
        let names = MECHANISMS.iter().filter(|(_, mechanism)| self.mechanisms.contains(mechanism));
        names.map(|(name, _)| *name).collect::<Vec<_>>().join(" ")
    }

    /// The mechanism of this name, if it is offered. As in memcached a NUL ends the name.
    pub fn find(&self, name: &[u8]) -> Option<Mechanism> {
        let name = name.split(|&byte| byte == 0).next().unwrap_or_default();
        let found = MECHANISMS.iter().find(|(known, _)| known.as_bytes().eq_ignore_ascii_case(name));
        found.map(|(_, mechanism)| *mechanism).filter(|mechanism| self.mechanisms.contains(mechanism))
    }

    /// A user with its realm, and the same without, if it came without. As in libsasl blanks around it do not count, and
    /// `None` is a name of nothing else, or one that gets the realm and has blanks in front.
    fn users(&self, name: &[u8]) -> Option<Names> {
        let start = name.iter().position(|&byte| !is_blank(byte))?;
        let end = name.iter().rposition(|&byte| !is_blank(byte))? + 1;
        let user = name.get(start..end)?;
        if self.realm.is_empty() || user.contains(&b'@') {
            return Some((user.to_vec(), None));
        }
        (start == 0).then(|| ([user, self.realm.as_bytes()].join(&b'@'), Some(user.to_vec())))
    }

    /// Reads a message of PLAIN. `None`: it is malformed, or wants to act as somebody else.
    pub fn read_plain(&self, message: &[u8]) -> Option<Claim> {
        let mut parts = message.split(|&byte| byte == 0);
        let (authorization, name, password) = (parts.next()?, parts.next()?, parts.next()?);
        if parts.next().is_some() {
            return None;
        }
        let (user, bare_user) = self.users(name)?;
        if !authorization.is_empty() && self.users(authorization)?.0 != user {
            return None;
        }
        // memcached's bound, counted with the realm.
        (user.len() + password.len() <= CREDENTIALS_BYTES_MAX).then(|| Claim {
            user,
            bare_user,
            password: password.to_vec(),
        })
    }

    /// A challenge of CRAM-MD5 at a unix time, never the same twice.
    pub fn challenge(&self, seconds: i64) -> Vec<u8> {
        let nonce = u128::from_be_bytes(random::bytes());
        format!("<{nonce}.{seconds}@{}>", self.realm).into_bytes()
    }

    /// Reads a response of CRAM-MD5: the names under which the user may stand, and the digest.
    pub fn read_response(&self, message: &[u8]) -> Option<(Names, [u8; 16])> {
        let space = message.iter().rposition(|&byte| byte == b' ')?;
        let (name, digits) = message.split_at(space);
        let digits: &[u8; 32] = digits.get(1..)?.try_into().ok()?;
        let mut digest = [0; 16];
        for (byte, pair) in digest.iter_mut().zip(digits.chunks_exact(2)) {
            let [high, low] = [*pair.first()?, *pair.last()?].map(|digit| char::from(digit).to_digit(16));
            *byte = (high? << 4 | low?) as u8;
        }
        let names = self.users(name)?;
        (names.0.len() <= CREDENTIALS_BYTES_MAX).then_some((names, digest))
    }
}

/// C's `isspace`.
fn is_blank(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t'..=b'\r')
}

/// HMAC-MD5 (RFC 2104).
pub fn hmac_md5(key: &[u8], message: &[u8]) -> [u8; 16] {
    let mut mac = Hmac::<Md5>::new_from_slice(key).expect("HMAC takes a key of any length");
    mac.update(message);
    mac.finalize().into_bytes().into()
}

/// The value of `mech_list` in libsasl's configuration: lines `name: value`, where `#` begins a comment.
fn mechanism_list(configuration: &str) -> Option<&str> {
    let mut settings = configuration.lines().filter(|line| !line.trim_start().starts_with('#'));
    settings.find_map(|line| {
        let (name, value) = line.split_once(':')?;
        (name.trim() == "mech_list").then_some(value)
    })
}

fn words(list: &str) -> impl Iterator<Item = &str> {
    list.split(|letter: char| !(letter.is_ascii_alphanumeric() || letter == '-' || letter == '_'))
}

/// Bytes of user and password together, at most (memcached's `MAX_ENTRY_LEN - 4`).
const CREDENTIALS_BYTES_MAX: usize = 252;

#[cfg(test)]
mod tests {
    use super::*;

    fn sasl() -> Sasl {
        Sasl::new(None, "host".to_owned()).unwrap()
    }

    #[track_caller]
    fn check_list(configuration: &str, expected: Option<&str>) {
        let sasl = Sasl::new(Some(configuration), String::new());
        assert_eq!(sasl.ok().map(|sasl| sasl.names()).as_deref(), expected);
    }

    #[test]
    fn the_configuration_chooses_mechanisms() {
        assert_eq!(sasl().names(), "PLAIN");
        check_list("", Some("PLAIN"));
        check_list("mech_list: plain cram-md5\nlog_level: 5\n", Some("PLAIN CRAM-MD5"));
        check_list("# mech_list: plain\nmech_list:\tDIGEST-MD5,CRAM-MD5\n", Some("CRAM-MD5"));
        check_list("mech_list: scram-sha-256\n", None);
        check_list("mech_list:\n", None);
        check_list("other: plain\nno colon\n", Some("PLAIN"));
    }

    #[test]
    fn mechanisms_are_found_by_name() {
        let all = Sasl::new(Some("mech_list: plain cram-md5"), String::new()).unwrap();
        assert_eq!(all.find(b"plain"), Some(Mechanism::Plain));
        assert_eq!(all.find(b"CRAM-MD5"), Some(Mechanism::CramMd5));
        assert_eq!(all.find(b"PLAIN\0x"), Some(Mechanism::Plain));
        for name in [&b"PLAIN "[..], b"PLAI", b"", b"\0", b"LOGIN"] {
            assert_eq!(all.find(name), None, "{name:?}");
        }
        assert_eq!(sasl().find(b"CRAM-MD5"), None);
    }

    #[track_caller]
    fn check_plain(message: &[u8], expected: Option<(&str, Option<&str>, &str)>) {
        let claim = sasl().read_plain(message);
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let found =
            claim.map(|claim| (text(&claim.user), claim.bare_user.map(|user| text(&user)), text(&claim.password)));
        let expected =
            expected.map(|(user, bare, password)| (user.to_owned(), bare.map(str::to_owned), password.to_owned()));
        assert_eq!(found, expected, "{:?}", text(message));
    }

    #[test]
    fn plain_is_read_as_libsasl_reads_it() {
        check_plain(b"\0u@r\0pw", Some(("u@r", None, "pw")));
        check_plain(b"\0u\0pw", Some(("u@host", Some("u"), "pw")));
        check_plain(b"u\0u\0pw", Some(("u@host", Some("u"), "pw")));
        check_plain(b"u@host\0u\0pw", Some(("u@host", Some("u"), "pw")));
        check_plain(b"\0u@r\0", Some(("u@r", None, "")));
        check_plain(b"u@r\x0b\0 \tu@r\r\0 pw ", Some(("u@r", None, " pw ")));
        check_plain(b"\0u \0pw", Some(("u@host", Some("u"), "pw")));
        for malformed in
            [&b""[..], b"u", b"\0u", b"\0\0pw", b"\0u\0pw\0", b"\0u\0p\0w", b"x\0u\0pw", b"\0 u\0pw", b"\0 \0"]
        {
            check_plain(malformed, None);
        }
        let long = |bytes: usize| [&b"\0u@r\0"[..], &vec![b'p'; bytes]].concat();
        assert!(sasl().read_plain(&long(249)).is_some());
        assert!(sasl().read_plain(&long(250)).is_none());
    }

    /// RFC 2202, cases 1 to 3 and 6; RFC 2195, section 2.
    #[test]
    fn hmac_md5_has_the_published_values() {
        let hex = |digest: [u8; 16]| digest.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
        assert_eq!(hex(hmac_md5(&[0x0b; 16], b"Hi There")), "9294727a3638bb1c13f48ef8158bfc9d");
        assert_eq!(hex(hmac_md5(b"Jefe", b"what do ya want for nothing?")), "750c783e6ab0b503eaa86e310a5db738");
        assert_eq!(hex(hmac_md5(&[0xaa; 16], &[0xdd; 50])), "56be34521d144c88dbb8c733f0e8b3f6");
        let long = hmac_md5(&[0xaa; 80], b"Test Using Larger Than Block-Size Key - Hash Key First");
        assert_eq!(hex(long), "6b1ab7fe4bd7bf8f0b62e6ce61b9d0cd");
        let challenge = b"<1896.697170952@postoffice.reston.mci.net>";
        assert_eq!(hex(hmac_md5(b"tanstaaftanstaaf", challenge)), "b913a602c7eda7a495b4e6e7334d3890");
    }

    #[test]
    fn responses_are_read_from_their_end() {
        let read = |message: &[u8]| sasl().read_response(message);
        let digest = [0xab; 16];
        assert_eq!(
            read(&[b"tim ", &b"aB".repeat(16)[..]].concat()),
            Some(((b"tim@host".into(), Some(b"tim".into())), digest))
        );
        assert_eq!(read(&[b"a b@r ", &b"ab".repeat(16)[..]].concat()), Some(((b"a b@r".into(), None), digest)));
        for malformed in
            [&b""[..], b" ", b"tim", b"tim ab", &b"ab".repeat(16), &[b"tim ", &b"ag".repeat(16)[..]].concat()]
        {
            assert_eq!(read(malformed), None, "{malformed:?}");
        }
        assert_ne!(sasl().challenge(0), sasl().challenge(0));
    }
}

//! Checking claims: what is accepted, what only a hash can tell, and what that leaves behind.

use crate::base::sync::{Arc, AtomicUsize, Mutex, Ordering};

use super::accounts::{Accounts, Check, Claim, Format};
use super::failures::Cause;
use super::files::{parse_auth_file, parse_sasl_file};
use super::{Answer, LoadError, Logins, Method, Source, Verification};

/// Of `secret`, by `echo -n secret | argon2 somesalt -id -k 64 -t 1 -p 1 -e`.
pub const HASH: &str = "$argon2id$v=19$m=64,t=1,p=1$c29tZXNhbHQ$4mqQiyq0VpIzuZmp+8eSF3YJ7Av58TkEJ4LIdOVsAc4";

fn claim(user: &str, bare_user: Option<&str>, password: &str) -> Claim {
    Claim {
        user: user.as_bytes().to_vec(),
        bare_user: bare_user.map(|user| user.as_bytes().to_vec()),
        password: password.as_bytes().to_vec(),
    }
}

#[track_caller]
fn check(accounts: &Accounts, user: &str, password: &str, expected: bool) {
    let expected = if expected { Check::Accepted } else { Check::Refused };
    assert_eq!(accounts.check(&claim(user, None, password)), expected, "{user} {password}");
}

#[test]
fn pairs_match_as_a_whole() {
    let accounts = parse_auth_file(b"u:p\na:b:c\nempty:\n:x\n").unwrap();
    for (user, password) in [("u", "p"), ("a", "b:c"), ("empty", ""), ("", "x")] {
        check(&accounts, user, password, true);
    }
    for (user, password) in [
        ("u", ""),
        ("u", "p "),
        ("u", "pp"),
        ("u", "P"),
        ("U", "p"),
        ("", ""),
        ("a:b", "c"),
        ("a", "b"),
        ("u:p", ""),
        ("x", ""),
    ] {
        check(&accounts, user, password, false);
    }
    check(&accounts, &"u".repeat(300), "p", false);
    check(&accounts, "u", &"p".repeat(16384), false);
}

/// Whatever can be told apart by comparing is found wherever it stands.
#[test]
fn every_byte_of_a_pair_counts() {
    let password = "p".repeat(200);
    let accounts = parse_auth_file(format!("user:{password}\n").as_bytes()).unwrap();
    check(&accounts, "user", &password, true);
    for position in 0..password.len() {
        let mut other = password.clone().into_bytes();
        other[position] ^= 1;
        check(&accounts, "user", std::str::from_utf8(&other).unwrap(), false);
        check(&accounts, "user", &password[..position], false);
    }
}

#[test]
fn lines_match_up_to_a_colon_or_their_end() {
    let accounts = parse_sasl_file(b"u@h:p\na@h:b:c:\nr@h:p\r\n@:\n").unwrap();
    for (user, password) in
        [("u@h", "p"), ("a@h", "b"), ("a@h", "b:c"), ("a@h", "b:c:"), ("a@h:b", "c"), ("r@h", "p"), ("@", "")]
    {
        check(&accounts, user, password, true);
    }
    for (user, password) in
        [("u@h", ""), ("u@h", "pp"), ("a@h", "b:"), ("a@h", ""), ("u@", "h:p"), ("u", "@h:p"), ("r@h", "p\r\n")]
    {
        check(&accounts, user, password, false);
    }
}

#[test]
fn a_user_may_stand_without_its_realm() {
    let accounts = parse_sasl_file(b"bare:p\nfull@host:q\n").unwrap();
    assert_eq!(accounts.check(&claim("bare@host", Some("bare"), "p")), Check::Accepted);
    assert_eq!(accounts.check(&claim("full@host", Some("full"), "q")), Check::Accepted);
    assert_eq!(accounts.check(&claim("bare@other", None, "p")), Check::Refused);
    assert_eq!(accounts.check(&claim("full@host", Some("full"), "p")), Check::Refused);
}

#[test]
fn a_hash_is_verified_once() {
    let accounts = parse_auth_file(format!("u:{HASH}\nplain:p\n").as_bytes()).unwrap();
    let right = claim("u", None, "secret");
    assert_eq!(accounts.check(&right), Check::Costly);
    assert_eq!(accounts.verify(&right), Ok(true));
    assert_eq!(accounts.check(&right), Check::Accepted);
    // What is remembered is the whole claim.
    for (user, password) in [("u", "secret2"), ("u", ""), ("v", "secret"), ("us", "ecret"), ("u", HASH), ("plain", "q")]
    {
        let wrong = claim(user, None, password);
        assert_eq!((accounts.check(&wrong), accounts.verify(&wrong)), (Check::Costly, Ok(false)), "{user} {password}");
    }
    assert_eq!(accounts.check(&claim("plain", None, "p")), Check::Accepted);
    assert_eq!(accounts.check(&right), Check::Accepted);
}

#[test]
fn a_user_may_have_two_passwords() {
    let text = format!("u:old\nu:{HASH}\nu:$argon2id$v=19$m=64,t=1,p=1$c29tZXNhbHQ$MDEyMzQ1Njc4OWFiY2RlZg\n");
    let accounts = parse_auth_file(text.as_bytes()).unwrap();
    assert_eq!(accounts.verify(&claim("u", None, "old")), Ok(true));
    assert_eq!(accounts.verify(&claim("u", None, "secret")), Ok(true));
    assert_eq!(accounts.verify(&claim("u", None, "new")), Ok(false));
}

#[test]
fn responses_need_the_password() {
    let accounts = parse_sasl_file(format!("tim:tanstaaftanstaaf:x\nu:{HASH}\n").as_bytes()).unwrap();
    let challenge = b"<1896.697170952@postoffice.reston.mci.net>";
    let mut digest: [u8; 16] = u128::to_be_bytes(0xb913_a602_c7ed_a7a4_95b4_e6e7_334d_3890);
    assert!(accounts.check_response(&[b"tim"], challenge, &digest));
    assert!(accounts.check_response(&[b"tim@host", b"tim"], challenge, &digest));
    assert!(!accounts.check_response(&[b"ti"], challenge, &digest));
    assert!(!accounts.check_response(&[b"u"], challenge, &digest));
    assert!(!accounts.check_response(&[b"tim"], b"another", &digest));
    digest[15] ^= 1;
    assert!(!accounts.check_response(&[b"tim"], challenge, &digest));
}

/// Logins whose file is `text`, whose verifications are kept, and whose wakes are counted.
struct Fixture {
    logins: Logins,
    kept: Arc<Mutex<Vec<Verification>>>,
    wakes: Arc<AtomicUsize>,
}

impl Fixture {
    fn new(text: &str, places: usize) -> Self {
        let kept = Arc::new(Mutex::new(Vec::new()));
        let queue = Arc::clone(&kept);
        let text = text.to_owned();
        let source = Source {
            load: Box::new(move || parse_auth_file(text.as_bytes()).map_err(LoadError::Unusable)),
            has_changed: Box::new(|| false),
        };
        let verify = move |verification| {
            let mut queue = queue.lock();
            let has_place = queue.len() < places;
            if has_place {
                queue.push(verification);
            }
            has_place
        };
        let logins = Logins::load(Method::Text, source, Box::new(verify)).unwrap();
        Self { logins, kept, wakes: Arc::default() }
    }

    fn ask(&self, user: &str, password: &str) -> Answer {
        let wakes = Arc::clone(&self.wakes);
        self.logins.check(claim(user, None, password), || {
            Arc::new(move || {
                wakes.fetch_add(1, Ordering::Relaxed);
            })
        })
    }
}

#[test]
fn a_costly_claim_is_answered_later() {
    let fixture = Fixture::new(&format!("u:{HASH}\n"), 2);
    let (Answer::Later(right), Answer::Later(wrong)) = (fixture.ask("u", "secret"), fixture.ask("u", "x")) else {
        panic!("answered at once");
    };
    assert!(matches!(fixture.ask("u", "secret"), Answer::Refused(Cause::Busy)));
    assert_eq!((right.answer(), wrong.answer()), (None, None));
    let wakes = fixture.wakes.load(Ordering::Relaxed);
    let kept = std::mem::take(&mut *fixture.kept.lock());
    kept.into_iter().for_each(Verification::run);
    assert_eq!((right.answer(), wrong.answer()), (Some(Ok(())), Some(Err(Cause::Credentials))));
    assert_eq!(fixture.wakes.load(Ordering::Relaxed), wakes + 2);
    assert!(matches!(fixture.ask("u", "secret"), Answer::Accepted));
    assert!(matches!(fixture.ask("u", "x"), Answer::Later(_)));
}

#[test]
fn a_claim_that_nobody_verifies_is_refused() {
    let fixture = Fixture::new(&format!("u:{HASH}\n"), 1);
    let Answer::Later(ticket) = fixture.ask("u", "secret") else {
        panic!("answered at once");
    };
    fixture.kept.lock().clear();
    assert_eq!(ticket.answer(), Some(Err(Cause::Credentials)));
    assert_eq!(fixture.wakes.load(Ordering::Relaxed), 1);
}

#[test]
fn a_claim_whose_connection_is_gone_is_not_verified() {
    let fixture = Fixture::new(&format!("u:{HASH}\n"), 1);
    drop(fixture.ask("u", "secret"));
    let kept = std::mem::take(&mut *fixture.kept.lock());
    kept.into_iter().for_each(Verification::run);
    assert!(matches!(fixture.ask("u", "secret"), Answer::Later(_)));
}

#[test]
fn a_changed_file_forgets_what_was_verified() {
    let accounts = parse_auth_file(format!("u:{HASH}\n").as_bytes()).unwrap();
    assert_eq!(accounts.verify(&claim("u", None, "secret")), Ok(true));
    let again = parse_auth_file(format!("u:{HASH}\n").as_bytes()).unwrap();
    assert_eq!(again.check(&claim("u", None, "secret")), Check::Costly);
    assert_eq!(Accounts::new(Format::Pair).check(&claim("u", None, "secret")), Check::Refused);
}

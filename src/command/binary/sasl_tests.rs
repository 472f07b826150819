//! Logins over the binary protocol: what is allowed before them, what waits, what is counted.

use crate::base::sync::{Arc, Mutex};

use super::super::login::files::parse_sasl_file;
use super::super::login::mechanism::{Sasl, hmac_md5};
use super::super::login::tests::HASH;
use super::super::login::{LoadError, Logins, Method, Source, Verification};
use super::super::session::{CloseReason, Next};
use super::BinaryState;
use super::testing::{Connection, Reply, error, replies_in, reply, request};

const START: u8 = 0x21;
const STEP: u8 = 0x22;
const MORE: Next = Next::Input { bytes: 24 };

type Kept = Arc<Mutex<Vec<Verification>>>;

/// A connection that has to log in, and the passwords that wait to be verified.
fn connection() -> (Connection, Kept) {
    let kept = Kept::default();
    let queue = Arc::clone(&kept);
    let text = format!("u@h:p\nbare:q\nslow@h:{HASH}\n");
    let source = Source {
        load: Box::new(move || parse_sasl_file(text.as_bytes()).map_err(LoadError::Unusable)),
        has_changed: Box::new(|| false),
    };
    let verify = move |verification| {
        queue.lock().push(verification);
        true
    };
    let sasl = Sasl::new(Some("mech_list: plain cram-md5"), "host".to_owned()).unwrap();
    let mut connection = Connection::new();
    connection.server.service.logins = Logins::load(Method::Sasl(sasl), source, Box::new(verify)).ok();
    connection.state = BinaryState::new(true);
    (connection, kept)
}

fn plain(message: &str) -> Vec<u8> {
    request(START).key(b"PLAIN").value(message.as_bytes()).bytes()
}

fn accepted(opcode: u8) -> Reply {
    reply(opcode, 0).value(b"Authenticated")
}

fn refused(opcode: u8) -> Reply {
    error(opcode, 0x20, "Auth failure.")
}

fn run(kept: &Kept) {
    let kept = std::mem::take(&mut *kept.lock());
    kept.into_iter().for_each(Verification::run);
}

#[test]
fn nothing_but_a_login_and_the_version_is_answered_first() {
    for opcode in 0..=u8::MAX {
        let (mut connection, _) = connection();
        let (replies, next) = connection.send(&request(opcode).bytes());
        let is_free = matches!(opcode, 0x0b | 0x20 | 0x21 | 0x22);
        assert_eq!(replies == [refused(opcode)] && next == Next::Close(CloseReason::Error), !is_free, "{opcode:#x}");
        let totals = connection.server.service.worker_totals();
        assert_eq!((totals.auth_failed_command, totals.auth_cmds), (u64::from(!is_free), 0), "{opcode:#x}");
    }
}

#[test]
fn later_requests_wait_for_the_password() {
    let (mut connection, kept) = connection();
    let noop = request(0x0a).bytes();
    let wrong = connection.send(&[plain("\0slow@h\0wrong"), plain("\0slow@h\0secret"), noop.clone()].concat());
    assert_eq!(wrong, (vec![], Next::Input { bytes: 0 }));
    assert!(connection.state.is_waiting());
    // What arrives or wakes it meanwhile changes nothing.
    assert_eq!(connection.send(&noop), (vec![], Next::Input { bytes: 0 }));
    run(&kept);
    assert_eq!(connection.send(b""), (vec![refused(START)], Next::Input { bytes: 0 }));
    run(&kept);
    let expected = vec![accepted(START), reply(0x0a, 0), reply(0x0a, 0)];
    assert_eq!(connection.send(b""), (expected, MORE));
    assert!(!connection.state.is_waiting() && connection.kept.is_empty());
    // From now on it is known. The first login after a login fails, as in memcached.
    assert_eq!(connection.send(&plain("\0slow@h\0secret")), (vec![refused(START)], MORE));
    assert_eq!(connection.send(&plain("\0slow@h\0secret")), (vec![accepted(START)], MORE));
}

#[test]
fn a_step_may_come_again_after_a_wrong_password() {
    let (mut connection, kept) = connection();
    let step = |message: &str| request(STEP).key(b"x").value(message.as_bytes()).bytes();
    assert_eq!(connection.send(&request(START).key(b"PLAIN").bytes()), (vec![reply(START, 0x21)], MORE));
    connection.send(&step("\0slow@h\0wrong"));
    run(&kept);
    assert_eq!(connection.send(b"").0, [refused(STEP)]);
    connection.send(&step("\0slow@h\0secret"));
    run(&kept);
    assert_eq!(connection.send(b"").0, [accepted(STEP)]);
    assert_eq!(connection.send(&step("\0slow@h\0secret")).0, [refused(STEP)]);
}

#[test]
fn cram_md5_wants_the_digest_of_its_challenge() {
    for (user, password, is_right) in [("u@h", "p", true), ("bare", "q", true), ("u@h", "q", false), ("u", "p", false)]
    {
        let (mut connection, _) = connection();
        connection.kept.extend_from_slice(&request(START).key(b"cram-md5").bytes());
        connection.step();
        let challenges = replies_in(&connection.server.replies());
        assert_eq!(challenges[0].status, 0x21);
        let digest = hmac_md5(password.as_bytes(), challenges[0].value.as_bytes());
        let digits: String = digest.iter().map(|byte| format!("{byte:02x}")).collect();
        let step = request(STEP).key(b"CRAM-MD5").value(format!("{user} {digits}").as_bytes()).bytes();
        let expected = if is_right { accepted(STEP) } else { refused(STEP) };
        // A response is good once.
        assert_eq!(connection.send(&[step.clone(), step].concat()).0, [expected, refused(STEP)], "{user}");
    }
}

#[test]
fn every_failure_is_counted_by_its_cause() {
    let (mut connection, kept) = connection();
    for message in ["\0u@h\0p", "junk", "\0u@h\0x", "\0slow@h\0x"] {
        connection.send(&plain(message));
        run(&kept);
        connection.send(b"");
    }
    connection.send(&request(START).key(b"GSSAPI").value(b"x").bytes());
    connection.send(&request(STEP).key(b"PLAIN").value(b"x").bytes());
    connection.send(&plain(&format!("\0u@h\0{}", "p".repeat(3000))));
    // The next two count nothing.
    connection.send(&request(START).key(&[b'm'; 33]).value(b"x").bytes());
    connection.send(&request(START).key(b"PLAIN").bytes());
    connection.send(&request(0x0a).bytes());
    let totals = connection.server.service.worker_totals();
    assert_eq!((totals.auth_cmds, totals.auth_errors), (7, 6));
    assert_eq!((totals.auth_failed_credentials, totals.auth_failed_malformed), (2, 3));
    assert_eq!((totals.auth_failed_mechanism, totals.auth_failed_command), (1, 1));
}

//! Text authentication (`-Y`): before a successful login a connection understands `set` alone, whose data is
//! `user password`.
//!
//! ```text
//! set <any key> <any flags> <any exptime> <N>\r\n      N = bytes of the next line without \r\n
//! <user> <password>\r\n
//! ```
//! As in memcached all failures of one batch of input are answered by one line, the last; a line below six bytes and
//! more than 2048 bytes without a line end close the connection.

use crate::base::sync::Arc;
use crate::protocol::text::number::strict_u32;

use super::output::Output;
use super::service::{Context, Logins};
use super::session::{CloseReason, Next, Progress};

/// Fewest bytes that are looked at.
const INPUT_BYTES_MIN: usize = 3;
/// Fewest bytes of a line before its line feed.
const LINE_BYTES_MIN: usize = 6;
/// Bytes after which a line must have ended.
const LINE_BYTES_MAX: usize = 2048;
/// Largest `user password`.
const DATA_BYTES_MAX: u32 = 16384;

/// A connection that has to log in.
#[derive(Default, Debug)]
pub struct Login {
    /// Bytes of the announced data, line end included, while they are awaited.
    awaited_bytes: Option<usize>,
    is_done: bool,
}

impl Login {
    /// A connection that has not logged in yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Whether the login has succeeded.
    pub fn is_done(&self) -> bool {
        self.is_done
    }

    /// Takes login attempts from the start of `input` until one succeeds ([`Login::is_done`]; the unconsumed rest are
    /// ordinary commands then), more input is needed or the connection is to be closed.
    pub fn process(&mut self, input: &[u8], output: &mut Output, context: &mut Context<'_>) -> Progress {
        let mark = output.mark();
        let mut consumed = 0;
        loop {
            let rest = input.get(consumed..).unwrap_or_default();
            if self.is_done {
                return Progress { consumed, next: Next::Yield };
            }
            let (used, reply) = match self.step(rest, context) {
                Step::Wait { bytes } => {
                    return Progress { consumed, next: Next::Input { bytes } };
                }
                Step::Close => {
                    return Progress { consumed, next: Next::Abort(CloseReason::Error) };
                }
                Step::Used { bytes, reply } => (bytes, reply),
            };
            consumed += used;
            if let Some(reply) = reply {
                output.truncate(mark);
                output.push(reply.as_bytes());
                output.push(b"\r\n");
            }
        }
    }

    fn step(&mut self, input: &[u8], context: &Context<'_>) -> Step {
        let Some(awaited_bytes) = self.awaited_bytes else {
            return self.take_line(input);
        };
        let Some(data) = input.get(..awaited_bytes) else {
            return Step::Wait { bytes: awaited_bytes };
        };
        self.awaited_bytes = None;
        Step::Used { bytes: awaited_bytes, reply: Some(self.take_data(data, context)) }
    }

    fn take_line(&mut self, input: &[u8]) -> Step {
        if input.len() < INPUT_BYTES_MIN {
            return Step::Wait { bytes: 0 };
        }
        let Some(end) = memchr::memchr(b'\n', input) else {
            return if input.len() > LINE_BYTES_MAX { Step::Close } else { Step::Wait { bytes: 0 } };
        };
        let line = input.get(..end).unwrap_or_default();
        if line.len() < LINE_BYTES_MIN {
            return Step::Close;
        }
        let reply = match announced_bytes(line) {
            None => Some("CLIENT_ERROR unauthenticated"),
            Some(bytes) if bytes > DATA_BYTES_MAX => Some("CLIENT_ERROR auth token too long"),
            Some(bytes) => {
                self.awaited_bytes = Some(bytes as usize + 2);
                None
            }
        };
        Step::Used { bytes: end + 1, reply }
    }

    fn take_data(&mut self, data: &[u8], context: &Context<'_>) -> &'static str {
        let Some(pair) = data.strip_suffix(b"\r\n") else {
            return "CLIENT_ERROR bad command line termination";
        };
        let Some(space) = memchr::memchr(b' ', pair) else {
            return "CLIENT_ERROR bad authentication token format";
        };
        let (user, rest) = pair.split_at(space);
        let password = rest.get(1..).unwrap_or_default();
        let logins = context.service.logins.lock().as_ref().map(Arc::clone);
        let counters = context.counters();
        counters.auth_cmds.add(1);
        if logins.is_some_and(|logins| is_accepted(&logins, user, password)) {
            self.is_done = true;
            "STORED"
        } else {
            counters.auth_errors.add(1);
            "CLIENT_ERROR authentication failure"
        }
    }
}

enum Step {
    /// More input is needed, this much from the first unconsumed byte on; 0 when unknown.
    Wait { bytes: usize },
    /// Drop the connection.
    Close,
    /// So many bytes are done with.
    Used { bytes: usize, reply: Option<&'static str> },
}

/// The data bytes that a `set` line announces. The word only has to begin with `set`. memcached takes the last byte
/// before the line feed for the carriage return, whatever it is, and a second carriage return as well.
fn announced_bytes(line: &[u8]) -> Option<u32> {
    let (_, line) = line.split_last()?;
    let line = match line.split_last() {
        Some((b'\r', shorter)) => shorter,
        _ => line,
    };
    let mut tokens = line.split(|&byte| byte == b' ').filter(|token| !token.is_empty());
    let bytes = tokens.nth(4)?;
    if !line.starts_with(b"set") {
        return None;
    }
    strict_u32(bytes)
}

/// Whether one of the pairs matches. All pairs are compared, each in a time that depends on lengths alone, so that the
/// reply's time tells nothing about the contents.
pub fn is_accepted(logins: &Logins, user: &[u8], password: &[u8]) -> bool {
    let mut is_accepted = false;
    for (accepted_user, accepted_password) in &logins.pairs {
        is_accepted |= is_equal(accepted_user, user) & is_equal(accepted_password, password);
    }
    is_accepted
}

/// Compares all bytes before it answers.
fn is_equal(left: &[u8], right: &[u8]) -> bool {
    if left.len() != right.len() {
        return false;
    }
    let difference = left.iter().zip(right).fold(0, |difference, (left, right)| difference | (left ^ right));
    std::hint::black_box(difference) == 0
}

/// Most entries of an authentication file; later ones are not read.
const ENTRIES_MAX: usize = 8;
/// Most bytes of an entry; a longer one is cut off there and is the last.
const ENTRY_BYTES_MAX: usize = 255;

/// Reads the contents of a `-Y` file: lines `user:password`. The error is the end of memcached's message, to follow
/// `Authfile [<path>] `.
pub fn parse_auth_file(bytes: &[u8]) -> Result<Logins, String> {
    let mut logins = Logins::default();
    let mut rest = bytes;
    // An empty file is an empty entry, which is malformed.
    while logins.pairs.is_empty() || (!rest.is_empty() && logins.pairs.len() < ENTRIES_MAX) {
        let line_bytes = memchr::memchr(b'\n', rest).map_or(rest.len(), |end| end + 1);
        let entry_bytes = line_bytes.min(ENTRY_BYTES_MAX);
        let (entry, after) = rest.split_at(entry_bytes);
        // A NUL ends a user's name that has no colon yet, and so the entry is malformed.
        let colon = entry
            .iter()
            .position(|&byte| byte == b':' || byte == 0)
            .filter(|&position| entry.get(position) == Some(&b':'));
        let Some(colon) = colon else {
            return Err("has a malformed entry. Should be 'user:password'".to_owned());
        };
        let (user, tail) = entry.split_at(colon);
        let tail = tail.get(1..).unwrap_or_default();
        let end = tail.iter().position(|byte| matches!(byte, b'\n' | b'\r' | 0));
        let password = tail.get(..end.unwrap_or(tail.len())).unwrap_or_default();
        logins.pairs.push((user.to_vec(), password.to_vec()));
        // memcached takes the end of the text for the end of the file when an entry ends with it or with a NUL.
        match end.and_then(|end| tail.get(end)) {
            None | Some(0) => break,
            Some(_) => rest = after,
        }
    }
    Ok(logins)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::command::admin_testing::{Fixture, text};

    fn fixture() -> Fixture {
        let fixture = Fixture::new();
        fixture.set_logins(&[("u", "pw"), ("", "x"), ("a", ""), ("b", "c:d")]);
        fixture
    }

    /// Feeds `input` to a new connection: what it answers, how much it uses and what it wants next.
    #[track_caller]
    fn check(input: &[u8], reply: &str, consumed: usize, next: Next) {
        let fixture = fixture();
        let mut output = Output::new();
        let progress = fixture.with(|context| Login::new().process(input, &mut output, context));
        assert_eq!(text(&mut output), reply);
        assert_eq!(progress, Progress { consumed, next });
    }

    const MORE: Next = Next::Input { bytes: 0 };
    const CLOSE: Next = Next::Abort(CloseReason::Error);

    #[test]
    fn a_pair_is_accepted_and_the_rest_left_alone() {
        let stored = "STORED\r\n";
        check(b"set x 0 0 4\r\nu pw\r\nversion\r\n", stored, 19, Next::Yield);
        check(b"set x 0 0 2\r\n x\r\n", stored, 17, Next::Yield);
        check(b"set x 0 0 2\r\na \r\n", stored, 17, Next::Yield);
        check(b"set x 0 0 5\r\nb c:d\r\n", stored, 20, Next::Yield);
        check(b"setx x 0 0 4\r\nu pw\r\n", stored, 20, Next::Yield);
        check(b"set x 0 0 4 junk noreply\r\nu pw\r\n", stored, 32, Next::Yield);
        check(b"set x 0 0 44\nu pw\r\n", stored, 19, Next::Yield);
        check(b"set a 0 0 4\r\r\nu pw\r\n", stored, 20, Next::Yield);
        check(b"set x 0 0 5\r\nu pwx\r\nset x 0 0 4\r\nu pw\r\n", stored, 39, Next::Yield);
    }

    #[test]
    fn refusals_have_memcacheds_words() {
        let unauthenticated = "CLIENT_ERROR unauthenticated\r\n";
        check(b"set x 0 0 x\r\nversion\r\n", unauthenticated, 22, MORE);
        check(b"abcdef\r\n", unauthenticated, 8, MORE);
        check(b"abcde\r\n", unauthenticated, 7, MORE);
        check(b"version\r\nversion\r\n", unauthenticated, 18, MORE);
        check(b"       \r\n", unauthenticated, 9, MORE);
        let too_long = "CLIENT_ERROR auth token too long\r\n";
        check(b"set x 0 0 16385\r\n", too_long, 17, MORE);
        check(b"set x 0 0 4294967295\r\n", too_long, 22, MORE);
        let ending = "CLIENT_ERROR bad command line termination\r\n";
        check(b"set x 0 0 4\r\nu pwXX", ending, 19, MORE);
        let format = "CLIENT_ERROR bad authentication token format\r\n";
        check(b"set x 0 0 4\r\nupwx\r\n", format, 19, MORE);
        check(b"set x 0 0 0\r\n\r\n", format, 15, MORE);
        let failure = "CLIENT_ERROR authentication failure\r\n";
        check(b"set x 0 0 3\r\n\r\n \r\n", failure, 18, MORE);
        check(b"set x 0 0 4\r\nu p", "", 13, Next::Input { bytes: 6 });
        check(b"set x 0 0 4\r\nu px\r\n", failure, 19, MORE);
    }

    #[test]
    fn short_and_endless_lines_close_the_connection() {
        check(b"a\n", "", 0, MORE);
        check(b"\n", "", 0, MORE);
        check(b"ab\n", "", 0, CLOSE);
        check(b"abcd\r\n", "", 0, CLOSE);
        check(b" set x 0 0 4\r\nu pw\r\n", "CLIENT_ERROR unauthenticated\r\n", 14, CLOSE);
        check(&[b'x'; LINE_BYTES_MAX], "", 0, MORE);
        check(&[b'x'; LINE_BYTES_MAX + 1], "", 0, CLOSE);
    }

    #[test]
    fn a_login_may_arrive_byte_by_byte() {
        let fixture = fixture();
        let input = b"set x 0 0 4\r\nu pw\r\n";
        let mut login = Login::new();
        let mut output = Output::new();
        let mut start = 0;
        for end in 0..=input.len() {
            assert!(!login.is_done());
            let progress = fixture.with(|context| login.process(&input[start..end], &mut output, context));
            start += progress.consumed;
        }
        assert!(login.is_done());
        assert_eq!((start, text(&mut output).as_str()), (input.len(), "STORED\r\n"));
    }

    #[test]
    fn attempts_are_counted() {
        let fixture = fixture();
        let input = b"set x 0 0 1\r\nx\r\nset x 0 0 3\r\nu x\r\nset x 0 0 4\r\nu pw\r\n";
        fixture.with(|context| Login::new().process(input, &mut Output::new(), context));
        let totals = fixture.service.worker_totals();
        assert_eq!((totals.auth_cmds, totals.auth_errors), (2, 1));
        *fixture.service.logins.lock() = None;
        fixture.with(|context| Login::new().process(input, &mut Output::new(), context));
        assert_eq!(fixture.service.worker_totals().auth_errors, 3);
    }

    #[track_caller]
    fn check_file(bytes: &[u8], expected: Option<&[(&[u8], &[u8])]>) {
        let pairs = parse_auth_file(bytes).ok().map(|logins| logins.pairs);
        let expected =
            expected.map(|pairs| pairs.iter().map(|(user, password)| (user.to_vec(), password.to_vec())).collect());
        assert_eq!(pairs, expected, "{:?}", String::from_utf8_lossy(bytes));
    }

    #[test]
    fn files_are_read_as_memcached_reads_them() {
        check_file(b"u:p", Some(&[(b"u", b"p")]));
        check_file(b":\n", Some(&[(b"", b"")]));
        check_file(b"a:b:c\r\nx:y\r\n", Some(&[(b"a", b"b:c"), (b"x", b"y")]));
        check_file(b"u:p\0z\nx:y\n", Some(&[(b"u", b"p")]));
        for malformed in [&b""[..], b"\n", b"u\n", b"u:p\n\nx:y\n", b"u:p\nx", b"u\0:p\n"] {
            check_file(malformed, None);
        }
        let nine: String = (1..10).map(|number| format!("x{number}:y\n")).collect();
        let logins = parse_auth_file(nine.as_bytes()).unwrap();
        assert_eq!(logins.pairs.len(), 8);
        assert_eq!(parse_auth_file(b"\n").unwrap_err(), "has a malformed entry. Should be 'user:password'");
    }

    #[test]
    fn a_long_entry_is_cut_off_and_is_the_last() {
        let file = |password_bytes: usize| {
            let password = "p".repeat(password_bytes);
            parse_auth_file(format!("u:{password}\nx:y\n").as_bytes()).unwrap()
        };
        assert_eq!(file(252).pairs.len(), 2);
        for password_bytes in [253, 300] {
            let pairs = file(password_bytes).pairs;
            assert_eq!((pairs.len(), pairs[0].1.len()), (1, 253));
        }
    }
}

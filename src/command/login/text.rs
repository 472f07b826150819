//! The conversation of `-Y`: before a successful login a connection understands `set` alone, whose data is
//! `user password`.
//!
//! ```text
//! set <any key> <any flags> <any exptime> <N>\r\n      N = bytes of the next line without \r\n
//! <user> <password>\r\n
//! ```
//! As in memcached all failures of one batch of input are answered by one line, the last; a line below six bytes and
//! more than 2048 bytes without a line end close the connection.

use crate::protocol::text::line::UNFINISHED_BYTES_MAX;
use crate::protocol::text::number::strict_u32;

use super::super::output::Output;
use super::super::service::Context;
use super::super::session::{CloseReason, Next, Progress};
use super::accounts::Claim;
use super::failures::{self, Cause};
use super::{Answer, Ticket};

/// Fewest bytes that are looked at.
const INPUT_BYTES_MIN: usize = 3;
/// Fewest bytes of a line before its line feed.
const LINE_BYTES_MIN: usize = 6;
/// Largest `user password`.
const DATA_BYTES_MAX: u32 = 16384;

/// A connection that has to log in.
#[derive(Default, Debug)]
pub struct Login {
    /// Bytes of the announced data, line end included, while they are awaited.
    awaited_bytes: Option<usize>,
    /// Where the answer will be while a password is verified. Nothing else happens meanwhile.
    ticket: Option<Ticket>,
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

    /// Whether a password is being verified: the connection will be woken.
    pub fn is_waiting(&self) -> bool {
        self.ticket.is_some()
    }

    /// Takes login attempts from the start of `input` until one succeeds ([`Login::is_done`]; the unconsumed rest are
    /// ordinary commands then), more input is needed, a password has to be verified or the connection is to be closed.
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
                    failures::note(Cause::Malformed, context);
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

    fn step(&mut self, input: &[u8], context: &mut Context<'_>) -> Step {
        if let Some(ticket) = &self.ticket {
            let Some(answer) = ticket.answer() else {
                return Step::Wait { bytes: 0 };
            };
            self.ticket = None;
            return Step::Used { bytes: 0, reply: Some(self.conclude(answer, context)) };
        }
        let Some(awaited_bytes) = self.awaited_bytes else {
            return self.take_line(input, context);
        };
        let Some(data) = input.get(..awaited_bytes) else {
            return Step::Wait { bytes: awaited_bytes };
        };
        self.awaited_bytes = None;
        Step::Used { bytes: awaited_bytes, reply: self.take_data(data, context) }
    }

    fn take_line(&mut self, input: &[u8], context: &mut Context<'_>) -> Step {
        if input.len() < INPUT_BYTES_MIN {
            return Step::Wait { bytes: 0 };
        }
        let Some(end) = memchr::memchr(b'\n', input) else {
            return if input.len() > UNFINISHED_BYTES_MAX { Step::Close } else { Step::Wait { bytes: 0 } };
        };
        let line = input.get(..end).unwrap_or_default();
        if line.len() < LINE_BYTES_MIN {
            return Step::Close;
        }
        let reply = match announced_bytes(line) {
            None => Some(refuse(Cause::Command, "CLIENT_ERROR unauthenticated", context)),
            Some(bytes) if bytes > DATA_BYTES_MAX => {
                Some(refuse(Cause::Malformed, "CLIENT_ERROR auth token too long", context))
            }
            Some(bytes) => {
                self.awaited_bytes = Some(bytes as usize + 2);
                None
            }
        };
        Step::Used { bytes: end + 1, reply }
    }

    /// The reply, unless it has to wait.
    fn take_data(&mut self, data: &[u8], context: &mut Context<'_>) -> Option<&'static str> {
        let Some(pair) = data.strip_suffix(b"\r\n") else {
            return Some(refuse(Cause::Malformed, "CLIENT_ERROR bad command line termination", context));
        };
        let Some(space) = memchr::memchr(b' ', pair) else {
            return Some(refuse(Cause::Malformed, "CLIENT_ERROR bad authentication token format", context));
        };
        let (user, rest) = pair.split_at(space);
        let password = rest.get(1..).unwrap_or_default();
        let claim = Claim { user: user.to_vec(), bare_user: None, password: password.to_vec() };
        let wake = context.wake;
        let answer = match &context.service.logins {
            Some(logins) => logins.check(claim, || wake.handle()),
            None => Answer::Refused(Cause::Credentials),
        };
        let answer = match answer {
            Answer::Accepted => Ok(()),
            Answer::Refused(cause) => Err(cause),
            Answer::Later(ticket) => {
                self.ticket = Some(ticket);
                return None;
            }
        };
        Some(self.conclude(answer, context))
    }

    fn conclude(&mut self, answer: Result<(), Cause>, context: &mut Context<'_>) -> &'static str {
        context.counters().auth_cmds.add(1);
        match answer {
            Ok(()) => {
                self.is_done = true;
                "STORED"
            }
            Err(cause) => {
                context.counters().auth_errors.add(1);
                refuse(cause, "CLIENT_ERROR authentication failure", context)
            }
        }
    }
}

/// Notes a failure; gives its reply back.
fn refuse(cause: Cause, reply: &'static str, context: &mut Context<'_>) -> &'static str {
    failures::note(cause, context);
    reply
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::command::admin_testing::{Fixture, text};

    fn fixture() -> Fixture {
        let mut fixture = Fixture::new();
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
        check(&[b'x'; UNFINISHED_BYTES_MAX], "", 0, MORE);
        check(&[b'x'; UNFINISHED_BYTES_MAX + 1], "", 0, CLOSE);
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
        assert_eq!((totals.auth_failed_malformed, totals.auth_failed_credentials), (1, 1));
        let input = b"version\r\nget x\r\nquit\r\n";
        fixture.with(|context| Login::new().process(input, &mut Output::new(), context));
        fixture.with(|context| Login::new().process(b"quit\r\n", &mut Output::new(), context));
        let totals = fixture.service.worker_totals();
        assert_eq!((totals.auth_cmds, totals.auth_errors, totals.auth_failed_command), (2, 1, 2));
        assert_eq!(totals.auth_failed_malformed, 3);
    }
}

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

use super::admin_numbers::parse_u32;
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
    pub fn process(
        &mut self,
        input: &[u8],
        output: &mut Output,
        context: &mut Context<'_>,
    ) -> Progress {
        let mark = output.mark();
        let mut consumed = 0;
        loop {
            let rest = input.get(consumed..).unwrap_or_default();
            if self.is_done {
                return Progress {
                    consumed,
                    next: Next::Yield,
                };
            }
            let (used, reply) = match self.step(rest, context) {
                Step::Wait { bytes } => {
                    return Progress {
                        consumed,
                        next: Next::Input { bytes },
                    };
                }
                Step::Close => {
                    return Progress {
                        consumed,
                        next: Next::Abort(CloseReason::Normal),
                    };
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
            return Step::Wait {
                bytes: awaited_bytes,
            };
        };
        self.awaited_bytes = None;
        Step::Used {
            bytes: awaited_bytes,
            reply: Some(self.take_data(data, context)),
        }
    }

    fn take_line(&mut self, input: &[u8]) -> Step {
        if input.len() < INPUT_BYTES_MIN {
            return Step::Wait { bytes: 0 };
        }
        let Some(end) = memchr::memchr(b'\n', input) else {
            return if input.len() > LINE_BYTES_MAX {
                Step::Close
            } else {
                Step::Wait { bytes: 0 }
            };
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
        Step::Used {
            bytes: end + 1,
            reply,
        }
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
    Used {
        bytes: usize,
        reply: Option<&'static str>,
    },
}

/// The data bytes that a `set` line announces. The word only has to begin with `set`. memcached takes the last byte
/// before the line feed for the carriage return, whatever it is, and a second carriage return as well.
fn announced_bytes(line: &[u8]) -> Option<u32> {
    let (_, line) = line.split_last()?;
    let line = match line.split_last() {
        Some((b'\r', shorter)) => shorter,
        _ => line,
    };
    let mut tokens = line
        .split(|&byte| byte == b' ')
        .filter(|token| !token.is_empty());
    let bytes = tokens.nth(4)?;
    if !line.starts_with(b"set") {
        return None;
    }
    parse_u32(bytes)
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
    let difference = left
        .iter()
        .zip(right)
        .fold(0, |difference, (left, right)| difference | (left ^ right));
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
    while !rest.is_empty() && logins.pairs.len() < ENTRIES_MAX {
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
        let end = tail
            .iter()
            .position(|byte| matches!(byte, b'\n' | b'\r' | 0));
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

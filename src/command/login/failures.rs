//! Logins that fail: one counter for each cause, and one line in the log with the client's address.
//!
//! A worker logs at most [`LINES_MAX`] lines in [`INTERVAL_SECONDS`], so that nobody can fill a disk by guessing; the
//! next line after that says how many were left out. The counters miss none.

use std::fmt;

use super::super::service::Context;

/// Why a login failed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Cause {
    /// No such user, or another password.
    Credentials,
    /// What was sent is no login.
    Malformed,
    /// A SASL mechanism that is not offered.
    Mechanism,
    /// Too many passwords wait to be verified.
    Busy,
    /// The system gave no memory to verify a password.
    Memory,
    /// Something else than a login was asked for first.
    Command,
}

impl Cause {
    /// In words.
    fn text(self) -> &'static str {
        match self {
            Cause::Credentials => "wrong user or password",
            Cause::Malformed => "malformed login",
            Cause::Mechanism => "unknown mechanism",
            Cause::Busy => "too many logins at once",
            Cause::Memory => "no memory to verify the password",
            Cause::Command => "a command before the login",
        }
    }
}

/// Counts and tells of a failure. Whether it also counts in `auth_cmds` and `auth_errors` is the protocol's business.
pub fn note(cause: Cause, context: &mut Context<'_>) {
    let counters = context.counters();
    let counter = match cause {
        Cause::Credentials => &counters.auth_failed_credentials,
        Cause::Malformed => &counters.auth_failed_malformed,
        Cause::Mechanism => &counters.auth_failed_mechanism,
        Cause::Busy => &counters.auth_failed_busy,
        Cause::Memory => &counters.auth_failed_memory,
        Cause::Command => &counters.auth_failed_command,
    };
    counter.add(1);
    if let Some(line) = context.scratch.failures.line(cause, context.peer, context.now.seconds) {
        log::warn!("{line}");
    }
}

/// A worker's share of the log.
#[derive(Default, Debug)]
pub struct FailureLog {
    /// Coarse time of the first line of this interval.
    began: Option<u32>,
    lines: u32,
    left_out: u64,
}

impl FailureLog {
    /// The line to log, if one may be logged now.
    fn line(&mut self, cause: Cause, peer: &dyn fmt::Display, now_seconds: u32) -> Option<String> {
        let is_over = self.began.is_none_or(|began| now_seconds >= began.saturating_add(INTERVAL_SECONDS));
        if is_over {
            self.began = Some(now_seconds);
            self.lines = 0;
        }
        if self.lines >= LINES_MAX {
            self.left_out += 1;
            return None;
        }
        self.lines += 1;
        let more = match std::mem::take(&mut self.left_out) {
            0 => String::new(),
            count => format!(" ({count} more failures since the last line)"),
        };
        Some(format!("login from {peer} failed: {}{more}", cause.text()))
    }
}

/// Lines a worker logs in an interval.
const LINES_MAX: u32 = 10;
const INTERVAL_SECONDS: u32 = 10;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flood_of_failures_is_a_few_lines() {
        let mut log = FailureLog::default();
        let mut note = |seconds| log.line(Cause::Credentials, &"10.0.0.1:4000", seconds);
        let line = "login from 10.0.0.1:4000 failed: wrong user or password";
        for _ in 0..LINES_MAX {
            assert_eq!(note(100).as_deref(), Some(line));
        }
        for seconds in [100, 101, 109] {
            assert_eq!(note(seconds), None);
        }
        assert_eq!(note(110), Some(format!("{line} (3 more failures since the last line)")));
        assert_eq!(note(110).as_deref(), Some(line));
    }
}

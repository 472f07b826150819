//! Stand-in for the administrative commands.

use super::dump::Dump;
use super::output::Output;
use super::service::Context;

/// How an administrative command ended.
#[derive(Debug)]
pub enum AdminOutcome {
    /// Answered.
    Done,
    /// No such command.
    Unknown,
    /// A dump has been started.
    Dump(Dump),
    /// The connection is closed at once.
    Abort,
}

/// Executes one.
pub fn execute(
    _line: &[u8],
    _tokens: &[&[u8]],
    _is_noreply: bool,
    _descriptor: i32,
    output: &mut Output,
    _context: &mut Context<'_>,
) -> AdminOutcome {
    output.push(b"OK\r\n");
    AdminOutcome::Done
}

//! Stand-in for watchers.

use super::output::Output;
use super::service::Context;

/// A watcher.
#[derive(Debug)]
pub struct Watching {}

impl Watching {
    /// Moves events to the output.
    pub fn drain(&mut self, _output: &mut Output) {}
    /// Whether there are any.
    pub fn has_events(&self) -> bool {
        false
    }
}

/// Executes `watch`.
pub fn execute(
    _tokens: &[&[u8]],
    _descriptor: i32,
    output: &mut Output,
    _context: &mut Context<'_>,
) -> Option<Watching> {
    output.push(b"OK\r\n");
    Some(Watching {})
}

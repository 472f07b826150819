//! Stand-in for the statistics.

use super::output::Output;
use super::service::Context;

/// Executes `stats`.
pub fn execute(_tokens: &[&[u8]], output: &mut Output, _context: &mut Context<'_>) {
    output.push(b"END\r\n");
}

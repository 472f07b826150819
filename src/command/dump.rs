//! Stand-in for dumps.

use super::output::Output;
use super::service::Context;

/// A dump in progress.
#[derive(Debug)]
pub struct Dump {}

impl Dump {
    /// One bounded step; true when finished.
    pub fn step(&mut self, _output: &mut Output, _context: &mut Context<'_>) -> bool {
        true
    }
}

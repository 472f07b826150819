//! Stand-in for the binary protocol.

use super::output::Output;
use super::service::Context;
use super::session::{CloseReason, Next, Progress};
use crate::stats::connections::ConnectionState;

/// The state of a binary conversation.
#[derive(Debug, Default)]
pub struct BinaryState {}

impl BinaryState {
    /// A new conversation.
    pub fn new() -> Self {
        Self {}
    }
    /// See [`super::Session::process`].
    pub fn process(
        &mut self,
        input: &[u8],
        _descriptor: i32,
        _output: &mut Output,
        _context: &mut Context<'_>,
    ) -> Progress {
        Progress {
            consumed: input.len(),
            next: Next::Close(CloseReason::Error),
        }
    }
    /// See [`super::Session::receive_space`].
    pub fn receive_space(&mut self) -> Option<&mut [u8]> {
        None
    }
    /// See [`super::Session::received`].
    pub fn received(&mut self, _count: usize) {}
    /// See [`super::Session::has_work`].
    pub fn has_work(&self) -> bool {
        false
    }
    /// See [`super::Session::state`].
    pub fn state(&self) -> ConnectionState {
        ConnectionState::Read
    }
}

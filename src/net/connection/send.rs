//! Sending: as much of the reply queue as the socket takes, in a bounded number of bytes per turn.

use std::io::{self, ErrorKind, IoSlice};

use super::Connection;
use crate::base::sync::Ordering;
use crate::command::Output;
use crate::net::tls::Workspace;
use crate::net::tools::Tools;
use crate::stats::connections::ConnectionState;
use crate::stats::counters::WorkerCounters;

/// What became of a send.
pub(super) enum Sent {
    All,
    /// The socket is full.
    Part,
    /// So much that others have their turn first.
    Enough,
    Failed,
}

impl Connection {
    /// Sends the queue, until it is empty, the socket full, or [`SENT_BYTES_MAX`] are sent.
    #[inline(always)]
    pub(super) fn send(&mut self, tools: &mut Tools) -> Sent {
        let mut budget = SENT_BYTES_MAX;
        while !tools.output.is_empty() {
            if budget == 0 {
                return Sent::Enough;
            }
            let result = match tools.output.contiguous() {
                Some(bytes) => self.stream.write(&bytes[..bytes.len().min(budget)], &mut tools.tls),
                None => self.write_slices(budget, tools),
            };
            match result {
                Ok(sent) if sent > 0 => {
                    tools.counters.bytes_written.add(sent as u64);
                    tools.output.advance(sent);
                    budget = budget.saturating_sub(sent);
                    self.held.note_moved(sent);
                }
                other => match self.note_not_sent(other) {
                    Sent::All => {}
                    not_all => return not_all,
                },
            }
        }
        Sent::All
    }

    /// Sends all replies by one write; false when that does not do.
    #[inline(always)]
    pub(super) fn send_at_once(
        &mut self,
        output: &mut Output,
        workspace: &mut Workspace,
        counters: &WorkerCounters,
    ) -> bool {
        let Some(bytes) = output.contiguous() else {
            return false;
        };
        let length = bytes.len();
        if length == 0 {
            return true;
        }
        let Ok(sent) = self.stream.write(bytes, workspace) else {
            // The general turn is told the same.
            return false;
        };
        counters.bytes_written.add(sent as u64);
        if sent < length {
            output.advance(sent);
            return false;
        }
        output.advance_to_end();
        true
    }

    #[inline(never)]
    pub(super) fn write_slices(&mut self, bytes_max: usize, tools: &mut Tools) -> io::Result<usize> {
        let mut slices = [IoSlice::new(&[]); SLICES_MAX];
        let count = tools.output.slices(&mut slices, bytes_max);
        self.stream.write_vectored(&slices[..count], &mut tools.tls)
    }

    /// After a write that took nothing; `All` when it is to be tried again.
    #[cold]
    fn note_not_sent(&mut self, result: io::Result<usize>) -> Sent {
        match result {
            Err(error) if error.kind() == ErrorKind::WouldBlock => {
                self.is_blocked = true;
                self.entry.set_state(ConnectionState::Mwrite);
                self.entry.replies_waiting.store(1, Ordering::Relaxed);
                Sent::Part
            }
            Err(error) if error.kind() == ErrorKind::Interrupted => Sent::All,
            _ => Sent::Failed,
        }
    }
}

/// Bytes sent in one turn: a value of 1 MiB in one piece would keep all others waiting for a quarter of a millisecond.
pub(super) const SENT_BYTES_MAX: usize = 128 * 1024;
/// Slices of one vectored write.
pub(super) const SLICES_MAX: usize = 64;

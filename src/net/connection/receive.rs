//! Large values of a connection: read straight to where they belong, a bounded number of bytes in a turn, however many values
//! these are. What a value's beginning comes to, and what is behind it, is the session's business as ever.

use std::io::IoSliceMut;

use super::read::{LARGE_HEAD_BYTES, Read};
use super::{Connection, Step};
use crate::command::CloseReason;
use crate::net::tools::Tools;

impl Connection {
    /// Whether a large value has begun of which there may be more to read.
    #[inline]
    pub(super) fn has_begun_large(&self) -> bool {
        self.is_readable && self.tail.is_empty() && self.session.is_receiving()
    }

    /// Reads a large value to where it belongs, and what comes behind it to the worker's buffer; so on with further ones, as
    /// far as a turn goes.
    #[inline(never)]
    pub(super) fn receive(&mut self, token: usize, tools: &mut Tools) -> Step {
        let mut budget = RECEIVED_BYTES_MAX;
        while budget > 0 && self.is_readable {
            let Some(space) = self.session.receive_space() else {
                break;
            };
            let wanted = space.len().min(budget);
            let behind = &mut tools.read_buffer[..if wanted == space.len() { LARGE_HEAD_BYTES } else { 0 }];
            let length = wanted + behind.len();
            let mut slices = [IoSliceMut::new(&mut space[..wanted]), IoSliceMut::new(behind)];
            let result = self.stream.read_vectored(&mut slices, &mut tools.tls);
            match self.note_read(result, length, &tools.counters) {
                Read::Bytes(count) => {
                    let received = count.min(wanted);
                    self.session.received(received);
                    self.held.note_moved(received);
                    budget = budget.saturating_sub(count);
                    if count > received {
                        self.expects_large = true;
                        self.last_command = tools.now.seconds;
                        let progress = self.process(Some(count - received), token, tools);
                        match self.keep_rest(count - received, progress, tools) {
                            Step::Wait if self.has_begun_large() => {}
                            step => return step,
                        }
                    }
                }
                Read::Nothing => break,
                Read::End => return self.end(),
                Read::Failed => return Step::Abort(CloseReason::Error),
            }
        }
        if !self.session.is_receiving() {
            self.last_command = tools.now.seconds;
            return self.process_tail(token, tools);
        }
        Step::Wait
    }
}

/// Bytes read straight into a large value in one turn.
pub(super) const RECEIVED_BYTES_MAX: usize = 256 * 1024;

//! One read of a connection, to the worker's buffer or to its tail, and what it says about the socket.

use std::io::{self, ErrorKind};

use crate::base::sizes::READ_BUFFER_BYTES;
use crate::stats::counters::WorkerCounters;

use super::Connection;
use crate::net::tools::Tools;

/// Outcome of a read.
pub(super) enum Read {
    /// Bytes there now.
    Bytes(usize),
    /// None, for now.
    Nothing,
    /// The peer sends no more.
    End,
    /// The connection is broken.
    Failed,
}

impl Connection {
    /// Reads behind a copy of the tail in the worker's buffer. The result counts both.
    pub(super) fn read_to_buffer(&mut self, tools: &mut Tools) -> Read {
        let kept = self.tail.len();
        tools.read_buffer[..kept].copy_from_slice(self.tail.bytes());
        let end = if self.expects_large { (kept + LARGE_HEAD_BYTES).min(READ_BUFFER_BYTES) } else { READ_BUFFER_BYTES };
        let space = &mut tools.read_buffer[kept..end];
        let length = space.len();
        let result = self.stream.read(space, &mut tools.tls);
        match self.note_read(result, length, &tools.counters) {
            Read::Bytes(count) => Read::Bytes(kept + count),
            other => other,
        }
    }

    /// Reads to the end of a large tail, which is then parsed where it is. Fails when there may be no more of it.
    pub(super) fn read_to_tail(&mut self, tools: &mut Tools) -> Read {
        let Some(space) = self.tail.extend_space(READ_BUFFER_BYTES, &mut tools.pool) else {
            self.note_keeping(false, tools);
            return Read::Failed;
        };
        let result = self.stream.read(space, &mut tools.tls);
        let read = self.note_read(result, READ_BUFFER_BYTES, &tools.counters);
        let count = match read {
            Read::Bytes(count) => count,
            _ => 0,
        };
        self.tail.trim(READ_BUFFER_BYTES - count);
        match read {
            Read::Bytes(_) => Read::Bytes(self.tail.len()),
            other => other,
        }
    }

    #[inline(always)]
    pub(super) fn note_read(&mut self, result: io::Result<usize>, space: usize, counters: &WorkerCounters) -> Read {
        match result {
            Ok(0) => Read::End,
            Ok(count) => {
                counters.bytes_read.add(count as u64);
                if self.stream.is_drained_by(count, space) && !self.is_read_closed {
                    self.is_readable = false;
                }
                Read::Bytes(count)
            }
            Err(error) => self.note_not_read(&error),
        }
    }

    #[cold]
    fn note_not_read(&mut self, error: &io::Error) -> Read {
        match error.kind() {
            ErrorKind::WouldBlock => {
                self.is_readable = false;
                Read::Nothing
            }
            ErrorKind::Interrupted => Read::Nothing,
            _ => Read::Failed,
        }
    }
}

/// Bytes read through the worker's buffer when a large value is expected, or behind one: a line and a little.
pub(super) const LARGE_HEAD_BYTES: usize = 4096;

//! One connection: its socket, its conversation, and what is unfinished of either.
//!
//! A worker gives a connection turns. One turn is at most: send what waits; one read into the worker's buffer and one call of
//! the session, or a bounded number of bytes read straight into large values; a bounded number of bytes sent. Nearly all
//! turns are plain ones, of connections from whose last turn nothing is left: those have a short way of their own, in
//! `plain`. `read` and `receive` are what comes in, `send` what goes out.
//!
//! ```text
//!              readable, woken, unfinished             reply does not fit the socket
//!   waiting ------------------------------> turn --------------------------------> blocked
//!      ^                                     |  ^                                     |
//!      +---- nothing more to do -------------+  +------------- writable --------------+
//! ```
//! While blocked nothing is read or executed: that is the back-pressure. A session that yields goes on without its
//! replies being sent at once, so that a long pipeline is answered in few sends; see `DEFERRALS_MAX`.

mod plain;
mod read;
mod receive;
mod send;
#[cfg(test)]
mod tests;

use crate::base::sizes::READ_BUFFER_BYTES;
use crate::base::sync::{Arc, Ordering};
use crate::base::time::Now;
use crate::command::{CloseReason, Next, Output, Progress, Session};
use crate::stats::connections::{ConnectionEntry, ConnectionState};

use super::address::Peer;
use super::buffer::{Pool, TAIL_BYTES_MAX, Tail};
use super::held::Held;
use super::inbox::NewConnection;
use super::stream::Stream;
use super::tools::{Lent, Tools};

use read::{LARGE_HEAD_BYTES, Read};
use send::Sent;

/// What is to become of a connection after a turn.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Verdict {
    /// Nothing to do until its socket or a wake says so.
    Wait,
    /// The same; and it holds memory that others could use, so it is looked at now and then.
    WaitHolding,
    /// It has more to do: another turn after the others had theirs.
    Again,
    /// The same, and it has moved as much of large values as it may at a time: first the kernel is asked who else is there.
    AgainLater,
    /// Close it.
    Close(CloseReason),
}

/// What a step of reading and executing left.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Step {
    Wait,
    /// More to do; whether the reply queue may be kept for the next turn.
    Again {
        may_defer: bool,
    },
    /// Send what is queued, then close.
    Close(CloseReason),
    /// Close without sending.
    Abort(CloseReason),
}

/// A client's connection. Owned and touched by one worker.
pub struct Connection {
    stream: Stream,
    session: Session,
    tail: Tail,
    /// Replies that wait for the socket or for the next turn.
    output: Option<Box<Output>>,
    entry: Arc<ConnectionEntry>,
    peer: Peer,
    /// Bytes the session needs before it can go on, 0 when unknown.
    needed: usize,
    /// The last request brought a large value, so the next one probably does: read little of it through the buffer.
    expects_large: bool,
    /// Coarse time of the last command.
    last_command: u32,
    /// Turns since replies were last sent while some wait.
    deferrals: u8,
    /// The socket may have bytes.
    is_readable: bool,
    /// The peer has closed its side: short reads prove nothing, read on until the end.
    is_read_closed: bool,
    /// The end was read.
    is_ended: bool,
    /// The session wants to go on with what it has.
    is_unfinished: bool,
    /// A send found the socket full; nothing happens until it is writable.
    is_blocked: bool,
    /// Nothing is unfinished: what [`Connection::has_come_to_rest`] said after the last turn, and nothing has changed since.
    is_at_rest: bool,
    /// It is on the worker's ready list.
    pub is_listed: bool,
    /// To be closed once the replies are sent.
    closing: Option<CloseReason>,
    held: Held,
}

impl Connection {
    /// A connection that was just accepted.
    pub fn new(new: NewConnection, now: Now) -> Self {
        Self {
            session: Session::new(new.protocol),
            stream: new.stream,
            tail: Tail::default(),
            output: None,
            entry: new.entry,
            peer: new.peer,
            needed: 0,
            expects_large: false,
            last_command: now.seconds,
            deferrals: 0,
            is_readable: false,
            is_read_closed: false,
            is_ended: false,
            is_unfinished: false,
            is_blocked: false,
            is_at_rest: false,
            is_listed: false,
            closing: None,
            held: Held::default(),
        }
    }

    /// Its socket.
    pub fn stream(&mut self) -> &mut Stream {
        &mut self.stream
    }

    /// Its line in the table of connections.
    pub fn entry(&self) -> &Arc<ConnectionEntry> {
        &self.entry
    }

    /// The client.
    pub fn peer(&self) -> Peer {
        self.peer
    }

    /// Notes that the socket can be read; true when a turn has something to do.
    pub fn note_readable(&mut self, is_read_closed: bool) -> bool {
        self.is_readable = true;
        self.is_read_closed |= is_read_closed;
        self.is_at_rest &= !is_read_closed;
        !self.is_blocked
    }

    /// Notes that the socket can be written; true when a turn has something to do.
    pub fn note_writable(&mut self) -> bool {
        // A handshake's answers are sent by reading.
        let has_own_output = self.stream.has_own_output();
        self.is_readable |= has_own_output;
        std::mem::take(&mut self.is_blocked) | has_own_output
    }

    /// Notes a wake from another thread; true when a turn has something to do.
    pub fn note_woken(&mut self) -> bool {
        self.is_unfinished = true;
        self.is_at_rest = false;
        !self.is_blocked
    }

    /// Whether its TLS handshake goes on.
    #[inline]
    pub fn is_handshaking(&self) -> bool {
        self.stream.is_handshaking()
    }

    /// Whether its TLS handshake began before `limit`.
    pub fn is_handshaking_since(&self, limit: u32) -> bool {
        self.is_handshaking() && self.last_command < limit
    }

    /// Whether it is closed by the idle sweep when its last command lies before `limit`: TCP, waiting for a command,
    /// not in the middle of a value.
    pub fn is_idle_since(&mut self, limit: u32) -> bool {
        self.last_command < limit
            && self.stream.is_tcp()
            && !self.is_blocked
            && !self.is_unfinished
            && self.output.is_none()
            && !self.is_in_value()
            && !self.session.is_watching()
            && !self.session.has_work()
    }

    /// Whether it holds memory of large values that others could use: one on its way in, or some on their way out.
    pub fn is_holding(&self) -> bool {
        (!self.session.is_at_command() && self.session.is_receiving())
            || self.output.as_ref().is_some_and(|output| output.holds_large())
    }

    /// How it has moved such memory; to be asked at regular times.
    pub fn held(&mut self) -> &mut Held {
        &mut self.held
    }

    /// Whether replies of requests already read are still to be made or sent.
    pub fn is_owing(&self) -> bool {
        self.output.is_some() || self.is_unfinished
    }

    fn is_in_value(&self) -> bool {
        (self.needed > 0 && !self.tail.is_empty()) || self.session.is_receiving()
    }

    /// Gives its memory back to the pool before it is dropped.
    pub fn release(&mut self, pool: &mut Pool) {
        self.tail.clear(pool);
        if let Some(mut output) = self.output.take() {
            output.clear();
            pool.give_output(output);
        }
    }

    /// One turn.
    #[inline]
    pub fn turn(&mut self, token: usize, tools: &mut Tools) -> Verdict {
        let is_plain = self.is_plain() && !tools.is_stopping;
        let outcome = if is_plain { self.turn_plainly(token, tools) } else { Err(None) };
        match outcome {
            Ok(verdict) => verdict,
            Err(step) => self.turn_otherwise(step, token, tools),
        }
    }

    /// A turn, or the rest of one that has begun plainly and come to `step`.
    #[inline(never)]
    fn turn_otherwise(&mut self, step: Option<Step>, token: usize, tools: &mut Tools) -> Verdict {
        if let Some(output) = self.output.take() {
            let spare = std::mem::replace(&mut tools.output, output);
            tools.pool.give_output(spare);
        }
        let verdict = match step {
            Some(step) => self.finish(step, tools),
            None => self.advance(token, tools),
        };
        if !tools.output.is_empty() {
            let spare = tools.pool.output();
            self.output = Some(std::mem::replace(&mut tools.output, spare));
        }
        self.is_at_rest = self.has_come_to_rest();
        match verdict {
            Verdict::Wait if self.is_holding() => Verdict::WaitHolding,
            other => other,
        }
    }

    fn advance(&mut self, token: usize, tools: &mut Tools) -> Verdict {
        if self.deferrals == 0
            && !tools.output.is_empty()
            && let Some(verdict) = self.unblock(tools)
        {
            return verdict;
        }
        if let Some(reason) = self.closing {
            return Verdict::Close(reason);
        }
        let step = self.step(token, tools);
        self.finish(step, tools)
    }

    /// Sends what there is to be sent after a step, and says what becomes of the connection.
    fn finish(&mut self, step: Step, tools: &mut Tools) -> Verdict {
        match step {
            _ if tools.output.is_torn() => {
                // Empty or not, it goes to others.
                tools.output.clear();
                return Verdict::Close(CloseReason::Error);
            }
            Step::Wait | Step::Again { may_defer: false } => {}
            Step::Again { may_defer: true } => {
                if self.deferrals < DEFERRALS_MAX && tools.output.pending() < DEFERRED_BYTES_MAX {
                    self.deferrals += 1;
                    return Verdict::Again;
                }
            }
            Step::Abort(reason) => return Verdict::Close(reason),
            Step::Close(reason) => self.closing = Some(reason),
        }
        self.deferrals = 0;
        match self.send(tools) {
            Sent::All => {}
            Sent::Part => return Verdict::Wait,
            Sent::Enough => return Verdict::AgainLater,
            Sent::Failed => return Verdict::Close(CloseReason::Error),
        }
        if let Some(reason) = self.closing {
            return Verdict::Close(reason);
        }
        if step != Step::Wait || (self.is_readable && !tools.is_stopping && !self.is_session_waiting()) {
            return if self.session.is_receiving() { Verdict::AgainLater } else { Verdict::Again };
        }
        self.show_state();
        Verdict::Wait
    }

    #[inline(always)]
    fn is_session_waiting(&self) -> bool {
        !self.session.is_at_command() && self.session.is_waiting()
    }

    /// After a send that did not take all: everything has to be out before anything new is done.
    #[cold]
    fn unblock(&mut self, tools: &mut Tools) -> Option<Verdict> {
        match self.send(tools) {
            Sent::All => {
                self.entry.replies_waiting.store(0, Ordering::Relaxed);
                None
            }
            Sent::Part => Some(Verdict::Wait),
            Sent::Enough => Some(Verdict::AgainLater),
            Sent::Failed => Some(Verdict::Close(CloseReason::Error)),
        }
    }

    /// Reads, if there is something to read, and lets the session work.
    #[inline]
    fn step(&mut self, token: usize, tools: &mut Tools) -> Step {
        let can_read = self.is_readable && !self.is_ended && !tools.is_stopping && !self.is_session_waiting();
        if self.is_unfinished || !can_read {
            return self.step_without_reading(token, tools);
        }
        let read = if self.tail.is_empty() && !self.session.is_at_command() && self.session.is_receiving() {
            return self.receive(token, tools);
        } else if self.tail.len() > READ_BUFFER_BYTES / 2 {
            self.read_to_tail(tools)
        } else {
            self.read_to_buffer(tools)
        };
        match read {
            Read::Bytes(total) if total < self.needed => match self.keep_read(total, tools) {
                true => Step::Wait,
                false => Step::Abort(CloseReason::Error),
            },
            Read::Bytes(total) => self.process_read(total, token, tools),
            other => self.step_without_bytes(&other),
        }
    }

    /// What a read comes to that has brought nothing.
    #[cold]
    fn step_without_bytes(&mut self, read: &Read) -> Step {
        match read {
            // What a watcher is to be sent may have come while the connection was blocked, and nobody wakes it a second time.
            Read::Nothing if self.session.has_work() => Step::Again { may_defer: true },
            Read::Bytes(_) | Read::Nothing => Step::Wait,
            Read::End => self.end(),
            Read::Failed => Step::Abort(CloseReason::Error),
        }
    }

    #[inline(never)]
    fn step_without_reading(&mut self, token: usize, tools: &mut Tools) -> Step {
        if self.is_unfinished || self.session.has_work() {
            return self.process_tail(token, tools);
        }
        match self.is_ended {
            true => Step::Close(CloseReason::Normal),
            false => Step::Wait,
        }
    }

    /// The client sends no more. What the session still does by itself (a dump) is finished first.
    fn end(&mut self) -> Step {
        self.is_ended = true;
        self.is_readable = false;
        match self.session.has_work() {
            true => Step::Again { may_defer: true },
            false => Step::Close(CloseReason::Normal),
        }
    }

    /// Whether the tail is where the last read went, rather than the worker's buffer.
    fn is_read_in_tail(&self, total: usize) -> bool {
        self.tail.len() == total
    }

    /// Keeps what was read for later; false when no read buffer is left for it.
    fn keep_read(&mut self, total: usize, tools: &mut Tools) -> bool {
        if self.is_read_in_tail(total) {
            return true;
        }
        let kept = self.tail.len();
        let is_kept = self.tail.append(&tools.read_buffer[kept..total], &mut tools.pool);
        self.note_keeping(is_kept, tools)
    }

    fn note_keeping(&mut self, is_kept: bool, tools: &Tools) -> bool {
        if !is_kept {
            tools.counters.read_buf_oom.add(1);
        }
        is_kept
    }

    /// Lets the session work on what was just read, `total` bytes with the tail in front.
    #[inline(never)]
    fn process_read(&mut self, total: usize, token: usize, tools: &mut Tools) -> Step {
        if self.is_read_in_tail(total) {
            return self.process_tail(token, tools);
        }
        let progress = self.process(Some(total), token, tools);
        self.settle_read(total, progress, token, tools)
    }

    /// Keeps what the session has left of a read, and goes on with a large value that has begun rather now than in another
    /// turn.
    #[inline(never)]
    fn settle_read(&mut self, total: usize, progress: Progress, token: usize, tools: &mut Tools) -> Step {
        let step = self.keep_rest(total, progress, tools);
        // A whole request of another kind came in the place of the large value that was expected.
        self.expects_large &= self.session.is_receiving() || !self.tail.is_empty();
        match step {
            Step::Wait if self.has_begun_large() => self.receive(token, tools),
            step => step,
        }
    }

    /// Keeps what the session has left of a read, and says what comes next.
    #[inline(always)]
    fn keep_rest(&mut self, total: usize, progress: Progress, tools: &mut Tools) -> Step {
        let input = &tools.read_buffer[..total];
        let is_kept = if progress.consumed == 0 {
            let kept = self.tail.len();
            self.tail.append(&input[kept..], &mut tools.pool)
        } else {
            self.tail.replace(&input[progress.consumed..], &mut tools.pool)
        };
        if !self.note_keeping(is_kept, tools) {
            return Step::Abort(CloseReason::Error);
        }
        let step = self.conclude(progress, tools);
        // A buffer full of anything else says that the guess was wrong.
        self.expects_large &= self.session.is_receiving() || total < LARGE_HEAD_BYTES;
        step
    }

    /// Lets the session work on so many bytes of the worker's buffer; without a number on the tail.
    #[inline(never)]
    fn process(&mut self, total: Option<usize>, token: usize, tools: &mut Tools) -> Progress {
        self.show_parsing(tools.now);
        let Lent { mut context, read, output, sampler } = tools.lend(token, self.stream.descriptor(), &self.peer);
        let input = total.map_or_else(|| self.tail.bytes(), |total| &read[..total]);
        sampler.process(&mut self.session, input, output, &mut context)
    }

    /// Lets the session work on the tail, or on nothing.
    #[inline(never)]
    fn process_tail(&mut self, token: usize, tools: &mut Tools) -> Step {
        let progress = self.process(None, token, tools);
        self.tail.consume(progress.consumed, &mut tools.pool);
        self.conclude(progress, tools)
    }

    #[inline(always)]
    fn conclude(&mut self, progress: Progress, tools: &Tools) -> Step {
        self.is_unfinished = false;
        self.needed = 0;
        // Only whole requests count, or a client that trickles bytes would never be idle.
        if progress.consumed > 0 {
            self.last_command = tools.now.seconds;
        }
        match progress.next {
            Next::Input { bytes: 0 } if self.tail.is_empty() && !self.is_ended && self.session.is_at_command() => {
                Step::Wait
            }
            next => self.conclude_otherwise(progress.consumed, next, tools),
        }
    }

    /// What becomes of a session that did not end with its input.
    #[inline(never)]
    fn conclude_otherwise(&mut self, consumed: usize, next: Next, tools: &Tools) -> Step {
        match next {
            Next::Input { bytes } => {
                if bytes > TAIL_BYTES_MAX || self.tail.len() > TAIL_BYTES_MAX {
                    return Step::Abort(CloseReason::Error);
                }
                self.needed = bytes;
                match self.session.has_work() {
                    true => Step::Again { may_defer: true },
                    false if self.is_ended => Step::Close(CloseReason::Normal),
                    false => Step::Wait,
                }
            }
            Next::Yield => {
                self.is_unfinished = true;
                if !self.tail.is_empty() {
                    tools.counters.conn_yields.add(1);
                }
                Step::Again { may_defer: consumed > 0 }
            }
            Next::Close(reason) => Step::Close(reason),
            Next::Abort(reason) => Step::Abort(reason),
        }
    }

    fn show_parsing(&mut self, now: Now) {
        self.entry.set_state(ConnectionState::ParseCommand);
        if self.last_command != now.seconds {
            self.entry.last_command.store(now.seconds, Ordering::Relaxed);
        }
    }

    fn show_state(&mut self) {
        let state = if self.session.is_watching() {
            ConnectionState::Watch
        } else if self.is_in_value() {
            ConnectionState::Nread
        } else {
            ConnectionState::Read
        };
        self.entry.set_state(state);
    }
}

/// Turns in a row whose replies may be sent together. With the default `-R 20` that is 160 requests.
const DEFERRALS_MAX: u8 = 8;
/// Replies beyond this are sent at the end of the turn.
const DEFERRED_BYTES_MAX: usize = 32 * 1024;

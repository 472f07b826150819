//! The binary protocol's conversation: packets in, replies out.
//!
//! ```text
//!            +--------------- value too large, no memory, unknown opcode ---------------+
//!            |                                                                          v
//!   Header --+-- whole packet: executed, answered                                    Swallow
//!     ^      +-- large value: buffer made --> Value -- last byte: stored, answered      |
//!     |                                         |                                       |
//!     +-----------------------------------------+------ last byte: answered ------------+
//! ```
//! With `-S` a connection that has not logged in ([`sasl`]) may ask for nothing but the login and the version.
//!
//! Framing that cannot be right is answered and ends the connection, as in memcached. Where memcached drops replies
//! that were still queued when the magic is wrong, they are sent here.

mod arithmetic;
mod retrieval;
mod sasl;
#[cfg(test)]
mod sasl_tests;
mod statistics;
mod storage;
#[cfg(test)]
mod testing;
#[cfg(test)]
mod tests;

use crate::base::key::KEY_BYTES_MAX;
use crate::base::sizes::{ITEM_BYTES_MAX, MEMCACHED_BUFFER_BYTES};
use crate::protocol::binary::header::{self, HEADER_BYTES, Header, Parsed};
use crate::protocol::binary::opcode::{Command, Opcode};
use crate::protocol::binary::reply::{Echo, Status, push_error, push_value};
use crate::stats::connections::ConnectionState;
use crate::store::BATCH_KEYS_MAX;

use super::login::failures::{self, Cause};
use super::output::{OUTPUT_BYTES_MAX, Output};
use super::service::Context;
use super::session::{CloseReason, Next, Progress};
use super::verbose;
use sasl::Sasl;
use storage::Receiving;

/// Where the conversation stands.
#[derive(Default, Debug)]
enum State {
    /// At the start of a packet.
    #[default]
    Header,
    /// In the value of a storage command that has its own buffer.
    Value(Box<Receiving>),
    /// In bytes nobody wants; the error is sent behind them.
    Swallow { bytes: usize, echo: Echo, status: Status },
    /// Behind a login whose password is being verified.
    Login,
}

/// The state of one binary connection.
#[derive(Default, Debug)]
pub struct BinaryState {
    state: State,
    /// With `-S`.
    sasl: Option<Box<Sasl>>,
}

/// What one step came to.
enum Outcome {
    /// A request is done.
    Answered,
    /// A request goes on in another state.
    Continued,
    /// So many bytes are needed, counted from the first unconsumed one.
    Waiting(usize),
    /// The turn ends.
    Stopped(Next),
}

/// A step and the bytes it used up.
struct Step {
    consumed: usize,
    outcome: Outcome,
}

/// A packet whose header, extras and key are there.
struct Packet<'a> {
    header: Header,
    opcode: &'static Opcode,
    extras: &'a [u8],
    key: &'a [u8],
    /// What follows the key: the value and later packets, as far as they have come.
    rest: &'a [u8],
    value_bytes: usize,
}

impl Packet<'_> {
    fn echo(&self) -> Echo {
        Echo::of(&self.header)
    }

    fn is_quiet(&self) -> bool {
        self.opcode.is_quiet
    }

    /// The extras' 32-bit number at `position`; 0 when there is none.
    fn extra_u32(&self, position: usize) -> u32 {
        let bytes = self.extras.get(position..).unwrap_or(&[]);
        bytes.first_chunk().map_or(0, |&bytes| u32::from_be_bytes(bytes))
    }

    /// The extras' 64-bit number at `position`; 0 when there is none.
    fn extra_u64(&self, position: usize) -> u64 {
        let bytes = self.extras.get(position..).unwrap_or(&[]);
        bytes.first_chunk().map_or(0, |&bytes| u64::from_be_bytes(bytes))
    }
}

impl BinaryState {
    /// At the start of a connection that has to log in first, or not.
    pub fn new(needs_login: bool) -> Self {
        Self { state: State::Header, sasl: needs_login.then(Box::default) }
    }

    /// Parses and executes requests at the start of `input`; see [`super::session::Session::process`].
    pub fn process(&mut self, input: &[u8], output: &mut Output, context: &mut Context<'_>) -> Progress {
        let mut consumed = 0;
        let mut requests_left = context.service.config.requests_per_event.max(1);
        let is_shown = verbose::is_on();
        loop {
            let rest = input.get(consumed..).unwrap_or(&[]);
            let step = match is_shown {
                true => self.step_shown(rest, output, context),
                false => self.step(rest, output, context),
            };
            consumed += step.consumed;
            match step.outcome {
                Outcome::Continued => {}
                Outcome::Waiting(bytes) => return Progress { consumed, next: Next::Input { bytes } },
                Outcome::Stopped(next) => return Progress { consumed, next },
                Outcome::Answered => {
                    requests_left = requests_left.saturating_sub(1);
                    let is_used_up = requests_left == 0 || output.pending() >= OUTPUT_BYTES_MAX;
                    if is_used_up && consumed < input.len() {
                        return Progress { consumed, next: Next::Yield };
                    }
                }
            }
        }
    }

    #[inline]
    fn step(&mut self, rest: &[u8], output: &mut Output, context: &mut Context<'_>) -> Step {
        match self.state {
            State::Header => self.begin(rest, output, context),
            State::Value(_) => self.receive(rest, output, context),
            State::Swallow { .. } => self.swallow(rest, output),
            State::Login => self.await_login(output, context),
        }
    }

    /// A step with what it answers (`-vv`).
    #[cold]
    fn step_shown(&mut self, rest: &[u8], output: &mut Output, context: &mut Context<'_>) -> Step {
        let start = output.bytes().len();
        let step = self.step(rest, output, context);
        if let Some(replies) = output.bytes().get(start..) {
            verbose::packets(context.descriptor, replies);
        }
        step
    }

    /// Where the next bytes from the socket belong, while a large value is being received.
    pub fn receive_space(&mut self) -> Option<&mut [u8]> {
        match &mut self.state {
            State::Value(receiving) if receiving.buffer.missing() > 0 => Some(receiving.buffer.space()),
            _ => None,
        }
    }

    /// Whether [`BinaryState::receive_space`] has some.
    pub fn is_receiving(&self) -> bool {
        matches!(&self.state, State::Value(receiving) if receiving.buffer.missing() > 0)
    }

    /// Says that `count` bytes were read into [`BinaryState::receive_space`].
    pub fn received(&mut self, count: usize) {
        if let State::Value(receiving) = &mut self.state {
            receiving.buffer.advance(count);
        }
    }

    /// Whether there is something to do without new input: a large value is complete.
    pub fn has_work(&self) -> bool {
        matches!(&self.state, State::Value(receiving) if receiving.buffer.missing() == 0)
    }

    /// Whether a password is being verified: the connection will be woken.
    pub fn is_waiting(&self) -> bool {
        matches!(self.state, State::Login)
    }

    /// Whether a packet begins with the next byte.
    pub fn is_at_request(&self) -> bool {
        matches!(self.state, State::Header)
    }

    /// What `stats conns` shows.
    pub fn state(&self) -> ConnectionState {
        match self.state {
            State::Header | State::Login => ConnectionState::Read,
            State::Value(_) => ConnectionState::Nread,
            State::Swallow { .. } => ConnectionState::Swallow,
        }
    }

    /// Begins a packet: checks its framing in memcached's order, then executes it.
    fn begin(&mut self, input: &[u8], output: &mut Output, context: &mut Context<'_>) -> Step {
        let header = match Header::parse(input) {
            Parsed::Partial => return Step::wait(HEADER_BYTES),
            Parsed::BadMagic => return Step::stop(0, Next::Close(CloseReason::Error)),
            Parsed::Header(header) => header,
        };
        let prefix_bytes = header.prefix_bytes();
        let Some((prefix, rest)) = input.split_at_checked(prefix_bytes) else {
            if prefix_bytes <= MEMCACHED_BUFFER_BYTES {
                return Step::wait(prefix_bytes);
            }
            // memcached sees this when its buffer is full.
            return if input.len() < MEMCACHED_BUFFER_BYTES {
                Step::wait(MEMCACHED_BUFFER_BYTES)
            } else {
                Step::stop(0, Next::Close(CloseReason::Error))
            };
        };
        if prefix_bytes > MEMCACHED_BUFFER_BYTES {
            return Step::stop(0, Next::Close(CloseReason::Error));
        }
        if !output.begin_reply() {
            context.counters().response_obj_oom.add(1);
            return Step::stop(0, Next::Abort(CloseReason::Error));
        }
        if verbose::is_on() {
            verbose::packet(context.descriptor, input);
        }
        let echo = Echo::of(&header);
        let Some(value_bytes) = header.value_bytes() else {
            return Step::break_off(prefix_bytes, echo, Status::UnknownCommand, output);
        };
        if header.body_bytes > ITEM_BYTES_MAX {
            return Step::break_off(prefix_bytes, echo, Status::InvalidArguments, output);
        }
        if !self.is_allowed(header.opcode) {
            failures::note(Cause::Command, context);
            return Step::break_off(prefix_bytes, echo, Status::AuthFailure, output);
        }
        if header.key_bytes > KEY_BYTES_MAX {
            return Step::break_off(prefix_bytes, echo, Status::InvalidArguments, output);
        }
        let Some(opcode) = Opcode::find(header.opcode) else {
            // All of the body is skipped although extras and key are read already: a client that sends those to an
            // unknown opcode loses the requests behind it. memcached does so.
            return self.swallow_first(prefix_bytes, header.body_bytes, echo, Status::UnknownCommand, output);
        };
        if !rest.is_empty() && context.scratch.lookahead.is_used_up() {
            let store = &context.service.store;
            context.scratch.lookahead.look(header::keys(input).take(BATCH_KEYS_MAX), store);
        }
        if !opcode.accepts(&header, value_bytes) {
            return Step::break_off(prefix_bytes, echo, Status::InvalidArguments, output);
        }
        let body = prefix.get(HEADER_BYTES..).unwrap_or(&[]);
        let (extras, key) = body.split_at_checked(header.extras_bytes).unwrap_or((body, &[]));
        let packet = Packet { header, opcode, extras, key, rest, value_bytes };
        if verbose::is_on() {
            verbose::operation(context.descriptor, opcode.command, key, value_bytes);
        }
        self.execute(&packet, output, context)
    }

    fn execute(&mut self, packet: &Packet<'_>, output: &mut Output, context: &mut Context<'_>) -> Step {
        let prefix_bytes = packet.header.prefix_bytes();
        match packet.opcode.command {
            Command::Get
            | Command::GetWithKey
            | Command::Touch
            | Command::GetAndTouch
            | Command::GetAndTouchWithKey => {
                retrieval::get(packet, output, context);
            }
            Command::Set | Command::Add | Command::Replace | Command::Append | Command::Prepend => {
                return self.store(packet, output, context);
            }
            Command::Delete => delete(packet, output, context),
            Command::Increment | Command::Decrement => {
                arithmetic::change(packet, output, context);
            }
            Command::Flush => flush(packet, output, context),
            Command::Noop => {
                answer(packet, 0, output);
                return Step::stop(prefix_bytes, Next::Yield);
            }
            Command::Version => {
                let version = context.service.config.version.as_bytes();
                push_value(packet.echo(), version, 0, output.bytes());
            }
            Command::Stat => statistics::show(packet, output, context),
            Command::Quit => {
                answer(packet, 0, output);
                return Step::stop(prefix_bytes, Next::Close(CloseReason::Normal));
            }
            Command::SaslList | Command::SaslStart | Command::SaslStep => {
                return self.log_in(packet, output, context);
            }
        }
        Step::answered(prefix_bytes)
    }

    /// Skips `bytes` before the error is sent.
    fn swallow_first(
        &mut self,
        consumed: usize,
        bytes: usize,
        echo: Echo,
        status: Status,
        output: &mut Output,
    ) -> Step {
        if bytes == 0 {
            push_error(echo, status, output.bytes());
            return Step::answered(consumed);
        }
        self.state = State::Swallow { bytes, echo, status };
        Step { consumed, outcome: Outcome::Continued }
    }

    fn swallow(&mut self, input: &[u8], output: &mut Output) -> Step {
        let State::Swallow { bytes, echo, status } = &mut self.state else {
            return Step::wait(0);
        };
        let consumed = input.len().min(*bytes);
        *bytes -= consumed;
        if *bytes > 0 {
            return Step { consumed, outcome: Outcome::Waiting(0) };
        }
        push_error(*echo, *status, output.bytes());
        self.state = State::Header;
        Step::answered(consumed)
    }
}

impl Step {
    fn answered(consumed: usize) -> Self {
        Self { consumed, outcome: Outcome::Answered }
    }

    fn wait(bytes: usize) -> Self {
        Self { consumed: 0, outcome: Outcome::Waiting(bytes) }
    }

    fn stop(consumed: usize, next: Next) -> Self {
        Self { consumed, outcome: Outcome::Stopped(next) }
    }

    /// Answers an error after which the connection makes no sense.
    fn break_off(consumed: usize, echo: Echo, status: Status, output: &mut Output) -> Self {
        push_error(echo, status, output.bytes());
        Self::stop(consumed, Next::Close(CloseReason::Error))
    }
}

/// Answers success with an empty body, unless the request is quiet.
fn answer(packet: &Packet<'_>, cas: u64, output: &mut Output) {
    if !packet.is_quiet() {
        push_value(packet.echo(), b"", cas, output.bytes());
    }
}

fn delete(packet: &Packet<'_>, output: &mut Output, context: &mut Context<'_>) {
    let service = context.service;
    let (key, compare) = (packet.key, packet.header.cas);
    service.prefixes.record_delete(key);
    let status = context.visit(key, |entry| {
        let Some((cas, class_id)) = entry.item().map(|item| (item.cas(), item.class())) else {
            entry.counters().delete_misses += 1;
            return Status::NotFound;
        };
        if compare != 0 && compare != cas {
            return Status::Exists;
        }
        entry.class_counters(class_id).delete_hits += 1;
        entry.remove();
        Status::Success
    });
    match status {
        Status::Success => answer(packet, 0, output),
        _ => push_error(packet.echo(), status, output.bytes()),
    }
}

fn flush(packet: &Packet<'_>, output: &mut Output, context: &mut Context<'_>) {
    let service = context.service;
    if !service.config.is_flush_enabled {
        push_error(packet.echo(), Status::AuthFailure, output.bytes());
        return;
    }
    context.flush(i64::from(packet.extra_u32(0)));
    context.counters().cmd_flush.add(1);
    answer(packet, 0, output);
}

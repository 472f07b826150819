//! One connection's conversation: bytes in, replies out, and what is left unfinished in between.
//!
//! ```text
//! Fresh -> Login -> Command            -Y
//! Fresh -> Binary                      first byte 0x80, or the listener or -S say so
//! Fresh -> Command <-> Swallow         a refused data block
//!          Command <-> Large           a large value on its way in
//!          Command <-> Keys            a multiget longer than a turn
//!          Command <-> Dump
//!          Command  -> Watch           for good
//!          any      -> Closed
//! ```
//! A line whose data fits into a partition needs no state: it stays in the input until its data is there, too.

use std::borrow::Cow;

use crate::base::time::Now;
use crate::protocol::binary::header::REQUEST_MAGIC;
use crate::protocol::text::line::{self, Found};
use crate::protocol::text::meta;
use crate::stats::connections::ConnectionState;
use crate::store::BATCH_KEYS_MAX;

use super::binary::BinaryState;
use super::dump::Dump;
use super::login::{Login, Method};
use super::observe::Framing;
use super::output::{Mark, OUTPUT_BYTES_MAX, Output};
use super::retrieval::{self, Answered, Looked, Lookup, One};
use super::service::{Context, ProtocolChoice, Service};
use super::sets;
use super::storage::LargeStore;
use super::text::{self, Line, Step};
use super::verbose;
use super::watch::Watching;

/// Steps of a dump in one turn.
const DUMP_STEPS_PER_TURN_MAX: usize = 8;

/// Why a session wants its connection closed; watchers see it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum CloseReason {
    /// The client asked, or is gone.
    Normal,
    /// The client broke the protocol.
    Error,
}

/// What the session wants after [`Session::process`].
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Next {
    /// More input: nothing can be done until at least `bytes` are there (counted from the first unconsumed byte;
    /// 0 when unknown). The connection keeps the unconsumed rest.
    Input {
        /// Bytes needed.
        bytes: usize,
    },
    /// The turn's share of requests or reply bytes is used up, or the client waits for this reply (`mn`, noop): let
    /// others have a turn, then call again with the same rest even if nothing new arrived. Small replies may be kept
    /// for a few such turns and sent together; when the session finds nothing more to do they have to go out.
    Yield,
    /// Send what is queued, then close.
    Close(CloseReason),
    /// Close without sending what is queued.
    Abort(CloseReason),
}

/// Result of [`Session::process`].
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Progress {
    /// Bytes of the input that are done with: consumed <= input.len()
    pub consumed: usize,
    /// What the session wants next.
    pub next: Next,
}

/// The state of one connection's conversation.
pub struct Session {
    protocol: ProtocolChoice,
    phase: Phase,
    /// Bytes at the start of the unconsumed input that hold no line end.
    scanned: usize,
    /// Bytes of unconsumed input without which nothing can be done: a line with its data.
    wanted: usize,
}

// A tag of its own: every turn asks several times which phase it is.
#[repr(u8)]
enum Phase {
    /// Nothing has been received.
    Fresh,
    Login(Login),
    Binary(Box<BinaryState>),
    /// A text command is next.
    Command,
    /// Input is thrown away; then the reply is due.
    Swallow {
        bytes: usize,
        reply: Cow<'static, [u8]>,
    },
    Large(Box<LargeStore>),
    /// The next `left` bytes of input are the keys of a multiget; its line end follows.
    Keys {
        lookup: Lookup,
        left: usize,
    },
    Dump(Dump),
    Watch(Watching),
    /// Over, in this way.
    Closed(Next),
}

/// One call of [`Session::process`].
struct Turn<'a> {
    input: &'a [u8],
    /// consumed <= input.len()
    consumed: usize,
    /// Requests that may still be executed.
    requests_left: u32,
    /// Where the replies of this turn begin.
    mark: Mark,
}

impl<'a> Turn<'a> {
    fn rest(&self) -> &'a [u8] {
        self.input.get(self.consumed..).unwrap_or_default()
    }

    fn consume(&mut self, bytes: usize) {
        self.consumed = (self.consumed + bytes).min(self.input.len());
    }
}

/// More input, of unknown length.
const INPUT: Next = Next::Input { bytes: 0 };

impl Session {
    /// A new conversation; `protocol` is the listener's choice.
    pub fn new(protocol: ProtocolChoice) -> Self {
        Self { protocol, phase: Phase::Fresh, scanned: 0, wanted: 0 }
    }

    /// Parses and executes requests at the start of `input` until it runs out, the turn's share
    /// (`requests_per_event`, [`Output`] above its limit) is used up, or the connection is to be closed.
    /// Replies are appended to `output`. Never panics, whatever the input.
    #[inline(never)]
    pub fn process(&mut self, input: &[u8], output: &mut Output, context: &mut Context<'_>) -> Progress {
        if input.len() < self.wanted {
            return Progress { consumed: 0, next: Next::Input { bytes: self.wanted } };
        }
        self.wanted = 0;
        output.allow_replies(context.service.config.replies_per_turn_max());
        context.scratch.lookahead.clear();
        let mut turn = Turn {
            input,
            consumed: 0,
            requests_left: context.service.config.requests_per_event.max(1),
            mark: output.mark(),
        };
        loop {
            let next = match self.phase {
                Phase::Command => self.command(&mut turn, output, context),
                _ => self.advance_phase(&mut turn, output, context),
            };
            if let Some(next) = next {
                return Progress { consumed: turn.consumed, next };
            }
        }
    }

    /// [`Session::process`] for when a command is next and `input` is probably one whole request of the most frequent kinds:
    /// nothing is set up then for anything else. `output` is empty, so that any reply may begin, and not one that keeps where
    /// replies begin. [`Session::process_other`] has to go on with what is not answered.
    #[inline(always)]
    pub fn answer_one(&mut self, input: &[u8], output: &mut Output, service: &Service, now: Now) -> One {
        debug_assert!(self.is_at_command() && self.wanted == 0 && output.is_empty());
        if !output.has_room(&service.store) || verbose::is_on() {
            return One::Other;
        }
        // Nothing was kept of an earlier input, so no part of a line has been looked at.
        self.scanned = 0;
        if input.starts_with(b"get ") {
            retrieval::answer_one(input, output, service, now)
        } else if input.starts_with(b"set ") {
            sets::answer_one(input, output, service, now)
        } else {
            One::Other
        }
    }

    /// [`Session::process`] for what [`Session::answer_one`] has left.
    #[inline(never)]
    pub fn process_other(
        &mut self,
        one: One,
        input: &[u8],
        output: &mut Output,
        context: &mut Context<'_>,
    ) -> Progress {
        if one != One::NoMemory {
            return self.process(input, output, context);
        }
        sets::refuse_one(input, output, context);
        Progress { consumed: input.len(), next: INPUT }
    }

    /// Executes the command at the start of the rest; says what is wanted when that needs more than is there.
    #[inline(always)]
    fn command(&mut self, turn: &mut Turn<'_>, output: &mut Output, context: &mut Context<'_>) -> Option<Next> {
        let rest = turn.rest();
        let Some(first) = rest.first() else {
            return Some(INPUT);
        };
        if turn.requests_left == 0 || output.pending() >= OUTPUT_BYTES_MAX {
            return Some(Next::Yield);
        }
        if !output.has_room(&context.service.store) {
            return Some(without_room(output));
        }
        // What is known to have no line end is not looked at again.
        if self.scanned == 0 && !verbose::is_on() {
            // The two most frequent requests are recognised without looking for their line end first.
            let answered = match first {
                b'g' => retrieval::answer_gets(rest, turn.requests_left, output, context),
                b's' => sets::answer(rest, turn.requests_left, output, context),
                _ => Answered::default(),
            };
            if answered.requests > 0 {
                self.scanned = 0;
                turn.requests_left -= answered.requests;
                turn.consumed += answered.bytes;
                return None;
            }
        }
        self.line(turn, output, context)
    }

    /// Executes the line at the start of the rest, and the data behind it.
    #[inline(never)]
    fn line(&mut self, turn: &mut Turn<'_>, output: &mut Output, context: &mut Context<'_>) -> Option<Next> {
        let rest = turn.rest();
        let (text, bytes) = match line::find(rest, self.scanned) {
            Found::Line { text, bytes } => (text, bytes),
            Found::Partial => {
                self.scanned = rest.len();
                return Some(INPUT);
            }
            Found::TooLong => return self.close(Next::Abort(CloseReason::Error)),
        };
        if !output.begin_reply() {
            context.counters().response_obj_oom.add(1);
            return self.close(Next::Abort(CloseReason::Error));
        }
        let behind = rest.get(bytes..).unwrap_or_default();
        if text.first() == Some(&b'm') && behind.first() == Some(&b'm') && context.scratch.lookahead.is_used_up() {
            let requests = (turn.requests_left as usize).min(BATCH_KEYS_MAX);
            context.scratch.lookahead.look(meta::keys(rest).take(requests), &context.service.store);
        }
        let line = Line { text, bytes, behind, turn: turn.mark };
        let step = text::execute(&line, output, context);
        let line_end = bytes - text.len();
        self.scanned = 0;
        turn.requests_left -= 1;
        if let Step::Done { data_bytes } = step {
            turn.consume(bytes + data_bytes);
            return None;
        }
        self.follow(step, bytes, line_end, turn)
    }

    /// Takes up what a line has left to be done.
    fn follow(&mut self, step: Step, line_bytes: usize, line_end: usize, turn: &mut Turn<'_>) -> Option<Next> {
        let mut consumed = line_bytes;
        let mut next = None;
        match step {
            Step::Done { data_bytes } => consumed += data_bytes,
            Step::Flush => next = Some(Next::Yield),
            Step::NeedsData { data_bytes } => {
                self.wanted = line_bytes + data_bytes;
                return Some(Next::Input { bytes: self.wanted });
            }
            Step::Swallow { bytes, reply } => self.phase = Phase::Swallow { bytes, reply },
            Step::Large(large) => self.phase = Phase::Large(large),
            Step::Keys { lookup, left } => {
                consumed -= left + line_end;
                self.phase = Phase::Keys { lookup: Lookup { is_resumed: true, ..lookup }, left };
                next = Some(Next::Yield);
            }
            Step::Dump(dump) => self.phase = Phase::Dump(dump),
            Step::Watch(watching) => self.phase = Phase::Watch(watching),
            Step::Close(reason) => next = self.close(Next::Close(reason)),
            Step::Abort(reason) => next = self.close(Next::Abort(reason)),
        }
        turn.consume(consumed);
        next
    }

    fn close(&mut self, next: Next) -> Option<Next> {
        self.phase = Phase::Closed(next);
        Some(next)
    }

    /// All phases but [`Phase::Command`].
    #[inline(never)]
    fn advance_phase(&mut self, turn: &mut Turn<'_>, output: &mut Output, context: &mut Context<'_>) -> Option<Next> {
        match &mut self.phase {
            Phase::Command => None,
            Phase::Fresh => self.begin(turn, context),
            Phase::Login(login) => {
                let progress = login.process(turn.rest(), output, context);
                turn.consume(progress.consumed);
                if login.is_done() {
                    self.phase = Phase::Command;
                    return None;
                }
                Some(progress.next)
            }
            Phase::Binary(binary) => {
                let progress = binary.process(turn.rest(), output, context);
                turn.consume(progress.consumed);
                Some(progress.next)
            }
            Phase::Swallow { bytes, reply } => {
                let count = turn.rest().len().min(*bytes);
                turn.consume(count);
                *bytes -= count;
                if *bytes > 0 {
                    return Some(INPUT);
                }
                output.push(reply);
                self.phase = Phase::Command;
                None
            }
            Phase::Large(_) => self.advance_large(turn, output, context),
            Phase::Keys { .. } => self.advance_keys(turn, output, context),
            Phase::Dump(dump) => {
                for _ in 0..DUMP_STEPS_PER_TURN_MAX {
                    if dump.step(output, context) {
                        self.phase = Phase::Command;
                        return None;
                    }
                }
                Some(Next::Yield)
            }
            Phase::Watch(watching) => {
                turn.consume(turn.rest().len());
                watching.drain(output);
                Some(INPUT)
            }
            Phase::Closed(next) => Some(*next),
        }
    }

    /// Chooses the protocol.
    fn begin(&mut self, turn: &Turn<'_>, context: &Context<'_>) -> Option<Next> {
        let Some(&first) = turn.rest().first() else {
            return Some(INPUT);
        };
        let is_binary = match (context.service.logins.as_ref().map(|logins| &logins.method), self.protocol) {
            (Some(Method::Text), _) => {
                self.phase = Phase::Login(Login::new());
                return None;
            }
            (Some(Method::Sasl(_)), _) | (None, ProtocolChoice::Binary) => true,
            (None, ProtocolChoice::Negotiate) => first == REQUEST_MAGIC,
            (None, ProtocolChoice::Text) => false,
        };
        if verbose::is_on() {
            verbose::protocol(context.descriptor, if is_binary { "binary" } else { "ascii" });
        }
        self.phase = match is_binary {
            true => Phase::Binary(Box::new(BinaryState::new(context.service.logins.is_some()))),
            false => Phase::Command,
        };
        None
    }

    fn advance_large(&mut self, turn: &mut Turn<'_>, output: &mut Output, context: &mut Context<'_>) -> Option<Next> {
        let Phase::Large(large) = &mut self.phase else {
            return None;
        };
        turn.consume(large.fill(turn.rest()));
        if !large.is_complete() {
            return Some(INPUT);
        }
        if let Phase::Large(large) = std::mem::replace(&mut self.phase, Phase::Command) {
            large.finish(output, context);
        }
        None
    }

    fn advance_keys(&mut self, turn: &mut Turn<'_>, output: &mut Output, context: &mut Context<'_>) -> Option<Next> {
        let Phase::Keys { lookup, left } = &mut self.phase else {
            return None;
        };
        if output.pending() >= OUTPUT_BYTES_MAX {
            return Some(Next::Yield);
        }
        if !output.has_room(&context.service.store) {
            return Some(without_room(output));
        }
        let rest = turn.rest();
        let Some(keys) = rest.get(..*left) else {
            return Some(Next::Input { bytes: *left + 1 });
        };
        // The rest of a list that began within the limit of replies is bounded by the turn.
        output.allow_replies(None);
        let _ = output.begin_reply();
        match retrieval::look_up(*lookup, keys, output, context) {
            // The keys were checked when the list was interrupted, and replies are not counted here.
            Looked::Done | Looked::BadKey | Looked::NoReplies => {
                let line_end = match rest.get(keys.len()..) {
                    Some([b'\r', ..]) => 2,
                    _ => 1,
                };
                turn.consume(keys.len() + line_end);
                turn.requests_left -= 1;
                self.phase = Phase::Command;
                None
            }
            Looked::Paused { consumed } => {
                *left -= consumed;
                turn.consume(consumed);
                Some(Next::Yield)
            }
        }
    }

    /// Where the next bytes from the socket belong, while a large value is being received: read into it and call
    /// [`Session::received`]. `None` at all other times. Only to be used while no unconsumed input is kept.
    pub fn receive_space(&mut self) -> Option<&mut [u8]> {
        match &mut self.phase {
            Phase::Large(large) => large.space(),
            Phase::Binary(binary) => binary.receive_space(),
            _ => None,
        }
    }

    /// Whether a text command is next, as nearly always between two calls of [`Session::process`]: then it neither waits nor
    /// receives, and has no work.
    #[inline(always)]
    pub fn is_at_command(&self) -> bool {
        matches!(self.phase, Phase::Command)
    }

    /// Whether [`Session::receive_space`] has some.
    #[inline]
    pub fn is_receiving(&self) -> bool {
        match &self.phase {
            Phase::Large(large) => large.is_receiving(),
            Phase::Binary(binary) => binary.is_receiving(),
            _ => false,
        }
    }

    /// Says that `count` bytes were read into [`Session::receive_space`].
    pub fn received(&mut self, count: usize) {
        match &mut self.phase {
            Phase::Large(large) => large.advance(count),
            Phase::Binary(binary) => binary.received(count),
            _ => {}
        }
    }

    /// Whether the session waits for a password to be verified: it will be woken, and wants no input before.
    #[inline]
    pub fn is_waiting(&self) -> bool {
        match &self.phase {
            Phase::Login(login) => login.is_waiting(),
            Phase::Binary(binary) => binary.is_waiting(),
            _ => false,
        }
    }

    /// How the requests at the start of `input` are framed; `None` while the input is none, or a login.
    pub fn framing(&self, input: &[u8], service: &Service) -> Option<Framing> {
        match &self.phase {
            Phase::Command => Some(Framing::Text),
            Phase::Binary(binary) => binary.is_at_request().then_some(Framing::Binary),
            Phase::Fresh if service.logins.is_some() => None,
            Phase::Fresh => match self.protocol {
                ProtocolChoice::Binary => Some(Framing::Binary),
                ProtocolChoice::Negotiate if input.first() == Some(&REQUEST_MAGIC) => Some(Framing::Binary),
                ProtocolChoice::Negotiate | ProtocolChoice::Text => Some(Framing::Text),
            },
            _ => None,
        }
    }

    /// Whether the connection watches events: it is shown as such and never closed for being idle.
    pub fn is_watching(&self) -> bool {
        matches!(self.phase, Phase::Watch(_))
    }

    /// Whether the session has something to do without new input (a dump in progress, events for a watcher, a long
    /// multiget): call [`Session::process`] again once `output` has room.
    pub fn has_work(&self) -> bool {
        match &self.phase {
            Phase::Dump(_) | Phase::Keys { .. } => true,
            Phase::Watch(watching) => watching.has_events(),
            Phase::Binary(binary) => binary.has_work(),
            _ => false,
        }
    }

    /// What `stats conns` shows of the conversation between two calls of [`Session::process`].
    pub fn state(&self) -> ConnectionState {
        match &self.phase {
            Phase::Command if self.wanted > 0 => ConnectionState::Nread,
            Phase::Fresh | Phase::Login(_) | Phase::Command => ConnectionState::Read,
            Phase::Swallow { .. } => ConnectionState::Swallow,
            Phase::Large(_) => ConnectionState::Nread,
            Phase::Keys { .. } => ConnectionState::Mwrite,
            // As in memcached, which lends a dump's connection to its logger.
            Phase::Dump(_) | Phase::Watch(_) => ConnectionState::Watch,
            Phase::Binary(binary) => binary.state(),
            Phase::Closed(_) => ConnectionState::Closing,
        }
    }
}

/// What to do without memory for replies: send what there is, which frees some.
#[cold]
fn without_room(output: &Output) -> Next {
    if output.is_empty() || output.is_torn() { Next::Abort(CloseReason::Error) } else { Next::Yield }
}

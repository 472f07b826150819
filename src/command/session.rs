//! One connection's conversation: bytes in, replies out, and what is left unfinished in between.

use super::output::Output;
use super::service::{Context, ProtocolChoice};

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
    /// The turn's share of requests or reply bytes is used up, or a reply must go out now (`mn`, noop): send, let
    /// others have a turn, then call again with the same rest even if nothing new arrived.
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
    descriptor: i32,
}

impl Session {
    /// A new conversation. `descriptor` is the socket's number, which watchers see as `cfd`; `protocol` is the
    /// listener's choice.
    pub fn new(protocol: ProtocolChoice, descriptor: i32) -> Self {
        Self {
            protocol,
            descriptor,
        }
    }

    /// Parses and executes requests at the start of `input` until it runs out, the turn's share
    /// (`requests_per_event`, [`Output`] above its limit) is used up, or the connection is to be closed.
    /// Replies are appended to `output`. Never panics, whatever the input.
    pub fn process(
        &mut self,
        input: &[u8],
        output: &mut Output,
        context: &mut Context<'_>,
    ) -> Progress {
        let _ = (self.protocol, self.descriptor, input, output, context);
        Progress {
            consumed: 0,
            next: Next::Input { bytes: 0 },
        }
    }

    /// Where the next bytes from the socket belong, while a large value is being received: read into it and call
    /// [`Session::received`]. `None` at all other times. Only to be used while no unconsumed input is kept.
    pub fn receive_space(&mut self) -> Option<&mut [u8]> {
        None
    }

    /// Says that `count` bytes were read into [`Session::receive_space`].
    pub fn received(&mut self, count: usize) {
        let _ = count;
    }

    /// Whether the connection watches events: it is shown as such and never closed for being idle.
    pub fn is_watching(&self) -> bool {
        false
    }

    /// Whether the session has something to do without new input (a dump in progress, events for a watcher, a long
    /// multiget): call [`Session::process`] again once `output` has room.
    pub fn has_work(&self) -> bool {
        false
    }
}

//! A service without sockets, and a connection to it, for tests of conversations.

use crate::base::sync::Arc;
use crate::base::time::Now;
use crate::store;

use super::output::Output;
use super::service::{Context, ProtocolChoice, Scratch, Service, Wake};
use super::session::{Next, Session};

/// The time of all tests.
pub const NOW: Now = Now { seconds: 100, epoch: 1_700_000_000 };

/// A service with memcached's defaults.
pub fn service() -> Service {
    service_with(store::Config::default())
}

/// A service with memcached's defaults and a store of its own.
pub fn service_with(store_config: store::Config) -> Service {
    Service::in_process(store_config)
}

/// A connection that keeps unconsumed input as the network layer does.
pub struct Client<'a> {
    service: &'a Service,
    pub session: Session,
    pub output: Output,
    tail: Vec<u8>,
    /// Everything sent so far.
    pub sent: Vec<u8>,
    pub now: Now,
}

impl<'a> Client<'a> {
    pub fn new(service: &'a Service) -> Self {
        Self {
            service,
            session: Session::new(ProtocolChoice::Negotiate),
            output: Output::new(),
            tail: Vec::new(),
            sent: Vec::new(),
            now: NOW,
        }
    }

    /// Hands `bytes` in and lets the session work until it wants more input or ends. Values go through
    /// [`Session::receive_space`] when the session offers it.
    pub fn feed(&mut self, bytes: &[u8]) -> Next {
        let mut bytes = bytes;
        if self.tail.is_empty()
            && let Some(space) = self.session.receive_space()
        {
            let count = space.len().min(bytes.len());
            space[..count].copy_from_slice(&bytes[..count]);
            self.session.received(count);
            bytes = &bytes[count..];
        }
        self.tail.extend_from_slice(bytes);
        loop {
            match self.turn() {
                Next::Input { .. } if self.session.has_work() => {}
                Next::Yield => {}
                next => return next,
            }
        }
    }

    /// Hands `bytes` in and lets the session work once.
    pub fn feed_once(&mut self, bytes: &[u8]) -> Next {
        self.tail.extend_from_slice(bytes);
        self.turn()
    }

    /// One call of the session; sends what is queued.
    pub fn turn(&mut self) -> Next {
        let (service, now) = (self.service, self.now);
        let progress =
            with_context(service, now, |context| self.session.process(&self.tail, &mut self.output, context));
        assert!(progress.consumed <= self.tail.len());
        self.tail.drain(..progress.consumed);
        match progress.next {
            Next::Abort(_) => self.output.clear(),
            _ => self.send(),
        }
        progress.next
    }

    /// Lets `act` do a part of what a turn does; sends nothing.
    pub fn visit<R>(&mut self, act: impl FnOnce(&mut Output, &mut Context<'_>) -> R) -> R {
        with_context(self.service, self.now, |context| act(&mut self.output, context))
    }

    fn send(&mut self) {
        while !self.output.is_empty() {
            let mut slices = [std::io::IoSlice::new(&[]); 4];
            let count = self.output.slices(&mut slices, usize::MAX);
            let mut sent = 0;
            for slice in &slices[..count] {
                self.sent.extend_from_slice(slice);
                sent += slice.len();
            }
            self.output.advance(sent);
        }
    }
}

fn with_context<R>(service: &Service, now: Now, act: impl FnOnce(&mut Context<'_>) -> R) -> R {
    let mut scratch = Scratch::default();
    let target: Arc<dyn Fn(usize) + Send + Sync> = Arc::new(|_| {});
    act(&mut Context {
        service,
        worker: 0,
        now,
        wake: Wake { target: &target, token: 0 },
        descriptor: 7,
        peer: &"10.0.0.1:4000",
        scratch: &mut scratch,
    })
}

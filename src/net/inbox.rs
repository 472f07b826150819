//! How other threads speak to a worker: a queue, and at most one eventfd write until the worker has looked.
//!
//! Writers: the acceptor (connections), any thread (wakes, stop). Reader: the worker. Lengths are bounded: one entry
//! per connection taken and not yet adopted, one wake per connection however often it is woken.

use std::io;

use crossbeam::queue::SegQueue;
use mio::Waker;

use crate::base::sync::{Arc, AtomicBool, Mutex, Ordering};
use crate::command::service::ProtocolChoice;
use crate::stats::connections::ConnectionEntry;

use super::address::Peer;
use super::stream::Stream;

/// A connection on its way from the acceptor to a worker.
#[derive(Debug)]
pub struct NewConnection {
    /// The socket.
    pub stream: Stream,
    /// The client, for watchers.
    pub peer: Peer,
    /// The listener's protocol.
    pub protocol: ProtocolChoice,
    /// Its line in the table of connections.
    pub entry: Arc<ConnectionEntry>,
}

/// A worker's inbox.
#[derive(Debug)]
pub struct Inbox {
    connections: SegQueue<NewConnection>,
    /// Tokens of woken connections, each once.
    wakes: Mutex<Vec<usize>>,
    is_stopping: AtomicBool,
    /// Whether somebody waits for the worker's loop to turn.
    is_turn_awaited: AtomicBool,
    /// Whether the waker was written since the worker last looked.
    is_signalled: AtomicBool,
    waker: Waker,
}

impl Inbox {
    /// An inbox that signals through `waker`.
    pub fn new(waker: Waker) -> Self {
        Self {
            connections: SegQueue::new(),
            wakes: Mutex::new(Vec::new()),
            is_stopping: AtomicBool::new(false),
            is_turn_awaited: AtomicBool::new(false),
            is_signalled: AtomicBool::new(false),
            waker,
        }
    }

    /// Queues a connection; [`Inbox::signal`] once after a batch.
    pub fn push(&self, connection: NewConnection) {
        self.connections.push(connection);
    }

    /// Wakes the worker unless that has been done since it last looked.
    pub fn signal(&self) {
        if !self.is_signalled.swap(true, Ordering::SeqCst) {
            let written: io::Result<()> = self.waker.wake();
            if let Err(error) = written {
                log::error!("cannot wake a worker: {error}");
            }
        }
    }

    /// Wakes one connection.
    pub fn wake(&self, token: usize) {
        {
            let mut wakes = self.wakes.lock();
            if wakes.contains(&token) {
                return;
            }
            wakes.push(token);
        }
        self.signal();
    }

    /// Tells the worker to finish.
    pub fn stop(&self) {
        self.is_stopping.store(true, Ordering::SeqCst);
        self.signal();
    }

    /// Whether it was told to.
    pub fn is_stopping(&self) -> bool {
        self.is_stopping.load(Ordering::SeqCst)
    }

    /// Asks the worker for a turn of its loop; [`Inbox::has_turned`] tells when there was one.
    pub fn await_turn(&self) {
        self.is_turn_awaited.store(true, Ordering::SeqCst);
        self.signal();
    }

    /// Whether the loop has turned since it was asked to.
    pub fn has_turned(&self) -> bool {
        !self.is_turn_awaited.load(Ordering::SeqCst)
    }

    /// The worker looks: what is queued after this is signalled again.
    pub fn look(&self) {
        self.is_signalled.store(false, Ordering::SeqCst);
        self.is_turn_awaited.store(false, Ordering::SeqCst);
    }

    /// The next connection.
    pub fn connection(&self) -> Option<NewConnection> {
        self.connections.pop()
    }

    /// Moves the woken tokens to `tokens`.
    pub fn woken(&self, tokens: &mut Vec<usize>) {
        tokens.append(&mut self.wakes.lock());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use mio::{Events, Poll, Token};
    use std::time::Duration;

    #[test]
    fn wakes_are_kept_once_and_signalled_once() {
        let mut poll = Poll::new().expect("a poll");
        let waker = Waker::new(poll.registry(), Token(7)).expect("a waker");
        let inbox = Inbox::new(waker);
        let mut is_signalled = || {
            let mut events = Events::with_capacity(4);
            poll.poll(&mut events, Some(Duration::ZERO)).expect("polled");
            !events.is_empty()
        };
        inbox.wake(3);
        inbox.wake(3);
        inbox.wake(4);
        assert!(is_signalled());
        inbox.wake(5);
        assert!(!is_signalled());
        inbox.look();
        let mut tokens = Vec::new();
        inbox.woken(&mut tokens);
        assert_eq!(tokens, [3, 4, 5]);
        inbox.stop();
        assert!(is_signalled() && inbox.is_stopping());
    }

    #[test]
    fn a_turn_is_shown_by_the_worker_alone() {
        let poll = Poll::new().expect("a poll");
        let inbox = Inbox::new(Waker::new(poll.registry(), Token(7)).expect("a waker"));
        assert!(inbox.has_turned());
        inbox.await_turn();
        inbox.wake(3);
        assert!(!inbox.has_turned());
        inbox.look();
        assert!(inbox.has_turned());
    }
}

//! How other threads speak to a worker: a queue, and at most one eventfd write until the worker has looked.
//!
//! Writers: the acceptor (connections), any thread (wakes, stop). Reader: the worker. Lengths are bounded: one entry
//! per connection taken and not yet adopted, one wake per connection however often it is woken.

use std::io;

use crate::base::sync::{Arc, AtomicBool, Mutex, Ordering, SegQueue, Waker};
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

    /// Asks the worker for a turn of its loop; [`Inbox::has_turned`] tells when there was one.
    pub fn await_turn(&self) {
        self.is_turn_awaited.store(true, Ordering::SeqCst);
        self.signal();
    }

    /// Whether the loop has turned since it was asked to.
    pub fn has_turned(&self) -> bool {
        !self.is_turn_awaited.load(Ordering::SeqCst)
    }

    /// The worker looks: what is queued after this is signalled again. Returns whether it was told to finish; then all
    /// that was queued before can be had now, so this comes before [`Inbox::connection`] and [`Inbox::woken`].
    pub fn look(&self) -> bool {
        // A swap, not a store: it reads what the last signal wrote, and so whatever was queued before that is seen.
        self.is_signalled.swap(false, Ordering::SeqCst);
        self.is_turn_awaited.store(false, Ordering::SeqCst);
        self.is_stopping.load(Ordering::SeqCst)
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
        assert!(!inbox.look());
        let mut tokens = Vec::new();
        inbox.woken(&mut tokens);
        assert_eq!(tokens, [3, 4, 5]);
        inbox.stop();
        assert!(is_signalled() && inbox.look());
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

/// What a worker is told by others, in every order.
#[cfg(all(test, feature = "loom"))]
mod models {
    use super::*;
    use crate::base::sync::model::{Poll, check, thread};
    use crate::stats::connections::ConnectionState;

    /// What a worker has got, and how it gets it: as in `Worker::read_inbox`.
    struct Reader {
        inbox: Arc<Inbox>,
        poll: Poll,
        descriptors: Vec<i32>,
        tokens: Vec<usize>,
    }

    impl Reader {
        fn read(&mut self) -> bool {
            let is_stopping = self.inbox.look();
            while let Some(new) = self.inbox.connection() {
                self.descriptors.push(new.entry.descriptor);
            }
            self.inbox.woken(&mut self.tokens);
            is_stopping
        }

        /// One round after the waker's event.
        fn turn(&mut self) -> bool {
            self.poll.wait();
            self.read()
        }
    }

    fn reader() -> Reader {
        let (waker, poll) = Waker::with_poll();
        Reader { inbox: Arc::new(Inbox::new(waker)), poll, descriptors: Vec::new(), tokens: Vec::new() }
    }

    fn connection(descriptor: i32) -> NewConnection {
        let (stream, _) = mio::net::UnixStream::pair().expect("sockets");
        let entry = ConnectionEntry::new(descriptor, "".into(), "".into(), ConnectionState::Read, 1);
        let protocol = ProtocolChoice::Text;
        NewConnection { stream: Stream::Unix(stream), peer: Peer::Local, protocol, entry: Arc::new(entry) }
    }

    fn on_thread(inbox: &Arc<Inbox>, act: impl FnOnce(&Inbox) + 'static) -> thread::JoinHandle<()> {
        let inbox = Arc::clone(inbox);
        thread::spawn(move || act(&inbox))
    }

    #[test]
    fn every_connection_and_wake_arrives() {
        check(|| {
            let mut reader = reader();
            let acceptor = on_thread(&reader.inbox, |inbox| {
                inbox.push(connection(1));
                inbox.signal();
                inbox.push(connection(2));
                inbox.signal();
            });
            let other = on_thread(&reader.inbox, |inbox| inbox.wake(7));
            while reader.descriptors.len() < 2 || reader.tokens.is_empty() {
                reader.turn();
            }
            acceptor.join().expect("no panic");
            other.join().expect("no panic");
            assert_eq!((&reader.descriptors[..], &reader.tokens[..]), (&[1, 2][..], &[7][..]));
        });
    }

    #[test]
    fn a_wake_after_the_worker_has_looked_is_another() {
        check(|| {
            let mut reader = reader();
            let others = [1, 2].map(|_| on_thread(&reader.inbox, |inbox| inbox.wake(7)));
            reader.turn();
            assert_eq!(reader.tokens, [7]);
            others.into_iter().for_each(|other| other.join().expect("no panic"));
            if reader.poll.is_woken() {
                reader.read();
            }
            assert!(reader.tokens.len() <= 2);
            // Nothing is left behind that nobody was woken for.
            let before = reader.tokens.len();
            reader.read();
            assert_eq!(reader.tokens.len(), before);
        });
    }

    /// A server that stopped while a connection came closed it without an answer: the worker took the connections, was
    /// told of the stop, looked once more before it was woken for the connection that had come in between, and ended.
    #[test]
    fn what_came_before_the_stop_is_seen_with_it() {
        check(|| {
            let mut reader = reader();
            let acceptor = on_thread(&reader.inbox, |inbox| {
                inbox.push(connection(1));
                inbox.signal();
                inbox.push(connection(2));
                inbox.wake(7);
                inbox.stop();
            });
            while !reader.turn() {}
            assert_eq!((&reader.descriptors[..], &reader.tokens[..]), (&[1, 2][..], &[7][..]));
            acceptor.join().expect("no panic");
        });
    }

    #[test]
    fn who_awaits_a_turn_sees_one_and_no_turn_is_invented() {
        check(|| {
            let mut reader = reader();
            reader.inbox.await_turn();
            assert!(!reader.inbox.has_turned());
            let supervisor = on_thread(&reader.inbox, |inbox| {
                while !inbox.has_turned() {
                    thread::yield_now();
                }
                inbox.await_turn();
            });
            reader.turn();
            reader.turn();
            supervisor.join().expect("no panic");
            assert!(reader.inbox.has_turned());
        });
    }
}

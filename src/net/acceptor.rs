//! The thread that accepts connections and hands them to the workers, round robin.
//!
//! As in memcached the limit on connections goes by descriptor number. With `maxconns_fast` a connection whose number
//! reaches it is told so and closed; otherwise it is served and accepting stops until another one closes. mio is
//! edge-triggered: a listener that was left before `EAGAIN` is not reported again, so it stays on the `pending` list,
//! and while accepting is stopped the thread tries again every 10 ms.

use std::io;
use std::time::{Duration, Instant};

use mio::{Events, Poll, Token};
use rustix::io::Errno;

use crate::base::sync::{Arc, AtomicBool, Ordering, Waker};
use crate::command::Service;
use crate::command::service::ProtocolChoice;
use crate::stats::connections::{ConnectionEntry, ConnectionState};

use super::address::Peer;
use super::inbox::{Inbox, NewConnection};
use super::listener::Listener;
use super::stream::Stream;

/// Tells the acceptor to stop, from any thread, or to show that it runs.
#[derive(Debug)]
pub struct Stopper {
    is_stopping: AtomicBool,
    /// Whether somebody waits for the loop to turn.
    is_turn_awaited: AtomicBool,
    waker: Waker,
}

impl Stopper {
    /// Ends the acceptor's loop, which then stops the workers; the listeners are closed.
    pub fn stop(&self) {
        self.is_stopping.store(true, Ordering::SeqCst);
        if let Err(error) = self.waker.wake() {
            log::error!("cannot stop accepting: {error}");
        }
    }

    /// Asks for a turn of the loop; [`Stopper::has_turned`] tells when there was one.
    pub fn await_turn(&self) {
        self.is_turn_awaited.store(true, Ordering::SeqCst);
        if let Err(error) = self.waker.wake() {
            log::error!("cannot wake the acceptor: {error}");
        }
    }

    /// Whether the loop has turned since it was asked to.
    pub fn has_turned(&self) -> bool {
        !self.is_turn_awaited.load(Ordering::SeqCst)
    }
}

/// The acceptor before its thread runs.
pub struct Acceptor {
    service: Arc<Service>,
    poll: Poll,
    stopper: Arc<Stopper>,
    listeners: Vec<Listening>,
    inboxes: Vec<Arc<Inbox>>,
    /// The worker that got the last connection.
    last_worker: usize,
    /// Workers that got connections since they were last signalled.
    is_owed_signal: Vec<bool>,
    stopped: Option<Stopped>,
}

struct Listening {
    listener: Listener,
    entry: Arc<ConnectionEntry>,
    /// Connections may wait.
    is_pending: bool,
}

/// While no connections are accepted.
struct Stopped {
    since: Instant,
    /// Accepting goes on when fewer connections than these are open; `None` when the system refused.
    connections: Option<usize>,
}

impl Acceptor {
    /// An acceptor for `listeners` that hands connections to the workers behind `inboxes`.
    pub fn new(service: Arc<Service>, listeners: Vec<Listener>, inboxes: Vec<Arc<Inbox>>) -> io::Result<Self> {
        let poll = Poll::new()?;
        let stopper = Arc::new(Stopper {
            is_stopping: AtomicBool::new(false),
            is_turn_awaited: AtomicBool::new(false),
            waker: Waker::new(poll.registry(), WAKER)?,
        });
        let mut acceptor = Self {
            stopper,
            listeners: Vec::with_capacity(listeners.len()),
            is_owed_signal: vec![false; inboxes.len()],
            last_worker: inboxes.len().saturating_sub(1),
            inboxes,
            stopped: None,
            service,
            poll,
        };
        for listener in listeners {
            acceptor.add(listener)?;
        }
        let table = &acceptor.service.connections;
        table.is_accepting.store(1, Ordering::Relaxed);
        Ok(acceptor)
    }

    fn add(&mut self, mut listener: Listener) -> io::Result<()> {
        let token = Token(self.listeners.len());
        listener.register(self.poll.registry(), token)?;
        let descriptor = listener.descriptor();
        let entry = self.service.connections.open(ConnectionEntry::new(
            descriptor,
            listener.text().into(),
            "".into(),
            ConnectionState::Listening,
            self.service.clock.now().seconds,
        ));
        let protocol = protocol_text(listener.protocol);
        log::debug!("<{descriptor} server listening ({protocol})");
        self.listeners.push(Listening { listener, entry, is_pending: true });
        Ok(())
    }

    /// What ends the loop.
    pub fn stopper(&self) -> Arc<Stopper> {
        Arc::clone(&self.stopper)
    }

    /// Accepts until stopped.
    pub fn run(mut self) {
        let mut events = Events::with_capacity(64);
        while !self.stopper.is_stopping.load(Ordering::SeqCst) {
            for index in 0..self.listeners.len() {
                self.accept_some(index);
            }
            self.signal_workers();
            if let Err(error) = self.poll.poll(&mut events, self.timeout()) {
                if error.kind() != io::ErrorKind::Interrupted {
                    log::error!("acceptor: poll: {error}");
                    return;
                }
                continue;
            }
            for event in &events {
                if event.token() == WAKER {
                    self.stopper.is_turn_awaited.store(false, Ordering::SeqCst);
                }
                if let Some(listening) = self.listeners.get_mut(event.token().0) {
                    listening.is_pending = true;
                }
            }
            self.try_resume();
        }
        self.finish();
    }

    /// Takes in who has connected by now, and tells the workers to stop, in this order. The listeners are closed with it.
    fn finish(&mut self) {
        for index in 0..self.listeners.len() {
            self.listeners[index].is_pending = true;
            for _ in 0..LAST_BATCHES_MAX {
                self.accept_some(index);
            }
        }
        for inbox in &self.inboxes {
            inbox.stop();
        }
    }

    fn timeout(&self) -> Option<Duration> {
        if self.stopped.is_some() {
            return Some(RETRY_INTERVAL);
        }
        let has_pending = self.listeners.iter().any(|listening| listening.is_pending);
        has_pending.then_some(Duration::ZERO)
    }

    /// Accepts from one listener until nothing waits, the batch is full, or accepting stops.
    fn accept_some(&mut self, index: usize) {
        for _ in 0..BATCH_MAX {
            let listening = &mut self.listeners[index];
            if !listening.is_pending || self.stopped.is_some() {
                return;
            }
            match listening.listener.accept() {
                Ok((stream, peer)) => self.admit(index, stream, peer),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    listening.is_pending = false;
                }
                Err(error) if is_exhausted(&error) => {
                    log::warn!("Too many open connections");
                    return self.stop_accepting(None);
                }
                // The client is gone already, or a signal came.
                Err(_) => {}
            }
        }
    }

    /// Hands a connection on, unless it is one too many.
    fn admit(&mut self, index: usize, mut stream: Stream, peer: Peer) {
        let descriptor = stream.descriptor();
        let max_connections = self.service.config.max_connections;
        let is_last = i64::from(descriptor) >= max_connections as i64 - 1;
        let table = &self.service.connections;
        if is_last && self.service.config.is_maxconns_fast {
            table.rejected.fetch_add(1, Ordering::Relaxed);
            // In the clear even where TLS is spoken, as in memcached.
            stream.write_notice(REFUSAL);
            return;
        }
        let listening = &self.listeners[index];
        if let Some(terms) = &listening.listener.encryption {
            stream = match stream.encrypted(terms) {
                Ok(stream) => stream,
                Err(error) => return log::error!("cannot begin TLS: {error}"),
            };
        }
        let protocol = listening.listener.protocol;
        let entry = table.open(ConnectionEntry::new(
            descriptor,
            peer.text().into(),
            Arc::clone(&listening.entry.address),
            ConnectionState::NewCommand,
            self.service.clock.now().seconds,
        ));
        match protocol {
            ProtocolChoice::Negotiate => {
                log::debug!("<{descriptor} new auto-negotiating client connection");
            }
            other => log::debug!("<{descriptor} new {} client connection.", protocol_text(other)),
        }
        self.last_worker = (self.last_worker + 1) % self.inboxes.len();
        self.is_owed_signal[self.last_worker] = true;
        self.inboxes[self.last_worker].push(NewConnection { stream, peer, protocol, entry });
        if is_last {
            let open = self.service.connections.count();
            self.stop_accepting(Some(open));
        }
    }

    fn signal_workers(&mut self) {
        for (inbox, is_owed) in self.inboxes.iter().zip(&mut self.is_owed_signal) {
            if std::mem::take(is_owed) {
                inbox.signal();
            }
        }
    }

    fn stop_accepting(&mut self, connections: Option<usize>) {
        let table = &self.service.connections;
        table.is_accepting.store(0, Ordering::Relaxed);
        table.listen_disabled.fetch_add(1, Ordering::Relaxed);
        self.stopped = Some(Stopped { since: Instant::now(), connections });
    }

    fn try_resume(&mut self) {
        let Some(stopped) = &mut self.stopped else {
            return;
        };
        let table = &self.service.connections;
        match stopped.connections {
            Some(connections) if table.count() >= connections => return,
            Some(_) => {}
            None => {
                // Whether descriptors are to be had shows only by taking one.
                if self.poll.registry().try_clone().is_err() {
                    return;
                }
            }
        }
        let micros = stopped.since.elapsed().as_micros() as u64;
        table.listen_disabled_micros.fetch_add(micros, Ordering::Relaxed);
        table.is_accepting.store(1, Ordering::Relaxed);
        self.stopped = None;
    }
}

/// A protocol as memcached's verbose output names it.
fn protocol_text(protocol: ProtocolChoice) -> &'static str {
    match protocol {
        ProtocolChoice::Negotiate => "auto-negotiate",
        ProtocolChoice::Text => "ascii",
        ProtocolChoice::Binary => "binary",
    }
}

/// Whether the process or the system is out of descriptors or memory for sockets.
fn is_exhausted(error: &io::Error) -> bool {
    [Errno::MFILE, Errno::NFILE, Errno::NOBUFS, Errno::NOMEM]
        .iter()
        .any(|errno| error.raw_os_error() == Some(errno.raw_os_error()))
}

const WAKER: Token = Token(usize::MAX);
/// What a client is told for which there is no room.
const REFUSAL: &[u8] = b"ERROR Too many open connections\r\n";
/// How often accepting is tried again while stopped.
const RETRY_INTERVAL: Duration = Duration::from_millis(10);
/// Connections accepted from one listener before the workers are signalled.
const BATCH_MAX: usize = 64;
/// Batches accepted from one listener at the end.
const LAST_BATCHES_MAX: usize = 16;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::net::listener::{Place, listen};
    use crate::store;
    use std::net::TcpStream;

    /// An acceptor for one worker, whose inbox is counted, and clients that have connected.
    fn acceptor(clients: usize) -> (Acceptor, Arc<Inbox>, Vec<TcpStream>) {
        let place = Place { host: Some("127.0.0.1".to_owned()), port: 0, protocol: ProtocolChoice::Negotiate, mark: 0 };
        let listeners = listen(&place, 4096).expect("a listener");
        let address = listeners[0].internet_address().expect("an address");
        let mut service = Service::in_process(store::Config::default());
        service.config.max_connections = 1 << 20;
        let poll = Poll::new().expect("a poll");
        let inbox = Arc::new(Inbox::new(Waker::new(poll.registry(), WAKER).expect("a waker")));
        let acceptor = Acceptor::new(Arc::new(service), listeners, vec![Arc::clone(&inbox)]).expect("an acceptor");
        let clients = (0..clients).map(|_| TcpStream::connect(address).expect("connected")).collect();
        (acceptor, inbox, clients)
    }

    fn handed_over(inbox: &Inbox) -> usize {
        std::iter::from_fn(|| inbox.connection()).count()
    }

    #[test]
    fn workers_are_told_after_a_bounded_number_of_connections() {
        let (mut acceptor, inbox, _clients) = acceptor(BATCH_MAX + 5);
        acceptor.accept_some(0);
        assert_eq!(handed_over(&inbox), BATCH_MAX);
        assert_eq!((acceptor.is_owed_signal[0], acceptor.timeout()), (true, Some(Duration::ZERO)), "more wait");
        acceptor.accept_some(0);
        assert_eq!((handed_over(&inbox), acceptor.timeout()), (5, None));
    }

    #[test]
    fn the_last_connections_taken_are_a_bounded_number() {
        let (mut acceptor, inbox, _clients) = acceptor(LAST_BATCHES_MAX * BATCH_MAX + 5);
        acceptor.finish();
        assert_eq!(handed_over(&inbox), LAST_BATCHES_MAX * BATCH_MAX);
        assert!(inbox.look(), "the worker is told to stop");
    }
}

#[cfg(all(test, feature = "loom"))]
mod models {
    use super::*;
    use crate::base::sync::model::{check, thread};

    /// The loop of [`Acceptor::run`] without sockets, which sleeps while nobody wakes it.
    #[test]
    fn who_stops_the_acceptor_or_awaits_a_turn_wakes_it() {
        check(|| {
            let (waker, poll) = Waker::with_poll();
            let (is_stopping, is_turn_awaited) = (AtomicBool::new(false), AtomicBool::new(false));
            let stopper = Arc::new(Stopper { is_stopping, is_turn_awaited, waker });
            let supervisor = Arc::clone(&stopper);
            let supervisor = thread::spawn(move || {
                supervisor.await_turn();
                while !supervisor.has_turned() {
                    thread::yield_now();
                }
                supervisor.stop();
            });
            while !stopper.is_stopping.load(Ordering::SeqCst) {
                poll.wait();
                stopper.is_turn_awaited.store(false, Ordering::SeqCst);
            }
            supervisor.join().expect("no panic");
        });
    }
}

//! The closed-loop client: some connections in one thread, each with one batch on the way. When the last byte of a reply
//! has been checked, the connection's next batch goes out. So it finds the server's highest rate; its latencies are those
//! of a client that waits politely, and for latency under load there is [`crate::load::open`].
//!
//! mio reports edges: a connection is read until a short read, written until all is sent or the socket is full.

use std::io::{ErrorKind, Read as _, Write as _};
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;
use mio::event::Event;
use mio::net::TcpStream;
use mio::{Events, Interest, Poll, Token};

use crate::error::Error;
use crate::load::batch::Batch;
use crate::load::source::{Source, Step};
use crate::load::source_address::SourceAddresses;

/// How long a connection lives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lifetime {
    /// As long as the client.
    Kept,
    /// For one batch: connect, ask, read, close.
    PerBatch,
}

/// What a run of a client gave.
pub struct Outcome {
    /// Operations answered and checked.
    pub operations: u64,
    /// From the first request to the last reply.
    pub elapsed: Duration,
    /// Nanoseconds per batch.
    pub latency: Histogram<u64>,
}

/// Connections to one server.
pub struct Client {
    address: SocketAddr,
    lifetime: Lifetime,
    poll: Poll,
    connections: Vec<Connection>,
    buffer: Vec<u8>,
}

/// `sent <= batch.request.len()` and `received <= batch.reply.len()`; both at the end: idle.
struct Connection {
    stream: TcpStream,
    batch: Batch,
    sent: usize,
    received: usize,
    started: Instant,
}

impl Client {
    /// Opens the connections.
    pub fn connect(address: SocketAddr, count: usize, lifetime: Lifetime) -> Result<Client, Error> {
        let poll = Poll::new().map_err(Error::system("create an event queue"))?;
        let mut connections = Vec::with_capacity(count);
        for index in 0..count {
            connections.push(Connection {
                stream: open(address, &poll, index)?,
                batch: Batch::default(),
                sent: 0,
                received: 0,
                started: Instant::now(),
            });
        }
        Ok(Client { address, lifetime, poll, connections, buffer: vec![0; READ_BUFFER_BYTES] })
    }

    /// Sends batches until the time is over or the source has none left, then waits for the last reply.
    pub fn run(&mut self, source: &mut dyn Source, time: Duration) -> Result<Outcome, Error> {
        let Client { address, lifetime, poll, connections, buffer } = self;
        let mut sources = SourceAddresses::default();
        let outcome = drive(poll, connections, buffer, time, |poll, connection, index| {
            let step = source.fill(index, &mut connection.batch);
            if step == Step::End {
                return Ok(step);
            }
            (connection.sent, connection.received) = (0, 0);
            connection.started = Instant::now();
            if *lifetime == Lifetime::PerBatch {
                connection.stream = sources.open(*address, poll, index)?;
            }
            connection.send()?;
            Ok(step)
        })?;
        // What a server says unasked is a mismatch: nothing is left to be expected.
        for connection in connections {
            connection.receive(buffer)?;
        }
        Ok(outcome)
    }
}

/// A connection as the loop sees it.
pub trait Link {
    /// Whether its batch is sent and answered.
    fn is_idle(&self) -> bool;

    /// Sends and receives what it can.
    fn advance(&mut self, event: &Event, buffer: &mut [u8]) -> Result<(), Error>;

    /// When its batch began, and how many operations it has.
    fn batch(&self) -> (Instant, u64);
}

/// The closed loop: `start` sends a connection's next batch. When the time is over, or there is none left, it waits for the
/// last reply.
pub fn drive<L: Link>(
    poll: &mut Poll,
    links: &mut [L],
    buffer: &mut [u8],
    time: Duration,
    mut start: impl FnMut(&Poll, &mut L, usize) -> Result<Step, Error>,
) -> Result<Outcome, Error> {
    let begin = Instant::now();
    let end = begin + time;
    let (mut latency, mut operations, mut active, mut now) = (new_histogram(), 0, 0, begin);
    let mut events = Events::with_capacity(1024);
    for (index, link) in links.iter_mut().enumerate() {
        active += usize::from(start(poll, link, index)? == Step::Send);
    }
    while active > 0 {
        wait(poll, &mut events, Some(REPLY_TIMEOUT))?;
        if events.is_empty() {
            return Err(timed_out());
        }
        for event in &events {
            let index = event.token().0;
            let link = &mut links[index];
            let was_idle = link.is_idle();
            link.advance(event, buffer)?;
            if was_idle || !link.is_idle() {
                continue;
            }
            let (started, count) = link.batch();
            now = Instant::now();
            latency.saturating_record((now - started).as_nanos() as u64);
            operations += count;
            if now >= end || start(poll, link, index)? == Step::End {
                active -= 1;
            }
        }
    }
    Ok(Outcome { operations, elapsed: now - begin, latency })
}

impl Link for Connection {
    fn is_idle(&self) -> bool {
        self.sent == self.batch.request.len() && self.received == self.batch.reply.len()
    }

    fn advance(&mut self, event: &Event, buffer: &mut [u8]) -> Result<(), Error> {
        if event.is_writable() {
            self.send()?;
        }
        if event.is_readable() {
            self.receive(buffer)?;
        }
        Ok(())
    }

    fn batch(&self) -> (Instant, u64) {
        (self.started, self.batch.operations)
    }
}

impl Connection {
    fn send(&mut self) -> Result<(), Error> {
        send_from(&mut self.stream, &self.batch.request, &mut self.sent)
    }

    fn receive(&mut self, buffer: &mut [u8]) -> Result<(), Error> {
        while let Some(received) = receive_into(&mut self.stream, buffer)? {
            self.received = self.batch.check(self.received, received)?;
            let is_short = received.len() < READ_BUFFER_BYTES;
            if is_short || self.received == self.batch.reply.len() {
                break;
            }
        }
        Ok(())
    }
}

/// Connects without waiting and registers the connection under its index.
pub fn open(address: SocketAddr, poll: &Poll, index: usize) -> Result<TcpStream, Error> {
    watch(TcpStream::connect(address).map_err(Error::system("connect"))?, poll, index)
}

/// Registers a connection under its index.
pub fn watch(mut stream: TcpStream, poll: &Poll, index: usize) -> Result<TcpStream, Error> {
    stream.set_nodelay(true).map_err(Error::system("set TCP_NODELAY"))?;
    poll.registry()
        .register(&mut stream, Token(index), Interest::READABLE | Interest::WRITABLE)
        .map_err(Error::system("register a connection"))?;
    Ok(stream)
}

/// Sends from `*sent` on, as much as the socket takes now.
pub fn send_from(stream: &mut TcpStream, bytes: &[u8], sent: &mut usize) -> Result<(), Error> {
    while *sent < bytes.len() {
        match stream.write(&bytes[*sent..]) {
            Ok(count) => *sent += count,
            Err(error) if is_not_yet(error.kind()) => break,
            Err(error) => {
                return Err(Error::System { action: "send", source: error });
            }
        }
    }
    Ok(())
}

/// What one read gives, or nothing if there is nothing yet.
pub fn receive_into<'a>(stream: &mut TcpStream, buffer: &'a mut [u8]) -> Result<Option<&'a [u8]>, Error> {
    match stream.read(buffer) {
        Ok(0) => Err(Error::System {
            action: "receive",
            source: std::io::Error::new(ErrorKind::UnexpectedEof, "the server closed the connection"),
        }),
        Ok(count) => Ok(Some(&buffer[..count])),
        Err(error) if is_not_yet(error.kind()) => Ok(None),
        Err(error) => Err(Error::System { action: "receive", source: error }),
    }
}

/// Waits for events; a signal is no reason to fail.
pub fn wait(poll: &mut Poll, events: &mut Events, time: Option<Duration>) -> Result<(), Error> {
    match poll.poll(events, time) {
        Err(error) if error.kind() == ErrorKind::Interrupted => Ok(()),
        result => result.map_err(Error::system("wait for events")),
    }
}

/// The error of a server that has stopped to answer.
pub fn timed_out() -> Error {
    Error::System {
        action: "wait for a reply",
        source: std::io::Error::new(ErrorKind::TimedOut, "no reply for ten seconds"),
    }
}

/// An empty histogram of nanoseconds, exact to three digits up to a minute.
pub fn new_histogram() -> Histogram<u64> {
    Histogram::new_with_bounds(1, 60_000_000_000, 3).expect("the bounds are in the order that it wants")
}

/// A connection that is not there yet counts as a full socket: the edge comes when it is.
fn is_not_yet(kind: ErrorKind) -> bool {
    matches!(kind, ErrorKind::WouldBlock | ErrorKind::NotConnected)
}

/// How long a server may be silent.
pub const REPLY_TIMEOUT: Duration = Duration::from_secs(10);
/// Large enough that a batch of the suite takes one read, small enough to stay in the client's cache.
pub const READ_BUFFER_BYTES: usize = 128 * 1024;

#[cfg(test)]
mod tests {
    use std::net::TcpListener;
    use std::thread;

    use super::*;

    /// Serves connections one after another: `reply` to every seven bytes, in two pieces. It closes instead
    /// of an empty one.
    fn serve(reply: &'static [u8]) -> SocketAddr {
        let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
        let address = listener.local_addr().unwrap();
        thread::spawn(move || {
            for stream in listener.incoming() {
                let Ok(mut stream) = stream else { return };
                thread::spawn(move || {
                    let mut request = [0; 7];
                    while stream.read_exact(&mut request).is_ok() && !reply.is_empty() {
                        let (head, tail) = reply.split_at(reply.len() / 2);
                        let sent = stream.write_all(head);
                        thread::yield_now();
                        if sent.and_then(|()| stream.write_all(tail)).is_err() {
                            return;
                        }
                    }
                });
            }
        });
        address
    }

    /// A source of so many batches per connection.
    struct Few(Vec<u32>);

    impl Source for Few {
        fn fill(&mut self, connection: usize, batch: &mut Batch) -> Step {
            let Some(left) = self.0[connection].checked_sub(1) else {
                return Step::End;
            };
            self.0[connection] = left;
            batch.clear();
            batch.request.extend_from_slice(b"get a\r\n");
            batch.reply.extend_from_slice(b"END\r\n");
            batch.operations = 1;
            Step::Send
        }
    }

    fn run(reply: &'static [u8], lifetime: Lifetime) -> Result<Outcome, String> {
        let mut client = Client::connect(serve(reply), 3, lifetime).unwrap();
        client.run(&mut Few(vec![2, 0, 5]), Duration::from_secs(60)).map_err(|error| error.to_string())
    }

    #[test]
    fn every_batch_is_answered_once() {
        for lifetime in [Lifetime::Kept, Lifetime::PerBatch] {
            let outcome = run(b"END\r\n", lifetime).unwrap();
            assert_eq!(outcome.operations, 7, "{lifetime:?}");
            assert_eq!(outcome.latency.len(), 7, "{lifetime:?}");
        }
    }

    #[test]
    fn wrong_replies_end_the_run() {
        #[track_caller]
        fn check(reply: &'static [u8], problem: &str) {
            let text = run(reply, Lifetime::Kept).map(|it| it.operations).unwrap_err();
            assert!(text.contains(problem), "{text}");
        }
        check(b"ENDE\n", "byte 3 of 5");
        check(b"ERROR\r\n", "byte 1 of 5");
        check(b"END\r\nEND", "byte 5 of 5");
        check(b"", "receive: ");
    }

    #[test]
    fn time_ends_a_source_without_end() {
        let mut client = Client::connect(serve(b"END\r\n"), 3, Lifetime::Kept).unwrap();
        let outcome = client.run(&mut Few(vec![u32::MAX; 3]), Duration::from_millis(20)).unwrap();
        assert!(outcome.operations > 0);
        assert!((20..5000).contains(&outcome.elapsed.as_millis()));
    }
}

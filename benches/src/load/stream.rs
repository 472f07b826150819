//! Large values that stream beside an open loop: connections that send one and the same batch again and again, so many
//! times per second in all, whatever becomes of the small requests next to them.
//!
//! They share the thread of the open loop, so each of its turns moves at most one buffer per connection and direction:
//! the small requests are to wait for the server, not for the client's own copying. Their latencies are not measured.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use mio::Poll;
use mio::event::Event;
use mio::net::TcpStream;

use crate::error::Error;
use crate::load::batch::Batch;
use crate::load::client::{open, receive_into, send_from};

/// All streams of a client.
pub struct Streams {
    streams: Vec<Stream>,
    /// Between one batch and the next, over all streams.
    gap: Duration,
    due: Instant,
    turn: usize,
    buffer: Vec<u8>,
    /// Batches answered.
    done: u64,
}

/// `sent <= batch.request.len()` and `received <= batch.reply.len()`; both at the end: idle.
struct Stream {
    stream: TcpStream,
    batch: Batch,
    sent: usize,
    received: usize,
    is_writable: bool,
    is_readable: bool,
    /// Batches that should have begun while one was on its way.
    owed: u64,
}

impl Streams {
    /// Opens a connection for each batch; their tokens begin with `first_token`.
    pub fn connect(
        address: SocketAddr,
        poll: &Poll,
        first_token: usize,
        batches: Vec<Batch>,
        rate: f64,
    ) -> Result<Streams, Error> {
        let mut streams = Vec::with_capacity(batches.len());
        for (index, batch) in batches.into_iter().enumerate() {
            let stream = open(address, poll, first_token + index)?;
            let (sent, received) = (batch.request.len(), batch.reply.len());
            streams.push(Stream { stream, batch, sent, received, is_writable: false, is_readable: false, owed: 0 });
        }
        let gap = Duration::from_secs_f64(1.0 / rate);
        Ok(Streams { streams, gap, due: Instant::now(), turn: 0, buffer: vec![0; PIECE_BYTES], done: 0 })
    }

    /// Begins to count from now on.
    pub fn start(&mut self, now: Instant) {
        self.due = now;
        self.done = 0;
    }

    /// Batches answered since the start.
    pub fn done(&self) -> u64 {
        self.done
    }

    /// Takes note of an event of the stream with this index.
    pub fn note(&mut self, index: usize, event: &Event) {
        let stream = &mut self.streams[index];
        stream.is_writable |= event.is_writable();
        stream.is_readable |= event.is_readable();
    }

    /// Begins what is due, unless it is over, and moves one buffer each way.
    pub fn step(&mut self, now: Instant, is_over: bool) -> Result<(), Error> {
        while self.due <= now && !is_over {
            self.streams[self.turn].owed += 1;
            self.turn = (self.turn + 1) % self.streams.len();
            self.due += self.gap;
        }
        for stream in &mut self.streams {
            if stream.is_idle() && stream.owed > 0 && !is_over {
                stream.owed -= 1;
                (stream.sent, stream.received) = (0, 0);
            }
            if stream.step(&mut self.buffer)? {
                self.done += 1;
            }
        }
        if is_over {
            self.streams.iter_mut().for_each(|stream| stream.owed = 0);
        }
        Ok(())
    }

    /// Whether nothing is on its way.
    pub fn are_idle(&self) -> bool {
        self.streams.iter().all(Stream::is_idle)
    }
}

impl Stream {
    fn is_idle(&self) -> bool {
        self.sent == self.batch.request.len() && self.received == self.batch.reply.len()
    }

    /// True when this completes the batch.
    fn step(&mut self, buffer: &mut [u8]) -> Result<bool, Error> {
        let was_idle = self.is_idle();
        if self.is_writable && self.sent < self.batch.request.len() {
            let end = self.batch.request.len().min(self.sent + PIECE_BYTES);
            send_from(&mut self.stream, &self.batch.request[..end], &mut self.sent)?;
            self.is_writable = self.sent == end;
        }
        if self.is_readable {
            match receive_into(&mut self.stream, buffer)? {
                Some(received) => {
                    self.is_readable = received.len() == PIECE_BYTES;
                    self.received = self.batch.check(self.received, received)?;
                }
                None => self.is_readable = false,
            }
        }
        Ok(!was_idle && self.is_idle())
    }
}

/// What one turn moves per connection and direction.
const PIECE_BYTES: usize = 64 * 1024;

#[cfg(test)]
mod tests {
    use std::io::{Read as _, Write as _};
    use std::net::TcpListener;
    use std::thread;

    use mio::Events;

    use super::*;
    use crate::load::client::wait;

    /// Answers `END` to each request of three pieces.
    fn serve(request_bytes: usize) -> SocketAddr {
        let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
        let address = listener.local_addr().unwrap();
        thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let mut request = vec![0; request_bytes];
            while stream.read_exact(&mut request).is_ok() {
                stream.write_all(b"END\r\n").unwrap();
            }
        });
        address
    }

    #[test]
    fn batches_go_out_when_due_and_the_last_one_is_waited_for() {
        const REQUEST_BYTES: usize = 3 * PIECE_BYTES;
        let batch =
            Batch { request: vec![b'x'; REQUEST_BYTES], reply: b"END\r\n".to_vec(), operations: 1, ..Batch::default() };
        let mut poll = Poll::new().unwrap();
        let mut events = Events::with_capacity(8);
        let mut streams = Streams::connect(serve(REQUEST_BYTES), &poll, 5, vec![batch], 1000.0).unwrap();
        let begin = Instant::now();
        streams.start(begin);
        assert!(streams.are_idle());
        // The clock stands still after ten batches have fallen due.
        let later = begin + Duration::from_micros(9500);
        while streams.done() < 10 {
            wait(&mut poll, &mut events, Some(Duration::ZERO)).unwrap();
            events.iter().for_each(|event| streams.note(event.token().0 - 5, event));
            streams.step(later, false).unwrap();
        }
        assert!(streams.are_idle());
        streams.step(begin + Duration::from_secs(1), true).unwrap();
        assert_eq!((streams.done(), streams.are_idle()), (10, true));
    }
}

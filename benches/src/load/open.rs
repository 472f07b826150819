//! The open-loop client: requests fall due at a given rate, whether or not the server has answered earlier ones, as those
//! of many independent users do. The latency of a request counts from the moment it was due, not from the moment it went
//! out, so that a server that stalls pays for every request that should have come meanwhile (no coordinated omission).
//!
//! Arrivals are a Poisson process, dealt to the connections in turn. A connection that still waits gets its next
//! request behind the earlier one. The client spins, for it has a core of its own and a sleep would be late. Large values
//! may stream beside the requests ([`crate::load::stream`]).

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;
use mio::net::TcpStream;
use mio::{Events, Poll};

use crate::error::Error;
use crate::load::batch::Batch;
use crate::load::client::{
    Outcome, READ_BUFFER_BYTES, REPLY_TIMEOUT, new_histogram, open, receive_into, send_from, timed_out, wait,
};
use crate::load::source::{Source, Step};
use crate::load::stream::Streams;
use crate::random::Random;

/// Connections to one server.
pub struct OpenClient {
    poll: Poll,
    events: Events,
    connections: Vec<Connection>,
    buffer: Vec<u8>,
    spare: Vec<Batch>,
    arrivals: Random,
    streams: Option<Streams>,
}

/// `sent <= unsent.len()`; `received` counts bytes of the reply to `waiting`'s front.
struct Connection {
    stream: TcpStream,
    unsent: Vec<u8>,
    sent: usize,
    waiting: VecDeque<Waiting>,
    received: usize,
}

struct Waiting {
    batch: Batch,
    due: Instant,
}

/// What has been answered so far.
struct Tally {
    latency: Histogram<u64>,
    operations: u64,
    batches_waiting: u64,
}

impl OpenClient {
    /// Opens the connections; the seed decides when requests fall due.
    pub fn connect(address: SocketAddr, count: usize, seed: u64) -> Result<OpenClient, Error> {
        let poll = Poll::new().map_err(Error::system("create an event queue"))?;
        let mut connections = Vec::with_capacity(count);
        for index in 0..count {
            connections.push(Connection {
                stream: open(address, &poll, index)?,
                unsent: Vec::new(),
                sent: 0,
                waiting: VecDeque::new(),
                received: 0,
            });
        }
        Ok(OpenClient {
            poll,
            events: Events::with_capacity(1024),
            connections,
            buffer: vec![0; READ_BUFFER_BYTES],
            spare: Vec::new(),
            arrivals: Random::new(seed),
            streams: None,
        })
    }

    /// Lets batches stream beside the requests from now on, so many per second.
    pub fn stream(&mut self, address: SocketAddr, batches: Vec<Batch>, rate: f64) -> Result<(), Error> {
        self.streams = Some(Streams::connect(address, &self.poll, self.connections.len(), batches, rate)?);
        Ok(())
    }

    /// Batches that streamed during the last run.
    pub fn streamed(&self) -> u64 {
        self.streams.as_ref().map_or(0, Streams::done)
    }

    /// Sends batches at a rate per second for a time, then waits for the last reply.
    pub fn run(&mut self, source: &mut dyn Source, rate: f64, time: Duration) -> Result<Outcome, Error> {
        let begin = Instant::now();
        let end = begin + time;
        let mut tally = Tally { latency: new_histogram(), operations: 0, batches_waiting: 0 };
        let mut due = begin + self.gap(rate);
        let mut turn = 0;
        let mut progress = begin;
        if let Some(streams) = &mut self.streams {
            streams.start(begin);
        }
        loop {
            let now = Instant::now();
            while due <= now && due < end {
                self.submit(turn, source, due)?;
                tally.batches_waiting += 1;
                turn = (turn + 1) % self.connections.len();
                due += self.gap(rate);
            }
            let is_streaming = self.streams.as_ref().is_some_and(|streams| !streams.are_idle());
            if due >= end && tally.batches_waiting == 0 && !is_streaming {
                return Ok(Outcome { operations: tally.operations, elapsed: now - begin, latency: tally.latency });
            }
            wait(&mut self.poll, &mut self.events, Some(Duration::ZERO))?;
            if !self.events.is_empty() || (tally.batches_waiting == 0 && !is_streaming) {
                progress = now;
            } else if now - progress > REPLY_TIMEOUT {
                return Err(timed_out());
            }
            for event in &self.events {
                let index = event.token().0;
                let Some(connection) = self.connections.get_mut(index) else {
                    if let Some(streams) = &mut self.streams {
                        streams.note(index - self.connections.len(), event);
                    }
                    continue;
                };
                if event.is_writable() {
                    connection.send()?;
                }
                if event.is_readable() {
                    connection.receive(&mut self.buffer, &mut tally, &mut self.spare)?;
                }
            }
            if let Some(streams) = &mut self.streams {
                streams.step(now, now >= end)?;
            }
        }
    }

    fn gap(&mut self, rate: f64) -> Duration {
        Duration::from_secs_f64(-self.arrivals.fraction().ln() / rate)
    }

    fn submit(&mut self, index: usize, source: &mut dyn Source, due: Instant) -> Result<(), Error> {
        let mut batch = self.spare.pop().unwrap_or_default();
        let step = source.fill(index, &mut batch);
        assert_eq!(step, Step::Send, "an open loop needs a source without end");
        let connection = &mut self.connections[index];
        if connection.sent == connection.unsent.len() {
            connection.unsent.clear();
            connection.sent = 0;
        }
        connection.unsent.extend_from_slice(&batch.request);
        connection.waiting.push_back(Waiting { batch, due });
        connection.send()
    }
}

impl Connection {
    fn send(&mut self) -> Result<(), Error> {
        send_from(&mut self.stream, &self.unsent, &mut self.sent)
    }

    fn receive(&mut self, buffer: &mut [u8], tally: &mut Tally, spare: &mut Vec<Batch>) -> Result<(), Error> {
        while let Some(received) = receive_into(&mut self.stream, buffer)? {
            let is_short = received.len() < READ_BUFFER_BYTES;
            self.settle(received, Instant::now(), tally, spare)?;
            if is_short {
                break;
            }
        }
        Ok(())
    }

    /// Deals received bytes to the waiting batches.
    fn settle(
        &mut self,
        mut received: &[u8],
        now: Instant,
        tally: &mut Tally,
        spare: &mut Vec<Batch>,
    ) -> Result<(), Error> {
        while !received.is_empty() {
            let Some(front) = self.waiting.front() else {
                // Nothing was asked: an empty batch says so in the words of a mismatch.
                return Err(Batch::default().check(0, received).map(drop).unwrap_err().into());
            };
            let left = front.batch.reply.len() - self.received;
            let (piece, rest) = received.split_at(received.len().min(left));
            self.received = front.batch.check(self.received, piece)?;
            received = rest;
            if self.received < front.batch.reply.len() {
                continue;
            }
            tally.latency.saturating_record(now.duration_since(front.due).as_nanos() as u64);
            tally.operations += front.batch.operations;
            tally.batches_waiting -= 1;
            self.received = 0;
            spare.extend(self.waiting.pop_front().map(|waiting| waiting.batch));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Read as _, Write as _};
    use std::net::TcpListener;
    use std::thread;

    use super::*;

    const STALL: Duration = Duration::from_millis(100);

    /// Answers `END` to every seven bytes, but says nothing for a while at first.
    fn serve_after_a_stall() -> SocketAddr {
        let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
        let address = listener.local_addr().unwrap();
        thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let mut request = [0; 7];
            stream.read_exact(&mut request).unwrap();
            thread::sleep(STALL);
            stream.write_all(b"END\r\n").unwrap();
            while stream.read_exact(&mut request).is_ok() {
                stream.write_all(b"END\r\n").unwrap();
            }
        });
        address
    }

    struct Gets;

    impl Source for Gets {
        fn fill(&mut self, _connection: usize, batch: &mut Batch) -> Step {
            batch.clear();
            batch.request.extend_from_slice(b"get a\r\n");
            batch.reply.extend_from_slice(b"END\r\n");
            batch.operations = 1;
            Step::Send
        }
    }

    /// The stall is half of the run, so a quarter of all requests waited for more than half of it. A client that waits
    /// with its next request until the last is answered would have found one slow request.
    #[test]
    fn a_stall_is_paid_by_everyone_who_should_have_come_meanwhile() {
        let mut client = OpenClient::connect(serve_after_a_stall(), 1, 1).unwrap();
        let outcome = client.run(&mut Gets, 2000.0, STALL * 2).unwrap();
        assert!((300..500).contains(&outcome.operations), "{}", outcome.operations);
        assert_eq!(outcome.latency.len(), outcome.operations);
        assert!(outcome.latency.value_at_quantile(0.8) > STALL.as_nanos() as u64 / 2);
    }
}

//! The look-aside client: what applications do with a cache. Gets fall due at a given rate, whether or not earlier ones
//! have been answered; a miss is followed by a `set` of the item on the same connection. A hit must be the item to the
//! byte. Latencies count from the moment a get was due, or a set was known to be needed; see [`super::open`].
//!
//! A `set` that is refused for want of memory is counted; any other answer ends the run.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;
use mio::net::TcpStream;
use mio::{Events, Poll};

use crate::error::Error;
use crate::load::batch::Batch;
use crate::load::client::{
    READ_BUFFER_BYTES, REPLY_TIMEOUT, new_histogram, open, receive_into, send_from, timed_out, wait,
};
use crate::load::data::Data;
use crate::load::request;
use crate::random::Random;

/// Connections to one server.
pub struct LookAsideClient {
    poll: Poll,
    events: Events,
    connections: Vec<Connection>,
    buffer: Vec<u8>,
    arrivals: Random,
}

/// What a run gave.
pub struct LookAsideOutcome {
    /// Gets answered.
    pub gets: u64,
    /// Gets that found their item.
    pub hits: u64,
    /// Sets answered.
    pub sets: u64,
    /// Sets refused for want of memory.
    pub refused: u64,
    /// Nanoseconds per request.
    pub latency: Histogram<u64>,
}

struct Connection {
    stream: TcpStream,
    unsent: Vec<u8>,
    /// sent <= unsent.len()
    sent: usize,
    waiting: VecDeque<Waiting>,
    /// What came of the replies to `waiting`.
    received: Vec<u8>,
}

struct Waiting {
    id: u64,
    is_set: bool,
    due: Instant,
}

impl LookAsideClient {
    /// Opens the connections; the seed decides when requests fall due.
    pub fn connect(address: SocketAddr, count: usize, seed: u64) -> Result<LookAsideClient, Error> {
        let poll = Poll::new().map_err(Error::system("create an event queue"))?;
        let mut connections = Vec::with_capacity(count);
        for index in 0..count {
            connections.push(Connection {
                stream: open(address, &poll, index)?,
                unsent: Vec::new(),
                sent: 0,
                waiting: VecDeque::new(),
                received: Vec::new(),
            });
        }
        Ok(LookAsideClient {
            poll,
            events: Events::with_capacity(1024),
            connections,
            buffer: vec![0; READ_BUFFER_BYTES],
            arrivals: Random::new(seed),
        })
    }

    /// Asks for the items that `draw` names at a rate per second for a time, then waits for the last reply.
    pub fn run(
        &mut self,
        data: &Data,
        mut draw: impl FnMut() -> u64,
        rate: f64,
        time: Duration,
    ) -> Result<LookAsideOutcome, Error> {
        let mut outcome = LookAsideOutcome { gets: 0, hits: 0, sets: 0, refused: 0, latency: new_histogram() };
        let begin = Instant::now();
        let end = begin + time;
        let (mut due, mut progress, mut turn) = (begin, begin, 0);
        loop {
            let now = Instant::now();
            while due <= now && due < end {
                self.connections[turn].get(data, draw(), due)?;
                turn = (turn + 1) % self.connections.len();
                due += Duration::from_secs_f64(-self.arrivals.fraction().ln() / rate);
            }
            let is_idle = self.connections.iter().all(|connection| connection.waiting.is_empty());
            if due >= end && is_idle {
                return Ok(outcome);
            }
            wait(&mut self.poll, &mut self.events, Some(Duration::ZERO))?;
            if !self.events.is_empty() || is_idle {
                progress = now;
            } else if now - progress > REPLY_TIMEOUT {
                return Err(timed_out());
            }
            for event in &self.events {
                let connection = &mut self.connections[event.token().0];
                if event.is_writable() {
                    connection.send()?;
                }
                if event.is_readable() {
                    connection.receive(&mut self.buffer, data, &mut outcome)?;
                }
            }
        }
    }
}

impl Connection {
    fn get(&mut self, data: &Data, id: u64, due: Instant) -> Result<(), Error> {
        if self.sent == self.unsent.len() {
            self.unsent.clear();
            self.sent = 0;
        }
        self.unsent.extend_from_slice(b"get ");
        data.write_key(id, &mut self.unsent);
        self.unsent.extend_from_slice(b"\r\n");
        self.waiting.push_back(Waiting { id, is_set: false, due });
        self.send()
    }

    fn send(&mut self) -> Result<(), Error> {
        send_from(&mut self.stream, &self.unsent, &mut self.sent)
    }

    fn receive(&mut self, buffer: &mut [u8], data: &Data, outcome: &mut LookAsideOutcome) -> Result<(), Error> {
        while let Some(received) = receive_into(&mut self.stream, buffer)? {
            let is_short = received.len() < READ_BUFFER_BYTES;
            self.received.extend_from_slice(received);
            self.settle(Instant::now(), data, outcome)?;
            if is_short {
                break;
            }
        }
        Ok(())
    }

    /// Takes the replies that are complete.
    fn settle(&mut self, now: Instant, data: &Data, outcome: &mut LookAsideOutcome) -> Result<(), Error> {
        let mut position = 0;
        while let Some(front) = self.waiting.front() {
            let left = &self.received[position..];
            let Some((reply, bytes)) = reply_to(front, left, data)? else { break };
            position += bytes;
            outcome.latency.saturating_record(now.duration_since(front.due).as_nanos() as u64);
            let id = front.id;
            self.waiting.pop_front();
            match reply {
                Reply::Hit => (outcome.gets, outcome.hits) = (outcome.gets + 1, outcome.hits + 1),
                Reply::Stored => outcome.sets += 1,
                Reply::Refused => (outcome.sets, outcome.refused) = (outcome.sets + 1, outcome.refused + 1),
                Reply::Miss => {
                    outcome.gets += 1;
                    let mut batch = Batch::default();
                    request::set(data, id, &mut batch);
                    self.unsent.extend_from_slice(&batch.request);
                    self.waiting.push_back(Waiting { id, is_set: true, due: now });
                    self.send()?;
                }
            }
        }
        self.received.drain(..position);
        if self.waiting.is_empty() && !self.received.is_empty() {
            // Nothing was asked: an empty batch says so in the words of a mismatch.
            return Err(Batch::default().check(0, &self.received).map(drop).unwrap_err().into());
        }
        Ok(())
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Reply {
    Hit,
    Miss,
    Stored,
    Refused,
}

/// The reply to a request at the beginning of what came, and its length; nothing while it is not complete.
fn reply_to(waiting: &Waiting, received: &[u8], data: &Data) -> Result<Option<(Reply, usize)>, Error> {
    let short: &[(&[u8], Reply)] = match waiting.is_set {
        true => &[(b"STORED\r\n", Reply::Stored), (OUT_OF_MEMORY, Reply::Refused)],
        false => &[(b"END\r\n", Reply::Miss)],
    };
    for &(text, reply) in short {
        if received.starts_with(text) {
            return Ok(Some((reply, text.len())));
        }
        if text.starts_with(received) {
            return Ok(None);
        }
    }
    let mut batch = Batch::default();
    match waiting.is_set {
        true => request::set(data, waiting.id, &mut batch),
        false => request::get(data, waiting.id, &mut batch),
    }
    let received = &received[..received.len().min(batch.reply.len())];
    let checked = batch.check(0, received)?;
    Ok((checked == batch.reply.len()).then_some((Reply::Hit, checked)))
}

const OUT_OF_MEMORY: &[u8] = b"SERVER_ERROR out of memory storing object\r\n";

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(is_set: bool, received: &[u8], expected: Result<Option<Reply>, usize>) {
        let data = Data::short(10, 3);
        let waiting = Waiting { id: 1, is_set, due: Instant::now() };
        // Short of its last byte a right reply is not complete; a further byte belongs to the next one.
        let whole = reply_to(&waiting, received, &data);
        match expected {
            Ok(Some(reply)) => {
                assert_eq!(whole.unwrap(), Some((reply, received.len())));
                for cut in 0..received.len() {
                    assert_eq!(reply_to(&waiting, &received[..cut], &data).unwrap(), None, "cut at {cut}");
                }
                let more = [received, b"V"].concat();
                assert_eq!(reply_to(&waiting, &more, &data).unwrap(), Some((reply, received.len())));
            }
            Ok(None) => assert_eq!(whole.unwrap(), None),
            Err(position) => assert!(whole.unwrap_err().to_string().contains(&format!("byte {position} of"))),
        }
    }

    #[test]
    fn replies() {
        let mut batch = Batch::default();
        request::get(&Data::short(10, 3), 1, &mut batch);
        check(false, &batch.reply, Ok(Some(Reply::Hit)));
        check(false, b"END\r\n", Ok(Some(Reply::Miss)));
        check(false, b"VALUE key:00000002-p", Err(17));
        check(false, b"ERROR\r\n", Err(0));
        check(true, b"STORED\r\n", Ok(Some(Reply::Stored)));
        check(true, OUT_OF_MEMORY, Ok(Some(Reply::Refused)));
        check(true, b"NOT_STORED\r\n", Err(0));
        check(true, b"SERVER_ERROR object too large for cache\r\n", Err(1));
    }
}

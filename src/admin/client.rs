//! One connection to the admin listener.
//!
//! ```text
//!   reading -- whole head --> sending -- all sent --> ending -- the client closes --> over
//!      |                         |                      |
//!      +--------- too slow, broken, or too much is sent +----------------------------> over
//! ```
//! After the answer the client's bytes are read and dropped for a moment: closing a socket with unread bytes makes the
//! kernel throw away what the client has not read of the answer.

use std::io::ErrorKind;
use std::time::{Duration, Instant};

use super::http::{self, HEAD_BYTES_MAX, Hosts, Outcome};
use super::socket::Stream;

/// Where a connection stands.
enum State {
    Reading { head: Vec<u8> },
    Sending { answer: Vec<u8>, sent: usize },
    Ending { dropped: usize },
}

/// What is to become of it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Next {
    /// It waits for its socket.
    Wait,
    /// It is over.
    Close,
}

/// A connection.
pub(super) struct Client {
    stream: Stream,
    state: State,
    /// When it is closed whatever it does.
    pub deadline: Instant,
}

impl Client {
    pub fn new(stream: Stream, now: Instant) -> Self {
        Self { stream, state: State::Reading { head: Vec::new() }, deadline: now + REQUEST_TIMEOUT }
    }

    /// Whether its request is still to come.
    pub fn is_reading(&self) -> bool {
        matches!(self.state, State::Reading { .. })
    }

    /// Goes on as far as the socket lets it. `answer` makes the bytes of an answer.
    pub fn advance(&mut self, now: Instant, hosts: Hosts, answer: &mut dyn FnMut(&Outcome) -> Vec<u8>) -> Next {
        loop {
            let is_done = match &mut self.state {
                State::Reading { head } => match read_head(&mut self.stream, head, hosts) {
                    Ok(Some(outcome)) => {
                        self.state = State::Sending { answer: answer(&outcome), sent: 0 };
                        self.deadline = now + ANSWER_TIMEOUT;
                        true
                    }
                    Ok(None) => false,
                    Err(Broken) => return Next::Close,
                },
                State::Sending { answer, sent } => match send(&mut self.stream, answer, sent) {
                    Ok(false) => false,
                    Ok(true) => {
                        self.stream.end();
                        self.state = State::Ending { dropped: 0 };
                        self.deadline = now + END_TIMEOUT;
                        true
                    }
                    Err(Broken) => return Next::Close,
                },
                State::Ending { dropped } => match drop_input(&mut self.stream, dropped) {
                    Ok(()) => false,
                    Err(Broken) => return Next::Close,
                },
            };
            if !is_done {
                return Next::Wait;
            }
        }
    }
}

/// The connection is broken, ended, or not worth more.
struct Broken;

/// Reads until the head is whole or nothing is there (`None`).
fn read_head(stream: &mut Stream, head: &mut Vec<u8>, hosts: Hosts) -> Result<Option<Outcome>, Broken> {
    let mut space = [0; 2048];
    loop {
        match stream.read(&mut space) {
            Ok(0) => return Err(Broken),
            Ok(count) => head.extend_from_slice(&space[..count]),
            Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(None),
            Err(error) if error.kind() == ErrorKind::Interrupted => continue,
            Err(_) => return Err(Broken),
        }
        debug_assert!(head.len() < HEAD_BYTES_MAX + space.len());
        match http::parse(head, hosts) {
            Outcome::Partial => {}
            outcome => return Ok(Some(outcome)),
        }
    }
}

/// Sends until all is sent (true) or the socket is full.
fn send(stream: &mut Stream, answer: &[u8], sent: &mut usize) -> Result<bool, Broken> {
    while let Some(rest) = answer.get(*sent..).filter(|rest| !rest.is_empty()) {
        match stream.write(rest) {
            Ok(0) => return Err(Broken),
            Ok(count) => *sent += count,
            Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(false),
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(_) => return Err(Broken),
        }
    }
    Ok(true)
}

fn drop_input(stream: &mut Stream, dropped: &mut usize) -> Result<(), Broken> {
    let mut space = [0; 2048];
    while *dropped < DROPPED_BYTES_MAX {
        match stream.read(&mut space) {
            Ok(0) => return Err(Broken),
            Ok(count) => *dropped += count,
            Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(_) => return Err(Broken),
        }
    }
    Err(Broken)
}

/// Time for a request's head.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(5);
/// Time to take an answer.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(10);
/// Time to close after an answer.
const END_TIMEOUT: Duration = Duration::from_secs(1);
/// Bytes dropped behind an answered request.
const DROPPED_BYTES_MAX: usize = 64 * 1024;

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{Read, Write};
    use std::os::unix::net::UnixStream;

    fn pair(now: Instant) -> (Client, UnixStream) {
        let (ours, theirs) = UnixStream::pair().expect("a pair");
        ours.set_nonblocking(true).expect("a socket");
        theirs.set_nonblocking(true).expect("a socket");
        (Client::new(Stream::Unix(mio::net::UnixStream::from_std(ours)), now), theirs)
    }

    fn request(client: &mut Client, there: &mut UnixStream, now: Instant, answer_bytes: usize) -> Next {
        there.write_all(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n").expect("room");
        client.advance(now, Hosts::Any, &mut |_| vec![b'a'; answer_bytes])
    }

    #[test]
    fn each_state_has_its_time() {
        let start = Instant::now();
        let (mut client, mut there) = pair(start);
        assert_eq!(client.deadline, start + REQUEST_TIMEOUT);
        let asked = start + Duration::from_secs(3);
        // More than the socket takes.
        assert_eq!(request(&mut client, &mut there, asked, 4 << 20), Next::Wait);
        assert_eq!((client.is_reading(), client.deadline), (false, asked + ANSWER_TIMEOUT));
        let taken = asked + Duration::from_secs(5);
        let mut space = vec![0; 1 << 20];
        while !matches!(client.state, State::Ending { .. }) {
            assert_eq!(client.deadline, asked + ANSWER_TIMEOUT, "a slow reader gains no time");
            assert!(there.read(&mut space).is_ok_and(|count| count > 0));
            assert_eq!(client.advance(taken, Hosts::Any, &mut |_| Vec::new()), Next::Wait);
        }
        assert_eq!(client.deadline, taken + END_TIMEOUT);
    }

    #[test]
    fn who_goes_on_sending_behind_a_request_is_closed() {
        let now = Instant::now();
        let (mut client, mut there) = pair(now);
        assert_eq!(request(&mut client, &mut there, now, 10), Next::Wait);
        let mut send = |bytes: usize| {
            there.write_all(&vec![b'x'; bytes]).expect("room");
            client.advance(now, Hosts::Any, &mut |_| Vec::new())
        };
        assert_eq!(send(DROPPED_BYTES_MAX - 1), Next::Wait);
        assert_eq!(send(1), Next::Close);
    }
}

//! One blocking connection to a node, over the text protocol.
//!
//! Everything has a deadline: [`Connection::open`] sets one for connecting and logging in, and each `ask` or
//! [`Connection::extend`] begins a new one. A node that sends byte by byte, just fast enough for a socket's own timeout,
//! is therefore given up too. Lines are limited, so that what is no memcached cannot fill our memory.
//!
//! [`Stream`] is what the bytes go by: TCP, TLS or a Unix socket. What an answer means is its askers' business.

use std::io::{self, Read, Write};
use std::net::{Shutdown, TcpStream, ToSocketAddrs};
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use super::address::Address;
use super::failure::Failure;
use super::statistics::Statistics;
use super::text::printable;
use super::tls::{Encrypted, Tls};

/// How to reach nodes: what all commands have in common.
#[derive(Clone, Debug)]
pub struct Access {
    /// For connecting, and for each answer.
    pub timeout: Duration,
    /// `user password`, for nodes started with `-Y`.
    pub login: Option<String>,
    /// For nodes started with `-Z`. Unix sockets are never encrypted.
    pub tls: Option<Tls>,
}

/// A connection that is logged in where a login was given.
#[derive(Debug)]
pub struct Connection {
    address: Address,
    stream: Stream,
    timeout: Duration,
    deadline: Instant,
    /// `received[start..]` is what was received and not taken: `start <= received.len()`.
    received: Vec<u8>,
    start: usize,
}

/// The transports.
#[derive(Debug)]
enum Stream {
    Tcp(TcpStream),
    Tls(Encrypted),
    Unix(UnixStream),
}

impl Connection {
    /// Connects, makes sure who the node is where TLS is spoken, and logs in.
    pub fn open(address: &Address, access: &Access) -> Result<Connection, Failure> {
        let unreachable = |error: io::Error| Failure::Unreachable { address: address.clone(), cause: reason(&error) };
        let mut connection = Connection {
            address: address.clone(),
            stream: Stream::open(address, access).map_err(unreachable)?,
            timeout: access.timeout,
            deadline: Instant::now() + access.timeout,
            received: Vec::new(),
            start: 0,
        };
        connection.shake_hands()?;
        if let Some(login) = &access.login {
            let line = connection.ask(format!("set login 0 0 {}\r\n{login}\r\n", login.len()).as_bytes())?;
            if line != b"STORED" {
                return Err(connection.surprise(&line));
            }
        }
        Ok(connection)
    }

    /// Until it is over a failure is one of connecting.
    fn shake_hands(&mut self) -> Result<(), Failure> {
        while let Stream::Tls(stream) = &mut self.stream
            && stream.is_handshaking()
        {
            // The deadline is that of the whole handshake.
            let left = self.deadline.saturating_duration_since(Instant::now());
            let result = match left.is_zero() {
                true => Err(io::ErrorKind::TimedOut.into()),
                false => set_timeouts(stream.socket(), left).and_then(|()| stream.step()),
            };
            match result {
                Err(error) if error.kind() == io::ErrorKind::InvalidData => {
                    return Err(Failure::Unreachable { address: self.address.clone(), cause: error.to_string() });
                }
                Err(error) => self.judge(error)?,
                Ok(()) => {}
            }
        }
        Ok(())
    }

    /// Where it leads.
    pub fn address(&self) -> &Address {
        &self.address
    }

    /// Gives the node the whole timeout for what comes next.
    pub fn extend(&mut self) {
        self.deadline = Instant::now() + self.timeout;
    }

    /// Sends a request and takes the first line of its answer.
    pub fn ask(&mut self, request: &[u8]) -> Result<Vec<u8>, Failure> {
        self.extend();
        self.send(request)?;
        self.line()
    }

    /// Sends bytes.
    pub fn send(&mut self, bytes: &[u8]) -> Result<(), Failure> {
        let mut rest = bytes;
        while !rest.is_empty() || self.stream.has_unsent() {
            let remaining = self.remaining()?;
            match self.stream.set_timeouts(remaining).and_then(|()| self.stream.write(rest)) {
                Ok(0) => return Err(self.closed()),
                Ok(count) => rest = &rest[count..],
                Err(error) => self.judge(error)?,
            }
        }
        Ok(())
    }

    /// Takes one line, without its end.
    pub fn line(&mut self) -> Result<Vec<u8>, Failure> {
        let mut searched = 0;
        loop {
            let unread = &self.received[self.start..];
            if let Some(at) = memchr::memchr(b'\n', &unread[searched..]) {
                let line = unread[..searched + at].strip_suffix(b"\r").unwrap_or(&unread[..searched + at]).to_vec();
                self.start += searched + at + 1;
                return Ok(line);
            }
            searched = unread.len();
            if searched > LINE_BYTES_MAX {
                let start = self.received[self.start..][..LINE_SHOWN_MAX].to_vec();
                return Err(self.surprise(&start));
            }
            self.receive()?;
        }
    }

    /// Whether a whole line is there, so that [`Connection::line`] will not wait.
    pub fn has_line(&self) -> bool {
        memchr::memchr(b'\n', &self.received[self.start..]).is_some()
    }

    /// Takes `count` bytes and hands them on piece by piece, each with a new deadline: a large value may take its time as
    /// long as it moves.
    pub fn body(&mut self, count: usize, mut take: impl FnMut(&[u8]) -> Result<(), Failure>) -> Result<(), Failure> {
        let mut remaining = count;
        while remaining > 0 {
            if self.start == self.received.len() {
                self.extend();
                self.receive()?;
            }
            let unread = &self.received[self.start..];
            let length = remaining.min(unread.len());
            take(&unread[..length])?;
            self.start += length;
            remaining -= length;
        }
        Ok(())
    }

    /// The answer to `stats` or `stats WORD`.
    pub fn stats(&mut self, word: &str) -> Result<Statistics, Failure> {
        let request = if word.is_empty() { "stats\r\n".to_owned() } else { format!("stats {word}\r\n") };
        let mut line = self.ask(request.as_bytes())?;
        let mut statistics = Statistics::default();
        while line != b"END" {
            if !statistics.push_line(&line) {
                return Err(self.surprise(&line));
            }
            line = self.line()?;
        }
        Ok(statistics)
    }

    /// Lets the other end know that nothing more comes; errors do not matter any more.
    pub fn close(&mut self) {
        let _ = match &self.stream {
            Stream::Tcp(stream) => stream.shutdown(Shutdown::Both),
            Stream::Tls(stream) => stream.socket().shutdown(Shutdown::Both),
            Stream::Unix(stream) => stream.shutdown(Shutdown::Both),
        };
    }

    /// The failure that an answer means which does not fit the request.
    pub fn surprise(&self, line: &[u8]) -> Failure {
        let shown = &line[..line.len().min(LINE_SHOWN_MAX)];
        Failure::Answer { address: self.address.clone(), line: printable(shown) }
    }

    fn receive(&mut self) -> Result<(), Failure> {
        if self.start > 0 {
            self.received.drain(..self.start);
            self.start = 0;
        }
        let mut piece = [0; PIECE_BYTES];
        loop {
            let remaining = self.remaining()?;
            match self.stream.set_timeouts(remaining).and_then(|()| self.stream.read(&mut piece)) {
                Ok(0) => return Err(self.closed()),
                Ok(count) => {
                    self.received.extend_from_slice(&piece[..count]);
                    return Ok(());
                }
                Err(error) => self.judge(error)?,
            }
        }
    }

    /// What is left of the deadline; never zero, which a socket would take for no timeout at all.
    fn remaining(&self) -> Result<Duration, Failure> {
        let left = self.deadline.saturating_duration_since(Instant::now());
        if left.is_zero() { Err(Failure::Silent { address: self.address.clone() }) } else { Ok(left) }
    }

    /// Whether an error of the socket only means: again.
    fn judge(&self, error: io::Error) -> Result<(), Failure> {
        match error.kind() {
            io::ErrorKind::Interrupted => Ok(()),
            io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut => {
                Err(Failure::Silent { address: self.address.clone() })
            }
            _ => Err(Failure::Lost { address: self.address.clone(), cause: reason(&error) }),
        }
    }

    fn closed(&self) -> Failure {
        // An alert, which is how a node that expects TLS answers a request in plain text.
        let cause = match &self.received[self.start..] {
            [0x15, 0x03, ..] => "the node speaks TLS (--tls)",
            _ => "closed by the node",
        };
        Failure::Lost { address: self.address.clone(), cause: cause.to_owned() }
    }
}

impl Stream {
    /// Tries all addresses of a host name in turn, with the whole timeout each.
    fn open(address: &Address, access: &Access) -> io::Result<Stream> {
        let (host, port) = match address {
            Address::Unix(path) => return UnixStream::connect(path).map(Stream::Unix),
            Address::Tcp { host, port } => (host.as_str(), *port),
        };
        let mut failure = io::Error::new(io::ErrorKind::NotFound, "the host has no address");
        for candidate in (host, port).to_socket_addrs()? {
            match TcpStream::connect_timeout(&candidate, access.timeout) {
                Ok(stream) => {
                    stream.set_nodelay(true)?;
                    return match &access.tls {
                        None => Ok(Stream::Tcp(stream)),
                        Some(tls) => tls.open(host, stream).map(Stream::Tls),
                    };
                }
                Err(error) => failure = error,
            }
        }
        Err(failure)
    }

    /// For reading and for writing.
    fn set_timeouts(&self, timeout: Duration) -> io::Result<()> {
        match self {
            Stream::Tcp(stream) => set_timeouts(stream, timeout),
            Stream::Tls(stream) => set_timeouts(stream.socket(), timeout),
            Stream::Unix(stream) => {
                stream.set_read_timeout(Some(timeout)).and_then(|()| stream.set_write_timeout(Some(timeout)))
            }
        }
    }

    fn read(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
        match self {
            Stream::Tcp(stream) => stream.read(bytes),
            Stream::Tls(stream) => stream.read(bytes),
            Stream::Unix(stream) => stream.read(bytes),
        }
    }

    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Stream::Tcp(stream) => stream.write(bytes),
            Stream::Tls(stream) => stream.write(bytes),
            Stream::Unix(stream) => stream.write(bytes),
        }
    }

    /// Whether what was written waits to be sent.
    fn has_unsent(&self) -> bool {
        matches!(self, Stream::Tls(stream) if stream.has_unsent())
    }
}

/// TLS reads where it writes and writes where it reads, so both have the same.
fn set_timeouts(socket: &TcpStream, timeout: Duration) -> io::Result<()> {
    socket.set_read_timeout(Some(timeout))?;
    socket.set_write_timeout(Some(timeout))
}

/// An error's text without the number that std adds.
fn reason(error: &io::Error) -> String {
    let text = error.to_string();
    // Ours, with a cipher's or an alert's name in it.
    if error.kind() == io::ErrorKind::InvalidData {
        return text;
    }
    text.split(" (os error").next().unwrap_or_default().to_lowercase()
}

/// Longest line taken. memcached's longest are those of `lru_crawler metadump`, below 1 KiB.
const LINE_BYTES_MAX: usize = 64 * 1024;

/// Bytes of an unexpected line that are shown.
const LINE_SHOWN_MAX: usize = 120;

/// Received at a time.
const PIECE_BYTES: usize = 64 * 1024;

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::TcpListener;
    use std::thread::{self, JoinHandle};

    /// A node that says `answers` in turn, each once something has come in, and then closes.
    fn node(answers: &'static [&'static [u8]]) -> (Address, JoinHandle<Vec<u8>>) {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a loopback port");
        let port = listener.local_addr().expect("bound").port();
        let heard = thread::spawn(move || {
            let (mut stream, _) = listener.accept().expect("a client");
            let mut heard = Vec::new();
            for answer in answers {
                let mut piece = [0; 4096];
                let count = stream.read(&mut piece).unwrap_or(0);
                heard.extend_from_slice(&piece[..count]);
                let _ = stream.write_all(answer);
            }
            heard
        });
        (Address::Tcp { host: "127.0.0.1".to_owned(), port }, heard)
    }

    fn access(milliseconds: u64) -> Access {
        Access { timeout: Duration::from_millis(milliseconds), login: None, tls: None }
    }

    #[test]
    fn statistics_are_taken_to_their_end() {
        let (address, heard) = node(&[b"STAT a 1\r\nSTAT b two words\r\nEND\r\n"]);
        let mut connection = Connection::open(&address, &access(5000)).expect("open");
        let statistics = connection.stats("x").expect("statistics");
        assert_eq!(statistics.text("b"), Some("two words"));
        assert_eq!(heard.join().expect("node"), b"stats x\r\n");
    }

    #[test]
    fn a_login_comes_first() {
        let (address, heard) = node(&[b"STORED\r\n"]);
        let access = Access { login: Some("me secret".to_owned()), ..access(5000) };
        assert!(Connection::open(&address, &access).is_ok());
        assert_eq!(heard.join().expect("node"), b"set login 0 0 9\r\nme secret\r\n");
        let (address, _) = node(&[b"CLIENT_ERROR authentication failure\r\n"]);
        let failure = Connection::open(&address, &access).expect_err("refused");
        assert!(failure.to_string().ends_with("unexpected answer: CLIENT_ERROR authentication failure"));
    }

    #[test]
    fn what_goes_wrong_has_a_cause() {
        let (address, _) = node(&[b"ERROR\r\n"]);
        let failure = Connection::open(&address, &access(5000)).and_then(|mut open| open.stats(""));
        assert_eq!(failure, Err(Failure::Answer { address, line: "ERROR".to_owned() }));

        let (address, _) = node(&[b"STAT a"]);
        let failure = Connection::open(&address, &access(5000)).and_then(|mut open| open.stats(""));
        assert!(matches!(failure, Err(Failure::Lost { .. })), "{failure:?}");

        let listener = TcpListener::bind("127.0.0.1:0").expect("a loopback port");
        let address = Address::parse(&listener.local_addr().expect("bound").to_string()).expect("an address");
        let failure = Connection::open(&address, &access(50)).and_then(|mut open| open.stats(""));
        assert_eq!(failure, Err(Failure::Silent { address: address.clone() }));
        drop(listener);
        let failure = Connection::open(&address, &access(50)).map(|_| ()).expect_err("closed");
        assert_eq!(failure.to_string(), format!("{address}: cannot connect: connection refused"));
    }

    #[test]
    fn unix_sockets_are_reached() {
        let path = std::env::temp_dir().join(format!("slabstash-terminal-{}.sock", std::process::id()));
        let listener = std::os::unix::net::UnixListener::bind(&path).expect("a socket");
        let node = thread::spawn(move || {
            let (mut stream, _) = listener.accept().expect("a client");
            let _ = stream.write_all(b"VERSION 1\r\n");
        });
        let mut connection = Connection::open(&Address::Unix(path.clone()), &access(5000)).expect("open");
        assert_eq!(connection.line(), Ok(b"VERSION 1".to_vec()));
        node.join().expect("node");
        std::fs::remove_file(&path).expect("the socket");
    }

    #[test]
    fn a_line_without_an_end_is_given_up() {
        static LONG: [u8; LINE_BYTES_MAX + PIECE_BYTES] = [b'x'; LINE_BYTES_MAX + PIECE_BYTES];
        static ANSWERS: [&[u8]; 1] = [&LONG];
        let (address, _) = node(&ANSWERS);
        let failure = Connection::open(&address, &access(5000)).and_then(|mut open| open.stats(""));
        assert_eq!(failure, Err(Failure::Answer { address, line: "x".repeat(LINE_SHOWN_MAX) }));
    }
}

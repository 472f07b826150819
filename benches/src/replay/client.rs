//! The look-aside client of a live replay: one connection, so that the server sees the trace in order.
//!
//! Gets go out in batches of distinct keys; what missed is set together with the next batch's gets, before them. So a key
//! is never asked for before the set that its last miss caused, and a round trip serves many requests. A get may pass the
//! set of another key by at most a batch.
//!
//! A value is a piece of one block of random bytes; where it begins depends on the key. Every byte of every reply is
//! checked.

use std::io::{self, BufRead, BufReader, ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use crate::random::{Random, mix};

use super::plan::{Key, Plan};

/// What a replay came to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// Gets made.
    pub gets: u64,
    /// Those that found nothing.
    pub misses: u64,
    /// Sets that the server refused for want of memory.
    pub refused: u64,
}

/// The connection.
pub struct Client {
    stream: BufReader<TcpStream>,
    block: Vec<u8>,
    request: Vec<u8>,
    /// Keys asked for in this batch, with the bytes of their values.
    asked: Vec<(Key, usize)>,
    /// Sets sent with this batch.
    sets: usize,
    line: Vec<u8>,
    value: Vec<u8>,
    tally: Tally,
}

impl Client {
    /// Connects.
    pub fn connect(address: SocketAddr) -> io::Result<Client> {
        let stream = TcpStream::connect(address)?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(REPLY_TIMEOUT))?;
        let mut random = Random::new(BLOCK_BYTES as u64);
        Ok(Client {
            stream: BufReader::with_capacity(256 << 10, stream),
            block: (0..BLOCK_BYTES / 8).flat_map(|_| random.next().to_le_bytes()).collect(),
            request: Vec::new(),
            asked: Vec::new(),
            sets: 0,
            line: Vec::new(),
            value: Vec::new(),
            tally: Tally::default(),
        })
    }

    /// Makes all requests of a plan.
    pub fn replay(&mut self, plan: &Plan) -> io::Result<Tally> {
        self.tally = Tally::default();
        for request in &plan.trace.requests {
            for copy in 0..plan.copies {
                let (key, value_bytes) = (plan.key(request.key, copy), plan.value_bytes(request.key, copy));
                if self.asked.len() == BATCH || self.asked.iter().any(|&(asked, _)| asked == key) {
                    self.exchange()?;
                }
                if request.is_set {
                    self.exchange()?;
                    self.write_set(key, value_bytes);
                } else {
                    self.asked.push((key, value_bytes));
                }
            }
        }
        while !self.asked.is_empty() || self.sets > 0 {
            self.exchange()?;
        }
        Ok(self.tally)
    }

    /// Sends the sets that wait and the gets of the batch, reads all replies and prepares the sets of what missed.
    fn exchange(&mut self) -> io::Result<()> {
        for &(key, _) in &self.asked {
            self.request.extend_from_slice(b"get ");
            key.write(&mut self.request);
            self.request.extend_from_slice(b"\r\n");
        }
        self.stream.get_mut().write_all(&self.request)?;
        self.request.clear();
        for _ in 0..std::mem::take(&mut self.sets) {
            self.read_line()?;
            match &self.line[..] {
                b"STORED\r\n" => {}
                OUT_OF_MEMORY => self.tally.refused += 1,
                _ => return Err(self.unexpected()),
            }
        }
        let asked = std::mem::take(&mut self.asked);
        for &(key, value_bytes) in &asked {
            self.tally.gets += 1;
            if !self.read_value(key, value_bytes)? {
                self.tally.misses += 1;
                self.write_set(key, value_bytes);
            }
        }
        self.asked = asked;
        self.asked.clear();
        Ok(())
    }

    fn write_set(&mut self, key: Key, value_bytes: usize) {
        self.request.extend_from_slice(b"set ");
        key.write(&mut self.request);
        write!(self.request, " 0 0 {value_bytes}\r\n").expect("a vector takes every write");
        self.request.extend_from_slice(piece(&self.block, key, value_bytes));
        self.request.extend_from_slice(b"\r\n");
        self.sets += 1;
    }

    /// Reads the reply to a get; false for a miss.
    fn read_value(&mut self, key: Key, value_bytes: usize) -> io::Result<bool> {
        self.read_line()?;
        if self.line == b"END\r\n" {
            return Ok(false);
        }
        let mut expected = b"VALUE ".to_vec();
        key.write(&mut expected);
        write!(expected, " 0 {value_bytes}\r\n")?;
        if self.line != expected {
            return Err(self.unexpected());
        }
        self.value.resize(value_bytes + END.len(), 0);
        self.stream.read_exact(&mut self.value)?;
        let (value, end) = self.value.split_at(value_bytes);
        match value == piece(&self.block, key, value_bytes) && end == END {
            true => Ok(true),
            false => Err(io::Error::new(ErrorKind::InvalidData, "another item's value")),
        }
    }

    fn read_line(&mut self) -> io::Result<()> {
        self.line.clear();
        self.stream.read_until(b'\n', &mut self.line)?;
        Ok(())
    }

    fn unexpected(&self) -> io::Error {
        let line = String::from_utf8_lossy(&self.line);
        io::Error::new(ErrorKind::InvalidData, format!("unexpected answer \"{}\"", line.trim_end().escape_debug()))
    }
}

/// The value of a key.
fn piece(block: &[u8], key: Key, value_bytes: usize) -> &[u8] {
    let begin = mix(key.0) as usize % (block.len() / 2);
    &block[begin..begin + value_bytes]
}

/// Gets on the way at a time.
const BATCH: usize = 64;
/// Twice the largest value.
const BLOCK_BYTES: usize = 2 << 20;
const END: &[u8] = b"\r\nEND\r\n";
const OUT_OF_MEMORY: &[u8] = b"SERVER_ERROR out of memory storing object\r\n";
const REPLY_TIMEOUT: Duration = Duration::from_secs(10);

#[cfg(test)]
mod tests {
    use std::net::TcpListener;
    use std::thread;

    use super::*;
    use crate::replay::trace::{Request, Trace};

    /// A server that holds nothing and answers a set by `stored`; it counts what it saw in order.
    fn serve(stored: &'static str) -> (SocketAddr, thread::JoinHandle<Vec<String>>) {
        let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
        let address = listener.local_addr().unwrap();
        let server = thread::spawn(move || {
            let (stream, _) = listener.accept().unwrap();
            let mut lines = BufReader::new(stream);
            let (mut seen, mut line) = (Vec::new(), Vec::new());
            while lines.read_until(b'\n', &mut line).unwrap_or(0) > 0 {
                let text = String::from_utf8_lossy(&line).trim_end().to_string();
                line.clear();
                let answer = match text.strip_prefix("set ") {
                    None => "END\r\n",
                    Some(rest) => {
                        let bytes: usize = rest.rsplit(' ').next().unwrap().parse().unwrap();
                        lines.read_exact(&mut vec![0; bytes + 2]).unwrap();
                        stored
                    }
                };
                lines.get_mut().write_all(answer.as_bytes()).unwrap();
                seen.push(text);
            }
            seen
        });
        (address, server)
    }

    fn plan(keys: &[u32]) -> Plan {
        let request = |&key| Request { time: 0, key, ttl: 0, is_set: false };
        Plan {
            trace: Trace { requests: keys.iter().map(request).collect(), sizes: vec![20; 9] },
            copies: 1,
            footprint: 0,
        }
    }

    #[test]
    fn a_key_is_set_before_it_is_asked_for_again() {
        let (address, server) = serve("STORED\r\n");
        let mut client = Client::connect(address).unwrap();
        assert_eq!(client.replay(&plan(&[1, 2, 1])).unwrap(), Tally { gets: 3, misses: 3, refused: 0 });
        drop(client);
        let seen = server.join().unwrap();
        let kinds: Vec<(&str, &str)> = seen.iter().map(|line| (&line[..3], &line[14..15])).collect();
        assert_eq!(kinds, [("get", "1"), ("get", "2"), ("set", "1"), ("set", "2"), ("get", "1"), ("set", "1")]);
    }

    #[test]
    fn refused_sets_are_counted_and_other_answers_end_the_replay() {
        let (address, _server) = serve("SERVER_ERROR out of memory storing object\r\n");
        assert_eq!(Client::connect(address).unwrap().replay(&plan(&[1, 2])).unwrap().refused, 2);
        let (address, _server) = serve("ERROR\r\n");
        let error = Client::connect(address).unwrap().replay(&plan(&[1])).unwrap_err();
        assert!(error.to_string().contains("ERROR"), "{error}");
    }
}

//! A client's connection: sends bytes, whole or cut in two, and waits for what must come back.

use std::io::{ErrorKind, Read, Write};
use std::net::{Ipv4Addr, Shutdown, TcpStream};
use std::thread;
use std::time::Duration;

use crate::matcher::{Outcome, matches};
use crate::packet::Packet;
use crate::template::{Bindings, Piece};
use crate::tls::{Encrypted, Trust};

/// One connection to the server under test.
#[derive(Debug)]
pub struct Connection {
    stream: TcpStream,
    tls: Option<Encrypted>,
    /// What has come and was not expected yet.
    received: Vec<u8>,
    first_sent: Option<u8>,
    is_ended: bool,
}

impl Connection {
    /// Connects to the server on a loopback port, by TLS if there is someone to trust.
    pub fn open(port: u16, trust: Option<&Trust>) -> Result<Connection, String> {
        let fail = |error: std::io::Error| format!("cannot connect: {error}");
        let stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).map_err(fail)?;
        stream.set_nodelay(true).map_err(fail)?;
        stream.set_read_timeout(Some(REPLY_TIMEOUT)).map_err(fail)?;
        stream.set_write_timeout(Some(REPLY_TIMEOUT)).map_err(fail)?;
        let mut connection = Connection { stream, tls: None, received: Vec::new(), first_sent: None, is_ended: false };
        if let Some(trust) = trust {
            connection.tls = Some(trust.begin(&mut connection.stream).map_err(fail)?);
        }
        Ok(connection)
    }

    /// Sends bytes, in two writes if `cut` falls inside of them.
    ///
    /// A server may close before it has read everything, so failed writes are no failure here: what comes back decides.
    pub fn send(&mut self, bytes: &[u8], cut: Option<usize>) {
        self.first_sent = self.first_sent.or(bytes.first().copied());
        let encrypted = self.tls.as_mut().map(|tls| tls.encrypt(bytes));
        let bytes = encrypted.as_deref().unwrap_or(bytes);
        match cut {
            Some(cut) if cut < bytes.len() => {
                let _ = self.stream.write_all(&bytes[..cut]);
                thread::sleep(CUT_PAUSE);
                let _ = self.stream.write_all(&bytes[cut..]);
            }
            _ => {
                let _ = self.stream.write_all(bytes);
            }
        }
    }

    /// Waits for input that matches `pieces` and consumes it.
    pub fn expect(&mut self, pieces: &[Piece], bindings: &mut Bindings) -> Result<(), String> {
        loop {
            match matches(pieces, &self.received, bindings)? {
                Outcome::Match(length) => {
                    self.received.drain(..length);
                    return Ok(());
                }
                Outcome::Mismatch => {
                    return Err(format!("received {}", self.received.escape_short()));
                }
                Outcome::More => self.read().map_err(|error| self.failure(&error))?,
            }
        }
    }

    /// Waits for the server to close the connection.
    pub fn expect_close(&mut self) -> Result<(), String> {
        while self.received.is_empty() {
            match self.read() {
                Ok(()) => {}
                Err(ReadError::Closed) => return Ok(()),
                Err(error) => return Err(self.failure(&error)),
            }
        }
        Err(format!("received {} instead of a close", self.received.escape_short()))
    }

    /// Checks that the server has nothing else to say, by asking for something in whatever protocol was spoken.
    pub fn probe(&mut self) -> Result<(), String> {
        if self.is_ended {
            return self.expect_close();
        }
        let (question, answer) = match self.first_sent {
            None => return Ok(()),
            Some(0x80) => (Packet::request("noop opaque=0000beef")?, Packet::response("noop opaque=0000beef")?),
            Some(_) => {
                self.send(b"mn\r\n", None);
                return self.expect(&[Piece::Bytes(b"MN\r\n".to_vec())], &mut Bindings::new(crate::version::REFERENCE));
            }
        };
        let mut bindings = Bindings::new(crate::version::REFERENCE);
        self.send(&question.build(&bindings)?, None);
        self.expect(&[Piece::Packet(Box::new(answer))], &mut bindings)
    }

    /// Ends the sending side.
    pub fn end_sending(&mut self) {
        self.is_ended = true;
        if let Some(tls) = &mut self.tls {
            let _ = self.stream.write_all(&tls.close());
        }
        let _ = self.stream.shutdown(Shutdown::Write);
    }

    fn read(&mut self) -> Result<(), ReadError> {
        let mut buffer = [0; READ_BYTES];
        let read = match &mut self.tls {
            Some(tls) => tls.read(&mut self.stream, &mut buffer),
            None => self.stream.read(&mut buffer),
        };
        match read {
            Ok(0) => Err(ReadError::Closed),
            Ok(length) => {
                self.received.extend_from_slice(&buffer[..length]);
                Ok(())
            }
            Err(error) => match error.kind() {
                ErrorKind::ConnectionReset | ErrorKind::BrokenPipe | ErrorKind::UnexpectedEof => Err(ReadError::Closed),
                ErrorKind::Interrupted => Ok(()),
                _ => Err(ReadError::TimedOut),
            },
        }
    }

    fn failure(&self, error: &ReadError) -> String {
        let reason = match error {
            ReadError::Closed => "closed",
            ReadError::TimedOut => "timed out",
        };
        format!("{reason} after {}", self.received.escape_short())
    }
}

/// Why nothing more was read.
#[derive(Debug)]
enum ReadError {
    Closed,
    TimedOut,
}

/// Readable forms of bytes.
trait Escape {
    fn escape_short(&self) -> String;
}

impl Escape for [u8] {
    fn escape_short(&self) -> String {
        let shown = &self[..self.len().min(SHOWN_BYTES_MAX)];
        let dots = if shown.len() < self.len() { "..." } else { "" };
        format!("\"{}\"{dots} ({} bytes)", shown.escape_ascii(), self.len())
    }
}

/// How long a reply may take; memcached's slowest, to `watch`, takes about a second.
const REPLY_TIMEOUT: Duration = Duration::from_secs(20);

/// Between the two writes of a cut: long enough for a server to read the first one, mostly. A server that has not is not
/// wrong, it only made the cut invisible.
const CUT_PAUSE: Duration = Duration::from_micros(150);

const READ_BYTES: usize = 64 * 1024;
const SHOWN_BYTES_MAX: usize = 400;

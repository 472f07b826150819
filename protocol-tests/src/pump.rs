//! A connection that reads while it writes, so that a server that answers before it reads on never blocks both sides.
//! In the clear or by TLS.

use std::io::{ErrorKind, Read, Write};
use std::net::{Ipv4Addr, Shutdown, TcpStream};
use std::thread;
use std::time::{Duration, Instant};

use crate::tls::{Encrypted, Trust};

/// How a step ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Pumped {
    /// As far as asked.
    Done,
    /// The server closed the connection.
    Closed,
}

/// A non-blocking connection and what has come over it.
#[derive(Debug)]
pub struct Pump {
    stream: TcpStream,
    tls: Option<Encrypted>,
    /// What was received and not taken yet.
    pub received: Vec<u8>,
    /// Whether the connection was reset: the server closed it with requests unread. Replies on their way are lost then.
    pub is_reset: bool,
    buffer: Box<[u8]>,
}

impl Pump {
    /// Connects to the server on a loopback port.
    pub fn open(port: u16) -> Result<Pump, String> {
        Pump::open_by(port, None)
    }

    /// [`Pump::open`], by TLS if there is someone to trust.
    pub fn open_by(port: u16, trust: Option<&Trust>) -> Result<Pump, String> {
        let fail = |error: std::io::Error| format!("cannot connect: {error}");
        let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).map_err(fail)?;
        stream.set_nodelay(true).map_err(fail)?;
        let tls = trust.map(|trust| trust.begin(&mut stream)).transpose().map_err(fail)?;
        stream.set_nonblocking(true).map_err(fail)?;
        Ok(Pump { stream, tls, received: Vec::new(), is_reset: false, buffer: vec![0; READ_BYTES].into_boxed_slice() })
    }

    /// Sends all of `bytes` and takes what comes meanwhile. No progress for a long time is an error.
    pub fn send(&mut self, bytes: &[u8]) -> Result<Pumped, String> {
        let encrypted = self.tls.as_mut().map(|tls| tls.encrypt(bytes));
        let mut rest = encrypted.as_deref().unwrap_or(bytes);
        let mut since = Instant::now();
        while !rest.is_empty() {
            let before = self.received.len();
            match self.stream.write(rest) {
                Ok(count) => {
                    rest = &rest[count..];
                    since = Instant::now();
                    continue;
                }
                Err(error) if is_not_yet(error.kind()) => {}
                Err(_) => {
                    self.is_reset = true;
                    return Ok(Pumped::Closed);
                }
            }
            if self.drain() == Pumped::Closed {
                return Ok(Pumped::Closed);
            }
            if self.received.len() > before {
                since = Instant::now();
            } else if since.elapsed() > PROGRESS_TIMEOUT {
                return Err(format!("the server takes no input, {} bytes are left", rest.len()));
            } else {
                thread::sleep(POLL);
            }
        }
        Ok(Pumped::Done)
    }

    /// Takes what has come, without waiting.
    pub fn drain(&mut self) -> Pumped {
        loop {
            let read = match &mut self.tls {
                Some(tls) => tls.read(&mut self.stream, &mut self.buffer),
                None => self.stream.read(&mut self.buffer),
            };
            match read {
                Ok(0) => return Pumped::Closed,
                Ok(count) => self.received.extend_from_slice(&self.buffer[..count]),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Pumped::Done,
                Err(_) => {
                    self.is_reset = true;
                    return Pumped::Closed;
                }
            }
        }
    }

    /// Ends the sending side.
    pub fn end_sending(&mut self) {
        if let Some(tls) = &mut self.tls {
            let farewell = tls.close();
            let _ = self.stream.write_all(&farewell);
        }
        // Fails when the server was first.
        let _ = self.stream.shutdown(Shutdown::Write);
    }

    /// Ends the sending side and takes what still comes until the server closes, too.
    pub fn finish(&mut self) -> Result<(), String> {
        self.end_sending();
        while self.wait()? == Pumped::Done {}
        Ok(())
    }

    /// Waits until something more has come. Nothing for a long time is an error.
    pub fn wait(&mut self) -> Result<Pumped, String> {
        let before = self.received.len();
        let since = Instant::now();
        loop {
            let pumped = self.drain();
            if self.received.len() > before {
                return Ok(Pumped::Done);
            }
            if pumped == Pumped::Closed {
                return Ok(Pumped::Closed);
            }
            if since.elapsed() > PROGRESS_TIMEOUT {
                return Err("the server does not answer".to_string());
            }
            thread::sleep(POLL);
        }
    }
}

fn is_not_yet(kind: ErrorKind) -> bool {
    matches!(kind, ErrorKind::WouldBlock | ErrorKind::Interrupted)
}

const READ_BYTES: usize = 256 * 1024;
const PROGRESS_TIMEOUT: Duration = Duration::from_secs(20);
const POLL: Duration = Duration::from_micros(50);

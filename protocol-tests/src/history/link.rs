//! A client's connection that never blocks, plain or over TLS, with what has come and was not taken yet.

use std::io::{ErrorKind, Read, Write};
use std::net::{Ipv4Addr, TcpStream};
use std::thread;
use std::time::{Duration, Instant};

use crate::tls::{Encrypted, Trust};

/// A connection.
#[derive(Debug)]
pub struct Link {
    stream: TcpStream,
    tls: Option<Encrypted>,
    buffer: Vec<u8>,
    /// 0 <= read <= filled <= buffer.len()
    read: usize,
    filled: usize,
}

impl Link {
    /// Connects to a loopback port, by TLS if there is someone to trust.
    pub fn open(port: u16, trust: Option<&Trust>) -> Result<Link, String> {
        let fail = |error: std::io::Error| format!("cannot connect: {error}");
        let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).map_err(fail)?;
        stream.set_nodelay(true).map_err(fail)?;
        stream.set_read_timeout(Some(TIMEOUT)).map_err(fail)?;
        let tls = trust.map(|trust| trust.begin(&mut stream)).transpose().map_err(fail)?;
        stream.set_nonblocking(true).map_err(fail)?;
        Ok(Link { stream, tls, buffer: vec![0; BUFFER_BYTES], read: 0, filled: 0 })
    }

    /// Sends all of `bytes`, and takes what comes meanwhile so that the server never waits for us.
    pub fn send(&mut self, bytes: &[u8]) -> Result<(), String> {
        let encrypted = self.tls.as_mut().map(|tls| tls.encrypt(bytes));
        let mut rest = encrypted.as_deref().unwrap_or(bytes);
        let since = Instant::now();
        while !rest.is_empty() {
            match self.stream.write(rest) {
                Ok(count) => rest = &rest[count..],
                Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) => {
                    if self.take_more()? == 0 {
                        thread::sleep(POLL);
                    }
                }
                Err(error) => return Err(format!("cannot send: {error}")),
            }
            if since.elapsed() > TIMEOUT {
                return Err("the server takes no input".to_string());
            }
        }
        Ok(())
    }

    /// What has come.
    pub fn received(&self) -> &[u8] {
        &self.buffer[self.read..self.filled]
    }

    /// Lets go of so many bytes at the front.
    pub fn consume(&mut self, count: usize) {
        self.read += count;
    }

    /// Waits until something more has come.
    pub fn wait(&mut self) -> Result<(), String> {
        let since = Instant::now();
        while self.take_more()? == 0 {
            if since.elapsed() > TIMEOUT {
                return Err("the server does not answer".to_string());
            }
            thread::sleep(POLL);
        }
        Ok(())
    }

    fn take_more(&mut self) -> Result<usize, String> {
        if self.read > 0 && (self.read == self.filled || self.filled == self.buffer.len()) {
            self.buffer.copy_within(self.read..self.filled, 0);
            (self.read, self.filled) = (0, self.filled - self.read);
        }
        if self.filled == self.buffer.len() {
            self.buffer.resize(self.buffer.len() * 2, 0);
        }
        let space = &mut self.buffer[self.filled..];
        let taken = match &mut self.tls {
            Some(tls) => tls.read(&mut self.stream, space),
            None => self.stream.read(space),
        };
        match taken {
            Ok(0) => Err("the server has closed the connection".to_string()),
            Ok(count) => {
                self.filled += count;
                Ok(count)
            }
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) => Ok(0),
            Err(error) => Err(format!("the connection broke: {error}")),
        }
    }
}

const BUFFER_BYTES: usize = 256 << 10;
/// No answer takes as long; what began longer ago than this is over.
pub const TIMEOUT: Duration = Duration::from_secs(20);
const POLL: Duration = Duration::from_micros(40);

//! The admin listener's socket and the connections it accepts: TCP or Unix, never waiting.

use std::fmt;
use std::io::{self, Read, Write};
use std::net::{Shutdown, SocketAddr};
use std::path::{Path, PathBuf};

use mio::event::Source;
use mio::net::{TcpListener, TcpStream, UnixListener, UnixStream};
use mio::{Interest, Registry, Token};
use rustix::fs::Mode;
use rustix::process::umask;

use crate::sys::socket_file;

/// Where to listen.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Address {
    /// An address and a port; 0 is any free one.
    Internet(SocketAddr),
    /// A path. A socket that is left over there is replaced, one that somebody listens to is not.
    Unix(PathBuf),
}

impl fmt::Display for Address {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Address::Internet(address) => address.fmt(formatter),
            Address::Unix(path) => write!(formatter, "unix:{}", path.display()),
        }
    }
}

/// A socket that accepts connections.
#[derive(Debug)]
pub struct Listener {
    socket: Socket,
}

#[derive(Debug)]
enum Socket {
    Tcp(TcpListener),
    Unix(UnixListener),
}

impl Listener {
    /// Listens. A Unix socket is for this user alone, from the start.
    pub fn open(address: &Address) -> io::Result<Self> {
        let socket = match address {
            Address::Internet(address) => Socket::Tcp(TcpListener::bind(*address)?),
            Address::Unix(path) => Socket::Unix(open_unix(path)?),
        };
        Ok(Self { socket })
    }

    /// Where it listens, with the port that was free.
    pub fn address(&self, asked: &Address) -> Address {
        match &self.socket {
            Socket::Tcp(socket) => socket.local_addr().map_or(asked.clone(), Address::Internet),
            Socket::Unix(_) => asked.clone(),
        }
    }

    pub(super) fn source(&mut self) -> &mut dyn Source {
        match &mut self.socket {
            Socket::Tcp(socket) => socket,
            Socket::Unix(socket) => socket,
        }
    }

    pub(super) fn accept(&self) -> io::Result<Stream> {
        match &self.socket {
            Socket::Tcp(socket) => Ok(Stream::Tcp(socket.accept()?.0)),
            Socket::Unix(socket) => Ok(Stream::Unix(socket.accept()?.0)),
        }
    }
}

fn open_unix(path: &Path) -> io::Result<UnixListener> {
    socket_file::make_way(path)?;
    let previous = umask(Mode::from_raw_mode(0o177));
    let bound = UnixListener::bind(path);
    umask(previous);
    bound
}

/// A connection.
#[derive(Debug)]
pub(super) enum Stream {
    Tcp(TcpStream),
    Unix(UnixStream),
}

impl Stream {
    pub fn register(&mut self, registry: &Registry, token: Token) -> io::Result<()> {
        let both = Interest::READABLE | Interest::WRITABLE;
        match self {
            Stream::Tcp(stream) => registry.register(stream, token, both),
            Stream::Unix(stream) => registry.register(stream, token, both),
        }
    }

    pub fn read(&mut self, space: &mut [u8]) -> io::Result<usize> {
        match self {
            Stream::Tcp(stream) => stream.read(space),
            Stream::Unix(stream) => stream.read(space),
        }
    }

    pub fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Stream::Tcp(stream) => stream.write(bytes),
            Stream::Unix(stream) => stream.write(bytes),
        }
    }

    /// Says that nothing more will be sent.
    pub fn end(&self) {
        // When that fails the connection is broken, which reading finds out.
        let _ = match self {
            Stream::Tcp(stream) => stream.shutdown(Shutdown::Write),
            Stream::Unix(stream) => stream.shutdown(Shutdown::Write),
        };
    }
}

//! A client's byte stream, whatever carries it: TCP, a Unix socket, or TLS on TCP.
//!
//! Reads and writes never block. [`Stream::is_drained_by`] is the one place that knows when an edge-triggered reader
//! may stop: for a plain socket a short read means that the kernel's buffer was empty, so the read that would end in
//! `EAGAIN` is never made. TLS says `false` while it holds decrypted bytes. It works in memory that the worker lends.

use std::io::{self, IoSlice, IoSliceMut, Read, Write};
use std::os::fd::AsRawFd;

use mio::event::Source;
use mio::net::{TcpStream, UnixStream};
use mio::{Interest, Registry, Token};
use rustix::net::{RecvFlags, SendFlags, recv, send};

use super::tls::{Terms, TlsStream, Workspace};

/// A connected client.
#[derive(Debug)]
pub enum Stream {
    /// TCP over IPv4 or IPv6.
    Tcp(TcpStream),
    /// A Unix domain socket.
    Unix(UnixStream),
    /// TLS over TCP.
    Tls(Box<TlsStream>),
}

impl Stream {
    /// The same connection, encrypted as `terms` say. Only TCP is ever encrypted.
    pub fn encrypted(self, terms: &Terms) -> Result<Self, rustls::Error> {
        match self {
            Self::Tcp(socket) => Ok(Self::Tls(Box::new(TlsStream::new(socket, terms.session()?)))),
            other => Ok(other),
        }
    }

    /// Whether a handshake goes on, which costs as much as many requests.
    #[inline]
    pub fn is_handshaking(&self) -> bool {
        matches!(self, Self::Tls(stream) if stream.is_handshaking())
    }

    /// Whether something waits for the socket that the caller has not written.
    #[inline]
    pub fn has_own_output(&self) -> bool {
        matches!(self, Self::Tls(stream) if stream.has_own_output())
    }

    /// Takes leave of the client before the connection is dropped.
    pub fn say_goodbye(&mut self, workspace: &mut Workspace) {
        if let Self::Tls(stream) = self {
            stream.say_goodbye(workspace);
        }
    }

    /// Counts a handshake that takes too long; the connection is dropped next.
    pub fn time_out_handshake(&mut self, workspace: &mut Workspace) {
        if let Self::Tls(stream) = self {
            stream.time_out(workspace);
        }
    }

    /// The descriptor's number, as statistics and watchers show it.
    pub fn descriptor(&self) -> i32 {
        match self {
            Self::Tcp(stream) => stream.as_raw_fd(),
            Self::Unix(stream) => stream.as_raw_fd(),
            Self::Tls(stream) => stream.descriptor(),
        }
    }

    /// The transport as watchers name it.
    pub fn transport(&self) -> &'static str {
        match self {
            Self::Tcp(_) | Self::Tls(_) => "tcp",
            Self::Unix(_) => "local",
        }
    }

    /// Whether it is TCP; only TCP clients are closed for being idle.
    pub fn is_tcp(&self) -> bool {
        matches!(self, Self::Tcp(_) | Self::Tls(_))
    }

    /// Whether a read of `count` bytes into `space` bytes shows that nothing more waits.
    #[inline]
    pub fn is_drained_by(&self, count: usize, space: usize) -> bool {
        match self {
            Self::Tcp(_) | Self::Unix(_) => count < space,
            Self::Tls(stream) => stream.is_drained(),
        }
    }

    /// Reads once.
    #[inline(always)]
    pub fn read(&mut self, space: &mut [u8], workspace: &mut Workspace) -> io::Result<usize> {
        let (count, _) = match self {
            Self::Tcp(stream) => recv(stream, space, RecvFlags::empty())?,
            Self::Unix(stream) => recv(stream, space, RecvFlags::empty())?,
            Self::Tls(stream) => return stream.read(&mut [IoSliceMut::new(space)], workspace),
        };
        Ok(count)
    }

    /// Reads once into several places in order.
    pub fn read_vectored(&mut self, slices: &mut [IoSliceMut<'_>], workspace: &mut Workspace) -> io::Result<usize> {
        match self {
            Self::Tcp(stream) => stream.read_vectored(slices),
            Self::Unix(stream) => stream.read_vectored(slices),
            Self::Tls(stream) => stream.read(slices, workspace),
        }
    }

    /// Writes once.
    #[inline(always)]
    pub fn write(&mut self, bytes: &[u8], workspace: &mut Workspace) -> io::Result<usize> {
        Ok(match self {
            Self::Tcp(stream) => send(stream, bytes, SendFlags::NOSIGNAL)?,
            Self::Unix(stream) => send(stream, bytes, SendFlags::NOSIGNAL)?,
            Self::Tls(stream) => stream.write(&[IoSlice::new(bytes)], workspace)?,
        })
    }

    /// Writes once from several places in order.
    pub fn write_vectored(&mut self, slices: &[IoSlice<'_>], workspace: &mut Workspace) -> io::Result<usize> {
        match self {
            Self::Tcp(stream) => stream.write_vectored(slices),
            Self::Unix(stream) => stream.write_vectored(slices),
            Self::Tls(stream) => stream.write(slices, workspace),
        }
    }

    /// Writes a notice to a client that was just accepted, in the clear, as far as the socket takes it.
    pub fn write_notice(&mut self, text: &[u8]) {
        // If it does not fit the socket, closing says enough.
        let _ = match self {
            Self::Tcp(stream) => stream.write(text),
            Self::Unix(stream) => stream.write(text),
            Self::Tls(stream) => stream.socket().write(text),
        };
    }

    /// Registers for both directions, once for the stream's life: mio is edge-triggered, interest never changes.
    pub fn register(&mut self, registry: &Registry, token: Token) -> io::Result<()> {
        let interest = Interest::READABLE | Interest::WRITABLE;
        match self {
            Self::Tcp(stream) => stream.register(registry, token, interest),
            Self::Unix(stream) => stream.register(registry, token, interest),
            Self::Tls(stream) => stream.socket().register(registry, token, interest),
        }
    }
}

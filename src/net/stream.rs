//! A client's byte stream, whatever carries it. TCP and Unix today; TLS joins as a third variant, wrapping one of them.
//!
//! Reads and writes never block. [`Stream::is_drained_by`] is the one place that knows when an edge-triggered reader
//! may stop: for a plain socket a short read means that the kernel's buffer was empty, so the read that would end in
//! `EAGAIN` is never made. A variant that buffers records of its own has to say `false` while it holds decrypted bytes.

use std::io::{self, IoSlice, IoSliceMut, Read, Write};
use std::os::fd::AsRawFd;

use mio::event::Source;
use mio::net::{TcpStream, UnixStream};
use mio::{Interest, Registry, Token};
use rustix::net::{RecvFlags, SendFlags, recv, send};

/// A connected client.
#[derive(Debug)]
pub enum Stream {
    /// TCP over IPv4 or IPv6.
    Tcp(TcpStream),
    /// A Unix domain socket.
    Unix(UnixStream),
}

impl Stream {
    /// The descriptor's number, as statistics and watchers show it.
    pub fn descriptor(&self) -> i32 {
        match self {
            Self::Tcp(stream) => stream.as_raw_fd(),
            Self::Unix(stream) => stream.as_raw_fd(),
        }
    }

    /// The transport as watchers name it.
    pub fn transport(&self) -> &'static str {
        match self {
            Self::Tcp(_) => "tcp",
            Self::Unix(_) => "local",
        }
    }

    /// Whether it is TCP; only TCP clients are closed for being idle.
    pub fn is_tcp(&self) -> bool {
        matches!(self, Self::Tcp(_))
    }

    /// Whether a read of `count` bytes into `space` bytes shows that nothing more waits.
    #[inline]
    pub fn is_drained_by(&self, count: usize, space: usize) -> bool {
        count < space
    }

    /// Reads once.
    #[inline]
    pub fn read(&mut self, space: &mut [u8]) -> io::Result<usize> {
        let (count, _) = match self {
            Self::Tcp(stream) => recv(stream, space, RecvFlags::empty())?,
            Self::Unix(stream) => recv(stream, space, RecvFlags::empty())?,
        };
        Ok(count)
    }

    /// Reads once into several places in order.
    pub fn read_vectored(&mut self, slices: &mut [IoSliceMut<'_>]) -> io::Result<usize> {
        match self {
            Self::Tcp(stream) => stream.read_vectored(slices),
            Self::Unix(stream) => stream.read_vectored(slices),
        }
    }

    /// Writes once.
    #[inline]
    pub fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        Ok(match self {
            Self::Tcp(stream) => send(stream, bytes, SendFlags::NOSIGNAL)?,
            Self::Unix(stream) => send(stream, bytes, SendFlags::NOSIGNAL)?,
        })
    }

    /// Writes once from several places in order.
    pub fn write_vectored(&mut self, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        match self {
            Self::Tcp(stream) => stream.write_vectored(slices),
            Self::Unix(stream) => stream.write_vectored(slices),
        }
    }

    /// Registers for both directions, once for the stream's life: mio is edge-triggered, interest never changes.
    pub fn register(&mut self, registry: &Registry, token: Token) -> io::Result<()> {
        let interest = Interest::READABLE | Interest::WRITABLE;
        match self {
            Self::Tcp(stream) => stream.register(registry, token, interest),
            Self::Unix(stream) => stream.register(registry, token, interest),
        }
    }
}

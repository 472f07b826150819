//! Source addresses of connections that do not last. A port stays taken for a minute after its connection was closed, and
//! once those of one address are used up each connect searches all of them, for 20 milliseconds: then that is what is measured.

use std::net::{IpAddr, Ipv4Addr, SocketAddr, SocketAddrV4, TcpStream};

use mio::Poll;
use socket2::{Domain, Protocol, Socket, Type};

use crate::error::Error;

use super::client::{open, watch};

/// Addresses that connections come from in turn.
const ADDRESSES: u32 = 4096;

/// See the module comment.
#[derive(Default)]
pub struct SourceAddresses {
    next: u32,
}

impl SourceAddresses {
    /// [`open`] from the next address; from the usual one to where there are no others.
    pub fn open(&mut self, address: SocketAddr, poll: &Poll, index: usize) -> Result<mio::net::TcpStream, Error> {
        let IpAddr::V4(host) = address.ip() else { return open(address, poll, index) };
        if !host.is_loopback() {
            return open(address, poll, index);
        }
        let source = Ipv4Addr::from_bits(Ipv4Addr::new(127, 1, 0, 1).to_bits() + self.next);
        self.next = (self.next + 1) % ADDRESSES;
        let socket = connect(SocketAddrV4::new(source, 0), address).map_err(Error::system("connect"))?;
        watch(mio::net::TcpStream::from_std(socket), poll, index)
    }
}

/// Connects without waiting.
fn connect(source: SocketAddrV4, address: SocketAddr) -> std::io::Result<TcpStream> {
    let socket = Socket::new(Domain::IPV4, Type::STREAM.nonblocking().cloexec(), Some(Protocol::TCP))?;
    socket.bind(&SocketAddr::V4(source).into())?;
    match socket.connect(&address.into()) {
        Err(error) if error.raw_os_error() != Some(IN_PROGRESS) => Err(error),
        _ => Ok(socket.into()),
    }
}

/// `EINPROGRESS`.
const IN_PROGRESS: i32 = rustix::io::Errno::INPROGRESS.raw_os_error();

//! Sockets that clients connect to, from options to bound and listening; UDP sockets too.
//!
//! As in memcached a name or a wildcard may stand for several addresses, of which some may be taken as long as one
//! can be bound. Options set on a listener (no delay, keepalive) are inherited by the connections it accepts, so that
//! accepting costs one system call.

use std::io::{self, ErrorKind};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, ToSocketAddrs};
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::{Path, PathBuf};

use mio::net::{TcpListener, UdpSocket, UnixListener};
use mio::{Interest, Registry, Token};
use rustix::fs::Mode;
use rustix::process::umask;
use socket2::{Domain, Protocol, SockAddr, Socket, Type};

use crate::command::service::ProtocolChoice;
use crate::sys::{error_text, socket_file};

use super::address::{self, Peer};
use super::stream::Stream;
use super::tls::Terms;

/// What to listen on: one item of `-l`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Place {
    /// Name or address; `None` is all interfaces.
    pub host: Option<String>,
    /// Port, 0 for any free one.
    pub port: u16,
    /// Protocol spoken there.
    pub protocol: ProtocolChoice,
    /// What a firewall knows its packets by (`SO_MARK`), which its connections inherit; 0 for nothing.
    pub mark: u32,
}

/// Why a place could not be bound. `context` is what goes before the cause on a line of its own, as in memcached.
#[derive(Debug)]
pub struct BindError {
    /// What failed, empty when the cause says it all: `bind()`, `getaddrinfo()`.
    pub context: &'static str,
    /// The cause.
    pub cause: io::Error,
}

impl BindError {
    fn new(context: &'static str) -> impl FnOnce(io::Error) -> Self {
        move |cause| Self { context, cause }
    }
}

/// A socket that accepts connections.
#[derive(Debug)]
pub struct Listener {
    socket: ListenSocket,
    /// Protocol of its connections.
    pub protocol: ProtocolChoice,
    /// How its connections are encrypted, if they are. A Unix socket's never are.
    pub encryption: Option<Terms>,
}

#[derive(Debug)]
enum ListenSocket {
    Tcp(TcpListener),
    Unix(UnixListener, PathBuf),
}

impl Listener {
    /// Its address as `stats conns` shows it.
    pub fn text(&self) -> String {
        match &self.socket {
            ListenSocket::Tcp(socket) => match socket.local_addr() {
                Ok(address) => address::internet("tcp", address),
                Err(_) => "tcp".to_owned(),
            },
            ListenSocket::Unix(_, path) => address::unix(path),
        }
    }

    /// Its internet address.
    pub fn internet_address(&self) -> Option<SocketAddr> {
        match &self.socket {
            ListenSocket::Tcp(socket) => socket.local_addr().ok(),
            ListenSocket::Unix(..) => None,
        }
    }

    /// The descriptor's number.
    pub fn descriptor(&self) -> i32 {
        match &self.socket {
            ListenSocket::Tcp(socket) => socket.as_raw_fd(),
            ListenSocket::Unix(socket, _) => socket.as_raw_fd(),
        }
    }

    /// Registers with the acceptor's loop.
    pub fn register(&mut self, registry: &Registry, token: Token) -> io::Result<()> {
        match &mut self.socket {
            ListenSocket::Tcp(socket) => registry.register(socket, token, Interest::READABLE),
            ListenSocket::Unix(socket, _) => registry.register(socket, token, Interest::READABLE),
        }
    }

    /// Accepts one connection.
    pub fn accept(&self) -> io::Result<(Stream, Peer)> {
        match &self.socket {
            ListenSocket::Tcp(socket) => {
                let (stream, address) = socket.accept()?;
                Ok((Stream::Tcp(stream), Peer::Internet(address)))
            }
            ListenSocket::Unix(socket, _) => {
                let (stream, _) = socket.accept()?;
                Ok((Stream::Unix(stream), Peer::Local))
            }
        }
    }
}

/// Listens on every address of `place` that can be had; an error when that is none.
pub fn listen(place: &Place, backlog: i32) -> Result<Vec<Listener>, BindError> {
    let bound = bind(place, Type::STREAM, |socket| {
        socket.set_keepalive(true)?;
        socket.set_tcp_nodelay(true)
    })?;
    let mut listeners = Vec::new();
    for socket in bound {
        socket.listen(backlog).map_err(BindError::new("listen()"))?;
        listeners.push(Listener {
            socket: ListenSocket::Tcp(TcpListener::from_std(socket.into())),
            protocol: place.protocol,
            encryption: None,
        });
    }
    Ok(listeners)
}

/// Binds UDP sockets on every address of `place` that can be had; an error when that is none.
pub fn bind_udp(place: &Place) -> Result<Vec<UdpSocket>, BindError> {
    let bound = bind(place, Type::DGRAM, |socket| socket.set_send_buffer_size(UDP_SEND_BYTES))?;
    let sockets = bound.into_iter();
    Ok(sockets.map(|socket| UdpSocket::from_std(socket.into())).collect())
}

fn bind(place: &Place, kind: Type, adjust: impl Fn(&Socket) -> io::Result<()>) -> Result<Vec<Socket>, BindError> {
    let mut sockets = Vec::new();
    let mut failure = None;
    for address in addresses(place).map_err(BindError::new("getaddrinfo()"))? {
        let socket = match open(address, kind) {
            Ok(socket) => socket,
            // A family this system does not have.
            Err(cause) => {
                failure = Some(cause);
                continue;
            }
        };
        // As in memcached it serves without.
        if place.mark != 0
            && let Err(cause) = socket.set_mark(place.mark)
        {
            log::error!("setsockopt: {}", error_text(&cause));
        }
        adjust(&socket).map_err(BindError::new("setsockopt"))?;
        match socket.bind(&SockAddr::from(address)) {
            Ok(()) => sockets.push(socket),
            Err(cause) if cause.kind() == ErrorKind::AddrInUse => failure = Some(cause),
            // IPv6 that is known but switched off must not keep IPv4 from serving.
            Err(cause) if place.host.is_none() && cause.kind() == ErrorKind::AddrNotAvailable => {
                failure = Some(cause);
            }
            Err(cause) => {
                return Err(BindError { context: "bind()", cause });
            }
        }
    }
    match failure {
        Some(cause) if sockets.is_empty() => Err(BindError { context: "", cause }),
        _ => Ok(sockets),
    }
}

fn addresses(place: &Place) -> io::Result<Vec<SocketAddr>> {
    let Some(host) = &place.host else {
        return Ok(vec![
            SocketAddr::new(IpAddr::V4(Ipv4Addr::UNSPECIFIED), place.port),
            SocketAddr::new(IpAddr::V6(Ipv6Addr::UNSPECIFIED), place.port),
        ]);
    };
    Ok((host.as_str(), place.port).to_socket_addrs()?.collect())
}

fn open(address: SocketAddr, kind: Type) -> io::Result<Socket> {
    let protocol = match kind {
        Type::STREAM => Protocol::TCP,
        _ => Protocol::UDP,
    };
    let socket = Socket::new(Domain::for_address(address), kind, Some(protocol))?;
    socket.set_nonblocking(true)?;
    // Ports of connections that linger are free. A UDP port that is taken so would be shared, and its datagrams with it.
    socket.set_reuse_address(kind == Type::STREAM)?;
    if address.is_ipv6() {
        socket.set_only_v6(true)?;
    }
    Ok(socket)
}

/// Listens on a Unix socket. A socket file left over at `path` is replaced; any other file, and one that somebody listens
/// to, is an error. `mode` are the permissions of the file; they hold from the start.
pub fn listen_unix(path: &Path, mode: u32, backlog: i32, protocol: ProtocolChoice) -> Result<Listener, BindError> {
    socket_file::make_way(path).map_err(BindError::new(""))?;
    let socket = Socket::new(Domain::UNIX, Type::STREAM, None).map_err(BindError::new(""))?;
    socket.set_nonblocking(true).map_err(BindError::new("setting O_NONBLOCK"))?;
    let address = SockAddr::unix(path).map_err(BindError::new("bind()"))?;
    let previous = umask(Mode::from_raw_mode(!mode & 0o777));
    let bound = socket.bind(&address);
    umask(previous);
    bound.map_err(BindError::new("bind()"))?;
    socket.listen(backlog).map_err(BindError::new("listen()"))?;
    let socket = ListenSocket::Unix(UnixListener::from_std(socket.into()), path.to_owned());
    Ok(Listener { socket, protocol, encryption: None })
}

/// A socket that somebody else made, such as the service manager.
#[derive(Debug)]
pub enum Adopted {
    /// It accepts connections.
    Listener(Listener),
    /// It receives datagrams.
    Udp(UdpSocket),
}

/// Whether a descriptor is a socket of any kind.
pub fn is_socket(descriptor: &OwnedFd) -> bool {
    rustix::net::sockopt::socket_type(descriptor).is_ok()
}

/// Takes a socket over that is bound, and listens if it is for connections. The error says what it is instead.
pub fn adopt(descriptor: OwnedFd, protocol: ProtocolChoice) -> io::Result<Adopted> {
    let socket = Socket::from(descriptor);
    let other = |what: &str| io::Error::new(ErrorKind::Unsupported, what);
    socket.set_nonblocking(true)?;
    let address = socket.local_addr()?;
    let is_internet = address.as_socket().is_some();
    let kind = match socket.r#type()? {
        Type::DGRAM if is_internet => return Ok(Adopted::Udp(UdpSocket::from_std(socket.into()))),
        Type::STREAM if !socket.is_listener()? => return Err(other("it does not listen")),
        Type::STREAM if is_internet => {
            socket.set_keepalive(true)?;
            socket.set_tcp_nodelay(true)?;
            ListenSocket::Tcp(TcpListener::from_std(socket.into()))
        }
        Type::STREAM if address.is_unix() => {
            let path = address.as_pathname().map(Path::to_owned).unwrap_or_default();
            ListenSocket::Unix(UnixListener::from_std(socket.into()), path)
        }
        _ => return Err(other("it is of another kind")),
    };
    Ok(Adopted::Listener(Listener { socket: kind, protocol, encryption: None }))
}

/// What is asked for as a UDP send buffer; the system cuts it to its limit.
const UDP_SEND_BYTES: usize = 256 * 1024 * 1024;

#[cfg(test)]
mod tests {
    use super::*;

    fn place(host: Option<&str>, port: u16) -> Place {
        Place { host: host.map(str::to_owned), port, protocol: ProtocolChoice::Negotiate, mark: 0 }
    }

    #[test]
    fn taken_port_is_an_error() {
        let first = listen(&place(Some("127.0.0.1"), 0), 16).expect("a free port");
        let address = first[0].internet_address().expect("an address");
        let second = listen(&place(Some("127.0.0.1"), address.port()), 16);
        let error = second.expect_err("a taken port");
        assert_eq!(error.cause.kind(), ErrorKind::AddrInUse);
        // UDP ports used to be shared, so that a second server took the first one's requests.
        let first = bind_udp(&place(Some("127.0.0.1"), 0)).expect("a free port");
        let address = first[0].local_addr().expect("an address");
        let error = bind_udp(&place(Some("127.0.0.1"), address.port())).expect_err("a taken port");
        assert_eq!(error.cause.kind(), ErrorKind::AddrInUse);
    }

    /// The mark of `-o sock_cookie_id` was read and never set. Whoever may not set one serves without.
    #[test]
    fn a_mark_is_set_where_it_may_be() {
        let probe = Socket::new(Domain::IPV4, Type::STREAM, None).expect("a socket");
        let expected = if probe.set_mark(7).is_ok() { 7 } else { 0 };
        let marked = Place { mark: 7, ..place(Some("127.0.0.1"), 0) };
        for kind in [Type::STREAM, Type::DGRAM] {
            let sockets = bind(&marked, kind, |_| Ok(())).expect("a free port");
            assert_eq!(sockets[0].mark().expect("it can be asked for"), expected);
        }
    }

    #[test]
    fn sockets_of_others_are_adopted_when_they_listen() {
        let adopt = |descriptor: OwnedFd| adopt(descriptor, ProtocolChoice::Text);
        let bound = || Socket::new(Domain::IPV4, Type::STREAM, None).expect("a socket");
        assert_eq!(adopt(bound().into()).expect_err("not bound").to_string(), "it does not listen");
        let listening = std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port");
        let address = listening.local_addr().ok();
        match adopt(listening.into()).expect("adopted") {
            Adopted::Listener(listener) => assert_eq!(listener.internet_address(), address),
            other => panic!("{other:?}"),
        }
        let datagrams = std::net::UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port");
        assert!(matches!(adopt(datagrams.into()), Ok(Adopted::Udp(_))));
        let (unix, _) = std::os::unix::net::UnixDatagram::pair().expect("a pair");
        assert_eq!(adopt(unix.into()).expect_err("datagrams").to_string(), "it is of another kind");
        let null = std::fs::File::open("/dev/null").expect("it is there");
        assert!(!is_socket(&null.into()));
    }

    #[test]
    fn unix_socket_replaces_its_like_only() {
        let path = std::env::temp_dir().join(format!("slabstash-{}.sock", std::process::id()));
        let listen = || listen_unix(&path, 0o700, 16, ProtocolChoice::Negotiate);
        let first = listen().expect("a free path");
        assert_eq!(first.text(), format!("unix:{}", path.display()));
        assert_eq!(listen().expect_err("it is in use").cause.kind(), ErrorKind::AddrInUse);
        drop(first);
        drop(listen().expect("a stale socket is replaced"));
        std::fs::remove_file(&path).expect("it is there");
        std::fs::write(&path, b"precious").expect("writable");
        assert!(listen().is_err());
        assert_eq!(std::fs::read(&path).expect("still there"), b"precious");
        std::fs::remove_file(&path).expect("it is there");
    }
}

//! Addresses as memcached shows them, in `stats conns` and to watchers, and as the log does.

use std::fmt;
use std::net::{IpAddr, SocketAddr};

/// A client, for watchers: `rip=` and `rport=`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Peer {
    /// An internet address.
    Internet(SocketAddr),
    /// The other end of a Unix socket; it has no name.
    Local,
}

impl Peer {
    /// The address' text and port.
    pub fn endpoint(&self) -> (String, u16) {
        match self {
            Self::Internet(address) => (address.ip().to_string(), address.port()),
            Self::Local => ("unix".to_owned(), 0),
        }
    }

    /// The address as `stats conns` shows it for a client. For Unix clients that is what memcached prints.
    pub fn text(&self) -> String {
        match self {
            Self::Internet(address) => internet("tcp", *address),
            Self::Local => "?:<AF 0>".to_owned(),
        }
    }
}

/// For the log.
impl fmt::Display for Peer {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Internet(address) => address.fmt(formatter),
            Self::Local => formatter.write_str("a unix socket"),
        }
    }
}

/// `tcp:127.0.0.1:11211`, `tcp6:[::1]:11211`; `transport` is `tcp` or `udp`.
pub fn internet(transport: &str, address: SocketAddr) -> String {
    match address.ip() {
        IpAddr::V4(ip) => format!("{transport}:{ip}:{}", address.port()),
        IpAddr::V6(ip) => format!("{transport}6:[{ip}]:{}", address.port()),
    }
}

/// `unix:/path`.
pub fn unix(path: &std::path::Path) -> String {
    format!("unix:{}", path.display())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(transport: &str, address: &str, expected: &str) {
        let address = address.parse().expect("an address");
        assert_eq!(internet(transport, address), expected);
    }

    #[test]
    fn addresses_read_as_in_memcached() {
        check("tcp", "127.0.0.1:4000", "tcp:127.0.0.1:4000");
        check("tcp", "[::1]:4000", "tcp6:[::1]:4000");
        check("udp", "0.0.0.0:11211", "udp:0.0.0.0:11211");
        assert_eq!(unix("/tmp/x".as_ref()), "unix:/tmp/x");
        assert_eq!(Peer::Local.text(), "?:<AF 0>");
        assert_eq!(Peer::Local.to_string(), "a unix socket");
        assert_eq!(Peer::Internet("[::1]:4000".parse().expect("an address")).to_string(), "[::1]:4000");
    }
}

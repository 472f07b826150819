//! The sockets of a server, opened as the options say, with memcached's messages when they cannot be.

use std::fmt::Write;
use std::fs;
use std::io;
use std::net::SocketAddr;
use std::os::fd::AsRawFd;
use std::path::{Path, PathBuf};

use crate::base::sync::Arc;
use crate::command::service::ProtocolChoice;
use crate::net::address;
use crate::net::listener::{self, BindError, Listener, Place};
use crate::net::tls::identities::Policy;
use crate::net::tls::{Identities, Terms};
use crate::options::{EXIT_FAILURE, EXIT_SYSTEM};
use crate::sys::error_text;

use super::Failure;
use super::config::{Config, ListenItem};

/// All sockets of a server.
pub struct Sockets {
    /// What accepts connections.
    pub listeners: Vec<Listener>,
    /// UDP sockets.
    pub endpoints: Vec<UdpEndpoint>,
}

/// A bound UDP socket.
pub struct UdpEndpoint {
    /// The socket.
    pub socket: mio::net::UdpSocket,
    /// Its number.
    pub descriptor: i32,
    /// Its address as `stats conns` shows it.
    pub text: String,
    /// Protocol spoken there.
    pub protocol: ProtocolChoice,
}

impl Sockets {
    /// Opens the sockets. TCP connections are encrypted by `identities`, if there are any, where a listener does not say
    /// otherwise; UDP and Unix sockets never are.
    pub fn open(config: &Config, identities: Option<&Arc<Identities>>) -> Result<Self, Failure> {
        let mut sockets = Self { listeners: Vec::new(), endpoints: Vec::new() };
        if let Some(unix) = &config.unix_socket {
            let listener =
                listener::listen_unix(&unix.path, unix.mode, config.backlog, config.protocol).map_err(|error| {
                    let path = unix.path.display();
                    failure(&error, &format!("failed to listen on UNIX socket: {path}"))
                })?;
            sockets.listeners.push(listener);
        }
        if let Some(port) = config.tcp_port {
            for (place, policy) in places(config, port) {
                let listeners = listener::listen(&place, config.backlog)
                    .map_err(|error| port_failure(config, &error, "TCP", port))?;
                let terms = policy.zip(identities);
                let terms = terms.map(|(policy, identities)| Terms { identities: Arc::clone(identities), policy });
                for mut listener in listeners {
                    listener.encryption = terms.clone();
                    sockets.listeners.push(listener);
                }
            }
        }
        if let Some(port) = config.udp_port {
            for (place, _) in places(config, port) {
                let bound = listener::bind_udp(&place).map_err(|error| port_failure(config, &error, "UDP", port))?;
                for socket in bound {
                    sockets.endpoints.push(endpoint(socket, place.protocol));
                }
            }
        }
        Ok(sockets)
    }

    /// Addresses in words, for the line that says the server serves.
    pub fn text(&self) -> String {
        let listeners = self.listeners.iter().map(|listener| match listener.internet_address() {
            Some(address) => address.to_string(),
            None => listener.text(),
        });
        let endpoints = self.endpoints.iter().map(|endpoint| endpoint.text.clone());
        let all: Vec<String> = listeners.chain(endpoints).collect();
        match all.is_empty() {
            true => "no address".to_owned(),
            false => all.join(", "),
        }
    }

    /// Writes the ports where `MEMCACHED_PORT_FILENAME` says, through `<path>.lck` and a rename. Not for Unix sockets.
    pub fn write_port_file(&self, path: &Path) -> Result<(), Failure> {
        let is_unix = |listener: &Listener| listener.internet_address().is_none();
        if self.listeners.iter().any(is_unix) {
            return Ok(());
        }
        let tcp = self.listeners.iter().filter_map(Listener::internet_address);
        let udp = self.endpoints.iter();
        let udp = udp.filter_map(|endpoint| endpoint.socket.local_addr().ok());
        let text = port_file_text(tcp, udp);
        let mut temporary = path.as_os_str().to_owned();
        temporary.push(".lck");
        let temporary = PathBuf::from(temporary);
        fs::write(&temporary, text).map_err(|error| {
            let what = format!("Failed to open \"{}\"", temporary.display());
            Failure::new(EXIT_FAILURE, format!("{what}: {}", error_text(&error)))
        })?;
        fs::rename(&temporary, path).map_err(|error| Failure::system("rename()", &error))
    }
}

/// The items of `-l` with the port for those that have none, and how each is encrypted; all interfaces without `-l`.
fn places(config: &Config, port: u16) -> Vec<(Place, Option<Policy>)> {
    if config.listen.is_empty() {
        let place = Place { host: None, port, protocol: config.protocol, mark: config.socket_mark };
        return vec![(place, Some(Policy::Configured))];
    }
    let place = |item: &ListenItem| Place {
        host: item.host.clone(),
        port: item.port.unwrap_or(port),
        protocol: item.protocol.unwrap_or(config.protocol),
        mark: config.socket_mark,
    };
    config.listen.iter().map(|item| (place(item), item.encryption)).collect()
}

/// A UDP socket with what is told about it.
pub(super) fn endpoint(socket: mio::net::UdpSocket, protocol: ProtocolChoice) -> UdpEndpoint {
    let text = match socket.local_addr() {
        Ok(bound) => address::internet("udp", bound),
        Err(_) => "udp".to_owned(),
    };
    UdpEndpoint { descriptor: socket.as_raw_fd(), text, socket, protocol }
}

fn port_failure(config: &Config, error: &BindError, transport: &str, port: u16) -> Failure {
    let what = match &config.listen_text {
        None => format!("failed to listen on {transport} port {port}"),
        Some(text) => format!("failed to listen on one of interface(s) {text}"),
    };
    failure(error, &what)
}

fn failure(error: &BindError, what: &str) -> Failure {
    let cause = cause_text(&error.cause);
    let first = match error.context {
        "" => String::new(),
        context => format!("{context}: {cause}\n"),
    };
    Failure::new(EXIT_SYSTEM, format!("{first}{what}: {cause}"))
}

fn cause_text(cause: &io::Error) -> String {
    let text = error_text(cause);
    let text = text.strip_prefix("failed to lookup address information: ");
    text.map_or_else(|| error_text(cause), str::to_owned)
}

fn port_file_text(tcp: impl Iterator<Item = SocketAddr>, udp: impl Iterator<Item = SocketAddr>) -> String {
    let mut text = String::new();
    let tcp = tcp.map(|address| ("TCP", address));
    let udp = udp.map(|address| ("UDP", address));
    for (transport, address) in tcp.chain(udp) {
        let family = match address {
            SocketAddr::V4(_) => "INET",
            SocketAddr::V6(_) => "INET6",
        };
        // Writing to a string does not fail.
        let _ = writeln!(text, "{transport} {family}: {}", address.port());
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn port_file_lists_sockets_in_order() {
        let addresses = |texts: &[&str]| -> Vec<SocketAddr> {
            let parsed = texts.iter().map(|text| text.parse().expect("an address"));
            parsed.collect()
        };
        let tcp = addresses(&["0.0.0.0:11211", "[::]:11211"]);
        let udp = addresses(&["127.0.0.1:7"]);
        assert_eq!(
            port_file_text(tcp.into_iter(), udp.into_iter()),
            "TCP INET: 11211\nTCP INET6: 11211\nUDP INET: 7\n"
        );
        assert_eq!(port_file_text([].into_iter(), [].into_iter()), "");
    }
}

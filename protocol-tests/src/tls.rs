//! The client's side of TLS: whom it trusts, what it shows, and a session apart from its socket, so that tests may cut
//! and spoil the encrypted bytes.

use std::fmt;
use std::io::{self, ErrorKind, Read, Write};
use std::net::TcpStream;
use std::sync::Arc;

use rustls::client::{Resumption, Tls12Resumption};
use rustls::crypto::ring;
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ClientConnection, HandshakeKind, RootCertStore, SupportedProtocolVersion};

use crate::credentials::{Authority, Identity};

/// How a client speaks TLS. Clones share a cache of sessions.
#[derive(Clone)]
pub struct Trust {
    config: Arc<ClientConfig>,
}

impl Trust {
    /// Trusts an authority, shows nothing, speaks TLS 1.2 and 1.3.
    pub fn new(authority: &Authority) -> Trust {
        Trust::with(authority, None, rustls::ALL_VERSIONS)
    }

    /// Trusts an authority, shows a certificate if there is one, and speaks some versions.
    pub fn with(
        authority: &Authority,
        identity: Option<&Identity>,
        versions: &[&'static SupportedProtocolVersion],
    ) -> Trust {
        let mut roots = RootCertStore::empty();
        roots.add(authority.certificate.clone()).expect("a certificate that was just made");
        let builder = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_protocol_versions(versions)
            .expect("ring has suites for all versions")
            .with_root_certificates(roots);
        let config = match identity {
            Some(identity) => builder
                .with_client_auth_cert(vec![identity.certificate.clone()], identity.key.clone_key())
                .expect("key and certificate were made together"),
            None => builder.with_no_client_auth(),
        };
        Trust { config: Arc::new(config) }
    }

    /// Trusts an authority, speaks TLS 1.2, and takes no tickets: its sessions are resumed by their numbers or not at all.
    pub fn without_tickets(authority: &Authority) -> Trust {
        let mut config = ClientConfig::clone(&Trust::with(authority, None, &[&rustls::version::TLS12]).config);
        config.resumption = Resumption::in_memory_sessions(16).tls12_resumption(Tls12Resumption::SessionIdOnly);
        Trust { config: Arc::new(config) }
    }

    /// Shakes hands over a connected socket.
    pub fn begin(&self, socket: &mut TcpStream) -> io::Result<Encrypted> {
        let mut session = self.session();
        while session.is_handshaking() {
            match session.complete_io(socket) {
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                result => {
                    result?;
                }
            }
        }
        Ok(Encrypted { session })
    }

    /// A session that has not begun.
    pub fn session(&self) -> ClientConnection {
        let name = ServerName::try_from("localhost").expect("a good name");
        ClientConnection::new(Arc::clone(&self.config), name).expect("a good configuration")
    }
}

impl fmt::Debug for Trust {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Trust").finish_non_exhaustive()
    }
}

/// A session after the handshake.
#[derive(Debug)]
pub struct Encrypted {
    session: ClientConnection,
}

impl Encrypted {
    /// The records that carry `bytes`.
    pub fn encrypt(&mut self, bytes: &[u8]) -> Vec<u8> {
        let mut records = Vec::new();
        for piece in bytes.chunks(PIECE_BYTES) {
            // Writing to a vector, and to a session that is emptied at once, does not fail.
            let _ = self.session.writer().write_all(piece);
            self.drain(&mut records);
        }
        records
    }

    /// The record that says no more will be sent.
    pub fn close(&mut self) -> Vec<u8> {
        let mut records = Vec::new();
        self.session.send_close_notify();
        self.drain(&mut records);
        records
    }

    fn drain(&mut self, records: &mut Vec<u8>) {
        while self.session.wants_write() && self.session.write_tls(records).is_ok() {}
    }

    /// Reads what the server says. 0 when it said that it says no more, `UnexpectedEof` when it left without a word.
    pub fn read(&mut self, socket: &mut TcpStream, space: &mut [u8]) -> io::Result<usize> {
        loop {
            match self.session.reader().read(space) {
                Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                result => return result,
            }
            match self.session.read_tls(socket) {
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                result => result?,
            };
            self.session.process_new_packets().map_err(io::Error::other)?;
        }
    }

    /// Whether the session was resumed.
    pub fn is_resumed(&self) -> bool {
        self.session.handshake_kind() == Some(HandshakeKind::Resumed)
    }

    /// The server's certificate.
    pub fn server_certificate(&self) -> Option<&[u8]> {
        Some(self.session.peer_certificates()?.first()?.as_ref())
    }
}

/// Below the buffer of a session.
const PIECE_BYTES: usize = 16 * 1024;

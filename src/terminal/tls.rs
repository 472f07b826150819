//! The client's side of TLS, by rustls: whom it trusts, what it shows, and an encrypted connection in small steps.
//!
//! A node's certificate must come from an authority that is trusted and bear the name that the node was asked by. There is
//! no way to switch that off: whoever has no certificate to check by has its authority, or the certificate itself, to name.
//!
//! The connection never waits longer than its socket does: each call moves bytes once, and says `Interrupted` when there
//! is nothing to show for it yet, so that deadlines are kept by the caller.

use std::fmt;
use std::fs;
use std::io::{self, ErrorKind, Read, Write};
use std::net::{IpAddr, TcpStream};
use std::path::{Path, PathBuf};

use rustls::crypto::ring;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{CertificateError, ClientConfig, ClientConnection, Error, RootCertStore};

use super::failure::Failure;
use crate::base::sync::Arc;

/// How nodes are spoken to. Connections share it, and with it the sessions to resume.
#[derive(Clone, Debug)]
pub struct Tls {
    config: Arc<ClientConfig>,
    /// The name in the nodes' certificates, where it is not that which they are asked by.
    name: Option<ServerName<'static>>,
}

/// What the command line says of it.
#[derive(Clone, Copy, Default, Debug)]
pub struct Files<'a> {
    /// Authorities, PEM; without them the system's.
    pub authorities: Option<&'a str>,
    /// A certificate to show, with those between it and its authority, PEM.
    pub chain: Option<&'a str>,
    /// Its private key, PEM; in the certificate's file where it is not given.
    pub key: Option<&'a str>,
    /// The name in the nodes' certificates.
    pub name: Option<&'a str>,
}

impl Tls {
    /// Reads the files.
    pub fn load(files: Files<'_>) -> Result<Tls, Failure> {
        let name = files.name.map(server_name).transpose()?;
        let roots = match files.authorities {
            Some(path) => roots(path)?,
            None => roots(system_authorities()?)?,
        };
        let builder = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_protocol_versions(rustls::ALL_VERSIONS)
            .map_err(|error| Failure::File(format!("cannot set up TLS: {error}")))?
            .with_root_certificates(roots);
        let config = match (files.chain, files.key) {
            (None, None) => builder.with_no_client_auth(),
            (None, Some(_)) => return Err(Failure::Usage("--key is for --cert".to_owned())),
            (Some(chain), key) => {
                let key_path = key.unwrap_or(chain);
                let key = PrivateKeyDer::from_pem_slice(&read(key_path)?)
                    .map_err(|_| wrong(key_path, "no private key in it that is not encrypted"))?;
                builder
                    .with_client_auth_cert(certificates(chain)?, key)
                    .map_err(|error| wrong(chain, &error.to_string()))?
            }
        };
        Ok(Tls { config: Arc::new(config), name })
    }

    /// Begins to speak to the node of a host name or address; the handshake is the first that reading and writing do.
    pub fn open(&self, host: &str, socket: TcpStream) -> io::Result<Encrypted> {
        let name = match &self.name {
            Some(name) => name.clone(),
            None => server_name(host).map_err(|failure| io::Error::other(failure.to_string()))?,
        };
        let session = ClientConnection::new(Arc::clone(&self.config), name).map_err(io::Error::other)?;
        Ok(Encrypted { socket, session: Box::new(session) })
    }
}

/// A TCP connection with TLS on it.
pub struct Encrypted {
    socket: TcpStream,
    session: Box<ClientConnection>,
}

impl Encrypted {
    /// The socket.
    pub fn socket(&self) -> &TcpStream {
        &self.socket
    }

    /// Whether the node has not yet shown who it is.
    pub fn is_handshaking(&self) -> bool {
        self.session.is_handshaking()
    }

    /// Whether something waits to be sent.
    pub fn has_unsent(&self) -> bool {
        self.session.wants_write()
    }

    /// Takes part in the handshake, or waits for a record of which nothing is handed out.
    pub fn step(&mut self) -> io::Result<()> {
        self.read(&mut []).map(drop)
    }

    /// What the node says; 0 when it says no more, `Interrupted` when nothing came of it yet.
    pub fn read(&mut self, space: &mut [u8]) -> io::Result<usize> {
        if self.session.wants_write() {
            return self.send();
        }
        match self.session.reader().read(space) {
            Err(error) if error.kind() == ErrorKind::WouldBlock => {}
            // Some nodes close the socket without a word. Answers have an end of their own, so nothing can be cut off.
            Err(error) if error.kind() == ErrorKind::UnexpectedEof => return Ok(0),
            Ok(0) if space.is_empty() => {}
            result => return result,
        }
        let count = self.session.read_tls(&mut self.socket)?;
        if let Err(error) = self.session.process_new_packets() {
            // The node is told why; whether it hears it does not matter any more.
            let _ = self.session.write_tls(&mut self.socket);
            return Err(io::Error::new(ErrorKind::InvalidData, reason(&error)));
        }
        if count == 0 && self.session.is_handshaking() {
            return Err(io::Error::new(ErrorKind::InvalidData, "closed by the node in the TLS handshake"));
        }
        Err(ErrorKind::Interrupted.into())
    }

    /// Takes bytes to be sent. `Interrupted` when others had to be sent first.
    pub fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.session.wants_write() {
            return self.send();
        }
        self.session.writer().write(bytes)
    }

    fn send(&mut self) -> io::Result<usize> {
        match self.session.write_tls(&mut self.socket)? {
            0 => Err(ErrorKind::WriteZero.into()),
            _ => Err(ErrorKind::Interrupted.into()),
        }
    }
}

impl Drop for Encrypted {
    /// A node may count a connection that ends without a word as broken.
    fn drop(&mut self) {
        self.session.send_close_notify();
        let _ = self.session.write_tls(&mut self.socket);
    }
}

impl fmt::Debug for Encrypted {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Encrypted").field("socket", &self.socket).finish_non_exhaustive()
    }
}

/// What went wrong, for operators.
fn reason(error: &Error) -> String {
    match error {
        Error::InvalidMessage(_) => "the node does not speak TLS".to_owned(),
        Error::InvalidCertificate(CertificateError::UnknownIssuer) => {
            "no trusted authority (--ca) has signed the node's certificate".to_owned()
        }
        Error::InvalidCertificate(CertificateError::NotValidForNameContext { expected, presented }) => {
            let (expected, presented) = (expected.to_str(), presented.join(", "));
            format!("the node's certificate is not for {expected} (--server-name) but for {presented}")
        }
        Error::InvalidCertificate(error) => format!("the node's certificate is not good: {error}"),
        Error::AlertReceived(alert) => format!("the node refuses by the TLS alert {alert:?}"),
        error => format!("TLS failed: {error}"),
    }
}

/// A host as certificates name it; the interface of a local address of IPv6 is no part of that.
fn server_name(host: &str) -> Result<ServerName<'static>, Failure> {
    let address = host.split_once('%').map_or(host, |(address, _)| address);
    if let Ok(address) = address.parse::<IpAddr>() {
        return Ok(ServerName::IpAddress(address.into()));
    }
    let name = ServerName::try_from(host.to_owned());
    name.map_err(|_| Failure::Usage(format!("{host:?} is no name that a certificate can have")))
}

fn roots(path: impl AsRef<Path>) -> Result<RootCertStore, Failure> {
    let path = path.as_ref().display().to_string();
    let mut roots = RootCertStore::empty();
    // What no certificate can be checked by is no authority; a system's collection may hold one.
    let (added, _) = roots.add_parsable_certificates(certificates(&path)?);
    if added == 0 { Err(wrong(&path, "no certificate in it that can be an authority's")) } else { Ok(roots) }
}

fn certificates(path: &str) -> Result<Vec<CertificateDer<'static>>, Failure> {
    let bytes = read(path)?;
    let read: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&bytes).collect();
    match read {
        Ok(certificates) if certificates.is_empty() => Err(wrong(path, "no certificate in it")),
        Ok(certificates) => Ok(certificates),
        Err(error) => Err(wrong(path, &error.to_string())),
    }
}

/// Where the system keeps the authorities that it trusts.
fn system_authorities() -> Result<PathBuf, Failure> {
    let named = std::env::var_os("SSL_CERT_FILE").map(PathBuf::from);
    let mut paths = named.into_iter().chain(SYSTEM_AUTHORITIES.iter().map(PathBuf::from));
    let none = "this system has no authorities in a place known here: name some by --ca FILE";
    paths.find(|path| path.exists()).ok_or_else(|| Failure::File(none.to_owned()))
}

fn read(path: &str) -> Result<Vec<u8>, Failure> {
    fs::read(path).map_err(|error| Failure::File(format!("cannot read {path}: {error}")))
}

fn wrong(path: &str, why: &str) -> Failure {
    Failure::File(format!("{path}: {why}"))
}

/// Debian and what comes of it, Fedora, openSUSE, Alpine and the BSDs.
const SYSTEM_AUTHORITIES: &[&str] = &[
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/ssl/ca-bundle.pem",
    "/etc/ssl/cert.pem",
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_are_names_or_addresses() {
        for (host, expected) in [
            ("cache-1.example", "cache-1.example"),
            ("10.0.0.1", "10.0.0.1"),
            ("::1", "::1"),
            ("fe80::1%eth0", "fe80::1"),
        ] {
            assert_eq!(server_name(host).map(|name| name.to_str().into_owned()), Ok(expected.to_owned()));
        }
        assert!(matches!(server_name("-x-"), Err(Failure::Usage(_))));
    }

    #[test]
    fn files_that_hold_something_else_are_refused() {
        let folder = std::env::temp_dir();
        let path = folder.join(format!("slabstash-terminal-tls-{}.pem", std::process::id()));
        fs::write(&path, "no certificate").expect("a file");
        let path = path.display().to_string();
        for (files, end) in [
            (Files { authorities: Some("/nonexistent"), ..Files::default() }, "No such file or directory (os error 2)"),
            (Files { authorities: Some(&path), ..Files::default() }, "no certificate in it"),
            (Files { name: Some("a b"), ..Files::default() }, "no name that a certificate can have"),
        ] {
            let failure = Tls::load(files).map(|_| ()).expect_err("refused");
            assert!(failure.to_string().ends_with(end), "{failure}");
        }
        fs::remove_file(&path).expect("the file");
    }
}

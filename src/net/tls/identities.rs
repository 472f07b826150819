//! The server's certificates and what they are shown to clients with: from files to rustls' configurations.
//!
//! There are three configurations, one for each way a listener treats client certificates, and all three are made anew by
//! a reload and replaced together. Connections keep the configuration they began with. A reload that fails changes
//! nothing. Sessions do not outlive a reload: their keys belong to the configuration, so that a client whose authority
//! was withdrawn cannot come back by a ticket, and a ticket of a listener that asks for nothing opens none that requires
//! a certificate.
//!
//! Messages are memcached's up to OpenSSL's own words, which are replaced by plain ones.

use std::fs;
use std::path::PathBuf;

use rustls::crypto::CryptoProvider;
use rustls::crypto::ring;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::danger::ClientCertVerifier;
use rustls::server::{
    NoServerSessionStorage, ServerSessionMemoryCache, StoresServerSessions, UnbufferedServerConnection,
    WebPkiClientVerifier,
};
use rustls::sign::{CertifiedKey, SingleCertAndKey};
use rustls::{Error, InconsistentKeys, RootCertStore, ServerConfig, SupportedProtocolVersion};

use crate::base::sync::{Arc, Reloaded};
use crate::sys::error_text;

use super::ciphers;
use super::strangers::RefuseAll;
use super::validity;

/// What the server is told about TLS.
#[derive(Clone, Debug)]
pub struct Config {
    /// Certificate chain, PEM.
    pub chain: Option<File>,
    /// Private key; in the chain's file when there is none.
    pub key: Option<File>,
    /// How the key is written.
    pub key_format: KeyFormat,
    /// Authorities of client certificates, PEM.
    pub authorities: Option<File>,
    /// What [`Policy::Configured`] asks of clients.
    pub verification: Verification,
    /// Suites of TLS 1.2, as OpenSSL writes them.
    pub ciphers: Option<String>,
    /// TLS 1.2 is not spoken.
    pub is_tls13_only: bool,
    /// Sessions of TLS 1.2 clients that take no tickets are kept.
    pub has_session_cache: bool,
    /// Plaintext encrypted at once.
    pub send_bytes: usize,
}

/// A file that is read at start and again at each reload.
#[derive(Clone, Debug)]
pub struct File {
    /// Where it is, whatever the working directory.
    pub path: PathBuf,
    /// As the operator wrote it, for messages.
    pub shown: String,
}

/// How a private key is written.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum KeyFormat {
    /// PEM: PKCS#8, PKCS#1 or SEC1, not encrypted.
    Pem,
    /// The same in DER.
    Der,
    /// Another, which is refused.
    Unknown,
}

/// What clients are asked for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Verification {
    /// Nothing.
    None,
    /// A certificate, if they have one.
    Optional,
    /// A certificate.
    Required,
}

/// How a listener treats client certificates.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Policy {
    /// As `ssl_verify_mode` says.
    Configured,
    /// `btls`: none is asked for.
    Anonymous,
    /// `mtls`: one is required.
    Mutual,
}

/// What a listener gives its connections.
#[derive(Clone, Debug)]
pub struct Terms {
    /// The server's certificates.
    pub identities: Arc<Identities>,
    /// What is asked of clients.
    pub policy: Policy,
}

/// The certificates in force.
#[derive(Debug)]
pub struct Identities {
    config: Config,
    /// Written by reloads, read by the acceptor for each connection.
    current: Reloaded<Configurations>,
}

#[derive(Debug)]
struct Configurations {
    configured: Arc<ServerConfig>,
    anonymous: Arc<ServerConfig>,
    mutual: Arc<ServerConfig>,
    /// When the first certificate of the chain ends, in unix time.
    ends_at_unix: Option<i64>,
}

impl Terms {
    /// The server's side of a new connection.
    pub fn session(&self) -> Result<UnbufferedServerConnection, Error> {
        let current = self.identities.current.current();
        UnbufferedServerConnection::new(Arc::clone(match self.policy {
            Policy::Configured => &current.configured,
            Policy::Anonymous => &current.anonymous,
            Policy::Mutual => &current.mutual,
        }))
    }
}

impl Identities {
    /// Reads the files. The error is a line for the operator.
    pub fn load(config: Config) -> Result<Self, String> {
        let current = Reloaded::new(Configurations::load(&config)?);
        Ok(Self { config, current })
    }

    /// Plaintext to be encrypted at once.
    pub fn send_bytes(&self) -> usize {
        self.config.send_bytes
    }

    /// `ssl_session_cache`.
    pub fn has_session_cache(&self) -> bool {
        self.config.has_session_cache
    }

    /// Unix time at which the first certificate of the chain ends; `None` when that cannot be read.
    pub fn ends_at_unix(&self) -> Option<i64> {
        self.current.current().ends_at_unix
    }

    /// Reads the files again, for connections to come. An error leaves the old certificates in force.
    pub fn reload(&self) -> Result<(), String> {
        let mut result = Ok(());
        self.current.reload(|| Configurations::load(&self.config).map_err(|text| result = Err(text)).ok());
        result
    }
}

impl Configurations {
    fn load(config: &Config) -> Result<Self, String> {
        let provider = Arc::new(provider(config)?);
        let identity = Arc::new(identity(config, &provider)?);
        let roots = Arc::new(match &config.authorities {
            Some(file) => {
                roots(file).map_err(|why| format!("Error loading the CA certificate: {}", about(file, &why)))?
            }
            None => RootCertStore::empty(),
        });
        let make = |verification| configuration(config, &provider, &identity, &roots, verification);
        Ok(Self {
            configured: make(config.verification)?,
            anonymous: make(Verification::None)?,
            mutual: make(Verification::Required)?,
            ends_at_unix: identity.cert.iter().filter_map(|certificate| validity::ends_at_unix(certificate)).min(),
        })
    }
}

fn provider(config: &Config) -> Result<CryptoProvider, String> {
    let mut provider = ring::default_provider();
    if let Some(list) = &config.ciphers {
        let chosen = ciphers::choose(list, &provider.cipher_suites);
        provider.cipher_suites = chosen.ok_or_else(|| format!("Error setting the provided cipher(s): {list}"))?;
    }
    Ok(provider)
}

/// The certificate chain with its key, which belongs to it.
fn identity(config: &Config, provider: &CryptoProvider) -> Result<CertifiedKey, String> {
    let chain_failure = |shown: &str, why: &str| format!("Error loading the certificate chain: {shown} : {why}");
    let Some(file) = &config.chain else {
        return Err(chain_failure("(null)", "no file is named by -o ssl_chain_cert"));
    };
    let chain = certificates(file).map_err(|why| chain_failure(&file.shown, &why))?;
    let key_file = config.key.as_ref().unwrap_or(file);
    let key_failure = |why: &str| format!("Error loading the key: {}", about(key_file, why));
    let key = key(key_file, config.key_format).map_err(|why| key_failure(&why))?;
    CertifiedKey::from_der(chain, key, provider).map_err(|error| match error {
        Error::InconsistentKeys(InconsistentKeys::KeyMismatch) => key_failure("it is not the certificate's key"),
        Error::InvalidCertificate(_) => {
            format!("Error validating the certificate: {}", about(file, &error.to_string()))
        }
        error => key_failure(&error.to_string()),
    })
}

fn certificates(file: &File) -> Result<Vec<CertificateDer<'static>>, String> {
    let bytes = fs::read(&file.path).map_err(|error| error_text(&error))?;
    let read: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&bytes).collect();
    match read {
        Ok(certificates) if certificates.is_empty() => Err("no certificate in it".to_owned()),
        Ok(certificates) => Ok(certificates),
        Err(error) => Err(error.to_string()),
    }
}

fn key(file: &File, format: KeyFormat) -> Result<PrivateKeyDer<'static>, String> {
    let bytes = fs::read(&file.path).map_err(|error| error_text(&error))?;
    match format {
        KeyFormat::Pem => {
            PrivateKeyDer::from_pem_slice(&bytes).map_err(|_| "no private key in it that is not encrypted".to_owned())
        }
        KeyFormat::Der => PrivateKeyDer::try_from(bytes).map_err(str::to_owned),
        KeyFormat::Unknown => Err("ssl_keyformat is neither 1 (PEM) nor 2 (DER)".to_owned()),
    }
}

fn roots(file: &File) -> Result<RootCertStore, String> {
    let mut roots = RootCertStore::empty();
    for certificate in certificates(file)? {
        roots.add(certificate).map_err(|error| error.to_string())?;
    }
    Ok(roots)
}

fn configuration(
    config: &Config,
    provider: &Arc<CryptoProvider>,
    identity: &Arc<CertifiedKey>,
    roots: &Arc<RootCertStore>,
    verification: Verification,
) -> Result<Arc<ServerConfig>, String> {
    let failure = |error: &dyn std::fmt::Display| format!("Error setting up TLS: {error}");
    let versions: &[&SupportedProtocolVersion] = match config.is_tls13_only {
        true => &[&rustls::version::TLS13],
        false => rustls::ALL_VERSIONS,
    };
    let verifier = verifier(provider, roots, verification).map_err(|error| failure(&error))?;
    let resolver = Arc::new(SingleCertAndKey::from(CertifiedKey::clone(identity)));
    let mut made = ServerConfig::builder_with_provider(Arc::clone(provider))
        .with_protocol_versions(versions)
        .map_err(|error| failure(&error))?
        .with_client_cert_verifier(verifier)
        .with_cert_resolver(resolver);
    // As OpenSSL does, tickets are given to whoever takes them: they cost no memory here.
    made.ticketer = ring::Ticketer::new().map_err(|error| failure(&error))?;
    made.session_storage = session_storage(config.has_session_cache);
    Ok(Arc::new(made))
}

/// Where sessions without tickets are kept.
fn session_storage(has_session_cache: bool) -> Arc<dyn StoresServerSessions> {
    match has_session_cache {
        true => ServerSessionMemoryCache::new(SESSIONS_MAX),
        false => Arc::new(NoServerSessionStorage {}),
    }
}

/// Without authorities every client certificate is refused, as in memcached.
fn verifier(
    provider: &Arc<CryptoProvider>,
    roots: &Arc<RootCertStore>,
    verification: Verification,
) -> Result<Arc<dyn ClientCertVerifier>, rustls::server::VerifierBuilderError> {
    if verification == Verification::None {
        return Ok(WebPkiClientVerifier::no_client_auth());
    }
    if roots.is_empty() {
        return Ok(Arc::new(RefuseAll::new(provider, verification == Verification::Required)));
    }
    let builder = WebPkiClientVerifier::builder_with_provider(Arc::clone(roots), Arc::clone(provider));
    match verification {
        Verification::Required => builder.build(),
        _ => builder.allow_unauthenticated().build(),
    }
}

/// `file : why`, as memcached's messages end.
fn about(file: &File, why: &str) -> String {
    format!("{} : {why}", file.shown)
}

/// Sessions kept for each way of treating clients, with `ssl_session_cache`. A session takes one to
/// a few kilobytes.
const SESSIONS_MAX: usize = 4096;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bounded_number_of_sessions_is_kept() {
        let kept = |has_session_cache, count: usize| {
            let storage = session_storage(has_session_cache);
            let keys = || (0..count).map(|number| number.to_le_bytes().to_vec());
            keys().for_each(|key| _ = storage.put(key, vec![0; 10]));
            keys().filter(|key| storage.get(key).is_some()).count()
        };
        assert_eq!(kept(false, 10), 0);
        assert_eq!(kept(true, SESSIONS_MAX / 2), SESSIONS_MAX / 2);
        assert!(kept(true, 3 * SESSIONS_MAX) <= SESSIONS_MAX);
    }
}

//! Certificates for tests: an authority of its own, and what it issues to servers and clients.

use std::fs;
use std::path::{Path, PathBuf};

use rcgen::{BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};

/// Issues certificates.
pub struct Authority {
    issuer: Issuer<'static, KeyPair>,
    /// Its own certificate.
    pub certificate: CertificateDer<'static>,
    pem: String,
}

/// A certificate with its key.
pub struct Identity {
    /// The certificate.
    pub certificate: CertificateDer<'static>,
    /// Its private key.
    pub key: PrivateKeyDer<'static>,
    certificate_pem: String,
    key_pem: String,
}

/// A certificate with its key, in files.
#[derive(Clone, Debug)]
pub struct Files {
    /// The certificate.
    pub chain: PathBuf,
    /// The key.
    pub key: PathBuf,
}

impl Authority {
    /// A fresh authority.
    pub fn new(name: &str) -> Authority {
        let key = key_pair();
        let mut params = params(name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let certificate = params.self_signed(&key).expect("the parameters are complete");
        Authority { certificate: certificate.der().clone(), pem: certificate.pem(), issuer: Issuer::new(params, key) }
    }

    /// A certificate for a server on the loopback interface.
    pub fn issue_server(&self) -> Identity {
        self.issue("localhost", ExtendedKeyUsagePurpose::ServerAuth)
    }

    /// A certificate for a client.
    pub fn issue_client(&self, name: &str) -> Identity {
        self.issue(name, ExtendedKeyUsagePurpose::ClientAuth)
    }

    fn issue(&self, name: &str, usage: ExtendedKeyUsagePurpose) -> Identity {
        let key = key_pair();
        let mut params = params(name);
        params.extended_key_usages = vec![usage];
        let certificate = params.signed_by(&key, &self.issuer).expect("the parameters are complete");
        Identity {
            certificate: certificate.der().clone(),
            key: PrivateKeyDer::try_from(key.serialize_der()).expect("a key that was just made"),
            certificate_pem: certificate.pem(),
            key_pem: key.serialize_pem(),
        }
    }

    /// Writes the authority's own certificate.
    pub fn write(&self, folder: &Path, name: &str) -> Result<PathBuf, String> {
        write(folder, name, &self.pem)
    }
}

impl Identity {
    /// Writes certificate and key.
    pub fn write(&self, folder: &Path, name: &str) -> Result<Files, String> {
        Ok(Files {
            chain: write(folder, &format!("{name}-chain.pem"), &self.certificate_pem)?,
            key: write(folder, &format!("{name}-key.pem"), &self.key_pem)?,
        })
    }
}

impl Files {
    /// The suboptions of `-o` that name them.
    pub fn options(&self) -> String {
        format!("ssl_chain_cert={},ssl_key={}", self.chain.display(), self.key.display())
    }
}

fn write(folder: &Path, name: &str, text: &str) -> Result<PathBuf, String> {
    let path = folder.join(name);
    fs::write(&path, text).map_err(|error| format!("{}: {error}", path.display()))?;
    Ok(path)
}

fn key_pair() -> KeyPair {
    KeyPair::generate().expect("ring makes P-256 keys")
}

fn params(name: &str) -> CertificateParams {
    let mut params = CertificateParams::new(vec![name.to_string()]).expect("a good name");
    params.distinguished_name.push(DnType::CommonName, name);
    params
}

//! What a server needs to encrypt: a certificate in files of its own, a second port, and the options that name them.

use std::env;
use std::fs;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process;

use rcgen::{CertifiedKey, generate_simple_self_signed};

use crate::error::Error;

/// A server's certificate and where it shows it. The files are removed with it.
#[derive(Debug)]
pub struct Encryption {
    /// Where the server listens with TLS.
    pub address: SocketAddr,
    folder: PathBuf,
}

impl Encryption {
    /// A fresh self-signed P-256 certificate for a server that will listen on `address`.
    pub fn new(address: SocketAddr) -> Result<Encryption, Error> {
        let CertifiedKey { cert, signing_key } = generate_simple_self_signed(vec!["localhost".to_string()])
            .map_err(|error| Error::Usage(format!("no certificate can be made: {error}")))?;
        let folder = env::temp_dir().join(format!("slabstash-bench-{}-{}", process::id(), address.port()));
        let encryption = Encryption { address, folder };
        let write = |name: &str, text: String| fs::write(encryption.folder.join(name), text);
        fs::create_dir_all(&encryption.folder)
            .and_then(|()| write(CHAIN, cert.pem()))
            .and_then(|()| write(KEY, signing_key.serialize_pem()))
            .map_err(Error::system("write a certificate"))?;
        Ok(encryption)
    }

    /// The options for a server that listens in the clear on `plain` and encrypted on its own address.
    pub fn options(&self, plain: SocketAddr) -> Vec<String> {
        let file = |name: &str| self.folder.join(name).display().to_string();
        vec![
            "-Z".to_string(),
            "-o".to_string(),
            format!("ssl_chain_cert={},ssl_key={}", file(CHAIN), file(KEY)),
            "-l".to_string(),
            format!("notls:{plain},{}", self.address),
        ]
    }
}

impl Drop for Encryption {
    fn drop(&mut self) {
        // A folder left in the temporary directory harms nobody.
        let _ = fs::remove_dir_all(&self.folder);
    }
}

const CHAIN: &str = "chain.pem";
const KEY: &str = "key.pem";

//! The suboptions of `-o` for TLS, rows of the kind of [`super::table`], and what they settle.
//!
//! Names, values, messages and the lines of `stats settings` are memcached's. No file is read here: the server does that
//! when it starts, and again when it is told to.

use std::path::PathBuf;

use super::draft::{Early, Value};
use super::row::Apply::{Set, Take};
use super::row::{Argument, PLAIN, Row, Support, yes_no};
use super::{EXIT_FAILURE, Failure, number};

/// Encryption of TCP connections.
#[derive(Clone, Debug)]
pub struct Tls {
    /// `-Z`.
    pub is_enabled: bool,
    /// The server's certificate and those between it and its authority, in PEM.
    pub chain: Option<PathBuf>,
    /// The certificate's private key.
    pub key: Option<PathBuf>,
    /// How the key is written.
    pub key_format: KeyFormat,
    /// Whether clients are asked for a certificate.
    pub verify_mode: VerifyMode,
    /// Authorities of client certificates, in PEM.
    pub authorities: Option<PathBuf>,
    /// The cipher suites of TLS 1.2 that may be used, as OpenSSL writes lists; all without it.
    pub ciphers: Option<String>,
    /// Plaintext that is encrypted at once.
    pub write_buffer_bytes: u32,
    /// TLS 1.2 sessions are kept for clients that come back without a ticket, and new sessions are counted.
    pub has_session_cache: bool,
    /// As `stats settings` shows it: encryption is not left to the kernel here.
    pub kernel_tls: bool,
    /// The oldest version that is spoken.
    pub min_version: TlsVersion,
}

/// How a private key is written: OpenSSL's numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeyFormat {
    /// 1: PEM.
    Pem,
    /// 2: DER.
    Der,
    /// A number that means nothing; loading the key fails with it.
    Unknown(i32),
}

/// Whether clients are asked for a certificate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum VerifyMode {
    /// 0: no.
    None,
    /// 1: asked, and may come without; one that comes has to be valid.
    Request,
    /// 2: nobody is served without.
    Require,
    /// 3: the same; in OpenSSL it differs when TLS is negotiated anew, which is never done.
    Once,
}

/// A version of TLS.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[allow(missing_docs)]
pub enum TlsVersion {
    V1_0,
    V1_1,
    V1_2,
    V1_3,
}

impl Default for Tls {
    fn default() -> Tls {
        Tls {
            is_enabled: false,
            chain: None,
            key: None,
            key_format: KeyFormat::Pem,
            verify_mode: VerifyMode::None,
            authorities: None,
            ciphers: None,
            write_buffer_bytes: WRITE_BUFFER_BYTES,
            has_session_cache: false,
            kernel_tls: false,
            min_version: TlsVersion::V1_2,
        }
    }
}

impl KeyFormat {
    fn number(self) -> i32 {
        match self {
            KeyFormat::Pem => 1,
            KeyFormat::Der => 2,
            KeyFormat::Unknown(number) => number,
        }
    }
}

impl VerifyMode {
    /// OpenSSL's bits for it, which is what `stats settings` shows: peer, fail without, once.
    fn openssl_bits(self) -> u32 {
        match self {
            VerifyMode::None => 0,
            VerifyMode::Request => 1,
            VerifyMode::Require => 3,
            VerifyMode::Once => 7,
        }
    }
}

impl TlsVersion {
    /// As `stats settings` writes it.
    pub fn text(self) -> &'static str {
        match self {
            TlsVersion::V1_0 => "tlsv1.0",
            TlsVersion::V1_1 => "tlsv1.1",
            TlsVersion::V1_2 => "tlsv1.2",
            TlsVersion::V1_3 => "tlsv1.3",
        }
    }
}

/// The suboptions, in the order of memcached's help.
pub(super) static ROWS: &[Row] = &[
    Row {
        name: "ssl_chain_cert",
        argument: Argument::Required("file"),
        help: &["certificate chain file in PEM format"],
        apply: Take(|draft, value| set(&mut draft.options.tls.chain, value.path())),
        settings: &[("ssl_chain_cert", |options| path_or(&options.tls.chain, "(null)"))],
        ..PLAIN
    },
    Row {
        name: "ssl_key",
        argument: Argument::Required("file"),
        help: &["private key, if not part of the -ssl_chain_cert"],
        apply: Take(|draft, value| set(&mut draft.options.tls.key, value.path())),
        settings: &[("ssl_key", |options| path_or(&options.tls.key, "(null)"))],
        ..PLAIN
    },
    Row {
        name: "ssl_keyformat",
        argument: Argument::Required("num"),
        help: &["private key format, 1 (PEM) or 2 (DER) (default: {default})"],
        default: Some(|draft| draft.options.tls.key_format.number().to_string()),
        apply: Take(|draft, value| {
            draft.options.tls.key_format = match strict_integer(value)? {
                1 => KeyFormat::Pem,
                2 => KeyFormat::Der,
                other => KeyFormat::Unknown(other),
            };
            Ok(())
        }),
        settings: &[("ssl_keyformat", |options| options.tls.key_format.number().to_string())],
        ..PLAIN
    },
    Row {
        name: "ssl_verify_mode",
        argument: Argument::Required("num"),
        help: &[
            "peer certificate verification mode, default is 0(None).",
            "valid values are 0(None), 1(Request), 2(Require)",
            "or 3(Once)",
        ],
        apply: Take(|draft, value| {
            draft.options.tls.verify_mode = match strict_integer(value)? {
                0 => VerifyMode::None,
                1 => VerifyMode::Request,
                2 => VerifyMode::Require,
                3 => VerifyMode::Once,
                _ => return Err(invalid(value)),
            };
            Ok(())
        }),
        settings: &[("ssl_verify_mode", |options| options.tls.verify_mode.openssl_bits().to_string())],
        ..PLAIN
    },
    Row {
        name: "ssl_ciphers",
        argument: Argument::Required("list"),
        help: &["specify cipher list to be used (TLS 1.2; OpenSSL's way of writing it)"],
        apply: Take(|draft, value| set(&mut draft.options.tls.ciphers, value.text())),
        settings: &[("ssl_ciphers", |options| options.tls.ciphers.clone().unwrap_or_else(|| "NULL".to_string()))],
        ..PLAIN
    },
    Row {
        name: "ssl_ca_cert",
        argument: Argument::Required("file"),
        help: &["PEM format file of acceptable client CA's"],
        apply: Take(|draft, value| set(&mut draft.options.tls.authorities, value.path())),
        settings: &[("ssl_ca_cert", |options| path_or(&options.tls.authorities, "NULL"))],
        ..PLAIN
    },
    Row {
        name: "ssl_wbuf_size",
        argument: Argument::Required("kilobytes"),
        help: &["size in kilobytes of each worker's TLS output buffer, 1 to 1024", "(default: {default})"],
        default: Some(|draft| (draft.options.tls.write_buffer_bytes / 1024).to_string()),
        apply: Take(|draft, value| {
            draft.options.tls.write_buffer_bytes =
                value.unsigned()?.saturating_mul(1024).clamp(1024, WRITE_BUFFER_BYTES_MAX);
            Ok(())
        }),
        settings: &[("ssl_wbuf_size", |options| options.tls.write_buffer_bytes.to_string())],
        ..PLAIN
    },
    Row {
        name: "ssl_session_cache",
        help: &["enable server-side SSL session cache, to support session", "resumption"],
        apply: Set(|options| options.tls.has_session_cache = true),
        settings: &[("ssl_session_cache", |options| yes_no(options.tls.has_session_cache))],
        ..PLAIN
    },
    Row {
        name: "ssl_kernel_tls",
        help: &["enable kernel TLS offload (accepted, no effect)"],
        support: Support::NoMeaning("records are encrypted in the program, which needs no support of the kernel"),
        apply: Set(|options| options.tls.kernel_tls = true),
        settings: &[("ssl_kernel_tls", |options| yes_no(options.tls.kernel_tls))],
        ..PLAIN
    },
    Row {
        name: "ssl_min_version",
        argument: Argument::Required("num"),
        help: &[
            "minimum protocol version to accept (default: {default})",
            "valid values are 0(tlsv1.0), 1(tlsv1.1), 2(tlsv1.2), or 3(tlsv1.3).",
            "0 and 1 mean 2: nothing older is spoken",
        ],
        default: Some(|draft| draft.options.tls.min_version.text().to_string()),
        apply: Take(|draft, value| {
            draft.options.tls.min_version = match strict_integer(value)? {
                0 => TlsVersion::V1_0,
                1 => TlsVersion::V1_1,
                2 => TlsVersion::V1_2,
                3 => TlsVersion::V1_3,
                _ => return Err(invalid(value)),
            };
            Ok(())
        }),
        settings: &[("ssl_min_version", |options| options.tls.min_version.text().to_string())],
        ..PLAIN
    },
];

fn set<T>(place: &mut Option<T>, value: T) -> Result<(), Early> {
    *place = Some(value);
    Ok(())
}

fn path_or(path: &Option<PathBuf>, none: &str) -> String {
    path.as_ref().map_or_else(|| none.to_string(), |path| path.to_string_lossy().into_owned())
}

fn strict_integer(value: Value<'_>) -> Result<i32, Early> {
    number::strict_integer(value.raw()).ok_or_else(|| Failure::new(EXIT_FAILURE, value.unparsed()).into())
}

fn invalid(value: Value<'_>) -> Early {
    Failure::new(EXIT_FAILURE, format!("Invalid {}. Use help to see valid options.", value.name)).into()
}

/// A record, as in memcached.
const WRITE_BUFFER_BYTES: u32 = 16 * 1024;
const WRITE_BUFFER_BYTES_MAX: u32 = 1024 * 1024;

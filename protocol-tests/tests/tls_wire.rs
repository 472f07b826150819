//! Plays the transcripts of `cases/` over TLS: whatever the transport, the words are the same.

use std::path::Path;
use std::process::ExitCode;

fn main() -> ExitCode {
    protocol_tests::suite::main_over_tls(
        &Path::new(env!("CARGO_MANIFEST_DIR")).join("cases"),
        LEFT_OUT,
        LEFT_OUT_OF_MEMCACHED,
    )
}

/// Cases in which TLS makes a difference: it adds statistics, the refusal of one connection too many is in the clear, and
/// certificates can be read again.
const LEFT_OUT: &[&str] =
    &["refresh_certs without TLS", "names and order of the general statistics", "too many connections"];

/// What memcached 1.6.45 gets wrong over TLS: it crashes, sends garbage, or does not answer.
const LEFT_OUT_OF_MEMCACHED: &[&str] = &[
    "shutdown graceful",
    "shutdown modes may be abbreviated",
    "a multiget beyond the memory for replies",
    "binary/store: no memory",
];

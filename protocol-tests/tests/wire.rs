//! Plays the transcripts of `cases/` against slabstash, or against a memcached named by `MEMCACHED`.

use std::path::Path;
use std::process::ExitCode;

fn main() -> ExitCode {
    protocol_tests::suite::main(&Path::new(env!("CARGO_MANIFEST_DIR")).join("cases"))
}

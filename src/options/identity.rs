//! Who the program says it is.
//!
//! Clients' test suites and process managers start a program named `memcached` and read its `-h` and `-V`, so the name
//! it is called by decides: a base name that starts with `memcached` gets memcached's introduction, defaults and
//! refusals, one that starts with `memcached-debug` gets the commands of memcached's debug build as well.

use std::os::unix::ffi::OsStrExt;

use super::Invocation;

/// The name to go by and the versions to tell.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    /// What complaints begin with: the name as it was called.
    pub program: String,
    /// Called by a name that starts with `memcached`.
    pub is_memcached: bool,
    /// Called by a name that starts with `memcached-debug`.
    pub is_debug: bool,
}

impl Identity {
    /// This program's own version.
    pub const VERSION: &str = env!("CARGO_PKG_VERSION");
    /// The version of memcached it is compatible with; `version` answers with it.
    pub const MEMCACHED_VERSION: &str = "1.6.45";

    /// The identity that an invocation gives.
    pub fn of(invocation: &Invocation) -> Identity {
        let called = invocation.program.to_string_lossy().into_owned();
        let base = invocation.program.as_bytes().rsplit(|byte| *byte == b'/').next().unwrap_or_default();
        let given = invocation.environment.slabstash_name.as_ref().filter(|_| base == b"slabstash");
        let (program, base) = match given {
            Some(name) => (name.to_string_lossy().into_owned(), name.as_bytes()),
            None => (called, base),
        };
        Identity {
            program,
            is_memcached: base.starts_with(b"memcached"),
            is_debug: base.starts_with(b"memcached-debug"),
        }
    }

    /// The first line of `-h` and all of `-V`.
    pub fn introduction(&self) -> String {
        if self.is_memcached {
            format!("memcached {}", Identity::MEMCACHED_VERSION)
        } else {
            format!("slabstash {} (memcached {})", Identity::VERSION, Identity::MEMCACHED_VERSION)
        }
    }
}

//! Limits of the process: descriptors, core files, locked memory.

use std::io;

use rustix::mm::{MlockAllFlags, mlockall};
use rustix::process::{DumpableBehavior, Resource, Rlimit, getrlimit, set_dumpable_behavior, setrlimit};

/// Lets descriptors number up to `descriptors`, and some more for what the server needs besides connections, so that
/// it can open files when all connections are taken. Without the right to that many, exactly `descriptors`.
pub fn set_descriptors(descriptors: u64) -> io::Result<()> {
    let both = |limit| Rlimit { current: Some(limit), maximum: Some(limit) };
    let reserved = descriptors.saturating_add(DESCRIPTORS_RESERVED);
    if setrlimit(Resource::Nofile, both(reserved)).is_ok() {
        return Ok(());
    }
    if setrlimit(Resource::Nofile, both(descriptors)).is_ok() {
        return Ok(());
    }
    // Some environments (valgrind, sandboxes) let a process change only what counts, not the bound of that.
    let maximum = getrlimit(Resource::Nofile).maximum;
    Ok(setrlimit(Resource::Nofile, Rlimit { current: Some(descriptors), maximum })?)
}

/// Lets core files be as large as the system allows (`-r`); an error when that is not at all.
pub fn allow_core_files() -> io::Result<()> {
    let limit = getrlimit(Resource::Core);
    let unlimited = Rlimit { current: None, maximum: None };
    if setrlimit(Resource::Core, unlimited).is_err() {
        let most = Rlimit { current: limit.maximum, maximum: limit.maximum };
        // Refused or not, what counts is the limit that results.
        let _ = setrlimit(Resource::Core, most);
    }
    match getrlimit(Resource::Core).current {
        Some(0) => Err(io::ErrorKind::PermissionDenied.into()),
        _ => Ok(()),
    }
}

/// Lets the process leave core files, which the system forbids to one that has changed its user.
pub fn allow_dumping() -> io::Result<()> {
    Ok(set_dumpable_behavior(DumpableBehavior::Dumpable)?)
}

/// Keeps all memory, present and future, from being swapped (`-k`).
pub fn lock_memory() -> io::Result<()> {
    Ok(mlockall(MlockAllFlags::CURRENT | MlockAllFlags::FUTURE)?)
}

/// Descriptors beyond those of connections: reloading files, process facts, the like.
const DESCRIPTORS_RESERVED: u64 = 32;

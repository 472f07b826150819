//! What this process may still do once it serves: the least that a cache needs.
//!
//! Two locks of the kernel, each for what the other cannot see:
//!
//! | | bars | when |
//! |---|---|---|
//! | [`files`], Landlock | files but those of [`Needs`], new TCP connections and ports, signals to others | before the threads start, which inherit it |
//! | [`calls`], seccomp | system calls but those on a list: no program is started, no socket made | last of all, for every thread |
//!
//! Both are for the process' life and bind root too. Who takes over a worker by a bug in it holds the cache's memory and
//! its connections; with this he does not get to the machine's other files, programs and services from there.
//!
//! Who calls decides whether a lock that the kernel does not have is an error. A part of the server that opens files
//! later says so in [`Needs`]; one that makes system calls of another kind adds them to the list in [`calls`], where a
//! test runs them.

pub mod calls;
pub mod files;

use std::path::{Path, PathBuf};

/// What the process still does with files when it serves. Everything that is open by then stays usable.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct Needs {
    /// Files that are read again. Everything in and below their folders can be read, since what is read again is most
    /// often another file of the same name by then.
    pub read: Vec<PathBuf>,
    /// Files that are removed at the end. Others in their folders could be as well.
    pub remove: Vec<PathBuf>,
    /// Folders in and below which files are made, written, renamed and removed.
    pub write: Vec<PathBuf>,
}

impl Needs {
    /// Whether any file is to be written, which takes system calls of its own.
    pub fn has_writing(&self) -> bool {
        !self.write.is_empty()
    }
}

/// How far the locks hold, for the log and for `stats settings`.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Level {
    /// Landlock's ABI as far as it is used; 0 is no Landlock.
    pub landlock_abi: u32,
    /// Whether the system calls are filtered.
    pub has_call_filter: bool,
}

/// The folder of a file.
fn folder(path: &Path) -> &Path {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    }
}

#[cfg(test)]
mod tests;

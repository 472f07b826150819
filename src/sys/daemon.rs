//! Running in the background (`-d`) without `fork`, which safe Rust does not have: the process starts itself once
//! more, with the same arguments and a mark in the environment, and waits.
//!
//! ```text
//!   foreground                            background ([`MARK`] set)
//!   spawn self, standard output a pipe    setsid, start the server; errors go to the common standard error
//!   read the pipe  <--------------------  [`Background::prepare`]: cd /
//!                                         [`Detachable::detach`]: close the standard streams, write a byte
//!   exit 0 at the byte; at its end without one, exit as the child did
//! ```
//! Unlike memcached's parent, which exits before its child has bound anything, this one reports a failed start by
//! message and exit code, and when it exits clients can connect.

use std::env;
use std::ffi::CString;
use std::fs::{File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, Stdio};

/// Which side of the start this process is.
#[derive(Debug)]
pub enum Side {
    /// The background process; go on.
    Background(Background),
    /// The foreground process is done: exit with this code.
    Foreground {
        /// The exit code.
        exit_code: i32,
    },
}

/// The background process, still attached to its parent.
#[derive(Debug)]
pub struct Background(());

/// The background process, ready to be detached.
#[derive(Debug)]
pub struct Detachable {
    null: File,
}

/// Splits into foreground and background. Returns in both processes; in the foreground one when the other is ready or
/// has failed. Call before anything else is started.
pub fn start() -> io::Result<Side> {
    if env::var_os(MARK).is_some() {
        rustix::process::setsid()?;
        take_name();
        return Ok(Side::Background(Background(())));
    }
    let mut arguments = env::args_os();
    let name = arguments.next().unwrap_or_default();
    let mut child = Command::new(env::current_exe()?)
        .arg0(name)
        .args(arguments)
        .env(MARK, "1")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()?;
    let mut sign = Vec::new();
    if let Some(pipe) = child.stdout.take() {
        pipe.take(1).read_to_end(&mut sign)?;
    }
    if !sign.is_empty() {
        return Ok(Side::Foreground { exit_code: 0 });
    }
    let exit_code = child.wait()?.code().unwrap_or(1);
    Ok(Side::Foreground { exit_code })
}

/// Takes the name that the process was called by: started from its file it is called by that of a link's target.
fn take_name() {
    let Some(argument) = env::args_os().next() else {
        return;
    };
    let name = Path::new(&argument).file_name().unwrap_or_default();
    if let Ok(name) = CString::new(name.as_encoded_bytes()) {
        // Only `ps` and the like would miss it.
        let _ = rustix::thread::set_name(&name);
    }
}

impl Background {
    /// Leaves the working directory, unless `keeps_directory` (for core files), and opens what the streams will be.
    pub fn prepare(self, keeps_directory: bool) -> io::Result<Detachable> {
        if !keeps_directory {
            env::set_current_dir("/")?;
        }
        Ok(Detachable { null: OpenOptions::new().read(true).write(true).open("/dev/null")? })
    }
}

impl Detachable {
    /// Lets go of the terminal and the parent: the server is ready. `keeps_errors` keeps standard error (for `-v`). Opens
    /// nothing, so that it can come after all rights were given up.
    pub fn detach(self, keeps_errors: bool) -> io::Result<()> {
        rustix::stdio::dup2_stdin(&self.null)?;
        io::stdout().write_all(b"\n")?;
        io::stdout().flush()?;
        rustix::stdio::dup2_stdout(&self.null)?;
        if !keeps_errors {
            rustix::stdio::dup2_stderr(&self.null)?;
        }
        Ok(())
    }
}

/// Set in the environment of the background process.
const MARK: &str = "SLABSTASH_BACKGROUND";

//! Instructions counted by valgrind's callgrind, for machines whose processor lends no counters. A count depends on the
//! program alone: it is the same on a busy machine, and only a compiler, a C library or another kind of processor (for
//! which memcpy is another function) changes it.
//!
//! A program under callgrind runs about fifty times slower, so its times mean nothing.
//!
//! Two uses: [`crate::micro`] runs this program itself and gets a count for each call of one function; a server under
//! load ([`server_command`]) is asked from outside to begin to count and to write down what it counted.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::error::Error;

/// The tools that are needed; all of them are in the package valgrind.
const TOOLS: &[&str] = &["valgrind", "vgdb"];

/// Says what is missing, if anything is.
pub fn missing() -> Option<&'static str> {
    let runs = |tool: &str| {
        let mut command = Command::new(tool);
        command.arg("--help").stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).status().is_ok()
    };
    TOOLS.iter().copied().find(|tool| !runs(tool))
}

/// What valgrind calls itself: `valgrind-3.19.0`.
pub fn version() -> String {
    first_line_of("valgrind")
}

/// The first line of a program's `--version`.
pub fn first_line_of(program: &str) -> String {
    let output = Command::new(program).arg("--version").stdin(Stdio::null()).output();
    let text = output.map_or(String::new(), |output| String::from_utf8_lossy(&output.stdout).into_owned());
    text.lines().next().unwrap_or("unknown").to_string()
}

/// A folder for the counts of this process; gone when it is dropped.
pub struct Folder(PathBuf);

impl Folder {
    /// Makes it.
    pub fn new() -> Result<Folder, Error> {
        let path = folder();
        fs::create_dir_all(&path).map_err(Error::system("make a folder for callgrind"))?;
        Ok(Folder(path))
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        // It lies among other temporary files; one that stays behind does no harm.
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn folder() -> PathBuf {
    env::temp_dir().join(format!("slabstash-bench-{}", std::process::id()))
}

/// A command that runs a server under callgrind, with so many connections at most; the caller adds the server's other
/// options. Counts go to the [`Folder`].
pub fn server_command(server: &Path, connections_max: usize) -> Command {
    let mut command = Command::new("sh");
    // Servers set their limit of open files to that of connections, and valgrind refuses every limit but the one it
    // was started with, less the files that it keeps for itself.
    let script = "ulimit -n $1; shift; exec valgrind \"$@\"";
    command
        .args(["-c", script, "sh", &(connections_max + VALGRIND_FILES).to_string()])
        .args(["--tool=callgrind", "--quiet", "--log-file=/dev/null"])
        .arg(format!("--callgrind-out-file={}/{PREFIX}%p", folder().display()))
        .arg(server)
        // A filter of system calls would bind valgrind too.
        .args(["-o", "no_drop_privileges"]);
    command
}

/// Makes an idle process under callgrind count from zero.
pub fn zero(id: u32) -> Result<(), Error> {
    ask(id, "zero")
}

/// What an idle process has counted since [`zero`].
pub fn dump(id: u32) -> Result<f64, Error> {
    ask(id, "dump")?;
    total_of(&last_dump(id)?)
}

/// Copies a process' last [`dump`], for callgrind_annotate.
pub fn keep_dump(id: u32, target: &Path) -> Result<(), Error> {
    fs::copy(last_dump(id)?, target).map(drop).map_err(Error::system("keep callgrind's file"))
}

fn last_dump(id: u32) -> Result<PathBuf, Error> {
    dumps(&folder(), &format!("{PREFIX}{id}"))?.pop().ok_or_else(|| failure("it wrote no counts"))
}

/// The files that one process has written, oldest first: `PREFIX.1`, `PREFIX.2`, ...
pub fn dumps(folder: &Path, prefix: &str) -> Result<Vec<PathBuf>, Error> {
    let entries = fs::read_dir(folder).map_err(Error::system("list callgrind's files"))?;
    let mut found: Vec<(u64, PathBuf)> = entries
        .flatten()
        .filter_map(|entry| {
            let number = entry.file_name().to_str()?.strip_prefix(prefix)?.strip_prefix('.')?.parse().ok()?;
            Some((number, entry.path()))
        })
        .collect();
    found.sort();
    Ok(found.into_iter().map(|(_, path)| path).collect())
}

/// The sum of a file.
pub fn total_of(file: &Path) -> Result<f64, Error> {
    let text = fs::read_to_string(file).map_err(Error::system("read callgrind's counts"))?;
    total(&text).ok_or_else(|| failure("its file has no total"))
}

fn total(text: &str) -> Option<f64> {
    let line = text.lines().rev().find_map(|line| line.strip_prefix("totals:"))?;
    line.split_whitespace().next()?.parse().ok()
}

fn ask(id: u32, what: &str) -> Result<(), Error> {
    let output = Command::new("vgdb")
        .args([&format!("--pid={id}"), what])
        .stdin(Stdio::null())
        .output()
        .map_err(Error::system("run vgdb"))?;
    match output.status.success() {
        true => Ok(()),
        false => Err(failure(String::from_utf8_lossy(&output.stderr).trim())),
    }
}

/// An error of callgrind itself.
pub fn failure(cause: &str) -> Error {
    Error::Server { name: "callgrind".to_string(), cause: cause.to_string() }
}

const PREFIX: &str = "callgrind.";

/// Descriptors that valgrind keeps to itself.
const VALGRIND_FILES: usize = 12;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn totals() {
        assert_eq!(total("version: 1\nsummary: 5\n\nfn=(1)\n1 2\n\ntotals: 12345\n"), Some(12345.0));
        assert_eq!(total("totals: 7 8\n"), Some(7.0));
        assert_eq!(total("summary: 5\n"), None);
    }

    #[test]
    fn dumps_are_found_in_order() {
        let folder = env::temp_dir().join(format!("slabstash-bench-test-{}", std::process::id()));
        fs::create_dir_all(&folder).unwrap();
        for name in ["a.10", "a.9", "a", "a.x", "b.1", "a.1"] {
            fs::write(folder.join(name), "").unwrap();
        }
        let names: Vec<String> = dumps(&folder, "a")
            .unwrap()
            .iter()
            .map(|path| path.file_name().unwrap().to_string_lossy().into_owned())
            .collect();
        fs::remove_dir_all(&folder).unwrap();
        assert_eq!(names, ["a.1", "a.9", "a.10"]);
    }
}

//! The file that holds the process id (`-P`). Trouble with it is reported and nothing else: a cache without a pid file
//! still serves.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use rustix::process::{Pid, test_kill_process};

use super::error_text;

/// Writes the pid file: through `<path>.tmp` and a rename, so that no reader sees it empty. Returns what is to be said
/// to the user about it.
pub fn write(path: &Path) -> Vec<String> {
    let mut remarks = Vec::new();
    if let Some(pid) = running(path) {
        remarks.push(format!("WARNING: The pid file contained the following (running) pid: {pid}"));
    }
    let mut temporary = path.as_os_str().to_owned();
    temporary.push(".tmp");
    let temporary = PathBuf::from(temporary);
    let remark = |what: String, error: io::Error| format!("{what}: {}", error_text(&error));
    if let Err(error) = fs::write(&temporary, format!("{}\n", std::process::id())) {
        let what = format!("Could not open the pid file {} for writing", temporary.display());
        remarks.push(remark(what, error));
    } else if let Err(error) = fs::rename(&temporary, path) {
        let (from, to) = (temporary.display(), path.display());
        let what = format!("Could not rename the pid file from {from} to {to}");
        remarks.push(remark(what, error));
    }
    remarks
}

/// Removes the pid file; the text says why it could not.
pub fn remove(path: &Path) -> Option<String> {
    let error = fs::remove_file(path).err()?;
    Some(format!("Could not remove the pid file {}: {}", path.display(), error_text(&error)))
}

/// The process named in the file at `path`, when it runs.
fn running(path: &Path) -> Option<i32> {
    let text = fs::read_to_string(path).ok()?;
    let pid = text.lines().next()?.trim().parse().ok()?;
    test_kill_process(Pid::from_raw(pid)?).ok()?;
    Some(pid)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pid_file_is_written_whole_and_warns() {
        let path = std::env::temp_dir().join(format!("slabstash-{}.pid", std::process::id()));
        assert_eq!(write(&path), Vec::<String>::new());
        let own = std::process::id();
        assert_eq!(fs::read_to_string(&path).expect("written"), format!("{own}\n"));
        let warning = format!("WARNING: The pid file contained the following (running) pid: {own}");
        assert_eq!(write(&path), [warning]);
        assert_eq!(remove(&path), None);
        assert!(remove(&path).is_some_and(|text| text.contains("No such file")));
    }

    #[test]
    fn unwritable_pid_file_is_a_remark() {
        let remarks = write("/nonexistent/pid".as_ref());
        assert_eq!(
            remarks,
            ["Could not open the pid file /nonexistent/pid.tmp for writing: No such file or directory"]
        );
    }
}

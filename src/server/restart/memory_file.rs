//! The file of `-e`, and beside it the metadata file, `.meta`, that says the first one is whole.
//!
//! While the server runs the file is empty; it is held open and locked, so that two servers never share one. At a graceful
//! stop the cache is written to it, and then the metadata under another name and renamed: a stop that does not come to its
//! end leaves none. A start takes the metadata away before it looks at the rest, so that nothing is used twice.
//!
//! What is in the file is served to clients as the truth, and what is written to it may be secret, so it has to belong to
//! this user or to root and nobody else may write it.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use rustix::fs::{FlockOperation, flock};
use rustix::process::geteuid;

use crate::sys::error_text;

use super::format::DESCRIPTION_BYTES_MAX;

/// See the module comment.
#[derive(Debug)]
pub struct MemoryFile {
    /// The file.
    pub file: File,
    path: PathBuf,
}

impl MemoryFile {
    /// Opens or makes the file; the text says why it cannot be used.
    pub fn open(path: &Path) -> Result<Self, String> {
        let shown = path.display();
        let file = OpenOptions::new().read(true).write(true).create(true).truncate(false).mode(0o600).open(path);
        let file = file.map_err(|error| format!("failed to open memory file {shown}: {}", error_text(&error)))?;
        check_owner(&file).map_err(|text| format!("memory file {shown} {text}"))?;
        flock(&file, FlockOperation::NonBlockingLockExclusive).map_err(|error| match error {
            rustix::io::Errno::WOULDBLOCK => format!("memory file {shown} is in use by another process"),
            error => format!("failed to lock memory file {shown}: {}", error_text(&error.into())),
        })?;
        let file = Self { file, path: path.to_owned() };
        // Better to find that out now than when there is a cache to be saved.
        let draft = file.draft();
        let made = make(&draft).and_then(|_| fs::remove_file(&draft));
        made.map_err(|error| format!("failed to write metadata file {}: {}", draft.display(), error_text(&error)))?;
        Ok(file)
    }

    /// Its name.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The name of the metadata file.
    pub fn metadata_path(&self) -> PathBuf {
        self.sibling(".meta")
    }

    fn draft(&self) -> PathBuf {
        self.sibling(".meta.tmp")
    }

    fn sibling(&self, ending: &str) -> PathBuf {
        let mut name = self.path.as_os_str().to_owned();
        name.push(ending);
        name.into()
    }

    /// Reads the metadata and takes it away; `None` when there is none.
    pub fn take_metadata(&self) -> io::Result<Option<Vec<u8>>> {
        let path = self.metadata_path();
        let text = match read_at_most(&path, DESCRIPTION_BYTES_MAX as u64) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            text => text?,
        };
        // memcached leaves what it does not know, and so refuses to start until somebody looks at it.
        if text.first() == Some(&b'T') {
            fs::remove_file(path)?;
        }
        Ok(Some(text))
    }

    /// Writes the metadata: what is in the file is whole.
    pub fn write_metadata(&self, text: &str) -> io::Result<()> {
        let draft = self.draft();
        let mut file = make(&draft)?;
        let written = file.write_all(text.as_bytes()).and_then(|()| fs::rename(&draft, self.metadata_path()));
        if written.is_err() {
            let _ = fs::remove_file(draft);
        }
        written
    }

    /// Makes the file empty.
    pub fn clear(&self) {
        if let Err(error) = self.file.set_len(0) {
            log::warn!("[restart] cannot empty {}: {}", self.path.display(), error_text(&error));
        }
    }
}

/// A new file that only this user can read; one that is there is no longer.
fn make(path: &Path) -> io::Result<File> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)
}

fn read_at_most(path: &Path, bytes: u64) -> io::Result<Vec<u8>> {
    let mut text = Vec::new();
    io::Read::read_to_end(&mut io::Read::take(File::open(path)?, bytes), &mut text)?;
    Ok(text)
}

fn check_owner(file: &File) -> Result<(), String> {
    let facts = file.metadata().map_err(|error| format!("cannot be looked at: {}", error_text(&error)))?;
    if !facts.is_file() {
        return Err("is not a regular file".to_owned());
    }
    if facts.uid() != geteuid().as_raw() && facts.uid() != 0 {
        return Err(format!("belongs to another user (id {})", facts.uid()));
    }
    if facts.mode() & 0o022 != 0 {
        return Err(format!("may be written by others (mode {:o})", facts.mode() & 0o777));
    }
    Ok(())
}

//! The part of systemd that keeps a cache over a restart: a socket for messages, and what was handed over through it.

use std::fs::{self, File};
use std::io::IoSliceMut;
use std::mem::MaybeUninit;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::net::UnixDatagram;
use std::path::Path;
use std::process;
use std::time::Duration;

use rustix::net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, recvmsg};

/// A service manager with room for one descriptor.
#[derive(Debug)]
pub struct Manager {
    path: String,
    socket: UnixDatagram,
}

impl Manager {
    /// One that listens at `path`.
    pub fn new(path: &Path) -> Result<Manager, String> {
        let socket = UnixDatagram::bind(path).map_err(|error| format!("{}: {error}", path.display()))?;
        Ok(Manager { path: path.display().to_string(), socket })
    }

    /// What it tells a service.
    pub fn environment(&self) -> [(&str, &str); 2] {
        [("NOTIFY_SOCKET", &self.path), ("FDSTORE", "1")]
    }

    /// The next message, if there is one, and its descriptors.
    fn receive(&self, timeout: Duration) -> Option<(String, Vec<OwnedFd>)> {
        self.socket.set_read_timeout(Some(timeout)).ok()?;
        let mut text = vec![0; 4096];
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(4))];
        let mut control = RecvAncillaryBuffer::new(&mut space);
        let slices = &mut [IoSliceMut::new(&mut text)];
        let message = recvmsg(&self.socket, slices, &mut control, RecvFlags::CMSG_CLOEXEC).ok()?;
        text.truncate(message.bytes);
        let rights = control.drain().filter_map(|message| match message {
            RecvAncillaryMessage::ScmRights(rights) => Some(rights),
            _ => None,
        });
        Some((String::from_utf8_lossy(&text).into_owned(), rights.flatten().collect()))
    }

    /// The text of the first message from now on that has such a line.
    pub fn text_until(&self, line: &str) -> Result<String, String> {
        loop {
            let (text, _) = self.receive(TIMEOUT).ok_or_else(|| format!("no message with {line}"))?;
            if text.lines().any(|other| other == line) {
                return Ok(text);
            }
        }
    }

    /// What was handed over last.
    pub fn kept(&self) -> Result<File, String> {
        loop {
            let (text, mut descriptors) = self.receive(TIMEOUT).ok_or("nothing was handed over")?;
            if text.starts_with("FDSTORE=1\n") {
                return match (text.contains("FDNAME=slabstash-cache\n"), descriptors.len()) {
                    (true, 1) => Ok(File::from(descriptors.remove(0))),
                    (_, count) => Err(format!("{count} descriptors with {text}")),
                };
            }
        }
    }

    /// How many descriptors have come since.
    pub fn kept_count(&self) -> usize {
        let mut count = 0;
        while let Some((_, descriptors)) = self.receive(Duration::from_millis(1)) {
            count += descriptors.len();
        }
        count
    }
}

impl Drop for Manager {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.path);
    }
}

/// A shell's words that start what follows them as a manager starts a service that it has kept something for, if the
/// environment says that ([`given`]).
pub const STARTER: &str = "[ -z \"$KEPT\" ] || { exec 3<>\"$KEPT\"; export LISTEN_PID=$$; }; exec \"$@\"";

/// What [`STARTER`] has to know.
pub fn given(kept: &File) -> [(String, String); 3] {
    let path = format!("/proc/{}/fd/{}", process::id(), kept.as_raw_fd());
    [("KEPT", path.as_str()), ("LISTEN_FDS", "1"), ("LISTEN_FDNAMES", "slabstash-cache")]
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
}

const TIMEOUT: Duration = Duration::from_secs(20);

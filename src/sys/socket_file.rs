//! The file of a Unix socket, in whose place a new one is to be bound.
//!
//! A process that ended without removing it leaves a file to which nobody listens; that is in nobody's way. One to which
//! somebody listens is a running server's, which would be out of reach for ever without it.

use std::io;
use std::os::unix::fs::FileTypeExt;
use std::path::Path;

use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType, connect, socket_with};

/// Removes the file at `path` if it is a socket that nobody listens to. `AddrInUse` if somebody does, or if that cannot be
/// found out. Any other file is left, and binding will say so.
pub fn make_way(path: &Path) -> io::Result<()> {
    let is_socket = std::fs::symlink_metadata(path).is_ok_and(|metadata| metadata.file_type().is_socket());
    if !is_socket {
        return Ok(());
    }
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let socket = socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None)?;
    match connect(&socket, &SocketAddrUnix::new(path)?) {
        // When it cannot be removed, binding says why.
        Err(Errno::CONNREFUSED) => {
            let _ = std::fs::remove_file(path);
            Ok(())
        }
        Err(Errno::NOENT) => Ok(()),
        _ => Err(Errno::ADDRINUSE.into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::ErrorKind;
    use std::os::unix::net::{UnixDatagram, UnixListener};

    /// Whatever was there used to be removed, a running server's socket too.
    #[test]
    fn only_what_is_left_over_is_removed() {
        let path = std::env::temp_dir().join(format!("slabstash-socket-file-{}", std::process::id()));
        assert!(make_way(&path).is_ok(), "nothing is there");
        let listener = UnixListener::bind(&path).expect("bound");
        assert_eq!(make_way(&path).map_err(|error| error.kind()), Err(ErrorKind::AddrInUse));
        assert!(path.exists());
        drop(listener);
        assert!(make_way(&path).is_ok() && !path.exists());
        let datagrams = UnixDatagram::bind(&path).expect("bound");
        assert!(make_way(&path).is_err() && path.exists(), "somebody has it, whatever for");
        drop(datagrams);
        assert!(make_way(&path).is_ok() && !path.exists());
        std::fs::write(&path, "precious").expect("written");
        assert!(make_way(&path).is_ok() && path.exists());
        std::fs::remove_file(&path).expect("removed");
    }
}

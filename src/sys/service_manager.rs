//! What this process tells the service manager that started it: systemd's notification protocol, `sd_notify(3)`.
//!
//! Each message is one datagram of `NAME=value` lines to the socket that `NOTIFY_SOCKET` names. The socket is connected
//! once, at the start, and kept: later a system call filter lets no new ones be made, which is also why the crate
//! sd-notify, which makes one for every message, is not used here. Without `NOTIFY_SOCKET` nothing is sent and nothing
//! fails, so callers need not ask. A message that cannot be sent is logged and otherwise left; the service manager has
//! time limits of its own.
//!
//! Descriptors go the same way: what [`ServiceManager::keep`] hands over comes back in [`super::inherited`] after a
//! restart, by its name. What is told when is left to the server.

use std::env;
use std::ffi::OsStr;
use std::io::{self, IoSlice};
use std::mem::MaybeUninit;
use std::os::fd::BorrowedFd;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::time::Duration;

use rustix::io::retry_on_intr;
use rustix::net::{SendAncillaryBuffer, SendAncillaryMessage, SendFlags, sendmsg};
use rustix::time::{ClockId, clock_gettime};

use super::error_text;

/// The service manager, or nobody.
#[derive(Debug, Default)]
pub struct ServiceManager {
    socket: Option<UnixDatagram>,
    watchdog_timeout: Option<Duration>,
}

impl ServiceManager {
    /// The service manager that the environment names; nobody when it names none. The error is that it cannot be reached.
    pub fn from_environment() -> io::Result<Self> {
        let Some(path) = env::var_os("NOTIFY_SOCKET") else {
            return Ok(Self::default());
        };
        let text = |name: &str| env::var(name).ok();
        let watchdog_timeout = watchdog_timeout(text("WATCHDOG_USEC"), text("WATCHDOG_PID"), std::process::id());
        Ok(Self { socket: Some(connect(&path)?), watchdog_timeout })
    }

    /// Whether somebody listens.
    pub fn is_there(&self) -> bool {
        self.socket.is_some()
    }

    /// The service manager ends this process when [`ServiceManager::ping`] was not called for this long.
    pub fn watchdog_timeout(&self) -> Option<Duration> {
        self.watchdog_timeout
    }

    /// Clients can connect, or a reload is done.
    pub fn ready(&self, status: &str) {
        self.tell(&format!("READY=1\nSTATUS={}\n", one_line(status)));
    }

    /// Files are about to be read again; [`ServiceManager::ready`] comes when that is done.
    pub fn reloading(&self) {
        if !self.is_there() {
            return;
        }
        let now = clock_gettime(ClockId::Monotonic);
        let micros = now.tv_sec.saturating_mul(1_000_000).saturating_add(now.tv_nsec / 1000);
        self.tell(&format!("RELOADING=1\nMONOTONIC_USEC={micros}\n"));
    }

    /// The stop has begun.
    pub fn stopping(&self) {
        self.tell("STOPPING=1\nSTATUS=stopping\n");
    }

    /// The stop, or the start, takes up to `duration` from now on, whatever the unit's time limit.
    pub fn extend_timeout(&self, duration: Duration) {
        self.tell(&format!("EXTEND_TIMEOUT_USEC={}\n", duration.as_micros()));
    }

    /// A line for people, as `systemctl status` shows it.
    pub fn status(&self, status: &str) {
        self.tell(&format!("STATUS={}\n", one_line(status)));
    }

    /// The process is well.
    pub fn ping(&self) {
        self.tell("WATCHDOG=1\n");
    }

    /// Hands `descriptors` over for the time when this process has ended; the next one of the unit is given them under
    /// `name`, in order, if `FileDescriptorStoreMax=` has room. The name is up to 255 printable ASCII characters without a
    /// colon. `false` when nobody listens.
    pub fn keep(&self, name: &str, descriptors: &[BorrowedFd<'_>]) -> io::Result<bool> {
        let Some(socket) = &self.socket else {
            return Ok(false);
        };
        // A kept descriptor that reports an error would be dropped otherwise; files never do, memory neither.
        let text = format!("FDSTORE=1\nFDNAME={name}\nFDPOLL=0\n");
        for some in descriptors.chunks(DESCRIPTORS_PER_MESSAGE) {
            send(socket, text.as_bytes(), some)?;
        }
        Ok(true)
    }

    /// Takes back what was handed over under `name`, in this run or an earlier one.
    pub fn forget(&self, name: &str) {
        self.tell(&format!("FDSTOREREMOVE=1\nFDNAME={name}\n"));
    }

    fn tell(&self, text: &str) {
        if let Some(socket) = &self.socket
            && let Err(error) = send(socket, text.as_bytes(), &[])
        {
            log::warn!("cannot notify the service manager: {}", error_text(&error));
        }
    }
}

fn connect(path: &OsStr) -> io::Result<UnixDatagram> {
    let address = match path.as_bytes() {
        [b'/', ..] => SocketAddr::from_pathname(path)?,
        [b'@', name @ ..] => SocketAddr::from_abstract_name(name)?,
        _ => return Err(io::Error::new(io::ErrorKind::Unsupported, "it is neither a path nor an abstract name")),
    };
    let socket = UnixDatagram::unbound()?;
    socket.connect_addr(&address)?;
    // A service manager that hangs must not take this process with it.
    socket.set_write_timeout(Some(SEND_TIMEOUT))?;
    Ok(socket)
}

fn send(socket: &UnixDatagram, text: &[u8], descriptors: &[BorrowedFd<'_>]) -> io::Result<()> {
    retry_on_intr(|| {
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(DESCRIPTORS_PER_MESSAGE))];
        let mut control = SendAncillaryBuffer::new(&mut space);
        if !descriptors.is_empty() {
            let fits = control.push(SendAncillaryMessage::ScmRights(descriptors));
            debug_assert!(fits, "the buffer holds DESCRIPTORS_PER_MESSAGE");
        }
        sendmsg(socket, &[IoSlice::new(text)], &mut control, SendFlags::NOSIGNAL)
    })?;
    Ok(())
}

/// `WATCHDOG_USEC`, when it is meant for this process.
fn watchdog_timeout(micros: Option<String>, pid: Option<String>, own_pid: u32) -> Option<Duration> {
    let is_meant = pid.is_none_or(|pid| pid.parse() == Ok(own_pid));
    let micros = micros?.parse().ok().filter(|micros| *micros > 0 && is_meant)?;
    Some(Duration::from_micros(micros))
}

/// A line end would begin another assignment.
fn one_line(text: &str) -> String {
    text.replace(['\n', '\r'], " ")
}

/// Half of what the kernel lets one message carry.
const DESCRIPTORS_PER_MESSAGE: usize = 126;
/// How long a message may wait for room.
const SEND_TIMEOUT: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests {
    use super::super::inherited::receive;
    use super::*;
    use std::fs::File;
    use std::io::{Read, Write};
    use std::os::fd::AsFd;

    /// A manager that reports to the other end of a pair.
    fn pair() -> (ServiceManager, UnixDatagram) {
        let (ours, theirs) = UnixDatagram::pair().expect("a pair");
        (ServiceManager { socket: Some(ours), watchdog_timeout: None }, theirs)
    }

    #[track_caller]
    fn check(tell: impl Fn(&ServiceManager), expected: &str) {
        let (manager, theirs) = pair();
        tell(&manager);
        let mut message = [0; 256];
        let length = theirs.recv(&mut message).expect("a message");
        assert_eq!(String::from_utf8_lossy(&message[..length]), expected);
        // Nobody listens: nothing happens.
        tell(&ServiceManager::default());
    }

    #[test]
    fn messages_are_lines_of_assignments() {
        check(|manager| manager.ready("a\nb"), "READY=1\nSTATUS=a b\n");
        check(|manager| manager.status("5 items"), "STATUS=5 items\n");
        check(ServiceManager::ping, "WATCHDOG=1\n");
        check(ServiceManager::stopping, "STOPPING=1\nSTATUS=stopping\n");
        check(|manager| manager.forget("x"), "FDSTOREREMOVE=1\nFDNAME=x\n");
        check(|manager| manager.extend_timeout(Duration::from_secs(2)), "EXTEND_TIMEOUT_USEC=2000000\n");
    }

    #[test]
    fn descriptors_are_handed_over_in_order() {
        let (manager, theirs) = pair();
        let (mut reader, mut writer) = io::pipe().expect("a pipe");
        let null = File::open("/dev/null").expect("it is there");
        assert!(manager.keep("state", &[writer.as_fd(), null.as_fd()]).expect("handed over"));
        let (text, mut received) = receive(&theirs).expect("a message");
        assert_eq!(text, b"FDSTORE=1\nFDNAME=state\nFDPOLL=0\n");
        assert_eq!(received.len(), 2);
        let mut copy = File::from(received.remove(0));
        copy.write_all(b"same pipe").expect("open for writing");
        writer.flush().expect("nothing to do");
        drop((copy, writer));
        let mut text = String::new();
        reader.read_to_string(&mut text).expect("all of it");
        assert_eq!(text, "same pipe");
        assert!(!ServiceManager::default().keep("state", &[null.as_fd()]).expect("no error"));
    }

    #[test]
    fn watchdogs_of_others_do_not_count() {
        let check = |micros: Option<&str>, pid: Option<&str>| {
            watchdog_timeout(micros.map(str::to_owned), pid.map(str::to_owned), 7).map(|timeout| timeout.as_micros())
        };
        assert_eq!(check(Some("500"), None), Some(500));
        assert_eq!(check(Some("500"), Some("7")), Some(500));
        assert_eq!(check(Some("500"), Some("8")), None);
        assert_eq!(check(Some("500"), Some("")), None);
        assert_eq!(check(Some("0"), None), None);
        assert_eq!(check(Some("x"), None), None);
        assert_eq!(check(None, Some("7")), None);
    }

    #[test]
    fn sockets_are_found_by_path_and_by_abstract_name() {
        let path = env::temp_dir().join(format!("slabstash-notify-{}", std::process::id()));
        let bound = UnixDatagram::bind(&path).expect("a free path");
        assert!(connect(path.as_os_str()).is_ok());
        drop(bound);
        std::fs::remove_file(&path).expect("it is there");
        assert!(connect(path.as_os_str()).is_err());
        let name = format!("slabstash-notify-{}", std::process::id());
        let address = SocketAddr::from_abstract_name(&name).expect("a name");
        let _bound = UnixDatagram::bind_addr(&address).expect("a free name");
        assert!(connect(format!("@{name}").as_ref()).is_ok());
        let socket = connect(format!("@{name}").as_ref()).expect("a socket");
        assert_eq!(socket.write_timeout().expect("a socket"), Some(SEND_TIMEOUT), "a manager that hangs");
        assert!(connect("vsock:2:3".as_ref()).is_err());
        assert!(connect("".as_ref()).is_err());
    }

    #[test]
    fn many_descriptors_are_handed_over_in_some_messages() {
        let (manager, theirs) = pair();
        let null = File::open("/dev/null").expect("it is there");
        assert!(manager.keep("state", &[null.as_fd(); DESCRIPTORS_PER_MESSAGE + 4]).expect("handed over"));
        let received = || receive(&theirs).expect("a message").1.len();
        assert_eq!((received(), received()), (DESCRIPTORS_PER_MESSAGE, 4));
    }
}

//! Descriptors that the service manager gave this process: sockets that it listens on for us, and those that an earlier
//! run had it keep ([`super::service_manager::ServiceManager::keep`]).
//!
//! As in `sd_listen_fds(3)` they are the numbers from 3 on, `LISTEN_FDS` of them, when `LISTEN_PID` is this process, with
//! their names in `LISTEN_FDNAMES`. Turning a number into something owned is unsafe in Rust, so they are sent once through
//! a socket pair: what the kernel delivers at the other end is ours, and the numbers are closed. That happens before
//! anything else opens a descriptor. The variables stay in the environment; no later process has the same id.

use std::env;
use std::io::{self, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::os::unix::net::UnixDatagram;

use nix::sys::socket::{ControlMessage, MsgFlags, sendmsg};
use rustix::net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, recvmsg};

/// A descriptor that was there at the start.
#[derive(Debug)]
pub struct Inherited {
    /// `FileDescriptorName=` of a socket unit (the unit's name without one), or the name it was kept under; `unknown`
    /// when it has none.
    pub name: String,
    /// The descriptor; close-on-exec.
    pub descriptor: OwnedFd,
}

/// Takes what was given, in order. A second call would find other people's descriptors: call it once, first of all.
pub fn take() -> io::Result<Vec<Inherited>> {
    let text = |name: &str| env::var(name).ok();
    let names = names(text("LISTEN_PID"), text("LISTEN_FDS"), text("LISTEN_FDNAMES"), std::process::id())?;
    let mut inherited = Vec::with_capacity(names.len());
    for (number, name) in (FIRST..).zip(names) {
        inherited.push(Inherited { name, descriptor: adopt(number)? });
    }
    Ok(inherited)
}

/// Those of `inherited` that have this name, in order; the others stay.
pub fn take_named(inherited: &mut Vec<Inherited>, name: &str) -> Vec<OwnedFd> {
    inherited.extract_if(.., |one| one.name == name).map(|one| one.descriptor).collect()
}

/// What the variables say was given: a name for each descriptor.
fn names(pid: Option<String>, count: Option<String>, names: Option<String>, own_pid: u32) -> io::Result<Vec<String>> {
    let (Some(pid), Some(count)) = (pid, count) else {
        return Ok(Vec::new());
    };
    let invalid = |what: &str| io::Error::new(io::ErrorKind::InvalidInput, format!("{what} is not a number"));
    let pid: u32 = pid.parse().map_err(|_| invalid("LISTEN_PID"))?;
    let count: usize = count.parse().map_err(|_| invalid("LISTEN_FDS"))?;
    if pid != own_pid {
        return Ok(Vec::new());
    }
    if count > DESCRIPTORS_MAX {
        let text = format!("LISTEN_FDS is more than {DESCRIPTORS_MAX}");
        return Err(io::Error::new(io::ErrorKind::InvalidInput, text));
    }
    let given = names.unwrap_or_default();
    let mut given = given.split(':').filter(|name| !name.is_empty());
    Ok((0..count).map(|_| given.next().unwrap_or("unknown").to_owned()).collect())
}

/// Makes an open descriptor, of which nobody else in this process knows, an owned one.
fn adopt(number: RawFd) -> io::Result<OwnedFd> {
    let (here, there) = UnixDatagram::pair()?;
    let rights = [number];
    let control = [ControlMessage::ScmRights(&rights)];
    sendmsg::<()>(here.as_raw_fd(), &[IoSlice::new(b"-")], &control, MsgFlags::empty(), None)?;
    let (_, mut received) = receive(&there)?;
    nix::unistd::close(number)?;
    received.pop().ok_or_else(|| io::ErrorKind::UnexpectedEof.into())
}

/// One message with the descriptors that came with it.
pub(super) fn receive(socket: &UnixDatagram) -> io::Result<(Vec<u8>, Vec<OwnedFd>)> {
    let mut text = vec![0; 256];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(RECEIVED_MAX))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let message = recvmsg(socket, &mut [IoSliceMut::new(&mut text)], &mut control, RecvFlags::CMSG_CLOEXEC)?;
    text.truncate(message.bytes);
    let mut descriptors = Vec::new();
    for message in control.drain() {
        if let RecvAncillaryMessage::ScmRights(rights) = message {
            descriptors.extend(rights);
        }
    }
    Ok((text, descriptors))
}

/// The first number, `SD_LISTEN_FDS_START`.
const FIRST: RawFd = 3;
/// More than any unit has; a number beyond it is a mistake.
const DESCRIPTORS_MAX: usize = 4096;
/// Descriptors of one message.
const RECEIVED_MAX: usize = 253;

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;
    use std::os::fd::IntoRawFd;

    #[track_caller]
    fn check(pid: &str, count: &str, given: Option<&str>, expected: Result<&[&str], &str>) {
        let found = names(Some(pid.to_owned()), Some(count.to_owned()), given.map(str::to_owned), 7);
        match expected {
            Ok(names) => assert_eq!(found.expect("no error"), names),
            Err(text) => assert_eq!(found.expect_err("an error").to_string(), text),
        }
    }

    #[test]
    fn names_belong_to_descriptors_in_order() {
        check("7", "2", Some("a:b"), Ok(&["a", "b"]));
        check("7", "2", Some("a"), Ok(&["a", "unknown"]));
        check("7", "2", None, Ok(&["unknown", "unknown"]));
        check("7", "1", Some("a:b"), Ok(&["a"]));
        check("7", "0", Some("a"), Ok(&[]));
        check("8", "2", Some("a:b"), Ok(&[]));
        check("", "2", None, Err("LISTEN_PID is not a number"));
        check("7", "-1", None, Err("LISTEN_FDS is not a number"));
        check("7", "4097", None, Err("LISTEN_FDS is more than 4096"));
        assert_eq!(names(Some("7".to_owned()), Some("4096".to_owned()), None, 7).expect("no error").len(), 4096);
        assert!(names(None, Some("2".to_owned()), None, 7).expect("no error").is_empty());
    }

    #[test]
    fn an_adopted_descriptor_is_the_same_file() {
        let (mut reader, writer) = io::pipe().expect("a pipe");
        let adopted = adopt(writer.into_raw_fd()).expect("adopted");
        std::fs::File::from(adopted).write_all(b"x").expect("open for writing");
        let mut text = String::new();
        // The end comes because no other descriptor of the pipe is left open.
        io::Read::read_to_string(&mut reader, &mut text).expect("all of it");
        assert_eq!(text, "x");
        assert_eq!(adopt(9999).expect_err("not open").raw_os_error(), Some(9));
    }

    #[test]
    fn descriptors_are_taken_by_name() {
        let one = |name: &str| Inherited {
            name: name.to_owned(),
            descriptor: std::fs::File::open("/dev/null").expect("it is there").into(),
        };
        let mut inherited = vec![one("a"), one("b"), one("a")];
        assert_eq!(take_named(&mut inherited, "a").len(), 2);
        assert_eq!(take_named(&mut inherited, "a").len(), 0);
        assert_eq!(inherited[0].name, "b");
    }

    #[test]
    fn all_descriptors_of_the_longest_message_arrive() {
        let (here, there) = UnixDatagram::pair().expect("a pair");
        let null = std::fs::File::open("/dev/null").expect("it is there");
        let rights = [null.as_raw_fd(); RECEIVED_MAX];
        let control = [ControlMessage::ScmRights(&rights)];
        sendmsg::<()>(here.as_raw_fd(), &[IoSlice::new(b"-")], &control, MsgFlags::empty(), None).expect("sent");
        assert_eq!(receive(&there).expect("a message").1.len(), RECEIVED_MAX);
        // The kernel takes no more of them.
        let rights = [null.as_raw_fd(); RECEIVED_MAX + 1];
        let control = [ControlMessage::ScmRights(&rights)];
        assert!(sendmsg::<()>(here.as_raw_fd(), &[IoSlice::new(b"-")], &control, MsgFlags::empty(), None).is_err());
    }
}

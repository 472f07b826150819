//! What a locked process can do and what not. The locks are for life, so each test runs in a process of its own: this
//! program once more, with one test and a mark in the environment.

use std::env;
use std::fs::{self, File, OpenOptions};
use std::io::{self, ErrorKind, Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream, UdpSocket};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::process::Command;
use std::thread;

use super::{Needs, calls, files};

const MARK: &str = "SLABSTASH_TEST_SANDBOX";

/// Runs `inside` in a process of its own; `name` is the path of the test that calls this.
fn apart(name: &str, inside: impl FnOnce()) {
    if env::var_os(MARK).is_some() {
        return inside();
    }
    let program = env::current_exe().expect("this program");
    let name = format!("sys::sandbox::tests::{name}");
    let output = Command::new(program).args(["--exact", &name, "--nocapture"]).env(MARK, "1").output();
    let output = output.expect("started");
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{text}\n{}", String::from_utf8_lossy(&output.stderr));
    assert!(text.contains("1 passed"), "{text}");
}

fn folder(name: &str) -> PathBuf {
    let folder = env::temp_dir().join(format!("slabstash-{name}-{}", std::process::id()));
    fs::create_dir_all(&folder).expect("a folder");
    folder
}

#[track_caller]
fn refused<T>(result: io::Result<T>) {
    assert_eq!(result.err().map(|error| error.kind()), Some(ErrorKind::PermissionDenied));
}

#[test]
fn a_filtered_process_serves_and_does_nothing_else() {
    apart("a_filtered_process_serves_and_does_nothing_else", || {
        let folder = folder("calls");
        let file = folder.join("file");
        fs::write(&file, "text").expect("written");
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port");
        let mut client = TcpStream::connect(listener.local_addr().expect("an address")).expect("connected");
        let (asked, ask) = std::sync::mpsc::channel::<()>();
        let earlier = thread::spawn(move || {
            ask.recv().expect("asked");
            UdpSocket::bind((Ipv4Addr::LOCALHOST, 0))
        });
        if let Err(text) = calls::filter(false) {
            println!("not filtered here: {text}");
            return;
        }
        // What serving takes.
        let (mut accepted, _) = listener.accept().expect("accepted");
        accepted.set_nonblocking(true).expect("set");
        client.write_all(b"x").expect("sent");
        accepted.set_nonblocking(false).expect("set");
        accepted.read_exact(&mut [0]).expect("received");
        let sum: usize = thread::spawn(|| vec![1_usize; 1 << 22].iter().sum()).join().expect("a thread");
        assert_eq!(sum, 1 << 22);
        assert_eq!(fs::read_to_string(&file).expect("read"), "text");
        let poll = mio::Poll::new().expect("a poll");
        mio::Waker::new(poll.registry(), mio::Token(0)).expect("a waker").wake().expect("woken");
        // All of it may count as the kernel's: the system guesses from where its clock found the process.
        let used = super::super::process::processor_time();
        assert!((used.user + used.system).as_nanos() > 0);
        // What it does not take, in a thread that was there before too.
        refused(TcpStream::connect((Ipv4Addr::LOCALHOST, 1)));
        refused(UnixStream::pair());
        refused(Command::new("/bin/true").status());
        refused(OpenOptions::new().append(true).open(&file));
        refused(File::create(folder.join("new")));
        refused(fs::rename(&file, folder.join("other")));
        refused(super::super::limits::set_descriptors(10));
        asked.send(()).expect("it waits");
        refused(earlier.join().expect("a thread"));
        fs::remove_file(&file).expect("removed");
    });
}

#[test]
fn a_process_that_writes_files_can() {
    apart("a_process_that_writes_files_can", || {
        let folder = folder("writing");
        if calls::filter(true).is_err() {
            return;
        }
        fs::write(folder.join("a"), "text").expect("written");
        fs::rename(folder.join("a"), folder.join("b")).expect("renamed");
        fs::remove_file(folder.join("b")).expect("removed");
        refused(TcpListener::bind((Ipv4Addr::LOCALHOST, 0)));
    });
}

#[test]
fn files_are_out_of_reach_but_for_those_needed() {
    apart("files_are_out_of_reach_but_for_those_needed", || {
        let names = ["read", "remove", "write", "linked", "other"];
        let folders = names.map(|name| folder(&format!("files-{name}")));
        let [read, remove, write, linked, other] = &folders;
        for folder in &folders {
            fs::write(folder.join("file"), "old").expect("written");
        }
        std::os::unix::fs::symlink(linked.join("file"), read.join("link")).expect("linked");
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port");
        let needs = Needs {
            read: vec![read.join("file"), read.join("link"), PathBuf::from("/nonexistent/file")],
            remove: vec![remove.join("file")],
            write: vec![write.clone()],
        };
        let abi = files::restrict(&needs).expect("no error");
        if abi == 0 {
            println!("no Landlock here");
            return;
        }
        // Threads that are started later are bound too.
        thread::scope(|scope| {
            scope.spawn(|| refused(fs::read(other.join("file"))));
        });
        refused(fs::read("/etc/passwd"));
        refused(fs::remove_file(other.join("file")));
        refused(fs::read(remove.join("file")));
        refused(fs::write(read.join("file"), "new"));
        refused(File::create(read.join("new")));
        for name in ["file", "link"] {
            assert_eq!(fs::read_to_string(read.join(name)).expect("read"), "old");
        }
        fs::remove_file(remove.join("file")).expect("removed");
        fs::write(write.join("new"), "new").expect("written");
        fs::rename(write.join("new"), write.join("file")).expect("renamed");
        assert_eq!(fs::read_to_string(write.join("file")).expect("read"), "new");
        OpenOptions::new().read(true).write(true).open("/dev/null").expect("opened");
        if abi >= 4 {
            refused(TcpStream::connect(listener.local_addr().expect("an address")));
            refused(TcpListener::bind((Ipv4Addr::LOCALHOST, 0)));
        }
        fs::remove_file(write.join("file")).expect("removed");
    });
}

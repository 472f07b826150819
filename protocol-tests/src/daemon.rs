//! A slabstash started as an operator or a service manager would, for tests of what is around the wire: signals, files,
//! rights. What it says on standard error is kept.

use std::fs;
use std::io::{self, ErrorKind, Read, Write};
use std::net::{Ipv4Addr, Shutdown, TcpStream, UdpSocket};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use crate::server::{Program, built_beside_this_test, free_port, is_root};

/// A running daemon. It is killed when this is dropped; its folder goes too.
#[derive(Debug)]
pub struct Daemon {
    child: Child,
    /// The loopback port that it was given.
    pub port: u16,
    /// A folder of its own.
    pub folder: PathBuf,
}

/// A folder and a free port for a daemon, and the command that starts it.
#[derive(Debug)]
pub struct Plan {
    /// The command, without any option but the user's, which root has to give; a later `-u` wins.
    pub command: Command,
    /// A free loopback port.
    pub port: u16,
    /// A folder of the daemon's own.
    pub folder: PathBuf,
}

impl Plan {
    /// Plans a daemon; `None` when the tests run against a real memcached, which has none of this.
    pub fn new() -> Option<Plan> {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let program = Program::from_environment().unwrap();
        if program.is_reference {
            return None;
        }
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let folder = std::env::temp_dir().join(format!("slabstash-daemon-{}-{number}", std::process::id()));
        // Another process of this number may have left one.
        let _ = fs::remove_dir_all(&folder);
        fs::create_dir_all(&folder).unwrap();
        let mut command = Command::new(program.path);
        if is_root() {
            command.args(["-u", "root"]);
        }
        command.stdin(Stdio::null()).stdout(Stdio::null());
        Some(Plan { command, port: free_port().unwrap(), folder })
    }

    /// Adds options, separated by blanks; `{port}` and `{folder}` stand for the plan's.
    pub fn options(mut self, text: &str) -> Plan {
        let folder = self.folder.display().to_string();
        let text = text.replace("{port}", &self.port.to_string()).replace("{folder}", &folder);
        self.command.args(text.split_whitespace());
        self
    }

    /// Writes a file in the folder.
    pub fn file(self, name: &str, text: &str) -> Plan {
        fs::write(self.folder.join(name), text).unwrap();
        self
    }

    /// Starts the daemon without waiting for it.
    pub fn spawn(mut self) -> Daemon {
        let errors = fs::File::create(self.folder.join("stderr")).unwrap();
        let child = self.command.stderr(errors).spawn().unwrap();
        Daemon { child, port: self.port, folder: self.folder }
    }

    /// Starts the daemon and waits until it answers on its port.
    pub fn start(self) -> Daemon {
        let mut daemon = self.spawn();
        let deadline = Instant::now() + TIMEOUT;
        while TcpStream::connect((Ipv4Addr::LOCALHOST, daemon.port)).is_err() {
            let ended = daemon.child.try_wait().unwrap();
            assert!(ended.is_none() && Instant::now() < deadline, "{ended:?}: {}", daemon.errors());
            thread::sleep(POLL);
        }
        daemon
    }
}

impl Daemon {
    /// A daemon that was started in another way.
    pub fn of(child: Child, port: u16, folder: PathBuf) -> Daemon {
        Daemon { child, port, folder }
    }

    /// Its process id.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Connects, sends `request` and gives what is answered until the end.
    pub fn ask(&self, request: &str) -> String {
        let mut socket = TcpStream::connect((Ipv4Addr::LOCALHOST, self.port)).unwrap();
        socket.set_read_timeout(Some(TIMEOUT)).unwrap();
        socket.write_all(request.as_bytes()).unwrap();
        socket.shutdown(Shutdown::Write).unwrap();
        let mut reply = Vec::new();
        socket.read_to_end(&mut reply).unwrap();
        String::from_utf8_lossy(&reply).into_owned()
    }

    /// A line of `stats settings`.
    pub fn setting(&self, name: &str) -> String {
        let settings = self.ask("stats settings\r\n");
        let line = settings.lines().find_map(|line| line.strip_prefix(&format!("STAT {name} ")));
        line.unwrap_or_else(|| panic!("{name} in {settings}")).to_owned()
    }

    /// Status and body of a page of its admin listener, which is to be `unix:{folder}/admin`.
    pub fn page(&self, path: &str) -> (u16, String) {
        // The data port is open a little earlier.
        let connect = || UnixStream::connect(self.folder.join("admin"));
        wait_until("the admin listener", || connect().is_ok());
        let socket = connect().unwrap();
        socket.set_read_timeout(Some(TIMEOUT)).unwrap();
        page(socket, path)
    }

    /// The values of a metric by its labels, in the order of the page; the admin listener is as for [`Daemon::page`].
    pub fn metric(&self, name: &str) -> Vec<(String, f64)> {
        let (_, text) = self.page("/metrics");
        let sample = |line: &str| {
            let (labels, value) = line.strip_prefix(name)?.rsplit_once(' ')?;
            let is_it = labels.is_empty() || labels.starts_with('{');
            is_it.then(|| (labels.trim_matches(['{', '}']).to_owned(), value.parse().unwrap()))
        };
        text.lines().filter_map(sample).collect()
    }

    /// Sends a signal.
    pub fn signal(&self, name: &str) {
        signal(self.id(), name);
    }

    /// Waits for its end; the exit code.
    pub fn wait(&mut self) -> Option<i32> {
        let deadline = Instant::now() + TIMEOUT;
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status.code();
            }
            assert!(Instant::now() < deadline, "it does not end: {}", self.errors());
            thread::sleep(POLL);
        }
    }

    /// What it has said so far.
    pub fn errors(&self) -> String {
        fs::read_to_string(self.folder.join("stderr")).unwrap_or_default()
    }

    /// A line of `/proc/…/status` for each of its threads.
    pub fn thread_facts(&self, name: &str) -> Vec<String> {
        thread_facts(self.id(), name)
    }

    /// The same for the process.
    pub fn fact(&self, name: &str) -> String {
        fact(&PathBuf::from(format!("/proc/{}/status", self.id())), name)
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        let _ = fs::remove_dir_all(&self.folder);
    }
}

/// A datagram, also when this process was stopped for a while.
pub fn receive(socket: &UdpSocket, space: &mut [u8]) -> io::Result<usize> {
    loop {
        match socket.recv(space) {
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            result => return result,
        }
    }
}

/// Status and body of a page, over a connection to an admin listener.
pub fn page(mut socket: impl Read + Write, path: &str) -> (u16, String) {
    socket.write_all(format!("GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n").as_bytes()).unwrap();
    let mut answer = String::new();
    socket.read_to_string(&mut answer).unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    (head.split(' ').nth(1).unwrap().parse().unwrap(), body.to_owned())
}

/// Sends a signal to a process. After `STOP` it stands still: a thread that did not yet would do something more, such as accept
/// a connection.
pub fn signal(id: u32, name: &str) {
    let sent = Command::new("kill").args(["-s", name, &id.to_string()]).status().unwrap();
    assert!(sent.success());
    if name == "STOP" {
        wait_until("the process to stand still", || {
            thread_facts(id, "State").iter().all(|state| state.starts_with('T'))
        });
    }
}

fn thread_facts(id: u32, name: &str) -> Vec<String> {
    let tasks = fs::read_dir(format!("/proc/{id}/task")).unwrap();
    tasks.map(|task| fact(&task.unwrap().path().join("status"), name)).collect()
}

/// Waits until something is so.
pub fn wait_until(what: &str, is_so: impl Fn() -> bool) {
    let deadline = Instant::now() + TIMEOUT;
    while !is_so() {
        assert!(Instant::now() < deadline, "in vain for {what}");
        thread::sleep(POLL);
    }
}

/// The program under test, for tests that start it in their own way.
pub fn program() -> PathBuf {
    std::env::var_os("SLABSTASH_TEST_SERVER").map_or_else(|| built_beside_this_test().unwrap(), PathBuf::from)
}

fn fact(path: &std::path::Path, name: &str) -> String {
    let status = fs::read_to_string(path).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix(&format!("{name}:")));
    line.unwrap_or_else(|| panic!("{name} in {status}")).split_whitespace().collect::<Vec<_>>().join(" ")
}

/// Long, for machines that do much else.
pub const TIMEOUT: Duration = Duration::from_secs(20);
const POLL: Duration = Duration::from_millis(5);

//! Faults of the machine and of clients: what slabstash does then, as `docs/faults.md` lists it. Only slabstash is asked.
//!
//! What is tried elsewhere is not tried again: TLS in `tls.rs`, files of a restart in `restart.rs`, rights in
//! `privileges.rs`, what a service manager does in `service_manager.rs`, wrong input in `hostile.rs` and `cases/hostile`.

mod allocation;
mod clients;
mod clock;
mod growth;
mod load;
mod logins;
mod machine;
mod memory;
mod stuck;

use std::fs;
use std::io::{ErrorKind, Read, Write};
use std::net::{Ipv4Addr, TcpStream};
use std::thread;
use std::time::{Duration, Instant};

use protocol_tests::daemon::{Daemon, Plan, TIMEOUT};
use rustix::process::{Pid, Resource, Rlimit, prlimit};

/// A daemon with these options on its loopback port; `None` when the tests run against a real memcached.
fn start(options: &str) -> Option<Daemon> {
    Some(Plan::new()?.options(&format!("-l 127.0.0.1 -p {{port}} -t 2 {options}")).start())
}

/// A connection that waits for its answers.
struct Client {
    stream: TcpStream,
}

impl Client {
    fn new(daemon: &Daemon) -> Client {
        Client::to(daemon.port)
    }

    fn to(port: u16) -> Client {
        let stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).unwrap();
        stream.set_nodelay(true).unwrap();
        stream.set_read_timeout(Some(TIMEOUT)).unwrap();
        stream.set_write_timeout(Some(TIMEOUT)).unwrap();
        Client { stream }
    }

    /// Sends a request and gives the answer up to `end`.
    #[track_caller]
    fn ask(&mut self, request: &[u8], end: &str) -> String {
        self.stream.write_all(request).unwrap();
        self.until(end)
    }

    /// What comes up to `end`.
    #[track_caller]
    fn until(&mut self, end: &str) -> String {
        self.try_until(end).unwrap_or_else(|answer| panic!("closed after '{}'", &answer[..answer.len().min(200)]))
    }

    /// The same; the error is what came before the connection was closed.
    fn try_until(&mut self, end: &str) -> Result<String, String> {
        let (mut answer, mut buffer) = (Vec::new(), vec![0; 64 * 1024]);
        while !answer.ends_with(end.as_bytes()) {
            match self.stream.read(&mut buffer) {
                Ok(0) => return Err(String::from_utf8_lossy(&answer).into_owned()),
                Ok(count) => answer.extend_from_slice(&buffer[..count]),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) if error.kind() == ErrorKind::ConnectionReset => return Err(error.to_string()),
                Err(error) => panic!("{error}"),
            }
        }
        Ok(String::from_utf8_lossy(&answer).into_owned())
    }

    /// The first line of the answer to a set.
    #[track_caller]
    fn set(&mut self, key: &str, bytes: usize) -> String {
        self.ask(&set(key, bytes), "\r\n")
    }

    #[track_caller]
    fn has(&mut self, key: &str) -> bool {
        self.ask(format!("get {key}\r\n").as_bytes(), "END\r\n").starts_with("VALUE ")
    }

    /// A number of `stats`.
    #[track_caller]
    fn stat(&mut self, name: &str) -> u64 {
        let stats = self.ask(b"stats\r\n", "\r\nEND\r\n");
        let line = stats.lines().find_map(|line| line.strip_prefix(&format!("STAT {name} ")));
        line.and_then(|number| number.parse().ok()).unwrap_or_else(|| panic!("{name} in {stats}"))
    }

    /// Sends without waiting, and as much as is taken; returns how much that was.
    fn push(&mut self, bytes: &[u8]) -> usize {
        self.stream.set_nonblocking(true).unwrap();
        let mut sent = 0;
        while sent < bytes.len() {
            match self.stream.write(&bytes[sent..]) {
                Ok(count) => sent += count,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(_) => break,
            }
        }
        self.stream.set_nonblocking(false).unwrap();
        sent
    }

    /// Takes only a little at a time from the network.
    fn narrow(self) -> Client {
        rustix::net::sockopt::set_socket_recv_buffer_size(&self.stream, 4096).unwrap();
        self
    }

    /// Ends the connection by a reset.
    fn reset(self) {
        rustix::net::sockopt::set_socket_linger(&self.stream, Some(Duration::ZERO)).unwrap();
    }
}

fn set(key: &str, bytes: usize) -> Vec<u8> {
    let mut request = format!("set {key} 0 0 {bytes}\r\n").into_bytes();
    request.extend(std::iter::repeat_n(b'v', bytes));
    request.extend(b"\r\n");
    request
}

/// Resident memory in bytes.
fn resident(daemon: &Daemon) -> usize {
    kibibytes(daemon, "VmRSS")
}

fn kibibytes(daemon: &Daemon, name: &str) -> usize {
    let fact = daemon.fact(name);
    fact.split(' ').next().and_then(|number| number.parse::<usize>().ok()).unwrap() * 1024
}

/// Processor time so far, in hundredths of a second.
fn processor_time(daemon: &Daemon) -> u64 {
    let stat = fs::read_to_string(format!("/proc/{}/stat", daemon.id())).unwrap();
    let (_, fields) = stat.rsplit_once(')').unwrap();
    fields.split_whitespace().skip(11).take(2).map(|field| field.parse::<u64>().unwrap()).sum()
}

/// The same in nanoseconds, which is what the scheduler counts.
fn processor_nanoseconds(daemon: &Daemon) -> u64 {
    let tasks = fs::read_dir(format!("/proc/{}/task", daemon.id())).unwrap();
    let of_task = |task: std::io::Result<fs::DirEntry>| {
        let text = fs::read_to_string(task.unwrap().path().join("schedstat")).unwrap();
        text.split(' ').next().and_then(|field| field.parse::<u64>().ok()).unwrap()
    };
    tasks.map(of_task).sum()
}

/// Open descriptors.
fn descriptors(daemon: &Daemon) -> usize {
    fs::read_dir(format!("/proc/{}/fd", daemon.id())).unwrap().count()
}

/// Sets a limit of the running daemon.
fn limit(daemon: &Daemon, resource: Resource, value: usize) {
    let pid = Pid::from_raw(daemon.id() as i32);
    let limit = Rlimit { current: Some(value as u64), maximum: Some(value as u64) };
    prlimit(pid, resource, limit).unwrap();
}

/// Waits until something is so.
#[track_caller]
fn wait_until(what: &str, mut is_so: impl FnMut() -> bool) {
    let deadline = Instant::now() + TIMEOUT;
    while !is_so() {
        assert!(Instant::now() < deadline, "in vain for {what}");
        thread::sleep(Duration::from_millis(20));
    }
}

/// Waits until the daemon does next to nothing, in a third of a second at most two hundredths.
#[track_caller]
fn wait_for_rest(daemon: &Daemon) {
    wait_until("the daemon to rest", || {
        let time = processor_time(daemon);
        thread::sleep(Duration::from_millis(300));
        processor_time(daemon) - time <= 2
    });
}

/// The longest of a number of `mn` round trips.
fn slowest_answer(client: &mut Client, count: usize) -> Duration {
    let ask = |_| {
        let asked = Instant::now();
        client.ask(b"mn\r\n", "MN\r\n");
        asked.elapsed()
    };
    (0..count).map(ask).max().unwrap()
}

/// What one `mn` costs the daemon, in nanoseconds of its processor time: the least of some measurements. Whatever else the
/// machine does, a fault that makes each turn longer is seen here.
fn cost_of_an_answer(daemon: &Daemon, client: &mut Client) -> u64 {
    let measure = |_| {
        let before = processor_nanoseconds(daemon);
        (0..100).for_each(|_| drop(client.ask(b"mn\r\n", "MN\r\n")));
        (processor_nanoseconds(daemon) - before) / 100
    };
    (0..5).map(measure).min().unwrap()
}

/// Others at rest harm nobody: an answer comes in time, and costs about what it cost without them.
#[track_caller]
fn assert_unharmed(daemon: &Daemon, client: &mut Client, cost_before: u64) {
    assert!(slowest_answer(client, 50) < PATIENCE);
    let cost = cost_of_an_answer(daemon, client);
    println!("an answer costs {cost} ns, it was {cost_before} ns");
    assert!(cost < 3 * cost_before + 10_000, "an answer costs {cost} ns, it was {cost_before} ns");
}

/// Lets requests gather in the sockets of a daemon that stands still. When it goes on, it finds all of them at once, so
/// what it does first is its own choice, however busy the machine is.
fn while_it_stands(daemon: &Daemon, gather: impl FnOnce()) {
    daemon.signal("STOP");
    gather();
    daemon.signal("CONT");
}

/// Longer nobody waits for others' faults: far more than it takes, for machines that do much else.
const PATIENCE: Duration = Duration::from_secs(1);

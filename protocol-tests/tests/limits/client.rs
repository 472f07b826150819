//! A server with options, and connections that say what they expect.

use std::env;
use std::process;
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use protocol_tests::case::Setting;
use protocol_tests::pump::{Pump, Pumped};
use protocol_tests::server::{Program, Server};

/// Starts the server under test.
pub fn start(options: &str) -> Server {
    start_program(&Program::from_environment().unwrap(), options)
}

/// Starts slabstash; `None` when the tests run against a real memcached, which has no such limit.
pub fn start_own(options: &str) -> Option<Server> {
    let program = Program::from_environment().unwrap();
    (!program.is_reference).then(|| start_program(&program, options))
}

fn start_program(program: &Program, options: &str) -> Server {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let options = options.split_whitespace().map(str::to_string).collect();
    let setting = Setting { options, ..Setting::default() };
    let number = NEXT.fetch_add(1, Ordering::Relaxed);
    let folder = env::temp_dir().join(format!("limits-{}-{number}", process::id()));
    Server::start(program, &setting, folder).unwrap()
}

/// A connection.
pub struct Client(pub Pump);

impl Client {
    pub fn of(server: &Server) -> Client {
        Client(Pump::open(server.port).unwrap())
    }

    /// Sends what the server is expected to take.
    #[track_caller]
    pub fn send(&mut self, request: impl AsRef<[u8]>) {
        assert_eq!(self.0.send(request.as_ref()).unwrap(), Pumped::Done);
    }

    /// Waits for these bytes and no others.
    #[track_caller]
    pub fn expect(&mut self, reply: impl AsRef<[u8]>) {
        let reply = reply.as_ref();
        while self.0.received.len() < reply.len() && self.0.wait().unwrap() == Pumped::Done {}
        let received = std::mem::take(&mut self.0.received);
        assert!(received == reply, "'{}' instead of '{}'", shown(&received), shown(reply));
    }

    #[track_caller]
    pub fn ask(&mut self, request: impl AsRef<[u8]>, reply: impl AsRef<[u8]>) {
        self.send(request);
        self.expect(reply);
    }

    /// Waits for the server to close, with nothing before it.
    #[track_caller]
    pub fn expect_close(&mut self) {
        assert_eq!(self.0.wait().unwrap(), Pumped::Closed, "'{}'", shown(&self.0.received));
    }

    /// Whether the connection is open and silent for a moment.
    #[track_caller]
    pub fn expect_silence(&mut self) {
        thread::sleep(SILENCE);
        assert_eq!(self.0.drain(), Pumped::Done);
        assert!(self.0.received.is_empty(), "'{}'", shown(&self.0.received));
    }

    /// What comes up to and with `end`.
    pub fn until(&mut self, end: &[u8]) -> Vec<u8> {
        while !self.0.received.ends_with(end) {
            assert_eq!(self.0.wait().unwrap(), Pumped::Done, "'{}'", shown(&self.0.received));
        }
        std::mem::take(&mut self.0.received)
    }

    /// A number of `stats`.
    #[track_caller]
    pub fn stat(&mut self, name: &str) -> u64 {
        self.send("stats\r\n");
        let stats = String::from_utf8(self.until(b"\r\nEND\r\n")).unwrap();
        let value = stats.lines().find_map(|line| line.strip_prefix(&format!("STAT {name} ")));
        value.unwrap_or_else(|| panic!("{name} in {stats}")).parse().unwrap()
    }

    /// Stores a value.
    #[track_caller]
    pub fn set(&mut self, key: &str, value: &[u8]) {
        let request = [format!("set {key} 0 0 {}\r\n", value.len()).as_bytes(), value, b"\r\n"].concat();
        self.ask(request, "STORED\r\n");
    }
}

/// Waits until something is so.
#[track_caller]
pub fn wait_until(what: &str, mut is_so: impl FnMut() -> bool) {
    let deadline = Instant::now() + TIMEOUT;
    while !is_so() {
        assert!(Instant::now() < deadline, "in vain for {what}");
        thread::sleep(POLL);
    }
}

fn shown(bytes: &[u8]) -> String {
    let dots = if bytes.len() > SHOWN_BYTES_MAX { "..." } else { "" };
    format!("{}{dots} ({} bytes)", bytes[..bytes.len().min(SHOWN_BYTES_MAX)].escape_ascii(), bytes.len())
}

/// Long, for machines that do much else.
const TIMEOUT: Duration = Duration::from_secs(20);
const POLL: Duration = Duration::from_millis(5);
/// What would be said is said within this, mostly; a server that is slower only makes the check weaker.
const SILENCE: Duration = Duration::from_millis(100);
const SHOWN_BYTES_MAX: usize = 200;

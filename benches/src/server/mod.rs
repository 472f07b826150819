//! The servers under test: how one is named and found ([`Binary`]), started and stopped ([`Server`]), asked about itself
//! ([`control`]) and metered from outside ([`meter`]).
//!
//! A server listens on a free port of the loopback interface, is bound to its cores and is stopped when its [`Server`]
//! goes out of scope, whatever ended the run.

pub mod control;
pub mod encryption;
pub mod meter;

use std::env;
use std::fs;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, getuid, kill_process};

use crate::error::Error;
use crate::machine::{self, Placement};
use crate::server::control::Control;
use crate::server::encryption::Encryption;
use crate::valgrind;

/// A program to be measured.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Binary {
    /// Its name in progress and report.
    pub name: String,
    /// The program.
    pub path: PathBuf,
    /// Options for it beside those of the workload.
    pub arguments: Vec<String>,
    /// How it runs.
    pub launch: Launch,
}

/// How a server runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Launch {
    /// As it is.
    #[default]
    Plain,
    /// Under callgrind; then a [`crate::valgrind::Folder`] must be there.
    Callgrind,
    /// At real-time priority, so that its core is its own: where the system's own processes and its kernel's threads take it
    /// for milliseconds, they are the tail of every server.
    RealTime,
}

impl Binary {
    /// Reads `NAME=PATH [ARGUMENT...]`, parts separated by spaces.
    pub fn parse(text: &str) -> Result<Binary, String> {
        let (name, command) = text.split_once('=').ok_or("expected NAME=PATH")?;
        let mut words = command.split_whitespace();
        let path = words.next().ok_or("expected a path after the name")?;
        if name.is_empty() {
            return Err("expected a name before the path".to_string());
        }
        let arguments = words.map(str::to_string).collect();
        Ok(Binary { name: name.to_string(), path: PathBuf::from(path), arguments, launch: Launch::Plain })
    }

    /// slabstash from beside this program, then memcached from the variable `MEMCACHED` or the search path.
    pub fn defaults() -> Result<Vec<Binary>, Error> {
        let missing = |name: &str, cause: &str| Error::Server { name: name.to_string(), cause: cause.to_string() };
        let slabstash = env::current_exe()
            .ok()
            .and_then(|program| Some(program.parent()?.join("slabstash")))
            .filter(|path| path.is_file())
            .ok_or_else(|| missing("slabstash", "not built beside this program; see --server"))?;
        let memcached = env::var_os("MEMCACHED")
            .map(PathBuf::from)
            .or_else(|| on_search_path("memcached"))
            .ok_or_else(|| missing("memcached", "neither on PATH nor in MEMCACHED; see --server"))?;
        let binary =
            |name: &str, path| Binary { name: name.to_string(), path, arguments: vec![], launch: Launch::Plain };
        Ok(vec![binary("slabstash", slabstash), binary("memcached", memcached)])
    }
}

fn on_search_path(program: &str) -> Option<PathBuf> {
    env::split_paths(&env::var_os("PATH")?).map(|folder| folder.join(program)).find(|path| path.is_file())
}

/// What a workload wants of a server; every server of a run gets the same.
#[derive(Clone, Copy, Debug)]
pub struct Shape {
    /// `-t`
    pub workers: usize,
    /// `-m`
    pub memory_mib: u64,
    /// `-c`
    pub connections_max: usize,
    /// `-I`
    pub item_mib_max: u64,
    /// Whether it listens with TLS as well; see [`Server::tls`].
    pub is_encrypted: bool,
}

impl Default for Shape {
    fn default() -> Shape {
        Shape { workers: 1, memory_mib: 1024, connections_max: 1024, item_mib_max: 1, is_encrypted: false }
    }
}

/// A server that runs.
pub struct Server {
    /// What was started.
    pub binary: Binary,
    /// Where it listens.
    pub address: SocketAddr,
    /// What it calls itself.
    pub version: String,
    /// Where it listens with TLS, and its certificate, if the workload wants that.
    pub tls: Option<Encryption>,
    child: Child,
}

impl Server {
    /// Starts it on its cores and waits until it answers; the calling thread is left on the cores of the load.
    pub fn start(binary: &Binary, shape: &Shape, placement: &Placement) -> Result<Server, Error> {
        let address = free_address()?;
        let tls = if shape.is_encrypted { Some(Encryption::new(free_address()?)?) } else { None };
        machine::bind(&placement.server)?;
        let child = command(binary, shape, address, tls.as_ref()).spawn();
        machine::bind(&placement.load)?;
        let child = child.map_err(|error| Error::Server {
            name: binary.name.clone(),
            cause: format!("{}: {error}", binary.path.display()),
        })?;
        let mut server = Server { binary: binary.clone(), address, version: String::new(), tls, child };
        server.version = server.wait_until_ready()?;
        Ok(server)
    }

    /// The process to be metered.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Resident memory in bytes.
    pub fn resident_bytes(&self) -> Result<u64, Error> {
        let status = fs::read_to_string(format!("/proc/{}/status", self.id()))
            .map_err(|error| self.failure(format!("its status: {error}")))?;
        resident_bytes(&status).ok_or_else(|| self.failure("it has ended".to_string()))
    }

    /// A connection for questions.
    pub fn control(&self) -> Result<Control, Error> {
        Control::connect(self.address).map_err(Error::system("connect to ask the server"))
    }

    /// An error of this server.
    pub fn failure(&self, cause: String) -> Error {
        Error::Server { name: self.binary.name.clone(), cause }
    }

    fn wait_until_ready(&mut self) -> Result<String, Error> {
        let deadline = Instant::now() + START_TIMEOUT;
        loop {
            if let Ok(version) = Control::connect(self.address).and_then(|mut it| it.version()) {
                return Ok(version);
            }
            if let Ok(Some(status)) = self.child.try_wait() {
                return Err(self.failure(format!("it ended at once, {status}")));
            }
            if Instant::now() >= deadline {
                return Err(self.failure("it does not answer on its port".to_string()));
            }
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // A process id is never zero; the kill below is for a server that does not listen to the request.
        if let Some(id) = Pid::from_raw(self.child.id() as i32) {
            let _ = kill_process(id, Signal::TERM);
        }
        let deadline = Instant::now() + STOP_TIMEOUT;
        while Instant::now() < deadline {
            if matches!(self.child.try_wait(), Ok(Some(_)) | Err(_)) {
                return;
            }
            std::thread::sleep(Duration::from_millis(2));
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn command(binary: &Binary, shape: &Shape, address: SocketAddr, tls: Option<&Encryption>) -> Command {
    let mut command = match binary.launch {
        Launch::Plain => Command::new(&binary.path),
        Launch::Callgrind => valgrind::server_command(&binary.path, shape.connections_max),
        Launch::RealTime => {
            let mut command = Command::new("chrt");
            command.args(["--fifo", REAL_TIME_PRIORITY]).arg(&binary.path);
            command
        }
    };
    match tls {
        Some(tls) => command.args(tls.options(address)),
        None => command.args(["-l", &address.ip().to_string()]),
    };
    command
        .args(["-p", &address.port().to_string()])
        .args(["-U", "0"])
        .args(["-t", &shape.workers.to_string()])
        .args(["-m", &shape.memory_mib.to_string()])
        .args(["-c", &shape.connections_max.to_string()])
        .args(["-I", &format!("{}m", shape.item_mib_max)]);
    if getuid().is_root() {
        command.args(["-u", "root"]);
    }
    command.args(&binary.arguments).stdin(Stdio::null()).stdout(Stdio::null());
    command
}

/// A port that was free a moment ago; whoever takes it meanwhile makes the start fail, not the figures wrong.
pub fn free_address() -> Result<SocketAddr, Error> {
    TcpListener::bind((Ipv4Addr::LOCALHOST, 0))
        .and_then(|listener| listener.local_addr())
        .map_err(Error::system("find a free port"))
}

fn resident_bytes(status: &str) -> Option<u64> {
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    let kibibytes: u64 = line.trim().strip_suffix(" kB")?.parse().ok()?;
    Some(kibibytes * 1024)
}

/// Above all that is not real-time, and no higher than it must be.
const REAL_TIME_PRIORITY: &str = "1";
const START_TIMEOUT: Duration = Duration::from_secs(10);
const STOP_TIMEOUT: Duration = Duration::from_secs(3);

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    #[test]
    fn binaries() {
        let plain = Binary::parse("mc=/usr/bin/memcached").unwrap();
        assert_eq!((plain.name.as_str(), plain.arguments.len()), ("mc", 0));
        let tuned = Binary::parse("mc=memcached -o  hashpower=22").unwrap();
        assert_eq!(tuned.path, Path::new("memcached"));
        assert_eq!(tuned.arguments, ["-o", "hashpower=22"]);
        for refused in ["", "memcached", "=memcached", "mc=", "mc= "] {
            assert!(Binary::parse(refused).is_err(), "{refused}");
        }
    }

    #[test]
    fn resident_memory_of_a_status() {
        assert_eq!(resident_bytes("Name:\tx\nVmRSS:\t    2048 kB\nVmX: 1 kB\n"), Some(2 << 20));
        assert_eq!(resident_bytes("Name:\tx\n"), None);
    }
}

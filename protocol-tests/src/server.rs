//! The server under test: found, asked for its version, started on a free loopback port, and ended.

use std::env;
use std::fs;
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{self, Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

use crate::case::Setting;
use crate::connection::Connection;
use crate::credentials::Authority;
use crate::packet::Packet;
use crate::template::{Bindings, Piece};
use crate::tls::Trust;
use crate::version::{REFERENCE, Version};

/// The program to test.
#[derive(Clone, Debug)]
pub struct Program {
    /// Path of the binary.
    pub path: PathBuf,
    /// The version it is compatible with.
    pub version: Version,
    /// Whether it is a real memcached, named by `MEMCACHED`.
    pub is_reference: bool,
    /// What it prints for `-h`.
    pub help: String,
    /// Whether its servers listen with TLS.
    pub is_encrypted: bool,
}

impl Program {
    /// Chooses the program: `MEMCACHED`, else `SLABSTASH_TEST_SERVER`, else the slabstash built beside this test.
    pub fn from_environment() -> Result<Program, String> {
        match Program::reference()? {
            Some(program) => Ok(program),
            None => Program::slabstash(),
        }
    }

    /// The real memcached that `MEMCACHED` names, if it is set.
    pub fn reference() -> Result<Option<Program>, String> {
        let path = env::var_os("MEMCACHED").map(PathBuf::from);
        path.map(|path| Program::at(path, true)).transpose()
    }

    /// `SLABSTASH_TEST_SERVER`, else the slabstash built beside this test.
    pub fn slabstash() -> Result<Program, String> {
        match env::var_os("SLABSTASH_TEST_SERVER") {
            Some(path) => Program::at(PathBuf::from(path), false),
            None => Program::at(built_beside_this_test()?, false),
        }
    }

    fn at(path: PathBuf, is_reference: bool) -> Result<Program, String> {
        if !path.is_file() {
            return Err(format!(
                "no server at {}: build it, or set SLABSTASH_TEST_SERVER or MEMCACHED",
                path.display()
            ));
        }
        let version = match env::var("SLABSTASH_TEST_SERVER_VERSION") {
            Ok(version) => version.parse()?,
            Err(_) => reported_version(&path)?.unwrap_or(REFERENCE),
        };
        let help = printed(&path, "-h")?;
        Ok(Program { path, version, is_reference, help, is_encrypted: false })
    }

    /// A command that runs the program. slabstash goes by memcached's name, which decides its introduction, its defaults
    /// and what it refuses.
    pub fn bare_command(&self) -> Command {
        let mut command = Command::new(&self.path);
        command.env("SLABSTASH_NAME", "memcached");
        command.stdin(Stdio::null());
        command
    }

    /// The same for a server to be started; as root it has to be told that this is meant.
    pub fn command(&self) -> Command {
        let mut command = self.bare_command();
        if is_root() {
            command.args(["-u", "root"]);
        }
        command
    }
}

/// A running server. It is killed when this is dropped, also by a panic.
#[derive(Debug)]
pub struct Server {
    child: Child,
    /// Its loopback port.
    pub port: u16,
    /// For whom its certificate is good, if it listens with TLS.
    pub trust: Option<Trust>,
    is_binary_only: bool,
    control: Option<Connection>,
    folder: PathBuf,
}

impl Server {
    /// Starts a server as a case wants it; files that its options refer to are kept in `folder` while it runs.
    pub fn start(program: &Program, setting: &Setting, folder: PathBuf) -> Result<Server, String> {
        let mut failure = String::new();
        for _ in 0..START_ATTEMPTS_MAX {
            match Server::start_once(program, setting, &folder) {
                Ok(server) => return Ok(server),
                Err(error) => failure = error,
            }
        }
        Err(failure)
    }

    /// Another process may take the free port first, so this can fail for no fault of anyone.
    fn start_once(program: &Program, setting: &Setting, folder: &Path) -> Result<Server, String> {
        let (options, environment) = write_files(setting, folder)?;
        let port = free_port()?;
        let mut command = program.command();
        command.args(["-l", "127.0.0.1", "-U", "0", "-p", &port.to_string()]).args(&options).envs(environment);
        let trust = match program.is_encrypted {
            true => Some(encrypt(&mut command, folder)?),
            false => None,
        };
        command.stdout(Stdio::null()).stderr(Stdio::null());
        if env::var_os("SLABSTASH_TEST_STDERR").is_some() {
            command.stderr(Stdio::inherit());
        }
        let port_file = folder.join("ports");
        let _ = fs::remove_file(&port_file);
        command.env("MEMCACHED_PORT_FILENAME", &port_file);
        let child = command.spawn().map_err(|error| format!("{}: {error}", program.path.display()))?;
        let is_binary_only = options.windows(2).any(|pair| pair == ["-B", "binary"]);
        let mut server = Server { child, port, trust, is_binary_only, control: None, folder: folder.to_path_buf() };
        let deadline = Instant::now() + START_TIMEOUT;
        let started = Instant::now();
        // Whoever answers at once may be somebody else who took the port; the file is written by our child only.
        while !(port_file.exists() || started.elapsed() > NO_PORT_FILE && is_listening(port)) {
            let ended = server.child.try_wait().map_err(|error| error.to_string())?;
            if let Some(status) = ended {
                return Err(format!("{} {} ended at its start: {status}", program.path.display(), options.join(" ")));
            }
            if Instant::now() > deadline {
                return Err(format!("{} does not listen", program.path.display()));
            }
            thread::sleep(START_POLL);
        }
        Ok(server)
    }

    /// Makes the server forget every item.
    pub fn flush(&mut self) -> Result<(), String> {
        if self.is_binary_only {
            let bindings = Bindings::new(REFERENCE);
            let request = Packet::request("flush")?.build(&bindings)?;
            return self.ask(&request, Piece::Packet(Box::new(Packet::response("flush")?)));
        }
        self.ask(b"flush_all\r\n", Piece::Bytes(b"OK\r\n".to_vec()))
    }

    /// Stores the canary.
    pub fn set_canary(&mut self) -> Result<(), String> {
        self.ask(b"set canary 3 0 5\r\nalive\r\n", Piece::Bytes(b"STORED\r\n".to_vec()))
    }

    /// Checks that the canary is still there, and so that the server still serves.
    pub fn check_canary(&mut self) -> Result<(), String> {
        self.ask(b"get canary\r\n", Piece::Bytes(b"VALUE canary 3 5\r\nalive\r\nEND\r\n".to_vec()))
    }

    /// The server's process.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Checks that the server has not ended.
    pub fn expect_running(&mut self) -> Result<(), String> {
        match self.child.try_wait().map_err(|error| error.to_string())? {
            Some(status) => Err(format!("the server ended with {status}")),
            None => Ok(()),
        }
    }

    /// Resident memory of the server in bytes.
    pub fn resident_bytes(&self) -> Result<usize, String> {
        let path = format!("/proc/{}/status", self.child.id());
        let status = fs::read_to_string(&path).map_err(|error| format!("{path}: {error}"))?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        let kibibytes = line.and_then(|line| line.split_whitespace().next()?.parse::<usize>().ok());
        kibibytes.map(|number| number * 1024).ok_or_else(|| format!("{path} has no VmRSS"))
    }

    /// Stops the server in order, so that it keeps its cache if it has been told where.
    pub fn stop_gracefully(&mut self) -> Result<(), String> {
        let process = Pid::from_raw(self.child.id() as i32).ok_or("no process")?;
        kill_process(process, Signal::USR1).map_err(|error| error.to_string())?;
        self.expect_exit(0)
    }

    /// Waits for the server to end by itself and checks its exit status.
    pub fn expect_exit(&mut self, code: i32) -> Result<(), String> {
        let deadline = Instant::now() + EXIT_TIMEOUT;
        while Instant::now() < deadline {
            match self.child.try_wait().map_err(|error| error.to_string())? {
                Some(status) if status.code() == Some(code) => return Ok(()),
                Some(status) => {
                    return Err(format!("the server ended with {status} instead of {code}"));
                }
                None => thread::sleep(START_POLL),
            }
        }
        Err("the server did not end".to_string())
    }

    fn ask(&mut self, request: &[u8], answer: Piece) -> Result<(), String> {
        let mut connection = match self.control.take() {
            Some(connection) => connection,
            None => Connection::open(self.port, self.trust.as_ref())?,
        };
        connection.send(request, None);
        connection
            .expect(&[answer], &mut Bindings::new(REFERENCE))
            .map_err(|error| format!("the server under '{}': {error}", request.escape_ascii()))?;
        self.control = Some(connection);
        Ok(())
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        let _ = fs::remove_dir_all(&self.folder);
    }
}

/// Gives a server a certificate, in `folder`, and says who vouches for it.
fn encrypt(command: &mut Command, folder: &Path) -> Result<Trust, String> {
    let authority = Authority::new("tests");
    let files = authority.issue_server().write(folder, "server")?;
    command.args(["-Z", "-o", &files.options()]);
    Ok(Trust::new(&authority))
}

fn is_listening(port: u16) -> bool {
    TcpStream::connect((Ipv4Addr::LOCALHOST, port)).is_ok()
}

type Words = (Vec<String>, Vec<(String, String)>);

/// Writes the files of a setting and returns its options and environment with their paths.
fn write_files(setting: &Setting, folder: &Path) -> Result<Words, String> {
    fs::create_dir_all(folder).map_err(|error| format!("{}: {error}", folder.display()))?;
    let (mut options, mut environment) = (setting.options.clone(), setting.environment.clone());
    let mut replace = |from: &str, to: &Path| {
        for word in options.iter_mut().chain(environment.iter_mut().map(|(_, value)| value)) {
            *word = word.replace(from, &to.display().to_string());
        }
    };
    replace("{folder}", folder);
    for (name, content) in &setting.files {
        let path = folder.join(name);
        fs::write(&path, content).map_err(|error| format!("{}: {error}", path.display()))?;
        replace(&format!("{{file:{name}}}"), &path);
    }
    Ok((options, environment))
}

/// A loopback port nobody listens on at the moment, and that nobody else is likely to take before it is used.
///
/// The system's own choice is no good: it gives the same port to several askers, and to outgoing connections. So ports
/// are counted up below its range, from a place that differs between processes.
pub fn free_port() -> Result<u16, String> {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    for _ in 0..PORTS {
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let offset = (process::id().wrapping_mul(PORTS_APART).wrapping_add(number)) % PORTS;
        let port = u16::try_from(FIRST_PORT + offset).map_err(|error| error.to_string())?;
        if TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok() {
            return Ok(port);
        }
    }
    Err("no free port".to_string())
}

/// Whether this runs as root.
pub fn is_root() -> bool {
    use std::os::unix::fs::MetadataExt;
    fs::metadata("/proc/self").is_ok_and(|process| process.uid() == 0)
}

/// The slabstash built with this test. Tests run as `target/PROFILE/deps/NAME`, the daemon is `target/PROFILE/slabstash`.
pub fn built_beside_this_test() -> Result<PathBuf, String> {
    let test = env::current_exe().map_err(|error| error.to_string())?;
    match test.parent().and_then(Path::parent) {
        Some(folder) => Ok(folder.join("slabstash")),
        None => Err(format!("{} is in no build folder", test.display())),
    }
}

/// What `-V` prints as its last word, if that is a memcached release.
fn reported_version(path: &Path) -> Result<Option<Version>, String> {
    let text = printed(path, "-V")?;
    let version = text.split_whitespace().find_map(|word| word.parse().ok());
    Ok(version.filter(|version| *version >= Version(1, 4, 0)))
}

/// What a program prints for an option that only asks.
fn printed(path: &Path, option: &str) -> Result<String, String> {
    let output = Command::new(path).arg(option).stdin(Stdio::null()).output();
    let output = output.map_err(|error| format!("{}: {error}", path.display()))?;
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// Linux gives ports from 32768 on to outgoing connections.
const FIRST_PORT: u32 = 12_000;
const PORTS: u32 = 20_000;

/// A prime, so that processes with neighbouring ids begin far from each other.
const PORTS_APART: u32 = 7919;

const START_ATTEMPTS_MAX: usize = 3;
const START_TIMEOUT: Duration = Duration::from_secs(10);
/// A server that writes no port file is believed to be ours when it answers after this long.
const NO_PORT_FILE: Duration = Duration::from_millis(300);
const START_POLL: Duration = Duration::from_millis(2);
const EXIT_TIMEOUT: Duration = Duration::from_secs(20);

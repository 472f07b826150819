//! Restarts that keep the cache: through a file (`-e`), and through a service manager that keeps memory (systemd's
//! descriptor store), whose part is played here by a socket. Only slabstash is asked.

use std::fs::{self, File};
use std::io::{BufRead, BufReader, Write};
use std::net::{Ipv4Addr, TcpStream};
use std::path::PathBuf;
use std::process::{self, Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use protocol_tests::manager::{self, Manager, STARTER};
use protocol_tests::server::{Program, free_port};

#[test]
fn a_file_keeps_the_cache_over_a_graceful_stop() {
    let Some(folder) = Folder::new("file") else { return };
    let path = folder.file("cache");
    let options = ["-e", &path, "-A", "-m", "32"];
    let mut node = Node::start(&folder, &options, &[]);
    node.expect("set short 1 1 1\r\na\r\n", "STORED");
    node.expect("set long 2 0 5\r\nhello\r\n", "STORED");
    node.expect("set gone 0 0 1\r\nx\r\n", "STORED");
    node.expect("delete gone\r\n", "DELETED");
    let large = "v".repeat(700_000);
    node.expect(&format!("set large 3 1000 700000\r\n{large}\r\n"), "STORED");
    node.expect("set counter 0 0 1\r\n7\r\n", "STORED");
    let cas = node.cas("counter");
    let clock = node.number("uptime");
    assert_eq!(node.text_of("memory_file", "settings"), path);
    node.expect("shutdown graceful\r\n", "");
    assert_eq!(node.wait(), Some(0));
    assert!(folder.exists("cache.meta"));

    let mut node = Node::start(&folder, &options, &[]);
    assert!(!folder.exists("cache.meta"), "the metadata is taken");
    assert_eq!(fs::metadata(&path).unwrap().len(), 0, "the file is empty while the server runs");
    node.expect("get long\r\n", "VALUE long 2 5");
    node.expect("", "hello");
    node.expect("", "END");
    node.expect("get gone\r\n", "END");
    node.expect("get large\r\n", "VALUE large 3 700000");
    node.expect("", &large);
    node.expect("", "END");
    assert_eq!(node.cas("counter"), cas);
    node.expect("set other 0 0 1\r\n1\r\n", "STORED");
    assert!(node.cas("other") > cas, "CAS ids go on");
    node.expect("incr counter 1\r\n", "8");
    assert!(node.number("uptime") >= clock);
    // What came back counts as stored, as in memcached.
    assert!(node.number("total_items") >= 4);
    // SIGTERM keeps nothing, as in memcached.
    assert_eq!(node.stop("TERM"), Some(0));
    let mut node = Node::start(&folder, &options, &[]);
    node.expect("get long\r\n", "END");
    assert!(node.said("[restart] no metadata save file, starting with a clean cache"));
    // A crash keeps nothing either, and what was kept before is not served again.
    node.expect("set long 2 0 3\r\nnew\r\n", "STORED");
    assert_eq!(node.stop("USR1"), Some(0));
    let mut node = Node::start(&folder, &options, &[]);
    node.expect("get long\r\n", "VALUE long 2 3");
    node.expect("", "new");
    node.expect("", "END");
    node.stop("KILL");
    let mut node = Node::start(&folder, &options, &[]);
    node.expect("get long\r\n", "END");
}

#[test]
fn what_does_not_fit_is_dropped_with_a_line() {
    let Some(folder) = Folder::new("unfit") else { return };
    let path = folder.file("cache");
    let changes: [(&[&str], &str); 3] = [
        (&["-m", "33"], "restart incompatible due to setting for [maxbytes] [old value: 67108864]"),
        (&["-I", "2m"], "restart incompatible due to setting for [item_size_max] [old value: 1048576]"),
        (&["-C"], "restart incompatible due to setting for [use_cas] [old value: true]"),
    ];
    for (change, line) in changes {
        let mut node = Node::start(&folder, &["-e", &path], &[]);
        node.expect("set key 0 0 1\r\na\r\n", "STORED");
        assert_eq!(node.stop("USR1"), Some(0));
        let mut node = Node::start(&folder, &[&["-e", &path], change].concat(), &[]);
        node.expect("get key\r\n", "END");
        assert!(node.said(&format!("[restart] {line}, starting with a clean cache")), "{}", node.log());
    }
    let mut node = Node::start(&folder, &["-e", &path], &[]);
    node.expect("set key 0 0 1\r\na\r\n", "STORED");
    assert_eq!(node.stop("USR1"), Some(0));
    let mut bytes = fs::read(&path).unwrap();
    let last = bytes.len() - 20;
    bytes[last] ^= 1;
    fs::write(&path, &bytes).unwrap();
    let mut node = Node::start(&folder, &["-e", &path], &[]);
    node.expect("get key\r\n", "END");
    assert!(node.log().contains("[restart] cannot use the saved cache, it is damaged at byte "), "{}", node.log());
}

#[test]
fn files_that_cannot_be_used_stop_the_start() {
    let Some(folder) = Folder::new("refused") else { return };
    let path = folder.file("cache");
    fs::write(folder.file("cache.meta"), "").unwrap();
    folder.refused(&path, 1, &format!("[restart] corrupt metadata file {path}.meta: remove it, or name another -e"));
    fs::remove_file(folder.file("cache.meta")).unwrap();
    folder.refused("/dev/null", 71, "memory file /dev/null is not a regular file");
    folder.refused("/no/such/cache", 71, "failed to open memory file /no/such/cache: No such file or directory");
    let _first = Node::start(&folder, &["-e", &path], &[]);
    folder.refused(&path, 71, &format!("memory file {path} is in use by another process"));
    // Who cannot start takes nothing away from who comes after.
    let taken = folder.file("taken");
    let mut node = Node::start(&folder, &["-e", &taken], &[]);
    node.expect("set key 0 0 1\r\na\r\n", "STORED");
    assert_eq!(node.stop("USR1"), Some(0));
    let mut command = folder.program.command();
    command.args(["-l", "127.0.0.1", "-p", &_first.port.to_string(), "-e", &taken]);
    assert_eq!(command.stderr(Stdio::null()).status().unwrap().code(), Some(71));
    let mut node = Node::start(&folder, &["-e", &taken], &[]);
    node.expect("get key\r\n", "VALUE key 0 1");
}

#[test]
fn a_disk_that_is_full_leaves_no_cache_and_says_so() {
    let Some(folder) = Folder::new("full") else { return };
    let path = folder.file("cache");
    // A limit for file sizes stands in for the disk: 512 blocks of 512 or 1024 bytes.
    let limit = ["sh", "-c", "trap '' XFSZ; ulimit -f 512; exec \"$@\"", "sh"];
    let mut node = Node::start_by(&folder, &limit, &["-e", &path], &[]);
    let value = "v".repeat(1000);
    for key in 0..2000 {
        node.expect(&format!("set key{key} 0 0 1000\r\n{value}\r\n"), "STORED");
    }
    assert_eq!(node.stop("USR1"), Some(74));
    assert!(node.said(&format!("[restart] cannot save the cache to {path}: File too large")), "{}", node.log());
    assert!(!folder.exists("cache.meta") && fs::metadata(&path).unwrap().len() == 0);
    let mut node = Node::start(&folder, &["-e", &path], &[]);
    node.expect("get key1\r\n", "END");
}

#[test]
fn a_service_manager_keeps_the_cache() {
    let Some(folder) = Folder::new("manager") else { return };
    let manager = Manager::new(&folder.path.join("notify")).unwrap();
    let mut node = Node::start(&folder, &["-m", "32"], &manager.environment());
    node.expect("set key 5 0 3\r\none\r\n", "STORED");
    let large = "w".repeat(300_000);
    node.expect(&format!("set large 0 0 300000\r\n{large}\r\n"), "STORED");
    let cas = node.cas("key");
    // Any ordered stop, since systemd ends a service the same way for a restart.
    assert_eq!(node.stop("TERM"), Some(0));
    let kept = manager.kept().unwrap();
    assert!(kept.metadata().unwrap().len() > 300_000);

    let mut node = Node::start_with_kept(&folder, &kept, &["-m", "32", "-t", "2"], &manager.environment());
    assert!(manager.text_until("FDSTOREREMOVE=1").unwrap().contains("FDNAME=slabstash-cache\n"));
    node.expect("get key\r\n", "VALUE key 5 3");
    node.expect("", "one");
    node.expect("", "END");
    node.expect("get large\r\n", "VALUE large 0 300000");
    node.expect("", &large);
    node.expect("", "END");
    assert_eq!(kept.metadata().unwrap().len(), 0, "its memory is given back");
    node.expect("set key 5 0 3\r\ntwo\r\n", "STORED");
    assert!(node.cas("key") > cas);

    // A crash: what the manager may still have is of no use.
    node.stop("KILL");
    let mut node = Node::start_with_kept(&folder, &kept, &["-m", "32"], &manager.environment());
    node.expect("get key\r\n", "END");
    assert!(node.log().contains("[restart] cannot use the saved cache, it is not complete"), "{}", node.log());

    // A limit that is another one now.
    node.expect("set key 5 0 3\r\ntwo\r\n", "STORED");
    assert_eq!(node.stop("USR1"), Some(0));
    let kept = manager.kept().unwrap();
    let mut node = Node::start_with_kept(&folder, &kept, &["-m", "31"], &manager.environment());
    node.expect("get key\r\n", "END");
    assert_eq!(kept.metadata().unwrap().len(), 0);
    assert!(node.log().contains("setting for [maxbytes] [old value: 33554432]"), "{}", node.log());

    // Nothing is handed over that nobody wants.
    assert_eq!(node.stop("TERM"), Some(0));
    manager.kept().unwrap();
    let mut node = Node::start(&folder, &["-o", "no_warm_restart"], &manager.environment());
    assert_eq!(node.stop("TERM"), Some(0));
    let socket = manager.environment()[0].1.to_owned();
    let mut node = Node::start(&folder, &[], &[("NOTIFY_SOCKET", &socket)]);
    assert_eq!(node.stop("TERM"), Some(0));
    assert_eq!(manager.kept_count(), 0);
    let mut node = Node::start(&folder, &["-o", "warm_restart"], &[("NOTIFY_SOCKET", &socket)]);
    assert_eq!(node.stop("TERM"), Some(0));
    assert_eq!(manager.kept_count(), 1);
}

/// A folder for a test's files; it goes at the end. There is none when a real memcached is to be tested.
struct Folder {
    path: PathBuf,
    program: Program,
}

impl Folder {
    fn new(name: &str) -> Option<Folder> {
        let program = Program::from_environment().unwrap();
        if program.is_reference {
            return None;
        }
        let path = std::env::temp_dir().join(format!("slabstash-restart-{name}-{}", process::id()));
        fs::create_dir_all(&path).unwrap();
        Some(Folder { path, program })
    }

    fn file(&self, name: &str) -> String {
        self.path.join(name).display().to_string()
    }

    fn exists(&self, name: &str) -> bool {
        self.path.join(name).exists()
    }

    #[track_caller]
    fn refused(&self, memory_file: &str, code: i32, line: &str) {
        let mut command = self.program.command();
        command.args(["-l", "127.0.0.1", "-p", &free_port().unwrap().to_string(), "-e", memory_file]);
        let output = command.output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!((output.status.code(), said.trim_end()), (Some(code), line));
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.path);
    }
}

/// A running server and a connection to it.
struct Node {
    child: Child,
    port: u16,
    log: PathBuf,
    connection: BufReader<TcpStream>,
}

impl Node {
    fn start(folder: &Folder, options: &[&str], environment: &[(&str, &str)]) -> Node {
        Node::start_by(folder, &[], options, environment)
    }

    /// A start by a service manager that has kept something.
    fn start_with_kept(folder: &Folder, kept: &File, options: &[&str], environment: &[(&str, &str)]) -> Node {
        let given = manager::given(kept);
        let given = given.each_ref().map(|(name, value)| (name.as_str(), value.as_str()));
        Node::start_by(folder, &["sh", "-c", STARTER, "sh"], options, &[environment, &given].concat())
    }

    /// A start by other words before the program's name.
    fn start_by(folder: &Folder, words: &[&str], options: &[&str], environment: &[(&str, &str)]) -> Node {
        let port = free_port().unwrap();
        let plain = folder.program.command();
        let mut command = match words.split_first() {
            None => Command::new(plain.get_program()),
            Some((first, rest)) => {
                let mut command = Command::new(first);
                command.args(rest).arg(plain.get_program());
                command
            }
        };
        let (ports, log) = (folder.path.join("ports"), folder.path.join("log"));
        let _ = fs::remove_file(&ports);
        command.args(plain.get_args()).args(["-l", "127.0.0.1", "-p", &port.to_string()]).args(options);
        command.env("SLABSTASH_NAME", "memcached").env("MEMCACHED_PORT_FILENAME", &ports);
        command.envs(environment.iter().copied());
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(File::create(&log).unwrap());
        let mut child = command.spawn().unwrap();
        let deadline = Instant::now() + TIMEOUT;
        while !ports.exists() {
            let ended = child.try_wait().unwrap();
            assert!(ended.is_none() && Instant::now() < deadline, "{ended:?}: {}", fs::read_to_string(&log).unwrap());
            thread::sleep(POLL);
        }
        let stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).unwrap();
        stream.set_nodelay(true).unwrap();
        stream.set_read_timeout(Some(TIMEOUT)).unwrap();
        let mut node = Node { child, port, log, connection: BufReader::new(stream) };
        // The ports are known a little before a kept cache is read.
        assert!(node.ask("version\r\n").starts_with("VERSION "));
        node
    }

    /// Sends a request, if there is one, and compares the next line.
    #[track_caller]
    fn expect(&mut self, request: &str, line: &str) {
        assert_eq!(self.ask(request), line, "{}", &request[..request.len().min(80)]);
    }

    fn ask(&mut self, request: &str) -> String {
        self.connection.get_mut().write_all(request.as_bytes()).unwrap();
        let mut line = String::new();
        self.connection.read_line(&mut line).unwrap();
        line.trim_end().to_owned()
    }

    fn cas(&mut self, key: &str) -> u64 {
        let line = self.ask(&format!("gets {key}\r\n"));
        self.ask("");
        assert_eq!(self.ask(""), "END", "{line}");
        line.rsplit(' ').next().unwrap().parse().unwrap()
    }

    fn number(&mut self, name: &str) -> u64 {
        self.text_of(name, "").parse().unwrap()
    }

    fn text_of(&mut self, name: &str, list: &str) -> String {
        let mut line = self.ask(&format!("stats {list}\r\n"));
        let mut found = None;
        while line != "END" {
            if let Some(value) = line.strip_prefix(&format!("STAT {name} ")) {
                found = Some(value.to_owned());
            }
            line = self.ask("");
        }
        found.unwrap()
    }

    /// Sends a signal and waits for the end.
    fn stop(&mut self, signal: &str) -> Option<i32> {
        let sent = Command::new("kill").args([&format!("-{signal}"), &self.child.id().to_string()]).status();
        assert!(sent.unwrap().success());
        self.wait()
    }

    fn wait(&mut self) -> Option<i32> {
        let deadline = Instant::now() + TIMEOUT;
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status.code();
            }
            assert!(Instant::now() < deadline, "it does not end: {}", self.log());
            thread::sleep(POLL);
        }
    }

    fn log(&self) -> String {
        fs::read_to_string(&self.log).unwrap()
    }

    fn said(&self, line: &str) -> bool {
        self.log().lines().any(|said| said == line)
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

const TIMEOUT: Duration = Duration::from_secs(20);
const POLL: Duration = Duration::from_millis(2);

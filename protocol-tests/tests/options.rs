//! Command lines that memcached refuses: exit status, first line of what it says, and no socket before it says so.

use std::fs;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use protocol_tests::server::{Program, free_port, is_root};
use protocol_tests::version::{REFERENCE, Version};

/// A command line and how a server ends that is given it.
struct Row {
    /// From this version on; the table holds what the reference does, older ones differ in places.
    needs: Version,
    /// The words. `{good}` and `{bad}` are password files, `{empty}` is an empty word.
    options: &'static str,
    code: i32,
    /// How the first line ends; some begin with the name of the program.
    message: &'static str,
    /// How it ends in a server that is built without a part, or that docs/compatibility.md says differs.
    or_message: Option<&'static str>,
}

impl Row {
    const fn or(self, message: &'static str) -> Row {
        Row { or_message: Some(message), ..self }
    }

    fn is_met_by(&self, output: &Output) -> bool {
        let line = first_line(output);
        output.status.code() == Some(self.code)
            && (line.ends_with(self.message) || self.or_message.is_some_and(|message| line.ends_with(message)))
    }
}

#[test]
fn refused_command_lines() {
    let program = Program::from_environment().unwrap();
    let folder = Folder::new("refused");
    let mut failures = Vec::new();
    for row in REFUSED.iter().filter(|row| row.needs <= program.version) {
        let port_file = folder.path.join("ports");
        let port = free_port().unwrap();
        let mut command = program.command();
        if !row.options.contains("-l ") {
            command.args(["-l", "127.0.0.1"]);
        }
        command.args(["-p", &port.to_string()]).args(folder.words(row.options));
        command.env("MEMCACHED_PORT_FILENAME", &port_file);
        let Some(output) = run(command) else {
            failures.push(format!("{}: did not end", row.options));
            continue;
        };
        if !row.is_met_by(&output) {
            failures.push(format!(
                "{}: {}, {}, not {}, {}",
                row.options,
                output.status,
                first_line(&output),
                row.code,
                row.message
            ));
        }
        // The file is written when all sockets are bound.
        if port_file.exists() {
            failures.push(format!("{}: opened a socket", row.options));
            fs::remove_file(&port_file).unwrap();
        }
    }
    assert!(failures.is_empty(), "{} of {}:\n{}", failures.len(), REFUSED.len(), failures.join("\n"));
}

/// What a resolver says of a name there is not depends on the machine.
#[test]
fn a_name_that_does_not_resolve() {
    let program = Program::from_environment().unwrap();
    let mut command = program.command();
    command.args(["-p", &free_port().unwrap().to_string(), "-l", "fooble"]);
    let output = run(command).unwrap();
    assert_eq!(output.status.code(), Some(71));
    assert!(first_line(&output).starts_with("getaddrinfo(): "), "{output:?}");
}

#[test]
fn a_refused_command_line_leaves_no_unix_socket() {
    let program = Program::from_environment().unwrap();
    let folder = Folder::new("unix");
    let socket = folder.path.join("socket");
    let mut command = program.command();
    command.arg("-s").arg(&socket).args(["-I", "1000"]);
    assert_eq!(run(command).unwrap().status.code(), Some(64));
    assert!(!socket.exists());
}

#[test]
fn command_lines_that_only_ask() {
    let program = Program::from_environment().unwrap();
    for options in
        ["-V", "--version", "-h", "--help", "-i", "--license", "-p 1 -V", "-a x -V", "-m 100 -vv -V", "-p1 -h"]
    {
        let mut command = program.bare_command();
        command.args(options.split(' '));
        let output = run(command).unwrap();
        assert_eq!(output.status.code(), Some(0), "{options}");
        assert_eq!(first_line(&output), format!("memcached {}", program.version), "{options}");
    }
}

#[test]
fn the_help_names_the_options_there_are() {
    let program = Program::from_environment().unwrap();
    let mut command = program.bare_command();
    command.arg("-h");
    let help = String::from_utf8(run(command).unwrap().stdout).unwrap();
    for option in
        ["--port=", "--udp-port=", "--unix-socket=", "--listen=", "--threads=", "--memory-limit=", "--max-item-size="]
    {
        assert!(help.contains(option), "{option}");
    }
}

/// `-vv` shows the packets of a binary conversation, as it shows the lines of one in text.
#[test]
fn verbose_shows_binary_conversations() {
    let program = Program::from_environment().unwrap();
    let port = free_port().unwrap();
    let mut command = program.command();
    command.args(["-vv", "-l", "127.0.0.1", "-U", "0", "-p", &port.to_string()]);
    let mut child = command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
    let deadline = Instant::now() + SECONDS_MAX;
    let mut socket = loop {
        match TcpStream::connect((Ipv4Addr::LOCALHOST, port)) {
            Ok(socket) => break socket,
            Err(error) => assert!(Instant::now() < deadline, "{error}"),
        }
        thread::sleep(Duration::from_millis(5));
    };
    let mut get = [0; 27];
    (get[0], get[3], get[11]) = (0x80, 3, 3);
    get[24..].copy_from_slice(b"foo");
    socket.write_all(&get).unwrap();
    socket.read_exact(&mut [0; 24 + 9]).unwrap();
    child.kill().unwrap();
    let said = String::from_utf8_lossy(&child.wait_with_output().unwrap().stderr).into_owned();
    let choice = said.lines().find_map(|line| line.strip_suffix(": Client using the binary protocol"));
    let descriptor = choice.unwrap_or_else(|| panic!("no binary client in\n{said}"));
    let mut lines = said.lines();
    for expected in [
        "<{fd} Read binary protocol data:",
        "<{fd}    0x80 0x00 0x00 0x03",
        "<{fd}    0x00 0x00 0x00 0x00",
        "<{fd}    0x00 0x00 0x00 0x03",
        "<{fd} GET foo",
        ">{fd} Writing an error: Not found",
        ">{fd} Writing bin response:",
        ">{fd}   0x81 0x00 0x00 0x00",
        ">{fd}   0x00 0x00 0x00 0x01",
        ">{fd}   0x00 0x00 0x00 0x09",
    ] {
        let line = expected.replace("{fd}", descriptor);
        assert!(lines.any(|said| said == line), "no {line} in its place in\n{said}");
    }
}

#[test]
fn root_has_to_say_so() {
    if !is_root() {
        return;
    }
    let program = Program::from_environment().unwrap();
    if program.version < REFERENCE {
        return;
    }
    let mut command = program.bare_command();
    command.args(["-l", "127.0.0.1", "-p", &free_port().unwrap().to_string()]);
    let output = run(command).unwrap();
    assert_eq!(output.status.code(), Some(64));
    assert_eq!(first_line(&output), "must add '-u root' to start as root");
}

#[test]
fn the_table_has_no_row_twice() {
    for (index, row) in REFUSED.iter().enumerate() {
        assert!(REFUSED[..index].iter().all(|other| other.options != row.options), "{}", row.options);
    }
}

/// Runs a command that should end soon; `None` if it had to be killed.
fn run(mut command: Command) -> Option<Output> {
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    let deadline = Instant::now() + SECONDS_MAX;
    // What is printed here fits into a pipe, so nobody needs to read while waiting.
    while child.try_wait().unwrap().is_none() {
        if Instant::now() > deadline {
            child.kill().unwrap();
            child.wait().unwrap();
            return None;
        }
        thread::sleep(Duration::from_millis(1));
    }
    Some(child.wait_with_output().unwrap())
}

/// The first line on the error output, or on the other one if that is empty: builds of memcached differ there.
fn first_line(output: &Output) -> String {
    let text = if output.stderr.is_empty() { &output.stdout } else { &output.stderr };
    String::from_utf8_lossy(text).lines().next().unwrap_or_default().to_string()
}

/// A folder with password files, removed at the end.
struct Folder {
    path: PathBuf,
}

impl Folder {
    fn new(name: &str) -> Folder {
        let path = std::env::temp_dir().join(format!("protocol-tests-{}-{name}", std::process::id()));
        fs::create_dir_all(&path).unwrap();
        fs::write(path.join("good"), "user:pass\n").unwrap();
        fs::write(path.join("bad"), "no colon\n").unwrap();
        Folder { path }
    }

    fn words(&self, options: &str) -> Vec<String> {
        let file = |name: &str| Path::new(&self.path).join(name).display().to_string();
        let word =
            |word: &str| word.replace("{good}", &file("good")).replace("{bad}", &file("bad")).replace("{empty}", "");
        options.split(' ').map(word).collect()
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.path);
    }
}

const fn row(options: &'static str, code: i32, message: &'static str) -> Row {
    Row { needs: Version(1, 6, 18), options, code, message, or_message: None }
}

const fn new_row(options: &'static str, code: i32, message: &'static str) -> Row {
    Row { needs: REFERENCE, options, code, message, or_message: None }
}

/// A server may take so long to start, or to refuse to.
const SECONDS_MAX: Duration = Duration::from_secs(10);

const NO_TLS: &str = "This server is not built with TLS support.";

#[rustfmt::skip]
const REFUSED: &[Row] = &[
    row("-B http", 64, "Invalid value for binding protocol: http"),
    row("-B auto2", 64, "Invalid value for binding protocol: auto2"),
    row("-B asciix", 64, "Invalid value for binding protocol: asciix"),
    row("-c 0", 1, "Maximum connections must be greater than 0"),
    row("-c -1", 1, "Maximum connections must be greater than 0"),
    row("-D {empty}", 1, "No delimiter specified"),
    row("-f 1", 1, "Factor must be greater than 1"),
    row("-f 1.0", 1, "Factor must be greater than 1"),
    row("-f 0.5", 1, "Factor must be greater than 1"),
    row("-f x", 1, "Factor must be greater than 1"),
    row("-I 1000", 64, "Item max size cannot be less than 1024 bytes."),
    row("-I 1g", 64, "Item max size cannot be less than 1024 bytes."),
    row("-I 100", 64, "Item max size cannot be less than 1024 bytes."),
    row("-I 2g", 64, "Item max size cannot be less than 1024 bytes."),
    row("-I 64m", 64, "Cannot set item size limit higher than 1/2 of memory max."),
    row("-I 1024", 64, "slab_chunk_max (bytes: 524288) cannot be larger than -I (item_size_max 1024)"),
    row("-I 256m", 64, "Cannot set item size limit higher than 1/2 of memory max."),
    new_row("-I 1024 -o slab_chunk_max=2", 64, "slab_chunk_max (bytes: 2048) cannot be larger than -I (item_size_max 1024)"),
    row("-I 700k", 64, "-I (item_size_max: 716800) must be evenly divisible by slab_chunk_max (bytes: 524288)"),
    row("-N 0", 1, "Maximum number of NAPI IDs must be greater than 0"),
    row("-N 5", 64, "Number of napi_ids(5) cannot be greater than number of threads(4)"),
    row("-n 0", 1, "Chunk size must be greater than 0"),
    new_row("-n -1", 1, "Chunk size must be greater than 0"),
    row("-n x", 1, "Chunk size must be greater than 0"),
    row("-p 65536", 64, "ERROR: Invalid port number 65536."),
    row("-p 70000", 64, "ERROR: Invalid port number 70000."),
    row("-R 0", 1, "Number of requests per event must be greater than 0"),
    new_row("-R -1", 1, "Number of requests per event must be greater than 0"),
    row("-R x", 1, "Number of requests per event must be greater than 0"),
    row("-t 0", 1, "Number of threads must be greater than 0"),
    row("-t -1", 1, "Number of threads must be greater than 0"),
    row("-t x", 1, "Number of threads must be greater than 0"),
    row("-u nosuchuser", 67, "can't find the user nosuchuser to switch to"),
    row("-q", 1, ": invalid option -- 'q'"),
    row("-zzz", 1, ": invalid option -- 'z'"),
    row("--nope", 1, ": unrecognized option '--nope'"),
    row("-p", 1, ": option requires an argument -- 'p'"),
    row("-o nope", 1, "Illegal suboption \"nope\""),
    row("-o nope=1", 1, "Illegal suboption \"nope=1\""),
    row("-o hashpower", 1, "Missing numeric argument for hashpower"),
    row("-o hashpower=11", 1, "Initial hashtable multiplier of 11 is too low"),
    row("-o hashpower=33", 1, "Initial hashtable multiplier of 33 is too high"),
    row("-o hashpower=12", 1, "Hash table power size (12) cannot be equal to or less than item lock table (12)"),
    row("-o slab_automove=3", 1, "slab_automove must be between 0 and 2"),
    row("-o slab_automove=-1", 1, "slab_automove must be between 0 and 2"),
    row("-o slab_automove_ratio=0", 1, "slab_automove_ratio must be > 0 and < 1"),
    row("-o slab_automove_ratio=1.1", 1, "slab_automove_ratio must be > 0 and < 1"),
    row("-o slab_automove_ratio", 1, "Missing slab_automove_ratio argument"),
    new_row("-o slab_automove_window=2", 1, "slab_automove_window must be > 2 and < 1800"),
    new_row("-o slab_automove_window=1801", 1, "slab_automove_window must be > 2 and < 1800"),
    row("-o slab_automove_window", 1, "Missing slab_automove_window argument"),
    row("-o tail_repair_time", 1, "Missing numeric argument for tail_repair_time"),
    row("-o tail_repair_time=9", 1, "Cannot set tail_repair_time to less than 10 seconds"),
    row("-o hash_algorithm", 1, "Missing hash_algorithm argument"),
    row("-o hash_algorithm=md5", 1, "Unknown hash_algorithm option (jenkins, murmur3, xxh3)"),
    row("-o lru_crawler_sleep", 1, "Missing lru_crawler_sleep value"),
    row("-o lru_crawler_sleep=1000001", 1, "LRU crawler sleep must be between 0 and 1 second"),
    row("-o lru_crawler_sleep=-1", 1, "LRU crawler sleep must be between 0 and 1 second"),
    row("-o lru_crawler_tocrawl", 1, "Missing lru_crawler_tocrawl value"),
    row("-o lru_crawler_tocrawl=x", 1, "lru_crawler_tocrawl takes a numeric 32bit value"),
    row("-o hot_lru_pct", 1, "Missing hot_lru_pct argument"),
    row("-o hot_lru_pct=0", 1, "hot_lru_pct must be > 1 and < 80"),
    row("-o hot_lru_pct=80", 1, "hot_lru_pct must be > 1 and < 80"),
    row("-o warm_lru_pct", 1, "Missing warm_lru_pct argument"),
    row("-o warm_lru_pct=0", 1, "warm_lru_pct must be > 1 and < 80"),
    row("-o warm_lru_pct=80", 1, "warm_lru_pct must be > 1 and < 80"),
    row("-o hot_max_factor", 1, "Missing hot_max_factor argument"),
    row("-o hot_max_factor=0", 1, "hot_max_factor must be > 0"),
    row("-o warm_max_factor", 1, "Missing warm_max_factor argument"),
    row("-o warm_max_factor=0", 1, "warm_max_factor must be > 0"),
    row("-o hot_lru_pct=50,warm_lru_pct=40", 64, "hot_lru_pct + warm_lru_pct cannot be more than 80% combined"),
    row("-o temporary_ttl", 1, "Missing temporary_ttl argument"),
    row("-o temporary_ttl=10,no_lru_maintainer", 64, "temporary_ttl requires lru_maintainer to be enabled"),
    row("-o idle_timeout", 1, "Missing numeric argument for idle_timeout"),
    row("-o watcher_logbuf_size", 1, "Missing watcher_logbuf_size argument"),
    row("-o watcher_logbuf_size=x", 1, "could not parse argument to watcher_logbuf_size"),
    row("-o worker_logbuf_size", 1, "Missing worker_logbuf_size argument"),
    row("-o worker_logbuf_size=x", 1, "could not parse argument to worker_logbuf_size"),
    row("-o slab_sizes=1-2", 64, "slab size 1 is out of valid range"),
    row("-o slab_sizes=100-100", 64, "slab size 100 cannot be lower than or equal to a previous class size"),
    row("-o slab_sizes=100-104", 64, "slab size 104 must be at least 8 bytes larger than previous class"),
    row("-o slab_sizes=100-50", 64, "slab size 50 cannot be lower than or equal to a previous class size"),
    row("-o slab_sizes=x", 64, "slab size 0 is out of valid range"),
    new_row("-o slab_chunk_max", 1, "Missing slab_chunk_max argument"),
    new_row("-o slab_chunk_max=x", 1, "could not parse argument to slab_chunk_max"),
    new_row("-o slab_chunk_max=-1", 1, "slab_chunk_max must be >= 0"),
    new_row("-o slab_chunk_max=100000000", 1, "slab_chunk_max must be specified in kilobytes."),
    new_row("-o slab_chunk_max=3", 64, "-I (item_size_max: 1048576) must be evenly divisible by slab_chunk_max (bytes: 3072)"),
    new_row("-o slab_chunk_max=2048", 1, "slab_chunk_max must be specified in kilobytes."),
    row("-o read_buf_mem_limit", 1, "Missing read_buf_mem_limit argument"),
    row("-o read_buf_mem_limit=x", 1, "could not parse argument to read_buf_mem_limit"),
    row("-o read_buf_mem_limit=-1", 1, "could not parse argument to read_buf_mem_limit"),
    row("-S -B ascii", 64, "ERROR: You cannot allow the ASCII protocol while using SASL."),
    row("-S -B auto", 64, "ERROR: You cannot allow the ASCII protocol while using SASL."),
    row("-S -U 5", 64, "ERROR: Cannot enable UDP while using binary SASL authentication."),
    row("-Y /nonexistent", 1, "Could not open authfile [/nonexistent] for reading, error No such file or directory: No such file or directory"),
    new_row("-Y /dev/null", 1, "Authfile [/dev/null] has a malformed entry. Should be 'user:password'"),
    row("-Y {good} -B binary", 64, "ERROR: You cannot allow the BINARY protocol while using ascii authentication tokens."),
    row("-Y {good} -B auto", 64, "ERROR: You cannot allow the BINARY protocol while using ascii authentication tokens."),
    row("-Y {good} -U 39998", 64, "Cannot use UDP with ascii authentication enabled (-U 0 to disable)"),
    row("-Y {bad}", 1, "has a malformed entry. Should be 'user:password'"),
    row("-l 127.0.0.1:x", 71, "Invalid port number: \"x\""),
    row("-l [::1", 71, "Invalid IPV6 address: \"[::1\"failed to listen on one of interface(s) [::1: Success").or("Invalid IPV6 address: \"[::1\""),
    row("-l proto[ascii", 71, "Invalid protocol spec: \"[ascii\""),
    row("-l notls:127.0.0.1", 71, "'notls' option is valid only when SSL is enabled"),
    row("-l tag[toolongname]:127.0.0.1", 71, "Listener tags must be between 1 and 8 characters: \"toolongname\""),
    row("-l tag[x:127.0.0.1", 71, "Invalid tag in socket config: \"[x:127.0.0.1\""),
    row("-l 192.0.2.1", 71, "bind(): Cannot assign requested address"),
    new_row("-o proxy_config=x", 1, "Illegal suboption \"proxy_config=x\"").or("this server is not built with proxy support."),
    new_row("-o ext_path", 1, "Illegal suboption \"ext_path\"").or("this server has no external storage (extstore)."),
    row("-Z -p 0", 64, "ERROR: You cannot enable SSL without a TCP port.").or(NO_TLS),
    row("-o ssl_verify_mode=x", 1, "could not parse argument to ssl_verify_mode"),
    row("-o ssl_verify_mode=4", 1, "Invalid ssl_verify_mode. Use help to see valid options."),
    row("-o ssl_min_version=4", 1, "Invalid ssl_min_version. Use help to see valid options."),
    row("-o ssl_keyformat", 1, "Missing ssl_keyformat argument"),
    row("-o ssl_wbuf_size=-1", 1, "could not parse argument to ssl_wbuf_size"),
    row("-s /nonexistent/x", 71, "bind(): No such file or directory"),
];

//! The system refuses one allocation, whichever: `failing_malloc.c` stands between the daemon and its allocator and fails
//! the n-th one of at least so many bytes, for n = 1, 2, … until a command needs no more. The client is answered or closed,
//! everybody else is served, and sees nothing wrong.

use std::fs;
use std::io::ErrorKind;
use std::net::{Ipv4Addr, UdpSocket};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use protocol_tests::credentials::Authority;
use protocol_tests::daemon::{Daemon, Plan, page, receive};
use protocol_tests::server::free_port;
use protocol_tests::tls::Trust;

use crate::{Client, set, wait_for_rest};

/// Lists of connections, prefixes and the like were made as a whole, and a refusal ended the process. When that was mended, a
/// list that was broken off behind what had been sent left its mark on the reply queue, which all connections of a worker
/// take turns to use: each later one was closed.
#[test]
fn an_allocation_that_fails_costs_one_connection_at_most() {
    let Some(faulty) = Plan::new().and_then(Faulty::start) else { return };
    let mut other = Client::new(&faulty.daemon);
    // Enough prefixes for a list of many kilobytes, enough keys for dumps.
    other.ask(b"stats detail on\r\n", "OK\r\n");
    let sets: String =
        (0..3000).map(|number| format!("set prefix{number}:key 0 0 9 noreply\r\nsome data\r\n")).collect();
    other.ask(format!("{sets}mn\r\n").as_bytes(), "MN\r\n");
    other.set("canary", 5000);
    other.set("large", 300_000);
    let many_keys = format!("get {}\r\n", "prefix7:key ".repeat(20_000));
    let commands: Vec<(&str, Vec<u8>, &str)> = vec![
        ("stats", b"stats\r\n".to_vec(), "END\r\n"),
        ("stats settings", b"stats settings\r\n".to_vec(), "END\r\n"),
        ("stats items", b"stats items\r\n".to_vec(), "END\r\n"),
        ("stats slabs", b"stats slabs\r\n".to_vec(), "END\r\n"),
        ("stats sizes", b"stats sizes\r\n".to_vec(), "END\r\n"),
        ("stats conns", b"stats conns\r\n".to_vec(), "END\r\n"),
        ("stats detail dump", b"stats detail dump\r\n".to_vec(), "END\r\n"),
        ("stats cachedump", b"stats cachedump 2 0\r\n".to_vec(), "END\r\n"),
        ("metadump", b"lru_crawler metadump all\r\n".to_vec(), "END\r\n"),
        ("mgdump", b"lru_crawler mgdump all\r\n".to_vec(), "EN\r\n"),
        ("watch", b"watch fetchers mutations\r\n".to_vec(), "OK\r\n"),
        ("binary stats", binary_stats(b""), "\0"),
        ("binary detail dump", binary_stats(b"detail dump"), "\0"),
        ("get", b"get canary\r\n".to_vec(), "END\r\n"),
        ("a large value", b"get large\r\n".to_vec(), "END\r\n"),
        ("many keys", many_keys.into_bytes(), "END\r\n"),
        ("a pipeline", [b"get canary\r\n".repeat(200), b"mn\r\n".to_vec()].concat(), "MN\r\n"),
        ("set", set("new", 900), "\r\n"),
        ("a set of some kilobytes", set("new", 9000), "\r\n"),
        ("a set of a large value", set("new", 600_000), "\r\n"),
        ("meta", b"mg canary v k t f c\r\n".to_vec(), "\r\n"),
        ("incr", b"set number 0 0 1\r\n1\r\nincr number 5\r\n".to_vec(), "\r\n6\r\n"),
    ];
    // Connections for `stats conns` to list.
    let _idle: Vec<Client> = (0..300).map(|_| Client::new(&faulty.daemon)).collect();
    fail_each(&faulty, &mut other, &commands);
    assert!(faulty.failures() > 20, "only {} allocations were failed", faulty.failures());
}

/// Keys that are looked up together, while nobody counts prefixes; by a server that has answered nothing long before.
#[test]
fn small_values_together_without_memory_cost_one_connection_at_most() {
    for options in ["-t 1", "-t 1 -o partitions=8"] {
        let Some(faulty) = Plan::new().and_then(|plan| Faulty::start(plan.options(options))) else { return };
        let mut other = Client::new(&faulty.daemon);
        other.set("grown", 4000);
        let small: [String; 32] = std::array::from_fn(|number| format!("small{number}"));
        for key in &small {
            other.set(key, 1000);
        }
        let commands: Vec<(&str, Vec<u8>, &str)> = vec![
            ("append", [b"append grown 0 0 2000\r\n", &[b'x'; 2000][..], b"\r\n"].concat(), "\r\n"),
            ("small values together", format!("get {}\r\n", small.join(" ")).into_bytes(), "END\r\n"),
            (
                "gets together",
                [small.map(|key| format!("get {key}\r\n")).concat().into_bytes(), b"mn\r\n".to_vec()].concat(),
                "MN\r\n",
            ),
        ];
        fail_each(&faulty, &mut other, &commands);
        assert!(faulty.failures() > 0, "nothing was failed");
    }
}

/// Fails each allocation that a request takes: it is answered, or its connection closed, and nothing else.
fn fail_each(faulty: &Faulty, other: &mut Client, commands: &[(&str, Vec<u8>, &str)]) {
    for (name, request, end) in commands {
        let (mut answered, mut closed) = (0, 0);
        for number in 1..=200 {
            let mut client = Client::new(&faulty.daemon);
            if !name.starts_with("binary") {
                client.ask(b"mn\r\n", "MN\r\n");
            }
            faulty.fail(number);
            let is_sent = client.push(request) == request.len();
            let is_answered = is_sent && is_answered(&mut client, end);
            let has_failed = faulty.has_failed();
            *(if is_answered { &mut answered } else { &mut closed }) += 1;
            assert!(has_failed || is_answered, "{name}: closed, though no allocation failed");
            assert_alive(&faulty.daemon, other, &format!("{name}, allocation {number}"));
            if !has_failed {
                break;
            }
        }
        println!("{name}: answered {answered} times, closed {closed}");
    }
}

/// The memory of a hash, up to 64 MiB, was asked for without care, and a refusal ended the process.
#[test]
fn a_login_without_memory_for_its_hash_is_refused() {
    let Some(plan) = Plan::new() else { return };
    let users = "u:$argon2id$v=19$m=64,t=1,p=1$c29tZXNhbHQ$4mqQiyq0VpIzuZmp+8eSF3YJ7Av58TkEJ4LIdOVsAc4\n";
    let Some(faulty) = Faulty::start(plan.file("users", users).options("-Y {folder}/users")) else { return };
    // Once the worker serves, it has what it begins with.
    Client::new(&faulty.daemon).ask(b"get key\r\n", "CLIENT_ERROR unauthenticated\r\n");
    let login = b"set x 0 0 8\r\nu secret\r\n";
    for number in 1..=20 {
        let mut client = Client::new(&faulty.daemon);
        faulty.fail(number);
        client.push(login);
        let answer = client.try_until("\r\n").unwrap_or_else(|_| panic!("closed: {}", faulty.daemon.errors()));
        let has_failed = faulty.has_failed();
        if answer == "STORED\r\n" {
            break;
        }
        // As with a wrong password: why, is nobody's business but the operator's.
        assert!(has_failed && answer == "CLIENT_ERROR authentication failure\r\n", "{answer}");
    }
    let mut client = Client::new(&faulty.daemon);
    client.ask(login, "STORED\r\n");
    assert!(client.stat("auth_failed_memory") > 0);
    assert_eq!(client.stat("auth_failed_credentials"), 0);
    let errors = faulty.daemon.errors();
    assert!(errors.contains("failed: no memory to verify the password\n"), "{errors}");
}

/// A reply over UDP is made as a whole, and a refusal of memory for it ended the process.
#[test]
fn a_reply_over_udp_without_memory_is_refused() {
    let Some(faulty) = Plan::new().and_then(|plan| Faulty::start(plan.options("-U {port}"))) else { return };
    let mut other = Client::new(&faulty.daemon);
    other.set("canary", 5000);
    // In chunks; and what a socket takes at once, so that nothing of it is lost.
    other.set("large", 70_000);
    other.set("k", 1);
    let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    socket.connect((Ipv4Addr::LOCALHOST, faulty.daemon.port)).unwrap();
    socket.set_read_timeout(Some(Duration::from_millis(100))).unwrap();
    let send = |id: u8, request: &str| socket.send(&[&[0, id, 0, 0, 0, 1, 0, 0], request.as_bytes()].concat()).unwrap();
    // Up to the answer to a request that comes after it, which is sent again when it is lost behind many others.
    let ask = |request: &str| {
        send(1, request);
        send(2, "mn\r\n");
        let (mut answer, mut space) = (String::new(), [0; 2000]);
        loop {
            match receive(&socket, &mut space) {
                Ok(count) if space[1] == 1 => answer.push_str(&String::from_utf8_lossy(&space[8..count])),
                Ok(count) if space[1] == 2 => {
                    assert_eq!(&space[8..count], b"MN\r\n");
                    return answer;
                }
                Ok(_) => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    assert_alive(&faulty.daemon, &mut Client::new(&faulty.daemon), request);
                    send(2, "mn\r\n");
                }
                Err(error) => panic!("{request}: {error}: {}", faulty.daemon.errors()),
            }
        }
    };
    let value = format!("VALUE large 0 70000\r\n{}\r\nEND\r\n", "v".repeat(70_000));
    let many = format!("get{}\r\n", " k".repeat(3000));
    let large = ("get large\r\n", Some(&value));
    let mut large_refused = 0;
    // The first refusal lets go of the store's reserve, which is enough then; after that there is none.
    for (request, whole) in [large, (&many, None), large, ("stats\r\n", None)] {
        let mut refused = 0;
        for number in 1..=50 {
            faulty.fail(number);
            let answer = ask(request);
            let is_refused = answer == "SERVER_ERROR out of memory writing get response\r\n" || answer.is_empty();
            if let Some(whole) = whole {
                assert!(is_refused || answer == **whole, "allocation {number}: {} bytes", answer.len());
            }
            refused += u32::from(is_refused);
            assert_alive(&faulty.daemon, &mut other, &format!("allocation {number}"));
            if !faulty.has_failed() {
                assert!(!is_refused, "refused, though no allocation failed");
                break;
            }
        }
        large_refused += whole.map_or(0, |_| refused);
        println!("{:.10}: refused {refused} times", request.trim_end());
    }
    assert!(large_refused > 0, "a reply was made without memory");
}

/// An answer of the admin listener grew without care, and a refusal of memory for it ended the process.
#[test]
fn an_answer_of_the_admin_listener_without_memory_is_503() {
    let Some(plan) = Plan::new() else { return };
    let address = plan.folder.join("admin");
    let options = "-o admin_listen=unix:{folder}/admin,admin_keys";
    let Some(faulty) = Faulty::start(plan.options(options)) else { return };
    let mut other = Client::new(&faulty.daemon);
    other.ask(b"stats detail on\r\n", "OK\r\n");
    // Prefixes with long names, so that documents are long.
    let sets: String = (0..100).map(|number| format!("set {}{number}:key 0 0 1\r\nx\r\n", "p".repeat(200))).collect();
    other.ask(format!("{sets}mn\r\n").as_bytes(), "MN\r\n");
    // Enough for the table of hot keys to be full by samples.
    let gets: String = (0..3000).map(|number| format!("mg key{number} q\r\n")).collect();
    (0..20).for_each(|_| assert_eq!(other.ask(format!("{gets}mn\r\n").as_bytes(), "MN\r\n"), "MN\r\n"));
    for (path, is_long) in
        [("/metrics", true), ("/stats.json", true), ("/dashboard.js", true), ("/history.json", false)]
    {
        let (mut whole, mut refused) = (0, 0);
        for number in 1..=50 {
            faulty.fail(number);
            let (status, body) = page(UnixStream::connect(&address).unwrap(), path);
            let has_failed = faulty.has_failed();
            assert_alive(&faulty.daemon, &mut other, &format!("{path}, allocation {number}"));
            match status {
                503 => assert!(has_failed && body == "503 Service Unavailable\n", "{body}"),
                _ => assert_eq!(status, 200, "{body}"),
            }
            *(if status == 503 { &mut refused } else { &mut whole }) += 1;
            if !has_failed {
                break;
            }
        }
        println!("{path}: whole {whole} times, refused {refused} times");
        assert!(whole > 0 && (refused > 0 || !is_long), "{path}");
    }
}

/// What TLS keeps grew without care, and a refusal of memory for it ended the process: replies that nobody takes, and a record
/// that is not whole. A record's worth, up to 16 KiB, is asked for by rustls, and not failed here.
#[test]
fn what_tls_keeps_without_memory_costs_its_connection() {
    let Some(plan) = Plan::new() else { return };
    let authority = Authority::new("tests");
    let files = authority.issue_server().write(&plan.folder, "server").unwrap();
    let port = free_port().unwrap();
    let options = format!("-Z -l notls:127.0.0.1 -l 127.0.0.1:{port} -o {},ssl_wbuf_size=512", files.options());
    let Some(faulty) = Faulty::start(plan.options(&options)) else { return };
    let mut other = Client::new(&faulty.daemon);
    other.set("canary", 5000);
    let trust = Trust::new(&authority);
    let failures = |other: &mut Client| other.stat("ssl_proto_errors");
    let mut unsent = 0;
    // How much a socket leaves of what it is given depends on the lengths: some are tried until it is enough.
    for attempt in 0..20 {
        // More than a socket takes. It is sent from where it lies, so that nothing else needs memory.
        other.set("large", 1_000_000 - attempt * 7777);
        let mut client = Client::to(port).narrow();
        let mut tls = trust.begin(&mut client.stream).unwrap();
        faulty.fail_between(1, 20 * 1024, 0);
        let request = tls.encrypt(format!("get{}\r\n", " large".repeat(16)).as_bytes());
        client.push(&request);
        wait_for_rest(&faulty.daemon);
        faulty.has_failed();
        assert_alive(&faulty.daemon, &mut other, &format!("replies that wait, attempt {attempt}"));
        unsent = failures(&mut other);
        if unsent > 0 {
            break;
        }
    }
    assert!(unsent > 0, "no connection was given up for replies that wait");
    let mut client = Client::to(port);
    let mut tls = trust.begin(&mut client.stream).unwrap();
    faulty.fail_between(1, 8 * 1024, 0);
    let record = tls.encrypt(&set("large", 100_000)[..16 * 1024]);
    client.push(&record[..12 * 1024]);
    let ended = tls.read(&mut client.stream, &mut [0; 100]);
    assert!(ended.is_err() || ended.is_ok_and(|count| count == 0));
    assert!(faulty.has_failed());
    assert_alive(&faulty.daemon, &mut other, "a record that is not whole");
    assert_eq!(failures(&mut other), unsent + 1);
    let errors = faulty.daemon.errors();
    assert!(errors.contains("failed: no memory for what has to wait"), "{errors}");
}

/// The block that a cache is saved from was asked for without care, and so was the one that it is read to: the process ended.
#[test]
fn a_kept_cache_without_memory_for_a_block_is_lost_with_a_line() {
    let start = |number, bytes_min, bytes_max| {
        let faulty = Faulty::start(Plan::new()?.options("-e {folder}/cache"))?;
        let mut client = Client::new(&faulty.daemon);
        // More than a block.
        (0..400).for_each(|key| assert_eq!(client.set(&format!("key{key}"), 1000), "STORED\r\n"));
        faulty.fail_between(number, bytes_min, bytes_max);
        faulty.daemon.signal("USR1");
        Some(faulty)
    };
    let mut refused = 0;
    for number in 1..=50 {
        let Some(mut faulty) = start(number, BYTES_MIN, 0) else { return };
        let (code, has_failed) = (faulty.daemon.wait(), faulty.has_failed());
        let errors = faulty.daemon.errors();
        match code {
            Some(74) => assert!(has_failed && errors.contains("[restart] cannot save the cache to "), "{errors}"),
            _ => assert_eq!(code, Some(0), "allocation {number}: {errors}"),
        }
        refused += u32::from(code == Some(74));
        if !has_failed {
            break;
        }
    }
    assert!(refused > 0, "it was saved without a block");
    let Some(mut saved) = start(0, BYTES_MIN, 0) else { return };
    assert_eq!(saved.daemon.wait(), Some(0), "{}", saved.daemon.errors());
    let plan = Plan::new().unwrap().options(&format!("-e {}/cache", saved.daemon.folder.display()));
    // Nothing else has just this size: a block ends with the item behind 256 KiB.
    let Some(faulty) = Faulty::start_failing(plan, 1, 256 * 1024 + 1, 256 * 1024 + 2000) else { return };
    // Answered when that was tried.
    let has_key = Client::new(&faulty.daemon).has("key1");
    let errors = faulty.daemon.errors();
    assert!(faulty.has_failed() && !has_key, "{errors}");
    assert!(
        errors.contains(
            "[restart] cannot use the saved cache, it cannot be read: out of memory, starting with a clean cache"
        ),
        "{errors}"
    );
}

/// Whether the end of an answer, or an error, comes before the connection is closed.
fn is_answered(client: &mut Client, end: &str) -> bool {
    let mut answer = String::new();
    loop {
        // Whatever ends the answer, `SERVER_ERROR out of memory …` too, ends a line.
        match client.try_until(if end == "\0" { "\0" } else { "\r\n" }) {
            Ok(part) => answer.push_str(&part),
            Err(_) => return false,
        }
        if answer.ends_with(end) || answer.lines().last().is_some_and(|line| line.starts_with("SERVER_ERROR ")) {
            return true;
        }
    }
}

#[track_caller]
fn assert_alive(daemon: &Daemon, other: &mut Client, when: &str) {
    assert!(Path::new(&format!("/proc/{}/exe", daemon.id())).exists(), "{when}: {}", daemon.errors());
    // Where memory was refused to the store, old items may have gone; what is there is whole.
    other.push(b"get canary\r\n");
    let answer = other.try_until("END\r\n").unwrap_or_else(|_| panic!("{when}: closed: {}", daemon.errors()));
    let whole = format!("VALUE canary 0 5000\r\n{}\r\nEND\r\n", "v".repeat(5000));
    assert!(answer == "END\r\n" || answer == whole, "{when}: {answer}");
    let answer = other.set("canary", 5000);
    assert!(answer == "STORED\r\n" || answer.starts_with("SERVER_ERROR out of memory"), "{when}: {answer}");
}

/// A request for statistics.
fn binary_stats(key: &[u8]) -> Vec<u8> {
    let mut packet = vec![0x80, 0x10, 0, key.len() as u8, 0, 0, 0, 0, 0, 0, 0, key.len() as u8];
    packet.resize(24, 0);
    packet.extend(key);
    packet
}

/// A daemon whose allocations can be failed.
struct Faulty {
    daemon: Daemon,
    orders: PathBuf,
}

impl Faulty {
    /// A daemon with one worker. `None` where there is no compiler, or not this C library.
    fn start(plan: Plan) -> Option<Faulty> {
        Faulty::start_failing(plan, 0, 0, 0)
    }

    /// The same, and the allocation of this number and size fails from the beginning.
    fn start_failing(mut plan: Plan, number: i64, bytes_min: i64, bytes_max: i64) -> Option<Faulty> {
        let library = plan.folder.join("failing_malloc.so");
        let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/faults/failing_malloc.c");
        let compiled = Command::new("cc").args(["-O1", "-shared", "-fPIC", "-o"]).arg(&library).arg(source).output();
        if !compiled.as_ref().is_ok_and(|compiled| compiled.status.success()) {
            println!("left out: the allocator's stand-in cannot be compiled: {compiled:?}");
            return None;
        }
        let orders = plan.folder.join("orders");
        let mut memory = [number, bytes_min, 0, bytes_max].map(i64::to_ne_bytes).concat();
        memory.resize(4096, 0);
        fs::write(&orders, memory).unwrap();
        plan.command.env("LD_PRELOAD", &library).env("FAILING_MALLOC", &orders);
        let daemon = plan.options("-p {port} -t 1 -m 64").start();
        Some(Faulty { daemon, orders })
    }

    /// Fails the allocation of this number from now on.
    fn fail(&self, number: i64) {
        self.fail_between(number, BYTES_MIN, 0);
    }

    /// The same, of those of at least and at most so many bytes; 0 is no bound.
    fn fail_between(&self, number: i64, bytes_min: i64, bytes_max: i64) {
        self.write(8, bytes_min);
        self.write(24, bytes_max);
        self.write(0, number);
    }

    /// Whether it came to that. None is failed from here on.
    fn has_failed(&self) -> bool {
        let left = self.read(0);
        self.write(0, 0);
        left == 0
    }

    fn failures(&self) -> i64 {
        self.read(16)
    }

    fn read(&self, offset: usize) -> i64 {
        let bytes = fs::read(&self.orders).unwrap();
        i64::from_ne_bytes(bytes[offset..offset + 8].try_into().unwrap())
    }

    fn write(&self, offset: u64, number: i64) {
        use std::os::unix::fs::FileExt;
        let file = fs::OpenOptions::new().write(true).open(&self.orders).unwrap();
        file.write_all_at(&number.to_ne_bytes(), offset).unwrap();
    }
}

/// Smaller allocations are not failed: those that are left have a fixed size, of 12 KiB for the classes in `stats` and of a few
/// hundred bytes elsewhere, and end the process.
const BYTES_MIN: i64 = 16 * 1024;

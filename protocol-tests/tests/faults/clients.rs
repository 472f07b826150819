//! Descriptors that run out, and clients that idle, trickle, reset, and never read.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddrV4, TcpStream};
use std::os::unix::net::UnixStream;
use std::thread;
use std::time::{Duration, Instant};

use protocol_tests::daemon::{Plan, TIMEOUT};
use rustix::net::{AddressFamily, SocketType};
use rustix::process::{Resource, getrlimit, setrlimit};

use crate::{
    Client, PATIENCE, assert_unharmed, cost_of_an_answer, descriptors, limit, processor_time, resident, slowest_answer,
    start, wait_for_rest, wait_until,
};

/// The loop is edge-triggered: a listener left before `EAGAIN` is not reported again, and one that is tried on and on
/// burns a core.
#[test]
fn descriptors_run_out_and_come_back() {
    let Some(daemon) = start("") else { return };
    let mut old = Client::new(&daemon);
    old.ask(b"mn\r\n", "MN\r\n");
    limit(&daemon, Resource::Nofile, descriptors(&daemon) + 20);
    let mut others: Vec<Client> = (0..60).map(|_| Client::new(&daemon)).collect();
    wait_until("a refused descriptor", || old.stat("listen_disabled_num") > 0);
    let before = processor_time(&daemon);
    thread::sleep(Duration::from_secs(1));
    assert!(processor_time(&daemon) - before < 10, "it spins");
    assert!(slowest_answer(&mut old, 50) < PATIENCE);
    assert_eq!(old.stat("accepting_conns"), 0);
    assert!(daemon.errors().contains("Too many open connections"), "{}", daemon.errors());
    // Whoever waited is served when others have gone.
    let mut last = others.pop().unwrap();
    drop(others);
    last.ask(b"mn\r\n", "MN\r\n");
    Client::new(&daemon).ask(b"mn\r\n", "MN\r\n");
    assert_eq!(old.stat("accepting_conns"), 1);
}

#[test]
fn ten_thousand_idle_connections_cost_little() {
    let mut own = getrlimit(Resource::Nofile);
    own.current = own.maximum;
    setrlimit(Resource::Nofile, own).unwrap();
    if own.maximum.is_some_and(|most| most < 12_000) {
        return println!("left out: no process may have 12,000 descriptors here");
    }
    let count = IDLE;
    let Some(daemon) = start("-c 11000 -b 4096") else { return };
    let mut other = Client::new(&daemon);
    other.ask(b"mn\r\n", "MN\r\n");
    let (before, cost) = (resident(&daemon), cost_of_an_answer(&daemon, &mut other));
    let mut idle: Vec<Client> = Vec::new();
    for _ in 0..count {
        let mut client = Client::new(&daemon);
        client.push(b"mn\r\n");
        idle.push(client);
    }
    for client in &mut idle {
        client.until("MN\r\n");
    }
    assert_eq!(other.stat("curr_connections") as usize, count + 1 + LISTENERS);
    let each = resident(&daemon).saturating_sub(before) / count;
    println!("{each} bytes for each of {count} idle connections");
    assert!(each <= IDLE_BYTES_MAX, "{each} bytes each");
    let time = processor_time(&daemon);
    thread::sleep(Duration::from_secs(1));
    assert!(processor_time(&daemon) - time <= 2, "idle connections take time");
    assert_unharmed(&daemon, &mut other, cost);
    idle.into_iter().for_each(Client::reset);
    wait_until("the connections to go", || other.stat("curr_connections") as usize == 1 + LISTENERS);
}

/// As memcached's: fifty clients that owe themselves gigabytes. What they asked for is executed as they read it.
#[test]
fn pipelines_that_are_never_read_wait() {
    let Some(daemon) = start("-m 64") else { return };
    let mut other = Client::new(&daemon);
    other.set("large", 900_000);
    other.set("small", 12_000);
    let (before, cost) = (resident(&daemon), cost_of_an_answer(&daemon, &mut other));
    let requests =
        [b"get large\r\n".repeat(1000), b"get small small small small small small\r\n".repeat(1000)].concat();
    let mut readers: Vec<Client> = (0..50).map(|_| Client::new(&daemon).narrow()).collect();
    for reader in &mut readers {
        reader.push(&requests);
    }
    wait_for_rest(&daemon);
    assert_unharmed(&daemon, &mut other, cost);
    let grown = resident(&daemon).saturating_sub(before);
    println!("{} KiB for 50 clients that do not read", grown >> 10);
    assert!(grown < 50 * 700_000, "{grown} bytes more");
    // The item goes although it is being sent.
    assert_eq!(other.ask(b"delete large\r\n", "\r\n"), "DELETED\r\n");
    assert!(!other.has("large"));
    readers.into_iter().for_each(Client::reset);
    wait_until("the connections to go", || other.stat("curr_connections") as usize == 1 + LISTENERS);
    assert!(resident(&daemon) < before + (8 << 20), "memory is not given back");
}

/// What is to be sent goes out in pieces of any size: the client's window is tiny, it reads a little at a time, and over a
/// Unix socket the server's buffer is small too. Values are of all kinds: copied, in chunks, and sent from where they lie.
#[test]
fn replies_sent_in_many_pieces_are_whole() {
    let Some(plan) = Plan::new() else { return };
    let daemon = plan.options("-l 127.0.0.1 -p {port} -t 2 -s {folder}/socket -m 64").start();
    let mut other = Client::new(&daemon);
    let sizes = [1, 100, 5000, 11_999, 16_384, 40_000, 65_537, 300_000, 900_000];
    let values =
        sizes.map(|size| (0..size).map(|at: usize| b'a' + (at * 7 % 26 + at / 26 % 3) as u8).collect::<Vec<u8>>());
    for (size, value) in sizes.iter().zip(&values) {
        let request = [format!("set value{size} 0 0 {size}\r\n").as_bytes(), value, b"\r\n"].concat();
        assert_eq!(other.ask(&request, "\r\n"), "STORED\r\n");
    }
    let (mut requests, mut expected) = (String::new(), Vec::new());
    for round in 0..8 {
        for first in 0..sizes.len() {
            // A multiget of three, and a pipeline's worth of single ones.
            let chosen = [first, (first + round) % sizes.len(), (first * 2 + 1) % sizes.len()];
            requests.push_str("get");
            for which in chosen {
                requests.push_str(&format!(" value{}", sizes[which]));
                expected.extend(format!("VALUE value{0} 0 {0}\r\n", sizes[which]).bytes());
                expected.extend(&values[which]);
                expected.extend(b"\r\n");
            }
            requests.push_str("\r\nget nothing\r\n");
            expected.extend(b"END\r\nEND\r\n");
        }
    }
    let tcp = narrow_from_the_start(daemon.port);
    check_pieces(&mut other, tcp, &requests, &expected);
    let local = UnixStream::connect(daemon.folder.join("socket")).unwrap();
    check_pieces(&mut other, local, &requests, &expected);
}

/// Asks, waits until the server cannot send on, and reads in pieces.
#[track_caller]
fn check_pieces(other: &mut Client, mut stream: impl Read + Write, requests: &str, expected: &[u8]) {
    stream.write_all(requests.as_bytes()).unwrap();
    wait_until("a reply that is not taken", || other.ask(b"stats conns\r\n", "\r\nEND\r\n").contains("conn_mwrite"));
    let (mut at, mut buffer, mut piece) = (0, vec![0; 8192], 1);
    while at < expected.len() {
        piece = piece * 5 % 8191 + 1;
        let count = stream.read(&mut buffer[..piece]).unwrap();
        assert!(count > 0, "closed after {at} of {} bytes", expected.len());
        assert!(expected[at..].starts_with(&buffer[..count]), "other bytes at {at}");
        at += count;
    }
}

/// A connection whose window is as small as the system allows, before the server sends anything.
fn narrow_from_the_start(port: u16) -> TcpStream {
    let socket = rustix::net::socket(AddressFamily::INET, SocketType::STREAM, None).unwrap();
    rustix::net::sockopt::set_socket_recv_buffer_size(&socket, 1).unwrap();
    rustix::net::connect(&socket, &SocketAddrV4::new(Ipv4Addr::LOCALHOST, port)).unwrap();
    let stream = TcpStream::from(socket);
    stream.set_read_timeout(Some(TIMEOUT)).unwrap();
    stream
}

/// Slowloris: unfinished commands and values, a byte at a time.
#[test]
fn who_trickles_keeps_nobody_waiting() {
    let Some(daemon) = start("-m 64") else { return };
    let mut other = Client::new(&daemon);
    let (before, cost) = (resident(&daemon), cost_of_an_answer(&daemon, &mut other));
    let pieces =
        [&b"set slow 0 0 100\r\nx"[..], b"get slo", b"set slow 0 0 60000\r\nxxx", b"mg slow ", b"\x80\x01\x00\x04\x08"];
    let mut slow: Vec<Client> = (0..500).map(|_| Client::new(&daemon)).collect();
    for (client, piece) in slow.iter_mut().zip(pieces.iter().cycle()) {
        client.push(piece);
    }
    for _ in 0..3 {
        assert!(slowest_answer(&mut other, 50) < PATIENCE);
        for client in &mut slow {
            client.push(b"x");
        }
    }
    wait_for_rest(&daemon);
    assert_unharmed(&daemon, &mut other, cost);
    assert!(!other.has("slow"));
    // Of 60,000 bytes each, the chunks of a hundred values on their way in.
    let grown = resident(&daemon).saturating_sub(before);
    assert!(grown < 100 * 64 * 1024 + 500 * 4096, "{grown} bytes for 500 unfinished requests");
    slow.into_iter().for_each(Client::reset);
    wait_until("the connections to go", || other.stat("curr_connections") as usize == 1 + LISTENERS);
    assert_eq!(other.stat("curr_items"), 0);
}

#[test]
fn who_says_nothing_is_closed_when_that_is_wished() {
    let Some(daemon) = start("-o idle_timeout=1") else { return };
    // Half-open ones look the same from here: no byte, no end.
    let mut silent: Vec<Client> = (0..10).map(|_| Client::new(&daemon)).collect();
    let begun = Instant::now();
    for client in &mut silent {
        // Unlike a single read this goes on when the process was stopped for a while.
        assert_eq!(client.stream.read_to_end(&mut Vec::new()).unwrap(), 0);
    }
    assert!(begun.elapsed() < Duration::from_secs(10));
    assert_eq!(Client::new(&daemon).stat("idle_kicks"), 10);
}

#[test]
fn resets_leave_nothing_behind() {
    let Some(daemon) = start("-m 64") else { return };
    let mut other = Client::new(&daemon);
    other.set("large", 900_000);
    let (open, mut grown) = (descriptors(&daemon), 0);
    let requests = [
        b"set a 0 0 500000\r\nxxxx".to_vec(),
        b"get large\r\n".repeat(20),
        b"set b 0 0 10\r\nxxx".to_vec(),
        b"watch fetchers\r\n".to_vec(),
        b"lru_crawler metadump all\r\nget lar".to_vec(),
    ];
    for _ in 0..3 {
        let before = resident(&daemon);
        for number in 0..600 {
            let mut client = Client::new(&daemon).narrow();
            client.push(&requests[number % requests.len()]);
            client.reset();
        }
        wait_until("the connections to go", || other.stat("curr_connections") as usize == 1 + LISTENERS);
        grown = resident(&daemon).saturating_sub(before);
    }
    // Fewer, if one was open for a moment when they were counted.
    wait_until("the descriptors to be closed", || descriptors(&daemon) <= open);
    assert_eq!(other.stat("curr_items"), 1);
    assert_eq!(other.stat("log_watchers"), 0);
    assert!(grown < 2 << 20, "the third round took {grown} bytes");
}

const IDLE: usize = 10_000;
/// memcached 1.6.45 takes 0.52 KiB; see the benchmark `idle` for both.
const IDLE_BYTES_MAX: usize = 1536;
/// `curr_connections` counts listening sockets but for one, as memcached does.
const LISTENERS: usize = 0;

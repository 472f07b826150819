//! Whoever takes something from the server and stops: dumps, watchers, the log, and the memory of large values.

use std::io::{Read, Write};
use std::process::Stdio;
use std::thread;
use std::time::Duration;

use protocol_tests::daemon::{Daemon, Plan};

use crate::{
    Client, PATIENCE, assert_unharmed, cost_of_an_answer, resident, set, slowest_answer, start, wait_for_rest,
    wait_until,
};

/// memcached once stood still, or read memory that was gone, when a dump's client stopped reading or went away.
#[test]
fn a_dump_that_is_not_read_waits_alone() {
    let Some(daemon) = start("-m 128") else { return };
    let mut other = Client::new(&daemon);
    fill(&mut other, "key", 100_000, 10);
    let (before, cost) = (resident(&daemon), cost_of_an_answer(&daemon, &mut other));
    let dumps = [&b"lru_crawler metadump all\r\n"[..], b"lru_crawler mgdump all\r\n"];
    let mut clients: Vec<Client> = (0..20).map(|_| Client::new(&daemon).narrow()).collect();
    clients.iter_mut().zip(dumps.iter().cycle()).for_each(|(client, dump)| assert_eq!(client.push(dump), dump.len()));
    assert!(slowest_answer(&mut other, 100) < PATIENCE);
    assert_eq!(other.set("while", 10), "STORED\r\n");
    // A dump that nobody reads takes no time.
    wait_for_rest(&daemon);
    assert_unharmed(&daemon, &mut other, cost);
    assert!(resident(&daemon) < before + 20 * 300_000, "dumps that nobody reads take memory");
    clients.into_iter().for_each(Client::reset);
    wait_until("the dumps to go", || other.stat("curr_connections") == 1);
}

/// Watchers were freed while they were written to; and one that does not read must not hold others up.
#[test]
fn watchers_that_do_not_read_lose_lines() {
    let Some(daemon) = start("-m 64") else { return };
    let mut other = Client::new(&daemon);
    let (before, cost) = (resident(&daemon), cost_of_an_answer(&daemon, &mut other));
    let mut watchers: Vec<Client> = (0..20).map(|_| Client::new(&daemon).narrow()).collect();
    for watcher in &mut watchers {
        begin(watcher, b"watch fetchers mutations connevents\r\n");
    }
    for round in 0..100 {
        fill(&mut other, "key", 200, 10);
        other.ask(&[b"get key1 key2 key3\r\n".repeat(200), b"mn\r\n".to_vec()].concat(), "MN\r\n");
        // They go away under load, and others come.
        if round % 10 == 9 {
            watchers.remove(0).reset();
            wait_until("a place", || other.stat("log_watchers") < 20);
            let mut watcher = Client::new(&daemon).narrow();
            begin(&mut watcher, b"watch fetchers\r\n");
            watchers.push(watcher);
        }
    }
    assert!(other.stat("log_watcher_skipped") > 0);
    assert_unharmed(&daemon, &mut other, cost);
    let grown = resident(&daemon).saturating_sub(before);
    assert!(grown < 20 * 1024 * 1024, "{grown} bytes for 20 watchers");
    watchers.into_iter().for_each(Client::reset);
    wait_until("the watchers to go", || other.stat("log_watchers") == 0);
}

/// Begins to watch. Lines may follow at once.
fn begin(watcher: &mut Client, request: &[u8]) {
    let mut answer = [0; 4];
    watcher.push(request);
    watcher.stream.read_exact(&mut answer).unwrap();
    assert_eq!(&answer, b"OK\r\n");
}

/// With `-vv` each request is a line. When the pipe behind standard error was full, the workers waited for whoever should
/// read it, and all clients for the workers.
#[test]
fn a_log_that_nobody_reads_loses_lines() {
    let Some(mut daemon) = logging_to(Stdio::piped()) else { return };
    let mut log = daemon.1.take().unwrap();
    let daemon = daemon.0;
    let mut client = Client::new(&daemon);
    for _ in 0..50 {
        client.ask(&[b"get some-key-of-some-length\r\n".repeat(100), b"mn\r\n".to_vec()].concat(), "MN\r\n");
    }
    assert!(slowest_answer(&mut client, 50) < PATIENCE);
    // Who reads again is told what is missing.
    let mut text = Vec::new();
    let mut buffer = [0; 65536];
    while !String::from_utf8_lossy(&text).contains(" lines of the log were left out, nobody took them\n") {
        client.ask(b"mn\r\n", "MN\r\n");
        let count = log.read(&mut buffer).unwrap();
        assert!(count > 0);
        text.extend_from_slice(&buffer[..count]);
    }
    daemon.signal("TERM");
}

#[test]
fn a_log_that_is_closed_or_full_ends_nothing() {
    let Some((daemon, log)) = logging_to(Stdio::piped()) else { return };
    drop(log);
    let mut client = Client::new(&daemon);
    client.ask(&[b"get key\r\n".repeat(100), b"mn\r\n".to_vec()].concat(), "MN\r\n");
    let full = std::fs::OpenOptions::new().write(true).open("/dev/full").unwrap();
    let Some((daemon, _)) = logging_to(full.into()) else { return };
    Client::new(&daemon).ask(&[b"get key\r\n".repeat(100), b"mn\r\n".to_vec()].concat(), "MN\r\n");
}

/// Sixty-four clients that each began a value of a megabyte and stopped held all of `-m 64`: whatever was stored went in
/// vain to make room, and large values were refused until they hung up.
#[test]
fn values_that_are_never_ended_keep_no_memory_from_others() {
    let Some(daemon) = start("-m 64") else { return };
    let mut other = Client::new(&daemon);
    fill(&mut other, "kept", 2000, 100);
    let mut stalled: Vec<Client> = (0..100).map(|_| Client::new(&daemon)).collect();
    for (number, client) in stalled.iter_mut().enumerate() {
        client.push(&set(&format!("stalled{number}"), 1_000_000)[..5000]);
    }
    other.ask(b"mn\r\n", "MN\r\n");
    fill(&mut other, "small", 2000, 100);
    let kept = (0..2000).filter(|number| other.has(&format!("small{number}"))).count();
    assert!(kept > 1900, "{kept} of 2000 small values are there");
    // At the latest when one was refused, those who do not move make room.
    wait_until("a large value to be stored", || other.set("large", 1_000_000) == "STORED\r\n");
    assert!((0..20).all(|number| other.set(&format!("large{number}"), 1_000_000) == "STORED\r\n"));
    assert!(other.has("large19") && !other.has("stalled7"));
    wait_until("the line", || {
        daemon.errors().contains("connections that held memory of large values and did not move")
    });
}

/// A value that is being sent stays in memory until it is sent: sixty clients that ask for one each and do not read would
/// hold what others need.
#[test]
fn values_that_are_never_read_keep_no_memory_from_others() {
    let Some(daemon) = start("-m 64") else { return };
    let mut other = Client::new(&daemon);
    let mut readers = Vec::new();
    for number in 0..80 {
        let key = format!("read{number}");
        assert_eq!(other.set(&key, 1_000_000), "STORED\r\n", "{number}");
        let mut reader = Client::new(&daemon).narrow();
        reader.push(format!("get {key}\r\n").repeat(8).as_bytes());
        readers.push(reader);
        if number >= 50 {
            break;
        }
    }
    thread::sleep(Duration::from_millis(100));
    let mut refused = 0;
    wait_until("large values to be stored", || {
        let stored = (0..30).filter(|number| other.set(&format!("new{number}"), 1_000_000) == "STORED\r\n").count();
        refused += 30 - stored;
        stored == 30
    });
    println!("{refused} sets refused meanwhile");
    assert!(other.has("new29"));
    assert!(resident(&daemon) < (64 << 20) / 10 * 11 + (16 << 20), "{} bytes", resident(&daemon));
}

/// Nobody is closed who moves, or whose memory nobody needs.
#[test]
fn who_holds_memory_that_nobody_needs_may_wait() {
    let Some(daemon) = start("-m 64") else { return };
    let mut slow = Client::new(&daemon);
    let request = set("slow", 500_000);
    slow.push(&request[..1000]);
    let mut other = Client::new(&daemon);
    other.set("large", 900_000);
    let mut reader = Client::new(&daemon).narrow();
    reader.push(b"get large\r\n");
    thread::sleep(Duration::from_millis(2500));
    slow.stream.write_all(&request[1000..]).unwrap();
    assert_eq!(slow.until("\r\n"), "STORED\r\n");
    assert!(reader.until("END\r\n").starts_with("VALUE large"));
}

/// Stores `count` values in pipelines.
fn fill(client: &mut Client, prefix: &str, count: usize, bytes: usize) {
    for first in (0..count).step_by(500) {
        let mut requests = Vec::new();
        for number in first..(first + 500).min(count) {
            let value = "v".repeat(bytes);
            requests.extend(format!("set {prefix}{number} 0 0 {bytes} noreply\r\n{value}\r\n").bytes());
        }
        requests.extend(b"mn\r\n");
        client.ask(&requests, "MN\r\n");
    }
}

/// A daemon that logs each request to a pipe or file of ours.
fn logging_to(log: Stdio) -> Option<(Daemon, Option<std::process::ChildStderr>)> {
    let mut plan = Plan::new()?.options("-l 127.0.0.1 -p {port} -t 2 -vv");
    let mut child = plan.command.stderr(log).spawn().unwrap();
    let log = child.stderr.take();
    let daemon = Daemon::of(child, plan.port, plan.folder);
    wait_until("the port", || std::net::TcpStream::connect(("127.0.0.1", daemon.port)).is_ok());
    Some((daemon, log))
}

//! Signals, ends and beginnings under load, and a process that stands still for a while.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpStream};
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use protocol_tests::daemon::{Plan, TIMEOUT};

use crate::{Client, PATIENCE, set, slowest_answer, start, wait_until};

/// Lost wake-ups once kept memcached from ending, and idle timeouts made it slow. No reply is cut.
#[test]
fn signals_under_load_end_it_at_once() {
    for signal in ["TERM", "USR1", "INT", "TERM", "USR1", "TERM"] {
        let Some(mut daemon) = start("-m 64 -o idle_timeout=60") else { return };
        let mut first = Client::new(&daemon);
        first.set("key", 1000);
        let _idle: Vec<Client> = (0..50).map(|_| Client::new(&daemon)).collect();
        let port = daemon.port;
        let (flooded, answered) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
        let flood: Vec<_> = (0..2)
            .map(|_| {
                let flooded = Arc::clone(&flooded);
                thread::spawn(move || ask_until_closed(port, &flooded))
            })
            .collect();
        let patient: Vec<_> = (0..4)
            .map(|_| {
                let answered = Arc::clone(&answered);
                thread::spawn(move || ask_and_wait_until_closed(port, &answered))
            })
            .collect();
        wait_until("load", || answered.load(Ordering::Relaxed).min(flooded.load(Ordering::Relaxed)) > 1000);
        let begun = Instant::now();
        daemon.signal(signal);
        assert_eq!(daemon.wait(), Some(0), "{signal}: {}", daemon.errors());
        assert!(begun.elapsed() < PATIENCE, "{signal}: {:?}", begun.elapsed());
        flood.into_iter().chain(patient).for_each(|client| client.join().unwrap());
    }
}

/// Asks by pipelines until the server is gone. What came consists of whole replies.
fn ask_until_closed(port: u16, answered: &AtomicUsize) {
    let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).unwrap();
    let mut reader = stream.try_clone().unwrap();
    let writer = thread::spawn(move || while stream.write_all(&b"get key\r\n".repeat(50)).is_ok() {});
    let (mut received, mut buffer) = (Vec::new(), vec![0; 256 * 1024]);
    let reply = reply();
    // Requests are on their way at the end, so the system answers them by a reset, which takes the last of what was sent with
    // it. (Whether it does cannot be told here: the writer may be the one who sees the reset, and then the reader sees an
    // orderly end.) Whether replies are cut, those show who wait for theirs.
    while let Ok(count @ 1..) = reader.read(&mut buffer) {
        received.extend_from_slice(&buffer[..count]);
        let whole = received.len() / reply.len();
        answered.fetch_add(whole, Ordering::Relaxed);
        assert!(received.chunks_exact(reply.len()).all(|other| other == reply), "a reply is damaged");
        received.drain(..whole * reply.len());
    }
    assert!(reply.starts_with(&received), "the last reply is damaged");
    drop(reader);
    writer.join().unwrap();
}

/// Asks by pipelines of fifty, and for more when all replies are there, until the server is gone. However that ends, by a
/// reset too, no reply is cut: all that was sent was read by the server, or nothing of it.
fn ask_and_wait_until_closed(port: u16, answered: &AtomicUsize) {
    let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).unwrap();
    stream.set_nodelay(true).unwrap();
    let mut buffer = vec![0; 256 * 1024];
    let reply = reply();
    loop {
        let mut received = Vec::new();
        let mut is_open = stream.write_all(&b"get key\r\n".repeat(50)).is_ok();
        while is_open && received.len() < 50 * reply.len() {
            match stream.read(&mut buffer) {
                Ok(count) if count > 0 => received.extend_from_slice(&buffer[..count]),
                _ => is_open = false,
            }
        }
        assert!(received.chunks(reply.len()).all(|other| other == reply), "a reply was cut, or is damaged");
        // What was received before the signal is answered.
        let count = received.len() / reply.len();
        assert!(count == 0 || count == 50, "{count} of 50 requests that came together are answered");
        answered.fetch_add(count, Ordering::Relaxed);
        if !is_open {
            return;
        }
    }
}

/// What `get key` is answered by.
fn reply() -> Vec<u8> {
    [b"VALUE key 0 1000\r\n".to_vec(), vec![b'v'; 1000], b"\r\nEND\r\n".to_vec()].concat()
}

/// The port and the file of the socket are there again at once, and the cache is empty. Clients ask all the while: they
/// see resets and misses, and no value of an earlier life.
#[test]
fn a_killed_server_is_replaced_at_once() {
    let Some(plan) = Plan::new() else { return };
    let folder = plan.folder.clone();
    let socket = folder.join("socket");
    // The folder of the socket outlives the daemons.
    let keeper = plan;
    let port = keeper.port;
    let is_over = Arc::new(AtomicBool::new(false));
    let clients: Vec<_> = (0..3)
        .map(|own| {
            let is_over = Arc::clone(&is_over);
            thread::spawn(move || ask_over_lives(port, own, &is_over))
        })
        .collect();
    let mut times = Vec::new();
    for _ in 0..30 {
        let mut next = Plan::new().unwrap();
        next.port = keeper.port;
        let options = format!("-l 127.0.0.1 -p {{port}} -t 2 -s {}", socket.display());
        let begun = Instant::now();
        let mut daemon = next.options(&options).start();
        let mut client = Client::new(&daemon);
        client.ask(b"mn\r\n", "MN\r\n");
        times.push(begun.elapsed());
        assert!(!client.has("key"));
        assert_eq!(client.set("key", 100), "STORED\r\n");
        let mut local = UnixStream::connect(&socket).unwrap();
        local.write_all(b"mn\r\n").unwrap();
        let mut answer = [0; 4];
        local.read_exact(&mut answer).unwrap();
        assert_eq!(&answer, b"MN\r\n");
        wait_until("load", || client.stat("cmd_set") > 20);
        client.push(&[set("other", 1000), b"get key\r\n".repeat(1000)].concat());
        daemon.signal("KILL");
        assert_eq!(daemon.wait(), None);
    }
    is_over.store(true, Ordering::SeqCst);
    let answered: usize = clients.into_iter().map(|client| client.join().unwrap()).sum();
    times.sort();
    println!("from the start to the first answer: half within {:?}, all {:?}", times[times.len() / 2], times.last());
    assert!(answered > 30, "{answered} values read over thirty lives");
    std::fs::remove_dir_all(folder).unwrap();
}

/// On each connection, which lasts as long as the server, finds nothing at first and then what it stored itself, until it is
/// over; how many values were read.
fn ask_over_lives(port: u16, own: usize, is_over: &AtomicBool) -> usize {
    let mut answered = 0;
    while !is_over.load(Ordering::SeqCst) {
        let Ok(stream) = TcpStream::connect((Ipv4Addr::LOCALHOST, port)) else {
            thread::sleep(Duration::from_millis(1));
            continue;
        };
        stream.set_read_timeout(Some(TIMEOUT)).unwrap();
        let mut client = Client { stream };
        let mut expected = "END\r\nMN\r\n".to_owned();
        while client.stream.write_all(format!("get own{own}\r\nmn\r\n").as_bytes()).is_ok() {
            let Ok(answer) = client.try_until("MN\r\n") else { break };
            assert_eq!(answer, expected);
            answered += 1;
            let set = format!("set own{own} 0 0 6 noreply\r\n{answered:06}\r\n");
            expected = format!("VALUE own{own} 0 6\r\n{answered:06}\r\nEND\r\nMN\r\n");
            if client.stream.write_all(set.as_bytes()).is_err() {
                break;
            }
        }
    }
    answered
}

/// As a suspended machine: what expired meanwhile is gone, and nobody is closed.
#[test]
fn who_stood_still_goes_on() {
    let Some(daemon) = start("-o idle_timeout=60") else { return };
    let mut client = Client::new(&daemon);
    assert_eq!(client.ask(b"set short 0 1 1\r\nx\r\n", "\r\n"), "STORED\r\n");
    assert_eq!(client.set("long", 10), "STORED\r\n");
    daemon.signal("STOP");
    client.push(b"get long\r\n");
    thread::sleep(Duration::from_millis(2300));
    daemon.signal("CONT");
    assert!(client.until("END\r\n").starts_with("VALUE long"));
    assert!(!client.has("short"));
    assert!(slowest_answer(&mut client, 50) < PATIENCE);
    assert!(daemon.errors().lines().count() < 5, "{}", daemon.errors());
}

/// A page mover waited for items that clients held, and burnt a core, or for ever.
#[test]
fn pages_move_past_values_that_are_held() {
    let Some(daemon) = start("-m 64 -o slab_chunk_max=16,no_slab_automove") else { return };
    let mut client = Client::new(&daemon);
    for number in 0..40 {
        client.set(&format!("large{number}"), 500_000);
        client.set(&format!("small{number}"), 5000);
    }
    let mut readers: Vec<Client> = (0..10).map(|_| Client::new(&daemon).narrow()).collect();
    for (number, reader) in readers.iter_mut().enumerate() {
        reader.push(format!("get large{number}\r\n").repeat(5).as_bytes());
        reader.push(&set("unfinished", 500_000)[..3000]);
    }
    for class in [38, 39, 20, 25] {
        client.ask(format!("slabs reassign {class} 5\r\n").as_bytes(), "\r\n");
        client.ask(format!("delete large{class}\r\n").as_bytes(), "\r\n");
    }
    wait_until("the mover to end", || client.stat("slab_reassign_running") == 0);
    let time = crate::processor_time(&daemon);
    thread::sleep(Duration::from_secs(1));
    assert!(crate::processor_time(&daemon) - time < 10, "the page mover burns a core");
    assert!(slowest_answer(&mut client, 50) < PATIENCE);
}

/// An error after the lookup once dropped the item's count twice, without the lock.
#[test]
fn refused_metas_beside_stores_do_no_harm() {
    let Some(daemon) = start("-m 64") else { return };
    let port = daemon.port;
    let long = format!("mg k v O{}\r\n", "o".repeat(40)).repeat(50);
    let stores = "ms k 3\r\nabc\r\nmd k\r\nms k 3\r\nabc\r\n".repeat(20);
    let clients: Vec<_> = [long.clone(), stores.clone(), long, stores]
        .into_iter()
        .map(|requests| {
            thread::spawn(move || {
                let stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).unwrap();
                let mut client = Client { stream };
                for _ in 0..200 {
                    client.ask(format!("{requests}mn\r\n").as_bytes(), "MN\r\n");
                }
            })
        })
        .collect();
    clients.into_iter().for_each(|client| client.join().unwrap());
    let mut client = Client::new(&daemon);
    assert_eq!(client.ask(b"ms k 3\r\nabc\r\nmg k v\r\n", "abc\r\n"), "HD\r\nVA 3\r\nabc\r\n");
}

/// The peer of a Unix socket has no name, and the server's may be as long as it gets; `stats conns` read beyond it.
#[test]
fn long_names_of_unix_sockets_are_shown_whole() {
    let Some(plan) = Plan::new() else { return };
    let padding = "s".repeat(107 - plan.folder.display().to_string().len() - 1);
    let path = plan.folder.join(padding);
    assert_eq!(path.as_os_str().len(), 107);
    let _daemon = plan.options(&format!("-l 127.0.0.1 -p {{port}} -s {}", path.display())).start();
    let mut local = UnixStream::connect(&path).unwrap();
    local.write_all(b"stats conns\r\nquit\r\n").unwrap();
    let mut answer = String::new();
    local.read_to_string(&mut answer).unwrap();
    assert!(answer.contains(&format!("unix:{}\r\n", path.display())), "{answer}");
}

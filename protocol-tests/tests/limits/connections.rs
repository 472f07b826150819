//! How many connections there may be, and for how long.

use std::io::{ErrorKind, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream, UdpSocket};
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use protocol_tests::daemon::{Plan, signal};
use protocol_tests::server::is_root;

use crate::client::{Client, start, wait_until};

/// Without `maxconns_fast` a connection beyond `-c` waits until another one closes.
#[test]
fn connections_beyond_the_limit_wait() {
    let server = start("-t 2 -c 60 -o no_maxconns_fast");
    let mut clients = Vec::new();
    // Descriptors of the process' own count as well, so the limit is met before 60 connections.
    let mut waiting = loop {
        assert!(clients.len() < 60, "60 connections are served");
        let mut client = Client::of(&server);
        client.send("mn\r\n");
        let deadline = Instant::now() + Duration::from_secs(2);
        while client.0.received.is_empty() && Instant::now() < deadline {
            client.0.drain();
        }
        if client.0.received.is_empty() {
            break client;
        }
        client.expect("MN\r\n");
        clients.push(client);
    };
    assert!(clients.len() > 30, "only {} connections are served", clients.len());
    let mut observer = clients.pop().unwrap();
    assert_eq!(observer.stat("accepting_conns"), 0);
    assert!(observer.stat("listen_disabled_num") >= 1);
    clients.pop();
    waiting.expect("MN\r\n");
}

/// The queue of the kernel holds `-b` connections that were not accepted yet, and one; the next one is not let in.
#[test]
fn connections_beyond_the_backlog() {
    let server = start("-b 3");
    signal(server.id(), "STOP");
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, server.port));
    let connect = || TcpStream::connect_timeout(&address, Duration::from_millis(300));
    let mut queued: Vec<TcpStream> = (0..4).map(|_| connect().unwrap()).collect();
    assert_eq!(connect().unwrap_err().kind(), ErrorKind::TimedOut);
    signal(server.id(), "CONT");
    for socket in &mut queued {
        socket.write_all(b"mn\r\n").unwrap();
        let mut reply = [0; 4];
        socket.read_exact(&mut reply).unwrap();
        assert_eq!(&reply, b"MN\r\n");
    }
}

/// Idle for longer than `idle_timeout` is closed; who asks for something, or watches, stays.
#[test]
fn idle_connections_are_closed() {
    let server = start("-o idle_timeout=2");
    let mut idle = Client::of(&server);
    let mut busy = Client::of(&server);
    let mut watcher = Client::of(&server);
    idle.ask("mn\r\n", "MN\r\n");
    watcher.ask("watch evictions\r\n", "OK\r\n");
    let since = Instant::now();
    while since.elapsed() < Duration::from_secs(1) {
        busy.ask("mn\r\n", "MN\r\n");
        idle.expect_silence();
    }
    let deadline = since + Duration::from_secs(8);
    while idle.0.drain() == protocol_tests::pump::Pumped::Done {
        assert!(Instant::now() < deadline, "it is still open");
        busy.ask("mn\r\n", "MN\r\n");
        std::thread::sleep(Duration::from_millis(100));
    }
    assert!(idle.0.received.is_empty());
    assert_eq!(busy.stat("idle_kicks"), 1);
    watcher.expect_silence();
}

/// A client that does not read is not read from: what waits for it is bounded, and nobody else waits.
#[test]
fn replies_nobody_takes() {
    let server = start("-t 1");
    let mut client = Client::of(&server);
    let value = [b'x'; 10_000];
    client.set("k", &value);
    let before = server.resident_bytes().unwrap();
    let mut lazy = TcpStream::connect((Ipv4Addr::LOCALHOST, server.port)).unwrap();
    lazy.set_nonblocking(true).unwrap();
    let request = format!("get k{}\r\n", " ".repeat(993));
    let pipeline = request.repeat(100).into_bytes();
    let (mut sent, mut since) = (0, Instant::now());
    // Until the server takes no more: the kernel's buffers are full then.
    while since.elapsed() < Duration::from_millis(500) {
        match lazy.write(&pipeline[sent % 1000..]) {
            Ok(count) => (sent, since) = (sent + count, Instant::now()),
            Err(error) if error.kind() == ErrorKind::WouldBlock => std::thread::sleep(Duration::from_millis(5)),
            Err(error) => panic!("{error}"),
        }
        assert!(sent < 64 << 20, "the server takes everything");
    }
    let grown = server.resident_bytes().unwrap().saturating_sub(before);
    assert!(grown < 4 << 20, "{grown} bytes");
    client.ask("mn\r\n", "MN\r\n");
    // All that was asked is answered once it is read.
    lazy.set_nonblocking(false).unwrap();
    lazy.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    let answer = [&b"VALUE k 0 10000\r\n"[..], &value, b"\r\nEND\r\n"].concat();
    let mut expected = answer.len() * (sent / 1000);
    let mut buffer = vec![0; 1 << 20];
    while expected > 0 {
        let count = lazy.read(&mut buffer).unwrap();
        assert!(count > 0 && count <= expected);
        expected -= count;
    }
}

/// A reply over UDP comes in datagrams of 1400 bytes, at most 2 MiB and what one step adds; a request is one datagram.
#[test]
fn datagrams() {
    let Some(plan) = Plan::new() else { return };
    let root = if is_root() { "-u root " } else { "" };
    let daemon = plan.options(&format!("{root}-l 127.0.0.1 -p {{port}} -U {{port}}")).start();
    let ask = |request: &str| {
        let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        socket.connect((Ipv4Addr::LOCALHOST, daemon.port)).unwrap();
        socket.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
        let datagram = [b"\0\x01\0\0\0\x01\0\0", request.as_bytes()].concat();
        socket.send(&datagram).unwrap();
        let mut sizes = Vec::new();
        let mut buffer = [0; 2000];
        loop {
            let length = socket.recv(&mut buffer).unwrap();
            sizes.push(length);
            if sizes.len() == usize::from(u16::from_be_bytes([buffer[4], buffer[5]])) {
                return sizes;
            }
        }
    };
    let set = |bytes: usize| {
        let value = "x".repeat(bytes);
        assert_eq!(daemon.ask(&format!("set k 0 0 {bytes}\r\n{value}\r\n")), "STORED\r\n");
    };
    let around = "VALUE k 0 1368\r\n\r\nEND\r\n".len();
    set(1392 - around);
    assert_eq!(ask("get k\r\n"), [1400]);
    set(1393 - around);
    assert_eq!(ask("get k\r\n"), [1400, 9]);
    // A datagram that says it is one of two is no request.
    let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    socket.connect((Ipv4Addr::LOCALHOST, daemon.port)).unwrap();
    socket.set_read_timeout(Some(Duration::from_millis(100))).unwrap();
    socket.send(b"\0\x01\0\0\0\x02\0\0mn\r\n").unwrap();
    assert_eq!(socket.recv(&mut [0; 100]).unwrap_err().kind(), ErrorKind::WouldBlock);
}

/// More clients than places log in at once with a hash: those beyond are refused, and the others get their answer.
#[test]
fn passwords_that_wait() {
    let Some(plan) = Plan::new() else { return };
    let root = if is_root() { "-u root " } else { "" };
    let hash = "$argon2id$v=19$m=64,t=1,p=1$c29tZXNhbHQ$4mqQiyq0VpIzuZmp+8eSF3YJ7Av58TkEJ4LIdOVsAc4";
    // Costly ones: the queue must not empty faster than it fills.
    let costly = hash.replace("m=64,t=1", "m=65536,t=4");
    let options = format!("{root}-t 2 -c 1024 -l 127.0.0.1 -p {{port}} -Y {{folder}}/users");
    let daemon = plan.file("users", &format!("u:{costly}\n")).options(&options).start();
    let clients: Vec<TcpStream> = (0..270)
        .map(|number| {
            let mut socket = TcpStream::connect((Ipv4Addr::LOCALHOST, daemon.port)).unwrap();
            let words = format!("u guess{number}");
            socket.write_all(format!("set x 0 0 {}\r\n{words}\r\n", words.len()).as_bytes()).unwrap();
            socket.set_nonblocking(true).unwrap();
            socket
        })
        .collect();
    let refused = |socket: &TcpStream| {
        let mut reply = [0; 100];
        match (&mut &*socket).read(&mut reply) {
            Ok(count) => {
                assert_eq!(&reply[..count], b"CLIENT_ERROR authentication failure\r\n");
                true
            }
            Err(error) => {
                assert_eq!(error.kind(), ErrorKind::WouldBlock);
                false
            }
        }
    };
    let mut answered = 0;
    wait_until("refusals", || {
        answered += clients.iter().filter(|socket| refused(socket)).count();
        // One is being verified, 256 wait.
        answered >= 270 - 257
    });
    assert!(answered < 100, "{answered} answers: nobody waits");
}

/// A head of 8 KiB, and 64 headers, are the most.
#[test]
fn heads_of_the_admin_listener() {
    let Some(plan) = Plan::new() else { return };
    let root = if is_root() { "-u root " } else { "" };
    let options = format!("{root}-l 127.0.0.1 -p {{port}} -o admin_listen=unix:{{folder}}/admin");
    let daemon = plan.options(&options).start();
    let status = |head: &str| {
        let mut socket = UnixStream::connect(daemon.folder.join("admin")).unwrap();
        socket.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        socket.write_all(head.as_bytes()).unwrap();
        let mut answer = String::new();
        socket.read_to_string(&mut answer).unwrap();
        answer.split(' ').nth(1).unwrap().to_owned()
    };
    let begin = "GET /healthz HTTP/1.1\r\nHost: x\r\n";
    let of_bytes = |bytes: usize| format!("{begin}X: {}\r\n\r\n", "x".repeat(bytes - begin.len() - 7));
    assert_eq!(of_bytes(8192).len(), 8192);
    assert_eq!(status(&of_bytes(8192)), "200");
    assert_eq!(status(&of_bytes(8193)), "431");
    let of_headers = |count: usize| format!("{begin}{}\r\n", "X: y\r\n".repeat(count - 1));
    assert_eq!(status(&of_headers(64)), "200");
    assert_eq!(status(&of_headers(65)), "431");
}

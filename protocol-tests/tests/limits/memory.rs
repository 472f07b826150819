//! Memory: `-m`, and what may be used above it.

use std::io::{ErrorKind, Write};
use std::net::{Ipv4Addr, TcpStream};

use crate::client::{Client, start_own, wait_until};

/// `-m` full of small values, then of large ones: what the process uses is `-m` and a little.
#[test]
fn memory_of_items() {
    let Some(server) = start_own("-t 1 -m 16") else { return };
    let before = server.resident_bytes().unwrap();
    let mut client = Client::of(&server);
    for bytes in [100, 3000, 200_000] {
        let sets = 24 * MEBIBYTE / (bytes + 60);
        let value = "x".repeat(bytes);
        for first in (0..sets).step_by(500) {
            let keys = first..(first + 500).min(sets);
            let requests: String =
                keys.map(|key| format!("set {bytes}-{key} 0 0 {bytes} noreply\r\n{value}\r\n")).collect();
            client.ask(requests + "mn\r\n", "MN\r\n");
        }
        let grown = server.resident_bytes().unwrap() - before;
        assert!(client.stat("bytes") > 12 * MEBIBYTE as u64);
        assert!(grown <= (16 + 6) * MEBIBYTE, "{grown} bytes with values of {bytes}");
    }
    assert!(client.stat("evictions") > 0);
    assert_eq!(client.stat("store_no_memory"), 0);
}

/// Values on their way in and values on their way out count as items, whoever leaves them there.
#[test]
fn memory_of_values_on_their_way() {
    let Some(server) = start_own("-t 1 -m 32") else { return };
    let mut client = Client::of(&server);
    let value = vec![b'x'; 900_000];
    let mut held = Vec::new();
    let mut leave = |request: &[u8]| {
        let mut socket = TcpStream::connect((Ipv4Addr::LOCALHOST, server.port)).unwrap();
        socket.set_nonblocking(true).unwrap();
        match socket.write(request) {
            Ok(_) => {}
            Err(error) => assert_eq!(error.kind(), ErrorKind::WouldBlock),
        }
        held.push(socket);
    };
    let header = b"set half 0 0 900000\r\n".to_vec();
    for number in 0..40 {
        // Half a value that never ends, and a value that is read by nobody.
        leave(&[&header[..], &value[..450_000]].concat());
        let set =
            [format!("set k{number} 0 0 {} noreply\r\n", value.len()).as_bytes(), &value[..], b"\r\nmn\r\n"].concat();
        client.send(&set);
        client.until(b"MN\r\n");
        leave(format!("get k{number}\r\n").repeat(20).as_bytes());
    }
    assert!(client.stat("store_no_memory") > 0);
    let resident = server.resident_bytes().unwrap();
    assert!(resident <= (32 + 16) * MEBIBYTE, "{resident} bytes");
    // Small items go on, and all is as before when they are gone.
    client.set("small", b"x");
    drop(held);
    wait_until("the others to be gone", || client.stat("curr_connections") <= 2);
    client.set("large", &value);
}

const MEBIBYTE: usize = 1024 * 1024;

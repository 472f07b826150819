//! What one request may be.

use protocol_tests::pump::Pumped;

use crate::client::{Client, start, start_own, wait_until};

/// The line end makes it 8 MiB; one byte more and the line is unfinished for too long.
#[test]
fn the_longest_line_of_a_get() {
    let Some(server) = start_own("") else { return };
    let line = |bytes: usize| {
        let mut line = b"get".to_vec();
        while line.len() + 1 + 250 <= bytes {
            line.push(b' ');
            line.extend([b'k'; 250]);
        }
        line.resize(bytes, b' ');
        line
    };
    let mut client = Client::of(&server);
    client.send(line(8 * MEBIBYTE - 1));
    client.expect_silence();
    client.ask("\r\n", "END\r\n");
    // The server closes with input left, so the last bytes may not get through.
    let mut client = Client::of(&server);
    let _ = client.0.send(&line(8 * MEBIBYTE + 1)).unwrap();
    client.expect_close();
}

/// The story: a hundred connections that never ended their line held 770 MB in a cache of `-m 64`.
#[test]
fn long_lines_of_all_connections_together() {
    let Some(server) = start_own("-t 1") else { return };
    let before = server.resident_bytes().unwrap();
    let mut line = b"get ".to_vec();
    line.resize(8 * MEBIBYTE - 100_000, b' ');
    // Each is taken in whole, or the server closes.
    let mut clients: Vec<Client> = (0..30).map(|_| Client::of(&server)).collect();
    for client in &mut clients {
        let _ = client.0.send(&line).unwrap();
    }
    let mut observer = Client::of(&server);
    wait_until("closed connections", || observer.stat("read_buf_oom") >= 22);
    let grown = server.resident_bytes().unwrap() - before;
    // What the allocator has not given back yet comes on top; without a limit it was 240 MB.
    assert!(grown <= 100 * MEBIBYTE, "{grown} bytes");
    // Those that got in are served, and their memory serves others then.
    let is_served = |client: &mut Client| {
        let _ = client.0.send(b"a\r\n").unwrap();
        client.0.wait().unwrap() == Pumped::Done
    };
    let served = clients.iter_mut().filter_map(|client| is_served(client).then_some(&*client.0.received));
    let served: Vec<&[u8]> = served.collect();
    assert!((6..=8).contains(&served.len()) && served.iter().all(|reply| *reply == b"END\r\n"), "{served:?}");
    assert_eq!(observer.stat("read_buf_oom"), 30 - served.len() as u64);
    let mut client = Client::of(&server);
    client.send(&line);
    client.ask("a\r\n", "END\r\n");
}

/// One worker's share of `-R` is what it answers before others have a turn: a pipeline that asks for more yields.
#[test]
fn requests_in_a_row() {
    let server = start("-t 1 -R 5");
    let mut observer = Client::of(&server);
    let before = observer.stat("conn_yields");
    let mut client = Client::of(&server);
    // memcached yields behind the fifth as well, whether there is a sixth or not.
    client.ask("get a\r\n".repeat(4), "END\r\n".repeat(4));
    assert_eq!(observer.stat("conn_yields"), before);
    client.ask("get a\r\n".repeat(6), "END\r\n".repeat(6));
    assert_eq!(observer.stat("conn_yields"), before + 1);
}

/// Header, extras and key of a packet fit 16 KiB; a key that says it is longer ends the connection without an answer.
#[test]
fn the_longest_packet_head() {
    let server = start("");
    let packet = |key_bytes: u16| {
        let mut packet = vec![0; 24 + usize::from(key_bytes)];
        packet[0] = 0x80;
        packet[2..4].copy_from_slice(&key_bytes.to_be_bytes());
        packet[8..12].copy_from_slice(&u32::from(key_bytes).to_be_bytes());
        packet
    };
    let mut client = Client::of(&server);
    client.send(packet(16_384 - 24));
    // A key that is too long, told so.
    assert_eq!(client.until(b"Invalid arguments")[6..8], [0, 4]);
    let mut client = Client::of(&server);
    let _ = client.0.send(&packet(16_384 - 23)).unwrap();
    client.expect_close();
}

const MEBIBYTE: usize = 1024 * 1024;

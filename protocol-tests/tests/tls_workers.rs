//! TLS and the threads: sessions are dealt to all workers, and a worker shakes few hands in a turn of its loop. Both are
//! read off the count of turns that each worker's loop has made, so no time is measured.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpStream};

use protocol_tests::credentials::Authority;
use protocol_tests::daemon::{Daemon, Plan, TIMEOUT};
use protocol_tests::tls::{Encrypted, Trust};

/// A daemon that speaks TLS alone, with some workers.
fn start(authority: &Authority, workers: usize) -> Option<Daemon> {
    let plan = Plan::new()?;
    let files = authority.issue_server().write(&plan.folder, "server").unwrap();
    let options = format!("-l 127.0.0.1 -p {{port}} -t {workers} -Z -o {}", files.options());
    Some(plan.options(&format!("{options} -o admin_listen=unix:{{folder}}/admin")).start())
}

fn connect(daemon: &Daemon) -> TcpStream {
    let socket = TcpStream::connect((Ipv4Addr::LOCALHOST, daemon.port)).unwrap();
    socket.set_nodelay(true).unwrap();
    socket.set_read_timeout(Some(TIMEOUT)).unwrap();
    socket
}

/// Turns of each worker's loop so far.
fn turns(daemon: &Daemon) -> Vec<u64> {
    let turns = daemon.metric("slabstash_worker_loop_turns_total");
    turns.into_iter().map(|(_, value)| value as u64).collect()
}

fn ask(socket: &mut TcpStream, tls: &mut Encrypted) {
    let records = tls.encrypt(b"mn\r\n");
    socket.write_all(&records).unwrap();
    let mut answer = [0; 4];
    let mut length = 0;
    while length < answer.len() {
        length += tls.read(socket, &mut answer[length..]).unwrap();
    }
    assert_eq!(answer, *b"MN\r\n");
}

#[test]
fn sessions_are_dealt_to_all_workers() {
    const REQUESTS: u64 = 200;
    let authority = Authority::new("tests");
    let Some(daemon) = start(&authority, 4) else { return };
    let trust = Trust::new(&authority);
    let mut served = Vec::new();
    // All at once, since whose connection is whose must not depend on what has been closed.
    let mut clients: Vec<_> = (0..8).map(|_| connect(&daemon)).collect();
    for socket in &mut clients {
        let mut tls = trust.begin(socket).unwrap();
        let before = turns(&daemon);
        (0..REQUESTS).for_each(|_| ask(socket, &mut tls));
        // A request that waits for the last one's answer takes a turn; timers take one a second or so.
        let made: Vec<_> = turns(&daemon).iter().zip(before).map(|(after, before)| after - before).collect();
        let busy: Vec<_> = (0..made.len()).filter(|worker| made[*worker] >= REQUESTS).collect();
        assert_eq!(busy.len(), 1, "one worker serves it: {made:?}");
        served.push(busy[0]);
    }
    for worker in 0..4 {
        let share = served.iter().filter(|other| **other == worker).count();
        assert_eq!(share, 2, "worker {worker} has its share: {served:?}");
    }
}

/// Who has connected while the daemon stood still is there at once when it goes on. Without a cap it shakes all hands in
/// a few turns, and every request waits as long.
#[test]
fn few_hands_are_shaken_in_a_turn() {
    const CLIENTS: u64 = 400;
    const HANDSHAKES_PER_TURN: u64 = 4;
    let authority = Authority::new("tests");
    let Some(daemon) = start(&authority, 1) else { return };
    let mut hello = Vec::new();
    Trust::new(&authority).session().write_tls(&mut hello).unwrap();
    let before = turns(&daemon);
    daemon.signal("STOP");
    let mut clients: Vec<_> = (0..CLIENTS).map(|_| connect(&daemon)).collect();
    for socket in &mut clients {
        socket.write_all(&hello).unwrap();
    }
    daemon.signal("CONT");
    for socket in &mut clients {
        let mut first = [0; 1];
        socket.read_exact(&mut first).unwrap();
        assert_eq!(first[0], 22, "a server's hello");
    }
    let made = turns(&daemon)[0] - before[0];
    assert!(made >= CLIENTS / HANDSHAKES_PER_TURN, "{CLIENTS} handshakes in {made} turns");
}

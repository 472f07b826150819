//! Logins that fail, as an operator sees them: a line in the log with the client's address, and a metric by cause.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpStream};

use protocol_tests::daemon::{Daemon, Plan, TIMEOUT, wait_until};

/// Sends a request on a connection of its own, waits for an answer, and then for the line of that connection.
#[track_caller]
fn fail(daemon: &Daemon, request: &[u8], answer: &[u8], why: &str) {
    let mut socket = TcpStream::connect((Ipv4Addr::LOCALHOST, daemon.port)).unwrap();
    socket.set_read_timeout(Some(TIMEOUT)).unwrap();
    socket.write_all(request).unwrap();
    let mut start = vec![0; answer.len()];
    socket.read_exact(&mut start).unwrap();
    assert_eq!(start, answer, "{why}: {}", String::from_utf8_lossy(&start));
    let address = socket.local_addr().unwrap();
    let line = format!("login from {address} failed: {why}\n");
    assert!(line.starts_with("login from 127.0.0.1:"));
    wait_until(&line, || daemon.errors().contains(&line));
}

/// Failures by cause, as the metric has them.
fn failures(daemon: &Daemon) -> Vec<(String, f64)> {
    daemon.metric("slabstash_authentication_failures_total")
}

fn expected(counts: [(&str, f64); 6]) -> Vec<(String, f64)> {
    counts.map(|(cause, count)| (format!("cause=\"{cause}\""), count)).to_vec()
}

#[test]
fn failures_of_text_logins_are_told() {
    let Some(plan) = Plan::new() else { return };
    let options = "-l 127.0.0.1 -p {port} -Y {folder}/users -o admin_listen=unix:{folder}/admin";
    let daemon = plan.file("users", "user:pass\n").options(options).start();
    fail(&daemon, b"set x 0 0 10\r\nuser wrong\r\n", b"CLIENT_ERROR ", "wrong user or password");
    fail(&daemon, b"set x 0 0 11\r\nnobody pass\r\n", b"CLIENT_ERROR ", "wrong user or password");
    fail(&daemon, b"set x 0 0 3\r\nabc\r\n", b"CLIENT_ERROR ", "malformed login");
    fail(&daemon, b"get x\r\n", b"CLIENT_ERROR ", "a command before the login");
    let counts = [
        ("credentials", 2.0),
        ("malformed", 1.0),
        ("mechanism", 0.0),
        ("busy", 0.0),
        ("memory", 0.0),
        ("command", 1.0),
    ];
    assert_eq!(failures(&daemon), expected(counts));
}

#[test]
fn failures_of_sasl_logins_are_told() {
    let Some(mut plan) = Plan::new() else { return };
    plan.command.env("MEMCACHED_SASL_PWDB", plan.folder.join("users")).env("SASL_CONF_PATH", &plan.folder);
    let options = "-l 127.0.0.1 -p {port} -S -o admin_listen=unix:{folder}/admin";
    let daemon = plan.file("users", "user:pass\n").options(options).start();
    // Opcode 0x21 begins a login and 0x00 is a get; the status of a refusal is 0x20.
    let refused = |opcode: u8| [0x81, opcode, 0, 0, 0, 0, 0, 0x20];
    fail(&daemon, &packet(0x21, b"PLAIN", b"\0user\0wrong"), &refused(0x21), "wrong user or password");
    fail(&daemon, &packet(0x21, b"PLAIN", b"user"), &refused(0x21), "malformed login");
    fail(&daemon, &packet(0x21, b"GSSAPI", b"x"), &refused(0x21), "unknown mechanism");
    fail(&daemon, &packet(0x00, b"key", b""), &refused(0x00), "a command before the login");
    let counts = [
        ("credentials", 1.0),
        ("malformed", 1.0),
        ("mechanism", 1.0),
        ("busy", 0.0),
        ("memory", 0.0),
        ("command", 1.0),
    ];
    assert_eq!(failures(&daemon), expected(counts));
}

/// Who has no logins has none that fail.
#[test]
fn without_logins_there_is_no_such_metric() {
    let Some(plan) = Plan::new() else { return };
    let daemon = plan.options("-l 127.0.0.1 -p {port} -o admin_listen=unix:{folder}/admin").start();
    assert_eq!(failures(&daemon), []);
}

fn packet(opcode: u8, key: &[u8], value: &[u8]) -> Vec<u8> {
    let mut packet = vec![0; 24];
    (packet[0], packet[1], packet[3], packet[11]) = (0x80, opcode, key.len() as u8, (key.len() + value.len()) as u8);
    [&packet, key, value].concat()
}

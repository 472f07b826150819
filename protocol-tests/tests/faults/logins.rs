//! Those who are not logged in: floods of logins, and clients that ask and never read. (redis grew without limit for those,
//! CVE-2025-21605: its limits of output began at the login.)

use std::io::{Read, Write};
use std::thread;

use protocol_tests::daemon::{Daemon, Plan};

use crate::{Client, assert_unharmed, cost_of_an_answer, processor_nanoseconds, resident, wait_for_rest, wait_until};

#[test]
fn who_is_not_logged_in_and_never_reads_waits() {
    let Some(daemon) = with_users() else { return };
    let mut other = logged_in(&daemon);
    let (before, cost) = (resident(&daemon), cost_of_an_answer(&daemon, &mut other));
    // Each request is answered by more than it has itself.
    let requests = [&b"get a\r\n"[..], b"set x 0 0 9\r\nuser nope\r\n", b"mg a v\r\n", b"set x 0 0 0\r\n\r\n"];
    let mut clients: Vec<Client> = (0..16).map(|_| Client::new(&daemon).narrow()).collect();
    let mut sent = vec![0; clients.len()];
    // Until the server takes no more of any.
    wait_until("the server to stop reading", || {
        let mut is_taken = false;
        for ((client, request), sent) in clients.iter_mut().zip(requests.iter().cycle()).zip(&mut sent) {
            // From where it was left off, lest a request is cut.
            let text = request.repeat(50_000);
            let count = client.push(&text[*sent % request.len()..]);
            *sent += count;
            is_taken |= count > 0;
        }
        !is_taken
    });
    wait_for_rest(&daemon);
    assert_unharmed(&daemon, &mut other, cost);
    let grown = resident(&daemon).saturating_sub(before);
    let together: usize = sent.iter().sum();
    println!("{} KiB for {} MiB of requests that nobody reads the answers of", grown >> 10, together >> 20);
    assert!(together > 16 * 100_000, "{together} bytes are no flood");
    assert!(grown < 16 * 400_000, "{grown} bytes for 16 clients that are not logged in and do not read");
    clients.into_iter().for_each(Client::reset);
    wait_until("the connections to go", || other.stat("curr_connections") == 1);
}

/// A hundred thousand wrong logins: all are refused and counted, few are logged, nothing stays, and who knows the password
/// is let in meanwhile.
#[test]
fn a_flood_of_logins_is_refused() {
    let Some(daemon) = with_users() else { return };
    let mut other = logged_in(&daemon);
    let before = resident(&daemon);
    let port = daemon.port;
    let wrong = ["user nope", "nobody nope", "user pas", "user passs", "use pass", "userpass", " pass", "user "];
    let flood = |number: usize| {
        let mut client = Client::to(port);
        for round in 0..250 {
            let token = wrong[(number + round) % wrong.len()];
            let login = format!("set x 0 0 {}\r\n{token}\r\n", token.len());
            let answers = client.ask(format!("{}get a\r\n", login.repeat(50)).as_bytes(), "unauthenticated\r\n");
            // As with memcached a refused login takes unsent refusals before it along; the counters miss none.
            let mut lines: Vec<&str> = answers.lines().collect();
            assert_eq!(lines.pop(), Some("CLIENT_ERROR unauthenticated"));
            let refusals = ["CLIENT_ERROR authentication failure", "CLIENT_ERROR bad authentication token format"];
            assert!(lines.iter().all(|line| refusals.contains(line)), "{token}: {answers}");
            // One that is waited for.
            let answer = client.ask(login.as_bytes(), "\r\n");
            assert!(refusals.contains(&answer.trim_end()), "{token}: {answer}");
        }
    };
    thread::scope(|scope| {
        let flood = &flood;
        let clients: Vec<_> = (0..8).map(|number| scope.spawn(move || flood(number))).collect();
        while !clients.iter().all(thread::ScopedJoinHandle::is_finished) {
            drop(logged_in(&daemon));
        }
    });
    let failures = other.stat("auth_failed_credentials") + other.stat("auth_failed_malformed");
    assert_eq!(failures, 8 * 250 * 51);
    assert_eq!(other.stat("auth_failed_command"), 8 * 250);
    let grown = resident(&daemon).saturating_sub(before);
    assert!(grown < 8 << 20, "{grown} bytes more");
    let lines = daemon.errors().lines().count();
    assert!(lines < 500, "{lines} lines in the log");
}

/// memcached compared passwords up to the first byte that differs, and names up to the first that fits (CVE-2026-47783): the
/// time of an answer told how far a guess was right. Here it is made as large as it gets, by a thousand users whose lines
/// begin alike: whoever is meant, and wherever a guess goes wrong, the daemon's processor time is the same.
#[test]
fn a_refusal_takes_as_long_whoever_is_meant() {
    let Some(mut plan) = Plan::new() else { return };
    let (name, password) = ("n".repeat(90) + "@realm", "p".repeat(110));
    let users: String = (0..1000).map(|number| format!("{name}{number:03}:{password}{number:03}\n")).collect();
    plan.command.env("MEMCACHED_SASL_PWDB", plan.folder.join("users"));
    let plan = plan.file("users", &users).options("-l 127.0.0.1 -p {port} -t 1 -m 64 -S");
    let daemon = plan.start();
    let guesses = [
        ("nobody of that name", format!("x{}000\0{password}000", &name[1..])),
        ("a name that is nearly right", format!("{name}99x\0{password}999")),
        ("the first user, the last byte wrong", format!("{name}000\0{password}00x")),
        ("the last user, the last byte wrong", format!("{name}999\0{password}99x")),
        ("the first user, the first byte wrong", format!("{name}000\0x{}000", &password[1..])),
        ("the last user, the first byte wrong", format!("{name}999\0x{}999", &password[1..])),
        ("another's password", format!("{name}000\0{password}999")),
        ("a short name and password", "n@realm\0p".to_owned()),
    ];
    for number in ["000", "999"] {
        assert_eq!(login(&mut Client::new(&daemon), &format!("{name}{number}\0{password}{number}")), 0);
    }
    let mut client = Client::new(&daemon);
    let mut costs = vec![u64::MAX; guesses.len()];
    for _ in 0..10 {
        for ((what, guess), least) in guesses.iter().zip(&mut costs) {
            let before = processor_nanoseconds(&daemon);
            for _ in 0..10 {
                assert_eq!(login(&mut client, guess), 0x20, "{what}");
            }
            *least = (*least).min((processor_nanoseconds(&daemon) - before) / 10);
        }
    }
    for ((what, _), cost) in guesses.iter().zip(&costs) {
        println!("{cost} ns: {what}");
    }
    let (least, most) = (costs.iter().min().unwrap(), costs.iter().max().unwrap());
    assert!(most * 10 < least * 13, "{costs:?} ns");
}

/// Logs in by `PLAIN`, with user, zero and password; the status of the answer.
fn login(client: &mut Client, claim: &str) -> u16 {
    let body = format!("PLAIN\0{claim}");
    let mut packet = vec![0x80, 0x21, 0, 5, 0, 0, 0, 0];
    packet.extend((body.len() as u32).to_be_bytes());
    packet.resize(24, 0);
    packet.extend(body.bytes());
    client.stream.write_all(&packet).unwrap();
    let mut head = [0; 24];
    client.stream.read_exact(&mut head).unwrap();
    let mut rest = vec![0; u32::from_be_bytes([head[8], head[9], head[10], head[11]]) as usize];
    client.stream.read_exact(&mut rest).unwrap();
    u16::from_be_bytes([head[6], head[7]])
}

fn with_users() -> Option<Daemon> {
    let plan = Plan::new()?.file("users", "other:word\nuser:pass\n");
    Some(plan.options("-l 127.0.0.1 -p {port} -t 2 -m 64 -Y {folder}/users").start())
}

fn logged_in(daemon: &Daemon) -> Client {
    let mut client = Client::new(daemon);
    assert_eq!(client.ask(b"set x 0 0 9\r\nuser pass\r\n", "\r\n"), "STORED\r\n");
    client
}

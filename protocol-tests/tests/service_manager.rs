//! What a service manager sees: notifications, sockets that it hands over, the files of the distributions, an ordered
//! stop. The service manager is this test.

use std::io::{ErrorKind, Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream, UdpSocket};
use std::os::fd::OwnedFd;
use std::os::unix::net::{UnixDatagram, UnixListener, UnixStream};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use protocol_tests::daemon::{Daemon, Plan, TIMEOUT, program};

#[test]
fn ready_reload_stop() {
    let Some((manager, plan)) = managed("-l 127.0.0.1 -p {port} -t 2") else { return };
    let mut daemon = plan.spawn();
    // Clients can connect from this message on.
    assert_eq!(manager.next(), "READY=1\nSTATUS=0 items, 0 connections, 0 of 64 MiB\n");
    assert_eq!(daemon.ask("set a 0 0 1\r\nx\r\n"), "STORED\r\n");
    daemon.signal("HUP");
    let reloading = manager.next();
    let micros =
        reloading.strip_prefix("RELOADING=1\nMONOTONIC_USEC=").and_then(|rest| rest.trim().parse::<u64>().ok());
    assert!(micros.is_some_and(|micros| micros > 0), "{reloading}");
    let ready = manager.next();
    assert!(ready.starts_with("READY=1\nSTATUS=1 items, "), "{ready}");
    daemon.signal("TERM");
    assert_eq!(manager.next(), "STOPPING=1\nSTATUS=stopping\n");
    assert_eq!(daemon.wait(), Some(0));
}

#[test]
fn signs_of_life_come_in_time() {
    let Some((manager, mut plan)) = managed("-l 127.0.0.1 -p {port} -t 2") else { return };
    plan.command.env("WATCHDOG_USEC", "2000000");
    let daemon = plan.spawn();
    assert!(manager.next().starts_with("READY=1\n"));
    let started = Instant::now();
    let mut signs = 0;
    while signs < 3 {
        signs += u32::from(manager.next() == "WATCHDOG=1\n");
    }
    // A quarter of the watchdog's time each.
    assert!(started.elapsed() >= Duration::from_millis(1000), "{:?}", started.elapsed());
    // A process that stands still gives none.
    daemon.signal("STOP");
    while manager.next_within(Duration::from_millis(600)).is_some() {}
    assert_eq!(manager.next_within(Duration::from_millis(1200)), None);
    daemon.signal("CONT");
    while manager.next() != "WATCHDOG=1\n" {}
}

#[test]
fn watchdogs_of_other_processes_are_not_fed() {
    let Some((manager, mut plan)) = managed("-l 127.0.0.1 -p {port}") else { return };
    plan.command.env("WATCHDOG_USEC", "200000").env("WATCHDOG_PID", "1");
    let _daemon = plan.spawn();
    assert!(manager.next().starts_with("READY=1\n"));
    assert_eq!(manager.next_within(Duration::from_millis(500)), None);
}

#[test]
fn a_service_stays_in_the_foreground() {
    let Some((manager, plan)) = managed("-d -v -l 127.0.0.1 -p {port}") else { return };
    let mut daemon = plan.spawn();
    assert!(manager.next().starts_with("READY=1\n"));
    assert!(daemon.errors().contains("-d has no meaning under a service manager"), "{}", daemon.errors());
    daemon.signal("TERM");
    assert_eq!(daemon.wait(), Some(0));
}

#[test]
fn a_service_manager_that_is_not_there_is_no_reason_to_stop() {
    let Some(mut plan) = Plan::new() else { return };
    plan.command.env("NOTIFY_SOCKET", plan.folder.join("nobody"));
    let daemon = plan.options("-l 127.0.0.1 -p {port}").start();
    assert!(daemon.errors().contains("cannot reach the service manager (NOTIFY_SOCKET): No such file or directory"));
}

#[test]
fn sockets_are_taken_over() {
    let Some(plan) = Plan::new() else { return };
    let path = plan.folder.join("socket");
    let tcp = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let unix = UnixListener::bind(&path).unwrap();
    let udp = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let (address, udp_address) = (tcp.local_addr().unwrap(), udp.local_addr().unwrap());
    // They queue before anybody serves them.
    let mut early = TcpStream::connect(address).unwrap();
    early.write_all(b"set a 0 0 1\r\nx\r\n").unwrap();
    let other_port = plan.port;
    let mut daemon = activated(plan, [tcp.into(), unix.into(), udp.into()], "web:local:ascii", "-v -p {port}");
    expect(&mut early, "STORED\r\n");
    let mut local = UnixStream::connect(&path).unwrap();
    local.write_all(b"get a\r\n").unwrap();
    expect(&mut local, "VALUE a 0 1\r\nx\r\nEND\r\n");
    let client = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    client.set_read_timeout(Some(TIMEOUT)).unwrap();
    client.send_to(b"\x01\x02\0\0\0\x01\0\0mn\r\n", udp_address).unwrap();
    let mut reply = [0; 100];
    let length = client.recv(&mut reply).unwrap();
    assert_eq!(&reply[..length], b"\x01\x02\0\0\0\x01\0\0MN\r\n");
    assert!(TcpStream::connect((Ipv4Addr::LOCALHOST, other_port)).is_err(), "-p has no meaning then");
    daemon.signal("TERM");
    assert_eq!(daemon.wait(), Some(0));
    assert!(path.exists(), "the socket is the service manager's");
}

#[test]
fn the_name_of_a_socket_says_how_it_is_served() {
    let Some(plan) = Plan::new() else { return };
    let sockets = [0; 3].map(|_| TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap());
    let addresses = [0, 1, 2].map(|at: usize| sockets[at].local_addr().unwrap());
    let _daemon = activated(plan, sockets.map(OwnedFd::from), "binary:ascii:memcached.socket", "-v");
    let replies = addresses.map(|address| {
        let mut socket = TcpStream::connect(address).unwrap();
        socket.set_read_timeout(Some(TIMEOUT)).unwrap();
        let mut noop = [0; 24];
        (noop[0], noop[1]) = (0x80, 0x0a);
        socket.write_all(&noop).unwrap();
        socket.write_all(b"\r\nmn\r\n").unwrap();
        let mut first = [0];
        match socket.read(&mut first) {
            Ok(1) => Some(first[0]),
            _ => None,
        }
    });
    assert_eq!(replies[0], Some(0x81));
    assert_ne!(replies[1], Some(0x81), "text only");
    assert_eq!(replies[2], Some(0x81));
}

#[test]
fn a_socket_that_cannot_be_served_ends_the_start() {
    let refused = |names: &str, options: &str, socket: fn() -> OwnedFd| {
        let plan = Plan::new()?;
        let plan = plan.file("users", "a:b\n");
        let null = || OwnedFd::from(std::fs::File::open("/dev/null").unwrap());
        let mut daemon = activated(plan, [socket(), null(), null()], names, options);
        Some((daemon.wait(), daemon.errors()))
    };
    let tcp = || TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap().into();
    let Some((code, text)) = refused("mtls", "", tcp) else { return };
    assert_eq!(code, Some(71));
    assert!(text.contains("the service manager's socket mtls: the name is valid only when SSL is enabled"), "{text}");
    let udp = || UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap().into();
    let (code, text) = refused("x", "-Y {folder}/users", udp).unwrap();
    assert_eq!(code, Some(64));
    assert!(text.contains("Cannot use UDP with ascii authentication enabled"), "{text}");
    let unix = || UnixDatagram::unbound().unwrap().into();
    let (code, text) = refused("x", "", unix).unwrap();
    assert_eq!(code, Some(71));
    assert!(text.contains("cannot serve the service manager's socket x: it is of another kind"), "{text}");
}

#[test]
fn the_files_of_the_distributions_are_read() {
    let Some(plan) = Plan::new() else { return };
    let port = plan.port;
    let text =
        format!("# a comment\n-d\nlogfile /var/log/memcached.log\n-m 100\n-p {port}\n-l 127.0.0.1\n-t 3 # three\n");
    let daemon = plan.file("memcached.conf", &text).options("-o config_file={folder}/memcached.conf").start();
    assert_eq!([daemon.setting("maxbytes"), daemon.setting("num_threads")], ["104857600", "3"]);
    let Some(plan) = Plan::new() else { return };
    let text = format!("PORT=\"{}\"\nMAXCONN=\"777\"\nCACHESIZE='80'\nOPTIONS=\"-l 127.0.0.1 -t 2\"\n", plan.port);
    let options = "-o sysconfig_file={folder}/memcached,config_file=-{folder}/none";
    let daemon = plan.file("memcached", &text).options(options).start();
    assert_eq!([daemon.setting("maxbytes"), daemon.setting("maxconns")], ["83886080", "777"]);
    let Some(plan) = Plan::new() else { return };
    let mut daemon = plan.options("-o config_file={folder}/none").spawn();
    assert_eq!(daemon.wait(), Some(1));
    let expected = format!("{}/none: No such file or directory\n", daemon.folder.display());
    assert_eq!(daemon.errors(), expected);
}

#[test]
fn what_was_received_is_answered_before_the_end() {
    for name in ["TERM", "INT", "USR1"] {
        let Some((manager, plan)) = managed("-v -l 127.0.0.1 -p {port} -t 2") else { return };
        let mut daemon = plan.spawn();
        assert!(manager.next().starts_with("READY=1\n"));
        let value = "v".repeat(1000);
        assert_eq!(daemon.ask(&format!("set a 0 0 1000\r\n{value}\r\n")), "STORED\r\n");
        let mut client = TcpStream::connect((Ipv4Addr::LOCALHOST, daemon.port)).unwrap();
        client.write_all("get a\r\n".repeat(REQUESTS).as_bytes()).unwrap();
        daemon.signal(name);
        let mut replies = String::new();
        client.read_to_string(&mut replies).unwrap();
        let reply = format!("VALUE a 0 1000\r\n{value}\r\nEND\r\n");
        assert!(replies == reply.repeat(REQUESTS), "{name}: {} of {} bytes", replies.len(), reply.len() * REQUESTS);
        assert_eq!(daemon.wait(), Some(0));
        assert_eq!(daemon.errors().contains("Gracefully stopping"), name == "USR1");
        assert!(daemon.errors().ends_with("Exiting normally\n"), "{}", daemon.errors());
    }
}

/// Whoever does not read is waited for, but not for long: 400 ms, whatever is left for them.
#[test]
fn who_does_not_read_holds_the_end_up_for_its_time() {
    let Some((manager, plan)) = managed("-v -l 127.0.0.1 -p {port} -t 1") else { return };
    let mut daemon = plan.spawn();
    assert!(manager.next().starts_with("READY=1\n"));
    assert_eq!(daemon.ask(&format!("set a 0 0 100000\r\n{}\r\n", "v".repeat(100_000))), "STORED\r\n");
    let mut client = TcpStream::connect((Ipv4Addr::LOCALHOST, daemon.port)).unwrap();
    client.write_all("get a\r\n".repeat(1000).as_bytes()).unwrap();
    client.read_exact(&mut [0]).unwrap();
    let signalled = Instant::now();
    daemon.signal("TERM");
    assert_eq!(daemon.wait(), Some(0));
    assert!(signalled.elapsed() >= Duration::from_millis(400), "{:?}", signalled.elapsed());
    assert!(daemon.errors().ends_with("Exiting normally\n"), "{}", daemon.errors());
    // It gets what was on its way, and then the end, with or without a reset.
    let mut replies = Vec::new();
    let _ = client.read_to_end(&mut replies);
    assert!(replies.len() < 90 << 20, "{} bytes", replies.len());
}

#[test]
fn a_second_signal_ends_at_once() {
    let Some((manager, plan)) = managed("-v -l 127.0.0.1 -p {port} -t 1") else { return };
    let mut daemon = plan.spawn();
    assert!(manager.next().starts_with("READY=1\n"));
    assert_eq!(daemon.ask(&format!("set a 0 0 100000\r\n{}\r\n", "v".repeat(100_000))), "STORED\r\n");
    // A client that reads nothing of what it asked for keeps the stop waiting.
    let mut client = TcpStream::connect((Ipv4Addr::LOCALHOST, daemon.port)).unwrap();
    client.write_all("get a\r\n".repeat(1000).as_bytes()).unwrap();
    client.read_exact(&mut [0]).unwrap();
    daemon.signal("TERM");
    while !manager.next().starts_with("STOPPING=1\n") {}
    daemon.signal("TERM");
    assert_eq!(daemon.wait(), Some(0));
    assert!(!daemon.errors().contains("Exiting normally"), "{}", daemon.errors());
}

#[test]
fn units_are_sound() {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../packaging/systemd");
    let names = ["slabstash.service", "slabstash@.service", "slabstash.socket", "slabstash@.socket"];
    for name in names {
        let text = std::fs::read_to_string(format!("{folder}/{name}")).unwrap();
        for line in text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#')) {
            assert!(line.starts_with('[') || line.contains('='), "{name}: {line}");
        }
        if name.ends_with(".service") {
            for needed in ["Type=notify", "WatchdogSec=", "ExecReload=+/bin/kill -HUP $MAINPID", "NoNewPrivileges=true"]
            {
                assert!(text.lines().any(|line| line.starts_with(needed)), "{name}: {needed}");
            }
        }
    }
    // Where systemd's tools are, they have the last word.
    let Some(plan) = Plan::new() else { return };
    let copies = names.map(|name| {
        let text = std::fs::read_to_string(format!("{folder}/{name}")).unwrap();
        let copy = plan.folder.join(name);
        std::fs::write(&copy, text.replace("/usr/bin/slabstash", &program().display().to_string())).unwrap();
        copy
    });
    match Command::new("systemd-analyze").args(["verify", "--man=no"]).args(copies).output() {
        Ok(output) => {
            let text = String::from_utf8_lossy(&output.stderr);
            let own = text.lines().filter(|line| line.contains("slabstash")).collect::<Vec<_>>();
            assert!(output.status.success() || own.is_empty(), "{}", own.join("\n"));
        }
        Err(error) => println!("not verified: {error}"),
    }
    std::fs::remove_dir_all(&plan.folder).unwrap();
}

/// A service manager's end.
struct Manager(UnixDatagram);

impl Manager {
    /// The next message.
    fn next(&self) -> String {
        self.next_within(TIMEOUT).expect("a message in time")
    }

    fn next_within(&self, duration: Duration) -> Option<String> {
        self.0.set_read_timeout(Some(duration)).unwrap();
        let mut message = [0; 1000];
        loop {
            match self.0.recv(&mut message) {
                Ok(length) => return Some(String::from_utf8_lossy(&message[..length]).into_owned()),
                // Also when this process was stopped for a while.
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => return None,
                Err(error) => panic!("{error}"),
            }
        }
    }
}

/// A daemon to be started under a service manager.
fn managed(options: &str) -> Option<(Manager, Plan)> {
    let mut plan = Plan::new()?;
    let path = plan.folder.join("notify");
    let socket = UnixDatagram::bind(&path).unwrap();
    plan.command.env("NOTIFY_SOCKET", path);
    Some((Manager(socket), plan.options(options)))
}

/// Starts a daemon with three descriptors from 3 on. They come to a shell as its streams.
fn activated(mut plan: Plan, descriptors: [OwnedFd; 3], names: &str, options: &str) -> Daemon {
    let script = "exec 3<&0 4<&1 5<&2 0<&- 1>/dev/null 2>\"$1\"; shift; LISTEN_PID=$$; export LISTEN_PID; exec \"$@\"";
    let errors = plan.folder.join("stderr");
    let mut command = Command::new("sh");
    command.args(["-c", script, "sh"]).arg(&errors).arg(plan.command.get_program()).args(plan.command.get_args());
    command.env("LISTEN_FDS", "3").env("LISTEN_FDNAMES", names);
    plan.command = command;
    let mut plan = plan.options(options);
    let [first, second, third] = descriptors.map(Stdio::from);
    plan.command.stdin(first).stdout(second).stderr(third);
    Daemon::of(plan.command.spawn().unwrap(), plan.port, plan.folder)
}

#[track_caller]
fn expect(socket: &mut impl Read, expected: &str) {
    let mut reply = vec![0; expected.len()];
    socket.read_exact(&mut reply).unwrap();
    assert_eq!(String::from_utf8_lossy(&reply), expected);
}

/// Enough that they are not all answered when the signal comes, little enough that the socket's buffers hold them.
const REQUESTS: usize = 2000;

//! `/healthz` and `/readyz` when something is not well: no room for connections, a worker that stands still, a stop.

use std::fs;
use std::io::{ErrorKind, Read};
use std::net::{Ipv4Addr, TcpStream};
use std::path::PathBuf;

use nix::sys::ptrace;
use nix::sys::wait::{WaitPidFlag, waitpid};
use nix::unistd::Pid;
use protocol_tests::daemon::{Daemon, Plan, TIMEOUT, page, wait_until};
use protocol_tests::server::free_port;

fn connect(daemon: &Daemon) -> TcpStream {
    let socket = TcpStream::connect((Ipv4Addr::LOCALHOST, daemon.port)).unwrap();
    socket.set_read_timeout(Some(TIMEOUT)).unwrap();
    socket
}

/// With the default a client is told that there is no room, and `/readyz` used to say that all was well.
#[test]
fn a_node_without_room_is_not_ready() {
    let Some(plan) = Plan::new() else { return };
    let daemon = plan.options("-l 127.0.0.1 -p {port} -c 40 -t 1 -o admin_listen=unix:{folder}/admin").start();
    wait_until("the probe's end", || daemon.page("/readyz") == (200, "ok\n".to_owned()));
    let mut open = Vec::new();
    loop {
        let mut socket = connect(&daemon);
        socket.set_nonblocking(false).unwrap();
        std::io::Write::write_all(&mut socket, b"mn\r\n").unwrap();
        let mut answer = [0; 2];
        match socket.read_exact(&mut answer) {
            Ok(()) if answer == *b"MN" => open.push(socket),
            // The refusal, or the reset that follows what was sent behind it.
            Ok(()) => break,
            Err(error) => break assert_eq!(error.kind(), ErrorKind::ConnectionReset),
        }
        assert!(open.len() < 40);
    }
    let full = (503, "connections are refused, as many are open as -c allows\n".to_owned());
    assert_eq!(daemon.page("/readyz"), full);
    assert_eq!(daemon.page("/healthz").0, 200);
    open.truncate(5);
    wait_until("room", || daemon.page("/readyz").0 == 200);
}

#[test]
fn a_node_that_lets_clients_wait_is_not_ready() {
    let Some(plan) = Plan::new() else { return };
    let options = "-l 127.0.0.1 -p {port} -c 40 -t 1 -o no_maxconns_fast,admin_listen=unix:{folder}/admin";
    let daemon = plan.options(options).start();
    // The last ones wait in the socket's queue.
    let mut open: Vec<_> = (0..50).map(|_| connect(&daemon)).collect();
    let full = (503, "no connections are accepted\n".to_owned());
    wait_until("no room", || daemon.page("/readyz") == full);
    open.clear();
    wait_until("room", || daemon.page("/readyz").0 == 200);
}

/// A debugger holds one worker. That is found out, and an ordered stop waits for it, so that there is time to look at both.
#[test]
fn a_worker_that_stands_still_and_a_stop_that_waits_for_it() {
    let Some(plan) = Plan::new() else { return };
    let admin = free_port().unwrap();
    let options = format!("-l 127.0.0.1 -p {{port}} -t 2 -e {{folder}}/cache -o admin_listen=127.0.0.1:{admin}");
    let mut daemon = plan.options(&options).start();
    let ask = |path: &str| page(TcpStream::connect((Ipv4Addr::LOCALHOST, admin)).unwrap(), path);
    wait_until("the admin listener", || TcpStream::connect((Ipv4Addr::LOCALHOST, admin)).is_ok());
    assert_eq!((ask("/healthz").0, ask("/readyz").0), (200, 200));
    let worker = Pid::from_raw(thread_of(&daemon, "worker 1"));
    if let Err(error) = ptrace::seize(worker, ptrace::Options::empty()) {
        return println!("no debugging here: {error}");
    }
    ptrace::interrupt(worker).unwrap();
    waitpid(worker, Some(WaitPidFlag::__WALL)).unwrap();
    wait_until("the finding", || ask("/healthz").0 == 503);
    let (_, text) = ask("/healthz");
    assert!(text.starts_with("stalled\nworker 0 turns, "), "{text}");
    assert!(text.contains("\nworker 1 has not turned for "), "{text}");
    assert_eq!(ask("/readyz").0, 200, "the other worker serves");
    // With a cache to be kept the threads have ten seconds to end.
    daemon.signal("USR1");
    let stopping = (503, "stopping\n".to_owned());
    wait_until("the stop", || ask("/readyz") == stopping);
    ptrace::detach(worker, None).unwrap();
    assert_eq!(daemon.wait(), Some(0), "{}", daemon.errors());
}

/// The thread of this name; a thread gives itself its name when it begins to run.
fn thread_of(daemon: &Daemon, name: &str) -> i32 {
    let find = || {
        let tasks = fs::read_dir(format!("/proc/{}/task", daemon.id())).unwrap();
        let paths = tasks.map(|task| task.unwrap().path());
        let is_it = |path: &PathBuf| fs::read_to_string(path.join("comm")).is_ok_and(|found| found.trim() == name);
        paths.into_iter().find(is_it)
    };
    wait_until("the thread", || find().is_some());
    find().unwrap().file_name().unwrap().to_str().unwrap().parse().unwrap()
}

//! The wall clock jumps, by libfaketime, which stands between the daemon and the system's clock; and a machine of one core.

use std::ffi::{OsStr, OsString};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use protocol_tests::daemon::{Daemon, Plan};

use crate::{Client, wait_until};

/// A day forward, a week back: what was stored for minutes stays, and what was stored for two seconds goes after two
/// seconds. An absolute time is converted as it comes, by a clock that was set at the start.
#[test]
fn the_wall_clock_jumps_and_nothing_expires() {
    let Some(library) = libfaketime() else {
        return println!("left out: there is no libfaketime (Debian's package faketime)");
    };
    for jump in ["+1d", "-7d"] {
        let Some((daemon, clock)) = with_clock(&library) else { return };
        let mut client = Client::new(&daemon);
        let now = std::time::SystemTime::UNIX_EPOCH.elapsed().unwrap().as_secs();
        let sets = format!(
            "set relative 0 600 1\r\nx\r\nset absolute 0 {} 1\r\nx\r\nset for-ever 0 0 1\r\nx\r\nset short 0 2 1\r\nx\r\n",
            now + 600
        );
        let answers = client.ask(format!("{sets}mn\r\n").as_bytes(), "MN\r\n");
        assert_eq!(answers, "STORED\r\n".repeat(4) + "MN\r\n");
        let (uptime, begun) = (client.stat("uptime"), Instant::now());
        fs::write(&clock, jump).unwrap();
        // The daemon has the library, which shows the jump to whoever asks.
        let maps = fs::read_to_string(format!("/proc/{}/maps", daemon.id())).unwrap();
        assert!(maps.contains("libfaketime"), "the daemon goes by the machine's own clock");
        assert!((date(&library, &clock) - now as i64).abs() > 80_000, "the clock has not jumped");
        wait_until("the short one to go", || !client.has("short"));
        let took = begun.elapsed();
        assert!(took > Duration::from_millis(500), "{jump}: it went after {took:?}");
        for key in ["relative", "absolute", "for-ever"] {
            assert!(client.has(key), "{jump}: {key} is gone");
        }
        assert!(client.stat("uptime") - uptime < 60, "{jump}: the uptime jumped");
        // What is stored from now on lives as long as before.
        client.ask(b"set new 0 600 1\r\nx\r\n", "STORED\r\n");
        assert_eq!(client.ask(b"set past 0 1 1\r\nx\r\n", "\r\n"), "STORED\r\n");
        wait_until("the one of a second to go", || !client.has("past"));
        assert!(client.has("new"), "{jump}");
        let ttl = client.ask(b"mg relative t\r\n", "\r\n");
        let left: u64 = ttl.trim_end().strip_prefix("HD t").and_then(|left| left.parse().ok()).unwrap();
        assert!((500..=600).contains(&left), "{jump}: {ttl}");
    }
}

/// A daemon under the library, and the file that says how far its clock is off.
fn with_clock(library: &Path) -> Option<(Daemon, PathBuf)> {
    let mut plan = Plan::new()?.file("clock", "+0");
    let clock = plan.folder.join("clock");
    plan.command.envs(environment(library, &clock));
    Some((plan.options("-l 127.0.0.1 -p {port} -t 2").start(), clock))
}

/// Only the wall clock is another, and each reading looks at the file.
fn environment(library: &Path, clock: &Path) -> [(&'static str, PathBuf); 4] {
    [
        ("LD_PRELOAD", library.to_owned()),
        ("FAKETIME_TIMESTAMP_FILE", clock.to_owned()),
        ("FAKETIME_NO_CACHE", "1".into()),
        ("FAKETIME_DONT_FAKE_MONOTONIC", "1".into()),
    ]
}

/// What `date` says under the library.
fn date(library: &Path, clock: &Path) -> i64 {
    let output = Command::new("date").arg("+%s").envs(environment(library, clock)).output().unwrap();
    String::from_utf8_lossy(&output.stdout).trim().parse().unwrap()
}

fn libfaketime() -> Option<PathBuf> {
    let folders = fs::read_dir("/usr/lib").into_iter().flatten().filter_map(|entry| Some(entry.ok()?.path()));
    let places = folders.map(|folder| folder.join("faketime/libfaketime.so.1"));
    places.into_iter().find(|place| place.exists())
}

/// One core serves by one worker, which yields the core to clients and others.
#[test]
fn one_core_is_enough() {
    let Some(mut plan) = Plan::new() else { return };
    let program = plan.command.get_program().to_owned();
    let arguments: Vec<OsString> = plan.command.get_args().map(OsStr::to_owned).collect();
    if Command::new("taskset").arg("--version").output().is_err() {
        return println!("left out: there is no taskset (Debian's package util-linux)");
    }
    plan.command = Command::new("taskset");
    plan.command.args(["-c", &first_core()]).arg(program).args(arguments);
    let daemon = plan.options("-l 127.0.0.1 -p {port} -m 64").start();
    assert_eq!(daemon.setting("num_threads"), "1");
    let port = daemon.port;
    std::thread::scope(|scope| {
        for owner in 0..8 {
            scope.spawn(move || {
                let mut client = Client::to(port);
                for round in 0..200 {
                    let value = format!("{owner}-{round}");
                    let set = format!("set own{owner} 0 0 {}\r\n{value}\r\n", value.len());
                    let gets = format!("get own{owner}\r\n").repeat(50);
                    let answers = client.ask(format!("{set}{gets}mn\r\n").as_bytes(), "MN\r\n");
                    assert_eq!(answers.matches(&format!("\r\n{value}\r\nEND\r\n")).count(), 50);
                }
            });
        }
    });
    // At rest it takes no time.
    crate::wait_for_rest(&daemon);
}

/// The first core that this process may use.
fn first_core() -> String {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let list = status.lines().find_map(|line| line.strip_prefix("Cpus_allowed_list:")).unwrap();
    list.trim().split([',', '-']).next().unwrap().to_owned()
}

//! What a running daemon may still do: whom it runs as, which locks of the kernel hold, that what it needs still works, and
//! that its answers over UDP are no weapon.
//!
//! Some kernels and containers have no seccomp or no Landlock; the daemon says so, and it is believed.

use std::env;
use std::fs;
use std::net::{Ipv4Addr, UdpSocket};
use std::os::unix::fs::chown;
use std::process::Command;

use protocol_tests::daemon::{Daemon, Plan, TIMEOUT, signal, wait_until};
use protocol_tests::server::is_root;

/// A daemon on loopback, as whoever runs this.
fn start(options: &str) -> Option<Daemon> {
    let root = if is_root() { "-u root " } else { "" };
    Some(Plan::new()?.options(&format!("{root}-v -l 127.0.0.1 -p {{port}} {options}")).start())
}

#[test]
fn every_thread_is_filtered() {
    let Some(daemon) = start("-t 3") else { return };
    let expected = if daemon.setting("seccomp") == "yes" { "2" } else { "0" };
    let modes = daemon.thread_facts("Seccomp");
    assert!(modes.len() >= 5, "main, acceptor and workers: {modes:?}");
    assert!(modes.iter().all(|mode| mode == expected), "{modes:?}");
    let abi = daemon.setting("landlock_abi");
    assert_eq!(daemon.setting("sandbox"), "auto");
    let level = match (expected, abi.as_str()) {
        ("2", "0") => "privileges: system calls filtered, files as the user has them".to_owned(),
        ("2", abi) => format!("privileges: system calls filtered, files restricted (Landlock ABI {abi})"),
        (_, abi) => format!("Landlock ABI {abi}"),
    };
    assert!(daemon.errors().contains(&level), "{}", daemon.errors());
}

#[test]
fn an_option_keeps_all_rights() {
    for option in ["sandbox=off", "no_drop_privileges"] {
        let Some(daemon) = start(&format!("-o {option}")) else { return };
        assert!(daemon.thread_facts("Seccomp").iter().all(|mode| mode == "0"));
        assert_eq!([daemon.setting("seccomp"), daemon.setting("landlock_abi")], ["no", "0"]);
        assert_eq!(daemon.setting("sandbox"), "off");
    }
}

#[test]
fn what_is_required_is_there_or_nothing_is() {
    let Some(plan) = Plan::new() else { return };
    let root = if is_root() { "-u root " } else { "" };
    let mut daemon = plan.options(&format!("{root}-l 127.0.0.1 -p {{port}} -o drop_privileges")).spawn();
    wait_until("a start or a refusal", || daemon.errors().contains("serving") || daemon.errors().contains("required"));
    match daemon.errors().contains("-o sandbox=required: the system calls cannot be filtered") {
        true => assert_eq!(daemon.wait(), Some(1)),
        false => assert_eq!(daemon.setting("seccomp"), "yes"),
    }
}

#[test]
fn root_becomes_a_user_with_its_groups_and_no_rights() {
    if !is_root() {
        return println!("this takes root");
    }
    let Some(plan) = Plan::new() else { return };
    // Groups of the one who starts it, which must not be left.
    let daemon = with_groups(plan, "-u nobody -l 127.0.0.1 -p {port} -k -r").start();
    let id = text_of("id", &["-u", "nobody"]);
    let group = text_of("id", &["-g", "nobody"]);
    assert_eq!(daemon.fact("Uid"), [id.as_str(); 4].join(" "));
    assert_eq!(daemon.fact("Gid"), [group.as_str(); 4].join(" "));
    assert_eq!(daemon.fact("Groups"), text_of("id", &["-G", "nobody"]));
    for rights in ["CapInh", "CapPrm", "CapEff", "CapAmb"] {
        assert_eq!(daemon.fact(rights), "0000000000000000", "{rights}");
    }
    assert_eq!(daemon.fact("NoNewPrivs"), "1");
    // -k takes root's right, or a limit; a user may have neither.
    let locked = daemon.fact("VmLck") != "0 kB";
    assert!(locked || daemon.errors().contains("warning: -k invalid, mlockall() failed"), "{}", daemon.errors());
    let limits = fs::read_to_string(format!("/proc/{}/limits", daemon.id())).unwrap();
    let cores = limits.lines().find(|line| line.starts_with("Max core file size")).unwrap();
    assert!(cores.contains("unlimited"), "{cores}");
    // A process that has changed its user leaves no core file unless it asks for that; its /proc is root's then.
    use std::os::unix::fs::MetadataExt;
    let owner = fs::metadata(format!("/proc/{}/mem", daemon.id())).unwrap().uid();
    assert_eq!(owner.to_string(), id);
}

#[test]
fn root_by_accident_is_refused_under_the_name_of_memcached() {
    if !is_root() {
        return println!("this takes root");
    }
    let Some(mut plan) = Plan::new() else { return };
    plan.command.env("SLABSTASH_NAME", "memcached");
    let mut daemon = plan.options("-l 127.0.0.1 -p {port}").spawn();
    assert_eq!(daemon.wait(), Some(64));
    assert_eq!(daemon.errors(), "must add '-u root' to start as root\n");
    let Some(plan) = Plan::new() else { return };
    let daemon = plan.options("-l 127.0.0.1 -p {port}").start();
    assert!(daemon.errors().contains("WARNING: running as root"), "{}", daemon.errors());
}

/// Certificates do the same in `tls.rs`, whose servers have their rights taken as well.
#[test]
fn a_replaced_login_file_is_read() {
    let Some(plan) = Plan::new() else { return };
    let root = if is_root() { "-u root " } else { "" };
    let options = format!("{root}-l 127.0.0.1 -p {{port}} -Y {{folder}}/users");
    let daemon = plan.file("users", "old:one\n").options(&options).start();
    let login = |words: &str| daemon.ask(&format!("set x 0 0 {}\r\n{words}\r\n", words.len()));
    assert_eq!(login("old one"), "STORED\r\n");
    fs::write(daemon.folder.join("new"), "new:two\n").unwrap();
    fs::rename(daemon.folder.join("new"), daemon.folder.join("users")).unwrap();
    daemon.signal("HUP");
    wait_until("the new login", || login("new two") == "STORED\r\n");
    assert!(login("old one").starts_with("CLIENT_ERROR"));
}

#[test]
fn a_daemon_removes_its_files_at_the_end() {
    let Some(plan) = Plan::new() else { return };
    let folder = plan.folder.clone();
    let root = if is_root() { "-u root " } else { "" };
    let options = format!("{root}-d -P {{folder}}/pid -s {{folder}}/socket -l 127.0.0.1 -p {{port}}");
    // The foreground process ends when the other is ready.
    let mut foreground = plan.options(&options).spawn();
    assert_eq!(foreground.wait(), Some(0), "{}", foreground.errors());
    let id: u32 = fs::read_to_string(folder.join("pid")).unwrap().trim().parse().unwrap();
    assert!(folder.join("socket").exists());
    let seccomp = foreground.setting("seccomp");
    assert!(["yes", "no"].contains(&seccomp.as_str()));
    signal(id, "TERM");
    wait_until("the end", || !fs::exists(format!("/proc/{id}")).unwrap());
    assert!(!folder.join("pid").exists() && !folder.join("socket").exists());
}

/// A network of its own gives the test a client that is not on loopback.
#[test]
fn a_reply_over_udp_is_bound_by_its_request() {
    const MARK: &str = "SLABSTASH_TEST_NETWORK";
    if env::var_os(MARK).is_none() {
        let script = "ip link set lo up && ip addr add 192.0.2.1/32 dev lo && exec \"$@\"";
        let name = "a_reply_over_udp_is_bound_by_its_request";
        let inside = Command::new("unshare")
            .args(["-n", "sh", "-c", script, "sh"])
            .arg(env::current_exe().unwrap())
            .args(["--exact", name, "--nocapture"])
            .env(MARK, "1")
            .output();
        return match inside {
            Ok(output) if String::from_utf8_lossy(&output.stdout).contains("running 1 test") => {
                assert!(output.status.success(), "{output:?}");
            }
            other => println!("no network of our own: {other:?}"),
        };
    }
    let Some(plan) = Plan::new() else { return };
    let root = if is_root() { "-u root " } else { "" };
    let options = format!("{root}-l 127.0.0.1,192.0.2.1 -p {{port}} -U {{port}}");
    let daemon = plan.options(&options).start();
    let value = "v".repeat(1000);
    assert_eq!(daemon.ask(&format!("set a 0 0 1000\r\n{value}\r\nset b 0 0 1\r\nx\r\n")), "STORED\r\nSTORED\r\n");
    let long = format!("VALUE a 0 1000\r\n{value}\r\nEND\r\n");
    let near = Client::new("127.0.0.1", daemon.port);
    assert_eq!(near.ask("get a\r\n"), long);
    let far = Client::new("192.0.2.1", daemon.port);
    assert_eq!(far.ask("get b\r\n"), "VALUE b 0 1\r\nx\r\nEND\r\n");
    assert_eq!(far.ask("get a\r\n"), "SERVER_ERROR too large\r\n");
    assert_eq!(far.ask("stats\r\n"), "SERVER_ERROR too large\r\n");
    // Who sends enough gets as much.
    assert_eq!(far.ask(&format!("get a{}\r\n", " ".repeat(400))), long);
    // Whatever is asked, what comes is no more than three times as much.
    for request in ["get a a a a a\r\n", "stats settings\r\n", "mg a v k t s\r\n", "stats items\r\n", "x\r\n"] {
        let bytes = far.ask(request).len() + 8;
        assert!(bytes <= 3 * (request.len() + 8), "{request}: {bytes}");
    }
    let all = format!("{root}-l 192.0.2.1 -l 127.0.0.1 -p {{port}} -U {{port}} -o udp_reply_factor=0");
    let daemon = Plan::new().unwrap().options(&all).start();
    daemon.ask(&format!("set a 0 0 1000\r\n{value}\r\n"));
    assert_eq!(Client::new("192.0.2.1", daemon.port).ask("get a\r\n"), long);
}

struct Client {
    socket: UdpSocket,
}

impl Client {
    fn new(address: &str, port: u16) -> Client {
        let socket = UdpSocket::bind((address, 0)).unwrap();
        socket.connect((address, port)).unwrap();
        socket.set_read_timeout(Some(TIMEOUT)).unwrap();
        Client { socket }
    }

    /// The payload of the one datagram that answers, which all of these do.
    fn ask(&self, request: &str) -> String {
        let mut datagram = b"\x07\x08\0\0\0\x01\0\0".to_vec();
        datagram.extend_from_slice(request.as_bytes());
        self.socket.send(&datagram).unwrap();
        let mut reply = [0; 2000];
        let length = self.socket.recv(&mut reply).unwrap();
        assert_eq!(reply[..8], *b"\x07\x08\0\0\0\x01\0\0");
        String::from_utf8_lossy(&reply[8..length]).into_owned()
    }
}

/// The same plan, started by root with groups that `-u` has to give up.
fn with_groups(plan: Plan, options: &str) -> Plan {
    let mut command = Command::new("setpriv");
    command.args(["--groups", "4,27"]).arg(plan.command.get_program());
    chown(&plan.folder, Some(0), Some(0)).unwrap();
    Plan { command, ..plan }.options(options)
}

fn text_of(program: &str, arguments: &[&str]) -> String {
    let output = Command::new(program).args(arguments).output().unwrap();
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}

#[test]
fn udp_is_off_unless_it_is_asked_for() {
    let Some(daemon) = start("") else { return };
    assert_eq!(daemon.setting("udpport"), "0");
    let client = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    client.connect((Ipv4Addr::LOCALHOST, daemon.port)).unwrap();
    client.set_read_timeout(Some(TIMEOUT)).unwrap();
    client.send(b"\0\x01\0\0\0\x01\0\0mn\r\n").unwrap();
    // The machine itself says that nobody is there.
    assert_eq!(client.recv(&mut [0]).unwrap_err().kind(), std::io::ErrorKind::ConnectionRefused);
}

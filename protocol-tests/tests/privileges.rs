//! What a running daemon may still do: whom it runs as, which locks of the kernel hold, that what it needs still works, and
//! that its answers over UDP are no weapon.
//!
//! Some kernels and containers have no seccomp or no Landlock; the daemon says so, and it is believed.

use std::collections::BTreeMap;
use std::env;
use std::fs;
use std::net::{Ipv4Addr, UdpSocket};
use std::os::unix::fs::chown;
use std::process::Command;

use protocol_tests::daemon::{Daemon, Plan, TIMEOUT, receive, signal, wait_until};
use protocol_tests::server::is_root;
use seccompiler::{BpfProgram, SeccompAction, SeccompFilter};

/// A daemon on loopback, as whoever runs this, that has given up what it does.
fn start(options: &str) -> Option<Daemon> {
    let daemon = Plan::new()?.options(&format!("-v -l 127.0.0.1 -p {{port}} {options}")).start();
    wait_until("the level", || daemon.errors().contains("privileges: "));
    Some(daemon)
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

/// What was reached used to be said with `-v` only, and a kernel without Landlock not even then.
#[test]
fn the_level_is_said_at_the_start() {
    let Some(plan) = Plan::new() else { return };
    let daemon = plan.options("-l 127.0.0.1 -p {port}").start();
    wait_until("the level", || daemon.errors().contains("privileges: "));
    let files = match daemon.setting("landlock_abi").as_str() {
        "0" => "files as the user has them".to_owned(),
        abi => format!("files restricted (Landlock ABI {abi})"),
    };
    let calls = if daemon.setting("seccomp") == "yes" { "filtered" } else { "not filtered" };
    let lines: Vec<_> = daemon.errors().lines().map(str::to_owned).collect();
    assert_eq!(lines.last(), Some(&format!("privileges: system calls {calls}, {files}")), "{lines:?}");
    let warnings = lines.iter().filter(|line| line.starts_with("no ")).count();
    assert_eq!(warnings, usize::from(files.contains("user")) + usize::from(calls != "filtered"), "{lines:?}");
}

/// memcached says nothing at its start, and nor does a daemon of its name, except for what is not as it should be.
#[test]
fn each_lock_that_does_not_hold_is_a_warning() {
    for (call, warning, level) in [
        (libc::SYS_seccomp, "no filter of system calls: ", "privileges: system calls not filtered, "),
        (libc::SYS_landlock_create_ruleset, "no Landlock: ", ", files as the user has them"),
    ] {
        for name in ["slabstash", "memcached"] {
            let Some(mut plan) = Plan::new() else { return };
            plan.command.env("SLABSTASH_NAME", name);
            let daemon = spawn_without(call, plan.options("-l 127.0.0.1 -p {port}"));
            wait_until("a warning", || daemon.errors().contains(warning));
            match name {
                "slabstash" => wait_until("the level", || daemon.errors().contains(level)),
                _ => assert!(!daemon.errors().contains("privileges: "), "{}", daemon.errors()),
            }
        }
    }
    // One that is a must is no warning.
    let Some(plan) = Plan::new() else { return };
    let mut daemon = spawn_without(libc::SYS_seccomp, plan.options("-l 127.0.0.1 -p {port} -o sandbox=required"));
    assert_eq!(daemon.wait(), Some(1));
    assert!(
        daemon.errors().contains("-o sandbox=required: the system calls cannot be filtered: "),
        "{}",
        daemon.errors()
    );
}

/// The thread that hashes the passwords of strangers was started before files were given up, and kept them. There is a
/// line for every such thread; what a thread of that name can read is a unit test.
#[test]
fn no_thread_is_there_before_files_are_given_up() {
    let Some(plan) = Plan::new() else { return };
    let hash = "$argon2id$v=19$m=64,t=1,p=1$c29tZXNhbHQ$4mqQiyq0VpIzuZmp+8eSF3YJ7Av58TkEJ4LIdOVsAc4";
    let options = "-l 127.0.0.1 -p {port} -Y {folder}/users -o admin_listen=unix:{folder}/admin";
    let daemon = plan.file("users", &format!("u:{hash}\n")).options(options).start();
    // The verifier is there.
    assert!(daemon.ask("set x 0 0 3\r\nu x\r\n").starts_with("CLIENT_ERROR"));
    wait_until("the level", || daemon.errors().contains("privileges: "));
    assert!(!daemon.errors().contains("started too early"), "{}", daemon.errors());
}

#[test]
fn an_option_keeps_all_rights() {
    for option in ["sandbox=off", "no_drop_privileges"] {
        let Some(daemon) = start(&format!("-o {option}")) else { return };
        wait_until("it is said", || daemon.errors().contains("privileges: all kept, as -o sandbox=off says\n"));
        assert!(daemon.thread_facts("Seccomp").iter().all(|mode| mode == "0"));
        assert_eq!([daemon.setting("seccomp"), daemon.setting("landlock_abi")], ["no", "0"]);
        assert_eq!(daemon.setting("sandbox"), "off");
    }
}

#[test]
fn what_is_required_is_there_or_nothing_is() {
    let Some(plan) = Plan::new() else { return };
    let mut daemon = plan.options("-l 127.0.0.1 -p {port} -o drop_privileges").spawn();
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

/// By its own name it used to serve as root with a warning, which is what stands in nobody's way.
#[test]
fn root_by_accident_is_refused_by_either_name() {
    if !is_root() {
        return println!("this takes root");
    }
    for name in ["memcached", "slabstash"] {
        let Some(mut plan) = Plan::new() else { return };
        plan.command.env("SLABSTASH_NAME", name);
        // The last of them counts, and an empty one is none.
        plan.command.args(["-u", ""]);
        let mut daemon = plan.options("-l 127.0.0.1 -p {port}").spawn();
        assert_eq!(daemon.wait(), Some(64));
        assert_eq!(daemon.errors(), "must add '-u root' to start as root\n");
    }
}

/// One command line for both: who is not root names a user and stays who it is.
#[test]
fn a_user_is_named_in_vain_by_who_is_not_root() {
    if !is_root() {
        return println!("this takes root");
    }
    let Some(plan) = Plan::new() else { return };
    let mut command = Command::new("setpriv");
    command.args(["--reuid", "65534", "--regid", "65534", "--clear-groups"]).arg(plan.command.get_program());
    chown(&plan.folder, Some(65534), Some(65534)).unwrap();
    let plan = Plan { command, ..plan };
    let daemon = plan.options("-u daemon -l 127.0.0.1 -p {port}").start();
    assert_eq!(daemon.fact("Uid"), "65534 65534 65534 65534");
}

/// Certificates do the same in `tls.rs`, whose servers have their rights taken as well.
#[test]
fn a_replaced_login_file_is_read() {
    let Some(plan) = Plan::new() else { return };
    let options = "-l 127.0.0.1 -p {port} -Y {folder}/users";
    let daemon = plan.file("users", "old:one\n").options(options).start();
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
    let options = "-d -P {folder}/pid -s {folder}/socket -l 127.0.0.1 -p {port}";
    // The foreground process ends when the other is ready.
    let mut foreground = plan.options(options).spawn();
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
    let options = "-l 127.0.0.1,192.0.2.1 -p {port} -U {port}";
    let daemon = plan.options(options).start();
    let value = "v".repeat(1000);
    assert_eq!(daemon.ask(&format!("set a 0 0 1000\r\n{value}\r\nset b 0 0 1\r\nx\r\n")), "STORED\r\nSTORED\r\n");
    let long = format!("VALUE a 0 1000\r\n{value}\r\nEND\r\n");
    let near = Client::new("127.0.0.1", daemon.port);
    assert_eq!(near.ask("get a\r\n"), long);
    let far = Client::new("192.0.2.1", daemon.port);
    let padded = |request: &str, length: usize| format!("{request}{}\r\n", " ".repeat(length - 2 - request.len()));
    let short = "VALUE b 0 1\r\nx\r\nEND\r\n";
    // Who sends as much gets as much, and not a byte more.
    assert_eq!(far.ask(&padded("get b", short.len())), short);
    assert_eq!(far.ask_in_vain(&padded("get b", short.len() - 1)), "MN\r\n");
    assert_eq!(far.ask(&padded("get a", long.len())), long);
    assert_eq!(far.ask(&padded("get a", long.len() - 1)), "SERVER_ERROR too large\r\n");
    assert_eq!(far.ask_in_vain("get b\r\n"), "MN\r\n");
    for request in ["get a a a a a\r\n", "stats\r\n", "stats settings\r\n", "mg a v k t s\r\n", "stats items\r\n"] {
        assert_eq!(far.ask_in_vain(request), "MN\r\n", "{request}");
    }
    // A hundred answers of four bytes are a hundred datagrams, and mostly the network's headers: that was allowed.
    let many = format!("{}{}", "mn\r\n".repeat(100), padded("get none", 1000));
    assert_eq!(far.ask(&many), "SERVER_ERROR too large\r\n");
    let options = "-l 192.0.2.1 -l 127.0.0.1 -p {port} -U {port} -o udp_reply_factor";
    let daemon = Plan::new().unwrap().options(&format!("{options}=3")).start();
    daemon.ask("set b 0 0 1\r\nx\r\n");
    assert_eq!(Client::new("192.0.2.1", daemon.port).ask("get b\r\n"), short);
    let daemon = Plan::new().unwrap().options(&format!("{options}=0")).start();
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

    /// The payload of the one datagram that answers.
    fn ask(&self, request: &str) -> String {
        self.send(b"\x07\x08\0\0\0\x01\0\0", request);
        self.receive(b"\x07\x08\0\0\0\x01\0\0")
    }

    /// Asks what is not to be answered, and then something that is, whose answer is the first to come.
    fn ask_in_vain(&self, request: &str) -> String {
        self.send(b"\x07\x09\0\0\0\x01\0\0", request);
        self.ask("mn\r\n")
    }

    fn send(&self, header: &[u8; 8], request: &str) {
        self.socket.send(&[header, request.as_bytes()].concat()).unwrap();
    }

    fn receive(&self, header: &[u8; 8]) -> String {
        let mut reply = [0; 2000];
        let length = receive(&self.socket, &mut reply).unwrap();
        assert_eq!(&reply[..8], header);
        String::from_utf8_lossy(&reply[8..length]).into_owned()
    }
}

/// A daemon to which the kernel refuses a system call from the beginning.
fn spawn_without(call: libc::c_long, plan: Plan) -> Daemon {
    let refuse = SeccompAction::Errno(libc::EPERM as u32);
    let rules = BTreeMap::from([(call, Vec::new())]);
    let target = std::env::consts::ARCH.try_into().unwrap();
    let filter = SeccompFilter::new(rules, SeccompAction::Allow, refuse, target).unwrap();
    let program: BpfProgram = filter.try_into().unwrap();
    // Filters are a thread's, and of the processes that it starts.
    let start = move || {
        seccompiler::apply_filter(&program).unwrap();
        plan.spawn()
    };
    std::thread::spawn(start).join().unwrap()
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
    assert_eq!(receive(&client, &mut [0]).unwrap_err().kind(), std::io::ErrorKind::ConnectionRefused);
}

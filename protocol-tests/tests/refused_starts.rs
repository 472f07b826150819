//! Starts that fail: one line on standard error, an exit code, and nothing taken from a server that runs already. What is
//! wrong with words alone is in `options.rs`, with certificates' contents in `tls.rs`.

use std::fs;
use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream, UdpSocket};
use std::os::unix::fs::{PermissionsExt, chown};
use std::os::unix::net::UnixStream;
use std::process::Command;

use protocol_tests::credentials::Authority;
use protocol_tests::daemon::{Daemon, Plan, TIMEOUT, receive, wait_until};
use protocol_tests::server::{free_port, is_root};
use protocol_tests::tls::Trust;

/// Starts what must not start; `{port}` and `{folder}` are the plan's.
#[track_caller]
fn check(plan: Plan, options: &str, code: i32, line: &str) {
    let line = line.replace("{folder}", &plan.folder.display().to_string());
    let mut daemon = plan.options(options).spawn();
    assert_eq!(daemon.wait(), Some(code), "{options}: {}", daemon.errors());
    assert_eq!(daemon.errors(), format!("{line}\n"), "{options}");
}

/// Asks over a stream, and says that there is nothing more to ask.
fn ask(mut stream: impl Read + Write, end: impl Fn(), request: &str) -> String {
    stream.write_all(request.as_bytes()).unwrap();
    end();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer
}

/// A server with a socket of each kind, and what it keeps.
struct Running {
    daemon: Daemon,
    udp_port: u16,
}

impl Running {
    fn start() -> Option<Running> {
        let udp_port = free_port().unwrap();
        let options = format!("-l 127.0.0.1 -p {{port}} -U {udp_port} -s {{folder}}/socket");
        let daemon = Plan::new()?.options(&format!("{options} -o admin_listen=unix:{{folder}}/admin")).start();
        assert_eq!(daemon.ask("set kept 0 0 4\r\nhere\r\n"), "STORED\r\n");
        Some(Running { daemon, udp_port })
    }

    /// Every socket of it leads to it still.
    #[track_caller]
    fn check(&self, what: &str) {
        const FOUND: &str = "VALUE kept 0 4\r\nhere\r\nEND\r\n";
        let request = "get kept\r\n";
        let tcp = TcpStream::connect(("127.0.0.1", self.daemon.port)).unwrap();
        tcp.set_read_timeout(Some(TIMEOUT)).unwrap();
        assert_eq!(ask(&tcp, || tcp.shutdown(Shutdown::Write).unwrap(), request), FOUND, "{what}");
        let unix = UnixStream::connect(self.daemon.folder.join("socket")).unwrap();
        unix.set_read_timeout(Some(TIMEOUT)).unwrap();
        assert_eq!(ask(&unix, || unix.shutdown(Shutdown::Write).unwrap(), request), FOUND, "{what}");
        let udp = UdpSocket::bind(("127.0.0.1", 0)).unwrap();
        udp.connect(("127.0.0.1", self.udp_port)).unwrap();
        udp.set_read_timeout(Some(TIMEOUT)).unwrap();
        udp.send(&[b"\0\x01\0\0\0\x01\0\0", request.as_bytes()].concat()).unwrap();
        let mut reply = [0; 100];
        let length = receive(&udp, &mut reply).unwrap();
        assert_eq!(String::from_utf8_lossy(&reply[8..length]), FOUND, "{what}");
        assert_eq!(self.daemon.page("/healthz").0, 200, "{what}");
    }
}

/// A Unix socket's file used to be taken from the server that listened there, and a UDP port to be shared with it, half of
/// its datagrams gone.
#[test]
fn what_is_taken_stays_with_who_has_it() {
    let Some(running) = Running::start() else { return };
    let (port, udp_port) = (running.daemon.port, running.udp_port);
    let folder = running.daemon.folder.display();
    let in_use = "Address already in use";
    for (options, what) in [
        (format!("-p {port}"), format!("TCP port {port}")),
        (format!("-p {{port}} -U {udp_port}"), format!("UDP port {udp_port}")),
        (format!("-s {folder}/socket"), format!("UNIX socket: {folder}/socket")),
        (format!("-s {folder}/socket -p {{port}}"), format!("UNIX socket: {folder}/socket")),
        (format!("-s {{folder}}/own -p {port}"), format!("TCP port {port}")),
        (format!("-l 127.0.0.1:{port}"), format!("one of interface(s) 127.0.0.1:{port}")),
        (
            format!("-p {{port}} -l 127.0.0.1,127.0.0.1:{port}"),
            format!("one of interface(s) 127.0.0.1,127.0.0.1:{port}"),
        ),
        (format!("-p {{port}} -o admin_listen=unix:{folder}/admin"), format!("admin_listen=unix:{folder}/admin")),
        (format!("-d -p {port}"), format!("TCP port {port}")),
    ] {
        check(Plan::new().unwrap(), &options, 71, &format!("failed to listen on {what}: {in_use}"));
        running.check(&options);
    }
}

/// What a server that was killed left behind is in nobody's way.
#[test]
fn sockets_that_were_left_are_replaced() {
    let Some(plan) = Plan::new() else { return };
    let folder = plan.folder.display().to_string();
    let left = [format!("{folder}/socket"), format!("{folder}/admin")];
    for path in &left {
        drop(std::os::unix::net::UnixListener::bind(path).unwrap());
    }
    let options = "-s {folder}/socket -l 127.0.0.1 -p {port} -o admin_listen=unix:{folder}/admin";
    let daemon = plan.options(options).start();
    wait_until("the workers", || daemon.page("/readyz").0 == 200);
    assert!(left.iter().all(|path| UnixStream::connect(path).is_ok()), "{}", daemon.errors());
}

/// The plan of somebody without root's rights, for whom the folder is not writable; `words` stand before the program.
fn humble(words: &[&str]) -> Option<Plan> {
    let plan = Plan::new()?;
    let mut command = Command::new("setpriv");
    command.args(["--reuid", "65534", "--regid", "65534", "--clear-groups"]).args(words);
    command.arg(plan.command.get_program());
    Some(Plan { command, ..plan })
}

#[test]
fn too_few_descriptors() {
    if !is_root() {
        return println!("this takes root, to become somebody else");
    }
    let Some(plan) = humble(&["prlimit", "--nofile=128:128"]) else { return };
    let line = "failed to set rlimit for open files. Try starting as root or requesting smaller maxconns value.";
    check(plan, "-l 127.0.0.1 -p {port}", 71, line);
    // As many as there may be are enough if fewer are asked for.
    let plan = humble(&["prlimit", "--nofile=128:128"]).unwrap();
    chown(&plan.folder, Some(65534), None).unwrap();
    assert!(plan.options("-l 127.0.0.1 -p {port} -c 100 -t 2").start().ask("mn\r\n").contains("MN"));
}

#[test]
fn files_of_others_are_not_read() {
    if !is_root() {
        return println!("this takes root, to become somebody else");
    }
    let authority = Authority::new("tests");
    for (unreadable, line) in [
        ("server-chain.pem", "Error loading the certificate chain: {folder}/server-chain.pem : Permission denied"),
        ("server-key.pem", "Error loading the key: {folder}/server-key.pem : Permission denied"),
    ] {
        let Some(plan) = humble(&[]) else { return };
        authority.issue_server().write(&plan.folder, "server").unwrap();
        fs::set_permissions(plan.folder.join(unreadable), fs::Permissions::from_mode(0o600)).unwrap();
        let files = "ssl_chain_cert={folder}/server-chain.pem,ssl_key={folder}/server-key.pem";
        check(plan, &format!("-l 127.0.0.1 -p {{port}} -Z -o {files}"), 64, line);
    }
    let users = |plan: Plan| {
        let plan = plan.file("users", "u:p\n");
        fs::set_permissions(plan.folder.join("users"), fs::Permissions::from_mode(0o600)).unwrap();
        plan
    };
    let why = "Permission denied";
    let line = format!("Could not open authfile [{{folder}}/users] for reading, error {why}: {why}");
    check(users(humble(&[]).unwrap()), "-l 127.0.0.1 -p {port} -Y {folder}/users", 1, &line);
    let mut plan = users(humble(&[]).unwrap());
    plan.command.env("MEMCACHED_SASL_PWDB", plan.folder.join("users"));
    let line = format!("Could not open SASL password file [{{folder}}/users]: {why}");
    check(plan, "-l 127.0.0.1 -p {port} -S", 1, &line);
}

#[test]
fn login_files_that_cannot_be_used() {
    let start = |option: &str, text: Option<&str>, line: &str| {
        let Some(mut plan) = Plan::new() else { return };
        plan.command.env("MEMCACHED_SASL_PWDB", plan.folder.join("users")).env("SASL_CONF_PATH", &plan.folder);
        if let Some(text) = text {
            plan = plan.file("users", text);
        }
        check(plan, &format!("-l 127.0.0.1 -p {{port}} {option}"), 1, line);
    };
    let text = "-Y {folder}/users";
    let missing = "No such file or directory";
    start(text, None, &format!("Could not open authfile [{{folder}}/users] for reading, error {missing}: {missing}"));
    for bad in ["", "no colon\n"] {
        start(text, Some(bad), "Authfile [{folder}/users] has a malformed entry. Should be 'user:password'");
    }
    let hash = "u:$argon2id$v=19$m=1,t=1,p=1$x$y\n";
    start("-S", None, &format!("Could not open SASL password file [{{folder}}/users]: {missing}"));
    let line = "SASL password file [{folder}/users] has a malformed entry in line 2. Should be 'user@realm:password'";
    start("-S", Some("u@h:p\nno colon\n"), line);
    for option in [text, "-S"] {
        let Some(mut plan) = Plan::new() else { return };
        plan.command.env("MEMCACHED_SASL_PWDB", plan.folder.join("users"));
        let mut daemon = plan.file("users", hash).options(&format!("-l 127.0.0.1 -p {{port}} {option}")).spawn();
        assert_eq!(daemon.wait(), Some(1), "{option}");
        let said = daemon.errors();
        assert!(said.contains("has a hash that cannot be used") && said.lines().count() == 1, "{option}: {said}");
    }
    let Some(plan) = Plan::new() else { return };
    let line = "-S needs a password file: the environment variable MEMCACHED_SASL_PWDB names none";
    check(plan, "-l 127.0.0.1 -p {port} -S", 1, line);
}

/// Root reads the key at the start, and the user of `-u` cannot at a reload.
#[test]
fn certificates_that_cannot_be_read_at_a_reload_stay() {
    if !is_root() {
        return println!("this takes root, to become somebody else");
    }
    let authority = Authority::new("tests");
    let Some(plan) = Plan::new() else { return };
    let files = authority.issue_server().write(&plan.folder, "server").unwrap();
    fs::set_permissions(&files.key, fs::Permissions::from_mode(0o600)).unwrap();
    let daemon = plan.options(&format!("-u nobody -l 127.0.0.1 -p {{port}} -Z -o {}", files.options())).start();
    wait_until("the start", || daemon.errors().contains("privileges: "));
    let said = daemon.errors();
    let certificate = || {
        let mut socket = TcpStream::connect(("127.0.0.1", daemon.port)).unwrap();
        socket.set_read_timeout(Some(TIMEOUT)).unwrap();
        let tls = Trust::new(&authority).begin(&mut socket).unwrap();
        tls.server_certificate().unwrap().to_vec()
    };
    let first = certificate();
    daemon.signal("HUP");
    wait_until("a line", || daemon.errors().len() > said.len());
    let line = format!("Error loading the key: {} : Permission denied", files.key.display());
    let line = format!("Could not reload TLS certificates on SIGHUP: {line}\n");
    assert_eq!(daemon.errors().strip_prefix(&said), Some(line.as_str()));
    assert_eq!(certificate(), first);
}

//! `slabstash top|stats|keys|dump|load|check` against a live server: slabstash, or a real memcached, named by `MEMCACHED`.
//! The commands are always those of the slabstash built beside this test.

mod terminal_screen;

use std::env;
use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, Shutdown, TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::{self, Child, Command, Output, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::mpsc::{Receiver, channel};
use std::sync::{Arc, Condvar, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use protocol_tests::case::Setting;
use protocol_tests::credentials::Authority;
use protocol_tests::server::{Program, Server, built_beside_this_test, free_port};
use terminal_screen::Screen;

/// A server with a folder of its own.
struct Node {
    server: Server,
    folder: PathBuf,
}

impl Node {
    fn start(options: &str) -> Node {
        Node::start_with(options, &[])
    }

    fn start_with(options: &str, files: &[(&str, &str)]) -> Node {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let folder = env::temp_dir().join(format!("terminal-{}-{number}", process::id()));
        let setting = Setting {
            options: options.split_whitespace().map(str::to_owned).collect(),
            files: files.iter().map(|(name, text)| ((*name).to_owned(), text.as_bytes().to_vec())).collect(),
            ..Setting::default()
        };
        let program = Program::from_environment().unwrap();
        Node { server: Server::start(&program, &setting, folder.clone()).unwrap(), folder }
    }

    fn address(&self) -> String {
        format!("127.0.0.1:{}", self.server.port)
    }

    fn file(&self, name: &str) -> String {
        self.folder.join(name).display().to_string()
    }

    fn connect(&self) -> Client {
        Client { reader: BufReader::new(TcpStream::connect((Ipv4Addr::LOCALHOST, self.server.port)).unwrap()) }
    }
}

/// A plain client.
struct Client {
    reader: BufReader<TcpStream>,
}

impl Client {
    fn send(&mut self, bytes: &[u8]) {
        self.reader.get_mut().write_all(bytes).unwrap();
    }

    fn line(&mut self) -> String {
        let mut line = Vec::new();
        self.reader.read_until(b'\n', &mut line).unwrap();
        String::from_utf8_lossy(line.trim_ascii_end()).into_owned()
    }

    fn ask(&mut self, line: &str) -> String {
        self.send(format!("{line}\r\n").as_bytes());
        self.line()
    }

    #[track_caller]
    fn store(&mut self, command: &str, value: &[u8]) {
        self.send(&[command.as_bytes(), b"\r\n", value, b"\r\n"].concat());
        let line = self.line();
        assert!(line == "STORED" || line == "HD", "{command}: {line}");
    }

    /// Value, flags and seconds to live.
    fn item(&mut self, key: &str) -> Option<(Vec<u8>, String, i64)> {
        let line = self.ask(&format!("mg {key} f t v"));
        let words: Vec<&str> = line.split(' ').collect();
        let [_, length, flags, ttl] = words[..] else { return None };
        let mut value = vec![0; length.parse::<usize>().unwrap() + 2];
        self.reader.read_exact(&mut value).unwrap();
        value.truncate(value.len() - 2);
        Some((value, flags.to_owned(), ttl[1..].parse().unwrap()))
    }

    fn statistic(&mut self, name: &str) -> String {
        let mut found = String::new();
        let mut line = self.ask("stats");
        while line != "END" {
            if let Some(value) = line.strip_prefix(&format!("STAT {name} ")) {
                found = value.to_owned();
            }
            line = self.line();
        }
        found
    }
}

fn slabstash(words: &[&str]) -> Command {
    let mut command = Command::new(built_beside_this_test().unwrap());
    command.args(words).env_remove("SLABSTASH_NAME").stdin(Stdio::null());
    command
}

fn run(words: &[&str]) -> Output {
    slabstash(words).output().unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// What a command prints that ends as expected.
#[track_caller]
fn printed(code: i32, words: &[&str]) -> String {
    let output = run(words);
    let (out, errors) = (text(&output.stdout), text(&output.stderr));
    assert_eq!(output.status.code(), Some(code), "{words:?}\n{out}\n{errors}");
    out
}

/// What a command complains of that ends as expected.
#[track_caller]
fn complaint(code: i32, words: &[&str]) -> String {
    let output = run(words);
    let (out, errors) = (text(&output.stdout), text(&output.stderr));
    assert_eq!(output.status.code(), Some(code), "{words:?}\n{out}\n{errors}");
    errors
}

#[track_caller]
fn has(text: &str, parts: &[&str]) {
    for part in parts {
        assert!(text.contains(part), "no {part:?} in\n{text}");
    }
}

/// A port nobody listens on.
fn nowhere() -> String {
    format!("127.0.0.1:{}", free_port().unwrap())
}

#[test]
fn stats_show_what_the_node_says() {
    let (one, two) = (Node::start("-m 32"), Node::start(""));
    let (one_address, two_address) = (one.address(), two.address());
    one.connect().store("set key 0 0 5", b"value");
    let general = printed(0, &["stats", &one_address, &two_address]);
    has(
        &general,
        &[&format!("#{one_address}"), &format!("#{two_address}"), "                   curr_items             1\n"],
    );
    let table = printed(0, &["stats", &one_address, "display"]);
    assert_eq!(table.lines().next(), Some("  #  Item_Size  Max_age   Pages   Count   Full?  Evicted Evict_Time OOM"));
    has(&table, &["  1      96B "]);
    let changed = printed(0, &["stats", &one_address, "settings", "--changed"]);
    has(&changed, &[" maxbytes    33554432\n", " inter   127.0.0.1\n"]);
    assert!(!changed.contains("maxconns"), "{changed}");
    for (kind, part) in [
        ("items", "\"items:1:number\":1"),
        ("slabs", "\"1:chunk_size\":96"),
        ("conns", ":state\":\"conn_"),
        ("sizes", "{"),
    ] {
        let json = printed(0, &["stats", &one_address, kind, "--json"]);
        assert!(json.starts_with(&format!("{{\"{one_address}\":{{")) && json.ends_with("}}\n"), "{json}");
        has(&json, &[part]);
    }
    let nowhere = nowhere();
    let both = run(&["stats", &nowhere, &one_address]);
    assert_eq!(both.status.code(), Some(1));
    has(&text(&both.stderr), &[&format!("slabstash: {nowhere}: cannot connect: connection refused\n")]);
    has(&text(&both.stdout), &[&format!("#{one_address}")]);
}

#[test]
fn keys_are_listed_filtered_and_counted() {
    let node = Node::start("");
    let address = node.address();
    let mut client = node.connect();
    for number in 0..30 {
        client.store(&format!("set user:{number} 0 100 1"), b"x");
        client.store(&format!("set page:{number} 0 0 300"), &[b'y'; 300]);
    }
    client.store("ms AAECIA== 1 b", b"z");
    client.store("set a%b 0 5000 1", b"z");
    let lines = |words: &[&str]| {
        let mut all = vec!["keys", &address];
        all.extend(words);
        let mut lines: Vec<String> = printed(0, &all).lines().map(str::to_owned).collect();
        lines.sort();
        lines
    };
    assert_eq!(lines(&["--names"]).len(), 62);
    assert_eq!(lines(&[]).len(), 63);
    let users = lines(&["--names", "--prefix", "user:"]);
    assert_eq!(users.len(), 30);
    assert!(users.contains(&"user:29".to_owned()));
    assert_eq!(lines(&["-n", "--ttl-below", "200"]), users);
    assert_eq!(lines(&["-n", "--ttl-above", "200", "--ttl-below", "6000"]), ["a%b"]);
    assert_eq!(lines(&["-n", "--class", "1", "-p", "page:"]), Vec::<String>::new());
    assert_eq!(lines(&["-n", "--limit", "7"]).len(), 7);
    assert!(lines(&["-n", "--class", "1"]).contains(&"\\x00\\x01\\x02 ".to_owned()));
    has(&lines(&["--raw"]).join("\n"), &["key=%00%01%02%20 exp=-1 la=", "key=a%25b exp="]);
    has(&lines(&["--json"]).join("\n"), &["{\"key\":\"a%b\",\"ttl_seconds\":", "\"fetched\":false"]);
    has(&printed(0, &["keys", &address, "--count", "-p", "user:"]), &["30 keys, "]);
    has(&printed(0, &["keys", &address, "--count-by", "prefix"]), &["  page:\n", "  user:\n", "62 keys, "]);
}

#[test]
fn keys_that_may_not_be_listed_are_an_error() {
    let node = Node::start("-X");
    for words in [&["keys"][..], &["keys", "--names"], &["dump"]] {
        let mut words = words.to_vec();
        let address = node.address();
        words.push(&address);
        has(&complaint(1, &words), &["unexpected answer: ERROR metadump not allowed"]);
    }
}

/// The items of the round trip: flags, time and value.
fn store_many(client: &mut Client) -> Vec<String> {
    let every_byte: Vec<u8> = (0..=255).cycle().take(700_000).collect();
    let absolute = client.statistic("time").parse::<i64>().unwrap() + 5000;
    let mut keys = Vec::new();
    let mut store = |key: &str, flags: u32, exptime: i64, value: &[u8]| {
        client.store(&format!("set {key} {flags} {exptime} {}", value.len()), value);
        keys.push(key.to_owned());
    };
    store("empty", 0, 0, b"");
    store("flags", u32::MAX, 0, b"1");
    store("relative", 1, 1000, b"END\r\nVALUE x 0 1\r\nx\r\nEND\r\n");
    store("absolute", 2, absolute, b"\0");
    store("large", 3, 0, &every_byte);
    store(&"k".repeat(250), 4, 3000, &every_byte[..20_000]);
    store("a%20b", 5, 0, b"percent");
    store("k\u{e4}se", 6, 0, b"not ascii");
    for number in 0..500 {
        store(&format!("many:{number}"), number, i64::from(number % 2) * 900, &every_byte[..number as usize * 3]);
    }
    client.store("ms AAECIA== 3 b F7 T100", b"abc");
    client.store("ms DQo= 0 b", b"");
    keys.extend(["AAECIA== b".to_owned(), "DQo= b".to_owned()]);
    keys
}

#[track_caller]
fn same_items(one: &mut Client, two: &mut Client, keys: &[String]) {
    for key in keys {
        let (before, after) = (one.item(key).unwrap(), two.item(key).unwrap());
        assert!(before.0 == after.0, "{key}: another value");
        assert_eq!(before.1, after.1, "{key}: other flags");
        assert!((before.2 - after.2).abs() <= 2, "{key}: {} and {} seconds to live", before.2, after.2);
    }
}

#[test]
fn a_dump_is_loaded_as_it_was() {
    let (one, two, three) = (Node::start(""), Node::start(""), Node::start(""));
    let keys = store_many(&mut one.connect());
    let file = one.file("items.dump");
    let told = complaint(0, &["dump", &one.address(), "--output", &file]);
    // One line: there is no bar where there is no terminal.
    assert!(told.starts_with(&format!("{} keys, ", keys.len())) && told.lines().count() == 1, "{told}");
    assert!(!told.contains('\u{1b}') && !told.contains('\r'), "{told:?}");
    assert!(!PathBuf::from(format!("{file}.partial")).exists());
    let told = complaint(0, &["load", &two.address(), "--input", &file]);
    assert_eq!(told, format!("{} stored, 0 expired, 0 refused\n", keys.len()));
    same_items(&mut one.connect(), &mut two.connect(), &keys);

    // Straight from one to the other, keeping what is there.
    three.connect().store("set empty 9 0 4", b"mine");
    let mut dump = slabstash(&["dump", &one.address()]);
    let mut dump = dump.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
    let pipe = dump.stdout.take().unwrap();
    let load = slabstash(&["load", &three.address(), "--add"]).stdin(pipe).output().unwrap();
    assert!(dump.wait().unwrap().success() && load.status.success());
    let expected = format!("{} stored, 1 were there, 0 expired, 0 refused\n", keys.len() - 1);
    assert_eq!(text(&load.stderr), expected);
    assert_eq!(three.connect().item("empty").unwrap().0, b"mine");
    same_items(&mut one.connect(), &mut three.connect(), &keys[1..]);

    let some = printed(0, &["dump", &one.address(), "--prefix", "many:", "--limit", "5"]);
    assert_eq!(some.lines().filter(|line| line.starts_with("set many:")).count(), 5);
}

#[test]
fn a_bad_dump_does_no_harm() {
    let node = Node::start("");
    let address = node.address();
    node.connect().store("set kept 0 0 1", b"1");
    let file = node.file("bad.dump");
    let load = |content: &[u8]| {
        fs::write(&file, content).unwrap();
        complaint(1, &["load", &address, "-i", &file])
    };
    let told = load(b"set a 0 0 1\r\n1\r\nset b 0 0 5\r\n12");
    has(&told, &["1 stored, 0 expired, 0 refused", "record 2, b, is cut off"]);
    // Two mebibytes, so that the value is sent before it is known to be cut off.
    let told = load(&[b"set a 0 0 1\r\n1\r\nset huge 0 0 4000000\r\n", &[b'x'; 2 << 20][..]].concat());
    has(&told, &["1 stored, 0 expired, 0 refused", "record 2, huge, is cut off"]);
    let told = load(b"set c 0 0 1\r\n1\r\nflush_all\r\n");
    has(&told, &["1 stored", "record 2 is no storage command of a dump: flush_all"]);
    let large = [b"set large 0 0 1100000\r\n", &[b'x'; 1_100_000][..], b"\r\nset d 0 0 1\r\n1\r\n"].concat();
    has(&load(&large), &["large: SERVER_ERROR object too large for cache", "1 stored, 0 expired, 1 refused"]);
    let huge = [b"set huge 0 0 3000000\r\n", &[b'x'; 3_000_000][..], b"\r\nset d 0 0 1\r\n1\r\n"].concat();
    has(&load(&huge), &["huge: SERVER_ERROR object too large for cache", "1 stored, 0 expired, 1 refused"]);
    fs::write(&file, b"set old 0 1000000000 1\r\n1\r\n").unwrap();
    has(&complaint(0, &["load", &address, "-i", &file]), &["0 stored, 1 expired, 0 refused"]);
    let mut client = node.connect();
    for key in ["kept", "a", "c", "d"] {
        assert_eq!(client.item(key).map(|item| item.0), Some(b"1".to_vec()), "{key}");
    }
    for key in ["b", "huge", "large", "old"] {
        assert_eq!(client.item(key), None, "{key}");
    }
    has(&complaint(1, &["load", &address, "-i", "/nonexistent/file"]), &["cannot read /nonexistent/file"]);
    has(&complaint(1, &["dump", &address, "-o", "/nonexistent/file"]), &["cannot write /nonexistent/file.partial"]);
}

#[test]
fn check_tells_what_is_wrong() {
    let node = Node::start("-c 40");
    let address = node.address();
    let line = printed(0, &["check", &address]);
    assert!(line.starts_with(&format!("OK - {address}: version ")), "{line}");
    has(&line, &[" | round_trip=", " probe=", " connections="]);
    let mut client = node.connect();
    assert_eq!((client.statistic("curr_items"), client.statistic("cmd_set")), ("0".to_owned(), "1".to_owned()));
    assert!(!printed(0, &["check", &address, "--read-only"]).contains("probe="));
    let line = printed(1, &["check", &address, "--connections", "1"]);
    assert!(line.starts_with("WARNING - ") && line.contains(" of 40 connections (-c)"), "{line}");
    printed(0, &["check", &address, "--connections", "1", "--probe"]);

    let nowhere = nowhere();
    let lines = printed(2, &["check", &address, &nowhere]);
    has(&lines, &[&format!("OK - {address}"), &format!("CRITICAL - {nowhere}: cannot connect: connection refused")]);
    let json = printed(2, &["check", &nowhere, "--json", "--probe"]);
    assert!(json.starts_with(&format!("{{\"{nowhere}\":{{\"status\":\"critical\",")), "{json}");

    // Somebody who accepts and is silent.
    let silent = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let address = silent.local_addr().unwrap().to_string();
    has(&printed(2, &["check", &address, "--timeout", "0.2"]), &["CRITICAL - ", "no answer in time"]);
}

#[test]
fn a_login_is_used_where_it_is_asked_for() {
    let node = Node::start_with("-Y {file:users}", &[("users", "me:secret\n"), ("wrong", "me:guess\n")]);
    let address = node.address();
    has(&complaint(1, &["stats", &address]), &["unexpected answer: CLIENT_ERROR unauthenticated"]);
    has(&printed(0, &["stats", &address, "--auth", &node.file("users")]), &["curr_items"]);
    printed(0, &["check", &address, "--auth", &node.file("users")]);
    let told = complaint(1, &["stats", &address, "--auth", &node.file("wrong")]);
    has(&told, &["unexpected answer: CLIENT_ERROR authentication failure"]);
}

/// A memcached may be built without TLS: only with the daemon that stands beside this test it is there for certain.
fn tls_is_there() -> bool {
    env::var_os("MEMCACHED").is_none()
}

#[test]
fn nodes_are_asked_over_tls() {
    if !tls_is_there() {
        return;
    }
    let folder = env::temp_dir().join(format!("terminal-tls-{}", process::id()));
    fs::create_dir_all(&folder).unwrap();
    let (authority, stranger) = (Authority::new("ours"), Authority::new("theirs"));
    let ca = authority.write(&folder, "ca.pem").unwrap().display().to_string();
    let other = stranger.write(&folder, "other.pem").unwrap().display().to_string();
    let options = authority.issue_server().write(&folder, "server").unwrap().options();
    let client = authority.issue_client("operator").write(&folder, "client").unwrap();
    let (cert, key) = (client.chain.display().to_string(), client.key.display().to_string());
    let users = [("users", "me:secret\n")];
    let node = Node::start_with(&format!("-Z -o {options},ssl_ca_cert={ca} -Y {{file:users}}"), &users);
    // The certificate is for localhost.
    let (address, by_number) = (format!("localhost:{}", node.server.port), node.address());
    let auth = node.file("users");
    let trusted = ["--tls", "--ca", &ca, "--auth", &auth];
    let with = |words: &[&'static str], more: &[&str]| {
        let words: Vec<String> = words.iter().chain(&trusted).chain(more).map(|word| (*word).to_owned()).collect();
        words
    };
    let ask = |code: i32, words: Vec<String>| {
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        printed(code, &words)
    };
    has(&ask(0, with(&["stats"], &[&address])), &["curr_items"]);
    has(&ask(0, with(&["check", "--json"], &[&address])), &["\"status\":\"ok\""]);
    has(&ask(0, with(&["top", "--once", "-i", "0.1", "--hot-keys"], &[&address])), &[" up "]);

    // Values larger than what TLS buffers, there and back.
    let dump = node.file("dump");
    let value = "0123456789abcdef".repeat(50_000);
    fs::write(&dump, format!("set large 7 0 {}\r\n{value}\r\nset small 0 0 1\r\n1\r\n", value.len())).unwrap();
    ask(0, with(&["load"], &[&address, "-i", &dump]));
    assert_eq!(ask(0, with(&["keys", "--names"], &[&address])).lines().count(), 2);
    let back = ask(0, with(&["dump"], &[&address]));
    assert!(back.contains(&value) && back.contains("set large 7 0 800000"), "{} bytes", back.len());
    // The node has counted nobody as broken.
    let general = ask(0, with(&["stats"], &[&address]));
    assert!(general.lines().any(|line| line.split_whitespace().eq(["ssl_proto_errors", "0"])), "{general}");

    // Who the node is, is checked.
    let refused = |words: &[&str], told: &str| has(&complaint(1, words), &[told]);
    refused(
        &["stats", &by_number, "--tls", "--ca", &ca],
        "cannot connect: the node's certificate is not for 127.0.0.1",
    );
    let named = [&by_number, "--server-name", "localhost"];
    has(&ask(0, with(&["stats"], &named)), &["curr_items"]);
    let unknown = "cannot connect: no trusted authority (--ca) has signed the node's certificate";
    refused(&["stats", &address, "--tls", "--ca", &other], unknown);
    refused(&["stats", &address, "--timeout", "5"], "the node speaks TLS (--tls)");
    let plain = Node::start("");
    refused(&["stats", &plain.address(), "--tls", "--ca", &ca], "cannot connect: the node does not speak TLS");
    refused(&["stats", &address, "--tls", "--ca", "/nonexistent"], "cannot read /nonexistent: ");
    refused(&["stats", &address, "--tls", "--ca", &ca, "--cert", &ca], "no private key in it");
    has(&complaint(64, &["stats", "--ca", &ca]), &["--ca is for --tls"]);
    let silent = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let silent_address = silent.local_addr().unwrap().to_string();
    refused(&["stats", &silent_address, "--tls", "--ca", &ca, "--timeout", "0.2"], "no answer in time");

    // Who we are, where the node asks for it.
    let node = Node::start(&format!("-Z -o {options},ssl_ca_cert={ca},ssl_verify_mode=2"));
    let address = format!("localhost:{}", node.server.port);
    has(&printed(0, &["stats", &address, "--tls", "--ca", &ca, "--cert", &cert, "--key", &key]), &["curr_items"]);
    refused(&["stats", &address, "--tls", "--ca", &ca], "CertificateRequired");
    fs::remove_dir_all(&folder).unwrap();
}

#[test]
fn top_prints_once() {
    let node = Node::start("");
    let (address, nowhere) = (node.address(), nowhere());
    let mut client = node.connect();
    client.store("set hot 0 0 1", b"1");
    let stop = std::sync::Arc::new(std::sync::atomic::AtomicBool::new(false));
    let is_stopped = std::sync::Arc::clone(&stop);
    let load = thread::spawn(move || {
        while !is_stopped.load(Ordering::Relaxed) {
            assert!(client.item("hot").is_some());
        }
    });
    let table = printed(1, &["top", "--once", "-i", "0.5", "--hot-keys", &address, &nowhere]);
    stop.store(true, Ordering::Relaxed);
    load.join().unwrap();
    let lines: Vec<&str> = table.lines().collect();
    assert!(lines[0].starts_with("node "), "{table}");
    let cells: Vec<&str> = lines[1].split_whitespace().collect();
    assert_eq!(cells[..2], [address.as_str(), "up"]);
    assert!(cells[4] != "0" && cells[4] != "-", "operations: {table}");
    assert_eq!(lines[2].split_whitespace().take(3).collect::<Vec<_>>(), [nowhere.as_str(), "down", "-"]);
    has(&table, &[&format!("CRITICAL - {nowhere}: cannot connect"), " 100.0% hot\n"]);
    printed(0, &["top", "-i", "0.1", &address]);
}

#[test]
fn top_prints_json_for_scripts() {
    let node = Node::start("");
    let (address, nowhere) = (node.address(), nowhere());
    let lines = printed(1, &["top", "--once", "--json", "-i", "0.2", "--hot-keys", &address, &nowhere]);
    let of = |node: &str| lines.lines().find(|line| line.contains(&format!("\"node\":\"{node}\""))).unwrap().to_owned();
    assert_eq!(lines.lines().count(), 2, "{lines}");
    let up = of(&address);
    assert!(up.starts_with("{\"time\":") && up.ends_with('}'), "{up}");
    has(
        &up,
        &["\"state\":\"up\"", "\"gets_per_second\":0.0", "\"hit_ratio\":null", "\"findings\":[", "\"hot_keys\":["],
    );
    has(&of(&nowhere), &["\"state\":\"down\",\"error\":\"", "connection refused\",\"findings\":[]"]);

    // Without an end a line comes at each interval, and the first is not waited for; it ends when nobody reads any more.
    let mut top = slabstash(&["top", "--json", "-i", "0.1", &address]).stdout(Stdio::piped()).spawn().unwrap();
    let mut reader = BufReader::new(top.stdout.take().unwrap());
    let mut seen = Vec::new();
    for _ in 0..3 {
        let mut line = String::new();
        reader.read_line(&mut line).unwrap();
        seen.push(line);
    }
    drop(reader);
    assert_eq!(top.wait().unwrap().code(), Some(0));
    has(&seen[0], &["\"operations_per_second\":null"]);
    has(&seen[2], &["\"operations_per_second\":0.0"]);
}

/// A command in a pseudo terminal, which `script` of util-linux provides.
struct OnTerminal {
    child: Child,
    output: Receiver<Vec<u8>>,
    screen: Screen,
    received: Vec<u8>,
}

impl OnTerminal {
    fn start(words: &[&str]) -> OnTerminal {
        let program = built_beside_this_test().unwrap();
        let line = format!("stty rows 40 cols 150; exec {} {}", program.display(), words.join(" "));
        let mut command = Command::new("script");
        command.args(["-qefc", &line, "/dev/null"]).env("TERM", "xterm-256color").env("SHELL", "/bin/sh");
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let mut pipe = child.stdout.take().unwrap();
        let (sender, output) = channel();
        thread::spawn(move || {
            let mut piece = [0; 4096];
            while let Ok(count @ 1..) = pipe.read(&mut piece) {
                let _ = sender.send(piece[..count].to_vec());
            }
        });
        OnTerminal { child, output, screen: Screen::new(150, 40), received: Vec::new() }
    }

    /// Waits until all of these are on the screen.
    #[track_caller]
    fn wait(&mut self, parts: &[&str]) {
        let deadline = Instant::now() + SCREEN_TIMEOUT;
        while !parts.iter().all(|part| self.screen.text().contains(part)) {
            let left = deadline.saturating_duration_since(Instant::now());
            match self.output.recv_timeout(left) {
                Ok(piece) => {
                    self.screen.take(&piece);
                    self.received.extend(piece);
                }
                Err(_) => panic!("no {parts:?} in\n{}", self.screen.text()),
            }
        }
    }

    /// All that it wrote until it ended well.
    #[track_caller]
    fn finish(mut self) -> String {
        let mut received = Vec::new();
        // The sender goes when the terminal is closed.
        while let Ok(piece) = self.output.recv_timeout(SCREEN_TIMEOUT) {
            received.extend(piece);
        }
        assert_eq!(self.child.wait().unwrap().code(), Some(0), "{}", text(&received));
        text(&received)
    }

    fn press(&mut self, keys: &str) {
        self.child.stdin.as_mut().unwrap().write_all(keys.as_bytes()).unwrap();
    }
}

impl Drop for OnTerminal {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A server on a port of our choice, so that it can come back.
fn start_on(port: u16) -> Child {
    let program = Program::from_environment().unwrap();
    let mut command = program.command();
    command.args(["-l", "127.0.0.1", "-U", "0", "-p", &port.to_string()]);
    let child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    let deadline = Instant::now() + SCREEN_TIMEOUT;
    while TcpStream::connect((Ipv4Addr::LOCALHOST, port)).is_err() {
        assert!(Instant::now() < deadline, "the server does not listen");
        thread::sleep(Duration::from_millis(5));
    }
    child
}

#[test]
fn top_lives_on_a_terminal() {
    let node = Node::start("");
    let port = free_port().unwrap();
    let mut mortal = start_on(port);
    let (address, mortal_address) = (node.address(), format!("127.0.0.1:{port}"));
    let mut top = OnTerminal::start(&["top", "-i", "0.2", &address, &mortal_address]);
    top.wait(&["slabstash top", "2 nodes  ", "operations per second: ", "round trip: ", "wasted", &address, "q quit"]);
    mortal.kill().unwrap();
    mortal.wait().unwrap();
    top.wait(&["2 nodes, 1 down", "Warnings (1)"]);
    // Down to the dead node, then its warnings.
    top.press("\u{1b}[B5");
    top.wait(&[&format!("{mortal_address}: cannot connect: connection refused")]);
    mortal = start_on(port);
    top.wait(&["2 nodes  ", "nothing is wrong"]);
    top.press("3");
    top.wait(&["memcached's default", "inter"]);
    top.press("4");
    top.wait(&["no fetches seen yet"]);
    let mut client = Client { reader: BufReader::new(TcpStream::connect((Ipv4Addr::LOCALHOST, port)).unwrap()) };
    let _ = client.ask("mg wanted v");
    top.wait(&["wanted"]);
    top.press("q");
    let status = top.child.wait().unwrap();
    mortal.kill().unwrap();
    mortal.wait().unwrap();
    assert_eq!(status.code(), Some(0));
    while let Ok(piece) = top.output.recv_timeout(SCREEN_TIMEOUT) {
        top.received.extend(piece);
    }
    // The terminal is as it was: the other screen left, the cursor shown.
    let received = text(&top.received);
    has(&received, &["\u{1b}[?1049h", "\u{1b}[?1049l", "\u{1b}[?25h"]);
}

/// A node with an admin listener, which only slabstash has: its address, and the listener's port.
fn observed() -> Option<(Node, String)> {
    if Program::from_environment().unwrap().is_reference {
        return None;
    }
    let port = free_port().unwrap();
    let node = Node::start(&format!("-t 1 -o admin_listen=127.0.0.1:{port},admin_keys"));
    let mut client = node.connect();
    client.store("set hot 0 90 1", b"1");
    for _ in 0..10 {
        assert!(client.item("hot").is_some());
        client.send(b"get hot\r\n");
        assert_eq!([client.line(), client.line(), client.line()], ["VALUE hot 0 1", "1", "END"]);
    }
    Some((node, port.to_string()))
}

#[test]
fn top_tells_scripts_what_admin_listeners_know() {
    let Some((node, port)) = observed() else { return };
    let (address, nowhere) = (node.address(), nowhere());
    let line = printed(0, &["top", "--once", "--json", "-i", "0.2", "--hot-keys", "--admin", &port, &address]);
    has(
        &line,
        &[
            "\"state\":\"up\"",
            "\"findings\":[]",
            "\"admin\":{\"window_seconds\":",
            "{\"command\":\"get\",\"requests\":10,\"samples\":10,\"p50_ms\":",
            "{\"command\":\"mg\",\"requests\":10,",
            "\"value_bytes\":[[1,1]],\"ttl_seconds\":[[300,1]],\"without_ttl\":0,\"certificate_days\":null}",
            "\"hot_keys\":[{\"key\":\"hot\",\"ratio\":1.0000,\"per_second\":",
        ],
    );
    assert!(!printed(0, &["top", "--once", "--json", "-i", "0.1", &address]).contains("\"admin\""));
    let table = printed(0, &["top", "--once", "-i", "0.1", "-k", "-a", &format!("localhost:{port}"), &address]);
    let head = format!("requests of {address}\ncommand      requests  samples      p50      p99\n");
    has(&table, &[&head, "values stored\n 100.0%  up to 1 B\n", "hot keys of ", "/s  hot\n"]);
    // A listener that is away takes nothing away from the node.
    let line = printed(0, &["top", "--once", "--json", "-i", "0.1", "--admin", &nowhere, &address]);
    let refused = format!("{nowhere}: cannot connect: connection refused");
    has(
        &line,
        &[
            "\"state\":\"up\"",
            &format!("{{\"level\":\"warning\",\"text\":\"its admin listener does not answer: {refused}\"}}"),
            &format!("\"admin\":{{\"error\":\"{refused}\"}}"),
        ],
    );
    // A data port is no admin listener.
    let line = printed(0, &["top", "--once", "--json", "-i", "0.1", "--admin", &address, &address]);
    has(&line, &["\"admin\":{\"error\":\"", "connection lost: closed by the node"]);
}

#[test]
fn top_shows_what_admin_listeners_know() {
    let Some((node, port)) = observed() else { return };
    let mut top = OnTerminal::start(&["top", "-i", "0.2", "--admin", &port, &node.address()]);
    top.wait(&["6 Requests", "1-6 view"]);
    top.press("6");
    top.wait(&["command", "p50", "get ", "mg ", "estimated from samples", "values stored", "up to 1 B", "up to 5m00s"]);
    top.press("4");
    top.wait(&["/s  hot"]);
    assert_eq!(node.connect().statistic("log_watchers"), "0", "its keys cost the node nothing");
    top.press("5");
    top.wait(&["nothing is wrong"]);
    top.press("q");
    assert_eq!(top.child.wait().unwrap().code(), Some(0));
}

/// A way to a node on which the answers to long requests stand still until they are let go, so that a command is seen at
/// work however fast it is.
struct Held {
    address: String,
    is_open: Arc<(Mutex<bool>, Condvar)>,
}

impl Held {
    fn before(node: &Node) -> Held {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let held = Held { address: listener.local_addr().unwrap().to_string(), is_open: Arc::default() };
        let (port, is_open) = (node.server.port, Arc::clone(&held.is_open));
        thread::spawn(move || {
            for client in listener.incoming() {
                let client = client.unwrap();
                let server = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).unwrap();
                let (asked, answered) = (Arc::new(AtomicU32::new(0)), Arc::clone(&is_open));
                let is_long = Arc::clone(&asked);
                relay(client.try_clone().unwrap(), server.try_clone().unwrap(), move |request| {
                    let has = |word: &[u8]| request.windows(word.len()).any(|window| window == word);
                    match () {
                        () if has(b"set ") => asked.store(2, Ordering::SeqCst),
                        // The first piece of a listing passes: it says that there is one.
                        () if has(b"dump ") => asked.store(1, Ordering::SeqCst),
                        () => {}
                    }
                });
                relay(server, client, move |_| match is_long.load(Ordering::SeqCst) {
                    0 => {}
                    1 => is_long.store(2, Ordering::SeqCst),
                    _ => drop(answered.1.wait_while(answered.0.lock().unwrap(), |is_open| !*is_open).unwrap()),
                });
            }
        });
        held
    }

    fn open(&self) {
        *self.is_open.0.lock().unwrap() = true;
        self.is_open.1.notify_all();
    }
}

/// Hands on what comes, after a look at it.
fn relay(mut from: TcpStream, mut to: TcpStream, mut look: impl FnMut(&[u8]) + Send + 'static) {
    thread::spawn(move || {
        let mut piece = [0; 4096];
        while let Ok(count @ 1..) = from.read(&mut piece) {
            look(&piece[..count]);
            if to.write_all(&piece[..count]).is_err() {
                break;
            }
        }
        let _ = to.shutdown(Shutdown::Both);
    });
}

/// Who has a terminal sees how far a long command is; who has none finds no traces of a bar in a log.
#[test]
fn bars_are_for_terminals() {
    let node = Node::start("");
    let (address, file) = (node.address(), node.file("items.dump"));
    store_many(&mut node.connect());
    for (words, bar) in [
        (&["dump", "-o", &file][..], " of about 510 keys, "),
        (&["load", "-i", &file], "iB of 1."),
        (&["keys", "--count"], " of about 510 keys, "),
        (&["keys", "--count-by", "prefix"], " of about 510 keys, "),
    ] {
        let held = Held::before(&node);
        let mut drawn = OnTerminal::start(&[words, &["--timeout", "60", &held.address]].concat());
        drawn.wait(&[bar, "/s, ", " left"]);
        held.open();
        drawn.finish();
        let output = run(&[words, &[&address]].concat());
        let (out, errors) = (text(&output.stdout), text(&output.stderr));
        assert!(output.status.success(), "{words:?}: {errors}");
        for plain in [out, errors] {
            assert!(!plain.contains(['\u{1b}', '\r']) && !plain.contains(" left"), "{words:?}: {plain:?}");
        }
    }
    // The keys themselves are what moves on a terminal.
    let listed = OnTerminal::start(&["keys", &address, "--names"]).finish();
    assert!(!listed.contains(" left") && listed.contains("many:7"), "{listed}");
}

/// A top whose terminal was closed went on for ever, looking for keys where none can come from.
#[test]
fn top_ends_with_its_terminal() {
    let node = Node::start("");
    let mut top = OnTerminal::start(&["top", "-i", "0.2", &node.address()]);
    top.wait(&["slabstash top", "wasted"]);
    let mut client = node.connect();
    assert!(client.statistic("curr_connections").parse::<u32>().unwrap() >= 2);
    drop(top);
    let deadline = Instant::now() + SCREEN_TIMEOUT;
    while client.statistic("curr_connections") != "1" {
        assert!(Instant::now() < deadline, "it is still connected");
        thread::sleep(Duration::from_millis(20));
    }
}

#[test]
fn command_lines_are_checked() {
    for (words, message) in [
        (&["stats", "a:b:c:"][..], "\"a:b:c:\" is"),
        (&["stats", "--changed"], "--changed is for"),
        (&["keys", "a", "b"], "one node only: what is \"b\"?"),
        (&["keys", "--count-by", "x"], "--count-by \"x\" is not prefix, class or ttl"),
        (&["top", "--interval", "0"], "--interval \"0\" is no number from 0.1 to 3600"),
        (&["check", "-V"], "there is no flag -V; slabstash check --help lists them"),
        (&["load", "--input"], "--input needs a value, FILE"),
        (&["keys", "--tls", "--key", "x"], "--key is for --cert"),
    ] {
        let told = complaint(64, words);
        assert!(told.starts_with("slabstash: ") && told.contains(message) && told.lines().count() == 1, "{told}");
    }
    for command in ["top", "stats", "keys", "dump", "load", "check"] {
        let help = printed(0, &[command, "--help"]);
        assert!(help.starts_with(&format!("usage: slabstash {command} ")), "{help}");
    }
}

#[test]
fn by_memcacheds_name_there_are_no_commands() {
    let output = slabstash(&["check", "-V"]).env("SLABSTASH_NAME", "memcached").output().unwrap();
    assert_eq!(text(&output.stdout), "memcached 1.6.45\n");
}

const SCREEN_TIMEOUT: Duration = Duration::from_secs(20);

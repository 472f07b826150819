//! The admin listener: the metrics of memcached_exporter with the right values, the format of Prometheus, JSON, health, and
//! clients that are slow, wrong or too many. memcached has none of it.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::{ErrorKind, Read, Write};
use std::net::{Ipv4Addr, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::process::{self, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use protocol_tests::case::Setting;
use protocol_tests::server::{Program, Server, free_port};

/// A server with an admin listener; `None` when memcached is tested.
struct World {
    server: Server,
    admin_port: u16,
}

fn program() -> Option<Program> {
    let program = Program::from_environment().unwrap();
    (!program.is_reference).then_some(program)
}

fn folder() -> PathBuf {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let number = NEXT.fetch_add(1, Ordering::Relaxed);
    std::env::temp_dir().join(format!("slabstash-admin-{}-{number}", process::id()))
}

impl World {
    fn start(options: &[&str]) -> Option<World> {
        World::start_as(program()?, options, Vec::new())
    }

    fn start_as(program: Program, options: &[&str], files: Vec<(String, Vec<u8>)>) -> Option<World> {
        let admin_port = free_port().unwrap();
        let mut all = vec!["-o".to_owned(), format!("admin_listen=127.0.0.1:{admin_port}")];
        all.extend(options.iter().map(|option| (*option).to_owned()));
        let setting = Setting { options: all, files, ..Setting::default() };
        let server = Server::start(&program, &setting, folder()).unwrap();
        Some(World { server, admin_port })
    }

    /// Sends requests to the data port, one after the other, each when the last was answered.
    fn ask(&self, requests: &[(&str, &str)]) {
        let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, self.server.port)).unwrap();
        stream.set_nodelay(true).unwrap();
        stream.set_read_timeout(Some(TIMEOUT)).unwrap();
        for (request, answer) in requests {
            stream.write_all(request.as_bytes()).unwrap();
            let mut bytes = vec![0; answer.len()];
            stream.read_exact(&mut bytes).unwrap();
            assert_eq!(String::from_utf8_lossy(&bytes), *answer, "{request}");
        }
    }

    fn admin(&self) -> TcpStream {
        let stream = TcpStream::connect((Ipv4Addr::LOCALHOST, self.admin_port)).unwrap();
        stream.set_read_timeout(Some(TIMEOUT)).unwrap();
        stream
    }

    /// The whole answer to bytes.
    fn send(&self, request: &str) -> String {
        let mut stream = self.admin();
        stream.write_all(request.as_bytes()).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        answer
    }

    /// The body of a path that is there.
    fn get(&self, path: &str) -> String {
        let answer = self.send(&format!("GET {path} HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n"));
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        assert!(head.starts_with("HTTP/1.1 200 OK\r\n"), "{path}: {head}");
        assert!(head.contains(&format!("Content-Length: {}\r\n", body.len())), "{path}: {head}");
        body.to_owned()
    }

    fn status(&self, request: &str) -> String {
        let answer = self.send(request);
        answer.split(' ').nth(1).unwrap_or_default().to_owned()
    }

    fn metrics(&self) -> Metrics {
        Metrics::parse(&self.get("/metrics"))
    }
}

/// A scrape: types by metric and values by sample, checked on the way.
struct Metrics {
    types: BTreeMap<String, String>,
    samples: BTreeMap<String, f64>,
}

impl Metrics {
    fn parse(text: &str) -> Metrics {
        let mut metrics = Metrics { types: BTreeMap::new(), samples: BTreeMap::new() };
        let mut present = String::new();
        let mut has_help = false;
        assert!(text.ends_with('\n'));
        for line in text.lines() {
            if let Some(rest) = line.strip_prefix("# HELP ") {
                let (name, help) = rest.split_once(' ').unwrap();
                assert!(!help.is_empty(), "{line}");
                (present, has_help) = (name.to_owned(), true);
            } else if let Some(rest) = line.strip_prefix("# TYPE ") {
                let (name, kind) = rest.split_once(' ').unwrap();
                assert!(has_help && name == present, "{line}: its help stands before it");
                let before = metrics.types.insert(name.to_owned(), kind.to_owned());
                assert_eq!(before, None, "{name} begins twice");
            } else {
                let (sample, value) = line.rsplit_once(' ').unwrap();
                let name = sample.split('{').next().unwrap();
                let base = ["_bucket", "_sum", "_count"].iter().find_map(|end| name.strip_suffix(end));
                let is_histogram = metrics.types[&present] == "histogram";
                assert_eq!(if is_histogram { base } else { Some(name) }, Some(present.as_str()), "{line}");
                let value: f64 = if value == "+Inf" { f64::INFINITY } else { value.parse().unwrap() };
                let before = metrics.samples.insert(sample.to_owned(), value);
                assert_eq!(before, None, "{sample} is there twice");
                if let Some(labels) = sample.strip_suffix('}') {
                    let labels = labels.split_once('{').unwrap().1;
                    let names: Vec<&str> = labels.split(',').map(|label| label.split('=').next().unwrap()).collect();
                    let own_labels = names.iter().filter(|label| **label != "le");
                    assert!(own_labels.is_sorted(), "{sample}");
                }
            }
        }
        metrics
    }

    #[track_caller]
    fn check(&self, sample: &str, expected: f64) {
        assert_eq!(self.samples.get(sample).copied(), Some(expected), "{sample}");
    }

    fn value(&self, sample: &str) -> f64 {
        *self.samples.get(sample).unwrap_or_else(|| panic!("no {sample}"))
    }
}

const STORED: &str = "STORED\r\n";

#[test]
fn the_exporters_metrics_have_its_names_types_and_values() {
    let Some(world) = World::start(&["-m", "64", "-c", "200", "-t", "2", "-o", "temporary_ttl=30"]) else { return };
    world.ask(&[
        ("set a 0 0 3\r\nabc\r\n", STORED),
        ("set b 0 60 1\r\n1\r\n", STORED),
        ("add c 5 0 1\r\nx\r\n", STORED),
        ("get a\r\n", "VALUE a 0 3\r\nabc\r\nEND\r\n"),
        ("get a\r\n", "VALUE a 0 3\r\nabc\r\nEND\r\n"),
        ("get nothing\r\n", "END\r\n"),
        ("incr b 1\r\n", "2\r\n"),
        ("decr nothing 1\r\n", "NOT_FOUND\r\n"),
        ("cas nothing 0 0 1 7\r\nx\r\n", "NOT_FOUND\r\n"),
        ("cas a 0 0 1 99999\r\nx\r\n", "EXISTS\r\n"),
        ("touch a 0\r\n", "TOUCHED\r\n"),
        ("delete c\r\n", "DELETED\r\n"),
        ("delete c\r\n", "NOT_FOUND\r\n"),
    ]);
    let metrics = world.metrics();
    for (name, kind) in EXPORTER {
        assert_eq!(metrics.types.get(*name).map(String::as_str), Some(*kind), "{name}");
    }
    let names: BTreeSet<&str> = metrics.types.keys().map(String::as_str).collect();
    let known: BTreeSet<&str> = EXPORTER.iter().map(|(name, _)| *name).collect();
    let strange: Vec<_> =
        names.iter().filter(|name| name.starts_with("memcached_") && !known.contains(*name)).collect();
    assert!(strange.is_empty(), "{strange:?}");

    for (sample, value) in [
        ("memcached_up", 1.0),
        ("memcached_version{version=\"1.6.45\"}", 1.0),
        ("memcached_commands_total{command=\"get\",status=\"hit\"}", 2.0),
        ("memcached_commands_total{command=\"get\",status=\"miss\"}", 1.0),
        ("memcached_commands_total{command=\"set\",status=\"hit\"}", 3.0),
        ("memcached_commands_total{command=\"incr\",status=\"hit\"}", 1.0),
        ("memcached_commands_total{command=\"decr\",status=\"miss\"}", 1.0),
        ("memcached_commands_total{command=\"cas\",status=\"miss\"}", 1.0),
        ("memcached_commands_total{command=\"cas\",status=\"badval\"}", 1.0),
        ("memcached_commands_total{command=\"touch\",status=\"hit\"}", 1.0),
        ("memcached_commands_total{command=\"delete\",status=\"hit\"}", 1.0),
        ("memcached_commands_total{command=\"delete\",status=\"miss\"}", 1.0),
        ("memcached_commands_total{command=\"flush\",status=\"hit\"}", 0.0),
        ("memcached_current_items", 2.0),
        ("memcached_limit_bytes", 67_108_864.0),
        ("memcached_max_connections", 200.0),
        ("memcached_accepting_connections", 1.0),
        ("memcached_items_evicted_total", 0.0),
        ("memcached_lru_crawler_enabled", 1.0),
        ("memcached_lru_crawler_maintainer_thread", 1.0),
        ("memcached_lru_crawler_hot_percent", 20.0),
        ("memcached_lru_crawler_sleep", 100.0),
        ("memcached_slab_current_items{slab=\"1\"}", 2.0),
        ("memcached_slab_chunk_size_bytes{slab=\"1\"}", 96.0),
        ("memcached_slab_commands_total{command=\"set\",slab=\"1\",status=\"hit\"}", 4.0),
        ("memcached_slab_commands_total{command=\"get\",slab=\"1\",status=\"hit\"}", 2.0),
    ] {
        metrics.check(sample, value);
    }
    let hits = |lru: &str| metrics.value(&format!("memcached_slab_lru_hits_total{{lru=\"{lru}\",slab=\"1\"}}"));
    assert_eq!(hits("hot") + hits("warm") + hits("cold") + hits("temporary"), 2.0);
    for sample in ["memcached_read_bytes_total", "memcached_written_bytes_total", "memcached_connections_total"] {
        assert!(metrics.value(sample) > 0.0, "{sample}");
    }
    let listener = format!("slabstash_connections{{listener=\"tcp:127.0.0.1:{}\"}}", world.server.port);
    assert!(metrics.value(&listener) <= 1.0, "the connection is closed, or about to be");
}

#[test]
fn what_was_seen_in_samples() {
    let Some(world) = World::start(&["-t", "1", "-D", ":", "-o", "admin_keys"]) else { return };
    // So few requests are all looked at.
    let mut requests = vec![("set user:1 0 0 100\r\n", ""), ("set user:2 0 30 2\r\nab\r\n", STORED)];
    let value = format!("{}\r\n", "v".repeat(100));
    requests.insert(1, (value.as_str(), STORED));
    requests.extend([("get user:2\r\n", "VALUE user:2 0 2\r\nab\r\nEND\r\n"); 20]);
    requests.extend([("mg user:2 v\r\n", "VA 2\r\nab\r\n"); 3]);
    world.ask(&requests);
    // The time of a request is noted a moment after its reply.
    let deadline = Instant::now() + TIMEOUT;
    let mut metrics = world.metrics();
    while metrics.samples.get("slabstash_command_samples_total{command=\"mg\"}") != Some(&3.0) {
        assert!(Instant::now() < deadline, "the samples are not counted");
        metrics = world.metrics();
    }
    let count =
        |command: &str| metrics.value(&format!("slabstash_command_duration_seconds_count{{command=\"{command}\"}}"));
    assert_eq!((count("get"), count("mg")), (20.0, 3.0));
    assert_eq!(metrics.value("slabstash_command_samples_total{command=\"get\"}"), 20.0);
    let sum = metrics.value("slabstash_command_duration_seconds_sum{command=\"get\"}");
    assert!(sum > 0.0 && sum < 20.0, "{sum}");
    let buckets: Vec<f64> = metrics
        .samples
        .iter()
        .filter(|(sample, _)| sample.starts_with("slabstash_command_duration_seconds_bucket{command=\"get\""))
        .map(|(_, count)| *count)
        .collect();
    assert_eq!(buckets.len(), 26);
    metrics.check("slabstash_command_duration_seconds_bucket{command=\"get\",le=\"+Inf\"}", 20.0);
    metrics.check("slabstash_stored_ttl_seconds_bucket{le=\"10\"}", 0.0);
    metrics.check("slabstash_stored_ttl_seconds_bucket{le=\"60\"}", 1.0);
    metrics.check("slabstash_stored_value_bytes_bucket{le=\"2\"}", 1.0);
    metrics.check("slabstash_stored_value_bytes_sum", 102.0);
    metrics.check("slabstash_stored_without_ttl_total", 1.0);
    let hot: Vec<&String> = metrics.samples.keys().filter(|sample| sample.starts_with("slabstash_hot_key")).collect();
    assert!(hot.iter().any(|sample| sample.contains("key=\"user:2\"")), "{hot:?}");
    let prefix = metrics.samples.iter().find(|(sample, _)| sample.starts_with("slabstash_prefix_hits_total{"));
    let (sample, hits) = prefix.expect("a prefix");
    assert!(sample.contains("prefix=\"user\"") && *hits == 20.0, "{sample} {hits}");
}

/// Prefixes without `-D`: from samples, by the default's delimiter, and the same sum whatever is shown of it.
#[test]
fn prefixes_are_counted_without_being_asked_for() {
    let Some(world) = World::start(&["-t", "1", "-o", "admin_keys"]) else { return };
    let mut requests = vec![("set user:1 0 0 3\r\nabc\r\n", STORED); 10];
    requests.extend([("get user:1\r\n", "VALUE user:1 0 3\r\nabc\r\nEND\r\n"); 12]);
    requests.extend([("get user:2\r\n", "END\r\n"); 4]);
    requests.extend([
        ("delete user:1\r\n", "DELETED\r\n"),
        ("get plain\r\n", "END\r\n"),
        ("get rare:1\r\n", "END\r\n"),
    ]);
    world.ask(&requests);
    let metrics = world.metrics();
    let value = |what: &str, prefix: &str| {
        let start = format!("slabstash_sampled_prefix_{what}_total{{hash=\"");
        let is_it = |sample: &str| match prefix {
            "other" | "none" => sample.strip_prefix(&start).is_some_and(|rest| rest == format!("{prefix}\"}}")),
            _ => sample.starts_with(&start) && sample.ends_with(&format!("prefix=\"{prefix}\"}}")),
        };
        metrics.samples.iter().find(|(sample, _)| is_it(sample)).map(|(_, value)| *value)
    };
    // The first eight are among the others.
    assert_eq!(
        (value("sets", "user"), value("sets", "other"), value("sets", "none")),
        (Some(2.0), Some(8.0), Some(0.0))
    );
    assert_eq!((value("stored_bytes", "user"), value("stored_bytes", "other")), (Some(6.0), Some(24.0)));
    assert_eq!((value("gets", "user"), value("hits", "user")), (Some(16.0), Some(12.0)));
    assert_eq!((value("gets", "none"), value("hits", "none")), (Some(1.0), Some(0.0)));
    assert_eq!((value("gets", "other"), value("gets", "rare"), value("deletes", "user")), (Some(1.0), None, Some(1.0)));
    assert!(
        !metrics.samples.keys().any(|sample| sample.starts_with("slabstash_prefix_")),
        "nobody asked for exact ones"
    );
    let stats = Json::parse(&world.get("/stats.json"));
    assert_eq!(stats.at("prefixes.is_counting"), &Json::Flag(false));
    assert_eq!(stats.at("prefixes.sampled.without.gets"), &Json::Number(1.0));
    let Json::List(rows) = stats.at("prefixes.sampled.rows") else { panic!("a list") };
    assert_eq!((rows.len(), rows[0].at("prefix")), (1, &Json::Text("user".to_owned())));
}

/// A memory that is too small: what the dashboard shows of it are these members.
#[test]
fn a_memory_that_is_too_small_shows() {
    let Some(world) = World::start(&["-t", "1", "-m", "8"]) else { return };
    let stats = Json::parse(&world.get("/stats.json"));
    assert_eq!((stats.at("warnings"), stats.at("evictions.evicted_age_seconds")), (&Json::List(vec![]), &Json::Null));
    let sets: Vec<String> =
        (0..3000).map(|number| format!("set k{number} 0 0 8000\r\n{}\r\n", "v".repeat(8000))).collect();
    world.ask(&sets.iter().map(|set| (set.as_str(), STORED)).collect::<Vec<_>>());
    let stats = Json::parse(&world.get("/stats.json"));
    let number = |path: &str| match stats.at(path) {
        Json::Number(number) => *number,
        other => panic!("{path}: {other:?}"),
    };
    assert!(number("evictions.total") > 1000.0 && number("memory.items") > 500.0);
    assert!(number("memory.wasted_bytes") > 0.0 && number("memory.wasted_bytes") < number("memory.pages_bytes") / 2.0);
    assert!(number("evictions.oldest_seconds") < 60.0 && number("evictions.evicted_age_seconds") < 60.0);
    let Json::List(warnings) = stats.at("warnings") else { panic!("a list") };
    let codes: Vec<&Json> = warnings.iter().map(|warning| warning.at("code")).collect();
    assert_eq!(codes, [&Json::Text("short_lives".to_owned())]);
    assert_eq!(warnings[0].at("severity"), &Json::Text("warning".to_owned()));
}

#[test]
fn logins_and_names_are_not_told() {
    let Some(program) = program() else { return };
    let files = vec![("users".to_owned(), b"alice:secret-word\n".to_vec())];
    let Some(world) = World::start_as(program, &["-t", "1", "-Y", "{file:users}", "-o", "admin_keys"], files) else {
        return;
    };
    for _ in 0..8 {
        world.ask(&[("set login 0 0 17\r\nalice secret-word\r\n", STORED), ("get plain\r\n", "END\r\n")]);
    }
    for path in ["/metrics", "/stats.json"] {
        let body = world.get(path);
        assert!(body.contains("plain"), "{path}");
        assert!(!body.contains("\"login\"") && !body.contains("secret-word"), "{path}: {body}");
    }
    world.metrics().check("slabstash_authentications_total", 8.0);
}

#[test]
fn documents_are_json_and_go_on() {
    let Some(world) = World::start(&["-t", "2", "-m", "100"]) else { return };
    world.ask(&[("set a 0 0 1\r\nx\r\n", STORED), ("get a\r\n", "VALUE a 0 1\r\nx\r\nEND\r\n")]);
    let stats = Json::parse(&world.get("/stats.json"));
    assert_eq!(stats.at("schema"), &Json::Number(1.0));
    assert_eq!(stats.at("protocol_version"), &Json::Text("1.6.45".to_owned()));
    assert_eq!(stats.at("memory.items"), &Json::Number(1.0));
    assert_eq!(stats.at("memory.limit_bytes"), &Json::Number(104_857_600.0));
    assert_eq!(stats.at("hit_ratio.total"), &Json::Number(1.0));
    assert_eq!(stats.at("is_ready"), &Json::Flag(true));
    assert_eq!(stats.at("certificate"), &Json::Null);
    assert_eq!(stats.at("hot_keys.names_shown"), &Json::Flag(false));
    let Json::List(settings) = stats.at("settings") else { panic!("a list") };
    let changed: Vec<&Json> = settings.iter().map(|setting| setting.at("name")).collect();
    assert!(changed.contains(&&Json::Text("maxbytes".to_owned())), "{changed:?}");
    let Json::List(commands) = stats.at("latency.commands") else { panic!("a list") };
    assert_eq!(commands.len(), 17);

    // The seconds are those of the wall clock.
    let deadline = Instant::now() + Duration::from_secs(20);
    let newest = loop {
        let history = Json::parse(&world.get("/history.json"));
        assert_eq!(history.at("start_id"), stats.at("start_id"));
        if let Json::Number(newest) = history.at("seconds.newest")
            && *newest >= 1.0
        {
            let (Json::List(columns), Json::List(rows)) = (history.at("columns"), history.at("seconds.rows")) else {
                panic!("lists");
            };
            assert_eq!(rows.len() as f64, newest + 1.0);
            let hits = columns.iter().position(|column| *column == Json::Text("get_hits".to_owned())).unwrap();
            let mut sum = 0.0;
            for row in rows {
                let Json::List(row) = row else { panic!("a row") };
                assert_eq!(row.len(), columns.len());
                let Json::Number(value) = row[hits] else { panic!("a number") };
                sum += value;
            }
            assert_eq!(sum, 1.0, "the get is in one of the seconds");
            break *newest;
        }
        assert!(Instant::now() < deadline, "no second in twenty");
        thread::sleep(Duration::from_millis(50));
    };
    let later = Json::parse(&world.get(&format!("/history.json?after={newest}")));
    let Json::List(rows) = later.at("seconds.rows") else { panic!("a list") };
    assert!(rows.len() <= 2);
    assert!(world.get("/healthz").starts_with("ok\nworker 0 turns, "));
    assert_eq!(world.get("/readyz"), "ok\n");
    assert!(world.get("/").to_lowercase().starts_with("<!doctype html>"));
}

#[test]
fn wrong_requests_are_refused() {
    let Some(world) = World::start(&["-t", "1"]) else { return };
    for (request, status) in [
        ("GET /nothing HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n", "404"),
        ("POST /metrics HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 3\r\n\r\nabc", "405"),
        ("GET /metrics HTTP/1.1\r\nHost: evil.example\r\n\r\n", "403"),
        ("GET /metrics HTTP/1.1\r\n\r\n", "400"),
        ("GET /history.json?after=-1 HTTP/1.0\r\n\r\n", "400"),
        ("stats\r\n", "400"),
        ("GET / HTTP/3.0\r\n\r\n", "505"),
        ("GET / HTTP/1.0\r\n\r\n", "200"),
    ] {
        assert_eq!(world.status(request), status, "{request:?}");
    }
    let long = format!("GET / HTTP/1.1\r\nHost: 127.0.0.1\r\nX: {}\r\n\r\n", "x".repeat(9000));
    assert_eq!(world.status(&long), "431");
    let head = world.send("HEAD /metrics HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n");
    assert!(head.starts_with("HTTP/1.1 200 OK\r\n") && head.ends_with("\r\n\r\n"), "{head}");
    assert!(head.contains("X-Content-Type-Options: nosniff\r\n") && head.contains("Content-Security-Policy: "));
    // The data port knows nothing of it: as in memcached, what looks like HTTP ends the connection.
    let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, world.server.port)).unwrap();
    stream.set_read_timeout(Some(TIMEOUT)).unwrap();
    stream.write_all(b"GET /metrics HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n").unwrap();
    let mut answer = Vec::new();
    match stream.read_to_end(&mut answer) {
        Ok(_) => assert_eq!(answer, b""),
        Err(error) => assert_eq!(error.kind(), ErrorKind::ConnectionReset),
    }
}

#[test]
fn slow_clients_shut_nobody_out() {
    let Some(world) = World::start(&["-t", "1"]) else { return };
    // Twice as many as are held at a time: each says a little and waits.
    let mut idle: Vec<TcpStream> = (0..16).map(|_| world.admin()).collect();
    for stream in &mut idle {
        stream.write_all(b"GET /metr").unwrap();
        assert_eq!(world.status("GET /healthz HTTP/1.0\r\n\r\n"), "200");
    }
    // One that does not take its answer, either.
    let mut deaf: Vec<TcpStream> = (0..8).map(|_| world.admin()).collect();
    for stream in &mut deaf {
        stream.write_all(b"GET /metrics HTTP/1.0\r\n\r\n").unwrap();
    }
    assert_eq!(world.status("GET /healthz HTTP/1.0\r\n\r\n"), "200");
    // The last of those that wait is closed after its five seconds; the first were closed for room.
    let begin = Instant::now();
    let mut last = idle.pop().unwrap();
    let mut answer = Vec::new();
    match last.read_to_end(&mut answer) {
        Ok(_) => assert_eq!(answer, b""),
        Err(error) => assert_eq!(error.kind(), ErrorKind::ConnectionReset),
    }
    assert!(begin.elapsed() < Duration::from_secs(15));
    world.ask(&[("mn\r\n", "MN\r\n")]);
}

#[test]
fn a_request_in_pieces_is_answered() {
    let Some(world) = World::start(&["-t", "1"]) else { return };
    // The admin listener answers first, and says until then that no connections are accepted.
    world.ask(&[("mn\r\n", "MN\r\n")]);
    let mut stream = world.admin();
    for byte in b"GET /readyz HTTP/1.1\r\nHost: localhost\r\n\r\n" {
        stream.write_all(&[*byte]).unwrap();
    }
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    assert!(answer.ends_with("\r\n\r\nok\n"), "{answer}");
}

#[test]
fn a_unix_socket_is_for_its_user_alone() {
    let Some(program) = program() else { return };
    let place = folder();
    fs::create_dir_all(&place).unwrap();
    let path = place.join("admin.sock");
    let options = vec!["-o".to_owned(), format!("admin_listen=unix:{}", path.display())];
    let setting = Setting { options, ..Setting::default() };
    let server = Server::start(&program, &setting, folder()).unwrap();
    assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    let mut stream = UnixStream::connect(&path).unwrap();
    stream.write_all(b"GET /metrics HTTP/1.1\r\nHost: whatever\r\n\r\n").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    assert!(answer.contains("\nmemcached_up 1\n"));
    let mut server = server;
    assert!(Command::new("sh").args(["-c", &format!("kill {}", server.id())]).status().unwrap().success());
    server.expect_exit(0).unwrap();
    assert!(!path.exists(), "the socket's file is removed");
    fs::remove_dir_all(&place).unwrap();
}

#[test]
fn addresses_that_cannot_be_had_end_the_start() {
    let Some(program) = program() else { return };
    let Some(world) = World::start(&["-t", "1"]) else { return };
    let taken = format!("admin_listen=127.0.0.1:{}", world.admin_port);
    let message = format!("failed to listen on {taken}: Address already in use");
    for (option, code, message) in [
        (taken.as_str(), 71, message.as_str()),
        (
            "admin_listen=0.0.0.0:9150",
            64,
            "admin_listen=0.0.0.0:9150 is no loopback address; -o admin_remote allows it",
        ),
        ("admin_listen=9150", 1, "admin_listen must be an address with a port or unix:/path, not \"9150\""),
        (
            "admin_listen=unix:/nowhere/x",
            71,
            "failed to listen on admin_listen=unix:/nowhere/x: No such file or directory",
        ),
    ] {
        let mut command = program.command();
        command.args(["-l", "127.0.0.1", "-p", &free_port().unwrap().to_string(), "-o", option]);
        let output = command.stdout(Stdio::null()).output().unwrap();
        assert_eq!(output.status.code(), Some(code), "{option}");
        assert_eq!(String::from_utf8_lossy(&output.stderr).trim_end(), message);
    }
}

#[test]
fn certificates_tell_their_end() {
    let Some(program) = program() else { return };
    let program = Program { is_encrypted: true, ..program };
    let Some(world) = World::start_as(program, &["-t", "1"], Vec::new()) else { return };
    let metrics = world.metrics();
    let end = metrics.value("slabstash_certificate_end_time_seconds");
    assert!(end > metrics.value("memcached_time_seconds"), "{end}");
    metrics.check("slabstash_tls_handshake_errors_total", 0.0);
    let stats = Json::parse(&world.get("/stats.json"));
    assert_eq!(stats.at("certificate.expires_unix"), &Json::Number(end));
}

/// JSON, as far as tests ask for it; anything that is no JSON panics.
#[derive(Clone, PartialEq, Debug)]
enum Json {
    Null,
    Flag(bool),
    Number(f64),
    Text(String),
    List(Vec<Json>),
    Object(BTreeMap<String, Json>),
}

impl Json {
    fn parse(text: &str) -> Json {
        let mut rest = text;
        let value = Json::value(&mut rest);
        assert_eq!(rest.trim(), "");
        value
    }

    /// A member by the names on the way to it.
    #[track_caller]
    fn at(&self, path: &str) -> &Json {
        path.split('.').fold(self, |value, name| match value {
            Json::Object(members) => members.get(name).unwrap_or_else(|| panic!("no {name} of {path}")),
            other => panic!("{path}: {other:?}"),
        })
    }

    fn value(rest: &mut &str) -> Json {
        let word = |rest: &mut &str, word: &str| {
            let found = rest.strip_prefix(word);
            *rest = found.unwrap_or(rest);
            found.is_some()
        };
        if word(rest, "null") {
            Json::Null
        } else if word(rest, "true") {
            Json::Flag(true)
        } else if word(rest, "false") {
            Json::Flag(false)
        } else if word(rest, "[") {
            let mut list = Vec::new();
            while !word(rest, "]") {
                assert!(list.is_empty() || word(rest, ","), "{rest}");
                list.push(Json::value(rest));
            }
            Json::List(list)
        } else if word(rest, "{") {
            let mut members = BTreeMap::new();
            while !word(rest, "}") {
                assert!(members.is_empty() || word(rest, ","), "{rest}");
                let Json::Text(name) = Json::value(rest) else { panic!("a name before {rest}") };
                assert!(word(rest, ":"), "{rest}");
                assert!(members.insert(name, Json::value(rest)).is_none());
            }
            Json::Object(members)
        } else if word(rest, "\"") {
            let mut text = String::new();
            loop {
                let end = rest.find(['"', '\\']).expect("an end");
                text.push_str(&rest[..end]);
                let is_end = rest[end..].starts_with('"');
                *rest = &rest[end + 1..];
                if is_end {
                    return Json::Text(text);
                }
                if let Some(code) = rest.strip_prefix('u') {
                    text.push(char::from_u32(u32::from_str_radix(&code[..4], 16).unwrap()).unwrap());
                    *rest = &code[4..];
                } else {
                    text.push_str(&rest[..1]);
                    *rest = &rest[1..];
                }
            }
        } else {
            let end = rest.find([',', ']', '}']).unwrap_or(rest.len());
            let number = rest[..end].parse().unwrap_or_else(|_| panic!("no value: {rest}"));
            *rest = &rest[end..];
            Json::Number(number)
        }
    }
}

const TIMEOUT: Duration = Duration::from_secs(20);

/// Names and types of memcached_exporter 0.16 for a memcached without external storage and proxy.
const EXPORTER: &[(&str, &str)] = &[
    ("memcached_accepting_connections", "gauge"),
    ("memcached_commands_total", "counter"),
    ("memcached_connections_listener_disabled_total", "counter"),
    ("memcached_connections_rejected_total", "counter"),
    ("memcached_connections_total", "counter"),
    ("memcached_connections_yielded_total", "counter"),
    ("memcached_current_bytes", "gauge"),
    ("memcached_current_connections", "gauge"),
    ("memcached_current_items", "gauge"),
    ("memcached_direct_reclaims_total", "counter"),
    ("memcached_item_no_memory_total", "counter"),
    ("memcached_item_too_large_total", "counter"),
    ("memcached_items_evicted_total", "counter"),
    ("memcached_items_reclaimed_total", "counter"),
    ("memcached_items_total", "counter"),
    ("memcached_limit_bytes", "gauge"),
    ("memcached_lru_crawler_enabled", "gauge"),
    ("memcached_lru_crawler_hot_max_factor", "gauge"),
    ("memcached_lru_crawler_hot_percent", "gauge"),
    ("memcached_lru_crawler_items_checked_total", "counter"),
    ("memcached_lru_crawler_maintainer_thread", "gauge"),
    ("memcached_lru_crawler_moves_to_cold_total", "counter"),
    ("memcached_lru_crawler_moves_to_warm_total", "counter"),
    ("memcached_lru_crawler_moves_within_lru_total", "counter"),
    ("memcached_lru_crawler_reclaimed_total", "counter"),
    ("memcached_lru_crawler_sleep", "gauge"),
    ("memcached_lru_crawler_starts_total", "counter"),
    ("memcached_lru_crawler_to_crawl", "gauge"),
    ("memcached_lru_crawler_warm_max_factor", "gauge"),
    ("memcached_lru_crawler_warm_percent", "gauge"),
    ("memcached_malloced_bytes", "gauge"),
    ("memcached_max_connections", "gauge"),
    ("memcached_process_system_cpu_seconds_total", "counter"),
    ("memcached_process_user_cpu_seconds_total", "counter"),
    ("memcached_read_bytes_total", "counter"),
    ("memcached_slab_chunk_size_bytes", "gauge"),
    ("memcached_slab_chunks_free", "gauge"),
    ("memcached_slab_chunks_free_end", "gauge"),
    ("memcached_slab_chunks_per_page", "gauge"),
    ("memcached_slab_chunks_used", "gauge"),
    ("memcached_slab_cold_items", "gauge"),
    ("memcached_slab_commands_total", "counter"),
    ("memcached_slab_current_chunks", "gauge"),
    ("memcached_slab_current_items", "gauge"),
    ("memcached_slab_current_pages", "gauge"),
    ("memcached_slab_hot_age_seconds", "gauge"),
    ("memcached_slab_hot_items", "gauge"),
    ("memcached_slab_items_age_seconds", "gauge"),
    ("memcached_slab_items_crawler_reclaimed_total", "counter"),
    ("memcached_slab_items_evicted_nonzero_total", "counter"),
    ("memcached_slab_items_evicted_time_seconds", "counter"),
    ("memcached_slab_items_evicted_total", "counter"),
    ("memcached_slab_items_evicted_unfetched_total", "counter"),
    ("memcached_slab_items_expired_unfetched_total", "counter"),
    ("memcached_slab_items_moves_to_cold", "counter"),
    ("memcached_slab_items_moves_to_warm", "counter"),
    ("memcached_slab_items_moves_within_lru", "counter"),
    ("memcached_slab_items_outofmemory_total", "counter"),
    ("memcached_slab_items_reclaimed_total", "counter"),
    ("memcached_slab_items_tailrepairs_total", "counter"),
    ("memcached_slab_lru_hits_total", "counter"),
    ("memcached_slab_mem_requested_bytes", "counter"),
    ("memcached_slab_temporary_items", "gauge"),
    ("memcached_slab_warm_age_seconds", "gauge"),
    ("memcached_slab_warm_items", "gauge"),
    ("memcached_time_seconds", "gauge"),
    ("memcached_up", "gauge"),
    ("memcached_uptime_seconds", "counter"),
    ("memcached_version", "gauge"),
    ("memcached_written_bytes_total", "counter"),
];

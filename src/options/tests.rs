//! Command lines against what they must mean; the refusals with memcached's texts and codes.

use super::*;

pub(super) fn invocation(program: &str, arguments: &[&str]) -> Invocation {
    Invocation {
        program: program.into(),
        arguments: arguments.iter().map(Into::into).collect(),
        is_root: false,
        core_count: 2,
        environment: Environment::default(),
        read_file: None,
    }
}

#[track_caller]
pub(super) fn run(program: &str, arguments: &[&str]) -> Box<Options> {
    run_in(&invocation(program, arguments))
}

#[track_caller]
pub(super) fn run_in(invocation: &Invocation) -> Box<Options> {
    match parse(invocation) {
        Ok(Parsed::Run(options)) => options,
        other => panic!("{:?}: {other:?}", invocation.arguments),
    }
}

#[track_caller]
fn print(program: &str, arguments: &[&str]) -> String {
    match parse(&invocation(program, arguments)) {
        Ok(Parsed::Print { text, exit_code: 0 }) => text,
        other => panic!("{arguments:?}: {other:?}"),
    }
}

#[track_caller]
pub(super) fn refuse(arguments: &[&str], exit_code: i32, message: &str) {
    match parse(&invocation("memcached", arguments)) {
        Err(failure) => assert_eq!(failure, Failure { message: message.to_string(), exit_code }, "{arguments:?}"),
        other => panic!("{arguments:?}: {other:?}"),
    }
}

#[track_caller]
fn refuse_extended(list: &str, message: &str) {
    refuse(&["-o", list], 1, message);
}

#[track_caller]
fn accept(arguments: &[&str]) {
    run("memcached", arguments);
}

#[test]
fn defaults() {
    let options = run("memcached", &[]);
    assert_eq!(options.tcp_port, Port::Number(11211));
    assert_eq!(options.udp_port, Port::Off);
    assert_eq!(options.threads, 2);
    assert_eq!(options.memory_limit_bytes, 64 << 20);
    assert_eq!(options.slab_chunk_max, 512 << 10);
    assert_eq!(options.temporary_ttl_seconds, None);
    assert_eq!(options.listen, [ListenAddress::plain(Host::Any)]);
    assert!(options.notes.is_empty() && options.warnings.is_empty());
}

#[test]
fn getopt_complaints_end_with_an_illegal_argument() {
    refuse(&["-q"], 1, "memcached: invalid option -- 'q'\nIllegal argument \"?\"");
    refuse(&["-p"], 1, "memcached: option requires an argument -- 'p'\nIllegal argument \"?\"");
    refuse(&["--foo"], 1, "memcached: unrecognized option '--foo'\nIllegal argument \"?\"");
}

#[test]
fn options_are_followed_in_order() {
    assert_eq!(print("memcached", &["-V", "-q"]), "memcached 1.6.45\n");
    refuse(&["-q", "-V"], 1, "memcached: invalid option -- 'q'\nIllegal argument \"?\"");
    assert_eq!(print("memcached", &["--enable-ssl", "--version"]), "memcached 1.6.45\n");
    assert!(print("memcached", &["-m", "100", "-h"]).contains("item memory in megabytes (default: 100)"));
    assert!(run("memcached", &["-o", "no_maxconns_fast,maxconns_fast"]).maxconns_fast);
    assert!(!run("memcached", &["-o", "slab_reassign,no_modern"]).slab_reassign);
    assert!(run("memcached", &["-o", "no_modern", "-o", "slab_reassign"]).slab_reassign);
    assert_eq!(run("memcached", &["-p", "5", "-p", "6"]).tcp_port, Port::Number(6));
}

#[test]
fn texts_that_end_the_program() {
    assert_eq!(print("/usr/bin/memcached", &["-V"]), "memcached 1.6.45\n");
    let own = format!("slabstash {} (memcached 1.6.45)\n", Identity::VERSION);
    assert_eq!(print("slabstash", &["--version"]), own);
    assert!(print("memcached", &["-i"]).contains("Redistribution and use"));
    assert!(print("memcached", &["-h"]).starts_with("memcached 1.6.45\n-p, --port=<num> "));
}

#[test]
fn values_lose_leading_white_space() {
    assert_eq!(run("memcached", &["-u", "  daemon"]).user.as_deref(), Some("daemon"));
    refuse(&["-D", "  "], 1, "No delimiter specified");
    assert_eq!(run("memcached", &["-B", " ascii"]).protocol, Protocol::Ascii);
}

#[test]
fn bad_values_of_letters() {
    refuse(&["-c", "0"], 1, "Maximum connections must be greater than 0");
    refuse(&["-c", "junk"], 1, "Maximum connections must be greater than 0");
    refuse(&["-R", "-1"], 1, "Number of requests per event must be greater than 0");
    refuse(&["-f", "1"], 1, "Factor must be greater than 1");
    refuse(&["-f", "nan"], 1, "Factor must be greater than 1");
    refuse(&["-n", "0"], 1, "Chunk size must be greater than 0");
    refuse(&["-t", "0"], 1, "Number of threads must be greater than 0");
    refuse(&["-t", "5000"], 1, "Number of threads must not be greater than 1024");
    refuse(&["-t", "1025"], 1, "Number of threads must not be greater than 1024");
    accept(&["-t", "1024"]);
    refuse(&["-N", "0"], 1, "Maximum number of NAPI IDs must be greater than 0");
    refuse(&["-N", "5"], 64, "Number of napi_ids(5) cannot be greater than number of threads(4)");
    refuse(&["-N", "3", "-t", "2"], 64, "Number of napi_ids(3) cannot be greater than number of threads(2)");
    refuse(&["-D", ""], 1, "No delimiter specified");
    for word in ["auto2", "asciix", "", "ASCII"] {
        let message =
            format!("Invalid value for binding protocol: {word}\n -- should be one of auto, binary, or ascii");
        refuse(&["-B", word], 64, &message);
    }
    refuse(&["-p", "65536"], 64, "ERROR: Invalid port number 65536.");
    refuse(&["-p", "-2"], 64, "ERROR: Invalid port number -2.");
    refuse(&["-p", "1", "-U", "70000"], 64, "ERROR: Invalid port number 70000.");
}

#[test]
fn junk_that_memcached_takes() {
    assert_eq!(run("memcached", &["-p", "12abc"]).tcp_port, Port::Number(12));
    assert_eq!(run("memcached", &["-p", "abc"]).tcp_port, Port::Off);
    assert_eq!(run("memcached", &["-a", "junk"]).unix_mask, 0);
    assert_eq!(run("memcached", &["-a", "777"]).unix_mask, 0o777);
    assert_eq!(run("memcached", &["-o", "idle_timeout=x"]).idle_timeout_seconds, 0);
    assert_eq!(run("memcached", &["-vv", "--verbose=x"]).verbosity, 3);
    accept(&["word", "-o", "modern,", "other"]);
    accept(&["-o", "modern=1,track_sizes=1,slab_reassign=0"]);
    accept(&["-o", ""]);
}

#[test]
fn bad_suboptions() {
    refuse_extended("foo=1,modern", "Illegal suboption \"foo=1\"");
    refuse_extended(",modern", "Illegal suboption \"\"");
    refuse_extended("MODERN", "Illegal suboption \"MODERN\"");
    refuse_extended("moder", "Illegal suboption \"moder\"");
    refuse_extended("hashpower", "Missing numeric argument for hashpower");
    refuse_extended("tail_repair_time", "Missing numeric argument for tail_repair_time");
    refuse_extended("idle_timeout", "Missing numeric argument for idle_timeout");
    refuse_extended("lru_crawler_sleep", "Missing lru_crawler_sleep value");
    refuse_extended("lru_crawler_tocrawl", "Missing lru_crawler_tocrawl value");
    refuse_extended("hot_lru_pct", "Missing hot_lru_pct argument");
    refuse_extended("slab_sizes", "Missing slab_sizes argument");
    refuse_extended("sock_cookie_id", "Missing sock_cookie_id argument");
    refuse_extended("hashpower=11", "Initial hashtable multiplier of 11 is too low");
    let too_high = "Initial hashtable multiplier of 33 is too high\n\
        Choose a value based on \"STAT hash_power_level\" from a running instance";
    refuse_extended("hashpower=33", too_high);
    let locks = "Hash table power size (12) cannot be equal to or less than item lock table (12)\n\
        Item lock table grows with `-t N` (worker threadcount)\n\
        Hash table grows with `-o hashpower=N` ";
    refuse_extended("hashpower=12", locks);
    refuse_extended("slab_automove=3", "slab_automove must be between 0 and 2");
    refuse_extended("slab_automove_ratio=0", "slab_automove_ratio must be > 0 and < 1");
    refuse_extended("slab_automove_ratio=1.1", "slab_automove_ratio must be > 0 and < 1");
    refuse_extended("slab_automove_window=2", "slab_automove_window must be > 2 and < 1800");
    refuse_extended("slab_automove_window=1801", "slab_automove_window must be > 2 and < 1800");
    refuse_extended("tail_repair_time=9", "Cannot set tail_repair_time to less than 10 seconds");
    refuse_extended("hash_algorithm=md5", "Unknown hash_algorithm option (jenkins, murmur3, xxh3)");
    refuse_extended("lru_crawler_sleep=1000001", "LRU crawler sleep must be between 0 and 1 second");
    refuse_extended("lru_crawler_tocrawl=x", "lru_crawler_tocrawl takes a numeric 32bit value");
    refuse_extended("hot_lru_pct=0", "hot_lru_pct must be > 1 and < 80");
    refuse_extended("warm_lru_pct=80", "warm_lru_pct must be > 1 and < 80");
    refuse_extended("hot_max_factor=0", "hot_max_factor must be > 0");
    refuse_extended("warm_max_factor=-1", "warm_max_factor must be > 0");
    refuse_extended("watcher_logbuf_size=x", "could not parse argument to watcher_logbuf_size");
    refuse_extended("worker_logbuf_size=", "could not parse argument to worker_logbuf_size");
    refuse_extended("read_buf_mem_limit=-1", "could not parse argument to read_buf_mem_limit");
    refuse_extended("slab_chunk_max=x", "could not parse argument to slab_chunk_max");
    refuse_extended("slab_chunk_max=-1", "slab_chunk_max must be >= 0");
    refuse_extended("slab_chunk_max=1025", "slab_chunk_max must be specified in kilobytes.");
    refuse_extended("relaxed_privileges", "Illegal suboption \"relaxed_privileges\"");
    refuse_extended("partitions=3", "partitions must be 0 or a power of two up to 1024");
    refuse_extended("partitions=2048", "partitions must be 0 or a power of two up to 1024");
    refuse_extended("eviction_policy=lru", "eviction_policy must be quick_demotion, segmented or flat");
    refuse_extended("eviction_policy", "Missing eviction_policy argument");
    for name in ["ssl_chain_cert", "ssl_key", "ssl_ciphers", "ssl_ca_cert"] {
        refuse_extended(name, &format!("Missing {name} argument"));
    }
    for name in ["ssl_keyformat", "ssl_verify_mode", "ssl_wbuf_size", "ssl_min_version"] {
        refuse_extended(name, &format!("Missing {name} argument"));
        refuse_extended(&format!("{name}=x"), &format!("could not parse argument to {name}"));
    }
    refuse_extended("ssl_verify_mode=4", "Invalid ssl_verify_mode. Use help to see valid options.");
    refuse_extended("ssl_min_version=4", "Invalid ssl_min_version. Use help to see valid options.");
    refuse_extended("sandbox=yes", "sandbox must be auto, required or off");
    refuse_extended("udp_reply_factor=-1", "could not parse argument to udp_reply_factor");
    refuse_extended("ext_path=/x:1g", "-o ext_path: this server has no external storage (extstore).");
    refuse_extended("proxy_config=/x", "-o proxy_config: this server is not built with proxy support.");
}

#[test]
fn good_suboptions() {
    accept(&["-o", "slab_automove_ratio=1,slab_automove_window=1800,slab_automove=0,slab_automove"]);
    accept(&["-o", "hashpower=13", "-o", "watcher_logbuf_size=0"]);
    accept(&["-t", "2", "-o", "hashpower=12"]);
    assert_eq!(run("memcached", &["-o", "partitions=8"]).partitions, 8);
    assert_eq!(run("memcached", &["-o", "temporary_ttl=9"]).temporary_ttl_seconds, Some(9));
    assert_eq!(run("memcached", &["-o", "sock_cookie_id=7"]).socket_mark, 7);
    assert!(run("memcached", &["-o", "debug_commands"]).debug_commands);
    assert_eq!(run("memcached", &["-o", "slab_chunk_max=16"]).slab_chunk_max, 16384);
}

#[test]
fn listeners() {
    let options = run("memcached", &["-l", "127.0.0.1:5", "-l", "proto[binary]:[::1]"]);
    assert_eq!(options.listen.len(), 2);
    assert_eq!(options.listen_text.as_deref(), Some("127.0.0.1:5,proto[binary]:[::1]"));
    let message = "Invalid port number: \"x\"\nfailed to listen on one of interface(s) a:x: Invalid argument";
    refuse(&["-l", "a:x"], 71, message);
    let message = "No address to listen on\nfailed to listen on one of interface(s) : Invalid argument";
    refuse(&["-l", ""], 71, message);
    let authenticated = run("memcached", &["-Y", "f", "-l", "proto[negotiating]:*"]);
    assert_eq!(authenticated.listen[0].protocol, Some(Protocol::Ascii));
    assert_eq!(authenticated.warnings.len(), 1);
}

#[test]
fn name_decides() {
    let loopback = ListenAddress::plain(Host::Named("127.0.0.1".to_string()));
    assert_eq!(run("./target/release/slabstash", &[]).listen, [loopback]);
    assert_eq!(run("/usr/bin/memcached", &[]).listen, [ListenAddress::plain(Host::Any)]);
    assert!(!run("memcached", &[]).debug_commands);
    let debug = run("./memcached-debug", &["-o", "relaxed_privileges"]);
    assert!(debug.debug_commands && debug.identity.is_memcached);

    let mut wrapped = invocation("/opt/slabstash", &["-o", "relaxed_privileges"]);
    wrapped.environment.slabstash_name = Some("memcached-debug".into());
    assert!(run_in(&wrapped).debug_commands);
    wrapped.program = "/opt/memcached".into();
    assert!(parse(&wrapped).is_err(), "the variable is for the name slabstash only");
}

#[test]
fn options_without_meaning_are_noted_once() {
    let options = run("memcached", &["-o", "hashpower=20,hashpower=21", "-o", "no_hashexpand", "-N", "1"]);
    assert_eq!(options.notes.len(), 3, "{:?}", options.notes);
    assert_eq!(options.notes[0], "-o hashpower has no meaning here: the index sizes itself");
    assert!(options.notes[2].starts_with("-N (--napi-ids) has no meaning here: "));
}

#[test]
fn environment_is_taken() {
    let mut given = invocation("memcached", &["-v", "word", "-v"]);
    given.environment.memcached_port_filename = Some("/tmp/ports".into());
    given.environment.initial_malloc = Some("4294967328".into());
    let options = run_in(&given);
    assert_eq!(options.port_file, Some(PathBuf::from("/tmp/ports")));
    assert_eq!(options.initial_malloc_bytes, 4294967328);
    assert_eq!(options.verbosity, 2);
    given.environment.posixly_correct = true;
    assert_eq!(run_in(&given).verbosity, 1);
}

#[test]
fn paths_keep_their_bytes() {
    use std::os::unix::ffi::OsStringExt;
    let mut given = invocation("memcached", &[]);
    given.arguments = vec!["-s".into(), OsString::from_vec(vec![b'/', 0xff])];
    let options = run_in(&given);
    assert_eq!(options.unix_socket, Some(PathBuf::from(OsString::from_vec(vec![b'/', 0xff]))));
}

#[test]
fn harness_command_lines() {
    accept_debug(&["-A", "-p", "-1", "-U", "0", "-u", "root"]);
    accept_debug(&[
        "-l",
        "127.0.0.1,127.0.0.2",
        "-u",
        "root",
        "-o",
        "relaxed_privileges",
        "-p",
        "30001",
        "-U",
        "30002",
    ]);
    accept_debug(&["-m", "3", "-u", "root", "-o", "relaxed_privileges", "-s", "/tmp/memcachetest.1.1"]);
    accept_debug(&["-o", "no_modern,slab_reassign,slab_automove,lru_crawler,lru_maintainer"]);
}

#[track_caller]
fn accept_debug(arguments: &[&str]) {
    run("./memcached-debug", arguments);
}

#[test]
fn names_are_unique_and_documented() {
    let page = include_str!("../../docs/compatibility.md");
    let rows: Vec<_> = table::all().collect();
    for (index, row) in rows.iter().enumerate() {
        for other in &rows[..index] {
            assert!(row.name.is_empty() || row.name != other.name, "{}", row.title());
            assert!(row.short.is_none() || row.short != other.short, "{}", row.title());
        }
        let name = if row.name.is_empty() { row.title() } else { row.name.to_string() };
        assert!(page.contains(&format!("`{name}`")), "docs/compatibility.md says nothing about {name}");
    }
}

#[test]
fn the_output_buffer_of_tls_has_bounds() {
    for (given, kept) in [("0", 1024), ("16", 16 << 10), ("1024", 1 << 20), ("1025", 1 << 20), ("4294967295", 1 << 20)]
    {
        let options = run("memcached", &["-o", &format!("ssl_wbuf_size={given}")]);
        assert_eq!(options.tls.write_buffer_bytes, kept, "{given}");
    }
}

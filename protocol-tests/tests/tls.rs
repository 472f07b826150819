//! TLS itself: versions, client certificates, listeners, resumption, certificates that change, and clients that send
//! something else, or nothing. The words inside are those of `tls_wire.rs`.

use std::fs;
use std::io::{ErrorKind, Read, Write};
use std::net::{Ipv4Addr, Shutdown, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use protocol_tests::credentials::Authority;
use protocol_tests::random::Random;
use protocol_tests::server::{Program, free_port};
use protocol_tests::tls::{Encrypted, Trust};
use rustls::version::{TLS12, TLS13};

#[test]
fn both_versions_and_a_minimum() {
    let Some(world) = World::new() else { return };
    let server = world.start("", &[]);
    for version in [&TLS12, &TLS13] {
        let trust = Trust::with(&world.authority, None, &[version]);
        assert_eq!(server.client(&trust).ask("mn\r\n"), "MN\r\n");
    }
    let strict = world.start("ssl_min_version=3", &[]);
    assert!(strict.try_client(&Trust::with(&world.authority, None, &[&TLS12])).is_err());
    let trust = Trust::with(&world.authority, None, &[&TLS13]);
    let mut client = strict.client(&trust);
    assert_eq!(client.stat("stats settings", "ssl_min_version"), "tlsv1.3");
    assert_eq!(client.stat("stats", "ssl_handshake_errors"), "1");
}

#[test]
fn cipher_suites_can_be_chosen() {
    let Some(world) = World::new() else { return };
    let server = world.start("ssl_ciphers=ECDHE+AES128", &[]);
    let old = Trust::with(&world.authority, None, &[&TLS12]);
    assert_eq!(server.client(&old).ask("mn\r\n"), "MN\r\n");
    // The test's certificate has an ECDSA key.
    let none = world.start("ssl_ciphers=aRSA", &[]);
    assert!(none.try_client(&old).is_err());
    assert_eq!(none.client(&world.trust()).ask("mn\r\n"), "MN\r\n");
}

#[test]
fn client_certificates() {
    let Some(world) = World::new() else { return };
    let authorities = world.authority.write(&world.folder, "clients.pem").unwrap();
    let stranger = Authority::new("strangers").issue_client("mallory");
    let friend = world.authority.issue_client("alice");
    for version in [&TLS12, &TLS13] {
        let nobody = Trust::with(&world.authority, None, &[version]);
        let friend = Trust::with(&world.authority, Some(&friend), &[version]);
        let stranger = Trust::with(&world.authority, Some(&stranger), &[version]);
        let check = |mode: u8, expected: [bool; 3]| {
            let server = world.start(&format!("ssl_verify_mode={mode},ssl_ca_cert={}", authorities.display()), &[]);
            let served = [&nobody, &friend, &stranger].map(|trust| server.serves(trust));
            assert_eq!(served, expected, "mode {mode}, {version:?}");
            let refused = expected.iter().filter(|is_served| !**is_served).count();
            assert_eq!(server.client(&friend).stat("stats", "ssl_handshake_errors"), refused.to_string());
        };
        check(0, [true, true, true]);
        check(1, [true, true, false]);
        check(2, [false, true, false]);
        check(3, [false, true, false]);
    }
}

#[test]
fn without_an_authority_no_client_certificate_is_good() {
    let Some(world) = World::new() else { return };
    let identity = world.authority.issue_client("alice");
    let friend = Trust::with(&world.authority, Some(&identity), rustls::ALL_VERSIONS);
    let optional = world.start("ssl_verify_mode=1", &[]);
    assert!(optional.serves(&world.trust()) && !optional.serves(&friend));
    let required = world.start("ssl_verify_mode=2", &[]);
    assert!(!required.serves(&world.trust()) && !required.serves(&friend));
}

#[test]
fn listeners_differ() {
    let Some(world) = World::new() else { return };
    let authorities = world.authority.write(&world.folder, "clients.pem").unwrap();
    let ports: Vec<u16> = (0..3).map(|_| free_port().unwrap()).collect();
    let listen = format!("notls:127.0.0.1:{},btls:127.0.0.1:{},mtls:127.0.0.1:{}", ports[0], ports[1], ports[2]);
    let server = world.start(&format!("ssl_ca_cert={},ssl_verify_mode=2", authorities.display()), &["-l", &listen]);
    let identity = world.authority.issue_client("alice");
    let friend = Trust::with(&world.authority, Some(&identity), rustls::ALL_VERSIONS);
    let nobody = world.trust();
    let mut plain = TcpStream::connect((Ipv4Addr::LOCALHOST, ports[0])).unwrap();
    plain.write_all(b"set a 0 0 3\r\nabc\r\n").unwrap();
    let mut reply = [0; 8];
    plain.read_exact(&mut reply).unwrap();
    assert_eq!(&reply, b"STORED\r\n");
    assert!(is_serving(ports[1], &nobody) && is_serving(ports[1], &friend));
    assert!(!is_serving(ports[2], &nobody) && is_serving(ports[2], &friend));
    assert!(!server.serves(&nobody) && server.serves(&friend));
    // A session of the listener that asks for nothing opens none that requires a certificate.
    assert!(is_serving(ports[1], &nobody) && !is_serving(ports[2], &nobody));
    assert_eq!(Client::open(ports[1], &nobody).unwrap().ask("get a\r\n"), "VALUE a 0 3\r\nabc\r\nEND\r\n");
}

#[test]
fn sessions_are_resumed_until_certificates_are_read_again() {
    let Some(world) = World::new() else { return };
    for options in ["", "ssl_session_cache"] {
        let server = world.start(options, &[]);
        for version in [&TLS12, &TLS13] {
            let trust = Trust::with(&world.authority, None, &[version]);
            let open = || {
                let mut client = server.client(&trust);
                // Tickets of TLS 1.3 come behind the handshake.
                assert_eq!(client.ask("mn\r\n"), "MN\r\n");
                client
            };
            assert!(!open().tls.is_resumed());
            let mut again = open();
            assert!(again.tls.is_resumed(), "{version:?}");
            let sessions = again.find_stat("stats", "ssl_new_sessions");
            assert_eq!(sessions.is_some(), options == "ssl_session_cache");
            let mut third = open();
            assert!(third.tls.is_resumed());
            assert_eq!(third.find_stat("stats", "ssl_new_sessions"), sessions);
            assert_eq!(third.ask("refresh_certs\r\n"), "OK\r\n");
            assert!(!open().tls.is_resumed(), "{version:?}");
        }
    }
}

/// `ssl_session_cache` is for clients of TLS 1.2 that take no tickets; all tests had clients that do.
#[test]
fn sessions_without_tickets_are_resumed_with_a_cache_only() {
    let Some(world) = World::new() else { return };
    for (options, is_resumed) in [("", false), ("ssl_session_cache", true)] {
        let server = world.start(options, &[]);
        let trust = Trust::without_tickets(&world.authority);
        let open = || {
            let mut client = server.client(&trust);
            assert_eq!(client.ask("mn\r\n"), "MN\r\n");
            client.tls.is_resumed()
        };
        assert_eq!([open(), open(), open()], [false, is_resumed, is_resumed], "{options:?}");
    }
}

/// The number given used to be shown and 64 used in its place.
#[test]
fn a_small_output_buffer_makes_small_records() {
    let Some(world) = World::new() else { return };
    for (options, bytes, shown) in
        [("ssl_wbuf_size=4", 4096, "4096"), ("ssl_wbuf_size=0", 1024, "1024"), ("", 16384, "16384")]
    {
        let server = world.start(options, &[]);
        let mut client = server.client(&world.trust());
        assert_eq!(client.stat("stats settings", "ssl_wbuf_size"), shown);
        assert_eq!(client.ask(&format!("set big 0 0 100000\r\n{}\r\n", "x".repeat(100_000))), "STORED\r\n");
        client.send(b"get big\r\n");
        let mut largest = 0;
        let mut received = 0;
        while received < 100_000 {
            // Type, version and length, then what is encrypted: the plaintext and a few bytes.
            let mut header = [0; 5];
            client.socket.read_exact(&mut header).unwrap();
            let mut record = vec![0; usize::from(u16::from_be_bytes([header[3], header[4]]))];
            client.socket.read_exact(&mut record).unwrap();
            largest = largest.max(record.len());
            received += record.len();
        }
        assert!((bytes..bytes + 64).contains(&largest), "{options:?}: {largest}");
    }
}

#[test]
fn certificates_change_under_load() {
    let Some(world) = World::new() else { return };
    let server = world.start("", &["-t", "2"]);
    let trust = world.trust();
    let (is_over, replies, opened) = (AtomicBool::new(false), AtomicUsize::new(0), AtomicUsize::new(0));
    let mut control = server.client(&trust);
    let first = control.tls.server_certificate().unwrap().to_vec();
    thread::scope(|scope| {
        for _ in 0..3 {
            scope.spawn(|| {
                let mut kept = server.client(&trust);
                while !is_over.load(Ordering::Relaxed) {
                    assert_eq!(kept.ask("get a\r\n"), "END\r\n");
                    replies.fetch_add(1, Ordering::Relaxed);
                }
            });
            scope.spawn(|| {
                while !is_over.load(Ordering::Relaxed) {
                    assert_eq!(server.client(&trust).ask("mn\r\n"), "MN\r\n");
                    opened.fetch_add(1, Ordering::Relaxed);
                }
            });
        }
        for round in 0..6 {
            let fresh = world.authority.issue_server();
            fresh.write(&world.folder, "server").unwrap();
            if round % 2 == 0 {
                assert_eq!(control.ask("refresh_certs\r\n"), "OK\r\n");
                let shown = server.client(&trust).tls.server_certificate().unwrap().to_vec();
                assert_eq!(shown, fresh.certificate.as_ref());
            } else {
                server.hang_up();
                let shown = || server.client(&trust).tls.server_certificate().unwrap().to_vec();
                wait_until("the certificate of a SIGHUP", || shown() == fresh.certificate.as_ref());
            }
            let so_far = replies.load(Ordering::Relaxed);
            wait_until("kept connections", || replies.load(Ordering::Relaxed) > so_far + 20);
        }
        is_over.store(true, Ordering::Relaxed);
    });
    assert_eq!(control.tls.server_certificate().unwrap(), first);
    assert!(opened.load(Ordering::Relaxed) > 0);
    assert_eq!(control.stat("stats", "ssl_handshake_errors"), "0");
    assert_eq!(control.stat("stats", "ssl_proto_errors"), "0");
}

#[test]
fn certificates_that_cannot_be_read_again_stay() {
    let Some(world) = World::new() else { return };
    let server = world.start("", &[]);
    let mut client = server.client(&world.trust());
    let first = client.tls.server_certificate().unwrap().to_vec();
    let (chain, key) = (world.folder.join("server-chain.pem"), world.folder.join("server-key.pem"));
    let good = (fs::read(&chain).unwrap(), fs::read(&key).unwrap());
    let mut check = |spoil: &dyn Fn(), answer: &str| {
        spoil();
        let line = client.ask("refresh_certs\r\n");
        assert!(line.starts_with(answer) && line.ends_with("\r\n"), "{line:?} is not {answer:?}");
        assert_eq!(server.client(&world.trust()).tls.server_certificate().unwrap(), first);
        fs::write(&chain, &good.0).unwrap();
        fs::write(&key, &good.1).unwrap();
    };
    let shown = |path: &Path| path.display().to_string();
    check(&|| fs::remove_file(&chain).unwrap(), &format!("Error loading the certificate chain: {} : ", shown(&chain)));
    check(
        &|| fs::write(&chain, "junk").unwrap(),
        &format!("Error loading the certificate chain: {} : ", shown(&chain)),
    );
    check(&|| fs::write(&key, "").unwrap(), &format!("Error loading the key: {} : ", shown(&key)));
    let other = world.authority.issue_server().write(&world.folder, "other").unwrap();
    check(&|| assert!(fs::copy(&other.key, &key).unwrap() > 0), &format!("Error loading the key: {} : ", shown(&key)));
    check(&|| (), "OK");
}

#[test]
fn bad_files_end_the_start_with_one_line() {
    let Some(world) = World::new() else { return };
    let files = world.authority.issue_server().write(&world.folder, "server").unwrap();
    let other = world.authority.issue_server().write(&world.folder, "other").unwrap();
    let (chain, key, wrong) = (files.chain.display(), files.key.display(), other.key.display());
    let missing = world.folder.join("missing");
    let missing = missing.display();
    for (options, message) in [
        (String::new(), "Error loading the certificate chain: (null) : ".to_string()),
        (format!("ssl_chain_cert={missing}"), format!("Error loading the certificate chain: {missing} : No such file")),
        (format!("ssl_chain_cert={key}"), format!("Error loading the certificate chain: {key} : ")),
        (format!("ssl_chain_cert={chain}"), format!("Error loading the key: {chain} : ")),
        (
            format!("ssl_chain_cert={chain},ssl_key={missing}"),
            format!("Error loading the key: {missing} : No such file"),
        ),
        (format!("ssl_chain_cert={chain},ssl_key={wrong}"), format!("Error loading the key: {wrong} : ")),
        (format!("ssl_chain_cert={chain},ssl_key={key},ssl_keyformat=2"), format!("Error loading the key: {key} : ")),
        (format!("ssl_chain_cert={chain},ssl_key={key},ssl_keyformat=9"), format!("Error loading the key: {key} : ")),
        (
            format!("ssl_chain_cert={chain},ssl_key={key},ssl_ca_cert={missing}"),
            format!("Error loading the CA certificate: {missing} : No such file"),
        ),
        (
            format!("ssl_chain_cert={chain},ssl_key={key},ssl_ciphers=RC4"),
            "Error setting the provided cipher(s): RC4".to_string(),
        ),
    ] {
        let mut command = world.program.command();
        command.args(["-l", "127.0.0.1", "-p", &free_port().unwrap().to_string(), "-Z", "-o", &options]);
        let output = command.stdin(Stdio::null()).output().unwrap();
        let text = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(64), "{options}: {text}");
        assert!(text.starts_with(&message) && text.lines().count() == 1, "{options}: {text:?}");
    }
}

#[test]
fn a_key_in_the_file_of_the_chain() {
    let Some(world) = World::new() else { return };
    let files = world.authority.issue_server().write(&world.folder, "apart").unwrap();
    let both = world.folder.join("both.pem");
    fs::write(&both, [fs::read(files.chain).unwrap(), fs::read(files.key).unwrap()].concat()).unwrap();
    let server = world.start_with(&format!("ssl_chain_cert={}", both.display()), &[]);
    assert!(server.serves(&world.trust()));
}

/// Records cut at each byte, and several in one packet.
#[test]
fn records_come_in_pieces() {
    let Some(world) = World::new() else { return };
    let server = world.start("", &[]);
    for version in [&TLS12, &TLS13] {
        let mut client = server.client(&Trust::with(&world.authority, None, &[version]));
        let length = client.tls.encrypt(b"set a 0 0 3\r\nabc\r\nget a\r\n").len();
        let mut client = server.client(&Trust::with(&world.authority, None, &[version]));
        for cut in 1..length {
            let records = client.tls.encrypt(b"set a 0 0 3\r\nabc\r\nget a\r\n");
            client.socket.write_all(&records[..cut]).unwrap();
            thread::yield_now();
            client.socket.write_all(&records[cut..]).unwrap();
            assert_eq!(client.read(40), "STORED\r\nVALUE a 0 3\r\nabc\r\nEND\r\n", "cut at {cut}");
        }
        let letters = b"set a 0 0 3\r\nabc\r\nget a\r\n".chunks(1);
        let many: Vec<u8> = letters.flat_map(|letter| client.tls.encrypt(letter)).collect();
        client.socket.write_all(&many).unwrap();
        assert_eq!(client.read(40), "STORED\r\nVALUE a 0 3\r\nabc\r\nEND\r\n");
    }
}

#[test]
fn large_values_and_a_reader_that_waits() {
    let Some(world) = World::new() else { return };
    let server = world.start("", &["-m", "256", "-I", "8m"]);
    let mut random = Random::new(7);
    for (version, size) in [(&TLS12, 300_000), (&TLS13, 5_000_000), (&TLS13, 16_384), (&TLS12, 65_536)] {
        let mut client = server.client(&Trust::with(&world.authority, None, &[version]));
        let value: Vec<u8> = (0..size).map(|_| b'a' + (random.below(26) as u8)).collect();
        let request = [format!("set big 0 0 {size}\r\n").as_bytes(), &value, b"\r\n"].concat();
        assert_eq!(client.ask_bytes(&request), b"STORED\r\n");
        // More than the buffers of both sockets hold, asked for before anything is read.
        let count = 8_000_000 / size + 2;
        client.send("get big\r\n".repeat(count).as_bytes());
        thread::sleep(Duration::from_millis(50));
        let expected = [format!("VALUE big 0 {size}\r\n").as_bytes(), &value, b"\r\nEND\r\n"].concat();
        for round in 0..count {
            assert!(client.read_exactly(expected.len()) == expected, "reply {round} of {count}, {size} bytes");
        }
        assert_eq!(client.ask("mn\r\n"), "MN\r\n");
    }
}

/// What did not fit the caller was handed out by the next read, together with the news that the socket is empty. That was
/// old by then: an event in between was forgotten, and the connection stood still with its input unread.
#[test]
fn an_event_between_two_reads_is_not_forgotten() {
    let Some(world) = World::new() else { return };
    let server = world.start("", &["-t", "1"]);
    let mut client = server.client(&world.trust());
    let value = "x".repeat(40_000);
    let burst = format!("set big 0 0 {}\r\n{value}\r\n{}", value.len(), "mn\r\n".repeat(40_000));
    let expected = format!("STORED\r\n{}", "MN\r\n".repeat(40_000));
    for round in 0..20 {
        let records = client.tls.encrypt(burst.as_bytes());
        let mut socket = client.socket.try_clone().unwrap();
        let sender = thread::spawn(move || socket.write_all(&records));
        assert!(client.read_exactly(expected.len()) == expected.as_bytes(), "round {round}");
        sender.join().unwrap().unwrap();
    }
}

#[test]
fn goodbyes() {
    let Some(world) = World::new() else { return };
    let server = world.start("", &[]);
    for version in [&TLS12, &TLS13] {
        let trust = Trust::with(&world.authority, None, &[version]);
        // The server says that it says no more.
        let mut client = server.client(&trust);
        client.send(b"quit\r\n");
        assert_eq!(client.tls.read(&mut client.socket, &mut [0; 9]).unwrap(), 0, "{version:?}");
        // The client does, and is answered what it asked before.
        let mut client = server.client(&trust);
        let last = [client.tls.encrypt(b"set a 0 0 1\r\nx\r\nget a\r\n"), client.tls.close()].concat();
        client.socket.write_all(&last).unwrap();
        client.socket.shutdown(Shutdown::Write).unwrap();
        assert_eq!(client.read(99), "STORED\r\nVALUE a 0 1\r\nx\r\nEND\r\n", "{version:?}");
        assert_eq!(client.tls.read(&mut client.socket, &mut [0; 9]).unwrap(), 0);
    }
    let mut client = server.client(&world.trust());
    assert_eq!(client.stat("stats", "ssl_proto_errors"), "0");
}

#[test]
fn what_is_not_tls_harms_nobody() {
    let Some(world) = World::new() else { return };
    let server = world.start("", &[]);
    let mut bystander = server.client(&world.trust());
    let mut watcher = server.client(&world.trust());
    assert_eq!(watcher.ask("watch connevents\r\n"), "OK\r\n");
    assert_eq!(bystander.ask("set canary 0 0 5\r\nalive\r\n"), "STORED\r\n");
    let hello = {
        let mut session = world.trust().session();
        let mut hello = Vec::new();
        session.write_tls(&mut hello).unwrap();
        hello
    };
    let mut random = Random::new(11);
    let mut failed = 0;
    let mut junk: Vec<Vec<u8>> = vec![b"get a\r\n".to_vec(), b"GET / HTTP/1.1\r\n\r\n".to_vec(), vec![0x80; 24]];
    junk.extend((0..60).map(|_| (0..random.below(400) + 6).map(|_| random.below(256) as u8).collect()));
    junk.extend((0..100).map(|_| {
        let mut spoilt = hello.clone();
        for _ in 0..random.below(3) + 1 {
            let at = random.below(spoilt.len());
            spoilt[at] ^= 1 << random.below(8);
        }
        spoilt
    }));
    for bytes in &junk {
        let mut socket = connect(server.port);
        socket.write_all(bytes).unwrap();
        socket.shutdown(Shutdown::Write).unwrap();
        // An alert, or a server's hello where the change did not matter, and then the end, however abrupt.
        match socket.read_to_end(&mut Vec::new()) {
            Ok(_) => {}
            Err(error) => assert_eq!(error.kind(), ErrorKind::ConnectionReset),
        }
        failed += 1;
        assert_eq!(bystander.ask("get canary\r\n"), "VALUE canary 0 5\r\nalive\r\nEND\r\n");
    }
    // A client that leaves in the middle of its hello, and one that leaves without a word, which is no failure.
    for end in [1, 5, 40, hello.len() - 1] {
        connect(server.port).write_all(&hello[..end]).unwrap();
        failed += 1;
    }
    drop(connect(server.port));
    wait_until("all failures", || bystander.stat("stats", "ssl_handshake_errors") == failed.to_string());
    wait_until("the end of all connections", || bystander.stat("stats", "curr_connections") == "2");
    assert!(watcher.read(200).contains("type=conn"), "watchers are told");

    // After the handshake: a record that was tampered with.
    let mut client = server.client(&world.trust());
    let mut record = client.tls.encrypt(b"get canary\r\n");
    *record.last_mut().unwrap() ^= 1;
    client.socket.write_all(&record).unwrap();
    let refused = client.tls.read(&mut client.socket, &mut [0; 99]);
    assert!(refused.is_err(), "{refused:?}");
    wait_until("the failure", || bystander.stat("stats", "ssl_proto_errors") == "1");
}

#[test]
fn slow_handshakes_end() {
    let Some(world) = World::new() else { return };
    let server = world.start("debug_commands", &["-t", "1"]);
    let mut bystander = server.client(&world.trust());
    // A hello that trickles in is served all the same.
    let mut slow = world.trust().session();
    let mut hello = Vec::new();
    slow.write_tls(&mut hello).unwrap();
    let mut socket = connect(server.port);
    for byte in hello.chunks(3) {
        socket.write_all(byte).unwrap();
        assert_eq!(bystander.ask("mn\r\n"), "MN\r\n");
    }
    while slow.is_handshaking() {
        slow.complete_io(&mut socket).unwrap();
    }
    // Those that never go on are ended when their time is over, and nobody else is.
    let mut stuck: Vec<TcpStream> = (0..20).map(|_| connect(server.port)).collect();
    for (index, socket) in stuck.iter_mut().enumerate() {
        socket.write_all(&hello[..index]).unwrap();
    }
    wait_until("connections", || bystander.stat("stats", "curr_connections") == "22");
    assert_eq!(bystander.ask("debugtime 40\r\n"), "OK\r\n");
    for socket in &mut stuck {
        let ended = loop {
            match socket.read(&mut [0; 64]) {
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                ended => break ended,
            }
        };
        let is_ended = match &ended {
            Ok(count) => *count == 0,
            Err(error) => error.kind() == ErrorKind::ConnectionReset,
        };
        assert!(is_ended, "{ended:?}");
    }
    assert_eq!(bystander.stat("stats", "ssl_handshake_errors"), "20");
}

#[test]
fn a_storm_of_handshakes_lets_requests_through() {
    let Some(world) = World::new() else { return };
    let server = world.start("", &["-t", "1"]);
    let mut bystander = server.client(&world.trust());
    let hello = {
        let mut hello = Vec::new();
        world.trust().session().write_tls(&mut hello).unwrap();
        hello
    };
    let mut storm: Vec<TcpStream> = (0..400).map(|_| connect(server.port)).collect();
    for socket in &mut storm {
        socket.write_all(&hello).unwrap();
    }
    // All 400 stand in the queue or will: these requests are answered between them.
    let started = Instant::now();
    let mut longest = Duration::ZERO;
    for _ in 0..50 {
        let asked = Instant::now();
        assert_eq!(bystander.ask("mn\r\n"), "MN\r\n");
        longest = longest.max(asked.elapsed());
    }
    for socket in &mut storm {
        let mut first = [0; 1];
        socket.read_exact(&mut first).unwrap();
        assert_eq!(first[0], 22, "a server's hello");
    }
    println!("50 requests took {:?}, the longest {longest:?}", started.elapsed());
    assert!(longest < Duration::from_secs(2), "{longest:?}");
}

#[test]
fn statistics_and_settings_of_tls() {
    let Some(world) = World::new() else { return };
    let server = world.start("ssl_wbuf_size=64", &[]);
    let mut client = server.client(&world.trust());
    let names: Vec<String> = client.stats("stats").into_iter().map(|(name, _)| name).collect();
    let at = names.iter().position(|name| name == "ssl_handshake_errors").unwrap();
    let expected =
        ["ssl_handshake_errors", "ssl_proto_errors", "time_since_server_cert_refresh", "unexpected_napi_ids"];
    assert_eq!(names[at..at + 4], expected);
    for (name, value) in [("ssl_enabled", "yes"), ("ssl_verify_mode", "0"), ("ssl_wbuf_size", "65536")] {
        assert_eq!(client.stat("stats settings", name), value);
    }
    // Counted from the start of the clock, as in memcached, and from the last time afterwards.
    let before: u32 = client.stat("stats", "time_since_server_cert_refresh").parse().unwrap();
    assert_eq!(client.ask("refresh_certs\r\n"), "OK\r\n");
    let after: u32 = client.stat("stats", "time_since_server_cert_refresh").parse().unwrap();
    assert!(after < before && after < 5, "{before} {after}");
}

/// An authority, a folder and the program to test.
struct World {
    authority: Authority,
    folder: PathBuf,
    program: Program,
}

impl World {
    /// `None` where the program is a real memcached: what is tested here are slabstash's own counters and messages.
    fn new() -> Option<World> {
        let program = Program::from_environment().unwrap();
        if program.is_reference {
            return None;
        }
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let name = format!("tls-tests-{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
        let folder = std::env::temp_dir().join(name);
        fs::create_dir_all(&folder).unwrap();
        Some(World { authority: Authority::new("tests"), folder, program })
    }

    fn trust(&self) -> Trust {
        Trust::new(&self.authority)
    }

    /// A server with a certificate and more suboptions.
    fn start(&self, suboptions: &str, options: &[&str]) -> Server {
        let files = self.authority.issue_server().write(&self.folder, "server").unwrap();
        self.start_with(&format!("{},{suboptions}", files.options()), options)
    }

    fn start_with(&self, suboptions: &str, options: &[&str]) -> Server {
        let port = free_port().unwrap();
        let mut command = self.program.command();
        let own = format!("127.0.0.1:{port}");
        command.args(["-l", &own, "-p", &port.to_string(), "-U", "0", "-Z", "-o", suboptions]).args(options);
        command.stdout(Stdio::null()).stderr(Stdio::null());
        if std::env::var_os("SLABSTASH_TEST_STDERR").is_some() {
            command.stderr(Stdio::inherit());
        }
        let server = Server { child: command.spawn().unwrap(), port };
        wait_until("the server", || TcpStream::connect((Ipv4Addr::LOCALHOST, port)).is_ok());
        server
    }
}

impl Drop for World {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.folder);
    }
}

struct Server {
    child: Child,
    port: u16,
}

impl Server {
    #[track_caller]
    fn client(&self, trust: &Trust) -> Client {
        self.try_client(trust).unwrap()
    }

    fn try_client(&self, trust: &Trust) -> std::io::Result<Client> {
        Client::open(self.port, trust)
    }

    fn serves(&self, trust: &Trust) -> bool {
        is_serving(self.port, trust)
    }

    fn hang_up(&self) {
        let status = Command::new("kill").args(["-HUP", &self.child.id().to_string()]).status();
        assert!(status.unwrap().success());
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// In TLS 1.3 a client only learns by reading that its certificate was refused.
fn is_serving(port: u16, trust: &Trust) -> bool {
    let Ok(mut client) = Client::open(port, trust) else {
        return false;
    };
    client.send(b"mn\r\n");
    client.tls.read(&mut client.socket, &mut [0; 9]).is_ok_and(|count| count == 4)
}

struct Client {
    socket: TcpStream,
    tls: Encrypted,
}

impl Client {
    fn open(port: u16, trust: &Trust) -> std::io::Result<Client> {
        let mut socket = connect(port);
        let tls = trust.begin(&mut socket)?;
        Ok(Client { socket, tls })
    }

    fn send(&mut self, bytes: &[u8]) {
        let records = self.tls.encrypt(bytes);
        self.socket.write_all(&records).unwrap();
    }

    /// What comes back, up to the end of a line that ends an answer.
    #[track_caller]
    fn ask(&mut self, request: &str) -> String {
        String::from_utf8(self.ask_bytes(request.as_bytes())).unwrap()
    }

    #[track_caller]
    fn ask_bytes(&mut self, request: &[u8]) -> Vec<u8> {
        self.send(request);
        let is_list = request.starts_with(b"get ") || request.starts_with(b"stats");
        let mut answer = Vec::new();
        let mut space = [0; 16384];
        while !(if is_list { answer.ends_with(b"END\r\n") } else { answer.ends_with(b"\r\n") }) {
            let count = self.tls.read(&mut self.socket, &mut space).unwrap();
            assert!(count > 0, "the server left after {:?}", String::from_utf8_lossy(&answer));
            answer.extend_from_slice(&space[..count]);
        }
        answer
    }

    /// What comes until `END`, or the end, or so many bytes.
    fn read(&mut self, most: usize) -> String {
        let mut answer = Vec::new();
        let mut space = [0; 4096];
        while answer.len() < most && !answer.ends_with(b"END\r\n") {
            match self.tls.read(&mut self.socket, &mut space) {
                Ok(count) if count > 0 => answer.extend_from_slice(&space[..count]),
                _ => break,
            }
        }
        String::from_utf8(answer).unwrap()
    }

    fn read_exactly(&mut self, length: usize) -> Vec<u8> {
        let mut answer = vec![0; length];
        let mut filled = 0;
        while filled < length {
            let count = self.tls.read(&mut self.socket, &mut answer[filled..]).unwrap();
            assert!(count > 0);
            filled += count;
        }
        answer
    }

    fn stats(&mut self, command: &str) -> Vec<(String, String)> {
        let text = self.ask(&format!("{command}\r\n"));
        let line = |line: &str| {
            let (name, value) = line.strip_prefix("STAT ")?.split_once(' ')?;
            Some((name.to_string(), value.to_string()))
        };
        text.lines().filter_map(line).collect()
    }

    fn find_stat(&mut self, command: &str, name: &str) -> Option<String> {
        self.stats(command).into_iter().find(|(found, _)| found == name).map(|(_, value)| value)
    }

    #[track_caller]
    fn stat(&mut self, command: &str, name: &str) -> String {
        self.find_stat(command, name).unwrap()
    }
}

fn connect(port: u16) -> TcpStream {
    let socket = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).unwrap();
    socket.set_nodelay(true).unwrap();
    socket.set_read_timeout(Some(TIMEOUT)).unwrap();
    socket.set_write_timeout(Some(TIMEOUT)).unwrap();
    socket
}

/// Waits for something that another thread or process does.
#[track_caller]
fn wait_until(what: &str, mut is_so: impl FnMut() -> bool) {
    let deadline = Instant::now() + TIMEOUT;
    while !is_so() {
        assert!(Instant::now() < deadline, "{what}: not within {TIMEOUT:?}");
        thread::sleep(Duration::from_millis(2));
    }
}

const TIMEOUT: Duration = Duration::from_secs(20);

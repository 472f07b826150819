//! Transcripts of the classic text protocol, each fed whole and cut in two at every byte.

use super::output::{OUTPUT_BYTES_MAX, Output};
use super::retrieval::{KEYS_PER_TURN_MAX, Looked, Lookup, look_up};
use super::session::{CloseReason, Next};
use super::testing::{Client, service, service_with};
use crate::stats::connections::ConnectionState;
use crate::store;

/// Feeds `input` to fresh services, whole, cut at each byte, and byte by byte.
#[track_caller]
fn check(input: &[u8], expected: &str) {
    let cuts = if input.len() > 4096 {
        [1, 10, 100, input.len() / 2, input.len() - 1].to_vec()
    } else {
        (0..=input.len()).collect()
    };
    for cut in cuts {
        let service = service();
        let mut client = Client::new(&service);
        for part in [&input[..cut], &input[cut..]] {
            client.feed(part);
        }
        let sent = String::from_utf8_lossy(&client.sent);
        assert_eq!(sent, expected, "cut at {cut}");
    }
    let service = service();
    let mut client = Client::new(&service);
    for byte in input {
        client.feed(std::slice::from_ref(byte));
    }
    assert_eq!(String::from_utf8_lossy(&client.sent), expected, "bytewise");
}

#[test]
fn storage_commands_answer() {
    check(b"set a 5 0 3\r\nabc\r\nget a\r\n", "STORED\r\nVALUE a 5 3\r\nabc\r\nEND\r\n");
    check(b"set a 0 0 0\n\r\nget a\n", "STORED\r\nVALUE a 0 0\r\n\r\nEND\r\n");
    check(
        b"add a 0 0 1\r\n1\r\nadd a 0 0 1\r\n2\r\nreplace b 0 0 1\r\n3\r\nreplace a 0 0 1\r\n4\r\nget a b\r\n",
        "STORED\r\nNOT_STORED\r\nNOT_STORED\r\nSTORED\r\nVALUE a 0 1\r\n4\r\nEND\r\n",
    );
    check(
        b"append a 0 0 1\r\n1\r\nset a 3 0 1\r\nb\r\nappend a 9 9 1\r\nc\r\nprepend a 9 9 1\r\na\r\nget a\r\n",
        "NOT_STORED\r\nSTORED\r\nSTORED\r\nSTORED\r\nVALUE a 3 3\r\nabc\r\nEND\r\n",
    );
    check(
        b"cas a 0 0 1 2\r\n1\r\nset a 0 0 1\r\n1\r\ncas a 0 0 1 0\r\n2\r\ngets a\r\ncas a 0 0 1 2\r\n2\r\n",
        "NOT_FOUND\r\nSTORED\r\nEXISTS\r\nVALUE a 0 1 2\r\n1\r\nEND\r\nSTORED\r\n",
    );
    check(b"set a 0 -1 1\r\n1\r\nget a\r\n", "STORED\r\nEND\r\n");
}

#[test]
fn refused_data_blocks_are_swallowed_or_parsed() {
    let bad = "CLIENT_ERROR bad command line format\r\n";
    check(b"set a x 0 3\r\nabc\r\nget a\r\n", &format!("{bad}END\r\n"));
    check(b"set a x 0 3 noreply\r\nabc\r\nget a\r\n", "END\r\n");
    check(b"set a 0 0 x\r\nmn\r\nget a\r\n", &format!("{bad}MN\r\nEND\r\n"));
    check(b"set a 0 0\r\nmn\r\n", &format!("{bad}MN\r\n"));
    check(b"set a 0 0 3\r\nabcdef\r\nget a\r\n", &format!("CLIENT_ERROR bad data chunk\r\n{bad}END\r\n"));
    check(b"set a 0 0 3 noreply\r\nabcxxget a\r\n", "END\r\n");
    let key = "k".repeat(251);
    check(format!("set {key} 0 0 3\r\nabc\r\nmn\r\n").as_bytes(), &format!("{bad}MN\r\n"));
}

#[test]
fn refusals_wait_for_the_data_block() {
    let service = service();
    let mut client = Client::new(&service);
    client.feed(b"set a x 0 300000\r\nabc");
    assert_eq!(client.sent, b"");
    assert_eq!(client.session.state(), ConnectionState::Swallow);
    client.feed(&[b'x'; 300_000 - 3]);
    assert_eq!(client.sent, b"");
    client.feed(b"\r\n");
    assert_eq!(client.sent, b"CLIENT_ERROR bad command line format\r\n");
    assert_eq!(client.session.state(), ConnectionState::Read);
}

#[test]
fn too_large_a_value_is_refused_and_a_set_removes_the_old_one() {
    let data = "x".repeat(1_048_517);
    for (word, left) in [("set", ""), ("add", "VALUE a 0 1\r\n1\r\n")] {
        let service = service();
        let mut client = Client::new(&service);
        let input = format!("set a 0 0 1\r\n1\r\n{word} a 0 0 1048517\r\n{data}\r\nget a\r\n");
        client.feed(input.as_bytes());
        assert_eq!(
            String::from_utf8_lossy(&client.sent),
            format!("STORED\r\nSERVER_ERROR object too large for cache\r\n{left}END\r\n")
        );
        assert_eq!(service.store.snapshot().counters.store_too_large, 1);
    }
}

/// A set alone that found no memory used to be tried a second time to answer it, and its refusal counted twice.
#[test]
fn a_set_without_memory_is_refused_once() {
    let config = store::Config { memory_limit_bytes: 1 << 20, has_evictions: false, ..store::Config::default() };
    let service = service_with(config);
    let mut client = Client::new(&service);
    for number in 0..20_000 {
        client.feed(format!("set key{number} 0 0 100\r\n{}\r\n", "v".repeat(100)).as_bytes());
    }
    let sent = String::from_utf8_lossy(&client.sent);
    let refused = sent.matches("SERVER_ERROR out of memory storing object\r\n").count() as u64;
    let counted: u64 = service.store.snapshot().classes.iter().map(|class| class.counters.outofmemory).sum();
    let sets: u64 = service.store.snapshot().classes.iter().map(|class| class.counters.cmd_set).sum();
    assert!(refused > 0 && refused < 20_000, "{refused}");
    assert_eq!((counted, sets), (refused, 20_000));
}

#[test]
fn large_values_come_and_go() {
    let data: String = (0..100_000).map(|n| char::from(b'a' + (n % 26) as u8)).collect();
    check(
        format!("set a 1 0 100000\r\n{data}\r\nget a\r\nset b 0 0 100000\r\n{data}xxget b\r\n").as_bytes(),
        &format!("STORED\r\nVALUE a 1 100000\r\n{data}\r\nEND\r\nCLIENT_ERROR bad data chunk\r\nEND\r\n"),
    );
}

/// As memcached does up to `slab_chunk_max`: found by the fuzzer's oracle, where values of more than 16 KiB were no numbers.
#[test]
fn numbers_in_large_values_are_counted() {
    for (bytes, front) in [(17_000, "5"), (200_000, " \t5"), (17_000, "+00005"), (524_000, "5")] {
        let (value, shown, less) = (padded(front, bytes), padded("8", bytes), padded("6", bytes));
        check(
            format!("set a 3 0 {bytes}\r\n{value}\r\nincr a 3\r\ngets a\r\ndecr a 2\r\nget a\r\nmn\r\n").as_bytes(),
            &format!(
                "STORED\r\n8\r\nVALUE a 3 {bytes} 3\r\n{shown}\r\nEND\r\n6\r\nVALUE a 3 {bytes}\r\n{less}\r\nEND\r\nMN\r\n"
            ),
        );
    }
    let refused = "STORED\r\nCLIENT_ERROR cannot increment or decrement non-numeric value\r\n";
    for front in ["x", "5x", "-5", "5-", "18446744073709551616"] {
        check(format!("set a 0 0 17000\r\n{}\r\nincr a 1\r\n", padded(front, 17_000)).as_bytes(), refused);
    }
    check(format!("set a 0 0 600000\r\n{}\r\nincr a 1\r\n", padded("5", 600_000)).as_bytes(), refused);
}

/// A number that grows takes the blanks behind it, and nothing else of the value.
#[test]
fn a_number_grows_in_a_large_value() {
    let bytes = 17_000;
    for (front, delta, after) in [
        ("9", 1, "10"),
        ("99999", 1, "100000"),
        ("5", u64::MAX - 5, "18446744073709551615"),
        ("18446744073709551615", 2, "1"),
    ] {
        let (value, shown) = (padded(front, bytes), padded(after, bytes));
        check(
            format!("set a 3 0 {bytes}\r\n{value}\r\nincr a {delta}\r\nget a\r\n").as_bytes(),
            &format!("STORED\r\n{after}\r\nVALUE a 3 {bytes}\r\n{shown}\r\nEND\r\n"),
        );
    }
}

/// A multiget that has found no memory for its replies is over. It asked for some for each of its further keys, thousands of
/// times in vain while there was none.
#[test]
fn a_torn_multiget_asks_for_no_more_memory() {
    let service = service();
    let mut client = Client::new(&service);
    client.feed(b"set a 0 0 1\r\n1\r\n");
    for (deadline, count) in [(None, 2), (None, 5000), (Some(0), 5000)] {
        let lookup = Lookup { deadline, has_cas: false, is_resumed: false };
        client.output = Output::new();
        client.output.tear();
        let looked = client.visit(|output, context| look_up(lookup, "a ".repeat(count).as_bytes(), output, context));
        assert_eq!((looked, client.output.pending(), client.output.bytes().capacity()), (Looked::Done, 0, 0));
    }
    let hits: u64 = service.store.snapshot().classes.iter().map(|class| class.counters.get_hits()).sum();
    assert_eq!(hits, 0);
}

/// A value that begins with `front`. A width of `format!` ends at 65 535.
fn padded(front: &str, bytes: usize) -> String {
    front.to_owned() + &" ".repeat(bytes - front.len())
}

#[test]
fn states_show_what_is_waited_for() {
    let service = service();
    let mut client = Client::new(&service);
    assert_eq!(client.session.state(), ConnectionState::Read);
    assert_eq!(client.feed(b"set a 0 0 10\r\nabc"), Next::Input { bytes: 26 });
    assert_eq!(client.session.state(), ConnectionState::Nread);
    client.feed(b"defghij\r\n");
    assert_eq!(client.session.state(), ConnectionState::Read);
    client.feed(b"set a 0 0 100000\r\nabc");
    assert_eq!(client.session.state(), ConnectionState::Nread);
    assert_eq!(client.session.receive_space().map(|space| space.is_empty()), Some(false));
}

#[test]
fn arithmetic_and_removal_answer() {
    check(
        b"incr n 1\r\nset n 0 0 3\r\n100\r\ndecr n 1\r\nget n\r\nincr n 18446744073709551615\r\nincr n x\r\nincr n\r\n",
        "NOT_FOUND\r\nSTORED\r\n99\r\nVALUE n 0 3\r\n99 \r\nEND\r\n98\r\nCLIENT_ERROR invalid numeric delta argument\r\n\
         CLIENT_ERROR bad command line format\r\n",
    );
    check(
        b"set n 0 0 1\r\nx\r\nincr n 1\r\nincr n 1 noreply\r\ndelete n\r\ndelete n 0\r\ndelete noreply\r\n",
        "STORED\r\nCLIENT_ERROR cannot increment or decrement non-numeric value\r\nDELETED\r\nNOT_FOUND\r\n",
    );
    check(
        b"touch a 1\r\nset a 0 0 1\r\n1\r\ntouch a x\r\ntouch a -1\r\nget a\r\n",
        "NOT_FOUND\r\nSTORED\r\nCLIENT_ERROR invalid exptime argument\r\nTOUCHED\r\nEND\r\n",
    );
}

#[test]
fn retrieval_answers() {
    check(
        b"set a 0 0 1\r\n1\r\nget a x a\r\ngat 0 a x\r\ngats 0 a\r\ngat x a\r\ngat 1\r\nget\r\ngets \r\n",
        "STORED\r\nVALUE a 0 1\r\n1\r\nVALUE a 0 1\r\n1\r\nEND\r\nVALUE a 0 1\r\n1\r\nEND\r\nVALUE a 0 1 2\r\n1\r\nEND\r\n\
         CLIENT_ERROR invalid exptime argument\r\nCLIENT_ERROR bad command line format\r\n\
         CLIENT_ERROR bad command line format\r\nCLIENT_ERROR bad command line format\r\n",
    );
    let key = "k".repeat(251);
    check(format!("get {key}\r\n").as_bytes(), "CLIENT_ERROR bad command line format\r\n\r\n");
    check(format!("get {key} noreply\r\n").as_bytes(), "\r\n");
    check(format!("gat 0 {key} noreply\r\n").as_bytes(), "CLIENT_ERROR bad command line format\r\n\r\n");
}

#[test]
fn a_key_too_long_takes_the_turns_replies_back() {
    let service = service();
    let mut client = Client::new(&service);
    let key = "k".repeat(251);
    client.feed(format!("set a 0 0 1\r\n1\r\nget a\r\nget a {key}\r\nget a\r\n").as_bytes());
    assert_eq!(
        String::from_utf8_lossy(&client.sent),
        "CLIENT_ERROR bad command line format\r\n\r\nVALUE a 0 1\r\n1\r\nEND\r\n"
    );
}

#[test]
fn a_long_multiget_goes_on_in_later_turns() {
    let service = service();
    let mut client = Client::new(&service);
    client.feed(format!("set big 0 0 10000\r\n{}\r\n", "x".repeat(10_000)).as_bytes());
    client.sent.clear();
    for end in ["\r\n", "\n"] {
        client.feed(format!("get{}{end}mn\r\n", " big miss".repeat(10_000)).as_bytes());
        let value = format!("VALUE big 0 10000\r\n{}\r\n", "x".repeat(10_000));
        let expected = value.repeat(10_000) + "END\r\nMN\r\n";
        assert!(client.sent == expected.as_bytes());
        client.sent.clear();
    }
    // A bad key behind the first pause is found before anything is sent.
    let key = "k".repeat(251);
    client.feed(format!("get{} {key}\r\n", " big".repeat(100)).as_bytes());
    assert_eq!(client.sent, b"CLIENT_ERROR bad command line format\r\n\r\n");
}

#[test]
fn other_commands_answer() {
    check(b"\r\nmn\na\r\n", &"CLIENT_ERROR bad command line format\r\n".repeat(3));
    check(b"mn\r\nversion x\r\nfoo\r\nfoo noreply\r\nnoreply\r\n", "MN\r\nVERSION 1.6.45\r\nERROR\r\n");
    check(b" get a\r\n get a noreply\r\n     \r\n", "ERROR\r\nERROR\r\n");
    check(b"mn\r\nquit\r\nmn\r\n", "MN\r\n");
    check(b"HTTP/1.1\r\nget / HTTP/1.1\r\n", "ERROR\r\nEND\r\n");
}

#[test]
fn what_looks_like_http_is_cut_off() {
    let service = service();
    let mut client = Client::new(&service);
    let next = client.feed(b"GET / HTTP/1.1\r\nHost: x\r\n");
    assert_eq!(next, Next::Abort(CloseReason::Error));
    assert_eq!(client.sent, b"");
    assert_eq!(client.feed(b"mn\r\n"), Next::Abort(CloseReason::Error));
}

#[test]
fn an_unfinished_line_is_given_up() {
    let service = service();
    let mut client = Client::new(&service);
    assert_eq!(client.feed(&[b'x'; 2048]), Next::Input { bytes: 0 });
    assert_eq!(client.feed(b"x"), Next::Abort(CloseReason::Error));
}

#[test]
fn a_turn_has_its_share_of_requests() {
    let service = service();
    let mut client = Client::new(&service);
    client.feed(&b"mn\r\n".repeat(3));
    client.sent.clear();
    client.feed(&b"get a\r\n".repeat(50));
    assert_eq!(client.sent, b"END\r\n".repeat(50));
}

/// Whatever comes in, a session neither panics nor consumes more than it was given.
#[test]
fn noise_does_no_harm() {
    const PIECES: [&[u8]; 24] = [
        b"get ",
        b"set ",
        b"a ",
        b"0 ",
        b"1 ",
        b"5\r\n",
        b"\r\n",
        b"\n",
        b"\r",
        b" ",
        b"noreply",
        b"cas ",
        b"incr ",
        b"\0",
        b"\x80",
        b"delete ",
        b"100000\r\n",
        b"-1 ",
        b"99999999999 ",
        b"gat ",
        b"touch ",
        b"ms ",
        b"append ",
        b"abc",
    ];
    let mut seed: u64 = 0x9E37_79B9_7F4A_7C15;
    for round in 0..3000 {
        let service = service();
        let mut client = Client::new(&service);
        for _ in 0..40 {
            seed ^= seed << 13;
            seed ^= seed >> 7;
            seed ^= seed << 17;
            let piece = PIECES[(seed % PIECES.len() as u64) as usize];
            if matches!(client.feed(piece), Next::Close(_) | Next::Abort(_)) {
                break;
            }
        }
        assert!(client.sent.len() < 1 << 20, "round {round}");
    }
}

/// A dump of a class without items says nothing and still has others have their turn.
#[test]
fn a_dump_goes_on_in_later_turns() {
    let service = service();
    let mut client = Client::new(&service);
    for number in 0..40_000 {
        client.feed(format!("set k{number} 0 0 0 noreply\r\n\r\n").as_bytes());
    }
    let mut turns = 0;
    let mut next = client.feed_once(b"lru_crawler mgdump 30\r\n");
    while next == Next::Yield {
        turns += 1;
        next = client.turn();
    }
    assert_eq!(client.sent, b"OK\r\nEN\r\n");
    // Of 32 visits to 64 items or buckets each has a step, and of 8 steps a turn.
    assert!((2..=4).contains(&turns), "{turns} turns");
}

#[test]
fn a_number_of_any_length_keeps_its_length() {
    for length in [1, 20, 63, 64, 65, 100, 1000] {
        let (number, counted) = (format!("{:<length$}", 7), format!("{:<length$}", 8));
        check(
            format!("set n 0 0 {length}\r\n{number}\r\nincr n 1\r\nget n\r\n").as_bytes(),
            &format!("STORED\r\n8\r\nVALUE n 0 {length}\r\n{counted}\r\nEND\r\n"),
        );
    }
}

#[test]
fn a_turn_looks_up_a_bounded_number_of_keys() {
    let service = service();
    let mut client = Client::new(&service);
    let misses = || service.store.snapshot().counters.get_misses as usize;
    let turns = 3;
    let mut next = client.feed_once(format!("get{}\r\n", " k".repeat(turns * KEYS_PER_TURN_MAX + 10)).as_bytes());
    for turn in 1..=turns {
        assert_eq!((next, misses()), (Next::Yield, turn * KEYS_PER_TURN_MAX));
        next = client.turn();
    }
    assert_eq!((misses(), &client.sent[..]), (turns * KEYS_PER_TURN_MAX + 10, &b"END\r\n"[..]));
}

/// A reply is begun while less waits than a connection may owe; so many replies, or keys of one request, as fit are made.
#[test]
fn a_turn_makes_a_bounded_amount_of_replies() {
    for request in ["get k\r\n".repeat(20), format!("get{}\r\n", " k".repeat(1000)), "mg k v\r\n".repeat(20)] {
        let service = service();
        let mut client = Client::new(&service);
        client.feed(format!("set k 0 0 16000 noreply\r\n{}\r\n", "v".repeat(16_000)).as_bytes());
        let next = client.feed_once(request.as_bytes());
        let made = client.sent.len();
        assert_eq!(next, Next::Yield, "{}", &request[..6]);
        assert!((OUTPUT_BYTES_MAX..OUTPUT_BYTES_MAX + 16_100).contains(&made), "{}: {made} bytes", &request[..6]);
    }
}

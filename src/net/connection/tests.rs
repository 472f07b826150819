//! Turns of a connection, counted: how much each of them does before others have theirs.

use std::io::{IoSlice, Read, Write};

use socket2::SockRef;

use super::receive::RECEIVED_BYTES_MAX;
use super::send::{SENT_BYTES_MAX, SLICES_MAX};
use super::*;
use crate::command::{Service, testing::Client};
use crate::net::testing::{connection, tools, tools_of};
use crate::store;

/// What the client has been sent by now.
fn received(client: &mut impl Read) -> usize {
    let mut space = [0; 4096];
    std::iter::from_fn(|| client.read(&mut space).ok().filter(|count| *count > 0)).sum()
}

/// Turns until the first reply is there, and how many bytes of them then are.
fn turns_until_a_reply(request: &[u8], tools: &mut Tools) -> (usize, usize) {
    let (mut connection, mut client) = connection(request, tools);
    for turn in 1..1000 {
        connection.turn(0, tools);
        match received(&mut client) {
            0 => {}
            bytes => return (turn, bytes),
        }
    }
    panic!("no reply");
}

#[test]
fn short_replies_of_a_bounded_number_of_turns_go_out_together() {
    let turns = 1 + usize::from(DEFERRALS_MAX);
    let replies = turns * 20 * b"EN\r\n".len();
    assert_eq!(turns_until_a_reply(&b"mg k v\r\n".repeat(1000), &mut tools()), (turns, replies));
}

#[test]
fn replies_of_some_length_go_out_at_the_end_of_the_turn() {
    for (value_bytes, expected) in [(DEFERRED_BYTES_MAX / 20, 1), (DEFERRED_BYTES_MAX / 20 - 30, 2)] {
        let mut tools = tools();
        let set = [format!("set k 0 0 {value_bytes}\r\n").as_bytes(), &vec![b'v'; value_bytes], b"\r\n"].concat();
        Client::new(&tools.service).feed(&set);
        let (turns, bytes) = turns_until_a_reply(&b"mg k v\r\n".repeat(100), &mut tools);
        assert_eq!(turns, expected, "{bytes} bytes for values of {value_bytes}");
    }
}

#[test]
fn a_bounded_part_of_a_large_value_is_received_in_a_turn() {
    let mut tools = tools();
    let (mut connection, client) = connection(b"set k 0 0 1000000\r\n", &tools);
    SockRef::from(&client).set_send_buffer_size(1 << 20).expect("a socket");
    assert_eq!(connection.turn(0, &mut tools), Verdict::WaitHolding);
    let bytes_read = |tools: &Tools| tools.service.workers[0].bytes_read.value() as usize;
    let before = bytes_read(&tools);
    let sent = (&client).write(&[b'v'; RECEIVED_BYTES_MAX + 50_000]).expect("room");
    assert!(sent > RECEIVED_BYTES_MAX, "the socket takes {sent} bytes only");
    connection.note_readable(false);
    assert_eq!(connection.turn(0, &mut tools), Verdict::AgainLater);
    assert_eq!(bytes_read(&tools) - before, RECEIVED_BYTES_MAX);
    connection.turn(0, &mut tools);
    assert_eq!(bytes_read(&tools) - before, sent);
}

#[test]
fn a_send_has_a_bounded_number_of_parts() {
    let config = store::Config { slab_chunk_max: 1024, ..store::Config::default() };
    let mut tools = tools_of(Service::in_process(config));
    let (mut connection, mut client) = connection(b"", &tools);
    let service = Arc::clone(&tools.service);
    let mut session = Client::new(&service);
    session.feed(&[&b"set k 0 0 1500\r\n"[..], &[b'v'; 1500], b"\r\n"].concat());
    *tools.output = session.visit(|_, context| {
        let mut output = Output::new();
        let mut session = Session::new(crate::command::service::ProtocolChoice::Text);
        session.process(&[&b"get"[..], &b" k".repeat(SLICES_MAX), b"\r\n"].concat(), &mut output, context);
        output
    });
    let mut slices = [IoSlice::new(&[]); 4 * SLICES_MAX];
    let count = tools.output.slices(&mut slices, usize::MAX);
    assert!(count > SLICES_MAX, "{count} parts");
    let first: usize = slices[..SLICES_MAX].iter().map(|slice| slice.len()).sum();
    assert_eq!(connection.write_slices(usize::MAX, &mut tools).expect("room"), first);
    assert_eq!(received(&mut client), first);
    // The rest follows in further ones.
    tools.output.advance(first);
    let rest = tools.output.pending();
    assert!(matches!(connection.send(&mut tools), Sent::All));
    assert_eq!(received(&mut client), rest);
}

/// A value that is sent in several turns, under `k`.
fn store_large(tools: &Tools) {
    let set = [&b"set k 0 0 1000000\r\n"[..], &[b'v'; 1_000_000], b"\r\n"].concat();
    Client::new(&tools.service).feed(&set);
}

#[test]
fn a_bounded_part_of_a_large_value_is_sent_in_a_turn() {
    let mut tools = tools();
    store_large(&tools);
    let (mut connection, mut client) = connection(b"get k\r\n", &tools);
    assert_eq!(connection.turn(0, &mut tools), Verdict::AgainLater);
    assert_eq!(received(&mut client), SENT_BYTES_MAX);
    assert_eq!(connection.turn(0, &mut tools), Verdict::AgainLater);
    assert_eq!(received(&mut client), SENT_BYTES_MAX);
}

/// The idle sweep took the time between two parts of a reply for idleness, and cut values that took their time.
#[test]
fn who_waits_for_the_rest_of_a_reply_is_not_idle() {
    let mut tools = tools();
    store_large(&tools);
    let (mut connection, _client) = connection(b"", &tools);
    // Only TCP is ever idle.
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let mut other = std::net::TcpStream::connect(listener.local_addr().expect("an address")).expect("a connection");
    let (ours, _) = listener.accept().expect("a connection");
    ours.set_nonblocking(true).expect("a socket");
    connection.stream = Stream::Tcp(mio::net::TcpStream::from_std(ours));
    other.write_all(b"get k\r\n").expect("room");
    assert!(connection.is_idle_since(u32::MAX));
    connection.note_readable(false);
    while connection.turn(0, &mut tools) == Verdict::Wait {
        connection.note_readable(false);
    }
    assert!(!connection.is_blocked && !connection.is_idle_since(u32::MAX));
}

/// A plain turn does not look at what a full socket has left: it must be gone by then.
#[test]
fn a_client_that_has_read_at_last_is_served_plainly_again() {
    let mut tools = tools();
    store_large(&tools);
    let (mut connection, mut client) = connection(b"get k\r\n", &tools);
    let waiting = |connection: &Connection| connection.entry().replies_waiting.load(Ordering::Relaxed);
    while connection.turn(0, &mut tools) == Verdict::AgainLater {}
    assert!(connection.is_blocked && !connection.is_at_rest && waiting(&connection) == 1);
    let mut sent = 0;
    while connection.is_blocked {
        sent += received(&mut client);
        connection.note_writable();
        while connection.turn(0, &mut tools) == Verdict::AgainLater {}
    }
    sent += received(&mut client);
    assert_eq!(sent, b"VALUE k 0 1000000\r\n\r\nEND\r\n".len() + 1_000_000);
    assert!(connection.is_at_rest && waiting(&connection) == 0);
    client.write_all(b"get none\r\n").expect("room");
    connection.note_readable(false);
    assert!(connection.is_plain());
    assert_eq!(connection.turn(0, &mut tools), Verdict::Wait);
    assert_eq!(received(&mut client), b"END\r\n".len());
    // A wake or the end of the stream is something to do.
    connection.note_woken();
    assert!(!connection.is_at_rest);
    assert_eq!(connection.turn(0, &mut tools), Verdict::Wait);
    assert!(connection.is_at_rest);
    connection.note_readable(true);
    assert!(!connection.is_plain());
}

#[test]
fn a_session_that_waits_for_more_than_may_be_kept_is_closed() {
    let tools = tools();
    let (mut connection, _client) = connection(b"", &tools);
    let mut wait_for = |bytes| connection.conclude_otherwise(0, Next::Input { bytes }, &tools);
    assert_eq!(wait_for(TAIL_BYTES_MAX), Step::Wait);
    assert_eq!(wait_for(TAIL_BYTES_MAX + 1), Step::Abort(CloseReason::Error));
}

/// What a client gets for `request` behind a first one, and the verdict of the turn, which is a plain one or not.
fn answer_of(request: &[u8], is_plain: bool) -> (Vec<u8>, Verdict, u32) {
    let mut tools = tools();
    Client::new(&tools.service).feed(b"set small 0 0 3\r\nabc\r\nset flags 7 0 3\r\nabc\r\n");
    let large = [&b"set large 0 0 50000\r\n"[..], &[b'v'; 50_000], b"\r\n"].concat();
    Client::new(&tools.service).feed(&large);
    let (mut connection, mut client) = connection(b"version\r\n", &tools);
    assert_eq!(connection.turn(0, &mut tools), Verdict::Wait);
    client.write_all(request).expect("room");
    connection.note_readable(false);
    // Any reason not to be plain will do.
    connection.is_at_rest &= is_plain;
    assert_eq!(connection.is_plain(), is_plain);
    let verdict = connection.turn(0, &mut tools);
    while matches!(connection.turn(0, &mut tools), Verdict::Again | Verdict::AgainLater) {}
    let mut sent = vec![0; 200_000];
    let count = client.read(&mut sent).expect("replies");
    sent.truncate(count);
    (sent, verdict, connection.entry().replies_waiting.load(Ordering::Relaxed))
}

#[test]
fn a_plain_turn_does_what_any_turn_does() {
    let mut set = b"set k 0 0 50000\r\n".to_vec();
    set.extend_from_slice(&[b'v'; 50_000]);
    set.extend_from_slice(b"\r\n");
    for request in [
        &b"get small\r\n"[..],
        b"get small\n",
        b"get none\r\n",
        b"get flags\r\n",
        b"get large\r\n",
        b"get small small\r\n",
        b"get small\r\nget none\r\nget flags\r\n",
        b"get small\r\nget sma",
        b"set k 0 0 1\r\n1\r\n",
        b"set small 0 0 3\r\nxyz\r\nget small\r\n",
        b"set k 0 0 1 noreply\r\n1\r\nmn\r\n",
        b"set k 0 0 1\r\n123\r\n",
        b"set k 1 2 3 4\r\n",
        b"mg small v\r\n",
        b"gets small\r\n",
        b"bad\r\n",
        &set,
    ] {
        let (plain, verdict, waiting) = answer_of(request, true);
        let (general, ..) = answer_of(request, false);
        let shown = String::from_utf8_lossy(&request[..request.len().min(40)]).into_owned();
        // CAS ids are the same too, for the stores are alike.
        assert_eq!(plain, general, "{shown}");
        assert_eq!(waiting, 0, "{shown}");
        if request.starts_with(b"get small\r\n") && request.len() == 11 {
            assert_eq!(verdict, Verdict::Wait);
        }
    }
}

/// A connection that had sent one large value expected another for ever: it read 4 KiB at a time and had no plain turn again.
#[test]
fn who_has_sent_a_large_value_is_served_plainly_again() {
    let mut tools = tools();
    let set = [&b"set k 0 0 100000\r\n"[..], &[b'v'; 100_000], b"\r\n"].concat();
    let (mut connection, mut client) = connection(b"", &tools);
    SockRef::from(&client).set_send_buffer_size(1 << 20).expect("a socket");
    for (request, is_expecting) in [(&set[..], true), (b"get x\r\n", false), (&set, true), (&set, true)] {
        client.write_all(request).expect("room");
        connection.note_readable(false);
        while connection.turn(0, &mut tools) != Verdict::Wait {}
        assert!(received(&mut client) > 0);
        assert_eq!((connection.expects_large, connection.is_at_rest), (is_expecting, !is_expecting));
    }
}

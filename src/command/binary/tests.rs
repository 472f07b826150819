//! Packets against a store of their own. The replies are memcached's.

use super::super::session::{CloseReason, Next};
use super::testing::{Connection, Request, error, reply, request};

const FLAGS_5: &[u8] = &[0, 0, 0, 5];
const NOT_FOUND: &str = "Not found";
const EXISTS: &str = "Data exists for key.";

#[test]
fn reads_return_flags_keys_and_values() {
    let mut connection = Connection::new();
    connection.check(
        &[
            request(0x11).key(b"a").item(5, 0).value(b"hello"),
            request(0x00).key(b"a"),
            request(0x09).key(b"a"),
            request(0x0c).key(b"a"),
            request(0x0d).key(b"a"),
            request(0x00).key(b"zz"),
            request(0x09).key(b"zz"),
            request(0x0c).key(b"zz"),
            request(0x0d).key(b"zz"),
            request(0x0a),
        ],
        &[
            reply(0x00, 0).extras(FLAGS_5).value(b"hello").cas(2),
            reply(0x09, 0).extras(FLAGS_5).value(b"hello").cas(2),
            reply(0x0c, 0).extras(FLAGS_5).key("a").value(b"hello").cas(2),
            reply(0x0d, 0).extras(FLAGS_5).key("a").value(b"hello").cas(2),
            error(0x00, 1, NOT_FOUND),
            reply(0x0c, 1).key("zz"),
            reply(0x0a, 0),
        ],
    );
}

#[test]
fn touches_set_the_time_and_answer_like_reads() {
    let mut connection = Connection::new();
    let touch = |opcode: u8, key: &[u8]| request(opcode).key(key).extras(&[0, 0, 0, 9]);
    connection.check(
        &[
            request(0x01).key(b"a").item(5, 0).value(b"hi"),
            touch(0x1c, b"a"),
            touch(0x1d, b"a"),
            touch(0x1e, b"a"),
            touch(0x23, b"a"),
            touch(0x24, b"a"),
            touch(0x1c, b"q"),
            touch(0x1d, b"q"),
            touch(0x1e, b"q"),
            touch(0x23, b"q"),
            touch(0x24, b"q"),
        ],
        &[
            reply(0x01, 0).cas(2),
            reply(0x1c, 0).extras(FLAGS_5).cas(2),
            reply(0x1d, 0).extras(FLAGS_5).value(b"hi").cas(2),
            reply(0x1e, 0).extras(FLAGS_5).value(b"hi").cas(2),
            reply(0x23, 0).extras(FLAGS_5).key("a").value(b"hi").cas(2),
            reply(0x24, 0).extras(FLAGS_5).key("a").value(b"hi").cas(2),
            error(0x1c, 1, NOT_FOUND),
            error(0x1d, 1, NOT_FOUND),
            reply(0x23, 1).key("q"),
        ],
    );
    connection.server.now.seconds += 9;
    connection.check(&[request(0x00).key(b"a")], &[error(0x00, 1, NOT_FOUND)]);
    let counters = connection.server.service.store.snapshot().counters;
    assert_eq!((counters.touch_misses, counters.get_misses), (5, 1));
}

#[test]
fn stores_obey_their_modes_and_cas_ids() {
    let mut connection = Connection::new();
    let set = |opcode: u8, key: &[u8]| request(opcode).key(key).item(0, 0);
    connection.check(
        &[
            set(0x03, b"a"),
            set(0x02, b"a").value(b"x"),
            set(0x12, b"a"),
            set(0x02, b"a").cas(5),
            set(0x02, b"zz").cas(5),
            set(0x13, b"zz"),
            request(0x19).key(b"zz"),
            request(0x19).key(b"a").value(b"z"),
            request(0x0f).key(b"a").value(b"w").cas(3),
            request(0x0e).key(b"a").value(b"w").cas(999),
            set(0x03, b"a").value(b"new").cas(4),
            request(0x00).key(b"a"),
        ],
        &[
            error(0x03, 1, NOT_FOUND),
            reply(0x02, 0).cas(2),
            error(0x12, 2, EXISTS),
            error(0x02, 2, EXISTS),
            error(0x02, 1, NOT_FOUND),
            error(0x13, 1, NOT_FOUND),
            error(0x19, 5, "Not stored."),
            reply(0x0f, 0).cas(4),
            error(0x0e, 2, EXISTS),
            reply(0x03, 0).cas(5),
            reply(0x00, 0).extras(&[0; 4]).value(b"new").cas(5),
        ],
    );
}

#[test]
fn exptimes_are_unsigned() {
    let mut connection = Connection::new();
    for (exptime, is_alive) in [(u32::MAX, true), (0x8000_0000, true), (2_592_001, false)] {
        let (replies, _) = connection.send(&request(0x11).key(b"e").item(0, exptime).bytes());
        assert_eq!(replies, []);
        let (replies, _) = connection.send(&request(0x00).key(b"e").bytes());
        assert_eq!(replies[0].status == 0, is_alive, "{exptime}");
    }
}

#[test]
fn deletes_compare_cas_ids() {
    let mut connection = Connection::new();
    connection.check(
        &[
            request(0x11).key(b"a").item(0, 0).value(b"x"),
            request(0x04).key(b"a").cas(9),
            request(0x14).key(b"a").cas(2),
            request(0x14).key(b"a"),
            request(0x11).key(b"a").item(0, 0).value(b"x"),
            request(0x04).key(b"a"),
        ],
        &[error(0x04, 2, EXISTS), error(0x14, 1, NOT_FOUND), reply(0x04, 0)],
    );
}

#[test]
fn numbers_are_created_counted_and_padded() {
    let mut connection = Connection::new();
    let number = |number: u64| number.to_be_bytes();
    let change = |opcode: u8| request(opcode).key(b"n");
    connection.check(
        &[
            change(0x05).delta(1, 7, u32::MAX),
            change(0x05).delta(1, 12, 0),
            change(0x05).delta(5, 7, 0),
            change(0x16).delta(500, 7, 0),
            change(0x06).delta(1, 7, 0).cas(1),
            request(0x00).key(b"n"),
            request(0x11).key(b"n").item(0, 0).value(b"zz"),
            change(0x05).delta(1, 7, 0),
            change(0x15).delta(1, 7, 0),
        ],
        &[
            error(0x05, 1, NOT_FOUND),
            reply(0x05, 0).value(&number(12)).cas(2),
            reply(0x05, 0).value(&number(17)).cas(3),
            error(0x06, 2, EXISTS),
            reply(0x00, 0).extras(&[0; 4]).value(b"0 ").cas(4),
            error(0x05, 6, "Non-numeric server-side value for incr or decr"),
            error(0x15, 6, "Non-numeric server-side value for incr or decr"),
        ],
    );
}

#[test]
fn flush_quit_and_version() {
    let mut connection = Connection::new();
    connection.check(
        &[request(0x0b), request(0x08), request(0x18), request(0x08).extras(&[0, 0, 0, 1])],
        &[reply(0x0b, 0).value(b"1.2.3"), reply(0x08, 0), reply(0x08, 0)],
    );
    assert_eq!(connection.server.service.workers[0].cmd_flush.value(), 3);
    connection.server.service.config.is_flush_enabled = false;
    connection.check(
        &[request(0x08), request(0x18)],
        &[error(0x08, 0x20, "Auth failure."), error(0x18, 0x20, "Auth failure.")],
    );
    let closed = Next::Close(CloseReason::Normal);
    let quit = connection.send(&request(0x17).bytes());
    assert_eq!(quit, (vec![], closed));
    let quit = connection.send(&request(0x07).bytes());
    assert_eq!(quit, (vec![reply(0x07, 0)], closed));
}

#[test]
fn framing_that_cannot_be_right_closes() {
    let invalid = |opcode: u8| [error(opcode, 4, "Invalid arguments")];
    let unknown = |opcode: u8| [error(opcode, 0x81, "Unknown command")];
    let close = Connection::check_close;
    close(request(0x00).key(b"abcd").body_bytes(2), &unknown(0));
    close(request(0x00).key(b"abcd").extras(b"abcd").body_bytes(6), &unknown(0));
    close(request(0x01).key(b"a").item(0, 0).body_bytes((1 << 30) + 1), &invalid(1));
    close(request(0x77).key(&[b'k'; 251]), &invalid(0x77));
    close(request(0x00).key(b"a").value(b"x"), &invalid(0));
    close(request(0x0a).key(b"a"), &invalid(0x0a));
    close(request(0x01).item(0, 0), &invalid(1));
    close(request(0x08).extras(b"abc"), &invalid(8));
    close(request(0x10).extras(b"a").key(b"items"), &invalid(0x10));
    close(request(0x1c).key(b"a").extras(&[0; 30]), &invalid(0x1c));
    close(request(0x20).value(b"x"), &invalid(0x20));
    close(request(0x21).value(b"x"), &invalid(0x21));
    close(request(0x00).key(&[b'k'; 16360]), &invalid(0));
    close(request(0x00).key(&[b'k'; 16361]), &[]);
    let mut other_magic = request(0x0a).bytes();
    other_magic[0] = 0x81;
    let (replies, next) = Connection::new().send(&other_magic);
    assert_eq!((replies, next), (vec![], Next::Close(CloseReason::Error)));
}

#[test]
fn a_key_that_is_too_long_is_waited_for_before_it_is_refused() {
    let mut connection = Connection::new();
    let bytes = request(0x00).key(&[b'k'; 20_000]).bytes();
    let (_, next) = connection.send(&bytes[..16_383]);
    assert_eq!(next, Next::Input { bytes: 16_384 });
    let (_, next) = connection.send(&bytes[16_383..16_384]);
    assert_eq!(next, Next::Close(CloseReason::Error));
}

#[test]
fn unknown_opcodes_skip_their_body() {
    let unknown = error(0x77, 0x81, "Unknown command");
    let mut connection = Connection::new();
    connection.check(
        &[request(0x77), request(0x77).value(b"abc"), request(0x0a)],
        &[error(0x77, 0x81, "Unknown command"), unknown, reply(0x0a, 0)],
    );
    connection.check(
        &[request(0x20), request(0x21).key(b"PLAIN").value(b"abc"), request(0x22).key(b"PLAIN")],
        &[
            error(0x20, 0x81, "Unknown command"),
            error(0x21, 0x81, "Unknown command"),
            error(0x22, 0x81, "Unknown command"),
        ],
    );
}

/// memcached skips the whole body of an unknown opcode although it has read extras and key: what follows is lost.
#[test]
fn unknown_opcodes_with_a_key_eat_what_follows() {
    let mut connection = Connection::new();
    let mut bytes = request(0x1b).extras(&[0, 0, 0, 1]).bytes();
    bytes.extend_from_slice(b"abc");
    let (replies, next) = connection.send(&bytes);
    assert_eq!((replies, next), (vec![], Next::Input { bytes: 0 }));
    let (replies, _) = connection.send(&[b"d".to_vec(), request(0x0a).bytes()].concat());
    let unknown = error(0x1b, 0x81, "Unknown command");
    assert_eq!(replies, [unknown, reply(0x0a, 0)]);
}

/// memcached takes a value that nobody reads for the next request.
#[test]
fn unread_values_are_taken_for_requests() {
    for opcode in [0x1c, 0x1e, 0x23] {
        let mut connection = Connection::new();
        let value = request(0x0a).bytes();
        let touch = request(opcode).key(b"a").extras(&[0; 4]).value(&value);
        let (replies, _) = connection.send(&touch.bytes());
        assert_eq!(replies.last(), Some(&reply(0x0a, 0)));
    }
}

#[test]
fn values_that_are_too_large_are_skipped() {
    let mut connection = Connection::new();
    let large = vec![b'x'; 70_000];
    let too_large = |opcode: u8| error(opcode, 3, "Too large.");
    connection.check(
        &[
            request(0x11).key(b"a").item(0, 0).value(b"q"),
            request(0x02).key(b"a").item(0, 0).value(&large),
            request(0x1a).key(b"a").value(&large),
            request(0x00).key(b"a"),
            request(0x11).key(b"a").item(0, 0).value(&large),
            request(0x00).key(b"a"),
        ],
        &[
            too_large(0x02),
            too_large(0x1a),
            reply(0x00, 0).extras(&[0; 4]).value(b"q").cas(2),
            too_large(0x11),
            error(0x00, 1, NOT_FOUND),
        ],
    );
    let counters = connection.server.service.store.snapshot().counters;
    assert_eq!((counters.store_too_large, counters.store_no_memory), (0, 0));
}

#[test]
fn large_values_are_received_in_place() {
    let mut connection = Connection::new();
    let value = vec![b'v'; 40_000];
    let bytes = request(0x01).key(b"big").item(9, 0).value(&value).bytes();
    let (replies, next) = connection.send(&bytes[..1000]);
    assert_eq!((replies, next), (vec![], Next::Input { bytes: 0 }));
    let mut left = &bytes[1000..];
    while let Some(space) = connection.state.receive_space() {
        let count = space.len().min(left.len()).min(7777);
        space[..count].copy_from_slice(&left[..count]);
        left = &left[count..];
        connection.state.received(count);
    }
    assert!(left.is_empty() && connection.state.has_work());
    let (replies, _) = connection.send(b"");
    assert_eq!(replies, [reply(0x01, 0).cas(2)]);
    assert!(!connection.state.has_work());
    connection.check(
        &[request(0x0e).key(b"big").value(b"tail"), request(0x0e).key(b"big").value(&value), request(0x0c).key(b"big")],
        &[
            reply(0x0e, 0).cas(3),
            error(0x0e, 5, "Not stored."),
            reply(0x0c, 0).extras(&[0, 0, 0, 9]).key("big").value(&[&value[..], b"tail"].concat()).cas(3),
        ],
    );
}

#[test]
fn a_turn_is_bounded() {
    let mut connection = Connection::new();
    let noops = request(0x0b).bytes().repeat(45);
    connection.kept = noops;
    assert_eq!(connection.step().next, Next::Yield);
    assert_eq!(connection.kept.len(), 25 * 24);
    assert_eq!(connection.step().next, Next::Yield);
    assert_eq!(connection.step().next, Next::Input { bytes: 24 });
}

#[test]
fn stat_selects_groups_by_its_key() {
    let mut connection = Connection::new();
    let end = || reply(0x10, 0);
    let stat = |key: &[u8]| request(0x10).key(key);
    for key in ["conns", "setting", "detail", "detaildump", "x", "itemsx"] {
        connection.check(&[stat(key.as_bytes())], &[error(0x10, 1, NOT_FOUND)]);
    }
    connection.check(&[stat(b"resetx")], &[end()]);
    connection.check(&[stat(b"detail on")], &[end()]);
    connection.check(
        &[request(0x04).key(b"p:a"), stat(b"detail dump")],
        &[
            error(0x04, 1, NOT_FOUND),
            reply(0x10, 0).key("detailed").value(b"PREFIX p get 0 hit 0 set 0 del 1\r\nEND\r\n"),
            end(),
        ],
    );
    connection.check(&[stat(b"detail off")], &[end()]);
    assert!(!connection.server.service.prefixes.is_enabled());
    connection.server.service.config.is_dump_enabled = false;
    connection.check(&[stat(b"detail on")], &[error(0x10, 1, NOT_FOUND)]);
    let (replies, _) = connection.send(&stat(b"").bytes());
    assert!(replies.len() > 1);
    assert_eq!(replies.last(), Some(&end()));
}

#[test]
fn packets_cut_anywhere_give_the_same_replies() {
    let requests = [
        request(0x01).key(b"a").item(5, 0).value(b"hello"),
        request(0x77).value(b"abcdef"),
        request(0x0e).key(b"a").value(b" world"),
        request(0x0c).key(b"a"),
        request(0x05).key(b"n").delta(1, 7, 0),
        request(0x0a),
    ];
    let bytes: Vec<u8> = requests.iter().flat_map(Request::bytes).collect();
    let (expected, _) = Connection::new().send(&bytes);
    assert_eq!(expected.len(), 6);
    for cut in 0..bytes.len() {
        let mut connection = Connection::new();
        let (mut replies, _) = connection.send(&bytes[..cut]);
        replies.extend(connection.send(&bytes[cut..]).0);
        assert_eq!(replies, expected, "{cut}");
    }
}

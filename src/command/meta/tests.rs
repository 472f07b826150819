//! Transcripts of meta commands against a store of their own. The replies are memcached's.

use crate::base::key::KEY_BYTES_MAX;
use crate::store::value::NewValue;
use crate::store::{Fit, StoreError};

use super::testing::TestServer;
use super::{SetLine, execute, parse_set, refuse, store};

impl TestServer {
    /// One meta command, with its data in the case of `ms`.
    fn meta(&mut self, request: &[u8]) -> Vec<u8> {
        let end = request.iter().position(|&byte| byte == b'\n').unwrap();
        let line = &request[..end - 1];
        let data = &request[end + 1..];
        if line.starts_with(b"ms") {
            self.set(line, data);
        } else {
            let word = [line[0], line[1]];
            self.with(|output, context| execute(word, line, output, context));
        }
        self.replies()
    }

    fn set(&mut self, line: &[u8], data: &[u8]) {
        match parse_set(line) {
            SetLine::Refused { reply, .. } => self.output.push(reply),
            SetLine::Data { set, key, value_bytes } => {
                let data = &data[..value_bytes];
                self.with(|output, context| {
                    let key = key.as_slice();
                    let store_of = &context.service.store;
                    let value = match store_of.fit(key.len(), value_bytes, set.flags) {
                        Fit::TooLarge => {
                            return refuse(key, StoreError::TooLarge, output, context);
                        }
                        Fit::Inline => NewValue::Bytes(data),
                        Fit::Large => {
                            let mut buffer =
                                store_of.large_buffer(key.len(), value_bytes, set.flags, context.now).unwrap();
                            buffer.fill(data);
                            NewValue::Large(buffer)
                        }
                    };
                    store(&set, key, value, output, context);
                });
            }
        }
    }

    #[track_caller]
    fn check(&mut self, request: &str, expected: &str) {
        let reply = self.meta(format!("{request}\r\n").as_bytes());
        let expected = if expected.is_empty() { String::new() } else { format!("{expected}\r\n") };
        assert_eq!(String::from_utf8_lossy(&reply), expected, "{request}");
    }
}

#[test]
fn a_get_answers_in_the_order_of_its_flags() {
    let mut server = TestServer::new();
    server.check("mg a v", "EN");
    server.check("mg a v q", "");
    server.check("mg a k Oxy v t", "EN ka Oxy");
    server.check("ms a 3 F7 T100\r\nabc", "HD");
    server.check("mg a", "HD");
    server.check("mg a v", "VA 3\r\nabc");
    server.check("mg a s f t k Oq v c", "VA 3 s3 f7 t100 ka Oq c2\r\nabc");
    server.check("mg a v C2 c", "HD c2");
    server.check("mg a v C1 c", "VA 3 c2\r\nabc");
    server.check("mg a t T50", "HD t100");
    server.check("mg a T60 t", "HD t60");
    server.check("mg a T-1 t", "HD t4294966297");
    server.check("mg a", "EN");
}

/// After a flush the item clock runs ahead of the wall clock, and the seconds since the last access wrapped around.
#[test]
fn an_item_of_after_a_flush_is_not_of_the_future() {
    let mut server = TestServer::new();
    for _ in 0..3 {
        server.with(|_, context| context.flush(0));
    }
    server.check("ms a 1\r\nx", "HD");
    server.check("mg a l", "HD l0");
    server.check("me a", "ME a exp=-1 la=0 cas=2 fetch=yes cls=1 size=61");
    server.now.seconds += 60;
    server.check("me a", "ME a exp=-1 la=57 cas=2 fetch=yes cls=1 size=61");
}

#[test]
fn fetch_marks_are_those_before_the_request() {
    let mut server = TestServer::new();
    server.check("ms a 1\r\nx", "HD");
    server.now.seconds += 5;
    server.check("mg a h l u", "HD h0 l5");
    server.check("mg a h l t", "HD h0 l5 t-1");
    server.check("mg a h l", "HD h1 l5");
    server.check("mg a h l", "HD h1 l0");
}

#[test]
fn a_miss_with_n_makes_an_item_and_one_winner() {
    let mut server = TestServer::new();
    server.check("mg viv N30 s v t c k", "VA 0 s0 t30 c2 kviv W\r\n");
    server.check("mg viv N30 s t", "HD s0 t30 Z");
    server.check("mg before t N30", "HD t-1 W");
    server.check("mg chosen N30 E77 c", "HD c77 W");
    server.check("mg both N30 T40 t", "HD t40 W");
}

#[test]
fn recaching_has_one_winner() {
    let mut server = TestServer::new();
    server.check("ms a 1 T100\r\nx", "HD");
    server.check("mg a R50", "HD");
    server.check("mg a R200 t", "HD t100 W");
    server.check("mg a R200", "HD Z");
    server.check("ms a 1\r\nx", "HD");
    server.check("mg a R200", "HD");
    server.check("mg a T100 R50 R", "CLIENT_ERROR duplicate flag");
}

#[test]
fn stale_items_are_served_until_one_client_recaches() {
    let mut server = TestServer::new();
    server.check("ms a 1 T100\r\nx", "HD");
    server.check("md a I T30", "HD");
    server.check("mg a t v c", "VA 1 t30 c3 X W\r\nx");
    server.check("mg a v", "VA 1 Z X\r\nx");
    server.check("ms a 1 C2 I T500\r\ny", "HD");
    server.check("mg a v t", "VA 1 t30 Z X\r\ny");
    server.check("ms a 1 C999999 I\r\nz", "EX");
    server.check("ms a 1\r\nz", "HD");
    server.check("mg a v", "VA 1\r\nz");
}

#[test]
fn sets_have_modes() {
    let mut server = TestServer::new();
    server.check("ms a 1 MR\r\nx", "NS");
    server.check("ms a 1 ME\r\nx", "HD");
    server.check("ms a 1 ME\r\ny", "NS");
    server.check("ms a 1 MA s\r\ny", "HD s2");
    server.check("ms a 1 MP s c k Oo\r\nw", "HD s3 c4 ka Oo");
    server.check("mg a v", "VA 3\r\nwxy");
    server.check("ms b 1 MA s\r\nx", "NS s1");
    server.check("ms b 1 MA N30 T90 F5\r\nx", "HD");
    server.check("mg b t f v", "VA 1 t30 f5\r\nx");
    server.check("ms a 1 q\r\nx", "");
    server.check("ms a 1 q ME\r\nx", "NS");
    server.check("ms a 1 MX\r\nx", "CLIENT_ERROR invalid mode for ms M token");
    server.check("ms a 1 M\r\nx", "CLIENT_ERROR invalid mode for ms M token");
}

#[test]
fn sets_compare_and_choose_cas_ids() {
    let mut server = TestServer::new();
    server.check("ms a 1 C5 c\r\nx", "NF c0");
    server.check("ms a 1 E50 c\r\nx", "HD c50");
    server.check("ms a 1 C49 c s\r\nx", "EX c0 s1");
    server.check("ms a 1 C0\r\nx", "EX");
    server.check("ms a 1 C50 MR E60\r\nx", "HD");
    server.check("ms a 1 C50 MA\r\nx", "EX");
    server.check("ms a 1 C60 MA c E0\r\nx", "HD c2");
    server.check("ms zz 1 C60 MA\r\nx", "NS");
    server.check("ms a 1 C60 ME\r\nx", "NS");
}

#[test]
fn refused_sets_say_what_to_skip() {
    let check = |line: &str, skipped: Option<usize>, text: &str| match parse_set(line.as_bytes()) {
        SetLine::Refused { reply, swallow } => {
            assert_eq!((reply, swallow), (text.as_bytes(), skipped), "{line}");
        }
        SetLine::Data { .. } => panic!("{line}"),
    };
    let bad_format = "CLIENT_ERROR bad command line format\r\n";
    check("ms a", None, bad_format);
    check("ms a x", None, bad_format);
    check("ms a 3 $", None, bad_format);
    check("ms a -1", None, bad_format);
    let long_key = format!("ms {} 3", "k".repeat(KEY_BYTES_MAX + 1));
    check(&long_key, Some(5), bad_format);
    check("ms a 3 S1", Some(5), "CLIENT_ERROR invalid flag\r\n");
    check("ms a= 3 b", Some(5), "CLIENT_ERROR error decoding key\r\n");
    let opaque = format!("ms a 3 O{}", "o".repeat(32));
    check(&opaque, Some(5), "CLIENT_ERROR opaque token too long\r\n");
}

#[test]
fn what_is_too_large_removes_the_old_item() {
    let mut server = TestServer::new();
    let data = "x".repeat(70_000);
    server.check("ms a 1\r\nx", "HD");
    server.check(&format!("ms a 70000 ME q\r\n{data}"), "SERVER_ERROR object too large for cache");
    server.check("mg a", "EN");
    let large = &data[..40_000];
    server.check(&format!("ms a 40000 s\r\n{large}"), "HD s40000");
    server.check("mg a v s", &format!("VA 40000 s40000\r\n{large}"));
    server.check(&format!("ms a 40000 MA s\r\n{large}"), "NS s40000");
}

#[test]
fn binary_keys_are_shown_in_base64() {
    let mut server = TestServer::new();
    server.check("ms YQ== 1 b k s\r\nx", "HD kYQ== b s1");
    server.check("mg a k v", "VA 1 kYQ== b\r\nx");
    server.check("me a", "ME YQ== exp=-1 la=0 cas=2 fetch=yes cls=1 size=61");
    server.check("me YQ== b", "EN");
    server.check("me YQ== b x", "ME YQ== exp=-1 la=0 cas=2 fetch=yes cls=1 size=61");
    server.check("me YQ= b x", "CLIENT_ERROR bad command line format");
    server.check("mg Yg== b k", "EN kYg== b");
    server.check("md YQ== b k q Oo", "");
    server.check("md YQ== b k q Oo", "NF kYQ== b Oo");
    server.check("ms a 1\r\nx", "HD");
    server.check("mg YQ== b k", "HD ka");
    server.check("mg = b", "CLIENT_ERROR error decoding key");
}

#[test]
fn deletes_mark_empty_and_remove() {
    let mut server = TestServer::new();
    server.check("md a q", "NF");
    server.check("ms a 3 T90 F4\r\nabc", "HD");
    server.check("md a C9 q Ox k", "EX Ox ka");
    server.check("md a x", "HD");
    server.check("mg a v f t c", "VA 0 f0 t-1 c2\r\n");
    server.check("md a x F3 T20 E9", "HD");
    server.check("mg a v f t c", "VA 0 f3 t20 c9\r\n");
    server.check("md a I E8", "HD");
    server.check("mg a c t", "HD c8 t20 X W");
    server.check("md a I x", "HD");
    server.check("mg a c t", "HD c3 t-1 X W");
    server.check("md a C3 Ok k", "HD Ok ka");
    server.check("mg a", "EN");
    let opaque = "o".repeat(32);
    server.check("ms a 1\r\nx", "HD");
    server.check(&format!("md a q O{opaque}"), "CLIENT_ERROR opaque token too long");
    server.check("mg a", "HD");
}

#[test]
fn arithmetic_counts_and_creates() {
    let mut server = TestServer::new();
    server.check("ma n", "NF");
    server.check("ma n N0 J13 v k t c", "VA 2 kn t-1 c2\r\n13");
    server.check("ma n v", "VA 2\r\n14");
    server.check("ma n v D5 MD", "VA 1\r\n9");
    server.check("mg n v", "VA 2\r\n9 ");
    server.check("ma n v D100 M-", "VA 1\r\n0");
    server.check("ma n v D18446744073709551615 MI", "VA 20\r\n18446744073709551615");
    server.check("ma n v", "VA 1\r\n0");
    server.check("ma n t T40 c E7 Oo", "HD t-1 c7 Oo");
    server.check("ma n t C8 k", "EX kn");
    server.check("ma n C7 q v", "");
    server.check("ma n MX q", "CLIENT_ERROR invalid mode for ma M token");
    server.check("ma n x x", "CLIENT_ERROR invalid or duplicate flag");
    server.check("ma n $", "CLIENT_ERROR bad command line format");
    server.check("ms w 2\r\nab", "HD");
    server.check("ma w q", "CLIENT_ERROR cannot increment or decrement non-numeric value");
    server.check("ms e 0\r\n", "HD");
    server.check("ma e C99", "CLIENT_ERROR cannot increment or decrement non-numeric value");
}

/// memcached 1.6 applies `T` and `E` to the replaced item when the number grows; here they reach the one that stays.
#[test]
fn arithmetic_keeps_ttl_and_cas_id_when_the_number_grows() {
    let mut server = TestServer::new();
    server.check("ms n 1\r\n9", "HD");
    server.check("ma n T100 t E99 c v", "VA 2 t100 c99\r\n10");
    server.check("mg n t c", "HD t100 c99");
}

#[test]
fn a_long_opaque_is_noticed_late() {
    let mut server = TestServer::new();
    let opaque = format!("O{}", "o".repeat(32));
    let refused = "CLIENT_ERROR opaque token too long";
    server.check(&format!("mg a {opaque} q"), refused);
    server.check(&format!("mg a N30 {opaque} T20 q"), refused);
    server.check("mg a t", "HD t30");
    server.check(&format!("ma n N30 {opaque} q J5"), refused);
    server.check(&format!("ma n T20 {opaque} q"), refused);
    server.check("mg n t v", "VA 1 t20\r\n6");
}

#[test]
fn counters_move_as_in_memcached() {
    let mut server = TestServer::new();
    server.check("mg a T1 v", "EN");
    server.check("mg a N30", "HD W");
    server.check("mg a T30", "HD Z");
    server.check("mg a", "HD Z");
    server.check("me a", "ME a exp=30 la=0 cas=2 fetch=yes cls=1 size=60");
    server.check("md a I", "HD");
    server.check("md a", "HD");
    server.check("md a", "NF");
    server.check("ma a", "NF");
    server.check("ma a MD", "NF");
    let snapshot = server.service.store.snapshot();
    let counters = snapshot.counters;
    assert_eq!(counters.get_misses, 1);
    assert_eq!(counters.touch_misses, 0);
    assert_eq!(counters.delete_misses, 1);
    assert_eq!((counters.incr_misses, counters.decr_misses), (1, 1));
    assert_eq!(server.service.workers[0].cmd_meta.value(), 1);
}

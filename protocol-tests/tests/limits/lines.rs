//! What answers with many lines, and who watches.

use crate::client::{Client, start, start_own, wait_until};

/// A listing of a class stops before 2 MiB, at the end of a line.
#[test]
fn the_longest_cachedump() {
    // A flat list holds every item in the segment that is listed.
    let server = start("-o no_lru_maintainer");
    let mut client = Client::of(&server);
    let line_bytes = "ITEM  [1 b; 0 s]\r\n".len() + 250;
    let fitting = (2 * 1024 * 1024 - "END\r\n".len()) / line_bytes;
    for count in [fitting - 500, 1000] {
        let first = if count == 1000 { fitting - 500 } else { 0 };
        let sets: String = (first..first + count).map(|n| format!("set {n:0250} 0 0 1 noreply\r\nx\r\n")).collect();
        client.ask(sets + "mn\r\n", "MN\r\n");
        client.send("stats items\r\n");
        let items = String::from_utf8(client.until(b"END\r\n")).unwrap();
        let class = items.split(':').nth(1).unwrap().to_owned();
        client.send(format!("stats cachedump {class} 0\r\n"));
        let listing = client.until(b"END\r\n");
        let lines = listing.iter().filter(|&&byte| byte == b'\n').count() - 1;
        match count {
            1000 => {
                assert!((fitting - 2..=fitting).contains(&lines), "{lines} lines");
                assert!(listing.len() <= 2 * 1024 * 1024);
            }
            // memcached drops one item or the other from its flat list while it fills.
            _ => assert_eq!(lines, fitting - 500),
        }
        assert_eq!(listing.len(), lines * line_bytes + "END\r\n".len());
    }
}

/// Prefixes beyond the 65,536th are not counted, and those before them still are.
#[test]
fn the_last_prefix_counted() {
    let Some(server) = start_own("-D :") else { return };
    let mut client = Client::of(&server);
    let gets = |from: u32, to: u32| (from..to).map(|number| format!("get p{number}:k\r\n")).collect::<String>();
    for from in (0..65_535).step_by(4369) {
        client.ask(gets(from, from + 4369), "END\r\n".repeat(4369));
    }
    let mut prefixes = |last: u32| {
        client.ask(gets(last, last + 1) + "get p1:k\r\n", "END\r\nEND\r\n");
        client.send("stats detail dump\r\n");
        let dump = String::from_utf8(client.until(b"END\r\n")).unwrap();
        let counts = |number: u32| dump.contains(&format!("PREFIX p{number} get"));
        (dump.lines().count() - 1, counts(last), dump.contains("PREFIX p1 get 3 ") || dump.contains("PREFIX p1 get 2 "))
    };
    assert_eq!(prefixes(65_535), (65_536, true, true));
    assert_eq!(prefixes(65_536), (65_536, false, true));
}

/// A watcher that does not read loses lines, which are counted; it is told how many, and nobody waits for it.
#[test]
fn lines_a_watcher_does_not_take() {
    let server = start("-t 1 -o watcher_logbuf_size=64");
    let mut client = Client::of(&server);
    let mut watcher = Client::of(&server);
    watcher.ask("watch fetchers\r\n", "OK\r\n");
    let gets = "get k\r\n".repeat(1000);
    let ends = "END\r\n".repeat(1000);
    wait_until("a skipped line", || {
        for _ in 0..20 {
            client.ask(&gets, &ends);
        }
        client.stat("log_watcher_skipped") > 0
    });
    wait_until("word of it", || {
        watcher.0.drain();
        client.ask("get k\r\n", "END\r\n");
        String::from_utf8_lossy(&watcher.0.received).contains("skipped=")
    });
}

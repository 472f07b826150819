//! Load: long pipelines beside others, many clients of one worker, one key that all want, and a herd that misses at once.
//!
//! What is fair is counted in requests, not in seconds: a daemon that stands still finds all requests at once when it goes
//! on, and its counters say whom it served first.

use std::io::Write;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::Instant;

use crate::{Client, start, wait_until, while_it_stands};

/// Whoever asks for one thing is answered after a bounded number of the replies to somebody else's pipeline.
#[test]
fn a_long_pipeline_keeps_nobody_waiting() {
    let Some(daemon) = start("-t 1 -m 64") else { return };
    let mut other = Client::new(&daemon);
    let many = format!("get{}\r\n", " key".repeat(100));
    for (request, operations) in
        [("get key\r\n", 1), ("mg key v\r\n", 1), ("set key 0 0 1 noreply\r\nx\r\n", 1), (&many, 100)]
    {
        let mut busy = Client::new(&daemon);
        busy.ask(b"mn\r\n", "MN\r\n");
        wait_until("the one before to go", || other.stat("curr_connections") == 2);
        let before = other.stat("cmd_get") + other.stat("cmd_set");
        let pipeline = request.repeat(100_000 / operations);
        let mut queued = 0;
        while_it_stands(&daemon, || {
            queued = busy.push(pipeline.as_bytes()) / request.len() * operations;
            other.push(b"stats\r\n");
        });
        let stats = other.until("\r\nEND\r\n");
        let number =
            |name: &str| stats.lines().find_map(|line| line.strip_prefix(&format!("STAT {name} "))?.parse().ok());
        let after: u64 = number("cmd_get").zip(number("cmd_set")).map(|(gets, sets): (u64, u64)| gets + sets).unwrap();
        let answered = (after - before) as usize / operations;
        println!("{answered} requests of {queued} were answered before the other one: {}", &request[..7]);
        assert!(queued > 20_000, "only {queued} of {request:?} are queued");
        // Eight turns of twenty requests, where both were found by one poll.
        assert!(answered <= 10 * REQUESTS_PER_TURN, "{answered} requests before the other one, of {request:?}");
        busy.reset();
    }
}

/// Each large value was received by a call inside the one that had received the value before it, as long as there was input:
/// nobody else had a turn, and a client that went on sending had the worker's stack used up and the process ended.
#[test]
fn large_values_in_a_row_keep_nobody_waiting() {
    let Some(daemon) = start("-t 1 -m 64 -o slab_chunk_max=4") else { return };
    let mut other = Client::new(&daemon);
    let mut busy = Client::new(&daemon);
    busy.ask(b"mn\r\n", "MN\r\n");
    let request = [&b"set key 0 0 4200 noreply\r\n"[..], &[b'v'; 4200], b"\r\n"].concat();
    let pipeline = request.repeat(2000);
    // The sockets' buffers grow with what goes through them.
    for _ in 0..10 {
        busy.stream.write_all(&pipeline).unwrap();
        busy.ask(b"mn\r\n", "MN\r\n");
    }
    let before = other.stat("cmd_set") as usize;
    let mut queued = 0;
    while_it_stands(&daemon, || {
        queued = busy.push(&pipeline);
        other.push(b"stats\r\n");
    });
    let stats = other.until("\r\nEND\r\n");
    let number = |line: &str| line.strip_prefix("STAT cmd_set ")?.parse::<usize>().ok();
    let stored = stats.lines().find_map(number).unwrap_or(0) - before;
    println!("{stored} of {} values were stored before the other request", queued / request.len());
    assert!(queued > 8 * VALUE_BYTES_PER_TURN, "only {queued} bytes are queued");
    // The first turn is a read of commands, at most; then both were found by one poll.
    assert!(stored * request.len() <= 2 * VALUE_BYTES_PER_TURN, "{stored} values before the other request");
    busy.stream.set_nonblocking(false).unwrap();
    busy.stream.write_all(&pipeline[queued..]).unwrap();
    busy.ask(b"mn\r\n", "MN\r\n");
    assert!(other.has("key"));
}

/// Sixteen pipelines on one worker: at any time none of them got three times as much as another.
#[test]
fn pipelines_have_equal_shares() {
    let Some(daemon) = start("-t 1") else { return };
    let mut observer = Client::new(&daemon);
    let mut clients: Vec<Client> = (0..16).map(|_| Client::new(&daemon)).collect();
    for (number, client) in clients.iter_mut().enumerate() {
        client.ask(format!("set c{number} 0 0 1\r\n0\r\n").as_bytes(), "STORED\r\n");
    }
    let keys: Vec<String> = (0..clients.len()).map(|number| format!(" c{number}")).collect();
    let looks = 500;
    while_it_stands(&daemon, || {
        for (number, client) in clients.iter_mut().enumerate() {
            let requests = format!("incr c{number} 1 noreply\r\n").repeat(3000);
            assert_eq!(client.push(requests.as_bytes()), requests.len());
        }
        let requests = format!("get{}\r\nmn\r\n", keys.concat()).repeat(looks);
        assert_eq!(observer.push(requests.as_bytes()), requests.len());
    });
    let (mut answers, mut compared) = (String::new(), 0);
    while answers.matches("MN\r\n").count() < looks {
        answers.push_str(&observer.until("MN\r\n"));
    }
    for answer in answers.split("END\r\nMN\r\n").filter(|answer| !answer.is_empty()) {
        let counts: Vec<usize> = answer.lines().filter_map(|line| line.parse().ok()).collect();
        assert_eq!(counts.len(), clients.len(), "{answer}");
        let (least, most) = (*counts.iter().min().unwrap(), *counts.iter().max().unwrap());
        // At first some had a turn more than others; at last all are done.
        if least >= 2 * REQUESTS_PER_TURN && most < 3000 {
            assert!(most < 3 * least, "unequal shares: {counts:?}");
            compared += 1;
        }
        assert!(most < 3 * (least + 10 * REQUESTS_PER_TURN), "unequal shares: {counts:?}");
    }
    assert!(compared > 20, "{compared} looks at clients that were all served");
}

/// One key that six clients read, count in and overwrite without pause: what they see is right, and two who have other
/// keys get their share.
#[test]
fn a_hot_key_harms_no_other() {
    let Some(daemon) = start("-m 64") else { return };
    let port = daemon.port;
    let mut client = Client::new(&daemon);
    client.ask(b"set count 0 0 1\r\n0\r\n", "STORED\r\n");
    let rounds_together = AtomicUsize::new(0);
    let play = |number: usize, rounds_together: &AtomicUsize| {
        let mut client = Client::to(port);
        let is_hot = number < 6;
        let (key, counter) = if is_hot { ("hot".to_owned(), "count") } else { (format!("own{number}"), "none") };
        let mut rounds = 0;
        while rounds_together.fetch_add(1, Ordering::Relaxed) < 4000 {
            let letter = ["a", "b", "c", "d", "e", "f", "g", "h"][(rounds + number) % 8];
            let set = format!("set {key} 0 0 300 noreply\r\n{}\r\n", letter.repeat(300));
            let gets = format!("get {key}\r\nincr {counter} 1 noreply\r\n").repeat(20);
            let answers = client.ask(format!("{set}{gets}mn\r\n").as_bytes(), "MN\r\n");
            let values: Vec<&str> = answers.lines().filter(|line| line.len() == 300).collect();
            assert_eq!(values.len(), 20, "{answers}");
            let is_whole = |value: &&str| value.bytes().all(|byte| byte == value.as_bytes()[0]);
            assert!(values.iter().all(is_whole), "a value of two writers");
            assert!(is_hot || values.iter().all(|value| value.starts_with(letter)), "another value than was stored");
            rounds += 1;
        }
        rounds
    };
    let rounds: Vec<usize> = thread::scope(|scope| {
        let (play, together) = (&play, &rounds_together);
        let clients: Vec<_> = (0..8).map(|number| scope.spawn(move || play(number, together))).collect();
        clients.into_iter().map(|client| client.join().unwrap()).collect()
    });
    let hot: usize = rounds[..6].iter().sum();
    println!("rounds of the six of the hot key and the two others: {rounds:?}");
    assert_eq!(client.ask(b"get count\r\n", "END\r\n").lines().nth(1), Some(&*(hot * 20).to_string()));
    let (least, most) = (rounds.iter().min().unwrap(), rounds.iter().max().unwrap());
    assert!(most < &(8 * least), "somebody starves: {rounds:?}");
}

/// A figure more than a test: how much slower one key is than many, for four clients. All answers are right, at least.
#[test]
fn one_key_is_about_as_fast_as_many() {
    let Some(daemon) = start("-m 64") else { return };
    let port = daemon.port;
    let mut client = Client::new(&daemon);
    let sets: String = (0..1000).map(|number| format!("set key{number} 0 0 3 noreply\r\nxxx\r\n")).collect();
    client.ask(format!("{sets}mn\r\n").as_bytes(), "MN\r\n");
    let times = [1, 1000].map(|keys| {
        let begun = Instant::now();
        let play = |number: usize| {
            let mut client = Client::to(port);
            for round in 0..200 {
                let gets = (0..50).map(|at| format!("get key{}\r\n", (number * 131 + round * 50 + at) * 7 % keys));
                let answers = client.ask(format!("{}mn\r\n", gets.collect::<String>()).as_bytes(), "MN\r\n");
                assert_eq!(answers.matches("\r\nxxx\r\n").count(), 50);
            }
        };
        thread::scope(|scope| (0..4).for_each(|number| drop(scope.spawn(move || play(number)))));
        begun.elapsed()
    });
    println!("40,000 gets of one key and of a thousand: {times:?}");
}

/// Sixty-four clients miss, find stale, or find nearly expired the same keys at once, on four workers: for each key one of
/// them is told to get it anew, and the others are told that somebody does.
#[test]
fn one_of_a_herd_recaches() {
    let Some(daemon) = start("-t 4 -m 64") else { return };
    let mut herd: Vec<Client> = (0..64).map(|_| Client::new(&daemon)).collect();
    herd.iter_mut().for_each(|client| drop(client.ask(b"mn\r\n", "MN\r\n")));
    for round in 0..10 {
        let keys: Vec<String> = (0..20).map(|number| format!("key{round}-{number}")).collect();
        let all = |request: &str| keys.iter().map(|key| request.replace("KEY", key)).collect::<String>() + "mn\r\n";
        let mut rush = |what: &str, request: &str, winner: &str, loser: &str| {
            let requests = all(request);
            while_it_stands(&daemon, || {
                herd.iter_mut().for_each(|client| assert_eq!(client.push(requests.as_bytes()), requests.len()));
            });
            let answers: Vec<String> = herd.iter_mut().map(|client| client.until("MN\r\n")).collect();
            let mut winners = vec![0; keys.len()];
            for answer in &answers {
                let heads: Vec<&str> = answer.lines().filter(|line| line.starts_with("VA ")).collect();
                assert_eq!(heads.len(), keys.len(), "{answer}");
                for (head, winners) in heads.iter().zip(&mut winners) {
                    assert!([winner, loser].contains(head), "{what}: {head}");
                    *winners += usize::from(*head == winner);
                }
            }
            let wanted = usize::from(winner != loser) + herd.len() * usize::from(winner == loser);
            assert!(winners.iter().all(|count| *count == wanted), "{what}: {winners:?} won");
            // Who won stores it.
            let sets = all("ms KEY 5 T100\r\nfresh\r\n");
            herd[round].ask(sets.as_bytes(), "MN\r\n");
        };
        rush("missing", "mg KEY N30 v\r\n", "VA 0 W", "VA 0 Z");
        rush("fresh", "mg KEY N30 v\r\n", "VA 5", "VA 5");
        rush("nearly expired", "mg KEY R200 v\r\n", "VA 5 W", "VA 5 Z");
        let mut other = Client::new(&daemon);
        other.ask(all("md KEY I T30\r\n").as_bytes(), "MN\r\n");
        rush("stale", "mg KEY v\r\n", "VA 5 X W", "VA 5 Z X");
        rush("stored again", "mg KEY v\r\n", "VA 5", "VA 5");
    }
}

/// The same without standing still: clients that come when they come, while winners store.
#[test]
fn a_herd_without_order_recaches_once_in_a_time() {
    let Some(daemon) = start("-t 4 -m 64") else { return };
    let port = daemon.port;
    let is_over = AtomicBool::new(false);
    let wins = AtomicUsize::new(0);
    let play = |is_over: &AtomicBool, wins: &AtomicUsize| {
        let mut client = Client::to(port);
        while !is_over.load(Ordering::Relaxed) {
            let answer = client.ask(b"mg key N300 v\r\nmn\r\n", "MN\r\n");
            if answer.contains(" W\r\n") {
                wins.fetch_add(1, Ordering::Relaxed);
                client.ask(b"ms key 5 T1000\r\nfresh\r\n", "HD\r\n");
            } else {
                assert!(["VA 0 Z\r\n\r\nMN\r\n", "VA 5\r\nfresh\r\nMN\r\n"].contains(&&*answer), "{answer}");
            }
        }
    };
    thread::scope(|scope| {
        let (play, is_over, wins) = (&play, &is_over, &wins);
        (0..8).for_each(|_| drop(scope.spawn(move || play(is_over, wins))));
        let mut other = Client::to(port);
        let mut deleted = 0;
        for _ in 0..300 {
            // Somebody has won and stored before it goes again: each time of absence has one winner.
            while !other.ask(b"mg key v\r\nmn\r\n", "MN\r\n").starts_with("VA 5\r\n") {}
            assert_eq!(other.ask(b"md key\r\n", "\r\n"), "HD\r\n");
            deleted += 1;
        }
        while !other.ask(b"mg key v\r\nmn\r\n", "MN\r\n").starts_with("VA 5\r\n") {}
        is_over.store(true, Ordering::Relaxed);
        assert_eq!(wins.load(Ordering::Relaxed), deleted + 1);
    });
}

/// The default of `-R`.
const REQUESTS_PER_TURN: usize = 20;

/// Bytes of large values that a connection reads in a turn.
const VALUE_BYTES_PER_TURN: usize = 256 * 1024;

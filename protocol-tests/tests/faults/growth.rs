//! What the daemon does to its memory while it serves: the index grows from empty to very many keys, pages move from class
//! to class. Values stay right, and nobody waits for it.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use crate::{Client, start, while_it_stands};

/// Readers see each key that was stored, with its value, while the index grows under them.
#[test]
fn the_index_grows_under_readers() {
    let Some(daemon) = start("-m 256") else { return };
    let port = daemon.port;
    let mut client = Client::new(&daemon);
    let power = client.stat("hash_power_level");
    let stored = AtomicUsize::new(0);
    let read = |seed: usize, stored: &AtomicUsize| {
        let mut client = Client::to(port);
        let (mut random, mut times) = (seed as u64, Vec::new());
        loop {
            let count = stored.load(Ordering::Acquire);
            if count == KEYS {
                return times;
            } else if count == 0 {
                continue;
            }
            let mut numbers = Vec::new();
            for _ in 0..20 {
                random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                numbers.push((random >> 33) as usize % count);
            }
            let asked = Instant::now();
            check_all_there(&mut client, numbers);
            times.push(asked.elapsed());
        }
    };
    let mut times: Vec<Duration> = thread::scope(|scope| {
        let (read, stored) = (&read, &stored);
        let readers: Vec<_> = (1..4).map(|seed| scope.spawn(move || read(seed, stored))).collect();
        for first in (0..KEYS).step_by(500) {
            store(&mut client, first..first + 500);
            stored.store(first + 500, Ordering::Release);
        }
        readers.into_iter().flat_map(|reader| reader.join().unwrap()).collect()
    });
    times.sort();
    let share = |thousandths: usize| times[(times.len() - 1) * thousandths / 1000];
    println!(
        "{} looks of 20 keys: half within {:?}, 99 % {:?}, all {:?}",
        times.len(),
        share(500),
        share(990),
        share(1000)
    );
    assert_eq!(client.stat("evictions"), 0);
    let grown = client.stat("hash_power_level");
    println!("from 2^{power} to 2^{grown}");
    assert!(grown >= power + 2, "the index did not grow: 2^{power}, 2^{grown}");
    // And at the end all of them.
    for first in (0..KEYS).step_by(500) {
        check_all_there(&mut client, (first..first + 500).collect());
    }
    assert_eq!(client.stat("curr_items") as usize, KEYS);
}

/// Nobody's reply is late by more than a bounded number of somebody else's, while the index grows.
#[test]
fn who_asks_while_the_index_grows_does_not_wait() {
    let Some(daemon) = start("-t 1 -m 256") else { return };
    let (mut writer, mut other) = (Client::new(&daemon), Client::new(&daemon));
    writer.ask(b"mn\r\n", "MN\r\n");
    let power = other.stat("hash_power_level");
    let mut most = 0;
    for first in (0..KEYS).step_by(2000) {
        let before = other.stat("cmd_set");
        let sets: String = (first..first + 2000).map(set_request).collect();
        while_it_stands(&daemon, || {
            assert_eq!(writer.push(sets.as_bytes()), sets.len());
            other.push(b"stats\r\n");
        });
        let stats = other.until("\r\nEND\r\n");
        let sets = stats.lines().find_map(|line| line.strip_prefix("STAT cmd_set ")).unwrap();
        most = most.max(sets.parse::<u64>().unwrap() - before);
        writer.ask(b"mn\r\n", "MN\r\n");
    }
    println!("at most {most} sets before the other one");
    assert!(most <= 200, "{most} sets of a pipeline before somebody else's request");
    assert!(other.stat("hash_power_level") >= power + 2, "the index did not grow");
}

/// Pages are taken from classes whose items are being read and overwritten. Each client knows what it stored last: it
/// reads that or nothing. A CAS id is the same before and after.
#[test]
fn pages_move_under_load_and_values_stay() {
    let Some(daemon) = start("-m 32 -o no_slab_automove") else { return };
    let port = daemon.port;
    let mut client = Client::new(&daemon);
    let kept: Vec<String> = (0..40).map(|number| format!("kept{number}")).collect();
    let mut ids = Vec::new();
    for key in &kept {
        client.set(key, 100 + ids.len() * 100);
        let answer = client.ask(format!("gets {key}\r\n").as_bytes(), "END\r\n");
        ids.push(answer.lines().next().and_then(|line| line.rsplit(' ').next()).unwrap().to_owned());
    }
    let (is_over, is_moving) = (AtomicBool::new(false), AtomicBool::new(false));
    let play = |owner: usize, is_over: &AtomicBool, is_moving: &AtomicBool| {
        let mut client = Client::to(port);
        let mut versions = vec![0_usize; 800];
        let (mut random, mut hits) = (owner as u64, 0);
        let mut times = [Vec::new(), Vec::new()];
        while !is_over.load(Ordering::Relaxed) {
            random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            let number = (random >> 33) as usize % versions.len();
            let (key, asked) = (format!("{owner}-{number}"), Instant::now());
            if random >> 62 == 0 {
                versions[number] += 1;
                let value = value(&key, versions[number]);
                let request = format!("set {key} 0 0 {}\r\n{value}\r\n", value.len());
                assert_eq!(client.ask(request.as_bytes(), "\r\n"), "STORED\r\n");
            } else {
                let answer = client.ask(format!("get {key}\r\n").as_bytes(), "END\r\n");
                if answer != "END\r\n" {
                    let value = value(&key, versions[number]);
                    let whole = format!("VALUE {key} 0 {}\r\n{value}\r\nEND\r\n", value.len());
                    assert!(answer == whole, "not version {} of {key}: {answer}", versions[number]);
                    hits += 1;
                }
            }
            times[usize::from(is_moving.load(Ordering::Relaxed))].push(asked.elapsed());
        }
        (hits, times)
    };
    let played: Vec<_> = thread::scope(|scope| {
        let (play, is_over, is_moving) = (&play, &is_over, &is_moving);
        let clients: Vec<_> = (0..4).map(|owner| scope.spawn(move || play(owner, is_over, is_moving))).collect();
        thread::sleep(Duration::from_secs(1));
        is_moving.store(true, Ordering::Relaxed);
        let mut asked = 0;
        // Into each class that has items, from whatever class.
        while client.stat("slabs_moved") < MOVES && asked < 100_000 {
            let items = client.ask(b"stats items\r\n", "END\r\n");
            let numbers =
                items.lines().filter(|line| line.contains(":number ")).filter_map(|line| line.split(':').nth(1));
            for class in numbers.map(str::to_owned).collect::<Vec<_>>() {
                client.ask(format!("slabs reassign -1 {class}\r\n").as_bytes(), "\r\n");
                asked += 1;
            }
            for (key, id) in kept.iter().zip(&ids) {
                let answer = client.ask(format!("gets {key}\r\n").as_bytes(), "END\r\n");
                let is_same = answer.lines().next().is_some_and(|line| line.ends_with(&format!(" {id}")));
                assert!(answer == "END\r\n" || is_same, "{key} had the CAS id {id}: {answer}");
            }
        }
        is_over.store(true, Ordering::Relaxed);
        clients.into_iter().map(|client| client.join().unwrap()).collect()
    });
    assert!(client.stat("slabs_moved") >= MOVES, "{} pages moved", client.stat("slabs_moved"));
    let hits: usize = played.iter().map(|(hits, _)| hits).sum();
    assert!(hits > 1000, "{hits} hits");
    for (which, name) in ["without", "with"].iter().enumerate() {
        let mut times: Vec<Duration> = played.iter().flat_map(|(_, times)| times[which].iter().copied()).collect();
        times.sort();
        let share = |thousandths: usize| times[(times.len() - 1) * thousandths / 1000];
        println!("{name} moves: half within {:?}, 99 % {:?}, all {:?}", share(500), share(990), share(1000));
    }
    let swaps: Vec<bool> = kept
        .iter()
        .zip(&ids)
        .map(|(key, id)| {
            let answer = client.ask(format!("cas {key} 0 0 1 {id}\r\nx\r\n").as_bytes(), "\r\n");
            assert!(answer == "STORED\r\n" || answer == "NOT_FOUND\r\n", "{key}: {answer}");
            answer == "STORED\r\n"
        })
        .collect();
    let swapped = swaps.iter().filter(|is_swapped| **is_swapped).count();
    assert!(swapped > kept.len() / 2, "{swapped} of {} are left", kept.len());
}

/// The value of a key's version, of one of many sizes, which says whose it is from end to end.
fn value(key: &str, version: usize) -> String {
    let sizes = [30, 300, 1000, 3000, 8000, 20_000];
    let mut value = format!("{key}/{version}|").repeat(sizes[version % sizes.len()] / 8);
    value.truncate(sizes[version % sizes.len()]);
    value
}

fn set_request(number: usize) -> String {
    format!("set key{number} 0 0 12 noreply\r\n{number:012}\r\n")
}

fn store(client: &mut Client, numbers: std::ops::Range<usize>) {
    let requests: String = numbers.map(set_request).collect();
    client.ask(format!("{requests}mn\r\n").as_bytes(), "MN\r\n");
}

#[track_caller]
fn check_all_there(client: &mut Client, numbers: Vec<usize>) {
    let gets: String = numbers.iter().map(|number| format!("get key{number}\r\n")).collect();
    let expected = |number: &usize| format!("VALUE key{number} 0 12\r\n{number:012}\r\nEND\r\n");
    let expected: String = numbers.iter().map(expected).collect();
    let answers = client.ask(format!("{gets}mn\r\n").as_bytes(), "MN\r\n");
    assert!(answers.strip_suffix("MN\r\n") == Some(&expected), "a key is missing, or another's value is there");
}

const KEYS: usize = 400_000;
const MOVES: u64 = 100;

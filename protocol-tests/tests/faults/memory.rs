//! Memory: its limit under churn, a system that gives no more, keys that collide.

use protocol_tests::daemon::Daemon;
use rustix::process::Resource;

use crate::{
    Client, PATIENCE, descriptors, kibibytes, limit, processor_nanoseconds, resident, slowest_answer, start, wait_until,
};
use std::sync::Barrier;
use std::thread;
use std::time::Duration;

/// Six regimes of sizes in turn, of which memcached's first one keeps the memory and each later one adds a page to it.
#[test]
fn memory_stays_below_its_limit_whatever_the_sizes() {
    let Some(daemon) = start("-m 64") else { return };
    let mut client = Client::new(&daemon);
    let regimes = [(50, 100), (300, 600), (3000, 9000), (100, 200), (100_000, 400_000), (50, 2000)];
    let (mut random, mut most, mut number) = (1_u64, 0, 0_usize);
    for (least, largest) in regimes {
        let (mut stored, mut requests) = (0, Vec::new());
        while stored < 100 << 20 {
            requests.clear();
            let mut sets = 0;
            while requests.len() < 512 * 1024 {
                random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                let bytes = least + (random >> 33) as usize % (largest - least);
                requests.extend(crate::set(&format!("key{number}"), bytes));
                (number, sets) = (number + 1, sets + 1);
            }
            stored += requests.len() + sets * 50;
            requests.extend(b"mn\r\n");
            let answers = client.ask(&requests, "MN\r\n");
            assert_eq!(answers.matches("STORED\r\n").count(), sets, "of {least} to {largest} bytes");
            most = most.max(resident(&daemon));
        }
        // The new sizes have got the memory: nearly all of what was stored last is there. The policy lets go of new values
        // first, and of the largest there are but fifty in a partition.
        let hits = (number - 20..number).filter(|number| client.has(&format!("key{number}"))).count();
        assert!(hits >= 17, "{hits} of 20, of {least} to {largest} bytes");
    }
    println!("{} MiB at most", most >> 20);
    assert!(most < (64 << 20) / 10 * 11 + (16 << 20), "{most} bytes resident");
}

/// A cache that was full of other sizes is after a while as good as one that never saw any. All is counted in requests, and
/// the choice of keys is the same for both.
#[test]
fn hits_after_a_change_of_sizes_are_those_of_a_fresh_server() {
    let Some(used) = start("-m 16") else { return };
    for (regime, (bytes, keys)) in [(100, 200_000), (4000, 8000), (100, 200_000), (40_000, 800)].into_iter().enumerate()
    {
        let Some(fresh) = start("-m 16") else { return };
        let [used, fresh] = [&used, &fresh].map(|daemon| hits(daemon, regime, bytes, keys));
        println!("values of {bytes} bytes: {used} hits of {keys}, {fresh} of a fresh server");
        assert!(fresh > keys / 4 && fresh < keys * 99 / 100, "{fresh} of {keys}: the keys show nothing");
        assert!(used * 10 >= fresh * 9, "values of {bytes} bytes: {used} hits, {fresh} of a fresh server");
    }
}

/// Hits among `keys` requests, after twice as many that warmed the cache. Some keys are asked for more often; what is
/// missing is stored.
fn hits(daemon: &Daemon, regime: usize, bytes: usize, keys: usize) -> usize {
    let mut client = Client::new(daemon);
    let (mut random, mut hits, mut asked) = (1_u64, 0, 0);
    while asked < 3 * keys {
        let mut chosen = Vec::new();
        for _ in 0..100 {
            random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            let share = (random >> 40) as f64 / (1_u64 << 24) as f64;
            chosen.push(format!("{regime}-{}", (share * share * keys as f64) as usize));
        }
        let gets: String = chosen.iter().map(|key| format!("mg {key} k\r\n")).collect();
        let answers = client.ask(format!("{gets}mn\r\n").as_bytes(), "MN\r\n");
        let found: Vec<bool> = answers.lines().map(|line| line.starts_with("HD")).collect();
        assert_eq!(found.len(), chosen.len() + 1);
        if asked >= 2 * keys {
            hits += found.iter().filter(|is_found| **is_found).count();
        }
        let missing = chosen.iter().zip(&found).filter(|(_, is_found)| !**is_found);
        let sets: Vec<u8> = missing.flat_map(|(key, _)| crate::set(key, bytes)).collect();
        let answers = client.ask(&[&sets[..], b"mn\r\n"].concat(), "MN\r\n");
        assert_eq!(answers.lines().filter(|line| *line != "STORED").count(), 1, "{answers}");
        asked += chosen.len();
    }
    hits
}

/// All are stored, or refused as a whole; and the limit of memory holds.
#[test]
fn a_hundred_large_values_at_once_are_stored_or_refused() {
    let Some(daemon) = start("-m 64") else { return };
    let port = daemon.port;
    let before = resident(&daemon);
    let begin = Barrier::new(100);
    let upload = |number: usize, begin: &Barrier| {
        let mut client = Client::to(port);
        let value = vec![b' ' + (number % 90) as u8; LARGE];
        let request = [format!("set large{number} 0 0 {LARGE}\r\n").as_bytes(), &value, b"\r\n"].concat();
        begin.wait();
        let answer = client.ask(&request, "\r\n");
        let is_stored = answer == "STORED\r\n";
        assert!(is_stored || answer == "SERVER_ERROR out of memory storing object\r\n", "{answer}");
        // What was refused is not there, what was stored is there whole, or gone for others.
        let found = client.ask(format!("get large{number}\r\n").as_bytes(), "END\r\n");
        let whole = format!("VALUE large{number} 0 {LARGE}\r\n{}\r\nEND\r\n", String::from_utf8_lossy(&value));
        assert!(found == "END\r\n" || (is_stored && found == whole), "{number}: {} bytes", found.len());
        is_stored
    };
    let mut most = 0;
    let stored: usize = thread::scope(|scope| {
        let (upload, begin) = (&upload, &begin);
        let uploads: Vec<_> = (0..100).map(|number| scope.spawn(move || upload(number, begin))).collect();
        while !uploads.iter().all(thread::ScopedJoinHandle::is_finished) {
            most = most.max(resident(&daemon));
            thread::sleep(Duration::from_millis(1));
        }
        uploads.into_iter().map(|upload| usize::from(upload.join().unwrap())).sum()
    });
    println!("{stored} of 100 stored; {} MiB at most, {} before", most >> 20, before >> 20);
    assert!(stored >= 40, "{stored} of 100 are stored");
    assert!(most < (64 << 20) / 10 * 11 + (16 << 20), "{most} bytes resident");
    let mut client = Client::new(&daemon);
    assert!((0..100).all(|number| client.set(&format!("after{number}"), LARGE) == "STORED\r\n"));
}

/// A megabyte, less what an item has beside its value.
const LARGE: usize = 1_048_000;

/// A process that was refused memory ended: for a line without end, for replies, for the index.
#[test]
fn a_system_without_memory_ends_nothing() {
    for resource in [Resource::As, Resource::Data] {
        for slack in [4 << 20, 24 << 20] {
            without_memory(resource, slack);
        }
    }
}

fn without_memory(resource: Resource, slack: usize) {
    let Some(daemon) = start("-m 256") else { return };
    let mut other = Client::new(&daemon);
    // Every worker has served somebody.
    (0..4).for_each(|_| drop(Client::new(&daemon).ask(b"mn\r\n", "MN\r\n")));
    assert_eq!(other.set("value", 12_000), "STORED\r\n");
    let open = descriptors(&daemon);
    let name = if resource == Resource::As { "VmSize" } else { "VmData" };
    limit(&daemon, resource, kibibytes(&daemon, name) + slack);
    // Unfinished lines of very many keys.
    let mut lines: Vec<Client> = (0..20).map(|_| Client::new(&daemon)).collect();
    let line = [b"get ".to_vec(), b"k ".repeat(3_500_000)].concat();
    for client in &mut lines {
        for piece in line.chunks(256 * 1024) {
            if client.push(piece) < piece.len() {
                thread::sleep(Duration::from_millis(1));
            }
        }
    }
    let slowest = slowest_answer(&mut another(&daemon), 20);
    assert!(slowest < PATIENCE, "{resource:?} {slack}: {slowest:?}");
    // Replies that nobody reads.
    let mut readers: Vec<Client> = (0..150).map(|_| Client::new(&daemon).narrow()).collect();
    let gets = [b"get ".to_vec(), b"value ".repeat(300), b"\r\n".to_vec()].concat().repeat(20);
    readers.iter_mut().for_each(|reader| assert!(reader.push(&gets) > 0));
    let slowest = slowest_answer(&mut another(&daemon), 20);
    assert!(slowest < PATIENCE, "{resource:?} {slack}: {slowest:?}");
    // What they held is there again when they are gone; who asks meanwhile may be closed.
    drop((lines, readers, other));
    wait_until("the connections to go", || descriptors(&daemon) <= open);
    let mut other = another(&daemon);
    // More items than there is memory for, large and small: some are refused, or push others out.
    for number in 0..100 {
        let answer = other.set(&format!("large{number}"), 1_000_000);
        assert!(answer == "STORED\r\n" || answer.starts_with("SERVER_ERROR out of memory"), "{answer}");
    }
    for first in (0..300_000).step_by(1000) {
        let mut requests = Vec::new();
        (first..first + 1000).for_each(|number| requests.extend(crate::set(&format!("small{number}"), 20)));
        requests.extend(b"mn\r\n");
        let answers = other.ask(&requests, "MN\r\n");
        let answered = answers.matches("STORED\r\n").count() + answers.matches("SERVER_ERROR out of memory").count();
        assert_eq!(answered, 1000, "{resource:?} {slack}");
    }
    assert!(other.stat("malloc_fails") > 0, "{resource:?} {slack}");
    wait_until("the line", || daemon.errors().contains("the system gives no more memory"));
}

/// Somebody who is served. Who finds no memory for an answer is closed, and may come again.
fn another(daemon: &Daemon) -> Client {
    let mut served = None;
    wait_until("somebody to be served", || {
        let mut client = Client::new(daemon);
        let is_served = client.push(b"mn\r\n") > 0 && client.try_until("MN\r\n").is_ok();
        served = is_served.then_some(client);
        is_served
    });
    served.unwrap()
}

/// Keys that have one hash under murmur3 with the seed 0, memcached's default: a chain of them all, where a hash is not
/// keyed by a secret.
#[test]
fn keys_that_collide_elsewhere_do_not_here() {
    let Some(daemon) = start("-m 64") else { return };
    let mut client = Client::new(&daemon);
    let colliding = colliding_keys(100_000);
    let others: Vec<String> = (0..100_000).map(|number| format!("{number:08x}")).collect();
    let times = [&colliding, &others].map(|keys| {
        for some in keys.chunks(1000) {
            let sets: String = some.iter().map(|key| format!("set {key} 0 0 2 noreply\r\nxx\r\n")).collect();
            client.ask(format!("{sets}mn\r\n").as_bytes(), "MN\r\n");
        }
        let mut look_up = || {
            let before = processor_nanoseconds(&daemon);
            for some in keys.chunks(1000) {
                let gets: String = some.iter().map(|key| format!("get {key}\r\n")).collect();
                let answers = client.ask(format!("{gets}mn\r\n").as_bytes(), "MN\r\n");
                assert_eq!(answers.matches("VALUE ").count(), some.len());
            }
            processor_nanoseconds(&daemon) - before
        };
        (0..3).map(|_| look_up()).min().unwrap()
    });
    println!("{times:?} ns of the daemon's processor time for those that collide and for others");
    assert!(times[0] < 2 * times[1], "{times:?} ns");
}

/// Printable keys of eight bytes: whatever the first four are, the last four bring murmur3's state to the same number.
fn colliding_keys(count: usize) -> Vec<String> {
    let scramble = |block: u32| block.wrapping_mul(0xcc9e_2d51).rotate_left(15).wrapping_mul(0x1b87_3593);
    let inverse = |factor: u32| (0..5).fold(factor, |x, _| x.wrapping_mul(2_u32.wrapping_sub(factor.wrapping_mul(x))));
    let step =
        |state: u32, block: u32| (state ^ scramble(block)).rotate_left(13).wrapping_mul(5).wrapping_add(0xe654_6b64);
    let before = 0x1234_5678_u32.wrapping_sub(0xe654_6b64).wrapping_mul(inverse(5)).rotate_right(13);
    let is_printable = |block: u32| block.to_le_bytes().iter().all(u8::is_ascii_graphic);
    let letters = b"abcdefghijklmnopqrstuvwxyz0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ";
    let mut keys = Vec::new();
    for number in 0.. {
        let letter = |place: u32| letters[number / 62_usize.pow(place) % 62];
        let first = u32::from_le_bytes([letter(0), letter(1), letter(2), letter(3)]);
        let mixed = before ^ step(0, first);
        let last = mixed.wrapping_mul(inverse(0x1b87_3593)).rotate_right(15).wrapping_mul(inverse(0xcc9e_2d51));
        assert_eq!(step(step(0, first), last), 0x1234_5678);
        if is_printable(last) {
            keys.push(String::from_utf8([first.to_le_bytes(), last.to_le_bytes()].concat()).unwrap());
        }
        if keys.len() == count {
            break;
        }
    }
    keys
}

//! The Rust crate `memcache`, over text or (`binary`) binary; two nodes by a
//! hash modulo their number.
//!
//! Prints the checks and asks the driver as README.md, "Protocol" says. A call
//! that must succeed and does not ends the program, which the driver counts.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fmt::Debug;
use std::io;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use memcache::{Client, MemcacheError};

type Stored = (Vec<u8>, u32, Option<u64>);
type Checked = Result<(), MemcacheError>;

fn check(text: &str, is_right: bool, detail: impl Debug) {
    if is_right {
        println!("ok - {text}");
    } else {
        let detail = format!("{detail:?}").chars().take(250).collect::<String>();
        println!("not ok - {text}: {detail}");
    }
}

fn equal<T: PartialEq + Debug>(text: &str, got: T, wanted: T) {
    check(text, got == wanted, (&got, "not", &wanted));
}

fn hear() -> String {
    let mut line = String::new();
    io::stdin()
        .read_line(&mut line)
        .expect("the driver answers");
    line.trim().to_string()
}

/// Asks the driver for something; what comes after `done`.
fn ask(line: &str) -> String {
    println!("{line}");
    let answer = hear();
    answer
        .strip_prefix("done")
        .expect("the driver does it")
        .trim()
        .to_string()
}

#[derive(Clone, Copy)]
enum Protocol {
    Text,
    Binary,
}

fn connect(servers: &[&str], protocol: Protocol) -> Result<Client, MemcacheError> {
    let query = match protocol {
        Protocol::Text => "protocol=ascii&tcp_nodelay=true",
        Protocol::Binary => "tcp_nodelay=true",
    };
    let urls: Vec<String> = servers
        .iter()
        .map(|server| format!("memcache://{server}?{query}"))
        .collect();
    // A connection to a dead node is waited for as long as this, key by key.
    Client::builder()
        .add_server(urls)?
        .with_max_pool_size(2)
        .with_connection_timeout(Duration::from_millis(100))
        .build()
}

fn set_time(client: &Client, key: &str, seconds: u32) -> Checked {
    client.set(key, "1", seconds)
}

fn get(client: &Client, key: &str) -> Result<Option<String>, MemcacheError> {
    client.get(key)
}

fn some(text: &str) -> Option<String> {
    Some(text.to_string())
}

fn check_values(client: &Client) -> Checked {
    let binary: Vec<u8> = b"END\r\n\0\r\nVALUE x 0 1\r\n"
        .iter()
        .copied()
        .chain(0..=255)
        .collect();
    client.set("a", "one", 0)?;
    equal("get returns what was set", get(client, "a")?, some("one"));
    equal(
        "get of a missing key is a miss",
        get(client, "missing")?,
        None,
    );
    client.set("number", 42, 0)?;
    equal(
        "a number reads as a number",
        client.get::<i32>("number")?,
        Some(42),
    );
    client.set("binary", binary.as_slice(), 0)?;
    equal(
        "a value may hold any byte",
        client.get::<Vec<u8>>("binary")?,
        Some(binary),
    );
    client.set("empty", "", 0)?;
    equal("a value may be empty", get(client, "empty")?, some(""));
    client.set(&"k".repeat(250), "long", 0)?;
    equal(
        "a key may have 250 bytes",
        get(client, &"k".repeat(250))?,
        some("long"),
    );
    check(
        "a key of 251 bytes is refused",
        client.set(&"k".repeat(251), "x", 0).is_err(),
        "stored",
    );
    // Over text the client takes NOT_STORED for a success: look at the value.
    check(
        "add stores a new key",
        client.add("new", "1", 0).is_ok(),
        "refused",
    );
    let _ = client.add("new", "2", 0);
    equal(
        "add leaves a known key alone",
        get(client, "new")?,
        some("1"),
    );
    check(
        "replace stores a known key",
        client.replace("new", "3", 0).is_ok(),
        "refused",
    );
    let _ = client.replace("other", "1", 0);
    let _ = client.append("other", "1");
    equal(
        "replace and append make no new key",
        get(client, "other")?,
        None,
    );
    check(
        "append stores",
        client.append("new", "4").is_ok(),
        "refused",
    );
    check(
        "prepend stores",
        client.prepend("new", "2").is_ok(),
        "refused",
    );
    equal(
        "append and prepend add to both ends",
        get(client, "new")?,
        some("234"),
    );
    check("delete of a known key", client.delete("new")?, "a miss");
    check("delete of a missing key", !client.delete("new")?, "a hit");
    Ok(())
}

fn check_many(client: &Client) -> Checked {
    let values = numbered("many", KEYS);
    for (key, value) in &values {
        client.set(key, value, 0)?;
    }
    let missing = numbered("none", KEYS);
    let known: Vec<&str> = values.keys().map(String::as_str).collect();
    let mixed: Vec<&str> = missing
        .keys()
        .chain(values.keys())
        .map(String::as_str)
        .collect();
    let found: HashMap<String, String> = client.gets(&known)?;
    equal(
        "gets returns 500 keys",
        found.into_iter().collect(),
        values.clone(),
    );
    let found: HashMap<String, String> = client.gets(&mixed)?;
    equal(
        "gets leaves out what is missing",
        found.into_iter().collect(),
        values.clone(),
    );
    let found: HashMap<String, Stored> = client.gets(&known)?;
    let tokens: BTreeSet<u64> = found.values().filter_map(|stored| stored.2).collect();
    equal(
        "gets returns a cas value of its own for each",
        tokens.len(),
        KEYS,
    );
    Ok(())
}

fn check_sizes(client: &Client) -> Checked {
    // A linear congruence: no two parts are alike, which is noise enough here.
    let noise: Vec<u8> = (0..2 * MIB as u32)
        .map(|i| (i.wrapping_mul(2_654_435_761) >> 24) as u8)
        .collect();
    client.set("large", &noise[..LARGEST], 0)?;
    let found: Option<Vec<u8>> = client.get("large")?;
    check(
        "the largest value comes back",
        found.as_deref() == Some(&noise[..LARGEST]),
        "it differs",
    );
    check(
        "1 MiB is refused",
        client.set("large", &noise[..MIB], 0).is_err(),
        "stored",
    );
    equal(
        "a refused set leaves no old value",
        get(client, "large")?,
        None,
    );
    check(
        "2 MiB is refused",
        client.set("large", noise.as_slice(), 0).is_err(),
        "stored",
    );
    client.set("large", "small", 0)?;
    equal(
        "the client works on after it",
        get(client, "large")?,
        some("small"),
    );
    Ok(())
}

/// The value and the cas value of a key that must be there.
fn value_and_cas(client: &Client, key: &str) -> Result<(u64, u64), MemcacheError> {
    let mut found: HashMap<String, Stored> = client.gets(&[key])?;
    let (value, _flags, cas) = found.remove(key).expect("the key is stored");
    let digits = String::from_utf8(value).expect("a counter is text");
    Ok((
        digits.trim().parse().expect("a counter is a number"),
        cas.expect("gets brings a cas value"),
    ))
}

fn check_cas(client: &Client) -> Checked {
    client.set("cas", "0", 0)?;
    let (_, cas) = value_and_cas(client, "cas")?;
    check(
        "cas with the current value is stored",
        client.cas("cas", "1", 0, cas)?,
        "refused",
    );
    check(
        "cas with an old value is not",
        !client.cas("cas", "2", 0, cas)?,
        "stored",
    );
    check(
        "cas of a missing key is a miss",
        !client.cas("missing", "2", 0, cas)?,
        "stored",
    );
    client.set("race", "0", 0)?;
    let lost = ask(&format!("race race {RACE_ROUNDS}"));
    equal(
        "two processes lose no increment",
        get(client, "race")?,
        Some((2 * RACE_ROUNDS).to_string()),
    );
    check("they did meet", lost != "0", "no round was lost");
    Ok(())
}

fn check_counters(client: &Client, protocol: Protocol) -> Checked {
    client.set("counter", "10", 0)?;
    equal("increment adds", client.increment("counter", 5)?, 15);
    equal("decrement subtracts", client.decrement("counter", 6)?, 9);
    equal("decrement stops at 0", client.decrement("counter", 100)?, 0);
    match protocol {
        Protocol::Text => check(
            "increment of a missing key is a miss",
            client.increment("none", 1).is_err(),
            "stored",
        ),
        // Sent with an initial value of 0 and a time of 0.
        Protocol::Binary => equal(
            "increment of a missing key stores 0",
            client.increment("none", 1)?,
            0,
        ),
    }
    client.set("counter", "18446744073709551615", 0)?;
    equal(
        "increment wraps at 64 bits",
        client.increment("counter", 2)?,
        1,
    );
    client.set("counter", "word", 0)?;
    check(
        "increment of a word is refused",
        client.increment("counter", 1).is_err(),
        "stored",
    );
    Ok(())
}

fn check_time(client: &Client) -> Checked {
    let now = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .expect("the clock is past 1970")
        .as_secs();
    set_time(client, "short", 2)?;
    set_time(client, "absolute", now as u32 + 2)?;
    set_time(client, "touched", 2)?;
    set_time(client, "shortened", 100)?;
    set_time(client, "forever", 0)?;
    equal(
        "a value lives until it expires",
        get(client, "short")?,
        some("1"),
    );
    check(
        "touch finds the key",
        client.touch("touched", 100)?,
        "a miss",
    );
    check("touch can shorten", client.touch("shortened", 2)?, "a miss");
    check(
        "touch of a missing key is a miss",
        !client.touch("missing", 100)?,
        "a hit",
    );
    std::thread::sleep(PAUSE);
    equal("a relative time ends", get(client, "short")?, None);
    equal("an absolute time ends", get(client, "absolute")?, None);
    equal("touch kept its key", get(client, "touched")?, some("1"));
    equal("touch shortened its key", get(client, "shortened")?, None);
    equal("no time is for ever", get(client, "forever")?, some("1"));
    Ok(())
}

fn check_admin(client: &Client, protocol: Protocol) -> Checked {
    // Over text the client stops at the first line of the answer.
    if let Protocol::Binary = protocol {
        let (_, stats) = client.stats()?.remove(0);
        check(
            "stats has what others read",
            stats.contains_key("curr_items") && stats.contains_key("get_hits"),
            &stats,
        );
    }
    let (_, version) = client.version()?.remove(0);
    check("version is a number", version.starts_with("1."), &version);
    client.flush()?;
    equal("flush empties", get(client, "forever")?, None);
    Ok(())
}

/// Whether the call came to `Ok` in time.
fn until<T>(call: impl Fn() -> Result<T, MemcacheError>) -> bool {
    (0..50).any(|_| {
        call().is_ok() || {
            std::thread::sleep(Duration::from_millis(100));
            false
        }
    })
}

fn check_restart(client: &Client) -> Checked {
    client.set("kept", "1", 0)?;
    ask("restart 0");
    check(
        "after a restart the same client stores again",
        until(|| client.set("again", "2", 0)),
        "it does not",
    );
    equal("and reads it", get(client, "again")?, some("2"));
    equal("and the cache was empty", get(client, "kept")?, None);
    Ok(())
}

/// This client has no failover: a dead node's keys are errors until it is back.
fn check_nodes(one: &str, two: &str, protocol: Protocol) -> Checked {
    let client = connect(&[one, two], protocol)?;
    let values = numbered("node", NODE_KEYS);
    let keys: Vec<&str> = values.keys().map(String::as_str).collect();
    let found_by = |client: &Client| -> Result<BTreeMap<String, String>, MemcacheError> {
        Ok(client.gets::<String>(&keys)?.into_iter().collect())
    };
    for (key, value) in &values {
        client.set(key, value, 0)?;
    }
    equal(
        "two nodes: every key is found",
        found_by(&client)?,
        values.clone(),
    );
    let on_one = found_by(&connect(&[one], protocol)?)?;
    let on_two = found_by(&connect(&[two], protocol)?)?;
    let is_split =
        !on_one.is_empty() && !on_two.is_empty() && on_one.len() + on_two.len() == NODE_KEYS;
    check(
        "two nodes: each holds its part",
        is_split,
        (on_one.len(), on_two.len()),
    );
    ask("stop 2");
    // Not all: each call to the dead node waits for its connection.
    let tried = || on_one.keys().take(20).chain(on_two.keys().take(20));
    let lived: Vec<&String> = tried()
        .filter(|key| matches!(get(&client, key), Ok(Some(_))))
        .collect();
    equal(
        "a node dies: the other's keys stay",
        lived,
        on_one.keys().take(20).collect(),
    );
    let stored = tried()
        .filter(|key| client.set(key, "x", 0).is_ok())
        .count();
    equal("a node dies: its keys are not stored", stored, 20);
    ask("start 2");
    let back = on_two.keys().next().expect("the node holds keys");
    check(
        "the node is back: its keys are stored",
        until(|| client.set(back, "x", 0)),
        "they are not",
    );
    for (key, value) in &values {
        client.set(key, value, 0)?;
    }
    equal(
        "the node is back: it has the keys it had",
        found_by(&connect(&[two], protocol)?)?,
        on_two,
    );
    Ok(())
}

fn run_race(client: &Client, key: &str, count: usize) -> Checked {
    println!("ready");
    hear();
    let mut lost = 0;
    for _ in 0..count {
        loop {
            let (value, cas) = value_and_cas(client, key)?;
            if client.cas(key, value + 1, 0, cas)? {
                break;
            }
            lost += 1;
        }
    }
    println!("lost {lost}");
    Ok(())
}

fn numbered(prefix: &str, count: usize) -> BTreeMap<String, String> {
    (0..count)
        .map(|number| (format!("{prefix}:{number}"), format!("value {number}")))
        .collect()
}

fn main() -> Checked {
    let mut words: Vec<String> = std::env::args().skip(1).collect();
    let protocol = match words[0].as_str() {
        "binary" => Protocol::Binary,
        _ => Protocol::Text,
    };
    if let Protocol::Binary = protocol {
        words.remove(0);
    }
    if words[0] == "race" {
        let count = words[3].parse().expect("the driver gives a number");
        return run_race(&connect(&[&words[1]], protocol)?, &words[2], count);
    }
    let client = connect(&[&words[0]], protocol)?;
    check_values(&client)?;
    check_many(&client)?;
    check_sizes(&client)?;
    check_cas(&client)?;
    check_counters(&client, protocol)?;
    check_time(&client)?;
    check_admin(&client, protocol)?;
    check_restart(&client)?;
    check_nodes(&words[1], &words[2], protocol)?;
    println!("end");
    Ok(())
}

const KEYS: usize = 500;
const NODE_KEYS: usize = 200;
const RACE_ROUNDS: usize = 1000;
const MIB: usize = 1 << 20;
const LARGEST: usize = MIB - 100;
const PAUSE: Duration = Duration::from_millis(3200);

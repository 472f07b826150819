//! The same streams to slabstash and to a real memcached: every reply is equal to the byte, but for what the rules of
//! `src/differential/rules.rs` name.
//!
//! | variable | meaning |
//! |---|---|
//! | `MEMCACHED` | the memcached to compare with; without it there is nothing to compare, and nothing is tested |
//! | `DIFFERENTIAL_COMMANDS` | commands in all, 100000 |
//! | `DIFFERENTIAL_SEED` | a number; printed at the start, the process' id otherwise |
//! | `DIFFERENTIAL_OPTIONS` | options of the one pair tried, instead of a few in turn |
//! | `DIFFERENTIAL_SIZES` | `all`: every length up to 70000, and not only each 97th and those around limits |
//!
//! To find where a difference begins: `DIFFERENTIAL_SHOW=1` shows the batch in which it was found, another number shows
//! that batch, `DIFFERENTIAL_WATCH=KEY` compares a key behind every batch, and `DIFFERENTIAL_STATISTICS=1` the statistics.
//!
//! Nothing is compared with a memcached before 1.6.45: what is no number, what is refused and how, and meta commands have
//! changed too much since.

use std::env;
use std::process;

use protocol_tests::differential::pair::Pair;
use protocol_tests::differential::stream::{Batch, Command, Stream};
use protocol_tests::random::Random;
use protocol_tests::server::Program;
use protocol_tests::version::REFERENCE;

/// Both servers, memcached first; nothing when there is no memcached of the right release.
fn programs() -> Option<[Program; 2]> {
    let Some(reference) = Program::reference().unwrap() else {
        println!("left out: MEMCACHED names no memcached to compare with");
        return None;
    };
    if reference.version < REFERENCE {
        println!("left out: memcached {} is older than {REFERENCE}", reference.version);
        return None;
    }
    println!("against memcached {}", reference.version);
    Some([reference, Program::slabstash().unwrap()])
}

fn number(name: &str) -> Option<u64> {
    env::var(name).ok()?.parse().ok()
}

fn seed() -> u64 {
    number("DIFFERENTIAL_SEED").unwrap_or_else(|| u64::from(process::id()))
}

#[test]
fn random_streams_are_answered_alike() {
    let Some(programs) = programs() else { return };
    let (seed, commands) = (seed(), number("DIFFERENTIAL_COMMANDS").unwrap_or(COMMANDS_DEFAULT));
    println!("DIFFERENTIAL_SEED={seed} DIFFERENTIAL_COMMANDS={commands}");
    let given = env::var("DIFFERENTIAL_OPTIONS").ok();
    let pairs: Vec<(&str, &str)> = match &given {
        Some(options) => vec![(options, "")],
        None => OPTIONS.to_vec(),
    };
    for (index, (options, own)) in pairs.iter().enumerate() {
        let count = commands / pairs.len() as u64;
        if let Err(error) = run(&programs, options, own, seed.wrapping_add(index as u64), count) {
            panic!("DIFFERENTIAL_SEED={seed} DIFFERENTIAL_OPTIONS='{options}' ('{own}' here): {error}");
        }
    }
}

fn run(programs: &[Program; 2], options: &str, own: &str, seed: u64, commands: u64) -> Result<(), String> {
    let mut pair = Pair::start([&programs[0], &programs[1]], options, ["", own])?;
    let mut stream = Stream::new(seed);
    let mut random = Random::new(!seed);
    let (mut done, mut batches) = (0, 0u64);
    while done < commands {
        let batch = stream.batch();
        if random.one_in(FLUSH_ONE_IN) {
            pair.flush(random.one_in(2))?;
        }
        let mut cuts: Vec<f64> =
            (0..random.below(CUTS_MAX)).map(|_| random.below(1 << 20) as f64 / f64::from(1 << 20)).collect();
        cuts.sort_by(f64::total_cmp);
        let has_pauses = random.one_in(4);
        if number("DIFFERENTIAL_SHOW") == Some(batches) {
            println!("{}", shown(&batch));
        }
        pair.play(&batch, &cuts, has_pauses)
            .map_err(|error| format!("batch {batches}, behind {done} commands: {error}{}", shown(&batch)))?;
        if env::var_os("DIFFERENTIAL_STATISTICS").is_some() {
            pair.compare_statistics().map_err(|error| format!("behind batch {batches}: {error}{}", shown(&batch)))?;
        }
        if let Ok(key) = env::var("DIFFERENTIAL_WATCH") {
            let watch = Batch { commands: vec![Command::bytes(format!("mg {key} u v s f t\r\n"))], ..Batch::default() };
            pair.play(&watch, &[], false)
                .map_err(|error| format!("{key} behind batch {batches}: {error}{}", shown(&batch)))?;
        }
        done += batch.commands.len() as u64;
        batches += 1;
    }
    pair.compare_items()?;
    pair.compare_statistics()?;
    println!("'{options}' ('{own}' here): {done} commands in {batches} batches, by rule {:?}", pair.comparison.uses);
    Ok(())
}

/// The commands of a batch, with `DIFFERENTIAL_SHOW`; the number of a batch shows that one.
fn shown(batch: &Batch) -> String {
    if env::var_os("DIFFERENTIAL_SHOW").is_none() {
        return String::new();
    }
    let mut text = String::from("\nthe batch:\n");
    for command in &batch.commands {
        let mut bytes = Vec::new();
        command.append_to(&mut bytes, |_| 0);
        let length = bytes.len();
        bytes.truncate(200);
        text.push_str(&format!("{} ({length} bytes)\n", bytes.escape_ascii()));
    }
    text
}

#[test]
fn values_of_every_size_come_back_alike() {
    let Some(programs) = programs() else { return };
    let is_whole = env::var("DIFFERENTIAL_SIZES").is_ok_and(|sizes| sizes == "all");
    let step = if is_whole { 1 } else { SIZE_STEP };
    let around = |size: usize| size.saturating_sub(3)..size + 4;
    let mut sizes: Vec<usize> = (0..=SIZE_MAX).step_by(step).collect();
    sizes.extend((4..=20).flat_map(|power| around(1 << power)));
    // Multiples of the buffers, and an item of so many bytes in all.
    sizes.extend((1..=8).flat_map(|count| around(count * 16_384)));
    sizes.extend((1..=4).flat_map(|count| around(count * 65_536)));
    sizes.extend([1 << 14, 1 << 19, 1 << 20].into_iter().flat_map(|size| size - 80..size - 40));
    // Classes grow by a quarter from 96 bytes; what is in them is smaller by a header of 48 or 56, a key and an end.
    let mut class = 96.0;
    while class < 600_000.0 {
        let size = class as usize / 8 * 8;
        sizes.extend(size.saturating_sub(66)..size.saturating_sub(44));
        class *= 1.25;
    }
    sizes.sort_unstable();
    sizes.dedup();
    for (options, own) in [("-m 1024 -t 2", ""), ("-m 1024 -t 1 -o slab_chunk_max=16 -C", "-o partitions=8")] {
        let mut pair = Pair::start([&programs[0], &programs[1]], options, ["", own]).unwrap();
        let mut bytes = 0;
        let mut batch = Batch::default();
        for &size in &sizes {
            size_commands(size, &mut batch);
            bytes += size;
            if batch.commands.len() > 60 || bytes > 1 << 20 || Some(&size) == sizes.last() {
                pair.play(&batch, &[], false).unwrap_or_else(|error| panic!("{options}: up to {size} bytes: {error}"));
                (batch, bytes) = (Batch::default(), 0);
            }
        }
        println!("'{options}' ('{own}' here): {} sizes", sizes.len());
    }
}

/// Stores, changes and fetches a value of some bytes in the ways of the text protocol.
fn size_commands(size: usize, batch: &mut Batch) {
    let byte = [b'a' + (size % 26) as u8];
    let value: Vec<u8> = byte.iter().copied().cycle().take(size).collect();
    let mut add = |line: String, value: &[u8]| {
        let mut command = Command::bytes(line);
        command.push("\r\n");
        if !value.is_empty() || size == 0 {
            command.push(value);
            command.push("\r\n");
        }
        batch.commands.push(command);
    };
    let flags = size % 3;
    match size % 4 {
        0 => add(format!("set sized {flags} 0 {size}"), &value),
        1 => add(format!("ms sized {size} T0 F{flags} s k"), &value),
        2 => {
            add(format!("set sized {flags} 0 {}", size - 1), &value[1..]);
            add("append sized 0 0 1".to_string(), &byte);
        }
        _ => {
            add(format!("set sized {flags} 0 {}", size - 1), &value[1..]);
            add("prepend sized 0 0 1".to_string(), &byte);
        }
    }
    let fetch = match size % 3 {
        0 => "get sized\r\n",
        1 => "mg sized s f v\r\n",
        _ => "gets sized\r\ndelete sized\r\n",
    };
    batch.commands.push(Command::bytes(fetch));
}

#[test]
fn pipelines_may_be_cut_at_every_byte() {
    let Some(programs) = programs() else { return };
    let seed = seed();
    println!("DIFFERENTIAL_SEED={seed}");
    let mut pair = Pair::start([&programs[0], &programs[1]], "-m 256 -t 2", ["", ""]).unwrap();
    let mut stream = Stream::new(seed);
    for is_binary in [false, true] {
        let batch = stream.script(SCRIPT_BYTES, is_binary);
        let mut input = Vec::new();
        batch.commands.iter().for_each(|command| command.append_to(&mut input, |_| 0));
        let fresh = Batch { commands: stream.keys().map(forget).collect(), ..Batch::default() };
        for cut in 1..input.len() {
            pair.play(&fresh, &[], false).unwrap();
            pair.play(&batch, &[cut as f64 / input.len() as f64], true)
                .unwrap_or_else(|error| panic!("DIFFERENTIAL_SEED={seed}: cut at {cut}: {error}{}", shown(&batch)));
        }
        println!("{} commands of {} bytes, cut at each byte", batch.commands.len(), input.len());
    }
}

fn forget(key: &[u8]) -> Command {
    Command::bytes([b"delete ", key, b"\r\n"].concat())
}

/// A run in CI.
const COMMANDS_DEFAULT: u64 = 100_000;

/// Options of both, and of slabstash alone. Memory is enough for everything: what is evicted is another matter.
const OPTIONS: [(&str, &str); 5] = [
    ("-m 1024 -t 2", ""),
    ("-m 1024 -t 2", "-o partitions=16"),
    ("-m 1024 -t 1 -C", ""),
    ("-m 1024 -t 1 -o slab_chunk_max=16", "-o eviction_policy=segmented"),
    ("-m 1024 -t 4 -I 2m -f 1.08 -n 10 -R 3", "-o eviction_policy=flat"),
];

/// Pieces of a batch.
const CUTS_MAX: usize = 5;

/// Batches between two flushes, each of which takes two seconds.
const FLUSH_ONE_IN: usize = 1000;

/// Lengths of values, and how far apart they are in CI.
const SIZE_MAX: usize = 70_000;
const SIZE_STEP: usize = 97;

/// A script that is cut at each byte.
const SCRIPT_BYTES: usize = 4096;

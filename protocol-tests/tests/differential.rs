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
//! changed too much since. Such tests are counted as ignored, not as passed, so this file has a main of its own. What
//! 1.6.45 answers to such a stream is recorded, too: `tests/recorded.rs`.

use std::env;
use std::panic::catch_unwind;
use std::process::{self, ExitCode};

use protocol_tests::differential::pair::Pair;
use protocol_tests::differential::sizes::{SIZE_MAX, edges, size_commands};
use protocol_tests::differential::stream::{Batch, Command, Kind, OPTIONS, SCRIPT_BYTES, Stream};
use protocol_tests::random::Random;
use protocol_tests::server::Program;
use protocol_tests::version::REFERENCE;

type Test = (&'static str, fn(&[Program; 2]));

const TESTS: [Test; 3] = [
    ("random_streams_are_answered_alike", random_streams_are_answered_alike),
    ("values_of_every_size_come_back_alike", values_of_every_size_come_back_alike),
    ("pipelines_may_be_cut_at_every_byte", pipelines_may_be_cut_at_every_byte),
];

fn main() -> ExitCode {
    let names: Vec<String> = env::args().skip(1).filter(|word| !word.starts_with('-')).collect();
    let is_chosen = |(name, _): &&Test| names.is_empty() || names.iter().any(|part| name.contains(part.as_str()));
    let chosen: Vec<&Test> = TESTS.iter().filter(is_chosen).collect();
    println!("running {} tests", chosen.len());
    let (mut passed, mut failed, mut ignored) = (0, 0, 0);
    let programs = programs();
    for (name, test) in chosen {
        let result = match &programs {
            Err(reason) => {
                ignored += 1;
                format!("ignored, left out: {reason}")
            }
            Ok(programs) if catch_unwind(|| test(programs)).is_ok() => {
                passed += 1;
                "ok".to_string()
            }
            Ok(_) => {
                failed += 1;
                "FAILED".to_string()
            }
        };
        println!("test {name} ... {result}");
    }
    let verdict = if failed == 0 { "ok" } else { "FAILED" };
    println!("\ntest result: {verdict}. {passed} passed; {failed} failed; {ignored} ignored");
    ExitCode::from(u8::from(failed > 0))
}

/// Both servers, memcached first; or why there is no memcached of the right release.
fn programs() -> Result<[Program; 2], String> {
    let reference = Program::reference()?.ok_or("MEMCACHED names no memcached to compare with")?;
    if reference.version < REFERENCE {
        return Err(format!("memcached {} is older than {REFERENCE}", reference.version));
    }
    println!("against memcached {}", reference.version);
    Ok([reference, Program::slabstash()?])
}

fn number(name: &str) -> Option<u64> {
    env::var(name).ok()?.parse().ok()
}

fn seed() -> u64 {
    number("DIFFERENTIAL_SEED").unwrap_or_else(|| u64::from(process::id()))
}

fn random_streams_are_answered_alike(programs: &[Program; 2]) {
    let (seed, commands) = (seed(), number("DIFFERENTIAL_COMMANDS").unwrap_or(COMMANDS_DEFAULT));
    println!("DIFFERENTIAL_SEED={seed} DIFFERENTIAL_COMMANDS={commands}");
    let given = env::var("DIFFERENTIAL_OPTIONS").ok();
    let pairs: Vec<(&str, &str)> = match &given {
        Some(options) => vec![(options, "")],
        None => OPTIONS.to_vec(),
    };
    for (index, (options, own)) in pairs.iter().enumerate() {
        let count = commands / pairs.len() as u64;
        if let Err(error) = run(programs, options, own, seed.wrapping_add(index as u64), count) {
            panic!("DIFFERENTIAL_SEED={seed} DIFFERENTIAL_OPTIONS='{options}' ('{own}' here): {error}");
        }
    }
}

fn run(programs: &[Program; 2], options: &str, own: &str, seed: u64, commands: u64) -> Result<(), String> {
    let mut pair = Pair::start([&programs[0], &programs[1]], options, ["", own])?;
    let mut stream = Stream::new(seed);
    let mut random = Random::new(!seed);
    let (mut done, mut broken, mut batches) = (0, 0, 0u64);
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
        done += batch.counted() as u64;
        broken += batch.count(Kind::Broken);
        batches += 1;
    }
    pair.compare_items()?;
    pair.compare_statistics()?;
    println!(
        "'{options}' ('{own}' here): {done} commands, {broken} of them broken, in {batches} batches, by rule {:?}",
        pair.comparison.uses
    );
    Ok(())
}

/// The commands of a batch, with `DIFFERENTIAL_SHOW`; the number of a batch shows that one.
fn shown(batch: &Batch) -> String {
    if env::var_os("DIFFERENTIAL_SHOW").is_some() { batch.shown() } else { String::new() }
}

fn values_of_every_size_come_back_alike(programs: &[Program; 2]) {
    let is_whole = env::var("DIFFERENTIAL_SIZES").is_ok_and(|sizes| sizes == "all");
    let step = if is_whole { 1 } else { SIZE_STEP };
    let mut sizes: Vec<usize> = (0..=SIZE_MAX).step_by(step).chain(edges()).collect();
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

fn pipelines_may_be_cut_at_every_byte(programs: &[Program; 2]) {
    let seed = seed();
    println!("DIFFERENTIAL_SEED={seed}");
    let mut pair = Pair::start([&programs[0], &programs[1]], "-m 256 -t 2", ["", ""]).unwrap();
    let mut stream = Stream::new(seed);
    for is_binary in [false, true] {
        let batch = stream.script(SCRIPT_BYTES, is_binary);
        let mut input = Vec::new();
        batch.commands.iter().for_each(|command| command.append_to(&mut input, |_| 0));
        let fresh = Batch { commands: stream.keys().map(Command::forget).collect(), ..Batch::default() };
        for cut in 1..input.len() {
            pair.play(&fresh, &[], false).unwrap();
            pair.play(&batch, &[cut as f64 / input.len() as f64], true)
                .unwrap_or_else(|error| panic!("DIFFERENTIAL_SEED={seed}: cut at {cut}: {error}{}", shown(&batch)));
        }
        println!("{} commands of {} bytes, cut at each byte", batch.commands.len(), input.len());
    }
}

/// A run in CI.
const COMMANDS_DEFAULT: u64 = 100_000;

/// Pieces of a batch.
const CUTS_MAX: usize = 5;

/// Batches between two flushes, each of which takes two seconds.
const FLUSH_ONE_IN: usize = 1000;

/// How far apart the lengths of values are, unless all are wanted.
const SIZE_STEP: usize = 97;

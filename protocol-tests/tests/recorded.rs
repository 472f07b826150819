//! What memcached 1.6.45 has answered to some streams, recorded in `protocol-tests/recorded`, against what slabstash
//! answers to the same: to the byte, but for what the rules of `src/differential/rules.rs` name. So the comparison of
//! `tests/differential.rs` is made where there is no such memcached.
//!
//! `RECORD=1 MEMCACHED=PATH` plays the streams to that memcached, of 1.6.45 or newer, and writes the records anew. They
//! belong to the streams: who changes these has to record them again.

use std::env;
use std::fs;
use std::path::PathBuf;
use std::time::{SystemTime, UNIX_EPOCH};

use protocol_tests::differential::record::{Form, Record};
use protocol_tests::differential::sizes::{SIZE_MAX, edges, size_commands};
use protocol_tests::differential::solo::Solo;
use protocol_tests::differential::stream::{Batch, Command, Kind, OPTIONS, SCRIPT_BYTES, Stream};
use protocol_tests::random::Random;
use protocol_tests::server::Program;
use protocol_tests::version::REFERENCE;

/// Whether memcached is asked, to be recorded.
fn is_recording() -> bool {
    env::var_os("RECORD").is_some()
}

fn program() -> Program {
    if !is_recording() {
        return Program::slabstash().unwrap();
    }
    let reference = Program::reference().unwrap().expect("MEMCACHED names the memcached to record");
    assert!(reference.version >= REFERENCE, "memcached {} is older than {REFERENCE}", reference.version);
    reference
}

fn epoch() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs()
}

fn path(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("recorded").join(name)
}

/// The record of a name: to be made, or to be compared with.
fn record(name: &str, title: &str) -> Record {
    if is_recording() {
        return Record::make(title, epoch());
    }
    let bytes = fs::read(path(name)).unwrap_or_else(|error| panic!("{}: {error}", path(name).display()));
    Record::open(bytes, title, epoch()).unwrap_or_else(|error| panic!("{name}: {error}"))
}

/// Keeps the record that was made, or sees that all of it was compared.
#[track_caller]
fn finish(name: &str, record: Record) {
    match is_recording() {
        true => fs::write(path(name), record.into_bytes()).unwrap(),
        false => assert!(record.is_at_end(), "{name}: there is more in the record"),
    }
}

/// The options of a server: memcached does not know those that are slabstash's own.
fn options(index: usize) -> String {
    let (options, own) = OPTIONS[index];
    if is_recording() { options.to_string() } else { format!("{options} {own}") }
}

/// Plays the stream of one pair of options.
#[track_caller]
fn check_stream(index: usize) {
    let (options_of_both, own) = OPTIONS[index];
    let name = format!("stream-{index}");
    let seed = SEED + index as u64;
    let title = format!("{COMMANDS} commands of seed {seed} with '{options_of_both}'");
    let mut solo = Solo::start(&program(), &options(index), record(&name, &title)).unwrap();
    let mut stream = Stream::new(seed);
    let mut random = Random::new(!seed);
    let (mut done, mut broken, mut batches) = (0, 0, 0);
    while done < COMMANDS {
        let batch = stream.batch();
        if random.one_in(FLUSH_ONE_IN) {
            solo.flush(random.one_in(2))
                .unwrap_or_else(|error| panic!("{name}: flush before batch {batches}: {error}"));
        }
        let mut cuts: Vec<f64> =
            (0..random.below(CUTS_MAX)).map(|_| random.below(1 << 20) as f64 / f64::from(1 << 20)).collect();
        cuts.sort_by(f64::total_cmp);
        solo.play(&batch, &cuts, random.one_in(4), Form::Each).unwrap_or_else(|error| {
            panic!("{name}: batch {batches} ('{own}' here), behind {done} commands: {error}{}", batch.shown())
        });
        done += batch.counted();
        broken += batch.count(Kind::Broken);
        batches += 1;
    }
    solo.items().unwrap_or_else(|error| panic!("{name}: {error}"));
    solo.statistics().unwrap_or_else(|error| panic!("{name}: {error}"));
    println!("{name}: {done} commands, {broken} of them broken, in {batches} batches, by rule {:?}", solo.uses);
    finish(&name, solo.record);
}

#[test]
fn the_stream_is_answered_as_recorded() {
    check_stream(0);
}

#[test]
fn the_stream_is_answered_as_recorded_by_partitions() {
    check_stream(1);
}

#[test]
fn the_stream_is_answered_as_recorded_without_cas() {
    check_stream(2);
}

#[test]
fn the_stream_is_answered_as_recorded_in_small_chunks() {
    check_stream(3);
}

#[test]
fn the_stream_is_answered_as_recorded_in_other_classes() {
    check_stream(4);
}

/// Every length of a value with some options, in two servers.
#[track_caller]
fn check_sizes(name: &str, both: &str, own: &str) {
    let mut sizes: Vec<usize> = (0..=SIZE_MAX).chain(edges()).collect();
    sizes.sort_unstable();
    sizes.dedup();
    let title = format!("{} sizes with '{both}'", sizes.len());
    let options = if is_recording() { both.to_string() } else { format!("{both} {own}") };
    let mut solo = Solo::start(&program(), &options, record(name, &title)).unwrap();
    let (mut batch, mut bytes) = (Batch::default(), 0);
    for &size in &sizes {
        size_commands(size, &mut batch);
        bytes += size;
        if bytes > SIZES_BYTES || batch.commands.len() > SIZES_COMMANDS || Some(&size) == sizes.last() {
            solo.play(&batch, &[], false, Form::Folded).unwrap_or_else(|error| panic!("{name}: up to {size}: {error}"));
            (batch, bytes) = (Batch::default(), 0);
        }
    }
    finish(name, solo.record);
}

#[test]
fn values_of_every_size_come_back_as_recorded() {
    check_sizes("sizes", "-m 1024 -t 2", "");
}

#[test]
fn values_of_every_size_come_back_as_recorded_in_small_chunks() {
    check_sizes("sizes-chunks", "-m 1024 -t 1 -o slab_chunk_max=16 -C", "-o partitions=8");
}

/// Every cut has the same answer, so one is recorded.
#[track_caller]
fn check_cuts(name: &str, is_binary: bool) {
    let mut stream = Stream::new(SEED);
    let batch = stream.script(SCRIPT_BYTES, is_binary);
    let (input, _) = batch.input(|_| 1);
    let fresh = Batch { commands: stream.keys().map(Command::forget).collect(), ..Batch::default() };
    let title = format!("{} bytes of seed {SEED}", input.len());
    let mut made = record(name, &title);
    let mut solo = Solo::start(&program(), "-m 256 -t 2", made.clone()).unwrap();
    for cut in 1..input.len() {
        solo.prepare(&fresh).unwrap();
        solo.begin_again(made.clone());
        solo.play(&batch, &[cut as f64 / input.len() as f64], true, Form::Each)
            .unwrap_or_else(|error| panic!("{name}: cut at {cut}: {error}{}", batch.shown()));
        if is_recording() && cut == 1 {
            let bytes = solo.record.clone().into_bytes();
            finish(name, solo.record.clone());
            made = Record::open(bytes, &title, epoch()).unwrap();
        }
    }
    assert!(solo.record.is_at_end());
    println!("{name}: {} commands of {} bytes, cut at each byte", batch.commands.len(), input.len());
}

#[test]
fn text_pipelines_may_be_cut_at_every_byte() {
    check_cuts("cuts-text", false);
}

#[test]
fn binary_pipelines_may_be_cut_at_every_byte() {
    check_cuts("cuts-binary", true);
}

const SEED: u64 = 1_645;

/// Of each pair of options; 100000 in all.
const COMMANDS: usize = 20_000;

/// Batches between two flushes, each of which takes two seconds.
const FLUSH_ONE_IN: usize = 1000;

/// Pieces of a batch.
const CUTS_MAX: usize = 5;

/// Values that are stored and fetched over one connection.
const SIZES_BYTES: usize = 4 << 20;
const SIZES_COMMANDS: usize = 4000;

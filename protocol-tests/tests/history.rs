//! The history of every key under load: never another key's bytes, a torn value, or one that is older than it may be.
//!
//! The same program runs by hand for hours: `cargo run --release -p protocol-tests --bin history -- --seconds 3600`.
//!
//! | variable | meaning |
//! |---|---|
//! | `HISTORY_SECONDS` | how long, over all servers tried, 60 |
//! | `HISTORY_SEED` | a number; printed at the start, the process' id otherwise |

use std::env;
use std::process;

use protocol_tests::history::client::Load;
use protocol_tests::history::faulty::{self, Fault};
use protocol_tests::history::runner::{Plan, Summary, Target, run};
use protocol_tests::server::Program;

fn plan(server: Target, seconds: u64) -> Plan {
    Plan {
        server,
        seconds,
        operations: 0,
        connections: 16,
        threads: 2,
        seed: number("HISTORY_SEED").unwrap_or_else(|| u64::from(process::id())),
        is_disturbed: true,
        is_flushed: false,
        restart_seconds: 0,
        report_seconds: 0,
        load: Load { keys: 5_000, counters: 100, batch: 200, has_binary: true },
    }
}

fn number(name: &str) -> Option<u64> {
    env::var(name).ok()?.parse().ok()
}

#[test]
fn no_answer_contradicts_the_history() {
    let program = Program::from_environment().unwrap();
    let seconds = number("HISTORY_SECONDS").unwrap_or(SECONDS_DEFAULT);
    let mut counters = 0;
    for (words, is_encrypted, restart_seconds) in SERVERS {
        let program = Program { is_encrypted, ..program.clone() };
        let options = words.split_whitespace().map(str::to_string).collect();
        let mut plan = plan(Target::Program(Box::new(program), options), seconds / SERVERS.len() as u64);
        plan.restart_seconds = restart_seconds;
        let Plan { seed, .. } = plan;
        let summary = run(&plan).unwrap_or_else(|error| panic!("HISTORY_SEED={seed}: {error}"));
        println!("HISTORY_SEED={seed} '{words}' TLS {is_encrypted}: {summary:?}");
        assert_eq!(summary.violations, [""; 0], "HISTORY_SEED={seed}");
        assert!(summary.hits > 1000, "{summary:?}");
        counters += summary.counters;
        assert!(restart_seconds == 0 || summary.restarts > 0, "{summary:?}");
        // Large values fill what little memory there is; most of the time there must be room all the same.
        assert!(summary.refused * REFUSED_ONE_IN <= summary.operations, "{summary:?}");
    }
    // Not of each server: a slow one that was just started again, or flushed, has none when the load rests.
    assert!(counters > 0, "no counter was ever looked at");
}

/// Runs against a server in this process that is wrong now and then.
fn watch(fault: Fault) -> Summary {
    let mut plan = plan(Target::Port(faulty::start(fault).unwrap()), FAULT_SECONDS_MAX);
    plan.is_disturbed = false;
    plan.is_flushed = true;
    plan.load = Load { keys: 300, counters: 20, batch: 40, has_binary: false };
    plan.seed = 1;
    if fault == Fault::None {
        plan.seconds = 8;
    }
    run(&plan).unwrap()
}

#[track_caller]
fn check(fault: Fault, expected: &[&str]) {
    let summary = watch(fault);
    let is_seen = |violation: &String| expected.iter().any(|words| violation.contains(words));
    assert!(!summary.violations.is_empty(), "{fault:?} was not seen: {summary:?}");
    assert!(summary.violations.iter().all(is_seen), "{fault:?}: {:?}", summary.violations);
}

#[test]
fn what_is_right_is_not_reported() {
    let summary = watch(Fault::None);
    assert_eq!(summary.violations, [""; 0]);
    assert!(summary.hits > 1000 && summary.counters > 0, "{summary:?}");
}

#[test]
fn stale_values_are_seen() {
    check(Fault::Stale, &["had ended", "of the same client"]);
}

#[test]
fn other_keys_values_are_seen() {
    check(Fault::Swapped, &["a value of key"]);
}

#[test]
fn torn_values_are_seen() {
    check(Fault::Torn, &["torn", "of another length"]);
}

#[test]
fn lost_updates_are_seen() {
    check(Fault::LostSwap, &["a lost update", "two compare-and-swaps"]);
}

#[test]
fn values_that_were_deleted_are_seen() {
    check(Fault::Resurrected, &["had ended", "of the same client"]);
}

#[test]
fn values_that_were_flushed_are_seen() {
    check(Fault::FlushForgotten, &["had ended"]);
}

#[test]
fn values_that_have_expired_are_seen() {
    check(Fault::ExpiryForgotten, &["should have expired"]);
}

#[test]
fn lost_counts_are_seen() {
    check(Fault::CountLost, &["was answered twice", "counts were answered"]);
}

#[test]
fn cas_ids_that_change_are_seen() {
    check(Fault::ChangedId, &["CAS id"]);
}

#[test]
fn values_that_were_refused_are_seen() {
    check(Fault::RefusedStored, &["was refused"]);
}

const SECONDS_DEFAULT: u64 = 60;

/// A fault that has not shown by then is not seen.
const FAULT_SECONDS_MAX: u64 = 60;

const REFUSED_ONE_IN: u64 = 200;

/// Options, whether over TLS, and seconds between two restarts.
const SERVERS: [(&str, bool, u64); 4] = [
    ("-t 2 -m 16", false, 0),
    ("-t 4 -m 8 -o slab_chunk_max=16", false, 3),
    ("-t 2 -m 64 -o eviction_policy=segmented", true, 0),
    ("-t 2 -m 16 -M", false, 0),
];

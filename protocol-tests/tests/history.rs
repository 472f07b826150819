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
use protocol_tests::history::keeper::Keeping;
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
        warm_restart_seconds: 0,
        keeping: Keeping::File,
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
    let (mut counters, mut races) = (0, 0);
    for (words, is_encrypted, restart_seconds, kept) in SERVERS {
        if kept.is_some() && program.is_reference {
            continue;
        }
        let program = Program { is_encrypted, ..program.clone() };
        let options = words.split_whitespace().map(str::to_string).collect();
        let mut plan = plan(Target::Program(Box::new(program), options), seconds / SERVERS.len() as u64);
        plan.restart_seconds = restart_seconds;
        if let Some(keeping) = kept {
            (plan.warm_restart_seconds, plan.keeping) = (WARM_RESTART_SECONDS, keeping);
        }
        let Plan { seed, .. } = plan;
        let summary = run(&plan).unwrap_or_else(|error| panic!("HISTORY_SEED={seed}: {error}"));
        println!("HISTORY_SEED={seed} '{words}' TLS {is_encrypted}: {summary:?}");
        assert_eq!(summary.violations, [""; 0], "HISTORY_SEED={seed}");
        assert!(summary.hits > 1000, "{summary:?}");
        counters += summary.counters;
        races += summary.races;
        assert!(restart_seconds == 0 || summary.restarts > 0, "{summary:?}");
        assert!(kept.is_none() || (summary.warm_restarts > 0 && summary.kept > 0), "{summary:?}");
        // Large values fill what little memory there is; most of the time there must be room all the same.
        assert!(summary.refused * REFUSED_ONE_IN <= summary.operations, "{summary:?}");
    }
    assert!(races > 0, "nobody ever raced");
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

#[test]
fn cas_ids_that_two_items_have_are_seen() {
    check(Fault::SameId, &["is also that of key"]);
}

#[test]
fn cas_ids_that_go_down_are_seen() {
    check(Fault::LowerId, &["of a later write than"]);
}

#[test]
fn adds_that_are_both_stored_are_seen() {
    check(Fault::AddedTwice, &["of 8 adds", "not the value of the add"]);
}

/// A cache that comes back from an older stop has values that were replaced, deleted or flushed since.
#[test]
fn an_older_cache_is_seen() {
    let program = Program::from_environment().unwrap();
    if program.is_reference {
        return;
    }
    let mut plan =
        plan(Target::Program(Box::new(program), vec!["-m".to_string(), "32".to_string()]), FAULT_SECONDS_MAX);
    plan.is_disturbed = false;
    (plan.warm_restart_seconds, plan.keeping) = (1, Keeping::OldFile);
    let summary = run(&plan).unwrap();
    assert!(summary.warm_restarts >= 2, "{summary:?}");
    let is_seen = |violation: &String| {
        ["had ended", "of the same client", "CAS id", "count"].iter().any(|words| violation.contains(words))
    };
    assert!(!summary.violations.is_empty() && summary.violations.iter().all(is_seen), "{summary:?}");
}

const SECONDS_DEFAULT: u64 = 60;

/// A fault that has not shown by then is not seen.
const FAULT_SECONDS_MAX: u64 = 60;

const REFUSED_ONE_IN: u64 = 200;

/// Seconds between two restarts that keep the cache.
const WARM_RESTART_SECONDS: u64 = 3;

/// Options, whether over TLS, seconds between two kills, and how the cache is kept over ordered stops.
const SERVERS: [(&str, bool, u64, Option<Keeping>); 6] = [
    ("-t 2 -m 16", false, 0, None),
    ("-t 4 -m 8 -o slab_chunk_max=16", false, 3, None),
    ("-t 2 -m 64 -o eviction_policy=segmented", true, 0, None),
    ("-t 2 -m 16 -M", false, 0, None),
    ("-t 2 -m 32", false, 0, Some(Keeping::File)),
    ("-t 2 -m 32 -o slab_chunk_max=64", false, 5, Some(Keeping::Manager)),
];

//! The traces in process: the store of slabstash, without a network, for each of its eviction policies.
//!
//! The store's clock is the trace's time, so times to live and everything that happens once a second are as they would
//! be. Memory, partitions and settings are those of a server with one worker and no options.

use std::fmt::Write as _;
use std::io;

use slabstash::base::sync::Arc;
use slabstash::base::time::{Now, START_SECONDS};
use slabstash::server::partitions;
use slabstash::store::value::NewValue;
use slabstash::store::{Config, Fit, Marks, NewItem, Policy, Store, Tuning};

use crate::error::Error;
use crate::workload::Parameters;

use super::plan::{PERCENTS, Plan, SOURCES, Source};

/// Replays every trace that is there under every policy and returns a table of the shares of gets that missed.
pub fn compare(parameters: &Parameters) -> Result<String, Error> {
    let mut table = "| trace | memory | -m MiB | first requests |".to_string();
    for policy in Policy::ALL {
        let _ = write!(table, " {} |", policy.name());
    }
    table.push_str("\n| --- | ---: | ---: | ---: |");
    table.push_str(&" ---: |".repeat(Policy::ALL.len()));
    table.push('\n');
    for source in SOURCES.iter().filter(|source| is_there(source, parameters)) {
        for percent in PERCENTS {
            let plan = Plan::load(source, parameters.traces.as_deref(), percent, parameters.replay_mib)
                .map_err(Error::system("read a trace"))?;
            let memory_mib = plan.memory_mib(percent);
            let first = plan.trace.sizes.len() as f64 / plan.trace.requests.len().max(1) as f64;
            let _ = write!(table, "| {} | {percent} % | {memory_mib} | {first:.4} |", source.name);
            for policy in Policy::ALL {
                let share = replay(&plan, memory_mib, policy).map_err(Error::system("replay a trace in process"))?;
                eprintln!("{}, {percent} % = {memory_mib} MiB, {}: {share:.4}", source.name, policy.name());
                let _ = write!(table, " {share:.4} |");
            }
            table.push('\n');
        }
    }
    Ok(table)
}

/// With traces the generated one tells nothing more.
fn is_there(source: &Source, parameters: &Parameters) -> bool {
    source.file.is_some() == parameters.traces.is_some()
}

/// The share of gets that missed.
fn replay(plan: &Plan, memory_mib: u64, policy: Policy) -> io::Result<f64> {
    let memory_limit_bytes = (memory_mib << 20) as usize;
    let config = Config {
        memory_limit_bytes,
        partitions: partitions(memory_limit_bytes, 1),
        tuning: Tuning { policy, ..Tuning::default() },
        ..Config::default()
    };
    let store = Store::new(config, Arc::default());
    let values = vec![b'v'; VALUE_BYTES_MAX];
    let mut key = Vec::new();
    let (mut gets, mut misses, mut made) = (0u64, 0u64, 0u64);
    for request in &plan.trace.requests {
        let now = Now { seconds: START_SECONDS + 1 + request.time, epoch: EPOCH };
        for copy in 0..plan.copies {
            key.clear();
            plan.key(request.key, copy).write(&mut key);
            let hash = store.hash(&key);
            let is_hit = !request.is_set
                && store.entry(&key, hash, now, |entry| {
                    entry.bump();
                    entry.item().is_some()
                });
            gets += u64::from(!request.is_set);
            misses += u64::from(!request.is_set && !is_hit);
            if !is_hit {
                let value = &values[..plan.value_bytes(request.key, copy).min(VALUE_BYTES_MAX)];
                set(&store, &key, value, request.ttl, now)?;
            }
            made += 1;
            if made.is_multiple_of(REQUESTS_PER_STEP) {
                store.maintain(0, 1, now);
            }
        }
    }
    Ok(misses as f64 / gets.max(1) as f64)
}

fn set(store: &Store, key: &[u8], value: &[u8], ttl: u32, now: Now) -> io::Result<()> {
    let refused = |error| io::Error::other(format!("the store refused an item: {error:?}"));
    let large = match store.fit(key.len(), value.len(), 0) {
        Fit::Large => {
            let mut buffer = store.large_buffer(key.len(), value.len(), 0, now).map_err(refused)?;
            buffer.fill(value);
            Some(buffer)
        }
        Fit::Inline | Fit::TooLarge => None,
    };
    let value = large.map_or(NewValue::Bytes(value), NewValue::Large);
    let exptime = now.deadline(i64::from(ttl));
    let item = NewItem { flags: 0, exptime, cas: None, value, marks: Marks::default() };
    store.entry(key, store.hash(key), now, |entry| entry.insert(item)).map(drop).map_err(refused)
}

/// Largest value of any trace.
const VALUE_BYTES_MAX: usize = 1 << 19;
/// Requests between two steps of maintenance: a busy worker's turn or two.
const REQUESTS_PER_STEP: u64 = 256;
/// Any unix time does.
const EPOCH: i64 = 1_700_000_000;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::replay::trace::{Request, Trace};

    fn plan(requests: Vec<Request>, keys: usize) -> Plan {
        Plan { trace: Trace { requests, sizes: vec![1000; keys] }, copies: 1, footprint: 0 }
    }

    fn get(time: u32, key: u32, ttl: u32) -> Request {
        Request { time, key, ttl, is_set: false }
    }

    #[test]
    fn what_fits_misses_once() {
        let requests = (0..1000).map(|index| get(index / 100, index % 100, 0)).collect();
        assert_eq!(replay(&plan(requests, 100), 2, Policy::QuickDemotion).unwrap(), 0.1);
    }

    #[test]
    fn what_has_expired_misses_and_a_set_counts_as_no_get() {
        let set = Request { is_set: true, ..get(0, 0, 5) };
        let requests = vec![set, get(4, 0, 5), get(5, 0, 5), get(6, 0, 5)];
        assert_eq!(replay(&plan(requests, 1), 2, Policy::Segmented).unwrap(), 1.0 / 3.0);
    }

    #[test]
    fn a_loop_longer_than_memory_gives_hits_to_quick_demotion_alone() {
        let requests: Vec<Request> = (0..60_000).map(|index| get(0, index % 6000, 0)).collect();
        let plan = plan(requests, 6000);
        assert!(replay(&plan, 2, Policy::QuickDemotion).unwrap() < 0.8);
        assert!(replay(&plan, 2, Policy::Segmented).unwrap() > 0.99);
        assert!(replay(&plan, 2, Policy::Flat).unwrap() > 0.99);
    }
}

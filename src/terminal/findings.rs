//! What a sample says is wrong with a node, or soon will be.
//!
//! The rules look at one sample, so that a probe that runs once can use them. Counters are therefore seen from the node's
//! start on; `stats reset` begins anew.

use super::sample::Sample;
use super::text::{bytes, percent, seconds};

/// How bad it is; a later one is worse.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Level {
    /// Nothing to say.
    Ok,
    /// Somebody should look at it.
    Warning,
    /// The node does not do its work.
    Critical,
}

impl Level {
    /// The word that monitoring plugins begin with.
    pub fn word(self) -> &'static str {
        match self {
            Level::Ok => "OK",
            Level::Warning => "WARNING",
            Level::Critical => "CRITICAL",
        }
    }
}

/// One thing that is wrong.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Finding {
    /// How bad.
    pub level: Level,
    /// What, in half a line.
    pub text: String,
}

/// Where a figure becomes a finding.
#[derive(Clone, PartialEq, Debug)]
pub struct Limits {
    /// A hit ratio below this share is one, once there were enough gets. 0 switches it off.
    pub hit_ratio_min: f64,
    /// Evicting what was accessed less than this many seconds ago is one. 0 switches it off.
    pub eviction_age_min_seconds: u64,
    /// Connections as a share of `-c`.
    pub connections_warning: f64,
    /// Likewise.
    pub connections_critical: f64,
    /// Resident memory as a share of `-m`, over a fixed allowance for buffers and tables.
    pub resident_share_max: f64,
}

impl Default for Limits {
    fn default() -> Limits {
        Limits {
            hit_ratio_min: 0.5,
            eviction_age_min_seconds: 300,
            connections_warning: 0.8,
            connections_critical: 0.95,
            resident_share_max: 1.25,
        }
    }
}

/// Everything that is wrong, the worst first.
pub fn findings(sample: &Sample, limits: &Limits) -> Vec<Finding> {
    let mut found = Vec::new();
    connections(sample, limits, &mut found);
    hit_ratio(sample, limits, &mut found);
    evictions(sample, limits, &mut found);
    memory(sample, limits, &mut found);
    found.sort_by_key(|finding| std::cmp::Reverse(finding.level));
    found
}

fn connections(sample: &Sample, limits: &Limits, found: &mut Vec<Finding>) {
    let share = sample.connections_share();
    if sample.general.number("accepting_conns") == Some(0) {
        found.push(critical("accepts no connections: the limit (-c) is reached".to_owned()));
    } else if share >= limits.connections_warning {
        let level = if share >= limits.connections_critical { Level::Critical } else { Level::Warning };
        let (now, most) = (sample.number("curr_connections"), sample.number("max_connections"));
        found.push(Finding { level, text: format!("{now} of {most} connections (-c)") });
    }
    let refused = sample.general.sum(&["listen_disabled_num", "rejected_connections"]);
    if refused > 0 {
        found.push(warning(format!("the connection limit (-c) was reached {refused} times")));
    }
}

fn hit_ratio(sample: &Sample, limits: &Limits, found: &mut Vec<Finding>) {
    if let Some(ratio) = sample.hit_ratio()
        && sample.number("cmd_get") >= GETS_MIN
        && ratio < limits.hit_ratio_min
    {
        found.push(warning(format!("hit ratio {}", percent(ratio))));
    }
}

fn evictions(sample: &Sample, limits: &Limits, found: &mut Vec<Finding>) {
    let is_young = |evicted: u64, age: u64| evicted > 0 && age < limits.eviction_age_min_seconds;
    let young = sample.classes.0.iter().filter(|class| is_young(class.evicted, class.evicted_age_seconds));
    if let Some(class) = young.min_by_key(|class| class.evicted_age_seconds) {
        let age = seconds(class.evicted_age_seconds);
        found.push(warning(format!("slab class {} evicts items last accessed {age} ago", class.id)));
    }
}

fn memory(sample: &Sample, limits: &Limits, found: &mut Vec<Finding>) {
    for class in sample.classes.0.iter().filter(|class| class.out_of_memory > 0) {
        found.push(warning(format!("slab class {} was out of memory {} times", class.id, class.out_of_memory)));
    }
    for (name, meaning) in OUT_OF_MEMORY {
        let count = sample.number(name);
        if count > 0 {
            found.push(warning(format!("{meaning} {count} times ({name})")));
        }
    }
    let limit = sample.number("limit_maxbytes");
    let allowed = (limit as f64 * limits.resident_share_max) as u64 + RESIDENT_ALLOWANCE_BYTES;
    if let Some(resident) = sample.resident_bytes
        && resident > allowed
    {
        found.push(warning(format!("resident memory {}, limit (-m) {}", bytes(resident), bytes(limit))));
    }
}

fn warning(text: String) -> Finding {
    Finding { level: Level::Warning, text }
}

fn critical(text: String) -> Finding {
    Finding { level: Level::Critical, text }
}

/// Counters of memory that was not there.
const OUT_OF_MEMORY: &[(&str, &str)] = &[
    ("store_no_memory", "no memory for an item"),
    ("malloc_fails", "the system had no memory"),
    ("response_obj_oom", "no memory for a reply"),
    ("read_buf_oom", "no memory for a request"),
];

/// Below this many gets a hit ratio says nothing.
const GETS_MIN: u64 = 1000;

/// Buffers, tables and code, which the memory limit does not cover.
const RESIDENT_ALLOWANCE_BYTES: u64 = 64 << 20;

#[cfg(test)]
mod tests {
    use super::super::sample::testing;
    use super::*;
    use std::time::Instant;

    fn sample(more: &[(&str, u64)]) -> Sample {
        let mut sample = testing::sample("memcached", Instant::now(), more);
        for class in &mut sample.classes.0 {
            class.evicted = 0;
        }
        sample
    }

    #[track_caller]
    fn check(sample: &Sample, expected: &[(Level, &str)]) {
        let found = findings(sample, &Limits::default());
        let found: Vec<(Level, &str)> = found.iter().map(|finding| (finding.level, finding.text.as_str())).collect();
        assert_eq!(found, expected);
    }

    #[test]
    fn a_quiet_node_has_none() {
        check(&sample(&[]), &[]);
    }

    #[test]
    fn connections_near_their_limit_are_found() {
        check(&sample(&[("curr_connections", 819)]), &[]);
        check(&sample(&[("curr_connections", 820)]), &[(Level::Warning, "820 of 1024 connections (-c)")]);
        check(&sample(&[("curr_connections", 1000)]), &[(Level::Critical, "1000 of 1024 connections (-c)")]);
        check(
            &sample(&[("accepting_conns", 0), ("listen_disabled_num", 2), ("rejected_connections", 1)]),
            &[
                (Level::Critical, "accepts no connections: the limit (-c) is reached"),
                (Level::Warning, "the connection limit (-c) was reached 3 times"),
            ],
        );
    }

    #[test]
    fn a_low_hit_ratio_counts_after_enough_gets() {
        check(&sample(&[("cmd_get", 999), ("get_hits", 1), ("get_misses", 998)]), &[]);
        check(
            &sample(&[("cmd_get", 1000), ("get_hits", 499), ("get_misses", 501)]),
            &[(Level::Warning, "hit ratio 49.9%")],
        );
    }

    #[test]
    fn evicting_young_items_is_found() {
        let mut sample = sample(&[]);
        sample.classes.0[1].evicted = 5;
        sample.classes.0[1].evicted_age_seconds = 300;
        check(&sample, &[]);
        sample.classes.0[1].evicted_age_seconds = 299;
        check(&sample, &[(Level::Warning, "slab class 4 evicts items last accessed 4m59s ago")]);
    }

    #[test]
    fn missing_memory_is_found() {
        let mut sample = sample(&[("store_no_memory", 7)]);
        sample.classes.0[0].out_of_memory = 3;
        sample.resident_bytes = Some(67 << 20);
        check(
            &sample,
            &[
                (Level::Warning, "slab class 1 was out of memory 3 times"),
                (Level::Warning, "no memory for an item 7 times (store_no_memory)"),
                (Level::Warning, "resident memory 67.0 MiB, limit (-m) 2.0 MiB"),
            ],
        );
    }
}

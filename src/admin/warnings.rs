//! What an operator should look at: one row for each circumstance, with a stable code and a sentence.

use super::facts::{Facts, is_accepting};
use super::health::Health;
use super::json::Json;

/// How bad it is.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
enum Severity {
    Critical,
    Warning,
}

/// A circumstance: its code, how bad it is, and the sentence when it is met.
struct Circumstance {
    code: &'static str,
    severity: Severity,
    text: fn(&Facts<'_>, &Health) -> Option<String>,
}

/// Writes those that are met, the worst first.
pub(super) fn write(facts: &Facts<'_>, health: &Health, json: &mut Json) {
    let mut met: Vec<(&Circumstance, String)> = CIRCUMSTANCES
        .iter()
        .filter_map(|circumstance| Some((circumstance, (circumstance.text)(facts, health)?)))
        .collect();
    met.sort_by_key(|(circumstance, _)| circumstance.severity);
    json.array("warnings", |json| {
        for (circumstance, text) in met {
            json.item_object(|json| {
                json.member(
                    "severity",
                    match circumstance.severity {
                        Severity::Critical => "critical",
                        Severity::Warning => "warning",
                    },
                );
                json.member("code", circumstance.code);
                json.member("text", text);
            });
        }
    });
}

const fn row(code: &'static str, severity: Severity, text: fn(&Facts<'_>, &Health) -> Option<String>) -> Circumstance {
    Circumstance { code, severity, text }
}

static CIRCUMSTANCES: &[Circumstance] = &[
    row("worker_stalled", Severity::Critical, |_, health| {
        let (worker, seconds) = health.longest_stall()?;
        Some(format!("Worker {worker} has not turned for {seconds} seconds."))
    }),
    row("not_accepting", Severity::Critical, |facts, health| {
        let is_met = !is_accepting(facts.service) && !health.is_stopping();
        is_met.then(|| "No connections are accepted: the limit or the table of descriptors is reached.".to_owned())
    }),
    row("certificate_ended", Severity::Critical, |facts, _| {
        let days = facts.certificate_days_left()?;
        (days <= 0.0).then(|| "A certificate of the server has ended.".to_owned())
    }),
    row("certificate_ends", Severity::Warning, |facts, _| {
        let days = facts.certificate_days_left()?;
        let is_met = days > 0.0 && days < CERTIFICATE_DAYS_MIN;
        is_met.then(|| format!("A certificate of the server ends in {days:.1} days."))
    }),
    row("connections_near_limit", Severity::Warning, |facts, _| {
        let (open, limit) = (facts.general.number("curr_connections")?, facts.general.number("max_connections")?);
        (open > limit * CONNECTIONS_SHARE_MAX).then(|| format!("{open} of {limit} connections are in use."))
    }),
    row("connections_rejected", Severity::Warning, |facts, _| {
        let rejected = facts.general.count("rejected_connections");
        (rejected > 0)
            .then(|| format!("{rejected} connections were refused because of -c or the table of descriptors."))
    }),
    row("no_memory", Severity::Warning, |facts, _| {
        let refused = facts.general.count("store_no_memory");
        (refused > 0).then(|| format!("{refused} stores were refused for want of memory."))
    }),
    row("short_lives", Severity::Warning, |facts, _| {
        let seconds = facts.evicted_age_seconds()?;
        let is_met = seconds < EVICTED_AGE_SECONDS_MIN;
        is_met.then(|| format!("Items are evicted {seconds} seconds after their last use: memory is short."))
    }),
    row("swapped", Severity::Warning, |facts, _| {
        let mebibytes = facts.memory.swapped_bytes >> 20;
        (mebibytes > 0).then(|| format!("{mebibytes} MiB of the process are in swap, where reads take milliseconds."))
    }),
    row("resident_over_limit", Severity::Warning, |facts, _| {
        let (resident, limit) = (facts.memory.resident_bytes, facts.snapshot.limit_bytes as u64);
        let is_met = resident > limit + limit / 4 + RESIDENT_BYTES_ALLOWED;
        is_met.then(|| format!("The process takes {} MiB, the limit for items is {} MiB.", resident >> 20, limit >> 20))
    }),
    row("authentication_failures", Severity::Warning, |facts, _| {
        let failures = facts.general.count("auth_errors");
        (failures > 0).then(|| format!("{failures} attempts to authenticate have failed."))
    }),
];

/// Certificates ending in fewer days are warned of.
const CERTIFICATE_DAYS_MIN: f64 = 14.0;
/// Share of `-c` that is warned of.
const CONNECTIONS_SHARE_MAX: f64 = 0.8;
/// Evictions of items used less than this long ago are warned of.
const EVICTED_AGE_SECONDS_MIN: u32 = 60;
/// What the process may take besides its items: program, buffers, connections.
const RESIDENT_BYTES_ALLOWED: u64 = 64 << 20;

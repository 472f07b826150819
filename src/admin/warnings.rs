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
    json.array("warnings", |json| {
        for (circumstance, text) in met(facts, health) {
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

/// Those that are met, the worst first, each with its sentence.
fn met(facts: &Facts<'_>, health: &Health) -> Vec<(&'static Circumstance, String)> {
    let mut met: Vec<_> = CIRCUMSTANCES
        .iter()
        .filter_map(|circumstance| Some((circumstance, (circumstance.text)(facts, health)?)))
        .collect();
    met.sort_by_key(|(circumstance, _)| circumstance.severity);
    met
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::admin::facts::Curtain;
    use crate::admin::{Address, Config};
    use crate::base::sync::Ordering;
    use crate::command::Service;
    use crate::stats::observation::WorkerObservation;
    use crate::store;

    fn service() -> Service {
        let mut service = Service::in_process(store::Config::default());
        service.observations = Some(vec![WorkerObservation::default().into()].into());
        service.connections.is_accepting.store(1, Ordering::Relaxed);
        service
    }

    fn config() -> Config {
        Config {
            address: Address::Internet("127.0.0.1:9150".parse().expect("an address")),
            is_remote_allowed: false,
            shows_keys: false,
            version: "0.0.1".to_owned(),
            default_settings: Vec::new(),
            start_id: "00".to_owned(),
            started_at_unix: 7,
        }
    }

    /// The codes and sentences of those that are met on a server to which nothing happened but this.
    fn warnings(happen: impl FnOnce(&Service, &mut Facts<'_>, &mut Health)) -> Vec<(&'static str, String)> {
        let (service, config) = (service(), config());
        let mut facts = Facts::gather(&service, &config, &Curtain::new(false)).expect("memory");
        // The process that tests may have grown, and been moved to swap.
        facts.memory = Default::default();
        let mut health = Health::default();
        happen(&service, &mut facts, &mut health);
        met(&facts, &health).into_iter().map(|(circumstance, text)| (circumstance.code, text)).collect()
    }

    type Happen = fn(&Service, &mut Facts<'_>, &mut Health, u64);

    /// A circumstance, what a value of it is, the first value at which it is met, its sentence then, and the last at which
    /// it is not.
    const EDGES: &[(&str, Happen, u64, &str, u64)] = &[
        (
            "worker_stalled",
            |service, _, health, seconds| {
                let turns = &service.observations.as_ref().expect("observations")[0].turns;
                turns.add(1);
                health.tick(1, service);
                (0..seconds).for_each(|_| health.tick(1, service));
            },
            5,
            "Worker 0 has not turned for 5 seconds.",
            4,
        ),
        (
            "not_accepting",
            |service, _, _, is_refusing| {
                service.connections.is_accepting.store(1 - is_refusing as u8, Ordering::Relaxed)
            },
            1,
            "No connections are accepted: the limit or the table of descriptors is reached.",
            0,
        ),
        (
            "certificate_ended",
            |_, facts, _, ago| facts.certificate_ends_at = Some(facts.now_unix() - ago as i64 + WELL_BEFORE),
            WELL_BEFORE as u64,
            "A certificate of the server has ended.",
            0,
        ),
        (
            "certificate_ends",
            |_, facts, _, ago| facts.certificate_ends_at = Some(facts.now_unix() + FORTNIGHT - ago as i64),
            1,
            "A certificate of the server ends in 14.0 days.",
            0,
        ),
        (
            "connections_near_limit",
            |_, facts, _, open| {
                facts.general.set("max_connections", 100);
                facts.general.set("curr_connections", open);
            },
            81,
            "81 of 100 connections are in use.",
            80,
        ),
        (
            "connections_rejected",
            |_, facts, _, count| facts.general.set("rejected_connections", count),
            1,
            "1 connections were refused because of -c or the table of descriptors.",
            0,
        ),
        (
            "no_memory",
            |_, facts, _, count| facts.general.set("store_no_memory", count),
            1,
            "1 stores were refused for want of memory.",
            0,
        ),
        (
            "short_lives",
            |_, facts, _, younger| {
                let class = &mut facts.snapshot.classes[3];
                class.counters.evicted = 1;
                class.evicted_time = 60 - younger as u32;
            },
            1,
            "Items are evicted 59 seconds after their last use: memory is short.",
            0,
        ),
        (
            "swapped",
            |_, facts, _, bytes| facts.memory.swapped_bytes = bytes,
            1 << 20,
            "1 MiB of the process are in swap, where reads take milliseconds.",
            (1 << 20) - 1,
        ),
        (
            "resident_over_limit",
            |_, facts, _, bytes| {
                facts.snapshot.limit_bytes = 400 << 20;
                facts.memory.resident_bytes = bytes;
            },
            (564 << 20) + 1,
            "The process takes 564 MiB, the limit for items is 400 MiB.",
            564 << 20,
        ),
        (
            "authentication_failures",
            |_, facts, _, count| facts.general.set("auth_errors", count),
            1,
            "1 attempts to authenticate have failed.",
            0,
        ),
    ];

    const FORTNIGHT: i64 = 14 * 86_400;
    /// So long before its end nobody is warned of a certificate.
    const WELL_BEFORE: i64 = 2 * FORTNIGHT;

    #[test]
    fn nothing_is_said_of_a_server_to_which_nothing_happened() {
        assert_eq!(warnings(|_, _, _| ()), []);
    }

    #[test]
    fn each_is_met_at_its_edge_and_not_before() {
        for &(code, happen, at, text, below) in EDGES {
            let met = warnings(|service, facts, health| happen(service, facts, health, at));
            assert_eq!(met, [(code, text.to_owned())], "{code} at {at}");
            let not_met = warnings(|service, facts, health| happen(service, facts, health, below));
            assert_eq!(not_met, [], "{code} at {below}");
        }
    }

    /// A row without an edge would be a warning that nobody has seen.
    #[test]
    fn every_circumstance_has_its_edge() {
        let tested: Vec<&str> = EDGES.iter().map(|edge| edge.0).collect();
        let known: Vec<&str> = CIRCUMSTANCES.iter().map(|circumstance| circumstance.code).collect();
        assert_eq!(tested, known);
    }

    #[test]
    fn a_certificate_ends_once() {
        let ending_in = |seconds: i64| {
            warnings(|_, facts, _| facts.certificate_ends_at = Some(facts.now_unix() + seconds))
                .into_iter()
                .map(|(code, _)| code)
                .collect::<Vec<_>>()
        };
        assert_eq!((ending_in(1), ending_in(0)), (vec!["certificate_ends"], vec!["certificate_ended"]));
    }

    #[test]
    fn a_server_that_stops_need_not_accept() {
        let met = warnings(|service, _, health| {
            service.connections.is_accepting.store(0, Ordering::Relaxed);
            health.stop();
        });
        assert_eq!(met, []);
    }

    #[test]
    fn the_worst_come_first() {
        let met = warnings(|service, facts, _| {
            facts.general.set("auth_errors", 2);
            facts.memory.swapped_bytes = 5 << 20;
            service.connections.is_accepting.store(0, Ordering::Relaxed);
        });
        let codes: Vec<&str> = met.iter().map(|(code, _)| *code).collect();
        assert_eq!(codes, ["not_accepting", "swapped", "authentication_failures"]);
    }
}

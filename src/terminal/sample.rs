//! One look at a node, and what happened between two looks.

use std::fs;
use std::time::{Duration, Instant};

use super::classes::Classes;
use super::connection::Connection;
use super::failure::Failure;
use super::statistics::Statistics;

/// What a node said at one moment.
#[derive(Clone, Debug)]
pub struct Sample {
    /// When the general statistics came.
    pub taken: Instant,
    /// From sending `version` to its answer: the network and a turn of the worker, nothing else.
    pub round_trip: Duration,
    /// `stats`.
    pub general: Statistics,
    /// `stats settings`.
    pub settings: Statistics,
    /// `stats slabs` and `stats items`.
    pub classes: Classes,
    /// Bytes that the node gave out as pages, `total_malloced`.
    pub paged_bytes: u64,
    /// Resident memory in bytes, where the node is a process of this machine.
    pub resident_bytes: Option<u64>,
}

impl Sample {
    /// Asks a node for everything. Five small requests; none is slow on a large cache.
    pub fn take(connection: &mut Connection) -> Result<Sample, Failure> {
        let sent = Instant::now();
        let line = connection.ask(b"version\r\n")?;
        let round_trip = sent.elapsed();
        if !line.starts_with(b"VERSION ") {
            return Err(connection.surprise(&line));
        }
        let settings = connection.stats("settings")?;
        let slabs = connection.stats("slabs")?;
        let items = connection.stats("items")?;
        let general = connection.stats("")?;
        let is_local = connection.address().is_local();
        let resident_bytes = general.number("pid").filter(|_| is_local).and_then(resident_bytes);
        Ok(Sample {
            taken: Instant::now(),
            round_trip,
            classes: Classes::of(&slabs, &items),
            paged_bytes: slabs.number("total_malloced").unwrap_or(0),
            general,
            settings,
            resident_bytes,
        })
    }

    /// A counter or a gauge of the general statistics; what is absent is 0.
    pub fn number(&self, name: &str) -> u64 {
        self.general.number(name).unwrap_or(0)
    }

    /// The version it gives.
    pub fn version(&self) -> &str {
        self.general.text("version").unwrap_or("?")
    }

    /// Connections as a share of the most there may be.
    pub fn connections_share(&self) -> f64 {
        share(self.number("curr_connections"), self.number("max_connections"))
    }

    /// Bytes of pages as a share of the memory limit.
    pub fn memory_share(&self) -> f64 {
        share(self.paged_bytes, self.number("limit_maxbytes"))
    }

    /// Hits as a share of all gets since the start; `None` before the first.
    pub fn hit_ratio(&self) -> Option<f64> {
        ratio(self.number("get_hits"), self.number("get_misses"))
    }
}

/// What happened per second between two samples.
#[derive(Clone, Copy, PartialEq, Debug, Default)]
pub struct Rates {
    /// All commands on keys.
    pub operations: f64,
    /// Keys looked up.
    pub gets: f64,
    /// Storage commands.
    pub sets: f64,
    /// Deletions, touches and arithmetic.
    pub others: f64,
    /// Hits as a share of the gets; `None` without gets.
    pub hit_ratio: Option<f64>,
    /// Items evicted.
    pub evictions: f64,
    /// Items whose time was over and whose memory was taken back.
    pub reclaimed: f64,
    /// Bytes received by the node.
    pub bytes_in: f64,
    /// Bytes sent by the node.
    pub bytes_out: f64,
    /// Connections made.
    pub connections: f64,
}

impl Rates {
    /// `None` if the node was restarted or its counters were reset in between.
    pub fn between(before: &Sample, after: &Sample) -> Option<Rates> {
        let seconds = after.taken.duration_since(before.taken).as_secs_f64();
        let is_same = before.number("pid") == after.number("pid")
            && MONOTONIC.iter().all(|name| before.number(name) <= after.number(name));
        if seconds <= 0.0 || !is_same {
            return None;
        }
        let grown = |names: &[&str]| after.general.sum(names).saturating_sub(before.general.sum(names));
        let rate = |names: &[&str]| grown(names) as f64 / seconds;
        let (gets, sets, others) = (rate(&["cmd_get"]), rate(&["cmd_set"]), rate(OTHERS));
        Some(Rates {
            operations: gets + sets + others,
            gets,
            sets,
            others,
            hit_ratio: ratio(grown(&["get_hits"]), grown(&["get_misses"])),
            evictions: rate(&["evictions"]),
            reclaimed: rate(&["reclaimed", "crawler_reclaimed"]),
            bytes_in: rate(&["bytes_read"]),
            bytes_out: rate(&["bytes_written"]),
            connections: rate(&["total_connections"]),
        })
    }
}

fn ratio(hits: u64, misses: u64) -> Option<f64> {
    let all = hits.saturating_add(misses);
    (all > 0).then(|| hits as f64 / all as f64)
}

fn share(part: u64, whole: u64) -> f64 {
    if whole == 0 { 0.0 } else { part as f64 / whole as f64 }
}

/// Resident memory of a process, if it is a cache daemon: a node in a container gives a process id that means another
/// process here.
fn resident_bytes(pid: u64) -> Option<u64> {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let field = |name: &str| status.lines().find_map(|line| line.strip_prefix(name)).map(str::trim);
    let name = field("Name:")?;
    if !name.starts_with("memcached") && !name.starts_with("slabstash") {
        return None;
    }
    let kibibytes: u64 = field("VmRSS:")?.split_whitespace().next()?.parse().ok()?;
    Some(kibibytes * 1024)
}

/// Commands on keys that neither read nor store values.
const OTHERS: &[&str] = &[
    "delete_hits",
    "delete_misses",
    "touch_hits",
    "touch_misses",
    "incr_hits",
    "incr_misses",
    "decr_hits",
    "decr_misses",
];

/// Counters that only a restart or a reset makes smaller.
const MONOTONIC: &[&str] = &["uptime", "cmd_get", "cmd_set", "evictions", "bytes_read", "bytes_written"];

/// A sample of recorded answers, for tests.
#[cfg(test)]
pub mod testing {
    use std::time::{Duration, Instant};

    use super::super::classes::Classes;
    use super::super::statistics::Statistics;
    use super::Sample;

    /// What a node said; `kind` is `memcached` or `slabstash`. `more` is added to the general statistics' counters by
    /// replacing those of the same name.
    pub fn sample(kind: &str, taken: Instant, more: &[(&str, u64)]) -> Sample {
        let [general, settings, slabs, items] = match kind {
            "memcached" => [
                include_str!("samples/memcached-general.txt"),
                include_str!("samples/memcached-settings.txt"),
                include_str!("samples/memcached-slabs.txt"),
                include_str!("samples/memcached-items.txt"),
            ],
            _ => [
                include_str!("samples/slabstash-general.txt"),
                include_str!("samples/slabstash-settings.txt"),
                include_str!("samples/slabstash-slabs.txt"),
                include_str!("samples/slabstash-items.txt"),
            ],
        };
        let mut text = String::new();
        for line in general.lines() {
            let name = line.split(' ').nth(1).unwrap_or_default();
            match more.iter().find(|(changed, _)| *changed == name) {
                Some((_, value)) => text.push_str(&format!("STAT {name} {value}\n")),
                None => text.push_str(&format!("{line}\n")),
            }
        }
        let slabs = Statistics::of(slabs);
        Sample {
            taken,
            round_trip: Duration::from_micros(250),
            general: Statistics::of(&text),
            settings: Statistics::of(settings),
            classes: Classes::of(&slabs, &Statistics::of(items)),
            paged_bytes: slabs.number("total_malloced").unwrap_or(0),
            resident_bytes: None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::testing::sample;
    use super::*;

    #[test]
    fn shares_are_of_the_limits() {
        for kind in ["memcached", "slabstash"] {
            let sample = sample(kind, Instant::now(), &[]);
            assert!(sample.memory_share() > 0.5 && sample.memory_share() < 3.0, "{}", sample.memory_share());
            assert!(sample.connections_share() > 0.0 && sample.connections_share() < 0.1);
            assert_eq!(sample.hit_ratio(), Some(1000.0 / 1200.0));
            assert_eq!(sample.version(), "1.6.45");
        }
        assert_eq!(share(1, 0), 0.0);
    }

    #[test]
    fn rates_are_per_second() {
        let start = Instant::now();
        let before = sample("memcached", start, &[("cmd_get", 100), ("get_hits", 50), ("delete_hits", 0)]);
        let after = sample(
            "memcached",
            start + Duration::from_secs(2),
            &[("cmd_get", 300), ("get_hits", 250), ("delete_hits", 10)],
        );
        let rates = Rates::between(&before, &after).expect("the same process");
        assert_eq!((rates.gets, rates.sets, rates.others, rates.operations), (100.0, 0.0, 5.0, 105.0));
        assert_eq!(rates.hit_ratio, Some(1.0));
        assert_eq!(Rates::between(&after, &before), None);
    }

    #[test]
    fn a_restart_or_a_reset_gives_no_rates() {
        let start = Instant::now();
        let later = start + Duration::from_secs(1);
        let before = sample("memcached", start, &[]);
        assert_eq!(Rates::between(&before, &sample("memcached", later, &[("pid", 1)])), None);
        assert_eq!(Rates::between(&before, &sample("memcached", later, &[("cmd_get", 0)])), None);
        assert!(Rates::between(&before, &sample("memcached", later, &[])).is_some());
    }
}

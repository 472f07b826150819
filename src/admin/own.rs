//! The metrics that memcached's exporter does not have, as rows: name, type, help text, and what is written. The order is
//! that of docs/metrics.md; a test compares the two.

use crate::stats::observation::{
    LATENCY_BUCKETS, Latencies, ObservedCommand, TTL_BOUNDS_SECONDS, latency_bound_micros,
};
use crate::stats::prefix::PrefixRow;
use crate::stats::sampled_prefixes::PrefixCounts;

use super::facts::{ClassFacts, Facts, Shown};
use super::text::{Kind, Text};

/// A metric.
struct Own {
    name: &'static str,
    kind: Kind,
    help: &'static str,
    write: fn(&mut Samples<'_>, &Facts<'_>),
}

/// Writes the samples of one metric, its head before the first of them.
struct Samples<'a> {
    own: &'static Own,
    text: &'a mut Text,
    has_head: bool,
}

impl Samples<'_> {
    fn begin(&mut self) {
        if !std::mem::replace(&mut self.has_head, true) {
            self.text.family(self.own.name, self.own.kind, self.own.help);
        }
    }

    fn add(&mut self, labels: &[(&str, &str)], value: f64) {
        self.begin();
        self.text.sample(self.own.name, labels, value);
    }

    fn one(&mut self, value: impl Into<Option<f64>>) {
        if let Some(value) = value.into() {
            self.add(&[], value);
        }
    }

    fn histogram(&mut self, labels: &[(&str, &str)], buckets: impl Iterator<Item = (f64, u64)>, sum: f64) {
        self.begin();
        self.text.histogram(self.own.name, labels, buckets, sum);
    }

    fn by_class(&mut self, facts: &Facts<'_>, value: impl Fn(&ClassFacts<'_>) -> Option<f64>) {
        for class in facts.classes() {
            if let Some(value) = value(&class) {
                self.add(&[("slab", &class.class.class.to_string())], value);
            }
        }
    }

    fn by_prefix(&mut self, facts: &Facts<'_>, value: fn(&PrefixRow) -> u64) {
        for (shown, row) in &facts.prefixes {
            self.shown(shown, "prefix", value(row) as f64);
        }
    }

    fn by_sampled_prefix(&mut self, facts: &Facts<'_>, value: fn(&PrefixCounts) -> u64) {
        for (shown, counts) in &facts.sampled.rows {
            self.shown(shown, "prefix", value(counts) as f64);
        }
        // No hash of a prefix is one of these words.
        self.add(&[("hash", "other")], value(&facts.sampled.others) as f64);
        self.add(&[("hash", "none")], value(&facts.sampled.without) as f64);
    }

    /// A sample of a key or prefix: by its hash, and by its name if that may be shown.
    fn shown(&mut self, shown: &Shown, label: &str, value: f64) {
        match &shown.name {
            Some(name) => self.add(&[("hash", &shown.hash), (label, name)], value),
            None => self.add(&[("hash", &shown.hash)], value),
        }
    }
}

/// Writes all that have something to say.
pub(super) fn write(facts: &Facts<'_>, text: &mut Text) {
    for own in OWN {
        (own.write)(&mut Samples { own, text, has_head: false }, facts);
    }
}

macro_rules! own {
    ($($name:ident $kind:ident $help:literal |$samples:ident, $facts:ident| $write:expr;)*) => {
        static OWN: &[Own] = &[$(Own {
            name: stringify!($name),
            kind: Kind::$kind,
            help: $help,
            write: |$samples, $facts| $write,
        },)*];
    };
}

own! {
    slabstash_info Gauge "The running program; always 1."
        |samples, facts| samples.add(
            &[("protocol_version", facts.general.text("version")), ("version", &facts.config.version)], 1.0);
    slabstash_start_time_seconds Gauge "Unix time at which the server started."
        |samples, facts| samples.one(facts.config.started_at_unix as f64);
    slabstash_command_duration_seconds Histogram
        "Time from the poll that reported a request to its reply; estimated from samples."
        |samples, facts| for (command, latencies) in commands(facts) {
            samples.histogram(&[("command", command.name())], coarse(latencies), latencies.nanos as f64 / 1e9);
        };
    slabstash_command_samples_total Counter "Requests whose time was taken."
        |samples, facts| for (command, latencies) in commands(facts) {
            samples.add(&[("command", command.name())], latencies.samples as f64);
        };
    slabstash_stored_value_bytes Histogram "Sizes of the values that were stored; estimated from samples."
        |samples, facts| samples.histogram(&[], sizes(facts), facts.stored.size_sum as f64);
    slabstash_stored_ttl_seconds Histogram
        "Times to live of the values that were stored, those without one left out; estimated from samples."
        |samples, facts| samples.histogram(&[], ttls(facts), facts.stored.ttl_sum as f64);
    slabstash_stored_without_ttl_total Counter "Values stored that never expire; estimated from samples."
        |samples, facts| samples.one(facts.stored.without_ttl as f64);
    slabstash_hot_key_requests_per_second Gauge
        "How often the hottest keys are asked for, at most 16; estimated from samples."
        |samples, facts| for (shown, hot) in &facts.hot_keys {
            samples.shown(shown, "key", hot.per_second);
        };
    slabstash_prefix_gets_total Counter "Keys looked up by prefix, while `stats detail` counts; the 100 busiest."
        |samples, facts| samples.by_prefix(facts, |row| row.gets);
    slabstash_prefix_hits_total Counter "Keys found by prefix, while `stats detail` counts; the 100 busiest."
        |samples, facts| samples.by_prefix(facts, |row| row.hits);
    slabstash_prefix_sets_total Counter "Storage commands by prefix, while `stats detail` counts; the 100 busiest."
        |samples, facts| samples.by_prefix(facts, |row| row.sets);
    slabstash_prefix_deletes_total Counter "Deletes by prefix, while `stats detail` counts; the 100 busiest."
        |samples, facts| samples.by_prefix(facts, |row| row.deletes);
    slabstash_sampled_prefix_gets_total Counter "Keys looked up by prefix, the 100 busiest and the others together; estimated from samples."
        |samples, facts| samples.by_sampled_prefix(facts, |counts| counts.gets);
    slabstash_sampled_prefix_hits_total Counter "Keys found by prefix; estimated from samples."
        |samples, facts| samples.by_sampled_prefix(facts, |counts| counts.hits);
    slabstash_sampled_prefix_sets_total Counter "Storage commands by prefix; estimated from samples."
        |samples, facts| samples.by_sampled_prefix(facts, |counts| counts.sets);
    slabstash_sampled_prefix_stored_bytes_total Counter "Bytes of the values of these; estimated from samples."
        |samples, facts| samples.by_sampled_prefix(facts, |counts| counts.stored_bytes);
    slabstash_sampled_prefix_deletes_total Counter "Deletes by prefix; estimated from samples."
        |samples, facts| samples.by_sampled_prefix(facts, |counts| counts.deletes);
    slabstash_connections Gauge "Open connections by the listener that they came in by."
        |samples, facts| for (address, count) in &facts.listeners {
            samples.add(&[("listener", address)], *count as f64);
        };
    slabstash_idle_connections_closed_total Counter "Connections closed by idle_timeout."
        |samples, facts| samples.one(facts.general.number("idle_kicks"));
    slabstash_accepting_stopped_seconds_total Counter "Time during which no connections were accepted."
        |samples, facts| samples.one(facts.general.number("time_in_listen_disabled_us").map(|micros| micros / 1e6));
    slabstash_authentications_total Counter "Attempts to authenticate."
        |samples, facts| samples.one(facts.general.number("auth_cmds"));
    slabstash_authentication_failures_total Counter "Failed attempts to authenticate, by cause."
        |samples, facts| for cause in ["credentials", "malformed", "mechanism", "busy", "memory", "command"] {
            if let Some(count) = facts.general.number(&format!("auth_failed_{cause}")) {
                samples.add(&[("cause", cause)], count);
            }
        };
    slabstash_worker_loop_turns_total Counter "Turns of a worker's loop; one that stands still for seconds is stuck."
        |samples, facts| for (worker, observation) in facts.service.observations.iter().flatten().enumerate() {
            samples.add(&[("worker", &worker.to_string())], observation.turns.value() as f64);
        };
    slabstash_resident_memory_bytes Gauge "Physical memory of the process."
        |samples, facts| samples.one(facts.memory.resident_bytes as f64);
    slabstash_swapped_memory_bytes Gauge "Memory of the process that was moved out to swap."
        |samples, facts| samples.one(facts.memory.swapped_bytes as f64);
    slabstash_index_bytes Gauge "Memory of the index of keys."
        |samples, facts| samples.one(facts.snapshot.hash_bytes as f64);
    slabstash_free_pages Gauge "Pages that belong to no slab class."
        |samples, facts| samples.one(facts.snapshot.pool_pages as f64);
    slabstash_pages_moved_total Counter "Pages moved from one slab class to another."
        |samples, facts| samples.one(facts.general.number("slabs_moved"));
    slabstash_slab_item_bytes Gauge "Keys and values of the items of a slab class."
        |samples, facts| samples.by_class(facts, |class| Some(class.items_bytes as f64));
    slabstash_slab_free_bytes Gauge "Memory of a slab class that is ready to be used."
        |samples, facts| samples.by_class(facts, |class| Some(class.free_bytes as f64));
    slabstash_slab_wasted_bytes Gauge "Memory of a slab class that is neither keys and values nor free."
        |samples, facts| samples.by_class(facts, |class| Some(class.wasted_bytes as f64));
    slabstash_slab_oldest_item_seconds Gauge "Time since the last use of the item of a slab class that was not used for longest."
        |samples, facts| samples.by_class(facts, |class| class.oldest_seconds.map(f64::from));
    slabstash_oldest_item_seconds Gauge "Time since the last use of the item that was not used for longest."
        |samples, facts| samples.one(facts.oldest_seconds().map(f64::from));
    slabstash_evicted_item_seconds Gauge
        "Time since its last use when the last item was evicted, in the slab class where that is greatest."
        |samples, facts| samples.one(facts.evicted_age_seconds().map(f64::from));
    slabstash_evicted_unfetched_total Counter "Items evicted that were never fetched."
        |samples, facts| samples.one(facts.general.number("evicted_unfetched"));
    slabstash_expired_unfetched_total Counter "Items expired that were never fetched."
        |samples, facts| samples.one(facts.general.number("expired_unfetched"));
    slabstash_certificate_end_time_seconds Gauge "Unix time at which the first of the server's certificates ends."
        |samples, facts| samples.one(facts.certificate_ends_at.map(|end| end as f64));
    slabstash_tls_handshake_errors_total Counter "TLS handshakes that failed."
        |samples, facts| samples.one(facts.general.number("ssl_handshake_errors"));
    slabstash_tls_errors_total Counter "TLS connections that failed after the handshake."
        |samples, facts| samples.one(facts.general.number("ssl_proto_errors"));
}

/// The commands that were seen, with their latencies.
fn commands<'a>(facts: &'a Facts<'_>) -> impl Iterator<Item = (ObservedCommand, &'a Latencies)> {
    let commands = ObservedCommand::ALL.iter().copied().zip(&facts.latencies);
    commands.filter(|(_, latencies)| latencies.samples > 0)
}

/// One bucket for each doubling from a microsecond on: bounds in seconds.
fn coarse(latencies: &Latencies) -> impl Iterator<Item = (f64, u64)> {
    let mut sum = 0;
    let buckets = latencies.buckets.iter().enumerate();
    buckets.filter_map(move |(bucket, count)| {
        sum += count;
        let micros = latency_bound_micros(bucket);
        let is_bound = bucket == LATENCY_BUCKETS - 1
            || (micros >= 1.0 && (micros as u64).is_power_of_two() && micros.fract() == 0.0);
        is_bound.then(|| (micros / 1e6, std::mem::take(&mut sum)))
    })
}

fn sizes(facts: &Facts<'_>) -> impl Iterator<Item = (f64, u64)> {
    let finite = facts.stored.sizes.iter().enumerate().map(|(power, &count)| ((1u64 << power) as f64, count));
    finite.chain([(f64::INFINITY, 0)])
}

fn ttls(facts: &Facts<'_>) -> impl Iterator<Item = (f64, u64)> {
    let bounds = TTL_BOUNDS_SECONDS.iter().map(|&bound| bound as f64).chain([f64::INFINITY]);
    bounds.zip(facts.stored.ttls)
}

/// Names and types of all rows, for the documentation's test.
#[cfg(test)]
pub(super) fn names() -> impl Iterator<Item = (&'static str, &'static str)> {
    OWN.iter().map(|own| (own.name, own.kind.name()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stats::observation::LatencyHistogram;
    use std::time::Duration;

    #[test]
    fn coarse_buckets_lose_nothing() {
        let histogram = LatencyHistogram::default();
        for micros in [0, 1, 3, 5, 1000, 1023, 1024, 100_000_000] {
            histogram.record(Duration::from_micros(micros), 1);
        }
        let mut latencies = Latencies::default();
        latencies.read(&histogram);
        let buckets: Vec<(f64, u64)> = coarse(&latencies).collect();
        assert_eq!(buckets.len(), 26);
        assert_eq!(buckets[0], (0.000_001, 1));
        assert_eq!(buckets[1], (0.000_002, 1));
        assert_eq!(buckets[2], (0.000_004, 1));
        assert_eq!(buckets[3], (0.000_008, 1));
        assert_eq!(buckets[10], (0.001_024, 2));
        assert_eq!(buckets[11], (0.002_048, 1));
        assert_eq!(buckets[24].0, 16.777_216);
        assert_eq!(buckets[25], (f64::INFINITY, 1));
    }
}

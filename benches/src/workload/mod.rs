//! The workloads: one row each in [`ALL`], one file per family. A workload says what servers it wants, prepares them
//! once, and turns a round on one server into figures; the runner decides about order and number of the rounds.

mod binary;
mod closed;
mod connect;
mod density;
mod get;
mod idle;
mod large;
mod meta;
mod multiget;
mod observed;
mod open;
mod regimes;
mod replay;
mod set;
mod shift;
mod tls;
mod two_workers;

use std::path::PathBuf;
use std::time::Duration;

use crate::error::Error;
use crate::load::client::Outcome;
use crate::machine::Placement;
use crate::metric::{Metric, Sample};
use crate::server::meter::{Cost, Counters};
use crate::server::{Launch, Server, Shape};

/// Something to measure.
pub trait Workload {
    /// Reads what it needs from disk; called once, before anything else.
    fn read(&mut self) -> Result<(), Error> {
        Ok(())
    }

    /// What servers it wants.
    fn shape(&self) -> Shape;

    /// Whether each round wants a server that has just been started; such a workload is not prepared.
    fn is_fresh_per_round(&self) -> bool {
        false
    }

    /// Whether it measures operations one by one, so that their instructions can be counted under callgrind.
    fn is_countable(&self) -> bool {
        false
    }

    /// The figure that the plot compares.
    fn headline(&self) -> Metric {
        Metric::CpuTime
    }

    /// Fills the servers, all of which run. The last one is the reference.
    fn prepare(&mut self, _servers: &[Server], _round: &Round) -> Result<(), Error> {
        Ok(())
    }

    /// Loads one server while the others are idle.
    fn round(&mut self, server: &Server, round: &Round) -> Result<Sample, Error>;
}

/// The circumstances of a round.
pub struct Round {
    /// How long to load before it counts.
    pub warm_up: Duration,
    /// How long it counts.
    pub time: Duration,
    /// Whether perf can count.
    pub counters: Counters,
    /// Who has which cores.
    pub placement: Placement,
}

/// What can be changed about workloads from the command line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Parameters {
    /// Items of a workload whose items fit in the processor's cache, or nearly.
    pub keys: u64,
    /// Items of the workload whose items do not.
    pub cold_keys: u64,
    /// The size of values, but for workloads about sizes.
    pub value_bytes: usize,
    /// In place of each workload's own number of connections.
    pub connections: Option<usize>,
    /// In place of each workload's own number of requests per batch.
    pub depth: Option<u64>,
    /// Requests per second of the open-loop workloads, in place of a share of what the reference reaches.
    pub rate: Option<u64>,
    /// Large values per second beside the streaming variants of those.
    pub stream_rate: u64,
    /// Connections of `idle`.
    pub idle_connections: usize,
    /// `-m` of the density workloads.
    pub density_mib: u64,
    /// The folder of the traces of `replay`.
    pub traces: Option<PathBuf>,
    /// MiB that a share of a trace's footprint is to be.
    pub replay_mib: u64,
    /// `-m` of the workload of changing sizes.
    pub regimes_mib: u64,
    /// `-m` of the workload whose values become larger.
    pub shift_mib: u64,
    /// How long that one waits for the hit ratio to come back.
    pub shift_seconds: u64,
}

impl Default for Parameters {
    fn default() -> Parameters {
        Parameters {
            keys: 100_000,
            cold_keys: 1_000_000,
            value_bytes: 100,
            connections: None,
            depth: None,
            rate: None,
            stream_rate: 200,
            idle_connections: 10_000,
            density_mib: 256,
            traces: None,
            replay_mib: 64,
            regimes_mib: 64,
            shift_mib: 256,
            shift_seconds: 60,
        }
    }
}

impl Parameters {
    /// Small enough for a look whether everything works.
    pub fn quick() -> Parameters {
        Parameters {
            keys: 10_000,
            cold_keys: 100_000,
            idle_connections: 500,
            density_mib: 16,
            replay_mib: 1,
            regimes_mib: 16,
            shift_mib: 16,
            shift_seconds: 1,
            ..Parameters::default()
        }
    }

    fn connections_or(&self, own: usize) -> usize {
        self.connections.unwrap_or(own)
    }

    fn depth_or(&self, own: u64) -> u64 {
        self.depth.unwrap_or(own)
    }
}

/// How a workload is called and made.
pub struct Entry {
    /// What `--workload` takes.
    pub name: &'static str,
    /// One line for `--list` and the report.
    pub summary: &'static str,
    /// Makes it.
    pub build: fn(&Parameters) -> Box<dyn Workload>,
}

/// Every workload, in the order of a run.
pub const ALL: &[Entry] = &[
    row("get-1", "50 connections, one get each", get::one),
    row("set-1", "50 connections, one set each", set::one),
    row("get-pipelined", "20 connections x 50 gets", get::pipelined),
    row("set-pipelined", "20 connections x 50 sets", set::pipelined),
    row("multiget-50", "20 connections, one get of 50 keys each", multiget::fifty),
    row("mg-pipelined", "20 connections x 50 mg with value", meta::pipelined),
    row("binary-getq-pipelined", "20 connections x 50 GETQ and a NOOP", binary::pipelined),
    row("get-cold", "20 connections x 50 gets over many items", get::cold),
    row("get-64k", "8 connections, one get of 64 KiB each", large::get_64k),
    row("set-64k", "8 connections, one set of 64 KiB each", large::set_64k),
    row("get-1m", "8 connections, one get of 1 MiB each", large::get_1m),
    row("set-1m", "8 connections, one set of 1 MiB each", large::set_1m),
    row("connect-get-close", "8 times at once: connect, get, close", connect::get_close),
    row("get-1-tls", "50 encrypted connections, one get each", tls::one),
    row("get-pipelined-tls", "20 encrypted connections x 50 gets", tls::pipelined),
    row("get-64k-tls", "8 encrypted connections, one get of 64 KiB each", tls::get_64k),
    row("set-64k-tls", "8 encrypted connections, one set of 64 KiB each", tls::set_64k),
    row("connect-get-close-tls", "8 times at once: connect, handshake, get, close", tls::connect_get_close),
    row("idle", "memory of connections that have asked once", idle::connections),
    row("density-10", "items held, 10-byte values", |p| density::fixed(p, 10)),
    row("density-100", "items held, 100-byte values", |p| density::fixed(p, 100)),
    row("density-500", "items held, 500-byte values", |p| density::fixed(p, 500)),
    row("density-4000", "items held, 4000-byte values", |p| density::fixed(p, 4000)),
    row("density-mixed", "items held, 8 to 8192-byte values", density::mixed),
    row("regimes", "six ranges of value sizes in turn", regimes::six),
    row("shift", "values become ten times as large, look-aside", shift::small_to_large),
    row("two-workers-uniform", "two workers, 20 x 50 gets of any key", two_workers::uniform),
    row("two-workers-hot", "two workers, 20 x 50 gets of one key", two_workers::hot),
    row("get-1-observed", "get-1 with the admin listener and a scraper", observed::one),
    row("get-pipelined-observed", "get-pipelined with the same", observed::pipelined),
    row("open-50", "open loop at 50 % of the reference, 90/10", open::half),
    row("open-80", "open loop at 80 % of the reference, 90/10", open::four_fifths),
    row("open-50-streaming", "open-50 with 1 MiB values beside it", open::half_streaming),
    row("open-80-streaming", "open-80 with 1 MiB values beside it", open::four_fifths_streaming),
    row("replay-twitter-1", "hit ratio, Twitter cluster 52, memory for 1 %", |p| replay::share(p, "twitter", 1)),
    row("replay-twitter-10", "hit ratio, Twitter cluster 52, memory for 10 %", |p| replay::share(p, "twitter", 10)),
    row("replay-twitter-30", "hit ratio, Twitter cluster 52, memory for 30 %", |p| replay::share(p, "twitter", 30)),
    row("replay-orm-1", "hit ratio, objects of a shop, memory for 1 %", |p| replay::share(p, "orm", 1)),
    row("replay-orm-10", "hit ratio, objects of a shop, memory for 10 %", |p| replay::share(p, "orm", 10)),
    row("replay-orm-30", "hit ratio, objects of a shop, memory for 30 %", |p| replay::share(p, "orm", 30)),
    row("replay-web-1", "hit ratio, pages of a shop, memory for 1 %", |p| replay::share(p, "web", 1)),
    row("replay-web-10", "hit ratio, pages of a shop, memory for 10 %", |p| replay::share(p, "web", 10)),
    row("replay-web-30", "hit ratio, pages of a shop, memory for 30 %", |p| replay::share(p, "web", 30)),
    row("replay-loop-1", "hit ratio, a loop, memory for 1 %", |p| replay::share(p, "loop", 1)),
    row("replay-loop-10", "hit ratio, a loop, memory for 10 %", |p| replay::share(p, "loop", 10)),
    row("replay-loop-30", "hit ratio, a loop, memory for 30 %", |p| replay::share(p, "loop", 30)),
    row("replay-multi-1", "hit ratio, several programs, memory for 1 %", |p| replay::share(p, "multi", 1)),
    row("replay-multi-10", "hit ratio, several programs, memory for 10 %", |p| replay::share(p, "multi", 10)),
    row("replay-multi-30", "hit ratio, several programs, memory for 30 %", |p| replay::share(p, "multi", 30)),
    row("replay-generated-10", "hit ratio, a generated trace, memory for 10 %", |p| replay::share(p, "generated", 10)),
];

impl Entry {
    /// Whether it replays a file that `--traces` has to point to.
    pub fn needs_traces(&self) -> bool {
        self.name.starts_with("replay-") && !self.name.starts_with("replay-generated-")
    }
}

const fn row(name: &'static str, summary: &'static str, build: fn(&Parameters) -> Box<dyn Workload>) -> Entry {
    Entry { name, summary, build }
}

/// The workloads of a name, or of a family: `density` means all that begin with `density-`.
pub fn named(name: &str) -> Vec<&'static Entry> {
    let exact: Vec<_> = ALL.iter().filter(|entry| entry.name == name).collect();
    if !exact.is_empty() {
        return exact;
    }
    let is_member = |entry: &&Entry| entry.name.strip_prefix(name).is_some_and(|rest| rest.starts_with('-'));
    ALL.iter().filter(is_member).collect()
}

/// The figures that every load yields.
fn sample(outcome: &Outcome, cost: &Cost, server: &Server) -> Result<Sample, Error> {
    if outcome.operations == 0 {
        return Err(server.failure("not one operation in the whole round".to_string()));
    }
    let operations = outcome.operations as f64;
    let nanoseconds = outcome.elapsed.as_nanos() as f64;
    let mut sample: Sample = cost.counts.iter().map(|&(metric, count)| (metric, count / operations)).collect();
    if server.binary.launch == Launch::Callgrind {
        // Its times and its memory are callgrind's.
        return Ok(sample);
    }
    sample.insert(Metric::OperationRate, operations * 1e9 / nanoseconds);
    sample.insert(Metric::CpuTime, cost.cpu_nanoseconds as f64 / operations);
    sample.insert(Metric::Busy, cost.cpu_nanoseconds as f64 / nanoseconds);
    for (metric, quantile) in [(Metric::P50, 0.5), (Metric::P99, 0.99), (Metric::P999, 0.999)] {
        sample.insert(metric, outcome.latency.value_at_quantile(quantile) as f64);
    }
    sample.insert(Metric::ResidentMemory, server.resident_bytes()? as f64);
    Ok(sample)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_unique_and_every_workload_can_be_made() {
        for (index, entry) in ALL.iter().enumerate() {
            assert!(ALL[..index].iter().all(|other| other.name != entry.name), "{}", entry.name);
            let shape = (entry.build)(&Parameters::quick()).shape();
            assert!(shape.workers >= 1 && shape.memory_mib >= 16, "{}", entry.name);
        }
    }

    #[test]
    fn names_and_families() {
        let names = |name| named(name).iter().map(|entry| entry.name).collect::<Vec<_>>();
        assert_eq!(names("get-1"), ["get-1"]);
        assert_eq!(names("open-50"), ["open-50"]);
        assert_eq!(names("open"), ["open-50", "open-80", "open-50-streaming", "open-80-streaming"]);
        assert_eq!(names("density").len(), 5);
        assert_eq!(names("two-workers").len(), 2);
        assert!(names("dens").is_empty());
        assert!(names("").is_empty());
    }
}

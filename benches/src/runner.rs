//! The order of a run: workload by workload, round by round, server by server (A, B, A, B, ...), so that what happens to
//! the machine meanwhile happens to all servers. A line per round on standard error says how far it is.

use crate::error::Error;
use crate::machine::{self, Placement};
use crate::metric::{Metric, Sample};
use crate::options::Options;
use crate::server::meter::Counters;
use crate::server::{Binary, Server, Shape};
use crate::valgrind;
use crate::workload::{Entry, Round};

/// What a workload gave.
pub struct Measured {
    /// Which workload.
    pub name: &'static str,
    /// The figure for the plot.
    pub headline: Metric,
    /// Whether server and client had to share cores.
    pub is_shared: bool,
    /// By server, in the order of the command line, and round.
    pub samples: Vec<Vec<Sample>>,
}

/// What a run gave, complete or not.
pub struct Run {
    /// The names of the servers, the reference last, each with its program and version.
    pub servers: Vec<(String, String)>,
    /// The workloads that came to their end.
    pub measured: Vec<Measured>,
    /// What ended the run early.
    pub failure: Option<Error>,
}

/// Runs all workloads asked for.
pub fn run(options: &Options, binaries: &[Binary]) -> Result<Run, Error> {
    machine::raise_open_files();
    let entries = options.entries();
    let mut runner = Runner {
        options,
        binaries,
        cores: machine::cores()?,
        counters: if options.is_callgrind() { Counters::Callgrind } else { Counters::detect() },
        versions: vec![String::new(); binaries.len()],
        step: 0,
        steps: entries.len() * options.rounds * binaries.len(),
    };
    let mut measured = Vec::new();
    let mut failure = None;
    for entry in entries {
        match runner.workload(entry) {
            Ok(result) => measured.extend(result),
            Err(error) => {
                failure = Some(error);
                break;
            }
        }
    }
    let names = binaries.iter().map(|binary| binary.name.clone());
    Ok(Run { servers: names.zip(runner.versions).collect(), measured, failure })
}

struct Runner<'a> {
    options: &'a Options,
    binaries: &'a [Binary],
    cores: Vec<usize>,
    counters: Counters,
    versions: Vec<String>,
    step: usize,
    steps: usize,
}

impl Runner<'_> {
    /// `None` if it is left out.
    fn workload(&mut self, entry: &Entry) -> Result<Option<Measured>, Error> {
        let mut workload = (entry.build)(&self.options.parameters);
        if self.options.is_callgrind() && !workload.is_countable() {
            self.steps -= self.options.rounds * self.binaries.len();
            eprintln!("{} {}: left out, its figures are no instructions", self.percentage(), entry.name);
            return Ok(None);
        }
        let headline = if self.options.is_callgrind() { Metric::UserInstructions } else { workload.headline() };
        workload.read().map_err(Error::during(entry.name.to_string()))?;
        let shape = workload.shape();
        let round = Round {
            warm_up: self.options.warm_up,
            time: self.options.time,
            counters: self.counters,
            placement: Placement::new(&self.cores, shape.workers),
        };
        let is_fresh = workload.is_fresh_per_round();
        let mut servers = Vec::new();
        eprintln!("{} {}: {}", self.percentage(), entry.name, entry.summary);
        if !is_fresh {
            for index in 0..self.binaries.len() {
                servers.push(self.start(index, &shape, &round.placement)?);
            }
            workload.prepare(&servers, &round).map_err(Error::during(format!("{}, preparing", entry.name)))?;
        }
        let mut samples = vec![Vec::new(); self.binaries.len()];
        for number in 1..=self.options.rounds {
            for (index, samples) in samples.iter_mut().enumerate() {
                let fresh = match is_fresh {
                    true => Some(self.start(index, &shape, &round.placement)?),
                    false => None,
                };
                let server = fresh.as_ref().unwrap_or_else(|| &servers[index]);
                let sample = workload
                    .round(server, &round)
                    .map_err(Error::during(format!("{} on {}", entry.name, server.binary.name)))?;
                self.step += 1;
                eprintln!(
                    "{} {}, round {number} of {}, {}: {}",
                    self.percentage(),
                    entry.name,
                    self.options.rounds,
                    server.binary.name,
                    summary(&sample, headline),
                );
                if let (true, Some(folder)) = (self.options.is_callgrind(), &self.options.output) {
                    let name = format!("callgrind.{}.{}", entry.name, server.binary.name);
                    valgrind::keep_dump(server.id(), &folder.join(name))?;
                }
                samples.push(sample);
            }
        }
        let is_shared = round.placement.is_shared();
        Ok(Some(Measured { name: entry.name, headline, is_shared, samples }))
    }

    fn start(&mut self, index: usize, shape: &Shape, placement: &Placement) -> Result<Server, Error> {
        let server = Server::start(&self.binaries[index], shape, placement)?;
        self.versions[index] = server.version.clone();
        Ok(server)
    }

    fn percentage(&self) -> String {
        format!("[{:>3} %]", self.step * 100 / self.steps.max(1))
    }
}

/// The rate, if there is one, and the headline.
fn summary(sample: &Sample, headline: Metric) -> String {
    let shown: Vec<String> = [Metric::OperationRate, headline]
        .iter()
        .filter_map(|metric| {
            let description = metric.description();
            Some(format!("{} {}", description.format(*sample.get(metric)?), description.title))
        })
        .collect();
    shown.join(", ")
}

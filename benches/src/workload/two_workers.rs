//! Two workers that share the items: how much does a second core bring, when they ask for different items and when they
//! all ask for the same one? Only on four cores or more do the server's two and the client's two stay apart.
//!
//! Beside each server one with a single worker is started, on the same cores, and gets the same load in every round: what
//! an operation costs two workers over what it costs one is the price of sharing, whatever the cores.

use crate::error::Error;
use crate::load::data::Data;
use crate::load::request;
use crate::load::source::{Drawn, Source};
use crate::metric::{Metric, Sample, cost};
use crate::server::{Server, Shape};
use crate::workload::closed::Closed;
use crate::workload::{Parameters, Round, Workload};

/// Any of the items.
pub fn uniform(parameters: &Parameters) -> Box<dyn Workload> {
    gets(parameters, parameters.keys)
}

/// One and the same item.
pub fn hot(parameters: &Parameters) -> Box<dyn Workload> {
    gets(parameters, 1)
}

fn gets(parameters: &Parameters, asked: u64) -> Box<dyn Workload> {
    let data = Data::short(parameters.keys, parameters.value_bytes);
    let depth = parameters.depth_or(50);
    let source = move |seed| -> Box<dyn Source> {
        Box::new(Drawn::new(seed, move |random, batch| {
            for _ in 0..depth {
                request::get(&data, random.below(asked), batch);
            }
        }))
    };
    let mut pair = Closed::new(data, parameters.connections_or(20), Box::new(source));
    pair.shape = Shape { workers: 2, ..pair.shape };
    Box::new(TwoWorkers { pair, singles: Vec::new() })
}

struct TwoWorkers {
    /// The load, and the shape of the servers with two workers.
    pair: Closed,
    /// The servers with one.
    singles: Vec<Server>,
}

impl Workload for TwoWorkers {
    fn shape(&self) -> Shape {
        self.pair.shape
    }

    fn prepare(&mut self, servers: &[Server], round: &Round) -> Result<(), Error> {
        let shape = Shape { workers: 1, ..self.pair.shape };
        for server in servers {
            self.singles.push(Server::start(&server.binary, &shape, &round.placement)?);
        }
        self.pair.prepare(servers, round)?;
        self.pair.prepare(&self.singles, round)
    }

    fn round(&mut self, server: &Server, round: &Round) -> Result<Sample, Error> {
        let single = self.singles.iter().find(|single| single.binary == server.binary);
        let single = single.ok_or_else(|| server.failure("it has no twin with one worker".to_string()))?;
        let alone = self.pair.round(single, round)?;
        let mut sample = self.pair.round(server, round)?;
        if let (Some(pair), Some(single)) = (cost(&sample), cost(&alone)) {
            sample.insert(Metric::WorkerCost, pair / single);
        }
        Ok(sample)
    }
}

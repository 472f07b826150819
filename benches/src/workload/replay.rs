//! Hit ratio: a trace is replayed look-aside against a fresh server whose memory limit is a share of the trace's
//! footprint. See [`crate::replay`].
//!
//! The replay runs as fast as the server answers, so times to live are left out, and what a server does once a second it
//! does more rarely than it would; the replay in process has the trace's own time.

use crate::error::Error;
use crate::metric::{Metric, Sample};
use crate::replay::client::Client;
use crate::replay::plan::{Plan, SOURCES, Source};
use crate::server::meter::Meter;
use crate::server::{Server, Shape};
use crate::workload::{Parameters, Round, Workload};

/// The trace of this name at a share of its footprint in percent.
pub fn share(parameters: &Parameters, name: &str, percent: u64) -> Box<dyn Workload> {
    let source = SOURCES.iter().find(|source| source.name == name).expect("a test makes every workload");
    Box::new(Replay { source, percent, parameters: parameters.clone(), plan: None })
}

struct Replay {
    source: &'static Source,
    percent: u64,
    parameters: Parameters,
    plan: Option<Plan>,
}

impl Workload for Replay {
    fn read(&mut self) -> Result<(), Error> {
        let Parameters { traces, replay_mib, .. } = &self.parameters;
        let plan = Plan::load(self.source, traces.as_deref(), self.percent, *replay_mib);
        self.plan = Some(plan.map_err(Error::system("read a trace"))?);
        Ok(())
    }

    fn shape(&self) -> Shape {
        let memory_mib = self.plan.as_ref().map(|plan| plan.memory_mib(self.percent));
        Shape { memory_mib: memory_mib.unwrap_or(Shape::default().memory_mib), ..Shape::default() }
    }

    fn is_fresh_per_round(&self) -> bool {
        true
    }

    fn headline(&self) -> Metric {
        Metric::MissShare
    }

    fn round(&mut self, server: &Server, round: &Round) -> Result<Sample, Error> {
        let limit_bytes = (self.shape().memory_mib << 20) as f64;
        let Some(plan) = &self.plan else {
            return Err(server.failure("the trace has not been read".to_string()));
        };
        let meter = Meter::start(server.id(), round.counters)?;
        let mut client = Client::connect(server.address).map_err(Error::system("connect"))?;
        let tally = client.replay(plan).map_err(Error::system("replay"))?;
        let cost = meter.stop()?;
        let resident = server.resident_bytes()? as f64;
        let gets = tally.gets.max(1) as f64;
        let mut sample = Sample::new();
        sample.insert(Metric::CpuTime, cost.cpu_nanoseconds as f64 / gets);
        sample.insert(Metric::MissShare, tally.misses as f64 / gets);
        sample.insert(
            Metric::Items,
            server.control()?.stat("curr_items").map_err(Error::system("ask for the items"))? as f64,
        );
        sample.insert(Metric::Refused, tally.refused as f64 * 1e6 / gets);
        sample.insert(Metric::LimitShare, resident / limit_bytes);
        sample.insert(Metric::ResidentMemory, resident);
        Ok(sample)
    }
}

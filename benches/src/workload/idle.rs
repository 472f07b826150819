//! Connections that have asked once and then wait: what does the server keep for each? Only its own memory shows; the
//! kernel's sockets are the same for every server.

use crate::error::Error;
use crate::load::batch::Batch;
use crate::load::client::{Client, Lifetime};
use crate::load::data::Data;
use crate::load::request;
use crate::load::source::{Source, Step};
use crate::machine;
use crate::metric::{Metric, Sample};
use crate::server::{Server, Shape};
use crate::workload::{Parameters, Round, Workload, closed};

/// As many as the limit of open files allows, up to `--idle-connections`.
pub fn connections(parameters: &Parameters) -> Box<dyn Workload> {
    let room = machine::raise_open_files().saturating_sub(SPARE_FILES);
    let connections = parameters.idle_connections.min(room as usize);
    Box::new(Idle { connections, data: Data::short(100, parameters.value_bytes) })
}

struct Idle {
    connections: usize,
    data: Data,
}

impl Workload for Idle {
    fn shape(&self) -> Shape {
        Shape { connections_max: self.connections + 100, memory_mib: 64, ..Shape::default() }
    }

    fn is_fresh_per_round(&self) -> bool {
        true
    }

    fn headline(&self) -> Metric {
        Metric::ConnectionBytes
    }

    fn round(&mut self, server: &Server, round: &Round) -> Result<Sample, Error> {
        closed::fill(server, &self.data)?;
        let before = server.resident_bytes()?;
        let mut client = Client::connect(server.address, self.connections, Lifetime::Kept)?;
        let mut source = Once { data: self.data, asked: vec![false; self.connections] };
        client.run(&mut source, round.time)?;
        let after = server.resident_bytes()?;
        let growth = after as f64 - before as f64;
        let mut sample = Sample::new();
        sample.insert(Metric::ConnectionBytes, growth / self.connections as f64);
        sample.insert(Metric::ResidentMemory, after as f64);
        Ok(sample)
    }
}

/// One get per connection.
struct Once {
    data: Data,
    asked: Vec<bool>,
}

impl Source for Once {
    fn fill(&mut self, connection: usize, batch: &mut Batch) -> Step {
        if std::mem::replace(&mut self.asked[connection], true) {
            return Step::End;
        }
        batch.clear();
        request::get(&self.data, connection as u64 % self.data.keys, batch);
        Step::Send
    }
}

/// For everything but the idle connections, on either side.
const SPARE_FILES: u64 = 200;

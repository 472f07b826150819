//! Overwriting items by values of the same size, so that nothing is evicted.

use crate::load::data::Data;
use crate::load::request;
use crate::load::source::{Drawn, Source};
use crate::workload::closed::Closed;
use crate::workload::{Parameters, Workload};

/// One on the way per connection.
pub fn one(parameters: &Parameters) -> Box<dyn Workload> {
    sets(parameters, 50, 1)
}

/// Many on the way per connection.
pub fn pipelined(parameters: &Parameters) -> Box<dyn Workload> {
    sets(parameters, 20, 50)
}

fn sets(parameters: &Parameters, connections: usize, depth: u64) -> Box<dyn Workload> {
    let data = Data::short(parameters.keys, parameters.value_bytes);
    let depth = parameters.depth_or(depth);
    let source = move |seed| -> Box<dyn Source> {
        Box::new(Drawn::new(seed, move |random, batch| {
            for _ in 0..depth {
                request::set(&data, random.below(data.keys), batch);
            }
        }))
    };
    Box::new(Closed::new(data, parameters.connections_or(connections), Box::new(source)))
}

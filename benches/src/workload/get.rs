//! Reading single keys, all hits: the bulk of what a cache does. One at a time it is the kernel's work that counts,
//! in a pipeline the server's, over many items the memory's.

use crate::load::data::Data;
use crate::load::request;
use crate::load::source::{Drawn, Source};
use crate::workload::closed::Closed;
use crate::workload::{Parameters, Workload};

/// One on the way per connection.
pub fn one(parameters: &Parameters) -> Box<dyn Workload> {
    Box::new(ones(parameters))
}

/// Many on the way per connection.
pub fn pipelined(parameters: &Parameters) -> Box<dyn Workload> {
    Box::new(pipelines(parameters))
}

/// The same over more items than the processor's cache holds.
pub fn cold(parameters: &Parameters) -> Box<dyn Workload> {
    Box::new(gets(parameters, parameters.cold_keys, 20, 50))
}

/// [`one`], for workloads that do more with it.
pub fn ones(parameters: &Parameters) -> Closed {
    gets(parameters, parameters.keys, 50, 1)
}

/// [`pipelined`], for the same.
pub fn pipelines(parameters: &Parameters) -> Closed {
    gets(parameters, parameters.keys, 20, 50)
}

fn gets(parameters: &Parameters, keys: u64, connections: usize, depth: u64) -> Closed {
    let data = Data::short(keys, parameters.value_bytes);
    let depth = parameters.depth_or(depth);
    let source = move |seed| -> Box<dyn Source> {
        Box::new(Drawn::new(seed, move |random, batch| {
            for _ in 0..depth {
                request::get(&data, random.below(data.keys), batch);
            }
        }))
    };
    Closed::new(data, parameters.connections_or(connections), Box::new(source))
}

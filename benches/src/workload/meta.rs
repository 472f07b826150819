//! The meta protocol's `mg key v`, many on the way per connection.

use crate::load::data::Data;
use crate::load::request;
use crate::load::source::{Drawn, Source};
use crate::workload::closed::Closed;
use crate::workload::{Parameters, Workload};

/// 50 per batch, but for another `--depth`.
pub fn pipelined(parameters: &Parameters) -> Box<dyn Workload> {
    let data = Data::short(parameters.keys, parameters.value_bytes);
    let depth = parameters.depth_or(50);
    let source = move |seed| -> Box<dyn Source> {
        Box::new(Drawn::new(seed, move |random, batch| {
            for _ in 0..depth {
                request::meta_get(&data, random.below(data.keys), batch);
            }
        }))
    };
    Box::new(Closed::new(data, parameters.connections_or(20), Box::new(source)))
}

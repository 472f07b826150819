//! One `get` of many keys. Each key counts as an operation, so that the figures stand beside those of the pipeline.

use crate::load::data::Data;
use crate::load::request;
use crate::load::source::{Drawn, Source};
use crate::workload::closed::Closed;
use crate::workload::{Parameters, Workload};

/// 50 keys, but for another `--depth`.
pub fn fifty(parameters: &Parameters) -> Box<dyn Workload> {
    let data = Data::short(parameters.keys, parameters.value_bytes);
    let depth = parameters.depth_or(50);
    let source = move |seed| -> Box<dyn Source> {
        Box::new(Drawn::new(seed, move |random, batch| {
            request::multiget(&data, (0..depth).map(|_| random.below(data.keys)), batch);
        }))
    };
    Box::new(Closed::new(data, parameters.connections_or(20), Box::new(source)))
}

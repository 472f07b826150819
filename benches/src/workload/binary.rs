//! The binary protocol's way of reading many keys: quiet gets, then a `NOOP` whose answer says that all are answered.

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
                request::binary_get_quietly(&data, random.below(data.keys), batch);
            }
            request::binary_noop(batch);
        }))
    };
    Box::new(Closed::new(data, parameters.connections_or(20), Box::new(source)))
}

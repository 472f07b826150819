//! Two workers that share the items: how much does a second core bring, when they ask for different items and when they
//! all ask for the same one? Only on four cores or more do the server's two and the client's two stay apart.

use crate::load::data::Data;
use crate::load::request;
use crate::load::source::{Drawn, Source};
use crate::server::Shape;
use crate::workload::closed::Closed;
use crate::workload::{Parameters, Workload};

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
    let mut workload = Closed::new(data, parameters.connections_or(20), Box::new(source));
    workload.shape = Shape { workers: 2, ..workload.shape };
    Box::new(workload)
}

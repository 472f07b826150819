//! Clients that do not keep their connections. The time of an operation is that from before the connect to the end of
//! the reply; the close is the client's, just before its next connect.

use crate::load::client::Lifetime;
use crate::load::data::Data;
use crate::load::request;
use crate::load::source::{Drawn, Source};
use crate::workload::closed::Closed;
use crate::workload::{Parameters, Workload};

/// Connect, get, close.
pub fn get_close(parameters: &Parameters) -> Box<dyn Workload> {
    let data = Data::short(parameters.keys, parameters.value_bytes);
    let source = move |seed| -> Box<dyn Source> {
        Box::new(Drawn::new(seed, move |random, batch| {
            request::get(&data, random.below(data.keys), batch);
        }))
    };
    let workload = Closed::new(data, parameters.connections_or(8), Box::new(source));
    Box::new(Closed { lifetime: Lifetime::PerBatch, ..workload })
}

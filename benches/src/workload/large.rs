//! Values far above what fits a packet: copies and the kernel's buffers count. Each connection has its own item.

use crate::load::batch::Batch;
use crate::load::data::Data;
use crate::load::request;
use crate::load::source::{Repeated, Source};
use crate::server::Shape;
use crate::workload::closed::Closed;
use crate::workload::{Parameters, Workload};

/// Reads of 64 KiB.
pub fn get_64k(parameters: &Parameters) -> Box<dyn Workload> {
    large(parameters, 64 << 10, request::get)
}

/// Writes of 64 KiB.
pub fn set_64k(parameters: &Parameters) -> Box<dyn Workload> {
    large(parameters, 64 << 10, request::set)
}

/// Reads of 1 MiB.
pub fn get_1m(parameters: &Parameters) -> Box<dyn Workload> {
    large(parameters, 1 << 20, request::get)
}

/// Writes of 1 MiB.
pub fn set_1m(parameters: &Parameters) -> Box<dyn Workload> {
    large(parameters, 1 << 20, request::set)
}

fn large(parameters: &Parameters, value_bytes: usize, render: fn(&Data, u64, &mut Batch)) -> Box<dyn Workload> {
    let connections = parameters.connections_or(8);
    let data = Data::short(connections as u64, value_bytes);
    let source = move |_seed| -> Box<dyn Source> {
        Box::new(Repeated(move |connection, batch: &mut Batch| {
            render(&data, connection as u64, batch);
        }))
    };
    let mut workload = Closed::new(data, connections, Box::new(source));
    // With the usual limit of 1 MiB an item's value is a little smaller than that.
    workload.shape = Shape { item_mib_max: 2, ..workload.shape };
    Box::new(workload)
}

//! Latency under load: 90 gets to 10 sets at a rate that does not depend on the answers. The rates are shares of what the
//! reference (the last server) reaches in a closed loop with the same mix, measured at the beginning, or given by
//! `--rate`; they are the same for every server.
//!
//! In the streaming variants large values come and go beside that on connections of their own, `--stream-rate` of them
//! per second: one that is sent in a piece, or received in one, keeps everybody else waiting.

use crate::error::Error;
use crate::load::batch::Batch;
use crate::load::data::{Data, KeyShape, ValueSize};
use crate::load::open::OpenClient;
use crate::load::request;
use crate::load::source::{Drawn, Source};
use crate::metric::{Metric, Sample};
use crate::server::meter::Meter;
use crate::server::{Server, Shape};
use crate::workload::closed::{self, Closed};
use crate::workload::{Parameters, Round, Workload, sample};

/// At half of the reference's rate.
pub fn half(parameters: &Parameters) -> Box<dyn Workload> {
    at(parameters, 0.5, 0)
}

/// At four fifths of the reference's rate.
pub fn four_fifths(parameters: &Parameters) -> Box<dyn Workload> {
    at(parameters, 0.8, 0)
}

/// At half of the reference's rate, with large values beside it.
pub fn half_streaming(parameters: &Parameters) -> Box<dyn Workload> {
    at(parameters, 0.5, parameters.stream_rate)
}

/// At four fifths of the reference's rate, with large values beside it.
pub fn four_fifths_streaming(parameters: &Parameters) -> Box<dyn Workload> {
    at(parameters, 0.8, parameters.stream_rate)
}

fn at(parameters: &Parameters, share: f64, stream_rate: u64) -> Box<dyn Workload> {
    let data = Data::short(parameters.keys, parameters.value_bytes);
    let connections = parameters.connections_or(50);
    let mut closed = Closed::new(data, connections, Box::new(move |seed| mixed(data, seed)));
    if stream_rate > 0 {
        // With the usual limit of 1 MiB a streaming item would be too large.
        closed.shape.item_mib_max = 2;
    }
    Box::new(Open { closed, share, rate: parameters.rate.map_or(0.0, |rate| rate as f64), stream_rate })
}

/// Streams of even number read an item of their own, those of odd number write one.
fn streaming() -> Vec<Batch> {
    let batch = |id| {
        let mut batch = Batch::default();
        match id % 2 {
            0 => request::get(&STREAMED, id, &mut batch),
            _ => request::set(&STREAMED, id, &mut batch),
        }
        batch
    };
    (0..STREAMED.keys).map(batch).collect()
}

fn mixed(data: Data, seed: u64) -> Box<dyn Source> {
    Box::new(Drawn::new(seed, move |random, batch| {
        let id = random.below(data.keys);
        match random.below(10) {
            0 => request::set(&data, id, batch),
            _ => request::get(&data, id, batch),
        }
    }))
}

struct Open {
    /// The same load without a rate; it finds the reference's highest one.
    closed: Closed,
    share: f64,
    /// Requests per second; zero until it is known.
    rate: f64,
    /// Large values per second beside them; zero for none.
    stream_rate: u64,
}

impl Workload for Open {
    fn shape(&self) -> Shape {
        self.closed.shape
    }

    fn headline(&self) -> Metric {
        Metric::P99
    }

    fn prepare(&mut self, servers: &[Server], round: &Round) -> Result<(), Error> {
        for server in servers {
            closed::fill(server, &self.closed.data)?;
            if self.stream_rate > 0 {
                closed::fill(server, &STREAMED)?;
            }
        }
        if let (0.0, Some(reference)) = (self.rate, servers.last()) {
            let (outcome, _) = self.closed.load(reference, round)?;
            let highest = outcome.operations as f64 / outcome.elapsed.as_secs_f64();
            self.rate = (highest * self.share).max(1.0);
        }
        Ok(())
    }

    fn round(&mut self, server: &Server, round: &Round) -> Result<Sample, Error> {
        let mut client = OpenClient::connect(server.address, self.closed.connections, 1)?;
        if self.stream_rate > 0 {
            client.stream(server.address, streaming(), self.stream_rate as f64)?;
        }
        let mut source = mixed(self.closed.data, 1);
        client.run(source.as_mut(), self.rate, round.warm_up)?;
        let meter = Meter::start(server.id(), round.counters)?;
        let outcome = client.run(source.as_mut(), self.rate, round.time)?;
        let mut sample = sample(&outcome, &meter.stop()?, server)?;
        sample.insert(Metric::OfferedRate, self.rate);
        if self.stream_rate > 0 {
            let bytes = client.streamed() as f64 * STREAMED_BYTES as f64;
            sample.insert(Metric::Streamed, bytes / outcome.elapsed.as_secs_f64());
        }
        Ok(sample)
    }
}

const STREAMED_BYTES: usize = 1 << 20;
/// One item per stream, with keys that no small item has.
const STREAMED: Data = Data { keys: 4, key: KeyShape::Twenty, value: ValueSize::Fixed(STREAMED_BYTES) };

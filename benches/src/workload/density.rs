//! How much fits: a server with a memory limit is overfilled twice, that is until it holds at most half of the items it
//! was sent, or was sent keys and values of twice the limit. Then its count of items is put to the test, by asking for
//! some of all that were sent.
//!
//! A set that is refused for want of memory is counted and no failure: memcached refuses some when its maintenance thread
//! does not keep up.

use std::io;

use crate::error::Error;
use crate::load::data::{Data, KeyShape, ValueSize};
use crate::metric::{Metric, Sample};
use crate::random::Random;
use crate::server::control::Control;
use crate::server::{Server, Shape};
use crate::workload::{Parameters, Round, Workload};

/// Values of one size.
pub fn fixed(parameters: &Parameters, value_bytes: usize) -> Box<dyn Workload> {
    density(parameters, ValueSize::Fixed(value_bytes))
}

/// Values of all sizes, small ones as many as large ones.
pub fn mixed(parameters: &Parameters) -> Box<dyn Workload> {
    density(parameters, ValueSize::LogUniform { min: 8, max: 8192 })
}

fn density(parameters: &Parameters, value: ValueSize) -> Box<dyn Workload> {
    let data = Data { keys: u64::MAX, key: KeyShape::Twenty, value };
    Box::new(Density { memory_mib: parameters.density_mib, data })
}

struct Density {
    memory_mib: u64,
    data: Data,
}

impl Workload for Density {
    fn shape(&self) -> Shape {
        Shape { memory_mib: self.memory_mib, ..Shape::default() }
    }

    fn is_fresh_per_round(&self) -> bool {
        true
    }

    fn headline(&self) -> Metric {
        Metric::Items
    }

    fn round(&mut self, server: &Server, _round: &Round) -> Result<Sample, Error> {
        let Overfilled { stored, refused } = self.overfill(server).map_err(Error::system("overfill"))?;
        let items = server.control()?.stat("curr_items").map_err(Error::system("ask for the items"))?;
        let sampled = self.sampled(server, stored).map_err(Error::system("read items back"))?;
        let estimate = sampled.share * stored as f64;
        if (estimate / items as f64 - 1.0).abs() > ESTIMATE_TOLERANCE {
            let cause = format!("it counts {items} items, but {estimate:.0} can be read");
            return Err(server.failure(cause));
        }
        let resident = server.resident_bytes()? as f64;
        let mut sample = Sample::new();
        sample.insert(Metric::Items, items as f64);
        sample.insert(Metric::Refused, refused as f64 * 1e6 / stored as f64);
        let data = items as f64 * sampled.item_bytes;
        sample.insert(Metric::DataShare, data / resident);
        sample.insert(Metric::ItemOverhead, (resident - data) / items as f64);
        sample.insert(Metric::ResidentMemory, resident);
        Ok(sample)
    }
}

/// What reading back some items tells.
struct Sampled {
    /// The share of the items that are held.
    share: f64,
    /// The mean of key and value of those.
    item_bytes: f64,
}

/// What was sent until the server was full twice.
struct Overfilled {
    /// How many items.
    stored: u64,
    /// How many of those the server refused.
    refused: u64,
}

impl Density {
    fn overfill(&self, server: &Server) -> io::Result<Overfilled> {
        let mut control = Control::connect(server.address)?;
        let limit_bytes = self.memory_mib << 20;
        let (mut stored, mut stored_bytes, mut refused) = (0, 0, 0);
        while stored_bytes < 2 * limit_bytes {
            let first = stored;
            let next_stop = stored_bytes + limit_bytes / STOPS_PER_FILLING;
            while stored_bytes < next_stop {
                stored_bytes += (self.data.key_bytes(stored) + self.data.value_bytes(stored)) as u64;
                stored += 1;
            }
            refused += control.store(&self.data, first..stored)?;
            if stored >= 2 * control.stat("curr_items")? {
                break;
            }
        }
        Ok(Overfilled { stored, refused })
    }

    fn sampled(&self, server: &Server, stored: u64) -> io::Result<Sampled> {
        let mut control = Control::connect(server.address)?;
        let mut random = Random::new(1);
        let (mut hits, mut bytes) = (0, 0);
        for _ in 0..SAMPLES {
            let id = random.below(stored);
            if control.holds(&self.data, id)? {
                hits += 1;
                bytes += self.data.key_bytes(id) + self.data.value_bytes(id);
            }
        }
        let item_bytes = bytes as f64 / f64::from(hits.max(1));
        Ok(Sampled { share: f64::from(hits) / f64::from(SAMPLES), item_bytes })
    }
}

/// The filling stops so often per memory limit to ask for the number of items.
const STOPS_PER_FILLING: u64 = 32;
/// With so many samples an estimate is off by less than one percent in two of three runs.
const SAMPLES: u32 = 20_000;
const ESTIMATE_TOLERANCE: f64 = 0.05;

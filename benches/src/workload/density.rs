//! How much fits: a server with a memory limit is overfilled twice, that is until it holds at most half of the items it
//! was sent, or was sent keys and values of twice the limit. Then its count of items is put to the test, by asking for
//! some of all that were sent.

use std::io;
use std::time::Duration;

use crate::error::Error;
use crate::load::client::{Client, Lifetime};
use crate::load::data::{Data, KeyShape, ValueSize};
use crate::load::source::Stored;
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
    let data = Data {
        keys: u64::MAX,
        key: KeyShape::Twenty,
        value,
    };
    Box::new(Density {
        memory_mib: parameters.density_mib,
        data,
    })
}

struct Density {
    memory_mib: u64,
    data: Data,
}

impl Workload for Density {
    fn shape(&self) -> Shape {
        Shape {
            memory_mib: self.memory_mib,
            ..Shape::default()
        }
    }

    fn is_fresh_per_round(&self) -> bool {
        true
    }

    fn headline(&self) -> Metric {
        Metric::Items
    }

    fn round(&mut self, server: &Server, _round: &Round) -> Result<Sample, Error> {
        let stored = self.overfill(server)?;
        let items = held(server)?;
        let sampled = self
            .sampled(server, stored)
            .map_err(Error::system("read items back"))?;
        let estimate = sampled.share * stored as f64;
        if (estimate / items as f64 - 1.0).abs() > ESTIMATE_TOLERANCE {
            let cause = format!("it counts {items} items, but {estimate:.0} can be read");
            return Err(server.failure(cause));
        }
        let resident = server.resident_bytes()? as f64;
        let mut sample = Sample::new();
        sample.insert(Metric::Items, items as f64);
        sample.insert(
            Metric::DataShare,
            items as f64 * sampled.item_bytes / resident,
        );
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

impl Density {
    /// Returns how many items were stored.
    fn overfill(&self, server: &Server) -> Result<u64, Error> {
        let mut client = Client::connect(server.address, CONNECTIONS, Lifetime::Kept)?;
        let limit_bytes = self.memory_mib << 20;
        let (mut stored, mut stored_bytes) = (0, 0);
        loop {
            let first = stored;
            let mut chunk_bytes = 0;
            while chunk_bytes < limit_bytes / CHUNKS_PER_FILLING {
                chunk_bytes += (self.data.key_bytes(stored) + self.data.value_bytes(stored)) as u64;
                stored += 1;
            }
            client.run(
                &mut Stored {
                    data: self.data,
                    ids: first..stored,
                },
                CHUNK_TIMEOUT,
            )?;
            stored_bytes += chunk_bytes;
            if stored >= 2 * held(server)? || stored_bytes >= 2 * limit_bytes {
                return Ok(stored);
            }
        }
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
        Ok(Sampled {
            share: f64::from(hits) / f64::from(SAMPLES),
            item_bytes,
        })
    }
}

fn held(server: &Server) -> Result<u64, Error> {
    server
        .control()?
        .stat("curr_items")
        .map_err(Error::system("ask for the number of items"))
}

const CONNECTIONS: usize = 4;
/// The filling stops to ask for the number of items so often per memory limit.
const CHUNKS_PER_FILLING: u64 = 32;
const CHUNK_TIMEOUT: Duration = Duration::from_secs(60);
/// With so many samples an estimate is off by less than one percent in two of three runs.
const SAMPLES: u32 = 20_000;
const ESTIMATE_TOLERANCE: f64 = 0.05;

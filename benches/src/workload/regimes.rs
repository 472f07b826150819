//! Sizes that change: a server with a memory limit is overfilled with values of one range of sizes, then of another, six
//! times over, as happens to a cache that lives for months. It must stay within its memory, refuse nothing and serve the
//! items of the present, not those of the past.
//!
//! After each regime the newest items, worth half of the limit, are its working set; a sample of it is read back and
//! every byte compared. A set that is refused for want of memory is counted and no failure, as in [`super::density`].

use std::io;
use std::ops::Range;

use crate::error::Error;
use crate::load::data::{Data, KeyShape, ValueSize};
use crate::metric::{Metric, Sample};
use crate::random::Random;
use crate::server::control::Control;
use crate::server::{Server, Shape};
use crate::workload::{Parameters, Round, Workload};

/// The six regimes of [`REGIMES`] in turn.
pub fn six(parameters: &Parameters) -> Box<dyn Workload> {
    Box::new(Regimes { memory_mib: parameters.regimes_mib })
}

struct Regimes {
    memory_mib: u64,
}

impl Workload for Regimes {
    fn shape(&self) -> Shape {
        Shape { memory_mib: self.memory_mib, ..Shape::default() }
    }

    fn is_fresh_per_round(&self) -> bool {
        true
    }

    fn headline(&self) -> Metric {
        Metric::LimitShare
    }

    fn round(&mut self, server: &Server, _round: &Round) -> Result<Sample, Error> {
        let limit_bytes = (self.memory_mib << 20) as f64;
        let (mut peak, mut held_min) = (0.0f64, 1.0f64);
        let (mut share, mut held) = (0.0, 0.0);
        let (mut stored, mut refused) = (0, 0);
        for (number, &(min, max)) in REGIMES.iter().enumerate() {
            let data = Data { keys: u64::MAX, key: KeyShape::Twenty, value: ValueSize::LogUniform { min, max } };
            let ids = self.ids(&data, number as u64);
            let mut control = server.control()?;
            refused += control.store(&data, ids.clone()).map_err(Error::system("overfill"))?;
            stored += ids.end - ids.start;
            held = self.held(&mut control, &data, &ids).map_err(Error::system("read items back"))?;
            share = server.resident_bytes()? as f64 / limit_bytes;
            (peak, held_min) = (peak.max(share), held_min.min(held));
            eprintln!(
                "        {} of {} bytes: RSS {share:.3} of the limit, {:.1} % of the newest items held",
                server.binary.name,
                format_args!("{min} to {max}"),
                held * 100.0,
            );
        }
        let mut sample = Sample::new();
        sample.insert(Metric::LimitShare, share);
        sample.insert(Metric::LimitShareMax, peak);
        sample.insert(Metric::Held, held);
        sample.insert(Metric::HeldMin, held_min);
        sample.insert(Metric::Refused, refused as f64 * 1e6 / stored as f64);
        sample.insert(Metric::ResidentMemory, server.resident_bytes()? as f64);
        Ok(sample)
    }
}

impl Regimes {
    /// The items of a regime: keys and values worth [`FILLINGS`] times the limit.
    fn ids(&self, data: &Data, regime: u64) -> Range<u64> {
        let start = regime * IDS_PER_REGIME;
        let mut bytes = 0;
        let is_within = |id: &u64| {
            bytes += (data.key_bytes(*id) + data.value_bytes(*id)) as u64;
            bytes <= FILLINGS * (self.memory_mib << 20)
        };
        start..start + (start..start + IDS_PER_REGIME).take_while(is_within).count() as u64
    }

    /// The share of the working set that the server holds.
    fn held(&self, control: &mut Control, data: &Data, ids: &Range<u64>) -> io::Result<f64> {
        let mut bytes = 0;
        let is_within = |id: &u64| {
            bytes += (data.key_bytes(*id) + data.value_bytes(*id)) as u64;
            bytes <= (self.memory_mib << 20) / 2
        };
        let newest = (ids.clone().rev().take_while(is_within).count() as u64).max(1);
        let samples = newest.min(SAMPLES_MAX);
        let mut random = Random::new(1);
        let mut hits = 0;
        for _ in 0..samples {
            hits += u64::from(control.holds(data, ids.end - 1 - random.below(newest))?);
        }
        Ok(hits as f64 / samples as f64)
    }
}

/// Sizes of values, each doubling as often as the others.
const REGIMES: [(usize, usize); 6] =
    [(50, 100), (300, 600), (3_000, 9_000), (100, 200), (100_000, 400_000), (50, 2_000)];
/// Item numbers set apart for a regime.
const IDS_PER_REGIME: u64 = 1 << 40;
/// What is sent per regime, in memory limits.
const FILLINGS: u64 = 3;
const SAMPLES_MAX: u64 = 1000;

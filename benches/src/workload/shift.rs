//! Values become ten times as large while memory is full: how long until the cache works again? Gets of keys by their
//! popularity (Zipf 1.0) at a fixed rate, a set after each miss, first of small values until memory is full of them, then
//! of large ones under new keys, as when an application's new release stores other things.
//!
//! The cache works again in the first second in which the hit ratio is [`BACK_SHARE`] of what an LRU over the same bytes
//! of keys and values would reach in the long run (Che's approximation): a mark that does not depend on the server. A
//! server that has not reached it after the time that the parameters give is given that time.

use std::time::Duration;

use crate::error::Error;
use crate::load::client::new_histogram;
use crate::load::data::{Data, KeyShape, ValueSize};
use crate::load::look_aside::{LookAsideClient, LookAsideOutcome};
use crate::metric::{Metric, Sample};
use crate::random::Random;
use crate::server::{Server, Shape};
use crate::workload::{Parameters, Round, Workload};

/// From 64-512 bytes to 1-4 KiB.
pub fn small_to_large(parameters: &Parameters) -> Box<dyn Workload> {
    let limit_bytes = parameters.shift_mib << 20;
    let phase = |number, min, max| Phase::new(number, limit_bytes, ValueSize::LogUniform { min, max });
    Box::new(Shift {
        memory_mib: parameters.shift_mib,
        connections: parameters.connections_or(50),
        rate: parameters.rate.unwrap_or(40_000) as f64,
        small: phase(0, 64, 512),
        large: phase(1, 1024, 4096),
        seconds_max: parameters.shift_seconds,
    })
}

struct Shift {
    memory_mib: u64,
    connections: usize,
    rate: f64,
    small: Phase,
    large: Phase,
    seconds_max: u64,
}

impl Workload for Shift {
    fn shape(&self) -> Shape {
        Shape { memory_mib: self.memory_mib, ..Shape::default() }
    }

    fn is_fresh_per_round(&self) -> bool {
        true
    }

    fn headline(&self) -> Metric {
        Metric::BackAfter
    }

    fn round(&mut self, server: &Server, _round: &Round) -> Result<Sample, Error> {
        let ids = self.small.first..self.small.first + self.small.data.keys;
        server.control()?.store(&self.small.data, ids).map_err(Error::system("fill"))?;
        let mut client = LookAsideClient::connect(server.address, self.connections, 1)?;
        let mut random = Random::new(1);
        for _ in 0..self.seconds_max.div_ceil(STEADY_PART) {
            self.second(&mut client, &mut random, &self.small, server)?;
        }
        let mark = BACK_SHARE * self.large.lru_hit_ratio(self.memory_mib << 20);
        let mut latency = new_histogram();
        let (mut sets, mut refused, mut hit_ratio) = (0, 0, 0.0);
        let mut back = None;
        for second in 1..=self.seconds_max {
            let outcome = self.second(&mut client, &mut random, &self.large, server)?;
            latency.add(&outcome.latency).expect("both histograms have the same bounds");
            (sets, refused) = (sets + outcome.sets, refused + outcome.refused);
            hit_ratio = outcome.hits as f64 / outcome.gets.max(1) as f64;
            if hit_ratio >= mark && back.is_none() {
                back = Some(second);
                eprintln!("        {}: back after {second} s (the mark is {:.1} %)", server.binary.name, mark * 100.0);
            }
            // A few seconds more, for the latencies of a cache that is still moving memory.
            if back.is_some_and(|back| second >= back + back / 2 + 3) {
                break;
            }
        }
        let mut sample = Sample::new();
        sample.insert(Metric::OfferedRate, self.rate);
        sample.insert(Metric::BackAfter, back.unwrap_or(self.seconds_max) as f64);
        sample.insert(Metric::HitRatio, hit_ratio);
        sample.insert(Metric::Refused, refused as f64 * 1e6 / sets.max(1) as f64);
        for (metric, quantile) in [(Metric::P50, 0.5), (Metric::P99, 0.99), (Metric::P999, 0.999)] {
            sample.insert(metric, latency.value_at_quantile(quantile) as f64);
        }
        sample.insert(Metric::ResidentMemory, server.resident_bytes()? as f64);
        Ok(sample)
    }
}

impl Shift {
    fn second(
        &self,
        client: &mut LookAsideClient,
        random: &mut Random,
        phase: &Phase,
        server: &Server,
    ) -> Result<LookAsideOutcome, Error> {
        let outcome = client.run(&phase.data, || phase.draw(random), self.rate, Duration::from_secs(1))?;
        eprintln!(
            "        {}: {:.1} % of {} gets hit, {} sets, {} refused, p99.9 {} µs",
            server.binary.name,
            outcome.hits as f64 * 100.0 / outcome.gets.max(1) as f64,
            outcome.gets,
            outcome.sets,
            outcome.refused,
            outcome.latency.value_at_quantile(0.999) / 1000,
        );
        Ok(outcome)
    }
}

/// Items whose keys and values are worth [`FOOTPRINT`] times the memory, the most popular one last.
struct Phase {
    data: Data,
    first: u64,
}

impl Phase {
    fn new(number: u64, limit_bytes: u64, value: ValueSize) -> Phase {
        let first = number << 40;
        let mut data = Data { keys: 0, key: KeyShape::Twenty, value };
        let mut bytes = 0;
        while bytes < FOOTPRINT * limit_bytes {
            bytes += (data.key_bytes(first + data.keys) + data.value_bytes(first + data.keys)) as u64;
            data.keys += 1;
        }
        Phase { data, first }
    }

    /// The item of popularity `rank`, from 1.
    fn id(&self, rank: u64) -> u64 {
        self.first + self.data.keys - rank
    }

    fn draw(&self, random: &mut Random) -> u64 {
        self.id(zipf(random.fraction(), self.data.keys))
    }

    /// The hit ratio of an LRU of so many bytes of keys and values, by Che's approximation: an item is there if it was
    /// asked for in the last `time` requests, and `time` is such that what is there fills the memory.
    fn lru_hit_ratio(&self, memory_bytes: u64) -> f64 {
        let norm = ((self.data.keys + 1) as f64).ln();
        let sums = |time: f64| {
            (1..=self.data.keys).fold((0.0, 0.0), |(bytes, hits), rank| {
                let share = (1.0 / rank as f64).ln_1p() / norm;
                let is_there = -(-share * time).exp_m1();
                let id = self.id(rank);
                let size = (self.data.key_bytes(id) + self.data.value_bytes(id)) as f64;
                (bytes + is_there * size, hits + is_there * share)
            })
        };
        let (mut low, mut high) = (1.0f64, 1e12f64);
        for _ in 0..BISECTIONS {
            let middle = (low * high).sqrt();
            match sums(middle).0 < memory_bytes as f64 {
                true => low = middle,
                false => high = middle,
            }
        }
        sums(low).1
    }
}

/// A rank from 1 to `count` for a number in `(0, 1]`; rank `k` has the share `ln(1 + 1/k) / ln(count + 1)`, for all but
/// the first few that of Zipf's law with exponent 1.
fn zipf(fraction: f64, count: u64) -> u64 {
    let rank = (fraction * ((count + 1) as f64).ln()).exp() as u64;
    rank.clamp(1, count)
}

/// Items over memory.
const FOOTPRINT: u64 = 4;
/// The hit ratio is back at this share of an LRU's.
const BACK_SHARE: f64 = 0.95;
/// The small values are asked for in one part of so many of the time that the large ones may take.
const STEADY_PART: u64 = 6;
const BISECTIONS: u32 = 40;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranks_follow_zipf() {
        let mut random = Random::new(1);
        let mut counts = [0u32; 1001];
        for _ in 0..1_000_000 {
            counts[zipf(random.fraction(), 1000) as usize] += 1;
        }
        assert_eq!((counts[0], zipf(1.0, 1000)), (0, 1000));
        let ratio = f64::from(counts[10]) / f64::from(counts[100]);
        assert!((9.0..10.5).contains(&ratio), "{ratio}");
    }

    /// An LRU of everything hits always; one of a quarter of the bytes somewhere between the share of the most popular
    /// quarter and a random quarter.
    #[test]
    fn the_mark_is_an_lru() {
        let phase = Phase::new(1, 1 << 20, ValueSize::Fixed(1004));
        assert_eq!(phase.data.keys, 4096);
        assert!(phase.lru_hit_ratio(5 << 20) > 0.999);
        let ratio = phase.lru_hit_ratio(1 << 20);
        let best = 1025f64.ln() / 4097f64.ln();
        assert!((0.25..best).contains(&ratio), "{ratio} {best}");
    }
}

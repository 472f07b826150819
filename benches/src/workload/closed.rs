//! The engine of every closed-loop workload: fill the servers with all items, then load one as fast as it answers.
//!
//! The client runs in threads of its own, one per worker of the server as far as there are cores, so that it does not
//! hold the server back. All threads warm up, stop, wait for the meter to start, and then load together.

use std::sync::Barrier;
use std::thread;
use std::time::{Duration, Instant};

use crate::error::Error;
use crate::load::client::{Client, Lifetime, Outcome, new_histogram};
use crate::load::data::Data;
use crate::load::source::{Source, Stored};
use crate::metric::Sample;
use crate::server::meter::{Cost, Meter};
use crate::server::{Server, Shape};
use crate::workload::{Round, Workload, sample};

/// Makes the source of a client thread from a seed.
pub type MakeSource = Box<dyn Fn(u64) -> Box<dyn Source> + Sync>;

/// A closed-loop workload.
pub struct Closed {
    /// The servers.
    pub shape: Shape,
    /// The items.
    pub data: Data,
    /// Connections, over all client threads.
    pub connections: usize,
    /// Whether they are kept.
    pub lifetime: Lifetime,
    /// What they send.
    pub source: MakeSource,
}

impl Closed {
    /// Kept connections to a server as it is by default.
    pub fn new(data: Data, connections: usize, source: MakeSource) -> Closed {
        let shape = Shape { memory_mib: memory_mib(&data), ..Shape::default() };
        Closed { shape, data, connections, lifetime: Lifetime::Kept, source }
    }

    /// Loads a server and tells what came back and what it cost.
    pub fn load(&self, server: &Server, round: &Round) -> Result<(Outcome, Cost), Error> {
        let threads = match round.placement.is_shared() {
            true => 1,
            false => self.shape.workers.min(round.placement.load.len()),
        };
        let (warm, metered) = (Barrier::new(threads + 1), Barrier::new(threads + 1));
        thread::scope(|scope| {
            let handles: Vec<_> = (0..threads)
                .map(|index| {
                    let source = (self.source)(index as u64 + 1);
                    let count = self.connections.div_ceil(threads);
                    let (warm, metered) = (&warm, &metered);
                    scope.spawn(move || self.client(server, count, source, round, warm, metered))
                })
                .collect();
            warm.wait();
            let meter = Meter::start(server.id(), round.counters);
            metered.wait();
            let outcomes: Vec<_> =
                handles.into_iter().map(|handle| handle.join().expect("a client thread returns its errors")).collect();
            let cost = meter?.stop()?;
            Ok((merge(outcomes.into_iter().collect::<Result<_, _>>()?), cost))
        })
    }

    /// One client thread. It passes both barriers even when it fails, for the others wait there.
    fn client(
        &self,
        server: &Server,
        count: usize,
        mut source: Box<dyn Source>,
        round: &Round,
        warm: &Barrier,
        metered: &Barrier,
    ) -> Result<Outcome, Error> {
        let client = Client::connect(server.address, count, self.lifetime).and_then(|mut client| {
            client.run(source.as_mut(), round.warm_up)?;
            Ok(client)
        });
        warm.wait();
        metered.wait();
        client?.run(source.as_mut(), round.time)
    }
}

impl Workload for Closed {
    fn shape(&self) -> Shape {
        self.shape
    }

    fn is_countable(&self) -> bool {
        true
    }

    fn prepare(&mut self, servers: &[Server], _round: &Round) -> Result<(), Error> {
        servers.iter().try_for_each(|server| fill(server, &self.data))
    }

    fn round(&mut self, server: &Server, round: &Round) -> Result<Sample, Error> {
        let (outcome, cost) = self.load(server, round)?;
        sample(&outcome, &cost, server)
    }
}

/// Stores every item once and waits until the server has grown its index for them.
pub fn fill(server: &Server, data: &Data) -> Result<(), Error> {
    let mut client = Client::connect(server.address, FILL_CONNECTIONS, Lifetime::Kept)?;
    let mut source = Stored { data: *data, ids: 0..data.keys };
    client.run(&mut source, FILL_TIMEOUT).map_err(Error::during(format!("filling {}", server.binary.name)))?;
    if !source.ids.is_empty() {
        return Err(server.failure("it is too slow to be filled".to_string()));
    }
    let mut control = server.control()?;
    let deadline = Instant::now() + GROWTH_TIMEOUT;
    while Instant::now() < deadline {
        let stats = control.stats().map_err(Error::system("ask for statistics"))?;
        if stats.get("hash_is_expanding").is_none_or(|value| value == "0") {
            break;
        }
        thread::sleep(Duration::from_millis(10));
    }
    Ok(())
}

/// Operations and latencies add up; the time is that of the slowest thread.
fn merge(outcomes: Vec<Outcome>) -> Outcome {
    let mut total = Outcome { operations: 0, elapsed: Duration::ZERO, latency: new_histogram() };
    for outcome in outcomes {
        total.operations += outcome.operations;
        total.elapsed = total.elapsed.max(outcome.elapsed);
        total.latency.add(outcome.latency).expect("all histograms have the same bounds");
    }
    total
}

/// Twice what the items take, and never less than a usual server has: nothing is evicted while rates are measured.
fn memory_mib(data: &Data) -> u64 {
    let item_bytes = data.value_bytes(0) as u64 + 100;
    (data.keys * item_bytes * 2).div_ceil(1 << 20).max(1024)
}

const FILL_CONNECTIONS: usize = 4;
const FILL_TIMEOUT: Duration = Duration::from_secs(120);
const GROWTH_TIMEOUT: Duration = Duration::from_secs(10);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn outcomes_add_up() {
        let outcome = |operations, milliseconds, nanoseconds| {
            let mut latency = new_histogram();
            latency.record(nanoseconds).unwrap();
            Outcome { operations, elapsed: Duration::from_millis(milliseconds), latency }
        };
        let total = merge(vec![outcome(5, 10, 1000), outcome(7, 12, 9000), outcome(1, 11, 1000)]);
        assert_eq!((total.operations, total.elapsed), (13, Duration::from_millis(12)));
        assert_eq!(total.latency.len(), 3);
        assert_eq!(total.latency.value_at_quantile(0.5), 1000);
        assert!((9000..9020).contains(&total.latency.value_at_quantile(0.99)));
    }

    #[test]
    fn memory_is_for_twice_the_items() {
        assert_eq!(memory_mib(&Data::short(100, 100)), 1024);
        assert_eq!(memory_mib(&Data::short(4_000_000, 100)), 1526);
    }
}

//! Where batches come from: drawn at random as a workload says ([`Drawn`]), or the storing of every item once
//! ([`Stored`]), or the same one again and again ([`Repeated`]).

use std::ops::Range;

use crate::load::batch::Batch;
use crate::load::data::Data;
use crate::load::request;
use crate::random::Random;

/// Where batches come from.
pub trait Source: Send {
    /// Replaces the batch of a connection by its next one. It may leave a batch as it is to send it again.
    fn fill(&mut self, connection: usize, batch: &mut Batch) -> Step;
}

/// Whether there is a next batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// The batch is to be sent.
    Send,
    /// Nothing is left for this connection.
    End,
}

/// Batches made by a function from random numbers.
pub struct Drawn<F> {
    random: Random,
    draw: F,
}

impl<F: FnMut(&mut Random, &mut Batch) + Send> Drawn<F> {
    /// The function gets an empty batch each time.
    pub fn new(seed: u64, draw: F) -> Drawn<F> {
        Drawn { random: Random::new(seed), draw }
    }
}

impl<F: FnMut(&mut Random, &mut Batch) + Send> Source for Drawn<F> {
    fn fill(&mut self, _connection: usize, batch: &mut Batch) -> Step {
        batch.clear();
        (self.draw)(&mut self.random, batch);
        Step::Send
    }
}

/// `set` of the items of a range in order, some per batch.
pub struct Stored {
    /// What to store.
    pub data: Data,
    /// What is left.
    pub ids: Range<u64>,
}

impl Source for Stored {
    fn fill(&mut self, _connection: usize, batch: &mut Batch) -> Step {
        batch.clear();
        while batch.operations < STORED_PER_BATCH && batch.request.len() < STORED_BYTES_PER_BATCH {
            let Some(id) = self.ids.next() else { break };
            request::set(&self.data, id, batch);
        }
        match batch.operations {
            0 => Step::End,
            _ => Step::Send,
        }
    }
}

/// Each connection's own batch, made once. For values so large that making them would be the client's main work.
pub struct Repeated<F>(
    /// Makes the batch of a connection.
    pub F,
);

impl<F: Fn(usize, &mut Batch) + Send> Source for Repeated<F> {
    fn fill(&mut self, connection: usize, batch: &mut Batch) -> Step {
        if batch.operations == 0 {
            (self.0)(connection, batch);
        }
        Step::Send
    }
}

const STORED_PER_BATCH: u64 = 100;
const STORED_BYTES_PER_BATCH: usize = 64 * 1024;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stored_gives_every_item_once_and_ends() {
        let mut source = Stored { data: Data::short(250, 100), ids: 0..250 };
        let mut batch = Batch::default();
        let mut operations = Vec::new();
        while source.fill(0, &mut batch) == Step::Send {
            operations.push(batch.operations);
        }
        assert_eq!(operations, [100, 100, 50]);
    }

    #[test]
    fn stored_limits_the_bytes_of_a_batch() {
        let mut source = Stored { data: Data::short(9, 50_000), ids: 0..9 };
        let mut batch = Batch::default();
        source.fill(0, &mut batch);
        assert_eq!(batch.operations, 2);
    }

    #[test]
    fn repeated_makes_a_batch_once() {
        let data = Data::short(9, 10);
        let mut source = Repeated(|connection, batch: &mut Batch| request::get(&data, connection as u64, batch));
        let mut batch = Batch::default();
        source.fill(3, &mut batch);
        source.fill(3, &mut batch);
        assert_eq!((batch.operations, batch.request.len()), (1, 4 + 15 + 2));
    }
}

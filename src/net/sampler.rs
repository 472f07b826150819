//! Which calls of a session are looked at closely, and the look: how long the request took, which key it named and
//! what became of it, what it stored. Off unless the process has observations; then a call costs one countdown.
//!
//! Every call counts down; at zero the call is a sample and the countdown is set anew, at random around an interval, so
//! that no rhythm of the clients can hide from it. Two bounds keep the cost below a hundredth of that of the calls, at
//! every load:
//!
//! - One call in [`CALLS_PER_SAMPLE_MIN`] at most is a sample, on a server with little to do as well. A sample takes about
//!   as many instructions as it takes to parse and answer a few requests, a call with its share of the kernel's work
//!   about 15 000.
//! - The interval follows the load: about [`SAMPLES_PER_SECOND`] calls are looked at per worker, one in thousands when it
//!   is busy.
//!
//! A worker's first calls are looked at more closely, so that a server that was just started, or that has one request a
//! minute, shows something: the first [`SAMPLES_PER_DOUBLING`] all, the next so many one in two, and so on.
//!
//! A request's time begins when the poll that reported its connection came back, and ends when the connection's turn does:
//! its reply was handed to the kernel, or waits for others of the same pipeline. So it holds the wait for connections that
//! had their turn before. No clock is read for the calls that are passed over.

use std::time::Instant;

use crate::base::key::KEY_BYTES_MAX;
use crate::base::time::Now;
use crate::command::observe::{self, Observed};
use crate::command::{Context, Output, Progress, Service, Session};
use crate::stats::observation::{ObservedCommand, WorkerObservation};
use crate::stats::sampled_prefixes::PrefixUse;

/// Calls of a worker that are looked at in a second; a sudden load takes some hundred more in its first.
pub const SAMPLES_PER_SECOND: u32 = 256;

/// Calls per sample, on average, at the least: what a sample costs is shared by so many calls.
pub const CALLS_PER_SAMPLE_MIN: u32 = 64;

/// Samples after which the interval doubles: a worker's first ones, and once there are enough of them in a second.
const SAMPLES_PER_DOUBLING: u32 = 64;

/// Longest interval, in calls.
const INTERVAL_MAX: u32 = 1 << 20;

/// Chooses and takes a worker's samples.
#[derive(Debug)]
pub struct Sampler {
    /// Calls until the next sample, at least 1.
    countdown: u32,
    /// Calls per sample, on average.
    interval: u32,
    /// Least value of `interval`: 1 at first, [`CALLS_PER_SAMPLE_MIN`] soon.
    interval_min: u32,
    /// Samples until `interval_min` doubles.
    until_doubling: u32,
    /// Samples of the present second.
    taken: u32,
    /// The present second of the coarse clock.
    second: u32,
    /// State of the random numbers, never 0.
    random: u64,
    /// The request whose time is being taken, and how many it stands for.
    open: Option<(ObservedCommand, u64)>,
}

impl Sampler {
    /// A sampler for worker number `worker`; one that is off never looks.
    pub fn new(is_on: bool, worker: usize) -> Self {
        Self {
            countdown: if is_on { 1 } else { u32::MAX },
            interval: 1,
            interval_min: 1,
            until_doubling: SAMPLES_PER_DOUBLING,
            taken: 0,
            second: 0,
            random: 0x9e37_79b9_7f4a_7c15 ^ ((worker as u64 + 1) << 32),
            open: None,
        }
    }

    /// Lets a session work ([`Session::process`]).
    #[inline(always)]
    pub fn process(
        &mut self,
        session: &mut Session,
        input: &[u8],
        output: &mut Output,
        context: &mut Context<'_>,
    ) -> Progress {
        if self.passes_over() {
            return session.process(input, output, context);
        }
        self.process_closely(session, input, output, context)
    }

    /// Counts a call down; true when it is not to be looked at, else [`Sampler::process_closely`] has to be next.
    #[inline(always)]
    pub fn passes_over(&mut self) -> bool {
        self.countdown -= 1;
        self.countdown > 0
    }

    /// Lets a session work, and looks at it.
    #[cold]
    #[inline(never)]
    pub fn process_closely(
        &mut self,
        session: &mut Session,
        input: &[u8],
        output: &mut Output,
        context: &mut Context<'_>,
    ) -> Progress {
        let Some(observations) = &context.service.observations else {
            self.countdown = u32::MAX;
            return session.process(input, output, context);
        };
        let calls = self.begin(context.now);
        let framing = session.framing(input, context.service);
        let progress = session.process(input, output, context);
        let done = input.get(..progress.consumed).unwrap_or_default();
        let picked = framing.and_then(|framing| observe::pick(done, framing, &mut |below| self.below(below)));
        if let (Some(picked), Some(observation)) = (picked, observations.get(context.worker)) {
            let weight = calls.saturating_mul(picked.requests);
            note(&picked, weight, observation, context);
            if picked.is_whole {
                self.open = Some((picked.command, weight));
            }
        }
        progress
    }

    /// Begins a sample: how many calls it stands for, and when the next one is due.
    fn begin(&mut self, now: Now) -> u64 {
        if self.second != now.seconds {
            self.second = now.seconds;
            if self.taken < SAMPLES_PER_SECOND {
                let wanted = u64::from(self.interval) * u64::from(self.taken.max(1)) / u64::from(SAMPLES_PER_SECOND);
                self.interval = (wanted as u32).max(self.interval_min);
            }
            self.taken = 0;
        }
        let calls = u64::from(self.interval);
        self.taken += 1;
        if self.interval_min < CALLS_PER_SAMPLE_MIN {
            self.until_doubling -= 1;
            if self.until_doubling == 0 {
                self.until_doubling = SAMPLES_PER_DOUBLING;
                self.interval_min *= 2;
                self.interval = self.interval.max(self.interval_min);
            }
        }
        if self.taken >= SAMPLES_PER_SECOND && self.taken.is_multiple_of(SAMPLES_PER_DOUBLING) {
            self.interval = (self.interval * 2).min(INTERVAL_MAX);
        }
        // Each number of calls up to twice the interval is as likely, so the mean is the interval.
        self.countdown = 1 + self.below(2 * self.interval as usize - 1) as u32;
        calls
    }

    /// A random number below `limit`, which is at least 1 (xorshift).
    fn below(&mut self, limit: usize) -> usize {
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        (self.random % limit.max(1) as u64) as usize
    }

    /// Ends the turn of a connection, in a round that began at `start`: takes the time of its sample, if it had one.
    #[inline]
    pub fn end_turn(&mut self, start: Instant, service: &Service, worker: usize) {
        if self.open.is_some() {
            self.take_time(start, service, worker);
        }
    }

    #[cold]
    fn take_time(&mut self, start: Instant, service: &Service, worker: usize) {
        if let (Some((command, weight)), Some(observation)) = (self.open.take(), service.observation(worker)) {
            observation.latencies(command).record(start.elapsed(), weight);
        }
    }
}

/// Records what does not depend on the end of the request.
fn note(picked: &Observed<'_>, weight: u64, observation: &WorkerObservation, context: &Context<'_>) {
    let now = context.now;
    if let Some((value_bytes, exptime)) = picked.stored {
        let deadline = now.deadline(exptime);
        let ttl_seconds = (deadline != 0).then(|| u64::from(deadline.saturating_sub(now.seconds)));
        observation.stored.record(value_bytes, ttl_seconds, weight);
    }
    if picked.command.has_keys() && !picked.key.is_empty() && picked.key.len() <= KEY_BYTES_MAX {
        let weight = weight.saturating_mul(picked.keys);
        observation.hot_keys.lock().record(picked.key, weight);
        context.service.prefixes.record_sample(picked.key, usage(picked, context), weight);
    }
}

/// What the request did with its key.
fn usage(picked: &Observed<'_>, context: &Context<'_>) -> PrefixUse {
    match picked.command {
        command if command.is_reading() => {
            // A key that is there after the get was there for it, unless another request came between.
            let store = &context.service.store;
            let is_hit = store.entry(picked.key, store.hash(picked.key), context.now, |entry| entry.item().is_some());
            PrefixUse::Get { is_hit }
        }
        ObservedCommand::Delete | ObservedCommand::MetaDelete => PrefixUse::Delete,
        _ => picked.stored.map_or(PrefixUse::Other, |(value_bytes, _)| PrefixUse::Set { value_bytes }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: u32) -> Now {
        Now { seconds, epoch: 0 }
    }

    /// Lets `calls` calls pass in one second: the samples taken, and the calls they stand for.
    fn pass(sampler: &mut Sampler, second: u32, calls: u32) -> (u32, u64) {
        let (mut samples, mut weight) = (0, 0);
        for _ in 0..calls {
            sampler.countdown -= 1;
            if sampler.countdown == 0 {
                weight += sampler.begin(at(second));
                samples += 1;
            }
        }
        (samples, weight)
    }

    #[test]
    fn the_first_calls_are_all_seen() {
        let mut sampler = Sampler::new(true, 0);
        assert_eq!(pass(&mut sampler, 1, SAMPLES_PER_DOUBLING), (SAMPLES_PER_DOUBLING, SAMPLES_PER_DOUBLING.into()));
        let mut off = Sampler::new(false, 0);
        assert_eq!(pass(&mut off, 1, 100_000), (0, 0));
    }

    /// At every load, after the first seconds: so few samples for so many calls, which they stand for.
    #[test]
    fn samples_are_few_at_every_load_and_stand_for_all_calls() {
        // Samples were once bounded by the second alone: below 256 calls a second every call was one.
        for (calls, seconds) in
            [(1, 100_000), (100, 10_000), (1000, 2000), (20_000, 300), (100_000, 100), (1_000_000, 30)]
        {
            let mut sampler = Sampler::new(true, 3);
            (1..=5000 / calls + 3).for_each(|second| _ = pass(&mut sampler, second, calls));
            let (mut samples, mut weight) = (0, 0);
            for second in 0..seconds {
                let (taken, stand_for) = pass(&mut sampler, 10_000 + second, calls);
                assert!(taken < 3 * SAMPLES_PER_SECOND, "{taken} of {calls}");
                samples += taken;
                weight += stand_for;
            }
            let all = f64::from(calls) * f64::from(seconds);
            let per_sample = all / f64::from(samples);
            let least = f64::from(CALLS_PER_SAMPLE_MIN.max(calls / (2 * SAMPLES_PER_SECOND)));
            assert!(per_sample > 0.9 * least, "{per_sample} calls per sample at {calls}/s");
            let most = f64::from(CALLS_PER_SAMPLE_MIN.max(calls / 50));
            assert!(per_sample < 1.1 * most, "{per_sample} calls per sample at {calls}/s");
            let share = weight as f64 / all;
            assert!((0.95..1.05).contains(&share), "{share} at {calls}/s");
        }
    }

    #[test]
    fn a_sudden_load_takes_few_samples() {
        let mut sampler = Sampler::new(true, 0);
        (1..10).for_each(|second| _ = pass(&mut sampler, second, 1000));
        let (samples, _) = pass(&mut sampler, 10, 1_000_000);
        assert!((SAMPLES_PER_SECOND..1000).contains(&samples), "{samples}");
    }

    #[test]
    fn the_load_may_fall_again() {
        let mut sampler = Sampler::new(true, 0);
        for second in 1..10 {
            pass(&mut sampler, second, 1_000_000);
        }
        for second in 10..100 {
            pass(&mut sampler, second, 1000);
        }
        let samples: u32 = (100..200).map(|second| pass(&mut sampler, second, 1000).0).sum();
        assert!((1200..1900).contains(&samples), "{samples}");
    }

    #[test]
    fn the_rarest_samples_are_no_rarer_than_they_may_be() {
        let mut sampler = Sampler::new(true, 0);
        // All calls of a second come between two samples, however many those are.
        for _ in 0..40 * SAMPLES_PER_DOUBLING {
            sampler.begin(at(1));
            assert!(sampler.countdown < 2 * INTERVAL_MAX);
        }
        assert_eq!(sampler.begin(at(1)), u64::from(INTERVAL_MAX));
    }
}

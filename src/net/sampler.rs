//! Which calls of a session are looked at closely, and the look: how long the request took, which key it named, what it
//! stored. Off unless the process has observations; then a call costs one countdown.
//!
//! Every call counts down; at zero the call is a sample and the countdown is set anew, at random around an interval, so
//! that no rhythm of the clients can hide from it. The interval follows the load: about [`SAMPLES_PER_SECOND`] calls are
//! looked at per worker, all of them on a server with little to do and one in thousands on a busy one. So the share of a
//! processor that samples cost is bounded and does not grow with the load.
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

/// Calls of a worker that are looked at in a second; a sudden load takes some hundred more in its first.
pub const SAMPLES_PER_SECOND: u32 = 256;

/// Samples after which the interval doubles, once there are enough of them in a second.
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
        self.countdown -= 1;
        if self.countdown > 0 {
            return session.process(input, output, context);
        }
        self.process_closely(session, input, output, context)
    }

    #[cold]
    #[inline(never)]
    fn process_closely(
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
            note(&picked, weight, observation, context.now);
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
                self.interval = (wanted as u32).max(1);
            }
            self.taken = 0;
        }
        let calls = u64::from(self.interval);
        self.taken += 1;
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
fn note(picked: &Observed<'_>, weight: u64, observation: &WorkerObservation, now: Now) {
    if let Some((value_bytes, exptime)) = picked.stored {
        let deadline = now.deadline(exptime);
        let ttl_seconds = (deadline != 0).then(|| u64::from(deadline.saturating_sub(now.seconds)));
        observation.stored.record(value_bytes, ttl_seconds, weight);
    }
    if picked.command.has_keys() && !picked.key.is_empty() && picked.key.len() <= KEY_BYTES_MAX {
        observation.hot_keys.lock().record(picked.key, weight.saturating_mul(picked.keys));
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
    fn a_quiet_server_is_seen_whole() {
        let mut sampler = Sampler::new(true, 0);
        for second in 1..100 {
            assert_eq!(pass(&mut sampler, second, 100), (100, 100));
        }
    }

    #[test]
    fn a_busy_server_is_seen_in_samples_that_stand_for_all() {
        let mut sampler = Sampler::new(true, 3);
        let (first, _) = pass(&mut sampler, 1, 200_000);
        assert!((SAMPLES_PER_SECOND..1000).contains(&first), "{first}");
        let (mut samples, mut weight) = (0, 0);
        for second in 2..102 {
            let (taken, stand_for) = pass(&mut sampler, second, 200_000);
            assert!(taken < 3 * SAMPLES_PER_SECOND, "{taken}");
            samples += taken;
            weight += stand_for;
        }
        assert!((10_000..50_000).contains(&samples), "{samples}");
        let share = weight as f64 / 20_000_000.0;
        assert!((0.97..1.03).contains(&share), "{share}");
    }

    #[test]
    fn the_load_may_fall_again() {
        let mut sampler = Sampler::new(true, 0);
        for second in 1..10 {
            pass(&mut sampler, second, 1_000_000);
        }
        for second in 10..40 {
            pass(&mut sampler, second, 1000);
        }
        let (samples, _) = pass(&mut sampler, 40, 1000);
        assert!((100..800).contains(&samples), "{samples}");
    }
}

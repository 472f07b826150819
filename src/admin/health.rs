//! Whether the workers turn and connections are accepted: `/healthz` and `/readyz`.
//!
//! Once a second the workers' turns are looked at. A worker that waits turns at least once a second for the store's
//! maintenance, so one whose count stands still for longer is stuck in a turn, or was stopped.

use std::io::stderr;
use std::os::fd::{AsFd, AsRawFd};

use rustix::io::Errno;

use crate::command::Service;

use super::facts::is_accepting;

/// What is known of the workers.
#[derive(Debug, Default)]
pub(super) struct Health {
    workers: Vec<Worker>,
    is_stopping: bool,
}

#[derive(Clone, Copy, Debug, Default)]
struct Worker {
    turns: u64,
    /// In the last second.
    turns_per_second: u64,
    /// Seconds since they last changed.
    still_seconds: u64,
}

/// An answer of a health check.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Answer {
    pub is_well: bool,
    pub text: String,
}

impl Health {
    /// Looks at the workers, `seconds` after the last time.
    pub fn tick(&mut self, seconds: u64, service: &Service) {
        let turns: Vec<u64> = service.observations.iter().flatten().map(|seen| seen.turns.value()).collect();
        self.look(seconds, &turns);
    }

    fn look(&mut self, seconds: u64, turns: &[u64]) {
        self.workers.resize(turns.len(), Worker::default());
        for (worker, &turns) in self.workers.iter_mut().zip(turns) {
            worker.turns_per_second = turns.saturating_sub(worker.turns) / seconds.max(1);
            worker.still_seconds = match turns == worker.turns {
                true => worker.still_seconds + seconds.min(STALL_SECONDS),
                false => 0,
            };
            worker.turns = turns;
        }
    }

    /// The server is about to end.
    pub fn stop(&mut self) {
        self.is_stopping = true;
    }

    pub fn is_stopping(&self) -> bool {
        self.is_stopping
    }

    /// Turns, turns per second and whether it is stuck, by worker.
    pub fn workers(&self) -> impl Iterator<Item = (u64, u64, bool)> {
        self.workers.iter().map(|worker| (worker.turns, worker.turns_per_second, worker.still_seconds >= STALL_SECONDS))
    }

    /// The worker that is stuck for longest, and for how many seconds.
    pub fn longest_stall(&self) -> Option<(usize, u64)> {
        let stalls = self.workers.iter().map(|worker| worker.still_seconds).enumerate();
        stalls.filter(|(_, seconds)| *seconds >= STALL_SECONDS).max_by_key(|(_, seconds)| *seconds)
    }

    /// `/healthz`: every worker turns.
    pub fn check(&self) -> Answer {
        let mut text = String::new();
        for (index, worker) in self.workers.iter().enumerate() {
            let Worker { turns, still_seconds, .. } = worker;
            let state = match still_seconds {
                0..STALL_SECONDS => "turns".to_owned(),
                _ => format!("has not turned for {still_seconds} seconds"),
            };
            text.push_str(&format!("worker {index} {state}, {turns} loop turns\n"));
        }
        let is_well = self.longest_stall().is_none();
        Answer { is_well, text: format!("{}\n{text}", if is_well { "ok" } else { "stalled" }) }
    }

    /// `/readyz`: who connects is served.
    pub fn check_ready(&self, service: &Service) -> Answer {
        let not = |text: &str| Answer { is_well: false, text: text.to_owned() };
        match (self.is_stopping, is_accepting(service), is_full(service)) {
            (true, ..) => not("stopping\n"),
            (false, false, _) => not("no connections are accepted\n"),
            (false, true, true) => not("connections are refused, as many are open as -c allows\n"),
            (false, true, false) => Answer { is_well: true, text: "ok\n".to_owned() },
        }
    }
}

/// Whether the next connection would be refused (`maxconns_fast`): that goes by the number of its descriptor, which is the
/// lowest that is free.
fn is_full(service: &Service) -> bool {
    let descriptors_max = i64::try_from(service.config.max_connections).unwrap_or(i64::MAX) - 1;
    match stderr().as_fd().try_clone_to_owned() {
        Ok(next) => i64::from(next.as_raw_fd()) >= descriptors_max,
        Err(error) => error.raw_os_error() == Some(Errno::MFILE.raw_os_error()),
    }
}

/// A worker that does not turn for so long is stuck.
const STALL_SECONDS: u64 = 5;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::sync::Ordering;
    use crate::store;

    #[test]
    fn a_worker_that_stands_still_is_found() {
        let mut health = Health::default();
        assert!(health.check().is_well);
        for second in 1..=4 {
            health.look(1, &[10 * second, 7]);
        }
        assert!(health.check().is_well);
        assert_eq!(health.workers().next(), Some((40, 10, false)));
        health.look(2, &[60, 7]);
        assert_eq!(health.longest_stall(), Some((1, 5)));
        let answer = health.check();
        assert!(!answer.is_well);
        assert_eq!(
            answer.text,
            "stalled\nworker 0 turns, 60 loop turns\nworker 1 has not turned for 5 seconds, 7 loop turns\n"
        );
        health.look(1, &[61, 8]);
        assert!(health.check().is_well && health.longest_stall().is_none());
    }

    #[test]
    fn readiness_follows_accepting_and_stopping() {
        let mut service = Service::in_process(store::Config::default());
        let mut health = Health::default();
        assert!(!health.check_ready(&service).is_well);
        service.connections.is_accepting.store(1, Ordering::Relaxed);
        assert_eq!(health.check_ready(&service), Answer { is_well: true, text: "ok\n".to_owned() });
        // It used to be ready as long as it told clients itself that it had no room for them.
        service.config.max_connections = 4;
        assert!(health.check_ready(&service).text.starts_with("connections are refused"));
        service.config.max_connections = usize::MAX;
        assert!(health.check_ready(&service).is_well);
        health.stop();
        assert_eq!(health.check_ready(&service), Answer { is_well: false, text: "stopping\n".to_owned() });
    }
}

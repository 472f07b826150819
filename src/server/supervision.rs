//! Keeps the service manager informed: a line about the load, and the watchdog's sign of life.
//!
//! One thread, and only under a service manager. In each round it asks every worker and the acceptor for a turn of their
//! loops; in the next it looks whether all had one, and only then gives the sign. A worker that hangs, for whatever
//! reason, so ends the signs, and the service manager the process. A round is a quarter of the watchdog's time, so that
//! a worker may be slow once or twice; without a watchdog nobody is woken.

use std::thread;
use std::time::Duration;

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, bounded};

use crate::base::sync::Arc;
use crate::command::Service;
use crate::net::acceptor::Stopper;
use crate::net::inbox::Inbox;
use crate::sys::error_text;
use crate::sys::service_manager::ServiceManager;

/// Ends the thread when dropped.
pub type Supervision = Sender<()>;

/// Starts the thread, if anybody wants to know.
pub fn start(
    manager: &Arc<ServiceManager>,
    service: &Arc<Service>,
    inboxes: &[Arc<Inbox>],
    acceptor: &Arc<Stopper>,
) -> Option<Supervision> {
    if !manager.is_there() {
        return None;
    }
    let (supervision, end) = bounded(0);
    let supervisor = Supervisor {
        manager: Arc::clone(manager),
        service: Arc::clone(service),
        loops: Loops { inboxes: inboxes.to_vec(), acceptor: Arc::clone(acceptor) },
        last_status: String::new(),
        is_late: false,
    };
    let started = thread::Builder::new().name("supervision".to_owned()).spawn(move || supervisor.run(&end));
    if let Err(error) = started {
        log::warn!("nobody informs the service manager: {}", error_text(&error));
        return None;
    }
    Some(supervision)
}

/// The load in one line.
pub fn status(service: &Service) -> String {
    let snapshot = service.store.snapshot();
    let connections = service.connections.count().saturating_sub(1);
    let (used, limit) = (snapshot.malloced_bytes >> 20, snapshot.limit_bytes >> 20);
    format!("{} items, {connections} connections, {used} of {limit} MiB", snapshot.curr_items)
}

struct Supervisor {
    manager: Arc<ServiceManager>,
    service: Arc<Service>,
    loops: Loops,
    last_status: String,
    /// Whether it was said that a loop is late.
    is_late: bool,
}

impl Supervisor {
    fn run(mut self, end: &Receiver<()>) {
        let watchdog = self.manager.watchdog_timeout();
        let round = watchdog.map_or(STATUS_INTERVAL, |timeout| (timeout / ROUNDS).min(STATUS_INTERVAL));
        if watchdog.is_some() {
            self.loops.await_turns();
        }
        while end.recv_timeout(round) == Err(RecvTimeoutError::Timeout) {
            if watchdog.is_some() {
                self.look(round);
            }
            let status = status(&self.service);
            if status != self.last_status {
                self.manager.status(&status);
                self.last_status = status;
            }
        }
    }

    fn look(&mut self, round: Duration) {
        match self.loops.late() {
            None => {
                self.manager.ping();
                self.loops.await_turns();
                self.is_late = false;
            }
            Some(name) if !self.is_late => {
                log::error!("{name} has not turned for {} ms: no sign of life", round.as_millis());
                self.is_late = true;
            }
            Some(_) => {}
        }
    }
}

/// The loops that serve.
struct Loops {
    inboxes: Vec<Arc<Inbox>>,
    acceptor: Arc<Stopper>,
}

impl Loops {
    fn await_turns(&self) {
        for inbox in &self.inboxes {
            inbox.await_turn();
        }
        self.acceptor.await_turn();
    }

    /// One that has not turned since it was asked to.
    fn late(&self) -> Option<String> {
        let worker = self.inboxes.iter().position(|inbox| !inbox.has_turned());
        let worker = worker.map(|index| format!("worker {index}"));
        worker.or_else(|| (!self.acceptor.has_turned()).then(|| "acceptor".to_owned()))
    }
}

/// Rounds in the watchdog's time.
const ROUNDS: u32 = 4;
/// How often the load is told, at least when there is a watchdog.
const STATUS_INTERVAL: Duration = Duration::from_secs(10);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::net::acceptor::Acceptor;
    use crate::net::worker::Worker;
    use crate::store;

    #[test]
    fn a_loop_that_stands_still_is_named() {
        let service = Arc::new(Service::in_process(store::Config::default()));
        let worker = Worker::new(0, Arc::clone(&service), None).expect("a worker");
        let inboxes = vec![worker.inbox()];
        let acceptor = Acceptor::new(Arc::clone(&service), Vec::new(), inboxes.clone()).expect("an acceptor");
        let loops = Loops { inboxes, acceptor: acceptor.stopper() };
        assert_eq!(loops.late(), None);
        loops.await_turns();
        // Neither thread runs yet.
        assert_eq!(loops.late().as_deref(), Some("worker 0"));
        let accepting = thread::spawn(move || acceptor.run());
        let working = thread::spawn(move || worker.run());
        while loops.late().is_some() {
            thread::yield_now();
        }
        loops.inboxes[0].stop();
        working.join().expect("no panic");
        loops.await_turns();
        assert_eq!(loops.late().as_deref(), Some("worker 0"));
        loops.inboxes[0].look();
        loops.acceptor.stop();
        accepting.join().expect("no panic");
    }

    #[test]
    fn the_load_is_one_line() {
        let service = Service::in_process(store::Config { memory_limit_bytes: 64 << 20, ..Default::default() });
        assert_eq!(status(&service), "0 items, 0 connections, 0 of 64 MiB");
    }
}

//! A worker thread: one mio loop over its connections.
//!
//! ```text
//!   poll -> a turn for each that an event names -> one for each on the ready list -> maintenance, when due -> poll ...
//! ```
//! Sockets are registered once, for both directions, edge-triggered. What has more to do goes to the end of the
//! `ready` list, without a system call; while that list is not empty the poll does not wait. The clock is read once per
//! round. With nothing to do the thread sleeps until the store's maintenance is due, or for good.

use std::collections::VecDeque;
use std::io;
use std::time::{Duration, Instant};

use mio::event::Event;
use mio::{Events, Poll, Token};
use slab::Slab;

use crate::base::sync::{Arc, Waker};
use crate::command::{CloseReason, Service};
use crate::stats::connections::ConnectionState;
use crate::stats::events::{class, connection_closed, connection_opened};

use super::connection::{Connection, Verdict};
use super::inbox::Inbox;
use super::tools::Tools;
use super::udp::Endpoint;

/// A worker before its thread runs.
pub struct Worker {
    poll: Poll,
    inbox: Arc<Inbox>,
    connections: Slab<Connection>,
    /// Connections with something to do, each once ([`Connection::is_listed`]).
    ready: VecDeque<usize>,
    /// The same, from the next round on: they have moved as much of large values as they may at a time.
    later: VecDeque<usize>,
    /// The same, while their TLS handshake goes on: a few turns in each round, so that many of them delay no request.
    handshakes: VecDeque<usize>,
    endpoints: Vec<Endpoint>,
    woken: Vec<usize>,
    tools: Tools,
    maintain_at: Instant,
    sweep_at: Option<Instant>,
    /// The store's count at the last sweep.
    starvations: u32,
    /// The same of the system's refusals, which are said once.
    refusals: u64,
    /// Set when the server stops: when to end even if replies are owed.
    stop_at: Option<Instant>,
    /// Whether a poll since then has shown what had been received.
    has_looked_last: bool,
}

impl Worker {
    /// Worker number `index`. `send_bytes` is what encrypted connections encrypt at once; `None` where there are none.
    pub fn new(index: usize, service: Arc<Service>, send_bytes: Option<usize>) -> io::Result<Self> {
        let poll = Poll::new()?;
        let waker = Waker::new(poll.registry(), WAKER)?;
        let inbox = Arc::new(Inbox::new(waker));
        let target = Arc::clone(&inbox);
        let start = Instant::now();
        let has_idle_timeout = service.config.idle_timeout_seconds > 0;
        let tools = Tools::new(index, service, start, send_bytes, Arc::new(move |token| target.wake(token)));
        Ok(Self {
            poll,
            inbox,
            connections: Slab::new(),
            ready: VecDeque::new(),
            later: VecDeque::new(),
            handshakes: VecDeque::new(),
            endpoints: Vec::new(),
            woken: Vec::new(),
            tools,
            maintain_at: start,
            sweep_at: has_idle_timeout.then_some(start + SWEEP_INTERVAL),
            starvations: 0,
            refusals: 0,
            stop_at: None,
            has_looked_last: false,
        })
    }

    /// Where to send it connections, wakes and the word to stop.
    pub fn inbox(&self) -> Arc<Inbox> {
        Arc::clone(&self.inbox)
    }

    /// Gives it a UDP socket to serve.
    pub fn add_endpoint(&mut self, mut endpoint: Endpoint) -> io::Result<()> {
        let token = Token(ENDPOINT_FIRST + self.endpoints.len());
        endpoint.register(self.poll.registry(), token)?;
        self.endpoints.push(endpoint);
        Ok(())
    }

    /// Serves until told to stop and done with what was received by then.
    pub fn run(mut self) {
        let mut events = events();
        while self.round(&mut events) {}
        self.close_all();
    }

    /// A poll, and the turns and timers that are due after it; false when there is to be none after this one.
    #[inline(always)]
    fn round(&mut self, events: &mut Events) -> bool {
        let timeout = self.timeout();
        let is_stopping = self.stop_at.is_some();
        if let Err(error) = self.poll.poll(events, timeout) {
            let is_interrupted = error.kind() == io::ErrorKind::Interrupted;
            if !is_interrupted {
                log::error!("worker {}: poll: {error}", self.tools.worker);
            }
            return is_interrupted;
        }
        self.begin_round();
        for event in &*events {
            self.take_up(event);
        }
        for _ in 0..self.ready.len().max(TURNS_PER_POLL) {
            match self.ready.pop_front() {
                Some(token) => self.turn_of(token),
                None => break,
            }
        }
        self.ready.append(&mut self.later);
        for _ in 0..HANDSHAKES_PER_POLL {
            match self.handshakes.pop_front() {
                Some(token) => self.turn_of(token),
                None => break,
            }
        }
        self.run_timers();
        self.has_looked_last = is_stopping;
        !self.has_stopped()
    }

    /// Reads the clock, once for all turns of the round.
    fn begin_round(&mut self) {
        let instant = Instant::now();
        let tools = &mut self.tools;
        tools.instant = instant;
        tools.now = tools.service.clock.at(instant);
        tools.is_stopping = self.stop_at.is_some_and(|stop_at| instant + STOP_SENDING_TIMEOUT >= stop_at);
        if let Some(observation) = tools.service.observation(tools.worker) {
            observation.turns.add(1);
        }
    }

    /// Does what an event asks for: at once, but for what is on a list already and for handshakes, which have their own.
    fn take_up(&mut self, event: &Event) {
        let Token(token) = event.token();
        let Some(connection) = self.connections.get_mut(token) else {
            return self.take_up_other(token);
        };
        // A broken connection is found out by reading or writing, whichever it waits for.
        let is_broken = event.is_error();
        let mut has_work = false;
        if event.is_writable() || event.is_write_closed() || is_broken {
            has_work |= connection.note_writable();
        }
        if event.is_readable() || event.is_read_closed() || is_broken {
            has_work |= connection.note_readable(event.is_read_closed() || is_broken);
        }
        if !has_work || connection.is_listed {
            return;
        }
        if connection.is_handshaking() {
            return self.list(token);
        }
        let verdict = connection.turn(token, &mut self.tools);
        self.follow(token, verdict);
    }

    /// An event of something else than a connection.
    #[inline(never)]
    fn take_up_other(&mut self, token: usize) {
        if token == WAKER.0 {
            return self.read_inbox();
        }
        if let Some(number) = token.checked_sub(ENDPOINT_FIRST)
            && let Some(endpoint) = self.endpoints.get_mut(number)
            && endpoint.note_readable()
        {
            self.ready.push_back(token);
        }
    }

    fn list(&mut self, token: usize) {
        if let Some(connection) = self.connections.get_mut(token)
            && !connection.is_listed
        {
            connection.is_listed = true;
            match connection.is_handshaking() {
                true => self.handshakes.push_back(token),
                false => self.ready.push_back(token),
            }
        }
    }

    fn read_inbox(&mut self) {
        let is_stopping = self.inbox.look();
        while let Some(new) = self.inbox.connection() {
            self.adopt(Connection::new(new, self.tools.now));
        }
        let mut woken = std::mem::take(&mut self.woken);
        self.inbox.woken(&mut woken);
        for token in woken.drain(..) {
            let connection = self.connections.get_mut(token);
            if connection.is_some_and(Connection::note_woken) {
                self.list(token);
            }
        }
        self.woken = woken;
        if is_stopping && self.stop_at.is_none() {
            self.stop_at = Some(self.tools.instant + STOP_TIMEOUT);
        }
    }

    fn adopt(&mut self, mut connection: Connection) {
        let vacant = self.connections.vacant_entry();
        let token = Token(vacant.key());
        let registry = self.poll.registry();
        if let Err(error) = connection.stream().register(registry, token) {
            log::warn!("cannot watch a connection: {error}");
            self.tools.service.connections.close(connection.entry());
            return;
        }
        connection.entry().set_state(ConnectionState::Read);
        if self.tools.service.events.is_watched(class::CONNEVENTS) {
            let (address, port) = connection.peer().endpoint();
            let stream = connection.stream();
            let (transport, descriptor) = (stream.transport(), stream.descriptor());
            connection_opened(&self.tools.service.events, &address, port, transport, descriptor);
        }
        if connection.is_handshaking() {
            self.sweep_at.get_or_insert(self.tools.instant + SWEEP_INTERVAL);
        }
        vacant.insert(connection);
    }

    /// Gives a connection or UDP socket that was on a list its turn.
    fn turn_of(&mut self, token: usize) {
        if let Some(connection) = self.connections.get_mut(token) {
            connection.is_listed = false;
            let verdict = connection.turn(token, &mut self.tools);
            self.follow(token, verdict);
        } else if let Some(number) = token.checked_sub(ENDPOINT_FIRST)
            && let Some(endpoint) = self.endpoints.get_mut(number)
            && endpoint.turn(&mut self.tools)
        {
            self.ready.push_back(token);
        }
    }

    /// Does what a connection's turn has left to be done.
    #[inline(always)]
    fn follow(&mut self, token: usize, verdict: Verdict) {
        self.tools.end_turn();
        if verdict != Verdict::Wait {
            self.follow_further(token, verdict);
        }
    }

    #[inline(never)]
    fn follow_further(&mut self, token: usize, verdict: Verdict) {
        match verdict {
            Verdict::Wait => {}
            Verdict::WaitHolding => {
                self.sweep_at.get_or_insert(self.tools.instant + SWEEP_INTERVAL);
            }
            Verdict::Again => self.list(token),
            Verdict::AgainLater => {
                self.connections[token].is_listed = true;
                self.later.push_back(token);
            }
            Verdict::Close(CloseReason::Normal) => self.close(token, "normal"),
            Verdict::Close(CloseReason::Error) => self.close(token, "error"),
        }
    }

    fn close(&mut self, token: usize, reason: &str) {
        let Some(mut connection) = self.connections.try_remove(token) else {
            return;
        };
        connection.release(&mut self.tools.pool);
        let stream = connection.stream();
        stream.say_goodbye(&mut self.tools.tls);
        let (transport, descriptor) = (stream.transport(), stream.descriptor());
        if self.tools.service.events.is_watched(class::CONNEVENTS) {
            let (address, port) = connection.peer().endpoint();
            let events = &self.tools.service.events;
            connection_closed(events, &address, port, transport, descriptor, reason);
        }
        log::debug!("<{descriptor} connection closed.");
        self.tools.service.connections.close(connection.entry());
    }

    fn run_timers(&mut self) {
        let instant = self.tools.instant;
        if instant >= self.maintain_at {
            let workers = self.tools.service.config.threads;
            let pause = self.tools.service.store.maintain(self.tools.worker, workers, self.tools.now);
            self.maintain_after(pause);
            if self.tools.worker == 0 {
                self.warn_of_refusals();
            }
        }
        if self.sweep_at.is_some_and(|sweep_at| instant >= sweep_at) {
            self.sweep_handshakes();
            if self.tools.service.config.idle_timeout_seconds > 0 {
                self.sweep_idle();
            }
            self.sweep_stuck();
            let is_awaited = self.tools.service.config.idle_timeout_seconds > 0
                || self.connections.iter().any(|(_, other)| other.is_handshaking() || other.is_holding());
            self.sweep_at = is_awaited.then_some(instant + SWEEP_INTERVAL);
        }
    }

    /// Sets when maintenance is due next.
    fn maintain_after(&mut self, pause: Duration) {
        self.maintain_at = self.tools.instant + pause.min(MAINTAIN_PAUSE_MAX);
    }

    /// Says so when the system has refused memory.
    fn warn_of_refusals(&mut self) {
        let refusals = self.tools.service.store.refusals();
        if std::mem::replace(&mut self.refusals, refusals) < refusals {
            log::warn!("the system gives no more memory: the cache makes do with what it has");
        }
    }

    /// Closes connections whose last command is more than the idle timeout ago.
    fn sweep_idle(&mut self) {
        let timeout = self.tools.service.config.idle_timeout_seconds;
        let limit = self.tools.now.seconds.saturating_sub(timeout);
        let idle: Vec<usize> = self
            .connections
            .iter_mut()
            .filter_map(|(token, connection)| connection.is_idle_since(limit).then_some(token))
            .collect();
        for token in idle {
            self.tools.counters.idle_kicks.add(1);
            self.close(token, "idle_timeout");
        }
    }

    /// Closes connections that hold memory of large values and do not move, if a command has found no memory lately.
    fn sweep_stuck(&mut self) {
        let starvations = self.tools.service.store.starvations();
        let is_starved = std::mem::replace(&mut self.starvations, starvations) != starvations;
        let mut stuck = Vec::new();
        for (token, connection) in &mut self.connections {
            let is_holding = connection.is_holding();
            if connection.held().is_stuck(is_holding) {
                stuck.push(token);
            }
        }
        if !is_starved || stuck.is_empty() {
            return;
        }
        log::warn!("closed {} connections that held memory of large values and did not move", stuck.len());
        for token in stuck {
            self.close(token, "error");
        }
    }

    /// Closes connections whose TLS handshake takes too long.
    fn sweep_handshakes(&mut self) {
        let limit = self.tools.now.seconds.saturating_sub(HANDSHAKE_TIMEOUT_SECONDS);
        let slow: Vec<usize> = self
            .connections
            .iter()
            .filter_map(|(token, connection)| connection.is_handshaking_since(limit).then_some(token))
            .collect();
        for token in slow {
            self.connections[token].stream().time_out_handshake(&mut self.tools.tls);
            self.close(token, "error");
        }
    }

    /// How long the poll may wait; `None` for ever.
    fn timeout(&self) -> Option<Duration> {
        let has_to_look = self.stop_at.is_some() && !self.has_looked_last;
        if has_to_look || !self.ready.is_empty() || !self.handshakes.is_empty() {
            return Some(Duration::ZERO);
        }
        let mut due = self.maintain_at;
        for other in [self.sweep_at, self.stop_at].into_iter().flatten() {
            due = due.min(other);
        }
        Some(due.saturating_duration_since(self.tools.instant))
    }

    fn has_stopped(&self) -> bool {
        let Some(stop_at) = self.stop_at else {
            return false;
        };
        let is_owing = |(_, connection): (usize, &Connection)| connection.is_owing();
        let is_done = || self.has_looked_last && self.ready.is_empty() && !self.connections.iter().any(is_owing);
        self.tools.instant >= stop_at || is_done()
    }

    fn close_all(&mut self) {
        let tokens: Vec<usize> = self.connections.iter().map(|(token, _)| token).collect();
        for token in tokens {
            self.close(token, "shutdown");
        }
    }
}

/// Room for what one poll brings.
fn events() -> Events {
    Events::with_capacity(EVENTS_MAX)
}

/// The waker's token; connections count up from 0.
const WAKER: Token = Token(usize::MAX);
/// Tokens of UDP sockets start here.
const ENDPOINT_FIRST: usize = usize::MAX / 2;
/// Events taken at once.
const EVENTS_MAX: usize = 1024;
/// Turns given before the next poll, however few are ready: a lone pipeline need not poll after each.
const TURNS_PER_POLL: usize = 8;
/// Turns of TLS handshakes before the next poll. One costs about as much as a hundred requests.
const HANDSHAKES_PER_POLL: usize = 4;
/// How long a TLS handshake may take.
const HANDSHAKE_TIMEOUT_SECONDS: u32 = 30;
/// How often idle connections and slow handshakes are looked for, while there may be any.
const SWEEP_INTERVAL: Duration = Duration::from_secs(1);
/// Longest sleep between maintenance steps, whatever the store says.
const MAINTAIN_PAUSE_MAX: Duration = Duration::from_secs(3600);
/// How long requests are still answered when the server stops.
const STOP_TIMEOUT: Duration = Duration::from_millis(400);
/// The last part of that, in which nothing more is read: who sends on and on would never be done.
const STOP_SENDING_TIMEOUT: Duration = Duration::from_millis(200);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::net::testing;
    use crate::store;
    use std::io::{Read, Write};
    use std::os::unix::net::UnixStream;

    /// A worker that has taken up so many connections, and their clients.
    fn worker(connections: usize) -> (Worker, Events, Vec<UnixStream>) {
        let service = Arc::new(Service::in_process(store::Config::default()));
        let mut worker = Worker::new(0, Arc::clone(&service), None).expect("a worker");
        let mut events = events();
        let mut clients = Vec::new();
        for _ in 0..connections {
            let (new, client) = testing::pair(&service);
            worker.inbox.push(new);
            clients.push(client);
        }
        worker.inbox.signal();
        while worker.connections.len() < connections {
            worker.round(&mut events);
        }
        // All are writable, which is news.
        for _ in 0..connections.div_ceil(EVENTS_MAX) {
            worker.inbox.wake(usize::MAX);
            worker.round(&mut events);
        }
        (worker, events, clients)
    }

    fn answered(clients: &mut [UnixStream]) -> usize {
        clients.iter_mut().map(|client| client.read(&mut [0; 100])).filter(Result::is_ok).count()
    }

    #[test]
    fn one_poll_brings_a_bounded_number_of_events() {
        let (mut worker, mut events, mut clients) = worker(EVENTS_MAX + 100);
        clients.iter_mut().for_each(|client| client.write_all(b"mn\r\n").expect("room"));
        worker.round(&mut events);
        assert_eq!(answered(&mut clients), EVENTS_MAX);
        worker.round(&mut events);
        assert_eq!(answered(&mut clients), 100);
    }

    #[test]
    fn a_lone_pipeline_has_a_bounded_number_of_turns_before_the_next_poll() {
        let (mut worker, mut events, mut clients) = worker(1);
        clients[0].write_all(&b"mn\r\n".repeat(1000)).expect("room");
        worker.round(&mut events);
        // One for the event, and those of the ready list.
        let turns = 1 + TURNS_PER_POLL as u64;
        assert_eq!(worker.tools.service.workers[0].conn_yields.value(), turns);
        worker.round(&mut events);
        assert_eq!(worker.tools.service.workers[0].conn_yields.value(), turns + TURNS_PER_POLL as u64);
    }

    /// The session counted them as well as the connection.
    #[test]
    fn a_yield_of_the_binary_protocol_counts_once() {
        let (mut worker, mut events, mut clients) = worker(1);
        let mut version = [0; 24];
        version[..2].copy_from_slice(b"\x80\x0b");
        clients[0].write_all(&version.repeat(45)).expect("room");
        worker.round(&mut events);
        assert_eq!(worker.tools.service.workers[0].conn_yields.value(), 2);
    }

    /// A value of 1 MiB had nine turns in a row.
    #[test]
    fn a_lone_large_value_has_one_turn_before_the_next_poll() {
        let (mut worker, mut events, mut clients) = worker(1);
        let service = Arc::clone(&worker.tools.service);
        let set = [&b"set k 0 0 1000000\r\n"[..], &[b'v'; 1_000_000], b"\r\n"].concat();
        crate::command::testing::Client::new(&service).feed(&set);
        clients[0].write_all(b"get k\r\n").expect("room");
        for round in [1, 2] {
            worker.round(&mut events);
            assert_eq!(service.workers[0].bytes_written.value(), round * 128 * 1024);
            let mut part = [0; 128 * 1024];
            clients[0].read_exact(&mut part).expect("a part");
        }
    }

    #[test]
    fn no_sleep_is_longer_than_the_longest() {
        let (mut worker, ..) = worker(0);
        let begin = worker.tools.instant;
        for pause in [MAINTAIN_PAUSE_MAX, Duration::MAX] {
            worker.maintain_after(pause);
            assert_eq!(worker.maintain_at, begin + MAINTAIN_PAUSE_MAX);
            assert_eq!(worker.timeout(), Some(MAINTAIN_PAUSE_MAX));
        }
    }

    #[test]
    fn the_last_part_of_a_stop_is_for_sending() {
        let (mut worker, ..) = worker(0);
        let now = Instant::now();
        for (left, is_stopping) in [(STOP_TIMEOUT + STOP_TIMEOUT, false), (STOP_SENDING_TIMEOUT, true)] {
            worker.stop_at = Some(now + left);
            worker.begin_round();
            assert_eq!(worker.tools.is_stopping, is_stopping, "{left:?} before the end");
        }
    }
}

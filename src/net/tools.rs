//! What a worker lends to the connection or UDP socket whose turn it is: memory, and the moment. One set per worker,
//! filled in once a round rather than once a turn.

use std::time::Instant;

use crate::base::sizes::READ_BUFFER_BYTES;
use crate::base::sync::{Arc, CachePadded};
use crate::base::time::Now;
use crate::command::service::{Context, Scratch, Wake};
use crate::command::{Output, Service};
use crate::stats::counters::WorkerCounters;

use super::address::Peer;
use super::buffer::{OUTPUT_BYTES_KEPT, Pool};
use super::sampler::Sampler;
use super::tls::Workspace;

/// See the module comment.
pub struct Tools {
    /// The process' shared parts.
    pub service: Arc<Service>,
    /// The worker.
    pub worker: usize,
    /// The worker's own, `service.workers[worker]`.
    pub counters: Arc<CachePadded<WorkerCounters>>,
    /// Start of the current round.
    pub instant: Instant,
    /// The same, as the store counts time.
    pub now: Now,
    /// Whether the server is about to end: nothing is read any more.
    pub is_stopping: bool,
    /// Where reads go, [`READ_BUFFER_BYTES`] long.
    pub read_buffer: Box<[u8]>,
    /// For the session.
    pub scratch: Scratch,
    /// The replies of the turn; empty between two turns.
    pub output: Box<Output>,
    /// Spare memory.
    pub pool: Pool,
    /// For encrypted connections.
    pub tls: Workspace,
    /// Lets sessions work and looks at some of what they do.
    pub sampler: Sampler,
    /// Wakes connections of this worker.
    pub wake: Arc<dyn Fn(usize) + Send + Sync>,
}

/// What [`Tools::lend`] lends to a session.
pub struct Lent<'a> {
    /// The world around it.
    pub context: Context<'a>,
    /// What was read, with old bytes behind it.
    pub read: &'a [u8],
    /// Where its replies go.
    pub output: &'a mut Output,
    /// Through which it is called.
    pub sampler: &'a mut Sampler,
}

impl Tools {
    /// The tools of worker number `worker`, in a round that begins at `instant`. `send_bytes` is what encrypted connections
    /// encrypt at once; `None` where there are none.
    pub fn new(
        worker: usize,
        service: Arc<Service>,
        instant: Instant,
        send_bytes: Option<usize>,
        wake: Arc<dyn Fn(usize) + Send + Sync>,
    ) -> Self {
        Self {
            worker,
            counters: Arc::clone(&service.workers[worker]),
            instant,
            now: service.clock.at(instant),
            is_stopping: false,
            read_buffer: vec![0; READ_BUFFER_BYTES].into_boxed_slice(),
            scratch: Scratch::default(),
            output: Box::default(),
            pool: Pool::new(service.config.read_buffers_max),
            tls: Workspace::new(Arc::clone(&service), worker, send_bytes),
            sampler: Sampler::new(service.observations.is_some(), worker),
            wake,
            service,
        }
    }

    /// What the session of the connection `token`, with this descriptor and peer, works with.
    #[inline(always)]
    pub fn lend<'a>(&'a mut self, token: usize, descriptor: i32, peer: &'a Peer) -> Lent<'a> {
        let context = Context {
            service: &self.service,
            worker: self.worker,
            now: self.now,
            wake: Wake { target: &self.wake, token },
            descriptor,
            peer,
            scratch: &mut self.scratch,
        };
        Lent { context, read: &self.read_buffer, output: &mut self.output, sampler: &mut self.sampler }
    }

    /// Ends a connection's turn: takes the time of the request that is looked at, if one is, and gives back what long
    /// replies have needed.
    #[inline]
    pub fn end_turn(&mut self) {
        self.output.shrink(OUTPUT_BYTES_KEPT);
        self.sampler.end_turn(self.instant, &self.service, self.worker);
    }
}

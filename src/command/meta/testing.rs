//! A service of its own for tests of commands, with a clock that stands.

use crate::base::sync::Arc;
use crate::base::time::Now;
use crate::store;

use super::super::output::Output;
use super::super::service::{Context, Scratch, Service, Wake};
use super::super::testing;

/// The service with a reply queue and what else a context borrows.
pub(in crate::command) struct TestServer {
    pub service: Service,
    pub now: Now,
    pub output: Output,
    wake: Arc<dyn Fn(usize) + Send + Sync>,
    scratch: Scratch,
}

impl TestServer {
    pub fn new() -> Self {
        let store_config = store::Config { item_size_max: 64 << 10, ..store::Config::default() };
        let mut service = testing::service_with(store_config);
        service.config.version = "1.2.3".into();
        Self {
            service,
            now: Now { seconds: 1000, epoch: 1_700_000_000 },
            output: Output::new(),
            wake: Arc::new(|_| {}),
            scratch: Scratch::default(),
        }
    }

    /// Lets `act` work with the context and the reply queue.
    pub fn with<R>(&mut self, act: impl FnOnce(&mut Output, &mut Context<'_>) -> R) -> R {
        let mut context = Context {
            service: &self.service,
            worker: 0,
            now: self.now,
            wake: Wake { target: &self.wake, token: 0 },
            descriptor: 7,
            peer: &"10.0.0.1:4000",
            scratch: &mut self.scratch,
        };
        act(&mut self.output, &mut context)
    }

    /// Everything answered since the last call.
    pub fn replies(&mut self) -> Vec<u8> {
        let mut replies = Vec::new();
        while !self.output.is_empty() {
            let mut slices = [std::io::IoSlice::new(&[]); 8];
            let count = self.output.slices(&mut slices, usize::MAX);
            let before = replies.len();
            for slice in &slices[..count] {
                replies.extend_from_slice(slice);
            }
            self.output.advance(replies.len() - before);
        }
        replies
    }
}

//! The conversations of [`super::session`] as a worker has them, through its sampler: what it costs to measure them.
//!
//! | item | the admin listener is |
//! |---|---|
//! | `-off` | off |
//! | `-1k`, `-20k`, `-1m` | on, at so many calls a second: the average of the calls that are looked at and of those that are not |
//! | `-sampled` | on, and every call is looked at |
//!
//! A call is what one read from a connection brings, of a pipeline 20 requests at most. The keys are ten thousand and asked
//! for alike, which is what costs most: nearly every sample is of a key that has no place among the hot ones.

use std::time::Instant;

use slabstash::base::time::Now;
use slabstash::net::sampler::Sampler;
use slabstash::stats::observation::WorkerObservation;

use crate::load::batch::Batch;
use crate::load::request;
use crate::micro::session::{Conversation, DATA, NOW, begin};
use crate::micro::{Item, Prepared, item};

/// Single gets, then fifty.
pub const ITEMS: &[Item] = &[
    item("observed-get-off", || gets(1, Watch::Off)),
    item("observed-get-1k", || gets(1, Watch::On { calls_per_second: 1000 })),
    item("observed-get-20k", || gets(1, Watch::On { calls_per_second: 20_000 })),
    item("observed-get-1m", || gets(1, Watch::On { calls_per_second: 1_000_000 })),
    item("observed-get-sampled", || gets(1, Watch::Always)),
    item("observed-get-pipelined-off", || gets(50, Watch::Off)),
    item("observed-get-pipelined-1k", || gets(50, Watch::On { calls_per_second: 1000 })),
    item("observed-get-pipelined-sampled", || gets(50, Watch::Always)),
];

#[derive(Clone, Copy)]
enum Watch {
    Off,
    On { calls_per_second: u32 },
    Always,
}

fn gets(depth: u64, watch: Watch) -> Prepared {
    let (mut conversation, batches) = begin(depth, |random, batch| {
        (0..depth).for_each(|_| request::get(&DATA, random.below(DATA.keys), batch));
    });
    conversation.service.observations = Some(vec![WorkerObservation::default().into()].into());
    let mut observer =
        Observer { sampler: Sampler::new(!matches!(watch, Watch::Off), 0), watch, calls: 0, start: Instant::now() };
    if let Watch::On { calls_per_second } = watch {
        // The interval has found its length, and the first calls are long past.
        let before = (SETTLING_SECONDS * calls_per_second).max(SETTLING_CALLS);
        (0..before).for_each(|_| observer.call(&mut conversation, b""));
    }
    Prepared::each(batches, move |batch: &Batch| {
        observer.call(&mut conversation, &batch.request);
        assert_eq!(conversation.output.pending(), batch.reply.len());
    })
    .counting(depth)
}

struct Observer {
    sampler: Sampler,
    watch: Watch,
    calls: u32,
    start: Instant,
}

impl Observer {
    #[inline]
    fn call(&mut self, conversation: &mut Conversation, input: &[u8]) {
        conversation.output.clear();
        let Observer { sampler, watch, calls, start } = self;
        let seconds = match watch {
            Watch::On { calls_per_second } => *calls / *calls_per_second,
            Watch::Off | Watch::Always => 0,
        };
        let now = Now { seconds: NOW.seconds + seconds, ..NOW };
        conversation.send_through(input, now, |session, rest, output, context| {
            *calls = calls.wrapping_add(1);
            if let Watch::Always = watch {
                // The first call of a sampler is a sample.
                *sampler = Sampler::new(true, 0);
            }
            let progress = sampler.process(session, rest, output, context);
            sampler.end_turn(*start, context.service, context.worker);
            progress
        });
    }
}

const SETTLING_SECONDS: u32 = 4;
const SETTLING_CALLS: u32 = 10_000;

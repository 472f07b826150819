//! Whole conversations in process: bytes of requests in, bytes of replies out, with all that stands between two sockets.
//! The replies of the work that does not count are checked, as those of a server would be.

use slabstash::base::sync::Arc;
use slabstash::base::time::Now;
use slabstash::command::service::{ProtocolChoice, Scratch, Wake};
use slabstash::command::{Context, Next, One, Output, Progress, Service, Session};
use slabstash::store;

use crate::load::batch::Batch;
use crate::load::data::Data;
use crate::load::request;
use crate::micro::{Item, Prepared, item};
use crate::random::Random;

/// One request at a time, then fifty.
pub const ITEMS: &[Item] = &[
    item("session-get", || conversation(1, request::get)),
    item("session-get-miss", || conversation(1, get_missing)),
    item("session-set", || conversation(1, request::set)),
    item("session-get-alone", || alone(request::get)),
    item("session-set-alone", || alone(request::set)),
    item("session-mg", || conversation(1, request::meta_get)),
    item("session-incr", incr),
    item("session-get-pipelined", || conversation(50, request::get)),
    item("session-multiget-key", multiget),
    item("session-set-pipelined", || conversation(50, request::set)),
    item("session-mg-pipelined", || conversation(50, request::meta_get)),
    item("session-getq-pipelined", getq),
];

/// A batch of requests, each for a random item.
fn conversation(depth: u64, render: fn(&Data, u64, &mut Batch)) -> Prepared {
    talk(depth, |random, batch| (0..depth).for_each(|_| render(&DATA, random.below(DATA.keys), batch)))
}

/// The short way of a frequent request that is alone in its input.
fn alone(render: fn(&Data, u64, &mut Batch)) -> Prepared {
    let (mut conversation, batches) = begin(1, |random, batch| render(&DATA, random.below(DATA.keys), batch));
    Prepared::each(batches, move |batch: &Batch| {
        let Conversation { session, output, service, .. } = &mut conversation;
        output.clear();
        assert!(session.answer_one(&batch.request, output, service, NOW) == One::Answered);
        assert_eq!(output.pending(), batch.reply.len());
    })
}

fn get_missing(data: &Data, id: u64, batch: &mut Batch) {
    batch.request.extend_from_slice(b"get ");
    data.write_key(data.keys + id, &mut batch.request);
    batch.request.extend_from_slice(b"\r\n");
    batch.reply.extend_from_slice(b"END\r\n");
    batch.operations += 1;
}

fn multiget() -> Prepared {
    talk(50, |random, batch| {
        let ids: Vec<u64> = (0..50).map(|_| random.below(DATA.keys)).collect();
        request::multiget(&DATA, ids, batch);
    })
}

/// The NOOP at the end of each batch is part of the figure.
fn getq() -> Prepared {
    talk(50, |random, batch| {
        (0..50).for_each(|_| request::binary_get_quietly(&DATA, random.below(DATA.keys), batch));
        request::binary_noop(batch);
    })
}

/// A counter that keeps its digits, so that it is overwritten where it lies.
fn incr() -> Prepared {
    let mut conversation = Conversation::new();
    conversation.send(b"set counter 0 0 10\r\n1000000000\r\n");
    Prepared::each(vec![b"incr counter 1\r\n"; OPERATIONS as usize], move |input: &&[u8; 16]| {
        conversation.output.clear();
        conversation.send(&input[..]);
        assert_eq!(conversation.output.pending(), 12);
    })
}

fn talk(per_batch: u64, draw: impl Fn(&mut Random, &mut Batch)) -> Prepared {
    let (mut conversation, batches) = begin(per_batch, draw);
    Prepared::each(batches, move |batch: &Batch| {
        conversation.output.clear();
        conversation.send(&batch.request);
        assert_eq!(conversation.output.pending(), batch.reply.len());
    })
    .counting(per_batch)
}

/// A conversation with all items stored, and batches for it that were answered rightly once.
pub(super) fn begin(per_batch: u64, draw: impl Fn(&mut Random, &mut Batch)) -> (Conversation, Vec<Batch>) {
    let mut random = Random::new(1);
    let make = |_| {
        let mut batch = Batch::default();
        draw(&mut random, &mut batch);
        batch
    };
    let batches: Vec<Batch> = (0..OPERATIONS / per_batch).map(make).collect();
    let mut conversation = Conversation::new();
    let mut fill = Batch::default();
    (0..DATA.keys).for_each(|id| request::set(&DATA, id, &mut fill));
    conversation.ask(&fill);
    // As on a network, each protocol has a connection of its own.
    conversation.session = Session::new(ProtocolChoice::Negotiate);
    batches.iter().for_each(|batch| conversation.ask(batch));
    (conversation, batches)
}

/// One connection to a service of its own.
pub(super) struct Conversation {
    pub service: Service,
    session: Session,
    pub output: Output,
    scratch: Scratch,
    wake: Arc<dyn Fn(usize) + Send + Sync>,
}

impl Conversation {
    fn new() -> Conversation {
        Conversation {
            service: Service::in_process(store::Config::default()),
            session: Session::new(ProtocolChoice::Negotiate),
            output: Output::new(),
            scratch: Scratch::default(),
            wake: Arc::new(|_| {}),
        }
    }

    /// Lets the session work until it has seen all of the input. Replies are in the output.
    fn send(&mut self, input: &[u8]) {
        self.send_through(input, NOW, |session, rest, output, context| session.process(rest, output, context));
    }

    /// The same at some time and with something between; also without input.
    #[inline]
    pub fn send_through(
        &mut self,
        input: &[u8],
        now: Now,
        mut process: impl FnMut(&mut Session, &[u8], &mut Output, &mut Context<'_>) -> Progress,
    ) {
        let mut rest = input;
        loop {
            let mut context = Context {
                service: &self.service,
                worker: 0,
                now,
                wake: Wake { target: &self.wake, token: 0 },
                descriptor: 7,
                peer: &"127.0.0.1:4000",
                scratch: &mut self.scratch,
            };
            let progress = process(&mut self.session, rest, &mut self.output, &mut context);
            rest = &rest[progress.consumed..];
            if let Next::Close(_) | Next::Abort(_) = progress.next {
                panic!("the session ended at {}", rest.escape_ascii());
            }
            if rest.is_empty() {
                return;
            }
        }
    }

    /// Sends a batch and checks the replies, outside of what is counted.
    fn ask(&mut self, batch: &Batch) {
        self.output.clear();
        self.send(&batch.request);
        let mut position = 0;
        let mut slices = [std::io::IoSlice::new(&[]); 4];
        let count = self.output.slices(&mut slices, usize::MAX);
        for slice in &slices[..count] {
            position = batch.check(position, slice).unwrap_or_else(|mismatch| panic!("{mismatch}"));
        }
        assert_eq!(position, batch.reply.len());
    }
}

pub(super) const NOW: Now = Now { seconds: 100, epoch: 1_700_000_000 };
pub(super) const DATA: Data =
    Data { keys: 10_000, key: crate::load::data::KeyShape::Short, value: crate::load::data::ValueSize::Fixed(100) };
const OPERATIONS: u64 = 10_000;

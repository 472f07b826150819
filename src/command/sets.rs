//! Runs of plain sets whose data is all there. They are read together, so that the store can look for their items at
//! once; what is out of the ordinary is left to [`storage`](super::storage).

use crate::base::hash::KeyHash;
use crate::protocol::text::classic::{self, StorageLine};
use crate::store::{Fit, Hint};

use super::output::Output;
use super::retrieval::Answered;
use super::service::Context;
use super::storage::{self, ENDING};

/// Sets looked for together.
const BATCH_SETS: usize = 16;

/// A set with its data.
#[derive(Clone, Copy)]
struct Plain<'a> {
    line: StorageLine<'a>,
    data: &'a [u8],
    /// Bytes of line and data.
    bytes: usize,
}

impl<'a> Plain<'a> {
    /// The set at the start of `input`; `None` unless all of it is there and it fits into a partition.
    #[inline]
    fn read(input: &'a [u8], context: &Context<'_>) -> Option<Self> {
        let (line, line_bytes) = classic::single_set(input)?;
        let bytes = line_bytes + line.value_bytes + ENDING.len();
        let data = input.get(line_bytes..bytes)?.strip_suffix(ENDING)?;
        let is_inline = context.service.store.fit(line.key.len(), data.len(), line.flags) == Fit::Inline;
        is_inline.then_some(Self { line, data, bytes })
    }
}

/// Executes the sets that the input begins with, several at a time when there are several, at most `requests_max` (at
/// least 1). Stops before a request that no reply may begin for.
#[inline(never)]
pub(super) fn answer(input: &[u8], requests_max: u32, output: &mut Output, context: &mut Context<'_>) -> Answered {
    let Some(set) = Plain::read(input, context) else {
        return Answered::default();
    };
    if requests_max > 1 && input.get(set.bytes) == Some(&b's') {
        return answer_batch(input, requests_max, output, context);
    }
    if !output.begin_reply() {
        return Answered::default();
    }
    let hash = context.service.store.hash(set.line.key);
    storage::set(&set.line, set.data, hash, Hint::NONE, output, context);
    Answered { bytes: set.bytes, requests: 1 }
}

fn answer_batch(input: &[u8], requests_max: u32, output: &mut Output, context: &mut Context<'_>) -> Answered {
    let store = &context.service.store;
    let mut sets = [None; BATCH_SETS];
    let mut hashes = [KeyHash(0); BATCH_SETS];
    let mut hints = [Hint::NONE; BATCH_SETS];
    let mut rest = input;
    let mut count = 0;
    for (place, hash) in sets.iter_mut().zip(&mut hashes).take(requests_max as usize) {
        let Some(set) = Plain::read(rest, context) else {
            break;
        };
        rest = &rest[set.bytes..];
        *hash = store.hash(set.line.key);
        *place = Some(set);
        count += 1;
    }
    store.locate(&hashes[..count], &mut hints);
    let mut answered = Answered::default();
    for (index, set) in sets.iter().flatten().enumerate() {
        if !output.begin_reply() {
            break;
        }
        storage::set(&set.line, set.data, hashes[index], hints[index], output, context);
        answered = Answered { bytes: answered.bytes + set.bytes, requests: answered.requests + 1 };
    }
    answered
}

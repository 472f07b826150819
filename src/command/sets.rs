//! Runs of plain sets whose data is all there: read together and stored by one visit to each partition. What is out of
//! the ordinary is left to [`storage`](super::storage).

use crate::base::hash::KeyHash;
use crate::base::time::Now;
use crate::protocol::text::classic::{self, StorageLine};
use crate::protocol::text::reply;
use crate::stats::events::class;
use crate::store::{BATCH_KEYS_MAX, Fit};

use super::output::Output;
use super::retrieval::{Answered, One};
use super::service::{Context, Service};
use super::storage::{self, ENDING};

/// A set with its data.
#[derive(Clone, Copy)]
struct Plain<'a> {
    line: StorageLine<'a>,
    data: &'a [u8],
    /// Bytes of line and data.
    bytes: usize,
}

impl<'a> Plain<'a> {
    const EMPTY: Self = Self { line: StorageLine::EMPTY, data: &[], bytes: 0 };

    /// The set at the start of `input`; `None` unless all of it is there and it fits into a partition.
    #[inline(always)]
    fn read(input: &'a [u8], service: &Service) -> Option<Self> {
        let (line, line_bytes) = classic::single_set(input)?;
        let bytes = line_bytes + line.value_bytes + ENDING.len();
        Self::new(line, input.get(line_bytes..bytes)?, bytes, service)
    }

    /// The same, of an input that is nothing else.
    #[inline(always)]
    fn read_whole(input: &'a [u8], service: &Service) -> Option<Self> {
        let (line, line_bytes) = classic::single_set(input)?;
        Self::new(line, input.get(line_bytes..)?, input.len(), service)
    }

    #[inline(always)]
    fn new(line: StorageLine<'a>, block: &'a [u8], bytes: usize, service: &Service) -> Option<Self> {
        let data = block.strip_suffix(ENDING).filter(|data| data.len() == line.value_bytes)?;
        let is_inline = service.store.fit(line.key.len(), data.len(), line.flags) == Fit::Inline;
        is_inline.then_some(Self { line, data, bytes })
    }
}

/// Executes the sets that the input begins with, several at a time when there are several, at most `requests_max` (at
/// least 1). Stops before a request that no reply may begin for.
#[inline(never)]
pub(super) fn answer(input: &[u8], requests_max: u32, output: &mut Output, context: &mut Context<'_>) -> Answered {
    let Some(set) = Plain::read(input, context.service) else {
        return Answered::default();
    };
    if requests_max > 1 && input.get(set.bytes) == Some(&b's') {
        return answer_batch(input, requests_max, output, context);
    }
    if !output.begin_reply() {
        return Answered::default();
    }
    one(&set, context.service.store.hash(set.line.key), output, context);
    Answered { bytes: set.bytes, requests: 1 }
}

/// Executes a set, if the input is that and nothing else. Not for a server that tells of its conversations.
#[inline(never)]
pub(super) fn answer_one(input: &[u8], output: &mut Output, service: &Service, now: Now) -> One {
    let Some(set) = Plain::read_whole(input, service) else {
        return One::Other;
    };
    if is_observed(service) {
        return One::Other;
    }
    let hash = service.store.hash(set.line.key);
    if !service
        .store
        .entry(set.line.key, hash, now, |entry| storage::set_unwatched(entry, &set.line, set.data, service, now))
    {
        return One::NoMemory;
    }
    if !set.line.is_noreply {
        reply::stored(output.bytes());
    }
    One::Answered
}

/// Answers a set that [`answer_one`] has found no memory for.
#[cold]
pub(super) fn refuse_one(input: &[u8], output: &mut Output, context: &mut Context<'_>) {
    if let Some(set) = Plain::read(input, context.service) {
        storage::refuse_set(&set.line, output, context);
    }
}

/// Executes a set whose reply has begun.
#[inline]
fn one(set: &Plain<'_>, hash: KeyHash, output: &mut Output, context: &mut Context<'_>) {
    let (service, now) = (context.service, context.now);
    if is_observed(service) {
        storage::set(&set.line, set.data, hash, output, context);
    } else if service
        .store
        .entry(set.line.key, hash, now, |entry| storage::set_unwatched(entry, &set.line, set.data, service, now))
    {
        output.push(storage::quiet(reply::STORED, set.line.is_noreply));
    } else {
        storage::refuse_set(&set.line, output, context);
    }
}

/// Whether somebody watches or counts stores and the lookups that come with them.
#[inline]
fn is_observed(service: &Service) -> bool {
    service.events.is_watched(class::FETCHERS | class::MUTATIONS) || service.prefixes.is_enabled()
}

#[inline(never)]
fn answer_batch(input: &[u8], requests_max: u32, output: &mut Output, context: &mut Context<'_>) -> Answered {
    let mut sets = [Plain::EMPTY; BATCH_KEYS_MAX];
    let mut hashes = [KeyHash(0); BATCH_KEYS_MAX];
    let mut rest = input;
    let mut count = 0;
    for (place, hash) in sets.iter_mut().zip(&mut hashes).take(requests_max as usize) {
        let Some(set) = Plain::read(rest, context.service) else {
            break;
        };
        rest = &rest[set.bytes..];
        *hash = context.service.store.hash(set.line.key);
        *place = set;
        count += 1;
    }
    let (sets, hashes) = (&sets[..count], &hashes[..count]);
    let stored = if output.is_plain() { store_together(sets, hashes, context) } else { 0 };
    let mut answered = Answered::default();
    for (index, set) in sets.iter().enumerate() {
        if !output.begin_reply() {
            break;
        }
        if stored & 1 << index != 0 {
            output.push(storage::quiet(reply::STORED, set.line.is_noreply));
        } else {
            storage::set(&set.line, set.data, hashes[index], output, context);
        }
        answered = Answered { bytes: answered.bytes + set.bytes, requests: answered.requests + 1 };
    }
    answered
}

/// Stores what can be stored together, one bit for each. A set that finds no memory is left to be answered in its turn, and
/// so are all that the visits come to after it: one for the same key must not come first, and memory is short anyway.
fn store_together(sets: &[Plain<'_>], hashes: &[KeyHash], context: &Context<'_>) -> u32 {
    let service = context.service;
    if sets.len() < 2 || is_observed(service) {
        return 0;
    }
    let (mut stored, mut is_full) = (0, false);
    service.store.entry_batch(
        |index| sets[index].line.key,
        hashes,
        context.now,
        |index, entry| {
            let set = &sets[index];
            is_full = is_full || !storage::set_unwatched(entry, &set.line, set.data, service, context.now);
            if !is_full {
                stored |= 1 << index;
            }
        },
    );
    stored
}

//! get, gets, gat and gats: values of any number of keys.
//!
//! Keys are taken from the line in batches, and a batch is answered by one visit to each partition. What that cannot do
//! (large values, `gat`, while somebody watches) is answered key by key. A long list stops when its turn's share is used up
//! and goes on in a later turn.

use crate::base::hash::KeyHash;
use crate::base::key;
use crate::base::time::Now;
use crate::protocol::text::classic;
use crate::protocol::text::line::{next_token, skip_spaces};
use crate::protocol::text::reply;
use crate::stats::events::class;
use crate::store::value::Value;
use crate::store::{BATCH_KEYS_MAX, Entry, ItemView, ReadItem};

use super::batch::Batch;
use super::output::{OUTPUT_BYTES_MAX, Output, has_room_for};
use super::service::{Context, Service};
use super::verbose;

/// A plain get.
const PLAIN: Lookup = Lookup { deadline: None, has_cas: false, is_resumed: false };

/// Keys of one command looked up in one turn.
pub(super) const KEYS_PER_TURN_MAX: usize = 4096;

/// What to do with each key.
#[derive(Clone, Copy, Debug)]
pub(super) struct Lookup {
    /// gat and gats: the coarse time at which the item now ends.
    pub deadline: Option<u32>,
    /// gets and gats: whether to show CAS ids.
    pub has_cas: bool,
    /// The keys are what is left of an interrupted list: they were checked then.
    pub is_resumed: bool,
}

/// How far a list of keys got.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Looked {
    /// To its end; the end is answered.
    Done,
    /// The turn is over; so many bytes of the list are done with. What is left holds legal keys only.
    Paused { consumed: usize },
    /// A key is too long. What is written is to be taken back.
    BadKey,
    /// More keys than replies may begin in this turn. What is written is to be taken back.
    NoReplies,
}

/// What [`answer_gets`] has done.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub(super) struct Answered {
    /// Bytes of input that are done with.
    pub bytes: usize,
    /// Requests answered.
    pub requests: u32,
}

/// What became of an input that was taken for one whole request of the most frequent kinds.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum One {
    /// It is answered.
    Answered,
    /// It is something else, or somebody watches. Nothing is done.
    Other,
    /// A set that found no memory. Nothing is answered.
    NoMemory,
}

/// Answers the gets of one key each that the input begins with, several at a time when there are several, at most
/// `requests_max` (at least 1). Stops before a request that no reply may begin for. Not for a server that tells of its
/// conversations ([`verbose`]).
#[inline(never)]
pub(super) fn answer_gets(input: &[u8], requests_max: u32, output: &mut Output, context: &mut Context<'_>) -> Answered {
    let Some((key, bytes)) = classic::single_get(input) else {
        return Answered::default();
    };
    if requests_max > 1 && input.get(bytes) == Some(&b'g') {
        return answer_batch(input, requests_max, output, context);
    }
    if !output.begin_reply() {
        return Answered::default();
    }
    one(PLAIN, Wanted::new(key, context), true, output, context);
    Answered { bytes, requests: 1 }
}

/// Answers a get of one key, if the input is that and nothing else. Not for a server that tells of its conversations.
#[inline(always)]
pub(super) fn answer_one(input: &[u8], output: &mut Output, service: &Service, now: Now) -> One {
    let Some((key, bytes)) = classic::single_get(input) else {
        return One::Other;
    };
    if bytes != input.len() || is_observed(service) {
        return One::Other;
    }
    let writer = ValueWriter { key, has_cas: PLAIN.has_cas, is_last: true, output: &mut *output };
    if !service.store.get(key, service.store.hash(key), now, writer) {
        push_end(true, output);
    }
    One::Answered
}

#[inline(never)]
fn answer_batch(input: &[u8], requests_max: u32, output: &mut Output, context: &mut Context<'_>) -> Answered {
    let mut batch = Batch::new();
    let mut rest = input;
    while batch.count() < BATCH_KEYS_MAX.min(requests_max as usize)
        && let Some((key, bytes)) = classic::single_get(rest)
    {
        rest = &rest[bytes..];
        batch.add(key, rest.len(), context);
    }
    batch.answer_together(PLAIN.has_cas, true, output, context);
    let answered_until = |index: usize| match index.checked_sub(1) {
        Some(last) => Answered { bytes: input.len() - batch.left(last), requests: index as u32 },
        None => Answered::default(),
    };
    for index in batch.written()..batch.count() {
        if !batch.push_answer(index, output, context) {
            if (output.pending() >= OUTPUT_BYTES_MAX && batch.may_stop_before(index)) || !output.begin_reply() {
                return answered_until(index);
            }
            one(PLAIN, batch.wanted(index), true, output, context);
        }
    }
    answered_until(batch.count())
}

/// Looks up the keys in `keys` and appends their values. The first key's reply is the command's, begun already; each
/// other key begins another one, also when it is a miss.
pub(super) fn look_up(lookup: Lookup, keys: &[u8], output: &mut Output, context: &mut Context<'_>) -> Looked {
    let mut rest = keys;
    let first = next_token(&mut rest);
    if rest.is_empty() && key::is_valid(first) {
        one(lookup, Wanted::new(first, context), true, output, context);
        return Looked::Done;
    }
    many(lookup, keys, output, context)
}

fn many(lookup: Lookup, keys: &[u8], output: &mut Output, context: &mut Context<'_>) -> Looked {
    let mut rest = keys;
    let mut looked_up = 0;
    loop {
        if !output.has_room(&context.service.store) {
            output.tear();
            return Looked::Done;
        }
        let mut batch = Batch::take(&mut rest, context);
        if lookup.deadline.is_none() {
            batch.answer_together(lookup.has_cas, false, output, context);
        }
        for index in batch.written()..batch.count() {
            if batch.push_answer(index, output, context) {
                continue;
            }
            let is_first = looked_up == 0 && index == 0;
            if !is_first && !output.begin_reply() {
                return Looked::NoReplies;
            }
            if output.pending() >= OUTPUT_BYTES_MAX && batch.may_stop_before(index) {
                let left = batch.left(index) + batch.wanted(index).key.len();
                return pause(lookup, keys, left);
            }
            one(lookup, batch.wanted(index), false, output, context);
        }
        if batch.has_bad_key() {
            return Looked::BadKey;
        }
        if skip_spaces(rest).is_empty() {
            output.push(reply::END);
            return Looked::Done;
        }
        looked_up += batch.count();
        if looked_up >= KEYS_PER_TURN_MAX {
            return pause(lookup, keys, rest.len());
        }
    }
}

/// Stops before the last `left` bytes of `keys`. A bad key among them is found now, while all that the command has
/// written can still be taken back. That is done once for a list, not at each of its stops.
#[cold]
fn pause(lookup: Lookup, keys: &[u8], left: usize) -> Looked {
    let consumed = keys.len().saturating_sub(left);
    if lookup.is_resumed {
        return Looked::Paused { consumed };
    }
    let mut rest = keys.get(consumed..).unwrap_or_default();
    loop {
        let key = next_token(&mut rest);
        if key.is_empty() {
            return Looked::Paused { consumed };
        }
        if !key::is_valid(key) {
            return Looked::BadKey;
        }
    }
}

/// A key to be looked up.
#[derive(Clone, Copy)]
pub(super) struct Wanted<'a> {
    /// The key.
    pub key: &'a [u8],
    /// Its hash.
    pub hash: KeyHash,
}

impl<'a> Wanted<'a> {
    fn new(key: &'a [u8], context: &Context<'_>) -> Self {
        Self { key, hash: context.service.store.hash(key) }
    }
}

/// Looks up one key and appends its value or nothing, with the end of the reply behind it if it `is_last`.
#[inline(never)]
fn one(lookup: Lookup, wanted: Wanted<'_>, is_last: bool, output: &mut Output, context: &mut Context<'_>) {
    let service = context.service;
    let Wanted { key, hash } = wanted;
    let is_hit = if lookup.deadline.is_some() || is_observed(service) {
        one_observed(lookup, wanted, is_last, output, context)
    } else {
        let writer = ValueWriter { key, has_cas: lookup.has_cas, is_last, output: &mut *output };
        let is_hit = service.store.get(key, hash, context.now, writer);
        if !is_hit {
            push_end(is_last, output);
        }
        is_hit
    };
    if is_hit && verbose::is_on() {
        verbose::sending_key(context.descriptor, key);
    }
}

/// Whether somebody watches or counts lookups.
#[inline]
pub(super) fn is_observed(service: &Service) -> bool {
    service.events.is_watched(class::FETCHERS) || service.prefixes.is_enabled()
}

/// [`one`] for gat and gats, and while somebody watches or counts lookups.
#[inline(never)]
fn one_observed(
    lookup: Lookup,
    wanted: Wanted<'_>,
    is_last: bool,
    output: &mut Output,
    context: &mut Context<'_>,
) -> bool {
    let service = context.service;
    let key = wanted.key;
    let is_hit = context.visit_hashed(key, wanted.hash, |entry| {
        let Some(item) = entry.item() else {
            match lookup.deadline {
                Some(_) => entry.counters().touch_misses += 1,
                None => entry.counters().get_misses += 1,
            }
            push_end(is_last, output);
            return false;
        };
        ValueWriter { key, has_cas: lookup.has_cas, is_last, output: &mut *output }.read(&item);
        match lookup.deadline {
            Some(deadline) => touch(entry, deadline),
            None => {
                entry.count_get_hit();
                entry.bump();
            }
        }
        true
    });
    if service.prefixes.is_enabled() {
        service.prefixes.record_get(key, is_hit);
    }
    is_hit
}

/// Gives the entry's item a new end, as touch and gat do, and counts the hit.
pub(super) fn touch(entry: &mut Entry<'_>, deadline: u32) {
    let class_id = entry.item().map_or(0, |item| item.class());
    entry.class_counters(class_id).touch_hits += 1;
    entry.bump();
    entry.set_exptime(deadline);
}

/// Appends the value of an item.
struct ValueWriter<'a> {
    key: &'a [u8],
    has_cas: bool,
    /// Whether the end of the reply comes behind it.
    is_last: bool,
    output: &'a mut Output,
}

impl ReadItem for ValueWriter<'_> {
    #[inline(always)]
    fn read(self, item: &ItemView<'_>) -> bool {
        match item.plain_value() {
            Some(value) if !self.has_cas && has_room_for(value, self.output.bytes()) => {
                write_plain(self.key, value, self.is_last, self.output.bytes());
            }
            // A copy of the view, so that the view itself need not be in memory.
            _ => write_other(self.key, *item, self.has_cas, self.is_last, self.output),
        }
        true
    }
}

#[inline(never)]
fn write_other(key: &[u8], item: ItemView<'_>, has_cas: bool, is_last: bool, output: &mut Output) {
    if !write_any_inline(key, &item, has_cas, is_last, output.bytes()) {
        write_large(key, &item, has_cas, output);
        push_end(is_last, output);
    }
}

/// Apart from the get around it, which leaves it the registers that it needs.
#[inline(never)]
fn write_plain(key: &[u8], value: &[u8], is_last: bool, out: &mut Vec<u8>) {
    reply::plain_value(key, value, is_last, out);
}

/// Writes an inline value, or nothing and says false when it is a large one or finds no memory.
#[inline(always)]
pub(super) fn write_inline(key: &[u8], item: &ItemView<'_>, has_cas: bool, is_last: bool, out: &mut Vec<u8>) -> bool {
    match item.plain_value() {
        Some(value) if !has_cas && has_room_for(value, out) => {
            reply::plain_value(key, value, is_last, out);
            true
        }
        _ => write_any_inline(key, item, has_cas, is_last, out),
    }
}

#[inline(never)]
fn write_any_inline(key: &[u8], item: &ItemView<'_>, has_cas: bool, is_last: bool, out: &mut Vec<u8>) -> bool {
    let Value::Inline(value) = item.value() else {
        return false;
    };
    if !has_room_for(value, out) {
        return false;
    }
    reply::value_header(key, item.flags(), value.len(), has_cas.then(|| item.cas()), out);
    out.extend_from_slice(value);
    out.extend_from_slice(b"\r\n");
    if is_last {
        out.extend_from_slice(reply::END);
    }
    true
}

#[inline(never)]
fn write_large(key: &[u8], item: &ItemView<'_>, has_cas: bool, output: &mut Output) {
    let value = item.value();
    if matches!(value, Value::Inline(_)) {
        return output.tear();
    }
    reply::value_header(key, item.flags(), value.len(), has_cas.then(|| item.cas()), output.bytes());
    output.push_value(value);
    output.push(b"\r\n");
}

#[inline(always)]
fn push_end(is_last: bool, output: &mut Output) {
    if is_last {
        output.push(reply::END);
    }
}

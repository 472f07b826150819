//! get, gets, gat and gats: values of any number of keys.
//!
//! Keys are taken from the line in batches, so that the store can fetch the memory of all of them at once. A long list
//! stops when its turn's share is used up and goes on in a later turn.

use crate::base::hash::KeyHash;
use crate::base::key;
use crate::protocol::text::line::{next_token, skip_spaces};
use crate::protocol::text::reply;
use crate::store::value::Value;
use crate::store::{Entry, ItemView};

use super::output::Output;
use super::service::Context;
use super::session::OUTPUT_BYTES_MAX;
use super::verbose;

/// Keys hashed and fetched together.
const BATCH_KEYS: usize = 16;

/// Keys of one command looked up in one turn.
const KEYS_PER_TURN_MAX: usize = 4096;

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

/// Looks up the keys in `keys` and appends their values. The first key's reply is the command's, begun already; each
/// other key begins another one, also when it is a miss.
pub(super) fn look_up(lookup: Lookup, keys: &[u8], output: &mut Output, context: &mut Context<'_>) -> Looked {
    let mut rest = keys;
    let first = next_token(&mut rest);
    if rest.is_empty() && key::is_valid(first) {
        let hash = context.service.store.hash(first);
        one(lookup, first, hash, output, context);
        output.push(reply::END);
        return Looked::Done;
    }
    many(lookup, keys, output, context)
}

fn many(lookup: Lookup, keys: &[u8], output: &mut Output, context: &mut Context<'_>) -> Looked {
    let mut rest = keys;
    let mut looked_up = 0;
    loop {
        let batch = Batch::take(&mut rest, context);
        if batch.count > 1 {
            context.service.store.prefetch(batch.hashes());
        }
        for index in 0..batch.count {
            let is_first = looked_up == 0 && index == 0;
            if !is_first && !output.begin_reply() {
                return Looked::NoReplies;
            }
            if output.pending() >= OUTPUT_BYTES_MAX {
                let left = batch.left[index] + batch.keys[index].len();
                return pause(lookup, keys, left);
            }
            let (key, hash) = (batch.keys[index], batch.hashes[index]);
            one(lookup, key, hash, output, context);
        }
        if batch.has_bad_key {
            return Looked::BadKey;
        }
        if skip_spaces(rest).is_empty() {
            output.push(reply::END);
            return Looked::Done;
        }
        looked_up += batch.count;
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

/// Some keys in a row.
struct Batch<'a> {
    keys: [&'a [u8]; BATCH_KEYS],
    hashes: [KeyHash; BATCH_KEYS],
    /// Bytes of the list behind each key.
    left: [usize; BATCH_KEYS],
    /// count <= BATCH_KEYS
    count: usize,
    /// The key behind these is too long.
    has_bad_key: bool,
}

impl<'a> Batch<'a> {
    fn take(rest: &mut &'a [u8], context: &Context<'_>) -> Self {
        let mut batch = Self {
            keys: [&[]; BATCH_KEYS],
            hashes: [KeyHash(0); BATCH_KEYS],
            left: [0; BATCH_KEYS],
            count: 0,
            has_bad_key: false,
        };
        while batch.count < BATCH_KEYS {
            let key = next_token(rest);
            if key.is_empty() {
                break;
            }
            if !key::is_valid(key) {
                batch.has_bad_key = true;
                break;
            }
            batch.keys[batch.count] = key;
            batch.hashes[batch.count] = context.service.store.hash(key);
            batch.left[batch.count] = rest.len();
            batch.count += 1;
        }
        batch
    }

    fn hashes(&self) -> &[KeyHash] {
        &self.hashes[..self.count]
    }
}

/// Looks up one key.
#[inline]
fn one(lookup: Lookup, key: &[u8], hash: KeyHash, output: &mut Output, context: &mut Context<'_>) {
    let service = context.service;
    let is_hit = context.visit_hashed(key, hash, |entry| {
        let Some(item) = entry.item() else {
            match lookup.deadline {
                Some(_) => entry.counters().touch_misses += 1,
                None => entry.counters().get_misses += 1,
            }
            return false;
        };
        write_value(&item, lookup.has_cas, output);
        match lookup.deadline {
            Some(deadline) => touch(entry, deadline),
            None => {
                entry.count_get_hit();
                entry.bump();
            }
        }
        true
    });
    if is_hit && verbose::is_on() {
        verbose::sending_key(context.descriptor, key);
    }
    if service.prefixes.is_enabled() {
        service.prefixes.record_get(key, is_hit);
    }
}

/// Gives the entry's item a new end, as touch and gat do, and counts the hit.
pub(super) fn touch(entry: &mut Entry<'_>, deadline: u32) {
    let class_id = entry.item().map_or(0, |item| item.class());
    entry.class_counters(class_id).touch_hits += 1;
    entry.bump();
    entry.set_exptime(deadline);
}

#[inline]
fn write_value(item: &ItemView<'_>, has_cas: bool, output: &mut Output) {
    let value = item.value();
    let out = output.bytes();
    let copied = match value {
        Value::Inline(bytes) => bytes.len(),
        Value::Large(_) => 0,
    };
    out.reserve(reply::VALUE_HEADER_BYTES_MAX + copied + 2 + reply::END.len());
    let cas = if has_cas { Some(item.cas()) } else { None };
    reply::value_header(item.key(), item.flags(), value.len(), cas, out);
    output.push_value(value);
    output.push(b"\r\n");
}

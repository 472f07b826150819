//! set, add, replace, append, prepend, cas, and the data block of `ms`.
//!
//! A value that fits into a partition is stored from the input buffer once all of it is there. A large one gets a
//! buffer of its own as soon as its line is read ([`LargeStore`]). A line that is refused although its data block can
//! be told has the block swallowed first and the refusal answered then, as in memcached.

use std::borrow::Cow;

use crate::base::hash::KeyHash;
use crate::base::time::Now;
use crate::protocol::text::classic::{self, Storage, StorageLine};
use crate::protocol::text::reply;
use crate::store::value::{LargeBuffer, NewValue};
use crate::store::{Entry, StoreError};

use super::apply::{self, Mode, StoreRequest, Stored};
use super::event_lines;
use super::meta::{self, KeyBuffer, MetaSet, SetLine};
use super::output::Output;
use super::room::{self, Room};
use super::service::{Context, Service};
use super::text::Step;

/// Bytes behind a data block.
pub(super) const ENDING: &[u8; 2] = b"\r\n";

/// A classic storage command whose line is read.
struct Classic<K> {
    mode: Mode,
    key: K,
    flags: u32,
    /// Coarse time of expiry.
    deadline: u32,
    compare: u64,
    is_noreply: bool,
}

/// Executes the line of a classic storage command; `behind` is the input behind the line.
pub(super) fn execute(
    mode: Mode,
    arguments: &[u8],
    behind: &[u8],
    output: &mut Output,
    context: &mut Context<'_>,
) -> Step {
    match classic::storage(arguments, mode == Mode::Cas) {
        Storage::Data(line) => execute_line(mode, &line, behind, output, context),
        Storage::Swallow { value_bytes, refusal } => {
            let reply = Cow::Borrowed(quiet(refusal.reply, refusal.is_noreply));
            Step::Swallow { bytes: value_bytes + ENDING.len(), reply }
        }
        Storage::Refused(refusal) => {
            output.push(quiet(refusal.reply, refusal.is_noreply));
            Step::Done { data_bytes: 0 }
        }
    }
}

/// Executes a storage command whose line is read.
#[inline]
fn execute_line(
    mode: Mode,
    line: &StorageLine<'_>,
    behind: &[u8],
    output: &mut Output,
    context: &mut Context<'_>,
) -> Step {
    let (key_bytes, value_bytes) = (line.key.len(), line.value_bytes);
    let error = match room::find(key_bytes, value_bytes, line.flags, context) {
        Room::Inline => return execute_inline(mode, line, behind, output, context),
        Room::Large(buffer) => {
            record(line.key, context);
            let request = classic_request(mode, line, Box::from(line.key), context);
            return Step::Large(Box::new(LargeStore::new(Target::Classic(request), buffer)));
        }
        Room::Refused(error) => error,
    };
    record(line.key, context);
    event_lines::refused(mode.name(), error, line.key, context);
    let reply = refuse(mode, line.key, error, context);
    Step::Swallow { bytes: value_bytes + ENDING.len(), reply: Cow::Borrowed(quiet(reply, line.is_noreply)) }
}

/// Executes a plain set whose data is there and fits into a partition.
#[inline(never)]
pub(super) fn set(line: &StorageLine<'_>, data: &[u8], hash: KeyHash, output: &mut Output, context: &mut Context<'_>) {
    record(line.key, context);
    classic_request(Mode::Set, line, line.key, context).store_at(NewValue::Bytes(data), hash, output, context);
}

/// Answers and counts a plain set that has found no memory.
#[cold]
pub(super) fn refuse_set(line: &StorageLine<'_>, output: &mut Output, context: &Context<'_>) {
    count_set(line.key, line.value_bytes, line.flags, context);
    output.push(quiet(refuse(Mode::Set, line.key, StoreError::NoMemory, context), line.is_noreply));
}

/// Does what a plain set does under its key while nobody watches; false, as if it had not been, when there is no memory.
#[inline(always)]
pub(super) fn set_unwatched(
    entry: &mut Entry<'_>,
    line: &StorageLine<'_>,
    data: &[u8],
    service: &Service,
    now: Now,
) -> bool {
    let store = &service.store;
    let exptime = now.deadline(i64::from(line.exptime));
    if line.flags == 0
        && let Some(class_id) = entry.overwrite_plain(data, exptime)
    {
        entry.class_counters(class_id).cmd_set += 1;
        return true;
    }
    let is_stored = apply::place_plain(entry, line.flags, exptime, data);
    if is_stored {
        let class_id = store.class_of(store.item_bytes(line.key.len(), data.len(), line.flags));
        entry.class_counters(class_id).cmd_set += 1;
    }
    is_stored
}

#[inline]
fn execute_inline(
    mode: Mode,
    line: &StorageLine<'_>,
    behind: &[u8],
    output: &mut Output,
    context: &mut Context<'_>,
) -> Step {
    let data_bytes = line.value_bytes + ENDING.len();
    let Some(block) = behind.get(..data_bytes) else {
        return Step::NeedsData { data_bytes };
    };
    record(line.key, context);
    let request = classic_request(mode, line, line.key, context);
    match block.strip_suffix(ENDING) {
        Some(data) => request.store(NewValue::Bytes(data), output, context),
        None => request.refuse_data(line.value_bytes, output, context),
    }
    Step::Done { data_bytes }
}

#[inline]
fn record(key: &[u8], context: &Context<'_>) {
    if context.service.prefixes.is_enabled() {
        context.service.prefixes.record_set(key);
    }
}

fn classic_request<K>(mode: Mode, line: &StorageLine<'_>, key: K, context: &Context<'_>) -> Classic<K> {
    Classic {
        mode,
        key,
        flags: line.flags,
        deadline: context.now.deadline(i64::from(line.exptime)),
        compare: line.compare,
        is_noreply: line.is_noreply,
    }
}

impl<K: AsRef<[u8]>> Classic<K> {
    fn store(&self, value: NewValue<'_>, output: &mut Output, context: &mut Context<'_>) {
        let hash = context.service.store.hash(self.key.as_ref());
        self.store_at(value, hash, output, context);
    }

    #[inline]
    fn with<'a>(&'a self, value: NewValue<'a>) -> StoreRequest<'a> {
        StoreRequest {
            mode: self.mode,
            key: self.key.as_ref(),
            flags: self.flags,
            exptime: self.deadline,
            compare: self.compare,
            new_cas: None,
            is_stale_allowed: false,
            is_binary_key: false,
            value,
        }
    }

    /// [`Classic::store`] for a key whose hash is known.
    #[inline]
    fn store_at(&self, value: NewValue<'_>, hash: KeyHash, output: &mut Output, context: &mut Context<'_>) {
        let reply = match apply::store_at(self.with(value), hash, context).stored {
            Stored::Stored => reply::STORED,
            Stored::NotStored => reply::NOT_STORED,
            Stored::Exists => reply::EXISTS,
            Stored::NotFound => reply::NOT_FOUND,
            Stored::NoMemory => refuse(self.mode, self.key.as_ref(), StoreError::NoMemory, context),
        };
        output.push(quiet(reply, self.is_noreply));
    }

    /// Answers a data block without its end. The command still counts, as in memcached.
    #[cold]
    fn refuse_data(&self, value_bytes: usize, output: &mut Output, context: &Context<'_>) {
        count_set(self.key.as_ref(), value_bytes, self.flags, context);
        output.push(quiet(reply::BAD_DATA, self.is_noreply));
    }
}

fn count_set(key: &[u8], value_bytes: usize, flags: u32, context: &Context<'_>) {
    let store = &context.service.store;
    let class_id = store.class_of(store.item_bytes(key.len(), value_bytes, flags));
    store.count(class_id, |class, _| class.cmd_set += 1);
}

/// Counts a store that found no room, and removes what a set would have replaced, so that nobody reads a stale value.
#[cold]
fn refuse(mode: Mode, key: &[u8], error: StoreError, context: &Context<'_>) -> &'static [u8] {
    let service = context.service;
    let hash = service.store.hash(key);
    service.store.entry(key, hash, context.now, |entry| {
        match error {
            StoreError::TooLarge => entry.counters().store_too_large += 1,
            StoreError::NoMemory => entry.counters().store_no_memory += 1,
        }
        if mode == Mode::Set {
            event_lines::fetched(entry, key, context.descriptor, service);
            if entry.item().is_some() {
                entry.remove();
            }
        }
    });
    match error {
        StoreError::TooLarge => reply::TOO_LARGE,
        StoreError::NoMemory => reply::NO_MEMORY_STORING,
    }
}

/// The reply, or nothing.
pub(super) fn quiet(reply: &'static [u8], is_noreply: bool) -> &'static [u8] {
    if is_noreply { b"" } else { reply }
}

/// Executes an `ms` line; `behind` is the input behind the line.
pub(super) fn execute_meta(line: &[u8], behind: &[u8], output: &mut Output, context: &mut Context<'_>) -> Step {
    let (set, key, value_bytes) = match meta::parse_set(line) {
        SetLine::Data { set, key, value_bytes } => (set, key, value_bytes),
        SetLine::Refused { reply, swallow } => match swallow {
            Some(bytes) => {
                return Step::Swallow { bytes, reply: Cow::Borrowed(reply) };
            }
            None => {
                output.push(reply);
                return Step::Done { data_bytes: 0 };
            }
        },
    };
    let data_bytes = value_bytes + ENDING.len();
    let error = match room::find(key.as_slice().len(), value_bytes, set.flags, context) {
        Room::Inline => {
            let Some(block) = behind.get(..data_bytes) else {
                return Step::NeedsData { data_bytes };
            };
            let target = Target::Meta { set, key };
            match block.strip_suffix(ENDING) {
                Some(data) => target.store(NewValue::Bytes(data), output, context),
                None => target.refuse_data(value_bytes, output, context),
            }
            return Step::Done { data_bytes };
        }
        Room::Large(buffer) => {
            let target = Target::Meta { set, key };
            return Step::Large(Box::new(LargeStore::new(target, buffer)));
        }
        Room::Refused(error) => error,
    };
    let mut held_back = Output::new();
    meta::refuse(key.as_slice(), error, &mut held_back, context);
    Step::Swallow { bytes: data_bytes, reply: Cow::Owned(std::mem::take(held_back.bytes())) }
}

/// The command that a data block belongs to. It lives in the box of a [`LargeStore`], or on the stack for a moment.
#[allow(clippy::large_enum_variant)]
enum Target {
    Classic(Classic<Box<[u8]>>),
    Meta { set: MetaSet, key: KeyBuffer },
}

impl Target {
    fn store(&self, value: NewValue<'_>, output: &mut Output, context: &mut Context<'_>) {
        match self {
            Target::Classic(request) => request.store(value, output, context),
            Target::Meta { set, key } => {
                meta::store(set, key.as_slice(), value, output, context);
            }
        }
    }

    #[cold]
    fn refuse_data(&self, value_bytes: usize, output: &mut Output, context: &Context<'_>) {
        match self {
            Target::Classic(request) => request.refuse_data(value_bytes, output, context),
            // Meta commands answer this error even when they are quiet.
            Target::Meta { set, key } => {
                count_set(key.as_slice(), value_bytes, set.flags, context);
                output.push(reply::BAD_DATA);
            }
        }
    }
}

/// A large value on its way in, with its command.
pub(super) struct LargeStore {
    target: Target,
    buffer: LargeBuffer,
    /// The bytes behind the value.
    ending: [u8; ENDING.len()],
    /// ending_bytes <= ending.len(); 0 while the value is incomplete
    ending_bytes: usize,
}

impl LargeStore {
    fn new(target: Target, buffer: LargeBuffer) -> Self {
        Self { target, buffer, ending: [0; ENDING.len()], ending_bytes: 0 }
    }

    /// Takes what belongs to the data block off the front of `input`; returns how many bytes that was.
    pub(super) fn fill(&mut self, input: &[u8]) -> usize {
        let mut taken = self.buffer.fill(input);
        if self.buffer.missing() == 0 {
            let rest = input.get(taken..).unwrap_or_default();
            for (place, byte) in self.ending.iter_mut().skip(self.ending_bytes).zip(rest) {
                *place = *byte;
                self.ending_bytes += 1;
                taken += 1;
            }
        }
        taken
    }

    /// Whether the whole data block is there.
    pub(super) fn is_complete(&self) -> bool {
        self.ending_bytes == self.ending.len()
    }

    /// Whether bytes of the value are missing.
    pub(super) fn is_receiving(&self) -> bool {
        self.buffer.missing() > 0
    }

    /// Where the next bytes of the value belong; `None` when only the end is missing.
    pub(super) fn space(&mut self) -> Option<&mut [u8]> {
        Some(self.buffer.space()).filter(|space| !space.is_empty())
    }

    /// Says that `count` bytes of the space are filled.
    pub(super) fn advance(&mut self, count: usize) {
        self.buffer.advance(count);
    }

    /// Executes the command. The data block must be complete.
    pub(super) fn finish(self, output: &mut Output, context: &mut Context<'_>) {
        if &self.ending == ENDING {
            let value = NewValue::Large(self.buffer);
            self.target.store(value, output, context);
        } else {
            self.target.refuse_data(self.buffer.len(), output, context);
        }
    }
}

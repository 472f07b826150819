//! The heart of the writing commands, shared by classic, meta and binary: what a store or a delta does to the item
//! under a key. Replies are the families' business; `join` does append and prepend.
//!
//! The rules are memcached's `do_store_item` and `do_add_delta`.

use crate::base::hash::KeyHash;
use crate::protocol::text::number::c_u64;
use crate::stats::events::class;
use crate::store::value::{NewValue, Value};
use crate::store::{Entry, Found, Marks, NewItem, StoreError};

use super::service::Context;
use super::{event_lines, join};

/// How a storage command treats an item that is or is not there.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Mode {
    /// Store in any case.
    Set,
    /// Only when absent.
    Add,
    /// Only when present.
    Replace,
    /// Behind the present value.
    Append,
    /// Before the present value.
    Prepend,
    /// Only when present and the CAS id matches.
    Cas,
    /// Behind the present value, or a new item.
    AppendVivify,
    /// Before the present value, or a new item.
    PrependVivify,
}

impl Mode {
    /// The word that watchers see.
    pub fn name(self) -> &'static str {
        match self {
            Mode::Set => "set",
            Mode::Add => "add",
            Mode::Replace => "replace",
            Mode::Append | Mode::AppendVivify => "append",
            Mode::Prepend | Mode::PrependVivify => "prepend",
            Mode::Cas => "cas",
        }
    }

    fn is_joining(self) -> bool {
        matches!(self, Mode::Append | Mode::Prepend | Mode::AppendVivify | Mode::PrependVivify)
    }
}

/// A storage command with its data.
#[derive(Debug)]
pub struct StoreRequest<'a> {
    /// What to do.
    pub mode: Mode,
    /// The key.
    pub key: &'a [u8],
    /// Client flags.
    pub flags: u32,
    /// Coarse time of expiry, 0 for never.
    pub exptime: u32,
    /// CAS id to compare with; 0 is none.
    pub compare: u64,
    /// CAS id the item gets; `None` for the next one.
    pub new_cas: Option<u64>,
    /// Meta `I`: a lower CAS id stores too, and marks the item stale.
    pub is_stale_allowed: bool,
    /// Meta `b`.
    pub is_binary_key: bool,
    /// The data.
    pub value: NewValue<'a>,
}

/// How a storage command ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Stored {
    /// Done.
    Stored,
    /// The item was (not) there.
    NotStored,
    /// The CAS id did not match.
    Exists,
    /// Compare-and-swap on an absent key.
    NotFound,
    /// No memory, and nothing evictable. The present item is unchanged, or gone in the search for memory.
    NoMemory,
}

/// A storage command's result.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct StoreOutcome {
    /// How it ended.
    pub stored: Stored,
    /// The item's new CAS id; 0 unless stored.
    pub cas: u64,
    /// Bytes of the stored value (all of it after append), or of the data given when nothing was stored.
    pub value_bytes: usize,
}

impl StoreOutcome {
    pub(super) fn refused(stored: Stored, value_bytes: usize) -> Self {
        Self { stored, cas: 0, value_bytes }
    }
}

/// Executes a storage command. The caller has checked the size ([`crate::store::Store::fit`]).
/// Counts `cmd_set` and the cas counters; leaves `store_no_memory` to the caller, since binary does not count it.
pub fn store(request: StoreRequest<'_>, context: &mut Context<'_>) -> StoreOutcome {
    let hash = context.service.store.hash(request.key);
    store_at(request, hash, context)
}

/// [`store`] for a key whose hash is known.
#[inline]
pub fn store_at(request: StoreRequest<'_>, hash: KeyHash, context: &mut Context<'_>) -> StoreOutcome {
    let service = context.service;
    let (mode, key, exptime) = (request.mode, request.key, request.exptime);
    let item_bytes = service.store.item_bytes(key.len(), request.value.len(), request.flags);
    let class_id = service.store.class_of(item_bytes);
    let outcome = if mode.is_joining() {
        join::join(request, hash, class_id, context)
    } else {
        context.visit_hashed(key, hash, |entry| {
            entry.class_counters(class_id).cmd_set += 1;
            place(entry, request)
        })
    };
    if service.events.is_watched(class::MUTATIONS) {
        event_lines::stored(mode, outcome, key, exptime, class_id, context);
    }
    outcome
}

/// Does what a plain set of a value that fits into a partition does under its key, as [`place`] would; false, with
/// nothing done, when there is no memory.
#[inline(never)]
pub(super) fn place_plain(entry: &mut Entry<'_>, flags: u32, exptime: u32, data: &[u8]) -> bool {
    let item = NewItem { flags, exptime, cas: None, value: NewValue::Bytes(data), marks: Marks::default() };
    entry.insert_here(item).is_ok()
}

/// What a given CAS id says about the present item.
#[derive(PartialEq, Eq)]
pub(super) enum Comparison {
    NotAsked,
    Match,
    Stale,
    Mismatch,
}

pub(super) fn compare(compare: u64, present: u64, is_stale_allowed: bool) -> Comparison {
    if compare == 0 {
        Comparison::NotAsked
    } else if compare == present {
        Comparison::Match
    } else if is_stale_allowed && compare < present {
        Comparison::Stale
    } else {
        Comparison::Mismatch
    }
}

/// All modes but the joining ones.
#[inline(never)]
pub(super) fn place(entry: &mut Entry<'_>, request: StoreRequest<'_>) -> StoreOutcome {
    let value_bytes = request.value.len();
    let mut marks = Marks { is_binary_key: request.is_binary_key, ..Marks::default() };
    let mut exptime = request.exptime;
    // What is there matters to all modes but the most frequent.
    let present = match request.mode {
        Mode::Set => None,
        _ => entry.item().map(|item| (item.cas(), item.class(), item.exptime(), item.marks())),
    };
    match (request.mode, present) {
        (Mode::Add, Some(_)) => {
            entry.refresh();
            return StoreOutcome::refused(Stored::NotStored, value_bytes);
        }
        (Mode::Replace, None) => return StoreOutcome::refused(Stored::NotStored, value_bytes),
        (Mode::Cas, None) => {
            entry.counters().cas_misses += 1;
            return StoreOutcome::refused(Stored::NotFound, value_bytes);
        }
        (Mode::Cas, Some((cas, class_id, old_exptime, old_marks))) => {
            match compare(request.compare, cas, request.is_stale_allowed) {
                Comparison::Match => {}
                Comparison::Stale => {
                    exptime = old_exptime;
                    marks.is_stale = true;
                    marks.is_win_sent = old_marks.is_win_sent;
                }
                Comparison::NotAsked | Comparison::Mismatch => {
                    entry.class_counters(class_id).cas_badval += 1;
                    return StoreOutcome::refused(Stored::Exists, value_bytes);
                }
            }
            entry.class_counters(class_id).cas_hits += 1;
        }
        _ => {}
    }
    let item = NewItem { flags: request.flags, exptime, cas: request.new_cas, value: request.value, marks };
    match entry.insert(item) {
        Ok(cas) => StoreOutcome { stored: Stored::Stored, cas, value_bytes },
        Err(StoreError::TooLarge | StoreError::NoMemory) => StoreOutcome::refused(Stored::NoMemory, value_bytes),
    }
}

/// An increment or decrement.
#[derive(Debug)]
pub struct DeltaRequest {
    /// Up or down.
    pub is_increment: bool,
    /// By how much.
    pub delta: u64,
    /// CAS id to compare with; 0 is none.
    pub compare: u64,
    /// CAS id the item gets; `None` for the next one.
    pub new_cas: Option<u64>,
}

/// How a delta ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Delta {
    /// The new number and CAS id.
    Done {
        /// The number.
        value: u64,
        /// The CAS id.
        cas: u64,
    },
    /// No such key; the caller makes it ([`create_number`]) or counts the miss ([`count_miss`]).
    NotFound,
    /// The value is no number.
    NonNumeric,
    /// The CAS id did not match.
    Mismatch,
    /// The longer number found no memory.
    NoMemory,
}

/// Executes a delta inside a visit, so that meta arithmetic can go on with the same item. Counts the hits.
pub fn delta(entry: &mut Entry<'_>, request: &DeltaRequest) -> Delta {
    if entry.found() != Found::Hit {
        return Delta::NotFound;
    }
    let Some(item) = entry.item() else {
        return Delta::NotFound;
    };
    if item.value().is_empty() || item.is_chunked() {
        return Delta::NonNumeric;
    }
    if request.compare != 0 && request.compare != item.cas() {
        return Delta::Mismatch;
    }
    let class_id = item.class();
    let (flags, exptime, old_bytes) = (item.flags(), item.exptime(), item.value().len());
    let (number, is_large) = match item.value() {
        Value::Inline(bytes) => (c_u64(bytes), false),
        Value::Large(_) => (large_number(item.value()), true),
    };
    let Some(number) = number else {
        return Delta::NonNumeric;
    };
    let counters = entry.class_counters(class_id);
    let value = if request.is_increment {
        counters.incr_hits += 1;
        number.wrapping_add(request.delta)
    } else {
        counters.decr_hits += 1;
        number.saturating_sub(request.delta)
    };
    let mut digits = itoa::Buffer::new();
    let text = digits.format(value).as_bytes();
    // Without memory a large value is put in place anew below and is no longer padded.
    if text.len() <= old_bytes && (!is_large || entry.overwrite_large_number(text)) {
        if !is_large {
            overwrite_padded(entry, text, old_bytes);
        }
        let cas = match request.new_cas {
            Some(cas) => cas,
            None => entry.next_cas(),
        };
        entry.set_cas(cas);
        entry.refresh();
        return Delta::Done { value, cas: entry.item().map_or(0, |item| item.cas()) };
    }
    let item = NewItem { flags, exptime, cas: request.new_cas, value: NewValue::Bytes(text), marks: Marks::default() };
    match entry.insert(item) {
        Ok(cas) => Delta::Done { value, cas },
        Err(_) => Delta::NoMemory,
    }
}

/// Writes a number over an inline value of `old_bytes`, padded with spaces.
#[inline]
fn overwrite_padded(entry: &mut Entry<'_>, text: &[u8], old_bytes: usize) {
    let mut padded = [b' '; NUMBER_BYTES_MAX];
    padded[..text.len()].copy_from_slice(text);
    match padded.get(..old_bytes) {
        Some(padded) => entry.overwrite_number(padded),
        None => {
            let mut long = vec![b' '; old_bytes];
            long[..text.len()].copy_from_slice(text);
            entry.overwrite_number(&long);
        }
    }
}

/// The number that a large value begins with. Only what may belong to one is copied together: no noughts in front, and no more
/// digits than tell that it is too large.
#[cold]
fn large_number(value: Value<'_>) -> Option<u64> {
    const SIGN_AND_DIGITS: usize = 24;
    let mut text: Vec<u8> = Vec::with_capacity(SIGN_AND_DIGITS);
    let mut is_done = false;
    value.pieces(|piece| {
        let blanks =
            if text.is_empty() { piece.iter().take_while(|byte| matches!(byte, b' ' | 9..=13)).count() } else { 0 };
        for &byte in piece.iter().skip(blanks) {
            if is_done {
                return;
            }
            if byte == b'0' && matches!(text[..], [b'0'] | [b'+' | b'-', b'0']) {
                continue;
            }
            text.push(byte);
            is_done = !matches!(byte, b'0'..=b'9' | b'+' | b'-') || text.len() == SIGN_AND_DIGITS;
        }
    });
    c_u64(&text)
}

/// Counts a delta that found no key.
pub fn count_miss(entry: &mut Entry<'_>, is_increment: bool) {
    let counters = entry.counters();
    if is_increment {
        counters.incr_misses += 1;
    } else {
        counters.decr_misses += 1;
    }
}

/// Stores a delta's initial number under an absent key; returns its CAS id.
pub fn create_number(entry: &mut Entry<'_>, value: u64, exptime: u32, new_cas: Option<u64>) -> Result<u64, StoreError> {
    let mut digits = itoa::Buffer::new();
    let value = NewValue::Bytes(digits.format(value).as_bytes());
    entry.insert(NewItem { flags: 0, exptime, cas: new_cas, value, marks: Marks::default() })
}

/// Longest value that is padded on the stack; longer numeric values are padding or leading zeros.
const NUMBER_BYTES_MAX: usize = 64;

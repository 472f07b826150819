//! append and prepend: a new value out of the present one and the data given.
//!
//! A small joined value is built in the worker's scratch memory, under the lock. A large one needs a buffer, which may
//! have to be made by evicting and so cannot be made under the lock: the first visit measures, the buffer is made, the
//! next visit fills it, unless the item has changed its size meanwhile.

use crate::base::hash::KeyHash;
use crate::store::value::{LargeBuffer, NewValue, Value};
use crate::store::{Entry, Fit, Marks, NewItem, Store, StoreError};

use super::apply::{Comparison, Mode, StoreOutcome, StoreRequest, Stored, compare, place};
use super::event_lines;
use super::service::Context;

/// Visits of a join, the first included, before it gives up on an item that keeps changing its size.
const VISITS_MAX: usize = 8;

/// Scratch memory kept between requests, bytes; a larger one is given back.
const SCRATCH_BYTES_KEPT: usize = 64 * 1024;

/// What one visit came to.
enum Visit {
    Done(StoreOutcome),
    /// The joined value needs a buffer of so many bytes, for an item with these flags.
    NeedsBuffer {
        value_bytes: usize,
        flags: u32,
    },
}

/// A join on its way.
struct Joining<'a> {
    /// `None` once it has been placed as a new item.
    request: Option<StoreRequest<'a>>,
    mode: Mode,
    key: &'a [u8],
    /// Bytes of the data given.
    given: usize,
    /// Made between visits.
    buffer: Option<LargeBuffer>,
}

/// Executes one of the joining modes; counts `cmd_set`.
pub(super) fn join(request: StoreRequest<'_>, hash: KeyHash, class_id: u8, context: &mut Context<'_>) -> StoreOutcome {
    let (service, now, descriptor) = (context.service, context.now, context.descriptor);
    let (mode, key, given) = (request.mode, request.key, request.value.len());
    let mut joining = Joining { request: Some(request), mode, key, given, buffer: None };
    let scratch = &mut context.scratch.joined;
    let outcome = visit_until_done(|visit| {
        let step = service.store.entry(key, hash, now, |entry| {
            if visit == 0 {
                event_lines::fetched(entry, key, descriptor, service);
                entry.class_counters(class_id).cmd_set += 1;
            }
            joining.visit(entry, &service.store, scratch)
        });
        let Visit::NeedsBuffer { value_bytes, flags } = step else { return Ok(step) };
        joining.buffer = None;
        joining.buffer = Some(service.store.large_buffer(key.len(), value_bytes, flags, now)?);
        Ok(step)
    });
    if scratch.capacity() > SCRATCH_BYTES_KEPT {
        *scratch = Vec::new();
    }
    outcome.unwrap_or(StoreOutcome::refused(Stored::NotStored, given))
}

/// Visits, with their number, until one is done or has no buffer for the next, but not for ever.
fn visit_until_done(mut visit: impl FnMut(usize) -> Result<Visit, StoreError>) -> Option<StoreOutcome> {
    for number in 0..VISITS_MAX {
        if let Visit::Done(outcome) = visit(number).ok()? {
            return Some(outcome);
        }
    }
    None
}

impl Joining<'_> {
    fn visit(&mut self, entry: &mut Entry<'_>, store: &Store, scratch: &mut Vec<u8>) -> Visit {
        let refused = |stored| Visit::Done(StoreOutcome::refused(stored, self.given));
        let Some(item) = entry.item() else {
            let is_vivifying = matches!(self.mode, Mode::AppendVivify | Mode::PrependVivify);
            return match self.request.take_if(|_| is_vivifying) {
                Some(request) => Visit::Done(place(entry, StoreRequest { mode: Mode::Set, ..request })),
                None => refused(Stored::NotStored),
            };
        };
        let Some(request) = &self.request else { return refused(Stored::NotStored) };
        // Without CAS ids (-C) there is none to compare with: memcached keeps the one that was sent in the
        // new item, which has no place for it.
        let asked = if store.config().has_cas { request.compare } else { 0 };
        if !matches!(compare(asked, item.cas(), false), Comparison::NotAsked | Comparison::Match) {
            return refused(Stored::Exists);
        }
        let (flags, exptime, old) = (item.flags(), item.exptime(), item.value());
        let total = old.len() + self.given;
        let cas = request.new_cas;
        let value = match store.fit(self.key.len(), total, flags) {
            Fit::TooLarge => return refused(Stored::NotStored),
            Fit::Inline => {
                scratch.clear();
                if scratch.try_reserve(total).is_err() {
                    return Visit::Done(StoreOutcome::refused(Stored::NoMemory, self.given));
                }
                self.pieces(old, |piece| scratch.extend_from_slice(piece));
                NewValue::Bytes(scratch)
            }
            Fit::Large => match self.buffer.take_if(|buffer| buffer.len() == total) {
                None => return Visit::NeedsBuffer { value_bytes: total, flags },
                Some(mut buffer) => {
                    self.pieces(old, |piece| {
                        buffer.fill(piece);
                    });
                    NewValue::Large(buffer)
                }
            },
        };
        let stored = entry.insert(NewItem { flags, exptime, cas, value, marks: Marks::default() });
        Visit::Done(match stored {
            Ok(cas) => StoreOutcome { stored: Stored::Stored, cas, value_bytes: total },
            Err(_) => StoreOutcome::refused(Stored::NotStored, self.given),
        })
    }

    /// The joined value's pieces, in order.
    fn pieces(&self, old: Value<'_>, mut take: impl FnMut(&[u8])) {
        let is_front = matches!(self.mode, Mode::Prepend | Mode::PrependVivify);
        let given = self.request.as_ref().map(|request| &request.value);
        if is_front && let Some(given) = given {
            given.pieces(&mut take);
        }
        old.pieces(&mut take);
        if !is_front && let Some(given) = given {
            given.pieces(&mut take);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::command::admin_testing::Fixture;

    #[test]
    fn an_item_that_keeps_changing_its_size_is_given_up() {
        let mut visits = 0;
        let outcome = visit_until_done(|_| {
            visits += 1;
            Ok(Visit::NeedsBuffer { value_bytes: 20_000 + visits, flags: 0 })
        });
        assert!(outcome.is_none());
        assert_eq!(visits, VISITS_MAX);
    }

    #[test]
    fn large_scratch_memory_is_given_back() {
        for (bytes, is_kept) in [(SCRATCH_BYTES_KEPT, true), (SCRATCH_BYTES_KEPT + 1, false)] {
            let fixture = Fixture::new();
            fixture.set(b"k", b"value", 0, 0, false);
            fixture.with(|context| {
                context.scratch.joined = Vec::with_capacity(bytes);
                let request = StoreRequest {
                    mode: Mode::Append,
                    key: b"k",
                    flags: 0,
                    exptime: 0,
                    compare: 0,
                    new_cas: None,
                    is_stale_allowed: false,
                    is_binary_key: false,
                    value: NewValue::Bytes(b"d"),
                };
                let outcome = join(request, context.service.store.hash(b"k"), 1, context);
                assert_eq!((outcome.stored, outcome.value_bytes), (Stored::Stored, 6));
                assert_eq!(context.scratch.joined.capacity() > 0, is_kept, "{bytes} bytes");
            });
        }
    }
}

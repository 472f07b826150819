//! `md`: deletes an item, empties it (`x`), or marks it stale (`I`) for one client to recache.

use crate::protocol::text::meta::Request;
use crate::store::value::NewValue;
use crate::store::{Entry, Marks, NewItem};

use super::super::apply::Mode;
use super::super::event_lines;
use super::super::output::Output;
use super::super::service::{Context, Service};
use super::{Reply, push_bare_reply};

const NO_MEMORY: Reply = b"SERVER_ERROR out of memory\r\n";

/// `md <key> [flags]`.
pub(super) fn delete(
    request: &Request<'_>,
    key: &[u8],
    output: &mut Output,
    context: &mut Context<'_>,
) -> Result<(), Reply> {
    request.opaque()?;
    let (service, now) = (context.service, context.now);
    let exptime = request.seconds(b'T').map(|seconds| now.deadline(seconds));
    let code = context.visit(key, |entry| -> Result<_, Reply> {
        let Some(cas) = entry.item().map(|item| item.cas()) else {
            entry.counters().delete_misses += 1;
            return Ok(b"NF");
        };
        if request.number(b'C').is_some_and(|compare| compare != cas) {
            entry.counters().delete_misses += 1;
            return Ok(b"EX");
        }
        if request.has(b'x') {
            event_lines::fetched(entry, key, context.descriptor, service);
            empty(entry, request, cas, exptime.unwrap_or(0))?;
        }
        if request.has(b'I') {
            mark_stale(entry, request, exptime);
        } else {
            count_deleted(entry, key, service);
            if !request.has(b'x') {
                entry.remove();
            }
        }
        Ok(b"HD")
    })?;
    if code == b"HD" {
        if request.has(b'x') {
            event_lines::made(Mode::Set, key, 0, flags_of(request), exptime.unwrap_or(0), context);
        }
        if request.has(b'q') {
            return Ok(());
        }
    }
    push_bare_reply(code, request, key, output)
}

/// `x`: an empty item takes the place of the old one. It keeps the CAS id and nothing else.
fn empty(entry: &mut Entry<'_>, request: &Request<'_>, cas: u64, exptime: u32) -> Result<(), Reply> {
    let item = NewItem {
        flags: flags_of(request),
        exptime,
        cas: Some(request.number(b'E').unwrap_or(cas)),
        value: NewValue::Bytes(b""),
        marks: Marks::default(),
    };
    entry.insert(item).map(|_| ()).map_err(|_| NO_MEMORY)
}

/// Client flags of the empty item.
fn flags_of(request: &Request<'_>) -> u32 {
    request.number(b'F').unwrap_or(0) as u32
}

/// `I`: the item may still be served, and the next client that asks wins.
fn mark_stale(entry: &mut Entry<'_>, request: &Request<'_>, exptime: Option<u32>) {
    if let Some(exptime) = exptime {
        entry.set_exptime(exptime);
    }
    let marks = entry.item().map(|item| item.marks()).unwrap_or_default();
    entry.set_marks(Marks { is_stale: true, is_win_sent: false, ..marks });
    let cas = match request.number(b'E') {
        Some(cas) => cas,
        None => entry.next_cas(),
    };
    entry.set_cas(cas);
}

/// Counts the delete and tells watchers of it; the item is still there.
fn count_deleted(entry: &mut Entry<'_>, key: &[u8], service: &Service) {
    let class_id = entry.item().map_or(0, |item| item.class());
    entry.class_counters(class_id).delete_hits += 1;
    event_lines::deleted(entry, key, "md", service);
}

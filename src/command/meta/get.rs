//! `mg`: everything one may ask about an item, with recaching and stale values.
//!
//! The reply is written from one view of the item while the visit lasts; what the flags change (TTL, win mark, LRU) is
//! kept aside and applied after it, in the same visit.

use crate::base::time::Now;
use crate::protocol::text::meta::Request;
use crate::protocol::text::reply;
use crate::store::value::NewValue;
use crate::store::{Entry, ItemView, Marks, NewItem};

use super::super::output::Output;
use super::super::service::Context;
use super::{Reply, push_bare_reply, push_key, push_number, push_opaque, push_ttl};

/// `mg <key> [flags]`.
pub(super) fn get(
    request: &Request<'_>,
    key: &[u8],
    output: &mut Output,
    context: &mut Context<'_>,
) -> Result<(), Reply> {
    let now = context.now;
    context.visit(key, |entry| {
        let is_created = request.has(b'N') && entry.item().is_none() && vivify(entry, request);
        let Some(item) = entry.item() else {
            entry.counters().get_misses += 1;
            return miss(request, key, output);
        };
        let mut effect = Effect::default();
        let result = write_hit(request, &item, is_created, now, &mut effect, output);
        let (class_id, marks) = (item.class(), item.marks());
        settle(entry, request, effect, marks, result.is_ok());
        if result.is_ok() {
            if request.has(b'T') {
                entry.class_counters(class_id).touch_hits += 1;
            } else {
                entry.count_get_hit();
            }
        }
        result
    })
}

fn miss(request: &Request<'_>, key: &[u8], output: &mut Output) -> Result<(), Reply> {
    let mark = output.mark();
    push_bare_reply(b"EN", request, key, output)?;
    if request.has(b'q') {
        output.truncate(mark);
    }
    Ok(())
}

/// `N`: makes an empty item that never expires yet. False without memory: a miss is a miss then.
fn vivify(entry: &mut Entry<'_>, request: &Request<'_>) -> bool {
    let item = NewItem {
        flags: 0,
        exptime: 0,
        cas: request.number(b'E'),
        value: NewValue::Bytes(b""),
        marks: Marks::default(),
    };
    entry.insert(item).is_ok()
}

/// What a hit does to its item.
#[derive(Default)]
struct Effect {
    exptime: Option<u32>,
    is_won: bool,
}

/// Writes the reply, flag by flag. On an error the effects of the flags before it stand.
fn write_hit(
    request: &Request<'_>,
    item: &ItemView<'_>,
    is_created: bool,
    now: Now,
    effect: &mut Effect,
    output: &mut Output,
) -> Result<(), Reply> {
    let value = item.value();
    let marks = item.marks();
    let has_value = request.has(b'v') && request.number(b'C') != Some(item.cas());
    let mut exptime = item.exptime();
    let out = output.bytes();
    if has_value {
        out.extend_from_slice(b"VA ");
        reply::number(value.len() as u64, out);
    } else {
        out.extend_from_slice(b"HD");
    }
    for flag in request.flags() {
        match flag.letter {
            b'T' => {
                exptime = now.deadline(flag.seconds());
                effect.exptime = Some(exptime);
            }
            b'N' if is_created => {
                exptime = now.deadline(flag.seconds());
                effect.exptime = Some(exptime);
                effect.is_won = true;
            }
            b'R' => {
                let deadline = now.deadline(flag.seconds());
                let is_winnable = !marks.is_win_sent && !is_created && exptime != 0;
                effect.is_won |= is_winnable && exptime < deadline;
            }
            b's' => push_number(b's', value.len() as u64, out),
            b't' => push_ttl(exptime, now, out),
            b'c' => push_number(b'c', item.cas(), out),
            b'f' => push_number(b'f', u64::from(item.flags()), out),
            b'l' => push_number(b'l', u64::from(item.idle_seconds(now)), out),
            b'h' => out.extend_from_slice(if item.is_fetched() { b" h1" } else { b" h0" }),
            b'O' => push_opaque(request.opaque()?, out),
            b'k' => push_key(item.key(), marks.is_binary_key, out),
            _ => {}
        }
    }
    if marks.is_win_sent {
        out.extend_from_slice(b" Z");
    }
    if marks.is_stale {
        out.extend_from_slice(b" X");
        effect.is_won |= !marks.is_win_sent;
    }
    if effect.is_won {
        out.extend_from_slice(b" W");
    }
    out.extend_from_slice(b"\r\n");
    if has_value {
        output.push_value(value);
        output.push(b"\r\n");
    }
    Ok(())
}

/// Applies the effects. A refused command has bumped its item only if it did not have to wait for its flags (those
/// below), and has won nothing.
fn settle(entry: &mut Entry<'_>, request: &Request<'_>, effect: Effect, marks: Marks, is_answered: bool) {
    if let Some(exptime) = effect.exptime {
        entry.set_exptime(exptime);
    }
    if effect.is_won && is_answered {
        entry.set_marks(Marks { is_win_sent: true, ..marks });
    }
    let is_bump_last = [b'N', b'T', b'R', b'l', b'h'].iter().any(|&letter| request.has(letter));
    if !request.has(b'u') && (is_answered || !is_bump_last) {
        entry.bump();
    }
}

//! delete and touch: what ends an item, now or later.

use crate::protocol::text::classic::{self, Refusal};
use crate::protocol::text::reply;

use super::event_lines;
use super::output::Output;
use super::retrieval;
use super::service::Context;

/// Executes delete.
pub(super) fn delete(arguments: &[u8], output: &mut Output, context: &mut Context<'_>) {
    let line = match classic::delete(arguments) {
        Ok(line) => line,
        Err(refusal) => return answer(refusal, output),
    };
    let (key, service) = (line.key, context.service);
    if service.prefixes.is_enabled() {
        service.prefixes.record_delete(key);
    }
    let is_deleted = context.visit(key, |entry| {
        let Some(class_id) = entry.item().map(|item| item.class()) else {
            entry.counters().delete_misses += 1;
            return false;
        };
        entry.class_counters(class_id).delete_hits += 1;
        event_lines::deleted(entry, key, "delete", service);
        entry.remove();
        true
    });
    if !line.is_noreply {
        output.push(if is_deleted { reply::DELETED } else { reply::NOT_FOUND });
    }
}

/// Executes touch.
pub(super) fn touch(arguments: &[u8], output: &mut Output, context: &mut Context<'_>) {
    let line = match classic::touch(arguments) {
        Ok(line) => line,
        Err(refusal) => return answer(refusal, output),
    };
    let key = line.key;
    let deadline = context.now.deadline(i64::from(line.argument));
    let is_touched = context.visit(key, |entry| {
        if entry.item().is_some() {
            retrieval::touch(entry, deadline);
            true
        } else {
            entry.counters().touch_misses += 1;
            false
        }
    });
    if !line.is_noreply {
        output.push(if is_touched { reply::TOUCHED } else { reply::NOT_FOUND });
    }
}

fn answer(refusal: Refusal, output: &mut Output) {
    if !refusal.is_noreply {
        output.push(refusal.reply);
    }
}

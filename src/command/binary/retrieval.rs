//! Get, GetK, Touch, GAT, GATK and their quiet twins: one visit that touches, bumps and copies the value out.

use crate::protocol::binary::opcode::Command;
use crate::protocol::binary::reply::{Parts, Status, push_error, push_header};
use crate::store::ItemView;

use super::super::output::Output;
use super::super::service::Context;
use super::Packet;

/// Executes a get or touch.
pub(super) fn get(packet: &Packet<'_>, output: &mut Output, context: &mut Context<'_>) {
    let (service, now) = (context.service, context.now);
    let key = packet.key;
    let is_touch = matches!(packet.opcode.command, Command::Touch | Command::GetAndTouch | Command::GetAndTouchWithKey);
    let is_hit = context.visit(key, |entry| {
        let Some(item) = entry.item() else {
            let counters = entry.counters();
            if is_touch {
                counters.touch_misses += 1;
            } else {
                counters.get_misses += 1;
            }
            return false;
        };
        let class_id = item.class();
        push_hit(packet, &item, output);
        if is_touch {
            entry.bump();
            entry.set_exptime(now.deadline(i64::from(packet.extra_u32(0))));
            entry.class_counters(class_id).touch_hits += 1;
        } else {
            entry.count_get_hit();
            entry.bump();
        }
        true
    });
    if !is_hit && !packet.is_quiet() {
        push_miss(packet, output);
    }
    service.prefixes.record_get(key, is_hit);
}

fn returns_key(packet: &Packet<'_>) -> bool {
    matches!(packet.opcode.command, Command::GetWithKey | Command::GetAndTouchWithKey)
}

/// Flags, key if asked for, value unless it is a plain touch. Quiet requests get it too.
fn push_hit(packet: &Packet<'_>, item: &ItemView<'_>, output: &mut Output) {
    let value = (packet.opcode.command != Command::Touch).then(|| item.value());
    let key: &[u8] = if returns_key(packet) { packet.key } else { &[] };
    let flags = item.flags().to_be_bytes();
    let parts =
        Parts { extras_bytes: flags.len(), key_bytes: key.len(), value_bytes: value.map_or(0, |value| value.len()) };
    let out = output.bytes();
    push_header(packet.echo(), Status::Success, parts, item.cas(), out);
    out.extend_from_slice(&flags);
    out.extend_from_slice(key);
    if let Some(value) = value {
        output.push_value(value);
    }
}

/// With the key for those that return it, with a text for the others.
fn push_miss(packet: &Packet<'_>, output: &mut Output) {
    let out = output.bytes();
    if !returns_key(packet) {
        push_error(packet.echo(), Status::NotFound, out);
        return;
    }
    let parts = Parts { key_bytes: packet.key.len(), ..Parts::default() };
    push_header(packet.echo(), Status::NotFound, parts, 0, out);
    out.extend_from_slice(packet.key);
}

//! Stat: the groups of `stats`, one packet a line and an empty packet at the end.

use crate::protocol::binary::header::HEADER_BYTES;
use crate::protocol::binary::reply::{Echo, Parts, Status, push_error, push_header};
use crate::store::Store;

use super::super::listing::make_room_or_tear;
use super::super::output::Output;
use super::super::service::Context;
use super::super::statistics;
use super::Packet;

/// Executes a stat request; its key selects the group.
pub(super) fn show(packet: &Packet<'_>, output: &mut Output, context: &mut Context<'_>) {
    let echo = packet.echo();
    let mark = output.mark();
    let store = &context.service.store;
    let mut emit = |name: &str, value: &str| push_line(echo, name, value.as_bytes(), output, store);
    // As in memcached some groups are known by how they begin.
    let is_known = match packet.key {
        b"" => {
            statistics::general(context, &mut emit);
            true
        }
        b"items" => {
            statistics::items(context, &mut emit);
            true
        }
        b"slabs" => {
            statistics::slabs(context, &mut emit);
            true
        }
        b"sizes" => {
            statistics::sizes(context, &mut emit);
            true
        }
        key if key.starts_with(b"reset") => {
            statistics::reset(context);
            true
        }
        key if key.starts_with(b"settings") => {
            statistics::settings(context, &mut emit);
            true
        }
        key => match key.strip_prefix(b"detail") {
            Some(action) => detail(action, echo, output, context),
            None => false,
        },
    };
    if is_known {
        push_header(echo, Status::Success, Parts::default(), 0, output.bytes());
    } else {
        output.truncate(mark);
        push_error(echo, Status::NotFound, output.bytes());
    }
}

/// `detail on`, `detail off` and `detail dump`; false for anything else, or when dumps are disabled.
fn detail(action: &[u8], echo: Echo, output: &mut Output, context: &Context<'_>) -> bool {
    let prefixes = &context.service.prefixes;
    if !context.service.config.is_dump_enabled {
        return false;
    }
    if action.starts_with(b" dump") {
        let mut dump = Vec::new();
        match prefixes.dump(&mut dump) {
            Ok(()) => push_line(echo, "detailed", &dump, output, &context.service.store),
            Err(_) => output.tear(),
        }
    } else if action.starts_with(b" on") {
        prefixes.set_enabled(true);
    } else if action.starts_with(b" off") {
        prefixes.set_enabled(false);
    } else {
        return false;
    }
    true
}

/// Appends a packet if there is memory for it, and for the last one behind it.
fn push_line(echo: Echo, name: &str, value: &[u8], output: &mut Output, store: &Store) {
    if !make_room_or_tear(2 * HEADER_BYTES + name.len() + value.len(), output, store) {
        return;
    }
    let parts = Parts { extras_bytes: 0, key_bytes: name.len(), value_bytes: value.len() };
    let out = output.bytes();
    push_header(echo, Status::Success, parts, 0, out);
    out.extend_from_slice(name.as_bytes());
    out.extend_from_slice(value);
}

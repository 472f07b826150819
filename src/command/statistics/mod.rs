//! `stats`: the sub-commands of the text protocol, and for the binary one the lists behind them.
//!
//! Each list is a function that hands names and values to an emitter, so that both protocols share it. The general list
//! is one table in [`mod@general`]; a counter is one row there.

pub mod classes;
pub mod general;
pub mod settings;

use crate::base::sizes::CLASSES_MAX;
use crate::base::sync::{Arc, Ordering};
use crate::base::time::Now;
use crate::protocol::text::line::is_keyword;
use crate::protocol::text::number::strict_u32;
use crate::stats::connections::ConnectionEntry;
use crate::store::Store;

use super::dump;
use super::listing::make_room_or_tear;
use super::output::Output;
use super::service::Context;

pub use classes::{items, sizes, slabs};
pub use general::general;
pub use settings::settings;

/// Takes one statistic: name and value.
pub type Emit<'a> = &'a mut dyn FnMut(&str, &str);

/// Executes `stats`, `tokens[0]`. Sub-commands are tried in memcached's order; all but the last three may be
/// abbreviated.
pub fn execute(tokens: &[&[u8]], output: &mut Output, context: &mut Context<'_>) {
    let store = &context.service.store;
    let Some(word) = tokens.get(1) else {
        return list(output, store, |emit| general(context, emit));
    };
    if is_keyword(word, "reset") {
        reset(context);
        output.push(b"RESET\r\n");
    } else if is_keyword(word, "detail") {
        detail(tokens.get(2).copied(), output, context);
    } else if is_keyword(word, "settings") {
        list(output, store, |emit| settings(context, emit));
    } else if is_keyword(word, "cachedump") {
        cachedump(tokens, output, context);
    } else if is_keyword(word, "conns") {
        let list_connections = || context.service.connections.list();
        let entries = list_connections().or_else(|| store.release_reserve().then(list_connections).flatten());
        match entries {
            Some(entries) => list(output, store, |emit| connections(&entries, context.now, emit)),
            None => output.tear(),
        }
    } else {
        match *word {
            b"items" => list(output, store, |emit| items(context, emit)),
            b"slabs" => list(output, store, |emit| slabs(context, emit)),
            b"sizes" => list(output, store, |emit| sizes(context, emit)),
            _ => output.push(b"ERROR\r\n"),
        }
    }
}

/// Writes what `fill` emits as `STAT` lines, then `END`, as long as there is memory for them.
fn list(output: &mut Output, store: &Store, fill: impl FnOnce(Emit<'_>)) {
    let mut line = |parts: [&[u8]; 5]| {
        if make_room_or_tear(parts.iter().map(|part| part.len()).sum(), output, store) {
            parts.iter().for_each(|part| output.push(part));
        }
    };
    fill(&mut |name, value| line([b"STAT ", name.as_bytes(), b" ", value.as_bytes(), b"\r\n"]));
    line([b"END", b"", b"", b"", b"\r\n"]);
}

/// `stats reset`: sets all counters to zero; what describes the present state stays.
pub fn reset(context: &Context<'_>) {
    let service = context.service;
    for worker in &service.workers {
        worker.reset();
    }
    service.store.reset_counters();
    service.connections.reset_counters();
    service.events.reset_counters();
    service.prefixes.reset();
}

fn detail(word: Option<&[u8]>, output: &mut Output, context: &Context<'_>) {
    let service = context.service;
    if !service.config.is_dump_enabled {
        return output.push(b"CLIENT_ERROR stats detail not allowed\r\n");
    }
    let is = |name: &str| word.is_some_and(|word| is_keyword(word, name));
    if is("on") || is("off") {
        service.prefixes.set_enabled(is("on"));
        output.push(b"OK\r\n");
    } else if is("dump") {
        let is_whole = service.prefixes.dump(output.bytes()).is_ok()
            || (service.store.release_reserve() && service.prefixes.dump(output.bytes()).is_ok());
        if !is_whole {
            output.tear();
        }
    } else {
        output.push(b"CLIENT_ERROR usage: stats detail on|off|dump\r\n");
    }
}

fn cachedump(tokens: &[&[u8]], output: &mut Output, context: &Context<'_>) {
    if !context.service.config.is_dump_enabled {
        return output.push(b"CLIENT_ERROR stats cachedump not allowed\r\n");
    }
    let [_, _, class, limit, ..] = tokens else {
        return output.push(b"CLIENT_ERROR bad command line\r\n");
    };
    match (strict_u32(class), strict_u32(limit)) {
        (Some(class @ 0..CLASSES_MAX), Some(limit)) => {
            dump::cachedump(class as u8, limit, output, context);
        }
        (Some(_), Some(_)) => output.push(b"CLIENT_ERROR Illegal slab id\r\n"),
        _ => output.push(b"CLIENT_ERROR bad command line format\r\n"),
    }
}

/// `stats conns`: open connections and listeners by descriptor.
pub fn connections(entries: &[Arc<ConnectionEntry>], now: Now, emit: Emit<'_>) {
    for entry in entries {
        let mut field = |name: &str, value: &str| emit(&format!("{}:{name}", entry.descriptor), value);
        if entry.address.starts_with("udp") {
            field("UDP", "UDP");
        }
        field("addr", &entry.address);
        if !entry.listen_address.is_empty() {
            field("listen_addr", &entry.listen_address);
        }
        field("state", entry.state_name());
        let replies_waiting = entry.replies_waiting.load(Ordering::Relaxed);
        if replies_waiting > 0 {
            field("resps_waiting", &replies_waiting.to_string());
        }
        let last_command = entry.last_command.load(Ordering::Relaxed);
        field("secs_since_last_cmd", &now.seconds.saturating_sub(last_command).to_string());
    }
}

#[cfg(test)]
mod tests;

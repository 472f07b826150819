//! `ma`: increments and decrements, with creation on a miss (`N`), TTL and CAS id in one go.
//!
//! One deliberate difference to memcached 1.6: when the new number is longer than the old value, memcached applies `T`
//! and `E` to the item it has just replaced and so loses them. Here they reach the item that stays.

use crate::base::time::Now;
use crate::protocol::text::meta::Request;
use crate::protocol::text::reply;
use crate::store::Entry;

use super::super::apply::{self, Delta, DeltaRequest, Mode};
use super::super::event_lines;
use super::super::output::Output;
use super::super::service::Context;
use super::{Reply, push_bare_reply, push_key, push_number, push_opaque, push_ttl};

const BAD_MODE: Reply = b"CLIENT_ERROR invalid mode for ma M token\r\n";
const NON_NUMERIC: Reply = b"CLIENT_ERROR cannot increment or decrement non-numeric value\r\n";
const NO_MEMORY: Reply = b"SERVER_ERROR out of memory\r\n";
const NO_MEMORY_CREATING: Reply = b"SERVER_ERROR Out of memory allocating new item\r\n";

/// The number that is there now.
struct Number {
    value: u64,
    cas: u64,
    is_created: bool,
}

/// `ma <key> [flags]`.
pub(super) fn change(
    request: &Request<'_>,
    key: &[u8],
    output: &mut Output,
    context: &mut Context<'_>,
) -> Result<(), Reply> {
    let is_increment = match request.mode() {
        None | Some(b'I' | b'+') => true,
        Some(b'D' | b'-') => false,
        Some(_) => return Err(BAD_MODE),
    };
    let (service, now) = (context.service, context.now);
    let delta = DeltaRequest {
        is_increment,
        delta: request.number(b'D').unwrap_or(1),
        compare: request.number(b'C').unwrap_or(0),
        new_cas: request.number(b'E'),
    };
    let mark = output.mark();
    let is_created = context.visit(key, |entry| {
        let number = match apply::delta(entry, &delta) {
            Delta::Done { value, cas } => Number { value, cas, is_created: false },
            Delta::NotFound if request.has(b'N') => {
                event_lines::fetched(entry, key, context.descriptor, service);
                create(entry, request)?
            }
            Delta::NotFound => {
                apply::count_miss(entry, is_increment);
                push_bare_reply(b"NF", request, key, output)?;
                return Ok(None);
            }
            Delta::Mismatch => {
                push_bare_reply(b"EX", request, key, output)?;
                return Ok(None);
            }
            Delta::NonNumeric => return Err(NON_NUMERIC),
            Delta::NoMemory => return Err(NO_MEMORY),
        };
        finish(entry, request, key, &number, now, output)?;
        Ok(Some(number.is_created))
    })?;
    if is_created == Some(true) {
        let value_bytes = itoa::Buffer::new().format(request.number(b'J').unwrap_or(0)).len();
        event_lines::made(Mode::Add, key, value_bytes, 0, 0, context);
    }
    if is_created.is_some() && request.has(b'q') {
        output.truncate(mark);
    }
    Ok(())
}

/// `N`: an item with the initial number, which never expires yet.
fn create(entry: &mut Entry<'_>, request: &Request<'_>) -> Result<Number, Reply> {
    let value = request.number(b'J').unwrap_or(0);
    match apply::create_number(entry, value, 0, request.number(b'E')) {
        Ok(cas) => Ok(Number { value, cas, is_created: true }),
        Err(_) => Err(NO_MEMORY_CREATING),
    }
}

/// Sets the TTL and writes the reply, flag by flag. On an error the flags before it stand.
fn finish(
    entry: &mut Entry<'_>,
    request: &Request<'_>,
    key: &[u8],
    number: &Number,
    now: Now,
    output: &mut Output,
) -> Result<(), Reply> {
    let mut digits = itoa::Buffer::new();
    let text = digits.format(number.value).as_bytes();
    let mut exptime = entry.item().map_or(0, |item| item.exptime());
    let out = output.bytes();
    if request.has(b'v') {
        out.extend_from_slice(b"VA ");
        reply::number(text.len() as u64, out);
    } else {
        out.extend_from_slice(b"HD");
    }
    for flag in request.flags() {
        match flag.letter {
            b'c' => push_number(b'c', number.cas, out),
            b't' => push_ttl(exptime, now, out),
            b'T' => {
                exptime = now.deadline(flag.seconds());
                entry.set_exptime(exptime);
            }
            b'N' if number.is_created => {
                exptime = now.deadline(flag.seconds());
                entry.set_exptime(exptime);
            }
            b'O' => push_opaque(request.opaque()?, out),
            b'k' => push_key(key, request.has(b'b'), out),
            _ => {}
        }
    }
    if request.has(b'v') {
        out.extend_from_slice(b"\r\n");
        out.extend_from_slice(text);
    }
    out.extend_from_slice(b"\r\n");
    Ok(())
}

//! Increment, Decrement and their quiet twins, with creation on a miss.

use crate::protocol::binary::opcode::Command;
use crate::protocol::binary::reply::{Status, push_error, push_value};
use crate::stats::events::class;
use crate::store::value::NewValue;
use crate::store::{Entry, Marks, NewItem};

use super::super::apply::{self, Delta, DeltaRequest, Mode, StoreOutcome, Stored};
use super::super::event_lines;
use super::super::output::Output;
use super::super::service::Context;
use super::Packet;

/// The exptime that asks for no creation.
const NO_CREATION: u32 = u32::MAX;

/// The number that is there now.
struct Number {
    value: u64,
    cas: u64,
    is_created: bool,
}

/// Executes an increment or decrement.
pub(super) fn change(packet: &Packet<'_>, descriptor: i32, output: &mut Output, context: &mut Context<'_>) {
    let service = context.service;
    let key = packet.key;
    let delta = DeltaRequest {
        key,
        is_increment: packet.opcode.command == Command::Increment,
        delta: packet.extra_u64(0),
        compare: packet.header.cas,
        new_cas: None,
    };
    let (initial, exptime) = (packet.extra_u64(8), packet.extra_u32(16));
    let deadline = context.now.deadline(i64::from(exptime));
    let hash = service.store.hash(key);
    let number = service.store.entry(key, hash, context.now, |entry| {
        event_lines::fetched(entry, key, descriptor, service);
        match apply::delta(entry, &delta) {
            Delta::Done { value, cas } => Ok(Number { value, cas, is_created: false }),
            Delta::NotFound if exptime != NO_CREATION => {
                event_lines::fetched(entry, key, descriptor, service);
                create(entry, initial, deadline)
            }
            Delta::NotFound => {
                let counters = entry.counters();
                if delta.is_increment {
                    counters.incr_misses += 1;
                } else {
                    counters.decr_misses += 1;
                }
                Err(Status::NotFound)
            }
            Delta::NonNumeric => Err(Status::NonNumeric),
            Delta::Mismatch => Err(Status::Exists),
            Delta::NoMemory => Err(Status::NoMemoryIncrementing),
        }
    });
    match number {
        Err(status) => push_error(packet.echo(), status, output.bytes()),
        Ok(number) => {
            if number.is_created && service.events.is_watched(class::MUTATIONS) {
                emit_created(key, &number, deadline, descriptor, context);
            }
            if !packet.is_quiet() {
                let value = number.value.to_be_bytes();
                push_value(packet.echo(), &value, number.cas, output.bytes());
            }
        }
    }
}

/// An item with the initial number in place of an absent one.
fn create(entry: &mut Entry<'_>, value: u64, exptime: u32) -> Result<Number, Status> {
    let mut digits = itoa::Buffer::new();
    let item = NewItem {
        flags: 0,
        exptime,
        cas: None,
        value: NewValue::Bytes(digits.format(value).as_bytes()),
        marks: Marks::default(),
    };
    match entry.insert(item) {
        Ok(cas) => Ok(Number { value, cas, is_created: true }),
        Err(_) => Err(Status::NoMemoryCreating),
    }
}

/// Tells watchers of the created item.
#[cold]
fn emit_created(key: &[u8], number: &Number, exptime: u32, descriptor: i32, context: &Context<'_>) {
    let store = &context.service.store;
    let value_bytes = itoa::Buffer::new().format(number.value).len();
    let class_id = store.class_of(store.item_bytes(key.len(), value_bytes, 0));
    let outcome = StoreOutcome { stored: Stored::Stored, cas: number.cas, value_bytes };
    event_lines::stored(Mode::Add, outcome, key, exptime, class_id, descriptor, context);
}

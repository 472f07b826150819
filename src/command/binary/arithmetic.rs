//! Increment, Decrement and their quiet twins, with creation on a miss.

use crate::protocol::binary::opcode::Command;
use crate::protocol::binary::reply::{Status, push_error, push_value};
use crate::store::Entry;

use super::super::apply::{self, Delta, DeltaRequest, Mode};
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
pub(super) fn change(packet: &Packet<'_>, output: &mut Output, context: &mut Context<'_>) {
    let service = context.service;
    let key = packet.key;
    let delta = DeltaRequest {
        is_increment: packet.opcode.command == Command::Increment,
        delta: packet.extra_u64(0),
        compare: packet.header.cas,
        new_cas: None,
    };
    let (initial, exptime) = (packet.extra_u64(8), packet.extra_u32(16));
    let deadline = context.now.deadline(i64::from(exptime));
    let number = context.visit(key, |entry| match apply::delta(entry, &delta) {
        Delta::Done { value, cas } => Ok(Number { value, cas, is_created: false }),
        Delta::NotFound if exptime != NO_CREATION => {
            event_lines::fetched(entry, key, context.descriptor, service);
            create(entry, initial, deadline)
        }
        Delta::NotFound => {
            apply::count_miss(entry, delta.is_increment);
            Err(Status::NotFound)
        }
        Delta::NonNumeric => Err(Status::NonNumeric),
        Delta::Mismatch => Err(Status::Exists),
        Delta::NoMemory => Err(Status::NoMemoryIncrementing),
    });
    match number {
        Err(status) => push_error(packet.echo(), status, output.bytes()),
        Ok(number) => {
            if number.is_created {
                let value_bytes = itoa::Buffer::new().format(number.value).len();
                event_lines::made(Mode::Add, key, value_bytes, 0, deadline, context);
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
    match apply::create_number(entry, value, exptime, None) {
        Ok(cas) => Ok(Number { value, cas, is_created: true }),
        Err(_) => Err(Status::NoMemoryCreating),
    }
}

//! Set, Add, Replace, Append, Prepend and their quiet twins.
//!
//! A value that is kept inline is waited for and handed over from the input. A large one gets its buffer first, so that
//! the network can read into it. What cannot be stored is skipped, then answered.

use crate::protocol::binary::opcode::Command;
use crate::protocol::binary::reply::{Echo, Status, push_error, push_value};
use crate::store::StoreError;
use crate::store::value::{LargeBuffer, NewValue};

use super::super::apply::{self, Mode, StoreRequest, Stored};
use super::super::event_lines;
use super::super::meta::KeyBuffer;
use super::super::output::Output;
use super::super::room::{self, Room};
use super::super::service::Context;
use super::{BinaryState, Outcome, Packet, State, Step};

/// What watchers see as the command of a refused packet: memcached does not tell them.
const REFUSED_NAME: &str = "null";

/// A storage command without its key and value.
#[derive(Clone, Copy, Debug)]
struct Storage {
    command: Command,
    echo: Echo,
    is_quiet: bool,
    flags: u32,
    exptime: u32,
    compare: u64,
}

/// A storage command whose large value is on its way.
#[derive(Debug)]
pub(super) struct Receiving {
    storage: Storage,
    key: KeyBuffer,
    pub(super) buffer: LargeBuffer,
}

impl Storage {
    fn new(packet: &Packet<'_>, context: &Context<'_>) -> Self {
        // Joining commands have no extras: flags and exptime are 0 then.
        Self {
            command: packet.opcode.command,
            echo: packet.echo(),
            is_quiet: packet.is_quiet(),
            flags: packet.extra_u32(0),
            exptime: context.now.deadline(i64::from(packet.extra_u32(4))),
            // Items without CAS ids (-C) have no place for this one either: memcached never sees it.
            compare: if context.service.store.config().has_cas { packet.header.cas } else { 0 },
        }
    }

    /// With a CAS id set, add and replace are all the same compare-and-swap.
    fn mode(&self) -> Mode {
        match self.command {
            Command::Append => Mode::Append,
            Command::Prepend => Mode::Prepend,
            _ if self.compare != 0 => Mode::Cas,
            Command::Add => Mode::Add,
            Command::Replace => Mode::Replace,
            _ => Mode::Set,
        }
    }

    fn finish(&self, key: &[u8], value: NewValue<'_>, output: &mut Output, context: &mut Context<'_>) {
        let mode = self.mode();
        let request = StoreRequest {
            mode,
            key,
            flags: self.flags,
            exptime: self.exptime,
            compare: self.compare,
            new_cas: None,
            is_stale_allowed: false,
            is_binary_key: false,
            value,
        };
        let outcome = apply::store(request, context);
        let status = match (outcome.stored, mode) {
            (Stored::Stored, _) => Status::Success,
            (Stored::Exists, _) | (Stored::NotStored, Mode::Add) => Status::Exists,
            (Stored::NotFound, _) | (Stored::NotStored, Mode::Replace) => Status::NotFound,
            (Stored::NotStored, _) => Status::NotStored,
            (Stored::NoMemory, _) => {
                self.forget_old(key, context);
                Status::NoMemory
            }
        };
        if status != Status::Success {
            push_error(self.echo, status, output.bytes());
        } else if !self.is_quiet {
            push_value(self.echo, b"", outcome.cas, output.bytes());
        }
    }

    /// A set that fails takes the old item with it, so that nobody reads what was meant to be replaced.
    fn forget_old(&self, key: &[u8], context: &Context<'_>) {
        if self.command == Command::Set {
            let store = &context.service.store;
            store.entry(key, store.hash(key), context.now, |entry| entry.remove());
        }
    }
}

impl BinaryState {
    /// Begins a storage command; without its whole inline value nothing happens yet.
    pub(super) fn store(&mut self, packet: &Packet<'_>, output: &mut Output, context: &mut Context<'_>) -> Step {
        let service = context.service;
        let storage = Storage::new(packet, context);
        let (key, value_bytes) = (packet.key, packet.value_bytes);
        let prefix_bytes = packet.header.prefix_bytes();
        let error = match room::find(key.len(), value_bytes, storage.flags, context) {
            Room::Inline => {
                let packet_bytes = prefix_bytes + value_bytes;
                let Some(value) = packet.rest.get(..value_bytes) else {
                    return Step::wait(packet_bytes);
                };
                service.prefixes.record_set(key);
                storage.finish(key, NewValue::Bytes(value), output, context);
                return Step::answered(packet_bytes);
            }
            Room::Large(buffer) => {
                service.prefixes.record_set(key);
                self.state = State::Value(Box::new(Receiving { storage, key: KeyBuffer::new(key), buffer }));
                return Step { consumed: prefix_bytes, outcome: Outcome::Continued };
            }
            Room::Refused(error) => error,
        };
        service.prefixes.record_set(key);
        storage.forget_old(key, context);
        if !matches!(storage.command, Command::Append | Command::Prepend) {
            event_lines::refused(REFUSED_NAME, error, key, context);
        }
        let status = match error {
            StoreError::TooLarge => Status::TooLarge,
            StoreError::NoMemory => Status::NoMemory,
        };
        self.swallow_first(prefix_bytes, value_bytes, storage.echo, status, output)
    }

    /// Takes what has come of a large value; stores it when it is complete.
    pub(super) fn receive(&mut self, input: &[u8], output: &mut Output, context: &mut Context<'_>) -> Step {
        let State::Value(receiving) = &mut self.state else {
            return Step::wait(0);
        };
        let consumed = receiving.buffer.fill(input);
        if receiving.buffer.missing() > 0 {
            return Step { consumed, outcome: Outcome::Waiting(0) };
        }
        if let State::Value(receiving) = std::mem::replace(&mut self.state, State::Header) {
            let Receiving { storage, key, buffer } = *receiving;
            let value = NewValue::Large(buffer);
            storage.finish(key.as_slice(), value, output, context);
        }
        Step::answered(consumed)
    }
}

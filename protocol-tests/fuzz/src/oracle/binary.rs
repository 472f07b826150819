//! Packets of the binary protocol.

use crate::bytes::Bytes;

use super::items::{Counted, Items, Mode, NewItem, Outcome};
use super::{Oracle, Script};

const NOT_FOUND: u16 = 0x01;
const EXISTS: u16 = 0x02;
const TOO_LARGE: u16 = 0x03;
const NOT_STORED: u16 = 0x05;
const NON_NUMERIC: u16 = 0x06;
const UNKNOWN_COMMAND: u16 = 0x81;

/// A request.
struct Packet<'a> {
    opcode: u8,
    extras: &'a [u8],
    key: &'a [u8],
    value: &'a [u8],
    cas: u64,
    opaque: u32,
}

impl Packet<'_> {
    fn send(&self, script: &mut Script) {
        let body = (self.extras.len() + self.key.len() + self.value.len()) as u32;
        let input = &mut script.input;
        input.extend([0x80, self.opcode]);
        input.extend((self.key.len() as u16).to_be_bytes());
        input.extend([self.extras.len() as u8, 0, 0, 0]);
        input.extend(body.to_be_bytes());
        input.extend(self.opaque.to_be_bytes());
        input.extend(self.cas.to_be_bytes());
        for part in [self.extras, self.key, self.value] {
            input.extend_from_slice(part);
        }
    }

    fn reply(&self, status: u16, cas: u64, extras: &[u8], key: &[u8], value: &[u8], script: &mut Script) {
        let body = (extras.len() + key.len() + value.len()) as u32;
        let out = &mut script.expected;
        out.extend([0x81, self.opcode]);
        out.extend((key.len() as u16).to_be_bytes());
        out.extend([extras.len() as u8, 0]);
        out.extend(status.to_be_bytes());
        out.extend(body.to_be_bytes());
        out.extend(self.opaque.to_be_bytes());
        out.extend(cas.to_be_bytes());
        for part in [extras, key, value] {
            out.extend_from_slice(part);
        }
    }

    fn refuse(&self, status: u16, script: &mut Script) {
        let text: &[u8] = match status {
            NOT_FOUND => b"Not found",
            EXISTS => b"Data exists for key.",
            TOO_LARGE => b"Too large.",
            NOT_STORED => b"Not stored.",
            NON_NUMERIC => b"Non-numeric server-side value for incr or decr",
            _ => b"Unknown command",
        };
        self.reply(status, 0, b"", b"", text, script);
    }
}

impl Oracle {
    /// Adds a packet.
    pub(super) fn packet(&mut self, bytes: &mut Bytes<'_>, script: &mut Script) {
        let choice = bytes.below(16);
        let key = self.key(bytes);
        let opaque = u32::from(bytes.byte()) * 0x0101;
        let plain = Packet { opcode: 0, extras: b"", key: &key, value: b"", cas: 0, opaque };
        match choice {
            0..4 => self.binary_get(&Packet { opcode: [0x00, 0x09, 0x0c, 0x0d][bytes.below(4)], ..plain }, script),
            4..8 => {
                let opcode = [0x01, 0x01, 0x11, 0x11, 0x02, 0x12, 0x03, 0x13][bytes.below(8)];
                let value = self.value(bytes);
                let (flags, exptime) = (self.flags(bytes), self.exptime(bytes) as u32);
                let extras = [flags.to_be_bytes(), exptime.to_be_bytes()].concat();
                let cas = if bytes.one_in(3) { self.cas(&key, bytes) } else { 0 };
                let packet = Packet { opcode, extras: &extras, value: &value, cas, ..plain };
                self.binary_store(&packet, flags, exptime, script);
            }
            8 => {
                let opcode = [0x0e, 0x0f, 0x19, 0x1a][bytes.below(4)];
                let value = self.value(bytes);
                let cas = if bytes.one_in(3) { self.cas(&key, bytes) } else { 0 };
                self.binary_store(&Packet { opcode, value: &value, cas, ..plain }, 0, 0, script);
            }
            9 => {
                let cas = if bytes.one_in(3) { self.cas(&key, bytes) } else { 0 };
                self.binary_delete(&Packet { opcode: [0x04, 0x14][bytes.below(2)], cas, ..plain }, script);
            }
            10 | 11 => {
                let (delta, initial) = (self.delta(bytes), self.delta(bytes));
                let exptime = if bytes.one_in(3) { u32::MAX } else { self.exptime(bytes) as u32 };
                let extras = [&delta.to_be_bytes()[..], &initial.to_be_bytes(), &exptime.to_be_bytes()].concat();
                let cas = if bytes.one_in(5) { self.cas(&key, bytes) } else { 0 };
                let opcode = [0x05, 0x06, 0x15, 0x16][bytes.below(4)];
                self.binary_count(&Packet { opcode, extras: &extras, cas, ..plain }, delta, initial, exptime, script);
            }
            12 | 13 => {
                let exptime = self.exptime(bytes) as u32;
                let opcode = [0x1c, 0x1d, 0x1e, 0x23, 0x24][bytes.below(5)];
                let packet = Packet { opcode, extras: &exptime.to_be_bytes(), ..plain };
                self.binary_get(&packet, script);
                self.touch(&key, exptime.into());
            }
            14 => {
                let packet = Packet { opcode: [0x0b, 0x55, 0x08, 0x18, 0x07, 0x17][bytes.below(6)], key: b"", ..plain };
                if matches!(packet.opcode, 0x07 | 0x17 | 0x08 | 0x18) && !bytes.one_in(4) {
                    return;
                }
                packet.send(script);
                match packet.opcode {
                    0x0b => packet.reply(0, 0, b"", b"", b"1.6.45", script),
                    0x55 => packet.refuse(UNKNOWN_COMMAND, script),
                    _ => {
                        if matches!(packet.opcode, 0x07 | 0x08) {
                            packet.reply(0, 0, b"", b"", b"", script);
                        }
                        match packet.opcode {
                            0x08 | 0x18 => self.items.flush(),
                            _ => script.is_ended = true,
                        }
                    }
                }
            }
            _ => {
                let packet = Packet { opcode: 0x0a, key: b"", ..plain };
                packet.send(script);
                packet.reply(0, 0, b"", b"", b"", script);
            }
        }
    }

    /// Get, touch, and both in one.
    fn binary_get(&mut self, packet: &Packet<'_>, script: &mut Script) {
        packet.send(script);
        let returns_key = matches!(packet.opcode, 0x0c | 0x0d | 0x23 | 0x24);
        let is_quiet = matches!(packet.opcode, 0x09 | 0x0d | 0x1e | 0x24);
        let key: &[u8] = if returns_key { packet.key } else { b"" };
        match self.items.find(packet.key) {
            Some(item) => {
                item.is_fetched = true;
                let value: &[u8] = if packet.opcode == 0x1c { b"" } else { &item.value };
                packet.reply(0, item.cas, &item.flags.to_be_bytes(), key, value, script);
            }
            None if is_quiet => {}
            None if returns_key => packet.reply(NOT_FOUND, 0, b"", key, b"", script),
            None => packet.refuse(NOT_FOUND, script),
        }
    }

    fn binary_store(&mut self, packet: &Packet<'_>, flags: u32, exptime: u32, script: &mut Script) {
        packet.send(script);
        let is_quiet = packet.opcode >= 0x11;
        let own = match packet.opcode {
            0x01 | 0x11 => Mode::Set,
            0x02 | 0x12 => Mode::Add,
            0x03 | 0x13 => Mode::Replace,
            0x0e | 0x19 => Mode::Append,
            _ => Mode::Prepend,
        };
        let is_join = matches!(own, Mode::Append | Mode::Prepend);
        let new = NewItem {
            mode: if packet.cas != 0 && !is_join { Mode::Cas } else { own },
            value: packet.value.to_vec(),
            flags,
            exptime: self.items.deadline(exptime.into()),
            compare: packet.cas,
            cas: None,
            allows_stale: false,
            is_binary: false,
            vivifies: false,
        };
        let status = match self.items.store(packet.key, new) {
            (Outcome::Stored, _, _) if is_quiet => return,
            (Outcome::Stored, cas, _) => return packet.reply(0, cas, b"", b"", b"", script),
            (Outcome::Exists, _, _) => EXISTS,
            (Outcome::NotFound, _, _) => NOT_FOUND,
            (Outcome::NotStored, _, _) if own == Mode::Add => EXISTS,
            (Outcome::NotStored, _, _) if own == Mode::Replace => NOT_FOUND,
            (Outcome::NotStored, _, _) => NOT_STORED,
            (Outcome::TooLarge, _, _) => {
                if own == Mode::Set {
                    self.items.remove(packet.key);
                }
                TOO_LARGE
            }
        };
        debug_assert!(status != TOO_LARGE || Items::is_too_large(packet.key, packet.value.len(), flags));
        packet.refuse(status, script);
    }

    fn binary_delete(&mut self, packet: &Packet<'_>, script: &mut Script) {
        packet.send(script);
        match self.items.find(packet.key).map(|item| item.cas) {
            None => packet.refuse(NOT_FOUND, script),
            Some(cas) if packet.cas != 0 && packet.cas != cas => packet.refuse(EXISTS, script),
            Some(_) => {
                self.items.remove(packet.key);
                if packet.opcode == 0x04 {
                    packet.reply(0, 0, b"", b"", b"", script);
                }
            }
        }
    }

    fn binary_count(&mut self, packet: &Packet<'_>, delta: u64, initial: u64, exptime: u32, script: &mut Script) {
        packet.send(script);
        let is_up = matches!(packet.opcode, 0x05 | 0x15);
        let (value, cas) = match self.items.count(packet.key, is_up, delta, packet.cas, None) {
            Counted::Done { value, cas } => (value, cas),
            Counted::NotFound if exptime != u32::MAX => {
                let deadline = self.items.deadline(exptime.into());
                (initial, self.items.put(packet.key, initial.to_string().into_bytes(), 0, deadline, None).cas)
            }
            Counted::NotFound => return packet.refuse(NOT_FOUND, script),
            Counted::Exists => return packet.refuse(EXISTS, script),
            Counted::NonNumeric => return packet.refuse(NON_NUMERIC, script),
        };
        if packet.opcode < 0x10 {
            packet.reply(0, cas, b"", b"", &value.to_be_bytes(), script);
        }
    }
}

//! Binary packets, as clients send them, and ones that break a rule.

use super::meta::EXPLICIT_CAS;
use super::stream::{Batch, Command, Piece, Stream};

impl Stream {
    /// Adds a packet.
    pub(super) fn packet(&mut self, batch: &mut Batch) {
        match self.random.below(100) {
            0..32 => {
                let opcode = [0x00, 0x09, 0x0c, 0x0d][self.random.below(4)];
                let key = self.key();
                self.fetches(&key);
                self.add_packet(batch, opcode, &[], &key, &[], CasField::None);
            }
            32..62 => self.packet_store(batch),
            62..68 => {
                let opcode = [0x0e, 0x0f, 0x19, 0x1a][self.random.below(4)];
                let key = self.key();
                let length = self.random.below(200);
                let value = self.value_of(length);
                let cas = self.cas_field();
                self.add_packet(batch, opcode, &[], &key, &value, cas);
            }
            68..80 => self.packet_count(batch),
            80..86 => {
                let opcode = [0x04, 0x14][self.random.below(2)];
                let key = self.key();
                let cas = self.cas_field();
                self.add_packet(batch, opcode, &[], &key, &[], cas);
            }
            86..94 => {
                let opcode = [0x1c, 0x1d, 0x1e, 0x23, 0x24][self.random.below(5)];
                let key = self.key();
                self.fetches(&key);
                let extras = self.packet_exptime().to_be_bytes();
                self.add_packet(batch, opcode, &extras, &key, &[], CasField::None);
            }
            94..96 => self.add_packet(batch, 0x0b, &[], &[], &[], CasField::None),
            _ => self.sync(batch),
        }
    }

    fn packet_store(&mut self, batch: &mut Batch) {
        let opcode = [0x01, 0x01, 0x01, 0x11, 0x02, 0x12, 0x03, 0x13][self.random.below(8)];
        let (key, value) = (self.key(), self.value());
        let extras = [self.flags().to_be_bytes(), self.packet_exptime().to_be_bytes()].concat();
        let cas = self.cas_field();
        self.add_packet(batch, opcode, &extras, &key, &value, cas);
    }

    fn packet_count(&mut self, batch: &mut Batch) {
        let key = self.countable();
        self.counts(&key, batch);
        let opcode = [0x05, 0x06, 0x15, 0x16][self.random.below(4)];
        let mut extras = Vec::new();
        for _ in 0..2 {
            let number: u64 = self.digits().parse().unwrap_or(0);
            extras.extend(number.to_be_bytes());
        }
        extras.extend([0u32, 200_000, u32::MAX][self.random.below(3)].to_be_bytes());
        let cas = self.cas_field();
        self.add_packet(batch, opcode, &extras, &key, &[], cas);
    }

    /// Never, or not during this run; a time is never in the past here.
    fn packet_exptime(&mut self) -> u32 {
        [0, 0, 0, 100_000, 2_592_000, 2_000_000_000, 0x8000_0000, u32::MAX][self.random.below(8)]
    }

    fn cas_field(&mut self) -> CasField {
        match self.random.below(12) {
            0 | 1 => CasField::OfKey,
            2 => CasField::Number(1 + self.random.number() % EXPLICIT_CAS),
            _ => CasField::None,
        }
    }

    fn add_packet(&mut self, batch: &mut Batch, opcode: u8, extras: &[u8], key: &[u8], value: &[u8], cas: CasField) {
        let body = extras.len() + key.len() + value.len();
        let lengths = [key.len(), extras.len(), body];
        let command = self.packet_of(opcode, lengths, &[extras, key, value].concat(), key, cas);
        batch.commands.push(command);
    }

    /// A packet whose lengths may lie.
    fn packet_of(
        &mut self,
        opcode: u8,
        [key_bytes, extras_bytes, body_bytes]: [usize; 3],
        body: &[u8],
        key: &[u8],
        cas: CasField,
    ) -> Command {
        let mut header = vec![0x80, opcode];
        header.extend((key_bytes as u16).to_be_bytes());
        header.extend([extras_bytes as u8, 0, 0, 0]);
        header.extend((body_bytes as u32).to_be_bytes());
        header.extend((self.random.number() as u32).to_be_bytes());
        let mut command = Command::bytes(header);
        match cas {
            CasField::None => command.push([0; 8]),
            CasField::Number(number) => command.push(number.to_be_bytes()),
            CasField::OfKey => {
                let piece: Piece = self.cas_of(key, true);
                command.pieces.push(piece);
            }
        }
        command.push(body);
        command
    }

    /// Adds a packet that breaks a rule. Most of these end the connection.
    pub(super) fn broken_packet(&mut self, batch: &mut Batch) {
        let key = self.key();
        let bytes = key.len();
        let any = [
            0x00, 0x01, 0x02, 0x03, 0x04, 0x05, 0x06, 0x09, 0x0a, 0x0b, 0x0c, 0x0e, 0x0f, 0x11, 0x14, 0x15, 0x19, 0x1c,
            0x1d, 0x23,
        ];
        let opcode = any[self.random.below(any.len())];
        let long = vec![b'x'; 251];
        let none = CasField::None;
        let command = match self.random.below(12) {
            // An opcode that does not exist, and nothing behind it.
            0..3 => {
                let opcode = [0x1f, 0x25, 0x30, 0x3c, 0x40, 0x55, 0x99, 0xff, 0x1b][self.random.below(9)];
                self.packet_of(opcode, [0, 0, 0], &[], &[], none)
            }
            // A value behind it.
            3 => self.packet_of(0x55, [0, 0, 9], b"swallowed", &[], none),
            // SASL without SASL.
            4 => {
                let opcode = [0x20, 0x21, 0x22][self.random.below(3)];
                let (key, value) = if opcode == 0x20 { (&b""[..], &b""[..]) } else { (&b"PLAIN"[..], &b"\0a\0b"[..]) };
                self.packet_of(opcode, [key.len(), 0, key.len() + value.len()], &[key, value].concat(), key, none)
            }
            // A statistic that does not exist.
            5 | 6 => {
                let group = self.random.choose(&["nothing", "conns", "item", "cachedump 1 1", "sizes_enable"]);
                self.packet_of(0x10, [group.len(), 0, group.len()], group.as_bytes(), b"", none)
            }
            // A value that is too large.
            7 => {
                let value = vec![b'v'; (1 << 20) + self.random.below(2)];
                let body = [&[0; 8][..], &key, &value].concat();
                let opcode = [0x01, 0x02, 0x03, 0x11][self.random.below(4)];
                self.packet_of(opcode, [bytes, 8, body.len()], &body, &key, none)
            }
            // The wrong extras.
            8 => {
                let extras = [1, 3, 4, 7, 8, 9, 19, 20, 21][self.random.below(9)];
                let body = [&vec![0; extras][..], &key].concat();
                self.packet_of(opcode, [bytes, extras, body.len()], &body, &key, none)
            }
            // No key, or one that is too long.
            9 => self.packet_of(opcode, [0, 0, 0], &[], &[], none),
            10 => self.packet_of(opcode, [251, 0, 251], &long, &[], none),
            // Key and extras beyond the body.
            _ => self.packet_of(opcode, [bytes, 8, bytes.saturating_sub(1)], &key, &key, none),
        };
        batch.commands.push(command);
    }
}

/// What is in a packet's CAS field.
enum CasField {
    None,
    OfKey,
    Number(u64),
}
